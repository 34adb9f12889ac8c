"""A sentence in one line of which a word is chosen, and in which some are marked; runs on the GUI thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QEvent, QSize, Qt, Signal, Slot
from PySide6.QtGui import QIcon, QKeyEvent
from PySide6.QtWidgets import QSizePolicy, QTabBar, QToolButton, QWidget

from widgets.icons import icon
from widgets.look import current_theme

ICON = 14
"""Edge of the icons in pixels."""

_NUDGES = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


class WordBar(QTabBar):
    """The words of a sentence, one of them chosen; a marked one shows an icon and a button that takes the mark away.

    The arrow keys go from word to word, and with Shift they ask to move something at the chosen word. Enter, F2 or a double
    click asks for another word, Delete takes the mark away.

    Signals
    -------
    word_chosen(int)
        The person went to a word.
    change_requested(int)
        Another word is wanted in its place.
    unmark_requested(int)
        Its mark is to be taken away.
    nudged(int, int)
        Rows and columns by which something at the chosen word is to move.
    """

    word_chosen = Signal(int)
    change_requested = Signal(int)
    unmark_requested = Signal(int)
    nudged = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._words: tuple[str, ...] = ()
        self._marks: dict[int, tuple[str, str]] = {}
        self.setExpanding(False)
        self.setUsesScrollButtons(True)
        self.setElideMode(Qt.TextElideMode.ElideNone)
        self.setDrawBase(False)
        # Words of a sentence stand closer than pages do.
        self.setStyleSheet("QTabBar::tab { padding: 5px 6px; }")
        self.setIconSize(QSize(ICON, ICON))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.currentChanged.connect(self._on_current_changed)
        self.tabBarDoubleClicked.connect(self._on_double_clicked)

    @property
    def words(self) -> tuple[str, ...]:
        """What is shown."""
        return self._words

    @property
    def marks(self) -> dict[int, tuple[str, str]]:
        """Icon and explanation of the marked words, by their places."""
        return dict(self._marks)

    def set_words(self, words: Sequence[str], marks: Mapping[int, tuple[str, str]] | None = None) -> None:
        """Show these words; the choice stays at its place as far as there is one, and nothing is reported.

        Parameters
        ----------
        words : sequence of str
        marks : mapping of int to (icon, explanation), optional
            Of the marked words, by their places.
        """
        wanted = {place: mark for place, mark in (marks or {}).items() if place < len(words)}
        if tuple(words) == self._words and wanted == self._marks:
            return
        blocked = self.blockSignals(True)
        while self.count() > len(words):
            self.removeTab(self.count() - 1)
        for place, word in enumerate(words):
            # A single ampersand would become a shortcut.
            text = word.replace("&", "&&")
            if place >= self.count():
                self.addTab(text)
            elif self.tabText(place) != text:
                self.setTabText(place, text)
        self._words, before, self._marks = tuple(words), self._marks, wanted
        for place in range(len(words)):
            if before.get(place) != wanted.get(place) or (place in wanted and self._button(place) is None):
                self._show_mark(place)
        self.blockSignals(blocked)
        self.updateGeometry()
        self.update()

    def choose(self, place: int) -> None:
        """Choose a word, or the last one where there are fewer; nothing is reported."""
        place = min(place, self.count() - 1)
        if place >= 0 and place != self.currentIndex():
            blocked = self.blockSignals(True)
            self.setCurrentIndex(place)
            self.blockSignals(blocked)

    def unmark_button(self, place: int) -> QToolButton | None:
        """The button that takes a word's mark away; None where it has none."""
        return self._button(place)

    def _button(self, place: int) -> QToolButton | None:
        found = self.tabButton(place, QTabBar.ButtonPosition.RightSide)
        return found if isinstance(found, QToolButton) else None

    def _show_mark(self, place: int) -> None:
        theme, mark = current_theme(), self._marks.get(place)
        old = self._button(place)
        if mark is None:
            self.setTabIcon(place, QIcon())
            self.setTabToolTip(place, "")
            if old is not None:
                self.setTabButton(place, QTabBar.ButtonPosition.RightSide, None)
                old.hide()
                old.deleteLater()
            return
        name, words = mark
        self.setTabIcon(place, icon(name, theme.color("hand"), ICON))
        self.setTabToolTip(place, words)
        button = old
        if button is None:
            button = QToolButton(self)
            button.setAutoRaise(True)
            button.setIconSize(QSize(ICON, ICON))
            button.setFixedSize(20, 20)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(self._on_button_clicked)
            self.setTabButton(place, QTabBar.ButtonPosition.RightSide, button)
        button.setIcon(icon("close", theme.color("muted"), ICON))
        button.setToolTip(f"{words}: take it back (Delete)")
        button.setAccessibleName(f"Take back: {self._words[place]}, {words}")

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), max(super().sizeHint().height(), 30))

    def minimumSizeHint(self) -> QSize:
        return QSize(80, self.sizeHint().height())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key, place = event.key(), self.currentIndex()
        if place >= 0 and event.modifiers() & Qt.KeyboardModifier.ShiftModifier and key in _NUDGES:
            self.nudged.emit(*_NUDGES[Qt.Key(key)])
        elif place >= 0 and key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_F2):
            self.change_requested.emit(place)
        elif place in self._marks and key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.unmark_requested.emit(place)
        else:
            super().keyPressEvent(event)
            return
        event.accept()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_marks"):
            for place in self._marks:
                self._show_mark(place)

    @Slot(int)
    def _on_current_changed(self, place: int) -> None:
        if place >= 0:
            self.word_chosen.emit(place)

    @Slot(int)
    def _on_double_clicked(self, place: int) -> None:
        if place >= 0:
            self.change_requested.emit(place)

    @Slot()
    def _on_button_clicked(self) -> None:
        for place in range(self.count()):
            if self._button(place) is self.sender():
                self.unmark_requested.emit(place)
                return


__all__ = ["WordBar"]
