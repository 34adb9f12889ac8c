"""The DRAW engine as a worker uses it: pictures, live changes, requests of the hand, keyframes, own data; CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines import figures as vocabulary
from engines.draw import engine as draw_engine
from engines.draw.config import (
    METHOD,
    DrawSettings,
    FanOut,
    GiveHand,
    HoldBrush,
    LetGo,
    OwnImage,
    PickImage,
    Probe,
)
from engines.draw.engine import DrawEngine
from engines.draw.filterbank import Geometry, Window, glimpse, spread
from engines.draw.material import classes_of
from engines.draw.pictures import nearest
from engines.errors import DataError, InputError, SettingError
from engines.figures import Bars, Boxes, Film, ImageGrid, Lines, Panels
from engines.method import Action
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
    "glimpses": 4,
    "read_n": 3,
    "write_n": 3,
    "hidden": 8,
    "latent": 3,
    "batch": 8,
    "step_size": 1e-3,
    "binarisation": "means",
    "steps": 100,
    "evaluate_every": 5,
    "importance": 3,
    "shown": 6,
    "followed": 2,
}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "digits": {},
    "drawn anew": {"binarisation": "drawn"},
    "whole, twin": {"attention": False, "twin": True},
    "canvas": {"data": "two_digits", "canvas": 32, "binarisation": "threshold"},
    "classify": {"task": "classify"},
    "clutter": {"task": "classify", "data": "cluttered_digits", "canvas": 32},
    "colour": {"data": "file", "twin": True},
}
NAMES = METHOD.figure_names()


def make(**changes: Any) -> DrawEngine:
    """A small engine on the CPU."""
    return DrawEngine(DrawSettings.build({**TINY, **changes}), torch.device("cpu"))


@pytest.fixture
def colour(tmp_path: Path) -> str:
    """A file of small colour pictures that are not square."""
    path = tmp_path / "pictures.npz"
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 9, 3), dtype=np.uint8)
    np.savez(path, images=images)
    return str(path)


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def engine(request: pytest.FixtureRequest, colour: str) -> DrawEngine:
    """An engine of each kind, a few updates old."""
    changes = dict(request.param)
    if changes.get("data") == "file":
        changes["path"] = colour
    return trained(make(**changes), 3)


def act(engine: DrawEngine, action: Action) -> Mapping[str, Any]:
    """The answer to a request that has one."""
    answer = engine.act(action)
    assert answer is not None
    return answer


# --- pictures  ----------


def test_every_picture_is_whole_repeats_itself_and_does_not_touch_training(engine: DrawEngine) -> None:
    twin = copy_of(engine)
    before = everything(engine)
    first = engine.figures(NAMES)
    check_whole(first, NAMES)
    assert everything(engine) == before
    again = engine.figures(NAMES)
    assert all(same(first[name], again[name]) for name in NAMES)
    trained(engine, 3)
    trained(twin, 3)
    assert everything(engine) == everything(twin)
    moving = "glimpses" if engine.config.task == "classify" else "canvas"
    assert not same(first[moving], picture(engine, moving))


def test_only_the_pictures_asked_for_are_made() -> None:
    engine = make()
    assert set(engine.figures(["terms", "probe"])) == {"terms", "probe"}
    assert engine.figures([]) == {}


def test_pictures_belong_to_their_task() -> None:
    drawing, classifying = make(), make(task="classify")
    for name in NAMES:
        shown = not vocabulary.is_empty(picture(drawing, name))
        assert shown == (name not in ("glimpses", "twins"))
        shown = not vocabulary.is_empty(picture(classifying, name))
        assert shown == (name in ("glimpses", "probe"))


def test_the_canvas_is_shown_stroke_by_stroke_with_both_windows() -> None:
    engine = trained(make(), 2)
    film = picture(engine, "canvas")
    assert isinstance(film, Film)
    assert list(film.times) == [0, 1, 2, 3, 4] and film.start == 4
    x = engine.followed(2)
    noise = engine.model.shape.glimpses
    for frame in range(noise + 1):
        boxes = [marks(film, Boxes, plot, frame) for plot in range(3)]
        assert [len(group) for group in boxes] == [2, 2, 2]
        assert all(len(box.x) == (frame > 0) for group in boxes for box in group)
        assert {box.role for box in boxes[0]} == {"target"}
        assert {box.role for box in boxes[1] + boxes[2]} == {"warning"}
    shown = marks(film, ImageGrid, 0, 2)[0].images
    assert np.allclose(shown, x.reshape(2, 8, 8).numpy())
    first = torch.sigmoid(engine.model.first_canvas).detach().reshape(8, 8).numpy()
    assert np.allclose(marks(film, ImageGrid, 1, 0)[0].images[0], first)
    assert not np.allclose(marks(film, ImageGrid, 1, 4)[0].images[0], first, atol=1e-3)


def test_boxes_are_thicker_where_filters_are_wider() -> None:
    engine = make()
    thin = marks(picture(engine, "canvas"), Boxes, 1)[0].line_width
    with torch.no_grad():
        engine.model.head_bias[7] += math.log(4.0)
    thick = marks(picture(engine, "canvas"), Boxes, 1)[0].line_width
    assert thick - thin == pytest.approx(1.0, abs=0.2)


def test_a_long_drawing_is_shown_in_few_frames_with_both_ends() -> None:
    film = picture(make(glimpses=60), "samples")
    assert isinstance(film, Film)
    assert len(film.frames) <= 41 and film.times[0] == 0 and film.times[-1] == 60


def test_beside_each_sample_stands_the_nearest_training_picture() -> None:
    engine = trained(make(), 2)
    film = picture(engine, "samples")
    ends, neighbours = (marks(film, ImageGrid, plot)[0].images.reshape(6, -1) for plot in (0, 1))
    train = engine.data.train.numpy() / 16.0
    for end, neighbour in zip(ends, neighbours, strict=True):
        distances = ((train - end) ** 2).sum(1)
        assert ((neighbour - end) ** 2).sum() == pytest.approx(distances.min(), rel=1e-4)
    trained_on = engine.data.grey(engine.data.train[5:6])
    assert torch.equal(nearest(engine, trained_on), trained_on)


def test_fewer_samples_are_the_first_of_more_and_cold_ones_are_all_alike() -> None:
    engine = trained(make(), 2)
    many = marks(picture(engine, "samples"), ImageGrid)[0].images
    engine.apply({"shown": 2})
    assert np.allclose(marks(picture(engine, "samples"), ImageGrid)[0].images, many[:2], atol=1e-6)
    engine.apply({"temperature": 0.0})
    cold = marks(picture(engine, "samples"), ImageGrid)[0].images
    assert np.allclose(cold[0], cold[1], atol=1e-6) and not np.allclose(many[0], many[1], atol=1e-4)


def test_the_bars_sum_to_the_bound() -> None:
    engine = trained(make(), 4)
    figure = picture(engine, "terms")
    steps, both = marks(figure, Bars, 0)[0], marks(figure, Bars, 1)[0]
    scalars = dict(engine.step())
    assert list(steps.x) == [1, 2, 3, 4]
    assert float(steps.height.sum()) == pytest.approx(both.height[1])
    assert "bound_nats" in scalars
    assert float(marks(picture(engine, "terms"), Bars, 1)[0].height.sum()) == pytest.approx(
        scalars["bound_nats"]
    )


def test_the_error_over_glimpses_ends_with_the_error() -> None:
    engine = trained(make(task="classify"), 5)
    line = marks(picture(engine, "glimpses"), Lines, plot=2)[0]
    assert list(line.x) == [1, 2, 3, 4]
    assert float(line.y[-1]) == pytest.approx(float(engine.errors(256)[0][-1]))


# --- training, keyframes  ----------


def test_a_step_reports_finite_scalars_and_the_bound_at_its_turn() -> None:
    engine = make(twin=True)
    reports = [dict(engine.step()) for _ in range(10)]
    assert all(math.isfinite(value) for report in reports for value in report.values())
    assert [i + 1 for i, report in enumerate(reports) if "bound_nats" in report] == [1, 5, 10]
    for report in reports:
        assert report["loss_nats"] == pytest.approx(report["reconstruction_nats"] + report["kl_nats"])
        assert "twin_loss_nats" in report
    assert reports[4]["attention_nats"] == reports[4]["bound_nats"]
    assert reports[4]["whole_nats"] == reports[4]["twin_bound_nats"]


@pytest.mark.parametrize("attention", [True, False], ids=["attention", "whole"])
def test_training_lowers_the_bound_on_held_out_pictures(attention: bool) -> None:
    sizes = {"read_n": 5, "write_n": 5, "hidden": 24, "latent": 6}
    changes = {"binarisation": "threshold", "step_size": 0.01, "batch": 32, "evaluate_every": 999}
    engine = make(attention=attention, **sizes, **changes)
    before = engine.bound().nats
    trained(engine, 120)
    assert engine.bound().nats < before - 0.8


def test_training_lowers_the_classifiers_error() -> None:
    engine = make(
        task="classify", read_n=8, glimpses=2, hidden=32, step_size=0.01, batch=64, evaluate_every=999
    )
    trained(engine, 60)
    assert engine.errors(300)[0][-1] < 30


def test_noise_is_drawn_anew_for_every_step_picture_and_update() -> None:
    learner = make().learner
    assert learner is not None
    generator = torch.Generator().manual_seed(0)
    first, second = learner.model.noise(5, generator), learner.model.noise(5, generator)
    rows = torch.cat([first, second]).flatten(0, 1)
    assert first.shape == (4, 5, 3)
    assert len(rows.unique(dim=0)) == len(rows)


def test_the_twin_does_not_change_the_run_and_sees_the_same_batches() -> None:
    alone, both = trained(make(), 4), trained(make(twin=True), 4)
    for one, other in zip(alone.model.parameters(), both.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert both.twin is not None and not both.twin.model.shape.attention
    # Trained by itself on those batches the twin's loss would be of the same pictures: at first both know nothing.
    report = dict(make(twin=True, attention=False).step())
    assert report["twin_loss_nats"] == pytest.approx(report["loss_nats"], rel=0.1)


def test_a_keyframe_continues_bit_for_bit(engine: DrawEngine) -> None:
    other = copy_of(engine)
    for _ in range(4):
        assert dict(engine.step()) == dict(other.step())
    assert everything(engine) == everything(other)
    assert all(same(engine.figures([name])[name], other.figures([name])[name]) for name in NAMES)


def test_a_keyframe_holds_the_hand() -> None:
    engine = trained(make(), 2)
    paint = np.full((8, 8), np.nan)
    paint[2:4, 3] = 1.0
    engine.act(PickImage(7))
    engine.act(OwnImage(np.eye(16)))
    engine.act(Probe(3.0, 4.0, 1.5, 0.7, 4, 2.0))
    engine.act(HoldBrush(2, "picture", 0, (3.0, 3.0, 1.0, 0.5), 3, paint))
    engine.act(FanOut(3, 1, 5))
    assert engine.is_finite()
    other = copy_of(engine)
    for name in ("canvas", "probe", "held", "fan"):
        assert same(picture(engine, name), picture(other, name)), name
        assert not same(picture(engine, name), picture(copy_of(trained(make(), 2)), name)), name


def test_live_settings_take_effect_at_the_next_step() -> None:
    engine, other = trained(make(), 2), trained(make(), 2)
    other.apply({"step_size": 1e-6})
    before = [p.clone() for p in other.model.parameters()]
    engine.step()
    assert dict(other.step())["step_size"] == 1e-6
    moved = max(
        float((p - b).detach().abs().max()) for p, b in zip(other.model.parameters(), before, strict=True)
    )
    assert moved < 1e-5
    assert not torch.equal(engine.model.encoder, other.model.encoder)
    other.apply({"batch": 3, "clip": 1e-3})
    assert other.step()["gradient_norm"] > 1e-3


def test_the_gradient_is_shortened_before_adam_sees_it() -> None:
    free, clipped = make(clip=0.0), make(clip=1e-6)
    free.step()
    clipped.step()
    assert clipped.learner is not None and free.learner is not None

    def first_moments(learner: Any) -> float:
        state = learner.optimizer.state
        return math.sqrt(sum(float(state[p]["exp_avg"].square().sum()) for p in learner.parameters))

    assert first_moments(clipped.learner) == pytest.approx(0.1 * 1e-6, rel=1e-3)
    assert first_moments(free.learner) > 1e-3


def test_a_summary_tells_what_the_pixels_are() -> None:
    summary = trained(make(), 2).summary()
    assert summary["pixels"] == "Bernoulli means"
    assert summary["bound_nats"] == pytest.approx(summary["reconstruction_nats"] + summary["kl_nats"])
    assert make(binarisation="fixed").summary()["pixels"] == "binary"
    assert 0 <= make(task="classify").summary()["error_percent"] <= 100


def test_a_summary_tells_on_how_many_pictures_and_drawings_each_bound_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = trained(make(), 2)
    whole = engine.summary()
    assert whole["held_out_pictures"] == whole["importance_pictures"] == len(engine.data.test)
    assert whole["importance_samples"] == 3 and whole["importance_nats"] < whole["bound_nats"]
    # So many passes as 240 pictures take: K drawings of each leave a K-th of them.
    monkeypatch.setattr(draw_engine, "SUMMARY_PASSES", 240 * 4 * (64 + 8 * 8))
    fewer = engine.summary()
    assert (fewer["held_out_pictures"], fewer["importance_pictures"]) == (240, 80)
    for name in ("bound_error_nats", "importance_error_nats"):
        assert 0 < whole[name] < fewer[name]


def test_held_out_pictures_are_shuffled_and_keep_their_classes() -> None:
    data = make(task="classify").data
    assert data.dataset.test_labels is not None and data.test_labels is not None
    before = [
        (image.tobytes(), int(label))
        for image, label in zip(data.dataset.test, data.dataset.test_labels, strict=True)
    ]
    after = [
        (image.numpy().tobytes(), int(label))
        for image, label in zip(data.test, data.test_labels, strict=True)
    ]
    assert after != before and sorted(after) == sorted(before)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_windows_begin_as_large_as_the_setting_says(share: float) -> None:
    model = make(first_window=share, read_n=4, write_n=2, twin=True).model
    nothing = torch.zeros((1, model.shape.hidden))
    for window, n in ((model.read_window(nothing), 4), (model.write_window(nothing), 2)):
        assert window is not None
        # From the first filter to the last; over the whole picture they lie on its outer pixels.
        assert float(window.delta.detach() * (n - 1)) == pytest.approx(share * 7)
        assert float(window.g_x.detach()) == float(window.g_y.detach()) == 4.5


# --- the hand  ----------


def test_the_probe_reads_and_writes_through_the_papers_filters() -> None:
    engine = make()
    answer = act(engine, Probe(3.7, 5.1, 1.4, 0.6, 4, 2.0))
    x = engine.data.pictures(engine.picked())
    window = Window(*(torch.tensor([value]) for value in (3.7, 5.1, 1.4, 0.6, 2.0)))
    f_y, f_x = Geometry(8, 8, 4).banks(window)
    seen = glimpse(x, f_y, f_x)
    assert np.allclose(answer["glimpse"], 2.0 * seen[0, :, 0].numpy(), atol=1e-6)
    assert np.allclose(answer["written"], spread(seen, f_y, f_x)[0, :, 0].numpy(), atol=1e-6)
    assert answer["f_x"].shape == answer["f_y"].shape == (4, 8)
    box = marks(picture(engine, "probe"), Boxes)[0]
    assert box.role == "hand"
    assert float(box.x[0]) == pytest.approx(3.7 - 0.5 - 1.5 * 1.4 - 0.6, abs=1e-5)


def test_one_whole_picture_comes_back_from_a_grid_on_every_pixel() -> None:
    engine = make()
    answer = act(engine, Probe(4.5, 4.5, 1.0, 0.01, 8))
    assert np.allclose(answer["written"], engine.picked().reshape(8, 8).numpy(), atol=1e-6)


def test_a_held_window_changes_the_drawing_from_its_step_on() -> None:
    engine = trained(make(), 3)
    answer = act(engine, HoldBrush(2, index=1, window=(6.0, 6.0, 0.8, 0.5)))
    before, after = answer["before"], answer["after"]
    assert before.shape == after.shape == (5, 8, 8)
    assert np.array_equal(before[:2], after[:2])
    assert all(not np.allclose(before[t], after[t], atol=1e-5) for t in (2, 3, 4))
    film = picture(engine, "held")
    assert isinstance(film, Film)
    roles = [
        [box.role for box in marks(film, Boxes, plot=1, frame=frame) if len(box.x)] for frame in range(5)
    ]
    assert roles == [[], ["warning"], ["hand"], ["warning"], ["warning"]]
    assert np.allclose(marks(film, ImageGrid, plot=1, frame=4)[0].images[0], after[4])
    longer = act(engine, HoldBrush(2, index=1, window=(6.0, 6.0, 0.8, 0.5), last=4))["after"]
    assert np.allclose(longer[2], after[2]) and not np.allclose(longer[3], after[3], atol=1e-5)


def test_paint_stays_on_a_sample_and_is_answered_when_a_picture_is_drawn_again() -> None:
    engine = trained(make(), 3)
    paint = np.full((8, 8), np.nan)
    paint[1, 2:5] = 1.0
    sample = act(engine, HoldBrush(1, paint=paint))
    assert (sample["after"][1][1, 2:5] > 0.94).all()
    untouched = np.isnan(paint)
    assert np.allclose(sample["after"][4][untouched], sample["before"][4][untouched])
    again = act(engine, HoldBrush(1, "picture", paint=paint))
    assert np.array_equal(again["after"][1][untouched], again["before"][1][untouched])
    assert not np.array_equal(again["after"][4][untouched], again["before"][4][untouched])
    still = vocabulary.at(picture(engine, "held"))
    assert isinstance(still, Panels) and len(still.plots) == 3


def test_the_brush_is_given_back() -> None:
    engine = trained(make(), 2)
    plain = picture(engine, "held")
    engine.act(HoldBrush(1, window=(3.0, 3.0, 1.0, 0.4)))
    assert not same(picture(engine, "held"), plain)
    assert engine.act(LetGo()) is None
    assert same(picture(engine, "held"), plain)


def test_a_fan_shares_its_beginning_and_differs_after_its_step() -> None:
    engine = trained(make(), 3)
    answer = act(engine, FanOut(3, index=2, endings=5))
    assert answer["endings"].shape == (5, 8, 8)
    film = picture(engine, "fan")
    for frame in range(5):
        images = marks(film, ImageGrid, frame=frame)[0].images
        alike = np.allclose(images, images[:1], atol=1e-6)
        assert alike == (frame < 3)
    sample = marks(picture(engine, "samples"), ImageGrid)[0].images[2]
    assert np.allclose(answer["endings"][0], sample, atol=1e-6)


def test_another_draw_of_a_fan_has_other_endings_and_the_same_draw_the_same() -> None:
    engine = trained(make(), 3)
    first, anew = (act(engine, FanOut(2, 1, 5, draw=draw))["endings"] for draw in (0, 1))
    assert np.allclose(anew[0], first[0], atol=1e-6), "the first ending is the drawing itself"
    # No ending of one draw is among those of the other.
    apart = np.abs(first[1:, None] - anew[None, 1:]).max((2, 3))
    assert apart.min() > 1e-4
    assert np.array_equal(act(engine, FanOut(2, 1, 5, draw=0))["endings"], first)
    more = act(engine, FanOut(2, 1, 9))["endings"]
    assert len(more) == 9 and np.allclose(more[0], first[0], atol=1e-6)


def test_a_fan_at_temperature_0_has_one_ending() -> None:
    engine = trained(make(temperature=0.0), 3)
    endings = act(engine, FanOut(2, 0, 5))["endings"]
    assert np.allclose(endings, endings[:1], atol=1e-6)


def test_the_hand_is_told_as_it_was_asked_and_comes_back_with_a_keyframe() -> None:
    engine = trained(make(), 2)
    nothing = act(engine, GiveHand())
    assert nothing == {"image": 0, "own": None, "probe": None, "brush": None, "fan": None}
    paint = np.full((8, 8), np.nan, np.float32)
    paint[2:4, 3] = 1.0
    brush = HoldBrush(2, "picture", 0, (3.0, 3.0, 1.0, 0.5), 3, paint)
    probe, fan = Probe(3.0, 4.0, 1.5, 0.7, 4, 2.0), FanOut(3, 1, 5, 2)
    engine.act(PickImage(7))
    shown = act(engine, OwnImage(np.eye(16)))["image"]
    for action in (probe, brush, fan):
        engine.act(action)
    before = everything(engine)
    for told in (act(engine, GiveHand()), act(copy_of(engine), GiveHand())):
        assert (told["image"], told["probe"], told["fan"]) == (7, probe, fan)
        # What is told can be given again: the same picture is the answer.
        assert np.allclose(told["own"], shown)
        assert np.allclose(act(engine, OwnImage(told["own"]))["image"], shown, atol=1 / 255)
        held = told["brush"]
        assert (held.step, held.of, held.index, held.last) == (2, "picture", 0, 3)
        assert held.window == pytest.approx((3.0, 3.0, 1.0, 0.5))
        assert np.array_equal(held.paint, paint, equal_nan=True)
    engine.act(OwnImage(np.eye(16)))
    engine.act(GiveHand())
    assert everything(engine) == before, "a question changes nothing"
    engine.act(LetGo())
    engine.act(PickImage(3))
    after = act(engine, GiveHand())
    assert (after["image"], after["own"], after["brush"]) == (3, None, None)
    assert (after["probe"], after["fan"]) == (probe, fan)


def test_an_own_picture_stands_first_and_is_drawn_again() -> None:
    engine = trained(make(), 2)
    own = np.zeros((40, 64), np.uint8)
    own[:, 27:37] = 255
    shown = act(engine, OwnImage(own))["image"]
    # The middle of it, scaled to the data's size.
    assert shown.shape == (8, 8) and np.allclose(shown[0], shown[7]) and shown[0, 3:5].min() == 1.0
    assert shown[:, 0].max() == 0.0
    film = picture(engine, "canvas")
    assert np.allclose(marks(film, ImageGrid, 0)[0].images[0], shown)
    held_out = act(engine, OwnImage(None))["image"]
    assert np.allclose(held_out, engine.held_out(1).reshape(8, 8).numpy())
    assert np.allclose(act(engine, PickImage(-1))["image"], engine.data.grey(engine.data.test[-1]).view(8, 8))


def test_a_picked_picture_keeps_its_ink_wherever_it_stands() -> None:
    engine = make(binarisation="drawn")
    second = engine.followed(3)[1]
    engine.act(PickImage(1))
    assert torch.equal(engine.picked()[0], second)
    assert set(second.tolist()) <= {0.0, 1.0}


def test_colour_is_painted_and_shown_in_colour(colour: str) -> None:
    engine = trained(make(data="file", path=colour), 1)
    paint = np.full((6, 9, 3), np.nan)
    paint[2, 3] = (1.0, 0.0, 0.5)
    after = act(engine, HoldBrush(4, paint=paint))["after"]
    assert after.shape == (5, 6, 9, 3)
    assert np.allclose(after[4, 2, 3], (0.95, 0.05, 0.5), atol=1e-3)
    shown = act(engine, PickImage(2))["image"]
    held_out = engine.data.dataset.test.transpose(0, 2, 3, 1) / 255.0
    assert np.isclose(shown, held_out, atol=1e-6).all((1, 2, 3)).sum() == 1


def test_the_hand_does_not_touch_training() -> None:
    engine, other = trained(make(), 2), trained(make(), 2)
    for action in (
        PickImage(3),
        OwnImage(np.ones((9, 9))),
        Probe(2.0, 2.0, 1.0, 1.0, 3),
        HoldBrush(1, window=(3.0, 3.0, 1.0, 0.4)),
        FanOut(2),
    ):
        engine.act(action)
    engine.figures(NAMES)
    for _ in range(3):
        assert dict(engine.step()) == dict(other.step())


NAN = float("nan")
REFUSED: Mapping[str, Action] = {
    "step 0": HoldBrush(0),
    "step beyond": FanOut(5),
    "no endings": FanOut(1, endings=0),
    "too many endings": FanOut(1, endings=1000),
    "last before step": HoldBrush(3, last=2),
    "window nowhere": HoldBrush(1, window=(NAN, 1.0, 1.0, 1.0)),
    "window without stride": HoldBrush(1, window=(1.0, 1.0, 0.0, 1.0)),
    "window far away": HoldBrush(1, window=(1e9, 1.0, 1.0, 1.0)),
    "paint of another size": HoldBrush(1, paint=np.zeros((3, 3))),
    "paint too bright": HoldBrush(1, paint=np.full((8, 8), 2.0)),
    "probe nowhere": Probe(NAN, 1.0, 1.0, 1.0, 3),
    "probe without filters": Probe(1.0, 1.0, 1.0, 1.0, 0),
    "probe without width": Probe(1.0, 1.0, 1.0, 0.0, 3),
    "no picture": OwnImage(np.zeros(5)),
    "empty picture": OwnImage(np.zeros((0, 4))),
    "picture too bright": OwnImage(np.full((4, 4), 7.0)),
    "picture of words": OwnImage(np.array([["a", "b"], ["c", "d"]])),
}


@pytest.mark.parametrize("action", REFUSED.values(), ids=REFUSED.keys())
def test_a_request_that_cannot_be_met_is_refused_in_one_sentence(action: Action) -> None:
    engine = make()
    before = everything(engine)
    with pytest.raises(InputError) as caught:
        engine.act(action)
    one_sentence(caught.value)
    assert everything(engine) == before


def test_without_attention_there_is_no_window_to_hold() -> None:
    with pytest.raises(InputError) as caught:
        make(attention=False).act(HoldBrush(1, window=(1.0, 1.0, 1.0, 1.0)))
    assert "attention" in one_sentence(caught.value)


def test_a_classifier_has_no_brush() -> None:
    engine = make(task="classify")
    for action in (HoldBrush(1), FanOut(1)):
        with pytest.raises(InputError) as caught:
            engine.act(action)
        assert "classifies" in one_sentence(caught.value)
    assert act(engine, Probe(2.0, 2.0, 1.0, 1.0, 3))["glimpse"].shape == (3, 3)


# --- data  ----------


def test_grey_levels_are_what_the_setting_says() -> None:
    engines = {kind: make(binarisation=kind) for kind in ("threshold", "fixed", "drawn", "means")}
    batches = {
        kind: [
            engine.data.batch(64, 0, torch.Generator(), torch.Generator().manual_seed(i))[0] for i in (1, 2)
        ]
        for kind, engine in engines.items()
    }
    grey = batches["means"][0]
    assert 0 < float(((grey > 0) & (grey < 1)).float().mean())
    for kind in ("threshold", "fixed", "drawn"):
        assert set(batches[kind][0].unique().tolist()) == {0.0, 1.0}
        assert torch.equal(*batches[kind]) == (kind != "drawn")
    assert torch.equal(batches["threshold"][0], (grey >= 0.5).float())
    ink = torch.stack(
        [
            engines["drawn"].data.prepared(engines["drawn"].data.test[:50], torch.Generator().manual_seed(i))
            for i in range(400)
        ]
    )
    assert float((ink.mean(0) - engines["means"].held_out(50)).abs().max()) < 0.15


def test_fresh_canvases_differ_from_batch_to_batch_and_come_again_after_a_rewind() -> None:
    engine = make(data="two_digits", canvas=32)
    order, ink = torch.Generator(), torch.Generator()
    first, second = (engine.data.batch(4, number, order, ink)[0] for number in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, engine.data.batch(4, 0, order, ink)[0])
    assert make(data="two_digits", canvas=32, fresh=False).data.source is None


def test_classes_of_fresh_canvases_are_those_of_the_data_set() -> None:
    engine = make(data="two_digits", canvas=32, task="classify")
    source = engine.data.source
    labels = engine.data.dataset.train_labels
    assert source is not None and labels is not None
    made = source.first(200)
    assert np.array_equal(classes_of(made.labels).numpy(), labels[:200])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"data": "file"}, "path"),
        ({"task": "classify", "data": "binarized_mnist"}, "data"),
        ({"glimpses": 0}, "glimpses"),
    ],
    ids=["no file", "no classes", "no glimpses"],
)
def test_a_bad_setting_gets_one_sentence(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingError) as caught:
        make(**changes)
    assert caught.value.field == field
    one_sentence(caught.value)


def test_points_and_pictures_without_classes_are_refused(tmp_path: Path, colour: str) -> None:
    table = tmp_path / "points.csv"
    table.write_text("x,y\n" + "\n".join(f"{i},{i * i}" for i in range(30)), encoding="utf-8")
    for changes in ({"path": str(table)}, {"path": colour, "task": "classify"}):
        with pytest.raises(DataError) as caught:
            make(data="file", **changes)
        one_sentence(caught.value)


def test_a_folder_of_pictures_is_scaled_to_the_wanted_side(tmp_path: Path) -> None:
    from PIL import Image

    generator = np.random.default_rng(0)
    for index in range(20):
        pixels = generator.integers(0, 256, (30, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    engine = trained(make(data="file", path=str(tmp_path), size=12), 1)
    assert engine.data.picture == (1, 12, 12)


@pytest.mark.parametrize("preset", METHOD.presets, ids=lambda preset: preset.id)
def test_every_preset_is_valid(preset: Any) -> None:
    settings = DrawSettings.build(dict(preset.values))
    assert settings.steps > 0


def test_data_describe_themselves() -> None:
    description = make().data_description()
    assert description["name"] == "digits" and description["digest"] and description["licence"]
