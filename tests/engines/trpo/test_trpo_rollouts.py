"""Batches of episodes: which they are, whatever the number of threads; and what an episode holds."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from engines.errors import StepError
from engines.trpo.environments import Environment
from engines.trpo.rollouts import Arena, play
from tests.engines.trpo import worlds
from tests.engines.trpo.worlds import actor_for, length_of, whole, world


def same(a, b) -> bool:
    return a.terminated == b.terminated and all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in (
            (a.observations, b.observations),
            (a.actions, b.actions),
            (a.rewards, b.rewards),
            (a.last, b.last),
        )
    )


@pytest.fixture
def arena():
    """Makes arenas, which are closed in the end."""
    made = []

    def make(environment: Environment, threads: int) -> Arena:
        made.append(Arena(environment, threads))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def before(monkeypatch):
    """Sets what is done before each step of a numbered world."""
    return lambda hook: monkeypatch.setattr(worlds.Numbered, "before", staticmethod(hook))


# One episode


def test_an_episode_holds_what_was_seen_done_and_earned():
    environment = world("Numbered")
    episode = play(environment, actor_for(environment), np.random.SeedSequence(2), 100)
    count = length_of(whole(*episode.last[:2]))
    assert len(episode) == count and episode.terminated
    assert episode.observations.shape == (count, 3) and episode.observations.dtype == np.float32
    np.testing.assert_array_equal(episode.observations[:, 2], np.arange(count))
    # The reward tells the step that earned it and the action that was taken there.
    np.testing.assert_array_equal(episode.rewards, 10 * np.arange(count) + episode.actions)
    # After the last step, not before it.
    assert episode.last[2] == count
    assert episode.total == episode.rewards.sum()


def test_the_horizon_cuts_off_and_does_not_terminate():
    environment = world("Numbered")
    actor, seed = actor_for(environment), 2
    whole_one = play(environment, actor, np.random.SeedSequence(seed), 100)
    cut = play(environment, actor, np.random.SeedSequence(seed), len(whole_one) - 1)
    assert len(cut) == len(whole_one) - 1 and not cut.terminated
    np.testing.assert_array_equal(cut.last, whole_one.observations[-1])
    np.testing.assert_array_equal(cut.actions, whole_one.actions[:-1])
    # One that ends by itself in its last step has terminated.
    assert play(environment, actor, np.random.SeedSequence(seed), len(whole_one)).terminated


def test_an_environment_that_cuts_itself_off_has_not_terminated():
    environment = world("Cuts")
    episode = play(environment, actor_for(environment), np.random.SeedSequence(0), 100)
    assert len(episode) == 6 and not episode.terminated


def test_actions_are_kept_as_the_policy_drew_them():
    environment = world("Exact")
    episode = play(environment, actor_for(environment), np.random.SeedSequence(0), 100)
    assert episode.actions.shape == (10, 2) and episode.actions.dtype == np.float32
    assert np.abs(episode.actions).max() > 0.1


@pytest.mark.parametrize("name", ["Gamble", "Luck"])
def test_the_likeliest_actions_are_the_policys_mode_and_sampled_ones_are_not(name):
    environment = world(name)
    actor = actor_for(environment)
    likeliest = play(environment, actor, np.random.SeedSequence(0), 30, sampled=False)
    expected = [actor.mode(row[None])[0] for row in likeliest.observations]
    np.testing.assert_array_equal(likeliest.actions, expected)
    sampled = play(environment, actor, np.random.SeedSequence(0), 30)
    modes = np.array([actor.mode(row[None])[0] for row in sampled.observations])
    assert (sampled.actions != modes).any()
    # Both begin where the seed says.
    np.testing.assert_array_equal(sampled.observations[0], likeliest.observations[0])


def test_a_watcher_sees_every_state_and_the_last_one():
    environment = world("Numbered")
    seen = []
    episode = play(
        environment,
        actor_for(environment),
        np.random.SeedSequence(1),
        100,
        watcher=lambda step, place: seen.append((step, place.gym.unwrapped.time)),
    )
    assert seen == [(step, step) for step in range(len(episode) + 1)]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("NaN", "an observation that is not a finite number, in step 4"),
        ("NoReward", "a reward that is not a finite number, in step 2"),
        ("Raises", "the wheel came off"),
    ],
)
def test_a_faulty_episode_is_not_an_episode(name, sentence):
    environment = world(name)
    with pytest.raises(StepError, match=sentence):
        play(environment, actor_for(environment), np.random.SeedSequence(1), 100)


# A batch


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("steps", [1, 9, 10, 60])
def test_a_batch_is_the_shortest_run_of_whole_episodes(arena, threads, steps):
    environment = world("Numbered")
    episodes = arena(environment, threads).collect(
        actor_for(environment), steps, 100, np.random.SeedSequence(3)
    )
    lengths = [len(episode) for episode in episodes]
    assert sum(lengths) >= steps > sum(lengths[:-1])
    assert all(episode.terminated for episode in episodes)


@pytest.mark.parametrize("threads", [1, 2])
def test_each_episode_is_the_one_of_its_own_seed(arena, threads):
    environment = world("Luck")
    actor = actor_for(environment)
    episodes = arena(environment, threads).collect(actor, 120, 25, np.random.SeedSequence(8))
    assert len(episodes) > 3
    alone = world("Luck")
    # Played apart, and in another order, in an environment that has seen none of the others.
    for number in reversed(range(len(episodes))):
        own = np.random.SeedSequence(8).spawn(number + 1)[number]
        assert same(episodes[number], play(alone, actor, own, 25))
    assert len({episode.actions.tobytes() for episode in episodes}) == len(episodes)


@pytest.mark.parametrize(("id", "steps", "horizon"), [("Hopper-v5", 150, 40), ("CartPole-v1", 400, 60)])
def test_the_batch_is_the_same_bit_for_bit_for_any_number_of_threads(arena, id, steps, horizon):
    batches = []
    for threads in (1, 2, 3):
        environment = Environment(id)
        seed = np.random.SeedSequence(5)
        batches.append(arena(environment, threads).collect(actor_for(environment), steps, horizon, seed))
    assert len(batches[0]) > 3
    for batch in batches[1:]:
        assert len(batch) == len(batches[0]) and all(map(same, batch, batches[0]))


def test_a_batch_follows_from_its_seed_alone(arena):
    environment = world("Luck")
    actor, arena_ = actor_for(environment), arena(environment, 1)
    first, again, other = (arena_.collect(actor, 40, 25, np.random.SeedSequence(seed)) for seed in (1, 1, 2))
    assert all(map(same, first, again)) and len(first) == len(again)
    assert not same(first[0], other[0])


def lengths_of(name: str, seed: int, count: int) -> list[int | str]:
    """How long each of the first episodes is, or the sentence by which it fails."""
    environment = world(name)
    actor, found = actor_for(environment), []
    for own in np.random.SeedSequence(seed).spawn(count):
        try:
            found.append(len(play(environment, actor, own, 100)))
        except StepError as error:
            found.append(str(error))
    return found


def first_seed(seed: int) -> int:
    """The environment's own seed in episode 0 of a numbered world."""
    environment = world("Numbered")
    return whole(
        *play(environment, actor_for(environment), np.random.SeedSequence(seed).spawn(1)[0], 1).last[:2]
    )


def test_a_batch_waits_for_a_slow_episode_however_many_are_done_meanwhile(arena, before):
    environment = world("Numbered")
    lengths, slow = lengths_of("Numbered", 3, 2), first_seed(3)
    others, begun = threading.Event(), set()

    def hook(own, step):
        if own == slow and step == 1:
            assert others.wait(20)
        elif own != slow:
            begun.add(own)
            if len(begun) == 2:
                others.set()

    before(hook)
    episodes = arena(environment, 2).collect(
        actor_for(environment), sum(lengths), 100, np.random.SeedSequence(3)
    )
    # Episode 1 was over and episode 2 had begun, which are enough steps, too.
    assert [len(episode) for episode in episodes] == lengths
    assert whole(*episodes[0].last[:2]) == slow


# Errors


def first_failure(name: str) -> tuple[int, int, list[int], str]:
    """A seed, the number of its first episode that fails, the lengths before it, and its sentence."""
    for seed in range(50):
        found = lengths_of(name, seed, 6)
        failed = next((number for number, one in enumerate(found) if isinstance(one, str)), 0)
        if failed >= 2:
            return seed, failed, found[:failed], found[failed]
    raise AssertionError("no seed will do")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_error_within_the_batch_surfaces_and_one_beyond_it_does_not(arena, threads):
    seed, failed, lengths, sentence = first_failure("Unlucky")
    environment = world("Unlucky")
    one, actor = arena(environment, threads), actor_for(environment)
    enough = one.collect(actor, sum(lengths), 100, np.random.SeedSequence(seed))
    assert [len(episode) for episode in enough] == lengths and len(lengths) == failed
    with pytest.raises(StepError) as caught:
        one.collect(actor, sum(lengths) + 1, 100, np.random.SeedSequence(seed))
    # The first one's, though others may have failed before it.
    assert str(caught.value) == sentence
    # And the arena goes on.
    assert one.collect(actor, 1, 100, np.random.SeedSequence(seed))


def test_an_error_beyond_the_batch_is_forgotten_even_when_it_came_first(arena, before):
    environment = world("Numbered")
    length, slow = lengths_of("Numbered", 3, 1)[0], first_seed(3)
    failed = threading.Event()

    def hook(own, step):
        if own != slow:
            failed.set()
            raise RuntimeError("not needed")
        if step == 1:
            assert failed.wait(20)

    before(hook)
    episodes = arena(environment, 2).collect(actor_for(environment), length, 100, np.random.SeedSequence(3))
    assert [len(episode) for episode in episodes] == [length] and failed.is_set()


def test_of_two_errors_the_one_of_the_first_episode_surfaces_even_when_it_came_last(arena, before):
    environment, slow = world("Numbered"), first_seed(3)
    failed = threading.Event()

    def hook(own, step):
        if own != slow:
            failed.set()
            raise RuntimeError("the second one")
        if step == 2:
            assert failed.wait(20)
            raise RuntimeError("the first one")

    before(hook)
    with pytest.raises(StepError, match="the first one"):
        arena(environment, 2).collect(actor_for(environment), 50, 100, np.random.SeedSequence(3))


# Threads


def arena_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lab-arena")]


def test_no_thread_is_left_after_close():
    before = set(arena_threads())
    environment = world("Numbered")
    one = Arena(environment, 3)
    one.collect(actor_for(environment), 50, 100, np.random.SeedSequence(0))
    assert set(arena_threads()) - before
    one.close()
    assert not set(arena_threads()) - before
    one.close()


def test_python_alone_gets_one_thread_and_mujoco_one_for_each_core(arena, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert arena(world("Numbered"), 0).threads == 1
    assert arena(Environment("Hopper-v5"), 0).threads == 5
    assert arena(world("Numbered"), 3).threads == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_map_keeps_the_order_of_the_tasks_and_its_first_error(arena, threads):
    one = arena(world("Numbered"), threads)
    assert one.map(lambda environment, task: task * task, range(20)) == [task * task for task in range(20)]
    assert one.map(lambda environment, task: task, []) == []

    def fails(environment, task):
        if task % 5 == 3:
            raise StepError(f"task {task}")
        return task

    with pytest.raises(StepError, match="task 3"):
        one.map(fails, range(20))


def test_threads_never_share_a_simulation(arena):
    one = arena(world("Numbered"), 3)
    inside, both = [], threading.Barrier(3, timeout=20)

    def work(environment):
        both.wait()
        inside.append(environment)
        both.wait()
        return len(set(inside))

    assert one.side_by_side(work) == [3, 3, 3]
