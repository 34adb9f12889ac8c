"""A method small enough to follow by hand, with every feature of the contract; used by the tests of the application."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from engines.config import Preset, Settings, setting
from engines.engine import Engine, stream
from engines.errors import InputError, StepError
from engines.figures import Axis, CurveSpec, Figure, FigureSpec, Film, Lines, Plot, Scatter
from engines.method import Action, Method, Question


class ToySettings(Settings):
    """Gradient descent on a quadratic with noise."""

    step_size: float = setting(
        0.1, label="Step size", effect="live", minimum=1e-6, maximum=1e6, scale="log", group="Optimiser"
    )
    dimension: int = setting(3, label="Dimension", effect="rebuild", minimum=1, maximum=100, group="Problem")
    curvature: Literal["round", "long"] = setting(
        "round", label="Curvature", effect="rebuild", group="Problem"
    )
    dots: int = setting(10, label="Dots", effect="display", minimum=1, maximum=1000, group="Pictures")
    pause: float = setting(
        0.0, label="Pause", effect="live", minimum=0.0, maximum=1.0, unit="s", group="Test"
    )
    fault_at: int = setting(0, label="Fault at", effect="live", minimum=0, maximum=10**9, group="Test")
    memory_at: int = setting(
        0, label="Out of memory at", effect="live", minimum=0, maximum=10**9, group="Test"
    )
    refuse_at: int = setting(
        0,
        label="Refuse at",
        effect="live",
        minimum=0,
        maximum=10**9,
        group="Test",
        help="This step cannot be done, until the setting is another one.",
    )
    report_every: int = setting(
        1, label="Report every", effect="live", minimum=1, maximum=10**9, unit="steps", group="Test"
    )
    cliff: float = setting(
        1e6,
        label="Cliff",
        effect="live",
        minimum=1e-6,
        maximum=1e6,
        group="Test",
        help="A step size beyond it gives NaN.",
    )
    rot_at: int = setting(
        0,
        label="Rot at",
        effect="live",
        minimum=0,
        maximum=10**9,
        group="Test",
        help="From this step on the state is not finite, although every scalar is.",
    )


@dataclass(frozen=True)
class MoveTo(Action):
    """Put the parameter somewhere."""

    value: tuple[float, ...]


@dataclass(frozen=True)
class Nudge(MoveTo):
    """The same in the middle of a drag."""

    is_noted = False


@dataclass(frozen=True)
class WhereIs(Question):
    """Ask where the parameter is."""


TOY = Method(
    engine="tests.toy:ToyEngine",
    config=ToySettings,
    presets=(Preset("demo", "Demo", "A quick look."), Preset("long", "Long", "Slow.", {"curvature": "long"})),
    views=(
        FigureSpec("position", "Position", "Where the parameter is.", "fast"),
        FigureSpec("path", "Path", "Where it will go.", "slow"),
        CurveSpec(
            "loss",
            "Loss",
            "How far it is.",
            (("loss", "Loss", "model"),),
            "Loss",
            (("best", "Best", "target"),),
        ),
    ),
    headline="loss",
    headline_label="Loss",
    learning_rate="step_size",
)


class ToyEngine(Engine):
    """One update is one step of gradient descent."""

    method = TOY
    config: ToySettings

    def __init__(self, config: ToySettings, device: torch.device) -> None:
        super().__init__(config, device)
        self._generator = stream(config.seed, "noise")
        self._curvature = torch.ones(config.dimension, dtype=torch.float64)
        if config.curvature == "long":
            self._curvature[0] = 100.0
        self._parameter = torch.ones(config.dimension, dtype=torch.float64)
        self._moment = torch.zeros(1)
        self._count = 0
        self.figure_calls = 0

    def step(self) -> Mapping[str, float]:
        if self.config.refuse_at == self._count + 1:
            raise StepError("The toy's world came to an end: choose another one and reset.")
        self._count += 1
        if self.config.pause:
            time.sleep(self.config.pause)
        if self.config.fault_at == self._count:
            raise RuntimeError("the toy broke")
        if self.config.memory_at == self._count:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        noise = torch.randn(self.config.dimension, generator=self._generator, dtype=torch.float64)
        gradient = self._curvature * self._parameter + 0.01 * noise
        self._parameter = self._parameter - self.config.step_size * gradient
        if self.config.step_size > self.config.cliff:
            self._parameter = self._parameter * torch.nan
        if self.config.rot_at == self._count:
            self._moment = torch.full((1,), torch.inf)
        scalars = {}
        if self._count % self.config.report_every == 0:
            scalars["loss"] = float((self._curvature * self._parameter**2).sum() / 2)
        return scalars | {"step_size": self.config.step_size}

    def act(self, action: Action) -> Mapping[str, Any] | None:
        if isinstance(action, WhereIs):
            return {"where": self._parameter.tolist()}
        if not isinstance(action, MoveTo):
            return super().act(action)
        if len(action.value) != self.config.dimension:
            raise InputError(f"The point has {len(action.value)} coordinates: give {self.config.dimension}.")
        self._parameter = torch.tensor(action.value, dtype=torch.float64)
        return {"loss": float((self._curvature * self._parameter**2).sum() / 2)}

    def figures(self, wanted: Collection[str]) -> dict[str, Figure]:
        self.figure_calls += 1
        here = self._parameter.numpy().copy()
        made: dict[str, Figure] = {}
        x, y = Axis("Component"), Axis("Value")
        if "position" in wanted:
            made["position"] = Plot((Scatter(np.arange(len(here), dtype=float), here),), x, y, "Position")
        if "path" in wanted:
            frames = tuple(
                Plot((Lines(np.arange(len(here), dtype=float), here * 0.5**i),), x, y, "Path")
                for i in range(5)
            )
            made["path"] = Film(frames, np.arange(5), Axis("Time"), "Path")
        return made

    def summary(self) -> dict[str, Any]:
        return {"loss": float((self._curvature * self._parameter**2).sum() / 2)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "parameter": self._parameter,
            "moment": self._moment,
            "count": self._count,
            "noise": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["parameter"].shape != self._parameter.shape:
            raise ValueError(f"a parameter of {len(state['parameter'])} coordinates")
        self._parameter = state["parameter"].clone()
        self._moment = state["moment"].clone()
        self._count = state["count"]
        self._generator.set_state(state["noise"])
