"""What learned hyperparameters are held against: sweeps that keep to their cost, and real pictures; CPU, tiny sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.engine import stream
from engines.reversible_learning import rivals
from engines.reversible_learning.config import ReversibleLearningSettings
from engines.reversible_learning.engine import ReversibleLearningEngine
from engines.reversible_learning.problems import NetworkProblem
from engines.reversible_learning.rivals import Constant, Trials

TINY: dict[str, Any] = {
    "train_size": 60,
    "valid_size": 40,
    "hidden": "5",
    "inner_steps": 12,
    "batch": 10,
    "alpha": 0.05,
    "gamma": 0.8,
}
FIRST = Constant(0.05, 0.8, 0.05)


def make(**changes: Any) -> ReversibleLearningEngine:
    return ReversibleLearningEngine(
        ReversibleLearningSettings.build({**TINY, **changes}), torch.device("cpu")
    )


class Counted(Trials):
    """Counts the trainings that are done."""

    done = 0

    def weights(self, constant: Constant, number: int) -> Tensor | None:
        Counted.done += 1
        return super().weights(constant, number)


@pytest.fixture
def trials() -> Counted:
    engine = make()
    Counted.done = 0

    def problem(number: int) -> NetworkProblem:
        found = engine.problem(number)
        assert isinstance(found, NetworkProblem)
        return found

    return Counted(problem, engine.noise, engine.config.inner_steps, engine.hypers.sizes, True)


def mean_loss(trials: Trials, constant: Constant) -> float:
    return float(np.mean([trials.loss(constant, number) for number in range(50, 56)]))


def test_a_sweep_finds_a_better_constant_and_does_no_more_trainings_than_it_may(trials: Counted) -> None:
    best = rivals.best_step_size(trials, FIRST, 60)
    assert Counted.done <= 60
    assert (best.gamma, best.scale) == (FIRST.gamma, FIRST.scale)
    assert rivals.ALPHAS[0] <= best.alpha <= rivals.ALPHAS[1]
    # On other starts than it saw, it is about as good as the best of a fine grid.
    grid = [Constant(math.exp(a), FIRST.gamma, FIRST.scale) for a in np.linspace(-3, 3, 25)]
    losses = [mean_loss(trials, constant) for constant in grid]
    assert mean_loss(trials, best) < min(losses) + 0.1 * (mean_loss(trials, FIRST) - min(losses))


def test_a_random_search_moves_all_three_and_does_no_more_trainings_than_it_may(trials: Counted) -> None:
    best = rivals.best_constants(trials, FIRST, 60, seed=0)
    assert Counted.done <= 60
    assert best == rivals.best_constants(trials, FIRST, 60, seed=0), "it follows from the seed"
    assert best.gamma != FIRST.gamma and best.scale != FIRST.scale
    assert rivals.GAMMAS[0] <= best.gamma <= rivals.GAMMAS[1]
    assert mean_loss(trials, best) < mean_loss(trials, FIRST)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_sweeps_of_few_trainings_keep_to_them(trials: Counted, count: int) -> None:
    for sweep in (
        lambda: rivals.best_step_size(trials, FIRST, count),
        lambda: rivals.best_constants(trials, FIRST, count, 0),
    ):
        Counted.done = 0
        sweep()
        assert 0 < Counted.done <= count


def test_a_step_size_that_leaves_the_range_of_the_integers_loses(trials: Counted) -> None:
    assert trials.loss(Constant(1e9, 0.8, 0.05), 0) == math.inf


def test_real_pictures_are_one_of_each_class_and_differ_from_draw_to_draw() -> None:
    engine = make(experiment="data", hidden="", penalty=0.01, objective="validation", fresh=False, alpha=1.0)
    assert engine.material is not None
    seen: list[Tensor] = []
    plain = engine.problem(0)
    assert isinstance(plain, NetworkProblem)

    def problem(examples: Any) -> NetworkProblem:
        assert torch.equal(examples.y, torch.eye(10, dtype=torch.float64)) and examples.weight == 0.1
        seen.append(examples.x)
        return NetworkProblem(plain.network, examples, plain.batches, engine.material.test, plain.penalty)

    found = rivals.errors_of_real_pictures(
        engine.material.train, problem, engine.start(0), engine.hypers.rates(), 0
    )
    assert len(found) == len(seen) == rivals.DRAWS
    pool = {tuple(row) for row in engine.material.train.x.tolist()}
    assert all(tuple(row) in pool for x in seen for row in x.tolist())
    assert not torch.equal(seen[0], seen[1])
    # Nine in ten are wrong by chance; ten real digits tell a good part of the others.
    assert 10 < np.mean([error for _, error in found]) < 80


def test_the_summary_of_a_run_that_asks_for_it_holds_the_constants_against_the_schedules() -> None:
    engine = make(rivals=True)
    for _ in range(3):
        engine.step()
    summary = engine.summary()
    assert summary["trainings_of_a_sweep"] >= 6
    assert summary["constant_gamma"] == 0.8 and summary["constant_meta_loss_nats"] > 0
    assert summary["constants_test_error_percent"] <= 100
    assert "constant_alpha" not in make().summary()
    # The same starts for all: from them, the first schedule is what the learned one began as.
    begun = make(rivals=True)
    rates = begun.hypers.rates()
    numbers = begun._new_starts()
    trained = begun._measured([(n, begun.start(n), rates) for n in numbers])
    constant = Trials(begun.problem, begun.noise, 12, begun.hypers.sizes, True)  # type: ignore[arg-type]
    scale = begun.config.init_scale
    again = begun._measured(
        [(n, scale * begun.noise(n), constant.rates(Constant(0.05, 0.8, scale))) for n in numbers]
    )
    assert trained["meta_loss_nats"] == pytest.approx(again["meta_loss_nats"], rel=1e-6)


def test_learned_pictures_are_held_against_real_ones() -> None:
    engine = make(experiment="data", hidden="", penalty=0.01, objective="validation", fresh=False, alpha=1.0)
    summary = engine.summary()
    assert summary["real_draws"] == rivals.DRAWS
    assert summary["real_test_error_percent"] < summary["test_error_percent"], "noise teaches nothing yet"


def test_noise_of_a_start_is_what_its_weights_are_made_of() -> None:
    engine = make()
    generator = stream(engine.config.seed, "start 3")
    expected = torch.randn(sum(engine.hypers.sizes), generator=generator, dtype=torch.float64)
    assert torch.equal(engine.noise(3), expected)
    assert torch.equal(engine.start(3), expected * engine.hypers.scales())
