"""Policies against torch.distributions, autograd and Monte Carlo; theta as a vector; acting in numpy."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions

from engines.trpo.policies import CategoricalPolicy, GaussianPolicy, Linearisation
from tests.engines.trpo.lively import DOUBLE, generator, lively

HIDDEN = [(), (7,), (6, 5)]


def gaussian(hidden=(6,)):
    return lively(GaussianPolicy(4, 3, hidden))


def categorical(hidden=(6,)):
    return lively(CategoricalPolicy(4, 5, hidden))


def states(count: int = 30, dtype: torch.dtype = DOUBLE) -> torch.Tensor:
    return torch.randn(count, 4, generator=generator(1), dtype=DOUBLE).to(dtype)


def reference(policy, parts):
    if isinstance(policy, CategoricalPolicy):
        return distributions.Categorical(logits=parts[0])
    return distributions.Independent(distributions.Normal(parts[0], parts[1].exp()), 1)


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_log_prob_entropy_and_kl_are_those_of_torch(make):
    policy = make()
    parts = policy.distribution(states())
    actions = policy.sample(parts, generator())
    torch.testing.assert_close(policy.log_prob(parts, actions), reference(policy, parts).log_prob(actions))
    torch.testing.assert_close(policy.entropy(parts), reference(policy, parts).entropy())
    new = tuple(part + 0.5 * torch.randn(part.shape, generator=generator(3), dtype=DOUBLE) for part in parts)
    forward = distributions.kl_divergence(reference(policy, parts), reference(policy, new))
    backward = distributions.kl_divergence(reference(policy, new), reference(policy, parts))
    torch.testing.assert_close(policy.kl(parts, new), forward)
    # Old first: the other direction is another number.
    assert (forward - backward).abs().max() > 1e-2


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_kl_of_a_policy_from_itself_is_zero(make):
    policy = make()
    parts = policy.distribution(states())
    assert policy.kl(parts, parts).abs().max() == 0.0
    assert all(part.shape[0] == 30 for part in parts)


def test_gaussian_kl_is_its_monte_carlo_mean():
    policy = gaussian()
    old = policy.distribution(states(1))
    new = (old[0] + 0.4, old[1] - 0.3)
    many = tuple(part.expand(200_000, -1) for part in old)
    actions = policy.sample(many, generator(2))
    ratios = policy.log_prob(old, actions) - policy.log_prob(new, actions)
    error = float(ratios.std()) / 200_000**0.5
    assert float(policy.kl(old, new)) == pytest.approx(float(ratios.mean()), abs=5 * error)
    assert error < 0.01 * float(ratios.mean())


@given(seed=st.integers(0, 10_000), width=st.floats(0.0, 3.0))
@settings(max_examples=40)
def test_kl_is_never_negative(seed, width):
    for policy, size in ((GaussianPolicy(1, 3), 2), (CategoricalPolicy(1, 3), 1)):
        old, new = (
            tuple(width * torch.randn(4, 3, generator=generator(seed + i), dtype=DOUBLE) for _ in range(size))
            for i in (0, 1)
        )
        assert policy.kl(old, new).min() >= -1e-15


def test_small_gaussian_kl_keeps_its_digits_in_float32():
    policy = GaussianPolicy(1, 1)
    old = (torch.zeros(1, 1), torch.zeros(1, 1))
    new = (torch.zeros(1, 1), torch.full((1, 1), 1e-3))
    # Twice the square: half of the curvature 2.
    assert float(policy.kl(old, new)) == pytest.approx(1e-6, rel=2e-3)


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_score_is_the_derivative_of_log_prob_and_has_mean_zero(make):
    policy = make()
    parts = tuple(part.detach().requires_grad_() for part in policy.distribution(states()))
    actions = policy.sample(parts, generator()).detach()
    slopes = torch.autograd.grad(policy.log_prob(parts, actions).sum(), parts)
    for score, slope in zip(policy.score(parts, actions), slopes, strict=True):
        torch.testing.assert_close(score.detach(), slope)
    many = tuple(part[:1].detach().expand(100_000, -1) for part in parts)
    for score in policy.score(many, policy.sample(many, generator(3))):
        assert (score.mean(0).abs() < 5 * score.std(0) / 100_000**0.5).all()


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_metric_is_the_hessian_of_the_kl_and_the_covariance_of_the_score(make):
    policy = make()
    parts = tuple(part.detach() for part in policy.distribution(states(1)))
    sizes = [part.shape[1] for part in parts]

    def kl(flat):
        return policy.kl(parts, tuple(piece[None] for piece in flat.split(sizes)))[0]

    hessian = torch.autograd.functional.hessian(kl, torch.cat(parts, 1)[0])
    columns = [
        torch.cat(policy.metric(parts, tuple(piece[None] for piece in unit.split(sizes))), 1)[0]
        for unit in torch.eye(sum(sizes), dtype=DOUBLE)
    ]
    torch.testing.assert_close(torch.stack(columns), hessian)
    many = tuple(part.expand(200_000, -1) for part in parts)
    scores = torch.cat(policy.score(many, policy.sample(many, generator(1))), 1)
    torch.testing.assert_close(scores.T @ scores / 200_000, hessian, rtol=0, atol=0.05 * hessian.abs().max())


def test_log_std_curvature_is_two_and_does_not_depend_on_the_state():
    policy = gaussian()
    parts = policy.distribution(states())
    assert torch.equal(parts[1], parts[1][:1].expand(30, -1))
    tangent = (torch.zeros_like(parts[0]), torch.ones_like(parts[1]))
    assert torch.equal(policy.metric(parts, tangent)[1], torch.full_like(parts[1], 2.0))
    # It is a part of theta: its last numbers.
    assert torch.equal(policy.flat()[-3:], policy.log_std.detach())


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_several_actions_for_each_state(make):
    policy = make()
    parts = policy.distribution(states(8))
    draws = [policy.sample(parts, generator(seed)) for seed in range(4)]
    together = torch.stack(draws, 1)
    apart = tuple(part[:, None] for part in parts)
    expected = torch.stack([policy.log_prob(parts, action) for action in draws], 1)
    torch.testing.assert_close(policy.log_prob(apart, together), expected)
    for index, part in enumerate(policy.score(apart, together)):
        for k, action in enumerate(draws):
            torch.testing.assert_close(part[:, k], policy.score(parts, action)[index])


def test_samples_have_the_distribution_and_mode_is_the_likeliest():
    policy = gaussian()
    mean, log_std = (part.expand(100_000, -1) for part in policy.distribution(states(1)))
    drawn = policy.sample((mean, log_std), generator()).detach()
    torch.testing.assert_close(drawn.mean(0), mean[0].detach(), rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.std(0), log_std[0].exp().detach(), rtol=0.02, atol=0)
    assert torch.equal(policy.mode((mean, log_std)), mean)
    chooser = categorical()
    parts = (chooser.distribution(states(1))[0].expand(100_000, -1),)
    counts = torch.bincount(chooser.sample(parts, generator()), minlength=5) / 100_000
    torch.testing.assert_close(counts.double(), parts[0][0].softmax(-1).detach(), rtol=0, atol=0.01)
    assert int(chooser.mode(parts)[0]) == int(counts.argmax())


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_theta_is_exact(hidden, dtype):
    for make in (GaussianPolicy, CategoricalPolicy):
        policy = make(4, 3, hidden, generator=generator()).to(dtype)
        assert policy.size == sum(tensor.numel() for tensor in policy.parameters())
        theta = torch.randn(policy.size, generator=generator(7), dtype=DOUBLE).to(dtype)
        policy.set_flat(theta)
        assert torch.equal(policy.flat(), theta) and policy.flat().dtype == dtype
        policy.set_flat(theta.numpy())
        assert torch.equal(policy.flat(), theta)
        # A copy, not a view.
        policy.flat().zero_()
        assert torch.equal(policy.flat(), theta)
        other = make(4, 3, hidden, generator=generator(8)).to(dtype)
        before = other.flat()
        observations = states(dtype=dtype)
        for mine, theirs in zip(
            policy.distribution(observations), other.distribution(observations, theta), strict=True
        ):
            torch.testing.assert_close(mine, theirs)
        assert torch.equal(other.flat(), before)
        with pytest.raises(ValueError, match="shape"):
            policy.set_flat(theta[:-1])


def test_initial_policy_is_of_the_given_stream_and_nearly_alike_in_all_states():
    state = torch.get_rng_state()
    one = GaussianPolicy(4, 2, (8,), initial_log_std=-0.7, generator=generator(1))
    mean, log_std = one.distribution(states(dtype=torch.float32))
    assert 0 < mean.abs().max() < 0.2 and torch.equal(log_std, torch.full_like(mean, -0.7))
    assert torch.equal(
        one.flat(), GaussianPolicy(4, 2, (8,), initial_log_std=-0.7, generator=generator(1)).flat()
    )
    assert not torch.equal(one.flat(), GaussianPolicy(4, 2, (8,), generator=generator(2)).flat())
    # Making layers draws from torch's own stream even when what it draws is not kept.
    torch.set_rng_state(state)
    GaussianPolicy(4, 2, (8,), generator=generator(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_linear_policy_of_cart_pole_has_the_papers_number_of_parameters():
    # 4 weights, a bias, a log-std.
    assert GaussianPolicy(4, 1).size == 6


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("make", [gaussian, categorical])
def test_linearisation_is_the_jacobian_of_autograd(make, hidden):
    policy = make(hidden)
    observations = states(9)
    linear = Linearisation(policy, observations)
    theta = policy.flat()
    vector = torch.randn(policy.size, generator=generator(2), dtype=DOUBLE)

    def parts(t):
        return policy.distribution(observations, t)

    values, changes = torch.autograd.functional.jvp(parts, theta, vector)
    for mine, theirs in zip(linear.parameters + linear.forward(vector), values + changes, strict=True):
        torch.testing.assert_close(mine, theirs)
    cotangent = tuple(torch.randn(part.shape, generator=generator(4), dtype=DOUBLE) for part in values)
    pulled = torch.autograd.functional.vjp(parts, theta, cotangent)[1]
    torch.testing.assert_close(linear.backward(cotangent), pulled)


def test_linearisation_is_of_the_theta_it_was_made_at():
    policy = gaussian()
    linear = Linearisation(policy, states())
    vector = torch.ones(policy.size, dtype=DOUBLE)
    before = linear.forward(vector)[0].clone()
    theta = policy.flat()
    policy.set_flat(torch.zeros(policy.size))
    assert torch.equal(linear.forward(vector)[0], before)
    again = Linearisation(policy, states(), theta)
    assert torch.equal(again.forward(vector)[0], before)


# Acting


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (DOUBLE, 1e-12)])
def test_numpy_actor_is_the_policy(hidden, dtype, close):
    observations = states(12).numpy()
    for make in (gaussian, categorical):
        policy = make(hidden).to(dtype)
        parts = policy.distribution(torch.from_numpy(observations).to(dtype))
        actor = policy.numpy_actor()
        mine = actor.mean(observations) if make is gaussian else actor.probabilities(observations)
        theirs = parts[0] if make is gaussian else parts[0].softmax(-1)
        assert mine.dtype == theirs.detach().numpy().dtype
        np.testing.assert_allclose(mine, theirs.detach().numpy(), atol=close)
        np.testing.assert_allclose(actor.mode(observations), policy.mode(parts).detach().numpy(), atol=close)


def test_actions_have_the_policys_distribution():
    rng = np.random.default_rng(0)
    one = np.repeat(states(1).numpy(), 100_000, 0)
    policy = gaussian()
    mean, log_std = (part.detach().numpy()[0] for part in policy.distribution(states(1)))
    actions = policy.act(one, rng)
    assert actions.shape == (100_000, 3)
    np.testing.assert_allclose(actions.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(actions.std(0), np.exp(log_std), rtol=0.02)
    np.testing.assert_allclose(np.corrcoef(actions.T), np.eye(3), atol=0.02)
    chooser = categorical()
    chosen = chooser.act(one, rng)
    assert chosen.shape == (100_000,) and chosen.dtype.kind == "i"
    expected = chooser.distribution(states(1))[0].softmax(-1).detach().numpy()[0]
    np.testing.assert_allclose(np.bincount(chosen, minlength=5) / 100_000, expected, atol=0.01)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("make", [gaussian, categorical])
def test_an_episodes_actions_are_those_that_would_be_drawn_one_by_one(make, hidden, dtype):
    actor = make(hidden).to(dtype).numpy_actor()
    observations = states(300).numpy().astype(np.float32)
    choose, rng = actor.sampler(np.random.default_rng(6)), np.random.default_rng(6)
    likeliest = actor.chooser()
    chosen = [choose(observation) for observation in observations]
    expected = [actor.act(observation[None], rng)[0] for observation in observations]
    np.testing.assert_array_equal(np.array(chosen), np.array(expected))
    assert np.array(chosen).dtype == np.array(expected).dtype
    for observation in observations[:20]:
        np.testing.assert_array_equal(likeliest(observation), actor.mode(observation[None])[0])


def test_an_episodes_choices_among_many_are_the_policys_too():
    policy = CategoricalPolicy(2, 40, output_scale=1.0, generator=generator())
    observation = np.array([1.0, -1.0], np.float32)
    choose, rng = policy.numpy_actor().sampler(np.random.default_rng(1)), np.random.default_rng(1)
    chosen = [choose(observation) for _ in range(200)]
    assert chosen == [policy.act(observation[None], rng)[0] for _ in range(200)] and len(set(chosen)) > 10


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_acting_follows_an_update_and_a_snapshot_does_not(make):
    policy = make()
    observations = states(5).numpy()
    actor = policy.numpy_actor()
    old = actor.act(observations, np.random.default_rng(0))
    np.testing.assert_array_equal(policy.act(observations, np.random.default_rng(0)), old)
    policy.set_flat(-4.0 * policy.flat())
    np.testing.assert_array_equal(actor.act(observations, np.random.default_rng(0)), old)
    new = policy.act(observations, np.random.default_rng(0))
    assert not np.array_equal(new, old)
    np.testing.assert_array_equal(policy.numpy_actor().act(observations, np.random.default_rng(0)), new)
    sent = pickle.loads(pickle.dumps(actor))
    np.testing.assert_array_equal(sent.act(observations, np.random.default_rng(0)), old)


def test_the_greatest_number_drawn_still_gives_an_action():
    class Greatest(np.random.Generator):
        def random(self, size):
            return np.full(size, np.nextafter(1.0, 0.0))

    # In float32 many of these rows add up to less than that.
    policy = CategoricalPolicy(4, 7, generator=generator())
    observations = 50.0 * states(200).numpy()
    assert policy.act(observations, Greatest(np.random.PCG64(0))).max() == 6


def test_extreme_logits_still_give_an_action():
    policy = CategoricalPolicy(1, 3).double().requires_grad_(False)
    policy.set_flat(np.array([0.0, 0.0, 0.0, 1e4, -1e4, 0.0]))
    observation = np.ones((50, 1))
    assert not policy.act(observation, np.random.default_rng(0)).any()
    parts = policy.distribution(torch.ones(1, 1, dtype=DOUBLE))
    assert torch.isfinite(policy.log_prob(parts, torch.tensor([1]))).all()
    assert float(policy.kl(parts, parts)) == 0.0 and float(policy.entropy(parts)) == 0.0
