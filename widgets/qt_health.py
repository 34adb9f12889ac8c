"""Does this PySide6 keep Python's references while it paints? Runs on the GUI thread of a process of its own.

Some versions (6.12.0 under Python 3.11) give back references to None that they never took, thousands a minute, until the
interpreter aborts with "deallocating None". ``python -m widgets.qt_health`` paints and prints how many were lost.
"""

from __future__ import annotations

import os
import sys

import numpy as np

FRAMES = 300
TOLERANCE = 200
"""References to None that caches may give back in good health; the fault loses several in every frame."""


def counts_references() -> bool:
    """Whether None is counted at all; since Python 3.12 it is immortal, and the fault harmless."""
    return sys.version_info < (3, 12)


def references_lost(frames: int = FRAMES) -> int:
    """Paint curves, points and an image, and return by how much the references to None fell; below zero if they rose.

    Stops early when the loss is beyond doubt, because at zero the interpreter aborts.

    Parameters
    ----------
    frames : int
        How many pictures are painted with a `FigureView`, and with each of pyqtgraph's own items.
    """
    import pyqtgraph as pg
    from PySide6.QtWidgets import QApplication, QHBoxLayout, QWidget

    from engines.figures import HIDDEN, Axis, ImageGrid, Lines, Panels, Plot, Scatter, VectorField
    from widgets.figure_view import FigureView

    app = QApplication.instance() or QApplication([])
    random = np.random.default_rng(0)
    x = np.arange(500.0)
    values = random.normal(size=(4, 500))
    images = random.random((4, 12, 8, 8)).astype(np.float32)

    window = QWidget()
    row = QHBoxLayout(window)
    plot = pg.PlotWidget()
    curve = pg.PlotCurveItem(pen=pg.mkPen("#0072B2", width=2))
    points = pg.ScatterPlotItem(size=5, brush="#E69F00")
    image = pg.ImageItem()
    for item in (image, points, curve):
        plot.addItem(item)
    view = FigureView()
    row.addWidget(plot)
    row.addWidget(view)
    window.resize(700, 320)
    window.show()

    def paint_curve(frame: int) -> None:
        curve.setData(x, values[frame % 4])

    def paint_points(frame: int) -> None:
        points.setData(x[:200], values[frame % 4, :200])

    def paint_image(frame: int) -> None:
        image.setImage(images[frame % 4, 0], autoLevels=False, levels=(0.0, 1.0))

    def paint_view(frame: int) -> None:
        y = values[frame % 4]
        marks = (Lines(x, y), Scatter(x, y), VectorField(x[:50], y[:50], y[:50], y[:50]))
        pictures = Plot((ImageGrid(images[frame % 4]),), HIDDEN, HIDDEN)
        view.set_figure(Panels((Plot(marks, Axis("Step"), Axis("Value")), pictures), 2))

    worst = -sys.maxsize
    # One kind after the other, so that what one of them loses is not hidden by what another keeps.
    for paint in (paint_view, paint_curve, paint_points, paint_image):
        for frame in range(20):  # fonts, caches, the first layout
            paint(frame)
            app.processEvents()
        before = sys.getrefcount(None)
        for frame in range(frames):
            paint(frame)
            app.processEvents()
            lost = before - sys.getrefcount(None)
            if lost > 10 * TOLERANCE:
                window.close()
                return lost
        worst = max(worst, lost)
    window.close()
    return worst


def main() -> int:
    """Paint without a display and print the number of references lost; 1 if that is too many, else 0."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    lost = references_lost()
    print(lost, flush=True)
    return int(counts_references() and lost > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
