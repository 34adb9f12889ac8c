"""The bound K against closed forms: Gaussian data, the forward kernel as model, exact reverse chains, finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from engines.diffusion.bound import (
    entropy_bounds,
    gaussian_entropy,
    gaussian_kl,
    log_likelihood,
    log_normal,
    lower_bound,
    measure_bound,
    null_log_likelihood,
    random_steps,
    step_divergence,
    to_bits,
    to_nats,
)
from engines.diffusion.chain import GaussianChain, reverse_kernel
from engines.diffusion.networks import MLP, DenseNetwork, RBFNetwork, ReverseModel
from engines.diffusion.references import ExactReverse, GaussianMixture
from engines.diffusion.schedule import FixedSchedule, LearnedSchedule, binomial_like_betas, geometric_betas

DOUBLE = torch.float64


def gaussian(variance: float, dimension: int = 1) -> GaussianMixture:
    return GaussianMixture(
        torch.ones(1, dtype=DOUBLE),
        torch.zeros(1, dimension, dtype=DOUBLE),
        variance * torch.eye(dimension, dtype=DOUBLE)[None],
    )


def exact_moments_data(variance: float) -> torch.Tensor:
    """Points whose sample mean is 0 and whose sample second moment is exactly the variance."""
    return torch.tensor([[-1.0], [1.0]], dtype=DOUBLE) * math.sqrt(variance)


def gaussian_bound(variance: float, betas: torch.Tensor) -> tuple[float, float, float]:
    """K, exact bound and the model's own log-likelihood for N(0, variance) data with the true reverse chain, all closed.

    The true reverse step of Gaussian data is Gaussian, so KL_t in expectation is an entropy difference, and the model's
    density at x^0 is a Gaussian found by composing linear steps.
    """
    chain = GaussianChain(betas)
    total = 0.0
    spread = 1.0
    for t in range(chain.steps, 1, -1):
        before = chain.alpha_bars[t - 1] * variance + chain.noise_variances[t - 1]
        after = chain.alpha_bars[t] * variance + chain.noise_variances[t]
        gain = chain.root_alphas[t] * before / after
        reverse_variance = before - gain * chain.root_alphas[t] * before
        total += 0.5 * float(torch.log(reverse_variance / chain.posterior_variances[t]))
        spread = float(gain.square() * spread + reverse_variance)
    spread = float((1 - chain.betas[1]) * spread + chain.betas[1])
    k = (
        -total
        + 0.5 * math.log(chain.noise_variances[-1])
        - 0.5 * math.log(2 * math.pi * math.e * chain.betas[1])
    )
    last = float(chain.alpha_bars[-1] * variance + chain.noise_variances[-1])
    first = float(chain.alpha_bars[1] * variance + chain.noise_variances[1])
    exact = k - 0.5 * (last - 1) - 0.5 * (variance - first)
    likelihood = -0.5 * math.log(2 * math.pi * spread) - 0.5 * variance / spread
    return k, exact, likelihood


@pytest.mark.parametrize("variance", [0.25, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("steps", [10, 40])
def test_bound_of_gaussian_data_is_the_closed_form(variance, steps):
    betas = binomial_like_betas(steps, 1.0 / steps)
    k, exact, likelihood = gaussian_bound(variance, betas)
    model = ExactReverse(gaussian(variance), betas)
    measured = measure_bound(model, gaussian(variance).sample(40_000, torch.Generator().manual_seed(0)),
                             generator=torch.Generator().manual_seed(1))  # fmt: skip
    assert measured.value == pytest.approx(k, abs=5 * measured.standard_error)
    assert measured.exact == pytest.approx(exact, abs=5 * measured.standard_error + 0.02 * variance)
    assert exact <= likelihood + 1e-9


def test_paper_bound_holds_for_unit_variance_only_and_the_exact_one_always():
    for variance in (0.25, 0.5, 2.0, 4.0):
        k, exact, _ = gaussian_bound(variance, binomial_like_betas(10, 0.1))
        truth = -0.5 * math.log(2 * math.pi * math.e * variance)
        assert exact <= truth
        if variance > 1:
            assert k > truth, "K assumes unit variance; wider data must break it"
    k, exact, likelihood = gaussian_bound(1.0, binomial_like_betas(10, 0.1))
    assert k == pytest.approx(exact) and k == pytest.approx(-0.5 * math.log(2 * math.pi * math.e))
    assert likelihood == pytest.approx(k)


def test_gap_closes_as_the_chain_grows_longer():
    truth = -0.5 * math.log(2 * math.pi * math.e * 0.25)
    gaps = [
        truth - gaussian_bound(0.25, binomial_like_betas(steps, 1.0 / steps))[1]
        for steps in (10, 40, 200, 1000)
    ]
    assert all(gap > 0 for gap in gaps)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.01 < gaps[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean_scale", ["kernel", "data"])
@pytest.mark.parametrize("make", [MLP, RBFNetwork, DenseNetwork])
@pytest.mark.parametrize("schedule", [binomial_like_betas, geometric_betas])
def test_zero_outputs_are_the_forward_kernel_and_give_l_null(make, mean_scale, schedule, dtype):
    """K = - D/2 log(2 pi e) on data of second moment 1, whatever the betas: every term of the sum is needed for that."""
    model = ReverseModel(make(2, 15), FixedSchedule(schedule(15, 1e-3)), mean_scale).to(dtype)
    chain = model.chain()
    x = torch.randn(14, 3, 2, dtype=dtype)
    mean, variance = model(x, chain.all_steps())
    for index, t in enumerate(range(2, 16)):
        kernel_mean, kernel_variance = chain.forward_kernel(x[index], t)
        torch.testing.assert_close(mean[index], kernel_mean)
        torch.testing.assert_close(variance[index], kernel_variance.expand(3, 2))
    # K depends on data and noise through second moments only. Those of +-1 for both, all signs combined, are exact,
    # so K is exact without averaging over many.
    data = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=dtype)
    k = 0.0
    for noise in (torch.ones(14, 4, 2), -torch.ones(14, 4, 2)):
        k += 0.5 * lower_bound(model, data, noise=noise.to(dtype)).item()
    assert k == pytest.approx(null_log_likelihood(2), abs=1e-9 if dtype is DOUBLE else 2e-4)


def test_null_in_bits_is_the_papers():
    assert to_bits(null_log_likelihood(2)) == pytest.approx(-4.0942, abs=1e-4)
    assert to_nats(to_bits(1.7)) == pytest.approx(1.7)


def test_report_is_consistent_in_nats_and_bits():
    model = ReverseModel(MLP(2, 9), FixedSchedule(geometric_betas(9, 1e-2)))
    with torch.no_grad():
        model.network.readout.weight.normal_(0, 0.02)
    data = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    bound = measure_bound(model, data, generator=torch.Generator().manual_seed(1))
    assert list(bound.steps) == list(range(2, 10))
    assert bound.divergences.shape == bound.divergence_errors.shape == (8,)
    assert bound.bits == pytest.approx(bound.value / math.log(2))
    assert bound.gain_bits == pytest.approx(bound.bits - bound.null_bits)
    assert float(bound.divergence_bits.sum()) == pytest.approx(float(bound.divergences.sum()) / math.log(2))
    assert bound.entropy_prior == pytest.approx(math.log(2 * math.pi * math.e))
    again = measure_bound(model, data, generator=torch.Generator().manual_seed(2), states_per_batch=1000)
    assert again.value == pytest.approx(bound.value, abs=6 * bound.standard_error)
    assert 0 < bound.standard_error < 0.2


def test_divergence_is_never_negative_and_vanishes_at_the_posterior():
    generator = torch.Generator().manual_seed(0)
    mean_q, mean_p = torch.randn(2, 5000, dtype=DOUBLE, generator=generator)
    variance_q, variance_p = torch.rand(2, 5000, dtype=DOUBLE, generator=generator) + 1e-3
    assert gaussian_kl(mean_q, variance_q, mean_p, variance_p).min() >= 0
    assert gaussian_kl(mean_q, variance_q, mean_q, variance_q).abs().max() < 1e-12

    betas = geometric_betas(10, 1e-2)
    x0 = torch.randn(10, 2, dtype=DOUBLE, generator=generator)

    class Posterior:
        """Knows the datum: its steps are q(x^{t-1} | x^t, x^0) themselves."""

        def chain(self):
            return GaussianChain(betas)

        def __call__(self, x, t, chain=None):
            mean, variance = self.chain().posterior(x0, x, t)
            return mean, variance.expand_as(mean)

    bound = measure_bound(Posterior(), x0)
    assert bound.divergences.abs().max() < 1e-12
    assert bound.value == pytest.approx(bound.entropy_end - bound.entropy_first - bound.entropy_prior)


def test_divergence_is_the_integral_of_its_definition():
    mean_q, variance_q, mean_p, variance_p = (torch.tensor(v, dtype=DOUBLE) for v in (0.3, 0.2, -0.4, 0.7))
    grid = torch.linspace(-12, 12, 400_001, dtype=DOUBLE)[:, None]
    log_q = log_normal(grid, mean_q, variance_q)
    log_p = log_normal(grid, mean_p, variance_p)
    integral = (log_q.exp() * (log_q - log_p)).sum() * (24 / 400_000)
    assert gaussian_kl(mean_q, variance_q, mean_p, variance_p).item() == pytest.approx(
        integral.item(), rel=1e-6
    )


def test_sum_runs_over_two_to_T():
    """The model is asked at t = 2..T, each once, and never at the fixed first step."""
    asked: list[int] = []
    betas = geometric_betas(7, 1e-2)

    class Records:
        def chain(self):
            return GaussianChain(betas)

        def __call__(self, x, t, chain=None):
            asked.extend(t.flatten().tolist())
            mean, variance = self.chain().forward_kernel(x, t)
            return mean, variance.expand_as(mean)

    lower_bound(Records(), torch.randn(4, 2, dtype=DOUBLE))
    assert sorted(asked) == [2, 3, 4, 5, 6, 7]


def trained_like_model(steps: int = 9, schedule=None) -> ReverseModel:
    torch.manual_seed(5)
    model = ReverseModel(
        MLP(2, steps, (12,)), schedule or FixedSchedule(geometric_betas(steps, 1e-2)), "data"
    ).double()
    with torch.no_grad():
        model.network.readout.weight.normal_(0, 0.4)
    return model


@pytest.mark.parametrize("shape", [(3, 1), (400,), (3, 400)])
def test_random_steps_estimate_the_whole_sum(shape):
    model = trained_like_model()
    data = torch.randn(400, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        whole = torch.stack([lower_bound(model, data, generator=generator) for _ in range(50)])
        parts = torch.stack(
            [
                lower_bound(
                    model, data, steps=random_steps(model.chain(), shape, generator), generator=generator
                )
                for _ in range(800)
            ]
        )
    error = math.hypot(float(whole.std()) / math.sqrt(50), float(parts.std()) / math.sqrt(800))
    assert abs(float(parts.mean() - whole.mean())) < 4 * error
    # A factor T in place of T - 1 would be off by the mean divergence, far more than that.
    assert 4 * error < 0.1 * abs(float(whole.mean()))


def test_random_steps_are_uniform_over_two_to_T():
    chain = GaussianChain(geometric_betas(5, 1e-2))
    t = random_steps(chain, (4000,), torch.Generator().manual_seed(0))
    assert torch.bincount(t, minlength=6).tolist() == [0, 0, 1000, 1000, 1000, 1000]
    singles = torch.cat(
        [random_steps(chain, (1, 1), torch.Generator().manual_seed(s)).flatten() for s in range(400)]
    )
    assert torch.bincount(singles, minlength=6)[2:].min() > 60


def test_gradient_of_the_betas_through_frozen_noise_is_the_finite_difference():
    model = trained_like_model(6, LearnedSchedule(geometric_betas(6, 1e-2)))
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(20, 2, dtype=DOUBLE, generator=generator)
    noise = torch.randn(5, 20, 2, dtype=DOUBLE, generator=generator)
    shift = model.schedule.shift
    lower_bound(model, data, noise=noise).backward()
    gradient = shift.grad.clone()
    assert gradient.abs().min() > 0
    for index in range(5):
        values = []
        for side in (1e-5, -1e-5):
            with torch.no_grad():
                shift[index] += side
                values.append(float(lower_bound(model, data, noise=noise)))
                shift[index] -= side
        assert gradient[index].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-6)


def test_entropy_bounds_hold_for_a_mixture_and_meet_for_a_point():
    mixture = GaussianMixture(
        torch.tensor([0.5, 0.5], dtype=DOUBLE),
        torch.tensor([[-1.0], [1.0]], dtype=DOUBLE),
        torch.full((2, 1, 1), 0.1, dtype=DOUBLE),
    ).standardised()
    chain = GaussianChain(geometric_betas(12, 0.02, 0.05))
    bounds = entropy_bounds(chain, 1)
    assert list(bounds.steps) == list(range(2, 13))
    generator = torch.Generator().manual_seed(0)
    for index, t in enumerate(range(2, 13)):
        # H(X^{t-1} | X^t) = H(X^t | X^{t-1}) + H(X^{t-1}) - H(X^t)
        entropies = []
        for step in (t - 1, t):
            estimate = mixture.diffused(chain, step).negative_entropy(200_000, generator)
            entropies.append(-estimate.value)
        truth = float(gaussian_entropy(chain.betas[t], 1)) + entropies[0] - entropies[1]
        assert bounds.lower[index] - 0.01 <= truth <= bounds.upper[index] + 0.01
    # Of data at one point the reverse step is the posterior, whose entropy is the lower limit.
    torch.testing.assert_close(bounds.lower, gaussian_entropy(chain.posterior_variances[2:], 1))


def test_importance_average_lies_below_the_likelihood_and_tends_to_it():
    variance, betas = 0.3, binomial_like_betas(8, 0.05)
    _, bound, _ = gaussian_bound(variance, betas)
    model = ExactReverse(gaussian(variance), betas)
    chain = GaussianChain(betas)
    # The model's own density: compose its linear Gaussian steps from N(0, 1).
    spread = 1.0
    for t in range(chain.steps, 0, -1):
        one = torch.ones(1, 1, dtype=DOUBLE)
        mean, step_variance = reverse_kernel(model, one, t)
        spread = float(mean.square() * spread + step_variance)
    x0 = torch.tensor([[0.0], [0.4], [1.0]], dtype=DOUBLE)
    truth = log_normal(x0, torch.zeros_like(x0), torch.full_like(x0, spread))
    generator = torch.Generator().manual_seed(0)
    averages = []
    for walks, repeats in ((1, 20_000), (10, 2000), (4000, 4)):
        many = x0.repeat(repeats, 1)
        values = log_likelihood(model, many, walks, generator=generator).reshape(repeats, 3)
        averages.append(values.mean(0))
        assert (values.mean(0) <= truth + 5 * values.std(0) / math.sqrt(repeats) + 1e-3).all()
    assert (averages[0] < averages[1]).all() and (averages[1] < averages[2] + 0.01).all()
    torch.testing.assert_close(averages[2], truth, atol=0.03, rtol=0)
    # With one walk the expectation over the data is the exact bound itself.
    data = gaussian(variance).sample(40_000, generator)
    single = log_likelihood(model, data, 1, generator=generator)
    assert single.mean().item() == pytest.approx(bound, abs=5 * single.std().item() / 200)


def test_step_divergence_agrees_for_every_shape_of_steps():
    model = trained_like_model(5)
    data = torch.randn(6, 2, dtype=DOUBLE)
    noise = torch.randn(4, 6, 2, dtype=DOUBLE)
    chain = model.chain()
    stacked = step_divergence(model, data, chain.all_steps(), noise)
    apart = step_divergence(model, data, chain.all_steps().expand(4, 6), noise)
    torch.testing.assert_close(stacked, apart)
    for index, t in enumerate(range(2, 6)):
        one = step_divergence(model, data, torch.tensor(t), noise[index])
        torch.testing.assert_close(stacked[index], one)


def test_training_on_the_bound_raises_it_above_l_null():
    torch.manual_seed(0)
    mixture = GaussianMixture(
        torch.ones(2, dtype=DOUBLE),
        torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=DOUBLE),
        0.01 * torch.eye(2, dtype=DOUBLE).repeat(2, 1, 1),
    ).standardised()
    model = ReverseModel(MLP(2, 10, (32,)), LearnedSchedule(geometric_betas(10, 1e-2)), "data")
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        optimiser.zero_grad()
        (-lower_bound(model, mixture.sample(64, generator).float(), generator=generator)).backward()
        optimiser.step()
    bound = measure_bound(model, mixture.sample(4000, generator).float(), generator=generator)
    limit = mixture.negative_entropy(50_000, generator).value
    assert bound.null + 0.5 < bound.exact < limit + 5 * bound.standard_error
