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
