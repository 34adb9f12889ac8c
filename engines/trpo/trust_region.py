"""One update of a policy within a trust region, and what lies along and around its step; torch, in the training worker.

Schulman et al. 2015, section 6 and appendix C: maximise L(theta) with mean KL( old || new ) <= delta. The direction is
s = A^-1 g by conjugate gradients, A the Fisher matrix, averaged over states; the step is beta s with
beta = sqrt(2 delta / s^T A s); then it is shrunk until L rises and the measured KL keeps to delta.

Candidates are evaluated without touching the policy, which changes only when a step is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from engines.trpo.conjugate_gradient import conjugate_gradient
from engines.trpo.estimators import Surrogate, surrogate_gradient
from engines.trpo.policies import Linearisation, Parts, Policy

Rule = Literal["trpo", "natural", "gradient"]

AT_ONCE = 32
"""Points of a plane that are measured together, which bounds the memory for it."""
Constraint = Literal["mean", "max"]
Fisher = Literal["analytic", "empirical"]


class FisherProduct:
    """v -> (A + damping I) v, with A = mean_n J_n^T M_n J_n at the policy of this moment.

    M_n is the analytic Fisher matrix in the parts of the distribution, which integrates over actions. With ``actions`` it
    is the outer product of sampled scores instead: the paper's "empirical FIM" ablation.

    Parameters
    ----------
    policy : Policy
    observations : Tensor (N, O)
    damping : float
    actions : Tensor (N, ...) or (N, K, ...), optional
        One or K actions for each state.
    """

    def __init__(
        self, policy: Policy, observations: Tensor, damping: float = 0.0, actions: Tensor | None = None
    ) -> None:
        self.damping = damping
        self._policy = policy
        self._count = len(observations)
        self._linearisation = Linearisation(policy, observations)
        self._scores: Parts | None = None
        if actions is not None:
            if actions.dim() == 1 + policy.action_axes:
                actions = actions.unsqueeze(1)
            apart = tuple(part[:, None] for part in self._linearisation.parameters)
            with torch.no_grad():
                self._scores = policy.score(apart, actions)

    def __call__(self, vector: Tensor) -> Tensor:
        product = self.plain(vector)
        return product.add_(vector, alpha=self.damping) if self.damping else product

    @torch.no_grad()
    def plain(self, vector: Tensor) -> Tensor:
        """A v, without the damping."""
        change = self._linearisation.forward(vector)
        if self._scores is None:
            weighted = self._policy.metric(self._linearisation.parameters, change)
        else:
            along = sum(
                ((score * part[:, None]).sum(-1, keepdim=True) for score, part in _zip(self._scores, change)),
                start=change[0].new_zeros(()),
            )
            weighted = tuple((along * score).mean(1) for score in self._scores)
        return self._linearisation.backward(weighted).div_(self._count)


@dataclass(frozen=True)
class Report:
    """What one update did, in plain numbers and numpy arrays.

    Attributes
    ----------
    rule : {"trpo", "natural", "gradient"}
    reason : str
        Why no step was taken, in a sentence; empty when one was.
    states, fisher_states : int
        In the batch, and among them in A.
    delta, damping : float
    constraint : {"mean", "max"}
    theta_old, gradient, direction, step : array (P,)
        Before; g; s, which is g itself for "gradient"; beta s, the full step before it is shrunk.
    gradient_norm : float
    residuals : array (K + 1,)
        ||A s - g|| by conjugate gradient iteration; empty for "gradient".
    iterates : array (K + 1, P) or None
        The way to s, when it was asked for.
    curvature : float
        s^T (A + damping I) s: the same operator as in conjugate gradients, and the one beta is made of.
    undamped_curvature : float
        s^T A s.
    beta : float
        Factor on s: sqrt(2 delta / curvature), or the fixed step size.
    fractions, surrogates, mean_kls, max_kls : array (B,)
        Each step tried, as a part of the full one, and what was measured there on all states of the batch.
    accepted : int or None
        Index of the step that was taken.
    surrogate_before, surrogate_after : float
    predicted : float
        g^T step of the step taken, or of the full one when none was.
    mean_kl, max_kl : float
        KL( old || new ) after; 0 when no step was taken.
    entropy_before, entropy_after : float
        Mean over states, nats.
    """

    rule: Rule
    reason: str
    states: int
    fisher_states: int
    delta: float
    damping: float
    constraint: Constraint
    theta_old: np.ndarray
    gradient: np.ndarray
    direction: np.ndarray
    step: np.ndarray
    gradient_norm: float
    residuals: np.ndarray
    iterates: np.ndarray | None
    curvature: float
    undamped_curvature: float
    beta: float
    fractions: np.ndarray
    surrogates: np.ndarray
    mean_kls: np.ndarray
    max_kls: np.ndarray
    accepted: int | None
    surrogate_before: float
    surrogate_after: float
    predicted: float
    mean_kl: float
    max_kl: float
    entropy_before: float
    entropy_after: float

    @property
    def actual(self) -> float:
        """How much the surrogate rose."""
        return self.surrogate_after - self.surrogate_before

    @property
    def predicted_kl(self) -> float:
        """The quadratic model of the full step: 1/2 beta^2 s^T (A + damping I) s, which is delta for "trpo"."""
        return 0.5 * self.beta**2 * self.curvature


def update(
    policy: Policy,
    observations: Tensor,
    surrogate: Surrogate,
    *,
    rule: Rule = "trpo",
    delta: float = 0.01,
    cg_iterations: int = 10,
    cg_tolerance: float = 1e-10,
    damping: float = 0.0,
    fisher_fraction: float = 0.1,
    generator: torch.Generator | None = None,
    backtracks: int = 10,
    shrink: float = 0.5,
    step_size: float = 0.1,
    constraint: Constraint = "mean",
    fisher: Fisher = "analytic",
    actions: Tensor | None = None,
    keep_iterates: bool = False,
) -> Report:
    """Improve the policy by one step, or leave it as it is, bit for bit.

    Parameters
    ----------
    policy : Policy
    observations : Tensor (N, O)
        The states, all of equal weight; those that ``surrogate`` was made for.
    surrogate : Surrogate
        L; at the present policy its ratios are taken to be what they are, whoever drew the actions.
    rule : {"trpo", "natural", "gradient"}
        "natural" is theta + step_size A^-1 g and "gradient" is theta + step_size g, both without a line search.
    delta : float
        The limit on the KL, nats.
    cg_iterations, cg_tolerance
        See `conjugate_gradient`.
    damping : float
        Added to the diagonal of A, for the direction and for the length of the step alike; 0 in the paper.
    fisher_fraction : float
        Part of the states over which A is averaged. Gradient, surrogate and KL always take all of them.
    generator : torch.Generator, optional
        Chooses these states, on its own device; without it they are evenly spaced.
    backtracks : int
        How many steps are tried at most, the full one among them.
    shrink : float
        From each try to the next.
    step_size : float
        Of the rules with a fixed step.
    constraint : {"mean", "max"}
        Which KL over the states must keep to delta. The direction comes from the mean one either way.
    fisher : {"analytic", "empirical"}
    actions : Tensor (N, ...) or (N, K, ...), optional
        Drawn from the policy, one or K for each state; only the empirical Fisher matrix needs them.
    keep_iterates : bool
        Of conjugate gradients, for a picture.
    """
    _check(delta, fisher_fraction, backtracks, shrink, damping)
    if fisher == "empirical" and actions is None:
        raise ValueError("the empirical Fisher matrix needs the actions that were drawn")
    old_theta = policy.flat()
    linearisation = Linearisation(policy, observations)
    old = linearisation.parameters
    before, gradient = surrogate_gradient(policy, surrogate, linearisation)
    entropy = float(policy.entropy(old).mean())
    count = len(observations)
    chosen = _chosen(count, fisher_fraction, generator, observations.device)
    zero, none = torch.zeros_like(gradient).cpu().numpy(), np.zeros(0)
    report = Report(
        rule=rule,
        reason="",
        states=count,
        fisher_states=count if chosen is None else len(chosen),
        delta=delta,
        damping=damping,
        constraint=constraint,
        theta_old=old_theta.cpu().numpy(),
        gradient=gradient.cpu().numpy(),
        direction=zero,
        step=zero,
        gradient_norm=float(torch.linalg.vector_norm(gradient)),
        residuals=none,
        iterates=None,
        curvature=0.0,
        undamped_curvature=0.0,
        beta=0.0,
        fractions=none,
        surrogates=none,
        mean_kls=none,
        max_kls=none,
        accepted=None,
        surrogate_before=before,
        surrogate_after=before,
        predicted=0.0,
        mean_kl=0.0,
        max_kl=0.0,
        entropy_before=entropy,
        entropy_after=entropy,
    )
    if not bool(torch.isfinite(observations).all()):
        return replace(report, reason="An observation is not a finite number.")
    if not (math.isfinite(before) and math.isfinite(report.gradient_norm)):
        return replace(report, reason="The surrogate or its gradient is not a finite number.")
    if report.gradient_norm == 0.0:
        return replace(report, reason="The gradient is zero.")

    product = FisherProduct(
        policy,
        observations if chosen is None else observations[chosen],
        damping,
        None if fisher == "analytic" else actions if chosen is None or actions is None else actions[chosen],
    )
    direction = gradient
    if rule != "gradient":
        solution = conjugate_gradient(product, gradient, cg_iterations, cg_tolerance, keep=keep_iterates)
        direction = solution.x
        report = replace(report, residuals=solution.residuals, iterates=solution.iterates)
    curvature = float(direction @ product(direction))
    report = replace(
        report,
        direction=direction.cpu().numpy(),
        curvature=curvature,
        undamped_curvature=curvature - damping * float(direction @ direction),
    )
    if not (bool(torch.isfinite(direction).all()) and math.isfinite(curvature)):
        return replace(report, reason="The direction is not a finite number.")
    if rule != "gradient" and curvature <= 0.0:
        return replace(report, reason="The Fisher matrix has no curvature along the direction.")
    beta = math.sqrt(2.0 * delta / curvature) if rule == "trpo" else step_size
    step = beta * direction
    slope = float(gradient @ step)
    report = replace(report, beta=beta, step=step.cpu().numpy(), predicted=slope)

    searches = rule == "trpo"
    tried: list[tuple[float, float, float, float]] = []
    for index in range(backtracks if searches else 1):
        fraction = shrink**index
        theta = old_theta + fraction * step
        value, mean_kl, max_kl, new = _measured(policy, observations, surrogate, old, theta)
        tried.append((fraction, value, mean_kl, max_kl))
        report = _with_tries(report, tried)
        finite = all(map(math.isfinite, (value, mean_kl, max_kl))) and bool(torch.isfinite(theta).all())
        limited = mean_kl if constraint == "mean" else max_kl
        if finite and (not searches or (value > before and limited <= delta)):
            policy.set_flat(theta)
            return replace(
                report,
                accepted=index,
                surrogate_after=value,
                predicted=fraction * slope,
                mean_kl=mean_kl,
                max_kl=max_kl,
                entropy_after=float(policy.entropy(new).mean()),
            )
    if searches:
        return replace(
            report, reason="No step that was tried raised the surrogate within the limit on the KL."
        )
    return replace(report, reason="The step leads to numbers that are not finite.")


@dataclass(frozen=True)
class Probe:
    """What a step would do, by its length; arrays (F,).

    Attributes
    ----------
    fractions : array
        Of the full step; also beyond 1, and negative.
    surrogates, mean_kls, max_kls : array
        Measured.
    quadratic : array
        1/2 f^2 step^T A step, the model of the mean KL.
    """

    fractions: np.ndarray
    surrogates: np.ndarray
    mean_kls: np.ndarray
    max_kls: np.ndarray
    quadratic: np.ndarray


def probe(
    policy: Policy,
    observations: Tensor,
    surrogate: Surrogate,
    theta_old: Tensor | np.ndarray,
    step: Tensor | np.ndarray,
    fractions: Sequence[float] | np.ndarray,
    curvature: float | None = None,
) -> Probe:
    """The surrogate and the KL at theta_old + f step; the policy is not touched, and need not be at theta_old.

    Parameters
    ----------
    policy, observations, surrogate
        As in `update`; any part of the states will do, with the same part of the surrogate.
    theta_old, step : (P,)
        `Report.theta_old` and `Report.step`.
    fractions : sequence of float (F,)
    curvature : float, optional
        step^T A step, when the model that the update had is wanted: 2 `Report.predicted_kl`. None takes A from these
        states, without damping.
    """
    start, along = policy.vector(theta_old), policy.vector(step)
    if curvature is None:
        curvature = inner_products(policy, observations, start, [along])[0, 0]
    f = np.asarray(fractions, np.float64)
    old = _distribution(policy, observations, start)
    rows = [_measured(policy, observations, surrogate, old, start + x * along)[:3] for x in f.tolist()]
    values, mean_kls, max_kls = np.array(rows, np.float64).reshape(-1, 3).T
    return Probe(f, values, mean_kls, max_kls, 0.5 * f**2 * curvature)


@dataclass(frozen=True)
class Plane:
    """Surrogate and KL on the plane of two directions around the old policy.

    Point (x, y) is theta_old + x first + y second; rows of the grids go with ``y``, columns with ``x``.

    Attributes
    ----------
    x, y : array (X,), (Y,)
    surrogates, mean_kls, max_kls : array (Y, X)
    metric : array (2, 2)
        G of the quadratic model 1/2 (x, y) G (x, y)^T of the mean KL; the trust region is where that is below delta.
    first, second : array (P,)
        The plain gradient and the full step, both as long as the model allows: it gives delta at (+-1, 0) and (0, +-1).
    """

    x: np.ndarray
    y: np.ndarray
    surrogates: np.ndarray
    mean_kls: np.ndarray
    max_kls: np.ndarray
    metric: np.ndarray
    first: np.ndarray
    second: np.ndarray


def probe_plane(
    policy: Policy,
    observations: Tensor,
    surrogate: Surrogate,
    theta_old: Tensor | np.ndarray,
    gradient: Tensor | np.ndarray,
    step: Tensor | np.ndarray,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    delta: float = 0.01,
) -> Plane:
    """The plane of the plain gradient (across) and the natural one (up); the policy is not touched.

    A forward pass for each point: give it a part of the states, and the same part of the surrogate.

    Parameters
    ----------
    policy, observations, surrogate, theta_old
        As in `probe`.
    gradient, step : (P,)
        `Report.gradient` and `Report.step`. Their lengths do not matter: each is scaled to the edge of the trust region.
    x, y : sequence of float (X,), (Y,)
        -2 to 2 shows the region and as much around it.
    delta : float
    """
    start = policy.vector(theta_old)
    axes = [policy.vector(gradient), policy.vector(step)]
    metric = inner_products(policy, observations, start, axes)
    scales = [math.sqrt(2.0 * delta / g) if g > 0.0 else 0.0 for g in np.diag(metric).tolist()]
    first, second = (scale * axis for scale, axis in zip(scales, axes, strict=True))
    old = _distribution(policy, observations, start)
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    points = [start + a * first + b * second for b in up.tolist() for a in across.tolist()]

    def measured(theta: Tensor) -> Tensor:
        new = policy.distribution(observations, theta)
        kl = policy.kl(old, new)
        return torch.stack([surrogate(policy, new), kl.mean(), kl.max()])

    # All at once: hundreds of small passes one by one take ten times as long.
    with torch.no_grad():
        rows = torch.func.vmap(measured, chunk_size=AT_ONCE)(torch.stack(points)).double().cpu().numpy()
    values, mean_kls, max_kls = rows.reshape(len(up), len(across), 3).transpose(2, 0, 1)
    return Plane(
        across,
        up,
        values,
        mean_kls,
        max_kls,
        metric * np.outer(scales, scales),
        first.cpu().numpy(),
        second.cpu().numpy(),
    )


def _check(delta: float, fraction: float, backtracks: int, shrink: float, damping: float) -> None:
    if not (
        delta > 0.0 and 0.0 < fraction <= 1.0 and backtracks >= 1 and 0.0 < shrink < 1.0 and damping >= 0.0
    ):
        raise ValueError(
            "delta must be positive, fisher_fraction in (0, 1], backtracks at least 1, shrink in (0, 1), damping not "
            f"negative; not {delta}, {fraction}, {backtracks}, {shrink}, {damping}"
        )


def _chosen(
    count: int, fraction: float, generator: torch.Generator | None, device: torch.device
) -> Tensor | None:
    """Indices of the states that A is averaged over; None for all."""
    wanted = math.ceil(fraction * count)
    if wanted >= count:
        return None
    if generator is not None:
        return torch.randperm(count, generator=generator, device=generator.device)[:wanted].to(device)
    return torch.arange(wanted, device=device) * count // wanted


@torch.no_grad()
def _distribution(policy: Policy, observations: Tensor, theta: Tensor) -> Parts:
    return policy.distribution(observations, theta)


@torch.no_grad()
def _measured(
    policy: Policy, observations: Tensor, surrogate: Surrogate, old: Parts, theta: Tensor
) -> tuple[float, float, float, Parts]:
    """L, mean KL and max KL at theta, and the distribution there."""
    new = policy.distribution(observations, theta)
    kl = policy.kl(old, new)
    return float(surrogate(policy, new)), float(kl.mean()), float(kl.max()), new


def inner_products(policy: Policy, observations: Tensor, theta: Tensor, axes: list[Tensor]) -> np.ndarray:
    """a_i^T A a_j of the axes (P,), A at theta (P,) averaged over these states, without damping."""
    linearisation = Linearisation(policy, observations, theta)
    changes = [linearisation.forward(axis) for axis in axes]
    metric = [policy.metric(linearisation.parameters, change) for change in changes]
    return np.array(
        [
            [sum(float((a * b).sum()) for a, b in _zip(one, other)) / len(observations) for other in metric]
            for one in changes
        ]
    )


def _zip(one: Parts, other: Parts) -> list[tuple[Tensor, Tensor]]:
    return list(zip(one, other, strict=True))


def _with_tries(report: Report, tried: list[tuple[float, float, float, float]]) -> Report:
    fractions, surrogates, mean_kls, max_kls = np.array(tried, np.float64).T.copy()
    return replace(report, fractions=fractions, surrogates=surrogates, mean_kls=mean_kls, max_kls=max_kls)
