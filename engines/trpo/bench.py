"""How fast TRPO is, beside sb3-contrib's and beside the bare simulation; the main thread of ``lab bench engines``.

Everything is measured in turns within one run, each turn with a policy that begins anew: simulations reset more often
while a policy is bad, and so every part has the same share of resets. Bare stepping is the limit of what any method can
reach on this machine: random actions, nothing computed, on as many threads or processes as there are cores.

Network, batch, passes and minibatches of the critic are alike. What differs: ours plays whole episodes in one process for
each core, and fits the critic while the policy is updated; sb3-contrib steps its environments in turns, in one process or
in several, whichever is faster.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from engines.bench import ratios, threads_of_the_lab
from engines.config import Preset, find_preset
from engines.errors import InputError
from engines.trpo.config import METHOD, TrpoSettings
from engines.trpo.environments import Environment

PRESETS = ("hopper", "cartpole")
"""Measured when none is chosen."""

PEER = ("sb3_contrib", "stable_baselines3")

SAME_WORK = {
    "critic": True,
    "standardise": True,
    "fisher_fraction": 1.0,
    "sampling": "single_path",
    "rule": "trpo",
}
"""What sb3-contrib's TRPO does whatever the preset says: a critic, standardised advantages, the whole batch."""

BACKTRACKS = 10
"""Steps that the line search tries at most, as `engines.trpo.trust_region.update` has it unless told otherwise."""

DRAWN = 4096
"""Random actions that are drawn before the clock starts, and taken in turns."""


@dataclass(frozen=True)
class Turn:
    """One part of one round.

    Attributes
    ----------
    steps : int
        Of the environment; those that training used.
    episodes : float
        Begun within them.
    seconds : float
    """

    steps: int
    episodes: float
    seconds: float

    @property
    def rate(self) -> float:
        """Environment steps per second."""
        return self.steps / self.seconds


Part = Callable[[int], list[Turn]]
"""One turn, given the round's number; a list, as several processes have one each."""


def bench(preset: Preset | None, seconds: float, rounds: int, peer: str) -> dict[str, Any]:
    """Environment steps per second of the whole loop, collecting and updating.

    Parameters
    ----------
    preset : Preset or None
        Its environment and settings; None for `PRESETS`.
    seconds : float
        Of each part of each round, at least; updates are never cut short.
    rounds : int
    peer : {"auto", "yes", "no"}
        Measure sb3-contrib beside: if it is installed, always, or never.

    Returns
    -------
    dict
        Plain data.

    Raises
    ------
    InputError
        sb3-contrib is wanted and not installed.
    """
    missing = any(importlib.util.find_spec(name) is None for name in PEER)
    if missing and peer == "yes":
        raise InputError(
            "sb3-contrib, which is to be measured beside, is not installed: pip install 'paperlab[bench]', or leave out "
            "--peer yes."
        )
    with_peer = peer != "no" and not missing
    presets = [preset] if preset is not None else [find_preset(METHOD.presets, name) for name in PRESETS]
    with threads_of_the_lab() as threads:
        environments = {p.id: _bench_one(p, seconds, rounds, with_peer) for p in presets}
    names = ["gymnasium", "mujoco", "numpy"] + (["sb3-contrib", "stable-baselines3"] if with_peer else [])
    result: dict[str, Any] = {
        "seconds": seconds,
        "rounds": rounds,
        "trained_on": "cpu",
        "torch_threads": threads,
        "versions": {name: version(name) for name in names},
        "presets": environments,
    }
    if not with_peer:
        result["note"] = (
            "sb3-contrib was left out, as --peer no asks."
            if peer == "no"
            else "sb3-contrib is not installed and was left out: pip install 'paperlab[bench]' measures it beside."
        )
    return result


def _bench_one(preset: Preset, seconds: float, rounds: int, with_peer: bool) -> dict[str, Any]:
    settings = TrpoSettings.build({**preset.values, **SAME_WORK, "steps": 10_000_000})
    cores = max(1, os.cpu_count() or 1)
    with ExitStack() as stack:
        parts: dict[str, Part] = {"ours": lambda number: [_ours(settings, number, seconds)]}
        if with_peer:
            parts["sb3_dummy"] = lambda number: [_sb3(settings, number, seconds, cores, False)]
            parts["sb3_subprocesses"] = lambda number: [_sb3(settings, number, seconds, cores, True)]
        parts["bare_threads"] = stack.enter_context(_bare_threads(settings, seconds))
        parts["bare_processes"] = stack.enter_context(_bare_processes(settings, seconds, cores))
        rates: dict[str, list[float]] = {name: [] for name in parts}
        lengths: dict[str, list[float]] = {name: [] for name in parts}
        for number in range(rounds):
            for name, part in parts.items():
                turns = part(number)
                rates[name].append(sum(turn.rate for turn in turns))
                lengths[name].append(sum(t.steps for t in turns) / max(1.0, sum(t.episodes for t in turns)))
    measured = {
        name: {
            "steps_per_s": round(statistics.median(rates[name]), 1),
            "all_steps_per_s": [round(rate, 1) for rate in rates[name]],
            "episode_length": round(statistics.median(lengths[name]), 1),
        }
        for name in parts
    }
    result: dict[str, Any] = {
        "environment": settings.environment,
        "seed": settings.seed,
        "cores": cores,
        "settings": {name: getattr(settings, name) for name in _COMPARED},
        **measured,
    }
    limit = _faster(rates, "bare_threads", "bare_processes")
    result["limit"] = limit
    result.update(ratios("share_of_limit", rates["ours"], rates[limit]))
    if with_peer:
        peer = _faster(rates, "sb3_dummy", "sb3_subprocesses")
        result["sb3"] = peer
        result.update(ratios("ratio_to_sb3", rates["ours"], rates[peer]))
    return result


_COMPARED = (
    *("batch_steps", "layers", "units", "gamma", "lambda_", "critic", "critic_epochs", "critic_step_size"),
    *("standardise", "delta", "cg_iterations", "damping", "fisher_fraction", "initial_log_std"),
    "shrink",
    "scale_observations",
)


def _faster(rates: dict[str, list[float]], *names: str) -> str:
    return max(names, key=lambda name: statistics.median(rates[name]))


def _ours(settings: TrpoSettings, number: int, seconds: float) -> Turn:
    import torch

    from engines.trpo.engine import TrpoEngine

    engine = TrpoEngine(settings.model_copy(update={"seed": settings.seed + number}), torch.device("cpu"))
    try:
        # The first update, which also fills caches and starts threads, does not count; nor does the start of processes.
        engine.arena.wait_for_processes()
        engine.step()
        first, episodes = engine.environment_steps, 0.0
        began = time.perf_counter()
        while True:
            episodes += engine.step()["episodes"]
            now = time.perf_counter()
            if now - began >= seconds:
                return Turn(engine.environment_steps - first, episodes, now - began)
    finally:
        engine.close()


# --- sb3-contrib  ----------


def _sb3(settings: TrpoSettings, number: int, seconds: float, cores: int, processes: bool) -> Turn:
    callbacks: Any = importlib.import_module("stable_baselines3.common.callbacks")

    class Clock(callbacks.BaseCallback):  # type: ignore[misc]
        """Counts whole iterations, from the second on; ends training when the time is over."""

        def __init__(self) -> None:
            super().__init__()
            self.begins: list[tuple[int, float]] = []
            self.episodes = 0.0

        def _on_rollout_start(self) -> None:
            self.begins.append((self.num_timesteps, time.perf_counter()))

        def _on_rollout_end(self) -> None:
            if len(self.begins) > 1:
                self.episodes += float(self.model.rollout_buffer.episode_starts.sum())

        def _on_step(self) -> bool:
            return len(self.begins) < 3 or self.begins[-1][1] - self.begins[1][1] < seconds

    model = sb3_model(settings, settings.seed + number, cores, processes=processes)
    clock = Clock()
    try:
        model.learn(10**9, callback=clock)
    finally:
        model.get_env().close()
    (first, began), (last, ended) = clock.begins[1], clock.begins[-1]
    return Turn(last - first, clock.episodes, ended - began)


def sb3_model(settings: TrpoSettings, seed: int, environments: int, *, processes: bool = False) -> Any:
    """sb3-contrib's TRPO with our settings: the same network, batch, critic and line search; observations unscaled.

    Parameters
    ----------
    settings : TrpoSettings
        With a critic; those that it has no word for are ignored.
    seed : int
    environments : int
        Stepped side by side; the batch is divided among them.
    processes : bool
        Each in a process of its own (SubprocVecEnv), or all in this one (DummyVecEnv).

    Raises
    ------
    ImportError
        It is not installed.
    """
    from sb3_contrib import TRPO
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    from engines.trpo.engine import CRITIC_BATCH, CRITIC_UNITS

    makers: list[Callable[[], Any]] = [_GymMaker(settings.environment)] * environments
    with warnings.catch_warnings():
        # The critic's last batch is smaller than its others; ours is too.
        warnings.filterwarnings("ignore", "You have specified a mini-batch size")
        return TRPO(
            "MlpPolicy",
            (SubprocVecEnv if processes else DummyVecEnv)(makers),
            learning_rate=settings.critic_step_size,
            n_steps=max(2, round(settings.batch_steps / environments)),
            batch_size=CRITIC_BATCH,
            gamma=settings.gamma,
            cg_max_steps=settings.cg_iterations,
            cg_damping=settings.damping,
            line_search_shrinking_factor=settings.shrink,
            line_search_max_iter=BACKTRACKS,
            n_critic_updates=settings.critic_epochs,
            gae_lambda=settings.lambda_,
            normalize_advantage=settings.standardise,
            target_kl=settings.delta,
            policy_kwargs={
                "net_arch": {"pi": [settings.units] * settings.layers, "vf": list(CRITIC_UNITS)},
                "log_std_init": settings.initial_log_std,
            },
            seed=seed,
            device="cpu",
        )


@dataclass(frozen=True)
class _GymMaker:
    """Makes an environment with gymnasium's own time limit and without its checks, as ours is; goes to processes."""

    id: str

    def __call__(self) -> Any:
        import gymnasium

        return gymnasium.make(self.id, disable_env_checker=True)


# --- the bare simulation  ----------


@contextmanager
def _bare_threads(settings: TrpoSettings, seconds: float) -> Iterator[Part]:
    """Random actions on the threads that the engine would have."""
    from engines.trpo.rollouts import Arena

    arena = Arena(Environment(settings.environment))

    def part(number: int) -> list[Turn]:
        seeds = itertools.count(settings.seed + 1000 * number)
        return arena.side_by_side(
            lambda environment: step_bare(environment, settings.horizon, seconds, next(seeds))
        )

    try:
        yield part
    finally:
        arena.close()


@contextmanager
def _bare_processes(settings: TrpoSettings, seconds: float, cores: int) -> Iterator[Part]:
    """Random actions in one process for each core."""
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:

        def part(number: int, seconds: float = seconds) -> list[Turn]:
            seeds = [settings.seed + 1000 * number + index for index in range(cores)]
            jobs = [
                pool.submit(_step_in_process, settings.environment, settings.horizon, seconds, seed)
                for seed in seeds
            ]
            return [job.result() for job in jobs]

        # Starts them: a process that imports would slow the others down.
        part(0, 0.2)
        yield part


_in_process: dict[str, Environment] = {}
"""The simulations of a process of `_bare_processes`, kept from turn to turn."""


def _step_in_process(id: str, horizon: int, seconds: float, seed: int) -> Turn:
    if id not in _in_process:
        _in_process[id] = Environment(id)
    return step_bare(_in_process[id], horizon, seconds, seed)


def step_bare(environment: Environment, horizon: int, seconds: float, seed: int) -> Turn:
    """Step a simulation with random actions and nothing else, below the lab's own `Environment`.

    Parameters
    ----------
    environment : Environment
    horizon : int
        As the setting.
    seconds : float
    seed : int
        Of the resets and of the actions.
    """
    gym = environment.gym
    limit = environment.facts.horizon(horizon)
    gym.action_space.seed(seed)
    actions = itertools.cycle([gym.action_space.sample() for _ in range(DRAWN)])
    steps = episodes = 0
    began = time.perf_counter()
    while True:
        # A seed makes a new generator, which takes as long as the reset itself: only the first needs one.
        gym.reset(seed=None if episodes else seed)
        episodes += 1
        for action in itertools.islice(actions, limit):
            steps += 1
            _, _, terminated, truncated, _ = gym.step(action)
            if terminated or truncated:
                break
        now = time.perf_counter()
        if now - began >= seconds:
            return Turn(steps, float(episodes), now - began)
