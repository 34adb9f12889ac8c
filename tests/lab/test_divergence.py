"""A scalar that leaves every earlier scale is noticed in time; noise, jumps and plateaus are not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.runs.divergence import DivergenceDetector


def fired(detector: DivergenceDetector, values: Iterable[float]) -> list[int]:
    return [index for index, value in enumerate(values) if detector.update(float(value))]


def noise(seed: int, count: int = 1000) -> np.ndarray:
    return 1.0 + 0.1 * np.random.default_rng(seed).standard_normal(count)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("maximise", [False, True])
def test_heavy_tails_are_no_divergence(seed: int, maximise: bool):
    values = np.random.default_rng(seed).standard_t(3, 20_000)
    assert fired(DivergenceDetector(maximise), values) == []


def decreasing(rng: np.random.Generator) -> np.ndarray:
    return 3.0 * np.exp(-np.arange(20_000) / 2000) * np.exp(0.3 * rng.standard_normal(20_000)) + 0.01


def plateaus(rng: np.random.Generator) -> np.ndarray:
    levels = np.repeat([2.3, 2.0, 2.6, 0.4, 1.1, 0.3], 2000)
    return levels + 0.02 * rng.standard_normal(levels.size)


def flat_then_alive(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([2.3026 + 1e-5 * rng.standard_normal(1000), 2.3 + 0.05 * rng.standard_normal(1000)])


def constant_then_alive(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([np.full(1000, 0.5), np.full(500, 0.5 + 1e-9), rng.uniform(0, 5, 1000)])


def cyclic(rng: np.random.Generator) -> np.ndarray:
    return np.sin(np.arange(20_000) / 3000) + 0.1 * rng.standard_normal(20_000)


def rewards(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rng.exponential(20.0, 200), 100) * np.linspace(1, 10, 20_000)


@pytest.mark.parametrize(
    "curve", [decreasing, plateaus, flat_then_alive, constant_then_alive, cyclic, rewards]
)
@pytest.mark.parametrize("maximise", [False, True])
def test_ordinary_training_is_no_divergence(
    curve: Callable[[np.random.Generator], np.ndarray], maximise: bool
):
    for seed in range(3):
        assert fired(DivergenceDetector(maximise), curve(np.random.default_rng(seed))) == []


@pytest.mark.parametrize("maximise", [False, True])
@pytest.mark.parametrize("rate", [1.05, 1.5])
def test_an_exponential_is_noticed_long_before_infinity(rate: float, maximise: bool):
    detector = DivergenceDetector(maximise)
    sign = -1.0 if maximise else 1.0
    assert fired(detector, sign * noise(0)) == []
    values = sign * (noise(1, 600) + 1e-3 * rate ** np.arange(600))
    found = fired(detector, values)
    assert len(found) == 1 and abs(values[found[0]]) < 1e3


def test_a_blow_up_is_measured_by_what_was_before_it_in_a_falling_curve_too():
    detector = DivergenceDetector(False)
    falling = 2.0 * np.exp(-np.arange(2000) / 300)
    assert fired(detector, falling) == []
    assert len(fired(detector, falling[-1] * 1.05 ** np.arange(1000))) == 1


def test_a_jump_beyond_the_scale_is_noticed_at_once_and_told_once():
    detector = DivergenceDetector(False)
    fired(detector, noise(0))
    assert detector.update(50.0)
    # However long it stays there, or rises; and nothing of it becomes a scale.
    assert fired(detector, np.linspace(5.0, 1e9, 5000)) == []
    assert fired(detector, noise(1)) == []
    assert detector.update(50.0)


def test_the_other_direction_is_good_news():
    for maximise, good in ((False, -1e9), (True, 1e9)):
        detector = DivergenceDetector(maximise)
        fired(detector, noise(0))
        assert not detector.update(good) and detector.calm


def test_there_is_no_scale_before_enough_has_settled():
    detector = DivergenceDetector(False, lag=100, least=200)
    values = noise(0, 300)
    values[100], values[299] = 1e6, 1e9
    assert fired(detector, values) == []


def test_calm_says_whether_the_newest_value_was_within_the_scale():
    detector = DivergenceDetector(False)
    assert detector.calm
    fired(detector, noise(0))
    for value, calm in ((1.0, True), (1.8, False), (1.0, True), (99.0, False), (1.8, False), (1.0, True)):
        detector.update(value)
        assert detector.calm is calm
    detector.update(math.nan)
    assert not detector.calm


odd = st.sampled_from([math.nan, math.inf, -math.inf])


@given(st.lists(st.floats() | odd, max_size=300), st.booleans())
def test_what_is_not_finite_never_counts(values: list[float], maximise: bool):
    plain, spiced = (DivergenceDetector(maximise, lag=3, least=6) for _ in range(2))
    finite = [value for value in values if math.isfinite(value)]
    found = []
    for value in values:
        alarm = spiced.update(value)
        if math.isfinite(value):
            found.append(alarm)
        else:
            assert not alarm
    assert found == [plain.update(value) for value in finite]


def test_a_reset_forgets():
    detector = DivergenceDetector(False)
    fired(detector, noise(0))
    assert detector.update(50.0)
    detector.reset()
    assert detector.calm and fired(detector, 1000 * noise(1)) == []
    assert detector.update(1e6)
