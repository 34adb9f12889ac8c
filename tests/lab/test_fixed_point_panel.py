"""The hand on the fixed-point panel: sliders, the allocation, steps, weights and the brown-out, in the real window."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QStyle, QStyleOptionSlider, QToolButton
from pytestqt.qtbot import QtBot

from engines.figures import Bars, Boxes, Panels, Plot, Scatter
from engines.fixed_point.config import SetAllBits, SetBits, TryBits
from engines.method import Question
from lab.panels.fixed_point import FixedPointPanel
from lab.runs.folder import RunFolder
from lab.window.application import Application
from tests.lab.clicker import Draughtsman
from tests.lab.small import SMALL
from widgets.slider_board import StepField, StepSlider

Make = Callable[..., Application]
WEIGHTS, READS = 0, 1
"""Columns of the board."""

BITS = {"weight_bits": 4, "activation_bits": 4}


class Hand(Draughtsman):
    """A person at the panel."""

    def __init__(self, qtbot: QtBot, application: Application) -> None:
        super().__init__(qtbot)
        self.window = application.window
        panel = application.window.current_panel()
        assert isinstance(panel, FixedPointPanel) and panel.form is not None
        self.panel, self.form, self.board = panel, panel.form, panel.board

    def train(self, steps: int = 8, **values: Any) -> None:
        """Train until the network is in fixed point and a little longer, and pause."""
        self.form.set_values(self.form.values().build({**SMALL["fixed-point"], **BITS, **values}))
        self.press(self.window.transport.play_button)
        self.until(lambda: self.step() >= steps)
        if self.panel.state == "running":
            self.press(self.window.transport.play_button)
        self.until(lambda: self.window.transport.state() == "paused")
        self.settle()

    def step_once(self) -> None:
        """One step, and its keyframe."""
        wanted = self.step() + 1
        self.press(self.window.transport.step_button)
        self.until(lambda: self.step() == wanted and self.window.transport.state() == "paused")
        self.until(lambda: self.panel.run is not None and self.panel.run.keyframes[-1].step == wanted)

    def step(self) -> int:
        return self.panel.session.step if self.panel.session is not None else 0

    def settle(self) -> None:
        """Until nothing is under way, and the panel knows how the run stands."""
        panel = self.panel
        self.until(
            lambda: (
                panel.told is not None
                and "accuracy_percent" in panel.told
                and not panel._is_busy
                and not panel._is_asking
                and not panel._wishes
                and panel._asked == (self.step(), panel._form_version)
                and not panel._requested
            )
        )

    def told(self, name: str) -> Any:
        assert self.panel.told is not None
        return self.panel.told[name]

    def slider(self, column: int, row: int) -> StepSlider:
        return self.board.sliders[column][row]

    def field(self, column: int, row: int) -> StepField:
        return self.board.fields[column][row]

    def turn(self, column: int, row: int, key: Qt.Key) -> None:
        """A key on a slider."""
        self.slider(column, row).setFocus()
        self.qtbot.keyClick(self.slider(column, row), key)

    def type_bits(self, column: int, row: int, text: str) -> None:
        field = self.field(column, row)
        field.setFocus()
        field.selectAll()
        self.qtbot.keyClicks(field, text)
        self.qtbot.keyClick(field, Qt.Key.Key_Return)

    def at(self, slider: StepSlider, position: int) -> QPoint:
        """Where the handle is for a position."""
        option = QStyleOptionSlider()
        slider.initStyleOption(option)
        handle = slider.style().subControlRect(
            QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle, slider
        )
        x = QStyle.sliderPositionFromValue(
            slider.minimum(), slider.maximum(), position, slider.width() - handle.width()
        )
        return QPoint(x + handle.width() // 2, slider.height() // 2)

    def tool(self, text: str) -> QToolButton:
        assert self.panel.tools is not None
        return next(button for button in self.panel.tools.findChildren(QToolButton) if button.text() == text)

    def turn_to(self, name: str) -> None:
        self.panel.docks[name].raise_()
        self.until(lambda: self.panel.is_in_sight(name) and self.panel.figure(name) is not None)
        self.settle()

    def plot(self, name: str, number: int = 0) -> Plot:
        figure = self.panel.figure(name)
        assert isinstance(figure, Plot | Panels)
        return figure.plots[number] if isinstance(figure, Panels) else figure

    def marks(self, name: str, kind: type, number: int = 0) -> list[Any]:
        return [mark for mark in self.plot(name, number).marks if isinstance(mark, kind)]

    def actions(self) -> list[str]:
        """What the run's record says that the hand did."""
        assert self.panel.session is not None
        folder = RunFolder(self.panel.session.spec.folder or "")
        return [event["action"] for event in folder.events()[0] if event["kind"] == "action"]

    def said(self, kind: str) -> list[str]:
        return [message.text() for message in self.window.messages.messages() if message.kind == kind]


@pytest.fixture
def hand(qtbot: QtBot, make_lab: Make) -> Iterator[Hand]:
    """A person before the panel."""
    yield Hand(qtbot, make_lab("fixed-point", size=(1600, 1000)))


# --- sliders  ----------


def test_before_there_is_a_network_the_sliders_say_so_and_rest(hand: Hand) -> None:
    assert not hand.slider(WEIGHTS, 0).isEnabled() and not hand.field(READS, 0).isEnabled()
    assert not hand.tool("Allocate").isEnabled() and not hand.tool("Equal bits").isEnabled()
    assert "Train" in hand.panel._answer.text()
    assert not hand.panel.wish_bits({"weights": (3, 3, 3, 3, 3)})
    assert any("Train" in text for text in hand.said("info")) and hand.said("error") == []


def test_a_key_on_a_slider_changes_one_layer_and_is_answered_with_the_accuracy(hand: Hand) -> None:
    hand.train()
    assert hand.told("weights") == (4,) * 5 and hand.told("activations") == (4,) * 5
    assert [hand.field(WEIGHTS, row).text() for row in range(5)] == ["4"] * 5
    step, size = hand.step(), hand.told("size_bytes")
    hand.turn(WEIGHTS, 2, Qt.Key.Key_Left)
    hand.settle()
    assert hand.told("weights") == (4, 4, 3, 4, 4) and hand.told("activations") == (4,) * 5
    assert hand.field(WEIGHTS, 2).text() == "3" and hand.told("size_bytes") < size
    assert f"{hand.told('accuracy_percent'):.1f} %" in hand.panel._answer.text()
    hand.turn(READS, 0, Qt.Key.Key_Home)
    hand.settle()
    assert hand.told("activations") == (1, 4, 4, 4, 4)
    assert hand.step() == step, "nothing was trained"
    assert hand.said("error") == []


def test_every_slider_and_field_has_a_name_a_tip_and_can_be_reached_with_the_keyboard(hand: Hand) -> None:
    hand.train()
    widgets = [
        widget
        for column in (WEIGHTS, READS)
        for row in range(5)
        for widget in (hand.slider(column, row), hand.field(column, row))
    ]
    names = [widget.accessibleName() for widget in widgets]
    assert len(set(names)) == len(names) and "Bits of the weights of conv2" in names
    assert all(widget.toolTip() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus for widget in widgets)
    assert hand.panel.tools is not None
    for button in hand.panel.tools.findChildren(QToolButton):
        assert button.toolTip() and (button.text() or button.accessibleName())
    first = hand.slider(WEIGHTS, 0)
    first.setFocus()
    reached = set()
    for _ in range(40):
        focus = QApplication.focusWidget()
        reached.add(focus)
        hand.qtbot.keyClick(focus, Qt.Key.Key_Tab)
    assert set(widgets) <= reached


def test_a_number_can_be_typed_and_one_that_is_not_possible_is_told(hand: Hand) -> None:
    hand.train()
    hand.type_bits(WEIGHTS, 1, "12")
    hand.settle()
    assert hand.told("weights") == (4, 12, 4, 4, 4)
    hand.type_bits(WEIGHTS, 1, "32")
    hand.settle()
    assert hand.told("weights")[1] == 32 and hand.slider(WEIGHTS, 1).value() == 16
    hand.type_bits(WEIGHTS, 1, "20")
    assert any("20 bits are not possible" in text for text in hand.said("error"))
    assert hand.field(WEIGHTS, 1).text() == "32" and hand.told("weights")[1] == 32
    hand.type_bits(WEIGHTS, 1, "3")
    hand.settle()
    assert hand.told("weights")[1] == 3 and hand.said("error") == [], "what was wrong is forgotten"


def test_linked_sliders_move_together_and_free_ones_do_not(hand: Hand) -> None:
    hand.train()
    link = hand.board.links[WEIGHTS]
    hand.press(link)
    hand.turn(WEIGHTS, 3, Qt.Key.Key_Right)
    hand.settle()
    assert hand.told("weights") == (5,) * 5 and hand.told("activations") == (4,) * 5
    hand.press(link)
    hand.turn(WEIGHTS, 3, Qt.Key.Key_Right)
    hand.settle()
    assert hand.told("weights") == (5, 5, 5, 6, 5)


def test_a_drag_keeps_one_request_under_way_and_its_end_alone_is_on_the_record(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.train()
    session = hand.panel.session
    assert session is not None
    sent: list[Any] = []
    act = session.act

    def noted(action: Any) -> int:
        if not isinstance(action, Question):
            sent.append(action)
        return act(action)

    monkeypatch.setattr(session, "act", noted)
    slider = hand.slider(WEIGHTS, 1)
    QTest.mousePress(slider, Qt.MouseButton.LeftButton, pos=hand.at(slider, 3))
    for position in range(4, 12):
        QTest.mouseMove(slider, hand.at(slider, position))
    assert len(sent) == 1, "until it is answered nothing else is sent"
    QTest.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=hand.at(slider, 11))
    hand.settle()
    assert hand.told("weights") == (4, 12, 4, 4, 4)
    assert isinstance(sent[0], TryBits) and sent[0].bits == 5
    assert len(sent) <= 3 and type(sent[-1]) in (SetBits, SetAllBits)
    hand.until(lambda: len(hand.actions()) == 1)
    assert hand.actions() == [type(sent[-1]).__name__]
    # One drag is one step back.
    hand.window.undo_group.undo()
    hand.settle()
    assert hand.told("weights") == (4,) * 5 and hand.slider(WEIGHTS, 1).value() == 3
    hand.window.undo_group.redo()
    hand.settle()
    assert hand.told("weights") == (4, 12, 4, 4, 4)


def test_a_slow_drag_is_tried_and_noted_where_it_ends(hand: Hand) -> None:
    hand.train()
    slider = hand.slider(READS, 4)
    QTest.mousePress(slider, Qt.MouseButton.LeftButton, pos=hand.at(slider, 3))
    for position in (5, 7):
        QTest.mouseMove(slider, hand.at(slider, position))
        hand.until(lambda position=position: hand.told("activations")[4] == position + 1)
    assert hand.actions() == [], "so far it was only tried"
    QTest.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=hand.at(slider, 7))
    hand.settle()
    assert hand.told("activations") == (4, 4, 4, 4, 8)
    hand.until(lambda: len(hand.actions()) == 1)


def test_a_setting_for_all_layers_moves_all_sliders(hand: Hand) -> None:
    hand.train()
    hand.turn(WEIGHTS, 0, Qt.Key.Key_Right)
    hand.settle()
    hand.form.change({"activation_bits": 7})
    hand.until(lambda: hand.told("activations") == (7,) * 5)
    assert hand.told("weights") == (5, 4, 4, 4, 4)
    assert [hand.field(READS, row).text() for row in range(5)] == ["7"] * 5


def test_while_it_trains_the_sliders_act_and_the_newest_accuracy_is_shown(hand: Hand) -> None:
    hand.train()
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.panel.state == "running")
    hand.turn(WEIGHTS, 4, Qt.Key.Key_Left)
    hand.until(lambda: hand.told("weights") == (4, 4, 4, 4, 3))
    first = hand.step()
    hand.until(lambda: hand.step() > first + 6)
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.window.transport.state() == "paused")
    hand.settle()
    assert f"{hand.told('accuracy_percent'):.1f} %" in hand.panel._answer.text()
    assert hand.said("error") == []


# --- what spoils it  ----------


def test_the_layer_that_spoils_the_output_is_named_and_stands_out(hand: Hand) -> None:
    hand.train(activation_bits=8, weight_bits=8)
    hand.turn(WEIGHTS, 2, Qt.Key.Key_Home)
    hand.settle()
    noise = hand.told("noise")
    assert np.argmax(noise["weights"]) == 2 and noise["weights"][2] > 0.9
    assert sum(noise["weights"]) + sum(noise["activations"]) == pytest.approx(1)
    assert "weights of conv3" in hand.panel._blame.text()
    standing_out = [
        (column, row)
        for column in (WEIGHTS, READS)
        for row, bar in enumerate(hand.board.shares[column])
        if bar.is_largest
    ]
    assert standing_out == [(WEIGHTS, 2)]
    assert hand.board.shares[WEIGHTS][2].text() == f"{100 * noise['weights'][2]:.0f} %"
    hand.turn_to("budget")
    (worst,) = [bars for bars in hand.marks("budget", Bars) if bars.role == "warning"]
    assert worst.x.tolist() == [2.0]


def test_a_click_on_a_bar_or_on_a_name_shows_that_layer(hand: Hand) -> None:
    hand.train()
    hand.turn_to("budget")
    hand.click("budget", 3.0, 0.5 * hand.plot("budget").y.limits[1])
    assert hand.form.values().model_dump()["layer"] == 4
    assert hand.board.name_buttons[3].isChecked() and not hand.board.name_buttons[0].isChecked()
    hand.press(hand.board.name_buttons[1])
    hand.turn_to("levels")
    hand.until(lambda: hand.plot("levels").title == "weights of conv2")


# --- the allocation  ----------


def test_the_allocation_s_bits_are_marked_and_one_press_takes_them(hand: Hand) -> None:
    hand.train()
    allocated = hand.told("allocated")
    ticks = [hand.slider(WEIGHTS, row).suggested + 1 for row in range(5)]
    assert tuple(ticks) == allocated and len(set(allocated)) > 1
    hand.press(hand.tool("Allocate"))
    hand.settle()
    assert hand.told("weights") == allocated
    assert [int(hand.field(WEIGHTS, row).text()) for row in range(5)] == list(allocated)
    hand.window.undo_group.undo()
    hand.settle()
    assert hand.told("weights") == (4,) * 5
    hand.window.undo_group.redo()
    hand.settle()
    assert hand.told("weights") == allocated
    hand.until(lambda: "UseAllocation" in hand.actions())


def test_another_target_moves_the_marks(hand: Hand) -> None:
    hand.train(activation_bits=8)
    before = hand.told("allocated")
    hand.panel._target.setValue(6.0)
    hand.settle()
    assert hand.form.values().model_dump()["target_bits"] == 6.0
    assert sum(hand.told("allocated")) > sum(before)
    hand.panel._target_box.setCurrentIndex(1)
    hand.panel._target_box.activated.emit(1)
    assert hand.form.values().model_dump()["target"] == "sqnr" and hand.panel._target.suffix() == " dB"
    hand.panel._target.setValue(60.0)
    hand.settle()
    assert hand.told("allocated") is None and not hand.tool("Allocate").isEnabled()
    assert hand.slider(WEIGHTS, 0).suggested == -1
    assert "out of reach" in hand.panel._blame.toolTip()


def test_equal_bits_keep_the_size_as_nearly_as_whole_bits_can(hand: Hand) -> None:
    hand.train()
    hand.press(hand.tool("Allocate"))
    hand.settle()
    mean = hand.told("mean_bits")
    hand.press(hand.tool("Equal bits"))
    hand.settle()
    assert hand.told("weights") == (round(mean),) * 5


def test_ones_own_bits_are_compared_with_the_allocation_s_at_no_more_cost(hand: Hand) -> None:
    hand.train()
    hand.until(lambda: hand.panel._rival is not None)
    rival = hand.panel._rival
    assert rival is not None and rival["size_bytes"] <= hand.told("size_bytes")
    assert f"you {rival['your_accuracy_percent']:.1f} %" in hand.panel._blame.text()
    hand.turn_to("pareto")
    points = {mark.label: (float(mark.x[0]), float(mark.y[0])) for mark in hand.marks("pareto", Scatter)}
    assert points["yours"][0] == pytest.approx(hand.told("size_bytes") / 1024)
    assert points["allocated, your size"][0] == pytest.approx(rival["size_bytes"] / 1024)
    hand.turn(WEIGHTS, 3, Qt.Key.Key_Home)
    hand.settle()
    hand.until(lambda: hand.panel._rival is not rival and "you" in hand.panel._blame.text())
    assert hand.panel._rival["contest"] != rival["contest"]
    moved = {mark.label: float(mark.x[0]) for mark in hand.marks("pareto", Scatter)}
    assert moved["yours"] == pytest.approx(hand.told("size_bytes") / 1024) != points["yours"][0]


# --- steps and weights  ----------


def test_the_step_is_dragged_on_the_histogram_undone_and_given_back(hand: Hand) -> None:
    hand.train(power_of_two=False)
    hand.turn_to("levels")
    (frame,) = hand.marks("levels", Boxes)
    x, width, height = float(frame.x[0]), float(frame.width[0]), float(frame.height[0])
    middle = x + 0.5 * width, 0.5 * height
    far = middle[0] + 0.2 * width, middle[1]
    hand.drag("levels", [middle, (middle[0] + 0.1 * width, middle[1]), far])
    hand.settle()
    step = hand.told("own_steps")["weights"][0]
    assert step == pytest.approx(1.4 * width / 16, rel=0.05)
    hand.until(lambda: float(hand.marks("levels", Boxes)[0].width[0]) == pytest.approx(16 * step))
    hand.until(lambda: hand.actions() == ["SetStep"])
    assert hand.tool("Steps by rule").isEnabled()
    hand.window.undo_group.undo()
    hand.settle()
    assert hand.told("own_steps")["weights"][0] is None and not hand.tool("Steps by rule").isEnabled()
    hand.window.undo_group.redo()
    hand.settle()
    assert hand.told("own_steps")["weights"][0] == step
    hand.press(hand.tool("Steps by rule"))
    hand.settle()
    assert hand.told("own_steps")["weights"] == (None,) * 5


def test_brackets_on_the_histogram_change_the_step_too_and_other_bits_have_a_step_of_their_own(
    hand: Hand,
) -> None:
    hand.train(power_of_two=False)
    hand.turn_to("levels")
    view = hand.panel.view("levels")
    view.canvas.setFocus()
    hand.qtbot.keyClick(view.canvas, Qt.Key.Key_BracketRight)
    hand.settle()
    assert hand.told("own_steps")["weights"][0] is not None
    hand.turn(WEIGHTS, 0, Qt.Key.Key_Right)
    hand.settle()
    assert hand.told("own_steps")["weights"][0] is None


def test_a_click_on_a_weight_shows_its_bits(hand: Hand) -> None:
    hand.train(layer=2)
    hand.turn_to("weight")
    before = hand.plot("weight", 1)
    hand.click("weight", 7.5, 2.5)
    columns = int(hand.plot("weight").x.limits[1])
    assert hand.form.values().model_dump()["weight"] == 2 * columns + 7
    hand.until(lambda: hand.plot("weight", 1).note != before.note)
    (box,) = hand.marks("weight", Boxes)
    assert (float(box.x[0]), float(box.y[0])) == (7.0, 2.0)
    assert hand.plot("weight", 1).x.ticks is not None and len(hand.plot("weight", 1).x.ticks) == 4


# --- fine-tuning  ----------


def test_a_brown_out_is_told_and_stochastic_rounding_ends_it(hand: Hand) -> None:
    hand.train(fine_tune_rate=0.01)
    hand.press(hand.tool("No float copy"))
    assert hand.form.values().model_dump()["master"] == "fixed"
    hand.press(hand.board.links[WEIGHTS])
    hand.turn(WEIGHTS, 0, Qt.Key.Key_Home)
    hand.turn(WEIGHTS, 0, Qt.Key.Key_Right)
    hand.settle()
    assert hand.told("weights") == (2,) * 5
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.panel.history.latest().get("dead_percent") == 100.0)
    hand.until(lambda: "brown-out" in hand.panel._blame.text())
    hand.form.change({"fine_tune_rate": 10.0})
    hand.press(hand.tool("Stochastic"))
    assert hand.form.values().model_dump()["rounding"] == "stochastic"
    hand.until(lambda: hand.panel.history.latest()["dead_percent"] < 99.0)
    hand.until(lambda: "brown-out" not in hand.panel._blame.text())
    assert hand.said("error") == []


def test_without_fine_tuning_the_run_ends_when_converted_and_goes_on_when_it_is_switched_on(
    hand: Hand,
) -> None:
    hand.train(steps=6, fine_tune=False, float_steps=6)
    assert hand.step() == 6 and hand.panel.session is not None and hand.panel.session.is_finished
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: any("Fine-tune" in text for text in hand.said("info")))
    assert hand.step() == 6 and hand.panel.state == "paused"
    hand.turn(WEIGHTS, 1, Qt.Key.Key_Left)
    hand.settle()
    assert hand.told("weights") == (4, 3, 4, 4, 4), "what stands still can be tried out"
    hand.press(hand.tool("Fine-tune"))
    hand.settle()
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.step() > 9)
    assert hand.said("error") == []


# --- runs  ----------


def test_after_a_rewind_a_reset_and_a_change_of_runs_the_sliders_are_those_of_the_run(hand: Hand) -> None:
    hand.train()
    origin = hand.panel.run
    assert origin is not None
    hand.turn(WEIGHTS, 1, Qt.Key.Key_Home)
    hand.settle()
    hand.step_once()
    hand.settle()
    assert hand.told("weights") == (4, 1, 4, 4, 4)
    keyframe = hand.panel._fork_from()
    assert keyframe is not None
    hand.panel.fork(keyframe, {}, train=False)
    hand.until(lambda: hand.panel.run is not origin and hand.panel.state == "paused")
    hand.settle()
    assert hand.told("weights") == (4, 1, 4, 4, 4), "a fork begins with the bits of its keyframe"
    hand.turn(WEIGHTS, 0, Qt.Key.Key_End)
    hand.settle()
    hand.panel.choose_run(origin.key)
    hand.until(lambda: hand.panel.told is not None)
    hand.settle()
    assert hand.told("weights") == (4, 1, 4, 4, 4) and hand.field(WEIGHTS, 0).text() == "4"
    early = next(k for k in hand.panel.run.keyframes if k.step < hand.step())
    hand.panel.rewind(early, train=False)
    hand.until(lambda: hand.panel.state == "paused" and hand.step() == early.step)
    hand.settle()
    assert hand.told("weights") == (4,) * 5
    hand.turn(WEIGHTS, 0, Qt.Key.Key_End)
    hand.settle()
    hand.press(hand.window.transport.reset_button)
    hand.until(lambda: hand.panel.state == "paused" and hand.step() == 0)
    hand.settle()
    assert hand.told("weights") == (4,) * 5 and hand.said("error") == []


def test_bits_that_were_moved_in_a_run_that_is_shown_are_those_of_the_run_that_goes_on(hand: Hand) -> None:
    hand.train()
    session = hand.panel.session
    assert session is not None
    path, step = Path(session.spec.folder or ""), hand.step()
    hand.press(hand.window.transport.stop_button)
    hand.until(lambda: hand.panel.state == "done" and not hand.window.services.closing)
    hand.panel.open_run(path)
    hand.until(lambda: hand.panel.state == "paused" and hand.panel.viewing is not None)
    hand.settle()
    hand.turn(WEIGHTS, 2, Qt.Key.Key_Home)
    hand.settle()
    assert hand.told("weights") == (4, 4, 1, 4, 4)
    hand.press(hand.window.transport.play_button)
    hand.until(
        lambda: hand.panel.viewing is None and hand.panel.state == "running" and hand.step() > step + 2
    )
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.window.transport.state() == "paused")
    hand.settle()
    assert hand.told("weights") == (4, 4, 1, 4, 4) and hand.said("error") == []


def test_the_board_fits_the_smallest_window(qtbot: QtBot, make_lab: Make) -> None:
    hand = Hand(qtbot, make_lab("fixed-point", size=(1000, 700)))
    hand.train()
    for column in (WEIGHTS, READS):
        for row in range(5):
            slider, field = hand.slider(column, row), hand.field(column, row)
            assert slider.width() >= 100 and field.width() >= 30
            right = field.mapTo(hand.panel, QPoint(field.width(), 0)).x()
            assert right <= hand.panel.width()
    for button in (hand.tool("Allocate"), hand.tool("Fine-tune")):
        assert button.width() >= button.sizeHint().width()
    assert hand.panel.view("budget").height() > 180


def test_the_record_of_a_run_holds_what_the_hand_set(hand: Hand) -> None:
    hand.train()
    hand.turn(WEIGHTS, 1, Qt.Key.Key_Home)
    hand.settle()
    assert hand.panel.session is not None
    path = Path(hand.panel.session.spec.folder or "")
    hand.until(lambda: hand.actions() == ["SetBits"])
    hand.step_once()
    record = RunFolder(path).keyframes()[0][-1]
    state = RunFolder(path).read_keyframe(record)
    assert json.loads(json.dumps(state["bits"]))["weights"] == [4, 1, 4, 4, 4]
