"""The worker loop: take commands, step, publish; runs in a process of its own, or on a thread of its own, Qt-free.

Three threads share the work so that training waits for nobody: this loop; a receiver that puts commands into a queue whose
emptiness is cheap to test; and a sender that writes reports, so that a slow reader cannot block a step. Only the loop
touches the engine and the run's folder.

Pictures
--------
A picture is computed only when the session wants it, and only as often as its class of cost may: after pictures that took
c seconds, the next ones of that class wait until c / `RunSpec.picture_share` has passed. So a slow view slows itself, never
training. While the run is paused pictures are computed at once.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from engines import figures as vocabulary
from engines.errors import InputError, RunError, StepError
from engines.method import Question
from lab.runs import messages as m
from lab.runs.divergence import DivergenceDetector
from lab.runs.folder import BEFORE_CHANGE, DIVERGED, Keyframe, Metrics, RunFolder, RunInfo, RunStatus
from lab.runs.keeper import Keeper
from lab.runs.writer import RunWriter

if TYPE_CHECKING:
    from engines.engine import Engine

SCALARS_EVERY = 1 / 30  # s between batches of scalars to the session
FLUSH_EVERY = 0.5  # s between writes of the metrics: what kill -9 can take
PROGRESS_EVERY = 0.25  # s
STATUS_EVERY = 2.0  # s between notes for lists of runs
REMEMBERED = 2000  # values of the watched scalar from which a run that goes on learns what is usual
HAND_RESTS = 0.1  # s after its last move in which the hand may go on
LEASH_PATIENCE = 0.25  # s that a run at the end of its leash waits before it reports again
UNPROVEN = 100  # steps after a change in which it may be what made training diverge
YOUNG = 3.0  # s after the start in which pictures may take YOUNG_SHARE of the time
YOUNG_SHARE = 0.2

logger = logging.getLogger(__name__)

_ALL_DONE = "All steps are done."


class Worker:
    """Serves one connection: runs one engine at a time until it is closed.

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        To the session; both ends carry pickled `lab.runs.messages`, between parts of this application only.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[m.Numbered] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[m.Report | None] = queue.SimpleQueue()
        self._closing = False
        self._is_orphan = False
        self._engine: Engine | None = None
        self._spec: m.RunSpec | None = None
        self._writer: RunWriter | None = None
        self._keeper: Keeper | None = None
        self._state: m.RunState = "idle"
        self._step = self._first_step = 0
        self._steps_left = -1  # until the next pause; negative: no end
        self._wanted: dict[str, None] = {}
        self._looked_at: set[str] = set()  # pictures that were ever wanted
        self._told: set[str] = set()
        self._due = {"fast": 0.0, "slow": 0.0}
        self._costs: dict[str, str] = {}
        self._rows: list[tuple[int, Mapping[str, float]]] = []
        self._was_finite = True
        self._leash: int | None = None
        self._touched = -math.inf  # when the hand changed the state last
        self._trained = 0.0  # s of training before it was last begun
        self._playing_since: float | None = None

    # --- life  ----------

    def run(self) -> None:
        """Serve until the session closes or goes away. Returns with the run's folder written."""
        receiver = threading.Thread(target=self._receive, name="lab-receiver", daemon=True)
        sender = threading.Thread(target=self._send, name="lab-sender", daemon=True)
        receiver.start()
        sender.start()
        try:
            warm_up()
            self._report(m.Hello(os.getpid()))
            while not self._closing:
                if self._state == "running":
                    self._train()
                else:
                    self._handle(self._inbox.get())
        finally:
            self._end_run("done")
            self._outbox.put(None)
            sender.join(timeout=5)
            with contextlib.suppress(OSError):
                self._connection.close()

    def _receive(self) -> None:
        while True:
            try:
                numbered = self._connection.recv()
            except (EOFError, OSError):
                # The session is gone, whatever the reason: write what there is and end. Nobody asked for that, so the run
                # has not ended: the next start offers to go on with it.
                self._is_orphan = True
                numbered = m.Numbered(-1, m.Close())
            self._inbox.put(numbered)
            if isinstance(numbered.command, m.Close):
                # A read in progress would keep the connection open when the loop closes it.
                return

    def _send(self) -> None:
        while (report := self._outbox.get()) is not None:
            try:
                self._connection.send(report)
            except (OSError, ValueError):
                return

    def _report(self, report: m.Report) -> None:
        self._outbox.put(report)

    def _change_state(self, state: m.RunState, message: str = "", *, finished: bool = False) -> None:
        if state == self._state:
            return
        if state not in m.TRANSITIONS[self._state]:
            raise AssertionError(f"a run cannot go from {self._state} to {state}")
        if self._playing_since is not None and state != "running":
            self._trained, self._playing_since = self._seconds(), None
        elif state == "running":
            self._playing_since = time.monotonic()
        self._state = state
        if self._writer is not None:
            with contextlib.suppress(RunError):
                self._writer.event(self._step, "state", state=state, message=message)
            self._write_status()
        self._report(m.StateChanged(state, self._step, message, finished))

    # --- commands  ----------

    def _handle(self, numbered: m.Numbered) -> None:
        number, command = numbered.number, numbered.command
        payload: Any = None
        try:
            payload = self._obey(command)
        except InputError as error:
            self._report(m.Answer(number, self._step, str(error), getattr(error, "field", "")))
            return
        except Exception as error:
            self._fail(error)
            self._report(m.Answer(number, self._step, f"{type(error).__name__}: {error}"))
            return
        if not isinstance(command, m.Want):
            self._report(m.Answer(number, self._step, payload=payload))
        if isinstance(command, m.Act) and not isinstance(command.action, Question):
            # Pictures of what the hand did take a moment, and its next move waits for the answer alone.
            self._publish_pictures()

    def _touch(self) -> None:
        """Say that the hand has changed the state."""
        self._touched = time.monotonic()
        if self._keeper is not None:
            self._keeper.touch()

    def _obey(self, command: m.Command) -> Any:
        match command:
            case m.Start():
                self._start(command.spec)
            case m.Close():
                self._closing = True
            case m.Stop():
                if self._engine is not None:
                    self._end_run("done", "Stopped; everything is kept.")
            case m.Play():
                self._need_engine()
                self._play(-1)
            case m.Advance():
                self._need_engine()
                self._play(max(1, command.steps))
            case m.Pause():
                if self._state == "running":
                    self._pause()
            case m.Change():
                return self._change(command.values)
            case m.Act():
                answer = self._need_engine().act(command.action)
                if isinstance(command.action, Question):
                    return answer
                self._touch()
                if command.action.is_noted:
                    self._record("action", action=type(command.action).__name__)
                self._due = dict.fromkeys(self._due, 0.0)
                return answer
            case m.Want():
                self._wanted.update(dict.fromkeys(command.names))
                if command.now:
                    self._due = dict.fromkeys(self._due, 0.0)
                # Before the first step the person waits for the first picture. For each but once: who asks again as soon as
                # it comes would never let the first step begin.
                is_first = self._step == self._first_step and not self._looked_at.issuperset(command.names)
                self._looked_at.update(command.names)
                if self._state != "running" or is_first:
                    self._publish_pictures(at_once=True)
            case m.Summarise():
                return self._need_engine().summary()
            case m.Leash():
                self._leash = command.step
            case m.Space():
                if self._keeper is not None:
                    self._keeper.set_space(command.bytes)
        return None

    def _need_engine(self) -> Engine:
        if self._engine is None:
            raise InputError("There is no run to do this with: start one first.")
        return self._engine

    def _start(self, spec: m.RunSpec) -> None:
        if self._state != "idle":
            raise InputError("This worker has had its run: start a new one in a new session.")
        self._spec = spec
        self._change_state("starting")
        try:
            self._build(spec)
        except InputError as error:
            self._engine = None
            self._fail(error)
            raise
        done = self._engine is not None and self._step >= self._engine.config.steps
        waits = done or spec.paused
        if waits:
            self._change_state("paused", _ALL_DONE if done else "", finished=done)
        else:
            self._play(-1)
        if self._writer is not None and all(k.step != self._step for k in self._writer.keyframes):
            # After the state is told: its pictures take a moment. They are the first that the person sees.
            self._keyframe("first")
        if waits:
            self._publish_pictures()

    def _build(self, spec: m.RunSpec) -> None:
        import torch

        from engines import device as devices
        from lab.papers import resolve

        # One core is the window's. More threads than cores, or than these small networks can use, only cost time.
        torch.set_num_threads(spec.threads or max(1, (os.cpu_count() or 2) - 1))
        torch.set_flush_denormal(True)
        device = devices.choose(spec.device)
        engine_class = resolve(spec.engine)
        config = engine_class.method.config.build(spec.values)
        engine: Engine = engine_class(config, device)
        source, record, values = self._take_up(engine, spec)
        step = record.step if record is not None else 0
        self._step = self._first_step = step
        self._trained = record.seconds if record is not None else 0.0
        past = source.metrics().upto(step) if source is not None else None
        data = dict(engine.data_description())
        inherited: list[dict[str, Any]] = []
        if spec.folder is not None:
            info = RunInfo(
                id=spec.run,
                paper=spec.paper,
                values=config.model_dump(mode="json"),
                name=spec.name,
                preset=spec.preset,
                device=str(device),
                created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                versions=versions(),
                machine=machine(devices.description(device)),
                data=data,
                parent=source.info.id if source is not None else "",
                parent_step=step if source is not None else -1,
                relation=spec.relation if source is not None else "",
            )
            self._writer = RunWriter(Path(spec.folder), info, config.to_toml(spec.paper))
            if source is not None and record is not None:
                inherited = self._writer.inherit(source, record, spec.relation, past)
        self._engine = engine
        self._costs = {
            view.name: view.cost for view in engine.method.views if isinstance(view, vocabulary.FigureSpec)
        }
        self._rows = []
        self._was_finite = True
        self._watched = engine.method.watched or engine.method.headline
        self._detector = DivergenceDetector(engine.method.maximise)
        self._calm_step = step  # the newest at which the watched scalar lay where it used to
        self._unproven: deque[int] = deque()  # steps of changes that may be at fault if it diverges now
        if past is not None:
            self._learn_scale(past)
        self._began = time.monotonic()
        self._next_send = self._next_flush = self._next_progress = self._next_status = 0.0
        self._rate = _Rate()
        self._report(
            m.Started(config.model_dump(mode="python"), str(device), devices.description(device), data, step)
        )
        if self._writer is not None:
            self._keeper = Keeper(
                engine, self._writer, spec.keyframe_space, self._all_pictures, self._tell_kept
            )
            self._keeper.start()
            if past is not None:
                self._keeper.take_up(step, past, values)
            for event in inherited:
                self._report(m.Marked(event["step"], event["kind"], event))
            if source is not None:
                self._warn_of_replay(source, self._writer)
            self._tell_kept()

    def _take_up(
        self, engine: Engine, spec: m.RunSpec
    ) -> tuple[RunFolder | None, Keyframe | None, Mapping[str, Any]]:
        """Put the engine into the state of the keyframe that the run begins with, if it begins with one.

        Returns the run that it is from, the keyframe, and the settings in force in it.

        Raises
        ------
        RunError
        """
        if spec.resume is None:
            return None, None, {}
        source = RunFolder(spec.resume)
        if source.info.paper != spec.paper:
            raise RunError(
                f"{spec.resume} is a run of '{source.info.paper}', not of '{spec.paper}': choose one of this paper."
            )
        damage: list[str] = []
        if spec.keyframe:
            records = [record for record in source.keyframes()[0] if record.file == spec.keyframe]
            records.sort(key=lambda record: (record.reason == BEFORE_CHANGE) != spec.before_change)
            if not records:
                raise RunError(f"{spec.resume} no longer has that keyframe: choose another one.")
            record = records[0]
            state = source.read_keyframe(record)
        else:
            record, state, damage = source.newest_state()
        values = source.keyframe_values(record)
        try:
            engine.load_state_dict(state)
        except Exception as error:
            # Whatever a keyframe from elsewhere holds, it is the keyframe's fault.
            if explain(error)[1] == "memory":
                raise
            reason = " ".join(str(error).split())
            raise RunError(
                f"The keyframe of step {record.step:,} in {spec.resume} does not fit these settings ({reason[:300]}): go on "
                "with the settings of that run."
            ) from error
        for sentence in damage:
            self._report(m.Note(sentence, "warning", record.step))
        return source, record, values

    def _learn_scale(self, past: Metrics) -> None:
        """Watch as if this run had reported what lies before it."""
        values = past.columns.get(self._watched)
        if values is None:
            return
        reported = np.flatnonzero(np.isfinite(values))[-REMEMBERED:]
        for step, value in zip(past.steps[reported].tolist(), values[reported].tolist(), strict=True):
            self._detector.update(value)
            if self._detector.calm:
                self._calm_step = step

    def _warn_of_replay(self, source: RunFolder, writer: RunWriter) -> None:
        """Say why the numbers may not repeat those of the run that this one came from."""
        reasons = replay_differences(source.info, writer.info)
        if reasons:
            text = (
                f"Training goes on from step {self._step:,}, but its numbers may differ a little from the original's: "
                f"{'; '.join(reasons)}."
            )
            self._report(m.Note(text, "info", self._step))

    def _play(self, steps: int) -> None:
        engine = self._need_engine()
        if self._step >= engine.config.steps:
            raise InputError(
                f"The run has done all of its {engine.config.steps:,} steps: raise the setting 'steps' to train on."
            )
        self._steps_left = steps
        self._rate = _Rate()
        if self._state != "running":
            self._change_state("running")

    def _seconds(self) -> float:
        """Time of training."""
        since = self._playing_since
        return self._trained + (time.monotonic() - since if since is not None else 0.0)

    def _pause(self, message: str = "", *, finished: bool = False) -> None:
        self._publish_scalars()
        # Above all else the scalars reach the disk, then the state to go on from.
        self._flush()
        self._keyframe("last")
        if self._state == "running":
            self._change_state("paused", message, finished=finished)
        self._publish_progress()
        self._publish_pictures()

    def _change(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        engine = self._need_engine()
        settings = type(engine.config)
        checked = engine.config.updated(values)
        changed = engine.config.differing(checked)
        late = [name for name in changed if settings.spec(name).effect == "rebuild"]
        if late:
            raise InputError(
                f"{settings.spec(late[0]).label} cannot change while the run exists, because the model is built from it: "
                "reset the run to use the new value."
            )
        if changed:
            if self._keeper is not None and settings.effect_of(changed) != "display" and self._was_finite:
                keeper = self._keeper
                self._on_disk(lambda: keeper.before_change(self._step, self._seconds(), changed))
            engine.apply(changed)
            if settings.effect_of(changed) != "display":
                self._unproven.append(self._step)
                self._forget_proven()
            self._touch()
            self._record("change", values=checked.model_dump(mode="json", include=set(changed)))
            self._due = dict.fromkeys(self._due, 0.0)
            if self._state != "running":
                self._publish_pictures()
        return changed

    # --- training  ----------

    def _train(self) -> None:
        engine = self._engine
        assert engine is not None
        inbox, rows = self._inbox, self._rows
        try:
            while self._state == "running":
                if not inbox.empty():
                    self._handle(inbox.get())
                    if self._closing:
                        return
                    continue
                if self._leash is not None and self._step >= self._leash:
                    self._wait_on_leash()
                    rows = self._rows
                    if self._closing:
                        return
                    continue
                if self._keeper is not None and self._keeper.is_stale:
                    if not self._wait_for_hand():
                        self._settle(self._keeper)
                    if self._closing:
                        return
                    continue
                try:
                    scalars = engine.step()
                except StepError as error:
                    self._pause_at_refusal(error)
                    return
                self._step += 1
                rows.append((self._step, scalars))
                if self._writer is not None:
                    self._writer.add(self._step, self._seconds(), scalars)
                if all(map(math.isfinite, scalars.values())):
                    self._was_finite = True
                elif self._was_finite:
                    self._pause_at_nonfinite(scalars)
                    return
                if self._was_finite and self._is_diverging(scalars):
                    self._pause_at_divergence(scalars)
                    return
                if self._keeper is not None:
                    self._note(self._keeper, scalars)
                if self._steps_left > 0:
                    self._steps_left -= 1
                if self._step >= engine.config.steps:
                    self._pause(_ALL_DONE, finished=True)
                elif self._steps_left == 0:
                    self._pause()
                else:
                    self._publish(time.monotonic())
                rows = self._rows
        except Exception as error:
            self._fail(error)

    def _wait_on_leash(self) -> None:
        """Wait for a command at the end of the leash, and show what was trained up to here."""
        self._publish_scalars()
        try:
            numbered = self._inbox.get(timeout=LEASH_PATIENCE)
        except queue.Empty:
            self._publish(time.monotonic())
            return
        self._handle(numbered)

    def _wait_for_hand(self) -> bool:
        """Whether a command came while the hand may still be at it.

        What it did last made the keyframe of this step stale, and so would what it does next: neither is to wait for a
        keyframe to be written that nobody needs.
        """
        left = self._touched + HAND_RESTS - time.monotonic()
        if left <= 0.0:
            return False
        try:
            numbered = self._inbox.get(timeout=left)
        except queue.Empty:
            return False
        self._handle(numbered)
        return True

    def _note(self, keeper: Keeper, scalars: Mapping[str, float]) -> None:
        self._on_disk(lambda: keeper.note(self._step, self._seconds(), scalars))

    def _settle(self, keeper: Keeper) -> None:
        self._on_disk(lambda: keeper.settle(self._step, self._seconds()))

    def _is_diverging(self, scalars: Mapping[str, float]) -> bool:
        value = scalars.get(self._watched)
        if value is None:
            return False
        diverging = self._detector.update(value)
        if self._detector.calm:
            self._calm_step = self._step
        return diverging

    def _pause_at_refusal(self, error: StepError) -> None:
        """A step could not be done: what it is trained in failed, not the run, which stands where it was."""
        writer = self._writer
        if writer is not None:
            self._on_disk(lambda: writer.event(self._step, "refusal", sentence=str(error)))
        self._report(m.Note(str(error), "error", self._step))
        self._pause(f"{error} Training is paused and nothing is lost; press Play to try the step again.")

    def _pause_at_nonfinite(self, scalars: Mapping[str, float]) -> None:
        names = ", ".join(name for name, value in scalars.items() if not math.isfinite(value))
        self._was_finite = False
        self._pause_diverged(f"{names} is not a finite number since step {self._step:,}", finite=False)

    def _pause_at_divergence(self, scalars: Mapping[str, float]) -> None:
        value = scalars[self._watched]
        self._pause_diverged(
            f"{self._watched} is {value:.3g} at step {self._step:,}, far beyond anything before", finite=True
        )

    def _pause_diverged(self, what: str, *, finite: bool) -> None:
        engine, keeper = self._need_engine(), self._keeper
        self._publish_scalars()
        self._flush()
        if keeper is not None:
            self._on_disk(keeper.flush_best)
        good = self._last_good()
        name = engine.method.learning_rate
        value = self._lower_rate(engine, good) if name else None
        lower = "lower the learning rate and reset" if not name else f"lower {_label(engine, name)} and reset"
        sentence = f"{what}, so training was paused: go back, {lower}, or train on to see what happens."
        self._record("divergence", sentence=what)
        if keeper is not None:
            self._on_disk(lambda: keeper.keep(self._step, self._seconds(), DIVERGED, finite=finite))
        self._report(m.Diverged(self._step, sentence, good, name, value))
        if self._state == "running":
            self._change_state("paused", sentence)

    def _lower_rate(self, engine: Engine, good: Keyframe | None) -> float:
        """A tenth of the learning rate, or the one at the keyframe to go back to where that was lower still."""
        name = engine.method.learning_rate
        value = getattr(engine.config, name) / 10
        if good is not None and self._writer is not None:
            with contextlib.suppress(RunError):
                value = min(value, RunFolder(self._writer.path).keyframe_values(good).get(name, value))
        least = type(engine.config).spec(name).minimum
        return value if least is None else max(value, least)

    def _last_good(self) -> Keyframe | None:
        """The newest keyframe from before the numbers left their scale, and from before the hand's last changes.

        What was kept soon after a change may bear the blow-up within it, though nothing shows yet.
        """
        if self._writer is None:
            return None
        sound = [
            k for k in self._writer.keyframes if k.finite and k.reason != DIVERGED and k.step < self._step
        ]
        self._forget_proven()
        changed = self._unproven[0] if self._unproven else self._step
        good = [k for k in sound if k.step <= min(self._calm_step, changed)] or sound
        return next((k for k in good if k.step == good[-1].step), None)

    def _forget_proven(self) -> None:
        while self._unproven and self._step - self._unproven[0] > UNPROVEN:
            self._unproven.popleft()

    def _publish(self, now: float) -> None:
        if now >= self._next_send:
            self._next_send = now + SCALARS_EVERY
            self._publish_scalars()
            if self._wanted:
                self._publish_pictures()
            if now >= self._next_flush:
                self._next_flush = now + FLUSH_EVERY
                self._flush()
            if now >= self._next_progress:
                self._next_progress = now + PROGRESS_EVERY
                self._publish_progress()
            if now >= self._next_status:
                self._next_status = now + STATUS_EVERY
                self._write_status()
            if self._keeper is not None and self._was_finite:
                keeper = self._keeper
                self._on_disk(lambda: keeper.poll(self._step, self._seconds()))

    def _publish_scalars(self) -> None:
        rows = self._rows
        if not rows:
            return
        self._rows = []
        names = list(dict.fromkeys(name for _, scalars in rows for name in scalars))
        nan = float("nan")
        columns = {name: np.array([scalars.get(name, nan) for _, scalars in rows]) for name in names}
        self._report(m.Scalars(np.array([step for step, _ in rows], dtype=np.int64), columns))

    def _publish_progress(self) -> None:
        from engines.device import memory

        engine = self._engine
        if engine is not None:
            rate = self._rate.update(self._step, time.monotonic())
            self._report(m.Progress(self._step, engine.config.steps, rate, memory(engine.device)))

    def _publish_pictures(self, *, at_once: bool = False) -> None:
        engine, spec = self._engine, self._spec
        if engine is None or spec is None or not self._wanted:
            return
        for cost in ("fast", "slow"):
            now = time.perf_counter()
            if self._state == "running" and not at_once and now < self._due[cost]:
                continue
            names = tuple(name for name in self._wanted if self._costs.get(name, "slow") == cost)
            if not names:
                continue
            for name in names:
                del self._wanted[name]
            made = self._draw([name for name in names if name in self._costs])
            if not made:
                continue
            seconds = time.perf_counter() - now
            young = time.monotonic() - self._began < YOUNG
            share = max(spec.picture_share, YOUNG_SHARE) if young else spec.picture_share
            self._due[cost] = now + seconds + seconds / share
            self._send_pictures(made, seconds)

    def _draw(self, names: Collection[str]) -> dict[str, vocabulary.Figure]:
        """Compute pictures; one that the engine cannot draw is told of, once, and leaves the others."""
        engine = self._need_engine()
        try:
            return engine.figures(names)
        except Exception as error:
            if len(names) > 1:
                return {name: figure for each in names for name, figure in self._draw([each]).items()}
            if isinstance(error, InputError):
                self._tell_once(str(error), "warning")
                return {}
            # A picture is no reason to lose a run; one that failed is not tried again in it.
            name = ", ".join(names)
            self._costs.pop(name, None)
            logger.exception("picture %s", name)
            reason = f"{type(error).__name__}: {error}"
            self._tell_once(
                f"{name} cannot be drawn because of a fault in the lab ({reason}); training goes on.", "error"
            )
            return {}

    def _tell_once(self, text: str, kind: Literal["warning", "error"]) -> None:
        if text not in self._told:
            self._told.add(text)
            self._report(m.Note(text, kind, self._step))

    def _send_pictures(self, made: Mapping[str, vocabulary.Figure], seconds: float) -> None:
        run = self._spec.run if self._spec is not None else ""
        frames = tuple(vocabulary.Frame(run, self._step, name, figure) for name, figure in made.items())
        self._report(m.Pictures(frames, seconds))

    def _all_pictures(self, present: bool) -> dict[str, vocabulary.Figure]:
        """Every picture, for a keyframe; a picture that fails leaves the others.

        Those of the run's present that somebody waits for are sent, too.
        """
        began = time.perf_counter()
        made = self._draw(list(self._costs))
        asked = {name: made[name] for name in self._wanted if name in made}
        if present and asked:
            for name in asked:
                del self._wanted[name]
            self._send_pictures(asked, time.perf_counter() - began)
        return made

    # --- the folder  ----------

    def _flush(self) -> None:
        if self._writer is not None:
            self._on_disk(self._writer.flush)

    def _record(self, kind: str, **details: Any) -> None:
        """Record what took effect already, and tell of it: a disk that refuses is told of, and does not undo it."""
        self._report(m.Marked(self._step, kind, details))
        if self._writer is not None:
            writer = self._writer
            self._on_disk(lambda: writer.event(self._step, kind, **details))

    def _write_status(self) -> None:
        engine, writer, keeper = self._engine, self._writer, self._keeper
        if engine is None or writer is None:
            return
        writer.status(
            RunStatus(
                self._state,
                self._step,
                engine.config.steps,
                round(self._seconds(), 3),
                engine.method.headline,
                keeper.latest if keeper is not None else None,
                keeper.best if keeper is not None else None,
                keeper.best_step if keeper is not None else -1,
                writer.keyframe_bytes(),
            )
        )

    def _tell_kept(self) -> None:
        if self._writer is not None and self._keeper is not None:
            self._report(m.Kept(tuple(self._writer.keyframes), self._keeper.space))

    def _keyframe(self, reason: str) -> None:
        keeper = self._keeper
        # The newest keyframe must stay a state that can be trained from.
        if keeper is not None and self._was_finite:
            self._on_disk(keeper.flush_best)
            self._on_disk(lambda: keeper.keep(self._step, self._seconds(), reason))

    def _on_disk(self, write: Any) -> None:
        """Write; when the disk refuses, pause with the sentence and keep in memory what could not be written."""
        try:
            write()
        except RunError as error:
            self._report(m.Note(str(error), "error", self._step))
            if self._state == "running":
                self._change_state(
                    "paused", f"{error} Training is paused and nothing is lost; press Play to go on."
                )
                with contextlib.suppress(RunError):
                    self._keyframe("last")

    # --- the end  ----------

    def _end_run(self, state: m.RunState, message: str = "") -> None:
        if self._engine is None:
            return
        if self._state not in (*m.ENDED, "stopping") and not self._is_orphan:
            self._change_state("stopping")
        self._publish_scalars()
        self._flush()
        self._keyframe("last")
        if self._is_orphan:
            self._write_status()
        elif self._state not in m.ENDED:
            self._change_state(state, message)
        self._forget()

    def _forget(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(RunError):
                self._writer.close()
        self._writer = self._keeper = None
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _fail(self, error: BaseException) -> None:
        sentence, kind = explain(error)
        details = "" if kind == "input" else "".join(traceback.format_exception(error))
        self._publish_scalars()
        if self._writer is not None:
            with contextlib.suppress(RunError):
                self._writer.flush()
                self._writer.event(self._step, "failure", sentence=sentence, details=details)
        self._report(m.Failure(sentence, details, kind, self._step, getattr(error, "remedy", "")))
        if self._state not in m.ENDED:
            self._change_state("failed", sentence)
        self._forget()


class _Rate:
    """Steps per second over about the last two seconds of training."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def update(self, step: int, now: float) -> float:
        self._marks.append((now, step))
        while len(self._marks) > 2 and now - self._marks[0][0] > 2.0:
            self._marks.pop(0)
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        return (last - first) / (end - start) if end > start else 0.0


def replay_differences(original: RunInfo, present: RunInfo) -> list[str]:
    """Why the same settings may give other numbers here than there; empty where they are the same bit for bit."""
    reasons = []
    if original.device != present.device:
        reasons.append(f"it was trained on {original.device}, and now on {present.device}")
    elif present.device != "cpu":
        reasons.append(f"{present.device} does not add in the same order each time")
    for name, words in (("torch_threads", "threads"), ("processor", "processor")):
        before, now = original.machine.get(name), present.machine.get(name)
        if before != now:
            reasons.append(f"{words}: {before} then, {now} now")
    for name in ("torch", "numpy"):
        before, now = original.versions.get(name), present.versions.get(name)
        if before != now:
            reasons.append(f"{name} {before} then, {now} now")
    return reasons


def _label(engine: Engine, name: str) -> str:
    return type(engine.config).spec(name).label.lower()


def explain(error: BaseException) -> tuple[str, Any]:
    """A sentence for what went wrong, and whose fault it is: ``input``, ``memory`` or ``fault``."""
    if isinstance(error, InputError):
        return str(error), "input"
    text = str(error)
    if (
        isinstance(error, MemoryError)
        or "out of memory" in text.lower()
        or "can't allocate memory" in text.lower()
    ):
        advice = (
            "choose a smaller batch, a smaller network or fewer particles, or train on the CPU, then reset"
        )
        return f"The device has not enough memory for this: {advice}.", "memory"
    return f"Training stopped because of a fault in the lab ({type(error).__name__}: {text}).", "fault"


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers."""
    found = {"python": platform.python_version()}
    for name in ("paperlab", "torch", "numpy", "scikit-learn", "gymnasium", "mujoco"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def machine(device_name: str) -> dict[str, Any]:
    """The machine a run was made on; no names of hosts or people."""
    import torch

    from engines.device import processor

    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "device": device_name,
        "torch_threads": torch.get_num_threads(),
    }


def warm_up() -> None:
    """Load what every run needs and what takes seconds: torch, the compiler that its optimisers drag in, keyframes."""
    import safetensors.torch  # noqa: F401
    import torch

    import lab.runs.frames  # noqa: F401

    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def serve_process(connection: Connection) -> None:
    """Entry of the worker's process: serve until closed."""
    import faulthandler
    import signal

    # Ctrl+C in a console goes to the whole group; only the session decides when a run ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.__stderr__ is not None:
        with contextlib.suppress(AttributeError, ValueError, OSError):
            faulthandler.enable(sys.__stderr__)
    Worker(connection).run()
