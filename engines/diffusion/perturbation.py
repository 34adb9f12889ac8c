"""Multiplying the model by a function r(x): posteriors, in-painting, denoising, painted regions; torch, training worker.

Sohl-Dickstein et al. 2015, section 2.5: with p~(x^t) proportional to p(x^t) r(x^t) each reverse step becomes
p~(x^{t-1} | x^t) proportional to p(x^{t-1} | x^t) r(x^{t-1}). Nothing is trained anew. A smooth r moves the mean by
f_Sigma grad log r; a Gaussian or a delta is multiplied in closed form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Perturbation(ABC):
    """How a function r(x) bends the reverse chain.

    Parameters
    ----------
    anneal : bool
        False keeps r(x^t) = r(x^0) at all steps, as in all experiments of the paper; True uses r^((T - t) / T), which
        comes in gradually (end of section 2.5).
    """

    def __init__(self, anneal: bool = False) -> None:
        self.anneal = anneal

    def exponent(self, t: int, steps: int) -> float:
        """Power to which r is raised in the distribution of x^t."""
        return (steps - t) / steps if self.anneal else 1.0

    def start(self, x: Tensor, t: int, steps: int) -> Tensor:
        """The state (..., D) from which a walk starts at step ``t``; unchanged unless r fixes part of it."""
        return x

    @abstractmethod
    def bend(self, mean: Tensor, variance: Tensor, t: int, steps: int) -> tuple[Tensor, Tensor]:
        """Mean and variance (..., D) of x^t after multiplying N(mean, diag variance) by r(x^t)."""


class SmoothPerturbation(Perturbation):
    """r given through the gradient of its logarithm: mean + variance grad log r(mean), the variance unchanged.

    Parameters
    ----------
    largest_shift : float or None
        The shift of one step is at most this many standard deviations of the step in each dimension. The
        approximation is a first-order one, good only where log r is nearly linear over a standard deviation; a
        steep r would otherwise throw points far away. None does not limit it.
    """

    def __init__(self, anneal: bool = False, largest_shift: float | None = None) -> None:
        super().__init__(anneal)
        self.largest_shift = largest_shift

    @abstractmethod
    def log_r(self, x: Tensor) -> Tensor:
        """log r (...,) at states (..., D), up to a constant."""

    def log_r_gradient(self, x: Tensor) -> Tensor:
        """Gradient (..., D) of log r; by automatic differentiation unless a subclass knows better."""
        with torch.enable_grad():
            place = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.log_r(place).sum(), place)
        return gradient

    def bend(self, mean: Tensor, variance: Tensor, t: int, steps: int) -> tuple[Tensor, Tensor]:
        shift = self.exponent(t, steps) * variance * self.log_r_gradient(mean)
        if self.largest_shift is not None:
            limit = self.largest_shift * variance.sqrt()
            shift = torch.maximum(torch.minimum(shift, limit), -limit)
        return mean + shift, variance


class PaintedRegion(SmoothPerturbation):
    """log r as a picture over the plane, bilinear between the pixels' centres, constant beyond its edge.

    Parameters
    ----------
    log_r : Tensor (H, W)
        Row 0 lies at the bottom (smallest x[1]), column 0 at the left (smallest x[0]). Blur what was painted with hard
        edges: where log r is flat its gradient is zero and nothing is pushed.
    extent : tuple of float
        (left, right, bottom, top): the plane's rectangle that the picture covers, edges of the outer pixels.
    """

    def __init__(
        self,
        log_r: Tensor,
        extent: tuple[float, float, float, float],
        *,
        anneal: bool = False,
        largest_shift: float | None = 3.0,
    ) -> None:
        super().__init__(anneal, largest_shift)
        left, right, bottom, top = extent
        if log_r.dim() != 2 or min(log_r.shape) < 1 or not (right > left and top > bottom):
            raise ValueError("log_r must have shape (H, W) and extent must be (left, right, bottom, top)")
        self.grid = log_r
        self.extent = extent

    def _cells(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """Per point: fraction along x and y within its cell, whether x and y lie inside, the cell's four values."""
        height, width = self.grid.shape
        left, right, bottom, top = self.extent
        across = (x[..., 0] - left) / (right - left) * width - 0.5
        up = (x[..., 1] - bottom) / (top - bottom) * height - 0.5
        inside_x = (across > 0) & (across < width - 1)
        inside_y = (up > 0) & (up < height - 1)
        across = across.clamp(0, width - 1)
        up = up.clamp(0, height - 1)
        column = across.detach().floor().long().clamp(max=max(width - 2, 0))
        row = up.detach().floor().long().clamp(max=max(height - 2, 0))
        next_column = (column + 1).clamp(max=width - 1)
        next_row = (row + 1).clamp(max=height - 1)
        grid = self.grid.to(x.device, x.dtype)
        corners = [
            grid[row, column],
            grid[row, next_column],
            grid[next_row, column],
            grid[next_row, next_column],
        ]
        return across - column, up - row, inside_x, inside_y, corners

    def log_r(self, x: Tensor) -> Tensor:
        u, v, _, _, (a, b, c, d) = self._cells(x)
        return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)

    def log_r_gradient(self, x: Tensor) -> Tensor:
        height, width = self.grid.shape
        left, right, bottom, top = self.extent
        u, v, inside_x, inside_y, (a, b, c, d) = self._cells(x)
        by_x = ((1 - v) * (b - a) + v * (d - c)) * inside_x * (width / (right - left))
        by_y = ((1 - u) * (c - a) + u * (d - b)) * inside_y * (height / (top - bottom))
        return torch.stack([by_x, by_y], -1)


class KnownPixels(Perturbation):
    """In-painting: r is a delta on the known dimensions and 1 on the missing ones (section 2.5, figure 5).

    Parameters
    ----------
    known : Tensor of bool (..., D)
    values : Tensor (..., D)
        Read only where ``known``; returned there bit for bit.
    """

    def __init__(self, known: Tensor, values: Tensor) -> None:
        super().__init__()
        self.known = known.bool()
        self.values = values

    def start(self, x: Tensor, t: int, steps: int) -> Tensor:
        return torch.where(self.known, self.values, x)

    def bend(self, mean: Tensor, variance: Tensor, t: int, steps: int) -> tuple[Tensor, Tensor]:
        return torch.where(self.known, self.values, mean), torch.where(self.known, 0.0, variance)


class NoisyObservation(Perturbation):
    """Denoising: r(x) = N(x; observed, noise_variance I), multiplied in closed form (section 2.5, appendix C).

    Parameters
    ----------
    observed : Tensor (..., D)
    noise_variance : float
        Of the observation; 0 returns the observation itself, infinity leaves the model as it is.
    start_at_observation : bool
        Start the walk at the observation rather than at the given state, as the paper's denoising does.
    """

    def __init__(
        self,
        observed: Tensor,
        noise_variance: float,
        *,
        anneal: bool = False,
        start_at_observation: bool = True,
    ) -> None:
        super().__init__(anneal)
        if not noise_variance >= 0.0:
            raise ValueError(f"noise_variance must not be negative, but it is {noise_variance}")
        self.observed = observed
        self.noise_variance = noise_variance
        self.start_at_observation = start_at_observation

    def start(self, x: Tensor, t: int, steps: int) -> Tensor:
        if not self.start_at_observation or self.noise_variance == float("inf"):
            return x
        return self.observed.expand_as(x)

    def bend(self, mean: Tensor, variance: Tensor, t: int, steps: int) -> tuple[Tensor, Tensor]:
        power = self.exponent(t, steps)
        if power == 0.0 or self.noise_variance == float("inf"):
            return mean, variance
        noise = self.noise_variance / power
        # In terms of the weight of the observation both limits, noise 0 and a step without variance, stay finite.
        total = variance + noise
        weight = torch.where(total > 0, variance / total, torch.ones_like(variance))
        return mean + weight * (self.observed - mean), weight * noise
