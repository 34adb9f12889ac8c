"""The dialog that makes a figure for print of a view: what of it, how it looks, where it goes; GUI thread.

It holds a snapshot of what the panel showed when it was opened, so that training goes on meanwhile, and stays open while
files are written. Pages are drawn and files written by the jobs of `lab.window.exports`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from PySide6.QtCore import QEvent, QMimeData, QSize, Qt, QTimer, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication, QImage, QKeyEvent, QStandardItemModel
from PySide6.QtWidgets import (
    QButtonGroup,
    QCompleter,
    QDialog,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from engines.config import Declared, Preset, setting
from engines.errors import InputError
from engines.figures import Film
from lab.export.choices import MM_PER_INCH, VENUE_PRESETS, FigureChoices, Unit, choices_of
from lab.export.films import FASTEST
from lab.export.save import FORMATS
from lab.export.style import Style
from lab.export.vision import Vision
from lab.window.exports import (
    Exports,
    Order,
    Outcome,
    Page,
    Piece,
    Preview,
    Sight,
    Snapshot,
    What,
    font_families,
    formats_of,
    of_run,
    take,
)
from lab.window.jobs import Job
from widgets.fields import ChoiceBox, SegmentsField
from widgets.look import role_label, set_style_property
from widgets.page_preview import LARGEST, SMALLEST, PagePreview, Zoom
from widgets.settings_form import SettingsForm

if TYPE_CHECKING:
    from lab.panels.panel import Panel
    from lab.window.main_window import MainWindow

DEBOUNCE_MS = 150
"""How long nothing may change before a page is drawn."""

SIZE = QSize(960, 640)
SMALLEST_SIZE, LARGEST_SIZE = 480, 8000
FASTEST_SHOWN = 60
FINEST = 4.0
"""Zoom up to which a page is drawn anew; beyond it pixels are seen."""

_KEPT = ("theme", "palette", "colormap", "diverging", "unit", "font", "text", "legend", "notes", "lines")
"""What a venue leaves as it is."""

_SIGHTS: Mapping[Vision, tuple[str, str]] = {
    "normal": ("normal sight", "As it is"),
    "protanopia": ("protanopia", "Without cones for red: about 1 man in 100"),
    "deuteranopia": ("deuteranopia", "Without cones for green: about 1 man in 100"),
    "tritanopia": ("tritanopia", "Without cones for blue: very rare"),
    "grey": ("in grey", "As a black and white printer or copy shows it"),
}


class _Whats(Declared):
    what: Literal["still", "film", "strip", "timeline"] = setting(
        "still",
        label="What",
        effect="display",
        choices={"still": "Still", "film": "Film", "strip": "Strip", "timeline": "Time line"},
        help="Of the view.",
    )


_WHAT_TIPS: Mapping[str, str] = {
    "still": "The moment that is shown",
    "film": "The film that the view plays",
    "strip": "Several frames of the film side by side",
    "timeline": "A film of the view along the run's keyframes",
}


class FigureForm(SettingsForm):
    """The choices of a figure; a venue sets sizes and leaves colours and fonts as they are."""

    def __init__(self, values: FigureChoices, venue: str, parent: QWidget) -> None:
        super().__init__(
            FigureChoices, values, VENUE_PRESETS, parent=parent, effects=False, preset_word="Venue"
        )
        self.set_preset(venue)

    def sizeHint(self) -> QSize:
        return QSize(296, 400)

    def choices(self) -> FigureChoices:
        """The values in the form."""
        return cast(FigureChoices, self.values())

    def preset_values(self, preset: Preset) -> Declared:
        return at_venue(self.choices(), preset.id)


def at_venue(choices: FigureChoices, venue: str) -> FigureChoices:
    """The same figure in the sizes of a venue."""
    kept = {name: getattr(choices, name) for name in _KEPT}
    return choices_of(venue).in_unit(choices.unit).updated(kept)


class _Line(QFrame):
    """One line with what happens or has happened, and buttons for what can be done about it."""

    def __init__(self, chosen: Callable[[str], None], parent: QWidget) -> None:
        super().__init__(parent)
        self._chosen = chosen
        self.label = QLabel(self)
        self.label.setTextFormat(Qt.TextFormat.PlainText)
        self.label.setWordWrap(True)
        self.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar = QProgressBar(self)
        self.bar.setFixedWidth(140)
        self.buttons: dict[str, QPushButton] = {}
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(12, 6, 8, 6)
        self._layout.setSpacing(8)
        self._layout.addWidget(self.label, 1)
        self._layout.addWidget(self.bar)
        self._group = QButtonGroup(self)
        self._group.idClicked.connect(self._on_group_id_clicked)
        self._ids: list[str] = []
        self.hide()

    def tell(self, kind: str, text: str, actions: Sequence[tuple[str, str]] = ()) -> None:
        """Show a sentence with a button for each action (id, label)."""
        set_style_property(self, "message", kind)
        # The style sheet colours the label by its frame, but looks again only when told.
        self.label.style().unpolish(self.label)
        self.label.style().polish(self.label)
        self.label.setText(text)
        self.bar.hide()
        if [identity for identity, _ in actions] != self._ids:
            for button in self.buttons.values():
                self._group.removeButton(button)
                button.deleteLater()
            self.buttons, self._ids = {}, [identity for identity, _ in actions]
            for number, (identity, words) in enumerate(actions):
                button = QPushButton(words, self)
                self._group.addButton(button, number)
                self._layout.addWidget(button)
                # The line may be in sight already, and Qt would show it only with the next event.
                button.show()
                self.buttons[identity] = button
        self.show()

    def move_on(self, text: str, done: int, total: int) -> None:
        """Show how far something is, with a button that cancels it."""
        self.tell("info", text, [("cancel", "Cancel")])
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.bar.show()

    def text(self) -> str:
        """What the line says; empty while it is hidden."""
        return "" if self.isHidden() else self.label.text()

    @Slot(int)
    def _on_group_id_clicked(self, number: int) -> None:
        self._chosen(self._ids[number])


class ExportDialog(QDialog):
    """Composes a figure for print with a preview at its true size, and has it written.

    Parameters
    ----------
    panel : Panel
        Whose views are exported; it may be trained, reset or left meanwhile.
    window : MainWindow
    """

    def __init__(self, panel: Panel, window: MainWindow) -> None:
        super().__init__(window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Export a figure")
        self.setObjectName("export")
        self.setSizeGripEnabled(True)
        self._panel, self._window = panel, window
        self._jobs, self._preferences = window.jobs, window.preferences
        self._exports = Exports(window.jobs, window.messages)
        self._preview = Preview(window.jobs, f"preview/{id(self)}", self._take_page)
        self._snapshot: Snapshot | None = None
        self._open = True
        self._drawable = False
        self._whats: tuple[What, ...] = ()
        self._formats: dict[str, str] = {}
        """What was chosen last for each kind of thing."""
        self._running = ""
        """The key of the job that the line tells of."""
        self._asked: tuple[list[Order], str, Style] | None = None
        self._shown_in_folder: Path | None = None
        self._fonts_wanted = True
        memory = self._preferences.get("export")
        self._memory = _Memory(memory if isinstance(memory, dict) else {})
        self._what: What = self._memory.what
        self._set_up()
        self._debounce = QTimer(self)
        self._debounce.setSingleShot(True)
        self._debounce.setInterval(DEBOUNCE_MS)
        self._debounce.timeout.connect(self._on_debounce_timeout)
        self.resize(self._memory.size)

    # --- building  ----------

    def _set_up(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 12, 12, 12)
        column.setSpacing(8)
        column.addLayout(self._make_top())
        column.addWidget(self._make_options())
        middle = QHBoxLayout()
        middle.setSpacing(8)
        middle.addLayout(self._make_preview(), 1)
        card = QFrame(self)
        card.setProperty("card", "true")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(0, 0, 0, 4)
        self.form = FigureForm(self._memory.choices, self._memory.venue, card)
        self.form.change_requested.connect(self._on_form_change_requested)
        self.form.preset_chosen.connect(self._on_form_preset_chosen)
        # Enter commits a field here and must not press the nearest button.
        for button in self.form.findChildren(QPushButton):
            button.setAutoDefault(False)
        inside.addWidget(self.form)
        card.setFixedWidth(300)
        middle.addWidget(card)
        column.addLayout(middle, 1)
        self.line = _Line(self._act, self)
        column.addWidget(self.line)
        column.addLayout(self._make_bottom())

    def _make_top(self) -> QHBoxLayout:
        self.figure_box = ChoiceBox(self)
        self.figure_box.setAccessibleName("Figure")
        self.figure_box.setToolTip("Which view")
        self.figure_box.setMinimumWidth(200)
        self.figure_box.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.figure_box.activated.connect(self._on_figure_box_activated)
        self.moment = role_label("muted", parent=self)
        self._what_place = QHBoxLayout()
        self._what_place.setContentsMargins(0, 0, 0, 0)
        self.what_field: SegmentsField | None = None
        self.refresh_button = QPushButton("Refresh", self)
        self.refresh_button.setToolTip("Take the pictures that the panel shows now")
        self.refresh_button.clicked.connect(self._on_refresh_button_clicked)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.figure_box)
        line.addLayout(self._what_place)
        line.addStretch(1)
        line.addWidget(self.moment)
        line.addWidget(self.refresh_button)
        return line

    def _make_options(self) -> QWidget:
        self.options = QWidget(self)
        line = QHBoxLayout(self.options)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(6)
        self._option_labels: list[tuple[QLabel, str]] = []
        self.strip_first = self._spin(line, "strip", "From frame", 1, 1)
        self.strip_last = self._spin(line, "strip", "to frame", 1, 1)
        self.strip_count = self._spin(line, "strip", "number of frames", 1, 12)
        self.time_first = self._spin(line, "timeline", "From step", 0, 0)
        self.time_last = self._spin(line, "timeline", "to step", 0, 0)
        self.time_most = self._spin(line, "timeline", "at most", 2, 2000, " frames")
        self.time_most.setValue(60)
        line.addStretch(1)
        self.options.hide()
        return self.options

    def _spin(
        self, line: QHBoxLayout, what: str, words: str, low: int, high: int, suffix: str = ""
    ) -> QSpinBox:
        box = QSpinBox(self.options)
        box.setRange(low, high)
        box.setSuffix(suffix)
        box.setGroupSeparatorShown(True)
        box.setKeyboardTracking(False)
        box.setAccessibleName(words)
        box.setProperty("what", what)
        box.setMinimumWidth(90)
        box.valueChanged.connect(self._on_option_value_changed)
        label = QLabel(words, self.options)
        label.setBuddy(box)
        label.setProperty("what", what)
        line.addWidget(label)
        line.addWidget(box)
        return box

    def _make_preview(self) -> QVBoxLayout:
        self.page = PagePreview(self)
        self.page.set_zoom(self._memory.zoom)
        self.page.zoom_changed.connect(self._on_page_zoom_changed)
        self.size_label = QLabel(self)
        self.size_label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.size_label.setAccessibleName("Size of the page")
        self.size_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.remark_label = role_label("muted", parent=self)
        self.remark_label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.true_button = QPushButton("True size", self)
        self.true_button.setToolTip("An inch on the page is an inch on the screen (key 1)")
        self.true_button.clicked.connect(self._on_true_button_clicked)
        self.fit_button = QPushButton("Fit", self)
        self.fit_button.setToolTip("The whole page (key 0)")
        self.fit_button.clicked.connect(self._on_fit_button_clicked)
        for button in (self.true_button, self.fit_button):
            button.setProperty("kind", "segment")
            button.setCheckable(True)
            button.setAutoDefault(False)
        self.zoom_label = role_label("muted", parent=self)
        self.zoom_label.setToolTip("Turn the wheel over the page to zoom")
        self.vision_box = ChoiceBox(self)
        self.vision_box.setAccessibleName("Seen by")
        self.vision_box.setToolTip(
            "Shows the preview as people see it who see colours otherwise; files are not changed"
        )
        self.vision_box.setMinimumWidth(180)
        self.vision_box.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        for row, (vision, (words, tip)) in enumerate(_SIGHTS.items()):
            self.vision_box.addItem(words, vision)
            self.vision_box.setItemData(row, tip, Qt.ItemDataRole.ToolTipRole)
        self.vision_box.setCurrentIndex(self.vision_box.findData(self._memory.vision))
        self.vision_box.activated.connect(self._on_vision_box_activated)
        tools = QHBoxLayout()
        tools.setSpacing(6)
        for button in (self.true_button, self.fit_button):
            tools.addWidget(button)
        tools.addWidget(self.zoom_label)
        tools.addStretch(1)
        seen_by = QLabel("Seen by", self)
        seen_by.setBuddy(self.vision_box)
        tools.addWidget(seen_by)
        tools.addWidget(self.vision_box)
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addWidget(self.page, 1)
        column.addWidget(self.size_label)
        column.addWidget(self.remark_label)
        column.addLayout(tools)
        self._show_zoom()
        return column

    def _make_bottom(self) -> QHBoxLayout:
        self.format_box = ChoiceBox(self)
        self.format_box.setAccessibleName("Format")
        self.format_box.setToolTip("Format of the file")
        self.format_box.setMinimumWidth(150)
        self.format_box.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.format_box.activated.connect(self._on_format_box_activated)
        self.fps_box = QSpinBox(self)
        self.fps_box.setRange(1, FASTEST_SHOWN)
        self.fps_box.setValue(self._memory.fps)
        self.fps_box.setSuffix(" per second")
        self.fps_box.setAccessibleName("Frames a second")
        self.fps_box.setToolTip("Frames a second")
        self.close_button = self._button("Close", self._on_close_button_clicked)
        self.runs_button = self._button("", self._on_runs_button_clicked)
        self.all_button = self._button("All figures…", self._on_all_button_clicked)
        self.copy_button = self._button("Copy", self._on_copy_button_clicked)
        self.save_button = self._button("Save…", self._on_save_button_clicked)
        self.save_button.setProperty("kind", "primary")
        self.save_button.setToolTip("Write a file (Ctrl+S)")
        self.save_button.setShortcut("Ctrl+S")
        line = QHBoxLayout()
        line.setSpacing(8)
        label = QLabel("Format", self)
        label.setBuddy(self.format_box)
        line.addWidget(label)
        line.addWidget(self.format_box)
        line.addWidget(self.fps_box)
        line.addStretch(1)
        for button in (
            self.close_button,
            self.runs_button,
            self.all_button,
            self.copy_button,
            self.save_button,
        ):
            line.addWidget(button)
        return line

    def _button(self, text: str, slot: Callable[[], None]) -> QPushButton:
        button = QPushButton(text, self)
        button.clicked.connect(slot)
        return button

    # --- which figure, and what of it  ----------

    def show_figure(self, panel: Panel, snapshot: Snapshot, name: str) -> None:
        """Take a snapshot of a panel in place of the one before, and turn to one of its views."""
        self._panel = panel
        self._take_snapshot(snapshot, name)
        self._turn_to_figure(reset=True)
        self.show()
        self.raise_()
        self.activateWindow()

    def _take_snapshot(self, snapshot: Snapshot, name: str) -> None:
        """Offer the views of a snapshot, and turn to one of that name, or to the first if it has gone."""
        self._snapshot = snapshot
        self.figure_box.clear()
        for view in snapshot.figures:
            self.figure_box.addItem(snapshot.titles[view], view)
        self.figure_box.setCurrentIndex(max(0, self.figure_box.findData(name)))
        self._show_runs()

    @property
    def name(self) -> str:
        """The view that is exported."""
        return str(self.figure_box.currentData())

    @property
    def what(self) -> What:
        """What is made of it."""
        return self._what

    def _turn_to_figure(self, *, reset: bool) -> None:
        """Offer what applies to the view; ``reset`` sets the frames and steps to all that there are."""
        assert self._snapshot is not None
        snapshot, name = self._snapshot, self.name
        self.moment.setText(f"step {snapshot.step(name):,}")
        whats = snapshot.whats(name)
        if whats != self._whats:
            self._whats = whats
            self._make_whats()
        if self._what not in whats:
            self._what = "still"
        figure = snapshot.figures[name]
        frames = len(figure.frames) if isinstance(figure, Film) else 1
        for box in (self.strip_first, self.strip_last):
            _set_quietly(box, 1, frames)
        _set_quietly(self.strip_count, 1, min(12, frames))
        last = snapshot.last_step()
        for box in (self.time_first, self.time_last):
            _set_quietly(box, 0, last)
        if reset:
            _set_quietly(self.strip_first, 1, frames, 1)
            _set_quietly(self.strip_last, 1, frames, frames)
            _set_quietly(self.strip_count, 1, min(12, frames), min(5, frames))
            _set_quietly(self.time_first, 0, last, 0)
            _set_quietly(self.time_last, 0, last, last)
        self._turn_to_what()

    def _make_whats(self) -> None:
        if self.what_field is not None:
            self._what_place.removeWidget(self.what_field)
            self.what_field.hide()
            self.what_field.deleteLater()
        spec = _Whats.spec("what")
        self.what_field = SegmentsField(
            replace(spec, choices=tuple(choice for choice in spec.choices if choice[0] in self._whats)), self
        )
        for segment, what in zip(self.what_field.segments, self._whats, strict=True):
            segment.setToolTip(_WHAT_TIPS[what])
            segment.setAutoDefault(False)
        self.what_field.edited.connect(self._on_what_field_edited)
        self._what_place.addWidget(self.what_field)
        # What comes into a window that is open already would be shown only with the next event.
        self.what_field.show()
        self.setTabOrder(self.figure_box, self.what_field)

    def _turn_to_what(self) -> None:
        assert self.what_field is not None
        self.what_field.set_value(self._what)
        for child in self.options.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            child.setVisible(child.property("what") == self._what)
        self.options.setVisible(self._what in ("strip", "timeline"))
        self._fill_formats()
        self._request(at_once=True)

    def _fill_formats(self) -> None:
        forms = formats_of(self._what)
        wanted = self._formats.get(self._what, self._memory.format)
        self.format_box.clear()
        for form in forms:
            self.format_box.addItem(form.label, form.name)
            if form.name == "mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
                row = self.format_box.count() - 1
                model = self.format_box.model()
                assert isinstance(model, QStandardItemModel)
                model.item(row).setEnabled(False)
                model.item(row).setToolTip("Needs imageio-ffmpeg: install the lab's extra [video]")
                wanted = "" if wanted == "mp4" else wanted
        self.format_box.setCurrentIndex(max(0, self.format_box.findData(wanted)))
        self._show_format()

    def _show_format(self) -> None:
        form = FORMATS[self.format]
        self.fps_box.setVisible(form.kind == "film")
        if form.kind == "film":
            self.fps_box.setMaximum(min(FASTEST_SHOWN, math.floor(FASTEST.get(form.name, FASTEST_SHOWN))))
        batch = FORMATS[self._batch_format()].label
        self.all_button.setToolTip(f"Every figure of this panel, as {batch}")
        self.runs_button.setToolTip(f"This figure of the runs that are selected in the list, as {batch}")
        self._enable()

    @property
    def format(self) -> str:
        """The format that is chosen."""
        return str(self.format_box.currentData())

    def _batch_format(self) -> str:
        return self.format if FORMATS[self.format].kind != "film" else "pdf"

    @Slot(int)
    def _on_figure_box_activated(self, index: int) -> None:
        self._turn_to_figure(reset=True)

    @Slot(object, int)
    def _on_what_field_edited(self, value: What, gesture: int) -> None:
        self._what = value
        self._turn_to_what()

    @Slot(int)
    def _on_format_box_activated(self, index: int) -> None:
        self._formats[self._what] = self.format
        self._show_format()

    @Slot(int)
    def _on_option_value_changed(self, value: int) -> None:
        self._request()

    @Slot()
    def _on_refresh_button_clicked(self) -> None:
        snapshot, name = take(self._panel), self.name
        if not snapshot.figures:
            self.line.tell("info", "The panel shows no picture now: what you see here is kept.")
            return
        before = self._snapshot
        was_whole = before is not None and self.time_last.value() == before.last_step()
        self._take_snapshot(snapshot, name)
        self._turn_to_figure(reset=self.name != name)
        if was_whole:
            self.time_last.setValue(snapshot.last_step())

    def piece(self) -> Piece:
        """What is to be made, as it is chosen now."""
        assert self._snapshot is not None
        snapshot, name = self._snapshot, self.name
        start, end = sorted((self.strip_first.value() - 1, self.strip_last.value() - 1))
        frames = np.unique(np.linspace(start, end, self.strip_count.value()).round().astype(int))
        low, high = sorted((self.time_first.value(), self.time_last.value()))
        piece = snapshot.still(name)
        if self._what == "strip":
            return replace(piece, what="strip", frames=tuple(int(frame) for frame in frames))
        if self._what == "timeline":
            return replace(
                piece,
                what="timeline",
                folder=snapshot.folder,
                first=low,
                last=high,
                most=self.time_most.value(),
            )
        return replace(piece, what=self._what)

    # --- how it looks  ----------

    @Slot(str, object, str)
    def _on_form_change_requested(self, name: str, value: object, effect: str) -> None:
        if name == "unit":
            self._convert(cast(Unit, value))
        self._request()

    def _convert(self, unit: Unit) -> None:
        """Write the lengths in another unit."""
        choices = self.form.choices()
        old = choices.updated({"unit": "in" if unit == "mm" else "mm"})
        new = old.in_unit(unit)
        venue = self.form.preset()
        if venue is not None:
            # What a venue asks for stays so to the last digit, however often the unit is changed.
            own = at_venue(old, venue.id)
            there = at_venue(new, venue.id)
            lengths = [
                length for length in ("width", "height") if getattr(old, length) == getattr(own, length)
            ]
            new = new.updated({length: getattr(there, length) for length in lengths})
        self.form.set_values(new)

    @Slot(object)
    def _on_form_preset_chosen(self, preset: Preset) -> None:
        self.form.set_values(at_venue(self.form.choices(), preset.id))
        self._request()

    def _offer_fonts(self) -> None:
        """Complete what is typed as a font, once somebody has looked which ones there are."""
        self._fonts_wanted = False

        def done(future: Future[list[str]]) -> None:
            if self._open and future.exception() is None:
                self._take_fonts(future.result())

        def work(job: Job) -> list[str]:
            return font_families()

        self._jobs.start("fonts", work, done)

    def _take_fonts(self, families: list[str]) -> None:
        line = self.form.row("font").field.line_edit()
        assert line is not None
        completer = QCompleter(families, line)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.activated.connect(self._on_completer_activated)
        line.setCompleter(completer)

    @Slot(str)
    def _on_completer_activated(self, family: str) -> None:
        self.form.change({"font": family})

    # --- the preview  ----------

    def _request(self, *, at_once: bool = False) -> None:
        """Have the page drawn, when nothing has changed for a moment."""
        if not self._open or self._snapshot is None:
            return
        self.page.set_waiting(True)
        if at_once:
            self._debounce.stop()
            self._draw()
        else:
            self._debounce.start()

    @Slot()
    def _on_debounce_timeout(self) -> None:
        self._draw()

    def _draw(self) -> None:
        choices = self.form.choices()
        fine = max(1.0, min(self.page.zoom, FINEST))
        dots = self.page.pixels_per_inch * self.page.devicePixelRatioF() * fine
        self._preview.request(Sight(self.piece(), choices, round(dots, 1), self.vision))

    @property
    def vision(self) -> Vision:
        """By whom the preview is seen."""
        return cast(Vision, self.vision_box.currentData())

    def is_drawn(self) -> bool:
        """Whether the preview shows what is chosen, or says why it cannot."""
        return self._preview.is_idle and not self._debounce.isActive()

    def _take_page(self, page: Page | InputError) -> None:
        if not self._open:
            return
        if isinstance(page, InputError):
            self.page.show_sentence(str(page))
            self.size_label.clear()
            self._remark("")
        else:
            self.page.set_page(page.pixels, page.width, page.height)
            self.size_label.setText(self._size_text(page))
            self._remark(page.remark)
        self._drawable = not isinstance(page, InputError)
        self._enable()
        if self._fonts_wanted:
            # After the first drawing, which loads what both need.
            self._offer_fonts()

    def _remark(self, text: str) -> None:
        self.remark_label.setText(text)
        self.remark_label.setToolTip(text)
        self.remark_label.setVisible(bool(text))

    def _size_text(self, page: Page) -> str:
        width, height = page.width, page.height
        dpi = self.form.choices().dpi
        columns, rows = (round(length * dpi) for length in (width, height))
        # Halves go up, as they do on paper: 3.25 in are 82.55 mm.
        across, down = (length * MM_PER_INCH + 1e-6 for length in (width, height))
        return f"{across:.1f} × {down:.1f} mm ({width:.2f} × {height:.2f} in), {columns} × {rows} pixels"

    @Slot(int)
    def _on_vision_box_activated(self, index: int) -> None:
        self._request(at_once=True)

    @Slot(float)
    def _on_page_zoom_changed(self, zoom: float) -> None:
        self._show_zoom()
        if zoom > 1.0:
            self._request()

    @Slot()
    def _on_true_button_clicked(self) -> None:
        self.page.set_zoom("true")
        self._show_zoom()

    @Slot()
    def _on_fit_button_clicked(self) -> None:
        self.page.set_zoom("fit")
        self._show_zoom()

    def _show_zoom(self) -> None:
        self.true_button.setChecked(self.page.mode == "true")
        self.fit_button.setChecked(self.page.mode == "fit")
        self.zoom_label.setText(f"{100 * self.page.zoom:.0f} %")

    # --- writing  ----------

    def _enable(self) -> None:
        single = self._what in ("still", "strip")
        self.save_button.setEnabled(self._drawable)
        self.copy_button.setEnabled(self._drawable and single)
        self.copy_button.setToolTip(
            "Put it on the clipboard as PNG, SVG and PDF"
            if single
            else "Films cannot be copied: save it, or choose Still"
        )
        self.all_button.setEnabled(self._drawable)
        self.runs_button.setEnabled(self._drawable)

    def _style(self) -> Style | None:
        """What is chosen, as the drawing takes it; what is wrong with it is told."""
        try:
            return self.form.choices().style()
        except InputError as error:
            self.line.tell("error", str(error))
            return None

    def _folder(self) -> Path:
        folder = Path(self._preferences.get("export_folder") or Path.home())
        return folder if folder.is_dir() else Path.home()

    def _ask(self, title: str, mode: QFileDialog.FileMode, slot: Callable[[str], None]) -> QFileDialog:
        """A file dialog that holds nothing up; whoever gets it says the rest and opens it."""
        dialog = QFileDialog(self, title, str(self._folder()))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setFileMode(mode)
        dialog.fileSelected.connect(slot)
        return dialog

    @Slot()
    def _on_save_button_clicked(self) -> None:
        assert self._snapshot is not None
        form = FORMATS[self.format]
        dialog = self._ask("Save the figure", QFileDialog.FileMode.AnyFile, self._on_file_selected)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilter(f"{form.label} ({' '.join(f'*{suffix}' for suffix in form.suffixes)})")
        dialog.setDefaultSuffix(form.suffixes[0].lstrip("."))
        dialog.selectFile(self._snapshot.file_name(self.name, form.suffixes[0]))
        dialog.open()

    @Slot(str)
    def _on_file_selected(self, path: str) -> None:
        self.save_to(Path(path))

    def save_to(self, path: Path) -> None:
        """Write what is chosen to a file, which was agreed to be replaced if it is there.

        An ending of another format that suits is taken at its word.
        """
        style, piece = self._style(), self.piece()
        if style is None:
            return
        format = self.format
        if path.suffix.lower() not in FORMATS[format].suffixes:
            format = next((f.name for f in piece.formats() if path.suffix.lower() in f.suffixes), format)
        self._preferences.set("export_folder", str(path.parent))
        self._remember()
        self._exports.write(
            piece, path, format, style, fps=self.fps_box.value(), told=self._take_outcome, moved=self._move_on
        )

    @Slot()
    def _on_copy_button_clicked(self) -> None:
        style, piece = self._style(), self.piece()
        if style is None:
            return
        self.copy_button.setEnabled(False)

        def work(job: Job) -> dict[str, bytes]:
            return {name: piece.to_bytes(name, style) for name in ("png", "svg", "pdf")}

        def done(future: Future[dict[str, bytes]]) -> None:
            if self._open:
                self._enable()
            error = future.exception()
            if error is None:
                _put_on_clipboard(future.result())
                self._take_outcome(Outcome("info", "Copied as PNG, SVG and PDF."))
            elif isinstance(error, InputError):
                self._take_outcome(Outcome("error", str(error)))
            else:
                raise error

        self._jobs.start("export/clipboard", work, done)

    @Slot()
    def _on_all_button_clicked(self) -> None:
        self.ask_folder()

    def ask_folder(self) -> None:
        """Ask for a folder and write every figure of the panel into it."""
        dialog = self._ask(
            "Folder for all figures", QFileDialog.FileMode.Directory, self._on_all_folder_selected
        )
        dialog.open()

    @Slot(str)
    def _on_all_folder_selected(self, folder: str) -> None:
        self.save_all_to(Path(folder))

    def save_all_to(self, folder: Path) -> None:
        """Write every figure that has a picture into a folder; about files that exist it is asked first."""
        assert self._snapshot is not None
        snapshot, suffix = self._snapshot, FORMATS[self._batch_format()].suffixes[0]
        makers = {name: partial(snapshot.still, name) for name in snapshot.figures}
        if snapshot.folder is not None:
            # Nobody has looked at these yet, but the run has kept them.
            makers |= {
                name: partial(of_run, snapshot.folder, name, step) for name, step in snapshot.kept.items()
            }
        self._write_all(
            [
                Order(folder / snapshot.file_name(name, suffix), snapshot.titles[name], make)
                for name, make in makers.items()
            ]
        )

    def _show_runs(self) -> None:
        count = len(self._selected_runs())
        self.runs_button.setVisible(count > 0)
        self.runs_button.setText(f"This figure of {count} runs…" if count > 1 else "This figure of 1 run…")

    def _selected_runs(self) -> list[Path]:
        page = self._panel.runs_page
        return page.selected() if page is not None else []

    @Slot()
    def _on_runs_button_clicked(self) -> None:
        dialog = self._ask(
            "Folder for the figures", QFileDialog.FileMode.Directory, self._on_runs_folder_selected
        )
        dialog.open()

    @Slot(str)
    def _on_runs_folder_selected(self, folder: str) -> None:
        self.save_runs_to(Path(folder))

    def save_runs_to(self, folder: Path) -> None:
        """Write this figure of every run that is selected into a folder."""
        assert self._snapshot is not None
        suffix, name = FORMATS[self._batch_format()].suffixes[0], self.name
        runs = self._selected_runs()
        self._write_all(
            [
                Order(
                    folder / f"{self._snapshot.paper}-{name}-{run.name}{suffix}",
                    run.name,
                    partial(of_run, run, name),
                )
                for run in runs
            ]
        )

    def _write_all(self, orders: list[Order]) -> None:
        style = self._style()
        if style is None or not orders:
            return
        self._preferences.set("export_folder", str(orders[0].path.parent))
        self._remember()
        existing = sum(order.path.exists() for order in orders)
        self._asked = (orders, self._batch_format(), style)
        if not existing:
            self._answer(replace_files=False)
            return
        files = f"{existing} of {len(orders)} files exist" if len(orders) > 1 else "The file exists"
        self.line.tell(
            "warning",
            f"{files} in {orders[0].path.parent}.",
            [("replace", "Replace"), ("skip", "Skip"), ("leave", "Cancel")],
        )

    def _answer(self, *, replace_files: bool) -> None:
        """Write what was asked about; without replacing, those that exist are left out."""
        if self._asked is None:
            return
        orders, format, style = self._asked
        self._asked = None
        if not replace_files:
            orders = [order for order in orders if not order.path.exists()]
        if not orders:
            self.line.tell("info", "Nothing was written: all the files exist.")
            return
        self._exports.write_all(
            orders,
            format,
            style,
            replace_files=replace_files,
            told=self._take_outcome,
            moved=self._move_on,
        )

    def _act(self, action: str) -> None:
        """Do what a button of the line says."""
        if action == "cancel":
            self._exports.cancel(self._running)
            self.line.tell("info", "Cancelling …")
        elif action == "show" and self._shown_in_folder is not None:
            place = self._shown_in_folder
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(place if place.is_dir() else place.parent)))
        elif action in ("replace", "skip"):
            self._answer(replace_files=action == "replace")
        elif action == "leave":
            self._asked = None
            self.line.hide()

    def _take_outcome(self, outcome: Outcome) -> None:
        if not self._open:
            return
        self._shown_in_folder = outcome.path
        actions = [("show", "Show in folder")] if outcome.path is not None else []
        self.line.tell(outcome.kind, outcome.sentence, actions)

    def _move_on(self, key: str, sentence: str, done: int, total: int) -> None:
        if not total:
            self._running = key
        # The line tells of the newest job; the window's messages tell of all.
        if self._open and self._asked is None and key == self._running:
            self.line.move_on(sentence, done, total)

    # --- the end  ----------

    def _remember(self) -> None:
        preset = self.form.preset()
        mode = self.page.mode
        self._preferences.set(
            "export",
            {
                "venue": preset.id if preset is not None else "",
                "values": self.form.choices().model_dump(mode="json"),
                "format": self.format,
                "what": self._what,
                "fps": self.fps_box.value(),
                "size": [self.width(), self.height()],
                "zoom": mode,
                "vision": self.vision,
            },
        )

    @Slot()
    def _on_close_button_clicked(self) -> None:
        self.close()

    def done(self, result: int) -> None:
        if self._open:
            self._remember()
            self._open = False
            self._debounce.stop()
            self._preview.forget()
        super().done(result)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        # Enter commits what is typed; a dialog would press a button as well.
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.WindowActivate and self._snapshot is not None and self._open:
            # Others may have been selected meanwhile.
            self._show_runs()
        return super().event(event)


class _Memory:
    """What is remembered of the last time; what is no good is as if there had been none."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        venues = [preset.id for preset in VENUE_PRESETS]
        self.venue: str = _one_of(entry.get("venue"), venues, "neurips")
        values = entry.get("values")
        try:
            self.choices = FigureChoices.build(values) if isinstance(values, dict) else choices_of(self.venue)
        except (InputError, TypeError):
            self.choices = choices_of(self.venue)
        self.format: str = _one_of(entry.get("format"), FORMATS, "pdf")
        self.what: What = _one_of(entry.get("what"), get_args(What), "still")
        self.vision: Vision = _one_of(entry.get("vision"), get_args(Vision), "normal")
        fps = entry.get("fps")
        self.fps = fps if type(fps) is int and 1 <= fps <= FASTEST_SHOWN else 12
        self.zoom: Zoom = _one_of(entry.get("zoom"), ("true", "fit"), "true")
        zoom = entry.get("zoom")
        if type(zoom) in (int, float) and SMALLEST <= cast(float, zoom) <= LARGEST:
            self.zoom = cast(float, zoom)
        size = entry.get("size")
        fits = isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)
        fits = fits and all(SMALLEST_SIZE <= side <= LARGEST_SIZE for side in cast(list[int], size))
        room = QGuiApplication.primaryScreen().availableSize()
        self.size = (QSize(*cast(list[int], size)) if fits else SIZE).boundedTo(room.expandedTo(SIZE))


def _one_of(value: object, choices: Any, otherwise: Any) -> Any:
    return value if isinstance(value, str) and value in choices else otherwise


def _set_quietly(box: QSpinBox, low: int, high: int, value: int | None = None) -> None:
    box.blockSignals(True)
    box.setRange(low, high)
    if value is not None:
        box.setValue(value)
    box.blockSignals(False)


def _put_on_clipboard(contents: Mapping[str, bytes]) -> None:
    data = QMimeData()
    data.setImageData(QImage.fromData(contents["png"]))
    for kind, name in (("image/png", "png"), ("image/svg+xml", "svg"), ("application/pdf", "pdf")):
        data.setData(kind, contents[name])
    QGuiApplication.clipboard().setMimeData(data)


__all__ = ["ExportDialog", "FigureForm", "at_venue"]
