"""Keyframes of a run of any length: within their share of time and space, and never a hole."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.runs.folder import BEFORE_CHANGE, DIVERGED, Keyframe
from lab.runs.schedule import KeyframeSchedule

MOST_REGULAR, MOST = 128, 300


def keyframe(
    step: int, reason: str = "regular", seconds: float | None = None, size: int = 10, finite: bool = True
) -> Keyframe:
    return Keyframe(
        step,
        f"{step:010d}-{size:08x}.safetensors",
        size,
        0,
        reason,
        float(step) if seconds is None else seconds,
        f"{step:010d}-{size + 1:08x}.safetensors",
        size,
        finite=finite,
    )


def bytes_of(held: list[Keyframe]) -> int:
    return sum({k.file: k.size for k in held}.values()) + sum({k.frame: k.frame_size for k in held}.values())


def planned(held: list[Keyframe]) -> list[Keyframe]:
    return [record for record in held if record.reason != BEFORE_CHANGE]


def newest_sound(held: list[Keyframe]) -> Keyframe | None:
    return next((k for k in reversed(held) if k.finite and k.reason != DIVERGED), None)


# --- time -----------------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.floats(1e-4, 5), st.sampled_from(["regular", "best", BEFORE_CHANGE])),
        min_size=1,
        max_size=200,
    ),
    st.floats(-1e3, 1e6),
)
def test_regular_and_best_ones_stay_within_the_share(events: list[tuple[float, float, str]], begin: float):
    schedule = KeyframeSchedule(share=0.015, young_share=0.1, young=10.0)
    schedule.start(begin)
    now, spent, last = begin, 0.0, 0.0
    for wait, cost, reason in events:
        now += wait
        if reason == BEFORE_CHANGE:
            now += cost
            schedule.wrote(now, cost)
        elif schedule.can_afford(now) if reason == "best" else schedule.is_due(now):
            # All that was spent before has been earned by now.
            elapsed = now - begin
            assert spent <= 0.1 * min(elapsed, 10.0) + 0.015 * max(elapsed - 10.0, 0.0) + 1e-6
            now += cost
            spent, last = spent + cost, cost
            schedule.wrote(now, cost)
    elapsed = now - begin
    assert spent - last <= 0.1 * min(elapsed, 10.0) + 0.015 * max(elapsed - 10.0, 0.0) + 1e-6


@given(st.floats(0, 0.014), st.floats(0, 1000))
def test_cheap_ones_come_at_the_interval(cost: float, wait: float):
    schedule = KeyframeSchedule(interval=1.0)
    assert not schedule.is_due(5.0) and not schedule.can_afford(5.0)
    schedule.start(0.0)
    assert not schedule.is_due(0.5) and schedule.is_due(1.0)
    schedule.wrote(1.0 + wait, cost)
    assert not schedule.is_due(1.9 + wait) and schedule.is_due(2.001 + wait)


def test_a_dear_one_delays_the_next_and_a_young_run_is_generous():
    schedule = KeyframeSchedule(share=0.01, young_share=0.1, young=10.0)
    schedule.start(0.0)
    schedule.wrote(2.0, 0.5)
    assert not schedule.can_afford(6.9) and schedule.can_afford(7.1) and schedule.is_due(7.1)
    schedule.wrote(20.0, 0.5)
    assert not schedule.is_due(69.9) and not schedule.can_afford(69.9) and schedule.is_due(70.1)
    # One before a change is written at any time, and is counted.
    schedule.wrote(100.0, 0.2)
    assert not schedule.can_afford(119.0)


# --- space ----------------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """A run in fast motion, whose list of keyframes is kept as the writer keeps it."""

    schedule: KeyframeSchedule
    now: float = 0.0
    step: int = 0
    held: list[Keyframe] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.schedule.start(0.0)
        self.write("first")

    def write(self, reason: str, size: int = 10, finite: bool = True) -> None:
        record = keyframe(self.step, reason, self.now, size, finite)
        self.held = sorted(
            [*(k for k in self.held if k.place != record.place), record], key=lambda k: k.place
        )
        self.schedule.wrote(self.now, 1e-4)
        before = list(self.held)
        self.thin()
        self.check(before)

    def thin(self) -> list[Keyframe]:
        dropped = self.schedule.surplus(self.held)
        self.held = [record for record in self.held if record not in dropped]
        return dropped

    def check(self, before: list[Keyframe]) -> None:
        held, schedule = self.held, self.schedule
        assert held and len(held) <= MOST
        assert sum(k.reason not in (BEFORE_CHANGE, DIVERGED) for k in held) <= MOST_REGULAR
        assert bytes_of(held) <= schedule.space or len(held) == 1
        assert schedule.is_over_space(held) == (bytes_of(held) > schedule.space)
        sound = newest_sound(before)
        assert sound is None or sound in held
        best = [k for k in before if k.reason == "best"][-1:]
        changes = [k for k in before if k.reason in (BEFORE_CHANGE, DIVERGED)]
        guarded = [*planned(before)[:1], *planned(before)[-1:], *best, *([sound] if sound else [])]
        if bytes_of([*changes, *guarded]) <= schedule.space:
            assert all(record in held for record in guarded)
            if len(changes) + len(guarded) <= MOST:
                assert all(record in held for record in changes)
        if changes and len(changes) > MOST - 4 and bytes_of([*changes, *guarded]) <= schedule.space:
            assert changes[-1] in held
        assert self.thin() == []

    def advance(self, part: float) -> None:
        self.now += part * self.schedule.interval
        self.step += 1


@given(
    st.integers(0, 2**32),
    st.sampled_from([25, 100, 1000, 5000, 10**9]),
    st.sampled_from([0.0, 0.02, 0.8]),
)
@settings(deadline=None, max_examples=25)
def test_the_bounds_hold_whatever_happens(seed: int, space: int, changing: float):
    random = Random(seed)
    run = Run(KeyframeSchedule(space=space))
    for _ in range(600):
        run.advance(random.uniform(0.01, 1.5))
        size = random.choice([1, 10, 10, 40])
        if random.random() < changing:
            reason = random.choice([BEFORE_CHANGE] * 9 + [DIVERGED])
            run.write(reason, size, finite=reason != DIVERGED or random.random() < 0.5)
        elif run.schedule.is_due(run.now):
            run.write("regular", size)
        elif random.random() < 0.3 and run.schedule.can_afford(run.now):
            run.write("best", size)
        if random.random() < 0.01:
            run.schedule.space = random.choice([1, 50, space, 2 * space])
            before = list(run.held)
            run.thin()
            run.check(before)
            run.schedule.space = space


@given(st.integers(0, 2**32), st.sampled_from([10**9, 40 * 20]), st.sampled_from([300.0, 1e4, 1e6]))
@settings(deadline=None, max_examples=20)
def test_no_hole_in_a_run_of_any_length(seed: int, space: int, length: float):
    random = Random(seed)
    run = Run(KeyframeSchedule(space=space))
    while run.now < length:
        run.advance(random.uniform(0.05, 0.5))
        if run.schedule.is_due(run.now):
            run.write("regular")
        elif random.random() < 0.03:
            run.write("best")
        elif random.random() < 0.002 and sum(k.reason == BEFORE_CHANGE for k in run.held) < 5:
            run.write(BEFORE_CHANGE)
        times = [k.seconds for k in planned(run.held)]
        assert max((b - a for a, b in itertools.pairwise(times)), default=0.0) <= 4 * run.schedule.interval
    assert len(run.held) >= 10
    # The whole run is covered with a spacing that fits its length, not only its end.
    assert run.schedule.interval <= max(2.0, length / 8)


def test_a_regular_run_is_thinned_to_every_other_one():
    schedule = KeyframeSchedule(interval=1.0)
    held = [keyframe(step, "first" if step == 0 else "regular") for step in range(MOST_REGULAR)]
    assert schedule.surplus(held) == [] and schedule.interval == 1.0
    held.append(keyframe(MOST_REGULAR))
    dropped = schedule.surplus(held)
    kept = [record for record in held if record not in dropped]
    assert 55 <= len(kept) <= 70 and kept[0] == held[0] and kept[-1] == held[-1]
    assert schedule.interval == pytest.approx(2.0, rel=0.05)
    gaps = [b.seconds - a.seconds for a, b in itertools.pairwise(kept)]
    assert max(gaps) <= 4.0


def test_it_decides_the_same_again_in_whatever_order_they_are_given():
    held = [keyframe(step * step, "best" if step % 7 == 0 else "regular") for step in range(200)]
    first, second = KeyframeSchedule().surplus(held), KeyframeSchedule().surplus(held[::-1])
    assert first == second and first


def test_only_the_newest_best_one_is_safe():
    held = [keyframe(0, "first"), keyframe(1, "best"), keyframe(2, "best"), keyframe(3)]
    assert KeyframeSchedule(space=60).surplus(held) == [held[1]]


def test_changes_outlive_regular_ones_and_are_then_spread_evenly():
    held = [keyframe(0, "first"), *(keyframe(step) for step in range(1, 100))]
    held += [keyframe(step, BEFORE_CHANGE) for step in range(100, 300)]
    dropped = KeyframeSchedule(most=250).surplus(held)
    assert dropped and not any(record.reason == BEFORE_CHANGE for record in dropped)

    many = [keyframe(0, "first"), *(keyframe(step, BEFORE_CHANGE) for step in range(1, 400)), keyframe(400)]
    dropped = KeyframeSchedule().surplus(many)
    kept = [record for record in many if record not in dropped]
    assert 100 < len(kept) <= MOST
    assert many[-2] in kept and many[0] in kept and many[-1] in kept
    assert max(b.seconds - a.seconds for a, b in itertools.pairwise(kept)) <= 8


def test_what_goes_when_not_even_the_needed_ones_fit():
    first, old, new = keyframe(0, "first"), keyframe(1, BEFORE_CHANGE), keyframe(2, BEFORE_CHANGE)
    best, last = keyframe(3, "best"), keyframe(4, "last")
    held = [first, old, new, best, last]
    schedule = KeyframeSchedule(space=100)
    for space, expected in ((100, []), (99, [old]), (60, [old, new]), (59, [old, new, first])):
        schedule.space = space
        assert schedule.surplus(held) == expected and not schedule.is_over_space([last])
    for space in (39, 20, 1):
        schedule.space = space
        assert schedule.surplus(held) == [old, new, first, best]
    assert schedule.is_over_space([last]) and schedule.surplus([last]) == []


def test_what_cannot_be_trained_from_goes_before_what_can():
    sound, broken = keyframe(5, seconds=5.0), keyframe(9, DIVERGED, finite=False)
    beyond = replace(broken, finite=True)
    for last in (broken, beyond):
        schedule = KeyframeSchedule(space=20)
        assert schedule.surplus([keyframe(0, "first"), sound, last]) == [keyframe(0, "first"), last]
        assert KeyframeSchedule(space=60).surplus([keyframe(0, "first"), sound, last]) == []


def test_files_that_two_keyframes_share_count_once():
    last = keyframe(7, "last")
    held = [keyframe(0, "first"), replace(last, reason=BEFORE_CHANGE), last]
    assert KeyframeSchedule(space=40).surplus(held) == []
    assert not KeyframeSchedule(space=40).is_over_space(held)
    assert KeyframeSchedule(space=39).is_over_space(held)


def test_nothing_held_is_nothing_to_drop():
    schedule = KeyframeSchedule()
    assert schedule.surplus([]) == [] and not schedule.is_over_space([])


def test_where_few_fit_the_newest_still_comes_often():
    run = Run(KeyframeSchedule(space=60))
    gaps, last = [], 0.0
    while run.now < 1e5:
        run.advance(0.1)
        if run.schedule.is_due(run.now):
            gaps.append((run.now - last) / run.now)
            last = run.now
            run.write("regular")
    assert max(gaps[20:]) < 0.25
