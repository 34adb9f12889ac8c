"""The window: docks, menus, keys, messages, drops, downloads, exports, closing; real clicks, real handlers."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from PySide6.QtGui import QAction, QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel
from pytestqt.qtbot import QtBot

from engines.errors import DataError
from lab import papers
from lab.panels.panel import Panel
from lab.runs.folder import RunFolder
from lab.window import main_window
from lab.window.application import Application
from lab.window.preferences import Preferences
from tests.lab.clicker import Clicker
from tests.lab.conftest import PATIENCE
from tests.lab.small import SMALL
from widgets.messages import Message
from widgets.shortcuts_sheet import ShortcutsSheet

Make = Callable[..., Application]
TINY = {**SMALL["diffusion"], "evaluate_every": 100, "steps": 1_000_000}


class Person(Clicker):
    """Somebody at the window of the diffusion paper."""

    def __init__(self, qtbot: QtBot, application: Application) -> None:
        super().__init__(qtbot)
        self.application = application
        self.window = application.window
        panel = application.window.current_panel()
        assert panel is not None and panel.form is not None
        self.panel: Panel = panel
        self.form = panel.form

    def choose(self, text: str) -> None:
        """Choose an entry of a menu."""
        action = self.action(text)
        assert action.isEnabled(), text
        action.trigger()

    def action(self, text: str) -> QAction:
        """The entry of a menu whose text begins so."""
        self.window._view_menu.aboutToShow.emit()
        found = [
            action for action in self.window._all_actions() if action.text().replace("&", "").startswith(text)
        ]
        assert found, text
        return found[0]

    def set(self, **values: Any) -> None:
        """Put settings into the form."""
        self.form.set_values(self.form.values().build({**TINY, **values}))

    def train(self, **values: Any) -> None:
        """Train with small settings until there is a picture."""
        self.set(**values)
        self.press(self.window.transport.play_button)
        self.until(lambda: self.panel.state == "running" and self.panel.has_picture())

    def close(self) -> None:
        """Close the window and wait for its end."""
        self.window.close()
        self.until(self.window.is_closed)

    def messages(self, kind: str = "") -> list[str]:
        """What the window says."""
        return [
            message.text() for message in self.window.messages.messages() if not kind or message.kind == kind
        ]

    def message(self, part: str) -> Message:
        """The message that says so, once it is there."""

        def found() -> list[Message]:
            return [message for message in self.window.messages.messages() if part in message.text()]

        self.until(lambda: bool(found()))
        return found()[0]

    def drop(self, *paths: Path, accepted: bool = True) -> None:
        """Drag files from the desktop and let them go over the window."""
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        place, copy = QPoint(400, 300), Qt.DropAction.CopyAction
        buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        enter = QDragEnterEvent(place, copy, data, buttons, keys)
        QApplication.sendEvent(self.window, enter)
        assert enter.isAccepted() == accepted
        if accepted:
            QApplication.sendEvent(self.window, QDropEvent(QPointF(place), copy, data, buttons, keys))


@pytest.fixture
def make_person(qtbot: QtBot, make_lab: Make) -> Callable[..., Person]:
    """Opens the lab with somebody before it."""

    def make(**arguments: Any) -> Person:
        return Person(qtbot, make_lab(**arguments))

    return make


@pytest.fixture
def person(make_person: Callable[..., Person]) -> Iterator[Person]:
    """Somebody at an open window; no fault of ours may be told at the end."""
    somebody = make_person(size=(1300, 900))
    yield somebody
    assert not [
        text for text in somebody.messages("error") if "went wrong" in text or "fault in the lab" in text
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (72.34, "72.3"),
        (999.4, "999"),
        (999.6, "1,000"),
        (-1857.2, "−1,857"),
        (18.6e6, "1.86e+07"),
    ],
)
def test_a_number_in_the_title_is_short(value: float, text: str) -> None:
    assert main_window.short_number(value) == text


# --- views  ----------


def test_a_view_can_fill_the_panel_and_go_back(person: Person) -> None:
    person.train()
    panel = person.panel
    dock = panel.docks["process"]
    before = {
        name: (item.isHidden(), item.geometry())
        for name, item in panel.docks.items()
        if panel.is_in_sight(name)
    }
    person.press(dock.maximise_button)
    person.until(
        lambda: dock.height() > 0.8 * panel.area.height() and dock.width() > 0.9 * panel.area.width()
    )
    assert [name for name in panel.docks if panel.docks[name].isVisible()] == ["process"]
    figure = panel.figure("process")
    person.until(lambda: panel.figure("process") is not figure)
    person.press(dock.maximise_button)
    person.until(lambda: {name for name in panel.docks if panel.is_in_sight(name)} == before.keys())
    assert panel.docks["process"].geometry() == before["process"][1]
    # Resetting the layout is a way back, too, and the next press maximises again.
    person.press(dock.maximise_button)
    person.choose("Reset layout")
    person.until(lambda: {name for name in panel.docks if panel.is_in_sight(name)} == before.keys())
    assert dock.maximise_button.toolTip() == "Maximise"
    person.press(dock.maximise_button)
    person.until(lambda: [name for name in panel.docks if panel.docks[name].isVisible()] == ["process"])
    person.press(dock.maximise_button)


def test_a_closed_view_comes_back_from_the_menu_and_by_reset(person: Person) -> None:
    person.train()
    panel = person.panel
    dock = panel.docks["process"]
    person.press(dock.close_button)
    assert dock.isHidden()
    entry = person.action("Process")
    assert entry.isCheckable() and not entry.isChecked()
    person.choose("Process")
    person.until(lambda: panel.is_in_sight("process"))
    person.press(dock.close_button)
    person.choose("Reset layout")
    person.until(lambda: panel.is_in_sight("process"))
    figure = panel.figure("process")
    person.until(lambda: panel.figure("process") is not figure)


def test_resizing_the_window_keeps_what_the_person_closed(person: Person) -> None:
    panel = person.panel
    person.press(panel.docks["process"].close_button)
    person.window.resize(1000, 700)
    person.until(lambda: panel.area.width() < 760)
    person.window.resize(1500, 900)
    person.until(lambda: panel.area.width() > 900)
    QApplication.processEvents()
    assert panel.docks["process"].isHidden()
    person.choose("Reset layout")
    assert not panel.docks["process"].isHidden()


def test_layout_and_settings_are_there_at_the_next_start(make_person: Callable[..., Person]) -> None:
    first = make_person(size=(1300, 900))
    first.set(units=12)
    first.press(first.panel.docks["process"].close_button)
    first.panel.docks["terms"].raise_()
    first.form.set_folded_groups(["Chain"])
    first.choose("Dark")
    first.close()
    again = make_person(size=(1300, 900), theme=None)
    values = again.form.values()
    assert (values.units, values.data, values.trajectory) == (12, "mixture", 8)  # type: ignore[attr-defined]
    assert again.form.folded_groups() == ("Chain",)
    assert again.application.themes.mode == "dark"
    again.until(lambda: again.panel.is_in_sight("terms"))
    assert again.panel.docks["process"].isHidden() and not again.panel.docks["trails"].isHidden()
    # Other data bring their own views, whatever was closed among these.
    again.train(data="digits", network="dense", times=2)
    again.until(lambda: again.panel.is_in_sight("images") and not again.panel.docks["process"].isHidden())
    assert again.panel.docks["trails"].isHidden()


def test_a_layout_that_nobody_changed_is_made_anew_for_another_window(
    make_person: Callable[..., Person],
) -> None:
    make_person(size=(1000, 700)).close()
    wide = make_person(size=(1600, 1000))
    columns = {wide.panel.docks[name].x() for name in wide.panel.docks if wide.panel.docks[name].isVisible()}
    wide.until(lambda: wide.panel.area.width() > 760)
    assert len(columns) > 1


@pytest.mark.parametrize("layout", ["banana", "AAAA", 7, None, ["x"]])
def test_a_layout_that_makes_no_sense_is_ignored(
    make_person: Callable[..., Person], tmp_path: Path, layout: object
) -> None:
    preferences = Preferences(tmp_path / "window.json")
    preferences.paper("diffusion").update(
        {
            "values": {"data": "swiss_roll", "units": "many"},
            "layout": layout,
            "kind": "points",
            "folded": 3,
            "run": 4,
        }
    )
    preferences.save()
    somebody = make_person(size=(1300, 900))
    assert somebody.panel.form is not None and somebody.form.values().data == "swiss_roll"  # type: ignore[attr-defined]
    somebody.until(lambda: somebody.panel.is_in_sight("process"))
    assert somebody.messages("error") == []


def test_the_theme_changes_in_the_running_window(person: Person) -> None:
    person.train()

    def backgrounds() -> set[str]:
        views = [dock.view for dock in person.panel.docks.values()]
        return {view.canvas.backgroundBrush().color().name() for view in views}

    person.choose("Light")
    light = backgrounds()
    person.choose("Dark")
    dark = backgrounds()
    assert len(light) == len(dark) == 1 and light != dark
    assert min(light) > max(dark), "dark is darker"
    assert person.application.themes.mode == "dark" and person.action("Dark").isChecked()
    figure = person.panel.figure("process")
    person.until(lambda: person.panel.figure("process") is not figure)


# --- menus and keys  ----------


def test_edits_are_undone_and_redone_from_the_menu(person: Person) -> None:
    person.train()
    person.form.change({"step_size": 0.02})
    person.form.change({"batch": 16})
    assert "Batch" in person.action("Undo").text()
    person.choose("Undo")
    person.choose("Undo")
    values = person.form.values()
    assert (values.batch, values.step_size) == (32, TINY.get("step_size", values.step_size))  # type: ignore[attr-defined]
    assert not person.action("Undo").isEnabled()
    person.choose("Redo")
    assert person.form.values().step_size == 0.02  # type: ignore[attr-defined]
    person.press(person.window.transport.play_button)
    person.until(lambda: person.window.transport.state() == "paused")
    assert person.panel.session is not None
    folder = RunFolder(person.panel.session.spec.folder or "")
    assert folder.values()["step_size"] == 0.02 and folder.values()["batch"] == 32


def test_the_palette_finds_and_runs_a_command(person: Person) -> None:
    window = person.window
    person.qtbot.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    palette = window.palette_popup
    person.until(palette.isVisible)
    assert len(palette.shown_texts()) > 20
    person.qtbot.keyClicks(palette.line, "digits")
    assert palette.shown_texts()[0].startswith("Preset: Digits")
    person.qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    assert not palette.isVisible()
    preset = person.form.preset()
    assert preset is not None and preset.id == "digits"
    # Opened again and again it finds as much, and remembers.
    for _ in range(3):
        person.qtbot.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
        assert len(palette.shown_texts()) > 20
        person.qtbot.keyClick(palette.line, Qt.Key.Key_Escape)
    assert len(palette.recent()) == 1


def test_f1_lists_the_keys_and_every_menu_still_works(person: Person) -> None:
    for _ in range(2):
        person.qtbot.keyClick(person.window, Qt.Key.Key_F1)
        person.until(lambda: bool(person.window.findChildren(ShortcutsSheet)))
        sheet = person.window.findChildren(ShortcutsSheet)[0]
        words = " ".join(label.text() for label in sheet.findChildren(QLabel))
        assert "Undo" in words and "Keyboard shortcuts" in words
        sheet.close()
        person.until(lambda: not person.window.findChildren(ShortcutsSheet))
        # Without a window manager nobody gives the keyboard back.
        person.window.activateWindow()
        person.until(person.window.isActiveWindow)
    person.choose("Light")
    assert [action.text() for action in person.window.menuBar().actions()] == [
        "&Run",
        "&Edit",
        "&View",
        "&Papers",
        "&Help",
    ]


def test_f2_shows_the_text_with_the_numbers_of_the_run(person: Person) -> None:
    person.train(evaluate_every=5)
    person.qtbot.keyClick(person.window, Qt.Key.Key_F4)
    assert person.panel.is_text_shown()
    number = person.panel.history.latest

    def shown() -> bool:
        return f"{number()['K_bits']:.2f}".replace("-", "−") in person.panel.text_page.text().replace(
            "-", "−"
        )

    person.until(lambda: "K_bits" in number() and shown())
    first = person.panel.text_page.text()
    person.until(lambda: person.panel.text_page.text() != first)
    person.qtbot.keyClick(person.window, Qt.Key.Key_F4)
    assert not person.panel.is_text_shown()
    figure = person.panel.figure("process")
    person.until(lambda: person.panel.figure("process") is not figure)


def test_the_keyboard_trains_pauses_steps_and_resets(person: Person) -> None:
    person.set()
    window, control = person.window, Qt.KeyboardModifier.ControlModifier
    assert QApplication.focusWidget() is window.transport.play_button
    person.qtbot.keyClick(window, Qt.Key.Key_Space)
    # While the engine is built nothing can be pressed; that must not hand the keyboard to the button that stops.
    person.until(lambda: window.transport.state() == "running")
    assert QApplication.focusWidget() is window.transport.play_button
    person.qtbot.keyClick(window, Qt.Key.Key_Space)
    person.until(lambda: window.transport.state() == "paused")
    session = person.panel.session
    assert session is not None
    step = session.step
    person.qtbot.keyClick(window, Qt.Key.Key_Period, control)
    person.until(lambda: session.step == step + 1 and session.state == window.transport.state() == "paused")
    person.qtbot.keyClick(window, Qt.Key.Key_R, control)
    person.until(lambda: person.panel.session is not session and window.transport.state() == "paused")
    person.qtbot.keyClick(window, Qt.Key.Key_1, control)
    assert window.current_panel() is not person.panel and window.heading.text() == papers.papers()[0].short
    person.choose("Diffusion")
    assert window.current_panel() is person.panel
    preset = person.form.preset()
    person.qtbot.keyClick(window, Qt.Key.Key_BracketRight, control)
    assert person.form.preset() is not preset
    person.qtbot.keyClick(window, Qt.Key.Key_BracketLeft, control)
    assert person.form.preset() is preset


def test_a_run_goes_on_while_another_paper_is_in_sight(person: Person) -> None:
    person.train()
    person.choose("MADE")
    session = person.panel.session
    assert session is not None
    step = session.step
    person.until(lambda: session.step > step + 50)
    person.choose("Diffusion")
    figure = person.panel.figure("process")
    person.until(lambda: person.panel.figure("process") is not figure)


def test_the_headline_says_how_well_it_does(person: Person) -> None:
    person.train(evaluate_every=5)
    person.until(lambda: person.window.headline.text().startswith("K (bits)  −"))


# --- opening things  ----------


def run_folder(person: Person) -> Path:
    """A run that has been trained and stopped."""
    person.train()
    session = person.panel.session
    assert session is not None and session.spec.folder is not None
    person.until(lambda: session.step > 20)
    person.press(person.window.transport.stop_button)
    person.until(lambda: person.panel.state == "done")
    return Path(session.spec.folder)


def test_a_run_that_is_dropped_is_shown_and_goes_on(person: Person) -> None:
    folder = run_folder(person)
    last = RunFolder(folder).metrics().steps[-1]
    person.form.change({"data": "rings"})
    person.drop(folder)
    person.until(
        lambda: person.window.transport.state() == "paused" and person.panel.figure("process") is not None
    )
    assert person.panel.session is not None and person.panel.session.step == last
    assert person.form.values().data == "mixture"  # type: ignore[attr-defined]
    assert f"Restored at step {last:,}" in person.panel.state_text()
    assert person.panel.history.series("K_train_bits") is not None
    person.press(person.window.transport.play_button)
    person.until(lambda: person.panel.state == "running" and person.panel.session.step > last)
    assert person.panel.session.spec.folder != str(folder), "the run that was shown stays as it is"
    assert RunFolder(folder).metrics().steps[-1] == last


def test_a_damaged_run_is_told_and_nothing_is_lost(person: Person, tmp_path: Path) -> None:
    folder = run_folder(person)
    session = person.panel.session
    # Nothing can be read from the first; the second has lost all of its states.
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(folder, first)
    shutil.copytree(folder, second)
    (first / "run.json").write_bytes((folder / "run.json").read_bytes()[:-40])
    for file in (second / "keyframes").iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    person.drop(first)
    person.until(lambda: bool(person.messages("error")))
    assert str(first) in person.messages("error")[0]
    assert person.panel.session is session, "what was there before is still there"
    person.window.messages.clear()
    person.drop(second)
    person.until(lambda: bool(person.messages("error")))
    assert "keyframe" in person.messages("error")[0]
    person.press(person.window.transport.reset_button)
    person.until(lambda: person.panel.state in ("running", "paused"))


def test_a_table_that_is_dropped_is_trained_on(person: Person, tmp_path: Path) -> None:
    path = tmp_path / "my points.csv"
    rows = np.random.default_rng(0).normal(size=(300, 2))
    path.write_text("height,weight\n" + "\n".join(f"{a:.4f},{b:.4f}" for a, b in rows), encoding="utf-8")
    person.set()
    person.drop(path)
    person.until(lambda: person.panel.state == "running" and person.panel.figure("process") is not None)
    assert person.panel.started is not None and person.panel.started.data["kind"] == "points"
    assert person.form.values().path == str(path)  # type: ignore[attr-defined]
    # While it trains, other data wait for a reset.
    session = person.panel.session
    other = tmp_path / "other.csv"
    shutil.copy(path, other)
    person.drop(other)
    assert person.panel.session is session and "path" in person.form.pending()


def test_rubbish_that_is_dropped_is_refused_in_a_sentence(person: Person, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.bin"
    rubbish.write_bytes(bytes(range(256)) * 40)
    person.set()
    person.drop(rubbish)
    person.until(lambda: person.panel.state == "failed" and bool(person.messages("error")))
    assert "rubbish.bin" in person.messages("error")[0]
    # After a failure, good data begin at once.
    path = tmp_path / "good.csv"
    path.write_text("x,y\n" + "\n".join(f"{a},{a * a % 7}" for a in range(40)), encoding="utf-8")
    person.window.messages.clear()
    person.drop(path)
    person.until(lambda: person.panel.state == "running")
    person.drop(tmp_path / "nowhere.csv")
    assert person.panel.state == "running"


def test_what_is_not_a_file_is_not_taken(person: Person) -> None:
    data = QMimeData()
    data.setText("a word")
    event = QDragEnterEvent(
        QPoint(9, 9),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(person.window, event)
    assert not event.isAccepted()
    remote = QMimeData()
    remote.setUrls([QUrl("https://example.org/points.csv")])
    drop = QDropEvent(
        QPointF(9, 9),
        Qt.DropAction.CopyAction,
        remote,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(person.window, drop)
    assert person.panel.session is None and person.messages("error") == []


def test_data_dropped_on_a_paper_that_takes_none_are_refused(person: Person, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("x,y\n1,2\n3,4\n")
    person.choose("MADE")
    person.drop(path)
    assert "drop a run" in person.message("points.csv").text()


def test_a_run_is_opened_from_the_menu(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_folder(person)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *arguments: str(folder))
    person.choose("Open a run")
    person.until(lambda: person.panel.state == "paused")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *arguments: "")
    person.choose("Open a run")
    assert person.panel.state == "paused"


def test_an_unknown_target_is_told_and_the_lab_opens(qtbot: QtBot, make_lab: Make) -> None:
    application = make_lab("difusion")
    panel = application.window.current_panel()
    assert panel is not None and panel.paper.id == "diffusion"
    assert any("difusion" in message.text() for message in application.window.messages.messages())


# --- device and disk  ----------


def test_a_device_that_is_not_there_is_told_and_another_can_be_chosen(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    box = person.window.transport.device_box

    def pick(device: str) -> None:
        index = box.findData(device)
        box.setCurrentIndex(index)
        box.activated.emit(index)

    pick("cuda")
    person.set()
    person.press(person.window.transport.play_button)
    person.until(lambda: person.panel.state == "failed")
    person.until(lambda: any("choose cpu" in text for text in person.messages("error")))
    assert box.currentData() == "cuda", "what was chosen stays in sight"
    pick("cpu")
    person.press(person.window.transport.reset_button)
    person.until(lambda: person.panel.state == "paused" and person.panel.started is not None)
    assert person.panel.started.device == "cpu" and box.currentData() == "cpu"
    assert not any("choose cpu" in text for text in person.messages("error"))
    pick("cuda")
    assert "next reset" in person.message("device").text()
    person.press(person.window.transport.play_button)
    person.until(lambda: person.window.transport.state() == "running")
    assert box.currentData() == "cuda" and person.application.preferences.get("device") == "cuda"


def test_a_folder_for_runs_that_cannot_be_made_is_told(person: Person, tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("a file")
    person.window.services.runs_folder = tmp_path / "in-the-way" / "runs"
    person.set()
    person.press(person.window.transport.play_button)
    person.until(lambda: bool(person.messages("error")))
    assert "in-the-way" in person.messages("error")[0] and person.panel.state in ("idle", "failed")
    person.window.services.runs_folder = tmp_path / "elsewhere"
    begin = person.window.transport
    person.press(begin.play_button if begin.play_action.isEnabled() else begin.reset_button)
    person.until(lambda: person.panel.state in ("running", "paused"))


# --- data that must be fetched  ----------


@pytest.fixture
def without_mnist(person: Person, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody who has pressed Train for data that are not on the machine."""
    monkeypatch.delenv("LAB_DATA", raising=False)
    person.set(data="mnist", network="dense", times=2)
    person.press(person.window.transport.play_button)
    person.until(lambda: person.panel.state == "failed")
    return person


def offer(person: Person) -> Message:
    """The message that offers to download."""
    return person.message("MNIST is not on this machine")


def test_data_that_are_not_there_can_be_fetched(
    without_mnist: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.data import catalog

    person = without_mnist
    halfway, go = threading.Event(), threading.Event()

    def fetch(name: str, *, progress: Any, cancel: Any) -> Path:
        assert name == "mnist"
        progress(3 * 2**20, 12 * 2**20, "train-images")
        halfway.set()
        assert go.wait(60)
        return Path("there")

    monkeypatch.setattr(catalog, "fetch", fetch)
    person.press(offer(person).action_buttons["fetch:mnist"])
    assert halfway.wait(60)
    person.message("3.0 of 12.0 MB")
    before = person.panel.session
    go.set()
    person.message("MNIST is here")
    assert person.panel.session is not before, "and it trains, as was wanted"


def test_a_download_can_be_cancelled(without_mnist: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from engines.data import catalog

    person = without_mnist

    def fetch(name: str, *, progress: Any, cancel: Any) -> Path:
        assert cancel.wait(60)
        raise catalog.FetchCancelled("The download was cancelled.")

    monkeypatch.setattr(catalog, "fetch", fetch)
    person.press(offer(person).action_buttons["fetch:mnist"])
    before = person.panel.session
    person.press(person.message("Downloading MNIST").action_buttons["cancel"])
    person.message("was not downloaded: you cancelled")
    assert person.panel.session is before and person.window.jobs.find("fetch/mnist") is None


def test_a_download_that_fails_says_why_and_can_be_tried_again(
    without_mnist: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.data import catalog

    person = without_mnist
    tries: list[str] = []

    def fetch(name: str, *, progress: Any, cancel: Any) -> Path:
        tries.append(name)
        raise DataError("No mirror of MNIST answered: check the network, or try later.")

    monkeypatch.setattr(catalog, "fetch", fetch)
    person.press(offer(person).action_buttons["fetch:mnist"])
    again = person.message("No mirror of MNIST answered")
    assert again.kind == "error"
    person.press(again.action_buttons["fetch:mnist"])
    person.until(lambda: len(tries) == 2)
    person.message("No mirror of MNIST answered")


def test_data_that_come_late_do_not_end_another_run(
    without_mnist: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.data import catalog

    person = without_mnist
    go = threading.Event()

    def fetch(name: str, *, progress: Any, cancel: Any) -> Path:
        assert go.wait(60)
        return Path("there")

    monkeypatch.setattr(catalog, "fetch", fetch)
    person.press(offer(person).action_buttons["fetch:mnist"])
    person.set()
    person.press(person.window.transport.reset_button)
    person.until(lambda: person.window.transport.state() == "paused")
    session = person.panel.session
    go.set()
    person.message("MNIST is here")
    assert person.panel.session is session


# --- exports  ----------


def export_to(person: Person, path: Path, what: str = "Still") -> None:
    """Choose Export in the menu of the first view, and this file in the dialog."""
    from tests.lab import exporting

    exporting.export_to(person, path, what=what)


def test_a_view_is_exported_in_the_background_and_told(person: Person, tmp_path: Path) -> None:
    person.train()
    person.press(person.window.transport.play_button)
    person.until(lambda: person.window.transport.state() == "paused")
    export_to(person, tmp_path / "roll.pdf")
    assert "Writing roll.pdf" in person.messages()[0], "the window does not wait for it"
    person.message(f"Saved {tmp_path / 'roll.pdf'}")
    assert (tmp_path / "roll.pdf").read_bytes().startswith(b"%PDF")
    assert not any("Writing" in text for text in person.messages())
    assert person.application.preferences.get("export_folder") == str(tmp_path)
    export_to(person, tmp_path / "numbers.csv")
    person.message(f"Saved {tmp_path / 'numbers.csv'}")
    assert (tmp_path / "numbers.csv").read_text(encoding="utf-8").count("\n") > 10


def test_without_a_picture_there_is_nothing_to_export(person: Person) -> None:
    person.panel.docks["process"].export_action.trigger()
    assert "press Train first" in person.messages()[0] and person.window.export_dialog is None


def test_a_place_that_cannot_be_written_is_told(person: Person, tmp_path: Path) -> None:
    person.train()
    (tmp_path / "file").write_text("in the way")
    before = sorted(tmp_path.iterdir())
    places = {
        "nowhere": tmp_path / "nowhere" / "a.csv",
        "file": tmp_path / "file" / "b.csv",
    }
    for said, path in places.items():
        export_to(person, path)
        person.until(lambda: bool(person.messages("error")))
        assert said in person.messages("error")[0]
        person.window.messages.clear()
    assert sorted(tmp_path.iterdir()) == before
    assert person.panel.state == "running"


def test_a_film_that_takes_long_can_be_cancelled(person: Person, tmp_path: Path) -> None:
    person.train(trajectory=40, times=2)
    export_to(person, tmp_path / "film.gif", "Film")
    person.press(person.message("Writing film.gif").action_buttons["cancel"])
    person.message("film.gif was not written: you cancelled")
    assert not list(tmp_path.glob("*.gif*"))


def test_a_picture_and_its_numbers_go_to_the_clipboard(person: Person) -> None:
    person.train()
    dock = person.panel.docks["process"]
    dock.data_copy_action.trigger()
    text = QApplication.clipboard().text()
    assert len(text.splitlines()) > 10 and "," in text
    dock.copy_action.trigger()
    pixmap = QApplication.clipboard().pixmap()
    assert pixmap.width() >= dock.view.width()


# --- faults, garbage, the end  ----------


def test_a_fault_in_a_slot_or_a_thread_is_a_message_and_not_the_end(
    make_person: Callable[..., Person], capsys: pytest.CaptureFixture[str]
) -> None:
    person = make_person()

    def in_slot() -> None:
        raise RuntimeError("wrong in a slot")

    timer = QTimer(person.window)
    timer.setSingleShot(True)
    timer.timeout.connect(in_slot)
    timer.start(0)
    message = person.message("wrong in a slot")
    assert message.kind == "error" and "in_slot" in message.details()

    def in_thread() -> None:
        raise ValueError("wrong in a thread")

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    message = person.message("wrong in a thread")
    assert "in_thread" in message.details()
    assert "wrong in a slot" in capsys.readouterr().err
    person.train()


def test_garbage_is_collected_by_the_window_alone(qtbot: QtBot, make_lab: Make) -> None:
    assert gc.isenabled()
    application = make_lab()
    assert not gc.isenabled()
    threads: set[int] = set()

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            threads.add(threading.get_ident())

    def litter() -> None:
        for _ in range(5000):
            Cycle()

    thread = threading.Thread(target=litter)
    thread.start()
    thread.join()
    assert not threads, "nothing is collected where it was dropped"
    qtbot.waitUntil(lambda: bool(threads), timeout=PATIENCE)
    assert threads == {threading.get_ident()}
    application.window.close()
    qtbot.waitUntil(application.window.is_closed, timeout=PATIENCE)
    application.collector.stop()
    assert gc.isenabled()


def test_an_application_that_is_closed_leaves_the_interpreter_as_it_was(qtbot: QtBot, tmp_path: Path) -> None:
    hooks = sys.excepthook, threading.excepthook
    children = set(multiprocessing.active_children())
    # A worker that hung in another test cannot be ended.
    threads = set(threading.enumerate())
    for number in range(2):
        application = Application(Preferences(tmp_path / f"{number}.json"), tmp_path / "runs", theme="light")
        application.preferences.set("where", "thread")
        application.window.services.where = "thread"
        application.window.show()
        application.window.start("diffusion")
        panel = application.window.current_panel()
        assert panel is not None and panel.form is not None
        panel.form.set_values(panel.form.values().build(TINY))
        panel.play()
        qtbot.waitUntil(lambda panel=panel: panel.has_picture(), timeout=PATIENCE)
        session = panel.session
        application.window.close()
        qtbot.waitUntil(application.window.is_closed, timeout=PATIENCE)
        application.close()
        assert session is not None and not session.host.is_alive()
        assert (sys.excepthook, threading.excepthook) == hooks and gc.isenabled()
    assert set(multiprocessing.active_children()) == children
    assert not [t.name for t in set(threading.enumerate()) - threads if t.name.startswith("lab-")]


@pytest.mark.parametrize("where", ["process", "thread"])
def test_closing_during_the_start_ends_everything(make_person: Callable[..., Person], where: str) -> None:
    person = make_person(where=where)
    person.press(person.window.transport.play_button)
    session = person.panel.session
    assert session is not None and person.panel.state in ("idle", "starting")
    person.close()
    assert not session.host.is_alive() and not multiprocessing.active_children()
    assert not person.window.isVisible()


def test_closing_twice_and_while_work_is_under_way(
    make_person: Callable[..., Person], tmp_path: Path
) -> None:
    person = make_person(size=(1300, 900))
    person.train(trajectory=40, times=2)
    export_to(person, tmp_path / "film.gif", "Film")
    person.window.close()
    person.window.close()
    person.until(person.window.is_closed)
    assert not list(tmp_path.glob("*.gif*")), "half a film is no film"


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no way to hold a process here")
def test_a_worker_that_does_not_answer_does_not_hold_the_window(
    make_person: Callable[..., Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_window, "CLOSING_PATIENCE", 0.3)
    person = make_person(where="process", size=(1300, 900))
    person.train()
    assert person.panel.session is not None
    pid = person.panel.session.host.pid  # type: ignore[attr-defined]
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    person.close()
    assert time.monotonic() - began < PATIENCE / 1000
    assert not multiprocessing.active_children()
