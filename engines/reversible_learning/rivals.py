"""What learned hyperparameters are held against: constants from a sweep of equal cost, and real pictures; worker's thread.

Nothing here touches the run: starts and batches follow from the seed and the number of the training alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.engine import numpy_stream
from engines.errors import StepError
from engines.reversible_learning.momentum import Rates
from engines.reversible_learning.problems import Examples, NetworkProblem
from engines.reversible_learning.reversal import hypergradient, train

ALPHAS = 0.01, 30.0
"""Step sizes that a sweep looks between."""

GAMMAS = 0.1, 0.99
"""Momenta, drawn evenly on the scale of log(1 - gamma)."""

SCALES = 0.01, 1.0
"""Initial scales."""

COARSE = 0.5
"""Part of the trainings of a sweep of step sizes alone that goes into its first grid; the rest looks closer at its best."""

DRAWS = 20
"""Sets of real pictures, one of each class."""


@dataclass(frozen=True)
class Constant:
    """Hyperparameters that are the same for each layer and iteration.

    Attributes
    ----------
    alpha, gamma, scale : float
    """

    alpha: float
    gamma: float
    scale: float


@dataclass(frozen=True)
class Trials:
    """Where constants are tried.

    Attributes
    ----------
    problem : callable
        The problem of a training by its number; batches follow from it.
    noise : callable
        Standard normal initial weights (P,) of a training by its number.
    steps : int
        Inner iterations.
    sizes : tuple of int
        Weights of each group; all get the same constants.
    exact : bool
    """

    problem: Callable[[int], NetworkProblem]
    noise: Callable[[int], Tensor]
    steps: int
    sizes: tuple[int, ...]
    exact: bool

    def rates(self, constant: Constant) -> Rates:
        """The constants as a schedule."""
        like = self.noise(0)
        shape = (self.steps, len(self.sizes))
        alpha, gamma = like.new_full(shape, constant.alpha), like.new_full(shape, constant.gamma)
        return Rates(alpha, gamma, self.sizes)

    def weights(self, constant: Constant, number: int) -> Tensor | None:
        """Where a training ends; None where it diverges."""
        try:
            start = constant.scale * self.noise(number)
            return train(self.problem(number), start, self.rates(constant), self.exact).momentum.weights()
        except StepError:
            return None

    def loss(self, constant: Constant, number: int) -> float:
        """The meta-objective at the end, nats; infinite where training diverges."""
        weights = self.weights(constant, number)
        loss = math.inf if weights is None else self.problem(number).value(weights)
        return loss if math.isfinite(loss) else math.inf

    def cost(self, rates: Rates, start: Tensor) -> float:
        """How many trainings a meta-iteration takes the time of, as measured on one of each."""
        began = time.process_time()
        problem = self.problem(0)
        training = train(problem, start, rates, self.exact)
        there = time.process_time() - began
        _, dw, others = problem.objective(training.momentum.weights())
        hypergradient(problem, training, rates, dw, others)
        return (time.process_time() - began) / max(there, 1e-9)


def best_step_size(trials: Trials, first: Constant, trainings: int) -> Constant:
    """The constant step size with the lowest meta-objective; momentum and scale stay.

    Parameters
    ----------
    trials : Trials
    first : Constant
        Where momentum and scale come from.
    trainings : int
        That may be done.
    """

    def of(log_alpha: float) -> Constant:
        return Constant(math.exp(log_alpha), first.gamma, first.scale)

    low, high = math.log(ALPHAS[0]), math.log(ALPHAS[1])
    coarse = np.linspace(low, high, max(int(COARSE * trainings), 2))
    losses = [trials.loss(of(log_alpha), 0) for log_alpha in coarse.tolist()]
    best = float(coarse[int(np.argmin(losses))])
    width = float(coarse[1] - coarse[0])
    # Each candidate of the second grid is tried from several starts, so that luck does not choose.
    left = trainings - len(coarse)
    if left < 1:
        return of(best)
    count = int(math.sqrt(left))
    fine = np.linspace(max(best - width, low), min(best + width, high), count)
    means = [
        np.mean([trials.loss(of(log_alpha), 1 + number) for number in range(left // count)])
        for log_alpha in fine.tolist()
    ]
    return of(float(fine[int(np.argmin(means))]))


def best_constants(trials: Trials, first: Constant, trainings: int, seed: int) -> Constant:
    """Step size, momentum and initial scale with the lowest meta-objective of a random search.

    Half of the trainings try constants that are drawn anew, the others look closer at the best of them.

    Parameters
    ----------
    trials : Trials
    first : Constant
        Tried, too.
    trainings : int
        That may be done.
    seed : int
    """
    generator = numpy_stream(seed, "sweep of constants")

    def between(low: float, high: float) -> float:
        return math.exp(generator.uniform(math.log(low), math.log(high)))

    tried = [first]
    while len(tried) < max(trainings // 2, 1):
        gamma = 1 - between(1 - GAMMAS[1], 1 - GAMMAS[0])
        tried.append(Constant(between(*ALPHAS), gamma, between(*SCALES)))
    ranked = sorted(tried, key=lambda constant: trials.loss(constant, 0))
    left = trainings - len(tried)
    if left < 1:
        return ranked[0]
    finalists = ranked[: int(math.sqrt(left))]
    rounds = left // len(finalists)

    def mean(constant: Constant) -> float:
        return float(np.mean([trials.loss(constant, 1 + number) for number in range(rounds)]))

    return min(finalists, key=mean)


def errors_of_real_pictures(
    pool: Examples, problem: Callable[[Examples], NetworkProblem], start: Tensor, rates: Rates, seed: int
) -> list[tuple[float, float]]:
    """Loss in nats and error in percent after training on one real picture of each class, for several draws of them.

    Parameters
    ----------
    pool : Examples
        What they are drawn from: x (N, D), y (N, C).
    problem : callable
        Training on the examples that it is given; its `NetworkProblem.held` are those that are measured on.
    start : Tensor (P,)
    rates : Rates
    seed : int
    """
    generator = numpy_stream(seed, "real pictures")
    classes = pool.y.shape[1]
    kinds = pool.y.argmax(1).cpu().numpy()
    found = []
    for _ in range(DRAWS):
        chosen = [generator.choice(np.flatnonzero(kinds == kind)) for kind in range(classes)]
        index = torch.from_numpy(np.array(chosen)).to(pool.x.device)
        some = problem(Examples(pool.x[index], pool.y[index], 1.0 / classes))
        weights = train(some, start, rates, True).momentum.weights()
        found.append(some.measure(weights, some.held))
    return found
