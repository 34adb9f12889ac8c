"""Small Markov decision processes: the exact solve, the surrogate, the bound, and the algorithm made of the bound."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engines.trpo.estimators import EnumeratedVine, surrogate_gradient
from engines.trpo.policies import CategoricalPolicy, Linearisation
from engines.trpo.tabular import (
    BOUND_VERSION,
    MDP,
    algorithm_one,
    along,
    improved,
    lower_bound,
    max_kl,
    penalty,
    policy_gradient,
    random_mdp,
    softmax_policy,
    solve,
    surrogate,
)

DOUBLE = torch.float64


def drawn(seed: int, states: int = 4, actions: int = 3, gamma: float = 0.9):
    rng = np.random.default_rng(seed)
    mdp = random_mdp(states, actions, gamma, rng)
    return mdp, softmax_policy(rng.standard_normal((states, actions))), rng


def test_random_mdps_are_seeded_and_stochastic():
    mdp, _, _ = drawn(3, 5, 2)
    again, _, _ = drawn(3, 5, 2)
    other, _, _ = drawn(4, 5, 2)
    np.testing.assert_array_equal(mdp.transitions, again.transitions)
    assert not np.array_equal(mdp.transitions, other.transitions)
    assert (mdp.states, mdp.actions) == (5, 2) and mdp.transitions.shape == (5, 2, 5)
    np.testing.assert_allclose(mdp.transitions.sum(-1), 1.0)
    assert mdp.start.sum() == pytest.approx(1.0) and mdp.transitions.min() >= 0


def test_solution_satisfies_the_bellman_equations_and_the_definition_of_rho():
    mdp, policy, _ = drawn(0)
    exact = solve(mdp, policy)
    np.testing.assert_allclose(exact.values, (policy * exact.action_values).sum(-1))
    backed_up = mdp.rewards + mdp.gamma * np.einsum("sat,t->sa", mdp.transitions, exact.values)
    np.testing.assert_allclose(exact.action_values, backed_up)
    np.testing.assert_allclose((policy * exact.advantages).sum(-1), 0.0, atol=1e-12)
    # rho by walking: sum of gamma^t P(s_t = s), not normalised.
    at, rho, eta = mdp.start.copy(), np.zeros(4), 0.0
    for t in range(600):
        rho += mdp.gamma**t * at
        eta += mdp.gamma**t * float(at @ (policy * mdp.rewards).sum(-1))
        at = np.einsum("s,sa,sat->t", at, policy, mdp.transitions)
    np.testing.assert_allclose(exact.visits, rho, rtol=1e-10)
    assert exact.visits.sum() == pytest.approx(10.0) and exact.eta == pytest.approx(eta)


def test_lemma_one_holds_with_the_new_policys_visits():
    mdp, policy, rng = drawn(1)
    new = softmax_policy(rng.standard_normal((4, 3)))
    old, there = solve(mdp, policy), solve(mdp, new)
    assert there.eta == pytest.approx(old.eta + float(there.visits @ (new * old.advantages).sum(-1)))
    # L has the old visits instead, and so is another number.
    assert abs(surrogate(old, new) - there.eta) > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_surrogate_matches_the_return_in_value_and_gradient(seed):
    mdp, _, rng = drawn(seed)
    logits = rng.standard_normal((4, 3))
    old = solve(mdp, softmax_policy(logits))
    assert surrogate(old, old.policy) == pytest.approx(old.eta, abs=1e-12)
    g = policy_gradient(old)
    for index in np.ndindex(4, 3):
        step = np.zeros((4, 3))
        step[index] = 1e-5
        new, back = softmax_policy(logits + step), softmax_policy(logits - step)
        true = (solve(mdp, new).eta - solve(mdp, back).eta) / 2e-5
        model = (surrogate(old, new) - surrogate(old, back)) / 2e-5
        assert g[index] == pytest.approx(true, abs=1e-8) and g[index] == pytest.approx(model, abs=1e-8)


def test_bound_holds_for_random_mdps_and_random_policies():
    rng = np.random.default_rng(0)
    assert "4 eps gamma" in BOUND_VERSION and "max" in BOUND_VERSION
    gaps, penalties = [], []
    for _ in range(400):
        states, actions = int(rng.integers(2, 7)), int(rng.integers(2, 5))
        mdp = random_mdp(states, actions, float(rng.uniform(0.1, 0.99)), rng)
        logits = rng.standard_normal((states, actions))
        old = solve(mdp, softmax_policy(logits))
        new = softmax_policy(logits + 10 ** rng.uniform(-2, 0.3) * rng.standard_normal((states, actions)))
        eta = solve(mdp, new).eta
        assert eta >= lower_bound(mdp, old, new) - 1e-10
        gaps.append(abs(eta - surrogate(old, new)))
        penalties.append(penalty(mdp, old) * max_kl(old.policy, new))
    # True, and far from tight.
    assert np.median(penalties) > 100 * np.median(gaps)


def test_penalty_is_that_of_theorem_one():
    mdp, policy, _ = drawn(2, gamma=0.5)
    exact = solve(mdp, policy)
    assert penalty(mdp, exact) == pytest.approx(4 * np.abs(exact.advantages).max() * 0.5 / 0.25)


def test_max_kl_is_of_the_old_policy_from_the_new_in_the_worst_state():
    old = np.array([[0.5, 0.5], [0.9, 0.1]])
    new = np.array([[0.5, 0.5], [0.6, 0.4]])
    worst = 0.9 * np.log(0.9 / 0.6) + 0.1 * np.log(0.1 / 0.4)
    assert max_kl(old, new) == pytest.approx(worst)
    assert max_kl(old, old) == 0.0
    assert max_kl(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])) == pytest.approx(np.log(2))
    assert max_kl(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])) == np.inf


@pytest.mark.parametrize("gamma", [0.05, 0.5, 0.95])
def test_one_iteration_of_algorithm_one_maximises_the_bound(gamma):
    mdp, policy, rng = drawn(7, 3, 3, gamma)
    exact = solve(mdp, policy)
    new = improved(mdp, exact)
    np.testing.assert_allclose(new.sum(-1), 1.0)
    best = lower_bound(mdp, exact, new)
    assert best > exact.eta + 1e-6
    # The objective is concave in the policy, so nothing better nearby is nothing better at all.
    for size in (1e-5, 1e-3, 1e-1):
        for _ in range(100):
            other = new * np.exp(size * rng.standard_normal(new.shape))
            other /= other.sum(-1, keepdims=True)
            assert lower_bound(mdp, exact, other) <= best + 1e-9


def test_algorithm_one_never_lowers_the_return():
    mdp, policy, _ = drawn(11, gamma=0.6)
    walk = algorithm_one(mdp, policy, 12)
    eta = np.array([exact.eta for exact in walk])
    assert len(walk) == 13 and (np.diff(eta) > 0).all()
    for before, after in itertools.pairwise(walk):
        assert after.eta >= lower_bound(mdp, before, after.policy) - 1e-12


def test_a_policy_that_cannot_be_improved_stays():
    flat = MDP(np.full((2, 2, 2), 0.5), np.ones((2, 2)), np.array([0.5, 0.5]), 0.9)
    policy = np.array([[0.3, 0.7], [0.5, 0.5]])
    np.testing.assert_allclose(improved(flat, solve(flat, policy)), policy)
    # One state with nothing to choose beside one with something.
    partly = MDP(flat.transitions, np.array([[1.0, 1.0], [0.0, 1.0]]), flat.start, 0.9)
    new = improved(partly, solve(partly, policy))
    np.testing.assert_allclose(new[0], policy[0])
    assert new[1, 1] > policy[1, 1]
    # No future: the penalty is gone, and the step is not divided by it.
    blind = MDP(flat.transitions, flat.rewards, flat.start, 0.0)
    np.testing.assert_allclose(improved(blind, solve(blind, policy)), policy)


def test_line_of_policies_is_what_each_point_gives_alone():
    mdp, old, rng = drawn(5)
    target = softmax_policy(np.log(old) + 0.5 * rng.standard_normal(old.shape))
    line = along(mdp, old, target, [-0.5, 0.0, 1.0, 1.7])
    exact = solve(mdp, old)
    assert line.eta[1] == pytest.approx(exact.eta) and line.bound[1] == pytest.approx(exact.eta)
    assert line.eta[2] == pytest.approx(solve(mdp, target).eta)
    assert line.surrogate[2] == pytest.approx(surrogate(exact, target))
    assert line.bound[2] == pytest.approx(lower_bound(mdp, exact, target))
    assert line.max_kls[2] == pytest.approx(max_kl(old, target))
    assert line.max_kls[3] > line.max_kls[2] > line.max_kls[1] == pytest.approx(0.0, abs=1e-15)
    assert (line.bound <= line.eta + 1e-12).all() and line.penalty == pytest.approx(penalty(mdp, exact))


# The torch policies on the same ground


def shuffles(states: int = 4, actions: int = 3) -> MDP:
    """Each action permutes the states, so that a uniform policy visits all of them alike."""
    rng = np.random.default_rng(3)
    transitions = np.stack([np.eye(states)[rng.permutation(states)] for _ in range(actions)], 1)
    return MDP(transitions, rng.standard_normal((states, actions)), np.full(states, 1 / states), 0.8)


def test_enumerated_vine_at_every_state_is_the_exact_surrogate():
    mdp = shuffles()
    exact = solve(mdp, np.full((4, 3), 1 / 3))
    np.testing.assert_allclose(exact.visits, 1 / 4 / (1 - 0.8))
    policy = CategoricalPolicy(4, 3).double()
    policy.set_flat(np.zeros(policy.size))
    observations = torch.eye(4, dtype=DOUBLE)
    vine = EnumeratedVine(torch.from_numpy(exact.advantages))
    rng = np.random.default_rng(0)
    theta = torch.from_numpy(rng.standard_normal(policy.size))
    parts = policy.distribution(observations, theta)
    new = parts[0].softmax(-1).numpy()
    exact_gain = surrogate(exact, new) - exact.eta
    assert float(vine(policy, parts)) / (1 - 0.8) == pytest.approx(exact_gain)
    # Q in place of A shifts it by the mean of V and changes no gradient.
    with_q = EnumeratedVine(torch.from_numpy(exact.action_values))
    assert float(with_q(policy, parts)) == pytest.approx(
        float(vine(policy, parts)) + float(exact.values.mean())
    )
    here = Linearisation(policy, observations)
    g = surrogate_gradient(policy, vine, here)[1]
    torch.testing.assert_close(g, surrogate_gradient(policy, with_q, here)[1])
    # Its gradient by the logits of the table is that of the true return.
    weights = g[: 3 * 4].reshape(3, 4).T.numpy()
    np.testing.assert_allclose(weights / (1 - 0.8), policy_gradient(exact), atol=1e-12)
