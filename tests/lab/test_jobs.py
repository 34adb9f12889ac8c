"""Work in the background: done elsewhere, told on the thread that polls, ended with the window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from lab.window.jobs import Job, Jobs

PATIENCE = 20.0


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """Jobs that are closed at the end."""
    made = Jobs()
    yield made
    made.close()


def poll_until(jobs: Jobs, condition: Callable[[], bool]) -> None:
    """Poll as the window's timer does, until something holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        jobs.poll()
        threading.Event().wait(0.002)


def test_a_job_runs_elsewhere_and_calls_back_here(jobs: Jobs) -> None:
    threads: dict[str, int] = {}
    results: list[int] = []

    def work(job: Job) -> int:
        threads["work"] = threading.get_ident()
        return 7

    def done(future: Future[int]) -> None:
        threads["done"] = threading.get_ident()
        results.append(future.result())

    jobs.start("one", work, done)
    poll_until(jobs, lambda: bool(results))
    assert results == [7] and threads["done"] == threading.get_ident() != threads["work"]
    jobs.poll()
    assert results == [7], "it is told once"


def test_nothing_is_told_without_a_poll(jobs: Jobs) -> None:
    ended = threading.Event()
    told: list[object] = []
    jobs.start("one", lambda job: ended.set(), told.append)
    assert ended.wait(PATIENCE) and told == []


def test_an_error_of_the_work_comes_with_its_future(jobs: Jobs) -> None:
    futures: list[Future[None]] = []

    def work(job: Job) -> None:
        raise OSError("no room")

    jobs.start("one", work, futures.append)
    poll_until(jobs, lambda: bool(futures))
    assert str(futures[0].exception()) == "no room"


def test_progress_is_told_when_it_moves_and_the_newest_of_it(jobs: Jobs) -> None:
    told: list[tuple[int, int | None, str]] = []
    over: list[object] = []
    go, seen = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        for done in range(100):
            job.report(done, 100, "half")
        seen.set()
        go.wait(PATIENCE)
        job.report(100, 100)

    jobs.start("one", work, over.append, lambda *progress: told.append(progress))
    assert seen.wait(PATIENCE)
    jobs.poll()
    jobs.poll()
    assert told == [(99, 100, "half")]
    go.set()
    poll_until(jobs, lambda: bool(over))
    assert told[-1] == (100, 100, "")


def test_a_job_is_found_by_its_key_while_it_lasts_and_can_be_cancelled(jobs: Jobs) -> None:
    ended: list[object] = []
    job = jobs.start("fetch/mnist", lambda job: job.cancel.wait(PATIENCE), ended.append)
    assert jobs.find("fetch/mnist") is job and jobs.find("another") is None
    job.cancel.set()
    poll_until(jobs, lambda: bool(ended))
    assert jobs.find("fetch/mnist") is None


def test_a_callback_that_fails_costs_only_itself(jobs: Jobs) -> None:
    told: list[str] = []
    both = threading.Barrier(3)

    def fail(future: Future[object]) -> None:
        told.append("failing")
        raise RuntimeError("a fault of ours")

    jobs.start("one", lambda job: both.wait(PATIENCE), fail)
    jobs.start("two", lambda job: both.wait(PATIENCE), lambda future: told.append("well"))
    both.wait(PATIENCE)
    faults = 0
    end = time.monotonic() + PATIENCE
    while len(told) < 2:
        assert time.monotonic() < end
        try:
            jobs.poll()
        except RuntimeError:
            faults += 1
    assert faults == 1 and set(told) == {"failing", "well"}


def test_closing_cancels_and_waits_and_tells_nobody() -> None:
    jobs = Jobs()
    told: list[object] = []
    ended = threading.Event()

    def work(job: Job) -> None:
        job.cancel.wait(PATIENCE)
        ended.set()

    running = threading.Event()
    jobs.start("one", lambda job: (running.set(), work(job)), told.append)
    # More than there are threads: the rest never begins.
    for number in range(5):
        jobs.start(str(number), lambda job: job.cancel.wait(PATIENCE), told.append)
    assert running.wait(PATIENCE)
    jobs.close()
    assert ended.is_set()
    jobs.poll()
    assert told == []
