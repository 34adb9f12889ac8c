"""Scalars of one run for the eye, in bounded memory; owned by the thread that drains the session, Qt-free.

Every value is on disk in the run's folder; here each scalar keeps at most a few thousand buckets of equal length in
steps, with mean, minimum and maximum. When they are full, neighbours are merged, so a run of any length draws quickly
and a single outlier stays visible in the band between minimum and maximum.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Series:
    """One scalar over steps.

    Parameters
    ----------
    capacity : int
        Buckets kept at most; even.
    """

    def __init__(self, capacity: int = 2048) -> None:
        self._capacity = capacity
        self._count = 0
        self._per_bucket = 1
        self._filled = 0  # values in the last bucket
        self._step = np.zeros(capacity)
        self._sum = np.zeros(capacity)
        self._low = np.zeros(capacity)
        self._high = np.zeros(capacity)
        self.latest = float("nan")

    def extend(self, steps: np.ndarray, values: np.ndarray) -> None:
        """Add values (N,) at steps (N,); NaN means not reported, and infinity is kept as ``latest`` and not drawn."""
        reported = values[~np.isnan(values)]
        if len(reported):
            self.latest = float(reported[-1])
        finite = np.isfinite(values)
        if not finite.all():
            steps, values = steps[finite], values[finite]
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            self._append(step, value)

    def _append(self, step: float, value: float) -> None:
        if self._count and self._filled < self._per_bucket:
            last = self._count - 1
            self._step[last] = step
            self._sum[last] += value
            self._low[last] = min(self._low[last], value)
            self._high[last] = max(self._high[last], value)
            self._filled += 1
            return
        if self._count == self._capacity:
            self._merge()
        self._step[self._count] = step
        self._sum[self._count] = self._low[self._count] = self._high[self._count] = value
        self._count += 1
        self._filled = 1

    def _merge(self) -> None:
        half = self._capacity // 2
        self._step[:half] = self._step[1::2]
        self._sum[:half] = self._sum[0::2] + self._sum[1::2]
        self._low[:half] = np.minimum(self._low[0::2], self._low[1::2])
        self._high[:half] = np.maximum(self._high[0::2], self._high[1::2])
        self._count = half
        self._per_bucket *= 2

    def __len__(self) -> int:
        return self._count

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Fresh arrays (M,) of step, mean, minimum and maximum per bucket."""
        count = self._count
        mean = self._sum[:count] / self._per_bucket
        if count:
            mean[-1] = self._sum[count - 1] / self._filled
        return self._step[:count].copy(), mean, self._low[:count].copy(), self._high[:count].copy()


class ScalarHistory:
    """All scalars of one run."""

    def __init__(self, capacity: int = 2048) -> None:
        self._capacity = capacity
        self._series: dict[str, Series] = {}
        self.version = 0

    def extend(self, steps: np.ndarray, columns: Mapping[str, np.ndarray]) -> None:
        """Add a batch: ``steps`` (N,), and each column (N,)."""
        for name, values in columns.items():
            if name not in self._series:
                self._series[name] = Series(self._capacity)
            self._series[name].extend(np.asarray(steps), np.asarray(values, dtype=float))
        self.version += 1

    def names(self) -> tuple[str, ...]:
        """Scalars seen so far."""
        return tuple(self._series)

    def series(self, name: str) -> Series | None:
        """One scalar, None when it was never reported."""
        return self._series.get(name)

    def latest(self) -> dict[str, float]:
        """Newest value of each scalar."""
        return {name: series.latest for name, series in self._series.items()}
