"""How noise adds up over layers, and the bit-widths that spend it best; pure float64 arithmetic, any thread.

gamma is a signal to quantisation noise ratio. In decibels it is written ``db``; as a ratio of noise to signal, 1/gamma, it is
called noise. Every quantisation adds its noise to that of the output: 1/gamma_out = sum of 1/gamma_i. With
gamma_i = kappa_i beta_i (dB) the sum of rho_i beta_i is least for a given noise where each layer gets the share
rho_i / kappa_i of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

HELPFUL = 0.01
"""Part of all noise that a bit which is left over must take away: otherwise a small layer would be given all of them."""

Vector = NDArray[np.float64]


def noise_of(db: ArrayLike) -> Vector:
    """1/gamma of decibels; 0 of infinitely many."""
    return np.asarray(10.0 ** (-np.asarray(db, dtype=np.float64) / 10))


def combined(db: ArrayLike) -> float:
    """SQNR of the output, dB, from those of all quantisations: 1/gamma_out = sum of 1/gamma_i."""
    total = float(noise_of(db).sum())
    return -10 * math.log10(total) if total > 0 else math.inf


def predicted_noise(bits: ArrayLike, kappa: ArrayLike) -> Vector:
    """1/gamma_i by gamma_i = kappa_i beta_i dB."""
    return noise_of(np.asarray(kappa, dtype=np.float64) * np.asarray(bits, dtype=np.float64))


def at_noise(rho: ArrayLike, kappa: ArrayLike, noise: float) -> Vector:
    """Real bit-widths of least cost for a noise: minimise sum rho_i beta_i with sum 10^(-kappa_i beta_i / 10) = noise.

    Parameters
    ----------
    rho : array (L,)
        What one more bit costs in each layer: its weights, or its multiplications.
    kappa : array (L,)
        dB per bit.
    noise : float
        1/gamma of all layers together.

    Returns
    -------
    array (L,)
        beta_i = (10 / kappa_i) log10(sum_j (rho_j / kappa_j) / (noise rho_i / kappa_i)): for equal kappa a layer of ten times
        the cost gets 10 / kappa bits less.
    """
    share = np.asarray(rho, dtype=np.float64) / np.asarray(kappa, dtype=np.float64)
    return np.asarray(10 / np.asarray(kappa) * np.log10(share.sum() / (noise * share)))


def at_cost(rho: ArrayLike, kappa: ArrayLike, cost: float) -> Vector:
    """Real bit-widths of least noise for sum rho_i beta_i = cost; the same family as `at_noise`."""
    rho, kappa = np.asarray(rho, dtype=np.float64), np.asarray(kappa, dtype=np.float64)
    at_one = at_noise(rho, kappa, 1.0)
    # Each factor of ten less noise adds 10 / kappa_i bits to layer i.
    decades = (cost - float(rho @ at_one)) / float(rho @ (10 / kappa))
    return np.asarray(at_one + 10 / kappa * decades)


def _bounded(rho: Vector, kappa: Vector, low: int, high: int, enough: Any, start: Vector) -> Vector:
    """Bit-widths within bounds: the closed form where it keeps them, else the multiplier at which ``enough`` turns true."""
    if start.min() >= low and start.max() <= high:
        return start
    at_one = at_noise(rho, kappa, 1.0)
    below, above = -60.0, 60.0  # decades of noise
    for _ in range(60):  # to the last digit
        middle = (below + above) / 2
        if enough(np.clip(at_one + 10 / kappa * middle, low, high)):
            above = middle
        else:
            below = middle
    return np.asarray(np.clip(at_one + 10 / kappa * above, low, high))


def bounded_at_noise(rho: ArrayLike, kappa: ArrayLike, noise: float, low: int, high: int) -> Vector:
    """As `at_noise`, with bit-widths from low to high; the highest of all where the noise cannot be reached."""
    rho, kappa = np.asarray(rho, dtype=np.float64), np.asarray(kappa, dtype=np.float64)
    start = at_noise(rho, kappa, noise)
    return _bounded(rho, kappa, low, high, lambda b: predicted_noise(b, kappa).sum() <= noise, start)


def bounded_at_cost(rho: ArrayLike, kappa: ArrayLike, cost: float, low: int, high: int) -> Vector:
    """As `at_cost`, with bit-widths from low to high."""
    rho, kappa = np.asarray(rho, dtype=np.float64), np.asarray(kappa, dtype=np.float64)
    start = at_cost(rho, kappa, cost)
    return _bounded(rho, kappa, low, high, lambda b: float(rho @ b) >= cost, start)


def whole_at_cost(
    rho: Sequence[float], kappa: Sequence[float], cost: float, low: int, high: int
) -> tuple[int, ...]:
    """Whole bit-widths that cost no more than they may.

    The real ones are rounded. Then bits go where they are missed least until the cost fits, and what is left over buys bits
    where they help most for their cost, as long as they help. The least widths are given even where they cost more.
    """
    costs, slopes = np.asarray(rho, dtype=np.float64), np.asarray(kappa, dtype=np.float64)
    bits = np.rint(bounded_at_cost(costs, slopes, cost, low, high)).astype(int)
    limit = cost * (1 + 1e-12)

    def gain(change: int) -> Vector:
        """Noise that a bit more takes away, or a bit less adds, for its cost."""
        difference = predicted_noise(bits, slopes) - predicted_noise(bits + change, slopes)
        return np.asarray(change * difference / costs)

    while costs @ bits > limit and bits.max() > low:
        loss = np.where(bits > low, gain(-1), np.inf)
        bits[int(np.argmin(loss))] -= 1
    while True:
        noise = predicted_noise(bits, slopes)
        helps = costs * gain(1) > HELPFUL * noise.sum()
        fits = (costs @ bits + costs <= limit) & (bits < high) & helps
        if not fits.any():
            return tuple(int(b) for b in bits)
        bits[int(np.argmax(np.where(fits, gain(1), -np.inf)))] += 1


def whole_at_noise(
    rho: Sequence[float], kappa: Sequence[float], noise: float, low: int, high: int
) -> tuple[int, ...]:
    """Whole bit-widths with no more noise than there may be, by the law kappa beta.

    The real ones are rounded, then bits are added where they help most for their cost. Where the noise cannot be reached, all
    are the highest.
    """
    costs, slopes = np.asarray(rho, dtype=np.float64), np.asarray(kappa, dtype=np.float64)
    bits = np.rint(bounded_at_noise(costs, slopes, noise, low, high)).astype(int)
    while predicted_noise(bits, slopes).sum() > noise * (1 + 1e-12) and bits.min() < high:
        now, then = predicted_noise(bits, slopes), predicted_noise(bits + 1, slopes)
        bits[int(np.argmax(np.where(bits < high, (now - then) / costs, -np.inf)))] += 1
    return tuple(int(b) for b in bits)
