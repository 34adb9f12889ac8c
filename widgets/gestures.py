"""What the hand does on a plot besides looking: strokes, points, dragging a curve or a box; runs on the GUI thread."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal, get_args

import numpy as np
from PySide6.QtCore import QObject, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QPen
from PySide6.QtWidgets import QGraphicsEllipseItem, QGraphicsRectItem

from engines.figures import Boxes
from widgets.plot_area import PlotArea
from widgets.theme import Theme

Tool = Literal["look", "paint", "erase", "point", "curve", "box"]

Rect = tuple[float, float, float, float]
"""Corner (x, y), width and height in axis units."""

GRAB = 18.0
"""How far from a point of a curve it can still be taken, in pixels."""

CORNER = 10.0
"""The same for the corner of a box."""

SMALLEST = 0.02
"""Part of its size to which a drag shrinks a box at most."""


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
    box_grabbed(x, y, width, height, plot)
        A box was taken in hand; it is where it was drawn.
    box_dragged(x, y, width, height, plot)
        It is to be here: the inside of a box moves it, a corner makes it larger or smaller about its middle.
    box_finished(plot)
    wheel_turned(steps, shifted, plot)
        The wheel was turned over a plot with boxes, with Shift or Control held or without.
    radius_changed(float)
        The person changed the size of the brush.
    """

    stroke_started = Signal(float, float, int)
    stroke_moved = Signal(float, float, float, float, int)
    stroke_finished = Signal(int)
    point_picked = Signal(float, float, int)
    curve_dragged = Signal(float, float, int)
    curve_finished = Signal(int)
    box_grabbed = Signal(float, float, float, float, int)
    box_dragged = Signal(float, float, float, float, int)
    box_finished = Signal(int)
    wheel_turned = Signal(float, bool, int)
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
        self._brush: tuple[int, float, float] | None = None  # plot and place to which keys have moved it
        self._box: Rect = (0.0, 0.0, 0.0, 0.0)  # as it was when it was taken
        self._is_corner = False  # taken at a corner
        self._over: Literal["", "inside", "corner"] = ""  # what of a box the mouse is over
        self._box_plots: frozenset[int] | None = None
        self._box_index = -1  # the plot whose box was last in hand
        self._frame: QGraphicsRectItem | None = None
        self._frame_area: PlotArea | None = None
        self._frame_rect: Rect = (0.0, 0.0, 0.0, 0.0)

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
            self.hide_box()
            self._over = ""
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
        if self._frame is not None:
            self._frame.setPen(self._pen())

    def cursor(self) -> Qt.CursorShape:
        """The pointer that goes with the tool."""
        if self._tool == "box":
            return {
                "inside": Qt.CursorShape.SizeAllCursor,
                "corner": Qt.CursorShape.SizeFDiagCursor,
            }.get(self._over, Qt.CursorShape.ArrowCursor)
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
        if self._tool == "box":
            return self._grab_box(area, index, position)
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
        elif self._tool == "box" and self._last is not None:
            rect = self._moved(area.to_axes(position))
            if rect != self._frame_rect:
                self._show_box(area, rect)
                self.box_dragged.emit(*rect, self._index)
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
        elif tool == "box":
            self.box_finished.emit(index)
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
        elif self._tool == "box":
            found = self.box_at(area, position) if area is not None else None
            self._over = "" if found is None else "corner" if found[1] else "inside"
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

    def move_brush(self, areas: Sequence[PlotArea], right: float, down: float) -> bool:
        """Move the brush by parts of its radius: what keys do. It begins in the middle of the first plot for the hand."""
        if self.active or not areas:
            return False
        index, *place = self._brush or (min(self._box_plots or {0}), math.nan, math.nan)
        if index >= len(areas):
            return False
        area = areas[index]
        (x0, x1), (y0, y1) = area.view_range()
        x, y = place if math.isfinite(place[0]) else ((x0 + x1) / 2, (y0 + y1) / 2)
        x += right * self._radius
        y += (down if area.y_down() else -down) * self._radius
        self._brush = index, min(max(x, x0), x1), min(max(y, y0), y1)
        self.show_brush(area, area.to_scene(*self._brush[1:]))
        return True

    def dab(self, areas: Sequence[PlotArea]) -> bool:
        """A stroke that is one point, where keys have moved the brush; False where they have not."""
        if self.active or self._brush is None or self._brush[0] >= len(areas):
            return False
        index, x, y = self._brush
        self.stroke_started.emit(x, y, index)
        self.stroke_finished.emit(index)
        return True

    def hide_brush(self) -> None:
        """Take the rim of the brush away."""
        if self._circle is not None and self._circle_area is not None:
            scene = self._circle.scene()
            if scene is not None:
                scene.removeItem(self._circle)
        self._circle = self._circle_area = None

    # Boxes

    def set_box_plots(self, plots: Collection[int] | None) -> None:
        """In which plots boxes can be taken in hand; None means in all."""
        self._box_plots = None if plots is None else frozenset(plots)

    def takes_boxes(self, index: int) -> bool:
        """Whether the boxes of a plot can be taken in hand."""
        return self._tool == "box" and (self._box_plots is None or index in self._box_plots)

    @staticmethod
    def boxes(area: PlotArea) -> list[Rect]:
        """Every box of a plot that has a size; what the hand set comes first."""
        marks = [mark for mark in area.plot.marks if isinstance(mark, Boxes)]
        marks.sort(key=lambda mark: mark.role != "hand")
        rows = [row for mark in marks for row in zip(mark.x, mark.y, mark.width, mark.height, strict=True)]
        return [
            (float(x), float(y), float(width), float(height))
            for x, y, width, height in rows
            if np.isfinite([x, y, width, height]).all() and width > 0 and height > 0
        ]

    def box_at(self, area: PlotArea, position: QPointF) -> tuple[Rect, bool] | None:
        """The box under a point of the scene and whether its corner is; the smallest, where one lies in another."""
        best: tuple[float, Rect, bool] | None = None
        for rect in self.boxes(area):
            shown = self._on_scene(area, rect)
            inside = shown.contains(position)
            side = min(shown.width(), shown.height())
            corners = (shown.topLeft(), shown.topRight(), shown.bottomLeft(), shown.bottomRight())
            away = min(math.hypot(c.x() - position.x(), c.y() - position.y()) for c in corners)
            # A small box must be left with an inside.
            is_corner = away <= (min(CORNER, side / 4) if inside else CORNER)
            size = shown.width() * shown.height()
            if (inside or is_corner) and (best is None or size < best[0]):
                best = size, rect, is_corner
        return None if best is None else best[1:]

    @staticmethod
    def _on_scene(area: PlotArea, rect: Rect) -> QRectF:
        x, y, width, height = rect
        return QRectF(area.to_scene(x, y), area.to_scene(x + width, y + height)).normalized()

    def _grab_box(self, area: PlotArea, index: int, position: QPointF) -> bool:
        found = self.box_at(area, position) if self.takes_boxes(index) else None
        if found is None:
            return False
        self._area, self._index, self._last = area, index, area.to_axes(position)
        self._box, self._is_corner = found
        self._box_index = index
        self._show_box(area, self._box)
        self.box_grabbed.emit(*self._box, index)
        return True

    def _moved(self, place: tuple[float, float]) -> Rect:
        """The box in hand, with the mouse at a place in axis units."""
        assert self._last is not None
        x, y, width, height = self._box
        if not self._is_corner:
            return x + place[0] - self._last[0], y + place[1] - self._last[1], width, height
        middle = x + width / 2, y + height / 2
        return _scaled(
            self._box,
            max(abs(place[0] - middle[0]) / (width / 2), abs(place[1] - middle[1]) / (height / 2), SMALLEST),
        )

    def nudge(self, areas: Sequence[PlotArea], right: float, down: float, factor: float) -> bool:
        """Move a box by parts of what its plot shows, and scale it: what keys do. False where there is no box.

        It is the box that was last in hand; else the first of those that the hand set, else the first.
        """
        allowed = [index for index in range(len(areas)) if self.takes_boxes(index)]
        with_boxes = [index for index in allowed if self.boxes(areas[index])]
        if not with_boxes or self.active:
            return False
        index = self._box_index if self._box_index in with_boxes else with_boxes[0]
        area = areas[index]
        rects = self.boxes(area)
        # Among several the one where the hand left its own; the others belong to other pictures.
        rect = (
            min(rects, key=lambda each: _apart(each, self._frame_rect))
            if index == self._box_index
            else rects[0]
        )
        if self._frame_area is area:
            # The picture may not have followed yet.
            rect = self._frame_rect
        (x0, x1), (y0, y1) = area.view_range()
        down = down if area.y_down() else -down
        moved = _scaled((rect[0] + right * (x1 - x0), rect[1] + down * (y1 - y0), rect[2], rect[3]), factor)
        self._box_index = index
        self._show_box(area, moved)
        self.box_grabbed.emit(*rect, index)
        self.box_dragged.emit(*moved, index)
        self.box_finished.emit(index)
        return True

    def _show_box(self, area: PlotArea, rect: Rect) -> None:
        """Outline where the hand has the box, until a newer picture shows it there."""
        if self._frame is None or self._frame_area is not area:
            self.hide_box()
            self._frame = QGraphicsRectItem(area.view_box)
            self._frame.setZValue(20)
            self._frame.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
            self._frame.setPen(self._pen())
            self._frame_area = area
        self._frame_rect = rect
        self._frame.setRect(self._on_scene(area, rect).translated(-area.inner.topLeft()))

    def settle(self) -> None:
        """A newer picture is shown: it has the box where it is now."""
        if self._area is None:
            self.hide_box()

    def hide_box(self) -> None:
        """Take the outline of the box away."""
        if self._frame is not None:
            scene = self._frame.scene()
            if scene is not None:
                scene.removeItem(self._frame)
        self._frame = self._frame_area = None

    def _pen(self) -> QPen:
        pen = QPen(self._theme.color("warning" if self._tool == "erase" else "hand"), 1.5)
        if self._tool == "erase":
            pen.setStyle(Qt.PenStyle.DashLine)
        return pen


def _apart(one: Rect, other: Rect) -> float:
    """Distance of the middles of two boxes."""
    across = one[0] + one[2] / 2 - other[0] - other[2] / 2
    return math.hypot(across, one[1] + one[3] / 2 - other[1] - other[3] / 2)


def _scaled(rect: Rect, factor: float) -> Rect:
    """A box made larger about its middle."""
    x, y, width, height = rect
    return x + width * (1 - factor) / 2, y + height * (1 - factor) / 2, width * factor, height * factor


__all__ = ["Gestures", "Rect", "Tool"]
