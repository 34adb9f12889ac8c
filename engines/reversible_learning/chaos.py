"""The chaos sweep: loss and hypergradient over one step size for all iterations; the worker's thread.

Figure 10 of the paper. Step sizes are tried in the order of van der Corput, so that the picture is whole at any time and
only becomes finer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

TOLERANCE = 0.5
"""How far the slope between two neighbours may be from their derivatives, as a share of these, to count as the same."""

FEWEST = 8
"""Points from which the safe side is told."""


def van_der_corput(index: int) -> float:
    """The index-th number of 0 .. 1 with its binary digits mirrored: 0, 1/2, 1/4, 3/4, 1/8 ..."""
    value, place = 0.0, 0.5
    while index:
        value += place * (index & 1)
        index >>= 1
        place /= 2
    return value


class Sweep:
    """What was found so far.

    Parameters
    ----------
    low, high : float
        Logarithms of the step sizes between which is swept.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.tried = 0
        self.log_alpha: list[float] = []
        self.loss: list[float] = []
        self.slope: list[float] = []

    def next(self) -> float:
        """The logarithm of the step size to try next: both ends, then ever finer between them."""
        share = 1.0 if self.tried == 1 else van_der_corput(max(self.tried - 1, 0))
        return self.low + share * (self.high - self.low)

    def add(self, loss: float | None, slope: float | None) -> None:
        """What was found there; None where training left the range."""
        if loss is not None and slope is not None and np.isfinite(loss) and np.isfinite(slope):
            self.log_alpha.append(self.next())
            self.loss.append(loss)
            self.slope.append(slope)
        self.tried += 1

    def sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logarithms of the step sizes, rising, with losses and slopes there."""
        x, loss, slope = (np.array(some, dtype=float) for some in (self.log_alpha, self.loss, self.slope))
        order = np.argsort(x)
        return x[order], loss[order], slope[order]

    def edge(self) -> float | None:
        """Where the safe side ends; None while too little is known.

        Up to there the loss rises and falls between neighbours as their derivatives say.
        """
        x, loss, slope = self.sorted()
        if len(x) < FEWEST:
            return None
        told = (slope[1:] + slope[:-1]) / 2
        found = np.diff(loss) / np.diff(x)
        # A slope near 0 counts as right where the loss hardly moves. Losses of the better half set the scale.
        slack = 0.1 * float(np.median(loss) - loss.min()) / (self.high - self.low)
        wrong = np.abs(found - told) > TOLERANCE * (np.abs(slope[1:]) + np.abs(slope[:-1])) / 2 + slack
        first = int(np.argmax(wrong)) if wrong.any() else len(x) - 1
        return float(x[first])

    def state_dict(self) -> dict[str, Any]:
        return {
            "tried": self.tried,
            "log_alpha": list(self.log_alpha),
            "loss": list(self.loss),
            "slope": list(self.slope),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.tried = state["tried"]
        self.log_alpha, self.loss, self.slope = (
            [float(x) for x in state[name]] for name in ("log_alpha", "loss", "slope")
        )
