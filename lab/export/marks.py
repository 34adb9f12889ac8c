"""Draws each mark of the vocabulary of pictures on matplotlib's axes; any thread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.figures import (
    Bars,
    Bodies,
    Boxes,
    Graph,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Mark,
    Plot,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
    Words,
    to_uint8,
)
from lab.export.inks import Inks
from lab.export.limits import Ranges, value_limits
from lab.export.parameters import RASTER_DPI

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.text import Text

RASTER_ITEMS = 5000
"""Marks with more points, arrows or edges than this become pixels inside vector files."""

_MOST_CELLS = 4096
"""Pixels to a side up to which coarse pictures are enlarged in vector files."""

SYMBOLS = {"circle": "o", "cross": "x", "square": "s", "star": "*"}
_DASHES: dict[str, Any] = {"solid": "-", "dash": (0, (4.0, 2.0)), "dot": (0, (1.0, 1.6))}


@dataclass(frozen=True)
class ColorBar:
    """A colour bar that a plot needs."""

    index: int
    label: str
    mappable: ScalarMappable
    key: tuple[Any, ...]


class Painter:
    """Draws the marks of one plot, in order."""

    def __init__(self, axes: Axes, plot: Plot, index: int, inks: Inks, ranges: Ranges) -> None:
        self.axes, self.plot, self.index = axes, plot, index
        self.inks, self.ranges = inks, ranges
        self.style, self.color = inks.style, inks.color
        self.bars: list[ColorBar] = []
        self.crowded: list[Sequence[Text]] = []
        self.order = 2.0

    def paint(self) -> None:
        for number, mark in enumerate(self.plot.marks):
            self.order = 2.0 + 0.01 * number
            match mark:
                case Lines():
                    self._lines(mark)
                case Ribbon():
                    self._ribbon(mark)
                case Scatter():
                    self._scatter(mark, number)
                case VectorField():
                    self._vector_field(mark)
                case Rule():
                    self._rule(mark)
                case Bars():
                    self._bars(mark)
                case Histogram():
                    self._histogram(mark)
                case Heatmap():
                    self._heatmap(mark, number)
                case ImageGrid():
                    self._image_grid(mark)
                case Boxes():
                    self._boxes(mark)
                case Graph():
                    self._graph(mark, number)
                case Words():
                    self._words(mark)
                case Bodies():
                    self._bodies(mark)
                case _:
                    raise TypeError(f"{type(mark).__name__} is not a mark of the vocabulary of pictures")

    def _norm(self, mark: Mark, number: int, part: str = "values") -> Any:
        from matplotlib.colors import Normalize

        own = isinstance(mark, Heatmap) and mark.limits is not None
        shared = self.ranges.values.get((self.index, number, part))
        limits = value_limits(mark, part) if own or shared is None else shared
        assert limits is not None
        return Normalize(*limits)

    def _add_bar(self, label: str, cmap: Any, norm: Any, key: str) -> None:
        from matplotlib.cm import ScalarMappable

        if label:
            mappable = ScalarMappable(norm=norm, cmap=cmap)
            self.bars.append(ColorBar(self.index, label, mappable, (label, key, norm.vmin, norm.vmax)))

    def _lines(self, mark: Lines) -> None:
        style = self.style
        x, y = floats(mark.x), floats(mark.y)
        if not np.isfinite(y).any():
            return
        many = mark.points and x.size > RASTER_ITEMS
        # A point between two gaps is a line of no length: shown as a dot, or it would vanish.
        alone = isolated(y) if not mark.points else np.zeros(0, dtype=int)
        color, width = self.color(mark.role, mark.opacity), style.line_width(mark.width)
        self.axes.plot(
            x,
            y,
            color=color,
            lw=width,
            ls=_DASHES[self.inks.dash(mark.role, mark.dash)],
            marker="o" if mark.points else "",
            ms=max(style.marker_size(3.0), 2.0 * width),
            mew=0.0,
            drawstyle="steps-post" if mark.steps else "default",
            solid_joinstyle="round",
            dash_capstyle="butt",
            zorder=self.order,
            rasterized=many or None,
        )
        if alone.size:
            self.axes.plot(x[alone], y[alone], "o", color=color, ms=1.6 * width, mew=0.0, zorder=self.order)

    def _ribbon(self, mark: Ribbon) -> None:
        self.axes.fill_between(
            floats(mark.x),
            floats(mark.low),
            floats(mark.high),
            facecolor=self.color(mark.role, fill_opacity(mark)),
            edgecolor="none",
            lw=0.0,
            zorder=self.order,
        )

    def _scatter(self, mark: Scatter, number: int) -> None:
        style = self.style
        x, y = floats(mark.x), floats(mark.y)
        values = None if mark.values is None else floats(mark.values)
        stroke = mark.symbol == "cross"
        look: dict[str, Any] = {"color": [self.color(mark.role, mark.opacity)]}
        if values is not None:
            cmap, norm = self.inks.colormap("sequential", opacity=mark.opacity), self._norm(mark, number)
            look = {"c": values, "cmap": cmap, "norm": norm}
            self._add_bar(mark.values_label, cmap, norm, "sequential")
        self.axes.scatter(
            x,
            y,
            s=style.marker_size(mark.size) ** 2,
            marker=SYMBOLS[mark.symbol],
            linewidths=style.line_width(1.0) if stroke else 0.0,
            zorder=self.order,
            rasterized=x.size > RASTER_ITEMS or None,
            **look,
        )

    def _vector_field(self, mark: VectorField) -> None:
        x, y, u, v = (floats(part) for part in (mark.x, mark.y, mark.u, mark.v))
        fine = np.isfinite(x) & np.isfinite(y) & np.isfinite(u) & np.isfinite(v)
        if not fine.any():
            return
        self.axes.quiver(
            x[fine],
            y[fine],
            u[fine],
            v[fine],
            angles="xy",
            scale_units="xy",
            scale=1.0,
            units="inches",
            width=self.style.line_width(1.25) / 72.0,
            headwidth=4.0,
            headlength=4.5,
            headaxislength=4.0,
            minlength=0.6,
            color=self.color(mark.role, mark.opacity),
            zorder=self.order,
            rasterized=x.size > RASTER_ITEMS or None,
        )

    def _rule(self, mark: Rule) -> None:
        if not np.isfinite(mark.value):
            return
        line = self.axes.axhline if mark.axis == "y" else self.axes.axvline
        line(
            mark.value,
            color=self.color(mark.role, mark.opacity),
            lw=self.style.line_width(mark.width),
            ls=_DASHES[mark.dash],
            zorder=self.order,
        )

    def _bars(self, mark: Bars) -> None:
        x, height = floats(mark.x), floats(mark.height)
        fine = np.isfinite(x) & np.isfinite(height)
        left, right = x[fine] - mark.width / 2, x[fine] + mark.width / 2
        foot, top = np.full(left.shape, mark.base), mark.base + height[fine]
        if self.plot.y.scale == "log":
            foot = np.maximum(foot, self.axes.get_ylim()[0] / 10.0)
        self._polygons(
            left, right, foot, top, facecolors=[self.color(mark.role, 0.9 * mark.opacity)], edgecolors="none"
        )

    def _histogram(self, mark: Histogram) -> None:
        edges, counts = floats(mark.edges), np.nan_to_num(floats(mark.counts))
        if not counts.size:
            return
        low = min(self.axes.get_ylim())
        foot = low / 10.0 if self.plot.y.scale == "log" else 0.0
        x = np.repeat(edges, 2)[1:-1]
        y = np.maximum(np.repeat(counts, 2), foot) if self.plot.y.scale == "log" else np.repeat(counts, 2)
        fill = self.color(mark.role, fill_opacity(mark))
        self.axes.fill_between(x, foot, y, facecolor=fill, edgecolor="none", lw=0.0, zorder=self.order)
        self.axes.plot(
            np.concatenate([x[:1], x, x[-1:]]),
            np.concatenate([[foot], y, [foot]]),
            color=self.color(mark.role, mark.opacity),
            lw=self.style.line_width(1.25),
            ls=_DASHES[self.inks.dash(mark.role, "solid")],
            solid_joinstyle="miter",
            zorder=self.order,
        )

    def _heatmap(self, mark: Heatmap, number: int) -> None:
        values = np.ma.masked_invalid(np.asarray(mark.values, dtype=float))
        if values.ndim != 2 or not values.size:
            return
        cmap = self.inks.colormap(mark.colors, mark.role, mark.opacity)
        norm = self._norm(mark, number)
        x0, x1, y0, y1 = mark.extent
        if "log" in (self.plot.x.scale, self.plot.y.scale):
            rows, columns = values.shape
            mesh = self.axes.pcolormesh(
                np.linspace(x0, x1, columns + 1),
                np.linspace(y0, y1, rows + 1),
                values,
                cmap=cmap,
                norm=norm,
                zorder=self.order,
            )
            mesh.set_rasterized(True)
        else:
            self._picture(values, mark.extent, "lower", cmap=cmap, norm=norm)
        self._add_bar(mark.values_label, cmap, norm, f"{mark.colors} {mark.role}")

    def _image_grid(self, mark: ImageGrid) -> None:
        from matplotlib.colors import to_rgb

        if not len(mark.images):
            return
        montage = mark.montage()
        covered = (
            replace(mark, images=np.full(mark.images.shape[:3], 255, dtype=np.uint8)).montage()[..., :1] > 0
        )
        ground = np.array(to_rgb(self.inks.colors.background))
        shown = np.where(covered, montage / 255.0 * mark.opacity + ground * (1.0 - mark.opacity), ground)
        rows, columns = montage.shape[:2]
        self._picture(to_uint8(shown), (0, columns, rows, 0), "upper")
        height, width = mark.images.shape[1:3]
        look: dict[str, Any] = {"fontsize": self.style.small_size, "color": self.inks.colors.text}
        gap = 0.4 * self.style.small_size
        sides = (
            (mark.row_labels, rows, height + mark.gap, height, (-gap, 0.0), "right", "center"),
            (mark.column_labels, columns, width + mark.gap, width, (0.0, gap), "center", "bottom"),
        )
        for labels, extent, step, size, offset, across, up in sides:
            texts = []
            for index, label in enumerate(labels[: -(-extent // step)]):
                middle = index * step + size / 2
                place = (0.0, middle) if across == "right" else (middle, 0.0)
                texts.append(
                    self.axes.annotate(
                        plain(label), place, offset, textcoords="offset points", ha=across, va=up, **look
                    )
                )
            if texts:
                self.crowded.append(texts)

    def _picture(
        self, cells: np.ndarray, extent: tuple[float, float, float, float], origin: Any, **look: Any
    ) -> None:
        """Draw an array of cells; in vector files as it is, which is small and exact, but not coarser than 300 dpi."""
        (x0, x1), (y0, y1) = self.axes.get_xlim(), self.axes.get_ylim()
        place = self.axes.get_position(original=True)
        inches = self.style.width_in * place.width * abs((extent[1] - extent[0]) / (x1 - x0))
        tall = self.axes.figure.get_figheight() * place.height * abs((extent[3] - extent[2]) / (y1 - y0))  # type: ignore[union-attr]
        density = min(cells.shape[1] / max(inches, 0.1), cells.shape[0] / max(tall, 0.1))
        how: Any = "auto"
        if self.inks.medium != "raster" and density <= 1.5 * RASTER_DPI:
            how = "none"
            if self.inks.medium == "vector":
                # Viewers smooth what is enlarged; repeated cells stay sharp, and cost next to nothing once compressed.
                # The layout, which comes later, can make the axes larger.
                times = math.ceil(1.3 * RASTER_DPI / density)
                times = max(1, min(times, _MOST_CELLS // max(cells.shape[:2])))
                cells = cells.repeat(times, axis=0).repeat(times, axis=1)
        self.axes.imshow(
            cells,
            extent=extent,
            origin=origin,
            aspect="auto",
            interpolation=how,
            zorder=self.order,
            **look,
        )

    def _boxes(self, mark: Boxes) -> None:
        x, y, width, height = (floats(part) for part in (mark.x, mark.y, mark.width, mark.height))
        color = self.color(mark.role, mark.opacity)
        line = self.style.line_width(mark.line_width)
        self._polygons(x, x + width, y, y + height, facecolors="none", edgecolors=[color], linewidths=line)

    def _polygons(self, left: Any, right: Any, low: Any, high: Any, **look: Any) -> None:
        from matplotlib.collections import PolyCollection

        corners = np.stack([left, low, right, low, right, high, left, high], axis=-1).reshape(-1, 4, 2)
        corners = corners[np.isfinite(corners).all(axis=(1, 2))]
        polygons = PolyCollection(list(corners), zorder=self.order, joinstyle="miter", **look)
        polygons.set_rasterized(len(corners) > RASTER_ITEMS)
        self.axes.add_collection(polygons, autolim=False)

    def _graph(self, mark: Graph, number: int) -> None:
        from matplotlib.collections import LineCollection

        style = self.style
        positions = floats(mark.positions).reshape(-1, 2)
        edges = np.asarray(mark.edges, dtype=int).reshape(-1, 2)
        many = max(len(positions), len(edges)) > RASTER_ITEMS or None
        coloured = mark.edge_values is not None and len(edges) > 0
        lines = LineCollection(
            list(positions[edges]),
            linewidths=style.line_width(1.0),
            colors=None if coloured else [self.color("past", 0.7 * mark.opacity)],
            zorder=self.order,
            capstyle="round",
            rasterized=many,
        )
        if coloured:
            lines.set(
                array=floats(mark.edge_values),
                cmap=self.inks.colormap("sequential", opacity=mark.opacity),
                norm=self._norm(mark, number, "edges"),
            )
        self.axes.add_collection(lines, autolim=False)
        look: dict[str, Any] = {"color": [self.color(mark.role, mark.opacity)]}
        if mark.node_values is not None:
            cmap = self.inks.colormap("sequential", opacity=mark.opacity)
            look = {"c": floats(mark.node_values), "cmap": cmap, "norm": self._norm(mark, number)}
        size = style.marker_size(6.0)
        self.axes.scatter(
            positions[:, 0],
            positions[:, 1],
            s=size**2,
            edgecolors=[self.color("background")],
            linewidths=style.line_width(0.8),
            zorder=self.order + 0.001,
            rasterized=many,
            **look,
        )
        texts = [
            self.axes.annotate(
                plain(name),
                (x, y),
                (0.0, 0.7 * size),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=style.small_size,
                bbox={
                    "boxstyle": "square,pad=0.05",
                    "facecolor": self.color("background", 0.7),
                    "edgecolor": "none",
                },
                zorder=self.order + 0.002,
            )
            for name, (x, y) in zip(mark.node_labels, positions, strict=False)
            if name
        ]
        if texts:
            self.crowded.append(texts)

    def _words(self, mark: Words) -> None:
        style = self.style
        x, y = floats(mark.x), floats(mark.y)
        weights = np.zeros(len(x))
        if mark.weights is not None:
            weights = np.clip(np.nan_to_num(floats(mark.weights)), 0.0, 1.0)
        color = self.color("text", mark.opacity)
        texts = []
        for index, word in enumerate(mark.words):
            if not np.isfinite(x[index] + y[index]):
                continue
            box = None
            if weights[index] > 0:
                # Never so strong that the word cannot be read on it.
                fill = self.color(mark.role, 0.65 * float(weights[index]) * mark.opacity)
                box = {"boxstyle": "round,pad=0.18", "facecolor": fill, "edgecolor": "none"}
            texts.append(
                self.axes.text(
                    x[index],
                    y[index],
                    plain(word),
                    color=color,
                    ha=mark.anchor,
                    va="center",
                    fontsize=style.font_size,
                    bbox=box,
                    zorder=self.order,
                )
            )
        if texts:
            self.crowded.append(texts)

    def _bodies(self, mark: Bodies) -> None:
        from matplotlib.collections import PolyCollection

        outlines = [floats(outline).reshape(-1, 2) for outline in mark.outlines]
        roles = [mark.roles[i] if i < len(mark.roles) else mark.role for i in range(len(outlines))]
        bodies = PolyCollection(
            outlines,
            facecolors=[self.color(role, mark.opacity) for role in roles],
            edgecolors=[self.color("background")],
            linewidths=self.style.line_width(0.8),
            zorder=self.order,
            joinstyle="round",
        )
        bodies.set_rasterized(len(outlines) > RASTER_ITEMS)
        self.axes.add_collection(bodies, autolim=False)


def legend_handle(mark: Mark, inks: Inks) -> Artist | None:
    """How a mark looks in the legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    style, color = inks.style, inks.color(mark.role, mark.opacity)
    match mark:
        case Lines():
            width = style.line_width(mark.width)
            dash = _DASHES[inks.dash(mark.role, mark.dash)]
            marker = "o" if mark.points else ""
            return Line2D([], [], color=color, lw=width, ls=dash, marker=marker, ms=style.marker_size(3.0))
        case Rule():
            return Line2D([], [], color=color, lw=style.line_width(mark.width), ls=_DASHES[mark.dash])
        case VectorField():
            return Line2D(
                [], [], color=color, lw=style.line_width(1.5), marker=">", ms=style.marker_size(4.0)
            )
        case Scatter():
            size = style.marker_size(min(max(mark.size, 3.0), 8.0))
            symbol = SYMBOLS[mark.symbol]
            return Line2D([], [], color=color, ls="", marker=symbol, ms=size, mew=style.line_width(1.0))
        case Graph():
            return Line2D(
                [], [], color=color, lw=style.line_width(1.0), marker="o", ms=style.marker_size(5.0)
            )
        case Boxes():
            return Patch(facecolor="none", edgecolor=color, lw=style.line_width(mark.line_width))
        case Ribbon() | Histogram():
            return Patch(facecolor=inks.color(mark.role, fill_opacity(mark)), edgecolor="none")
        case Bars() | Bodies() | Words():
            return Patch(facecolor=color, edgecolor="none")
        case Heatmap() if mark.colors == "role":
            return Patch(facecolor=color, edgecolor="none")
    return None


def floats(values: Any) -> np.ndarray:
    """An array of its own in which what cannot be drawn is NaN."""
    array = np.array(values, dtype=float)
    array[~np.isfinite(array)] = np.nan
    return array


def isolated(y: np.ndarray) -> np.ndarray:
    """Indices of finite values with a gap on either side."""
    fine = np.concatenate([[False], np.isfinite(y), [False]])
    return np.flatnonzero(fine[1:-1] & ~fine[:-2] & ~fine[2:])


def fill_opacity(mark: Mark) -> float:
    """Areas let what is behind them be seen, as on the screen."""
    return (0.22 if isinstance(mark, Ribbon) else 0.30) * mark.opacity


def plain(text: str) -> str:
    """Text in which a dollar sign is one: names come from data and settings and are not mathtext."""
    return str(text).replace("$", r"\$")


__all__ = [
    "RASTER_ITEMS",
    "SYMBOLS",
    "ColorBar",
    "Painter",
    "fill_opacity",
    "floats",
    "isolated",
    "legend_handle",
    "plain",
]
