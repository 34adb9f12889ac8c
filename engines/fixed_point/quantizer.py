"""Fixed-point formats and rounding to them, with straight-through gradients; the worker's thread, any device.

Fixed point is simulated in floating point: a quantised tensor holds the values of its levels. Products and sums are left to
the accumulator, as in the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engines.fixed_point.config import FLOAT_BITS
from engines.fixed_point.sources import code_range, power_of_two

BIAS_BITS = 16
"""Of the biases, which are added in the accumulator and need its width."""


@dataclass(frozen=True)
class Format:
    """A uniform quantiser.

    Attributes
    ----------
    bits : int
        beta; from `FLOAT_BITS` on numbers stay in floating point.
    step : float
        s; 2^-n in a fixed-point format.
    tread : bool
        Levels at k s (mid-tread, with a zero); else at (k + 1/2) s (mid-rise, without).
    signed : bool
        False puts all levels at or above 0.
    """

    bits: int
    step: float
    tread: bool = True
    signed: bool = True

    @property
    def is_float(self) -> bool:
        """Whether nothing is rounded."""
        return self.bits >= FLOAT_BITS

    @property
    def codes(self) -> tuple[int, int]:
        """Lowest and highest level number."""
        return code_range(self.bits, tread=self.tread, signed=self.signed)

    @property
    def edges(self) -> tuple[float, float]:
        """Where overload begins: between them a number lies at most s/2 from its level."""
        if self.is_float:
            return -math.inf, math.inf
        low, high = self.codes
        if self.tread:
            return (low - 0.5) * self.step, (high + 0.5) * self.step
        return low * self.step, (high + 1) * self.step

    @property
    def fraction_bits(self) -> int | None:
        """n of a step 2^-n; None for other steps."""
        n = power_of_two(self.step)
        return n if math.ldexp(1.0, -n) == self.step else None

    def levels(self) -> Tensor:
        """All levels from the lowest on, (2^beta,) float64."""
        low, high = self.codes
        codes = torch.arange(low, high + 1, dtype=torch.float64)
        return (codes if self.tread else codes + 0.5) * self.step


def codes_of(x: Tensor, form: Format, noise: Tensor | None = None) -> Tensor:
    """Level numbers of x, as floats: a new tensor.

    Parameters
    ----------
    x : Tensor
    form : Format
        Not a float one.
    noise : Tensor like x, or None
        Uniform in 0 .. 1: rounds up with a probability that is the part of the way to the next level. None rounds to the
        nearest level.
    """
    low, high = form.codes
    scaled = x * (1.0 / form.step)
    if noise is not None:
        if not form.tread:
            scaled.sub_(0.5)
        scaled.add_(noise).floor_()
    elif form.tread:
        scaled.round_()
    else:
        scaled.floor_()
    return scaled.clamp_(low, high)


def quantise(x: Tensor, form: Format, noise: Tensor | None = None) -> Tensor:
    """Q(x): a new tensor, or x itself where the format is floating point; ``noise`` as for `codes_of`."""
    if form.is_float:
        return x
    codes = codes_of(x, form, noise)
    if not form.tread:
        codes.add_(0.5)
    return codes.mul_(form.step)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, form: Format, noise: Tensor | None) -> Tensor:
        low, high = form.edges
        ctx.save_for_backward((x >= low) & (x <= high))
        return quantise(x, form, noise)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def straight_through(x: Tensor, form: Format, noise: Tensor | None = None) -> Tensor:
    """Q(x), whose derivative is taken to be 1 between the edges of the format and 0 beyond them."""
    if form.is_float:
        return x
    result: Tensor = _StraightThrough.apply(x, form, noise)  # type: ignore[no-untyped-call]
    return result


def bias_format(bias: Tensor, weights: Format) -> Format:
    """The finest power of two with which a layer's biases fit into `BIAS_BITS`; floating point beside float weights."""
    if weights.is_float:
        return weights
    reach = float(bias.abs().max()) if bias.numel() else 0.0
    if not reach > 0 or not math.isfinite(reach):
        reach = 1.0
    return Format(BIAS_BITS, math.ldexp(1.0, math.ceil(math.log2(reach)) - (BIAS_BITS - 1)))


def sqnr(x: Tensor, quantised: Tensor) -> float:
    """Signal to quantisation noise, dB: 10 log10(E[x^2] / E[(x - Q(x))^2]); infinite without noise, 0 without a signal."""
    x, quantised = x.cpu().double(), quantised.cpu().double()
    signal, noise = float(x.square().mean()), float((x - quantised).square().mean())
    if signal == 0:
        return math.inf if noise == 0 else 0.0
    return 10 * math.log10(signal / noise) if noise > 0 else math.inf
