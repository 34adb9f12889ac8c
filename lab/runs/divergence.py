"""Notices that a scalar leaves every earlier scale: pure arithmetic for the worker's loop, called once a step.

The scale is the range of all values that are older than about ``lag`` reports: a blow-up does not widen the scale that it is
measured by, and a slow drift does. A value is beyond it when it is worse than the worst of them by ``factor`` ranges, which
noise with heavy tails does not reach, and an exponential reaches soon.
"""

from __future__ import annotations

import math
import sys

MINUSCULE = 1e-6
"""A range below this part of the magnitude is rounding, not a scale."""
LEAST_PART = 0.1
"""A range below this part of the magnitude counts as that much: a jump off a flat plateau is none yet."""

_LARGEST = sys.float_info.max


class DivergenceDetector:
    """Watches one scalar, in O(1) of time and memory.

    Parameters
    ----------
    maximise : bool
        Whether small values are the bad ones.
    lag : int
        Reports after which a value may settle; it has settled after twice as many at the latest.
    factor : float
        How many ranges beyond the worst is too far.
    least : int
        Settled values that make a scale.

    Attributes
    ----------
    calm : bool
        Whether the newest value lay within the scale; true while there is none.
    """

    __slots__ = (
        "_best",
        "_bound",
        "_factor",
        "_fired",
        "_lag",
        "_least",
        "_limit",
        "_new_best",
        "_new_count",
        "_new_worst",
        "_next_best",
        "_next_count",
        "_next_worst",
        "_settled",
        "_sign",
        "_worst",
        "calm",
    )

    _new_worst: float
    _new_best: float
    _new_count: int

    def __init__(self, maximise: bool, lag: int = 100, factor: float = 10.0, least: int = 200) -> None:
        self._sign = -1.0 if maximise else 1.0
        self._lag = lag
        self._factor = factor
        self._least = least
        self.reset()

    def reset(self) -> None:
        """Forget every value."""
        # Values are kept with the sign with which large ones are bad.
        self._worst, self._best, self._settled = -math.inf, math.inf, 0
        self._start_buckets()
        self._fired = False
        self.calm = True
        self._measure()

    def update(self, value: float) -> bool:
        """Take the newest value; true when it is the first beyond every earlier scale. NaN and infinity are passed over."""
        value *= self._sign
        if -_LARGEST <= value <= self._limit:
            # Within the scale, or there is none yet.
            self.calm = True
            self._fired = False
        elif value - value != 0.0:
            # Infinite, or NaN.
            self.calm = False
            return False
        else:
            self.calm = False
            if self._fired:
                # What follows a blow-up is no scale.
                return False
            if value > self._bound:
                # Nor is what led up to it.
                self._start_buckets()
                self._fired = True
                return True
        if value > self._new_worst:
            self._new_worst = value
        if value < self._new_best:
            self._new_best = value
        self._new_count += 1
        if self._new_count >= self._lag:
            self._settle()
        return False

    def _start_buckets(self) -> None:
        self._next_worst = self._new_worst = -math.inf
        self._next_best = self._new_best = math.inf
        self._next_count = self._new_count = 0

    def _settle(self) -> None:
        """The older of the two buckets becomes a part of the scale, and the newer one the older."""
        self._settled += self._next_count
        self._worst = max(self._worst, self._next_worst)
        self._best = min(self._best, self._next_best)
        self._next_worst, self._next_best, self._next_count = (
            self._new_worst,
            self._new_best,
            self._new_count,
        )
        self._new_worst, self._new_best, self._new_count = -math.inf, math.inf, 0
        self._measure()

    def _measure(self) -> None:
        self._limit = self._bound = _LARGEST
        if self._settled < self._least:
            return
        extent = self._worst - self._best
        magnitude = max(abs(self._worst), abs(self._best))
        if extent > MINUSCULE * magnitude:
            self._limit = self._worst
            self._bound = self._worst + self._factor * max(extent, LEAST_PART * magnitude)
