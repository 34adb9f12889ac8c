"""The pictures of Show, Attend and Tell as arrays; computed on the worker's loop from the present weights.

Whatever draws locations here draws them from a generator that starts anew each time: what moves from picture to picture is
what was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from engines.engine import numpy_stream
from engines.errors import InputError
from engines.figures import (
    HIDDEN,
    Axis,
    Bars,
    Figure,
    Film,
    Graph,
    Heatmap,
    ImageGrid,
    Lines,
    Panels,
    Plot,
    Rule,
    to_uint8,
)
from engines.show_attend_tell.beam import Beam, Caption, search
from engines.show_attend_tell.objectives import doubly_stochastic_floor

if TYPE_CHECKING:
    from engines.show_attend_tell.engine import ShowAttendTellEngine

SHADE = 0.4
"""Brightness of what is not looked at."""

SHARP = 8.0
"""Times even attention from which on a map is shaded as deep as `SHADE`; where the largest weight is less, it is paler."""

TINT = 0.35
"""Opacity of the colour on the large image, at its largest weight."""

GAP = 2
"""Pixels between the pictures of neighbouring words."""

STRIP_PIXELS = 112
"""Edge of the pictures in a strip at most."""

SHOWN_BRANCHES = 4

LARGEST_IMAGE = 8192
"""Pixels of an edge of an own image."""


@dataclass
class Hand:
    """What the person has chosen and moved.

    Attributes
    ----------
    image : int
        Of the validation images, in the order of `examples.shown_order`.
    own : array (H, W, 3) of uint8 or None
        An own image, at the encoder's size.
    words : tuple of int
        How the edited caption begins: what stood before the last edit, and the word that was put in.
    looks : dict of int to array (L,)
        Attention that was moved, by its place in the caption.
    put : tuple of int
        Places where another word was put in.
    is_edited : bool
    """

    image: int = 0
    own: np.ndarray | None = None
    words: tuple[int, ...] = ()
    looks: dict[int, np.ndarray] = field(default_factory=dict)
    put: tuple[int, ...] = ()
    is_edited: bool = False

    def look(self, place: int, words: tuple[int, ...], weights: np.ndarray) -> None:
        """Move the attention at a word of the caption ``words``; edits after it are let go."""
        self.looks = {known: kept for known, kept in self.looks.items() if known < place} | {place: weights}
        self.put = tuple(known for known in self.put if known < place)
        self.words, self.is_edited = words[:place], True

    def replace(self, place: int, words: tuple[int, ...], word: int) -> None:
        """Put another word into the caption ``words``; edits after it are let go."""
        self.looks = {known: kept for known, kept in self.looks.items() if known <= place}
        self.put = (*(known for known in self.put if known < place), place)
        self.words, self.is_edited = (*words[:place], word), True

    def clear(self) -> None:
        """Let go of all edits."""
        self.words, self.looks, self.put, self.is_edited = (), {}, (), False

    def edits(self) -> list[tuple[int, int | None, np.ndarray | None]]:
        """(place, word, weights (L,)) of each edit in the order in which they hold, one of the two None.

        A word at the place of a moved gaze comes after it.
        """
        moved: list[tuple[int, int | None, np.ndarray | None]]
        moved = [(place, None, weights) for place, weights in self.looks.items()]
        put: list[tuple[int, int | None, np.ndarray | None]]
        put = [(place, self.words[place], None) for place in self.put]
        return sorted([*moved, *put], key=lambda edit: (edit[0], edit[2] is None))

    def state_dict(self) -> dict[str, Any]:
        """Plain data for a keyframe."""
        return {
            "image": self.image,
            "own": None if self.own is None else self.own.copy(),
            "words": list(self.words),
            "places": list(self.looks),
            "weights": [weights.copy() for weights in self.looks.values()],
            "put": list(self.put),
            "is_edited": self.is_edited,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.image = state["image"]
        self.own = None if state["own"] is None else np.asarray(state["own"], dtype=np.uint8)
        self.words = tuple(state["words"])
        weights = (np.asarray(array) for array in state["weights"])
        self.looks = dict(zip(state["places"], weights, strict=True))
        self.put = tuple(state["put"])
        self.is_edited = state["is_edited"]


def fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An own image as the encoder takes it: (height, width, 3) uint8, squashed to its size.

    Raises
    ------
    InputError
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4) or not image.size:
        raise InputError(
            f"The image has shape {image.shape} and numbers of type {image.dtype}: give one of uint8, (H, W) or (H, W, 3)."
        )
    if max(image.shape) > LARGEST_IMAGE:
        raise InputError(
            f"The image is {image.shape[1]} x {image.shape[0]} pixels large, and at most {LARGEST_IMAGE} each way are taken: "
            "give a smaller one."
        )
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image[:, :, :3]))
    if image.shape[:2] != size:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.array(picture)


def figures(engine: ShowAttendTellEngine, wanted: Collection[str]) -> dict[str, Figure]:
    """The named pictures of an engine at its present step."""
    shared = _Shared(engine)
    makers: dict[str, Callable[[_Shared], Figure]] = {
        "strip": _strip,
        "gate": _gate,
        "overlay": _overlay,
        "gaze": _gaze,
        "coverage": _coverage,
        "beam": _beam,
        "mass": _mass,
    }
    return {name: makers[name](shared) for name in wanted}


class _Shared:
    """What several pictures of one moment need, computed once."""

    def __init__(self, engine: ShowAttendTellEngine) -> None:
        self.engine = engine

    @cached_property
    def image(self) -> np.ndarray:
        return self.engine.shown_image()

    @cached_property
    def small(self) -> np.ndarray:
        """The image for strips."""
        longest = max(self.image.shape[:2])
        if longest <= STRIP_PIXELS:
            return self.image
        from PIL import Image

        height, width = (max(1, round(edge * STRIP_PIXELS / longest)) for edge in self.image.shape[:2])
        return np.array(Image.fromarray(self.image).resize((width, height), Image.Resampling.BILINEAR))

    @cached_property
    def annotations(self) -> Tensor:
        return self.engine.shown_annotations()

    @cached_property
    def found(self) -> Beam:
        """What the beam finds without edits."""
        return self.engine.beam(self.annotations)

    @cached_property
    def old(self) -> Caption:
        return self.found.captions[0]

    @cached_property
    def new(self) -> Caption | None:
        return self.engine.edited(self.annotations)

    @cached_property
    def hard(self) -> Caption:
        """The caption where each word sees one location."""
        engine, config = self.engine, self.engine.config
        noise = None
        if config.hard_context == "drawn":
            noise = numpy_stream(config.seed, "pictures/locations").random(config.longest)
        return search(
            engine.decoder,
            self.annotations,
            width=config.beam,
            longest=config.longest,
            temperature=config.temperature,
            normalise=config.normalise,
            context=config.hard_context,
            noise=noise,
        ).captions[0]

    def text(self, caption: Caption) -> tuple[str, ...]:
        return tuple(self.engine.vocabulary.words[word] for word in caption.words)

    def sentence(self, caption: Caption) -> str:
        return " ".join(self.engine.vocabulary.decode(caption.words)) or "(no words)"

    def maps(self, caption: Caption) -> np.ndarray:
        """Weights (C, rows, columns)."""
        return caption.alphas.reshape(-1, *self.engine.eye.grid)

    def shade(self, image: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The image (H, W, 3) with what is not looked at darkened, for each of the weights (C, rows, columns)."""
        missing = 1.0 - lightness(weights)
        factor = 1.0 - (1.0 - SHADE) * self.enlarged(missing, image)
        return to_uint8(image[None] / 255.0 * factor[..., None])

    def enlarged(self, weights: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Weights at the size of an image, as the person wants them drawn."""
        return enlarged(weights, image.shape[:2], self.engine.config.shading == "smooth")


def lightness(weights: np.ndarray) -> np.ndarray:
    """How light each cell is shown, from 0 to 1, of weights (C, rows, columns) that sum to 1.

    The largest weight of a map is 1. Even attention is 1 everywhere, and what is nearly even is nearly so: chance differences
    between small weights look like none.
    """
    count = weights.shape[1] * weights.shape[2]
    top = weights.max(axis=(1, 2), keepdims=True)
    return np.asarray(1.0 - (top - weights) / np.maximum(top, min(SHARP / count, 1.0)))


def enlarged(weights: np.ndarray, size: tuple[int, int], smooth: bool) -> np.ndarray:
    """Weights (C, rows, columns) at the size of the image: cell by cell, or smoothed.

    The smoothing interpolates between the middles of the cells, and has no meaning.
    """
    _, rows, columns = weights.shape
    if not smooth:
        down = np.arange(size[0]) * rows // size[0]
        across = np.arange(size[1]) * columns // size[1]
        return weights[:, down][:, :, across]
    y = np.clip((np.arange(size[0]) + 0.5) * rows / size[0] - 0.5, 0, rows - 1)
    x = np.clip((np.arange(size[1]) + 0.5) * columns / size[1] - 0.5, 0, columns - 1)
    top, left = np.minimum(y.astype(int), max(rows - 2, 0)), np.minimum(x.astype(int), max(columns - 2, 0))
    below, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    down_share, across_share = (y - top)[:, None], x - left
    tall = weights[:, top] * (1 - down_share) + weights[:, below] * down_share
    return tall[:, :, left] * (1 - across_share) + tall[:, :, right] * across_share


def _row(
    shared: _Shared, caption: Caption, label: str, room: int, *, note: str = "", hard: bool = False
) -> Plot:
    """One picture a word, with the attention under which it was written; the words above; room for so many."""
    weights = shared.maps(caption)
    if hard:
        weights = np.zeros_like(caption.alphas)
        weights[np.arange(len(weights)), caption.locations] = 1.0
        weights = weights.reshape(-1, *shared.engine.eye.grid)
    images = shared.shade(shared.small, weights)
    words = shared.text(caption)
    width = images.shape[2] + GAP
    return Plot(
        (ImageGrid(images, columns=len(words), row_labels=(label,), column_labels=words, gap=GAP),),
        # Rows of captions of different length begin at the same place.
        replace(HIDDEN, limits=(0.0, float(max(room, len(words)) * width - GAP))),
        HIDDEN,
        equal=True,
        y_down=True,
        legend=False,
        note=note,
    )


def _gate(shared: _Shared) -> Figure:
    """beta of each word of the caption."""
    caption = shared.new or shared.old
    words = shared.text(caption)
    places = np.arange(len(words), dtype=float)
    ticks = tuple((float(place), word) for place, word in zip(places, words, strict=True))
    return Plot(
        (Bars(places, np.asarray(caption.gates, dtype=float), role="model"),),
        Axis("word", ticks=ticks, limits=(-0.5, len(words) - 0.5)),
        Axis("β", limits=(0.0, 1.0)),
        "Gate by word",
        caption=f"The gate beta, which scales the context, at each word of: {shared.sentence(caption)}.",
        legend=False,
        note="" if shared.engine.config.gate else "The gate is off: beta is 1.",
    )


def _strip(shared: _Shared) -> Figure:
    """Figure 2 of the paper, both rows from one model."""
    room = max(len(shared.old.words), len(shared.hard.words))
    how = "drawn from alpha" if shared.engine.config.hard_context == "drawn" else "of the largest weight"
    return Panels(
        (_row(shared, shared.old, "soft", room), _row(shared, shared.hard, "hard", room, hard=True)),
        1,
        title="Word by word",
        caption=f"Attention at each word of one model. Soft, the mean under the weights: {shared.sentence(shared.old)}. "
        f"Hard, one location, {how}: {shared.sentence(shared.hard)}. Each picture is brightest at its largest weight; even "
        "attention leaves it as it is.",
        share_axes=False,
    )


def _overlay(shared: _Shared) -> Figure:
    """A film with one frame a word; the ticks of its time axis are the words."""
    caption = shared.new or shared.old
    image = shared.image
    height, width = image.shape[:2]
    maps = shared.maps(caption)
    words = shared.text(caption)
    even = 1.0 / maps[0].size
    looked = shared.engine.hand.looks if shared.new is not None else {}
    smooth = shared.engine.config.shading == "smooth"
    shown = shared.enlarged(maps, image) if smooth else maps
    shaded = shared.shade(image, maps)
    frames = []
    for place, word in enumerate(words):
        top = float(maps[place].max())
        note = f"{word}: β {caption.gates[place]:.2f}, largest α {top:.2f} ({top / even:.1f} × even)"
        if place in looked:
            note = f"{word}: moved by you, largest α {top:.2f}"
        if smooth:
            note = f"{word}: largest α {top:.2f}; smoothing is cosmetic"
        frames.append(
            Plot(
                (
                    ImageGrid(shaded[place][None], columns=1, gap=0),
                    Heatmap(
                        np.ascontiguousarray(shown[place]),
                        (0.0, float(width), 0.0, float(height)),
                        (even, max(top, min(SHARP * even, 1.0)) + 1e-9),
                        "role",
                        role="hand" if place in looked else "model",
                        opacity=TINT,
                    ),
                ),
                HIDDEN,
                HIDDEN,
                "Where it looks",
                equal=True,
                y_down=True,
                legend=False,
                note=note,
            )
        )
    return Film(
        tuple(frames),
        np.arange(1, len(words) + 1),
        Axis("word", ticks=tuple((float(place), word) for place, word in enumerate(words, 1))),
        "Where it looks",
        f"The attention at each word of: {shared.sentence(caption)}. The image is brightest, and coloured, at the largest "
        "weight; even attention leaves it as it is."
        + (" The map is smoothed, which has no meaning." if smooth else ""),
        # Where attention is sharpest there is most to see.
        start=int(caption.alphas.max(axis=1).argmax()),
    )


def _gaze(shared: _Shared) -> Figure:
    if shared.new is None:
        note = "Drag the attention at a word, or replace the word."
        plots: tuple[Plot, ...] = (_row(shared, shared.old, "before", 0, note=note),)
    else:
        room = max(len(shared.old.words), len(shared.new.words))
        plots = (_row(shared, shared.old, "before", room), _row(shared, shared.new, "after", room))
    caption = f"Before: {shared.sentence(shared.old)}."
    if shared.new is not None:
        caption += f" After: {shared.sentence(shared.new)}."
    return Panels(plots, 1, title="Grab the gaze", caption=caption, share_axes=False)


def _coverage(shared: _Shared) -> Figure:
    """Sum over the words of the attention, as a map and sorted."""
    caption = shared.new or shared.old
    rows, columns = shared.engine.eye.grid
    total = shared.maps(caption).sum(0)
    count, locations = len(caption.words), rows * columns
    term = float(np.square(1.0 - total).sum())
    floor = doubly_stochastic_floor(locations, count)
    ranked = np.sort(total.ravel())[::-1].astype(float)
    return Panels(
        (
            Plot(
                (
                    Heatmap(
                        np.ascontiguousarray(total[::-1]),
                        (0.0, float(columns), 0.0, float(rows)),
                        (0.0, 2.0),
                        "diverging",
                        values_label="sum of alpha",
                    ),
                ),
                HIDDEN,
                HIDDEN,
                equal=True,
            ),
            Plot(
                (
                    Lines(np.arange(1.0, locations + 1), ranked, role="model", steps=True),
                    Rule(1.0, "y", role="target", label="target, 1"),
                    Rule(count / locations, "y", role="past", label="even, C / L"),
                ),
                Axis("location, sorted"),
                Axis("sum of alpha", limits=(0.0, max(1.2, 1.05 * float(ranked[0])))),
                note=f"term {term:.1f}, least {floor:.1f}",
            ),
        ),
        2,
        title="Coverage",
        caption=f"Attention summed over the {count} words of: {shared.sentence(caption)}. On the left at each location, "
        f"on the right sorted. The doubly stochastic term is {term:.1f}, and with {count} words at least {floor:.1f}.",
        share_axes=False,
    )


def _beam(shared: _Shared) -> Figure:
    """The tree of the search, and the captions it ended with."""
    engine = shared.engine
    found = shared.found
    if shared.new is not None:
        found = engine.beam(shared.annotations, words=engine.hand.words, looks=engine.hand.looks)
    columns: dict[int, int] = {}
    positions = np.zeros((len(found.nodes), 2))
    edges = []
    for index, node in enumerate(found.nodes):
        # Nodes of a place stand in the order of their likelihood, which is that of the search.
        positions[index] = node.step + 1, -float(columns.get(node.step, 0))
        columns[node.step] = columns.get(node.step, 0) + 1
        if node.parent >= 0:
            edges.append((node.parent, index))
    best = set(found.captions[0].nodes)
    tree = Plot(
        (
            Graph(
                positions,
                np.array(edges, dtype=np.int64).reshape(-1, 2),
                node_values=np.array([node.log_likelihood for node in found.nodes]),
                edge_values=np.array([1.0 if child in best else 0.0 for _, child in edges]),
                node_labels=tuple(engine.vocabulary.words[node.word] for node in found.nodes),
            ),
        ),
        Axis("word"),
        Axis("place in the beam", ticks=tuple((-float(i), str(i + 1)) for i in range(engine.config.beam))),
        "The words that were kept for a while",
        legend=False,
    )
    captions = found.captions[:SHOWN_BRANCHES]
    room = max((len(caption.words) for caption in captions), default=0)
    rows = tuple(_row(shared, caption, f"{caption.log_likelihood:.2f}", room) for caption in captions)
    return Panels(
        (tree, *rows),
        1,
        title="Beam",
        caption="The tree of the beam search, coloured by log-likelihood, and its captions with the log-likelihood and "
        "attention of each: "
        + "; ".join(shared.sentence(caption) for caption in found.captions[:SHOWN_BRANCHES])
        + ".",
        share_axes=False,
    )


def _mass(shared: _Shared) -> Figure:
    """Share of the attention on what a word names."""
    shares = shared.engine.mass_shares()
    title = "Aim"
    if not shares:
        return Plot(
            x=HIDDEN,
            y=HIDDEN,
            title=title,
            note="What a word names is known for the drawn scenes alone: choose the preset Drawn scenes.",
        )
    places = np.arange(len(shares), dtype=float)
    return Plot(
        (
            Bars(places - 0.2, np.array([share for share, _ in shares.values()]), 0.38, label="attention"),
            Bars(
                places + 0.2,
                np.array([even for _, even in shares.values()]),
                0.38,
                label="even attention",
                role="past",
            ),
        ),
        Axis(
            "kind of word",
            limits=(-0.6, len(shares) - 0.4),
            ticks=tuple((float(i), kind) for i, kind in enumerate(shares)),
        ),
        Axis("share on what is named", limits=(0.0, 1.0)),
        title,
        caption="Share of the attention on cells that what the word names touches, while validation images' own captions are "
        "written, by kind of word, beside the share that even attention would have.",
    )
