"""The fixed-point engine as a worker uses it: conversion, requests of the hand, live changes, pictures, keyframes; CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines import figures as vocabulary
from engines.config import Preset
from engines.data.fetched import find
from engines.errors import DataError, InputError, SettingError
from engines.figures import Bars, Histogram, ImageGrid, Lines, Panels, Plot, Ribbon, Scatter
from engines.fixed_point.calibration import HIGHEST_SQNR, Place
from engines.fixed_point.config import (
    METHOD,
    FixedPointSettings,
    GiveBits,
    GiveRival,
    SetAllBits,
    SetBits,
    SetStep,
    UseAllocation,
)
from engines.fixed_point.engine import FixedPointEngine
from engines.fixed_point.evaluator import Evaluator
from engines.fixed_point.pictures import shares
from engines.fixed_point.quantizer import codes_of, quantise
from engines.fixed_point.sweep import Curve, Sweep, saved
from engines.method import Action, Question
from tests.engines.handling import (
    check_whole,
    copy_of,
    everything,
    marks,
    one_sentence,
    picture,
    same,
    trained,
)

TINY: Mapping[str, Any] = {
    "width": 4,
    "float_steps": 6,
    "batch": 16,
    "evaluate_every": 3,
    "calibration": 64,
    "weight_bits": 4,
    "activation_bits": 5,
    "steps": 100,
}
NAMES = METHOD.figure_names()


def make(**changes: Any) -> FixedPointEngine:
    """A small engine on the CPU."""
    return FixedPointEngine(FixedPointSettings.build({**TINY, **changes}), torch.device("cpu"))


@pytest.fixture(scope="module")
def capable() -> bytes:
    """A keyframe of a network that knows its digits, just converted."""
    return everything(trained(make(float_steps=120, learning_rate=8e-3), 120))


@pytest.fixture
def engine(capable: bytes) -> FixedPointEngine:
    """That network."""
    from lab.runs.state import unpack

    engine = make(float_steps=120, learning_rate=8e-3)
    engine.load_state_dict(unpack(capable)[0])
    return engine


def act(engine: FixedPointEngine, action: Action) -> Mapping[str, Any]:
    """The answer to a request that has one."""
    answer = engine.act(action)
    assert answer is not None
    return answer


def fresh_accuracy(engine: FixedPointEngine) -> float:
    """Accuracy with the present bits, of a network that is quantised anew and evaluated from the pictures on."""
    other = copy_of(engine)
    evaluator = Evaluator(other.layers, other.data.test, other.data.test_labels)
    return evaluator.accuracy(other.quantised())


# --- a run  ----------


def test_a_run_trains_in_floating_point_converts_and_fine_tunes() -> None:
    engine = make()
    rows = [engine.step() for _ in range(12)]
    assert all("loss_nats" in row and "dead_percent" not in row for row in rows[:6])
    assert all("fine_tune_loss_nats" in row and "loss_nats" not in row for row in rows[6:])
    assert "accuracy_percent" in rows[5] and "float_accuracy_percent" in rows[5]
    assert all("accuracy_percent" not in row for row in rows[:5])
    assert [i for i, row in enumerate(rows, 1) if "accuracy_percent" in row] == [6, 9, 12]
    assert rows[-1]["accuracy_percent"] == pytest.approx(fresh_accuracy(engine))
    assert all(type(value) is float and math.isfinite(value) for row in rows for value in row.values())
    assert engine.converted_at == 6 and engine.is_tuned
    reported = {name for row in rows for name in row}
    for view in METHOD.views:
        if isinstance(view, vocabulary.CurveSpec):
            assert {name for name, _, _ in view.series} <= reported
    assert {METHOD.headline, METHOD.watched} <= reported


def test_float_training_learns_and_fine_tuning_mends_what_few_bits_broke(engine: FixedPointEngine) -> None:
    assert engine.float_accuracy() > 85
    answer = act(engine, SetAllBits("weights", 2))
    broken = answer["accuracy_percent"]
    assert broken < engine.float_accuracy() - 5
    engine.apply({"evaluate_every": 1000})
    trained(engine, 60)
    assert engine.accuracy() > broken + 5


def test_without_fine_tuning_the_conversion_is_the_last_step_until_it_is_switched_on() -> None:
    engine = trained(make(fine_tune=False), 5)
    assert engine.config.steps == 100
    assert "accuracy_percent" in engine.step()
    assert engine.config.steps == 6
    fork = copy_of(engine, fine_tune=True)
    assert fork.config.steps == 100 and "dead_percent" in fork.step()
    # Who asks for more steps gets one that measures, and changes no weight.
    engine.apply({"steps": 50})
    before = [weight.clone() for weight in engine.float_weights(1)]
    row = engine.step()
    assert set(row) == {"accuracy_percent", "float_accuracy_percent"} and engine.config.steps == 7
    assert all(torch.equal(a, b) for a, b in zip(before, engine.float_weights(1), strict=True))
    engine.apply({"fine_tune": True})
    assert engine.config.steps == 50 and "dead_percent" in engine.step()


def test_switching_fine_tuning_off_ends_the_run_with_a_measurement() -> None:
    engine = trained(make(), 8)
    engine.apply({"fine_tune": False})
    assert engine.config.steps == 100
    row = engine.step()
    assert row["accuracy_percent"] == fresh_accuracy(engine) and engine.config.steps == 9
    assert copy_of(engine).config.steps == 9


def test_lowering_the_float_steps_converts_at_the_next_step() -> None:
    engine = trained(make(float_steps=50), 3)
    engine.apply({"float_steps": 2})
    assert "accuracy_percent" in engine.step() and engine.converted_at == 4
    engine.apply({"float_steps": 50})
    assert "dead_percent" in engine.step()


def test_conversion_does_not_change_the_answers_of_the_present_network() -> None:
    engine = trained(make(), 5)
    engine.step()
    converted = engine.accuracy()
    other = trained(make(float_steps=7), 6)
    assert other.converted_at is None
    assert other.accuracy() == converted


def test_fine_tuning_leaves_the_float_network_and_its_formats_alone(engine: FixedPointEngine) -> None:
    weights = [w.clone() for w in engine.reference.weights]
    formats = engine.formats("weights")
    exact = engine.float_accuracy()
    trained(engine, 3)
    assert all(torch.equal(a, b) for a, b in zip(weights, engine.reference.weights, strict=True))
    assert engine.formats("weights") == formats and engine.float_accuracy() == exact
    tuned = engine.float_weights(1)[0]
    assert not torch.equal(tuned, weights[1])
    assert torch.equal(engine.float_weights(1, tuned=False)[0], weights[1])


def test_brown_out_loses_every_update_of_a_weight_until_rounding_is_stochastic(
    engine: FixedPointEngine,
) -> None:
    engine.apply({"master": "fixed", "weight_bits": 2, "learning_rate": 1e-3, "fine_tune_rate": 0.1})
    engine.step()
    assert engine.tuner is not None
    weights = [w.detach().clone() for w in engine.tuner.weights]
    assert all(
        torch.equal(quantise(w, f), w) for w, f in zip(weights, engine.formats("weights"), strict=True)
    )
    assert all(engine.step()["dead_percent"] == 100.0 for _ in range(5))
    assert all(torch.equal(a, b.detach()) for a, b in zip(weights, engine.tuner.weights, strict=True))
    engine.apply({"rounding": "stochastic", "fine_tune_rate": 1.0})
    assert min(engine.step()["dead_percent"] for _ in range(10)) < 100.0
    assert any(not torch.equal(a, b.detach()) for a, b in zip(weights, engine.tuner.weights, strict=True))


# --- the hand  ----------


def test_every_move_of_a_slider_is_answered_as_a_fresh_evaluation_would(engine: FixedPointEngine) -> None:
    count = len(engine.layers)
    engine.accuracy()
    moves: list[Action] = [
        SetBits(count - 1, "weights", 2),
        SetBits(2, "activations", 3),
        SetBits(0, "weights", 32),
        SetAllBits("activations", 4),
        SetAllBits("weights", tuple(range(2, 2 + count))),
        UseAllocation(target_bits=3.5),
        SetBits(1, "weights", 16),
    ]
    recomputed = []
    for move in moves:
        answer = act(engine, move)
        assert answer["accuracy_percent"] == fresh_accuracy(engine)
        assert answer["weights"] == tuple(engine.bits["weights"])
        assert answer["activations"] == tuple(engine.bits["activations"])
        bits = sum(layer.weights * b for layer, b in zip(engine.layers, answer["weights"], strict=True))
        assert answer["size_bytes"] == bits / 8
        assert answer["mean_bits"] == pytest.approx(bits / sum(layer.weights for layer in engine.layers))
        recomputed.append(answer["recomputed"])
    assert recomputed[:3] == [1, count - 2, count] and recomputed[-1] == count - 1


def test_sliders_are_answered_while_the_weights_are_tuned_and_before_conversion() -> None:
    for steps in (0, 3, 9):
        engine = trained(make(), steps)
        assert act(engine, SetBits(3, "weights", 2))["accuracy_percent"] == fresh_accuracy(engine)
        engine.step()
        assert act(engine, SetBits(3, "activations", 2))["accuracy_percent"] == fresh_accuracy(engine)


def test_floating_point_for_everything_is_the_float_network(engine: FixedPointEngine) -> None:
    act(engine, SetAllBits("weights", 32))
    assert act(engine, SetAllBits("activations", 32))["accuracy_percent"] == engine.float_accuracy()
    engine.network.eval()
    with torch.no_grad():
        right = engine.network(engine.data.test).argmax(1) == engine.data.test_labels
    assert engine.float_accuracy() == pytest.approx(100 * float(right.float().mean()))


def test_the_allocation_keeps_its_budget_and_gives_large_layers_fewer_bits(
    engine: FixedPointEngine,
) -> None:
    answer = act(engine, UseAllocation(target_bits=4.0))
    bits, weights = answer["weights"], [layer.weights for layer in engine.layers]
    assert answer["mean_bits"] <= 4.0
    assert bits[int(np.argmin(weights))] > bits[int(np.argmax(weights))]
    engine.apply({"cost": "macs"})
    macs = np.array([layer.macs for layer in engine.layers])
    work = np.array(act(engine, UseAllocation(target_bits=4.0))["weights"])
    assert macs @ work <= 4.0 * macs.sum()
    assert tuple(work) != bits


def test_the_allocation_reaches_an_sqnr_by_the_law_or_says_why_not(engine: FixedPointEngine) -> None:
    act(engine, SetAllBits("activations", 8))
    act(engine, UseAllocation(target_sqnr=15.0))
    reference, options = engine.reference, engine.options
    noise = sum(
        10 ** (-reference.predicted(p, engine.bits[p.kind][p.layer], options) / 10) for p in reference.places
    )
    assert -10 * math.log10(noise) >= 15.0
    act(engine, SetAllBits("activations", 1))
    before = everything(engine)
    with pytest.raises(InputError) as error:
        engine.act(UseAllocation(target_sqnr=40.0))
    one_sentence(error.value)
    assert everything(engine) == before
    assert act(engine, GiveBits())["allocated"] is not None
    engine.apply({"target": "sqnr", "target_sqnr": 40.0})
    assert act(engine, GiveBits())["allocated"] is None


def test_the_settings_targets_are_those_of_an_allocation_without_one(engine: FixedPointEngine) -> None:
    engine.apply({"target_bits": 5.0})
    told = act(engine, GiveBits())
    assert act(engine, UseAllocation())["weights"] == told["allocated"]
    assert act(engine, UseAllocation(target_bits=5.0))["weights"] == told["allocated"]
    assert told["names"] == tuple(layer.name for layer in engine.layers)
    assert told["converted"] and isinstance(GiveBits(), Question)


def test_the_rival_costs_no_more_and_both_are_measured_on_the_whole_test_set(
    engine: FixedPointEngine,
) -> None:
    for bits in ((4, 4, 4, 4, 4), (2, 7, 3, 5, 32), (1, 1, 1, 1, 1)):
        answer = act(engine, SetAllBits("weights", bits))
        rival = act(engine, GiveRival())
        assert rival["size_bytes"] <= answer["size_bytes"]
        assert rival["your_accuracy_percent"] == answer["accuracy_percent"]
        other = copy_of(engine)
        assert (
            act(other, SetAllBits("weights", rival["weights"]))["accuracy_percent"]
            == rival["accuracy_percent"]
        )
    untuned = act(engine, GiveRival())
    trained(engine, 3)
    assert act(engine, GiveRival()) == untuned, "it is a contest of bits, not of training"
    assert make().act(GiveRival()) is None and isinstance(GiveRival(), Question)


def test_a_step_of_the_hand_is_in_force_until_its_bits_change_or_it_is_given_back(
    engine: FixedPointEngine,
) -> None:
    before = engine.formats("weights")
    act(engine, SetStep(2, "weights", 3.0 * before[2].step))
    (form,) = [f for f, b in zip(engine.formats("weights"), before, strict=True) if f != b]
    # To the nearest power of two in its logarithm: 3 lies nearer to 4 than to 2.
    assert form == engine.format(Place("weights", 2)) and form.step == 4.0 * before[2].step
    engine.apply({"power_of_two": False})
    answer = act(engine, SetStep(2, "weights", 0.3))
    assert engine.format(Place("weights", 2)).step == 0.3 and answer["own_steps"]["weights"][2] == 0.3
    assert answer["accuracy_percent"] == fresh_accuracy(engine)
    x = engine.reference.sample(Place("weights", 2))
    noise = (x - quantise(x, engine.format(Place("weights", 2)))).double().square().sum()
    db = 10 * math.log10(float(x.double().square().sum() / noise))
    assert engine.measured(Place("weights", 2)) == pytest.approx(db, abs=1e-4)
    assert copy_of(engine).own_steps == engine.own_steps
    act(engine, SetBits(2, "weights", 4))
    assert engine.own_steps["weights"][2] == 0.3, "it has these bits already"
    act(engine, SetBits(1, "weights", 5))
    assert engine.own_steps["weights"][2] == 0.3
    act(engine, SetBits(2, "weights", 5))
    assert engine.own_steps["weights"] == [None] * 5
    act(engine, SetStep(0, "activations", 0.1))
    act(engine, SetStep(0, "activations", None))
    assert engine.own_steps["activations"] == [None] * 5


def test_requests_that_cannot_be_met_say_so_and_change_nothing(engine: FixedPointEngine) -> None:
    before = everything(engine)
    kind: Any = "biases"
    for action in (
        SetBits(9, "weights", 4),
        SetBits(-1, "weights", 4),
        SetBits(0, "weights", 0),
        SetBits(0, "activations", 17),
        SetBits(0, kind, 4),
        SetAllBits("weights", (4, 4)),
        SetAllBits("weights", (4, 4, 4, 4, 40)),
        SetAllBits(kind, 4),
        SetStep(9, "weights", 0.5),
        SetStep(0, kind, 0.5),
        SetStep(0, "weights", 0.0),
        SetStep(0, "weights", -1.0),
        SetStep(0, "weights", math.nan),
        UseAllocation(0.5),
        UseAllocation(math.nan),
        UseAllocation(None, math.inf),
        UseAllocation(4.0, 20.0),
    ):
        with pytest.raises(InputError) as error:
            engine.act(action)
        one_sentence(error.value)
        assert everything(engine) == before


def test_a_setting_moves_every_slider_and_others_leave_them(engine: FixedPointEngine) -> None:
    act(engine, SetBits(1, "weights", 7))
    engine.apply({"activation_bits": 3})
    assert engine.bits["activations"] == [3] * 5 and engine.bits["weights"][1] == 7
    engine.apply({"learning_rate": 1e-3, "step_rule": "laplacian"})
    assert engine.bits["weights"][1] == 7
    engine.apply({"weight_bits": 20})
    assert engine.bits["weights"] == [16] * 5


@pytest.mark.parametrize(
    "changes",
    [
        {"power_of_two": False},
        {"grid": "mid_rise"},
        {"one_sided": False},
        *({"step_rule": rule} for rule in ("laplacian", "gamma", "uniform", "mse")),
    ],
    ids=str,
)
def test_a_live_change_of_the_quantiser_is_in_force_at_once(
    engine: FixedPointEngine, changes: Mapping[str, Any]
) -> None:
    before = engine.accuracy(), engine.formats("weights"), engine.formats("activations")
    engine.apply(changes)
    assert (engine.formats("weights"), engine.formats("activations")) != before[1:]
    assert engine.accuracy() == fresh_accuracy(engine)


def test_no_zero_among_the_levels_spoils_what_a_relu_gives(engine: FixedPointEngine) -> None:
    place = Place("activations", 3)
    tread = engine.reference.measured(place, 4, engine.options)
    engine.apply({"grid": "mid_rise"})
    assert engine.reference.measured(place, 4, engine.options) < tread - 1


# --- rewind  ----------


@pytest.mark.parametrize("steps", [0, 4, 6, 9])
@pytest.mark.parametrize(
    "changes", [{}, {"master": "fixed", "rounding": "stochastic"}], ids=["paper", "fixed"]
)
def test_a_rewound_run_repeats_itself(steps: int, changes: Mapping[str, Any]) -> None:
    engine = trained(make(**changes), steps)
    engine.act(SetBits(2, "weights", 3))
    other = copy_of(engine)
    assert everything(other) == everything(engine)
    for _ in range(8 - steps // 2):
        assert engine.step() == other.step()
    assert everything(other) == everything(engine)
    assert engine.act(SetBits(0, "activations", 2)) == other.act(SetBits(0, "activations", 2))


def test_an_engine_rewinds_from_fixed_point_to_floating_point() -> None:
    from lab.runs.state import unpack

    engine = trained(make(), 4)
    keyframe = everything(engine)
    first = [engine.step() for _ in range(6)]
    engine.act(SetAllBits("weights", 2))
    engine.load_state_dict(unpack(keyframe)[0])
    assert everything(engine) == keyframe and engine.converted_at is None
    assert [engine.step() for _ in range(6)] == first


def test_a_fork_with_other_bits_has_them_and_one_without_keeps_the_sliders(engine: FixedPointEngine) -> None:
    engine.act(SetBits(1, "weights", 7))
    assert copy_of(engine).bits["weights"][1] == 7
    fork = copy_of(engine, weight_bits=3)
    assert fork.bits["weights"] == [3] * 5
    assert fork.bits["activations"] == engine.bits["activations"]


def test_seeds_make_different_runs() -> None:
    first, second = trained(make(), 2), trained(make(seed=1), 2)
    assert everything(first) != everything(second)
    assert everything(trained(make(), 2)) == everything(first)


# --- pictures  ----------


@pytest.mark.parametrize("steps", [0, 3, 6, 8])
def test_every_picture_is_whole_repeats_itself_and_does_not_touch_training(steps: int) -> None:
    engine = trained(make(), steps)
    twin = copy_of(engine)
    before = everything(engine)
    first = engine.figures(NAMES)
    check_whole(first, NAMES)
    for name, figure in first.items():
        assert vocabulary.is_empty(figure) == (name == "pareto" and steps < 6)
    assert everything(engine) == before
    again = engine.figures(NAMES)
    assert all(same(first[name], again[name]) for name in NAMES)
    trained(engine, 3)
    trained(twin, 3)
    assert everything(engine) == everything(twin)


@pytest.mark.parametrize(
    "changes",
    [
        {"weight_bits": 1, "activation_bits": 1, "grid": "mid_rise"},
        {"weight_bits": 32, "activation_bits": 32},
        {"weight_bits": 16, "activation_bits": 9, "step_rule": "mse", "power_of_two": False},
        {"target": "sqnr", "target_sqnr": 60.0, "one_sided": False, "layer": 6},
    ],
    ids=["one bit", "float", "many", "out of reach"],
)
def test_pictures_are_whole_at_the_ends_of_the_settings(
    engine: FixedPointEngine, changes: Mapping[str, Any]
) -> None:
    engine.apply(changes)
    for name, figure in engine.figures(NAMES).items():
        assert vocabulary.check(figure) == [], name
        assert all(np.isfinite(array).all() for _, array in vocabulary.arrays_of(figure)), name


def test_only_the_pictures_asked_for_are_made(engine: FixedPointEngine) -> None:
    assert set(engine.figures(["maps"])) == {"maps"}
    assert engine.figures([]) == {}


def test_levels_stand_where_numbers_go_and_overload_is_shaded(engine: FixedPointEngine) -> None:
    engine.apply({"weight_bits": 2})
    figure = picture(engine, "histograms")
    assert isinstance(figure, Panels) and len(figure.plots) == 2 * len(engine.layers)
    for i, form in enumerate(engine.formats("weights")):
        (histogram,) = marks(figure, Histogram, i)
        assert histogram.counts.sum() == pytest.approx(1)
        (lines,) = marks(figure, Lines, i)
        assert sorted(set(lines.x.tolist())) == pytest.approx(form.levels().tolist())
        low, high = form.edges
        shaded = [(float(r.x[0]), float(r.x[1])) for r in marks(figure, Ribbon, i)]
        assert shaded and all(b <= low + 1e-9 or a >= high - 1e-9 for a, b in shaded)
        assert any(end in (low, high) for pair in shaded for end in pair)


def test_the_chosen_layer_is_shown_large_beside_the_shares_of_all(engine: FixedPointEngine) -> None:
    small = picture(engine, "histograms")
    for layer in (1, 4):
        engine.apply({"layer": layer})
        figure = picture(engine, "levels")
        for plot, column in ((0, layer - 1), (1, layer - 1 + len(engine.layers))):
            (large,), (same_one,) = marks(figure, Histogram, plot), marks(small, Histogram, column)
            assert np.array_equal(large.counts, same_one.counts)
        bars = marks(figure, Bars, 2)
        wanted = [
            shares(w, f) for w, f in zip(engine.reference.weights, engine.formats("weights"), strict=True)
        ]
        assert bars[0].height == pytest.approx([100 * part[0] for part in wanted])
        assert bars[1].height == pytest.approx([100 * part[1] for part in wanted])


def test_shares_of_clipped_and_of_zeroed_numbers_are_counted(engine: FixedPointEngine) -> None:
    form = engine.formats("weights")[2]
    x = engine.reference.weights[2]
    clipped, zeroed = shares(x, form)
    low, high = form.edges
    assert clipped == pytest.approx(np.mean([(v < low or v > high) for v in x.flatten().tolist()]))
    assert zeroed == pytest.approx(float((quantise(x, form) == 0).float().mean()))


def test_the_budget_is_made_of_what_was_measured(engine: FixedPointEngine) -> None:
    figure = picture(engine, "budget")
    assert isinstance(figure, Panels)
    weights, reads = (marks(figure, Bars, plot)[0].height for plot in (1, 2))
    behind, front, worst = marks(figure, Bars, 0)
    every = [*front.height, *(behind.height - front.height)]
    assert worst.height == pytest.approx([max(every)])
    assert worst.x.tolist() == [int(np.argmax(every)) % len(engine.layers)]
    shares_of = engine.noise_shares()
    told = [*shares_of["weights"], *shares_of["activations"]]
    assert told == pytest.approx([each / sum(every) for each in every], abs=1e-6)
    for i in range(len(engine.layers)):
        db = engine.reference.measured(Place("weights", i), 4, engine.options)
        assert weights[i] == pytest.approx(db)
        assert front.height[i] == pytest.approx(10 ** (-db / 10))
        reading = engine.reference.measured(Place("activations", i), 5, engine.options)
        if reading < HIGHEST_SQNR:
            assert reads[i] == pytest.approx(min(reading, reads.max()))
        assert behind.height[i] - front.height[i] == pytest.approx(10 ** (-reading / 10), abs=2e-9)


def test_the_live_point_stands_at_ones_own_size_and_accuracy(engine: FixedPointEngine) -> None:
    for bits in (3, 5):
        answer = act(engine, SetAllBits("weights", bits))
        figure = picture(engine, "pareto")
        solver, yours = marks(figure, Scatter)
        assert solver.x[0] <= yours.x[0] and (solver.role, yours.role) == ("target", "hand")
        assert yours.x[0] == pytest.approx(answer["size_bytes"] / 1024)
        # All of the digits' test pictures are swept.
        assert yours.y[0] == pytest.approx(answer["accuracy_percent"])
        equal = marks(figure, Lines)[0]
        at = np.flatnonzero(np.isclose(equal.x, yours.x[0]))
        assert equal.y[at] == pytest.approx(yours.y[0])
    trained(engine, 2)
    figure = picture(engine, "pareto")
    _, tuned, yours = marks(figure, Scatter)
    assert tuned.y[0] == pytest.approx(engine.accuracy())
    act(engine, SetBits(2, "activations", 1))
    assert np.array_equal(marks(picture(engine, "pareto"), Lines)[0].y, equal.y)
    assert marks(picture(engine, "pareto"), Scatter)[1].y[0] == pytest.approx(engine.accuracy())
    engine.apply({"activation_bits": 1})
    assert not np.array_equal(marks(picture(engine, "pareto"), Lines)[0].y, equal.y)


def test_feature_maps_differ_by_their_quantisation(engine: FixedPointEngine) -> None:
    engine.apply({"layer": 2, "picture": 400})
    figure = picture(engine, "maps")
    exact, rough, difference = (marks(figure, ImageGrid, plot)[0].images for plot in range(3))
    assert exact.shape == rough.shape == (8, 4, 4)
    assert np.abs(difference - 0.5).max() == pytest.approx(0.5)
    assert np.sign(np.round(rough - exact, 9)) == pytest.approx(np.sign(np.round(difference - 0.5, 9)))
    engine.apply({"weight_bits": 32, "activation_bits": 32})
    difference = marks(picture(engine, "maps"), ImageGrid, 2)[0].images
    assert np.allclose(difference, 0.5)
    engine.apply({"layer": 6})
    assert isinstance(picture(engine, "maps"), Plot)


def test_a_weight_shows_the_bits_of_its_level(engine: FixedPointEngine) -> None:
    for index in (0, 17, 100_003):
        engine.apply({"layer": 3, "weight": index})
        figure = picture(engine, "weight")
        (bars,) = marks(figure, Bars, 1)
        form = engine.formats("weights")[2]
        weight = engine.reference.weights[2].flatten()[index % engine.layers[2].weights]
        code = int(codes_of(weight[None], form)) - form.codes[0]
        assert "".join(str(int(bit)) for bit in bars.height) == format(code, f"0{form.bits}b")


# --- what it says of itself  ----------


def test_the_summary_compares_at_one_size(engine: FixedPointEngine) -> None:
    summary = engine.summary()
    assert summary["equal_bits"] == 4
    assert summary["accuracy_percent"] == pytest.approx(summary["equal_accuracy_percent"])
    assert summary["allocated_size_bytes"] <= summary["equal_size_bytes"]
    assert "fine_tuned_accuracy_percent" not in summary
    assert "3x3 convolution" in summary["network"]
    assert engine.data_description()["network"] == summary["network"]
    assert all(isinstance(value, int | float | str) for value in summary.values())
    act(engine, SetAllBits("weights", tuple(map(int, summary["allocated_bits"].split()))))
    assert engine.accuracy() == pytest.approx(summary["allocated_accuracy_percent"])
    trained(engine, 2)
    tuned = engine.summary()
    assert tuned["fine_tuned_accuracy_percent"] == pytest.approx(engine.accuracy())
    assert tuned["converted_accuracy_percent"] == pytest.approx(summary["allocated_accuracy_percent"])


def test_the_size_saved_is_that_of_the_smallest_allocation_as_accurate() -> None:
    equal = Curve(((1, 1), (2, 2)), np.array([10.0, 20.0]), np.array([50.0, 90.0]))
    allocated = Curve(((1, 1), (3, 1), (4, 2)), np.array([8.0, 15.0, 22.0]), np.array([40.0, 91.0, 95.0]))
    points = Sweep(equal, allocated)
    assert saved(points, 2) == pytest.approx(25.0)
    assert saved(points, 1) == pytest.approx(-50.0)
    never = Sweep(equal, Curve(((1, 1),), np.array([8.0]), np.array([40.0])))
    assert saved(never, 2) is None


@pytest.mark.parametrize("preset", METHOD.presets, ids=lambda preset: preset.id)
def test_presets_are_valid_and_say_what_differs_from_the_paper(preset: Preset) -> None:
    settings = FixedPointSettings.build(preset.values)
    # One that is not fine-tuned has steps left for whoever switches it on.
    assert settings.steps > settings.float_steps
    assert "ours" in preset.help


# --- data  ----------


def test_own_pictures_in_colour_that_are_not_square_are_learned(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 9, 3), dtype=np.uint8)
    path = tmp_path / "pictures.npz"
    np.savez(path, images=images, labels=np.arange(60) % 3)
    engine = trained(make(data="file", path=str(path)), 8)
    assert engine.layers[0].inputs == 3 and engine.layers[-1].outputs == 3
    for name, figure in engine.figures(NAMES).items():
        assert vocabulary.check(figure) == [], name


def test_pictures_without_classes_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "pictures.npz"
    np.savez(path, images=np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8))
    with pytest.raises(DataError) as error:
        make(data="file", path=str(path))
    assert "classes" in one_sentence(error.value)
    with pytest.raises(SettingError) as missing:
        make(data="file")
    one_sentence(missing.value)


def test_mnist_is_trained_where_it_is_here() -> None:
    if find("mnist") is None:
        pytest.skip("MNIST is not on this machine")
    engine = trained(make(data="mnist", width=2, float_steps=3), 3)
    answer = act(engine, SetBits(4, "weights", 3))
    assert answer["recomputed"] == 1 and 0 < answer["accuracy_percent"] < 100
