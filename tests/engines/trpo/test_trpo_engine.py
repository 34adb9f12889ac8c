"""The TRPO engine as a worker uses it: updates, live changes, requests of the hand, keyframes; CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from engines.config import find_preset
from engines.errors import InputError, SettingError, StepError
from engines.trpo.config import METHOD, PRESETS, GivePolicy, SetPolicy, TrpoSettings, WhatIf
from engines.trpo.engine import TrpoEngine
from engines.trpo.estimators import EnumeratedVine, SampledVine, SinglePath, discounted_returns
from engines.trpo.rollouts import play
from lab.runs.state import pack, unpack

TINY: Mapping[str, Any] = {"batch_steps": 200, "units": 8, "fisher_fraction": 1.0, "length": 20}

Make = Callable[..., TrpoEngine]


@pytest.fixture
def make():
    made: list[TrpoEngine] = []

    def build(**values: Any) -> TrpoEngine:
        made.append(TrpoEngine(TrpoSettings.build({**TINY, **values}), torch.device("cpu")))
        return made[-1]

    yield build
    for engine in made:
        engine.close()


class Trap(gymnasium.Env):
    """Gives its count; the step numbered ``Trap.at``, over all episodes, raises."""

    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    at = -1
    done = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        Trap.done += 1
        if Trap.done == Trap.at:
            raise RuntimeError("the floor gave way")
        value = np.array([action[0], Trap.done % 7], np.float32)
        return value, float(-(action[0] ** 2)), False, False, {}


@pytest.fixture
def trap():
    gymnasium.register("LabTrap-v0", entry_point=Trap, max_episode_steps=20)
    Trap.at, Trap.done = -1, 0
    yield "LabTrap-v0"
    del gymnasium.registry["LabTrap-v0"]


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "cartpole": {},
    "pendulum with a critic": {"environment": "Pendulum-v1", "critic": True, "critic_epochs": 2},
    "vine": {"sampling": "vine", "vine_states": 8, "vine_length": 5, "batch_steps": 60},
    "vine, continuous": {
        "environment": "Pendulum-v1",
        "sampling": "vine",
        "vine_states": 8,
        "vine_length": 5,
        "batch_steps": 60,
    },
    "hopper on all cores": {"environment": "Hopper-v5"},
    "empirical Fisher": {"fisher": "empirical", "damping": 0.1, "fisher_fraction": 0.5},
    "largest KL": {"constraint": "max"},
    "natural gradient": {"rule": "natural"},
    "plain gradient": {"rule": "gradient", "step_size": 1e-3},
    "standardised, unscaled": {"standardise": True, "scale_observations": False},
    "linear": {"layers": 0},
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_run_goes_on_from_its_keyframe_bit_for_bit(make: Make, name: str):
    engine = make(**VARIANTS[name])
    for _ in range(2):
        engine.step()
    kept = pack(engine.state_dict())
    engine.figures(METHOD.figure_names())
    after = [engine.step() for _ in range(2)]
    again = make(**VARIANTS[name])
    again.load_state_dict(unpack(kept)[0])
    assert [again.step() for _ in range(2)] == after
    assert pack(again.state_dict()) == pack(engine.state_dict())
    assert all(np.isfinite(list(scalars.values())).all() for scalars in after)


def test_another_seed_is_another_run_and_the_same_seed_the_same(make: Make):
    one, two, other = make(), make(), make(seed=1)
    assert one.step() == two.step() != other.step()


@pytest.mark.parametrize("name", ["cartpole", "pendulum with a critic", "vine", "largest KL"])
def test_every_step_that_is_taken_keeps_to_the_trust_region_and_raises_the_surrogate(make: Make, name: str):
    engine = make(**VARIANTS[name])
    taken = 0
    for _ in range(6):
        before = engine.weights()
        scalars = engine.step()
        remembered = engine.memory.newest
        assert remembered is not None
        if scalars["taken"]:
            taken += 1
            limited = scalars["max_kl" if name == "largest KL" else "kl"]
            assert 0.0 < limited <= engine.config.delta and scalars["actual"] > 0.0
        else:
            assert scalars["kl"] == 0.0 and np.array_equal(remembered.report.theta_old, before.theta)
        assert scalars["kl_share"] == scalars["kl"] / engine.config.delta
    assert taken >= 4


def test_without_a_critic_the_values_are_the_rewards_that_followed_and_nothing_else(make: Make):
    """The paper has no baseline, no critic, no normalised advantages."""
    engine = make()
    batch = engine._collect()
    assert isinstance(batch.surrogate, SinglePath)
    episodes = engine.arena.collect(
        engine.actor(), engine.config.batch_steps, 500, engine.seed_of("batch", 0)
    )
    rewards = np.concatenate([episode.rewards for episode in episodes])
    expected = discounted_returns(rewards, np.array([len(episode) for episode in episodes]), 0.99)
    np.testing.assert_allclose(batch.surrogate.values.numpy(), expected.astype(np.float32))
    # The ratio is one at the old policy: the surrogate there is the mean of Q.
    parts = engine.policy.distribution(batch.scaled)
    assert float(batch.surrogate(engine.policy, parts).detach()) == pytest.approx(expected.mean(), rel=1e-5)
    before = pack(engine.critic.state_dict())
    engine.config = engine.config.updated({"scale_observations": False})
    engine.step()
    assert pack(engine.critic.state_dict()) == before


def test_vine_tries_every_action_of_a_small_set_and_draws_from_the_policy_otherwise(make: Make):
    every = make(**VARIANTS["vine"])._collect()
    assert isinstance(every.surrogate, EnumeratedVine) and every.surrogate.values.shape == (8, 2)
    engine = make(**VARIANTS["vine, continuous"], vine_actions=3)
    drawn = engine._collect()
    assert isinstance(drawn.surrogate, SampledVine) and drawn.surrogate.values.shape == (8, 3)
    # Drawn from the old policy: all weights are alike there, and L is the plain mean.
    parts = engine.policy.distribution(drawn.scaled)
    value = float(drawn.surrogate(engine.policy, parts).detach())
    assert value == pytest.approx(float(drawn.surrogate.values.mean()), rel=1e-5)
    assert engine.step()["environment_steps"] == drawn.steps > 8 * 3


def test_scaling_the_observations_does_not_move_the_policy(make: Make):
    engine = make(environment="Pendulum-v1", batch_steps=400)
    engine.step()
    seen = np.array([[0.3, -0.9, 2.0], [1.0, 0.0, -7.5]], np.float32)
    before = engine.actor().mode(seen)
    spread = engine.scale.deviation
    engine._rescale(100.0 + 50.0 * np.random.default_rng(0).standard_normal((500, 3)))
    assert (engine.scale.deviation > 3 * spread).all()
    np.testing.assert_allclose(engine.actor().mode(seen), before, rtol=1e-4, atol=1e-5)


def test_the_policy_that_acts_is_the_one_that_is_trained(make: Make):
    engine = make(environment="Pendulum-v1", batch_steps=400)
    for _ in range(2):
        engine.step()
    batch = engine._collect()
    means = engine.policy.distribution(batch.scaled)[0]
    np.testing.assert_allclose(
        engine.actor().mode(batch.observations), means.detach().numpy(), rtol=1e-3, atol=1e-4
    )


def test_the_fixed_rules_move_by_their_factor_on_the_direction(make: Make):
    for rule, size in (("natural", 0.02), ("gradient", 0.005)):
        engine = make(rule=rule, step_size=size, scale_observations=False)
        before = engine.policy.flat().numpy()
        engine.step()
        assert engine.memory.newest is not None
        report = engine.memory.newest.report
        direction = report.gradient if rule == "gradient" else report.direction
        np.testing.assert_array_equal(engine.policy.flat().numpy(), before + (size * direction).astype("f4"))


def test_it_learns_to_balance(make: Make):
    engine = make(batch_steps=1500, units=32, fisher_fraction=0.1, critic=True, standardise=True)
    returns = [engine.step()["mean_return"] for _ in range(14)]
    assert returns[0] < 40 and np.mean(returns[-3:]) > 120


def test_a_step_that_fails_leaves_everything_as_it_was(make: Make, trap: str):
    engine = make(environment=trap, batch_steps=60)
    engine.step()
    before = pack(engine.state_dict())
    Trap.done, Trap.at = 0, 30
    with pytest.raises(StepError, match=r"LabTrap-v0 raised RuntimeError .*the floor gave way"):
        engine.step()
    assert pack(engine.state_dict()) == before
    Trap.at = -1
    assert engine.step()["environment_steps"] == 120


# --- settings  ----------


@pytest.mark.parametrize("preset", [preset.id for preset in PRESETS])
def test_every_preset_begins(make: Make, preset: str):
    values = dict(find_preset(PRESETS, preset).values)
    values.update(batch_steps=60, vine_states=4, vine_length=3)
    assert np.isfinite(list(make(**values).step().values())).all()


@pytest.mark.parametrize(
    "id", ["NoSuchWorld-v0", "Blackjack-v1", "no_such_module:World-v0", "Hopper-v99", "", "ALE/Pong-v5"]
)
def test_an_environment_that_cannot_be_used_is_a_sentence_at_its_setting(id: str):
    with pytest.raises(SettingError) as caught:
        TrpoEngine(TrpoSettings.build({"environment": id}), torch.device("cpu"))
    sentence = str(caught.value)
    assert caught.value.field == "environment" and sentence.endswith(".") and "\n" not in sentence


def test_settings_change_while_it_trains(make: Make):
    engine = make()
    engine.step()
    engine.apply({"delta": 1e-4, "batch_steps": 400, "rule": "trpo"})
    scalars = engine.step()
    assert scalars["kl"] <= 1e-4 and scalars["delta"] == 1e-4
    assert scalars["environment_steps"] >= 600
    engine.apply({"sampling": "vine", "vine_states": 5, "vine_length": 4})
    assert np.isfinite(engine.step()["kl"])
    engine.apply({"sampling": "single_path", "critic": True})
    assert "explained_variance" in engine.step()


# --- the hand  ----------


def test_what_if_walks_along_the_step_of_a_past_update(make: Make):
    engine = make(scale_observations=False)
    engine.step()
    assert engine.what_if_weights() is None
    answer = engine.act(WhatIf(1, 0.0))
    assert answer == {"updates": [1], "what_if": [1, 0.0]}
    weights, newest = engine.what_if_weights(), engine.memory.newest
    assert weights is not None and newest is not None
    np.testing.assert_array_equal(weights.theta, newest.report.theta_old)
    accepted = newest.report.accepted
    assert accepted is not None
    engine.act(WhatIf(1, float(newest.report.fractions[accepted])))
    weights = engine.what_if_weights()
    assert weights is not None
    np.testing.assert_allclose(weights.theta, engine.weights().theta, rtol=1e-6, atol=1e-7)
    before = pack(engine.policy.state_dict())
    for _ in range(3):
        engine.step()
    # Training goes on; the look stays at the old update, and no look changes what is trained.
    again = engine.what_if_weights()
    assert again is not None
    np.testing.assert_array_equal(again.theta, weights.theta)
    assert pack(engine.policy.state_dict()) != before
    engine.act(WhatIf(None))
    assert engine.what_if_weights() is None


def test_looking_does_not_change_the_training(make: Make):
    plain, watched = make(), make()
    for _ in range(3):
        one = plain.step()
        two = watched.step()
        watched.act(WhatIf(1, 3.0))
        watched.figures(METHOD.figure_names())
        assert one == two


def test_what_if_before_the_first_update_and_of_no_length_is_a_sentence(make: Make):
    engine = make()
    with pytest.raises(InputError, match="press Train"):
        engine.act(WhatIf(1, 1.0))
    engine.step()
    with pytest.raises(InputError, match="number"):
        engine.act(WhatIf(1, float("nan")))


@pytest.mark.parametrize("name", ["cartpole", "pendulum with a critic"])
def test_a_policy_that_is_given_and_set_elsewhere_acts_the_same(make: Make, name: str):
    engine = make(**VARIANTS[name])
    for _ in range(2):
        engine.step()
    given = engine.act(GivePolicy())
    assert given is not None
    other = make(**VARIANTS[name], seed=5)
    other.step()
    other.act(SetPolicy(given["theta"], given["mean"], given["deviation"]))
    seed = np.random.SeedSequence(3)
    episode = play(engine.arena.environments[0], engine.actor(), seed, 50, sampled=False)
    assert episode is not None
    np.testing.assert_allclose(
        other.actor().mode(episode.observations), engine.actor().mode(episode.observations), atol=1e-4
    )
    assert np.isfinite(list(other.step().values())).all()


def test_a_policy_that_does_not_fit_is_a_sentence(make: Make):
    engine, other = make(), make(units=9)
    given = other.act(GivePolicy())
    assert given is not None
    theta, mean, deviation = given["theta"], given["mean"], given["deviation"]
    good = engine.weights()
    for action, word in (
        (SetPolicy(theta, mean, deviation), "parameters"),
        (SetPolicy(good.theta * np.nan, mean, deviation), "not finite"),
        (SetPolicy(good.theta, mean[:1], deviation[:1]), "observations"),
        (SetPolicy(good.theta, mean, 0.0 * deviation), "not positive"),
    ):
        with pytest.raises(InputError, match=word):
            engine.act(action)
    np.testing.assert_array_equal(engine.weights().theta, good.theta)


# --- the end  ----------


def test_the_summary_is_the_mean_return_of_a_hundred_fresh_episodes(make: Make):
    engine = make()
    engine.step()
    summary = engine.summary()
    horizon = engine.facts.horizon(0)
    totals = []
    for number in range(100):
        episode = play(
            engine.arena.environments[0], engine.actor(), engine.seed_of("evaluation", number), horizon
        )
        assert episode is not None
        totals.append(episode.total)
    assert summary["mean_return"] == pytest.approx(np.mean(totals)) and summary["evaluation_episodes"] == 100
    assert summary["lowest_return"] == min(totals) and summary["environment"] == "CartPole-v1"
    assert engine.step()["environment_steps"] >= 400, "evaluating is not training"


def test_the_run_says_what_it_is_trained_in(make: Make):
    told = make().data_description()
    assert told["name"] == "CartPole-v1" and told["kind"] == "environment" and told["shape"] == "4"
    assert gymnasium.__version__ in told["source"]
