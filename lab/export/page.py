"""Lays out plots on a page: axes, names, titles, legends and colour bars, at exactly the size asked for; any thread."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.figures import Axis, Heatmap, ImageGrid, Panels, Plot
from lab.export.errors import ExportError
from lab.export.inks import Inks, Medium
from lab.export.limits import Limits, Ranges, axis_limits, sharing
from lab.export.marks import RASTER_ITEMS, ColorBar, Painter, legend_handle, plain
from lab.export.parameters import drawing
from lab.export.style import SMALLEST_TEXT, Style
from lab.export.ticks import numbers

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Page
    from matplotlib.text import Text

_TALLEST = 9.5
_SHAPE = 0.62
"""Height over width of axes whose shape is free."""

_MOST_INSIDE = 5
"""Entries of a legend beyond which it stands below the plot rather than on it."""

NOTE_GAP = 0.4
"""Above and below a note between plot and title, in its font size."""


@dataclass
class Arrangement:
    """What the layout of one drawing found, for others of the same structure: the frames of a film must not jitter.

    Attributes
    ----------
    size : (float, float)
        Inches.
    places : list of Bbox
        Of each pair of axes, colour bars included.
    turned : set of int
        Numbers of the axes whose named x ticks are turned, to fit.
    scales : dict of int to float
        Factors of text sizes, by the number of the text in the figure's crowded texts.
    header : (float, str)
        Height at which the header stands, and which side of it is there.
    legends : dict of int to (float, float)
        Lower left corners of the legends inside axes, by the number of the axes and in parts of their size.
    """

    size: tuple[float, float]
    places: list[Any] = field(default_factory=list)
    turned: set[int] = field(default_factory=set)
    scales: dict[int, float] = field(default_factory=dict)
    header: tuple[float, str] = (0.98, "top")
    legends: dict[int, tuple[float, float]] = field(default_factory=dict)


def compose(
    still: Plot | Panels,
    ranges: Ranges,
    style: Style,
    *,
    header: str = "",
    medium: Medium = "raster",
    arrangement: Arrangement | None = None,
) -> tuple[Page, Arrangement]:
    """Draw a plot or panels with given limits; with an ``arrangement``, in exactly the places of an earlier drawing.

    Raises
    ------
    ExportError
        If the font is not installed, or the page is too small.
    """
    with drawing(style), warnings.catch_warnings():
        warnings.filterwarnings("error", message="constrained_layout not applied")
        try:
            return _Composer(still, ranges, style, header, medium).composed(arrangement)
        except UserWarning as warning:
            raise ExportError(
                f"A figure of {style.width_in:g} in with text of {style.font_size:g} pt has no room left for its plots; make "
                "it larger or its text smaller."
            ) from warning


class _Composer:
    """One drawing: a page, its axes, and what stands beside them."""

    def __init__(
        self, still: Plot | Panels, ranges: Ranges, style: Style, header: str, medium: Medium
    ) -> None:
        from matplotlib.figure import Figure as Page

        self.still, self.ranges, self.style = still, ranges, style
        self.inks = Inks(style, medium)
        self.colors = self.inks.colors
        self.pad = 0.4 * style.font_size / 72.0
        self.panels = still if isinstance(still, Panels) else None
        self.plots = still.plots if isinstance(still, Panels) else (still,)
        self.columns = max(1, min(still.columns, len(self.plots))) if isinstance(still, Panels) else 1
        self.rows = max(1, -(-len(self.plots) // self.columns))
        self.pictures = bool(self.plots) and all(_keeps_shape(plot) for plot in self.plots)
        self.natural = style.height_in is None and style.aspect is None
        self.crowded: list[Sequence[Text]] = []
        self.page: Page = Page(figsize=self._first_size(), dpi=style.dpi)
        self.axes: list[Axes] = []
        self.header: Text | None = None
        self._fill(header)

    # -- size

    def _first_size(self) -> tuple[float, float]:
        style, width = self.style, self.style.width_in
        if style.height_in is not None:
            return width, style.height_in
        if style.aspect is not None:
            return width, width / style.aspect
        # Only a first guess: `_fit` finds the height once it is known how much room the texts take.
        texts = 0.12 * style.font_size * (1 + self.rows)
        cell = width / self.columns
        return width, min(texts + sum(self._row_shape(row) for row in range(self.rows)) * cell, 50.0)

    def _row_shape(self, row: int) -> float:
        """Height over width that suits the plots of a row."""
        shapes = [
            self._shape(index) if _keeps_shape(self.plots[index]) else _SHAPE for index in self._row(row)
        ]
        # Beside curves, what keeps its shape has to make do with the room there is.
        return max(shapes) if self.pictures else min(max(shapes), 1.1)

    def _row(self, row: int) -> range:
        return range(row * self.columns, min((row + 1) * self.columns, len(self.plots)))

    def _shape(self, index: int) -> float:
        """Height over width of what a plot shows."""
        (x0, x1), (y0, y1) = self._limits(index, "x"), self._limits(index, "y")
        return min(max((y1 - y0) / (x1 - x0), 0.05), 20.0)

    def _limits(self, index: int, axis: str) -> Limits:
        plot = self.plots[index]
        own = plot.x if axis == "x" else plot.y
        shared = self.ranges.x if axis == "x" else self.ranges.y
        # An axis that a figure fixes itself may move from frame to frame: a camera that follows.
        if own.limits is not None or index not in shared:
            return axis_limits(plot, axis)
        return shared[index]

    # -- content

    def _fill(self, header: str) -> None:
        style = self.style
        heights = [self._row_shape(row) for row in range(self.rows)]
        grid = self.page.add_gridspec(self.rows, self.columns, height_ratios=heights)
        bars: list[ColorBar] = []
        for index, plot in enumerate(self.plots):
            axes = self.page.add_subplot(grid[divmod(index, self.columns)])
            self.axes.append(axes)
            x, y = self._limits(index, "x"), self._limits(index, "y")
            painter = Painter(axes, plot, index, self.inks, self.ranges)
            _set_up(axes, plot, x, y, style.width_in / self.columns)
            painter.paint()
            _set_limits(axes, plot, x, y)
            bars += painter.bars
            self.crowded += painter.crowded
        self._name_axes()
        self._add_titles(header)
        if style.legend:
            self._add_legends()
        self._add_colorbars(bars)

    def _name_axes(self) -> None:
        """Axis names and numbers; panels that share an axis say it once, at the edge."""
        x_groups, y_groups = sharing(self.panels) if self.panels else ({}, {})
        for index, (axes, plot) in enumerate(zip(self.axes, self.plots, strict=True)):
            below, left = index + self.columns, index - 1
            x_said = index in x_groups and below < len(self.plots) and x_groups[index] == x_groups.get(below)
            y_said = index in y_groups and index % self.columns and y_groups[index] == y_groups.get(left)
            if plot.x.shown:
                axes.tick_params(axis="x", which="both", labelbottom=not x_said)
                axes.set_xlabel("" if x_said else plain(plot.x.title()))
            if plot.y.shown:
                axes.tick_params(axis="y", which="both", labelleft=not y_said)
                axes.set_ylabel("" if y_said else plain(plot.y.title()))

    def _add_titles(self, header: str) -> None:
        style = self.style
        panels = self.panels
        if style.title and self.still.title:
            header = f"{self.still.title}   {header}".strip()
        if header:
            self.header = self.page.suptitle(plain(header), x=self.pad / style.width_in, ha="left")
        edges = panels is not None and (panels.row_titles or panels.column_titles)
        for index, (axes, plot) in enumerate(zip(self.axes, self.plots, strict=True)):
            title = ""
            if panels is not None:
                row, column = divmod(index, self.columns)
                if row == 0 and column < len(panels.column_titles):
                    title = panels.column_titles[column]
                elif not edges:
                    title = plot.title
                if column == 0 and row < len(panels.row_titles):
                    name = axes.get_ylabel()
                    axes.set_ylabel(plain(panels.row_titles[row]) + (f"\n{name}" if name else ""))
            if title:
                axes.set_title(plain(title))
            if plot.note and (style.notes or not plot.marks):
                self._add_note(axes, plot, bool(title))

    def _add_note(self, axes: Axes, plot: Plot, titled: bool) -> None:
        look: dict[str, Any] = {"fontsize": self.style.small_size, "color": self.colors.muted}
        note = note_of(plot, self.style, self.columns)
        if not plot.marks:
            axes.text(
                0.5,
                0.5,
                note,
                transform=axes.transAxes,
                ha="center",
                va="center",
                **look,
            )
        elif not plot.x.shown:
            axes.set_xlabel(note, loc="right", **look)
        elif titled:
            # Between the title and the plot, where it lies on nothing, and no legend on it.
            axes.set_title(axes.get_title(), pad=note_room(note) * self.style.small_size)
            axes.annotate(
                note,
                (0.5, 1.0),
                (0.0, NOTE_GAP * self.style.small_size),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="center",
                va="bottom",
                annotation_clip=False,
                **look,
            )
        else:
            axes.set_title(note, loc="right", **look)

    def _add_legends(self) -> None:
        """Legends inside the axes where there is room, and one below everything for pictures and shared entries."""
        entries = [
            {
                (type(mark).__name__, mark.role, mark.label): handle
                for mark in plot.marks
                if plot.legend and mark.label and (handle := legend_handle(mark, self.inks)) is not None
            }
            for plot in self.plots
        ]
        style = self.style
        named = [own for own in entries if own]
        if not named:
            return
        longest = max(named, key=len)
        shared = len(named) > 1 and all(own.keys() <= longest.keys() for own in named)
        room = 0.5 * style.width_in / self.columns
        tight = len(longest) > _MOST_INSIDE or max(self._entry_width(own) for own in named) > room
        if self.pictures or shared or tight:
            self._add_legend_below({key: handle for own in named for key, handle in own.items()})
            return
        for axes, plot, own in zip(self.axes, self.plots, entries, strict=True):
            if own:
                many = sum(np.size(getattr(mark, "x", ())) for mark in plot.marks) > 4 * RASTER_ITEMS
                legend = axes.legend(
                    list(own.values()),
                    [plain(key[2]) for key in own],
                    loc="upper right" if many else "best",
                    framealpha=1.0 if self.inks.opaque else None,
                )
                legend.set_zorder(6)

    def _entry_width(self, entries: dict[tuple[str, str, str], Artist]) -> float:
        """Inches that the longest entry of a legend takes, roughly."""
        return self.style.small_size * (0.6 * max(len(key[2]) for key in entries) + 3.5) / 72.0

    def _add_legend_below(self, entries: dict[tuple[str, str, str], Artist]) -> None:
        style = self.style
        columns = max(1, min(len(entries), int(style.width_in / self._entry_width(entries))))
        # As even as possible: 4 + 4 rather than 5 + 3.
        rows = -(-len(entries) // columns)
        self.page.legend(
            list(entries.values()),
            [plain(key[2]) for key in entries],
            loc="outside lower center",
            ncols=-(-len(entries) // rows),
            # The layout leaves room for it, and it would stand on the very edge of the page.
            borderaxespad=0.25,
            borderpad=0.1,
            framealpha=1.0,
        )

    def _add_colorbars(self, bars: list[ColorBar]) -> None:
        """A colour bar beside each plot that names its values, or one for all panels where it is the same for all."""
        style = self.style
        one = {bar.key for bar in bars}
        if self.panels is not None and len(self.plots) > 1 and len(one) == 1 and len(bars) == len(self.plots):
            bar = bars[0]
            shared = self.page.colorbar(
                bar.mappable, ax=self.axes, aspect=16 * self.rows, pad=0.02, fraction=0.06
            )
            self._finish_colorbar(shared, bar.label)
            return
        beside: dict[int, int] = {}
        for bar in bars:
            place = beside.setdefault(bar.index, 0)
            beside[bar.index] += 1
            axes = self.axes[bar.index]
            width = min(0.06, 0.9 * style.font_size / 72.0 / (style.width_in / self.columns))
            inset = axes.inset_axes((1.0 + width + place * (6.0 * width + 0.12), 0.0, width, 1.0))
            self._finish_colorbar(self.page.colorbar(bar.mappable, cax=inset), bar.label)

    def _finish_colorbar(self, bar: Any, label: str) -> None:
        bar.ax.yaxis.set_major_formatter(numbers())
        bar.set_label(plain(label), size=self.style.font_size)
        bar.outline.set_linewidth(self.style.line_width(0.8))
        bar.outline.set_edgecolor(self.colors.axis)
        bar.ax.tick_params(labelsize=self.style.small_size)
        if bar.solids is not None:
            bar.solids.set_rasterized(True)
            bar.solids.set_edgecolor("face")

    # -- layout

    def composed(self, arrangement: Arrangement | None) -> tuple[Page, Arrangement]:
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        page = self.page
        if arrangement is None:
            page.set_layout_engine(
                ConstrainedLayoutEngine(
                    w_pad=self.pad, h_pad=self.pad, wspace=0.02, hspace=0.02, compress=self.pictures
                )
            )
            _lay_out(page)
            if self.natural:
                self._fit()
            arrangement = Arrangement((0.0, 0.0))
            if self._untangle(arrangement):
                _lay_out(page)
                if self.natural:
                    self._fit()
            page.set_layout_engine("none")
            arrangement.size = float(page.get_figwidth()), float(page.get_figheight())
            arrangement.places = [axes.get_position(original=True).frozen() for axes in page.axes]
            if self.header is not None:
                # Its foot for pictures, its head for others: the layout of either kind sets it differently.
                arrangement.header = float(self.header.get_position()[1]), self.header.get_verticalalignment()
            for index, axes in enumerate(self.axes):
                if (legend := axes.get_legend()) is not None:
                    left, low = axes.transAxes.inverted().transform(legend.get_window_extent().p0)
                    arrangement.legends[index] = float(left), float(low)
        else:
            page.set_size_inches(*arrangement.size)
            for axes, place in zip(page.axes, arrangement.places, strict=False):
                axes.set_position(place)
            for index, corner in arrangement.legends.items():
                if (legend := self.axes[index].get_legend()) is not None:
                    legend.set(loc=corner)
            for index in arrangement.turned:
                _turn(self.axes[index])
            for index, scale in arrangement.scales.items():
                if index < len(self.crowded):
                    _rescale(self.crowded[index], scale)
            if self.header is not None:
                height, side = arrangement.header
                self.header.set(y=height, va=side)
            _lay_out(page)
        if self.inks.medium == "raster":
            # Whole pixels: matplotlib would cut off what is left of the last one.
            width, height = page.get_size_inches()
            page.set_size_inches(_whole(width, page.dpi), _whole(height, page.dpi))
        if self.style.text == "outlines":
            _outline_texts(page)
        return page, arrangement

    def _fit(self) -> None:
        """Choose the height of the page by what stands on it, now that its width has been shared out."""
        if self.pictures:
            self._cut()
            return
        for _ in range(2):
            width, height = self.page.get_size_inches()
            places = [axes.get_position(original=True) for axes in self.axes]
            for row in range(self.rows):
                cells = [places[index] for index in self._row(row)]
                wide, high = min(cell.width for cell in cells), min(cell.height for cell in cells)
                height += self._row_shape(row) * wide * width - high * self.page.get_size_inches()[1]
            if not self._resize(height):
                break

    def _cut(self) -> None:
        """Make the page as tall as pictures that fill its width."""
        from matplotlib.transforms import Bbox

        page = self.page
        for _ in range(2):
            boxes = [box for axes in page.axes if (box := axes.get_tightbbox()) is not None]
            height = Bbox.union(boxes).height / page.dpi + 2 * self.pad
            for extra in (self.header, *page.legends):
                if extra is not None:
                    height += extra.get_window_extent().height / page.dpi + 2 * self.pad
            if not self._resize(height):
                break

    def _resize(self, height: float) -> bool:
        """Give the page a height and lay it out again, unless it has that height; whether it did."""
        width = self.style.width_in
        # A square across a whole page is more than any one plot needs.
        tallest = max(1.25 * min(width, 3.5), 0.7 * width) if self.panels is None else max(_TALLEST, width)
        height = min(max(height, 0.5), tallest)
        if abs(height - self.page.get_figheight()) < 0.01:
            return False
        self.page.set_size_inches(width, height)
        _lay_out(self.page)
        return True

    def _untangle(self, arrangement: Arrangement) -> bool:
        """Turn tick names and shrink texts that run into each other; whether any did."""
        changed = False
        for index, (axes, plot) in enumerate(zip(self.axes, self.plots, strict=True)):
            if (
                plot.x.shown
                and plot.x.ticks
                and _collide([t for t in axes.get_xticklabels() if t.get_visible()])
            ):
                _turn(axes)
                arrangement.turned.add(index)
                changed = True
        for index, texts in enumerate(self.crowded):
            scale = 1.0
            while _collide(texts) and float(texts[0].get_fontsize()) > SMALLEST_TEXT:
                factor = max(0.9, SMALLEST_TEXT / float(texts[0].get_fontsize()))
                _rescale(texts, factor)
                scale *= factor
                changed = True
            if scale != 1.0:
                arrangement.scales[index] = scale
        return changed


def note_of(plot: Plot, style: Style, columns: int) -> str:
    """A plot's note in lines that are not wider than the plot: the layout would leave no room for any."""
    letters = 72.0 * (style.width_in / columns - 0.3) / (0.55 * style.small_size)
    return plain(textwrap.fill(plot.note, max(12, int(letters))))


def note_room(note: str) -> float:
    """Between plot and title, for a note there; in font sizes of notes."""
    return 2 * NOTE_GAP + 1.25 * (note.count("\n") + 1)


def _lay_out(page: Page) -> None:
    """Do all of drawing that moves things. Images stay within their axes, and to resample them takes most of the time."""
    images = [image for axes in page.axes for image in axes.images if image.get_visible()]
    for image in images:
        image.set_visible(False)
    try:
        page.draw_without_rendering()
    finally:
        for image in images:
            image.set_visible(True)


def _whole(inches: float, dpi: float) -> float:
    """The nearest length of a whole number of pixels, on the safe side of rounding."""
    return float((round(inches * dpi) + 1e-6) / dpi)


def _set_up(axes: Axes, plot: Plot, x: Limits, y: Limits, width: float) -> None:
    """Scales, ticks, spines and grid; before the marks, as some depend on the scale."""
    axes.set_autoscale_on(False)
    axes.set_xscale(plot.x.scale)
    axes.set_yscale(plot.y.scale)
    _set_limits(axes, plot, x, y)
    own: tuple[tuple[Axis, Any, str], ...] = ((plot.x, axes.xaxis, "bottom"), (plot.y, axes.yaxis, "left"))
    for axis, drawn, side in own:
        if not axis.shown or not plot.marks:
            drawn.set_ticks([])
            drawn.set_ticks([], minor=True)
            axes.spines[side].set_visible(axis.shown)
        elif axis.ticks is not None:
            drawn.set_ticks([position for position, _ in axis.ticks], [plain(name) for _, name in axis.ticks])
            drawn.set_ticks([], minor=True)
        elif axis.scale == "linear":
            from matplotlib.ticker import MaxNLocator

            bins: Any = 4 if width < 2.0 else "auto"
            drawn.set_major_locator(MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10]))
            drawn.set_major_formatter(numbers())
    if any(isinstance(mark, Heatmap | ImageGrid) for mark in plot.marks):
        return
    if plot.x.shown and plot.y.shown and plot.marks:
        axes.grid(True)


def _set_limits(axes: Axes, plot: Plot, x: Limits, y: Limits) -> None:
    axes.set_autoscale_on(False)
    axes.set_xlim(*x)
    axes.set_ylim(*(reversed(y) if plot.y_down else y))
    if _keeps_shape(plot):
        axes.set_aspect("equal", adjustable="box")
    else:
        axes.set_aspect("auto")


def _keeps_shape(plot: Plot) -> bool:
    """Whether height and width of a plot depend on each other."""
    linear = plot.x.scale == plot.y.scale == "linear"
    return linear and (plot.equal or any(isinstance(mark, ImageGrid) for mark in plot.marks))


def _collide(texts: Sequence[Text]) -> bool:
    """Whether any text touches the next one."""
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return any(first.overlaps(second) for first, second in pairwise(boxes))


def _turn(axes: Axes) -> None:
    for label in axes.get_xticklabels():
        label.set(rotation=45, ha="right", rotation_mode="anchor")


def _rescale(texts: Sequence[Text], factor: float) -> None:
    for text in texts:
        text.set_fontsize(max(SMALLEST_TEXT, factor * float(text.get_fontsize())))


def _outline_texts(page: Page) -> None:
    """Have every text drawn as shapes, for venues that refuse TrueType."""
    from matplotlib.patheffects import Normal
    from matplotlib.text import Text

    for text in page.findobj(Text):
        text.set_path_effects([Normal()])


__all__ = ["Arrangement", "compose"]
