"""Batches that processes play: the same as threads', with the same errors; and processes that do not stay."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from engines.errors import StepError
from engines.trpo import processes, rollouts
from engines.trpo.environments import Environment
from engines.trpo.processes import round_like, rounding
from engines.trpo.rollouts import Arena, play
from tests.engines.trpo.worlds import HERE, actor_for

pytestmark = pytest.mark.skipif(not processes.AVAILABLE, reason="only threads play here")


def same(one, other) -> bool:
    return len(one) == len(other) and all(
        a.terminated == b.terminated
        and a.observations.tobytes() == b.observations.tobytes()
        and a.actions.tobytes() == b.actions.tobytes()
        and a.actions.dtype == b.actions.dtype
        and a.rewards.tobytes() == b.rewards.tobytes()
        and a.last.tobytes() == b.last.tobytes()
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture
def arena():
    """Makes arenas of two threads, whose processes are ready; they are closed in the end."""
    made = []

    def make(id: str) -> Arena:
        made.append(Arena(Environment(id), 2))
        assert made[-1].wait_for_processes()
        return made[-1]

    yield make
    for one in made:
        one.close()


def pids(one: Arena) -> list[int]:
    return [player.pid for player in one._players]


def gone(pid: int) -> bool:
    """Whether a process that is no child of this one ends within 20 seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 20.0)[0])
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(("id", "steps", "horizon"), [("Hopper-v5", 150, 40), ("CartPole-v1", 400, 60)])
def test_a_batch_is_the_same_bit_for_bit_in_processes(arena, id, steps, horizon):
    one, alone = arena(id), Arena(Environment(id), 1)
    # The second policy must reach the processes as the first did.
    for number in range(2):
        actor, seed = actor_for(one.environments[0], seed=number), np.random.SeedSequence(number)
        batch = one.collect(actor, steps, horizon, seed)
        assert len(batch) > 3 and same(batch, alone.collect(actor, steps, horizon, seed))
    assert one._ready
    alone.close()


def test_an_error_within_the_batch_surfaces_with_its_sentence_and_one_beyond_it_does_not(arena):
    one = arena(f"{HERE}:LabUnlucky-v0")
    environment, alone = one.environments[0], Arena(Environment(f"{HERE}:LabUnlucky-v0"), 1)
    actor, met = actor_for(environment), 0
    for number in range(6):
        seed = np.random.SeedSequence(number)
        for steps in (1, 20, 60):
            try:
                expected = alone.collect(actor, steps, 100, seed)
            except StepError as error:
                met += 1
                with pytest.raises(StepError) as caught:
                    one.collect(actor, steps, 100, seed)
                assert str(caught.value) == str(error)
            else:
                assert same(one.collect(actor, steps, 100, seed), expected)
    assert 0 < met < 18 and one._ready


def test_an_episode_that_is_not_needed_is_broken_off(arena):
    """Half of the episodes never end; a batch without one is there all the same."""
    one = arena(f"{HERE}:LabMarathon-v0")
    environment = one.environments[0]
    actor, met = actor_for(environment), 0
    for number in range(12):
        seed = np.random.SeedSequence(number)
        own = seed.spawn(2)
        lengths = [len(play(environment, actor, one_seed, 100)) for one_seed in own]
        if lengths[0] < 100 and lengths[1] == 100:
            met += 1
            batch = one.collect(actor, lengths[0], 10**12, seed)
            assert [len(episode) for episode in batch] == lengths[:1]
    assert met > 1 and one._ready


def test_threads_take_over_from_a_process_that_was_killed(arena):
    one = arena("CartPole-v1")
    actor, seed = actor_for(one.environments[0]), np.random.SeedSequence(4)
    first = one.collect(actor, 300, 100, seed)
    os.kill(pids(one)[1], signal.SIGKILL)
    for _ in range(2):
        assert same(one.collect(actor, 300, 100, seed), first)
    assert not one._ready


def test_an_environment_that_only_this_process_knows_is_left_to_threads(caplog):
    import gymnasium

    gymnasium.register("LabOnlyHere-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
    try:
        one = Arena(Environment("LabOnlyHere-v0"), 2)
        assert not one.wait_for_processes()
        assert "threads go on" in caplog.text and "LabOnlyHere" in caplog.text
        assert one.collect(actor_for(one.environments[0]), 50, 100, np.random.SeedSequence(0))
        one.close()
    finally:
        del gymnasium.registry["LabOnlyHere-v0"]


def test_numbers_too_small_for_the_normal_format_are_in_processes_what_they_are_here(arena):
    """The lab's worker has them taken for zero, and a process that does not would play other episodes."""
    one, threads = arena(f"{HERE}:LabFaint-v0"), Arena(Environment(f"{HERE}:LabFaint-v0"), 2)
    actor, seed = actor_for(one.environments[0]), np.random.SeedSequence(0)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not round so")
    try:
        # The threads, made here, inherit it.
        batch, expected = (arena_.collect(actor, 20, 100, seed) for arena_ in (one, threads))
    finally:
        torch.set_flush_denormal(False)
        threads.close()
    assert same(batch, expected) and not batch[0].rewards.any()
    assert play(one.environments[0], actor, seed.spawn(1)[0], 100).rewards.all()


def test_the_rules_of_rounding_go_from_one_thread_to_another():
    before = rounding()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not round so")
    rules, found = rounding(), []
    torch.set_flush_denormal(False)

    def look() -> None:
        for some in (before, rules, before):
            round_like(some)
            found.append(float(np.float64(1e-300) * np.float64(1e-15)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found[0] > 0.0 and found[1] == 0.0 and found[2] == found[0]


def test_processes_are_for_gymnasiums_own_environments_and_for_many_threads(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    made = {id: Arena(Environment(id)) for id in ("CartPole-v1", "Hopper-v5", f"{HERE}:LabFive-v0")}
    assert [one.processes for one in made.values()] == [5, 5, 0]
    assert Arena(Environment("CartPole-v1"), 1).processes == 0
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert Arena(Environment("Hopper-v5")).processes == 0
    assert not made[f"{HERE}:LabFive-v0"].start_processes()


def test_they_are_started_when_collecting_goes_on_for_long_and_end_with_the_arena(monkeypatch):
    one = Arena(Environment("CartPole-v1"), 2)
    actor = actor_for(one.environments[0])
    one.collect(actor, 50, 100, np.random.SeedSequence(0))
    one.collect(actor, 50, 100, np.random.SeedSequence(1))
    assert not one._players, "two short batches are not worth it"
    monkeypatch.setattr(rollouts, "PATIENCE", 0.0)
    one.collect(actor, 50, 100, np.random.SeedSequence(2))
    begun = pids(one)
    assert len(begun) == 2
    # While they start, or once they are there.
    one.close()
    for pid in begun:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells of the end of others' children")
def test_no_process_outlives_who_started_it_even_if_that_is_killed_within_an_episode():
    code = f"""
import sys
sys.path[:] = {sys.path!r}
import numpy as np
from engines.trpo.actors import GaussianActor
from engines.trpo.environments import Environment
from engines.trpo.rollouts import Arena
arena = Arena(Environment("Pendulum-v1"), 2)
assert arena.wait_for_processes()
print(*(player.pid for player in arena._players), flush=True)
actor = GaussianActor([np.zeros((1, 3), "f4"), np.zeros(1, "f4")], np.zeros(1, "f4"))
arena.collect(actor, 10**12, 10**12, np.random.SeedSequence(0))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        begun = [int(word) for word in starter.stdout.readline().split()]
        starter.kill()
    assert len(begun) == 2 and all(map(gone, begun))
