"""The runs of a paper: the list, their curves over each other, any view of two of them side by side; GUI thread.

What takes time (reading folders, zipping) happens in the window's jobs; what comes of it is shown when it comes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QFile, Qt, QUrl, Signal, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from engines.errors import InputError, RunError
from engines.figures import CurveSpec, Figure, Film, Panels, at
from lab.panels.active_run import COLORS
from lab.runs.aggregate import Band, band, group_by_setting, one_per_seed
from lab.runs.folder import Keyframe, RunFolder, clock_of
from lab.runs.history import ScalarHistory
from lab.runs.lock import is_held
from lab.runs.reader import FrameReader
from lab.runs.shelf import Label, Shelf, ShelfRow, family, read_label, write_label
from lab.setup import Setup
from widgets.curve_view import CurveView
from widgets.curves import OtherRun, SeedBand, Series, over
from widgets.fields import ChoiceBox
from widgets.figure_view import FigureView
from widgets.run_table import RunTable, TableRun
from widgets.settings_difference import SettingsDifference
from widgets.settings_form import value_text
from widgets.time_slider import JumpSlider

if TYPE_CHECKING:
    from lab.panels.panel import Panel

REFRESH_EVERY = 2.0
"""Seconds between two looks at the folder of runs while the page is in sight."""

MOST_CURVES = 24
"""Runs whose curves are drawn over each other at most: more cannot be told apart."""

MOST_BANDS = 64
"""Bands that are remembered."""

NARROW_HEIGHT = 420
"""Pixels below which two pictures find no room above each other."""

LIVE_EVERY = 0.2
"""Seconds between pictures of a run that trains, beside another."""


class RunsPage(QWidget):
    """The page of a panel's runs.

    Parameters
    ----------
    panel : Panel
        Its method is built.
    parent : QWidget, optional

    Signals
    -------
    opened()
        A run was opened: its pictures are to come into sight.
    """

    opened = Signal()

    def __init__(self, panel: Panel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        assert panel.method is not None
        self._panel = panel
        self._method = panel.method
        self._shelf = Shelf(panel.services.runs_folder)
        self._rows: dict[str, ShelfRow] = {}
        self._curves: dict[str, tuple[int, dict[str, Series]]] = {}
        self._selected: list[str] = []
        self._refreshed = 0.0
        self._waiting: set[str] = set()
        self._bands: dict[tuple[object, ...], Band | None] = {}
        self._stale = False
        """Whether something came that is not drawn yet."""
        self._closed = False
        self._set_up()

    # --- building  ----------

    def _set_up(self) -> None:
        self.table = RunTable(self)
        self.table.set_headline(self._method.headline_label)
        self.table.shown_toggled.connect(self._on_table_shown_toggled)
        self.table.rename_requested.connect(self._on_table_rename_requested)
        self.table.note_requested.connect(self._on_table_note_requested)
        self.table.color_chosen.connect(self._on_table_color_chosen)
        self.table.selection_changed.connect(self._on_table_selection_changed)
        self.table.open_requested.connect(self._on_table_open_requested)
        self.table.action_requested.connect(self._on_table_action_requested)

        self.tabs = QTabBar(self)
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(False)
        self.tabs.addTab("Curves")
        self.tabs.addTab("Side by side")
        self.tabs.currentChanged.connect(self._on_tabs_current_changed)
        self.view_box = ChoiceBox(self)
        self.view_box.setAccessibleName("View")
        self.view_box.activated.connect(self._on_view_box_activated)
        self.band_box = QCheckBox("Seeds as one band", self)
        self.band_box.setToolTip(
            "Runs that differ in the seed alone become one band with a bootstrap interval"
        )
        self.band_box.toggled.connect(self._on_band_box_toggled)
        self.how_box = ChoiceBox(self)
        self.how_box.setAccessibleName("What the band's line is")
        self.how_box.addItem("IQM", "iqm")
        self.how_box.addItem("Mean", "mean")
        self.how_box.activated.connect(self._on_view_box_activated)
        self.how_box.hide()

        bar = QHBoxLayout()
        bar.setContentsMargins(12, 4, 12, 0)
        bar.setSpacing(8)
        bar.addWidget(self.tabs)
        bar.addStretch(1)
        bar.addWidget(self.band_box)
        bar.addWidget(self.how_box)
        bar.addWidget(self.view_box)

        card = QFrame(self)
        card.setProperty("card", "true")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(8, 8, 8, 8)
        self.stack = QStackedWidget(card)
        inside.addWidget(self.stack)
        self.hint = QLabel("", self.stack)
        self.hint.setProperty("role", "muted")
        self.hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.hint.setWordWrap(True)
        self.stack.addWidget(self.hint)
        self.curve_views = {
            spec.name: CurveView(spec) for spec in self._method.views if isinstance(spec, CurveSpec)
        }
        for view in self.curve_views.values():
            self.stack.addWidget(view)
        self.comparison = _Comparison(self._panel, self.stack)
        self.stack.addWidget(self.comparison)

        lower = QWidget(self)
        column = QVBoxLayout(lower)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(bar)
        column.addWidget(card, 1)
        self.splitter = QSplitter(Qt.Orientation.Vertical, self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(self.table)
        self.splitter.addWidget(lower)
        self.splitter.setSizes([400, 400])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 8, 12, 8)
        layout.addWidget(self.splitter)
        self._fill_views()

    def _fill_views(self) -> None:
        curves = self.tabs.currentIndex() == 0
        self.view_box.clear()
        for spec in self._method.views:
            if isinstance(spec, CurveSpec) == curves:
                self.view_box.addItem(spec.title, spec.name)
        self.band_box.setVisible(curves)
        self.how_box.setVisible(curves and self.band_box.isChecked())

    # --- the list  ----------

    def rows(self) -> Mapping[str, ShelfRow]:
        """The runs in the list, by their folder."""
        return self._rows

    def selected(self) -> list[Path]:
        """Folders of the runs that are selected."""
        return [Path(key) for key in self._selected if key in self._rows]

    def refresh(self) -> None:
        """Look at the folder of runs again, in the background."""
        self._refreshed = time.monotonic()
        paper = self._panel.paper.id
        self._work(f"shelf/{paper}", lambda job: family(self._shelf.rows(paper)), self._take_rows)

    def _work(
        self, key: str, work: Callable[[Any], Any], done: Callable[[Any], None], *, tell: bool = True
    ) -> None:
        """Do something in the background once; an error of the person's is told."""
        jobs = self._panel.services.jobs
        if key in self._waiting:
            return
        self._waiting.add(key)

        def finished(future: Future[Any]) -> None:
            self._waiting.discard(key)
            if self._closed:
                return
            error = future.exception()
            if error is None:
                done(future.result())
            elif isinstance(error, InputError):
                if tell:
                    self._panel.post("error", str(error), key="runs")
            else:
                raise error

        jobs.start(key, work, finished)

    def _take_rows(self, rows: Sequence[tuple[ShelfRow, int]]) -> None:
        self._rows = {str(row.path): row for row, _ in rows}
        names = {row.id: row.name for row, _ in rows}
        self.table.set_rows([self._table_run(row, depth, names) for row, depth in rows])
        self._draw()

    def _table_run(self, row: ShelfRow, depth: int, names: Mapping[str, str]) -> TableRun:
        relation = ""
        if row.parent:
            relation = f"from step {row.parent_step:,} of {names.get(row.parent, row.parent)}"
        return TableRun(
            key=str(row.path),
            name=row.name,
            role=self._role(row),
            shown=row.label.shown,
            state=row.state,
            differing=self._differing_text(row.differing),
            best=row.best,
            best_text="" if row.best is None else f"{row.best:.4g}",
            step=row.step,
            total=row.total,
            seconds=row.seconds,
            created=row.created,
            seed=row.seed,
            depth=depth,
            note=row.label.note,
            relation_text=relation,
            problem=row.problem,
        )

    def _differing_text(self, differing: Mapping[str, Any]) -> str:
        parts = []
        for name, value in differing.items():
            if name in self._method.config.model_fields:
                spec = self._method.config.spec(name)
                parts.append(f"{spec.label.lower()} {value_text(spec, value)}")
        return ", ".join(parts)

    def _role(self, row: ShelfRow) -> str:
        """A run's colour: what the person chose, else what it has in the panel, else its own."""
        active = next((run for run in self._panel.runs if run.folder == row.path), None)
        if active is None:
            return role_of(row)
        if row.label.color is not None:
            active.role = role_of(row)
        return active.role

    def _legend(self, row: ShelfRow) -> str:
        return short_name(row, self._differing_text(row.differing))

    def tick(self) -> None:
        """Keep up with the runs while the page is in sight; called by the window's timer."""
        if time.monotonic() - self._refreshed > REFRESH_EVERY:
            self.refresh()
        if self._stale:
            # Once for all that came since the last tick.
            self._stale = False
            self._draw()
        if self.tabs.currentIndex() == 1:
            self.comparison.tick()

    # --- what the person does to them  ----------

    def _label(self, key: str, **changes: Any) -> None:
        path = Path(key)
        label = read_label(path)
        fields = {name: getattr(label, name) for name in ("name", "note", "color", "shown")}
        try:
            write_label(path, Label(**{**fields, **changes}))
        except RunError as error:
            self._panel.post("error", str(error), key="runs")
        self.refresh()

    @Slot(str, bool)
    def _on_table_shown_toggled(self, key: str, shown: bool) -> None:
        self._label(key, shown=shown)

    @Slot(str, str)
    def _on_table_rename_requested(self, key: str, name: str) -> None:
        self._label(key, name=name.strip())

    @Slot(str, str)
    def _on_table_note_requested(self, key: str, note: str) -> None:
        self._label(key, note=note)

    @Slot(str, int)
    def _on_table_color_chosen(self, key: str, color: int) -> None:
        self._label(key, color=color)

    @Slot(list)
    def _on_table_selection_changed(self, keys: list[str]) -> None:
        self._selected = list(keys)
        self._draw()

    @Slot(str)
    def _on_table_open_requested(self, key: str) -> None:
        self._open(key)

    @Slot(str, list)
    def _on_table_action_requested(self, action: str, keys: list[str]) -> None:
        if action == "open-zip":
            self.open_zip()
        elif action == "compare":
            self._selected = list(keys)
            self.tabs.setCurrentIndex(1)
            self._draw()
        elif action == "delete":
            self.delete(keys)
        elif action == "zip":
            for key in keys:
                self._zip(key)
        elif keys:
            key = keys[0]
            {
                "open": self._open,
                "continue": self._continue,
                "duplicate": self._duplicate,
                "copy-setup": self._copy_setup,
                "folder": self._show_folder,
            }[action](key)

    def _open(self, key: str) -> None:
        try:
            self._panel.show_run(Path(key))
        except InputError as error:
            self._panel.post("error", str(error), key="runs")
            return
        self.opened.emit()

    def _continue(self, key: str) -> None:
        self._open(key)
        run = self._panel.run
        if run is None or str(run.folder) != key:
            return
        if run.viewing is not None:
            self._panel.begin(resume=run.viewing)
        else:
            self._panel.play()

    def _duplicate(self, key: str) -> None:
        row = self._rows.get(key)
        if row is None or self._panel.form is None:
            return
        try:
            config = self._method.config.build(row.values)
            self._panel.form.change(config.model_dump(), f"Settings of {row.name}")
        except InputError as error:
            self._panel.post("error", str(error), key="runs")
            return
        self._panel.post(
            "info",
            f"The form has the settings of {row.name} now: press Reset to train with them.",
            key="runs",
        )

    def _copy_setup(self, key: str) -> None:
        try:
            text = Setup.of_run(RunFolder(key)).to_text()
        except InputError as error:
            self._panel.post("error", str(error), key="runs")
            return
        QGuiApplication.clipboard().setText(text)
        self._panel.post("info", f"Copied {text}", key="runs")

    def _show_folder(self, key: str) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(key))

    def _zip(self, key: str) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Zip the run to share it", str(Path.home() / f"{Path(key).name}.zip"), "Zip archive (*.zip)"
        )
        if path:
            self.zip_to(key, Path(path))

    def zip_to(self, key: str, target: Path) -> None:
        """Write a run as a zip archive, in the background."""
        from lab.runs.archive import zip_run

        def done(result: Any) -> None:
            self._panel.post("info", f"Saved {target}", key="runs")

        self._work(f"zip/{target}", lambda job: zip_run(Path(key), target, overwrite=True), done)

    def open_zip(self) -> None:
        """Ask for a zip archive of a run and open it."""
        path, _ = QFileDialog.getOpenFileName(
            self, "Open a zipped run", str(Path.home()), "Zip archive (*.zip)"
        )
        if path:
            self.take_zip(Path(path))

    def take_zip(self, archive: Path) -> None:
        """Unpack a zipped run into the folder of runs, in the background, and open it."""
        from lab.runs.archive import unzip_run

        folder = self._panel.services.runs_folder

        def done(path: Path) -> None:
            self.refresh()
            self._panel.post("info", f"{archive.name} is among the runs now.", key="runs")
            if RunFolder(path).info.paper == self._panel.paper.id:
                self._open(str(path))

        self._work(f"unzip/{archive}", lambda job: unzip_run(archive, folder), done)

    def delete(self, keys: Sequence[str]) -> None:
        """Move runs to the desktop's bin, or where there is none to the lab's own."""
        panel = self._panel
        for key in keys:
            if any(str(run.folder) == key for run in panel.runs):
                panel.post(
                    "warning", "The run in sight cannot be deleted: close or reset it first.", key="runs"
                )
                continue
            try:
                # The shelf refuses runs that are written elsewhere, and the desktop would not.
                if is_held(key) or not QFile.moveToTrash(key):
                    self._shelf.delete(Path(key))
            except InputError as error:
                panel.post("error", str(error), key="runs")
        self.refresh()

    # --- curves and views  ----------

    @Slot(int)
    def _on_tabs_current_changed(self, index: int) -> None:
        if index == 1:
            # Pictures need more room than curves.
            whole = sum(self.splitter.sizes())
            self.splitter.setSizes([whole * 3 // 10, whole * 7 // 10])
        self._fill_views()
        self._draw()

    @Slot(int)
    def _on_view_box_activated(self, index: int) -> None:
        self._draw()

    @Slot(bool)
    def _on_band_box_toggled(self, checked: bool) -> None:
        self.how_box.setVisible(checked)
        self._draw()

    def _chosen_rows(self) -> list[ShelfRow]:
        """The runs whose curves are wanted: those selected, else those with an open eye, else the newest."""
        rows = [row for row in self._rows.values() if not row.problem]
        chosen = [row for row in rows if str(row.path) in self._selected]
        if len(chosen) < 2:
            shown = [row for row in rows if row.label.shown]
            chosen = shown if shown else chosen or rows[:1]
        return chosen[:MOST_CURVES]

    def overlays(self) -> list[OtherRun]:
        """Curves of the runs with an open eye, for the panel's own views; those in sight there are left out."""
        active = {str(run.folder) for run in self._panel.runs}
        return [
            OtherRun(self._legend(row), self._role(row), self._curves[key][1])
            for key, row in self._rows.items()
            if row.label.shown and key not in active and key in self._curves
        ][:MOST_CURVES]

    def _draw(self) -> None:
        wanted = {str(row.path): row for row in self._chosen_rows()}
        wanted |= {key: row for key, row in self._rows.items() if row.label.shown and not row.problem}
        for key, row in itertools.islice(wanted.items(), 2 * MOST_CURVES):
            if key not in self._curves or self._curves[key][0] != row.step:
                self._read_curves(key, row.step)
        if self.tabs.currentIndex() == 1:
            self._draw_comparison()
        else:
            self._draw_curves()
        self._panel.set_overlays(self.overlays())

    def _read_curves(self, key: str, step: int) -> None:
        def read(job: Any) -> dict[str, Series]:
            metrics = RunFolder(key).metrics()
            return dict(ScalarHistory.of(metrics.steps, metrics.columns).series_arrays())

        def done(series: dict[str, Series]) -> None:
            self._curves[key] = (step, series)
            self._stale = True

        self._work(f"curves/{key}", read, done, tell=False)

    def _draw_curves(self) -> None:
        name = self.view_box.currentData()
        rows = [row for row in self._chosen_rows() if str(row.path) in self._curves]
        if not rows or name not in self.curve_views:
            self.hint.setText("Open the eye of some runs, or select them, to see their curves here.")
            self.stack.setCurrentWidget(self.hint)
            return
        view = self.curve_views[name]
        scalar = view.spec.series[-1][0]
        bands: list[SeedBand] = []
        if self.band_box.isChecked():
            for index, group in enumerate(group_by_setting(rows)):
                made = self._band_of(group, scalar, view.spec.x_scalar)
                if made is None:
                    continue
                text = self._differing_text(group[0].differing)
                label = f"{text}: {made.label()}" if text else made.label()
                bands.append(
                    SeedBand(
                        label, f"category-{index % 8}", scalar, made.steps, made.center, made.low, made.high
                    )
                )
                rows = [row for row in rows if row not in group]
        view.set_bands(bands)
        view.set_others(
            [OtherRun(self._legend(row), self._role(row), self._curves[str(row.path)][1]) for row in rows]
        )
        view.update_series({})
        self.stack.setCurrentWidget(view)

    def _band_of(self, group: Sequence[ShelfRow], scalar: str, x: str) -> Band | None:
        """The band of runs that differ in the seed alone, over steps or the scalar ``x``.

        None while it is computed, and where there is none.
        """
        how = self.how_box.currentData()
        read = [self._curves[str(row.path)] for row in one_per_seed(group)]
        lines = [(over(series, x) if x else series).get(scalar) for _, series in read]
        curves = [(line[0], line[1]) for line in lines if line is not None and len(line[0])]
        if len(curves) < 2:
            return None
        key = (how, scalar, x, *((str(row.path), self._curves[str(row.path)][0]) for row in group))
        if key not in self._bands:

            def compute(job: Any) -> Band | None:
                try:
                    return band(curves, how=how)
                except InputError:
                    # They have no step in common yet.
                    return None

            def done(made: Band | None) -> None:
                while len(self._bands) >= MOST_BANDS:
                    self._bands.pop(next(iter(self._bands)))
                self._bands[key] = made
                self._stale = True

            self._work(f"band/{key}", compute, done)
        return self._bands.get(key)

    def _draw_comparison(self) -> None:
        rows = [self._rows[key] for key in self._selected if key in self._rows][:2]
        if len(rows) < 2:
            self.hint.setText("Select two runs in the list to see any view of them side by side.")
            self.stack.setCurrentWidget(self.hint)
            return
        self.comparison.compare(rows[0], rows[1], self.view_box.currentData() or "")
        self.stack.setCurrentWidget(self.comparison)

    def close_readers(self) -> None:
        """End the threads that read pictures; what is still under way in the background is not shown any more."""
        self._closed = True
        self.comparison.close_readers()


class _Comparison(QWidget):
    """One view of two runs at one moment, and the settings in which they differ."""

    def __init__(self, panel: Panel, parent: QWidget) -> None:
        super().__init__(parent)
        self._panel = panel
        self._rows: tuple[ShelfRow, ShelfRow] | None = None
        self._name = ""
        self._readers: list[FrameReader] = []
        self._keyframes: list[list[Keyframe]] = [[], []]
        self._asked: list[object] = [None, None]
        self._live_at = 0.0
        self.titles = [QLabel(self), QLabel(self)]
        self.views = [FigureView(self), FigureView(self)]
        self.difference = SettingsDifference(self)
        self.slider = JumpSlider(Qt.Orientation.Horizontal, self)
        self.slider.setAccessibleName("Step of both runs")
        self.slider.valueChanged.connect(self._on_slider_value_changed)
        self.step_label = QLabel(self)
        self.step_label.setProperty("role", "number")
        self._pictures = pictures = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        pictures.setSpacing(8)
        for title, view in zip(self.titles, self.views, strict=True):
            title.setProperty("role", "heading")
            title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            column = QVBoxLayout()
            column.addWidget(title)
            column.addWidget(view, 1)
            pictures.addLayout(column, 1)
        moment = QHBoxLayout()
        moment.setContentsMargins(8, 0, 8, 0)
        moment.addWidget(self.slider, 1)
        moment.addWidget(self.step_label)
        left = QWidget(self)
        column = QVBoxLayout(left)
        column.setContentsMargins(8, 4, 8, 4)
        column.addLayout(pictures, 1)
        column.addLayout(moment)
        splitter = QSplitter(Qt.Orientation.Horizontal, self)
        splitter.addWidget(left)
        splitter.addWidget(self.difference)
        splitter.setStretchFactor(0, 1)
        splitter.setSizes([640, 280])
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)

    def compare(self, first: ShelfRow, second: ShelfRow, name: str) -> None:
        """Show a view of two runs, at their ends at first."""
        same = self._rows is not None and [r.path for r in self._rows] == [first.path, second.path]
        at_end = not same or self.slider.value() == self.slider.maximum()
        self._rows, self._name = (first, second), name
        if not self._readers:
            self._readers = [FrameReader(), FrameReader()]
        self._keyframes = [self._read_keyframes(row) for row in self._rows]
        config = self._panel.method.config if self._panel.method is not None else None
        if config is not None:
            values = (first.values, second.values)
            names = [n for n in config.model_fields if values[0].get(n) != values[1].get(n)]
            self.difference.set_difference(
                short_name(first),
                short_name(second),
                [
                    (
                        config.spec(n).label,
                        value_text(config.spec(n), values[0].get(n)),
                        value_text(config.spec(n), values[1].get(n)),
                    )
                    for n in names
                ],
            )
        steps = self._steps()
        self.slider.blockSignals(True)
        self.slider.setRange(0, max(0, len(steps) - 1))
        if at_end:
            self.slider.setValue(self.slider.maximum())
        self.slider.blockSignals(False)
        self._show()

    def _read_keyframes(self, row: ShelfRow) -> list[Keyframe]:
        try:
            return [k for k in RunFolder(row.path).keyframes()[0] if k.frame]
        except RunError:
            return []

    def _steps(self) -> list[int]:
        return sorted({k.step for keyframes in self._keyframes for k in keyframes})

    @Slot(int)
    def _on_slider_value_changed(self, value: int) -> None:
        self._show()

    def _show(self) -> None:
        steps = self._steps()
        if self._rows is None or not steps:
            return
        step = steps[min(self.slider.value(), len(steps) - 1)]
        self.step_label.setText(f"step {step:,}")
        for index, (row, keyframes) in enumerate(zip(self._rows, self._keyframes, strict=True)):
            earlier = [k for k in keyframes if k.step <= step] or keyframes[:1]
            if not earlier:
                self.views[index].clear("This run has no pictures to look back at.")
                continue
            self.titles[index].setText(f"{short_name(row)}, step {earlier[-1].step:,}")
            asked = (row.path, earlier[-1], self._name)
            if asked != self._asked[index]:
                self._asked[index] = asked
                self._readers[index].request(row.path, earlier[-1])

    def tick(self) -> None:
        """Draw what was read, and what runs in training show at present."""
        if self._rows is None:
            return
        live = time.monotonic() - self._live_at > LIVE_EVERY and self.slider.value() == self.slider.maximum()
        for index, row in enumerate(self._rows):
            found = self._readers[index].poll() if self._readers else None
            if found is not None and found[0] == row.path:
                self._take(index, found[2])
            run = next(
                (run for run in self._panel.runs if run.folder == row.path and run.state == "running"), None
            )
            if live and run is not None:
                self._live_at = time.monotonic()
                run.session.want([self._name])
                if self._name in run.live:
                    self.titles[index].setText(f"{short_name(row)}, live")
                    self._draw(index, run.live[self._name])

    def _take(self, index: int, found: Mapping[str, Figure] | RunError) -> None:
        if isinstance(found, RunError):
            self.views[index].clear(str(found))
        elif self._name in found:
            self._draw(index, found[self._name])
        else:
            self.views[index].clear("This run has no such picture.")

    def _draw(self, index: int, figure: Figure) -> None:
        if figure is self.views[index].figure:
            return
        still = at(figure)
        # Wide pictures stand above each other.
        wide = isinstance(still, Panels) and still.columns > 1 and self.height() > NARROW_HEIGHT
        self._pictures.setDirection(
            QBoxLayout.Direction.TopToBottom if wide else QBoxLayout.Direction.LeftToRight
        )
        before = self.views[index].frame if isinstance(figure, Film) else 0
        had = self.views[index].figure is not None
        self.views[index].set_figure(figure)
        if isinstance(figure, Film) and had:
            self.views[index].set_frame(min(before, len(figure.frames) - 1))

    def close_readers(self) -> None:
        """End the reading threads."""
        for reader in self._readers:
            reader.close()
        self._readers = []


def short_name(row: ShelfRow, differing: str = "") -> str:
    """A run in few words: what the person called it, else when it began and what differs."""
    return row.label.name or (f"{clock_of(row.id)}, {differing}" if differing else clock_of(row.id))


def role_of(row: ShelfRow) -> str:
    """A run's colour: the one that was chosen, else one that stays the same from its id."""
    index = row.label.color if row.label.color is not None else COLORS[sum(row.id.encode()) % 6]
    return f"category-{index}"
