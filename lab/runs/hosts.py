"""The two places where a worker lives: a process of its own (the default) or a thread of this one; Qt-free.

A host starts a worker, and can tell whether it lives and how it ended. `WorkerPool` keeps one warm, with torch imported, so
that Train answers at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
import time
from multiprocessing.connection import Connection, wait
from typing import Literal, Protocol

Where = Literal["process", "thread"]


class Host(Protocol):
    """A place where a worker lives.

    Attributes
    ----------
    where : {"process", "thread"}
    connection : Connection
        The session's end.
    """

    where: Where
    connection: Connection

    def is_alive(self) -> bool:
        """Whether the worker still serves."""

    def ending(self) -> str:
        """How it ended, in words, for an error; empty when it lives or was closed."""

    def kill(self) -> None:
        """End it at once where that is possible; what is unsaved is lost."""

    def join(self, timeout: float) -> bool:
        """Wait until it has ended; False when it has not within ``timeout`` seconds."""


class ProcessHost:
    """A worker in a process of its own, started with spawn: fork and torch's or Qt's threads do not go together."""

    where: Where = "process"

    def __init__(self) -> None:
        from lab.runs.worker import serve_process

        context = multiprocessing.get_context("spawn")
        self.connection, remote = context.Pipe(duplex=True)
        # Two threads that reap one process at once lose its exit code.
        self._reaping = threading.Lock()
        self._process = context.Process(target=serve_process, args=(remote,), name="lab-worker", daemon=True)
        self._process.start()
        # Only the child may hold its end, or its death would not close the pipe.
        remote.close()

    @property
    def pid(self) -> int | None:
        """The process's id."""
        return self._process.pid

    def is_alive(self) -> bool:
        with self._reaping:
            return self._process.is_alive()

    def ending(self) -> str:
        with self._reaping:
            code = self._process.exitcode
        if code is None or code == 0:
            return ""
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def kill(self) -> None:
        self._process.kill()

    def join(self, timeout: float) -> bool:
        if not wait([self._process.sentinel], timeout):
            return False
        with self._reaping:
            self._process.join()
        return True


class ThreadHost:
    """A worker on a thread of this process: nothing to start, but it shares the interpreter's lock with the window."""

    where: Where = "thread"

    def __init__(self) -> None:
        from lab.runs.worker import Worker

        self.connection, remote = multiprocessing.Pipe(duplex=True)
        self._error = ""

        def serve() -> None:
            try:
                Worker(remote).run()
            except BaseException as error:
                self._error = f"{type(error).__name__}: {error}"
                with contextlib.suppress(OSError):
                    remote.close()
                raise

        self._thread = threading.Thread(target=serve, name="lab-worker", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def ending(self) -> str:
        return self._error

    def kill(self) -> None:
        # A thread cannot be killed; it ends after its present step because its connection is gone.
        with contextlib.suppress(OSError):
            self.connection.close()

    def join(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()


def make_host(where: Where) -> Host:
    """A fresh worker in that place."""
    return ProcessHost() if where == "process" else ThreadHost()


class WorkerPool:
    """Keeps one warm worker process ready.

    Safe from any thread. `take` returns at once with the spare, or a fresh worker when there is none; a new spare is made in
    the background after ``delay`` seconds, so that its start does not compete with the run that has just begun.
    """

    def __init__(self, delay: float = 3.0) -> None:
        self._delay = delay
        self._lock = threading.Lock()
        self._spare: ProcessHost | None = None
        self._closed = threading.Event()
        self._filler: threading.Thread | None = None

    def warm(self, delay: float = 0.0) -> None:
        """Make a spare in the background unless there is one."""
        with self._lock:
            busy = self._filler is not None and self._filler.is_alive()
            if self._closed.is_set() or self._spare is not None or busy:
                return
            self._filler = threading.Thread(target=self._fill, args=(delay,), name="lab-warmer", daemon=True)
            self._filler.start()

    def _fill(self, delay: float) -> None:
        if self._closed.wait(delay):
            return
        host = ProcessHost()
        with self._lock:
            if not self._closed.is_set() and self._spare is None:
                self._spare = host
                return
        host.connection.close()
        host.join(5.0)

    def is_warm(self) -> bool:
        """Whether a spare stands ready, with torch imported."""
        with self._lock:
            # Its first report waits unread in the pipe until a session reads it.
            return self._spare is not None and self._spare.connection.poll()

    def take(self, where: Where) -> Host:
        """A worker for a run."""
        if where == "thread":
            return ThreadHost()
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None and spare.is_alive():
            self.warm(self._delay)
            return spare
        host = ProcessHost()
        self.warm(self._delay)
        return host

    def close(self, timeout: float = 5.0) -> None:
        """End the spare and make no more."""
        self._closed.set()
        with self._lock:
            spare, self._spare = self._spare, None
            filler = self._filler
        end = time.monotonic() + timeout
        if spare is not None:
            # It ends by itself when its connection is gone, also while it still imports.
            spare.connection.close()
            if not spare.join(0.5):
                spare.kill()
                spare.join(max(0.1, end - time.monotonic()))
        if filler is not None:
            filler.join(max(0.1, end - time.monotonic()))
