"""The convolutional network: trained with batch normalisation, folded into plain layers for quantising; the worker.

Every layer but the last is a convolution of 3x3, batch normalisation and a ReLU; the last is fully connected. Strides take
the place of pooling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNEL = 3


@dataclass(frozen=True)
class Layer:
    """Sizes of one layer.

    Attributes
    ----------
    name : str
    inputs, outputs : int
        Channels; of the last layer, numbers.
    stride : int
        0 for the fully connected layer.
    reads, gives : (int, int)
        Height and width of what goes in and comes out; (1, 1) of the last layer.
    """

    name: str
    inputs: int
    outputs: int
    stride: int
    reads: tuple[int, int]
    gives: tuple[int, int]

    @property
    def is_convolution(self) -> bool:
        return self.stride > 0

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight tensor, outputs first."""
        if self.is_convolution:
            return self.outputs, self.inputs, KERNEL, KERNEL
        return self.outputs, self.inputs

    @property
    def weights(self) -> int:
        """Number of weights."""
        return math.prod(self.weight_shape)

    @property
    def macs(self) -> int:
        """Multiplications and additions for one picture."""
        return self.weights * math.prod(self.gives)

    @property
    def values(self) -> int:
        """Numbers that it gives for one picture."""
        return self.outputs * math.prod(self.gives)

    def text(self) -> str:
        """In words."""
        if self.is_convolution:
            return (
                f"{self.name}: {KERNEL}x{KERNEL} convolution {self.inputs} to {self.outputs}, stride {self.stride}, "
                f"{self.weights} weights"
            )
        return f"{self.name}: fully connected {self.inputs} to {self.outputs}, {self.weights} weights"


def plan(picture: tuple[int, int, int], classes: int, width: int) -> tuple[Layer, ...]:
    """The layers for pictures of (channels, height, width).

    Parameters
    ----------
    picture : (int, int, int)
    classes : int
    width : int
        Channels of the first layer; the others have multiples of it.
    """
    channels, height, wide = picture
    side = max(height, wide)
    blocks: tuple[tuple[int, int], ...]
    if side < 16:
        blocks = ((1, 1), (2, 2), (2, 1), (4, 2))
    elif side < 30:
        blocks = ((1, 2), (2, 2), (2, 1), (4, 2))
    elif side < 48:
        blocks = ((1, 1), (2, 2), (2, 2), (4, 1), (4, 2))
    else:
        blocks = ((1, 2), (2, 2), (2, 2), (4, 2), (4, 2))
    layers: list[Layer] = []
    size = (height, wide)
    for number, (multiple, stride) in enumerate(blocks, 1):
        after = (-(-size[0] // stride), -(-size[1] // stride))
        layers.append(Layer(f"conv{number}", channels, multiple * width, stride, size, after))
        channels, size = multiple * width, after
    layers.append(Layer("fc", channels * math.prod(size), classes, 0, (1, 1), (1, 1)))
    return tuple(layers)


class FloatNetwork(nn.Module):
    """The network as it is trained, with batch normalisation.

    Parameters
    ----------
    layers : tuple of Layer
    generator : torch.Generator
        Of the initial weights, normal with variance 2 over the fan-in; on the CPU.
    """

    def __init__(self, layers: tuple[Layer, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.layers = layers
        self.weights = nn.ParameterList()
        for layer in layers:
            fan_in = layer.weights // layer.outputs
            deviation = math.sqrt((2.0 if layer.is_convolution else 1.0) / fan_in)
            self.weights.append(
                nn.Parameter(deviation * torch.randn(layer.weight_shape, generator=generator))
            )
        self.norms = nn.ModuleList([nn.BatchNorm2d(layer.outputs) for layer in layers[:-1]])
        self.bias = nn.Parameter(torch.zeros(layers[-1].outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of pictures (B, C, H, W)."""
        for layer, weight, norm in zip(self.layers[:-1], self.weights[:-1], self.norms, strict=True):
            x = functional.relu(norm(functional.conv2d(x, weight, None, layer.stride, KERNEL // 2)))
        return functional.linear(x.flatten(1), self.weights[-1], self.bias)

    @torch.no_grad()
    def folded(self) -> tuple[list[Tensor], list[Tensor]]:
        """Weights and biases of plain layers that compute the same as this network with its running statistics.

        W' = W g / sqrt(v + eps), b' = b - m g / sqrt(v + eps), for each output channel.
        """
        weights, biases = [], []
        for weight, norm in zip(self.weights[:-1], self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_var is not None and norm.running_mean is not None
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weights.append((weight * factor[:, None, None, None]).detach().clone())
            biases.append((norm.bias - norm.running_mean * factor).detach().clone())
        return [*weights, self.weights[-1].detach().clone()], [*biases, self.bias.detach().clone()]


def compute(layer: Layer, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One folded layer without its ReLU."""
    if layer.is_convolution:
        return functional.conv2d(x, weight, bias, layer.stride, KERNEL // 2)
    return functional.linear(x.flatten(1), weight, bias)


def inputs_of(
    layers: tuple[Layer, ...], weights: list[Tensor], biases: list[Tensor], x: Tensor
) -> list[Tensor]:
    """What every layer of the folded float network reads, and the logits last."""
    read = [x]
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        x = compute(layer, x, weight, bias)
        if layer.is_convolution:
            x = functional.relu(x)
        read.append(x)
    return read


def text(layers: tuple[Layer, ...]) -> str:
    """All layers in words."""
    assert all(a.outputs == b.inputs for a, b in pairwise(layers[:-1]))
    return "; ".join(layer.text() for layer in layers)
