"""Somebody at the dialog that exports figures: opens it, chooses, saves; for several tests."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialogButtonBox, QFileDialog, QLineEdit, QSpinBox

from lab.window.export_dialog import ExportDialog
from tests.lab.test_window import Person
from widgets.fields import ChoiceBox, NumberField


class Exporter:
    """Somebody before the open dialog."""

    def __init__(self, person: Person, dialog: ExportDialog) -> None:
        self.person, self.qtbot, self.dialog = person, person.qtbot, dialog

    def drawn(self) -> None:
        """Wait until the preview shows what is chosen."""
        self.person.until(self.dialog.is_drawn)

    def what(self, word: str) -> None:
        """Click on Still, Film, Strip or Time line."""
        field = self.dialog.what_field
        assert field is not None
        segment = next(segment for segment in field.segments if segment.text() == word)
        self.person.press(segment)

    def choose(self, box: ChoiceBox, data: str) -> None:
        """Choose an entry of a list with the keys."""
        index = box.findData(data)
        assert index >= 0, f"{data} is not offered"
        box.setFocus()
        self.qtbot.keyClick(box, Qt.Key.Key_Home)
        for _ in range(box.count()):
            if box.currentData() == data:
                break
            self.qtbot.keyClick(box, Qt.Key.Key_Down)
        assert box.currentData() == data

    def venue(self, name: str) -> None:
        self.choose(self.dialog.form.findChild(ChoiceBox), name)

    def write(self, name: str, text: str) -> None:
        """Type a value of the form, and press Enter."""
        field = self.dialog.form.row(name).field
        line = field.line_edit()
        assert line is not None
        self.dialog.form.show_setting(name)
        line.selectAll()
        self.qtbot.keyClicks(line, text)
        self.qtbot.keyClick(field.box if isinstance(field, NumberField) else line, Qt.Key.Key_Return)

    def spin(self, box: QSpinBox, value: int) -> None:
        """Type a number, and press Enter."""
        box.setFocus()
        box.selectAll()
        self.qtbot.keyClicks(box, str(value))
        self.qtbot.keyClick(box, Qt.Key.Key_Return)
        assert box.value() == value

    def save(self, path: Path) -> None:
        """Press Save, and type this in the file dialog."""
        self.person.until(self.dialog.save_button.isEnabled)
        self.person.press(self.dialog.save_button)
        self.answer(path)

    def answer(self, path: Path) -> None:
        """Type a path in the file dialog that is open, and accept it."""
        # The one before may still be about to go.
        files = next(found for found in self.dialog.findChildren(QFileDialog) if found.isVisible())
        line = files.findChild(QLineEdit, "fileNameEdit")
        line.setText(str(path))
        is_save = files.acceptMode() == QFileDialog.AcceptMode.AcceptSave
        button = QDialogButtonBox.StandardButton
        self.person.press(files.findChild(QDialogButtonBox).button(button.Save if is_save else button.Open))

    def told(self, part: str) -> str:
        """Wait until the dialog's line says so."""
        self.person.until(lambda: part in self.dialog.line.text())
        return self.dialog.line.text()

    def saved(self, path: Path) -> None:
        """Wait until the dialog tells that a file is there."""
        self.told(f"Saved {path}")
        assert path.exists()


def open_dialog(person: Person, name: str) -> Exporter:
    """Choose Export in the menu of a view."""
    person.panel.docks[name].export_action.trigger()
    dialog = person.window.export_dialog
    assert dialog is not None and dialog.isVisible() and dialog.name == name
    return Exporter(person, dialog)


def export_to(person: Person, path: Path, name: str = "process", what: str = "Still") -> Exporter:
    """Export a view to a file through the dialog; its ending says the format."""
    exporter = open_dialog(person, name)
    exporter.what(what)
    exporter.save(path)
    return exporter
