"""The panel of one paper: its views in docks, its form, its text page, and its run; GUI thread.

A subclass says which views stand where (`arrange`) and turns gestures into the engine's actions. All else is here: the
session, the pictures' round trip, curves, layout, undo, messages.

The pictures' round trip
------------------------
1. The window's timer calls `tick`. Pictures in sight that are not under way are asked for, each once.
2. The worker computes them when their turn comes and sends them.
3. The next tick draws the newest of each. While the run stands still, a picture is asked for again only after something
   changed, which ``_version`` counts.

Runs and moments
----------------
A panel may hold several runs side by side; one is in focus, and the views, the form and the transport are about that one.
What the views show of it is its present, or a keyframe that `TimeMachine` looks at; training goes on meanwhile.
"""

from __future__ import annotations

import io
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PySide6.QtCore import QByteArray, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication, QResizeEvent, QUndoStack
from PySide6.QtWidgets import (
    QMainWindow,
    QStackedWidget,
    QTabBar,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from assets import read_text
from engines.config import Preset, Settings
from engines.errors import InputError, RunError, SettingError
from engines.figures import CurveSpec, Figure, Film, Frame
from engines.method import Action, Method
from lab.panels.active_run import COLORS, ActiveRun, Branch
from lab.panels.fork_popup import ForkPopup
from lab.panels.lockstep import Lockstep
from lab.panels.time_machine import TimeMachine, folder_marks
from lab.papers import Paper
from lab.runs import messages as m
from lab.runs.folder import BEFORE_CHANGE, DIVERGED, Keyframe, RunFolder, clock_of, new_run_id
from lab.runs.history import ScalarHistory
from lab.runs.hosts import Where, WorkerPool
from lab.runs.session import Session
from lab.window.jobs import Jobs
from widgets.curve_view import CurveView
from widgets.curves import OtherRun
from widgets.figure_view import FigureView
from widgets.icons import set_icon
from widgets.run_strip import RunStrip, StripRun
from widgets.settings_form import SettingsForm
from widgets.text_page import TextPage
from widgets.theme import ThemeManager
from widgets.time_slider import TimeSlider
from widgets.view_dock import ViewDock

if TYPE_CHECKING:
    from lab.panels.runs_page import RunsPage

logger = logging.getLogger(__name__)

CURVES_EVERY = 0.1
"""Seconds between drawings of the curves: one more point in two thousand is not seen any sooner."""

FOCUSED_WIDTH = 2.25
"""Width in pixels of the curves of the run in focus, where others lie beside them."""

NARROW = 760
"""Width of the docks' area in pixels below which most views share tabs."""


_NO_HISTORY = ScalarHistory()


def _free_role(used: Sequence[str]) -> str:
    """The first colour that no other run has."""
    return next((role for i in COLORS if (role := f"category-{i}") not in used), f"category-{COLORS[0]}")


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _has_failed(run: ActiveRun) -> bool:
    return run.session.failure is not None


def _has_diverged(run: ActiveRun) -> bool:
    return run.diverged is not None


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass
class Services:
    """What the window lends its panels.

    Attributes
    ----------
    pool : WorkerPool
    runs_folder : Path
        Where runs are written.
    themes : ThemeManager
    where : {"process", "thread"}
    device : str
    keyframe_space : int
        Bytes that a run's keyframes may take.
    jobs : Jobs
        Work in the background, called back by the window's timer.
    closing : list of Session
        Runs that were parted from and still write what they have.
    """

    pool: WorkerPool
    runs_folder: Path
    themes: ThemeManager
    where: Where = "process"
    device: str = "auto"
    keyframe_space: int = m.KEYFRAME_SPACE
    jobs: Jobs = field(default_factory=Jobs)
    closing: list[Session] = field(default_factory=list)


TakeAnswer = Callable[[ActiveRun, m.Answer], None]


class Panel(QWidget):
    """One paper's panel.

    Parameters
    ----------
    paper : Paper
    method : Method or None
        None while the paper's engine is not built: the panel then shows its text page alone.
    services : Services

    Signals
    -------
    status_changed()
        The run's state, progress or settings changed: lists and the transport show it.
    message_posted(str, str, str, object, str)
        Kind, text, details, actions as (id, label), and a key under which a newer one replaces it.
    export_requested(str)
        Name of the view.
    space_chosen(int)
        Bytes that keyframes may take from now on.
    messages_outdated(object)
        Keys of messages about a run that is no longer in sight.
    """

    status_changed = Signal()
    message_posted = Signal(str, str, str, object, str)
    export_requested = Signal(str)
    space_chosen = Signal(object)
    messages_outdated = Signal(object)

    def __init__(
        self, paper: Paper, method: Method | None, services: Services, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.paper = paper
        self.method = method
        self.services = services
        self.runs: list[ActiveRun] = []
        self.run: ActiveRun | None = None
        """The run in focus."""
        self.lockstep = Lockstep()
        self._awaited: dict[tuple[str, int], TakeAnswer] = {}
        self._has_played = False  # the films have begun by themselves
        self.overlays: list[OtherRun] = []
        """Curves of runs that are kept and shown beside the one in focus."""
        self.undo_stack = QUndoStack(self)
        self.docks: dict[str, ViewDock] = {}
        self.form: SettingsForm | None = None
        self.kind = ""
        self.times = np.zeros(0)
        """Times of the shared films' frames."""
        self._frames: dict[str, Frame] = {}
        self._version = 0
        self._requested: dict[str, int] = {}
        self._urgent: set[str] = set()
        self._forked: Keyframe | None = None
        self._told_notes = ""
        self._shown: dict[str, tuple[int, int]] = {}
        self._drawn_history: tuple[int, ...] = ()
        self._curves_at = 0.0
        self._seen: dict[str, bool] = {}
        self._maximised = ""
        self._arranged_for: tuple[str, bool] | None = None
        self._arranging = False
        self._user_layout = False
        self._remembered_layout = ""
        self._set_up()

    # --- building  ----------

    def _set_up(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.pages = QStackedWidget(self)
        layout.addWidget(self.pages)
        self.text_page = TextPage(parent=self)
        if self.method is not None:
            self.pages.addWidget(self._make_views(self.method))
            self.form = SettingsForm(
                self.method.config,
                self.method.config.build(self.method.presets[0].values),
                self.method.presets,
                self.undo_stack,
            )
            self.form.set_preset(self.method.presets[0].id)
            self.form.change_requested.connect(self._on_form_change_requested)
            self.form.preset_chosen.connect(self._on_form_preset_chosen)
            self.form.reset_requested.connect(self._on_form_reset_requested)
            self.form.curve_requested.connect(self._on_form_curve_requested)
        self.pages.addWidget(self.text_page)
        self._text_loaded = False
        self.runs_page: RunsPage | None = None
        """Made when it is first asked for."""

    def _make_views(self, method: Method) -> QWidget:
        page = QWidget(self)
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.tool_buttons: list[QToolButton] = []
        self.tools = self.make_tools(page)
        if self.tools is not None:
            layout.addWidget(self.tools)
        self.area = QMainWindow(page)
        # The constructor makes it a window whatever it is told; docks need a main window, also within another.
        self.area.setWindowFlags(Qt.WindowType.Widget)
        self.area.setDockOptions(
            QMainWindow.DockOption.AllowNestedDocks
            | QMainWindow.DockOption.AllowTabbedDocks
            | QMainWindow.DockOption.AnimatedDocks
        )
        self.area.setTabPosition(Qt.DockWidgetArea.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        layout.addWidget(self.area, 1)
        self.slider = TimeSlider(page)
        self.slider.index_changed.connect(self._on_slider_index_changed)
        self.slider.hide()
        layout.addWidget(self.slider)
        self.strip = RunStrip(page)
        self.strip.run_chosen.connect(self._on_strip_run_chosen)
        self.strip.close_requested.connect(self._on_strip_close_requested)
        self.strip.lockstep_toggled.connect(self._on_strip_lockstep_toggled)
        self.strip.hide()
        layout.addWidget(self.strip)
        self.past = TimeMachine(page)
        self.past.looked.connect(self._on_past_looked)
        self.past.arrived.connect(self._on_past_arrived)
        self.past.rewind_requested.connect(self._on_past_rewind_requested)
        self.past.fork_requested.connect(self._on_past_fork_requested)
        self.past.branch_chosen.connect(self._on_past_branch_chosen)
        self.past.space_chosen.connect(self._on_past_space_chosen)
        self.past.failed.connect(self._on_past_failed)
        self.fork_popup = ForkPopup(page)
        self.fork_popup.accepted.connect(self._on_fork_popup_accepted)
        layout.addWidget(self.fork_popup)
        layout.addWidget(self.past.timeline)
        for spec in method.views:
            view = (
                None
                if isinstance(spec, CurveSpec)
                else FigureView(shared_time=spec.name in self.shared_films())
            )
            self.add_dock(ViewDock(spec, view, self.area))
        self._invite()
        return page

    def add_dock(self, dock: ViewDock) -> None:
        """Take a card among the others: what its menu offers works, and it can be closed and brought back."""
        dock.export_requested.connect(self.export_requested)
        dock.copy_requested.connect(self._on_dock_copy_requested)
        dock.data_copy_requested.connect(self._on_dock_data_copy_requested)
        dock.maximise_requested.connect(self._on_dock_maximise_requested)
        dock.visibilityChanged.connect(self._on_dock_visibility_changed)
        dock.topLevelChanged.connect(self._on_layout_changed)
        dock.dockLocationChanged.connect(self._on_layout_changed)
        dock.toggleViewAction().toggled.connect(self._on_layout_changed)
        self.docks[dock.name] = dock

    def make_tools(self, parent: QWidget) -> QWidget | None:
        """A strip of tools above the views; None when the paper needs none."""
        return None

    def arrange(self, area: QMainWindow, kind: str, *, narrow: bool) -> None:
        """Put the docks where they belong by default, for the kind of data, and hide those that do not apply.

        ``narrow`` is true where there is little room: few rows and columns then, and tabs for the rest.
        """
        columns = [[name] for name in self.docks]
        self.place(area, columns if not narrow else [list(self.docks)])

    def place(
        self, area: QMainWindow, groups: Sequence[Sequence[str]], below: Sequence[Sequence[str]] = ()
    ) -> None:
        """Put groups of tabs side by side, and further groups side by side in a row below.

        Docks that are in no group are hidden.
        """
        named = {name for group in (*groups, *below) for name in group}
        for dock in self.docks.values():
            area.removeDockWidget(dock)
        top = [[self.docks[name] for name in group] for group in groups if group]
        bottom = [[self.docks[name] for name in group] for group in below if group]
        for row in (top, bottom):
            for index, group in enumerate(row):
                if row is top and index == 0:
                    area.addDockWidget(Qt.DockWidgetArea.TopDockWidgetArea, group[0])
                elif index == 0:
                    area.splitDockWidget(top[0][0], group[0], Qt.Orientation.Vertical)
                else:
                    area.splitDockWidget(row[index - 1][0], group[0], Qt.Orientation.Horizontal)
        for row in (top, bottom):
            for group in row:
                for before, dock in itertools.pairwise(group):
                    area.tabifyDockWidget(before, dock)
        for name, dock in self.docks.items():
            dock.setVisible(name in named)
        if top and bottom:
            both, height = [top[0][0], bottom[0][0]], max(area.height(), 2)
            area.resizeDocks(both, [height // 2, height // 2], Qt.Orientation.Vertical)
        for row in (top, bottom):
            width = max(area.width() // max(len(row), 1), 1)
            area.resizeDocks([group[0] for group in row], [width] * len(row), Qt.Orientation.Horizontal)
        for row in (top, bottom):
            for group in row:
                group[0].raise_()

    def place_rows(self, area: QMainWindow, rows: Sequence[Sequence[Sequence[str]]]) -> None:
        """Put rows of groups of tabs below each other, each as wide as the area.

        With `place` the last group of the first row reaches down to the end.
        """
        self.place(area, [])
        docks = [[[self.docks[name] for name in group] for group in row if group] for row in rows]
        area.addDockWidget(Qt.DockWidgetArea.TopDockWidgetArea, docks[0][0][0])
        for above, row in itertools.pairwise(docks):
            area.splitDockWidget(above[0][0], row[0][0], Qt.Orientation.Vertical)
        for row in docks:
            # Before there are tabs: beside a dock among tabs nothing can be put.
            for left, right in itertools.pairwise(row):
                area.splitDockWidget(left[0], right[0], Qt.Orientation.Horizontal)
        for group in (group for row in docks for group in row):
            for before, dock in itertools.pairwise(group):
                area.tabifyDockWidget(before, dock)
            for dock in group:
                dock.show()
            group[0].raise_()
        height = max(area.height() // len(rows), 1)
        area.resizeDocks([row[0][0] for row in docks], [height] * len(rows), Qt.Orientation.Vertical)
        for row in docks:
            width = max(area.width() // len(row), 1)
            area.resizeDocks([group[0] for group in row], [width] * len(row), Qt.Orientation.Horizontal)

    def keep_tabs_whole(self) -> None:
        """Let no name of a tab end in dots: those for which there is no room are scrolled to."""
        for bar in self.area.findChildren(QTabBar):
            bar.setElideMode(Qt.TextElideMode.ElideNone)
            bar.setUsesScrollButtons(True)

    def tool_button(self, parent: QWidget, text: str, icon_name: str, tip: str) -> QToolButton:
        """A button for the strip of tools, icon and words; it is one of `tool_buttons` then."""
        button = QToolButton(parent)
        button.setText(text)
        button.setToolTip(tip)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        set_icon(button, icon_name, self.services.themes)
        self.tool_buttons.append(button)
        return button

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_tools()

    def _fit_tools(self) -> None:
        """Make the strip of tools fit the panel's width; for subclasses whose strip may be too long."""

    def view(self, name: str) -> FigureView:
        """The view of one of the engine's pictures."""
        return self.docks[name].view

    def is_in_sight(self, name: str) -> bool:
        """Whether a view can be seen: open, and not behind another tab."""
        # Qt counts a dock behind another tab as visible, but tells when it goes there and comes back.
        return self._seen.get(name, False) and self.docks[name].isVisible()

    def shared_films(self) -> tuple[str, ...]:
        """Views whose films follow the one time slider."""
        return ()

    # --- layout  ----------

    def ensure_arranged(self) -> None:
        """Arrange the docks by default, unless the person has arranged them."""
        if self.method is None or self.area.width() < 50:
            return
        wanted = (self.kind, self.area.width() < NARROW)
        if self._arranged_for == wanted:
            return
        same_kind = self._arranged_for is not None and self._arranged_for[0] == wanted[0]
        if same_kind and (self._maximised or self._user_layout):
            return
        self._forget_maximised()
        self._user_layout = False
        self._arranged_for = wanted
        self._arranging = True
        self.arrange(self.area, wanted[0], narrow=wanted[1])
        self._arranging = False
        remembered, self._remembered_layout = self._remembered_layout, ""
        if remembered:
            self.restore_layout(remembered)

    def reset_layout(self) -> None:
        """Bring every view back to its place."""
        if self.method is None:
            return
        self._forget_maximised()
        self._user_layout = False
        self._arranged_for = None
        self._remembered_layout = ""
        for dock in self.docks.values():
            dock.setFloating(False)
        self.ensure_arranged()

    def _forget_maximised(self) -> None:
        if self._maximised:
            self.docks[self._maximised].set_maximised(False)
            self._maximised = ""

    @Slot()
    def _on_layout_changed(self) -> None:
        if not self._arranging and not self._maximised and self._arranged_for is not None:
            self._user_layout = True

    def save_layout(self) -> str:
        """The docks' places as text, for `restore_layout`."""
        if self.method is None or self._arranged_for is None:
            return ""
        if self._maximised:
            self._restore_from_maximised()
        return bytes(self.area.saveState(1).toBase64().data()).decode()

    def restore_layout(self, text: str) -> bool:
        """Put the docks where they were; False when the text does not fit, and then nothing changes."""
        if self.method is None or not text:
            return False
        self.ensure_arranged()
        self._arranging = True
        restored = self.area.restoreState(QByteArray.fromBase64(text.encode()), 1)
        self._arranging = False
        if restored:
            self._user_layout = True
            self._arranged_for = (self.kind, self.area.width() < NARROW)
        return restored

    @Slot(str)
    def _on_dock_maximise_requested(self, name: str) -> None:
        if self._maximised:
            self._restore_from_maximised()
            return
        self._before_maximised = self.area.saveState(1)
        self._maximised = name
        for other, dock in self.docks.items():
            dock.set_maximised(other == name)
            dock.setVisible(other == name)

    def _restore_from_maximised(self) -> None:
        name = self._maximised
        self.area.restoreState(self._before_maximised, 1)
        self._forget_maximised()
        self.docks[name].raise_()

    @Slot(str)
    def _on_dock_copy_requested(self, name: str) -> None:
        QGuiApplication.clipboard().setPixmap(self.view(name).grab())

    @Slot(str)
    def _on_dock_data_copy_requested(self, name: str) -> None:
        from lab.export.data import write_csv

        figure = self.figure(name)
        if figure is not None:
            text = io.StringIO()
            write_csv(figure, text)
            QGuiApplication.clipboard().setText(text.getvalue())

    @Slot(bool)
    def _on_dock_visibility_changed(self, visible: bool) -> None:
        # A view that comes into sight asks for its picture with the next tick.
        dock = self.sender()
        if isinstance(dock, ViewDock):
            self._seen[dock.name] = visible
            if visible and hasattr(self, "past") and self.past.record is not None:
                self._show_past()
            # Who turns to a view must not wait until its turn comes.
            (self._urgent.add if visible else self._urgent.discard)(dock.name)
        self._drawn_history = ()

    # --- text  ----------

    def show_text(self) -> None:
        """Show the paper's text; it is read and set the first time."""
        if not self._text_loaded:
            self._text_loaded = True
            self.text_page.set_markdown(read_text(f"papers/{self.paper.key}.md"))
            if self.method is None:
                self.text_page.set_notice(
                    "The engine of this paper is not built yet: this page tells what it is about."
                )
        self.pages.setCurrentWidget(self.text_page)
        self._update_text_numbers()

    def show_views(self) -> None:
        """Show the pictures; a paper without an engine has only its text."""
        if self.method is None:
            self.show_text()
        else:
            self.pages.setCurrentIndex(0)
            self.ensure_arranged()

    def show_runs(self) -> RunsPage | None:
        """Show the paper's runs; None for a paper without an engine."""
        if self.method is None:
            return None
        if self.runs_page is None:
            from lab.panels.runs_page import RunsPage

            self.runs_page = RunsPage(self, self.pages)
            self.pages.addWidget(self.runs_page)
        self.pages.setCurrentWidget(self.runs_page)
        self.runs_page.refresh()
        return self.runs_page

    def are_runs_shown(self) -> bool:
        """Whether the list of runs is in front."""
        return self.runs_page is not None and self.pages.currentWidget() is self.runs_page

    def is_text_shown(self) -> bool:
        """Whether the text page is in front."""
        return self.pages.currentWidget() is self.text_page

    def _update_text_numbers(self) -> None:
        if self._text_loaded and self.is_text_shown():
            self.text_page.set_numbers(self.numbers())

    # --- the run  ----------

    @property
    def session(self) -> Session | None:
        """The session of the run in focus."""
        return self.run.session if self.run is not None else None

    @property
    def history(self) -> ScalarHistory:
        """The scalars of the run in focus."""
        return self.run.history if self.run is not None else _NO_HISTORY

    @property
    def started(self) -> m.Started | None:
        """What the worker told of the run in focus when its engine stood."""
        return self.run.started if self.run is not None else None

    @property
    def progress(self) -> m.Progress | None:
        """How far the run in focus is."""
        return self.run.progress if self.run is not None else None

    @property
    def viewing(self) -> Path | None:
        """The run that is shown and not trained; training on begins a run of its own from its newest keyframe."""
        return self.run.viewing if self.run is not None else None

    @property
    def state(self) -> m.RunState:
        """The state of the run in focus, ``idle`` when there is none."""
        return self.session.state if self.session is not None else "idle"

    def state_text(self) -> str:
        """The state in words."""
        step = self.session.step if self.session is not None else 0
        if self.state == "paused":
            if self.viewing is not None:
                return f"Restored at step {step:,}"
            if self.session is not None and self.session.is_finished:
                return f"All {step:,} steps done"
            return f"Paused at step {step:,}"
        return ""

    def _total(self) -> int | None:
        return self.settings().steps if self.form is not None else None

    def _together(self) -> list[ActiveRun]:
        """The runs that the transport drives: all that are in lockstep, else the one in focus."""
        if self.lockstep.enabled and len(self.runs) > 1:
            return [run for run in self.runs if run.viewing is None and run.is_alive]
        return [self.run] if self.run is not None else []

    def play(self) -> None:
        """Train: begin a run, or go on with the one there is."""
        if self.run is None or self.state in m.ENDED:
            self.begin()
        elif self.viewing is not None and self.state == "paused":
            self.begin(resume=self.viewing)
        else:
            for run in self._together():
                if run.state == "paused":
                    run.meant_to_train = True
                    run.session.play()

    def pause(self) -> None:
        """Stop between two steps."""
        together = self._together()
        for run in together:
            run.meant_to_train = False
        if len(together) > 1:
            self.lockstep.pause(together)
        elif together:
            together[0].session.pause()

    def advance(self) -> None:
        """Do one step; begins the run if there is none."""
        if self.run is None or self.state in m.ENDED:
            self._begin_and_step(None)
        elif self.viewing is not None:
            self._begin_and_step(self.viewing)
        else:
            for run in self._together():
                run.meant_to_train = False
                run.session.leash(None)
                run.session.advance(1)

    def _begin_and_step(self, resume: Path | None) -> None:
        before = self.run
        self.begin(resume=resume, paused=True)
        if self.run is not None and self.run is not before:
            self.run.after_start.append(m.Advance(1))

    def stop(self) -> None:
        """End the run and keep it."""
        if self.session is not None:
            self.session.stop()

    def reset(self) -> None:
        """Begin again from step 0 with the form's settings; what was trained stays in its folder."""
        # The state lags behind what was asked: a single step under way, a pause or a paused start are not training.
        is_training = (
            self.run is not None and self.run.meant_to_train and self.state in ("running", "starting")
        )
        self.begin(paused=not is_training)

    def begin(
        self,
        *,
        resume: Path | None = None,
        keyframe: Keyframe | None = None,
        relation: str = "continue",
        paused: bool = False,
        keep: bool = True,
        beside: bool = False,
        name: str = "",
        detail: str = "",
    ) -> None:
        """Start a run from the form's settings, or from a keyframe of a run folder.

        Parameters
        ----------
        resume : Path, optional
            The run folder to go on from.
        keyframe : Keyframe, optional
            Which of its keyframes; the newest if not given.
        relation : {"continue", "rewind", "fork"}
        paused : bool
        keep : bool
            False shows a run without training it.
        beside : bool
            Leave the runs that there are; otherwise the one in focus is parted from.
        name, detail : str
            What it is called beside others, and what differs.
        """
        assert self.method is not None and self.form is not None
        run_id = new_run_id(self.paper.id)
        preset = self.form.preset()
        target = self.services.runs_folder / run_id
        spec = m.RunSpec(
            run=run_id,
            paper=self.paper.id,
            engine=self.method.engine,
            values=self.form.values().model_dump(),
            device=self.services.device,
            folder=str(target) if keep else None,
            resume=str(resume) if resume is not None else None,
            keyframe=keyframe.file if keyframe is not None else "",
            before_change=keyframe is not None and keyframe.reason == BEFORE_CHANGE,
            relation=relation,
            preset=preset.id if preset is not None else "",
            paused=paused,
            keyframe_space=self.services.keyframe_space,
        )
        if keep:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self.post(
                    "error",
                    f"The folder {target.parent} cannot be made ({error.strerror}): choose another.",
                    key="run",
                )
                return
        self.messages_outdated.emit(
            [f"{self.paper.id}/{key}" for key in ("failure", "paused", "answer", "past")]
        )
        before = self.run
        if relation == "fork" and before is not None and keyframe is not None:
            before.marks.append(m.Marked(keyframe.step, "fork", {"detail": detail}))
            before.version += 1
        run = ActiveRun(Session(spec, self.services.pool.take(self.services.where)))
        run.meant_to_train = not paused
        run.viewing = None if keep else resume
        run.space = self.services.keyframe_space
        run.name, run.detail = name or clock_of(run_id), detail
        if resume is not None:
            self._take_over(run, before, resume, keyframe)
        if before is not None and not beside:
            self._let_go(before)
        self.runs.append(run)
        run.role = _free_role([other.role for other in self.runs if other is not run])
        self._focus(run)
        if resume is None:
            self._shown.clear()
        for dock in self.docks.values():
            if dock.view.figure is None and not isinstance(dock.view, CurveView):
                dock.view.clear("The picture appears as soon as the model stands.")
        run.start_number = run.session.start()
        # With the start itself, so that the first picture is the first thing that the worker does.
        self._request(run.session, self._visible_views())
        self._send_hand()
        self.status_changed.emit()

    def _take_over(
        self, run: ActiveRun, before: ActiveRun | None, resume: Path, keyframe: Keyframe | None
    ) -> None:
        """What a run that goes on from another one has behind it: scalars and branches up to there."""
        if before is None or before.folder != resume:
            return
        if keyframe is None:
            sound = [k for k in before.keyframes if k.finite and k.reason != DIVERGED]
            keyframe = sound[-1] if sound else None
        # Beyond the keyframe the steps are trained anew.
        step = keyframe.step if keyframe is not None else before.session.step
        run.history = before.history.upto(step)
        run.keyframes = tuple(k for k in before.keyframes if keyframe is None or k.place <= keyframe.place)
        run.marks = (
            [mark for mark in before.marks if mark.step <= step] if not run.session.spec.folder else []
        )
        run.branches = [branch for branch in before.branches if branch.start <= step]
        if before.session.step > step and before.viewing is None:
            run.branches.append(Branch(step, before.session.step, before.name, resume))

    def _focus(self, run: ActiveRun | None) -> None:
        """Turn the views, the form and the transport to a run."""
        self.run = run
        # It asks about the run that was in focus.
        self.fork_popup.hide()
        self._drawn_history = ()
        self._requested.clear()
        self._urgent.clear()
        self._version += 1
        self.past.follow(run)
        self._show_strip()

    def choose_run(self, key: str) -> None:
        """Put another of the panel's runs in focus."""
        run = next((run for run in self.runs if run.key == key), None)
        if run is None or run is self.run or self.form is None or self.method is None:
            return
        self._focus(run)
        self._shown.clear()
        config = self.method.config.build(run.values())
        self.form.set_values(config)
        self.form.set_preset(run.session.spec.preset)
        self.form.set_running_config(config if run.started is not None else None)
        self.undo_stack.clear()
        if run.started is not None:
            self._take_kind(run.started)
        for name in self.method.figure_names():
            if name not in run.live:
                # What it shows is another run's.
                self.view(name).clear("The picture of this run appears when it is drawn next.")
            elif self.is_in_sight(name):
                self._show_figure(name, self.view(name), run.live[name])
        self.status_changed.emit()

    def close_beside(self, key: str) -> None:
        """Part from one of several runs; it stays in its folder."""
        run = next((run for run in self.runs if run.key == key), None)
        if run is None or len(self.runs) < 2:
            return
        self._let_go(run)
        if self.run is None:
            self.choose_run(self.runs[-1].key)
        self._show_strip()
        self._drawn_history = ()
        self.status_changed.emit()

    def _show_strip(self) -> None:
        self.strip.setVisible(len(self.runs) > 1)
        self.strip.set_runs(
            [StripRun(run.key, run.name, run.detail, run.state, run.role) for run in self.runs],
            self.run.key if self.run is not None else "",
        )
        self.strip.set_lockstep(self.lockstep.enabled)

    @Slot(str)
    def _on_strip_run_chosen(self, key: str) -> None:
        self.choose_run(key)

    @Slot(str)
    def _on_strip_close_requested(self, key: str) -> None:
        self.close_beside(key)

    @Slot(bool)
    def _on_strip_lockstep_toggled(self, together: bool) -> None:
        self.set_lockstep(together)

    def set_lockstep(self, together: bool) -> None:
        """Hold the runs side by side at the same step, or let each train on its own."""
        self.lockstep.enabled = together
        if not together:
            self.lockstep.release(self.runs)
        self.strip.set_lockstep(together)

    def _send_hand(self) -> None:
        """Tell a new engine what the person had painted and chosen; for subclasses."""

    def open_run(self, path: Path, *, beside: bool = False) -> None:
        """Show a run from its folder, paused where it ended.

        Raises
        ------
        RunError
            When it cannot be read at all; what is damaged in part is told in a message.
        """
        assert self.method is not None and self.form is not None
        folder = RunFolder(path)
        metrics = folder.metrics()
        keyframes, damage = folder.keyframes()
        events, more = folder.events()
        for sentence in (*metrics.damage, *damage, *more):
            self.post("warning", sentence)
        config = self.method.config.build(folder.values())
        self.form.set_values(config)
        self.form.set_preset(folder.info.preset)
        self.undo_stack.clear()
        self.begin(
            resume=path,
            paused=True,
            keep=False,
            beside=beside,
            name=folder.info.name or clock_of(folder.info.id),
            detail=f"up to step {metrics.steps[-1]:,}" if len(metrics.steps) else "",
        )
        assert self.run is not None
        self.run.history = ScalarHistory.of(metrics.steps, metrics.columns)
        self.run.keyframes, self.run.marks = tuple(keyframes), folder_marks(events)
        self.run.version += 1
        self._shown.clear()
        self._find_branches(self.run, folder)

    def _find_branches(self, run: ActiveRun, folder: RunFolder) -> None:
        """Look in the background for the runs that this one came from, and that came from it."""
        from lab.runs.shelf import Shelf, ShelfRow

        info, paper = folder.info, self.paper.id
        # A folder that lies elsewhere has its relatives beside it.
        shelf = Shelf(folder.path.parent)

        def done(future: Future[list[ShelfRow]]) -> None:
            if future.exception() is not None:
                logger.error("the relatives of a run", exc_info=future.exception())
                return
            for row in future.result():
                start = (
                    info.parent_step
                    if row.id == info.parent
                    else row.parent_step
                    if row.parent == info.id
                    else -1
                )
                if start >= 0 and row.step > start:
                    run.branches.append(Branch(start, row.step, clock_of(row.id), row.path))
            run.version += 1

        self.services.jobs.start(f"relatives/{info.id}", lambda job: shelf.rows(paper), done)

    def show_run(self, path: Path) -> None:
        """Bring a run into sight: the one that is here already, or from its folder; what trains goes on beside it.

        Raises
        ------
        RunError
            As `open_run`.
        """
        here = next((run for run in self.runs if run.folder is not None and _is_same(run.folder, path)), None)
        if here is not None:
            self.choose_run(here.key)
            if here.is_alive:
                return
        self.open_run(path, beside=self.state in ("running", "starting"))

    def last_run(self) -> str:
        """The folder that holds what is shown, for the next start; empty when there is none."""
        if self.viewing is not None:
            return str(self.viewing)
        if self.session is not None and self.session.spec.folder and self.started is not None:
            return self.session.spec.folder
        return ""

    def _let_go(self, run: ActiveRun) -> None:
        """Part from a run; it writes what it has and ends in the background."""
        run.session.leash(None)
        run.session.request_close()
        self.services.closing.append(run.session)
        if run in self.runs:
            self.runs.remove(run)
        self._awaited = {place: then for place, then in self._awaited.items() if place[0] != run.key}
        if run is self.run:
            self.run = None

    def act(self, action: Action) -> int | None:
        """Send a request of the hand to the run, if there is one; it acts on the present.

        Returns the number under which it is answered, see `await_answer`; None where there is nobody to answer.
        """
        if self.session is None or self.state not in ("starting", "running", "paused"):
            return None
        self.past.go_live()
        self._version += 1
        return self.session.act(action)

    def act_for(self, action: Action, names: Sequence[str]) -> int | None:
        """As `act`, of which these pictures alone tell: they are asked for at once, and the others stay as they are."""
        before = self._version
        number = self.act(action)
        if number is None or self.session is None:
            return None
        for name, (step, version) in list(self._shown.items()):
            if name not in names and version == before:
                self._shown[name] = step, self._version
        for name, version in list(self._requested.items()):
            if name not in names and version == before:
                self._requested[name] = self._version
        at_once = [name for name in names if self.is_in_sight(name) and name not in self._requested]
        self._request(self.session, at_once, now=True)
        return number

    def can_ask(self) -> bool:
        """Whether the run in focus has an engine that answers the hand."""
        return self.started is not None and self.state in ("running", "paused")

    def refuse(self, nothing_yet: str) -> None:
        """Say why nothing answers the hand: the run has ended, or else what there is not yet, in a sentence."""
        if self.state in m.ENDED:
            nothing_yet = "The run has ended, so that nothing answers the hand: press Reset to begin again."
        self.post("info", nothing_yet, key="act")

    def await_answer(self, number: int, then: TakeAnswer, run: ActiveRun | None = None) -> None:
        """Have ``then(run, answer)`` called when a run answers that command, or refuses it, which is told already.

        It is the run in focus that is asked unless another one is named.
        """
        run = run or self.run
        assert run is not None
        self._awaited[run.key, number] = then

    def take_answer(self, run: ActiveRun, answer: m.Answer) -> None:
        """A run answered a command."""
        then = self._awaited.pop((run.key, answer.number), None)
        if then is not None:
            then(run, answer)

    def take_file(self, path: Path) -> bool:
        """Open a file of this paper's own kind that was dropped on the window; False where it is none."""
        return False

    # --- the past  ----------

    @Slot(object)
    def _on_past_looked(self, record: Keyframe | None) -> None:
        self._drawn_history = ()
        if record is None and self.run is not None:
            # What was last seen of the present, until there is something newer.
            self._shown.clear()
            self._version += 1
            for name, figure in self.run.live.items():
                if self.is_in_sight(name):
                    self._show_figure(name, self.view(name), figure)
        if self.is_text_shown():
            self._update_text_numbers()
        self.status_changed.emit()

    @Slot()
    def _on_past_arrived(self) -> None:
        if not (self.is_text_shown() or self.are_runs_shown()):
            self._show_past()

    @Slot()
    def _on_past_rewind_requested(self) -> None:
        if self.past.record is not None:
            self.rewind(self.past.record)

    @Slot()
    def _on_past_fork_requested(self) -> None:
        self.ask_fork()

    def ask_fork(self) -> None:
        """Ask what a fork is to do otherwise: from the keyframe that is looked at, else from the newest."""
        record = self._fork_from()
        if record is None or self.run is None or self.run.folder is None or self.method is None:
            self.post("info", "There is nothing to fork from yet: press Train first.", key="fork")
            return
        try:
            values = RunFolder(self.run.folder).keyframe_values(record)
            settings = self.method.config.build(values)
        except InputError as error:
            self.post("error", str(error), key="fork")
            return
        self._forked = record
        self.fork_popup.ask(settings, record.step, self.method.learning_rate)

    def _fork_from(self) -> Keyframe | None:
        if self.past.record is not None:
            return self.past.record
        sound = [k for k in self.run.keyframes if k.finite] if self.run is not None else []
        return sound[-1] if sound else None

    @Slot(object, bool)
    def _on_fork_popup_accepted(self, changes: Mapping[str, Any], together: bool) -> None:
        # Qt would hand the keyboard to whatever comes next.
        self.past.timeline.setFocus(Qt.FocusReason.OtherFocusReason)
        if self._forked is not None:
            self.fork(self._forked, changes, together=together)

    @Slot(str)
    def _on_past_branch_chosen(self, folder: str) -> None:
        here = next((run for run in self.runs if run.folder == Path(folder)), None)
        if here is not None:
            self.choose_run(here.key)
            return
        try:
            self.open_run(Path(folder), beside=True)
        except InputError as error:
            self.post("error", str(error), key="branch")

    @Slot(object)
    def _on_past_space_chosen(self, space: int) -> None:
        self.services.keyframe_space = space
        for run in self.runs:
            run.session.send(m.Space(space))
        self.space_chosen.emit(space)

    @Slot(str)
    def _on_past_failed(self, sentence: str) -> None:
        self.post("warning", sentence, key="past")

    def rewind(
        self, keyframe: Keyframe, changes: Mapping[str, Any] | None = None, *, train: bool | None = None
    ) -> None:
        """Train on from a keyframe of the run in focus; what lay after it is kept as a branch.

        Parameters
        ----------
        keyframe : Keyframe
        changes : mapping, optional
            Live settings that are to be others from there on; all others are as they were then.
        train : bool, optional
            Whether to train at once; as before if not given.
        """
        run = self.run
        if run is None or run.folder is None or self.form is None:
            return
        training = run.meant_to_train and run.state in ("running", "starting")
        try:
            self._set_form(run.folder, keyframe, changes or {})
        except InputError as error:
            self.post("error", str(error), key="rewind")
            return
        self.begin(
            resume=run.folder,
            keyframe=keyframe,
            relation="rewind",
            paused=not (training if train is None else train),
            name=run.name,
            detail=run.detail,
        )

    def fork(
        self, keyframe: Keyframe, changes: Mapping[str, Any], *, train: bool = True, together: bool = False
    ) -> None:
        """Train a second run from a keyframe of the one in focus, with other settings, beside it.

        A setting that the model is built from can differ only from the first step on: such a fork begins anew.
        """
        run = self.run
        if run is None or run.folder is None or self.form is None or self.method is None:
            return
        anew = keyframe.step == 0 and bool(changes) and self.method.config.effect_of(changes) == "rebuild"
        try:
            self._set_form(run.folder, keyframe, changes)
        except InputError as error:
            self.post("error", str(error), key="fork")
            return
        self.set_lockstep(together)
        detail = ", ".join(
            f"{self.method.config.spec(k).label.lower()} {_plain(v)}" for k, v in changes.items()
        )
        self.begin(
            resume=None if anew else run.folder,
            keyframe=None if anew else keyframe,
            relation="fork",
            paused=not train,
            beside=True,
            detail=detail or f"from step {keyframe.step:,}",
        )

    def _set_form(self, folder: Path, keyframe: Keyframe, changes: Mapping[str, Any]) -> None:
        """Put into the form what was in force at a keyframe, and what is to differ from it.

        Raises
        ------
        InputError
        """
        assert self.form is not None and self.method is not None
        values = {**RunFolder(folder).keyframe_values(keyframe), **changes}
        self.form.set_values(self.method.config.build(values))
        self.undo_stack.clear()

    def go_back_from_divergence(self) -> None:
        """Rewind to before the numbers left their scale, with a lower learning rate, and train on."""
        run = self._turn_to(_has_diverged)
        diverged = run.diverged if run is not None else None
        if diverged is None or diverged.keyframe is None:
            return
        changes = {diverged.setting: diverged.value} if diverged.setting else {}
        self.rewind(diverged.keyframe, changes, train=True)

    def look_at_divergence(self) -> None:
        """Show what was seen when training diverged."""
        run = self._turn_to(_has_diverged)
        if run is not None and run.diverged is not None:
            self.past.look_at_step(run.diverged.step)

    def go_on_after_divergence(self) -> None:
        """Train on, whatever the numbers are."""
        self._turn_to(_has_diverged)
        self.play()

    # --- the round trip  ----------

    def tick(self, *, in_sight: bool) -> None:
        """Take what came, draw what is in sight, and ask for more; called by the window's timer."""
        told = False
        for run in list(self.runs):
            told = self._take(run) or told
        self.lockstep.tick(self.runs)
        if in_sight and self.runs_page is not None and self.are_runs_shown():
            self.runs_page.tick()
        if told:
            self._show_strip()
            self.status_changed.emit()
        focused = self.run
        if focused is None:
            return
        frames, self._frames = self._frames, {}
        if in_sight and self.are_runs_shown():
            self.past.refresh(self._total())
        elif in_sight and not self.is_text_shown():
            self._draw(frames)
            self._ask(focused.session)
        elif in_sight:
            self.past.refresh(self._total())
            self._update_text_numbers()
        for name in frames:
            # A frame that came while nobody looked is dropped; the next one will be newer.
            self._requested.pop(name, None)

    def _take(self, run: ActiveRun) -> bool:
        """Take what came of one run; true when its state or progress is another."""
        updates = run.session.drain()
        focused = run is self.run
        for batch in updates.scalars:
            run.history.extend(batch.steps, batch.columns)
        if updates.kept is not None:
            run.keyframes, run.space = updates.kept.keyframes, updates.kept.space
            run.version += 1
        if updates.marks:
            run.marks += updates.marks
            run.version += 1
        if updates.started is not None:
            self._take_started(run, updates.started)
        if updates.progress is not None:
            run.progress = updates.progress
        for answer in updates.answers:
            if answer.error and answer.number != run.start_number and run.session.failure is None:
                self.post("error", answer.error, key="answer")
            self.take_answer(run, answer)
        for note in updates.notes:
            self.post(note.kind, note.text)
        if updates.failure is not None:
            self._take_failure(run, updates.failure)
        for change in updates.states:
            self._version += focused
            if change.state == "running":
                run.diverged = None
            elif change.state == "paused" and change.message and not change.finished:
                # Of a divergence more is told below.
                if updates.diverged is None and run.diverged is None:
                    self.post("warning", self._told_of(run, change.message), key="paused")
        if updates.diverged is not None:
            self._take_diverged(run, updates.diverged)
        if focused:
            self._frames.update(updates.frames)
        run.live.update({name: frame.figure for name, frame in updates.frames.items()})
        return bool(updates.states) or updates.progress is not None or updates.started is not None

    def _take_started(self, run: ActiveRun, started: m.Started) -> None:
        assert self.form is not None and self.method is not None
        run.started = started
        config = self.method.config.build(started.values)
        if run is self.run:
            self.form.set_running_config(config)
            self._take_kind(started)
            # Live settings that were changed while the engine was being built.
            late = {
                name: value
                for name, value in config.differing(self.form.values()).items()
                if config.spec(name).effect != "rebuild"
            }
            if late:
                run.session.change(late)
        for command in run.after_start:
            run.session.send(command)
        run.after_start.clear()
        notes = started.data.get("notes", "")
        if notes and notes != self._told_notes:
            self.post("info", notes, key="data")
        self._told_notes = notes

    def _take_kind(self, started: m.Started) -> None:
        """Show the views that fit the data."""
        kind = started.data.get("kind", "")
        if kind != self.kind:
            self.kind = kind
            self.ensure_arranged()

    def _take_failure(self, run: ActiveRun, failure: m.Failure) -> None:
        actions = [] if failure.kind == "input" else [("reset", "Start again")]
        if failure.kind == "died" and run.session.spec.folder:
            actions = [("continue", "Continue from the last keyframe"), *actions]
        if failure.remedy.startswith("fetch:"):
            actions = [(failure.remedy, "Download it")]
        if run is self.run:
            self._invite("The run has failed: the message above says why.")
        self.post("error", self._told_of(run, failure.sentence), failure.details, actions, key="failure")

    def _told_of(self, run: ActiveRun, sentence: str) -> str:
        """What is told of a run; where there are several, with its name."""
        return f"{run.name}: {sentence}" if len(self.runs) > 1 else sentence

    def _turn_to(self, is_meant: Callable[[ActiveRun], bool]) -> ActiveRun | None:
        """Put the run in focus that a message is about; None when it is not there any more."""
        among = [run for run in self.runs if is_meant(run)]
        if among and self.run not in among:
            self.choose_run(among[0].key)
        return self.run if among else None

    def _take_diverged(self, run: ActiveRun, diverged: m.Diverged) -> None:
        run.diverged = diverged
        actions = [("look-back", "Look at What Happened"), ("go-on", "Go On")]
        if diverged.keyframe is not None:
            lower = ""
            if diverged.setting and self.method is not None:
                label = self.method.config.spec(diverged.setting).label.lower()
                lower = f" with {label} {diverged.value:g}"
            actions = [("rewind-lower", f"Rewind to Step {diverged.keyframe.step:,}{lower}"), *actions]
        self.post("warning", self._told_of(run, diverged.sentence), "", actions, key="paused")

    def continue_after_failure(self) -> None:
        """Go on from the newest keyframe of the run that failed."""
        run = self._turn_to(_has_failed)
        folder = run.session.spec.folder if run is not None else None
        if folder is not None and Path(folder).exists():
            self.begin(resume=Path(folder))

    def start_again_after_failure(self) -> None:
        """Begin the run that failed again from step 0."""
        self._turn_to(_has_failed)
        self.reset()

    def _visible_views(self) -> list[str]:
        computed = self.method.figure_names() if self.method is not None else ()
        return [name for name in computed if self.is_in_sight(name)]

    def _ask(self, session: Session) -> None:
        if session.state not in ("running", "paused") or self.started is None or self.past.record is not None:
            return
        step = session.step
        wanted: list[str] = []
        urgent: list[str] = []
        for name in self._visible_views():
            if session.state == "paused" and self._shown.get(name) == (step, self._version):
                continue
            if name not in self._requested:
                (urgent if name in self._urgent else wanted).append(name)
        self._urgent.clear()
        self._request(session, wanted)
        self._request(session, urgent, now=True)

    def _request(self, session: Session, names: Sequence[str], *, now: bool = False) -> None:
        self._requested.update(dict.fromkeys(names, self._version))
        session.want(names, now=now)

    def _draw(self, frames: Mapping[str, Frame]) -> None:
        if self.past.record is None:
            for name, frame in frames.items():
                if name in self.docks:
                    self._show_figure(name, self.view(name), frame.figure)
                    self._shown[name] = (frame.step, self._requested.get(name, self._version))
        self.past.refresh(self._total())
        now = time.monotonic()
        drawn = (self.history.version, *(run.history.version for run in self.runs))
        if drawn != self._drawn_history and now - self._curves_at >= CURVES_EVERY:
            self._drawn_history = drawn
            self._curves_at = now
            self._draw_curves()

    def _draw_curves(self, *, everywhere: bool = False) -> None:
        series = self.history.series_arrays()
        others = [
            OtherRun(run.name, run.role, run.history.series_arrays())
            for run in self.runs
            if run is not self.run
        ]
        others += self.overlays
        for name, dock in self.docks.items():
            if not isinstance(dock.view, CurveView) or not (everywhere or self.is_in_sight(name)):
                continue
            own = series
            if others and self.run is not None:
                # Beside others a run's colour says which run it is, for the one in focus as well.
                focused = OtherRun(self.run.name, self.run.role, series, FOCUSED_WIDTH)
                dock.view.set_others([*others, focused])
                # Not drawn as curves: where rules lie, and where the cursor stands.
                needed = (*(scalar for scalar, _, _ in dock.view.spec.rules), dock.view.spec.x_scalar)
                own = {scalar: series[scalar] for scalar in needed if scalar in series}
            else:
                dock.view.set_others([])
            dock.view.set_cursor(self.past.step)
            dock.view.update_series(own)

    def set_overlays(self, overlays: Sequence[OtherRun]) -> None:
        """Show curves of other runs beside those of the run in focus."""
        self.overlays = list(overlays)
        self._drawn_history = ()

    def _show_past(self) -> None:
        """Show every picture in sight as it was at the keyframe that is looked at."""
        for name in self._visible_views():
            figure = self.past.figures.get(name)
            if figure is not None and self.view(name).figure is not figure:
                self._show_figure(name, self.view(name), figure)

    def _show_figure(self, name: str, view: FigureView, figure: Figure) -> None:
        if isinstance(figure, Film) and name in self.shared_films():
            if not np.array_equal(self.times, figure.times):
                self.times = np.asarray(figure.times)
                self.slider.set_range(figure.times, figure.time)
                self.slider.set_index(figure.start)
            self.slider.show()
            view.set_figure(figure)
            view.set_frame(self.slider.index)
        else:
            view.set_figure(figure)

    @Slot(int)
    def _on_slider_index_changed(self, index: int) -> None:
        for name in self.shared_films():
            if self.is_in_sight(name):
                self.view(name).set_frame(index)

    def play_films(self) -> None:
        """Let the films in sight run."""
        self.slider.set_playing(True)

    def begin_films(self) -> None:
        """Let the films run by themselves, once: what the person holds then stays held."""
        if not self._has_played:
            self._has_played = True
            self.play_films()

    def film_viewport(self) -> QWidget:
        """What is repainted when the first film in sight moves on."""
        for name in self._visible_views():
            view = self.view(name)
            if isinstance(view.figure, Film):
                return view.canvas.viewport()
        return self.view(self._visible_views()[0]).canvas.viewport()

    def has_picture(self) -> bool:
        """Whether a picture of the run has been drawn."""
        return bool(self._shown)

    def _invite(
        self, text: str = "Press Train, or the space bar: the picture appears as soon as the model stands."
    ) -> None:
        for dock in self.docks.values():
            if dock.view.figure is None and not isinstance(dock.view, CurveView):
                dock.view.clear(text)

    # --- the form  ----------

    @Slot(str, object, str)
    def _on_form_change_requested(self, name: str, value: object, effect: str) -> None:
        if (
            self.session is not None
            and effect != "rebuild"
            and self.state in ("starting", "running", "paused")
        ):
            if self.started is not None:
                self.session.change({name: value})
            self._version += 1
        self.status_changed.emit()

    @Slot(object)
    def _on_form_preset_chosen(self, preset: Preset) -> None:
        self.choose_preset(preset)

    def settings(self) -> Settings:
        """The values of the form."""
        assert self.form is not None
        return cast(Settings, self.form.values())

    def choose_preset(self, preset: Preset) -> None:
        """Put a preset's settings into the form, as one step of undo; the seed stays."""
        assert self.form is not None and self.method is not None
        values: Settings = self.method.config.build({**preset.values, "seed": self.settings().seed})
        try:
            self.form.change(values.model_dump(), f"Preset {preset.title}")
        except SettingError as error:
            self.post("error", str(error), key="preset")
            return
        self.form.set_preset(preset.id)
        if self.session is None:
            self.status_changed.emit()

    @Slot()
    def _on_form_reset_requested(self) -> None:
        self.reset()

    @Slot(str)
    def _on_form_curve_requested(self, name: str) -> None:
        self.draw_curve(name)

    def draw_curve(self, name: str) -> None:
        """Let the person draw a setting by hand; for subclasses that have such settings."""

    # --- messages and the end  ----------

    def post(
        self, kind: str, text: str, details: str = "", actions: Sequence[tuple[str, str]] = (), key: str = ""
    ) -> None:
        """Show a message in the window."""
        self.message_posted.emit(kind, text, details, list(actions), f"{self.paper.id}/{key}" if key else "")

    def shown_step(self) -> int:
        """The step whose pictures are shown."""
        if self.method is not None and self.past.step is not None:
            return self.past.step
        return self.session.step if self.session is not None else 0

    def shown_values(self) -> dict[str, Any]:
        """The settings in force at the step whose pictures are shown."""
        if self.run is None:
            return {}
        if self.past.record is not None and self.run.folder is not None:
            try:
                return RunFolder(self.run.folder).keyframe_values(self.past.record)
            except RunError:
                logger.info("the settings at step %d cannot be read", self.past.record.step)
        return dict(self.run.values())

    def numbers(self) -> dict[str, float]:
        """The scalars at the step that is shown."""
        if self.method is not None and self.past.step is not None:
            return self.history.at(self.past.step)
        return self.history.latest()

    def figure(self, name: str) -> Figure | None:
        """What a view shows, for export."""
        return self.docks[name].view.figure if name in self.docks else None

    def figures(self) -> dict[str, tuple[Figure, int]]:
        """What every view shows and the step of it, for export; out of sight it is the last that came."""
        if self.method is None:
            return {}
        self._draw_curves(everywhere=True)
        found: dict[str, tuple[Figure, int]] = {}
        views = {view.name for view in self.method.views}
        for name, dock in self.docks.items():
            if name not in views and not self.is_in_sight(name):
                # A canvas that nobody has opened.
                continue
            figure, step = self.figure(name), self.shown_step()
            if self.past.record is not None and not isinstance(dock.view, CurveView):
                if not self.is_in_sight(name):
                    figure = self.past.figures.get(name)
            elif name in self._shown:
                step = self._shown[name][0]
            if figure is not None:
                found[name] = figure, step
        return found

    def remember(self) -> dict[str, Any]:
        """What the next start should find again."""
        if self.form is None or self.method is None:
            return {}
        preset = self.form.preset()
        return {
            "values": self.form.values().model_dump(mode="json"),
            "preset": preset.id if preset is not None else "",
            "layout": self.save_layout() if self._user_layout else "",
            "kind": self.kind,
            "folded": list(self.form.folded_groups()),
            "run": self.last_run(),
        }

    def restore(self, memory: Mapping[str, Any]) -> None:
        """Take over what `remember` gave; what no longer fits is left out."""
        if self.form is None or self.method is None or not memory.get("values"):
            return
        try:
            self.form.set_values(self.method.config.build(memory["values"]))
            self.form.set_preset(str(memory.get("preset", "")))
        except InputError:
            logger.info("the remembered settings of %s no longer fit", self.paper.id)
        kind, layout = memory.get("kind"), memory.get("layout")
        if isinstance(kind, str) and isinstance(layout, str):
            self.kind, self._remembered_layout = kind, layout
        folded = memory.get("folded")
        if isinstance(folded, list):
            self.form.set_folded_groups([str(title) for title in folded])

    def close_run(self) -> None:
        """Ask the run to write what it has and end; the window waits for it."""
        for run in list(self.runs):
            self._let_go(run)
        if self.method is not None:
            self.past.close()
        if self.runs_page is not None:
            self.runs_page.close_readers()
