"""The hand on the reversible-learning panel: the film that runs backwards and drawn schedules, in the real window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QLineEdit, QToolButton
from pytestqt.qtbot import QtBot

from engines import figures as vocabulary
from engines.figures import Film, Heatmap, Lines, Panels, Plot, VectorField
from engines.reversible_learning.config import RaceSchedule, TrySchedule
from lab.panels.reversible_learning import (
    FOLLOWED,
    ReversibleLearningPanel,
    read_alphas,
    stroked,
    with_line,
)
from lab.window.application import Application
from tests.lab.clicker import Draughtsman
from tests.lab.small import SMALL

Make = Callable[..., Application]
T = int(SMALL["reversible-learning"]["inner_steps"])
LEARNED = ("schedule", "curves", "hypergradient")
"""Films that one slider moves."""


class Hand(Draughtsman):
    """A person at the panel."""

    def __init__(self, qtbot: QtBot, application: Application) -> None:
        super().__init__(qtbot)
        self.window = application.window
        panel = application.window.current_panel()
        assert isinstance(panel, ReversibleLearningPanel) and panel.form is not None
        self.panel, self.form = panel, panel.form

    def train(self, steps: int = 2, **values: Any) -> None:
        """Train so many meta-iterations and more, pause, and wait for what is in sight."""
        self.form.set_values(self.form.values().build({**SMALL["reversible-learning"], **values}))
        self.play(steps)
        self.pause()
        self.settle()

    def play(self, steps: int) -> None:
        first = self.step()
        self.press(self.window.transport.play_button)
        self.until(lambda: self.window.transport.state() == "running" and self.step() >= first + steps)

    def pause(self) -> None:
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
                and not panel._wishes
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

    def tool(self, text: str) -> QToolButton:
        """The button of that name above the views."""
        found = [button for button in self.panel.findChildren(QToolButton) if button.text() == text]
        assert len(found) == 1, text
        return found[0]

    def layers(self) -> QComboBox:
        return next(
            box for box in self.panel.tools.findChildren(QComboBox) if "Layer" in box.accessibleName()
        )

    def choose(self, index: int) -> None:
        """Choose a layer by the keyboard."""
        box = self.layers()
        box.setFocus()
        self.qtbot.keyClick(box, Qt.Key.Key_Home)
        for _ in range(index):
            self.qtbot.keyClick(box, Qt.Key.Key_Down)
        self.settle()

    def field(self) -> QLineEdit:
        return next(
            line
            for line in self.panel.findChildren(QLineEdit)
            if line.accessibleName().startswith("Step sizes")
        )

    def type(self, text: str) -> None:
        """Type a schedule and press Enter."""
        self.field().clear()
        self.qtbot.keyClicks(self.field(), text)
        self.qtbot.keyClick(self.field(), Qt.Key.Key_Return)

    def plot(self, name: str, index: int = 0) -> Plot:
        """What a plot of a view shows."""
        still = self.panel.view(name).still
        assert still is not None
        return list(vocabulary.plots_of(still))[index]

    def lanes(self, plot: int = 0) -> dict[str, np.ndarray]:
        """Lines of the race's picture by the first word of their labels; log alpha in plot 0."""
        marks = self.plot("race", plot).marks
        return {m.label.partition(" ")[0]: m.y for m in marks if isinstance(m, Lines) and m.label}

    def canvas(self) -> Any:
        return self.panel.view("race").canvas

    def scribble(self, low: float = -2.0, high: float = -0.5) -> None:
        """A stroke over the whole schedule, from high to low, that is not let go of before it is raced."""
        self.turn_to("race")
        self.drag("race", [(1.0 + s * (T - 1), high + s * (low - high)) for s in np.linspace(0, 1, 5)])
        self.settle()

    def noted(self) -> list[str]:
        """Kinds of actions on the run's record."""
        assert self.panel.run is not None
        return [str(mark.details["action"]) for mark in self.panel.run.marks if mark.kind == "action"]

    def said(self, kind: str) -> list[str]:
        return [message.text() for message in self.window.messages.messages() if message.kind == kind]


@pytest.fixture
def hand(qtbot: QtBot, make_lab: Make) -> Iterator[Hand]:
    """A person before the panel."""
    yield Hand(qtbot, make_lab("reversible-learning", size=(1600, 1000)))


def test_before_there_is_a_run_nothing_can_be_drawn(hand: Hand) -> None:
    for name in ("Run backwards", "Follow arrows", "Undo", "Train on from it", "Forget"):
        assert not hand.tool(name).isEnabled(), name
    assert not hand.layers().isEnabled() and not hand.field().isEnabled()
    hand.panel.draw(np.zeros(T), done=True)
    assert any("press Train" in text for text in hand.said("info"))
    assert hand.panel.hand.line is None


# --- the film  ----------


def last_notes(film: Any) -> list[str]:
    assert isinstance(film, Film)
    return [plot.note for plot in vocabulary.plots_of(film.frames[-1])]


def wrong(film: Any, plot: int) -> float:
    """How many bits of the last frame are drawn as wrong."""
    assert isinstance(film, Film)
    marks = list(vocabulary.plots_of(film.frames[-1]))[plot].marks
    return float(sum(m.values.sum() for m in marks if isinstance(m, Heatmap) and m.role == "warning"))


def test_training_runs_backwards_by_itself_to_the_bits_it_began_with(hand: Hand) -> None:
    hand.train(1, inner_steps=40)
    hand.turn_to("film")
    film, slider = hand.panel.view("film").figure, hand.panel.view("film").slider
    assert isinstance(film, Film) and slider.playing
    seen = slider.index
    hand.until(lambda: slider.index != seen)
    assert last_notes(film)[-1] == "every bit is right" and wrong(film, 3) == 0
    assert film.times[-1] == 80
    # Who holds it finds it held with the next picture.
    slider.set_playing(False)
    hand.play(1)
    hand.pause()
    hand.settle()
    assert not slider.playing


def test_in_floats_the_same_film_misses(hand: Hand) -> None:
    hand.train(1, inner_steps=40)
    hand.turn_to("film")
    hand.panel.view("film").slider.set_playing(False)
    hand.panel.view("film").set_frame(4)
    hand.press(hand.tool("Floats"))
    film = hand.panel.view("film").figure
    assert last_notes(film)[-1].endswith("% of bits wrong") and wrong(film, 3) > 10
    assert hand.panel.view("film").frame == 4, "the moment stays"
    hand.press(hand.tool("Both"))
    both = hand.panel.view("film").figure
    assert wrong(both, 4) == 0 and wrong(both, 5) > 10
    assert hand.said("error") == []


def test_a_run_in_floats_shows_the_film_in_floats_and_says_why_nothing_is_learned(hand: Hand) -> None:
    hand.train(8, exact=False, gamma=0.05, inner_steps=100)
    hand.turn_to("film")
    assert hand.tool("Floats").isChecked() and last_notes(hand.panel.view("film").figure)[-1].endswith(
        "bits wrong"
    )
    hand.until(lambda: any("Exact integers" in text for text in hand.said("warning")))
    hand.press(hand.tool("Integers"))
    assert last_notes(hand.panel.view("film").figure)[-1] == "every bit is right"
    hand.form.change({"exact": True})
    hand.play(2)
    hand.until(lambda: not any("Exact integers" in text for text in hand.said("warning")))
    hand.pause()


def test_the_film_is_played_from_its_beginning_when_asked_for(hand: Hand) -> None:
    hand.train(1)
    hand.turn_to("reversal")
    slider = hand.panel.view("film").slider
    slider.set_playing(False)
    slider.set_index(6)
    hand.press(hand.tool("Run backwards"))
    assert slider.index == 0 and slider.playing and hand.panel.docks["film"].isVisible()
    hand.until(lambda: hand.panel.is_in_sight("film"))


def test_low_views_have_their_plots_in_one_row(qtbot: QtBot, make_lab: Make) -> None:
    hand = Hand(qtbot, make_lab("reversible-learning", size=(1000, 700)))
    hand.train(1)
    for name, count in (("film", 4), ("schedule", 2)):
        hand.turn_to(name)
        still = hand.panel.view(name).still
        assert isinstance(still, Panels) and still.columns == len(still.plots) == count
    hand.window.resize(1000, 1400)
    hand.until(lambda: hand.panel.view("film").still.columns == 2)
    assert hand.plot("film").title == "Loss"
    hand.until(lambda: hand.panel.view("schedule").still.columns == 1)


# --- one slider over the meta-iterations  ----------


def test_one_slider_moves_schedules_curves_and_hypergradients(hand: Hand) -> None:
    hand.train(5)
    slider = hand.panel.slider
    for name in LEARNED:
        hand.turn_to(name)
    assert slider.isVisible() and slider.index == len(hand.panel.times) - 1
    for index in (0, 2, len(hand.panel.times) - 1):
        slider.set_index(index)
        for name in LEARNED:
            if hand.panel.is_in_sight(name):
                assert hand.panel.view(name).frame == index, name
                assert f"meta-iteration {round(slider.time)}" in hand.plot(name).note
    # A view that was behind another one joins in when it is turned to, and its arrow keys move all.
    slider.set_index(1)
    hand.turn_to("schedule")
    canvas = hand.panel.view("schedule").canvas
    canvas.setFocus()
    hand.qtbot.keyClick(canvas, Qt.Key.Key_Right)
    assert slider.index == 2


def test_the_slider_follows_training_from_its_end_and_stays_where_it_is_held(hand: Hand) -> None:
    hand.train(4)
    hand.turn_to("schedule")
    slider = hand.panel.slider
    held = hand.panel.times[1]
    slider.set_index(1)
    hand.play(3)
    hand.pause()
    hand.settle()
    assert slider.time == held and len(hand.panel.times) > 4
    slider.set_index(len(hand.panel.times) - 1)
    newest = slider.time
    hand.play(2)
    hand.pause()
    hand.settle()
    assert slider.time > newest and slider.index == len(hand.panel.times) - 1


# --- drawing a schedule  ----------


def test_a_stroke_is_seen_at_once_raced_and_noted_once(hand: Hand) -> None:
    hand.train()
    hand.turn_to("race")
    assert set(hand.lanes()) == {"first", "learned"}
    points = [(1.0, -0.5), (4.0, -0.9), (8.0, -1.2), (T, -2.0)]
    widget, place = hand.place("race", *points[0])
    hand.qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=place)
    for point in points[1:]:
        hand.qtbot.mouseMove(widget, hand.place("race", *point)[1])
        assert "yours" in hand.lanes(), "before anybody has answered"
    hand.qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=place)
    hand.settle()
    yours = hand.lanes()["yours"]
    assert yours == pytest.approx(np.interp(np.arange(1, T + 1), *zip(*points, strict=True)), abs=0.15)
    assert set(hand.lanes(1)) == {"first", "learned", "yours"}
    arrows = [m for m in hand.plot("race").marks if isinstance(m, VectorField)]
    assert len(arrows) == 1 and arrows[0].role == "hand" and np.abs(arrows[0].v).max() > 0
    assert arrows[0].y == pytest.approx(np.interp(arrows[0].x, np.arange(1, T + 1), yours))
    assert hand.panel._result.text().startswith("Yours ")
    hand.until(lambda: hand.noted() == ["RaceSchedule"])
    assert hand.said("error") == []


def test_a_drag_keeps_one_request_under_way_and_ends_at_the_newest(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.train()
    hand.turn_to("race")
    session = hand.panel.session
    assert session is not None
    sent: list[Any] = []
    act = session.act

    def noting(action: Any) -> int:
        sent.append(action)
        return act(action)

    monkeypatch.setattr(session, "act", noting)
    for level in np.linspace(-2, 0, 30):
        hand.panel.draw(np.full(T, level), done=False)
    assert len(sent) == 1, "until it is answered nothing else is sent"
    hand.settle()
    assert [type(action) for action in sent] == [TrySchedule, TrySchedule]
    assert hand.lanes()["yours"] == pytest.approx(0.0, abs=1e-4)


def test_arrow_keys_bend_the_schedule_and_delete_forgets_it(hand: Hand) -> None:
    hand.train()
    hand.turn_to("race")
    learned = hand.lanes()["learned"].copy()
    canvas = hand.canvas()
    canvas.setFocus()
    hand.until(canvas.hasFocus)
    for _ in range(3):
        hand.qtbot.keyClick(canvas, Qt.Key.Key_Right)
    assert hand.panel._result.text().startswith("α of 4:")
    assert hand.panel.view("race").areas[0].highlight is not None
    hand.qtbot.keyClick(canvas, Qt.Key.Key_Up)
    hand.settle()
    moved = hand.lanes()["yours"] - learned
    assert moved[3] == pytest.approx(0.1, abs=1e-3) and int(moved.argmax()) == 3
    assert moved[-1] == pytest.approx(0.0, abs=1e-3)
    hand.qtbot.keyClick(canvas, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    hand.settle()
    assert hand.lanes()["yours"] - learned == pytest.approx(moved - 0.1, abs=1e-3)
    hand.until(lambda: len(hand.noted()) == 2)
    hand.qtbot.keyClick(canvas, Qt.Key.Key_Delete)
    hand.settle()
    assert "yours" not in hand.lanes() and not hand.tool("Forget").isEnabled()
    hand.press(hand.tool("Undo"))
    hand.settle()
    assert hand.lanes()["yours"] - learned == pytest.approx(moved - 0.1, abs=1e-3)


def test_each_layer_has_a_drawing_of_its_own(hand: Hand) -> None:
    hand.train(hidden="5, 4", meta_step=0.1)
    hand.turn_to("race")
    box = hand.layers()
    assert [box.itemText(i) for i in range(box.count())] == [
        "All layers",
        "Layer 1",
        "Layer 2",
        "Layer 3, top",
    ]
    hand.type("1, 0.1")
    hand.settle()
    everybody = hand.lanes()["yours"].copy()
    hand.choose(3)
    assert hand.plot("race").note == "layer 3" and "yours" not in hand.lanes()
    of_layer = hand.lanes()["learned"].copy()
    hand.choose(1)
    assert not np.allclose(hand.lanes()["learned"], of_layer), "each layer has learned something else"
    hand.type("0.2")
    hand.settle()
    assert hand.lanes()["yours"] == pytest.approx(np.log(0.2), abs=1e-4)
    hand.choose(0)
    assert hand.lanes()["yours"] == pytest.approx(everybody) and hand.plot("race").note == "all layers, mean"


def test_the_schedule_follows_the_arrows(hand: Hand) -> None:
    hand.train()
    hand.scribble()
    before = hand.lanes()["yours"].copy()
    arrows = next(m for m in hand.plot("race").marks if isinstance(m, VectorField))
    hand.press(hand.tool("Follow arrows"))
    hand.settle()
    moved = hand.lanes()["yours"] - before
    assert np.abs(moved).max() == pytest.approx(FOLLOWED, rel=1e-2)
    there = np.abs(arrows.v) > 0.1 * np.abs(arrows.v).max()
    assert (np.sign(moved[there]) == np.sign(arrows.v[there])).all()


def test_strokes_are_taken_back_one_by_one(hand: Hand) -> None:
    hand.train()
    hand.scribble(-1.0, -1.0)
    first = hand.lanes()["yours"].copy()
    hand.scribble(-2.0, -1.5)
    assert not np.allclose(hand.lanes()["yours"], first)
    hand.press(hand.tool("Undo"))
    hand.settle()
    assert hand.lanes()["yours"] == pytest.approx(first, abs=1e-3)
    hand.press(hand.tool("Undo"))
    hand.settle()
    assert "yours" not in hand.lanes() and not hand.tool("Undo").isEnabled()


def test_learning_goes_on_from_the_drawn_schedule(hand: Hand) -> None:
    hand.train()
    hand.scribble()
    yours = hand.lanes()["yours"].copy()
    assert not np.allclose(hand.lanes()["learned"], yours, atol=0.1)
    # A race that is still under way, and another that follows, do not take its place.
    hand.panel.draw(hand.panel.hand.line, done=False)
    hand.press(hand.tool("Train on from it"))
    hand.panel.draw(hand.panel.hand.line + 0.5, done=True)
    hand.settle()
    assert hand.lanes()["learned"] == pytest.approx(yours, abs=1e-3)
    assert hand.lanes()["yours"] == pytest.approx(yours + 0.5, abs=1e-3)
    hand.until(lambda: sorted(hand.noted()) == ["RaceSchedule", "RaceSchedule", "SetSchedule"])
    hand.play(2)
    hand.pause()
    hand.settle()
    hand.turn_to("schedule")
    line = next(m for m in hand.plot("schedule").marks if isinstance(m, Lines) and m.label == "layer 1")
    assert np.log(line.y) == pytest.approx(yours, abs=0.1)


def test_a_schedule_is_typed_and_what_is_none_is_refused_in_one_sentence(hand: Hand) -> None:
    hand.train()
    hand.turn_to("race")
    hand.type("1, fast")
    assert "is no schedule" in hand.said("error")[0]
    assert hand.panel.hand.line is None and hand.field().property("state") == "error"
    hand.type("2, 1, 0.5")
    hand.settle()
    yours = np.exp(hand.lanes()["yours"])
    assert (yours[0], yours[-1]) == pytest.approx((2.0, 0.5), rel=1e-3)
    assert hand.said("error") == [] and not hand.field().property("state")


def test_a_schedule_that_diverges_is_refused_and_the_one_before_stays(hand: Hand) -> None:
    hand.train(hidden="", penalty=9.0, inner_steps=60, alpha=0.01, init_scale=0.001)
    hand.turn_to("race")
    hand.type("0.02")
    hand.settle()
    hand.type("100")
    hand.until(lambda: any("lower step" in text for text in hand.said("error")))
    hand.settle()
    assert np.exp(hand.lanes()["yours"]) == pytest.approx(0.02, rel=1e-3)
    assert np.exp(hand.panel.hand.line) == pytest.approx(0.02, rel=1e-3)


# --- runs  ----------


def test_a_run_that_is_rewound_brings_what_was_drawn_in_it(hand: Hand) -> None:
    hand.train()
    hand.choose(1)
    hand.scribble()
    yours = hand.lanes()["yours"].copy()
    # A single step is kept.
    hand.press(hand.window.transport.step_button)
    hand.until(lambda: hand.window.transport.state() == "paused" and not hand.panel._requested)
    run = hand.panel.run
    assert run is not None
    hand.press(hand.window.transport.stop_button)
    hand.until(lambda: hand.panel.state == "done" and bool(run.keyframes))
    hand.panel.open_run(run.folder)
    hand.until(lambda: hand.panel.state == "paused" and hand.panel.hand.line is not None)
    hand.turn_to("race")
    assert hand.panel.hand.layer == 1 - 1 and hand.layers().currentIndex() == 1
    assert hand.lanes()["yours"] == pytest.approx(yours, abs=1e-3)


def test_what_is_drawn_in_a_run_that_is_only_shown_goes_along_when_it_trains_on(hand: Hand) -> None:
    hand.train()
    run = hand.panel.run
    assert run is not None
    hand.press(hand.window.transport.stop_button)
    hand.until(lambda: hand.panel.state == "done" and bool(run.keyframes))
    hand.panel.open_run(run.folder)
    hand.until(lambda: hand.panel.state == "paused" and hand.window.transport.state() == "paused")
    hand.scribble()
    yours, shown = hand.lanes()["yours"].copy(), hand.panel.run
    hand.play(0)
    hand.pause()
    hand.settle()
    assert hand.panel.run is not shown and hand.panel.viewing is None
    assert hand.lanes()["yours"] == pytest.approx(yours, abs=1e-3)


def test_a_moment_of_the_past_shows_the_drawing_that_there_was(hand: Hand) -> None:
    hand.train()
    hand.scribble()
    assert hand.panel.run is not None
    hand.panel.past.look_at_step(0)
    hand.until(lambda: hand.panel.past.record is not None and "yours" not in hand.lanes())
    assert hand.panel._result.text() == ""
    hand.panel.past.go_live()
    hand.until(lambda: "yours" in hand.lanes())


def test_each_run_has_a_hand_of_its_own(hand: Hand) -> None:
    hand.train()
    hand.scribble()
    origin, yours = hand.panel.run, hand.lanes()["yours"].copy()
    assert origin is not None
    keyframe = origin.keyframes[0]
    hand.panel.fork(keyframe, {}, train=False)
    hand.until(lambda: hand.panel.state == "paused" and hand.panel.run is not origin)
    hand.settle()
    assert hand.panel.hand.line is None and "yours" not in hand.lanes()
    hand.panel.choose_run(origin.key)
    hand.settle()
    assert hand.lanes()["yours"] == pytest.approx(yours, abs=1e-3) and hand.tool("Forget").isEnabled()


def test_a_reset_races_the_drawn_schedule_in_the_new_run(hand: Hand) -> None:
    hand.train()
    hand.scribble()
    before, yours = hand.panel.run, hand.lanes()["yours"].copy()
    hand.press(hand.window.transport.reset_button)
    hand.until(lambda: hand.panel.run is not before and hand.window.transport.state() == "paused")
    hand.until(lambda: hand.panel.figure("race") is not None)
    hand.settle()
    assert hand.step() == 0 and hand.lanes()["yours"] == pytest.approx(yours, abs=1e-3)
    # Another length of training is another schedule.
    hand.form.change({"inner_steps": T + 3})
    before = hand.panel.run
    hand.press(hand.window.transport.reset_button)
    hand.until(lambda: hand.panel.run is not before and hand.window.transport.state() == "paused")
    hand.settle()
    assert hand.panel.hand.line is None and "yours" not in hand.lanes()


@pytest.mark.parametrize(
    ("view", "values"),
    [
        ("scales", {"experiment": "scales"}),
        ("penalties", {"experiment": "l2", "hidden": "", "penalty": 0.01}),
        ("learned", {"experiment": "data", "hidden": "", "penalty": 0.01}),
        ("sharing", {"experiment": "tasks"}),
        ("toy", {"experiment": "toy", "alpha": 0.005, "gamma": 0.99}),
        ("chaos", {"experiment": "chaos"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_experiment_shows_its_own_views_and_no_others(
    hand: Hand, view: str, values: dict[str, Any]
) -> None:
    hand.train(1, **values)
    assert hand.panel.is_in_sight(view)
    assert hand.panel.method is not None
    for name in hand.panel.method.figure_names():
        if not hand.panel.docks[name].isHidden():
            hand.turn_to(name)
            figure = hand.panel.figure(name)
            assert figure is not None
            assert not any("nother experiment" in plot.note for plot in vocabulary.plots_of(figure)), name
    draws = view in ("scales", "toy")
    assert hand.layers().isVisible() == (view == "scales"), "two weights have one schedule"
    assert hand.tool("Follow arrows").isVisible() == draws
    assert hand.panel.docks["race"].isHidden() != draws
    assert hand.panel.slider.isVisible() == (view not in ("chaos",))
    assert hand.said("error") == []


# --- parts  ----------


def test_a_stroke_changes_what_lies_below_it_and_nothing_else() -> None:
    moments, line = np.arange(1.0, 11.0), np.zeros(10)
    drawn = stroked(moments, line, (3.2, 1.0), (6.0, 2.0))
    assert drawn[:3].tolist() == [0, 0, 0] and not drawn[6:].any() and not line.any()
    assert drawn[3:6] == pytest.approx(np.interp([4, 5, 6], (3.2, 6.0), (1.0, 2.0)))
    assert np.array_equal(stroked(moments, line, (6.0, 2.0), (3.2, 1.0))[3:6], drawn[3:6]), "from either side"
    # A quick click between two moments is not lost, nor one beyond the ends.
    assert stroked(moments, line, (4.4, 3.0), (4.4, 3.0)).tolist() == [0, 0, 0, 3, 0, 0, 0, 0, 0, 0]
    assert stroked(moments, line, (12.0, 3.0), (12.0, 3.0))[-1] == 3


@pytest.mark.parametrize("text", ["", "a", "1,,2", "0", "-1", "1e9", "nan", "inf", "1;2"])
def test_what_is_no_step_size_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is no schedule"):
        read_alphas(text)
    assert read_alphas(" 2, 1,.5 ") == (2.0, 1.0, 0.5)


def test_a_newer_line_takes_the_place_of_the_one_in_the_picture_without_its_arrows() -> None:
    x = np.arange(1.0, 6.0)
    arrows = VectorField(x, x, 0 * x, x, role="hand")
    first = Plot(
        (Lines(x, x, label="learned", role="model"), Lines(x, 2 * x, label="yours", role="hand"), arrows)
    )
    figure = Panels((first, Plot()), 2)
    assert with_line(figure, x, 2 * x) is figure
    newer = with_line(figure, x, 3 * x).plots[0].marks
    assert [len(m.x) for m in newer if isinstance(m, VectorField)] == [0]
    assert next(m.y for m in newer if isinstance(m, Lines) and m.role == "hand").tolist() == (3 * x).tolist()
    assert [m.label for m in with_line(figure, x, None).plots[0].marks] == ["learned"]


def test_races_of_a_drag_are_not_noted_and_the_last_one_is() -> None:
    assert RaceSchedule.is_noted and not TrySchedule.is_noted
