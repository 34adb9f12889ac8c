"""The time line: mouse and keys go to any keyframe and back to the present; marks are told apart and never pile up."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import shiboken6
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QObject, QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QContextMenuEvent, QHelpEvent, QImage, QKeySequence, QPainter, QShortcut
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QToolTip, QVBoxLayout, QWidget

from widgets.theme import ThemeManager
from widgets.timeline import (
    MARK_GAP,
    MARK_RANKS,
    SPACES,
    SPEEDS,
    Timeline,
    TimelineBranch,
    TimelineKeyframe,
    TimelineMark,
    group_marks,
    paint_mark,
    space_text,
)

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.KeyboardModifier.NoModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
KEYFRAMES = [TimelineKeyframe(step) for step in range(0, 1000, 100)]


class Noted(list):
    """What was reported, in order."""

    def keyframe(self, index: int) -> None:
        self.append(index)

    def live(self) -> None:
        self.append("live")

    def branch(self, key: str) -> None:
        self.append(("branch", key))

    def rewind(self) -> None:
        self.append("rewind")

    def fork(self) -> None:
        self.append("fork")

    def space(self, space: int) -> None:
        self.append(("space", space))


@pytest.fixture
def line(qtbot):
    made = Timeline()
    qtbot.addWidget(made)
    made.set_span(0, 1000, None)
    made.set_keyframes(KEYFRAMES)
    made.resize(1000, 48)
    made.show()
    made.noted = Noted()
    made.keyframe_chosen.connect(made.noted.keyframe)
    made.live_requested.connect(made.noted.live)
    made.branch_chosen.connect(made.noted.branch)
    made.rewind_requested.connect(made.noted.rewind)
    made.fork_requested.connect(made.noted.fork)
    made.space_chosen.connect(made.noted.space)
    return made


def at(line: Timeline, index: int | None, dx: int = 0) -> QPoint:
    """A place on the track: of a keyframe, or of the live end."""
    return line.track.place_of(index).toPoint() + QPoint(dx, 0)


def click(line: Timeline, place: QPoint) -> None:
    QTest.mouseClick(line.track, LEFT, NONE, place)


def keys(line: Timeline, *pressed: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
    for key in pressed:
        QTest.keyClick(line.track, key, modifier)


def tip(line: Timeline, place: QPoint) -> str:
    """What the tool tip says there, as it is shown."""
    QToolTip.hideText()
    event = QHelpEvent(QEvent.Type.ToolTip, place, line.track.mapToGlobal(place))
    QApplication.sendEvent(line.track, event)
    return QToolTip.text()


# Going to a moment -------------------------------------------------------------------------------------------


def test_a_click_goes_to_the_nearest_keyframe_and_at_the_end_to_the_present(line) -> None:
    click(line, at(line, 4, 7))
    assert line.position == 4
    click(line, at(line, 6, -7))
    click(line, at(line, None))
    assert line.position is None
    click(line, at(line, None, 3))
    assert line.noted == [4, 6, "live"]


def test_a_drag_tells_each_new_keyframe_once_and_ends_at_the_present(line) -> None:
    QTest.mousePress(line.track, LEFT, NONE, at(line, 2))
    for place in (at(line, 2, 3), at(line, 3), at(line, 3, 2), at(line, 1, -2), at(line, None, -1)):
        QTest.mouseMove(line.track, place)
    QTest.mouseRelease(line.track, LEFT, NONE, at(line, None))
    QTest.mouseMove(line.track, at(line, 5))
    assert line.noted == [2, 3, 1, "live"]


def test_only_the_left_button_drags(line) -> None:
    QTest.mouseClick(line.track, Qt.MouseButton.MiddleButton, NONE, at(line, 2))
    assert line.noted == [] and line.position is None


def test_keys_go_from_keyframe_to_keyframe(line) -> None:
    line.set_keyframes([TimelineKeyframe(step) for step in range(0, 1000, 40)])
    key = Qt.Key
    keys(line, key.Key_Left, key.Key_Left, key.Key_Right, key.Key_Home, key.Key_PageUp, key.Key_PageUp)
    assert line.noted == [24, 23, 24, 0, 10, 20]
    line.noted.clear()
    keys(line, key.Key_PageDown, key.Key_PageUp, key.Key_PageUp, key.Key_Left, key.Key_Right, key.Key_Right)
    assert line.noted == [10, 20, "live", 24, "live"]
    line.noted.clear()
    keys(line, key.Key_Home, key.Key_Left, key.Key_End, key.Key_Home, key.Key_L, key.Key_Home, key.Key_Escape)
    assert line.noted == [0, "live", 0, "live", 0, "live"]


def test_keys_go_from_event_to_event(line) -> None:
    line.set_marks(
        [TimelineMark(250, "change", "a"), TimelineMark(700, "best", "b"), TimelineMark(720, "fork", "c")]
    )
    keys(line, *[Qt.Key.Key_Left] * 3, modifier=CONTROL)
    keys(line, Qt.Key.Key_Right, Qt.Key.Key_Right, modifier=CONTROL)
    assert line.noted == [7, 2, 7], "at the last and the first event it stays"
    line.set_marks([])
    keys(line, Qt.Key.Key_Left, modifier=CONTROL)
    assert line.position == 7


def test_keyframes_at_one_step_are_told_apart(line) -> None:
    line.set_keyframes(
        [
            TimelineKeyframe(0, kind="first"),
            TimelineKeyframe(500, kind="change"),
            TimelineKeyframe(500),
            TimelineKeyframe(900, False),
        ]
    )
    click(line, at(line, 1))
    keys(line, Qt.Key.Key_Left)
    assert line.noted == [2, 1]
    assert line.track.accessibleDescription() == "Keyframe 2 of 4, step 500, just before a change"
    line.set_position(3)
    assert line.track.accessibleDescription() == "Keyframe 4 of 4, step 900, without pictures"
    line.set_position(None)
    assert line.track.accessibleDescription() == "Live, at step 1,000"
    assert line.track.accessibleName()


def test_without_keyframes_there_is_nowhere_to_go(line) -> None:
    line.set_keyframes([])
    line.set_marks([TimelineMark(100, "change", "a")])
    click(line, QPoint(30, 25))
    click(line, line.track.mark_places()[0].toPoint())
    keys(line, Qt.Key.Key_Home, Qt.Key.Key_Left, Qt.Key.Key_Space, Qt.Key.Key_End)
    keys(line, Qt.Key.Key_Left, modifier=CONTROL)
    line.set_position(3)
    assert line.noted == [] and line.position is None and not line.playing


def test_what_others_say_is_not_reported_back(line) -> None:
    line.set_position(3)
    line.set_position(99)
    assert line.position == 9
    line.set_position(-4)
    assert line.position == 0
    line.set_position(None)
    assert line.noted == [] and line.position is None


def test_the_moment_stays_when_keyframes_come_and_go(line) -> None:
    line.set_position(5)
    line.set_keyframes([TimelineKeyframe(50), *KEYFRAMES])
    assert line.position == 6 and "step 500" in line.step_text
    line.set_keyframes([TimelineKeyframe(0), TimelineKeyframe(480), TimelineKeyframe(900)])
    assert line.position == 1 and "step 480" in line.step_text
    line.set_keyframes([])
    assert line.position is None and line.noted == []
    twins = [TimelineKeyframe(500, kind="change"), TimelineKeyframe(500)]
    line.set_keyframes(twins)
    line.set_position(1)
    line.set_keyframes([TimelineKeyframe(0), *twins])
    assert line.position == 2, "of two at one step the one that was shown"


@given(
    steps=st.lists(st.integers(0, 10**7), min_size=1, max_size=40),
    live=st.integers(0, 10**7),
    total=st.none() | st.integers(0, 10**8),
)
def test_later_is_never_to_the_left(qapp, steps, live, total) -> None:
    made = Timeline()
    made.resize(700, 48)
    made.set_keyframes([TimelineKeyframe(step) for step in sorted(steps)])
    made.set_span(0, live, total)
    places = [made.track.place_of(index).x() for index in range(len(steps))]
    present = made.track.place_of(None).x()
    assert places == sorted(places)
    for step, place in zip(sorted(steps), places, strict=True):
        assert 0 <= place <= made.track.width()
        assert place <= present + 1 if step <= live else place >= present - 1
    shiboken6.delete(made)


def test_what_can_be_visited_has_room_early_in_a_long_run(line) -> None:
    line.set_span(0, 1000, 100_000)
    assert line.track.place_of(None).x() > line.track.width() / 6
    early = line.track.place_of(None).x()
    line.set_span(0, 50_000, 100_000)
    assert early < line.track.place_of(None).x() < line.track.width() - 40, "what is planned stays to be seen"


# Marks and branches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_each_kind_of_mark_has_a_shape_of_its_own(qapp, mode) -> None:
    manager = ThemeManager(qapp, mode)
    shapes = {}
    for kind in MARK_RANKS:
        image = QImage(32, 32, QImage.Format.Format_ARGB32_Premultiplied)
        image.fill(0)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_mark(painter, kind, QPointF(16, 16))
        painter.end()
        shapes[kind] = np.frombuffer(image.constBits(), np.uint8).reshape(32, 32, 4)[..., 3] > 100
        assert shapes[kind].sum() >= 20, kind
        assert not shapes[kind][:9].any() and not shapes[kind][-9:].any(), "marks keep to their row"
    names = list(shapes)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            assert (shapes[first] != shapes[second]).sum() >= 12, f"{first} and {second}"
    shiboken6.delete(manager)


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from([*MARK_RANKS, "unheard-of"])), max_size=60))
def test_marks_never_pile_up_and_none_is_lost(marks) -> None:
    xs, kinds = [x for x, _ in marks], [kind for _, kind in marks]
    groups = group_marks(xs, kinds)
    assert sorted(member for group in groups for member in group.members) == list(range(len(marks)))
    assert all(b.x - a.x >= MARK_GAP for a, b in pairwise(groups))
    ranks = {kind: rank for rank, kind in enumerate((*MARK_RANKS, "unheard-of"))}
    for group in groups:
        assert group.x == xs[group.shown]
        assert ranks[kinds[group.shown]] == min(ranks[kinds[member]] for member in group.members)
        assert all(abs(xs[member] - group.x) < MARK_GAP for member in group.members)


def test_a_click_on_a_mark_goes_to_the_keyframe_at_or_before_it(line) -> None:
    line.set_marks([TimelineMark(300, "best", "a"), TimelineMark(690, "change", "b")])
    for place in reversed(line.track.mark_places()):
        click(line, place.toPoint())
    assert line.noted == [6, 3]
    line.set_keyframes([TimelineKeyframe(400), TimelineKeyframe(800)])
    line.noted.clear()
    click(line, line.track.mark_places()[0].toPoint())
    assert line.position == 0, "where none is before it, the first"


def test_marks_say_what_happened(line) -> None:
    line.set_marks(
        [
            TimelineMark(1200, "best", "out of place"),
            TimelineMark(300, "change", "Changed: step size = 0.1"),
            *[TimelineMark(301 + i, "action", f"By hand: stroke {i}") for i in range(3)],
        ]
    )
    first, second = (place.toPoint() for place in line.track.mark_places())
    words = tip(line, first)
    assert "4 events" in words and "Step 300: Changed: step size = 0.1" in words
    assert "Step 303: By hand: stroke 2" in words
    assert "events" not in tip(line, second) and "Step 1,200: out of place" in tip(line, second)
    line.set_marks([TimelineMark(300, "action", f"stroke {i}") for i in range(60)])
    words = tip(line, line.track.mark_places()[0].toPoint())
    assert "60 events" in words and "and 52 more" in words


def test_the_track_says_where_one_would_go_and_what_keyframes_take(line) -> None:
    line.set_space(38 * 2**20, 512 * 2**20)
    words = tip(line, at(line, 4, 3))
    assert "Step 400" in words and "Keyframes use 38 of 512 MB" in words
    assert "Live, at step 1,000" in tip(line, at(line, None))
    line.set_span(0, 1000, 7889)
    assert "Planned up to step 7,889" in tip(line, at(line, None, 60))


def test_texts_are_shown_as_they_are_and_absurd_steps_do_no_harm(line) -> None:
    line.set_keyframes([TimelineKeyframe(0), TimelineKeyframe(10**5000), TimelineKeyframe(-5)])
    line.set_marks(
        [TimelineMark(10**400, "nothing known", "<b>bold</b> & co"), TimelineMark(-7, "change", "b")]
    )
    line.set_branches([TimelineBranch(5, 10**400, "<i>x</i> & y", "k")])
    line.set_span(-3, 10**400, 10**500)
    line.set_span(0, 100, None)
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; co" in tip(line, line.track.mark_places()[-1].toPoint())
    assert "&lt;i&gt;x" in tip(line, line.track.branch_place(0).toPoint())
    line.fill_menu()
    assert "&& y" in line.branch_menu.actions()[0].text()
    keys(line, Qt.Key.Key_Home, Qt.Key.Key_Right)
    assert not line.grab().isNull()


def test_a_branch_is_chosen_by_a_click_or_in_the_menu_and_the_moment_stays(line) -> None:
    line.set_branches(
        [
            TimelineBranch(200, 500, "Left", "a"),
            TimelineBranch(400, 900, "Forked", "b"),
            TimelineBranch(600, 700, "x", "c"),
        ]
    )
    ys = [line.track.branch_place(index).y() for index in range(3)]
    assert ys[0] != ys[1] and ys[1] != ys[2], "those that overlap lie side by side"
    for index in (1, 0, 2):
        click(line, line.track.branch_place(index).toPoint())
    assert line.noted == [("branch", "b"), ("branch", "a"), ("branch", "c")] and line.position is None
    assert "Forked: steps 400 to 900" in tip(line, line.track.branch_place(1).toPoint())
    line.noted.clear()
    QTest.mousePress(line.track, LEFT, NONE, line.track.branch_place(0).toPoint())
    QTest.mouseRelease(line.track, LEFT, NONE, line.track.branch_place(1).toPoint())
    assert line.noted == [], "a press that ends elsewhere is none"
    line.fill_menu()
    assert line.branch_menu.menuAction() in line.menu.actions()
    line.branch_menu.actions()[1].trigger()
    assert line.noted == [("branch", "b")]


def test_what_can_be_clicked_shows_it(line) -> None:
    line.set_marks([TimelineMark(300, "best", "a")])
    line.set_branches([TimelineBranch(200, 500, "Left", "a")])
    hand = Qt.CursorShape.PointingHandCursor
    for place in (line.track.mark_places()[0], line.track.branch_place(0)):
        before = line.track.grab().toImage()
        QTest.mouseMove(line.track, place.toPoint())
        assert line.track.cursor().shape() == hand and line.track.grab().toImage() != before
        QTest.mouseMove(line.track, at(line, 8))
        assert line.track.cursor().shape() != hand


# Playing -----------------------------------------------------------------------------------------------------


def test_play_goes_through_the_keyframes_and_ends_at_the_present(line, qtbot) -> None:
    line.set_keyframes(KEYFRAMES[:4])
    line.speed_menu.actions()[SPEEDS.index(4.0)].trigger()
    assert line.speed == 4.0
    QTest.mouseClick(line.play_button, LEFT, pos=QPoint(8, 14))
    assert line.playing
    qtbot.waitUntil(lambda: not line.playing)
    assert line.noted == [0, 1, 2, 3, "live"] and line.position is None


def test_play_goes_on_from_the_past_and_space_holds_it(line, qtbot) -> None:
    line.speed_menu.actions()[-1].trigger()
    line.set_position(3)
    keys(line, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: len(line.noted) >= 2)
    keys(line, Qt.Key.Key_Space)
    assert not line.playing and line.noted[:2] == [4, 5]
    count = len(line.noted)
    qtbot.wait(80)
    assert len(line.noted) == count


def test_nothing_plays_while_it_is_not_seen_or_held_by_the_mouse(line, qtbot) -> None:
    line.speed_menu.actions()[-1].trigger()
    line.set_position(0)
    keys(line, Qt.Key.Key_Space)
    line.hide()
    line.noted.clear()
    qtbot.wait(100)
    assert line.noted == [] and line.playing
    line.show()
    QTest.mousePress(line.track, LEFT, NONE, at(line, 2))
    qtbot.wait(100)
    assert line.noted == [2]
    QTest.mouseRelease(line.track, LEFT, NONE, at(line, 2))
    qtbot.waitUntil(lambda: line.noted[:2] == [2, 3])
    line.set_position(None)
    assert not line.playing, "who goes back to the present ends it"


# Rewinding, forking, room for keyframes ----------------------------------------------------------------------


def test_rewind_and_fork_only_from_the_past(line) -> None:
    buttons = (line.live_button, line.rewind_button, line.fork_button)
    for button in buttons:
        QTest.mouseClick(button, LEFT)
    assert line.noted == [] and not any(button.isEnabled() for button in buttons)
    line.set_position(4)
    line.set_can_rewind(False)
    assert not line.rewind_button.isEnabled() and line.fork_button.isEnabled()
    line.set_can_rewind(True)
    for button in (line.rewind_button, line.fork_button, line.live_button):
        QTest.mouseClick(button, LEFT)
    assert line.noted == ["rewind", "fork", "live"] and line.position is None


def test_the_menu_offers_the_same(line) -> None:
    line.set_position(4)
    line.fill_menu()
    offered = {action.text(): action for action in line.menu.actions()}
    assert "Step 400" in offered
    offered["Rewind here"].trigger()
    offered["Fork here…"].trigger()
    offered["Back to live"].trigger()
    assert line.noted == ["rewind", "fork", "live"]
    line.fill_menu()
    assert not line.rewind_action.isEnabled() and line.branch_menu.menuAction() not in line.menu.actions()


@pytest.mark.parametrize("reason", list(QContextMenuEvent.Reason))
def test_the_menu_opens(line, qtbot, reason) -> None:
    place = at(line, 2)
    event = QContextMenuEvent(reason, place, line.track.mapToGlobal(place))
    QApplication.sendEvent(line.track, event)
    qtbot.waitUntil(line.menu.isVisible)
    assert line.menu.actions() and line.noted == []
    line.menu.close()


def test_the_keyboard_stays_when_its_button_has_no_more_use(line, qtbot) -> None:
    line.activateWindow()
    qtbot.waitUntil(line.isActiveWindow)
    line.set_position(4)
    line.live_button.setFocus()
    QTest.keyClick(line.live_button, Qt.Key.Key_Space)
    assert line.noted == ["live"] and QApplication.focusWidget() is line.track


def test_room_for_keyframes_is_chosen_in_the_menu(line) -> None:
    line.set_space(38 * 2**20, 512 * 2**20)
    line.fill_menu()
    assert line.space_menu.menuAction() in line.menu.actions()
    assert line.space_menu.title() == "Keyframes use 38 of 512 MB"
    offered = line.space_menu.actions()
    assert [action.text() for action in offered] == ["64 MB", "256 MB", "512 MB", "1 GB", "4 GB"]
    assert [action.isChecked() for action in offered] == [False, False, True, False, False]
    offered[2].trigger()
    assert line.noted == [] and offered[2].isChecked()
    offered[4].trigger()
    assert line.noted == [("space", 4 * 2**30)] and line.space_menu.title() == "Keyframes use 38 MB of 4 GB"
    line.set_space(0, 77)
    assert not any(action.isChecked() for action in offered)


@pytest.mark.parametrize(
    ("used", "bound", "text"),
    [
        (0, SPACES[0], "Keyframes use 0 of 64 MB"),
        (1.5 * 2**30, SPACES[4], "Keyframes use 1.5 of 4 GB"),
        (600 * 2**20, SPACES[3], "Keyframes use 600 MB of 1 GB"),
        (1023.9 * 2**20, SPACES[3], "Keyframes use 1 of 1 GB"),
    ],
)
def test_room_in_words(used, bound, text) -> None:
    assert space_text(int(used), bound) == text


# Looks -------------------------------------------------------------------------------------------------------


def test_the_step_in_words(line) -> None:
    line.set_span(0, 1240, 7889)
    assert line.step_text == "step 1,240 of 7,889 · live"
    line.set_position(3)
    assert line.step_text == "step 300 of 7,889 · past"
    line.set_span(0, 1240, None)
    assert line.step_text == "step 300 · past"


class Paints(QObject):
    """Counts the pictures of a widget."""

    def __init__(self, watched: QWidget) -> None:
        super().__init__(watched)
        self.count = 0
        watched.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        self.count += event.type() == QEvent.Type.Paint
        return False


def test_only_a_visible_change_repaints(line, qtbot) -> None:
    line.set_span(0, 10_000_000, 50_000_000)
    qtbot.waitExposed(line)
    qtbot.wait(20)
    paints = Paints(line.track)
    line.set_span(0, 10_000_001, 50_000_000)
    line.set_keyframes(KEYFRAMES)
    line.set_position(None)
    qtbot.wait(20)
    assert paints.count == 0
    line.set_span(0, 20_000_000, 50_000_000)
    qtbot.waitUntil(lambda: paints.count == 1)
    line.set_position(2)
    qtbot.waitUntil(lambda: paints.count == 2)


@pytest.mark.parametrize("width", [560, 640, 1000, 1400])
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_nothing_overlaps_and_nothing_moves(qtbot, qapp, mode, width) -> None:
    manager = ThemeManager(qapp, mode)
    window = QWidget()
    qtbot.addWidget(window)
    line = Timeline()
    layout = QVBoxLayout(window)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(line)
    line.set_span(0, 123_456, 789_012)
    line.set_keyframes([TimelineKeyframe(step) for step in range(0, 123_456, 500)])
    window.show()
    window.resize(1600, 80)
    window.resize(width, 80)
    qtbot.waitUntil(lambda: line.width() == width)
    children = [child for child in line.children() if isinstance(child, QWidget) and child.isVisible()]
    assert len(children) == 6
    for index, child in enumerate(children):
        assert line.rect().contains(child.geometry())
        assert not any(child.geometry().intersects(other.geometry()) for other in children[index + 1 :])
    assert line.track.width() >= 250
    has_words = line.rewind_button.toolButtonStyle() == Qt.ToolButtonStyle.ToolButtonTextBesideIcon
    assert has_words == (width >= 1000)
    before = [child.geometry() for child in children]
    for index in (0, 100, 200, None):
        line.set_position(index)
        line.set_span(0, 123_999, 789_012)
        QApplication.processEvents()
        assert [child.geometry() for child in children] == before
    assert not line.grab().isNull()
    shiboken6.delete(manager)


def test_follows_the_theme(qtbot, qapp) -> None:
    manager = ThemeManager(qapp, "light")
    line = Timeline()
    qtbot.addWidget(line)
    line.set_span(0, 1000, 2000)
    line.set_keyframes(KEYFRAMES)
    line.set_position(4)
    line.resize(1000, 48)
    line.show()
    icons = line.rewind_action.icon().pixmap(16).toImage()
    before = line.track.grab().toImage()
    manager.set_mode("dark")
    assert line.rewind_action.icon().pixmap(16).toImage() != icons
    assert line.track.grab().toImage() != before
    shiboken6.delete(manager)


def test_the_line_shows_who_has_the_keyboard(line, qtbot) -> None:
    line.activateWindow()
    qtbot.waitUntil(line.isActiveWindow)
    line.play_button.setFocus()

    def looks() -> tuple[QImage, QImage]:
        """The track but for its edge, where the ring is, and the edge."""
        inner = line.track.rect().adjusted(4, 4, -4, -4)
        return line.track.grab(inner).toImage(), line.track.grab(QRect(50, 0, 50, 3)).toImage()

    handle, edge = looks()
    QTest.keyClick(line.play_button, Qt.Key.Key_Tab)
    assert QApplication.focusWidget() is line.track
    assert looks()[0] != handle and looks()[1] != edge
    QTest.mousePress(line.track, LEFT, NONE, at(line, None))
    assert looks()[0] != handle and looks()[1] == edge, "with the mouse the handle alone shows it"
    QTest.mouseRelease(line.track, LEFT, NONE, at(line, None))
    keys(line, Qt.Key.Key_Right)
    assert looks()[1] != edge
    QTest.keyClick(line.track, Qt.Key.Key_Tab)
    assert looks()[1] == edge


def test_keys_of_the_line_are_not_taken_by_the_window_and_others_are(qtbot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    line = Timeline(window)
    line.set_span(0, 1000, None)
    line.set_keyframes(KEYFRAMES)
    taken: list[str] = []
    for name in ("Space", "Escape", "L", "Home", "Ctrl+Left"):
        shortcut = QShortcut(QKeySequence(name), window)
        shortcut.activated.connect(partial(taken.append, name))
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    line.setFocus()
    keys(line, Qt.Key.Key_Home)
    keys(line, Qt.Key.Key_Left, modifier=CONTROL)
    keys(line, Qt.Key.Key_Escape)
    keys(line, Qt.Key.Key_Space)
    assert taken == [] and line.playing
    keys(line, Qt.Key.Key_L)
    assert taken == [] and line.position is None
    keys(line, Qt.Key.Key_Escape)
    assert taken == ["Escape"], "in the present Escape means something else"


def test_line_is_destroyed_while_it_plays(qtbot) -> None:
    line = Timeline()
    line.set_keyframes(KEYFRAMES)
    line.show()
    keys(line, Qt.Key.Key_Space)
    assert line.playing
    with qtbot.waitSignal(line.destroyed):
        line.deleteLater()
