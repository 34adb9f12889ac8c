"""Sessions of the toy that keep all they ever reported; for the tests of runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.runs import messages as m
from lab.runs.folder import BEFORE_CHANGE, Keyframe, RunFolder
from lab.runs.hosts import Host, Where, WorkerPool
from lab.runs.session import Session, Updates
from tests.toy import ToyEngine

PATIENCE = 30.0
"""Seconds that a test waits for a worker on a busy machine."""


def spec(
    folder: Path | None = None, *, resume: Path | None = None, paused: bool = False, **values: Any
) -> m.RunSpec:
    """A run of the toy with these settings."""
    return m.RunSpec(
        run="a-run",
        paper="toy",
        engine="tests.toy:ToyEngine",
        values=values,
        device="cpu",
        folder=str(folder) if folder else None,
        resume=str(resume) if resume else None,
        paused=paused,
        threads=1,
    )


def from_keyframe(
    source: Path, keyframe: Keyframe, folder: Path | None = None, *, paused: bool = True, **changes: Any
) -> m.RunSpec:
    """A run of the toy that goes on from another one's keyframe, with the settings in force then but for the changes."""
    values = {**RunFolder(source).keyframe_values(keyframe), **changes}
    return replace(
        spec(folder, resume=source, paused=paused, **values),
        run="a-child",
        keyframe=keyframe.file,
        before_change=keyframe.reason == BEFORE_CHANGE,
        relation="rewind",
    )


class Watched:
    """A session with everything that it was ever drained of."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.seen = Updates()

    def drain(self) -> Updates:
        mail = self.session.drain()
        for name in ("scalars", "states", "answers", "notes", "marks"):
            getattr(self.seen, name).extend(getattr(mail, name))
        self.seen.frames.update(mail.frames)
        self.seen.failure = mail.failure or self.seen.failure
        self.seen.started = mail.started or self.seen.started
        self.seen.progress = mail.progress or self.seen.progress
        self.seen.kept = mail.kept or self.seen.kept
        self.seen.diverged = mail.diverged or self.seen.diverged
        return mail

    def until(self, condition: Callable[[Session], bool]) -> None:
        assert self.session.wait_for(lambda: condition(self.session), PATIENCE), (
            self.session.state,
            self.session.step,
        )

    def until_state(self, *states: m.RunState) -> None:
        self.until(lambda session: session.state in states)

    def until_frames(self, *names: str) -> dict[str, Any]:
        """The frames of these names, once they have all come; other reports are kept in ``seen``."""
        found: dict[str, Any] = {}

        def arrived() -> bool:
            found.update(self.drain().frames)
            return set(names) <= found.keys()

        assert self.session.wait_for(arrived, PATIENCE)
        return found

    def until_mail(self, condition: Callable[[Updates], object]) -> None:
        """Until what was seen so far fulfils a condition."""

        def arrived() -> bool:
            self.drain()
            return bool(condition(self.seen))

        assert self.session.wait_for(arrived, PATIENCE), self.seen

    def start(self) -> int:
        """Start, and return the step at which it begins."""
        return self.do(self.session.start()).step

    def train(self, steps: int) -> None:
        """That many steps, up to the pause after them."""
        end = self.session.step + steps
        self.do(self.session.advance(steps))
        self.until(lambda session: session.state == "paused" and session.step == end)

    def end(self) -> None:
        """Stop and close."""
        self.do(self.session.stop())
        assert self.session.close(PATIENCE)
        self.drain()

    def do(self, number: int) -> m.Answer:
        return self.session.wait(number, PATIENCE)

    def column(self, name: str) -> list[float]:
        self.drain()
        return [float(value) for part in self.seen.scalars for value in part.columns[name]]

    def steps(self) -> list[int]:
        self.drain()
        return [int(step) for part in self.seen.scalars for step in part.steps]

    def states(self) -> list[str]:
        self.drain()
        return [report.state for report in self.seen.states]


Begin = Callable[..., Watched]


@contextlib.contextmanager
def sessions(pool: WorkerPool | None = None) -> Iterator[Begin]:
    """Makes sessions, not started: ``make(where, spec)``; all are closed in the end."""
    made: list[Session] = []

    def make(where: Where, run: m.RunSpec, host: Host | None = None) -> Watched:
        session = Session(run, host or (pool.take(where) if pool is not None else None), where)
        made.append(session)
        return Watched(session)

    try:
        yield make
    finally:
        for session in made:
            session.close(PATIENCE)


def recorded(folder: Path) -> tuple[list[int], dict[str, list[float]]]:
    metrics = RunFolder(folder).metrics()
    assert metrics.damage == []
    return metrics.steps.tolist(), {name: column.tolist() for name, column in metrics.columns.items()}


def direct(steps: int, **values: Any) -> list[float]:
    """The losses of the toy without any session."""
    import torch

    engine = ToyEngine(ToyEngine.method.config.build(values), torch.device("cpu"))
    return [engine.step()["loss"] for _ in range(steps)]
