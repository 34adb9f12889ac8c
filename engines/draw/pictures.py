"""The DRAW paper's pictures as arrays; computed on the worker's loop from the present weights, training's luck untouched.

In an `ImageGrid` one unit is one pixel and the first pixel lies between 0 and 1, while the paper counts pixels from 1 at
their middles: a place g of the paper stands at g - 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engines.draw import drawings
from engines.draw.classifier import Glimpses
from engines.draw.config import FanOut, Probe
from engines.draw.filterbank import Geometry, Window, glimpse, spread
from engines.draw.material import NEIGHBOURS
from engines.draw.model import Trace
from engines.figures import (
    HIDDEN,
    Axis,
    Bars,
    Boxes,
    Figure,
    Film,
    Heatmap,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Rule,
    Scatter,
)

if TYPE_CHECKING:
    from engines.draw.engine import DrawEngine

MOST_FRAMES = 41
"""Frames of a film: every step of short drawings, evenly spread steps of longer ones."""

ERROR_PICTURES = 256
"""Held-out pictures for the classifier's error over its glimpses."""

READING, WRITING, HAND = "target", "warning", "hand"
"""Roles of the boxes, where it reads and where it writes; captions do without names of colours, which styles choose."""

THINNEST, WIDTH_PER_PIXEL, THICKEST = 0.75, 1.0, 6.0
"""Lines of boxes in points: the first and so much more for each pixel of sigma, up to the last."""


@torch.no_grad()
def figures(engine: DrawEngine, wanted: Collection[str]) -> dict[str, Figure]:
    """The named pictures of an engine at its present step."""
    shared = _Shared(engine)
    makers: dict[str, Callable[[DrawEngine], Figure]] = {"probe": _probe}
    if engine.classifier is None:
        makers |= {
            "canvas": partial(_canvas, shared),
            "samples": partial(_samples, shared),
            "filters": partial(_filters, shared),
            "terms": _terms,
            "held": _held,
            "fan": _fan,
            "twins": partial(_twins, shared),
        }
    else:
        makers["glimpses"] = _glimpses
    return {name: makers.get(name, partial(_elsewhere, name))(engine) for name in wanted}


def _elsewhere(name: str, engine: DrawEngine) -> Figure:
    view = engine.method.view(name)
    task = "draws pictures" if engine.classifier is not None else "classifies"
    preset = "digits" if engine.classifier is not None else "cluttered"
    return _note(view.title, f"Shown where a run {task}: choose the preset {preset}.")


def _note(title: str, text: str) -> Plot:
    return Plot(x=HIDDEN, y=HIDDEN, title=title, note=text)


class _Shared:
    """What several pictures of one moment need, computed once."""

    def __init__(self, engine: DrawEngine) -> None:
        self._engine = engine

    @cached_property
    def again(self) -> Trace:
        """The followed pictures drawn again."""
        engine = self._engine
        return drawings.drawn_again(engine, engine.followed(engine.config.followed))

    @cached_property
    def samples(self) -> Trace:
        """As many samples as any picture shows."""
        config = self._engine.config
        return drawings.samples(self._engine, max(config.shown, config.followed))


# --- parts  ----------


def _steps(last: int, first: int = 0) -> list[int]:
    """Steps shown in a film, both ends included."""
    if last - first + 1 <= MOST_FRAMES:
        return list(range(first, last + 1))
    return [round(float(t)) for t in np.linspace(first, last, MOST_FRAMES)]


def _film(frames: list[Plot] | list[Panels], steps: list[int], title: str, caption: str) -> Film:
    return Film(tuple(frames), np.array(steps), Axis("t"), title, caption, start=len(frames) - 1)


def _grid_plot(
    grid: ImageGrid,
    title: str,
    *marks: Mark,
    caption: str = "",
    note: str = "",
    hint: str = "",
    legend: bool = False,
) -> Plot:
    return Plot(
        (grid, *marks),
        HIDDEN,
        HIDDEN,
        title,
        caption,
        equal=True,
        y_down=True,
        legend=legend,
        note=note,
        hint=hint,
    )


def _columns(count: int) -> int:
    return max(1, math.ceil(math.sqrt(count)))


def _no_box(role: str) -> Boxes:
    none = np.zeros(0)
    return Boxes(none, none, none, none, role=role)


def _box(window: Window, geometry: Geometry, index: int, columns: int, place: int, role: str) -> Boxes:
    """The box around one window's filters, one sigma wider than their middles, over the picture at a place of a grid."""
    g_x, g_y, delta, sigma, _ = (float(part[index]) for part in window)
    half = (geometry.n - 1) / 2 * delta + sigma
    left, right = (min(max(g_x - 0.5 + side * half, 0.0), geometry.width) for side in (-1, 1))
    top, bottom = (min(max(g_y - 0.5 + side * half, 0.0), geometry.height) for side in (-1, 1))
    row, column = divmod(place, columns)
    return Boxes(
        np.array([left + column * (geometry.width + 1)]),
        np.array([top + row * (geometry.height + 1)]),
        np.array([right - left]),
        np.array([bottom - top]),
        line_width=min(THINNEST + WIDTH_PER_PIXEL * sigma, THICKEST),
        role=role,
    )


def _boxes(
    windows: list[Window | None], t: int, geometry: Geometry, count: int, columns: int, role: str
) -> list[Mark]:
    """One mark for each of the first pictures, as their lines differ in width; empty before the first step."""
    window = windows[t - 1] if 0 < t <= len(windows) else None
    if window is None:
        return [_no_box(role) for _ in range(count)]
    return [_box(window, geometry, index, columns, index, role) for index in range(count)]


def _canvases(trace: Trace, t: int, count: int) -> np.ndarray:
    return drawings.canvas_images(trace.canvases[t][:count])


# --- drawings  ----------


def _canvas(shared: _Shared, engine: DrawEngine) -> Figure:
    """Figures 1 and 5 of the paper: reading, drawing again, drawing from the prior."""
    shape, count = engine.model.shape, engine.config.followed
    columns = _columns(count)
    again, samples = shared.again, shared.samples
    pictures = drawings.images(engine.data.pictures(engine.followed(count)))
    titles = ("Held-out picture", "Drawn again", "Sample")
    steps, frames = _steps(shape.glimpses), []
    for t in steps:
        note = f"t = {t} of {shape.glimpses}"
        frames.append(
            Panels(
                (
                    _grid_plot(
                        ImageGrid(pictures, columns),
                        titles[0],
                        *_boxes(again.reads, t, shape.reading, count, columns, READING),
                        note=note,
                    ),
                    _grid_plot(
                        ImageGrid(_canvases(again, t, count), columns),
                        titles[1],
                        *_boxes(again.writes, t, shape.writing, count, columns, WRITING),
                    ),
                    _grid_plot(
                        ImageGrid(_canvases(samples, t, count), columns),
                        titles[2],
                        *_boxes(samples.writes, t, shape.writing, count, columns, WRITING),
                    ),
                ),
                3,
                column_titles=titles,
            )
        )
    caption = (
        "Held-out pictures with the window that reads, the canvas on which they are drawn again and samples, with the window "
        "that writes; thicker lines stand for wider filters."
    )
    return _film(frames, steps, "Canvas", caption)


def nearest(engine: DrawEngine, pictures: Tensor) -> Tensor:
    """The training picture with the smallest squared distance to each of (N, pixels) in 0 .. 1, (N, pixels) grey."""
    data = engine.data
    best = torch.full((len(pictures),), torch.inf, device=pictures.device)
    found = torch.zeros_like(pictures)
    for levels in data.train[:NEIGHBOURS].split(2048):
        grey = data.grey(levels)
        distance = grey.square().sum(1)[None] - 2 * pictures @ grey.T
        least, index = distance.min(1)
        closer = least < best
        best = torch.where(closer, least, best)
        found[closer] = grey[index[closer]]
    return found


def _samples(shared: _Shared, engine: DrawEngine) -> Figure:
    shape, count = engine.model.shape, engine.config.shown
    trace, columns = shared.samples, _columns(count)
    ends = torch.sigmoid(trace.canvases[-1][:count]).flatten(1)
    neighbours = drawings.images(engine.data.pictures(nearest(engine, ends)))
    titles = ("Samples", "Nearest training pictures")
    steps = _steps(shape.glimpses)
    frames = [
        Panels(
            (
                _grid_plot(
                    ImageGrid(_canvases(trace, t, count), columns),
                    titles[0],
                    note=f"t = {t} of {shape.glimpses}",
                ),
                _grid_plot(ImageGrid(neighbours, columns), titles[1]),
            ),
            2,
            column_titles=titles,
        )
        for t in steps
    ]
    caption = "Samples, all drawn in step, and for each the training picture with the smallest squared distance to its end."
    return _film(frames, steps, "Samples", caption)


def _twins(shared: _Shared, engine: DrawEngine) -> Figure:
    if engine.twin is None:
        return _note("Twins", "No twin is trained: switch on 'Train the twin', or choose the preset twins.")
    count, columns = engine.config.shown, _columns(engine.config.shown)
    mine, other = shared.samples, drawings.samples(engine, engine.config.shown, engine.twin.model)
    traces = (mine, other) if engine.config.attention else (other, mine)
    titles = ("With attention", "Without attention")
    steps = _steps(engine.model.shape.glimpses)
    frames = [
        Panels(
            tuple(
                _grid_plot(ImageGrid(_canvases(trace, t, count), columns), title)
                for trace, title in zip(traces, titles, strict=True)
            ),
            2,
            column_titles=titles,
        )
        for t in steps
    ]
    return _film(frames, steps, "Twins", "Samples of two networks that were trained on the same batches.")


def _held(engine: DrawEngine) -> Figure:
    request = engine.hand.brush
    both = drawings.held(engine, request)
    shape = engine.model.shape
    before, after = drawings.film_images(both.before), drawings.film_images(both.after)
    hint = "" if request is not None else "Drag the window, or paint" if shape.attention else "Paint on it"
    is_picture = request is not None and request.of == "picture"
    shown = _steps(shape.glimpses)
    frames = []
    for t in shown:
        holds = (
            request is not None
            and request.window is not None
            and request.step <= t <= (request.last or request.step)
        )
        model_box = _boxes(both.after.writes, t, shape.writing, 1, 1, WRITING)
        hand_box = _boxes(both.after.writes, t, shape.writing, 1, 1, HAND)
        note = f"t = {t} of {shape.glimpses}"
        does = request is not None and (request.window is not None or request.paint is not None)
        if does and request is not None and t == request.step:
            note += ", your hand"
        plots = [
            _grid_plot(
                ImageGrid(before[t : t + 1], 1),
                "Without your hand",
                *_boxes(both.before.writes, t, shape.writing, 1, 1, WRITING),
                note=f"t = {t} of {shape.glimpses}",
            ),
            _grid_plot(
                ImageGrid(after[t : t + 1], 1),
                "With your hand",
                *([_no_box(WRITING)] if holds else model_box),
                *(hand_box if holds else [_no_box(HAND)]),
                note=note if request is not None else "",
                hint=hint,
            ),
        ]
        if is_picture:
            picture = drawings.images(engine.data.pictures(engine.picked()))
            plots.append(_grid_plot(ImageGrid(picture, 1), "What it looks at"))
        frames.append(Panels(tuple(plots), len(plots), column_titles=tuple(plot.title for plot in plots)))
    caption = "One drawing as it would have been, and as it goes on from what the hand did."
    return _film(frames, shown, "Hold the brush", caption)


def _fan(engine: DrawEngine) -> Figure:
    glimpses = engine.model.shape.glimpses
    request = engine.hand.fan or FanOut(max(1, glimpses // 4))
    trace, columns = drawings.fan(engine, request), _columns(request.endings)
    steps = _steps(glimpses)
    frames = [
        _grid_plot(
            ImageGrid(_canvases(trace, t, request.endings), columns),
            "Fan of endings",
            note=f"t = {t} of {glimpses}: " + ("one beginning" if t < request.step else "endings"),
        )
        for t in steps
    ]
    caption = f"One sample, and the same with z of step {request.step} drawn anew each time; the first is the sample itself."
    return _film(frames, steps, "Fan of endings", caption)


# --- windows  ----------


def _bank_plot(bank: np.ndarray, axis: str, title: str, hint: str = "") -> Plot:
    """A filter bank (N, size) as a heat map, the first filter at the bottom."""
    n, size = bank.shape
    extent = (0.5, size + 0.5, 0.5, n + 0.5)
    # There is no filter between two.
    numbered = range(1, n + 1, -(-n // 6))
    return Plot(
        (Heatmap(bank, extent, (0.0, max(float(bank.max()), 1e-3))),),
        Axis(f"pixel {axis}", limits=(0.5, size + 0.5)),
        Axis("filter", ticks=tuple((float(i), str(i)) for i in numbered), limits=(0.5, n + 0.5)),
        title,
        legend=False,
        hint=hint,
    )


def _array(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().numpy().copy()


def _scaled(patch: Tensor) -> tuple[np.ndarray, float]:
    """A patch (1, n, C, n) of any sign as a picture: grey is nothing, and the number that white stands for."""
    reach = max(float(patch.abs().max()), 1e-6)
    return drawings.images(0.5 + 0.5 * patch / reach), reach


def _filters(shared: _Shared, engine: DrawEngine) -> Figure:
    shape = engine.model.shape
    title = "Filters"
    if not shape.attention:
        return _note(title, "Without attention there are no filters: choose attention=true.")
    trace = shared.again
    x = engine.data.pictures(engine.followed(1))
    steps, frames = _steps(shape.glimpses, 1), []
    for t in steps:
        plots: list[Plot] = []
        reading, writing = trace.reads[t - 1], trace.writes[t - 1]
        assert reading is not None and writing is not None
        for window, geometry, name in (
            (Window(*(part[:1] for part in reading)), shape.reading, "reading"),
            (Window(*(part[:1] for part in writing)), shape.writing, "writing"),
        ):
            f_y, f_x = geometry.banks(window)
            plots += [
                _bank_plot(_array(f_y[0]), "b", f"F_Y, {name}"),
                _bank_plot(_array(f_x[0]), "a", f"F_X, {name}"),
            ]
            if name == "reading":
                seen = drawings.images(glimpse(x, f_y, f_x))
                note = f"intensity {float(window.gamma):.3g}"
                plots.append(_grid_plot(ImageGrid(seen, 1), "Read", note=note))
            else:
                patch, reach = _scaled(engine.model.patch(trace.states[t].h_dec[:1]) / window.gamma[0])
                plots.append(_grid_plot(ImageGrid(patch, 1), "Written", note=f"white is +{reach:.3g}"))
        frames.append(Panels(tuple(plots), 3, share_axes=False))
    caption = (
        "Filter banks of both windows for the picked picture, what is read through them, and what is written; grey is "
        "nothing, white adds ink and black takes it away."
    )
    return _film(frames, steps, title, caption)


@dataclass(frozen=True)
class Probed:
    """What a probe sees.

    Attributes
    ----------
    f_x, f_y : array (n, width), (n, height)
    glimpse : array (n, n) or (n, n, 3)
        gamma F_Y x F_X^T.
    written : array (H, W) or (H, W, 3)
        The same written back through the grid, 1/gamma F_Y^T (.) F_X.
    """

    f_x: np.ndarray
    f_y: np.ndarray
    glimpse: np.ndarray
    written: np.ndarray


def _laid(engine: DrawEngine) -> tuple[Probe, Geometry, Window]:
    _, height, width = engine.data.picture
    probe = engine.hand.probe
    if probe is None:
        whole = Geometry(width, height, engine.config.read_n)
        probe = Probe((width + 1) / 2, (height + 1) / 2, whole.stride, 1.0, whole.n)
    numbers = (probe.g_x, probe.g_y, probe.delta, probe.sigma, probe.gamma)
    window = Window(*(torch.tensor([number], device=engine.device) for number in numbers))
    return probe, Geometry(width, height, probe.n), window


@torch.no_grad()
def probed(engine: DrawEngine) -> Probed:
    """What the probe sees of the picked picture."""
    _, geometry, window = _laid(engine)
    f_y, f_x = geometry.banks(window)
    patch = window.gamma * glimpse(engine.data.pictures(engine.picked()), f_y, f_x)
    back = spread(patch, f_y, f_x) / window.gamma
    return Probed(_array(f_x[0]), _array(f_y[0]), drawings.images(patch)[0], drawings.images(back)[0])


def _probe(engine: DrawEngine) -> Figure:
    probe, geometry, window = _laid(engine)
    seen = probed(engine)
    picture = drawings.images(engine.data.pictures(engine.picked()))
    places = np.arange(1, probe.n + 1) - (probe.n / 2 + 0.5)
    x, y = np.meshgrid(probe.g_x - 0.5 + places * probe.delta, probe.g_y - 0.5 + places * probe.delta)
    inside = (x >= 0) & (x <= geometry.width) & (y >= 0) & (y <= geometry.height)
    strength = max(float(np.abs(seen.written).max()), 1e-6)
    return Panels(
        (
            _grid_plot(
                ImageGrid(picture, 1),
                "Picture",
                _box(window, geometry, 0, 1, 0, HAND),
                Scatter(x[inside], y[inside], size=3.0, role=HAND),
            ),
            _grid_plot(ImageGrid(seen.glimpse[None].copy(), 1), "Glimpse"),
            _grid_plot(ImageGrid(seen.written[None] / strength, 1), "Written back"),
            _bank_plot(seen.f_x, "a", "F_X"),
            _bank_plot(seen.f_y, "b", "F_Y"),
        ),
        5,
        title="Probe",
        caption=f"A grid of {probe.n}×{probe.n} filters with stride {probe.delta:.3g} and sigma {probe.sigma:.3g} px over a "
        f"picture, the glimpse, and the glimpse written back through the same grid, where white is {strength:.3g}.",
        share_axes=False,
    )


# --- numbers  ----------


def _terms(engine: DrawEngine) -> Figure:
    bound = engine.bound()
    divergence = bound.divergence.numpy()
    t = np.arange(1, len(divergence) + 1, dtype=float)
    parts = np.array([bound.reconstruction, float(divergence.sum())])
    places = np.arange(2, dtype=float)
    return Panels(
        (
            Plot(
                (Bars(t, divergence, role="model"),),
                Axis("t", limits=(0.4, len(t) + 0.6)),
                Axis("KL", "nats"),
                "What each step tells",
                legend=False,
            ),
            Plot(
                (Bars(places, parts, role="model"),),
                Axis("part", ticks=((0.0, "pixels, Lˣ"), (1.0, "latents, Lᶻ")), limits=(-0.6, 1.6)),
                Axis("L", "nats"),
                "Parts of L",
                legend=False,
                note=f"{bound.nats:.4g} nats",
            ),
        ),
        2,
        title="Where nats go",
        caption="Divergence of the latents of each step from the prior, in the mean over held-out pictures, and both "
        f"parts of the bound: {parts[0]:.4g} nats for the pixels and {parts[1]:.4g} for the latents.",
        share_axes=False,
    )


# --- the classifier  ----------


def _glimpses(engine: DrawEngine) -> Figure:
    assert engine.classifier is not None and engine.data.test_labels is not None
    classifier, count = engine.classifier, engine.config.followed
    columns = _columns(count)
    x = engine.followed(count)
    seen: Glimpses = classifier.look(engine.data.pictures(x), every_answer=True)
    errors, _ = engine.errors(min(ERROR_PICTURES, len(engine.data.test)))
    pictures = drawings.images(engine.data.pictures(x))
    glimpses, names = classifier.glimpses, engine.data.dataset.class_names
    every = np.arange(1, glimpses + 1, dtype=float)
    titles = ("Where it looks", "What it sees", "Error after so many glimpses")
    steps, frames = _steps(glimpses, 1), []
    windows: list[Window | None] = list(seen.windows)
    for t in steps:
        answers = ", ".join(
            names[k] if k < len(names) else str(k) for k in seen.logits[t - 1].argmax(1).tolist()
        )
        patches = drawings.images(seen.patches[t - 1] / seen.windows[t - 1].gamma[:, None, None, None])
        frames.append(
            Panels(
                (
                    _grid_plot(
                        ImageGrid(pictures, columns),
                        titles[0],
                        *_boxes(windows, t, classifier.geometry, count, columns, READING),
                        note=f"t = {t}: {answers}",
                    ),
                    _grid_plot(ImageGrid(patches, columns), titles[1]),
                    Plot(
                        (
                            Lines(every, errors, points=True, role="model"),
                            Rule(float(t), "x", role="past"),
                        ),
                        Axis("t", limits=(0.5, glimpses + 0.5)),
                        Axis("Error", "%", limits=(0.0, 100.0)),
                        titles[2],
                        legend=False,
                    ),
                ),
                3,
                column_titles=titles,
                share_axes=False,
            )
        )
    caption = (
        "The classifier's reading window on held-out pictures, what it sees through it and would answer, and the share "
        f"of wrong answers over glimpses on {min(ERROR_PICTURES, len(engine.data.test))} held-out pictures."
    )
    return _film(frames, steps, "Glimpses", caption)
