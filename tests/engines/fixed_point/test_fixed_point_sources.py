"""Optimal steps of known sources, against Max's table, the definition, and drawn numbers; float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engines.fixed_point.sources import (
    SOURCES,
    code_range,
    data_step,
    mean_square_error,
    moments,
    optimal_step,
    power_of_two,
)

TABLE = {
    "uniform": [(1.7321, 6.02), (0.8660, 12.04), (0.4330, 18.06), (0.2165, 24.08)],
    "gaussian": [(1.5958, 4.40), (0.9957, 9.25), (0.5860, 14.27), (0.3352, 19.38)],
    "laplacian": [(1.4142, 3.01), (1.0874, 7.07), (0.7309, 11.44), (0.4610, 15.96)],
    "gamma": [(1.1547, 1.76), (1.0660, 4.95), (0.7957, 8.78), (0.5400, 13.00)],
}
"""Step and SQNR in dB for 1 to 4 bits and variance 1 (Max 1960; the paper's table 1)."""


def density(source: str, x: np.ndarray) -> np.ndarray:
    """Of the magnitude, written down once more."""
    match source:
        case "uniform":
            return np.where(x <= math.sqrt(3), 1 / math.sqrt(3), 0.0)
        case "gaussian":
            return math.sqrt(2 / math.pi) * np.exp(-(x**2) / 2)
        case "laplacian":
            return math.sqrt(2) * np.exp(-math.sqrt(2) * x)
        case _:
            return 2 * np.sqrt(math.sqrt(3) / (8 * math.pi * x)) * np.exp(-math.sqrt(3) * x / 2)


@pytest.mark.parametrize("source", SOURCES)
def test_steps_and_sqnr_are_those_of_the_table(source: str) -> None:
    for bits, (step, db) in enumerate(TABLE[source], 1):
        found = optimal_step(source, bits)
        assert found[0] == pytest.approx(step, abs=1e-3)
        assert found[1] == pytest.approx(db, abs=6e-3)


@pytest.mark.parametrize("source", SOURCES)
def test_partial_moments_are_integrals_of_the_density(source: str) -> None:
    # Substituting x = u^2 takes away the pole of the gamma density.
    u = np.linspace(0, math.sqrt(1.3), 200_001)[1:] - math.sqrt(1.3) / 400_000
    x = u**2
    weights = density(source, x) * 2 * u * (math.sqrt(1.3) / 200_000)
    wanted = [weights.sum(), (x * weights).sum(), (x**2 * weights).sum()]
    assert moments(source, np.array(1.3)) == pytest.approx(wanted, rel=1e-6)
    whole = moments(source, np.array(np.inf))
    assert whole[0] == pytest.approx(1) and whole[2] == pytest.approx(1)


@pytest.mark.parametrize("tread", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [1, 3])
def test_the_error_is_that_of_drawn_numbers(bits: int, signed: bool, tread: bool) -> None:
    x = np.random.default_rng(0).standard_normal(400_000)
    if not signed:
        x = np.abs(x)
    step = 0.7
    low, high = code_range(bits, tread=tread, signed=signed)
    levels = (np.arange(low, high + 1) + (0.0 if tread else 0.5)) * step
    assert len(levels) == 2**bits
    nearest = levels[np.abs(x[:, None] - levels).argmin(1)]
    wanted = float(np.square(x - nearest).mean())
    assert mean_square_error("gaussian", step, bits, tread=tread, signed=signed) == pytest.approx(
        wanted, rel=0.01
    )


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("tread", [False, True])
def test_no_other_step_has_less_error(source: str, tread: bool) -> None:
    for bits in (2, 5):
        step, db = optimal_step(source, bits, tread=tread)
        least = mean_square_error(source, step, bits, tread=tread)
        assert -10 * math.log10(least) == pytest.approx(db)
        for factor in np.geomspace(0.3, 3, 101):
            other = mean_square_error(source, step * float(factor), bits, tread=tread)
            assert other >= least * (1 - 1e-9)


def test_a_uniform_source_gains_exactly_six_decibels_a_bit() -> None:
    for bits in range(1, 17):
        step, db = optimal_step("uniform", bits)
        assert db == pytest.approx(20 * math.log10(2) * bits, abs=1e-4)
        assert step == pytest.approx(2 * math.sqrt(3) / 2**bits, rel=1e-4)


def test_gains_of_a_gaussian_source_rise_towards_six_decibels() -> None:
    db = [optimal_step("gaussian", bits)[1] for bits in range(1, 17)]
    gains = np.diff(db)
    assert gains[:7] == pytest.approx([4.85, 5.02, 5.11, 5.19, 5.26, 5.34, 5.40], abs=6e-3)
    assert (np.diff(gains) > 0).all() and gains[-1] < 6.02


def test_a_zero_level_costs_a_gaussian_source_about_a_decibel_at_two_bits_and_nothing_at_five() -> None:
    wanted = {2: (1.048, 8.26), 3: (0.602, 13.91), 4: (0.339, 19.26)}
    for bits, (step, db) in wanted.items():
        found = optimal_step("gaussian", bits, tread=True)
        assert found == (pytest.approx(step, abs=1e-3), pytest.approx(db, abs=6e-3))
    assert abs(optimal_step("gaussian", 5, tread=True)[1] - optimal_step("gaussian", 5)[1]) < 0.05


def test_a_power_of_two_costs_nearly_three_decibels_at_four_bits_and_little_at_eight() -> None:
    def lost(bits: int) -> float:
        step, db = optimal_step("gaussian", bits, tread=True)
        rounded = 2.0 ** -power_of_two(step)
        return db + 10 * math.log10(mean_square_error("gaussian", rounded, bits, tread=True))

    assert lost(4) == pytest.approx(19.26 - 16.50, abs=0.02)
    assert lost(8) < 0.1


def test_one_sided_codes_without_a_zero_are_those_of_one_more_bit_with_a_sign() -> None:
    for source in SOURCES:
        assert optimal_step(source, 3, signed=False) == pytest.approx(optimal_step(source, 4), rel=1e-5)


def test_many_levels_join_few_without_a_jump() -> None:
    # Beyond some number of levels their errors are not summed one by one any more.
    for source in SOURCES:
        gains = np.diff([optimal_step(source, bits, tread=True)[1] for bits in range(7, 14)])
        assert (gains > 4.7).all() and (gains < 6.1).all()
        # A mistake of a tenth of a decibel at the change would bend them.
        assert np.abs(np.diff(gains, 2)).max() < 0.04


def test_the_step_for_given_numbers_is_the_best_for_them_and_scales_with_them() -> None:
    x = np.random.default_rng(1).standard_normal(50_000)
    for bits in (1, 2, 4, 6):
        step = data_step(x, bits)
        assert step == pytest.approx(optimal_step("gaussian", bits)[0], rel=0.06)
        assert data_step(5 * x, bits) == pytest.approx(5 * step, rel=1e-4)
    # Numbers on a grid need no error at all.
    grid = np.repeat(np.arange(8) / 4, 10)
    step = data_step(grid, 3, tread=True, signed=False)
    assert np.allclose(grid / step, np.rint(grid / step), atol=1e-3)
