"""The hand on the TRPO panel: the what-if step, forks of it, and policies as files, in the real window."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox, QToolButton
from pytestqt.qtbot import QtBot

from engines import figures as vocabulary
from engines.figures import Bodies, Film, Rule
from engines.trpo import saved
from engines.trpo.config import GivePolicy, WhatIf
from engines.trpo.saved import SavedPolicy
from lab.panels.trpo import FractionSlider, TrpoPanel
from lab.runs import messages as m
from lab.window.application import Application
from tests.lab.clicker import Clicker

Make = Callable[..., Application]
TINY = {
    "batch_steps": 60,
    "units": 4,
    "length": 60,
    "steps": 1_000_000,
    # So that theta is the same in every run, bit for bit.
    "scale_observations": False,
}


class Hand(Clicker):
    """A person at the panel."""

    def __init__(self, qtbot: QtBot, application: Application) -> None:
        super().__init__(qtbot)
        self.window = application.window
        panel = application.window.current_panel()
        assert isinstance(panel, TrpoPanel) and panel.form is not None
        self.panel, self.form = panel, panel.form
        self.slider = panel.findChild(FractionSlider)

    def train(self, updates: int = 3, **values: Any) -> None:
        """Train so many updates and more, and pause."""
        self.form.set_values(self.form.values().build({**TINY, **values}))
        self.press(self.window.transport.play_button)
        self.until(lambda: self.panel.state == "running" and self.step() >= updates)
        self.press(self.window.transport.play_button)
        self.until(lambda: self.window.transport.state() == "paused" and self.is_listed())

    def step(self) -> int:
        return self.panel.session.step if self.panel.session is not None else 0

    def is_listed(self) -> bool:
        """Whether the strip knows the newest update."""
        return bool(self.panel.updates) and self.panel.updates[-1] == self.step()

    def tool(self, text: str) -> QToolButton:
        """The button of that name above the views."""
        return next(button for button in self.panel.findChildren(QToolButton) if button.text() == text)

    def drag_to(self, fraction: float) -> None:
        self.slider.setValue(round(100 * fraction))

    def box(self) -> QComboBox:
        return next(box for box in self.panel.tools.findChildren(QComboBox))

    def turn_to(self, name: str) -> None:
        self.panel.docks[name].raise_()
        self.until(lambda: self.panel.is_in_sight(name) and self.panel.figure(name) is not None)

    def marks(self, name: str, kind: type) -> list[Any]:
        figure = self.panel.figure(name)
        if figure is None:
            return []
        return [
            mark
            for plot in vocabulary.plots_of(vocabulary.at(figure, 0))
            for mark in plot.marks
            if isinstance(mark, kind)
        ]

    def held(self) -> list[float]:
        """Where the step's picture shows the hand, in each of its plots."""
        return [rule.value for rule in self.marks("step", Rule) if rule.role == "hand"]

    def played(self) -> str:
        """What the playback calls the policy in front."""
        bodies = self.marks("playback", Bodies)
        return bodies[-1].label if bodies else ""

    def policy(self) -> dict[str, Any]:
        """The policy in training, as the engine gives it."""
        assert self.panel.session is not None
        answers: list[m.Answer] = []
        number = self.panel.session.act(GivePolicy())
        self.panel.await_answer(number, lambda run, answer: answers.append(answer))
        self.until(lambda: bool(answers))
        assert not answers[0].error
        found: dict[str, Any] = answers[0].payload
        return found

    def errors(self) -> list[str]:
        return [message.text() for message in self.window.messages.messages() if message.kind == "error"]


@pytest.fixture
def hand(qtbot: QtBot, make_lab: Make) -> Iterator[Hand]:
    """A person before the panel."""
    yield Hand(qtbot, make_lab("trpo", size=(1600, 1000)))


def test_nothing_can_be_asked_before_there_is_an_update(hand: Hand) -> None:
    assert not hand.slider.isEnabled() and hand.box().count() == 0
    for name in ("Newest", "Keep as fork", "Save policy…"):
        assert not hand.tool(name).isEnabled(), name
    assert hand.tool("Open policy…").isEnabled()


def test_the_step_is_dragged_past_the_ellipse_and_seen_at_once_while_training_is_paused(hand: Hand) -> None:
    hand.train()
    for name in ("playback", "step", "actions"):
        hand.turn_to(name)
    step, update = hand.step(), hand.panel.updates[-1]
    assert hand.held() == [] and "what if" not in hand.played()
    hand.drag_to(2.5)
    hand.until(lambda: hand.held() == [2.5, 2.5] and "what if" in hand.played())
    assert "2.50" in hand.played() and hand.panel.what_if == (update, 2.5)
    # Back towards the policy before it, by the far end of the slider.
    hand.drag_to(-1.0)
    hand.until(lambda: hand.held() == [-1.0, -1.0] and "-1.00" in hand.played().replace("−", "-"))
    assert hand.step() == step, "nothing was trained"
    QTest.mouseDClick(hand.slider, Qt.MouseButton.LeftButton, pos=QPoint(3, hand.slider.height() // 2))
    hand.until(lambda: hand.held() == [1.0, 1.0])
    hand.press(hand.tool("Newest"))
    hand.until(lambda: hand.held() == [] and "what if" not in hand.played())
    assert hand.panel.what_if is None and not hand.tool("Newest").isEnabled()
    assert hand.errors() == []


def test_a_drag_keeps_one_request_under_way_and_ends_at_the_newest(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.train()
    session = hand.panel.session
    assert session is not None
    sent: list[WhatIf] = []
    act = session.act

    def noted(action: Any) -> int:
        if isinstance(action, WhatIf):
            sent.append(action)
        return act(action)

    monkeypatch.setattr(session, "act", noted)
    for fraction in np.linspace(0.0, 3.0, 40):
        hand.drag_to(float(fraction))
    assert len(sent) == 1, "until it is answered nothing else is sent"
    hand.until(lambda: len(sent) == 2)
    hand.turn_to("step")
    hand.until(lambda: hand.held() == [3.0, 3.0])
    assert [action.fraction for action in sent] == [0.0, 3.0], "what lay between was never asked for"


def test_an_earlier_update_can_be_looked_at(hand: Hand) -> None:
    hand.train(updates=5)
    hand.turn_to("step")
    box = hand.box()
    assert [box.itemData(index) for index in range(box.count())] == list(hand.panel.updates)
    assert box.currentData() == hand.panel.updates[-1]
    box.setCurrentIndex(1)
    box.activated.emit(1)
    wanted = hand.panel.updates[1]
    hand.until(
        lambda: (
            hand.panel.figure("step") is not None and f"update {wanted}" in hand.panel.figure("step").title
        )
    )
    hand.drag_to(0.5)
    hand.until(lambda: hand.held() == [0.5, 0.5])
    assert hand.panel.what_if == (wanted, 0.5) and box.currentData() == wanted


def test_questions_leave_no_mark_and_no_event(hand: Hand) -> None:
    hand.train()
    assert hand.panel.run is not None
    before = len(hand.panel.run.marks)
    hand.policy()
    assert len(hand.panel.run.marks) == before
    assert not [mark for mark in hand.panel.run.marks if mark.kind == "action"]


def test_the_what_if_policy_is_kept_as_a_fork(hand: Hand) -> None:
    hand.train()
    origin, step = hand.panel.run, hand.step()
    assert origin is not None
    plain = hand.policy()["theta"]
    hand.turn_to("step")
    hand.drag_to(2.0)
    hand.until(lambda: hand.held() == [2.0, 2.0])
    hand.press(hand.tool("Keep as fork"))
    hand.until(lambda: len(hand.panel.runs) == 2 and hand.panel.run is not origin)
    fork = hand.panel.run
    assert fork is not None
    hand.until(lambda: hand.panel.state == "paused" and not fork.after_start and hand.is_listed())
    assert hand.step() == step and "2.00" in fork.detail
    kept = hand.policy()["theta"]
    assert not np.array_equal(kept, plain)
    assert hand.panel.what_if is None, "what was a question is now the policy"
    hand.until(lambda: "what if" not in hand.played() and hand.played() != "")
    hand.panel.choose_run(origin.key)
    hand.until(hand.is_listed)
    assert np.array_equal(hand.policy()["theta"], plain), "the run it came from is as it was"
    hand.drag_to(2.0)
    hand.until(lambda: hand.panel.what_if is not None and not hand.panel._is_asking)
    assert hand.panel.session is not None
    answers: list[m.Answer] = []
    hand.panel.await_answer(
        hand.panel.session.act(GivePolicy(True)), lambda run, answer: answers.append(answer)
    )
    hand.until(lambda: bool(answers))
    assert np.array_equal(answers[0].payload["theta"], kept), "the fork has exactly what was looked at"
    assert hand.errors() == []


def test_a_fork_trains_on_from_the_what_if_policy_when_its_run_was_training(hand: Hand) -> None:
    hand.train()
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.panel.state == "running")
    origin = hand.panel.run
    hand.drag_to(0.0)
    hand.press(hand.tool("Keep as fork"))
    hand.until(lambda: hand.panel.run is not origin and hand.panel.state == "running")
    first = hand.step()
    hand.until(lambda: hand.step() > first)
    assert hand.errors() == []


def test_a_run_that_is_chosen_again_brings_its_what_if_step(hand: Hand) -> None:
    hand.train()
    origin = hand.panel.run
    assert origin is not None
    hand.drag_to(1.5)
    hand.until(lambda: not hand.panel._is_asking)
    keyframe = hand.panel._fork_from()
    assert keyframe is not None
    hand.panel.fork(keyframe, {}, train=False)
    hand.until(lambda: hand.panel.state == "paused" and hand.is_listed())
    hand.panel.end_look()
    hand.until(lambda: not hand.panel._is_asking)
    hand.panel.choose_run(origin.key)
    hand.until(hand.is_listed)
    assert hand.panel.what_if == (origin.session.step, 1.5) and hand.slider.fraction == 1.5


def test_playback_and_actions_move_together_also_where_one_ends_sooner(hand: Hand) -> None:
    hand.train()
    for name in ("playback", "actions"):
        hand.turn_to(name)
    hand.until(lambda: all(isinstance(hand.panel.figure(name), Film) for name in ("playback", "actions")))
    slider = hand.panel.slider
    assert slider.isVisible() and slider.frames_per_second > 10, "it plays in real time"
    slider.set_playing(False)
    for index in (0, len(hand.panel.times) // 2, len(hand.panel.times) - 1):
        slider.set_index(index)
        for name in ("playback", "actions"):
            film = hand.panel.figure(name)
            assert isinstance(film, Film)
            assert hand.panel.view(name).frame == film.nearest(slider.time), name
    playback = hand.panel.figure("playback")
    assert isinstance(playback, Film)
    assert np.array_equal(hand.panel.times, playback.times)


def test_the_playback_runs_by_itself_until_it_is_held(hand: Hand) -> None:
    slider, panel = hand.panel.slider, hand.panel
    assert not slider.playing
    hand.train()
    hand.until(lambda: slider.isVisible() and slider.playing)
    seen = slider.index
    hand.until(lambda: slider.index != seen)
    slider.set_playing(False)
    film = panel.figure("playback")
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: panel.figure("playback") is not film)
    assert not slider.playing, "a newer episode does not start what was held"


# --- files  ----------


def test_a_saved_policy_is_opened_as_a_paused_run_that_plays(hand: Hand, tmp_path: Path) -> None:
    hand.train(units=5, layers=2)
    policy, path = hand.policy(), tmp_path / "mine"
    hand.panel.save_policy(path)
    hand.until(lambda: (tmp_path / "mine.safetensors").exists())
    written = saved.read(tmp_path / "mine.safetensors")
    assert np.array_equal(written.theta, policy["theta"])
    assert (written.environment, written.units, written.layers) == ("CartPole-v1", 5, 2)
    assert written.step == hand.step() and written.mean_return is not None
    before = hand.panel.run
    hand.form.change({"units": 9, "layers": 1})
    hand.window.take_dropped(str(tmp_path / "mine.safetensors"))
    hand.until(lambda: hand.panel.run is not before and hand.panel.state == "paused" and hand.played() != "")
    values = hand.form.values().model_dump()
    assert (values["environment"], values["units"], values["layers"]) == ("CartPole-v1", 5, 2)
    assert hand.step() == 0 and hand.panel.slider.playing
    # The run is paused before it has the policy, which is sent after it started.
    hand.until(lambda: np.array_equal(hand.policy()["theta"], policy["theta"]))
    assert hand.errors() == []
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.step() >= 2)


def test_a_run_that_trains_goes_on_beside_a_policy_that_is_opened(hand: Hand, tmp_path: Path) -> None:
    hand.train()
    hand.panel.save_policy(tmp_path / "a.safetensors")
    hand.until(lambda: (tmp_path / "a.safetensors").exists())
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.panel.state == "running")
    origin = hand.panel.run
    assert origin is not None
    hand.panel.open_policy(tmp_path / "a.safetensors")
    hand.until(lambda: hand.panel.run is not origin and hand.panel.state == "paused")
    step = origin.session.step
    hand.until(lambda: origin.session.step > step)


def test_what_is_no_policy_is_refused_and_the_run_stays(hand: Hand, tmp_path: Path) -> None:
    hand.train()
    run = hand.panel.run
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"not a policy at all" * 20)
    hand.panel.open_policy(path)
    assert any("no saved policy" in error for error in hand.errors())
    assert hand.panel.run is run and hand.panel.state == "paused"


def test_a_file_does_not_choose_which_module_is_imported(hand: Hand, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    policy = SavedPolicy(
        np.zeros(10, np.float32), np.zeros(4), np.ones(4), "somewhere:World-v0", 4, 0, True, 4, 2
    )
    saved.write(path, policy)
    hand.panel.open_policy(path)
    assert any("somewhere:World-v0" in error and "trust" in error for error in hand.errors())
    assert hand.panel.run is None and hand.form.values().model_dump()["environment"] == "CartPole-v1"
    # Without a module there is nothing to fear.
    saved.write(path, dataclasses.replace(policy, environment="CartPole-v1"))
    hand.panel.open_policy(path)
    hand.until(lambda: hand.panel.state == "paused" and hand.panel.started is not None)
