"""What a run remembers of its meta-iterations, ever more thinly, so that it never grows large; the worker's thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

MOST_RECORDS = 32
MOST_POINTS = 200
"""Inner iterations that a remembered curve keeps."""

Record = dict[str, np.ndarray]


class History:
    """Records of evenly spaced meta-iterations; when there are too many every other one is dropped.

    Attributes
    ----------
    metas : list of int
        Which meta-iterations, from 0.
    records : list of dict of float32 arrays
    """

    def __init__(self) -> None:
        self.metas: list[int] = []
        self.records: list[Record] = []
        self._stride = 1
        self._newest = False

    def add(self, meta: int, record: Record) -> None:
        """Remember one; the newest is always there, and gives way to the next if it does not stand on the grid."""
        if self.metas and not self._newest:
            self.metas.pop()
            self.records.pop()
        self.metas.append(meta)
        self.records.append({name: np.array(value, dtype=np.float32) for name, value in record.items()})
        self._newest = meta % self._stride == 0
        if len(self.metas) > MOST_RECORDS:
            self._stride *= 2
            kept = [i for i, m in enumerate(self.metas) if m % self._stride == 0 or i == len(self.metas) - 1]
            self.metas = [self.metas[i] for i in kept]
            self.records = [self.records[i] for i in kept]
            self._newest = meta % self._stride == 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "metas": list(self.metas),
            "records": [dict(record) for record in self.records],
            "stride": self._stride,
            "newest": self._newest,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.metas = list(state["metas"])
        # Keyframes give arrays back as tensors or as arrays.
        self.records = [
            {name: np.asarray(value, dtype=np.float32) for name, value in record.items()}
            for record in state["records"]
        ]
        self._stride, self._newest = state["stride"], state["newest"]


def places(count: int, most: int = MOST_POINTS) -> np.ndarray:
    """At most so many of 0 .. count - 1, evenly spread, both ends included."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))


def averaged(values: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """A curve (N,) as the means of at most so many equal stretches."""
    if len(values) <= most:
        return values
    edges = np.linspace(0, len(values), most + 1).round().astype(int)
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges)
