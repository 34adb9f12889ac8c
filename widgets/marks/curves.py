"""Artists of curves, bands, bars and reference lines; run on the GUI thread."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen

from engines.figures import Bars, Histogram, Lines, Ribbon, Rule
from widgets.marks.artist import Artist, M
from widgets.marks.space import (
    Rectangles,
    Segments,
    Space,
    cosmetic,
    draw_area,
    draw_curve,
    draw_text,
    text_size,
    thinned,
    visible_slice,
)
from widgets.marks.symbols import Stamps
from widgets.marks.ticks import number_text, to_view
from widgets.theme import Theme

_QT_DASHES = {"solid": Qt.PenStyle.SolidLine, "dash": Qt.PenStyle.DashLine, "dot": Qt.PenStyle.DotLine}
POINT_SIZE = 6.0
"""Diameter of the points on a curve, in pixels."""


def _sorted(x: np.ndarray) -> bool:
    return bool(np.all(x[1:] >= x[:-1])) if len(x) else True


class LinesArtist(Artist[Lines]):
    """Draws `Lines`."""

    def __init__(self) -> None:
        super().__init__()
        self._segments, self._stamps = Segments(), Stamps()
        self._x = self._y = np.empty(0)
        self._sorted = True

    def prepare(self) -> None:
        x, y = np.asarray(self.mark.x), np.asarray(self.mark.y)
        # NaN in y is a break and no fault, unless nothing else is there.
        self.not_finite = int(np.count_nonzero(np.isinf(y)))
        if len(y) and not np.isfinite(y).any():
            self.not_finite = len(y)
        breaks = np.isnan(y)
        self.count_faults(x[~breaks] if breaks.any() else x, log=self.x_log)
        if self.y_log:
            self.not_positive += int(np.count_nonzero(y <= 0))
        self._x, self._y = self.view_x(x), self.view_y(y)
        self._sorted = _sorted(self._x)

    def paint(self, painter: QPainter, space: Space) -> None:
        mark = self.mark
        x, y = space.x(self._x), space.y(self._y)
        y[~np.isfinite(self._y)] = np.nan
        color = space.color(mark.role, mark.opacity)
        if self._sorted:
            part = visible_slice(x, space)
            x, y = x[part], y[part]
        line_x, line_y = x, y
        if mark.steps and len(x) > 1:
            line_x, line_y = np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]
        if self._sorted:
            line_x, line_y = thinned(line_x, line_y, space.rect.width())
        draw_curve(painter, self._segments, line_x, line_y, color, mark.width, mark.dash)
        if mark.points:
            finite = np.isfinite(x + y)
            size = POINT_SIZE + (3.0 if mark.role == "hand" else 0.0)
            self._stamps.choose(
                "circle", size, (color.name(),), space.ratio, 1.0, space.theme.role_hex("card")
            )
            self._stamps.draw(painter, x[finite], y[finite])

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        pen = QPen(
            theme.color(self.mark.role, self.mark.opacity),
            max(self.mark.width, 1.5),
            _QT_DASHES[self.mark.dash],
        )
        if self.mark.dash == "dash":
            pen.setDashPattern([3.0, 2.0])
        pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        painter.setPen(pen)
        middle = rect.center().y()
        painter.drawLine(QPointF(rect.left(), middle), QPointF(rect.right(), middle))
        if self.mark.points:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.color(self.mark.role, self.mark.opacity))
            painter.drawEllipse(rect.center(), 3.0, 3.0)

    def read(self, x: float, y: float, space: Space) -> str:
        if not self._sorted or not len(self._x) or not self.mark.label:
            return ""
        index = int(np.clip(np.searchsorted(self._x, x), 1, max(len(self._x) - 1, 1)))
        if self.mark.steps or x - self._x[index - 1] < self._x[min(index, len(self._x) - 1)] - x:
            index -= 1
        return (
            f"{self.mark.label} {number_text(float(np.asarray(self.mark.y)[min(index, len(self._x) - 1)]))}"
        )


MANY = 64
"""Corners from which on a ribbon is drawn as bars."""


class ColumnBars:
    """Fills between two curves with one bar for each column of pixels; keeps its memory."""

    def __init__(self) -> None:
        self._rectangles = Rectangles()

    def draw(
        self, painter: QPainter, x: np.ndarray, low: np.ndarray, high: np.ndarray, space: Space, color: QColor
    ) -> None:
        """Fill from ``low`` to ``high`` over sorted ``x``, all in pixels, of shape (N,) and finite."""
        first, last = max(x[0], space.rect.left()), min(x[-1], space.rect.right())
        columns = np.arange(np.floor(first), np.floor(last) + 1)
        if not len(columns) or np.array_equal(low, high):
            return
        # Pixels grow downwards: what is high has the smaller coordinate.
        top, bottom = np.interp(columns + 0.5, x, high), np.interp(columns + 0.5, x, low)
        own = np.clip(np.floor(x) - columns[0], 0, len(columns) - 1).astype(np.int64)
        np.minimum.at(top, own, high)
        np.maximum.at(bottom, own, low)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        self._rectangles.draw(painter, columns, top, np.ones(len(columns)), bottom - top)


class RibbonArtist(Artist[Ribbon]):
    """Draws `Ribbon`."""

    strength = 0.22

    def __init__(self) -> None:
        super().__init__()
        self._x = self._low = self._high = np.empty(0)
        self._sorted = True
        self._bars = ColumnBars()

    def prepare(self) -> None:
        self.count_faults(self.mark.x, log=self.x_log)
        for values in (self.mark.low, self.mark.high):
            self.not_finite += int(np.count_nonzero(np.isinf(values)))
        self._x = self.view_x(self.mark.x)
        self._low, self._high = self.view_y(self.mark.low), self.view_y(self.mark.high)
        self._sorted = _sorted(self._x)

    def paint(self, painter: QPainter, space: Space) -> None:
        color = space.theme.color(self.mark.role, self.strength * self.mark.opacity)
        x, low, high = space.x(self._x), space.y(self._low), space.y(self._high)
        if self._sorted:
            part = visible_slice(x, space)
            x, low, high = x[part], low[part], high[part]
            if len(x) > MANY and np.isfinite(low + high).all():
                # A polygon of a thousand corners takes Qt ten times as long as a bar for each column of pixels.
                self._bars.draw(painter, x, low, high, space, color)
                return
        draw_area(painter, x, low, high, color)

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.color(self.mark.role, min(1.5 * self.strength, 1.0) * self.mark.opacity))
        painter.drawRect(rect)


class RuleArtist(Artist[Rule]):
    """Draws `Rule`, with its label at the line, out of the way of other labels."""

    def prepare(self) -> None:
        self.count_faults(np.array([self.mark.value], dtype=np.float64))
        log = self.x_log if self.mark.axis == "x" else self.y_log
        self.not_positive = int(log and self.mark.value <= 0)

    def paint(self, painter: QPainter, space: Space) -> None:
        mark, rect, pixel = self.mark, space.rect, self._pixel(space)
        if pixel is None:
            return
        # The role says what the line stands for; at full strength it would outshine the data.
        pen = QPen(space.theme.color(mark.role, mark.opacity), mark.width)
        pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        if mark.dash != "solid":
            pen.setDashPattern([6.0, 4.0] if mark.dash == "dash" else [1.5, 3.0])
        painter.setPen(pen)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        if mark.axis == "y":
            painter.drawLine(QPointF(rect.left(), pixel), QPointF(rect.right(), pixel))
        else:
            painter.drawLine(QPointF(pixel, rect.top()), QPointF(pixel, rect.bottom()))

    def paint_label(self, painter: QPainter, space: Space) -> None:
        pixel = self._pixel(space)
        if self.mark.label and pixel is not None:
            draw_text(painter, space, self._place(pixel, space), self.mark.label, ground=0.75)

    def _pixel(self, space: Space) -> float | None:
        """Where the line is, in pixels across it; None when it is out of sight."""
        across, rect = self.mark.axis == "y", space.rect
        at = to_view(self.mark.value, space.y_axis if across else space.x_axis)
        pixel = at * (space.y_scale if across else space.x_scale) + (
            space.y_offset if across else space.x_offset
        )
        low, high = (rect.top(), rect.bottom()) if across else (rect.left(), rect.right())
        if not low - 1 <= pixel <= high + 1:
            return None
        return cosmetic(min(max(pixel, low), high - 1)) if self.mark.width < 2 else pixel

    def _place(self, pixel: float, space: Space) -> QRectF:
        width, height = text_size(space.font, self.mark.label)
        rect = space.rect
        if self.mark.axis == "y":
            right, left = rect.right() - width - 6, rect.left() + 6
            spots = [(x, y) for y in (pixel - height - 2, pixel + 3) for x in (right, left)]
        else:
            top, low = rect.top() + 4, rect.bottom() - height - 4
            spots = [(x, y) for y in (top, top + height + 2, low) for x in (pixel + 5, pixel - width - 5)]
        places = [QRectF(x, y, width, height) for x, y in spots]
        inside = [place for place in places if rect.contains(place)] or places
        free = [place for place in inside if not any(place.intersects(taken) for taken in space.labels)]
        best = (free or inside)[0]
        space.labels.append(best)
        return best

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        pen = QPen(
            theme.color(self.mark.role, self.mark.opacity), self.mark.width, _QT_DASHES[self.mark.dash]
        )
        painter.setPen(pen)
        painter.drawLine(QPointF(rect.left(), rect.center().y()), QPointF(rect.right(), rect.center().y()))


class _BoxesOnAxis(Artist[M]):
    """What bars and histograms have in common: boxes that stand on a base."""

    def __init__(self) -> None:
        super().__init__()
        self._boxes = Rectangles()
        self._left = self._right = self._top = np.empty(0)
        self._base = 0.0

    def set_boxes(self, left: np.ndarray, right: np.ndarray, top: np.ndarray, base: float) -> None:
        """Edges on x and tops on y as values; faults are counted."""
        self.count_faults(left, right, log=self.x_log)
        self.count_faults(top)
        if self.y_log:
            # An empty bar on a log axis is simply not there.
            self.not_positive += int(np.count_nonzero(np.asarray(top) < 0))
        self._left, self._right = self.view_x(left), self.view_x(right)
        self._top = self.view_y(top)
        self._base = float(self.view_y(np.array([base]))[0])

    def pixels(self, space: Space) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Left, right and top of the boxes that can be drawn, and their base, on whole pixels."""
        good = np.isfinite(self._left + self._right + self._top)
        left, right = np.rint(space.x(self._left[good])), np.rint(space.x(self._right[good]))
        foot = self._base * space.y_scale + space.y_offset if np.isfinite(self._base) else space.rect.bottom()
        return left, right, np.rint(space.y(self._top[good])), float(np.rint(np.clip(foot, -30_000, 30_000)))


class BarsArtist(_BoxesOnAxis[Bars]):
    """Draws `Bars`."""

    def prepare(self) -> None:
        x = np.asarray(self.mark.x, dtype=np.float64)
        half = self.mark.width / 2
        self.set_boxes(
            x - half,
            x + half,
            np.asarray(self.mark.base + self.mark.height, dtype=np.float64),
            self.mark.base,
        )

    def paint(self, painter: QPainter, space: Space) -> None:
        left, right, top, base = self.pixels(space)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(space.color(self.mark.role, 0.9 * self.mark.opacity))
        width = np.maximum(right - left, 1.0)
        # Even a bar of nothing shows that it is there.
        height = np.where(np.abs(base - top) < 1.0, 1.0, base - top)
        self._boxes.draw(painter, left, np.where(height > 0, base - height, base), width, np.abs(height))

    def read(self, x: float, y: float, space: Space) -> str:
        with np.errstate(invalid="ignore"):
            hit = np.flatnonzero((self._left <= x) & (x <= self._right))
        if not len(hit):
            return ""
        text = number_text(float(np.asarray(self.mark.height)[hit[0]]))
        return f"{self.mark.label} {text}" if self.mark.label else text


class HistogramArtist(_BoxesOnAxis[Histogram]):
    """Draws `Histogram`: a faint area under a clear outline, so that several can lie on each other."""

    def __init__(self) -> None:
        super().__init__()
        self._segments = Segments()

    def prepare(self) -> None:
        edges = np.asarray(self.mark.edges, dtype=np.float64)
        self.set_boxes(edges[:-1], edges[1:], np.asarray(self.mark.counts, dtype=np.float64), 0.0)
        # The outline goes along the ground where there is no count.
        ground = self._base if np.isfinite(self._base) else -1e6
        self._top = np.where(np.isfinite(self._top), self._top, ground)

    def paint(self, painter: QPainter, space: Space) -> None:
        left, right, top, base = self.pixels(space)
        if not len(left):
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(space.theme.color(self.mark.role, 0.30 * self.mark.opacity))
        self._boxes.draw(painter, left, np.minimum(top, base), right - left, np.abs(base - top))
        x = np.column_stack((left, right)).ravel()
        y = np.repeat(top, 2)
        x, y = np.r_[x[0], x, x[-1]], np.r_[base, y, base]
        pen = QPen(space.color(self.mark.role, self.mark.opacity), 1.0)
        painter.setPen(pen)
        self._segments.draw(painter, x[:-1], y[:-1], x[1:], y[1:])

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(QPen(theme.color(self.mark.role, self.mark.opacity), 1.0))
        painter.setBrush(theme.color(self.mark.role, 0.30 * self.mark.opacity))
        painter.drawRect(rect.adjusted(3, 1, -3, -1))

    def read(self, x: float, y: float, space: Space) -> str:
        with np.errstate(invalid="ignore"):
            hit = np.flatnonzero((self._left <= x) & (x < self._right))
        if not len(hit):
            return ""
        text = number_text(float(np.asarray(self.mark.counts)[hit[0]]))
        return f"{self.mark.label} {text}" if self.mark.label else text


__all__ = ["BarsArtist", "HistogramArtist", "LinesArtist", "RibbonArtist", "RuleArtist"]
