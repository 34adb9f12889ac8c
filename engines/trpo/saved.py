"""A policy as one file: safetensors, numbers and text, never unpickled; any thread or process, imports no torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import DataError

SUFFIX = ".safetensors"

KIND = "trpo-policy"
VERSION = 1
"""Of the file: raised when what is written could no longer be read by what reads it now."""

LARGEST = 256 * 2**20
"""Bytes; a policy of five layers of 1024 units has a tenth of it."""


@dataclass(frozen=True, eq=False)
class SavedPolicy:
    """A policy, and all that is needed to build it anew.

    Attributes
    ----------
    theta : array (P,) of float32
        As `engines.trpo.policies.Policy.flat` has it.
    mean, deviation : array (O,) of float64
        The scale of the observations that it takes.
    environment : str
        The gymnasium id that it was trained in.
    units, layers : int
        Of its hidden layers.
    discrete : bool
        Whether it chooses among actions; otherwise it sets controls.
    observations, actions : int
        Numbers of an observation; numbers of an action, or how many actions there are.
    step : int
        Updates that it was trained for.
    mean_return : float or None
        Of the last batch of its training, where that is known.
    """

    theta: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    environment: str
    units: int
    layers: int
    discrete: bool
    observations: int
    actions: int
    step: int = 0
    mean_return: float | None = None

    @property
    def size(self) -> int:
        """Parameters that such a network has."""
        widths = [self.observations, *[self.units] * self.layers, self.actions]
        count = sum((a + 1) * b for a, b in itertools.pairwise(widths))
        return count if self.discrete else count + self.actions


def write(path: Path, policy: SavedPolicy) -> None:
    """Write a policy: the whole file or nothing.

    Raises
    ------
    DataError
    """
    import safetensors.numpy

    about = {
        "kind": KIND,
        "version": str(VERSION),
        "environment": policy.environment,
        "units": str(policy.units),
        "layers": str(policy.layers),
        "discrete": "true" if policy.discrete else "false",
        "observations": str(policy.observations),
        "actions": str(policy.actions),
        "step": str(policy.step),
        "mean_return": "" if policy.mean_return is None else repr(float(policy.mean_return)),
    }
    arrays: dict[str, np.ndarray] = {
        "theta": np.ascontiguousarray(policy.theta, np.float32),
        "mean": np.ascontiguousarray(policy.mean, np.float64),
        "deviation": np.ascontiguousarray(policy.deviation, np.float64),
    }
    data = safetensors.numpy.save(arrays, about)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}): choose another folder."
        ) from None


def read(path: Path) -> SavedPolicy:
    """Read a policy.

    Raises
    ------
    DataError
        The file cannot be read, is none or not whole, is of another version, or holds what no policy can.
    """
    import safetensors
    import safetensors.numpy

    try:
        if path.stat().st_size > LARGEST:
            raise DataError(
                f"{path} is larger than any policy: choose a file that was saved with Save policy."
            )
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): choose another file.") from None
    about = _about(data)
    if about.get("kind") != KIND:
        raise DataError(f"{path} is no saved policy: choose a file that was saved with Save policy.")
    if about.get("version") != str(VERSION):
        raise DataError(
            f"{path} is a policy of version {about.get('version', '?')[:20]}, and this lab reads version {VERSION}: open it "
            "with the lab that saved it."
        )
    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, OverflowError):
        raise DataError(f"{path} is not whole: copy it again, or save the policy once more.") from None
    try:
        policy = _policy(about, arrays)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise DataError(
            f"{path} does not say what its policy is made of: choose a file that was saved with Save policy."
        ) from None
    _check(path, policy)
    return policy


def _about(data: bytes) -> dict[str, str]:
    """The metadata at the beginning of the file; empty where there are none, also of a file that ends too early."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length]) if 8 < len(data) and length < len(data) else {}
        found = header["__metadata__"]
        return {str(key): str(value) for key, value in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _policy(about: dict[str, str], arrays: dict[str, Any]) -> SavedPolicy:
    if about["discrete"] not in ("true", "false"):
        raise ValueError("discrete is neither true nor false")
    policy = SavedPolicy(
        theta=arrays["theta"].astype(np.float32),
        mean=arrays["mean"].astype(np.float64),
        deviation=arrays["deviation"].astype(np.float64),
        environment=about["environment"],
        units=int(about["units"]),
        layers=int(about["layers"]),
        discrete=about["discrete"] == "true",
        observations=int(about["observations"]),
        actions=int(about["actions"]),
        step=int(about["step"]),
        mean_return=float(about["mean_return"]) if about["mean_return"] else None,
    )
    counts = policy.units, policy.observations, policy.actions
    if not policy.environment or min(counts) < 1 or not 0 <= policy.layers <= 100 or policy.step < 0:
        raise ValueError("a number is out of its range")
    return policy


def _check(path: Path, policy: SavedPolicy) -> None:
    shapes = policy.theta.shape, policy.mean.shape, policy.deviation.shape
    if shapes != ((policy.size,), (policy.observations,), (policy.observations,)):
        found = " and ".join("×".join(map(str, shape)) or "1" for shape in shapes[:2])
        raise DataError(
            f"{path} holds arrays of {found} numbers, and its policy has {policy.size:,} parameters for "
            f"{policy.observations:,} observations: it was damaged; choose another file."
        )
    parts = policy.theta, policy.mean, policy.deviation
    if not all(np.isfinite(part).all() for part in parts) or not (policy.deviation > 0).all():
        raise DataError(
            f"{path} holds numbers that are not finite, or a scale that is not positive: choose another file."
        )


__all__ = ["KIND", "SUFFIX", "VERSION", "SavedPolicy", "read", "write"]
