"""How a step size falls while a run goes on; any thread or process, imports no torch."""

from __future__ import annotations

import math
from typing import Literal

Decay = Literal["none", "cosine", "late"]

LOWEST = 0.02
"""The share of the step size that is left at the last step."""


def remaining(decay: Decay, step: int, steps: int) -> float:
    """The share of the step size, from 1 to `LOWEST`, that an update is made with.

    Parameters
    ----------
    decay : {"none", "cosine", "late"}
        ``none`` keeps it; ``cosine`` falls from the first step on, ``late`` from half of them, both along a half cosine.
    step : int
        Updates that were made before.
    steps : int
        How many there are to be. A run that goes on beyond them keeps what is left.
    """
    progress = min(1.0, step / steps)
    if decay == "late":
        progress = max(0.0, 2 * progress - 1)
    elif decay == "none":
        progress = 0.0
    return LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * progress))
