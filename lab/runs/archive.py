"""A run as one zip file, and back; any thread, Qt-free.

A zip file comes from anywhere, so nothing in it is trusted: only regular files with the names of the layout of
`lab.runs.folder` are taken, within bounds of number and size that are checked before anything is written and counted while
it is, and what is no run in the end is removed again. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from engines.errors import RunError
from lab.runs.folder import KEYFRAME_FILE, RunFolder, why
from lab.runs.shelf import LABEL_FILE, free_place

LARGEST = 16 * 2**30
"""Bytes that a run may take when it is unpacked."""
RESERVE = 256 * 2**20
"""Bytes of the disk that unpacking leaves free."""
MOST_MEMBERS = 4000
HIGHEST_RATIO = 200
"""How many times smaller a large file may have become in the zip."""
LARGE = 10 * 2**20
"""Bytes from which on a file is large: it is zipped as it is, so that what is refused here is never made here."""

_SMALL = ("run.json", "settings.toml", "status.json", LABEL_FILE)
_SMALL_BYTES = 16 * 2**20
"""Bytes that each of the files may have that are read as a whole wherever a run is listed."""
_FILES = (*_SMALL, "events.jsonl", "keyframes.jsonl", "metrics.bin")
_FOLDERS = ("keyframes", "frames")
_TOP = re.compile(r"(?!\.+/)[^/\\:\x00-\x1f\x7f]{1,200}/")
_RUN_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_CHUNK = 2**20

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and all bytes; what it raises ends the work and is passed on, and no file is left."""


def zip_run(
    folder: RunFolder | Path | str,
    target: Path | str,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a run to a zip file, whole or not at all.

    A run that is being written may be zipped: what it had at this moment is in the file.

    Parameters
    ----------
    folder : RunFolder or path
    target : path
    progress : callable, optional
    overwrite : bool
        Replace a file of that name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    RunError
        When there is no run, the target exists, or the disk refuses.
    """
    run = folder if isinstance(folder, RunFolder) else RunFolder(folder)
    target = Path(target)
    if target.is_dir():
        raise RunError(f"{target} is a folder: name a file in it.")
    if target.exists() and not overwrite:
        raise RunError(f"{target} exists already: choose another name, or allow it to be replaced.")
    top = run.info.id if _RUN_ID.fullmatch(run.info.id) else "run"
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        parts = _parts(run.path)
        total, done = sum(size for _, size in parts), 0
        with zipfile.ZipFile(temporary, "x") as archive:
            for name, _ in parts:
                done += _add(archive, f"{top}/{name}", run.path / name)
                if progress is not None:
                    progress(min(done, total), total)
        with open(temporary, "rb") as file:
            # The content has to be on the disk before the name points to it.
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise RunError(why(error, target)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return target


def unzip_run(archive: Path | str, runs_folder: Path | str) -> Path:
    """Unpack a zipped run into a folder of its own among the runs, named after the run (with -2, -3 where that is taken).

    Parameters
    ----------
    archive, runs_folder : path
        The folder of runs is made when it is missing.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    RunError
        When the file is no zip of a run, holds anything else, or is too large; nothing is left on the disk then.
    """
    archive, runs_folder = Path(archive), Path(runs_folder)
    try:
        raw = io.FileIO(archive)
    except OSError as error:
        raise RunError(f"{archive} cannot be read ({error.strerror}): give the zip file of a run.") from None
    try:
        with _Wary(raw) as file, zipfile.ZipFile(file) as content:
            room = _room(runs_folder)
            members = _checked(content.infolist(), archive, archive.stat().st_size, room)
            return _unpack(content, members, archive, runs_folder, room)
    except RunError:
        raise
    except OSError as error:
        raise RunError(why(error, runs_folder)) from None
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{archive} is no zip file, or not a whole one ({reason}): fetch or make it again."
        ) from None


_BROKEN = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError, struct.error, zlib.error,
)  # fmt: skip
"""What the standard library raises for one or the other kind of broken zip file."""


class _Wary(io.BufferedReader):
    """Reads no more at once than a sound file needs: the list of members is read whole, and says itself how long it is."""

    _MOST = 4 * 2**20

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = self._MOST
        if size > self._MOST:
            raise zipfile.BadZipFile("its list of files is too long")
        return super().read(size)


# --- zipping  ----------


def _parts(path: Path) -> list[tuple[str, int]]:
    """Names and sizes of the files to zip. Lists come before what they list: a file that is missing later is left out."""
    names = [name for name in _FILES if (path / name).is_file()]
    for folder in _FOLDERS:
        with contextlib.suppress(FileNotFoundError):
            names += sorted(
                f"{folder}/{name}" for name in os.listdir(path / folder) if KEYFRAME_FILE.fullmatch(name)
            )
    parts = []
    for name in names:
        # A run that is being written thins its keyframes.
        with contextlib.suppress(FileNotFoundError):
            parts.append((name, (path / name).stat().st_size))
    return parts


def _add(archive: zipfile.ZipFile, name: str, source: Path) -> int:
    """Add a file as long as it is now; returns its size, 0 if it has gone."""
    try:
        file = open(source, "rb")
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise RunError(f"{source} cannot be read ({error.strerror}): check the disk.") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        entry.compress_type = zipfile.ZIP_STORED if size > LARGE else zipfile.ZIP_DEFLATED
        entry.file_size = size
        with archive.open(entry, "w") as member:
            # What is appended meanwhile belongs to a later moment; a record cut here is dropped by the reader.
            left = size
            while left and (chunk := file.read(min(left, _CHUNK))):
                member.write(chunk)
                left -= len(chunk)
    return size


# --- unzipping  ----------


def _room(folder: Path) -> int:
    """Bytes that may be unpacked into a folder that need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return min(LARGEST, max(0, shutil.disk_usage(folder).free - RESERVE))


def _checked(
    entries: list[zipfile.ZipInfo], archive: Path, archive_size: int, room: int
) -> dict[str, zipfile.ZipInfo]:
    """The members to unpack by their names in a run's folder; raises for whatever does not belong there."""
    if len(entries) > MOST_MEMBERS:
        raise RunError(
            f"{archive} holds {len(entries):,} files, and a run has {MOST_MEMBERS:,} at most: it is refused."
        )
    # The standard library cuts names at a zero byte and turns separators; what stands in the file counts.
    heads = [
        name[: -len("run.json")] for entry in entries if (name := entry.orig_filename).endswith("run.json")
    ]
    heads = [head for head in heads if not head or _TOP.fullmatch(head)]
    if len(heads) != 1:
        raise RunError(
            f"{archive} holds no run (one run.json, alone or in one folder, is needed): give a file that 'lab zip' wrote."
        )
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.orig_filename
        if _is_folder_of_run(entry, heads[0]):
            continue
        part = name[len(heads[0]) :] if name.startswith(heads[0]) else ""
        if not _is_part(part) or stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise RunError(
                f"{archive} holds {_shown(name)}, which is no file of a run: it is refused; give a file that 'lab zip' wrote."
            )
        if part in members:
            raise RunError(f"{archive} holds {part} more than once: it is refused; zip the run again.")
        if entry.flag_bits & 0x2041 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RunError(
                f"{archive} is encrypted, or packed in a way that the lab does not read: zip the run again with 'lab zip'."
            )
        if entry.file_size > LARGE and entry.file_size > HIGHEST_RATIO * entry.compress_size:
            raise RunError(
                f"{part} in {archive} would become more than {HIGHEST_RATIO} times larger than it is, as no run does: it is "
                "refused."
            )
        if part in _SMALL and entry.file_size > _SMALL_BYTES:
            raise RunError(f"{part} in {archive} is larger than it is in any run: it is refused.")
        members[part] = entry
    total = sum(entry.file_size for entry in members.values())
    if total > room:
        raise RunError(
            f"{archive} would take {total / 2**20:,.0f} MiB, and there is room for {room / 2**20:,.0f} MiB: free some space "
            "on the disk, or unpack it elsewhere."
        )
    if sum(entry.compress_size for entry in members.values()) > archive_size:
        raise RunError(
            f"{archive} says that it holds more than it has bytes: it is refused; fetch or make it again."
        )
    return members


def _is_part(name: str) -> bool:
    folder, separator, file = name.partition("/")
    return name in _FILES or bool(separator and folder in _FOLDERS and KEYFRAME_FILE.fullmatch(file))


def _is_folder_of_run(entry: zipfile.ZipInfo, top: str) -> bool:
    """Whether it is the entry that other programs write for a folder itself."""
    folders = {top, *(f"{top}{folder}/" for folder in _FOLDERS)}
    return entry.file_size == 0 and entry.orig_filename.endswith("/") and entry.orig_filename in folders


def _unpack(
    content: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], archive: Path, runs_folder: Path, room: int
) -> Path:
    made = not runs_folder.exists()
    runs_folder.mkdir(parents=True, exist_ok=True)
    # Hidden: the list of runs does not look into it.
    temporary = runs_folder / f".unzip-{secrets.token_hex(4)}"
    done = False
    try:
        for folder in _FOLDERS:
            (temporary / folder).mkdir(parents=True)
        for part, entry in members.items():
            with open(temporary / part, "xb") as file:
                for chunk in _chunks(content, entry, archive):
                    room -= len(chunk)
                    if room < 0:
                        raise RunError(
                            f"{archive} holds more than it says: it is refused; fetch or make it again."
                        )
                    file.write(chunk)
        run = RunFolder(temporary).info.id
        if not _RUN_ID.fullmatch(run):
            raise RunError(f"{archive} holds a run of an impossible name ({_shown(run)}): it is refused.")
        place = free_place(runs_folder / run)
        temporary.rename(place)
        done = True
        return place
    except RunError as error:
        # The sentence names a folder that is gone by the time it is read.
        raise RunError(str(error).replace(str(temporary), str(archive))) from None
    finally:
        if not done:
            shutil.rmtree(temporary, ignore_errors=True)
            if made:
                with contextlib.suppress(OSError):
                    runs_folder.rmdir()


def _chunks(content: zipfile.ZipFile, entry: zipfile.ZipInfo, archive: Path) -> Iterator[bytes]:
    try:
        with content.open(entry) as member:
            while chunk := member.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise RunError(f"{archive} cannot be read ({error}): check the disk, or fetch it again.") from None


def _shown(name: str) -> str:
    """A name from a file, as it stands in a sentence."""
    shown = ascii(name)
    return shown if len(shown) <= 80 else shown[:77] + "..."
