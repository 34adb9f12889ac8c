"""From view coordinates to pixels, and the quick ways of painting many lines, boxes and points; runs on the GUI thread.

Thick polylines are the slowest thing Qt's raster engine does (a noisy curve of 2,000 points takes over 100 ms), separate
lines are a hundred times quicker; so curves are thinned to what the pixels can show and drawn as lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from pyqtgraph.functions import arrayToQPolygonF
from pyqtgraph.Qt import internals
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFont, QFontMetricsF, QPainter, QPen, QPolygonF

from engines.figures import Axis, Dash
from widgets.theme import Theme

FAR = 30_000.0
"""Pixels beyond which coordinates are cut; Qt's raster engine overflows a little above."""

_FEW = 500
"""Points up to which a curve without many bends is quick to draw as one line."""

_DASHES: dict[str, tuple[float, float]] = {"dash": (6.0, 4.0), "dot": (1.5, 3.0)}


@dataclass
class Space:
    """Where view coordinates lie on the screen, and how the theme paints them.

    Attributes
    ----------
    theme : Theme
    rect : QRectF
        The inside of the axes in logical pixels.
    x_scale, x_offset, y_scale, y_offset : float
        Pixel = scale * view coordinate + offset.
    x_axis, y_axis : Axis
    font : QFont
        For texts inside the plot.
    ratio : float
        Device pixels to a logical one.
    over_picture : bool
        Whether an image or a heat map was drawn before: then see-through colours cannot be mixed beforehand.
    labels : list of QRectF
        Where texts stand already, so that others step aside.
    """

    theme: Theme
    rect: QRectF
    x_scale: float
    x_offset: float
    y_scale: float
    y_offset: float
    x_axis: Axis
    y_axis: Axis
    font: QFont
    ratio: float = 1.0
    over_picture: bool = False
    labels: list[QRectF] = field(default_factory=list)

    def x(self, values: np.ndarray) -> np.ndarray:
        """Pixels from the left of view coordinates on x."""
        return np.clip(values * self.x_scale + self.x_offset, -FAR, FAR)

    def y(self, values: np.ndarray) -> np.ndarray:
        """Pixels from the top of view coordinates on y."""
        return np.clip(values * self.y_scale + self.y_offset, -FAR, FAR)

    def point(self, x: float, y: float) -> QPointF:
        """The pixel of one point."""
        return QPointF(
            float(np.clip(x * self.x_scale + self.x_offset, -FAR, FAR)),
            float(np.clip(y * self.y_scale + self.y_offset, -FAR, FAR)),
        )

    def color(self, role: str, opacity: float = 1.0) -> QColor:
        """The colour of a role; see-through ones are mixed with the card where nothing else lies below.

        Opaque lines may be drawn one by one without darker joints.
        """
        if opacity >= 1.0 or self.over_picture:
            return self.theme.color(role, min(max(opacity, 0.0), 1.0))
        return mixed(self.theme.color("card"), self.theme.color(role), opacity)


def mixed(ground: QColor, color: QColor, amount: float) -> QColor:
    """``amount`` (0..1) of a colour on a ground."""
    amount = min(max(amount, 0.0), 1.0)
    return QColor.fromRgbF(
        ground.redF() + (color.redF() - ground.redF()) * amount,
        ground.greenF() + (color.greenF() - ground.greenF()) * amount,
        ground.blueF() + (color.blueF() - ground.blueF()) * amount,
    )


class Segments:
    """Many separate lines, drawn with one call; keeps its memory."""

    def __init__(self) -> None:
        self._memory = internals.PrimitiveArray(QLineF, 4)

    def draw(self, painter: QPainter, x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray) -> None:
        """Draw lines from (x0, y0) to (x1, y1), in pixels, of shape (N,); none may be NaN."""
        if len(x0) == 0:
            return
        self._memory.resize(len(x0))
        array = self._memory.ndarray()
        array[:, 0], array[:, 1], array[:, 2], array[:, 3] = x0, y0, x1, y1
        painter.drawLines(*self._memory.drawargs())


class Rectangles:
    """Many rectangles, drawn with one call; keeps its memory."""

    def __init__(self) -> None:
        self._memory = internals.PrimitiveArray(QRectF, 4)

    def draw(
        self, painter: QPainter, x: np.ndarray, y: np.ndarray, width: np.ndarray, height: np.ndarray
    ) -> None:
        """Draw rectangles with the top left corner (x, y), in pixels, of shape (N,); none may be NaN."""
        if len(x) == 0:
            return
        self._memory.resize(len(x))
        array = self._memory.ndarray()
        array[:, 0], array[:, 1], array[:, 2], array[:, 3] = x, y, width, height
        painter.drawRects(*self._memory.drawargs())


def runs(broken: np.ndarray) -> list[tuple[int, int]]:
    """The stretches [start, stop) of False in a boolean array, for areas with gaps."""
    edges = np.flatnonzero(np.diff(np.concatenate(([True], broken, [True])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def visible_slice(x: np.ndarray, space: Space) -> slice:
    """The part of sorted pixels ``x`` that is seen, with a neighbour at either side."""
    left, right = space.rect.left() - 2, space.rect.right() + 2
    start, stop = np.searchsorted(x, (left, right))
    return slice(max(int(start) - 1, 0), min(int(stop) + 1, len(x)))


def thinned(x: np.ndarray, y: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """A curve with sorted ``x`` in pixels, cut down to the lowest and highest point of each column of pixels.

    Peaks stay; columns with nothing but NaN stay as breaks. Curves with few points come back as they are.
    """
    if len(x) <= 3 * max(width, 1.0):
        return x, y
    columns = np.floor(x).astype(np.int64)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(columns)) + 1))
    low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
    first = y[starts]
    # The end that is nearer to where the column began comes first, which keeps a smooth curve smooth.
    swap = np.abs(first - low) > np.abs(first - high)
    new_x, new_y = np.repeat(x[starts], 2), np.empty(2 * len(starts))
    new_y[0::2], new_y[1::2] = np.where(swap, high, low), np.where(swap, low, high)
    return new_x, new_y


def dashed(x: np.ndarray, y: np.ndarray, dash: Dash, width: float) -> tuple[np.ndarray, ...]:
    """The ends (x0, y0, x1, y1) of the dashes along a curve in pixels; NaN breaks it."""
    on, off = (length * max(width, 1.0) for length in _DASHES[dash])
    steps = np.hypot(np.diff(x), np.diff(y))
    steps[~np.isfinite(steps)] = 0.0
    length = np.concatenate(([0.0], np.cumsum(steps)))
    count = int(min(length[-1] / (on + off) + 1, 20_000))
    cuts = (np.arange(count)[:, None] * (on + off) + np.array([0.0, on])).ravel()
    cuts = cuts[cuts < length[-1]]
    # Where in the curve each cut lies; the curve's own corners are cuts as well.
    at = np.searchsorted(length, cuts, side="right") - 1
    at = np.clip(at, 0, len(x) - 2) if len(x) > 1 else at
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(steps[at] > 0, (cuts - length[at]) / steps[at], 0.0)
        cut_x, cut_y = x[at] + part * (x[at + 1] - x[at]), y[at] + part * (y[at + 1] - y[at])
    all_length, all_x, all_y = (
        np.concatenate((length, cuts)),
        np.concatenate((x, cut_x)),
        np.concatenate((y, cut_y)),
    )
    order = np.argsort(all_length, kind="stable")
    all_length, all_x, all_y = all_length[order], all_x[order], all_y[order]
    middle = (all_length[:-1] + all_length[1:]) / 2
    drawn = (middle % (on + off) < on) & np.isfinite(all_y[:-1] + all_y[1:] + all_x[:-1] + all_x[1:])
    drawn &= all_length[1:] > all_length[:-1]
    return all_x[:-1][drawn], all_y[:-1][drawn], all_x[1:][drawn], all_y[1:][drawn]


def draw_curve(
    painter: QPainter,
    segments: Segments,
    x: np.ndarray,
    y: np.ndarray,
    color: QColor,
    width: float,
    dash: Dash = "solid",
) -> None:
    """Draw a curve in pixels; NaN breaks it."""
    if len(x) < 2:
        return
    pen = QPen(color, width)
    opaque = color.alpha() == 255
    # Square ends close the joints of thick lines; on a see-through colour they would show as dots.
    pen.setCapStyle(Qt.PenCapStyle.SquareCap if opaque and dash == "solid" else Qt.PenCapStyle.FlatCap)
    painter.setPen(pen)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    if dash != "solid":
        segments.draw(painter, *dashed(x, y, dash, width))
        return
    if len(x) <= 4 * _FEW and _draw_calm(painter, pen, x, y):
        return
    whole = np.isfinite(x[:-1] + x[1:] + y[:-1] + y[1:])
    if whole.all():
        segments.draw(painter, x[:-1], y[:-1], x[1:], y[1:])
    else:
        segments.draw(painter, x[:-1][whole], y[:-1][whole], x[1:][whole], y[1:][whole])


def _draw_calm(painter: QPainter, pen: QPen, x: np.ndarray, y: np.ndarray) -> bool:
    """Draw a curve of few bends as one line with proper joints; False, and nothing drawn, if that would be slow."""
    dx, dy = np.abs(np.diff(x)), np.abs(np.diff(y))
    stride = -(-len(x) // _FEW)
    if stride > 1:
        y_few = y[::stride]
        # Leaving points out is allowed where no bend goes with them.
        with np.errstate(invalid="ignore"):
            lost = (
                float(dy.sum())
                - float(np.abs(np.diff(y_few)).sum())
                - float(dy[(len(y_few) - 1) * stride :].sum())
            )
        if not lost < 1.5:
            return False
        x, y = np.append(x[::stride], x[-1]), np.append(y_few, y[-1])
    parts = runs(~np.isfinite(x + y))
    if len(parts) > 20 or float(np.nansum(dy) + np.nansum(dx)) > 6_000:
        return False
    pen = QPen(pen)
    pen.setCapStyle(Qt.PenCapStyle.FlatCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin if pen.widthF() > 2.5 else Qt.PenJoinStyle.BevelJoin)
    painter.setPen(pen)
    for start, stop in parts:
        if stop - start > 1:
            painter.drawPolyline(polygon(x[start:stop], y[start:stop]))
    return True


def draw_area(
    painter: QPainter, x: np.ndarray, low: np.ndarray, high: np.ndarray, brush: QBrush | QColor
) -> None:
    """Fill between two curves in pixels over sorted ``x``; NaN makes gaps."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(brush)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    for start, stop in runs(~np.isfinite(x + low + high)):
        if stop - start > 1:
            part = slice(start, stop)
            painter.drawPolygon(polygon(np.r_[x[part], x[part][::-1]], np.r_[low[part], high[part][::-1]]))


def polygon(x: np.ndarray, y: np.ndarray) -> QPolygonF:
    """Points in pixels as Qt wants them."""
    return arrayToQPolygonF(x, y)


def cosmetic(value: float) -> float:
    """The middle of the pixel that holds a coordinate, where a line of one pixel is sharp."""
    return float(np.floor(value)) + 0.5


def draw_text(
    painter: QPainter, space: Space, rect: QRectF, text: str, color: str = "text", ground: float = 0.8
) -> None:
    """Write a line of text on a veil of the card's colour, so that it can be read over data."""
    if ground:
        painter.fillRect(rect.adjusted(-2, 0, 2, 0), space.theme.color("card", ground))
    painter.setFont(space.font)
    painter.setPen(space.theme.color(color))
    painter.drawText(rect, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip, text)


def text_size(font: QFont, text: str) -> tuple[float, float]:
    """Width and height of a line of text in pixels."""
    return _text_size(font.toString(), text)


@lru_cache(maxsize=4096)
def _text_size(description: str, text: str) -> tuple[float, float]:
    font = QFont()
    font.fromString(description)
    metrics = QFontMetricsF(font)
    return float(metrics.horizontalAdvance(text)), float(metrics.height())


__all__ = [
    "FAR",
    "Rectangles",
    "Segments",
    "Space",
    "cosmetic",
    "dashed",
    "draw_area",
    "draw_curve",
    "draw_text",
    "mixed",
    "polygon",
    "runs",
    "text_size",
    "thinned",
    "visible_slice",
]
