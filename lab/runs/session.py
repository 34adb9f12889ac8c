"""One run as the rest of the application sees it; owned by one thread (the GUI's, or the command line's), Qt-free.

The session hides where the worker lives. A reader thread receives its reports into a mailbox: newest picture per view
wins, scalars and everything else are kept until drained. The owner sends commands, which never block, and drains the
mailbox when it likes (the window does so with one timer for all).
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engines.errors import InputError, RunError, SettingError
from engines.figures import Frame
from engines.method import Action
from lab.runs import messages as m
from lab.runs.hosts import Host, Where, make_host


class RunFailed(RuntimeError):
    """The run ended by a fault; ``details`` is for copying.

    Attributes
    ----------
    details : str
    kind : {"memory", "fault", "died"}
    """

    def __init__(self, sentence: str, details: str = "", kind: str = "fault") -> None:
        super().__init__(sentence)
        self.details = details
        self.kind = kind


@dataclass
class Updates:
    """What came since the last drain.

    Attributes
    ----------
    scalars : list of Scalars
    frames : dict of view to its newest Frame
    states : list of StateChanged
        In order.
    answers : list of Answer
    notes : list of Note
    kept : Kept or None
        The newest.
    marks : list of Marked
    diverged : Diverged or None
    failure : Failure or None
    progress : Progress or None
    started : Started or None
    """

    scalars: list[m.Scalars] = field(default_factory=list)
    frames: dict[str, Frame] = field(default_factory=dict)
    states: list[m.StateChanged] = field(default_factory=list)
    answers: list[m.Answer] = field(default_factory=list)
    notes: list[m.Note] = field(default_factory=list)
    kept: m.Kept | None = None
    marks: list[m.Marked] = field(default_factory=list)
    diverged: m.Diverged | None = None
    failure: m.Failure | None = None
    progress: m.Progress | None = None
    started: m.Started | None = None


class Session:
    """One run.

    Parameters
    ----------
    spec : RunSpec
    host : Host or None
        A worker from a pool; None starts one.
    where : {"process", "thread"}
        Used when ``host`` is None.

    Attributes
    ----------
    state : RunState
        The newest that the worker told.
    step : int
    """

    def __init__(self, spec: m.RunSpec, host: Host | None = None, where: Where = "process") -> None:
        self.spec = spec
        self._host = host if host is not None else make_host(where)
        self._numbers = itertools.count(1)
        self._lock = threading.Condition()
        self._mail = Updates()
        self._answers: dict[int, m.Answer] = {}
        self._state: m.RunState = "idle"
        self._finished = False
        self._message = ""
        self._step = 0
        self._failure: m.Failure | None = None
        self._closing = False
        self._worker_is_gone = False
        self._reader = threading.Thread(target=self._read, name=f"lab-reader-{spec.run}", daemon=True)
        self._reader.start()

    # --- what is known  ----------

    @property
    def where(self) -> Where:
        """Where the worker lives."""
        return self._host.where

    @property
    def host(self) -> Host:
        """The worker's host."""
        return self._host

    @property
    def state(self) -> m.RunState:
        """The run's state."""
        return self._state

    @property
    def message(self) -> str:
        """What the worker said when the state last changed."""
        return self._message

    @property
    def is_finished(self) -> bool:
        """Whether it is paused because all steps are done."""
        return self._finished

    @property
    def step(self) -> int:
        """The newest step heard of."""
        return self._step

    @property
    def failure(self) -> m.Failure | None:
        """Why it failed."""
        return self._failure

    # --- commands  ----------

    def start(self) -> int:
        """Begin the run; like every command it returns the number under which it is answered."""
        return self.send(m.Start(self.spec))

    def play(self) -> int:
        """Train on."""
        return self.send(m.Play())

    def pause(self) -> int:
        """Stop after the present step."""
        return self.send(m.Pause())

    def advance(self, steps: int = 1) -> int:
        """Do that many steps and pause."""
        return self.send(m.Advance(steps))

    def change(self, values: Mapping[str, Any]) -> int:
        """Change live and display settings from the next step on."""
        return self.send(m.Change(dict(values)))

    def act(self, action: Action) -> int:
        """Send a request of the hand."""
        return self.send(m.Act(action))

    def want(self, names: Iterable[str], *, now: bool = False) -> None:
        """Ask for pictures, each once."""
        names = tuple(names)
        if names:
            self.send(m.Want(names, now))

    def summarise(self) -> int:
        """Ask for the final scalars; they are the answer's payload."""
        return self.send(m.Summarise())

    def leash(self, step: int | None) -> int:
        """Let it train no further than a step, without pausing; None lets go."""
        return self.send(m.Leash(step))

    def stop(self) -> int:
        """End the run and keep it."""
        return self.send(m.Stop())

    def send(self, command: m.Command) -> int:
        """Send any command; a worker that is gone is noticed by the reader, not here."""
        number = next(self._numbers)
        with contextlib.suppress(OSError, ValueError):
            self._host.connection.send(m.Numbered(number, command))
        return number

    # --- reports  ----------

    def drain(self) -> Updates:
        """All that came since the last call."""
        with self._lock:
            mail, self._mail = self._mail, Updates()
        return mail

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Block until a condition on this session holds; False after ``timeout`` seconds. Not for the GUI thread."""
        with self._lock:
            return self._lock.wait_for(condition, timeout)

    def wait(self, number: int, timeout: float = 60.0) -> m.Answer:
        """Block until a command is answered. Not for the GUI thread.

        Raises
        ------
        InputError
            When the command was refused.
        RunFailed
            When the run ended by a fault instead.
        TimeoutError
        """
        arrived = self.wait_for(
            lambda: number in self._answers or self._failure is not None or self._worker_is_gone, timeout
        )
        answer = self._answers.pop(number, None)
        if self._failure is not None and self._failure.kind != "input" and (answer is None or answer.error):
            raise RunFailed(self._failure.sentence, self._failure.details, self._failure.kind)
        if answer is None:
            if self._failure is not None:
                raise InputError(self._failure.sentence)
            if not arrived:
                raise TimeoutError(f"the worker did not answer within {timeout:g} s")
            raise RunError("The run has ended before the command was answered.")
        if answer.error:
            raise SettingError(answer.error, answer.field) if answer.field else InputError(answer.error)
        return answer

    def _read(self) -> None:
        connection = self._host.connection
        while True:
            try:
                report = connection.recv()
            except (EOFError, OSError, TypeError):
                # TypeError: the connection was closed by this side during the call.
                break
            with self._lock:
                self._take(report)
                self._lock.notify_all()
        self._worker_gone()

    def _take(self, report: m.Report) -> None:
        mail = self._mail
        match report:
            case m.Scalars():
                mail.scalars.append(report)
                self._step = int(report.steps[-1])
            case m.Pictures():
                for frame in report.frames:
                    mail.frames[frame.name] = frame
            case m.Progress():
                mail.progress = report
                self._step = report.step
            case m.StateChanged():
                self._enter(report.state)
                self._message, self._finished, self._step = report.message, report.finished, report.step
                mail.states.append(report)
            case m.Answer():
                mail.answers.append(report)
                self._answers[report.number] = report
                if len(self._answers) > 1000:
                    # Nobody waits for answers that old.
                    del self._answers[min(self._answers)]
            case m.Started():
                mail.started = report
                self._step = report.step
            case m.Kept():
                mail.kept = report
            case m.Marked():
                mail.marks.append(report)
            case m.Diverged():
                mail.diverged = report
            case m.Note():
                mail.notes.append(report)
            case m.Failure():
                mail.failure = self._failure = report

    def _enter(self, state: m.RunState) -> None:
        if state != self._state and state not in m.TRANSITIONS[self._state]:
            raise AssertionError(f"the worker told of going from {self._state} to {state}")
        self._state = state

    def _worker_gone(self) -> None:
        self._host.join(2.0)
        with self._lock:
            self._worker_is_gone = True
            if self._state not in m.ENDED:
                if self._closing:
                    self._state = "done"
                    self._mail.states.append(m.StateChanged("done", self._step))
                else:
                    how = self._host.ending()
                    kept = " Everything up to the last second is in its folder." if self.spec.folder else ""
                    sentence = f"The run's {self.where} ended unexpectedly{f' ({how})' if how else ''}.{kept}"
                    self._failure = m.Failure(sentence, "", "died", self._step)
                    self._state, self._message = "failed", sentence
                    self._mail.failure = self._failure
                    self._mail.states.append(m.StateChanged("failed", self._step, sentence))
            self._lock.notify_all()

    # --- the end  ----------

    def request_close(self) -> None:
        """Ask the worker to write what there is and end; returns at once."""
        if not self._closing:
            self._closing = True
            self.send(m.Close())

    def close(self, timeout: float = 10.0) -> bool:
        """Ask, wait, and end the worker by force only after ``timeout`` seconds. Returns whether force was not needed."""
        self.request_close()
        end = time.monotonic() + timeout
        clean = self._host.join(timeout)
        if not clean:
            self._host.kill()
            self._host.join(2.0)
        self._reader.join(max(0.5, end - time.monotonic()))
        with contextlib.suppress(OSError):
            self._host.connection.close()
        return clean
