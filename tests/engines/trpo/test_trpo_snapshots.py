"""States that are taken and put back: what follows is what followed, bit for bit, wherever they are put."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import SettingError, StepError
from engines.trpo.environments import Environment
from engines.trpo.snapshots import AttributeSnapshots, CopySnapshots, MujocoSnapshots, snapshots_of
from tests.engines.trpo.worlds import world

CLASSIC = ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0"]
MUJOCO = ["Hopper-v5", "Swimmer-v5", "HalfCheetah-v5"]
# They read, before a step, what MuJoCo derived from the state in the step before.
LAGGING = ["Ant-v5", "Humanoid-v5"]
OWN = ["Luck", "OwnLuck", "Deep", "Clocked", "Numbered", "Overwrites"]


def opened(name: str) -> Environment:
    return Environment(name) if name[-3:-1] == "-v" else world(name)


def some_actions(environment: Environment, count: int, seed: int = 1) -> np.ndarray:
    generator, facts = np.random.default_rng(seed), environment.facts
    if facts.discrete:
        return generator.integers(0, facts.action_size, count)
    return generator.standard_normal((count, facts.action_size)).astype(np.float32)


def played(environment: Environment, actions: np.ndarray) -> list[tuple[bytes, float, bool, bool]]:
    tale = []
    for action in actions:
        observation, *rest = environment.step(action)
        tale.append((observation.tobytes(), *rest))
        if rest[1] or rest[2]:
            break
    return tale


@pytest.mark.parametrize("name", CLASSIC + MUJOCO + LAGGING + OWN)
def test_the_same_actions_lead_to_the_same_once_a_state_is_put_back(name):
    environment = opened(name)
    snapshots = snapshots_of(environment)
    actions = some_actions(environment, 25)
    # On the ground in some episodes, in the air in others.
    for seed, begin in ((3, 0), (4, 2)):
        environment.reset(seed)
        assert len(played(environment, actions[:begin])) == begin
        state = snapshots.take(environment)
        first = played(environment, actions[begin:])
        assert len(first) > 1 and len({tale[0] for tale in first}) > 1
        # From where it went, and from somewhere else.
        snapshots.put(environment, state)
        assert played(environment, actions[begin:]) == first
        environment.reset(11)
        played(environment, some_actions(environment, 6, 2))
        snapshots.put(environment, state)
        assert played(environment, actions[begin:]) == first
        # In another one, which has not even been reset, and in one that is busy.
        other = opened(name)
        snapshots.put(other, state)
        assert played(other, actions[begin:]) == first
        other.reset(12)
        other.step(actions[0])
        snapshots.put(other, state)
        assert played(other, actions[begin:]) == first
        # And it was the state that did it.
        other.reset(12)
        assert name in ("Deep", "Overwrites", "Clocked") or played(other, actions[begin:]) != first
        other.close()
    environment.close()


@pytest.mark.parametrize(
    ("name", "way"),
    [(name, AttributeSnapshots) for name in CLASSIC]
    + [(name, MujocoSnapshots) for name in MUJOCO]
    + [(name, AttributeSnapshots) for name in ("Luck", "OwnLuck", "Clocked")]
    + [("Deep", CopySnapshots)],
)
def test_the_quickest_way_that_works_is_chosen(name, way):
    assert type(snapshots_of(opened(name))) is way


@pytest.mark.parametrize("name", ["Luck", "OwnLuck"])
def test_a_state_holds_its_luck_and_another_state_another(name):
    environment = world(name)
    snapshots = snapshots_of(environment)
    tales = []
    for seed in (1, 2):
        environment.reset(seed)
        state = snapshots.take(environment)
        own = []
        for _ in range(3):
            snapshots.put(environment, state)
            own.append([environment.step(np.zeros(1))[0][0] for _ in range(5)])
        assert own[0] == own[1] == own[2]
        tales.append(own[0])
    assert tales[0] != tales[1]


def test_the_clock_of_a_wrapper_is_put_back_too():
    environment = world("Clocked")
    snapshots = snapshots_of(environment)
    environment.reset(0)
    environment.step(0)
    state = snapshots.take(environment)
    for _ in range(2):
        snapshots.put(environment, state)
        tale = played(environment, np.zeros(60, int))
        assert len(tale) == 39 and tale[-1][3]


@pytest.mark.parametrize("name", ["Stuck", "Elsewhere"])
def test_an_environment_whose_state_cannot_be_got_at_is_told_so_and_stays_of_use(name):
    environment = world(name)
    gym = environment.gym
    with pytest.raises(SettingError) as caught:
        snapshots_of(environment)
    sentence = str(caught.value)
    assert caught.value.field == "sampling" and environment.facts.id in sentence
    assert "cannot be put back" in sentence and "sampling=single_path" in sentence
    assert environment.gym is gym
    assert environment.reset(0)[0] == 0 and environment.step(0)[0][0] == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("Raises", "the wheel came off"), ("NaN", "not a finite number"), ("NoReward", "a reward that is not")],
)
def test_an_environment_that_fails_by_itself_is_not_called_one_that_cannot_be_put_back(name, sentence):
    with pytest.raises(StepError, match=sentence):
        snapshots_of(world(name))


@pytest.mark.parametrize("name", ["CartPole-v1", "Hopper-v5", "Luck"])
def test_a_pose_tells_states_apart_and_does_not_change_with_them(name):
    environment = opened(name)
    snapshots = snapshots_of(environment)
    environment.reset(0)
    first = snapshots.pose(environment)
    if name == "Luck":
        # Nothing here is known to be a state.
        assert first is None
        return
    kept = first.copy()
    environment.step(some_actions(environment, 1)[0])
    second = snapshots.pose(environment)
    assert first.ndim == 1 and first.shape == second.shape and (first != second).any()
    np.testing.assert_array_equal(first, kept)
