"""The list of runs of every built paper: what the person does to them, comparison, zips; real clicks in the real window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QFile, QPoint, Qt
from PySide6.QtWidgets import QFileDialog, QLineEdit
from pytestqt.qtbot import QtBot

from engines.config import Settings
from engines.figures import Lines, Ribbon, at
from lab import papers
from lab.panels.runs_page import RunsPage
from lab.runs import messages as m
from lab.runs.folder import RunFolder
from lab.runs.lock import RunLock
from lab.runs.reader import read_frame
from lab.runs.session import Session
from lab.runs.shelf import BIN, read_label
from lab.setup import Setup
from tests.lab.made_runs import files_of
from tests.lab.small import SMALL
from tests.lab.traveller import BUILT, MODEL, Make, Traveller, every_paper, same
from widgets.run_table import Column, TableRun

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(scope="module", params=[MODEL])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four runs of a paper: ``first``, ``second`` and ``third`` differ in their seeds, ``other`` in a setting."""
    place = tmp_path_factory.mktemp("kept") / request.param
    method = papers.method_of(papers.find(request.param))
    small = method.config.build(
        {**method.presets[0].values, **SMALL.get(request.param, {}), "steps": 40, "seed": 0}
    ).model_dump()
    rate = method.learning_rate or "steps"
    for number, (name, changes) in enumerate(
        [("first", {}), ("second", {"seed": 1}), ("third", {"seed": 2}), ("other", {rate: small[rate] / 2})]
    ):
        spec = m.RunSpec(
            run=f"20260101-1{number}0000-{request.param}-000{number}",
            paper=request.param,
            engine=method.engine,
            values={**small, **changes},
            device="cpu",
            folder=str(place / name),
            preset=method.presets[0].id,
            name=name,
        )
        session = Session(spec, where="thread")
        session.wait(session.start())
        assert session.wait_for(lambda session=session: session.is_finished, 60)
        session.wait(session.stop())
        assert session.close()
    return place


class Librarian(Traveller):
    """Somebody at the list of runs."""

    @property
    def page(self) -> RunsPage:
        assert self.panel.runs_page is not None
        return self.panel.runs_page

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.window.services.runs_folder

    def key_of(self, name: str) -> str:
        """What the list calls the run in a folder of that name."""
        return str(self.runs / name)

    def open_list(self) -> None:
        self.key(self.window, Qt.Key.Key_F3)
        self.until(lambda: bool(self.page.table.rows()))
        # What is clicked has its curves by then.
        self.until(lambda: not self.page._waiting)

    def row(self, name: str) -> TableRun:
        return next(row for row in self.page.table.rows() if row.key == self.key_of(name))

    def select(self, *names: str) -> None:
        """Click on runs, the second one and further ones with Ctrl."""
        for index, name in enumerate(names):
            keys = Qt.KeyboardModifier.ControlModifier if index else Qt.KeyboardModifier.NoModifier
            self.qtbot.mouseClick(
                self.page.table.view.viewport(), LEFT, keys, self.cell(name, Column.DIFFERING)
            )
        assert set(self.page.table.selected()) == {self.key_of(name) for name in names}

    def cell(self, name: str, column: Column) -> QPoint:
        """The middle of a cell of the list."""
        view = self.page.table.view
        row = self.page.table.visible_keys().index(self.key_of(name))
        return view.visualRect(view.model().index(row, column)).center()

    def click(self, name: str, column: Column) -> None:
        self.qtbot.mouseClick(self.page.table.view.viewport(), LEFT, pos=self.cell(name, column))

    def choose_action(self, name: str) -> None:
        """Choose an entry of the list's menu."""
        action = self.page.table.actions_by_name[name]
        assert action.isEnabled() and action in self.page.table.menu.actions()
        action.trigger()

    def marks(self, view: Any, kind: type) -> list[Any]:
        """Marks of one kind in a view of curves."""
        return [mark for mark in at(view.figure).marks if isinstance(mark, kind)] if view.figure else []

    def labels(self, view: Any) -> set[str]:
        return {mark.label for mark in self.marks(view, Lines)} - {""}


@pytest.fixture
def person(kept: Path, qtbot: QtBot, make_lab: Make, tmp_path: Path) -> Iterator[Librarian]:
    """Somebody who has four runs from before."""
    shutil.copytree(kept, tmp_path / "runs")
    somebody = Librarian(qtbot, make_lab(kept.name, size=(1300, 900)))
    yield somebody
    told = somebody.messages("error")
    assert not [text for text in told if "went wrong" in text or "fault in the lab" in text]


@pytest.fixture
def trash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stands for the desktop's bin, which no test may touch."""
    place = tmp_path / "trash"
    place.mkdir()

    def move(path: str) -> bool:
        shutil.move(path, place / Path(path).name)
        return True

    monkeypatch.setattr(QFile, "moveToTrash", staticmethod(move))
    return place


# --- the list  ----------


def test_the_list_shows_what_there_is_and_finds_in_it(person: Librarian) -> None:
    person.open_list()
    table = person.page.table
    assert {row.name for row in table.rows()} == {"first", "second", "third", "other"}
    assert {row.state for row in table.rows()} == {"done"} and {row.step for row in table.rows()} == {40}
    assert [row.seed for row in table.rows() if row.name in ("second", "third")] == [2, 1], "the newest first"
    person.qtbot.keyClicks(table.filter_line, "SEC")
    assert table.visible_keys() == [person.key_of("second")]
    person.key(table.filter_line, Qt.Key.Key_Escape)
    assert len(table.visible_keys()) == 4
    # A run that is begun meanwhile is there, too, by itself.
    person.key(person.window, Qt.Key.Key_F3)
    person.train()
    person.key(person.window, Qt.Key.Key_F3)
    person.until(lambda: len(table.rows()) == 5 and table.rows()[0].state == "running")
    person.key(person.window, Qt.Key.Key_F3)
    assert not person.panel.are_runs_shown()


def test_a_name_a_note_and_a_colour_are_kept_with_the_run(person: Librarian) -> None:
    person.open_list()
    table = person.page.table
    person.select("second")
    table.rename_action.trigger()
    editor = table.view.findChild(QLineEdit)
    assert editor is not None
    editor.selectAll()
    person.qtbot.keyClicks(editor, "seed one")
    person.key(editor, Qt.Key.Key_Return)
    person.until(lambda: person.row("second").name == "seed one")
    table.note_line.setFocus()
    person.qtbot.keyClicks(table.note_line, "less noise")
    person.key(table.note_line, Qt.Key.Key_Return)
    person.until(lambda: person.row("second").note == "less noise")
    person.click("second", Column.COLOR)
    green = next(action for action in table.colors_menu.actions() if action.data() == 2)
    assert table.colors_menu.isVisible()
    green.trigger()
    table.colors_menu.close()
    person.until(lambda: person.row("second").role == "category-2")
    label = read_label(Path(person.key_of("second")))
    assert (label.name, label.note, label.color) == ("seed one", "less noise", 2)
    # All of it is found again.
    person.qtbot.keyClicks(table.filter_line, "noise less")
    assert table.visible_keys() == [person.key_of("second")]
    assert RunFolder(person.key_of("second")).info.name == "second", "the run itself is as it was"


def test_f2_renames_in_the_list(person: Librarian) -> None:
    person.open_list()
    person.select("second")
    person.key(person.page.table.view, Qt.Key.Key_F2)
    assert person.page.table.view.findChild(QLineEdit) is not None


def test_an_open_eye_lays_the_curves_over_those_of_the_panel(person: Librarian) -> None:
    person.train()
    curves = person.turn_to_curves()
    person.open_list()
    person.click("other", Column.SHOWN)
    person.until(lambda: person.row("other").shown)
    role = person.row("other").role
    own = person.row(person.folder.name).role
    view = person.page.curve_views[curves]
    person.page.view_box.setCurrentIndex(person.page.view_box.findData(curves))
    person.until(lambda: role in {mark.role for mark in person.marks(view, Lines)})
    person.key(person.window, Qt.Key.Key_F3)
    panel_view = person.panel.docks[curves].view
    person.until(lambda: {role, own} <= {mark.role for mark in person.marks(panel_view, Lines)})
    assert role != own and any("10:30:00" not in text and text for text in person.labels(panel_view))
    # Space closes the eye, and does not train or pause.
    person.key(person.window, Qt.Key.Key_F3)
    person.select("other")
    person.key(person.page.table.view, Qt.Key.Key_Space)
    person.until(lambda: not person.row("other").shown)
    assert person.panel.state == "running"
    person.key(person.window, Qt.Key.Key_F3)
    person.until(lambda: role not in {mark.role for mark in person.marks(panel_view, Lines)})


# --- deleting  ----------


def test_a_run_goes_to_the_bin_without_a_question_and_comes_back_by_hand(
    person: Librarian, trash: Path
) -> None:
    person.open_list()
    before = files_of(person.runs / "third")
    person.select("third")
    person.key(person.page.table.view, Qt.Key.Key_Delete)
    person.until(lambda: len(person.page.table.rows()) == 3)
    assert not (person.runs / "third").exists() and files_of(trash / "third") == before
    shutil.move(trash / "third", person.runs / "third")
    person.until(lambda: len(person.page.table.rows()) == 4)
    assert files_of(person.runs / "third") == before


def test_without_a_bin_of_the_desktop_the_lab_has_its_own(
    person: Librarian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFile, "moveToTrash", staticmethod(lambda path: False))
    person.open_list()
    before = files_of(person.runs / "first")
    person.select("first", "second")
    person.choose_action("delete")
    person.until(lambda: len(person.page.table.rows()) == 2)
    assert files_of(person.runs / BIN / "first") == before and (person.runs / BIN / "second").is_dir()


def test_what_is_in_sight_or_trained_elsewhere_is_not_deleted(person: Librarian, trash: Path) -> None:
    person.train()
    person.open_list()
    lock = RunLock(person.runs / "other")
    try:
        person.select(person.folder.name)
        person.choose_action("delete")
        person.message("The run in sight cannot be deleted")
        person.select("other")
        person.choose_action("delete")
        person.message("still being trained")
    finally:
        lock.release()
    assert person.folder.is_dir() and (person.runs / "other").is_dir() and list(trash.iterdir()) == []
    person.goes_on()


# --- settings  ----------


def _values(name: str, person: Librarian) -> Settings:
    assert person.panel.method is not None
    return person.panel.method.config.build(RunFolder(person.key_of(name)).info.values)


def test_the_settings_of_a_run_go_into_the_form_as_one_step_of_undo(person: Librarian) -> None:
    before = person.form.values()
    person.open_list()
    person.select("other")
    person.choose_action("duplicate")
    assert person.form.values() == _values("other", person) != before
    assert "other" in person.action("Undo").text()
    person.choose("Undo")
    assert person.form.values() == before


def test_a_setup_is_copied_as_text(person: Librarian) -> None:
    person.open_list()
    person.select("other")
    person.choose_action("copy-setup")
    text = person.application.qt.clipboard().text()
    assert text.startswith("lab://") and Setup.from_text(text).settings() == _values("other", person)
    person.message("Copied lab://")


# --- zips  ----------


def test_a_run_is_zipped_and_opened_again(
    person: Librarian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.open_list()
    target = tmp_path / "shared.zip"
    person.page.zip_to(person.key_of("second"), target)
    person.message(f"Saved {target}")
    person.page.take_zip(target)
    person.message("shared.zip is among the runs now")
    person.until(person.waits)
    assert person.panel.viewing is not None and person.panel.viewing.parent == person.runs
    assert not person.panel.are_runs_shown() and person.run.session.step == 40
    unpacked, original = files_of(person.panel.viewing), files_of(person.runs / "second")
    assert unpacked == {name: data for name, data in original.items() if name != ".lock"}
    # By the menu: one file for each run that is selected.
    names = iter([tmp_path / "a.zip", tmp_path / "b.zip"])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *arguments: (str(next(names)), ""))
    person.open_list()
    person.until(lambda: len(person.page.table.rows()) == 5)
    person.select("first", "other")
    person.choose_action("zip")
    person.until(lambda: (tmp_path / "a.zip").is_file() and (tmp_path / "b.zip").is_file())
    # Again by the menu: the dialog that is left does nothing.
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *arguments: ("", ""))
    person.choose_action("open-zip")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *arguments: (str(tmp_path / "a.zip"), ""))
    person.choose_action("open-zip")
    person.message("a.zip is among the runs now")


# --- curves and pictures  ----------


@every_paper("kept")
def test_two_runs_are_compared_side_by_side(person: Librarian) -> None:
    page = _compared(person)
    method = person.panel.method
    assert method is not None
    folders = [Path(key) for key in page.table.selected()]
    assert {folder.name for folder in folders} == {"first", "other"}

    def shows(index: int, place: int) -> bool:
        record = [k for k in RunFolder(folders[index]).keyframes()[0] if k.frame][place]
        pictures = read_frame(folders[index], record)
        return same(page.comparison.views[index].figure, pictures[page.view_box.currentData()])

    person.until(lambda: all(shows(index, -1) for index in (0, 1)))
    assert [title.text().split(",")[0] for title in page.comparison.titles]
    slider = page.comparison.slider
    slider.setFocus()
    person.key(slider, Qt.Key.Key_Home)
    person.until(lambda: all(shows(index, 0) for index in (0, 1)))
    assert page.comparison.step_label.text() == "step 0"
    assert not all(shows(index, -1) for index in (0, 1))
    # Any other view of the two, at the same moment.
    box = page.view_box
    box.setCurrentIndex(box.count() - 1)
    box.activated.emit(box.count() - 1)
    person.until(lambda: all(shows(index, 0) for index in (0, 1)))
    name = method.learning_rate or "steps"
    lines = page.comparison.difference.text().splitlines()
    assert len(lines) == 2 and lines[1].startswith(method.config.spec(name).label)


def _compared(person: Librarian) -> RunsPage:
    person.open_list()
    person.select("first", "other")
    person.press(person.page.table.buttons["compare"])
    person.until(lambda: all(view.figure is not None for view in person.page.comparison.views))
    return person.page


def test_pictures_that_are_damaged_say_so_beside_the_others(person: Librarian) -> None:
    for file in (person.runs / "other" / "frames").iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    person.open_list()
    person.select("first", "other")
    person.press(person.page.table.buttons["compare"])
    views = dict(
        zip([Path(k).name for k in person.page.table.selected()], person.page.comparison.views, strict=True)
    )
    person.until(lambda: views["first"].figure is not None)
    person.until(lambda: "damaged" in views["other"]._message.text())
    assert views["other"].figure is None


@every_paper("kept")
def test_seeds_become_one_band(person: Librarian) -> None:
    person.open_list()
    page = person.page
    person.select("first", "second", "third", "other")
    curves = page.view_box.currentData()
    view = page.curve_views[curves]
    person.until(lambda: len(person.labels(view)) == 4)
    person.press(page.band_box)
    person.until(lambda: any("3 seeds" in label for label in person.labels(view)))
    labels = person.labels(view)
    assert len(labels) == 2 and any("95" in label and "IQM" in label for label in labels)
    assert any(isinstance(mark, Ribbon) for mark in at(view.figure).marks)  # type: ignore[arg-type,union-attr]
    box = page.how_box
    box.setCurrentIndex(1)
    box.activated.emit(1)
    person.until(lambda: any("ean of 3 seeds" in label for label in person.labels(view)))
    person.press(page.band_box)
    person.until(lambda: len(person.labels(view)) == 4)


# --- opening  ----------


@pytest.mark.parametrize(
    ("kept", "how"),
    [*((paper, "Enter") for paper in BUILT), (MODEL, "double click"), (MODEL, "button")],
    indirect=["kept"],
)
def test_a_run_is_opened_where_it_ended(person: Librarian, how: str) -> None:
    person.open_list()
    view = person.page.table.view
    person.select("second")
    if how == "Enter":
        person.key(view, Qt.Key.Key_Return)
    elif how == "double click":
        person.qtbot.mouseDClick(view.viewport(), LEFT, pos=person.cell("second", Column.DIFFERING))
    else:
        person.press(person.page.table.buttons["open"])
    person.until(person.waits)
    assert not person.panel.are_runs_shown() and person.run.session.step == 40
    assert person.panel.viewing == person.runs / "second" and person.value("seed") == 1
    person.sees(person.run.keyframes[-1])


def test_what_trains_goes_on_beside_a_run_that_is_opened(person: Librarian) -> None:
    person.train(keyframes=1)
    trained = person.run
    person.open_list()
    person.select("second")
    person.key(person.page.table.view, Qt.Key.Key_Return)
    person.until(person.waits)
    assert person.panel.viewing == person.runs / "second"
    assert [run.key for run in person.panel.runs] == [trained.key, person.run.key]
    assert person.names_on_chips() == [trained.name, "second"]
    person.goes_on(trained)
    # Opened once more, it is the same one; and the one that trains is no other either.
    for name, run in ((trained.key, trained), ("second", person.run)):
        person.open_list()
        person.select(name)
        person.key(person.page.table.view, Qt.Key.Key_Return)
        assert person.run is run and len(person.panel.runs) == 2


def test_a_run_is_trained_on_from_the_list(person: Librarian) -> None:
    person.open_list()
    person.select("second")
    assert person.panel.form is not None
    person.press(person.page.table.buttons["continue"])
    person.until(lambda: person.panel.started is not None and person.panel.viewing is None)
    # It has done all of its steps: more of them let it go on.
    person.until(person.waits)
    person.form.change({"steps": 1_000_000})
    person.play()
    person.until(lambda: person.run.session.step > 40)
    info = RunFolder(person.folder).info
    assert info.parent.endswith("0001") and info.parent_step == 40
    # A run that is paused here goes on, and is not begun anew.
    run = person.run
    person.pause()
    person.open_list()
    person.until(lambda: person.key_of(run.key) in person.page.table.visible_keys())
    person.select(run.key)
    person.press(person.page.table.buttons["continue"])
    person.until(person.trains)
    assert person.run is run


def test_a_run_that_cannot_be_read_is_in_the_list_with_the_reason(person: Librarian) -> None:
    (person.runs / "third" / "run.json").write_text("{", encoding="utf-8")
    person.open_list()
    person.until(lambda: "damaged" in person.row("third").problem)
    person.click("third", Column.NAME)
    person.key(person.page.table.view, Qt.Key.Key_Return)
    assert "damaged" in person.message("run.json").text()
    assert person.panel.are_runs_shown() and person.panel.run is None
    # The others are as they were.
    person.select("first", "second")
    person.press(person.page.table.buttons["compare"])
    person.until(lambda: all(view.figure is not None for view in person.page.comparison.views))


# --- room  ----------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_the_smallest_window(
    kept: Path, qtbot: QtBot, make_lab: Make, tmp_path: Path, theme: str
) -> None:
    shutil.copytree(kept, tmp_path / "runs")
    person = Librarian(qtbot, make_lab(kept.name, size=(1000, 700), theme=theme))
    window = person.window
    page = _compared(person)
    for tab in (1, 0):
        page.tabs.setCurrentIndex(tab)
        person.until(lambda tab=tab: page.stack.currentWidget() is not page.hint)
        assert (window.width(), window.height()) == (1000, 700)
        assert window.minimumSizeHint().width() <= 1000 and window.minimumSizeHint().height() <= 700
        for widget in (page, page.table, page.stack.currentWidget(), page.view_box, window.transport):
            assert widget is not None and widget.isVisible()
            corner = widget.mapTo(window, QPoint(widget.width(), widget.height()))
            assert corner.x() <= 1000 and corner.y() <= 700, f"{type(widget).__name__} ends at {corner}"
            assert widget.width() >= widget.minimumSizeHint().width(), type(widget).__name__
        page.band_box.setChecked(True)
    row = page.table.view.visualRect(page.table.view.model().index(0, Column.NAME))
    assert page.table.view.viewport().height() > 1.5 * row.height(), "two runs that are compared are in sight"
    assert page.comparison.views[0].height() > 60
