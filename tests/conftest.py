"""What every test stands on: no display, no folder of the user's, one thread for torch, nothing left behind in Qt."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

# Before Qt, numpy and torch are imported, here or in a process that a test starts.
os.environ["QT_QPA_PLATFORM"] = os.environ.get("QT_QPA_PLATFORM", "offscreen")
os.environ["PYQTGRAPH_QT_LIB"] = "PySide6"
os.environ["MPLBACKEND"] = "agg"
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import hypothesis
import pytest
import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QThread, QTimer
from PySide6.QtWidgets import QApplication, QWidget

# A first example imports and compiles; the machine may be busy with something else.
hypothesis.settings.register_profile("lab", deadline=None, print_blob=True)
hypothesis.settings.load_profile("lab")

_BODY_PASSED = pytest.StashKey[bool]()
_SESSION_HOME = pytest.StashKey[Path]()


# Folders -------------------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Move the user's folders away, for fixtures that live longer than one test, too."""
    home = Path(tempfile.mkdtemp(prefix="paperlab-tests-"))
    config.stash[_SESSION_HOME] = home
    # Outside the folder of a test, as building matplotlib's list of fonts takes seconds.
    cache = getattr(config, "cache", None)
    os.environ["MPLCONFIGDIR"] = str(cache.mkdir("matplotlib") if cache else home)
    os.environ.update(_folders(home))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the session's folders."""
    if home := config.stash.get(_SESSION_HOME, None):
        shutil.rmtree(home, ignore_errors=True)


def _folders(home: Path) -> dict[str, str]:
    """Environment in which everything that a program keeps for its user lies below ``home``."""
    folders = {
        "PAPERLAB_HOME": home / "paperlab",
        "HOME": home,
        "XDG_CONFIG_HOME": home / "config",
        "XDG_DATA_HOME": home / "share",
        "XDG_STATE_HOME": home / "state",
    }
    if sys.platform == "win32":
        folders |= {"USERPROFILE": home, "APPDATA": home / "roaming", "LOCALAPPDATA": home / "local"}
    return {name: str(folder) for name, folder in folders.items()}


@pytest.fixture(autouse=True)
def user_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty home of the test's own, in which the lab's folders are, too; they are made when first used."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in _folders(home).items():
            patch.setenv(name, folder)
        yield home


# torch ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """Put torch back to one thread, if a test has set more; the environment has it begin with one."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


# Qt ------------------------------------------------------------------------------------------------------------------


class _Starts:
    """Who started which threads and timers; stands between the tests and Qt's ``start``."""

    def __init__(self) -> None:
        self.objects: weakref.WeakKeyDictionary[QObject, str] = weakref.WeakKeyDictionary()

    def watch(self, kind: type[QObject], patch: pytest.MonkeyPatch) -> None:
        """Note where each ``kind`` is started from Python."""
        start = kind.start  # type: ignore[attr-defined]

        # A plain function: with a mock in place of a method of its, PySide6 6.10 crashes.
        def noted_start(self_: QObject, *arguments: Any, **named: Any) -> None:
            self.objects[self_] = _place(sys._getframe(1))
            start(self_, *arguments, **named)

        patch.setattr(kind, "start", noted_start)

    def still_going(self) -> Iterator[tuple[QObject, str]]:
        """The threads that run, and the timers without parent that are active."""
        for item, place in list(self.objects.items()):
            try:
                if isinstance(item, QThread) and item.isRunning():
                    yield item, f"QThread still running, started at {place}"
                elif isinstance(item, QTimer) and item.parent() is None and item.isActive():
                    yield item, f"QTimer without parent still active, started at {place}"
            except RuntimeError:  # deleted by Qt
                continue


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _windows() -> dict[int, QWidget]:
    """Widgets that nothing but Python owns; what has a parent goes with it."""
    windows = [widget for widget in QApplication.topLevelWidgets() if widget.parent() is None]
    # Qt's address, as Python's object may be made anew at each look.
    return {shiboken6.getCppPointer(widget)[0]: widget for widget in windows}


def _describe(widget: QWidget) -> str:
    name = f" {widget.objectName()!r}" if widget.objectName() else ""
    title = f" titled {widget.windowTitle()!r}" if widget.windowTitle() else ""
    return f"{type(widget).__name__}{name}{title}, {'shown' if widget.isVisible() else 'hidden'}"


@pytest.fixture(scope="session")
def _starts() -> Iterator[_Starts]:
    starts = _Starts()
    with pytest.MonkeyPatch.context() as patch:
        starts.watch(QThread, patch)
        starts.watch(QTimer, patch)
        yield starts


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember whether the test itself passed: a traceback keeps what it shows alive."""
    report = yield
    if report.when == "call":
        item.stash[_BODY_PASSED] = report.passed
    return report


@pytest.fixture(autouse=True)
def _nothing_left_in_qt(request: pytest.FixtureRequest, _starts: _Starts) -> Iterator[None]:
    """Fail a test that leaves a top-level widget, a running thread or an ownerless active timer behind.

    Such a leftover paints, ticks and crashes in the tests that follow. A test that keeps one on purpose is marked
    ``leaves_qt_objects``. What was there before is known by address, so that the check keeps nothing alive itself.
    """
    before = set(_windows()) if QApplication.instance() else set()
    going_before = {id(item) for item, _ in _starts.still_going()}
    yield
    if QApplication.instance() is None or not request.node.stash.get(_BODY_PASSED, False):
        return
    if request.node.get_closest_marker("leaves_qt_objects"):
        return
    leftovers = _leftovers(before, going_before, _starts)
    if leftovers:
        pytest.fail("left behind in Qt:\n  " + "\n  ".join(leftovers), pytrace=False)


def _leftovers(before: set[int], going_before: set[int], starts: _Starts) -> list[str]:
    _process_deletions()
    if set(_windows()) - before:
        # Only then, as it takes long with torch loaded: pyqtgraph's items and menus hold each other.
        gc.collect()
        _process_deletions()
    leftovers = []
    for key, widget in _windows().items():
        if key not in before:
            leftovers.append(_describe(widget))
            _quietly(widget.close)
            widget.deleteLater()
    for item, sentence in starts.still_going():
        if id(item) in going_before:
            continue
        leftovers.append(sentence)
        if isinstance(item, QTimer):
            item.stop()
        elif isinstance(item, QThread):
            item.requestInterruption()
            item.quit()
            item.wait(2000)
    _process_deletions()
    return leftovers


def _process_deletions() -> None:
    """Do what ``deleteLater`` has put off; `QCoreApplication.processEvents` alone would not, outside an event loop."""
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


def _quietly(action: Callable[[], Any]) -> None:
    try:
        action()
    except Exception as error:
        print(f"while clearing up: {error!r}", file=sys.stderr)
