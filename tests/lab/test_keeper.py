"""The keyframes of runs that train: which there are, what each can be gone back to, what they show, what they may cost."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.engine import Engine
from engines.errors import InputError
from engines.figures import FigureSpec
from lab import papers
from lab.runs import frames, keeper, worker
from lab.runs import messages as m
from lab.runs.folder import BEFORE_CHANGE, DIVERGED, Keyframe, Metrics, RunFolder
from lab.runs.hosts import Where
from lab.runs.reader import read_frame
from tests.lab.watching import PATIENCE, Begin, Watched, from_keyframe, recorded, sessions, spec
from tests.toy import MoveTo, ToyEngine

both = pytest.mark.parametrize("where", ["thread", "process"])


def eager(patch: pytest.MonkeyPatch) -> None:
    """A regular keyframe at every look, and every best at once."""
    patch.setattr(keeper.KeyframeSchedule, "is_due", lambda self, now: True)
    patch.setattr(keeper.KeyframeSchedule, "can_afford", lambda self, now: True)


def poor(patch: pytest.MonkeyPatch) -> None:
    """No time for regular keyframes and for new bests, but for holding them."""
    patch.setattr(keeper.KeyframeSchedule, "is_due", lambda self, now: False)
    patch.setattr(keeper.KeyframeSchedule, "can_afford", lambda self, now: True)


def only_bests(patch: pytest.MonkeyPatch) -> None:
    """Every best at once, and no regular keyframe: those come by the clock, at any step."""
    patch.setattr(keeper.KeyframeSchedule, "is_due", lambda self, now: self.interval == keeper.BEST_EVERY)
    patch.setattr(keeper.KeyframeSchedule, "can_afford", lambda self, now: True)


def each_change_a_gesture(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keeper, "GESTURE", -1.0)


def engine_at(folder: RunFolder, record: Keyframe, paper: str = "toy") -> Engine:
    """A fresh engine, put into the state of a keyframe, with the settings of then."""
    import torch

    kind: type[Engine] = (
        ToyEngine if paper == "toy" else papers.resolve(papers.method_of(papers.find(paper)).engine)
    )
    engine = kind(kind.method.config.build(folder.keyframe_values(record)), torch.device("cpu"))
    engine.load_state_dict(folder.read_keyframe(record))
    return engine


def assert_all_have_their_pictures(path: Path, paper: str = "toy") -> None:
    """Each keyframe has a picture for every view, and it is what an engine draws in that state."""
    folder = RunFolder(path)
    keyframes = folder.keyframes()[0]
    assert keyframes
    for record in keyframes:
        engine = engine_at(folder, record, paper)
        views = [view.name for view in engine.method.views if isinstance(view, FigureSpec)]
        drawn = frames.pack(engine.figures(views))
        assert (path / "frames" / record.frame).read_bytes() == drawn, record
        assert set(frames.unpack(drawn)) == set(views)


def assert_same_metrics(found: Metrics, expected: Metrics) -> None:
    assert found.damage == [] and found.steps.tolist() == expected.steps.tolist()
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        assert np.array_equal(found.columns[name], column, equal_nan=True), name


def on_disk(path: Path) -> int:
    """Bytes of states and pictures."""
    return sum(file.stat().st_size for part in ("keyframes", "frames") for file in (path / part).iterdir())


def places(path: Path) -> list[tuple[int, bool]]:
    return [record.place for record in RunFolder(path).keyframes()[0]]


def changes_of(folder: RunFolder) -> list[tuple[int, dict[str, Any]]]:
    return [(event["step"], event["values"]) for event in folder.events()[0] if event["kind"] == "change"]


def best_of(path: Path) -> Keyframe:
    """The newest keyframe that was kept because it was the best."""
    return [record for record in RunFolder(path).keyframes()[0] if record.reason == "best"][-1]


def past_events(folder: RunFolder, record: Keyframe) -> list[dict[str, Any]]:
    """What a run that goes on from a keyframe has behind it."""
    return [
        event
        for event in folder.events()[0]
        if event["kind"] in ("change", "action", "divergence", "branch")
        and (event["step"], event["step"] == record.step) <= (record.step, record.reason != BEFORE_CHANGE)
    ]


# --- going back -----------------------------------------------------------------------------------------------------------

STORY = (
    (30, {"step_size": 0.05}),
    (20, {"step_size": 0.2, "dots": 4}),
    (25, {"dots": 5}),
    (40, {"step_size": 0.15}),
    (35, {}),
)
"""Steps, and the change after them."""


def live(run: Watched) -> None:
    for steps, change in STORY:
        run.train(steps)
        if change:
            run.do(run.session.change(change))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with keyframes of every kind; its headline is reported at every seventh step."""
    path = tmp_path_factory.mktemp("runs") / "story"
    with pytest.MonkeyPatch.context() as patch, sessions() as make:
        eager(patch)
        each_change_a_gesture(patch)
        run = make("thread", spec(path, paused=True, seed=3, report_every=7))
        run.start()
        live(run)
        run.end()
    reasons = {record.reason for record in RunFolder(path).keyframes()[0]}
    assert reasons == {"first", "regular", "best", BEFORE_CHANGE, "last"}
    return path


def test_every_keyframe_repeats_what_followed_it_bit_for_bit(story: Path, begin: Begin, tmp_path: Path):
    original = RunFolder(story)
    ends = [step for step, values in changes_of(original) if values.keys() - {"dots"}]
    whole = original.metrics()
    for number, record in enumerate(original.keyframes()[0]):
        end = next((step for step in ends if step > record.step), int(whole.steps[-1]))
        if record.reason == BEFORE_CHANGE:
            end = record.step  # What followed it was trained with other settings.
        path = tmp_path / str(number)
        run = begin("thread", from_keyframe(story, record, path))
        assert run.start() == record.step
        if end > record.step:
            run.train(end - record.step)
        run.end()
        child = RunFolder(path)
        assert run.steps() == list(range(record.step + 1, end + 1))
        assert_same_metrics(child.metrics(), whole.upto(end))
        # And it is the original's up to there in all else.
        kept = [k for k in child.keyframes()[0] if k.place <= (record.step, True)]
        expected = [k for k in original.keyframes()[0] if k.place <= record.place]
        if record.reason == BEFORE_CHANGE:
            expected[-1] = replace(record, reason="regular")
        assert kept == expected
        past = past_events(original, record)
        assert [e for e in child.events()[0] if e.get("inherited")] == [
            {**e, "inherited": True} for e in past
        ]
        assert child.damage() == []


@both
def test_a_run_goes_back_wherever_it_was_trained(begin: Begin, where: Where, story: Path, tmp_path: Path):
    """The same story in each place, and back to before and after a change."""
    run = begin(where, spec(tmp_path / "run", paused=True, seed=3, report_every=7))
    run.start()
    live(run)
    run.end()
    original = RunFolder(tmp_path / "run")
    whole = original.metrics()
    assert_same_metrics(whole, RunFolder(story).metrics())
    assert {(30, False), (30, True), (50, False), (50, True)} <= set(places(tmp_path / "run"))
    (after,) = [k for k in original.keyframes()[0] if k.place == (50, True)]
    (before,) = [k for k in original.keyframes()[0] if k.place == (50, False)]
    again = begin(where, from_keyframe(tmp_path / "run", after, tmp_path / "again"))
    again.start()
    again.train(65)
    # Before the change with the settings after it is the same.
    changed = begin("thread", from_keyframe(tmp_path / "run", before, tmp_path / "changed", step_size=0.2))
    changed.start()
    changed.train(65)
    for child in (again, changed):
        child.end()
        assert_same_metrics(RunFolder(Path(child.session.spec.folder or "")).metrics(), whole.upto(115))


def test_a_change_stands_between_two_keyframes_with_the_settings_before_and_after_it(story: Path):
    folder = RunFolder(story)
    values = dict(folder.info.values)
    changes = changes_of(folder)
    seen = []
    for record in folder.keyframes()[0]:
        while changes and (changes[0][0], True) <= record.place:
            values.update(changes.pop(0)[1])
        assert folder.keyframe_values(record) == values, record
        seen.append(record.place)
    assert {(30, False), (30, True), (50, False), (50, True), (115, False), (115, True)} <= set(seen)


def test_what_the_hand_did_after_a_keyframe_was_written_is_in_it_before_training_goes_on(
    begin: Begin, tmp_path: Path
):
    run = begin("thread", spec(tmp_path / "run", paused=True, seed=1))
    run.start()
    run.do(run.session.act(MoveTo((3.0, 2.0, 1.0))))
    run.train(20)
    run.do(run.session.act(MoveTo((1.0, 2.0, 3.0))))
    run.do(run.session.change({"step_size": 0.01}))
    run.train(20)
    run.end()
    folder = RunFolder(tmp_path / "run")
    assert {(0, True), (20, False), (20, True), (40, True)} <= set(places(tmp_path / "run"))
    for record in folder.keyframes()[0]:
        if record.place == (0, True):
            assert folder.read_keyframe(record)["parameter"].tolist() == [3.0, 2.0, 1.0]
        if record.step == 20:
            assert folder.read_keyframe(record)["parameter"].tolist() == [1.0, 2.0, 3.0]
        if record.place in ((0, True), (20, True)):
            child = begin("thread", from_keyframe(tmp_path / "run", record, tmp_path / f"at-{record.step}"))
            child.start()
            child.train(20)
            child.end()
            found = RunFolder(tmp_path / f"at-{record.step}").metrics()
            assert_same_metrics(found, folder.metrics().upto(record.step + 20))
    assert_all_have_their_pictures(tmp_path / "run")


def test_while_the_hand_moves_no_keyframe_is_written_for_each_of_its_moves(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker, "HAND_RESTS", 1000.0)
    run = begin("thread", spec(tmp_path / "run", paused=True))
    run.start()
    run.train(20)
    folder = RunFolder(tmp_path / "run")
    kept = folder.keyframes()[0]
    run.do(run.session.act(MoveTo((3.0, 2.0, 1.0))))
    run.do(run.session.play())
    run.until_state("running")
    for x in range(5):
        run.do(run.session.act(MoveTo((float(x), 0.0, 0.0))))
    assert folder.keyframes()[0] == kept and run.session.step == 20
    # It rests: what it left is kept, and training goes on from there.
    monkeypatch.setattr(worker, "HAND_RESTS", 0.0)
    run.do(run.session.act(MoveTo((0.5, 2.0, 1.0))))
    run.until(lambda s: s.step > 20)
    run.end()
    (record,) = [record for record in folder.keyframes()[0] if record.place == (20, True)]
    assert folder.read_keyframe(record)["parameter"].tolist() == [0.5, 2.0, 1.0]


def test_a_first_keyframe_that_the_hand_changed_stays_the_first(begin: Begin, tmp_path: Path):
    run = begin("thread", spec(tmp_path / "run", paused=True))
    run.start()
    run.do(run.session.act(MoveTo((3.0, 2.0, 1.0))))
    run.end()
    folder = RunFolder(tmp_path / "run")
    (record,) = folder.keyframes()[0]
    assert (record.step, record.reason) == (0, "first")
    assert folder.read_keyframe(record)["parameter"].tolist() == [3.0, 2.0, 1.0]


def test_a_best_that_waits_while_the_hand_moves_it_is_what_training_goes_on_from(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    poor(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True, report_every=10))
    run.start()
    run.do(run.session.leash(10))
    run.do(run.session.play())
    run.until(lambda s: s.step == 10)
    run.do(run.session.act(MoveTo((0.5, 0.5, 0.5))))
    run.do(run.session.leash(15))
    run.until(lambda s: s.step == 15)
    run.do(run.session.pause())
    run.end()
    folder = RunFolder(tmp_path / "run")
    (record,) = [k for k in folder.keyframes()[0] if k.step == 10]
    child = begin("thread", from_keyframe(tmp_path / "run", record, tmp_path / "child"))
    child.start()
    child.train(5)
    child.end()
    found, expected = (RunFolder(tmp_path / name).newest_state()[1]["parameter"] for name in ("child", "run"))
    assert found.tolist() == expected.tolist()
    assert [e["kind"] for e in RunFolder(tmp_path / "child").events()[0] if e.get("inherited")] == ["action"]


def test_a_fork_has_its_own_settings_in_its_first_keyframe_and_its_parent_keeps_its_own(
    begin: Begin, story: Path, tmp_path: Path
):
    before = {path: path.read_bytes() for path in story.rglob("*") if path.is_file()}
    (record,) = [k for k in RunFolder(story).keyframes()[0] if k.place == (50, True)]
    run = begin("thread", from_keyframe(story, record, tmp_path / "fork", step_size=0.07))
    run.start()
    run.train(10)
    run.end()
    folder = RunFolder(tmp_path / "fork")
    (first,) = [k for k in folder.keyframes()[0] if k.place == (50, True)]
    assert folder.keyframe_values(first) == folder.info.values and folder.info.values["step_size"] == 0.07
    assert folder.values()["step_size"] == 0.07
    assert_all_have_their_pictures(tmp_path / "fork")
    assert {path: path.read_bytes() for path in story.rglob("*") if path.is_file()} == before


def test_the_best_so_far_comes_along(begin: Begin, tmp_path: Path):
    """Also where its own keyframe did not: a worse one later is no new best."""
    run = begin("thread", spec(tmp_path / "run", paused=True, seed=1))
    run.start()
    run.train(40)
    run.do(run.session.act(MoveTo((9.0, 9.0, 9.0))))
    run.train(10)
    run.end()
    folder = RunFolder(tmp_path / "run")
    losses = folder.metrics().columns["loss"]
    child = begin(
        "thread", from_keyframe(tmp_path / "run", folder.newest_sound_keyframe(), tmp_path / "child")
    )
    child.start()
    child.train(3)
    child.end()
    status = RunFolder(tmp_path / "child").status()
    assert status.best == losses[:40].min() and status.best_step == int(losses[:40].argmin()) + 1
    assert best_of(tmp_path / "child").step <= 40


def test_the_real_engine_repeats_itself_and_shows_itself(begin: Begin, tmp_path: Path):
    small = {"trajectory": 6, "units": 8, "evaluate_every": 10, "seed": 4}
    real = replace(
        spec(tmp_path / "run", paused=True),
        paper="diffusion",
        engine="engines.diffusion.engine:DiffusionEngine",
    )
    real = replace(real, engine=papers.method_of(papers.find("diffusion")).engine, values=small)
    run = begin("thread", real)
    run.start()
    run.train(12)
    run.do(run.session.change({"step_size": 0.0005}))
    run.train(12)
    run.do(run.session.change({"schedule": "learned"}))
    run.train(12)
    run.end()
    folder = RunFolder(tmp_path / "run")
    whole = folder.metrics()
    assert {(0, True), (12, False), (12, True), (24, False), (24, True), (36, True)} <= set(
        places(tmp_path / "run")
    )
    assert_all_have_their_pictures(tmp_path / "run", "diffusion")
    for record in folder.keyframes()[0]:
        if record.place not in ((12, True), (24, True)):
            continue
        path = tmp_path / f"from-{record.step}"
        child = begin(
            "thread",
            replace(
                real, folder=str(path), resume=str(tmp_path / "run"), keyframe=record.file,
                values=folder.keyframe_values(record),
            ),
        )  # fmt: skip
        child.start()
        child.train(12)
        child.end()
        assert_same_metrics(RunFolder(path).metrics(), whole.upto(record.step + 12))


# --- before changes -------------------------------------------------------------------------------------------------------


@both
def test_a_change_while_it_trains_is_preceded_by_a_keyframe_of_its_step(
    begin: Begin, where: Where, tmp_path: Path
):
    run = begin(where, spec(tmp_path / "run", pause=0.001))
    run.start()
    steps = []
    for number, name in enumerate(("step_size", "pause", "step_size")):
        run.until(lambda s, n=number: s.step >= 10 * (n + 1))  # type: ignore[misc]
        answer = run.do(run.session.change({name: 0.002 + number / 1000}))
        steps.append(answer.step)
        run.do(run.session.change({"dots": 20 + number}))
    run.end()
    folder = RunFolder(tmp_path / "run")
    assert [k.step for k in folder.keyframes()[0] if k.reason == BEFORE_CHANGE] == steps
    # They are in the session's list as well, from the moment of the change.
    assert run.seen.kept is not None and set(steps) <= {
        k.step for k in run.seen.kept.keyframes if k.reason == BEFORE_CHANGE
    }
    assert [
        mark.step for mark in run.seen.marks if "dots" not in mark.details.get("values", {"dots"})
    ] == steps


class Clock:
    """The keeper's, set by hand."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(keeper, "time", self)

    def monotonic(self) -> float:
        return self.now


def test_a_gesture_makes_one_keyframe(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True))
    run.start()

    def change(after: float, **values: float) -> int:
        clock.now += after
        run.train(3)
        return run.do(run.session.change(values)).step

    first = change(50.0, step_size=0.2)
    change(1.9, step_size=0.3)  # the hand still moves, however long the whole takes
    change(1.9, step_size=0.4)
    change(1.9, step_size=0.3)
    other = change(0.1, pause=0.001)  # another setting
    both_of_them = change(0.1, pause=0.0, step_size=0.5)
    later = change(2.1, pause=0.001, step_size=0.6)
    change(5.0, dots=7)
    run.end()
    folder = RunFolder(tmp_path / "run")
    before = [k for k in folder.keyframes()[0] if k.reason == BEFORE_CHANGE]
    assert [k.step for k in before] == [first, other, both_of_them, later]
    assert [folder.keyframe_values(k)["step_size"] for k in before] == [0.1, 0.3, 0.3, 0.5]


def test_of_two_changes_at_one_step_the_keyframe_is_from_before_both(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    each_change_a_gesture(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True))
    run.start()
    run.train(5)
    run.do(run.session.change({"step_size": 0.2}))
    run.do(run.session.change({"pause": 0.001}))
    run.train(5)
    run.end()
    folder = RunFolder(tmp_path / "run")
    before, after = (k for k in folder.keyframes()[0] if k.step == 5)
    values = folder.keyframe_values(before)
    assert before.reason == BEFORE_CHANGE and (values["step_size"], values["pause"]) == (0.1, 0.0)
    values = folder.keyframe_values(after)
    assert after.reason != BEFORE_CHANGE and (values["step_size"], values["pause"]) == (0.2, 0.001)


def test_changes_of_the_pictures_alone_and_changes_to_the_same_value_make_none(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    poor(monkeypatch)
    each_change_a_gesture(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True, report_every=100))
    run.start()
    run.train(5)
    before = places(tmp_path / "run")
    for values in ({"dots": 7}, {"step_size": 0.1}, {"dots": 8}):
        run.do(run.session.change(values))
    run.train(5)
    run.end()
    assert [place for place in places(tmp_path / "run") if place[0] <= 5] == before == [(0, True), (5, True)]


# --- first, last, best ----------------------------------------------------------------------------------------------------


@both
def test_first_last_and_best_are_there_and_the_best_is_the_best_reported(
    begin: Begin, where: Where, tmp_path: Path
):
    run = begin(where, spec(tmp_path / "run", paused=True, report_every=5, steps=100, step_size=0.3))
    run.start()
    for _ in range(8):
        # At each of its reports: how many could be held in between is a question of time.
        run.train(5)
    # From now on it is worse, so the best is behind it.
    run.do(run.session.act(MoveTo((5.0, 5.0, 5.0))))
    run.do(run.session.change({"step_size": 1e-6}))
    run.do(run.session.play())
    run.until(lambda s: s.is_finished)
    run.end()
    folder = RunFolder(tmp_path / "run")
    records = folder.keyframes()[0]
    losses = folder.metrics().columns["loss"]
    assert (records[0].step, records[0].reason) == (0, "first")
    assert records[-1].step == 100 and folder.newest_state()[0] == records[-1]
    assert best_of(tmp_path / "run").value == np.nanmin(losses)
    status = folder.status()
    assert (status.best, status.best_step) == (np.nanmin(losses), int(np.nanargmin(losses)) + 1)
    assert_all_have_their_pictures(tmp_path / "run")


def test_a_best_that_had_to_wait_is_written_later_with_its_own_pictures_and_training_does_not_notice(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    due = False
    monkeypatch.setattr(keeper.KeyframeSchedule, "is_due", lambda self, now: due)
    monkeypatch.setattr(keeper.KeyframeSchedule, "can_afford", lambda self, now: True)
    plain = begin("thread", spec(paused=True, seed=8, report_every=10))
    run = begin("thread", spec(tmp_path / "run", paused=True, seed=8, report_every=10))
    for each in (plain, run):
        each.start()
    run.do(run.session.advance(100_000))
    run.until(lambda s: s.step >= 500)
    # It is not there yet, and comes when there is time, while the state has long been another one.
    assert [k.reason for k in RunFolder(tmp_path / "run").keyframes()[0]] == ["first"]
    due = True
    run.until_mail(lambda seen: seen.kept and any(k.reason == "best" for k in seen.kept.keyframes))
    due = False
    run.do(run.session.pause())
    run.end()
    step = run.session.step
    plain.train(step)
    folder = RunFolder(tmp_path / "run")
    best = [k for k in folder.keyframes()[0] if k.reason == "best"]
    losses = folder.metrics().columns["loss"]
    for record in best:
        assert record.value == losses[record.step - 1] == np.nanmin(losses[: record.step])
        assert folder.read_keyframe(record)["count"] == record.step
    assert best[-1].value == np.nanmin(losses)
    assert_all_have_their_pictures(tmp_path / "run")
    plain.drain()
    both_losses = [
        np.concatenate(
            [part.columns.get("loss", np.full(len(part.steps), np.nan)) for part in each.seen.scalars]
        )
        for each in (plain, run)
    ]
    assert np.array_equal(*both_losses, equal_nan=True) and len(losses) == step


def test_a_best_that_waits_is_written_before_a_change_with_pictures_of_the_settings_then(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    poor(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True, report_every=10, pause=0.001, cliff=0.2))
    run.start()
    run.do(run.session.play())
    run.until(lambda s: s.step >= 15)
    changed = run.do(run.session.change({"step_size": 0.15, "dots": 3})).step
    run.until(lambda s: s.step >= changed + 15)
    run.do(run.session.change({"dots": 4}))
    run.do(run.session.pause())
    run.end()
    folder = RunFolder(tmp_path / "run")
    losses = folder.metrics().columns["loss"]
    early = [k for k in folder.keyframes()[0] if k.reason == "best" and k.step <= changed]
    assert early and early[-1].value == np.nanmin(losses[:changed])
    assert best_of(tmp_path / "run").value == np.nanmin(losses)
    assert_all_have_their_pictures(tmp_path / "run")


def test_pausing_at_a_new_best_that_waited_keeps_it_as_the_best(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    poor(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True, report_every=10))
    run.start()
    run.train(10)
    run.end()
    assert best_of(tmp_path / "run").step == 10 and places(tmp_path / "run") == [(0, True), (10, True)]


# --- pictures -------------------------------------------------------------------------------------------------------------


def test_every_keyframe_shows_its_own_state(story: Path):
    assert_all_have_their_pictures(story)


@pytest.mark.parametrize("wrong", [{1, 2}, np.array([1j]), np.array(["text"], dtype=object)])
def test_a_figure_outside_the_vocabulary_leaves_the_keyframe_without_pictures_and_the_run_alive(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any
):
    draw = ToyEngine.figures

    def figures(self: ToyEngine, wanted: Any) -> Any:
        made = draw(self, wanted)
        if "position" in made:
            made["position"] = replace(made["position"], title=wrong)  # type: ignore[type-var]
        return made

    monkeypatch.setattr(ToyEngine, "figures", figures)
    run = begin("thread", spec(tmp_path / "run", paused=True))
    run.start()
    run.train(20)
    run.end()
    assert run.session.failure is None
    folder = RunFolder(tmp_path / "run")
    assert folder.damage() == [] and folder.newest_state()[0].step == 20
    assert {record.frame for record in folder.keyframes()[0]} == {""}


def test_a_picture_that_cannot_be_made_yet_is_told_of_once_and_tried_again(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    draw = ToyEngine.figures

    def figures(self: ToyEngine, wanted: Any) -> Any:
        if "path" in wanted and self.state_dict()["count"] < 25:
            raise InputError("There is no path yet: train first.")
        return draw(self, wanted)

    monkeypatch.setattr(ToyEngine, "figures", figures)
    run = begin("thread", spec(tmp_path / "run", paused=True))
    run.start()
    for _ in range(3):
        run.train(10)
    run.end()
    (note,) = run.seen.notes
    assert (note.kind, note.text) == ("warning", "There is no path yet: train first.")
    folder = RunFolder(tmp_path / "run")
    shown = {k.step: set(read_frame(tmp_path / "run", k)) for k in folder.keyframes()[0]}
    assert shown[20] == {"position"} and shown[30] == {"position", "path"}


def test_a_picture_that_fails_is_told_of_once_and_leaves_the_others(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    draw = ToyEngine.figures

    def figures(self: ToyEngine, wanted: Any) -> Any:
        if "path" in wanted:
            raise ZeroDivisionError("no path")
        return draw(self, wanted)

    monkeypatch.setattr(ToyEngine, "figures", figures)
    run = begin("thread", spec(tmp_path / "run", paused=True))
    run.start()
    for _ in range(3):
        run.train(10)
    run.session.want(["position"])
    run.until_frames("position")
    run.end()
    (note,) = run.seen.notes
    assert note.kind == "error" and note.text.startswith("path cannot be drawn") and "no path" in note.text
    for record in RunFolder(tmp_path / "run").keyframes()[0]:
        assert set(read_frame(tmp_path / "run", record)) == {"position"}


# --- what they may take ---------------------------------------------------------------------------------------------------


def test_keyframes_keep_within_their_space_and_the_newest_is_always_there(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    eager(monkeypatch)
    each_change_a_gesture(monkeypatch)
    run = begin("thread", replace(spec(tmp_path / "run", paused=True), keyframe_space=60_000))
    run.start()
    one = on_disk(tmp_path / "run")
    assert 0 < one < 12_000
    largest = 0
    for number in range(40):
        run.train(2)
        run.do(run.session.change({"step_size": 0.1 + number / 1000}))
        largest = max(largest, on_disk(tmp_path / "run"))
        assert on_disk(tmp_path / "run") <= 60_000 and (run.session.step, True) in places(tmp_path / "run")
    assert largest > 30_000
    run.drain()
    assert run.seen.kept is not None and run.seen.kept.space == 60_000

    # Another bound holds at once, and for what comes after it.
    for space in (30_000, 2 * one + 100, one + 100, 1):
        run.do(run.session.send(m.Space(space)))
        run.drain()
        assert run.seen.kept is not None and run.seen.kept.space == space
        assert on_disk(tmp_path / "run") <= max(space, one + 100)
        run.train(2)
        assert on_disk(tmp_path / "run") <= max(space, one + 100)
        newest = RunFolder(tmp_path / "run").newest_state()[0]
        assert newest.step == run.session.step and newest.finite
    run.do(run.session.send(m.Space(10**9)))
    for _ in range(10):
        run.train(2)
    run.end()
    assert on_disk(tmp_path / "run") > 5 * one
    folder = RunFolder(tmp_path / "run")
    assert folder.damage() == [] and folder.status().keyframe_bytes == on_disk(tmp_path / "run")


def test_without_space_nothing_is_kept(begin: Begin, story: Path, tmp_path: Path):
    for name, run_spec in (
        ("new", spec(tmp_path / "new", paused=True)),
        ("resumed", from_keyframe(story, RunFolder(story).keyframes()[0][-1], tmp_path / "resumed")),
    ):
        run = begin("thread", replace(run_spec, keyframe_space=0))
        run.start()
        run.train(10)
        run.do(run.session.change({"step_size": 0.3}))
        run.train(10)
        run.end()
        assert on_disk(tmp_path / name) == 0 and RunFolder(tmp_path / name).keyframes() == ([], [])
        assert len(recorded(tmp_path / name)[0]) == run.session.step
        assert RunFolder(tmp_path / name).damage() == []
    run = begin("thread", spec(tmp_path / "lowered", paused=True))
    run.start()
    run.train(10)
    run.do(run.session.send(m.Space(0)))
    assert on_disk(tmp_path / "lowered") == 0
    run.train(10)
    run.end()
    assert on_disk(tmp_path / "lowered") == 0


def test_a_run_that_takes_up_more_than_it_may_keep_thins_it(begin: Begin, story: Path, tmp_path: Path):
    newest = RunFolder(story).keyframes()[0][-1]
    space = 3 * newest.bytes
    run = begin("thread", replace(from_keyframe(story, newest, tmp_path / "run"), keyframe_space=space))
    run.start()
    assert 0 < on_disk(tmp_path / "run") <= space and (newest.step, True) in places(tmp_path / "run")
    run.end()
    assert len(places(story)) > 3


def test_a_disk_that_is_full_for_keyframes_pauses_and_loses_nothing(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import errno
    import os

    from lab.runs import writer

    only_bests(monkeypatch)
    full = False
    write = writer.write_atomically

    def write_atomically(path: Path, data: bytes) -> None:
        if full and path.suffix == ".safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(writer, "write_atomically", write_atomically)
    run = begin("thread", spec(tmp_path / "run", paused=True, report_every=10))
    session = run.session
    run.start()
    run.train(25)
    full = True
    run.do(session.advance(25))
    run.until_state("paused")
    assert session.step == 30, "the step of the next best"
    assert "full" in session.message and "nothing is lost" in session.message and not session.is_finished
    run.drain()
    assert any(note.kind == "error" and "full" in note.text for note in run.seen.notes)
    kept = RunFolder(tmp_path / "run")
    assert kept.damage() == [] and kept.newest_state()[0].step == 25
    assert kept.metrics().steps.tolist() == list(range(1, 31))
    # It takes what is done with it, even so.
    assert run.do(session.change({"step_size": 0.2})).payload == {"step_size": 0.2}
    full = False
    run.train(3)
    run.end()
    folder = RunFolder(tmp_path / "run")
    assert folder.damage() == [] and session.failure is None
    assert folder.metrics().steps.tolist() == list(range(1, 34))
    assert changes_of(folder) == [(30, {"step_size": 0.2})]
    # Nor is the best lost that the disk refused.
    assert best_of(tmp_path / "run").step == 30 and folder.newest_state()[0].step == 33


# --- divergence -----------------------------------------------------------------------------------------------------------


def diverged(begin: Begin, where: Where, path: Path, change: dict[str, float]) -> tuple[Watched, m.Diverged]:
    """A run that trains well for a while, and then no longer."""
    run = begin(where, spec(path, paused=True, seed=2, cliff=4.0, step_size=0.1))
    run.start()
    run.train(400)
    run.do(run.session.change(change))
    run.do(run.session.play())
    run.until_state("paused")
    run.until_mail(lambda seen: seen.diverged)
    report = run.seen.diverged
    assert report is not None
    return run, report


@pytest.mark.parametrize(
    ("where", "change", "kind", "value"),
    [
        ("thread", {"step_size": 5.0}, "not a finite number", 0.1),
        ("thread", {"cliff": 0.05}, "not a finite number", 0.01),
        ("thread", {"step_size": 3.0}, "far beyond", 0.1),
        ("process", {"step_size": 3.0}, "far beyond", 0.1),
    ],
)
def test_a_divergence_pauses_and_offers_a_keyframe_from_before_it(
    begin: Begin, where: Where, tmp_path: Path, change: dict[str, float], kind: str, value: float
):
    run, report = diverged(begin, where, tmp_path / "run", change)
    session = run.session
    assert kind in report.sentence and session.message == report.sentence and not session.is_finished
    assert report.step == session.step > 400
    # A tenth, and never more than there was where it goes back to.
    assert (report.setting, report.value) == ("step_size", pytest.approx(value))
    assert any(mark.kind == "divergence" and mark.step == report.step for mark in run.seen.marks)
    offered = report.keyframe
    assert offered is not None and offered.finite and offered.reason != DIVERGED and offered.step <= 400
    folder = RunFolder(tmp_path / "run")
    assert offered in folder.keyframes()[0]
    state = folder.read_keyframe(offered)
    assert np.isfinite(state["parameter"].numpy()).all() and np.abs(state["parameter"].numpy()).max() < 1
    # What it looked like is kept, to be seen and not to be used.
    (shown,) = [k for k in folder.keyframes()[0] if k.reason == DIVERGED]
    assert shown.step == report.step and shown.frame and shown.finite == (kind == "far beyond")
    for record in (folder.newest_state()[0], folder.newest_sound_keyframe()):
        assert record.step < report.step and record.reason != DIVERGED

    # Going on from there as offered trains on normally.
    on = begin("thread", from_keyframe(tmp_path / "run", offered, tmp_path / "on", step_size=report.value))
    on.start()
    on.train(500)
    on.end()
    assert on.seen.diverged is None and max(on.column("loss")) < 1
    events = RunFolder(tmp_path / "on").events()[0]
    assert not [event for event in events if event["kind"] == "divergence"]

    # Playing on is possible as well, and says nothing again.
    run.train(5)
    run.end()
    assert session.failure is None
    steps, _ = recorded(tmp_path / "run")
    assert len(steps) == report.step + 5
    (event,) = [event for event in RunFolder(tmp_path / "run").events()[0] if event["kind"] == "divergence"]
    assert event["step"] == report.step
    (shown,) = [k for k in RunFolder(tmp_path / "run").keyframes()[0] if k.reason == DIVERGED]
    assert shown.step == report.step


def test_a_run_that_goes_on_knows_the_scale_of_what_lies_before_it(begin: Begin, tmp_path: Path):
    """A few steps after it went on, a blow-up is one; without a past, that few steps make no scale."""
    calm = begin("thread", spec(tmp_path / "calm", paused=True, seed=2))
    calm.start()
    calm.train(400)
    calm.end()
    newest = RunFolder(tmp_path / "calm").newest_sound_keyframe()
    for folder in (None, tmp_path / "on"):
        run = begin("thread", from_keyframe(tmp_path / "calm", newest, folder))
        run.start()
        run.train(5)
        run.do(run.session.change({"step_size": 3.0}))
        run.do(run.session.advance(100))
        run.until_state("paused")
        run.until_mail(lambda seen: seen.diverged)
        report = run.seen.diverged
        assert report is not None and "far beyond" in report.sentence and report.step < 500
        assert (report.keyframe is None) == (folder is None)
        if report.keyframe is not None:
            assert 400 <= report.keyframe.step <= 405
    new = begin("thread", spec(paused=True, seed=2))
    new.start()
    new.train(5)
    new.do(new.session.change({"step_size": 3.0}))
    new.train(100)
    new.end()
    assert new.seen.diverged is None


def test_what_is_offered_lies_before_the_numbers_began_to_climb(begin: Begin, tmp_path: Path):
    """Not in the climb, where a keyframe is as well: it was paused there, and nothing was wrong yet."""
    run = begin("thread", spec(tmp_path / "run", paused=True, seed=2))
    run.start()
    run.train(400)
    # So slowly that the change is long past when it shows.
    run.do(run.session.change({"step_size": 2.02}))
    usual = max(run.column("loss"))
    while run.column("loss")[-1] < 2 * usual:
        run.train(1)
    middle = run.session.step
    run.do(run.session.play())
    run.until_state("paused")
    run.until_mail(lambda seen: seen.diverged)
    report = run.seen.diverged
    assert report is not None and report.step > middle and report.keyframe is not None
    assert (middle, True) in places(tmp_path / "run")
    losses = run.column("loss")
    assert max(losses[: report.keyframe.step]) <= usual < losses[report.keyframe.step + 1]


def test_what_is_offered_lies_before_a_change_though_all_was_calm_right_after_it(
    begin: Begin, tmp_path: Path
):
    """A keyframe between a change and its blow-up holds the setting that is at fault."""
    run = begin("thread", spec(tmp_path / "run", paused=True, seed=2, cliff=4.0, step_size=0.1))
    run.start()
    run.train(400)
    run.do(run.session.change({"step_size": 2.05}))
    run.train(2)
    assert (402, True) in places(tmp_path / "run")
    run.do(run.session.play())
    run.until_state("paused")
    run.until_mail(lambda seen: seen.diverged)
    report = run.seen.diverged
    assert report is not None and report.keyframe is not None and report.keyframe.step == 400
    assert report.value == pytest.approx(0.1)


def test_what_diverged_before_is_not_offered(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Although the hand brought it back and it trained on from there."""
    poor(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True, cliff=4.0))
    run.start()
    run.train(10)
    run.do(run.session.change({"step_size": 5.0}))
    run.train(1)
    run.do(run.session.change({"step_size": 1e-6}))
    run.do(run.session.act(MoveTo((3.0, 3.0, 3.0))))
    run.do(run.session.leash(30))
    run.do(run.session.play())
    run.until(lambda s: s.step == 30)
    run.seen.diverged = None
    run.do(run.session.act(MoveTo((math.nan,) * 3)))
    run.do(run.session.leash(None))
    run.until_state("paused")
    run.until_mail(lambda seen: seen.diverged)
    report = run.seen.diverged
    assert report is not None and report.step == 31 and report.keyframe is not None
    assert report.keyframe.step == 10 and report.keyframe.reason != DIVERGED
    assert [k.step for k in RunFolder(tmp_path / "run").keyframes()[0] if k.reason == DIVERGED] == [11, 31]


def test_what_diverged_stays_so_whatever_the_hand_changes_before_it_stops(begin: Begin, tmp_path: Path):
    run, report = diverged(begin, "thread", tmp_path / "run", {"step_size": 3.0})
    run.do(run.session.change({"step_size": 0.1}))
    run.do(run.session.act(MoveTo((2.0, 2.0, 2.0))))
    run.end()
    folder = RunFolder(tmp_path / "run")
    assert folder.keyframes()[0][-1].place == (report.step, True)
    assert folder.keyframes()[0][-1].reason == DIVERGED
    assert folder.newest_sound_keyframe().step < report.step


def test_a_best_that_waits_is_there_after_a_divergence(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    poor(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True, cliff=4.0, pause=0.001))
    run.start()
    run.do(run.session.leash(10))
    run.do(run.session.play())
    run.until(lambda s: s.step == 10)
    run.do(run.session.act(MoveTo((math.nan,) * 3)))
    run.do(run.session.leash(None))
    run.until_state("paused")
    run.until_mail(lambda seen: seen.diverged)
    run.end()
    assert best_of(tmp_path / "run").step == 10
    assert run.seen.diverged is not None and run.seen.diverged.keyframe == best_of(tmp_path / "run")


def test_a_run_without_keyframes_diverges_without_an_offer(begin: Begin, tmp_path: Path):
    for path in (None, tmp_path / "run"):
        run = begin("thread", replace(spec(path, paused=True, cliff=1.0), keyframe_space=0))
        run.start()
        run.train(10)
        run.do(run.session.change({"step_size": 2.0}))
        run.do(run.session.play())
        run.until_state("paused")
        run.until_mail(lambda seen: seen.diverged)
        assert run.seen.diverged is not None and run.seen.diverged.keyframe is None
        assert run.seen.diverged.value == 0.2
        run.end()


@pytest.mark.parametrize("waits", [False, True])
def test_a_state_that_is_not_finite_is_never_kept_although_its_scalars_are(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
):
    (poor if waits else eager)(monkeypatch)
    each_change_a_gesture(monkeypatch)
    run = begin("thread", spec(tmp_path / "run", paused=True, rot_at=30))
    run.start()
    run.train(20)
    run.do(run.session.advance(100))
    run.until(lambda s: s.step == 120 and s.state == "paused")
    run.do(run.session.change({"step_size": 0.2}))
    run.train(20)
    run.end()
    folder = RunFolder(tmp_path / "run")
    records = folder.keyframes()[0]
    assert {0, 20} <= {record.step for record in records} and all(record.step < 30 for record in records)
    assert all(record.finite for record in records)
    for record in records:
        assert engine_at(folder, record).is_finite()
    assert math.isfinite(run.column("loss")[-1]) and len(recorded(tmp_path / "run")[0]) == 140


# --- the leash ------------------------------------------------------------------------------------------------------------


@both
def test_a_leash_holds_without_pausing_and_lets_go(begin: Begin, where: Where, tmp_path: Path):
    run = begin(where, spec(tmp_path / "run", paused=True, seed=6))
    session = run.session
    run.start()
    run.do(session.leash(50))
    run.do(session.play())
    run.until(lambda s: s.step == 50)
    # It answers there, shows itself, and trains no further however much is asked of it.
    for number in range(5):
        session.want(["position", "path"], now=True)
        assert all(frame.step == 50 for frame in run.until_frames("position", "path").values())
        assert run.do(session.change({"dots": 20 + number})).step == 50
        assert run.do(session.summarise()).step == 50
    assert session.state == "running"
    for end in (51, 53, 80):
        run.do(session.leash(end))
        run.until(lambda s, end=end: s.step == end)  # type: ignore[misc]
        assert run.do(session.summarise()).step == end and session.state == "running"
    # A leash behind it holds it where it is.
    run.do(session.leash(10))
    assert run.do(session.summarise()).step == 80
    run.do(session.leash(None))
    run.until(lambda s: s.step > 200)
    run.do(session.pause())
    run.end()
    assert run.steps() == list(range(1, session.step + 1)) == recorded(tmp_path / "run")[0]
    free = begin("thread", spec(paused=True, seed=6))
    free.start()
    free.train(session.step)
    assert free.column("loss") == run.column("loss")


@pytest.mark.parametrize(
    ("where", "ending"),
    [("thread", "pause"), ("thread", "stop"), ("thread", "close"), ("process", "close")],
)
def test_a_run_at_the_end_of_its_leash_pauses_stops_and_closes(
    begin: Begin, where: Where, tmp_path: Path, ending: str
):
    run = begin(where, spec(tmp_path / "run", paused=True))
    run.start()
    run.do(run.session.leash(20))
    run.do(run.session.play())
    run.until(lambda s: s.step == 20)
    if ending == "pause":
        run.do(run.session.pause())
        assert run.session.state == "paused"
    if ending == "stop":
        run.do(run.session.stop())
        assert run.session.state == "done"
    assert run.session.close(PATIENCE)
    assert RunFolder(tmp_path / "run").newest_state()[0].step == 20
    assert RunFolder(tmp_path / "run").last_state() == "done"
