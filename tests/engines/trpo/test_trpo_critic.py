"""The value function, and observations in other units: neither moves what it must leave alone."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from engines.trpo.critic import (
    SMALLEST_DEVIATION,
    Adam,
    Critic,
    Scale,
    explained_variance,
    move_inputs,
    raw_layers,
)
from engines.trpo.policies import CategoricalPolicy, GaussianPolicy
from lab.runs.state import pack, unpack
from tests.engines.trpo.lively import generator


def critic(seed: int = 0) -> Critic:
    return Critic(3, (16, 16), generator(seed), torch.device("cpu"))


def task(count: int = 300) -> tuple[torch.Tensor, np.ndarray]:
    """States, and returns that depend on them; far from mean 0 and deviation 1."""
    observations = torch.randn(count, 3, generator=generator(1))
    returns = 500.0 + 80.0 * np.tanh(observations[:, 0].numpy()) + 40.0 * observations[:, 1].numpy() ** 2
    return observations, returns.astype(np.float64)


def fit(one: Critic, epochs: int = 10, step_size: float = 3e-3) -> float:
    observations, returns = task()
    return one.fit(
        observations, returns, epochs=epochs, batch=64, step_size=step_size, generator=generator(2)
    )


def test_other_units_of_the_returns_leave_v_where_it_is():
    one = critic()
    fit(one)
    observations, returns = task()
    before = one.values(observations)
    one.fit(observations, 3.0 * returns - 7.0, epochs=0, batch=64, step_size=1e-3, generator=generator())
    # It took the units over, and nothing else.
    assert one.mean == pytest.approx(3.0 * returns.mean() - 7.0)
    assert one.deviation >= 3.0 * returns.std()
    np.testing.assert_allclose(one.values(observations), before, atol=1e-6 * one.mean)


def test_fitting_brings_v_nearer_to_the_returns():
    one = critic()
    observations, returns = task()
    errors = [np.mean((one.values(observations) - returns) ** 2)]
    explained = []
    for _ in range(4):
        explained.append(fit(one, epochs=40, step_size=0.02))
        errors.append(np.mean((one.values(observations) - returns) ** 2))
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.2 * np.var(returns)
    # What was explained is told of before the fit.
    assert explained[0] < 0.1 and explained[-1] > 0.6
    assert explained[1:] == sorted(explained[1:])


def test_returns_that_are_all_alike_are_no_fault():
    one = critic()
    observations, _ = task()
    for _ in range(3):
        found = one.fit(
            observations, np.full(300, 10.0), epochs=2, batch=64, step_size=1e-3, generator=generator()
        )
        assert found == 0.0
    assert np.isfinite(one.values(observations)).all()


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_the_gradient_is_autograds(hidden):
    one = Critic(3, hidden, generator(3), torch.device("cpu"), torch.float64)
    observations = torch.randn(20, 3, generator=generator(4), dtype=torch.float64)
    targets = torch.randn(20, generator=generator(5), dtype=torch.float64)
    layers = [(layer.weight.clone(), layer.bias.clone()) for layer in one.network]
    tensors = [tensor.requires_grad_() for layer in layers for tensor in layer]
    h = observations
    for index, (weight, bias) in enumerate(layers):
        h = h @ weight.T + bias
        h = torch.tanh(h) if index < len(hidden) else h
    torch.testing.assert_close(torch.from_numpy(one.values(observations)), h[:, 0].detach())
    expected = torch.autograd.grad(((h[:, 0] - targets) ** 2).mean(), tensors)
    found = one.gradient(observations, targets)
    torch.testing.assert_close(found, torch.cat([part.t().reshape(-1) for part in expected]))


def test_adam_is_adam():
    draw = generator(1)
    mine = torch.randn(7, generator=draw, dtype=torch.float64)
    theirs = mine.clone().requires_grad_()
    adam, reference = Adam(mine), torch.optim.Adam([theirs], lr=0.0)
    for step_size in (0.1, 0.1, 0.03, 0.003, 1.0):
        gradient = torch.randn(7, generator=draw, dtype=torch.float64) * 10.0 ** torch.arange(-9.0, 5.0, 2.0)
        theirs.grad = gradient.clone()
        reference.param_groups[0]["lr"] = step_size
        reference.step()
        adam.step(gradient, step_size)
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-10, atol=1e-12)


def test_the_part_explained_is_one_for_the_truth_and_zero_for_its_mean():
    _, returns = task()
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(np.full_like(returns, returns.mean()), returns) == pytest.approx(0.0)
    assert explained_variance(returns + 3.0, returns) == pytest.approx(1.0)
    assert explained_variance(-returns, returns) < 0.0
    assert explained_variance(returns, np.ones_like(returns)) == 0.0


def test_a_critic_goes_on_from_its_state_bit_for_bit():
    one, other = critic(), critic(seed=9)
    fit(one)
    other.load_state_dict(unpack(pack({"critic": one.state_dict()}))[0]["critic"])
    observations, _ = task()
    assert one.values(observations).tobytes() == other.values(observations).tobytes()
    # Adam's moments came along.
    assert fit(one) == fit(other)
    assert pack({"critic": one.state_dict()}) == pack({"critic": other.state_dict()})


def test_the_scale_is_the_mean_and_the_deviation_of_all_batches_together():
    draw = np.random.default_rng(0)
    scale, seen = Scale(4), []
    for count in (1, 2, 37, 500):
        batch = (draw.standard_normal((count, 4)) * [1.0, 10.0, 0.01, 3.0] + [0.0, 1e3, 1.0, -5.0]).astype(
            np.float32
        )
        seen.append(batch)
        scale.add(batch)
        everything = np.concatenate(seen).astype(np.float64)
        np.testing.assert_allclose(scale.mean, everything.mean(0), rtol=1e-12, atol=1e-12)
        if len(everything) > 2:
            np.testing.assert_allclose(scale.deviation, everything.std(0), rtol=1e-9)
    assert scale.count == 540
    other = Scale(4)
    other.load_state_dict(unpack(pack({"scale": scale.state_dict()}))[0]["scale"])
    assert other.mean.tobytes() == scale.mean.tobytes()
    assert other.deviation.tobytes() == scale.deviation.tobytes()


def test_what_hardly_ever_moves_is_not_blown_up():
    scale = Scale(2)
    assert scale.deviation.tolist() == [1.0, 1.0]
    scale.add(np.array([[0.0, 0.0]]))
    assert scale.deviation.tolist() == [1.0, 1.0]
    scale.add(np.array([[2.0, 0.1 * SMALLEST_DEVIATION]]))
    assert scale.deviation.tolist() == [1.0, 1.0]
    scale.add(np.array([[5.0, 0.0]]))
    assert scale.deviation[0] == pytest.approx(np.std([0.0, 2.0, 5.0])) and scale.deviation[1] == 1.0


def test_a_state_that_is_kept_does_not_change_when_the_scale_goes_on():
    scale = Scale(2)
    scale.add(np.arange(10.0).reshape(5, 2))
    state, mean = scale.state_dict(), scale.mean
    kept = copy.deepcopy(state), mean.copy()
    scale.add(np.ones((5, 2)))
    assert state["mean"].tobytes() == kept[0]["mean"].tobytes()
    assert state["squares"].tobytes() == kept[0]["squares"].tobytes()
    assert mean.tobytes() == kept[1].tobytes()


OLD = np.array([0.5, -2.0, 30.0]), np.array([1.0, 0.1, 20.0])
NEW = np.array([0.7, -1.9, 10.0]), np.array([1.3, 0.2, 35.0])


def scaled(observations: np.ndarray, units) -> torch.Tensor:
    return torch.as_tensor((observations - units[0]) / units[1], dtype=torch.float32)


def test_inputs_in_other_units_leave_the_function_alone():
    layer = nn.Linear(3, 5)
    observations = np.random.default_rng(0).standard_normal((50, 3)) * [2.0, 0.3, 25.0] + [0.6, -2.0, 20.0]
    with torch.no_grad():
        before = layer(scaled(observations, OLD))
        weight = layer.weight.clone()
        move_inputs(layer, OLD, NEW)
        torch.testing.assert_close(layer(scaled(observations, NEW)), before, rtol=1e-5, atol=1e-5)
    assert not torch.equal(layer.weight, weight)


@pytest.mark.parametrize(
    "policy",
    [
        CategoricalPolicy(3, 4, [8], generator=generator(3)),
        GaussianPolicy(3, 2, [], generator=generator(4)),
    ],
    ids=["categorical", "linear gaussian"],
)
def test_a_policy_takes_raw_observations_afterwards(policy):
    policy.requires_grad_(False)
    observations = np.random.default_rng(0).standard_normal((50, 3)) * [2.0, 0.3, 25.0] + [0.6, -2.0, 20.0]
    before = policy.distribution(scaled(observations, OLD))
    raw_layers(policy, *OLD)
    after = policy.distribution(torch.as_tensor(observations, dtype=torch.float32))
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_returns_that_are_all_alike_are_learned_without_harm_to_what_follows():
    """Sparse rewards: a whole batch with nothing in it."""
    critic = Critic(2, (16,), generator(), torch.device("cpu"))
    seen = torch.randn(400, 2, generator=generator(1))
    returns = seen[:, 0].double().numpy() * 10.0
    options = {"epochs": 20, "batch": 64, "step_size": 3e-3}
    critic.fit(seen, np.full(400, 7.0), generator=generator(2), **options)
    for seed in range(3, 6):
        critic.fit(seen, returns, generator=generator(seed), **options)
    assert explained_variance(critic.values(seen), returns) > 0.9
