"""What the tests of every engine do with one: train it, copy it through a keyframe, look at its pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from engines import figures as vocabulary
from engines.engine import Engine
from engines.figures import Figure
from lab.runs.state import pack, unpack

E = TypeVar("E", bound=Engine)


def trained(engine: E, steps: int) -> E:
    """The same engine, some updates later."""
    for _ in range(steps):
        engine.step()
    return engine


def everything(engine: Engine) -> bytes:
    """The whole state, as a keyframe holds it."""
    return pack(engine.state_dict())


def copy_of(engine: E, **changes: Any) -> E:
    """Another engine that continues from a keyframe of this one, with other settings if any are named."""
    values = {**engine.config.model_dump(), **changes}
    other = type(engine)(type(engine.config).build(values), torch.device("cpu"))
    other.load_state_dict(unpack(everything(engine))[0])
    return other


def picture(engine: Engine, name: str) -> Figure:
    """One picture."""
    return engine.figures([name])[name]


def same(first: Figure, second: Figure) -> bool:
    """Whether two pictures hold the same numbers in the same places."""
    a, b = dict(vocabulary.arrays_of(first)), dict(vocabulary.arrays_of(second))
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


def check_whole(figures: Mapping[str, Figure], names: Collection[str]) -> None:
    """All pictures are there, sound and finite, and one that does not apply says so in words."""
    assert set(figures) == set(names)
    for name, figure in figures.items():
        assert vocabulary.check(figure) == [], name
        assert not vocabulary.is_empty(figure) or all(p.remark() for p in vocabulary.plots_of(figure)), name
        assert all(np.isfinite(array).all() for _, array in vocabulary.arrays_of(figure)), name


def marks(figure: Figure, kind: type, plot: int = 0, frame: int | None = None) -> list[Any]:
    """Marks of one kind in one plot of a figure."""
    plots = list(vocabulary.plots_of(vocabulary.at(figure, frame)))
    return [mark for mark in plots[plot].marks if isinstance(mark, kind)]


def one_sentence(error: BaseException) -> str:
    """The error's text, which must be one sentence for a person."""
    text = str(error)
    assert text.endswith(".") and "\n" not in text and "Traceback" not in text
    return text
