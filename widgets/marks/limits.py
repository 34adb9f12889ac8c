"""How far the axes of a plot reach, and keeping them calm while the data move; numpy alone, any thread.

Everything is in view coordinates: log10 of the value on a log axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engines import figures
from widgets.marks.ticks import to_view

PADDING = 0.05
"""Room beyond the data at either end, as a part of their span."""


@dataclass
class Extent:
    """How far something reaches along one axis.

    Attributes
    ----------
    low, high : float
        Infinite the wrong way round while nothing is known.
    sticky : set of float
        Ends that get no padding: the base of bars, the edge of a picture.
    """

    low: float = np.inf
    high: float = -np.inf
    sticky: set[float] = field(default_factory=set)

    @property
    def known(self) -> bool:
        """Whether anything finite was seen."""
        return self.low <= self.high

    def add(self, low: float, high: float, sticky: Iterable[float] = ()) -> None:
        """Reach at least from ``low`` to ``high``; NaN is left out."""
        if low < self.low:
            self.low = low
        if high > self.high:
            self.high = high
        self.sticky.update(sticky)

    def merge(self, other: Extent) -> None:
        """Reach as far as another."""
        self.add(other.low, other.high, other.sticky)

    def padded(self, padding: float = PADDING) -> tuple[float, float]:
        """The range to show: with padding save at sticky ends, and never empty."""
        if not self.known:
            return 0.0, 1.0
        low, high = float(self.low), float(self.high)
        span = high - low
        if span <= max(abs(low), abs(high)) * 1e-9:
            room = abs(low) * 0.1 or 0.5
            return low - room, high + room
        return (
            low if low in self.sticky else low - padding * span,
            high if high in self.sticky else high + padding * span,
        )


def view_values(values: np.ndarray, log: bool) -> np.ndarray:
    """Values in view coordinates as float64; on a log axis NaN for what is not above zero."""
    result = np.asarray(values, dtype=np.float64)
    if log:
        result = np.where(result > 0, result, np.nan)
        result = np.log10(result)
    return result


def _span(values: np.ndarray, log: bool) -> tuple[float, float]:
    """Smallest and largest finite value in view coordinates; infinities the wrong way round if there is none."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size == 0:
        return np.inf, -np.inf
    low, high = float(flat.min()), float(flat.max())
    # One pass is enough when all is well, which is nearly always.
    if not (np.isfinite(low) and np.isfinite(high)) or (log and low <= 0):
        flat = flat[np.isfinite(flat) & (flat > 0)] if log else flat[np.isfinite(flat)]
        if flat.size == 0:
            return np.inf, -np.inf
        low, high = float(flat.min()), float(flat.max())
    return (float(np.log10(low)), float(np.log10(high))) if log else (low, high)


def montage_size(mark: figures.ImageGrid) -> tuple[int, int]:
    """Width and height of a grid of pictures in axis units."""
    count, height, width = mark.images.shape[:3]
    columns = max(1, min(mark.columns, count))
    rows = -(-count // columns)
    return max(columns * (width + mark.gap) - mark.gap, 1), max(rows * (height + mark.gap) - mark.gap, 1)


def add_mark(mark: figures.Mark, x: Extent, y: Extent, x_log: bool, y_log: bool) -> None:
    """Let the extents of a plot reach over one mark."""
    if isinstance(mark, figures.ImageGrid):
        width, height = montage_size(mark)
        x.add(0.0, width, (0.0, float(width)))
        y.add(0.0, height, (0.0, float(height)))
    elif isinstance(mark, figures.Heatmap):
        x0, x1, y0, y1 = mark.extent
        sides_x, sides_y = _span(np.array([x0, x1]), x_log), _span(np.array([y0, y1]), y_log)
        x.add(*sides_x, sides_x)
        y.add(*sides_y, sides_y)
    elif isinstance(mark, figures.Rule):
        (x if mark.axis == "x" else y).add(
            *_span(np.array([mark.value]), x_log if mark.axis == "x" else y_log)
        )
    elif isinstance(mark, figures.Ribbon):
        x.add(*_span(mark.x, x_log))
        y.add(*_span(mark.low, y_log))
        y.add(*_span(mark.high, y_log))
    elif isinstance(mark, figures.VectorField):
        for start, step, extent, log in ((mark.x, mark.u, x, x_log), (mark.y, mark.v, y, y_log)):
            extent.add(*_span(start, log))
            extent.add(*_span(np.asarray(start) + step, log))
    elif isinstance(mark, figures.Bars):
        half = mark.width / 2
        low, high = _span(mark.x, False)
        x.add(*_span(np.array([low - half, high + half]), x_log))
        _add_bars(y, np.asarray(mark.base + mark.height, dtype=np.float64), mark.base, y_log)
    elif isinstance(mark, figures.Histogram):
        sides = _span(mark.edges, x_log)
        x.add(*sides)
        _add_bars(y, np.asarray(mark.counts, dtype=np.float64), 0.0, y_log)
    elif isinstance(mark, figures.Boxes):
        x.add(*_span(mark.x, x_log))
        x.add(*_span(np.asarray(mark.x) + mark.width, x_log))
        y.add(*_span(mark.y, y_log))
        y.add(*_span(np.asarray(mark.y) + mark.height, y_log))
    elif isinstance(mark, figures.Graph):
        x.add(*_span(mark.positions[:, 0], x_log))
        y.add(*_span(mark.positions[:, 1], y_log))
    elif isinstance(mark, figures.Bodies):
        for outline in mark.outlines:
            x.add(*_span(outline[:, 0], x_log))
            y.add(*_span(outline[:, 1], y_log))
    elif isinstance(mark, figures.Lines | figures.Scatter | figures.Words):
        x.add(*_span(mark.x, x_log))
        y.add(*_span(mark.y, y_log))


def _add_bars(y: Extent, tops: np.ndarray, base: float, log: bool) -> None:
    low, high = _span(tops, log)
    if log:
        # Bars have no foot on a log axis; half a decade below the lowest top shows all of them.
        foot = to_view(base, figures.Axis(scale="log"))
        y.add(min(low - 0.5, foot) if np.isfinite(foot) else low - 0.5, high)
        return
    y.add(min(low, base), max(high, base), (base,))


def plot_extents(plots: Iterable[figures.Plot]) -> tuple[Extent, Extent]:
    """How far the marks of several plots with the same scales reach on x and on y, whatever their fixed limits."""
    x, y = Extent(), Extent()
    for plot in plots:
        x_log, y_log = plot.x.scale == "log", plot.y.scale == "log"
        for mark in plot.marks:
            add_mark(mark, x, y, x_log, y_log)
    return x, y


class CalmRange:
    """The shown range of one axis: follows data that leave it at once, data that shrink only when they stay small.

    So axes do not tremble while pictures arrive 30 times a second.

    Parameters
    ----------
    hold : float
        Seconds for which the data must fill less than ``fill`` of the range before it narrows.
    fill : float
    slack : float
        Extra room on a side that had to grow, as a part of the span, so that steady growth does not move the axis each
        time.
    """

    def __init__(self, hold: float = 1.5, fill: float = 0.6, slack: float = 0.08) -> None:
        self.hold = hold
        self.fill = fill
        self.slack = slack
        self._range: tuple[float, float] | None = None
        self._small_since: float | None = None

    def reset(self) -> None:
        """Fit the next data exactly."""
        self._range = None
        self._small_since = None

    def update(self, extent: Extent, now: float) -> tuple[float, float]:
        """The range to show for data of this extent at the time ``now`` in seconds."""
        wanted = extent.padded()
        if self._range is None or not extent.known:
            if extent.known:
                self._range = wanted
            return self._range or wanted
        low, high = self._range
        span = wanted[1] - wanted[0]
        changed = False
        if extent.low < low:
            low = wanted[0] if extent.low in extent.sticky else wanted[0] - self.slack * span
            changed = True
        if extent.high > high:
            high = wanted[1] if extent.high in extent.sticky else wanted[1] + self.slack * span
            changed = True
        if changed:
            self._range = low, high
        if span < self.fill * (high - low):
            if self._small_since is None:
                self._small_since = now
            elif now - self._small_since >= self.hold:
                self._range = wanted
                self._small_since = None
        else:
            self._small_since = None
        return self._range


def fixed_range(axis: figures.Axis) -> tuple[float, float] | None:
    """The limits an axis asks for, in view coordinates; None if it has none or they make no sense."""
    if axis.limits is None:
        return None
    low, high = (to_view(limit, axis) for limit in axis.limits)
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        return None
    return min(low, high), max(low, high)


def shared(plots: Sequence[figures.Plot]) -> bool:
    """Whether plots can have axes in common: shown, with the same names and scales."""
    first = plots[0]
    return all(
        plot.x.shown
        and plot.y.shown
        and (plot.x.label, plot.x.unit, plot.x.scale) == (first.x.label, first.x.unit, first.x.scale)
        and (plot.y.label, plot.y.unit, plot.y.scale) == (first.y.label, first.y.unit, first.y.scale)
        and plot.equal == first.equal
        and plot.y_down == first.y_down
        for plot in plots
    )


__all__ = [
    "CalmRange",
    "Extent",
    "add_mark",
    "fixed_range",
    "montage_size",
    "plot_extents",
    "shared",
    "view_values",
]
