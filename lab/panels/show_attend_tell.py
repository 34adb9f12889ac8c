"""The panel of Show, Attend and Tell: words under one slider, the gaze in the hand, own pictures; GUI thread.

The hand's wish
---------------
What the person wants is one `Wish`: a picture and the edits of its caption. `_sent` is what the engine has been told of it.
Only one request is under way at a time; each answer is followed by the next one on the way from `_sent` to `_wish`, so that
a drag never runs ahead of the pictures and ends at its newest place. What stands is what the engine said last: a run that is
rewound or chosen again brings its picture and its edits with it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QObject, QStringListModel, Qt, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QCompleter,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from engines.data.captions import Pictures, caption_folder
from engines.data.image_folder import IMAGE_SUFFIXES
from engines.errors import DataError, InputError
from engines.figures import Figure, Film, ImageGrid, Panels, Plot
from engines.method import Action
from engines.show_attend_tell.config import (
    ClearEdits,
    DropImage,
    GiveCaption,
    GiveVocabulary,
    GrabGaze,
    PickImage,
    ReplaceWord,
)
from lab.panels.active_run import ActiveRun
from lab.panels.panel import Panel
from lab.runs import messages as m
from widgets.figure_view import FigureView
from widgets.word_bar import WordBar

ASK_EVERY = 0.25
"""Seconds between questions how the caption stands, while the run goes on and the overlay, which says it, is not in sight."""

ASK_SELDOM = 1.0
"""Seconds between them while it is: an answer takes the time of many updates."""

WORDS_PER_SECOND = 2.0

LONG_ENOUGH = 4
"""Words of a caption that is worth playing by itself; before it has learned anything, a model writes one or two."""

OWN_SIZE = 224
"""Pixels each way of an own picture, as long as it is not known how large the encoder takes it."""

LONG_FIELD = 160
"""Pixels of the field for another word, where there is room."""

FILES = "Pictures (*.png *.jpg *.jpeg *.bmp *.webp)"

CAPTION_FILES = (".txt", ".csv", ".tsv", ".token")


@dataclass(frozen=True, eq=False)
class Edit:
    """One thing that the hand changed in a caption; compared by identity.

    Attributes
    ----------
    place : int
        Of the word, from 0.
    word : str
        What was put in its place; empty where the attention was moved.
    cell : (row, column) or None
        The one cell that is looked at.
    weights : array (rows, columns) or None
        The attention that was put there.
    """

    place: int
    word: str = ""
    cell: tuple[int, int] | None = None
    weights: np.ndarray | None = None

    def action(self) -> Action:
        """The engine's request for it."""
        if self.word:
            return ReplaceWord(self.place, self.word)
        return GrabGaze(self.place, self.weights, self.cell)

    def is_told(self, told: Mapping[str, Any]) -> bool:
        """Whether this is one of the edits in the engine's answer."""
        if told["place"] != self.place or told["word"] != self.word:
            return False
        if self.word:
            return True
        weights = np.asarray(told["weights"])
        if self.cell is not None:
            return bool(weights[self.cell] == weights.sum())
        assert self.weights is not None
        return np.allclose(weights, self.weights / self.weights.sum(), rtol=1e-6, atol=1e-12)


def added(edits: tuple[Edit, ...], edit: Edit) -> tuple[Edit, ...]:
    """The edits with a further one; as in the engine, those of what is decoded anew are let go."""
    kept = [
        known
        for known in edits
        if known.place < edit.place or (known.place == edit.place and edit.word and not known.word)
    ]
    return (*kept, edit)


@dataclass(frozen=True, eq=False)
class Wish:
    """A picture and the edits of its caption.

    Attributes
    ----------
    image : int
        Of the validation images.
    own : array (H, W, 3) of uint8 or None
        An own picture in place of it.
    edits : tuple of Edit
        In the order of their words.
    """

    image: int = 0
    own: np.ndarray | None = None
    edits: tuple[Edit, ...] = ()

    def towards(self, wish: Wish) -> tuple[Action, Wish] | None:
        """The next request on the way to a wish, and what holds after it; None where nothing is left to do."""
        if wish.own is not self.own:
            if wish.own is None:
                return PickImage(wish.image), Wish(wish.image)
            return DropImage(wish.own), Wish(self.image, wish.own)
        if wish.own is None and wish.image != self.image:
            return PickImage(wish.image), Wish(wish.image)
        if wish.edits == self.edits:
            return None
        same = 0
        while same < min(len(self.edits), len(wish.edits)) and self.edits[same] is wish.edits[same]:
            same += 1
        if same < len(wish.edits):
            after = added(self.edits, wish.edits[same])
            if after == wish.edits[: same + 1]:
                return wish.edits[same].action(), replace(self, edits=after)
        return ClearEdits(), replace(self, edits=())


def told_edits(told: Mapping[str, Any], known: tuple[Edit, ...] = ()) -> tuple[Edit, ...]:
    """The edits that hold as the engine says, those that are known as they are: edits are compared by identity."""
    left = list(known)
    edits: list[Edit] = []
    for each in told["edits"]:
        same = next((edit for edit in left if edit.is_told(each)), None)
        if same is not None:
            left.remove(same)
            edits.append(same)
        elif each["word"]:
            edits.append(Edit(each["place"], each["word"]))
        else:
            weights = np.asarray(each["weights"])
            row, column = (int(i) for i in np.unravel_index(np.argmax(weights), weights.shape))
            cell = (row, column) if weights[row, column] == weights.sum() else None
            edits.append(Edit(each["place"], cell=cell, weights=weights if cell is None else None))
    return tuple(edits)


class ShowAttendTellPanel(Panel):
    """The panel of Show, Attend and Tell."""

    def _set_up(self) -> None:
        self._wish, self._sent = Wish(), Wish()
        self._wishes: dict[str, Wish] = {}  # of the runs that are not in focus
        self._told: Mapping[str, Any] | None = None  # the engine's newest answer
        self._count = 0  # of the validation images
        self._vocabulary: tuple[str, ...] = ()
        self._is_busy = False  # a request of the hand is under way
        self._is_asking = False
        self._asked_step, self._ask_next = -1, 0.0
        self._marks: dict[int, tuple[str, str]] = {}  # of the words that were edited, by their places
        self._word = -1  # the chosen one; -1 before any was
        self._is_following = False  # the slider is fitted to a newer caption, which is no choice of the hand
        self._plays_once = False
        self._grabbed: tuple[str, int] | None = None  # the view and the word where the hand is
        self._held_back: Figure | None = None  # a picture that waits until the hand lets go
        super()._set_up()
        self.slider.set_frames_per_second(WORDS_PER_SECOND)
        self.slider.playing_changed.connect(self._on_slider_playing_changed)
        for name in ("overlay", "gaze"):
            view = self.view(name)
            view.set_tool("paint")
            view.radius_changed.connect(self._on_view_radius_changed)
            view.canvas.installEventFilter(self)
        overlay, gaze = self.view("overlay"), self.view("gaze")
        overlay.stroke_started.connect(self._on_overlay_stroke_started)
        overlay.stroke_moved.connect(self._on_overlay_stroke_moved)
        overlay.stroke_finished.connect(self._on_stroke_finished)
        overlay.frame_changed.connect(self._on_overlay_frame_changed)
        gaze.stroke_started.connect(self._on_gaze_stroke_started)
        gaze.stroke_moved.connect(self._on_gaze_stroke_moved)
        gaze.stroke_finished.connect(self._on_stroke_finished)
        for name, chosen in (("strip", self._on_strip_point_picked), ("gate", self._on_gate_point_picked)):
            self.view(name).set_tool("point")
            self.view(name).point_picked.connect(chosen)
        self._show_told()

    # --- the strip of tools  ----------

    def make_tools(self, parent: QWidget) -> QWidget:
        tools = QWidget(parent)
        both = QVBoxLayout(tools)
        both.setContentsMargins(12, 6, 12, 0)
        both.setSpacing(2)
        for make in (self._make_picture_tools, self._make_word_tools):
            layout = QHBoxLayout()
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(4)
            make(tools, layout)
            both.addLayout(layout)
        return tools

    def _make_picture_tools(self, tools: QWidget, layout: QHBoxLayout) -> None:
        self._image_label = QLabel("Image", tools)
        self._image_label.setProperty("role", "muted")
        self._previous = self.tool_button(tools, "Previous", "chevron-left", "Previous validation image")
        self._previous.clicked.connect(self._on_previous_clicked)
        self._number = QSpinBox(tools)
        self._number.setAccessibleName("Number of the validation image")
        self._number.setToolTip("Number of the validation image whose caption is shown")
        self._number.setKeyboardTracking(False)
        self._number.setWrapping(True)
        self._number.setSpecialValueText("own picture")
        self._number.setFixedWidth(124)
        self._number.valueChanged.connect(self._on_number_value_changed)
        self._image_label.setBuddy(self._number)
        self._next = self.tool_button(tools, "Next", "chevron-right", "Next validation image")
        self._next.clicked.connect(self._on_next_clicked)
        self._random = self.tool_button(tools, "Random", "shuffle", "Any other validation image")
        self._random.clicked.connect(self._on_random_clicked)
        self._open = self.tool_button(
            tools, "Open picture…", "folder", "Caption a picture of your own; or drop its file here"
        )
        self._open.clicked.connect(self._on_open_clicked)
        for button in (self._previous, self._next):
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
            button.setAccessibleName(button.toolTip())
        self._spread_label = QLabel("Gaze", tools)
        self._spread_label.setProperty("role", "muted")
        self._spread = QSlider(Qt.Orientation.Horizontal, tools)
        self._spread.setRange(0, 50)
        self._spread.setFixedWidth(72)
        self._spread.setAccessibleName("Width of the gaze that is put down")
        self._spread.setToolTip(
            "How wide the gaze is that you put down: at the left end one cell; also with the keys [ and ] over the picture"
        )
        self._spread.valueChanged.connect(self._on_spread_value_changed)
        for widget in (self._image_label, self._previous, self._number, self._next, self._random, self._open):
            layout.addWidget(widget)
        layout.addStretch(1)
        layout.addWidget(self._spread_label)
        layout.addWidget(self._spread)

    def _make_word_tools(self, tools: QWidget, layout: QHBoxLayout) -> None:
        self.words = WordBar(tools)
        self.words.setAccessibleName("Words of the caption")
        self.words.setAccessibleDescription(
            "Arrow keys choose a word, with Shift they move the gaze at it; Enter replaces it, Delete takes an edit back."
        )
        self.words.setToolTip(
            "Choose a word; Shift with the arrow keys moves the gaze at it, Enter or a double click replaces it"
        )
        self.words.word_chosen.connect(self._on_words_word_chosen)
        self.words.change_requested.connect(self._on_words_change_requested)
        self.words.unmark_requested.connect(self._on_words_unmark_requested)
        self.words.nudged.connect(self._on_words_nudged)
        self._field = QLineEdit(tools)
        self._field.setFixedWidth(LONG_FIELD)
        self._field.setClearButtonEnabled(True)
        self._field.setAccessibleName("Word to put in place of the chosen one")
        self._field.setToolTip(
            "Another word in place of the chosen one: all after it is decoded anew. <end> ends the caption."
        )
        self._completer = QCompleter(QStringListModel(self), self)
        self._completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self._completer.setMaxVisibleItems(12)
        self._field.setCompleter(self._completer)
        self._field.returnPressed.connect(self._on_field_entered)
        # Queued, so that the field has the word by then.
        self._completer.activated.connect(self._on_field_entered, Qt.ConnectionType.QueuedConnection)
        self._field.installEventFilter(self)
        self._clear = self.tool_button(
            tools, "Clear edits", "undo", "Take back all edits: show the caption as the model writes it"
        )
        self._clear.clicked.connect(self._on_clear_clicked)
        layout.addWidget(self.words, 1)
        layout.addWidget(self._field)
        layout.addWidget(self._clear)

    def _fit_tools(self) -> None:
        """Leave the words of buttons away where there is no room for them."""
        if self.tools is None:
            return
        words, icons = (
            Qt.ToolButtonStyle.ToolButtonTextBesideIcon,
            Qt.ToolButtonStyle.ToolButtonIconOnly,
        )
        for button in (self._random, self._open, self._clear):
            button.setToolButtonStyle(words)
        fixed = (self._image_label, self._previous, self._number, self._next, self._spread_label)
        room = (
            self.width() - 24 - sum(widget.sizeHint().width() + 4 for widget in fixed) - self._spread.width()
        )
        for button in (self._random, self._open):
            if self._random.sizeHint().width() + self._open.sizeHint().width() + 24 > room:
                button.setToolButtonStyle(icons)
        if self.width() < 640:
            self._clear.setToolButtonStyle(icons)
        self._field.setFixedWidth(LONG_FIELD if self.width() >= 640 else 110)
        self._show_word()

    def _update_tools(self) -> None:
        """Enable what can be answered."""
        is_alive = self.started is not None and self.state in ("running", "paused")
        for widget in (self._previous, self._number, self._next, self._random):
            widget.setEnabled(is_alive and self._count > 0)
        self._spread.setEnabled(is_alive)
        has_words = is_alive and bool(self.words.words)
        self.words.setEnabled(has_words)
        self._field.setEnabled(has_words)
        self._clear.setEnabled(is_alive and bool(self._wish.edits))

    def _show_told(self) -> None:
        """Bring the strip up to the caption as it stands."""
        wish = self._wish
        blocked = self._number.blockSignals(True)
        own = wish.own is not None
        self._number.setRange(0 if own or not self._count else 1, max(self._count, 1))
        self._number.setSpecialValueText("own picture" if own else "–" if not self._count else "")
        self._number.setSuffix(f" of {self._count:,}" if self._count else "")
        self._number.setValue(0 if own or not self._count else wish.image + 1)
        self._number.blockSignals(blocked)
        marks: dict[int, tuple[str, str]] = {}
        for edit in wish.edits:
            both = edit.place in marks
            name = "pencil" if edit.word else "eye"
            what = "Word put in by you" if edit.word else "Gaze moved by you"
            marks[edit.place] = (name, "Gaze and word changed by you" if both else what)
        self._marks = marks
        self._show_words()
        self._update_tools()

    def _film_words(self) -> tuple[str, ...] | None:
        """The words of the overlay; None where it is not in sight or empty."""
        film = self.view("overlay").figure if self.is_in_sight("overlay") else None
        if not isinstance(film, Film) or film.time.ticks is None:
            return None
        return tuple(word for _, word in film.time.ticks)

    def _show_words(self) -> None:
        """Bring the line of words up to the overlay, or to the engine's answer where that is not in sight.

        Picture and answer may be of different updates, and who reads the one beside the other would wonder.
        """
        words = self._film_words() if self._told is not None else ()
        if words is None and self._told is not None:
            words = self._told["new"]["words"]
        self.words.set_words(words or (), self._marks)
        if self._word >= 0:
            self.words.choose(self._word)
        self._show_word()

    def _show_word(self) -> None:
        """Say which word the field would replace."""
        place = self.words.currentIndex()
        word = self.words.words[place] if 0 <= place < len(self.words.words) else ""
        # What does not fit would be cut off.
        is_long = self._field.width() < LONG_FIELD or len(word) > 8
        self._field.setPlaceholderText(f"{word} → other word" if word and not is_long else "→ other word")

    # --- arranging  ----------

    def _views_kind(self, values: Mapping[str, Any]) -> str:
        """Which views mean something: for drawn scenes, for soft or hard attention, and with a gate or without."""
        return "-".join((values["data"], values["attention"], "gate" if values["gate"] else "plain"))

    def _take_kind(self, started: m.Started) -> None:
        self._turn_to_kind(self._views_kind(started.values))

    def _turn_to_kind(self, kind: str) -> None:
        if kind != self.kind:
            self.kind = kind
            if not self._user_layout or self._arranged_for is None:
                self.ensure_arranged()
                return
            # Where the person has arranged the views, only what has no meaning any more goes, and what now has one comes.
            wanted = self._meaningful(kind)
            for name in ("rewards", "variance", "terms", "mass", "masses", "gate", "gates"):
                self.docks[name].setVisible(name in wanted)
            self._arranged_for = (kind, self._arranged_for[1])

    def _meaningful(self, kind: str) -> set[str]:
        """Views that mean something."""
        data, attention, gate = kind.split("-")
        left_out = {"terms"} if attention == "hard" else {"rewards", "variance"}
        if data != "scenes":
            left_out |= {"mass", "masses"}
        if gate != "gate":
            left_out |= {"gate", "gates"}
        return set(self.docks) - left_out

    def arrange(self, area: QMainWindow, kind: str, *, narrow: bool) -> None:
        if kind.count("-") != 2:
            kind = self._views_kind(self.settings().model_dump())
        known = self._meaningful(kind)

        def group(*names: str) -> list[str]:
            return [name for name in names if name in known]

        # The gate's bars stand below each other's words: they want the width that the strips have.
        above = group("strip", "gaze", "gate", "beam")
        about = group("coverage", "mass", "masses", "terms")
        learned = group("rewards", "variance")
        curves = group("bleu", "likelihood", "sharpness", "gates")
        upper = 4
        if narrow:
            # So many tabs that their words fit; and two rows of pictures need height.
            upper = 5
            above += group("coverage", "mass", "gates")
            rest = group("masses", "terms", "rewards", "variance", "bleu", "likelihood", "sharpness")
            self.place(area, [above], [["overlay", *rest]])
        elif area.width() < 900:
            self.place(area, [above], [["overlay"], [*about, *learned, *curves]])
            self._share(area, ["overlay", "coverage"], [2, 3])
        else:
            self.place(area, [above], [["overlay"], [*about, *learned], curves])
            self._share(area, ["overlay", "coverage", "bleu"], [28, 40, 32])
        height = max(area.height(), 10)
        docks = [self.docks["strip"], self.docks["overlay"]]
        area.resizeDocks(docks, [height * upper // 10, height * (10 - upper) // 10], Qt.Orientation.Vertical)

    def _share(self, area: QMainWindow, names: list[str], parts: list[int]) -> None:
        """Divide the width among the docks of a row."""
        widths = [max(area.width() * part // sum(parts), 1) for part in parts]
        area.resizeDocks([self.docks[name] for name in names], widths, Qt.Orientation.Horizontal)

    @Slot(str, object, str)
    def _on_form_change_requested(self, name: str, value: object, effect: str) -> None:
        super()._on_form_change_requested(name, value, effect)
        # The beam, the temperature and the like change the caption of a run that stands still, too.
        self._asked_step = -1
        if name == "attention" and self.started is not None:
            self._turn_to_kind(self._views_kind({**self.started.values, "attention": value}))

    # --- the film of words  ----------

    def shared_films(self) -> tuple[str, ...]:
        return ("overlay",)

    def _show_figure(self, name: str, view: FigureView, figure: Figure) -> None:
        if name == "gaze" and view.gestures.active and _plots(figure) != _plots(view.figure):
            # Another number of rows would take the picture from under the hand.
            self._held_back = figure
            return
        if name != "overlay" or not isinstance(figure, Film):
            super()._show_figure(name, view, figure)
            self._fit_brush(name)
            return
        if self._word < 0:
            self._word = figure.start
        self._is_following = True
        if not np.array_equal(self.times, figure.times):
            self.times = np.asarray(figure.times)
            self.slider.set_range(figure.times, figure.time)
        self.slider.set_index(self._word)
        self._is_following = False
        if self.slider.isHidden():
            self.slider.show()
        view.set_figure(figure)
        view.set_frame(self.slider.index)
        self._show_words()
        self._fit_brush(name)
        if not self._has_played and len(figure.frames) >= LONG_ENOUGH:
            # That the gaze moves with the words is seen in motion.
            self._has_played = self._plays_once = True
            self.slider.set_index(0)
            self.slider.set_playing(True)

    @Slot(int)
    def _on_slider_index_changed(self, index: int) -> None:
        super()._on_slider_index_changed(index)
        if self._is_following:
            return
        before, self._word = self._word, index
        self.words.choose(index)
        self._show_word()
        if self._plays_once and self.slider.playing and index == 0 and before >= len(self.times) - 1:
            film = self.view("overlay").figure
            self.slider.set_playing(False)
            self.slider.set_index(film.start if isinstance(film, Film) else 0)

    @Slot(bool)
    def _on_slider_playing_changed(self, playing: bool) -> None:
        if not playing:
            self._plays_once = False

    def play_films(self) -> None:
        super().play_films()
        self._plays_once = False

    @Slot(int)
    def _on_overlay_frame_changed(self, index: int) -> None:
        if not self._is_following:
            self.slider.set_index(index)

    @property
    def word(self) -> int:
        """The chosen word's place in the caption."""
        return max(self._word, 0)

    def choose_word(self, place: int) -> None:
        """Show where is looked at one word."""
        self.slider.set_playing(False)
        self._word = max(place, 0)
        self.words.choose(self._word)
        if place < len(self.times):
            self.slider.set_index(place)
        self._show_word()

    @Slot(int)
    def _on_words_word_chosen(self, place: int) -> None:
        self.choose_word(place)

    @Slot(float, float, int)
    def _on_strip_point_picked(self, x: float, y: float, plot: int) -> None:
        found = _located(self.view("strip"), x, y, plot)
        if found is not None:
            self.choose_word(found[0])

    @Slot(float, float, int)
    def _on_gate_point_picked(self, x: float, y: float, plot: int) -> None:
        self.choose_word(max(0, round(x)))

    # --- which picture  ----------

    @property
    def wish(self) -> Wish:
        """The picture and the edits that are wanted."""
        return self._wish

    @property
    def told(self) -> Mapping[str, Any] | None:
        """The caption as the engine said last."""
        return self._told

    def pick_image(self, index: int) -> None:
        """Caption a validation image, counted from 0 and wrapped around; edits are let go."""
        self._want(Wish(index % max(self._count, 1)))

    @Slot()
    def _on_previous_clicked(self) -> None:
        # From an own picture, either way leads back.
        self.pick_image(self._wish.image - (self._wish.own is None))

    @Slot()
    def _on_next_clicked(self) -> None:
        self.pick_image(self._wish.image + (self._wish.own is None))

    @Slot(int)
    def _on_number_value_changed(self, value: int) -> None:
        if value > 0:
            self.pick_image(value - 1)

    @Slot()
    def _on_random_clicked(self) -> None:
        others = [index for index in range(self._count) if index != self._wish.image]
        if others:
            self.pick_image(random.choice(others))

    @Slot()
    def _on_open_clicked(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a picture", str(Path.home()), FILES)
        if path:
            self.open_picture(Path(path))

    def take_file(self, path: Path) -> bool:
        if path.is_dir() or path.suffix.lower() in CAPTION_FILES:
            self.take_folder(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            self.open_picture(path)
        else:
            self.post(
                "error",
                f"{path.name} is neither a picture nor a folder of captioned pictures: drop a PNG, JPEG, BMP or WebP file, "
                "or a folder with a captions.txt.",
                key="picture",
            )
        return True

    def open_picture(self, path: Path) -> None:
        """Caption a picture of the person's own."""
        if self.session is None or self.state not in ("starting", "running", "paused"):
            self.post(
                "info", "There is no model yet that could caption it: press Train first.", key="picture"
            )
            return
        size = self._told["pixels"].shape[0] if self._told is not None else OWN_SIZE
        self.services.jobs.start(
            f"picture/{path}",
            lambda job: np.asarray(Pictures((path,), size)[0]),
            partial(self._take_picture, path),
        )

    def _take_picture(self, path: Path, future: Future[np.ndarray]) -> None:
        error = future.exception()
        if error is not None:
            # What the reader advises is about data sets.
            reason = error.__cause__ if isinstance(error, DataError) and error.__cause__ else error
            self.post(
                "error",
                f"{path.name} cannot be captioned ({reason}): choose a PNG, JPEG, BMP or WebP picture.",
                key="picture",
            )
            return
        self.messages_outdated.emit([f"{self.paper.id}/picture"])
        self._want(Wish(self._wish.image, future.result()))

    def take_folder(self, path: Path) -> None:
        """Make a folder of captioned pictures the data, from the next reset on."""
        seed = self.settings().seed
        self.post("info", f"Reading the captions in {path.name}…", key="folder")
        self.services.jobs.start(
            f"captions/{path}",
            lambda job: caption_folder(path, seed=seed),
            partial(self._take_folder_read, path),
        )

    def _take_folder_read(self, path: Path, future: Future[Any]) -> None:
        assert self.form is not None
        error = future.exception()
        try:
            if error is not None:
                raise error
            found = future.result()
            self.form.change({"data": "folder", "path": str(path)}, f"Data {path.name}")
        except InputError as told:
            self.post("error", str(told), key="folder")
            return
        except OSError as told:
            self.post(
                "error", f"{path} cannot be read ({told.strerror}): choose another folder.", key="folder"
            )
            return
        captions = sum(len(each) for each in found.captions)
        how = "Reset" if self.session is not None else "Train"
        notes = "".join(f" {note}" for note in found.notes)
        self.post(
            "warning" if notes else "info",
            f"{path.name}: {len(found):,} pictures with {captions:,} captions. Press {how} to train on them.{notes}",
            key="folder",
        )
        self.status_changed.emit()

    # --- grab the gaze  ----------

    def grab_gaze(self, place: int, across: float, down: float) -> None:
        """Look elsewhere at a word; the rest of the caption is decoded anew.

        Parameters
        ----------
        place : int
            Of the word in the caption as it stands, from 0.
        across, down : float
            Of the picture's width and height, from 0 to 1.
        """
        if self._told is None or place >= len(self._told["new"]["words"]):
            return
        rows, columns = self._told["grid"]
        cell = min(int(max(down, 0.0) * rows), rows - 1), min(int(max(across, 0.0) * columns), columns - 1)
        spread = self._spread.value() / 100
        if spread * min(rows, columns) <= 0.5:
            newest = self._wish.edits[-1] if self._wish.edits else None
            if newest is not None and newest.place == place and newest.cell == cell and not newest.word:
                return
            edit = Edit(place, cell=cell)
        else:
            y, x = (np.arange(rows) + 0.5) / rows - down, (np.arange(columns) + 0.5) / columns - across
            edit = Edit(place, weights=np.exp(-(y[:, None] ** 2 + x**2) / (2 * spread**2)))
        self._edit(edit)

    def replace_word(self, place: int, text: str) -> bool:
        """Put another word in the place of one; False, and a sentence, where the model does not know it."""
        if self._told is None or place >= len(self._told["new"]["words"]):
            return False
        known = text if text in self._vocabulary else text.lower()
        if known not in self._vocabulary:
            self.post(
                "error",
                f"The model does not know the word “{text[:40]}”: choose one of the {len(self._vocabulary):,} that are "
                "offered while you type.",
                key="word",
            )
            return False
        self.messages_outdated.emit([f"{self.paper.id}/word"])
        self._edit(Edit(place, known))
        return True

    def remove_edits(self, place: int) -> None:
        """Take back what was changed at one word; what was changed at later words is done again."""
        self._want(replace(self._wish, edits=tuple(edit for edit in self._wish.edits if edit.place != place)))

    def clear_edits(self) -> None:
        """Take back all edits."""
        self._want(replace(self._wish, edits=()))

    def _edit(self, edit: Edit) -> None:
        self.slider.set_playing(False)
        self._word = edit.place
        if not self._wish.edits and not self.is_in_sight("gaze") and not self.docks["gaze"].isHidden():
            # The old caption above the new one is what an edit is about.
            self.docks["gaze"].raise_()
        self._want(replace(self._wish, edits=added(self._wish.edits, edit)))

    @Slot(float, float, int)
    def _on_overlay_stroke_started(self, x: float, y: float, plot: int) -> None:
        self.slider.set_playing(False)
        self._grabbed = "overlay", self.view("overlay").frame
        self._grab_overlay(x, y)

    @Slot(float, float, float, float, int)
    def _on_overlay_stroke_moved(self, x0: float, y0: float, x1: float, y1: float, plot: int) -> None:
        self._grab_overlay(x1, y1)

    def _grab_overlay(self, x: float, y: float) -> None:
        grid = _grid(self.view("overlay"), 0)
        if grid is None or self._grabbed is None:
            return
        height, width = grid.images.shape[1:3]
        self.grab_gaze(self._grabbed[1], x / width, y / height)

    @Slot(float, float, int)
    def _on_gaze_stroke_started(self, x: float, y: float, plot: int) -> None:
        view = self.view("gaze")
        found = _located(view, x, y, plot)
        self._grabbed = None
        if found is None:
            return
        self.choose_word(found[0])
        if plot == _plots(view.figure) - 1:
            # The upper of two rows is the caption without edits.
            self._grabbed = "gaze", found[0]
            self._grab_in_row(x, y, plot)

    @Slot(float, float, float, float, int)
    def _on_gaze_stroke_moved(self, x0: float, y0: float, x1: float, y1: float, plot: int) -> None:
        if self._grabbed is not None:
            self._grab_in_row(x1, y1, plot)

    def _grab_in_row(self, x: float, y: float, plot: int) -> None:
        grid = _grid(self.view("gaze"), plot)
        if grid is None or self._grabbed is None:
            return
        height, width = grid.images.shape[1:3]
        left = self._grabbed[1] * (width + grid.gap)
        self.grab_gaze(self._grabbed[1], (x - left) / width, y / height)

    @Slot(int)
    def _on_stroke_finished(self, plot: int) -> None:
        self._grabbed = None
        held, self._held_back = self._held_back, None
        if held is not None:
            self._show_figure("gaze", self.view("gaze"), held)

    def _fit_brush(self, name: str) -> None:
        """Draw the rim of the gaze as large as what it puts down: at least one cell."""
        grid = _grid(self.view(name), 0) if name in ("overlay", "gaze") else None
        if grid is None or self._told is None:
            return
        share = max(self._spread.value() / 100, 0.5 / max(self._told["grid"]))
        self.view(name).set_brush_radius(share * max(grid.images.shape[1:3]))

    @Slot(int)
    def _on_spread_value_changed(self, value: int) -> None:
        for name in ("overlay", "gaze"):
            self._fit_brush(name)

    @Slot(float)
    def _on_view_radius_changed(self, radius: float) -> None:
        for name in ("overlay", "gaze"):
            view = self.view(name)
            grid = _grid(view, 0)
            if grid is not None and view.gestures.radius == radius:
                self._spread.setValue(round(100 * radius / max(grid.images.shape[1:3])))
                self._fit_brush(name)
                return

    @Slot(int, int)
    def _on_words_nudged(self, down: int, across: int) -> None:
        self.move_gaze(down, across)

    def move_gaze(self, down: int, across: int) -> None:
        """Move the gaze at the chosen word by so many cells, from where it is largest."""
        if self._told is None:
            return
        place = min(self.word, len(self._told["new"]["words"]) - 1)
        rows, columns = self._told["grid"]
        mine = [edit for edit in self._wish.edits if edit.place == place and edit.cell is not None]
        if mine and mine[-1].cell is not None:
            # Where it is wanted: the engine may still be on its way there.
            row, column = mine[-1].cell
        else:
            row, column = divmod(int(np.argmax(self._told["new"]["weights"][place])), columns)
        row, column = min(max(row + down, 0), rows - 1), min(max(column + across, 0), columns - 1)
        self.grab_gaze(place, (column + 0.5) / columns, (row + 0.5) / rows)

    @Slot(int)
    def _on_words_change_requested(self, place: int) -> None:
        self.choose_word(place)
        self._field.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self._field.selectAll()

    @Slot()
    def _on_field_entered(self) -> None:
        text = self._field.text().strip()
        place = self.words.currentIndex()
        if text and place >= 0 and self.replace_word(place, text):
            self._field.clear()
            self.words.setFocus(Qt.FocusReason.OtherFocusReason)

    @Slot(int)
    def _on_words_unmark_requested(self, place: int) -> None:
        self.remove_edits(place)

    @Slot()
    def _on_clear_clicked(self) -> None:
        self.clear_edits()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if watched is self._field:
                if event.key() == Qt.Key.Key_Escape:
                    self._field.clear()
                    self.words.setFocus(Qt.FocusReason.OtherFocusReason)
                    return True
            elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier and event.key() in _ARROWS:
                self.move_gaze(*_ARROWS[Qt.Key(event.key())])
                return True
        return super().eventFilter(watched, event)

    # --- requests, one at a time  ----------

    def _want(self, wish: Wish) -> None:
        if self.session is None or self.state not in ("starting", "running", "paused"):
            self.post("info", "There is no model yet that answers: press Train first.", key="act")
            self._show_told()
            return
        self._wish = wish
        self._show_told()
        if not self._is_busy:
            self._go_on()

    def _go_on(self) -> None:
        """Send the next request on the way to what is wanted."""
        while True:
            following = self._sent.towards(self._wish)
            if following is None:
                return
            count = len(self._told["new"]["words"]) if self._told is not None else 0
            action, after = following
            place = getattr(action, "word", 0)
            if place < count or not isinstance(action, GrabGaze | ReplaceWord):
                break
            # The caption has become shorter than the place of an edit that was made before.
            self._wish = replace(
                self._wish, edits=tuple(edit for edit in self._wish.edits if edit.place < count)
            )
        number = self.act(action)
        self._is_busy = number is not None
        if number is None:
            self._wish = self._sent
            self._show_told()
        else:
            self.await_answer(number, partial(self._take_acted, after))

    def _take_acted(self, after: Wish, run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run:
            return
        self._is_busy = False
        if answer.error:
            # What holds now is asked for below.
            self._wish = self._sent
            self._asked_step, self._ask_next = -1, 0.0
            self._show_told()
            return
        self._sent = after
        self._told = answer.payload
        self._go_on()
        if not self._is_busy:
            self._agree()
        self._show_told()

    def _keep_told(self) -> None:
        """Ask now and then how the caption stands."""
        session = self.session
        if session is None or self.started is None or self.state not in ("running", "paused"):
            return
        now = time.monotonic()
        if self._is_asking or self._is_busy or session.step == self._asked_step or now < self._ask_next:
            return
        seldom = self.state == "running" and self._film_words() is not None
        self._is_asking, self._ask_next = True, now + (ASK_SELDOM if seldom else ASK_EVERY)
        self._asked_step = session.step
        self.await_answer(session.act(GiveCaption()), self._take_told)

    def _take_told(self, run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run:
            return
        self._is_asking = False
        if answer.error or self._is_busy:
            return
        self._told = answer.payload
        self._agree()
        self._show_told()

    def _agree(self) -> None:
        """Take over what the engine says; the panel's own edits stay as they are where they are the same."""
        told = self._told
        assert told is not None
        own = None
        if told["own"]:
            own = self._wish.own if self._wish.own is not None else told["pixels"]
        self._wish = self._sent = Wish(told["image"], own, told_edits(told, self._wish.edits))

    def _ask_vocabulary(self) -> None:
        assert self.session is not None
        self.await_answer(self.session.act(GiveVocabulary()), self._take_vocabulary)

    def _take_vocabulary(self, run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run or answer.error:
            return
        self._vocabulary, self._count = tuple(answer.payload["words"]), int(answer.payload["images"])
        model = self._completer.model()
        assert isinstance(model, QStringListModel)
        model.setStringList(list(self._vocabulary))
        self._show_told()

    # --- the run  ----------

    def tick(self, *, in_sight: bool) -> None:
        super().tick(in_sight=in_sight)
        if in_sight and self.form is not None:
            self._keep_told()
            self._update_tools()

    def _focus(self, run: ActiveRun | None) -> None:
        before = self.run
        if before is not None:
            self._wishes[before.key] = self._wish
        super()._focus(run)
        # A run that goes on from another one has its edits, too; what does not hold is found out when it answers.
        wish = self._wishes.pop(run.key, self._wish) if run is not None else Wish()
        self._wish = self._sent = wish
        self._told, self._count, self._vocabulary = None, 0, ()
        self._is_busy = self._is_asking = False
        self._asked_step, self._ask_next = -1, 0.0
        self._held_back = self._grabbed = None
        if run is not None and run.started is not None and run.is_alive:
            self._ask_vocabulary()
        self._show_told()

    def _let_go(self, run: ActiveRun) -> None:
        super()._let_go(run)
        self._wishes.pop(run.key, None)

    def _send_hand(self) -> None:
        run = self.run
        if run is None or run.session.spec.resume is not None:
            return
        # A new model captions the same picture; edits of what another one wrote mean nothing to it.
        self._wish = self._sent = replace(self._wish, edits=())
        if self._wish.own is not None:
            run.after_start.append(m.Act(DropImage(self._wish.own)))
        elif self._wish.image:
            run.after_start.append(m.Act(PickImage(self._wish.image)))

    def _take_started(self, run: ActiveRun, started: m.Started) -> None:
        was_to_follow = bool(run.after_start)
        super()._take_started(run, started)
        if was_to_follow:
            # What was asked for before shows another image.
            self._version += 1
        if run is self.run:
            self._ask_vocabulary()


_ARROWS = {
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
}


def _plots(figure: Figure | None) -> int:
    return len(figure.plots) if isinstance(figure, Panels) else 0


def _grid(view: FigureView, plot: int) -> ImageGrid | None:
    """The pictures in one plot of what a view shows."""
    still = view.still
    plots = still.plots if isinstance(still, Panels) else (still,) if isinstance(still, Plot) else ()
    marks = plots[plot].marks if plot < len(plots) else ()
    return next((mark for mark in marks if isinstance(mark, ImageGrid)), None)


def _located(view: FigureView, x: float, y: float, plot: int) -> tuple[int, int, int] | None:
    """(picture, row, column) under a point of a plot of pictures."""
    grid = _grid(view, plot)
    return None if grid is None else grid.locate(x, y)


__all__ = ["Edit", "ShowAttendTellPanel", "Wish", "added", "told_edits"]
