"""Alternative text: what a figure shows, in words, for people who cannot see it; any thread, numpy alone."""

from __future__ import annotations

import numpy as np

from engines.figures import (
    Axis,
    Bars,
    Bodies,
    Boxes,
    Figure,
    Film,
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
    at,
)
from lab.export.limits import axis_limits


def alt_text(figure: Figure) -> str:
    """What a figure shows: its title and caption, the axes with their ranges, and what is drawn.

    Returns
    -------
    str
        A few sentences on one line, without trailing space.
    """
    parts = [_sentence(figure.title), _sentence(figure.caption)]
    if isinstance(figure, Film):
        count = len(figure.frames)
        if not count:
            return " ".join([*filter(None, parts), "Film without frames."])
        first, last = _number(figure.times[0]), _number(figure.times[-1])
        name = figure.time.label or "time"
        unit = f" {figure.time.unit}" if figure.time.unit else ""
        parts.append(f"Film of {count} frames, {name} from {first} to {last}{unit}.")
        parts.append(_still(at(figure)))
    else:
        parts.append(_still(figure))
    return " ".join(dict.fromkeys(filter(None, parts)))


def _still(still: Plot | Panels) -> str:
    if isinstance(still, Plot):
        return _plot(still)
    rows = -(-len(still.plots) // max(1, still.columns))
    columns = min(len(still.plots), max(1, still.columns))
    parts = [f"{_count(len(still.plots), 'panel')} in {_count(rows, 'row')} and {_count(columns, 'column')}."]
    for index, plot in enumerate(still.plots):
        row, column = divmod(index, max(1, still.columns))
        names = [
            titles[place]
            for place, titles in ((row, still.row_titles), (column, still.column_titles))
            if place < len(titles)
        ]
        name = ", ".join([*names, *([plot.title] if plot.title else [])])
        parts.append(f"Panel {index + 1}{f' ({name})' if name else ''}: {_plot(plot)}")
    return " ".join(parts)


def _plot(plot: Plot) -> str:
    if not plot.marks:
        return _sentence(plot.note or "Nothing to show yet")
    axes = [
        _axis(axis, name, axis_limits(plot, name))
        for axis, name in ((plot.x, "x"), (plot.y, "y"))
        if axis.shown
    ]
    parts = ["; ".join(axes), "; ".join(_mark(mark) for mark in plot.marks), plot.note]
    return " ".join(_sentence(part) for part in parts if part)


def _axis(axis: Axis, name: str, limits: tuple[float, float]) -> str:
    low, high = limits
    scale = ", logarithmic" if axis.scale == "log" else ""
    return f"{name} axis: {axis.title() or 'unnamed'} from {_number(low)} to {_number(high)}{scale}"


def _mark(mark: Mark) -> str:
    what = _kind(mark)
    return f"{mark.label}: {what}" if mark.label else what


def _kind(mark: Mark) -> str:
    match mark:
        case Lines():
            y = np.asarray(mark.y, dtype=float)
            y = y[np.isfinite(y)]
            if not y.size:
                return "line without values"
            ends = f"from {_number(y[0])} to {_number(y[-1])}"
            return f"{'stairs' if mark.steps else 'line'} {ends}, lowest {_number(y.min())}, highest {_number(y.max())}"
        case Ribbon():
            return "band"
        case Scatter():
            by = f" coloured by {mark.values_label}" if mark.values is not None and mark.values_label else ""
            return f"{_count(len(mark.x), 'point')}{by}"
        case VectorField():
            return _count(len(mark.x), "arrow")
        case Rule():
            return f"reference line at {mark.axis} = {_number(mark.value)}"
        case Bars():
            return f"{_count(len(mark.x), 'bar')}{_range(mark.height)}"
        case Histogram():
            return f"histogram of {_count(len(mark.counts), 'bin')}, {_number(np.nansum(mark.counts))} in all"
        case Heatmap():
            rows, columns = np.shape(mark.values)
            name = f" of {mark.values_label}" if mark.values_label else ""
            return f"heat map{name}, {rows} x {columns} cells{_range(mark.values)}"
        case ImageGrid():
            count, height, width = mark.images.shape[:3]
            return f"{_count(count, 'picture')} of {width} x {height} pixels"
        case Boxes():
            return _count(len(mark.x), "outlined box", "outlined boxes")
        case Graph():
            return f"graph of {_count(len(mark.positions), 'node')} and {_count(len(mark.edges), 'edge')}"
        case Words():
            return f"words '{' '.join(mark.words[:40])}{' ...' if len(mark.words) > 40 else ''}'"
        case Bodies():
            return _count(len(mark.outlines), "body", "bodies")
    raise TypeError(f"{type(mark).__name__} is not a mark of the vocabulary of pictures")


def _range(values: np.ndarray) -> str:
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return f" from {_number(finite.min())} to {_number(finite.max())}" if finite.size else ""


def _number(value: float) -> str:
    value = float(value)
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.3g}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if not text or text[-1] in ".!?" else text + "."


__all__ = ["alt_text"]
