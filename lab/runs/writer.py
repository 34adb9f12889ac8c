"""Writes a run's folder while it trains; owned by the worker, all calls from its loop. The layout is in `lab.runs.folder`."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import RunError
from lab.runs.folder import (
    BEFORE_CHANGE,
    BLOCK,
    MAGIC,
    Keyframe,
    Metrics,
    RunFolder,
    RunInfo,
    RunStatus,
    bytes_of,
    sealed,
    why,
    write_atomically,
)
from lab.runs.lock import RunLock

RESERVE = 2**18
"""Bytes kept back on the disk, beside room for two keyframes, so that a full disk still takes the last records."""

ROWS_PER_BLOCK = 50_000

INHERITED_EVENTS = ("change", "action", "divergence", "branch")


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
        self.info = info
        self._rows: list[tuple[int, float, Mapping[str, float]]] = []
        self._reserve = self.path / ".reserve"
        self._pending_events: list[str] = []
        self._pending_index: list[str] = []
        self.keyframes: list[Keyframe] = []
        """Those that can be gone back to, in order."""
        try:
            with contextlib.ExitStack() as opened:
                if (self.path / "run.json").exists():
                    raise RunError(
                        f"{self.path} holds a run already: choose another folder, or move that one away."
                    )
                for folder in ("keyframes", "frames"):
                    (self.path / folder).mkdir(parents=True, exist_ok=True)
                write_atomically(self.path / "settings.toml", settings_toml.encode())
                # Unbuffered: a buffer would keep bytes that a full disk refused, and write them again out of place.
                self._metrics = opened.enter_context(self._open("metrics.bin"))
                self._events = opened.enter_context(self._open("events.jsonl"))
                self._index = opened.enter_context(self._open("keyframes.jsonl"))
                self._lock = RunLock(self.path)
                opened.callback(self._lock.release)
                # Last: a folder with run.json is a run that can be opened.
                write_atomically(self.path / "run.json", sealed(asdict(info)).encode())
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
        # The scalars first: a keyframe that is listed has all that lies before it on the disk.
        if self._rows:
            refusal = self._append(self._metrics, _pack_rows(self._rows))
            self._rows = []
        for file, lines in ((self._events, self._pending_events), (self._index, self._pending_index)):
            if lines:
                refusal = self._append(file, "".join(line + "\n" for line in lines).encode()) or refusal
                lines.clear()
        if refusal is not None:
            raise refusal

    def event(self, step: int, kind: str, **details: Any) -> None:
        """Record something that happened at a step."""
        self._pending_events.append(sealed({"step": step, "kind": kind, "time": time.time(), **details}))
        self.flush()

    def keyframe(
        self,
        step: int,
        data: bytes,
        reason: str = "",
        *,
        frame: bytes = b"",
        seconds: float = 0.0,
        finite: bool = True,
        value: float | None = None,
    ) -> Keyframe:
        """Store a state, and the pictures of it if there are any; one that stands at the same place is replaced."""
        file, crc = _file_name(step, data)
        picture, frame_crc = _file_name(step, frame) if frame else ("", 0)
        record = Keyframe(
            step, file, len(data), crc, reason, seconds, picture, len(frame), frame_crc, finite, value
        )
        # The state first: pictures without it would be listed by nobody.
        refusal = self._store(self.path / "keyframes" / file, data)
        if frame:
            refusal = self._store(self.path / "frames" / picture, frame) or refusal
        self._list(record)
        if refusal is not None:
            raise refusal
        self._keep_reserve(2 * record.bytes + RESERVE)
        return record

    def keyframe_again(self, record: Keyframe, reason: str) -> Keyframe:
        """List a keyframe for another reason, too; only one that stands just before a change stands beside the other."""
        again = replace(record, reason=reason)
        self._list(again)
        return again

    def _list(self, record: Keyframe) -> None:
        self._pending_index.append(sealed(asdict(record)))
        replaced = [k for k in self.keyframes if k.place == record.place]
        kept = [k for k in self.keyframes if k.place != record.place]
        self.keyframes = sorted([*kept, record], key=lambda k: k.place)
        self.flush()
        for old in replaced:
            self._remove_files(old)

    def drop_keyframe(self, record: Keyframe) -> None:
        """Delete a keyframe's files; the list drops entries whose file is gone."""
        self.keyframes = [k for k in self.keyframes if k != record]
        self._remove_files(record)

    def _remove_files(self, record: Keyframe) -> None:
        for folder, name, used in (
            ("keyframes", record.file, {k.file for k in self.keyframes}),
            ("frames", record.frame, {k.frame for k in self.keyframes}),
        ):
            if name and name not in used:
                with contextlib.suppress(OSError):
                    (self.path / folder / name).unlink()

    def keyframe_bytes(self) -> int:
        """What states and pictures take on the disk."""
        return bytes_of(self.keyframes)

    def status(self, status: RunStatus) -> None:
        """Write how far the run is; what cannot be written is written the next time."""
        with contextlib.suppress(OSError):
            write_atomically(self.path / "status.json", sealed(asdict(status)).encode())

    def inherit(
        self, source: RunFolder, keyframe: Keyframe, relation: str, past: Metrics | None = None
    ) -> list[dict[str, Any]]:
        """Begin with what another run has up to one of its keyframes; returns the events that came along.

        Its keyframes are linked, not copied, where the disk can do that; what is damaged in it is left out. ``past`` are its
        scalars up to there, where they have been read already.
        """
        step = keyframe.step
        events: list[dict[str, Any]] = []
        try:
            for block in _blocks(source.metrics().upto(step) if past is None else past):
                if (refusal := self._append(self._metrics, block)) is not None:
                    raise refusal
            for event in source.events()[0]:
                if event.get("kind") not in INHERITED_EVENTS or not isinstance(event.get("step"), int):
                    continue
                # At the keyframe's own step, what comes after a keyframe written just before it is not its past.
                if event["step"] < step or (event["step"] == step and keyframe.reason != BEFORE_CHANGE):
                    events.append({**event, "inherited": True})
                    self._pending_events.append(sealed(events[-1]))
            for record in source.keyframes()[0]:
                if record.place > keyframe.place:
                    break
                if not _share(source.path / "keyframes" / record.file, self.path / "keyframes" / record.file):
                    # A run that is being written thins its keyframes.
                    continue
                if record.frame and not _share(
                    source.path / "frames" / record.frame, self.path / "frames" / record.frame
                ):
                    record = replace(record, frame="", frame_size=0, frame_crc=0)
                if record.place == keyframe.place and record.reason == BEFORE_CHANGE:
                    # The change that it was written for is not a part of this run.
                    record = replace(record, reason="regular")
                self._pending_index.append(sealed(asdict(record)))
                self.keyframes.append(record)
        except OSError as error:
            raise RunError(why(error, self.path)) from None
        self.event(step, "branch", parent=source.info.id, relation=relation)
        return events

    def close(self) -> None:
        """Write what is left and close the files."""
        try:
            self.flush()
        finally:
            for file in (self._metrics, self._events, self._index):
                file.close()
            with contextlib.suppress(OSError):
                self._reserve.unlink()
            self._lock.release()

    def _store(self, path: Path, data: bytes) -> RunError | None:
        """Write a whole file; what is returned is to be told although the space that was kept back took it.

        Raises
        ------
        RunError
            When it is not on the disk.
        """
        # One of this name has this content: its checksum is in the name.
        if path.exists() and path.stat().st_size == len(data):
            return None
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
            return refusal
        return None

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
    names = list(dict.fromkeys(name for _, _, scalars in rows for name in scalars))
    nan = float("nan")
    table = np.array([[scalars.get(name, nan) for name in names] for _, _, scalars in rows], dtype=np.float64)
    return _pack_table(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.float64),
        table.reshape(len(rows), len(names)),
        names,
    )


def _pack_table(steps: np.ndarray, seconds: np.ndarray, table: np.ndarray, names: Sequence[str]) -> bytes:
    import safetensors.numpy

    body = {"step": steps, "seconds": seconds, "values": np.ascontiguousarray(table)}
    payload = safetensors.numpy.save(body, {"names": json.dumps(list(names))})
    return BLOCK.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def _blocks(metrics: Metrics) -> Iterator[bytes]:
    """The scalars as records of bounded size."""
    count = len(metrics.steps)
    names = list(metrics.columns)
    for start in range(0, count, ROWS_PER_BLOCK):
        part = slice(start, min(start + ROWS_PER_BLOCK, count))
        rows = part.stop - part.start
        table = np.empty((rows, len(names)))
        for column, name in enumerate(names):
            table[:, column] = metrics.columns[name][part]
        yield _pack_table(metrics.steps[part], metrics.seconds[part], table, names)


def _file_name(step: int, data: bytes) -> tuple[str, int]:
    crc = zlib.crc32(data)
    return f"{step:010d}-{crc:08x}.safetensors", crc


def _share(source: Path, target: Path) -> bool:
    """Give a file a second name, or copy it where the disk has no second names; false when it is not there."""
    if target.exists():
        return True
    try:
        os.link(source, target)
    except FileNotFoundError:
        return False
    except OSError:
        temporary = target.with_suffix(".tmp")
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    return True
