"""The Fisher product against the Hessian of the KL; the step, its length, its acceptance; what is probed around it."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from torch import distributions

from engines.trpo.estimators import SampledVine, SinglePath
from engines.trpo.policies import CategoricalPolicy, GaussianPolicy
from engines.trpo.trust_region import FisherProduct, Report, probe, probe_plane, update
from tests.engines.trpo.lively import DOUBLE, generator, lively


def gaussian(hidden=(4,)):
    return lively(GaussianPolicy(3, 2, hidden))


def categorical(hidden=(4,)):
    return lively(CategoricalPolicy(3, 4, hidden))


def batch(policy, count=60, seed=1, dtype=DOUBLE):
    """States, and the single-path surrogate of a task in which some actions are better than others."""
    observations = torch.randn(count, 3, generator=generator(seed), dtype=DOUBLE).to(dtype)
    with torch.no_grad():
        parts = policy.distribution(observations)
        actions = policy.sample(parts, generator(seed + 1))
        log_q = policy.log_prob(parts, actions)
    aim = observations[:, 0]
    values = -(actions - aim[:, None]).square().sum(-1) if actions.dim() == 2 else aim * actions
    return observations, SinglePath(actions, log_q, values)


def kl_hessian(policy, observations, theta_old, theta) -> torch.Tensor:
    """Second derivative by theta of mean KL( theta_old || theta ): the slow road to the Fisher matrix."""
    old = tuple(part.detach() for part in policy.distribution(observations, theta_old))
    return torch.autograd.functional.hessian(
        lambda t: policy.kl(old, policy.distribution(observations, t)).mean(), theta
    )


def matrix(product: FisherProduct, size: int) -> torch.Tensor:
    return torch.stack([product(unit) for unit in torch.eye(size, dtype=DOUBLE)])


def kl_of_torch(policy, observations, old, new) -> torch.Tensor:
    def of(theta):
        parts = policy.distribution(observations, theta)
        if isinstance(policy, CategoricalPolicy):
            return distributions.Categorical(logits=parts[0])
        return distributions.Independent(distributions.Normal(parts[0], parts[1].exp()), 1)

    return distributions.kl_divergence(of(old), of(new))


# The Fisher matrix


@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
@pytest.mark.parametrize("make", [gaussian, categorical])
def test_fisher_product_is_the_hessian_of_the_kl_at_the_old_policy(make, hidden):
    policy = make(hidden)
    observations = torch.randn(12, 3, generator=generator(), dtype=DOUBLE)
    theta = policy.flat()
    a = matrix(FisherProduct(policy, observations), policy.size)
    torch.testing.assert_close(a, kl_hessian(policy, observations, theta, theta), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(a, a.T)
    assert torch.linalg.eigvalsh(a).min() > -1e-12
    for seed in range(20):
        y = torch.randn(policy.size, generator=generator(seed), dtype=DOUBLE)
        assert float(y @ FisherProduct(policy, observations)(y)) >= 0.0


def test_away_from_the_old_policy_the_hessian_has_another_term():
    policy = gaussian()
    observations = torch.randn(12, 3, generator=generator(), dtype=DOUBLE)
    theta = policy.flat()
    policy.set_flat(theta + 0.2)
    a = matrix(FisherProduct(policy, observations), policy.size)
    away = kl_hessian(policy, observations, theta, theta + 0.2)
    assert (a - away).abs().max() > 0.01 * a.abs().max()


def test_curvature_of_the_log_std_is_two_in_every_dimension():
    policy = gaussian()
    product = FisherProduct(policy, torch.randn(12, 3, generator=generator(), dtype=DOUBLE))
    for index in (policy.size - 2, policy.size - 1):
        unit = torch.zeros(policy.size, dtype=DOUBLE)
        unit[index] = 1.0
        torch.testing.assert_close(product(unit), 2.0 * unit)


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_empirical_fisher_matrix_is_the_outer_product_of_scores(make):
    policy = make()
    observations, surrogate = batch(policy, 10)
    scores = []
    for observation, action in zip(observations, surrogate.actions, strict=True):
        theta = policy.flat().requires_grad_()
        log_prob = policy.log_prob(policy.distribution(observation[None], theta), action[None])
        scores.append(torch.autograd.grad(log_prob.sum(), theta)[0])
    stacked = torch.stack(scores)
    expected = stacked.T @ stacked / 10
    torch.testing.assert_close(
        matrix(FisherProduct(policy, observations, actions=surrogate.actions), policy.size), expected
    )
    # Several actions for each state: the mean over them too.
    twice = surrogate.actions.unsqueeze(1).repeat_interleave(2, 1)
    torch.testing.assert_close(
        matrix(FisherProduct(policy, observations, actions=twice), policy.size), expected
    )
    analytic = matrix(FisherProduct(policy, observations), policy.size)
    assert (analytic - expected).abs().max() > 0.01


def test_damping_is_added_to_the_diagonal():
    policy = gaussian()
    observations = torch.randn(12, 3, generator=generator(), dtype=DOUBLE)
    v = torch.randn(policy.size, generator=generator(), dtype=DOUBLE)
    plain, damped = FisherProduct(policy, observations), FisherProduct(policy, observations, 0.3)
    torch.testing.assert_close(damped(v), plain(v) + 0.3 * v)
    torch.testing.assert_close(damped.plain(v), plain(v))


# The step


@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("make", [gaussian, categorical])
def test_full_step_has_the_length_that_the_operator_of_cg_allows(make, damping):
    policy = make()
    observations, surrogate = batch(policy)
    product = FisherProduct(policy, observations, damping)
    a = matrix(product, policy.size)
    report = update(
        policy, observations, surrogate, delta=0.02, damping=damping, cg_iterations=4, fisher_fraction=1.0
    )
    step = torch.from_numpy(report.step)
    assert 0.5 * float(step @ a @ step) == pytest.approx(0.02, rel=1e-9)
    assert report.predicted_kl == pytest.approx(0.02, rel=1e-9)
    s = torch.from_numpy(report.direction)
    assert report.curvature == pytest.approx(float(s @ a @ s))
    assert report.undamped_curvature == pytest.approx(float(s @ a @ s - damping * s @ s))
    np.testing.assert_allclose(report.step, report.beta * report.direction)
    g = torch.from_numpy(report.gradient)
    assert report.gradient_norm == pytest.approx(float(g.norm()))
    assert report.residuals[0] == pytest.approx(report.gradient_norm)
    assert report.residuals[-1] == pytest.approx(float((a @ s - g).norm()), rel=1e-6)
    assert len(report.residuals) == 5


@pytest.mark.parametrize("constraint", ["mean", "max"])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("make", [gaussian, categorical])
def test_accepted_step_raises_the_surrogate_and_keeps_to_the_kl(make, dtype, constraint):
    policy = make().to(dtype)
    observations, surrogate = batch(policy, dtype=dtype)
    old = policy.flat()
    report = update(policy, observations, surrogate, constraint=constraint, fisher_fraction=1.0)
    new = policy.flat()
    assert report.reason == "" and report.accepted == len(report.fractions) - 1
    kl = kl_of_torch(policy, observations, old, new).detach()
    limited = kl.mean() if constraint == "mean" else kl.max()
    assert 0.0 < float(limited) <= 0.01 * (1 + 1e-4)
    close = 1e-9 if dtype is DOUBLE else 1e-3
    assert report.mean_kl == pytest.approx(float(kl.mean()), rel=close)
    assert report.max_kl == pytest.approx(float(kl.max()), rel=close)
    # The other direction is another number: this is old from new.
    assert float(kl_of_torch(policy, observations, new, old).mean()) != pytest.approx(
        report.mean_kl, rel=close
    )
    after = float(surrogate(policy, policy.distribution(observations)))
    assert report.surrogate_after == pytest.approx(after, rel=close)
    assert report.actual > 0 and report.surrogate_before == pytest.approx(
        float(surrogate.values.mean()), rel=1e-5
    )
    fraction = report.fractions[report.accepted]
    np.testing.assert_allclose(new.numpy(), report.theta_old + fraction * report.step, rtol=1e-5, atol=1e-7)
    assert report.predicted == pytest.approx(fraction * float(report.gradient @ report.step), rel=1e-4)
    entropy = policy.entropy(policy.distribution(observations)).mean()
    assert report.entropy_after == pytest.approx(float(entropy), rel=1e-5)
    assert report.entropy_before != report.entropy_after


def test_predicted_is_the_actual_improvement_of_a_small_step():
    policy = gaussian()
    observations, surrogate = batch(policy)
    report = update(policy, observations, surrogate, delta=1e-7, fisher_fraction=1.0)
    assert report.accepted is not None and report.predicted == pytest.approx(report.actual, rel=0.01)


def test_better_steps_beyond_the_limit_are_refused():
    """The surrogate alone would take the full step: the measured KL forbids it."""
    policy = gaussian()
    observations, surrogate = batch(policy, seed=21)
    report = update(policy, observations, surrogate, delta=0.5, fisher_fraction=1.0, cg_iterations=4)
    assert report.accepted == 1
    assert report.surrogates[0] > report.surrogates[1] > report.surrogate_before
    assert report.mean_kls[0] > 0.5 >= report.mean_kls[1]
    np.testing.assert_allclose(report.fractions, [1.0, 0.5])


def test_worse_steps_within_the_limit_are_refused():
    policy = categorical()
    observations, surrogate = batch(policy, seed=21)
    report = update(policy, observations, surrogate, delta=0.5, fisher_fraction=1.0, cg_iterations=4)
    assert report.accepted == 1 and (report.mean_kls < 0.5).all()
    assert report.surrogates[0] < report.surrogate_before < report.surrogates[1]


def test_max_constraint_is_the_stricter_one():
    policy = gaussian()
    observations, surrogate = batch(policy)
    theta = policy.flat()
    mean = update(policy, observations, surrogate, fisher_fraction=1.0)
    policy.set_flat(theta)
    worst = update(policy, observations, surrogate, fisher_fraction=1.0, constraint="max")
    assert mean.max_kl > 0.01 >= worst.max_kl
    np.testing.assert_array_equal(mean.step, worst.step)


def test_kl_is_measured_on_all_states_not_on_those_of_the_fisher_matrix():
    policy = gaussian()
    observations, surrogate = batch(policy, 40)
    # The states of the Fisher matrix are the quiet ones: every fourth.
    observations[torch.arange(40) % 4 != 0] *= 6.0
    report = update(policy, observations, surrogate, fisher_fraction=0.25)
    assert report.fisher_states == 10 and report.states == 40
    theta = torch.from_numpy(report.theta_old)
    tried = theta + report.fractions[0] * torch.from_numpy(report.step)
    kl = kl_of_torch(policy, observations, theta, tried)
    assert report.mean_kls[0] == pytest.approx(float(kl.mean()))
    assert float(kl.mean()) > 2 * float(kl[::4].mean())


class Misleading:
    """Falls along its gradient."""

    def __call__(self, policy, parameters):
        value = parameters[0].sum()
        return 2.0 * value.detach() - value


def test_parameters_are_untouched_when_no_step_is_good_enough():
    policy = gaussian()
    observations, _ = batch(policy)
    theta = policy.flat()
    report = update(policy, observations, Misleading(), backtracks=6, shrink=0.7)
    assert torch.equal(policy.flat(), theta)
    assert report.accepted is None and report.reason
    np.testing.assert_allclose(report.fractions, 0.7 ** np.arange(6))
    assert report.actual == 0.0 and report.mean_kl == 0.0 and report.predicted > 0
    assert report.entropy_after == report.entropy_before
    np.testing.assert_array_equal(report.theta_old, theta.numpy())


class Ahead:
    """The surrogate until the first candidate, then NaN."""

    def __init__(self, surrogate):
        self.surrogate, self.calls = surrogate, 0

    def __call__(self, policy, parameters):
        self.calls += 1
        value = self.surrogate(policy, parameters)
        return value if self.calls == 1 else value * float("nan")


@pytest.mark.parametrize("rule", ["trpo", "natural", "gradient"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["observations", "values", "actions", "log_q", "ahead"])
def test_what_is_no_number_gives_no_step(rule, bad, where):
    policy = gaussian()
    observations, surrogate = batch(policy, 20)
    theta = policy.flat()
    if where == "observations":
        observations[3, 1] = bad
    elif where == "ahead":
        surrogate = Ahead(surrogate)
    else:
        spoilt = getattr(surrogate, where).clone()
        spoilt[3] = -bad if where == "log_q" else bad
        surrogate = dataclasses.replace(surrogate, **{where: spoilt})
    report = update(policy, observations, surrogate, rule=rule)
    assert torch.equal(policy.flat(), theta)
    assert report.accepted is None and report.reason.endswith(".") and report.mean_kl == 0.0
    assert ("observation" in report.reason) == (where == "observations")


def test_no_advantage_gives_no_step():
    policy = gaussian()
    observations, surrogate = batch(policy)
    theta = policy.flat()
    report = update(
        policy, observations, dataclasses.replace(surrogate, values=torch.zeros(60, dtype=DOUBLE))
    )
    assert torch.equal(policy.flat(), theta) and "gradient is zero" in report.reason


@pytest.mark.parametrize("rule", ["trpo", "natural"])
def test_no_direction_gives_no_step(rule):
    policy = gaussian()
    observations, surrogate = batch(policy)
    theta = policy.flat()
    report = update(policy, observations, surrogate, rule=rule, cg_iterations=0)
    assert torch.equal(policy.flat(), theta) and report.accepted is None and "curvature" in report.reason


def test_the_way_of_conjugate_gradients_is_kept_on_request():
    policy = gaussian()
    observations, surrogate = batch(policy)
    theta = policy.flat()
    assert update(policy, observations, surrogate, cg_iterations=3).iterates is None
    policy.set_flat(theta)
    report = update(policy, observations, surrogate, cg_iterations=3, keep_iterates=True)
    assert report.iterates.shape == (4, policy.size) and not report.iterates[0].any()
    np.testing.assert_array_equal(report.iterates[-1], report.direction)


def test_overflowing_fixed_step_is_not_taken():
    policy = gaussian().float()
    observations, surrogate = batch(policy, dtype=torch.float32)
    theta = policy.flat()
    report = update(policy, observations, surrogate, rule="gradient", step_size=1e30)
    assert torch.equal(policy.flat(), theta) and report.accepted is None and report.reason


@pytest.mark.parametrize("rule", ["natural", "gradient"])
def test_fixed_steps_are_taken_whatever_the_kl(rule):
    policy = gaussian()
    observations, surrogate = batch(policy)
    theta = policy.flat()
    a = matrix(FisherProduct(policy, observations, 0.01), policy.size)
    report = update(
        policy, observations, surrogate, rule=rule, step_size=0.3, damping=0.01, fisher_fraction=1.0,
        cg_iterations=60, cg_tolerance=1e-20,
    )  # fmt: skip
    g = torch.from_numpy(report.gradient)
    direction = torch.linalg.solve(a, g) if rule == "natural" else g
    torch.testing.assert_close(policy.flat(), theta + 0.3 * direction, rtol=1e-6, atol=1e-8)
    assert report.mean_kl > report.delta and report.accepted == 0 and report.fractions.tolist() == [1.0]
    assert report.beta == 0.3 and report.predicted == pytest.approx(0.3 * float(g @ direction))
    assert (len(report.residuals) == 0) == (rule == "gradient")


def test_the_unit_of_the_reward_does_not_matter():
    policy = gaussian()
    observations, surrogate = batch(policy)
    theta = policy.flat()
    one = update(policy, observations, surrogate, fisher_fraction=1.0)
    policy.set_flat(theta)
    # A power of two, so that nothing is rounded differently.
    scaled = dataclasses.replace(surrogate, values=2.0**-10 * surrogate.values)
    other = update(policy, observations, scaled, fisher_fraction=1.0)
    np.testing.assert_allclose(other.step, one.step, rtol=1e-12)
    # Not standardised on the way: the gradient is as small as the rewards are.
    np.testing.assert_array_equal(other.gradient, 2.0**-10 * one.gradient)


def test_states_of_the_fisher_matrix_come_from_the_generator_or_evenly():
    policy = gaussian()
    observations, surrogate = batch(policy, 50)
    theta = policy.flat()

    def step(stream):
        policy.set_flat(theta)
        return update(policy, observations, surrogate, generator=stream, fisher_fraction=0.3).step

    np.testing.assert_array_equal(step(generator(1)), step(generator(1)))
    assert not np.array_equal(step(generator(1)), step(generator(2)))
    np.testing.assert_array_equal(step(None), step(None))
    even = torch.tensor([index * 50 // 15 for index in range(15)])
    policy.set_flat(theta)
    a = matrix(FisherProduct(policy, observations[even]), policy.size)
    full = torch.from_numpy(step(None))
    assert 0.5 * float(full @ a @ full) == pytest.approx(0.01)


def test_empirical_fisher_step_uses_the_sampled_scores():
    policy = gaussian()
    observations, surrogate = batch(policy)
    a = matrix(FisherProduct(policy, observations, 0.1, surrogate.actions), policy.size)
    report = update(
        policy, observations, surrogate, fisher="empirical", actions=surrogate.actions, damping=0.1,
        fisher_fraction=1.0,
    )  # fmt: skip
    step = torch.from_numpy(report.step)
    assert 0.5 * float(step @ a @ step) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="actions"):
        update(policy, observations, surrogate, fisher="empirical")


def test_vine_surrogates_go_through_the_same_update():
    policy = gaussian()
    observations = torch.randn(40, 3, generator=generator(), dtype=DOUBLE)
    with torch.no_grad():
        parts = tuple(part[:, None].expand(-1, 4, -1) for part in policy.distribution(observations))
        actions = policy.sample(parts, generator(1))
        log_q = policy.log_prob(parts, actions)
    vine = SampledVine(actions, log_q, -(actions - 1.0).square().sum(-1))
    report = update(policy, observations, vine, fisher_fraction=0.5, fisher="empirical", actions=actions)
    assert report.accepted is not None and report.actual > 0


@pytest.mark.parametrize(
    "wrong", [{"delta": 0.0}, {"fisher_fraction": 0.0}, {"backtracks": 0}, {"shrink": 1.0}, {"damping": -1.0}]
)
def test_impossible_options_are_refused(wrong):
    policy = gaussian()
    observations, surrogate = batch(policy)
    with pytest.raises(ValueError, match="not"):
        update(policy, observations, surrogate, **wrong)


def test_report_is_plain_data():
    policy = gaussian().float()
    observations, surrogate = batch(policy, dtype=torch.float32)
    report = update(policy, observations, surrogate)
    for field in dataclasses.fields(Report):
        assert isinstance(getattr(report, field.name), str | int | float | np.ndarray | None)
    again = pickle.loads(pickle.dumps(report))
    policy.set_flat(again.theta_old)
    assert policy.flat().numpy().tobytes() == report.theta_old.tobytes()


def test_no_global_randomness():
    policy = gaussian()
    observations, surrogate = batch(policy)
    state = torch.get_rng_state()
    update(policy, observations, surrogate, generator=generator())
    assert torch.equal(torch.get_rng_state(), state)


def test_repeated_updates_solve_a_small_task():
    """Actions near the first observation are good; it is learned with real samples, from the paper's objective."""
    policy = GaussianPolicy(3, 1, (8,), generator=generator(), initial_log_std=0.0)
    deviations = []
    for round_ in range(40):
        observations = torch.randn(400, 3, generator=generator(100 + round_))
        with torch.no_grad():
            parts = policy.distribution(observations)
            actions = policy.sample(parts, generator(200 + round_))
            log_q = policy.log_prob(parts, actions)
        deviations.append(float((actions[:, 0] - observations[:, 0]).square().mean()))
        values = -(actions[:, 0] - observations[:, 0]).square()
        report = update(
            policy, observations, SinglePath(actions, log_q, values), delta=0.05, damping=1e-3,
            fisher_fraction=1.0,
        )  # fmt: skip
        assert report.mean_kl <= 0.05
    assert np.mean(deviations[:3]) > 1.5 and np.mean(deviations[-3:]) < 0.4 * np.mean(deviations[:3])


# Around the step


def test_probe_measures_the_line_and_leaves_the_policy_alone():
    policy = gaussian()
    observations, surrogate = batch(policy)
    report = update(policy, observations, surrogate, fisher_fraction=1.0)
    theta = policy.flat()
    fractions = [-1.0, 0.0, *report.fractions.tolist(), 3.0]
    line = probe(policy, observations, surrogate, report.theta_old, report.step, fractions)
    assert torch.equal(policy.flat(), theta)
    # What the line search saw is on the line; beyond it the line goes on.
    np.testing.assert_allclose(line.surrogates[2:-1], report.surrogates)
    np.testing.assert_allclose(line.mean_kls[2:-1], report.mean_kls)
    np.testing.assert_allclose(line.max_kls[2:-1], report.max_kls)
    np.testing.assert_allclose(line.quadratic, 0.01 * line.fractions**2, rtol=1e-9)
    assert line.surrogates[1] == pytest.approx(report.surrogate_before) and line.mean_kls[1] == 0.0
    for f, kl in zip(line.fractions, line.mean_kls, strict=True):
        there = torch.from_numpy(report.theta_old + f * report.step)
        expected = kl_of_torch(policy, observations, torch.from_numpy(report.theta_old), there).mean()
        assert kl == pytest.approx(float(expected), abs=1e-12)
    small = probe(policy, observations, surrogate, report.theta_old, report.step, [1e-3])
    assert small.mean_kls[0] == pytest.approx(small.quadratic[0], rel=0.01)
    given = probe(
        policy, observations, surrogate, report.theta_old, report.step, [2.0], 2 * report.predicted_kl
    )
    assert given.quadratic[0] == pytest.approx(0.04)


def test_probe_takes_a_part_of_the_states():
    policy = gaussian()
    observations, surrogate = batch(policy)
    report = update(policy, observations, surrogate)
    some = torch.arange(0, 60, 3)
    line = probe(policy, observations[some], surrogate.part(some), report.theta_old, report.step, [0.5])
    whole = probe(policy, observations, surrogate, report.theta_old, report.step, [0.5])
    assert line.mean_kls[0] != whole.mean_kls[0]
    assert line.max_kls[0] <= whole.max_kls[0]


def test_plane_holds_both_directions_and_its_metric_is_the_fisher_matrix_on_it():
    policy = gaussian()
    observations, surrogate = batch(policy)
    a = matrix(FisherProduct(policy, observations), policy.size).numpy()
    report = update(policy, observations, surrogate, fisher_fraction=1.0)
    theta = policy.flat()
    x, y = np.array([-1.0, 0.0, 1.0]), np.array([0.0, 0.5, 1.0, 2.0])
    plane = probe_plane(policy, observations, surrogate, report.theta_old, report.gradient, report.step, x, y)
    assert torch.equal(policy.flat(), theta)
    assert plane.surrogates.shape == plane.mean_kls.shape == plane.max_kls.shape == (4, 3)
    np.testing.assert_allclose(plane.second, report.step)
    axes = np.stack([plane.first, plane.second])
    np.testing.assert_allclose(plane.metric, axes @ a @ axes.T, rtol=1e-9)
    # Both axes end on the ellipse of the trust region.
    np.testing.assert_allclose(0.5 * np.diag(plane.metric), 0.01)
    assert np.dot(plane.first, report.gradient) == pytest.approx(
        np.linalg.norm(plane.first) * report.gradient_norm
    )
    up = probe(policy, observations, surrogate, report.theta_old, report.step, y)
    np.testing.assert_allclose(plane.surrogates[:, 1], up.surrogates)
    np.testing.assert_allclose(plane.mean_kls[:, 1], up.mean_kls)
    across = probe(policy, observations, surrogate, report.theta_old, plane.first, x)
    np.testing.assert_allclose(plane.surrogates[0], across.surrogates)
    np.testing.assert_allclose(plane.max_kls[0], across.max_kls)
