"""Exact values of mixtures and the independent entropy estimate, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engines.diffusion.chain import GaussianChain
from engines.diffusion.networks import MLP, DenseNetwork, RBFNetwork, bump_functions
from engines.diffusion.references import ExactReverse, GaussianMixture, negative_entropy_bits
from engines.diffusion.schedule import geometric_betas
from engines.errors import DataError

DOUBLE = torch.float64


@pytest.fixture
def mixture():
    return GaussianMixture(
        torch.tensor([1.0, 3.0], dtype=DOUBLE),
        torch.tensor([[-1.0, 0.5], [1.0, -0.5]], dtype=DOUBLE),
        torch.tensor([[[0.05, 0.02], [0.02, 0.1]], [[0.2, 0.0], [0.0, 0.03]]], dtype=DOUBLE),
    ).standardised()


def test_log_density_integrates_to_one(mixture):
    axis = torch.linspace(-6, 6, 801, dtype=DOUBLE)
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    assert mixture.log_density(plane).exp().sum().item() * (12 / 800) ** 2 == pytest.approx(1.0, abs=1e-6)


def test_samples_have_the_moments_it_states(mixture):
    mean, covariance = mixture.moments()
    torch.testing.assert_close(mean, torch.zeros(2, dtype=DOUBLE), atol=1e-12, rtol=0)
    torch.testing.assert_close(covariance.diagonal(), torch.ones(2, dtype=DOUBLE))
    drawn = mixture.sample(100_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.cov(drawn.T), covariance, atol=0.03, rtol=0)


def test_negative_entropy_of_a_gaussian_is_the_closed_form():
    single = GaussianMixture(torch.ones(1, dtype=DOUBLE), torch.zeros(1, 2, dtype=DOUBLE),
                             torch.diag(torch.tensor([0.5, 2.0], dtype=DOUBLE))[None])  # fmt: skip
    estimate = single.negative_entropy(100_000, torch.Generator().manual_seed(0))
    assert estimate.value == pytest.approx(-math.log(2 * math.pi * math.e), abs=5 * estimate.error)


@pytest.mark.parametrize("t", [1, 2, 6, 10])
def test_reverse_mean_is_tweedies_formula(mixture, t):
    """E[x^{t-1} | x^t] = (x^t + beta_t grad log q(x^t)) / sqrt(1 - beta_t)."""
    chain = GaussianChain(geometric_betas(10, 0.02))
    x = torch.randn(30, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    (score,) = torch.autograd.grad(mixture.diffused(chain, t).log_density(x).sum(), x)
    with torch.no_grad():
        expected = (x + chain.betas[t] * score) / chain.root_alphas[t]
        torch.testing.assert_close(mixture.reverse_mean(chain, x, t), expected)
        torch.testing.assert_close(mixture.drift(chain, x, t), expected - x)


def test_reverse_moments_are_those_of_bayes_rule_on_a_grid(mixture):
    chain = GaussianChain(geometric_betas(8, 0.02))
    t = 5
    x = torch.tensor([0.3, -0.2], dtype=DOUBLE)
    axis = torch.linspace(-5, 5, 1201, dtype=DOUBLE)
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    log_joint = mixture.diffused(chain, t - 1).log_density(plane)
    log_joint = log_joint - 0.5 * (x - chain.root_alphas[t] * plane).square().sum(-1) / chain.betas[t]
    weights = torch.softmax(log_joint.flatten(), 0)
    mean = weights @ plane.reshape(-1, 2)
    variance = weights @ (plane.reshape(-1, 2) - mean).square()
    exact_mean, exact_variance = mixture.reverse_moments(chain, x[None], t)
    torch.testing.assert_close(exact_mean[0], mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(exact_variance[0], variance, atol=1e-6, rtol=0)


def test_exact_reverse_answers_for_mixed_steps(mixture):
    model = ExactReverse(mixture, geometric_betas(6, 0.02))
    x = torch.randn(3, 4, 2, dtype=DOUBLE)
    mean, variance = model(x, torch.tensor([[2], [4], [6]]))
    for index, t in enumerate((2, 4, 6)):
        one_mean, one_variance = model(x[index], torch.tensor(t))
        torch.testing.assert_close(mean[index], one_mean)
        torch.testing.assert_close(variance[index], one_variance)


def test_neighbour_estimate_finds_the_entropy_of_known_densities(mixture):
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(20_000, 2, generator=generator).numpy()
    estimate = negative_entropy_bits(normal)
    assert estimate.value == pytest.approx(-math.log2(2 * math.pi * math.e), abs=0.05)
    assert 0 < estimate.error < 0.02
    square = np.random.default_rng(0).uniform(0, 0.25, (20_000, 2))
    assert negative_entropy_bits(square).value == pytest.approx(4.0, abs=0.05)
    exact = mixture.negative_entropy(100_000, generator).value / math.log(2)
    assert negative_entropy_bits(mixture.sample(20_000, generator).numpy()).value == pytest.approx(
        exact, abs=0.05
    )


def test_equal_or_too_few_points_are_told_in_a_sentence():
    with pytest.raises(DataError, match="equal points"):
        negative_entropy_bits(np.zeros((50, 2)))
    with pytest.raises(DataError, match="too few"):
        negative_entropy_bits(np.random.default_rng(0).normal(size=(3, 2)))


# Networks


def test_rbf_features_are_the_normalised_basis_functions():
    network = RBFNetwork(2, 5, units=4, width=0.7).double()
    with torch.no_grad():
        network.log_widths.add_(torch.randn(4) * 0.2)
    x = torch.randn(9, 2, dtype=DOUBLE)
    distances = (x[:, None] - network.centres).square().sum(-1)
    raw = torch.exp(-distances / (2 * network.log_widths.exp().square()))
    torch.testing.assert_close(network.features(x), raw / raw.sum(-1, keepdim=True))


@pytest.mark.parametrize("make", [RBFNetwork, MLP])
def test_each_step_has_its_own_readout_over_shared_features(make):
    network = make(2, 6)
    with torch.no_grad():
        network.readout.weight[2].fill_(1.0)
    x = torch.randn(7, 2)
    assert network(x, torch.tensor(4)).abs().max() > 0.01
    for t in (2, 3, 5, 6):
        assert network(x, torch.tensor(t)).abs().max() == 0
    one = network(x[0], torch.tensor(4))
    torch.testing.assert_close(one, network(x, torch.tensor(4))[0])


def test_bumps_add_up_to_one_and_peak_at_even_centres():
    t = torch.arange(0, 1001)
    bumps = bump_functions(t, 9, 1000, DOUBLE)
    torch.testing.assert_close(bumps.sum(-1), torch.ones(1001, dtype=DOUBLE))
    # Normalising moves the outer peaks to the ends; the inner ones stay at 100, 200, ...
    assert bumps[:, 1:-1].argmax(0).tolist() == pytest.approx(list(range(200, 900, 100)), abs=25)


def test_time_enters_the_dense_network_only_at_its_readout():
    network = DenseNetwork(6, 20, (8,), bumps=4)
    with torch.no_grad():
        network.last.weight.normal_()
    x = torch.randn(5, 6)
    outputs = torch.stack([network(x, torch.tensor(t)) for t in range(2, 21)])
    per_state = network(x, torch.tensor([2, 7, 7, 19, 20]))
    for row, t in enumerate((2, 7, 7, 19, 20)):
        torch.testing.assert_close(per_state[row], outputs[t - 2][row])
    # Over time every output is a mixture of J numbers, so the outputs of 19 steps span J dimensions at most.
    flat = outputs.reshape(19, -1).double()
    assert torch.linalg.matrix_rank(flat, rtol=1e-5) <= 4
