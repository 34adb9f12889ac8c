"""The hand on the panel of Show, Attend and Tell: the gaze, words, own pictures and folders, in the real window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit, QSpinBox, QToolButton
from pytestqt.qtbot import QtBot

from engines.figures import Film, Heatmap, ImageGrid, Panels, Plot
from engines.show_attend_tell.config import ClearEdits, GrabGaze, PickImage, ReplaceWord
from engines.show_attend_tell.pictures import SHADE
from lab.panels.show_attend_tell import Edit, ShowAttendTellPanel, Wish, added, told_edits
from lab.window.application import Application
from tests.lab.clicker import Clicker
from tests.lab.small import SMALL

Make = Callable[..., Application]
TINY = {
    **SMALL["show-attend-tell"],
    "steps": 100_000,
    # So that the captions are those of the initial weights, however many updates a busy machine gets done; they are long.
    "learning_rate": 1e-6,
    "seed": 2,
}


class Hand(Clicker):
    """A person at the panel."""

    def __init__(self, qtbot: QtBot, application: Application) -> None:
        super().__init__(qtbot)
        self.window = application.window
        panel = application.window.current_panel()
        assert isinstance(panel, ShowAttendTellPanel) and panel.form is not None
        self.panel, self.form = panel, panel.form

    def train(self, updates: int = 3, **values: Any) -> None:
        """Train so many updates and more, and pause."""
        self.form.set_values(self.form.values().build({**TINY, **values}))
        self.press(self.window.transport.play_button)
        self.until(lambda: self.panel.state == "running" and self.step() >= updates)
        self.press(self.window.transport.play_button)
        self.until(lambda: self.window.transport.state() == "paused" and self.is_still())
        self.panel.slider.set_playing(False)

    def step(self) -> int:
        return self.panel.session.step if self.panel.session is not None else 0

    def is_still(self) -> bool:
        """Whether the engine has done all that was wanted, and the panel knows how the caption stands."""
        panel = self.panel
        return (
            panel.told is not None
            and panel._count > 0
            and not panel._is_busy
            and not panel._is_asking
            and panel._asked_step == self.step()
            # The overlay has caught up with what the engine said.
            and panel.words.words == panel.told["new"]["words"]
        )

    def tool(self, text: str) -> QToolButton:
        assert self.panel.tools is not None
        return next(button for button in self.panel.tools.findChildren(QToolButton) if button.text() == text)

    def field(self) -> QLineEdit:
        return next(
            field
            for field in self.panel.tools.findChildren(QLineEdit)
            if field.accessibleName() == "Word to put in place of the chosen one"
        )

    def number(self) -> QSpinBox:
        return self.panel.tools.findChild(QSpinBox)

    def old(self) -> tuple[str, ...]:
        assert self.panel.told is not None
        words: tuple[str, ...] = self.panel.told["old"]["words"]
        return words

    def new(self) -> tuple[str, ...]:
        assert self.panel.told is not None
        words: tuple[str, ...] = self.panel.told["new"]["words"]
        return words

    def weights(self, place: int, which: str = "new") -> np.ndarray:
        assert self.panel.told is not None
        return np.asarray(self.panel.told[which]["weights"][place])

    def turn_to(self, name: str) -> None:
        self.panel.docks[name].show()
        self.panel.docks[name].raise_()
        self.until(lambda: self.panel.is_in_sight(name) and self.panel.figure(name) is not None)

    def rows(self, name: str) -> list[tuple[str, ...]]:
        """The words above each row of pictures."""
        figure = self.panel.figure(name)
        assert isinstance(figure, Panels)
        return [plot.marks[0].column_labels for plot in figure.plots if isinstance(plot.marks[0], ImageGrid)]

    def point(self, name: str, x: float, y: float, plot: int = 0) -> QPoint:
        """Where a point of a plot lies on its canvas."""
        return self.panel.view(name).areas[plot].to_scene(x, y).toPoint()

    def click(self, name: str, x: float, y: float, plot: int = 0) -> None:
        self.qtbot.mouseClick(
            self.panel.view(name).canvas.viewport(),
            Qt.MouseButton.LeftButton,
            pos=self.point(name, x, y, plot),
        )

    def overlay_size(self) -> tuple[int, int]:
        still = self.panel.view("overlay").still
        assert isinstance(still, Plot) and isinstance(still.marks[0], ImageGrid)
        return still.marks[0].images.shape[1:3]

    def grab(self, place: int, row: int, column: int) -> None:
        """Click on a cell in the overlay at a word."""
        self.panel.choose_word(place)
        self.turn_to("overlay")
        self.until(lambda: self.panel.view("overlay").frame == place)
        assert self.panel.told is not None
        rows, columns = self.panel.told["grid"]
        height, width = self.overlay_size()
        self.click("overlay", (column + 0.5) / columns * width, (row + 0.5) / rows * height)

    def put(self, place: int, word: str) -> None:
        """Type another word in place of one, by the keyboard alone."""
        self.panel.choose_word(place)
        self.panel.words.setFocus()
        self.qtbot.keyClick(self.panel.words, Qt.Key.Key_Return)
        self.qtbot.keyClicks(self.field(), word)
        self.panel._completer.popup().hide()
        self.qtbot.keyClick(self.field(), Qt.Key.Key_Return)

    def marked(self) -> list[int]:
        return sorted(self.panel.words.marks)

    def errors(self) -> list[str]:
        return [message.text() for message in self.window.messages.messages() if message.kind == "error"]

    def told(self) -> list[str]:
        return [message.text() for message in self.window.messages.messages()]


@pytest.fixture
def hand(qtbot: QtBot, make_lab: Make) -> Iterator[Hand]:
    """A person before the panel."""
    yield Hand(qtbot, make_lab("show-attend-tell", size=(1600, 1000)))


@pytest.fixture
def trained(hand: Hand) -> Hand:
    """A person before a paused run."""
    hand.train()
    assert len(hand.new()) >= 8, "the tests need words"
    return hand


# --- the wish, without a window  ----------


def way(sent: Wish, wish: Wish) -> list[str]:
    """Kinds of the requests that lead from one to the other."""
    kinds = []
    while (following := sent.towards(wish)) is not None:
        action, sent = following
        kinds.append(type(action).__name__)
        assert len(kinds) < 20
    assert (sent.image, sent.own is wish.own, sent.edits) == (wish.image, True, wish.edits)
    return kinds


def test_an_edit_lets_go_of_those_that_are_decoded_anew() -> None:
    early, late, word = Edit(1, cell=(0, 0)), Edit(4, cell=(1, 1)), Edit(4, "red")
    assert added((early, late), word) == (early, late, word), "a word keeps the gaze under which it stands"
    again = Edit(4, cell=(2, 2))
    assert added((early, late, word), again) == (early, again)
    assert added((early, late), Edit(1, "a"))[0] is early and len(added((early, late), Edit(1, "a"))) == 2
    other = Edit(4, "blue")
    assert added((early, word), other) == (early, other)


def test_the_way_to_a_wish_is_the_shortest() -> None:
    a, b, c = Edit(1, cell=(0, 0)), Edit(3, "red"), Edit(5, cell=(2, 2))
    assert way(Wish(), Wish(edits=(a,))) == [GrabGaze.__name__]
    assert way(Wish(edits=(a, b)), Wish(edits=(a, b, c))) == [GrabGaze.__name__]
    assert way(Wish(edits=(a, b)), Wish(edits=(a, Edit(3, "blue")))) == [ReplaceWord.__name__]
    assert way(Wish(edits=(a, b, c)), Wish()) == [ClearEdits.__name__]
    assert way(Wish(edits=(a, b, c)), Wish(edits=(a, c))) == [
        ClearEdits.__name__,
        GrabGaze.__name__,
        GrabGaze.__name__,
    ]
    assert way(Wish(2, edits=(a,)), Wish(3)) == [PickImage.__name__]
    assert way(Wish(2, np.zeros((4, 4, 3), np.uint8)), Wish(2)) == [PickImage.__name__]
    assert way(Wish(2), Wish(2)) == []


def test_edits_that_the_engine_tells_are_those_of_the_panel() -> None:
    painted = np.zeros((4, 4))
    painted[0, :2] = 3.0
    edits = (Edit(1, weights=painted), Edit(2, "red"), Edit(4, cell=(2, 3)), Edit(4, "circle"))
    one = np.zeros((4, 4))
    one[2, 3] = 1.0
    told = {
        "edits": (
            {"place": 1, "word": "", "weights": painted / 6},
            {"place": 2, "word": "red", "weights": None},
            {"place": 4, "word": "", "weights": one},
            {"place": 4, "word": "circle", "weights": None},
        )
    }
    assert told_edits(told, edits) == edits, (
        "edits that are known stay what they are, and nothing is sent again"
    )
    # After a rewind the panel knows none of them.
    found = told_edits(told)
    assert [(edit.place, edit.word, edit.cell) for edit in found] == [
        (1, "", None),
        (2, "red", None),
        (4, "", (2, 3)),
        (4, "circle", None),
    ]
    assert found[0].weights is not None and np.array_equal(found[0].weights, painted / 6)
    assert told_edits(told, found) == found
    other = (Edit(1, cell=(0, 0)), Edit(2, "blue"))
    assert not set(told_edits(told, other)) & set(other)


# --- choosing  ----------


def test_nothing_can_be_asked_before_there_is_a_model(hand: Hand) -> None:
    for text in ("Previous", "Next", "Random", "Clear edits"):
        assert not hand.tool(text).isEnabled(), text
    assert not hand.field().isEnabled() and not hand.number().isEnabled()
    assert hand.tool("Open picture…").isEnabled()
    hand.panel.open_picture(Path("a.png"))
    assert any("press Train" in text for text in hand.told())


def test_another_image_is_chosen_and_all_pictures_follow(hand: Hand) -> None:
    hand.train()
    hand.turn_to("overlay")
    step, count = hand.step(), hand.panel._count
    assert hand.number().maximum() == count == SMALL["show-attend-tell"]["valid_size"]

    def pixels() -> bytes:
        assert hand.panel.told is not None
        return hand.panel.told["pixels"].tobytes()

    def is_shown() -> bool:
        """Whether the overlay has the engine's image, which it shades as deep as `SHADE`."""
        still = hand.panel.view("overlay").still
        assert (
            isinstance(still, Plot) and isinstance(still.marks[0], ImageGrid) and hand.panel.told is not None
        )
        shown, whole = still.marks[0].images[0].astype(float), hand.panel.told["pixels"].astype(float)
        return bool((shown <= whole + 1).all() and (shown >= SHADE * whole - 1).all())

    first = pixels()
    hand.until(is_shown)
    hand.press(hand.tool("Next"))
    hand.until(lambda: hand.is_still() and pixels() != first and is_shown())
    assert hand.number().value() == 2 and hand.panel.wish.image == 1
    hand.press(hand.tool("Previous"))
    hand.press(hand.tool("Previous"))
    hand.until(lambda: hand.is_still() and hand.number().value() == count)
    hand.number().setFocus()
    hand.qtbot.keyClick(hand.number(), Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    hand.qtbot.keyClicks(hand.number(), "1")
    hand.qtbot.keyClick(hand.number(), Qt.Key.Key_Return)
    hand.until(lambda: hand.is_still() and pixels() == first and is_shown())
    hand.press(hand.tool("Random"))
    hand.until(lambda: hand.is_still() and hand.panel.wish.image != 0)
    assert hand.step() == step and hand.errors() == []


def test_a_click_on_a_word_turns_the_overlay_to_it_and_the_slider_the_bar(trained: Hand) -> None:
    hand = trained
    hand.turn_to("overlay")
    last = len(hand.new()) - 1
    bar = hand.panel.words
    hand.until(lambda: bar.words == hand.new() and len(hand.panel.times) == len(hand.new()))
    # The bar scrolls to what is chosen.
    hand.panel.choose_word(0)
    hand.qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(1).center())
    assert hand.panel.view("overlay").frame == 1 and hand.panel.slider.index == 1
    hand.panel.slider.set_index(last)
    assert bar.currentIndex() == last and hand.panel.view("overlay").frame == last
    hand.turn_to("strip")
    hand.until(lambda: hand.rows("strip")[0] == hand.old())
    hand.click("strip", 5.0, 5.0)
    assert hand.panel.word == 0 and bar.currentIndex() == 0
    assert hand.marked() == [] and hand.panel.wish.edits == (), "to look is no edit"


def test_the_line_of_words_says_what_the_overlay_shows(trained: Hand) -> None:
    hand = trained
    hand.turn_to("overlay")
    hand.until(hand.is_still)
    panel, film = hand.panel, hand.panel.figure("overlay")
    assert isinstance(film, Film) and film.time.ticks is not None
    # As while a run goes on: the picture is of another update than the newest answer.
    words = ("two", "red", "circles", "<end>")
    ticks = tuple((float(place), word) for place, word in enumerate(words, 1))
    other = replace(
        film, frames=film.frames[:4], times=film.times[:4], time=replace(film.time, ticks=ticks), start=0
    )
    panel._show_figure("overlay", panel.view("overlay"), other)
    assert panel.words.words == words and hand.new() != words
    panel._show_told()
    assert panel.words.words == words and len(panel.times) == 4
    # Where the overlay is not in sight, the newest answer is what there is.
    panel.docks["overlay"].hide()
    hand.until(lambda: not panel.is_in_sight("overlay"))
    panel._show_told()
    assert panel.words.words == hand.new()


# --- the gaze  ----------


def test_a_click_in_the_overlay_moves_the_gaze_there_and_what_stood_before_stays(trained: Hand) -> None:
    hand = trained
    step, before = hand.step(), hand.new()
    place = 4
    hand.grab(place, 1, 4)
    hand.until(lambda: hand.is_still() and hand.panel.told is not None and hand.panel.told["edited"])
    expected = np.zeros(hand.panel.told["grid"])  # type: ignore[index]
    expected[1, 4] = 1.0
    assert np.allclose(hand.weights(place), expected), "the gaze lies where the hand put it"
    assert hand.new()[:place] == before[:place] and hand.old() == before
    assert not np.allclose(hand.weights(place, "old"), expected), "the model's own caption stays"
    assert hand.marked() == [place] and hand.step() == step
    # The old caption stands above the new one, in a view that came to the front.
    hand.until(lambda: hand.panel.is_in_sight("gaze") and len(hand.rows("gaze")) == 2)
    assert hand.rows("gaze") == [hand.old(), hand.new()]

    def brightest() -> tuple[int, ...]:
        film = hand.panel.figure("overlay")
        assert isinstance(film, Film)
        frame = film.frames[min(place, len(film.frames) - 1)]
        assert isinstance(frame, Plot) and isinstance(frame.marks[1], Heatmap)
        return tuple(int(i) for i in np.unravel_index(np.argmax(frame.marks[1].values), expected.shape))

    hand.until(lambda: brightest() == (1, 4))
    hand.turn_to("strip")
    hand.until(lambda: hand.rows("strip")[0] == before)
    assert hand.errors() == []


def test_the_gaze_is_moved_in_the_row_of_the_captions_too(trained: Hand) -> None:
    hand = trained
    hand.turn_to("gaze")
    hand.until(lambda: hand.rows("gaze") == [hand.old()])
    size = hand.overlay_size()[0]
    assert hand.panel.told is not None
    rows = hand.panel.told["grid"][0]
    cell = size / rows
    hand.click("gaze", 2.5 * cell, 0.5 * cell)
    hand.until(lambda: hand.is_still() and len(hand.rows("gaze")) == 2)
    assert hand.panel.wish.edits[0].place == 0 and hand.panel.wish.edits[0].cell == (0, 2)
    # In the upper row a click only chooses the word.
    hand.click("gaze", 4.5 * cell, 3.5 * cell, 0)
    assert hand.panel.wish.edits[0].cell == (0, 2)
    hand.click("gaze", 4.5 * cell, 3.5 * cell, 1)
    hand.until(lambda: hand.is_still() and hand.weights(0)[3, 4] == 1.0)
    assert len(hand.panel.wish.edits) == 1


def test_a_drag_keeps_one_request_under_way_and_ends_where_the_hand_is(
    trained: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = trained
    session = hand.panel.session
    assert session is not None and hand.panel.told is not None
    sent: list[GrabGaze] = []
    act = session.act

    def noted(action: Any) -> int:
        if isinstance(action, GrabGaze):
            sent.append(action)
        return act(action)

    hand.turn_to("overlay")
    monkeypatch.setattr(session, "act", noted)
    rows, columns = hand.panel.told["grid"]
    height, width = hand.overlay_size()
    hand.panel.choose_word(0)
    canvas = hand.panel.view("overlay").canvas.viewport()
    path = [
        hand.point("overlay", (column + 0.5) / columns * width, (row + 0.5) / rows * height)
        for row in range(rows)
        for column in range(columns)
    ]
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, path[0])
    under_way = len(sent)
    for point in path[1:]:
        # Moves alone: the loop in which answers come does not run here.
        hand.panel._on_overlay_stroke_moved(0.0, 0.0, *hand.panel.view("overlay").areas[0].to_axes(point), 0)
    assert under_way == len(sent) == 1, "until it is answered nothing else is sent"
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, path[-1])
    hand.until(lambda: hand.is_still() and hand.weights(0)[-1, -1] == 1.0)
    assert [action.cell for action in sent] == [(0, 0), (rows - 1, columns - 1)]


def test_a_wide_gaze_lies_around_the_hand(trained: Hand) -> None:
    hand = trained
    hand.panel._spread.setValue(30)
    hand.grab(0, 2, 2)
    hand.until(lambda: hand.is_still() and hand.marked() == [0])
    weights = hand.weights(0)
    assert np.unravel_index(np.argmax(weights), weights.shape) == (2, 2)
    assert weights.sum() == pytest.approx(1.0, abs=1e-5) and weights.min() > 0 and weights.max() < 0.5
    # A click falls on whole pixels of the screen.
    assert weights[2, 1] == pytest.approx(weights[2, 3], abs=0.01), "as much on either side"


def test_the_keyboard_moves_the_gaze_cell_by_cell(trained: Hand) -> None:
    hand = trained
    hand.grab(0, 2, 2)
    hand.until(hand.is_still)
    shift = Qt.KeyboardModifier.ShiftModifier
    hand.panel.words.setFocus()
    hand.qtbot.keyClick(hand.panel.words, Qt.Key.Key_Right, shift)
    hand.qtbot.keyClick(hand.panel.words, Qt.Key.Key_Right, shift)
    hand.qtbot.keyClick(hand.panel.view("overlay").canvas, Qt.Key.Key_Down, shift)
    hand.until(lambda: hand.is_still() and hand.weights(0)[3, 4] == 1.0)
    assert hand.panel.word == 0


# --- words  ----------


def test_a_word_is_replaced_and_only_what_follows_is_written_anew(trained: Hand) -> None:
    hand = trained
    before = hand.new()
    place = 4
    word = next(word for word in hand.panel._vocabulary[2:] if word != before[place])
    hand.put(place, word)
    hand.until(lambda: hand.is_still() and hand.marked() == [place])
    assert hand.new()[: place + 1] == (*before[:place], word) and hand.old() == before
    hand.turn_to("gaze")
    hand.until(lambda: hand.rows("gaze") == [before, hand.new()])
    assert hand.field().text() == "" and hand.errors() == []
    # With its end put in, the caption is over.
    hand.put(0, "<end>")
    hand.until(lambda: hand.is_still() and hand.new() == ("<end>",))
    assert hand.marked() == [0]


def test_a_word_that_is_not_known_is_one_sentence_and_changes_nothing(trained: Hand) -> None:
    hand = trained
    before = hand.new()
    hand.put(0, "zebra")
    assert len(hand.errors()) == 1 and "zebra" in hand.errors()[0] and hand.field().text() == "zebra"
    assert hand.panel.wish.edits == () and hand.new() == before
    hand.qtbot.keyClick(hand.field(), Qt.Key.Key_Escape)
    assert hand.field().text() == ""


def test_typing_offers_words_of_the_vocabulary(trained: Hand) -> None:
    hand = trained
    model = hand.panel._completer.model()
    offered = [model.index(row, 0).data() for row in range(model.rowCount())]
    assert tuple(offered) == hand.panel._vocabulary and "<end>" in offered


# --- taking edits back  ----------


def test_edits_are_taken_back_one_by_one_or_all(trained: Hand) -> None:
    hand = trained
    before = hand.new()
    word = next(word for word in hand.panel._vocabulary[2:] if word != before[0])
    hand.put(0, word)
    hand.until(lambda: hand.is_still() and hand.marked() == [0])
    between = hand.new()
    hand.grab(5, 0, 0)
    hand.until(lambda: hand.is_still() and hand.marked() == [0, 5])
    assert hand.new()[:5] == between[:5]
    button = hand.panel.words.unmark_button(5)
    assert button is not None
    hand.press(button)
    hand.until(lambda: hand.is_still() and hand.marked() == [0])
    assert hand.new() == between
    hand.panel.choose_word(0)
    hand.panel.words.setFocus()
    hand.qtbot.keyClick(hand.panel.words, Qt.Key.Key_Delete)
    hand.until(lambda: hand.is_still() and hand.marked() == [])
    assert hand.new() == hand.old() == before and hand.panel.told is not None
    assert not hand.panel.told["edited"] and not hand.tool("Clear edits").isEnabled()
    hand.grab(0, 3, 3)
    hand.grab(0, 2, 3)
    hand.put(0, word)
    hand.until(lambda: hand.is_still() and hand.marked() == [0] and len(hand.panel.wish.edits) == 2)
    hand.press(hand.tool("Clear edits"))
    hand.until(lambda: hand.is_still() and not hand.panel.told["edited"])  # type: ignore[index]
    assert hand.new() == before
    hand.turn_to("gaze")
    hand.until(lambda: hand.rows("gaze") == [before])
    assert hand.errors() == []


def test_an_earlier_edit_is_taken_back_and_a_later_one_stays(trained: Hand) -> None:
    hand = trained
    hand.grab(0, 0, 5)
    hand.until(lambda: hand.is_still() and hand.marked() == [0])
    hand.grab(3, 4, 1)
    hand.until(lambda: hand.is_still() and hand.marked() == [0, 3])
    hand.panel.remove_edits(0)
    hand.until(lambda: hand.is_still() and hand.marked() == [3])
    assert hand.weights(3)[4, 1] == 1.0 and hand.weights(0)[0, 5] < 1.0
    assert hand.new()[:3] == hand.old()[:3]


def test_another_image_lets_go_of_the_edits(trained: Hand) -> None:
    hand = trained
    hand.grab(0, 0, 0)
    hand.until(lambda: hand.is_still() and hand.marked() == [0])
    hand.press(hand.tool("Next"))
    hand.until(lambda: hand.is_still() and hand.marked() == [])
    assert hand.new() == hand.old() and hand.panel.told is not None and not hand.panel.told["edited"]


def test_edits_are_found_again_when_their_run_is_chosen_again(trained: Hand) -> None:
    hand = trained
    origin = hand.panel.run
    assert origin is not None
    hand.grab(0, 2, 1)
    hand.until(lambda: hand.is_still() and hand.marked() == [0])
    edits, words = hand.panel.wish.edits, hand.new()
    keyframe = hand.panel._fork_from()
    assert keyframe is not None
    hand.panel.fork(keyframe, {}, train=False)
    hand.until(lambda: hand.panel.run is not origin and hand.panel.state == "paused" and hand.is_still())
    hand.panel.clear_edits()
    hand.panel.pick_image(3)
    hand.until(lambda: hand.is_still() and hand.panel.wish.image == 3)
    assert hand.marked() == []
    hand.panel.choose_run(origin.key)
    hand.until(hand.is_still)
    assert hand.panel.wish.edits == edits and hand.marked() == [0] and hand.new() == words
    assert hand.panel.wish.image != 3 and hand.errors() == []


def test_the_hand_is_answered_while_training_goes_on(trained: Hand) -> None:
    hand = trained
    hand.press(hand.window.transport.play_button)
    hand.until(lambda: hand.panel.state == "running")
    hand.grab(0, 1, 1)
    hand.until(lambda: hand.panel.told is not None and hand.panel.told["edited"])
    step = hand.step()
    hand.until(lambda: hand.step() > step and hand.panel._asked_step > step)
    assert hand.weights(0)[1, 1] == 1.0 and hand.marked() == [0]
    assert hand.panel.run is not None
    assert not [mark for mark in hand.panel.run.marks if mark.kind == "action"], "a look is no event"


def test_a_reset_keeps_the_image_and_lets_go_of_the_edits(trained: Hand) -> None:
    hand = trained
    hand.panel.pick_image(4)
    hand.until(hand.is_still)
    hand.grab(0, 1, 1)
    hand.until(lambda: hand.is_still() and hand.marked() == [0])
    before = hand.panel.run
    hand.press(hand.window.transport.reset_button)
    hand.until(lambda: hand.panel.run is not before and hand.panel.state == "paused" and hand.is_still())
    assert hand.number().value() == 5 and hand.marked() == []
    assert hand.panel.told is not None and hand.panel.told["image"] == 4 and not hand.panel.told["edited"]


# --- own pictures and folders  ----------


def test_a_picture_that_is_dropped_is_captioned_at_once(trained: Hand, tmp_path: Path) -> None:
    hand = trained
    path = tmp_path / "mine.png"
    Image.fromarray(np.full((90, 120, 3), (200, 30, 30), np.uint8)).save(path)
    step = hand.step()
    hand.window.take_dropped(str(path))
    hand.until(lambda: hand.panel.told is not None and hand.panel.told["own"] and hand.is_still())
    assert hand.panel.told is not None
    assert np.abs(hand.panel.told["pixels"].astype(int) - (200, 30, 30)).max() <= 2
    assert hand.number().text().startswith("own picture") and hand.step() == step
    hand.grab(0, 1, 1)
    hand.until(lambda: hand.is_still() and hand.marked() == [0])
    assert hand.panel.told["own"], "an edit leaves the picture"
    image = hand.panel.wish.image
    hand.press(hand.tool("Next"))
    hand.until(lambda: hand.is_still() and not hand.panel.told["own"])  # type: ignore[index]
    assert hand.panel.wish.image == image and hand.number().value() == image + 1
    assert hand.errors() == []


@pytest.mark.parametrize("name", ["broken.png", "letter.pdf"])
def test_what_is_no_picture_is_one_sentence_and_changes_nothing(
    trained: Hand, tmp_path: Path, name: str
) -> None:
    hand = trained
    path = tmp_path / name
    path.write_bytes(b"this is not a picture" * 10)
    before = hand.panel.wish
    hand.window.take_dropped(str(path))
    hand.until(lambda: len(hand.errors()) == 1)
    (sentence,) = hand.errors()
    assert name in sentence and "\n" not in sentence and sentence.endswith(".")
    assert hand.panel.wish is before and hand.panel.told is not None and not hand.panel.told["own"]


def captioned(folder: Path, count: int = 6) -> Path:
    """A folder of small pictures with captions."""
    folder.mkdir()
    lines = ["image,caption"]
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 255, (60, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        lines.append(f"{index}.png,a picture of noise number {index}")
    lines.append("gone.png,a picture that is not here")
    (folder / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_folder_that_is_dropped_is_the_data_from_the_next_reset_on(hand: Hand, tmp_path: Path) -> None:
    folder = captioned(tmp_path / "photos")
    hand.window.take_dropped(str(folder))
    hand.until(lambda: hand.form.values().model_dump()["data"] == "folder")
    values = hand.form.values().model_dump()
    assert Path(values["path"]) == folder and hand.panel.run is None
    told = next(text for text in hand.told() if text.startswith("photos:"))
    assert "6 pictures with 6 captions" in told and "gone.png" in told and "Train" in told
    hand.train(updates=1, data="folder", path=str(folder))
    assert "noise" in hand.panel._vocabulary
    assert not {"mass", "masses", "rewards", "variance"} & {
        name for name, dock in hand.panel.docks.items() if not dock.isHidden()
    }


def test_a_folder_without_captions_is_one_sentence_and_the_data_stay(hand: Hand, tmp_path: Path) -> None:
    folder = tmp_path / "nothing"
    folder.mkdir()
    hand.window.take_dropped(str(folder))
    hand.until(lambda: len(hand.errors()) == 1)
    assert "captions" in hand.errors()[0] and "\n" not in hand.errors()[0]
    assert hand.form.values().model_dump()["data"] == "scenes"


@pytest.mark.parametrize(
    ("captions", "why"),
    [
        ("image,caption\n0.png,un café\n".encode("latin-1"), "UTF-8"),
        ("image,caption\n0.png,a thing\n".encode("utf-16"), "UTF-16"),
        (b"image,caption\n0.png,\n1.png,\n", "no caption with words"),
        (b"image,caption\nx.png,a thing\ny.png,a thing\n", "not in the folder"),
        (b"", "empty"),
        (b"one\ntwo\n", "no captions file"),
    ],
    ids=["latin-1", "utf-16", "no words", "no pictures", "empty", "no form"],
)
def test_captions_that_cannot_be_used_are_one_sentence_and_nothing_is_lost(
    hand: Hand, tmp_path: Path, captions: bytes, why: str
) -> None:
    folder = captioned(tmp_path / "photos")
    (folder / "captions.txt").write_bytes(captions)
    hand.form.change({"train_size": 77})
    before = hand.form.values().model_dump()
    # The folder and the file in it mean the same.
    for path in (folder, folder / "captions.txt"):
        hand.window.take_dropped(str(path))
        hand.until(lambda: len(hand.errors()) == 1)
        (sentence,) = hand.errors()
        assert (
            why in sentence and "captions.txt" in sentence and "\n" not in sentence and sentence.endswith(".")
        )
        hand.panel.messages_outdated.emit([f"{hand.panel.paper.id}/folder"])
        hand.until(lambda: not hand.errors())
    assert hand.form.values().model_dump() == before


# --- views  ----------


def test_hard_attention_brings_its_own_curves(hand: Hand) -> None:
    def shown() -> set[str]:
        return {name for name, dock in hand.panel.docks.items() if not dock.isHidden()}

    hand.train(updates=1)
    assert {"mass", "masses", "terms", "gate"} <= shown() and not {"rewards", "variance"} & shown()
    hand.form.change({"attention": "hard"})
    hand.until(lambda: {"rewards", "variance"} <= shown() and "terms" not in shown())
    hand.form.change({"attention": "soft"})
    hand.until(lambda: not {"rewards", "variance"} & shown() and "terms" in shown())


def test_the_film_of_words_plays_once_by_itself(trained: Hand) -> None:
    hand = trained
    slider = hand.panel.slider
    hand.turn_to("overlay")
    assert hand.panel._has_played
    slider.set_speed(4.0)
    hand.panel._plays_once = True
    slider.set_index(0)
    slider.set_playing(True)
    hand.until(lambda: not slider.playing)
    film = hand.panel.figure("overlay")
    assert isinstance(film, Film) and slider.index == film.start
    hand.panel.play_films()
    assert slider.playing and not hand.panel._plays_once, "who presses play sees it again and again"
    slider.set_playing(False)
