"""The diffusion engine: trains the reverse chain and answers for its pictures; runs on the worker's loop.

Sohl-Dickstein et al. 2015, arXiv:1503.03585. One update raises the bound K on one batch (`bound.lower_bound`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.data import catalog
from engines.data.dataset import Dataset, Standardizer
from engines.data.own import drawn as drawn_points
from engines.data.own import load as load_own
from engines.decay import remaining
from engines.diffusion import pictures
from engines.diffusion.bound import Bound, lower_bound, measure_bound, random_steps
from engines.diffusion.config import (
    METHOD,
    ChooseStep,
    DiffusionSettings,
    DropPoint,
    MaskImage,
    PaintRegion,
    PickImage,
)
from engines.diffusion.networks import MLP, DenseNetwork, RBFNetwork, ReverseModel
from engines.diffusion.references import Estimate, GaussianMixture, negative_entropy_bits
from engines.diffusion.schedule import (
    FixedSchedule,
    LearnedSchedule,
    binomial_like_betas,
    drawn_betas,
    geometric_betas,
)
from engines.engine import Engine, numpy_stream, stream
from engines.errors import DataError, InputError, SettingError
from engines.figures import Figure
from engines.method import Action

POOL = 131_072
"""Points drawn from a generated distribution for training; enough that small networks cannot learn them by heart."""

HELD_OUT = 20_000

EVALUATION_NUMBERS = 1_280_000
"""States times dimensions that K is measured on at most while training: 200 digits of 8x8 at T = 100, few larger images."""

SUMMARY_NUMBERS = 20_000_000
"""The same for the final K."""

NEIGHBOUR_POINTS = POOL
"""Fewer would be quicker, and bias the estimate upwards: by 0.02 bits at 50,000 (measured, swiss roll)."""


@dataclass
class TrainingData:
    """What the chain is trained on, in standard units.

    Attributes
    ----------
    dataset : Dataset
    standardizer : Standardizer
    train : Tensor (N, D)
        Points as float32 in standard units; images as uint8 levels, which are dequantised batch by batch.
    test : Tensor (M, D)
        Held out; float32 in standard units.
    mixture : GaussianMixture or None
        The density, in standard units, where it is known to be a mixture.
    negative_entropy : Estimate or None
        In bits, by nearest neighbours; filled in when first asked for.
    """

    dataset: Dataset
    standardizer: Standardizer
    train: Tensor
    test: Tensor
    mixture: GaussianMixture | None = None
    negative_entropy: Estimate | None = None

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.train.shape[1])

    @property
    def is_images(self) -> bool:
        """Whether the data are images."""
        return self.dataset.kind == "images"


def load_data(config: DiffusionSettings, device: torch.device) -> TrainingData:
    """The data set of the settings, brought to mean 0 and variance 1.

    Raises
    ------
    DataError
    """
    match config.data:
        case "swiss_roll" | "rings" | "moons":
            name = "two_moons" if config.data == "moons" else config.data
            dataset = catalog.load(
                name, seed=config.seed, noise=config.noise, train_size=POOL, test_size=HELD_OUT
            )
        case "mixture":
            dataset = catalog.load(
                "gaussian_mixture",
                seed=config.seed,
                components=config.components,
                train_size=POOL,
                test_size=HELD_OUT,
            )
        case "drawn":
            if len(config.drawn) < 4 or len(config.drawn) % 2:
                raise SettingError(
                    "Data drawn by hand need at least two points, an x and a y for each: draw on the plane with "
                    "'Draw your data', or set drawn=x,y,x,y.",
                    "drawn",
                )
            points = np.asarray(config.drawn, dtype=np.float64).reshape(-1, 2)
            dataset = drawn_points(points, seed=config.seed, jitter=config.drawn_spread, train_size=POOL)
        case "file":
            if not config.path:
                raise SettingError(
                    "Own data need a file: choose a CSV or NPZ file or a folder of images as File (path=...).",
                    "path",
                )
            dataset = load_own(config.path, seed=config.seed)
        case _:
            dataset = catalog.load(config.data, seed=config.seed)
    if dataset.kind == "points" and dataset.dimensions < 2:
        raise DataError(
            f"{dataset.title} has one column, but the pictures of the chain need a plane: give at least two columns."
        )
    standardizer = Standardizer.fit(dataset)
    if dataset.kind == "images":
        generator = numpy_stream(config.seed, "dequantise")
        levels = torch.from_numpy(dataset.train.reshape(len(dataset.train), -1))
        noise = generator.random(dataset.test.shape, dtype=np.float32)
        test = standardizer.forward(dataset.test + noise).reshape(len(dataset.test), -1)
        return TrainingData(dataset, standardizer, levels.to(device), torch.from_numpy(test).to(device))
    mixture = None
    if dataset.distribution is not None and hasattr(dataset.distribution, "covariances"):
        exact = dataset.distribution.affine(-standardizer.mean / standardizer.scale, 1.0 / standardizer.scale)
        mixture = GaussianMixture(
            *(
                torch.from_numpy(np.ascontiguousarray(a)).float()
                for a in (exact.weights, exact.means, exact.covariances)
            )
        )
    return TrainingData(
        dataset,
        standardizer,
        torch.from_numpy(standardizer.forward(dataset.train)).to(device),
        torch.from_numpy(standardizer.forward(dataset.test)).to(device),
        mixture,
    )


class DiffusionEngine(Engine):
    """Trains p(x^{t-1} | x^t) by raising K, on the CPU or on a GPU.

    Scalars of a step
    -----------------
    K_train_bits
        The estimate of K that the update raised, bits per datum.
    step_size
    K_bits, L_null_bits, negentropy_bits, gap_closed, exact_bits
        Every `DiffusionSettings.evaluate_every` updates: K of held-out data with averaged weights, its two marks, and which
        part of the way from L_null to the negative entropy K has gone; for mixtures also the exact log-likelihood. For images
        the negative entropy is not known.
    """

    method = METHOD
    config: DiffusionSettings

    def __init__(self, config: DiffusionSettings, device: torch.device) -> None:
        super().__init__(config, device)
        self.data = load_data(config, device)
        self._batches = stream(config.seed, "batches")
        self._noise = stream(config.seed, "noise", device)
        self._step = 0
        self._build_model()
        self._bound: Bound | None = None
        self._bound_step = -1
        self._exact: float | None = None
        self.hand = pictures.Hand()

    # --- the model  ----------

    def _build_model(self) -> None:
        config, dimension = self.config, self.data.dimension
        generator = stream(config.seed, "initialisation")
        hidden = [config.units] * config.layers
        network: torch.nn.Module
        if config.network == "rbf":
            network = RBFNetwork(dimension, config.trajectory, config.units, generator=generator)
        elif config.network == "mlp":
            network = MLP(
                dimension, config.trajectory, hidden, frequencies=config.frequencies, generator=generator
            )
        else:
            network = DenseNetwork(
                dimension, config.trajectory, hidden, bumps=config.bumps, generator=generator
            )
        self.model = ReverseModel(network, self._make_schedule(), config.mean_scale).to(self.device)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        self._learned: list[Tensor] | None = None
        self._make_optimizer()

    def _make_schedule(self) -> FixedSchedule | LearnedSchedule:
        config = self.config
        if config.schedule == "binomial":
            return FixedSchedule(binomial_like_betas(config.trajectory, config.beta_1))
        if config.schedule == "drawn" and config.betas:
            return FixedSchedule(drawn_betas(config.betas, config.trajectory, config.beta_1))
        if config.schedule == "drawn" and hasattr(self, "model"):
            return FixedSchedule(drawn_betas(self._present_betas()[1:], config.trajectory, config.beta_1))
        betas = geometric_betas(config.trajectory, config.beta_1, config.last_signal)
        return LearnedSchedule(betas) if config.schedule == "learned" else FixedSchedule(betas)

    def _present_betas(self) -> np.ndarray:
        return self.model.schedule.betas().detach().cpu().numpy().astype(np.float64)

    def _make_optimizer(self) -> None:
        groups: list[dict[str, Any]] = [{"params": list(self.model.network.parameters())}]
        if isinstance(self.model.schedule, LearnedSchedule):
            # Weight decay would pull learned betas back to where they started.
            groups.append({"params": [self.model.schedule.shift], "weight_decay": 0.0})
        self._optimizer = torch.optim.AdamW(
            groups,
            lr=self.config.step_size,
            # A memory shorter than Adam's usual 0.999: with it the paper's RBF network closed 80 % of the way to the data's
            # negative entropy in place of 60 %, and the MLP no less (measured, 40,000 and 15,000 updates).
            betas=(0.9, 0.99),
            weight_decay=self.config.weight_decay,
            fused=self.device.type != "mps",
        )
        self._pairs = list(zip(self.averaged.parameters(), self.model.parameters(), strict=True))

    def _replace_schedule(self) -> None:
        """Change the betas under a network in training; its weights and its optimiser's moments stay.

        What was learned of a schedule stays, too, as its distance from where it started: whoever draws one and thinks better
        of it, or moves beta_1, does not begin anew.
        """
        moments = self._optimizer.state
        before = self.model.schedule
        if isinstance(before, LearnedSchedule):
            self._learned = [shift.clone() for shift in self._shifts()]
        self._put_schedule(self._make_schedule())
        after = self.model.schedule
        if isinstance(after, LearnedSchedule) and self._learned is not None:
            for shift, learned in zip(self._shifts(), self._learned, strict=True):
                shift.copy_(learned)
        kept = [(parameter, parameter) for parameter in self.model.network.parameters()]
        if isinstance(before, LearnedSchedule) and isinstance(after, LearnedSchedule):
            kept.append((before.shift, after.shift))
        for old, new in kept:
            if old in moments:
                self._optimizer.state[new] = moments[old]

    def _shifts(self) -> list[Tensor]:
        """What is learned of the schedule: of the model, and averaged; none where it is not learned."""
        schedules = (self.model.schedule, self.averaged.schedule)
        return [schedule.shift.data for schedule in schedules if isinstance(schedule, LearnedSchedule)]

    def _put_schedule(self, schedule: FixedSchedule | LearnedSchedule) -> None:
        """Put a schedule into both models, under an optimiser that knows it."""
        self.model.schedule = schedule.to(self.device)
        self.averaged.schedule = copy.deepcopy(self.model.schedule).requires_grad_(False)
        self._make_optimizer()

    # --- training  ----------

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` training data (count, D) in standard units; images get their dequantising noise here."""
        index = torch.randint(len(self.data.train), (count,), generator=generator)
        chosen = self.data.train[index.to(self.device)]
        if not self.data.is_images:
            return chosen
        noise = torch.rand(chosen.shape, generator=self._noise, device=self.device)
        scale = self.data.standardizer
        return (chosen + noise - float(scale.mean)) / float(scale.scale)

    def present_step_size(self) -> float:
        """The step size of the next update."""
        config = self.config
        return config.step_size * remaining(config.decay, self._step, config.steps)

    def step(self) -> Mapping[str, float]:
        """One update of Adam (with decoupled weight decay) on one batch."""
        config = self.config
        step_size = self.present_step_size()
        network, *schedule = self._optimizer.param_groups
        network["lr"], network["weight_decay"] = step_size, config.weight_decay
        for group in schedule:
            group["lr"] = config.schedule_step_size * step_size / config.step_size
        x0 = self.batch(config.batch, self._batches)
        steps = None
        if 0 < config.times < config.trajectory - 1:
            steps = random_steps(self.model.chain(), (config.times, len(x0)), self._noise)
        k = lower_bound(self.model, x0, steps=steps, generator=self._noise)
        self._optimizer.zero_grad(set_to_none=True)
        # Per dimension, so that one step size serves points and images.
        (-k / self.data.dimension).backward()
        self._optimizer.step()
        self._average()
        self._step += 1
        scalars = {"K_train_bits": float(k.detach()) / math.log(2), "step_size": step_size}
        if self._step % config.evaluate_every == 0 or self._step == 1:
            scalars |= self._evaluate()
        return scalars

    @torch.no_grad()
    def _average(self) -> None:
        # A young average must not remember the first weights for long.
        decay = min(self.config.averaging, (1 + self._step) / (10 + self._step))
        torch._foreach_lerp_([a for a, _ in self._pairs], [w.detach() for _, w in self._pairs], 1.0 - decay)

    def bound(self) -> Bound:
        """K of held-out data under the averaged weights, at the present step, measured at most once for it."""
        if self._bound is None or self._bound_step != self._step:
            count = min(max(64, 20_000 // self.config.trajectory), self._affordable(EVALUATION_NUMBERS))
            # The same data and the same noise each time: the curve then shows learning and not chance.
            generator = stream(self.config.seed, "evaluation", self.device)
            self._bound = self._measure(self.data.test[:count], generator)
            self._bound_step = self._step
        return self._bound

    def _affordable(self, numbers: int) -> int:
        """How many held-out data make so many numbers over all steps of the chain; at least a few."""
        return max(16, min(HELD_OUT, numbers // (self.config.trajectory * self.data.dimension)))

    def _measure(self, held_out: Tensor, generator: torch.Generator) -> Bound:
        # The network for images puts out twenty numbers for each that goes in: large images must go in few at a time.
        states = max(256, min(65_536, 2**22 // self.data.dimension))
        return measure_bound(self.averaged, held_out, generator=generator, states_per_batch=states)

    def _evaluate(self) -> dict[str, float]:
        bound = self.bound()
        marks = {"K_bits": bound.bits, "L_null_bits": bound.null_bits}
        entropy = self.negative_entropy()
        if entropy is not None:
            marks["negentropy_bits"] = entropy.value
            marks["gap_closed"] = (bound.bits - bound.null_bits) / (entropy.value - bound.null_bits)
        if self.data.mixture is not None:
            marks["exact_bits"] = self._exact_log_likelihood()
        return marks

    def negative_entropy(self) -> Estimate | None:
        """The data's negative entropy by nearest neighbours, in bits; None for images, where no sample is large enough."""
        data = self.data
        if data.is_images or data.dimension > 3:
            return None
        if data.negative_entropy is None:
            points = data.train[:NEIGHBOUR_POINTS].cpu().numpy()
            try:
                data.negative_entropy = negative_entropy_bits(points)
            except DataError:
                # Equal points: the density is not finite, and there is no mark to show.
                data.negative_entropy = Estimate(math.nan, math.nan)
        estimate = data.negative_entropy
        return estimate if math.isfinite(estimate.value) else None

    def apply(self, changes: Mapping[str, Any]) -> None:
        super().apply(changes)
        if {"schedule", "beta_1", "last_signal", "betas"} & changes.keys():
            self._replace_schedule()
            self._bound = None

    def summary(self) -> dict[str, Any]:
        """K on all held-out data with its standard error, beside its marks, in bits per datum."""
        data = self.data
        generator = stream(self.config.seed, "summary", self.device)
        count = self._affordable(SUMMARY_NUMBERS)
        bound = self._measure(data.test[:count], generator)
        entropy = self.negative_entropy()
        summary: dict[str, Any] = {
            "K_bits": bound.bits,
            "K_error_bits": bound.error_bits,
            "K_exact_bits": bound.exact_bits,
            "L_null_bits": bound.null_bits,
            "negentropy_bits": math.nan if entropy is None else entropy.value,
            "negentropy_error_bits": math.nan if entropy is None else entropy.error,
        }
        if entropy is not None:
            summary["gap_closed"] = (bound.bits - bound.null_bits) / (entropy.value - bound.null_bits)
        if data.is_images:
            summary["K_bits_per_pixel"] = bound.bits / data.dimension
            summary["L_null_bits_per_pixel"] = bound.null_bits / data.dimension
        if data.dataset.log_density is not None:
            summary["exact_log_likelihood_bits"] = self._exact_log_likelihood()
        return summary

    def _exact_log_likelihood(self) -> float:
        """Mean log density of the held-out data under the distribution they come from, bits; no model exceeds it."""
        if self._exact is None:
            self._exact = self._measure_exact()
        return self._exact

    def _measure_exact(self) -> float:
        dataset, scale = self.data.dataset, self.data.standardizer
        assert dataset.log_density is not None
        nats = float(np.mean(dataset.log_density(dataset.test[:HELD_OUT]))) + scale.log_volume(
            self.data.dimension
        )
        return nats / math.log(2)

    # --- the hand and the pictures  ----------

    def act(self, action: Action) -> Mapping[str, Any] | None:
        match action:
            case PaintRegion():
                self._need_plane("Painting a region")
                left, right, bottom, top = action.extent
                if action.mask.ndim != 2 or not action.mask.size or not (-math.inf < left < right < math.inf):
                    raise InputError("The painted region is not a picture over a rectangle: paint it again.")
                if not -math.inf < bottom < top < math.inf:
                    raise InputError("The painted region has no height: paint it again.")
                self.hand.paint(action)
            case DropPoint():
                self._need_plane("Dropping a point")
                if not 1 <= action.t <= self.config.trajectory:
                    raise InputError(
                        f"The chain has no step {action.t}: choose t from 1 to {self.config.trajectory}."
                    )
                if any(value is not None and not math.isfinite(value) for value in (action.x, action.y)):
                    raise InputError("The dropped point is not on the plane: drop it again.")
                self.hand.point = None if action.x is None or action.y is None else (action.x, action.y)
                self.hand.step = action.t
            case MaskImage():
                shape = self.data.dataset.shape[1:]
                if not self.data.is_images or action.mask.shape != shape:
                    raise InputError(
                        f"The mask has shape {action.mask.shape}, the data have {shape}: paint on an image."
                    )
                self.hand.mask = action.mask.astype(bool).copy()
            case PickImage():
                if not self.data.is_images:
                    raise InputError("There is no image to pick: choose data that are images.")
                self.hand.image = action.index % len(self.data.test)
            case ChooseStep():
                if not 1 <= action.t <= self.config.trajectory:
                    raise InputError(
                        f"The chain has no step {action.t}: choose t from 1 to {self.config.trajectory}."
                    )
                self.hand.step = action.t
            case _:
                return super().act(action)
        return None

    def _need_plane(self, what: str) -> None:
        if self.data.is_images or self.data.dimension != 2:
            raise InputError(f"{what} needs points on the plane: choose data with two columns.")

    def figures(self, wanted: Collection[str]) -> dict[str, Figure]:
        return pictures.figures(self, wanted)

    # --- rewind  ----------

    def data_description(self) -> Mapping[str, str]:
        return self.data.dataset.description()

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "batches": self._batches.get_state(),
            "noise": self._noise.get_state(),
            "hand": self.hand.state_dict(),
            "schedule": self._schedule_settings(),
            "learned": self._learned,
        }

    def _schedule_settings(self) -> dict[str, Any]:
        config = self.config
        return {
            "schedule": config.schedule,
            "beta_1": config.beta_1,
            "last_signal": config.last_signal,
            "betas": list(config.betas),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step = state["step"]
        if isinstance(self.model.schedule, LearnedSchedule) != ("schedule.shift" in state["model"]):
            # The state is older than a live change to or from learning; first it needs the schedule that it had.
            present = self._present_betas()
            learns = "schedule.shift" in state["model"]
            self._put_schedule(LearnedSchedule(present) if learns else FixedSchedule(present))
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._batches.set_state(state["batches"])
        self._noise.set_state(state["noise"])
        self.hand.load_state_dict(state["hand"])
        self._learned = (
            None if state["learned"] is None else [shift.to(self.device) for shift in state["learned"]]
        )
        if state["schedule"] != self._schedule_settings():
            self._replace_schedule()
        self._bound = None
