"""One training out and back for the eye, in integers and in floats, and the race of schedules; the worker's thread.

Nothing here touches the run: start and batches follow from the seed and the meta-iteration alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.reversible_learning.history import places
from engines.reversible_learning.momentum import ExactMomentum, Momentum, Rates, wrong_bits
from engines.reversible_learning.problems import Problem
from engines.reversible_learning.reversal import go_back, hypergradient, train

PROBED = 4096
"""Weights whose bits are compared at most."""

SHOWN_BITS = 24
"""Weights whose bits are drawn."""

CHECKPOINTS = 25
"""Moments of a race at which the meta-objective is taken."""

LARGEST = 1e12
"""Numbers beyond it, and those that are none, are drawn as it: float reversal knows no bounds."""


@dataclass
class Way:
    """One kind of arithmetic, out and back, at F moments; index 0 is the start, and the way back ends there.

    Attributes
    ----------
    shown_out, shown_back : array (F, S)
        Some weights.
    wrong : array (F,)
        Percent of the bits of the weights that are wrong on the way back.
    error : array (F,)
        Largest error of a weight on the way back.
    held, held_back : array (F,)
        Bits per weight in the information buffer, on the way out and back.
    bits_out, bits_back : array (F, B) of uint64
        All bits of some weights.
    """

    shown_out: np.ndarray
    shown_back: np.ndarray
    wrong: np.ndarray
    error: np.ndarray
    held: np.ndarray
    held_back: np.ndarray
    bits_out: np.ndarray
    bits_back: np.ndarray


@dataclass
class Rehearsal:
    """A training out and back.

    Attributes
    ----------
    steps : array (F,)
        Steps done at the moments.
    losses : array (T,)
    exact, floats : Way
    """

    steps: np.ndarray
    losses: np.ndarray
    exact: Way
    floats: Way


def rehearse(problem: Problem, start: Tensor, rates: Rates, shown: Tensor, frames: int) -> Rehearsal:
    """Train out and back in both arithmetics.

    Parameters
    ----------
    shown : Tensor (S,)
        Indices of the weights that are drawn.
    frames : int
        Moments at most.
    """
    steps = places(rates.steps + 1, frames)
    probe = torch.from_numpy(places(len(start), PROBED)).to(start.device)
    losses, exact = _there_and_back(problem, start, rates, shown, probe, steps, True)
    _, floats = _there_and_back(problem, start, rates, shown, probe, steps, False)
    return Rehearsal(steps, losses, exact, floats)


def _there_and_back(
    problem: Problem,
    start: Tensor,
    rates: Rates,
    shown: Tensor,
    probe: Tensor,
    steps: np.ndarray,
    exact: bool,
) -> tuple[np.ndarray, Way]:
    index = {int(step): place for place, step in enumerate(steps)}
    count = len(steps)
    some = shown[torch.from_numpy(places(len(shown), SHOWN_BITS)).to(shown.device)]
    way = Way(
        *(np.zeros((count, len(shown))) for _ in range(2)),
        *(np.zeros(count) for _ in range(4)),
        *(np.zeros((count, len(some)), np.uint64) for _ in range(2)),
    )
    bits: dict[int, tuple[Tensor, Tensor]] = {}

    def on_the_way_out(step: int, momentum: Momentum) -> None:
        if (place := index.get(step)) is None:
            return
        bits[place] = momentum.bits_of()[probe], momentum.weights()[probe]
        way.shown_out[place] = _numbers(momentum.weights()[shown])
        way.bits_out[place] = _words(momentum.bits_of()[some])
        if isinstance(momentum, ExactMomentum):
            way.held[place] = momentum.buffer.bits()

    def on_the_way_back(step: int, momentum: Momentum) -> None:
        if (place := index.get(step)) is None:
            return
        true_bits, true_weights = bits[place]
        way.wrong[place] = (
            100.0 * wrong_bits(momentum.bits_of()[probe], true_bits) / max(64 * len(true_bits), 1)
        )
        way.error[place] = float(_numbers((momentum.weights()[probe] - true_weights).abs()).max())
        way.shown_back[place] = _numbers(momentum.weights()[shown])
        way.bits_back[place] = _words(momentum.bits_of()[some])
        if isinstance(momentum, ExactMomentum):
            way.held_back[place] = momentum.buffer.bits()

    training = train(problem, start, rates, exact, on_the_way_out)
    go_back(problem, training, rates, on_the_way_back)
    return training.losses.cpu().numpy(), way


def _numbers(x: Tensor) -> np.ndarray:
    return torch.nan_to_num(x, LARGEST, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST).cpu().numpy()


def _words(bits: Tensor) -> np.ndarray:
    """Bits of int64 as they are, to be drawn one by one."""
    return np.array(bits.cpu().numpy().view(np.uint64))


@dataclass
class Lane:
    """One schedule of a race.

    Attributes
    ----------
    log_alpha : array (T, G)
    steps, losses : array (C,)
        The meta-objective on the way.
    """

    log_alpha: np.ndarray
    steps: np.ndarray
    losses: np.ndarray


@dataclass
class Race:
    """Lanes by name, and the hypergradient along one of them.

    Attributes
    ----------
    lanes : dict of Lane
        "first", "learned", and "drawn" where one is drawn.
    bend : array (T, G)
        Derivative of the meta-objective by the logarithm of the step sizes of the last lane.
    """

    lanes: dict[str, Lane]
    bend: np.ndarray


def race(
    problem: Problem, start: Tensor, schedules: dict[str, Rates], exact: bool, known: Mapping[str, Lane]
) -> Race:
    """Train with each schedule on the same start and batches; the last one is bent, the others may be ``known``.

    Raises
    ------
    StepError
        One of them diverges.
    """
    lanes: dict[str, Lane] = {}
    bend = np.zeros(0)
    for number, (name, rates) in enumerate(schedules.items()):
        is_last = number == len(schedules) - 1
        if name in known and not is_last:
            lanes[name] = known[name]
            continue
        steps = places(rates.steps + 1, CHECKPOINTS)
        wanted = set(steps.tolist())
        losses: list[float] = []

        def look(
            step: int, momentum: Momentum, wanted: set[int] = wanted, losses: list[float] = losses
        ) -> None:
            if step in wanted:
                losses.append(problem.value(momentum.weights()))

        training = train(problem, start, rates, exact, look)
        lanes[name] = Lane(rates.alpha.log().cpu().numpy(), steps, np.array(losses))
        if is_last:
            _, dw, others = problem.objective(training.momentum.weights())
            found = hypergradient(problem, training, rates, dw, others)
            bend = _numbers(found.alpha * rates.alpha)
    return Race(lanes, bend)
