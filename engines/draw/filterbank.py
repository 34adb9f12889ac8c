"""The grid of Gaussian filters that reads and writes through a movable window; pure functions, any thread.

Gregor et al. 2015, arXiv:1502.04623, section 3.2, equations 19 to 29. Pixels count from 1 as in the paper: pixel a covers
the interval from a - 1/2 to a + 1/2. Pictures have the shape (B, height, channels, width), so that both products of a
glimpse are plain batched matrix products for any number of channels, which all share the same filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

LOWEST_LOG_VARIANCE = -10.0
"""Filters are not narrower than exp(-5) of a pixel, far below what a picture can tell apart, so that nothing overflows."""


class Window(NamedTuple):
    """Where a grid of filters lies, in pixels counted from 1; each of shape (B,).

    Attributes
    ----------
    g_x, g_y : Tensor
        Centre of the grid.
    delta : Tensor
        Stride between neighbouring filters.
    sigma : Tensor
        Standard deviation of each filter.
    gamma : Tensor
        Intensity: what is read is multiplied by it, what is written is divided by it.
    """

    g_x: Tensor
    g_y: Tensor
    delta: Tensor
    sigma: Tensor
    gamma: Tensor


@dataclass(frozen=True)
class Geometry:
    """Sizes of a picture and of the grid of filters over it.

    Attributes
    ----------
    width, height : int
        A and B, pixels.
    n : int
        N, filters per side.
    """

    width: int
    height: int
    n: int

    @property
    def stride(self) -> float:
        """The stride at which the outer filters of a centred grid lie on the outer pixels of the longer side."""
        return (max(self.width, self.height) - 1) / max(self.n - 1, 1)

    def window(self, raw: Tensor) -> Window:
        """The window of what a linear layer puts out (equations 21 to 24).

        Parameters
        ----------
        raw : Tensor (..., 5)
            g~_X, g~_Y, log sigma^2, log delta~, log gamma. Zeros put the grid over the whole picture.
        """
        g_x, g_y, log_variance, log_stride, log_gamma = raw.unbind(-1)
        return Window(
            (self.width + 1) / 2 * (g_x + 1),
            (self.height + 1) / 2 * (g_y + 1),
            self.stride * log_stride.exp(),
            (0.5 * log_variance.clamp(min=LOWEST_LOG_VARIANCE)).exp(),
            log_gamma.exp(),
        )

    def banks(self, window: Window) -> tuple[Tensor, Tensor]:
        """Filter banks F_Y (..., N, height) and F_X (..., N, width) of a window."""
        return (
            filterbank(centres(window.g_y, window.delta, self.n), window.sigma, self.height),
            filterbank(centres(window.g_x, window.delta, self.n), window.sigma, self.width),
        )


def offsets(n: int, like: Tensor) -> Tensor:
    """Distances of the N filters from the centre of the grid in strides: i - N/2 - 1/2 for i = 1 .. N; (N,)."""
    return torch.arange(1, n + 1, dtype=like.dtype, device=like.device) - (n / 2 + 0.5)


def centres(g: Tensor, delta: Tensor, n: int) -> Tensor:
    """Centres of the filters along one axis (equations 19 and 20), in pixels counted from 1.

    Parameters
    ----------
    g, delta : Tensor (...)
    n : int

    Returns
    -------
    Tensor (..., N)
    """
    return g[..., None] + offsets(n, g) * delta[..., None]


def filterbank(mu: Tensor, sigma: Tensor, size: int) -> Tensor:
    """Gaussian filters over the pixels 1 .. size (equations 25 and 26).

    Parameters
    ----------
    mu : Tensor (..., N)
        Their centres.
    sigma : Tensor (...)
        Their standard deviation.
    size : int

    Returns
    -------
    Tensor (..., N, size)
        Each row sums to one.

    Notes
    -----
    The paper's Z makes every row sum to one, also where a filter lies outside of the picture or falls between two pixels.
    Here that holds without a tolerance, because the division is done in logarithms. A filter far outside thus takes the
    nearest pixel at the edge.
    """
    pixels = torch.arange(1, size + 1, dtype=mu.dtype, device=mu.device)
    distance = pixels - mu[..., None]
    return torch.softmax(-0.5 * (distance / sigma[..., None, None]) ** 2, dim=-1)


def glimpse(pictures: Tensor, f_y: Tensor, f_x: Tensor) -> Tensor:
    """F_Y x F_X^T of every channel: what the grid sees, without the intensity.

    Parameters
    ----------
    pictures : Tensor (B, height, C, width)
    f_y : Tensor (B, N, height)
    f_x : Tensor (B, N, width)

    Returns
    -------
    Tensor (B, N, C, N)
        Rows, channels, columns of the patch.
    """
    count, height, channels, width = pictures.shape
    n = f_y.shape[-2]
    rows = f_y @ pictures.reshape(count, height, channels * width)
    return (rows.reshape(count, n * channels, width) @ f_x.mT).reshape(count, n, channels, n)


def spread(patch: Tensor, f_y: Tensor, f_x: Tensor) -> Tensor:
    """F_Y^T w F_X of every channel: what the grid puts on the picture, without the intensity.

    Parameters
    ----------
    patch : Tensor (B, N, C, N)
    f_y : Tensor (B, N, height)
    f_x : Tensor (B, N, width)

    Returns
    -------
    Tensor (B, height, C, width)
    """
    count, n, channels, _ = patch.shape
    height, width = f_y.shape[-1], f_x.shape[-1]
    rows = (patch.reshape(count, n * channels, n) @ f_x).reshape(count, n, channels * width)
    return (f_y.mT @ rows).reshape(count, height, channels, width)


def read(pictures: Tensor, geometry: Geometry, window: Window) -> Tensor:
    """Read a patch (equation 27): gamma F_Y x F_X^T.

    Parameters
    ----------
    pictures : Tensor (B, height, C, width)
        For DRAW the picture and the error picture are two channels, or two sets of them.
    geometry : Geometry
    window : Window

    Returns
    -------
    Tensor (B, N, C, N)
    """
    f_y, f_x = geometry.banks(window)
    return window.gamma[:, None, None, None] * glimpse(pictures, f_y, f_x)


def write(patch: Tensor, geometry: Geometry, window: Window) -> Tensor:
    """Write a patch (equation 29): 1/gamma F_Y^T w F_X.

    Parameters
    ----------
    patch : Tensor (B, N, C, N)
    geometry : Geometry
    window : Window

    Returns
    -------
    Tensor (B, height, C, width)
    """
    f_y, f_x = geometry.banks(window)
    return spread(patch, f_y, f_x) / window.gamma[:, None, None, None]
