"""Returns, advantages, and the surrogate objectives made of them; numpy and torch, runs in the training worker.

Paths lie one after another in flat arrays of T steps; ``lengths`` (P,) says how many steps each has. The discount enters
the returns, but all states count the same, as in the paper's experiments: gamma^t of the state distribution is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from engines.trpo.policies import Linearisation, Parts, Policy


def discounted_returns(
    rewards: np.ndarray, lengths: np.ndarray, gamma: float, bootstrap: np.ndarray | None = None
) -> np.ndarray:
    """Q_t = sum_k gamma^k r_{t+k} to the end of the same path, (T,): the paper's single-path estimate.

    Parameters
    ----------
    rewards : array (T,)
    lengths : array of int (P,)
    gamma : float
    bootstrap : array (P,), optional
        The value of the state after each path's last step: 0 where that is terminal, a critic's estimate where a time
        limit cut the path off. None, as in the paper, takes 0 everywhere.
    """
    rewards, lengths = _paths(rewards, lengths)
    after = np.zeros(len(lengths)) if bootstrap is None else _per_path(bootstrap, lengths)
    return _sum_backwards(rewards, lengths, gamma, after)


def generalised_advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    lengths: np.ndarray,
    gamma: float,
    lambda_: float,
    bootstrap: np.ndarray | None = None,
) -> np.ndarray:
    """GAE(lambda), (T,): sum_k (gamma lambda)^k (r + gamma V' - V)_{t+k}; later than this paper, which has no critic.

    Parameters
    ----------
    rewards, values : array (T,)
        V is the critic's value of the state in which the action was taken.
    lengths : array of int (P,)
    gamma, lambda_ : float
    bootstrap : array (P,), optional
        As in `discounted_returns`.
    """
    rewards, lengths = _paths(rewards, lengths)
    values = np.asarray(values, np.float64)
    if values.shape != rewards.shape:
        raise ValueError(f"values must have shape {rewards.shape}, not {values.shape}")
    next_values = np.append(values[1:], 0.0)
    ends = np.cumsum(lengths) - 1
    next_values[ends] = 0.0 if bootstrap is None else _per_path(bootstrap, lengths)
    errors = rewards + gamma * next_values - values
    return _sum_backwards(errors, lengths, gamma * lambda_, np.zeros(len(lengths)))


def standardised(values: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1, of any shape. Not in the paper; values that are all alike become 0."""
    values = np.asarray(values, np.float64)
    centred = values - values.mean()
    deviation = centred.std()
    # Of equal values rounding leaves a deviation that must not be blown up to one.
    if deviation <= 1e-12 * np.abs(values).max(initial=0.0):
        return np.zeros_like(values)
    return centred / deviation


class Surrogate(Protocol):
    """L(theta), to be raised, as a function of the policy's parts at the states of the batch."""

    def __call__(self, policy: Policy, parameters: Parts) -> Tensor:
        """L, a tensor (), differentiable in ``parameters``."""
        ...


@dataclass(frozen=True)
class SinglePath:
    """L = mean_n [ pi(a_n | s_n) / q(a_n | s_n) Q_n ].

    Attributes
    ----------
    actions : Tensor (N, A) or (N,)
    log_q : Tensor (N,)
        Log-probability under which the action was drawn: the old policy's.
    values : Tensor (N,)
        Q, or an advantage: a constant for each state shifts L alone.
    """

    actions: Tensor
    log_q: Tensor
    values: Tensor

    def __call__(self, policy: Policy, parameters: Parts) -> Tensor:
        log_weights = policy.log_prob(parameters, self.actions) - self.log_q
        return (log_weights.exp() * self.values).mean()

    def part(self, index: Tensor) -> SinglePath:
        """The same of some of the states."""
        return replace(self, actions=self.actions[index], log_q=self.log_q[index], values=self.values[index])


@dataclass(frozen=True)
class EnumeratedVine:
    """L = mean_n sum_a pi(a | s_n) Q(s_n, a): vine with every action of a finite set tried from every state.

    Attributes
    ----------
    values : Tensor (N, actions)
    """

    values: Tensor

    def __call__(self, policy: Policy, parameters: Parts) -> Tensor:
        actions = torch.arange(self.values.shape[1], device=self.values.device)
        return (policy.log_prob(_apart(parameters), actions).exp() * self.values).sum(-1).mean()

    def part(self, index: Tensor) -> EnumeratedVine:
        """The same of some of the states."""
        return replace(self, values=self.values[index])


@dataclass(frozen=True)
class SampledVine:
    """L = mean_n [ sum_k w_nk Q_nk / sum_k w_nk ], w = pi / q: vine with K actions drawn from each state.

    The weights of a state add up to one, so a constant added to its Q leaves the gradient alone.

    Attributes
    ----------
    actions : Tensor (N, K, A) or (N, K)
    log_q, values : Tensor (N, K)
    """

    actions: Tensor
    log_q: Tensor
    values: Tensor

    def __call__(self, policy: Policy, parameters: Parts) -> Tensor:
        log_weights = policy.log_prob(_apart(parameters), self.actions) - self.log_q
        return (torch.softmax(log_weights, -1) * self.values).sum(-1).mean()

    def part(self, index: Tensor) -> SampledVine:
        """The same of some of the states."""
        return replace(self, actions=self.actions[index], log_q=self.log_q[index], values=self.values[index])


def surrogate_gradient(
    policy: Policy, surrogate: Surrogate, linearisation: Linearisation
) -> tuple[float, Tensor]:
    """L and its gradient (P,) by theta, at the policy that ``linearisation`` holds for the states of the batch."""
    parts = tuple(part.clone().requires_grad_() for part in linearisation.parameters)
    with torch.enable_grad():
        value = surrogate(policy, parts)
        slopes = torch.autograd.grad(value, parts, materialize_grads=True)
    return float(value.detach()), linearisation.backward(slopes)


def _apart(parameters: Parts) -> Parts:
    """An axis for K actions per state."""
    return tuple(part[:, None] for part in parameters)


def _paths(rewards: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rewards, lengths = np.asarray(rewards, np.float64), np.asarray(lengths, np.int64)
    if rewards.ndim != 1 or lengths.ndim != 1 or (lengths < 1).any() or lengths.sum() != len(rewards):
        raise ValueError(f"lengths must be positive and add up to the {rewards.size} rewards")
    return rewards, lengths


def _per_path(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != lengths.shape:
        raise ValueError(f"bootstrap must have shape {lengths.shape}, not {values.shape}")
    return values


def _sum_backwards(terms: np.ndarray, lengths: np.ndarray, decay: float, after: np.ndarray) -> np.ndarray:
    """out_t = terms_t + decay out_{t+1} within each path, where ``after`` (P,) follows its last step.

    All paths at once, from their ends: with the longest first, those that still go on are always the leading ones.
    """
    out = terms.copy()
    if not len(lengths):
        return out
    order = np.argsort(-lengths, kind="stable")
    ends = (np.cumsum(lengths) - 1)[order]
    carried = after[order]
    # How many paths have more than k steps, for every k.
    going = len(lengths) - np.searchsorted(np.sort(lengths), np.arange(lengths.max()), side="right")
    for back, count in enumerate(going.tolist()):
        at = ends[:count] - back
        carried = terms[at] + decay * carried[:count]
        out[at] = carried
    return out
