"""A session and its worker, in both places: the states, the answers, the scalars, and every way in which it can end."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.errors import InputError, SettingError
from engines.figures import Figure, Film, check
from engines.method import Action
from lab.runs import messages as m
from lab.runs import worker
from lab.runs.folder import RunFolder
from lab.runs.hosts import ThreadHost, Where, WorkerPool
from lab.runs.lock import is_held
from lab.runs.session import RunFailed, Session
from lab.runs.worker import Worker
from tests.lab.watching import PATIENCE, Begin, Watched, direct, recorded, spec
from tests.toy import MoveTo, Nudge, ToyEngine, WhereIs

ROOT = Path(__file__).parents[2]

both = pytest.mark.parametrize("where", ["thread", "process"])


def assert_in_order(states: list[str]) -> None:
    for before, after in zip(["idle", *states], states, strict=False):
        assert after in m.TRANSITIONS[before], states  # type: ignore[index]


# --- one life of a run ----------------------------------------------------------------------------------------------------


@both
def test_a_run_from_start_to_stop(begin: Begin, where: Where, tmp_path: Path):
    run = begin(where, spec(tmp_path / "run", paused=True, step_size=0.125))
    session = run.session
    assert session.state == "idle" and session.where == where
    started = run.do(session.start())
    assert started.step == 0 and session.state == "paused"
    run.drain()
    assert run.seen.started is not None and run.seen.started.values["step_size"] == 0.125
    assert run.seen.started.device == "cpu"

    # Steps one by one, and several.
    run.do(session.advance())
    run.until_state("paused")
    run.until(lambda s: s.step == 1)
    session.advance(9)
    run.until(lambda s: s.step == 10 and s.state == "paused")

    # A change is in effect at exactly the next step, and its answer says after which step it was made.
    answer = run.do(session.change({"step_size": 0.25, "dots": 7}))
    assert answer.step == 10 and answer.payload == {"step_size": 0.25, "dots": 7}
    assert run.do(session.change({"step_size": 0.25})).payload == {}
    run.do(session.advance(2))
    run.until(lambda s: s.step == 12 and s.state == "paused")
    assert run.column("step_size") == [0.125] * 10 + [0.25] * 2

    # While it runs, too.
    run.do(session.play())
    answer = run.do(session.change({"step_size": 0.5}))
    run.until(lambda s: s.step >= answer.step + 5)
    run.do(session.pause())
    assert session.state == "paused"
    sizes = dict(zip(run.steps(), run.column("step_size"), strict=True))
    assert sizes[answer.step] == 0.25 and sizes[answer.step + 1] == 0.5
    assert len(sizes) == session.step == max(sizes)

    # What cannot be done is refused with a sentence, and changes nothing.
    with pytest.raises(InputError, match="Dimension cannot change while the run exists") as caught:
        run.do(session.change({"dimension": 5, "step_size": 0.75}))
    assert "reset" in str(caught.value)
    with pytest.raises(SettingError, match="out of range") as refused:
        run.do(session.change({"step_size": -1}))
    assert refused.value.field == "step_size"
    with pytest.raises(SettingError, match="no setting 'nonsense'"):
        run.do(session.change({"nonsense": 1}))
    with pytest.raises(InputError, match="coordinates"):
        run.do(session.act(MoveTo((1.0,))))
    assert session.state == "paused"

    # A request of the hand, and the final scalars.
    moved = run.do(session.act(MoveTo((0.0, 3.0, 4.0))))
    assert moved.payload == {"loss": 12.5} and moved.step == session.step
    assert run.do(session.summarise()).payload == {"loss": 12.5}

    stopped = run.do(session.stop())
    assert stopped.step == session.step and session.state == "done"
    for command in (session.play, session.advance, session.summarise, session.start):
        with pytest.raises(InputError):
            run.do(command())
    assert session.state == "done" and session.failure is None
    assert session.close(PATIENCE)
    assert_in_order(run.states())
    assert run.seen.failure is None and run.seen.notes == []

    # The folder tells the same.
    steps, columns = recorded(tmp_path / "run")
    assert steps == run.steps() == list(range(1, len(steps) + 1))
    assert columns["loss"] == run.column("loss") and columns["step_size"] == run.column("step_size")
    folder = RunFolder(tmp_path / "run")
    assert folder.damage() == [] and folder.last_state() == "done"
    events = folder.events()[0]
    assert [(e["step"], e["values"]) for e in events if e["kind"] == "change"] == [
        (10, {"step_size": 0.25, "dots": 7}), (answer.step, {"step_size": 0.5}),
    ]  # fmt: skip
    assert [(e["step"], e["action"]) for e in events if e["kind"] == "action"] == [(len(steps), "MoveTo")]
    assert [e["state"] for e in events if e["kind"] == "state"] == [
        s for s in run.states() if s != "starting"
    ]
    assert folder.values()["step_size"] == 0.5 and folder.info.values["step_size"] == 0.125
    # The hand moved it after the last keyframe of that step was written, and stopping keeps what is there now.
    newest, state, _ = folder.newest_state()
    assert newest.step == len(steps)
    assert state["parameter"].tolist() == [0.0, 3.0, 4.0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, pool: WorkerPool) -> dict[str, tuple[Watched, Path]]:
    """The same run in both places, trained to its end at full speed, the session drained only when all was over."""
    runs = {}
    for where in ("thread", "process"):
        folder = tmp_path_factory.mktemp("runs") / where
        run = Watched(Session(spec(folder, seed=5, steps=3000), pool.take(where)))
        run.do(run.session.start())
        run.until_state("paused")
        assert run.session.is_finished and run.session.step == 3000 and run.session.message
        # All steps are done: playing on is refused until there are more.
        with pytest.raises(InputError, match="steps"):
            run.do(run.session.play())
        run.do(run.session.change({"steps": 3010}))
        run.do(run.session.play())
        run.until(lambda s: s.step == 3010 and s.state == "paused")
        assert run.session.is_finished
        run.do(run.session.stop())
        assert run.session.close(PATIENCE)
        runs[where] = run, folder
    return runs


@both
def test_no_scalar_is_lost_and_order_is_kept_under_a_reader_that_drains_rarely(
    finished: dict[str, tuple[Watched, Path]], where: Where
):
    run, folder = finished[where]
    assert run.steps() == list(range(1, 3011))
    steps, columns = recorded(folder)
    assert steps == run.steps()
    assert columns["loss"] == run.column("loss")


def test_a_thread_a_process_and_the_bare_engine_give_identical_scalars(
    finished: dict[str, tuple[Watched, Path]],
):
    thread, process = (finished[where][0].column("loss") for where in ("thread", "process"))
    assert thread == process == direct(3010, seed=5)


@both
def test_a_finished_run_says_so_in_its_states(finished: dict[str, tuple[Watched, Path]], where: Where):
    run, _ = finished[where]
    assert run.states() == ["starting", "running", "paused", "running", "paused", "stopping", "done"]
    assert [report.finished for report in run.seen.states] == [False, False, True, False, True, False, False]
    assert (
        run.seen.progress is not None and run.seen.progress.total == 3010 and run.seen.progress.step == 3010
    )


# --- any sequence of commands ---------------------------------------------------------------------------------------------

COMMANDS: dict[str, Callable[[Session], Any]] = {
    "play": Session.play,
    "pause": Session.pause,
    "advance": lambda s: s.advance(3),
    "advance none": lambda s: s.advance(0),
    "change": lambda s: s.change({"step_size": 0.2}),
    "change rebuild": lambda s: s.change({"dimension": 4}),
    "change nonsense": lambda s: s.change({"nonsense": 4}),
    "raise steps": lambda s: s.change({"steps": 60}),
    "lower steps": lambda s: s.change({"steps": 1}),
    "act": lambda s: s.act(MoveTo((0.0, 0.0, 0.0))),
    "act wrongly": lambda s: s.act(MoveTo((0.0,))),
    "want": lambda s: s.want(["position", "path"]),
    "want now": lambda s: s.want(["position", "unheard of"], now=True),
    "summarise": Session.summarise,
    "start": Session.start,
    "stop": Session.stop,
}


def obey_all(session: Session, names: list[str], close: bool = True) -> None:
    """Send the commands in a row, close, and check what came back."""
    run = Watched(session)
    numbers = [(name, COMMANDS[name](session)) for name in names]
    answered = [number for name, number in numbers if number is not None]
    if close:
        session.request_close()
        run.until_state("done")
    for number in answered:
        with contextlib.suppress(InputError):
            run.do(number)
    assert session.close(PATIENCE)
    run.drain()
    assert session.failure is None and session.state == "done"
    assert_in_order(run.states())
    given = [answer.number for answer in run.seen.answers]
    assert sorted(given) == sorted(set(given)) and set(answered) <= set(given)
    by_number = {answer.number: answer for answer in run.seen.answers}
    at = [by_number[number].step for number in answered]
    assert at == sorted(at)
    steps = run.steps()
    assert steps == list(range(1, len(steps) + 1))
    assert (at[-1] if at else 0) <= len(steps)


@given(st.lists(st.sampled_from(sorted(COMMANDS)), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_of_commands_is_answered_in_order_and_never_hangs(names: list[str]):
    obey_all(Session(spec(steps=40), ThreadHost()), names)


@given(st.lists(st.sampled_from(sorted(COMMANDS)), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_of_commands_after_the_start(names: list[str]):
    obey_all(Session(spec(steps=40), ThreadHost()), ["start", *names])


@both
def test_every_command_twice_in_a_row(pool: WorkerPool, where: Where):
    names = [name for name in COMMANDS if name != "stop"]
    obey_all(
        Session(spec(steps=40), pool.take(where)),
        ["start", *(n for name in names for n in (name, name)), "stop", *names],
    )


def test_a_session_that_is_over_answers_at_once_that_it_is(begin: Begin):
    run = begin("thread", spec())
    assert run.session.close(PATIENCE)
    with pytest.raises(InputError, match="ended"):
        run.session.wait(run.session.play(), timeout=math.inf)


# --- pictures -------------------------------------------------------------------------------------------------------------


@both
def test_pictures_come_when_they_are_wanted_and_only_then(begin: Begin, where: Where):
    run = begin(where, spec(paused=True))
    session = run.session
    run.do(session.start())
    run.do(session.advance(3))
    run.until(lambda s: s.step == 3 and s.state == "paused")
    session.want(["position"])
    frames = run.until_frames("position")
    assert set(frames) == {"position"}
    frame = frames["position"]
    assert (frame.run, frame.step, frame.name) == ("a-run", 3, "position") and check(frame.figure) == []

    session.want(["path", "unheard of"])
    frames = run.until_frames("path")
    assert set(frames) == {"path"} and isinstance(frames["path"].figure, Film)

    # Nobody asked again, so nothing comes, however far it trains.
    run.do(session.advance(200))
    run.until(lambda s: s.step == 203 and s.state == "paused")
    run.do(session.summarise())
    assert run.drain().frames == {}

    # The newest wins: of many asked for before anybody looked, one is kept, and it is the last.
    for _ in range(5):
        session.want(["position"])
        run.do(session.advance(1))
        run.until_state("paused")
    run.do(session.pause())
    session.want(["position"])
    run.do(session.summarise())
    newest = run.drain().frames
    assert set(newest) == {"position"} and newest["position"].step == 208


def test_only_what_is_wanted_is_computed(begin: Begin, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, ...]] = []
    compute = ToyEngine.figures

    def noted(self: ToyEngine, wanted: Any) -> Any:
        asked.append(tuple(wanted))
        return compute(self, wanted)

    monkeypatch.setattr(ToyEngine, "figures", noted)
    run = begin("thread", spec(paused=True))
    run.do(run.session.start())
    run.do(run.session.advance(50))
    run.until(lambda s: s.step == 50 and s.state == "paused")
    assert asked == []
    run.session.want(["position"])
    run.until_frames("position")
    run.session.want(["path"])
    run.until_frames("path")
    assert [names for names in asked if names] == [("position",), ("path",)]


def test_whoever_asks_again_at_once_does_not_hold_up_the_first_step(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    draw = Worker._draw

    def asked_again(self: Worker, names: Any) -> Any:
        made = draw(self, names)
        # As from a window that has the picture before the worker looks for commands.
        self._inbox.put(m.Numbered(0, m.Want(tuple(names))))
        return made

    monkeypatch.setattr(Worker, "_draw", asked_again)
    run = begin("thread", spec())
    run.session.start()
    run.session.want(["position", "path"])
    run.until(lambda s: s.step >= 3)


@both
def test_pictures_while_it_trains_do_not_change_the_training(begin: Begin, where: Where):
    run = begin(where, replace(spec(seed=11, steps=4000), picture_share=1.0))
    session = run.session
    session.want(["position", "path"], now=True)
    run.do(session.start())
    shown: list[str] = []

    def seen() -> bool:
        found = list(run.drain().frames)
        shown.extend(found)
        return bool(found) or session.state != "running"

    while session.state == "running":
        session.want(["position", "path"], now=True)
        assert session.wait_for(seen, PATIENCE)
    run.until_state("paused")
    assert set(shown) == {"position", "path"}
    assert run.column("loss") == direct(4000, seed=11)


def test_a_costly_picture_waits_for_its_turn_while_it_trains_and_may_jump_the_queue(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    """Pictures may take a billionth of the time: the second has its turn only when somebody insists, or when it pauses."""
    # In the first seconds of a run they may take more.
    monkeypatch.setattr("lab.runs.worker.YOUNG", 0.0)
    run = begin("thread", replace(spec(pause=0.001), picture_share=1e-9))
    session = run.session
    run.do(session.start())
    run.until(lambda s: s.step > 0)
    session.want(["position"])
    run.until_frames("position")
    session.want(["position"])
    step = session.step
    run.until(lambda s: s.step > step + 100)
    assert run.drain().frames == {}
    session.want(["position"], now=True)
    run.until_frames("position")
    session.want(["position"])
    run.do(session.pause())
    run.until_frames("position")


def test_the_hand_is_answered_before_the_pictures_of_what_it_did(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    """Its next move waits for the answer, and not for them."""
    monkeypatch.setattr(worker, "YOUNG", 0.0)
    go_on, compute = threading.Event(), ToyEngine.figures
    run = begin("thread", replace(spec(), picture_share=1e-9))
    session = run.session
    run.do(session.leash(10))
    run.do(session.start())
    run.until(lambda s: s.step == 10)
    session.want(["position"])
    run.until_frames("position")
    # The next picture of this kind is not due for a long time, unless the hand does something.
    session.want(["position"])

    def held(self: ToyEngine, wanted: Collection[str]) -> dict[str, Figure]:
        go_on.wait(PATIENCE)
        return compute(self, wanted)

    monkeypatch.setattr(ToyEngine, "figures", held)
    try:
        answer = run.do(session.act(MoveTo((1.0, 2.0, 3.0))))
        assert answer.payload["loss"] > 0 and not run.drain().frames
    finally:
        go_on.set()
    (frame,) = run.until_frames("position").values()
    assert frame.figure.marks[0].y.tolist() == [1.0, 2.0, 3.0]


def test_a_picture_that_cannot_be_made_is_a_note_and_training_goes_on(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    def refuse(self: ToyEngine, wanted: Any) -> Any:
        raise InputError("There is nothing to see yet: train first.")

    monkeypatch.setattr(ToyEngine, "figures", refuse)
    run = begin("thread", spec(paused=True))
    run.do(run.session.start())
    run.session.want(["position"])
    run.do(run.session.advance(5))
    run.until(lambda s: s.step == 5 and s.state == "paused")
    run.drain()
    assert [(note.text, note.kind) for note in run.seen.notes] == [
        ("There is nothing to see yet: train first.", "warning")
    ]
    assert run.session.failure is None


def test_of_pictures_asked_for_together_one_that_fails_leaves_the_others(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    draw = ToyEngine.figures

    def figures(self: ToyEngine, wanted: Any) -> Any:
        if "path" in wanted:
            raise ZeroDivisionError("no path")
        return draw(self, wanted)

    monkeypatch.setattr(ToyEngine, "figures", figures)
    views = tuple(replace(v, cost="fast") if v.name == "path" else v for v in ToyEngine.method.views)
    monkeypatch.setattr(ToyEngine, "method", replace(ToyEngine.method, views=views))
    run = begin("thread", spec(paused=True))
    run.do(run.session.start())
    for _ in range(3):
        run.session.want(["position", "path"])
        assert set(run.until_frames("position")) == {"position"}
    (note,) = run.seen.notes
    assert note.kind == "error" and note.text.startswith("path cannot be drawn")
    assert run.session.failure is None


# --- faults ---------------------------------------------------------------------------------------------------------------


@both
def test_a_fault_in_the_engine_fails_the_run_and_leaves_its_folder_whole(
    begin: Begin, where: Where, tmp_path: Path
):
    run = begin(where, spec(tmp_path / "run", fault_at=51))
    session = run.session
    run.do(session.start())
    run.until_state("failed")
    failure = session.failure
    assert failure is not None and failure.kind == "fault" and failure.step == 50
    assert (
        "the toy broke" in failure.sentence and "Traceback" in failure.details and "toy.py" in failure.details
    )
    with pytest.raises(RunFailed, match="the toy broke") as caught:
        run.do(session.play())
    assert caught.value.details == failure.details
    assert session.close(PATIENCE)
    assert_in_order(run.states())
    assert run.steps() == list(range(1, 51))
    assert recorded(tmp_path / "run")[0] == run.steps()
    folder = RunFolder(tmp_path / "run")
    assert folder.damage() == [] and folder.last_state() == "failed"
    (event,) = [event for event in folder.events()[0] if event["kind"] == "failure"]
    assert event["sentence"] == failure.sentence and event["step"] == 50
    record, state, _ = folder.newest_state()
    assert record.step <= 50 and state["count"] == record.step


@both
def test_a_step_that_cannot_be_done_pauses_with_its_sentence_and_can_be_tried_again(
    begin: Begin, where: Where, tmp_path: Path
):
    run = begin(where, spec(tmp_path / "run", paused=True, refuse_at=8))
    session = run.session
    run.start()
    run.do(session.play())
    run.until_state("paused")
    assert session.step == 7 and session.failure is None and not session.is_finished
    assert "The toy's world came to an end" in session.message and "nothing is lost" in session.message
    run.drain()
    assert [note.kind for note in run.seen.notes] == ["error"]
    assert RunFolder(tmp_path / "run").newest_state()[0].step == 7
    # The world is still what it was.
    run.do(session.play())
    run.until_state("paused")
    assert session.step == 7
    run.do(session.change({"refuse_at": 0}))
    run.train(3)
    run.end()
    folder = RunFolder(tmp_path / "run")
    assert session.step == 10 and folder.damage() == []
    assert folder.metrics().steps.tolist() == list(range(1, 11))


@both
def test_questions_and_drags_leave_no_mark_and_questions_no_trace(begin: Begin, where: Where, tmp_path: Path):
    run = begin(where, spec(tmp_path / "run", paused=True))
    session = run.session
    run.start()
    run.train(5)
    kept = RunFolder(tmp_path / "run").newest_state()[1]["parameter"].tolist()
    asked = run.do(session.act(WhereIs()))
    assert asked.payload == {"where": kept} and asked.step == 5
    run.do(session.act(Nudge((0.0, 3.0, 4.0))))
    assert run.do(session.act(WhereIs())).payload == {"where": [0.0, 3.0, 4.0]}
    run.do(session.act(MoveTo((3.0, 0.0, 4.0))))
    run.drain()
    assert [mark.kind for mark in run.seen.marks] == ["action"]
    run.do(session.act(Nudge((0.0, 6.0, 8.0))))
    run.end()
    folder = RunFolder(tmp_path / "run")
    assert [event["action"] for event in folder.events()[0] if event["kind"] == "action"] == ["MoveTo"]
    # A drag is kept like any other move.
    assert folder.newest_state()[1]["parameter"].tolist() == [0.0, 6.0, 8.0]


@pytest.mark.parametrize("fault", [0, 3])
def test_an_engine_is_closed_once_whatever_its_end(begin: Begin, monkeypatch: pytest.MonkeyPatch, fault: int):
    closed: list[int] = []
    monkeypatch.setattr(ToyEngine, "close", lambda engine: closed.append(engine._count))
    run = begin("thread", spec(paused=True, fault_at=fault))
    run.start()
    run.do(run.session.advance(5))
    run.until_state("failed" if fault else "paused")
    assert closed == ([3] if fault else [])
    if not fault:
        run.end()
        assert closed == [5]


def test_out_of_memory_is_advice(begin: Begin):
    run = begin("thread", spec(memory_at=3))
    run.session.start()
    run.until_state("failed")
    failure = run.session.failure
    assert failure is not None and failure.kind == "memory"
    assert "memory" in failure.sentence and "smaller" in failure.sentence
    assert "Tried to allocate" in failure.details


def test_numbers_that_are_not_finite_pause_and_can_be_played_through(begin: Begin, tmp_path: Path):
    run = begin("thread", spec(tmp_path / "run", step_size=1e6, steps=60))
    session = run.session
    run.do(session.start())
    run.until_state("paused")
    bad = session.step
    assert (
        not session.is_finished
        and "loss is not a finite number" in session.message
        and f"{bad:,}" in session.message
    )
    assert not math.isfinite(run.column("loss")[-1]) and all(map(math.isfinite, run.column("loss")[:-1]))
    # It goes on, in single steps as in a row, pauses no more, and still ends where it should.
    session.advance(2)
    run.until(lambda s: s.step == bad + 2 and s.state == "paused")
    assert "finite" not in session.message
    run.do(session.play())
    run.until(lambda s: s.step == 60 and s.state == "paused")
    assert session.is_finished
    run.do(session.stop())
    assert session.close(PATIENCE)
    steps, columns = recorded(tmp_path / "run")
    assert steps == list(range(1, 61)) and not math.isfinite(columns["loss"][-1])
    # The newest keyframe is one that can be trained from.
    newest, state, _ = RunFolder(tmp_path / "run").newest_state()
    assert newest.step < bad and np.isfinite(state["parameter"].numpy()).all()


@pytest.mark.parametrize(
    ("values", "needed"),
    [
        ({"step_size": -1}, "out of range"),
        ({"nonsense": 1}, "no setting"),
        ({"step_size": "banana"}, "finite number"),
    ],
)
def test_bad_settings_fail_the_start_with_a_sentence(
    begin: Begin, tmp_path: Path, values: dict[str, Any], needed: str
):
    run = begin("thread", replace(spec(tmp_path / "run"), values=values))
    with pytest.raises(InputError, match=needed):
        run.do(run.session.start())
    run.until_state("failed")
    assert run.session.failure is not None and run.session.failure.kind == "input"
    assert run.session.failure.details == ""
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_fails_the_start_with_a_sentence(begin: Begin):
    run = begin("thread", replace(spec(), device="abacus"))
    with pytest.raises(InputError, match="abacus"):
        run.do(run.session.start())


def test_a_folder_that_holds_a_run_is_refused_and_left_as_it_was(begin: Begin, tmp_path: Path):
    first = begin("thread", spec(tmp_path / "run", steps=20))
    first.do(first.session.start())
    first.until_state("paused")
    first.session.close(PATIENCE)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    second = begin("thread", spec(tmp_path / "run"))
    with pytest.raises(InputError, match="holds a run already"):
        second.do(second.session.start())
    second.session.close(PATIENCE)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


class Unheard(Action):
    """A request that no engine knows."""


def test_a_request_that_the_engine_does_not_know_is_a_fault_of_ours(begin: Begin):
    run = begin("thread", spec(paused=True))
    run.do(run.session.start())
    with pytest.raises(RunFailed, match="Unheard"):
        run.do(run.session.act(Unheard()))


# --- killed ---------------------------------------------------------------------------------------------------------------


def assert_at_most_a_second_is_missing(folder: Path, trained: int, pause: float) -> None:
    """Each step took at least ``pause`` seconds, so a second is at most so many steps."""
    opened = RunFolder(folder)
    assert opened.damage() == [] and opened.last_state() == "running"
    steps, columns = recorded(folder)
    assert steps == list(range(1, len(steps) + 1))
    assert trained - len(steps) <= 1 / pause
    assert columns["loss"] == direct(len(steps))
    record, state, _ = opened.newest_state()
    assert record.step <= len(steps) and state["count"] == record.step


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_killed_worker_is_told_of_and_its_folder_opens(begin: Begin, tmp_path: Path):
    run = begin("process", spec(tmp_path / "run", pause=0.005))
    session = run.session
    run.do(session.start())
    run.until(lambda s: s.step >= 300)
    host: Any = session.host
    os.kill(host.pid, signal.SIGKILL)
    run.until_state("failed")
    failure = session.failure
    assert failure is not None and failure.kind == "died" and "SIGKILL" in failure.sentence
    assert "folder" in failure.sentence
    with pytest.raises(RunFailed, match="SIGKILL"):
        run.do(session.play())
    run.drain()
    assert run.states()[-1] == "failed"
    assert_at_most_a_second_is_missing(tmp_path / "run", session.step, 0.005)
    session.close(PATIENCE)


PARENT = """
import json, sys
sys.path.insert(0, {root!r})
from lab.runs.messages import RunSpec
from lab.runs.session import Session

if __name__ == "__main__":
    session = Session(RunSpec("a-run", "toy", "tests.toy:ToyEngine", {{"pause": 0.005}}, "cpu", {folder!r}, threads=1))
    session.wait(session.start())
    assert session.wait_for(lambda: session.step >= 50, 30)
    print(json.dumps({{"pid": session.host.pid}}), flush=True)
    session.wait_for(lambda: False, 600)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
def test_when_the_application_is_killed_its_worker_writes_what_it_has_and_ends(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(root=str(ROOT), folder=str(tmp_path / "run")))
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        child = json.loads(parent.stdout.readline())["pid"]
        parent.kill()
    # The worker holds nothing that would tell us of its end, so look until it is gone.
    gone = threading.Event()
    for _ in range(600):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                gone.wait(0.05)
                continue
        break
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the worker outlived the application by 30 s")
    folder = RunFolder(tmp_path / "run")
    # Nobody asked it to end, so it has not ended: it can be found and gone on with.
    assert folder.damage() == [] and folder.last_state() == folder.status().state == "running"
    assert not is_held(folder.path) and folder.status().step == folder.newest_state()[0].step
    steps, columns = recorded(tmp_path / "run")
    assert len(steps) >= 50 and columns["loss"] == direct(len(steps))
    assert folder.newest_state()[0].step == len(steps)


# --- going on from a keyframe ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with keyframes at 0, 100 and 200."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    run = Watched(Session(spec(folder, paused=True, seed=3), ThreadHost()))
    run.do(run.session.start())
    for end in (100, 200):
        run.session.advance(100)
        run.until(lambda s, end=end: s.step == end and s.state == "paused")  # type: ignore[misc]
        run.do(run.session.pause())
    run.do(run.session.stop())
    run.session.close(PATIENCE)
    assert {0, 100, 200} <= {k.step for k in RunFolder(folder).keyframes()[0]}
    return folder


def copied(source: Path, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(source, target))


@both
def test_going_on_repeats_the_original_bit_for_bit(begin: Begin, where: Where, stopped: Path, tmp_path: Path):
    before = [path.name for path in sorted(stopped.rglob("*"))]
    run = begin(where, spec(tmp_path / "on", resume=stopped, paused=True, seed=3))
    assert run.do(run.session.start()).step == 200
    run.session.advance(150)
    run.until(lambda s: s.step == 350 and s.state == "paused")
    assert run.steps() == list(range(201, 351))
    assert run.column("loss") == direct(350, seed=3)[200:]
    # What lies before is a part of the new run's folder.
    steps, columns = recorded(tmp_path / "on")
    assert steps == list(range(1, 351)) and columns["loss"] == direct(350, seed=3)
    # The source is read, never written.
    assert [path.name for path in sorted(stopped.rglob("*"))] == before


def test_a_damaged_newest_keyframe_is_noted_and_the_one_before_serves(
    begin: Begin, stopped: Path, tmp_path: Path
):
    source = copied(stopped, tmp_path / "source")
    *_, before, newest_record = RunFolder(source).keyframes()[0]
    newest = source / "keyframes" / newest_record.file
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    run = begin("thread", spec(resume=source, paused=True, seed=3))
    assert run.do(run.session.start()).step == before.step < 200
    run.drain()
    (note,) = run.seen.notes
    assert note.kind == "warning" and "step 200" in note.text and "damaged" in note.text
    run.session.advance(50)
    run.until(lambda s: s.step == before.step + 50 and s.state == "paused")
    assert run.column("loss") == direct(before.step + 50, seed=3)[before.step :]


def test_what_cannot_be_gone_on_from_is_a_sentence(begin: Begin, stopped: Path, tmp_path: Path):
    emptied = copied(stopped, tmp_path / "emptied")
    for path in (emptied / "keyframes").iterdir():
        path.unlink()
    (tmp_path / "nothing").mkdir()
    for source, more, needed in (
        (emptied, {}, "no keyframe"),
        (tmp_path / "nothing", {}, "holds no run"),
        (stopped, {"paper": "other"}, "run of 'toy'"),
    ):
        run = begin("thread", replace(spec(tmp_path / "new", resume=source), **more))
        with pytest.raises(InputError, match=needed):
            run.do(run.session.start())
        assert not (tmp_path / "new").exists()


def test_a_state_that_the_engine_cannot_take_is_a_sentence(
    begin: Begin, stopped: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(self: ToyEngine, state: Any) -> None:
        raise RuntimeError("Error(s) in loading state_dict for Net:\n\tsize mismatch for weight")

    monkeypatch.setattr(ToyEngine, "load_state_dict", refuse)
    run = begin("thread", spec(resume=stopped))
    with pytest.raises(InputError, match="does not fit these settings") as caught:
        run.do(run.session.start())
    assert "\n" not in str(caught.value) and "size mismatch" in str(caught.value)


def test_going_on_where_all_steps_are_done_waits_for_more(begin: Begin, stopped: Path):
    run = begin("thread", spec(resume=stopped, seed=3, steps=200))
    run.do(run.session.start())
    assert run.session.state == "paused" and run.session.is_finished
    run.do(run.session.change({"steps": 210}))
    run.do(run.session.play())
    run.until(lambda s: s.step == 210 and s.state == "paused")
    assert run.column("loss") == direct(210, seed=3)[200:]


@both
def test_the_status_is_right_at_the_end(begin: Begin, where: Where, tmp_path: Path):
    """Also when all of it has to be looked for."""
    run = begin(where, spec(tmp_path / "run", paused=True, steps=500, report_every=10))
    run.start()
    run.train(150)
    run.do(run.session.change({"steps": 400, "step_size": 0.2}))
    run.do(run.session.play())
    run.until(lambda s: s.is_finished)
    run.end()
    folder = RunFolder(tmp_path / "run")
    losses = folder.metrics().columns["loss"]
    status = folder.status()
    assert (status.state, status.step, status.total) == ("done", 400, 400)
    assert (status.headline, status.latest, status.best) == ("loss", losses[-1], np.nanmin(losses))
    assert status.best_step == int(np.nanargmin(losses)) + 1
    kept = sum(p.stat().st_size for part in ("keyframes", "frames") for p in (folder.path / part).iterdir())
    assert status.keyframe_bytes == kept > 0
    (folder.path / "status.json").unlink()
    looked = folder.status()
    assert (looked.state, looked.step, looked.total, looked.keyframe_bytes) == ("done", 400, 400, kept)
    assert 0 < looked.seconds <= status.seconds + 1e-3


# --- a full disk ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_pauses_loses_nothing_and_goes_on(begin: Begin, small_disk: Path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2**20 - 2**18 - 60_000))
    run = begin("thread", spec(small_disk / "run", pause=0.001))
    session = run.session
    run.do(session.start())
    run.until_state("paused")
    assert "full" in session.message and "Play" in session.message and not session.is_finished
    run.drain()
    assert any(note.kind == "error" and "full" in note.text for note in run.seen.notes)
    # The space that was kept back took everything up to here.
    full = session.step
    assert recorded(small_disk / "run")[0] == list(range(1, full + 1))
    # What was half written when the disk was full is gone once the worker answers; then it is filled to the last byte.
    run.do(session.change({}))
    # A change now is told of as well, takes effect all the same, and is answered so.
    (small_disk / "more").write_bytes(b"")
    with contextlib.suppress(OSError), open(small_disk / "more", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    sizes = [0.3 + 0.0005 * i for i in range(250)] + [0.5]
    for size in sizes:
        assert run.do(session.change({"step_size": size})).payload == {"step_size": size}
    assert len(RunFolder(small_disk / "run").events()[0]) < len(sizes)
    assert session.state == "paused"
    ballast.unlink()
    session.advance(10)
    run.until(lambda s: s.step == full + 10 and s.state == "paused")
    run.do(session.stop())
    assert session.close(PATIENCE)
    assert session.failure is None
    steps, columns = recorded(small_disk / "run")
    assert steps == run.steps() == list(range(1, full + 11))
    assert columns["step_size"] == [0.1] * full + [0.5] * 10
    folder = RunFolder(small_disk / "run")
    assert folder.damage() == [] and folder.last_state() == "done" and folder.values()["step_size"] == 0.5
    assert [e["values"]["step_size"] for e in folder.events()[0] if e["kind"] == "change"] == sizes
    assert folder.newest_state()[0].step == full + 10


# --- closing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "where"),
    [("idle", "thread"), ("starting", "thread"), ("running", "thread"), ("paused", "thread"),
     ("starting", "process"), ("running", "process")],
)  # fmt: skip
def test_closing_is_clean_at_any_time(begin: Begin, when: str, where: Where, tmp_path: Path):
    run = begin(where, spec(tmp_path / "run", paused=when == "paused"))
    session = run.session
    if when != "idle":
        number = session.start()
        if when != "starting":
            run.do(number)
        if when == "running":
            run.until(lambda s: s.step > 20)
    assert session.close(PATIENCE)
    assert session.state == "done" and session.failure is None and not session.host.is_alive()
    assert_in_order(run.states())
    if when != "idle":
        folder = RunFolder(tmp_path / "run")
        assert folder.damage() == [] and folder.last_state() == "done"
        steps, columns = recorded(tmp_path / "run")
        assert steps == run.steps() and columns.get("loss", []) == run.column("loss")
        assert folder.newest_state()[0].step == len(steps)
    assert session.close(PATIENCE)  # once more does no harm


def test_a_thread_whose_step_does_not_end_is_not_waited_for_longer_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
):
    release, entered = threading.Event(), threading.Event()

    def stuck(self: ToyEngine) -> dict[str, float]:
        entered.set()
        release.wait(PATIENCE)
        return {"loss": 1.0}

    monkeypatch.setattr(ToyEngine, "step", stuck)
    session = Session(spec(), ThreadHost())
    session.start()
    assert entered.wait(PATIENCE)
    assert not session.close(timeout=0.2)
    release.set()
    assert session.host.join(PATIENCE)


def children() -> set[int]:
    """Processes of this one that are workers."""
    return {process.pid for process in multiprocessing.active_children() if process.pid}


def alive(pid: int) -> bool:
    """Whether a process runs, by the system's own word where it gives one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return pid in children()


def warmed(before: set[int]) -> tuple[WorkerPool, int]:
    """A pool that has its spare and makes no other for the next ten minutes, and the spare's process."""
    workers = WorkerPool(delay=600.0)
    workers.warm()
    for thread in threading.enumerate():
        if thread.name == "lab-warmer":
            thread.join(PATIENCE)
    (spare,) = children() - before
    return workers, spare


@pytest.fixture
def others(pool: WorkerPool) -> Iterator[set[int]]:
    """Workers that are none of the test's own; no more of them come while it runs."""
    pool.close(PATIENCE)
    yield children()


def test_the_pool_gives_a_warm_worker_and_leaves_no_process_behind(others: set[int]):
    workers, spare = warmed(others)
    try:
        # It is the spare, not a fresh one, and when its turn comes it has loaded torch already.
        host: Any = workers.take("process")
        assert host.pid == spare and host.is_alive()
        assert host.connection.poll(PATIENCE)
        hello = host.connection.recv()
        assert isinstance(hello, m.Hello) and hello.pid == spare
        run = Watched(Session(spec(steps=5), host))
        run.do(run.session.start())
        run.until(lambda s: s.step == 5)
        assert workers.take("thread").where == "thread"
        assert run.session.close(PATIENCE)
        assert not alive(spare) and children() == others
    finally:
        workers.close(PATIENCE)
    # A closed pool makes no more spares.
    workers.warm()
    assert children() == others


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_spare_that_died_is_not_given(others: set[int]):
    workers, spare = warmed(others)
    os.kill(spare, signal.SIGKILL)
    for process in multiprocessing.active_children():
        if process.pid == spare:
            process.join(PATIENCE)
    host: Any = workers.take("process")
    assert host.pid != spare and host.is_alive()
    host.kill()
    assert host.join(PATIENCE) and "SIGKILL" in host.ending()
    workers.close(PATIENCE)
    assert children() == others


def test_a_closed_pool_ends_its_spare_even_while_it_starts(others: set[int]):
    workers, spare = warmed(others)
    workers.close(PATIENCE)
    assert not alive(spare) and children() == others
