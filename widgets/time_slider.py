"""A slider along the time axis of a film, with its value in words, a button to play, and a speed; on the GUI thread."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
from PySide6.QtCore import QEvent, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QAction, QActionGroup, QHideEvent, QKeyEvent, QMouseEvent, QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionSlider,
    QToolButton,
    QWidget,
)

from engines.figures import Axis
from widgets.icons import icon
from widgets.look import current_theme, text_width
from widgets.marks.ticks import number_text

DEFAULT_RATE = 12.0
"""Frames per second of a film whose time is not in seconds."""

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)

MOST_DRAWN = 30
"""Frames drawn per second of a film in seconds; a quicker one leaves some out."""

HOLD = 0.5
"""Seconds that the last frame of a film in seconds stays, or a short film would flicker."""

LONGEST_TICK = 0.25
"""Seconds that a film moves on at once: a window that was busy for longer does not jump."""


class JumpSlider(QSlider):
    """A slider whose handle comes to where it is clicked, and goes on from there with the mouse."""

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            option = QStyleOptionSlider()
            self.initStyleOption(option)
            handle = self.style().subControlRect(
                QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle, self
            )
            if not handle.contains(event.position().toPoint()):
                room = self.width() - handle.width()
                at = round(event.position().x() - handle.width() / 2)
                self.setValue(
                    QStyle.sliderValueFromPosition(self.minimum(), self.maximum(), at, max(room, 1))
                )
                # The style now finds its handle below the mouse, so that the same press begins a drag.
        super().mousePressEvent(event)


class TimeSlider(QWidget):
    """Chooses one frame of a film; several views may follow one slider.

    A film whose time is in seconds plays as fast as its times say, any other one at `set_frames_per_second`; `set_speed`
    is a factor on both.

    Arrow keys go frame by frame, Home and End to the ends, Page Up and Page Down a tenth, Space plays.

    Signals
    -------
    index_changed(int)
        The person, the film playing, or `set_index` chose another frame.
    playing_changed(bool)
    """

    index_changed = Signal(int)
    playing_changed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._times = np.zeros(1)
        self._axis = Axis("Time")
        self._rate = DEFAULT_RATE
        self._speed = 1.0
        self._playing = False
        self._advancing = False
        self._rested = 0.0  # seconds that the last frame has stayed
        self._rest = 0.0  # seconds that the last frame of a film without seconds stays
        self._clock = time.monotonic
        self._ticked = 0.0  # when the film last moved on, by the clock
        self._place = 0.0  # where it is between two frames, in its own seconds
        self._play = QToolButton(self)
        self._play.setAutoRaise(True)
        self._play.setIconSize(QSize(16, 16))
        self._play.clicked.connect(self._on_play_clicked)
        self._speed_button = self._make_speed_button()
        self._slider = JumpSlider(Qt.Orientation.Horizontal, self)
        self._slider.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._slider.setMinimumWidth(40)
        self._slider.valueChanged.connect(self._on_slider_value_changed)
        self._slider.installEventFilter(self)
        self._value = QLabel(self)
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(4, 0, 4, 0)
        layout.setSpacing(6)
        layout.addWidget(self._play)
        layout.addWidget(self._speed_button)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._value)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_timer_timeout)
        self.setFocusProxy(self._slider)
        self.set_range(self._times, self._axis)
        self._update_button()

    def _make_speed_button(self) -> QToolButton:
        button = QToolButton(self)
        button.setAutoRaise(True)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setProperty("role", "speed")
        menu = QMenu(button)
        self._speeds = QActionGroup(menu)
        for speed in SPEEDS:
            action = self._speeds.addAction(f"{speed:g}×")
            action.setData(speed)
            action.setCheckable(True)
            menu.addAction(action)
        self._speeds.triggered.connect(self._on_speeds_triggered)
        button.setMenu(menu)
        return button

    @property
    def index(self) -> int:
        """The chosen frame."""
        return self._slider.value()

    @property
    def time(self) -> float:
        """The time of the chosen frame."""
        return float(self._times[self.index])

    @property
    def playing(self) -> bool:
        """Whether the film runs, as far as it can be seen."""
        return self._playing

    @property
    def speed(self) -> float:
        """The factor on how fast the film runs; 1 is real time where its time is in seconds."""
        return self._speed

    @property
    def frames_per_second(self) -> float:
        """How fast the film runs, the speed included; of a film in seconds on average."""
        if self._is_timed:
            return self._speed * (len(self._times) - 1) / float(self._times[-1] - self._times[0])
        return min(self._rate * self._speed, 60.0)

    def set_range(self, times: Sequence[float] | np.ndarray, axis: Axis) -> None:
        """Choose among these times; the frame that is chosen stays, if there is such a one.

        Parameters
        ----------
        times : array (N,)
        axis : Axis
            What they are; its label and unit are shown with the value.
        """
        new = np.asarray(times, dtype=np.float64).ravel()
        new = new if len(new) else np.zeros(1)
        if axis == self._axis and np.array_equal(new, self._times) and self._value.text():
            return
        self._times, self._axis = new, axis
        self._is_timed = axis.unit == "s" and len(new) > 1 and bool((np.diff(new) > 0).all())
        self._slider.setRange(0, len(new) - 1)
        self._slider.setPageStep(max(len(new) // 10, 1))
        self._slider.setAccessibleName(axis.title() or "Time")
        self._slider.setToolTip(axis.title())
        self.setEnabled(len(new) > 1)
        self._place = self.time
        self._show_value()
        self._update_speed()
        self._run_timer()

    @Slot(int)
    def set_index(self, index: int) -> None:
        """Choose a frame; numbers beyond the ends mean the ends."""
        self._slider.setValue(index)

    def set_frames_per_second(self, rate: float) -> None:
        """How fast a film runs whose time is not in seconds, at speed 1; from 0.1 to 60."""
        self._rate = min(max(float(rate), 0.1), 60.0)
        self._run_timer()

    def set_rest(self, seconds: float) -> None:
        """How long the last frame of a film stays whose time is not in seconds, before it begins again."""
        self._rest = max(float(seconds), 0.0)

    def set_speed(self, speed: float) -> None:
        """Run the film so many times as fast; the nearest of `SPEEDS` is taken."""
        nearest = min(SPEEDS, key=lambda known: abs(math.log(known) - math.log(max(speed, 1e-6))))
        self._speed = nearest
        self._update_speed()
        self._run_timer()

    @Slot(bool)
    def set_playing(self, playing: bool) -> None:
        """Run the film in a loop, or hold it; it moves only while it can be seen."""
        if playing == self._playing:
            return
        self._playing = playing
        self._run_timer()
        self._update_button()
        self.playing_changed.emit(playing)

    def value_text(self) -> str:
        """The chosen time in words: ``t = 12 of 40``."""
        unit = f" {self._axis.unit}" if self._axis.unit else ""
        return self._text_at(self.index) + unit

    def _text_at(self, index: int) -> str:
        label = self._axis.label or "Frame"
        return (
            f"{label} = {number_text(float(self._times[index]))} of {number_text(float(self._times.max()))}"
        )

    def _show_value(self) -> None:
        text = self.value_text()
        self._value.setText(text)
        # Wide enough for every frame, or the slider would change its length while it is dragged.
        sample = {0, len(self._times) - 1, int(np.argmax(self._times)), len(self._times) // 2}
        unit = f" {self._axis.unit}" if self._axis.unit else ""
        need = max(text_width(self._value, self._text_at(index) + unit) for index in sample)
        self._value.setMinimumWidth(max(need, self._value.minimumWidth() if self._playing else 0))

    def _update_button(self) -> None:
        what = "pause" if self._playing else "play"
        self._play.setIcon(icon(what, current_theme().color("text"), 16))
        words = "Hold the film (Space)" if self._playing else "Play the film (Space)"
        self._play.setToolTip(words)
        self._play.setAccessibleName(words.removesuffix(" (Space)"))

    def _update_speed(self) -> None:
        for action in self._speeds.actions():
            action.setChecked(action.data() == self._speed)
        self._speed_button.setText(f"{self._speed:g}×")
        self._speed_button.setToolTip(
            "How fast the film runs; 1× is real time" if self._is_timed else "How fast the film runs"
        )
        self._speed_button.setAccessibleName(f"Speed of the film: {self._speed:g} times")

    def _run_timer(self) -> None:
        if not (self._playing and self.isVisible()):
            self._timer.stop()
            return
        interval = self._interval()
        if not self._timer.isActive():
            self._ticked = self._clock()
            self._timer.start(interval)
        elif self._timer.interval() != interval:
            self._timer.setInterval(interval)

    def _interval(self) -> int:
        """Milliseconds between two looks at the clock."""
        rate = self.frames_per_second
        # A slow film in seconds is looked at more often than it moves, so that no tick is a long one.
        return round(1000 / (min(max(rate, 10.0), MOST_DRAWN) if self._is_timed else rate))

    @Slot()
    def _on_play_clicked(self) -> None:
        self.set_playing(not self._playing)

    @Slot(int)
    def _on_slider_value_changed(self, index: int) -> None:
        if not self._advancing:
            self._place = self.time
        self._show_value()
        self.index_changed.emit(index)

    @Slot(QAction)
    def _on_speeds_triggered(self, action: QAction) -> None:
        self.set_speed(action.data())

    @Slot()
    def _on_timer_timeout(self) -> None:
        now = self._clock()
        elapsed, self._ticked = min(now - self._ticked, LONGEST_TICK), now
        if self._slider.isSliderDown() or len(self._times) < 2:
            return
        if not self._is_timed:
            is_last = self.index == len(self._times) - 1
            self._rested = self._rested + elapsed if is_last else 0.0
            if not is_last or self._rested >= self._rest:
                self._slider.setValue((self.index + 1) % len(self._times))
            return
        first, last = float(self._times[0]), float(self._times[-1])
        self._place += elapsed * self._speed
        if self._place >= last + HOLD * self._speed:
            self._place = first
        self._advancing = True
        try:
            self._slider.setValue(int(np.searchsorted(self._times, self._place, "right")) - 1)
        finally:
            self._advancing = False

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            # With the keyboard in the slider, Space is its own and not the window's.
            if event.key() == Qt.Key.Key_Space:
                event.accept()
                return True
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and event.key() == Qt.Key.Key_Space
        ):
            self.set_playing(not self._playing)
            return True
        return False

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._update_button()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._run_timer()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._run_timer()


__all__ = ["DEFAULT_RATE", "SPEEDS", "JumpSlider", "TimeSlider"]
