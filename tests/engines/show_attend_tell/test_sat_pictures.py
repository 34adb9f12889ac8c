"""What the pictures say of attention, and what the engine says of the hand's edits; CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from engines.figures import Film, Heatmap, ImageGrid
from engines.show_attend_tell.config import (
    ClearEdits,
    GiveCaption,
    GrabGaze,
    PickImage,
    ReplaceWord,
    ShowAttendTellSettings,
)
from engines.show_attend_tell.engine import ShowAttendTellEngine
from engines.show_attend_tell.pictures import SHADE, SHARP, lightness
from tests.engines.handling import copy_of, marks, picture

GRID = (6, 6)


@pytest.fixture
def engine() -> ShowAttendTellEngine:
    """A small engine whose captions are those of its initial weights, which are long."""
    values = {
        "train_size": 24,
        "valid_size": 6,
        "image_size": 48,
        "embedding": 8,
        "state": 12,
        "attention_units": 8,
        "longest": 10,
        "seed": 1,
    }
    return ShowAttendTellEngine(ShowAttendTellSettings.build(values), torch.device("cpu"))


def told(engine: ShowAttendTellEngine, action: Any = None) -> Mapping[str, Any]:
    """The engine's answer."""
    given = engine.act(action or GiveCaption())
    assert given is not None
    return given


def told_edits(engine: ShowAttendTellEngine) -> list[tuple[int, str]]:
    """Place and word of each edit; no word where the gaze was moved."""
    return [(each["place"], each["word"]) for each in told(engine)["edits"]]


# --- shading  ----------


def test_even_attention_leaves_the_image_as_it_is() -> None:
    assert np.array_equal(lightness(np.full((2, 8, 8), 1 / 64)), np.ones((2, 8, 8)))


def test_chance_differences_between_small_weights_are_hardly_seen_and_sharp_attention_is() -> None:
    nearly = np.full((1, 8, 8), 1 / 64)
    nearly[0, 0, 0] *= 1.5
    assert 0.9 < lightness(nearly / nearly.sum()).min() < 1.0
    sharp = np.zeros((1, 8, 8))
    sharp[0, 2, 3], sharp[0, 5, 5] = 0.75, 0.25
    light = lightness(sharp)
    assert light[0, 2, 3] == 1.0 and light[0, 5, 5] == pytest.approx(1 / 3)
    assert np.count_nonzero(light > 1e-12) == 2


def test_a_larger_weight_is_never_darker() -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(36, 0.3), 5).reshape(5, 6, 6)
    for each, light in zip(weights, lightness(weights), strict=True):
        order = np.argsort(each.ravel())
        assert (np.diff(light.ravel()[order]) >= 0).all() and light.max() == 1.0 and light.min() >= 0.0


def test_two_cells_are_no_reason_to_shade_more_than_all() -> None:
    light = lightness(np.array([[[1.0, 0.0]]]))
    assert light.tolist() == [[[1.0, 0.0]]]


def test_the_overlay_is_bright_where_the_gaze_is_and_the_rest_stays_recognisable(
    engine: ShowAttendTellEngine,
) -> None:
    told(engine, GrabGaze(2, cell=(1, 4)))
    pixels = engine.shown_image().astype(float)
    film = picture(engine, "overlay")
    image = marks(film, ImageGrid, frame=2)[0].images[0].astype(float)
    looked, elsewhere = image[8:16, 32:40], image[24:]
    assert np.array_equal(looked, pixels[8:16, 32:40])
    assert np.abs(elsewhere - SHADE * pixels[24:]).max() <= 1.0
    tint = marks(film, Heatmap, frame=2)[0]
    assert tint.limits is not None and tint.limits[0] == pytest.approx(1 / 36), "even attention has no colour"
    assert np.unravel_index(np.argmax(tint.values), GRID) == (1, 4)


def test_the_colour_of_weak_attention_is_weak(engine: ShowAttendTellEngine) -> None:
    # With its initial weights the model looks everywhere alike.
    film = picture(engine, "overlay")
    assert isinstance(film, Film)
    for frame in range(len(film.frames)):
        tint = marks(film, Heatmap, frame=frame)[0]
        assert tint.limits is not None
        low, high = tint.limits
        assert (tint.values.max() - low) / (high - low) < 0.2
        assert high == pytest.approx(SHARP / 36)
        image = marks(film, ImageGrid, frame=frame)[0].images[0].astype(float)
        assert (image >= 0.85 * engine.shown_image() - 1.0).all()


def test_the_film_of_words_carries_its_words(engine: ShowAttendTellEngine) -> None:
    words = told(engine)["new"]["words"]
    film = picture(engine, "overlay")
    assert isinstance(film, Film) and film.time.ticks is not None
    assert tuple(word for _, word in film.time.ticks) == words
    assert [place for place, _ in film.time.ticks] == list(film.times)
    told(engine, ReplaceWord(1, "red"))
    film = picture(engine, "overlay")
    assert isinstance(film, Film) and film.time.ticks is not None and film.time.ticks[1][1] == "red"


# --- edits  ----------


def test_the_answer_says_which_edits_hold(engine: ShowAttendTellEngine) -> None:
    assert told_edits(engine) == []
    painted = np.zeros(GRID)
    painted[0, :2] = 3.0
    told(engine, GrabGaze(1, weights=painted))
    told(engine, ReplaceWord(2, "red"))
    told(engine, GrabGaze(4, cell=(2, 2)))
    told(engine, ReplaceWord(4, "circle"))
    assert told_edits(engine) == [(1, ""), (2, "red"), (4, ""), (4, "circle")]
    edits = told(engine)["edits"]
    assert edits[0]["weights"][0, :2].tolist() == [0.5, 0.5] and edits[1]["weights"] is None
    assert edits[2]["weights"].shape == GRID and edits[2]["weights"][2, 2] == 1.0
    # A gaze that is moved at a word has it written anew; one further in front lets go of all behind it.
    told(engine, GrabGaze(4, cell=(3, 3)))
    assert told_edits(engine) == [(1, ""), (2, "red"), (4, "")]
    told(engine, ReplaceWord(2, "blue"))
    assert told_edits(engine) == [(1, ""), (2, "blue")]
    told(engine, GrabGaze(0, cell=(0, 0)))
    assert told_edits(engine) == [(0, "")]
    told(engine, ReplaceWord(0, "red"))
    told(engine, PickImage(1))
    assert told_edits(engine) == []


def test_edits_are_in_the_keyframe_and_cleared_at_once(engine: ShowAttendTellEngine) -> None:
    # The word that the model writes there by itself: nothing but the answer says that it was put in.
    own = told(engine)["new"]["words"][1]
    told(engine, GrabGaze(0, cell=(1, 2)))
    told(engine, ReplaceWord(1, own))
    again = copy_of(engine)
    assert told_edits(again) == told_edits(engine) == [(0, ""), (1, own)]
    assert again.act(ClearEdits())["edits"] == ()  # type: ignore[index]
