"""Size and accuracy of many bit-widths: the curves in which one's own allocation is a point; plain arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from engines.fixed_point.allocation import whole_at_cost
from engines.fixed_point.config import FEWEST_BITS, MOST_BITS

EQUAL = tuple(range(1, 9))
"""Equal bit-widths that are tried."""

MEAN = tuple(float(b) for b in np.arange(1.0, 8.01, 0.25))
"""Mean bit-widths for which bits are allocated."""


class Curve(NamedTuple):
    """Points of rising size.

    Attributes
    ----------
    bits : tuple of tuple of int
        Of each layer's weights.
    sizes : array (N,)
        Bytes of all weights.
    accuracies : array (N,)
        Percent.
    """

    bits: tuple[tuple[int, ...], ...]
    sizes: np.ndarray
    accuracies: np.ndarray


class Sweep(NamedTuple):
    """Equal bit-widths, and those of the allocation."""

    equal: Curve
    allocated: Curve


def sweep(
    costs: Sequence[float],
    kappas: Sequence[float],
    size: Callable[[Collection[int]], float],
    accuracy: Callable[[Collection[int]], float],
) -> Sweep:
    """Both curves.

    Parameters
    ----------
    costs, kappas : sequence of float, one for each layer
        As for `allocation.whole_at_cost`.
    size, accuracy : callable
        Of the bit-widths of all layers.
    """

    def curve(chosen: Sequence[tuple[int, ...]]) -> Curve:
        unique = sorted(set(chosen), key=lambda bits: (size(bits), bits))
        return Curve(
            tuple(unique),
            np.array([size(bits) for bits in unique]),
            np.array([accuracy(bits) for bits in unique]),
        )

    total = sum(costs)
    return Sweep(
        curve([(b,) * len(costs) for b in EQUAL]),
        curve([whole_at_cost(costs, kappas, mean * total, FEWEST_BITS, MOST_BITS) for mean in MEAN]),
    )


def saved(points: Sweep, bits: int) -> float | None:
    """Percent of the size of equal bit-widths that the smallest allocation of at least their accuracy saves.

    Negative where it takes more; None where no allocation reaches their accuracy.
    """
    index = points.equal.bits.index((bits,) * len(points.equal.bits[0]))
    reached = points.allocated.accuracies >= points.equal.accuracies[index]
    if not reached.any():
        return None
    smallest = float(points.allocated.sizes[reached].min())
    return 100 * (1 - smallest / float(points.equal.sizes[index]))
