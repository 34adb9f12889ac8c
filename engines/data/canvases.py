"""Canvases with digits at random places: two of them, or one among clutter; plain numpy, safe on any thread or
process.

The recipe is that of the generator which the authors of cluttered MNIST published
(github.com/google-deepmind/mnist-cluttered): a black canvas takes small pieces of other digits first and then whole
digits, each at a place drawn evenly from all where it lies inside, and ink that meets is added and cut off at white.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from engines.data import checks, embedded, fetched
from engines.data.dataset import Dataset
from engines.data.files import LARGEST_ARRAYS, size_text
from engines.errors import DataError

_LARGEST_CANVAS = 512
_LARGEST_SIZE = 10_000_000
_BLOCK = 1000

_ENLARGE = {"digits": 3, "mnist": 1}
"""How many times larger the digits of each source are drawn, unless asked otherwise: to 24 and to 28 pixels."""

_TRAIN, _TEST = 0, 1
_FIXED, _STREAM = 0, 1


@dataclass(frozen=True, eq=False)
class Canvases:
    """N canvases of S x S pixels with K digits each, and what is on them.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, 1, S, S)
        Levels as in the digits' own data set.
    labels : ndarray of int64, shape (N, K)
        Classes of the digits, in the order in which they were put down.
    boxes : ndarray of int64, shape (N, K, 4)
        Smallest boxes around the ink of each digit: top, left, bottom, right in pixels; bottom and right are the
        first row and column outside.
    sources : ndarray of int64, shape (N, K)
        Which of `CanvasSource.digits` each digit is.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class CanvasSource:
    """Draws canvases: a fixed set that begins the same whatever its size, or fresh ones for each batch.

    What is drawn depends on nothing but the seed, the part and the number of the batch, so batches may be asked for
    in any order, and again. The fixed set and the batches share no draws.

    Attributes
    ----------
    digits : ndarray of uint8, shape (M, h, w)
        Both the digits and the pieces of clutter are of these and no others.
    digit_labels : ndarray of int64, shape (M,)
    levels : int
        How many values a pixel can take.
    canvas : int
        Side of a canvas in pixels.
    count : int
        Digits on each canvas; no two of them are the same image.
    distractors, distractor_size : int
        Pieces of clutter on each canvas, and their side in pixels; none is cut from a digit of the same canvas.
    overlap : {"add", "max"}
        Where ink meets: added and cut off at the highest level, or the stronger of both.
    seed : int
    part : int
        0 for training, 1 for testing; another part draws other places.
    """

    digits: np.ndarray
    digit_labels: np.ndarray
    levels: int
    canvas: int
    count: int = 1
    distractors: int = 0
    distractor_size: int = 8
    overlap: str = "add"
    seed: int = 0
    part: int = _TRAIN

    def batch(self, number: int, size: int) -> Canvases:
        """Fresh canvases: those of batch ``number``, the same each time.

        Parameters
        ----------
        number : int
            From 0.
        size : int
            How many canvases; another size draws others.

        Raises
        ------
        DataError
            A number or size that is negative, no whole number, or too large.
        """
        number = checks.integer("number", number, 0, 2**32 - 1)
        size = checks.integer("size", size, 1, _LARGEST_SIZE)
        _refuse_too_much(size, self.canvas, "size")
        return self._draw(self._generator(_STREAM, number), size)

    def first(self, size: int) -> Canvases:
        """The first ``size`` canvases of the fixed set; a larger set begins with the smaller one.

        Raises
        ------
        DataError
            The size is no whole number from 1, or the canvases would not fit into memory.
        """
        size = checks.integer("size", size, 1, _LARGEST_SIZE)
        _refuse_too_much(size, self.canvas, "size")
        images = np.empty((size, 1, self.canvas, self.canvas), dtype=np.uint8)
        labels = np.empty((size, self.count), dtype=np.int64)
        boxes = np.empty((size, self.count, 4), dtype=np.int64)
        sources = np.empty((size, self.count), dtype=np.int64)
        # Whole blocks are drawn and the last one is cut; a block also fits into the processor's cache better.
        for block, start in enumerate(range(0, size, _BLOCK)):
            part = slice(start, min(start + _BLOCK, size))
            drawn = self._draw(self._generator(_FIXED, block), _BLOCK)
            kept = part.stop - part.start
            images[part], labels[part] = drawn.images[:kept], drawn.labels[:kept]
            boxes[part], sources[part] = drawn.boxes[:kept], drawn.sources[:kept]
        return Canvases(images, labels, boxes, sources)

    def _generator(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng(
            np.random.SeedSequence(self.seed, spawn_key=(self.part, purpose, number))
        )

    @cached_property
    def _ink(self) -> np.ndarray:
        """Boxes (M, 4) around the ink of the digits in their own frames; the whole frame where there is none."""
        boxes = np.empty((len(self.digits), 4), dtype=np.int64)
        for axis in (0, 1):
            has_ink: np.ndarray = np.any(self.digits, axis=2 - axis)
            has_ink = has_ink | ~np.any(has_ink, axis=1, keepdims=True)
            boxes[:, axis] = has_ink.argmax(axis=1)
            boxes[:, 2 + axis] = has_ink.shape[1] - has_ink[:, ::-1].argmax(axis=1)
        return boxes

    def _draw(self, generator: np.random.Generator, size: int) -> Canvases:
        height, width = self.digits.shape[1:]
        side, piece = self.canvas, self.distractor_size
        sources = np.empty((size, self.count), dtype=np.int64)
        for index in range(self.count):
            sources[:, index] = self._others(generator, sources[:, :index], 1)[:, 0]
        tops = generator.integers(side - height + 1, size=(size, self.count))
        lefts = generator.integers(side - width + 1, size=(size, self.count))
        images = np.zeros((size, side, side), dtype=np.uint8)
        rows = np.arange(size)
        if self.distractors:
            shape = (size, self.distractors)
            cut_from = self._others(generator, sources, self.distractors)
            cut_tops = generator.integers(height - piece + 1, size=shape)
            cut_lefts = generator.integers(width - piece + 1, size=shape)
            at_tops = generator.integers(side - piece + 1, size=shape)
            at_lefts = generator.integers(side - piece + 1, size=shape)
            pieces = sliding_window_view(self.digits, (piece, piece), axis=(1, 2))
            places = sliding_window_view(images, (piece, piece), axis=(1, 2), writeable=True)
            # One piece on all canvases at a time: each is then another canvas, so nothing is written twice.
            for i in range(self.distractors):
                self._put(
                    places,
                    (rows, at_tops[:, i], at_lefts[:, i]),
                    pieces[cut_from[:, i], cut_tops[:, i], cut_lefts[:, i]],
                )
        places = sliding_window_view(images, (height, width), axis=(1, 2), writeable=True)
        for i in range(self.count):
            self._put(places, (rows, tops[:, i], lefts[:, i]), self.digits[sources[:, i]])
        boxes = self._ink[sources] + np.stack([tops, lefts, tops, lefts], axis=-1)
        return Canvases(images[:, None], self.digit_labels[sources], boxes, sources)

    def _others(self, generator: np.random.Generator, taken: np.ndarray, count: int) -> np.ndarray:
        """For each of N rows, ``count`` digits drawn evenly from those that are not among its (N, k) distinct taken
        ones."""
        drawn = generator.integers(len(self.digits) - taken.shape[1], size=(len(taken), count))
        for column in np.sort(taken, axis=1).T:
            drawn += drawn >= column[:, None]
        return drawn

    def _put(self, places: np.ndarray, where: tuple[np.ndarray, ...], ink: np.ndarray) -> None:
        below = places[where]
        if self.overlap == "max":
            np.maximum(below, ink, out=below)
        else:
            # the sum, cut off at the highest level, without leaving eight bits
            np.minimum(below, np.uint8(self.levels - 1) - ink, out=below)
            below += ink
        places[where] = below


def _refuse_too_much(size: int, canvas: int, name: str) -> None:
    needed = size * canvas * canvas
    if needed > LARGEST_ARRAYS:
        raise DataError(
            f"{size:,} canvases of {canvas} x {canvas} pixels would take {size_text(needed)}, and at most "
            f"{size_text(LARGEST_ARRAYS)} are made; set a smaller {name}, or a smaller canvas."
        )


def _digits_of(digits: str, enlarge: int | None) -> tuple[Dataset, int]:
    """Where the digits come from, and how many times larger they are drawn."""
    chosen = checks.choice("digits", digits, _ENLARGE)
    factor = _ENLARGE[chosen] if enlarge is None else checks.integer("enlarge", enlarge, 1, 8)
    return (fetched.mnist() if chosen == "mnist" else embedded.digits()), factor


@dataclass(frozen=True, eq=False)
class _Maker:
    """The sources of one set of canvases, and the data set that their digits come from."""

    pool: Dataset
    factor: int
    train: CanvasSource
    test: CanvasSource


def _maker(
    *,
    seed: int,
    canvas: int,
    count: int,
    digits: str,
    enlarge: int | None,
    overlap: str,
    distractors: int = 0,
    distractor_size: int = 1,
) -> _Maker:
    pool, factor = _digits_of(digits, enlarge)
    seed = checks.integer("seed", seed, 0, 2**63 - 1)
    overlap = checks.choice("overlap", overlap, ("add", "max"))
    distractors = checks.integer("distractors", distractors, 0, 1000)
    side = max(pool.shape[1:]) * factor
    canvas = checks.integer("canvas", canvas, 1, _LARGEST_CANVAS)
    if canvas < side:
        raise DataError(
            f"canvas is {canvas}, which is less than a digit of {side} x {side} pixels; give a whole number from "
            f"{side:,} to {_LARGEST_CANVAS:,}, or enlarge the digits less."
        )
    needed = (len(pool.train) + len(pool.test)) * side**2
    if needed > LARGEST_ARRAYS:
        raise DataError(
            f"The digits of {pool.title}, enlarged {factor} times, would take {size_text(needed)}, and at most "
            f"{size_text(LARGEST_ARRAYS)} are made; set a smaller enlarge."
        )
    if distractors:
        distractor_size = checks.integer("distractor_size", distractor_size, 1, side)
    made = []
    for part, images, labels in (
        (_TRAIN, pool.train, pool.train_labels),
        (_TEST, pool.test, pool.test_labels),
    ):
        assert labels is not None and pool.levels is not None
        enlarged = images[:, 0].repeat(factor, axis=1).repeat(factor, axis=2)
        made.append(
            CanvasSource(
                digits=enlarged,
                digit_labels=labels,
                levels=pool.levels,
                canvas=canvas,
                count=count,
                distractors=distractors,
                distractor_size=distractor_size,
                overlap=overlap,
                seed=seed,
                part=part,
            )
        )
    return _Maker(pool, factor, made[0], made[1])


def two_digits_sources(
    *,
    seed: int = 0,
    canvas: int = 60,
    digits: str = "digits",
    enlarge: int | None = None,
    overlap: str = "add",
) -> tuple[CanvasSource, CanvasSource]:
    """What draws the training and the test canvases of `two_digits`, for fresh ones in each batch; options as
    there."""
    made = _maker(
        seed=seed,
        canvas=canvas,
        count=2,
        digits=digits,
        enlarge=enlarge,
        overlap=overlap,
    )
    return made.train, made.test


def cluttered_digits_sources(
    *,
    seed: int = 0,
    canvas: int = 60,
    distractors: int = 4,
    distractor_size: int = 8,
    digits: str = "digits",
    enlarge: int | None = None,
    overlap: str = "add",
) -> tuple[CanvasSource, CanvasSource]:
    """What draws the training and the test canvases of `cluttered_digits`, for fresh ones in each batch, or with
    the boxes; options as there."""
    made = _maker(
        seed=seed,
        canvas=canvas,
        count=1,
        distractors=distractors,
        distractor_size=distractor_size,
        digits=digits,
        enlarge=enlarge,
        overlap=overlap,
    )
    return made.train, made.test


_PAIRS = tuple((first, second) for first in range(10) for second in range(first, 10))


def classes(labels: np.ndarray) -> np.ndarray:
    """Classes (N,) of canvases from the digits on them (N, K): the digit itself, or of two the place of their pair.

    Which digit was put down first cannot be seen, so a pair has no order.
    """
    if labels.shape[1] == 1:
        return labels[:, 0].copy()
    code = np.zeros((10, 10), dtype=np.int64)
    for index, (first, second) in enumerate(_PAIRS):
        code[first, second] = code[second, first] = index
    return code[labels[:, 0], labels[:, 1]]


def _dataset(
    name: str,
    what: str,
    made: _Maker,
    train_size: int,
    test_size: int,
) -> Dataset:
    pool, side = made.pool, made.train.canvas
    train_size = checks.integer("train_size", train_size, 2, _LARGEST_SIZE)
    test_size = checks.integer("test_size", test_size, 1, _LARGEST_SIZE)
    _refuse_too_much(train_size + test_size, side, "train_size")
    train, test = made.train.first(train_size), made.test.first(test_size)
    if made.train.count == 1:
        class_names = pool.class_names
    else:
        class_names = tuple(f"{first} and {second}" for first, second in _PAIRS)
    notes = pool.notes
    if pool.name == "digits":
        size = made.train.digits.shape[1]
        notes += (
            (
                f"The digits are the embedded ones of 8 x 8 pixels, drawn {size} x {size}; published results are for "
                "MNIST's, which digits=mnist takes."
            ),
        )
    enlarged = f", enlarged {made.factor} times" if made.factor > 1 else ""
    return Dataset(
        name=name,
        title=f"{what}, {side} x {side} pixels ({pool.title}{enlarged})",
        train=train.images,
        test=test.images,
        kind="images",
        train_labels=classes(train.labels),
        test_labels=classes(test.labels),
        class_names=class_names,
        levels=pool.levels,
        licence=pool.licence,
        source=f"Generated from: {pool.source}",
        notes=notes,
    )


def two_digits(
    *,
    seed: int = 0,
    canvas: int = 60,
    digits: str = "digits",
    enlarge: int | None = None,
    overlap: str = "add",
    train_size: int = 10_000,
    test_size: int = 2_000,
) -> Dataset:
    """Two digits at random places of one canvas, which may overlap, as in the experiment of DRAW (arXiv:1502.04623)
    with two MNIST digits on 60x60 pixels.

    Training canvases hold digits of the training part alone, and test canvases of the test part. The classes are the
    55 unordered pairs.

    Parameters
    ----------
    seed : int
    canvas : int
        Side in pixels; at least that of a digit.
    digits : {"digits", "mnist"}
        The embedded 8x8 digits, or MNIST, which must be on this machine.
    enlarge : int or None
        How many times larger the digits are drawn, each pixel becoming a square; None stands for 3 with the embedded
        digits and 1 with MNIST.
    overlap : {"add", "max"}
        Where the digits meet: their ink added and cut off at the highest level, or the stronger of both.
    train_size, test_size : int
        How many canvases.

    Raises
    ------
    DataError
        An option is out of range, or MNIST is not on this machine.
    """
    made = _maker(
        seed=seed,
        canvas=canvas,
        count=2,
        digits=digits,
        enlarge=enlarge,
        overlap=overlap,
    )
    return _dataset("two_digits", "Two digits", made, train_size, test_size)


def cluttered_digits(
    *,
    seed: int = 0,
    canvas: int = 60,
    distractors: int = 4,
    distractor_size: int = 8,
    digits: str = "digits",
    enlarge: int | None = None,
    overlap: str = "add",
    train_size: int = 10_000,
    test_size: int = 2_000,
) -> Dataset:
    """One digit at a random place among pieces of others, as cluttered translated MNIST.

    The published setting is 100x100 pixels with 8 pieces; 60x60 with 4 is its smaller sister. Digits and pieces of
    the test canvases are of the test part alone.

    Parameters
    ----------
    seed : int
    canvas : int
        Side in pixels; at least that of a digit.
    distractors : int
        How many pieces; they lie below the digit, may overlap and may be blank, as a digit's margin is.
    distractor_size : int
        Side of a piece in pixels, at most that of a digit.
    digits : {"digits", "mnist"}
        The embedded 8x8 digits, or MNIST, which must be on this machine.
    enlarge : int or None
        How many times larger the digits are drawn; None stands for 3 with the embedded digits and 1 with MNIST.
    overlap : {"add", "max"}
        Where ink meets: added and cut off at the highest level, or the stronger of both.
    train_size, test_size : int
        How many canvases.

    Raises
    ------
    DataError
        An option is out of range, or MNIST is not on this machine.
    """
    made = _maker(
        seed=seed,
        canvas=canvas,
        count=1,
        distractors=distractors,
        distractor_size=distractor_size,
        digits=digits,
        enlarge=enlarge,
        overlap=overlap,
    )
    pieces = made.train.distractors
    what = f"One digit among {pieces} piece{'' if pieces == 1 else 's'}" if pieces else "One digit"
    return _dataset("cluttered_digits", what, made, train_size, test_size)
