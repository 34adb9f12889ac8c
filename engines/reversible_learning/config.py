"""Settings, presets, views and requests of the reversible-learning paper; any thread or process, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import pydantic

from engines.config import Preset, Settings, setting
from engines.errors import SettingError
from engines.figures import CurveSpec, FigureSpec
from engines.method import Action, Method, Question

NETWORKS = ("schedules", "scales", "l2", "data", "chaos")
"""Experiments with one network on one data set."""

WITH_STEPS = ("schedules", "scales", "toy")
"""Experiments whose step sizes stand at one value at first and may be drawn by hand."""

WIDEST = 2048


class ReversibleLearningSettings(Settings):
    """Settings of one run of the reversible-learning paper. One step of the run is one meta-iteration."""

    experiment: Literal["schedules", "scales", "l2", "data", "tasks", "toy", "chaos"] = setting(
        "schedules",
        label="Experiment",
        effect="rebuild",
        group="Experiment",
        choices={
            "schedules": "Schedules of step size and momentum",
            "scales": "Initial scales",
            "l2": "A penalty for each weight",
            "data": "The training data themselves",
            "tasks": "What tasks share",
            "toy": "Two weights",
            "chaos": "Chaos sweep",
        },
        help="What is learned by hypergradients: step sizes and momenta of each layer and iteration (section 3.1 of the "
        "paper), the scale of each layer's initial weights, an L2 penalty for each weight (3.2), a training set of ten "
        "pictures (3.3), matrices that say which tasks share weights (3.4). Two weights: figure 1. Chaos sweep: nothing is "
        "learned, each step tries one step size (figure 10).",
    )
    data: Literal["digits", "mnist", "fashion_mnist", "omniglot"] = setting(
        "digits",
        label="Data",
        effect="rebuild",
        group="Experiment",
        choices={
            "digits": "Digits 8×8",
            "mnist": "MNIST",
            "fashion_mnist": "Fashion-MNIST",
            "omniglot": "Omniglot alphabets",
        },
        visible_when={"experiment": (*NETWORKS, "tasks")},
        help="The paper takes MNIST, and Omniglot for the tasks. Tasks of the other data are halves of the classes, upright "
        "and turned by 90 degrees.",
    )
    train_size: int = setting(
        1000,
        label="Training examples",
        effect="rebuild",
        group="Experiment",
        minimum=10,
        maximum=60_000,
        scale="log",
        visible_when={"experiment": NETWORKS},
        help="The paper has 10,000. The rest is for validation. Fewer are taken where the data have not enough.",
    )
    valid_size: int = setting(
        400,
        label="Validation examples",
        effect="rebuild",
        group="Experiment",
        minimum=10,
        maximum=60_000,
        scale="log",
        visible_when={"experiment": NETWORKS},
        help="The paper has 10,000.",
    )
    hidden: str = setting(
        "32, 32",
        label="Hidden layers",
        effect="rebuild",
        group="Experiment",
        visible_when={"experiment": (*NETWORKS, "tasks")},
        help="Units of each tanh layer with commas between; empty is a logistic regression. The paper has 50, 50, 50 for "
        "the schedules and 400, 200 for the tasks.",
    )

    inner_steps: int = setting(
        80,
        label="Inner iterations",
        symbol="T",
        effect="rebuild",
        group="Inner training",
        minimum=1,
        maximum=100_000,
        scale="log",
        help="Steps of the training that is learned about. The paper has 100 for the schedules.",
    )
    batch: int = setting(
        100,
        label="Batch",
        effect="rebuild",
        group="Inner training",
        minimum=0,
        maximum=10_000,
        unit="examples",
        visible_when={"experiment": ("schedules", "scales", "l2", "chaos")},
        help="Examples of one inner iteration, which follow from the seed, the meta-iteration and the iteration alone, so "
        "that the way back meets the same. 0 takes all. The paper has 200.",
    )
    alpha: float = setting(
        0.37,
        label="Initial step size",
        symbol=r"\alpha",
        effect="rebuild",
        group="Inner training",
        minimum=1e-5,
        maximum=100.0,
        scale="log",
        help="As the gradient is scaled by 1 - momentum, 1 is an ordinary value. The paper begins its schedules at exp(-1). "
        "Begin low: beyond a critical value training is chaotic, and hypergradients tell nothing.",
    )
    gamma: float = setting(
        0.5,
        label="Initial momentum",
        symbol=r"\gamma",
        effect="rebuild",
        group="Inner training",
        minimum=0.01,
        maximum=0.9999,
        help="The nearest fraction n / 65536 is taken. The buffer holds log2(1 / momentum) bits for each weight and step.",
    )
    init_scale: float = setting(
        0.05,
        label="Initial scale",
        effect="rebuild",
        group="Inner training",
        minimum=1e-6,
        maximum=10.0,
        scale="log",
        visible_when={"experiment": (*NETWORKS, "tasks")},
        help="Standard deviation of the initial weights. The paper begins its schedules at exp(-3).",
    )
    penalty: float = setting(
        0.0,
        label="L2 penalty",
        symbol=r"\lambda",
        effect="rebuild",
        group="Inner training",
        minimum=0.0,
        maximum=10.0,
        visible_when={"experiment": (*NETWORKS, "tasks")},
        help="The inner loss holds the sum of penalty times weight squared, of each weight or bias. Penalties that are "
        "learned begin here, and must then begin above 0.",
    )
    exact: bool = setting(
        True,
        label="Exact integers",
        effect="live",
        group="Inner training",
        help="Weights and velocities in integers with an information buffer (section 2.1), so that training runs backwards "
        "to the very bits. Otherwise in floats, undone by the formulas alone: the error grows by 1 / momentum at each "
        "step, and the hypergradient is taken along a training that never was.",
    )
    fresh: bool = setting(
        True,
        label="New start each time",
        effect="live",
        group="Inner training",
        visible_when={"experiment": ("schedules", "scales", "l2", "data", "tasks")},
        help="Draw initial weights and batches anew for each meta-iteration, as the paper does for its schedules. Otherwise "
        "they are always the same.",
    )

    objective: Literal["training", "validation"] = setting(
        "training",
        label="Meta-objective",
        effect="live",
        group="Meta-training",
        choices={"training": "Training loss", "validation": "Validation loss"},
        visible_when={"experiment": (*NETWORKS, "tasks")},
        help="Cross-entropy after the last inner iteration, on all training or all validation examples, without penalty. "
        "The paper takes the training loss for its schedules, and the validation loss where it learns penalties, data or "
        "sharing.",
    )
    outer: Literal["adam", "descent"] = setting(
        "adam",
        label="Meta-optimiser",
        effect="rebuild",
        group="Meta-training",
        choices={"adam": "Adam", "descent": "Gradient descent"},
        help="The paper takes Adam for its schedules and plain gradient descent for the others.",
    )
    meta_step: float = setting(
        0.04,
        label="Meta step",
        effect="live",
        group="Meta-training",
        minimum=0.0,
        maximum=10_000.0,
        help="On the logarithm of step sizes, scales and penalties and the logit of momenta; on pixels and matrices as they "
        "are. The paper has 0.04 with Adam for its schedules.",
    )
    tie_layers: bool = setting(
        False,
        label="Tie layers",
        effect="rebuild",
        group="Meta-training",
        visible_when={"experiment": ("schedules", "scales")},
        help="One schedule, and one initial scale, for all layers.",
    )
    learn_momentum: bool = setting(
        True,
        label="Learn momenta",
        effect="rebuild",
        group="Meta-training",
        visible_when={"experiment": ("schedules", "toy")},
        help="Beside the step sizes.",
    )
    learn_scales: bool = setting(
        True,
        label="Learn initial scales",
        effect="rebuild",
        group="Meta-training",
        visible_when={"experiment": "schedules"},
        help="Beside the step sizes.",
    )
    stop_above: float = setting(
        100.0,
        label="Distrust above",
        effect="live",
        group="Meta-training",
        minimum=0.0,
        maximum=1e12,
        scale="log",
        help="A meta-iteration whose hypergradient is longer than this, or whose way back missed the start, changes "
        "nothing: the paper advises to stop where hypergradients blow up. In floats the miss is let pass.",
    )

    chaos_low: float = setting(
        0.3,
        label="Lowest step size",
        effect="rebuild",
        group="Experiment",
        minimum=1e-4,
        maximum=1e3,
        scale="log",
        visible_when={"experiment": "chaos"},
        help="Of the sweep.",
    )
    chaos_high: float = setting(
        30.0,
        label="Highest step size",
        effect="rebuild",
        group="Experiment",
        minimum=1e-4,
        maximum=1e3,
        scale="log",
        visible_when={"experiment": "chaos"},
        help="Of the sweep. Step sizes between them are tried coarsely first and ever more finely.",
    )

    rivals: bool = setting(
        False,
        label="Compare with constants",
        effect="display",
        group="Meta-training",
        visible_when={"experiment": ("schedules",)},
        help="When `lab run` ends, the learned schedules are held against the best constant step size of a sweep that costs "
        "as much as learning them did, and against the best constant step size, momentum and scale of a random search of "
        "that cost. Takes about twice as long as the training.",
    )
    frames: int = setting(
        31,
        label="Frames of the film",
        effect="display",
        group="Pictures",
        minimum=3,
        maximum=201,
        help="Moments of the training that are shown on the way out, and again on the way back.",
    )

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        widths_of(self.hidden)
        if self.experiment in ("l2", "data") and self.penalty <= 0:
            raise SettingError(
                "The learned penalties are learned on a log scale, which has no 0: set penalty to a small number, for "
                "example 0.01.",
                "penalty",
            )
        if self.experiment == "l2" and self.hidden.strip():
            raise SettingError(
                "The maps of penalties belong to a logistic regression: leave hidden empty for experiment=l2.",
                "hidden",
            )
        if self.data == "omniglot" and self.experiment in NETWORKS:
            raise SettingError(
                "Omniglot has one class for each character, some hundreds with 20 drawings each: choose it for "
                "experiment=tasks, and digits, mnist or fashion_mnist here.",
                "data",
            )
        if self.chaos_high <= self.chaos_low:
            raise SettingError(
                "The sweep needs room: set chaos_high above chaos_low.",
                "chaos_high",
            )
        return self


def widths_of(text: str) -> tuple[int, ...]:
    """Units of the hidden layers from "50, 50"; none from an empty text.

    Raises
    ------
    SettingError
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > 8 or not all(
        part.isascii() and part.isdigit() and 1 <= int(part) <= WIDEST for part in parts
    ):
        raise SettingError(
            f"hidden={text[:40]!r} names no layers: write the units of at most 8 layers with commas between, each from 1 to "
            f"{WIDEST}, for example 50,50; or leave it empty.",
            "hidden",
        )
    return tuple(int(part) for part in parts)


# --- requests of the hand  ----------


@dataclass(frozen=True)
class RaceSchedule(Action):
    """Draw a schedule of step sizes and race it, on the same start and batches, against the learned and the first one.

    Attributes
    ----------
    alphas : tuple of float
        Step sizes at evenly spaced moments from the first inner iteration to the last; between them their logarithm is
        interpolated. One number is a constant schedule.
    layer : int or None
        Counted from 0; the other layers keep what they have learned. None draws for all.
    """

    alphas: tuple[float, ...]
    layer: int | None = None


@dataclass(frozen=True)
class TrySchedule(RaceSchedule):
    """As `RaceSchedule`, while the hand is still drawing: a drag would leave hundreds of marks."""

    is_noted: ClassVar[bool] = False


@dataclass(frozen=True)
class SetSchedule(Action):
    """Training of the hyperparameters goes on from a drawn schedule, given as in `RaceSchedule`."""

    alphas: tuple[float, ...]
    layer: int | None = None


@dataclass(frozen=True)
class ForgetSchedule(Action):
    """Take the drawn schedule out of the race."""


@dataclass(frozen=True)
class ChooseLayer(Action):
    """Show the schedule of one layer where one draws, and nothing drawn on it.

    Attributes
    ----------
    layer : int or None
        Counted from 0; None is the mean over all.
    """

    is_noted: ClassVar[bool] = False

    layer: int | None = None


@dataclass(frozen=True)
class GiveHand(Question):
    """Tell what the hand has drawn, and for which layer: it comes back with a keyframe."""


# --- what it offers  ----------

_SCHEDULES = {
    "experiment": "schedules",
    "data": "digits",
    "train_size": 1000,
    "valid_size": 400,
    "hidden": "32, 32",
    "inner_steps": 80,
    "batch": 100,
    "alpha": 0.37,
    "gamma": 0.5,
    "init_scale": 0.05,
    "objective": "training",
    "meta_step": 0.04,
    "steps": 60,
}

_LOGISTIC = {"hidden": "", "alpha": 1.0, "gamma": 0.9, "init_scale": 0.0183, "objective": "validation"}

PRESETS = (
    Preset(
        "schedules",
        "Schedules on digits, demo",
        "Step sizes and momenta of each layer and iteration, and initial scales, on digits of 8×8. The method is the "
        "paper's; data and sizes are smaller: 64-32-32-10, 80 iterations of 100 examples. It ends before training becomes "
        "chaotic, which it does after some 80 meta-iterations.",
        _SCHEDULES,
    ),
    Preset(
        "schedules-mnist",
        "Paper: schedules on MNIST",
        "The paper's sizes: 784-50-50-50-10, 100 iterations of 200 of 10,000 pictures, the training loss, Adam at 0.04 for "
        "50 meta-iterations. Momenta are fractions of 65536.",
        {
            **_SCHEDULES,
            "data": "mnist",
            "train_size": 10_000,
            "valid_size": 10_000,
            "hidden": "50, 50, 50",
            "inner_steps": 100,
            "batch": 200,
            "init_scale": 0.0498,
            "steps": 50,
        },
    ),
    Preset(
        "scales",
        "Initial scales",
        "Only the scale of each layer's initial weights is learned, on digits of 8×8; the paper learns them along with its "
        "schedules. Beside them stands 1/√N.",
        {**_SCHEDULES, "experiment": "scales", "init_scale": 0.02, "meta_step": 0.05, "steps": 200},
    ),
    Preset(
        "learned-data",
        "Ten learned digits",
        "Ten pictures, one of each class, are learned from noise, so that a logistic regression trained on them alone is "
        "right on real digits. 20 iterations, as in the paper; digits of 8×8 for its MNIST, and Adam for its gradient "
        "descent. With data=mnist, outer=descent and meta_step=1 it is the paper's.",
        {
            **_LOGISTIC,
            "experiment": "data",
            "inner_steps": 20,
            "penalty": 0.01,
            "meta_step": 0.05,
            "fresh": False,
            "steps": 300,
        },
    ),
    Preset(
        "l2-maps",
        "Penalties of each pixel",
        "A penalty for each weight of a logistic regression, drawn as maps. Digits of 8×8, few of them, and Adam; the paper "
        "has MNIST, plain gradient descent at 1000, and a small prior on the penalties that is left out here.",
        {
            **_LOGISTIC,
            "experiment": "l2",
            "train_size": 200,
            "valid_size": 1000,
            "inner_steps": 50,
            "batch": 100,
            "penalty": 0.0272,
            "meta_step": 0.05,
            "fresh": False,
            "steps": 300,
        },
    ),
    Preset(
        "multi-task",
        "What tasks share",
        "Four tasks on digits of 8×8: halves of the classes, upright and turned. A matrix for each layer says which tasks "
        "share weights, and is learned. The paper has ten Omniglot alphabets, see the next preset.",
        {
            "experiment": "tasks",
            "data": "digits",
            "hidden": "24, 16",
            "inner_steps": 50,
            "alpha": 1.0,
            "gamma": 0.9,
            "init_scale": 0.135,
            "penalty": 0.002,
            "objective": "validation",
            "outer": "descent",
            "meta_step": 0.1,
            "steps": 60,
        },
    ),
    Preset(
        "omniglot",
        "Paper: Omniglot alphabets",
        "The paper's sizes: five alphabets, upright and turned by 90 degrees, 784-400-200-55, 50 iterations on all drawings, "
        "gradient descent at 0.2. The five are the first on this machine with at most 55 characters, which may not be the "
        "paper's. Slow on a CPU.",
        {
            "experiment": "tasks",
            "data": "omniglot",
            "hidden": "400, 200",
            "inner_steps": 50,
            "alpha": 1.0,
            "gamma": 0.9,
            "init_scale": 0.135,
            "penalty": 0.0183,
            "objective": "validation",
            "outer": "descent",
            "meta_step": 0.2,
            "steps": 20,
        },
    ),
    Preset(
        "chaos",
        "Chaos",
        "Each step trains with one step size and takes the loss and its hypergradient there. Beyond a critical step size "
        "both are wild. Digits of 8×8 and 64-50-10; the paper has MNIST and 784-200-50-10.",
        {
            "experiment": "chaos",
            "data": "digits",
            "train_size": 1000,
            "hidden": "50",
            "inner_steps": 50,
            "batch": 100,
            "gamma": 0.9,
            "init_scale": 0.135,
            "chaos_low": 0.3,
            "chaos_high": 30.0,
            "steps": 500,
        },
    ),
    Preset(
        "toy",
        "Two weights",
        "The paper's figure 1: a path of 50 iterations with momentum 0.99 through a bent valley, and the paths that "
        "hypergradients make of it. Gradient descent at 0.001 for the paper's 0.01 with momentum 0.9, and it goes on after "
        "three meta-iterations.",
        {
            "experiment": "toy",
            "inner_steps": 50,
            "alpha": 0.0111,
            "gamma": 0.99,
            "outer": "descent",
            "meta_step": 0.001,
            "stop_above": 1e4,
            "steps": 30,
        },
    ),
    Preset(
        "break-it",
        "Break it: floats",
        "The demo in floats, with momentum 0.5: each rounding error doubles at each step back, and training does not find "
        "home. Switch on exact integers.",
        {**_SCHEDULES, "exact": False, "inner_steps": 120},
    ),
)

VIEWS = (
    FigureSpec(
        "schedule",
        "Schedules",
        "Step size and momentum of each layer's weights over the inner iterations (the paper's figure 2), scrubbed by "
        "meta-iteration: thin as they are, thick as moving means.",
        "fast",
    ),
    FigureSpec(
        "curves",
        "Inner training",
        "Loss of each batch over the inner iterations (the paper's figure 3, left): the newest meta-iteration strong, "
        "earlier ones fading.",
        "fast",
    ),
    CurveSpec(
        "meta",
        "Meta-training",
        "Cross-entropy at the end of each inner training (the paper's figure 3, right).",
        (
            ("meta_loss_nats", "meta-objective", "model"),
            ("train_loss_nats", "training", "data"),
            ("valid_loss_nats", "validation", "target"),
        ),
        "Loss",
        y_unit="nats",
    ),
    FigureSpec(
        "hypergradient",
        "Hypergradient",
        "How the meta-objective would change with each step size and momentum (the paper's figure 4), of the newest "
        "meta-iteration and its running mean. Below 0: raise it.",
        "fast",
    ),
    CurveSpec(
        "norm",
        "Length of the hypergradient",
        "Over all hyperparameters that are learned. Where it blows up training has become chaotic.",
        (("hypergradient_norm", "hypergradient", "model"),),
        "Norm",
        y_scale="log",
    ),
    FigureSpec(
        "film",
        "Film runs backwards",
        "One training out and back: its loss, the information buffer, some of its weights, and all bits of a few of them; "
        "those that are not what they were at the same moment on the way out are in vermilion. In exact integers it comes "
        "home to the very bits; in floats it misses.",
    ),
    FigureSpec(
        "reversal",
        "Reversal meter",
        "Going back from the last iteration to the first: how many of the 64 bits of each weight are wrong, in exact "
        "integers and in floats; and the bits that the information buffer holds for each weight on the way out, beside a "
        "tape that stores 32 bits at each step.",
    ),
    CurveSpec(
        "buffer",
        "Buffer",
        "Bits that the information buffer takes for each weight at each step, measured, and log2(1 / momentum).",
        (
            ("buffer_bits", "measured", "model"),
            ("theory_bits", "log2(1 / momentum)", "past"),
        ),
        "Bits per weight and step",
        y_unit="bits",
    ),
    FigureSpec(
        "scales",
        "Initial scales",
        "Scale of each layer's initial weights over the meta-iterations, with 1/√N of its inputs dashed (the paper's figure "
        "5).",
        "fast",
    ),
    FigureSpec(
        "learned",
        "Learned training set",
        "The learned pictures, one of each class, as they emerge over the meta-iterations (the paper's figure 7).",
        "fast",
    ),
    FigureSpec(
        "penalties",
        "Maps of penalties",
        "The logarithm of each weight's penalty, one map for each class (the paper's figure 6): bright pixels are held near "
        "0.",
        "fast",
    ),
    FigureSpec(
        "sharing",
        "Sharing",
        "For each layer, how strongly the weights of two tasks are correlated, T T^T scaled to 1 on the diagonal (the "
        "paper's figure 9).",
        "fast",
    ),
    FigureSpec(
        "toy",
        "Two weights",
        "The surface, and the path of each meta-iteration over it (the paper's figure 1), drawn from above.",
        "fast",
    ),
    FigureSpec(
        "chaos",
        "Chaos",
        "Loss after training, and its derivative by the logarithm of the step size, over that logarithm (the paper's figure "
        "10). The shaded side is safe: up to there the slope that the hypergradient tells is the one that the loss has.",
        "fast",
    ),
    FigureSpec(
        "race",
        "Draw a schedule",
        "Draw a schedule of step sizes. Arrows show how the hypergradient would bend it. It races the learned and the first "
        "schedule on the same start and batches.",
    ),
)

METHOD = Method(
    engine="engines.reversible_learning.engine:ReversibleLearningEngine",
    config=ReversibleLearningSettings,
    presets=PRESETS,
    views=VIEWS,
    headline="meta_loss_nats",
    headline_label="Final loss (nats)",
    maximise=False,
    watched="meta_loss_nats",
    learning_rate="meta_step",
    bench="engines.reversible_learning.bench:bench",
)
