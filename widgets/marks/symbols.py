"""The symbols of points, and the quick way of painting thousands of them; runs on the GUI thread."""

from __future__ import annotations

import math

import numpy as np
from pyqtgraph.Qt import internals
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPixmap, QPolygonF


def paint_symbol(
    painter: QPainter, symbol: str, center: QPointF, size: float, color: QColor, ring: str
) -> None:
    """Draw one symbol of ``size`` pixels around a point, with a thin line of the colour ``ring`` if that is not empty."""
    radius = size / 2
    if symbol == "cross":
        pen = QPen(color, max(size / 4.5, 1.2))
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        reach = radius * 0.85
        for sign in (1, -1):
            painter.drawLine(center + QPointF(-reach, -reach * sign), center + QPointF(reach, reach * sign))
        return
    painter.setPen(QPen(QColor(ring), 1.2) if ring else Qt.PenStyle.NoPen)
    painter.setBrush(color)
    if symbol == "square":
        side = size * 0.88
        painter.drawRect(QRectF(center.x() - side / 2, center.y() - side / 2, side, side))
    elif symbol == "star":
        corners = []
        for corner in range(10):
            reach = radius * (1.25 if corner % 2 == 0 else 0.52)
            angle = math.pi * corner / 5
            corners.append(center + QPointF(reach * math.sin(angle), -reach * math.cos(angle)))
        painter.drawPolygon(QPolygonF(corners))
    else:
        painter.drawEllipse(center, radius, radius)


class Stamps:
    """Many copies of a symbol, drawn with one call; keeps its memory and the symbol that it drew last."""

    def __init__(self) -> None:
        self._memory = internals.PrimitiveArray(QPainter.PixmapFragment, 10)
        self._atlas: QPixmap | None = None
        self._chosen: tuple[object, ...] = ()

    def choose(
        self,
        symbol: str,
        size: float,
        colors: tuple[str, ...],
        ratio: float,
        opacity: float = 1.0,
        ring: str = "",
    ) -> None:
        """Draw this symbol from now on.

        Parameters
        ----------
        size : float
            Diameter in logical pixels.
        colors : tuple of str
            ``#RRGGBB``; which one a point has is said when drawing.
        ratio : float
            Device pixels to a logical one.
        ring : str
            Colour of a thin line around each, which keeps symbols apart; none if empty.
        """
        chosen = (symbol, size, colors, ratio, opacity, ring)
        if chosen == self._chosen:
            return
        room = 1.3 if symbol == "star" else 1.0
        tile = max(math.ceil((size * room + (2.0 if ring else 0.0)) * ratio) + 2, 3)
        atlas = QPixmap(tile * len(colors), tile)
        atlas.fill(Qt.GlobalColor.transparent)
        painter = QPainter(atlas)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.scale(ratio, ratio)
        side = tile / ratio
        for index, name in enumerate(colors):
            color = QColor(name)
            color.setAlphaF(opacity)
            paint_symbol(painter, symbol, QPointF(side * (index + 0.5), side / 2), size, color, ring)
        painter.end()
        atlas.setDevicePixelRatio(ratio)
        self._atlas, self._chosen = atlas, chosen

    def draw(self, painter: QPainter, x: np.ndarray, y: np.ndarray, index: np.ndarray | int = 0) -> None:
        """Draw the symbol in the colour ``index`` at each (x, y), in pixels, of shape (N,); none may be NaN."""
        if len(x) == 0 or self._atlas is None:
            return
        tile = self._atlas.height()
        self._memory.resize(len(x))
        array = self._memory.ndarray()
        array[:, 0], array[:, 1] = x, y
        array[:, 2] = np.asarray(index) * tile
        array[:, 3] = 0.0
        array[:, 4] = array[:, 5] = tile
        array[:, 6] = array[:, 7] = 1.0 / self._atlas.devicePixelRatio()
        array[:, 8] = 0.0
        array[:, 9] = 1.0
        fragments, count = self._memory.drawargs()
        painter.drawPixmapFragments(fragments, count, self._atlas)


__all__ = ["Stamps", "paint_symbol"]
