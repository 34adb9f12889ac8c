"""A label whose text ends in dots where there is no room for it; GUI thread."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont, QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QLabel, QWidget

LEAST = 24
"""Pixels that it keeps when all others need the room."""


class ElidingLabel(QLabel):
    """A single line of plain text, for places where others must not be pushed out.

    Parameters
    ----------
    text : str
    parent : QWidget
    weight : QFont.Weight, optional
        In place of the style's.
    """

    def __init__(self, text: str, parent: QWidget, weight: QFont.Weight | None = None) -> None:
        super().__init__(text, parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self._weight = weight

    def minimumSizeHint(self) -> QSize:
        hint = super().minimumSizeHint()
        return QSize(min(LEAST, hint.width()), hint.height())

    def shown_text(self) -> str:
        """What can be seen of the text."""
        width = self.contentsRect().width()
        return QFontMetrics(self._font()).elidedText(self.text(), Qt.TextElideMode.ElideRight, width)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setFont(self._font())
        self.style().drawItemText(
            painter,
            self.contentsRect(),
            int(self.alignment()),
            self.palette(),
            self.isEnabled(),
            self.shown_text(),
            self.foregroundRole(),
        )

    def _font(self) -> QFont:
        font = QFont(self.font())
        if self._weight is not None:
            font.setWeight(self._weight)
        return font
