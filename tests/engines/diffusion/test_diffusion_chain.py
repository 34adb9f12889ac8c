"""The forward chain against composition and Bayes' rule; walks along the reverse chain; r(x)."""

from __future__ import annotations

import math

import pytest
import torch

from engines.diffusion.chain import (
    GaussianChain,
    drift,
    fan_of_futures,
    reverse_kernel,
    sample,
    sample_reverse,
)
from engines.diffusion.networks import MLP, ReverseModel
from engines.diffusion.perturbation import KnownPixels, NoisyObservation, PaintedRegion, SmoothPerturbation
from engines.diffusion.references import ExactReverse, GaussianMixture
from engines.diffusion.schedule import FixedSchedule, binomial_like_betas, geometric_betas

DOUBLE = torch.float64


@pytest.fixture
def betas():
    return binomial_like_betas(12, 0.02)


def two_blobs() -> GaussianMixture:
    return GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=DOUBLE),
        torch.tensor([[-1.0, 0.5], [1.0, -0.5]], dtype=DOUBLE),
        torch.tensor([[[0.05, 0.02], [0.02, 0.1]], [[0.2, 0.0], [0.0, 0.03]]], dtype=DOUBLE),
    ).standardised()


def test_marginal_is_the_composition_of_the_kernels(betas):
    chain = GaussianChain(betas)
    x0 = torch.tensor([[0.7, -1.3]], dtype=DOUBLE)
    mean, variance = x0, torch.zeros(1, 1, dtype=DOUBLE)
    for t in range(1, chain.steps + 1):
        mean, step_variance = chain.forward_kernel(mean, t)
        variance = (1.0 - chain.betas[t]) * variance + step_variance
        closed_mean, closed_variance = chain.marginal(x0, t)
        torch.testing.assert_close(closed_mean, mean)
        torch.testing.assert_close(closed_variance.reshape(1, 1), variance)


def test_posterior_is_bayes_rule(betas):
    chain = GaussianChain(betas)
    x0 = torch.tensor([[0.8]], dtype=DOUBLE)
    xt = torch.tensor([[-0.4]], dtype=DOUBLE)
    grid = torch.linspace(-8, 8, 200_001, dtype=DOUBLE)
    for t in (2, 5, 11):
        mean_before, variance_before = chain.marginal(x0, t - 1)
        log_density = -0.5 * (grid - mean_before.squeeze()).square() / variance_before.squeeze()
        log_density -= 0.5 * (xt.squeeze() - chain.root_alphas[t] * grid).square() / chain.betas[t]
        weights = torch.softmax(log_density, 0)
        mean = (weights * grid).sum()
        mean_q, variance_q = chain.posterior(x0, xt, t)
        assert mean_q.item() == pytest.approx(mean.item(), abs=1e-8)
        assert variance_q.item() == pytest.approx((weights * (grid - mean).square()).sum().item(), rel=1e-6)


def test_forward_walk_has_the_marginals_and_ends_in_the_prior():
    chain = GaussianChain(binomial_like_betas(20, 0.05))
    generator = torch.Generator().manual_seed(1)
    x0 = torch.tensor([2.5, -2.5], dtype=DOUBLE).repeat(20_000, 1)
    walk = chain.forward_trajectory(x0, generator)
    assert walk.shape == (21, 20_000, 2)
    assert torch.equal(walk[0], x0)
    for t in (1, 10):
        mean, variance = chain.marginal(x0[:1], t)
        deviation = variance.item() ** 0.5
        assert (walk[t].mean(0) - mean[0]).abs().max() < 5 * deviation / math.sqrt(20_000)
        assert walk[t].var(0).sub(variance.item()).abs().max() < 5 * variance.item() * math.sqrt(2 / 20_000)
    # Kolmogorov-Smirnov against N(0, 1): 1.95 / sqrt(N) is passed with probability 0.999.
    ordered = walk[-1][:, 0].sort().values
    normal = 0.5 * (1 + torch.erf(ordered / math.sqrt(2)))
    empirical = torch.arange(1, 20_001, dtype=DOUBLE) / 20_000
    assert (normal - empirical).abs().max() < 1.95 / math.sqrt(20_000)


def test_one_walk_step_in_time_matches_the_joint(betas):
    """Neighbours on a walk have the covariance of the kernel: the walk is a chain, not a set of marginals."""
    chain = GaussianChain(betas)
    x0 = torch.zeros(40_000, 1, dtype=DOUBLE)
    walk = chain.forward_trajectory(x0, torch.Generator().manual_seed(2))[..., 0]
    expected = chain.root_alphas[7] * chain.noise_variances[6]
    assert (walk[6] * walk[7]).mean().item() == pytest.approx(expected.item(), abs=0.02)


def test_last_step_is_the_forward_kernel_with_beta_1_and_never_asks_the_model(betas):
    class Refuses:
        def chain(self):
            return GaussianChain(betas)

        def __call__(self, x, t, chain=None):
            raise AssertionError("the model was asked at t = 1")

    x = torch.full((50_000, 2), 3.0, dtype=DOUBLE)
    mean, variance = reverse_kernel(Refuses(), x, 1)
    torch.testing.assert_close(mean, math.sqrt(1 - 0.02) * x)
    torch.testing.assert_close(variance, torch.full_like(x, 0.02))
    last = sample_reverse(Refuses(), x, from_step=1, generator=torch.Generator().manual_seed(0))
    # A sample, not the mean: it carries the noise of beta_1.
    assert last.var(0).mean().item() == pytest.approx(0.02, rel=0.05)


def test_exact_reverse_chain_recovers_the_mixture():
    mixture = two_blobs()
    model = ExactReverse(mixture, geometric_betas(60, 0.005, 0.01))
    generator = torch.Generator().manual_seed(3)
    made = sample(model, 4000, 2, generator=generator)
    drawn = mixture.sample(4000, generator)
    torch.testing.assert_close(made.mean(0), drawn.mean(0), atol=0.08, rtol=0)
    torch.testing.assert_close(torch.cov(made.T), torch.cov(drawn.T), atol=0.1, rtol=0)
    assert mixture.log_density(made).mean().item() == pytest.approx(
        mixture.log_density(drawn).mean().item(), abs=0.15
    )


def test_walks_start_anywhere_and_keep_every_state():
    model = ExactReverse(two_blobs(), geometric_betas(10, 0.01))
    point = torch.tensor([0.1, 0.2], dtype=DOUBLE)
    futures = fan_of_futures(model, point, 7, 30, generator=torch.Generator().manual_seed(0))
    assert futures.shape == (8, 30, 2)
    assert torch.equal(futures[0], point.expand(30, 2))
    assert futures[-1].std(0).min() > 0.01
    whole = sample(model, 5, 2, generator=torch.Generator().manual_seed(0), keep=True)
    assert whole.shape == (11, 5, 2)
    end = sample(model, 5, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole[-1], end)
    part = sample_reverse(model, whole[0], to_step=4, generator=torch.Generator().manual_seed(9))
    assert part.shape == (5, 2)
    with pytest.raises(ValueError):
        sample_reverse(model, point, from_step=11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_drift_of_an_untrained_model_is_the_kernels(dtype):
    model = ReverseModel(MLP(2, 8, (16,)), FixedSchedule(geometric_betas(8, 0.01))).to(dtype)
    x = torch.randn(6, 2, dtype=dtype)
    for t in (2, 8):
        torch.testing.assert_close(drift(model, x, t), (model.chain().root_alphas[t] - 1) * x)


# r(x)


def image_model() -> ReverseModel:
    torch.manual_seed(0)
    model = ReverseModel(MLP(6, 9, (16,)), FixedSchedule(geometric_betas(9, 0.01)))
    with torch.no_grad():
        model.network.readout.weight.normal_(0, 0.3)
    return model


def test_inpainting_returns_known_pixels_bit_for_bit_at_every_step():
    model = image_model()
    known = torch.tensor([True, False, True, True, False, False])
    values = torch.randn(6) * 7
    walk = sample(model, 40, 6, perturbation=KnownPixels(known, values), keep=True)
    assert torch.equal(walk[..., known], values[known].expand(*walk.shape[:-1], 3))
    assert walk[-1][:, ~known].std(0).min() > 0.01
    assert torch.isfinite(walk).all()


@pytest.mark.parametrize("value", [-1.5, 1.5])
def test_inpainted_dimension_follows_the_known_one(value):
    """Of a correlated Gaussian, x_2 given x_1 has mean 0.9 x_1.

    Holding the clean value at all steps, as the paper does, is an approximation: the mean falls short of that.
    """
    covariance = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]], dtype=DOUBLE)
    gaussian = GaussianMixture(torch.ones(1, dtype=DOUBLE), torch.zeros(1, 2, dtype=DOUBLE), covariance)
    model = ExactReverse(gaussian, geometric_betas(60, 0.005, 0.01))
    perturbation = KnownPixels(torch.tensor([True, False]), torch.tensor([value, 0.0], dtype=DOUBLE))
    made = sample(model, 3000, 2, perturbation=perturbation, generator=torch.Generator().manual_seed(0))
    assert 0.6 < made[:, 1].mean().item() / value < 0.95
    assert made[:, 1].std() < 0.7


def test_denoising_without_noise_returns_the_observation():
    model = image_model()
    observed = torch.randn(5, 6)
    made = sample(model, 5, 6, perturbation=NoisyObservation(observed, 0.0))
    torch.testing.assert_close(made, observed)


@pytest.mark.parametrize("noise_variance", [float("inf"), 1e12])
def test_denoising_of_endless_noise_is_plain_sampling(noise_variance):
    model = image_model()
    perturbation = NoisyObservation(torch.randn(5, 6), noise_variance, start_at_observation=False)
    bent = sample(model, 5, 6, perturbation=perturbation, generator=torch.Generator().manual_seed(4))
    plain = sample(model, 5, 6, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(bent, plain)


def test_denoising_step_is_the_product_of_two_gaussians():
    observed = torch.tensor([[2.0]], dtype=DOUBLE)
    mean, variance = torch.tensor([[-1.0]], dtype=DOUBLE), torch.tensor([[0.3]], dtype=DOUBLE)
    bent_mean, bent_variance = NoisyObservation(observed, 0.5).bend(mean, variance, 3, 10)
    expected = 1.0 / (1 / 0.3 + 1 / 0.5)
    assert bent_variance.item() == pytest.approx(expected)
    assert bent_mean.item() == pytest.approx(expected * (-1.0 / 0.3 + 2.0 / 0.5))


class Tilt(SmoothPerturbation):
    """log r = a . x, for which the shift by variance grad log r is exact."""

    def __init__(self, slope, **options):
        super().__init__(**options)
        self.slope = slope

    def log_r(self, x):
        return x @ self.slope


def test_smooth_r_moves_the_mean_by_the_variance_times_the_gradient():
    slope = torch.tensor([1.0, -2.0], dtype=DOUBLE)
    mean = torch.randn(4, 2, dtype=DOUBLE)
    variance = torch.tensor([0.1, 0.3], dtype=DOUBLE).expand(4, 2)
    bent_mean, bent_variance = Tilt(slope).bend(mean, variance, 3, 12)
    torch.testing.assert_close(bent_mean, mean + torch.tensor([0.1, -0.6], dtype=DOUBLE))
    assert torch.equal(bent_variance, variance)
    annealed, _ = Tilt(slope, anneal=True).bend(mean, variance, 3, 12)
    torch.testing.assert_close(annealed, mean + 0.75 * torch.tensor([0.1, -0.6], dtype=DOUBLE))
    limited, _ = Tilt(100 * slope, largest_shift=2.0).bend(mean, variance, 3, 12)
    torch.testing.assert_close(limited, mean + torch.tensor([2.0, -2.0], dtype=DOUBLE) * variance.sqrt())


def test_painted_region_interpolates_between_pixel_centres():
    grid = torch.tensor([[0.0, 1.0], [2.0, 5.0]], dtype=DOUBLE)
    region = PaintedRegion(grid, (-1.0, 1.0, -2.0, 2.0))
    centres = torch.tensor([[-0.5, -1.0], [0.5, -1.0], [-0.5, 1.0], [0.5, 1.0]], dtype=DOUBLE)
    torch.testing.assert_close(region.log_r(centres), grid.flatten())
    assert region.log_r(torch.zeros(1, 2, dtype=DOUBLE)).item() == pytest.approx(2.0)
    far = torch.tensor([[100.0, 100.0], [-100.0, 0.0]], dtype=DOUBLE)
    torch.testing.assert_close(region.log_r(far), torch.tensor([5.0, 1.0], dtype=DOUBLE))
    assert region.log_r_gradient(far)[0].abs().max() == 0


def test_painted_region_has_the_gradient_of_its_own_values():
    torch.manual_seed(0)
    region = PaintedRegion(torch.randn(7, 5, dtype=DOUBLE), (-2.0, 2.0, -1.5, 1.5))
    x = (torch.rand(50, 2, dtype=DOUBLE) - 0.5) * 4.5
    torch.testing.assert_close(region.log_r_gradient(x), SmoothPerturbation.log_r_gradient(region, x))
    small = 1e-6
    for d in range(2):
        ahead, behind = x.clone(), x.clone()
        ahead[:, d] += small
        behind[:, d] -= small
        slope = (region.log_r(ahead) - region.log_r(behind)) / (2 * small)
        torch.testing.assert_close(region.log_r_gradient(x)[:, d], slope, atol=1e-6, rtol=1e-5)


def test_painting_one_blob_draws_the_samples_there():
    mixture = two_blobs()
    model = ExactReverse(mixture, geometric_betas(30, 0.01))
    across = torch.linspace(-3, 3, 40, dtype=DOUBLE)
    # log r favours the left, where 30 % of the mass lies.
    region = PaintedRegion((-4.0 * torch.tanh(2 * across)).expand(40, 40), (-3, 3, -3, 3))
    plain = sample(model, 1000, 2, generator=torch.Generator().manual_seed(0))
    bent = sample(model, 1000, 2, perturbation=region, generator=torch.Generator().manual_seed(0))
    assert (plain[:, 0] < 0).double().mean() < 0.45
    assert (bent[:, 0] < 0).double().mean() > 0.9
