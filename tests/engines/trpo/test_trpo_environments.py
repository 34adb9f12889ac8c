"""Environments behind their door: what is known of them, what goes in, what comes out, and a sentence for every fault."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

from engines.errors import SettingError, StepError
from engines.trpo.environments import LONGEST, Environment, known_ids
from tests.engines.trpo.worlds import HERE, world


def refusal(id: str) -> str:
    """The sentence by which an id is refused, which names the setting."""
    with pytest.raises(SettingError) as caught:
        Environment(id)
    sentence = str(caught.value)
    assert caught.value.field == "environment"
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


def failure(environment: Environment, steps: int = 10) -> str:
    with pytest.raises(StepError) as caught:
        observations, rewards = [environment.reset(1)], []
        for _ in range(steps):
            observation, reward, *_ = environment.step(0)
            observations.append(observation)
            rewards.append(reward)
        environment.check(np.array(observations), np.array(rewards))
    sentence = str(caught.value)
    assert environment.facts.id in sentence and sentence.endswith("choose another one and reset.")
    return sentence


# Ids


@pytest.mark.parametrize("id", ["CartPol-v1", "Cartpole", "cartpole-v1"])
def test_an_unknown_id_is_told_what_is_near(id):
    assert f"{id!r} (did you mean CartPole-v1?)" in refusal(id)


@pytest.mark.parametrize("id", ["Xyzzy-v0", "x y z!!", "math:Xyzzy-v0"])
def test_an_unknown_id_with_nothing_near_is_told_what_ids_look_like(id):
    sentence = refusal(id)
    assert "There is no environment" in sentence and repr(id) in sentence and "did you mean" not in sentence
    assert "CartPole-v1" in sentence and "module:Env-v0" in sentence


@pytest.mark.parametrize("id", ["", "   "])
def test_no_id_at_all(id):
    assert "No environment is named" in refusal(id) and "environment=CartPole-v1" in refusal(id)


@pytest.mark.parametrize("id", ["CartPole-v9", "Hopper-v7"])
def test_an_unknown_version_is_told_which_there_are(id):
    sentence = refusal(id)
    assert f"There is no {id}" in sentence and "choose one" in sentence
    assert ("v1" if id.startswith("Cart") else "v5") in sentence


def test_an_unknown_namespace_is_told_that_a_package_is_missing():
    if importlib.util.find_spec("ale_py"):
        pytest.skip("the package is there")
    sentence = refusal("ALE/Pong-v5")
    assert "ALE/" in sentence and "install" in sentence


@pytest.mark.parametrize(
    ("id", "missing"),
    [
        ("nowhere_at_all:Env-v0", "nowhere_at_all"),
        ("nowhere_at_all.inside:Env-v0", "nowhere_at_all"),
        ("json.nowhere:Env-v0", "json.nowhere"),
    ],
)
def test_a_module_that_does_not_exist_is_named(id, missing):
    sentence = refusal(id)
    assert f"no module {missing!r}" in sentence and "install it" in sentence


def test_a_module_of_ones_own_that_lacks_another_one_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "lab_own_world.py").write_text("import nowhere_at_all\n")
    (tmp_path / "lab_broken_world.py").write_text("raise RuntimeError('half written')\n")
    monkeypatch.syspath_prepend(tmp_path)
    sentence = refusal("lab_own_world:Env-v0")
    assert "needs a package that is not installed" in sentence and "'nowhere_at_all'" in sentence
    assert "knows no module" not in sentence
    sentence = refusal("lab_broken_world:Env-v0")
    assert "RuntimeError (half written)" in sentence and "cannot be made" in sentence


def test_an_id_whose_extra_is_missing_says_how_to_install_it():
    if importlib.util.find_spec("Box2D"):
        pytest.skip("Box2D is there")
    sentence = refusal("LunarLander-v3")
    assert "needs a package that is not installed" in sentence and "pip install" in sentence


def test_old_versions_say_where_to_go():
    assert "LunarLander-v3" in refusal("LunarLander-v2")
    if not importlib.util.find_spec("gymnasium_robotics"):
        assert "moved" in refusal("Hopper-v2") and "Hopper-v5" in refusal("Hopper-v2")


def test_known_ids_are_the_newest_versions_each_once():
    ids = known_ids()
    assert {"CartPole-v1", "Pendulum-v1", "Hopper-v5"} <= set(ids)
    names = [id.rpartition("-v")[0] for id in ids]
    assert len(names) == len(set(names))
    assert not any(id.startswith("Gym") or "/" in id for id in ids)


# Spaces


@pytest.mark.parametrize("kind", ["Dict", "Tuple"])
def test_observations_of_several_parts_are_refused(kind):
    sentence = refusal(f"{HERE}:Lab{kind}-v0")
    assert f"observations of the kind {kind}" in sentence and "FlattenObservation" in sentence


def test_what_the_policy_cannot_do_or_see_is_refused():
    assert "actions of the kind MultiDiscrete" in refusal(f"{HERE}:LabSwitches-v0")
    assert "19,200 numbers" in refusal(f"{HERE}:LabPicture-v0")
    assert "nothing to do" in refusal(f"{HERE}:LabIdle-v0")
    sentence = refusal(f"{HERE}:LabUnspoken-v0")
    assert "observation_space and an action_space" in sentence


@pytest.mark.parametrize(
    ("id", "sizes", "discrete", "bound", "limit", "simulator"),
    [
        ("CartPole-v1", (4, 2), True, None, 500, "other"),
        ("Pendulum-v1", (3, 1), False, 2.0, 200, "other"),
        ("Hopper-v5", (11, 3), False, 1.0, 1000, "mujoco"),
    ],
)
def test_facts_of_well_known_environments(id, sizes, discrete, bound, limit, simulator):
    environment = Environment(id)
    facts = environment.facts
    assert (facts.id, facts.observation_size, facts.action_size) == (id, *sizes)
    assert (facts.discrete, facts.time_limit, facts.simulator) == (discrete, limit, simulator)
    if bound is not None:
        np.testing.assert_array_equal(facts.high, np.full(sizes[1], bound))
        np.testing.assert_array_equal(facts.low, -facts.high)
    assert environment.reset(0).shape == (sizes[0],) and environment.reset(0).dtype == np.float32
    environment.close()


def test_an_id_without_its_version_is_the_newest_and_the_facts_say_which():
    assert Environment(" CartPole ").facts.id == "CartPole-v1"
    own = Environment(f"{HERE}:LabFive")
    assert own.facts.id == f"{HERE}:LabFive-v0"
    # So that another one can be made like it.
    assert Environment(own.facts.id).facts.id == own.facts.id


@pytest.mark.parametrize(
    ("name", "wanted", "horizon"),
    [
        ("Numbered", 0, 25),
        ("Numbered", 10, 10),
        ("Numbered", 60, 25),
        ("Five", 0, LONGEST),
        ("Five", 10, 10),
        ("Five", 4 * LONGEST, 4 * LONGEST),
    ],
)
def test_the_horizon_is_what_is_wanted_within_what_the_environment_allows(name, wanted, horizon):
    assert world(name).facts.horizon(wanted) == horizon


def test_no_clock_of_gymnasiums_cuts_an_episode_off():
    environment = Environment("Pendulum-v1")
    environment.reset(0)
    assert not any(any(environment.step(np.zeros(1))[2:]) for _ in range(250))


# What goes in


def test_continuous_actions_are_clipped_to_the_box():
    pendulum = Environment("Pendulum-v1")
    tellings = []
    for action in (7.5, 2.0, 1.9):
        pendulum.reset(4)
        tellings.append(pendulum.step(np.array([action], np.float32))[0])
    np.testing.assert_array_equal(tellings[0], tellings[1])
    assert (tellings[0] != tellings[2]).any()


def test_a_box_has_its_own_type_shape_and_bounds():
    environment = world("Exact")
    environment.reset(0)
    environment.step(np.array([5.0, -5.0], np.float32))
    taken = environment.gym.unwrapped.taken
    assert taken.dtype == np.float64
    # float32's 0.1 would be outside.
    np.testing.assert_array_equal(taken, [[0.1, -0.1]])


@pytest.mark.parametrize(
    ("drawn", "taken"), [((0.4, -0.6), (0, -1)), ((9.0, -9.0), (3, -2)), ((2.6, 1.4), (3, 1))]
)
def test_a_box_of_whole_numbers_gets_the_nearest(drawn, taken):
    environment = world("Whole")
    environment.reset(0)
    environment.step(np.array(drawn, np.float32))
    given = environment.gym.unwrapped.taken
    assert given.dtype == np.int64
    np.testing.assert_array_equal(given, taken)


def test_choices_that_begin_at_one_are_shifted():
    environment = world("FromOne")
    assert environment.facts.action_size == 3
    environment.reset(0)
    for action in range(3):
        environment.step(np.int64(action))
        assert environment.gym.unwrapped.taken == action + 1
        assert environment.gym.action_space.contains(environment.gym.unwrapped.taken)


# What comes out


def test_a_choice_is_observed_one_hot_and_an_array_as_one_row():
    rooms = world("Rooms")
    np.testing.assert_array_equal(rooms.reset(0), [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(rooms.step(0)[0], [0, 1, 0, 0, 0])
    stamp = world("Stamp")
    assert stamp.facts.observation_size == 12
    stamp.reset(0)
    np.testing.assert_array_equal(stamp.step(0)[0], np.ones(12))


def test_an_observation_stays_what_it_was_when_the_environment_goes_on():
    environment = world("Overwrites")
    seen = [environment.reset(0)] + [environment.step(0)[0] for _ in range(3)]
    np.testing.assert_array_equal(np.array(seen)[:, 0], [0, 1, 2, 3])


def test_an_environment_that_raises_says_when_and_what():
    sentence = failure(world("Raises"))
    assert "ZeroDivisionError in the middle of an episode (the wheel came off)" in sentence
    assert "OSError when it was reset (no such map)" in failure(world("RaisesAtReset"))
    assert "in the middle of an episode" in failure(world("Old"))


def test_what_is_not_a_number_is_found_with_its_step():
    assert "an observation that is not a finite number, in step 4 of an episode" in failure(world("NaN"))
    assert "a reward that is not a finite number, in step 2 of an episode" in failure(world("NoReward"))


def test_what_an_environment_raises_because_of_nan_is_not_what_is_told():
    sentence = failure(world("NaNFalls"))
    assert "not a finite number" in sentence and "contact" not in sentence


def test_a_new_episode_forgets_the_nan_of_the_last_one():
    environment = world("NaN")
    environment.reset(0)
    for _ in range(5):
        environment.step(0)
    environment.gym.unwrapped.observe = lambda: 1 / 0
    assert "ZeroDivisionError when it was reset" in failure(environment)


def test_an_observation_of_another_size_than_announced():
    assert "announced observations of 3 numbers and gave 2" in failure(world("Lies"))


def test_an_environment_that_cannot_draw_itself_says_so():
    environment = world("Five")
    environment.reset(0)
    with pytest.raises(StepError, match=re.escape(environment.facts.id)):
        environment.render()
