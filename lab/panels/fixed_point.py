"""The panel of fixed-point quantisation: a board of bit-width sliders over the pictures, and who does better; GUI thread.

The hand and the engine
-----------------------
A move of a slider asks the engine for other bit-widths, and its answer is the accuracy on the whole test set. Only one
request is under way at a time; when it is answered, the newest wish follows it, so that a drag never runs ahead of the
answers. What the sliders show is what the engine said last, or what is wished: a run that is rewound or chosen again is
asked how it stands.
"""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import shiboken6
from PySide6.QtCore import QSignalBlocker, Qt, Slot
from PySide6.QtGui import QUndoCommand
from PySide6.QtWidgets import (
    QBoxLayout,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engines.errors import InputError, SettingError
from engines.figures import Boxes, Heatmap, Panels, Plot
from engines.fixed_point.config import (
    FEWEST_BITS,
    FLOAT_BITS,
    MOST_BITS,
    GiveBits,
    GiveRival,
    Kind,
    SetAllBits,
    SetBits,
    SetStep,
    TryAllBits,
    TryBits,
    TryStep,
    UseAllocation,
)
from engines.method import Action
from lab.panels.active_run import ActiveRun
from lab.panels.panel import Panel
from lab.runs import messages as m
from widgets.fields import ChoiceBox
from widgets.look import text_width
from widgets.slider_board import BoardColumn, SliderBoard

KINDS: tuple[Kind, ...] = ("weights", "activations")
"""In the order of the board's columns."""

ALLOWED = (*range(FEWEST_BITS, MOST_BITS + 1), FLOAT_BITS)

ASK_EVERY, ASK_SELDOM = 0.5, 2.0
"""Seconds between questions how a run stands while it goes on; seldom before the conversion, when all is found anew."""

REST = 0.4
"""Seconds that the hand rests before the allocation is measured beside it: on large test sets that takes a while."""

WHEEL = 1.1
"""Factor on a step for one notch of the wheel."""

DEAD = 99.9
"""Percent of dead updates from which nothing is learned any more."""

NO_NETWORK = "There is no network yet whose bits could be moved: press Train first."

TWO_ROWS = 400
"""Pixels of height that two rows of views need."""

TALL = 5
"""Rows of the board before the layers are known."""

Bits = Mapping[Kind, tuple[int, ...]]


@dataclass(frozen=True)
class StepDrag:
    """Levels under the hand.

    Attributes
    ----------
    layer : int
    kind : Kind
    step : float
        As it was when they were taken.
    box : (x, y, width, height)
    before : float or None
        The step that the hand had set before.
    """

    layer: int
    kind: Kind
    step: float
    box: tuple[float, float, float, float]
    before: float | None


class BitsCommand(QUndoCommand):
    """One move of bit-widths on the undo stack; the moves of one drag become one command."""

    def __init__(
        self, panel: FixedPointPanel, text: str, before: Bits, after: Bits, gesture: int, *, is_done: bool
    ) -> None:
        super().__init__(text)
        # A closed panel leaves commands behind that must do nothing.
        self._panel = weakref.ref(panel)
        self.before, self.after, self.gesture = dict(before), dict(after), gesture
        self._is_done = is_done

    def id(self) -> int:
        return 0xB175

    def redo(self) -> None:
        if self._is_done:
            self._is_done = False
            return
        self._put(self.after)

    def undo(self) -> None:
        self._put(self.before)

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, BitsCommand) or not self.gesture or other.gesture != self.gesture:
            return False
        self.after = dict(other.after)
        return True

    def _put(self, bits: Bits) -> None:
        panel = self._panel()
        if panel is None or not shiboken6.isValid(panel) or not panel.wish_bits(bits):
            self.setObsolete(True)


class StepCommand(QUndoCommand):
    """One drag of levels on the undo stack."""

    def __init__(self, panel: FixedPointPanel, drag: StepDrag, step: float | None) -> None:
        super().__init__("Step of the levels")
        self._panel = weakref.ref(panel)
        self._drag, self._step = drag, step

    def redo(self) -> None:
        self._put(self._step)

    def undo(self) -> None:
        self._put(self._drag.before)

    def _put(self, step: float | None) -> None:
        panel = self._panel()
        action = SetStep(self._drag.layer, self._drag.kind, step)
        if panel is None or not shiboken6.isValid(panel) or not panel.wish("step", action):
            self.setObsolete(True)


class FixedPointPanel(Panel):
    """The panel of fixed-point quantisation."""

    def _set_up(self) -> None:
        self._told: Mapping[str, Any] | None = None  # the engine's newest answer about the run in focus
        self._wishes: dict[str, Bits | Action] = {}
        self._sent: Bits = {}  # what was wished and is under way
        self._tried: set[str] = set()  # wishes whose newest request was of a hand that still held on
        self._is_busy = False
        self._is_asking = False
        self._asked: tuple[int, int] = (-1, -1)
        self._ask_next = 0.0
        self._form_version = 0
        self._accuracy: float | None = None  # the newest, as the hand was answered or training reported
        self._measured: tuple[int, float] | None = None  # what training reported last
        self._rival: Mapping[str, Any] | None = None
        self._rival_of: tuple[Any, ...] | None = None
        self._moved_at = 0.0  # when the hand was answered last
        self._moved_in: str = ""  # the shown run whose bits the hand moved, which are on no disk
        self._gestures = itertools.count(1)
        self._gesture = 0  # of the slider that is held
        self._drag: StepDrag | None = None
        self._dragged: float | None = None
        self._measured_version = -1  # of the history, when its newest accuracy was taken
        super()._set_up()
        for name in ("budget", "allocation", "histograms", "weight"):
            self.view(name).set_tool("point")
        self.view("budget").point_picked.connect(self._on_layer_picked)
        self.view("allocation").point_picked.connect(self._on_layer_picked)
        self.view("histograms").point_picked.connect(self._on_histograms_point_picked)
        self.view("weight").point_picked.connect(self._on_weight_point_picked)
        levels = self.view("levels")
        levels.set_tool("box")
        levels.set_box_plots(0, 1)
        levels.box_grabbed.connect(self._on_levels_box_grabbed)
        levels.box_dragged.connect(self._on_levels_box_dragged)
        levels.box_finished.connect(self._on_levels_box_finished)
        levels.box_wheel_turned.connect(self._on_levels_wheel_turned)
        self._show_all()

    # --- the strip of tools  ----------

    def make_tools(self, parent: QWidget) -> QWidget:
        tools = QWidget(parent)
        # Its words go where there is no room for them, and must not keep the window wide.
        tools.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        column = QVBoxLayout(tools)
        column.setContentsMargins(12, 4, 12, 0)
        column.setSpacing(2)
        self._answer = QLabel(tools)
        self._answer.setTextFormat(Qt.TextFormat.RichText)
        self._answer.setAccessibleName("Accuracy and size")
        self._blame = QLabel(tools)
        self._blame.setTextFormat(Qt.TextFormat.RichText)
        self._blame.setAccessibleName("What makes most of the noise")
        for label in (self._answer, self._blame):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            column.addWidget(label)
        self.board = SliderBoard(
            ALLOWED,
            (
                BoardColumn(
                    "Bits of weights",
                    "Bits of this layer's weights; 32 is floating point. The green tick is the allocation's answer: a double "
                    "click goes there.",
                    "Bits of the weights of {}",
                ),
                BoardColumn(
                    "Bits of what it reads",
                    "Bits of what this layer reads: pictures, or the activations of the layer before; 32 is floating point",
                    "Bits of what {} reads",
                ),
            ),
            "noise",
            "Part of all quantisation noise at the output that comes from here, 1/γ of this one over the sum: the largest "
            "spoils the output most",
            tools,
        )
        self.board.changed.connect(self._on_board_changed)
        self.board.let_go.connect(self._on_board_let_go)
        self.board.refused.connect(self._on_board_refused)
        self.board.row_chosen.connect(self._on_board_row_chosen)
        column.addWidget(self.board)
        rows = QWidget(tools)
        self._rows = QBoxLayout(QBoxLayout.Direction.LeftToRight, rows)
        self._rows.setContentsMargins(0, 2, 0, 0)
        self._rows.setSpacing(4)
        self._rows.addLayout(self._make_solver_tools(rows))
        self._rows.addStretch(1)
        self._rows.addLayout(self._make_tuning_tools(rows))
        column.addWidget(rows)
        return tools

    def _make_solver_tools(self, parent: QWidget) -> QHBoxLayout:
        layout = QHBoxLayout()
        layout.setSpacing(4)
        self._target_box = ChoiceBox(parent)
        self._target_box.setAccessibleName("What bits are allocated for")
        self._target_box.setToolTip(
            "What is given when the allocation chooses the bits of the weights: their mean, or the SQNR of the output"
        )
        self._target_box.addItem("mean bits", "size")
        self._target_box.addItem("SQNR", "sqnr")
        self._target_box.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._target_box.setFixedWidth(104)
        self._target_box.activated.connect(self._on_target_box_activated)
        layout.addWidget(self._target_box)
        self._target = _NumberField(parent)
        self._target.valueChanged.connect(self._on_target_value_changed)
        layout.addWidget(self._target)
        self._use = self.tool_button(
            parent,
            "Allocate",
            "check",
            "Give the weights the bits that the paper's allocation finds for this target: the green ticks",
        )
        self._use.clicked.connect(self._on_use_clicked)
        self._equal = self.tool_button(
            parent,
            "Equal bits",
            "menu",
            "Give the weights of every layer the same bits, as many as they have on average now",
        )
        self._equal.clicked.connect(self._on_equal_clicked)
        self._by_rule = self.tool_button(
            parent,
            "Steps by rule",
            "reset",
            "Take back steps that were dragged in 'Levels': all are those of the rule again",
        )
        self._by_rule.clicked.connect(self._on_by_rule_clicked)
        for button in (self._use, self._equal, self._by_rule):
            layout.addWidget(button)
        return layout

    def _make_tuning_tools(self, parent: QWidget) -> QHBoxLayout:
        layout = QHBoxLayout()
        layout.setSpacing(4)
        self._switches: dict[str, tuple[QToolButton, Any, Any]] = {}
        for setting, text, icon_name, tip, off, on in (
            (
                "fine_tune",
                "Fine-tune",
                "settings",
                "Train on in fixed point: gradients go straight through the rounding",
                False,
                True,
            ),
            (
                "master",
                "No float copy",
                "pin",
                "Keep the weights in fixed point while fine-tuning: with few bits all updates are lost, a brown-out",
                "float",
                "fixed",
            ),
            (
                "rounding",
                "Stochastic",
                "shuffle",
                "Round weights up or down by chance while fine-tuning: small updates count again, on average",
                "nearest",
                "stochastic",
            ),
        ):
            button = self.tool_button(parent, text, icon_name, tip)
            button.setCheckable(True)
            button.clicked.connect(self._on_switch_clicked)
            self._switches[setting] = (button, off, on)
            layout.addWidget(button)
        return layout

    def _fit_tools(self) -> None:
        """Leave the words of buttons away where there is no room for all of them."""
        if self.tools is None:
            return
        words, icons = (
            Qt.ToolButtonStyle.ToolButtonTextBesideIcon,
            Qt.ToolButtonStyle.ToolButtonIconOnly,
        )
        self.board.set_narrow(self.width() < 760)
        for button in self.tool_buttons:
            button.setToolButtonStyle(words)
        room = self.width() - 40 - self._target_box.width() - self._target.width()
        tune, master, rounding = (button for button, _, _ in self._switches.values())
        for button in (self._by_rule, self._equal, master, rounding, tune, self._use):
            if sum(each.sizeHint().width() + 4 for each in self.tool_buttons if not each.isHidden()) <= room:
                break
            button.setToolButtonStyle(icons)
        self.keep_tabs_whole()
        self._show_answer()

    # --- arranging  ----------

    def arrange(self, area: QMainWindow, kind: str, *, narrow: bool) -> None:
        layers, sizes = ["budget", "law"], ["pareto", "allocation"]
        inside = ["levels", "histograms", "maps", "weight"]
        curves = ["accuracy", "dead", "loss"]
        if narrow:
            above, below = ["budget", "pareto"], ["levels", "weight", "maps", *curves]
            others = ["allocation", "law", "histograms"]
            if area.height() < TWO_ROWS:
                # The board takes the height of a second row.
                self.place(area, [[*above, *below, *others]])
            else:
                self.place(area, [[*above, *others]], [below])
        else:
            self.place_rows(area, [[layers, sizes], [inside, curves]])
            self._share(area, ["budget", "pareto"], [3, 2])
            self._share(area, ["levels", "accuracy"], [2, 1])
        self.keep_tabs_whole()

    def _share(self, area: QMainWindow, names: list[str], parts: list[int]) -> None:
        """Divide the width among the docks of a row."""
        widths = [max(area.width() * part // sum(parts), 1) for part in parts]
        area.resizeDocks([self.docks[name] for name in names], widths, Qt.Orientation.Horizontal)

    # --- showing  ----------

    def _value(self, name: str) -> Any:
        """A setting, as the form has it."""
        assert self.form is not None
        return self.form.values().model_dump()[name]

    @property
    def told(self) -> Mapping[str, Any] | None:
        """What the run in focus said last of its layers and their bits."""
        return self._told

    def bits(self, kind: Kind) -> tuple[int, ...]:
        """What is wished for, else what the run has; empty where nothing is known."""
        for wished in (self._wishes.get("bits"), self._sent):
            if isinstance(wished, Mapping) and kind in wished:
                return tuple(wished[kind])
        return tuple(self._told[kind]) if self._told is not None else ()

    def _show_all(self) -> None:
        self._show_board()
        self._show_form_values()
        self._show_answer()
        self._update_tools()

    def _show_board(self) -> None:
        if self._told is None:
            # Before there is a network: how many sliders there will be is guessed.
            if not self.board.names:
                self.board.set_rows([f"layer {i + 1}" for i in range(TALL)])
            if self.form is not None and self.run is None:
                for column, kind in enumerate(KINDS):
                    bits = self._value("weight_bits" if kind == "weights" else "activation_bits")
                    bits = bits if bits in ALLOWED else MOST_BITS
                    self.board.set_numbers(column, [bits] * len(self.board.names))
            self.board.set_shares([[], []])
            self.board.set_suggested(0, None)
            return
        self.board.set_rows(self._told["names"])
        for column, kind in enumerate(KINDS):
            self.board.set_numbers(column, self.bits(kind))
        self.board.set_suggested(0, self._told["allocated"])
        self.board.set_shares([self._told["noise"][kind] for kind in KINDS])

    def _show_form_values(self) -> None:
        """Let the strip show what stands in the form, too."""
        if self.form is None:
            return
        values = self.form.values().model_dump()
        by_size = values["target"] == "size"
        blocked = QSignalBlocker(self._target)
        self._target_box.setCurrentIndex(0 if by_size else 1)
        name = "target_bits" if by_size else "target_sqnr"
        spec = self.form.values().spec(name)
        assert spec.minimum is not None and spec.maximum is not None
        self._target.setRange(spec.minimum, spec.maximum)
        self._target.setSingleStep(0.25 if by_size else 0.5)
        self._target.setDecimals(2 if by_size else 1)
        self._target.setSuffix(" bits" if by_size else " dB")
        self._target.setValue(values[name])
        words = "Mean bits of a weight" if by_size else "SQNR of the output in dB"
        self._target.setToolTip(f"{words} for which bits are allocated")
        self._target.setAccessibleName(words)
        blocked.unblock()
        for name, (button, _, on) in self._switches.items():
            button.setChecked(values[name] == on)
        self.board.choose_row(min(values["layer"], max(len(self.board.names), 1)) - 1)

    def _update_tools(self) -> None:
        """Enable what can be answered."""
        can = self.can_ask() and self._told is not None
        self.board.set_editable(can)
        self._use.setEnabled(can and self._told is not None and self._told["allocated"] is not None)
        self._equal.setEnabled(can)
        own = self._told["own_steps"] if self._told is not None else {}
        has_own = any(step is not None for steps in own.values() for step in steps)
        self._by_rule.setEnabled(can and has_own)

    def _show_answer(self) -> None:
        """Say in two lines how well the present bits do, and what spoils it."""
        _fill(self._answer, self._answer_parts())
        _fill(self._blame, self._blame_parts())

    def _answer_parts(self) -> list[tuple[str, str]]:
        told = self._told
        if told is None:
            if self.started is not None:
                return [("", "Measuring …")]
            return [
                (
                    "",
                    "Press Train: every layer gets its sliders, and each move is answered with the accuracy.",
                )
            ]
        numbers = self.history.latest()
        parts: list[tuple[str, str]] = []
        if self._accuracy is not None:
            what = "in fixed point" if told["converted"] else "if it became fixed point now"
            parts.append(("b", f"{self._accuracy:.1f} %"))
            parts.append(("", what))
        exact = numbers.get("float_accuracy_percent")
        if exact is not None and exact == exact:
            parts.append(("", f"float {exact:.1f} %"))
        parts.append(("", f"{_size(told['size_bytes'])}, {told['mean_bits']:.2f} bits a weight"))
        return parts

    def _blame_parts(self) -> list[tuple[str, str]]:
        told = self._told
        if told is None:
            return []
        parts: list[tuple[str, str]] = []
        numbers = self.history.latest()
        dead = numbers.get("dead_percent")
        if dead is not None and dead == dead and self._value("fine_tune"):
            values = self.form.values().model_dump() if self.form is not None else {}
            # With a float copy, or rounded by chance, what is lost in one update adds up over many.
            if dead >= DEAD and values["master"] == "fixed" and values["rounding"] == "nearest":
                parts.append(("warning", f"brown-out: {dead:.0f} % of updates are dead"))
        shares = [(share, kind, i) for kind in KINDS for i, share in enumerate(told["noise"][kind])]
        share, kind, layer = max(shares)
        if share > 0:
            what = "weights of" if kind == "weights" else "what is read by"
            parts.append(("warning", f"most noise: {what} {told['names'][layer]}, {100 * share:.0f} %"))
        if told["allocated"] is None:
            parts.append(("warning", told["unreachable"]))
        if self._rival is not None and self._rival["contest"] == self._contest(told):
            yours, solver = self._rival["your_accuracy_percent"], self._rival["accuracy_percent"]
            ahead = yours - solver
            place = "level with" if not ahead else f"{abs(ahead):.1f} {'ahead of' if ahead > 0 else 'behind'}"
            tuned = " untuned" if "fine_tune_loss_nats" in numbers else ""
            parts.append(("", f"you {yours:.1f} %{tuned}, {place} the allocation"))
            parts.append(("", f"its {solver:.1f} % take {_size(self._rival['size_bytes'])}"))
        return parts

    # --- asking the engine  ----------

    def wish(self, name: str, action: Action) -> bool:
        """Ask as soon as nothing else is under way; a newer wish of this name takes the place of an older one."""
        if not self.can_ask():
            self.refuse(NO_NETWORK)
            return False
        self._wishes[name] = action
        self._ask_wish()
        return True

    def wish_bits(self, bits: Bits) -> bool:
        """Have these bit-widths as soon as nothing else is under way; the newest wish wins."""
        if not self.can_ask() or self._told is None:
            self.refuse(NO_NETWORK)
            return False
        if any(len(widths) != len(self._told["names"]) for widths in bits.values()):
            # Of a network with other layers, which is gone.
            return False
        before = self._wishes.get("bits")
        self._wishes["bits"] = {**before, **bits} if isinstance(before, Mapping) else dict(bits)
        self._show_board()
        self._ask_wish()
        return True

    def _ask_wish(self) -> None:
        """Send the oldest of the wishes."""
        while self._wishes and not self._is_busy and self.run is not None:
            name = next(iter(self._wishes))
            wish = self._wishes.pop(name)
            action = wish if isinstance(wish, Action) else self._towards(wish)
            if action is None:
                continue
            number = self.act(action)
            if number is None:
                self._wishes.clear()
                return
            (self._tried.add if isinstance(action, TryBits | TryAllBits) else self._tried.discard)(name)
            self._is_busy = True
            self._sent = {} if isinstance(wish, Action) else wish
            before = {kind: tuple(self._told[kind]) for kind in KINDS} if self._told is not None else {}
            self.await_answer(number, partial(self._take_answered, name, before))

    def _towards(self, wish: Bits) -> Action | None:
        """The next request on the way to these bit-widths; None where they are had."""
        assert self._told is not None
        held = self.board.is_held()
        for kind in KINDS:
            if kind not in wish:
                continue
            have, want = tuple(self._told[kind]), tuple(wish[kind])
            other = [i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b]
            rest = {each: wish[each] for each in KINDS if each in wish and each != kind}
            if rest:
                self._wishes["bits"] = rest
            if len(other) == 1:
                layer = other[0]
                return (TryBits if held else SetBits)(layer, kind, want[layer])
            if other:
                return (TryAllBits if held else SetAllBits)(kind, want)
            if "bits" in self._tried and not held:
                # Where the hand let go is noted, though it is there already.
                return SetAllBits(kind, want)
            if rest:
                self._wishes.pop("bits")
        return None

    def _take_answered(
        self, name: str, before: Mapping[Kind, tuple[int, ...]], run: ActiveRun, answer: m.Answer
    ) -> None:
        if run is not self.run:
            return
        self._is_busy, self._sent = False, {}
        if not answer.error:
            self._take_told(answer)
            self._moved_in, self._moved_at = run.key, time.monotonic()
            if name == "allocation" and self._told is not None and before:
                had: Bits = {"weights": before["weights"]}
                has: Bits = {"weights": tuple(self._told["weights"])}
                self.undo_stack.push(BitsCommand(self, "Bits of the allocation", had, has, 0, is_done=True))
        self._ask_wish()
        self._show_all()

    def _take_told(self, answer: m.Answer) -> None:
        told = dict(answer.payload)
        if "names" not in told and self._told is None:
            # Only a move was answered; who the layers are is told by the question that comes next.
            self._ask_next, self._asked = 0.0, (-1, -1)
            return
        self._told = {**(self._told or {}), **told}
        if "accuracy_percent" in told:
            self._accuracy = float(told["accuracy_percent"])

    def _keep_told(self) -> None:
        """Ask how the run stands: once where it stands still, now and then while it goes on."""
        if not self.can_ask() or self.session is None:
            return
        if self._is_busy or self._is_asking or self._wishes or self.board.is_held():
            return
        step, now = self.session.step, time.monotonic()
        if self._asked == (step, self._form_version):
            self._keep_compared()
            return
        is_still = self.state == "paused"
        is_other = self._asked[1] != self._form_version
        if not is_still and not is_other and now < self._ask_next:
            return
        converted = self._told is not None and self._told["converted"]
        self._is_asking = True
        self._ask_next = now + (ASK_EVERY if converted else ASK_SELDOM)
        number = self.session.act(GiveBits(is_still or is_other))
        self.await_answer(number, partial(self._take_listed, self._form_version))

    def _take_listed(self, form_version: int, run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run:
            return
        self._is_asking = False
        self._asked = answer.step, form_version
        if not answer.error:
            self._take_told(answer)
        self._keep_compared()
        self._show_all()

    def _contest(self, told: Mapping[str, Any]) -> tuple[Any, ...]:
        """What a comparison with the allocation depends on."""
        own = tuple(tuple(told["own_steps"][kind]) for kind in KINDS)
        return *(tuple(told[kind]) for kind in KINDS), own, self._form_version

    def _keep_compared(self) -> None:
        """Ask how the allocation does at no more cost, where that is not known yet."""
        told = self._told
        if told is None or not told["converted"] or self.session is None or self._is_asking or self._is_busy:
            return
        wanted = self._contest(told)
        if wanted == self._rival_of or time.monotonic() - self._moved_at < REST:
            return
        self._rival_of = wanted
        self._is_asking = True
        self.await_answer(self.session.act(GiveRival()), partial(self._take_compared, wanted))

    def _take_compared(self, contest: tuple[Any, ...], run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run:
            return
        self._is_asking = False
        if not answer.error and answer.payload is not None:
            self._rival = {**answer.payload, "contest": contest}
        self._show_answer()

    def _take_measured(self) -> None:
        """The newest accuracy may be one that training reported."""
        series = self.history.series("accuracy_percent")
        if series is None or not len(series):
            return
        newest = (len(series), float(series.latest))
        if newest != self._measured:
            self._measured = newest
            self._accuracy = newest[1]

    def tick(self, *, in_sight: bool) -> None:
        super().tick(in_sight=in_sight)
        if in_sight and self.form is not None:
            if self.history.version != self._measured_version:
                self._measured_version = self.history.version
                self._take_measured()
                self._show_answer()
            self._keep_told()
            self._update_tools()

    def begin(self, **options: Any) -> None:
        before, told = self.run, self._told
        goes_on = self.viewing is not None and options.get("resume") == self.viewing
        if not goes_on or options.get("keyframe") is not None or told is None or before is None:
            super().begin(**options)
            return
        if self._moved_in != before.key:
            super().begin(**options)
            return
        # What was moved in a run that is only shown is in no keyframe: the run that goes on from it is told.
        paused = bool(options.pop("paused", False))
        super().begin(**options, paused=True)
        if self.run is None or self.run is before:
            return
        actions: list[Action] = [SetAllBits(kind, tuple(told[kind])) for kind in KINDS]
        for kind in KINDS:
            steps = enumerate(told["own_steps"][kind])
            actions += [SetStep(layer, kind, step) for layer, step in steps if step is not None]
        self.run.after_start += [m.Act(action) for action in actions]
        if not paused:
            # It begins paused, or the first update would be of other bits.
            self.run.meant_to_train = True
            self.run.after_start.append(m.Play())

    def _focus(self, run: ActiveRun | None) -> None:
        super()._focus(run)
        self._told = self._rival = self._rival_of = self._accuracy = self._measured = None
        self._wishes.clear()
        self._tried.clear()
        self._sent = {}
        self._is_busy = self._is_asking = False
        self._asked, self._ask_next = (-1, -1), 0.0
        self._drag = self._dragged = None
        self._measured_version = -1
        self._show_all()

    def _take_started(self, run: ActiveRun, started: m.Started) -> None:
        super()._take_started(run, started)
        if run is self.run:
            self._show_all()

    # --- bits  ----------

    @Slot(int, object, bool)
    def _on_board_changed(self, column: int, numbers: Sequence[int], held: bool) -> None:
        kind = KINDS[column]
        before = self.bits(kind)
        self.messages_outdated.emit([f"{self.paper.id}/bits"])
        if held and not self._gesture:
            self._gesture = next(self._gestures)
        self.undo_stack.push(
            BitsCommand(
                self,
                f"Bits of {'weights' if kind == 'weights' else 'activations'}",
                {kind: before},
                {kind: tuple(numbers)},
                self._gesture if held else 0,
                is_done=False,
            )
        )
        self._show_board()

    @Slot(int)
    def _on_board_let_go(self, column: int) -> None:
        self._gesture = 0
        if "bits" in self._tried or "bits" in self._wishes:
            kind = KINDS[column]
            self.wish_bits({kind: self.bits(kind)})

    @Slot(str)
    def _on_board_refused(self, text: str) -> None:
        self.post(
            "error",
            f"{text} bits are not possible: choose {FEWEST_BITS} to {MOST_BITS}, or {FLOAT_BITS} for floating point.",
            key="bits",
        )

    @Slot(int)
    def _on_board_row_chosen(self, row: int) -> None:
        self._choose_layer(row)

    @Slot()
    def _on_use_clicked(self) -> None:
        self._wishes.pop("bits", None)
        self.wish("allocation", UseAllocation())

    @Slot()
    def _on_equal_clicked(self) -> None:
        told = self._told
        if told is None:
            return
        counts, bits = told["weight_counts"], self.bits("weights")
        mean = sum(n * min(b, MOST_BITS) for n, b in zip(counts, bits, strict=True)) / sum(counts)
        after = (max(FEWEST_BITS, round(mean)),) * len(bits)
        self.undo_stack.push(
            BitsCommand(self, "Equal bits", {"weights": bits}, {"weights": after}, 0, is_done=False)
        )

    # --- settings beside the form  ----------

    def _change(self, changes: Mapping[str, Any], gesture: int = 0) -> None:
        """Change settings as the form does."""
        assert self.form is not None
        try:
            self.form.change(changes, gesture=gesture)
        except (SettingError, InputError) as error:
            self.post("error", str(error), key="setting")
        self._show_form_values()

    @Slot(int)
    def _on_target_box_activated(self, index: int) -> None:
        self._change({"target": self._target_box.itemData(index)})

    @Slot(float)
    def _on_target_value_changed(self, value: float) -> None:
        name = "target_bits" if self._target_box.currentData() == "size" else "target_sqnr"
        self._change({name: value})

    @Slot()
    def _on_switch_clicked(self) -> None:
        name = next(name for name, (button, _, _) in self._switches.items() if button is self.sender())
        button, off, on = self._switches[name]
        self._change({name: on if button.isChecked() else off})

    @Slot(str, object, str)
    def _on_form_change_requested(self, name: str, value: object, effect: str) -> None:
        super()._on_form_change_requested(name, value, effect)
        if effect == "live":
            # Other targets and other rules have other answers.
            self._form_version += 1
        self._show_all()

    def play(self) -> None:
        if self._is_held_back():
            return
        super().play()

    def advance(self) -> None:
        if self._is_held_back():
            return
        super().advance()

    def _is_held_back(self) -> bool:
        """Whether there is nothing left to train; says what to do then."""
        converted = self._told is not None and self._told["converted"]
        if self.state != "paused" or self.viewing is not None or not converted or self._value("fine_tune"):
            return False
        self.post(
            "info",
            "The network is trained and in fixed point: move its bits, or switch on 'Fine-tune' and train on.",
            key="held",
        )
        return True

    # --- one layer, one weight  ----------

    def _choose_layer(self, row: int) -> None:
        if 0 <= row < len(self.board.names):
            self._change({"layer": row + 1})

    @Slot(float, float, int)
    def _on_layer_picked(self, x: float, y: float, plot: int) -> None:
        self._choose_layer(round(x))

    @Slot(float, float, int)
    def _on_histograms_point_picked(self, x: float, y: float, plot: int) -> None:
        if self.board.names:
            self._choose_layer(plot % len(self.board.names))

    @Slot(float, float, int)
    def _on_weight_point_picked(self, x: float, y: float, plot: int) -> None:
        still = self.view("weight").still
        if not isinstance(still, Panels) or plot != 0:
            return
        grid = next((mark for mark in still.plots[0].marks if isinstance(mark, Heatmap)), None)
        if grid is None:
            return
        rows, columns = grid.values.shape
        row, column = int(y // 1), int(x // 1)
        if 0 <= row < rows and 0 <= column < columns:
            self._change({"weight": row * columns + column})

    # --- the step  ----------

    def _frame(self, plot: int) -> Boxes | None:
        still = self.view("levels").still
        plots: tuple[Plot, ...] = still.plots if isinstance(still, Panels) else ()
        marks = plots[plot].marks if plot < len(plots) else ()
        return next((mark for mark in marks if isinstance(mark, Boxes)), None)

    def _take_levels(self, plot: int) -> StepDrag | None:
        """The levels of one plot in the hand; None where there are none, or nobody answers."""
        frame, told = self._frame(plot), self._told
        if frame is None or told is None or not 0 <= plot < len(KINDS):
            return None
        kind = KINDS[plot]
        layer = min(self._value("layer"), len(told["names"])) - 1
        bits = self.bits(kind)[layer]
        if bits == FLOAT_BITS:
            return None
        box = float(frame.x[0]), float(frame.y[0]), float(frame.width[0]), float(frame.height[0])
        return StepDrag(layer, kind, box[2] / 2**bits, box, told["own_steps"][kind][layer])

    @Slot(float, float, float, float, int)
    def _on_levels_box_grabbed(self, x: float, y: float, width: float, height: float, plot: int) -> None:
        self._drag, self._dragged = self._take_levels(plot), None

    @Slot(float, float, float, float, int)
    def _on_levels_box_dragged(self, x: float, y: float, width: float, height: float, plot: int) -> None:
        drag = self._drag
        if drag is None:
            return
        left, _, before, _ = drag.box
        # A corner stretches the frame; the frame itself is pulled to the right or pushed to the left.
        factor = width / before if abs(width - before) > 1e-9 * before else 1 + 2 * (x - left) / before
        self._dragged = drag.step * max(factor, 0.02)
        self.wish("step", TryStep(drag.layer, drag.kind, self._dragged))

    @Slot(int)
    def _on_levels_box_finished(self, plot: int) -> None:
        drag, step = self._drag, self._dragged
        self._drag = self._dragged = None
        if drag is not None and step is not None:
            self.undo_stack.push(StepCommand(self, drag, step))

    @Slot(float, bool, int)
    def _on_levels_wheel_turned(self, steps: float, is_shifted: bool, plot: int) -> None:
        drag = self._take_levels(plot)
        if drag is None:
            return
        # Where steps are powers of two, one notch must reach the next.
        factor = 2.0 if self._value("power_of_two") else WHEEL
        self.undo_stack.push(StepCommand(self, drag, drag.step * (factor if steps > 0 else 1 / factor)))

    @Slot()
    def _on_by_rule_clicked(self) -> None:
        told = self._told
        if told is None:
            return
        for kind in KINDS:
            for layer, step in enumerate(told["own_steps"][kind]):
                if step is not None:
                    self.wish(f"step of {kind} {layer}", SetStep(layer, kind, None))


class _NumberField(QDoubleSpinBox):
    """A number that the wheel turns only while it has the focus."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setFixedWidth(96)

    def wheelEvent(self, event: Any) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


def _size(size: float) -> str:
    return f"{size / 1024:.2f} KiB" if size < 100 * 1024 else f"{size / 2**20:.2f} MiB"


def _fill(label: QLabel, parts: Sequence[tuple[str, str]]) -> None:
    """Put as many of the parts into one line as there is room for; all of them into its tool tip."""
    from widgets.look import current_theme

    theme = current_theme()
    room, words = label.width() - 8, ""
    plain: list[str] = []
    html: list[str] = []
    for kind, text in parts:
        longer = f"{words} · {text}" if words else text
        if words and text_width(label, longer) > room:
            break
        plain, words = [*plain, text], longer
        if kind == "b":
            html.append(f"<b>{text}</b>")
        else:
            role = "warning" if kind == "warning" else "muted"
            html.append(f'<span style="color:{theme.color(role).name()}">{text}</span>')
    separator = f'<span style="color:{theme.color("muted").name()}"> · </span>'
    shown = (
        separator.join(html).replace(separator, " ", 1)
        if parts and parts[0][0] == "b"
        else separator.join(html)
    )
    told = " · ".join(text for _, text in parts)
    if label.text() != shown or label.toolTip() != told:
        label.setText(shown)
        label.setToolTip(told)
        label.setAccessibleDescription(told)


__all__ = ["FixedPointPanel"]
