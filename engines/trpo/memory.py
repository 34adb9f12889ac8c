"""Past updates, thinned out evenly, to look at again; plain data on the worker's loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from torch import Tensor

from engines.trpo.estimators import EnumeratedVine, SampledVine, SinglePath
from engines.trpo.trust_region import Report

MOST = 12
"""Updates that are remembered, beside the newest: each weighs three times the policy, in every keyframe."""

_SURROGATES = {kind.__name__: kind for kind in (SinglePath, EnumeratedVine, SampledVine)}


@dataclass(frozen=True)
class Remembered:
    """One update.

    Attributes
    ----------
    update : int
        Its number, from 1.
    report : Report
        With the iterates of conjugate gradients only while it is the newest.
    mean, deviation : array (O,)
        The scale of observations that theta_old and the step belong to.
    observations : Tensor (M, O)
        Some of its states, scaled.
    surrogate : SinglePath, EnumeratedVine or SampledVine
        For these states.
    mean_return : float
        Of its batch.
    """

    update: int
    report: Report
    mean: np.ndarray
    deviation: np.ndarray
    observations: Tensor
    surrogate: SinglePath | EnumeratedVine | SampledVine
    mean_return: float


class Memory:
    """The newest update, and earlier ones: every n-th, n a power of two that grows with the run."""

    def __init__(self) -> None:
        self._kept: list[Remembered] = []

    def add(self, remembered: Remembered, held: int | None = None) -> None:
        """Take the newest update in; the one that is held stays for as long."""
        if self._kept:
            self._kept[-1] = replace(self._kept[-1], report=replace(self._kept[-1].report, iterates=None))
        # What is not a multiple of the stride stays only while it is the newest; the first stays for good.
        stride = 1
        while remembered.update // stride >= MOST:
            stride *= 2
        kept = [past for past in self._kept if past.update in (1, held) or past.update % stride == 0]
        self._kept = [*kept, remembered]

    @property
    def newest(self) -> Remembered | None:
        """The last update, if there was one."""
        return self._kept[-1] if self._kept else None

    @property
    def updates(self) -> tuple[int, ...]:
        """Numbers of the remembered ones, rising."""
        return tuple(kept.update for kept in self._kept)

    def nearest(self, update: int) -> Remembered | None:
        """The remembered update whose number is closest."""
        return min(self._kept, key=lambda kept: abs(kept.update - update), default=None)

    def earlier(self, count: int) -> Sequence[Remembered]:
        """Up to so many updates before the newest, spread over the run, oldest first."""
        before = self._kept[:-1]
        if len(before) <= count:
            return before
        return [before[index * len(before) // count] for index in range(count)]

    def state_dict(self) -> dict[str, Any]:
        """For a keyframe."""
        return {"kept": [_packed(kept) for kept in self._kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._kept = [_unpacked(packed) for packed in state["kept"]]


def _packed(kept: Remembered) -> dict[str, Any]:
    report = {part.name: getattr(kept.report, part.name) for part in fields(kept.report)}
    # The step is beta times it.
    del report["direction"]
    surrogate = {part.name: getattr(kept.surrogate, part.name) for part in fields(kept.surrogate)}
    return {
        "update": kept.update,
        "report": report,
        "mean": kept.mean,
        "deviation": kept.deviation,
        "observations": kept.observations,
        "surrogate": {"kind": type(kept.surrogate).__name__, **surrogate},
        "mean_return": kept.mean_return,
    }


def _unpacked(packed: Mapping[str, Any]) -> Remembered:
    report = dict(packed["report"])
    step, beta = report["step"], report["beta"]
    report["direction"] = step / beta if beta else np.zeros_like(step)
    surrogate = dict(packed["surrogate"])
    kind = _SURROGATES[surrogate.pop("kind")]
    return Remembered(
        packed["update"],
        Report(**report),
        packed["mean"],
        packed["deviation"],
        packed["observations"].cpu(),
        kind(**surrogate),
        packed["mean_return"],
    )
