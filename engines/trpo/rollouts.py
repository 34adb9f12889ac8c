"""Episodes, played side by side and told apart by number alone; on a few threads of the worker, or processes of theirs.

A batch is the shortest run of whole episodes, numbered from 0, that has as many steps as were asked for. Each episode has
a seed of its own, for the environment and for the policy's noise, so that the batch does not depend on how many threads
or processes play it, nor on which of them is quicker.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.trpo.actors import Actor
from engines.trpo.environments import Environment

if TYPE_CHECKING:
    from engines.trpo.processes import Player

PATIENCE = 1.5
"""Seconds of collecting after which processes are started: what is over sooner does without them."""

MOST_PROCESSES = 16
"""Each takes as much memory as gymnasium and MuJoCo do, about 100 MB."""

logger = logging.getLogger(__name__)


class Gone(Exception):
    """A process that was to play has ended, or could not begin."""


@dataclass(frozen=True)
class Episode:
    """What happened from one reset to the end.

    Attributes
    ----------
    observations : array (T, O) of float32
        Those that the actions answered.
    actions : array (T, A) of float32, or (T,) of int
        As the policy drew them, before they are clipped to what the environment takes.
    rewards : array (T,) of float64
    last : array (O,) of float32
        The observation after the last step.
    terminated : bool
        It ended by itself; otherwise the horizon cut it off.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    last: np.ndarray
    terminated: bool

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def total(self) -> float:
        """The sum of its rewards, without discount."""
        return float(self.rewards.sum())


Watcher = Callable[[int, Environment], None]
"""Called before each step with its number, and once more after the last."""


def play(
    environment: Environment,
    actor: Actor,
    seed: np.random.SeedSequence,
    horizon: int,
    *,
    sampled: bool = True,
    watcher: Watcher | None = None,
    going: Callable[[], bool] | None = None,
    counts: list[int] | None = None,
    number: int = 0,
) -> Episode | None:
    """Play one episode.

    Parameters
    ----------
    environment : Environment
    actor : Actor
        Takes the environment's own observations.
    seed : SeedSequence
        Gives the environment's seed and the policy's noise.
    horizon : int
        Steps at most.
    sampled : bool
        Draw actions; otherwise take the likeliest.
    watcher : callable, optional
    going : callable, optional
        Asked before each step; when it says no, None is returned.
    counts : list of int, optional
        ``counts[number]`` is kept at the steps done.

    Raises
    ------
    StepError
    """
    first, second = seed.spawn(2)
    generator = np.random.default_rng(second)
    observation = environment.reset(int(first.generate_state(1)[0] >> 1))
    choose = actor.sampler(generator) if sampled else actor.chooser()
    step = environment.step
    observations, actions, rewards = [], [], []
    terminated = truncated = False
    for done in range(horizon):
        if going is not None and not going():
            return None
        if watcher is not None:
            watcher(done, environment)
        action = choose(observation)
        observations.append(observation)
        actions.append(action)
        observation, reward, terminated, truncated = step(action)
        rewards.append(reward)
        if counts is not None:
            counts[number] = done + 1
        if terminated or truncated:
            break
    if watcher is not None:
        watcher(len(rewards), environment)
    episode = Episode(
        np.array(observations, np.float32),
        np.array(actions),
        np.array(rewards, np.float64),
        np.array(observation, np.float32),
        terminated,
    )
    environment.check(np.vstack([episode.observations, episode.last[None]]), episode.rewards)
    return episode


class Arena:
    """Environments of one id, one for each thread, and the threads; later also a process for each, to play batches.

    Parameters
    ----------
    environment : Environment
        The first of them; the others are made like it when they are needed.
    threads : int
        0 takes one for each core where the simulator leaves Python to other threads, else one: pure Python gains nothing
        from a second.

    Attributes
    ----------
    threads : int
    processes : int
        How many there may be; 0 where there is but one thread to play, or one core.
    """

    def __init__(self, environment: Environment, threads: int = 0) -> None:
        simultaneous = environment.facts.simulator == "mujoco"
        cores = max(1, os.cpu_count() or 1)
        self.threads = threads or (cores if simultaneous else 1)
        # Of somebody's own environment in Python there is one at a time: it may hold what two cannot.
        own = not type(environment.gym.unwrapped).__module__.startswith("gymnasium.")
        wanted = self.threads if threads or own else cores
        self.processes = min(wanted, MOST_PROCESSES) if wanted > 1 else 0
        self.environments = [environment]
        self._id = environment.facts.id
        self._pool: ThreadPoolExecutor | None = None
        self._collected = 0.0  # seconds
        self._players: list[Player] = []
        self._starter: threading.Thread | None = None
        self._ready = False
        self._closed = False

    def environment(self, index: int) -> Environment:
        """The simulation of one thread."""
        while len(self.environments) <= index:
            self.environments.append(Environment(self._id))
        return self.environments[index]

    def side_by_side(self, work: Callable[[Environment], Any]) -> list[Any]:
        """Do the same work on every thread, each with its own simulation; the results in no particular order of work.

        Raises
        ------
        BaseException
            The first one's that failed, once all have ended.
        """
        if self.threads == 1:
            return [work(self.environments[0])]
        environments = [self.environment(index) for index in range(self.threads)]
        return self._side_by_side([functools.partial(work, environment) for environment in environments])

    def _side_by_side(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max(self.threads, self.processes), thread_name_prefix="lab-arena")
        futures = [self._pool.submit(work) for work in works]
        for future in futures:
            future.exception()
        return [future.result() for future in futures]

    def map(self, work: Callable[[Environment, Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """The results of ``work(environment, task)`` in the order of the tasks.

        Raises
        ------
        BaseException
            Of the first task in their order that failed among those that were done.
        """
        results: list[Any] = [None] * len(tasks)
        errors: dict[int, Exception] = {}
        numbers = itertools.count()

        def share(environment: Environment) -> None:
            while not errors and (number := next(numbers)) < len(tasks):
                try:
                    results[number] = work(environment, tasks[number])
                except Exception as error:
                    errors[number] = error

        self.side_by_side(share)
        if errors:
            raise errors[min(errors)]
        return results

    def collect(self, actor: Actor, steps: int, horizon: int, seed: np.random.SeedSequence) -> list[Episode]:
        """The shortest run of whole episodes with at least so many steps.

        Parameters
        ----------
        actor : Actor
        steps, horizon : int
        seed : SeedSequence
            Episode n has the n-th that it spawns.

        Raises
        ------
        StepError
        """
        if self._collected > PATIENCE:
            self.start_processes()
        began = time.perf_counter()
        try:
            if self._ready:
                try:
                    return self._collect(self._players, actor, steps, horizon, seed)
                except Gone:
                    self._ready = False
                    logger.warning("a process of %s has ended: threads go on", self._id)
            return self._collect((), actor, steps, horizon, seed)
        finally:
            self._collected += time.perf_counter() - began

    def _collect(
        self, players: Sequence[Player], actor: Actor, steps: int, horizon: int, seed: np.random.SeedSequence
    ) -> list[Episode]:
        batch = _Batch(steps)
        going = batch.going if self.threads > 1 else None

        def share(one: Callable[[np.random.SeedSequence, int], Episode | None]) -> None:
            while (number := batch.next()) is not None:
                own = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))
                try:
                    episode = one(own, number)
                except Exception as error:
                    batch.fail(number, error)
                    return
                if episode is not None:
                    batch.finish(number, episode)

        def here(environment: Environment) -> None:
            share(
                lambda own, number: play(
                    environment, actor, own, horizon, going=going, counts=batch.counts, number=number
                )
            )

        def there(player: Player) -> None:
            share(lambda own, number: player.play(actor, own, horizon, batch.going, batch.counts, number))

        if players:
            self._side_by_side([functools.partial(there, player) for player in players])
        else:
            self.side_by_side(here)
        return batch.result()

    def start_processes(self) -> bool:
        """Begin to start the processes, unless that has been done or there are to be none.

        They are made use of once all are there; until then, and where they cannot be had, threads play.

        Returns
        -------
        bool
            Whether there will be any, as far as is known.
        """
        from engines.trpo import processes

        if self._starter is not None or self._closed or not self.processes or not processes.AVAILABLE:
            return self._starter is not None
        id = self._id
        try:
            for _ in range(self.processes):
                self._players.append(processes.Player(id))
        except OSError:
            logger.warning("no process for %s could be started: threads go on", id, exc_info=True)

        def wait() -> None:
            try:
                for player in self._players:
                    player.wait()
            except Gone as error:
                if not self._closed:
                    logger.warning("no process for %s could begin (%s): threads go on", id, error)
            else:
                self._ready = bool(self._players)

        self._starter = threading.Thread(target=wait, name="lab-arena-start", daemon=True)
        self._starter.start()
        return True

    def wait_for_processes(self, timeout: float = 60.0) -> bool:
        """Start them if need be, and wait until they are ready; whether they are."""
        if self.start_processes():
            assert self._starter is not None
            self._starter.join(timeout)
        return self._ready

    def close(self) -> None:
        """Let go of threads, processes and simulations."""
        self._closed, self._ready = True, False
        players, self._players = self._players, []
        for player in players:
            player.close()
        if self._starter is not None:
            self._starter.join()
            self._starter = None
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        for environment in self.environments:
            environment.close()


class _Batch:
    """Which episodes are still needed; used by all threads of an arena."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._lock = threading.Lock()
        self._done: dict[int, Episode] = {}
        self._errors: dict[int, Exception] = {}
        self._first_open = 0  # all episodes before it are done
        self._sum = 0  # of their steps
        self._complete = False
        self.counts: list[int] = []

    def next(self) -> int | None:
        """The number of the next episode; None when the steps of those begun are enough already."""
        with self._lock:
            if self._complete or self._errors or sum(self.counts) >= self._steps:
                return None
            self.counts.append(0)
            return len(self.counts) - 1

    def going(self) -> bool:
        """Whether episodes in play still matter."""
        return not self._complete

    def finish(self, number: int, episode: Episode) -> None:
        with self._lock:
            self._done[number] = episode
            while not self._complete and self._first_open in self._done:
                self._sum += len(self._done[self._first_open])
                self._first_open += 1
                self._complete = self._sum >= self._steps

    def fail(self, number: int, error: Exception) -> None:
        with self._lock:
            self._errors[number] = error

    def result(self) -> list[Episode]:
        if self._complete:
            # One that failed after them is none of theirs.
            return [self._done[number] for number in range(self._first_open)]
        raise self._errors[min(self._errors)]
