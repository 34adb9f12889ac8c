"""How a step size falls: what is left of it, at every step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.decay import LOWEST, Decay, remaining

KINDS: tuple[Decay, ...] = ("none", "cosine", "late")


@given(st.integers(1, 10_000), st.data())
def test_it_never_rises_and_stays_between_all_and_the_lowest(steps: int, data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.lists(st.integers(0, 3 * steps), min_size=2, max_size=2)))
    for kind in KINDS:
        assert 1.0 >= remaining(kind, first, steps) >= remaining(kind, second, steps) >= LOWEST


@given(st.integers(2, 10_000))
def test_each_kind_falls_where_it_says(steps: int) -> None:
    assert all(remaining("none", step, steps) == 1.0 for step in (0, steps // 2, steps, 2 * steps))
    assert remaining("cosine", 0, steps) == remaining("late", 0, steps) == 1.0
    assert remaining("cosine", steps // 2, steps) == pytest.approx((1 + LOWEST) / 2, abs=2 / steps)
    assert remaining("late", steps // 2, steps) == 1.0
    assert remaining("late", 3 * steps, 4 * steps) == pytest.approx((1 + LOWEST) / 2)
    assert remaining("cosine", steps, steps) == pytest.approx(LOWEST) == remaining("late", steps, steps)
