"""Beta schedules: what they promise about alpha_bar, limits, gradients and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines.diffusion.chain import GaussianChain
from engines.diffusion.schedule import (
    BETA_CEILING,
    BETA_FLOOR,
    FixedSchedule,
    LearnedSchedule,
    binomial_like_betas,
    checked_betas,
    drawn_betas,
    geometric_betas,
)
from engines.errors import SettingError


def test_binomial_like_schedule_erases_the_same_part_each_step():
    steps = 40
    chain = GaussianChain(binomial_like_betas(steps, 1.0 / steps))
    t = torch.arange(0, steps, dtype=torch.float64)
    torch.testing.assert_close(chain.alpha_bars[:-1], 1.0 - t / steps)
    assert 0.0 < chain.alpha_bars[-1] < 1e-5


def test_geometric_schedule_is_even_in_the_log_ratio_and_hits_both_ends():
    betas = geometric_betas(40, 3e-6, last_alpha_bar=0.03)
    chain = GaussianChain(betas)
    ratios = torch.logit(chain.alpha_bars[1:])
    differences = ratios.diff()
    torch.testing.assert_close(differences, differences.mean().expand(39), rtol=1e-4, atol=0)
    assert chain.noise_variances[1].item() == pytest.approx(3e-6, rel=1e-6)
    assert chain.alpha_bars[-1].item() == pytest.approx(0.03, rel=1e-6)


@pytest.mark.parametrize("make", [binomial_like_betas, geometric_betas])
@pytest.mark.parametrize("steps", [2, 40, 1000])
def test_schedules_stay_within_the_limits_and_keep_beta_1(make, steps):
    betas = make(steps, 1e-5)
    assert betas.shape == (steps,)
    assert betas[0].item() == pytest.approx(1e-5)
    assert betas.min() >= BETA_FLOOR and betas.max() <= BETA_CEILING


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_betas_keep_their_digits(dtype):
    chain = GaussianChain(torch.full((3,), 1e-6, dtype=dtype))
    expected = 1.0 - (1.0 - 1e-6) ** 3
    assert chain.noise_variances[3].item() == pytest.approx(expected, rel=1e-5)


def test_learned_schedule_starts_where_it_is_told_and_never_moves_beta_1():
    start = geometric_betas(12, 1e-4)
    schedule = LearnedSchedule(start).double()
    torch.testing.assert_close(schedule.betas(), start, rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        schedule.shift.add_(3.0)
    moved = schedule.betas()
    assert moved[0].item() == pytest.approx(1e-4, rel=1e-6)
    assert (moved[1:] > start[1:]).all()


def test_learned_schedule_cannot_leave_the_limits_and_is_not_stuck_there():
    schedule = LearnedSchedule(binomial_like_betas(8, 1e-3)).double()
    for extreme in (-60.0, 60.0):
        with torch.no_grad():
            schedule.shift.fill_(extreme)
        betas = schedule.betas()[1:]
        assert betas.min() >= BETA_FLOOR * 0.999 and betas.max() <= BETA_CEILING
    with torch.no_grad():
        schedule.shift.zero_()
    # The last beta starts at the ceiling; a clipped sigmoid would have no gradient there.
    schedule.betas()[-1].backward()
    assert schedule.shift.grad[-1] > 0


def test_drawn_schedule_of_the_right_length_is_taken_as_it_is():
    drawn = [0.01, 0.2, 0.05, 0.5]
    betas = drawn_betas(drawn, 5, 1e-3)
    torch.testing.assert_close(betas, torch.tensor([1e-3, *drawn], dtype=torch.float64))


def test_drawn_schedule_is_resampled_between_its_points():
    betas = drawn_betas([0.01, 0.3], 40, 1e-3)
    assert betas.shape == (40,)
    assert betas[1].item() == pytest.approx(0.01) and betas[-1].item() == pytest.approx(0.3)
    assert (betas[1:].diff() > 0).all()


@pytest.mark.parametrize("values", [[0.1, float("nan")], [0.1, -0.2], [0.1, 1.5], [], [0.1, float("inf")]])
def test_impossible_drawn_values_are_told_in_a_sentence(values):
    with pytest.raises(SettingError) as caught:
        drawn_betas(values, 10, 1e-3)
    assert str(caught.value).endswith(".") and caught.value.field == "betas"


@pytest.mark.parametrize("beta_1", [0.0, 1.0, -1.0, float("nan")])
def test_impossible_beta_1_is_told_in_a_sentence(beta_1):
    with pytest.raises(SettingError) as caught:
        binomial_like_betas(10, beta_1)
    assert caught.value.field == "beta_1"


def test_one_step_is_not_a_chain():
    with pytest.raises(SettingError):
        checked_betas(np.array([0.5]))


def test_fixed_schedule_has_nothing_to_learn():
    schedule = FixedSchedule([0.1, 0.2, 0.3])
    assert schedule.steps == 3 and not list(schedule.parameters())
