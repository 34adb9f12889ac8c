"""The lower bound K on the log-likelihood, its terms, and what it is compared with; torch, runs in the training worker.

Sohl-Dickstein et al. 2015, section 2.4 and appendix B. Everything is in nats per datum unless a name says bits; the
paper prints its table in bits and computes in nats.

    K = - sum_{t=2..T} E_q(x0, xt) KL( q(x^{t-1} | x^t, x^0) || p(x^{t-1} | x^t) )
        + H_q(X^T | X^0) - H_q(X^1 | X^0) - H_p(X^T)

The derivation replaces E_q log pi(x^t) by minus the entropy of pi, which is right for data whose second moment is 1 in
every dimension, as the paper's data have after scaling. `Bound.exact` holds for other data too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.diffusion.chain import GaussianChain, ReverseKernel, reverse_kernel

NATS_PER_BIT = math.log(2.0)
LOG_TWO_PI = math.log(2.0 * math.pi)
LOG_TWO_PI_E = LOG_TWO_PI + 1.0


def to_bits(nats: float) -> float:
    """Nats as bits."""
    return nats / NATS_PER_BIT


def to_nats(bits: float) -> float:
    """Bits as nats."""
    return bits * NATS_PER_BIT


def gaussian_kl(mean_q: Tensor, variance_q: Tensor, mean_p: Tensor, variance_p: Tensor) -> Tensor:
    """KL( N(mean_q, variance_q) || N(mean_p, variance_p) ) of each dimension, broadcast, nats (appendix A)."""
    ratio = variance_q / variance_p
    return 0.5 * ((mean_q - mean_p).square() / variance_p + ratio - 1.0 - torch.log(ratio))


def gaussian_entropy(variance: Tensor, dimension: int) -> Tensor:
    """Entropy of N(., variance I) in ``dimension`` dimensions, nats."""
    return 0.5 * dimension * (LOG_TWO_PI_E + torch.log(variance))


def step_divergence(
    model: ReverseKernel, x0: Tensor, t: Tensor, noise: Tensor, chain: GaussianChain | None = None
) -> Tensor:
    """KL( q(x^{t-1} | x^t, x^0) || p(x^{t-1} | x^t) ) at x^t made from ``x0`` and ``noise``, nats.

    Parameters
    ----------
    model : ReverseKernel
    x0 : Tensor (..., D)
    t : Tensor of long
        Steps in 2..T, broadcast against ``x0.shape[:-1]``. The step t = 1 has no term: it is fixed and its part of the
        bound is in the entropies.
    noise : Tensor (..., D)
        Standard normal, frozen: gradients with respect to the betas flow through x^t.
    chain : GaussianChain, optional
        Of the model, when it is at hand.

    Returns
    -------
    Tensor (...,)
    """
    chain = model.chain() if chain is None else chain
    xt = chain.diffuse(x0, t, noise)
    mean_q, variance_q = chain.posterior(x0, xt, t)
    mean_p, variance_p = model(xt, t, chain)
    return gaussian_kl(mean_q, variance_q, mean_p, variance_p).sum(-1)


def entropy_terms(chain: GaussianChain, dimension: int) -> Tensor:
    """H_q(X^T | X^0) - H_q(X^1 | X^0) - H_p(X^T), nats."""
    end = gaussian_entropy(chain.noise_variances[-1], dimension)
    first = gaussian_entropy(chain.betas[1], dimension)
    return end - first - 0.5 * dimension * LOG_TWO_PI_E


def moment_correction(chain: GaussianChain, second_moments: Tensor) -> Tensor:
    """What to add to K so that it bounds the log-likelihood of data with these second moments, nats.

    - 1/2 sum_d (v_T - 1) - 1/2 sum_d (s^2 - v_1), where v_t = alpha_bar_t s^2 + 1 - alpha_bar_t is the second moment of
    x^t. The first part is E_q log p(x^T) + H_p(X^T); the second comes from the last reverse step, which has the forward
    kernel's variance. Both vanish for s^2 = 1.

    Parameters
    ----------
    second_moments : Tensor (D,)
        E[x_d^2] of the data, not centred.
    """
    spread = second_moments - 1.0
    return -0.5 * (chain.alpha_bars[-1] + 1.0 - chain.alpha_bars[1]) * spread.sum()


def random_steps(
    chain: GaussianChain, shape: tuple[int, ...], generator: torch.Generator | None = None
) -> Tensor:
    """Random steps in 2..T, each uniform on its own, spread evenly over the range together (stratified).

    Parameters
    ----------
    shape : tuple of int
        (S, 1) for S steps shared by a batch, (B,) for one step per datum, (S, B) for S per datum.
    """
    count = math.prod(shape)
    device = chain.betas.device
    order = torch.randperm(count, generator=generator, device=device)
    offset = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
    t = 2 + ((order + offset) / count * (chain.steps - 1)).floor().long()
    # Rounding in the division could reach T + 1.
    return t.clamp_(max=chain.steps).reshape(shape)


def lower_bound(
    model: ReverseKernel,
    x0: Tensor,
    *,
    steps: Tensor | None = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """K of a batch, nats per datum, differentiable: what training raises.

    Parameters
    ----------
    model : ReverseKernel
    x0 : Tensor (B, D)
    steps : Tensor of long, optional
        Steps at which to take the divergence, of shape (S, 1), (B,) or (S, B); their mean is multiplied by T - 1, so that
        uniformly random steps (`random_steps`) give an unbiased estimate. None takes every step of 2..T, all of
        them in one batch.
    noise : Tensor, optional
        Standard normal of shape (S, B, D), or (B, D) with steps of shape (B,); drawn when None.
    generator : torch.Generator, optional

    Returns
    -------
    Tensor ()
    """
    chain = model.chain()
    t = chain.all_steps() if steps is None else steps
    lead = torch.broadcast_shapes(t.shape, x0.shape[:1])
    if noise is None:
        noise = torch.empty((*lead, x0.shape[-1]), dtype=x0.dtype, device=x0.device).normal_(
            generator=generator
        )
    divergence = step_divergence(model, x0, t, noise, chain).mean()
    return entropy_terms(chain, x0.shape[-1]) - (chain.steps - 1) * divergence


def null_log_likelihood(dimension: int) -> float:
    """L_null: mean log-likelihood under N(0, I) of data with second moment 1, - D/2 log(2 pi e), nats."""
    return -0.5 * dimension * LOG_TWO_PI_E


def exact_null_log_likelihood(second_moments: Tensor) -> float:
    """Mean log-likelihood under N(0, I) of data with these second moments (D,), nats."""
    return -0.5 * float((LOG_TWO_PI + second_moments).sum())


@dataclass(frozen=True)
class Bound:
    """K of a data set, measured, with its parts. Nats per datum where not said otherwise.

    Attributes
    ----------
    dimension : int
        D.
    steps : Tensor (T - 1,)
        t = 2..T.
    divergences, divergence_errors : Tensor (T - 1,)
        E KL_t and its standard error.
    entropy_end, entropy_first, entropy_prior : float
        H_q(X^T | X^0), H_q(X^1 | X^0), H_p(X^T).
    correction : float
        `moment_correction` for the data measured.
    standard_error : float
        Of K, over data and noise together.
    null : float
        L_null of the paper, for second moment 1.
    exact_null : float
        Mean log-likelihood of these very data under N(0, I).
    """

    dimension: int
    steps: Tensor
    divergences: Tensor
    divergence_errors: Tensor
    entropy_end: float
    entropy_first: float
    entropy_prior: float
    correction: float
    standard_error: float
    null: float
    exact_null: float

    @property
    def value(self) -> float:
        """The paper's K."""
        return self.entropy_end - self.entropy_first - self.entropy_prior - float(self.divergences.sum())

    @property
    def exact(self) -> float:
        """The bound for data of any second moment."""
        return self.value + self.correction

    @property
    def bits(self) -> float:
        """The paper's K in bits."""
        return to_bits(self.value)

    @property
    def exact_bits(self) -> float:
        """The exact bound in bits."""
        return to_bits(self.exact)

    @property
    def null_bits(self) -> float:
        """L_null in bits."""
        return to_bits(self.null)

    @property
    def error_bits(self) -> float:
        """Standard error of K in bits."""
        return to_bits(self.standard_error)

    @property
    def gain_bits(self) -> float:
        """K - L_null in bits, the paper's second column."""
        return self.bits - self.null_bits

    @property
    def divergence_bits(self) -> Tensor:
        """E KL_t in bits, (T - 1,)."""
        return self.divergences / NATS_PER_BIT


@torch.no_grad()
def measure_bound(
    model: ReverseKernel,
    x0: Tensor,
    *,
    generator: torch.Generator | None = None,
    states_per_batch: int = 65_536,
) -> Bound:
    """K over all steps t = 2..T of every datum, each with its own noise.

    Parameters
    ----------
    model : ReverseKernel
    x0 : Tensor (N, D)
        Held-out data.
    generator : torch.Generator, optional
    states_per_batch : int
        States x^t that are evaluated at once; bounds the memory.

    Returns
    -------
    Bound
    """
    chain = model.chain()
    count, dimension = x0.shape
    t = chain.all_steps()
    per_batch = max(1, states_per_batch // (chain.steps - 1))
    sums = torch.zeros(chain.steps - 1, dtype=torch.float64, device=x0.device)
    squares = torch.zeros_like(sums)
    total_square = 0.0
    for batch in x0.split(per_batch):
        noise = torch.empty((chain.steps - 1, *batch.shape), dtype=x0.dtype, device=x0.device)
        kl = step_divergence(model, batch, t, noise.normal_(generator=generator), chain).double()
        sums += kl.sum(1)
        squares += kl.square().sum(1)
        total_square += float(kl.sum(0).square().sum())
    means = sums / count
    errors = ((squares / count - means.square()).clamp(min=0.0) / max(count - 1, 1)).sqrt()
    total = float(means.sum())
    moments = x0.double().square().mean(0)
    return Bound(
        dimension=dimension,
        steps=t[:, 0].cpu(),
        divergences=means.cpu(),
        divergence_errors=errors.cpu(),
        entropy_end=float(gaussian_entropy(chain.noise_variances[-1].double(), dimension)),
        entropy_first=float(gaussian_entropy(chain.betas[1].double(), dimension)),
        entropy_prior=0.5 * dimension * LOG_TWO_PI_E,
        correction=float(moment_correction(chain, moments.to(x0.dtype))),
        standard_error=math.sqrt(max(total_square / count - total * total, 0.0) / max(count - 1, 1)),
        null=null_log_likelihood(dimension),
        exact_null=exact_null_log_likelihood(moments),
    )


@dataclass(frozen=True)
class EntropyBounds:
    """Lower and upper limits of the entropy of a reverse step, H_q(X^{t-1} | X^t), t = 2..T, each (T - 1,), nats."""

    steps: Tensor
    lower: Tensor
    upper: Tensor


def entropy_bounds(chain: GaussianChain, dimension: int) -> EntropyBounds:
    """How uncertain one reverse step can be, whatever the data (section 2.6).

    H_q(X^t | X^{t-1}) + H_q(X^{t-1} | X^0) - H_q(X^t | X^0) <= H_q(X^{t-1} | X^t) <= H_q(X^t | X^{t-1}); the upper limit
    holds for data with second moment 1.
    """
    betas = chain.betas[2:]
    upper = gaussian_entropy(betas, dimension)
    gain = gaussian_entropy(chain.noise_variances[2:], dimension) - gaussian_entropy(
        chain.noise_variances[1:-1], dimension
    )
    return EntropyBounds(chain.all_steps()[:, 0], upper - gain, upper)


def log_normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log N(x; mean, diag variance) summed over the last axis, nats."""
    return -0.5 * ((x - mean).square() / variance + torch.log(variance) + LOG_TWO_PI).sum(-1)


@torch.no_grad()
def log_likelihood(
    model: ReverseKernel, x0: Tensor, walks: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """log p(x^0) by importance sampling with forward walks (equation 9), nats, (B,).

    p(x^0) is the mean over walks x^1..x^T ~ q(. | x^0) of p(x^T) prod_t p(x^{t-1} | x^t) / q(x^t | x^{t-1}). The
    logarithm of that mean lies below log p(x^0) on average, and tends to it with the number of walks.

    Parameters
    ----------
    x0 : Tensor (B, D)
    walks : int
        Forward walks per datum.
    """
    chain = model.chain()
    walk = chain.forward_trajectory(x0.expand(walks, *x0.shape), generator)
    end = walk[-1]
    ratio = log_normal(end, torch.zeros_like(end), torch.ones_like(end))
    for t in range(1, chain.steps + 1):
        before, after = walk[t - 1], walk[t]
        mean_p, variance_p = reverse_kernel(model, after, t, chain)
        mean_q, variance_q = chain.forward_kernel(before, t)
        ratio += log_normal(before, mean_p, variance_p) - log_normal(
            after, mean_q, variance_q.expand_as(mean_q)
        )
    return torch.logsumexp(ratio, 0) - math.log(walks)
