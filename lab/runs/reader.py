"""Reads the pictures of keyframes while the hand moves along the time line; on a thread of its own, Qt-free.

Only the newest request counts. While there is none, the neighbours of the last one are read in advance.
"""

from __future__ import annotations

import contextlib
import logging
import stat
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from engines.errors import RunError
from engines.figures import Figure
from lab.runs.folder import KEYFRAME_FILE, Keyframe
from lab.runs.frames import unpack

CACHE_BYTES = 128 * 2**20

REST = 0.15
"""Seconds after a request in which nothing is read in advance: reading would slow the drawing of what was asked for."""

logger = logging.getLogger(__name__)


def read_frame(folder: Path | str, record: Keyframe) -> dict[str, Figure]:
    """Every picture that was kept with a keyframe.

    Raises
    ------
    RunError
        When there are none, or the file was cut short or changed.
    """
    step = f"{record.step:,}"
    if not record.frame:
        raise RunError(f"There are no pictures of step {step} (none were kept with it): choose another step.")
    if not KEYFRAME_FILE.fullmatch(record.frame):
        # A name from a file is not to be trusted with a path.
        raise RunError(
            f"There are no pictures of step {step} ({record.frame!r} is no name of such a file): choose another step."
        )
    path = Path(folder) / "frames" / record.frame
    try:
        # Before it is read: a file of another size may be too large for the memory, or not be a file.
        status = path.stat()
        whole = stat.S_ISREG(status.st_mode) and status.st_size == record.frame_size
        data = path.read_bytes() if whole else b""
    except OSError as error:
        raise RunError(
            f"The pictures of step {step} ({path}) cannot be read ({error.strerror or error}): choose another step."
        ) from None
    if not whole or zlib.crc32(data) != record.frame_crc:
        reason = "checksum" if whole else "size"
        raise RunError(
            f"The pictures of step {step} ({path}) are damaged (their {reason} does not fit): choose another step; the "
            "others still work."
        )
    return unpack(data)


_Key = tuple[Path, str, int, int]
_Request = tuple[Path, Keyframe | None, tuple[Keyframe, ...]]
_Result = tuple[Path, Keyframe, dict[str, Figure] | RunError]


class FrameReader:
    """Reads pictures for one window; its methods are called from one thread, and none waits for the disk but `close`.

    Parameters
    ----------
    cache_bytes : int
        Bytes of pictures that are kept to be seen again, counted as they are on the disk.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._cache_bytes = cache_bytes
        # Of the reading thread alone.
        self._cache: OrderedDict[_Key, dict[str, Figure]] = OrderedDict()
        self._cached_bytes = 0
        self._changed = threading.Condition()
        # Guarded by it.
        self._request: _Request | None = None
        self._result: _Result | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="lab-frames", daemon=True)
        self._thread.start()

    def request(self, folder: Path, record: Keyframe, neighbours: Sequence[Keyframe] = ()) -> None:
        """Read the pictures of a keyframe, and afterwards in advance those of others; takes the place of what still waits."""
        with self._changed:
            self._request = Path(folder), record, tuple(neighbours)
            self._changed.notify()

    def warm_up(self, folder: Path, record: Keyframe) -> None:
        """Read the pictures of a keyframe for nothing: the first reading takes ten times as long as those after it."""
        with self._changed:
            if self._request is None:
                self._request = Path(folder), None, (record,)
                self._changed.notify()

    def poll(self) -> tuple[Path, Keyframe, dict[str, Figure] | RunError] | None:
        """The newest pictures that were read on request, or why they cannot be; each once."""
        with self._changed:
            result, self._result = self._result, None
            return result

    def close(self, timeout: float = 5.0) -> None:
        """End the thread; what is still asked for is not read any more. Waits this many seconds for a disk that hangs."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._request is not None)
                if self._closed or self._request is None:
                    return
                folder, record, neighbours = self._request
                self._request = None
            if record is None:
                # The thread must live to read others, whatever is wrong with this one.
                with contextlib.suppress(Exception):
                    read_frame(folder, neighbours[0])
                continue
            found = self._read(folder, record)
            with self._changed:
                self._result = folder, record, found
            for number, neighbour in enumerate(neighbours):
                with self._changed:
                    rest = REST if number == 0 else 0.0
                    if self._changed.wait_for(lambda: self._closed or self._request is not None, rest):
                        break
                if neighbour.frame:
                    # If it cannot be read, that is told when somebody wants to see it.
                    self._read(folder, neighbour)

    def _read(self, folder: Path, record: Keyframe) -> dict[str, Figure] | RunError:
        key = folder, record.frame, record.frame_size, record.frame_crc
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        try:
            found = read_frame(folder, record)
        except RunError as error:
            return error
        except Exception as error:
            # The thread must live to read others.
            logger.exception("pictures of step %d in %s", record.step, folder)
            return RunError(
                f"The pictures of step {record.step:,} cannot be read because of a fault in the lab "
                f"({type(error).__name__}: {error}): choose another step."
            )
        self._cache[key] = found
        self._cached_bytes += record.frame_size
        while self._cached_bytes > self._cache_bytes:
            (_, _, size, _), _ = self._cache.popitem(last=False)
            self._cached_bytes -= size
        return found
