"""From statistics of the float network to formats: scales, steps, measured SQNR and kappa; the worker's thread.

The paper's recipe: a forward pass in floating point gives the scale zeta of each tensor, s = zeta s_opt(beta), and
n = round(-log2 s) fractional bits. One format for a whole tensor, not for each channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engines.fixed_point.config import FLOAT_BITS, FixedPointSettings, Kind
from engines.fixed_point.networks import Layer, inputs_of
from engines.fixed_point.quantizer import Format, quantise, sqnr
from engines.fixed_point.sources import data_step, optimal_step, power_of_two

SAMPLE = 16_384
"""Numbers of a tensor on which a step is searched and an SQNR is measured; evenly spread over it."""

KAPPA_BITS = (2, 3, 4, 5, 6, 7, 8)
"""Bit-widths over which kappa is fitted."""

LOWEST_KAPPA = 0.5
"""dB per bit; keeps the allocation finite where a tensor cannot be quantised at all."""

HIGHEST_SQNR = 150.0
"""dB; stands for no noise at all."""


@dataclass(frozen=True)
class Options:
    """How a format is found from statistics.

    Attributes
    ----------
    rule : str
        A source of `sources.SOURCES`, or "mse".
    power_of_two, tread, one_sided : bool
        As in the settings.
    """

    rule: str
    power_of_two: bool = True
    tread: bool = True
    one_sided: bool = True

    @classmethod
    def of(cls, settings: FixedPointSettings) -> Options:
        """Those of the settings."""
        return cls(
            settings.step_rule, settings.power_of_two, settings.grid == "mid_tread", settings.one_sided
        )


class Place(NamedTuple):
    """One tensor: the weights of a layer, or what it reads."""

    kind: Kind
    layer: int


def scale(values: Tensor, *, signed: bool) -> float:
    """zeta: the root of the mean square, of the positive numbers alone where codes have no sign; 1 where there are none."""
    values = values.cpu().double()  # not every accelerator has double precision
    if not signed:
        values = values[values > 0]
    square = float(values.square().mean()) if values.numel() else 0.0
    return math.sqrt(square) if square > 0 and math.isfinite(square) else 1.0


class Reference:
    """A folded float network with what its calibration pictures tell: where formats come from.

    Parameters
    ----------
    layers : tuple of Layer
    weights, biases : list of Tensor
        Folded; not written to.
    images : Tensor (K, C, H, W)
        Calibration pictures.
    """

    def __init__(
        self, layers: tuple[Layer, ...], weights: list[Tensor], biases: list[Tensor], images: Tensor
    ) -> None:
        self.layers = layers
        self.weights = weights
        self.biases = biases
        self.images = images
        self._read: list[Tensor] | None = None
        self._scales: dict[tuple[Place, bool], float] = {}
        self._samples: dict[Place, Tensor] = {}
        self._steps: dict[tuple[Place, int, Options], float] = {}
        self._kappas: dict[tuple[Place, Options], float] = {}
        self._levels: dict[tuple[Place, int, Options], float] = {}

    @property
    def places(self) -> list[Place]:
        """Every quantisation: the weights of all layers, then what all layers read."""
        number = range(len(self.layers))
        return [*(Place("weights", i) for i in number), *(Place("activations", i) for i in number)]

    @torch.no_grad()
    def read(self) -> list[Tensor]:
        """What every layer reads on the calibration pictures, and the logits last."""
        if self._read is None:
            self._read = inputs_of(self.layers, self.weights, self.biases, self.images)
        return self._read

    def values(self, place: Place) -> Tensor:
        """All numbers of a tensor."""
        return self.weights[place.layer] if place.kind == "weights" else self.read()[place.layer]

    def sample(self, place: Place) -> Tensor:
        """At most `SAMPLE` of them, evenly spread, (N,)."""
        if place not in self._samples:
            flat = self.values(place).flatten()
            # An odd stride, so that it does not fall on one channel or column.
            stride = max(1, -(-len(flat) // SAMPLE)) | 1
            self._samples[place] = flat[::stride].contiguous()
        return self._samples[place]

    def signed(self, place: Place, options: Options) -> bool:
        """Whether the codes need a sign; pixels and what a ReLU gives do not."""
        return place.kind == "weights" or not options.one_sided

    def scale(self, place: Place, options: Options) -> float:
        """zeta of a tensor."""
        key = (place, self.signed(place, options))
        if key not in self._scales:
            self._scales[key] = scale(self.values(place), signed=key[1])
        return self._scales[key]

    def step(self, place: Place, bits: int, options: Options) -> float:
        """s of a tensor for a bit-width below `FLOAT_BITS`."""
        key = (place, bits, options)
        if key not in self._steps:
            signed = self.signed(place, options)
            sample = self.sample(place) if options.rule == "mse" else None
            if sample is not None and bool((sample > 0).any() if not signed else (sample != 0).any()):
                numbers = sample.cpu().double().numpy()
                step = data_step(numbers, bits, tread=options.tread, signed=signed)
            else:
                source = "gaussian" if options.rule == "mse" else options.rule
                step = (
                    self.scale(place, options)
                    * optimal_step(source, bits, tread=options.tread, signed=signed)[0]
                )
            self._steps[key] = math.ldexp(1.0, -power_of_two(step)) if options.power_of_two else step
        return self._steps[key]

    def format(self, place: Place, bits: int, options: Options) -> Format:
        """The format of a tensor."""
        if bits >= FLOAT_BITS:
            return Format(FLOAT_BITS, 1.0)
        step = self.step(place, bits, options)
        return Format(bits, step, options.tread, self.signed(place, options))

    def measured(self, place: Place, bits: int, options: Options) -> float:
        """SQNR of a tensor, dB, measured on its sample; at most `HIGHEST_SQNR`."""
        key = (place, bits, options)
        if key not in self._levels:
            sample = self.sample(place)
            db = sqnr(sample, quantise(sample, self.format(place, bits, options)))
            self._levels[key] = min(db, HIGHEST_SQNR)
        return self._levels[key]

    def kappa(self, place: Place, options: Options) -> float:
        """Quantisation efficiency, dB per bit: least squares of gamma = kappa beta on the measured SQNR."""
        key = (place, options)
        if key not in self._kappas:
            bits = np.array(KAPPA_BITS, dtype=np.float64)
            db = np.array([self.measured(place, b, options) for b in KAPPA_BITS])
            # Pixels of few grey levels are exact from some bit-width on, which says nothing about fewer bits.
            noisy = db < HIGHEST_SQNR
            if noisy.any():
                bits, db = bits[noisy], db[noisy]
            self._kappas[key] = max(float(bits @ db / (bits @ bits)), LOWEST_KAPPA)
        return self._kappas[key]

    def prepare(self, options: Options) -> None:
        """Find the steps of usual bit-widths and every kappa, so that a move of a slider need not wait for them."""
        for place in self.places:
            for bits in range(1, max(KAPPA_BITS) + 1):
                self.step(place, bits, options)
            self.kappa(place, options)

    def predicted(self, place: Place, bits: int, options: Options) -> float:
        """SQNR by the law, kappa beta in dB; at most `HIGHEST_SQNR`, which floating point has."""
        if bits >= FLOAT_BITS:
            return HIGHEST_SQNR
        return min(self.kappa(place, options) * bits, HIGHEST_SQNR)
