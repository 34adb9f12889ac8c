"""Asks what a second run is to do otherwise, in one line below the views; GUI thread."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QLabel, QPushButton, QWidget

from engines.config import Settings
from engines.errors import SettingError
from widgets.fields import ChoiceBox, Field, make_field


class ForkPopup(QFrame):
    """One setting, its value for the fork, and whether both train in lockstep.

    Signals
    -------
    accepted(object, bool)
        The changes as a dict of field to value, and whether in lockstep.
    closed()
    """

    accepted = Signal(object, bool)
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self._settings: Settings | None = None
        self._value: Any = None
        self._field: Field | None = None
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 6, 12, 6)
        row.setSpacing(8)
        self._row = row
        self.title = QLabel(self)
        self.setting_box = ChoiceBox(self)
        self.setting_box.setAccessibleName("Setting that differs")
        self.setting_box.activated.connect(self._on_setting_box_activated)
        self.error_label = QLabel(self)
        self.error_label.setProperty("role", "error")
        self.error_label.setWordWrap(True)
        self.error_label.hide()
        self.lockstep_box = QCheckBox("In lockstep", self)
        self.lockstep_box.setToolTip(
            "Hold both runs at the same step, so that their pictures can be compared"
        )
        self.fork_button = QPushButton("Fork", self)
        self.fork_button.setProperty("kind", "primary")
        self.fork_button.clicked.connect(self._on_fork_button_clicked)
        self.cancel_button = QPushButton("Cancel", self)
        self.cancel_button.clicked.connect(self._on_cancel_button_clicked)
        row.addWidget(self.title)
        row.addWidget(self.setting_box)
        row.addWidget(self.error_label, 1)
        row.addStretch(1)
        row.addWidget(self.lockstep_box)
        row.addWidget(self.fork_button)
        row.addWidget(self.cancel_button)
        self.hide()

    @property
    def field(self) -> Field | None:
        """Where the value is edited."""
        return self._field

    def ask(self, settings: Settings, step: int, first: str) -> None:
        """Show the popup for a fork from a step, with the settings in force there; ``first`` is offered first."""
        self._settings = settings
        self.title.setText(f"Fork from step {step:,}, with")
        self.setting_box.clear()
        self.setting_box.addItem("the same settings", "")
        for spec in type(settings).specs():
            # What the model is built from can differ only where it is built: at the beginning.
            if spec.effect != "display" and spec.kind != "curve" and (spec.effect == "live" or step == 0):
                if spec.is_visible(settings.model_dump()) and spec.name != "seed":
                    self.setting_box.addItem(spec.label, spec.name)
        self.setting_box.setCurrentIndex(max(0, self.setting_box.findData(first)))
        self._show_field()
        self.show()
        self.setting_box.setFocus(Qt.FocusReason.PopupFocusReason)

    def choose(self, name: str, value: Any) -> None:
        """Choose a setting and its value."""
        self.setting_box.setCurrentIndex(self.setting_box.findData(name))
        self._show_field()
        self._on_field_edited(value, 0)

    def _show_field(self) -> None:
        if self._field is not None:
            self._field.hide()
            self._field.deleteLater()
            self._field = None
        self.error_label.hide()
        name = self.setting_box.currentData()
        if not name or self._settings is None:
            return
        spec = type(self._settings).spec(name)
        self._value = getattr(self._settings, name)
        self._field = make_field(spec, self)
        self._field.set_value(self._value)
        self._field.setMaximumWidth(160)
        self._field.edited.connect(self._on_field_edited)
        self._field.reverted.connect(self._on_field_reverted)
        self._row.insertWidget(2, self._field)

    @Slot(int)
    def _on_setting_box_activated(self, index: int) -> None:
        self._show_field()

    @Slot(object, int)
    def _on_field_edited(self, value: object, gesture: int) -> None:
        assert self._settings is not None and self._field is not None
        settings, name = type(self._settings), self._field.spec.name
        try:
            self._value = (
                settings.parse_value(name, value) if isinstance(value, str) else settings.checked(name, value)
            )
        except SettingError as error:
            self._field.set_invalid(True)
            self.error_label.setText(str(error))
            self.error_label.show()
            return
        self._field.set_invalid(False)
        self._field.set_value(self._value)
        self.error_label.hide()

    @Slot()
    def _on_field_reverted(self) -> None:
        if self._field is not None:
            self._field.set_invalid(False)
        self.error_label.hide()

    @Slot()
    def _on_fork_button_clicked(self) -> None:
        if self.error_label.isVisible():
            return
        changes = {} if self._field is None else {self._field.spec.name: self._value}
        self.hide()
        self.accepted.emit(changes, self.lockstep_box.isChecked())

    @Slot()
    def _on_cancel_button_clicked(self) -> None:
        self.hide()
        self.closed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self._on_cancel_button_clicked()
        else:
            super().keyPressEvent(event)
