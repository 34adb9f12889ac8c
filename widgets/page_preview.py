"""Shows a page as it will be printed, on a desk: at its true size, fitted, or zoomed; runs on the GUI thread."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import (
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QScreen,
    QShowEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QWidget

from widgets.look import current_theme

SMALLEST, LARGEST = 0.1, 8.0
"""Zooms; 1 is the true size."""

MARGIN = 20
"""Pixels of desk around the page."""

PATIENCE_MS = 400
"""How long a page may be out of date before it is told that a newer one is on its way."""

Zoom = float | Literal["true", "fit"]


def dots_per_inch(screen: QScreen) -> float:
    """Logical pixels to an inch of the glass; what the desktop assumes where the screen says nonsense of its size."""
    physical = screen.physicalDotsPerInch()
    return physical if 40.0 <= physical <= 400.0 else screen.logicalDotsPerInch()


class PagePreview(QAbstractScrollArea):
    """One page on a desk.

    The wheel zooms about the mouse, dragging moves, and so do the arrow keys; ``+`` and ``-`` zoom, 1 is the true size and
    0 fits.

    Signals
    -------
    zoom_changed(float)
        Times the true size, also when fitting has changed it.
    """

    zoom_changed = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFrameShape(QAbstractScrollArea.Shape.NoFrame)
        self.setMinimumSize(240, 180)
        self.setAccessibleName("Preview of the page")
        self._image: QImage | None = None
        self._width = self._height = 0.0
        self._sentence = ""
        self._mode: Zoom = "true"
        self._told = 1.0
        self._grabbed: QPoint | None = None
        self._small: QImage | None = None
        """The page as it was last shown smaller than it is."""
        self._late = False
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.timeout.connect(self._on_patience_timeout)

    def sizeHint(self) -> QSize:
        return QSize(560, 420)

    # --- what is shown  ----------

    def set_page(self, pixels: np.ndarray, width: float, height: float) -> None:
        """Show a page.

        Parameters
        ----------
        pixels : array (H, W, 3) of uint8
            Of any resolution; copied.
        width, height : float
            Of the page in inches.
        """
        pixels = np.ascontiguousarray(pixels)
        rows, columns = pixels.shape[:2]
        image = QImage(pixels.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
        self._image, self._width, self._height = image, width, height
        self._small = None
        self._sentence = ""
        self.setAccessibleDescription(f"{width:.2f} by {height:.2f} inches")
        self.set_waiting(False)
        self._arrange()

    def show_sentence(self, sentence: str) -> None:
        """Say why there is no page."""
        self._image, self._small, self._sentence = None, None, sentence
        self.setAccessibleDescription(sentence)
        self.set_waiting(False)
        self._arrange()

    def set_waiting(self, waiting: bool) -> None:
        """Tell that a newer page is on its way; it is shown only when that takes long."""
        if not waiting:
            self._patience.stop()
            self._late = False
        elif not self._patience.isActive() and not self._late:
            self._patience.start()
        self.viewport().update()

    @property
    def sentence(self) -> str:
        """What stands in the page's place; empty while there is a page."""
        return self._sentence

    @property
    def image(self) -> QImage | None:
        """The page."""
        return self._image

    def page_rect(self) -> QRectF:
        """Where the page lies on the viewport, in logical pixels; empty when there is none."""
        if self._image is None:
            return QRectF()
        size = self._page_size()
        view = self.viewport().size()
        left = (view.width() - size.width()) / 2
        top = (view.height() - size.height()) / 2
        if size.width() + 2 * MARGIN > view.width():
            left = MARGIN - self.horizontalScrollBar().value()
        if size.height() + 2 * MARGIN > view.height():
            top = MARGIN - self.verticalScrollBar().value()
        return QRectF(round(left), round(top), size.width(), size.height())

    # --- zoom  ----------

    @property
    def pixels_per_inch(self) -> float:
        """Logical pixels to an inch of this screen."""
        return dots_per_inch(self.screen())

    @property
    def mode(self) -> Zoom:
        """``"true"``, ``"fit"``, or times the true size."""
        return self._mode

    @property
    def zoom(self) -> float:
        """Times the true size."""
        if not isinstance(self._mode, str):
            return self._mode
        if self._mode == "true":
            return 1.0
        if not self._width or not self._height:
            return 1.0
        # Without scroll bars, which are not needed then.
        room = self.maximumViewportSize() - QSize(2 * MARGIN, 2 * MARGIN)
        dots = self.pixels_per_inch
        fitting = min(room.width() / (self._width * dots), room.height() / (self._height * dots))
        return max(0.02, min(fitting, LARGEST))

    def set_zoom(self, zoom: Zoom, about: QPointF | None = None) -> None:
        """Show the page at its true size, fitted, or at so many times its true size.

        Parameters
        ----------
        zoom : float or {"true", "fit"}
        about : QPointF, optional
            The place on the viewport that keeps its place on the page; the middle if not given.
        """
        if not isinstance(zoom, str):
            times = max(SMALLEST, min(float(zoom), LARGEST))
            zoom = "true" if abs(times - 1.0) < 1e-6 else times
        about = about if about is not None else QPointF(self.viewport().rect().center())
        before = self.page_rect()
        self._mode = zoom
        self._arrange()
        after = self.page_rect()
        if before.width() > 0 and after.width() > 0:
            share_x = (about.x() - before.left()) / before.width()
            share_y = (about.y() - before.top()) / before.height()
            across, down = self.horizontalScrollBar(), self.verticalScrollBar()
            across.setValue(round(MARGIN + share_x * after.width() - about.x()))
            down.setValue(round(MARGIN + share_y * after.height() - about.y()))

    def step_zoom(self, steps: float, about: QPointF | None = None) -> None:
        """Zoom in by so many steps of a quarter, or out; the true size is stopped at on the way."""
        before = self.zoom
        after = before * 1.25**steps
        if (before < 0.999 and after > 1.001) or (before > 1.001 and after < 0.999):
            after = 1.0
        self.set_zoom(after, about)

    def _page_size(self) -> QSize:
        dots = self.pixels_per_inch * self.zoom
        return QSize(max(1, round(self._width * dots)), max(1, round(self._height * dots)))

    def _arrange(self) -> None:
        fitted = self._mode == "fit" or self._image is None
        policy = Qt.ScrollBarPolicy.ScrollBarAlwaysOff if fitted else Qt.ScrollBarPolicy.ScrollBarAsNeeded
        self.setHorizontalScrollBarPolicy(policy)
        self.setVerticalScrollBarPolicy(policy)
        # A bar that comes takes room from the other direction: twice settles it.
        for _ in range(2):
            view = self.viewport().size()
            size = self._page_size() if self._image is not None else QSize(0, 0)
            for bar, whole, seen in (
                (self.horizontalScrollBar(), size.width(), view.width()),
                (self.verticalScrollBar(), size.height(), view.height()),
            ):
                bar.setPageStep(seen)
                bar.setSingleStep(24)
                bar.setRange(0, max(0, whole + 2 * MARGIN - seen) if whole and not fitted else 0)
        self.viewport().setCursor(
            Qt.CursorShape.OpenHandCursor if self._can_be_moved() else Qt.CursorShape.ArrowCursor
        )
        if self.zoom != self._told:
            self._told = self.zoom
            self.zoom_changed.emit(self._told)
        self.viewport().update()

    def _can_be_moved(self) -> bool:
        return bool(self.horizontalScrollBar().maximum() or self.verticalScrollBar().maximum())

    # --- events  ----------

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        handle = self.window().windowHandle()
        if handle is not None:
            handle.screenChanged.connect(self._on_screen_changed, Qt.ConnectionType.UniqueConnection)
        self._arrange()

    @Slot(QScreen)
    def _on_screen_changed(self, screen: QScreen) -> None:
        self._arrange()

    @Slot()
    def _on_patience_timeout(self) -> None:
        self._late = True
        self.viewport().update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        self.viewport().update()

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self._image is not None and event.angleDelta().y():
            self.step_zoom(event.angleDelta().y() / 120.0, event.position())
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.step_zoom(1)
        elif key == Qt.Key.Key_Minus:
            self.step_zoom(-1)
        elif key == Qt.Key.Key_1:
            self.set_zoom("true")
        elif key == Qt.Key.Key_0:
            self.set_zoom("fit")
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._can_be_moved():
            self._grabbed = event.position().toPoint()
            self.viewport().setCursor(Qt.CursorShape.ClosedHandCursor)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._grabbed is not None:
            moved = event.position().toPoint() - self._grabbed
            self._grabbed = event.position().toPoint()
            self.horizontalScrollBar().setValue(self.horizontalScrollBar().value() - moved.x())
            self.verticalScrollBar().setValue(self.verticalScrollBar().value() - moved.y())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._grabbed is not None:
            self._grabbed = None
            self._arrange()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        painter = QPainter(self.viewport())
        area = QRectF(self.viewport().rect())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.color("focus" if self.hasFocus() else "border"), 1.0))
        painter.setBrush(theme.color("track", 0.55))
        painter.drawRoundedRect(area.adjusted(0.5, 0.5, -0.5, -0.5), theme.radius, theme.radius)
        if self._image is not None:
            self._paint_page(painter)
        elif self._sentence:
            painter.setPen(theme.color("error_text"))
            room = area.adjusted(32, 24, -32, -24)
            painter.drawText(room, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._sentence)
        if self._late or (self._image is None and not self._sentence):
            self._paint_word(painter, "Drawing …")

    def _paint_page(self, painter: QPainter) -> None:
        assert self._image is not None
        theme, page = current_theme(), self.page_rect()
        painter.save()
        painter.setClipRect(QRectF(self.viewport().rect()).adjusted(1, 1, -1, -1))
        painter.setPen(Qt.PenStyle.NoPen)
        for spread in (3.0, 2.0, 1.0):
            painter.setBrush(theme.color("text" if not theme.is_dark else "background", 0.06))
            painter.drawRect(page.adjusted(-spread, -spread + 1.5, spread, spread + 1.5))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        ratio = self.devicePixelRatioF()
        size = QSize(round(page.width() * ratio), round(page.height() * ratio))
        if size.width() < self._image.width():
            # Qt's painter looks at four pixels only, which drops thin lines when a page is shown much smaller.
            if self._small is None or self._small.size() != size:
                self._small = self._image.scaled(
                    size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
                )
            painter.drawImage(page, self._small)
        else:
            painter.drawImage(page, self._image)
        painter.restore()

    def _paint_word(self, painter: QPainter, word: str) -> None:
        theme = current_theme()
        metrics = self.fontMetrics()
        width, height = metrics.horizontalAdvance(word) + 20, metrics.height() + 8
        bubble = QRectF(10, 10, width, height)
        painter.setPen(QPen(theme.color("button_border"), 1.0))
        painter.setBrush(theme.color("raised"))
        painter.drawRoundedRect(bubble, theme.radius_small, theme.radius_small)
        painter.setPen(theme.color("muted"))
        painter.drawText(bubble, Qt.AlignmentFlag.AlignCenter, word)


__all__ = ["LARGEST", "MARGIN", "SMALLEST", "PagePreview", "Zoom", "dots_per_inch"]
