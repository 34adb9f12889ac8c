"""Vine: branches from states along a few trunks, with common random numbers; on the worker's threads.

Schulman et al. 2015, section 5.2: trunks are played under the old policy; from each state of the rollout set several actions
are tried, each followed by a short rollout under the old policy. The rollouts of one state share their random numbers, the
policy's and the environment's, so that the differences between actions are not drowned in luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.trpo.actors import Actor
from engines.trpo.environments import Environment
from engines.trpo.rollouts import Arena, Episode, play
from engines.trpo.snapshots import Snapshots

ENUMERATED = 18
"""Every one of so many actions is tried, whatever the number that was asked for; of more some are drawn evenly."""

KEPT_PER_STATE, KEPT_BESIDES = 3, 16
"""How many states are kept along the trunks for each one that is chosen in the end, and how many more: how many steps there
will be is not known before, and of a few the number that is kept varies most."""

SHOWN = 12
"""States whose branches are remembered step by step, for the picture."""


@dataclass(frozen=True)
class Branches:
    """What one state's branches were, for a picture.

    Attributes
    ----------
    trunk, step : int
        Where the state lies.
    observations : tuple of array (L + 1, O)
        The branch of each action, from the state itself on.
    values : array (K,)
    """

    trunk: int
    step: int
    observations: tuple[np.ndarray, ...]
    values: np.ndarray


@dataclass(frozen=True)
class VineBatch:
    """The rollout set and what its actions were worth.

    Attributes
    ----------
    trunks : list of Episode
    observations : array (N, O)
    actions : array (N, K, A), (N, K), or None
        None where all actions were tried, in their order.
    log_q : array (N, K) or None
        Where actions were drawn evenly and not by the policy, the log-probability of each.
    values : array (N, K)
        Q: discounted rewards of each branch.
    steps : int
        Of the environment, trunks and branches together.
    shown : tuple of Branches
    """

    trunks: list[Episode]
    observations: np.ndarray
    actions: np.ndarray | None
    log_q: np.ndarray | None
    values: np.ndarray
    steps: int
    shown: tuple[Branches, ...]


@dataclass(frozen=True)
class _Branching:
    """A state of the rollout set and the actions that are tried from it."""

    state: Any
    observation: np.ndarray
    actions: np.ndarray
    seed: np.random.SeedSequence
    shown: bool


def collect_vine(
    arena: Arena,
    snapshots: Snapshots,
    actor: Actor,
    *,
    trunk_steps: int,
    horizon: int,
    states: int,
    actions: int,
    length: int,
    gamma: float,
    seed: np.random.SeedSequence,
) -> VineBatch:
    """Play trunks, choose states, branch.

    Parameters
    ----------
    arena, snapshots, actor
    trunk_steps, horizon : int
        As in `Arena.collect`.
    states, actions, length : int
        N, K and how long a branch is at most. There are fewer states where the trunks have not so many.
    gamma : float
    seed : SeedSequence

    Raises
    ------
    StepError
    """
    facts = arena.environments[0].facts
    trunk_seed, branch_seed = seed.spawn(2)
    kept_share = min(1.0, (KEPT_PER_STATE * states + KEPT_BESIDES) / trunk_steps)
    trunks, kept = _trunks(arena, snapshots, actor, trunk_steps, horizon, trunk_seed, kept_share)
    # The lowest lots of all steps are an even choice among them, however many there turned out to be.
    lots = sorted((lot, trunk, step) for trunk, found in enumerate(kept) for step, (lot, _) in found.items())
    chosen = sorted((trunk, step) for _, trunk, step in lots[:states])
    spacing = max(1, -(-len(chosen) // SHOWN))
    everything = facts.discrete and facts.action_size <= ENUMERATED
    tasks = []
    for number, (trunk, step) in enumerate(chosen):
        own = np.random.SeedSequence(branch_seed.entropy, spawn_key=(*branch_seed.spawn_key, number))
        observation = trunks[trunk].observations[step]
        if everything:
            tried = np.arange(facts.action_size)
        elif facts.discrete:
            tried = np.random.default_rng(own.spawn(1)[0]).integers(0, facts.action_size, actions)
        else:
            first = np.random.default_rng(own.spawn(1)[0])
            tried = np.concatenate([actor.act(observation[None], first) for _ in range(actions)])
        tasks.append(
            _Branching(kept[trunk][step][1], observation, tried, own.spawn(1)[0], number % spacing == 0)
        )

    def branch(environment: Environment, task: _Branching) -> tuple[np.ndarray, int, tuple[np.ndarray, ...]]:
        values, steps, traces = np.zeros(len(task.actions)), 0, []
        for index, action in enumerate(task.actions):
            snapshots.put(environment, task.state)
            value, done, trace = _branch(
                environment, actor, task.observation, action, length, gamma, task.seed, task.shown
            )
            values[index] = value
            steps += done
            traces.append(trace)
        return values, steps, tuple(traces)

    results = arena.map(branch, tasks)
    values = np.array([found[0] for found in results])
    # Their weights are taken for each state alone: what was drawn evenly has the same log-probability everywhere.
    even = facts.discrete and not everything
    return VineBatch(
        trunks,
        np.array([task.observation for task in tasks], np.float32),
        None if everything else np.array([task.actions for task in tasks]),
        np.full(values.shape, -np.log(facts.action_size)) if even else None,
        values,
        sum(map(len, trunks)) + sum(found[1] for found in results),
        tuple(
            Branches(trunk, step, found[2], found[0])
            for (trunk, step), found in zip(chosen[::spacing], results[::spacing], strict=True)
        ),
    )


def _trunks(
    arena: Arena,
    snapshots: Snapshots,
    actor: Actor,
    steps: int,
    horizon: int,
    seed: np.random.SeedSequence,
    share: float,
) -> tuple[list[Episode], list[dict[int, tuple[float, Any]]]]:
    """Whole episodes until there are enough steps, with the lots and the states of some of their steps."""

    def trunk(
        environment: Environment, number: int
    ) -> tuple[Episode, dict[int, tuple[float, Any]]] | Exception:
        own = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))
        lots = np.random.default_rng(own.spawn(1)[0]).random(horizon + 1)
        kept = lots < share
        # The first state of each is always kept: there is one to branch from however few there are.
        kept[0] = True
        states: dict[int, tuple[float, Any]] = {}

        def watch(step: int, world: Environment) -> None:
            if kept[step]:
                states[step] = float(lots[step]), snapshots.take(world)

        try:
            episode = play(environment, actor, own, horizon, watcher=watch)
        except Exception as error:
            # One that is not needed may fail.
            return error
        assert episode is not None
        # After the last step there is nothing to branch from.
        states.pop(len(episode), None)
        return episode, states

    episodes: list[Episode] = []
    kept: list[dict[int, tuple[float, Any]]] = []
    total, number = 0, 0
    while total < steps:
        # As many at once as there are threads, and of them as few as do, so that the threads make no difference.
        for found in arena.map(trunk, range(number, number + arena.threads)):
            if total >= steps:
                break
            if isinstance(found, Exception):
                raise found
            episodes.append(found[0])
            kept.append(found[1])
            total += len(found[0])
        number += arena.threads
    return episodes, kept


def _branch(
    environment: Environment,
    actor: Actor,
    observation: np.ndarray,
    action: Any,
    length: int,
    gamma: float,
    seed: np.random.SeedSequence,
    shown: bool,
) -> tuple[float, int, np.ndarray]:
    """The discounted rewards of one branch, its steps, and its observations where they are wanted."""
    generator = np.random.default_rng(seed)
    rewards: list[float] = []
    seen = [observation]
    for done in range(length):
        observation, reward, terminated, truncated = environment.step(action)
        rewards.append(reward)
        seen.append(observation)
        if terminated or truncated:
            break
        if done + 1 < length:
            action = actor.act(observation[None], generator)[0]
    gains, trace = np.array(rewards), np.array(seen, np.float32)
    environment.check(trace, gains, "a branch")
    return float(gains @ gamma ** np.arange(len(gains))), len(gains), trace if shown else trace[:0]
