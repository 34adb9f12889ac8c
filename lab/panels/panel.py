"""The panel of one paper: its views in docks, its form, its text page, and its run; GUI thread.

A subclass says which views stand where (`arrange`) and turns gestures into the engine's actions. All else is here: the
session, the pictures' round trip, curves, layout, undo, messages.

The pictures' round trip
------------------------
1. The window's timer calls `tick`. Pictures in sight that are not under way are asked for, each once.
2. The worker computes them when their turn comes and sends them.
3. The next tick draws the newest of each. While the run stands still, a picture is asked for again only after something
   changed, which ``_version`` counts.
"""

from __future__ import annotations

import io
import itertools
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QByteArray, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication, QUndoStack
from PySide6.QtWidgets import QMainWindow, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from assets import read_text
from engines.config import Preset, Settings
from engines.errors import InputError, SettingError
from engines.figures import CurveSpec, Figure, Film, Frame
from engines.method import Action, Method
from lab.papers import Paper
from lab.runs import messages as m
from lab.runs.folder import RunFolder, new_run_id
from lab.runs.history import ScalarHistory
from lab.runs.hosts import Where, WorkerPool
from lab.runs.session import Session
from widgets.curve_view import CurveView
from widgets.figure_view import FigureView
from widgets.settings_form import SettingsForm
from widgets.text_page import TextPage
from widgets.theme import ThemeManager
from widgets.time_slider import TimeSlider
from widgets.view_dock import ViewDock

logger = logging.getLogger(__name__)

CURVES_EVERY = 0.1
"""Seconds between drawings of the curves: one more point in two thousand is not seen any sooner."""

NARROW = 760
"""Width of the docks' area in pixels below which most views share tabs."""


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
    """

    pool: WorkerPool
    runs_folder: Path
    themes: ThemeManager
    where: Where = "process"
    device: str = "auto"
    closing: list[Session] = field(default_factory=list)


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
    """

    status_changed = Signal()
    message_posted = Signal(str, str, str, object, str)
    export_requested = Signal(str)

    def __init__(
        self, paper: Paper, method: Method | None, services: Services, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.paper = paper
        self.method = method
        self.services = services
        self.session: Session | None = None
        self.history = ScalarHistory()
        self.undo_stack = QUndoStack(self)
        self.docks: dict[str, ViewDock] = {}
        self.form: SettingsForm | None = None
        self.progress: m.Progress | None = None
        self.started: m.Started | None = None
        self.kind = ""
        self.viewing: Path | None = None
        """The run that is shown and not trained; training on begins a run of its own from its newest keyframe."""
        self.times = np.zeros(0)
        """Times of the shared films' frames."""
        self._version = 0
        self._requested: dict[str, int] = {}
        self._urgent: set[str] = set()
        self._told_notes = ""
        self._shown: dict[str, tuple[int, int]] = {}
        self._drawn_history = -1
        self._curves_at = 0.0
        self._start_number = 0
        self._meant_to_train = False
        self._after_start: list[m.Command] = []
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

    def _make_views(self, method: Method) -> QWidget:
        page = QWidget(self)
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
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
            # Who turns to a view must not wait until its turn comes.
            (self._urgent.add if visible else self._urgent.discard)(dock.name)
        self._drawn_history = -1

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

    def is_text_shown(self) -> bool:
        """Whether the text page is in front."""
        return self.pages.currentWidget() is self.text_page

    def _update_text_numbers(self) -> None:
        if self._text_loaded and self.is_text_shown():
            self.text_page.set_numbers(self.history.latest())

    # --- the run  ----------

    @property
    def state(self) -> m.RunState:
        """The run's state, ``idle`` when there is none."""
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

    def play(self) -> None:
        """Train: begin a run, or go on with the one there is."""
        if self.session is None or self.state in m.ENDED:
            self.begin()
        elif self.viewing is not None and self.state == "paused":
            self.begin(resume=self.viewing)
        elif self.state == "paused":
            self._meant_to_train = True
            self.session.play()

    def pause(self) -> None:
        """Stop between two steps."""
        self._meant_to_train = False
        if self.session is not None:
            self.session.pause()

    def advance(self) -> None:
        """Do one step; begins the run if there is none."""
        if self.session is None or self.state in m.ENDED:
            self.begin(paused=True)
            self._after_start.append(m.Advance(1))
        elif self.viewing is not None:
            self.begin(resume=self.viewing, paused=True)
            self._after_start.append(m.Advance(1))
        else:
            self._meant_to_train = False
            self.session.advance(1)

    def stop(self) -> None:
        """End the run and keep it."""
        if self.session is not None:
            self.session.stop()

    def reset(self) -> None:
        """Begin again from step 0 with the form's settings; what was trained stays in its folder."""
        # The state lags behind what was asked: a single step under way, a pause or a paused start are not training.
        is_training = self._meant_to_train and self.state in ("running", "starting")
        self.begin(paused=not is_training)

    def begin(
        self,
        *,
        resume: Path | None = None,
        paused: bool = False,
        folder: Path | None = None,
        keep: bool = True,
    ) -> None:
        """Start a run from the form's settings, or from a run folder's newest keyframe."""
        assert self.method is not None and self.form is not None
        self._let_go()
        self._meant_to_train = not paused
        if resume is None:
            self.history = ScalarHistory()
            self._shown.clear()
        run = new_run_id(self.paper.id)
        preset = self.form.preset()
        target = folder or self.services.runs_folder / run
        spec = m.RunSpec(
            run=run,
            paper=self.paper.id,
            engine=self.method.engine,
            values=self.form.values().model_dump(),
            device=self.services.device,
            folder=str(target) if keep else None,
            resume=str(resume) if resume is not None else None,
            preset=preset.id if preset is not None else "",
            paused=paused,
        )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.post(
                "error",
                f"The folder {target.parent} cannot be made ({error.strerror}): choose another.",
                key="run",
            )
            return
        for dock in self.docks.values():
            if dock.view.figure is None and not isinstance(dock.view, CurveView):
                dock.view.clear("The picture appears as soon as the model stands.")
        self.viewing = None if keep else resume
        self.progress = None
        self._drawn_history = -1
        self._requested.clear()
        self._urgent.clear()
        self._version += 1
        self.session = Session(spec, self.services.pool.take(self.services.where))
        self._start_number = self.session.start()
        # With the start itself, so that the first picture is the first thing that the worker does.
        self._request(self.session, self._visible_views())
        self._send_hand()
        self.status_changed.emit()

    def _send_hand(self) -> None:
        """Tell a new engine what the person had painted and chosen; for subclasses."""

    def open_run(self, path: Path) -> None:
        """Show a run from its folder, paused where it ended.

        Raises
        ------
        RunError
            When it cannot be read at all; what is damaged in part is told in a message.
        """
        assert self.method is not None and self.form is not None
        folder = RunFolder(path)
        metrics = folder.metrics()
        for sentence in metrics.damage:
            self.post("warning", sentence)
        config = self.method.config.build(folder.values())
        history = ScalarHistory()
        history.extend(metrics.steps, metrics.columns)
        self.form.set_values(config)
        self.form.set_preset(folder.info.preset)
        self.undo_stack.clear()
        self.history = history
        self._shown.clear()
        self.begin(resume=path, paused=True, keep=False)

    def last_run(self) -> str:
        """The folder that holds what is shown, for the next start; empty when there is none."""
        if self.viewing is not None:
            return str(self.viewing)
        if self.session is not None and self.session.spec.folder and self.started is not None:
            return self.session.spec.folder
        return ""

    def _let_go(self) -> None:
        """Part from the present run; it writes what it has and ends in the background."""
        if self.session is not None:
            self.session.request_close()
            self.services.closing.append(self.session)
            self.session = None
        self.started = None
        self._after_start.clear()

    def act(self, action: Action) -> None:
        """Send a request of the hand to the run, if there is one."""
        if self.session is not None and self.state in ("starting", "running", "paused"):
            self.session.act(action)
            self._version += 1

    # --- the round trip  ----------

    def tick(self, *, in_sight: bool) -> None:
        """Take what came, draw what is in sight, and ask for more; called by the window's timer."""
        session = self.session
        if session is None:
            return
        updates = session.drain()
        for batch in updates.scalars:
            self.history.extend(batch.steps, batch.columns)
        if updates.started is not None:
            self._take_started(updates.started)
        if updates.progress is not None:
            self.progress = updates.progress
        for answer in updates.answers:
            if answer.error and answer.number != self._start_number and session.failure is None:
                self.post("error", answer.error, key="answer")
        for note in updates.notes:
            self.post(note.kind, note.text)
        if updates.failure is not None:
            self._take_failure(updates.failure)
        for change in updates.states:
            self._version += 1
            if change.state == "paused" and change.message and not change.finished:
                self.post("warning", change.message, key="paused")
        if updates.states or updates.progress is not None or updates.started is not None:
            self.status_changed.emit()
        if in_sight and not self.is_text_shown():
            self._draw(updates.frames)
            self._ask(session)
        elif in_sight:
            self._update_text_numbers()
        for name in updates.frames:
            # A frame that came while nobody looked is dropped; the next one will be newer.
            self._requested.pop(name, None)

    def _take_started(self, started: m.Started) -> None:
        assert self.form is not None and self.method is not None
        self.started = started
        config = self.method.config.build(started.values)
        self.form.set_running_config(config)
        kind = started.data.get("kind", "")
        if kind != self.kind:
            self.kind = kind
            self.ensure_arranged()
        if self.session is not None:
            # Live settings that were changed while the engine was being built.
            late = {
                name: value
                for name, value in config.differing(self.form.values()).items()
                if config.spec(name).effect != "rebuild"
            }
            if late:
                self.session.change(late)
            for command in self._after_start:
                self.session.send(command)
            self._after_start.clear()
        notes = started.data.get("notes", "")
        if notes and notes != self._told_notes:
            self.post("info", notes, key="data")
        self._told_notes = notes

    def _take_failure(self, failure: m.Failure) -> None:
        actions = [] if failure.kind == "input" else [("reset", "Start again")]
        if failure.kind == "died" and self.session is not None and self.session.spec.folder:
            actions = [("continue", "Continue from the last keyframe"), *actions]
        if failure.remedy.startswith("fetch:"):
            actions = [(failure.remedy, "Download it")]
        self._invite("The run has failed: the message above says why.")
        self.post("error", failure.sentence, failure.details, actions, key="failure")

    def continue_after_failure(self) -> None:
        """Go on from the newest keyframe of the run that ended."""
        folder = self.session.spec.folder if self.session is not None else None
        if folder is not None and Path(folder).exists():
            self.begin(resume=Path(folder))

    def _visible_views(self) -> list[str]:
        computed = self.method.figure_names() if self.method is not None else ()
        return [name for name in computed if self.is_in_sight(name)]

    def _ask(self, session: Session) -> None:
        if session.state not in ("running", "paused") or self.started is None:
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
        for name, frame in frames.items():
            if name in self.docks:
                self._show_figure(name, self.view(name), frame.figure)
                self._shown[name] = (frame.step, self._requested.get(name, self._version))
        now = time.monotonic()
        if self.history.version != self._drawn_history and now - self._curves_at >= CURVES_EVERY:
            self._drawn_history = self.history.version
            self._curves_at = now
            series = {
                name: s.arrays()
                for name in self.history.names()
                if (s := self.history.series(name)) is not None
            }
            for name, dock in self.docks.items():
                if isinstance(dock.view, CurveView) and self.is_in_sight(name):
                    dock.view.update_series(series)

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

    def choose_preset(self, preset: Preset) -> None:
        """Put a preset's settings into the form, as one step of undo; the seed stays."""
        assert self.form is not None and self.method is not None
        values: Settings = self.method.config.build({**preset.values, "seed": self.form.values().seed})
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

    def figure(self, name: str) -> Figure | None:
        """What a view shows, for export."""
        return self.docks[name].view.figure if name in self.docks else None

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
        self._let_go()
