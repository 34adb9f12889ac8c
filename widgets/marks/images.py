"""Artists of heat maps and pictures; run on the GUI thread."""

from __future__ import annotations

import math

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QImage, QPainter

from engines.figures import Heatmap, ImageGrid, to_uint8
from widgets.marks.artist import Artist
from widgets.marks.colors import color_table, value_limits
from widgets.marks.limits import montage_size
from widgets.marks.space import Space, text_size
from widgets.marks.ticks import number_text
from widgets.theme import Theme

_SMALLEST_TEXT = 8
"""Pixels of the smallest names above columns."""

_LARGEST = 4_000_000
"""Device pixels of a scaled picture that is kept; beyond, the visible part is drawn directly."""


class _Scaled:
    """Draws an array of 32-bit pixels into a rectangle: sharp pixels when larger, smooth when smaller.

    What was scaled is kept until the array or the size changes. Enlarging by a broken factor would make some pixels
    wider than others; so it goes to the next whole factor first and from there smoothly to the size.
    """

    def __init__(self, image_format: QImage.Format) -> None:
        self._format = image_format
        self._array = np.zeros((1, 1), dtype=np.uint32)
        self._image: QImage | None = None
        self._scaled: QImage | None = None

    def set_array(self, array: np.ndarray) -> None:
        """Draw this array from now on, uint32 of shape (H, W); it is kept alive with the image that looks at it."""
        array = np.ascontiguousarray(array, dtype=np.uint32)
        height, width = array.shape
        self._array = array
        self._image = QImage(array.data, width, height, width * 4, self._format)
        self._scaled = None

    def draw(self, painter: QPainter, target: QRectF, ratio: float) -> None:
        """Draw the array so that it fills ``target``, in logical pixels."""
        if self._image is None or target.width() < 0.5 or target.height() < 0.5:
            return
        width, height = max(round(target.width() * ratio), 1), max(round(target.height() * ratio), 1)
        if width * height > _LARGEST:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)
            painter.drawImage(target, self._image)
            return
        if self._scaled is None or self._scaled.width() != width or self._scaled.height() != height:
            self._scaled = self._scale(width, height)
        self._scaled.setDevicePixelRatio(ratio)
        # On whole device pixels nothing is resampled once more.
        corner = QPointF(round(target.left() * ratio) / ratio, round(target.top() * ratio) / ratio)
        painter.drawImage(corner, self._scaled)

    def _scale(self, width: int, height: int) -> QImage:
        assert self._image is not None
        image = self._image
        across, down = width / image.width(), height / image.height()
        smooth = Qt.TransformationMode.SmoothTransformation
        if across > 1 or down > 1:
            wide, high = math.ceil(max(across, 1.0) - 1e-9), math.ceil(max(down, 1.0) - 1e-9)
            image = image.scaled(image.width() * wide, image.height() * high)
            if (image.width(), image.height()) == (width, height):
                return image
            if max(wide, high) > 8:
                # At such sizes one device pixel more or less is not seen.
                return self._image.scaled(width, height)
        return image.scaled(width, height, Qt.AspectRatioMode.IgnoreAspectRatio, smooth)


class HeatmapArtist(Artist[Heatmap]):
    """Draws `Heatmap`; NaN is transparent."""

    is_picture = True

    def __init__(self) -> None:
        super().__init__()
        self._picture = _Scaled(QImage.Format.Format_ARGB32_Premultiplied)
        self._index = np.zeros((1, 1), dtype=np.uint8)
        self._missing: np.ndarray | None = None
        self._painted_for: tuple[str, bool, bool] | None = None
        self.limits = (0.0, 1.0)

    def prepare(self) -> None:
        values = np.asarray(self.mark.values, dtype=np.float32)
        if values.ndim != 2 or values.size == 0:
            values = np.full((1, 1), np.nan, dtype=np.float32)
        self.limits = value_limits(values, self.mark.limits, self.mark.colors)
        low, high = self.limits
        self.not_finite = int(np.count_nonzero(np.isinf(values)))
        scaled = np.clip((values - low) * (255.0 / (high - low)) + 0.5, 0.0, 255.0)
        missing = np.isnan(scaled)
        self._missing = missing if missing.any() else None
        if self._missing is not None:
            scaled[missing] = 0.0
        self._index = scaled.astype(np.uint8)
        self._painted_for = None

    def paint(self, painter: QPainter, space: Space) -> None:
        x0, x1, y0, y1 = self.mark.extent
        sides = self.view_x(np.array([x0, x1])), self.view_y(np.array([y0, y1]))
        if not np.isfinite(sides).all():
            return
        left, right = sides[0] * space.x_scale + space.x_offset
        foot, top = sides[1] * space.y_scale + space.y_offset
        state = (space.theme.name, bool(left > right), bool(foot > top))
        if state != self._painted_for:
            # Row 0 belongs to y0, which is at the bottom unless the axis points down.
            index = self._index[:: -1 if foot > top else 1, :: -1 if left > right else 1]
            pixels = color_table(space.theme, self.mark.colors, self.mark.role)[index]
            if self._missing is not None:
                pixels[self._missing[:: -1 if foot > top else 1, :: -1 if left > right else 1]] = 0
            self._picture.set_array(pixels)
            self._painted_for = state
        painter.save()
        painter.setOpacity(self.mark.opacity)
        target = QRectF(min(left, right), min(top, foot), abs(right - left), abs(foot - top))
        self._picture.draw(painter, target, space.ratio)
        painter.restore()

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        painter.setPen(Qt.PenStyle.NoPen)
        table = color_table(theme, self.mark.colors, self.mark.role)
        image = QImage(
            np.ascontiguousarray(table).data, 256, 1, 1024, QImage.Format.Format_ARGB32_Premultiplied
        )
        painter.drawImage(rect, image)

    def read(self, x: float, y: float, space: Space) -> str:
        x0, x1, y0, y1 = self.mark.extent
        a0, a1 = self.view_x(np.array([x0, x1]))
        b0, b1 = self.view_y(np.array([y0, y1]))
        across, up = (x - a0) / (a1 - a0), (y - b0) / (b1 - b0)
        if not (0 <= across < 1 and 0 <= up < 1):
            return ""
        height, width = self.mark.values.shape
        value = float(self.mark.values[int(up * height), int(across * width)])
        name = self.mark.values_label or self.mark.label
        return f"{name} {number_text(value)}".strip()


class ImageGridArtist(Artist[ImageGrid]):
    """Draws `ImageGrid` as one image, with the labels of rows and columns beside it."""

    is_picture = True

    def __init__(self) -> None:
        super().__init__()
        self._picture = _Scaled(QImage.Format.Format_RGB32)
        self._pictures = np.zeros((0, 1, 1), dtype=np.uint8)
        self._ground: int | None = None

    def prepare(self) -> None:
        images = np.asarray(self.mark.images)
        self.count_faults(images)
        self._pictures = to_uint8(images)
        self._ground = None

    def room(self, font: QFont) -> tuple[float, float, float, float]:
        left = max((text_size(font, text)[0] for text in self.mark.row_labels), default=-12.0) + 12.0
        top = text_size(font, "Ag")[1] + 4.0 if any(self.mark.column_labels) else 0.0
        return left, top, 0.0, 0.0

    def paint(self, painter: QPainter, space: Space) -> None:
        ground = space.theme.color("card").rgb() & 0xFFFFFFFF
        if ground != self._ground:
            self._picture.set_array(self._tiled(ground))
            self._ground = ground
        width, height = montage_size(self.mark)
        corner, end = space.point(0.0, 0.0), space.point(float(width), float(height))
        target = QRectF(corner, end).normalized()
        painter.save()
        painter.setOpacity(self.mark.opacity)
        self._picture.draw(painter, target, space.ratio)
        painter.restore()
        self._paint_labels(painter, space, target)

    def _tiled(self, ground: int) -> np.ndarray:
        pictures = self._pictures
        width, height = montage_size(self.mark)
        canvas = np.full((height, width), ground, dtype=np.uint32)
        if not len(pictures):
            return canvas
        if pictures.ndim == 3:
            pixels: np.ndarray = pictures.astype(np.uint32) * np.uint32(0x010101)
        else:
            wide = pictures[..., :3].astype(np.uint32)
            pixels = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
        pixels |= np.uint32(0xFF000000)
        count, high, wide_ = pixels.shape
        gap = self.mark.gap
        columns = max(1, min(self.mark.columns, count))
        for row in range(-(-count // columns)):
            part = pixels[row * columns : (row + 1) * columns]
            top = row * (high + gap)
            strip = np.full((high, len(part), wide_ + gap), ground, dtype=np.uint32)
            strip[:, :, :wide_] = part.transpose(1, 0, 2)
            flat = strip.reshape(high, -1)
            canvas[top : top + high, : min(flat.shape[1], width)] = flat[:, :width]
        return canvas

    def _paint_labels(self, painter: QPainter, space: Space, target: QRectF) -> None:
        mark = self.mark
        if not mark.row_labels and not mark.column_labels:
            return
        high, wide = mark.images.shape[1:3]
        painter.setFont(space.font)
        painter.setPen(space.theme.color("muted"))
        flags = Qt.TextFlag.TextDontClip
        step_y, step_x = abs(space.y_scale), abs(space.x_scale)
        # Where rows are lower than a line of text, names would lie on each other.
        row_labels = mark.row_labels if (high + mark.gap) * step_y >= 10.0 else ()
        for row, text in enumerate(row_labels):
            middle = target.top() + (row * (high + mark.gap) + high / 2) * step_y
            place = QRectF(target.left() - 208.0, middle - 10.0, 200.0, 20.0)
            painter.drawText(place, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter | flags, text)
        names = mark.column_labels
        if len(names) > 1:
            font, names = fitted_names(names, space.font, (wide + mark.gap) * step_x - 2.0)
            painter.setFont(font)
        for column, text in enumerate(names):
            middle = target.left() + (column * (wide + mark.gap) + wide / 2) * step_x
            place = QRectF(middle - 100.0, target.top() - 24.0, 200.0, 20.0)
            painter.drawText(
                place, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom | flags, text
            )

    def read(self, x: float, y: float, space: Space) -> str:
        if not len(self.mark.images):
            return ""
        found = self.mark.locate(x, y)
        if found is None:
            return ""
        index, row, column = found
        value = np.asarray(self.mark.images)[index, row, column]
        shown = (
            ", ".join(number_text(float(part), 3) for part in value)
            if np.ndim(value)
            else number_text(float(value), 3)
        )
        return f"picture {index + 1} · row {row + 1}, column {column + 1} · {shown}"


def fitted_names(names: tuple[str, ...], font: QFont, room: float) -> tuple[QFont, tuple[str, ...]]:
    """A font, and names as they are drawn in it, so that none is wider than its room in pixels and touches the next one."""
    widest = max((text_size(font, name)[0] for name in names), default=0.0)
    if widest <= room:
        return font, names
    smaller = QFont(font)
    smaller.setPixelSize(max(_SMALLEST_TEXT, int(font.pixelSize() * room / widest)))
    metrics = QFontMetricsF(smaller)
    return smaller, tuple(metrics.elidedText(name, Qt.TextElideMode.ElideRight, room) for name in names)


__all__ = ["HeatmapArtist", "ImageGridArtist", "fitted_names"]
