"""All scalars of one run or of many as one file: a table, JSON, or what TensorBoard opens; any thread, no Qt.

A run's record does not tell a scalar that was NaN from one that was not reported at a step: both are left out here, as an
empty cell, or as no point. Infinite values were reported: a table says ``inf`` or ``-inf``, JSON has no word for them and
says ``null``, TensorBoard's files hold them as they are.
"""

from __future__ import annotations

import csv
import importlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lab import __version__
from lab.export.errors import ExportError
from lab.export.films import Progress
from lab.export.save import replacing
from lab.runs.folder import Metrics, RunFolder, why
from lab.runs.shelf import read_label

SCALAR_FORMATS: Mapping[str, str] = {"csv": ".csv", "json": ".json", "tensorboard": ""}
"""Formats by name, and how their names end; TensorBoard's is a folder."""

_AT_ONCE = 10_000
"""Rows between two reports of progress."""


def scalars_table(
    runs: Sequence[RunFolder], *, damage: Callable[[str], None] | None = None
) -> Iterator[list[Any]]:
    """All scalars as the rows of one wide table, a header first; one run is in memory at a time.

    Columns are ``run`` (its id), ``name`` if any run has one, ``paper``, ``seed``, ``step``, ``seconds`` (of training), every
    scalar, and ``setting.NAME`` for settings that are not the same in all runs. A scalar that is called like another column
    stands under ``scalar.NAME``.

    Parameters
    ----------
    runs : sequence of RunFolder
    damage : callable, optional
        Called with a sentence for each record that cannot be read; all others are in the table.

    Yields
    ------
    list
        Empty texts where a step did not report a scalar; NaN that was reported counts as not reported.

    Raises
    ------
    RunError
        If the disk refuses.
    """
    source = _Runs(runs)
    source.tell(damage)
    yield from _rows(source, None)


def write_scalars(
    runs: Sequence[RunFolder],
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    damage: Callable[[str], None] | None = None,
) -> Path:
    """Write all scalars of runs, whole or not at all.

    Parameters
    ----------
    runs : sequence of RunFolder
    path : path
        Its ending says the format unless ``format`` does; a name without the ending gets it.
    format : {"csv", "json", "tensorboard"}, optional
        ``csv`` is the table of `scalars_table`. ``json`` is an object with ``version`` and ``runs``: of each ``run``,
        ``name``, ``paper``, ``preset``, ``seed``, ``settings``, ``data``, ``versions``, ``machine`` and ``scalars``, by name
        ``{"steps": [...], "values": [...]}`` where they were reported. ``tensorboard`` is a folder with a folder for each
        run, called like it.
    overwrite : bool
        Replace what is there; a folder only if TensorBoard's files are all that is in it.
    progress : callable, optional
        Called with rows written and rows in all; what it raises ends the export and is passed on, and nothing is left.
    damage : callable, optional
        Called with a sentence for each record that cannot be read; all others are written.

    Returns
    -------
    Path
        The file or folder.

    Raises
    ------
    ExportError
        If the format or the place cannot be used, or ``tensorboard`` is not installed.
    RunError
        If a run cannot be read.
    """
    target, format = _target(Path(path), format)
    if not runs:
        raise ExportError("There are no runs whose scalars could be written; name at least one.")
    if format == "tensorboard":
        _check_place(target, overwrite)
        _record_writer()
        source = _Runs(runs)
        _write_folder(source, target, progress)
    else:
        with replacing(target, overwrite) as temporary:
            source = _Runs(runs)
            # What people write may be no text at all: half of a character.
            with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                if format == "csv":
                    csv.writer(file, lineterminator="\n").writerows(_rows(source, progress))
                else:
                    _write_json(source, file, progress)
    source.tell(damage)
    return target


def _target(path: Path, format: str | None) -> tuple[Path, str]:
    names = ", ".join(SCALAR_FORMATS)
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ExportError(f"'{path}' names a home folder that does not exist; give a full path.") from error
    if format is None:
        formats = {suffix: name for name, suffix in SCALAR_FORMATS.items() if suffix}
        if path.suffix.lower() not in formats:
            raise ExportError(f"'{path.name}' does not say a format for scalars; choose one of {names}.")
        format = formats[path.suffix.lower()]
    if format not in SCALAR_FORMATS:
        raise ExportError(
            f"'{format}' is not a format that scalars can be written in; choose one of {names}."
        )
    if not path.name:
        raise ExportError(f"'{path}' is not a name for a file or folder; give one.")
    if format != "tensorboard":
        if os.path.isdir(path):
            raise ExportError(f"'{path}' is a folder; name a file in it.")
        if path.suffix.lower() != SCALAR_FORMATS[format]:
            path = path.with_name(path.name + SCALAR_FORMATS[format])
    return path, format


# --- the runs  ----------


@dataclass(frozen=True)
class _Run:
    """What is said of a run beside its scalars."""

    folder: RunFolder
    name: str
    settings: dict[str, Any]

    @property
    def id(self) -> str:
        return self.folder.info.id

    @property
    def seed(self) -> Any:
        return self.settings.get("seed", self.folder.info.values.get("seed", ""))

    def began(self) -> float:
        """Seconds since 1970 at which it was begun; where it does not say, when ``run.json`` was written."""
        try:
            return datetime.fromisoformat(self.folder.info.created).timestamp()
        except (ValueError, OverflowError, OSError):
            return (self.folder.path / "run.json").stat().st_mtime


class _Runs:
    """Looks through all runs once, for what a file has to say at its beginning; keeps the scalars of a single one."""

    def __init__(self, folders: Sequence[RunFolder]) -> None:
        self.runs: list[_Run] = []
        self.damage: list[str] = []
        self.scalars: dict[str, None] = {}
        self.count = 0
        self._only: Metrics | None = None
        for folder in folders:
            name = read_label(folder.path).name or folder.info.name
            self.runs.append(_Run(folder, name, folder.values()))
            metrics = folder.metrics()
            self.damage += [*metrics.damage, *folder.events()[1]]
            self.scalars |= dict.fromkeys(metrics.columns)
            self.count += len(metrics.steps)
            self._only = metrics if len(folders) == 1 else None

    def tell(self, damage: Callable[[str], None] | None) -> None:
        if damage is not None:
            for sentence in self.damage:
                damage(sentence)

    def metrics(self) -> Iterator[tuple[_Run, Metrics]]:
        for run in self.runs:
            yield run, self._only or run.folder.metrics()

    def differing(self) -> list[str]:
        """Names of the settings that are not the same in all runs; the seed has a column of its own."""
        seen: dict[str, set[str]] = {}
        for number, run in enumerate(self.runs):
            for name in {*seen, *run.settings} - {"seed"}:
                # A run that does not have a setting differs from one that does.
                before = {""} if number and name not in seen else set()
                text = _plain(run.settings[name]) if name in run.settings else ""
                seen.setdefault(name, before).add(text)
        order = dict.fromkeys(name for run in self.runs for name in run.settings)
        return [name for name in order if len(seen.get(name, ())) > 1]


class _Count:
    """Tells how many rows are written."""

    def __init__(self, source: _Runs, progress: Progress | None) -> None:
        self.total, self.progress, self.done = source.count, progress, 0

    def add(self, rows: int) -> None:
        # A run that is being trained grows meanwhile.
        self.done = min(self.done + rows, self.total)
        if self.progress is not None:
            self.progress(self.done, self.total)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _parts(metrics: Metrics) -> Iterator[slice]:
    for start in range(0, len(metrics.steps), _AT_ONCE):
        yield slice(start, min(start + _AT_ONCE, len(metrics.steps)))


# --- a table  ----------


def _rows(source: _Runs, progress: Progress | None) -> Iterator[list[Any]]:
    count = _Count(source, progress)
    named = ["name"] if any(run.name for run in source.runs) else []
    lead = ["run", *named, "paper", "seed", "step", "seconds"]
    settings = source.differing()
    ends = [f"setting.{name}" for name in settings]
    taken = {*lead, *ends}
    yield [*lead, *(f"scalar.{name}" if name in taken else name for name in source.scalars), *ends]
    for run, metrics in source.metrics():
        about = [run.id, *([run.name] if named else []), run.folder.info.paper, _plain(run.seed)]
        end = [_plain(run.settings[name]) if name in run.settings else "" for name in settings]
        columns = [metrics.columns.get(name) for name in source.scalars]
        for part in _parts(metrics):
            rows = part.stop - part.start
            cells = [[""] * rows if column is None else _cells(column[part]) for column in columns]
            for row in zip(metrics.steps[part].tolist(), metrics.seconds[part].tolist(), *cells, strict=True):
                yield [*about, *row, *end]
            count.add(rows)


def _cells(column: np.ndarray) -> list[Any]:
    return ["" if value != value else value for value in column.tolist()]


# --- JSON  ----------


def _write_json(source: _Runs, file: TextIO, progress: Progress | None) -> None:
    count = _Count(source, progress)
    file.write(f'{{"version": {json.dumps(__version__)}, "runs": [')
    for number, (run, metrics) in enumerate(source.metrics()):
        info = run.folder.info
        about = {
            "run": run.id,
            "name": run.name,
            "paper": info.paper,
            "preset": info.preset,
            "seed": run.seed,
            "settings": run.settings,
            "data": info.data,
            "versions": info.versions,
            "machine": info.machine,
        }
        file.write(",\n" if number else "\n")
        # One scalar at a time: all of a long run at once would take many times the memory of its arrays.
        file.write(json.dumps(_strict(about), default=str, allow_nan=False)[:-1] + ', "scalars": {')
        for place, (name, column) in enumerate(metrics.columns.items()):
            reported = ~np.isnan(column)
            values = column[reported].tolist()
            points = {
                "steps": metrics.steps[reported].tolist(),
                "values": [value if math.isfinite(value) else None for value in values],
            }
            file.write((", " if place else "") + f"{json.dumps(name)}: {json.dumps(points, allow_nan=False)}")
            count.add(0)
        file.write("}}")
        count.add(len(metrics.steps))
    file.write("\n]}\n")


def _strict(value: Any) -> Any:
    """Plain data without what JSON has no word for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _strict(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    return value


# --- TensorBoard  ----------


class _Records:
    """One of TensorBoard's event files, written with its own package."""

    def __init__(self, file: Any) -> None:
        proto = "tensorboard.compat.proto"
        self._writer = _record_writer()(file)
        self._event = importlib.import_module(f"{proto}.event_pb2").Event
        self._summary = importlib.import_module(f"{proto}.summary_pb2")
        self._tensor = importlib.import_module(f"{proto}.tensor_pb2").TensorProto
        self._shape = importlib.import_module(f"{proto}.tensor_shape_pb2").TensorShapeProto

    def begin(self, wall_time: float) -> None:
        self._write(self._event(wall_time=wall_time, file_version="brain.Event:2"))

    def text(self, wall_time: float, tag: str, text: str) -> None:
        kind = self._summary.SummaryMetadata.PluginData(plugin_name="text")
        tensor = self._tensor(
            dtype="DT_STRING",
            string_val=[text.encode("utf-8", "replace")],
            tensor_shape=self._shape(dim=[self._shape.Dim(size=1)]),
        )
        value = self._summary.Summary.Value(
            tag=f"{tag}/text_summary",
            metadata=self._summary.SummaryMetadata(plugin_data=kind),
            tensor=tensor,
        )
        self._write(self._event(wall_time=wall_time, summary=self._summary.Summary(value=[value])))

    def scalars(self, wall_time: float, step: int, scalars: Sequence[tuple[str, float]]) -> None:
        values = [self._summary.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]
        self._write(self._event(wall_time=wall_time, step=step, summary=self._summary.Summary(value=values)))

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())


def _record_writer() -> Any:
    # Its writer of whole folders writes in a thread of its own, which keeps errors of the disk to itself, and loads
    # TensorFlow where that is installed; this one does the same work on a file of ours.
    try:
        return importlib.import_module("tensorboard.summary.writer.record_writer").RecordWriter
    except ImportError as error:
        raise ExportError(
            "Files for TensorBoard are written with its own package, which is not installed; install the extra "
            "'tensorboard' (pip install 'paperlab[tensorboard]'), or choose csv or json."
        ) from error


def _check_place(target: Path, overwrite: bool) -> None:
    if not os.path.isdir(target.parent):
        raise ExportError(f"The folder '{target.parent}' does not exist; make it or choose another.")
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise ExportError(f"'{target}' exists already; choose another name or allow it to be replaced.")
    if not target.is_dir() or target.is_symlink():
        raise ExportError(f"'{target}' is not a folder; choose another name.")
    if any(
        path.is_symlink() or (path.is_file() and ".tfevents." not in path.name) for path in target.rglob("*")
    ):
        raise ExportError(
            f"'{target}' holds more than files of TensorBoard, which would be lost; choose another name."
        )


def _write_folder(source: _Runs, target: Path, progress: Progress | None) -> None:
    count = _Count(source, progress)
    hidden = target.parent / f".{target.name[:40]}.{secrets.token_hex(4)}.part"
    try:
        hidden.mkdir()
        for name, (run, metrics) in zip(_folder_names(source.runs), source.metrics(), strict=True):
            (hidden / name).mkdir()
            began = run.began()
            with open(hidden / name / f"events.out.tfevents.{int(began):010d}.lab", "wb") as file:
                _write_events(_Records(file), began, run, metrics, count)
                file.flush()
                os.fsync(file.fileno())
        _swap(hidden, target)
    except OSError as error:
        raise ExportError(why(error, target)) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _swap(made: Path, target: Path) -> None:
    """Put a folder in the place of another one, which is back if that fails."""
    if not target.exists():
        os.rename(made, target)
        return
    old = made.with_suffix(".old")
    os.rename(target, old)
    try:
        os.rename(made, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_events(records: _Records, began: float, run: _Run, metrics: Metrics, count: _Count) -> None:
    info = run.folder.info
    about = {"run": run.id, "name": run.name, "paper": info.paper, "preset": info.preset, "data": info.data}
    records.begin(began)
    for tag, content in (("about", about), ("settings", run.settings)):
        text = json.dumps(content, indent=2, default=str)
        # Indented is code: nothing in it is taken for markup.
        records.text(began, tag, "\n".join(f"    {line}" for line in text.splitlines()))
    tags = [name.encode("utf-8", "replace").decode() for name in metrics.columns]
    for part in _parts(metrics):
        columns = [column[part].tolist() for column in metrics.columns.values()]
        times = (began + metrics.seconds[part]).tolist()
        for step, time, *values in zip(metrics.steps[part].tolist(), times, *columns, strict=True):
            records.scalars(
                time, step, [(tag, value) for tag, value in zip(tags, values, strict=True) if value == value]
            )
        count.add(part.stop - part.start)


def _folder_names(runs: Sequence[_Run]) -> list[str]:
    """A folder's name for each run, all different on every disk; TensorBoard shows it."""
    names: list[str] = []
    taken: set[str] = set()
    for run in runs:
        base = (
            re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]+', "_", run.name or run.id)[:60].strip(" .")
            or "run"
        )
        name, number = base, 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


__all__ = ["SCALAR_FORMATS", "scalars_table", "write_scalars"]
