"""Drawn scenes: what is said is what is there, and the masks show where."""

from __future__ import annotations

import colorsys
import itertools
import pickle

import numpy as np
import pytest

from engines.data import scenes
from engines.data.captions import CaptionSet, drawn_scenes
from engines.errors import DataError

NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4}
PLURALS = {shape + ("es" if shape == "cross" else "s"): shape for shape in scenes.SHAPES}
PLACES = {
    "left": lambda a, b: a[0] < b[0],
    "right": lambda a, b: a[0] > b[0],
    "above": lambda a, b: a[1] < b[1],
    "over": lambda a, b: a[1] < b[1],
    "below": lambda a, b: a[1] > b[1],
    "under": lambda a, b: a[1] > b[1],
}


@pytest.fixture(scope="module")
def drawn() -> CaptionSet:
    return drawn_scenes(seed=3, train_size=240, valid_size=60, held_out_size=60)


def _scenes(data: CaptionSet) -> tuple[scenes.Scene, ...]:
    return data.masks.scenes


def _nouns(caption: tuple[str, ...]) -> list[tuple[int, str, str | None, str | None]]:
    """(number, shape, colour, size) of each group in a caption, parsed from its words alone."""
    found = []
    start = 0
    for place, word in enumerate(caption):
        shape = PLURALS.get(word, word)
        if shape not in scenes.SHAPES:
            continue
        before = caption[start:place]
        start = place + 1
        after = caption[place + 1 :] if "that" in caption else ()
        near = [*before, *after]
        numbers = [NUMBERS[w] for w in before if w in NUMBERS]
        number = numbers[-1]
        assert (number > 1) == (word in PLURALS)
        found.append(
            (
                number,
                shape,
                next((w for w in near if w in scenes.COLOURS), None),
                next((w for w in near if w in scenes.SIZES), None),
            )
        )
    return found


def test_captions_name_what_the_scene_holds(drawn: CaptionSet) -> None:
    for scene, captions in zip(_scenes(drawn), drawn.captions, strict=True):
        truth = [(len(g.centres), g.shape, g.colour, g.size) for g in scene.groups]
        for caption in captions:
            nouns = _nouns(caption)
            assert len(nouns) == len(truth)
            for noun in nouns:
                assert (
                    sum(all(n in (None, t) for n, t in zip(noun, group, strict=True)) for group in truth) == 1
                )


def test_relations_hold_between_all_objects(drawn: CaptionSet) -> None:
    seen = set()
    for scene, captions in zip(_scenes(drawn), drawn.captions, strict=True):
        for caption in captions:
            word = next((w for w in caption if w in PLACES or w in ("inside", "around")), None)
            if word is None:
                continue
            seen.add(word)
            first, second = (
                next(g for g in scene.groups if (g.shape, g.colour) == noun[1:3]) for noun in _nouns(caption)
            )
            if word in PLACES:
                assert all(PLACES[word](a, b) for a in first.centres for b in second.centres), caption
            else:
                inner, outer = (first, second) if word == "inside" else (second, first)
                away = np.hypot(*np.subtract(inner.centres[0], outer.centres[0]))
                assert outer.shape == "ring" and away + inner.radius < outer.radius
    assert seen == {*PLACES, "inside", "around"}


def test_an_article_fits_the_word_after_it(drawn: CaptionSet) -> None:
    for captions in drawn.captions:
        for caption in captions:
            for article, word in itertools.pairwise(caption):
                if article in ("a", "an"):
                    assert (article == "an") == (word[0] in "aeiou")


def test_each_scene_has_five_different_captions(drawn: CaptionSet) -> None:
    assert all(len(set(captions)) == scenes.CAPTIONS == 5 for captions in drawn.captions)


def test_the_vocabulary_is_small_and_goes_by_frequency(drawn: CaptionSet) -> None:
    vocabulary = drawn.vocabulary(1000)
    assert 40 < len(vocabulary) < 60
    counts = [sum(c.count(w) for i in drawn.splits["train"] for c in drawn.captions[i]) for w in vocabulary]
    assert counts == sorted(counts, reverse=True) and counts[-1] > 0
    assert drawn.vocabulary(7) == vocabulary[:7]


def test_held_out_pairs_are_in_each_held_out_scene_and_nowhere_else(drawn: CaptionSet) -> None:
    for name, indices in drawn.splits.items():
        for index in indices:
            pairs = {(g.colour, g.shape) for g in _scenes(drawn)[index].groups}
            assert bool(pairs & scenes.HELD_OUT) == (name == "held_out")


def test_each_colour_and_shape_of_a_held_out_pair_is_trained_in_other_company() -> None:
    rest = {(c, s) for c in scenes.COLOURS for s in scenes.SHAPES} - scenes.HELD_OUT
    assert {c for c, _ in rest} == set(scenes.COLOURS) and {s for _, s in rest} == set(scenes.SHAPES)
    assert {s for _, s in scenes.HELD_OUT} == set(scenes.SHAPES)


def test_splits_are_apart_and_cover_all(drawn: CaptionSet) -> None:
    joined = np.concatenate([drawn.splits[name] for name in ("train", "valid", "held_out")])
    np.testing.assert_array_equal(np.sort(joined), np.arange(len(drawn)))


def _hue(colour: np.ndarray) -> float:
    return colorsys.rgb_to_hsv(*(np.asarray(colour, float) / 255))[0]


def test_masks_cover_pixels_of_the_colour_that_is_named(drawn: CaptionSet) -> None:
    # The rim is darker and edges are mixed with paper, which is grey: hues stay.
    hues = {name: _hue(colour) for name, colour in scenes.COLOURS.items()}
    checked = 0
    for index in range(0, len(drawn), 4):
        for place, word in enumerate(drawn.captions[index][0]):
            if word not in scenes.COLOURS:
                continue
            mask, kind = drawn.masks(index, 0, place)
            assert kind == "colour" and mask.dtype == bool and mask.shape == drawn.size
            for pixel in drawn.image(index)[mask]:
                away = {name: abs((_hue(pixel) - hue + 0.5) % 1 - 0.5) for name, hue in hues.items()}
                assert min(away, key=away.get) == word, (index, word, pixel)
            checked += 1
    assert checked > 60


def test_masks_of_all_groups_are_apart_and_leave_only_paper(drawn: CaptionSet) -> None:
    for index, scene in enumerate(_scenes(drawn)):
        masks = [scenes.mask(group, 64) for group in scene.groups]
        assert sum(m.astype(int) for m in masks).max() == 1
        covered = np.logical_or.reduce(masks)
        # Only soft edges and the tips of moons differ from the paper, too.
        grown = covered.copy()
        for down in range(-3, 4):
            for right in range(-3, 4):
                grown |= np.roll(covered, (down, right), (0, 1))
        assert (drawn.image(index)[~grown] == scene.paper).all()
        assert not covered[[0, -1]].any() and not covered[:, [0, -1]].any()


def _pieces(mask: np.ndarray) -> int:
    from scipy.ndimage import label

    return int(label(mask, np.ones((3, 3)))[1])


def test_a_mask_has_as_many_pieces_as_the_number_says(drawn: CaptionSet) -> None:
    numbers = {"two": 2, "three": 3, "four": 4}
    seen = set()
    for index, captions in enumerate(drawn.captions):
        for place, word in enumerate(captions[0]):
            if word in numbers:
                mask, kind = drawn.masks(index, 0, place)
                assert kind == "number" and _pieces(mask) == numbers[word]
                seen.add(word)
    assert seen == set(numbers)


def test_the_kinds_of_words_are_known(drawn: CaptionSet) -> None:
    for index in range(60):
        for number, caption in enumerate(drawn.captions[index]):
            for place, word in enumerate(caption):
                found = drawn.masks(index, number, place)
                if word in PLACES or word in ("inside", "around"):
                    assert found is not None and found[1] == "relation"
                    assert _pieces(found[0]) == sum(len(g.centres) for g in _scenes(drawn)[index].groups)
                elif word in scenes.SHAPES or word in PLURALS:
                    assert found is not None and found[1] == "object"
                elif word in scenes.SIZES:
                    assert found is not None and found[1] == "size"
                elif word in ("a", "an", "of", "there", "is", "are", "and", "to", "the", "that", "picture"):
                    assert found is None
            assert drawn.masks(index, number, len(caption)) is None


def test_small_and_large_cannot_be_confused(drawn: CaptionSet) -> None:
    areas: dict[str, list[int]] = {"small": [], "large": []}
    for scene in _scenes(drawn):
        for group in scene.groups:
            areas[group.size].append(int(scenes.mask(group, 64).sum()) // len(group.centres))
    assert 1.5 * max(areas["small"]) < min(areas["large"])


def test_words_before_the_first_are_refused(drawn: CaptionSet) -> None:
    with pytest.raises(IndexError):
        drawn.masks(0, 0, -1)


def test_the_seed_decides_and_fewer_scenes_are_the_first_of_more(drawn: CaptionSet) -> None:
    again = drawn_scenes(seed=3, train_size=240, valid_size=60, held_out_size=60)
    assert again.digest == drawn.digest and again.captions == drawn.captions
    np.testing.assert_array_equal(again.images, drawn.images)
    fewer = drawn_scenes(seed=3, train_size=20, valid_size=5, held_out_size=5)
    for name, indices in fewer.splits.items():
        np.testing.assert_array_equal(fewer.images[indices], drawn.images[drawn.splits[name][: len(indices)]])
    other = drawn_scenes(seed=4, train_size=20, valid_size=5, held_out_size=5)
    assert other.digest != fewer.digest and not np.array_equal(other.images, fewer.images)


@pytest.mark.parametrize("size", [48, 97, 160])
def test_other_sizes_show_the_same_scenes(size: int, drawn: CaptionSet) -> None:
    other = drawn_scenes(seed=3, train_size=10, valid_size=1, held_out_size=1, size=size)
    assert other.images.shape == (12, size, size, 3) and other.captions[:10] == drawn.captions[:10]
    for index in range(10):
        for place in range(len(other.captions[index][0])):
            here, there = other.masks(index, 0, place), drawn.masks(index, 0, place)
            assert (here is None) == (there is None)
            if here is not None:
                assert here[0].mean() == pytest.approx(there[0].mean(), rel=0.45)


def test_drawn_scenes_can_be_sent_to_another_process(drawn: CaptionSet) -> None:
    copy = pickle.loads(pickle.dumps(drawn))
    assert copy.digest == drawn.digest and copy.captions == drawn.captions
    word = copy.captions[0][0].index(copy.masks.scenes[0].groups[0].colour)
    np.testing.assert_array_equal(copy.masks(0, 0, word)[0], drawn.masks(0, 0, word)[0])


@pytest.mark.parametrize(
    "options",
    [
        {"size": 47},
        {"size": 64.5},
        {"train_size": 0},
        {"valid_size": True},
        {"seed": -1},
        {"held_out_size": "many"},
        {"train_size": 1_000_000},
    ],
)
def test_impossible_options_get_one_sentence(options) -> None:
    with pytest.raises(DataError) as caught:
        drawn_scenes(**{"train_size": 1, "valid_size": 1, "held_out_size": 1, **options})
    text = str(caught.value)
    assert text.endswith(".") and ";" in text and "\n" not in text
