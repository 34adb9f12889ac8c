"""The TRPO engine: plays episodes, improves the policy within its trust region; runs on the worker's loop.

Schulman, Levine, Moritz, Jordan, Abbeel 2015, arXiv:1502.05477. A step is one update on one batch of whole episodes.
Every batch has random numbers of its own, derived from the seed and the number of the update: there is no state of a
simulation to keep, and a run that is rewound repeats itself bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.engine import Engine, stream
from engines.errors import InputError
from engines.figures import Figure
from engines.method import Action
from engines.trpo import pictures
from engines.trpo.actors import Actor
from engines.trpo.config import METHOD, GivePolicy, GiveUpdates, SetPolicy, TrpoSettings, WhatIf
from engines.trpo.critic import Critic, Scale, move_inputs, raw_layers
from engines.trpo.environments import Environment
from engines.trpo.estimators import (
    EnumeratedVine,
    SampledVine,
    SinglePath,
    Surrogate,
    discounted_returns,
    generalised_advantages,
    standardised,
)
from engines.trpo.memory import Memory, Remembered
from engines.trpo.policies import CategoricalPolicy, GaussianPolicy, Policy
from engines.trpo.rollouts import Arena, Episode
from engines.trpo.snapshots import Snapshots, snapshots_of
from engines.trpo.trust_region import Report, update
from engines.trpo.vine import collect_vine

EVALUATED = 100
"""Episodes of the final mean return."""

PROBED = 256
"""States of a batch on which pictures of its step are computed."""

CRITIC_UNITS = (64, 64)
CRITIC_BATCH = 256


@dataclass(frozen=True)
class Weights:
    """A policy apart from the one in training.

    Attributes
    ----------
    theta : array (P,)
    mean, deviation : array (O,)
        The scale of its observations.
    """

    theta: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


@dataclass
class _Batch:
    """One batch, as the update wants it."""

    episodes: list[Episode]
    observations: np.ndarray
    scaled: Tensor
    surrogate: Surrogate
    actions: Tensor | None
    steps: int
    returns: np.ndarray | None = None
    scalars: dict[str, float] = field(default_factory=dict)


class TrpoEngine(Engine):
    """Trains a stochastic policy in a gymnasium environment.

    Scalars of a step
    -----------------
    mean_return, episode_length
        Of the batch's episodes (of the trunks, with vine), under the policy before the update; undiscounted.
    environment_steps
        Steps of the environment so far, branches among them.
    episodes
        In the batch.
    kl, max_kl
        KL( old || new ) over the batch's states after the update, nats; 0 where no step was taken.
    delta
        The limit.
    kl_share
        kl / delta.
    predicted, actual
        How much the surrogate was to rise by its gradient, and how much it rose.
    backtracks
        How often the step was shrunk; the number of tries where none was taken.
    taken
        1 if a step was taken, else 0.
    entropy
        Of the policy after the update, nats, mean over states.
    gradient_norm, cg_residual
        ||g||, and ||A s - g|| / ||g|| after the last iteration.
    explained_variance
        Of the returns by the critic, before it was fitted to them; only with a critic.
    """

    method = METHOD
    config: TrpoSettings

    def __init__(self, config: TrpoSettings, device: torch.device) -> None:
        super().__init__(config, device)
        first = Environment(config.environment)
        self.facts = first.facts
        self.arena = Arena(first)
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="lab-critic")
        self._snapshots: Snapshots | None = None
        if config.sampling == "vine":
            self._find_snapshots()
        self.policy = self._make_policy(stream(config.seed, "initialisation"))
        self.critic = Critic(self.facts.observation_size, CRITIC_UNITS, stream(config.seed, "critic"), device)
        self.scale = Scale(self.facts.observation_size)
        self._step = 0
        self._environment_steps = 0
        self.memory = Memory()
        self.hand = pictures.Hand()
        self.stage = pictures.Stage(self)

    def _make_policy(self, generator: torch.Generator) -> Policy:
        config, facts = self.config, self.facts
        hidden = [config.units] * config.layers
        policy: Policy
        if facts.discrete:
            policy = CategoricalPolicy(facts.observation_size, facts.action_size, hidden, generator=generator)
        else:
            policy = GaussianPolicy(
                facts.observation_size,
                facts.action_size,
                hidden,
                initial_log_std=config.initial_log_std,
                generator=generator,
            )
        return policy.to(self.device)

    def _find_snapshots(self) -> Snapshots:
        if self._snapshots is None:
            self._snapshots = snapshots_of(self.arena.environments[0])
        return self._snapshots

    # --- training  ----------

    @property
    def updates(self) -> int:
        """Updates done."""
        return self._step

    @property
    def environment_steps(self) -> int:
        """Steps of the environment that training took."""
        return self._environment_steps

    def weights(self) -> Weights:
        """The policy in training."""
        mean, deviation = self._units()
        return Weights(self.policy.flat().cpu().numpy(), mean, deviation)

    def actor(self, weights: Weights | None = None) -> Actor:
        """A policy that takes the environment's own observations: the one in training, or another."""
        if weights is None:
            weights = self.weights()
        policy = self._make_policy(torch.Generator())
        policy.set_flat(weights.theta)
        raw_layers(policy, weights.mean, weights.deviation)
        return policy.numpy_actor()

    def seed_of(self, purpose: str, number: int) -> np.random.SeedSequence:
        """Random numbers for one purpose of one update."""
        return np.random.SeedSequence([self.config.seed, *purpose.encode(), number])

    def step(self) -> Mapping[str, float]:
        """One batch and one update.

        Raises
        ------
        StepError
            The environment failed; nothing has changed.
        """
        config = self.config
        batch = self._collect()
        # The critic and the policy know nothing of each other while they learn: at the same time, where there are cores.
        fitting = self._beside.submit(self._fit, batch)
        try:
            report = update(
                self.policy,
                batch.scaled,
                batch.surrogate,
                rule=config.rule,
                delta=config.delta,
                cg_iterations=config.cg_iterations,
                damping=config.damping,
                fisher_fraction=config.fisher_fraction,
                generator=stream(config.seed, f"fisher {self._step}"),
                shrink=config.shrink,
                step_size=config.step_size,
                constraint=config.constraint,
                fisher=config.fisher,
                actions=batch.actions,
                keep_iterates=True,
            )
        finally:
            explained = fitting.result()
        self._step += 1
        self._environment_steps += batch.steps
        self._remember(batch, report)
        if explained is not None:
            batch.scalars["explained_variance"] = explained
        if config.scale_observations:
            self._rescale(batch.observations)
        return self._scalars(batch, report)

    def _fit(self, batch: _Batch) -> float | None:
        """Fit the critic, if there is one; the part of the returns that it explained before."""
        if batch.returns is None:
            return None
        config = self.config
        return self.critic.fit(
            batch.scaled,
            batch.returns,
            epochs=config.critic_epochs,
            batch=CRITIC_BATCH,
            step_size=config.critic_step_size,
            generator=stream(config.seed, f"critic {self._step + 1}"),
        )

    def _scalars(self, batch: _Batch, report: Report) -> dict[str, float]:
        totals = [episode.total for episode in batch.episodes]
        tried = len(report.fractions)
        residuals = report.residuals
        return {
            "mean_return": float(np.mean(totals)),
            "episode_length": float(np.mean([len(episode) for episode in batch.episodes])),
            "environment_steps": float(self._environment_steps),
            "episodes": float(len(totals)),
            "kl": report.mean_kl,
            "max_kl": report.max_kl,
            "delta": report.delta,
            "kl_share": report.mean_kl / report.delta,
            "predicted": report.predicted,
            "actual": report.actual,
            "backtracks": float(tried if report.accepted is None else report.accepted),
            "taken": float(report.accepted is not None),
            "entropy": report.entropy_after,
            "gradient_norm": report.gradient_norm,
            "cg_residual": float(residuals[-1] / residuals[0])
            if len(residuals) and residuals[0] > 0
            else 0.0,
            **batch.scalars,
        }

    def _collect(self) -> _Batch:
        config = self.config
        seed = self.seed_of("batch", self._step)
        actor = self.actor()
        horizon = self.facts.horizon(config.horizon)
        if config.sampling == "vine":
            return self._collect_vine(actor, horizon, seed)
        episodes = self.arena.collect(actor, config.batch_steps, horizon, seed)
        observations = np.concatenate([episode.observations for episode in episodes])
        rewards = np.concatenate([episode.rewards for episode in episodes])
        lengths = np.array([len(episode) for episode in episodes])
        actions = self._tensor(np.concatenate([episode.actions for episode in episodes]))
        scaled = self._scaled(observations)
        returns = None
        if config.critic:
            # Where a limit cut an episode off, the critic says what would have followed.
            last = self.critic.values(self._scaled(np.stack([episode.last for episode in episodes])))
            after = np.where([episode.terminated for episode in episodes], 0.0, last)
            values = self.critic.values(scaled)
            worth = generalised_advantages(rewards, values, lengths, config.gamma, config.lambda_, after)
            returns = worth + values
        else:
            worth = discounted_returns(rewards, lengths, config.gamma)
        if config.standardise:
            worth = standardised(worth)
        surrogate = SinglePath(actions, self._log_q(scaled, actions), self._tensor(worth).float())
        return _Batch(episodes, observations, scaled, surrogate, actions, len(rewards), returns)

    def _collect_vine(self, actor: Actor, horizon: int, seed: np.random.SeedSequence) -> _Batch:
        config = self.config
        found = collect_vine(
            self.arena,
            self._find_snapshots(),
            actor,
            trunk_steps=config.batch_steps,
            horizon=horizon,
            states=config.vine_states,
            actions=config.vine_actions,
            length=config.vine_length,
            gamma=config.gamma,
            seed=seed,
        )
        values = standardised(found.values) if config.standardise else found.values
        scaled, worth = self._scaled(found.observations), self._tensor(values).float()
        self.stage.vine = found
        surrogate: Surrogate
        if found.actions is None:
            surrogate = EnumeratedVine(worth)
            # The empirical Fisher matrix wants actions that the policy would draw.
            drawn = self.policy.sample(
                self._distribution(scaled), stream(self.config.seed, f"drawn {self._step}", self.device)
            )
            actions = drawn
        else:
            actions = self._tensor(found.actions)
            log_q = self._log_q(scaled, actions) if found.log_q is None else self._tensor(found.log_q).float()
            surrogate = SampledVine(actions, log_q, worth)
        # The trunks' observations, not the rollout set's: they are more.
        observations = np.concatenate([episode.observations for episode in found.trunks])
        return _Batch(found.trunks, observations, scaled, surrogate, actions, found.steps)

    @torch.no_grad()
    def _distribution(self, scaled: Tensor) -> tuple[Tensor, ...]:
        return self.policy.distribution(scaled)

    @torch.no_grad()
    def _log_q(self, scaled: Tensor, actions: Tensor) -> Tensor:
        parts = self.policy.distribution(scaled)
        if actions.dim() > 1 + self.policy.action_axes:
            parts = tuple(part[:, None] for part in parts)
        return self.policy.log_prob(parts, actions)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def _units(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation by which observations are scaled."""
        if not self.config.scale_observations:
            size = self.facts.observation_size
            return np.zeros(size), np.ones(size)
        return self.scale.mean.copy(), self.scale.deviation

    def _scaled(self, observations: np.ndarray) -> Tensor:
        mean, deviation = self._units()
        return self._tensor(((observations - mean) / deviation).astype(np.float32))

    def _rescale(self, observations: np.ndarray) -> None:
        old = self._units()
        self.scale.add(observations)
        new = self._units()
        first: Any = self.policy.layers[0]
        move_inputs(first, old, new)
        valued: Any = self.critic.network[0]
        move_inputs(valued, old, new)

    def _remember(self, batch: _Batch, report: Report) -> None:
        count = len(batch.scaled)
        chosen = np.arange(min(PROBED, count)) * count // min(PROBED, count)
        index = torch.from_numpy(chosen).to(self.device)
        mean, deviation = self._units()
        self.memory.add(
            Remembered(
                self._step,
                report,
                mean,
                deviation,
                batch.scaled[index].cpu(),
                batch.surrogate.part(index),  # type: ignore[attr-defined]
                float(np.mean([episode.total for episode in batch.episodes])),
            ),
            None if self.hand.what_if is None else self.hand.what_if[0],
        )

    def apply(self, changes: Mapping[str, Any]) -> None:
        if changes.get("sampling") == "vine":
            # Says so now if its states cannot be put back, and not in the middle of a step.
            self._find_snapshots()
        super().apply(changes)

    def summary(self) -> dict[str, Any]:
        """The mean return of 100 fresh episodes under the newest policy, actions drawn as in training."""
        horizon = self.facts.horizon(self.config.horizon)
        actor = self.actor()
        returns, lengths = self._evaluate(actor, horizon)
        return {
            "mean_return": float(returns.mean()),
            "return_error": float(returns.std(ddof=1) / math.sqrt(len(returns))),
            "lowest_return": float(returns.min()),
            "highest_return": float(returns.max()),
            "mean_episode_length": float(lengths.mean()),
            "evaluation_episodes": len(returns),
            "environment_steps": self._environment_steps,
            "updates": self._step,
            "environment": self.facts.id,
        }

    def _evaluate(self, actor: Actor, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        from engines.trpo.rollouts import play

        def one(environment: Environment, number: int) -> tuple[float, int]:
            episode = play(environment, actor, self.seed_of("evaluation", number), horizon)
            assert episode is not None
            return episode.total, len(episode)

        found = self.arena.map(one, range(EVALUATED))
        return np.array([total for total, _ in found]), np.array([length for _, length in found])

    # --- the hand and the pictures  ----------

    def act(self, action: Action) -> Mapping[str, Any] | None:
        match action:
            case WhatIf():
                if action.update is None:
                    self.hand.what_if = None
                    return self._updates()
                remembered = self.memory.nearest(action.update)
                if remembered is None:
                    raise InputError("There is no update to look at yet: press Train first.")
                if not math.isfinite(action.fraction):
                    raise InputError("The length of the step must be a number: drag it again.")
                self.hand.what_if = (remembered.update, float(action.fraction))
                return self._updates()
            case GiveUpdates():
                return self._updates()
            case GivePolicy():
                weights = self.what_if_weights() if action.what_if else None
                newest = self.memory.newest if weights is None else None
                weights = weights or self.weights()
                return {
                    "theta": weights.theta,
                    "mean": weights.mean,
                    "deviation": weights.deviation,
                    "environment": self.config.environment,
                    "units": self.config.units,
                    "layers": self.config.layers,
                    "discrete": self.facts.discrete,
                    "observations": self.facts.observation_size,
                    "actions": self.facts.action_size,
                    "step": self._step,
                    "mean_return": newest.mean_return if newest is not None else None,
                }
            case SetPolicy():
                self._set_policy(action)
                return None
        return super().act(action)

    def _updates(self) -> dict[str, Any]:
        """What can be looked at, and what is: plain data."""
        held = self.hand.what_if
        return {"updates": list(self.memory.updates), "what_if": None if held is None else list(held)}

    def looked_at(self) -> tuple[Remembered | None, float | None]:
        """The update that is looked at, the newest unless the hand holds another, and the fraction that it holds."""
        if self.hand.what_if is None:
            return self.memory.newest, None
        update, fraction = self.hand.what_if
        return self.memory.nearest(update), fraction

    def what_if_weights(self) -> Weights | None:
        """The policy that the hand looks at; None when it looks at none."""
        remembered, fraction = self.looked_at()
        if remembered is None or fraction is None:
            return None
        report = remembered.report
        theta = report.theta_old + np.asarray(fraction * report.step, report.theta_old.dtype)
        return Weights(theta, remembered.mean, remembered.deviation)

    def _set_policy(self, action: SetPolicy) -> None:
        size, width = self.policy.size, self.facts.observation_size
        if (
            action.theta.shape != (size,)
            or action.mean.shape != (width,)
            or action.deviation.shape != (width,)
        ):
            raise InputError(
                f"This policy has {action.theta.size:,} parameters for {action.mean.size} observations, and the one in "
                f"training {size:,} for {width}: choose the environment, units and layers that it was trained with."
            )
        if not all(np.isfinite(part).all() for part in (action.theta, action.mean, action.deviation)):
            raise InputError("This policy holds numbers that are not finite: choose another one.")
        if not (action.deviation > 0).all():
            raise InputError("This policy's scale of observations is not positive: choose another one.")
        self.policy.set_flat(action.theta)
        first: Any = self.policy.layers[0]
        move_inputs(first, (action.mean, action.deviation), self._units())

    def figures(self, wanted: Collection[str]) -> dict[str, Figure]:
        return pictures.figures(self, wanted)

    def close(self) -> None:
        self._beside.shutdown()
        self.arena.close()
        self.stage.projector.close()

    # --- rewind  ----------

    def data_description(self) -> Mapping[str, str]:
        facts = self.facts
        import gymnasium

        kind = (
            f"{facts.action_size} actions" if facts.discrete else f"{facts.action_size} continuous controls"
        )
        return {
            "name": facts.id,
            "title": facts.id,
            "kind": "environment",
            "shape": str(facts.observation_size),
            "notes": f"{facts.observation_size} observations, {kind}",
            "source": f"gymnasium {gymnasium.__version__}",
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "environment_steps": self._environment_steps,
            "policy": self.policy.state_dict(),
            "critic": self.critic.state_dict(),
            "scale": self.scale.state_dict(),
            "memory": self.memory.state_dict(),
            "hand": self.hand.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.policy.load_state_dict(state["policy"])
        self.critic.load_state_dict(state["critic"])
        self.scale.load_state_dict(state["scale"])
        self.memory.load_state_dict(state["memory"])
        self.hand.load_state_dict(state["hand"])
        self._step = state["step"]
        self._environment_steps = state["environment_steps"]
