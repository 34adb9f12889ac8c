"""Somebody at the window who goes through time: trains with small settings, scrubs, rewinds, forks; for several tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from engines.config import SettingSpec
from engines.figures import CurveSpec, Figure, FigureSpec, Rule, arrays_of, at
from lab import papers
from lab.panels.active_run import ActiveRun
from lab.runs.folder import Keyframe, RunFolder
from lab.runs.reader import read_frame
from lab.window.application import Application
from tests.lab.small import SMALL
from tests.lab.test_window import Person
from widgets.timeline import Track

Make = Callable[..., Application]

BUILT = [paper.id for paper in papers.papers() if paper.is_built]

MODEL = "diffusion"
"""The paper at whose window everything is tried; what is tried with every paper says so with `every_paper`."""


def every_paper(fixture: str) -> pytest.MarkDecorator:
    """Test with every built paper what may differ from paper to paper: its pictures, its curves, its settings."""
    return pytest.mark.parametrize(fixture, BUILT, indirect=True)


CONTROL = Qt.KeyboardModifier.ControlModifier
CONTROL_SHIFT = CONTROL | Qt.KeyboardModifier.ShiftModifier


class Traveller(Person):
    """Somebody at the window of any paper."""

    def __init__(self, qtbot: QtBot, application: Application) -> None:
        super().__init__(qtbot, application)
        # Without a window manager nobody gives it the keyboard when another window was there before.
        self.window.activateWindow()
        self.until(self.window.isActiveWindow)

    @property
    def run(self) -> ActiveRun:
        """The run in focus."""
        assert self.panel.run is not None
        return self.panel.run

    @property
    def folder(self) -> Path:
        """Where the run in focus is kept."""
        assert self.run.folder is not None
        return self.run.folder

    @property
    def track(self) -> Track:
        """The line that is clicked and dragged."""
        return self.panel.past.timeline.track

    @property
    def record(self) -> Keyframe | None:
        """The moment that is looked at."""
        return self.panel.past.record

    # --- training  ----------

    def set(self, **values: Any) -> None:
        settings = self.form.values()
        small = {"steps": 1_000_000, **SMALL.get(self.panel.paper.id, {})}
        self.form.set_values(settings.build({**settings.model_dump(), **small, **values}))

    def train(self, keyframes: int = 0, **values: Any) -> None:
        """Train with small settings until every view in sight has its picture, and so many moments are kept."""
        self.set(**values)
        self.play()
        self.until(lambda: all(self.panel.figure(name) is not None for name in self.pictures()))
        self.keep(keyframes)

    def press(self, button: QWidget) -> None:
        # What a button does goes by the state that the window shows, which lags behind by a tick.
        self.until(lambda: self.window.transport.state() == self.panel.state)
        super().press(button)

    def trains(self) -> bool:
        """Whether the run in focus trains, as far as the window knows."""
        return self.window.transport.state() == "running" and self.panel.started is not None

    def waits(self) -> bool:
        """Whether the run in focus is paused, as far as the window knows."""
        return self.window.transport.state() == "paused" and self.panel.started is not None

    def play(self) -> None:
        self.press(self.window.transport.play_button)
        self.until(self.trains)

    def pause(self) -> int:
        """Pause, and say at which step."""
        self.press(self.window.transport.play_button)
        self.until(self.waits)
        self.until(lambda: bool(self.run.keyframes) and self.run.keyframes[-1].step == self.run.session.step)
        return self.run.session.step

    def stop(self) -> Path:
        """End the run, and say where it is."""
        self.press(self.window.transport.stop_button)
        self.until(lambda: self.window.transport.state() == "done")
        return self.folder

    def keep(self, keyframes: int) -> None:
        """Wait until so many moments are kept."""
        self.until(lambda: len(self.run.keyframes) >= keyframes)
        # What is clicked is what was drawn.
        self.until(lambda: len(self.track.keyframes) >= keyframes)

    def goes_on(self, run: ActiveRun | None = None, by: int = 3) -> None:
        """Wait until a run has trained on."""
        session = (run or self.run).session
        step = session.step
        self.until(lambda: session.step >= step + by)

    def live_setting(self) -> SettingSpec:
        """A number that acts at once."""
        assert self.panel.method is not None
        config = self.panel.method.config
        if self.panel.method.learning_rate:
            return config.spec(self.panel.method.learning_rate)
        return next(s for s in config.specs() if s.effect == "live" and s.kind == "number")

    def value(self, name: str) -> Any:
        """What the form says of a setting."""
        return getattr(self.form.values(), name)

    # --- views  ----------

    def pictures(self) -> list[str]:
        """Views in sight that the engine draws."""
        assert self.panel.method is not None
        drawn = [view.name for view in self.panel.method.views if isinstance(view, FigureSpec)]
        return [name for name in drawn if self.panel.is_in_sight(name)]

    def turn_to(self, name: str) -> None:
        """Bring a view to the front."""
        self.panel.docks[name].show()
        self.panel.docks[name].raise_()
        self.until(lambda: self.panel.is_in_sight(name))

    def turn_to_curves(self) -> str:
        """Bring a view of scalars to the front."""
        assert self.panel.method is not None
        name = next(
            view.name for view in self.panel.method.views if isinstance(view, CurveSpec) and not view.x_scalar
        )
        self.turn_to(name)
        return name

    def hidden_picture(self) -> str:
        """A view that the engine draws and that is behind another one."""
        assert self.panel.method is not None
        drawn = [view.name for view in self.panel.method.views if isinstance(view, FigureSpec)]
        return next(name for name in drawn if not self.panel.is_in_sight(name))

    def shows(self, folder: Path, record: Keyframe) -> bool:
        """Whether every view in sight shows what was kept of a moment."""
        kept = read_frame(folder, record)
        return all(same(self.panel.figure(name), kept[name]) for name in self.pictures())

    def sees(self, record: Keyframe | None = None) -> None:
        """Wait until every view in sight shows a moment; the one that is looked at if none is named."""
        record = record or self.record
        assert record is not None
        folder = self.folder
        self.until(lambda: self.shows(folder, record))

    def cursor(self, name: str) -> float | None:
        """The step that a view of scalars marks."""
        figure = self.panel.figure(name)
        rules = [mark for mark in at(figure).marks if isinstance(mark, Rule)] if figure is not None else []
        return next((rule.value for rule in rules if rule.axis == "x"), None)

    # --- the time line  ----------

    def click_track(self, place: QPoint) -> None:
        self.qtbot.mouseClick(self.track, Qt.MouseButton.LeftButton, pos=place)

    def place(self, index: int | None) -> QPoint:
        """Where a keyframe is on the line, or with None just beyond the present."""
        return self.track.place_of(index).toPoint() + QPoint(3 if index is None else 0, 0)

    def look(self, index: int = 0) -> Keyframe:
        """Go to a keyframe by the keys of the line, and wait for its pictures."""
        self.track.setFocus()
        self.key(self.track, Qt.Key.Key_Home)
        for _ in range(index):
            self.key(self.track, Qt.Key.Key_Right)
        assert self.record is not None
        self.sees()
        return self.record

    def key(
        self,
        widget: QWidget,
        key: Qt.Key,
        modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
    ) -> None:
        self.qtbot.keyClick(widget, key, modifiers)

    # --- several runs  ----------

    def fork(self, changes: Mapping[str, Any] | None = None, *, together: bool = False) -> None:
        """Fork from the moment that is looked at, through the popup, and wait for the second run."""
        self.press(self.panel.past.timeline.fork_button)
        popup = self.panel.fork_popup
        self.until(popup.isVisible)
        popup.lockstep_box.setChecked(together)
        for name, value in (changes or {}).items():
            popup.choose(name, value)
        before = self.run
        self.press(popup.fork_button)
        self.until(lambda: self.panel.run is not before and (self.trains() or self.waits()))

    def twins(self, *, together: bool = False, **values: Any) -> tuple[ActiveRun, ActiveRun]:
        """Two runs that train side by side, the second with half the learning rate and in focus."""
        self.train(keyframes=2, **values)
        first, spec = self.run, self.live_setting()
        self.look(1)
        self.fork({spec.name: self.value(spec.name) / 2}, together=together)
        self.until(self.trains)
        return first, self.run

    def names_on_chips(self) -> list[str]:
        return [chip.run.name for chip in self.panel.strip.chips] if self.panel.strip.isVisible() else []

    def choose_chip(self, run: ActiveRun) -> None:
        """Click on a run in the strip."""
        chip = next(chip for chip in self.panel.strip.chips if chip.run.key == run.key)
        self.qtbot.mouseClick(chip, Qt.MouseButton.LeftButton, pos=QPoint(14, chip.height() // 2))


def same(one: Figure | None, other: Figure | None) -> bool:
    """Whether two pictures show the same, in the single precision in which they are kept."""
    if one is None or other is None or type(one) is not type(other):
        return False
    left, right = dict(arrays_of(one)), dict(arrays_of(other))
    return left.keys() == right.keys() and all(_same(array, right[name]) for name, array in left.items())


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    return np.array_equal(one.astype(np.float32), other.astype(np.float32), equal_nan=True)


@contextmanager
def noted_wants(run: ActiveRun) -> Iterator[list[tuple[str, ...]]]:
    """The pictures that a run's worker is asked for meanwhile."""
    asked: list[tuple[str, ...]] = []
    want = run.session.want

    def noted(names: Sequence[str], *, now: bool = False) -> None:
        if names:
            asked.append(tuple(names))
        want(names, now=now)

    run.session.want = noted  # type: ignore[method-assign,assignment]
    try:
        yield asked
    finally:
        run.session.want = want  # type: ignore[method-assign]


def whole(folder: Path) -> None:
    """A run has ended, and nothing of it is missing or damaged."""
    run = RunFolder(folder)
    steps = run.metrics().steps
    assert run.last_state() == "done"
    assert run.damage() == []
    assert np.array_equal(steps, np.arange(1, len(steps) + 1)), "a step is missing, or there twice"
    assert run.keyframes()[0][-1].step == (steps[-1] if len(steps) else 0), "the last state is not kept"
