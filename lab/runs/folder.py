"""A run is a folder: settings, metrics, events and keyframes; written by `lab.runs.writer`, read here by anyone, Qt-free.

Layout
------
run.json          what the run is: paper, settings, seed, versions, machine, data, the run it came from (with a checksum)
settings.toml     the settings to read and to reuse
metrics.bin       all scalars, appended as they come
events.jsonl      every live change, request of the hand and change of state, with its step
keyframes.jsonl   one line per keyframe: step, files, sizes, checksums
keyframes/        safetensors: weights, optimiser, random generators, position in the data, settings then
frames/           safetensors: every picture of the run at a keyframe
status.json       how far the run is, for lists; written again and again
label.json        what the person calls it, see `lab.runs.shelf`

A run that was rewound to, or forked from, another one begins with that one's scalars, events and keyframes up to there (the
files are shared where the disk can), so that each folder is whole by itself: it can be moved, zipped, deleted.

Every record carries a CRC-32, so that a flipped byte is found and the rest still serves. A record cut short at the end
of a file is what a killed process leaves behind: it is dropped without complaint. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import struct
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import RunError

FORMAT = 2
READABLE = (1, 2)
"""Formats that this version reads; 1 had no pictures beside its keyframes."""

BLOCK = struct.Struct("<4sII")
MAGIC = b"MTR1"
KEYFRAME_FILE = re.compile(r"\d{10,19}-[0-9a-f]{8}\.safetensors")
_DECODER = json.JSONDecoder()

BEFORE_CHANGE = "change"
"""Reason of a keyframe that was written just before a live change: another one may follow at the same step."""
DIVERGED = "divergence"
"""Reason of a keyframe that shows what went wrong; training does not go on from it unasked."""


@dataclass(frozen=True)
class RunInfo:
    """What a run is; the content of ``run.json``."""

    id: str
    paper: str
    values: dict[str, Any]
    name: str = ""
    preset: str = ""
    device: str = "cpu"
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    parent: str = ""
    """Id of the run that this one came from; empty for one that began at step 0."""
    parent_step: int = -1
    relation: str = ""
    """``"rewind"``, ``"fork"`` or ``"continue"``."""
    format: int = FORMAT

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.values.get("seed", 0))


@dataclass
class Metrics:
    """All scalars of a run.

    Attributes
    ----------
    steps : array (N,) of int64
    columns : dict of name to array (N,) of float64
        NaN where a step did not report the scalar.
    seconds : array (N,)
        Time of training, pauses left out, at which each was recorded.
    damage : list of str
        One sentence per record that cannot be read.
    """

    steps: np.ndarray
    columns: dict[str, np.ndarray]
    seconds: np.ndarray
    damage: list[str] = field(default_factory=list)

    def upto(self, step: int) -> Metrics:
        """Those up to a step; the arrays are shared."""
        count = int(np.searchsorted(self.steps, step, side="right"))
        columns = {name: column[:count] for name, column in self.columns.items()}
        return Metrics(self.steps[:count], columns, self.seconds[:count], self.damage)


@dataclass(frozen=True)
class Keyframe:
    """One line of the list of keyframes.

    Attributes
    ----------
    step : int
    file, size, crc
        The state, in ``keyframes/``.
    reason : str
        ``first``, ``regular``, ``best``, ``change`` (just before a live change), ``last``, ``divergence``.
    seconds : float
        Time of training when it was written.
    frame, frame_size, frame_crc
        The pictures, in ``frames/``; an empty name when there are none.
    finite : bool
        Whether the state is free of NaN and infinity.
    value : float or None
        The paper's headline scalar when it was written, where it was known.
    """

    step: int
    file: str
    size: int
    crc: int
    reason: str = ""
    seconds: float = 0.0
    frame: str = ""
    frame_size: int = 0
    frame_crc: int = 0
    finite: bool = True
    value: float | None = None

    @property
    def place(self) -> tuple[int, bool]:
        """Where it stands in time: before a live change at a step, or after whatever happened there."""
        return self.step, self.reason != BEFORE_CHANGE

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        return self.size + self.frame_size


@dataclass(frozen=True)
class RunStatus:
    """How far a run is; the content of ``status.json``.

    Attributes
    ----------
    state : str
    step, total : int
    seconds : float
        Time of training.
    headline : str
        Name of the scalar of which ``latest`` and ``best`` are values; ``best_step`` is -1 where there is none.
    latest, best : float or None
    keyframe_bytes : int
        What states and pictures take on the disk.
    """

    state: str
    step: int
    total: int = 0
    seconds: float = 0.0
    headline: str = ""
    latest: float | None = None
    best: float | None = None
    best_step: int = -1
    keyframe_bytes: int = 0


def new_run_id(paper: str) -> str:
    """An id that sorts by time and is a valid folder name everywhere."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{paper}-{secrets.token_hex(3)}"


def clock_of(run_id: str) -> str:
    """The time of day at which a run began, from its id; the id itself where it has another form."""
    clock = [*run_id.split("-"), ""][1]
    return f"{clock[:2]}:{clock[2:4]}:{clock[4:6]}" if len(clock) == 6 and clock.isdigit() else run_id


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing.

    Raises
    ------
    OSError
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sealed(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=True)
    return json.dumps({"crc": zlib.crc32(text.encode()), "content": content}, sort_keys=True)


def unsealed(document: Any) -> Any:
    text = json.dumps(document["content"], sort_keys=True, allow_nan=True)
    if zlib.crc32(text.encode()) != document["crc"]:
        raise ValueError("the checksum does not fit")
    return document["content"]


def why(error: OSError, path: Path | str) -> str:
    """What an operating system's error means for a run, as one sentence."""
    meaning = {
        errno.ENOSPC: f"The disk that holds {path} is full: free some space, or choose another folder.",
        errno.EDQUOT: f"Your quota on the disk that holds {path} is used up: free some space, or choose another folder.",
        errno.EROFS: f"{path} lies on a read-only disk: choose another folder.",
        errno.EACCES: f"You may not write to {path}: choose another folder or change its permissions.",
        errno.EPERM: f"You may not write to {path}: choose another folder or change its permissions.",
        errno.ENOTDIR: f"A part of {path} is a file, not a folder: choose another folder.",
        errno.EEXIST: f"{path} exists already and is not a folder: choose another name.",
        errno.ENAMETOOLONG: f"The name {path} is too long for this disk: choose a shorter one.",
    }
    return meaning.get(
        error.errno or 0, f"{path} cannot be written ({error.strerror or error}): choose another folder."
    )


def _unpack_rows(payload: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    import safetensors.numpy

    body = safetensors.numpy.load(payload)
    length = int.from_bytes(payload[:8], "little")
    names = json.loads(json.loads(payload[8 : 8 + length])["__metadata__"]["names"])
    steps, seconds, values = body["step"], body["seconds"], body["values"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its scalars have no names")
    count = steps.size
    if (
        not count
        or steps.shape != (count,)
        or seconds.shape != (count,)
        or values.shape != (count, len(names))
    ):
        raise ValueError("its arrays do not fit each other")
    return steps.astype(np.int64), seconds.astype(np.float64), values.astype(np.float64), names


class RunFolder:
    """Reads a run's folder. Never writes; safe on a run that is still being written.

    Raises
    ------
    RunError
        When the folder holds no run, or ``run.json`` cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise RunError(f"{self.path} is not a folder: give the folder that a run was written to.")
        try:
            text = (self.path / "run.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RunError(
                f"{self.path} holds no run (there is no run.json in it): give the folder that a run was written to."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(
                f"{self.path / 'run.json'} cannot be read ({error}): restore it from a copy."
            ) from None
        try:
            content = unsealed(json.loads(text))
            if content.get("format") not in READABLE:
                raise RunError(
                    f"{self.path} was written by another version of the lab (format {content.get('format')}, this one "
                    f"reads {' and '.join(map(str, READABLE))}): open it with that version."
                )
            self.info = _info_of(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(
                f"{self.path / 'run.json'} is damaged ({error}): metrics and keyframes beside it are untouched; "
                "restore run.json from a copy."
            ) from None

    def metrics(self) -> Metrics:
        """All scalars that can be read; what cannot is named in ``damage``."""
        path = self.path / "metrics.bin"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror}): check the disk.") from None
        blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]] = []
        damage: list[str] = []
        position, last_step = 0, 0
        while position + BLOCK.size <= len(data):
            magic, length, crc = BLOCK.unpack_from(data, position)
            start, end = position + BLOCK.size, position + BLOCK.size + length
            if magic == MAGIC and zlib.crc32(data[start:end]) == crc:
                position = end
                try:
                    blocks.append(_unpack_rows(data[start:end]))
                    last_step = int(blocks[-1][0][-1])
                except Exception as error:  # A valid checksum around nonsense is a damaged file all the same.
                    damage.append(f"{path}: a record cannot be read ({error}).")
                continue
            if magic == MAGIC and end > len(data) and data.find(MAGIC, start) < 0:
                break  # Cut short by a killed process.
            following = data.find(MAGIC, position + 1)
            damage.append(
                f"{path} is damaged at byte {position} (after step {last_step}): the scalars recorded there are lost, "
                "all others are intact."
            )
            if following < 0:
                break
            position = following
        names = list(dict.fromkeys(name for block in blocks for name in block[3]))
        total = sum(len(block[0]) for block in blocks)
        columns = {name: np.full(total, np.nan) for name in names}
        row = 0
        for steps, _, values, block_names in blocks:
            for column, name in enumerate(block_names):
                columns[name][row : row + len(steps)] = values[:, column]
            row += len(steps)
        return Metrics(
            np.concatenate([block[0] for block in blocks]) if blocks else np.zeros(0, np.int64),
            columns,
            np.concatenate([block[1] for block in blocks]) if blocks else np.zeros(0),
            damage,
        )

    def events(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Events in order, and a sentence per line that cannot be read."""
        return self._lines("events.jsonl")

    def keyframes(self) -> tuple[list[Keyframe], list[str]]:
        """Keyframes whose file is there, in order, and a sentence per line that cannot be read."""
        lines, damage = self._lines("keyframes.jsonl")
        found: dict[tuple[int, bool], Keyframe] = {}
        for content in lines:
            try:
                record = _keyframe_of(content)
            except (TypeError, ValueError):
                damage.append(
                    f"{self.path / 'keyframes.jsonl'} has a line of an unknown form: it is left out."
                )
                continue
            found[record.place] = record
        # What a later line took the place of is gone even where another keyframe still needs its file.
        there = [found[place] for place in sorted(found)]
        return [k for k in there if (self.path / "keyframes" / k.file).is_file()], damage

    def newest_sound_keyframe(self) -> Keyframe:
        """The newest keyframe that training can go on from.

        Raises
        ------
        RunError
            When there is none.
        """
        sound = [k for k in self.keyframes()[0] if k.finite and k.reason != DIVERGED]
        if not sound:
            raise RunError(f"{self.path} has no keyframe to go on from: start a new run from its settings.")
        return sound[-1]

    def find_keyframe(self, step: int) -> Keyframe:
        """The newest keyframe at or before a step.

        Raises
        ------
        RunError
            When there is none.
        """
        keyframes, _ = self.keyframes()
        earlier = [record for record in keyframes if record.step <= step]
        if not earlier:
            has = f"the first is at step {keyframes[0].step:,}" if keyframes else "it has none"
            raise RunError(
                f"{self.path} has no keyframe at or before step {step:,} ({has}): choose a later step."
            )
        return earlier[-1]

    def read_keyframe(self, record: Keyframe) -> dict[str, Any]:
        """The engine's state at a keyframe; imports torch.

        Raises
        ------
        RunError
            When the file was cut short or changed.
        """
        from lab.runs.state import unpack

        return unpack(self._keyframe_bytes(record))[0]

    def keyframe_values(self, record: Keyframe) -> dict[str, Any]:
        """The settings in force at a keyframe, as plain values; those of the run's end where it does not hold them.

        Raises
        ------
        RunError
            When the file was cut short or changed.
        """
        data = self._keyframe_bytes(record)
        try:
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            values = json.loads(header["__metadata__"]["values"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return self.values()
        return values if isinstance(values, dict) else self.values()

    def _keyframe_bytes(self, record: Keyframe) -> bytes:
        path = self.path / "keyframes" / record.file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror}): choose another keyframe.") from None
        if len(data) != record.size or zlib.crc32(data) != record.crc:
            raise RunError(
                f"The keyframe of step {record.step} ({path}) is damaged (its checksum does not fit): "
                "the other keyframes still work, choose one of them."
            )
        return data

    def newest_state(self) -> tuple[Keyframe, dict[str, Any], list[str]]:
        """The newest keyframe that can be read, its state, and a sentence for each newer one that cannot.

        Raises
        ------
        RunError
            When there is none.
        """
        keyframes, damage = self.keyframes()
        for record in reversed(keyframes):
            if record.reason == DIVERGED or not record.finite:
                continue
            try:
                return record, self.read_keyframe(record), damage
            except RunError as error:
                damage.append(str(error))
        reason = f" ({damage[0]})" if damage else ""
        raise RunError(
            f"{self.path} has no keyframe that can be read{reason}: start a new run from its settings."
        )

    def values(self) -> dict[str, Any]:
        """The settings as they were last: those of the start and every live change since."""
        values = dict(self.info.values)
        for event in self.events()[0]:
            if event.get("inherited"):
                # Of the run that this one came from: what it began with holds them already.
                continue
            if event.get("kind") == "change" and isinstance(event.get("values"), dict):
                values.update(event["values"])
        return values

    def last_state(self) -> str:
        """The state that the run was last in: "running" means that its process died."""
        states = [event.get("state") for event in self.events()[0] if event.get("kind") == "state"]
        return next((state for state in reversed(states) if isinstance(state, str)), "starting")

    def status(self) -> RunStatus:
        """How far the run is; runs without a readable ``status.json`` are looked through, which takes longer."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            content = unsealed(json.loads((self.path / "status.json").read_text(encoding="utf-8")))
            status = RunStatus(**content)
            numbers = (status.step, status.total, status.best_step, status.keyframe_bytes)
            if isinstance(status.state, str) and all(type(number) is int for number in numbers):
                return status
        metrics = self.metrics()
        return RunStatus(
            self.last_state(),
            int(metrics.steps[-1]) if len(metrics.steps) else 0,
            int(self.values().get("steps", 0)),
            float(metrics.seconds[-1]) if len(metrics.seconds) else 0.0,
            keyframe_bytes=bytes_of(self.keyframes()[0]),
        )

    def damage(self) -> list[str]:
        """Every sentence about what cannot be read in this folder, keyframes checked byte by byte."""
        from lab.runs.reader import read_frame

        found = list(self.metrics().damage)
        found += self.events()[1]
        keyframes, lines = self.keyframes()
        found += lines
        for record in keyframes:
            try:
                self._keyframe_bytes(record)
            except RunError as error:
                # A run that is being written thins its keyframes.
                if (self.path / "keyframes" / record.file).exists():
                    found.append(str(error))
            if record.frame:
                try:
                    read_frame(self.path, record)
                except RunError as error:
                    if (self.path / "frames" / record.frame).exists():
                        found.append(str(error))
        return found

    def _lines(self, name: str) -> tuple[list[dict[str, Any]], list[str]]:
        path = self.path / name
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror}): check the disk.") from None
        contents: list[dict[str, Any]] = []
        damage: list[str] = []
        lines = raw.split(b"\n")
        for number, line in enumerate(lines, 1):
            text, position = line.decode(errors="replace"), 0
            while position < len(text):
                try:
                    document, position = _DECODER.raw_decode(text, position)
                    content = unsealed(document)
                    if not isinstance(content, dict):
                        raise TypeError("not a record")
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    # A line without its end, cut short, is what a killed process leaves.
                    if number < len(lines) or not isinstance(error, json.JSONDecodeError):
                        damage.append(
                            f"Line {number} of {path} is damaged and left out: all other lines are intact."
                        )
                    break
                contents.append(content)
                if position < len(text):
                    damage.append(
                        f"The end of line {number} of {path} is damaged: the line itself is intact."
                    )
                    position += 1
        return contents, damage


def _info_of(content: Mapping[str, Any]) -> RunInfo:
    info = RunInfo(**content)
    texts = (
        *(info.id, info.paper, info.name, info.preset, info.device, info.created),
        *(info.parent, info.relation),
    )
    tables = (info.values, info.versions, info.machine, info.data)
    if not all(isinstance(text, str) for text in texts) or not all(
        isinstance(table, dict) for table in tables
    ):
        raise TypeError("a field has another type")
    return info


def _keyframe_of(content: Mapping[str, Any]) -> Keyframe:
    record = Keyframe(**content)
    numbers = (record.step, record.size, record.crc, record.frame_size, record.frame_crc)
    if not all(type(number) is int for number in numbers) or type(record.finite) is not bool:
        raise TypeError("a field has another type")
    if not isinstance(record.seconds, int | float) or not isinstance(record.value, int | float | None):
        raise TypeError("a field has another type")
    # A name from a file is not to be trusted with a path.
    if not KEYFRAME_FILE.fullmatch(record.file) or (
        record.frame and not KEYFRAME_FILE.fullmatch(record.frame)
    ):
        raise ValueError("the file has another name")
    return record


def bytes_of(keyframes: Iterable[Keyframe]) -> int:
    """What states and pictures take on the disk; some share their files."""
    files: dict[tuple[str, str], int] = {}
    for record in keyframes:
        files["state", record.file], files["pictures", record.frame] = record.size, record.frame_size
    return sum(files.values())


def is_run(path: Path | str) -> bool:
    """Whether a folder looks like a run."""
    return (Path(path) / "run.json").is_file()
