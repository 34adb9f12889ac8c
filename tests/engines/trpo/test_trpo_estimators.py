"""Returns and advantages against sums written out; surrogates and their gradients against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.trpo.estimators import (
    EnumeratedVine,
    SampledVine,
    SinglePath,
    discounted_returns,
    generalised_advantages,
    standardised,
    surrogate_gradient,
)
from engines.trpo.policies import CategoricalPolicy, GaussianPolicy, Linearisation

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(policy):
    policy = policy.double().requires_grad_(False)
    policy.set_flat(torch.randn(policy.size, generator=generator(5), dtype=DOUBLE) * 0.6)
    return policy


def gradient(policy, observations, surrogate):
    return surrogate_gradient(policy, surrogate, Linearisation(policy, observations))


def score_matrix(policy, observations, actions) -> torch.Tensor:
    """grad log pi(a_n | s_n) for each n, (N, P), by autograd one at a time."""
    rows = []
    for observation, action in zip(observations, actions, strict=True):
        theta = policy.flat().requires_grad_()
        parts = policy.distribution(observation[None], theta)
        rows.append(torch.autograd.grad(policy.log_prob(parts, action[None]).sum(), theta)[0])
    return torch.stack(rows)


paths = st.lists(st.integers(1, 6), min_size=1, max_size=6)


@given(lengths=paths, gamma=st.floats(0.0, 1.0), lambda_=st.floats(0.0, 1.0), cut=st.booleans())
@settings(max_examples=60)
def test_returns_and_gae_are_their_sums(lengths, gamma, lambda_, cut):
    rng = np.random.default_rng(sum(lengths))
    rewards, values = rng.standard_normal((2, sum(lengths)))
    bootstrap = rng.standard_normal(len(lengths)) if cut else None
    returns = discounted_returns(rewards, np.array(lengths), gamma, bootstrap)
    advantages = generalised_advantages(rewards, values, np.array(lengths), gamma, lambda_, bootstrap)
    begin = 0
    for path, length in enumerate(lengths):
        last = bootstrap[path] if cut else 0.0
        r, v = rewards[begin : begin + length], np.append(values[begin : begin + length], last)
        for t in range(length):
            q = sum(gamma**k * r[t + k] for k in range(length - t)) + gamma ** (length - t) * last
            assert returns[begin + t] == pytest.approx(q, abs=1e-12)
            a = sum(
                (gamma * lambda_) ** k * (r[t + k] + gamma * v[t + k + 1] - v[t + k])
                for k in range(length - t)
            )
            assert advantages[begin + t] == pytest.approx(a, abs=1e-12)
        begin += length


def test_a_cut_off_path_goes_on_in_the_critic_and_a_finished_one_does_not():
    rewards, lengths = np.ones(5), np.array([2, 3])
    cut = discounted_returns(rewards, lengths, 0.9, np.array([0.0, 10.0]))
    np.testing.assert_allclose(cut, [1.9, 1.0, 1 + 0.9 + 0.81 + 0.729 * 10, 1 + 0.9 + 8.1, 1 + 9.0])
    # The paper's own: nothing follows either.
    np.testing.assert_allclose(discounted_returns(rewards, lengths, 0.9), [1.9, 1.0, 2.71, 1.9, 1.0])
    values = np.zeros(5)
    tail = generalised_advantages(rewards, values, lengths, 0.9, 0.0, np.array([0.0, 10.0]))
    np.testing.assert_allclose(tail, [1, 1, 1, 1, 10.0])


def test_with_lambda_one_gae_is_the_return_less_the_value():
    rng = np.random.default_rng(0)
    rewards, values = rng.standard_normal((2, 12))
    lengths, bootstrap = np.array([5, 1, 6]), np.array([0.3, -1.0, 0.0])
    np.testing.assert_allclose(
        generalised_advantages(rewards, values, lengths, 0.97, 1.0, bootstrap),
        discounted_returns(rewards, lengths, 0.97, bootstrap) - values,
    )


def test_lengths_must_fit():
    with pytest.raises(ValueError, match="add up"):
        discounted_returns(np.ones(4), np.array([2, 3]), 0.9)
    with pytest.raises(ValueError, match="add up"):
        discounted_returns(np.ones(4), np.array([4, 0]), 0.9)
    with pytest.raises(ValueError, match="bootstrap"):
        discounted_returns(np.ones(4), np.array([4]), 0.9, np.ones(2))
    with pytest.raises(ValueError, match="values"):
        generalised_advantages(np.ones(4), np.ones(3), np.array([4]), 0.9, 0.9)
    assert discounted_returns(np.zeros(0), np.zeros(0, int), 0.9).shape == (0,)


def test_standardised_is_on_request_and_survives_equal_values():
    values = np.array([3.0, 5.0, 10.0])
    done = standardised(values)
    assert done.mean() == pytest.approx(0.0, abs=1e-12) and done.std() == pytest.approx(1.0)
    np.testing.assert_array_equal(standardised(np.full(7, 0.1)), np.zeros(7))
    np.testing.assert_array_equal(values, [3.0, 5.0, 10.0])


def single_path(policy, count=25, seed=1):
    observations = torch.randn(count, 3, generator=generator(seed), dtype=DOUBLE)
    parts = tuple(part.detach() for part in policy.distribution(observations))
    actions = policy.sample(parts, generator(seed + 1))
    values = 5.0 + 3.0 * torch.randn(count, generator=generator(seed + 2), dtype=DOUBLE)
    return observations, SinglePath(actions, policy.log_prob(parts, actions), values)


@pytest.mark.parametrize("make", [lambda: GaussianPolicy(3, 2, (4,)), lambda: CategoricalPolicy(3, 4, (4,))])
def test_single_path_gradient_is_the_mean_of_q_times_the_score(make):
    policy = lively(make())
    observations, surrogate = single_path(policy)
    value, g = gradient(policy, observations, surrogate)
    # As they are: no baseline, and not standardised.
    assert value == pytest.approx(float(surrogate.values.mean()))
    scores = score_matrix(policy, observations, surrogate.actions)
    torch.testing.assert_close(g, (surrogate.values[:, None] * scores).mean(0))
    theta = policy.flat().requires_grad_()
    away = surrogate(policy, policy.distribution(observations, theta))
    torch.testing.assert_close(g, torch.autograd.grad(away, theta)[0])


def test_single_path_away_from_the_old_policy_is_the_weighted_mean():
    policy = lively(GaussianPolicy(3, 2, (4,)))
    observations, surrogate = single_path(policy)
    parts = policy.distribution(observations, policy.flat() + 0.1)
    old = policy.distribution(observations)
    ratio = (policy.log_prob(parts, surrogate.actions) - policy.log_prob(old, surrogate.actions)).exp()
    torch.testing.assert_close(surrogate(policy, parts), (ratio * surrogate.values).mean())


@pytest.mark.parametrize("which", ["single", "sampled", "enumerated"])
def test_surrogate_gradient_is_the_finite_difference(which):
    policy = lively(CategoricalPolicy(3, 4, (4,)))
    observations, surrogate = single_path(policy, 10)
    if which == "sampled":
        surrogate = vine(policy, observations)
    if which == "enumerated":
        surrogate = EnumeratedVine(torch.randn(10, 4, generator=generator(), dtype=DOUBLE))
    _, g = gradient(policy, observations, surrogate)
    theta = policy.flat()
    for index in range(policy.size):
        unit = torch.zeros_like(theta)
        unit[index] = 1e-6
        ahead = surrogate(policy, policy.distribution(observations, theta + unit))
        behind = surrogate(policy, policy.distribution(observations, theta - unit))
        assert float(g[index]) == pytest.approx(float(ahead - behind) / 2e-6, abs=1e-7)


def vine(policy, observations, count=4, seed=3):
    parts = tuple(part.detach() for part in policy.distribution(observations))
    actions = torch.stack([policy.sample(parts, generator(seed + k)) for k in range(count)], 1)
    log_q = policy.log_prob(tuple(part[:, None] for part in parts), actions)
    return SampledVine(actions, log_q, torch.randn(log_q.shape, generator=generator(seed), dtype=DOUBLE))


@pytest.mark.parametrize("make", [lambda: GaussianPolicy(3, 2, (4,)), lambda: CategoricalPolicy(3, 4, (4,))])
def test_sampled_vine_is_the_self_normalised_mean_and_constants_leave_its_gradient(make):
    policy = lively(make())
    observations = torch.randn(6, 3, generator=generator(), dtype=DOUBLE)
    surrogate = vine(policy, observations)
    parts = policy.distribution(observations, policy.flat() + 0.2)
    expected = 0.0
    for n in range(6):
        one = tuple(part[n : n + 1].expand(4, -1) for part in parts)
        weights = (policy.log_prob(one, surrogate.actions[n]) - surrogate.log_q[n]).exp()
        expected += float((weights * surrogate.values[n]).sum() / weights.sum()) / 6
    assert float(surrogate(policy, parts)) == pytest.approx(expected)
    value, g = gradient(policy, observations, surrogate)
    # One constant for each state.
    constants = 100.0 * torch.randn(6, 1, generator=generator(9), dtype=DOUBLE)
    shifted = SampledVine(surrogate.actions, surrogate.log_q, surrogate.values + constants)
    shifted_value, shifted_g = gradient(policy, observations, shifted)
    torch.testing.assert_close(shifted_g, g, rtol=0, atol=1e-11)
    assert shifted_value == pytest.approx(value + float(constants.mean()))
    assert g.abs().max() > 1e-3


def test_weights_beyond_the_range_of_float32_are_no_trouble():
    policy = CategoricalPolicy(1, 2)
    surrogate = SampledVine(
        torch.tensor([[0, 1]]), torch.tensor([[-300.0, -300.0]]), torch.tensor([[1.0, 3.0]])
    )
    value = surrogate(policy, (torch.zeros(1, 2),))
    assert float(value) == pytest.approx(2.0)


def test_vine_of_all_actions_is_the_exact_sum_however_they_are_given():
    policy = lively(CategoricalPolicy(3, 4, (4,)))
    observations = torch.randn(7, 3, generator=generator(), dtype=DOUBLE)
    q = torch.randn(7, 4, generator=generator(1), dtype=DOUBLE)
    parts = policy.distribution(observations)
    exact = (parts[0].softmax(-1) * q).sum(-1).mean()
    torch.testing.assert_close(EnumeratedVine(q)(policy, parts), exact)
    # Every action once, drawn uniformly: the self-normalised weights are the probabilities.
    uniform = SampledVine(torch.arange(4).expand(7, 4), torch.full((7, 4), np.log(0.25), dtype=DOUBLE), q)
    torch.testing.assert_close(uniform(policy, parts), exact)


def test_parts_of_a_surrogate_go_with_parts_of_the_states():
    policy = lively(CategoricalPolicy(3, 4, (4,)))
    observations, path = single_path(policy, 10)
    tried = EnumeratedVine(torch.randn(10, 4, generator=generator(), dtype=DOUBLE))
    for surrogate in (path, tried, vine(policy, observations)):
        whole = float(surrogate(policy, policy.distribution(observations)))
        halves = [
            float(surrogate.part(index)(policy, policy.distribution(observations[index])))
            for index in (torch.arange(0, 10, 2), torch.arange(1, 10, 2))
        ]
        assert sum(halves) / 2 == pytest.approx(whole) and halves[0] != halves[1]


# Common random numbers


def rollouts(action: float, seeds: range, length: int = 12, gamma: float = 0.9) -> np.ndarray:
    """Returns of a noisy leaky integrator after a first action, one for each random stream, all from the same state."""
    noise = np.stack([np.random.default_rng(seed).standard_normal(length) for seed in seeds])
    x = np.full(len(seeds), 0.5)
    rewards = np.empty((len(seeds), length))
    for t in range(length):
        x = 0.8 * x + (action if t == 0 else -0.2 * x) + 0.5 * noise[:, t]
        rewards[:, t] = -(x**2)
    lengths = np.full(len(seeds), length)
    return discounted_returns(rewards.ravel(), lengths, gamma).reshape(rewards.shape)[:, 0]


def test_common_random_numbers_repeat_and_lower_the_variance_of_differences():
    np.testing.assert_array_equal(rollouts(0.3, range(50)), rollouts(0.3, range(50)))
    common = rollouts(0.3, range(400)) - rollouts(-0.3, range(400))
    apart = rollouts(0.3, range(400)) - rollouts(-0.3, range(400, 800))
    assert common.var() < 0.5 * apart.var()
