"""The reversible-learning engine as a worker uses it: meta-iterations, pictures, keyframes, the hand; CPU, tiny sizes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engines import figures as vocabulary
from engines.config import find_preset
from engines.errors import DataError, InputError, SettingError, StepError
from engines.figures import Film, Heatmap, ImageGrid, Lines, Panels, Ribbon, Rule, VectorField
from engines.reversible_learning import omniglot, rehearsal
from engines.reversible_learning.chaos import Sweep
from engines.reversible_learning.config import (
    METHOD,
    ChooseLayer,
    ForgetSchedule,
    GiveHand,
    RaceSchedule,
    ReversibleLearningSettings,
    SetSchedule,
    TrySchedule,
)
from engines.reversible_learning.engine import ReversibleLearningEngine
from engines.reversible_learning.history import MOST_RECORDS, History, averaged, places
from engines.reversible_learning.pictures import centre, correlation, smoothed
from engines.reversible_learning.problems import NetworkProblem
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
    "train_size": 60,
    "valid_size": 40,
    "hidden": "5",
    "inner_steps": 12,
    "batch": 10,
    "alpha": 0.5,
    "gamma": 0.8,
    "frames": 5,
    "steps": 50,
}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "schedules": {},
    "tied": {"tie_layers": True, "learn_momentum": False},
    "scales": {"experiment": "scales", "objective": "validation"},
    "penalties": {"experiment": "l2", "hidden": "", "penalty": 0.01, "objective": "validation"},
    "learned data": {
        "experiment": "data",
        "hidden": "",
        "penalty": 0.01,
        "objective": "validation",
        "fresh": False,
    },
    "tasks": {"experiment": "tasks", "penalty": 0.001, "objective": "validation", "outer": "descent"},
    "toy": {"experiment": "toy", "alpha": 0.005, "gamma": 0.99, "outer": "descent", "meta_step": 1e-3},
    "chaos": {"experiment": "chaos"},
    "floats": {"exact": False, "gamma": 0.3, "inner_steps": 40},
}
NAMES = METHOD.figure_names()


def make(**changes: Any) -> ReversibleLearningEngine:
    """A small engine on the CPU."""
    settings = ReversibleLearningSettings.build({**TINY, "stop_above": 1e6, **changes})
    return ReversibleLearningEngine(settings, torch.device("cpu"))


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def engine(request: pytest.FixtureRequest) -> ReversibleLearningEngine:
    """An engine of each kind, three meta-iterations old."""
    return trained(make(**request.param), 3)


# --- training  ----------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("chaos", "floats")])
def test_a_meta_iteration_comes_back_to_the_very_bits_and_moves_what_is_learned(kind: str) -> None:
    engine = make(**KINDS[kind])
    before = {name: value.clone() for name, value in engine.hypers.values.items()}
    scalars = engine.step()
    assert scalars["wrong_bits"] == 0 and scalars["skipped"] == 0
    assert 0 < scalars["hypergradient_norm"] < 1e6 and np.isfinite(scalars["meta_loss_nats"])
    assert all(isinstance(value, float) for value in scalars.values())
    changed = {name for name, value in engine.hypers.values.items() if not torch.equal(value, before[name])}
    assert changed == set(engine.hypers.learned)


def test_the_buffer_takes_a_small_part_of_a_tape() -> None:
    scalars = make(inner_steps=400, gamma=0.9, hidden="").step()
    # So many steps hold what one would store in a tape of 32 bits.
    assert scalars["tape_kib"] > 20 * scalars["buffer_kib"]
    assert scalars["buffer_bits"] == pytest.approx(scalars["theory_bits"], rel=0.15)
    assert scalars["theory_bits"] == pytest.approx(np.log2(65536 / round(0.9 * 65536)))


@pytest.mark.parametrize("kind", ["scales", "learned data", "penalties", "toy"])
def test_the_meta_objective_falls(kind: str) -> None:
    engine = make(**{"meta_step": 0.1, "fresh": False, **KINDS[kind]})
    losses = [engine.step()["meta_loss_nats"] for _ in range(12)]
    assert losses[-1] < losses[0] - 0.02


def test_learned_data_get_better_at_each_small_step() -> None:
    engine = make(**{**KINDS["learned data"], "outer": "descent", "meta_step": 0.05})
    losses = [engine.step()["meta_loss_nats"] for _ in range(8)]
    assert all(after < before for before, after in pairwise(losses))


def test_schedules_are_learned_on_new_starts_and_batches_unless_told_otherwise() -> None:
    fresh, fixed = make(meta_step=0.0), make(meta_step=0.0, fresh=False)
    assert len({fresh.step()["meta_loss_nats"] for _ in range(3)}) == 3
    assert len({fixed.step()["meta_loss_nats"] for _ in range(3)}) == 1


def test_the_objective_is_taken_over_all_examples_of_its_kind() -> None:
    for objective, name in (("training", "train_loss_nats"), ("validation", "valid_loss_nats")):
        scalars = make(objective=objective, penalty=0.01).step()
        assert scalars["meta_loss_nats"] == pytest.approx(scalars[name], rel=1e-9)


def test_the_ends_of_a_training_do_not_depend_on_how_often_it_is_run() -> None:
    engine = make()
    problem, start, rates = engine.problem(3), engine.start(3), engine.hypers.rates()
    again = engine.problem(3), engine.start(3)
    assert torch.equal(start, again[1])
    assert torch.equal(problem.gradient(start, 5)[1], again[0].gradient(start, 5)[1])
    assert rates.steps == 12


def test_a_hypergradient_that_is_not_trusted_changes_nothing() -> None:
    engine = make(stop_above=1e-6)
    before = engine.hypers.values["log_alpha"].clone()
    assert engine.step()["skipped"] == 1 and torch.equal(engine.hypers.values["log_alpha"], before)
    engine.apply({"stop_above": 1e6})
    assert engine.step()["skipped"] == 0 and not torch.equal(engine.hypers.values["log_alpha"], before)


def test_floats_miss_the_start_and_integers_are_switched_on_live() -> None:
    engine = make(exact=False, gamma=0.3, inner_steps=60)
    scalars = engine.step()
    assert scalars["wrong_bits"] > 1000 and scalars["buffer_bits"] == 0
    engine.apply({"exact": True})
    assert engine.step()["wrong_bits"] == 0


def test_floats_that_explode_are_told_in_finite_numbers_and_leave_a_state_to_go_on_from() -> None:
    engine = make(exact=False, gamma=0.05, inner_steps=600)
    scalars = engine.step()
    assert all(np.isfinite(value) for value in scalars.values()) and scalars["skipped"] == 1
    assert engine.is_finite()
    assert all(np.isfinite(a).all() for _, a in vocabulary.arrays_of(picture(engine, "reversal")))


def test_a_training_that_diverges_is_an_error_with_advice_and_the_state_stays() -> None:
    engine = make(alpha=100.0, hidden="", init_scale=10.0, penalty=5.0)
    before = everything(engine)
    with pytest.raises(StepError) as caught:
        engine.step()
    assert "lower the step size" in one_sentence(caught.value)
    assert everything(engine) == before
    for name in ("film", "reversal", "race"):
        assert "lower the step size" in next(vocabulary.plots_of(picture(engine, name))).note


# --- keyframes  ----------


def test_every_picture_is_whole_repeats_itself_and_does_not_touch_training(
    engine: ReversibleLearningEngine,
) -> None:
    twin = copy_of(engine)
    before = everything(engine)
    first = engine.figures(NAMES)
    check_whole(first, NAMES)
    assert everything(engine) == before
    again = twin.figures(NAMES)
    assert all(same(first[name], again[name]) for name in NAMES)
    assert [engine.step() for _ in range(3)] == [twin.step() for _ in range(3)]
    assert everything(engine) == everything(twin)
    moving = "chaos" if engine.config.experiment == "chaos" else "curves"
    assert not same(first[moving], picture(engine, moving))


def test_only_the_pictures_asked_for_are_made() -> None:
    engine = make()
    assert set(engine.figures(["schedule", "chaos"])) == {"schedule", "chaos"}
    assert engine.figures([]) == {}


def test_pictures_before_the_first_step_say_what_to_do() -> None:
    engine = make()
    for name in NAMES:
        figure = picture(engine, name)
        assert not vocabulary.is_empty(figure) or all(p.remark() for p in vocabulary.plots_of(figure)), name


# --- what the pictures show  ----------


def test_the_schedule_is_a_film_over_the_meta_iterations() -> None:
    engine = trained(make(), 3)
    film = picture(engine, "schedule")
    assert isinstance(film, Film) and film.times.tolist() == [1, 2, 3]
    for number, record in enumerate(engine.history.records):
        first, *lines = marks(film, Lines, 0, number)
        assert first.label == "first" and np.allclose(first.y, 0.5)
        by_label = {line.label: line for line in lines}
        assert by_label.keys() == {"", "layer 1", "layer 2, top"}
        thin = [line for line in lines if not line.label]
        # Biases have schedules of their own, which are not drawn.
        for line, column, label in zip(thin, (0, 2), ("layer 1", "layer 2, top"), strict=True):
            log_alpha = record["log_alpha"][:, column]
            assert np.allclose(line.y, np.exp(log_alpha))
            assert by_label[label].role == line.role
            assert np.allclose(by_label[label].y, np.exp(smoothed(log_alpha)))


def test_the_layer_whose_steps_lie_earliest_is_called_first_once_layers_differ() -> None:
    engine = make(inner_steps=60, meta_step=0.0, hidden="4, 3")
    falling, rising = np.linspace(2.0, 0.5, 60), np.linspace(0.5, 2.0, 60)

    def note() -> str:
        engine.step()
        film = picture(engine, "schedule")
        assert isinstance(film, Film)
        return next(vocabulary.plots_of(film.frames[-1])).note

    assert "first" not in note()
    engine.act(SetSchedule(tuple(falling), 1))
    assert note().endswith("layer 2 first")
    engine.act(SetSchedule(tuple(rising), 1))
    assert note().endswith("layer 2 last"), "the two others are level"
    engine.act(SetSchedule(tuple(falling), 2))
    assert note().endswith("layer 3 first")
    engine.act(SetSchedule(tuple(rising)))
    assert "first" not in note()


def test_the_centre_of_a_schedule_is_its_mean_iteration() -> None:
    x, alpha = np.arange(1.0, 6.0), np.zeros((5, 3))
    alpha[3, 0] = 7.0
    alpha[:, 1] = 0.5
    alpha[[0, 4], 2] = 1.0, 3.0
    assert centre(x, alpha) == pytest.approx([4.0, 3.0, 4.0])


def test_smoothing_keeps_lines_straight_and_the_mean_of_noise() -> None:
    line = np.stack([np.full(100, 2.0), np.linspace(0.0, 1.0, 100)], 1)
    smooth = smoothed(line)
    assert smooth.shape == line.shape and np.allclose(smooth[10:90], line[10:90])
    assert np.allclose(smooth[:, 0], 2.0)
    noise = np.random.default_rng(0).standard_normal((100, 1))
    assert smoothed(noise).std() < 0.5 * noise.std()
    few = np.array([[1.0], [5.0]])
    assert np.array_equal(smoothed(few), few)


@pytest.mark.parametrize("name", ["schedule", "curves", "hypergradient"])
def test_films_over_the_meta_iterations_are_scrubbed_together(name: str) -> None:
    engine = trained(make(), 4)
    film = picture(engine, name)
    assert isinstance(film, Film) and film.times.tolist() == [1, 2, 3, 4] and film.start == 3
    notes = [next(vocabulary.plots_of(frame)).note for frame in film.frames]
    assert all(f"meta-iteration {number + 1}" in note for number, note in enumerate(notes))


def test_inner_curves_fade_and_those_to_come_are_not_drawn() -> None:
    engine = trained(make(), 4)
    film = picture(engine, "curves")
    assert isinstance(film, Film)
    curves = [record["curve"] for record in engine.history.records]
    for number in range(4):
        *past, first, now = marks(film, Lines, 0, number)
        assert np.allclose(now.y, curves[number]) and np.allclose(first.y, curves[0])
        drawn = [line for line in past if len(line.y)]
        assert len(drawn) == number
        assert all(np.allclose(line.y, curve) for line, curve in zip(drawn, curves, strict=False))
        assert all(a.opacity < b.opacity < now.opacity for a, b in pairwise(drawn))


def test_the_hypergradient_is_signed_and_its_mean_leaves_out_what_is_not_trusted() -> None:
    engine = trained(make(), 2)
    before = {name: value.clone() for name, value in engine.mean.items()}
    engine.apply({"stop_above": 1e-6})
    assert engine.step()["skipped"] == 1
    assert all(torch.equal(engine.mean[name], value) for name, value in before.items())
    film = picture(engine, "hypergradient")
    record = engine.history.records[-1]
    newest, mean = (
        next(line for line in marks(film, Lines, 0) if bool(line.label) == labelled)
        for labelled in (False, True)
    )
    assert np.allclose(newest.y, record["by_log_alpha"][:, 0])
    assert np.allclose(newest.y, engine.newest["log_alpha"][:, 0])
    assert np.allclose(mean.y, before["log_alpha"][:, 0]) and not np.allclose(mean.y, newest.y)
    low, high = next(vocabulary.plots_of(vocabulary.at(film))).y.limits or (0.0, 0.0)
    assert low == -high and np.abs(newest.y).max() <= high


def test_the_film_goes_out_and_back_and_ends_where_it_began() -> None:
    engine = trained(make(gamma=0.4, inner_steps=60), 1)
    film = picture(engine, "film")
    assert isinstance(film, Film) and film.times[0] == 0 and film.times[-1] == 120
    assert film.start == len(film.frames) - 1, "as a still it shows who came home"

    def grid(plot: int, frame: int) -> np.ndarray:
        return np.asarray(marks(film, ImageGrid, plot, frame)[0].images)

    last = len(film.frames) - 1
    assert np.array_equal(grid(1, 0), grid(1, last)) and not np.array_equal(grid(1, 0), grid(1, last // 2))
    assert not np.array_equal(grid(2, 0), grid(2, last))
    notes = [plot.note for plot in vocabulary.plots_of(film.frames[last])]
    assert notes[4] == "every bit is right" and notes[5].endswith("% of bits wrong")


def test_the_film_shows_the_bits_of_weights_and_which_of_them_are_wrong() -> None:
    engine = trained(make(gamma=0.4, inner_steps=60), 1)
    film = picture(engine, "film")
    assert isinstance(film, Film)
    last = len(film.frames) - 1

    def planes(plot: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
        bits, wrong = marks(film, Heatmap, plot, frame)
        assert wrong.role == "warning" and bits.values.shape[1] == 64
        return bits.values, wrong.values

    for plot in (4, 5):
        out, none = planes(plot, 0)
        assert set(np.unique(out)) == {0.0, 1.0} and not none.any()
        back, wrong = planes(plot, last)
        assert np.array_equal(wrong, out != back), "what differs from the way out is marked"
        assert not np.array_equal(out, planes(plot, last // 2)[0])
    assert not planes(4, last)[1].any() and planes(5, last)[1].mean() > 0.1
    # The highest bit is a weight's sign.
    start = engine.start(engine.meta)[engine.shown()].numpy()
    signs = planes(4, 0)[0][::-1, 0]
    assert np.array_equal(signs, (start[places(len(start), len(signs))] < 0).astype(float))


def test_the_buffer_of_the_film_fills_on_the_way_out_and_is_empty_at_home() -> None:
    film = picture(trained(make(gamma=0.4, inner_steps=60), 1), "film")
    assert isinstance(film, Film)
    held = marks(film, Lines, 3)[0].y
    turn = len(held) // 2
    assert held[0] == 0 == held[-1] and held[turn] == held.max() > 30
    assert (np.diff(held[: turn + 1]) >= 0).all() and (np.diff(held[turn:]) <= 0).all()


def test_the_reversal_meter_shows_no_error_for_integers_and_a_growing_one_for_floats() -> None:
    engine = trained(make(gamma=0.4, inner_steps=80), 1)
    figure = picture(engine, "reversal")
    floats, integers = marks(figure, Lines, 0)
    assert not integers.y.any() and integers.label == "integers 0 %"
    assert floats.y[-1] > 10 > floats.y[0] and floats.label == f"floats {floats.y[-1]:.0f} %"
    error = {line.label: line.y for line in marks(figure, Lines, 1)}
    assert error["integers"].max() < 1e-16 and error["floats"][-1] > 1e6 * error["floats"][1]
    tape, buffer = marks(figure, Lines, 2)
    assert buffer.y[-1] == pytest.approx(80 * np.log2(65536 / round(0.4 * 65536)), rel=0.1)
    assert tape.y[-1] == 80 * 32 and buffer.label == f"buffer 1/{tape.y[-1] / buffer.y[-1]:.0f}"


def test_initial_scales_stand_beside_one_over_the_root_of_the_inputs() -> None:
    engine = trained(make(**KINDS["scales"]), 2)
    assert [rule.value for rule in marks(picture(engine, "scales"), Rule)] == pytest.approx([1 / 8, 5**-0.5])


def test_maps_of_penalties_have_the_pixels_in_their_places() -> None:
    engine = trained(make(**KINDS["penalties"]), 1)
    penalty = engine.hypers.values["log_penalty"]
    # Pixel 13 of class 4: weights are (inputs, classes).
    penalty[13 * 10 + 4] += 3.0
    engine.step()
    images = np.asarray(marks(picture(engine, "penalties"), ImageGrid)[0].images)
    assert images.shape == (10, 8, 8)
    assert np.unravel_index(int(images.argmax()), images.shape) == (4, 13 // 8, 13 % 8)


def test_learned_pictures_are_one_of_each_class() -> None:
    engine = trained(make(**KINDS["learned data"]), 4)
    film = picture(engine, "learned")
    assert isinstance(film, Film) and len(film.frames) == 4
    assert marks(film, ImageGrid)[0].images.shape == (10, 8, 8)


def test_sharing_has_a_matrix_for_each_layer_with_ones_on_its_diagonal() -> None:
    engine = trained(make(**KINDS["tasks"]), 1)
    film = picture(engine, "sharing")
    panels = vocabulary.at(film)
    assert isinstance(panels, Panels) and len(panels.plots) == 2
    for plot in range(2):
        values = marks(film, Heatmap, plot)[0].values
        assert values.shape == (4, 4) and np.allclose(np.diag(values), 1) and np.allclose(values, values.T)


def test_correlation_of_equal_and_of_separate_tasks() -> None:
    assert np.allclose(correlation(np.full((3, 3), 1 / 3)), 1)
    assert np.allclose(correlation(np.diag([1.0, 2.0, -3.0])), np.eye(3))


# --- the hand  ----------


def test_a_drawn_schedule_is_raced_and_its_slope_tells_which_way_to_bend_it() -> None:
    engine = trained(make(fresh=False), 2)
    before = everything(engine)
    answer = engine.act(RaceSchedule((0.1, 0.4)))
    assert answer is not None
    assert answer["losses"].keys() == {"first", "learned", "drawn"}
    assert answer["alphas"][0] == pytest.approx(0.1) and answer["alphas"][-1] == pytest.approx(0.4)
    assert np.allclose(np.diff(np.log(answer["alphas"])), np.log(4) / 11)
    # A little along the arrows the drawn schedule becomes better by what they say.
    step = 0.01
    bent = np.exp(np.log(answer["alphas"]) - step * answer["bend"])
    better = engine.act(RaceSchedule(tuple(bent.tolist())))
    assert better is not None
    gain = answer["losses"]["drawn"] - better["losses"]["drawn"]
    assert gain == pytest.approx(step * float(answer["bend"] @ answer["bend"]), rel=0.2)
    race = picture(engine, "race")
    assert {line.label for line in marks(race, Lines, 0)} == {"", "first", "learned", "yours"}
    arrows = marks(race, VectorField, 0)[0]
    assert arrows.role == "hand" and np.array_equal(np.sign(arrows.v), -np.sign(better["bend"]))
    engine.act(ForgetSchedule())
    assert everything(engine) == before
    race = picture(engine, "race")
    assert {line.label for line in marks(race, Lines, 0)} == {"", "first", "learned"}
    assert marks(race, VectorField, 0)[0].role == "model"


def test_while_a_schedule_is_drawn_no_mark_is_left_and_where_the_hand_lets_go_one_is() -> None:
    engine, other = (trained(make(), 1) for _ in range(2))
    tried, raced = engine.act(TrySchedule((0.1, 0.4))), other.act(RaceSchedule((0.1, 0.4)))
    assert tried is not None and raced is not None and tried["losses"] == raced["losses"]
    assert everything(engine) == everything(other)
    assert not TrySchedule.is_noted and RaceSchedule.is_noted and SetSchedule.is_noted


def test_a_drag_trains_the_drawn_schedule_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = trained(make(), 2)
    first = engine.act(TrySchedule((0.1, 0.4)))
    trainings: list[int] = []
    known = rehearsal.train

    def counted(*arguments: Any) -> Any:
        trainings.append(1)
        return known(*arguments)

    monkeypatch.setattr(rehearsal, "train", counted)
    second = engine.act(TrySchedule((0.2, 0.4)))
    assert first is not None and second is not None and len(trainings) == 1
    assert all(first["losses"][name] == second["losses"][name] for name in ("first", "learned"))
    # After a meta-iteration all of them are other trainings.
    engine.step()
    third = engine.act(TrySchedule((0.2, 0.4)))
    fresh = copy_of(engine)
    fresh.race()
    assert third is not None and third["losses"] == {
        name: lane.losses[-1] for name, lane in fresh.race().lanes.items()
    }


def test_the_line_that_is_drawn_upon_is_that_of_the_chosen_layer() -> None:
    engine = trained(make(), 1)
    engine.act(SetSchedule((0.2, 0.8), 0))
    engine.act(SetSchedule((0.4,), 1))
    one, two = np.log(np.geomspace(0.2, 0.8, 12)), np.log(np.full(12, 0.4))
    for layer, expected in ((None, (one + two) / 2), (0, one), (1, two)):
        engine.act(ChooseLayer(layer))
        assert engine.act(GiveHand()) == {"alphas": None, "layer": layer}
        shown = [line for line in marks(picture(engine, "race"), Lines, 0) if line.label == "learned"]
        assert np.allclose(shown[0].y, expected)
    engine.act(RaceSchedule((0.3,), 1))
    engine.act(ChooseLayer(0))
    assert engine.act(GiveHand()) == {"alphas": None, "layer": 0}, "what was drawn was another layer's"
    with pytest.raises(InputError):
        engine.act(ChooseLayer(2))


def test_a_schedule_for_one_layer_leaves_the_others() -> None:
    engine = trained(make(), 1)
    learned = engine.hypers.values["log_alpha"].clone()
    engine.act(SetSchedule((0.2,), layer=1))
    values = engine.hypers.values["log_alpha"]
    assert torch.equal(values[:, :2], learned[:, :2]) and torch.allclose(
        values[:, 2:].exp(), torch.tensor(0.2).double()
    )
    # Training goes on from there.
    assert engine.step()["wrong_bits"] == 0
    assert 0 < float((engine.hypers.values["log_alpha"] - values).abs().max()) < 0.1


def test_what_the_hand_drew_comes_back_with_a_keyframe() -> None:
    engine = trained(make(), 1)
    assert engine.act(GiveHand()) == {"alphas": None, "layer": None}
    engine.act(RaceSchedule((0.1, 0.2), 0))
    assert copy_of(engine).act(GiveHand()) == {"alphas": (0.1, 0.2), "layer": 0}
    engine.act(ChooseLayer(1))
    assert copy_of(engine).act(GiveHand()) == {"alphas": None, "layer": 1}


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({}, RaceSchedule(())),
        ({}, RaceSchedule((0.1, float("nan")))),
        ({}, SetSchedule((0.1, -1.0))),
        ({}, RaceSchedule((0.1,), 2)),
        ({"tie_layers": True}, SetSchedule((0.1,), 0)),
        (KINDS["penalties"], RaceSchedule((0.1,))),
        ({"hidden": "", "penalty": 9.0, "inner_steps": 60}, RaceSchedule((900.0,))),
    ],
    ids=["no points", "no number", "negative", "no such layer", "tied", "nothing to draw", "diverges"],
)
def test_a_schedule_that_cannot_be_raced_is_refused_and_nothing_changes(
    changes: Mapping[str, Any], action: RaceSchedule | SetSchedule
) -> None:
    engine = make(**changes)
    before = everything(engine)
    with pytest.raises(InputError) as caught:
        engine.act(action)
    one_sentence(caught.value)
    assert everything(engine) == before


# --- the sweep  ----------


def test_the_sweep_is_coarse_first_and_then_ever_finer() -> None:
    engine = make(experiment="chaos", chaos_low=0.1, chaos_high=10.0)
    tried = [engine.step()["log_alpha"] for _ in range(5)]
    share = (np.array(tried) - np.log(0.1)) / (np.log(10.0) - np.log(0.1))
    assert share == pytest.approx([0, 1, 0.5, 0.25, 0.75])


def test_the_safe_side_ends_where_slopes_no_longer_tell_the_loss() -> None:
    sweep = Sweep(0.0, 4.0)
    for _ in range(65):
        x = sweep.next()
        calm = (x - 1.0) ** 2
        wild = x > 2.5
        sweep.add(
            calm + (np.sin(1e3 * x) if wild else 0.0),
            2 * (x - 1.0) + (1e3 * np.cos(1e3 * x) if wild else 0.0),
        )
    edge = sweep.edge()
    assert edge is not None and 2.3 < edge <= 2.6
    calm_sweep = Sweep(0.0, 4.0)
    for _ in range(65):
        x = calm_sweep.next()
        calm_sweep.add((x - 1.0) ** 2, 2 * (x - 1.0))
    assert calm_sweep.edge() == 4.0


def test_step_sizes_that_leave_the_range_are_passed_over() -> None:
    engine = make(
        experiment="chaos", chaos_low=0.1, chaos_high=1000.0, penalty=5.0, hidden="", inner_steps=60
    )
    scalars = [engine.step() for _ in range(4)]
    assert "meta_loss_nats" in scalars[0] and "meta_loss_nats" not in scalars[1]
    assert len(engine.sweep.log_alpha) < engine.sweep.tried == 4
    # The points that are left keep the step sizes that they were tried at.
    assert engine.sweep.log_alpha[0] == pytest.approx(np.log(0.1))
    assert marks(picture(engine, "chaos"), Ribbon, 0)[0].x[0] == pytest.approx(np.log(0.1))


# --- memory of the run  ----------


def test_a_history_stays_small_and_keeps_the_first_and_the_newest() -> None:
    history = History()
    for meta in range(500):
        history.add(meta, {"x": np.array([meta])})
        assert history.metas[0] == 0 and history.metas[-1] == meta and len(history.metas) <= MOST_RECORDS
        assert [int(record["x"][0]) for record in history.records] == history.metas
    gaps = set(np.diff(history.metas[:-1]).tolist())
    assert len(gaps) == 1


def test_curves_are_shortened_by_means() -> None:
    assert places(5).tolist() == [0, 1, 2, 3, 4]
    assert len(places(1000)) <= 200 and places(1000)[0] == 0 and places(1000)[-1] == 999
    assert (
        averaged(np.arange(1000.0)).mean() == pytest.approx(499.5) and len(averaged(np.arange(1000.0))) == 200
    )


# --- settings, data, summary  ----------


@pytest.mark.parametrize("preset", METHOD.presets, ids=[preset.id for preset in METHOD.presets])
def test_presets_are_settings(preset: Any) -> None:
    settings = ReversibleLearningSettings.build(preset.values)
    assert settings.experiment and preset.help.endswith(".")


@pytest.mark.parametrize(
    "values",
    [
        {"hidden": "50, x"},
        {"hidden": "0"},
        {"hidden": "5,5,5,5,5,5,5,5,5"},
        {"hidden": "³"},
        {"experiment": "l2", "hidden": ""},
        {"experiment": "l2", "penalty": 0.1},
        {"data": "omniglot"},
        {"chaos_low": 2.0, "chaos_high": 1.0},
        {"gamma": 0.0},
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(values: Mapping[str, Any]) -> None:
    with pytest.raises(SettingError) as caught:
        ReversibleLearningSettings.build(values)
    one_sentence(caught.value)


def test_training_and_validation_examples_are_apart_and_shared_out_where_they_are_few() -> None:
    engine = make(train_size=60_000, valid_size=60_000)
    assert engine.material is not None
    train, valid = engine.material.train.x, engine.material.valid.x
    assert abs(len(train) - len(valid)) <= 1 and len(train) + len(valid) == 1442
    assert 0 <= float(train.min()) and float(train.max()) == 1.0
    assert float(engine.material.train.y.sum()) == len(train)


def test_tasks_hold_each_drawing_upright_and_turned_and_split_them_anew() -> None:
    engine = make(**KINDS["tasks"])
    assert engine.tasks is not None
    pool = engine.tasks.pool.view(4, 5, -1, 8, 8)
    assert torch.equal(pool[2], torch.rot90(pool[0], dims=(2, 3)))
    (first, valid), (second, _) = engine.tasks.split(0, 0), engine.tasks.split(0, 1)
    assert not torch.equal(first.x, second.x)
    assert isinstance(first.weight, torch.Tensor)
    assert torch.allclose(first.weight.sum((1, 2)), torch.ones(4).double())
    assert torch.allclose((first.y * first.weight).sum(1), torch.full((4, 5), 0.2).double())
    rows = {tuple(row.tolist()) for row in first.x[0]}
    assert not rows & {tuple(row.tolist()) for row in valid.x[0]}


def test_a_summary_measures_test_examples(engine: ReversibleLearningEngine) -> None:
    summary = engine.summary()
    before = everything(engine)
    assert summary == engine.summary() and everything(engine) == before
    assert all(isinstance(value, int | float | str) for value in summary.values())
    expected = {
        "tasks": "test_loss_learned_nats",
        "toy": "meta_loss_nats",
        "chaos": "edge_log_alpha",
    }.get(engine.config.experiment, "test_error_percent")
    assert expected in summary
    assert (engine.data_description() == {}) == (engine.config.experiment == "toy")


def test_a_summary_of_tasks_compares_apart_tied_and_learned() -> None:
    engine = make(**KINDS["tasks"])
    # Sharing that is set to apart must give what apart gives.
    engine.hypers.values["sharing"] = torch.eye(4).double().repeat(2, 1, 1)
    summary = engine.summary()
    assert (
        summary["test_loss_learned_nats"] == summary["test_loss_apart_nats"] != summary["test_loss_tied_nats"]
    )


def _omniglot(folder: Path, alphabets: Mapping[str, int], drawings: int = 16) -> None:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "images_background_small1.zip", "w") as archive:
        for number, (name, characters) in enumerate(alphabets.items()):
            for character in range(characters):
                for drawing in range(drawings):
                    picture = Image.new("1", (105, 105), 1)
                    picture.paste(0, (10 * number, 5 * character, 10 * number + 20, 5 * character + 15))
                    file = io.BytesIO()
                    picture.save(file, "PNG")
                    path = f"images_background_small1/{name}/character{character + 1:02d}/{drawing:02d}.png"
                    archive.writestr(path, file.getvalue())


def test_alphabets_are_read_from_the_archives_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _omniglot(tmp_path / "omniglot", {"Greek": 3, "Latin": 2, "Huge": 4})
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    greek, latin = omniglot.load(2, most=3)
    assert (greek.name, latin.name) == ("Greek", "Latin")
    assert greek.drawings.shape == (3, 16, 28, 28)
    # Ink is bright, paper dark.
    assert greek.drawings[0, 0, 0, 0] == 255 and greek.drawings[0, 0, -1, -1] == 0
    with pytest.raises(DataError) as caught:
        omniglot.load(5)
    assert "LAB_DATA" in one_sentence(caught.value)


def test_alphabets_of_different_size_train_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _omniglot(tmp_path / "omniglot", {"A": 3, "B": 2, "C": 2, "D": 2, "E": 2}, 15)
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    engine = make(**{**KINDS["tasks"], "data": "omniglot", "hidden": "3", "inner_steps": 4})
    scalars = engine.step()
    assert scalars["wrong_bits"] == 0 and engine.tasks is not None
    assert engine.tasks.present.sum(1).tolist() == [3, 2, 2, 2, 2] * 2
    assert "Omniglot" in engine.data_description()["title"]
    problem = engine.problem(0)
    assert isinstance(problem, NetworkProblem) and problem.examples.x.shape == (10, 30, 784)


def test_damaged_alphabets_are_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "omniglot"
    _omniglot(folder, {"A": 1}, 3)
    monkeypatch.setenv("LAB_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        omniglot.load(1)
    assert "15 are needed" in one_sentence(caught.value)
    (folder / "images_background_small1.zip").write_bytes(b"no archive")
    with pytest.raises(DataError) as caught:
        omniglot.load(1)
    one_sentence(caught.value)


def test_the_break_it_preset_breaks() -> None:
    preset = find_preset(METHOD.presets, "break-it")
    settings = ReversibleLearningSettings.build({**preset.values, "hidden": "8", "train_size": 100})
    assert ReversibleLearningEngine(settings, torch.device("cpu")).step()["wrong_bits"] > 1000
