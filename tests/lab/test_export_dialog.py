"""The dialog that makes figures for print: real clicks and keys, real files, over figures that were made or trained."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QApplication, QFileDialog, QMainWindow, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from engines.figures import Axis, Figure, Plot, Scatter
from lab.export.choices import FigureChoices
from lab.export.save import FORMATS
from lab.panels.panel import Panel
from lab.runs.frames import pack
from lab.window import export_dialog
from lab.window.application import Application
from lab.window.export_dialog import ExportDialog
from lab.window.exports import Snapshot, progress_text
from lab.window.jobs import Jobs
from lab.window.main_window import MainWindow
from lab.window.preferences import Preferences
from tests.lab.clicker import Clicker
from tests.lab.export.samples import FILM, MARKS, PANELS
from tests.lab.exporting import Exporter, export_to, open_dialog
from tests.lab.made_runs import begin_run, toy_installed
from tests.lab.test_window import Person
from widgets.fields import ChoiceBox, EffectMarker
from widgets.messages import MessageArea

FIGURES: dict[str, Figure] = {"loss": MARKS["lines"].plot, "four": PANELS, "walk": FILM}
LONG = replace(FILM, frames=FILM.frames * 100, times=np.arange(500.0))


class Desk(QMainWindow):
    """As much of the lab's window as the dialog needs."""

    def __init__(self, preferences: Preferences) -> None:
        super().__init__()
        self.preferences, self.jobs = preferences, Jobs()
        middle = QWidget(self)
        self.messages = MessageArea(middle)
        QVBoxLayout(middle).addWidget(self.messages)
        self.setCentralWidget(middle)
        self.panel = SimpleNamespace(runs_page=None)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_timer_timeout)
        self._timer.start(10)

    @Slot()
    def _on_timer_timeout(self) -> None:
        self.jobs.poll()

    def open(self, name: str, snapshot: Snapshot) -> ExportDialog:
        dialog = ExportDialog(cast(Panel, self.panel), cast(MainWindow, self))
        dialog.show_figure(cast(Panel, self.panel), snapshot, name)
        return dialog


class Clerk(Clicker, Exporter):
    """Somebody before the dialog over figures that were made."""

    def __init__(self, qtbot: QtBot, desk: Desk, name: str, snapshot: Snapshot) -> None:
        super().__init__(qtbot)
        self.desk = desk
        self.dialog = desk.open(name, snapshot)
        self.person = cast(Person, self)
        self.drawn()

    def size(self) -> str:
        self.drawn()
        return self.dialog.size_label.text()

    def choices(self) -> FigureChoices:
        return self.dialog.form.choices()


def snapshot_of(figures: dict[str, Figure], **more: Any) -> Snapshot:
    about = {name: {"paper": "made", "figure": name, "step": 7} for name in figures}
    titles = {name: name.title() for name in figures}
    return Snapshot("made", titles, figures, dict.fromkeys(figures, 1), about, **more)


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path) -> Iterator[Desk]:
    """A window without a lab in it; files are saved below ``out``."""
    preferences = Preferences(tmp_path / "window.json")
    (tmp_path / "out").mkdir()
    preferences.set("export_folder", str(tmp_path / "out"))
    made = Desk(preferences)
    made.show()
    yield made
    made.jobs.close()
    made.close()
    made.deleteLater()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where files are saved."""
    return tmp_path / "out"


@pytest.fixture
def clerk(qtbot: QtBot, desk: Desk) -> Clerk:
    """Somebody before the dialog, with the plot of a loss."""
    return Clerk(qtbot, desk, "loss", snapshot_of(FIGURES))


def pdf_inches(path: Path) -> tuple[float, float]:
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", path.read_bytes())
    assert box is not None
    return float(box[1]) / 72, float(box[2]) / 72


# --- the page  ----------


def test_the_page_has_its_true_size_on_the_screen_and_in_the_file(clerk: Clerk, out: Path) -> None:
    clerk.venue("icml")
    assert clerk.size().startswith("82.6 × ") and "(3.25 × " in clerk.size() and ", 975 × " in clerk.size()
    page = clerk.dialog.page
    assert page.mode == "true" and page.page_rect().width() == round(3.25 * page.pixels_per_inch)
    clerk.save(out / "a.pdf")
    clerk.saved(out / "a.pdf")
    width, height = pdf_inches(out / "a.pdf")
    assert width == pytest.approx(3.25) and f"{height:.2f} in" in clerk.size()
    clerk.choose(clerk.dialog.format_box, "png")
    clerk.save(out / "b.png")
    clerk.saved(out / "b.png")
    with Image.open(out / "b.png") as picture:
        assert f"{picture.width} × {picture.height} pixels" in clerk.size()
    shown = page.image
    clerk.write("width", "4.5")
    assert "4.50 × " in clerk.size() and page.image != shown
    assert page.page_rect().width() == round(4.5 * page.pixels_per_inch)
    clerk.press(clerk.dialog.fit_button)
    assert page.mode == "fit" and not clerk.dialog.true_button.isChecked()
    clerk.press(clerk.dialog.true_button)
    assert page.page_rect().width() == round(4.5 * page.pixels_per_inch)
    assert not clerk.dialog.findChildren(QFileDialog), "Enter in a field presses no button"


def test_of_many_changes_the_last_one_is_drawn(clerk: Clerk) -> None:
    for width in ("3", "4", "5", "6"):
        clerk.write("width", width)
    assert "(6.00 × " in clerk.size()


def test_a_venue_sets_sizes_and_leaves_colours(clerk: Clerk) -> None:
    box = clerk.dialog.form.findChild(ChoiceBox)
    assert box.accessibleName() == "Venue" and box.toolTip().startswith("Venue: ")
    markers = clerk.dialog.form.findChildren(EffectMarker)
    assert not any(marker.isVisible() for marker in markers), "nothing here waits for a reset"
    clerk.dialog.form.change(
        {"palette": "petroff", "theme": "dark", "colormap": "magma", "font": "STIXGeneral"}
    )
    clerk.venue("slide")
    choices = clerk.choices()
    assert (choices.width, choices.height, choices.dpi, choices.font_size) == (13.333, 7.5, 144, 20.0)
    assert choices.title and (choices.palette, choices.theme, choices.colormap) == (
        "petroff",
        "dark",
        "magma",
    )
    clerk.venue("nature")
    choices = clerk.choices()
    assert (choices.width, choices.height, choices.font_size, choices.title) == (3.5, None, 7.0, False)
    assert choices.palette == "petroff" and choices.font == "STIXGeneral"
    assert not clerk.dialog.form.is_modified()
    clerk.write("width", "3.6")
    assert clerk.dialog.form.is_modified()


def test_the_unit_converts_and_nothing_is_lost_on_the_way(clerk: Clerk) -> None:
    clerk.venue("ieee-wide")
    size = clerk.size()
    unit = clerk.dialog.form.row("unit").field
    segments = unit.segments  # type: ignore[attr-defined]
    clerk.press(segments[1])
    assert (clerk.choices().unit, clerk.choices().width) == ("mm", 181.86)
    assert not clerk.dialog.form.is_modified() and clerk.size().split(",")[0] == size.split(",")[0]
    clerk.press(segments[0])
    assert clerk.choices().width == 7.16 and not clerk.dialog.form.is_modified()
    clerk.press(segments[1])
    clerk.write("height", "90")
    assert " × 90.0 mm" in clerk.size()
    clerk.venue("icml")
    assert (clerk.choices().unit, clerk.choices().width) == ("mm", 82.55) and "(3.25 × " in clerk.size()


def test_what_cannot_be_drawn_is_a_sentence_and_nothing_is_saved(clerk: Clerk) -> None:
    page, save = clerk.dialog.page, clerk.dialog.save_button
    assert save.isEnabled()
    clerk.write("font", "No Such Font")
    clerk.drawn()
    assert "The font 'No Such Font' is not installed" in page.sentence and not save.isEnabled()
    assert clerk.dialog.size_label.text() == "" and not clerk.dialog.copy_button.isEnabled()
    clerk.write("font", "DejaVu Serif")
    clerk.drawn()
    assert page.sentence == "" and save.isEnabled()
    clerk.write("width", "0.5")
    clerk.write("font_size", "30")
    clerk.drawn()
    assert "no room" in page.sentence and not save.isEnabled()
    clerk.write("width", "50")
    clerk.write("dpi", "2400")
    clerk.drawn()
    assert "too many pixels" in page.sentence


def test_fonts_that_are_installed_are_offered(clerk: Clerk) -> None:
    line = clerk.dialog.form.row("font").field.line_edit()
    assert line is not None
    clerk.until(lambda: line.completer() is not None)
    line.setFocus()
    line.clear()
    clerk.qtbot.keyClicks(line, "javu se")
    assert line.completer().currentCompletion() == "DejaVu Serif"
    line.completer().activated.emit("DejaVu Serif")
    assert clerk.choices().font == "DejaVu Serif"


def test_the_preview_can_be_seen_by_others_and_files_stay_as_they_are(clerk: Clerk, out: Path) -> None:
    page, box = clerk.dialog.page, clerk.dialog.vision_box
    assert page.image is not None and not page.image.allGray()
    for vision in ("deuteranopia", "grey"):
        before = page.image
        clerk.choose(box, vision)
        clerk.drawn()
        assert page.image != before
    assert page.image.allGray()
    clerk.save(out / "a.png")
    clerk.saved(out / "a.png")
    with Image.open(out / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert np.ptp(pixels, axis=2).max() > 50


def test_a_finer_page_is_drawn_where_it_is_zoomed(clerk: Clerk) -> None:
    page = clerk.dialog.page
    assert page.image is not None
    width = page.image.width()
    page.setFocus()
    for _ in range(4):
        clerk.qtbot.keyClick(page, Qt.Key.Key_Plus)
    clerk.drawn()
    assert page.image.width() == pytest.approx(width * 1.25**4, rel=0.01)
    assert clerk.dialog.zoom_label.text() == "244 %"


# --- what of it  ----------


def test_only_what_applies_is_offered_with_formats_that_fit(clerk: Clerk) -> None:
    def offered() -> set[str]:
        box = clerk.dialog.format_box
        return {box.itemData(row) for row in range(box.count())}

    def words() -> list[str]:
        assert clerk.dialog.what_field is not None
        return [segment.text() for segment in clerk.dialog.what_field.segments]

    films = {name for name, form in FORMATS.items() if form.kind == "film"}
    assert words() == ["Still"] and offered() == FORMATS.keys() - films
    assert not clerk.dialog.fps_box.isVisible()
    clerk.choose(clerk.dialog.figure_box, "walk")
    assert words() == ["Still", "Film", "Strip"]
    clerk.choose(clerk.dialog.format_box, "svg")
    clerk.what("Film")
    assert offered() == films | {"csv", "npz"} and clerk.dialog.fps_box.isVisible()
    assert not clerk.dialog.copy_button.isEnabled()
    clerk.what("Strip")
    assert offered() == FORMATS.keys() - films - {"csv", "npz"}
    clerk.what("Still")
    assert clerk.dialog.format == "svg", "as it was chosen for stills"


def test_a_still_of_a_film_is_the_moment_that_is_seen(clerk: Clerk, out: Path) -> None:
    clerk.choose(clerk.dialog.figure_box, "walk")
    clerk.choose(clerk.dialog.format_box, "npz")
    clerk.save(out / "now.npz")
    clerk.saved(out / "now.npz")
    clerk.what("Film")
    clerk.choose(clerk.dialog.format_box, "npz")
    clerk.save(out / "all.npz")
    clerk.saved(out / "all.npz")

    def places(path: Path) -> list[float]:
        with np.load(path) as found:
            return sorted(float(a[:, 0].min()) for a in found.values() if a.shape == (4, 2))

    assert places(out / "now.npz") == [3.0]
    assert places(out / "all.npz") == [0.0, 3.0, 6.0, 9.0, 12.0]


def test_a_strip_shows_the_frames_that_were_chosen(clerk: Clerk, out: Path) -> None:
    clerk.choose(clerk.dialog.figure_box, "walk")
    clerk.what("Strip")
    assert clerk.dialog.piece().frames == (0, 1, 2, 3, 4)
    clerk.spin(clerk.dialog.strip_count, 3)
    assert clerk.dialog.piece().frames == (0, 2, 4)
    clerk.spin(clerk.dialog.strip_first, 4)
    clerk.spin(clerk.dialog.strip_last, 2)
    assert clerk.dialog.piece().frames == (1, 2, 3)
    clerk.drawn()
    clerk.save(out / "a.svg")
    clerk.saved(out / "a.svg")
    text = (out / "a.svg").read_text(encoding="utf-8")
    assert [f"Time = {time}" in text for time in ("0.5", "1", "1.5", "2")] == [True, True, True, False]


def test_a_film_is_written_whole(clerk: Clerk, out: Path) -> None:
    clerk.choose(clerk.dialog.figure_box, "walk")
    clerk.what("Film")
    clerk.venue("screen")
    clerk.spin(clerk.dialog.fps_box, 5)
    assert "5 frames; number 2 is shown" in clerk.dialog.remark_label.text() or clerk.size()
    clerk.save(out / "a.gif")
    clerk.saved(out / "a.gif")
    with Image.open(out / "a.gif") as film:
        assert film.n_frames == 5 and film.info["duration"] == 200 and film.width == 720  # type: ignore[attr-defined]


def test_a_film_tells_how_far_it_is_and_leaves_nothing_when_cancelled(
    qtbot: QtBot, desk: Desk, out: Path
) -> None:
    clerk = Clerk(qtbot, desk, "walk", snapshot_of({"walk": LONG}))
    clerk.what("Film")
    clerk.write("dpi", "40")
    clerk.drawn()
    clerk.save(out / "long.gif")
    text = clerk.told("of 500 frames, about ")
    assert text.startswith("Writing long.gif: ") and clerk.dialog.line.bar.isVisible()
    assert any("of 500 frames" in message.text() for message in desk.messages.messages())
    clerk.press(clerk.dialog.line.buttons["cancel"])
    assert "long.gif was not written: you cancelled." in clerk.told("cancelled")
    assert list(out.iterdir()) == []
    assert "cancelled" in desk.messages.messages()[0].text()


@pytest.mark.parametrize(
    ("done", "seconds", "text"),
    [
        (1, 1.0, "Writing a.gif: 1 of 120 frames"),
        (34, 4.8, "Writing a.gif: 34 of 120 frames, about 12 s left"),
        (20, 60.0, "Writing a.gif: 20 of 120 frames, about 5 min left"),
        (120, 60.0, "Writing a.gif: 120 of 120 frames"),
    ],
)
def test_progress_in_words(done: int, seconds: float, text: str) -> None:
    assert progress_text("Writing a.gif", done, 120, seconds) == text


def test_mp4_says_what_is_missing(clerk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    clerk.choose(clerk.dialog.figure_box, "walk")
    monkeypatch.setattr(export_dialog.importlib.util, "find_spec", lambda name: None)
    clerk.what("Film")
    box = clerk.dialog.format_box
    model = box.model()
    assert isinstance(model, QStandardItemModel)
    item = model.item(box.findData("mp4"))
    assert not item.isEnabled() and "[video]" in item.toolTip()


# --- runs on the disk  ----------


def plot(height: float) -> Plot:
    x = np.arange(3.0)
    return Plot((Scatter(x, height * x),), Axis("Component"), Axis("Value"), "Position")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run of the toy with three moments."""
    with toy_installed():
        yield make_run(tmp_path / "runs" / "toy-run", 10.0)


def make_run(path: Path, height: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    writer = begin_run(path, steps=40, state="done")
    for step in (10, 20, 40):
        writer.keyframe(step, b"state" * 9, "regular", frame=pack({"position": plot(height / step)}))
    writer.close()
    return path


def test_a_view_along_the_time_line_is_a_film(qtbot: QtBot, desk: Desk, run: Path, out: Path) -> None:
    snapshot = snapshot_of({"position": plot(1.0)}, folder=run, timed=frozenset({"position"}))
    snapshot = replace(snapshot, about={"position": {"step": 40}})
    clerk = Clerk(qtbot, desk, "position", snapshot)
    clerk.what("Time line")
    dialog = clerk.dialog
    assert (dialog.time_first.value(), dialog.time_last.value()) == (0, 40)
    clerk.drawn()
    assert dialog.remark_label.text() == "3 frames, step 10 to 40; the last one is shown"
    clerk.spin(dialog.time_first, 15)
    clerk.drawn()
    assert dialog.remark_label.text().startswith("2 frames, step 20 to 40")
    clerk.save(out / "a.webp")
    clerk.saved(out / "a.webp")
    with Image.open(out / "a.webp") as film:
        assert film.n_frames == 2  # type: ignore[attr-defined]
        assert b'"steps": [20, 40]' in film.info["xmp"]
    clerk.spin(dialog.time_last, 16)
    clerk.drawn()
    assert "no picture of 'position' in that stretch" in dialog.page.sentence
    assert not dialog.save_button.isEnabled()


def test_a_figure_of_several_runs(qtbot: QtBot, desk: Desk, run: Path, out: Path) -> None:
    other = make_run(run.parent / "toy-other", 99.0)
    broken = run.parent / "toy-broken"
    desk.panel.runs_page = SimpleNamespace(selected=lambda: [run, other, broken])
    clerk = Clerk(qtbot, desk, "position", snapshot_of({"position": plot(1.0)}))
    clerk.choose(clerk.dialog.format_box, "csv")
    assert clerk.dialog.runs_button.text() == "This figure of 3 runs…"
    clerk.press(clerk.dialog.runs_button)
    clerk.answer(out)
    assert "2 of 3 files are saved" in clerk.told("saved") and "toy-broken" in clerk.dialog.line.text()
    names = {"made-position-toy-run.csv", "made-position-toy-other.csv"}
    assert {path.name for path in out.glob("*.csv")} == names
    contents = {(out / name).read_text(encoding="utf-8") for name in names}
    assert len(contents) == 2, "each its own"


def test_all_figures_are_also_those_that_nobody_has_looked_at_but_no_empty_ones(
    qtbot: QtBot, desk: Desk, run: Path, out: Path
) -> None:
    shown = {"loss": MARKS["lines"].plot, "nothing": Plot((), Axis("x"), Axis("y"), note="Not for points.")}
    snapshot = replace(snapshot_of(shown), folder=run, kept={"position": 20})
    snapshot = replace(snapshot, titles=snapshot.titles | {"position": "Position"})
    clerk = Clerk(qtbot, desk, "loss", snapshot)
    clerk.choose(clerk.dialog.format_box, "csv")
    clerk.press(clerk.dialog.all_button)
    clerk.answer(out)
    clerk.told("Saved 2 files")
    assert {path.name for path in out.glob("*.csv")} == {"made-loss-step7.csv", "made-position-step20.csv"}
    # The picture of that step: 10 / 20.
    assert ",0.5," in (out / "made-position-step20.csv").read_text(encoding="utf-8").replace("\n", ",")


# --- several files, the clipboard  ----------


def test_all_figures_are_written_and_files_that_exist_are_asked_about(clerk: Clerk, out: Path) -> None:
    names = [f"made-{name}-step7.csv" for name in FIGURES]
    (out / names[0]).write_text("mine")
    clerk.choose(clerk.dialog.format_box, "csv")
    dialog = clerk.dialog

    def ask() -> None:
        clerk.press(dialog.all_button)
        clerk.answer(out)

    ask()
    assert "1 of 3 files exist" in clerk.told("exist")
    clerk.press(dialog.line.buttons["leave"])
    assert not dialog.line.isVisible() and [path.name for path in out.iterdir()] == names[:1]
    ask()
    clerk.press(dialog.line.buttons["skip"])
    clerk.told("Saved 2 files")
    assert (out / names[0]).read_text() == "mine" and {path.name for path in out.glob("*.csv")} == set(names)
    ask()
    assert "3 of 3 files exist" in clerk.told("exist")
    clerk.press(dialog.line.buttons["replace"])
    clerk.told("Saved 3 files")
    assert (out / names[0]).read_text() != "mine"
    assert "Saved 3 files" in clerk.desk.messages.messages()[0].text()


def test_a_copy_is_a_picture_and_pages_on_the_clipboard(clerk: Clerk) -> None:
    clerk.venue("icml")
    clerk.drawn()
    clerk.press(clerk.dialog.copy_button)
    clerk.told("Copied")
    data = QApplication.clipboard().mimeData()
    assert QApplication.clipboard().image().width() == 975
    assert bytes(data.data("image/svg+xml").data()).startswith(b"<?xml")
    assert bytes(data.data("application/pdf").data()).startswith(b"%PDF")


def test_a_file_has_a_sensible_name_and_is_saved_where_the_last_one_was(clerk: Clerk, out: Path) -> None:
    clerk.press(clerk.dialog.save_button)
    files = clerk.dialog.findChild(QFileDialog)
    assert files.selectedFiles() == [str(out / "made-loss-step7.pdf")]
    (out / "deeper").mkdir()
    clerk.answer(out / "deeper" / "mine.svg")
    clerk.saved(out / "deeper" / "mine.svg")
    assert b"<svg" in (out / "deeper" / "mine.svg").read_bytes(), "an ending is taken at its word"
    clerk.dialog.activateWindow()
    clerk.until(clerk.dialog.isActiveWindow)
    clerk.qtbot.keyClick(clerk.dialog, Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    clerk.until(lambda: any(found.isVisible() for found in clerk.dialog.findChildren(QFileDialog)))
    files = next(found for found in clerk.dialog.findChildren(QFileDialog) if found.isVisible())
    assert files.selectedFiles() == [str(out / "deeper" / "made-loss-step7.pdf")]


# --- what is remembered  ----------


def test_everything_is_as_it_was_when_it_is_opened_again(clerk: Clerk, qtbot: QtBot) -> None:
    dialog = clerk.dialog
    clerk.choose(dialog.figure_box, "walk")
    clerk.what("Strip")
    clerk.venue("ieee")
    clerk.write("width", "3.4")
    clerk.choose(dialog.format_box, "svg")
    clerk.choose(dialog.vision_box, "tritanopia")
    clerk.press(dialog.fit_button)
    dialog.fps_box.setValue(25)
    dialog.resize(900, 610)
    clerk.qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    clerk.desk.preferences.save()
    clerk.desk.preferences = Preferences(clerk.desk.preferences.path)
    again = Clerk(qtbot, clerk.desk, "walk", snapshot_of(FIGURES)).dialog
    preset = again.form.preset()
    assert preset is not None and preset.id == "ieee" and again.form.choices().width == 3.4
    assert (again.what, again.format, again.vision, again.page.mode) == ("strip", "svg", "tritanopia", "fit")
    assert again.fps_box.value() == 25 and (again.width(), again.height()) == (900, 610)


@pytest.mark.parametrize(
    "garbage",
    [
        {
            "venue": 3,
            "values": [],
            "format": None,
            "what": {},
            "fps": "x",
            "size": 7,
            "zoom": [],
            "vision": 0,
        },
        {"venue": "moon", "values": {"width": -1}, "format": "doc", "what": "song", "fps": 1e9, "zoom": 99},
        {"values": {"wide": 3}, "size": [1, 10**9], "zoom": True, "vision": "sepia", "fps": True},
        {"values": {"width": "wide", "font": None}, "size": ["a", "b"], "zoom": float("nan"), "more": 1},
    ],
)
def test_no_memory_keeps_it_from_opening(qtbot: QtBot, desk: Desk, garbage: dict[str, Any]) -> None:
    desk.preferences.set("export", garbage)
    dialog = Clerk(qtbot, desk, "walk", snapshot_of(FIGURES)).dialog
    assert dialog.form.choices() == FigureChoices() and dialog.page.image is not None
    assert (dialog.what, dialog.format, dialog.vision, dialog.page.mode) == ("still", "pdf", "normal", "true")
    assert dialog.fps_box.value() == 12 and (dialog.width(), dialog.height()) == (960, 640)


# --- in the lab  ----------


def test_it_is_open_while_training_goes_on_until_the_window_closes(
    qtbot: QtBot, make_lab: Callable[..., Application], tmp_path: Path
) -> None:
    person = Person(qtbot, make_lab(size=(1000, 700)))
    person.choose("Export a figure")
    assert "press Train first" in person.messages()[0] and person.window.export_dialog is None
    person.application.preferences.set("export", {"format": "csv"})
    person.train(trajectory=40, times=2)
    at = open_dialog(person, "process")
    dialog, panel, session = at.dialog, person.panel, person.panel.session
    assert session is not None and not dialog.isModal()
    assert dialog.width() <= 960 and dialog.height() <= 640
    figure, about = dialog.piece().figure, dialog.piece().about
    at.drawn()
    shown = dialog.page.image
    at.write("width", "3")
    at.drawn()
    assert shown is not None and dialog.page.image != shown and "(3.00 × " in dialog.size_label.text()
    # The curves are behind another tab, and are exported as well.
    person.until(lambda: panel.figure("process") is not figure and "bound" in panel.figures())
    assert dialog.piece().figure is figure and panel.state == "running"
    assert about["run"] == session.spec.run and about["seed"] == about["settings"]["seed"]
    assert about.keys() == {"paper", "figure", "run", "step", "seed", "preset", "settings", "data"}
    person.press(dialog.refresh_button)
    assert dialog.piece().about["step"] > about["step"] and dialog.piece().figure is not figure
    person.choose("Export all figures")
    assert person.window.export_dialog is dialog, "there is one at a time"
    # Another run and another theme change nothing of it.
    person.press(person.window.transport.play_button)
    person.until(lambda: person.window.transport.state() == "paused")
    person.press(person.window.transport.reset_button)
    person.window.themes.set_mode("dark")
    at.answer(tmp_path)
    at.told("Saved")
    names = [dialog.figure_box.itemData(row) for row in range(dialog.figure_box.count())]
    assert {"process", "bound"} <= set(names) and not panel.is_in_sight("bound")
    written = [path.name for path in tmp_path.glob("diffusion-*.csv")]
    assert all(any(name.startswith(f"diffusion-{view}-step") for name in written) for view in names)
    # And those that nobody has looked at; pictures of images do not apply to points.
    assert panel.method is not None and len(written) == len(panel.method.views) - 1
    at.drawn()
    assert not dialog.grab().isNull() and dialog.page.image is not None
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert person.window.export_dialog is None
    person.window.activateWindow()
    person.until(person.window.isActiveWindow)
    qtbot.keyClick(person.window, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    again = person.window.export_dialog
    assert again is not None and again is not dialog and again.name == "process"
    at = export_to(person, tmp_path / "film.gif", what="Film")
    at.told("Writing")
    person.close()
    assert not list(tmp_path.glob("*.gif*")) and not list(tmp_path.glob(".*part*"))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lab-job")]
    assert person.application.preferences.get("export")["what"] == "film"
