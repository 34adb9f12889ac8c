"""Draws any figure of `engines.figures` live, and lets the hand work on it; runs on the GUI thread.

Items are made once for a structure; a newer figure of the same structure only brings new arrays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QContextMenuEvent,
    QFont,
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QResizeEvent,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QGraphicsView, QLabel, QSizePolicy, QStackedLayout, QVBoxLayout, QWidget

from engines import figures
from widgets.gestures import Gestures, Tool
from widgets.look import current_theme
from widgets.marks.limits import CalmRange, Extent, fixed_range, plot_extents, shared
from widgets.marks.space import text_size
from widgets.plot_area import LegendEntry, PaintedItem, PlotArea, paint_legend, wrap_legend
from widgets.theme import Theme
from widgets.time_slider import TimeSlider

_GAP = 8.0
"""Between panels, in pixels."""
NUDGE = 0.02
"""Part of what a plot shows by which a key moves a box."""
_STEPS = {
    Qt.Key.Key_Left: (-1.0, 0.0),
    Qt.Key.Key_Right: (1.0, 0.0),
    Qt.Key.Key_Up: (0.0, -1.0),
    Qt.Key.Key_Down: (0.0, 1.0),
}
"""Right and down, for each arrow key."""
_EQUAL_STRETCH = 1.5
"""How much wider than its fixed limits a plane with equal units may get."""


class _Canvas(pg.GraphicsView):  # type: ignore[misc]
    """pyqtgraph's view, which asks its figure view before it takes mouse and keys."""

    def __init__(self, owner: FigureView) -> None:
        super().__init__(owner, useOpenGL=False, background=None)
        self._owner: FigureView | None = owner
        # One flat colour is quicker filled than copied from a cache.
        self.setCacheMode(QGraphicsView.CacheModeFlag.CacheNone)
        self.setViewportUpdateMode(QGraphicsView.ViewportUpdateMode.MinimalViewportUpdate)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.DefaultContextMenu)
        self.setMinimumSize(60, 40)

    def release_owner(self) -> None:
        """Know the figure view no more."""
        self._owner = None

    def mousePressEvent(self, ev: QMouseEvent) -> None:
        if self._owner is not None and self._owner.mouse_pressed(ev):
            ev.accept()
            return
        super().mousePressEvent(ev)

    def mouseDoubleClickEvent(self, ev: QMouseEvent) -> None:
        if self._owner is not None:
            # With a brush in hand, two quick presses are two strokes.
            if not self._owner.mouse_pressed(ev) and ev.button() == Qt.MouseButton.LeftButton:
                self._owner.reset_view()
            ev.accept()

    def mouseMoveEvent(self, ev: QMouseEvent) -> None:
        if self._owner is not None and self._owner.mouse_moved(ev):
            ev.accept()
            return
        super().mouseMoveEvent(ev)

    def mouseReleaseEvent(self, ev: QMouseEvent) -> None:
        if self._owner is not None and self._owner.mouse_released(ev):
            ev.accept()
            return
        super().mouseReleaseEvent(ev)

    def wheelEvent(self, ev: QWheelEvent) -> None:
        if self._owner is not None and self._owner.wheel_turned(ev):
            ev.accept()
            return
        super().wheelEvent(ev)

    def leaveEvent(self, ev: QEvent) -> None:
        super().leaveEvent(ev)
        if self._owner is not None:
            self._owner.mouse_left()

    def keyPressEvent(self, ev: QKeyEvent) -> None:
        if self._owner is not None and self._owner.key_pressed(ev):
            ev.accept()
            return
        ev.ignore()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        # The right button zooms when dragged; a click with it is told apart when it goes up.
        if event.reason() == QContextMenuEvent.Reason.Keyboard and self._owner is not None:
            self._owner.menu_requested.emit(self.mapToGlobal(self.rect().center()))
        event.accept()

    def resizeEvent(self, ev: QResizeEvent | None) -> None:
        super().resizeEvent(ev)
        owner = getattr(self, "_owner", None)
        if owner is not None:
            owner.canvas_resized()


class _Group:
    """Plots that show the same range, and what keeps it calm."""

    def __init__(self, members: list[int]) -> None:
        self.members = members
        self.x, self.y = CalmRange(), CalmRange()
        self.extent_x, self.extent_y = Extent(), Extent()
        self.user_range = False


class FigureView(QWidget):
    """Shows a figure: a plot, panels, or a film of either.

    Wheel and drag zoom and move as in pyqtgraph, a double click or Home shows all again; arrow keys move, ``+`` and ``-``
    zoom. In a film the left and right arrows go frame by frame and Space plays.

    Parameters
    ----------
    parent : QWidget, optional
    shared_time : bool
        Whether somebody else chooses the frame of a film; otherwise the view has a slider of its own.

    Signals
    -------
    frame_changed(int)
        Another frame of the film is shown.
    menu_requested(QPoint)
        A right click or the menu key asks for a menu here, in screen coordinates.
    stroke_started, stroke_moved, stroke_finished, point_picked, curve_dragged, curve_finished, radius_changed,
    box_grabbed, box_dragged, box_finished, box_wheel_turned
        Gestures; see `widgets.gestures.Gestures`.
    """

    frame_changed = Signal(int)
    menu_requested = Signal(QPoint)
    stroke_started = Signal(float, float, int)
    stroke_moved = Signal(float, float, float, float, int)
    stroke_finished = Signal(int)
    point_picked = Signal(float, float, int)
    curve_dragged = Signal(float, float, int)
    curve_finished = Signal(int)
    radius_changed = Signal(float)
    box_grabbed = Signal(float, float, float, float, int)
    box_dragged = Signal(float, float, float, float, int)
    box_finished = Signal(int)
    box_wheel_turned = Signal(float, bool, int)

    def __init__(self, parent: QWidget | None = None, *, shared_time: bool = False) -> None:
        super().__init__(parent)
        self._theme = current_theme()
        self._own_theme = False
        self._figure: figures.Figure | None = None
        self._frame = 0
        self._shared_time = shared_time
        self._areas: list[PlotArea] = []
        self._groups: list[_Group] = []
        self._columns = 1
        self._row_titles: tuple[str, ...] = ()
        self._column_titles: tuple[str, ...] = ()
        self._legend_entries: list[LegendEntry] = []
        self._legend: list[list[LegendEntry]] = []
        self._laying_out = False
        self._pressed_at = QPointF()

        self._canvas = _Canvas(self)
        self._titles = PaintedItem(self._paint_titles)
        self._titles.setZValue(-10)
        self._canvas.scene().addItem(self._titles)
        self._message = QLabel(self)
        self._message.setProperty("role", "muted")
        self._message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._message.setWordWrap(True)
        self._message.setContentsMargins(16, 16, 16, 16)
        self._readout = QLabel(self._canvas)
        self._readout.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._readout.setAutoFillBackground(True)
        self._readout.hide()
        self.slider = TimeSlider(self)
        self.slider.hide()
        self.slider.index_changed.connect(self._on_slider_index_changed)

        pages = QWidget(self)
        self._pages = QStackedLayout(pages)
        self._pages.addWidget(self._message)
        self._pages.addWidget(self._canvas)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(pages, 1)
        layout.addWidget(self.slider)
        self.setFocusProxy(self._canvas)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

        self.gestures = Gestures(self._theme, self)
        for name in (
            "stroke_started",
            "stroke_moved",
            "stroke_finished",
            "point_picked",
            "curve_dragged",
            "curve_finished",
            "radius_changed",
            "box_grabbed",
            "box_dragged",
            "box_finished",
        ):
            getattr(self.gestures, name).connect(getattr(self, name))
        self.gestures.wheel_turned.connect(self.box_wheel_turned)
        self._look = (QFont(), 0.0)
        self._apply_look()
        self.clear("Nothing to show yet.")

    # The figure

    @property
    def figure(self) -> figures.Figure | None:
        """What was given last; None after `clear`."""
        return self._figure

    @property
    def still(self) -> figures.Plot | figures.Panels | None:
        """What is seen: the figure, or of a film the frame."""
        return None if self._figure is None else figures.at(self._figure, self._frame)

    @property
    def frame(self) -> int:
        """The frame of the film that is shown; 0 if it is none."""
        return self._frame

    @property
    def areas(self) -> tuple[PlotArea, ...]:
        """The plots, as they are drawn."""
        return tuple(self._areas)

    @property
    def canvas(self) -> pg.GraphicsView:
        """What is painted on; its viewport gets the paint events."""
        return self._canvas

    @property
    def faults(self) -> list[str]:
        """What could not be drawn, a sentence each."""
        return [fault for area in self._areas for fault in area.faults]

    @property
    def messages(self) -> list[str]:
        """What the plots say of values that cannot be drawn."""
        return [area.message for area in self._areas if area.message]

    def set_figure(self, figure: figures.Figure) -> None:
        """Show this figure; its arrays are kept and must not be written to any more.

        A film that follows a film goes on at the same time.
        """
        before = self._figure
        self._figure = figure
        is_film = isinstance(figure, figures.Film) and len(figure.frames) > 0
        if isinstance(figure, figures.Film):
            frame = figure.start
            if isinstance(before, figures.Film) and len(before.times) and len(figure.times):
                same = len(before.times) == len(figure.times)
                frame = self._frame if same else figure.nearest(float(before.times[self._frame]))
            self._frame = max(0, min(frame, len(figure.frames) - 1))
            blocked = self.slider.blockSignals(True)
            self.slider.set_range(figure.times, figure.time)
            self.slider.set_index(self._frame)
            self.slider.blockSignals(blocked)
        else:
            self._frame = 0
        if self.slider.isHidden() != (self._shared_time or not is_film):
            self.slider.setVisible(is_film and not self._shared_time)
        if isinstance(figure, figures.Film) and not is_film:
            self.clear("This film has no frames yet.")
            return
        self._pages.setCurrentWidget(self._canvas)
        if before is None or before.title != figure.title or before.caption != figure.caption:
            self._canvas.setAccessibleName(figure.title)
            self._canvas.setAccessibleDescription(figure.caption)
        still = figures.at(figure, self._frame)
        structure = self._set_structure(still)
        self._measure(figure)
        self._show(still, structure)

    def clear(self, message: str) -> None:
        """Show no figure, but a sentence that says what to do to get one."""
        self.gestures.cancel()
        self._figure = None
        self._frame = 0
        self.slider.set_playing(False)
        self.slider.hide()
        self._readout.hide()
        # What comes next may be another run, which has nothing to do with the ranges of this one.
        for group in self._groups:
            group.user_range = False
            group.x.reset()
            group.y.reset()
        self._message.setText(message)
        self._pages.setCurrentWidget(self._message)

    @Slot(int)
    def set_frame(self, index: int) -> None:
        """Show this frame of the film; numbers beyond the ends mean the ends. Nothing happens where there is no film."""
        if not isinstance(self._figure, figures.Film):
            return
        index = max(0, min(int(index), len(self._figure.frames) - 1))
        if index == self._frame:
            return
        self._frame = index
        blocked = self.slider.blockSignals(True)
        self.slider.set_index(index)
        self.slider.blockSignals(blocked)
        still = figures.at(self._figure, index)
        self._show(still, self._set_structure(still))
        self.frame_changed.emit(index)

    @Slot(int)
    def _on_slider_index_changed(self, index: int) -> None:
        self.set_frame(index)

    def view_actions(self) -> list[QAction]:
        """What the menu of the view offers beside what every view has."""
        return []

    # Structure

    def _set_structure(self, still: figures.Plot | figures.Panels) -> bool:
        """Have as many axes as the figure needs; True if that changed something."""
        if isinstance(still, figures.Panels):
            plots, columns = still.plots, max(1, min(still.columns, len(still.plots)))
            titles = (still.row_titles, still.column_titles)
            together = still.share_axes and len(plots) > 1 and shared(plots)
        else:
            plots, columns, titles, together = (still,), 1, ((), ()), False
        members = [list(range(len(plots)))] if together else [[index] for index in range(len(plots))]
        same = (
            len(plots) == len(self._areas)
            and columns == self._columns
            and titles == (self._row_titles, self._column_titles)
            and members == [group.members for group in self._groups]
        )
        if same:
            return False
        self.gestures.cancel()
        self.gestures.hide_brush()
        self.gestures.hide_box()
        self._columns = columns
        self._row_titles, self._column_titles = titles
        scene = self._canvas.scene()
        while len(self._areas) > len(plots):
            area = self._areas.pop()
            area.close()
        while len(self._areas) < len(plots):
            area = PlotArea(scene, self._theme, self._look[0], self._on_area_moved)
            area.set_look(self._theme, self._look[0], self._look[1])
            self._areas.append(area)
        self._groups = [_Group(group) for group in members]
        bottom: dict[int, int] = {}
        for index in range(len(plots)):
            bottom[index % columns] = index
        for index, area in enumerate(self._areas):
            area.show_x = not together or bottom[index % columns] == index
            area.show_y = not together or index % columns == 0
            area.show_title = len(plots) > 1 and not any(self._column_titles) and not any(self._row_titles)
        return True

    def _measure(self, figure: figures.Figure) -> None:
        """Find out how far the data reach, over all frames of a film."""
        stills: Iterable[figures.Plot | figures.Panels]
        stills = figure.frames if isinstance(figure, figures.Film) else (figure,)
        by_plot = list(zip(*(tuple(figures.plots_of(still)) for still in stills), strict=False))
        for group in self._groups:
            # Where both axes are fixed there is nothing to find.
            first = by_plot[group.members[0]][0]
            if fixed_range(first.x) and fixed_range(first.y) and len(group.members) == 1:
                continue
            plots = [plot for member in group.members for plot in by_plot[member]]
            group.extent_x, group.extent_y = plot_extents(plots)

    def _show(self, still: figures.Plot | figures.Panels, structure: bool) -> None:
        changed = structure
        self.gestures.settle()
        plots = tuple(figures.plots_of(still))
        for area, plot in zip(self._areas, plots, strict=True):
            scales = (area.plot.x.scale, area.plot.y.scale)
            changed = area.set_plot(plot) or changed
            if scales != (plot.x.scale, plot.y.scale):
                # Decimal logarithms have nothing in common with the values seen before.
                for group in self._groups:
                    if self._areas.index(area) in group.members:
                        group.x.reset()
                        group.y.reset()
                        group.user_range = False
        if changed:
            self._share_legend()
            self._lay_out()
        else:
            self._fit()

    def _share_legend(self) -> None:
        """One legend over all panels where they would all say the same."""
        keys = []
        for area in self._areas:
            keys.append([entry.key for entry in area.legend_entries()])
        common = len(self._areas) > 1 and bool(keys[0]) and all(key == keys[0] or not key for key in keys)
        for area in self._areas:
            if area.show_legend == common:
                area.show_legend = not common
                area.set_look(self._theme, *self._look)
        self._legend_entries = self._areas[0].legend_entries() if common else []

    # Ranges

    def _fit(self) -> None:
        """Bring every plot to the range that its data and axes ask for; layout follows if the axis values grow."""
        if self.gestures.active:
            # Under a hand that draws, the ground must not move.
            return
        now = time.monotonic()
        before = [area.margins() for area in self._areas]
        for group in self._groups:
            if group.user_range:
                continue
            wanted_x, wanted_y = group.x.update(group.extent_x, now), group.y.update(group.extent_y, now)
            for member in group.members:
                area = self._areas[member]
                area.fit(fixed_range(area.plot.x) or wanted_x, fixed_range(area.plot.y) or wanted_y)
        if before != [area.margins() for area in self._areas]:
            self._lay_out()

    @Slot()
    def reset_view(self) -> None:
        """Show all of the data again."""
        for group in self._groups:
            group.user_range = False
            group.x.reset()
            group.y.reset()
        self._lay_out()

    def _on_area_moved(self, area: PlotArea) -> None:
        """The person moved one plot: those that share its axes move along, and data no longer do that."""
        index = self._areas.index(area)
        for group in self._groups:
            if index in group.members:
                group.user_range = True
                x, y = self._areas[index].view_range()
                for member in group.members:
                    if member != index:
                        self._areas[member].view_box.setRange(xRange=x, yRange=y, padding=0)

    # Layout

    def canvas_resized(self) -> None:
        """Fit the plots into the new size."""
        self._lay_out()

    def _lay_out(self) -> None:
        if not self._areas or self._laying_out:
            return
        self._laying_out = True
        try:
            # The values on the axes decide the room for the plot, and this which values there are; twice is enough.
            for _ in range(2):
                self._place_areas()
                fitting = [area.margins() for area in self._areas]
                now = time.monotonic()
                for group in self._groups:
                    wanted_x, wanted_y = (
                        group.x.update(group.extent_x, now),
                        group.y.update(group.extent_y, now),
                    )
                    for member in group.members:
                        area = self._areas[member]
                        if not group.user_range:
                            area.fit(
                                fixed_range(area.plot.x) or wanted_x, fixed_range(area.plot.y) or wanted_y
                            )
                if fitting == [area.margins() for area in self._areas]:
                    break
        finally:
            self._laying_out = False

    def _place_areas(self) -> None:
        width, height = float(self._canvas.width()), float(self._canvas.height())
        font = self._look[0]
        line = QFontMetricsF(font).height()
        self._legend = wrap_legend(self._legend_entries, font, width - 8)
        top = len(self._legend) * (line + 2) + (2 if self._legend else 0)
        if any(self._column_titles):
            top += line + 4
        left = line + 6 if any(self._row_titles) else 0.0
        columns = self._columns
        rows = -(-len(self._areas) // columns)
        cell_width = (width - left) / columns
        margins = [area.margins(cell_width) for area in self._areas]

        def widest(pick: list[float]) -> float:
            return max(pick, default=0.0)

        lefts = [widest([m.left for i, m in enumerate(margins) if i % columns == c]) for c in range(columns)]
        rights = [
            widest([m.right for i, m in enumerate(margins) if i % columns == c]) for c in range(columns)
        ]
        tops = [widest([m.top for i, m in enumerate(margins) if i // columns == r]) for r in range(rows)]
        bottoms = [
            widest([m.bottom for i, m in enumerate(margins) if i // columns == r]) for r in range(rows)
        ]
        inner_width = max((width - left - sum(lefts) - sum(rights) - _GAP * (columns - 1)) / columns, 8.0)
        inner_height = max((height - top - sum(tops) - sum(bottoms) - _GAP * (rows - 1)) / rows, 8.0)
        most = self._widest_shape() * inner_height
        # The legend was wrapped for all of the width, which it keeps above a single plot that is narrower.
        whole = (
            QRectF(left + sum(lefts), 0.0, inner_width, 0.0) if columns == 1 < inner_width / most else None
        )
        if inner_width > most:
            left += (inner_width - most) * columns / 2
            inner_width = most
        for index, area in enumerate(self._areas):
            row, column = divmod(index, columns)
            x = left + sum(lefts[: column + 1]) + sum(rights[:column]) + column * (inner_width + _GAP)
            y = top + sum(tops[: row + 1]) + sum(bottoms[:row]) + row * (inner_height + _GAP)
            inner = QRectF(round(x), round(y), int(inner_width), int(inner_height))
            cell = inner.adjusted(-lefts[column], -tops[row], rights[column], bottoms[row])
            header = QRectF(whole.left(), cell.top(), whole.width(), tops[row]) if whole is not None else None
            area.place(cell, inner, header)
        self._titles.set_rect(QRectF(0, 0, width, height))
        self._titles.setVisible(bool(self._legend or any(self._row_titles) or any(self._column_titles)))
        self._titles.update()

    def _widest_shape(self) -> float:
        """Width over height beyond which planes with equal units would show mostly nothing beside their data."""
        shapes = []
        for area in self._areas:
            x, y = fixed_range(area.plot.x), fixed_range(area.plot.y)
            if not area.equal or x is None or y is None:
                return math.inf
            shapes.append((x[1] - x[0]) / (y[1] - y[0]))
        return _EQUAL_STRETCH * max(shapes, default=math.inf)

    def _paint_titles(self, painter: QPainter) -> None:
        """The titles of rows and columns, and the legend that all panels share."""
        font, theme = self._look[0], self._theme
        metrics = QFontMetricsF(font)
        line = metrics.height()
        left = self._areas[0].inner.left() if self._areas else 0.0
        for row, entries in enumerate(self._legend):
            paint_legend(painter, entries, theme, font, left, 1 + row * (line + 2))
        top = len(self._legend) * (line + 2) + (2 if self._legend else 0)
        painter.setFont(font)
        painter.setPen(theme.color("text"))
        for column, title in enumerate(self._column_titles[: self._columns]):
            inner = self._areas[column].inner
            text = metrics.elidedText(title, Qt.TextElideMode.ElideRight, inner.width() + _GAP)
            painter.drawText(
                QRectF(inner.left(), top, inner.width(), line),
                Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip,
                text,
            )
        for row, title in enumerate(self._row_titles):
            if row * self._columns >= len(self._areas):
                break
            inner = self._areas[row * self._columns].inner
            text = metrics.elidedText(title, Qt.TextElideMode.ElideRight, inner.height() + _GAP)
            painter.save()
            painter.translate(1, inner.center().y())
            painter.rotate(-90)
            painter.drawText(
                QRectF(-inner.height() / 2, 0, inner.height(), line),
                Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip,
                text,
            )
            painter.restore()

    # Look

    def set_theme(self, theme: Theme | None) -> None:
        """Draw in the colours of this theme; None follows the application's."""
        self._own_theme = theme is not None
        self._theme = current_theme() if theme is None else theme
        self._apply_look()

    def _apply_look(self) -> None:
        font = QFont(self.font())
        font.setPixelSize(self._theme.font_small)
        self._look = (font, self.devicePixelRatioF())
        self._canvas.setBackground(self._theme.color("card"))
        self._readout.setFont(font)
        palette = self._readout.palette()
        palette.setColor(self._readout.backgroundRole(), self._theme.color("card"))
        palette.setColor(self._readout.foregroundRole(), self._theme.color("muted"))
        self._readout.setPalette(palette)
        self.gestures.set_theme(self._theme)
        for area in self._areas:
            area.set_look(self._theme, font, self._look[1])
        self._titles.update()
        self._lay_out()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and hasattr(self, "_look"):
            theme = self._theme if self._own_theme else current_theme()
            font = QFont(self.font())
            font.setPixelSize(theme.font_small)
            if theme is not self._theme or font != self._look[0]:
                self._theme = theme
                self._apply_look()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.devicePixelRatioF() != self._look[1]:
            self._apply_look()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.DevicePixelRatioChange and hasattr(self, "_look"):
            self._apply_look()
        return super().event(event)

    def sizeHint(self) -> QSize:
        return QSize(420, 300)

    def minimumSizeHint(self) -> QSize:
        return QSize(140, 110)

    # The hand

    @property
    def tool(self) -> Tool:
        """What the left mouse button does."""
        return self.gestures.tool

    def set_tool(self, tool: Tool) -> None:
        """Choose what the left mouse button does.

        Parameters
        ----------
        tool : {"look", "paint", "erase", "point", "curve", "box"}
            Move and zoom; paint or erase with the brush; pick a point; drag the points of the curve whose role is
            ``hand`` up and down; move and scale boxes. Shift and the arrow keys move a box or the brush, which Enter puts
            down, and ``[`` and ``]`` size them.

        Raises
        ------
        ValueError
            If there is no such tool.
        """
        self.gestures.set_tool(tool)
        self._canvas.viewport().setCursor(self.gestures.cursor())

    def set_brush_radius(self, radius: float) -> None:
        """Make the brush this large, in axis units; the keys ``[`` and ``]`` change it, too."""
        self.gestures.set_radius(radius)

    def set_box_plots(self, *plots: int) -> None:
        """Let boxes be taken in hand in these plots alone."""
        self.gestures.set_box_plots(plots)

    def _area_at(self, position: QPointF) -> tuple[int, PlotArea] | None:
        for index, area in enumerate(self._areas):
            if area.inner.contains(position):
                return index, area
        return None

    def mouse_pressed(self, event: QMouseEvent) -> bool:
        """Begin a gesture if this is one."""
        self._pressed_at = event.position()
        if event.button() != Qt.MouseButton.LeftButton:
            return False
        found = self._area_at(event.position())
        return found is not None and self.gestures.press(found[1], found[0], event.position())

    def mouse_moved(self, event: QMouseEvent) -> bool:
        """Go on with a gesture, or say what is under the mouse."""
        position = event.position()
        if self.gestures.active:
            return self.gestures.move(position)
        found = self._area_at(position)
        if event.buttons() == Qt.MouseButton.NoButton:
            takes = found is not None and (self.tool != "box" or self.gestures.takes_boxes(found[0]))
            self.gestures.hover(found[1] if found and takes else None, position)
            if self.tool == "box":
                self._canvas.viewport().setCursor(self.gestures.cursor())
            self._show_readout(found[1] if found else None, position)
        return False

    def mouse_released(self, event: QMouseEvent) -> bool:
        """End a gesture, or open the menu after a right click; True if nobody else needs to know."""
        if event.button() == Qt.MouseButton.RightButton:
            moved = event.position() - self._pressed_at
            if moved.manhattanLength() < 4:
                self.menu_requested.emit(event.globalPosition().toPoint())
            return False
        if event.button() != Qt.MouseButton.LeftButton:
            return False
        return self.gestures.release(event.position())

    def wheel_turned(self, event: QWheelEvent) -> bool:
        """Tell of the wheel over a plot whose boxes can be taken in hand; False where it zooms."""
        found = self._area_at(event.position())
        if found is None or not self.gestures.takes_boxes(found[0]):
            return False
        # With Alt or Shift held some platforms turn the wheel sideways.
        turned = event.angleDelta().y() or event.angleDelta().x()
        shift = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.ControlModifier
        if turned:
            self.gestures.wheel_turned.emit(turned / 120, bool(event.modifiers() & shift), found[0])
        return True

    def mouse_left(self) -> None:
        """The mouse is elsewhere."""
        self._readout.hide()
        if not self.gestures.active:
            self.gestures.hide_brush()
            for area in self._areas:
                area.set_highlight(None)

    def _show_readout(self, area: PlotArea | None, position: QPointF) -> None:
        text = area.readout(position) if area is not None else ""
        if not text or area is None:
            self._readout.hide()
            return
        room = int(area.inner.width()) - 8
        text = QFontMetricsF(self._look[0]).elidedText(text, Qt.TextElideMode.ElideRight, room - 8)
        width, height = (int(size) for size in text_size(self._look[0], text))
        width, height = width + 9, height + 3
        # In the upper right corner, unless the mouse is just there.
        top = int(area.inner.top()) + 3
        left = int(area.inner.right()) - width - 3
        if position.x() > left - 20 and position.y() < top + height + 20:
            top = int(area.inner.bottom()) - height - 3
        self._readout.setText(text)
        self._readout.setIndent(4)
        self._readout.setGeometry(left, top, width, height)
        self._readout.show()

    def readout(self) -> str:
        """What is said about the place under the mouse; empty when it is elsewhere."""
        return "" if self._readout.isHidden() else self._readout.text()

    def _key_on_brush(self, event: QKeyEvent) -> bool:
        """Shift and an arrow moves the brush, Enter puts it down, brackets size it."""
        key = Qt.Key(event.key())
        if key in (Qt.Key.Key_BracketLeft, Qt.Key.Key_BracketRight):
            self.gestures.set_radius(self.gestures.radius * (1.25 if key == Qt.Key.Key_BracketRight else 0.8))
            self.gestures.radius_changed.emit(self.gestures.radius)
            return True
        if key in _STEPS and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            return self.gestures.move_brush(self._areas, *_STEPS[key])
        return key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.gestures.dab(self._areas)

    def _key_on_box(self, event: QKeyEvent) -> bool:
        """Shift and an arrow moves the box in hand, brackets scale it."""
        key = Qt.Key(event.key())
        if key in _STEPS and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            right, down = _STEPS[key]
            return self.gestures.nudge(self._areas, NUDGE * right, NUDGE * down, 1.0)
        if key in (Qt.Key.Key_BracketLeft, Qt.Key.Key_BracketRight):
            factor = 1.1 if key == Qt.Key.Key_BracketRight else 1 / 1.1
            return self.gestures.nudge(self._areas, 0.0, 0.0, factor)
        return False

    def key_pressed(self, event: QKeyEvent) -> bool:
        """Act on a key; False if it means nothing here."""
        key = event.key()
        if event.modifiers() & ~(Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.KeypadModifier):
            return False
        if self.tool in ("paint", "erase") and self._key_on_brush(event):
            return True
        if self.tool == "box" and self._key_on_box(event):
            return True
        if key == Qt.Key.Key_Escape and self.gestures.active:
            self.gestures.cancel()
            return True
        if isinstance(self._figure, figures.Film):
            if key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
                self.set_frame(self._frame + (1 if key == Qt.Key.Key_Right else -1))
                return True
            if key == Qt.Key.Key_Space and not self._shared_time:
                self.slider.set_playing(not self.slider.playing)
                return True
        if key == Qt.Key.Key_Home:
            self.reset_view()
            return True
        found = self._area_at(QPointF(self._canvas.mapFromGlobal(self._canvas.cursor().pos())))
        index = found[0] if found else 0
        if self._figure is None or index >= len(self._areas):
            return False
        box = self._areas[index].view_box
        if key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            factor = 1.25 if key == Qt.Key.Key_Minus else 0.8
            box.scaleBy((factor, factor))
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Down):
            (x0, x1), (y0, y1) = self._areas[index].view_range()
            across = ((key == Qt.Key.Key_Right) - (key == Qt.Key.Key_Left)) * 0.1 * (x1 - x0)
            up = ((key == Qt.Key.Key_Up) - (key == Qt.Key.Key_Down)) * 0.1 * (y1 - y0)
            box.translateBy(x=across, y=-up if self._areas[index].y_down() else up)
        else:
            return False
        self._on_area_moved(self._areas[index])
        return True


__all__ = ["FigureView"]
