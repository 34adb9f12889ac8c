"""The reversible-learning engine: meta-iterations, and answers for the pictures; runs on the worker's loop.

Maclaurin, Duvenaud and Adams 2015, arXiv:1502.03492. One step of the engine is one meta-iteration: a whole inner training
with momentum, its way back that collects the hypergradient, and a step on the hyperparameters.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.engine import Engine, stream
from engines.errors import InputError, StepError
from engines.figures import Figure
from engines.method import Action
from engines.reversible_learning import pictures, rivals
from engines.reversible_learning.chaos import Sweep
from engines.reversible_learning.config import (
    METHOD,
    WITH_STEPS,
    ChooseLayer,
    ForgetSchedule,
    GiveHand,
    RaceSchedule,
    ReversibleLearningSettings,
    SetSchedule,
    widths_of,
)
from engines.reversible_learning.history import History, averaged, places
from engines.reversible_learning.hypers import FAKE_SCALE, Hypers, MetaOptimizer
from engines.reversible_learning.material import Material, Tasks, load, load_tasks
from engines.reversible_learning.momentum import Momentum, Rates, wrong_bits
from engines.reversible_learning.problems import (
    Batches,
    Examples,
    Network,
    NetworkProblem,
    Problem,
    Toy,
)
from engines.reversible_learning.rehearsal import Lane, Race, Rehearsal, race, rehearse
from engines.reversible_learning.reversal import Hypergradient, Training, hypergradient, train

TAPE_BITS = 32
"""Of a tape that stores each weight at each step, as the paper counts it."""

MEMORY = 0.9
"""Of the running mean of hypergradients."""

HIGHEST, HIGHEST_DRAWN = 1e300, 1e30
"""Stands for lengths that are not finite; and the largest derivative that is remembered to be drawn."""

SUMMARY_STARTS, TASK_STARTS = 5, 3
"""Trainings that a summary takes, of one network and of each kind of sharing."""

SHOWN_UNITS = 10
"""Units whose weights the film draws."""


class ReversibleLearningEngine(Engine):
    """Learns hyperparameters by running training backwards, on the CPU or on a GPU.

    Scalars of a step
    -----------------
    meta_loss_nats
        The meta-objective at the end of the inner training, before the hyperparameters move.
    train_loss_nats, valid_loss_nats, valid_error_percent
        Of the weights at the end, where there are examples.
    hypergradient_norm
        Over all hyperparameters that are learned.
    wrong_bits
        Hamming distance of the initial weights and what came back: 0 in exact integers.
    buffer_bits, theory_bits
        Per weight and step: held, and log2(1 / gamma).
    buffer_kib, tape_kib
        Memory of the information buffer, and of a tape of 32 bits per weight and step.
    skipped
        1 where the hypergradient was not trusted and nothing moved.
    log_alpha, slope
        Chaos sweep: what was tried, and the derivative of the loss by it.
    """

    method = METHOD
    config: ReversibleLearningSettings

    def __init__(self, config: ReversibleLearningSettings, device: torch.device) -> None:
        # MPS has no float64, without which there is no way back.
        super().__init__(config, torch.device("cpu") if device.type == "mps" else device)
        self.material: Material | None = None
        self.tasks: Tasks | None = None
        self.network: Network | None = None
        experiment = config.experiment
        data = None
        if experiment == "toy":
            groups = Toy().groups
        elif experiment == "tasks":
            self.tasks = load_tasks(config, self.device)
            count, classes, _, pixels = self.tasks.pool.shape
            self.network = Network([pixels, *widths_of(config.hidden), classes], count)
            groups = self.network.groups
        else:
            self.material = load(config, self.device)
            pixels, classes = self.material.train.x.shape[1], self.material.train.y.shape[1]
            self.network = Network([pixels, *widths_of(config.hidden), classes])
            groups = self.network.groups
            if experiment == "data":
                noise = torch.randn((classes, pixels), generator=stream(config.seed, "fake data"))
                data = (FAKE_SCALE * noise.double()).to(self.device)
        self.hypers = Hypers(
            config,
            groups,
            self.device,
            layers=self.network.layers if self.network else 0,
            tasks=len(self.tasks.pool) if self.tasks else 0,
            data=data,
        )
        self.optimizer = MetaOptimizer(self.hypers, config.outer == "adam")
        self.sweep = Sweep(math.log(config.chaos_low), math.log(config.chaos_high))
        self.history = History()
        self.meta = 0
        self.newest: dict[str, Tensor] = {}
        self.mean: dict[str, Tensor] = {}
        self.drawn: RaceSchedule | None = None
        self.layer: int | None = None
        """Whose schedule is shown where one draws; None is the mean over all."""
        self._lanes: tuple[object, dict[str, Lane]] | None = None  # of the race, but for the drawn one
        self._rehearsed: tuple[object, Rehearsal] | None = None
        self._raced: tuple[object, Race] | None = None

    # --- one inner training  ----------

    def _key(self, meta: int) -> int:
        """What start and batches are drawn from."""
        is_same = self.config.experiment in ("chaos", "toy") or not self.config.fresh
        return 0 if is_same else meta

    def problem(self, meta: int) -> Problem:
        """What is trained in a meta-iteration, with the present hyperparameters."""
        config, key = self.config, self._key(meta)
        if config.experiment == "toy":
            return Toy()
        assert self.network is not None
        penalty = self.hypers.penalty(config.penalty)
        if self.tasks is not None:
            examples, valid = self.tasks.split(config.seed, key)
            return NetworkProblem(
                self.network,
                examples,
                Batches(examples.x.shape[1], 0, config.seed, key, self.device),
                examples if config.objective == "training" else valid,
                penalty,
                sharing=self.hypers.values["sharing"],
            )
        assert self.material is not None
        held = self.material.train if config.objective == "training" else self.material.valid
        examples, batch = self.material.train, config.batch
        if config.experiment == "data":
            fake = self.hypers.values["data"]
            eye = torch.eye(len(fake), dtype=fake.dtype, device=fake.device)
            examples, batch = Examples(fake, eye, 1.0 / len(fake)), 0
        return NetworkProblem(
            self.network,
            examples,
            Batches(len(examples.x), batch, config.seed, key, self.device),
            held,
            penalty,
            by_penalty="log_penalty" in self.hypers.learned,
            by_data=config.experiment == "data",
        )

    def start(self, meta: int) -> Tensor:
        """The initial weights of a meta-iteration, (P,) float64."""
        if self.config.experiment == "toy":
            return torch.tensor(Toy.START, dtype=torch.float64, device=self.device)
        return self.noise(meta) * self.hypers.scales()

    def noise(self, meta: int) -> Tensor:
        """Standard normal numbers that become the initial weights of a meta-iteration, (P,) float64."""
        generator = stream(self.config.seed, f"start {self._key(meta)}")
        noise = torch.randn(sum(self.hypers.sizes), generator=generator, dtype=torch.float64)
        return noise.to(self.device)

    # --- meta-training  ----------

    def step(self) -> Mapping[str, float]:
        """One meta-iteration, or one step size of the chaos sweep.

        Raises
        ------
        StepError
            The inner training diverged; the hyperparameters are as they were.
        """
        if self.config.experiment == "chaos":
            return self._sweep_on()
        config, rates = self.config, self.hypers.rates()
        problem, start = self.problem(self.meta), self.start(self.meta)
        path: list[list[float]] = []

        def look(step: int, momentum: Momentum) -> None:
            path.append(momentum.weights().tolist())

        training = train(problem, start, rates, config.exact, look if config.experiment == "toy" else None)
        scalars, found = self._way_back(problem, training, rates)
        by = self.hypers.chain(found, rates, start)
        norm = math.sqrt(sum(float(by[name].square().sum()) for name in self.hypers.learned))
        missed = config.exact and not (scalars["wrong_bits"] == 0 and training.momentum.is_home())
        skipped = missed or not norm <= config.stop_above
        self._remember(training, by, path, is_trusted=not skipped)
        if not skipped:
            self.optimizer.step(by, config.meta_step)
        self.meta += 1
        scalars["hypergradient_norm"] = norm if math.isfinite(norm) else HIGHEST
        scalars["skipped"] = float(skipped)
        return scalars

    def _way_back(
        self, problem: Problem, training: Training, rates: Rates
    ) -> tuple[dict[str, float], Hypergradient]:
        w = training.momentum.weights()
        loss, dw, others = problem.objective(w)
        scalars = {"meta_loss_nats": float(loss)}
        if isinstance(problem, NetworkProblem):
            if self.tasks is not None:
                share = 1.0 / len(self.tasks.pool)
                sets = self.tasks.split(self.config.seed, self._key(self.meta))
            else:
                assert self.material is not None
                share, sets = 1.0, (self.material.train, self.material.valid)
            scalars["meta_loss_nats"] *= share
            measured = [problem.measure(w, some) for some in sets]
            scalars["train_loss_nats"] = share * measured[0][0]
            scalars["valid_loss_nats"] = share * measured[1][0]
            scalars["valid_error_percent"] = share * measured[1][1]
        scalars["buffer_bits"] = training.bits() / rates.steps
        scalars["theory_bits"] = rates.bits()
        scalars["buffer_kib"] = training.buffer_bytes() / 1024
        scalars["tape_kib"] = TAPE_BITS * problem.size * rates.steps / 8 / 1024
        found = hypergradient(problem, training, rates, dw, others)
        scalars["wrong_bits"] = float(wrong_bits(training.momentum.bits_of(), training.began))
        return scalars, found

    def _remember(
        self, training: Training, by: Mapping[str, Tensor], path: list[list[float]], *, is_trusted: bool
    ) -> None:
        for name in ("log_alpha", "logit_gamma"):
            now = by[name]
            if not bool(torch.isfinite(now).all()):
                continue
            self.newest[name] = now
            # One that exploded would be seen in the mean for hundreds of meta-iterations.
            if is_trusted or name not in self.mean:
                before = self.mean.get(name, now)
                self.mean[name] = MEMORY * before + (1 - MEMORY) * now
        values = self.hypers.values
        chosen = torch.from_numpy(places(self.config.inner_steps)).to(self.device)
        record: dict[str, Tensor] = {
            name: values[name] for name in ("log_penalty", "data", "sharing") if name in values
        }
        record["log_alpha"] = values["log_alpha"][chosen]
        record["gamma"] = torch.sigmoid(values["logit_gamma"][chosen])
        record["log_scale"] = values["log_scale"]
        for name in ("log_alpha", "logit_gamma"):
            if name in self.newest:
                record[f"by_{name}"] = self.newest[name][chosen].clamp(-HIGHEST_DRAWN, HIGHEST_DRAWN)
                record[f"mean_{name}"] = self.mean[name][chosen].clamp(-HIGHEST_DRAWN, HIGHEST_DRAWN)
        plain = {name: value.cpu().numpy() for name, value in record.items()}
        plain["curve"] = averaged(training.losses.cpu().numpy())
        if path:
            plain["path"] = np.array(path)
        self.history.add(self.meta, plain)

    def _sweep_on(self) -> dict[str, float]:
        log_alpha = self.sweep.next()
        rates = self._constant(log_alpha)
        problem, start = self.problem(0), self.start(0)
        scalars: dict[str, float] = {"log_alpha": log_alpha}
        try:
            training = train(problem, start, rates, self.config.exact)
            more, found = self._way_back(problem, training, rates)
            slope = float((found.alpha * rates.alpha).sum())
        except StepError:
            # A step size so large belongs to the sweep; there is nothing to draw.
            self.sweep.add(None, None)
        else:
            scalars |= more
            length = float((found.alpha * rates.alpha).norm())
            scalars["slope"] = slope if math.isfinite(slope) else HIGHEST
            scalars["hypergradient_norm"] = length if math.isfinite(length) else HIGHEST
            self.sweep.add(scalars["meta_loss_nats"], slope)
        self.meta += 1
        edge = self.sweep.edge()
        if edge is not None:
            scalars["edge_log_alpha"] = edge
        return scalars

    def _constant(self, log_alpha: float) -> Rates:
        values = self.hypers.columns(self.hypers.values["log_alpha"])
        return self.hypers.rates(torch.full_like(values, log_alpha))

    # --- the hand  ----------

    def act(self, action: Action) -> Mapping[str, Any] | None:
        """Answer the hand.

        Answers
        -------
        RaceSchedule
            ``losses``: the meta-objective at the end by lane, "first", "learned" and "drawn"; ``alphas`` (T,): the drawn
            schedule; ``bend`` (T,): derivative by its logarithm.
        SetSchedule, ForgetSchedule, ChooseLayer
            None.
        GiveHand
            ``alphas``, None where nothing is drawn; and ``layer``.
        """
        match action:
            case RaceSchedule() | SetSchedule():
                log_alpha = self._schedule_of(action.alphas, action.layer)
                if isinstance(action, SetSchedule):
                    tied = self.hypers.values["log_alpha"].shape[1]
                    self.hypers.values["log_alpha"] = log_alpha[:, :tied].clone()
                    return None
                before = self.drawn, self.layer
                self.drawn = RaceSchedule(tuple(float(a) for a in action.alphas), action.layer)
                self.layer = action.layer
                try:
                    found = self.race()
                except StepError as error:
                    self.drawn, self.layer = before
                    raise InputError(
                        "Training diverges with this schedule and leaves the range of the exact integers: draw lower step "
                        "sizes."
                    ) from error
                columns = self._columns_of(action.layer)
                return {
                    "losses": {name: float(lane.losses[-1]) for name, lane in found.lanes.items()},
                    "alphas": np.exp(found.lanes["drawn"].log_alpha[:, columns[0]]),
                    "bend": found.bend[:, columns].sum(1),
                }
            case ForgetSchedule():
                self.drawn = None
                return None
            case ChooseLayer():
                self._schedule_of((1.0,), action.layer)
                self.drawn, self.layer = None, action.layer
                return None
            case GiveHand():
                return {"alphas": self.drawn and self.drawn.alphas, "layer": self.layer}
            case _:
                return super().act(action)

    def _columns_of(self, layer: int | None) -> list[int]:
        groups = self.hypers.groups
        return [i for i, group in enumerate(groups) if layer is None or group.layer == layer]

    def _schedule_of(self, alphas: tuple[float, ...], layer: int | None) -> Tensor:
        """The learned schedule with a drawn one in it, log (T, G).

        Raises
        ------
        InputError
        """
        if self.config.experiment not in WITH_STEPS:
            raise InputError(
                "This experiment has one step size that is not learned: draw schedules where experiment is schedules, "
                "scales or toy."
            )
        layers = self.hypers.groups[-1].layer + 1
        if layer is not None and not 0 <= layer < layers:
            raise InputError(f"There is no layer {layer + 1}: choose one from 1 to {layers}.")
        learned = self.hypers.values["log_alpha"]
        if layer is not None and learned.shape[1] == 1 and layers > 1:
            raise InputError("The layers are tied to one schedule: draw it for all layers.")
        if not alphas or len(alphas) > 100_000:
            raise InputError("The drawn schedule has no points: draw from the first iteration to the last.")
        if not all(math.isfinite(a) and 1e-8 <= a <= 1e3 for a in alphas):
            raise InputError("A drawn step size lies outside of 1e-8 to 1000: draw between them.")
        steps = len(learned)
        at = np.linspace(0, len(alphas) - 1, steps) if steps > 1 else np.zeros(1)
        line = np.interp(at, np.arange(len(alphas)), np.log(np.array(alphas, dtype=float)))
        log_alpha = self.hypers.columns(learned).clone()
        columns = self._columns_of(layer)
        log_alpha[:, columns] = torch.from_numpy(line).to(log_alpha).unsqueeze(1)
        return log_alpha

    def race(self) -> Race:
        """The first, the learned and the drawn schedule on the same start and batches, once for each state.

        Raises
        ------
        StepError
            One of them diverges.
        """
        now = (self.meta, self.config, self.hypers.values["log_alpha"])
        key = (self.drawn, *now)
        if self._raced is None or not _is_same(self._raced[0], key):
            schedules = {
                "first": self._constant(math.log(self.config.alpha)),
                "learned": self.hypers.rates(),
            }
            if self.drawn is not None:
                log_alpha = self._schedule_of(self.drawn.alphas, self.drawn.layer)
                schedules["drawn"] = self.hypers.rates(log_alpha)
            known = self._lanes[1] if self._lanes is not None and _is_same(self._lanes[0], now) else {}
            problem, start = self.problem(self.meta), self.start(self.meta)
            found = race(problem, start, schedules, self.config.exact, known)
            self._raced = key, found
            # A drag asks for many races, of which only the drawn lane is another one.
            self._lanes = now, {name: lane for name, lane in found.lanes.items() if name != "drawn"}
        return self._raced[1]

    # --- pictures  ----------

    def shown(self) -> Tensor:
        """Indices (units, inputs), flattened, of the weights that the film draws: of the first layer's first units."""
        if self.network is None:
            return torch.arange(2, device=self.device)
        inputs, units = self.network.widths[:2]
        index = torch.arange(inputs * units, device=self.device).view(inputs, units)
        return index[:, :SHOWN_UNITS].T.reshape(-1)

    def rehearsal(self) -> Rehearsal:
        """The present training out and back in both arithmetics, once for each state.

        Raises
        ------
        StepError
            It diverges.
        """
        key = (self.meta, self.config, self.hypers.values["log_alpha"])
        if self._rehearsed is None or not _is_same(self._rehearsed[0], key):
            problem, start = self.problem(self.meta), self.start(self.meta)
            found = rehearse(problem, start, self.hypers.rates(), self.shown(), self.config.frames)
            self._rehearsed = key, found
        return self._rehearsed[1]

    def figures(self, wanted: Collection[str]) -> dict[str, Figure]:
        return pictures.figures(self, wanted)

    # --- the end  ----------

    def summary(self) -> dict[str, Any]:
        """Trainings from new starts with the hyperparameters as they are, measured on test examples.

        Tasks are trained apart, with one first layer for all, and with the learned sharing, each on all training drawings.
        """
        if self.config.experiment == "chaos":
            edge = self.sweep.edge()
            return {
                "tried": self.sweep.tried,
                "edge_log_alpha": edge if edge is not None else "not yet known",
            }
        rates = self.hypers.rates()
        if self.config.experiment == "toy":
            training = train(self.problem(0), self.start(0), rates, self.config.exact)
            return {"meta_loss_nats": self.problem(0).value(training.momentum.weights())}
        if self.tasks is not None:
            return self._summary_of_tasks(rates)
        assert self.material is not None
        starts = self._new_starts()
        summary = self._measured([(number, self.start(number), rates) for number in starts])
        summary |= {"test_examples": len(self.material.test.x), "starts": len(starts)}
        if self.config.experiment == "data":
            return summary | self._summary_of_real_pictures(rates)
        if self.config.experiment == "schedules" and self.config.rivals:
            return summary | self._summary_of_constants()
        return summary

    def _new_starts(self) -> range:
        """Numbers of trainings that were never done; where all are the same, of that one."""
        return range(2**31 - SUMMARY_STARTS, 2**31) if self.config.fresh else range(1)

    def _measured(self, trainings: Sequence[tuple[int, Tensor, Rates]], name: str = "") -> dict[str, float]:
        """The mean over (number, start, schedules), with ``name`` before each key."""
        assert self.material is not None
        found = []
        for number, start, rates in trainings:
            problem = self.problem(number)
            assert isinstance(problem, NetworkProblem)
            w = train(problem, start, rates, self.config.exact).momentum.weights()
            found.append((problem.value(w), *problem.measure(w, self.material.test)))
        mean, spread = np.mean(found, 0), np.std(found, 0)
        return {
            f"{name}meta_loss_nats": float(mean[0]),
            f"{name}test_loss_nats": float(mean[1]),
            f"{name}test_error_percent": float(mean[2]),
            f"{name}test_error_spread_percent": float(spread[2]),
        }

    def _summary_of_real_pictures(self, rates: Rates) -> dict[str, float]:
        """The same training on real pictures of each class, with the penalty that learning began with."""
        assert self.material is not None and self.network is not None
        network, test = self.network, self.material.test
        penalty = self.hypers.penalty(self.config.penalty)
        assert penalty is not None
        begun = torch.full_like(penalty, self.config.penalty)

        def problem(examples: Examples) -> NetworkProblem:
            batches = Batches(len(examples.x), 0, self.config.seed, 0, self.device)
            return NetworkProblem(network, examples, batches, test, begun)

        found = rivals.errors_of_real_pictures(
            self.material.train, problem, self.start(0), rates, self.config.seed
        )
        losses, errors = np.array(found).T
        return {
            "real_test_loss_nats": float(losses.mean()),
            "real_test_error_percent": float(errors.mean()),
            "real_test_error_spread_percent": float(errors.std()),
            "real_draws": len(found),
        }

    def _summary_of_constants(self) -> dict[str, float]:
        """The best constants of sweeps that cost as much as the meta-iterations that were done."""
        config, sizes = self.config, self.hypers.sizes

        def problem(number: int) -> NetworkProblem:
            found = self.problem(number)
            assert isinstance(found, NetworkProblem)
            return found

        trials = rivals.Trials(problem, self.noise, config.inner_steps, sizes, config.exact)
        count = max(int(self.meta * trials.cost(self.hypers.rates(), self.start(0))), 4)
        first = rivals.Constant(config.alpha, config.gamma, config.init_scale)
        summary: dict[str, float] = {"trainings_of_a_sweep": count}
        for name, best in (
            ("constant", rivals.best_step_size(trials, first, count)),
            ("constants", rivals.best_constants(trials, first, count, config.seed)),
        ):
            rates = trials.rates(best)
            summary |= {f"{name}_alpha": best.alpha, f"{name}_gamma": best.gamma, f"{name}_scale": best.scale}
            starts = [(number, best.scale * self.noise(number), rates) for number in self._new_starts()]
            summary |= self._measured(starts, f"{name}_")
        return summary

    def _summary_of_tasks(self, rates: Rates) -> dict[str, Any]:
        assert self.tasks is not None and self.network is not None
        count = len(self.tasks.pool)
        learned = self.hypers.values["sharing"]
        apart = torch.eye(count, dtype=learned.dtype, device=learned.device).repeat(len(learned), 1, 1)
        tied = apart.clone()
        tied[0] = 1.0 / count
        examples, test = self.tasks.whole()
        summary: dict[str, Any] = {"tasks": count}
        for name, sharing in (("apart", apart), ("tied", tied), ("learned", learned)):
            problem = NetworkProblem(
                self.network,
                examples,
                Batches(examples.x.shape[1], 0, self.config.seed, 0, self.device),
                test,
                self.hypers.penalty(self.config.penalty),
                sharing=sharing,
            )
            found = []
            # All see the same starts, so that chance does not choose between them.
            for number in range(-TASK_STARTS, 0):
                start = self.start(2**31 + number)
                w = train(problem, start, rates, self.config.exact).momentum.weights()
                found.append((*problem.measure(w, examples), *problem.measure(w, test)))
            mean = np.mean(found, 0) / count
            for part, loss, error in (("train", *mean[:2]), ("test", *mean[2:])):
                summary[f"{part}_loss_{name}_nats"] = float(loss)
                summary[f"{part}_error_{name}_percent"] = float(error)
        return summary

    # --- rewind  ----------

    def data_description(self) -> Mapping[str, str]:
        if self.material is not None:
            return self.material.description
        return self.tasks.description if self.tasks is not None else {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "meta": self.meta,
            "hypers": self.hypers.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history.state_dict(),
            "sweep": self.sweep.state_dict(),
            "newest": dict(self.newest),
            "mean": dict(self.mean),
            "drawn": None
            if self.drawn is None
            else {"alphas": list(self.drawn.alphas), "layer": self.drawn.layer},
            "layer": self.layer,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.meta = state["meta"]
        self.hypers.load_state_dict(state["hypers"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history.load_state_dict(state["history"])
        self.sweep.load_state_dict(state["sweep"])
        self.newest = {name: value.to(self.device) for name, value in state["newest"].items()}
        self.mean = {name: value.to(self.device) for name, value in state["mean"].items()}
        drawn = state["drawn"]
        self.drawn = None if drawn is None else RaceSchedule(tuple(drawn["alphas"]), drawn["layer"])
        self.layer = state["layer"]
        self._rehearsed = self._raced = self._lanes = None


def _is_same(first: object, second: object) -> bool:
    """Whether two keys mean the same state; tensors are never written to, so being the same one is enough."""
    assert isinstance(first, tuple) and isinstance(second, tuple)
    return all(a is b if isinstance(a, Tensor) else a == b for a, b in zip(first, second, strict=True))
