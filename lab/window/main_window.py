"""The main window: papers on the left, the panel in the middle, its form on the right, the transport below; GUI thread.

One timer drives everything that is alive: each tick every panel takes what its session has for it, and the one in sight
draws. Closing follows one path: ask every run to end, wait for them without blocking, then let the window go.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import shiboken6
from PySide6.QtCore import QByteArray, QCoreApplication, QEvent, QObject, QSize, Qt, QTimer, QUrl, Slot
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QResizeEvent,
    QShowEvent,
    QUndoGroup,
)
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMenu,
    QSplitter,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from engines.config import find_preset
from engines.errors import InputError
from lab import papers
from lab.panels.panel import Panel, Services
from lab.runs.folder import is_run, why, write_atomically
from lab.runs.hosts import WorkerPool
from lab.window.jobs import Job
from lab.window.preferences import Preferences
from widgets.command_palette import CommandPalette
from widgets.eliding_label import ElidingLabel
from widgets.icons import icon
from widgets.messages import MessageArea
from widgets.paper_list import PaperEntry, PaperList
from widgets.shortcuts_sheet import ShortcutsSheet
from widgets.theme import ThemeManager
from widgets.transport import TransportBar

if TYPE_CHECKING:
    from lab.runs.shelf import ShelfRow
    from lab.setup import Setup
    from lab.window.export_dialog import ExportDialog

logger = logging.getLogger(__name__)

TICK_MS = 33
MOST_TOLD = 200
"""Runs that were cut off of which it is remembered that they were told of."""
SCHEME = "lab://"
SETUP_FILES = (
    *(".toml", ".lab", ".pdf", ".svg", ".eps", ".pgf", ".png", ".apng", ".gif", ".webp", ".mp4"),
    *(".csv", ".npz", ".zip"),
)
"""Files that may hold a setup."""
PICTURES, ABOUT, RUNS = range(3)
"""The tabs above a panel."""
CLOSING_PATIENCE = 15.0
"""Seconds that a worker may take to write what it has when the window closes; then its process is ended."""
NARROW_WINDOW = 1280
"""Width in pixels below which the list of papers shows icons alone, unless the person decided."""

EXTRA_KEYS = {
    "In a view": [
        ("Wheel", "Zoom"),
        ("Drag", "Move, or paint with the brush"),
        ("Shift+arrows", "Move the box or the brush in hand"),
        ("Enter", "Put the brush down"),
        ("[, ]", "Smaller, larger box or brush"),
        ("Double click", "Show everything"),
    ],
    "On the time slider": [("Left, Right", "One frame back, on"), ("Home, End", "First, last frame")],
    "On the time line": [
        ("Left, Right", "Keyframe before, after"),
        ("Ctrl+Left, Ctrl+Right", "Event before, after"),
        ("Home, End", "First keyframe, live"),
        ("Space", "Play through the keyframes"),
        ("Escape, L", "Back to live"),
    ],
}


class MainWindow(QMainWindow):
    """The lab's window.

    Parameters
    ----------
    preferences : Preferences
    themes : ThemeManager
    pool : WorkerPool
    runs_folder : Path
    """

    def __init__(
        self, preferences: Preferences, themes: ThemeManager, pool: WorkerPool, runs_folder: Path
    ) -> None:
        super().__init__()
        self.setObjectName("lab")
        self.setWindowTitle("Lab")
        self.setWindowIcon(icon("lab", size=64))
        self.setMinimumSize(1000, 700)
        self.setAcceptDrops(True)
        self.preferences = preferences
        self.themes = themes
        self.services = Services(
            pool,
            runs_folder,
            themes,
            preferences.get("where"),
            preferences.get("device"),
            preferences.get("keyframe_space"),
        )
        self.panels: dict[str, Panel] = {}
        self.undo_group = QUndoGroup(self)
        self.jobs = self.services.jobs
        self.ticks = 0
        self._preset_actions: list[QAction] = []
        self.export_dialog: ExportDialog | None = None
        """While it is open."""
        self._closing = False
        self._closed = False
        self._holds_focus = False
        """Train had the keyboard before it could not be pressed for a while."""
        self._set_up()
        self._make_actions()
        self._restore()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._on_timer_timeout)
        self._timer.start()

    # --- building  ----------

    def _set_up(self) -> None:
        entries = [
            PaperEntry(p.id, p.short, p.title, p.year, f"papers/{p.key}", p.is_built) for p in papers.papers()
        ]
        self.paper_list = PaperList(entries, self)
        self.paper_list.paper_chosen.connect(self._on_paper_list_paper_chosen)
        self.paper_list.narrowed.connect(self._on_paper_list_narrowed)

        middle = QWidget(self)
        column = QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        head = QHBoxLayout()
        head.setContentsMargins(12, 8, 12, 0)
        head.setSpacing(12)
        self.heading = ElidingLabel("", middle)
        self.heading.setProperty("role", "title")
        self.headline = QLabel(middle)
        self.headline.setProperty("role", "number")
        self.tabs = QTabBar(middle)
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        # All pages are in sight; where there is little room, the name of the paper, which is in the list, too, gives way.
        self.tabs.setUsesScrollButtons(False)
        self.tabs.setElideMode(Qt.TextElideMode.ElideNone)
        self.tabs.addTab("Pictures")
        self.tabs.addTab("About the paper")
        self.tabs.addTab("Runs")
        self.tabs.currentChanged.connect(self._on_tabs_current_changed)
        head.addWidget(self.heading)
        head.addWidget(self.headline)
        head.addStretch(1)
        head.addWidget(self.tabs)
        column.addLayout(head)
        self.messages = MessageArea(middle)
        self.messages.action_triggered.connect(self._on_messages_action_triggered)
        column.addWidget(self.messages)
        self.panel_stack = QStackedWidget(middle)
        column.addWidget(self.panel_stack, 1)
        self.transport = TransportBar(self)
        self.transport.play_requested.connect(self._on_transport_play_requested)
        self.transport.pause_requested.connect(self._on_transport_pause_requested)
        self.transport.step_requested.connect(self._on_transport_step_requested)
        self.transport.stop_requested.connect(self._on_transport_stop_requested)
        self.transport.reset_requested.connect(self._on_transport_reset_requested)
        self.transport.device_chosen.connect(self._on_transport_device_chosen)
        self.transport.set_devices(
            [("auto", "Automatic"), ("cpu", "CPU"), ("cuda", "CUDA"), ("mps", "Apple MPS")],
            self.services.device,
        )

        self.form_stack = QStackedWidget(self)
        self.form_stack.setMinimumWidth(280)
        self._no_form = QLabel(
            "This paper has no settings yet, because its engine is not built.", self.form_stack
        )
        self._no_form.setWordWrap(True)
        self._no_form.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._no_form.setMargin(16)
        self._no_form.setProperty("role", "muted")
        self.form_stack.addWidget(self._no_form)

        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(middle)
        self.splitter.addWidget(self.form_stack)
        self.splitter.setStretchFactor(0, 1)
        self.splitter.setSizes([900, 308])
        whole = QWidget(self)
        rows = QVBoxLayout(whole)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(0)
        across = QHBoxLayout()
        across.setSpacing(0)
        across.addWidget(self.paper_list)
        across.addWidget(self.splitter, 1)
        rows.addLayout(across, 1)
        rows.addWidget(self.transport)
        self.setCentralWidget(whole)

    def _make_actions(self) -> None:
        self.transport.play_button.installEventFilter(self)
        bar = self.menuBar()
        # Kept by name: PySide6 loses a menu that is only reached through its action.
        self._run_menu = run = bar.addMenu("&Run")
        for action in self.transport.run_actions():
            run.addAction(action)
        run.addSeparator()
        self._add(run, "Rewind to the step that is shown", "Ctrl+Shift+R", self._on_rewind_triggered)
        self._add(run, "Fork…", "Ctrl+Shift+F", self._on_fork_triggered)
        self._add(run, "Back to live", "Ctrl+L", self._on_live_triggered)
        run.addSeparator()
        self._add(run, "Export a figure…", "Ctrl+E", self._on_export_triggered)
        self._add(run, "Export all figures…", "", self._on_export_all_triggered)
        run.addSeparator()
        self._add(run, "Open a run…", "Ctrl+O", self._on_open_triggered)
        self._add(run, "List of runs", "F3", self._on_runs_triggered)
        self._add(run, "Show the folder of runs", "", self._on_folder_triggered)
        run.addSeparator()
        where = run.addMenu("Train in")
        self._where_actions = QActionGroup(self)
        for name, text in (("process", "A process of its own (faster)"), ("thread", "A background thread")):
            action = where.addAction(text)
            action.setCheckable(True)
            action.setData(name)
            action.setChecked(name == self.services.where)
            self._where_actions.addAction(action)
        self._where_actions.triggered.connect(self._on_where_actions_triggered)
        run.addSeparator()
        self._add(run, "Quit", QKeySequence.StandardKey.Quit, self.close)

        self._edit_menu = edit = bar.addMenu("&Edit")
        for action, keys in (
            (self.undo_group.createUndoAction(self, "Undo"), QKeySequence.StandardKey.Undo),
            (self.undo_group.createRedoAction(self, "Redo"), QKeySequence.StandardKey.Redo),
        ):
            action.setShortcut(keys)
            edit.addAction(action)
        edit.addSeparator()
        self._add(edit, "Copy setup as text", "Ctrl+Shift+C", self._on_copy_setup_triggered)
        self._add(edit, "Paste setup", "Ctrl+Shift+V", self._on_paste_setup_triggered)
        self._add(edit, "Save setup as a file…", "", self._on_save_setup_triggered)
        edit.addSeparator()
        self._add(edit, "Next preset", "Ctrl+]", self._on_next_preset_triggered)
        self._add(edit, "Previous preset", "Ctrl+[", self._on_previous_preset_triggered)

        self._view_menu = bar.addMenu("&View")
        self._view_menu.aboutToShow.connect(self._on_view_menu_about_to_show)
        self._theme_menu = QMenu("Theme", self._view_menu)
        self._theme_actions = QActionGroup(self._theme_menu)
        for name, text in (("system", "As the system"), ("light", "Light"), ("dark", "Dark")):
            action = self._theme_menu.addAction(text)
            action.setCheckable(True)
            action.setData(name)
            self._theme_actions.addAction(action)
        self._theme_actions.triggered.connect(self._on_theme_actions_triggered)
        self._fill_view_menu()

        self._paper_menu = bar.addMenu("&Papers")
        for number, paper in enumerate(papers.papers(), 1):
            action = self._add(
                self._paper_menu,
                paper.short,
                f"Ctrl+{number % 10}" if number <= 10 else "",
                self._on_paper_triggered,
            )
            action.setData(paper.id)

        self._help_menu = bar.addMenu("&Help")
        self._palette_action = self._add(
            self._help_menu, "Find a command…  (Ctrl+K)", "", self._on_palette_triggered
        )
        self._add(self._help_menu, "Keyboard shortcuts", "F1", self._on_shortcuts_triggered)
        self._add(self._help_menu, "About the paper", "F4", self._on_text_triggered)
        self.palette_popup = CommandPalette(self._all_actions, self)
        self.palette_popup.set_recent(self.preferences.get("recent_commands"))

    def _add(self, menu: QMenu, text: str, keys: str | QKeySequence.StandardKey, handler: object) -> QAction:
        action = menu.addAction(text)
        if keys:
            action.setShortcut(QKeySequence(keys))
        action.triggered.connect(handler)
        return action

    def _fill_view_menu(self) -> None:
        menu = self._view_menu
        menu.clear()
        panel = self.current_panel()
        if panel is not None and panel.method is not None:
            for dock in panel.docks.values():
                menu.addAction(dock.toggleViewAction())
            menu.addSeparator()
        self._add(menu, "Reset layout", "", self._on_reset_layout_triggered)
        self._add(menu, "Papers as icons", "Ctrl+B", self._on_narrow_triggered)
        menu.addSeparator()
        menu.addMenu(self._theme_menu)
        for action in self._theme_actions.actions():
            action.setChecked(action.data() == self.themes.mode)

    # --- what is shown  ----------

    def current_panel(self) -> Panel | None:
        """The panel in sight."""
        widget = self.panel_stack.currentWidget()
        return widget if isinstance(widget, Panel) else None

    def show_paper(self, paper_id: str) -> Panel:
        """Bring a paper's panel into sight; it is made the first time.

        Raises
        ------
        InputError
            Unknown paper.
        """
        paper = papers.find(paper_id)
        if paper.id not in self.panels:
            self._make_panel(paper)
        panel = self.panels[paper.id]
        self.panel_stack.setCurrentWidget(panel)
        self.form_stack.setCurrentWidget(panel.form if panel.form is not None else self._no_form)
        self.undo_group.setActiveStack(panel.undo_stack)
        self.heading.setText(paper.short)
        self.heading.setToolTip(paper.title)
        self.paper_list.set_current(paper.id)
        built = panel.method is not None
        for index in (PICTURES, RUNS):
            self.tabs.setTabEnabled(index, built)
        self.tabs.setCurrentIndex(
            ABOUT if not built or panel.is_text_shown() else RUNS if panel.are_runs_shown() else PICTURES
        )
        self._show_tab()
        self.transport.setVisible(built)
        self._fill_view_menu()
        self._show_status(panel)
        return panel

    def _make_panel(self, paper: papers.Paper) -> None:
        method = papers.method_of(paper) if paper.is_built else None
        panel_class = papers.resolve(paper.panel) if paper.panel else Panel
        panel: Panel = panel_class(paper, method, self.services, self.panel_stack)
        panel.status_changed.connect(self._on_panel_status_changed)
        panel.message_posted.connect(self._on_panel_message_posted)
        panel.export_requested.connect(self._on_panel_export_requested)
        panel.space_chosen.connect(self._on_panel_space_chosen)
        panel.messages_outdated.connect(self._on_panel_messages_outdated)
        self.panels[paper.id] = panel
        self.panel_stack.addWidget(panel)
        if panel.form is not None:
            self.form_stack.addWidget(panel.form)
        self.undo_group.addStack(panel.undo_stack)
        panel.restore(self.preferences.paper(paper.key))

    def _show_tab(self) -> None:
        panel = self.current_panel()
        if panel is None:
            return
        # The list of runs needs the room, and says itself what they were trained with.
        roomy = self.width() >= NARROW_WINDOW or self.tabs.currentIndex() != RUNS
        self.form_stack.setVisible(panel.method is not None and roomy)
        if self.tabs.currentIndex() == ABOUT:
            panel.show_text()
        elif self.tabs.currentIndex() == RUNS:
            page = panel.show_runs()
            if page is not None:
                page.opened.connect(self._on_runs_page_opened, Qt.ConnectionType.UniqueConnection)
        else:
            panel.show_views()

    def _show_status(self, panel: Panel) -> None:
        state = panel.state
        text = panel.state_text()
        progress = panel.progress
        fraction = progress.step / progress.total if progress is not None and progress.total else None
        words = text or {"idle": "", "done": "stopped", "failed": "failed"}.get(state, state)
        self.paper_list.set_state(panel.paper.id, words.lower(), state, fraction)
        if panel is not self.current_panel() or panel.method is None:
            return
        play = self.transport.play_button
        self._holds_focus = self._holds_focus or play.hasFocus()
        self.transport.set_state(state, text)
        if self._holds_focus and not play.isEnabled():
            # Qt would hand the keyboard on to the next button, and the next press of Space would stop the run.
            self.setFocus(Qt.FocusReason.OtherFocusReason)
        elif self._holds_focus:
            if self.hasFocus():
                play.setFocus(Qt.FocusReason.OtherFocusReason)
            self._holds_focus = False
        step = panel.session.step if panel.session is not None else 0
        total = panel.settings().steps if panel.form is not None else None
        rate = progress.steps_per_second if progress is not None and state == "running" else None
        left = (total - step) / rate if rate and total is not None else None
        self.transport.set_progress(step, total, rate, left)
        self.transport.set_memory(progress.memory if progress is not None else None)
        if panel.started is not None and self.services.device == "auto":
            self.transport.set_device_text(panel.started.device)
        newest = panel.numbers().get(panel.method.headline)
        known = newest is not None and not math.isnan(newest)
        number = short_number(newest) if known and newest is not None else ""
        looking = f"  at step {panel.past.step:,}" if panel.past.step is not None else ""
        self.headline.setText(
            f"{panel.method.headline_label}  {number}{looking}" if number else looking.strip()
        )

    # --- the timer  ----------

    @Slot()
    def _on_timer_timeout(self) -> None:
        self.ticks += 1
        seen = self.isVisible() and not self.isMinimized()
        current = self.current_panel()
        for panel in self.panels.values():
            panel.tick(in_sight=seen and panel is current)
        self.jobs.poll()
        if self.services.closing:
            self._reap()
        if self._closing and (not self.services.closing or self._is_out_of_patience()):
            self._finish_closing()

    def _is_out_of_patience(self) -> bool:
        waited = time.monotonic() - self._closing_since
        if waited > CLOSING_PATIENCE:
            for session in self.services.closing:
                session.host.kill()
        # A thread cannot be ended; it goes with the program.
        return waited > CLOSING_PATIENCE + 5.0

    def _reap(self) -> None:
        for session in list(self.services.closing):
            session.drain()
            if not session.host.is_alive():
                session.close(0.5)
                self.services.closing.remove(session)

    # --- transport  ----------

    @Slot()
    def _on_transport_play_requested(self) -> None:
        if (panel := self.current_panel()) is not None:
            self.messages.close_key(f"{panel.paper.id}/paused")
            panel.play()

    @Slot()
    def _on_transport_pause_requested(self) -> None:
        if (panel := self.current_panel()) is not None:
            panel.pause()

    @Slot()
    def _on_transport_step_requested(self) -> None:
        if (panel := self.current_panel()) is not None:
            panel.advance()

    @Slot()
    def _on_transport_stop_requested(self) -> None:
        if (panel := self.current_panel()) is not None:
            panel.stop()

    @Slot()
    def _on_transport_reset_requested(self) -> None:
        if (panel := self.current_panel()) is not None:
            panel.reset()

    @Slot(str)
    def _on_transport_device_chosen(self, device: str) -> None:
        self.services.device = device
        self.preferences.set("device", device)
        panel = self.current_panel()
        if panel is not None and panel.session is not None:
            panel.post("info", "The device is used from the next reset on.", key="device")

    # --- panels  ----------

    @Slot()
    def _on_panel_status_changed(self) -> None:
        panel = self.sender()
        if isinstance(panel, Panel):
            self._show_status(panel)

    @Slot(str, str, str, object, str)
    def _on_panel_message_posted(self, kind: str, text: str, details: str, actions: object, key: str) -> None:
        self.messages.show_message(kind, text, details=details, actions=actions, key=key)  # type: ignore[arg-type]

    @Slot(str, str)
    def _on_messages_action_triggered(self, key: str, action: str) -> None:
        panel = self.panels.get(key.partition("/")[0]) or self.current_panel()
        job = self.jobs.find(key)
        if action == "cancel" and job is not None:
            job.cancel.set()
            self.messages.show_message("info", "Cancelling …", key=key)
            return
        if action == "look-back" and panel is not None:
            # What is to be done about it is decided afterwards.
            panel.look_at_divergence()
            return
        self.messages.close_key(key)
        if panel is None:
            return
        if action == "reset":
            panel.start_again_after_failure()
        elif action == "continue":
            panel.continue_after_failure()
        elif action.startswith("resume:"):
            self.resume(action.removeprefix("resume:"))
        elif action.startswith("open:"):
            self.open_path(action.removeprefix("open:"))
        elif action == "rewind-lower":
            panel.go_back_from_divergence()
        elif action == "go-on":
            panel.go_on_after_divergence()
        elif action.startswith("fetch:"):
            self.fetch(action.removeprefix("fetch:"), panel)

    def fetch(self, name: str, panel: Panel) -> None:
        """Download a data set in the background, then train the panel that needed it."""
        from engines.data import catalog

        title, key = catalog.info(name).title, f"fetch/{name}"
        if self.jobs.find(key) is not None:
            return
        message = self.messages.show_message(
            "info", f"Downloading {title} …", actions=[("cancel", "Cancel")], hide_after_ms=0, key=key
        )

        def work(job: Job) -> Path:
            return catalog.fetch(name, progress=job.report, cancel=job.cancel)

        def progress(done: int, total: int | None, label: str) -> None:
            share = f" of {total / 2**20:.1f}" if total else ""
            if shiboken6.isValid(message):
                message.text_label.setText(f"Downloading {title}: {done / 2**20:.1f}{share} MB")

        def done(future: Future[Path]) -> None:
            self.messages.close_key(key)
            error = future.exception()
            if error is None:
                self.messages.show_message("info", f"{title} is here.", key=key)
                # Whoever trains something else by now is not interrupted.
                if panel.state in ("idle", "failed"):
                    panel.begin()
            elif isinstance(error, catalog.FetchCancelled):
                self.messages.show_message("info", f"{title} was not downloaded: you cancelled.", key=key)
            else:
                again = [(f"fetch:{name}", "Try again")]
                self.messages.show_message("error", str(error), actions=again, key=f"{panel.paper.id}/fetch")

        self.jobs.start(key, work, done, progress)

    @Slot(object)
    def _on_panel_space_chosen(self, space: int) -> None:
        self.preferences.set("keyframe_space", space)

    @Slot(object)
    def _on_panel_messages_outdated(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.messages.close_key(key)

    @Slot(str)
    def _on_panel_export_requested(self, name: str) -> None:
        panel = self.sender()
        if isinstance(panel, Panel):
            self.export(panel, name)

    @Slot()
    def _on_export_triggered(self) -> None:
        if (panel := self.current_panel()) is not None:
            self.export(panel)

    @Slot()
    def _on_export_all_triggered(self) -> None:
        panel = self.current_panel()
        if panel is not None and (dialog := self.export(panel)) is not None:
            dialog.ask_folder()

    def export(self, panel: Panel, name: str = "") -> ExportDialog | None:
        """Open the dialog that exports a view, the first one in sight if none is named; None without a picture."""
        from lab.window.export_dialog import ExportDialog
        from lab.window.exports import take

        snapshot = take(panel)
        if not snapshot.figures or (name and name not in snapshot.figures):
            self.messages.show_message(
                "info", "There is no picture to export yet: press Train first.", key="export"
            )
            return None
        if not name:
            seen = [view for view in snapshot.figures if panel.is_in_sight(view)]
            name = (seen or list(snapshot.figures))[0]
        if self.export_dialog is None:
            self.export_dialog = ExportDialog(panel, self)
            self.export_dialog.finished.connect(self._on_export_dialog_finished)
        self.export_dialog.show_figure(panel, snapshot, name)
        return self.export_dialog

    @Slot()
    def _on_export_dialog_finished(self) -> None:
        self.export_dialog = None

    # --- menus  ----------

    @Slot(str)
    def _on_paper_list_paper_chosen(self, paper_id: str) -> None:
        self.show_paper(paper_id)

    @Slot()
    def _on_paper_triggered(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self.show_paper(action.data())

    @Slot(int)
    def _on_tabs_current_changed(self, index: int) -> None:
        self._show_tab()

    @Slot()
    def _on_text_triggered(self) -> None:
        back = self.tabs.currentIndex() == ABOUT and self.tabs.isTabEnabled(PICTURES)
        self.tabs.setCurrentIndex(PICTURES if back else ABOUT)

    @Slot()
    def _on_runs_triggered(self) -> None:
        if self.tabs.isTabEnabled(RUNS):
            self.tabs.setCurrentIndex(PICTURES if self.tabs.currentIndex() == RUNS else RUNS)

    @Slot()
    def _on_runs_page_opened(self) -> None:
        self.tabs.setCurrentIndex(PICTURES)

    @Slot()
    def _on_open_triggered(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a run", str(self.services.runs_folder))
        if path:
            self.open_path(path)

    @Slot()
    def _on_rewind_triggered(self) -> None:
        panel = self.current_panel()
        if panel is None or panel.method is None:
            return
        if panel.past.record is None:
            panel.post(
                "info", "Drag the time line to the step that you want to go back to first.", key="rewind"
            )
        else:
            panel.rewind(panel.past.record)

    @Slot()
    def _on_fork_triggered(self) -> None:
        if (panel := self.current_panel()) is not None and panel.method is not None:
            panel.ask_fork()

    @Slot()
    def _on_live_triggered(self) -> None:
        if (panel := self.current_panel()) is not None and panel.method is not None:
            panel.past.go_live()

    @Slot()
    def _on_folder_triggered(self) -> None:
        self.services.runs_folder.mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.services.runs_folder)))

    @Slot(QAction)
    def _on_where_actions_triggered(self, action: QAction) -> None:
        self.services.where = action.data()
        self.preferences.set("where", action.data())
        panel = self.current_panel()
        if panel is not None and panel.session is not None:
            panel.post("info", "Where training runs takes effect from the next reset on.", key="where")

    @Slot()
    def _on_next_preset_triggered(self) -> None:
        self._shift_preset(1)

    @Slot()
    def _on_previous_preset_triggered(self) -> None:
        self._shift_preset(-1)

    def _shift_preset(self, by: int) -> None:
        panel = self.current_panel()
        if panel is None or panel.form is None or panel.method is None:
            return
        ids = [preset.id for preset in panel.method.presets]
        present = panel.form.preset()
        index = ids.index(present.id) if present is not None and present.id in ids else 0
        panel.choose_preset(panel.method.presets[(index + by) % len(ids)])

    @Slot()
    def _on_view_menu_about_to_show(self) -> None:
        self._fill_view_menu()

    @Slot()
    def _on_reset_layout_triggered(self) -> None:
        if (panel := self.current_panel()) is not None:
            panel.reset_layout()

    @Slot()
    def _on_narrow_triggered(self) -> None:
        self.paper_list.set_narrow(not self.paper_list.is_narrow())
        self.preferences.set("narrow_list", self.paper_list.is_narrow())

    @Slot(bool)
    def _on_paper_list_narrowed(self, narrow: bool) -> None:
        self.preferences.set("narrow_list", narrow)

    @Slot(QAction)
    def _on_theme_actions_triggered(self, action: QAction) -> None:
        self.themes.set_mode(action.data())
        self.preferences.set("theme", action.data())

    @Slot()
    def _on_palette_triggered(self) -> None:
        self.palette_popup.open_palette()

    @Slot()
    def _on_shortcuts_triggered(self) -> None:
        groups = {menu.title().replace("&", ""): list(_leaves(menu)) for menu in self._menus()}
        ShortcutsSheet(groups, EXTRA_KEYS, self).show()

    def _menus(self) -> list[QMenu]:
        return [self._run_menu, self._edit_menu, self._view_menu, self._paper_menu, self._help_menu]

    def _all_actions(self) -> list[QAction]:
        panel = self.current_panel()
        if panel is not None and panel.form is not None and panel.method is not None:
            for action in self._preset_actions:
                action.deleteLater()
            self._preset_actions = [
                QAction(f"Preset: {preset.title}", self) for preset in panel.method.presets
            ]
            for action, preset in zip(self._preset_actions, panel.method.presets, strict=True):
                action.setData(preset.id)
                action.triggered.connect(self._on_preset_triggered)
        return [*(action for menu in self._menus() for action in _leaves(menu)), *self._preset_actions]

    @Slot()
    def _on_preset_triggered(self) -> None:
        action, panel = self.sender(), self.current_panel()
        if isinstance(action, QAction) and panel is not None and panel.method is not None:
            panel.choose_preset(find_preset(panel.method.presets, action.data()))

    # --- opening things  ----------

    def open_path(self, path: str) -> None:
        """Open a run folder; what is wrong with it is told in a message."""
        try:
            from lab.runs.folder import RunFolder

            panel = self.show_paper(RunFolder(path).info.paper)
            if panel.method is None:
                raise InputError(
                    f"The engine of '{panel.paper.id}' is not built yet, so this run cannot be shown."
                )
            panel.show_run(Path(path))
            self.tabs.setCurrentIndex(PICTURES)
        except InputError as error:
            self.messages.show_message("error", str(error), key="open")

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls() or event.mimeData().text().strip().startswith(SCHEME):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        for url in event.mimeData().urls():
            path = url.toLocalFile()
            if not path:
                continue
            event.acceptProposedAction()
            self.take_dropped(path)
            return
        if event.mimeData().text().strip().startswith(SCHEME):
            event.acceptProposedAction()
            self.take_setup_text(event.mimeData().text())

    def take_dropped(self, path: str) -> None:
        """Open a run folder, a zipped run, a setup or a figure that carries one; data go into the paper in sight."""
        from lab.setup import read_setup

        panel = self.current_panel()
        kind = Path(path).suffix.lower()
        if is_run(path):
            self.open_path(path)
        elif kind in (".toml", ".lab"):
            self._try_setup(lambda: read_setup(Path(path)))
        elif kind in SETUP_FILES and (setup := self._carried_setup(path)) is not None:
            self._try_setup(lambda: setup)
        elif kind == ".zip" and panel is not None and (page := panel.show_runs()) is not None:
            self.tabs.setCurrentIndex(RUNS)
            page.take_zip(Path(path))
        elif panel is not None and panel.take_file(Path(path)):
            self.tabs.setCurrentIndex(PICTURES)
        elif (
            panel is not None and panel.form is not None and "path" in type(panel.form.values()).model_fields
        ):
            try:
                panel.form.change({"data": "file", "path": path}, f"Data {Path(path).name}")
            except InputError as error:
                self.messages.show_message("error", str(error), key="open")
                return
            if panel.state in ("idle", "failed", "done"):
                panel.begin()
        else:
            self.messages.show_message(
                "error",
                f"{path} is no run, setup or exported figure, and this paper takes no data files: drop a run's folder.",
                key="open",
            )

    def _carried_setup(self, path: str) -> Setup | None:
        """The setup in a picture or page that was exported here; any other one is data."""
        from lab.setup import read_setup

        try:
            return read_setup(Path(path))
        except InputError:
            return None

    def take_setup_text(self, text: str) -> None:
        """Put a setup that was pasted or dropped as text into its paper's form."""
        from lab.setup import Setup

        self._try_setup(lambda: Setup.from_text(text))

    def _try_setup(self, read: Callable[[], Setup]) -> None:
        """Put a setup into its paper's form, or say why it cannot be."""
        try:
            self.take_setup(read())
        except InputError as error:
            self.messages.show_message("error", str(error), key="open")

    def take_setup(self, setup: Setup) -> None:
        """Put a setup into its paper's form, as one step of undo.

        Raises
        ------
        InputError
        """
        panel = self.show_paper(setup.paper)
        if panel.form is None or panel.method is None:
            raise InputError(
                f"The engine of '{panel.paper.id}' is not built yet, so this setup cannot be trained."
            )
        config = panel.method.config.build(setup.values)
        panel.form.change(config.model_dump(), "Setup")
        if setup.preset:
            panel.form.set_preset(setup.preset)
        then = "press Train" if panel.state == "idle" else "press Reset to train with it"
        panel.post("info", f"The setup is in the form: {then}.", key="setup")

    def present_setup(self) -> Setup | None:
        """The setup that is in the form in sight; None for a paper without an engine."""
        from lab.setup import Setup

        panel = self.current_panel()
        if panel is None or panel.form is None:
            return None
        preset = panel.form.preset()
        values = panel.form.values().model_dump(mode="json")
        return Setup(panel.paper.id, preset.id if preset is not None else "", values)

    @Slot()
    def _on_copy_setup_triggered(self) -> None:
        if (setup := self.present_setup()) is not None:
            QGuiApplication.clipboard().setText(setup.to_text())
            self.messages.show_message("info", f"Copied {setup.to_text()}", key="setup")

    @Slot()
    def _on_save_setup_triggered(self) -> None:
        if (setup := self.present_setup()) is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the setup", str(Path.home() / f"{setup.paper}.toml"), "Setup (*.toml)"
        )
        if path:
            self.save_setup(Path(path))

    def save_setup(self, path: Path) -> None:
        """Write the setup that is in the form as a file, which opens it again when it is dropped on the window."""
        setup = self.present_setup()
        if setup is None:
            return
        try:
            write_atomically(path, setup.to_toml().encode())
        except OSError as error:
            self.messages.show_message("error", why(error, path), key="setup")
        else:
            self.messages.show_message("info", f"Saved {path}", key="setup")

    @Slot()
    def _on_paste_setup_triggered(self) -> None:
        text = QGuiApplication.clipboard().text()
        if text.strip():
            self.take_setup_text(text)
        else:
            self.messages.show_message("info", "There is no text to paste: copy a setup first.", key="open")

    # --- runs that did not end  ----------

    def look_for_crashes(self) -> None:
        """Look in the background for runs that were cut off, and offer to go on with the newest."""
        from lab.runs.shelf import Shelf

        folder = self.services.runs_folder

        def work(job: Job) -> list[ShelfRow]:
            shelf = Shelf(folder)
            continued = {row.parent for row in shelf.rows() if row.relation == "continue"}
            return [row for row in shelf.crashed() if row.id not in continued]

        if folder.is_dir():
            self.jobs.start("crashes", work, self._offer_crashed)

    def _offer_crashed(self, future: Future[list[ShelfRow]]) -> None:
        if future.exception() is not None:
            logger.error("runs that did not end", exc_info=future.exception())
            return
        told = self.preferences.get("told_crashes")
        here = [
            str(run.folder) for panel in self.panels.values() for run in panel.runs if run.viewing is None
        ]
        known = {paper.id for paper in papers.papers() if paper.is_built}
        rows = [
            row
            for row in future.result()
            if row.id not in told and str(row.path) not in here and row.paper in known
        ]
        if not rows:
            return
        self.preferences.set("told_crashes", [*told, *(row.id for row in rows)][-MOST_TOLD:])
        newest = rows[0]
        more = f" {len(rows) - 1} more are in the lists of runs." if len(rows) > 1 else ""
        self.messages.show_message(
            "warning",
            f"{newest.name} ({papers.find(newest.paper).short}) did not end: the lab or the machine stopped at step "
            f"{newest.step:,}. Everything up to its last second is kept.{more}",
            actions=[
                (f"resume:{newest.path}", "Continue From Its Last Keyframe"),
                (f"open:{newest.path}", "Look at It"),
            ],
            hide_after_ms=0,
            key="crash",
        )

    def resume(self, path: str) -> None:
        """Go on with a run that was cut off."""
        self.open_path(path)
        panel = self.current_panel()
        if panel is not None and panel.viewing is not None and str(panel.viewing) == path:
            panel.begin(resume=panel.viewing)

    # --- the end, and what is remembered  ----------

    def _restore(self) -> None:
        geometry = self.preferences.get("geometry")
        self.resize(QSize(1440, 900))
        if geometry:
            self.restoreGeometry(QByteArray.fromBase64(geometry.encode()))
        if self.preferences.complaint:
            self.messages.show_message("warning", self.preferences.complaint, key="preferences")

    def start(self, target: str | None = None) -> None:
        """Show what was shown last, or what was named; called once the window is on screen."""
        wanted = target or self.preferences.get("paper")
        if target is not None and (is_run(target) or Path(target).is_dir()):
            self.show_paper("diffusion")
            self.open_path(target)
            return
        try:
            panel = self.show_paper(wanted)
        except InputError as error:
            panel = self.show_paper("diffusion")
            if target is not None:
                self.messages.show_message("error", str(error), key="open")
        run = self.preferences.paper(panel.paper.key).get("run")
        if target is None and isinstance(run, str) and run and is_run(run) and panel.session is None:
            self.open_path(run)
        self.transport.play_button.setFocus(Qt.FocusReason.OtherFocusReason)
        self.look_for_crashes()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        decided = self.preferences.get("narrow_list")
        if decided is None:
            self.paper_list.blockSignals(True)
            self.paper_list.set_narrow(self.width() < NARROW_WINDOW)
            self.paper_list.blockSignals(False)
        if (panel := self.current_panel()) is not None and not panel.is_text_shown():
            QTimer.singleShot(0, panel.ensure_arranged)

    def remember(self) -> None:
        """Write down what the next start should find again."""
        preferences = self.preferences
        preferences.set("geometry", bytes(self.saveGeometry().toBase64().data()).decode())
        panel = self.current_panel()
        if panel is not None:
            preferences.set("paper", panel.paper.id)
        preferences.set("recent_commands", list(self.palette_popup.recent()))
        for panel in self.panels.values():
            preferences.paper(panel.paper.key).update(panel.remember())
        preferences.save()

    def is_closed(self) -> bool:
        """Whether everything has ended that was alive in the window."""
        return self._closed

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._closed:
            event.accept()
            return
        event.ignore()
        if self._closing:
            return
        self._closing = True
        if self.export_dialog is not None:
            self.export_dialog.close()
        self.remember()
        self.hide()
        for panel in self.panels.values():
            panel.close_run()
        self._closing_since = time.monotonic()
        if not self.services.closing:
            self._finish_closing()

    def _finish_closing(self) -> None:
        # Everything that can call back into the window ends before the window does.
        self._timer.stop()
        self.jobs.close()
        self._closed = True
        self.services.pool.close()
        self.close()
        QCoreApplication.quit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        # A tool button takes Space alone, and Enter is what people press first.
        if watched is self.transport.play_button and isinstance(event, QKeyEvent):
            if event.type() == QEvent.Type.KeyPress and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self.transport.play_action.trigger()
                return True
        return super().eventFilter(watched, event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self._fit()


def _leaves(menu: QMenu) -> Iterator[QAction]:
    """Every action of a menu and of the menus in it."""
    inner = menu.findChildren(QMenu, options=Qt.FindChildOption.FindDirectChildrenOnly)
    for action in menu.actions():
        deeper = next((child for child in inner if child.menuAction() == action), None)
        if deeper is not None:
            yield from _leaves(deeper)
        elif not action.isSeparator():
            yield action


def short_number(value: float) -> str:
    """Three digits, or all before the point up to a million: 0.0123, 72.3, 1,860, 1.86e+07."""
    # What three digits would round to a thousand is one.
    whole = 999.5 <= abs(value) < 1e6
    text = f"{value:,.0f}" if whole else f"{value:#.3g}".removesuffix(".")
    return text.replace("-", "−")
