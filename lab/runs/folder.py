"""A run is a folder: settings, metrics, events and keyframes; written by the run's worker, read by anyone, Qt-free.

Layout
------
run.json          what the run is: paper, settings, seed, versions, machine, data (with a checksum)
settings.toml     the settings to read and to reuse
metrics.bin       all scalars, appended as they come
events.jsonl      every live change, request of the hand and change of state, with its step
keyframes.jsonl   one line per keyframe: step, file, size, checksum
keyframes/        safetensors: weights, optimiser, random generators, position in the data

Every record carries a CRC-32, so that a flipped byte is found and the rest still serves. A record cut short at the end
of a file is what a killed process leaves behind: it is dropped without complaint. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import secrets
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import RunError

FORMAT = 1

_BLOCK = struct.Struct("<4sII")
_MAGIC = b"MTR1"
_KEYFRAME_FILE = re.compile(r"\d{10,19}-[0-9a-f]{8}\.safetensors")
_DECODER = json.JSONDecoder()

RESERVE = 2**18
"""Bytes kept back on the disk, beside room for two keyframes, so that a full disk still takes the last records."""


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
        Time since the start of the run at which each was recorded.
    damage : list of str
        One sentence per record that cannot be read.
    """

    steps: np.ndarray
    columns: dict[str, np.ndarray]
    seconds: np.ndarray
    damage: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Keyframe:
    """One line of the list of keyframes."""

    step: int
    file: str
    size: int
    crc: int
    reason: str = ""


def new_run_id(paper: str) -> str:
    """An id that sorts by time and is a valid folder name everywhere."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{paper}-{secrets.token_hex(2)}"


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


def _sealed(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=True)
    return json.dumps({"crc": zlib.crc32(text.encode()), "content": content}, sort_keys=True)


def _unsealed(document: Any) -> Any:
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


class RunWriter:
    """Writes one run's folder; owned by the worker, all calls from its loop.

    Raises
    ------
    RunError
        From every method, when the disk refuses: one sentence. What was not written is kept in memory and written by the
        next call that succeeds.
    """

    def __init__(self, path: Path, info: RunInfo, settings_toml: str) -> None:
        self.path = Path(path)
        self._rows: list[tuple[int, float, Mapping[str, float]]] = []
        self._reserve = self.path / ".reserve"
        self._pending_events: list[str] = []
        self._pending_index: list[str] = []
        self.keyframes: list[Keyframe] = []
        try:
            with contextlib.ExitStack() as opened:
                if (self.path / "run.json").exists():
                    raise RunError(
                        f"{self.path} holds a run already: choose another folder, or move that one away."
                    )
                (self.path / "keyframes").mkdir(parents=True, exist_ok=True)
                write_atomically(self.path / "settings.toml", settings_toml.encode())
                # Unbuffered: a buffer would keep bytes that a full disk refused, and write them again out of place.
                self._metrics = opened.enter_context(self._open("metrics.bin"))
                self._events = opened.enter_context(self._open("events.jsonl"))
                self._index = opened.enter_context(self._open("keyframes.jsonl"))
                # Last: a folder with run.json is a run that can be opened.
                write_atomically(self.path / "run.json", _sealed(asdict(info)).encode())
                opened.pop_all()
        except OSError as error:
            raise RunError(why(error, self.path)) from None

    def _open(self, name: str) -> io.FileIO:
        file = open(self.path / name, "ab", buffering=0)
        if os.fstat(file.fileno()).st_size:
            file.close()
            raise RunError(
                f"{self.path} holds parts of a run already ({name}): choose another folder, or move that one away."
            )
        return file

    def add(self, step: int, seconds: float, scalars: Mapping[str, float]) -> None:
        """Take a step's scalars; they reach the disk with the next `flush`."""
        self._rows.append((step, seconds, scalars))

    def flush(self) -> None:
        """Append what was added to the files, so that it survives the death of this process."""
        refusal: RunError | None = None
        for file, lines in ((self._events, self._pending_events), (self._index, self._pending_index)):
            if lines:
                refusal = self._append(file, "".join(line + "\n" for line in lines).encode()) or refusal
                lines.clear()
        if self._rows:
            refusal = self._append(self._metrics, _pack_rows(self._rows)) or refusal
            self._rows = []
        if refusal is not None:
            raise refusal

    def event(self, step: int, kind: str, **details: Any) -> None:
        """Record something that happened at a step."""
        self._pending_events.append(_sealed({"step": step, "kind": kind, "time": time.time(), **details}))
        self.flush()

    def keyframe(self, step: int, data: bytes, reason: str = "") -> Keyframe:
        """Store a keyframe; one of the same step is replaced."""
        crc = zlib.crc32(data)
        # Not the file of an earlier one of this step: that one serves until the list names this one.
        name = f"{step:010d}-{crc:08x}.safetensors"
        record = Keyframe(step, name, len(data), crc, reason)
        path = self.path / "keyframes" / name
        refusal: RunError | None = None
        try:
            write_atomically(path, data)
        except OSError as error:
            refusal = RunError(why(error, self.path))
            if not self._spend_reserve(error):
                raise refusal from None
            try:
                write_atomically(path, data)
            except OSError:
                raise refusal from None
        self._pending_index.append(_sealed(asdict(record)))
        replaced = [k for k in self.keyframes if k.step == step and k.file != name]
        self.keyframes = [k for k in self.keyframes if k.step != step] + [record]
        self.flush()
        for old in replaced:
            self.drop_keyframe(old)
        if refusal is not None:
            raise refusal
        self._keep_reserve(2 * len(data) + RESERVE)
        return record

    def drop_keyframe(self, record: Keyframe) -> None:
        """Delete a keyframe's file; the list drops entries whose file is gone."""
        self.keyframes = [k for k in self.keyframes if k != record]
        with contextlib.suppress(OSError):
            (self.path / "keyframes" / record.file).unlink()

    def close(self) -> None:
        """Write what is left and close the files."""
        try:
            self.flush()
        finally:
            for file in (self._metrics, self._events, self._index):
                file.close()
            with contextlib.suppress(OSError):
                self._reserve.unlink()

    def _append(self, file: io.FileIO, data: bytes) -> RunError | None:
        """Append whole records; what is returned is to be told although the space that was kept back took them.

        Raises
        ------
        RunError
            When they are not on the disk.
        """
        try:
            _write_whole(file, data)
        except OSError as error:
            refusal = RunError(why(error, self.path))
            if not self._spend_reserve(error):
                raise refusal from None
            try:
                _write_whole(file, data)
            except OSError:
                raise refusal from None
            return refusal
        return None

    def _keep_reserve(self, size: int) -> None:
        with contextlib.suppress(OSError):
            if not self._reserve.exists() or self._reserve.stat().st_size < size:
                write_atomically(self._reserve, bytes(size))

    def _spend_reserve(self, error: OSError) -> bool:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return False
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True


def _write_whole(file: io.FileIO, data: bytes) -> None:
    size = os.fstat(file.fileno()).st_size
    try:
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        # Half a record must not stay: the next one would follow it.
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), size)
        raise


def _pack_rows(rows: Sequence[tuple[int, float, Mapping[str, float]]]) -> bytes:
    import safetensors.numpy

    names = list(dict.fromkeys(name for _, _, scalars in rows for name in scalars))
    nan = float("nan")
    table = np.array([[scalars.get(name, nan) for name in names] for _, _, scalars in rows], dtype=np.float64)
    body = {
        "step": np.array([row[0] for row in rows], dtype=np.int64),
        "seconds": np.array([row[1] for row in rows], dtype=np.float64),
        "values": table.reshape(len(rows), len(names)),
    }
    payload = safetensors.numpy.save(body, {"names": json.dumps(names)})
    return _BLOCK.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload


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
            content = _unsealed(json.loads(text))
            if content.get("format") != FORMAT:
                raise RunError(
                    f"{self.path} was written by another version of the lab (format {content.get('format')}, this one "
                    f"reads {FORMAT}): open it with that version."
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
        while position + _BLOCK.size <= len(data):
            magic, length, crc = _BLOCK.unpack_from(data, position)
            start, end = position + _BLOCK.size, position + _BLOCK.size + length
            if magic == _MAGIC and zlib.crc32(data[start:end]) == crc:
                position = end
                try:
                    blocks.append(_unpack_rows(data[start:end]))
                    last_step = int(blocks[-1][0][-1])
                except Exception as error:  # A valid checksum around nonsense is a damaged file all the same.
                    damage.append(f"{path}: a record cannot be read ({error}).")
                continue
            if magic == _MAGIC and end > len(data) and data.find(_MAGIC, start) < 0:
                break  # Cut short by a killed process.
            following = data.find(_MAGIC, position + 1)
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
        """Keyframes whose file is there, by step, and a sentence per line that cannot be read."""
        lines, damage = self._lines("keyframes.jsonl")
        found: dict[int, Keyframe] = {}
        for content in lines:
            try:
                record = _keyframe_of(content)
            except (TypeError, ValueError):
                damage.append(
                    f"{self.path / 'keyframes.jsonl'} has a line of an unknown form: it is left out."
                )
                continue
            if (self.path / "keyframes" / record.file).is_file():
                found[record.step] = record
        return [found[step] for step in sorted(found)], damage

    def read_keyframe(self, record: Keyframe) -> dict[str, Any]:
        """The engine's state at a keyframe; imports torch.

        Raises
        ------
        RunError
            When the file was cut short or changed.
        """
        from lab.runs.state import unpack

        return unpack(self._keyframe_bytes(record))[0]

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
            if event.get("kind") == "change" and isinstance(event.get("values"), dict):
                values.update(event["values"])
        return values

    def last_state(self) -> str:
        """The state that the run was last in: "running" means that its process died."""
        states = [event.get("state") for event in self.events()[0] if event.get("kind") == "state"]
        return next((state for state in reversed(states) if isinstance(state, str)), "starting")

    def damage(self) -> list[str]:
        """Every sentence about what cannot be read in this folder, keyframes checked byte by byte."""
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
                    content = _unsealed(document)
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
    texts = (info.id, info.paper, info.name, info.preset, info.device, info.created)
    tables = (info.values, info.versions, info.machine, info.data)
    if not all(isinstance(text, str) for text in texts) or not all(
        isinstance(table, dict) for table in tables
    ):
        raise TypeError("a field has another type")
    return info


def _keyframe_of(content: Mapping[str, Any]) -> Keyframe:
    record = Keyframe(**content)
    if not all(type(number) is int for number in (record.step, record.size, record.crc)):
        raise TypeError("a field has another type")
    # A name from a file is not to be trusted with a path.
    if not _KEYFRAME_FILE.fullmatch(record.file):
        raise ValueError("the file has another name")
    return record


def is_run(path: Path | str) -> bool:
    """Whether a folder looks like a run."""
    return (Path(path) / "run.json").is_file()
