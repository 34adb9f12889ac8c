"""Settings with which each paper's method is quick, for tests that walk through all built papers; plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SMALL: Mapping[str, Mapping[str, Any]] = {
    "diffusion": {
        "data": "mixture",
        "trajectory": 8,
        "units": 8,
        "layers": 1,
        "frequencies": 0,
        "batch": 32,
        "evaluate_every": 10,
        "particles": 60,
        "trails": 4,
        "arrows": 5,
    },
    "trpo": {"batch_steps": 60, "units": 4, "length": 20, "critic": False},
}
"""A paper that is not named here is taken as it is."""
