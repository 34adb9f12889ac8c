"""The strip of runs: mouse and keys choose and put away runs; states change without a flicker."""

from __future__ import annotations

import typing

import pytest
import shiboken6
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from widgets.run_strip import RunChip, RunStrip, StripRun
from widgets.theme import ThemeManager
from widgets.transport import RunState

LEFT = Qt.MouseButton.LeftButton


def runs(count: int, state: str = "running") -> list[StripRun]:
    details = ("", "step size 0.0003", "length of the chain 80, step size 0.001")
    return [
        StripRun(f"run-{i}", f"Swiss roll {i + 1}", details[i % 3], state, f"category-{i}")
        for i in range(count)
    ]


class Noted(list):
    """What was reported, in order."""

    def run(self, key: str) -> None:
        self.append(key)

    def close(self, key: str) -> None:
        self.append(("close", key))

    def lockstep(self, together: bool) -> None:
        self.append(together)


@pytest.fixture
def strip(qtbot):
    made = RunStrip()
    qtbot.addWidget(made)
    made.resize(1000, 40)
    made.set_runs(runs(3), "run-0")
    made.show()
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    made.noted = Noted()
    made.run_chosen.connect(made.noted.run)
    made.close_requested.connect(made.noted.close)
    made.lockstep_toggled.connect(made.noted.lockstep)
    return made


def test_a_click_chooses_a_run_and_the_one_in_focus_is_not_told_again(strip) -> None:
    assert [chip.isChecked() for chip in strip.chips] == [True, False, False]
    for index in (0, 2, 2, 1):
        QTest.mouseClick(strip.chips[index], LEFT, pos=strip.chips[index].rect().center())
    assert strip.noted == ["run-2", "run-1"]
    assert [chip.isChecked() for chip in strip.chips] == [False, True, False]


def test_arrow_keys_go_from_run_to_run(strip) -> None:
    strip.chips[0].setFocus()
    QTest.keyClick(strip.chips[0], Qt.Key.Key_Right)
    assert QApplication.focusWidget() is strip.chips[1]
    QTest.keyClick(strip.chips[1], Qt.Key.Key_Right)
    QTest.keyClick(strip.chips[2], Qt.Key.Key_Left)
    assert strip.noted == ["run-1", "run-2", "run-1"]


def test_tab_goes_through_the_strip(strip) -> None:
    strip.set_runs(runs(3), "run-1")
    strip.chips[1].setFocus()
    met = []
    for _ in range(6):
        widget = QApplication.focusWidget()
        met.append(widget)
        QTest.keyClick(widget, Qt.Key.Key_Tab)
    assert met[0] is strip.chips[1] and met[1] is strip.chips[1].close_button
    assert strip.lockstep_box in met
    assert strip.noted == []


def test_tab_goes_from_left_to_right_also_where_runs_came_later(strip) -> None:
    strip.resize(1600, 40)
    first = StripRun("new", "New", "", "idle", "category-5")
    strip.set_runs([first, *runs(3)], "new")
    strip.chips[0].setFocus()
    met = []
    for _ in range(6):
        met.append(QApplication.focusWidget())
        QTest.keyClick(met[-1], Qt.Key.Key_Tab)
    assert met == [strip.chips[0], *[chip.close_button for chip in strip.chips], strip.lockstep_box]


def test_a_run_is_put_away_with_its_button_or_with_delete(strip) -> None:
    QTest.mouseClick(strip.chips[1].close_button, LEFT)
    strip.chips[2].setFocus()
    QTest.keyClick(strip.chips[2], Qt.Key.Key_Delete)
    assert strip.noted == [("close", "run-1"), ("close", "run-2")]


def test_what_others_say_is_not_reported_back(strip) -> None:
    strip.set_runs(runs(3), "run-2")
    strip.set_lockstep(True)
    assert strip.chips[2].isChecked() and strip.lockstep_box.isChecked() and strip.noted == []


def test_lockstep_is_offered_for_two_or_more(strip) -> None:
    QTest.mouseClick(strip.lockstep_box, LEFT, pos=strip.lockstep_box.rect().center())
    strip.lockstep_box.setFocus()
    QTest.keyClick(strip.lockstep_box, Qt.Key.Key_Space)
    assert strip.noted == [True, False]
    strip.set_runs(runs(1), "run-0")
    assert not strip.lockstep_box.isVisible()
    strip.set_runs(runs(2), "run-0")
    assert strip.lockstep_box.isVisible()


def test_chips_stay_while_states_change_and_go_with_their_runs(strip) -> None:
    before = list(strip.chips)
    for state in typing.get_args(RunState):
        strip.set_runs(runs(3, state), "run-0")
        assert strip.chips == before
        assert strip.chips[1].accessibleName() == f"Swiss roll 2, step size 0.0003, {_word(state)}"
    kept = runs(3)
    strip.set_runs([kept[2], kept[0]], "run-2")
    assert strip.chips == [before[2], before[0]] and not before[1].isVisible()
    assert before[2].x() < before[0].x()
    strip.set_runs(kept, "run-2")
    assert [chip.run.key for chip in strip.chips] == ["run-0", "run-1", "run-2"]
    QTest.mouseClick(strip.chips[1], LEFT, pos=strip.chips[1].rect().center())
    assert strip.noted == ["run-1"]


def _word(state: str) -> str:
    return "ready" if state == "idle" else state


def test_the_keyboard_stays_in_the_strip_when_its_run_goes(strip) -> None:
    strip.chips[2].close_button.setFocus()
    strip.set_runs(runs(2), "run-0")
    assert QApplication.focusWidget() is strip.chips[0]


def test_names_are_shown_as_they_are(strip) -> None:
    strip.set_runs([StripRun("a", "<b>bold</b> & co", "", "done", "category-1")], "a")
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; co" in strip.chips[0].toolTip()
    assert strip.chips[0].accessibleName() == "<b>bold</b> & co, done"


@pytest.mark.parametrize("width", [560, 640, 1100])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 8])
def test_chips_never_overlap(strip, qtbot, width, count) -> None:
    strip.set_runs(runs(count), "run-0")
    strip.resize(width, 40)
    qtbot.waitUntil(lambda: strip.width() == width)
    parts = [*strip.chips, *([strip.lockstep_box] if count > 1 else [])]
    for index, part in enumerate(parts):
        assert strip.rect().contains(part.geometry())
        assert not any(part.geometry().intersects(other.geometry()) for other in parts[index + 1 :])
    if width == 1100 and count == 3:
        assert all(chip.width() == chip.sizeHint().width() for chip in strip.chips)


def test_a_choice_moves_nothing(strip) -> None:
    before = [chip.geometry() for chip in strip.chips]
    strip.set_runs(runs(3, "failed"), "run-2")
    assert [chip.geometry() for chip in strip.chips] == before


def test_runs_are_told_apart_by_colour_state_and_choice(qtbot, qapp) -> None:
    manager = ThemeManager(qapp, "light")
    strip = RunStrip()
    qtbot.addWidget(strip)
    strip.resize(900, 40)
    strip.show()
    pictures = []
    for state, role, focused in (
        ("running", "category-0", "a"),
        ("paused", "category-0", "a"),
        ("running", "category-1", "a"),
        ("running", "category-0", "b"),
    ):
        strip.set_runs(
            [StripRun("a", "x", "", state, role), StripRun("b", "y", "", "done", "category-2")], focused
        )
        pictures.append(strip.chips[0].grab().toImage())
    cross = strip.chips[0].close_button.icon().pixmap(14).toImage()
    manager.set_mode("dark")
    assert strip.chips[0].close_button.icon().pixmap(14).toImage() != cross
    pictures.append(strip.chips[0].grab().toImage())
    for index, picture in enumerate(pictures):
        assert all(picture != other for other in pictures[index + 1 :])
    shiboken6.delete(manager)


def test_strip_is_destroyed(qtbot) -> None:
    strip = RunStrip()
    strip.set_runs(runs(2), "run-0")
    assert len(strip.findChildren(RunChip)) == 2
    with qtbot.waitSignal(strip.destroyed):
        strip.deleteLater()
