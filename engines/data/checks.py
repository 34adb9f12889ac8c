"""Checks of what a caller asks of a data set, each failing with one sentence; safe on any thread or
process."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engines.errors import DataError


def number(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """A finite number within [low, high], or a DataError."""
    limits = f"a number from {low:g} to {high:g}" if math.isfinite(high) else f"a number of at least {low:g}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise DataError(f"{name} is {value!r}, which is not a number; give {limits}.")
    result = float(value)
    if not math.isfinite(result) or not low <= result <= high:
        raise DataError(f"{name} is {result:g}, which is out of range; give {limits}.")
    return result


def integer(name: str, value: Any, low: int, high: int) -> int:
    """A whole number within [low, high], or a DataError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise DataError(
            f"{name} is {value!r}, which is not a whole number; give one from {low:,} to {high:,}."
        )
    if not low <= int(value) <= high:
        raise DataError(
            f"{name} is {int(value):,}, which is out of range; give a whole number from {low:,} to {high:,}."
        )
    return int(value)


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of some words, or a DataError that lists them."""
    known = list(choices)
    if value not in known:
        raise DataError(f"{name} is {value!r}, which is not known; give one of {', '.join(known)}.")
    return str(value)


def near_misses(word: str, known: Iterable[str]) -> str:
    """' (did you mean x or y?)', or nothing when no known word is near."""
    by_folded = {name.casefold().replace("-", "_"): name for name in known}
    folded = word.casefold().replace("-", "_").replace(" ", "_")
    near = [by_folded[name] for name in difflib.get_close_matches(folded, by_folded, n=3, cutoff=0.5)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def option_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the keyword-only parameters, without ``seed``."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "seed")


def options(title: str, function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse options that the function does not take, naming those it does."""
    known = option_names(function)
    for name in given:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise DataError(
                f'{title} has no option "{name}"{near_misses(name, known)}; {has}, so correct the name or '
                "leave it out."
            )


def shorten(text: str, length: int = 40) -> str:
    """The text as Python would quote it, cut in the middle of nowhere when it is long; always on one line."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")
