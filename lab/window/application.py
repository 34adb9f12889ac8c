"""Builds the application: Qt, theme, exceptions, garbage, window; main thread, which is the GUI thread.

Nothing here imports torch: the window is on screen before it is loaded, and only workers load it.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import get_args

import shiboken6
from PySide6.QtCore import QCoreApplication, QObject, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QApplication

from lab import __version__, places
from lab.runs.hosts import WorkerPool
from lab.window.garbage import GarbageCollector
from lab.window.main_window import MainWindow
from lab.window.preferences import Preferences
from widgets.theme import ThemeManager, ThemeMode

logger = logging.getLogger(__name__)


class Application(QObject):
    """The running lab: owns window, theme, worker pool.

    Parameters
    ----------
    preferences : Preferences, optional
    runs_folder : Path, optional
    theme : str, optional
        Overrides the remembered theme for this start.
    """

    fault_seen = Signal(str, str)

    def __init__(
        self,
        preferences: Preferences | None = None,
        runs_folder: Path | None = None,
        theme: str | None = None,
    ) -> None:
        app = QApplication.instance()
        if not isinstance(app, QApplication):
            app = make_qt_application()
        super().__init__(app)
        self.qt = app
        self.preferences = preferences or Preferences()
        wanted = theme or self.preferences.get("theme")
        mode: ThemeMode = next((known for known in get_args(ThemeMode) if known == wanted), "system")
        self.themes = ThemeManager(app, mode, self)
        self.pool = WorkerPool()
        self.window = MainWindow(
            self.preferences, self.themes, self.pool, runs_folder or places.runs_folder()
        )
        self.collector = GarbageCollector(self)
        self.fault_seen.connect(self._on_fault_seen, Qt.ConnectionType.QueuedConnection)
        self._old_hook = sys.excepthook
        sys.excepthook = self._on_exception
        self._old_thread_hook = threading.excepthook
        threading.excepthook = self._on_thread_exception

    def show(self, target: str | None = None) -> None:
        """Put the window on the screen, then load what can wait."""
        self.window.show()
        self._target = target
        QTimer.singleShot(0, self._on_shown)

    @Slot()
    def _on_shown(self) -> None:
        self.window.start(self._target)
        if self.window.services.where == "process":
            self.pool.warm()

    def close(self) -> None:
        """Undo what was done to the interpreter, and let window and theme go; the window is closed already."""
        sys.excepthook = self._old_hook
        threading.excepthook = self._old_thread_hook
        self.collector.stop()
        self.pool.close()
        # By hand and in this order: views refer to the theme until they are gone.
        shiboken6.delete(self.window)
        shiboken6.delete(self)

    def _on_exception(
        self, kind: type[BaseException], error: BaseException, where: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self.window.close()
            return
        details = "".join(traceback.format_exception(kind, error, where))
        logger.error("%s", details)
        print(details, file=sys.stderr)
        # Queued: an exception may come from the middle of painting, or from another thread.
        self.fault_seen.emit(
            f"Something in the lab went wrong ({kind.__name__}: {error}). Training goes on.", details
        )

    def _on_thread_exception(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            self._on_exception(args.exc_type, args.exc_value, args.exc_traceback)

    @Slot(str, str)
    def _on_fault_seen(self, text: str, details: str) -> None:
        self.window.messages.show_message("error", text, details=details, key="fault")


def make_qt_application() -> QApplication:
    """The one QApplication of this process."""
    QCoreApplication.setApplicationName("paperlab")
    QCoreApplication.setApplicationVersion(__version__)
    QApplication.setHighDpiScaleFactorRoundingPolicy(Qt.HighDpiScaleFactorRoundingPolicy.PassThrough)
    app = QApplication(["lab"])
    app.setDesktopFileName("paperlab")
    return app


def log_to_file() -> None:
    """Keep the application's own log in the user's folder; one that cannot be written is done without."""
    try:
        folder = places.log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            folder / "lab.log", maxBytes=2**20, backupCount=2, delay=True
        )
    except OSError:
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
