"""The form of a paper's settings, made from their declarations; runs on the GUI thread.

The form holds one set of values, always valid. What the user commits is checked by the settings themselves
(`engines.config.Declared.updated`); a value that is refused gets a sentence under its field and changes
nothing. Each setting shows when it takes effect: a dot for live, a turning arrow for those that wait for a
reset, an eye for those that concern the pictures alone. A setting that does not matter under the present
values of the others is dimmed, not hidden, so that the form does not jump and one sees what there is.
"""

from __future__ import annotations

import html
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import shiboken6
from PySide6.QtCore import QEvent, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QContextMenuEvent,
    QGuiApplication,
    QUndoCommand,
    QUndoStack,
)
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engines.config import Declared, Preset, SettingSpec
from engines.errors import SettingError
from widgets.fields import (
    EFFECT_SENTENCES,
    EFFECT_WORDS,
    ChoiceBox,
    CurveField,
    EffectMarker,
    Field,
    NumberField,
    format_number,
    make_field,
    show_menu,
)
from widgets.look import role_label
from widgets.symbols import symbol_to_html

FIELD_WIDTH = 104
DEFAULTS = Preset("defaults", "Defaults", "Every setting as it is declared.")

_NOTHING = object()


def value_text(spec: SettingSpec, value: Any) -> str:
    """A value as the form, the undo list and the messages write it."""
    if value is None or value == "":
        return "none"
    if spec.kind == "switch":
        return "on" if value else "off"
    if spec.kind == "choice":
        return dict(spec.choices).get(value, str(value))
    if spec.kind == "curve":
        return f"{len(value)} numbers"
    if isinstance(value, int | float):
        return format_number(value)
    return str(value)


def assignment_text(spec: SettingSpec, value: Any) -> str:
    """``name=value`` as the command line's ``--set`` takes it."""
    if spec.kind == "switch":
        return f"{spec.name}={'true' if value else 'false'}"
    if spec.kind == "curve":
        return f"{spec.name}=" + ",".join(format_number(float(number)) for number in value or ())
    if isinstance(value, int | float):
        return f"{spec.name}={format_number(value)}"
    return f"{spec.name}={'' if value is None else value}"


def tool_tip(spec: SettingSpec, *, irrelevant: str = "", effect: bool = True) -> str:
    """What hovering over a setting tells: help, symbol, range, default, when it takes effect."""
    head = f"<b>{html.escape(spec.label)}</b>"
    if spec.symbol:
        head += f" &nbsp;{symbol_to_html(spec.symbol)}"
    parts = [head]
    if spec.help:
        parts.append(html.escape(spec.help))
    facts = []
    if spec.kind == "choice":
        facts.append("One of " + ", ".join(html.escape(label) for _, label in spec.choices) + ".")
    elif spec.kind != "switch" and spec.range_text():
        facts.append(html.escape(spec.range_text()).capitalize() + ".")
    elif spec.unit:
        facts.append(f"In {html.escape(spec.unit)}.")
    facts.append(f"Default: {html.escape(value_text(spec, spec.default))}.")
    if effect:
        facts.append(EFFECT_SENTENCES[spec.effect])
    parts.append(" ".join(facts))
    if irrelevant:
        parts.append(f"<i>{html.escape(irrelevant)}</i>")
    return "".join(f"<p style='margin:2px 0'>{part}</p>" for part in parts)


class SettingRow(QWidget):
    """One setting: marker, label with symbol and unit, field, and beneath them a slider, an error, a note.

    Without ``effect`` nothing tells when it takes effect.

    Signals
    -------
    edited(str, object, int)
        Name, what was committed, number of the gesture.
    reverted(str)
        The user took back what was typed.
    menu_requested(str, QPoint)
        Name and where on the screen.
    curve_requested(str)
        The user wants to draw this curve.
    """

    edited = Signal(str, object, int)
    reverted = Signal(str)
    menu_requested = Signal(str, object)
    curve_requested = Signal(str)

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None, *, effect: bool = True) -> None:
        super().__init__(parent)
        self.spec = spec
        self._effect = effect
        self.setObjectName(f"setting-{spec.name}")
        self.marker = EffectMarker(spec.effect, self)
        self.marker.setVisible(effect)
        self.label = QLabel(self)
        self.label.setTextFormat(Qt.TextFormat.RichText)
        self.label.setWordWrap(True)
        self.label.setMinimumWidth(40)
        self.field: Field = make_field(spec, self)
        self.field.setAccessibleName(spec.label)
        self.field.editor().setAccessibleName(f"{spec.label} {spec.unit}".strip())
        when = EFFECT_SENTENCES[spec.effect] if effect else ""
        self.field.editor().setAccessibleDescription(f"{spec.help} {when}".strip())
        self.label.setBuddy(self.field.editor())
        self.slider = self.field.make_slider(self) if isinstance(self.field, NumberField) else None
        self._error: QLabel | None = None
        self._note: QLabel | None = None
        self._relevant = True
        self._lay_out()
        self._show_label()
        self.field.edited.connect(self._on_field_edited)
        self.field.reverted.connect(self._on_field_reverted)
        if isinstance(self.field, CurveField):
            self.field.draw_requested.connect(self._on_field_draw_requested)

    def _lay_out(self) -> None:
        self._grid = grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        grid.addWidget(self.marker, 0, 0, Qt.AlignmentFlag.AlignVCenter)
        if self.field.wide:
            grid.addWidget(self.label, 0, 1, 1, 2)
            grid.addWidget(self.field, 1, 1, 1, 2)
        else:
            grid.addWidget(self.label, 0, 1)
            grid.addWidget(self.field, 0, 2)
            self.field.setFixedWidth(FIELD_WIDTH)
        if self.slider is not None:
            self.slider.setAccessibleName(f"{self.spec.label}, slider")
            grid.addWidget(self.slider, 1, 1, 1, 2)

    def set_value(self, value: Any) -> None:
        """Show a value; an error that stood here is gone."""
        self.field.set_value(value)
        self.show_error("")

    def set_relevant(self, relevant: bool, reason: str = "") -> None:
        """Hide the setting while it does not matter; ``reason`` says when it would.

        Dimmed, the settings of everything that was not chosen would make up most of a long form.
        """
        self._relevant = relevant
        self.setVisible(relevant)
        tip = tool_tip(self.spec, irrelevant=reason, effect=self._effect)
        self.label.setToolTip(tip)
        self.field.setToolTip(tip)

    def _show_label(self) -> None:
        tip = tool_tip(self.spec, effect=self._effect)
        self.label.setToolTip(tip)
        self.field.setToolTip(tip)
        text = html.escape(self.spec.label)
        if self.spec.symbol:
            text += f"&nbsp; {symbol_to_html(self.spec.symbol)}"
        if self.spec.unit:
            text += f" <span style='font-size:11px'>[{html.escape(self.spec.unit)}]</span>"
        self.label.setText(text)

    def is_relevant(self) -> bool:
        """Whether the setting matters under the present values."""
        return self._relevant

    def show_error(self, sentence: str) -> None:
        """Put a sentence under the field; an empty one takes it away."""
        self.field.set_invalid(bool(sentence))
        if self._error is None:
            if not sentence:
                return
            self._error = self._line_below("error", 2)
        self._error.setText(sentence)
        self._error.setVisible(bool(sentence))
        self._error.updateGeometry()

    def error(self) -> str:
        """The sentence under the field; empty when all is well."""
        return self._error.text() if self._error is not None else ""

    def show_note(self, text: str) -> None:
        """Put a remark under the field: what the run uses until the reset."""
        self.marker.set_pending(bool(text))
        if self._note is None:
            if not text:
                return
            self._note = self._line_below("warning", 3)
        self._note.setText(text)
        self._note.setVisible(bool(text))

    def note(self) -> str:
        """The remark under the field."""
        return self._note.text() if self._note is not None else ""

    def _line_below(self, role: str, row: int) -> QLabel:
        label = role_label(role, parent=self)
        label.setWordWrap(True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        label.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        label.setTextFormat(Qt.TextFormat.PlainText)
        self._grid.addWidget(label, row, 1, 1, 2)
        return label

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self.menu_requested.emit(self.spec.name, event.globalPos())
        event.accept()

    @Slot(object, int)
    def _on_field_edited(self, value: object, gesture: int) -> None:
        self.edited.emit(self.spec.name, value, gesture)

    @Slot()
    def _on_field_reverted(self) -> None:
        self.show_error("")
        self.reverted.emit(self.spec.name)

    @Slot()
    def _on_field_draw_requested(self) -> None:
        self.curve_requested.emit(self.spec.name)


class Section(QWidget):
    """A group of settings under a heading that folds them away.

    Signals
    -------
    folded(bool)
        The user folded (True) or unfolded the section.
    """

    folded = Signal(bool)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = title
        self.header = QToolButton(self)
        self.header.setText(title)
        self.header.setCheckable(False)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setArrowType(Qt.ArrowType.DownArrow)
        self.header.setProperty("kind", "section")
        self.header.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        font = self.header.font()
        font.setBold(True)
        self.header.setFont(font)
        self.body = QWidget(self)
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(4, 4, 0, 8)
        self.rows.setSpacing(8)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.header)
        layout.addWidget(self.body)
        self.header.clicked.connect(self._on_header_clicked)

    def is_folded(self) -> bool:
        """Whether the settings are folded away."""
        return self.body.isHidden()

    def set_folded(self, folded: bool) -> None:
        """Fold the settings away, or show them."""
        self.body.setVisible(not folded)
        self.header.setArrowType(Qt.ArrowType.RightArrow if folded else Qt.ArrowType.DownArrow)
        self.header.setAccessibleDescription("folded" if folded else "open")

    @Slot()
    def _on_header_clicked(self) -> None:
        self.set_folded(not self.is_folded())
        self.folded.emit(self.is_folded())


class EditCommand(QUndoCommand):
    """One edit of the form on the undo stack; the moves of one gesture become one command."""

    def __init__(
        self, form: SettingsForm, text: str, before: Mapping[str, Any], after: Mapping[str, Any], gesture: int
    ) -> None:
        super().__init__(text)
        # The stack outlives the form: a closed panel leaves commands behind that must do nothing.
        self._form = weakref.ref(form)
        self.before = dict(before)
        self.after = dict(after)
        self.gesture = gesture

    def id(self) -> int:
        return 0x5E77

    def redo(self) -> None:
        self._put(self.after)

    def undo(self) -> None:
        self._put(self.before)

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, EditCommand) or other._form is not self._form:
            return False
        if not self.gesture or other.gesture != self.gesture or other.after.keys() != self.after.keys():
            return False
        self.after = dict(other.after)
        form = self._form()
        if form is not None:
            self.setText(form.edit_text(self.before, self.after))
        return True

    def _put(self, values: Mapping[str, Any]) -> None:
        form = self._form()
        if form is None or not shiboken6.isValid(form) or not form.put(values):
            self.setObsolete(True)


class PendingBar(QFrame):
    """Says how many settings wait for a reset, with the two ways out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("message", "warning")
        self.text = QLabel(self)
        self.text.setWordWrap(True)
        self.reset = QPushButton("Reset now", self)
        self.reset.setToolTip("Start the run again with the new settings")
        self.discard = QPushButton("Discard", self)
        self.discard.setToolTip("Back to what the run uses")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.setSpacing(8)
        layout.addWidget(self.text)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        buttons.addWidget(self.reset)
        buttons.addWidget(self.discard)
        buttons.addStretch(1)
        layout.addLayout(buttons)


class SettingsForm(QWidget):
    """The settings of one paper.

    Parameters
    ----------
    config_class : type of Declared
    values : Declared, optional
        Shown first; the defaults if not given.
    presets : iterable of Preset
    undo_stack : QUndoStack, optional
        Every committed edit becomes a command on it. Without one, edits cannot be undone.
    effects : bool
        Tell of each setting when it takes effect.
    preset_word : str
        What a preset is called here.

    Signals
    -------
    change_requested(str, object, str)
        Name, value and effect of a setting the user changed, also by undo and redo; the value is valid.
    curve_requested(str)
        The user wants to draw this curve by hand.
    preset_chosen(Preset)
        The form itself changes nothing: whoever listens decides, and calls `put` or `set_values`.
    reset_requested()
        Start the run again with these settings.
    pending_discarded()
        The settings that waited are back at what the run uses.
    """

    change_requested = Signal(str, object, str)
    curve_requested = Signal(str)
    preset_chosen = Signal(object)
    reset_requested = Signal()
    pending_discarded = Signal()

    def __init__(
        self,
        config_class: type[Declared],
        values: Declared | None = None,
        presets: Iterable[Preset] = (),
        undo_stack: QUndoStack | None = None,
        parent: QWidget | None = None,
        *,
        effects: bool = True,
        preset_word: str = "Preset",
    ) -> None:
        super().__init__(parent)
        self._effects, self._preset_word = effects, preset_word
        self._config_class = config_class
        self._values = values if values is not None else config_class()
        self._specs = {spec.name: spec for spec in config_class.specs()}
        self._presets = tuple(presets)
        if not any(not preset.values for preset in self._presets):
            self._presets = (*self._presets, DEFAULTS)
        self._preset: Preset | None = None
        self._stack = undo_stack
        self._running: Declared | None = None
        self._rows: dict[str, SettingRow] = {}
        self._sections: dict[str, Section] = {}
        self._menu_name = ""
        self._set_up()
        self._show_all()
        self._adopt_matching_preset()
        self._refresh()

    def sizeHint(self) -> QSize:
        return QSize(308, 640)

    # Building -----------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 12, 4, 0)
        layout.setSpacing(8)
        layout.addLayout(self._make_preset_line())
        if self._effects:
            layout.addWidget(self._make_legend())
        self._reason = role_label("muted", parent=self)
        self._reason.setWordWrap(True)
        self._reason.hide()
        layout.addWidget(self._reason)
        self._pending = PendingBar(self)
        self._pending.hide()
        self._pending.reset.clicked.connect(self._on_reset_clicked)
        self._pending.discard.clicked.connect(self._on_discard_clicked)
        layout.addWidget(self._pending)

        self._scroll = QScrollArea(self)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._content = QWidget(self._scroll)
        content = QVBoxLayout(self._content)
        content.setContentsMargins(0, 0, 8, 12)
        content.setSpacing(4)
        for spec in self._specs.values():
            title = spec.group or "Settings"
            if title not in self._sections:
                section = Section(title, self._content)
                self._sections[title] = section
                content.addWidget(section)
            row = SettingRow(spec, self._sections[title].body, effect=self._effects)
            row.edited.connect(self._on_row_edited)
            row.reverted.connect(self._on_row_reverted)
            row.menu_requested.connect(self._on_row_menu_requested)
            row.curve_requested.connect(self.curve_requested)
            self._sections[title].rows.addWidget(row)
            self._rows[spec.name] = row
        content.addStretch(1)
        self._scroll.setWidget(self._content)
        layout.addWidget(self._scroll, 1)

    def _make_preset_line(self) -> QHBoxLayout:
        self._preset_box = ChoiceBox(self)
        self._preset_box.setAccessibleName(self._preset_word)
        self._preset_box.setPlaceholderText("Own settings")
        for preset in self._presets:
            self._preset_box.addItem(preset.title, preset.id)
            self._preset_box.setItemData(
                self._preset_box.count() - 1, preset.help, Qt.ItemDataRole.ToolTipRole
            )
        self._preset_box.activated.connect(self._on_preset_box_activated)
        self._modified = QPushButton("modified", self)
        self._modified.setProperty("kind", "flat")
        self._modified.setAccessibleName("Modified: back to the preset")
        self._modified.clicked.connect(self._on_modified_clicked)
        # The word keeps its place while it is not needed, or the box would jump.
        policy = self._modified.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._modified.setSizePolicy(policy)
        line = QHBoxLayout()
        line.setContentsMargins(0, 0, 8, 0)
        line.setSpacing(4)
        line.addWidget(self._preset_box, 1)
        line.addWidget(self._modified)
        return line

    def _make_legend(self) -> QWidget:
        legend = QWidget(self)
        line = QHBoxLayout(legend)
        line.setContentsMargins(0, 0, 8, 0)
        line.setSpacing(4)
        present = {spec.effect for spec in self._specs.values()}
        for effect in ("live", "rebuild", "display"):
            if effect in present:
                words = role_label("small", EFFECT_WORDS[effect], legend)
                words.setToolTip(EFFECT_SENTENCES[effect])
                line.addWidget(EffectMarker(effect, legend))
                line.addWidget(words)
                line.addSpacing(8)
        line.addStretch(1)
        return legend

    # What others ask of it ----------------------------------------------------------------------------------

    def values(self) -> Declared:
        """The values in effect in the form; always valid."""
        return self._values

    def set_values(self, config: Declared) -> None:
        """Show other values, set elsewhere; nothing is reported and nothing goes on the undo stack.

        What the user is typing at this moment stays, unless that very setting changed.
        """
        if not isinstance(config, self._config_class):
            raise TypeError(f"the form shows {self._config_class.__name__}, not {type(config).__name__}")
        old, self._values = self._values, config
        for name, row in self._rows.items():
            value = getattr(config, name)
            if value != getattr(old, name) or not row.field.is_dirty():
                row.set_value(value)
        self._refresh()

    def set_running_config(self, config: Declared | None) -> None:
        """Tell what the run was built with; None when nothing runs, and then nothing waits for a reset."""
        self._running = config
        self._refresh()

    def set_enabled_state(self, enabled: bool, reason: str = "") -> None:
        """Let the form be edited or not; ``reason`` is shown while it cannot."""
        self._content.setEnabled(enabled)
        self._preset_box.setEnabled(enabled)
        self._modified.setEnabled(enabled)
        self._pending.setEnabled(enabled)
        self._reason.setText(reason)
        self._reason.setVisible(not enabled and bool(reason))

    def set_preset(self, preset_id: str) -> None:
        """Make a preset the one that the values are compared with; an empty id compares with none."""
        self._preset = next((preset for preset in self._presets if preset.id == preset_id), None)
        self._refresh()

    def preset(self) -> Preset | None:
        """The preset that the values are compared with."""
        return self._preset

    def preset_values(self, preset: Preset) -> Declared:
        """The values that a preset means here; a form in which it leaves some settings alone says so."""
        return self._config_class.build(preset.values)

    def is_modified(self) -> bool:
        """Whether the values differ from the preset's."""
        return bool(self._differing_from_preset())

    def pending(self) -> dict[str, Any]:
        """The settings that wait for a reset, with the values the run still uses."""
        if self._running is None:
            return {}
        differing = self._values.differing(self._running)
        return {name: value for name, value in differing.items() if self._is_effect(name, "rebuild")}

    def row(self, name: str) -> SettingRow:
        """The row of one setting."""
        return self._rows[name]

    def folded_groups(self) -> tuple[str, ...]:
        """Titles of the sections that are folded, for the session to remember."""
        return tuple(title for title, section in self._sections.items() if section.is_folded())

    def set_folded_groups(self, titles: Iterable[str]) -> None:
        """Fold these sections and open the others."""
        folded = set(titles)
        for title, section in self._sections.items():
            section.set_folded(title in folded)

    def show_setting(self, name: str) -> None:
        """Bring a setting into sight, unfolding its section, and give it the keyboard."""
        row = self._rows[name]
        self._sections[row.spec.group or "Settings"].set_folded(False)
        self._scroll.ensureWidgetVisible(row)
        row.field.editor().setFocus(Qt.FocusReason.OtherFocusReason)

    def change(self, changes: Mapping[str, Any], text: str = "", gesture: int = 0) -> None:
        """Change settings as if the user had: checked, undoable, reported one by one.

        Parameters
        ----------
        changes : mapping
        text : str
            What the undo menu says; made from the changes if empty.
        gesture : int
            Changes of one gesture become one step of undo; 0 for a change of its own.

        Raises
        ------
        SettingError
            And nothing has changed.
        """
        after = self._values.differing(self._values.updated(changes))
        if not after:
            return
        before = {name: getattr(self._values, name) for name in after}
        if self._stack is None:
            self.put(after)
        else:
            self._stack.push(EditCommand(self, text or self.edit_text(before, after), before, after, gesture))

    def put(self, changes: Mapping[str, Any]) -> bool:
        """Bring values into effect and report them; what the undo stack calls. False if they are no longer
        allowed.
        """
        try:
            new = self._values.updated(changes)
        except SettingError as error:
            # An undo can meet values that were set elsewhere since, and the two may not go together.
            self._rows[error.field if error.field in self._rows else next(iter(changes))].show_error(
                str(error)
            )
            return False
        changed = self._values.differing(new)
        self._values = new
        for name in changes:
            self._rows[name].set_value(getattr(new, name))
        self._refresh()
        for name, value in changed.items():
            self.change_requested.emit(name, value, self._specs[name].effect)
        return True

    def edit_text(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
        """What the undo menu says of a change: ``Step size 0.01 → 0.003``."""
        if len(after) > 1:
            return f"{len(after)} settings"
        name = next(iter(after))
        spec = self._specs[name]
        if spec.kind == "curve":
            return spec.label
        return f"{spec.label} {value_text(spec, before[name])} → {value_text(spec, after[name])}"

    # Keeping what is seen in step ---------------------------------------------------------------------------

    def _is_effect(self, name: str, effect: str) -> bool:
        return name in self._specs and self._specs[name].effect == effect

    def _show_all(self) -> None:
        for name, row in self._rows.items():
            row.set_value(getattr(self._values, name))

    def _refresh(self) -> None:
        """Hide what does not matter, mark what waits, compare with the preset."""
        values = self._values.model_dump()
        pending = self.pending()
        for name, row in self._rows.items():
            relevant = row.spec.is_visible(values)
            if relevant != row.is_relevant():
                row.set_relevant(relevant, "" if relevant else self._relevance_text(row.spec))
            row.show_note(f"The run uses {value_text(row.spec, pending[name])}." if name in pending else "")
        count = len(pending)
        if count:
            self._pending.text.setText(
                f"{count} settings wait for a reset" if count > 1 else "1 setting waits for a reset"
            )
        self._pending.setVisible(bool(count))
        self._show_preset()

    def _relevance_text(self, spec: SettingSpec) -> str:
        conditions = []
        for name, allowed in spec.visible_when:
            other = self._specs.get(name)
            if other is not None:
                choices = " or ".join(value_text(other, value) for value in allowed)
                conditions.append(f"{other.label} is {choices}")
        return "Matters only while " + " and ".join(conditions) + "."

    def _differing_from_preset(self) -> dict[str, Any]:
        if self._preset is None:
            return {}
        return self._values.differing(self.preset_values(self._preset))

    def _adopt_matching_preset(self) -> None:
        for preset in self._presets:
            if self.preset_values(preset) == self._values:
                self._preset = preset
                return

    def _show_preset(self) -> None:
        index = self._preset_box.findData(self._preset.id) if self._preset is not None else -1
        self._preset_box.setCurrentIndex(index)
        self._preset_box.setToolTip(
            f"{self._preset_word}: {self._preset.help or self._preset.title}"
            if self._preset is not None
            else "Start from a named set of settings"
        )
        differing = self._differing_from_preset()
        labels = ", ".join(self._specs[name].label for name in differing if name in self._specs)
        if self._preset is not None:
            self._modified.setToolTip(f"Changed: {labels}. Click to go back to “{self._preset.title}”.")
        self._modified.setVisible(bool(differing))

    # What the user does -------------------------------------------------------------------------------------

    @Slot(str, object, int)
    def _on_row_edited(self, name: str, raw: object, gesture: int) -> None:
        row = self._rows[name]
        try:
            self.change({name: self._parsed(name, raw)}, gesture=gesture)
        except SettingError as error:
            row.show_error(str(error))
            return
        # The text may say the same in other words: 1e-2 for 0.01.
        row.set_value(getattr(self._values, name))

    def _parsed(self, name: str, raw: object) -> Any:
        if not isinstance(raw, str) or self._specs[name].kind == "choice":
            return raw
        if not raw.strip():
            # An optional setting is emptied by leaving nothing; all others have their own word on empty text.
            try:
                return self._config_class.checked(name, None)
            except SettingError:
                pass
        return self._config_class.parse_value(name, raw.strip())

    @Slot(str)
    def _on_row_reverted(self, name: str) -> None:
        self._rows[name].set_value(getattr(self._values, name))

    @Slot()
    def _on_reset_clicked(self) -> None:
        self.reset_requested.emit()

    @Slot()
    def _on_discard_clicked(self) -> None:
        waiting = self.pending()
        try:
            self.change(waiting, text=f"Discard {len(waiting)} waiting settings" if len(waiting) > 1 else "")
        except SettingError as error:
            self._rows[next(iter(waiting))].show_error(str(error))
            return
        self.pending_discarded.emit()

    @Slot(int)
    def _on_preset_box_activated(self, index: int) -> None:
        self._preset = self._presets[index]
        self.preset_chosen.emit(self._preset)
        self._refresh()

    @Slot()
    def _on_modified_clicked(self) -> None:
        if self._preset is not None:
            self.preset_chosen.emit(self._preset)
            self._refresh()

    @Slot(str, object)
    def _on_row_menu_requested(self, name: str, position: Any) -> None:
        row, spec = self._rows[name], self._specs[name]
        line = row.field.line_edit()
        menu = line.createStandardContextMenu() if line is not None and line.hasFocus() else QMenu()
        menu.setParent(self, menu.windowFlags())
        first = menu.actions()[0] if menu.actions() else None
        value = getattr(self._values, name)
        entries = [("default", f"Reset to default ({value_text(spec, spec.default)})", value != spec.default)]
        if self._preset is not None:
            own = getattr(self.preset_values(self._preset), name)
            if own != spec.default:
                entries.append(("preset", f"Reset to preset ({value_text(spec, own)})", value != own))
        entries.append(("copy", f"Copy “{assignment_text(spec, value)[:40]}”", True))
        for kind, text, enabled in entries:
            action = QAction(text.replace("&", "&&"), menu)
            action.setData(kind)
            action.setEnabled(enabled)
            menu.insertAction(first, action) if first is not None else menu.addAction(action)
        if first is not None:
            menu.insertSeparator(first)
        self._menu_name = name
        menu.triggered.connect(self._on_menu_triggered)
        show_menu(menu, position)

    @Slot(QAction)
    def _on_menu_triggered(self, action: QAction) -> None:
        name, spec = self._menu_name, self._specs[self._menu_name]
        kind = action.data()
        if kind == "copy":
            QGuiApplication.clipboard().setText(assignment_text(spec, getattr(self._values, name)))
        elif kind == "default":
            self.reset_to_default(name)
        elif kind == "preset" and self._preset is not None:
            self._on_row_edited(name, getattr(self.preset_values(self._preset), name), 0)

    def reset_to_default(self, name: str) -> None:
        """Give one setting its declared default, undoably."""
        self._on_row_edited(name, self._specs[name].default, 0)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.update()


__all__ = [
    "DEFAULTS",
    "EditCommand",
    "PendingBar",
    "Section",
    "SettingRow",
    "SettingsForm",
    "assignment_text",
    "tool_tip",
    "value_text",
]
