"""Momentum that can be run backwards: exactly, in integers with an information buffer, or in floats; the worker's thread.

Maclaurin, Duvenaud and Adams 2015, arXiv:1502.03492, algorithms 1 to 3. One step is

    v <- gamma v - (1 - gamma) g,    w <- w + alpha v.

Weights and velocities are whole numbers of 2^-50. The momentum is a fraction n / 2^16. Multiplying by it drops
log2(2^16 / n) bits of each velocity, and these go into the buffer. The last 16 bits of a product come out of the buffer and
mean nothing, so velocities are as good as whole numbers of 2^-34. The number that a step sees is the nearest float64 to the
integer, the same on both ways; only the integers must come back.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.errors import StepError

FRACTION_BITS = 50
UNIT = 2.0**FRACTION_BITS

RANGE = 1 << 62
"""Integers stay below it: numbers stay within 4096, and one that leaves the range in a step is seen to have left it."""

DENOMINATOR_BITS = 16
DENOMINATOR = 1 << DENOMINATOR_BITS

HEADROOM = 1 << 46
"""Buffer numbers from here on are put away: the next multiplication takes 16 bits more, and 62 fit."""

CHECK_EVERY = 64
"""Steps between two looks at the range on a GPU, where each look waits for it."""


def numerators(gamma: Tensor) -> Tensor:
    """The n of n / 2^16 nearest to momenta in 0 .. 1; at least 1, as a momentum of 0 cannot be undone."""
    return (gamma * DENOMINATOR).round().clamp_(1, DENOMINATOR).to(torch.int64)


@dataclass(frozen=True)
class Rate:
    """Step size and momentum of one step: numbers where all weights have the same, else (P,) each.

    Attributes
    ----------
    alpha : float or Tensor
    numerator : int or Tensor of int64
    gamma : float or Tensor
        Exactly ``numerator`` / 2^16: also what the hypergradient is taken at.
    smallest : int
        The least numerator.
    """

    alpha: float | Tensor
    numerator: int | Tensor
    gamma: float | Tensor
    smallest: int


class Rates:
    """Step sizes and momenta of a whole training.

    Parameters
    ----------
    alpha, gamma : Tensor (T, G)
        One row for each iteration, one column for each group of weights.
    sizes : sequence of int
        Weights in each group, in their order.
    """

    def __init__(self, alpha: Tensor, gamma: Tensor, sizes: tuple[int, ...]) -> None:
        if alpha.shape != gamma.shape or alpha.shape[1] != len(sizes):
            raise ValueError(f"rates of shapes {alpha.shape} and {gamma.shape} for {len(sizes)} groups")
        self.alpha = alpha
        self.numerator = numerators(gamma)
        self.gamma = self.numerator.to(alpha.dtype) / DENOMINATOR
        self.sizes = sizes
        self.steps = len(alpha)
        self._group = torch.repeat_interleave(
            torch.arange(len(sizes), device=alpha.device), torch.tensor(sizes, device=alpha.device)
        )
        self._one_alpha = (alpha == alpha[:, :1]).all(1).tolist()
        self._one_gamma = (self.numerator == self.numerator[:, :1]).all(1).tolist()
        self._smallest = self.numerator.amin(1).tolist()
        self._alphas = alpha[:, 0].tolist()
        self._numerators = self.numerator[:, 0].tolist()

    def at(self, t: int) -> Rate:
        """Of iteration t, from 0."""
        alpha = self._alphas[t] if self._one_alpha[t] else self.alpha[t].index_select(0, self._group)
        if self._one_gamma[t]:
            n = self._numerators[t]
            return Rate(alpha, n, n / DENOMINATOR, n)
        numerator = self.numerator[t].index_select(0, self._group)
        return Rate(alpha, numerator, self.gamma[t].index_select(0, self._group), self._smallest[t])

    def bits(self) -> float:
        """What the buffer takes in theory, log2(1 / gamma): bits of each weight at each step, on average."""
        share = torch.tensor(self.sizes, dtype=torch.float64, device=self.gamma.device)
        return float(-(torch.log2(self.gamma) @ share).sum() / (share.sum() * self.steps))


@dataclass(frozen=True)
class _Spill:
    step: int
    digits: Tensor
    bits: float
    bound: int


class InformationBuffer:
    """What momentum forgets: one whole number per weight, and those that grew too large, put away.

    Parameters
    ----------
    sizes : tuple of int
        Weights in each group.
    device : torch.device
    """

    def __init__(self, sizes: tuple[int, ...], device: torch.device) -> None:
        self.sizes = sizes
        self.numbers = torch.zeros(sum(sizes), dtype=torch.int64, device=device)
        self._bound = 0
        self._spills: list[_Spill] = []

    def multiply(self, c: Tensor, rate: Rate, step: int) -> Tensor:
        """c times n / d, reversibly (algorithm 3 of the paper); c (P,) of int64 below `RANGE`."""
        n = rate.numerator
        if rate.smallest == DENOMINATOR:
            return c
        if self._bound >= HEADROOM:
            self._put_away(step)
        # Shifts and masks are the floor division and the remainder of a power of two, of negative numbers too.
        i = (self.numbers << DENOMINATOR_BITS).add_(c & (DENOMINATOR - 1))
        quotient = torch.div(i, n, rounding_mode="trunc")
        product = (c >> DENOMINATOR_BITS).mul_(n).add_(i)
        product.sub_(quotient * n)
        self.numbers = quotient
        self._bound = (self._bound * DENOMINATOR + DENOMINATOR - 1) // rate.smallest
        return product

    def divide(self, c: Tensor, rate: Rate, step: int) -> Tensor:
        """The inverse of `multiply` at the same step."""
        n = rate.numerator
        if rate.smallest == DENOMINATOR:
            return c
        quotient = torch.div(c, n, rounding_mode="floor")
        i = (self.numbers * n).add_(c).sub_(quotient * n)
        self.numbers = i >> DENOMINATOR_BITS
        if self._spills and self._spills[-1].step == step:
            self._take_back()
        return (quotient << DENOMINATOR_BITS).add_(i & (DENOMINATOR - 1))

    def _put_away(self, step: int) -> None:
        width = max(1, -(-int(self.numbers.max()).bit_length() // 8))
        digits = self.numbers.view(torch.uint8).view(-1, 8)[:, :width].contiguous()
        self._spills.append(_Spill(step, digits, self._held(), self._bound))
        self.numbers = torch.zeros_like(self.numbers)
        self._bound = 0

    def _take_back(self) -> None:
        spill = self._spills.pop()
        whole = torch.zeros((len(self.numbers), 8), dtype=torch.uint8, device=self.numbers.device)
        whole[:, : spill.digits.shape[1]] = spill.digits
        # Where a wrong trajectory came back the rest is not zero; it must not be lost, or that would go unseen.
        self.numbers = self.numbers + whole.view(torch.int64).view(-1)
        self._bound = spill.bound

    def _held(self) -> float:
        """Bits that the present numbers need, one width for each group; mean over the weights."""
        most = torch.stack([part.max() for part in self.numbers.split(self.sizes)]).double()
        share = torch.tensor(self.sizes, dtype=torch.float64, device=most.device)
        return float((torch.log2(most + 1) @ share) / share.sum())

    def bits(self) -> float:
        """Bits held for each weight, measured on the numbers themselves."""
        return sum(spill.bits for spill in self._spills) + self._held()

    def stored_bytes(self) -> int:
        """Memory that all of it takes."""
        return self.numbers.nbytes + sum(spill.digits.nbytes for spill in self._spills)

    def is_empty(self) -> bool:
        """Whether all of it has been used up."""
        return not self._spills and not bool(self.numbers.any())


class Momentum(abc.ABC):
    """Weights and velocities that step forwards and backwards; (P,) float64 as seen from outside."""

    @abc.abstractmethod
    def weights(self) -> Tensor:
        """The weights w, (P,)."""

    @abc.abstractmethod
    def velocity(self) -> Tensor:
        """The velocities v, (P,)."""

    @abc.abstractmethod
    def forward(self, g: Tensor, rate: Rate, step: int) -> None:
        """One step with the gradient g.

        Raises
        ------
        StepError
            A number has left the range.
        """

    @abc.abstractmethod
    def back_weights(self, rate: Rate) -> None:
        """Undo the step of the weights; the gradient is then taken there."""

    @abc.abstractmethod
    def back_velocity(self, g: Tensor, rate: Rate, step: int) -> None:
        """Undo the step of the velocities, with the gradient that it was done with."""

    @abc.abstractmethod
    def bits_of(self) -> Tensor:
        """All bits of the weights, as int64 (P,)."""

    def finish(self) -> None:  # noqa: B027 - floats have no range to look at
        """Look at the range once more, after the last step."""

    def is_home(self) -> bool:
        """Whether it came back to where trainings begin: no velocity, and nothing left in the buffer."""
        return not bool(self.velocity().any())


class ExactMomentum(Momentum):
    """In integers: comes back to the very bits.

    Parameters
    ----------
    w : Tensor (P,) float64
        Where training begins; rounded towards zero.
    sizes : tuple of int
        Weights in each group.
    """

    def __init__(self, w: Tensor, sizes: tuple[int, ...]) -> None:
        _refuse_range(w, 0)
        self._w = _whole(w, 1.0)
        self._v = torch.zeros_like(self._w)
        self._velocity: Tensor | None = None
        self.buffer = InformationBuffer(sizes, w.device)
        self._low = self._high = torch.zeros((), dtype=torch.int64, device=w.device)

    def weights(self) -> Tensor:
        return _real(self._w)

    def velocity(self) -> Tensor:
        if self._velocity is None:
            self._velocity = _real(self._v)
        return self._velocity

    def forward(self, g: Tensor, rate: Rate, step: int) -> None:
        self._velocity = None
        self._v = self.buffer.multiply(self._v, rate, step) + _whole(g, rate.gamma - 1.0)
        self._w = self._w + _whole(self.velocity(), rate.alpha)
        for numbers in (self._w, self._v):
            low, high = torch.aminmax(numbers)
            if numbers.is_cuda:
                self._low, self._high = torch.minimum(self._low, low), torch.maximum(self._high, high)
            elif int(low) <= -RANGE or int(high) >= RANGE:
                raise _out_of_range(step)
        if numbers.is_cuda and (step + 1) % CHECK_EVERY == 0:
            self._check(step)

    def back_weights(self, rate: Rate) -> None:
        self._w = self._w - _whole(self.velocity(), rate.alpha)

    def back_velocity(self, g: Tensor, rate: Rate, step: int) -> None:
        self._velocity = None
        self._v = self.buffer.divide(self._v - _whole(g, rate.gamma - 1.0), rate, step)

    def bits_of(self) -> Tensor:
        return self._w

    def finish(self) -> None:
        self._check(-1)

    def is_home(self) -> bool:
        return not bool(self._v.any()) and self.buffer.is_empty()

    def _check(self, step: int) -> None:
        if int(self._low) <= -RANGE or int(self._high) >= RANGE:
            raise _out_of_range(step)


class FloatMomentum(Momentum):
    """In float64, undone by the formulas alone: dividing by gamma < 1 makes every rounding error grow.

    Parameters
    ----------
    w : Tensor (P,) float64
    """

    def __init__(self, w: Tensor) -> None:
        self._w = w.clone()
        self._v = torch.zeros_like(w)

    def weights(self) -> Tensor:
        return self._w

    def velocity(self) -> Tensor:
        return self._v

    def forward(self, g: Tensor, rate: Rate, step: int) -> None:
        self._v = rate.gamma * self._v + (rate.gamma - 1.0) * g
        self._w = self._w + rate.alpha * self._v

    def back_weights(self, rate: Rate) -> None:
        self._w = self._w - rate.alpha * self._v

    def back_velocity(self, g: Tensor, rate: Rate, step: int) -> None:
        self._v = (self._v - (rate.gamma - 1.0) * g) / rate.gamma

    def bits_of(self) -> Tensor:
        return self._w.view(torch.int64)

    def finish(self) -> None:
        _refuse_range(self._w, -1)


def wrong_bits(found: Tensor, true: Tensor) -> int:
    """Hamming distance of two vectors of int64: bits in which they differ, of 64 per weight."""
    import numpy as np

    different = (found ^ true).cpu().numpy()
    # The sign bit of int64 would be taken for a minus.
    return int(np.bitwise_count(different.view(np.uint64)).sum())


def _whole(x: Tensor, times: float | Tensor) -> Tensor:
    # Scaling by a power of two is exact, so this is the product rounded once, and then cut towards zero.
    return (x * (times * UNIT)).to(torch.int64)


def _real(c: Tensor) -> Tensor:
    return c.to(torch.float64).mul_(1.0 / UNIT)


def _refuse_range(w: Tensor, step: int) -> None:
    largest = float(w.abs().max())
    if not largest < RANGE / UNIT:
        raise _out_of_range(step)


def _out_of_range(step: int) -> StepError:
    limit = RANGE // (1 << FRACTION_BITS)
    when = f" at inner step {step + 1}" if step >= 0 else ""
    return StepError(
        f"A weight or velocity left the range of the exact integers, -{limit} to {limit}{when}, as happens when training "
        "diverges: lower the step size alpha or the scale of the initial weights, or rewind and lower the meta step."
    )


def bits_per_step(rate: float) -> float:
    """log2(1 / gamma) of one momentum, as it is used."""
    n = int(numerators(torch.tensor([rate], dtype=torch.float64)))
    return math.log2(DENOMINATOR / n)
