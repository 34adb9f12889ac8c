"""Messages that stand in the window and stop nobody: information, warnings and errors; runs on the GUI
thread.

A `Message` says what happened, why, and what to do, with buttons for the latter and details to copy. A
`MessageArea` stacks them, the newest on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from PySide6.QtCore import QEvent, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QEnterEvent, QFontDatabase, QGuiApplication, QKeyEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from widgets.icons import icon, pixmap
from widgets.look import current_theme

MessageKind = Literal["info", "warning", "error"]

HIDE_AFTER_MS = 8000
SHOWN_AT_MOST = 3

_WORDS = {"info": "Information", "warning": "Warning", "error": "Error"}


class Message(QFrame):
    """One message.

    Parameters
    ----------
    kind : {"info", "warning", "error"}
    text : str
        Plain text: what happened, why, what to do.
    details : str
        A traceback or the like, folded away until asked for.
    actions : sequence of (id, label)
        A button for each.
    hide_after_ms : int or None
        None: information goes by itself after eight seconds, unless the mouse or the keyboard is in it or its
        details are open; warnings and errors stay. 0 stays.

    Signals
    -------
    action_triggered(str)
        Id of the button pressed; the message stays until it is closed.
    closed()
        By its button, by Escape, by time, or by `close_message`.
    """

    action_triggered = Signal(str)
    closed = Signal()

    def __init__(
        self,
        kind: MessageKind,
        text: str,
        details: str = "",
        actions: Sequence[tuple[str, str]] = (),
        hide_after_ms: int | None = None,
        key: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.kind: MessageKind = kind
        self.key = key
        self._closed = False
        self.setProperty("message", kind)
        self.setAccessibleName(f"{_WORDS[kind]}: {text}")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._sign = QLabel(self)
        self._sign.setFixedSize(18, 18)
        self.text_label = QLabel(text, self)
        self.text_label.setTextFormat(Qt.TextFormat.PlainText)
        self.text_label.setWordWrap(True)
        self.text_label.setMinimumWidth(120)
        self.text_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._set_up(details, actions)
        self._paint_icons()

        if hide_after_ms is None:
            hide_after_ms = HIDE_AFTER_MS if kind == "info" else 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(hide_after_ms)
        self._timer.timeout.connect(self._on_timer_timeout)
        if hide_after_ms:
            self._timer.start()

    def _set_up(self, details: str, actions: Sequence[tuple[str, str]]) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 8, 8, 8)
        layout.setSpacing(8)
        head = QHBoxLayout()
        head.setSpacing(8)
        head.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self.text_label, 1)
        self.close_button = QToolButton(self)
        self.close_button.setIconSize(QSize(14, 14))
        self.close_button.setToolTip("Close")
        self.close_button.setAccessibleName("Close the message")
        self.close_button.clicked.connect(self.close_message)
        head.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        layout.addLayout(head)

        self.action_buttons: dict[str, QPushButton] = {}
        self._ids: list[str] = []
        self._group = QButtonGroup(self)
        self._details_button: QPushButton | None = None
        self._details: QPlainTextEdit | None = None
        self._copy_button: QPushButton | None = None
        if not actions and not details:
            return
        buttons = QHBoxLayout()
        buttons.setContentsMargins(26, 0, 0, 0)
        buttons.setSpacing(8)
        for number, (identity, label) in enumerate(actions):
            button = QPushButton(label, self)
            self._group.addButton(button, number)
            self._ids.append(identity)
            self.action_buttons[identity] = button
            buttons.addWidget(button)
        self._group.idClicked.connect(self._on_group_id_clicked)
        if details:
            self._details_button = QPushButton("Show details", self)
            self._details_button.setProperty("kind", "flat")
            self._details_button.clicked.connect(self._on_details_button_clicked)
            buttons.addWidget(self._details_button)
            self._copy_button = QPushButton("Copy details", self)
            self._copy_button.setProperty("kind", "flat")
            self._copy_button.clicked.connect(self.copy_details)
            buttons.addWidget(self._copy_button)
        buttons.addStretch(1)
        layout.addLayout(buttons)
        if details:
            self._details = QPlainTextEdit(details, self)
            self._details.setReadOnly(True)
            self._details.setTabChangesFocus(True)
            self._details.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
            self._details.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
            self._details.setFixedHeight(132)
            self._details.hide()
            layout.addWidget(self._details)

    def text(self) -> str:
        """What the message says."""
        return self.text_label.text()

    def details(self) -> str:
        """The details; empty when there are none."""
        return self._details.toPlainText() if self._details is not None else ""

    def are_details_shown(self) -> bool:
        """Whether the details are open."""
        return self._details is not None and not self._details.isHidden()

    @Slot()
    def copy_details(self) -> None:
        """Put the text and the details on the clipboard."""
        QGuiApplication.clipboard().setText(f"{self.text()}\n\n{self.details()}".strip())
        if self._copy_button is not None:
            self._copy_button.setText("Copied")

    @Slot()
    def close_message(self) -> None:
        """Take the message away; it is deleted."""
        if not self._closed:
            self._closed = True
            self._timer.stop()
            self.hide()
            self.closed.emit()
            self.deleteLater()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close_message()
        else:
            super().keyPressEvent(event)

    def enterEvent(self, event: QEnterEvent) -> None:
        self._timer.stop()
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self._wait_again()
        super().leaveEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "close_button"):
            self._paint_icons()

    def _wait_again(self) -> None:
        if self._timer.interval() and not self._closed and not self.are_details_shown():
            self._timer.start()

    def _paint_icons(self) -> None:
        color = current_theme().color(f"{self.kind}_text")
        ratio = self.devicePixelRatioF()
        self._sign.setPixmap(pixmap(self.kind, color, 18, ratio))
        self.close_button.setIcon(icon("close", color, 14))

    @Slot(int)
    def _on_group_id_clicked(self, number: int) -> None:
        self.action_triggered.emit(self._ids[number])

    @Slot()
    def _on_details_button_clicked(self) -> None:
        assert self._details is not None and self._details_button is not None
        self._details.setVisible(self._details.isHidden())
        shown = self.are_details_shown()
        self._details_button.setText("Hide details" if shown else "Show details")
        if shown:
            self._timer.stop()
        else:
            self._wait_again()
        self.updateGeometry()

    @Slot()
    def _on_timer_timeout(self) -> None:
        focused = self.focusWidget()
        if self.underMouse() or (focused is not None and focused.hasFocus()):
            self._timer.start()
        else:
            self.close_message()


class MessageArea(QWidget):
    """The messages of a window or a panel: the newest on top, three in sight, the others behind "n more".

    Signals
    -------
    action_triggered(str, str)
        Key of the message and id of the button pressed.
    """

    action_triggered = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._messages: list[Message] = []
        self._expanded = False
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(8)
        self._more = QPushButton(self)
        self._more.setProperty("kind", "flat")
        self._more.clicked.connect(self._on_more_clicked)
        self._clear = QPushButton("Close all", self)
        self._clear.setProperty("kind", "flat")
        self._clear.clicked.connect(self.clear)
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addWidget(self._more)
        foot.addWidget(self._clear)
        foot.addStretch(1)
        self._layout.addLayout(foot)
        self._arrange()

    def show_message(
        self,
        kind: MessageKind,
        text: str,
        details: str = "",
        actions: Sequence[tuple[str, str]] = (),
        hide_after_ms: int | None = None,
        key: str = "",
    ) -> Message:
        """Put up a message; one with the same key, or the same words, is replaced."""
        for old in list(self._messages):
            if (key and old.key == key) or (not key and (old.kind, old.text()) == (kind, text)):
                old.close_message()
        message = Message(kind, text, details, actions, hide_after_ms, key, self)
        message.action_triggered.connect(self._on_message_action_triggered)
        message.closed.connect(self._on_message_closed)
        self._messages.insert(0, message)
        self._layout.insertWidget(0, message)
        self._arrange()
        return message

    def messages(self) -> tuple[Message, ...]:
        """All messages, the newest first."""
        return tuple(self._messages)

    def close_key(self, key: str) -> None:
        """Take away the message with that key, if it is still there."""
        for message in list(self._messages):
            if message.key == key:
                message.close_message()

    @Slot()
    def clear(self) -> None:
        """Take all messages away."""
        for message in list(self._messages):
            message.close_message()

    def _arrange(self) -> None:
        hidden = len(self._messages) - SHOWN_AT_MOST
        if hidden <= 0:
            self._expanded = False
        for number, message in enumerate(self._messages):
            message.setVisible(self._expanded or number < SHOWN_AT_MOST)
        self._more.setText("Show fewer" if self._expanded else f"{hidden} more")
        self._more.setVisible(hidden > 0)
        self._clear.setVisible(hidden > 0)
        self.setVisible(bool(self._messages))
        self.updateGeometry()

    @Slot()
    def _on_more_clicked(self) -> None:
        self._expanded = not self._expanded
        self._arrange()

    @Slot(str)
    def _on_message_action_triggered(self, identity: str) -> None:
        message = self.sender()
        if isinstance(message, Message):
            self.action_triggered.emit(message.key, identity)

    @Slot()
    def _on_message_closed(self) -> None:
        message = self.sender()
        if isinstance(message, Message) and message in self._messages:
            self._messages.remove(message)
            self._layout.removeWidget(message)
            self._arrange()


__all__ = ["HIDE_AFTER_MS", "SHOWN_AT_MOST", "Message", "MessageArea", "MessageKind"]
