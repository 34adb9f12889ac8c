"""What a person holds, has painted, chosen and laid over a picture, and how it becomes a keyframe; the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engines.draw.config import FanOut, HoldBrush, Probe


@dataclass
class Hand:
    """The person's part of the state.

    Attributes
    ----------
    image : int
        Which held-out picture is picked.
    own : array (pixels,) of float32, or None
        A picture of the person's own in its place, flattened as the data are.
    probe : Probe or None
        None lays the grid over the whole picture.
    brush : HoldBrush or None
    fan : FanOut or None
        None fans out the first sample early on.
    """

    image: int = 0
    own: np.ndarray | None = None
    probe: Probe | None = None
    brush: HoldBrush | None = None
    fan: FanOut | None = field(default=None)

    def state_dict(self) -> dict[str, Any]:
        """Plain data for a keyframe."""
        probe, brush, fan = self.probe, self.brush, self.fan
        return {
            "image": self.image,
            "own": self.own,
            "probe": None
            if probe is None
            else [probe.g_x, probe.g_y, probe.delta, probe.sigma, probe.n, probe.gamma],
            "brush": None
            if brush is None
            else {
                "step": brush.step,
                "of": brush.of,
                "index": brush.index,
                "window": None if brush.window is None else list(brush.window),
                "last": brush.last,
                # A keyframe must be finite: where nothing is painted there is a mask.
                "paint": None if brush.paint is None else np.nan_to_num(brush.paint),
                "painted": None if brush.paint is None else (~np.isnan(brush.paint)).astype(np.uint8),
            },
            "fan": None if fan is None else [fan.step, fan.index, fan.endings, fan.draw],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.image, self.own = state["image"], state["own"]
        probe, brush, fan = state["probe"], state["brush"], state["fan"]
        self.probe = None if probe is None else Probe(*probe)
        self.fan = None if fan is None else FanOut(*fan)
        self.brush = None
        if brush is not None:
            paint = brush["paint"]
            if paint is not None:
                paint = np.where(brush["painted"].astype(bool), paint, np.nan).astype(np.float32)
            window = brush["window"]
            self.brush = HoldBrush(
                brush["step"],
                brush["of"],
                brush["index"],
                None if window is None else (window[0], window[1], window[2], window[3]),
                brush["last"],
                paint,
            )
