"""The fixed-point engine: trains a float network, converts and fine-tunes it, and answers for pictures; the worker's loop.

Lin, Talathi, Annapureddy 2016, arXiv:1511.06393. Until it is converted, every picture and every answer is of the float
network as it would be if it were converted now.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engines.engine import Engine, stream
from engines.errors import InputError
from engines.figures import Figure
from engines.fixed_point import allocation, pictures
from engines.fixed_point.calibration import HIGHEST_SQNR, Options, Place, Reference
from engines.fixed_point.config import (
    FEWEST_BITS,
    FLOAT_BITS,
    METHOD,
    MOST_BITS,
    FixedPointSettings,
    GiveBits,
    GiveRival,
    Kind,
    SetAllBits,
    SetBits,
    SetStep,
    UseAllocation,
)
from engines.fixed_point.evaluator import Evaluator, QuantisedLayer, accuracy_of
from engines.fixed_point.material import load
from engines.fixed_point.networks import FloatNetwork, plan, text
from engines.fixed_point.quantizer import Format, bias_format, quantise, sqnr
from engines.fixed_point.sources import power_of_two
from engines.fixed_point.sweep import Sweep, saved, sweep
from engines.fixed_point.tuner import Tuner, make_optimizer
from engines.method import Action

SWEPT_PICTURES, FEWEST_SWEPT, SWEPT_MACS = 2000, 256, 1_500_000_000
"""Test pictures for each point of the size and accuracy curves, which are many: at most, at least, and their work."""

LEAST_STEP = 1e-6
"""The smallest step that the hand can set; the largest is one over it."""

REMEMBERED = 1000
"""Accuracies of other bit-widths that are kept."""

KINDS: tuple[Kind, ...] = ("weights", "activations")


class FixedPointEngine(Engine):
    """Trains in floating point, converts, fine-tunes; on the CPU or on a GPU.

    Scalars of a step, floating point
    ---------------------------------
    loss_nats, train_error_percent
        Cross-entropy and share of wrong answers on the batch before the update.
    learning_rate
    float_accuracy_percent
        On the test set with running statistics, every `FixedPointSettings.evaluate_every` updates and at the last.
    accuracy_percent
        Of the converted network on the test set, with the step that converts it.

    Scalars of a step, fine-tuning
    ------------------------------
    fine_tune_loss_nats, train_error_percent
        Of the quantised network on the batch before the update.
    dead_percent
        Share of the weights' updates that left the quantised weight as it was.
    learning_rate
        That of fine-tuning.
    accuracy_percent, float_accuracy_percent
        Of the quantised network on the test set, every `FixedPointSettings.evaluate_every` updates; and of the float network.
    """

    method = METHOD
    config: FixedPointSettings

    def __init__(self, config: FixedPointSettings, device: torch.device) -> None:
        super().__init__(config, device)
        self.data = load(config, device)
        self.layers = plan(self.data.picture, self.data.classes, config.width)
        self._order = stream(config.seed, "order")
        self._rounding = stream(config.seed, "rounding", device)
        self._step = 0
        self.network = FloatNetwork(self.layers, stream(config.seed, "initialisation")).to(device)
        self._optimizer = make_optimizer(list(self.network.parameters()), config.learning_rate)
        self.bits: dict[Kind, list[int]] = {
            "weights": [_meant(config.weight_bits)] * len(self.layers),
            "activations": [_meant(config.activation_bits)] * len(self.layers),
        }
        self.own_steps: dict[Kind, list[float | None]] = {kind: [None] * len(self.layers) for kind in KINDS}
        """Steps that the hand set in place of the rule's."""
        self.converted_at: int | None = None
        self._steps_meant: int | None = None
        self.tuner: Tuner | None = None
        self._tuned_at: int | None = None
        self._frozen: Reference | None = None
        self._forget()

    def _forget(self) -> None:
        """Drop everything that is derived from the state."""
        self._present: tuple[int, Reference] | None = None
        self._quantised: dict[tuple[bool, int], tuple[Any, QuantisedLayer]] = {}
        self._evaluators: dict[str, Evaluator] = {}
        self._float_accuracy: tuple[Any, float] | None = None
        self._swept: tuple[Any, Sweep] | None = None
        self._measured: dict[Any, float] = {}

    # --- training  ----------

    def step(self) -> Mapping[str, float]:
        """One update of Adam; of the float network, and after the conversion of the quantised one.

        A converted network that is not to be fine-tuned has nothing left to train: the step only measures, and is the last.
        """
        if self.converted_at is None:
            scalars = self._float_step(converts=self._step + 1 >= self.config.float_steps)
        elif self.config.fine_tune:
            return self._tune()
        else:
            self._step += 1
            scalars = {
                "accuracy_percent": self.accuracy(),
                "float_accuracy_percent": self.float_accuracy(),
            }
        if self.converted_at is not None and not self.config.fine_tune:
            self._end()
        return scalars

    def _end(self) -> None:
        """Let this be the last step; `_go_on` takes it back."""
        if self.config.steps > self._step:
            self._steps_meant = self.config.steps
            self.config = self.config.updated({"steps": self._step})

    def _go_on(self) -> None:
        """Let there be as many steps as were meant before `_end`."""
        if self._steps_meant is not None and self.config.steps <= self._step:
            self.config = self.config.updated({"steps": self._steps_meant})
        self._steps_meant = None

    def _float_step(self, *, converts: bool) -> dict[str, float]:
        config = self.config
        x, labels = self.data.batch(config.batch, self._order)
        self.network.train()
        logits = self.network(x)
        loss = functional.cross_entropy(logits, labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate
        self._optimizer.step()
        self.network.eval()
        self._step += 1
        wrong = (logits.argmax(1) != labels).float().mean()
        scalars = {
            "loss_nats": float(loss.detach()),
            "train_error_percent": 100.0 * float(wrong),
            "learning_rate": config.learning_rate,
        }
        if converts:
            self._convert()
            scalars["accuracy_percent"] = self.accuracy()
        if converts or self._step % config.evaluate_every == 0 or self._step == 1:
            scalars["float_accuracy_percent"] = self.float_accuracy()
        return scalars

    def _convert(self) -> None:
        self._frozen = self.reference
        self._frozen.prepare(self.options)
        self.converted_at = self._step
        self.tuner = self._new_tuner(self._frozen)
        self._tuned_at = None

    def _new_tuner(self, reference: Reference) -> Tuner:
        return Tuner(self.layers, reference.weights, reference.biases, self.config.learning_rate)

    def _tune(self) -> dict[str, float]:
        config = self.config
        assert self.tuner is not None
        x, labels = self.data.batch(config.batch, self._order)
        rate = config.learning_rate * config.fine_tune_rate
        done = self.tuner.update(
            x,
            labels,
            self.formats("weights"),
            self.formats("activations"),
            rate=rate,
            noise=self._rounding if config.rounding == "stochastic" else None,
            keep_fixed=config.master == "fixed",
        )
        self._step += 1
        self._tuned_at = self._step
        scalars = {
            "fine_tune_loss_nats": done.loss,
            "train_error_percent": 100.0 * done.wrong,
            "dead_percent": 100.0 * done.dead,
            "learning_rate": rate,
        }
        if self._step % config.evaluate_every == 0:
            scalars |= {
                "accuracy_percent": self.accuracy(),
                "float_accuracy_percent": self.float_accuracy(),
            }
        return scalars

    # --- the quantised network  ----------

    @property
    def options(self) -> Options:
        """How formats are found from statistics."""
        return Options.of(self.config)

    @property
    def reference(self) -> Reference:
        """The folded float network: the converted one, or the present one."""
        if self._frozen is not None:
            return self._frozen
        if self._present is None or self._present[0] != self._step:
            self._present = (
                self._step,
                Reference(self.layers, *self.network.folded(), self.data.calibration),
            )
        return self._present[1]

    @property
    def is_tuned(self) -> bool:
        """Whether fine-tuning has moved the weights."""
        return self._tuned_at is not None

    def formats(self, kind: Kind) -> list[Format]:
        """Present formats of all layers' weights, or of what they read."""
        return [self.format(Place(kind, i)) for i in range(len(self.layers))]

    def format(self, place: Place) -> Format:
        """Present format of a layer's weights, or of what it reads."""
        form = self.reference.format(place, self.bits[place.kind][place.layer], self.options)
        step = self.own_steps[place.kind][place.layer]
        if step is None or form.is_float:
            return form
        return replace(form, step=math.ldexp(1.0, -power_of_two(step)) if self.options.power_of_two else step)

    def measured(self, place: Place) -> float:
        """SQNR of a tensor in its present format, dB; of the float network's numbers."""
        if self.own_steps[place.kind][place.layer] is None:
            return self.reference.measured(place, self.bits[place.kind][place.layer], self.options)
        sample = self.reference.sample(place)
        return min(sqnr(sample, quantise(sample, self.format(place))), HIGHEST_SQNR)

    def noise_shares(self) -> dict[Kind, tuple[float, ...]]:
        """Part of all noise that each quantisation adds to the output, 1/gamma_i over their sum; zeros without noise."""
        noise = {
            kind: allocation.noise_of([self.measured(Place(kind, i)) for i in range(len(self.layers))])
            for kind in KINDS
        }
        total = sum(float(part.sum()) for part in noise.values())
        silent = 2 * len(self.layers) * float(allocation.noise_of(HIGHEST_SQNR))
        if total <= silent:
            return {kind: (0.0,) * len(self.layers) for kind in KINDS}
        return {kind: tuple(float(each) / total for each in part) for kind, part in noise.items()}

    def float_weights(self, i: int, *, tuned: bool = True) -> tuple[Tensor, Tensor]:
        """Weights and biases of a layer before they are quantised; fine-tuned ones where there are any."""
        if tuned and self.tuner is not None and self.is_tuned:
            return self.tuner.weights[i].detach(), self.tuner.biases[i].detach()
        return self.reference.weights[i], self.reference.biases[i]

    def network_of(
        self, weights: list[Format], reads: list[Format], *, tuned: bool = True
    ) -> list[QuantisedLayer]:
        """The network in these formats; a layer is quantised anew only where its weights or its format changed."""
        tuned = tuned and self.is_tuned
        version = (tuned, self._tuned_at if tuned else self._version())
        network = []
        for i, (form, read) in enumerate(zip(weights, reads, strict=True)):
            key = (version, form, read)
            kept = self._quantised.get((tuned, i))
            if kept is None or kept[0] != key:
                weight, bias = self.float_weights(i, tuned=tuned)
                kept = (
                    key,
                    QuantisedLayer(
                        quantise(weight, form), quantise(bias, bias_format(bias, form)), read, key
                    ),
                )
                self._quantised[tuned, i] = kept
            network.append(kept[1])
        return network

    def _version(self) -> int:
        return self._step if self.converted_at is None else self.converted_at

    def quantised(self, *, tuned: bool = True) -> list[QuantisedLayer]:
        """The network with its present bit-widths."""
        return self.network_of(self.formats("weights"), self.formats("activations"), tuned=tuned)

    def float_network(self) -> list[QuantisedLayer]:
        """The folded network in floating point, before any fine-tuning."""
        exact = [Format(FLOAT_BITS, 1.0)] * len(self.layers)
        return self.network_of(exact, exact, tuned=False)

    def evaluator(self, name: str) -> Evaluator:
        """Keeps activations of the test set for ``name``: "all" pictures, or the "swept" ones."""
        if name not in self._evaluators:
            count = len(self.data.test) if name == "all" else self._swept_pictures()
            self._evaluators[name] = Evaluator(
                self.layers, self.data.test[:count], self.data.test_labels[:count]
            )
        return self._evaluators[name]

    def _swept_pictures(self) -> int:
        affordable = SWEPT_MACS // sum(layer.macs for layer in self.layers)
        return min(len(self.data.test), max(FEWEST_SWEPT, min(SWEPT_PICTURES, affordable)))

    def accuracy(self) -> float:
        """Percent of the whole test set that the network with its present bits gets right."""
        return self.evaluator("all").accuracy(self.quantised())

    def _measure(self, network: list[QuantisedLayer]) -> float:
        return accuracy_of(self.layers, network, self.data.test, self.data.test_labels)

    def float_accuracy(self) -> float:
        """The same in floating point, before any fine-tuning."""
        version = self._version()
        if self._float_accuracy is None or self._float_accuracy[0] != version:
            self._float_accuracy = (version, self._measure(self.float_network()))
        return self._float_accuracy[1]

    def costs(self) -> list[float]:
        """rho: what a bit of each layer's weights costs, by the settings."""
        return [float(layer.weights if self.config.cost == "size" else layer.macs) for layer in self.layers]

    def kappas(self, kind: Kind = "weights") -> list[float]:
        """dB per bit of each layer."""
        reference, options = self.reference, self.options
        return [reference.kappa(Place(kind, i), options) for i in range(len(self.layers))]

    def size(self, bits: Collection[int] | None = None) -> float:
        """Bytes of all weights with these bit-widths, the present ones if None."""
        chosen = self.bits["weights"] if bits is None else bits
        return sum(layer.weights * b for layer, b in zip(self.layers, chosen, strict=True)) / 8

    def allocated(
        self, target_bits: float | None = None, target_sqnr: float | None = None
    ) -> tuple[int, ...]:
        """Bit-widths of the weights by the allocation, for a mean bit-width, or for an SQNR of the output in dB.

        Raises
        ------
        InputError
            The activations alone make more noise than the SQNR leaves room for.
        """
        costs, kappas = self.costs(), self.kappas()
        if target_sqnr is None:
            assert target_bits is not None
            return allocation.whole_at_cost(costs, kappas, target_bits * sum(costs), FEWEST_BITS, MOST_BITS)
        reference, options = self.reference, self.options
        reads = [
            reference.predicted(Place("activations", i), bits, options)
            for i, bits in enumerate(self.bits["activations"])
        ]
        left = float(allocation.noise_of(target_sqnr)) - float(allocation.noise_of(reads).sum())
        if left <= 0:
            raise InputError(
                f"An SQNR of {target_sqnr:g} dB is out of reach, because the activations alone leave "
                f"{allocation.combined(reads):.1f} dB: give them more bits, or ask for less."
            )
        return allocation.whole_at_noise(costs, kappas, left, FEWEST_BITS, MOST_BITS)

    def target_allocation(self) -> tuple[int, ...]:
        """Bit-widths for the target of the settings.

        Raises
        ------
        InputError
        """
        config = self.config
        if config.target == "size":
            return self.allocated(target_bits=config.target_bits)
        return self.allocated(target_sqnr=config.target_sqnr)

    def rival(self) -> tuple[int, ...]:
        """Bit-widths by the allocation that cost no more than the present ones, of which more than 16 count as 16."""
        costs = self.costs()
        mean = sum(c * min(b, MOST_BITS) for c, b in zip(costs, self.bits["weights"], strict=True))
        return self.allocated(target_bits=mean / sum(costs))

    def swept_accuracy(self, weights: list[Format], reads: list[Format], *, tuned: bool = False) -> float:
        """Accuracy on the swept pictures, each network measured once."""
        tuned = tuned and self.is_tuned
        key = (tuned, self._tuned_at if tuned else self._version(), tuple(weights), tuple(reads))
        if key not in self._measured:
            network = self.network_of(weights, reads, tuned=tuned)
            self._remember(key, self.evaluator("swept").accuracy(network))
        return self._measured[key]

    def _remember(self, key: Any, accuracy: float) -> None:
        if len(self._measured) >= REMEMBERED:
            self._measured.clear()
        self._measured[key] = accuracy

    def swept(self, reads: list[Format] | None = None) -> Sweep:
        """Accuracy of equal and of allocated bit-widths of the weights, before any fine-tuning.

        Parameters
        ----------
        reads : list of Format or None
            Of what the layers read; None for the bit-width of the settings, so that a move of one slider leaves the curves
            as they are.
        """
        reference, options = self.reference, self.options
        if reads is None:
            bits = _meant(self.config.activation_bits)
            reads = [
                reference.format(Place("activations", i), bits, options) for i in range(len(self.layers))
            ]
        found = reads
        key = (self._version(), options, tuple(found), self.config.cost)
        if self._swept is not None and self._swept[0] == key:
            return self._swept[1]

        def accuracy(bits: Collection[int]) -> float:
            return self.swept_accuracy(self.weight_formats(bits), found)

        points = sweep(self.costs(), self.kappas(), self.size, accuracy)
        self._swept = (key, points)
        return points

    def weight_formats(self, bits: Collection[int]) -> list[Format]:
        """Formats of all layers' weights with these bit-widths."""
        reference, options = self.reference, self.options
        return [reference.format(Place("weights", i), b, options) for i, b in enumerate(bits)]

    # --- measuring  ----------

    def summary(self) -> dict[str, Any]:
        """Accuracies of the float network, of equal and of allocated bit-widths of one size, and after fine-tuning."""
        reads = self.formats("activations")
        points = self.swept(reads)
        weights = sum(layer.weights for layer in self.layers)
        equal_bits = min(max(round(self.size() * 8 / weights), 1), 8)
        allocated = self.allocated(target_bits=float(equal_bits))

        def accuracy(bits: Collection[int]) -> float:
            return self._measure(self.network_of(self.weight_formats(bits), reads, tuned=False))

        share = self.accuracy() / 100
        equal = [equal_bits] * len(self.layers)
        summary: dict[str, Any] = {
            "float_accuracy_percent": self.float_accuracy(),
            "accuracy_percent": 100 * share,
            "accuracy_error_percent": 100 * math.sqrt(share * (1 - share) / len(self.data.test)),
            "weight_bits": " ".join(map(str, self.bits["weights"])),
            "activation_bits": " ".join(map(str, self.bits["activations"])),
            "size_bytes": self.size(),
            "converted_accuracy_percent": self._measure(self.quantised(tuned=False)),
            "equal_bits": equal_bits,
            "equal_size_bytes": self.size(equal),
            "equal_accuracy_percent": accuracy(equal),
            "allocated_bits": " ".join(map(str, allocated)),
            "allocated_size_bytes": self.size(allocated),
            "allocated_accuracy_percent": accuracy(allocated),
            "test_pictures": len(self.data.test),
            "network": text(self.layers),
        }
        if self.is_tuned:
            summary["fine_tuned_accuracy_percent"] = 100 * share
        found = saved(points, equal_bits)
        if found is not None:
            summary["size_saved_percent"] = found
            summary["size_saved_pictures"] = self._swept_pictures()
        return summary

    def data_description(self) -> Mapping[str, str]:
        return {**self.data.dataset.description(), "network": text(self.layers)}

    # --- live changes and the hand  ----------

    def apply(self, changes: Mapping[str, Any]) -> None:
        before = self.options
        super().apply(changes)
        if self._frozen is not None and self.options != before:
            self._frozen.prepare(self.options)
        for name, kind in (("weight_bits", KINDS[0]), ("activation_bits", KINDS[1])):
            if name in changes:
                self.bits[kind] = [_meant(getattr(self.config, name))] * len(self.layers)
                self.own_steps[kind] = [None] * len(self.layers)
        if changes.get("fine_tune"):
            self._go_on()

    def act(self, action: Action) -> Mapping[str, Any] | None:
        """Answer the hand.

        Answers
        -------
        SetBits, SetAllBits, SetStep, UseAllocation
            ``weights`` and ``activations``: bit-widths of all layers; ``accuracy_percent`` on the whole test set;
            ``size_bytes`` of all weights; ``mean_bits`` of a weight; ``noise``: the part of all noise that each quantisation
            adds, for each kind; ``own_steps``: the steps that are the hand's, None elsewhere; ``recomputed``: layers that had
            to be computed again.
        GiveBits
            The same, ``accuracy_percent`` and ``recomputed`` only if asked for; and ``names``, ``weight_counts`` and
            ``macs`` of all layers; ``allocated``: what the allocation gives for the target of the settings, or None where
            that is out of reach, and why in ``unreachable``; ``converted``: whether the network is in fixed point yet.
        GiveRival
            ``weights`` that the allocation gives for no more cost, their ``size_bytes`` and ``accuracy_percent``, and
            ``your_accuracy_percent``; both on the whole test set and before any fine-tuning. None before the conversion.
        """
        match action:
            case SetBits():
                self._check_place(action.kind, action.layer)
                bits = _checked(action.bits)
                if bits != self.bits[action.kind][action.layer]:
                    self.own_steps[action.kind][action.layer] = None
                self.bits[action.kind][action.layer] = bits
            case SetStep():
                self._set_step(action)
            case SetAllBits():
                self._check_kind(action.kind)
                given = action.bits
                widths = [given] * len(self.layers) if isinstance(given, int) else list(given)
                if len(widths) != len(self.layers):
                    raise InputError(
                        f"There are {len(widths)} bit-widths for {len(self.layers)} layers: give one for each, or one for "
                        f"all."
                    )
                self._set_bits(action.kind, [_checked(width) for width in widths])
            case UseAllocation():
                self._set_bits("weights", list(self._asked(action)))
            case GiveBits():
                return self._told(measure=action.accuracy)
            case GiveRival():
                return self._compared()
            case _:
                return super().act(action)
        return self._answer()

    def _set_bits(self, kind: Kind, bits: list[int]) -> None:
        """Another bit-width has a step of its own."""
        self.own_steps[kind] = [
            step if before == now else None
            for step, before, now in zip(self.own_steps[kind], self.bits[kind], bits, strict=True)
        ]
        self.bits[kind] = bits

    def _set_step(self, action: SetStep) -> None:
        self._check_place(action.kind, action.layer)
        step = action.step
        if step is not None:
            if not (math.isfinite(step) and LEAST_STEP <= step <= 1 / LEAST_STEP):
                raise InputError(
                    f"A step of {step:g} is not possible: choose one from {LEAST_STEP:.1g} to {1 / LEAST_STEP:.1g}."
                )
            if self.bits[action.kind][action.layer] == FLOAT_BITS:
                raise InputError(
                    "In floating point there are no levels and no step: choose 1 to 16 bits first."
                )
        self.own_steps[action.kind][action.layer] = step

    def _answer(self, *, measure: bool = True) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "weights": tuple(self.bits["weights"]),
            "activations": tuple(self.bits["activations"]),
            "size_bytes": self.size(),
            "mean_bits": self.size() * 8 / sum(layer.weights for layer in self.layers),
            "noise": self.noise_shares(),
            "own_steps": {kind: tuple(steps) for kind, steps in self.own_steps.items()},
        }
        if measure:
            answer["accuracy_percent"] = self.accuracy()
            answer["recomputed"] = self.evaluator("all").computed
        return answer

    def _compared(self) -> dict[str, Any] | None:
        """One's own bits beside the allocation's."""
        if self.converted_at is None:
            return None
        bits, reads = self.rival(), self.formats("activations")
        weights = self.weight_formats(bits)
        return {
            "weights": bits,
            "size_bytes": self.size(bits),
            "accuracy_percent": self.whole_accuracy(weights, reads),
            "your_accuracy_percent": self.whole_accuracy(self.formats("weights"), reads),
        }

    def whole_accuracy(self, weights: list[Format], reads: list[Format]) -> float:
        """Accuracy on the whole test set before any fine-tuning, each network measured once."""
        key = ("whole", self._version(), tuple(weights), tuple(reads))
        if key not in self._measured:
            self._remember(key, self._measure(self.network_of(weights, reads, tuned=False)))
        return self._measured[key]

    def _asked(self, action: UseAllocation) -> tuple[int, ...]:
        bits, db = action.target_bits, action.target_sqnr
        if bits is None and db is None:
            return self.target_allocation()
        if bits is not None and db is not None:
            raise InputError("A size and an SQNR cannot both be given: leave one of them out.")
        if bits is not None and not FEWEST_BITS <= bits <= MOST_BITS:
            raise InputError(
                f"A mean of {bits:g} bits is not possible: choose from {FEWEST_BITS} to {MOST_BITS}."
            )
        if db is not None and not math.isfinite(db):
            raise InputError("The SQNR is no finite number: give one in dB.")
        return self.allocated(bits, db)

    def _told(self, *, measure: bool) -> dict[str, Any]:
        allocated: tuple[int, ...] | None = None
        unreachable = ""
        try:
            allocated = self.target_allocation()
        except InputError as error:
            unreachable = str(error)
        return {
            **self._answer(measure=measure),
            "names": tuple(layer.name for layer in self.layers),
            "weight_counts": tuple(layer.weights for layer in self.layers),
            "macs": tuple(layer.macs for layer in self.layers),
            "allocated": allocated,
            "unreachable": unreachable,
            "converted": self.converted_at is not None,
        }

    def _check_place(self, kind: str, layer: int) -> None:
        self._check_kind(kind)
        if not 0 <= layer < len(self.layers):
            raise InputError(f"There is no layer {layer}: choose one from 0 to {len(self.layers) - 1}.")

    @staticmethod
    def _check_kind(kind: str) -> None:
        if kind not in KINDS:
            raise InputError("Bits are those of weights or of activations: choose one of them.")

    def figures(self, wanted: Collection[str]) -> dict[str, Figure]:
        return pictures.figures(self, wanted)

    # --- rewind  ----------

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "step": self._step,
            "order": self._order.get_state(),
            "rounding": self._rounding.get_state(),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "bits": {kind: list(self.bits[kind]) for kind in KINDS},
            "own_steps": {kind: list(self.own_steps[kind]) for kind in KINDS},
            "steps_meant": self._steps_meant,
            "set_bits": [self.config.weight_bits, self.config.activation_bits],
            "converted_at": self.converted_at,
            "tuned_at": self._tuned_at,
            "frozen": None,
            "tuner": None,
        }
        if self._frozen is not None and self.tuner is not None:
            state["frozen"] = {"weights": self._frozen.weights, "biases": self._frozen.biases}
            state["tuner"] = self.tuner.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step = state["step"]
        self._order.set_state(state["order"])
        self._rounding.set_state(state["rounding"])
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.network.eval()
        for kind, before, now in zip(
            KINDS, state["set_bits"], (self.config.weight_bits, self.config.activation_bits), strict=True
        ):
            # Where a fork asks for other bits for all layers than were asked for here, it means them.
            same = before == now
            bits = state["bits"][kind] if same else [_meant(now)] * len(self.layers)
            self.bits[kind] = [int(b) for b in bits]
            self.own_steps[kind] = list(state["own_steps"][kind]) if same else [None] * len(self.layers)
        self.converted_at, self._tuned_at = state["converted_at"], state["tuned_at"]
        self._steps_meant = state["steps_meant"]
        if self.config.fine_tune:
            # The keyframe's settings say that it had ended; a fork that fine-tunes goes on.
            self._go_on()
        self._frozen = self.tuner = None
        self._forget()
        if state["frozen"] is not None:
            weights = [w.to(self.device, copy=True) for w in state["frozen"]["weights"]]
            biases = [b.to(self.device, copy=True) for b in state["frozen"]["biases"]]
            self._frozen = Reference(self.layers, weights, biases, self.data.calibration)
            self.tuner = self._new_tuner(self._frozen)
            self.tuner.load_state_dict(state["tuner"])


def _meant(bits: int) -> int:
    """A bit-width of a setting, whose range has a gap between the widest quantiser and floating point."""
    return bits if bits <= MOST_BITS or bits >= FLOAT_BITS else MOST_BITS


def _checked(bits: int) -> int:
    if bits == FLOAT_BITS or FEWEST_BITS <= bits <= MOST_BITS:
        return int(bits)
    raise InputError(
        f"{bits} bits are not possible: choose {FEWEST_BITS} to {MOST_BITS}, or {FLOAT_BITS} for floating point."
    )
