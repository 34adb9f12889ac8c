"""Training out and back: the hypergradient without a tape; the worker's thread.

Maclaurin, Duvenaud and Adams 2015, arXiv:1502.03492, algorithm 2. The way back rebuilds every state of training from the one
after it. Memory does not grow with the number of steps, apart from the information buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.errors import StepError
from engines.reversible_learning.momentum import ExactMomentum, FloatMomentum, Momentum, Rates
from engines.reversible_learning.problems import Grads, Problem

Observer = Callable[[int, Momentum], None]
"""Called with the number of steps done, from 0, and the state there."""


@dataclass
class Training:
    """A training that is done.

    Attributes
    ----------
    momentum : Momentum
        Where it ended; the way back uses it up.
    losses : Tensor (T,)
        Of each batch before its step, nats.
    began : Tensor (P,) of int64
        All bits of the initial weights.
    """

    momentum: Momentum
    losses: Tensor
    began: Tensor

    def bits(self) -> float:
        """Bits per weight that the information buffer holds; 0 for floats."""
        return self.momentum.buffer.bits() if isinstance(self.momentum, ExactMomentum) else 0.0

    def buffer_bytes(self) -> int:
        """Memory of the information buffer."""
        return self.momentum.buffer.stored_bytes() if isinstance(self.momentum, ExactMomentum) else 0


@dataclass
class Hypergradient:
    """Derivatives of the meta-objective.

    Attributes
    ----------
    alpha, gamma : Tensor (T, G)
        By each step size and momentum.
    start : Tensor (P,)
        By the initial weights.
    others : dict of Tensor
        By the other hyperparameters of the problem.
    """

    alpha: Tensor
    gamma: Tensor
    start: Tensor
    others: Grads


def train(
    problem: Problem, w: Tensor, rates: Rates, exact: bool = True, observe: Observer | None = None
) -> Training:
    """Train from w (P,).

    Raises
    ------
    StepError
        Training left the range of the integers, or its loss is not finite.
    """
    momentum: Momentum = ExactMomentum(w, problem.sizes) if exact else FloatMomentum(w)
    began = momentum.bits_of().clone()
    losses = torch.empty(rates.steps, dtype=w.dtype, device=w.device)
    if observe is not None:
        observe(0, momentum)
    for t in range(rates.steps):
        loss, g = problem.gradient(momentum.weights(), t)
        losses[t] = loss
        momentum.forward(g, rates.at(t), t)
        if observe is not None:
            observe(t + 1, momentum)
    momentum.finish()
    if not bool(torch.isfinite(losses).all()):
        raise StepError(
            "The loss of the inner training is no longer finite: lower the step size alpha, or rewind and lower the meta "
            "step."
        )
    return Training(momentum, losses, began)


def go_back(problem: Problem, training: Training, rates: Rates, observe: Observer | None = None) -> None:
    """Un-train, without any derivative."""
    momentum = training.momentum
    if observe is not None:
        observe(rates.steps, momentum)
    for t in range(rates.steps - 1, -1, -1):
        rate = rates.at(t)
        momentum.back_weights(rate)
        momentum.back_velocity(problem.gradient(momentum.weights(), t)[1], rate, t)
        if observe is not None:
            observe(t, momentum)


def hypergradient(
    problem: Problem, training: Training, rates: Rates, dw: Tensor, others: Grads
) -> Hypergradient:
    """Go back and collect the derivatives on the way (algorithm 2).

    Parameters
    ----------
    problem : Problem
    training : Training
        Used up: afterwards its momentum stands where training began.
    rates : Rates
    dw : Tensor (P,)
        Gradient of the meta-objective by the final weights.
    others : dict of Tensor
        Its direct derivatives by the other hyperparameters; added to.

    Notes
    -----
    The derivative by gamma_t takes the velocity before step t, as d v_{t+1} / d gamma_t = v_t + g_t.
    """
    momentum = training.momentum
    sizes = list(rates.sizes)
    d_alpha, d_gamma = torch.empty_like(rates.alpha), torch.empty_like(rates.alpha)
    dv = torch.zeros_like(dw)
    both = torch.empty((2, len(dw)), dtype=dw.dtype, device=dw.device)
    for t in range(rates.steps - 1, -1, -1):
        rate = rates.at(t)
        torch.mul(dw, momentum.velocity(), out=both[0])
        momentum.back_weights(rate)
        dv = dv + rate.alpha * dw
        g, h = problem.products(momentum.weights(), (1.0 - rate.gamma) * dv, t, others)
        momentum.back_velocity(g, rate, t)
        torch.mul(dv, g.add_(momentum.velocity()), out=both[1])
        if len(sizes) == 1:
            d_alpha[t, 0], d_gamma[t, 0] = both.sum(1)
        else:
            sums = torch.stack([part.sum(1) for part in both.split(sizes, 1)], 1)
            d_alpha[t], d_gamma[t] = sums
        dw = dw - h
        dv = rate.gamma * dv
    return Hypergradient(d_alpha, d_gamma, dw, others)
