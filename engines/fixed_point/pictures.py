"""The fixed-point paper's pictures as arrays; computed on the worker's loop from the present weights and bit-widths."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engines.errors import InputError
from engines.figures import (
    HIDDEN,
    Axis,
    Bars,
    Boxes,
    Figure,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
)
from engines.fixed_point import allocation
from engines.fixed_point.calibration import HIGHEST_SQNR, Place
from engines.fixed_point.config import FLOAT_BITS, Kind
from engines.fixed_point.evaluator import layer_output
from engines.fixed_point.quantizer import Format, codes_of, quantise
from engines.fixed_point.sources import optimal_step

if TYPE_CHECKING:
    from engines.fixed_point.engine import FixedPointEngine

WEIGHTS: Kind = "weights"
READS: Kind = "activations"

BINS = 64
MOST_LEVELS = 64
"""Levels drawn one by one; more would be a grey wall."""

LAW_BITS = tuple(range(1, 9))
"""Bit-widths over which SQNR is drawn."""

ROOM_BELOW = 20.0
"""Percent of accuracy that are shown below the lowest point of the size and accuracy picture."""

MOST_MAPS = 16
LOWEST_NOISE = 1e-9
"""1/gamma below which a bar is not drawn any lower."""


@torch.no_grad()
def figures(engine: FixedPointEngine, wanted: Collection[str]) -> dict[str, Figure]:
    """The named pictures of an engine at its present step."""
    makers: dict[str, Callable[[FixedPointEngine], Figure]] = {
        "levels": _levels,
        "histograms": _histograms,
        "budget": _budget,
        "law": _law,
        "pareto": _pareto,
        "allocation": _allocation,
        "maps": _maps,
        "weight": _weight,
    }
    return {name: makers[name](engine) for name in wanted}


def _note(title: str, text: str) -> Plot:
    return Plot(x=HIDDEN, y=HIDDEN, title=title, note=text)


def _layer_axis(engine: FixedPointEngine, *, shown: bool = True) -> Axis:
    names = tuple((float(i), layer.name) for i, layer in enumerate(engine.layers))
    return Axis("layer", limits=(-0.6, len(names) - 0.4), ticks=names, shown=shown)


# --- numbers and levels  ----------


def _levels(engine: FixedPointEngine) -> Figure:
    number = _shown_layer(engine)
    name = engine.layers[number].name
    plots = tuple(
        _levels_of(engine, Place(kind, number), f"{what} {name}", held=True)
        for kind, what in ((WEIGHTS, "weights of"), (READS, "read by"))
    )
    plots = (*plots, _shares_plot(engine))
    return Panels(
        plots,
        3,
        (),
        tuple(plot.title for plot in plots),
        "Numbers and levels",
        f"Weights of {name} and what it reads on the calibration pictures, with the quantiser's levels; shaded: overload. "
        "The frame around the levels is the hand's: dragged, it changes their step. "
        "On the right the share of numbers that is clipped, and of those that are not zero the share that becomes it. Exact "
        "zeros are left out of histograms where there are many.",
        share_axes=False,
    )


def _histograms(engine: FixedPointEngine) -> Figure:
    plots = [
        replace(_levels_of(engine, Place(kind, i), layer.name), note="")
        for kind in (WEIGHTS, READS)
        for i, layer in enumerate(engine.layers)
    ]
    return Panels(
        tuple(plots),
        len(engine.layers),
        ("weights", "read"),
        tuple(layer.name for layer in engine.layers),
        "All layers",
        "Weights of each layer and what it reads on the calibration pictures, with the quantiser's levels; shaded: overload. "
        "Exact zeros are left out.",
        share_axes=False,
    )


def _shares_plot(engine: FixedPointEngine) -> Plot:
    x = np.arange(len(engine.layers), dtype=np.float64)
    marks: list[Mark] = []
    for k, (kind, what, roles) in enumerate(
        ((WEIGHTS, "w", ("warning", "past")), (READS, "read", ("category-1", "neutral")))
    ):
        parts = [
            shares(_numbers(engine, Place(kind, i)), form) for i, form in enumerate(engine.formats(kind))
        ]
        for n, (effect, role) in enumerate(zip(("clipped", "zeroed"), roles, strict=True)):
            height = 100 * np.array([part[n] for part in parts])
            marks.append(Bars(x + 0.2 * (2 * k + n) - 0.3, height, 0.18, label=f"{what} {effect}", role=role))
    return Plot(tuple(marks), _layer_axis(engine), Axis("share", "%"), "clipped or zeroed")


def shares(x: Tensor, form: Format) -> tuple[float, float]:
    """Parts of the numbers that a format clips, and of those that are not zero but become it."""
    if form.is_float or not x.numel():
        return 0.0, 0.0
    low, high = form.edges
    clipped = float(((x < low) | (x > high)).float().mean())
    other = x[x != 0]
    if not form.tread or not other.numel():
        return clipped, 0.0
    return clipped, float((codes_of(other, form) == 0).float().mean())


def _numbers(engine: FixedPointEngine, place: Place) -> Tensor:
    """Weights, fine-tuned where they are; or a sample of what a layer reads."""
    if place.kind == "weights":
        return engine.float_weights(place.layer)[0].flatten()
    return engine.reference.sample(place)


def _levels_of(engine: FixedPointEngine, place: Place, title: str, *, held: bool = False) -> Plot:
    """Histogram and levels; ``held`` puts a frame around the levels by which the hand changes their step."""
    form = engine.format(place)
    values = _numbers(engine, place)
    clipped, zeroed = shares(values, form)
    numbers = values.cpu().double().numpy()
    zeros = float((numbers == 0).mean())
    label = "value"
    if zeros > 0.02:
        label = "value ≠ 0"
        # A ReLU's zeros and the background of a picture would hide the rest.
        numbers = numbers[numbers != 0]
    reach = max(float(np.abs(numbers).max()) if numbers.size else 0.0, 1e-6)
    low = -reach if numbers.size and numbers.min() < 0 else 0.0
    levels = np.zeros(0)
    if not form.is_float:
        levels = form.levels().numpy()
        low, reach = min(low, form.edges[0]), max(reach, form.edges[1])
    margin = 0.04 * (reach - low)
    low, reach = low - margin, reach + margin
    counts, edges = np.histogram(numbers, BINS, (low, reach))
    share = counts / max(counts.sum(), 1)
    top = max(float(share.max()), 1e-9) * 1.05
    ceiling = top * 1.25  # for the note
    marks: list[Mark] = [Histogram(edges, share, role="data", opacity=0.6)]
    if not form.is_float:
        first, last = form.edges
        for a, b in ((low, first), (last, reach)):
            if b > a:
                ends = np.array([a, b])
                marks.append(Ribbon(ends, np.zeros(2), np.full(2, ceiling), role="warning", opacity=0.8))
        if len(levels) <= MOST_LEVELS:
            x = np.repeat(levels, 3)
            marks.append(Lines(x, np.tile([0.0, top, 0.0], len(levels)), role="model", width=1.0))
        if held:
            one = np.ones(1)
            frame = (first * one, 0 * one, (last - first) * one, top * one)
            marks.append(Boxes(*frame, 1.5, role="hand"))
    note = "floating point" if form.is_float else f"{_percent(clipped)} clipped"
    if not form.is_float and form.tread:
        note += f", {_percent(zeroed)} to zero"
    return Plot(
        tuple(marks),
        Axis(label, limits=(low, reach)),
        Axis("share", limits=(0.0, ceiling), shown=False),
        title,
        legend=False,
        note=note,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


# --- SQNR  ----------


def measured_output(engine: FixedPointEngine) -> float:
    """SQNR of the logits on the calibration pictures, dB: those of the float network against the quantised one's."""
    reference = engine.reference
    x = reference.images
    for layer, quantised in zip(engine.layers, engine.quantised(tuned=False), strict=True):
        x = layer_output(layer, x, quantised)
    exact = reference.read()[-1].cpu().double()
    noise = float((exact - x.cpu().double()).square().mean())
    signal = float(exact.square().mean())
    if noise <= signal * 10 ** (-HIGHEST_SQNR / 10):
        return HIGHEST_SQNR
    return 10 * math.log10(max(signal, 1e-30) / noise)


def _budget(engine: FixedPointEngine) -> Figure:
    reference, options = engine.reference, engine.options
    count = len(engine.layers)
    bits = {place: engine.bits[place.kind][place.layer] for place in reference.places}
    measured = np.array([engine.measured(place) for place in reference.places])
    predicted = np.array([reference.predicted(place, bits[place], options) for place in reference.places])
    noise = np.maximum(allocation.noise_of(measured), LOWEST_NOISE)
    worst = reference.places[int(noise.argmax())]
    what = "the weights of" if worst.kind == "weights" else "what is read by"
    share = _percent(float(noise.max() / noise.sum()))
    law, sum_of_all = allocation.combined(predicted), allocation.combined(measured)
    output = measured_output(engine)
    x = np.arange(count, dtype=np.float64)
    top = float((noise[:count] + noise[count:]).max()) * 1.1
    plots = [
        Plot(
            tuple(_stacked(x, noise[:count], noise[count:], worst)),
            _layer_axis(engine),
            Axis("noise 1/γ", limits=(0.0, top)),
            "noise",
            f"Most noise comes from {what} {engine.layers[worst.layer].name}: {share} of all.",
        )
    ]
    limit = max(min(float(max(measured.max(), predicted.max())), 60.0), 10.0) * 1.1
    for start, name in ((0, "SQNR, weights"), (count, "SQNR, read")):
        part = slice(start, start + count)
        plots.append(
            Plot(
                (
                    Bars(x - 0.2, np.minimum(measured[part], limit), 0.38, label="measured", role="data"),
                    Bars(
                        x + 0.2, np.minimum(predicted[part], limit), 0.38, label="by the law κβ", role="past"
                    ),
                ),
                _layer_axis(engine),
                Axis("SQNR", "dB", limits=(0.0, limit)),
                name,
                legend=start == 0,
            )
        )
    return Panels(
        tuple(plots),
        3,
        (),
        tuple(plot.title for plot in plots),
        "Noise budget",
        "What each quantisation of the float network adds to 1/γ of the output, and its SQNR, measured on weights and "
        f"calibration pictures and by the law. SQNR of the output: {_db(sum_of_all)} as the sum of all, {_db(law)} by the "
        f"law, {_db(output)} measured. Most noise comes from {what} {engine.layers[worst.layer].name}: {share}.",
        share_axes=False,
    )


def _stacked(x: np.ndarray, lower: np.ndarray, upper: np.ndarray, worst: Place) -> list[Mark]:
    """Two stacks of bars, and the largest of all parts over them.

    The sums stand behind, so that what is seen above the front bars is the second part.
    """
    i = worst.layer
    on_top = worst.kind != WEIGHTS
    largest = (upper if on_top else lower)[i : i + 1]
    return [
        Bars(x, lower + upper, 0.7, label="what it reads", role="category-4"),
        Bars(x, lower, 0.7, label="weights", role="category-2"),
        Bars(
            x[i : i + 1], largest, 0.7, float(lower[i]) if on_top else 0.0, label="the most", role="warning"
        ),
    ]


def _db(value: float) -> str:
    return f"{min(value, HIGHEST_SQNR):.1f} dB"


def _law(engine: FixedPointEngine) -> Figure:
    reference, options = engine.reference, engine.options
    bits = np.array(LAW_BITS)
    x = bits.astype(np.float64)
    marks: list[Mark] = [
        Lines(
            x,
            np.array([optimal_step(source, int(b))[1] for b in bits]),
            label=f"{source}, optimal",
            role="past",
            dash="dash" if source == "uniform" else "solid",
        )
        for source in ("uniform", "gaussian")
    ]
    for i, layer in enumerate(engine.layers):
        place = Place("weights", i)
        db = np.array([reference.measured(place, int(b), options) for b in bits])
        kappa = reference.kappa(place, options)
        label = f"{layer.name}, κ = {kappa:.1f} dB per bit"
        marks.append(Lines(x, db, label=label, role=f"category-{i % 8}", points=True))
    predicted = [reference.predicted(p, engine.bits[p.kind][p.layer], options) for p in reference.places]
    at = [(i, b) for i, b in enumerate(engine.bits["weights"]) if b <= LAW_BITS[-1]]
    chosen = np.array([float(b) for _, b in at])
    db = np.array([engine.measured(Place("weights", i)) for i, _ in at])
    marks.append(Scatter(chosen, db, 5.0, "square", label="yours", role="hand"))
    return Plot(
        tuple(marks),
        Axis("bits", limits=(0.5, 8.5), ticks=tuple((float(b), str(b)) for b in LAW_BITS)),
        Axis("SQNR", "dB"),
        "SQNR for each bit",
        "Measured SQNR of each layer's weights over the bit-width, and of optimal mid-rise quantisers; squares: present "
        "bits. In the corner the SQNR of the output, and what the law makes of it.",
        note=f"output {_db(measured_output(engine))}, by the law {_db(allocation.combined(predicted))}",
    )


# --- allocation  ----------


def _pareto(engine: FixedPointEngine) -> Figure:
    title = "Size and accuracy"
    if engine.converted_at is None:
        return _note(title, "Shown as soon as the float network is trained and converted.")
    weights, reads = engine.formats(WEIGHTS), engine.formats(READS)
    size = np.array([engine.size() / 1024])
    yours = engine.swept_accuracy(weights, reads)
    exact = [Format(FLOAT_BITS, 1.0)] * len(engine.layers)
    equal, found = engine.swept()
    equal_kib, found_kib = equal.sizes / 1024, found.sizes / 1024
    marks: list[Mark] = [
        Lines(equal_kib, equal.accuracies, label="equal bit-widths", role="data", points=True, dash="dash"),
        Lines(found_kib, found.accuracies, label="allocated", role="target", points=True),
    ]
    rival = engine.rival()
    solver = engine.swept_accuracy(engine.weight_formats(rival), reads)
    solver_size = np.array([engine.size(rival) / 1024])
    marks.append(
        Scatter(solver_size, np.array([solver]), 7.0, "circle", label="allocated, your size", role="target")
    )
    shown = [yours, solver]
    if engine.is_tuned:
        tuned = engine.swept_accuracy(weights, reads, tuned=True)
        marks.append(Scatter(size, np.array([tuned]), 7.0, "square", label="fine-tuned", role="model"))
        shown.append(tuned)
    marks.append(Scatter(size, np.array([yours]), 9.0, "star", label="yours", role="hand"))
    whole = engine.swept_accuracy(exact, exact)
    marks.append(Rule(whole, label="floating point", role="past"))
    top = max(whole, *shown, float(equal.accuracies.max()), float(found.accuracies.max()))
    count = len(engine.evaluator("swept").labels)
    return Plot(
        tuple(marks),
        Axis("size of all weights", "KiB"),
        # Far below all points the curves say nothing, and the points would lie upon each other.
        Axis("accuracy", "%", limits=(max(min(shown) - ROOM_BELOW, 0.0), top + 1.5)),
        title,
        f"Accuracy on {count} test pictures over the size of all weights. Both curves have the activation "
        "bits of the settings, the points your own.",
        note=f"you {yours:.1f} %, allocation {solver:.1f} %",
    )


def _allocation(engine: FixedPointEngine) -> Figure:
    title = "Bits of each layer"
    x = np.arange(len(engine.layers), dtype=np.float64)
    yours = np.minimum(np.array(engine.bits["weights"], dtype=np.float64), 16.0)
    marks: list[Mark] = [Bars(x - 0.2, yours, 0.38, label="yours", role="hand")]
    config = engine.config
    what = (
        f"{config.target_bits:g} bits on average"
        if config.target == "size"
        else f"{config.target_sqnr:g} dB at the output"
    )
    try:
        found = np.array(engine.target_allocation(), dtype=np.float64)
        note = f"allocated for {what}"
    except InputError as error:
        found, note = np.zeros(len(x)), str(error)
    marks.append(Bars(x + 0.2, found, 0.38, label="allocated", role="target"))
    return Plot(
        tuple(marks),
        _layer_axis(engine),
        Axis("bits", limits=(0.0, max(8.0, float(max(yours.max(), found.max()))) + 1)),
        title,
        "Bit-widths of the weights: yours, and those of the allocation for its target; 16 stands for floating point, too.",
        note=note,
    )


# --- one layer  ----------


def _shown_layer(engine: FixedPointEngine) -> int:
    return min(engine.config.layer, len(engine.layers)) - 1


def _maps(engine: FixedPointEngine) -> Figure:
    number = _shown_layer(engine)
    index = engine.config.picture % len(engine.data.test)
    x = engine.data.test[index : index + 1]
    exact, rough = x, x
    for i, (layer, a, b) in enumerate(
        zip(engine.layers, engine.float_network(), engine.quantised(), strict=True)
    ):
        if i > number:
            break
        exact, rough = layer_output(layer, exact, a), layer_output(layer, rough, b)
    layer = engine.layers[number]
    title = "Feature maps"
    if not layer.is_convolution:
        return _logits(engine, exact, rough, title)
    first, second = (part[0, :MOST_MAPS].cpu().double().numpy() for part in (exact, rough))
    top = max(float(first.max()), float(second.max()), 1e-9)
    difference = second - first
    reach = max(float(np.abs(difference).max()), 1e-9)
    columns = math.ceil(math.sqrt(len(first)))
    grids = (
        (first / top, "floating point", ""),
        (second / top, "fixed point", ""),
        (0.5 + 0.5 * difference / reach, "difference", f"grey is none, white +{reach:.2g}"),
    )
    error = float(np.square(difference).mean())
    signal = float(np.square(first).mean())
    note = f"{layer.name}: {_db(10 * math.log10(max(signal, 1e-30) / error))}" if error > 0 else layer.name
    return Panels(
        tuple(
            Plot(
                (ImageGrid(images, columns),),
                HIDDEN,
                HIDDEN,
                name,
                equal=True,
                y_down=True,
                legend=False,
                note=remark or (note if name == "fixed point" else f"white is {top:.2g}"),
            )
            for images, name, remark in grids
        ),
        3,
        (),
        tuple(name for _, name, _ in grids),
        title,
        f"What {layer.name} computes for test picture {index}, up to {MOST_MAPS} channels.",
    )


def _logits(engine: FixedPointEngine, exact: Tensor, rough: Tensor, title: str) -> Plot:
    first, second = (part[0].cpu().double().numpy() for part in (exact, rough))
    x = np.arange(len(first), dtype=np.float64)
    names = engine.data.dataset.class_names
    ticks = tuple((float(i), names[i] if i < len(names) else str(i)) for i in range(len(x)))
    return Plot(
        (
            Bars(x - 0.25, first, 0.24, label="floating point", role="past"),
            Bars(x, second, 0.24, label="fixed point", role="model"),
            Bars(x + 0.25, second - first, 0.24, label="difference", role="warning"),
        ),
        Axis("class", ticks=ticks if len(ticks) <= 20 else None),
        Axis("logit"),
        title,
        "The last layer's logits for one test picture, in floating point and in fixed point, and the difference.",
    )


def chosen_weight(engine: FixedPointEngine) -> tuple[int, int]:
    """Layer and index of the weight that is shown."""
    layer = _shown_layer(engine)
    return layer, engine.config.weight % engine.layers[layer].weights


def _weight(engine: FixedPointEngine) -> Figure:
    number, index = chosen_weight(engine)
    layer, form = engine.layers[number], engine.formats("weights")[number]
    weight = engine.float_weights(number)[0]
    rows = weight.reshape(layer.outputs, -1).cpu().double().numpy()
    quantised = quantise(weight, form).reshape(layer.outputs, -1).cpu().double().numpy()
    row, column = divmod(index, rows.shape[1])
    reach = max(float(np.abs(rows).max()), 1e-9)
    extent = (0.0, float(rows.shape[1]), 0.0, float(rows.shape[0]))
    one = np.ones(1)
    picture = Plot(
        (
            Heatmap(quantised, extent, (-reach, reach), "diverging", "weight"),
            Boxes(column * one, row * one, one, one, 2.0, role="hand"),
        ),
        Axis("input", limits=extent[:2]),
        Axis("output", limits=extent[2:]),
        f"Weights of {layer.name}",
        y_down=True,
        legend=False,
        hint="Choose a weight to see its bits.",
    )
    value, level = float(rows[row, column]), float(quantised[row, column])
    bits = _bits_plot(weight.flatten()[index : index + 1], form, value, level)
    return Panels(
        (picture, bits),
        2,
        (),
        (picture.title, bits.title),
        "Bits of a weight",
        f"The quantised weights of {layer.name}, and one of them as it is stored.",
        share_axes=False,
    )


def _bits_plot(weight: Tensor, form: Format, value: float, level: float) -> Plot:
    title = "Stored bits"
    if form.is_float:
        return Plot(
            x=HIDDEN,
            y=HIDDEN,
            title=title,
            note=f"w = {value:.6g} in 32-bit floating point: choose fewer bits.",
        )
    code = int(codes_of(weight, form)) - form.codes[0]
    word = [(code >> place) & 1 for place in range(form.bits - 1, -1, -1)]
    x = np.arange(form.bits, dtype=np.float64)
    n = form.fraction_bits
    step = f"2^{-n}" if n is not None else f"{form.step:.4g}"
    ticks = tuple((float(i), str(bit)) for i, bit in enumerate(word))
    return Plot(
        (Bars(x, np.array(word, dtype=np.float64), 0.8, role="hand"),),
        Axis("bits, the highest first", limits=(-0.6, form.bits - 0.4), ticks=ticks),
        Axis("bit", limits=(0.0, 1.6), ticks=((0.0, "0"), (1.0, "1"))),
        title,
        legend=False,
        note=f"w = {value:.3g} → {level:.4g}, level {code} of {2**form.bits}, step {step}",
    )
