"""``lab bench``: what the window costs training, how fast it opens, how fast the engines are; main thread.

Everything that is compared is measured in one run, in turns, and reported as it was measured: medians over the rounds, with
machine and versions beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.config import find_preset
from engines.errors import InputError
from engines.method import Method
from lab import papers
from lab.commands.doctor import has_display
from lab.runs.folder import new_run_id
from lab.runs.hosts import Where
from lab.runs.messages import KEYFRAME_SPACE, RunSpec
from lab.runs.session import Session

if TYPE_CHECKING:
    from engines.engine import Engine
    from lab.panels.panel import Panel
    from lab.window.application import Application

SETTLE = 4.0
"""Seconds after the start of each part that are not counted: first pictures, first evaluation, caches."""


def bench(options: argparse.Namespace) -> int:
    """Run one benchmark and print it."""
    if options.what == "gui":
        result = bench_gui(options)
    elif options.what == "start":
        result = bench_start(options)
    else:
        result = bench_engines(options)
    result = {"bench": options.what, **result, "machine": machine()}
    if options.json:
        print(json.dumps(result))
    else:
        _print(result)
    return 0


def machine() -> dict[str, Any]:
    """Where this was measured."""
    from importlib.metadata import version

    from engines.device import processor

    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "pyside6": version("PySide6-Essentials"),
        "pyqtgraph": version("pyqtgraph"),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _print(result: dict[str, Any], indent: str = "") -> None:
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _print(value, indent + "  ")
        else:
            print(f"{indent}{name:<28} {value}")


def _chosen(options: argparse.Namespace) -> tuple[papers.Paper, Method, dict[str, Any]]:
    paper = papers.find_built(options.paper)
    method = papers.method_of(paper)
    preset = find_preset(method.presets, options.preset) if options.preset else method.presets[0]
    # A benchmark must not run out of steps.
    values = method.config.build({**preset.values, "steps": 10_000_000}).model_dump()
    return paper, method, values


# --- the window's cost  ----------


def bench_gui(options: argparse.Namespace) -> dict[str, Any]:
    """Steps per second without a window and with one whose pictures move, and how late the event loop answers."""
    if not has_display():
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from lab.window.application import Application
    from lab.window.preferences import Preferences

    paper, method, values = _chosen(options)
    with tempfile.TemporaryDirectory(prefix="lab-bench-") as folder:
        preferences = Preferences(Path(folder) / "window.json")
        preferences.set("paper", paper.id)
        application = Application(preferences, Path(folder) / "runs", theme="light")
        application.window.resize(1600, 1000)
        application.window.show()
        application.window.start(paper.id)
        panel = application.window.current_panel()
        assert panel is not None and panel.form is not None
        panel.form.set_values(method.config.build(values))
        _spin(1.0)
        parts: dict[Where, list[dict[str, float]]] = {"process": [], "thread": []}
        for _ in range(options.rounds):
            for where in parts:
                headless = _headless_rate(paper, method, values, where, options.seconds, Path(folder))
                bare = _headless_rate(paper, method, values, where, options.seconds, Path(folder), space=0)
                visible = _visible(application, panel, where, options.seconds)
                parts[where].append(
                    {"headless_steps_per_s": headless, "without_keyframes_steps_per_s": bare, **visible}
                )
        application.window.close()
        _spin(1.0)
        application.close()
    result: dict[str, Any] = {
        "paper": paper.id,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "window": "1600x1000",
        "platform": os.environ.get("QT_QPA_PLATFORM", "") or sys.platform,
    }
    for where, rounds in parts.items():
        summary: dict[str, Any] = {
            name: round(statistics.median(part[name] for part in rounds), 3) for name in rounds[0]
        }
        ratios = [part["visible_steps_per_s"] / part["headless_steps_per_s"] for part in rounds]
        summary["ratio"] = round(statistics.median(ratios), 4)
        summary["ratios"] = [round(ratio, 4) for ratio in ratios]
        costs = [part["headless_steps_per_s"] / part["without_keyframes_steps_per_s"] for part in rounds]
        summary["keyframes_ratio"] = round(statistics.median(costs), 4)
        summary["keyframes_ratios"] = [round(ratio, 4) for ratio in costs]
        result[where] = summary
    return result


def _headless_rate(
    paper: papers.Paper,
    method: Method,
    values: dict[str, Any],
    where: Where,
    seconds: float,
    folder: Path,
    space: int = KEYFRAME_SPACE,
) -> float:
    """Steps per second while nobody looks: the same worker, the same folder, no pictures, no window drawing.

    ``space`` is what keyframes may take; with 0 there are none.
    """
    run = new_run_id(paper.id)
    spec = RunSpec(
        *(run, paper.id, method.engine, values),
        device="cpu",
        folder=str(folder / "headless" / run),
        keyframe_space=space,
    )
    (folder / "headless").mkdir(exist_ok=True)
    session = Session(spec, where=where)
    try:
        session.wait(session.start(), 120)
        session.wait_for(lambda: False, SETTLE)
        return _rate(session, lambda: session.wait_for(lambda: False, seconds))
    finally:
        session.close()


def _rate(session: Session, live: Any) -> float:
    # The step at which a harmless command took effect is exact; progress reports lag.
    first = session.wait(session.change({}), 60).step
    began = time.perf_counter()
    live()
    last = session.wait(session.change({}), 60).step
    return (last - first) / (time.perf_counter() - began)


def _visible(application: Application, panel: Panel, where: Where, seconds: float) -> dict[str, float]:
    """Steps per second while the panel is in sight, its film plays and its curves grow."""
    from PySide6.QtCore import QObject, Qt, QTimer

    panel.services.where = where
    panel.services.device = "cpu"
    panel.begin()
    session = panel.session
    assert session is not None
    end = time.monotonic() + 60
    while session.state != "running" and time.monotonic() < end:
        _spin(0.02)
    if session.failure is not None:
        raise InputError(session.failure.sentence)
    _spin(SETTLE)
    panel.slider.set_frames_per_second(30)
    panel.play_films()
    owner = QObject()
    late: list[float] = []
    probe = QTimer(owner)
    probe.setTimerType(Qt.TimerType.PreciseTimer)
    interval = 0.005
    probe.setInterval(round(interval * 1000))
    before = [time.perf_counter()]

    def measure() -> None:
        now = time.perf_counter()
        late.append(max(0.0, now - before[0] - interval) * 1000)
        before[0] = now

    probe.timeout.connect(measure)
    painted = _PaintCounter(panel)
    _spin(0.5)
    painted.count = 0
    late.clear()
    before[0] = time.perf_counter()
    probe.start()
    rate = _rate(session, lambda: _spin(seconds))
    probe.stop()
    frames = painted.count / seconds
    painted.detach()
    late.sort()
    scrubs = _scrub(panel)
    ending = panel.session
    panel.close_run()
    while ending is not None and ending.host.is_alive():
        _spin(0.05)
    return {
        "visible_steps_per_s": rate,
        "frames_per_s": frames,
        "loop_ms_p50": late[len(late) // 2],
        "loop_ms_p99": late[min(len(late) - 1, int(len(late) * 0.99))],
        "loop_ms_max": late[-1],
        "scrub_ms_p50": scrubs[len(scrubs) // 2],
        "scrub_ms_max": scrubs[-1],
    }


def _scrub(panel: Panel, count: int = 24) -> list[float]:
    """Milliseconds from choosing a keyframe to its pictures in every view in sight, sorted; training goes on."""
    from PySide6.QtWidgets import QApplication

    panel.slider.set_playing(False)
    times = []
    run = panel.run
    for turn in range(count):
        # Neighbours are read ahead: leaps are the harder case.
        kept = run.keyframes if run is not None else ()
        if not kept:
            break
        index = (turn * 7919) % len(kept)
        before = panel.past.figures
        began = time.perf_counter()
        panel.past.look_at(index)
        while panel.past.figures is before and time.perf_counter() - began < 5.0:
            _spin(0.001)
        QApplication.processEvents()
        times.append((time.perf_counter() - began) * 1000)
    panel.past.go_live()
    return sorted(times) or [float("nan")]


def _PaintCounter(panel: Panel) -> Any:
    from PySide6.QtCore import QEvent, QObject

    class PaintCounter(QObject):
        """Counts the repaints of the first film in sight."""

        def __init__(self) -> None:
            super().__init__()
            self.count = 0
            self._viewport = panel.film_viewport()
            self._viewport.installEventFilter(self)

        def detach(self) -> None:
            self._viewport.removeEventFilter(self)

        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.Paint:
                self.count += 1
            return False

    return PaintCounter()


def _spin(seconds: float) -> None:
    from PySide6.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()


# --- the start  ----------


def bench_start(options: argparse.Namespace) -> dict[str, Any]:
    """Launch to usable window, beside a bare PySide6 and pyqtgraph window, and Train to first picture."""
    paper = papers.find_built(options.paper)
    environment = dict(os.environ)
    if not has_display():
        environment["QT_QPA_PLATFORM"] = "offscreen"
    times: dict[str, list[float]] = {"bare": [], "lab": []}
    first_pictures = []
    with tempfile.TemporaryDirectory(prefix="lab-bench-") as folder:
        environment["PAPERLAB_HOME"] = folder
        # One start each that does not count: it fills the disk's and Python's caches.
        for turn in range(options.rounds + 1):
            for what in times:
                began = time.monotonic()
                done = subprocess.run(
                    [sys.executable, "-m", "lab.commands.bench_start", what, paper.id],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=120,
                )
                if done.returncode != 0:
                    raise RuntimeError(done.stderr)
                report = json.loads(done.stdout.strip().splitlines()[-1])
                if turn:
                    times[what].append(report["usable_at"] - began)
                    if "first_picture" in report:
                        first_pictures.append(report["first_picture"])
    bare, lab = statistics.median(times["bare"]), statistics.median(times["lab"])
    return {
        "paper": paper.id,
        "rounds": options.rounds,
        "bare_window_s": round(bare, 3),
        "lab_window_s": round(lab, 3),
        "ratio": round(lab / bare, 3),
        "train_to_first_picture_s": round(statistics.median(first_pictures), 3),
        "all_bare_s": [round(t, 3) for t in times["bare"]],
        "all_lab_s": [round(t, 3) for t in times["lab"]],
        "all_first_picture_s": [round(t, 3) for t in first_pictures],
    }


# --- the engines  ----------


def bench_engines(options: argparse.Namespace) -> dict[str, Any]:
    """How fast an engine is, by the benchmark of its own where it has one, and what each of its pictures costs."""
    import torch

    from engines import device as devices

    paper, method, values = _chosen(options)
    if options.peer == "yes" and not method.bench:
        raise InputError(f"Nothing is measured beside the engine of '{paper.id}': leave out --peer yes.")
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    device = devices.choose("auto")
    measured = {}
    if method.bench:
        preset = find_preset(method.presets, options.preset) if options.preset else None
        measured = papers.resolve(method.bench)(preset, options.seconds, options.rounds, options.peer)
    engine = papers.resolve(method.engine)(method.config.build(values), device)
    if not method.bench:
        measured = _update_rate(engine, options.seconds, options.rounds)
    engine.step()
    pictures = {}
    for name in method.figure_names():
        engine.figures([name])
        began = time.perf_counter()
        for _ in range(5):
            engine.figures([name])
        pictures[name] = round((time.perf_counter() - began) / 5 * 1000, 2)
    return {
        "paper": paper.id,
        "device": devices.description(device),
        **measured,
        "picture_ms": pictures,
    }


def _update_rate(engine: Engine, seconds: float, rounds: int) -> dict[str, Any]:
    """Steps per second of the engine alone."""
    for _ in range(20):
        engine.step()
    rates = []
    for _ in range(rounds):
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            engine.step()
            count += 1
        rates.append(count / (time.perf_counter() - began))
    return {
        "steps_per_s": round(statistics.median(rates), 2),
        "all_steps_per_s": [round(rate, 2) for rate in rates],
    }
