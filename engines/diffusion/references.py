"""Exact values and independent estimates that the learned chain is compared with; torch and scipy, any worker."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.diffusion.bound import LOG_TWO_PI, NATS_PER_BIT
from engines.diffusion.chain import GaussianChain
from engines.errors import DataError


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error, in one unit."""

    value: float
    error: float


class GaussianMixture:
    """sum_k w_k N(m_k, C_k): a density for which everything about the chain is known.

    Parameters
    ----------
    weights : Tensor (K,)
        Need not be normalised.
    means : Tensor (K, D)
    covariances : Tensor (K, D, D)
        Positive definite.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        self.weights = weights / weights.sum()
        self.means = means
        self.covariances = covariances

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.means.shape[-1])

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D)."""
        mean = self.weights @ self.means
        apart = self.means - mean
        spread = self.covariances + apart[:, :, None] * apart[:, None, :]
        return mean, torch.einsum("k,kij->ij", self.weights, spread)

    def standardised(self) -> GaussianMixture:
        """The same mixture moved and scaled to mean 0 and variance 1 in every dimension."""
        mean, covariance = self.moments()
        scale = covariance.diagonal().rsqrt()
        return GaussianMixture(
            self.weights, (self.means - mean) * scale, self.covariances * scale[:, None] * scale[None, :]
        )

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent draws (count, D)."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.empty((count, self.dimension), dtype=self.means.dtype).normal_(generator=generator)
        factors = torch.linalg.cholesky(self.covariances)
        return self.means[chosen] + torch.einsum("nij,nj->ni", factors[chosen], noise)

    def component_log_densities(self, x: Tensor) -> Tensor:
        """log w_k N(x; m_k, C_k), (..., K)."""
        factors = torch.linalg.cholesky(self.covariances)
        apart = x[..., None, :] - self.means
        inverse = torch.linalg.inv(factors)
        white = torch.einsum("kij,...kj->...ki", inverse, apart)
        log_volume = torch.log(factors.diagonal(dim1=-2, dim2=-1)).sum(-1)
        constant = torch.log(self.weights) - log_volume - 0.5 * self.dimension * LOG_TWO_PI
        return constant - 0.5 * white.square().sum(-1)

    def log_density(self, x: Tensor) -> Tensor:
        """log density (...,) at points (..., D), nats."""
        return torch.logsumexp(self.component_log_densities(x), -1)

    def negative_entropy(self, count: int = 100_000, generator: torch.Generator | None = None) -> Estimate:
        """Mean log density of its own draws: the highest log-likelihood any model can reach; nats."""
        values = self.log_density(self.sample(count, generator))
        return Estimate(float(values.mean()), float(values.std() / math.sqrt(count)))

    def diffused(self, chain: GaussianChain, t: int) -> GaussianMixture:
        """q(x^t), again a mixture."""
        identity = torch.eye(self.dimension, dtype=self.means.dtype, device=self.means.device)
        return GaussianMixture(
            self.weights,
            chain.root_alpha_bars[t] * self.means,
            chain.alpha_bars[t] * self.covariances + chain.noise_variances[t] * identity,
        )

    def reverse_moments(self, chain: GaussianChain, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Mean (..., D) and variance (..., D) in each dimension of q(x^{t-1} | x^t), the true reverse step, t = 1..T.

        Each component's pair (x^{t-1}, x^t) is jointly Gaussian; the components are weighed by their posterior
        probability under q(x^t).
        """
        before = self.diffused(chain, t - 1)
        after = self.diffused(chain, t)
        shares = torch.softmax(after.component_log_densities(x), -1)
        cross = chain.root_alphas[t] * before.covariances
        gain = torch.linalg.solve(after.covariances, cross).mT
        means = before.means + torch.einsum("kij,...kj->...ki", gain, x[..., None, :] - after.means)
        variances = (before.covariances - gain @ cross).diagonal(dim1=-2, dim2=-1)
        mean = (shares[..., None] * means).sum(-2)
        spread = variances + (means - mean[..., None, :]).square()
        return mean, (shares[..., None] * spread).sum(-2)

    def reverse_mean(self, chain: GaussianChain, x: Tensor, t: int) -> Tensor:
        """E[x^{t-1} | x^t = x], (..., D)."""
        return self.reverse_moments(chain, x, t)[0]

    def drift(self, chain: GaussianChain, x: Tensor, t: int) -> Tensor:
        """E[x^{t-1} | x^t = x] - x, what f_mu(x, t) - x would be after perfect learning, (..., D)."""
        return self.reverse_mean(chain, x, t) - x


class ExactReverse:
    """The best reverse chain with diagonal covariances for a mixture: its steps have the true moments.

    It is a `ReverseKernel`; its K is the highest that a network can reach with these betas.
    """

    def __init__(self, mixture: GaussianMixture, betas: Tensor) -> None:
        self.mixture = mixture
        self.betas = betas

    def chain(self) -> GaussianChain:
        return GaussianChain(self.betas)

    def __call__(self, x: Tensor, t: Tensor, chain: GaussianChain | None = None) -> tuple[Tensor, Tensor]:
        chain = self.chain() if chain is None else chain
        if t.dim() == 0:
            return self.mixture.reverse_moments(chain, x, int(t))
        steps = t.expand(x.shape[:-1])
        mean, variance = torch.empty_like(x), torch.empty_like(x)
        for step in steps.unique().tolist():
            here = steps == step
            mean[here], variance[here] = self.mixture.reverse_moments(chain, x[here], step)
        return mean, variance


def negative_entropy_bits(data: np.ndarray, neighbours: int = 4) -> Estimate:
    """Negative differential entropy of a sample's density by nearest neighbours (Kozachenko, Leonenko 1987), bits.

    H = psi(N) - psi(k) + log V_D + D mean log(distance to the k-th neighbour). It knows nothing of any model, so it is
    an independent mark for what K can reach. Its bias is small where the density is nearly even within the ball that
    holds k neighbours: on the plane some ten thousand points do, for hundreds of dimensions no sample does.

    Parameters
    ----------
    data : array (N, D)
    neighbours : int
        k.

    Returns
    -------
    Estimate
        Bits. The standard error is that of the mean of N independent terms; neighbouring terms share points, so it is
        slightly too small.

    Raises
    ------
    DataError
        Too few points, or more than k equal points: their density is not finite.
    """
    # scipy's own tree: scikit-learn's neighbours take a second to import, in the midst of the first steps.
    from scipy.spatial import KDTree
    from scipy.special import digamma

    points = np.asarray(data, dtype=np.float64)
    count, dimension = points.shape
    if count <= neighbours:
        raise DataError(
            f"{count} points are too few for an estimate with {neighbours} neighbours: give at least {neighbours + 1}."
        )
    distances = KDTree(points).query(points, k=[neighbours + 1])[0][:, 0]
    if not np.all(distances > 0):
        raise DataError(
            "The data hold equal points, so their density is not finite and has no entropy: add a little noise to them."
        )
    terms = dimension * np.log(distances)
    log_ball = 0.5 * dimension * math.log(math.pi) - math.lgamma(0.5 * dimension + 1.0)
    entropy = digamma(count) - digamma(neighbours) + log_ball + terms.mean()
    return Estimate(float(-entropy / NATS_PER_BIT), float(terms.std() / math.sqrt(count) / NATS_PER_BIT))
