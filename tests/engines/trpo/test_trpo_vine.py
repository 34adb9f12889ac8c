"""Vine: which states and actions, what their branches are worth, and the random numbers that they share."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import StepError
from engines.trpo.environments import Environment
from engines.trpo.rollouts import Arena
from engines.trpo.snapshots import snapshots_of
from engines.trpo.vine import ENUMERATED, SHOWN, collect_vine
from tests.engines.trpo.worlds import actor_for, length_of, whole, world

GAMMA = 0.9
SETTINGS = {
    "trunk_steps": 60,
    "horizon": 40,
    "states": 8,
    "actions": 4,
    "length": 12,
    "gamma": GAMMA,
}


def collected(environment: Environment, *, seed: int = 0, threads: int = 1, actor=None, **changes):
    arena = Arena(environment, threads)
    try:
        return collect_vine(
            arena,
            snapshots_of(environment),
            actor or actor_for(environment),
            **SETTINGS | changes,
            seed=np.random.SeedSequence(seed),
        )
    finally:
        arena.close()


# Which


@pytest.mark.parametrize("states", [1, 3, 20])
def test_there_are_as_many_states_as_were_asked_for(states):
    for seed in range(12):
        found = collected(world("Numbered"), seed=seed, states=states, length=2)
        assert found.observations.shape == (states, 3) and found.observations.dtype == np.float32
        assert found.values.shape == (states, 3)
        # Each once: seed and step tell them apart. And each lies on a trunk, before its end.
        assert len({row.tobytes() for row in found.observations}) == states
        along = {row.tobytes() for trunk in found.trunks for row in trunk.observations}
        assert all(row.tobytes() in along for row in found.observations)


def test_where_the_trunks_have_fewer_states_all_of_them_are_taken():
    found = collected(world("Five"), states=50, trunk_steps=1)
    assert len(found.trunks) == 1 and sorted(found.observations[:, 2]) == [0, 1, 2, 3, 4]


def test_states_are_chosen_evenly_along_the_trunks():
    found = collected(world("Five"), states=200, trunk_steps=4000, length=1)
    counts = np.bincount(found.observations[:, 2].astype(int), minlength=5)
    # 40 of each, give or take 5 standard deviations.
    assert np.abs(counts - 40).max() < 5 * np.sqrt(200 * 0.2 * 0.8)


def test_trunks_are_the_shortest_run_of_whole_episodes():
    found = collected(world("Numbered"))
    lengths = [len(trunk) for trunk in found.trunks]
    assert sum(lengths) >= SETTINGS["trunk_steps"] > sum(lengths[:-1])
    assert all(trunk.terminated for trunk in found.trunks)


def test_of_a_few_actions_every_one_is_tried_in_its_order():
    found = collected(world("Numbered"), actions=2, length=1)
    assert found.actions is None and found.log_q is None
    # The reward tells the step and the action.
    expected = 10.0 * found.observations[:, 2:3] + np.arange(3)
    np.testing.assert_array_equal(found.values, expected)


def test_of_many_actions_as_many_as_were_asked_for_are_drawn_evenly():
    environment = world("Many")
    assert environment.facts.action_size > ENUMERATED
    found = collected(environment, states=30, actions=60, length=1)
    assert found.actions.shape == found.values.shape == (30, 60)
    np.testing.assert_allclose(found.log_q, np.log(1 / 40))
    counts = np.bincount(found.actions.reshape(-1), minlength=40)
    # 45 of each, give or take.
    assert len(counts) == 40 and np.abs(counts - 45).max() < 5 * np.sqrt(45)
    assert (found.actions[0] != found.actions[1]).any()


def test_continuous_actions_are_drawn_by_the_policy():
    environment = world("Luck")
    actor = actor_for(environment)
    found = collected(environment, states=20, actions=50, length=1, actor=actor)
    assert found.actions.shape == (20, 50, 1) and found.actions.dtype == np.float32 and found.log_q is None
    z = (found.actions - actor.mean(found.observations)[:, None]) / actor.deviation
    assert abs(z.mean()) < 5 / np.sqrt(z.size) and abs(z.var() - 1) < 5 * np.sqrt(2 / z.size)
    # No two states draw the same.
    assert len(np.unique(z.round(4))) > 0.9 * z.size


# What they are worth


def replayed(name: str, trunk, step: int, actions: np.ndarray):
    """Observations and rewards of a branch, reached from the first reset by the trunk's actions."""
    raw = world(name)
    raw.reset(whole(*trunk.observations[0][-2:]))
    for action in trunk.actions[:step]:
        raw.step(action)
    tale = []
    for action in actions:
        tale.append(raw.step(action[0] if raw.facts.discrete else action))
        if tale[-1][2] or tale[-1][3]:
            break
    return [one[0] for one in tale], [one[1] for one in tale], tale[-1][2]


@pytest.mark.parametrize("name", ["Luck", "OwnLuck", "Gamble"])
def test_values_are_the_discounted_rewards_of_branches_replayed_from_the_first_reset(name):
    environment = world(name)
    # A trunk in which much happens, so that some branches end early.
    found = collected(environment, states=SHOWN, length=25, horizon=30, seed=2)
    assert len(found.shown) == SHOWN
    early, steps = 0, sum(map(len, found.trunks))
    for n, state in enumerate(found.shown):
        trunk = found.trunks[state.trunk]
        np.testing.assert_array_equal(state.observations[0][0], found.observations[n])
        np.testing.assert_array_equal(trunk.observations[state.step], found.observations[n])
        np.testing.assert_array_equal(state.values, found.values[n])
        for k, seen in enumerate(state.observations):
            # The observation tells the action before it.
            taken = seen[1:, 1:2]
            tried = k if found.actions is None else found.actions[n, k]
            np.testing.assert_array_equal(taken[0], tried)
            observations, rewards, over = replayed(name, trunk, state.step, taken)
            np.testing.assert_array_equal(seen[1:], observations)
            assert len(rewards) == 25 or over
            q = sum(GAMMA**j * reward for j, reward in enumerate(rewards))
            assert found.values[n, k] == pytest.approx(q, rel=1e-12, abs=1e-12)
            early += len(rewards) < 25
            steps += len(rewards)
    assert early > 0
    # As many states as are shown: all steps were seen.
    assert found.steps == steps


def test_a_branch_ends_where_its_episode_ends():
    found = collected(world("Numbered"), length=50, states=SHOWN)
    for state, values in zip(found.shown, found.values, strict=True):
        end = length_of(whole(*state.observations[0][0][:2]))
        for seen, value in zip(state.observations, values, strict=True):
            assert len(seen) == end - state.step + 1 and seen[-1][2] == end
            # Each reward is ten times the step, and at most 2 for the action.
            tens = sum(10 * step * GAMMA ** (step - state.step) for step in range(state.step, end))
            assert tens <= value <= tens + 20


@pytest.mark.parametrize("length", [1, 3])
def test_a_branch_is_no_longer_than_it_may_be(length):
    found = collected(world("Five"), length=length)
    assert {len(seen) for state in found.shown for seen in state.observations} <= set(range(2, length + 2))
    assert max(len(seen) for state in found.shown for seen in state.observations) == length + 1


def test_without_discount_or_without_future_values_are_what_they_should_be():
    blind, far = (collected(world("Five"), gamma=gamma, length=5) for gamma in (0.0, 1.0))
    steps = blind.observations[:, 2]
    np.testing.assert_array_equal(blind.values, 10 * steps[:, None] + np.arange(3))
    tens = np.array([sum(10 * j for j in range(int(step), 5)) for step in steps])
    assert (far.values - tens[:, None] >= np.arange(3)).all() and (far.values - tens[:, None] <= 10).all()


@pytest.mark.parametrize("name", ["Luck", "Numbered", "Many"])
def test_every_step_of_the_environment_is_counted(name, monkeypatch):
    done = []
    step = Environment.step
    environment = world(name)
    snapshots = snapshots_of(environment)
    monkeypatch.setattr(Environment, "step", lambda self, action: done.append(1) or step(self, action))
    found = collect_vine(
        Arena(environment, 1),
        snapshots,
        actor_for(environment),
        **SETTINGS,
        seed=np.random.SeedSequence(0),
    )
    assert found.steps == len(done)


# Luck


def test_the_same_action_twice_from_one_state_is_worth_the_same_bit_for_bit():
    found = collected(world("Many"), actions=60)
    for actions, values in zip(found.actions, found.values, strict=True):
        for action in np.unique(actions):
            assert len(np.unique(values[actions == action])) == 1
        # Other actions lead elsewhere, and other states have other luck.
        assert len(np.unique(values)) > 20


def test_branches_of_one_state_share_the_policys_noise_and_those_of_two_do_not():
    environment = world("Luck")
    actor = actor_for(environment)
    found = collected(environment, actor=actor, length=5)
    noise = []
    for state in found.shown:
        z = [
            (seen[2:, 1] - actor.mean(seen[1:-1])[:, 0]) / actor.deviation
            for seen in state.observations
            # From the end of a trunk there is no such way to go.
            if len(seen) == 6
        ]
        for other in z[1:]:
            np.testing.assert_allclose(other, z[0], atol=1e-4)
        if len(z) > 1:
            noise.append(z[0])
    noise = np.array(noise)
    assert len(noise) >= 4 and noise.shape[1] == 4
    assert len(np.unique(noise.round(3))) == noise.size


def test_differences_between_actions_vary_less_with_shared_random_numbers():
    # Branches of one and the same first state, each time with other luck.
    values = np.array(
        [
            collected(world("Gamble"), seed=seed, trunk_steps=1, horizon=1, states=1, length=20).values[0]
            for seed in range(40)
        ]
    )
    shared = (values[:, 1] - values[:, 0]).var()
    apart = (values[:, 1] - np.roll(values[:, 0], 1)).var()
    assert 0 < shared < 0.25 * apart


def test_a_vine_follows_from_its_seed():
    first, again, other = (collected(world("Luck"), seed=seed) for seed in (1, 1, 2))
    assert first.values.tobytes() == again.values.tobytes()
    assert first.values.tobytes() != other.values.tobytes()


# Threads and errors


@pytest.mark.parametrize(
    ("id", "changes"),
    [
        ("Hopper-v5", {"horizon": 20, "trunk_steps": 45}),
        ("CartPole-v1", {}),
        ("Luck", {}),
        ("Deep", {}),
        # One trunk alone: an environment that plays none of it has to branch, too.
        ("Gamble", {"trunk_steps": 1}),
    ],
)
def test_the_vine_is_the_same_bit_for_bit_for_any_number_of_threads(id, changes):
    vines = []
    for threads in (1, 2, 3):
        environment = Environment(id) if id[-3:-1] == "-v" else world(id)
        vines.append(collected(environment, threads=threads, **changes))
    one = vines[0]
    assert len(one.values) == SETTINGS["states"]
    for vine in vines[1:]:
        assert vine.values.tobytes() == one.values.tobytes() and vine.steps == one.steps
        assert vine.observations.tobytes() == one.observations.tobytes()
        assert (vine.actions is None) == (one.actions is None)
        assert one.actions is None or vine.actions.tobytes() == one.actions.tobytes()
        assert [t.rewards.tobytes() for t in vine.trunks] == [t.rewards.tobytes() for t in one.trunks]
        assert [(s.trunk, s.step) for s in vine.shown] == [(s.trunk, s.step) for s in one.shown]


def test_the_states_that_are_shown_are_spread_over_all_of_them():
    found = collected(world("Five"), states=30, trunk_steps=200)
    assert SHOWN / 2 < len(found.shown) <= SHOWN
    assert found.shown[0].trunk < 5 and found.shown[-1].trunk > 30
    rows = {row.tobytes(): values for row, values in zip(found.observations, found.values, strict=True)}
    for state in found.shown:
        np.testing.assert_array_equal(state.values, rows[state.observations[0][0].tobytes()])


@pytest.mark.parametrize("threads", [1, 3])
def test_a_trunk_that_fails_beyond_the_others_is_none_of_theirs(threads):
    environment = world("Unlucky")
    snapshots, actor = snapshots_of(world("Numbered")), actor_for(environment)
    outcomes = []
    for seed in range(12):
        arena = Arena(environment, threads)
        try:
            found = collect_vine(
                arena,
                snapshots,
                actor,
                **SETTINGS | {"trunk_steps": 8, "length": 1},
                seed=np.random.SeedSequence(seed),
            )
            outcomes.append(found.values.tobytes())
        except StepError as error:
            outcomes.append(str(error))
        arena.close()
    # Some fail and some do not; which, the number of threads does not say.
    alone = Arena(world("Unlucky"), 1)
    for seed, outcome in enumerate(outcomes):
        try:
            expected = collect_vine(
                alone,
                snapshots,
                actor,
                **SETTINGS | {"trunk_steps": 8, "length": 1},
                seed=np.random.SeedSequence(seed),
            ).values.tobytes()
        except StepError as error:
            expected = str(error)
        assert outcome == expected
    assert {type(outcome) for outcome in outcomes} == {bytes, str}


def test_a_branch_that_gives_no_number_is_an_error():
    environment = world("Luck")
    snapshots = snapshots_of(environment)
    raw = environment.gym.unwrapped
    # Trunks are one step long; branches go on to where it breaks.
    raw.reward = lambda: float("nan") if raw.time > 3 else 1.0
    with pytest.raises(StepError, match=r"a reward that is not a finite number, in step 3 of a branch"):
        collect_vine(
            Arena(environment, 1),
            snapshots,
            actor_for(environment),
            **SETTINGS | {"horizon": 1, "trunk_steps": 1},
            seed=np.random.SeedSequence(0),
        )
