"""The time slider: mouse, keys and playing choose a frame; it moves only while it can be seen."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QToolButton, QWidget

from engines.figures import Axis
from widgets.time_slider import DEFAULT_RATE, SPEEDS, JumpSlider, TimeSlider


@pytest.fixture
def slider(qtbot):
    widget = TimeSlider()
    qtbot.addWidget(widget)
    widget.set_range(np.arange(41.0), Axis("t"))
    widget.resize(420, 40)
    widget.show()
    return widget


def noted(slider: TimeSlider) -> list[int]:
    heard: list[int] = []
    slider.index_changed.connect(heard.append)
    return heard


def test_it_says_the_time_and_its_unit(slider):
    slider.set_index(12)
    assert slider.value_text() == "t = 12 of 40" and slider.time == 12.0
    slider.set_range(np.array([0.0, 0.5, 1.0]), Axis("Time", "s"))
    slider.set_index(1)
    assert slider.value_text() == "Time = 0.5 of 1 s"


def test_keys_choose_frames(slider):
    heard = noted(slider)
    target = slider.findChild(JumpSlider)
    for key in (
        Qt.Key.Key_Right,
        Qt.Key.Key_Right,
        Qt.Key.Key_Left,
        Qt.Key.Key_End,
        Qt.Key.Key_Home,
        Qt.Key.Key_PageUp,
    ):
        QTest.keyClick(target, key)
    assert heard == [1, 2, 1, 40, 0, 4]


def test_a_click_jumps_there_and_a_drag_goes_on(slider):
    heard = noted(slider)
    target = slider.findChild(JumpSlider)
    middle, later = (
        QPoint(target.width() // 2, target.height() // 2),
        QPoint(target.width() - 2, target.height() // 2),
    )
    QTest.mousePress(target, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle)
    assert slider.index == pytest.approx(20, abs=1)
    QTest.mouseMove(target, later)
    QTest.mouseRelease(target, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, later)
    assert slider.index == 40 and heard[-1] == 40


def test_numbers_beyond_the_ends_mean_the_ends_and_the_same_frame_is_not_told_again(slider):
    heard = noted(slider)
    slider.set_index(99)
    slider.set_index(40)
    slider.set_index(-5)
    assert heard == [40, 0]


def test_playing_goes_round_in_a_loop(slider, qtbot):
    slider.set_range(np.arange(3.0), Axis("t"))
    heard = noted(slider)
    slider.set_frames_per_second(60)
    QTest.mouseClick(slider.findChild(QToolButton), Qt.MouseButton.LeftButton)
    assert slider.playing
    qtbot.waitUntil(lambda: len(heard) >= 5)
    assert heard[:5] == [1, 2, 0, 1, 2]
    QTest.keyClick(slider.findChild(JumpSlider), Qt.Key.Key_Space)
    assert not slider.playing
    count = len(heard)
    qtbot.wait(80)
    assert len(heard) == count


def test_the_last_frame_of_a_film_without_seconds_stays_as_long_as_it_is_told(slider):
    now = [0.0]
    slider._clock = lambda: now[0]
    slider.set_range(np.arange(3.0), Axis("t"))
    slider.set_rest(0.5)
    slider.set_index(1)
    slider.set_playing(True)
    seen = []
    for _ in range(8):
        now[0] += 0.2
        slider._on_timer_timeout()
        seen.append(slider.index)
    slider.set_playing(False)
    assert seen == [2, 2, 2, 0, 1, 2, 2, 2]


def test_nothing_moves_while_it_is_not_seen(slider, qtbot):
    heard = noted(slider)
    slider.set_frames_per_second(60)
    slider.set_playing(True)
    slider.hide()
    heard.clear()
    qtbot.wait(100)
    assert heard == [] and slider.playing
    slider.show()
    qtbot.waitUntil(lambda: len(heard) >= 2)
    slider.set_playing(False)


def test_the_frame_stays_when_the_same_times_come_again(slider):
    slider.set_index(7)
    heard = noted(slider)
    slider.set_range(np.arange(41.0), Axis("t"))
    assert slider.index == 7 and heard == []
    slider.set_range(np.arange(5.0), Axis("t"))
    assert slider.index == 4
    slider.set_range(np.arange(1.0), Axis("t"))
    assert slider.index == 0 and not slider.isEnabled()


def test_several_views_may_follow_one_slider(slider, qtbot):
    other = TimeSlider()
    qtbot.addWidget(other)
    other.set_range(np.arange(41.0), Axis("t"))
    slider.index_changed.connect(other.set_index)
    other.index_changed.connect(slider.set_index)
    slider.set_index(9)
    assert other.index == 9
    other.set_index(3)
    assert slider.index == 3


def test_space_in_the_slider_is_not_taken_by_the_windows_shortcut(qtbot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    slider = TimeSlider(window)
    slider.set_range(np.arange(5), Axis("t"))
    taken: list[bool] = []
    shortcut = QShortcut(QKeySequence(Qt.Key.Key_Space), window)
    shortcut.activated.connect(partial(taken.append, True))
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    inner = slider.findChild(JumpSlider)
    inner.setFocus()
    QTest.keyClick(inner, Qt.Key.Key_Space)
    assert slider.playing and not taken
    other = QWidget(window)
    other.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    other.show()
    other.setFocus()
    QTest.keyClick(other, Qt.Key.Key_Space)
    assert taken, "elsewhere in the window the shortcut still works"


class Clock:
    """A clock that a test turns."""

    def __init__(self, slider: TimeSlider) -> None:
        self.slider, self.now = slider, 100.0
        slider._clock = lambda: self.now

    def tick(self, seconds: float, times: int = 1) -> None:
        """Let that much time pass, and the film move on, so many times."""
        for _ in range(times):
            self.now += seconds
            self.slider._on_timer_timeout()


@pytest.fixture
def film(slider):
    """A slider along two seconds of a film of 50 frames a second, which is moved by hand."""
    slider.set_range(np.arange(101) / 50, Axis("t", "s"))
    clock = Clock(slider)
    slider.set_playing(True)
    slider._timer.stop()
    return clock


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_film_in_seconds_plays_in_its_own_time_and_as_many_times_as_fast(slider, film, speed):
    slider.set_speed(speed)
    slider._timer.stop()
    film.tick(0.01, 40)
    assert slider.time == pytest.approx(0.4 * speed, abs=0.02)
    assert slider.frames_per_second == pytest.approx(50 * speed)


def test_a_film_in_seconds_goes_on_from_where_the_hand_leaves_it(slider, film):
    film.tick(0.1, 5)
    slider.set_index(80)
    film.tick(0.1, 2)
    assert slider.time == pytest.approx(1.8, abs=0.03)


def test_the_last_frame_of_a_film_in_seconds_stays_a_moment_before_it_begins_again(slider, film):
    heard = noted(slider)
    film.tick(0.1, 24)
    assert slider.index == 100
    film.tick(0.1, 2)
    assert slider.index < 10 and heard == sorted(heard[:-1]) + heard[-1:], (
        "forwards, and once to the beginning"
    )


def test_a_window_that_was_busy_does_not_let_a_film_in_seconds_jump(slider, film):
    film.tick(0.1)
    film.tick(1.5)
    assert 0.1 < slider.time < 0.5


def test_times_that_are_uneven_are_kept(slider, film):
    slider.set_range(np.array([0.0, 0.1, 1.0, 1.1]), Axis("t", "s"))
    slider._timer.stop()
    seen = []
    for _ in range(10):
        film.tick(0.1)
        seen.append(slider.index)
    assert seen.count(1) >= 8, "the second frame stays until the time of the third"


def test_a_film_that_is_not_in_seconds_keeps_its_rate_times_the_speed(slider):
    assert slider.frames_per_second == DEFAULT_RATE
    slider.set_speed(2.0)
    assert slider.frames_per_second == 2 * DEFAULT_RATE
    slider.set_range(np.linspace(1, 0, 20), Axis("t", "s"))
    assert slider.frames_per_second == 2 * DEFAULT_RATE, "a time that runs backwards is none to play by"
    slider.set_frames_per_second(60)
    slider.set_speed(4.0)
    assert slider.frames_per_second == 60, "no screen shows more"


def test_the_speed_is_chosen_from_a_menu_beside_the_play_button(slider):
    play, speed = slider.findChildren(QToolButton)
    assert speed.text() == "1×" and play.geometry().right() < speed.geometry().left()
    actions = speed.menu().actions()
    assert [action.data() for action in actions] == list(SPEEDS)
    assert [action.data() for action in actions if action.isChecked()] == [1.0]
    actions[1].trigger()
    assert slider.speed == 0.25 and speed.text() == "0.25×"
    assert [action.data() for action in actions if action.isChecked()] == [0.25]
    assert "0.25" in speed.accessibleName()
    slider.set_range(np.arange(3.0), Axis("Time", "s"))
    assert "real time" in speed.toolTip()
    slider.set_range(np.arange(3.0), Axis("step"))
    assert "real time" not in speed.toolTip()


def test_a_speed_that_is_not_offered_becomes_the_nearest(slider):
    for wanted, taken in ((0.0, 0.1), (1.2, 1.0), (3.0, 4.0), (100.0, 4.0)):
        slider.set_speed(wanted)
        assert slider.speed == taken
