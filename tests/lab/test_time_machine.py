"""The time machine that every built paper's panel inherits: scrub, rewind, divergence, death; real clicks, real windows."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from engines.figures import CurveSpec, Film, arrays_of
from lab import papers
from lab.runs.folder import RunFolder, sealed
from lab.runs.hosts import ProcessHost
from lab.runs.reader import read_frame
from tests.lab.exporting import export_to
from tests.lab.traveller import (
    BUILT,
    CONTROL,
    CONTROL_SHIFT,
    MODEL,
    Make,
    Traveller,
    every_paper,
    noted_wants,
    same,
    whole,
)
from widgets.messages import Message


@pytest.fixture(params=[MODEL])
def make(request: pytest.FixtureRequest, qtbot: QtBot, make_lab: Make) -> Iterator[Callable[..., Traveller]]:
    """Opens the lab with somebody before one of the built papers; no fault of ours may be told at the end."""
    somebody: list[Traveller] = []

    def opened(where: str = "thread", size: tuple[int, int] = (1300, 900)) -> Traveller:
        somebody.append(Traveller(qtbot, make_lab(request.param, where, size)))
        return somebody[-1]

    yield opened
    for each in somebody:
        told = each.messages("error")
        assert not [text for text in told if "went wrong" in text or "fault in the lab" in text]


@pytest.fixture
def traveller(make: Callable[..., Traveller]) -> Traveller:
    """Somebody before a paper that trains on a thread."""
    return make()


# --- looking at the past  ----------


@every_paper("make")
def test_a_click_shows_a_moment_in_every_view_and_training_goes_on(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    person.train(keyframes=3)
    curves = person.turn_to_curves()
    folder = person.folder
    with noted_wants(person.run) as asked:
        person.click_track(person.place(1))
        record = person.record
        assert record is not None and record in person.run.keyframes
        person.sees(record)
        asked.clear()
        first = read_frame(folder, person.run.keyframes[0])
        kept = read_frame(folder, record)
        shown = person.pictures()
        assert shown and any(not same(kept[name], first[name]) for name in shown), "a moment of its own"
        person.until(lambda: person.cursor(curves) == record.step)
        assert panel.past.timeline.step_text.startswith(f"step {record.step:,} ")
        person.goes_on(by=20)
        # What is brought into sight shows the past, too.
        hidden = person.hidden_picture()
        person.turn_to(hidden)
        person.until(lambda: same(panel.figure(hidden), kept[hidden]))
        person.goes_on()
        assert person.record == record and person.shows(folder, record)
        assert asked == [], "the worker draws nothing for somebody who looks at the past"
        person.press(panel.past.timeline.live_button)
        person.until(lambda: bool(asked))
    person.until(lambda: not same(panel.figure(hidden), kept[hidden]))
    person.turn_to(curves)
    person.until(lambda: person.cursor(curves) is None)


def test_a_drag_along_the_line_shows_one_moment_after_the_other(traveller: Traveller) -> None:
    person = traveller
    person.train(keyframes=4)
    person.pause()
    folder, track, left = person.folder, person.track, Qt.MouseButton.LeftButton
    seen: list[int] = []
    person.qtbot.mousePress(track, left, pos=person.place(0))
    for index in (2, 0, 2):
        person.qtbot.mouseMove(track, person.place(index))
        record = person.record
        assert record is not None
        person.until(lambda record=record: person.shows(folder, record))
        seen.append(record.step)
    person.qtbot.mouseRelease(track, left, pos=person.place(None))
    assert seen[0] == seen[2] > seen[1]
    assert person.record is not None, "letting go chooses nothing"
    person.qtbot.mousePress(track, left, pos=person.place(0))
    person.qtbot.mouseMove(track, person.place(None))
    person.qtbot.mouseRelease(track, left, pos=person.place(None))
    assert person.record is None


def test_the_keys_of_the_line_go_from_moment_to_moment(traveller: Traveller) -> None:
    person, track = traveller, traveller.track
    person.train(keyframes=3)
    person.pause()
    keyframes = person.run.keyframes
    track.setFocus()

    def press(key: Qt.Key) -> int | None:
        person.key(track, key)
        record = person.record
        if record is not None:
            person.sees(record)
        return None if record is None else keyframes.index(record)

    last = len(keyframes) - 1
    pressed = [Qt.Key.Key_Home, Qt.Key.Key_Right, Qt.Key.Key_End, Qt.Key.Key_Left, Qt.Key.Key_Left]
    assert [press(key) for key in pressed] == [0, 1, None, last, last - 1]
    # With the keyboard in the line, Space plays its film and does not train.
    person.key(track, Qt.Key.Key_Home)
    person.key(track, Qt.Key.Key_Space)
    person.until(lambda: person.record is None)
    assert person.panel.state == "paused"


def test_every_way_back_shows_the_newest_again(traveller: Traveller) -> None:
    person, timeline = traveller, traveller.panel.past.timeline
    person.train(keyframes=3)
    person.pause()
    newest = person.run.keyframes[-1]
    person.sees(newest)
    ways: dict[str, Callable[[], object]] = {
        "button": lambda: person.press(timeline.live_button),
        "Escape": lambda: person.key(person.track, Qt.Key.Key_Escape),
        "L": lambda: person.key(person.track, Qt.Key.Key_L),
        "Ctrl+L": lambda: person.key(person.window, Qt.Key.Key_L, CONTROL),
        "click": lambda: person.click_track(person.place(None)),
    }
    for way, go in ways.items():
        person.look(0)
        assert not person.shows(person.folder, newest)
        go()
        assert person.record is None and timeline.position is None, way
        person.sees(newest)
        assert not timeline.live_button.isEnabled()


def test_the_numbers_are_those_of_the_moment(traveller: Traveller) -> None:
    person, panel, window = traveller, traveller.panel, traveller.window
    assert panel.method is not None
    headline = panel.method.headline
    person.train()
    person.until(lambda: headline in panel.numbers())
    person.pause()
    person.play()
    person.keep(len(person.run.keyframes) + 1)
    metrics = RunFolder(person.folder).metrics()
    person.keep(4)
    record = person.look(len(person.run.keyframes) - 2)
    person.pause()
    metrics = RunFolder(person.folder).metrics().upto(record.step)
    values = metrics.columns[headline]
    expected = float(values[np.isfinite(values)][-1])
    assert panel.numbers()[headline] == pytest.approx(expected)
    text = f"{expected:#.3g}".removesuffix(".").replace("-", "−")
    assert window.headline.text() == f"{panel.method.headline_label}  {text}  at step {record.step:,}"
    # The text about the paper has its numbers from there, too, and goes on from there in the present.
    told: list[dict[str, float]] = []
    set_numbers = panel.text_page.set_numbers
    panel.text_page.set_numbers = lambda values: (told.append(dict(values)), set_numbers(values))  # type: ignore
    person.key(window, Qt.Key.Key_F4)
    person.until(lambda: bool(told))
    assert told[-1][headline] == pytest.approx(expected)
    person.key(window, Qt.Key.Key_L, CONTROL)
    assert told[-1] == panel.history.latest() and "at step" not in window.headline.text()
    person.key(window, Qt.Key.Key_F4)


def test_what_the_hand_does_is_done_to_the_present(qtbot: QtBot, make_lab: Make) -> None:
    person = Traveller(qtbot, make_lab(size=(1300, 900)))
    person.train(keyframes=2)
    person.turn_to("bent")
    person.until(lambda: person.panel.figure("bent") is not None)
    person.look(0)
    view = person.panel.view("bent")
    place = view.canvas.mapFromScene(view.areas[0].to_scene(1.0, 0.8))
    qtbot.mouseClick(view.canvas.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert person.record is None and person.panel.past.timeline.position is None
    person.until(lambda: any(mark.kind == "action" for mark in person.track.marks))
    # The slider inside a film shows another part of the same moment.
    record = person.look(0)
    person.turn_to("futures")
    person.panel.slider.set_index(2)
    assert person.record == record and person.panel.view("process").frame == 2
    person.sees(record)


def test_a_view_of_the_past_is_exported_as_that_moment(traveller: Traveller, tmp_path: Path) -> None:
    person = traveller
    person.train(keyframes=3)
    record = person.look(1)
    name = person.pictures()[0]
    all_of_it = "Film" if isinstance(person.panel.figure(name), Film) else "Still"
    for path, what in ((tmp_path / "then.png", "Still"), (tmp_path / "then.npz", all_of_it)):
        export_to(person, path, name, what)
        person.goes_on()
        person.message(f"Saved {path}")
    with Image.open(tmp_path / "then.png") as picture:
        assert json.loads(picture.info["lab"])["step"] == record.step
    with np.load(tmp_path / "then.npz") as written:
        assert json.loads(str(written["metadata"]))["step"] == record.step
        arrays = [array for array in written.values() if array.dtype.kind == "f"]
    for _, array in arrays_of(read_frame(person.folder, record)[name]):
        if array.dtype.kind == "f":
            assert any(np.array_equal(array, found, equal_nan=True) for found in arrays), "of that moment"


@pytest.mark.parametrize("harm", ["cut short", "flipped"])
def test_pictures_that_are_damaged_cost_a_sentence_and_no_others(traveller: Traveller, harm: str) -> None:
    person = traveller
    person.train(keyframes=3)
    person.pause()
    damaged = person.run.keyframes[0]
    path = person.folder / "frames" / damaged.frame
    content = bytearray(path.read_bytes())
    if harm == "cut short":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    person.track.setFocus()
    person.key(person.track, Qt.Key.Key_Home)
    message = person.message(f"The pictures of step {damaged.step:,}")
    assert message.kind == "warning" and "the others still work" in message.text()
    assert person.record == damaged
    sound = person.look(1)
    assert sound != damaged
    # What cannot be seen can still be gone back to.
    person.key(person.track, Qt.Key.Key_Home)
    person.press(person.panel.past.timeline.rewind_button)
    person.until(lambda: person.waits() and person.run.session.step == damaged.step)


def test_the_space_for_keyframes_is_chosen_in_the_menu_of_the_line(traveller: Traveller) -> None:
    person, timeline = traveller, traveller.panel.past.timeline
    person.train(keyframes=1)
    assert person.application.preferences.get("keyframe_space") != 64 * 2**20
    timeline.fill_menu()
    assert timeline.space_menu.menuAction() in timeline.menu.actions()
    next(action for action in timeline.space_menu.actions() if action.text() == "64 MB").trigger()
    # What the worker tells, and not what was wished.
    person.until(lambda: person.run.space == 64 * 2**20)
    person.until(lambda: timeline.space_menu.title().endswith("of 64 MB"))
    assert person.application.preferences.get("keyframe_space") == 64 * 2**20
    person.press(person.window.transport.reset_button)
    person.until(lambda: person.panel.started is not None and bool(person.run.keyframes))
    assert person.run.space == 64 * 2**20 == person.run.session.spec.keyframe_space


# --- going back  ----------


@pytest.mark.parametrize(
    ("make", "training", "how"),
    [
        *((paper, True, "button") for paper in BUILT),
        (MODEL, False, "button"),
        (MODEL, True, "keys"),
        (MODEL, False, "keys"),
    ],
    indirect=["make"],
)
def test_a_rewind_trains_on_from_there_in_a_run_of_its_own(
    traveller: Traveller, training: bool, how: str
) -> None:
    person, panel = traveller, traveller.panel
    person.train(keyframes=2)
    spec = person.live_setting()
    before = person.value(spec.name)
    person.form.change({spec.name: before / 2})
    person.until(lambda: any(k.reason == "change" for k in person.run.keyframes))
    person.goes_on()
    if not training:
        person.pause()
    old, left_at = person.run, person.run.session.step
    record = person.look(1)
    assert record.step < left_at
    if how == "button":
        person.press(panel.past.timeline.rewind_button)
    else:
        person.key(person.window, Qt.Key.Key_R, CONTROL_SHIFT)
    assert panel.runs == [person.run] and person.run is not old
    assert person.value(spec.name) == before, "the form shows what was in force there"
    assert person.record is None
    assert old.folder is not None and person.folder != old.folder
    person.until(lambda: panel.started is not None)
    assert panel.started.step == record.step and panel.started.values[spec.name] == before  # type: ignore
    if training:
        person.goes_on()
        assert panel.state == "running"
        person.pause()
    else:
        person.until(person.waits)
        person.sees(record)
        assert person.run.session.step == record.step
    # The scalars and keyframes until there are this run's, too.
    assert panel.history.at(record.step) == pytest.approx(old.history.at(record.step), nan_ok=True)
    person.until(lambda: record.place in [k.place for k in person.run.keyframes])
    info = RunFolder(person.folder).info
    assert (info.parent, info.parent_step, info.relation) == (old.key, record.step, "rewind")
    person.until(lambda: not person.window.services.closing)
    whole(old.folder)
    assert RunFolder(old.folder).metrics().steps[-1] >= left_at


def test_what_was_left_behind_is_a_branch_that_opens_beside(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    person.train(keyframes=3)
    person.pause()
    old, end = person.run, person.run.session.step
    record = person.look(1)
    person.press(panel.past.timeline.rewind_button)
    person.until(person.waits)
    person.until(lambda: len(person.track.branches) == 1)
    new, branch = person.run, person.track.branches[0]
    assert (branch.start, branch.end, branch.key) == (record.step, end, str(old.folder))
    person.until(lambda: not person.window.services.closing)
    person.click_track(person.track.branch_place(0).toPoint())
    person.until(person.waits)
    assert [run.folder for run in panel.runs] == [new.folder, old.folder]
    assert panel.viewing == old.folder and person.run.session.step == end
    assert len(person.names_on_chips()) == 2
    chips = [(chip.run.name, chip.run.detail) for chip in panel.strip.chips]
    assert chips[0] != chips[1], "they can be told apart"
    person.sees(person.run.keyframes[-1])
    # A second click shows the same run, and not a third one.
    person.choose_chip(new)
    assert person.run is new
    person.until(lambda: len(person.track.branches) == 1)
    person.click_track(person.track.branch_place(0).toPoint())
    assert panel.viewing == old.folder and len(panel.runs) == 2


def test_there_must_be_a_moment_to_go_back_to(traveller: Traveller) -> None:
    person = traveller
    person.train(keyframes=1)
    run, timeline = person.run, person.panel.past.timeline
    assert not timeline.rewind_button.isEnabled()
    person.key(person.window, Qt.Key.Key_R, CONTROL_SHIFT)
    assert "time line" in person.messages("info")[0] and person.run is run


# --- divergence  ----------


@pytest.fixture
def broken(traveller: Traveller, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is set, every step of the paper's engine gives NaN."""
    assert traveller.panel.method is not None
    method, going_wrong = traveller.panel.method, threading.Event()
    engine_class = papers.resolve(method.engine)
    step = engine_class.step

    def broken_step(self: Any) -> dict[str, float]:
        scalars = dict(step(self))
        return {**scalars, method.watched or method.headline: np.nan} if going_wrong.is_set() else scalars

    monkeypatch.setattr(engine_class, "step", broken_step)
    return going_wrong


def diverge(person: Traveller, broken: threading.Event) -> Message:
    """Train until the numbers are none any more, and find the message about it."""
    person.train(keyframes=2)
    broken.set()
    person.until(person.waits)
    broken.clear()
    return person.message("so training was paused")


def test_a_divergence_is_gone_back_from_with_a_lower_rate(
    traveller: Traveller, broken: threading.Event
) -> None:
    person, panel = traveller, traveller.panel
    message = diverge(person, broken)
    old = person.run
    assert old.diverged is not None and old.diverged.keyframe is not None
    assert set(message.action_buttons) == {"rewind-lower", "look-back", "go-on"}
    assert any(mark.kind == "divergence" for mark in person.track.marks)
    record, spec = old.diverged.keyframe, person.live_setting()
    before = person.value(spec.name)
    person.press(message.action_buttons["rewind-lower"])
    person.until(lambda: person.run is not old and person.trains())
    assert panel.started is not None and panel.started.step == record.step
    person.goes_on()
    if panel.method is not None and panel.method.learning_rate:
        assert person.value(spec.name) == pytest.approx(before / 10)
        assert panel.started.values[spec.name] == pytest.approx(before / 10)
    assert not [text for text in person.messages() if "so training was paused" in text]


def test_a_step_size_that_is_far_too_large_is_taken_back(qtbot: QtBot, make_lab: Make) -> None:
    person = Traveller(qtbot, make_lab(size=(1300, 900)))
    person.train(keyframes=2)
    # So many steps tell what is usual.
    person.until(lambda: person.run.session.step > 350)
    before = person.value("step_size")
    person.form.change({"step_size": 10.0})
    message = person.message("so training was paused")
    old = person.run
    assert old.diverged is not None and old.diverged.keyframe is not None
    assert f"with step size {before:g}" in message.action_buttons["rewind-lower"].text()
    person.press(message.action_buttons["rewind-lower"])
    person.until(lambda: person.run is not old and person.trains())
    person.goes_on()
    # At its end was the state before the change: what was in force there is a lower step size, too.
    assert person.value("step_size") == pytest.approx(before)
    assert person.run.values()["step_size"] == person.value("step_size")


def test_a_divergence_can_be_looked_at_and_then_gone_back_from(
    traveller: Traveller, broken: threading.Event
) -> None:
    person, panel = traveller, traveller.panel
    message = diverge(person, broken)
    old = person.run
    assert old.diverged is not None
    person.press(message.action_buttons["look-back"])
    assert person.record is not None
    assert (person.record.step, person.record.reason) == (old.diverged.step, "divergence")
    person.sees()
    assert panel.state == "paused"
    # Whoever has seen it decides then.
    person.press(person.message("so training was paused").action_buttons["rewind-lower"])
    person.until(lambda: person.run is not old and person.trains())


def test_a_divergence_can_be_trained_through(traveller: Traveller, broken: threading.Event) -> None:
    person = traveller
    message = diverge(person, broken)
    run, step = person.run, person.run.session.step
    person.press(message.action_buttons["go-on"])
    person.until(lambda: person.trains() and run.session.step > step)
    assert person.run is run and not [text for text in person.messages() if "was paused" in text]


def test_a_divergence_that_comes_with_the_first_step_is_told_with_what_can_be_done(
    traveller: Traveller, broken: threading.Event
) -> None:
    person = traveller
    person.train()
    person.pause()
    session = person.run.session
    broken.set()
    # All that happens comes to the window at once, as if it had been busy meanwhile.
    person.window._timer.stop()
    person.press(person.window.transport.play_button)
    person.until(lambda: session.state == "running" or session.message != "")
    person.until(lambda: session.state == "paused")
    person.window._timer.start()
    message = person.message("so training was paused")
    person.until(person.waits)
    assert "rewind-lower" in message.action_buttons and message.isVisible()


def test_the_action_is_about_the_run_that_diverged(traveller: Traveller, broken: threading.Event) -> None:
    person, panel = traveller, traveller.panel
    first, second = person.twins()
    # One of the two is alone for a moment, and it goes wrong then.
    person.pause()
    broken.set()
    person.until(lambda: first.diverged is not None)
    broken.clear()
    assert person.run is second
    message = person.message("so training was paused")
    person.press(message.action_buttons["rewind-lower"])
    person.until(person.trains)
    assert second in panel.runs and first not in panel.runs and len(panel.runs) == 2
    assert second.state == "paused", "the other one is left alone"
    person.until(lambda: not person.window.services.closing)
    assert RunFolder(person.folder).info.parent == first.key


# --- death  ----------


def test_a_run_whose_process_was_killed_goes_on_with_one_click(make: Callable[..., Traveller]) -> None:
    person = make("process")
    panel = person.panel
    person.train(keyframes=3)
    dead, shown = person.run, {name: panel.figure(name) for name in person.pictures()}
    assert isinstance(dead.session.host, ProcessHost) and dead.session.host.pid is not None
    os.kill(dead.session.host.pid, signal.SIGKILL)
    message = person.message("ended unexpectedly")
    assert message.kind == "error" and "SIGKILL" in message.text()
    assert panel.state == "failed"
    assert all(panel.figure(name) is not None for name in shown), "the pictures stay"
    # What was kept can be looked at, also without anybody who trains.
    person.look(0)
    person.press(panel.past.timeline.live_button)
    person.press(message.action_buttons["continue"])
    person.until(person.trains)
    assert person.run is not dead and panel.started is not None
    start = panel.started.step
    assert start >= dead.keyframes[1].step
    person.goes_on()
    curves = next(v for v in panel.method.views if isinstance(v, CurveSpec))  # type: ignore[union-attr]
    scalar = next(name for name, _, _ in curves.series if panel.history.series(name) is not None)
    series = panel.history.series(scalar)
    assert series is not None and series.arrays()[0][0] <= start, "with what was before it"
    info = RunFolder(person.folder).info
    assert (info.parent, info.relation) == (dead.key, "continue")
    assert not person.messages("error")
    assert dead.folder is not None and RunFolder(dead.folder).damage() == []


def test_the_run_beside_outlives_the_death_of_the_other(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    first, second = person.twins()
    first.session.host.kill()
    message = person.message("ended unexpectedly")
    assert first.name in message.text(), "it says which"
    person.press(message.action_buttons["continue"])
    person.until(lambda: person.run not in (first, second) and person.trains())
    assert second in panel.runs and first not in panel.runs
    person.goes_on(second)
    assert RunFolder(person.folder).info.parent == first.key


# --- the end  ----------


def test_closing_in_the_past_beside_a_twin_leaves_whole_runs_and_nothing_else(traveller: Traveller) -> None:
    person = traveller
    runs = person.twins()
    folders = [run.folder for run in runs]
    person.keep(2)
    person.look(0)
    person.key(person.window, Qt.Key.Key_F3)
    page = person.panel.runs_page
    assert page is not None and person.panel.are_runs_shown()
    person.until(lambda: len(page.table.visible_keys()) == 2)
    page.table.select(page.table.visible_keys())
    person.press(page.table.buttons["compare"])
    person.until(lambda: all(view.figure is not None for view in page.comparison.views))
    person.close()
    reading = [thread.name for thread in threading.enumerate() if thread.name.startswith("lab-frames")]
    assert reading == []
    for folder in folders:
        assert folder is not None
        whole(folder)


def test_a_run_of_a_later_version_is_refused_in_a_sentence(traveller: Traveller, tmp_path: Path) -> None:
    person = traveller
    person.train()
    folder, run = person.stop(), person.run
    later = tmp_path / "later"
    # The lock goes when its run has ended, which may be now.
    shutil.copytree(folder, later, ignore=shutil.ignore_patterns(".lock"))
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))["content"]
    (later / "run.json").write_text(sealed({**content, "format": 3}), encoding="utf-8")
    person.drop(later)
    (text,) = person.messages("error")
    assert "format 3" in text and "open it with that version" in text
    assert person.run is run
