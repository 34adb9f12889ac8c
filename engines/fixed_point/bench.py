"""How long a move of a bit-width takes to be answered, beside evaluating the whole network the plain way; main thread.

The plain way is what one writes first: the network as a list of `nn` modules, every weight and every activation rounded anew
(`torch.fake_quantize_per_tensor_affine` with the same steps), all test pictures in batches of 500. Both are measured in turns
within one run. Weights are those of a network that was not trained: they do not change the time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from engines.bench import ratios, threads_of_the_lab
from engines.config import Preset, find_preset
from engines.engine import stream
from engines.errors import DataError
from engines.fixed_point.calibration import Options, Place, Reference
from engines.fixed_point.config import METHOD, FixedPointSettings, Kind
from engines.fixed_point.evaluator import Evaluator, QuantisedLayer
from engines.fixed_point.material import load
from engines.fixed_point.networks import FloatNetwork, Layer, plan
from engines.fixed_point.quantizer import Format, bias_format, quantise

PRESETS = ("digits", "mnist")
"""Measured when none is chosen."""

SIZES = {
    "digits": ((1, 8, 8), 360),
    "mnist": ((1, 28, 28), 10_000),
    "fashion_mnist": ((1, 28, 28), 10_000),
    "cifar10": ((3, 32, 32), 10_000),
}
"""Picture and number of test pictures, for random ones where the data are not here."""

PLAIN_BATCH = 500


class PlainNetwork(nn.Module):
    """The quantised network in plain PyTorch modules.

    Parameters
    ----------
    layers : tuple of Layer
    weights, biases : list of Tensor
        Folded, in floating point.
    formats, reads : list of Format
        Of weights and of what layers read; mid-tread.
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        weights: list[Tensor],
        biases: list[Tensor],
        formats: list[Format],
        reads: list[Format],
    ) -> None:
        super().__init__()
        self.formats, self.reads = formats, reads
        self.weights = weights
        parts: list[nn.Conv2d | nn.Linear] = []
        for layer, weight, bias in zip(layers, weights, biases, strict=True):
            part: nn.Conv2d | nn.Linear
            if layer.is_convolution:
                part = nn.Conv2d(layer.inputs, layer.outputs, 3, layer.stride, 1)
            else:
                part = nn.Linear(layer.inputs, layer.outputs)
            with torch.no_grad():
                part.weight.copy_(weight)
                assert part.bias is not None
                part.bias.copy_(quantise(bias, bias_format(bias, Format(8, 1.0))))
            parts.append(part)
        self.parts = nn.ModuleList(parts)

    @staticmethod
    def rounded(x: Tensor, form: Format) -> Tensor:
        """Q(x) by PyTorch's own."""
        low, high = form.codes
        return torch.fake_quantize_per_tensor_affine(x, form.step, 0, low, high)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of pictures; weights are rounded in every call."""
        for number, (part, weight) in enumerate(zip(self.parts, self.weights, strict=True)):
            x = self.rounded(x, self.reads[number])
            assert isinstance(part, nn.Conv2d | nn.Linear)
            part.weight.data = self.rounded(weight, self.formats[number])
            x = part(x) if isinstance(part, nn.Conv2d) else part(x.flatten(1))
            if isinstance(part, nn.Conv2d):
                x = torch.relu(x)
        return x

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Percent of the pictures that are classified rightly."""
        right = 0
        for x, truth in zip(images.split(PLAIN_BATCH), labels.split(PLAIN_BATCH), strict=True):
            right += int((self(x).argmax(1) == truth).sum())
        return 100.0 * right / len(images)


class Subject:
    """A network with its pictures, whose bits are moved.

    Parameters
    ----------
    settings : FixedPointSettings
    """

    def __init__(self, settings: FixedPointSettings) -> None:
        self.images, self.labels, calibration, classes, self.random = pictures_of(settings)
        channels, height, wide = self.images.shape[1:]
        self.layers = plan((channels, height, wide), classes, settings.width)
        network = FloatNetwork(self.layers, stream(settings.seed, "initialisation")).eval()
        # Other rules cost the same once a step is known.
        self.options = Options("gaussian")
        self.reference = Reference(self.layers, *network.folded(), calibration)
        self.bits: dict[Kind, list[int]] = {
            "weights": [4] * len(self.layers),
            "activations": [6] * len(self.layers),
        }
        self.evaluator = Evaluator(self.layers, self.images, self.labels)
        self._kept: list[QuantisedLayer | None] = [None] * len(self.layers)

    def formats(self, kind: Kind) -> list[Format]:
        """Of all layers."""
        bits = self.bits[kind]
        return [self.reference.format(Place(kind, i), b, self.options) for i, b in enumerate(bits)]

    def answer(self) -> float:
        """Accuracy with the present bits, as the engine finds it."""
        return self.evaluator.accuracy(self.network())

    def logits(self) -> Tensor:
        """Logits with the present bits, (M, classes)."""
        return self.evaluator.logits(self.network())

    def network(self) -> list[QuantisedLayer]:
        """The network with the present bits; layers that did not change are kept."""
        network = []
        pairs = zip(self.formats("weights"), self.formats("activations"), strict=True)
        for i, (form, read) in enumerate(pairs):
            kept = self._kept[i]
            if kept is None or kept.key != (form, read):
                weight, bias = self.reference.weights[i], self.reference.biases[i]
                kept = QuantisedLayer(
                    quantise(weight, form), quantise(bias, bias_format(bias, form)), read, (form, read)
                )
                self._kept[i] = kept
            network.append(kept)
        return network

    def plain(self) -> PlainNetwork:
        """The same network, plain."""
        reference = self.reference
        return PlainNetwork(
            self.layers,
            reference.weights,
            reference.biases,
            self.formats("weights"),
            self.formats("activations"),
        )


def pictures_of(settings: FixedPointSettings) -> tuple[Tensor, Tensor, Tensor, int, bool]:
    """Test pictures, their classes, calibration pictures, number of classes, and whether they are random ones.

    Raises
    ------
    DataError
        The data are not here, and their size is not known.
    """
    try:
        data = load(settings, torch.device("cpu"))
    except DataError:
        if settings.data not in SIZES:
            raise
        picture, count = SIZES[settings.data]
        generator = torch.Generator().manual_seed(settings.seed)
        images = torch.rand((count, *picture), generator=generator)
        labels = torch.randint(10, (count,), generator=generator)
        return images, labels, images[: settings.calibration], 10, True
    return data.test, data.test_labels, data.calibration, data.classes, False


def bench(preset: Preset | None, seconds: float, rounds: int, peer: str) -> dict[str, Any]:
    """Milliseconds of the answer to each slider, beside the plain way.

    Parameters
    ----------
    preset : Preset or None
        Its data and network; None for `PRESETS`.
    seconds : float
        Of each round, at least; every slider is moved once at any rate.
    rounds : int
    peer : {"auto", "yes", "no"}
        Measure the plain way beside; it comes with the lab, so only "no" leaves it out.

    Returns
    -------
    dict
        Plain data.
    """
    presets = [preset] if preset is not None else [find_preset(METHOD.presets, name) for name in PRESETS]
    with threads_of_the_lab() as threads:
        measured = {p.id: _bench_one(p, seconds, rounds, peer != "no") for p in presets}
    result: dict[str, Any] = {
        "seconds": seconds,
        "rounds": rounds,
        "torch_threads": threads,
        "versions": {"torch": version("torch")},
        "peer": "the whole network anew, plain (engines.fixed_point.bench.PlainNetwork)",
        "presets": measured,
    }
    if peer == "no":
        result["note"] = "The plain way was left out, as --peer no asks."
    return result


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def _bench_one(preset: Preset, seconds: float, rounds: int, with_peer: bool) -> dict[str, Any]:
    settings = FixedPointSettings.build(preset.values)
    subject = Subject(settings)
    subject.answer()
    sliders: list[tuple[Kind, int]] = [(kind, i) for kind in subject.bits for i in range(len(subject.layers))]
    for kind, i in sliders:
        # The steps of a bit-width are found once in a session.
        for bits in (4, 5, 6, 7):
            subject.reference.format(Place(kind, i), bits, subject.options)
    ours: dict[tuple[Kind, int], list[float]] = {slider: [] for slider in sliders}
    medians: list[float] = []
    plain: list[float] = []
    for _ in range(rounds):
        began, some, others = time.perf_counter(), [], []
        while True:
            for kind, i in sliders:
                subject.bits[kind][i] = subject.bits[kind][i] ^ 1
                some.append(_timed(subject.answer))
                ours[kind, i].append(some[-1])
            if with_peer:
                network = subject.plain()
                others.append(_timed(lambda: network.accuracy(subject.images, subject.labels)))  # noqa: B023
            if time.perf_counter() - began >= seconds:
                break
        medians.append(statistics.median(some))
        if with_peer:
            plain.append(statistics.median(others))
    each = {slider: statistics.median(times) for slider, times in ours.items()}
    worst = max(each, key=lambda slider: each[slider])
    result: dict[str, Any] = {
        "test_pictures": len(subject.images),
        "pictures": "random" if subject.random else "real",
        "weights": sum(layer.weights for layer in subject.layers),
        "macs_per_picture": sum(layer.macs for layer in subject.layers),
        "answer_ms": round(statistics.median(each.values()), 2),
        "worst_answer_ms": round(each[worst], 2),
        "worst_slider": f"{worst[0]} of {subject.layers[worst[1]].name}",
        "slowest_ms": round(max(max(times) for times in ours.values()), 2),
        "each_ms": {
            kind: [round(each[kind, i], 2) for i in range(len(subject.layers))] for kind in subject.bits
        },
        "all_answer_ms": [round(time, 2) for time in medians],
    }
    if with_peer:
        result |= {
            "plain_ms": round(statistics.median(plain), 2),
            "all_plain_ms": [round(time, 2) for time in plain],
            **ratios("plain_to_ours", plain, medians),
            "plain_to_worst": round(statistics.median(plain) / each[worst], 3),
        }
    return result
