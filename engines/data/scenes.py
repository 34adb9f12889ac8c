"""Drawn scenes with captions: shapes, colours, sizes, numbers and relations; safe on any thread or process.

A scene is one group of like objects, or two groups and how they lie to each other. Five captions a scene come from a
small grammar. As everything is drawn here, the pixels that each word speaks of are known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

Size = Literal["small", "large"]
Kind = Literal["object", "colour", "size", "number", "relation"]
Relation = Literal["left", "right", "above", "below", "inside"]

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (206, 52, 58),
    "orange": (243, 142, 36),
    "yellow": (246, 208, 66),
    "green": (58, 164, 92),
    "blue": (44, 104, 196),
    "purple": (132, 76, 172),
}
"""Red, green and blue of the middle of an object, 0 to 255; its rim is darker."""

SIZES: tuple[Size, ...] = ("small", "large")

HELD_OUT = frozenset(
    {
        ("red", "star"),
        ("orange", "moon"),
        ("yellow", "circle"),
        ("green", "heart"),
        ("green", "triangle"),
        ("blue", "ring"),
        ("purple", "square"),
        ("red", "cross"),
    }
)
"""Colour and shape that never meet in training; each of both is seen there in other company."""

CAPTIONS = 5
"""Captions of a scene, as many as Flickr8k has."""

UNIT = 64
"""Positions and radii of scenes are in 64ths of the picture's edge."""

PAPER = (247, 244, 237)

_REACH = 1.22
"""How far the farthest point of a shape is from its middle, in radii."""

_GAP = 2.5
_MARGIN = 1.5
_NUMBERS = {2: "two", 3: "three", 4: "four"}
_CONVERSE: dict[Relation, str] = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "inside": "around",
}
_SYNONYMS = {"above": "over", "below": "under"}


@dataclass(frozen=True, slots=True)
class Group:
    """Objects of one shape, colour and size.

    Attributes
    ----------
    shape, colour, size : str
    radius : float
        In 64ths of the picture's edge.
    centres : tuple of (x, y)
        In 64ths of the picture's edge, y downwards.
    """

    shape: str
    colour: str
    size: Size
    radius: float
    centres: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two groups; the first is ``relation`` the second ("left" means left of it).

    Attributes
    ----------
    groups : tuple of Group
    relation : str or None
        None if there is one group.
    paper : tuple of int
        Colour of the background.
    """

    groups: tuple[Group, ...]
    relation: Relation | None
    paper: tuple[int, int, int]


Tag = tuple[tuple[int, ...], Kind] | None
"""Indices of the groups that a word speaks of, and what it says of them; None for words such as "a" and "of"."""

Caption = tuple[tuple[str, Tag], ...]


def uniforms(generator: np.random.Generator) -> Iterator[float]:
    """Endless numbers from [0, 1); drawn by the block, as one call a number would take most of the time."""
    while True:
        yield from generator.random(4096).tolist()


# --- what is in a scene  ----------


def make_scene(draws: Iterator[float], held_out: bool) -> Scene:
    """A random scene.

    Parameters
    ----------
    draws : iterator of float
        Uniform numbers, see `uniforms`.
    held_out : bool
        Whether one group has a pair of colour and shape from `HELD_OUT`; otherwise none has.
    """
    while True:
        scene = _attempt(draws, held_out)
        if scene is not None:
            return scene


def _pick(draws: Iterator[float], count: int) -> int:
    return int(next(draws) * count)


def _between(draws: Iterator[float], low: float, high: float) -> float:
    return low + (high - low) * next(draws)


_KNOWN = tuple((c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT)
_UNKNOWN = tuple(sorted(HELD_OUT))


def _attempt(draws: Iterator[float], held_out: bool) -> Scene | None:
    """A scene, or None when its objects found no room."""
    shade = _pick(draws, 7) - 3
    paper = (PAPER[0] + shade, PAPER[1] + shade, PAPER[2] + shade)
    if next(draws) < 0.22:
        colour, shape = _kind(draws, held_out)
        size = SIZES[_pick(draws, 2)]
        count = 1 + (_pick(draws, 3) + 1 if next(draws) < 0.6 else 0)
        radius = _radius(draws, size)
        centres = _place(draws, [(radius, count, (0.0, 0.0, UNIT, UNIT))])
        return (
            None if centres is None else Scene((Group(shape, colour, size, radius, centres[0]),), None, paper)
        )

    special = _pick(draws, 2)
    nested = next(draws) < 0.07
    kinds = [
        _kind(draws, held_out and index == special, (index == 1) if nested else None) for index in range(2)
    ]
    if kinds[0] == kinds[1]:
        return None
    if nested:
        return _nested(draws, kinds, paper)
    sizes = [SIZES[_pick(draws, 2)] for _ in range(2)]
    counts = [1, 1]
    if next(draws) < 0.45:
        counts[_pick(draws, 2)] = 2 + _pick(draws, 2)
    # Three large objects beside another would leave no room for the relation.
    sizes = ["small" if count > 2 else size for size, count in zip(sizes, counts, strict=True)]
    radii = [_radius(draws, size) for size in sizes]
    relation: Relation = ("left", "right", "above", "below")[_pick(draws, 4)]
    across = relation in ("left", "right")
    cut = UNIT / 2 + _between(draws, -8, 8)
    low, high = (0.0, cut - _GAP), (cut + _GAP, float(UNIT))
    first, second = (low, high) if relation in ("left", "above") else (high, low)
    boxes = [(a, 0.0, b, UNIT) if across else (0.0, a, UNIT, b) for a, b in (first, second)]
    centres = _place(draws, list(zip(radii, counts, boxes, strict=True)))
    if centres is None:
        return None
    middle = np.array([np.mean(group, axis=0) for group in centres])
    along, aside = abs(middle[0] - middle[1])[:: 1 if across else -1]
    # What lies as much above as to the left could be called either.
    if aside > 0.45 * along:
        return None
    groups = [
        Group(shape, colour, size, radius, group)
        for (colour, shape), size, radius, group in zip(kinds, sizes, radii, centres, strict=True)
    ]
    return Scene(tuple(groups), relation, paper)


def _nested(draws: Iterator[float], kinds: list[tuple[str, str]], paper: tuple[int, int, int]) -> Scene:
    """A small object inside a large ring."""
    radius = _between(draws, 16.0, 19.0)
    reach = radius * 1.1 + _MARGIN
    x, y = (_between(draws, reach, UNIT - reach) for _ in range(2))
    inner = _between(draws, 4.6, 5.6)
    slack = radius * _RING_HOLE - inner * _REACH - 1
    angle, away = 2 * math.pi * next(draws), max(0.0, slack) * next(draws)
    centre = (x + away * math.cos(angle), y + away * math.sin(angle))
    return Scene(
        (
            Group(kinds[0][1], kinds[0][0], "small", inner, (centre,)),
            Group("ring", kinds[1][0], "large", radius, ((x, y),)),
        ),
        "inside",
        paper,
    )


@cache
def _kinds(held_out: bool, ring: bool | None) -> list[tuple[str, str]]:
    kinds = _UNKNOWN if held_out else _KNOWN
    return [kind for kind in kinds if ring is None or (kind[1] == "ring") == ring]


def _kind(draws: Iterator[float], held_out: bool, ring: bool | None = None) -> tuple[str, str]:
    """Colour and shape; ``ring`` says whether it must be a ring or must not, None that either will do."""
    kinds = _kinds(held_out, ring)
    return kinds[_pick(draws, len(kinds))]


def _radius(draws: Iterator[float], size: Size) -> float:
    return _between(draws, 4.6, 5.6) if size == "small" else _between(draws, 9.0, 10.6)


def _place(
    draws: Iterator[float], wanted: list[tuple[float, int, tuple[float, float, float, float]]]
) -> list[tuple[tuple[float, float], ...]] | None:
    """Centres for (radius, count, box) of each group such that no two objects touch; None if none were found."""
    taken: list[tuple[float, float, float]] = []
    centres = []
    for radius, count, (left, top, right, bottom) in wanted:
        reach = radius * _REACH + _MARGIN
        group: list[tuple[float, float]] = []
        if right - left < 2 * reach or bottom - top < 2 * reach:
            return None
        for _ in range(count):
            for _ in range(20):
                x = _between(draws, left + reach, right - reach)
                y = _between(draws, top + reach, bottom - reach)
                if all(math.hypot(x - u, y - v) > (radius + r) * _REACH + _GAP for u, v, r in taken):
                    break
            else:
                return None
            taken.append((x, y, radius))
            group.append((x, y))
        centres.append(tuple(group))
    return centres


# --- what is said of it  ----------


def describe(scene: Scene, draws: Iterator[float]) -> tuple[Caption, ...]:
    """Five different captions of a scene, each a tuple of words with their tags."""
    captions = _of_one(scene) if scene.relation is None else _of_two(scene, draws)
    for index in range(CAPTIONS):  # the first steps of a shuffle
        other = index + _pick(draws, len(captions) - index)
        captions[index], captions[other] = captions[other], captions[index]
    return tuple(tuple(caption) for caption in captions[:CAPTIONS])


_Words = list[tuple[str, Tag]]


def _plain(text: str) -> _Words:
    return [(word, None) for word in text.split()]


def _noun(scene: Scene, index: int) -> tuple[str, Tag]:
    group = scene.groups[index]
    if len(group.centres) == 1:
        return group.shape, ((index,), "object")
    return group.shape + ("es" if group.shape.endswith("s") else "s"), ((index,), "object")


def _article(scene: Scene, index: int, following: str) -> tuple[str, Tag]:
    count = len(scene.groups[index].centres)
    if count > 1:
        return _NUMBERS[count], ((index,), "number")
    return "an" if following[0] in "aeiou" else "a", None


def _phrase(scene: Scene, index: int, with_size: bool = True) -> _Words:
    """A group with its number, size and colour: "two small red stars"."""
    group = scene.groups[index]
    words: _Words = [(group.size, ((index,), "size"))] if with_size else []
    words += [(group.colour, ((index,), "colour")), _noun(scene, index)]
    return [_article(scene, index, words[0][0]), *words]


def _verb(scene: Scene, index: int) -> str:
    return "is" if len(scene.groups[index].centres) == 1 else "are"


def _of_one(scene: Scene) -> list[_Words]:
    group, verb = scene.groups[0], _verb(scene, 0)
    name = _noun(scene, 0)
    size: tuple[str, Tag] = (group.size, ((0,), "size"))
    colour: tuple[str, Tag] = (group.colour, ((0,), "colour"))
    return [
        _phrase(scene, 0),
        _phrase(scene, 0, with_size=False),
        [*_plain(f"there {verb}"), *_phrase(scene, 0)],
        [*_plain(f"there {verb}"), *_phrase(scene, 0, with_size=False)],
        [*_plain("a picture of"), *_phrase(scene, 0)],
        [_article(scene, 0, name[0]), name, *_plain(f"that {verb}"), size, *_plain("and"), colour],
    ]


def _of_two(scene: Scene, draws: Iterator[float]) -> list[_Words]:
    def related(first: int, with_size: bool = True, verb: bool = False) -> _Words:
        """Tell it from either side: "a star above a ring", "a ring below a star"."""
        assert scene.relation is not None
        word = scene.relation if first == 0 else _CONVERSE[scene.relation]
        other_way = next(draws) < 0.5
        words: _Words = [(_SYNONYMS.get(word, word) if other_way else word, ((0, 1), "relation"))]
        if word in ("left", "right"):
            words = [*(_plain("to the") if other_way else []), *words, *_plain("of")]
        return [
            *_phrase(scene, first, with_size),
            *(_plain(_verb(scene, first)) if verb else []),
            *words,
            *_phrase(scene, 1 - first, with_size),
        ]

    return [
        related(0),
        related(1),
        related(0, with_size=False),
        related(1, with_size=False),
        related(0, verb=True),
        [*_plain(f"there {_verb(scene, 0)}"), *related(0)],
        [*_phrase(scene, 0), *_plain("and"), *_phrase(scene, 1)],
    ]


# --- what it looks like  ----------

_RING_HOLE = 0.66


def draw(scene: Scene, size: int) -> np.ndarray:
    """The picture of a scene, (size, size, 3) uint8, with smooth edges."""
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = scene.paper
    for group in scene.groups:
        body, rim = _paints(group.colour)
        for rows, columns, cover, inner in _stamps(group, size):
            window = picture[rows, columns]
            window += cover * (rim - window)
            window += inner * (body - window)
    return np.rint(picture).astype(np.uint8)


def mask(group: Group, size: int) -> np.ndarray:
    """Where the objects of a group are, (size, size) bool: pixels of which at least half are covered."""
    result = np.zeros((size, size), bool)
    for rows, columns, cover, _ in _stamps(group, size):
        result[rows, columns] |= cover[:, :, 0] >= 0.5
    return result


@cache
def _paints(colour: str) -> tuple[np.ndarray, np.ndarray]:
    body = np.array(COLOURS[colour], np.float32)
    return body, body * np.float32(0.78)


def _stamps(group: Group, size: int) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray]]:
    """Rows, columns and the coverages (h, w, 1) by the object and by its inside, for each object."""
    scale = size / UNIT
    # Objects sit on whole pixels and radii step by a quarter, so that few stamps serve all scenes.
    cover, inner = _stamp(group.shape, round(4 * group.radius * scale))
    half = len(cover) // 2
    for x, y in group.centres:
        column, row = math.floor(x * scale), math.floor(y * scale)
        top, left = max(0, row - half), max(0, column - half)
        rows, columns = slice(top, min(size, row + half + 1)), slice(left, min(size, column + half + 1))
        down, right = top - (row - half), left - (column - half)
        part = (slice(down, down + rows.stop - top), slice(right, right + columns.stop - left))
        yield rows, columns, cover[part], inner[part]


@cache
def _stamp(shape: str, quarters: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of each pixel (h, h, 1) that a shape covers with and without its rim; the middle pixel is its centre."""
    radius = quarters / 4
    half = math.ceil(radius * _REACH) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(float) / radius
    distance = _distance(shape, x, y) * radius
    rim = max(1.0, 0.11 * radius)
    cover, inner = (
        np.clip(0.5 - distance - inset, 0, 1).astype(np.float32)[:, :, None] for inset in (0, rim)
    )
    return cover, inner


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distances of points from the edge of a shape of radius 1, negative inside; y downwards.

    The shapes are scaled so that they look alike in size, not so that they reach equally far.
    """
    from_middle = np.hypot(x, y)
    if shape == "circle":
        return from_middle - 1.0
    if shape == "ring":
        return np.maximum(from_middle - 1.1, _RING_HOLE - from_middle)
    if shape == "moon":
        return np.maximum(np.hypot(x - 0.12, y) - 1.12, 0.86 - np.hypot(x - 0.74, y + 0.24))
    corners, rounding = _outline(shape)
    return _polygon_distance(x, y, corners) - rounding


@cache
def _outline(shape: str) -> tuple[np.ndarray, float]:
    """Corners (C, 2) of a polygon, and by how much it is grown to round them."""
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.78, 0.12
    if shape == "triangle":
        angles = np.radians([-90, 30, 150])
        return np.stack([np.cos(angles), np.sin(angles)], 1) * 1.12 + (0, 0.18), 0.12
    if shape == "star":
        angles = np.radians(-90 + 36 * np.arange(10))
        reach = np.where(np.arange(10) % 2 == 0, 1.16, 0.5)
        return np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None] + (0, 0.05), 0.06
    if shape == "cross":
        a, b = 0.28, 1.0
        right = [(a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b)]
        return np.array([*right, *((-u, -v) for u, v in right)]), 0.09
    assert shape == "heart", shape
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    u = 16 * np.sin(t) ** 3
    v = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([u, v - 1.5], 1) / 15.2, 0.04


def _polygon_distance(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Signed distance from a polygon, negative inside."""
    points = np.stack([x, y], -1)[..., None, :]
    edge = np.roll(corners, -1, 0) - corners
    offset = points - corners
    along = np.clip((offset * edge).sum(-1) / (edge**2).sum(-1), 0, 1)
    nearest = np.linalg.norm(offset - along[..., None] * edge, axis=-1).min(-1)
    # A ray to the right crosses the edges of a polygon an odd number of times if it starts inside.
    above = offset[..., 1] < 0
    next_above = np.roll(above, -1, -1)
    turns = edge[:, 0] * offset[..., 1] - edge[:, 1] * offset[..., 0]
    crossed = (above != next_above) & ((turns > 0) == (edge[:, 1] < 0))
    return np.where(crossed.sum(-1) % 2 == 1, -nearest, nearest)
