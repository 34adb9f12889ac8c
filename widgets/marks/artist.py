"""What draws one mark: the base of all artists; runs on the GUI thread."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QFont, QPainter

from engines.figures import Mark, Plot
from widgets.marks.limits import view_values
from widgets.marks.space import Space
from widgets.theme import Theme

M = TypeVar("M", bound=Mark)


class Artist(Generic[M]):
    """Draws one mark of a plot; made once, then given newer marks of the same type.

    Attributes
    ----------
    mark : Mark
        What is drawn now; its arrays are kept, never written to.
    not_finite : int
        Values that cannot be drawn because they are NaN or infinite where that means nothing.
    not_positive : int
        Values that a log axis cannot show.
    is_picture : bool
        Whether the mark covers the ground, so that what comes later lies on it.
    """

    is_picture = False

    def __init__(self) -> None:
        self.mark: M
        self.not_finite = 0
        self.not_positive = 0
        self.x_log = False
        self.y_log = False

    def set_mark(self, mark: M, plot: Plot) -> None:
        """Draw this mark from now on; the arrays go into view coordinates here, once."""
        self.mark = mark
        self.x_log, self.y_log = plot.x.scale == "log", plot.y.scale == "log"
        self.not_finite = self.not_positive = 0
        self.prepare()

    def prepare(self) -> None:
        """Turn the new mark into what painting needs."""

    def paint(self, painter: QPainter, space: Space) -> None:
        """Draw the mark; the painter is in logical pixels."""
        raise NotImplementedError

    def paint_label(self, painter: QPainter, space: Space) -> None:
        """Write the mark's name inside the axes, if it has its place there; after all marks, so that none covers it."""

    def paint_swatch(self, painter: QPainter, rect: QRectF, theme: Theme) -> None:
        """Draw the sample of the mark in the legend, in a box about 16 by 10 pixels."""
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.color(self.mark.role, self.mark.opacity))
        painter.drawRect(rect.adjusted(3, 1, -3, -1))

    def read(self, x: float, y: float, space: Space) -> str:
        """What the mark says at a point in view coordinates, for the readout; empty for nothing."""
        return ""

    def room(self, font: QFont) -> tuple[float, float, float, float]:
        """Pixels (left, top, right, bottom) that the mark needs beyond its data: for names, symbols, labels."""
        return 0.0, 0.0, 0.0, 0.0

    def view_x(self, values: np.ndarray) -> np.ndarray:
        """Values on x in view coordinates."""
        return view_values(values, self.x_log)

    def view_y(self, values: np.ndarray) -> np.ndarray:
        """Values on y in view coordinates."""
        return view_values(values, self.y_log)

    def count_faults(self, *values: np.ndarray, log: bool = False) -> None:
        """Note how many values cannot be drawn."""
        for array in values:
            array = np.asarray(array)
            if array.size == 0 or array.dtype.kind not in "fc":
                if log and array.size:
                    self.not_positive += int(np.count_nonzero(array <= 0))
                continue
            # A sum is finite only if all are, save for overflow, which the exact count settles.
            with np.errstate(over="ignore", invalid="ignore"):
                if not np.isfinite(array.sum(dtype=np.float64)):
                    self.not_finite += int(array.size - np.count_nonzero(np.isfinite(array)))
                if log:
                    self.not_positive += int(np.count_nonzero(array <= 0))


__all__ = ["Artist", "M"]
