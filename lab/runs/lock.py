"""Tells whether a run is still being written: a lock on a file in its folder; any thread or process, Qt-free.

The operating system releases the lock when the process ends, however it ends; so a run whose state is not an end and whose
lock is free was cut off.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

FILE = ".lock"


class RunLock:
    """Held by the worker as long as it writes a run.

    A disk that knows no locks (some network disks) does not keep a run from being written: `held` is then false.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._descriptor = -1
        self.held = False
        with contextlib.suppress(OSError):
            self._descriptor = os.open(
                self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644
            )
            self.held = _try(self._descriptor)

    def release(self) -> None:
        """Let go; more than once does no harm."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):
            os.close(descriptor)
        if self.held:
            self.held = False
            with contextlib.suppress(OSError):
                self._path.unlink()


def is_held(folder: Path | str) -> bool:
    """Whether a living worker writes the run in this folder."""
    try:
        descriptor = os.open(Path(folder) / FILE, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        return not _try(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _try(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try(descriptor: int) -> bool:
        try:
            # Of the open file, not of the process: two runs on threads of one process do not see each other's as their own.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
