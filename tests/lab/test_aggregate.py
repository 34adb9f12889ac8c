"""Seeds as a band: what scipy says the interquartile mean is, an interval that covers, and no run counted wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import InputError
from lab.runs.aggregate import How, band, group_by_setting, one_per_seed
from lab.runs.shelf import ShelfRow
from tests.lab.made_runs import toy_installed
from tests.toy import ToySettings


@pytest.fixture(autouse=True, scope="module")
def _toy() -> Iterator[None]:
    with toy_installed():
        yield


def row(name: str, *, paper: str = "toy", step: int = 10, **values: Any) -> ShelfRow:
    known = ToySettings.build(
        {key: value for key, value in values.items() if key in ToySettings.model_fields}
    )
    more = {key: value for key, value in values.items() if key not in ToySettings.model_fields}
    return ShelfRow(
        Path(name),
        name,
        paper,
        name,
        seed=known.seed,
        step=step,
        values=known.model_dump(mode="json"),
        **more,
    )


def names(groups: list[list[ShelfRow]]) -> list[list[str]]:
    return [[each.id for each in group] for group in groups]


def test_runs_that_differ_in_seed_steps_and_pictures_alone_are_one_group():
    rows = [
        row("a", seed=1), row("b", seed=2, steps=50, dots=3), row("c", seed=1, step_size=0.2), row("d", seed=3),
        row("e", seed=1, paper="elsewhere"),
    ]  # fmt: skip
    assert names(group_by_setting(rows)) == [["a", "b", "d"], ["c"], ["e"]]


def test_runs_that_their_settings_do_not_describe_stand_alone():
    rows = [
        row("a"), row("b", touched=True), row("c", parent="a", relation="fork"), row("d", parent="a", relation="rewind"),
        row("e", parent="a", relation="continue"), row("f", problem="Damaged."), row("g", touched=True),
    ]  # fmt: skip
    assert names(group_by_setting(rows)) == [["a", "e"], ["b"], ["c"], ["d"], ["f"], ["g"]]


def test_of_each_seed_the_run_that_came_furthest_counts():
    rows = [row("a", seed=1), row("b", seed=2), row("c", seed=1, step=99), row("d", seed=2, step=5)]
    assert [each.id for each in one_per_seed(rows)] == ["c", "b"]


VALUES = st.floats(-1e6, 1e6)


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=n, max_size=n)
    )
)
def test_the_center_is_what_scipy_says(table: list[list[float]]):
    curves = [(np.array([0, 5, 10]), np.array(values)) for values in table]
    made = band(curves, resamples=50)
    assert np.array_equal(made.steps, [0, 5, 10])
    expected = scipy.stats.trim_mean(np.array(table), 0.25, axis=0)
    assert np.allclose(made.center, expected, atol=1e-6)
    assert np.allclose(band(curves, "mean", resamples=50).center, np.mean(table, axis=0), atol=1e-6)
    assert np.all(made.low <= made.high)
    assert np.all(made.low >= np.min(table, axis=0) - 1e-6) and np.all(
        made.high <= np.max(table, axis=0) + 1e-6
    )


@pytest.mark.parametrize("how", ["iqm", "mean"])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(how: How, confidence: float):
    # Every grid point is an experiment of its own: 20 seeds drawn around 0.
    samples = np.random.default_rng(7).normal(size=(20, 1500))
    curves = [(np.arange(1500), values) for values in samples]
    made = band(curves, how, confidence=confidence, resamples=1000, points=1500)
    covered = np.mean((made.low <= 0) & (made.high >= 0))
    # The percentile bootstrap is known to be a little too narrow with few seeds.
    assert confidence - 0.07 < covered < confidence + 0.02


def test_the_mean_s_interval_is_that_of_scipy_s_bootstrap():
    values = np.random.default_rng(0).normal(size=12)
    made = band([(np.array([3]), np.array([value])) for value in values], "mean", resamples=20_000)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    assert made.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert made.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_one_failed_seed_moves_the_mean_and_not_the_iqm():
    steps = np.arange(10)
    curves = [(steps, np.full(10, value)) for value in (1.0, 1.1, 1.2, 1.3, 1e6)]
    assert np.all(band(curves).center < 1.31) and np.all(band(curves, "mean").center > 1e5)


def test_the_same_seed_gives_the_same_band():
    curves = [(np.arange(50), np.random.default_rng(i).normal(size=50)) for i in range(5)]
    first, again, other = band(curves), band(curves), band(curves, seed=1)
    assert np.array_equal(first.low, again.low) and np.array_equal(first.high, again.high)
    assert not np.array_equal(first.low, other.low)


def test_the_grid_ends_with_the_shortest_curve_and_begins_with_the_last():
    curves = [(np.arange(0, 101), np.arange(0, 101.0)), (np.arange(10, 61, 5), np.arange(10, 61.0, 5))]
    made = band(curves, points=1000)
    assert (made.steps[0], made.steps[-1]) == (10, 60) and len(made.steps) == 51
    assert np.allclose(made.center, made.steps) and np.allclose(made.low, made.high)
    assert len(band(curves, points=7).steps) == 7


def test_values_that_were_not_reported_are_bridged():
    steps = np.arange(11)
    gaps = np.where(steps % 5 == 0, steps * 2.0, np.nan)
    gaps[5] = np.inf
    made = band([(steps, gaps), (steps, steps * 2.0)])
    assert np.allclose(made.center, 2 * made.steps) and np.isfinite(made.high).all()


def test_the_label_says_what_it_is():
    curves = [(np.arange(3), np.arange(3.0))] * 5
    assert band(curves).label() == "IQM of 5 seeds, 95 % bootstrap interval"
    assert band(curves, "mean", confidence=0.9).label() == "Mean of 5 seeds, 90 % bootstrap interval"
    assert band(curves[:1]).label() == "1 seed, no interval"


def test_a_single_common_step_is_enough_and_none_is_a_sentence():
    one = band([(np.arange(6), np.arange(6.0)), (np.arange(5, 9), np.arange(5, 9.0))])
    assert one.steps.tolist() == [5] and one.center.tolist() == [5]
    apart = [(np.arange(5), np.zeros(5)), (np.arange(10, 15), np.zeros(5))]
    for curves in ([], [(np.zeros(0), np.zeros(0))], [(np.arange(3), np.full(3, np.nan))], apart):
        with pytest.raises(InputError) as caught:
            band(curves)
        assert str(caught.value).endswith(".")
