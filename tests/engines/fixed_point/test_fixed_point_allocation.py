"""How noise adds up, and which bit-widths spend it best; float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engines.fixed_point import allocation
from engines.fixed_point.sources import code_range, optimal_step

RHO = np.array([72.0, 1152.0, 2304.0, 4608.0, 640.0])
KAPPA = np.array([4.1, 4.9, 3.3, 5.2, 4.0])


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """Gaussian numbers at their optimal step, mid-rise."""
    step = optimal_step("gaussian", bits)[0]
    low, high = code_range(bits, tread=False, signed=True)
    return (np.clip(np.floor(x / step), low, high) + 0.5) * step


def ratio(signal: np.ndarray, noisy: np.ndarray) -> float:
    """1/gamma, measured."""
    return float(np.square(noisy - signal).mean() / np.square(signal).mean())


def test_the_noise_of_a_product_is_the_sum_of_both() -> None:
    generator = np.random.default_rng(0)
    w, a = generator.standard_normal((2, 2_000_000))
    for bits in ((4, 4), (4, 6), (5, 4)):
        v, b = rounded(w, bits[0]), rounded(a, bits[1])
        db = [-10 * math.log10(ratio(w, v)), -10 * math.log10(ratio(a, b))]
        assert min(db) > 15
        wanted = 10 ** (-allocation.combined(db) / 10)
        assert ratio(w * a, v * b) == pytest.approx(wanted, rel=0.04)


def test_a_sum_of_products_keeps_the_ratio() -> None:
    generator = np.random.default_rng(1)
    w, a = generator.standard_normal((64, 100)), generator.standard_normal((100, 4000))
    v, b = rounded(w, 5), rounded(a, 5)
    wanted = ratio(w, v) + ratio(a, b)
    assert ratio(w @ a, v @ b) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("depth", [1, 2, 5, 16])
def test_a_chain_of_equal_layers_divides_gamma_by_its_depth(depth: int) -> None:
    db = 24.0
    assert allocation.combined([db] * depth) == pytest.approx(db - 10 * math.log10(depth))
    # And so does a linear chain of matrices that are quantised.
    generator = np.random.default_rng(2)
    exact = noisy = generator.standard_normal((100, 2000))
    single = 0.0
    for _ in range(depth):
        w = generator.standard_normal((100, 100)) / 10
        v = rounded(10 * w, 4) / 10
        single += ratio(w, v)
        exact, noisy = w @ exact, v @ noisy
    assert ratio(exact, noisy) == pytest.approx(single, rel=0.15)


def test_the_worst_quantisation_decides() -> None:
    assert allocation.combined([10.0, 50.0, 60.0]) == pytest.approx(10.0, abs=0.01)
    assert allocation.combined([30.0, math.inf]) == pytest.approx(30.0)


def test_allocation_meets_the_noise_exactly() -> None:
    bits = allocation.at_noise(RHO, KAPPA, 0.02)
    assert allocation.predicted_noise(bits, KAPPA).sum() == pytest.approx(0.02)
    same = allocation.at_cost(RHO, KAPPA, float(RHO @ bits))
    assert same == pytest.approx(bits)


def test_no_change_along_the_constraint_costs_less() -> None:
    noise = 0.02
    bits = allocation.at_noise(RHO, KAPPA, noise)
    cost = float(RHO @ bits)
    parts = allocation.predicted_noise(bits, KAPPA)
    for i in range(len(RHO)):
        for j in range(len(RHO)):
            if i == j:
                continue
            for change in (-0.5, -0.01, 0.01, 0.5):
                other = bits.copy()
                other[i] += change
                left = noise - (allocation.predicted_noise(other, KAPPA).sum() - parts[j])
                if left <= 0:
                    continue
                other[j] = -10 * math.log10(left) / KAPPA[j]
                assert allocation.predicted_noise(other, KAPPA).sum() == pytest.approx(noise)
                assert float(RHO @ other) > cost


def test_equal_costs_give_equal_bits_and_larger_layers_fewer() -> None:
    equal = allocation.at_noise([5.0] * 4, [4.5] * 4, 0.01)
    assert equal == pytest.approx(equal[0])
    kappa = 4.5
    bits = allocation.at_noise(RHO, [kappa] * 5, 0.01)
    for i in range(5):
        for j in range(5):
            assert bits[i] - bits[j] == pytest.approx(10 / kappa * math.log10(RHO[j] / RHO[i]))


def test_bounds_are_kept_and_what_they_leave_is_shared_best() -> None:
    cost = 3.0 * RHO.sum()
    bits = allocation.bounded_at_cost(RHO, KAPPA, cost, 2, 6)
    assert bits.min() >= 2 and bits.max() <= 6
    assert float(RHO @ bits) == pytest.approx(cost, rel=1e-6)
    # Inside the bounds the noise is shared in proportion to rho / kappa; at the upper one a layer would want more.
    price = allocation.predicted_noise(bits, KAPPA) * KAPPA / RHO
    free = (bits > 2 + 1e-6) & (bits < 6 - 1e-6)
    assert free.any() and not free.all()
    assert price[free] == pytest.approx(price[free][0], rel=1e-4)
    assert (price[bits > 6 - 1e-6] >= price[free][0]).all()
    assert (price[bits < 2 + 1e-6] <= price[free][0] * (1 + 1e-6)).all()
    noise = float(allocation.predicted_noise(bits, KAPPA).sum())
    assert allocation.bounded_at_noise(RHO, KAPPA, noise, 2, 6) == pytest.approx(bits, abs=1e-4)


@pytest.mark.parametrize("mean", [1.0, 2.5, 3.0, 4.0, 6.75, 16.0])
def test_whole_bits_cost_no_more_and_are_less_noisy_than_equal_ones(mean: float) -> None:
    bits = np.array(allocation.whole_at_cost(RHO.tolist(), KAPPA.tolist(), mean * RHO.sum(), 1, 16))
    assert bits.dtype.kind == "i" and bits.min() >= 1 and bits.max() <= 16
    assert RHO @ bits <= mean * RHO.sum() * (1 + 1e-9)
    equal = np.full(5, math.floor(mean))
    noise = allocation.predicted_noise(bits, KAPPA).sum()
    assert noise <= allocation.predicted_noise(equal, KAPPA).sum() * (1 + 1e-9)
    # No small layer is given bits that do not help.
    if mean < 8:
        assert bits.max() < 12


def test_whole_bits_reach_the_noise_or_are_the_highest() -> None:
    bits = allocation.whole_at_noise(RHO.tolist(), KAPPA.tolist(), 1e-3, 1, 16)
    assert allocation.predicted_noise(bits, KAPPA).sum() <= 1e-3
    real = allocation.at_noise(RHO, KAPPA, 1e-3)
    assert np.abs(np.array(bits) - real).max() <= 1
    assert allocation.whole_at_noise(RHO.tolist(), KAPPA.tolist(), 1e-30, 1, 16) == (16,) * 5
