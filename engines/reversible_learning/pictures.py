"""The reversible-learning paper's pictures as arrays; computed on the worker's loop from the present state."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import StepError
from engines.figures import (
    HIDDEN,
    Axis,
    Dash,
    Figure,
    Film,
    Heatmap,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
)
from engines.reversible_learning.config import WITH_STEPS
from engines.reversible_learning.history import places
from engines.reversible_learning.problems import Group, Toy
from engines.reversible_learning.rehearsal import Rehearsal

if TYPE_CHECKING:
    from engines.reversible_learning.engine import ReversibleLearningEngine

TAPE_BITS = 32

NOTE_ROOM = 1.2
"""Height of the picture of bits over that of the bits."""

ARROWS = 24
"""Arrows on a drawn schedule at most; the longest takes so much of the axis:"""
ARROW_SHARE = 0.2

CURVES = 12
"""Inner trainings that are drawn at most, and the opacity of the oldest."""
FAINTEST = 0.15

TOY_Y, TOY_X = (-1.5, 2.4), (-0.5, 4.5)
"""What is shown of the toy's surface."""

BLANK = np.zeros(0)

SMOOTHING = 0.1
"""Part of a schedule over which its thick line is the mean."""

CLEARLY = 0.005
"""Part of a schedule by which one layer's steps must lie before those of all others, or after, to be called first or last."""


def figures(engine: ReversibleLearningEngine, wanted: Collection[str]) -> dict[str, Figure]:
    """The named pictures of an engine at its present step."""
    makers: dict[str, Callable[[ReversibleLearningEngine], Figure]] = {
        "schedule": _schedule,
        "curves": _curves,
        "hypergradient": _hypergradient,
        "film": _film,
        "reversal": _reversal,
        "scales": _scales,
        "learned": _learned,
        "penalties": _penalties,
        "sharing": _sharing,
        "toy": _toy,
        "chaos": _chaos,
        "race": _race,
    }
    return {name: makers[name](engine) for name in wanted}


def _note(engine: ReversibleLearningEngine, name: str, text: str) -> Plot:
    return Plot(x=HIDDEN, y=HIDDEN, title=engine.method.view(name).title, note=text)


def _elsewhere(engine: ReversibleLearningEngine, name: str, preset: str) -> Plot:
    return _note(engine, name, f"Another experiment shows this: choose the preset {preset}.")


def _not_yet(engine: ReversibleLearningEngine, name: str) -> Plot:
    return _note(engine, name, "Shown after the first meta-iteration: press Train.")


def _role(index: int) -> str:
    return f"category-{index % 8}"


def _weights(engine: ReversibleLearningEngine, columns: int) -> list[tuple[int, str]]:
    """(column, name) of what has a schedule of its own and is drawn: weights, not biases."""
    groups = engine.hypers.groups
    if columns == 1 and len(groups) > 1:
        return [(0, "all layers")]
    last, top = groups[-1].layer, ", top"
    return [
        (i, "both weights" if g.kind == "point" else f"layer {g.layer + 1}" + top * (g.layer == last > 0))
        for i, g in enumerate(groups)
        if g.kind != "biases"
    ]


def _over_metas(
    engine: ReversibleLearningEngine, frames: list[Plot] | list[Panels], title: str, caption: str
) -> Film:
    # Counted from 1, as the notes in the pictures do.
    metas = np.array(engine.history.metas, dtype=float) + 1
    return Film(tuple(frames), metas, Axis("meta-iteration"), title, caption, start=len(frames) - 1)


def _iterations(engine: ReversibleLearningEngine) -> np.ndarray:
    return places(engine.config.inner_steps) + 1.0


# --- schedules  ----------


def smoothed(values: np.ndarray, share: float = SMOOTHING) -> np.ndarray:
    """Moving mean of curves (N, G) over a share of their length, shorter at the ends."""
    half = int(share * len(values) / 2)
    if half < 1:
        return values
    sums = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, 0)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low).reshape(-1, *[1] * (values.ndim - 1)))


def centre(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """When a layer moves: the mean iteration (G,), weighted by its step sizes (N, G)."""
    return np.asarray((x[:, None] * alpha).sum(0) / alpha.sum(0))


def _who_is_first(x: np.ndarray, alpha: np.ndarray, lines: list[tuple[int, str]]) -> str:
    """Which layer has its step sizes earliest, else which one latest; empty where neither is clear."""
    centres = centre(x, alpha[:, [column for column, _ in lines]].astype(float))
    order = np.argsort(centres)
    names = [lines[i][1].removesuffix(", top") for i in order]
    gaps = np.diff(centres[order]) >= CLEARLY * (x[-1] - x[0])
    return f", {names[0]} first" if gaps[0] else f", {names[-1]} last" if gaps[-1] else ""


def _schedule(engine: ReversibleLearningEngine) -> Figure:
    records = engine.history.records
    if engine.config.experiment == "chaos":
        return _elsewhere(engine, "schedule", "schedules")
    if not records:
        return _not_yet(engine, "schedule")
    x = _iterations(engine)
    lines = _weights(engine, records[-1]["log_alpha"].shape[1])
    shown = [column for column, _ in lines]
    highest = max(float(np.exp(record["log_alpha"][:, shown]).max()) for record in records)
    first = records[0]
    frames = []
    for meta, record in zip(engine.history.metas, records, strict=True):
        plots = []
        for name, title, begun, now, smooth, limits in (
            (
                "α",
                "Step size",
                np.exp(first["log_alpha"]),
                np.exp(record["log_alpha"]),
                np.exp(smoothed(record["log_alpha"])),
                (0.0, 1.05 * highest),
            ),
            ("γ", "Momentum", first["gamma"], record["gamma"], smoothed(record["gamma"]), (0.0, 1.0)),
        ):
            marks: list[Mark] = [
                Lines(x, begun[:, lines[0][0]].copy(), label="first", role="past", dash="dash")
            ]
            marks += [
                Lines(x, now[:, column].copy(), role=_role(i), width=1.0, opacity=0.35)
                for i, (column, _) in enumerate(lines)
            ]
            marks += [
                Lines(x, smooth[:, column].copy(), label=label, role=_role(i), width=2.25)
                for i, (column, label) in enumerate(lines)
            ]
            note = f"meta-iteration {meta + 1}"
            if name == "α" and len(lines) > 1:
                note += _who_is_first(x, now, lines)
            plots.append(
                Plot(
                    tuple(marks),
                    Axis("inner iteration"),
                    Axis(f"{title.lower()} {name}", limits=limits),
                    title,
                    note=note if name == "α" else "",
                    legend=name == "α",
                )
            )
        frames.append(Panels(tuple(plots), 1))
    return _over_metas(
        engine,
        frames,
        "Schedules",
        "Learned step sizes and momenta of each layer's weights over the inner iterations, thin as they are and thick as "
        "moving means. First is the layer whose step sizes lie clearly earliest, by their mean iteration.",
    )


def _curves(engine: ReversibleLearningEngine) -> Figure:
    records, metas = engine.history.records, engine.history.metas
    if engine.config.experiment == "chaos":
        return _elsewhere(engine, "curves", "schedules")
    if not records:
        return _not_yet(engine, "curves")
    faded = places(len(records), CURVES)
    axes = [np.linspace(1, engine.config.inner_steps, len(record["curve"])) for record in records]
    curves = [record["curve"].astype(float) for record in records]
    frames = []
    for now, meta in enumerate(metas):
        marks: list[Mark] = [
            Lines(
                axes[index] if index < now else BLANK,
                curves[index] if index < now else BLANK,
                role="past",
                width=1.25,
                opacity=FAINTEST + (1 - FAINTEST) * rank / len(faded),
            )
            for rank, index in enumerate(faded)
        ]
        marks.append(Lines(axes[0], curves[0], label="first", role="data", dash="dash"))
        marks.append(Lines(axes[now], curves[now], label="this one", role="model", width=2.25))
        frames.append(
            Plot(
                tuple(marks),
                Axis("inner iteration"),
                Axis("loss of the batch", "nats"),
                "Inner training",
                note=f"meta-iteration {meta + 1}",
            )
        )
    return _over_metas(
        engine,
        frames,
        "Inner training",
        "Loss of each inner iteration's batch before its step; earlier meta-iterations are fainter.",
    )


def _hypergradient(engine: ReversibleLearningEngine) -> Figure:
    if engine.config.experiment == "chaos":
        return _elsewhere(engine, "hypergradient", "schedules")
    records = engine.history.records
    if not records or "by_log_alpha" not in records[0]:
        return _not_yet(engine, "hypergradient")
    x = _iterations(engine)
    frames = []
    for meta, record in zip(engine.history.metas, records, strict=True):
        plots = []
        for name, title, symbol in (
            ("log_alpha", "Step size", "log α"),
            ("logit_gamma", "Momentum", "logit γ"),
        ):
            newest, mean = (record[f"{kind}_{name}"].astype(float) for kind in ("by", "mean"))
            lines = _weights(engine, newest.shape[1])
            shown = [column for column, _ in lines]
            reach = 1.05 * max(float(np.abs(found[:, shown]).max()) for found in (newest, mean)) + 1e-12
            marks: list[Mark] = [Rule(0.0, role="neutral", dash="dot")]
            for i, (column, label) in enumerate(lines):
                marks.append(Lines(x, newest[:, column].copy(), role=_role(i), opacity=0.3))
                marks.append(Lines(x, mean[:, column].copy(), label=label, role=_role(i), width=2.0))
            plots.append(
                Plot(
                    tuple(marks),
                    Axis("inner iteration"),
                    Axis(f"∂ loss / ∂ {symbol}", "nats", limits=(-reach, reach)),
                    title,
                    note=f"meta-iteration {meta + 1}; below 0: raise it" if name == "log_alpha" else "",
                    legend=name == "log_alpha",
                )
            )
        frames.append(Panels(tuple(plots), 1, share_axes=False))
    return _over_metas(
        engine,
        frames,
        "Hypergradient",
        "Derivative of the meta-objective by each step size and momentum: of one meta-iteration (faint) and running mean. "
        "Below 0 more of it lowers the loss.",
    )


def _race(engine: ReversibleLearningEngine) -> Figure:
    if engine.config.experiment not in WITH_STEPS:
        return _elsewhere(engine, "race", "schedules")
    try:
        found = engine.race()
    except StepError as error:
        return _note(engine, "race", str(error))
    layer, groups = engine.layer, engine.hypers.groups
    columns = [i for i, g in enumerate(groups) if layer is None or g.layer == layer]
    weights = [i for i in columns if groups[i].kind != "biases"]
    x = np.arange(1, engine.config.inner_steps + 1, dtype=float)
    roles = {"first": ("past", "first"), "learned": ("model", "learned"), "drawn": ("hand", "yours")}
    lines: list[Mark] = []
    ran: list[Mark] = []
    # Where all layers are meant their mean is drawn, and drawn upon; each of them is thin.
    schedules = {name: lane.log_alpha[:, weights].mean(1) for name, lane in found.lanes.items()}
    if len(weights) > 1:
        each = found.lanes["learned"].log_alpha
        lines += [
            Lines(x, each[:, i].copy(), role=_role(number), width=1.0, opacity=0.45)
            for number, i in enumerate(weights)
        ]
    for name, lane in found.lanes.items():
        role, label = roles[name]
        dash: Dash = "dash" if name == "first" else "solid"
        lines.append(Lines(x, schedules[name], label=label, role=role, width=2.0, dash=dash))
        last = float(lane.losses[-1])
        ran.append(
            Lines(
                lane.steps.astype(float),
                lane.losses.copy(),
                label=f"{label} {last:.3g}",
                role=role,
                width=2.0,
                dash=dash,
            )
        )
    bent = schedules["drawn" if engine.drawn is not None else "learned"]
    at = places(len(x), ARROWS)
    slope = found.bend[:, columns].sum(1)[at]
    levels = np.concatenate(list(schedules.values()))
    low, high = float(levels.min()) - 1.0, float(levels.max()) + 1.0
    longest = float(np.abs(slope).max())
    length = -slope / longest * ARROW_SHARE * (high - low) if longest > 0 else np.zeros(len(at))
    role = roles["drawn" if engine.drawn is not None else "learned"][0]
    lines.append(VectorField(x[at], bent[at].copy(), np.zeros(len(at)), length, role=role))
    which = "layers are tied" if engine.hypers.values["log_alpha"].shape[1] == 1 else "all layers, mean"
    if layer is not None:
        which = f"layer {layer + 1}"
    elif len(weights) == 1:
        which = ""
    return Panels(
        (
            Plot(
                tuple(lines),
                Axis("inner iteration"),
                Axis("log α", limits=(low, high)),
                "Schedules",
                note=which,
                legend=False,
                hint="draw here",
            ),
            Plot(
                tuple(ran),
                Axis("inner iterations done"),
                Axis("meta-objective", "nats"),
                "Race",
            ),
        ),
        2,
        title="Draw a schedule",
        caption="Schedules of step sizes, the way the hypergradient would bend the last of them, and the race: loss at the "
        "end in the legend.",
        share_axes=False,
    )


def _scales(engine: ReversibleLearningEngine) -> Figure:
    history = engine.history
    if engine.config.experiment not in ("schedules", "scales"):
        return _elsewhere(engine, "scales", "scales")
    if not history.records:
        return _not_yet(engine, "scales")
    x = np.array(history.metas, dtype=float) + 1
    values = np.exp(np.stack([record["log_scale"] for record in history.records]).astype(float))
    marks: list[Mark] = []
    groups: tuple[Group, ...] = engine.hypers.groups
    for i, (column, label) in enumerate(_weights(engine, values.shape[1])):
        marks.append(Lines(x, values[:, column].copy(), label=label, role=_role(i), points=len(x) < 3))
        if values.shape[1] > 1:
            marks.append(Rule(groups[column].inputs ** -0.5, role=_role(i)))
    return Plot(
        tuple(marks),
        Axis("meta-iteration"),
        Axis("initial scale", scale="log"),
        "Initial scales",
        "Standard deviation of the initial weights of each layer; dashed: 1/√N of its inputs.",
    )


# --- learned pictures, penalties, sharing  ----------


def _picture(engine: ReversibleLearningEngine) -> tuple[int, int]:
    if engine.material is not None:
        return engine.material.picture
    assert engine.tasks is not None
    return engine.tasks.picture


def _grid(images: np.ndarray, columns: int, title: str, note: str, labels: tuple[str, ...] = ()) -> Plot:
    grid = ImageGrid(images, columns, column_labels=labels)
    return Plot((grid,), HIDDEN, HIDDEN, title, equal=True, y_down=True, legend=False, note=note)


def _class_labels(names: tuple[str, ...], columns: int) -> tuple[str, ...]:
    """What stands above the columns of a picture for each class; long names are left to the caption."""
    if max(len(name) for name in names) > 2:
        return ()
    return tuple(" · ".join(names[column::columns]) for column in range(columns))


def _signed(values: np.ndarray, reach: float) -> np.ndarray:
    """Numbers of any sign as greys: 0 is middle grey, and white is ``reach``."""
    return np.clip(0.5 + 0.5 * values / max(reach, 1e-12), 0.0, 1.0).astype(np.float32)


def _learned(engine: ReversibleLearningEngine) -> Figure:
    history = engine.history
    if engine.config.experiment != "data":
        return _elsewhere(engine, "learned", "learned-data")
    if not history.records:
        return _not_yet(engine, "learned")
    assert engine.material is not None
    names = engine.material.class_names
    columns = -(-len(names) // 2)
    # One scale for all frames, so that the pictures are seen to emerge.
    reach = max(float(np.abs(record["data"]).max()) for record in history.records)
    frames = [
        _grid(
            _signed(record["data"].reshape(-1, *_picture(engine)), reach),
            columns,
            "Learned training set",
            f"meta-iteration {meta + 1}",
            _class_labels(names, columns),
        )
        for meta, record in zip(history.metas, history.records, strict=True)
    ]
    caption = f"The learned training pictures, of the classes {', '.join(names)}; middle grey is 0."
    return _over_metas(engine, frames, "Learned training set", caption)


def _penalties(engine: ReversibleLearningEngine) -> Figure:
    history = engine.history
    if engine.config.experiment != "l2":
        return _elsewhere(engine, "penalties", "l2-maps")
    if not history.records:
        return _not_yet(engine, "penalties")
    assert engine.network is not None and engine.material is not None
    inputs, units = engine.network.widths[:2]

    def maps(record: dict[str, np.ndarray]) -> np.ndarray:
        return record["log_penalty"][: inputs * units].reshape(inputs, units).T

    every = [maps(record) for record in history.records]
    low, high = min(float(m.min()) for m in every), max(float(m.max()) for m in every)
    span = max(high - low, 1e-6)
    frames = [
        _grid(
            ((m - low) / span).reshape(-1, *_picture(engine)).astype(np.float32),
            -(-units // 2),
            "Maps of penalties",
            f"meta-iteration {meta + 1}",
            _class_labels(engine.material.class_names, -(-units // 2)),
        )
        for meta, m in zip(history.metas, every, strict=True)
    ]
    caption = (
        f"Penalty of each pixel's weight to each class, from {np.exp(low):.2g} (black) to {np.exp(high):.2g} (white), on a "
        "log scale."
    )
    return _over_metas(engine, frames, "Maps of penalties", caption)


def _short(name: str, most: int = 12) -> str:
    """A task's name that fits beside a row."""
    name, turned, _ = name.replace("_", " ").partition(", turned")
    cut = name if len(name) <= most else name[: most - 1].rstrip() + "…"
    return cut + ", 90°" * bool(turned)


def correlation(matrix: np.ndarray) -> np.ndarray:
    """T T^T scaled to 1 on its diagonal, (K, K)."""
    covariance = matrix @ matrix.T
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    return covariance / spread / spread[:, None]


def _sharing(engine: ReversibleLearningEngine) -> Figure:
    history = engine.history
    if engine.config.experiment != "tasks":
        return _elsewhere(engine, "sharing", "multi-task")
    if not history.records:
        return _not_yet(engine, "sharing")
    assert engine.tasks is not None
    count = len(engine.tasks.pool)
    ticks = tuple((k + 0.5, str(k + 1)) for k in range(count))
    rows = tuple((k + 0.5, f"{_short(name)}  {k + 1}") for k, name in enumerate(engine.tasks.names))
    span = 0.0, float(count)
    names = "; ".join(f"{k + 1}: {name}" for k, name in enumerate(engine.tasks.names))
    frames = []
    for meta, record in zip(history.metas, history.records, strict=True):
        plots = tuple(
            Plot(
                (
                    Heatmap(
                        correlation(matrix.astype(float)),
                        (*span, *span),
                        (-1.0, 1.0),
                        "diverging",
                        "correlation" if layer == len(record["sharing"]) - 1 else "",
                    ),
                ),
                Axis("task", limits=span, ticks=ticks),
                Axis("task", limits=span, ticks=rows),
                f"Layer {layer + 1}",
                equal=True,
                legend=False,
                note=f"meta-iteration {meta + 1}" if layer == 0 else "",
            )
            for layer, matrix in enumerate(record["sharing"])
        )
        frames.append(Panels(plots, len(plots), column_titles=tuple(plot.title for plot in plots)))
    return _over_metas(engine, frames, "Sharing", f"Correlation of the weights of tasks. {names}.")


# --- the toy and the sweep  ----------


def _surface() -> Heatmap:
    x, y = np.linspace(*TOY_X, 90), np.linspace(*TOY_Y, 70)
    grid_x, grid_y = np.meshgrid(x, y)
    return Heatmap(Toy.surface(grid_y, grid_x), (*TOY_X, *TOY_Y), values_label="loss")


def _toy(engine: ReversibleLearningEngine) -> Figure:
    if engine.config.experiment != "toy":
        return _elsewhere(engine, "toy", "toy")
    history = engine.history
    if not history.records:
        return _not_yet(engine, "toy")
    marks: list[Mark] = [_surface()]
    chosen = places(len(history.records), CURVES)
    for rank, index in enumerate(chosen):
        path = history.records[index]["path"].astype(float)
        newest, begun = rank == len(chosen) - 1, rank == 0
        opacity = 1.0 if newest or begun else FAINTEST + (1 - FAINTEST) * rank / len(chosen)
        role = "model" if newest else "data" if begun else "past"
        dash: Dash = "dash" if begun and not newest else "solid"
        label = f"meta-iteration {history.metas[index] + 1}" if newest or begun else ""
        x, y = path[:, 1].copy(), path[:, 0].copy()
        marks.append(Lines(x, y, label=label, role=role, opacity=opacity, points=newest, dash=dash))
        marks.append(Scatter(x[-1:].copy(), y[-1:].copy(), size=8.0, role=role, opacity=opacity))
    marks.append(
        Scatter(
            np.array(Toy.START[1:]),
            np.array(Toy.START[:1]),
            size=12.0,
            symbol="star",
            role="hand",
            label="start",
        )
    )
    return Plot(
        tuple(marks),
        Axis("weight 2", limits=TOY_X),
        Axis("weight 1", limits=TOY_Y),
        "Two weights",
        "Paths of training over the loss, one for each meta-iteration, seen from above.",
    )


def _chaos(engine: ReversibleLearningEngine) -> Figure:
    if engine.config.experiment != "chaos":
        return _elsewhere(engine, "chaos", "chaos")
    sweep = engine.sweep
    x, loss, slope = sweep.sorted()
    if not len(x):
        return _note(engine, "chaos", "Shown after the first step size is tried: press Train.")
    edge = sweep.edge()
    safe = np.array([sweep.low, edge if edge is not None else sweep.low])
    # The safe side sets the axes: what is wild lies orders of magnitude above it, and is cut off.
    calm = x <= edge if edge is not None else np.abs(slope) <= np.median(np.abs(slope))
    reach = 2.0 * float(np.abs(slope[calm]).max()) + 1e-9
    spans = ((0.0, 2.0 * float(loss[calm].max()) + 1e-9), (-reach, reach))
    plots = []
    for title, label, values, (low, high) in (
        ("Loss", "loss after training", np.clip(loss, *spans[0]), spans[0]),
        ("Hypergradient", "∂ loss / ∂ log α", np.clip(slope, *spans[1]), spans[1]),
    ):
        marks: list[Mark] = [
            Ribbon(safe, np.full(2, low), np.full(2, high), role="target", label="safe side", opacity=0.3),
            Lines(x, values, role="model", width=1.25, points=len(x) <= 80),
        ]
        if title == "Hypergradient":
            marks.append(Rule(0.0, role="neutral", dash="dot"))
        plots.append(
            Plot(
                tuple(marks),
                Axis("log α", limits=(sweep.low, sweep.high)),
                Axis(label, "nats", limits=(low, high)),
                title,
                legend=title == "Loss",
                note=f"{sweep.tried} step sizes tried" if title == "Loss" else "",
            )
        )
    return Panels(
        tuple(plots),
        2,
        title="Chaos",
        caption="Loss after training and its derivative over the logarithm of the step size; both are cut to fit.",
    )


# --- the way back  ----------


def _rehearsed(engine: ReversibleLearningEngine, name: str) -> Rehearsal | Plot:
    try:
        return engine.rehearsal()
    except StepError as error:
        return _note(engine, name, str(error))


def _film(engine: ReversibleLearningEngine) -> Figure:
    found = _rehearsed(engine, "film")
    if isinstance(found, Plot):
        return found
    steps, total = found.steps, engine.config.inner_steps
    curve = found.losses
    x = np.arange(1, len(curve) + 1, dtype=float)
    span = (0.0, float(curve.max()) * 1.05 + 1e-9)
    moments = [(i, False) for i in range(len(steps))] + [(i, True) for i in range(len(steps) - 2, -1, -1)]
    times = np.array([float(2 * total - steps[i] if is_back else steps[i]) for i, is_back in moments])
    # What the buffer really held, out and back; in floats nothing is held.
    held = np.array(
        [(way.held_back if back else way.held)[i] for way in (found.exact,) for i, back in moments]
    )
    reach = float(np.abs(found.exact.shown_out).max())
    frames = []
    for moment, (index, is_back) in enumerate(moments):
        done = int(steps[index])
        on = min(max(done, 1), len(curve)) - 1
        loss = Plot(
            (
                Lines(x, curve.copy(), role="past"),
                Scatter(x[on : on + 1], curve[on : on + 1].copy(), size=9.0, role="model"),
            ),
            Axis("inner iteration", limits=(0.0, float(total) + 1)),
            Axis("loss", "nats", limits=span),
            "Loss",
            legend=False,
            note=f"{'back to' if is_back else 'on to'} {done} of {total}",
        )
        buffer = Plot(
            (
                Lines(times, held, role="past"),
                Scatter(times[moment : moment + 1], held[moment : moment + 1].copy(), size=9.0, role="model"),
            ),
            Axis("iteration, out and back", limits=(0.0, 2.0 * total + 1)),
            Axis("bits per weight", limits=(0.0, float(held.max()) * 1.1 + 1e-9)),
            "Buffer, integers",
            legend=False,
            note=f"1/{TAPE_BITS * done / held[moment]:.0f} of a tape" if held[moment] > 0 else "empty",
        )
        top, below = [loss], [buffer]
        for title, way in (("integers", found.exact), ("floats", found.floats)):
            values = way.shown_back[index] if is_back else way.shown_out[index]
            top.append(_weights_plot(engine, values, way.shown_out[index], reach, f"Weights, {title}"))
            bits = way.bits_back[index] if is_back else way.bits_out[index]
            note = "on the way out"
            if is_back:
                note = f"{way.wrong[index]:.0f} % of bits wrong" if way.wrong[index] else "every bit is right"
            below.append(_bits_plot(bits, way.bits_out[index], f"Bits, {title}", note))
        frames.append(Panels((*top, *below), 3, share_axes=False))
    caption = (
        "Training out and back again. The weights are those of the first layer's first units, grey is 0; below are the 64 "
        "bits of some of them, and in vermilion those that are not what they were at this moment on the way out. In exact "
        "integers they come back to the bits they had, in floats they miss. The buffer holds what integers would lose, far "
        "less than a tape of 32 bits for each weight and step."
    )
    axis, last = Axis("iteration, out and back"), len(frames) - 1
    # As a still it shows who came home.
    return Film(tuple(frames), times, axis, "Film runs backwards", caption, start=last)


def _bits_plot(bits: np.ndarray, true: np.ndarray, title: str, note: str) -> Plot:
    """Bits of weights (B,), the highest on the left; wrong ones stand out."""
    shifts = np.arange(63, -1, -1, dtype=np.uint64)

    def plane(words: np.ndarray) -> np.ndarray:
        return ((words[::-1, None] >> shifts) & np.uint64(1)).astype(np.float32)

    extent = (0.0, 64.0, 0.0, float(len(bits)))
    return Plot(
        (
            Heatmap(plane(bits), extent, (0.0, 1.6), "role", role="neutral"),
            Heatmap(plane(bits ^ true), extent, (0.0, 1.0), "role", role="warning"),
        ),
        Axis("bit, highest first", limits=extent[:2], ticks=((0.5, "64"), (32.5, "32"), (63.5, "1"))),
        # On a page the note stands within the axes.
        Axis("weight", limits=(0.0, NOTE_ROOM * len(bits)), ticks=()),
        title,
        legend=False,
        note=note,
    )


def _weights_plot(
    engine: ReversibleLearningEngine,
    values: np.ndarray,
    true: np.ndarray,
    reach: float,
    title: str,
) -> Plot:
    if engine.config.experiment == "toy":
        x, y = np.clip(values[1:], *TOY_X), np.clip(values[:1], *TOY_Y)
        return Plot(
            (
                Scatter(true[1:].copy(), true[:1].copy(), size=12.0, role="past", label="on the way out"),
                Scatter(x, y, size=7.0, role="model", label="now"),
            ),
            Axis("weight 2", limits=TOY_X),
            Axis("weight 1", limits=TOY_Y),
            title,
            legend=title.endswith("floats"),
        )
    images = _signed(values.reshape(-1, *_picture(engine)), reach)
    return _grid(images, -(-len(images) // 2), title, "")


def _reversal(engine: ReversibleLearningEngine) -> Figure:
    found = _rehearsed(engine, "reversal")
    if isinstance(found, Plot):
        return found
    steps = found.steps.astype(float)
    total = float(steps[-1])
    back = total - steps[::-1]
    tiny = 1e-17
    # What it comes to stands in the legend: a note would be over it in a narrow view.
    wrong = Plot(
        (
            Lines(
                back,
                found.floats.wrong[::-1].copy(),
                label=f"floats {found.floats.wrong[0]:.0f} %",
                role="warning",
            ),
            Lines(
                back,
                found.exact.wrong[::-1].copy(),
                label=f"integers {found.exact.wrong[0]:.0f} %",
                role="model",
                width=2.5,
            ),
        ),
        Axis("steps back"),
        Axis("wrong bits", "%", limits=(-2.0, 60.0)),
        "Wrong bits",
    )
    error = Plot(
        (
            Lines(back, np.maximum(found.floats.error[::-1], tiny), label="floats", role="warning"),
            Lines(back, np.maximum(found.exact.error[::-1], tiny), label="integers", role="model", width=2.5),
        ),
        Axis("steps back"),
        Axis("largest error", scale="log"),
        "Error",
        legend=False,
    )
    tape, buffer = TAPE_BITS * steps, found.exact.held
    held = Plot(
        (
            Lines(steps, np.maximum(tape, 1e-2), label="tape", role="past"),
            Lines(
                steps,
                np.maximum(buffer, 1e-2),
                label=f"buffer 1/{tape[-1] / buffer[-1]:.0f}" if buffer[-1] > 0 else "buffer",
                role="model",
                width=2.5,
            ),
        ),
        Axis("steps out"),
        Axis("bits per weight", scale="log"),
        "Memory",
    )
    return Panels(
        (wrong, error, held),
        3,
        column_titles=("Wrong bits", "Error", "Memory"),
        title="Reversal meter",
        caption="What comes back in exact integers and in floats, and what the way back needs: a tape of 32 bits for each "
        "step, or the information buffer. An error of 0 is drawn at 1e-17.",
        share_axes=False,
    )
