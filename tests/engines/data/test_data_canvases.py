"""Canvases of digits: what is on them, where it comes from, and that draws repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.data import canvases, catalog, embedded, fetched
from engines.data.canvases import Canvases, CanvasSource
from engines.data.dataset import Dataset
from engines.errors import DataError

PARTS = (0, 1)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a folder with data sets nor a network."""
    monkeypatch.delenv("LAB_DATA", raising=False)
    monkeypatch.setattr(fetched, "data_folder", lambda: tmp_path)

    def no_network(*arguments, **options):
        raise AssertionError("went over the network unasked")

    monkeypatch.setattr("requests.get", no_network)


def _fake_mnist() -> Dataset:
    generator = np.random.default_rng(5)
    images = np.zeros((30, 1, 28, 28), dtype=np.uint8)
    images[:, :, 4:24, 6:22] = generator.integers(1, 256, (30, 1, 20, 16))
    labels = np.arange(30) % 10
    return Dataset(
        name="mnist",
        title="MNIST",
        train=images[:20],
        test=images[20:],
        kind="images",
        train_labels=labels[:20],
        test_labels=labels[20:],
        class_names=tuple("0123456789"),
        levels=256,
        licence="CC BY-SA 3.0",
        source="made up",
    )


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    made = _fake_mnist()
    monkeypatch.setattr(fetched, "mnist", lambda: made)
    return made


def _box_of(digit: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(digit)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def _painted(source: CanvasSource, drawn: Canvases, index: int) -> list[np.ndarray]:
    """Each digit of one canvas alone on it, from its box and its number and nothing else."""
    layers = []
    for number, box in zip(drawn.sources[index], drawn.boxes[index], strict=True):
        digit = source.digits[number]
        top, left, bottom, right = _box_of(digit)
        layer = np.zeros((source.canvas, source.canvas), dtype=np.int64)
        layer[box[0] : box[2], box[1] : box[3]] = digit[top:bottom, left:right]
        layers.append(layer)
    return layers


# --- what is on a canvas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("overlap", ["add", "max"])
def test_without_clutter_every_pixel_is_ink_of_the_digits_named(part: int, overlap: str) -> None:
    source = canvases.two_digits_sources(canvas=32, enlarge=2, overlap=overlap, seed=3)[part]
    drawn = source.batch(0, 200)
    meeting = 0
    for index in range(200):
        first, second = _painted(source, drawn, index)
        expected = np.minimum(first + second, 16) if overlap == "add" else np.maximum(first, second)
        np.testing.assert_array_equal(drawn.images[index, 0], expected)
        meeting += bool(((first > 0) & (second > 0)).any())
    assert 20 < meeting < 180  # so that both kinds were seen


def test_one_digit_alone_is_the_digit_itself() -> None:
    source = canvases.cluttered_digits_sources(distractors=0, canvas=40)[0]
    drawn = source.first(100)
    for index in range(100):
        np.testing.assert_array_equal(drawn.images[index, 0], _painted(source, drawn, index)[0])


@pytest.mark.parametrize("make", [canvases.two_digits_sources, canvases.cluttered_digits_sources])
def test_frames_of_digits_lie_inside_and_reach_every_edge(make) -> None:
    source = make(canvas=26, enlarge=3)[0]
    drawn = source.first(400)
    ink = np.array([_box_of(digit) for digit in source.digits])
    corner = drawn.boxes[..., :2] - ink[drawn.sources][..., :2]
    assert corner.min() == 0 and corner.max() == 26 - 24
    # all nine places, about equally often
    counts = np.bincount((corner[..., 0] * 3 + corner[..., 1]).reshape(-1), minlength=9)
    assert counts.min() > 0.6 * counts.mean()
    assert drawn.boxes.min() >= 0 and drawn.boxes.max() <= 26


def test_boxes_hold_the_ink_and_end_at_it() -> None:
    drawn = canvases.cluttered_digits_sources(distractors=0)[1].first(100)
    for image, box in zip(drawn.images[:, 0], drawn.boxes[:, 0], strict=True):
        assert tuple(box) == _box_of(image)


def test_a_blank_digit_has_its_whole_frame_as_its_box() -> None:
    source = CanvasSource(np.zeros((3, 4, 6), np.uint8), np.zeros(3, np.int64), 256, 10)
    drawn = source.batch(0, 50)
    assert (drawn.boxes[..., 2:] - drawn.boxes[..., :2] == (4, 6)).all()
    assert not drawn.images.any()


@pytest.mark.parametrize("part", PARTS)
def test_labels_are_those_of_the_digits_in_their_own_part(part: int) -> None:
    pool = embedded.digits()
    images, labels = (pool.train, pool.train_labels) if part == 0 else (pool.test, pool.test_labels)
    assert labels is not None
    for source in (canvases.two_digits_sources()[part], canvases.cluttered_digits_sources()[part]):
        drawn = source.first(50)
        np.testing.assert_array_equal(drawn.labels, labels[drawn.sources])
        np.testing.assert_array_equal(source.digits[:, ::3, ::3], images[:, 0])
        np.testing.assert_array_equal(source.digits[:, 2::3, 1::3], images[:, 0])


def test_all_digits_are_drawn_about_equally_often_and_never_twice_on_a_canvas() -> None:
    source = CanvasSource(
        np.ones((5, 1, 1), np.uint8), np.arange(5), 256, 4, count=3, distractors=2, distractor_size=1
    )
    drawn = source.batch(0, 5000)
    assert all(len(set(row)) == 3 for row in drawn.sources.tolist())
    pairs = {tuple(row[:2]) for row in drawn.sources.tolist()}
    assert len(pairs) == 20
    np.testing.assert_allclose(np.bincount(drawn.sources.reshape(-1)) / 5000, 3 / 5, atol=0.04)


# --- clutter ------------------------------------------------------------------------------------------------


def _marked(**options) -> CanvasSource:
    """A source whose digit number i is a square of the value i + 1 everywhere."""
    digits = np.broadcast_to(np.arange(1, 41, dtype=np.uint8)[:, None, None], (40, 6, 6)).copy()
    return CanvasSource(digits, np.arange(40), 256, 30, overlap="max", **options)


def test_pieces_are_of_other_digits_and_of_the_size_asked() -> None:
    source = _marked(distractors=5, distractor_size=4)
    drawn = source.batch(0, 300)
    seen = set()
    for index, image in enumerate(drawn.images[:, 0]):
        top, left, bottom, right = drawn.boxes[index, 0]
        value = int(drawn.sources[index, 0]) + 1
        outside = image.copy()
        outside[top:bottom, left:right] = 0
        assert value not in outside  # no piece is of the digit itself
        assert np.count_nonzero(outside) <= 5 * 16
        seen |= set(np.unique(outside).tolist())
    assert seen == set(range(41))


def test_number_of_pieces_is_as_asked() -> None:
    # one pixel each on a large canvas: they rarely meet
    source = CanvasSource(
        np.ones((9, 2, 2), np.uint8), np.arange(9), 2, 60, distractors=7, distractor_size=1, overlap="max"
    )
    images = source.batch(0, 2000).images[:, 0]
    assert images.sum(axis=(1, 2)).max() == 7 + 4
    assert images.sum(axis=(1, 2)).mean() > 10.8


def test_pieces_reach_every_place_and_every_edge() -> None:
    # Digits have a margin, so only pieces can put ink at the edge of a canvas.
    digits = np.zeros((5, 5, 5), dtype=np.uint8)
    digits[:, 1:4, 1:4] = 1
    source = CanvasSource(digits, np.arange(5), 2, 9, distractors=3, distractor_size=3)
    images = source.batch(0, 3000).images[:, 0]
    share = images.mean(axis=0)
    assert share.min() > 0 and images.any(axis=0).all()
    edges = (share[0], share[-1], share[:, 0], share[:, -1])
    np.testing.assert_allclose([edge.mean() for edge in edges], np.mean(edges), rtol=0.15)


@pytest.mark.parametrize("size", [1, 6])
def test_every_piece_of_a_digit_is_cut(size: int) -> None:
    digits = np.arange(1, 37, dtype=np.uint8).reshape(1, 6, 6).repeat(2, axis=0)
    source = CanvasSource(digits, np.arange(2), 256, 40, distractors=1, distractor_size=size, overlap="max")
    seen = set()
    drawn = source.batch(0, 1500)
    for image, box in zip(drawn.images[:, 0], drawn.boxes[:, 0], strict=True):
        outside = image.copy()
        outside[box[0] : box[2], box[1] : box[3]] = 0
        seen |= set(np.unique(outside).tolist())
    assert seen == set(range(37))


def test_pieces_are_cut_out_of_digits_as_they_are() -> None:
    generator = np.random.default_rng(0)
    digits = generator.integers(1, 256, (4, 8, 8), dtype=np.uint8)
    source = CanvasSource(digits, np.arange(4), 256, 100, distractors=1, distractor_size=5)
    cuts = {digits[i, r : r + 5, c : c + 5].tobytes() for i in range(4) for r in range(4) for c in range(4)}
    checked = 0
    drawn = source.batch(0, 100)
    for image, box in zip(drawn.images[:, 0], drawn.boxes[:, 0], strict=True):
        outside = image.copy()
        outside[box[0] : box[2], box[1] : box[3]] = 0
        if np.count_nonzero(outside) == 25:  # the piece does not touch the digit
            top, left, bottom, right = _box_of(outside)
            assert outside[top:bottom, left:right].tobytes() in cuts
            checked += 1
    assert checked > 50


def test_clutter_only_ever_adds_ink_to_the_digit() -> None:
    source = canvases.cluttered_digits_sources(canvas=30, distractors=12)[0]
    drawn = source.first(100)
    for index in range(100):
        (digit,) = _painted(source, drawn, index)
        assert (drawn.images[index, 0] >= digit).all()
    assert drawn.images.max() <= 16


def test_adding_never_runs_over_the_highest_level(small_mnist: Dataset) -> None:
    options = {"digits": "mnist", "canvas": 32, "distractors": 20}
    added = canvases.cluttered_digits_sources(**options)[0].first(50)
    stronger = canvases.cluttered_digits_sources(**options, overlap="max")[0].first(50)
    np.testing.assert_array_equal(added.sources, stronger.sources)
    assert (added.images >= stronger.images).all() and (added.images > stronger.images).any()


# --- training and test digits never meet --------------------------------------------------------------------


def test_train_and_test_canvases_show_digits_and_pieces_of_their_own_part(monkeypatch) -> None:
    # Training digits have even values and test digits odd ones, so each pixel tells where it comes from.
    made = _fake_mnist()
    train, test = made.train // 2 * 2, made.test // 2 * 2
    train[made.train > 0] = np.maximum(train[made.train > 0], 2)
    test[made.test > 0] += 1
    split = Dataset(
        name="mnist",
        title="MNIST",
        train=train,
        test=test,
        kind="images",
        train_labels=made.train_labels,
        test_labels=made.test_labels,
        class_names=made.class_names,
        levels=256,
    )
    monkeypatch.setattr(fetched, "mnist", lambda: split)
    options = {"digits": "mnist", "overlap": "max", "train_size": 200, "test_size": 200}
    for name in ("two_digits", "cluttered_digits"):
        data = catalog.load(name, **options)
        assert set(np.unique(data.train[data.train > 0] % 2)) == {0}
        assert set(np.unique(data.test[data.test > 0] % 2)) == {1}


def test_embedded_digits_of_both_parts_are_different_images() -> None:
    train, test = canvases.two_digits_sources()
    assert not {d.tobytes() for d in train.digits} & {d.tobytes() for d in test.digits}


def test_both_parts_are_drawn_independently() -> None:
    train, test = (source.first(100).boxes for source in canvases.cluttered_digits_sources(seed=1))
    assert (np.abs(train - test).max(axis=-1) > 3).mean() > 0.5


# --- draws repeat -------------------------------------------------------------------------------------------


def _same(one: Canvases, other: Canvases) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("images", "labels", "boxes", "sources")
    )


def test_batches_depend_on_their_number_and_not_on_the_order() -> None:
    one, other = (canvases.cluttered_digits_sources(seed=7)[0] for _ in range(2))
    forwards = [one.batch(number, 20) for number in range(4)]
    backwards = [other.batch(number, 20) for number in (3, 2, 1, 0)][::-1]
    assert all(_same(*pair) for pair in zip(forwards, backwards, strict=True))
    assert _same(one.batch(2, 20), forwards[2])
    digests = {batch.images.tobytes() for batch in forwards}
    assert len(digests) == 4
    assert canvases.cluttered_digits_sources(seed=8)[0].batch(0, 20).images.tobytes() not in digests


def test_batches_are_not_the_fixed_set() -> None:
    source = canvases.two_digits_sources()[0]
    # both sizes in which the fixed set might be drawn
    fixed = {image.tobytes() for image in source.first(2000).images}
    for number, size in ((0, 1000), (1, 1000), (0, 2000), (0, 50)):
        assert not fixed & {image.tobytes() for image in source.batch(number, size).images}


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 2300])
def test_a_larger_set_begins_with_the_smaller_one(size: int) -> None:
    source = canvases.cluttered_digits_sources(canvas=24)[0]
    large, small = source.first(2500), source.first(size)
    assert len(small) == size
    assert _same(
        small, Canvases(large.images[:size], large.labels[:size], large.boxes[:size], large.sources[:size])
    )
    assert len({image.tobytes() for image in large.images}) > 2450  # blocks do not repeat


@pytest.mark.parametrize("name", ["two_digits", "cluttered_digits"])
def test_same_seed_same_data_and_another_seed_others(name: str) -> None:
    sizes = {"train_size": 60, "test_size": 30}
    data = catalog.load(name, seed=4, **sizes)
    assert catalog.load(name, seed=4, **sizes).digest == data.digest
    assert catalog.load(name, seed=5, **sizes).digest != data.digest
    more = catalog.load(name, seed=4, train_size=90, test_size=30)
    np.testing.assert_array_equal(more.train[:60], data.train)
    np.testing.assert_array_equal(more.test, data.test)


# --- as data sets -------------------------------------------------------------------------------------------


def test_two_digits_as_a_data_set(nowhere: None) -> None:
    data = catalog.load("two_digits", train_size=300, test_size=100, seed=2)
    assert (data.train.shape, data.test.shape, data.levels) == ((300, 1, 60, 60), (100, 1, 60, 60), 17)
    assert data.train.max() == 16 and len(data.class_names) == 55
    assert data.licence == "CC BY 4.0" and any("mnist" in note for note in data.notes)
    assert data.train_labels is not None
    drawn = canvases.two_digits_sources(seed=2)[0].first(300)
    for label, pair in zip(data.train_labels, drawn.labels.tolist(), strict=True):
        assert data.class_names[label] == " and ".join(str(digit) for digit in sorted(pair))
    np.testing.assert_array_equal(data.train, drawn.images)


def test_cluttered_digits_as_a_data_set(nowhere: None) -> None:
    data = catalog.load("cluttered_digits", canvas=100, distractors=8, train_size=50, test_size=20, seed=2)
    assert (data.train.shape, data.levels) == ((50, 1, 100, 100), 17)
    assert data.class_names == tuple("0123456789")
    train, test = canvases.cluttered_digits_sources(canvas=100, distractors=8, seed=2)
    np.testing.assert_array_equal(data.train_labels, train.first(50).labels[:, 0])
    np.testing.assert_array_equal(data.test_labels, test.first(20).labels[:, 0])
    np.testing.assert_array_equal(data.test, test.first(20).images)
    assert "8 pieces" in data.title and "100 x 100" in data.title


def test_digits_of_mnist_are_drawn_as_they_are(small_mnist: Dataset) -> None:
    train, test = canvases.two_digits_sources(digits="mnist")
    np.testing.assert_array_equal(train.digits, small_mnist.train[:, 0])
    np.testing.assert_array_equal(test.digits, small_mnist.test[:, 0])
    data = catalog.load("two_digits", digits="mnist", train_size=5, test_size=5)
    assert data.levels == 256 and data.shape == (1, 60, 60) and data.licence == "CC BY-SA 3.0"
    assert not data.notes and "MNIST" in data.title and "enlarged" not in data.title


def test_notes_of_mnist_are_kept(small_mnist: Dataset, monkeypatch) -> None:
    object.__setattr__(small_mnist, "notes", ("Passed over: a damaged copy.",))
    data = catalog.load("cluttered_digits", digits="mnist", train_size=5, test_size=5)
    assert data.notes == ("Passed over: a damaged copy.",)


def test_without_mnist_the_error_says_how_to_get_it(nowhere: None) -> None:
    for name in ("two_digits", "cluttered_digits"):
        with pytest.raises(fetched.NotHere, match=r"MNIST is not on this machine; download it") as caught:
            catalog.load(name, digits="mnist")
        assert caught.value.remedy == "fetch:mnist"


def test_download_brings_the_digits_that_canvases_are_made_of(nowhere: None, monkeypatch) -> None:
    calls = []

    def fake_fetch(name: str, **options) -> Path:
        calls.append(name)
        monkeypatch.setattr(fetched, "mnist", _fake_mnist)
        return Path()

    monkeypatch.setattr(catalog, "fetch", fake_fetch)
    data = catalog.load("two_digits", digits="mnist", download=True, train_size=5, test_size=5)
    assert calls == ["mnist"] and data.train.shape == (5, 1, 60, 60)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("two_digits", {"canvas": 23}, r"canvas is 23, which is less than a digit of 24 x 24 pixels; give .* 24 to 512"),
        ("two_digits", {"canvas": 513}, r"canvas is 513, which is out of range"),
        ("two_digits", {"canvas": 60.0}, r"canvas is 60\.0, which is not a whole number"),
        ("two_digits", {"digits": "letters"}, r"digits is 'letters', which is not known; give one of digits, mnist"),
        ("two_digits", {"enlarge": 0}, r"enlarge is 0, which is out of range"),
        ("two_digits", {"enlarge": 8}, r"canvas is 60, which is less than a digit of 64 x 64"),
        ("two_digits", {"overlap": "mix"}, r"overlap is 'mix', which is not known"),
        ("two_digits", {"seed": -1}, r"seed is -1, which is out of range"),
        ("two_digits", {"train_size": 1}, r"train_size is 1, which is out of range"),
        ("two_digits", {"test_size": 0}, r"test_size is 0, which is out of range"),
        ("two_digits", {"train_size": 9_000_000}, r"would take 30\.2 GB, and at most 2\.0 GB are made; set a smaller"),
        ("two_digits", {"distractors": 2}, r'no option "distractors"'),
        ("cluttered_digits", {"distractors": -1}, r"distractors is -1, which is out of range"),
        ("cluttered_digits", {"distractors": True}, r"distractors is True, which is not a whole number"),
        ("cluttered_digits", {"distractor_size": 25}, r"distractor_size is 25, which is out of range; .* 1 to 24"),
        ("cluttered_digits", {"distractor_size": 0}, r"distractor_size is 0, which is out of range"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_sentence(name: str, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        catalog.load(name, **options)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text


def test_digits_enlarged_beyond_memory_are_refused(small_mnist: Dataset, monkeypatch) -> None:
    monkeypatch.setattr(canvases, "LARGEST_ARRAYS", 10**6)
    with pytest.raises(DataError, match=r"MNIST, enlarged 8 times, would take .*; set a smaller enlarge\."):
        canvases.two_digits_sources(digits="mnist", enlarge=8, canvas=512)


@pytest.mark.parametrize("number, size", [(-1, 5), (0, 0), (0, 2.5), (2**32, 5), (0, 10_000_000)])
def test_bad_batches_are_refused(number: int, size: int) -> None:
    with pytest.raises(DataError, match=r"number is|size is|would take"):
        canvases.two_digits_sources()[0].batch(number, size)
