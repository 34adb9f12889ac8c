"""The list of runs: what stands in a folder of runs, how far each is, what it is called; any thread, Qt-free.

Nothing is kept about the runs but beside themselves, so the list is always what the disk holds. Of each run only small files
are read, and only when they have changed; a run that cannot be read is listed with the reason.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from engines.config import Settings
from engines.errors import InputError, RunError
from engines.method import Method
from lab import papers
from lab.runs.folder import Metrics, RunFolder, RunStatus, clock_of, why, write_atomically
from lab.runs.lock import is_held
from lab.runs.messages import ENDED

LABEL_FILE = "label.json"
BIN = ".bin"
"""Folder beside the runs into which deleted ones are moved."""

CRASHED = "ended unexpectedly"
"""State of a run whose process died."""

COLORS = 8
"""How many categories a label can choose its colour from."""

_LARGEST_LABEL = 2**16
_LIVE = ("starting", "running", "paused", "stopping")
_RUN_ID = re.compile(r"\d{8}-\d{6}-(.+)-[0-9a-f]{4,6}")

logger = logging.getLogger(__name__)

_Key = tuple[tuple[int, int, int] | int | None, ...]


@dataclass(frozen=True)
class Label:
    """What the person says of a run.

    Attributes
    ----------
    name, note : str
    color : int or None
        Category 0 to 7; None leaves the choice to the window.
    shown : bool
        Whether it is drawn beside the others in a comparison.
    """

    name: str = ""
    note: str = ""
    color: int | None = None
    shown: bool = False


def read_label(path: Path | str) -> Label:
    """The label of the run in a folder; what is missing or damaged has its default."""
    try:
        with open(Path(path) / LABEL_FILE, "rb") as file:
            content = json.loads(file.read(_LARGEST_LABEL))
    except (OSError, ValueError, RecursionError):
        return Label()
    if not isinstance(content, dict):
        return Label()
    name, note, color, shown = (content.get(part) for part in ("name", "note", "color", "shown"))
    return Label(
        name if isinstance(name, str) else "",
        note if isinstance(note, str) else "",
        color if type(color) is int and 0 <= color < COLORS else None,
        isinstance(shown, bool) and shown,
    )


def write_label(path: Path | str, label: Label) -> None:
    """Put a label on the run in a folder, whole or not at all.

    Raises
    ------
    RunError
        When the disk refuses.
    """
    target = Path(path) / LABEL_FILE
    try:
        write_atomically(target, json.dumps(asdict(label)).encode())
    except OSError as error:
        raise RunError(why(error, target)) from None


@dataclass(frozen=True)
class ShelfRow:
    """One run in the list.

    Attributes
    ----------
    path : Path
    id, paper : str
        Of a run that cannot be read, as far as the folder's name tells.
    name : str
        The label's, else the run's own, else preset and seed.
    preset : str
    seed : int
    values : dict
        The settings that it began with.
    differing : dict
        Those of them that are not the preset's, without seed and steps.
    touched : bool
        Whether a live change or a request of the hand reached training: settings and seed alone do not tell what it did.
    state : str
        `CRASHED` when its process died.
    step, total : int
    seconds : float
        Time of training.
    headline : str
        Name of the scalar of which ``latest`` and ``best`` are values; ``best_step`` is -1 where there is none.
    latest, best : float or None
    created : str
        ISO 8601.
    parent, parent_step, relation
        As in `lab.runs.folder.RunInfo`.
    label : Label
    size : int or None
        Bytes on the disk, small files left out.
    problem : str
        Why it cannot be read, as one sentence; empty when it can.
    """

    path: Path
    id: str
    paper: str
    name: str
    preset: str = ""
    seed: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    differing: dict[str, Any] = field(default_factory=dict)
    touched: bool = False
    state: str = ""
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    headline: str = ""
    latest: float | None = None
    best: float | None = None
    best_step: int = -1
    created: str = ""
    parent: str = ""
    parent_step: int = -1
    relation: str = ""
    label: Label = Label()
    size: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class Undo:
    """A deleted run: where it stood, and where it is now."""

    path: Path
    kept: Path


class Shelf:
    """The runs in one folder.

    Parameters
    ----------
    folder : Path
        Need not exist yet.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._cache: dict[Path, tuple[_Key, ShelfRow]] = {}

    def rows(self, paper: str | None = None) -> list[ShelfRow]:
        """All runs, newest first, or those of one paper; a run of which the paper cannot be told is in every list.

        Raises
        ------
        RunError
            When the folder is there and cannot be read.
        """
        methods = _Methods()
        found = []
        paths = self._folders()
        for path in paths:
            row = self._look(path, methods)
            if row is not None and row.state in _LIVE and not is_held(path):
                # It may have ended between the two looks; what it wrote before it let go of the lock tells.
                row = self._look(path, methods)
                if row is not None and row.state in _LIVE:
                    row = replace(row, state=CRASHED)
            if row is not None and paper in (None, row.paper or paper):
                found.append(row)
        for gone in set(self._cache) - set(paths):
            self._cache.pop(gone, None)
        return sorted(found, key=lambda row: (_moment(row.created), row.id), reverse=True)

    def crashed(self) -> list[ShelfRow]:
        """The runs whose process died, newest first."""
        return [row for row in self.rows() if row.state == CRASHED]

    def delete(self, path: Path | str) -> Undo:
        """Move a run into the bin.

        Raises
        ------
        RunError
            When it is still being written, is not one of these runs, or the disk refuses.
        """
        path = Path(path)
        if path.name.startswith(".") or path.parent.resolve() != self.folder.resolve():
            raise RunError(f"{path} is not one of the runs in {self.folder}: choose one from the list.")
        if not path.is_dir():
            raise RunError(f"{path} is not there any more: nothing is left to delete.")
        if is_held(path):
            raise RunError(f"{path.name} is still being trained: stop it first, then delete it.")
        try:
            (self.folder / BIN).mkdir(exist_ok=True)
            kept = free_place(self.folder / BIN / path.name)
            path.rename(kept)
        except OSError as error:
            raise RunError(why(error, path)) from None
        return Undo(path, kept)

    def restore(self, undo: Undo) -> Path:
        """Put a deleted run back to where it stood.

        Raises
        ------
        RunError
            When it is not in the bin any more, another run has its place, or the disk refuses.
        """
        if not undo.kept.is_dir():
            raise RunError(f"{undo.path.name} is not in the bin any more: it cannot be brought back.")
        if undo.path.exists():
            raise RunError(f"{undo.path} exists again: move that one away to bring back the one in the bin.")
        try:
            undo.kept.rename(undo.path)
        except OSError as error:
            raise RunError(why(error, undo.path)) from None
        return undo.path

    def _folders(self) -> list[Path]:
        try:
            with os.scandir(self.folder) as entries:
                return [
                    Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir()
                ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(
                f"The folder of runs {self.folder} cannot be read ({error.strerror}): choose another folder."
            ) from None

    def _look(self, path: Path, methods: _Methods) -> ShelfRow | None:
        """A run as it is on the disk, its state not yet compared with its lock; None for what is no run."""
        key = _key(path)
        if key[0] is None:
            return None
        known = self._cache.get(path)
        if known is None or known[0] != key:
            known = self._cache[path] = (key, _read(path, methods))
        return known[1]


def family(rows: Iterable[ShelfRow]) -> list[tuple[ShelfRow, int]]:
    """The same rows with the depth of each in the tree of runs: branches follow under the run that they came from.

    Runs whose parent is not among the rows stand at depth 0. Otherwise the order is kept.
    """
    listed = list(rows)
    index_of: dict[str, int] = {}
    for index, row in enumerate(listed):
        index_of.setdefault(row.id, index)
    children: dict[int, list[int]] = {}
    roots = []
    for index, row in enumerate(listed):
        parent = index_of.get(row.parent) if row.parent else None
        if parent is None or parent == index:
            roots.append(index)
        else:
            children.setdefault(parent, []).append(index)
    ordered: list[tuple[ShelfRow, int]] = []
    placed: set[int] = set()
    # Files may say that two runs come from each other: such rings have no root and begin anywhere.
    for start in (*roots, *range(len(listed))):
        waiting = [(start, 0)]
        while waiting:
            index, depth = waiting.pop()
            if index in placed:
                continue
            placed.add(index)
            ordered.append((listed[index], depth))
            waiting += [(child, depth + 1) for child in reversed(children.get(index, []))]
    return ordered


def free_place(path: Path) -> Path:
    """The path itself, or with -2, -3 ... behind its name where that is taken."""
    number, place = 1, path
    while os.path.lexists(place):
        number += 1
        place = path.with_name(f"{path.name}-{number}")
    return place


def headline_of(metrics: Metrics, method: Method) -> tuple[float | None, float | None, int]:
    """Latest and best finite value of a method's headline scalar in a run, and the step of the best (-1 without)."""
    values = metrics.columns.get(method.headline)
    finite = np.isfinite(values) if values is not None else np.zeros(0, bool)
    if values is None or not finite.any():
        return None, None, -1
    steps, values = metrics.steps[finite], values[finite]
    best = int(np.argmax(values) if method.maximise else np.argmin(values))
    return float(values[-1]), float(values[best]), int(steps[best])


def known_method(paper: str) -> Method | None:
    """A paper's method; None where the package that adds it is not installed, or is broken."""
    try:
        return papers.method_of(papers.find_built(paper))
    except InputError:
        return None
    except Exception:
        # It must not take the list of runs with it.
        logger.exception("the paper '%s' cannot be loaded", paper)
        return None


class _Methods:
    """The papers' methods, looked up once for a whole list."""

    def __init__(self) -> None:
        self._methods: dict[str, Method | None] = {}
        self._bases: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, paper: str) -> Method | None:
        """As `known_method`."""
        if paper not in self._methods:
            self._methods[paper] = known_method(paper)
        return self._methods[paper]

    def title(self, paper: str, preset: str) -> str:
        method = self.of(paper)
        titles = {known.id: known.title for known in method.presets} if method is not None else {}
        return titles.get(preset) or preset or paper

    def base(self, paper: str, preset: str) -> dict[str, Any] | None:
        """The preset's settings as ``run.json`` would hold them; the defaults where there is no such preset."""
        method = self.of(paper)
        if method is None:
            return None
        if (paper, preset) not in self._bases:
            values = {known.id: known.values for known in method.presets}.get(preset, {})
            self._bases[paper, preset] = method.config.build(values).model_dump(mode="json")
        return self._bases[paper, preset]

    def is_touch(self, paper: str, event: dict[str, Any]) -> bool:
        """Whether an event changed what training did; more steps are no change, pictures are none either."""
        if event.get("kind") == "action":
            return True
        values = event.get("values")
        if event.get("kind") != "change" or not isinstance(values, dict):
            return False
        method = self.of(paper)
        names = set(values) - {"steps"}
        return bool(names - display_fields(method.config) if method is not None else names)


def display_fields(config: type[Settings]) -> set[str]:
    """The settings that act on the pictures alone."""
    return {spec.name for spec in config.specs() if spec.effect == "display"}


def _signature(path: Path) -> tuple[int, int, int] | int | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error.errno or -1
    return found.st_mtime_ns, found.st_size, found.st_ino


def _key(path: Path) -> _Key:
    """What changes when a row may have changed."""
    names = ("run.json", "status.json", LABEL_FILE, "events.jsonl")
    key = tuple(_signature(path / name) for name in names)
    # Without a status, the scalars are what tells how far the run is.
    return key if key[1] is not None else (*key, _signature(path / "metrics.bin"))


def _read(path: Path, methods: _Methods) -> ShelfRow:
    label = read_label(path)
    try:
        folder = RunFolder(path)
        info, status, events = folder.info, folder.status(), folder.events()[0]
        method = methods.of(info.paper)
        if not status.headline and method is not None:
            # An older run.
            latest, best, best_step = headline_of(folder.metrics(), method)
            status = replace(status, headline=method.headline, latest=latest, best=best, best_step=best_step)
    except RunError as error:
        return _unreadable(path, label, str(error))
    values = info.values
    seed = values.get("seed")
    seed = seed if type(seed) is int else 0
    base = methods.base(info.paper, info.preset)
    differing = {
        name: value
        for name, value in values.items()
        if base is not None and name not in ("seed", "steps") and (name not in base or base[name] != value)
    }
    created = _created(info.created, path)
    return ShelfRow(
        path=path,
        id=info.id,
        paper=info.paper,
        name=label.name or info.name or f"{methods.title(info.paper, info.preset)} · {clock_of(info.id)}",
        preset=info.preset,
        seed=seed,
        values=values,
        differing=differing,
        touched=any(methods.is_touch(info.paper, event) for event in events),
        state=_state(status, events),
        step=status.step,
        total=status.total,
        seconds=_number(status.seconds) or 0.0,
        headline=status.headline if isinstance(status.headline, str) else "",
        latest=_number(status.latest),
        best=_number(status.best),
        best_step=status.best_step,
        created=created,
        parent=info.parent,
        parent_step=info.parent_step if type(info.parent_step) is int else -1,
        relation=info.relation,
        label=label,
        size=status.keyframe_bytes + _size(path / "metrics.bin"),
    )


def _unreadable(path: Path, label: Label, problem: str) -> ShelfRow:
    known = _RUN_ID.fullmatch(path.name)
    return ShelfRow(
        path=path,
        id=path.name,
        paper=known.group(1) if known else "",
        name=label.name or path.name,
        state="unreadable",
        created=_created("", path),
        label=label,
        problem=problem,
    )


def _state(status: RunStatus, events: Sequence[dict[str, Any]]) -> str:
    """The status file's, unless the events know of an end: a full disk may have kept it from the file."""
    states = [event.get("state") for event in events if event.get("kind") == "state"]
    return str(states[-1]) if states and states[-1] in ENDED else status.state


def _number(value: Any) -> float | None:
    # A checksum says that a file is whole, not that it makes sense.
    return float(value) if type(value) in (int, float) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _created(text: str, path: Path) -> str:
    """When a run was begun; where it does not say, when ``run.json`` was written."""
    try:
        datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        try:
            written = (path / "run.json").stat().st_mtime
        except OSError:
            written = 0.0
        return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
    return text


def _moment(created: str) -> float:
    return datetime.fromisoformat(created).timestamp()
