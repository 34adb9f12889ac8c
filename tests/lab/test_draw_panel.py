"""The hand on the DRAW panel: held brushes, fans, the probe, own pictures, with real clicks in the real window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QToolButton
from pytestqt.qtbot import QtBot

from engines import figures as vocabulary
from engines.draw.config import HoldBrush
from engines.figures import Boxes, Film, ImageGrid, Panels
from lab.panels.draw import DrawPanel, read_picture, stroked, window_of
from lab.window.application import Application
from tests.lab.clicker import Draughtsman
from tests.lab.small import SMALL

Make = Callable[..., Application]
T = int(SMALL["draw"]["glimpses"])
SIDE = 8
BEFORE, AFTER = 0, 1
"""Plots of the view 'Hold the brush'."""

SAMPLES = 2
"""Plot of the view 'Canvas'."""


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether drawings are the same.

    One that is drawn alone and one among others have other roundings: matrix products of other sizes add in other orders.
    """
    return np.allclose(one, other, rtol=0.0, atol=1e-5)


class Hand(Draughtsman):
    """A person at the panel."""

    def __init__(self, qtbot: QtBot, application: Application) -> None:
        super().__init__(qtbot)
        self.window = application.window
        panel = application.window.current_panel()
        assert isinstance(panel, DrawPanel) and panel.form is not None
        self.panel, self.form = panel, panel.form

    def train(self, **values: Any) -> None:
        """Train a few steps, pause, hold the film, and wait for what is in sight."""
        self.form.set_values(self.form.values().build({**SMALL["draw"], "steps": 1_000_000, **values}))
        self.play(2)
        self.pause()
        self.panel.slider.set_playing(False)
        self.settle()

    def play(self, steps: int) -> None:
        """Train on until so many steps are done.

        The session hears of steps before the window does, whose button would still be the one that begins.
        """
        first = self.step()
        self.press(self.window.transport.play_button)
        self.until(lambda: self.window.transport.state() == "running" and self.step() >= first + steps)

    def pause(self) -> None:
        """Pause, and wait until the window shows it."""
        self.press(self.window.transport.play_button)
        self.until(lambda: self.window.transport.state() == "paused")

    def step(self) -> int:
        return self.panel.session.step if self.panel.session is not None else 0

    def settle(self) -> None:
        """Until nothing is under way, and every view in sight has its picture."""
        panel = self.panel
        self.until(
            lambda: (
                not panel._is_asking
                and not panel._requested
                and all(
                    panel._shown.get(name) == (self.step(), panel._version) for name in panel._visible_views()
                )
            )
        )

    def turn_to(self, name: str) -> None:
        self.panel.docks[name].raise_()
        self.until(lambda: self.panel.is_in_sight(name) and self.panel.figure(name) is not None)
        self.settle()

    def stand_at(self, t: int) -> None:
        """Put the slider at a step."""
        self.panel.slider.set_index(int(np.flatnonzero(self.panel.times == t)[0]))

    def tool(self, text: str) -> QToolButton:
        """The button of that name above or in the views."""
        found = [button for button in self.panel.findChildren(QToolButton) if button.text() == text]
        assert len(found) == 1, text
        return found[0]

    def wheel(self, name: str, x: float, y: float, turns: int, modifier: Any = None) -> None:
        widget, place = self.place(name, x, y)
        event = QWheelEvent(
            QPointF(place),
            QPointF(widget.mapToGlobal(place)),
            QPoint(),
            QPoint(0, 120 * turns),
            Qt.MouseButton.NoButton,
            modifier or Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(widget, event)

    def box(self, name: str, plot: int, number: int = 0) -> tuple[float, float, float, float]:
        """(x, y, width, height) of a box in what a view shows."""
        still = self.panel.view(name).still
        assert isinstance(still, Panels)
        found = [mark for mark in still.plots[plot].marks if isinstance(mark, Boxes) and len(mark.x)]
        box = found[number]
        return float(box.x[0]), float(box.y[0]), float(box.width[0]), float(box.height[0])

    def pictures(self, name: str, plot: int) -> np.ndarray:
        """What one plot of a film shows at every time, (times, pictures, H, W)."""
        figure = self.panel.figure(name)
        assert isinstance(figure, Film)
        plots = [list(vocabulary.plots_of(frame))[plot] for frame in figure.frames]
        return np.stack([next(m for m in p.marks if isinstance(m, ImageGrid)).images for p in plots])

    def move_window(self, right: float, down: float, t: int = 2) -> None:
        """Drag the window in hand at a step."""
        self.turn_to("held")
        self.stand_at(t)
        x, y, width, height = self.box("held", AFTER)
        middle = x + width / 2, y + height / 2
        steps = [(middle[0] + s * right, middle[1] + s * down) for s in (0.0, 0.5, 1.0)]
        self.drag("held", steps, AFTER)
        self.settle()

    def errors(self) -> list[str]:
        return [message.text() for message in self.window.messages.messages() if message.kind == "error"]


@pytest.fixture
def hand(qtbot: QtBot, make_lab: Make) -> Iterator[Hand]:
    """A person before the panel."""
    yield Hand(qtbot, make_lab("draw", size=(1600, 1000)))


def test_before_there_is_a_model_nothing_can_be_held(hand: Hand) -> None:
    for name in ("Window", "Paint", "Undo", "Let go", "Fan out", "Next picture"):
        assert not hand.tool(name).isEnabled(), name
    hand.panel.fan_out()
    assert any("Train" in message.text() for message in hand.window.messages.messages())
    assert hand.errors() == []


def test_a_moved_window_changes_the_drawing_from_that_step_on_and_nothing_else(hand: Hand) -> None:
    hand.train()
    hand.turn_to("samples")
    step, shown = hand.step(), {name: hand.panel.figure(name) for name in ("canvas", "samples")}
    hand.turn_to("held")
    model = hand.pictures("held", BEFORE)
    assert np.array_equal(hand.pictures("held", AFTER), model), "nothing is held yet"
    hand.move_window(2.0, 1.0)
    before, after = hand.pictures("held", BEFORE), hand.pictures("held", AFTER)
    assert np.array_equal(before, model), "the old one stays beside it"
    assert np.array_equal(after[:2], model[:2]), "what was drawn before that step stays"
    assert all(not np.array_equal(after[t], model[t]) for t in range(2, T + 1))
    brush = hand.panel.hand.brush
    assert brush is not None and (brush.step, brush.of, brush.index, brush.last) == (2, "sample", 0, None)
    for name, figure in shown.items():
        assert hand.panel.figure(name) is figure, f"{name} was not asked for again"
    assert hand.step() == step, "nothing was trained"
    hand.press(hand.tool("Let go"))
    hand.settle()
    assert np.array_equal(hand.pictures("held", AFTER), model) and not hand.tool("Let go").isEnabled()
    assert hand.errors() == []


def test_the_window_goes_as_far_as_the_hand_and_a_corner_scales_it(hand: Hand) -> None:
    hand.train()
    hand.move_window(1.0, 0.5)
    first = hand.panel.hand.brush
    assert first is not None and first.window is not None
    hand.move_window(-1.5, 0.0)
    then = hand.panel.hand.brush
    assert then is not None and then.window is not None
    assert then.window == pytest.approx((first.window[0] - 1.5, *first.window[1:]), abs=0.1)
    # A smaller one has its corners inside the picture.
    hand.panel._hold(HoldBrush(2, window=(4.5, 4.5, 1.0, 0.5)))
    hand.settle()
    x, y, width, height = hand.box("held", AFTER)
    assert (x, y, width, height) == pytest.approx((2.5, 2.5, 3.0, 3.0))
    hand.drag("held", [(5.5, 5.5), (6.0, 6.0), (7.0, 7.0)], AFTER)
    hand.settle()
    scaled = hand.panel.hand.brush
    assert scaled is not None
    assert scaled.window == pytest.approx((4.5, 4.5, 2.0, 1.0), rel=0.06)


def test_keep_holding_holds_the_window_until_the_end(hand: Hand) -> None:
    hand.train()
    hand.move_window(2.0, 2.0)
    once = hand.pictures("held", AFTER)
    hand.press(hand.tool("Keep holding"))
    hand.settle()
    brush = hand.panel.hand.brush
    assert brush is not None and brush.last == T
    kept = hand.pictures("held", AFTER)
    assert np.array_equal(kept[:3], once[:3]) and not np.array_equal(kept[T], once[T])
    hand.press(hand.tool("Keep holding"))
    hand.settle()
    assert np.array_equal(hand.pictures("held", AFTER), once)


def test_undo_takes_back_one_gesture_after_the_other(hand: Hand) -> None:
    hand.train()
    hand.turn_to("held")
    seen = [hand.pictures("held", AFTER)]
    hand.move_window(1.0, 1.0)
    seen.append(hand.pictures("held", AFTER))
    hand.press(hand.tool("Paint"))
    hand.drag("held", [(1.0, 1.0), (3.0, 3.0), (6.0, 6.0)], AFTER)
    hand.settle()
    assert not np.array_equal(hand.pictures("held", AFTER), seen[1])
    for wanted in reversed(seen):
        hand.press(hand.tool("Undo"))
        hand.settle()
        assert np.array_equal(hand.pictures("held", AFTER), wanted)
    assert not hand.tool("Undo").isEnabled()


def test_paint_is_on_the_canvas_after_its_step_and_erasing_takes_ink(hand: Hand) -> None:
    hand.train()
    hand.turn_to("held")
    hand.stand_at(3)
    hand.press(hand.tool("Paint"))
    hand.drag("held", [(1.5, 1.5), (3.5, 3.5), (5.5, 5.5)], AFTER)
    hand.settle()
    before, after = hand.pictures("held", BEFORE)[:, 0], hand.pictures("held", AFTER)[:, 0]
    diagonal = [1, 2, 3, 4, 5]
    assert (after[3][diagonal, diagonal] > 0.9).all(), "a stroke has no gaps"
    assert np.array_equal(after[3][0], before[3][0]), "beside it nothing is painted"
    assert np.array_equal(after[:3], before[:3])
    hand.press(hand.tool("Erase"))
    hand.drag("held", [(3.5, 3.5), (3.6, 3.5)], AFTER)
    hand.settle()
    erased = hand.pictures("held", AFTER)[3, 0]
    assert erased[3, 3] < 0.1 and erased[1, 1] > 0.9, "what was painted elsewhere stays"


def test_a_sample_is_held_where_it_is_seen_among_the_canvases(hand: Hand) -> None:
    hand.train()
    hand.turn_to("canvas")
    hand.stand_at(2)
    sample = hand.pictures("canvas", SAMPLES)[:, 1]
    x, y, width, height = hand.box("canvas", SAMPLES, 1)
    assert x >= SIDE + 1, "the second of the samples"
    middle = x + width / 2, y + height / 2
    hand.drag(
        "canvas", [middle, (middle[0] - 0.5, middle[1] + 1.0), (middle[0] - 1.0, middle[1] + 2.0)], SAMPLES
    )
    hand.settle()
    hand.turn_to("held")
    brush = hand.panel.hand.brush
    assert brush is not None and (brush.of, brush.index, brush.step) == ("sample", 1, 2)
    assert alike(hand.pictures("held", BEFORE)[:, 0], sample)
    assert not alike(hand.pictures("held", AFTER)[:, 0], sample)
    assert hand.panel._subject_box.currentText() == "Sample 2"
    assert np.array_equal(hand.pictures("canvas", SAMPLES)[:, 1], sample), "there it stays the model's"


def test_the_encoder_answers_what_is_painted_on_the_picked_picture(hand: Hand) -> None:
    hand.train()
    hand.panel._subject_box.setCurrentIndex(hand.panel._subject_box.count() - 1)
    hand.panel._subject_box.activated.emit(hand.panel._subject_box.count() - 1)
    hand.turn_to("held")
    still = hand.panel.view("held").still
    assert isinstance(still, Panels) and len(still.plots) == 3, "what it looks at is beside it"
    hand.stand_at(1)
    hand.press(hand.tool("Paint"))
    hand.drag("held", [(1.5, 6.5), (4.5, 6.5), (6.5, 6.5)], AFTER)
    hand.settle()
    brush = hand.panel.hand.brush
    assert brush is not None and brush.of == "picture"
    before, after = hand.pictures("held", BEFORE)[:, 0], hand.pictures("held", AFTER)[:, 0]
    assert np.array_equal(after[1, :5], before[1, :5]), "far from the paint nothing has changed yet"
    assert not np.array_equal(after[2, :5], before[2, :5]), "but the next stroke is another one"


def test_a_click_on_a_sample_takes_it_in_hand(hand: Hand) -> None:
    hand.train()
    hand.turn_to("samples")
    sample = hand.pictures("samples", 0)[:, 2]
    hand.click("samples", 2 * (SIDE + 1) + 3.0, 3.0)
    hand.turn_to("held")
    assert hand.panel.hand.subject == ("sample", 2)
    assert alike(hand.pictures("held", BEFORE)[:, 0], sample)
    assert alike(hand.pictures("held", AFTER)[:, 0], sample)


def test_a_click_on_the_window_of_another_sample_takes_it_in_hand_as_it_is(hand: Hand) -> None:
    hand.train()
    hand.move_window(1.0, 1.0)
    x, y, width, height = hand.box("canvas", SAMPLES, 1)
    hand.click("canvas", x + width / 2, y + height / 2, SAMPLES)
    hand.settle()
    assert hand.panel.hand.subject == ("sample", 1) and not hand.tool("Undo").isEnabled()
    assert np.array_equal(hand.pictures("held", BEFORE), hand.pictures("held", AFTER))
    assert alike(hand.pictures("held", BEFORE)[:, 0], hand.pictures("canvas", SAMPLES)[:, 1])


def test_a_drag_keeps_one_request_under_way_and_ends_at_the_newest(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.train()
    hand.turn_to("held")
    hand.stand_at(2)
    session = hand.panel.session
    assert session is not None
    sent: list[HoldBrush] = []
    act = session.act

    def noted(action: Any) -> int:
        if isinstance(action, HoldBrush):
            sent.append(action)
        return act(action)

    monkeypatch.setattr(session, "act", noted)
    x, y, width, height = hand.box("held", AFTER)
    middle = x + width / 2, y + height / 2
    view = hand.panel.view("held")
    view.gestures.box_grabbed.emit(x, y, width, height, AFTER)
    for right in np.linspace(0.1, 3.0, 40):
        view.gestures.box_dragged.emit(x + float(right), y, width, height, AFTER)
    assert len(sent) == 1, "until it is answered nothing else is sent"
    view.gestures.box_finished.emit(AFTER)
    hand.settle()
    assert len(sent) == 2 and sent[1].window is not None and sent[0].window is not None
    assert sent[1].window[0] - sent[0].window[0] == pytest.approx(2.9) and middle[0] > 0


def test_keys_move_and_scale_the_window(hand: Hand) -> None:
    hand.train()
    hand.move_window(1.0, 0.0)
    first = hand.panel.hand.brush
    key = hand.panel.view("held").canvas
    QTest.keyClick(key, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    hand.settle()
    up = hand.panel.hand.brush
    QTest.keyClick(key, Qt.Key.Key_BracketLeft)
    hand.settle()
    small = hand.panel.hand.brush
    assert first is not None and up is not None and small is not None
    assert first.window is not None and up.window is not None and small.window is not None
    assert up.window[1] < first.window[1] and up.window[2:] == pytest.approx(first.window[2:])
    assert small.window[2] == pytest.approx(up.window[2] / 1.1)


def test_keys_paint_where_they_have_moved_the_brush(hand: Hand) -> None:
    hand.train()
    hand.turn_to("held")
    hand.stand_at(3)
    before = hand.pictures("held", AFTER)[3, 0]
    hand.press(hand.tool("Paint"))
    key = hand.panel.view("held").canvas
    QTest.keyClick(key, Qt.Key.Key_Return)
    assert hand.panel.hand.brush is None, "before it has been moved there is no brush to put down"
    # Each goes as far as the brush is wide: from the middle of the canvas into its corner.
    for way in (Qt.Key.Key_Left, Qt.Key.Key_Up):
        for _ in range(5):
            QTest.keyClick(key, way, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClick(key, Qt.Key.Key_Return)
    hand.settle()
    after = hand.pictures("held", AFTER)[3, 0]
    assert after[0, 0] > 0.9 and np.array_equal(after[4:, 4:], before[4:, 4:])
    hand.press(hand.tool("Undo"))
    hand.settle()
    assert np.array_equal(hand.pictures("held", AFTER)[3, 0], before)


def test_arrow_keys_in_a_view_choose_the_step_at_which_the_hand_acts(hand: Hand) -> None:
    hand.train()
    hand.turn_to("held")
    hand.stand_at(3)
    QTest.keyClick(hand.panel.view("held").canvas, Qt.Key.Key_Left)
    assert hand.panel.shown_t() == 2 and hand.panel.view("canvas").frame == hand.panel.view("held").frame
    # The filters have no step 0, and keep nobody from it.
    hand.turn_to("filters")
    hand.stand_at(0)
    assert hand.panel.slider.time == 0
    QTest.keyClick(hand.panel.view("filters").canvas, Qt.Key.Key_Right)
    assert hand.panel.shown_t() == 2


def test_it_is_held_while_training_goes_on(hand: Hand) -> None:
    hand.train()
    hand.play(1)
    hand.panel._hold(HoldBrush(2, window=(2.0, 2.0, 0.5, 0.5)))
    first = hand.step()
    hand.until(lambda: hand.step() > first + 3)
    hand.until(
        lambda: not np.array_equal(hand.pictures("held", BEFORE)[2:], hand.pictures("held", AFTER)[2:])
    )
    assert hand.panel.hand.brush is not None and hand.panel.state == "running"


def test_a_fan_keeps_the_beginning_and_draws_other_endings_anew(hand: Hand) -> None:
    hand.train()
    hand.turn_to("fan")
    hand.stand_at(3)
    hand.press(hand.tool("Fan out"))
    hand.settle()
    fan = hand.pictures("fan", 0)
    assert fan.shape[1] == 12 and (fan[:3] == fan[:3, :1]).all(), "one beginning"
    assert not (fan[T] == fan[T, :1]).all()
    hand.press(hand.tool("Draw anew"))
    hand.settle()
    anew = hand.pictures("fan", 0)
    assert np.array_equal(anew[:, 0], fan[:, 0]), "the first is the sample itself"
    assert not np.array_equal(anew[T, 1:], fan[T, 1:])
    hand.stand_at(1)
    hand.click("fan", 3.0, 3.0)
    hand.settle()
    assert hand.panel.hand.fan is not None and hand.panel.hand.fan.step == 1


# --- the probe and pictures  ----------


def glimpse(hand: Hand) -> np.ndarray:
    still = hand.panel.view("probe").still
    assert isinstance(still, Panels)
    return np.asarray(next(m for m in still.plots[1].marks if isinstance(m, ImageGrid)).images[0])


def test_the_probe_follows_the_mouse_the_wheel_and_its_numbers(hand: Hand) -> None:
    hand.train()
    hand.turn_to("probe")
    whole, canvas = glimpse(hand), hand.panel.figure("canvas")
    hand.drag("probe", [(4.0, 4.0), (5.0, 4.5), (6.0, 5.0)])
    hand.settle()
    probe = hand.panel.hand.probe
    assert probe is not None and (probe.g_x, probe.g_y) == pytest.approx((6.5, 5.5), abs=0.15)
    assert not np.array_equal(glimpse(hand), whole)
    hand.wheel("probe", 4.0, 4.0, -2)
    hand.settle()
    closer = hand.panel.hand.probe
    assert closer is not None and closer.delta == pytest.approx(probe.delta / 1.21)
    hand.wheel("probe", 4.0, 4.0, 1, Qt.KeyboardModifier.ShiftModifier)
    hand.settle()
    wider = hand.panel.hand.probe
    assert wider is not None
    assert wider.delta == closer.delta and wider.sigma == pytest.approx(1.1 * closer.sigma)
    number = hand.panel._probe_fields["n"]
    number.setFocus()
    number.selectAll()
    QTest.keyClicks(number, "6")
    QTest.keyClick(number, Qt.Key.Key_Return)
    hand.settle()
    assert glimpse(hand).shape == (6, 6)
    hand.press(hand.panel._whole)
    hand.settle()
    assert np.array_equal(glimpse(hand), whole)
    assert hand.panel.figure("canvas") is canvas, "only the probe was asked for again"
    assert hand.errors() == []


def test_another_picture_lies_under_the_probe_and_is_drawn_again(hand: Hand) -> None:
    hand.train()
    hand.turn_to("probe")
    first, drawn, samples = glimpse(hand), hand.pictures("canvas", 0), hand.pictures("canvas", SAMPLES)
    hand.press(hand.tool("Next picture"))
    hand.settle()
    assert not np.array_equal(glimpse(hand), first)
    assert np.array_equal(hand.pictures("canvas", 0)[0, 0], drawn[0, 1]), "the second is the first now"
    assert np.array_equal(hand.pictures("canvas", SAMPLES), samples)


def test_a_dropped_picture_takes_the_place_of_the_held_out_one(hand: Hand, tmp_path: Path) -> None:
    hand.train()
    hand.turn_to("canvas")
    held_out = hand.pictures("canvas", 0)[0, 0]
    path = tmp_path / "mine.png"
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:, :20] = 255
    Image.fromarray(pixels).save(path)
    values = hand.form.values()
    hand.window.take_dropped(str(path))
    hand.until(lambda: hand.panel.hand.own is not None)
    hand.settle()
    mine = hand.pictures("canvas", 0)[0, 0]
    assert (mine[:, :4] > 0.9).all() and (mine[:, 4:] < 0.1).all()
    assert hand.form.values() == values, "it is no data to train on"
    hand.press(hand.tool("Next picture"))
    hand.settle()
    assert np.array_equal(hand.pictures("canvas", 0)[0, 0], held_out)
    assert hand.errors() == []


def test_what_is_no_picture_is_told_in_one_sentence_and_all_stays(hand: Hand, tmp_path: Path) -> None:
    hand.train()
    path = tmp_path / "bad.png"
    path.write_bytes(b"this is no picture")
    figure = hand.panel.figure("canvas")
    hand.window.take_dropped(str(path))
    hand.until(lambda: len(hand.errors()) == 1)
    assert "bad.png" in hand.errors()[0] and "choose a PNG" in hand.errors()[0]
    hand.settle()
    assert hand.panel.figure("canvas") is figure and hand.panel.state == "paused"


# --- runs  ----------


def test_a_run_that_is_chosen_again_brings_what_is_held_in_it(hand: Hand) -> None:
    hand.train()
    hand.move_window(1.0, 1.0)
    origin, brush = hand.panel.run, hand.panel.hand.brush
    held = hand.pictures("held", AFTER)
    assert origin is not None and brush is not None
    keyframe = hand.panel._fork_from()
    assert keyframe is not None
    hand.panel.fork(keyframe, {}, train=False)
    hand.until(lambda: hand.panel.run is not origin and hand.panel.state == "paused")
    hand.until(lambda: hand.panel.started is not None)
    hand.settle()
    assert not hand.tool("Let go").isEnabled(), "when that keyframe was kept, nothing was held"
    hand.panel.choose_run(origin.key)
    hand.settle()
    assert hand.panel.hand.brush is brush and hand.tool("Let go").isEnabled()
    assert np.array_equal(hand.pictures("held", AFTER), held)


def test_a_rewind_brings_back_what_was_held_at_that_keyframe(hand: Hand) -> None:
    hand.train()
    hand.move_window(1.0, 1.0)
    brush = hand.panel.hand.brush
    assert brush is not None and brush.window is not None
    hand.play(1)
    hand.pause()
    hand.until(
        lambda: (
            hand.panel.run is not None and any(kept.step == hand.step() for kept in hand.panel.run.keyframes)
        )
    )
    assert hand.panel.run is not None
    keyframe = next(kept for kept in hand.panel.run.keyframes if kept.step == hand.step())
    before = hand.panel.run
    # At the same step the keyframe would be that of the newer hand, as soon as the run is parted from.
    hand.play(1)
    hand.pause()
    hand.panel.end_hold()
    hand.settle()
    hand.panel.rewind(keyframe, train=False)
    hand.until(lambda: hand.panel.run is not before and hand.panel.hand.brush is not None)
    again = hand.panel.hand.brush
    assert again is not None and again.window == pytest.approx(brush.window)
    assert hand.tool("Let go").isEnabled()
    assert hand.errors() == []


def test_a_reset_keeps_the_picture_and_the_probe_and_lets_go_of_the_brush(hand: Hand) -> None:
    hand.train()
    hand.turn_to("probe")
    hand.press(hand.tool("Next picture"))
    hand.drag("probe", [(4.0, 4.0), (5.0, 5.0)])
    hand.panel._hold(HoldBrush(2, window=(2.0, 2.0, 0.5, 0.5)))
    hand.settle()
    seen, probe, before = glimpse(hand), hand.panel.hand.probe, hand.panel.run
    hand.press(hand.window.transport.reset_button)
    hand.until(lambda: hand.panel.run is not before and hand.panel.started is not None)
    hand.settle()
    assert hand.panel.hand.probe == probe and np.array_equal(glimpse(hand), seen)
    assert hand.panel.hand.brush is None
    assert hand.errors() == []


# --- films and arrangement  ----------


def test_every_film_follows_one_slider_which_plays_by_itself_once(hand: Hand) -> None:
    assert not hand.panel.slider.playing
    hand.form.set_values(hand.form.values().build({**SMALL["draw"], "steps": 1_000_000}))
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.panel.slider.isVisible() and hand.panel.slider.playing)
    hand.panel.slider.set_playing(False)
    hand.until(lambda: hand.window.transport.state() == "running")
    hand.pause()
    hand.turn_to("filters")
    for name in ("canvas", "filters"):
        hand.turn_to(name)
    hand.stand_at(3)
    for name in ("canvas", "filters"):
        figure = hand.panel.figure(name)
        assert isinstance(figure, Film) and figure.times[hand.panel.view(name).frame] == 3, name
    hand.stand_at(0)
    assert hand.panel.view("canvas").frame == 0 and hand.panel.view("filters").frame == 0
    assert not hand.panel.slider.playing, "what was held is not started by newer pictures"


def test_without_attention_there_is_no_window_to_move_but_a_canvas_to_paint(hand: Hand) -> None:
    hand.train(attention=False)
    assert not hand.tool("Window").isEnabled() and hand.panel.docks["filters"].isHidden()
    hand.turn_to("held")
    hand.stand_at(2)
    hand.press(hand.tool("Paint"))
    hand.drag("held", [(1.5, 1.5), (5.5, 5.5)], AFTER)
    hand.settle()
    assert hand.pictures("held", AFTER)[2, 0, 3, 3] > 0.9
    assert hand.errors() == []


def test_a_classifier_has_its_glimpses_in_front_and_no_brush(hand: Hand) -> None:
    hand.train(task="classify")
    assert hand.panel.is_in_sight("glimpses") and hand.panel.docks["canvas"].isHidden()
    assert not hand.tool("Fan out").isVisible() and hand.tool("Next picture").isVisible()
    pictures = hand.pictures("glimpses", 0)
    hand.press(hand.tool("Next picture"))
    hand.settle()
    assert np.array_equal(hand.pictures("glimpses", 0)[0, 0], pictures[0, 1])
    hand.turn_to("probe")
    hand.drag("probe", [(4.0, 4.0), (5.0, 5.0)])
    hand.settle()
    assert hand.panel.hand.probe is not None and hand.errors() == []


def test_twins_are_in_front_where_the_twin_trains(hand: Hand) -> None:
    hand.train(twin=True)
    assert hand.panel.is_in_sight("twins") and isinstance(hand.panel.figure("twins"), Film)


# --- what the hand means  ----------


def test_a_large_picture_is_made_smaller_by_the_means_of_blocks(tmp_path: Path) -> None:
    pixels = np.zeros((6, 2048, 3), np.uint8)
    pixels[:, 1000:] = (10, 20, 30)
    pixels[::2, 1000:] = (20, 40, 60)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    seen = read_picture(tmp_path / "wide.png")
    assert seen.shape == (3, 1024, 3)
    assert (seen[:, :500] == 0).all() and (seen[:, 500:] == (15, 30, 45)).all()
    Image.fromarray(pixels[:, 990:1010]).save(tmp_path / "small.png")
    assert np.array_equal(read_picture(tmp_path / "small.png"), pixels[:, 990:1010])


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("place", [(4.5, 4.5), (1.5, 6.0), (8.0, 4.0)], ids=["inside", "left", "right"])
def test_a_window_is_found_again_from_its_box(n: int, place: tuple[float, float]) -> None:
    delta, sigma = 0.8, 0.6
    half = (n - 1) / 2 * delta + sigma
    left, right = (min(max(place[0] - 0.5 + side * half, 0.0), 8.0) for side in (-1, 1))
    top, bottom = (min(max(place[1] - 0.5 + side * half, 0.0), 8.0) for side in (-1, 1))
    found = window_of((left, top, right - left, bottom - top), (8, 8), sigma, n)
    assert found[:2] == pytest.approx(place, abs=1e-6)
    assert found[3] == pytest.approx(sigma) and (n == 1 or found[2] == pytest.approx(delta))


def test_a_stroke_covers_what_lies_between_two_moves() -> None:
    near = stroked((8, 8), (0.5, 0.5), (7.5, 7.5), 0.5)
    assert near.diagonal().all() and not near[0, 4:].any()
    assert stroked((8, 8), (3.9, 3.9), (3.9, 3.9), 0.1).sum() == 1, "the pixel under the mouse"
    assert not stroked((8, 8), (-5.0, -5.0), (-4.0, -4.0), 1.0).any()
