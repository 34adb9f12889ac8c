"""One pair of axes on the screen: pyqtgraph's view box with our axes, legend and marks; runs on the GUI thread.

Everything that moves is painted by one canvas item, so a new picture repaints the inside of the axes and nothing else.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QImage, QPainter, QPen
from PySide6.QtWidgets import QGraphicsItem, QGraphicsScene, QStyleOptionGraphicsItem, QWidget

from engines import figures
from widgets.marks import Artist, Space, make_artist
from widgets.marks.colors import color_table
from widgets.marks.curves import RuleArtist
from widgets.marks.images import HeatmapArtist
from widgets.marks.space import draw_text, text_size
from widgets.marks.ticks import axis_ticks, from_view, linear_ticks, number_text, to_view
from widgets.theme import Theme

LOG = logging.getLogger(__name__)

SWATCH_WIDTH = 16.0
ENTRY_GAP = 14.0
BAR_WIDTH = 8.0
"""Of the colour bar, in pixels."""


@dataclass(frozen=True)
class Margins:
    """What the axes need around the plot, in pixels."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class LegendEntry:
    """A line of the legend: what it says, and the artist that paints its sample."""

    label: str
    artist: Artist[Any]

    @property
    def key(self) -> tuple[str, str, str]:
        """Two entries with one key look the same."""
        return self.label, type(self.artist).__name__, self.artist.mark.role


class PaintedItem(QGraphicsItem):
    """An item that lets somebody else paint it, over a rectangle that is set."""

    def __init__(self, paint: Callable[[QPainter], None], parent: QGraphicsItem | None = None) -> None:
        super().__init__(parent)
        self._paint: Callable[[QPainter], None] | None = paint
        self._rect = QRectF()
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)

    def set_rect(self, rect: QRectF) -> None:
        """Cover this rectangle, in the parent's coordinates."""
        if rect != self._rect:
            self.prepareGeometryChange()
            self._rect = QRectF(rect)

    def release(self) -> None:
        """Paint nothing from now on; breaks the circle of references."""
        self._paint = None

    def boundingRect(self) -> QRectF:
        return self._rect

    def paint(
        self, painter: QPainter, option: QStyleOptionGraphicsItem, widget: QWidget | None = None
    ) -> None:
        if self._paint is not None:
            painter.save()
            try:
                self._paint(painter)
            finally:
                painter.restore()


class PlotArea:
    """Draws a `Plot` in a scene, and then newer ones in its place.

    Parameters
    ----------
    scene : QGraphicsScene
    theme : Theme
    font : QFont
        For everything written.
    moved : bound method
        Told this area when the person has zoomed or moved it; held weakly.

    Attributes
    ----------
    plot : Plot
    inner : QRectF
        The inside of the axes, in the scene.
    show_x, show_y : bool
        Whether the values and names of the axes are written; panels that share axes write them at the edges alone.
    faults : list of str
        What could not be drawn, a sentence each; for messages and tests.
    """

    def __init__(
        self, scene: QGraphicsScene, theme: Theme, font: QFont, moved: Callable[[PlotArea], None]
    ) -> None:
        self.plot = figures.Plot(x=figures.HIDDEN, y=figures.HIDDEN)
        self.artists: list[Artist[Any]] = []
        self.inner = QRectF(0, 0, 100, 100)
        self.show_x = self.show_y = True
        self.show_legend = True
        self.show_title = False
        self.faults: list[str] = []
        self.highlight: tuple[float, float] | None = None
        self._scene = scene
        self._theme = theme
        self._font = font
        self._ratio = 1.0
        self._space: Space | None = None
        self._x_ticks: list[tuple[float, str]] = []
        self._y_ticks: list[tuple[float, str]] = []
        self._tick_width = 0.0
        self._header_rows: list[list[LegendEntry]] = []
        self._header_width = -1.0
        self._has_wide_header = False
        self._cell_width = 100.0
        self._legend_key: tuple[object, ...] = ()
        self._message = ""
        self._bar_key: tuple[object, ...] = ()
        self.view_box = pg.ViewBox(enableMenu=False, defaultPadding=0.0)
        self.view_box.disableAutoRange()
        scene.addItem(self.view_box)
        self._canvas = PaintedItem(self._paint_marks, self.view_box)
        self._canvas.setZValue(1)
        self._left, self._bottom = PaintedItem(self._paint_left), PaintedItem(self._paint_bottom)
        self._right, self._header = PaintedItem(self._paint_bar), PaintedItem(self._paint_header)
        for item in (self._left, self._bottom, self._right, self._header):
            scene.addItem(item)
        self.view_box.sigRangeChanged.connect(self._on_view_box_range_changed)
        self.view_box.sigRangeChangedManually.connect(self._on_view_box_range_changed_manually)
        self._moved = weakref.WeakMethod(moved)

    def close(self) -> None:
        """Take everything out of the scene."""
        self.view_box.sigRangeChanged.disconnect(self._on_view_box_range_changed)
        self.view_box.sigRangeChangedManually.disconnect(self._on_view_box_range_changed_manually)
        for item in (self._canvas, self._left, self._bottom, self._right, self._header):
            item.release()
        for top in (self._left, self._bottom, self._right, self._header, self.view_box):
            self._scene.removeItem(top)

    # What is drawn

    def set_plot(self, plot: figures.Plot) -> bool:
        """Draw this plot from now on; True if the layout around the axes has to be made anew."""
        before = (self._structure(), self._legend_key, self._bar_key)
        note = self.plot.remark()
        y_down = self.y_down(plot)
        self.faults = []
        if [type(mark) for mark in plot.marks] != [type(artist.mark) for artist in self.artists]:
            self.artists = [make_artist(mark) for mark in plot.marks]
        self.plot = plot
        for artist, mark in zip(self.artists, plot.marks, strict=True):
            try:
                artist.set_mark(mark, plot)
            except Exception as error:
                artist.mark = mark
                self._fail(mark, error)
        if self.view_box.yInverted() != y_down:
            self.view_box.invertY(y_down)
        locked = self.view_box.state["aspectLocked"] is not False
        if locked != self.equal:
            self.view_box.setAspectLocked(self.equal)
        self._message = self._data_message()
        self._space = None
        self._legend_key = (self.show_legend, *(entry.key for entry in self.legend_entries()))
        self._bar_key = self._bar_state()
        changed = before != (self._structure(), self._legend_key, self._bar_key)
        if changed:
            self._header_width = -1.0
            self.update_ticks()
            self.update_all()
        else:
            self._canvas.update()
            if note != plot.remark():
                # A longer note may leave no room beside it. One that is shorter again moves nothing: it would flicker.
                width, rows = self._header_width, len(self._header_rows)
                self._header_width = -1.0
                if width > 0.0:
                    self._wrap_header(width)
                    changed = len(self._header_rows) > rows
                self._header.update()
            if self._bar_key:
                self._right.update()
        return changed

    def _structure(self) -> tuple[object, ...]:
        plot = self.plot
        return (
            replace(plot.x, limits=None),
            replace(plot.y, limits=None),
            plot.title,
            bool(plot.remark()) if plot.marks else plot.remark(),
            plot.legend,
            self.equal,
            bool(plot.marks),
        )

    def _fail(self, mark: figures.Mark, error: Exception) -> None:
        sentence = f"{type(mark).__name__} could not be drawn: {error}"
        if sentence not in self.faults:
            self.faults.append(sentence)
            LOG.warning("%s in the plot '%s'", sentence, self.plot.title, exc_info=error)

    def _data_message(self) -> str:
        parts = list(self.faults)
        for count, one, many in (
            (
                sum(artist.not_finite for artist in self.artists),
                "value is not finite",
                "values are not finite",
            ),
            (
                sum(artist.not_positive for artist in self.artists),
                "value is not above 0 (log axis)",
                "values are not above 0 (log axis)",
            ),
        ):
            if count:
                parts.append(f"{count:,} {one if count == 1 else many}")
        return " · ".join(parts)

    @property
    def message(self) -> str:
        """What the corner says about values that cannot be drawn; empty when all is well."""
        return self._message

    @property
    def equal(self) -> bool:
        """Whether a unit is as long on x as on y; always so for pictures."""
        return self.plot.equal or self._has_pictures(self.plot)

    def y_down(self, plot: figures.Plot | None = None) -> bool:
        """Whether y grows downwards; always so for pictures."""
        plot = self.plot if plot is None else plot
        return plot.y_down or self._has_pictures(plot)

    @staticmethod
    def _has_pictures(plot: figures.Plot) -> bool:
        return any(isinstance(mark, figures.ImageGrid) for mark in plot.marks)

    def legend_entries(self) -> list[LegendEntry]:
        """What the legend would say, every look once; lines across the plot carry their names themselves."""
        if not self.plot.legend:
            return []
        entries: dict[tuple[str, str, str], LegendEntry] = {}
        for artist in self.artists:
            if artist.mark.label and not isinstance(artist, RuleArtist):
                entry = LegendEntry(artist.mark.label, artist)
                entries.setdefault(entry.key, entry)
        return list(entries.values())

    def _bar_values(self) -> tuple[float, float, str, Literal["sequential", "diverging", "role"], str] | None:
        """(low, high, label, colours, role) of the colour bar, for the first mark that asks for one."""
        for artist in self.artists:
            mark = artist.mark
            if isinstance(artist, HeatmapArtist) and mark.values_label:
                return (*artist.limits, mark.values_label, mark.colors, mark.role)
            if isinstance(mark, figures.Scatter) and mark.values is not None and mark.values_label:
                finite = np.asarray(mark.values)[np.isfinite(mark.values)]
                if finite.size:
                    return (
                        float(finite.min()),
                        float(finite.max()),
                        mark.values_label,
                        "sequential",
                        mark.role,
                    )
        return None

    def _bar_state(self) -> tuple[object, ...]:
        bar = self._bar_values()
        if bar is None:
            return ()
        # What decides the room it takes; the exact ends change with every picture.
        return (bar[2:], tuple(text for _, text in linear_ticks(bar[0], bar[1], 4)))

    # Theme

    def set_look(self, theme: Theme, font: QFont, ratio: float) -> None:
        """Draw with these colours, this font and this many device pixels to a logical one."""
        self._theme, self._font, self._ratio = theme, font, ratio
        self._space = None
        self._header_width = -1.0
        self.update_all()

    def update_all(self) -> None:
        """Repaint the marks and everything around them."""
        for item in (self._canvas, self._left, self._bottom, self._right, self._header):
            item.update()

    # Geometry

    def margins(self, width: float | None = None) -> Margins:
        """The room that axes, legend and colour bar need in a cell of this width, by default of the one it has.

        The space for tick values grows at once and shrinks only when much is left over, so that plots keep still.
        """
        metrics = QFontMetricsF(self._font)
        line = metrics.height()
        left = bottom = 0.0
        right = 6.0
        if self.plot.y.shown and self.show_y:
            need = max((text_size(self._font, text)[0] for _, text in self._y_ticks), default=0.0)
            if need > self._tick_width or need < self._tick_width - 18:
                self._tick_width = math.ceil(need / 6) * 6
            left = self._tick_width + 6 + (line + 2 if self.plot.y.title() else 0)
        else:
            left = 6.0
        if self.plot.x.shown and self.show_x:
            bottom = line + 5 + (line + 1 if self.plot.x.title() else 0)
            last = self._x_ticks[-1][1] if self._x_ticks else ""
            right = max(right, math.ceil(text_size(self._font, last)[0] / 2 / 6) * 6)
        else:
            bottom = 6.0
        bar = self._bar_values()
        if bar is not None:
            texts = [text for _, text in linear_ticks(bar[0], bar[1], 4)]
            right = (
                10
                + BAR_WIDTH
                + 5
                + max((text_size(self._font, text)[0] for text in texts), default=0.0)
                + line
                + 4
            )
        self._cell_width = self._cell_width if width is None else width
        self._wrap_header(self._cell_width - (left if self._cell_width - left - right > 60 else 0.0) - right)
        rows = len(self._header_rows)
        has_header = rows or self.plot.remark() or (self.show_title and self.plot.title)
        top = max(rows, 1) * (line + 2) + 4 if has_header else (line / 2 + 1 if self.plot.y.shown else 6.0)
        return Margins(math.ceil(left), math.ceil(top), math.ceil(right), math.ceil(bottom))

    def _wrap_header(self, width: float) -> None:
        if width == self._header_width:
            return
        self._header_width = width
        entries = self.legend_entries() if self.show_legend else []
        first = width
        if self.plot.marks and self.plot.remark():
            first -= text_size(self._font, self.plot.remark())[0] + ENTRY_GAP
        if self.show_title and self.plot.title:
            first -= text_size(self._font, self.plot.title)[0] + ENTRY_GAP
        self._header_rows = wrap_legend(entries, self._font, width, first)

    def place(self, cell: QRectF, inner: QRectF, header: QRectF | None = None) -> None:
        """Stand here, in the scene: ``inner`` is the inside of the axes, ``cell`` everything.

        ``header`` is where title, legend and note stand, if not just above the axes.
        """
        self._has_wide_header = header is not None
        if inner != self.inner or self._canvas.boundingRect().isEmpty():
            self.inner = QRectF(inner)
            self.view_box.setGeometry(inner)
            self.view_box.updateMatrix()
            self._canvas.set_rect(QRectF(0, 0, inner.width(), inner.height()))
            self._space = None
            self.update_ticks()
        self._header.set_rect(
            header or QRectF(cell.left(), cell.top(), cell.width(), inner.top() - cell.top())
        )
        # Values at the ends of an axis reach a little beyond it.
        self._left.set_rect(
            QRectF(cell.left(), inner.top() - 8, inner.left() - cell.left(), inner.height() + 16)
        )
        self._bottom.set_rect(
            QRectF(cell.left(), inner.bottom(), cell.width(), cell.bottom() - inner.bottom())
        )
        self._right.set_rect(
            QRectF(inner.right(), inner.top() - 8, cell.right() - inner.right(), inner.height() + 16)
        )
        self.update_all()

    def fit(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Show this range, in view coordinates; more of it where a unit must be as long on x as on y."""
        width, height = self.inner.width(), self.inner.height()
        if width < 1 or height < 1:
            return
        rooms = np.array([artist.room(self._font) for artist in self.artists] or [(0.0,) * 4])
        left, top, right, bottom = (float(room) for room in rooms.max(axis=0))
        # Names must not squeeze the data into nothing.
        across, down = (
            min(1.0, 0.6 * width / max(left + right, 1.0)),
            min(1.0, 0.6 * height / max(top + bottom, 1.0)),
        )
        left, right, top, bottom = left * across, right * across, top * down, bottom * down
        if self.y_down():
            top, bottom = bottom, top
        if self.equal:
            span_x, span_y = x[1] - x[0], y[1] - y[0]
            scale = max(min((width - left - right) / span_x, (height - top - bottom) / span_y), 1e-12)
            x_low = x[0] - ((width - left - right - span_x * scale) / 2 + left) / scale
            y_low = y[0] - ((height - top - bottom - span_y * scale) / 2 + bottom) / scale
            x, y = (x_low, x_low + width / scale), (y_low, y_low + height / scale)
        elif rooms.any():
            x_unit, y_unit = (x[1] - x[0]) / (width - left - right), (y[1] - y[0]) / (height - top - bottom)
            x = (x[0] - left * x_unit, x[1] + right * x_unit)
            y = (y[0] - bottom * y_unit, y[1] + top * y_unit)
        shown_x, shown_y = self.view_box.viewRange()
        if (tuple(shown_x), tuple(shown_y)) != (x, y):
            self.view_box.setRange(xRange=x, yRange=y, padding=0)

    def view_range(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """What is shown on x and on y, in view coordinates."""
        x, y = self.view_box.viewRange()
        return (float(x[0]), float(x[1])), (float(y[0]), float(y[1]))

    def _on_view_box_range_changed(self, *_: object) -> None:
        self._space = None
        # pyqtgraph puts this off until it paints, and then maps the mouse as it was before.
        self.view_box.updateMatrix()
        self.update_ticks()
        self._canvas.update()

    def _on_view_box_range_changed_manually(self, *_: object) -> None:
        moved = self._moved()
        if moved is not None:
            moved(self)

    def update_ticks(self) -> None:
        """Find the ticks for what is shown."""
        (x0, x1), (y0, y1) = self.view_range()
        x_count = max(int(self.inner.width() / 65), 3)
        y_count = max(int(self.inner.height() / 36), 3)
        x_ticks = axis_ticks(self.plot.x, x0, x1, x_count) if self.plot.x.shown else []
        y_ticks = axis_ticks(self.plot.y, y0, y1, y_count) if self.plot.y.shown else []
        if x_ticks != self._x_ticks:
            self._x_ticks = x_ticks
        if y_ticks != self._y_ticks:
            self._y_ticks = y_ticks
        # Even the same values stand elsewhere when the range has moved.
        self._bottom.update()
        self._left.update()

    def space(self) -> Space:
        """From view coordinates to pixels of the view box."""
        if self._space is None:
            (x0, x1), (y0, y1) = self.view_range()
            width, height = self.inner.width(), self.inner.height()
            x_scale = width / ((x1 - x0) or 1.0)
            y_scale = height / ((y1 - y0) or 1.0)
            down = self.y_down()
            self._space = Space(
                theme=self._theme,
                rect=QRectF(0, 0, width, height),
                x_scale=x_scale,
                x_offset=-x0 * x_scale,
                y_scale=y_scale if down else -y_scale,
                y_offset=-y0 * y_scale if down else y1 * y_scale,
                x_axis=self.plot.x,
                y_axis=self.plot.y,
                font=self._font,
                ratio=self._ratio,
            )
        return self._space

    def to_axes(self, position: QPointF) -> tuple[float, float]:
        """A point of the scene in axis units."""
        space = self.space()
        x = (position.x() - self.inner.left() - space.x_offset) / space.x_scale
        y = (position.y() - self.inner.top() - space.y_offset) / space.y_scale
        return from_view(x, self.plot.x), from_view(y, self.plot.y)

    def to_scene(self, x: float, y: float) -> QPointF:
        """A point in axis units as a point of the scene."""
        point = self.space().point(to_view(x, self.plot.x), to_view(y, self.plot.y))
        return point + self.inner.topLeft()

    def readout(self, position: QPointF) -> str:
        """The values under a point of the scene."""
        space = self.space()
        x = (position.x() - self.inner.left() - space.x_offset) / space.x_scale
        y = (position.y() - self.inner.top() - space.y_offset) / space.y_scale
        said: list[str] = []
        for artist in self.artists:
            try:
                text = artist.read(x, y, space)
            except Exception:  # A faulty mark says so in its corner already.
                continue
            if text and text not in said:
                said.append(text)
        parts = said[:4]
        if self.plot.x.shown or self.plot.y.shown:
            place_x, place_y = self._coordinate(x, self.plot.x, "x"), self._coordinate(y, self.plot.y, "y")
            single = any(text.startswith(f"{artist.mark.label} ") for text in said for artist in self.artists)
            parts = [place_x, *parts] if single and not self.equal else [place_x, place_y, *parts]
        return "   ".join(part for part in parts if part)

    def _coordinate(self, position: float, axis: figures.Axis, name: str) -> str:
        if not axis.shown:
            return ""
        label = axis.label if 0 < len(axis.label) <= 12 else name
        unit = f" {axis.unit}" if axis.unit else ""
        return f"{label} {number_text(from_view(position, axis), 3 if axis.scale == 'log' else 4)}{unit}"

    def hand_points(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The points, in axis units, of the curve that the hand may drag."""
        for mark in self.plot.marks:
            if isinstance(mark, figures.Lines | figures.Scatter) and mark.role == "hand":
                return np.asarray(mark.x, dtype=np.float64), np.asarray(mark.y, dtype=np.float64)
        return None

    def set_highlight(self, point: tuple[float, float] | None) -> None:
        """Ring one point, in axis units: the one in hand."""
        if point != self.highlight:
            self.highlight = point
            self._canvas.update()

    # Painting

    def _paint_marks(self, painter: QPainter) -> None:
        space = self.space()
        space.labels.clear()
        space.over_picture = False
        painter.setFont(self._font)
        if self.artists:
            self._paint_grid(painter, space)
        for artist in self.artists:
            try:
                artist.paint(painter, space)
            except Exception as error:
                self._fail(artist.mark, error)
                self._message = self._data_message()
            space.over_picture = space.over_picture or artist.is_picture
        for artist in self.artists:
            artist.paint_label(painter, space)
        theme = self._theme
        if self.highlight is not None:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.color("hand"), 2.0))
            painter.drawEllipse(
                space.point(to_view(self.highlight[0], self.plot.x), to_view(self.highlight[1], self.plot.y)),
                8.0,
                8.0,
            )
        if not self.plot.marks and self.plot.remark():
            painter.setPen(theme.color("muted"))
            painter.drawText(
                space.rect, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self.plot.remark()
            )
        if self._message:
            metrics = QFontMetricsF(self._font)
            text = metrics.elidedText(self._message, Qt.TextElideMode.ElideRight, space.rect.width() - 12)
            width, height = text_size(self._font, text)
            draw_text(
                painter,
                space,
                QRectF(6, space.rect.height() - height - 4, width, height),
                text,
                "warning_text",
                0.85,
            )

    def _paint_grid(self, painter: QPainter, space: Space) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        pen = QPen(self._theme.color("grid"), 1.0)
        painter.setPen(pen)
        width, height = space.rect.width(), space.rect.height()
        for position, _ in self._x_ticks:
            x = math.floor(position * space.x_scale + space.x_offset)
            painter.drawLine(QPointF(x, 0), QPointF(x, height))
        for position, _ in self._y_ticks:
            y = math.floor(position * space.y_scale + space.y_offset)
            painter.drawLine(QPointF(0, y), QPointF(width, y))

    def _paint_left(self, painter: QPainter) -> None:
        if not self.plot.y.shown or not self.plot.marks:
            return
        space, inner, theme = self.space(), self.inner, self._theme
        painter.setFont(self._font)
        painter.setPen(QPen(theme.color("border"), 1.0))
        edge = inner.left() - 1
        painter.drawLine(QPointF(edge, inner.top()), QPointF(edge, inner.bottom()))
        if not self.show_y:
            return
        painter.setPen(theme.color("axis"))
        line = QFontMetricsF(self._font).height()
        cell_left = self._left.boundingRect().left()
        flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextDontClip
        last = math.inf
        for position, text in self._y_ticks:
            y = inner.top() + position * space.y_scale + space.y_offset
            if abs(y - last) >= line * 0.9 and inner.top() - 1 <= y <= inner.bottom() + 1:
                painter.drawText(QRectF(cell_left, y - line / 2, edge - 5 - cell_left, line), flags, text)
                last = y
        if self.plot.y.title():
            painter.setPen(theme.color("muted"))
            self._paint_vertical(painter, self.plot.y.title(), cell_left, inner)

    def _paint_vertical(self, painter: QPainter, text: str, x: float, along: QRectF) -> None:
        metrics = QFontMetricsF(self._font)
        text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, along.height() + 16)
        painter.save()
        painter.translate(x, along.center().y())
        painter.rotate(-90)
        painter.drawText(
            QRectF(-along.height() / 2 - 8, 0, along.height() + 16, metrics.height()),
            Qt.AlignmentFlag.AlignCenter,
            text,
        )
        painter.restore()

    def _paint_bottom(self, painter: QPainter) -> None:
        if not self.plot.x.shown or not self.plot.marks:
            return
        space, inner, theme = self.space(), self.inner, self._theme
        painter.setFont(self._font)
        painter.setPen(QPen(theme.color("border"), 1.0))
        painter.drawLine(
            QPointF(inner.left() - 1, inner.bottom()), QPointF(inner.right() - 1, inner.bottom())
        )
        if not self.show_x:
            return
        painter.setPen(theme.color("axis"))
        metrics = QFontMetricsF(self._font)
        line = metrics.height()
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip
        taken = -math.inf
        cell = self._bottom.boundingRect()
        for position, text in self._x_ticks:
            width = text_size(self._font, text)[0]
            x = inner.left() + position * space.x_scale + space.x_offset
            x = min(x, cell.right() - width / 2)
            if x - width / 2 > taken + 5:
                painter.drawText(QRectF(x - width / 2, inner.bottom() + 3, width, line), flags, text)
                taken = x + width / 2
        title = self.plot.x.title()
        if title:
            title = metrics.elidedText(title, Qt.TextElideMode.ElideRight, cell.width())
            painter.setPen(theme.color("muted"))
            width = text_size(self._font, title)[0]
            x = min(max(inner.center().x() - width / 2, cell.left()), cell.right() - width)
            painter.drawText(QRectF(x, inner.bottom() + line + 3, width, line), flags, title)

    def _paint_bar(self, painter: QPainter) -> None:
        bar = self._bar_values()
        if bar is None:
            return
        low, high, label, colors, role = bar
        inner, theme = self.inner, self._theme
        table = color_table(theme, colors, role)
        strip = QRectF(inner.right() + 10, inner.top(), BAR_WIDTH, inner.height())
        painter.drawImage(strip, vertical_image(table))
        painter.setFont(self._font)
        painter.setPen(theme.color("axis"))
        line = QFontMetricsF(self._font).height()
        widest = 0.0
        if high > low:
            for value, text in linear_ticks(low, high, max(min(int(inner.height() / 38), 4), 1)):
                y = strip.bottom() - (value - low) / (high - low) * strip.height()
                y = min(max(y, strip.top() + line / 2 - 2), strip.bottom() - line / 2 + 2)
                width = text_size(self._font, text)[0]
                painter.drawText(
                    QRectF(strip.right() + 5, y - line / 2, width, line),
                    Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextDontClip,
                    text,
                )
                widest = max(widest, width)
        painter.setPen(theme.color("muted"))
        self._paint_vertical(
            painter, label, min(strip.right() + 7 + widest, self._right.boundingRect().right() - line), inner
        )

    def _paint_header(self, painter: QPainter) -> None:
        rect = self._header.boundingRect()
        painter.setFont(self._font)
        line = QFontMetricsF(self._font).height()
        note = self.plot.remark() if self.plot.marks else ""
        first = self.inner.left() if self.inner.width() > 60 and not self._has_wide_header else rect.left()
        right = rect.right() if self._has_wide_header else self.inner.right()
        left = first
        if self.show_title and self.plot.title:
            width = text_size(self._font, self.plot.title)[0]
            painter.setPen(self._theme.color("text"))
            painter.drawText(
                QPointF(left, rect.top() + QFontMetricsF(self._font).ascent() + 1), self.plot.title
            )
            left += width + ENTRY_GAP
        if note:
            width = text_size(self._font, note)[0]
            painter.setPen(self._theme.color("muted"))
            painter.drawText(
                QRectF(right - width - 1, rect.top() + 1, width, line),
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextDontClip,
                note,
            )
        for row, entries in enumerate(self._header_rows):
            paint_legend(painter, entries, self._theme, self._font, left, rect.top() + 1 + row * (line + 2))
            left = first


def vertical_image(table: np.ndarray) -> QImage:
    """A colour table as a picture one pixel wide, the high end on top."""
    pixels = np.ascontiguousarray(table[::-1].reshape(-1, 1), dtype=np.uint32)
    return QImage(pixels.data, 1, len(pixels), 4, QImage.Format.Format_ARGB32_Premultiplied).copy()


def entry_width(entry: LegendEntry, font: QFont) -> float:
    """Pixels that a legend entry takes."""
    return SWATCH_WIDTH + 5 + text_size(font, entry.label)[0]


def wrap_legend(
    entries: Sequence[LegendEntry], font: QFont, width: float, first: float | None = None
) -> list[list[LegendEntry]]:
    """Legend entries in rows that fit a width; the first row may have less room."""
    rows: list[list[LegendEntry]] = []
    room = 0.0
    for entry in entries:
        need = entry_width(entry, font)
        if not rows:
            rows.append([])
            room = width if first is None else first
        if rows[-1] and need > room:
            rows.append([])
            room = width
        rows[-1].append(entry)
        room -= need + ENTRY_GAP
    return rows


def paint_legend(
    painter: QPainter, entries: Sequence[LegendEntry], theme: Theme, font: QFont, left: float, top: float
) -> None:
    """Draw a row of legend entries from a corner."""
    metrics = QFontMetricsF(font)
    line = metrics.height()
    painter.setFont(font)
    for entry in entries:
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        entry.artist.paint_swatch(painter, QRectF(left, top + line / 2 - 5, SWATCH_WIDTH, 10), theme)
        painter.restore()
        painter.setPen(theme.color("text"))
        painter.drawText(QPointF(left + SWATCH_WIDTH + 5, top + metrics.ascent()), entry.label)
        left += entry_width(entry, font) + ENTRY_GAP


__all__ = ["LegendEntry", "Margins", "PaintedItem", "PlotArea", "entry_width", "paint_legend", "wrap_legend"]
