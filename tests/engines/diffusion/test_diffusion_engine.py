"""The diffusion engine as a worker uses it: pictures, live changes, requests of the hand, keyframes, own data; CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines import figures as vocabulary
from engines.diffusion.config import (
    METHOD,
    ChooseStep,
    DiffusionSettings,
    DropPoint,
    MaskImage,
    PaintRegion,
    PickImage,
)
from engines.diffusion.engine import DiffusionEngine
from engines.errors import DataError, InputError, SettingError
from engines.figures import Bars, Figure, Film, Heatmap, ImageGrid, Lines, Scatter, VectorField
from engines.method import Action
from lab.runs.state import unpack
from tests.engines.handling import copy_of, everything, marks, one_sentence, picture, same, trained

TINY: Mapping[str, Any] = {
    "trajectory": 8,
    "units": 8,
    "batch": 32,
    "steps": 100,
    "evaluate_every": 5,
    "particles": 40,
    "trails": 5,
    "arrows": 5,
    "futures": 12,
}
IMAGES: Mapping[str, Any] = {"data": "digits", "network": "dense", "trajectory": 10, "times": 3}
EXTENT = (-3.2, 3.2, -3.2, 3.2)
NAMES = METHOD.figure_names()


def make(**changes: Any) -> DiffusionEngine:
    """A small engine on the CPU."""
    return DiffusionEngine(DiffusionSettings.build({**TINY, **changes}), torch.device("cpu"))


def images(**changes: Any) -> DiffusionEngine:
    """A small engine on the 8x8 digits."""
    return make(**{**IMAGES, **changes})


def region(x: float, y: float, radius: float = 0.5) -> PaintRegion:
    """A painted disc."""
    side = -3.2 + (np.arange(64) + 0.5) / 10
    return PaintRegion((side[None, :] - x) ** 2 + (side[:, None] - y) ** 2 <= radius**2, EXTENT)


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], str]:
    """Writes a CSV file and gives its path."""

    def write(text: str) -> str:
        path = tmp_path / "points.csv"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def three_columns() -> str:
    """A table of three named columns."""
    rows = np.random.default_rng(3).normal(size=(200, 3)) * [1.0, 20.0, 0.1]
    return "length,width,depth\n" + "\n".join(",".join(f"{v:.5f}" for v in row) for row in rows)


DRAWN = (-1.0, -1.0, 1.0, 1.0, 0.0, 0.5)


@pytest.fixture(params=["swiss_roll", "mixture", "rings", "moons", "drawn", "csv", "digits"])
def engine(request: pytest.FixtureRequest, table: Callable[[str], str]) -> DiffusionEngine:
    """An engine of each kind of data, a few updates old."""
    if request.param == "digits":
        return trained(images(), 3)
    changes: dict[str, Any] = {"data": request.param}
    if request.param == "drawn":
        changes["drawn"] = DRAWN
    if request.param == "csv":
        changes = {"data": "file", "path": table(three_columns())}
    return trained(make(**changes), 3)


# --- pictures  ----------


def test_every_picture_is_whole_repeats_itself_and_does_not_touch_training(engine: DiffusionEngine) -> None:
    twin = copy_of(engine)
    before = everything(engine)
    first = engine.figures(NAMES)
    assert set(first) == set(NAMES)
    for name, figure in first.items():
        assert vocabulary.check(figure) == [], name
        # A picture that does not apply to these data says so in words.
        assert list(vocabulary.arrays_of(figure)) or all(p.remark() for p in vocabulary.plots_of(figure)), (
            name
        )
        for key, array in vocabulary.arrays_of(figure):
            # Trails are broken by NaN between particles; nothing is infinite.
            assert not np.isinf(np.asarray(array, dtype=float)).any(), (name, key)
    assert everything(engine) == before
    again = engine.figures(NAMES)
    assert all(same(first[name], again[name]) for name in NAMES)
    trained(engine, 3)
    trained(twin, 3)
    assert everything(engine) == everything(twin)
    # What moves in a picture is what was learned.
    assert not same(first["process"], picture(engine, "process"))


def test_only_the_pictures_asked_for_are_made() -> None:
    engine = make()
    assert set(engine.figures(["terms", "schedule"])) == {"terms", "schedule"}
    assert engine.figures([]) == {}


def test_films_run_from_noise_to_data() -> None:
    engine = trained(make(trajectory=12), 2)
    film = picture(engine, "process")
    assert isinstance(film, Film) and list(film.times) == list(range(12, -1, -1))
    assert film.start == len(film.frames) - 1
    forward = marks(film, Scatter, plot=0, frame=12)[0]
    held_out = engine.data.test[:40].numpy()
    assert np.array_equal(forward.x, held_out[:, 0]) and np.array_equal(forward.y, held_out[:, 1])


def test_a_long_chain_is_shown_in_few_frames_with_both_ends() -> None:
    film = picture(make(trajectory=130, times=2), "trails")
    assert isinstance(film, Film)
    assert len(film.frames) <= 41 and film.times[0] == 130 and film.times[-1] == 0
    assert (np.diff(film.times) < 0).all()


def test_a_known_density_shows_the_exact_drift_beside_the_learned_one() -> None:
    engine = trained(make(data="mixture"), 2)
    arrows = {mark.label: mark for mark in marks(picture(engine, "process"), VectorField, plot=2)}
    assert set(arrows) == {"learned", "exact"} and arrows["exact"].role == "target"
    assert {mark.label for mark in marks(picture(make(), "process"), VectorField, plot=2)} == {"learned"}


def test_the_terms_sum_to_what_k_loses() -> None:
    engine = trained(make(), 5)
    bars = marks(picture(engine, "terms"), Bars)[0]
    assert list(bars.x) == list(range(2, 9))
    bound = engine.bound()
    chain = engine.averaged.chain()
    # Table App.1: K is minus the sum of the terms, plus entropies that the chain alone decides.
    entropies = 2 * 0.5 * math.log2(2 * math.pi * math.e)
    betas = chain.betas[1:].double()
    spread = 1 - torch.cumprod(1 - betas, 0)
    ends = 0.5 * 2 * (math.log2(float(spread[-1])) - math.log2(float(betas[0])))
    assert bound.bits == pytest.approx(-float(bars.height.sum()) + ends - entropies, abs=1e-3)


def test_the_schedule_has_points_for_the_hand_at_every_length() -> None:
    for length in (3, 12, 400):
        handles = [
            m for m in marks(picture(make(trajectory=length, times=2), "schedule"), Lines) if m.role == "hand"
        ]
        assert len(handles) == 1
        x = handles[0].x
        assert x[0] == 2 and x[-1] == length and len(x) <= 20 and (np.diff(x) > 0).all()


# --- training, keyframes  ----------


def test_a_step_reports_finite_scalars_and_k_at_its_turn() -> None:
    engine = make()
    reports = [dict(engine.step()) for _ in range(10)]
    assert all(math.isfinite(value) for report in reports for value in report.values())
    measured = [index + 1 for index, report in enumerate(reports) if "K_bits" in report]
    assert measured == [1, 5, 10]
    assert {"K_train_bits", "step_size"} <= reports[1].keys()


@pytest.mark.parametrize("data", ["mixture", "digits"])
def test_training_raises_the_bound_on_held_out_data(data: str) -> None:
    changes = {"step_size": 0.01, "units": 32, "averaging": 0.9}
    engine = images(**changes) if data == "digits" else make(data=data, **changes)
    before = engine.bound().bits
    trained(engine, 100)
    assert engine.bound().bits > before + (3.0 if data == "digits" else 0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data": "mixture", "schedule": "binomial", "times": 3},
        {"network": "rbf", "schedule": "geometric"},
        {"schedule": "drawn", "betas": (0.01, 0.5)},
        {"network": "mlp", "frequencies": 4, "averaging": 0.0},
        dict(IMAGES),
    ],
    ids=["learned", "binomial", "rbf", "drawn", "frequencies", "digits"],
)
def test_a_keyframe_continues_bit_for_bit(changes: dict[str, Any]) -> None:
    engine = trained(make(**changes), 4)
    other = copy_of(engine)
    for _ in range(4):
        assert dict(engine.step()) == dict(other.step())
    assert everything(engine) == everything(other)
    assert all(same(engine.figures([name])[name], other.figures([name])[name]) for name in NAMES)


SCHEDULES: tuple[dict[str, Any], ...] = (
    {"schedule": "geometric"},
    {"schedule": "binomial"},
    {"schedule": "learned"},
    {"schedule": "drawn"},
    {"schedule": "drawn", "betas": (0.01, 0.1, 0.6)},
    {"beta_1": 0.01},
    {"last_signal": 0.2},
)


@pytest.mark.parametrize("change", SCHEDULES, ids=lambda change: ",".join(map(str, change.values())))
@pytest.mark.parametrize("first", ["learned", "geometric", "binomial"])
def test_another_schedule_keeps_what_the_network_has_learned(first: str, change: dict[str, Any]) -> None:
    engine = trained(make(schedule=first), 4)
    before = unpack(everything(engine))[0]
    engine.apply(change)
    after = unpack(everything(engine))[0]
    network = [name for name in before["model"] if not name.startswith("schedule.")]
    assert network and all(torch.equal(before["model"][name], after["model"][name]) for name in network)
    assert all(torch.equal(before["averaged"][name], after["averaged"][name]) for name in network)
    count = len(list(engine.model.network.parameters()))
    for number in range(count):
        old, new = before["optimizer"]["state"][number], after["optimizer"]["state"][number]
        assert all(torch.equal(old[name], new[name]) for name in ("step", "exp_avg", "exp_avg_sq"))
    # Bit for bit after the change, too.
    trained(engine, 2)
    other = copy_of(engine)
    trained(engine, 3)
    trained(other, 3)
    assert everything(engine) == everything(other)


@pytest.mark.parametrize("change", SCHEDULES, ids=lambda change: ",".join(map(str, change.values())))
@pytest.mark.parametrize("first", ["learned", "geometric"])
def test_a_keyframe_older_than_a_change_of_schedule_takes_the_change(
    first: str, change: dict[str, Any]
) -> None:
    # A run that dies after a live change is continued from the keyframe before it, with the settings after it.
    engine = trained(make(schedule=first), 4)
    keyframe = unpack(everything(engine))[0]
    change = engine.config.differing(engine.config.updated(change))
    if not change:
        # A worker applies nothing then.
        return
    engine.apply(change)
    other = DiffusionEngine(engine.config, torch.device("cpu"))
    other.load_state_dict(keyframe)
    betas, others = engine.averaged.chain().betas, other.averaged.chain().betas
    assert torch.equal(betas, others)
    trained(engine, 2)
    trained(other, 2)
    assert everything(engine) == everything(other)


def test_a_schedule_that_was_drawn_and_taken_back_is_the_learned_one_again() -> None:
    engine = trained(make(schedule="learned", step_size=0.05, averaging=0.5), 10)
    learned = engine.averaged.chain().betas.clone()
    engine.apply({"schedule": "drawn", "betas": (0.3, 0.3)})
    assert not torch.allclose(engine.averaged.chain().betas, learned)
    # In between the run is left and taken up again.
    other = copy_of(trained(engine, 2))
    other.apply({"schedule": "learned"})
    other.apply({"betas": ()})
    assert torch.equal(other.averaged.chain().betas, learned)
    # Moving the first step keeps what the others have learned.
    other.apply({"beta_1": 5.5e-6})
    assert torch.allclose(other.averaged.chain().betas[2:], learned[2:], rtol=0.2)
    trained(other, 2)


def test_a_keyframe_of_another_network_is_refused() -> None:
    state = trained(make(units=8), 2).state_dict()
    with pytest.raises((KeyError, RuntimeError, ValueError)):
        make(units=16).load_state_dict(state)


def test_what_the_hand_did_is_in_the_keyframe() -> None:
    engine = trained(make(), 2)
    engine.act(region(1.0, 1.0))
    engine.act(DropPoint(0.5, -0.5, 3))
    other = copy_of(engine)
    assert all(same(picture(engine, name), picture(other, name)) for name in ("bent", "futures"))
    assert not same(picture(other, "bent"), picture(make(), "bent"))
    shown = trained(images(), 1)
    mask = np.zeros((8, 8), bool)
    mask[:, 5:] = True
    shown.act(MaskImage(mask))
    shown.act(PickImage(4))
    assert same(picture(shown, "bent"), picture(copy_of(shown), "bent"))


# --- live and display settings  ----------


def test_every_live_setting_acts() -> None:
    # Each setting with a value that must show in the next update, in the betas, or in what is reported.
    changes: dict[str, dict[str, Any]] = {
        "schedule": {"schedule": "binomial"},
        "beta_1": {"beta_1": 0.02},
        "last_signal": {"last_signal": 0.3},
        "betas": {"schedule": "drawn", "betas": (0.2, 0.4)},
        "step_size": {"step_size": 0.1},
        "decay": {"decay": "none"},
        "batch": {"batch": 64},
        "times": {"times": 2},
        "averaging": {"averaging": 0.0},
        "weight_decay": {"weight_decay": 1.0},
        "schedule_step_size": {"schedule_step_size": 0.5},
        "evaluate_every": {"evaluate_every": 4},
        "steps": {"steps": 5},
    }
    live = {spec.name for spec in DiffusionSettings.specs() if spec.effect == "live"}
    assert live == changes.keys(), "a live setting is not tried"
    start = trained(make(schedule="learned"), 3)
    plain = copy_of(start)
    usual = dict(plain.step())
    for name, change in changes.items():
        engine = copy_of(start)
        engine.apply(change)
        report = dict(engine.step())
        assert report != usual or everything(engine) != everything(plain), f"{name} does nothing"


def test_the_step_size_and_its_decay_are_as_set() -> None:
    engine = make(step_size=0.02, decay="none")
    assert dict(engine.step())["step_size"] == 0.02
    engine.apply({"step_size": 0.004})
    assert dict(engine.step())["step_size"] == 0.004
    engine.apply({"decay": "cosine", "steps": 4})
    sizes = [dict(engine.step())["step_size"] for _ in range(3)]
    assert sizes[0] > sizes[1] > sizes[2] == pytest.approx(0.02 * 0.004)


def test_averaging_off_shows_the_weights_themselves() -> None:
    engine = trained(make(averaging=0.0), 2)
    pairs = zip(engine.model.parameters(), engine.averaged.parameters(), strict=True)
    assert all(torch.equal(weight, average) for weight, average in pairs)


@pytest.mark.parametrize(
    ("name", "value", "view"),
    [
        ("particles", 25, "process"),
        ("trails", 3, "trails"),
        ("arrows", 7, "process"),
        ("futures", 5, "futures"),
        ("bend", 0.0, "bent"),
    ],
)
def test_a_display_setting_changes_its_picture_and_not_training(name: str, value: float, view: str) -> None:
    engine = trained(make(), 2)
    engine.act(region(1.0, 1.0))
    engine.act(DropPoint(0.0, 0.0, 4))
    twin = copy_of(engine)
    before = picture(engine, view)
    engine.apply({name: value})
    after = picture(engine, view)
    assert not same(before, after) and vocabulary.check(after) == []
    trained(engine, 2)
    trained(twin, 2)
    assert everything(engine) == everything(twin)


def test_the_counts_of_particles_arrows_and_futures_are_as_set() -> None:
    engine = make(particles=33, arrows=6, futures=7, trails=4)
    engine.act(DropPoint(0.0, 0.0, 5))
    film = picture(engine, "process")
    assert [len(marks(film, Scatter, plot)[0].x) for plot in (0, 1)] == [33, 33]
    assert len(marks(film, VectorField, 2)[0].x) == 36
    assert len(marks(picture(engine, "futures"), Scatter)[1].x) == 7
    assert len(marks(picture(engine, "trails"), Scatter)[0].x) == 4


# --- requests of the hand  ----------


def distance(engine: DiffusionEngine, x: float, y: float) -> float:
    """Mean distance of the samples in the picture of r(x) from a point."""
    samples = marks(picture(engine, "bent"), Scatter)[-1]
    return float(np.hypot(samples.x - x, samples.y - y).mean())


def test_a_painted_region_draws_the_samples_and_clearing_undoes_it_exactly() -> None:
    engine = trained(make(data="mixture", particles=200), 10)
    plain = picture(engine, "bent")
    far = distance(engine, 1.0, 1.0)
    engine.act(region(1.0, 1.0))
    near = distance(engine, 1.0, 1.0)
    assert near < 0.6 * far
    shade = marks(picture(engine, "bent"), Heatmap)[0]
    assert shade.values.max() == 1.0 and shade.extent == EXTENT
    # A region at another place draws to that place.
    engine.act(region(-1.0, 0.0))
    assert distance(engine, -1.0, 0.0) < distance(engine, 1.0, 1.0)
    engine.act(PaintRegion(np.zeros((64, 64), bool), EXTENT))
    assert same(plain, picture(engine, "bent"))


def test_the_strength_of_r_can_be_turned_down() -> None:
    engine = trained(make(data="mixture", particles=200), 5)
    far = distance(engine, 1.0, 1.0)
    engine.act(region(1.0, 1.0))
    distances = {}
    for strength in (0.0, 0.002, 1.0):
        engine.apply({"bend": strength})
        distances[strength] = distance(engine, 1.0, 1.0)
    assert distances[0.0] == far > distances[0.002] > distances[1.0]


def test_a_dropped_point_has_its_futures_from_the_chosen_step() -> None:
    engine = trained(make(), 3)
    assert "drop a point" in picture(engine, "futures").remark()
    engine.act(DropPoint(0.7, -0.4, 6))
    figure = picture(engine, "futures")
    lines, star = marks(figure, Lines)[0], marks(figure, Scatter)[-1]
    assert (float(star.x[0]), float(star.y[0])) == pytest.approx((0.7, -0.4)) and star.role == "hand"
    starts = lines.x[:: 6 + 2]
    assert len(starts) == 12 and starts == pytest.approx(np.full(12, 0.7, np.float32))
    engine.act(DropPoint(0.7, -0.4, 1))
    ends = {t: marks(picture(engine, "futures"), Scatter)[1] for t in (1,)}
    # One step from the data hardly anything is open.
    assert ends[1].x.std() < 0.1 * max(1e-9, float(marks(figure, Scatter)[1].x.std()))
    engine.act(DropPoint(None, None, 6))
    assert same(picture(engine, "futures"), _futures_at(engine, 6))
    assert "drop a point" in picture(engine, "futures").remark()


def _futures_at(engine: DiffusionEngine, t: int) -> Figure:
    other = copy_of(engine)
    other.act(ChooseStep(t))
    return picture(other, "futures")


def test_the_note_of_the_futures_says_the_step_that_was_chosen() -> None:
    engine = make()
    engine.act(ChooseStep(7))
    assert "t = 7" in picture(engine, "futures").remark()


def fillings(engine: DiffusionEngine) -> np.ndarray:
    """The pictures (N, 8, 8, 3) of the in-painting view: the image, the same hidden, then fillings."""
    grid = marks(picture(engine, "bent"), ImageGrid)[0]
    return grid.images


def test_known_pixels_stay_bit_for_bit_and_hidden_ones_are_filled() -> None:
    engine = trained(images(), 3)
    mask = np.zeros((8, 8), bool)
    mask[2:5, 1:7] = True
    engine.act(MaskImage(mask))
    shown = fillings(engine)
    assert np.array_equal(
        shown[2:][:, ~mask], np.broadcast_to(shown[0][~mask], (len(shown) - 2, (~mask).sum(), 3))
    )
    assert not np.array_equal(shown[2][mask], shown[0][mask])
    assert np.abs(shown[2:, mask].std(0)).max() > 0.01, "fillings are draws, not one answer"
    # The hidden part is marked in the second picture, the known part is not.
    assert np.array_equal(shown[1][~mask], shown[0][~mask]) and not np.array_equal(
        shown[1][mask], shown[0][mask]
    )
    rows = marks(picture(engine, "images"), ImageGrid)[0]
    per_row = len(rows.images) // len(rows.row_labels)
    held_out, inpainted = rows.images[:per_row], rows.images[-per_row:]
    assert np.array_equal(held_out[:, ~mask], inpainted[:, ~mask])
    assert rows.row_labels == ("Held-out", "Noised", "Denoised", "Samples", "In-painted")


def test_a_mask_without_holes_gives_the_image_back() -> None:
    engine = images()
    engine.act(MaskImage(np.zeros((8, 8), bool)))
    shown = fillings(engine)
    assert all(np.array_equal(one, shown[0]) for one in shown)


def test_picking_another_image_changes_what_is_inpainted_and_wraps_around() -> None:
    engine = images()
    first = fillings(engine)[0]
    engine.act(PickImage(1))
    second = fillings(engine)[0]
    assert not np.array_equal(first, second)
    engine.act(PickImage(len(engine.data.test)))
    assert np.array_equal(fillings(engine)[0], first)


def test_denoising_comes_closer_to_the_image_than_its_noised_copy() -> None:
    engine = trained(images(units=32, step_size=0.01, averaging=0.9), 60)
    engine.apply({"noised_at": 3.0})
    rows = marks(picture(engine, "images"), ImageGrid)[0].images.reshape(5, 8, 64)
    assert np.abs(rows[2] - rows[0]).mean() < np.abs(rows[1] - rows[0]).mean()


class Unknown(Action):
    """An action that no engine knows."""


@pytest.mark.parametrize(
    ("on_images", "action"),
    [
        (False, MaskImage(np.zeros((8, 8), bool))),
        (False, PickImage(2)),
        (True, region(0.0, 0.0)),
        (True, DropPoint(0.0, 0.0, 2)),
        (False, DropPoint(0.0, 0.0, 0)),
        (False, DropPoint(0.0, 0.0, 9)),
        (False, DropPoint(math.nan, 0.0, 3)),
        (False, DropPoint(0.0, math.inf, 3)),
        (False, ChooseStep(0)),
        (True, ChooseStep(11)),
        (True, MaskImage(np.zeros((4, 4), bool))),
        (True, MaskImage(np.zeros(64, bool))),
        (False, PaintRegion(np.ones(5, bool), EXTENT)),
        (False, PaintRegion(np.ones((4, 4), bool), (1.0, 1.0, -1.0, 1.0))),
        (False, PaintRegion(np.ones((4, 4), bool), (-1.0, 1.0, 2.0, -2.0))),
        (False, PaintRegion(np.ones((4, 4), bool), (-1.0, 1.0, -2.0, math.nan))),
    ],
    ids=lambda value: (
        type(value).__name__ if isinstance(value, Action) else ("images" if value else "points")
    ),
)
def test_a_request_that_cannot_be_met_is_refused_in_a_sentence(on_images: bool, action: Action) -> None:
    engine = images() if on_images else make()
    before = everything(engine)
    with pytest.raises(InputError) as caught:
        engine.act(action)
    one_sentence(caught.value)
    assert everything(engine) == before, "a refused request changes nothing"


def test_an_action_of_another_paper_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="Unknown"):
        make().act(Unknown())


def test_three_columns_have_no_plane_to_paint_on(table: Callable[[str], str]) -> None:
    engine = make(data="file", path=table(three_columns()))
    for action in (region(0, 0), DropPoint(0.0, 0.0, 2)):
        with pytest.raises(InputError) as caught:
            engine.act(action)
        assert "two columns" in one_sentence(caught.value)


# --- final scalars  ----------

NULL = -2 * 0.5 * math.log2(2 * math.pi * math.e)


@pytest.mark.parametrize("data", ["swiss_roll", "mixture"])
def test_the_summary_shows_k_between_its_marks(data: str) -> None:
    engine = trained(make(data=data, units=32, step_size=0.01, noise=0.5, beta_1=0.01, averaging=0.9), 80)
    summary = engine.summary()
    assert summary["L_null_bits"] == pytest.approx(NULL)
    assert summary["K_bits"] > NULL + 0.05
    noise = 4 * (summary["K_error_bits"] + summary["negentropy_error_bits"])
    assert summary["K_bits"] <= summary["negentropy_bits"] + noise
    share = (summary["K_bits"] - NULL) / (summary["negentropy_bits"] - NULL)
    assert summary["gap_closed"] == pytest.approx(share)
    # Where the density is known, the estimate by neighbours must agree with it.
    assert summary["exact_log_likelihood_bits"] == pytest.approx(summary["negentropy_bits"], abs=0.15)
    assert all(isinstance(value, float | int | str) for value in summary.values())


def test_an_untrained_chain_knows_as_much_as_a_gaussian() -> None:
    summary = make(data="mixture").summary()
    assert summary["K_bits"] == pytest.approx(summary["L_null_bits"], abs=5 * summary["K_error_bits"] + 1e-3)
    shown = images().summary()
    assert shown["L_null_bits"] == pytest.approx(32 * NULL)
    assert shown["L_null_bits_per_pixel"] == pytest.approx(NULL / 2)
    assert shown["K_bits"] == pytest.approx(shown["L_null_bits"], abs=5 * shown["K_error_bits"] + 1e-3)
    assert math.isnan(shown["negentropy_bits"])


def test_measuring_changes_nothing() -> None:
    engine = trained(make(), 3)
    before = everything(engine)
    assert engine.summary() == engine.summary()
    assert everything(engine) == before


# --- data  ----------


@pytest.mark.parametrize(
    ("changes", "kind", "shape"),
    [
        ({}, "points", "2"),
        ({"data": "drawn", "drawn": DRAWN}, "points", "2"),
        (dict(IMAGES), "images", "1x8x8"),
    ],
)
def test_the_data_are_described(changes: dict[str, Any], kind: str, shape: str) -> None:
    description = make(**changes).data_description()
    assert description["kind"] == kind and description["shape"] == shape
    assert description["digest"] and description["title"] and description["licence"]
    assert all(isinstance(value, str) for value in description.values())
    assert make(**changes).data_description() == description
    assert make(**changes, seed=3).data_description()["digest"] != description["digest"] or kind == "images"


def test_all_data_are_standardised(engine: DiffusionEngine) -> None:
    batch = engine.batch(4000, torch.Generator().manual_seed(0))
    assert batch.dtype == torch.float32
    assert float(batch.mean()) == pytest.approx(0.0, abs=0.1)
    assert float(batch.var()) == pytest.approx(1.0, abs=0.15)


def test_columns_of_a_table_name_the_axes(table: Callable[[str], str]) -> None:
    engine = make(data="file", path=table(three_columns()))
    assert engine.data.dimension == 3
    plot = next(vocabulary.plots_of(picture(engine, "process")))
    assert (plot.x.label, plot.y.label) == ("length", "width")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x\n" + "\n".join("123456789"), "two columns"),
        ("x,y\n1,2\n3,nan\n5,6\n7,8\n9,1\n", ""),
        ("x,y\n1,2\n3,abc\n5,6\n7,8\n9,1\n", ""),
        ("x,y\n1,2\n1,4\n1,6\n1,8\n1,3\n", ""),
        ("", ""),
        ("x,y\n", ""),
    ],
    ids=["one column", "NaN", "text", "constant", "empty", "no rows"],
)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(
    table: Callable[[str], str], text: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        make(data="file", path=table(text))
    assert said in one_sentence(caught.value)


def test_a_file_of_rubbish_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "rubbish.csv"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DataError) as caught:
        make(data="file", path=str(path))
    one_sentence(caught.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"data": "file"}, "path"),
        ({"data": "drawn"}, "drawn"),
        ({"data": "drawn", "drawn": (1.0, 2.0)}, "drawn"),
        ({"data": "drawn", "drawn": (1.0, 2.0, 3.0)}, "drawn"),
    ],
)
def test_data_without_their_setting_name_the_setting(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingError) as caught:
        make(**changes)
    one_sentence(caught.value)
    assert caught.value.field == field


def test_a_path_to_nothing_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        make(data="file", path=str(tmp_path / "nowhere.csv"))
    assert "nowhere.csv" in one_sentence(caught.value)


def test_equal_points_train_without_a_mark_of_entropy(table: Callable[[str], str]) -> None:
    # Every point many times: the density is not finite, and there is no negative entropy to show.
    rows = "\n".join(["1,2", "3,4", "5,1"] * 40)
    engine = make(data="file", path=table(f"a,b\n{rows}"))
    report = dict(engine.step())
    assert math.isfinite(report["K_bits"]) and "negentropy_bits" not in report
    assert vocabulary.check(picture(engine, "process")) == []


def test_an_image_folder_is_trained_on(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    engine = trained(make(**{**IMAGES, "data": "file", "path": str(tmp_path)}), 2)
    for name, figure in engine.figures(NAMES).items():
        assert vocabulary.check(figure) == [], name
    assert marks(picture(engine, "images"), ImageGrid)[0].images.shape[1:] == (6, 6, 3)


def test_every_picture_has_a_title() -> None:
    for engine in (make(), images()):
        assert all(figure.title for figure in engine.figures(NAMES).values())
