"""The engine as a worker uses it: training, pictures, live changes, requests of the hand, keyframes, own folders; CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines import figures as vocabulary
from engines.data import captions as caption_data
from engines.errors import InputError, SettingError
from engines.figures import Bars, Film, Graph, Heatmap, ImageGrid, Lines, Panels, Rule, plots_of
from engines.method import Action
from engines.show_attend_tell import examples
from engines.show_attend_tell.config import (
    METHOD,
    PRESETS,
    ClearEdits,
    DropImage,
    GiveBeam,
    GiveCaption,
    GiveVocabulary,
    GrabGaze,
    PickImage,
    ReplaceWord,
    ShowAttendTellSettings,
)
from engines.show_attend_tell.engine import ShowAttendTellEngine
from engines.show_attend_tell.objectives import doubly_stochastic_floor
from lab.runs.state import unpack
from tests.engines.handling import copy_of, everything, marks, one_sentence, picture, same, trained

TINY: Mapping[str, Any] = {
    "train_size": 24,
    "valid_size": 6,
    "image_size": 48,
    "embedding": 8,
    "state": 12,
    "attention_units": 8,
    "batch": 8,
    "steps": 100,
    "evaluate_every": 5,
    "evaluation_images": 4,
    "longest": 14,
    "learning_rate": 0.01,
}
HARD: Mapping[str, Any] = {"attention": "hard"}
NAMES = METHOD.figure_names()
GRID = (6, 6)
LOCATIONS = 36


@pytest.fixture(autouse=True, scope="module")
def _scenes_are_drawn_once() -> Any:
    """Drawing them takes most of the time of an engine this small."""
    drawn: dict[tuple[Any, ...], caption_data.CaptionSet] = {}
    real = examples.drawn_scenes

    def remembered(**options: Any) -> caption_data.CaptionSet:
        key = tuple(sorted(options.items()))
        if key not in drawn:
            drawn[key] = real(**options)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "drawn_scenes", remembered)
        yield


def make(**changes: Any) -> ShowAttendTellEngine:
    """A small engine on the CPU."""
    return ShowAttendTellEngine(ShowAttendTellSettings.build({**TINY, **changes}), torch.device("cpu"))


def answer(engine: ShowAttendTellEngine, action: Action) -> Mapping[str, Any]:
    given = engine.act(action)
    assert given is not None
    return given


# --- training  ----------


def test_a_step_reports_finite_scalars_and_measures_at_its_turn() -> None:
    engine = make()
    reports = [dict(engine.step()) for _ in range(10)]
    assert all(math.isfinite(value) for report in reports for value in report.values())
    measured = [index + 1 for index, report in enumerate(reports) if "bleu_4" in report]
    assert measured == [1, 5, 10]
    assert {"nll_train", "doubly_stochastic", "learning_rate", "epochs"} <= reports[1].keys()
    report = reports[4]
    assert 0 <= report["bleu_4"] <= 100 and report["bleu_1_penalised"] <= report["bleu_1"]
    assert report["largest_entropy"] == pytest.approx(math.log(LOCATIONS))
    assert 0 < report["attention_entropy"] <= report["largest_entropy"] + 1e-6 and 0 < report["gate"] < 1
    assert 0 < report["mass_object"] <= 1 and 0 < report["mass_chance"] < 1


def test_every_scalar_that_a_curve_draws_is_reported() -> None:
    reported: set[str] = set()
    for engine in (make(), make(**HARD, semi_sampling=0.0)):
        reported |= dict(engine.step()).keys()
    for view in METHOD.views:
        if isinstance(view, vocabulary.CurveSpec):
            assert {name for name, _, _ in (*view.series, *view.rules)} <= reported, view.name
    assert {METHOD.headline, METHOD.watched} <= reported


@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_training_makes_unseen_captions_likelier(attention: str) -> None:
    engine = make(attention=attention, evaluate_every=80)
    before = dict(engine.step())
    after = [dict(engine.step()) for _ in range(79)][-1]
    assert after["nll_valid"] < 0.9 * before["nll_valid"]
    assert after["nll_held_out"] < 0.9 * before["nll_held_out"]


def test_a_minibatch_has_its_floor_and_lies_above_it() -> None:
    engine = make()
    for _ in range(6):
        report = engine.step()
        floors = [doubly_stochastic_floor(LOCATIONS, words) for words in range(3, 16)]
        assert min(abs(report["doubly_stochastic_floor"] - floor) for floor in floors) < 1e-9
        assert report["doubly_stochastic"] > report["doubly_stochastic_floor"] - 1e-4


def test_only_minibatches_with_drawn_locations_have_a_reward() -> None:
    never, always, half = (
        [dict(step) for step in (engine.step() for _ in range(20))]
        for engine in (make(**HARD, semi_sampling=p, evaluate_every=1000) for p in (1.0, 0.0, 0.5))
    )
    assert not any("reward" in report for report in never)
    assert all("reward" in report and "baseline" in report for report in always)
    assert 3 < sum("reward" in report for report in half) < 17
    baseline = always[0]["reward"]
    for report in always:
        assert report["baseline"] == pytest.approx(0.9 * baseline + 0.1 * report["reward"])
        baseline = report["baseline"]
    assert "reward" not in dict(make().step())


def test_the_reward_per_word_is_smaller_and_the_baseline_follows_it() -> None:
    total, mean = (dict(make(**HARD, semi_sampling=0.0, reward=r).step()) for r in ("sum", "mean"))
    words = round(total["reward"] / mean["reward"], 6)
    assert words == int(words) >= 3


def test_the_baseline_lowers_the_variance_of_the_gradient() -> None:
    engine = trained(make(**HARD, semi_sampling=0.0, evaluate_every=1000), 10)
    measured = engine.gradient_variance()
    assert 0 < measured["variance"] < 0.5 * measured["variance_without"]


def test_the_entropy_alone_teaches_attention_in_the_authors_soft_minibatches() -> None:
    # Without the entropy's weight nothing is left that reaches the readout.
    for changes, moves in (
        ({"soft_half": "pathwise"}, True),
        ({"soft_half": "entropy"}, True),
        ({"soft_half": "entropy", "lambda_e": 0.0}, False),
    ):
        engine = make(**HARD, semi_sampling=1.0, **changes)
        before = engine.decoder.attention.readout.detach().clone()
        trained(engine, 3)
        assert (not torch.equal(engine.decoder.attention.readout, before)) is moves, changes


def test_an_image_of_several_captions_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make(train_size=16, batch=64)
    seen: list[np.ndarray] = []
    real = engine.eye.of
    monkeypatch.setattr(engine.eye, "of", lambda indices: (seen.append(indices), real(indices))[1])
    images = np.array([3, 1, 3, 3, 0])
    annotations = engine._annotations(images)
    assert seen[0].tolist() == [0, 1, 3]
    assert torch.allclose(annotations, real(images), atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout": 0.3, "init_layers": 2, "attention_layers": 2},
        {**HARD},
        {"optimiser": "rmsprop", "initial": "authors", "gate": False},
    ],
    ids=["soft", "dropout", "hard", "rmsprop"],
)
def test_a_keyframe_continues_bit_for_bit(changes: dict[str, Any]) -> None:
    engine = trained(make(**changes), 4)
    other = copy_of(engine)
    for _ in range(4):
        assert dict(engine.step()) == dict(other.step())
    assert everything(engine) == everything(other)
    assert all(same(picture(engine, name), picture(other, name)) for name in NAMES)


def test_runs_of_one_seed_are_equal_and_of_two_are_not() -> None:
    first, second, other = (everything(trained(make(seed=seed), 3)) for seed in (1, 1, 2))
    assert first == second != other


def test_a_keyframe_of_another_size_is_refused() -> None:
    state = trained(make(state=12), 1).state_dict()
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        make(state=16).load_state_dict(state)


def test_every_live_setting_acts() -> None:
    changes: dict[str, dict[str, Any]] = {
        "attention": {"attention": "soft"},
        "lambda_": {"attention": "soft", "lambda_": 5.0},
        "temperature": {"temperature": 0.5},
        "lambda_r": {"lambda_r": 2.0},
        "lambda_e": {"lambda_e": 1.0},
        "semi_sampling": {"semi_sampling": 1.0},
        "soft_half": {"semi_sampling": 1.0, "soft_half": "entropy"},
        "reward": {"reward": "mean"},
        "learning_rate": {"learning_rate": 0.5},
        "decay": {"decay": "cosine", "steps": 8},
        "batch": {"batch": 5},
        "dropout": {"dropout": 0.5},
        "evaluate_every": {"evaluate_every": 4},
        "evaluation_images": {"evaluate_every": 4, "evaluation_images": 2},
        "steps": {"decay": "cosine", "steps": 8},
    }
    # Settings that another needs beside them are compared with that one alone.
    beside: dict[str, dict[str, Any]] = {
        "lambda_": {"attention": "soft"},
        "soft_half": {"semi_sampling": 1.0},
        "evaluation_images": {"evaluate_every": 4},
        "steps": {"decay": "cosine"},
    }
    live = {spec.name for spec in ShowAttendTellSettings.specs() if spec.effect == "live"}
    assert live == changes.keys(), "a live setting is not tried"
    start = trained(make(**HARD, semi_sampling=0.0), 3)
    for name, change in changes.items():
        plain, engine = copy_of(start), copy_of(start)
        plain.apply(beside.get(name, {}))
        engine.apply(change)
        usual, report = dict(plain.step()), dict(engine.step())
        assert report != usual or everything(engine) != everything(plain), f"{name} does nothing"


def test_a_keyframe_older_than_a_live_change_takes_the_change() -> None:
    engine = trained(make(), 4)
    keyframe = unpack(everything(engine))[0]
    engine.apply({"batch": 5, "attention": "hard", "learning_rate": 0.02})
    other = ShowAttendTellEngine(engine.config, torch.device("cpu"))
    other.load_state_dict(keyframe)
    trained(engine, 3)
    trained(other, 3)
    assert everything(engine) == everything(other)


# --- pictures  ----------


@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_every_picture_is_whole_repeats_itself_and_does_not_touch_training(attention: str) -> None:
    engine = trained(make(attention=attention, dropout=0.2, hard_context="drawn"), 6)
    twin = copy_of(engine)
    before = everything(engine)
    first = engine.figures(NAMES)
    assert set(first) == set(NAMES)
    for name, figure in first.items():
        assert vocabulary.check(figure) == [], name
        assert figure.title and list(vocabulary.arrays_of(figure)), name
        assert all(
            np.isfinite(np.asarray(array, dtype=float)).all() for _, array in vocabulary.arrays_of(figure)
        )
    for question in (GiveCaption(), GiveBeam(), GiveVocabulary()):
        engine.act(question)
    assert everything(engine) == before
    again = engine.figures(NAMES)
    assert all(same(first[name], again[name]) for name in NAMES)
    trained(engine, 3)
    trained(twin, 3)
    assert everything(engine) == everything(twin)
    assert not same(first["overlay"], picture(engine, "overlay"))


def test_only_the_pictures_asked_for_are_made() -> None:
    engine = make()
    assert set(engine.figures(["strip", "mass"])) == {"strip", "mass"}
    assert engine.figures([]) == {}


def test_the_strip_has_one_picture_a_word_brightest_where_attention_is_largest() -> None:
    engine = trained(make(), 20)
    old = answer(engine, GiveCaption())["old"]
    strip = picture(engine, "strip")
    grid = marks(strip, ImageGrid)[0]
    assert grid.column_labels == old["words"] and len(grid.images) == len(old["words"])
    image = engine.shown_image().astype(float)
    for shown, weights in zip(grid.images, old["weights"], strict=True):
        row, column = np.unravel_index(weights.argmax(), GRID)
        block = (slice(row * 8, row * 8 + 8), slice(column * 8, column * 8 + 8))
        assert np.abs(shown[block].astype(float) - image[block]).max() <= 1
        assert (shown.astype(float) <= image + 1).all()
    hard = marks(strip, ImageGrid, plot=1)[0]
    # Whatever the lengths of both captions, a word of either has the same room.
    limits = {plot.x.limits for plot in plots_of(strip)}
    longest = max(len(grid.images), len(hard.images))
    assert limits == {(0.0, float(longest * (grid.images.shape[2] + grid.gap) - grid.gap))}
    # One location is bright and all others are equally dark.
    ratios = hard.images[0].astype(float).sum(-1) / image.sum(-1)
    bright = ratios.reshape(6, 8, 6, 8).mean((1, 3)) > 0.9
    assert bright.sum() == 1
    assert marks(picture(engine, "gate"), Bars)[0].height.tolist() == pytest.approx(old["gates"].tolist())


def test_the_overlay_has_one_frame_a_word_and_the_weights_cell_by_cell() -> None:
    engine = trained(make(), 10)
    old = answer(engine, GiveCaption())["old"]
    film = picture(engine, "overlay")
    assert isinstance(film, Film) and len(film.frames) == len(old["words"])
    for place, word in enumerate(old["words"]):
        heat = marks(film, Heatmap, frame=place)[0]
        assert np.array_equal(heat.values, old["weights"][place])
        assert heat.extent == (0.0, 48.0, 0.0, 48.0)
        assert next(vocabulary.plots_of(film.frames[place])).note.startswith(f"{word}:")
    engine.apply({"shading": "smooth"})
    smooth = picture(engine, "overlay")
    assert marks(smooth, Heatmap)[0].values.shape == (48, 48)
    assert "cosmetic" in next(vocabulary.plots_of(smooth)).note
    values = marks(smooth, Heatmap)[0].values
    assert old["weights"][0].min() - 1e-6 <= values.min() and values.max() <= old["weights"][0].max() + 1e-6


def test_coverage_is_the_sum_of_attention_beside_one_and_beside_its_floor() -> None:
    engine = trained(make(), 10)
    old = answer(engine, GiveCaption())["old"]
    figure = picture(engine, "coverage")
    total = old["weights"].sum(0)
    # Row 0 of the heat map is at the bottom, that of the image at the top.
    assert np.allclose(marks(figure, Heatmap)[0].values[::-1], total)
    line, rules = marks(figure, Lines, plot=1)[0], marks(figure, Rule, plot=1)
    assert np.allclose(line.y, np.sort(total.ravel())[::-1])
    assert [rule.value for rule in rules] == [1.0, pytest.approx(len(old["words"]) / LOCATIONS)]
    note = list(vocabulary.plots_of(figure))[1].note
    assert f"{np.square(1 - total).sum():.1f}" in note
    assert f"{doubly_stochastic_floor(LOCATIONS, len(old['words'])):.1f}" in note


def test_the_beam_shows_its_tree_and_each_caption_with_its_own_attention() -> None:
    engine = trained(make(beam=3), 20)
    given = answer(engine, GiveBeam())
    figure = picture(engine, "beam")
    assert isinstance(figure, Panels) and len(figure.plots) == 1 + len(given["captions"])
    tree = marks(figure, Graph)[0]
    assert tree.node_labels == tuple(node["word"] for node in given["nodes"])
    edges = {(node["parent"], i) for i, node in enumerate(given["nodes"]) if node["parent"] >= 0}
    assert {tuple(edge) for edge in tree.edges.tolist()} == edges
    for number, caption in enumerate(given["captions"]):
        assert marks(figure, ImageGrid, plot=number + 1)[0].column_labels == caption["words"]
        for place, node in enumerate(caption["nodes"]):
            assert given["nodes"][node]["word"] == caption["words"][place]
            assert np.array_equal(given["nodes"][node]["weights"], caption["weights"][place])
    engine.apply({"beam": 1})
    assert len(answer(engine, GiveBeam())["captions"]) == 1


def test_the_mass_on_what_is_named_is_a_share_and_even_attention_has_the_share_of_the_area() -> None:
    engine = make(temperature=20.0, initial="authors")
    bars = marks(picture(engine, "mass"), Bars)
    # Attention that knows nothing is even.
    assert bars[0].height == pytest.approx(bars[1].height, abs=1e-3)
    assert (bars[0].height > 0).all() and (bars[0].height < 1).all()


def test_cells_of_a_mask_are_those_that_it_touches() -> None:
    mask = np.zeros((8, 8), bool)
    mask[1, 2:5] = True
    assert np.flatnonzero(examples.cells_of(mask, (2, 4))).tolist() == [1, 2]
    mask[7, 7] = True
    assert np.flatnonzero(examples.cells_of(mask, (2, 4))).tolist() == [1, 2, 7]


@pytest.mark.parametrize(
    ("name", "value", "view"),
    [
        ("beam", 1, "beam"),
        ("normalise", True, "beam"),
        ("hard_context", "drawn", "strip"),
        ("shading", "smooth", "strip"),
    ],
)
def test_a_display_setting_changes_its_picture_and_not_training(name: str, value: Any, view: str) -> None:
    engine = trained(make(beam=4), 4)
    twin = copy_of(engine)
    before = picture(engine, view)
    engine.apply({name: value})
    after = picture(engine, view)
    assert vocabulary.check(after) == []
    if name == "normalise":
        # It may rank alike; what it ranks by is another number.
        scores = [answer(e, GiveBeam())["captions"][0]["score"] for e in (twin, engine)]
        assert scores[0] != scores[1]
    else:
        assert not same(before, after)
    trained(engine, 2)
    trained(twin, 2)
    assert everything(engine) == everything(twin)


# --- requests of the hand  ----------


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_image_shown_first_is_one_whose_two_groups_a_caption_tells_apart_from_its_start(
    seed: int,
) -> None:
    data = caption_data.drawn_scenes(seed=seed, train_size=1, valid_size=40, held_out_size=1)
    order = examples.shown_order(data)
    assert sorted(order.tolist()) == sorted(data.splits["valid"].tolist()), "each is shown, and once"
    masks = data.masks
    assert isinstance(masks, caption_data.SceneMasks)
    one, other = masks.scenes[order[0]].groups
    assert one.colour != other.colour
    assert (one.size, len(one.centres)) != (other.size, len(other.centres))
    assert np.array_equal(order[1:], np.setdiff1d(data.splits["valid"], order[:1])), "the others as they come"


def test_another_image_has_another_caption_and_numbers_wrap_around() -> None:
    engine = trained(make(), 10)
    first = answer(engine, GiveCaption())
    second = answer(engine, PickImage(2))
    assert second["image"] == 2 and not np.array_equal(first["pixels"], second["pixels"])
    assert not np.array_equal(first["old"]["weights"][0], second["old"]["weights"][0])
    assert answer(engine, PickImage(6))["image"] == 0
    assert np.array_equal(answer(engine, PickImage(6))["pixels"], first["pixels"])


def test_the_gaze_is_moved_at_a_word_and_all_after_it_is_decoded_anew() -> None:
    # Its initial weights write long captions, whatever the seed.
    engine = make()
    plain = answer(engine, GiveCaption())
    assert not plain["edited"] and plain["old"]["words"] == plain["new"]["words"]
    moved = answer(engine, GrabGaze(1, cell=(3, 0)))
    assert moved["edited"] and moved["kept"] == 1 and moved["looks"] == (1,)
    expected = np.zeros(GRID)
    expected[3, 0] = 1.0
    assert np.array_equal(moved["new"]["weights"][1], expected)
    assert moved["new"]["words"][0] == plain["old"]["words"][0]
    assert np.array_equal(moved["new"]["weights"][0], plain["old"]["weights"][0])
    # What the model does by itself stays beside it.
    assert moved["old"]["words"] == plain["old"]["words"]
    assert np.array_equal(moved["old"]["weights"], plain["old"]["weights"])
    gaze = picture(engine, "gaze")
    assert marks(gaze, ImageGrid)[0].column_labels == plain["old"]["words"]
    assert marks(gaze, ImageGrid, plot=1)[0].column_labels == moved["new"]["words"]
    assert marks(picture(engine, "overlay"), Heatmap, frame=1)[0].role == "hand"
    cleared = answer(engine, ClearEdits())
    assert not cleared["edited"] and cleared["new"]["words"] == plain["old"]["words"]
    assert len(list(vocabulary.plots_of(picture(engine, "gaze")))) == 1


def test_attention_that_is_painted_is_brought_to_sum_one_and_edits_before_it_stay() -> None:
    # Its initial weights write long captions, whatever the seed.
    engine = make()
    painted = np.zeros(GRID)
    painted[0, :2] = 3.0
    answer(engine, GrabGaze(0, cell=(2, 2)))
    second = answer(engine, GrabGaze(2, weights=painted))
    assert second["looks"] == (0, 2)
    assert second["new"]["weights"][2][0, :2].tolist() == [0.5, 0.5]
    # An edit further in front lets go of those behind it.
    assert answer(engine, GrabGaze(1, cell=(0, 0)))["looks"] == (0, 1)
    assert answer(engine, GrabGaze(0, cell=(0, 0)))["looks"] == (0,)


def test_a_word_is_replaced_and_the_end_can_be_put() -> None:
    # Its initial weights write long captions, whatever the seed.
    engine = make()
    old = answer(engine, GiveCaption())["old"]["words"]
    words = answer(engine, GiveVocabulary())["words"]
    other = next(word for word in words[2:] if word != old[1])
    replaced = answer(engine, ReplaceWord(1, other))
    assert replaced["new"]["words"][:2] == (old[0], other) and replaced["kept"] == 2
    assert replaced["old"]["words"] == old
    # The attention at that word is what it was: it is decided before the word.
    assert np.allclose(replaced["new"]["weights"][1], replaced["old"]["weights"][1])
    ended = answer(engine, ReplaceWord(1, "<end>"))
    assert ended["new"]["words"] == (old[0], "<end>")
    # A gaze that was moved at a word stays where that word is replaced.
    answer(engine, ClearEdits())
    answer(engine, GrabGaze(1, cell=(1, 1)))
    both = answer(engine, ReplaceWord(1, other))
    assert (
        both["looks"] == (1,) and both["new"]["weights"][1][1, 1] == 1.0 and both["new"]["words"][1] == other
    )


def test_another_image_lets_go_of_the_edits() -> None:
    engine = trained(make(), 5)
    engine.act(GrabGaze(0, cell=(0, 0)))
    assert not answer(engine, PickImage(1))["edited"]


def test_an_own_image_is_captioned_and_let_go() -> None:
    engine = trained(make(), 5)
    engine.act(PickImage(3))
    validation = answer(engine, GiveCaption())["pixels"]
    own = np.full((50, 80, 3), 200, np.uint8)
    own[10:30, 20:40] = (200, 20, 20)
    given = answer(engine, DropImage(own))
    assert (
        given["own"] and given["pixels"].shape == (48, 48, 3) and given["pixels"][0, 0].tolist() == [200] * 3
    )
    assert not given["edited"] and all(vocabulary.check(f) == [] for f in engine.figures(NAMES).values())
    assert answer(engine, DropImage(own[:, :, 0]))["pixels"].shape == (48, 48, 3)
    # The validation image itself, given by hand, is seen as itself.
    twice = answer(engine, DropImage(validation))
    back = answer(engine, DropImage(None))
    assert not back["own"] and back["image"] == 3 and np.array_equal(back["pixels"], validation)
    assert twice["old"]["words"] == back["old"]["words"]
    assert np.allclose(twice["old"]["weights"], back["old"]["weights"], atol=1e-6)


def test_what_the_hand_did_is_in_the_keyframe() -> None:
    engine = trained(make(), 20)
    engine.act(DropImage(np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)))
    engine.act(GrabGaze(0, cell=(1, 2)))
    engine.act(ReplaceWord(0, "red"))
    other = copy_of(engine)
    assert all(same(picture(engine, name), picture(other, name)) for name in NAMES)
    assert answer(other, GiveCaption())["new"]["words"][0] == "red"
    assert not same(picture(other, "overlay"), picture(make(), "overlay"))


def test_what_the_hand_does_leaves_training_alone() -> None:
    engine = trained(make(**HARD), 3)
    twin = copy_of(engine)
    engine.act(PickImage(2))
    engine.act(GrabGaze(0, cell=(1, 2)))
    engine.act(ReplaceWord(0, "red"))
    assert [dict(engine.step()) for _ in range(3)] == [dict(twin.step()) for _ in range(3)]


class Unknown(Action):
    """An action that no engine knows."""


@pytest.mark.parametrize(
    "action",
    [
        GrabGaze(-1, cell=(0, 0)),
        GrabGaze(50, cell=(0, 0)),
        GrabGaze(0, cell=(6, 0)),
        GrabGaze(0, cell=(0, -1)),
        GrabGaze(0),
        GrabGaze(0, weights=np.ones((8, 8))),
        GrabGaze(0, weights=np.zeros(GRID)),
        GrabGaze(0, weights=np.full(GRID, math.nan)),
        GrabGaze(0, weights=np.full(GRID, -1.0)),
        ReplaceWord(0, "zebra"),
        ReplaceWord(40, "red"),
        DropImage(np.zeros((0, 5, 3), np.uint8)),
        DropImage(np.zeros((5, 5, 3))),
        DropImage(np.zeros(7, np.uint8)),
        DropImage(np.zeros((5, 5, 2), np.uint8)),
        DropImage(np.zeros((9000, 2, 3), np.uint8)),
    ],
    ids=lambda action: type(action).__name__,
)
def test_a_request_that_cannot_be_met_is_refused_in_a_sentence(action: Action) -> None:
    engine = make()
    before = everything(engine)
    with pytest.raises(InputError) as caught:
        engine.act(action)
    one_sentence(caught.value)
    assert everything(engine) == before, "a refused request changes nothing"


def test_an_action_of_another_paper_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="Unknown"):
        make().act(Unknown())


# --- data and final scalars  ----------


def test_the_summary_is_plain_numbers_and_changes_nothing() -> None:
    engine = trained(make(), 5)
    before = everything(engine)
    summary = engine.summary()
    assert summary == engine.summary() and everything(engine) == before
    assert {"bleu_4", "bleu_4_penalised", "meteor", "nll_valid", "bleu_4_held_out", "exact"} <= summary.keys()
    assert all(isinstance(value, float | int) for value in summary.values())


def test_the_data_are_described() -> None:
    description = make().data_description()
    assert description["kind"] == "captions" and description["shape"] == "48x48x3"
    assert description["digest"] and description["title"] and description["licence"]
    assert make(seed=3).data_description()["digest"] != description["digest"]


def test_a_small_vocabulary_calls_the_other_words_unknown() -> None:
    engine = trained(make(vocabulary=6), 2)
    words = answer(engine, GiveVocabulary())["words"]
    assert len(words) == 6 and words[:2] == ("<end>", "<unknown>")
    assert all(vocabulary.check(f) == [] for f in engine.figures(NAMES).values())


def folder(path: Path, count: int = 8) -> str:
    from PIL import Image

    random = np.random.default_rng(0)
    lines = ["image,caption"]
    for number in range(count):
        pixels = random.integers(0, 255, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
        lines += [f"{number}.png,A dog runs over grass .", f"{number}.png,a small dog"]
    (path / "captions.txt").write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_an_own_folder_is_trained_on(tmp_path: Path) -> None:
    engine = trained(make(data="folder", path=folder(tmp_path)), 3)
    report = dict(engine.step())
    assert math.isfinite(report["nll_train"]) and "dog" in engine.vocabulary
    report = dict(engine.step())
    assert "nll_valid" in report and "nll_held_out" not in report and "mass_object" not in report
    for name, figure in engine.figures(NAMES).items():
        assert vocabulary.check(figure) == [], name
        assert list(vocabulary.arrays_of(figure)) or next(vocabulary.plots_of(figure)).note, name
    assert everything(trained(copy_of(engine), 2)) == everything(trained(engine, 2))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"data": "folder"}, "path"),
        ({"data": "folder", "encoder": "squeezenet", "path": "FOLDER"}, "weights"),
        ({"encoder": "squeezenet"}, "encoder"),
    ],
)
def test_data_without_their_setting_name_the_setting(
    changes: dict[str, Any], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DATA", "")
    monkeypatch.setenv("PAPERLAB_HOME", str(tmp_path / "home"))
    if changes.get("path"):
        changes = {**changes, "path": folder(tmp_path)}
    with pytest.raises(SettingError) as caught:
        make(**changes)
    one_sentence(caught.value)
    assert caught.value.field == field


def test_captions_that_are_all_too_long_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        make(data="folder", path=folder(tmp_path), longest=2)
    assert "longest" in one_sentence(caught.value)


def test_every_preset_is_a_set_of_settings() -> None:
    for preset in PRESETS:
        ShowAttendTellSettings.build(dict(preset.values))
    assert PRESETS[0].id == "scenes"
