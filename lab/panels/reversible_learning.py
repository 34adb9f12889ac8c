"""The reversible-learning panel: schedules under one slider, the film that runs backwards, drawn schedules; GUI thread.

The hand and the engine
-----------------------
A stroke on the schedule asks for a race with every move. Only one such request is under way at a time; when it is answered,
the newest wish follows it. What the hand has drawn is seen at once: it is laid over whatever picture of the race came last.
Every run has a hand of its own, which comes back with it: a run that goes on from a keyframe is asked what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QObject, Qt, Slot
from PySide6.QtGui import QAction, QActionGroup, QFocusEvent, QKeyEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMainWindow,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from engines.figures import Figure, Film, Lines, Panels, VectorField
from engines.method import Action
from engines.reversible_learning.config import (
    WITH_STEPS,
    ChooseLayer,
    ForgetSchedule,
    GiveHand,
    RaceSchedule,
    SetSchedule,
    TrySchedule,
    widths_of,
)
from lab.panels.active_run import ActiveRun
from lab.panels.panel import Panel
from lab.runs import messages as m
from widgets.eliding_label import ElidingLabel
from widgets.fields import ChoiceBox
from widgets.figure_view import FigureView
from widgets.look import set_style_property

POINTS = 200
"""Moments of a training at which the hand draws, at most."""

LOWEST, HIGHEST = 1e-6, 100.0
"""Step sizes that the hand can draw."""

NIB = 0.02
"""Radius of the pen in the units of the axes, where one unit is an iteration."""

BUMP, NUDGE = 1 / 16, 0.1
"""What an arrow key does to a schedule: so wide a part of it is moved by so much of log alpha."""

FOLLOWED = 0.3
"""How far log alpha goes at most when a drawn schedule follows the arrows."""

FILM_RATE, REST_SECONDS = 10.0, 1.5
"""Frames of a second of the film that runs backwards, and how long it stays where it ends."""

FLAT, LOW = ("schedule", "hypergradient", "film"), 260
"""Views whose plots stand in a single row where they are lower than this in pixels."""

IN_A_ROW = 4
"""Plots that have room in one."""

NARROW_PLOT = 260
"""Width in pixels of a plot of the film that has room for a title and a note beside it."""

SKIPPED = 4
"""Hypergradients in a row that are not trusted before it is told."""

COLUMNS = {"integers": (0, 1), "floats": (0, 2), "both": (0, 1, 2)}
"""Columns of the film that are shown."""

Layer = int | None
"""Whose schedule is drawn; None is all."""


@dataclass(frozen=True)
class Stroke:
    """What was drawn for a layer before the hand went on.

    Attributes
    ----------
    layer : Layer
    line : array (N,) or None
        log alpha; None where nothing was drawn.
    """

    layer: Layer
    line: np.ndarray | None


@dataclass
class Hand:
    """What a person has drawn in one run.

    Attributes
    ----------
    layer : Layer
        Whose schedule is in hand.
    lines : dict of array (N,)
        log alpha at evenly spaced moments, for each layer that was drawn.
    earlier : list of Stroke
        For undo.
    bend : array (T,) or None
        Derivative by the drawn schedule's logarithm.
    """

    layer: Layer = None
    lines: dict[Layer, np.ndarray] = field(default_factory=dict)
    earlier: list[Stroke] = field(default_factory=list)
    bend: np.ndarray | None = None

    @property
    def line(self) -> np.ndarray | None:
        """What is drawn for the layer in hand."""
        return self.lines.get(self.layer)


class ReversibleLearningPanel(Panel):
    """The panel of gradient-based hyperparameter optimisation through reversible learning."""

    def _set_up(self) -> None:
        self._hands: dict[str, Hand] = {}
        self._no_hand = Hand()
        self._viewed = ""  # the folder of the run that was only shown before one begins
        self._from: tuple[Hand, tuple[Any, ...]] | None = None  # what was in hand before a run begins
        self._handed: dict[
            str, tuple[Hand, tuple[Any, ...]]
        ] = {}  # the same of runs that have not started yet
        self._wishes: dict[str, Action] = {}  # the newest of each kind, the oldest first
        self._is_asking = False
        self._is_drawing = False  # a stroke is under way
        self._is_pressing = False  # arrow keys have moved the schedule and are not let go
        self._cursor = 0  # the moment at which arrow keys act
        self._by_keys = False  # it is keys that are used, and not the mouse
        self._whole: dict[str, Film] = {}  # films in sight as the engine gave them
        self._has_begun = False  # it has played by itself
        self._has_chosen = False  # the person has said which numbers it shows
        self._skipped, self._looked_at = (
            0,
            -1,
        )  # hypergradients in a row that were not trusted, and up to which step
        self._is_following = False  # views are brought to the slider's frame, which is no choice of the hand
        super()._set_up()
        for name in self.shared_films():
            self.view(name).frame_changed.connect(self._on_view_frame_changed)
        race = self.view("race")
        race.set_tool("paint")
        race.set_brush_radius(NIB)
        race.stroke_started.connect(self._on_race_stroke_started)
        race.stroke_moved.connect(self._on_race_stroke_moved)
        race.stroke_finished.connect(self._on_race_stroke_finished)
        race.canvas.installEventFilter(self)
        race.canvas.setToolTip(
            "Draw with the mouse. Keys: left and right go along, up and down bend the schedule there, with Shift all of it; "
            "Delete forgets it."
        )
        self._add_race_row()
        for name in FLAT:
            self.view(name).installEventFilter(self)
        film = self.view("film").slider
        film.set_frames_per_second(FILM_RATE)
        film.set_rest(REST_SECONDS)
        self._show_layers()
        self._update_tools()

    # --- the strip of tools  ----------

    def make_tools(self, parent: QWidget) -> QWidget:
        strip = QWidget(parent)
        # Its words go where there is no room for them, and must not keep the window wide.
        strip.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        layout = QHBoxLayout(strip)
        layout.setContentsMargins(12, 6, 12, 0)
        layout.setSpacing(4)
        self._back = self.tool_button(
            strip,
            "Run backwards",
            "rewind",
            "Play the film: training goes out, and back to the bits it began with",
        )
        self._back.clicked.connect(self._on_back_clicked)
        layout.addWidget(self._back)
        self._kinds = QActionGroup(strip)
        for name, text, tip in (
            (
                "integers",
                "Integers",
                "The film in exact integers: training un-trains to the very bits it began with",
            ),
            ("floats", "Floats", "The film in floats, undone by the formulas alone: it misses"),
            ("both", "Both", "Both beside each other"),
        ):
            action = QAction(text, strip)
            action.setData(name)
            action.setCheckable(True)
            action.setToolTip(tip)
            self._kinds.addAction(action)
            button = QToolButton(strip)
            button.setDefaultAction(action)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
            button.setAccessibleName(f"Film: {text}")
            layout.addWidget(button)
        self._kinds.actions()[0].setChecked(True)
        self._kinds.triggered.connect(self._on_kinds_triggered)
        layout.addStretch(1)
        self._draw_label = QLabel("Draw for", strip)
        self._draw_label.setProperty("role", "muted")
        self._layer_box = ChoiceBox(strip)
        self._layer_box.setAccessibleName("Layer whose schedule is drawn")
        self._layer_box.setToolTip(
            "Whose step sizes you draw; the other layers keep what they have learned. Each layer has a drawing of its own."
        )
        self._layer_box.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._layer_box.setFixedWidth(112)
        self._layer_box.activated.connect(self._on_layer_box_activated)
        self._draw_label.setBuddy(self._layer_box)
        self._follow = self.tool_button(
            strip,
            "Follow arrows",
            "chevron-up",
            "Bend your schedule a little as the hypergradient would, and race it again",
        )
        self._follow.clicked.connect(self._on_follow_clicked)
        self._undo = self.tool_button(strip, "Undo", "undo", "Take back the last stroke")
        self._undo.clicked.connect(self._on_undo_clicked)
        self._use = self.tool_button(
            strip,
            "Train on from it",
            "check",
            "Learn on from your schedule: it takes the place of the learned one",
        )
        self._use.clicked.connect(self._on_use_clicked)
        self._forget = self.tool_button(strip, "Forget", "trash", "Take your schedule out of the race")
        self._forget.clicked.connect(self._on_forget_clicked)
        self._draw_widgets: tuple[QWidget, ...] = (
            self._draw_label,
            self._layer_box,
            self._follow,
            self._undo,
            self._use,
            self._forget,
        )
        for widget in self._draw_widgets:
            layout.addWidget(widget)
        return strip

    def _add_race_row(self) -> None:
        """Below the race: how it ended, and a line for those who would rather type."""
        row = QWidget(self)
        layout = QHBoxLayout(row)
        layout.setContentsMargins(4, 0, 4, 0)
        layout.setSpacing(6)
        self._result = ElidingLabel("", row)
        self._result.setAccessibleName("How the race ended")
        layout.addWidget(self._result, 1)
        self._line = QLineEdit(row)
        self._line.setPlaceholderText("or type: 2, 1, 0.1")
        self._line.setAccessibleName("Step sizes of your schedule")
        self._line.setToolTip(
            "Step sizes from the first iteration to the last with commas between; one alone is constant. Enter races them."
        )
        self._line.setFixedWidth(136)
        self._line.returnPressed.connect(self._on_line_entered)
        self._line.textEdited.connect(self._on_line_edited)
        layout.addWidget(self._line)
        column = self.docks["race"].widget().layout()
        assert column is not None
        column.addWidget(row)

    def _fit_tools(self) -> None:
        """Leave the words of buttons away where there is no room for all of them, those first that icons say best."""
        if self.tools is None:
            return
        for button in self.tool_buttons:
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._draw_label.setVisible(not self._layer_box.isHidden())
        kinds = [
            button
            for button in self.tools.findChildren(QToolButton)
            if button.defaultAction() in self._kinds.actions()
        ]
        widgets = [self._back, *kinds, *self._draw_widgets]

        def is_too_wide() -> bool:
            widths = [
                widget.width() if widget is self._layer_box else widget.sizeHint().width()
                for widget in widgets
                if not widget.isHidden()
            ]
            return sum(widths) + 4 * len(widths) > self.width() - 28

        if is_too_wide():
            self._draw_label.hide()
        for button in (self._undo, self._forget, self._follow, self._use, self._back):
            if not is_too_wide():
                return
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)

    def _update_tools(self) -> None:
        """Bring the strip up to what is known of the run in focus."""
        draws = self.can_ask() and self._experiment() in WITH_STEPS
        hand = self.hand
        for widget in (self._draw_label, self._layer_box, self._line):
            widget.setEnabled(draws)
        self._follow.setEnabled(draws and hand.line is not None and hand.bend is not None)
        self._undo.setEnabled(draws and bool(hand.earlier))
        self._use.setEnabled(draws and hand.line is not None)
        self._forget.setEnabled(draws and hand.line is not None)
        self._back.setEnabled(self.can_ask())
        self._show_result()

    def _show_layers(self) -> None:
        """Let the list of layers be that of the run, and show the one in hand."""
        box, layers = self._layer_box, self._layers()
        if box.count() != 1 + layers and not box.view().isVisible():
            box.clear()
            box.addItem("All layers", None)
            for layer in range(layers):
                box.addItem(f"Layer {layer + 1}" + ", top" * (layer == layers - 1), layer)
        box.setCurrentIndex(0 if self.hand.layer is None else min(self.hand.layer + 1, box.count() - 1))
        is_offered = (self.kind or self._experiment()) in WITH_STEPS and layers > 0
        if box.isHidden() == is_offered:
            box.setVisible(is_offered)
            self._fit_tools()

    def _show_result(self) -> None:
        """Say in words how the race ended."""
        hand, losses = self.hand, self._losses()
        is_past = self.past.record is not None
        if not (self.can_ask() or is_past) or self._experiment() not in WITH_STEPS:
            text = ""
        elif "yours" not in losses and (is_past or hand.line is None):
            text = "" if is_past else "Draw on the schedule: it races the learned one."
        elif "yours" not in losses or (hand.line is None and not is_past):
            text = "Racing…"
        else:
            yours, learned = losses["yours"], losses["learned"]
            word = "ahead by" if yours < learned else "behind by"
            text = f"Yours {yours:.3g} nats, learned {learned:.3g}: {word} {abs(yours - learned):.2g}"
        if self.can_ask() and not is_past and self._is_cursor_shown():
            text = f"α of {self._iteration():,}: {math.exp(self._base()[self._cursor]):.3g}. {text}"
        self._result.setText(text)
        self._result.setToolTip(text)

    def _losses(self) -> dict[str, float]:
        """How the race in the picture ended, by the words of its legend."""
        figure = self.view("race").figure
        if not isinstance(figure, Panels):
            return {}
        ran = (mark for mark in figure.plots[1].marks if isinstance(mark, Lines) and len(mark.y))
        return {mark.label.partition(" ")[0]: float(mark.y[-1]) for mark in ran}

    # --- what the run is  ----------

    def _values(self) -> Mapping[str, Any]:
        """The settings of the run in focus; before there is one, those of the form."""
        if self.started is not None:
            return self.started.values
        return self.form.values().model_dump() if self.form is not None else {}

    def _experiment(self) -> str:
        return str(self._values().get("experiment", "schedules"))

    def _layers(self) -> int:
        """Layers that a schedule can be drawn for one by one."""
        values = self._values()
        if self._experiment() == "toy" or values.get("tie_layers"):
            return 0
        return len(widths_of(str(values.get("hidden", "")))) + 1

    def _shape(self) -> tuple[Any, ...]:
        """What must be the same so that a drawing fits another run."""
        values = self._values()
        return self._experiment(), values.get("inner_steps"), self._layers()

    def _points(self) -> int:
        return min(int(self._values().get("inner_steps", 2)), POINTS)

    def _moments(self) -> np.ndarray:
        """The iterations at which the hand draws, from 1."""
        return np.linspace(1.0, float(self._values().get("inner_steps", 2)), self._points())

    def _refuse(self) -> None:
        if self.started is not None:
            self.refuse("This experiment has no schedules to draw: choose the preset schedules.")
        else:
            self.refuse("There is no training yet that could race: press Train first.")

    # --- arranging  ----------

    def _take_kind(self, started: m.Started) -> None:
        """Show the views that fit the experiment."""
        kind = str(started.values["experiment"])
        if kind != self.kind:
            self.kind = kind
            self.ensure_arranged()

    def arrange(self, area: QMainWindow, kind: str, *, narrow: bool) -> None:
        kind = kind or self._experiment()
        for widget in self._draw_widgets:
            widget.setVisible(kind in WITH_STEPS)
        main = {
            "scales": "scales",
            "l2": "penalties",
            "data": "learned",
            "tasks": "sharing",
            "toy": "toy",
        }.get(kind, "schedule")
        back, draw = ["film", "reversal", "buffer"], ["race"] if kind in WITH_STEPS else []
        curves = ["curves", "meta", "norm"]
        if kind == "chaos":
            rows = [[["chaos"]], [["film", "buffer"], ["reversal", "norm"]]]
            if narrow:
                rows = [[["chaos"]], [["film", "reversal", "buffer", "norm"]]]
        elif kind in ("schedules", "toy"):
            learned = ["toy", "schedule"] if kind == "toy" else ["schedule"]
            bends = ["hypergradient", *(["scales"] if kind == "schedules" else [])]
            if narrow:
                rows = [[[*learned, *draw, *bends]], [[*back, *curves]]]
            elif area.width() < 1250:
                rows = [[learned, [*draw, *bends]], [back, curves]]
            else:
                rows = [[learned, draw], [back, bends, curves]]
        else:
            if narrow:
                rows = [[[main, *draw]], [[*back, *curves]]]
            else:
                below = [back, curves] if draw or kind == "tasks" else [["film", "buffer"], ["reversal"]]
                # Matrices of all layers beside each other want the width.
                rows = [[[main]] if kind == "tasks" else [[main], draw or curves], below]
        self.place_rows(area, rows)
        self.keep_tabs_whole()
        self._fit_tools()

    # --- the films  ----------

    def shared_films(self) -> tuple[str, ...]:
        return ("schedule", "curves", "hypergradient", "learned", "penalties", "sharing")

    def _show_figure(self, name: str, view: FigureView, figure: Figure) -> None:
        if name == "film" and isinstance(figure, Film):
            self._whole[name] = figure
            view.set_figure(self._fitted(chosen(figure, self.shown_kind()), view))
            if not self._has_begun:
                # That training runs backwards is seen in motion.
                self._has_begun = True
                view.slider.set_index(0)
                view.slider.set_playing(True)
        elif name == "race" and isinstance(figure, Panels):
            line = self.hand.line
            # A keyframe that is looked at has a drawing of its own.
            is_past = self.past.record is not None
            view.set_figure(figure if is_past else with_line(figure, self._moments(), line))
            self._show_cursor()
        elif name in self.shared_films() and isinstance(figure, Film) and len(figure.times):
            self._lead(figure)
            self._whole[name] = figure
            view.set_figure(self._fitted(figure, view))
            self._follow_slider(view)
        else:
            super()._show_figure(name, view, figure)

    def figure(self, name: str) -> Figure | None:
        """What a view shows, for export; a film has all its plots there, however little room the view has for them."""
        figure = super().figure(name)
        return self._whole.get(name, figure) if isinstance(figure, Film) else figure

    def _fitted(self, film: Film, view: FigureView) -> Film:
        """A film of panels with its plots in a single row where the view is wide and low, and short titles where narrow."""
        frame = film.frames[0] if film.frames else None
        if not isinstance(frame, Panels) or view not in [self.view(name) for name in FLAT]:
            return film
        count = len(frame.plots)
        is_low = view.height() < LOW and view.width() > 2 * view.height() and count <= IN_A_ROW
        columns = count if is_low else frame.columns
        is_narrow = columns > 2 and view.width() < columns * NARROW_PLOT
        if not (is_low or is_narrow):
            return film
        frames = (f for f in film.frames if isinstance(f, Panels))
        return replace(film, frames=tuple(_in_columns(f, columns) for f in frames))

    def _refit(self, name: str) -> None:
        """A view has another size, or shows other numbers: its plots may stand otherwise."""
        view, whole = self.view(name), self._whole.get(name)
        if whole is None or not isinstance(view.figure, Film):
            return
        fitted = self._fitted(chosen(whole, self.shown_kind()) if name == "film" else whole, view)
        before, now = view.figure.frames[0], fitted.frames[0]
        if not isinstance(before, Panels) or not isinstance(now, Panels):
            return
        if (len(before.plots), before.columns) != (len(now.plots), now.columns) or name == "film":
            view.set_figure(fitted)

    def _lead(self, film: Film) -> None:
        """Let the slider reach as far as the newest film; it follows them from its end, or stays where it is held."""
        slider, known = self.slider, self.times
        is_past = self.past.record is not None
        if np.array_equal(known, film.times) or (len(known) and not is_past and film.times[-1] < known[-1]):
            return
        follows = not len(known) or (slider.index == len(known) - 1 and not slider.playing)
        index = film.start if follows else film.nearest(slider.time)
        self.times = np.asarray(film.times)
        slider.set_range(film.times, film.time)
        slider.set_index(index)
        slider.show()

    def _follow_slider(self, view: FigureView) -> None:
        """Show the frame that is nearest to the slider's: not every film is equally new."""
        if isinstance(view.figure, Film) and len(self.times):
            before, self._is_following = self._is_following, True
            view.set_frame(view.figure.nearest(self.slider.time))
            self._is_following = before

    @Slot(int)
    def _on_slider_index_changed(self, index: int) -> None:
        for name in self.shared_films():
            if self.is_in_sight(name):
                self._follow_slider(self.view(name))

    @Slot(int)
    def _on_view_frame_changed(self, index: int) -> None:
        """Arrow keys in a view choose the meta-iteration of all."""
        view = self.sender()
        figure = view.figure if isinstance(view, FigureView) else None
        if not self._is_following and isinstance(figure, Film) and len(self.times):
            self.slider.set_playing(False)
            self.slider.set_index(int(np.abs(self.times - figure.times[index]).argmin()))

    def shown_kind(self) -> str:
        """Which numbers the film shows: "integers", "floats" or "both"."""
        return str(self._kinds.checkedAction().data())

    @Slot(QAction)
    def _on_kinds_triggered(self, action: QAction) -> None:
        self._has_chosen = True
        self._refit("film")

    def _follow_numbers(self) -> None:
        """Show the film in the numbers that the run takes, unless the person has chosen."""
        assert self.form is not None
        wanted = "integers" if self.form.values().model_dump()["exact"] else "floats"
        if not self._has_chosen and self.shown_kind() != wanted:
            next(action for action in self._kinds.actions() if action.data() == wanted).setChecked(True)
            self._refit("film")

    def _tell_skipped(self) -> None:
        """Say why nothing is learned, where one hypergradient after the other is not trusted."""
        step = self.session.step if self.session is not None else 0
        if step == self._looked_at:
            return
        self._looked_at = step
        before = self._skipped
        self._skipped = self._skipped + 1 if self.history.latest().get("skipped") else 0
        if self._skipped == SKIPPED:
            exact = bool(self.form is not None and self.form.values().model_dump()["exact"])
            why = (
                "training has become chaotic: rewind, or begin with smaller step sizes"
                if exact
                else "in floats the way back misses the start: switch on 'Exact integers'"
            )
            self.post(
                "warning",
                f"The last hypergradients are longer than 'Distrust above', and nothing is learned from them; {why}.",
                key="skipped",
            )
        elif before >= SKIPPED and not self._skipped:
            self.messages_outdated.emit([f"{self.paper.id}/skipped"])

    @Slot()
    def _on_back_clicked(self) -> None:
        self.run_backwards()

    def run_backwards(self) -> None:
        """Play the film from its beginning."""
        self.docks["film"].show()
        self.docks["film"].raise_()
        slider = self.view("film").slider
        slider.set_index(0)
        slider.set_playing(True)

    # --- asking the engine  ----------

    @property
    def hand(self) -> Hand:
        """What is drawn in the run in focus."""
        return self._hands.setdefault(self.run.key, Hand()) if self.run is not None else self._no_hand

    def _ask_for(self, action: Action) -> bool:
        """Ask as soon as nothing else is under way; a newer wish takes the place of an older one of its kind."""
        if not self.can_ask() or self._experiment() not in WITH_STEPS:
            self._refuse()
            return False
        # What is raced, and what is learned on from, do not replace each other.
        self._wishes["use" if isinstance(action, SetSchedule) else "race"] = action
        if not self._is_asking:
            self._ask_wish()
        self._update_tools()
        return True

    def _ask_wish(self) -> None:
        if not self._wishes or self.run is None:
            return
        wish = self._wishes.pop(next(iter(self._wishes)))
        number = self.act_for(wish, ("race",))
        self._is_asking = number is not None
        if number is not None:
            self.await_answer(number, partial(self._take_answered, wish))

    def _take_answered(self, wish: Action, run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run:
            return
        self._is_asking = False
        hand = self.hand
        if isinstance(wish, RaceSchedule):
            is_meant = wish.layer == hand.layer and hand.line is not None
            if answer.error:
                # What is refused is not drawn; a stroke that is still under way may yet come back.
                if "race" not in self._wishes and not self._is_drawing and is_meant:
                    self._take_back()
            elif is_meant:
                hand.bend = np.asarray(answer.payload["bend"])
        self._ask_wish()
        self._update_tools()

    def _take_hand(self, run: ActiveRun, answer: m.Answer) -> None:
        """A run that goes on from a keyframe says what was drawn in it."""
        if answer.error:
            return
        told: Mapping[str, Any] = answer.payload
        hand = Hand(told["layer"])
        self._hands[run.key] = hand
        if told["alphas"] is not None:
            hand.lines[hand.layer] = np.log(np.array(told["alphas"], dtype=float))
        if run is self.run:
            self._show_hand()
            if hand.line is not None:
                # How it races now.
                self._ask_for(TrySchedule(tuple(told["alphas"]), hand.layer))

    def _show_hand(self) -> None:
        self._show_layers()
        self._show_drawing()
        self._update_tools()

    # --- drawing a schedule  ----------

    def _base(self) -> np.ndarray:
        """What a drawing begins from: the one there is, else the learned schedule."""
        hand = self.hand
        if hand.line is not None and len(hand.line) == self._points():
            return hand.line.copy()
        moments = self._moments()
        if hand.line is not None:
            old = np.linspace(moments[0], moments[-1], len(hand.line))
            return np.interp(moments, old, hand.line)
        still = self.view("race").still
        if isinstance(still, Panels):
            for mark in still.plots[0].marks:
                if isinstance(mark, Lines) and mark.label == "learned" and len(mark.x):
                    return np.interp(moments, mark.x, mark.y)
        return np.full(len(moments), math.log(float(self._values().get("alpha", 1.0))))

    def draw(self, line: np.ndarray, *, done: bool, remember: bool = True) -> None:
        """Draw this schedule for the layer in hand, and race it.

        Parameters
        ----------
        line : array (N,)
            log alpha at evenly spaced moments.
        done : bool
            Whether the hand has let go: it is noted on the run's record then.
        remember : bool
            Whether undo goes back to before.
        """
        hand = self.hand
        before = Stroke(hand.layer, hand.line)
        line = np.clip(line, math.log(LOWEST), math.log(HIGHEST))
        alphas = tuple(float(f"{value:.5g}") for value in np.exp(line))
        if not self._ask_for((RaceSchedule if done else TrySchedule)(alphas, hand.layer)):
            return
        if remember:
            hand.earlier.append(before)
        hand.lines[hand.layer] = line
        self._show_drawing()
        self._update_tools()

    def _show_drawing(self) -> None:
        """Lay what is drawn over the picture that there is; the engine's own follows."""
        view = self.view("race")
        if isinstance(view.figure, Panels) and self.past.record is None:
            view.set_figure(with_line(view.figure, self._moments(), self.hand.line))
        self._show_cursor()

    @Slot(float, float, int)
    def _on_race_stroke_started(self, x: float, y: float, plot: int) -> None:
        if plot != 0:
            return
        self._by_keys = False
        self._is_drawing = True
        self._stroke(x, y, x, y, begins=True)
        # Where there is nobody to answer nothing was drawn.
        self._is_drawing = self.hand.line is not None

    @Slot(float, float, float, float, int)
    def _on_race_stroke_moved(self, x0: float, y0: float, x1: float, y1: float, plot: int) -> None:
        if self._is_drawing:
            self._stroke(x0, y0, x1, y1)

    def _stroke(self, x0: float, y0: float, x1: float, y1: float, *, begins: bool = False) -> None:
        line = stroked(self._moments(), self._base(), (x0, y0), (x1, y1))
        self._cursor = int(np.abs(self._moments() - x1).argmin())
        self.draw(line, done=False, remember=begins)

    @Slot(int)
    def _on_race_stroke_finished(self, plot: int) -> None:
        self._finish_drawing()

    def _finish_drawing(self) -> None:
        """The hand lets go: what it has drawn is raced once more, for the record."""
        was_drawing, self._is_drawing = self._is_drawing, False
        line = self.hand.line
        if was_drawing and line is not None:
            self.draw(line, done=True, remember=False)

    def _take_back(self) -> None:
        """Go back to what was drawn before, without asking for it."""
        hand = self.hand
        before = hand.earlier.pop() if hand.earlier else Stroke(hand.layer, None)
        hand.layer = before.layer
        if before.line is None:
            hand.lines.pop(before.layer, None)
            hand.bend = None
        else:
            hand.lines[before.layer] = before.line
        self._show_hand()

    def undo_stroke(self) -> None:
        """Take back the last stroke."""
        if not self.hand.earlier:
            return
        self._take_back()
        self._race_again()

    def _race_again(self) -> None:
        """Let the engine have what is in hand."""
        hand = self.hand
        if hand.line is None:
            self._ask_for(ChooseLayer(hand.layer))
        else:
            self.draw(hand.line, done=True, remember=False)

    def choose_layer(self, layer: Layer) -> None:
        """Take a layer's schedule in hand; each has a drawing of its own."""
        hand = self.hand
        if layer == hand.layer:
            return
        if not self.can_ask():
            self._refuse()
            self._show_layers()
            return
        hand.layer, hand.bend = layer, None
        self._show_hand()
        self._race_again()

    def follow_arrows(self) -> None:
        """Bend the drawn schedule as the hypergradient would."""
        hand = self.hand
        if hand.line is None or hand.bend is None:
            return
        longest = float(np.abs(hand.bend).max())
        if not 0 < longest < math.inf:
            return
        moments = self._moments()
        iterations = np.arange(1, len(hand.bend) + 1)
        step = np.interp(moments, iterations, hand.bend) * (-FOLLOWED / longest)
        self.draw(self._base() + step, done=True)

    def use_schedule(self) -> None:
        """Learn on from the drawn schedule."""
        hand = self.hand
        if hand.line is not None:
            alphas = tuple(float(f"{value:.5g}") for value in np.exp(hand.line))
            if self._ask_for(SetSchedule(alphas, hand.layer)):
                self.post("info", "Learning goes on from your schedule.", key="schedule")

    def forget_schedule(self) -> None:
        """Take the drawn schedule out of the race."""
        hand = self.hand
        if hand.line is not None and self._ask_for(ForgetSchedule()):
            hand.earlier.append(Stroke(hand.layer, hand.lines.pop(hand.layer)))
            hand.bend = None
            self._show_hand()

    @Slot(int)
    def _on_layer_box_activated(self, index: int) -> None:
        self.choose_layer(self._layer_box.itemData(index))

    @Slot()
    def _on_follow_clicked(self) -> None:
        self.follow_arrows()

    @Slot()
    def _on_undo_clicked(self) -> None:
        self.undo_stroke()

    @Slot()
    def _on_use_clicked(self) -> None:
        self.use_schedule()

    @Slot()
    def _on_forget_clicked(self) -> None:
        self.forget_schedule()

    @Slot()
    def _on_line_entered(self) -> None:
        try:
            alphas = read_alphas(self._line.text())
        except ValueError as error:
            set_style_property(self._line, "state", "error")
            self.post("error", str(error), key="typed")
            return
        self._on_line_edited(self._line.text())
        typed = np.log(np.array(alphas))
        share = np.linspace(0.0, 1.0, self._points())
        self.draw(np.interp(share, np.linspace(0.0, 1.0, len(typed)), typed), done=True)

    @Slot(str)
    def _on_line_edited(self, text: str) -> None:
        set_style_property(self._line, "state", "")
        self.messages_outdated.emit([f"{self.paper.id}/typed"])

    # --- the keyboard on the schedule  ----------

    def _is_cursor_shown(self) -> bool:
        return self._by_keys and bool(self.view("race").canvas.hasFocus())

    def _iteration(self) -> int:
        """Where the arrow keys act, from 1."""
        return round(float(self._moments()[min(self._cursor, self._points() - 1)]))

    def _show_cursor(self) -> None:
        """Ring the point at which arrow keys act, while the keyboard is there."""
        view = self.view("race")
        if not view.areas or not isinstance(view.figure, Panels):
            return
        self._cursor = min(max(self._cursor, 0), self._points() - 1)
        point = None
        if self._is_cursor_shown() and self.can_ask() and self.past.record is None:
            point = float(self._moments()[self._cursor]), float(self._base()[self._cursor])
        view.areas[0].set_highlight(point)
        self._show_result()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind == QEvent.Type.Resize:
            for name in FLAT:
                if watched is self.view(name):
                    self._refit(name)
            return False
        if watched is not self.view("race").canvas:
            return False
        if kind in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            if isinstance(event, QFocusEvent):
                self._by_keys = event.reason() != Qt.FocusReason.MouseFocusReason
            if kind == QEvent.Type.FocusOut:
                self._release_keys()
            # Afterwards, when the canvas knows of it.
            self._show_cursor()
        elif kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            return self._press_key(event)
        elif kind == QEvent.Type.KeyRelease and isinstance(event, QKeyEvent) and not event.isAutoRepeat():
            self._release_keys()
        return False

    def _press_key(self, event: QKeyEvent) -> bool:
        """Act on a key in the picture of the race; False where it means nothing here."""
        key, modifiers = Qt.Key(event.key()), event.modifiers()
        shift = Qt.KeyboardModifier.ShiftModifier
        if modifiers & ~(shift | Qt.KeyboardModifier.KeypadModifier) or self._is_drawing:
            return False
        is_shifted = bool(modifiers & shift)
        self._by_keys = True
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            move = max(self._points() // 10, 1) if is_shifted else 1
            self._cursor += move if key == Qt.Key.Key_Right else -move
            self._show_cursor()
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            amount = NUDGE if key == Qt.Key.Key_Up else -NUDGE
            apart = (np.arange(self._points()) - self._cursor) / max(BUMP * self._points(), 0.5)
            shape = np.ones(self._points()) if is_shifted else np.exp(-0.5 * apart**2)
            begins, self._is_pressing = not self._is_pressing, True
            self.draw(self._base() + amount * shape, done=False, remember=begins)
        elif key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.forget_schedule()
        else:
            return False
        return True

    def _release_keys(self) -> None:
        """Keys are let go: what they have drawn is raced once more, for the record."""
        was_pressing, self._is_pressing = self._is_pressing, False
        line = self.hand.line
        if was_pressing and line is not None and self.can_ask():
            self.draw(line, done=True, remember=False)

    # --- runs  ----------

    def begin(self, **options: Any) -> None:
        self._from = (self.hand, self._shape()) if self.run is not None and self.started is not None else None
        self._viewed = str(self.viewing) if self.viewing is not None else ""
        super().begin(**options)
        self._from = None

    def _send_hand(self) -> None:
        if self.run is None or self._from is None:
            return
        resume = self.run.session.spec.resume
        # What was drawn in a run that is only shown is in none of its keyframes.
        if resume is None or (self._viewed and resume == self._viewed):
            self._handed[self.run.key] = self._from

    def _take_started(self, run: ActiveRun, started: m.Started) -> None:
        super()._take_started(run, started)
        handed = self._handed.pop(run.key, None)
        resumes = run.session.spec.resume is not None
        if handed is not None and run is self.run and handed[1] == self._shape():
            before = handed[0]
            if resumes or before.lines:
                # The same kind of training: what was drawn races there, too.
                self._hands[run.key] = Hand(before.layer, dict(before.lines), list(before.earlier))
                self._race_again()
        elif resumes:
            self.await_answer(run.session.act(GiveHand()), self._take_hand, run)
        if run is self.run:
            self._show_hand()

    def tick(self, *, in_sight: bool) -> None:
        super().tick(in_sight=in_sight)
        if in_sight and self.form is not None:
            self._show_layers()
            self._follow_numbers()
            self._tell_skipped()
            self._update_tools()

    def _focus(self, run: ActiveRun | None) -> None:
        super()._focus(run)
        self._wishes.clear()
        self._is_asking = self._is_drawing = self._is_pressing = False
        self._whole.clear()
        self._skipped, self._looked_at = 0, -1
        self.messages_outdated.emit([f"{self.paper.id}/skipped"])
        self.times = np.zeros(0)
        self.slider.hide()
        self._show_hand()

    def _let_go(self, run: ActiveRun) -> None:
        super()._let_go(run)
        self._hands.pop(run.key, None)
        self._handed.pop(run.key, None)


def chosen(film: Film, kind: str) -> Film:
    """The film that runs backwards with the chosen kind of numbers alone."""
    columns = COLUMNS[kind]
    frames = []
    for frame in film.frames:
        assert isinstance(frame, Panels)
        plots = tuple(plot for index, plot in enumerate(frame.plots) if index % frame.columns in columns)
        frames.append(replace(frame, plots=plots, columns=len(columns)))
    return replace(film, frames=tuple(frames))


def _in_columns(panels: Panels, columns: int) -> Panels:
    """Plots in narrow columns; a note that there is stands in the place of the title, as there is no room for both."""
    plots = tuple(replace(plot, title="" if plot.note else plot.title) for plot in panels.plots)
    return replace(panels, plots=plots, columns=columns)


def with_line(figure: Panels, moments: np.ndarray, line: np.ndarray | None) -> Panels:
    """The picture of a race with a drawn schedule in it that the engine may not know of yet.

    Parameters
    ----------
    figure : Panels
    moments : array (N,)
        Iterations at which it is drawn, from 1.
    line : array (N,) or None
        log alpha; None takes a drawn one out.
    """
    plot = figure.plots[0]
    known = next((mark for mark in plot.marks if isinstance(mark, Lines) and mark.role == "hand"), None)
    if line is None:
        if known is None:
            return figure
        marks = tuple(mark for mark in plot.marks if mark.role != "hand")
        return replace(figure, plots=(replace(plot, marks=marks), *figure.plots[1:]))
    at = np.linspace(moments[0], moments[-1], len(line))
    if known is not None and np.allclose(np.interp(known.x, at, line), known.y, atol=1e-3):
        return figure
    # Arrows of another schedule would mislead.
    others = tuple(mark for mark in plot.marks if mark is not known and not isinstance(mark, VectorField))
    mine = Lines(at, line.copy(), label="yours", role="hand", width=2.0)
    arrows = VectorField(*(np.zeros(0) for _ in range(4)), role="hand")
    return replace(figure, plots=(replace(plot, marks=(*others, mine, arrows)), *figure.plots[1:]))


def stroked(
    moments: np.ndarray, line: np.ndarray, start: tuple[float, float], end: tuple[float, float]
) -> np.ndarray:
    """A line (N,) over moments (N,) after a stroke from (x, y) to (x, y); the moment nearest to its end in any case."""
    line = line.copy()
    (x0, y0), (x1, y1) = sorted((start, end))
    inside = (moments >= x0) & (moments <= x1)
    if x1 > x0:
        line[inside] = np.interp(moments[inside], (x0, x1), (y0, y1))
    line[int(np.abs(moments - end[0]).argmin())] = end[1]
    return line


def read_alphas(text: str) -> tuple[float, ...]:
    """Step sizes from "2, 1, 0.1".

    Raises
    ------
    ValueError
        One sentence that says what is wrong.
    """
    try:
        alphas = tuple(float(part) for part in text.split(","))
    except ValueError:
        alphas = ()
    if not alphas or not all(LOWEST <= alpha <= HIGHEST for alpha in alphas):
        shown = text.strip()[:40]
        raise ValueError(
            f"'{shown}' is no schedule: write step sizes from {LOWEST:g} to {HIGHEST:g} with commas between, for example "
            "2, 1, 0.1."
        )
    return alphas


__all__ = ["Hand", "ReversibleLearningPanel", "chosen", "read_alphas", "stroked", "with_line"]
