"""Scalars for the eye: in bounded memory, and still every outlier and the right mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.runs.history import ScalarHistory, Series

values = st.floats(-1e9, 1e9) | st.sampled_from([math.nan, math.inf, -math.inf])
batches = st.lists(st.lists(values, max_size=30), max_size=12)


def fill(series: Series, parts: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Add the batches at steps 1, 2, ...; returns the finite ones with their steps."""
    step, finite = 1, []
    for part in parts:
        series.extend(np.arange(step, step + len(part)), np.array(part, dtype=float))
        finite += [(s, v) for s, v in enumerate(part, step) if math.isfinite(v)]
        step += len(part)
    return np.array([s for s, _ in finite], dtype=float), np.array([v for _, v in finite], dtype=float)


@given(batches, st.sampled_from([2, 4, 8, 64]))
def test_buckets_agree_with_a_direct_computation(parts: list[list[float]], capacity: int):
    series = Series(capacity)
    steps, finite = fill(series, parts)
    at, mean, low, high = series.arrays()
    assert len(series) == len(at) == len(mean) == len(low) == len(high) <= capacity
    # The smallest power of two under which all values fit.
    size = 1
    while math.ceil(len(finite) / size) > capacity:
        size *= 2
    assert len(at) == math.ceil(len(finite) / size)
    for index in range(len(at)):
        part = slice(index * size, (index + 1) * size)
        assert at[index] == steps[part][-1]
        assert low[index] == finite[part].min() and high[index] == finite[part].max()
        assert mean[index] == pytest.approx(finite[part].mean(), rel=1e-9, abs=1e-6)


@given(batches)
def test_latest_is_the_newest_value_that_was_reported(parts: list[list[float]]):
    series = Series(4)
    fill(series, parts)
    flat = [value for part in parts for value in part]
    reported = [value for value in flat if not math.isnan(value)]
    expected = reported[-1] if reported else math.nan
    assert series.latest == expected or (math.isnan(series.latest) and math.isnan(expected))


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.data())
def test_how_values_are_batched_does_not_matter(flat: list[float], data: st.DataObject):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(flat)), max_size=5)))
    parts = [flat[a:b] for a, b in zip([0, *cuts], [*cuts, len(flat)], strict=True)]
    one, many = Series(8), Series(8)
    fill(one, [flat])
    fill(many, parts)
    for a, b in zip(one.arrays(), many.arrays(), strict=True):
        assert a.tolist() == b.tolist()


def test_memory_stays_bounded_and_no_outlier_is_lost_in_a_long_run():
    series = Series(64)
    count = 20_000
    data = np.sin(np.arange(count) / 100)
    data[12_345], data[777] = 50.0, -50.0
    for start in range(0, count, 1000):
        series.extend(np.arange(start, start + 1000), data[start : start + 1000])
        assert len(series) <= 64
    steps, mean, low, high = series.arrays()
    assert high.max() == 50.0 and low.min() == -50.0
    assert (np.diff(steps) > 0).all() and steps[-1] == count - 1
    assert steps[np.argmax(high)] >= 12_345 > steps[np.argmax(high) - 1]
    assert (low <= mean).all() and (mean <= high).all()


def test_arrays_are_fresh():
    series = Series(4)
    series.extend(np.array([1, 2]), np.array([1.0, 2.0]))
    for array in series.arrays():
        array += 100
    assert series.arrays()[1].tolist() == [1.0, 2.0]


def test_a_history_keeps_each_scalar_by_itself():
    history = ScalarHistory(capacity=8)
    assert history.names() == () and history.latest() == {} and history.series("loss") is None
    before = history.version
    history.extend(np.array([1, 2]), {"loss": np.array([3.0, 2.0]), "rate": np.array([0.1, np.nan])})
    history.extend(np.array([3]), {"loss": np.array([1.0])})
    assert history.version > before
    assert set(history.names()) == {"loss", "rate"}
    assert history.latest()["loss"] == 1.0
    loss, rate = history.series("loss"), history.series("rate")
    assert loss is not None and loss.arrays()[0].tolist() == [1, 2, 3]
    assert rate is not None and rate.arrays()[0].tolist() == [1]


# --- the past of a run ----------------------------------------------------------------------------------------------------

columns = st.lists(values, max_size=80)


@given(columns, st.sampled_from([2, 4, 8, 64]))
def test_a_whole_column_at_once_is_the_same_as_step_by_step(flat: list[float], capacity: int):
    one = Series(capacity)
    fill(one, [flat])
    whole = Series.of(np.arange(1, len(flat) + 1), np.array(flat, dtype=float), capacity)
    for name, found, expected in zip(
        ("at", "mean", "low", "high"), whole.arrays(), one.arrays(), strict=True
    ):
        if name == "mean":
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-6)
        else:
            assert found.tolist() == expected.tolist()
    assert whole.latest == one.latest or (math.isnan(whole.latest) and math.isnan(one.latest))
    # And it goes on from there in the same way.
    for series in (one, whole):
        series.extend(np.arange(100, 130), np.arange(30.0))
    for found, expected in zip(whole.arrays(), one.arrays(), strict=True):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(st.lists(st.floats(-1e9, 1e9), max_size=80), st.integers(0, 100), st.sampled_from([2, 4, 8, 64, 128]))
def test_what_lies_before_a_step_is_there_within_one_bucket(flat: list[float], step: int, capacity: int):
    series = Series(capacity)
    fill(series, [flat])
    before = [array.tolist() for array in series.arrays()]
    bucket = 1
    while math.ceil(len(flat) / bucket) > capacity:
        bucket *= 2
    cut = series.upto(step)
    at, _, low, high = cut.arrays()
    count = min(step, len(flat)) // bucket * bucket if step < len(flat) else len(flat)
    assert at.tolist() == before[0][: math.ceil(count / bucket)]
    assert count > min(step, len(flat)) - bucket
    if count:
        assert low.min() == min(flat[:count]) and high.max() == max(flat[:count])
    # The original is as it was, and the copy goes on by itself.
    cut.extend(np.array([step + 1]), np.array([5.0]))
    assert cut.latest == 5.0 and cut.arrays()[0][-1] == step + 1
    assert [array.tolist() for array in series.arrays()] == before


@given(columns, st.integers(0, 100))
def test_the_value_at_a_step_is_the_newest_reported_until_then(flat: list[float], step: int):
    series = Series(128)
    fill(series, [flat])
    reported = [value for value in flat[:step] if math.isfinite(value)]
    found = series.at(step)
    assert found == reported[-1] if reported else math.isnan(found)


def test_the_history_of_a_whole_run_and_its_past():
    steps = np.arange(1, 11)
    now_and_then = np.where(steps % 4 == 0, steps / 2.0, np.nan)
    history = ScalarHistory.of(steps, {"loss": 1.0 / steps, "score": now_and_then})
    assert history.names() == ("loss", "score") and history.latest() == {"loss": 0.1, "score": 4.0}
    assert history.at(5) == {"loss": 0.2, "score": 2.0}
    assert history.at(3)["loss"] == 1 / 3 and math.isnan(history.at(3)["score"])
    past = history.upto(5)
    assert past.version != history.version
    assert past.series_arrays()["loss"][0].tolist() == [1, 2, 3, 4, 5] and past.latest()["score"] == 2.0
    past.extend(np.array([6]), {"loss": np.array([9.0]), "new": np.array([1.0])})
    assert past.latest()["loss"] == 9.0
    assert (
        history.at(6)["loss"] == 1 / 6
        and "new" not in history.names()
        and len(history.series("loss") or ()) == 10
    )
