"""Minibatches of captions of equal length, in an order that seed and position decide; runs on the worker's loop.

As in the authors' code, so that no caption is padded and every word's attention counts. The last minibatch of a length may be
smaller than the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Batches:
    """Goes through all captions again and again; each pass is shuffled anew.

    Parameters
    ----------
    lengths : array (N,) of int
        Words of each caption.
    seed : int
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, seed: int) -> None:
        lengths = np.asarray(lengths)
        self._groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
        self._seed = seed
        self._epoch, self._position, self._size = 0, 0, 0
        self._order: list[np.ndarray] = []

    @property
    def epochs(self) -> float:
        """Passes over the captions, as far as they have gone."""
        return self._epoch + (self._position / len(self._order) if self._order else 0.0)

    def next(self, size: int) -> np.ndarray:
        """Indices of the captions of the next minibatch; another size begins another pass."""
        if size != self._size and self._position:
            self._epoch, self._position = self._epoch + 1, 0
        if size != self._size or not self._order:
            self._size = size
            self._cut()
        if self._position == len(self._order):
            self._epoch, self._position = self._epoch + 1, 0
            self._cut()
        self._position += 1
        return self._order[self._position - 1]

    def _cut(self) -> None:
        words = [self._seed, *b"batches", self._epoch]
        random = np.random.default_rng(np.random.SeedSequence(words))
        batches = []
        for group in self._groups:
            shuffled = random.permutation(group)
            batches += [shuffled[i : i + self._size] for i in range(0, len(shuffled), self._size)]
        self._order = [batches[i] for i in random.permutation(len(batches))]

    def state_dict(self) -> dict[str, Any]:
        """Plain data for a keyframe."""
        return {"epoch": self._epoch, "position": self._position, "size": self._size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to where `state_dict` was taken."""
        self._epoch, self._position, self._size = state["epoch"], state["position"], state["size"]
        if self._size:
            self._cut()
