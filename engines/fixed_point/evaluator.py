"""Accuracy of a quantised network on a fixed set of pictures, recomputed only from the first layer that changed; the worker.

What each layer reads is kept in floating point before it is quantised. A new bit-width of what layer i reads, or of its
weights, then needs the layers from i on and nothing before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engines.fixed_point.networks import Layer, compute
from engines.fixed_point.quantizer import Format, quantise

CHUNK = 400_000
"""Numbers of the largest activation that are in work at a time, so that all of it stays in the processor's cache."""

CHUNK_GPU = 64_000_000

KEPT_BYTES = 600 * 2**20
"""What may be kept for all pictures; the largest activations are given up first, and computed again from what is before."""


@dataclass(frozen=True)
class QuantisedLayer:
    """One layer as it computes in fixed point.

    Attributes
    ----------
    weight, bias : Tensor
        Already quantised.
    reads : Format
        Of what it reads.
    key : object
        Equal keys at the same place mean equal weights, biases and formats.
    """

    weight: Tensor
    bias: Tensor
    reads: Format
    key: Any


def layer_output(layer: Layer, x: Tensor, quantised: QuantisedLayer) -> Tensor:
    """What a layer gives in fixed point, after its ReLU where it has one; ``x`` is not quantised yet."""
    result = compute(layer, quantise(x, quantised.reads), quantised.weight, quantised.bias)
    return functional.relu_(result) if layer.is_convolution else result


def chunk_of(layers: tuple[Layer, ...], images: Tensor) -> int:
    """Pictures that are in work at a time."""
    largest = max(images[0].numel(), *(layer.values for layer in layers))
    return max(1, (CHUNK if images.device.type == "cpu" else CHUNK_GPU) // largest)


@torch.no_grad()
def accuracy_of(
    layers: tuple[Layer, ...], network: list[QuantisedLayer], images: Tensor, labels: Tensor
) -> float:
    """Percent of pictures that are classified rightly, from the first layer on, keeping nothing."""
    right = 0
    size = chunk_of(layers, images)
    for x, truth in zip(images.split(size), labels.split(size), strict=True):
        for layer, quantised in zip(layers, network, strict=True):
            x = layer_output(layer, x, quantised)
        right += int((x.argmax(1) == truth).sum())
    return 100.0 * right / len(images)


class Evaluator:
    """Answers how many pictures are classified rightly.

    Parameters
    ----------
    layers : tuple of Layer
    images : Tensor (M, C, H, W)
    labels : Tensor (M,)
    """

    def __init__(self, layers: tuple[Layer, ...], images: Tensor, labels: Tensor) -> None:
        self.layers = layers
        self.labels = labels
        self._chunk = chunk_of(layers, images)
        # What each layer reads, and the logits last; None where that is too much to keep.
        sizes = [images[0].numel(), *(layer.values for layer in layers)]
        left = KEPT_BYTES // (4 * max(len(images), 1))
        kept = {0, len(layers)}
        for i in sorted(range(1, len(layers)), key=lambda i: sizes[i]):
            if sizes[i] <= left:
                kept.add(i)
                left -= sizes[i]
        self._read: list[Tensor | None] = [images]
        for i, layer in enumerate(layers, 1):
            shape = (layer.outputs, *layer.gives) if layer.is_convolution else (layer.outputs,)
            empty = torch.empty((len(images), *shape), device=images.device) if i in kept else None
            self._read.append(empty)
        self._keys: list[Any] = [None] * len(layers)
        self.computed = 0

    @torch.no_grad()
    def logits(self, network: list[QuantisedLayer]) -> Tensor:
        """Logits (M, classes); overwritten by the next call. ``computed`` tells how many layers it took."""
        count = len(network)
        changed = (
            i for i, layer in enumerate(network) if self._keys[i] is None or self._keys[i] != layer.key
        )
        first = next(changed, count)
        while self._read[first] is None:
            first -= 1
        self.computed = count - first
        if first < count:
            # Should anything fail on the way, nothing half written is taken for the truth.
            self._keys[first:] = [None] * self.computed
            parts = [None if read is None else read.split(self._chunk) for read in self._read]
            start = parts[first]
            assert start is not None
            for number, x in enumerate(start):
                for i in range(first, count):
                    x = layer_output(self.layers[i], x, network[i])
                    kept = parts[i + 1]
                    if kept is not None:
                        kept[number].copy_(x)
            self._keys = [layer.key for layer in network]
        last = self._read[-1]
        assert last is not None
        return last

    def accuracy(self, network: list[QuantisedLayer]) -> float:
        """Percent of the pictures that are classified rightly."""
        right = self.logits(network).argmax(1) == self.labels
        return 100.0 * int(right.sum()) / len(self.labels)
