"""Several seeds of one setting as one band: what is typical of them, and how sure that is; any thread, Qt-free.

The interquartile mean, the mean of the middle half of the seeds, is less moved by one lucky or failed seed than the mean and
wastes less than the median (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engines.errors import InputError
from lab.runs.shelf import ShelfRow, display_fields, known_method

How = Literal["iqm", "mean"]

_AT_ONCE = 2**22
"""Numbers that the bootstrap holds at once."""


@dataclass(frozen=True, eq=False)
class Band:
    """A curve with an interval around it.

    Attributes
    ----------
    steps, center, low, high : array (N,) of float64
    how : {"iqm", "mean"}
    count : int
        How many seeds.
    confidence : float
    """

    steps: np.ndarray
    center: np.ndarray
    low: np.ndarray
    high: np.ndarray
    how: How
    count: int
    confidence: float

    def label(self) -> str:
        """What the curve and the interval are, in words; for legends and captions."""
        if self.count == 1:
            return "1 seed, no interval"
        name = "IQM" if self.how == "iqm" else "Mean"
        return f"{name} of {self.count} seeds, {100 * self.confidence:g} % bootstrap interval"


def group_by_setting(rows: Iterable[ShelfRow]) -> list[list[ShelfRow]]:
    """The runs that differ in their seed alone, group by group, in the order of the rows.

    Steps and settings of the pictures do not count. A run that the hand reached into, or that was rewound or forked from
    another one, is not told by its settings: it stands by itself, and so does one that cannot be read.
    """
    groups: dict[tuple[Any, ...], list[ShelfRow]] = {}
    ignored: dict[str, set[str]] = {}
    for index, row in enumerate(rows):
        alone = row.problem or row.touched or (row.parent and row.relation != "continue")
        if row.paper not in ignored:
            ignored[row.paper] = {"seed", "steps"} | _display_fields_of(row.paper)
        values = {name: value for name, value in row.values.items() if name not in ignored[row.paper]}
        key = (index,) if alone else (row.paper, json.dumps(values, sort_keys=True, default=str))
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def one_per_seed(group: Iterable[ShelfRow]) -> list[ShelfRow]:
    """Of the runs with one seed, the one that came furthest: a second one would say the same again and count double."""
    best: dict[int, ShelfRow] = {}
    for row in group:
        if row.seed not in best or row.step > best[row.seed].step:
            best[row.seed] = row
    return list(best.values())


def band(
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    how: How = "iqm",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    points: int = 400,
) -> Band:
    """The typical curve of several seeds, with a percentile bootstrap interval over the seeds.

    All curves are brought to one grid of steps, linearly between reported values. It ends where the shortest curve ends and
    begins where the last one begins, so that all seeds speak at every step: what longer ones have beyond is cut, as a band of
    fewer seeds would jump there.

    Parameters
    ----------
    curves : sequence of (steps, values)
        Arrays (N,), one pair for each seed; values that are not finite count as not reported. For scalars that jump from step
        to step, give the means of `lab.runs.history.Series`.
    how : {"iqm", "mean"}
        Interquartile mean (with fewer than four seeds there is nothing to trim, and it is the mean), or mean.
    confidence : float
        Between 0 and 1.
    resamples : int
        How often the seeds are drawn again, with replacement.
    seed : int
        Of the resampling.
    points : int
        Steps of the grid at most; no more than the longest curve has.

    Raises
    ------
    InputError
        When there are no curves, or no step is common to all.
    """
    reported = []
    for steps, values in curves:
        steps, values = np.asarray(steps, float), np.asarray(values, float)
        finite = np.isfinite(values)
        order = np.argsort(steps[finite], kind="stable")
        reported.append((steps[finite][order], values[finite][order]))
    if not reported or not all(len(steps) for steps, _ in reported):
        raise InputError(
            "A band needs at least one finite value of every run: leave out the runs that have none."
        )
    start = max(steps[0] for steps, _ in reported)
    end = min(steps[-1] for steps, _ in reported)
    if start > end:
        raise InputError(
            f"The runs have no step in common (one begins at {start:,.0f}, another ends at {end:,.0f}): train on the shorter "
            "ones, or leave them out."
        )
    longest = max(int(np.count_nonzero((steps >= start) & (steps <= end))) for steps, _ in reported)
    grid = np.linspace(start, end, max(1 if start == end else 2, min(points, longest)))
    table = np.stack([np.interp(grid, steps, values) for steps, values in reported])
    center = _typical(table, how, axis=0)
    low, high = _interval(table, how, confidence, resamples, seed)
    return Band(grid, center, low, high, how, len(table), confidence)


def _typical(values: np.ndarray, how: How, axis: int) -> np.ndarray:
    count = values.shape[axis]
    cut = int(0.25 * count) if how == "iqm" else 0
    # As scipy.stats.trim_mean, whose import would cost the window a second.
    middle = np.take(np.sort(values, axis=axis), range(cut, count - cut), axis=axis) if cut else values
    return np.asarray(middle.mean(axis=axis))


def _interval(
    table: np.ndarray, how: How, confidence: float, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    count, width = table.shape
    # The same draws at every step: whole seeds are drawn, and the edges of the band do not flicker.
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
    tails = 50 * (1 - confidence), 50 * (1 + confidence)
    columns = max(1, _AT_ONCE // drawn.size)
    parts = [
        np.percentile(_typical(table[drawn, first : first + columns], how, axis=1), tails, axis=0)
        for first in range(0, width, columns)
    ]
    low, high = np.concatenate(parts, axis=1)
    return low, high


def _display_fields_of(paper: str) -> set[str]:
    method = known_method(paper)
    return display_fields(method.config) if method is not None else set()
