"""The sheet of keyboard shortcuts, made from the window's own actions; runs on the GUI thread."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QAction, QKeySequence, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from widgets.command_palette import action_text, fuzzy_match, shortcut_text
from widgets.look import current_theme, role_label, text_width


class KeyCap(QWidget):
    """The picture of one combination of keys."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = text
        self.setAccessibleName(text)

    def sizeHint(self) -> QSize:
        return QSize(text_width(self, self.text) + 16, 24)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.color("button_border"), 1))
        painter.setBrush(theme.color("raised"))
        painter.drawRoundedRect(self.rect().adjusted(0, 1, -1, -2), theme.radius_small, theme.radius_small)
        painter.setPen(theme.color("text"))
        painter.drawText(self.rect().adjusted(0, 0, -1, -1), Qt.AlignmentFlag.AlignCenter, self.text)


class ShortcutsSheet(QDialog):
    """Lists every action that has keys, by group, with a line to search in. Does not block the window.

    Parameters
    ----------
    groups : mapping of str to iterable of QAction
        Title of the group to its actions; actions without keys are left out, and so are groups without any.
    extra : mapping of str to sequence of (keys, text)
        What keys do inside a view or a field, which no action stands for.
    """

    def __init__(
        self,
        groups: Mapping[str, Iterable[QAction]],
        extra: Mapping[str, Iterable[tuple[str, str]]] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setModal(False)
        self._entries: list[tuple[str, str, QWidget, QWidget]] = []
        self._titles: list[tuple[QLabel, list[int]]] = []
        self.line = QLineEdit(self)
        self.line.setPlaceholderText("Search")
        self.line.setClearButtonEnabled(True)
        self.line.textChanged.connect(self._on_line_text_changed)
        content = QWidget(self)
        self._grid = QGridLayout(content)
        self._grid.setContentsMargins(4, 0, 12, 12)
        self._grid.setHorizontalSpacing(16)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(0, 1)
        for title, texts in self._collected(groups, extra or {}).items():
            self._add_group(title, texts, content)
        self._grid.setRowStretch(self._grid.rowCount(), 1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 8, 8)
        layout.setSpacing(12)
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 8, 0)
        top.addWidget(self.line)
        layout.addLayout(top)
        layout.addWidget(scroll, 1)
        self.line.setFocus()

    def sizeHint(self) -> QSize:
        return QSize(440, 560)

    def shown(self) -> tuple[tuple[str, str], ...]:
        """The (text, keys) in sight, from the top."""
        return tuple((text, keys) for text, keys, label, _ in self._entries if not label.isHidden())

    @staticmethod
    def _collected(
        groups: Mapping[str, Iterable[QAction]], extra: Mapping[str, Iterable[tuple[str, str]]]
    ) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for title, actions in groups.items():
            for action in actions:
                keys = (
                    [shortcut_text(action)]
                    if action.property("shortcut_text")
                    else [
                        sequence.toString(QKeySequence.SequenceFormat.NativeText)
                        for sequence in action.shortcuts()
                    ]
                )
                text = "  or  ".join(key for key in keys if key)
                if text:
                    found.setdefault(title, []).append((action_text(action), text))
        for title, entries in extra.items():
            found.setdefault(title, []).extend((text, keys) for keys, text in entries)
        return found

    def _add_group(self, title: str, entries: Iterable[tuple[str, str]], parent: QWidget) -> None:
        heading = role_label("heading", title, parent)
        heading.setContentsMargins(0, 12 if self._titles else 0, 0, 4)
        self._grid.addWidget(heading, self._grid.rowCount(), 0, 1, 2)
        numbers = []
        for text, keys in entries:
            label = QLabel(html.escape(text), parent)
            label.setWordWrap(True)
            cap = KeyCap(keys, parent)
            row = self._grid.rowCount()
            self._grid.addWidget(label, row, 0)
            self._grid.addWidget(cap, row, 1, Qt.AlignmentFlag.AlignRight)
            numbers.append(len(self._entries))
            self._entries.append((text, keys, label, cap))
        self._titles.append((heading, numbers))

    @Slot(str)
    def _on_line_text_changed(self, pattern: str) -> None:
        for text, keys, label, cap in self._entries:
            fits = fuzzy_match(pattern, text) is not None or pattern.casefold() in keys.casefold()
            label.setVisible(fits)
            cap.setVisible(fits)
        for heading, numbers in self._titles:
            heading.setVisible(any(not self._entries[number][2].isHidden() for number in numbers))


__all__ = ["KeyCap", "ShortcutsSheet"]
