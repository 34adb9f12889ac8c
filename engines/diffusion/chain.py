"""The Gaussian forward chain and walks along the reverse one; torch, runs in the training worker.

Sohl-Dickstein et al. 2015, "Deep Unsupervised Learning using Nonequilibrium Thermodynamics". Steps are numbered as in
the paper: x^0 is a datum, x^T is noise. Arrays over steps have shape (T + 1,) and are indexed by t itself. A step tensor
``t`` has any shape that broadcasts to ``x.shape[:-1]``.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from engines.diffusion.perturbation import Perturbation


class GaussianChain:
    """q(x^t | x^{t-1}) = N(sqrt(1 - beta_t) x^{t-1}, beta_t I), t = 1..T, and what follows from it in closed form.

    Parameters
    ----------
    betas : Tensor (T,)
        beta_1..beta_T, between 0 and 1, not checked here (see `engines.diffusion.schedule.checked_betas`).
        Gradients pass through to it.

    Attributes
    ----------
    steps : int
        T.
    betas, alpha_bars, noise_variances : Tensor (T + 1,)
        beta_t, alpha_bar_t = prod_{s<=t} (1 - beta_s), and 1 - alpha_bar_t; at t = 0 they are 0, 1, 0.
    posterior_data, posterior_state, posterior_variances : Tensor (T + 1,)
        q(x^{t-1} | x^t, x^0) = N(posterior_data x^0 + posterior_state x^t, posterior_variances I); 0 at t = 0.
    """

    def __init__(self, betas: Tensor) -> None:
        if betas.dim() != 1 or betas.numel() < 2:
            raise ValueError(f"betas must have shape (T,) with T >= 2, not {tuple(betas.shape)}")
        self.steps = int(betas.numel())
        zero = betas.new_zeros(1)
        one = betas.new_ones(1)
        # Sums of log1p and expm1 instead of products: 1 - alpha_bar_t of some 1e-6 keeps its digits in float32.
        log_alphas = torch.log1p(-betas)
        log_alpha_bars = torch.cumsum(log_alphas, 0)
        noise = -torch.expm1(log_alpha_bars)
        half_before = torch.cat([zero, 0.5 * log_alpha_bars[:-1]])
        noise_before = torch.cat([zero, noise[:-1]])
        root_alphas = torch.exp(0.5 * log_alphas)

        self.betas = torch.cat([zero, betas])
        self.root_alphas = torch.cat([one, root_alphas])
        self.root_betas = torch.cat([zero, torch.sqrt(betas)])
        self.alpha_bars = torch.cat([one, torch.exp(log_alpha_bars)])
        self.root_alpha_bars = torch.cat([one, torch.exp(0.5 * log_alpha_bars)])
        self.noise_variances = torch.cat([zero, noise])
        self.noise_deviations = torch.cat([zero, torch.sqrt(noise)])
        self.posterior_data = torch.cat([zero, torch.exp(half_before) * betas / noise])
        self.posterior_state = torch.cat([zero, root_alphas * noise_before / noise])
        self.posterior_variances = torch.cat([zero, betas * noise_before / noise])

    def all_steps(self) -> Tensor:
        """t = 2..T as a column, shape (T - 1, 1): broadcasts against a batch of states (T - 1, B, D)."""
        return torch.arange(2, self.steps + 1, device=self.betas.device)[:, None]

    def forward_kernel(self, x: Tensor, t: Tensor | int) -> tuple[Tensor, Tensor]:
        """Mean (..., D) and variance (..., 1) of T_pi(. | x; beta_t), one step of the diffusion."""
        return _pick(self.root_alphas, t) * x, _pick(self.betas, t)

    def marginal(self, x0: Tensor, t: Tensor | int) -> tuple[Tensor, Tensor]:
        """Mean (..., D) and variance (..., 1) of q(x^t | x^0), t steps composed."""
        return _pick(self.root_alpha_bars, t) * x0, _pick(self.noise_variances, t)

    def diffuse(self, x0: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """x^t = sqrt(alpha_bar_t) x^0 + sqrt(1 - alpha_bar_t) n for given standard normal ``noise`` (..., D)."""
        return _pick(self.root_alpha_bars, t) * x0 + _pick(self.noise_deviations, t) * noise

    def posterior(self, x0: Tensor, xt: Tensor, t: Tensor | int) -> tuple[Tensor, Tensor]:
        """Mean (..., D) and variance (..., 1) of q(x^{t-1} | x^t, x^0)."""
        mean = _pick(self.posterior_data, t) * x0 + _pick(self.posterior_state, t) * xt
        return mean, _pick(self.posterior_variances, t)

    @torch.no_grad()
    def forward_trajectory(self, x0: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One walk of the forward chain from each datum, step by step.

        Parameters
        ----------
        x0 : Tensor (..., D)

        Returns
        -------
        Tensor (T + 1, ..., D)
            x^0..x^T.
        """
        walk = x0.new_empty((self.steps + 1, *x0.shape))
        walk[0] = x0
        for t in range(1, self.steps + 1):
            mean, variance = self.forward_kernel(walk[t - 1], t)
            walk[t] = mean + variance.sqrt() * _normal_like(mean, generator)
        return walk


class ReverseKernel(Protocol):
    """p(x^{t-1} | x^t) = N(f_mu(x^t, t), diag f_Sigma(x^t, t)) for t = 2..T; step 1 is fixed and not asked for."""

    def chain(self) -> GaussianChain:
        """The forward chain under the present betas."""
        ...

    def __call__(self, x: Tensor, t: Tensor, chain: GaussianChain | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance, each (..., D), at states ``x`` (..., D) and steps ``t``."""
        ...


def reverse_kernel(
    model: ReverseKernel, x: Tensor, t: int, chain: GaussianChain | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and variance (..., D) of p(x^{t-1} | x^t) at one step, t = 1..T.

    At t = 1 it is the forward kernel T_pi(x^0 | x^1; beta_1) whatever the model says (appendix B.2); f_mu and f_Sigma
    are evaluated at t >= 2 only.
    """
    chain = model.chain() if chain is None else chain
    if t == 1:
        mean, variance = chain.forward_kernel(x, 1)
        return mean, variance.expand_as(mean)
    return model(x, torch.tensor(t, device=x.device), chain)


def drift(model: ReverseKernel, x: Tensor, t: int, chain: GaussianChain | None = None) -> Tensor:
    """f_mu(x, t) - x, the arrows of the paper's figure 1, shape (..., D)."""
    mean, _ = reverse_kernel(model, x, t, chain)
    return mean - x


@torch.no_grad()
def sample_reverse(
    model: ReverseKernel,
    start: Tensor,
    *,
    from_step: int | None = None,
    to_step: int = 0,
    perturbation: Perturbation | None = None,
    generator: torch.Generator | None = None,
    keep: bool = False,
) -> Tensor:
    """Walk the reverse chain from x^{from_step} down to x^{to_step}, bent by r(x) where a perturbation is given.

    Parameters
    ----------
    model : ReverseKernel
    start : Tensor (..., D)
        States at ``from_step``; draw them from N(0, I) for samples of the model.
    from_step, to_step : int
        T when None; T >= from_step >= to_step >= 0.
    perturbation : Perturbation, optional
        r(x); it may change the start (known pixels) and changes every step (section 2.5).
    generator : torch.Generator, optional
    keep : bool
        Return every state on the way.

    Returns
    -------
    Tensor
        (..., D), or (from_step - to_step + 1, ..., D) from the start to the end when ``keep``.
    """
    chain = model.chain()
    first = chain.steps if from_step is None else from_step
    if not chain.steps >= first >= to_step >= 0:
        raise ValueError(f"steps must fall within T = {chain.steps} .. 0, not from {first} to {to_step}")
    x = start if perturbation is None else perturbation.start(start, first, chain.steps)
    states = [x]
    for t in range(first, to_step, -1):
        mean, variance = reverse_kernel(model, x, t, chain)
        if perturbation is not None:
            mean, variance = perturbation.bend(mean, variance, t - 1, chain.steps)
        x = mean + variance.sqrt() * _normal_like(mean, generator)
        if keep:
            states.append(x)
    return torch.stack(states) if keep else x


def sample(
    model: ReverseKernel,
    count: int,
    dimension: int,
    *,
    perturbation: Perturbation | None = None,
    generator: torch.Generator | None = None,
    keep: bool = False,
) -> Tensor:
    """Samples (count, D) of the model, or with ``keep`` all their states (T + 1, count, D) from x^T to x^0."""
    like = model.chain().betas
    start = torch.empty((count, dimension), dtype=like.dtype, device=like.device).normal_(generator=generator)
    return sample_reverse(model, start, perturbation=perturbation, generator=generator, keep=keep)


def fan_of_futures(
    model: ReverseKernel,
    point: Tensor,
    from_step: int,
    count: int,
    *,
    perturbation: Perturbation | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``count`` independent reverse walks (from_step + 1, count, D) from one point (D,) at one step down to x^0."""
    start = point.expand(count, point.shape[-1]).clone()
    return sample_reverse(
        model, start, from_step=from_step, perturbation=perturbation, generator=generator, keep=True
    )


def _pick(values: Tensor, t: Tensor | int) -> Tensor:
    """values[t] with an axis for D, so that it broadcasts against states (..., D)."""
    picked = values[t]
    return picked[..., None]


def _normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of that shape, dtype and device."""
    return torch.empty_like(x).normal_(generator=generator)
