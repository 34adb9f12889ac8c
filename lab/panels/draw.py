"""The DRAW panel: drawings under one time slider, the brush in a person's hand, fans of endings, the probe; GUI thread.

The hand and the engine
-----------------------
A drag asks the engine for a new drawing with every move. Only one such request is under way at a time; when it is answered,
the newest wish follows it, so that a drag never runs ahead of the pictures. Every run has a hand of its own, which comes back
with it: a run that goes on from a keyframe is asked what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QAction, QActionGroup, QWheelEvent
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QSizePolicy,
    QSlider,
    QToolButton,
    QWidget,
)

from engines.data.image_folder import IMAGE_SUFFIXES, decode
from engines.draw.config import (
    FanOut,
    GiveHand,
    HoldBrush,
    LetGo,
    OwnImage,
    PickImage,
    Probe,
)
from engines.figures import Boxes, Figure, Film, ImageGrid, Panels
from engines.method import Action
from lab.panels.active_run import ActiveRun
from lab.panels.panel import Panel
from lab.runs import messages as m
from widgets.fields import ChoiceBox
from widgets.figure_view import FigureView
from widgets.gestures import Tool
from widgets.icons import set_icon

Subject = tuple[Literal["sample", "picture"], int]
"""Whose drawing is in hand: a sample of the grid, or the picked picture."""

ENDINGS = 12

FILM_SECONDS, REST_SECONDS = 3.0, 1.2
"""How long a drawing takes on the screen, and how long it is then looked at."""

WHEEL = 1.1
"""Factor of one notch of the wheel."""

THINNEST, THICKEST = 0.75, 6.0
"""Lines of the engine's boxes: so much and a point more for each pixel of sigma, up to the thickest."""

SMALLEST, LARGEST = 0.05, 200.0
"""Stride and width, pixels, to which the hand takes a window."""

FILES = "Pictures (" + " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES) + ")"

LONGEST_SIDE = 1024
"""Pixels; a larger picture of one's own is made smaller before it goes to the engine, whose canvases have fewer by far."""

NO_MODEL = "There is no model yet that could answer the hand: press Train first."


@dataclass
class Hand:
    """What a person holds in one run.

    Attributes
    ----------
    brush : HoldBrush or None
        What was asked for last.
    earlier : list of HoldBrush or None
        What was held before each gesture, for undo.
    subject : Subject
    fan : FanOut or None
    probe : Probe or None
    image : int
    own : array or None
    """

    brush: HoldBrush | None = None
    earlier: list[HoldBrush | None] = field(default_factory=list)
    subject: Subject = ("sample", 0)
    fan: FanOut | None = None
    probe: Probe | None = None
    image: int = 0
    own: np.ndarray | None = None


@dataclass
class Drag:
    """A gesture under way in a drawing.

    Attributes
    ----------
    subject : Subject
    step : int
        t of 1 .. T.
    corner : (float, float)
        Of the picture in its grid, axis units.
    size : (int, int)
        Height and width of the picture.
    pick : int
        How many held-out pictures further the one lies that is to be picked.
    box, window : tuple of float
        As they were taken.
    is_another : bool
        Whether another drawing was in hand before.
    has_moved : bool
    """

    subject: Subject
    step: int
    corner: tuple[float, float]
    size: tuple[int, int]
    pick: int = 0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    window: tuple[float, float, float, float] | None = None
    is_another: bool = False
    has_moved: bool = False


class NumberField(QDoubleSpinBox):
    """A number that the wheel turns only while it has the focus."""

    def __init__(self, parent: QWidget, low: float, high: float, decimals: int, step: float) -> None:
        super().__init__(parent)
        self.setDecimals(decimals)
        self.setRange(low, high)
        self.setSingleStep(step)
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFixedWidth(72)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class DrawPanel(Panel):
    """The panel of DRAW."""

    def _set_up(self) -> None:
        self._hands: dict[str, Hand] = {}
        self._no_hand = Hand()
        self._from: tuple[Hand, str] | None = None  # what was in hand before a run begins, and its data
        self._handed: dict[str, tuple[Hand, str]] = {}  # the same of runs that have not started yet
        self._drag: Drag | None = None
        self._probe_start: tuple[Probe, tuple[float, float, float, float]] | None = None
        self._wishes: dict[str, Action] = {}
        self._is_asking = False
        self._is_following = False  # views are brought to the slider's step, which is no choice of the hand
        super()._set_up()
        for name in self.shared_films():
            self.view(name).frame_changed.connect(self._on_view_frame_changed)
        for name in ("canvas", "held"):
            view = self.view(name)
            view.box_grabbed.connect(self._on_box_grabbed)
            view.box_dragged.connect(self._on_box_dragged)
            view.box_finished.connect(self._on_gesture_finished)
            view.box_wheel_turned.connect(self._on_held_wheel_turned)
            view.stroke_started.connect(self._on_stroke_started)
            view.stroke_moved.connect(self._on_stroke_moved)
            view.stroke_finished.connect(self._on_gesture_finished)
            view.radius_changed.connect(self._on_radius_changed)
        self.view("canvas").set_box_plots(1, 2)
        self.view("held").set_box_plots(1)
        self.view("samples").point_picked.connect(self._on_samples_point_picked)
        self.view("samples").set_tool("point")
        self.view("fan").point_picked.connect(self._on_fan_point_picked)
        self.view("fan").set_tool("point")
        probe = self.view("probe")
        probe.box_grabbed.connect(self._on_probe_box_grabbed)
        probe.box_dragged.connect(self._on_probe_box_dragged)
        probe.box_wheel_turned.connect(self._on_probe_wheel_turned)
        probe.set_tool("box")
        probe.set_box_plots(0)
        self._add_probe_numbers()
        self.slider.set_rest(REST_SECONDS)
        self._set_tool("box")
        self._show_subjects()
        self._update_tools()

    # --- the strip of tools  ----------

    def make_tools(self, parent: QWidget) -> QWidget:
        strip = QWidget(parent)
        # Its words go where there is no room for them, and must not keep the window wide.
        strip.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        layout = QHBoxLayout(strip)
        layout.setContentsMargins(12, 6, 12, 0)
        layout.setSpacing(4)
        self._hold_label = QLabel("Hold the brush", strip)
        self._hold_label.setProperty("role", "muted")
        layout.addWidget(self._hold_label)
        self._subject_box = ChoiceBox(strip)
        self._subject_box.setAccessibleName("Drawing in hand")
        self._subject_box.setToolTip(
            "Whose drawing you hold: a sample, or the picked picture that is drawn again. Click one in 'Samples', too."
        )
        self._subject_box.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._subject_box.setFixedWidth(118)
        self._subject_box.activated.connect(self._on_subject_box_activated)
        layout.addWidget(self._subject_box)
        self._tools = QActionGroup(strip)
        self._hold_widgets: list[QWidget] = [self._hold_label, self._subject_box]
        for name, text, icon_name, tip in (
            (
                "box",
                "Window",
                "window",
                "Drag the writing window (Shift+arrows) or its corner ([ and ]); the wheel: stride, Shift and wheel: width",
            ),
            (
                "paint",
                "Paint",
                "brush",
                "Put ink on the canvas at the slider's step; Shift+arrows move the brush, [ and ] size it, Enter paints",
            ),
            (
                "erase",
                "Erase",
                "eraser",
                "Take ink away from the canvas at the slider's step; with the keys of Paint",
            ),
            ("look", "Look", "eye", "Move and zoom pictures, and leave drawings alone"),
        ):
            action = QAction(text, strip)
            action.setData(name)
            action.setCheckable(True)
            action.setToolTip(tip)
            self._tools.addAction(action)
            button = QToolButton(strip)
            button.setDefaultAction(action)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            set_icon(action, icon_name, self.services.themes)
            self.tool_buttons.append(button)
            self._hold_widgets.append(button)
            layout.addWidget(button)
        self._tools.actions()[0].setChecked(True)
        self._tools.triggered.connect(self._on_tools_triggered)
        self._brush_size = QSlider(Qt.Orientation.Horizontal, strip)
        self._brush_size.setRange(2, 30)
        self._brush_size.setValue(8)
        self._brush_size.setFixedWidth(64)
        self._brush_size.setToolTip("Radius of the brush, in hundredths of the picture's width")
        self._brush_size.setAccessibleName("Radius of the brush")
        self._brush_size.valueChanged.connect(self._on_brush_size_value_changed)
        layout.addWidget(self._brush_size)
        self._keep = self.tool_button(
            strip, "Keep holding", "pin", "Hold the window until the last step, and not for one step alone"
        )
        self._keep.setCheckable(True)
        self._keep.toggled.connect(self._on_keep_toggled)
        self._undo = self.tool_button(strip, "Undo", "undo", "Take back what the hand did last")
        self._undo.clicked.connect(self._on_undo_clicked)
        self._end = self.tool_button(
            strip, "Let go", "live", "Give the brush back: the drawing is the model's again"
        )
        self._end.clicked.connect(self._on_end_clicked)
        self._fan = self.tool_button(
            strip,
            "Fan out",
            "fork",
            "Draw z of the slider's step anew, many times: the endings of one beginning",
        )
        self._fan.clicked.connect(self._on_fan_clicked)
        self._anew = self.tool_button(strip, "Draw anew", "reset", "Other endings from the same step")
        self._anew.clicked.connect(self._on_anew_clicked)
        for button in (self._keep, self._undo, self._end, self._fan, self._anew):
            self._hold_widgets.append(button)
            layout.addWidget(button)
        self._hold_widgets.append(self._brush_size)
        layout.addStretch(1)
        self._next = self.tool_button(
            strip,
            "Next picture",
            "chevron-right",
            "Draw the next held-out picture again, and lay it under the probe",
        )
        self._next.clicked.connect(self._on_next_clicked)
        self._own = self.tool_button(
            strip, "Own picture…", "folder", "Take a picture of yours in its place; or drop its file here"
        )
        self._own.clicked.connect(self._on_own_clicked)
        layout.addWidget(self._next)
        layout.addWidget(self._own)
        return strip

    def _add_probe_numbers(self) -> None:
        """A row of numbers below the probe's pictures: what the mouse does there, exactly."""
        row = QWidget(self)
        layout = QHBoxLayout(row)
        layout.setContentsMargins(4, 0, 4, 0)
        layout.setSpacing(4)
        self._probe_fields: dict[str, NumberField] = {}
        for name, label, tip, low, high, decimals, step in (
            ("n", "N", "Filters per side of the grid", 1.0, 64.0, 0, 1.0),
            (
                "delta",
                "δ",
                "Stride of the grid in pixels; turn the wheel over the picture",
                SMALLEST,
                LARGEST,
                2,
                0.1,
            ),
            (
                "sigma",
                "σ",
                "Width of the filters in pixels; turn the wheel with Shift held",
                SMALLEST,
                LARGEST,
                2,
                0.1,
            ),
        ):
            words = QLabel(label, row)
            words.setProperty("role", "muted")
            words.setToolTip(tip)
            number = NumberField(row, low, high, decimals, step)
            number.setToolTip(tip)
            number.setAccessibleName(tip.partition(";")[0])
            number.valueChanged.connect(self._on_probe_field_changed)
            words.setBuddy(number)
            self._probe_fields[name] = number
            layout.addWidget(words)
            layout.addWidget(number)
        self._whole = QToolButton(row)
        self._whole.setText("Whole picture")
        self._whole.setToolTip("Lay the grid over the whole picture again")
        self._whole.clicked.connect(self._on_whole_clicked)
        layout.addWidget(self._whole)
        words = QLabel("Drag the box", row)
        words.setProperty("role", "muted")
        # It goes where there is no room for it, and must not keep the view wide.
        words.setMinimumWidth(0)
        words.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout.addSpacing(4)
        layout.addWidget(words, 1)
        column = self.docks["probe"].widget().layout()
        assert column is not None
        column.addWidget(row)

    def _fit_tools(self) -> None:
        """Leave the words of buttons away where there is no room for all of them, those first that icons say best."""
        if self.tools is None:
            return
        for button in self.tool_buttons:
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._hold_label.setVisible(not self._subject_box.isHidden())
        others = [w for w in (self._hold_label, self._subject_box, self._brush_size) if not w.isHidden()]
        shown = [button for button in self.tool_buttons if not button.isHidden()]
        window, paint, erase, look = (b for b in self.tool_buttons if b.defaultAction() is not None)

        def is_too_wide() -> bool:
            widths = [button.sizeHint().width() for button in shown]
            widths += [
                each.sizeHint().width() if each is self._hold_label else each.width()
                for each in others
                if not each.isHidden()
            ]
            return sum(widths) + 4 * len(widths) > self.width() - 28

        if is_too_wide():
            self._hold_label.hide()
        less = (self._undo, self._anew, look, self._keep, self._next, self._own)
        for button in (*less, erase, paint, self._end, window, self._fan):
            if not is_too_wide():
                return
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)

    def _update_tools(self) -> None:
        """Bring the strip up to what is known of the run in focus."""
        alive = self.can_ask()
        values = self.started.values if self.started is not None else {}
        draws = alive and values.get("task", "generate") == "generate"
        hand = self.hand
        for widget in self._hold_widgets:
            # Buttons of the tools follow their actions.
            if not isinstance(widget, QToolButton) or widget.defaultAction() is None:
                widget.setEnabled(draws)
        for action in self._tools.actions():
            has_window = action.data() != "box" or bool(values.get("attention", True))
            action.setEnabled(draws and has_window)
        self._undo.setEnabled(draws and bool(hand.earlier))
        self._end.setEnabled(draws and _does(hand.brush))
        self._anew.setEnabled(draws and hand.fan is not None)
        for widget in (self._next, self._own, *self._probe_fields.values(), self._whole):
            widget.setEnabled(alive)

    def _show_subjects(self) -> None:
        """Let the list of drawings be that of the run, and show the one in hand."""
        box = self._subject_box
        values = self.started.values if self.started is not None else {}
        count = max(1, int(values.get("shown", 24)))
        live = self.form.values().model_dump() if self.form is not None else {}
        count = max(1, int(live.get("shown", count)))
        if box.count() != count + 1 and not box.view().isVisible():
            box.clear()
            for index in range(count):
                box.addItem(f"Sample {index + 1}", ("sample", index))
            box.addItem("Picked picture", ("picture", 0))
        of, index = self.hand.subject
        box.setCurrentIndex(count if of == "picture" else index % count)

    def _show_probe(self) -> None:
        """Let the numbers below the probe show what is laid over the picture."""
        probe = self._probe()
        if probe is None:
            return
        for name, number in self._probe_fields.items():
            if not number.hasFocus() or number.value() != getattr(probe, name):
                blocked = number.blockSignals(True)
                number.setValue(getattr(probe, name))
                number.blockSignals(blocked)

    # --- arranging  ----------

    def _take_kind(self, started: m.Started) -> None:
        """Show the views that fit the task."""
        kind = kind_of(started.values)
        if kind != self.kind:
            self.kind = kind
            self.ensure_arranged()

    def arrange(self, area: QMainWindow, kind: str, *, narrow: bool) -> None:
        draws = kind != "classify"
        for widget in self._hold_widgets:
            widget.setVisible(draws)
        if not draws:
            if narrow:
                self.place(area, [["glimpses", "probe"]], [["error"]])
                self._divide(area, "glimpses", "error", 62)
            else:
                self.place(area, [["glimpses"]], [["error"], ["probe"]])
                self._divide(area, "glimpses", "error", 54)
            self._fit_tools()
            return
        bound = ["bound", "terms"]
        samples = ["samples"]
        if kind == "twins":
            bound, samples = ["twin_bounds", "bound", "terms"], ["twins", "samples"]
        windows = ["filters"] if kind != "whole" else []
        if narrow:
            self.place(area, [["canvas", "held", "fan", *windows, "probe"]], [[*samples, *bound]])
            self._divide(area, "canvas", samples[0], 68)
        elif area.width() < 1250:
            self.place(area, [["canvas"]], [["held", "fan", *windows, "probe"], [*samples, *bound]])
            self._divide(area, "canvas", "held", 48)
        else:
            self.place(area, [["canvas"], samples], [["held", "fan"], ["probe", *windows], bound])
            self._share(area, ["canvas", samples[0]], [5, 4])
            self._share(area, ["held", "probe", bound[0]], [5, 4, 4])
            self._divide(area, "canvas", "held", 50)
        self._fit_tools()

    def _divide(self, area: QMainWindow, top: str, below: str, percent: int) -> None:
        height = max(area.height(), 10)
        docks = [self.docks[top], self.docks[below]]
        area.resizeDocks(
            docks, [height * percent // 100, height * (100 - percent) // 100], Qt.Orientation.Vertical
        )

    def _share(self, area: QMainWindow, names: list[str], parts: list[int]) -> None:
        """Divide the width among the docks of a row."""
        widths = [max(area.width() * part // sum(parts), 1) for part in parts]
        area.resizeDocks([self.docks[name] for name in names], widths, Qt.Orientation.Horizontal)

    # --- the films  ----------

    def shared_films(self) -> tuple[str, ...]:
        return ("canvas", "samples", "filters", "held", "fan", "twins", "glimpses")

    def _is_leading(self, name: str) -> bool:
        """Whether the slider shows this film's times: those of a whole drawing, where any is seen."""
        if name != "filters":
            return True
        return not any(
            other != name and self.is_in_sight(other) and isinstance(self.view(other).figure, Film)
            for other in self.shared_films()
        )

    def _show_figure(self, name: str, view: FigureView, figure: Figure) -> None:
        if name not in self.shared_films() or not isinstance(figure, Film):
            super()._show_figure(name, view, figure)
            if name == "probe":
                self._show_probe()
            return
        if self._is_leading(name) and not np.array_equal(self.times, figure.times):
            # A newer drawing goes on at the same step.
            index = figure.nearest(self.slider.time) if len(self.times) else figure.start
            self.times = np.asarray(figure.times)
            self.slider.set_range(figure.times, figure.time)
            self.slider.set_frames_per_second(min(max(len(figure.times) / FILM_SECONDS, 2.0), 12.0))
            self.slider.set_index(index)
        if self.slider.isHidden():
            self.slider.show()
        # How a drawing comes about is seen in motion.
        self.begin_films()
        view.set_figure(figure)
        self._follow_slider(view)
        if name in ("canvas", "held"):
            self._size_brush(name)

    def _follow_slider(self, view: FigureView) -> None:
        """Show the frame that is nearest to the slider's step: not every film has each."""
        if isinstance(view.figure, Film):
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
        """Arrow keys in a view choose the step of all: it is the one at which the hand acts."""
        view = self.sender()
        figure = view.figure if isinstance(view, FigureView) else None
        if not self._is_following and isinstance(figure, Film) and len(self.times):
            self.slider.set_playing(False)
            self.slider.set_index(int(np.abs(self.times - figure.times[index]).argmin()))

    def shown_t(self) -> int:
        """The step of a drawing at which the slider stands, from 1 on."""
        return max(1, round(self.slider.time)) if len(self.times) else 1

    # --- asking the engine  ----------

    @property
    def hand(self) -> Hand:
        """What is held in the run in focus."""
        return self._hands.setdefault(self.run.key, Hand()) if self.run is not None else self._no_hand

    def _wish(self, name: str, action: Action) -> bool:
        """Ask as soon as nothing else is under way; a newer wish of this name takes the place of an older one."""
        if not self.can_ask():
            self.refuse(NO_MODEL)
            return False
        self._wishes[name] = action
        if not self._is_asking:
            self._ask_wish()
        self._update_tools()
        return True

    def _ask_wish(self) -> None:
        """Send the oldest of the wishes."""
        if not self._wishes or self.run is None:
            return
        name = next(iter(self._wishes))
        number = self.act_for(self._wishes.pop(name), _CHANGES[name])
        self._is_asking = number is not None
        if number is not None:
            self.await_answer(number, partial(self._take_answered, name))

    def _take_answered(self, name: str, run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run:
            return
        self._is_asking = False
        if answer.error and name not in self._wishes:
            # What was refused is not held.
            hand = self.hand
            if name == "brush":
                hand.brush = hand.earlier.pop() if hand.earlier else None
            elif name == "image":
                hand.own = None
        self._ask_wish()
        self._update_tools()

    def _take_hand(self, run: ActiveRun, answer: m.Answer) -> None:
        """A run that goes on from a keyframe says what it holds."""
        if answer.error:
            return
        told: Mapping[str, Any] = answer.payload
        hand = self._hands.setdefault(run.key, Hand())
        hand.brush, hand.fan, hand.probe = told["brush"], told["fan"], told["probe"]
        hand.image, hand.own, hand.earlier = int(told["image"]), told["own"], []
        if hand.brush is not None:
            hand.subject = (hand.brush.of, hand.brush.index if hand.brush.of == "sample" else 0)
            if _does(hand.brush):
                hand.earlier = [None]
        if run is self.run:
            self._show_hand()

    def _show_hand(self) -> None:
        self._show_subjects()
        self._show_probe()
        self._update_tools()

    # --- holding the brush  ----------

    def _hold(self, brush: HoldBrush | None, *, remember: bool = True) -> None:
        """Hold the brush like this; None lets go of it."""
        hand = self.hand
        before = hand.brush
        wanted: Action = LetGo() if brush is None else brush
        if not self._wish("brush", wanted):
            return
        if remember:
            hand.earlier.append(before)
        hand.brush = brush
        self._show_subjects()
        self._update_tools()

    def hold(self, subject: Subject) -> None:
        """Take a drawing in hand, and do nothing to it yet."""
        hand = self.hand
        if not self.can_ask():
            self._show_subjects()
            return
        hand.subject = subject
        hand.earlier.clear()
        self._hold(self._nothing_done(), remember=False)
        self._show_held()

    def end_hold(self) -> None:
        """Give the brush back; the drawing in hand stays in sight."""
        self.hand.earlier.clear()
        self._hold(self._nothing_done(), remember=False)

    def undo_hold(self) -> None:
        """Take back what the hand did last."""
        hand = self.hand
        if hand.earlier:
            brush = hand.earlier.pop()
            self._hold(brush if brush is not None else self._nothing_done(), remember=False)

    def _nothing_done(self) -> HoldBrush | None:
        """What shows the drawing in hand as the model would have it."""
        of, index = self.hand.subject
        return None if (of, index) == ("sample", 0) else HoldBrush(self._length(), of, index)

    def _length(self) -> int:
        return int(self.started.values["glimpses"]) if self.started is not None else 1

    def _show_held(self) -> None:
        """Bring the drawing in hand to the front, if it is behind something."""
        if not self.is_in_sight("held") and not self._maximised:
            self.docks["held"].show()
            self.docks["held"].raise_()

    def _begin_drag(self, name: str, x: float, y: float, plot: int) -> Drag | None:
        """A gesture begins at a point of a view; None where it means nothing."""
        self._drag = None
        grid = self._grid(name, plot)
        if grid is None or (plot not in (1, 2) if name == "canvas" else plot != 1):
            return None
        if not self.can_ask():
            self._wish("brush", LetGo())
            return None
        # What is held must not run away.
        self.slider.set_playing(False)
        count, height, width = grid.images.shape[:3]
        columns = max(1, min(grid.columns, count))
        column = min(max(int(x // (width + grid.gap)), 0), columns - 1)
        row = max(int(y // (height + grid.gap)), 0)
        index = min(row * columns + column, count - 1)
        subject, pick = self.hand.subject, 0
        if name == "canvas":
            subject = ("sample", index) if plot == 2 else ("picture", 0)
            pick = index if plot == 1 else 0
        row, column = divmod(index, columns)
        corner = float(column * (width + grid.gap)), float(row * (height + grid.gap))
        self._drag = Drag(subject, self.shown_t(), corner, (height, width), pick)
        return self._drag

    def _told_by(self) -> str:
        """Name of the view of drawings whose gesture is told."""
        return "canvas" if self.sender() is self.view("canvas") else "held"

    def _grid(self, name: str, plot: int) -> ImageGrid | None:
        """The pictures in one plot of a view."""
        still = self.view(name).still
        plots = still.plots if isinstance(still, Panels) else () if still is None else (still,)
        marks = plots[plot].marks if plot < len(plots) else ()
        return next((mark for mark in marks if isinstance(mark, ImageGrid)), None)

    def _line_width(self, name: str, plot: int, x: float, y: float) -> float:
        """Of the box with this corner."""
        still = self.view(name).still
        if isinstance(still, Panels):
            for mark in still.plots[plot].marks:
                if isinstance(mark, Boxes) and len(mark.x) and (mark.x[0], mark.y[0]) == (x, y):
                    return mark.line_width
        return THINNEST

    @Slot(float, float, float, float, int)
    def _on_box_grabbed(self, x: float, y: float, width: float, height: float, plot: int) -> None:
        name = self._told_by()
        drag = self._begin_drag(name, x + width / 2, y + height / 2, plot)
        if drag is None:
            return
        drag.box = x - drag.corner[0], y - drag.corner[1], width, height
        brush = self._same(drag)
        if brush is not None and brush.window is not None:
            drag.window = brush.window
        else:
            sigma = max(self._line_width(name, plot, x, y) - THINNEST, SMALLEST)
            writes = int(self.started.values["write_n"]) if self.started is not None else 1
            drag.window = window_of(drag.box, drag.size, sigma, writes)
        self._remember(drag)

    def _same(self, drag: Drag) -> HoldBrush | None:
        """What is held of the same drawing at the same step: a gesture adds to it."""
        brush = self.hand.brush
        if brush is None or drag.pick or drag.step != brush.step:
            return None
        return brush if (brush.of, brush.index) == drag.subject else None

    def _remember(self, drag: Drag) -> None:
        """Note what was held before a gesture; another drawing begins a history of its own."""
        hand = self.hand
        if drag.subject != hand.subject or drag.pick:
            drag.is_another = True
            hand.subject = drag.subject
            hand.earlier.clear()
            hand.brush = self._nothing_done()
        hand.earlier.append(hand.brush)

    def _hold_now(self, drag: Drag, **changes: Any) -> None:
        """Go on with a gesture: what it does is held, and what else is held of the same step stays."""
        drag.has_moved = True
        brush = self._same(drag) or HoldBrush(drag.step, *drag.subject)
        if changes.get("window") is not None:
            changes["last"] = self._length() if self._keep.isChecked() else None
        brush = replace(brush, **changes)
        if drag.pick:
            # The picture is picked when the hand lets go: it would move away from under it.
            self.hand.brush = brush
            return
        self._hold(brush, remember=False)

    @Slot(float, float, float, float, int)
    def _on_box_dragged(self, x: float, y: float, width: float, height: float, plot: int) -> None:
        drag = self._drag
        if drag is None or drag.window is None:
            return
        left, top, before, _ = drag.box
        factor = width / before
        right = x - drag.corner[0] + width / 2 - left - before / 2
        down = y - drag.corner[1] + height / 2 - top - drag.box[3] / 2
        g_x, g_y, delta, sigma = drag.window
        self._hold_now(
            drag, window=(g_x + right, g_y + down, _within(delta * factor), _within(sigma * factor))
        )

    @Slot(int)
    def _on_gesture_finished(self, plot: int) -> None:
        drag, self._drag = self._drag, None
        # The canvases stay the model's: no newer picture takes the outline away.
        self.view("canvas").gestures.settle()
        if drag is None:
            return
        hand = self.hand
        if not drag.has_moved and hand.earlier:
            hand.earlier.pop()
        if drag.pick:
            self.pick(hand.image + drag.pick)
            self._hold(hand.brush, remember=False)
        elif drag.is_another and not drag.has_moved:
            # A click alone takes a drawing in hand.
            self._hold(hand.brush, remember=False)
        self._show_held()
        self._update_tools()

    @Slot(float, bool, int)
    def _on_held_wheel_turned(self, steps: float, is_shifted: bool, plot: int) -> None:
        brush = self.hand.brush
        if brush is None or brush.window is None:
            return
        self.slider.set_playing(False)
        self._hold(replace(brush, window=_turned(brush.window, steps, is_shifted)))

    @Slot(float, float, int)
    def _on_stroke_started(self, x: float, y: float, plot: int) -> None:
        drag = self._begin_drag(self._told_by(), x, y, plot)
        if drag is not None:
            self._remember(drag)
            self._stroke(drag, x, y, x, y)

    @Slot(float, float, float, float, int)
    def _on_stroke_moved(self, x0: float, y0: float, x1: float, y1: float, plot: int) -> None:
        if self._drag is not None:
            self._stroke(self._drag, x0, y0, x1, y1)

    def _stroke(self, drag: Drag, x0: float, y0: float, x1: float, y1: float) -> None:
        left, top = drag.corner
        near = stroked(drag.size, (x0 - left, y0 - top), (x1 - left, y1 - top), self._radius(drag.size[1]))
        brush = self.hand.brush if drag.pick and drag.has_moved else self._same(drag)
        paint = None if brush is None else brush.paint
        paint = np.full(drag.size, np.nan, np.float32) if paint is None else paint.copy()
        paint[near] = 0.0 if self._tools.checkedAction().data() == "erase" else 1.0
        self._hold_now(drag, paint=paint)

    def _radius(self, width: int) -> float:
        """Of the brush, pixels."""
        return max(0.5, self._brush_size.value() / 100 * width)

    def _size_brush(self, name: str) -> None:
        grid = self._grid(name, 1)
        if grid is not None:
            self.view(name).set_brush_radius(self._radius(grid.images.shape[2]))

    @Slot(int)
    def _on_brush_size_value_changed(self, value: int) -> None:
        for name in ("canvas", "held"):
            self._size_brush(name)

    @Slot(float)
    def _on_radius_changed(self, radius: float) -> None:
        grid = self._grid(self._told_by(), 1)
        if grid is not None:
            before = self._brush_size.value()
            value = round(100 * radius / grid.images.shape[2])
            larger = radius > self._radius(grid.images.shape[2])
            # One step at least, or a small brush would stay as it is.
            self._brush_size.setValue(max(value, before + 1) if larger else min(value, before - 1))

    def _set_tool(self, name: Tool) -> None:
        for view in ("canvas", "held"):
            self.view(view).set_tool(name)

    @Slot(QAction)
    def _on_tools_triggered(self, action: QAction) -> None:
        self._set_tool(action.data())

    @Slot(bool)
    def _on_keep_toggled(self, checked: bool) -> None:
        brush = self.hand.brush
        if brush is not None and brush.window is not None:
            self._hold(replace(brush, last=self._length() if checked else None))

    @Slot()
    def _on_undo_clicked(self) -> None:
        self.undo_hold()

    @Slot()
    def _on_end_clicked(self) -> None:
        self.end_hold()

    @Slot(int)
    def _on_subject_box_activated(self, index: int) -> None:
        of, number = self._subject_box.itemData(index)
        self.hold((of, number))

    @Slot(float, float, int)
    def _on_samples_point_picked(self, x: float, y: float, plot: int) -> None:
        grid = self._grid("samples", plot)
        place = grid.locate(x, y) if grid is not None else None
        if place is None:
            return
        if not self.can_ask():
            self._wish("brush", LetGo())
            return
        self.hold(("sample", place[0]))
        if self.hand.fan is not None and self.is_in_sight("fan"):
            self._wish_fan(replace(self.hand.fan, index=place[0]))

    # --- the fan of endings  ----------

    def fan_out(self) -> None:
        """Draw z of the slider's step anew, many times."""
        of, index = self.hand.subject
        before = self.hand.fan
        fan = FanOut(self.shown_t(), index if of == "sample" else 0, ENDINGS)
        if before is not None and (before.step, before.index) == (fan.step, fan.index):
            fan = before
        if self._wish_fan(fan):
            self.docks["fan"].show()
            self.docks["fan"].raise_()

    def _wish_fan(self, fan: FanOut) -> bool:
        if not self._wish("fan", fan):
            return False
        self.hand.fan = fan
        self._update_tools()
        return True

    @Slot()
    def _on_fan_clicked(self) -> None:
        self.fan_out()

    @Slot()
    def _on_anew_clicked(self) -> None:
        fan = self.hand.fan
        if fan is not None and self._wish_fan(replace(fan, draw=fan.draw + 1)):
            self.docks["fan"].show()
            self.docks["fan"].raise_()

    @Slot(float, float, int)
    def _on_fan_point_picked(self, x: float, y: float, plot: int) -> None:
        self.fan_out()

    # --- the picture in hand  ----------

    def pick(self, index: int) -> None:
        """Draw this held-out picture again, and lay it under the probe."""
        hand = self.hand
        if self._wish("image", PickImage(index)):
            hand.image, hand.own = index, None

    @Slot()
    def _on_next_clicked(self) -> None:
        hand = self.hand
        # One's own picture is followed by the one whose place it took.
        self.pick(hand.image + (0 if hand.own is not None else 1))

    @Slot()
    def _on_own_clicked(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a picture", str(Path.home()), FILES)
        if path:
            self.open_picture(Path(path))

    def take_file(self, path: Path) -> bool:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            return False
        self.open_picture(path)
        return True

    def open_picture(self, path: Path) -> None:
        """Take a picture file in the place of the held-out one; it is read in the background."""
        if not self.can_ask():
            self.refuse(NO_MODEL)
            return
        self.services.jobs.start(
            f"picture/{path}", lambda job: read_picture(path), partial(self._take_picture, path)
        )

    def _take_picture(self, path: Path, future: Future[np.ndarray]) -> None:
        error = future.exception()
        if error is not None:
            self.post(
                "error",
                f"{path.name} cannot be drawn again ({error}): choose a PNG, JPEG, BMP or WebP picture.",
                key="picture",
            )
            return
        self.messages_outdated.emit([f"{self.paper.id}/picture"])
        picture = future.result()
        if self._wish("image", OwnImage(picture)):
            self.hand.own = picture

    # --- the probe  ----------

    def _probe(self) -> Probe | None:
        """What is laid over the picture; before the hand lays anything, a grid over all of it."""
        if self.hand.probe is not None:
            return self.hand.probe
        grid = self._grid("probe", 0)
        if grid is None or self.started is None:
            return None
        height, width = grid.images.shape[1:3]
        n = int(self.started.values["read_n"])
        stride = (max(width, height) - 1) / max(n - 1, 1)
        return Probe((width + 1) / 2, (height + 1) / 2, stride, 1.0, n)

    def lay(self, probe: Probe) -> None:
        """Lay a grid over the picture."""
        grid = self._grid("probe", 0)
        if grid is not None:
            # What lies far outside sees nothing, and would be hard to find again.
            height, width = grid.images.shape[1:3]
            probe = replace(
                probe,
                g_x=min(max(probe.g_x, 0.5), width + 0.5),
                g_y=min(max(probe.g_y, 0.5), height + 0.5),
            )
        probe = replace(probe, delta=_within(probe.delta), sigma=_within(probe.sigma))
        if self._wish("probe", probe):
            self.hand.probe = probe
        self._show_probe()

    @Slot(float, float, float, float, int)
    def _on_probe_box_grabbed(self, x: float, y: float, width: float, height: float, plot: int) -> None:
        probe = self._probe()
        self._probe_start = None if probe is None else (probe, (x, y, width, height))

    @Slot(float, float, float, float, int)
    def _on_probe_box_dragged(self, x: float, y: float, width: float, height: float, plot: int) -> None:
        if self._probe_start is None:
            return
        probe, (left, top, before, high) = self._probe_start
        factor = width / before
        self.lay(
            replace(
                probe,
                g_x=probe.g_x + x + width / 2 - left - before / 2,
                g_y=probe.g_y + y + height / 2 - top - high / 2,
                delta=probe.delta * factor,
                # A single filter has no stride.
                sigma=probe.sigma * (factor if probe.n == 1 else 1.0),
            )
        )

    @Slot(float, bool, int)
    def _on_probe_wheel_turned(self, steps: float, is_shifted: bool, plot: int) -> None:
        probe = self._probe()
        if probe is not None:
            _, _, delta, sigma = _turned((0.0, 0.0, probe.delta, probe.sigma), steps, is_shifted)
            self.lay(replace(probe, delta=delta, sigma=sigma))

    @Slot(float)
    def _on_probe_field_changed(self, value: float) -> None:
        probe, sender = self._probe(), self.sender()
        if probe is None:
            return
        if sender is self._probe_fields["n"]:
            self.lay(replace(probe, n=round(value)))
        elif sender is self._probe_fields["delta"]:
            self.lay(replace(probe, delta=value))
        else:
            self.lay(replace(probe, sigma=value))

    @Slot()
    def _on_whole_clicked(self) -> None:
        self.hand.probe = None
        probe = self._probe()
        if probe is not None:
            self.lay(probe)

    # --- runs  ----------

    def begin(self, **options: Any) -> None:
        shape = self.started.data.get("shape", "") if self.started is not None else ""
        self._from = (self.hand, shape) if self.run is not None else None
        super().begin(**options)
        self._from = None

    def _send_hand(self) -> None:
        if self.run is not None and self._from is not None and self.run.session.spec.resume is None:
            self._handed[self.run.key] = self._from

    def _take_started(self, run: ActiveRun, started: m.Started) -> None:
        handed = self._handed.pop(run.key, None)
        if handed is not None and handed[1] == started.data.get("shape", ""):
            # A new model draws something else; the picture and the probe over it mean the same to it.
            before = handed[0]
            hand = self._hands.setdefault(run.key, Hand())
            hand.image, hand.own, hand.probe = before.image, before.own, before.probe
            actions: list[Action] = [PickImage(hand.image)] if hand.image else []
            actions += [OwnImage(hand.own)] if hand.own is not None else []
            actions += [hand.probe] if hand.probe is not None else []
            run.after_start += [m.Act(action) for action in actions]
        super()._take_started(run, started)
        if run.session.spec.resume is not None:
            self.await_answer(run.session.act(GiveHand()), self._take_hand, run)
        if run is self.run:
            if not any(isinstance(self.view(name).figure, Film) for name in self.shared_films()):
                self.slider.hide()
            self._show_hand()

    def tick(self, *, in_sight: bool) -> None:
        super().tick(in_sight=in_sight)
        if in_sight and self.form is not None:
            self._show_subjects()
            self._update_tools()

    def _focus(self, run: ActiveRun | None) -> None:
        super()._focus(run)
        self._wishes.clear()
        self._is_asking = False
        self._drag = self._probe_start = None
        self._show_hand()

    def _let_go(self, run: ActiveRun) -> None:
        super()._let_go(run)
        self._hands.pop(run.key, None)
        self._handed.pop(run.key, None)


_CHANGES: Mapping[str, tuple[str, ...]] = {
    "brush": ("held",),
    "fan": ("fan",),
    "probe": ("probe",),
    "image": ("canvas", "filters", "held", "probe", "glimpses"),
}
"""Pictures that a wish changes."""


def kind_of(values: Mapping[str, Any]) -> str:
    """Which arrangement of views fits a run's settings."""
    if values.get("task") == "classify":
        return "classify"
    if values.get("twin"):
        return "twins"
    return "windows" if values.get("attention", True) else "whole"


def read_picture(path: Path) -> np.ndarray:
    """A picture file as (height, width, 3) uint8, no side longer than `LONGEST_SIDE`; any thread.

    Raises
    ------
    engines.data.image_folder.Unusable
        Why it cannot be read.
    """
    pixels = decode(path, "RGB", None).transpose(1, 2, 0)
    times = -(-max(pixels.shape[:2]) // LONGEST_SIDE)
    if times > 1 and min(pixels.shape[:2]) >= times:
        # The mean over blocks; what is left over at the rim is less than one pixel of the smaller picture.
        height, width = pixels.shape[0] // times, pixels.shape[1] // times
        blocks = pixels[: height * times, : width * times].reshape(height, times, width, times, 3)
        pixels = (blocks.mean((1, 3), dtype=np.float32) + 0.5).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def window_of(
    box: tuple[float, float, float, float], size: tuple[int, int], sigma: float, n: int
) -> tuple[float, float, float, float]:
    """(g_x, g_y, delta, sigma) of a window from its box, which ends where the picture (height, width) ends."""
    x, y, width, height = box
    # The window is a square, of which a box at the rim shows a part.
    half = max(width, height) / 2

    def middle(start: float, length: float, whole: int) -> float:
        at_start, at_end = start <= 1e-6, start + length >= whole - 1e-6
        if at_start and not at_end:
            return start + length - half
        if at_end and not at_start:
            return start + half
        return start + length / 2

    delta = (half - sigma) / ((n - 1) / 2) if n > 1 else half
    if n == 1:
        sigma = half
    return (
        middle(x, width, size[1]) + 0.5,
        middle(y, height, size[0]) + 0.5,
        _within(delta),
        _within(sigma),
    )


def stroked(
    size: tuple[int, int], start: tuple[float, float], end: tuple[float, float], radius: float
) -> np.ndarray:
    """Pixels (height, width) whose middles a stroke of a round brush covers; the pixel under the mouse in any case."""
    height, width = size
    x, y = np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5
    along = end[0] - start[0], end[1] - start[1]
    length = along[0] ** 2 + along[1] ** 2
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length if length > 0 else 0.0 * (x + y)
    share = np.clip(share, 0.0, 1.0)
    near = (x - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2 <= radius**2
    column, row = math.floor(end[0]), math.floor(end[1])
    if 0 <= column < width and 0 <= row < height:
        near[row, column] = True
    return np.asarray(near)


def _does(brush: HoldBrush | None) -> bool:
    """Whether the hand does anything to the drawing it holds."""
    return brush is not None and (brush.window is not None or brush.paint is not None)


def _within(size: float) -> float:
    return min(max(size, SMALLEST), LARGEST)


def _turned(
    window: tuple[float, float, float, float], steps: float, is_shifted: bool
) -> tuple[float, float, float, float]:
    """A window after the wheel: another stride, or with Shift another width."""
    g_x, g_y, delta, sigma = window
    factor = WHEEL**steps
    if is_shifted:
        return g_x, g_y, delta, _within(sigma * factor)
    return g_x, g_y, _within(delta * factor), sigma


__all__ = ["DrawPanel", "Hand", "kind_of", "read_picture", "stroked", "window_of"]
