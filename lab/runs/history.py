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

    @classmethod
    def of(cls, steps: np.ndarray, values: np.ndarray, capacity: int = 2048) -> Series:
        """As `extend` on a new one, and quick however many values there are."""
        series = cls(capacity)
        reported = values[~np.isnan(values)]
        if len(reported):
            series.latest = float(reported[-1])
        finite = np.isfinite(values)
        steps, values = steps[finite], values[finite]
        count = len(values)
        if not count:
            return series
        while -(-count // series._per_bucket) > capacity:
            series._per_bucket *= 2
        first = np.arange(0, count, series._per_bucket)
        last = np.minimum(first + series._per_bucket, count) - 1
        buckets = len(first)
        series._count, series._filled = buckets, int(last[-1] - first[-1]) + 1
        series._step[:buckets] = steps[last]
        series._sum[:buckets] = np.add.reduceat(values, first)
        series._low[:buckets] = np.minimum.reduceat(values, first)
        series._high[:buckets] = np.maximum.reduceat(values, first)
        return series

    def upto(self, step: int) -> Series:
        """A copy that ends at a step, within one bucket."""
        copy = Series(self._capacity)
        count = int(np.searchsorted(self._step[: self._count], step, side="right"))
        copy._count, copy._per_bucket = count, self._per_bucket
        copy._filled = self._filled if count == self._count else self._per_bucket
        for name in ("_step", "_sum", "_low", "_high"):
            getattr(copy, name)[:count] = getattr(self, name)[:count]
        if count:
            copy.latest = float(copy._sum[count - 1] / copy._filled)
        return copy

    def at(self, step: int) -> float:
        """The value at a step: the newest one reported until then; NaN before the first."""
        index = int(np.searchsorted(self._step[: self._count], step, side="right")) - 1
        if index < 0:
            return float("nan")
        if index == self._count - 1:
            return float(self._sum[index] / self._filled)
        return float(self._sum[index] / self._per_bucket)

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

    @classmethod
    def of(cls, steps: np.ndarray, columns: Mapping[str, np.ndarray]) -> ScalarHistory:
        """The history of a whole run: ``steps`` (N,), and each column (N,)."""
        history = cls()
        for name, values in columns.items():
            history._series[name] = Series.of(
                np.asarray(steps), np.asarray(values, dtype=float), history._capacity
            )
        history.version = 1
        return history

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

    def upto(self, step: int) -> ScalarHistory:
        """A copy that ends at a step: what a run that was rewound to it still has behind it."""
        copy = ScalarHistory(self._capacity)
        copy._series = {name: series.upto(step) for name, series in self._series.items()}
        copy.version = self.version + 1
        return copy

    def at(self, step: int) -> dict[str, float]:
        """Each scalar as it was at a step."""
        return {name: series.at(step) for name, series in self._series.items()}

    def series_arrays(self) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]]:
        """Each scalar as `Series.arrays` gives it."""
        return {name: series.arrays() for name, series in self._series.items()}

    def latest(self) -> dict[str, float]:
        """Newest value of each scalar."""
        return {name: series.latest for name, series in self._series.items()}
