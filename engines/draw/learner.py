"""A DRAW network with its optimiser: one update of the bound on a batch; the thread that trains, any device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engines.draw import recurrence
from engines.draw.config import DrawSettings
from engines.draw.model import Draw, Shape


def shape_of(
    settings: DrawSettings, picture: tuple[int, int, int], *, attention: bool | None = None
) -> Shape:
    """The network of the settings for pictures of (channels, height, width); attention overrides theirs."""
    channels, height, width = picture
    return Shape(
        height,
        width,
        channels,
        settings.glimpses,
        settings.read_n,
        settings.write_n,
        settings.hidden,
        settings.latent,
        settings.attention if attention is None else attention,
    )


class Learner:
    """Lowers L = L^x + L^z of one network.

    Parameters
    ----------
    model : Draw
        On its device.
    settings : DrawSettings
    """

    def __init__(self, model: Draw, settings: DrawSettings) -> None:
        self.model = model
        self.settings = settings
        self.parameters = list(model.parameters())
        self.optimizer = make_optimizer(self.parameters, settings)

    def update(self, x: Tensor, generator: torch.Generator) -> dict[str, float]:
        """One update of Adam on a batch (B, pixels): the parts of the bound before it, nats per picture."""
        outcome = recurrence.run(self.model, x, self.model.noise(len(x), generator))
        nll, kl = outcome.nll.mean(), outcome.kl.sum(0).mean()
        return {
            **descend(nll + kl, self.optimizer, self.parameters, self.settings),
            "nll": float(nll.detach()),
            "kl": float(kl.detach()),
        }

    def state_dict(self) -> dict[str, Any]:
        """Weights and the optimiser's moments."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def make_optimizer(parameters: list[torch.nn.Parameter], settings: DrawSettings) -> torch.optim.Adam:
    """Adam, in one kernel for all parameters where the device has one."""
    fused = parameters[0].device.type != "mps"
    return torch.optim.Adam(parameters, lr=settings.step_size, fused=fused)


def descend(
    loss: Tensor, optimizer: torch.optim.Adam, parameters: list[torch.nn.Parameter], settings: DrawSettings
) -> dict[str, float]:
    """One step of Adam against a loss; the loss and the norm of the gradient before it was clipped."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    limit = settings.clip if settings.clip > 0 else float("inf")
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    for group in optimizer.param_groups:
        group["lr"] = settings.step_size
    optimizer.step()
    return {"loss": float(loss.detach()), "gradient_norm": float(norm)}
