"""The hand on the diffusion panel: real clicks and drags in the real window, trained on a background thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QToolButton
from pytestqt.qtbot import QtBot

from engines import figures as vocabulary
from engines.config import find_preset
from engines.figures import Film, Heatmap, ImageGrid, Lines, Scatter
from lab.panels.diffusion import DiffusionPanel
from lab.window.application import Application
from tests.lab.clicker import Draughtsman
from tests.lab.small import SMALL

Make = Callable[..., Application]
TINY = {
    **SMALL["diffusion"],
    "steps": 1_000_000,
    "evaluate_every": 100,
    "futures": 10,
    "schedule": "geometric",
    "beta_1": 1e-3,
}
SMALL_DIGITS = {
    "units": 8,
    "layers": 1,
    "trajectory": 6,
    "batch": 16,
    "steps": 1_000_000,
    "evaluate_every": 1000,
}


class Hand(Draughtsman):
    """A person at the panel."""

    def __init__(self, qtbot: QtBot, application: Application) -> None:
        super().__init__(qtbot)
        self.application = application
        self.window = application.window
        panel = application.window.current_panel()
        assert isinstance(panel, DiffusionPanel) and panel.form is not None
        self.panel, self.form = panel, panel.form

    def train(self, *in_sight: str, **values: Any) -> None:
        """Train with small settings, and turn to views."""
        self.form.set_values(self.form.values().build({**TINY, **values}))
        self.press(self.window.transport.play_button)
        self.until(lambda: self.panel.state == "running" and self.panel.started is not None)
        for name in in_sight:
            self.turn_to(name)

    def turn_to(self, name: str) -> None:
        """Bring a view to the front and wait for its picture."""
        self.panel.docks[name].raise_()
        self.until(lambda: self.panel.is_in_sight(name) and self.panel.figure(name) is not None)

    def pause(self) -> None:
        self.press(self.window.transport.play_button)
        self.until(lambda: self.window.transport.state() == "paused")

    def reset(self) -> None:
        """Reset, and wait for the new run."""
        assert self.panel.session is not None
        before = self.panel.session
        self.press(self.window.transport.reset_button)
        self.until(lambda: self.panel.session is not before and self.panel.started is not None)

    def tool(self, text: str) -> QToolButton:
        """The button of that name above the views."""
        found = [b for b in self.panel.findChildren(QToolButton) if b.text() == text]
        assert len(found) == 1, text
        return found[0]

    def marks(self, name: str, kind: type, plot: int = 0, frame: int | None = None) -> list[Any]:
        """Marks of one kind in what a view shows."""
        figure = self.panel.figure(name)
        if figure is None:
            return []
        return [
            m
            for m in list(vocabulary.plots_of(vocabulary.at(figure, frame)))[plot].marks
            if isinstance(m, kind)
        ]

    def errors(self) -> list[str]:
        """Errors in sight, faults of ours among them."""
        return [message.text() for message in self.window.messages.messages() if message.kind == "error"]

    # What a view of painting shows

    def shade(self) -> float:
        """How much of the plane is painted, in the picture that came back."""
        found = self.marks("bent", Heatmap)
        return float((found[0].values > 0.99).mean()) if found else 0.0

    def distance(self, x: float, y: float) -> float:
        """Mean distance of the bent samples from a point."""
        samples = self.marks("bent", Scatter)[-1]
        return float(np.hypot(samples.x - x, samples.y - y).mean())


@pytest.fixture
def hand(qtbot: QtBot, make_lab: Make) -> Iterator[Hand]:
    """A person before the panel; nothing may have gone wrong unseen at the end."""
    person = Hand(qtbot, make_lab(size=(1300, 900)))
    yield person
    assert person.errors() == []


STROKE = ((1.0, 0.8), (1.2, 1.0), (0.8, 1.1))


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_painting_bends_the_chain_and_clearing_sets_it_free(hand: Hand, paused: bool) -> None:
    hand.train("bent")
    if paused:
        hand.pause()
        # With the pictures of the last step in sight, only the hand can change them.
        hand.until(lambda: not hand.panel._requested)
    assert hand.shade() == 0.0
    far = hand.distance(1.0, 1.0)
    hand.drag("bent", STROKE)
    hand.until(lambda: hand.shade() > 0.0)
    hand.until(lambda: hand.distance(1.0, 1.0) < 0.7 * far)
    painted = hand.shade()
    hand.press(hand.tool("Erase"))
    hand.drag("bent", STROKE[:2])
    hand.until(lambda: 0.0 < hand.shade() < painted)
    hand.press(hand.tool("Clear r(x)"))
    hand.until(lambda: hand.shade() == 0.0)
    if paused:
        assert hand.distance(1.0, 1.0) == far, "free again, the samples are where they were"


def test_a_larger_brush_paints_more(hand: Hand) -> None:
    hand.train("bent")
    hand.pause()
    sizes = []
    for value in (10, 60):
        hand.panel._brush_size.setValue(value)
        hand.drag("bent", STROKE[:2])
        hand.until(lambda: hand.shade() > 0.0)
        sizes.append(hand.shade())
        hand.press(hand.tool("Clear r(x)"))
        hand.until(lambda: hand.shade() == 0.0)
    assert sizes[1] > 4 * sizes[0]


def test_what_was_painted_and_dropped_is_still_there_after_a_reset(hand: Hand) -> None:
    hand.train("bent")
    hand.drag("bent", STROKE)
    hand.until(lambda: hand.shade() > 0.0)
    hand.turn_to("futures")
    hand.click("futures", 0.5, 0.5)
    hand.until(lambda: len(dropped(hand)) == 1)
    # A chain half as long has no step at which the point was dropped.
    hand.panel.slider.set_index(0)
    hand.until(lambda: label(hand) == "dropped at t = 8")
    hand.form.change({"trajectory": 4})
    hand.reset()
    hand.turn_to("futures")
    hand.until(lambda: label(hand) in ("dropped at t = 4", "dropped at t = 2"))
    hand.turn_to("bent")
    hand.until(lambda: hand.shade() > 0.0)


def dropped(hand: Hand) -> list[Scatter]:
    """The star where a point was dropped."""
    return [mark for mark in hand.marks("futures", Scatter) if mark.symbol == "star"]


def label(hand: Hand) -> str:
    """What the legend says of the dropped point."""
    return dropped(hand)[0].label if dropped(hand) else ""


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_a_click_drops_a_point_at_the_time_of_the_slider(hand: Hand, paused: bool) -> None:
    hand.train("process", "futures")
    if paused:
        hand.pause()
    # At the end of the film nothing is left to run: half of the chain then.
    assert hand.panel.slider.time == 0
    hand.click("futures", 0.8, -0.6)
    hand.until(lambda: label(hand) == "dropped at t = 4")
    star = dropped(hand)[0]
    assert (float(star.x[0]), float(star.y[0])) == pytest.approx((0.8, -0.6), abs=0.05)
    for t in (8, 3):
        hand.panel.slider.set_index(8 - t)
        hand.until(lambda t=t: label(hand) == f"dropped at t = {t}")
        lines = hand.marks("futures", Lines)[0]
        assert len(lines.x) == 10 * (t + 2), "ten futures of t steps, from the very point"
    hand.press(hand.tool("Clear r(x)"))
    hand.until(lambda: not dropped(hand))
    note = next(iter(vocabulary.plots_of(hand.panel.figure("futures")))).remark()
    assert "t = 3" in note, "the invitation names the time at which a click would drop"


def test_dragging_the_schedule_draws_it_and_one_undo_takes_it_back(hand: Hand) -> None:
    hand.train("schedule", schedule="binomial")
    curve = next(mark for mark in hand.marks("schedule", Lines) if mark.role == "hand")
    x, y = float(curve.x[2]), float(curve.y[2])
    before = curve.y.copy()
    hand.drag("schedule", [(x, y), (x, y * 0.6), (x, y * 0.3), (x, y * 0.1)])
    assert hand.form.values().schedule == "drawn"
    assert hand.panel.undo_stack.count() == 1

    def shown() -> np.ndarray:
        curves = [mark for mark in hand.marks("schedule", Lines) if mark.role == "hand"]
        return curves[0].y if curves else np.zeros(0)

    hand.until(lambda: shown()[2] == pytest.approx(y * 0.1, rel=0.3))
    others = [index for index in range(len(before)) if index != 2]
    assert shown()[others] == pytest.approx(before[others], rel=0.02), "the other points stay"
    undo = next(action for action in hand.window._all_actions() if "Undo" in action.text())
    assert "noise schedule" in undo.text()
    undo.trigger()
    assert hand.form.values().schedule == "binomial"
    hand.until(lambda: shown() == pytest.approx(before, rel=1e-6))
    # A second drag is a step of its own.
    hand.drag("schedule", [(x, y), (x, y * 0.5)])
    hand.until(lambda: shown()[2] == pytest.approx(y * 0.5, rel=0.3))
    hand.drag(
        "schedule", [(float(curve.x[4]), float(before[4])), (float(curve.x[4]), float(before[4]) * 0.5)]
    )
    assert hand.panel.undo_stack.count() == 2
    hand.until(lambda: hand.panel.state == "running")


def test_points_drawn_by_hand_become_the_data(hand: Hand) -> None:
    hand.train("process")
    use = hand.tool("Train on these points")
    assert not use.isVisible()
    hand.press(hand.tool("Draw your data"))
    hand.until(lambda: hand.panel.is_in_sight("canvas") and use.isVisible())
    hand.press(use)
    assert "Two points" in hand.window.messages.messages()[0].text(), "nothing is drawn yet"
    hand.drag("canvas", [(-1.0 + 0.2 * k, 1.0) for k in range(8)])
    hand.drag("canvas", [(-1.0 + 0.2 * k, -1.0) for k in range(8)])
    drawn = hand.marks("canvas", Scatter)[0]
    assert len(drawn.x) >= 12 and drawn.y.max() == pytest.approx(1.0, abs=0.05)
    hand.press(hand.tool("Erase"))
    hand.drag("canvas", [(-1.0, 1.0), (0.6, 1.0)])
    left = hand.marks("canvas", Scatter)[0]
    assert 4 <= len(left.x) < len(drawn.x)
    before = hand.panel.session
    hand.press(use)
    hand.until(lambda: hand.panel.session is not before and hand.panel.started is not None)
    assert hand.panel.started.data["name"] == "drawn"
    assert f"{len(left.x)} drawn points" in hand.panel.started.data["title"]
    assert hand.form.pending() == {} and not use.isVisible()
    assert "drawn points" in hand.panel.undo_stack.undoText()
    hand.turn_to("process")
    hand.until(lambda: np.abs(hand.marks("process", Scatter, frame=8)[0].y).max() > 0)


def test_drawn_points_can_be_trained_on_before_anything_else(hand: Hand) -> None:
    hand.form.set_values(hand.form.values().build(TINY))
    hand.press(hand.tool("Draw your data"))
    hand.until(lambda: hand.panel.is_in_sight("canvas"))
    hand.drag("canvas", [(-1.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
    hand.press(hand.tool("Train on these points"))
    hand.until(lambda: hand.panel.state == "running" and hand.panel.started is not None)
    assert hand.panel.started.data["name"] == "drawn"


def test_images_bring_their_own_views_and_go_again(hand: Hand) -> None:
    panel = hand.panel
    hand.train("trails")
    assert panel.method is not None
    panel.choose_preset(find_preset(panel.method.presets, "digits"))
    hand.form.change(SMALL_DIGITS)
    assert hand.form.pending(), "other data wait for a reset, and the form says so"
    hand.reset()
    hand.until(lambda: panel.is_in_sight("images") and panel.figure("images") is not None)
    assert panel.docks["trails"].isHidden() and panel.is_in_sight("bent")
    hand.until(lambda: len(hand.marks("bent", ImageGrid)) == 1)
    # In-painting: a stroke on the second picture hides pixels; the others stay as they are.
    grid = hand.marks("bent", ImageGrid)[0]
    height = grid.images.shape[1]
    column = height + grid.gap
    hand.drag("bent", [(column + 2.5, 2.5), (column + 4.5, 4.5)])
    hand.until(lambda: 0 < hidden(hand).sum() < 30)
    mask = hidden(hand)
    assert mask[2, 2] and mask[3, 3] and mask[4, 4], "a stroke has no gaps"
    shown = hand.marks("bent", ImageGrid)[0].images
    assert (shown[2:][:, ~mask] == shown[0][~mask]).all() and (shown[2:][:, mask] != shown[0][mask]).any()
    first = shown[0].copy()
    hand.press(hand.tool("Next image"))
    hand.until(lambda: not np.array_equal(hand.marks("bent", ImageGrid)[0].images[0], first))
    # Futures of an image begin at the slider's time.
    hand.turn_to("futures")
    panel.docks["process"].raise_()
    hand.until(lambda: isinstance(panel.figure("process"), Film))
    panel.slider.set_index(1)
    hand.until(lambda: "t = 5" in next(iter(vocabulary.plots_of(panel.figure("futures")))).remark())
    hand.reset()
    hand.turn_to("bent")
    hand.until(lambda: np.array_equal(hidden(hand), mask))
    # Back to points: their views come back, and the tools of images go.
    hand.form.change({**TINY, "network": "mlp"})
    hand.reset()
    hand.until(lambda: panel.is_in_sight("process") and not panel.docks["trails"].isHidden())
    assert panel.docks["images"].isHidden() and not hand.panel._next.isVisible()
    hand.turn_to("trails")


def hidden(hand: Hand) -> np.ndarray:
    """Pixels that the second picture of the in-painting view shows as hidden."""
    found = hand.marks("bent", ImageGrid)
    return np.asarray((found[0].images[1] != found[0].images[0]).any(-1)) if found else np.zeros(0)


def test_one_slider_moves_every_film(hand: Hand) -> None:
    hand.train("process", "trails")
    slider, panel = hand.panel.slider, hand.panel
    assert slider.isVisible()
    assert (panel.view("process").frame, panel.view("trails").frame) == (8, 8), "films begin with the data"
    slider.set_index(3)
    assert slider.time == 5.0
    assert (panel.view("process").frame, panel.view("trails").frame) == (3, 3)
    # A view that was behind another joins where the others are.
    hand.turn_to("bent")
    hand.until(lambda: panel.view("bent").frame == 3)
    slider.setFocus()
    hand.qtbot.keyClick(slider.focusProxy() or slider, Qt.Key.Key_End)
    assert panel.view("process").frame == panel.view("bent").frame == 8
    hand.press(slider.findChild(QToolButton))
    assert slider.playing
    seen: set[int] = set()

    def turned() -> bool:
        seen.add(panel.view("bent").frame)
        assert panel.view("process").frame == panel.view("bent").frame == slider.index
        return len(seen) >= 4

    hand.until(turned)
    slider.set_playing(False)


def test_new_pictures_do_not_move_the_slider(hand: Hand) -> None:
    hand.train("process")
    hand.panel.slider.set_index(2)
    figure = hand.panel.figure("process")
    hand.until(lambda: hand.panel.figure("process") is not figure)
    assert hand.panel.slider.index == 2 and hand.panel.view("process").frame == 2


@pytest.mark.parametrize("width", [1000, 1300, 1600])
def test_no_word_of_the_tools_is_cut(qtbot: QtBot, make_lab: Make, width: int) -> None:
    hand = Hand(qtbot, make_lab(size=(width, 800)))
    hand.train("process")

    def whole() -> bool:
        strip = hand.panel.tools
        assert strip is not None
        buttons = [button for button in strip.findChildren(QToolButton) if button.isVisible()]
        return all(
            b.width() >= b.sizeHint().width() and b.geometry().right() <= strip.width() for b in buttons
        )

    hand.until(whole)
    hand.press(hand.tool("Draw your data"))
    hand.until(lambda: hand.tool("Train on these points").isVisible() and whole())
    hand.press(hand.tool("Draw your data"))
    hand.panel._next.show()
    hand.panel._fit_tools()
    hand.until(whole)


def test_the_form_leads_to_drawing(hand: Hand) -> None:
    hand.form.curve_requested.emit("betas")
    assert hand.panel.docks["schedule"].isVisible()
    hand.form.curve_requested.emit("drawn")
    hand.until(lambda: hand.panel.is_in_sight("canvas"))


def test_the_hand_on_a_run_that_has_ended_is_told_so(hand: Hand) -> None:
    hand.train("bent")
    hand.press(hand.window.transport.stop_button)
    hand.until(lambda: hand.panel.state == "done")
    hand.drag("bent", STROKE)
    assert any("has ended" in message.text() for message in hand.window.messages.messages())


def test_three_columns_keep_the_planes_tools_quiet(hand: Hand, tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "cloud.csv"
    path.write_text(
        "a,b,c\n" + "\n".join(",".join(f"{v:.4f}" for v in row) for row in rng.normal(size=(300, 3)))
    )
    hand.train("bent")
    hand.drag("bent", STROKE)
    hand.until(lambda: hand.shade() > 0.0)
    hand.form.change({"data": "file", "path": str(path)})
    hand.reset()
    hand.turn_to("process")
    hand.turn_to("bent")
    assert hand.errors() == [], "what was painted on another plane is not sent to data without one"


def test_a_picture_is_there_soon_after_its_view_is_turned_to(hand: Hand) -> None:
    # The pictures in sight have had their share of the time; one that comes into sight must not wait for the next.
    hand.train("process")
    session = hand.panel.session
    assert session is not None
    sent: list[tuple[tuple[str, ...], bool]] = []
    want = session.want
    session.want = lambda names, *, now=False: (sent.append((tuple(names), now)), want(names, now=now))[1]  # type: ignore
    hand.turn_to("terms")
    assert (("terms",), True) in sent
