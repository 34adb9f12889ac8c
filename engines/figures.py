"""The vocabulary of pictures: frozen descriptions in arrays; made in the worker, drawn anywhere, imports numpy alone.

A `Plot` is one pair of axes with marks on it; `Panels` puts plots in a grid; a `Film` is either of them along a time
axis. Two hands draw the same description: `widgets/` live with pyqtgraph and `lab/export/` with matplotlib.
Whoever makes a figure hands over fresh arrays and never writes to them again: views keep them.

Roles, not colours
------------------
A mark says what it stands for and the theme says how that looks: ``data``, ``model``, ``target`` (truth), ``hand`` (what
the user drew or set), ``warning``, ``past`` (reference, earlier), ``neutral``, or ``category-0`` .. ``category-7``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Literal

import numpy as np

ROLES = (
    *("data", "model", "target", "hand", "warning", "past", "neutral"),
    *(f"category-{i}" for i in range(8)),
)

Dash = Literal["solid", "dash", "dot"]


@dataclass(frozen=True)
class Axis:
    """One axis of a plot.

    Attributes
    ----------
    label, unit : str
        Shown as ``label (unit)``; every axis that is shown has a label.
    scale : {"linear", "log"}
    limits : (float, float) or None
        None fits the data.
    ticks : tuple of (position, text) or None
        For named positions.
    shown : bool
        False for pictures, whose axes mean nothing.
    """

    label: str = ""
    unit: str = ""
    scale: Literal["linear", "log"] = "linear"
    limits: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] | None = None
    shown: bool = True

    def title(self) -> str:
        """The axis name with its unit in brackets."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


HIDDEN = Axis(shown=False)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What every mark says of itself: the entry in the legend (none if empty), its role, and its opacity in 0..1."""

    label: str = ""
    role: str = "model"
    opacity: float = 1.0


@dataclass(frozen=True)
class Lines(Mark):
    """A curve; ``x`` and ``y`` of shape (N,). NaN in ``y`` breaks the line, so many short lines are one mark.

    ``steps`` draws a staircase: y[i] holds from x[i] to x[i + 1].
    """

    x: np.ndarray
    y: np.ndarray
    width: float = 1.5
    dash: Dash = "solid"
    points: bool = False
    steps: bool = False


@dataclass(frozen=True)
class Ribbon(Mark):
    """The area between ``low`` and ``high`` of shape (N,) over ``x`` of shape (N,): percentiles, seeds, bounds."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Scatter(Mark):
    """Points; ``x`` and ``y`` of shape (N,), ``size`` in points (1/72 in), ``values`` (N,) or None colours by magnitude."""

    x: np.ndarray
    y: np.ndarray
    size: float = 4.0
    symbol: Literal["circle", "cross", "square", "star"] = "circle"
    values: np.ndarray | None = None
    values_label: str = ""


@dataclass(frozen=True)
class VectorField(Mark):
    """Arrows from (x, y) to (x + u, y + v), in the units of the axes; all of shape (N,)."""

    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray


@dataclass(frozen=True)
class Rule(Mark):
    """A straight reference line across the plot at ``value`` of the named axis."""

    value: float
    axis: Literal["x", "y"] = "y"
    dash: Dash = "dash"
    width: float = 1.25


@dataclass(frozen=True)
class Bars(Mark):
    """Bars of ``height`` (N,) above ``base`` at ``x`` (N,), ``width`` in units of x."""

    x: np.ndarray
    height: np.ndarray
    width: float = 0.8
    base: float = 0.0


@dataclass(frozen=True)
class Histogram(Mark):
    """Counts (N,) between ``edges`` (N + 1,)."""

    edges: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Heatmap(Mark):
    """``values`` (H, W), row 0 at the bottom, over ``extent`` (x0, x1, y0, y1); NaN is transparent."""

    values: np.ndarray
    extent: tuple[float, float, float, float]
    limits: tuple[float, float] | None = None
    colors: Literal["sequential", "diverging", "role"] = "sequential"
    values_label: str = ""
    """Named on the colour bar; no colour bar when empty. ``colors="role"`` fades the role's colour in from nothing."""


@dataclass(frozen=True)
class ImageGrid(Mark):
    """Pictures in a grid, read left to right and top to bottom.

    Attributes
    ----------
    images : array
        (N, H, W) grey or (N, H, W, 3) colour, uint8, or float in 0..1 (clipped).
    columns : int
    row_labels, column_labels : tuple of str
        Drawn beside the rows and above the columns where given.
    gap : int
        Pixels (of the pictures) between neighbours.

    Notes
    -----
    In axis units the grid is drawn with one unit to a pixel, the top left corner of the first picture at (0, 0), x to
    the right and y downwards; a plot with an `ImageGrid` uses ``y_down=True`` and hides its axes.
    """

    images: np.ndarray
    columns: int = 8
    row_labels: tuple[str, ...] = ()
    column_labels: tuple[str, ...] = ()
    gap: int = 1

    def montage(self, background: int = 0) -> np.ndarray:
        """All pictures as one uint8 array (H', W', 3), the gaps filled with ``background``."""
        pictures = to_uint8(self.images)
        if pictures.ndim == 3:
            pictures = np.repeat(pictures[..., None], 3, axis=-1)
        count, height, width, _ = pictures.shape
        columns = max(1, min(self.columns, count)) if count else 1
        rows = -(-count // columns)
        step_y, step_x = height + self.gap, width + self.gap
        canvas = np.full(
            (max(rows * step_y - self.gap, 1), max(columns * step_x - self.gap, 1), 3), background, np.uint8
        )
        for index in range(count):
            row, column = divmod(index, columns)
            canvas[row * step_y : row * step_y + height, column * step_x : column * step_x + width] = (
                pictures[index]
            )
        return canvas

    def locate(self, x: float, y: float) -> tuple[int, int, int] | None:
        """(picture, row, column) of the pixel under a point in axis units; None in a gap or outside."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return None
        count, height, width = self.images.shape[:3]
        columns = max(1, min(self.columns, count))
        column, inside_x = divmod(int(np.floor(x)), width + self.gap)
        row, inside_y = divmod(int(np.floor(y)), height + self.gap)
        index = row * columns + column
        if x < 0 or y < 0 or column >= columns or inside_x >= width or inside_y >= height or index >= count:
            return None
        return index, inside_y, inside_x


@dataclass(frozen=True)
class Boxes(Mark):
    """Outlined rectangles with corner (x, y), ``width`` and ``height`` (N,) each; over an image or a plane."""

    x: np.ndarray
    y: np.ndarray
    width: np.ndarray
    height: np.ndarray
    line_width: float = 1.5


@dataclass(frozen=True)
class Graph(Mark):
    """Nodes at ``positions`` (N, 2) and ``edges`` (M, 2) of node indices; values colour them by magnitude."""

    positions: np.ndarray
    edges: np.ndarray
    node_values: np.ndarray | None = None
    edge_values: np.ndarray | None = None
    node_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Words(Mark):
    """Texts at (x, y) of shape (N,); ``weights`` (N,) in 0..1 set how strongly each is marked."""

    x: np.ndarray
    y: np.ndarray
    words: tuple[str, ...]
    weights: np.ndarray | None = None
    anchor: Literal["left", "center", "right"] = "center"


@dataclass(frozen=True)
class Bodies(Mark):
    """Filled planar outlines, each of shape (K, 2); ``roles`` colours them one by one when given."""

    outlines: tuple[np.ndarray, ...]
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plot:
    """One pair of axes with marks, drawn in order.

    Attributes
    ----------
    title : str
        The card's title on the screen; not drawn inside exported figures unless asked for.
    caption : str
        One sentence on what is shown; tooltip, alternative text and figure caption.
    equal : bool
        One unit is as long on x as on y.
    y_down : bool
        The y axis points down, as in pictures.
    legend : bool
        Show labelled marks in a legend.
    note : str
        A short remark in a corner of the plot ("t = 12 of 40"); also what an empty picture says.
    hint : str
        What the hand can do here; on the screen alone, and only where there is no note.
    """

    marks: tuple[Mark, ...] = ()
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    title: str = ""
    caption: str = ""
    equal: bool = False
    y_down: bool = False
    legend: bool = True
    note: str = ""
    hint: str = ""

    def remark(self) -> str:
        """What stands in the corner on the screen: the note, else the hint."""
        return self.note or self.hint


@dataclass(frozen=True)
class Panels:
    """Plots in a grid of ``columns``, read row by row; ``row_titles`` and ``column_titles`` are drawn at the edges."""

    plots: tuple[Plot, ...]
    columns: int
    row_titles: tuple[str, ...] = ()
    column_titles: tuple[str, ...] = ()
    title: str = ""
    caption: str = ""
    share_axes: bool = True


@dataclass(frozen=True)
class Film:
    """A figure with a time axis: ``frames[i]`` is what is seen at ``times[i]``.

    Attributes
    ----------
    frames : tuple of Plot or of Panels
        All of one structure: the same marks in the same order, so that a view only replaces arrays.
    times : array (len(frames),)
    time : Axis
        What the slider shows.
    start : int
        The frame shown first.
    """

    frames: tuple[Plot | Panels, ...]
    times: np.ndarray
    time: Axis
    title: str = ""
    caption: str = ""
    start: int = 0

    def nearest(self, time: float) -> int:
        """Index of the frame closest to a time."""
        return int(np.argmin(np.abs(np.asarray(self.times, dtype=float) - time)))


Figure = Plot | Panels | Film


@dataclass(frozen=True)
class FigureSpec:
    """A picture that an engine can compute.

    Attributes
    ----------
    name, title, help : str
        ``help`` answers "what is this?" in plain words, with the paper's figure or equation.
    cost : {"fast", "slow"}
        Fast ones (about a millisecond) keep their own cadence beside slow ones.
    """

    name: str
    title: str
    help: str
    cost: Literal["fast", "slow"] = "slow"


@dataclass(frozen=True)
class CurveSpec:
    """A picture that is drawn from the run's scalars alone, without asking the engine.

    Attributes
    ----------
    series : tuple of (scalar, label, role)
    rules : tuple of (scalar, label, role)
        Drawn as straight lines at the newest value of the scalar.
    y_label, y_unit, y_scale : str
    x_scalar, x_label : str
        A scalar that rises from step to step and stands on the x axis in place of the step: what runs of different
        settings are fairly compared over. Runs that do not report it are drawn over their steps.
    """

    name: str
    title: str
    help: str
    series: tuple[tuple[str, str, str], ...]
    y_label: str
    rules: tuple[tuple[str, str, str], ...] = ()
    y_unit: str = ""
    y_scale: Literal["linear", "log"] = "linear"
    x_scalar: str = ""
    x_label: str = ""


@dataclass(frozen=True)
class Frame:
    """A figure on its way to the person: stamped with where it comes from.

    Attributes
    ----------
    run : str
        Id of the run.
    step : int
        Updates done when it was computed.
    name : str
    figure : Figure
    """

    run: str
    step: int
    name: str
    figure: Figure


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Pictures as uint8; floats are clipped to 0..1 and scaled, NaN becomes black."""
    if images.dtype == np.uint8:
        return images
    return (np.clip(np.nan_to_num(images.astype(np.float32)), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def plots_of(figure: Figure) -> Iterator[Plot]:
    """Every plot in a figure, films frame by frame."""
    if isinstance(figure, Plot):
        yield figure
    elif isinstance(figure, Panels):
        yield from figure.plots
    else:
        for frame in figure.frames:
            yield from plots_of(frame)


def is_empty(figure: Figure) -> bool:
    """Whether a figure shows nothing: what it would show does not apply, or is not there yet."""
    return not any(plot.marks for plot in plots_of(figure))


def at(figure: Figure, frame: int | None = None) -> Plot | Panels:
    """A still of a figure: of a film the given frame (its start when None), else the figure itself."""
    if isinstance(figure, Film):
        index = figure.start if frame is None else frame
        return figure.frames[max(0, min(index, len(figure.frames) - 1))]
    return figure


def strip(film: Film, indices: Sequence[int]) -> Panels:
    """Chosen frames of a film side by side, as papers print them: one column each, without remarks.

    A column is named by its time, or by the tick that stands there.
    """
    frames = [_without_notes(film.frames[index]) for index in indices]
    names = dict(film.time.ticks or ())
    titles = tuple(
        names.get(float(film.times[index]), f"{film.time.label} = {film.times[index]:g}") for index in indices
    )
    if all(isinstance(frame, Plot) for frame in frames):
        return Panels(
            tuple(f for f in frames if isinstance(f, Plot)), len(frames), (), titles, film.title, film.caption
        )
    grids = [frame for frame in frames if isinstance(frame, Panels)]
    rows = len(grids[0].plots)
    plots = tuple(grid.plots[row] for row in range(rows) for grid in grids)
    row_titles = grids[0].column_titles or grids[0].row_titles or tuple(plot.title for plot in grids[0].plots)
    return Panels(plots, len(grids), row_titles, titles, film.title, film.caption)


def _without_notes(still: Plot | Panels) -> Plot | Panels:
    if isinstance(still, Panels):
        return replace(still, plots=tuple(replace(plot, note="") for plot in still.plots))
    return replace(still, note="")


def check(figure: Figure) -> list[str]:
    """What is wrong with a figure, a sentence each: shapes that do not fit, unknown roles, axes without names."""
    faults: list[str] = []
    for plot in plots_of(figure):
        for axis, name in ((plot.x, "x"), (plot.y, "y")):
            if axis.shown and not axis.label:
                faults.append(f"the {name} axis of '{plot.title}' has no label")
        for mark in plot.marks:
            faults += [f"{type(mark).__name__} in '{plot.title}' {fault}" for fault in _faults_of(mark)]
    if isinstance(figure, Film):
        if len(figure.frames) != len(figure.times) or not figure.frames:
            faults.append(
                f"film '{figure.title}' has {len(figure.frames)} frames and {len(figure.times)} times"
            )
        elif not 0 <= figure.start < len(figure.frames):
            faults.append(f"film '{figure.title}' starts at frame {figure.start} of {len(figure.frames)}")
        structures = {
            (type(frame), *(tuple(type(mark) for mark in plot.marks) for plot in plots_of(frame)))
            for frame in figure.frames
        }
        if len(structures) > 1:
            faults.append(f"the frames of film '{figure.title}' do not have the same marks")
    return faults


_PARALLEL = ("x", "y", "u", "v", "low", "high", "width", "height", "words", "weights", "values")
"""Fields that are as long as each other in every mark that has them as arrays."""


def _faults_of(mark: Mark) -> Iterator[str]:
    for role in (mark.role, *(mark.roles if isinstance(mark, Bodies) else ())):
        if role not in ROLES:
            yield f"has the unknown role '{role}'"
    match mark:
        case Histogram():
            if len(mark.edges) != len(mark.counts) + 1:
                yield "needs one edge more than counts"
        case Heatmap():
            if mark.values.ndim != 2:
                yield f"has values of shape {mark.values.shape}"
        case ImageGrid():
            if mark.images.ndim not in (3, 4) or (mark.images.ndim == 4 and mark.images.shape[3] != 3):
                yield f"has images of shape {mark.images.shape}"
        case Graph():
            nodes = len(mark.positions)
            if mark.positions.shape != (nodes, 2) or mark.edges.shape != (len(mark.edges), 2):
                yield f"has positions of shape {mark.positions.shape} and edges of shape {mark.edges.shape}"
            elif mark.edges.size and not 0 <= mark.edges.min() <= mark.edges.max() < nodes:
                yield f"has an edge to a node that is not among its {nodes}"
            if mark.node_values is not None and len(mark.node_values) != nodes:
                yield f"has {len(mark.node_values)} values for {nodes} nodes"
            if mark.edge_values is not None and len(mark.edge_values) != len(mark.edges):
                yield f"has {len(mark.edge_values)} values for {len(mark.edges)} edges"
            if mark.node_labels and len(mark.node_labels) != nodes:
                yield f"has {len(mark.node_labels)} labels for {nodes} nodes"
        case Bodies():
            if any(outline.shape != (len(outline), 2) for outline in mark.outlines):
                yield f"has outlines of shapes {[outline.shape for outline in mark.outlines]}"
            if mark.roles and len(mark.roles) != len(mark.outlines):
                yield f"has {len(mark.roles)} roles for {len(mark.outlines)} outlines"
        case _:
            lengths = {
                name: len(value)
                for name in _PARALLEL
                if isinstance(value := getattr(mark, name, None), np.ndarray | tuple)
            }
            if len(set(lengths.values())) > 1:
                yield f"has arrays of different lengths: {lengths}"


def arrays_of(value: object, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every array in a figure with a dotted name, for export as data."""
    if isinstance(value, np.ndarray):
        yield prefix, value
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from arrays_of(part, f"{prefix}.{index}" if prefix else str(index))
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from arrays_of(getattr(value, part.name), f"{prefix}.{part.name}" if prefix else part.name)


def with_title(figure: Figure, title: str) -> Figure:
    """The same figure under another title."""
    return replace(figure, title=title)
