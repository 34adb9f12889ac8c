"""Downloads of files with a known checksum, from several addresses in turn; blocks, so for a background
thread or process.

A file appears under its name only when it is whole and its checksum is right; until then it has another name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engines.data.files import size_text
from engines.errors import DataError

Progress = Callable[[int, int | None, str], None]
"""Called with (bytes done, bytes in all or None, what is being fetched)."""

Cancel = Callable[[], bool] | threading.Event
"""Says whether to stop; asked at each chunk."""

_CHUNK = 64 * 1024
_PART = ".part"
_ABANDONED = 24 * 3600.0
_USER_AGENT = "paperlab"


class FetchCancelled(DataError):
    """The download was stopped on request."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes
    ----------
    name : str
        On the server and on the disk.
    md5 : str
        As published by those who made the data set.
    size : int or None
        Bytes, if known.
    """

    name: str
    md5: str
    size: int | None = None


class _Failed(Exception):
    """Why one address did not give a file."""


def _new_md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def file_md5(path: Path) -> str:
    """MD5 of a file as hexadecimal text; it guards against damage, not against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _new_md5).hexdigest()


def is_cancelled(cancel: Cancel | None) -> bool:
    """Whether a request to stop has come."""
    if cancel is None:
        return False
    return cancel.is_set() if isinstance(cancel, threading.Event) else bool(cancel())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about writing into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):  # Windows knows no quota
            reason, advice = "the disk is full", "make room"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason, advice = "writing there is not allowed", "change its permissions"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            reason, advice = "there is a file in its place", "move that file away"
        else:
            reason, advice = (error.strerror or str(error)).lower(), "check the disk"
        raise DataError(
            f"{folder} cannot take the download, because {reason}; {advice}, or choose another folder."
        ) from error


def _sweep(folder: Path) -> None:
    """Remove what a download that was killed left behind; not what another one may still be writing."""
    for path in folder.glob(f"*{_PART}"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
        except OSError:
            continue


def fetch_files(
    files: Sequence[RemoteFile],
    mirrors: Sequence[str],
    folder: Path,
    *,
    title: str,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    connect_timeout: float = 10.0,
    read_timeout: float = 20.0,
) -> list[Path]:
    """Bring files into a folder; those that are there already and whole stay as they are.

    Parameters
    ----------
    files : sequence of RemoteFile
    mirrors : sequence of str
        Addresses of folders, tried in turn; one that served a file is tried first for the next.
    folder : Path
        Made if need be.
    title : str
        Of the data set, for messages.
    progress : callable or None
        See `Progress`; called from the calling thread. The bytes count over all files.
    cancel : callable or threading.Event or None
        Asked before each chunk; a connection that is silent is left after ``read_timeout`` at the latest.
    connect_timeout, read_timeout : float
        Seconds until a server that does not answer, or falls silent, is given up.

    Returns
    -------
    list of Path
        Where the files are, in the order of ``files``.

    Raises
    ------
    FetchCancelled
        ``cancel`` said so. Files that were complete are kept.
    DataError
        No address gave the right file, or the folder cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    missing = [file for file in files if not _is_whole(folder / file.name, file)]
    needed = sum(file.size or 0 for file in missing)
    with _writing(folder):
        free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{title} needs {size_text(needed)} and {folder} has {size_text(free)} left; make room, or "
            "choose another folder."
        )
    total = sum(file.size for file in files if file.size) if all(file.size for file in files) else None
    done = sum((folder / file.name).stat().st_size for file in files if file not in missing)
    order = list(mirrors)
    for file in missing:
        failures = []
        for mirror in list(order):
            host = urlsplit(mirror).hostname or mirror
            try:
                canceller = _Canceller(cancel, title, done, total)
                canceller(0)
                done += _fetch_one(
                    file,
                    mirror,
                    folder,
                    report=_Reporter(
                        progress, done, total, len(files) == 1, f"{title}: {file.name} from {host}"
                    ),
                    check=canceller,
                    timeout=(connect_timeout, read_timeout),
                )
            except _Failed as failure:
                failures.append(f"{host} {failure}")
                continue
            order.remove(mirror)
            order.insert(0, mirror)
            break
        else:
            why = "; ".join(failures) or "no address is known"
            raise DataError(
                f"{title} could not be fetched ({file.name}: {why}); check the connection and try again, or "
                f"put the file into {folder} by hand."
            )
    return [folder / file.name for file in files]


def _is_whole(path: Path, file: RemoteFile) -> bool:
    try:
        return path.is_file() and (file.size in (None, path.stat().st_size)) and file_md5(path) == file.md5
    except OSError:
        return False


def _check_cancel(cancel: Cancel | None, title: str, done: int, total: int | None) -> None:
    if is_cancelled(cancel):
        of = f" of {size_text(total)}" if total else ""
        raise FetchCancelled(
            f"The download of {title} was cancelled after {size_text(done)}{of}; files that were complete "
            "are kept, so start it again to fetch the rest."
        )


class _Canceller:
    """Raises FetchCancelled when the user wishes so."""

    def __init__(self, cancel: Cancel | None, title: str, before: int, total: int | None) -> None:
        self.cancel, self.title, self.before, self.total = cancel, title, before, total

    def __call__(self, received: int) -> None:
        _check_cancel(self.cancel, self.title, self.before + received, self.total)


class _Reporter:
    """Calls the user's progress function with what is done over all files."""

    def __init__(
        self, progress: Progress | None, before: int, total: int | None, alone: bool, label: str
    ) -> None:
        self.progress, self.before, self.total, self.alone, self.label = progress, before, total, alone, label

    def __call__(self, received: int, announced: int | None) -> None:
        if self.progress is not None:
            total = self.total if self.total is not None else (announced if self.alone else None)
            self.progress(self.before + received, total, self.label)


def _fetch_one(
    file: RemoteFile,
    mirror: str,
    folder: Path,
    report: _Reporter,
    check: Callable[[int], None],
    timeout: tuple[float, float],
) -> int:
    """Fetch one file from one address; its size. _Failed says why this address did not do."""
    received = 0
    digest = _new_md5()
    part = folder / f"{file.name}.{secrets.token_hex(6)}{_PART}"
    try:
        with _writing(folder):
            target = part.open("xb")
        with target, closing(_stream(f"{mirror.rstrip('/')}/{file.name}", timeout)) as chunks:
            for chunk, announced in chunks:
                received += len(chunk)
                if file.size is not None and received > file.size:
                    raise _Failed(f"sent more than the {file.size:,} bytes expected")
                digest.update(chunk)
                with _writing(folder):
                    target.write(chunk)
                report(received, announced)
                check(received)
            with _writing(folder):
                target.flush()
                os.fsync(target.fileno())
        if file.size is not None and received < file.size:
            raise _Failed(f"sent {received:,} of {file.size:,} bytes")
        if digest.hexdigest() != file.md5:
            raise _Failed("sent another file than the published one (its checksum differs)")
        with _writing(folder):
            os.replace(part, folder / file.name)
    finally:
        part.unlink(missing_ok=True)
    return received


def _stream(url: str, timeout: tuple[float, float]) -> Generator[tuple[bytes, int | None]]:
    """Chunks as they come over the wire, each with the length that the server announced; _Failed for all that
    goes wrong."""
    import requests  # a tenth of a second, so not at start-up
    import urllib3

    try:
        # the files are packed already; an encoding on top would make the checksum differ
        headers = {"Accept-Encoding": "identity", "User-Agent": _USER_AGENT}
        with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
            if response.status_code != 200:
                raise _Failed(f"answered {response.status_code} {response.reason or ''}".rstrip())
            length = response.headers.get("Content-Length", "")
            announced = int(length) if length.isascii() and length.isdigit() else None
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                yield chunk, announced
    except (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError) as error:
        raise _Failed(f"did not answer within {timeout[0]:g} s") from error
    except (requests.Timeout, urllib3.exceptions.ReadTimeoutError) as error:
        raise _Failed(f"sent nothing for {timeout[1]:g} s") from error
    except (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.ProtocolError) as error:
        raise _Failed("broke the connection") from error
    except requests.exceptions.SSLError as error:
        raise _Failed("could not be trusted (its certificate is not valid here)") from error
    except requests.exceptions.TooManyRedirects as error:
        raise _Failed("redirects in circles") from error
    except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
        raise _Failed("cannot be reached") from error
    except (requests.RequestException, OSError) as error:
        raise _Failed(f"failed ({type(error).__name__})") from error
