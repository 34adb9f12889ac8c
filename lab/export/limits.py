"""Limits of axes and of colours, fitted to the data of a figure or of a whole film; any thread, numpy alone.

The frames of a film and the panels that share axes must be drawn to one scale, so limits are found before drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from engines.figures import (
    Axis,
    Bars,
    Bodies,
    Boxes,
    Graph,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
    Words,
    plots_of,
)

Limits = tuple[float, float]

MARGIN = 0.04
"""Share of the data's range that is left free at each end of an axis."""


@dataclass(frozen=True)
class _Reach:
    """Values of a mark along one axis, and those beyond which no margin is wanted: edges of pictures, feet of bars."""

    values: np.ndarray
    flush: tuple[float, ...] = ()


def _joined(*arrays: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(array, dtype=float).ravel() for array in arrays])


def _reach(mark: Mark, axis: str) -> _Reach | None:
    """What a mark needs of an axis; None when it does not care."""
    x = axis == "x"
    match mark:
        case Rule():
            return _Reach(np.array([mark.value])) if mark.axis == axis else None
        case Lines() | Scatter() | Words():
            return _Reach(_joined(mark.x if x else mark.y))
        case Ribbon():
            return _Reach(_joined(mark.x) if x else _joined(mark.low, mark.high))
        case VectorField():
            start, by = (mark.x, mark.u) if x else (mark.y, mark.v)
            return _Reach(_joined(start, np.asarray(start) + np.asarray(by)))
        case Bars():
            if x:
                center = np.asarray(mark.x, dtype=float)
                return _Reach(_joined(center - mark.width / 2, center + mark.width / 2))
            top = mark.base + np.asarray(mark.height, dtype=float)
            return _Reach(_joined(top, np.array([mark.base])), (mark.base,))
        case Histogram():
            if x:
                return _Reach(_joined(mark.edges))
            return _Reach(_joined(mark.counts, np.zeros(1)), (0.0,))
        case Heatmap():
            ends = mark.extent[:2] if x else mark.extent[2:]
            return _Reach(np.array(ends, dtype=float), tuple(ends))
        case ImageGrid():
            size = float(montage_shape(mark)[1 if x else 0])
            return _Reach(np.array([0.0, size]), (0.0, size))
        case Boxes():
            corner, by = (mark.x, mark.width) if x else (mark.y, mark.height)
            return _Reach(_joined(corner, np.asarray(corner) + np.asarray(by)))
        case Graph():
            return _Reach(_joined(np.asarray(mark.positions).reshape(-1, 2)[:, 0 if x else 1]))
        case Bodies():
            return _Reach(_joined(np.empty(0), *(outline[:, 0 if x else 1] for outline in mark.outlines)))
    raise TypeError(f"{type(mark).__name__} is not a mark of the vocabulary of pictures")


def montage_shape(mark: ImageGrid) -> tuple[int, int]:
    """Rows and columns of pixels of the whole grid."""
    count, height, width = mark.images.shape[:3]
    columns = max(1, min(mark.columns, count))
    rows = -(-count // columns)
    return max(rows * (height + mark.gap) - mark.gap, 1), max(columns * (width + mark.gap) - mark.gap, 1)


def axis_limits(plot: Plot, name: str) -> Limits:
    """Lower and upper limit of the x or y axis of a plot: its own, else fitted to its marks with a margin."""
    axis: Axis = plot.x if name == "x" else plot.y
    log = axis.scale == "log"
    reaches = [reach for mark in plot.marks if (reach := _reach(mark, name)) is not None]
    values = _joined(np.empty(0), *(reach.values for reach in reaches))
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if log and name == "y" and values.size and any(isinstance(mark, Bars | Histogram) for mark in plot.marks):
        # Bars have no foot on a log axis; half a decade below the lowest top shows all of them.
        values = np.append(values, values.min() / 10**0.5)
    if axis.limits is not None and all(math.isfinite(end) for end in axis.limits):
        low, high = sorted(float(end) for end in axis.limits)
        if log and low <= 0:
            low = float(values.min()) if values.size else high / 1e3 if high > 0 else 0.1
            high = max(high, low)
        if high > low:
            return low, high
        return _widened(low, high, log)
    if not values.size:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return _widened(low, high, log)
    flush = {end for reach in reaches for end in reach.flush}
    if log:
        factor = (high / low) ** MARGIN
        return (low if low in flush else low / factor), (high if high in flush else high * factor)
    margin = MARGIN * (high - low)
    return (low if low in flush else low - margin), (high if high in flush else high + margin)


def _widened(low: float, high: float, log: bool) -> Limits:
    if log:
        return low / 2.0, high * 2.0
    by = 0.5 if low == 0 else abs(low) * 0.1
    return low - by, high + by


def _fitted(values: np.ndarray | None, around_zero: bool) -> Limits | None:
    """Colour limits for values: from the least to the greatest, and symmetric about zero for signed maps."""
    if values is None:
        return None
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if around_zero:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def value_limits(mark: Mark, part: str = "values") -> Limits | None:
    """Limits of the colours of a mark; None for marks whose colour is their role.

    Parameters
    ----------
    mark : Mark
    part : {"values", "edges"}
        Graphs colour nodes and edges by their own values.
    """
    if isinstance(mark, Heatmap) and part == "values":
        if mark.limits is not None:
            return _fitted(np.array(mark.limits), False)
        limits = _fitted(mark.values, mark.colors == "diverging")
        # A role's colour means "how much", so it fades from zero and not from the least value.
        return (min(0.0, limits[0]), limits[1]) if mark.colors == "role" and limits else limits
    if isinstance(mark, Scatter) and part == "values":
        return _fitted(mark.values, False)
    if isinstance(mark, Graph):
        values = mark.node_values if part == "values" else mark.edge_values
        return _fitted(values, False)
    return None


def _union(first: Limits | None, second: Limits) -> Limits:
    return second if first is None else (min(first[0], second[0]), max(first[1], second[1]))


@dataclass
class Ranges:
    """Limits that several drawings share.

    Attributes
    ----------
    x, y : dict of plot index to Limits
    values : dict of (plot index, mark index, part) to Limits
    """

    x: dict[int, Limits] = field(default_factory=dict)
    y: dict[int, Limits] = field(default_factory=dict)
    values: dict[tuple[int, int, str], Limits] = field(default_factory=dict)

    @classmethod
    def over(cls, frames: Iterable[Plot | Panels]) -> Ranges:
        """Limits that fit all of the frames, which have one structure; reads them one by one."""
        ranges = cls()
        for frame in frames:
            ranges.include(frame)
        return ranges

    def include(self, frame: Plot | Panels) -> None:
        """Widen the limits so that they fit one more frame."""
        for index, plot in enumerate(plots_of(frame)):
            self.x[index] = _union(self.x.get(index), axis_limits(plot, "x"))
            self.y[index] = _union(self.y.get(index), axis_limits(plot, "y"))
            for key, limits in _values_of(index, plot):
                self.values[key] = _union(self.values.get(key), limits)
        if isinstance(frame, Panels) and frame.share_axes:
            self.pool(frame)

    def pool(self, panels: Panels) -> None:
        """Give panels that show the same quantities the same limits."""
        for shared, own in ((self.x, _x_key), (self.y, _y_key)):
            for members in grouped(panels, own).values():
                limits: Limits | None = None
                for index in members:
                    limits = _union(limits, shared[index])
                if limits is not None:
                    shared.update(dict.fromkeys(members, limits))
        colors: dict[Hashable, list[tuple[int, int, str]]] = {}
        for index, plot in enumerate(panels.plots):
            for key, _ in _values_of(index, plot):
                mark = plot.marks[key[1]]
                free = isinstance(mark, Scatter) or (isinstance(mark, Heatmap) and mark.limits is None)
                if free and mark.values_label:  # type: ignore[attr-defined]
                    name = (type(mark).__name__, getattr(mark, "colors", ""), mark.values_label)  # type: ignore[attr-defined]
                    colors.setdefault(name, []).append(key)
        for keys in colors.values():
            limits = None
            for key in keys:
                limits = _union(limits, self.values[key])
            if limits is not None:
                self.values.update(dict.fromkeys(keys, limits))


def _values_of(index: int, plot: Plot) -> Iterator[tuple[tuple[int, int, str], Limits]]:
    for number, mark in enumerate(plot.marks):
        for part in ("values", "edges"):
            limits = value_limits(mark, part)
            if limits is not None:
                yield (index, number, part), limits


def _x_key(plot: Plot) -> Hashable:
    return _key(plot, plot.x)


def _y_key(plot: Plot) -> Hashable:
    return _key(plot, plot.y)


def _key(plot: Plot, axis: Axis) -> Hashable:
    """What two plots must have in common to share an axis; None for plots that share with nobody."""
    if any(isinstance(mark, ImageGrid) for mark in plot.marks):
        return None
    if axis.shown:
        return axis.title(), axis.scale, axis.limits, axis.ticks
    return axis, tuple(type(mark).__name__ for mark in plot.marks)


def grouped(panels: Panels, key: Callable[[Plot], Hashable]) -> dict[Hashable, list[int]]:
    """Indices of the plots of each group with one key; plots whose key is None are in no group."""
    groups: dict[Hashable, list[int]] = {}
    for index, plot in enumerate(panels.plots):
        name = key(plot)
        if name is not None:
            groups.setdefault(name, []).append(index)
    return groups


def sharing(panels: Panels) -> tuple[dict[int, Hashable], dict[int, Hashable]]:
    """For the x and the y axes, the group of each plot; empty when the panels share nothing."""
    if not panels.share_axes:
        return {}, {}
    return tuple(  # type: ignore[return-value]
        {index: name for name, members in grouped(panels, own).items() for index in members}
        for own in (_x_key, _y_key)
    )


__all__ = ["MARGIN", "Limits", "Ranges", "axis_limits", "montage_shape", "sharing", "value_limits"]
