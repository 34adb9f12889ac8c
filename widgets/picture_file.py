"""A picture file as an array, read with Qt; any thread.

Only what Qt decodes is opened, by its content and not by its name, and sizes are checked before memory is taken.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QImage, QImageReader, QPainter

from engines.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
"""Endings of names that are taken for pictures."""

LARGEST = 50_000_000
"""Pixels; a file that declares more is taken for a decompression bomb."""

LONGEST_SIDE = 4096
"""Larger pictures are scaled down to this side."""


def read_picture(path: Path) -> np.ndarray:
    """The picture of a file, upright, transparent parts on white; (H, W, 3) uint8.

    Raises
    ------
    InputError
        It cannot be opened, is no picture, is damaged, or declares too many pixels.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file that can be opened: choose a picture.")
    reader = QImageReader(str(path))
    reader.setDecideFormatFromContent(True)
    reader.setAutoTransform(True)
    size: QSize = reader.size()
    if size.isValid() and size.width() * size.height() > LARGEST:
        raise InputError(
            f"{path.name} declares {size.width()} x {size.height()} pixels, more than are opened: scale it down first."
        )
    image: QImage = reader.read()
    if image.isNull():
        raise InputError(f"{path.name} is no picture that can be read: choose a PNG, JPEG, BMP or WEBP file.")
    if max(image.width(), image.height()) > LONGEST_SIDE:
        image = image.scaled(
            LONGEST_SIDE,
            LONGEST_SIDE,
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
    paper = QImage(image.size(), QImage.Format.Format_RGB888)
    paper.fill(Qt.GlobalColor.white)
    painter = QPainter(paper)
    painter.drawImage(0, 0, image)
    painter.end()
    # Rows are padded to whole words.
    pixels = np.frombuffer(paper.constBits(), np.uint8).reshape(paper.height(), paper.bytesPerLine())
    return pixels[:, : 3 * paper.width()].reshape(paper.height(), paper.width(), 3).copy()


__all__ = ["LARGEST", "SUFFIXES", "read_picture"]
