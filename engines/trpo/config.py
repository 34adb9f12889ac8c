"""Settings, presets, views and requests of TRPO; any thread or process, imports no torch and no environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pydantic

from engines.config import Preset, Settings, setting
from engines.errors import SettingError
from engines.figures import CurveSpec, FigureSpec
from engines.method import Action, Method, Question


class TrpoSettings(Settings):
    """Settings of one run of trust region policy optimisation."""

    environment: str = setting(
        "CartPole-v1",
        label="Environment",
        effect="rebuild",
        group="Environment",
        help="A gymnasium id: CartPole-v1, Pendulum-v1, Swimmer-v5, Hopper-v5, Walker2d-v5, HalfCheetah-v5 or any other that "
        "is installed; module:Env-v0 imports the module first, for one of your own.",
    )
    horizon: int = setting(
        0,
        label="Longest episode",
        effect="live",
        group="Environment",
        minimum=0,
        maximum=1_000_000,
        unit="steps",
        help="Episodes are cut off here; 0 takes the environment's own limit (1000 where it has none).",
    )
    scale_observations: bool = setting(
        True,
        label="Scale observations",
        effect="rebuild",
        group="Environment",
        help="Bring observations to mean 0 and standard deviation 1 by the statistics of all that were seen. The paper says "
        "nothing of it. When the statistics move, the first layer moves with them, so that the policy does not.",
    )

    sampling: Literal["single_path", "vine"] = setting(
        "single_path",
        label="Sampling",
        effect="live",
        group="Sampling",
        choices={"single_path": "Single path", "vine": "Vine"},
        help="Single path: whole episodes under the old policy. Vine: from states along such episodes several actions are "
        "tried, each with a short rollout of its own and the same random numbers (section 5.2).",
    )
    batch_steps: int = setting(
        2_000,
        label="Steps per update",
        effect="live",
        group="Sampling",
        minimum=20,
        maximum=5_000_000,
        scale="log",
        help="Steps of the environment in an update's batch, at least: episodes are played to their end. With vine, those of "
        "the trunks. The paper takes 50,000 for Swimmer and a million for Hopper.",
    )
    vine_states: int = setting(
        100,
        label="States to branch from",
        effect="live",
        group="Sampling",
        minimum=1,
        maximum=100_000,
        scale="log",
        visible_when={"sampling": "vine"},
        help="The rollout set, chosen at random along the trunks; paper: 125 for Swimmer, 625 for Hopper.",
    )
    vine_actions: int = setting(
        4,
        label="Actions per state",
        symbol="K",
        effect="live",
        group="Sampling",
        minimum=2,
        maximum=1_000,
        visible_when={"sampling": "vine"},
        help="Tried from each state, 4 in the paper. Of a finite set of actions every one is tried.",
    )
    vine_length: int = setting(
        50,
        label="Length of a branch",
        effect="live",
        group="Sampling",
        minimum=1,
        maximum=10_000,
        unit="steps",
        scale="log",
        visible_when={"sampling": "vine"},
        help="50 for Swimmer and 100 for Hopper in the paper.",
    )
    gamma: float = setting(
        0.99,
        label="Discount",
        symbol=r"\gamma",
        effect="live",
        group="Sampling",
        minimum=0.0,
        maximum=1.0,
        step=0.005,
        help="0.99 in the paper.",
    )
    critic: bool = setting(
        False,
        label="Critic",
        effect="live",
        group="Sampling",
        visible_when={"sampling": "single_path"},
        help="A value function and generalised advantages, as in later work. The paper has none: its Q is the plain sum of "
        "the rewards that followed.",
    )
    lambda_: float = setting(
        0.97,
        label="Advantage decay",
        symbol=r"\lambda",
        effect="live",
        group="Sampling",
        minimum=0.0,
        maximum=1.0,
        step=0.01,
        visible_when={"critic": True},
        help="Of generalised advantages: 1 trusts the returns, 0 the critic. Not in the paper.",
    )
    critic_step_size: float = setting(
        1e-3,
        label="Step size of the critic",
        effect="live",
        group="Sampling",
        minimum=1e-6,
        maximum=1.0,
        scale="log",
        visible_when={"critic": True},
        help="Of Adam, which fits the value function to the returns.",
    )
    critic_epochs: int = setting(
        10,
        label="Passes of the critic",
        effect="live",
        group="Sampling",
        minimum=1,
        maximum=200,
        visible_when={"critic": True},
        help="Over each batch.",
    )
    standardise: bool = setting(
        False,
        label="Standardise values",
        effect="live",
        group="Sampling",
        help="Bring the Q or advantages of a batch to mean 0 and standard deviation 1, as much code does. The paper does "
        "not; the direction then depends on their mean.",
    )

    rule: Literal["trpo", "natural", "gradient"] = setting(
        "trpo",
        label="Step rule",
        effect="live",
        group="Update",
        choices={
            "trpo": "Trust region (TRPO)",
            "natural": "Natural gradient, fixed step",
            "gradient": "Plain gradient, fixed step",
        },
        help="The trust region fixes how far the policy may move; the other two, which the paper compares with, fix the "
        "factor on the direction, without a line search.",
    )
    delta: float = setting(
        0.01,
        label="Trust region",
        symbol=r"\delta",
        effect="live",
        group="Update",
        minimum=1e-7,
        maximum=10.0,
        unit="nats",
        scale="log",
        help="The largest KL divergence of the new policy from the old one, averaged over states; 0.01 in the paper.",
    )
    step_size: float = setting(
        0.1,
        label="Fixed step size",
        effect="live",
        group="Update",
        minimum=1e-8,
        maximum=1e4,
        scale="log",
        visible_when={"rule": ("natural", "gradient")},
        help="Factor on the natural or the plain gradient.",
    )
    cg_iterations: int = setting(
        10,
        label="CG iterations",
        effect="live",
        group="Update",
        minimum=1,
        maximum=200,
        visible_when={"rule": ("trpo", "natural")},
        help="Of conjugate gradients for the direction; 10 in the paper.",
    )
    damping: float = setting(
        1e-3,
        label="Damping",
        effect="live",
        group="Update",
        minimum=0.0,
        maximum=10.0,
        step=1e-3,
        visible_when={"rule": ("trpo", "natural")},
        help="Added to the diagonal of the Fisher matrix, for the direction and its length alike. The paper names none; its "
        "authors' code takes 0.001 and more.",
    )
    fisher_fraction: float = setting(
        0.1,
        label="States in the Fisher matrix",
        effect="live",
        group="Update",
        minimum=0.001,
        maximum=1.0,
        step=0.1,
        visible_when={"rule": ("trpo", "natural")},
        help="Part of the batch over which it is averaged; the paper takes a tenth.",
    )
    shrink: float = setting(
        0.8,
        label="Backtracking factor",
        effect="live",
        group="Update",
        minimum=0.05,
        maximum=0.95,
        step=0.05,
        visible_when={"rule": "trpo"},
        help="From each step that is tried to the next, ten at most. The paper names none; its authors' code takes 0.5.",
    )
    constraint: Literal["mean", "max"] = setting(
        "mean",
        label="KL constraint",
        effect="live",
        group="Update",
        choices={"mean": "Mean over states", "max": "Largest of all states"},
        visible_when={"rule": "trpo"},
        help="Theory bounds the largest KL, the practical method the mean one.",
    )
    fisher: Literal["analytic", "empirical"] = setting(
        "analytic",
        label="Fisher matrix",
        effect="live",
        group="Update",
        choices={"analytic": "Averaged over actions", "empirical": "From sampled actions"},
        visible_when={"rule": ("trpo", "natural")},
        help="The paper integrates over actions; the outer product of sampled scores is its 'empirical FIM' ablation.",
    )

    units: int = setting(
        32,
        label="Units per layer",
        effect="rebuild",
        group="Policy",
        minimum=1,
        maximum=1024,
        scale="log",
        help="30 for Swimmer and 50 for Hopper in the paper.",
    )
    layers: int = setting(
        1,
        label="Hidden layers",
        effect="rebuild",
        group="Policy",
        minimum=0,
        maximum=4,
        help="tanh; 0 is a linear policy, as the paper's for cart-pole.",
    )
    initial_log_std: float = setting(
        0.0,
        label="First log of sigma",
        symbol=r"\log\sigma",
        effect="rebuild",
        group="Policy",
        minimum=-5.0,
        maximum=3.0,
        step=0.1,
        help="Of continuous actions: one number for each joint, the same in all states, learned with the rest.",
    )

    length: int = setting(
        300,
        label="Steps of the playback",
        effect="display",
        group="Pictures",
        minimum=10,
        maximum=2_000,
        unit="steps",
        help="An episode of the newest policy, played for the eye alone and not counted.",
    )
    actions_played: Literal["likeliest", "sampled"] = setting(
        "likeliest",
        label="Actions in the playback",
        effect="display",
        group="Pictures",
        choices={"likeliest": "The likeliest", "sampled": "Drawn, as in training"},
    )
    ghosts: int = setting(
        1,
        label="Ghosts",
        effect="display",
        group="Pictures",
        minimum=0,
        maximum=4,
        help="Earlier policies that start in the same state, drawn faintly behind the newest.",
    )
    camera: Literal["follow", "fixed"] = setting(
        "follow",
        label="Camera",
        effect="display",
        group="Pictures",
        choices={"follow": "Follows", "fixed": "Stands still"},
    )
    renderer: Literal["auto", "vector", "gl"] = setting(
        "auto",
        label="Drawn by",
        effect="display",
        group="Pictures",
        choices={
            "auto": "What is fast here",
            "vector": "Outlines of the bodies",
            "gl": "MuJoCo's renderer (GL)",
        },
        help="MuJoCo's renderer takes a few milliseconds for a picture with a GPU and a tenth of a second without one.",
    )
    episode: int = setting(
        0,
        label="Start of the playback",
        effect="display",
        group="Pictures",
        minimum=0,
        maximum=1_000_000,
        help="Another number is another first state.",
    )
    mdp_states: int = setting(
        6,
        label="States of the small MDP",
        effect="display",
        group="Bound",
        minimum=2,
        maximum=50,
        help="Of the random decision process on which the bound is exact.",
    )
    mdp_actions: int = setting(
        3, label="Actions of the small MDP", effect="display", group="Bound", minimum=2, maximum=10
    )
    mdp_gamma: float = setting(
        0.9,
        label="Discount of the small MDP",
        effect="display",
        group="Bound",
        minimum=0.1,
        maximum=0.99,
        step=0.01,
    )

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.layers and self.units < 1:
            raise SettingError("A hidden layer needs units: raise units.", "units")
        return self


# --- requests of the hand  ----------


@dataclass(frozen=True)
class WhatIf(Action):
    """Look at a past update with another length of its step, and see that policy act; ``None`` goes back to the newest.

    Attributes
    ----------
    update : int or None
        One of those that are remembered; the nearest of them is taken.
    fraction : float
        Of the full step: 0 is the policy before it, 1 the edge of the trust region by the quadratic model.
    """

    is_noted = False
    update: int | None
    fraction: float = 1.0


@dataclass(frozen=True, eq=False)
class SetPolicy(Action):
    """Replace the policy in training.

    Attributes
    ----------
    theta : array (P,)
        As `engines.trpo.policies.Policy.flat` has it.
    mean, deviation : array (O,)
        The scale of the observations that it takes.
    """

    theta: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class GiveUpdates(Question):
    """Ask which updates are remembered, and what `WhatIf` looks at: ``updates`` and ``what_if`` of the answer."""


@dataclass(frozen=True)
class GivePolicy(Question):
    """Ask for a policy, to be saved or forked from; the answer has what `SetPolicy` takes, and what describes it.

    Attributes
    ----------
    what_if : bool
        The one that `WhatIf` looks at, where it does; otherwise the newest.
    """

    what_if: bool = False


# --- what it offers  ----------

PRESETS = (
    Preset(
        "cartpole",
        "Cart-pole, 30-second demo",
        "Balances a pole within a dozen updates; with a critic, which is later than the paper.",
        {"batch_steps": 5_000, "critic": True, "standardise": True, "steps": 20},
    ),
    Preset(
        "cartpole-paper",
        "Paper's linear cart-pole",
        "The paper's smallest problem as the paper has it: a linear policy, no critic, the returns alone.",
        {"layers": 0, "batch_steps": 5_000, "steps": 60},
    ),
    Preset(
        "vine",
        "Vine on cart-pole",
        "Branches from states along two trunks, every action tried, with the same random numbers.",
        {
            "sampling": "vine",
            "batch_steps": 400,
            "vine_states": 60,
            "vine_length": 60,
            "fisher_fraction": 1.0,
            "steps": 60,
        },
    ),
    Preset(
        "pendulum",
        "Pendulum",
        "Swings a pendulum up; with a critic, which is later than the paper.",
        {
            "environment": "Pendulum-v1",
            "batch_steps": 4_000,
            "gamma": 0.95,
            "critic": True,
            "units": 64,
            "steps": 200,
        },
    ),
    Preset(
        "swimmer",
        "Swimmer, as in the paper",
        "Three links swim: no critic, 50,000 steps for each update and 30 units in the paper; here 10,000 steps.",
        {
            "environment": "Swimmer-v5",
            "batch_steps": 10_000,
            "units": 30,
            "steps": 100,
        },
    ),
    Preset(
        "hopper",
        "Hopper with a critic",
        "One leg learns to hop within minutes on two cores; with a critic and generalised advantages, which are later than "
        "the paper.",
        {
            "environment": "Hopper-v5",
            "batch_steps": 5_000,
            "critic": True,
            "units": 64,
            "layers": 2,
            "standardise": True,
            "damping": 0.01,
            "initial_log_std": -0.5,
            "steps": 200,
        },
    ),
    Preset(
        "hopper-paper",
        "Hopper, as in the paper",
        "No critic; the paper takes a million steps for each update, here 50,000: minutes between updates on two cores.",
        {"environment": "Hopper-v5", "batch_steps": 50_000, "units": 50, "steps": 200},
    ),
    Preset(
        "natural-gradient",
        "Natural gradient, fixed step",
        "The paper's rival on the same cart-pole: the same direction, without a trust region. The step is the best of 0.01 "
        "to 0.81, by factors of 3; other environments want another.",
        {
            "rule": "natural",
            "step_size": 0.27,
            "batch_steps": 5_000,
            "critic": True,
            "standardise": True,
            "steps": 20,
        },
    ),
    Preset(
        "natural-hopper",
        "Natural gradient on Hopper",
        "The paper's rival where it has trouble: advantages in the reward's own units grow a hundredfold as it learns, and a "
        "fixed step that suits the beginning does not suit the end. TRPO does not notice their units.",
        {
            "environment": "Hopper-v5",
            "rule": "natural",
            "step_size": 0.03,
            "batch_steps": 5_000,
            "critic": True,
            "units": 64,
            "layers": 2,
            "damping": 0.01,
            "initial_log_std": -0.5,
            "steps": 200,
        },
    ),
    Preset(
        "break-it",
        "Break it",
        "A trust region a thousand times too large: what was learned is lost in one step.",
        {
            "delta": 10.0,
            "fisher_fraction": 1.0,
            "batch_steps": 5_000,
            "critic": True,
            "standardise": True,
            "steps": 20,
        },
    ),
)

VIEWS = (
    FigureSpec(
        "playback",
        "Playback",
        "An episode of the newest policy, drawn from the states of the simulation. Ghosts are earlier policies from the same "
        "first state. Played for the eye alone: training does not see it.",
    ),
    CurveSpec(
        "returns",
        "Return",
        "Mean return of the episodes in each batch: the sum of their rewards, actions drawn from the policy.",
        (("mean_return", "mean return", "model"),),
        "return",
        x_scalar="environment_steps",
        x_label="environment steps",
    ),
    FigureSpec(
        "step",
        "Step",
        "The surrogate and the KL divergence along the step of the newest update, with the quadratic model of the KL, the "
        "points that the line search tried and the one it took (appendix C of the paper).",
    ),
    FigureSpec(
        "plane",
        "Plane",
        "The surrogate on the plane of the plain and the natural gradient; the ellipse is the trust region by the quadratic "
        "model, the line around it where the measured mean KL is δ, the dots the way of conjugate gradients.",
    ),
    FigureSpec(
        "actions",
        "Actions",
        "What the policy would do along the playback: mean and standard deviation of each control, or the probability of "
        "each action. It moves in step with the playback.",
    ),
    CurveSpec(
        "divergence",
        "KL",
        "The KL divergence of each new policy from the old one, on the states of the batch; the mean one is kept below δ.",
        (("max_kl", "largest KL", "past"), ("kl", "mean KL", "model")),
        "KL",
        (("delta", "δ", "target"),),
        "nats",
        "log",
    ),
    CurveSpec(
        "improvement",
        "Improvement",
        "How much the surrogate was to rise by its gradient, and how much it rose on the same states.",
        (("predicted", "predicted", "past"), ("actual", "actual", "model")),
        "gain of L",
    ),
    CurveSpec(
        "search",
        "Line search",
        "How often the step was shrunk before it was taken; 10 where none was.",
        (("backtracks", "backtracks", "model"),),
        "times",
    ),
    FigureSpec(
        "residuals",
        "CG residuals",
        "How far conjugate gradients are from the natural gradient after each iteration.",
    ),
    FigureSpec(
        "bound",
        "Bound",
        "Theorem 1 on a small random decision process, solved exactly: the true return η, the surrogate L and the bound "
        "L − C max KL along a line of policies, and Algorithm 1, whose return never falls.",
    ),
    FigureSpec(
        "vine",
        "Vine",
        "The branches of the newest batch, from the states they start in; those of one state share their random numbers "
        "(figure 1 of the paper).",
    ),
)

METHOD = Method(
    engine="engines.trpo.engine:TrpoEngine",
    config=TrpoSettings,
    presets=PRESETS,
    views=VIEWS,
    headline="mean_return",
    headline_label="Mean return",
    maximise=True,
    watched="entropy",
    learning_rate="delta",
    bench="engines.trpo.bench:bench",
)
