"""Setups that are copied, pasted and dropped, and runs that were cut off: real keys and drops in the real window."""

from __future__ import annotations

import os
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QFileDialog
from pytestqt.qtbot import QtBot

from engines.config import Settings
from engines.figures import Film
from lab import papers
from lab.export.save import export as export_figure
from lab.runs import messages as m
from lab.runs.archive import zip_run
from lab.runs.folder import RunFolder
from lab.runs.hosts import ProcessHost
from lab.runs.session import Session
from tests.lab.exporting import export_to
from tests.lab.small import SMALL
from tests.lab.traveller import CONTROL_SHIFT, MODEL, Make, Traveller, every_paper

UNBUILT = next(paper.id for paper in papers.papers() if not paper.is_built)


@pytest.fixture(params=[MODEL])
def paper(request: pytest.FixtureRequest) -> str:
    """A built paper."""
    return str(request.param)


@pytest.fixture
def person(paper: str, qtbot: QtBot, make_lab: Make) -> Iterator[Traveller]:
    """Somebody before one of the built papers; no fault of ours may be told at the end."""
    somebody = Traveller(qtbot, make_lab(paper, size=(1300, 900)))
    yield somebody
    told = somebody.messages("error")
    assert not [text for text in told if "went wrong" in text or "fault in the lab" in text]


def copy(person: Traveller) -> str:
    """Press Ctrl+Shift+C, and say what is on the clipboard then."""
    QApplication.clipboard().setText("")
    person.key(person.window, Qt.Key.Key_C, CONTROL_SHIFT)
    return QApplication.clipboard().text()


def paste(person: Traveller, text: str) -> None:
    QApplication.clipboard().setText(text)
    person.key(person.window, Qt.Key.Key_V, CONTROL_SHIFT)


def drop_text(person: Traveller, text: str) -> bool:
    """Drag a text over the window and let it go; whether it was taken."""
    data = QMimeData()
    data.setText(text)
    place, action = QPoint(400, 300), Qt.DropAction.CopyAction
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(place, action, data, buttons, keys)
    QApplication.sendEvent(person.window, enter)
    if enter.isAccepted():
        QApplication.sendEvent(person.window, QDropEvent(QPointF(place), action, data, buttons, keys))
    return enter.isAccepted()


def changed(person: Traveller) -> Settings:
    """Settings that are not those of the form."""
    spec = person.live_setting()
    return person.form.values().updated({spec.name: person.value(spec.name) / 2, "seed": 7})


NO_SETUPS = (
    "hello",
    "lab://",
    "lab://banana?seed=1",
    "lab://{paper}?seed=-1",
    "lab://{paper}?nothing=1",
    "lab://{paper}?seed=1&seed=2",
    "lab://{paper}?preset=banana",
    "lab://{paper}?seed=%zz",
    "lab://{paper}?seed=\x00",
    "lab://../../etc/passwd",
    f"lab://{UNBUILT}?seed=1",
    "http://lab/{paper}",
    "lab://{paper}?steps=1e400",
    "9" * 5_000_000,
)


# --- text  ----------


@every_paper("paper")
def test_a_setup_is_copied_and_pasted_as_one_step_of_undo(person: Traveller, paper: str) -> None:
    person.set()
    before, wanted = person.form.values(), changed(person)
    person.form.set_values(wanted)
    text = copy(person)
    assert text.startswith(f"lab://{paper}?") and "seed=7" in text
    person.message("Copied lab://")
    person.form.set_values(before)
    # As a mail brings it.
    paste(person, f"  «{text[:30]}\n {text[30:]}»\n")
    assert person.form.values() == wanted
    person.message("press Train")
    person.choose("Undo")
    assert person.form.values() == before and not person.action("Undo").isEnabled()
    assert drop_text(person, text) and person.form.values() == wanted
    assert not drop_text(person, "some words")


def test_a_setup_acts_at_once_where_it_can(person: Traveller) -> None:
    person.train()
    wanted, spec, run = changed(person), person.live_setting(), person.run
    before = person.form.values()
    person.form.set_values(wanted)
    text = copy(person)
    person.form.set_values(before)
    paste(person, text)
    person.message("press Reset to train with it")
    person.until(lambda: run.values()[spec.name] == pytest.approx(getattr(wanted, spec.name)))
    assert person.form.pending() == {"seed": 0} and person.run is run


def test_what_is_no_setup_is_a_sentence_and_nothing_else(person: Traveller, paper: str) -> None:
    before, panel = person.form.values(), person.panel
    for text in NO_SETUPS:
        person.window.messages.clear()
        paste(person, text.replace("{paper}", paper))
        (told,) = person.messages("error")
        assert len(told) < 500 and told.endswith(".") and "\n" not in told, text[:40]
        assert person.form.values() == before and panel.run is None, text[:40]
        assert person.window.current_panel() is panel


def test_an_empty_clipboard_says_so(person: Traveller) -> None:
    paste(person, " ")
    assert "copy a setup first" in person.messages("info")[0] and not person.messages("error")


# --- files  ----------


def test_a_settings_file_that_was_saved_is_dropped(
    person: Traveller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.set()
    before, wanted = person.form.values(), changed(person)
    person.form.set_values(wanted)
    path = tmp_path / "mine.toml"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *arguments: (str(path), ""))
    person.choose("Save setup as a file")
    person.message(f"Saved {path}")
    person.form.set_values(before)
    person.drop(path)
    assert person.form.values() == wanted and person.panel.run is None
    person.choose("Undo")
    assert person.form.values() == before
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *arguments: (str(tmp_path / "no" / "a.toml"), "")
    )
    person.choose("Save setup as a file")
    assert "a.toml" in person.message(str(tmp_path / "no")).text()


def export(person: Traveller, path: Path) -> None:
    """Export the first view in sight."""
    export_to(person, path, person.pictures()[0])
    person.message(f"Saved {path}")


def test_exported_figures_give_back_their_setup(person: Traveller, tmp_path: Path) -> None:
    person.train(seed=3)
    person.pause()
    trained, run = person.form.values(), person.run
    paths = [tmp_path / f"figure.{ending}" for ending in ("png", "svg", "pdf")]
    for path in paths:
        export(person, path)
    film = next((f for f in map(person.panel.figure, person.pictures()) if isinstance(f, Film)), None)
    if film is not None:
        # Two frames show as well as all of them what a film carries.
        about = {"paper": person.panel.paper.id, "preset": "", "settings": trained.model_dump()}
        short = replace(film, frames=film.frames[:2], times=film.times[:2], start=0)
        paths.append(export_figure(short, tmp_path / "figure.gif", metadata=about))
    for path in paths:
        person.form.change({"seed": 4})
        person.drop(path)
        assert person.form.values() == trained, path.name
        person.choose("Undo")
        assert person.value("seed") == 4
    assert person.run is run and not person.messages("error"), "what trains goes on"


def test_an_exported_figure_gives_back_what_was_changed_live(person: Traveller, tmp_path: Path) -> None:
    person.train()
    spec, run = person.live_setting(), person.run
    half = person.value(spec.name) / 2
    person.form.change({spec.name: half})
    person.until(lambda: run.values()[spec.name] == pytest.approx(half))
    person.pause()
    export(person, tmp_path / "figure.png")
    person.form.change({spec.name: half / 2})
    person.drop(tmp_path / "figure.png")
    assert person.value(spec.name) == pytest.approx(half)


def test_a_run_that_is_dropped_stands_beside_what_trains(person: Traveller) -> None:
    person.train(keyframes=1)
    folder = person.stop()
    last = person.run.session.step
    person.press(person.window.transport.reset_button)
    person.until(person.waits)
    person.play()
    trained = person.run
    person.drop(folder)
    person.until(person.waits)
    assert person.panel.viewing == folder and person.run.session.step == last
    assert [run.key for run in person.panel.runs] == [trained.key, person.run.key]
    person.goes_on(trained)
    # The run that is here already is not opened a second time.
    assert trained.folder is not None
    person.drop(trained.folder)
    assert person.run is trained and len(person.panel.runs) == 2 and trained.state == "running"


def test_a_zipped_run_that_is_dropped_is_opened(person: Traveller, tmp_path: Path) -> None:
    person.train(keyframes=1)
    folder = person.stop()
    last = person.run.session.step
    archive = zip_run(folder, tmp_path / "run.zip")
    shutil.rmtree(folder)
    person.drop(archive)
    person.message("run.zip is among the runs now")
    person.until(person.waits)
    assert person.run.session.step == last and person.panel.viewing == folder
    assert not person.panel.are_runs_shown()


def test_tables_and_images_that_are_no_exports_are_data(person: Traveller, tmp_path: Path) -> None:
    person.train()
    session = person.run.session
    table, picture = tmp_path / "points.csv", tmp_path / "photo.png"
    table.write_text("x,y\n" + "\n".join(f"{a},{a * a % 7}" for a in range(40)), encoding="utf-8")
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(picture)
    for path in (table, picture):
        person.drop(path)
        assert person.value("path") == str(path) and "path" in person.form.pending()
        assert "Data" in person.action("Undo").text()
    assert person.run.session is session and not person.messages("error")


def _hostile_zip(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("run/run.json", "{}")
        archive.writestr(name, "here I am")


HOSTILE: dict[str, Callable[[Path], object]] = {
    "up.zip": lambda path: _hostile_zip(path, "../../up"),
    "absolute.zip": lambda path: _hostile_zip(path, "/tmp/absolute"),
    "stranger.zip": lambda path: _hostile_zip(path, "run/keyframes/evil.py"),
    "noise.zip": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "empty.zip": lambda path: path.write_bytes(b""),
    "noise.toml": lambda path: path.write_bytes(bytes(range(256))),
    "other.toml": lambda path: path.write_text("[settings]\nunits = 'many'\n", encoding="utf-8"),
    "deep.toml": lambda path: path.write_text("a = " + "[" * 20_000, encoding="utf-8"),
    "text.lab": lambda path: path.write_text("lab://nobody?a=b", encoding="utf-8"),
}


def test_hostile_files_are_a_sentence_and_nothing_else(person: Traveller, tmp_path: Path) -> None:
    place = tmp_path / "dropped"
    place.mkdir()
    for name, make in HOSTILE.items():
        make(place / name)
    before, there = person.form.values(), set(tmp_path.rglob("*"))
    for name in HOSTILE:
        person.window.messages.clear()
        person.drop(place / name)
        person.until(lambda: bool(person.messages("error")))
        (told,) = person.messages("error")
        assert len(told) < 500 and told.endswith(".") and "\n" not in told, name
        assert person.form.values() == before and person.panel.run is None, name
        assert set(tmp_path.rglob("*")) - there <= {tmp_path / "runs"}, name


# --- runs that were cut off  ----------


@pytest.fixture(scope="module", params=[MODEL])
def cut_off(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as it is left when the lab and its workers are killed."""
    paper = str(request.param)
    method = papers.method_of(papers.find(paper))
    name = f"20260101-100000-{paper}-dead"
    place = tmp_path_factory.mktemp("cut") / paper / name
    place.parent.mkdir()
    values = {**method.presets[0].values, **SMALL.get(paper, {}), "steps": 1_000_000}
    spec = m.RunSpec(
        run=name,
        paper=paper,
        engine=method.engine,
        values=method.config.build(values).model_dump(),
        device="cpu",
        folder=str(place),
        preset=method.presets[0].id,
    )
    session = Session(spec, where="process")
    session.wait(session.start())
    assert session.wait_for(lambda: session.step > 30, 60)
    assert isinstance(session.host, ProcessHost) and session.host.pid is not None
    os.kill(session.host.pid, signal.SIGKILL)
    assert session.wait_for(lambda: session.state == "failed", 60)
    session.close()
    return place


@pytest.fixture
def start(cut_off: Path, qtbot: QtBot, make_lab: Make, tmp_path: Path) -> Callable[[], Traveller]:
    """Starts the lab after it was killed; each further start is one of a lab that was closed in between."""
    (tmp_path / "runs").mkdir()
    shutil.copytree(cut_off, tmp_path / "runs" / cut_off.name)
    return lambda: Traveller(qtbot, make_lab(cut_off.parent.name, size=(1300, 900)))


def offers(person: Traveller) -> list[str]:
    """What is offered once the folder of runs was looked through."""
    person.until(lambda: person.window.jobs.find("crashes") is None)
    return [text for text in person.messages("warning") if "did not end" in text]


def test_a_run_that_was_cut_off_is_offered_once_and_goes_on(
    start: Callable[[], Traveller], cut_off: Path
) -> None:
    person = start()
    message = person.message("did not end")
    folder = person.window.services.runs_folder / cut_off.name
    steps = RunFolder(folder).metrics().steps
    assert message.kind == "warning" and "kept" in message.text()
    person.press(message.action_buttons[f"resume:{folder}"])
    person.until(person.trains)
    assert person.panel.started is not None and 0 < person.panel.started.step <= steps[-1]
    person.goes_on()
    info = RunFolder(person.folder).info
    assert info.parent == cut_off.name and info.relation == "continue"
    begun = person.panel.started.step
    names = person.panel.history.names()
    first = [person.panel.history.series(name) for name in names]
    assert min(series.arrays()[0][0] for series in first if series is not None and len(series)) <= begun
    assert not person.messages("error") and offers(person) == []
    person.close()
    assert offers(start()) == []


@every_paper("cut_off")
def test_a_run_that_was_cut_off_can_be_looked_at(start: Callable[[], Traveller], cut_off: Path) -> None:
    person = start()
    message = person.message("did not end")
    folder = person.window.services.runs_folder / cut_off.name
    person.press(message.action_buttons[f"open:{folder}"])
    person.until(person.waits)
    assert person.panel.viewing == folder
    person.look(0)
    person.close()
    assert offers(start()) == []


def test_a_run_that_was_continued_already_is_not_offered(
    start: Callable[[], Traveller], cut_off: Path
) -> None:
    person = start()
    person.message("did not end")
    # As if the window had been killed, too, before it wrote down what it told.
    runs = person.window.services.runs_folder
    person.panel.show_run(runs / cut_off.name)
    person.panel.begin(resume=runs / cut_off.name)
    person.until(person.trains)
    person.application.preferences.set("told_crashes", [])
    person.close()
    assert offers(start()) == []
