"""Small Markov decision processes solved exactly, and the paper's bound on them; numpy in float64, runs in the worker.

Arrays: policies (S, A), each row adding up to one; V (S,), Q and advantages (S, A). eta is the discounted return from the
start distribution, rho the UNnormalised discounted state distribution, which adds up to 1 / (1 - gamma).

    eta(new) >= L_old(new) - C max_s KL( old(. | s) || new(. | s) ),   C = 4 eps gamma / (1 - gamma)^2,  eps = max |A_old|
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BOUND_VERSION = (
    "C = 4 eps gamma / (1 - gamma)^2 with eps = max over s, a of |A(s, a)| (Theorem 1, ICML version)"
)
"""Which of the constants in print is used; early versions of the paper and many texts have another."""


@dataclass(frozen=True)
class MDP:
    """A finite Markov decision process.

    Attributes
    ----------
    transitions : array (S, A, S)
        P(s' | s, a).
    rewards : array (S, A)
        Expected reward.
    start : array (S,)
    gamma : float
        Between 0 and 1, exclusive.
    """

    transitions: np.ndarray
    rewards: np.ndarray
    start: np.ndarray
    gamma: float

    @property
    def states(self) -> int:
        return int(self.rewards.shape[0])

    @property
    def actions(self) -> int:
        return int(self.rewards.shape[1])


@dataclass(frozen=True)
class Exact:
    """Everything about one policy.

    Attributes
    ----------
    policy : array (S, A)
    values : array (S,)
    action_values, advantages : array (S, A)
    visits : array (S,)
        rho.
    eta : float
    """

    policy: np.ndarray
    values: np.ndarray
    action_values: np.ndarray
    advantages: np.ndarray
    visits: np.ndarray
    eta: float


def random_mdp(
    states: int,
    actions: int,
    gamma: float,
    generator: np.random.Generator,
    *,
    concentration: float = 0.5,
) -> MDP:
    """Transitions and start from a Dirichlet distribution, rewards from a standard normal one.

    Parameters
    ----------
    concentration : float
        Of the Dirichlet distribution: below 1 few successors are likely, far above 1 all are alike.
    """
    return MDP(
        generator.dirichlet(np.full(states, concentration), (states, actions)),
        generator.standard_normal((states, actions)),
        generator.dirichlet(np.ones(states)),
        gamma,
    )


def softmax_policy(logits: np.ndarray) -> np.ndarray:
    """pi(a | s) = exp(logits) / sum, (S, A)."""
    shifted = np.asarray(logits, np.float64)
    weights = np.exp(shifted - shifted.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def solve(mdp: MDP, policy: np.ndarray) -> Exact:
    """V, Q, A, rho and eta of a policy (S, A), by two linear solves."""
    step = np.einsum("sa,sat->st", policy, mdp.transitions)
    system = np.eye(mdp.states) - mdp.gamma * step
    values = np.linalg.solve(system, (policy * mdp.rewards).sum(-1))
    visits = np.linalg.solve(system.T, mdp.start)
    action_values = mdp.rewards + mdp.gamma * mdp.transitions @ values
    return Exact(
        policy, values, action_values, action_values - values[:, None], visits, float(mdp.start @ values)
    )


def surrogate(exact: Exact, new: np.ndarray) -> float:
    """L_old(new) = eta(old) + sum_s rho(s) sum_a new(a | s) A(s, a)."""
    return exact.eta + float(exact.visits @ (new * exact.advantages).sum(-1))


def policy_gradient(exact: Exact) -> np.ndarray:
    """The gradient of eta by the logits of a softmax policy, (S, A); that of L_old at the old policy is the same."""
    return exact.visits[:, None] * exact.policy * exact.advantages


def max_kl(old: np.ndarray, new: np.ndarray) -> float:
    """max_s KL( old(. | s) || new(. | s) ), nats; infinite where new leaves out an action that old takes."""
    taken = old > 0.0
    with np.errstate(divide="ignore"):
        ratios = np.log(np.where(taken, old, 1.0)) - np.log(np.where(taken, new, 1.0))
    return float((old * ratios).sum(-1).max())


def penalty(mdp: MDP, exact: Exact) -> float:
    """C, see `BOUND_VERSION`."""
    eps = float(np.abs(exact.advantages).max())
    return 4.0 * eps * mdp.gamma / (1.0 - mdp.gamma) ** 2


def lower_bound(mdp: MDP, exact: Exact, new: np.ndarray) -> float:
    """L_old(new) - C max KL, which eta(new) is never below."""
    return surrogate(exact, new) - penalty(mdp, exact) * max_kl(exact.policy, new)


def improved(mdp: MDP, exact: Exact) -> np.ndarray:
    """One iteration of Algorithm 1: the policy (S, A) with the greatest L - C max KL.

    With the max KL held at t, states part: each raises sum_a p_a A_a as far as KL(old || p) = t lets it, which gives
    p_a ~ old_a / (m - A_a). What remains is concave in t alone, and its slope is known: sum_s rho_s nu_s(t) - C, where
    nu_s is the multiplier of the state's own constraint. Both t and m are enclosed ever closer, in logarithms.
    """
    advantages = exact.advantages - (exact.policy * exact.advantages).sum(-1, keepdims=True)
    constant = penalty(mdp, exact)
    if constant == 0.0 or advantages.max() <= 0.0:
        return exact.policy
    low, high = np.log(1e-20), np.log(50.0)
    # At the best t the objective is flat, so seven digits of t are enough for all digits of the objective.
    for _ in range(7):
        grid = np.linspace(low, high, 17)
        _, multipliers = _tilted(exact.policy, advantages, np.exp(grid)[:, None])
        worth = int((multipliers @ exact.visits > constant).sum())
        low, high = grid[max(worth - 1, 0)], grid[min(worth, 16)]
    return _tilted(exact.policy, advantages, np.exp([[low]]))[0][0]


def _tilted(policy: np.ndarray, advantages: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each KL limit (T, 1) and each state: the policy of greatest mean advantage, and d(advantage) / d(limit).

    Shapes (T, S, A) and (T, S).
    """
    best = np.where(policy > 0.0, advantages, -np.inf).max(-1)
    # A state whose actions are all alike has nothing to gain.
    alive = best > 1e-12 * np.abs(advantages).max()
    top = np.where(alive, best, 1.0)
    scaled = np.where(alive[:, None], advantages / top[:, None], 0.0)
    # x = A / m with m = best (1 + e^u): KL falls as u grows.
    shape = (len(limits), len(policy))
    low, high = np.full(shape, -60.0), np.full(shape, 60.0)
    for _ in range(45):
        u = 0.5 * (low + high)
        over = _tilt(policy, scaled, u)[1] > limits
        low, high = np.where(over, u, low), np.where(over, high, u)
    new, _, mass = _tilt(policy, scaled, high)
    multipliers = np.where(alive, top * (1.0 + np.exp(high)) / mass, 0.0)
    return np.where(alive[:, None], new, policy), multipliers


def _tilt(policy: np.ndarray, scaled: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p ~ old / (1 - x), its KL from old, and the mass sum_a old / (1 - x), for x = scaled / (1 + e^u)."""
    spread = np.exp(u)[..., None]
    # 1 - x as a sum: near the best action the difference would be lost.
    rest = (np.maximum(1.0 - scaled, 0.0) + spread) / (1.0 + spread)
    x = scaled / (1.0 + spread)
    # sum_a old x = 0, so the terms of first order are left out of both logarithms, which are small.
    excess = (policy * x * x / rest).sum(-1)
    log_rest = np.where(np.abs(x) < 0.5, np.log1p(-np.minimum(x, 0.5)), np.log(rest))
    kl = (policy * (log_rest + x)).sum(-1) + np.log1p(excess)
    weights = policy / rest
    mass = weights.sum(-1)
    return weights / mass[..., None], kl, mass


def algorithm_one(mdp: MDP, policy: np.ndarray, iterations: int) -> list[Exact]:
    """Algorithm 1 from a policy (S, A): the ``iterations`` + 1 policies on the way; their eta never falls.

    The steps are tiny, since C is large: this is why the paper bounds the KL instead of subtracting it.
    """
    walk = [solve(mdp, policy)]
    for _ in range(iterations):
        walk.append(solve(mdp, improved(mdp, walk[-1])))
    return walk


@dataclass(frozen=True)
class Line:
    """Return, surrogate and bound along a line of policies; arrays (F,).

    Attributes
    ----------
    fractions : array
        0 is the old policy, 1 the target.
    eta, surrogate, bound : array
        True return, L, and L - C max KL.
    max_kls : array
    penalty : float
        C. C max_kls exceeds |eta - L| by orders of magnitude: draw them on a logarithmic scale.
    """

    fractions: np.ndarray
    eta: np.ndarray
    surrogate: np.ndarray
    bound: np.ndarray
    max_kls: np.ndarray
    penalty: float


def along(mdp: MDP, old: np.ndarray, target: np.ndarray, fractions: Sequence[float] | np.ndarray) -> Line:
    """The line between two policies (S, A) without zeros, straight in their logits, so that it goes on beyond both."""
    exact = solve(mdp, old)
    f = np.asarray(fractions, np.float64)
    start, way = np.log(old), np.log(target) - np.log(old)
    policies = [softmax_policy(start + x * way) for x in f.tolist()]
    surrogates = np.array([surrogate(exact, new) for new in policies])
    distances = np.array([max_kl(old, new) for new in policies])
    constant = penalty(mdp, exact)
    return Line(
        f,
        np.array([solve(mdp, new).eta for new in policies]),
        surrogates,
        surrogates - constant * distances,
        distances,
        constant,
    )
