"""The transport bar: what can be pressed in which state, who gets the space bar, and numbers that do not
jitter.
"""

from __future__ import annotations

import typing

import pytest
import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QPushButton, QVBoxLayout, QWidget

from widgets.theme import ThemeManager
from widgets.transport import RunState, TransportBar, bytes_text, rate_text, time_text

REQUESTS = ("play", "pause", "step", "stop", "reset")


@pytest.fixture(params=["light", "dark"])
def themed(qapp, request):
    manager = ThemeManager(qapp, request.param)
    yield manager
    shiboken6.delete(manager)


class Noted(list):
    """The requests that came, by name."""

    def play(self) -> None:
        self.append("play")

    def pause(self) -> None:
        self.append("pause")

    def step(self) -> None:
        self.append("step")

    def stop(self) -> None:
        self.append("stop")

    def reset(self) -> None:
        self.append("reset")


@pytest.fixture
def window(qtbot):
    made = QWidget()
    layout = QVBoxLayout(made)
    made.line = QLineEdit(made)
    made.button = QPushButton("Other", made)
    made.bar = TransportBar(made)
    for part in (made.line, made.button, made.bar):
        layout.addWidget(part)
    made.resize(1000, 160)
    made.show()
    qtbot.addWidget(made)
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    made.noted = Noted()
    for name in REQUESTS:
        getattr(made.bar, f"{name}_requested").connect(getattr(made.noted, name))
    return made


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        ("idle", ["play", "step"]),
        ("starting", ["stop"]),
        ("running", ["pause", "stop", "reset"]),
        ("paused", ["play", "step", "stop", "reset"]),
        ("stopping", []),
        ("failed", ["reset"]),
        ("done", ["reset"]),
    ],
)
def test_state_alone_says_what_can_be_pressed(window, state, possible) -> None:
    bar = window.bar
    bar.set_state(state)
    for button in (bar.play_button, bar.step_button, bar.stop_button, bar.reset_button):
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert window.noted == possible


def test_every_state_has_its_words_and_others_are_refused(window) -> None:
    for state in typing.get_args(RunState):
        window.bar.set_state(state)
        assert window.bar.state() == state
        assert window.bar._state_label.text()
    window.bar.set_state("paused", "Paused at step 1,200")
    assert window.bar._state_label.text() == "Paused at step 1,200"
    with pytest.raises(ValueError, match="no state"):
        window.bar.set_state("sleeping")


def test_space_plays_and_pauses(window) -> None:
    window.setFocus()
    QTest.keyClick(window, Qt.Key.Key_Space)
    window.bar.set_state("running")
    QTest.keyClick(window, Qt.Key.Key_Space)
    window.bar.set_state("stopping")
    QTest.keyClick(window, Qt.Key.Key_Space)
    assert window.noted == ["play", "pause"]


def test_space_belongs_to_the_field_or_button_that_has_the_keyboard(window, qtbot) -> None:
    window.line.setFocus()
    QTest.keyClick(window.line, Qt.Key.Key_Space)
    assert window.line.text() == " " and window.noted == []
    window.button.setFocus()
    with qtbot.waitSignal(window.button.clicked):
        QTest.keyClick(window.button, Qt.Key.Key_Space)
    assert window.noted == []
    window.bar.play_button.setFocus()
    QTest.keyClick(window.bar.play_button, Qt.Key.Key_Space)
    assert window.noted == ["play"]


def test_a_click_on_play_plays_wherever_the_keyboard_is(window) -> None:
    window.button.setFocus()
    QTest.mouseClick(window.bar.play_button, Qt.MouseButton.LeftButton)
    assert window.noted == ["play"]
    assert QApplication.focusWidget() is window.button


def test_shortcuts(window) -> None:
    window.setFocus()
    window.bar.set_state("paused")
    QTest.keyClick(window, Qt.Key.Key_Period, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    assert window.noted == ["step", "reset"]


def test_progress_is_shown(window) -> None:
    bar = window.bar
    bar.set_state("running")
    bar.set_progress(2500, 10_000, 1234.5, 75)
    assert bar._steps_label.text() == "2,500 / 10,000"
    assert bar._progress.value() == 250
    assert bar._rate.value.text() in ("1,234", "1,235")
    assert bar._left.value.text() == "1:15"
    bar.set_progress(20, None, None, None)
    assert bar._steps_label.text() == "20" and bar._progress.value() == 0
    assert bar._rate.value.text() == bar._left.value.text() == "–"
    bar.set_memory(1.9e9)
    assert bar._memory.value.text() == "1.9 GB"


def test_nothing_moves_while_numbers_and_states_change(window, qtbot) -> None:
    bar = window.bar
    bar.set_state("running")
    bar.set_progress(1, 100_000, 0.11, 3.0)
    qtbot.wait(1)
    parts = (bar._rate, bar._left, bar._memory, bar._progress, bar.step_button, bar.device_box)
    before = [part.geometry() for part in parts]
    for step, rate, left in ((9, 9.87, 0), (99_999, 88_888.0, 86_399), (50_000, None, None)):
        bar.set_progress(step, 100_000, rate, left)
        bar.set_memory(step * 1e4)
        qtbot.wait(1)
        assert [part.geometry() for part in parts] == before
    bar.set_state("paused", "Paused at step 50,000")
    qtbot.wait(1)
    assert [part.geometry() for part in parts] == before


def test_devices(window, qtbot) -> None:
    bar = window.bar
    assert not bar.device_box.isEnabled()
    bar.set_devices([("cpu", "CPU"), ("cuda:0", "NVIDIA H100")], "cpu")
    bar.device_box.setFocus()
    with qtbot.waitSignal(bar.device_chosen) as chosen:
        QTest.keyClick(bar.device_box, Qt.Key.Key_Down)
    assert chosen.args == ["cuda:0"]
    bar.set_device_text("CPU")
    assert bar.device_box.currentData() == "cpu"
    bar.set_device_text("Apple GPU")
    assert bar.device_box.currentIndex() == -1 and bar.device_box.placeholderText() == "Apple GPU"
    bar.set_state("starting")
    assert not bar.device_box.isEnabled()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (-1, "–"),
        (0, "0:00"),
        (59.6, "1:00"),
        (3725, "1:02:05"),
        (200_000, "2 d 7 h"),
    ],
)
def test_times(seconds, text) -> None:
    assert time_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(None, "–"), (0.0, "–"), (0.418, "0.42"), (73.51, "73.5"), (1240.2, "1,240")]
)
def test_rates(rate, text) -> None:
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (900, "1 kB"), (6.4e8, "640 MB"), (9.999e8, "1.0 GB"), (2.34e9, "2.3 GB")],
)
def test_amounts_of_memory(count, text) -> None:
    assert bytes_text(count) == text


def test_bar_fits_the_smallest_window_in_both_themes(qtbot, themed) -> None:
    bar = TransportBar()
    qtbot.addWidget(bar)
    bar.set_devices([("cuda:0", "NVIDIA H100 80GB HBM3 with a long name")], "cuda:0")
    assert bar.minimumSizeHint().width() <= 1000
    bar.show()
    for state in typing.get_args(RunState):
        bar.set_state(state)
        assert not bar.grab().isNull()
    before = bar.grab().toImage().pixelColor(2, 2)
    themed.set_mode("dark" if themed.mode == "light" else "light")
    assert bar.grab().toImage().pixelColor(2, 2) != before


def test_bar_is_destroyed(qtbot) -> None:
    bar = TransportBar()
    bar.set_state("running")
    with qtbot.waitSignal(bar.destroyed):
        bar.deleteLater()
