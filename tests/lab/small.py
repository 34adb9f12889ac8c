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
    "draw": {
        "glimpses": 4,
        "read_n": 2,
        "write_n": 3,
        "hidden": 8,
        "latent": 3,
        "batch": 8,
        "evaluate_every": 100,
        "importance": 2,
        "shown": 6,
        "followed": 2,
    },
    "show-attend-tell": {
        "data": "scenes",
        "train_size": 32,
        "valid_size": 6,
        "image_size": 48,
        "longest": 10,
        "embedding": 8,
        "state": 16,
        "attention_units": 8,
        "batch": 8,
        "evaluate_every": 100,
        "evaluation_images": 4,
        "beam": 2,
        # Whose first captions are long: films of words want frames.
        "seed": 2,
    },
    "fixed-point": {
        "width": 4,
        "float_steps": 6,
        "batch": 16,
        "evaluate_every": 3,
        "calibration": 64,
        "steps": 1_000_000,
    },
    "reversible-learning": {
        "hidden": "5",
        "train_size": 60,
        "valid_size": 40,
        "inner_steps": 12,
        "batch": 10,
        # So that as many meta-iterations as a test takes do not make training chaotic.
        "meta_step": 0.001,
        "frames": 5,
        "steps": 1_000_000,
    },
}
"""A paper that is not named here is taken as it is."""
