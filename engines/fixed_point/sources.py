"""Optimal uniform quantisers of known sources: step and SQNR from the density; pure float64 arithmetic, any thread.

The tables of the paper (its table 1, after Max 1960) are computed here and not typed in: the mean square error of a uniform
quantiser is a sum of partial moments of the source, known in closed form, and is minimised over the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

SOURCES = ("uniform", "gaussian", "laplacian", "gamma")

GRID = 81
"""Steps that are tried before the best of them is refined."""

EXACT_LEVELS = 600
"""With more levels on a side the errors of those in the middle are not summed one by one."""

_GOLDEN = (math.sqrt(5) - 1) / 2


def moments(source: str, t: np.ndarray) -> np.ndarray:
    """Partial moments of the magnitude of a source of mean 0 and variance 1.

    Parameters
    ----------
    source : str
        One of `SOURCES`. The gamma density is the two-sided one of shape 1/2, sqrt(sqrt 3 / (8 pi |x|)) exp(-sqrt 3 |x| / 2).
    t : array (...)
        Not negative; infinity is allowed.

    Returns
    -------
    array (3, ...)
        The integrals of 1, x and x^2 over the density of |x| from 0 to t.

    Raises
    ------
    KeyError
        There is no such source.
    """
    return _MOMENTS[source](np.asarray(t, dtype=np.float64))


def _erf(x: np.ndarray) -> np.ndarray:
    return torch.special.erf(torch.from_numpy(np.array(x, dtype=np.float64))).numpy()


def _uniform(t: np.ndarray) -> np.ndarray:
    u = np.minimum(t / math.sqrt(3), 1.0)
    return np.stack([u, math.sqrt(3) / 2 * u**2, u**3])


def _gaussian(t: np.ndarray) -> np.ndarray:
    t = np.minimum(t, 40.0)  # beyond it the density underflows, and infinity times 0 is not a number
    tail = math.sqrt(2 / math.pi) * np.exp(-(t**2) / 2)
    inside = _erf(t / math.sqrt(2))
    return np.stack([inside, math.sqrt(2 / math.pi) - tail, inside - t * tail])


def _laplacian(t: np.ndarray) -> np.ndarray:
    y = math.sqrt(2) * np.minimum(t, 500.0)
    tail = np.exp(-y)
    return np.stack([1 - tail, (1 - tail * (1 + y)) / math.sqrt(2), 1 - tail * (1 + y + y**2 / 2)])


def _gamma(t: np.ndarray) -> np.ndarray:
    y = math.sqrt(3) / 2 * np.minimum(t, 800.0)
    tail = np.exp(-y)
    first = _erf(np.sqrt(y))
    second = first - 2 * np.sqrt(y / math.pi) * tail
    third = second - y**1.5 * tail / math.gamma(2.5)
    return np.stack([first, second / math.sqrt(3), third])


_MOMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "uniform": _uniform,
    "gaussian": _gaussian,
    "laplacian": _laplacian,
    "gamma": _gamma,
}


def _half(source: str, step: float, count: int, tread: bool) -> float:
    """Mean square error over the magnitude, with ``count`` levels at 0, s, 2s, ... or at s/2, 3s/2, ..."""
    number = np.arange(count)
    if count > EXACT_LEVELS:
        # In the middle the density hardly changes within a cell; at the pole of the gamma density and beyond the end it does.
        number = np.append(number[: EXACT_LEVELS // 2], count - 1)
    levels = number * step if tread else (number + 0.5) * step
    ends = (number - 0.5) * step if tread else number * step
    starts = moments(source, np.maximum(ends, 0.0))
    stops = moments(source, np.where(number == count - 1, np.inf, ends + step))
    part = stops - starts
    error = (part[2] - 2 * levels * part[1] + levels**2 * part[0]).sum()
    if count > EXACT_LEVELS:
        error += step**2 / 12 * (starts[0, -1] - stops[0, -2])
    return float(error)


def mean_square_error(
    source: str, step: float, bits: int, *, tread: bool = False, signed: bool = True
) -> float:
    """Of a uniform quantiser on a source of variance 1.

    Parameters
    ----------
    source : str
    step : float
        s, in standard deviations of the source.
    bits : int
        beta: there are 2^beta levels.
    tread : bool
        Mid-tread, with a level at 0; else mid-rise, with levels at odd multiples of s/2. With a sign the levels of a
        mid-tread quantiser are not symmetric: -s, 0, s, 2s for two bits, as in the paper.
    signed : bool
        False for a source of which only the positive half is there, with all levels on that side: a ReLU's output.
    """
    count = 2**bits
    if not signed:
        return _half(source, step, count, tread)
    if not tread:
        return _half(source, step, count // 2, tread)
    return (_half(source, step, count // 2 + 1, tread) + _half(source, step, count // 2, tread)) / 2


@lru_cache(maxsize=512)
def optimal_step(source: str, bits: int, *, tread: bool = False, signed: bool = True) -> tuple[float, float]:
    """The step with the least mean square error for variance 1, and its SQNR.

    Parameters
    ----------
    source, bits, tread, signed
        As for `mean_square_error`.

    Returns
    -------
    step : float
        In standard deviations. Those of another scale are as many times larger.
    sqnr : float
        dB.
    """

    def error(step: float) -> float:
        return mean_square_error(source, step, bits, tread=tread, signed=signed)

    count = 2**bits if not signed else 2 ** (bits - 1)
    step = minimise(error, 0.4 / count, 60.0 / count)
    return step, -10 * math.log10(error(step))


def minimise(error: Callable[[float], float], low: float, high: float, tries: int = GRID) -> float:
    """The step of least error between two bounds: the best of a grid, then golden sections around it."""
    grid = np.geomspace(low, high, tries)
    best = int(np.argmin([error(float(step)) for step in grid]))
    a, b = math.log(grid[max(best - 1, 0)]), math.log(grid[min(best + 1, tries - 1)])
    c, d = b - _GOLDEN * (b - a), a + _GOLDEN * (b - a)
    at_c, at_d = error(math.exp(c)), error(math.exp(d))
    while b - a > 1e-6:
        if at_c < at_d:
            b, d, at_d = d, c, at_c
            c = b - _GOLDEN * (b - a)
            at_c = error(math.exp(c))
        else:
            a, c, at_c = c, d, at_d
            d = a + _GOLDEN * (b - a)
            at_d = error(math.exp(d))
    return math.exp((a + b) / 2)


def data_step(values: np.ndarray, bits: int, *, tread: bool = False, signed: bool = True) -> float:
    """The step with the least mean square error on given numbers.

    Parameters
    ----------
    values : array (N,)
        At least one is not 0. Without a sign, negative ones count as 0.
    bits, tread, signed
        As for `mean_square_error`.
    """
    values = np.asarray(values, dtype=np.float64)
    if not signed:
        values = np.maximum(values, 0.0)
    low, high = code_range(bits, tread=tread, signed=signed)

    def error(step: float) -> float:
        scaled = values / step
        if tread:
            codes = np.clip(np.rint(scaled), low, high)
        else:
            codes = np.clip(np.floor(scaled), low, high) + 0.5
        return float(np.square(scaled - codes).mean()) * step**2

    reach = float(np.abs(values).max())
    half = 2**bits if not signed else 2 ** (bits - 1)
    # From a step that cuts off all but a twentieth of the reach to one of which a single level covers it.
    return minimise(error, 0.05 * reach / half, 2.0 * reach / max(half - 0.5, 1.0), GRID // 2)


def code_range(bits: int, *, tread: bool, signed: bool) -> tuple[int, int]:
    """Lowest and highest level number: level k lies at k s (mid-tread) or at (k + 1/2) s (mid-rise)."""
    count = 2**bits
    if not signed:
        return 0, count - 1
    return (-(count // 2) + 1, count // 2) if tread else (-(count // 2), count // 2 - 1)


def power_of_two(step: float) -> int:
    """Fractional bits n of the power of two 2^-n that stands for a step: n = round(-log2 s)."""
    return round(-math.log2(step))
