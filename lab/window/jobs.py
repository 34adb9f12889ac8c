"""Work of seconds that the window starts and must not wait for: exports, downloads; polled by the window's timer.

A job is a function on a thread. It emits nothing: the window's timer asks whether it is done and then calls back on the GUI
thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Job:
    """One piece of work.

    Attributes
    ----------
    key : str
        Names the message that stands for it.
    future : Future
    on_done : callable
        Called on the GUI thread with the finished future.
    cancel : threading.Event
        The work looks at it.
    progress : (done, total or None, label)
        The newest that the work told.
    on_progress : callable or None
        Called on the GUI thread when the progress has changed.
    """

    key: str
    future: Future[Any]
    on_done: Callable[[Future[Any]], None]
    cancel: threading.Event
    on_progress: Callable[[int, int | None, str], None] | None = None
    progress: tuple[int, int | None, str] = (0, None, "")
    told: tuple[int, int | None, str] = field(default=(0, None, ""), repr=False)

    def report(self, done: int, total: int | None, label: str = "") -> None:
        """Take the work's progress; called on its thread."""
        self.progress = (done, total, label)


class Jobs:
    """The jobs under way."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=3, thread_name_prefix="lab-job")
        self._jobs: list[Job] = []

    def start(
        self,
        key: str,
        work: Callable[[Job], Any],
        on_done: Callable[[Future[Any]], None],
        on_progress: Callable[[int, int | None, str], None] | None = None,
    ) -> Job:
        """Begin ``work(job)`` on a thread."""
        job = Job(key, Future(), on_done, threading.Event(), on_progress)
        self._jobs.append(job)
        job.future = self._threads.submit(work, job)
        return job

    def find(self, key: str) -> Job | None:
        """The job of that key, while it is under way."""
        return next((job for job in self._jobs if job.key == key), None)

    def poll(self) -> None:
        """Call back for what has moved or ended since the last poll."""
        for job in list(self._jobs):
            if job.on_progress is not None and job.progress != job.told:
                job.told = job.progress
                job.on_progress(*job.told)
            if job.future.done():
                self._jobs.remove(job)
                job.on_done(job.future)

    def close(self) -> None:
        """Cancel everything and wait for it."""
        for job in self._jobs:
            job.cancel.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._jobs.clear()
