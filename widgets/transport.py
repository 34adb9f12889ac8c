"""The bar that drives a run: play, pause, step, stop, reset, and how far it is; runs on the GUI thread.

What can be pressed follows from one word, the state of the run; see `ALLOWED`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QFont,
    QFontMetrics,
    QKeySequence,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QShortcut,
)
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from widgets.fields import ChoiceBox
from widgets.icons import icon
from widgets.look import current_theme, role_label, set_style_property

RunState = Literal["idle", "starting", "running", "paused", "stopping", "failed", "done"]

ALLOWED: dict[RunState, frozenset[str]] = {
    "idle": frozenset({"play", "step", "device"}),
    "starting": frozenset({"stop"}),
    "running": frozenset({"pause", "stop", "reset", "device"}),
    "paused": frozenset({"play", "step", "stop", "reset", "device"}),
    "stopping": frozenset(),
    "failed": frozenset({"reset", "device"}),
    "done": frozenset({"reset", "device"}),
}
"""What the user may ask for in each state. ``done`` goes on only after its setting Steps is raised: then it
is paused.
"""

STATE_WORDS: dict[RunState, str] = {
    "idle": "Ready",
    "starting": "Starting",
    "running": "Running",
    "paused": "Paused",
    "stopping": "Stopping",
    "failed": "Failed",
    "done": "Done",
}


def time_text(seconds: float | None) -> str:
    """A duration as a clock shows it: ``0:42``, ``12:05``, ``3:07:00``, ``2 d 4 h``; a dash when unknown."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "–"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def rate_text(rate: float | None) -> str:
    """Steps per second with three digits that mean something: ``1,240``, ``73.5``, ``0.42``; a dash when
    unknown.
    """
    if rate is None or not math.isfinite(rate) or rate <= 0:
        return "–"
    if rate >= 100:
        return f"{rate:,.0f}"
    return f"{rate:.1f}" if rate >= 10 else f"{rate:.2f}"


def bytes_text(count: float | None) -> str:
    """An amount of memory: ``640 MB``, ``1.9 GB``; a dash when unknown."""
    if count is None or not math.isfinite(count) or count < 0:
        return "–"
    # The borders lie where rounding would write a fourth digit.
    if count < 999.5e3:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.0f} MB" if count < 999.5e6 else f"{count / 1e9:.1f} GB"


class StateMark(QWidget):
    """A small sign of a run's state: its shape tells the state, not only its colour."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = "idle"
        self.setFixedSize(14, 14)

    def set_state(self, state: str) -> None:
        """Show this state."""
        if state != self._state:
            self._state = state
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_state(painter, self._state, QPointF(7, 7))


def paint_state(painter: QPainter, state: str, center: QPointF, fraction: float | None = None) -> None:
    """Draw the sign of a run's state, 12 pixels across, around ``center``.

    Parameters
    ----------
    fraction : float, optional
        In 0..1: how far a run is; drawn as a ring around the sign of a running one.
    """
    theme = current_theme()
    colors = {"running": "accent", "failed": "error_text", "done": "target", "paused": "text"}
    color = theme.color(colors.get(state, "muted"))
    x, y = center.x(), center.y()
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    pen = QPen(color, 1.6)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    if state == "running" and fraction is not None:
        ring = QRectF(x - 5, y - 5, 10, 10)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(theme.color("track"), 2.4))
        painter.drawEllipse(ring)
        pen.setWidthF(2.4)
        painter.setPen(pen)
        painter.drawArc(ring, 90 * 16, -round(360 * 16 * min(max(fraction, 0.02), 1.0)))
    elif state == "running":
        painter.drawPolygon(QPolygonF([QPointF(x - 3, y - 4.5), QPointF(x + 5, y), QPointF(x - 3, y + 4.5)]))
    elif state == "paused":
        painter.drawRoundedRect(QRectF(x - 4, y - 4.5, 3, 9), 1, 1)
        painter.drawRoundedRect(QRectF(x + 1, y - 4.5, 3, 9), 1, 1)
    elif state == "failed":
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(pen)
        painter.drawPolygon(
            QPolygonF([QPointF(x, y - 5), QPointF(x + 5.5, y + 4.5), QPointF(x - 5.5, y + 4.5)])
        )
        painter.drawLine(QPointF(x, y - 1.5), QPointF(x, y + 1))
        painter.drawPoint(QPointF(x, y + 2.9))
    elif state == "done":
        painter.setBrush(Qt.BrushStyle.NoBrush)
        pen.setWidthF(2.0)
        painter.setPen(pen)
        painter.drawPolyline(
            QPolygonF([QPointF(x - 4.5, y), QPointF(x - 1.2, y + 3.5), QPointF(x + 5, y - 4)])
        )
    elif state in ("starting", "stopping"):
        for shift in (-4.2, 0.0, 4.2):
            painter.drawEllipse(QPointF(x + shift, y), 1.4, 1.4)
    else:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(pen)
        painter.drawEllipse(center, 3.6, 3.6)


class SteadyNumber(QWidget):
    """A number over its unit, as wide as the widest it will be, so that nothing beside it moves.

    Parameters
    ----------
    widest : str
        The widest text expected; wider ones make the column grow, once.
    """

    def __init__(self, caption: str, widest: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._widest = widest
        self.value = QLabel("–", self)
        self.value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom)
        self.caption = role_label("small", caption, self)
        self.caption.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.value)
        layout.addWidget(self.caption)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self.value.setMinimumWidth(self._needed(widest))

    def set_text(self, text: str) -> None:
        """Show a number."""
        if text != self.value.text():
            self.value.setText(text)
            self.value.setMinimumWidth(max(self.value.minimumWidth(), self._needed(text)))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.value.setMinimumWidth(self._needed(self._widest))

    def _needed(self, text: str) -> int:
        return QFontMetrics(self.value.font()).horizontalAdvance(text) + 2


class TransportBar(QWidget):
    """Buttons, progress and numbers of one run.

    Signals
    -------
    play_requested(), pause_requested(), step_requested(), stop_requested(), reset_requested()
        ``stop`` keeps what was trained.
    device_chosen(str)
        Id of the device the user picked.
    """

    play_requested = Signal()
    pause_requested = Signal()
    step_requested = Signal()
    stop_requested = Signal()
    reset_requested = Signal()
    device_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state: RunState = "idle"
        self._theme_name = ""
        self._make_actions()
        self._set_up()
        self.set_state("idle")

    def sizeHint(self) -> QSize:
        return QSize(1000, 56)

    def _make_actions(self) -> None:
        self.play_action = self._action("Train", "play", "", self._on_play_action_triggered)
        # Not the action's own shortcut: that would take Space away from every button and list in the window.
        self.play_action.setProperty("shortcut_text", "Space")
        space = QShortcut(QKeySequence(Qt.Key.Key_Space), self)
        space.setAutoRepeat(False)
        space.activated.connect(self._on_space_activated)
        self.step_action = self._action("Step", "step", "Ctrl+.", self._on_step_action_triggered)
        self.stop_action = self._action(
            "Stop and keep", "stop", "Ctrl+Shift+.", self._on_stop_action_triggered
        )
        self.reset_action = self._action("Reset", "reset", "Ctrl+R", self._on_reset_action_triggered)
        self.step_action.setToolTip("One update, then pause (Ctrl+.)")
        self.stop_action.setToolTip("Stop here and keep what was trained (Ctrl+Shift+.)")
        self.reset_action.setToolTip("Start again from the beginning with the settings of the form (Ctrl+R)")

    def _action(self, text: str, name: str, shortcut: str, handler: object) -> QAction:
        action = QAction(text, self)
        action.setObjectName(f"run.{name}")
        if shortcut:
            action.setShortcut(QKeySequence(shortcut))
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        action.triggered.connect(handler)
        self.addAction(action)
        return action

    def _set_up(self) -> None:
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.setSpacing(4)
        self.play_button = self._button(self.play_action)
        self.play_button.setProperty("kind", "primary")
        self.play_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.step_button = self._button(self.step_action)
        self.stop_button = self._button(self.stop_action)
        self.reset_button = self._button(self.reset_action)
        for button in (self.play_button, self.step_button, self.stop_button, self.reset_button):
            layout.addWidget(button)
        layout.addSpacing(12)

        self._mark = StateMark(self)
        self._state_label = QLabel(self)
        self._state_label.setMinimumWidth(60)
        self._state_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._steps_label = role_label("muted", parent=self)
        self._steps_label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._progress = QProgressBar(self)
        self._progress.setRange(0, 1000)
        self._progress.setTextVisible(False)
        self._progress.setAccessibleName("Progress")
        self._progress.setMinimumWidth(120)
        head = QHBoxLayout()
        head.setSpacing(4)
        head.addWidget(self._mark)
        head.addWidget(self._state_label, 1)
        head.addWidget(self._steps_label)
        middle = QVBoxLayout()
        middle.setSpacing(4)
        middle.addLayout(head)
        middle.addWidget(self._progress)
        layout.addLayout(middle, 1)
        layout.addSpacing(12)

        self._left = SteadyNumber("left", "00:00:00", self)
        self._rate = SteadyNumber("steps/s", "00,000", self)
        self._memory = SteadyNumber("memory", "000 MB", self)
        for number in (self._left, self._rate, self._memory):
            layout.addWidget(number)
            layout.addSpacing(12)

        self.device_box = ChoiceBox(self)
        self.device_box.setAccessibleName("Device")
        self.device_box.setToolTip("Where it trains; another device takes effect at the next reset")
        self.device_box.setPlaceholderText("device")
        self.device_box.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.device_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.device_box.setMaximumWidth(160)
        self.device_box.activated.connect(self._on_device_box_activated)
        layout.addWidget(self.device_box)

    def _button(self, action: QAction) -> QToolButton:
        button = QToolButton(self)
        button.setDefaultAction(action)
        button.setIconSize(QSize(18, 18))
        button.setMinimumSize(30, 30)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return button

    # What others tell it ------------------------------------------------------------------------------------

    def state(self) -> RunState:
        """The state shown."""
        return self._state

    def set_state(self, state: RunState, text: str = "") -> None:
        """Show the run's state; what can be pressed follows from it.

        Parameters
        ----------
        state : RunState
        text : str
            More words than the state's own, such as ``Paused at step 1,200``.

        Raises
        ------
        ValueError
            For a word that is no state.
        """
        if state not in get_args(RunState):
            raise ValueError(f"there is no state {state!r}; there are {', '.join(get_args(RunState))}")
        self._state = state
        allowed = ALLOWED[state]
        going = "pause" in allowed
        self.play_action.setText("Pause" if going else "Train")
        self.play_action.setToolTip(f"{'Pause' if going else 'Train'} (Space)")
        self.play_action.setEnabled(bool(allowed & {"play", "pause"}))
        self.step_action.setEnabled("step" in allowed)
        self.stop_action.setEnabled("stop" in allowed)
        self.reset_action.setEnabled("reset" in allowed)
        self.device_box.setEnabled("device" in allowed and self.device_box.count() > 0)
        self._mark.set_state(state)
        words = text or STATE_WORDS[state]
        self._state_label.setText(words)
        self._state_label.setToolTip(words)
        set_style_property(self._state_label, "role", "error" if state == "failed" else "")
        if state in ("idle", "failed", "done", "stopping", "starting"):
            self._left.set_text("–")
            self._rate.set_text("–")
        self._paint_icons()

    def set_progress(
        self, step: int, total: int | None, steps_per_second: float | None, seconds_left: float | None
    ) -> None:
        """Show how far the run is.

        Parameters
        ----------
        step, total : int
            ``total`` None or 0 when the run has no end.
        steps_per_second, seconds_left : float or None
            None while unknown.
        """
        self._steps_label.setText(f"{step:,} / {total:,}" if total else f"{step:,}")
        self._progress.setValue(round(1000 * min(step / total, 1.0)) if total else 0)
        self._rate.set_text(rate_text(steps_per_second))
        self._left.set_text(time_text(seconds_left))

    def set_devices(self, devices: Iterable[tuple[str, str]], current: str = "") -> None:
        """Offer these devices, as (id, name), and show one as chosen."""
        self.device_box.clear()
        for identity, name in devices:
            self.device_box.addItem(name, identity)
        self.device_box.setCurrentIndex(self.device_box.findData(current))
        self.device_box.setEnabled("device" in ALLOWED[self._state] and self.device_box.count() > 0)

    def set_device_text(self, text: str) -> None:
        """Name the device that trains; chosen in the list if it is there, else shown alone."""
        index = self.device_box.findText(text)
        if index < 0:
            index = self.device_box.findData(text)
        if index < 0:
            self.device_box.setPlaceholderText(text)
        self.device_box.setCurrentIndex(index)

    def set_memory(self, count: float | None) -> None:
        """Show the memory in use, in bytes; None when unknown."""
        self._memory.set_text(bytes_text(count))

    def run_actions(self) -> tuple[QAction, ...]:
        """The actions behind the buttons, for menus, palette and shortcuts."""
        return self.play_action, self.step_action, self.stop_action, self.reset_action

    # --------------------------------------------------------------------------------------------------------

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "device_box"):
            self._paint_icons()

    def _paint_icons(self) -> None:
        theme = current_theme()
        going = "pause" in ALLOWED[self._state]
        self.play_action.setIcon(icon("pause" if going else "play", theme.color("accent_text"), 18))
        if theme.name != self._theme_name:
            self._theme_name = theme.name
            for action, name in (
                (self.step_action, "step"),
                (self.stop_action, "stop"),
                (self.reset_action, "reset"),
            ):
                action.setIcon(icon(name, theme.color("text"), 18))
        # Train and Pause share the button: as wide as the wider word in bold, or the bar would jump.
        font = QFont(self.font())
        font.setWeight(QFont.Weight.DemiBold)
        words = max(QFontMetrics(font).horizontalAdvance(word) for word in ("Train", "Pause"))
        self.play_button.setFixedWidth(words + 18 + 40)

    @Slot()
    def _on_play_action_triggered(self) -> None:
        if "pause" in ALLOWED[self._state]:
            self.pause_requested.emit()
        elif "play" in ALLOWED[self._state]:
            self.play_requested.emit()

    @Slot()
    def _on_space_activated(self) -> None:
        focused = QApplication.focusWidget()
        # Space belongs to whatever has the keyboard: a focused switch or button is pressed, a focused list
        # opened.
        if isinstance(focused, QAbstractButton) and focused is not self.play_button:
            focused.click()
        elif isinstance(focused, QComboBox):
            focused.showPopup()
        else:
            self.play_action.trigger()

    @Slot()
    def _on_step_action_triggered(self) -> None:
        self.step_requested.emit()

    @Slot()
    def _on_stop_action_triggered(self) -> None:
        self.stop_requested.emit()

    @Slot()
    def _on_reset_action_triggered(self) -> None:
        self.reset_requested.emit()

    @Slot(int)
    def _on_device_box_activated(self, index: int) -> None:
        self.device_chosen.emit(self.device_box.itemData(index))


__all__ = [
    "ALLOWED",
    "STATE_WORDS",
    "RunState",
    "StateMark",
    "SteadyNumber",
    "TransportBar",
    "bytes_text",
    "paint_state",
    "rate_text",
    "time_text",
]
