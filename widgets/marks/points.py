"""Artists of points, arrows, boxes, graphs, words and bodies; run on the GUI thread."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen

from engines.figures import Bodies, Boxes, Graph, Scatter, VectorField, Words
from widgets.marks.artist import Artist
from widgets.marks.colors import magnitude_colors, normalised
from widgets.marks.space import Rectangles, Segments, Space, draw_text, polygon, text_size
from widgets.marks.symbols import Stamps, paint_symbol
from widgets.marks.ticks import number_text
from widgets.theme import Theme

POINT = 96.0 / 72.0
"""Logical pixels to a point of 1/72 inch."""

_SHADES = 32
"""Into how many colours magnitudes of points are sorted; finer cannot be told apart on a dot."""


class ScatterArtist(Artist[Scatter]):
    """Draws `Scatter`: one stamp for all, or one of a few shades each where magnitudes are given."""

    def __init__(self) -> None:
        super().__init__()
        self._stamps = Stamps()
        self._x = self._y = np.empty(0)
        self._shades: np.ndarray | None = None

    def prepare(self) -> None:
        x, y = self.view_x(self.mark.x), self.view_y(self.mark.y)
        if self.x_log or self.y_log:
            self.count_faults(self.mark.x, log=self.x_log)
            self.count_faults(self.mark.y, log=self.y_log)
        good = np.isfinite(x + y)
        bad = int(len(good) - np.count_nonzero(good))
        if not (self.x_log or self.y_log):
            self.not_finite = bad
        values = self.mark.values
        self._x, self._y = (x, y) if not bad else (x[good], y[good])
        self._shades = None
        if values is not None:
            part = normalised(np.asarray(values if not bad else values[good]))
            self.not_finite += int(np.count_nonzero(~np.isfinite(part)))
            self._shades = np.minimum(np.nan_to_num(part) * _SHADES, _SHADES - 1).astype(np.int64)

    def paint(self, painter: QPainter, space: Space) -> None:
        mark = self.mark
        x, y = space.x(self._x), space.y(self._y)
        colors = (
            (space.theme.role_hex(mark.role),)
            if self._shades is None
            else magnitude_colors(space.theme.sequential, _SHADES)
        )
        size = max(mark.size * POINT, 1.0)
        ring = space.theme.role_hex("card") if mark.symbol == "star" else ""
        self._stamps.choose(mark.symbol, size, colors, space.ratio, mark.opacity, ring)
        room = size + 2
        rect = space.rect.adjusted(-room, -room, room, room)
        seen = (x > rect.left()) & (x < rect.right()) & (y > rect.top()) & (y < rect.bottom())
        shades: np.ndarray | int = 0 if self._shades is None else self._shades
        if not seen.all():
            x, y = x[seen], y[seen]
            shades = shades if isinstance(shades, int) else shades[seen]
        self._stamps.draw(painter, x, y, shades)

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        color = theme.color(self.mark.role, max(self.mark.opacity, 0.6))
        if self.mark.values is not None:
            color = QColor(magnitude_colors(theme.sequential, _SHADES)[_SHADES // 2])
        size = min(max(self.mark.size * POINT, 5.0), 9.0)
        paint_symbol(painter, self.mark.symbol, rect.center(), size, color, "")

    def read(self, x: float, y: float, space: Space) -> str:
        if not len(self._x) or (self.mark.values is None and not self.mark.label):
            return ""
        distance = np.hypot((self._x - x) * space.x_scale, (self._y - y) * space.y_scale)
        nearest = int(np.argmin(distance))
        if distance[nearest] > 8:
            return ""
        if self.mark.values is None:
            return self.mark.label
        good = np.isfinite(self.view_x(self.mark.x) + self.view_y(self.mark.y))
        value = float(np.asarray(self.mark.values)[good][nearest])
        return f"{self.mark.values_label or self.mark.label} {number_text(value)}".strip()


class VectorFieldArtist(Artist[VectorField]):
    """Draws `VectorField`: shafts of true length and small open heads, all with one call."""

    head = 5.5
    """Longest side of a head in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self._segments = Segments()
        self._x0 = self._y0 = self._x1 = self._y1 = np.empty(0)

    def prepare(self) -> None:
        mark = self.mark
        x0, y0 = self.view_x(mark.x), self.view_y(mark.y)
        x1, y1 = self.view_x(np.asarray(mark.x) + mark.u), self.view_y(np.asarray(mark.y) + mark.v)
        good = np.isfinite(x0 + y0 + x1 + y1)
        self.not_finite = int(len(good) - np.count_nonzero(good))
        self._x0, self._y0, self._x1, self._y1 = x0[good], y0[good], x1[good], y1[good]

    def paint(self, painter: QPainter, space: Space) -> None:
        x0, y0, x1, y1 = space.x(self._x0), space.y(self._y0), space.x(self._x1), space.y(self._y1)
        dx, dy = x1 - x0, y1 - y0
        length = np.hypot(dx, dy)
        safe = np.maximum(length, 1e-6)
        # Arrows too short to be seen become dots, so that the grid of the field stays visible.
        short = length < 1.5
        x1, y1 = np.where(short, x0 + 0.75, x1), np.where(short, y0, y1)
        x0 = np.where(short, x0 - 0.75, x0)
        size = np.minimum(self.head, 0.45 * length)
        along_x, along_y = dx / safe * size, dy / safe * size
        # In a small picture of a dense field fine lines say more than a block of heads.
        spacing = float(np.sqrt(space.rect.width() * space.rect.height() / max(len(x0), 1)))
        headed = (length >= 3.0) & (spacing >= 5.0)
        tip_x, tip_y = x1[headed], y1[headed]
        back_x, back_y = tip_x - along_x[headed], tip_y - along_y[headed]
        side_x, side_y = -0.5 * along_y[headed], 0.5 * along_x[headed]
        pen = QPen(space.color(self.mark.role, self.mark.opacity), min(max(spacing / 9, 0.6), 1.3))
        pen.setCapStyle(Qt.PenCapStyle.SquareCap if pen.color().alpha() == 255 else Qt.PenCapStyle.FlatCap)
        painter.setPen(pen)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        self._segments.draw(
            painter,
            np.concatenate((x0, tip_x, tip_x)),
            np.concatenate((y0, tip_y, tip_y)),
            np.concatenate((x1, back_x + side_x, back_x - side_x)),
            np.concatenate((y1, back_y + side_y, back_y - side_y)),
        )

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        painter.setPen(QPen(theme.color(self.mark.role, self.mark.opacity), 1.3))
        y, right = rect.center().y(), rect.right()
        painter.drawLine(QPointF(rect.left(), y), QPointF(right, y))
        painter.drawLine(QPointF(right, y), QPointF(right - 4.5, y - 2.6))
        painter.drawLine(QPointF(right, y), QPointF(right - 4.5, y + 2.6))


class BoxesArtist(Artist[Boxes]):
    """Draws `Boxes`."""

    def __init__(self) -> None:
        super().__init__()
        self._boxes = Rectangles()
        self._left = self._right = self._low = self._high = np.empty(0)

    def prepare(self) -> None:
        mark = self.mark
        self._left, self._right = self.view_x(mark.x), self.view_x(np.asarray(mark.x) + mark.width)
        self._low, self._high = self.view_y(mark.y), self.view_y(np.asarray(mark.y) + mark.height)
        good = np.isfinite(self._left + self._right + self._low + self._high)
        self.not_finite = int(len(good) - np.count_nonzero(good))
        if self.not_finite:
            self._left, self._right = self._left[good], self._right[good]
            self._low, self._high = self._low[good], self._high[good]

    def paint(self, painter: QPainter, space: Space) -> None:
        left, right = space.x(self._left), space.x(self._right)
        low, high = space.y(self._low), space.y(self._high)
        pen = QPen(space.theme.color(self.mark.role, self.mark.opacity), self.mark.line_width)
        pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        boxes = np.minimum(left, right), np.minimum(low, high), np.abs(right - left), np.abs(high - low)
        if space.over_picture:
            # A rim lets the box be seen on pictures of any colour.
            rim = QPen(space.theme.color("card", 0.8), self.mark.line_width + 2.0)
            rim.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
            painter.setPen(rim)
            self._boxes.draw(painter, *boxes)
        painter.setPen(pen)
        self._boxes.draw(painter, *boxes)

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        painter.setPen(QPen(theme.color(self.mark.role, self.mark.opacity), 1.5))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(rect.adjusted(2, 1, -2, -1))


class GraphArtist(Artist[Graph]):
    """Draws `Graph`: edges below, nodes and their names above; magnitudes by shade."""

    node = 9.0
    """Diameter of a node in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self._segments, self._stamps = Segments(), Stamps()
        self._x = self._y = np.empty(0)
        self._from = self._to = np.empty(0, dtype=np.int64)
        self._edge_shades: np.ndarray | None = None
        self._node_shades: np.ndarray | None = None

    def prepare(self) -> None:
        mark = self.mark
        positions = np.asarray(mark.positions, dtype=np.float64).reshape(-1, 2)
        self._x, self._y = self.view_x(positions[:, 0]), self.view_y(positions[:, 1])
        good = np.isfinite(self._x + self._y)
        self.not_finite = int(len(good) - np.count_nonzero(good))
        edges = np.asarray(mark.edges, dtype=np.int64).reshape(-1, 2)
        kept = np.all((edges >= 0) & (edges < len(positions)), axis=1)
        kept[kept] = good[edges[kept, 0]] & good[edges[kept, 1]]
        self._from, self._to = edges[kept, 0], edges[kept, 1]
        self._edge_shades = self._node_shades = None
        if mark.edge_values is not None:
            self._edge_shades = self._to_shades(np.asarray(mark.edge_values)[kept])
        if mark.node_values is not None:
            self._node_shades = self._to_shades(np.asarray(mark.node_values))

    def _to_shades(self, values: np.ndarray) -> np.ndarray:
        part = normalised(values)
        self.not_finite += int(np.count_nonzero(~np.isfinite(part)))
        return np.minimum(np.nan_to_num(part) * _SHADES, _SHADES - 1).astype(np.int64)

    def paint(self, painter: QPainter, space: Space) -> None:
        mark = self.mark
        x, y = space.x(self._x), space.y(self._y)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        shades = magnitude_colors(space.theme.sequential, _SHADES)
        start_x, start_y, stop_x, stop_y = x[self._from], y[self._from], x[self._to], y[self._to]
        if self._edge_shades is None:
            painter.setPen(QPen(space.color("past", 0.7 * mark.opacity), 1.0))
            self._segments.draw(painter, start_x, start_y, stop_x, stop_y)
        else:
            for shade in np.unique(self._edge_shades):
                part = self._edge_shades == shade
                painter.setPen(QPen(QColor(shades[shade]), 1.6))
                self._segments.draw(painter, start_x[part], start_y[part], stop_x[part], stop_y[part])
        good = np.isfinite(self._x + self._y)
        colors = (space.theme.role_hex(mark.role),) if self._node_shades is None else shades
        index: np.ndarray | int = 0 if self._node_shades is None else self._node_shades[good]
        # The darkest shades would vanish on a dark card.
        ring = space.theme.role_hex("card" if self._node_shades is None else "muted")
        self._stamps.choose("circle", self.node, colors, space.ratio, mark.opacity, ring)
        self._stamps.draw(painter, x[good], y[good], index)
        for text, at_x, at_y, seen in zip(mark.node_labels, x, y, good, strict=False):
            if text and seen:
                width, height = text_size(space.font, text)
                draw_text(
                    painter,
                    space,
                    QRectF(at_x - width / 2, at_y + self.node / 2 + 1, width, height),
                    text,
                    ground=0.6,
                )

    def room(self, font: QFont) -> tuple[float, float, float, float]:
        side = self.node / 2 + 2
        names = [text_size(font, text) for text in self.mark.node_labels if text]
        wide = max((width / 2 for width, _ in names), default=0.0)
        high = max((height for _, height in names), default=0.0)
        return max(side, wide), side, max(side, wide), side + high

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        paint_symbol(
            painter, "circle", rect.center(), 8.0, theme.color(self.mark.role, self.mark.opacity), ""
        )


class WordsArtist(Artist[Words]):
    """Draws `Words`; a weight is the strength of the ground behind the word."""

    def __init__(self) -> None:
        super().__init__()
        self._x = self._y = self._weights = np.empty(0)

    def prepare(self) -> None:
        self._x, self._y = self.view_x(self.mark.x), self.view_y(self.mark.y)
        self.not_finite = int(np.count_nonzero(~np.isfinite(self._x + self._y)))
        self._weights = np.zeros(len(self._x))
        if self.mark.weights is not None:
            weights = np.asarray(self.mark.weights, dtype=np.float64)
            self.count_faults(weights)
            self._weights = np.clip(np.nan_to_num(weights), 0.0, 1.0)

    def room(self, font: QFont) -> tuple[float, float, float, float]:
        wide = max((text_size(font, word)[0] for word in self.mark.words), default=0.0) + 8.0
        high = text_size(font, "Ag")[1] / 2 + 3.0
        left, right = {"left": (4.0, wide), "center": (wide / 2, wide / 2), "right": (wide, 4.0)}[
            self.mark.anchor
        ]
        return left, high, right, high

    def paint(self, painter: QPainter, space: Space) -> None:
        mark = self.mark
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setFont(space.font)
        shift = {"left": 0.0, "center": 0.5, "right": 1.0}[mark.anchor]
        text_color = space.theme.color("text", mark.opacity)
        finite = np.isfinite(self._x + self._y)
        for x, y, word, weight, good in zip(
            space.x(self._x), space.y(self._y), mark.words, self._weights, finite, strict=False
        ):
            if not good:
                continue
            width, height = text_size(space.font, word)
            place = QRectF(x - shift * width, y - height / 2, width, height)
            if not place.intersects(space.rect):
                continue
            if weight > 0:
                painter.setPen(Qt.PenStyle.NoPen)
                # Never so strong that the word cannot be read on it.
                painter.setBrush(space.theme.color(mark.role, 0.65 * weight * mark.opacity))
                painter.drawRoundedRect(place.adjusted(-3, -1, 3, 1), 3, 3)
            painter.setPen(text_color)
            painter.drawText(place, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip, word)


class BodiesArtist(Artist[Bodies]):
    """Draws `Bodies`: filled outlines with a fine line in the card's colour between them."""

    def __init__(self) -> None:
        super().__init__()
        self._outlines: list[tuple[np.ndarray, np.ndarray]] = []

    def prepare(self) -> None:
        self._outlines = []
        for outline in self.mark.outlines:
            points = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
            x, y = self.view_x(points[:, 0]), self.view_y(points[:, 1])
            good = np.isfinite(x + y)
            self.not_finite += int(len(good) - np.count_nonzero(good))
            self._outlines.append((x[good], y[good]))

    def paint(self, painter: QPainter, space: Space) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        roles = self.mark.roles or (self.mark.role,) * len(self._outlines)
        for (x, y), role in zip(self._outlines, roles, strict=False):
            if len(x) < 2:
                continue
            color = space.theme.color(role, self.mark.opacity)
            painter.setPen(QPen(space.theme.color("card"), 1.0))
            painter.setBrush(color)
            painter.drawPolygon(polygon(space.x(x), space.y(y)))


__all__ = [
    "BodiesArtist",
    "BoxesArtist",
    "GraphArtist",
    "ScatterArtist",
    "VectorFieldArtist",
    "WordsArtist",
]
