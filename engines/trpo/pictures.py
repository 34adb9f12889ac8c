"""TRPO's pictures as arrays: the stage, the step, the plane, the bound, the vine; computed on the worker's loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from engines.engine import numpy_stream
from engines.errors import StepError
from engines.figures import Axis, Figure, Heatmap, Lines, Mark, Panels, Plot, Rule, Scatter, VectorField
from engines.trpo import tabular
from engines.trpo.estimators import Surrogate
from engines.trpo.memory import Remembered
from engines.trpo.playback import (
    Cast,
    Projector,
    Recording,
    actions_film,
    picture_film,
    playback_film,
    rendered_film,
)
from engines.trpo.trust_region import Plane, Probe, Report, inner_products, probe, probe_plane
from engines.trpo.vine import VineBatch

if TYPE_CHECKING:
    from engines.trpo.engine import TrpoEngine, Weights

LINE = -0.5, 2.0
"""Fractions of the full step between which the line is measured, unless the hand goes beyond."""

POINTS = 51
"""Of the line, beside the steps that were tried."""

SIDE = np.linspace(-2.0, 2.0, 17)
"""Of the plane, in units of the trust region's edge."""

BRANCHES = 24
"""That are drawn of a vine at most, about."""

GHOST = 0.6
"""Opacity of an earlier policy."""

FAR = 40.0
"""How far the plane reaches at most, for a hand that drags a step out of all proportion."""

ITERATIONS = 30
"""Of Algorithm 1 on the small decision process."""

NOT_YET = "Press Train: there is a step to look at after the first update."


@dataclass
class Hand:
    """What the person looks at: (update, fraction) of a what-if step, or nothing."""

    what_if: tuple[int, float] | None = None

    def state_dict(self) -> dict[str, Any]:
        """For a keyframe."""
        return {"what_if": None if self.what_if is None else list(self.what_if)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        found = state["what_if"]
        self.what_if = None if found is None else (int(found[0]), float(found[1]))


class Stage:
    """What pictures keep between two looks; nothing of it is part of the run's state.

    Attributes
    ----------
    vine : VineBatch or None
        The newest, where the run branches.
    """

    def __init__(self, engine: TrpoEngine) -> None:
        self.projector = Projector(engine)
        self.vine: VineBatch | None = None
        self._walks: dict[tuple[Any, ...], tuple[tabular.MDP, list[tabular.Exact]]] = {}

    def walk(
        self, seed: int, states: int, actions: int, gamma: float, iterations: int
    ) -> tuple[tabular.MDP, list[tabular.Exact]]:
        """Algorithm 1 on a random decision process: the policies of so many iterations and the first."""
        key = seed, states, actions, gamma
        if key not in self._walks:
            generator = numpy_stream(seed, "mdp")
            mdp = tabular.random_mdp(states, actions, gamma, generator)
            first = tabular.softmax_policy(0.5 * generator.standard_normal((states, actions)))
            self._walks.clear()
            self._walks[key] = mdp, tabular.algorithm_one(mdp, first, 0)
        mdp, walk = self._walks[key]
        if len(walk) <= iterations:
            walk += tabular.algorithm_one(mdp, walk[-1].policy, iterations + 1 - len(walk))[1:]
        return mdp, walk[: iterations + 1]


def figures(engine: TrpoEngine, wanted: Collection[str]) -> dict[str, Figure]:
    """The named pictures of an engine at its present step."""
    makers: dict[str, Callable[[TrpoEngine], Figure]] = {
        "playback": _playback,
        "actions": _actions,
        "step": _step,
        "plane": _plane,
        "residuals": _residuals,
        "bound": _bound,
        "vine": _vine,
    }
    return {name: makers[name](engine) for name in wanted}


# --- on the stage  ----------


def _lead(engine: TrpoEngine) -> tuple[str, Weights]:
    """What is called how, and its weights: the newest policy, or the one the hand looks at."""
    weights = engine.what_if_weights()
    if weights is None or engine.hand.what_if is None:
        return f"after update {engine.updates}", engine.weights()
    update, fraction = engine.hand.what_if
    return f"what if: {fraction:.2f} of step {update}", weights


def _playback(engine: TrpoEngine) -> Figure:
    try:
        return _played(engine)
    except StepError as error:
        # What training says of it stands elsewhere; the picture says why it is empty.
        return _empty("Playback", str(error))


def _played(engine: TrpoEngine) -> Figure:
    projector = engine.stage.projector
    name, weights = _lead(engine)
    recording = projector.record(weights)
    newest = _cast(name, "model", 1.0, recording)
    if recording.poses is None or projector.scene is None:
        if recording.pictures is None:
            return _empty(
                "Playback", projector.problem or f"{engine.facts.id} has no picture: it cannot draw itself."
            )
        return picture_film(newest)
    seen, remark = projector.rendered(recording)
    if seen is not None:
        return rendered_film(newest, seen, projector.scene.seconds)
    cast = []
    if engine.hand.what_if is not None:
        plain = projector.record(engine.weights())
        cast.append(_cast(f"after update {engine.updates}", "past", GHOST, plain))
    else:
        for remembered in engine.memory.earlier(engine.config.ghosts):
            ghost = projector.record(
                _weights(remembered.report.theta_old, remembered.mean, remembered.deviation)
            )
            cast.append(_cast(f"before update {remembered.update}", "past", GHOST, ghost))
    cast = [part for part in cast if part.recording.poses is not None]
    return playback_film([*cast, newest], projector.scene, engine.config.camera, remark)


def _cast(name: str, role: str, opacity: float, recording: Recording) -> Cast:
    return Cast(f"{name}: return {recording.total:.0f}", role, opacity, recording)


def _weights(theta: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> Weights:
    from engines.trpo.engine import Weights

    return Weights(theta, mean, deviation)


def _actions(engine: TrpoEngine) -> Figure:
    projector = engine.stage.projector
    try:
        recording = projector.record(_lead(engine)[1])
    except StepError as error:
        return _empty("Actions", str(error))
    seconds = projector.scene.seconds if projector.scene is not None else 0.0
    return actions_film(recording, seconds, engine.facts)


# --- the step  ----------


def _step(engine: TrpoEngine) -> Figure:
    remembered, fraction = engine.looked_at()
    if remembered is None:
        return _empty("The step", NOT_YET)
    report = remembered.report
    title = f"The step of update {remembered.update}"
    if not report.step.any():
        return _empty(title, report.reason or "No step was taken.")
    found = _probed(engine, remembered, _reach(report, fraction))
    x = Axis("part of the full step")
    start = report.surrogate_before
    zero = float(np.interp(0.0, found.fractions, found.surrogates))
    slope = float(report.gradient @ report.step)
    held = [] if fraction is None else [Rule(fraction, "x", role="hand", dash="solid", label="what if")]
    surrogate: list[Mark] = [
        Lines(found.fractions, slope * found.fractions, label="linear model", role="past", dash="dash"),
        Lines(found.fractions, found.surrogates - zero, label="surrogate L"),
        *_tries(report.fractions, report.surrogates - start, report.accepted),
        *held,
    ]
    limit = report.mean_kls if report.constraint == "mean" else report.max_kls
    reached = None if fraction is None else float(np.interp(fraction, found.fractions, found.mean_kls))
    kl = _kl_axis(report.delta, limit if reached is None else np.append(limit, reached))
    shown: Callable[[np.ndarray], np.ndarray] = _positive if kl.scale == "log" else np.asarray
    distance: list[Mark] = [
        Rule(report.delta, label="δ", role="target"),
        Lines(found.fractions, shown(found.quadratic), label="quadratic model", role="past", dash="dash"),
        Lines(found.fractions, shown(found.max_kls), label="largest KL", role="data"),
        Lines(found.fractions, shown(found.mean_kls), label="mean KL"),
        *_tries(report.fractions, limit, report.accepted),
        *held,
    ]
    caption = (
        f"Along the step of update {remembered.update}: lines on {len(remembered.observations):,} states, points as tried on "
        f"all {report.states:,}."
    )
    note = report.reason or (
        f"{report.fractions[report.accepted]:.3g} of the full step was taken"
        if report.accepted is not None
        else ""
    )
    return Panels(
        (
            Plot(tuple(surrogate), x, Axis("gain of L"), "Surrogate", caption, note=note),
            Plot(
                tuple(distance),
                x,
                kl,
                "KL divergence",
                caption,
                note="" if reached is None else f"what if: mean KL {reached:.3g} nats",
            ),
        ),
        1,
        title=title,
        caption=caption,
    )


def _reach(report: Report, held: float | None) -> np.ndarray:
    """Where the line is measured: evenly, and close to 0 where shorter and shorter steps were tried."""
    low, high = min(LINE[0], 1.1 * (held or 0.0)), max(LINE[1], 1.1 * (held or 0.0))
    tried = report.fractions
    even, own = np.linspace(low, high, POINTS), np.array([0.0, held or 0.0])
    return np.unique(np.concatenate([even, own, tried, -tried[-tried >= low]]))


def _kl_axis(delta: float, tried: np.ndarray) -> Axis:
    """Linear where all that was tried is near delta; logarithmic where delta could not be told from 0 beside it."""
    largest = float(tried[np.isfinite(tried)].max(initial=0.0))
    if largest <= 8.0 * delta:
        return Axis("KL", "nats", limits=(0.0, max(4.0 * delta, 1.1 * largest)))
    return Axis("KL", "nats", scale="log", limits=(0.01 * delta, 2.0 * largest))


def _tries(fractions: np.ndarray, values: np.ndarray, accepted: int | None) -> list[Mark]:
    taken = np.zeros(len(fractions), bool)
    if accepted is not None:
        taken[accepted] = True
    return [
        Scatter(fractions[~taken], values[~taken], 7.0, "cross", label="rejected", role="warning"),
        Scatter(fractions[taken], values[taken], 8.0, label="accepted", role="target"),
    ]


def _probed(engine: TrpoEngine, remembered: Remembered, fractions: np.ndarray) -> Probe:
    report = remembered.report
    observations, surrogate = _on_device(engine, remembered)
    return probe(
        engine.policy,
        observations,
        surrogate,
        report.theta_old,
        report.step,
        fractions,
        2.0 * report.predicted_kl,
    )


def _on_device(engine: TrpoEngine, remembered: Remembered) -> tuple[Tensor, Surrogate]:
    """The states of an update and its surrogate where the policy is: what is remembered may lie elsewhere."""
    surrogate = remembered.surrogate
    moved = {part.name: getattr(surrogate, part.name).to(engine.device) for part in fields(surrogate)}
    return remembered.observations.to(engine.device), replace(surrogate, **moved)


def _plane(engine: TrpoEngine) -> Figure:
    remembered, fraction = engine.looked_at()
    if remembered is None:
        return _empty("Plane", NOT_YET)
    report = remembered.report
    title = f"Around the policy before update {remembered.update}"
    if not report.step.any():
        return _empty(title, report.reason or "No step was taken.")
    if report.rule == "gradient":
        return _empty(title, "This rule follows the plain gradient alone: there is no natural one beside it.")
    observations, surrogate = _on_device(engine, remembered)
    full = _full_step(engine, observations, report)
    held = 0.0 if fraction is None else fraction * full
    taken = 0.0 if report.accepted is None else float(report.fractions[report.accepted]) * full
    # As far as the hand has gone, so that the step does not leave the picture.
    side = SIDE * min(max(1.0, 0.6 * abs(held), 0.6 * taken), FAR)

    def measured(along: np.ndarray) -> Plane:
        return probe_plane(
            engine.policy,
            observations,
            surrogate,
            report.theta_old,
            report.gradient,
            report.step,
            along,
            along,
            report.delta,
        )

    found = measured(side)
    # From afar the region is no larger than the squares.
    near = found if side[-1] == SIDE[-1] else measured(SIDE)
    start = float(found.surrogates[len(SIDE) // 2, len(SIDE) // 2])
    gain = found.surrogates - start
    largest = float(np.abs(gain[np.isfinite(gain)]).max(initial=0.0)) or 1.0
    edge = float(side[-1] + 0.5 * (side[1] - side[0]))
    marks: list[Mark] = [
        Heatmap(gain, (-edge, edge, -edge, edge), (-largest, largest), "diverging", "gain of L"),
        Lines(
            *_ellipse(found.metric, report.delta),
            label="δ by the quadratic model",
            role="target",
            dash="dash",
        ),
        Lines(*_level(near, report.delta), label="δ, mean KL measured", role="target"),
        VectorField(*_arrow(1.0, 0.0), label="gradient", role="data"),
        VectorField(*_arrow(0.0, 1.0), label="natural gradient", role="model"),
    ]
    way = _way(engine, observations, report, found)
    if way is not None:
        marks.append(Lines(way[:, 0], way[:, 1], label="CG iterates", role="neutral", points=True, width=1.0))
    if report.accepted is not None:
        marks.append(Scatter(np.zeros(1), np.array([taken]), 9.0, "star", label="step taken", role="target"))
    if fraction is not None:
        marks.append(Scatter(np.zeros(1), np.array([held]), 9.0, label="what if", role="hand"))
    return Plot(
        tuple(marks),
        Axis("along the gradient", "1: edge of δ", limits=(-edge, edge)),
        Axis("along the natural gradient", "1: edge of δ", limits=(-edge, edge)),
        title,
        f"Gain of the surrogate on {len(observations):,} states, on the plane of gradient and natural gradient.",
        equal=True,
        note=report.reason or _length_note(report, full),
    )


def _length_note(report: Report, full: float) -> str:
    """Why the full step does not end on the ellipse, where it does not."""
    if report.rule != "trpo" or abs(full - 1.0) < 0.2:
        return ""
    return f"the full step is {full:.2g} long: {report.fisher_states:,} states chose it"


def _full_step(engine: TrpoEngine, observations: Tensor, report: Report) -> float:
    """Length of the full step in units of the edge, as these states measure it.

    It would be 1 for TRPO if the Fisher matrix of the update had been made of the same states, without damping.
    """
    policy = engine.policy
    step = [policy.vector(report.step)]
    product = inner_products(policy, observations, policy.vector(report.theta_old), step)[0, 0]
    return math.sqrt(max(float(product), 0.0) / (2.0 * report.delta))


def _ellipse(metric: np.ndarray, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """Where 1/2 v^T G v = delta."""
    angles = np.linspace(0.0, 2 * np.pi, 121)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    lengths = np.sqrt(2 * delta / np.maximum(np.einsum("ia,ij,ja->a", directions, metric, directions), 1e-30))
    inside = np.minimum(lengths, 50.0)
    return directions[0] * inside, directions[1] * inside


def _level(plane: Plane, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the measured mean KL is delta, along rays from the middle; NaN where that lies outside."""
    from scipy.ndimage import map_coordinates

    angles = np.linspace(0.0, 2 * np.pi, 121)
    radii = np.linspace(0.0, float(plane.x[-1]) * math.sqrt(2.0), 400)
    x, y = np.outer(np.cos(angles), radii), np.outer(np.sin(angles), radii)
    spacing = plane.x[1] - plane.x[0]
    rows, columns = (y - plane.y[0]) / spacing, (x - plane.x[0]) / spacing
    # The KL is nearly a parabola: its root is nearly straight.
    roots = np.sqrt(np.maximum(plane.mean_kls, 0.0))
    values = map_coordinates(roots, [rows, columns], order=1, cval=np.nan)
    over = values > math.sqrt(delta)
    first = np.where(over.any(1), over.argmax(1), -1)
    chosen = np.where(first >= 0, radii[first], np.nan)
    return np.cos(angles) * chosen, np.sin(angles) * chosen


def _arrow(u: float, v: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(1), np.zeros(1), np.array([u]), np.array([v])


def _way(engine: TrpoEngine, observations: Tensor, report: Report, plane: Plane) -> np.ndarray | None:
    """The iterates of conjugate gradients (K + 1, 2), each where it is nearest to the plane as the Fisher matrix measures."""
    if report.iterates is None or len(report.iterates) < 2:
        return None
    policy = engine.policy
    axes = [policy.vector(part) for part in (plane.first, plane.second, *(report.beta * report.iterates))]
    products = inner_products(policy, observations, policy.vector(report.theta_old), axes)
    metric = products[:2, :2] + 1e-12 * np.eye(2)
    places: np.ndarray = np.linalg.lstsq(metric, products[:2, 2:], rcond=None)[0].T
    return places


def _residuals(engine: TrpoEngine) -> Figure:
    remembered, _ = engine.looked_at()
    if remembered is None or not len(remembered.report.residuals):
        return _empty("Conjugate gradients", NOT_YET if remembered is None else "This rule needs none.")
    marks: list[Mark] = []
    others = [
        kept
        for kept in engine.memory.earlier(4)
        if len(kept.report.residuals) and kept.update != remembered.update
    ]
    for index, kept in enumerate(others):
        part = kept.report.residuals
        marks.append(
            Lines(
                np.arange(len(part), dtype=float),
                _positive(part / part[0]),
                label="other updates" if index == 0 else "",
                role="past",
                opacity=0.6,
                width=1.0,
            )
        )
    part = remembered.report.residuals
    marks.append(
        Lines(
            np.arange(len(part), dtype=float),
            _positive(part / part[0]),
            label=f"update {remembered.update}",
            points=True,
        )
    )
    return Plot(
        tuple(marks),
        Axis("iteration"),
        Axis("‖A s − g‖ / ‖g‖", scale="log"),
        "Conjugate gradients",
        "How far A s is from g after each iteration.",
    )


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0.0, values, np.nan)


# --- the bound and the vine  ----------


def _bound(engine: TrpoEngine) -> Figure:
    config = engine.config
    number = min(engine.updates, ITERATIONS)
    mdp, walk = engine.stage.walk(
        config.seed, config.mdp_states, config.mdp_actions, config.mdp_gamma, number + 1
    )
    old = walk[number]
    # Far beyond the tiny step that the bound allows, until the surrogate is no longer true.
    largest = float(np.abs(old.advantages).max()) or 1.0
    far = tabular.softmax_policy(np.log(old.policy) + 2.0 * old.advantages / largest)
    fractions = np.concatenate([[0.0], np.logspace(-6, 0, 60)])
    line = tabular.along(mdp, old.policy, far, fractions)
    part = slice(1, None)
    x = Axis("length of the step", scale="log")
    gap = _positive(np.abs(line.eta - line.surrogate)[part])
    truth = _positive((line.eta - old.eta)[part])
    promised = line.bound - old.eta
    etas = np.array([exact.eta for exact in walk])
    caption = (
        f"A random decision process of {mdp.states} states and {mdp.actions} actions, solved exactly. "
        f"{tabular.BOUND_VERSION}. C = {line.penalty:.3g}."
    )
    best = int(promised.argmax())
    return Panels(
        (
            Plot(
                (
                    Lines(fractions[part], truth, label="η − η_old"),
                    Lines(
                        fractions[part],
                        _positive(promised[part]),
                        label="bound: L − C max KL − η_old",
                        role="target",
                    ),
                    Lines(fractions[part], gap, label="|η − L|", role="data"),
                    Lines(
                        fractions[part],
                        _positive(line.penalty * line.max_kls[part]),
                        label="C max KL",
                        role="warning",
                    ),
                    *(
                        [Rule(float(fractions[best]), "x", label="where the bound is best", role="neutral")]
                        if best
                        else []
                    ),
                ),
                x,
                Axis("change of the return", scale="log"),
                f"From iteration {number}",
                caption,
            ),
            Plot(
                (
                    Lines(np.arange(len(etas), dtype=float), etas, label="η", points=True),
                    Rule(float(number), "x", role="neutral", label="seen on the left"),
                ),
                Axis("iteration of Algorithm 1"),
                Axis("return η"),
                "Algorithm 1 never falls",
                caption,
            ),
        ),
        2,
        title="The bound",
        caption=caption,
        share_axes=False,
    )


_KNOWN: dict[str, tuple[tuple[str, str], tuple[int, int]]] = {
    "CartPole": (("cart position (m)", "pole angle (rad)"), (0, 2)),
    "MountainCar": (("position", "velocity"), (0, 1)),
    "MountainCarContinuous": (("position", "velocity"), (0, 1)),
    "InvertedPendulum": (("cart position (m)", "pole angle (rad)"), (0, 1)),
    "Hopper": (("height of the torso (m)", "angle of the torso (rad)"), (0, 1)),
    "Walker2d": (("height of the torso (m)", "angle of the torso (rad)"), (0, 1)),
    "HalfCheetah": (("height of the torso (m)", "angle of the torso (rad)"), (0, 1)),
    "Swimmer": (("angle of joint 1 (rad)", "angle of joint 2 (rad)"), (1, 2)),
}
"""Axes of the picture of a vine, and which numbers of an observation they are."""


def _vine(engine: TrpoEngine) -> Figure:
    found = engine.stage.vine
    if engine.config.sampling != "vine":
        return _empty("Vine", "Set Sampling to Vine: the branches are drawn here.")
    if found is None:
        return _empty("Vine", "Train on: the branches of the next update are drawn here.")
    names, project = _coordinates(engine, found)
    # Of many branches nobody can see one: fewer states where each has more.
    states = found.shown[:: max(1, -(-len(found.shown) * found.values.shape[1] // BRANCHES))]
    trunks = [
        project(found.trunks[number].observations) for number in sorted({state.trunk for state in states})
    ]
    marks: list[Mark] = [
        Lines(*_joined(trunks), label="trunks", role="neutral", opacity=0.5, width=1.0),
    ]
    best: list[np.ndarray] = []
    worst: list[np.ndarray] = []
    others: list[np.ndarray] = []
    for state in states:
        order = np.argsort(state.values)
        for rank, index in enumerate(order.tolist()):
            target = best if rank == len(order) - 1 else worst if rank == 0 else others
            target.append(project(state.observations[index]))
    if others:
        marks.append(Lines(*_joined(others), label="other branches", role="past", width=1.0))
    marks += [
        Lines(*_joined(worst), label="worst of its state", role="data"),
        Lines(*_joined(best), label="best of its state", role="model"),
    ]
    starts = np.array([project(state.observations[0][:1])[0] for state in states])
    marks.append(Scatter(starts[:, 0], starts[:, 1], 6.0, label="branched from", role="neutral"))
    return Plot(
        tuple(marks),
        Axis(names[0]),
        Axis(names[1]),
        "Vine",
        f"{len(states)} of {len(found.observations)} states with their branches; those of one state share their random "
        "numbers.",
    )


def _coordinates(
    engine: TrpoEngine, found: VineBatch
) -> tuple[tuple[str, str], Callable[[np.ndarray], np.ndarray]]:
    """Two numbers of an observation: those that mean most, or the two principal components."""
    known = _KNOWN.get(engine.facts.id.rpartition("-v")[0])
    if known is not None and engine.facts.observation_size > max(known[1]):
        chosen = list(known[1])
        return known[0], lambda o: o[:, chosen].astype(float)
    if engine.facts.observation_size == 2:
        return ("first observation", "second observation"), lambda o: o.astype(float)
    seen = np.concatenate([episode.observations for episode in found.trunks]).astype(float)
    mean, deviation = seen.mean(0), np.maximum(seen.std(0), 1e-6)
    if engine.facts.observation_size == 1:
        return ("observation", "observation"), lambda o: np.repeat(o.astype(float), 2, axis=1)
    _, _, axes = np.linalg.svd((seen - mean) / deviation, full_matrices=False)
    # The sign of a component is chance.
    signs = np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(1)])
    plane = (axes[:2] * signs[:, None]).T
    return (
        "first principal component",
        "second principal component",
    ), lambda o: ((o - mean) / deviation) @ plane


def _joined(ways: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Many ways (T, 2) as one line with breaks."""
    if not ways:
        return np.zeros(0), np.zeros(0)
    gap = np.full((1, 2), np.nan)
    joined = np.concatenate([part for way in ways for part in (way, gap)])
    return joined[:, 0], joined[:, 1]


def _empty(title: str, note: str) -> Plot:
    from engines.figures import HIDDEN

    return Plot((), HIDDEN, HIDDEN, title, note=note)


__all__ = ["Hand", "Stage", "figures"]
