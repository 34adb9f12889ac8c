"""What the hand does on a plot besides looking: brush strokes, points, dragging a curve; runs on the GUI thread."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from PySide6.QtCore import QObject, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QPen
from PySide6.QtWidgets import QGraphicsEllipseItem

from widgets.plot_area import PlotArea
from widgets.theme import Theme

Tool = Literal["look", "paint", "erase", "point", "curve"]

GRAB = 18.0
"""How far from a point of a curve it can still be taken, in pixels."""


class Gestures(QObject):
    """Turns presses and moves of the mouse into gestures in axis units.

    The last argument of every signal is the number of the plot in its panels.

    Signals
    -------
    stroke_started(x, y, plot)
    stroke_moved(x0, y0, x1, y1, plot)
        A further piece of the stroke, from where the last one ended.
    stroke_finished(plot)
    point_picked(x, y, plot)
    curve_dragged(x, y, plot)
        The point of the curve at ``x`` is to be at ``y``.
    curve_finished(plot)
    radius_changed(float)
        The person changed the size of the brush.
    """

    stroke_started = Signal(float, float, int)
    stroke_moved = Signal(float, float, float, float, int)
    stroke_finished = Signal(int)
    point_picked = Signal(float, float, int)
    curve_dragged = Signal(float, float, int)
    curve_finished = Signal(int)
    radius_changed = Signal(float)

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._tool: Tool = "look"
        self._radius = 0.5
        self._area: PlotArea | None = None
        self._index = 0
        self._last: tuple[float, float] | None = None
        self._grabbed: float | None = None
        self._circle: QGraphicsEllipseItem | None = None
        self._circle_area: PlotArea | None = None

    @property
    def tool(self) -> Tool:
        """What the left button does."""
        return self._tool

    @property
    def radius(self) -> float:
        """Of the brush, in axis units."""
        return self._radius

    @property
    def active(self) -> bool:
        """Whether a gesture is under way."""
        return self._area is not None

    def set_tool(self, tool: Tool) -> None:
        """Choose what the left button does.

        Raises
        ------
        ValueError
            If there is no such tool.
        """
        if tool not in get_args(Tool):
            raise ValueError(f"There is no tool {tool!r}; there are {', '.join(get_args(Tool))}.")
        if tool != self._tool:
            self.cancel()
            self.hide_brush()
            self._tool = tool

    def set_radius(self, radius: float) -> None:
        """Make the brush this large, in axis units.

        Raises
        ------
        ValueError
            If it is not above zero.
        """
        if not radius > 0:
            raise ValueError(f"A brush needs a radius above 0, not {radius}.")
        self._radius = float(radius)
        if self._circle is not None and self._circle_area is not None:
            self._size_circle(self._circle.pos())

    def set_theme(self, theme: Theme) -> None:
        """Draw the brush in these colours."""
        self._theme = theme
        if self._circle is not None:
            self._circle.setPen(self._pen())

    def cursor(self) -> Qt.CursorShape:
        """The pointer that goes with the tool."""
        return {
            "look": Qt.CursorShape.ArrowCursor,
            "curve": Qt.CursorShape.PointingHandCursor,
        }.get(self._tool, Qt.CursorShape.CrossCursor)

    def press(self, area: PlotArea, index: int, position: QPointF) -> bool:
        """The left button went down on a plot, at a point of the scene; False if that is no gesture."""
        if self._tool == "look":
            return False
        if self._tool == "curve":
            return self._grab(area, index, position)
        self._area, self._index = area, index
        self._last = area.to_axes(position)
        if self._tool == "point":
            return True
        self.show_brush(area, position)
        self.stroke_started.emit(*self._last, index)
        return True

    def move(self, position: QPointF) -> bool:
        """The mouse moved while the button is down; False if no gesture is under way."""
        area = self._area
        if area is None:
            return False
        if self._tool in ("paint", "erase") and self._last is not None:
            x, y = area.to_axes(position)
            self.show_brush(area, position)
            if (x, y) != self._last:
                last, self._last = self._last, (x, y)
                self.stroke_moved.emit(*last, x, y, self._index)
        elif self._tool == "curve" and self._grabbed is not None:
            inside = QPointF(position.x(), min(max(position.y(), area.inner.top()), area.inner.bottom()))
            y = area.to_axes(inside)[1]
            area.set_highlight((self._grabbed, y))
            self.curve_dragged.emit(self._grabbed, y, self._index)
        return True

    def release(self, position: QPointF) -> bool:
        """The button went up; False if no gesture was under way."""
        area, index = self._area, self._index
        if area is None:
            return False
        tool, last = self._tool, self._last
        self._forget()
        if tool == "point" and last is not None:
            # A press that was dragged off the plot is taken back.
            if area.inner.contains(position):
                self.point_picked.emit(*area.to_axes(position), index)
        elif tool == "curve":
            self.curve_finished.emit(index)
        else:
            self.stroke_finished.emit(index)
        return True

    def cancel(self) -> None:
        """End a gesture that is under way, as if the button had gone up outside."""
        if self._area is not None:
            self.release(QPointF(-1e6, -1e6))

    def _forget(self) -> None:
        if self._area is not None:
            self._area.set_highlight(None)
        self._area = self._last = self._grabbed = None

    def _grab(self, area: PlotArea, index: int, position: QPointF) -> bool:
        x = self.nearest(area, position)
        if x is None:
            return False
        self._area, self._index, self._grabbed = area, index, x
        return True

    def nearest(self, area: PlotArea, position: QPointF) -> float | None:
        """The x of the point of the hand's curve near a point of the scene; None if it is too far."""
        points = area.hand_points()
        if points is None:
            return None
        best: tuple[float, float] | None = None
        for x, y in zip(*points, strict=True):
            if np.isfinite(x) and np.isfinite(y):
                apart = area.to_scene(float(x), float(y)) - position
                distance = float(np.hypot(apart.x(), apart.y()))
                if distance <= GRAB and (best is None or distance < best[0]):
                    best = distance, float(x)
        return None if best is None else best[1]

    def hover(self, area: PlotArea | None, position: QPointF) -> None:
        """The mouse is here with no button down."""
        if self._tool in ("paint", "erase"):
            if area is None:
                self.hide_brush()
            else:
                self.show_brush(area, position)
        elif self._tool == "curve" and area is not None:
            x = self.nearest(area, position)
            points = area.hand_points()
            if x is None or points is None:
                area.set_highlight(None)
            else:
                area.set_highlight((x, float(points[1][np.flatnonzero(points[0] == x)[0]])))

    def show_brush(self, area: PlotArea, position: QPointF) -> None:
        """Draw the rim of the brush around a point of the scene."""
        if self._circle is None or self._circle_area is not area:
            self.hide_brush()
            self._circle = QGraphicsEllipseItem(area.view_box)
            self._circle.setZValue(20)
            self._circle.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
            self._circle.setPen(self._pen())
            self._circle_area = area
        self._size_circle(position - area.inner.topLeft())
        self._circle.show()

    def _size_circle(self, local: QPointF) -> None:
        assert self._circle is not None and self._circle_area is not None
        space = self._circle_area.space()
        across, down = self._radius * abs(space.x_scale), self._radius * abs(space.y_scale)
        self._circle.setRect(QRectF(-across, -down, 2 * across, 2 * down))
        self._circle.setPos(local)

    def hide_brush(self) -> None:
        """Take the rim of the brush away."""
        if self._circle is not None and self._circle_area is not None:
            scene = self._circle.scene()
            if scene is not None:
                scene.removeItem(self._circle)
        self._circle = self._circle_area = None

    def _pen(self) -> QPen:
        pen = QPen(self._theme.color("warning" if self._tool == "erase" else "hand"), 1.5)
        if self._tool == "erase":
            pen.setStyle(Qt.PenStyle.DashLine)
        return pen


__all__ = ["Gestures", "Tool"]
