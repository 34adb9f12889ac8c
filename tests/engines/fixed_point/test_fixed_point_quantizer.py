"""Fixed-point formats: levels, ranges, rounding, straight-through derivatives; float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from engines.fixed_point.config import FLOAT_BITS
from engines.fixed_point.quantizer import (
    BIAS_BITS,
    Format,
    bias_format,
    codes_of,
    quantise,
    sqnr,
    straight_through,
)

FORMATS = [
    Format(bits, step, tread, signed)
    for bits, step, tread, signed in itertools.product(
        (1, 2, 3, 5, 8), (0.25, 0.3), (True, False), (True, False)
    )
]
IDS = [
    f"{f.bits} bits {f.step} {'tread' if f.tread else 'rise'} {'signed' if f.signed else 'unsigned'}"
    for f in FORMATS
]


@pytest.fixture
def x() -> Tensor:
    """Numbers far beyond and around the ranges."""
    return 3 * torch.randn(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("form", FORMATS, ids=IDS)
def test_quantising_twice_is_quantising_once(form: Format, x: Tensor) -> None:
    once = quantise(x, form)
    assert torch.equal(quantise(once, form), once)
    single = quantise(x.float(), form)
    assert torch.equal(quantise(single, form), single)


@pytest.mark.parametrize("form", FORMATS, ids=IDS)
def test_every_number_goes_to_its_nearest_level(form: Format, x: Tensor) -> None:
    x = x * 10
    levels = form.levels()
    assert len(levels) == 2**form.bits
    quantised = quantise(x, form)
    distance = (x[:, None] - levels).abs()
    assert torch.allclose((x - quantised).abs(), distance.min(1).values, atol=1e-12)
    assert len(quantised.unique()) <= 2**form.bits
    low, high = form.edges
    inside = (x >= low) & (x <= high)
    assert inside.any() and (~inside).any()
    assert ((x - quantised).abs()[inside] <= form.step / 2 + 1e-12).all()
    assert ((x - quantised).abs()[~inside] > form.step / 2).all()


def test_levels_are_multiples_of_the_step_with_a_zero_and_odd_halves_without(x: Tensor) -> None:
    for signed in (True, False):
        tread = quantise(x, Format(4, 2.0**-3, True, signed)) * 2**3
        assert torch.equal(tread, tread.round()) and (tread == 0).any()
        rise = quantise(x, Format(4, 2.0**-3, False, signed)) * 2**4
        assert ((rise % 2) == 1).all()


def test_two_bits_are_those_of_the_paper() -> None:
    assert Format(2, 0.5).levels().tolist() == [-0.5, 0.0, 0.5, 1.0]
    assert Format(2, 0.996, tread=False).levels().tolist() == pytest.approx([-1.494, -0.498, 0.498, 1.494])
    assert Format(2, 0.5, signed=False).levels().tolist() == [0.0, 0.5, 1.0, 1.5]


def test_zero_stays_zero_with_a_zero_level_and_cannot_without() -> None:
    zeros = torch.zeros(3, dtype=torch.float64)
    for signed in (True, False):
        assert torch.equal(quantise(zeros, Format(3, 0.3, True, signed)), zeros)
        assert (quantise(zeros, Format(3, 0.3, False, signed)).abs() == 0.15).all()


def test_thirty_two_bits_are_floating_point(x: Tensor) -> None:
    assert torch.equal(quantise(x, Format(FLOAT_BITS, 0.5)), x)
    # And the widest quantiser comes close to it.
    form = Format(16, 20 * 2.0**-16)
    assert sqnr(x[x.abs() < 9], quantise(x[x.abs() < 9], form)) > 75


def test_the_fraction_bits_are_those_of_the_step() -> None:
    assert Format(4, 2.0**-5).fraction_bits == 5
    assert Format(4, 4.0).fraction_bits == -2
    assert Format(4, 0.3).fraction_bits is None


@pytest.mark.parametrize("form", FORMATS, ids=IDS)
def test_the_derivative_is_one_inside_the_range_and_zero_outside(form: Format, x: Tensor) -> None:
    x.requires_grad_()
    result = straight_through(x, form)
    assert torch.equal(result, quantise(x.detach(), form))
    upstream = torch.arange(len(x), dtype=torch.float64)
    (result * upstream).sum().backward()
    low, high = form.edges
    inside = ((x >= low) & (x <= high)).detach()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(inside, upstream, 0.0))


def test_stochastic_rounding_is_right_on_average_and_stays_beside_the_number() -> None:
    generator = torch.Generator().manual_seed(0)
    for form in (Format(4, 0.25), Format(4, 0.25, tread=False), Format(4, 0.25, signed=False)):
        for value in (0.3, 0.49, 0.55):
            x = torch.full((40_000,), value, dtype=torch.float64)
            noise = torch.rand(x.shape, generator=generator, dtype=torch.float64)
            rounded = quantise(x, form, noise)
            assert float(rounded.mean()) == pytest.approx(value, abs=3 * 0.125 / 200)
            assert len(rounded.unique()) == 2 and ((rounded - x).abs() < 0.25).all()
        on_level = form.levels()[1:3].repeat(1000)
        noise = torch.rand(on_level.shape, generator=generator, dtype=torch.float64)
        assert torch.equal(quantise(on_level, form, noise), on_level)


def test_codes_count_levels() -> None:
    form = Format(3, 0.25)
    assert codes_of(form.levels(), form).tolist() == list(range(-3, 5))


def test_biases_have_more_bits_than_weights_and_are_never_clipped() -> None:
    generator = torch.Generator().manual_seed(0)
    for scale in (1e-3, 0.5, 1.0, 300.0):
        bias = scale * torch.randn(64, generator=generator, dtype=torch.float64)
        bias[0] = scale
        form = bias_format(bias, Format(2, 0.5))
        assert form.bits == BIAS_BITS and form.fraction_bits is not None
        low, high = form.edges
        assert low < float(bias.min()) and float(bias.max()) < high
        assert sqnr(bias, quantise(bias, form)) > 70
    assert bias_format(torch.ones(3), Format(FLOAT_BITS, 1.0)).is_float
    assert math.isfinite(bias_format(torch.zeros(3), Format(2, 0.5)).step)


def test_sqnr_is_the_ratio_of_mean_squares_in_decibels() -> None:
    x = torch.tensor([3.0, 4.0])
    assert sqnr(x, x + torch.tensor([0.3, -0.4])) == pytest.approx(20.0, abs=1e-4)
    assert sqnr(x, x) == math.inf
