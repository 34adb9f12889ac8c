"""A small table of the settings in which two runs differ; runs on the GUI thread."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QStackedLayout,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from widgets.look import role_label

SAME = "Both runs have the same settings."
NONE = "none"
"""Stands for an empty value, which would look as if it had been forgotten."""

_ROWS_AT_MOST = 12


class SettingsDifference(QWidget):
    """One line a setting, one column a run; Copy puts the selected lines, or all, on the clipboard."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.same_label: QLabel = role_label("muted", SAME, self)
        self.same_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.same_label.setWordWrap(True)
        self.view = QTreeWidget(self)
        self.view.setAccessibleName("Settings that differ")
        self.view.setRootIsDecorated(False)
        self.view.setUniformRowHeights(True)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.view.setColumnCount(3)
        header = self.view.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        header.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.copy_action = QAction("Copy", self)
        self.copy_action.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
        self.copy_action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
        self.copy_action.triggered.connect(self.copy)
        self.view.addAction(self.copy_action)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self._pages = QStackedLayout(self)
        self._pages.setContentsMargins(0, 0, 0, 0)
        self._pages.addWidget(self.same_label)
        self._pages.addWidget(self.view)
        self.setFocusProxy(self.view)

    def sizeHint(self) -> QSize:
        rows = min(self.view.topLevelItemCount(), _ROWS_AT_MOST)
        row = max(self.view.sizeHintForRow(0), self.fontMetrics().height())
        return QSize(420, rows * row + self.view.header().sizeHint().height() + 14)

    def minimumSizeHint(self) -> QSize:
        return QSize(200, 60)

    def set_difference(self, left_name: str, right_name: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Show the settings that two runs do not share.

        Parameters
        ----------
        left_name, right_name : str
            Names of the runs.
        rows : sequence of (label, left, right)
            The setting's name and its value in either run.
        """
        self.view.clear()
        self.view.setHeaderLabels(["Setting", left_name, right_name])
        for column, name in ((1, left_name), (2, right_name)):
            self.view.headerItem().setToolTip(column, name)
        for row in rows:
            texts = [row[0], *(value or NONE for value in row[1:])]
            item = QTreeWidgetItem(self.view, texts)
            for column, text in enumerate(texts):
                item.setToolTip(column, text)
        self._pages.setCurrentWidget(self.view if rows else self.same_label)
        self.updateGeometry()

    def text(self) -> str:
        """What is shown, as lines with tabs between the columns."""
        root = self.view.invisibleRootItem()
        items = [root.child(row) for row in range(root.childCount())]
        return self._lines(items) if items else SAME

    @Slot()
    def copy(self) -> None:
        """Put the selected lines on the clipboard, with the names of the runs; all if none is selected."""
        chosen = sorted(self.view.selectedItems(), key=self.view.indexOfTopLevelItem)
        QGuiApplication.clipboard().setText(self._lines(chosen) if chosen else self.text())

    def _lines(self, items: Sequence[QTreeWidgetItem]) -> str:
        return "\n".join(
            "\t".join(item.text(column) for column in range(3)) for item in (self.view.headerItem(), *items)
        )


__all__ = ["SAME", "SettingsDifference"]
