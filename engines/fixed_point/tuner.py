"""Fine-tuning in fixed point: quantised forward pass, straight-through derivatives, Adam on the weights; the worker."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.fixed_point.networks import Layer, compute
from engines.fixed_point.quantizer import Format, bias_format, codes_of, quantise, straight_through


def make_optimizer(parameters: list[nn.Parameter], rate: float) -> torch.optim.Adam:
    """Adam, in one kernel for all parameters where the device has one."""
    return torch.optim.Adam(parameters, lr=rate, fused=parameters[0].device.type != "mps")


class Tuned(NamedTuple):
    """What one update did.

    Attributes
    ----------
    loss : float
        Cross-entropy of the batch before it, nats.
    wrong : float
        Share of wrong answers.
    dead : float
        Share of the weights' updates that left the quantised weight as it was; 1 where nothing was updated.
    """

    loss: float
    wrong: float
    dead: float


class Tuner:
    """The weights while they are fine-tuned.

    Parameters
    ----------
    layers : tuple of Layer
    weights, biases : list of Tensor
        Of the folded float network; copied.
    rate : float
        Learning rate of Adam at the start.
    """

    def __init__(
        self, layers: tuple[Layer, ...], weights: list[Tensor], biases: list[Tensor], rate: float
    ) -> None:
        self.layers = layers
        self.weights = [nn.Parameter(weight.clone()) for weight in weights]
        self.biases = [nn.Parameter(bias.clone()) for bias in biases]
        self._optimizer = make_optimizer([*self.weights, *self.biases], rate)

    def logits(self, x: Tensor, weights: list[Tensor], formats: list[Format], reads: list[Format]) -> Tensor:
        """Logits (B, classes) with derivatives; ``weights`` are quantised already, to ``formats``."""
        parts = zip(self.layers, weights, formats, self.biases, reads, strict=True)
        for layer, weight, form, bias, read in parts:
            bias_form = bias_format(bias.detach(), form)
            x = compute(layer, straight_through(x, read), weight, straight_through(bias, bias_form))
            if layer.is_convolution:
                x = functional.relu(x)
        return x

    def update(
        self,
        x: Tensor,
        labels: Tensor,
        formats: list[Format],
        reads: list[Format],
        *,
        rate: float,
        noise: torch.Generator | None,
        keep_fixed: bool,
    ) -> Tuned:
        """One update of Adam on a batch.

        Parameters
        ----------
        x : Tensor (B, C, H, W)
        labels : Tensor (B,)
        formats, reads : list of Format
            Of the weights and of what is read, for each layer.
        rate : float
        noise : torch.Generator or None
            Rounds weights stochastically; None rounds to the nearest level.
        keep_fixed : bool
            Weights are kept in fixed point: what an update gives is rounded, and nothing remembers the rest.
        """
        if keep_fixed:
            self._snap(formats)
        # The same draws before and after the update, so that a change of the quantised weight is the update's doing.
        draws = [None if noise is None else _uniform_like(weight, noise) for weight in self.weights]
        before = [
            _codes(weight, form, draw)
            for weight, form, draw in zip(self.weights, formats, draws, strict=True)
        ]
        old = [weight.detach().clone() for weight in self.weights]
        quantised = [
            # Kept in fixed point a weight is on its level, and stochastic rounding leaves it there.
            straight_through(weight, form, None if keep_fixed else draw)
            for weight, form, draw in zip(self.weights, formats, draws, strict=True)
        ]
        logits = self.logits(x, quantised, formats, reads)
        loss = functional.cross_entropy(logits, labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        updated = changed = 0
        with torch.no_grad():
            for weight, form, draw, codes, was in zip(self.weights, formats, draws, before, old, strict=True):
                moved = weight != was
                after = _codes(weight, form, draw)
                updated += int(moved.sum())
                changed += int((moved & (after != codes)).sum())
                if keep_fixed:
                    weight.copy_(quantise(weight, form, draw))
        dead = 1.0 - changed / updated if updated else 1.0
        wrong = (logits.argmax(1) != labels).float().mean()
        return Tuned(float(loss.detach()), float(wrong), dead)

    @torch.no_grad()
    def _snap(self, formats: list[Format]) -> None:
        """Put every weight on its nearest level; leaves those that are on one."""
        for weight, form in zip(self.weights, formats, strict=True):
            weight.copy_(quantise(weight, form))

    def state_dict(self) -> dict[str, Any]:
        """Weights, biases and the optimiser's moments."""
        return {
            "weights": [weight.detach() for weight in self.weights],
            "biases": [bias.detach() for bias in self.biases],
            "optimizer": self._optimizer.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: Any) -> None:
        """Take over what `state_dict` gave."""
        for mine, saved in ((self.weights, state["weights"]), (self.biases, state["biases"])):
            for parameter, value in zip(mine, saved, strict=True):
                parameter.copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])


def _codes(weight: Tensor, form: Format, draw: Tensor | None) -> Tensor:
    """Level numbers; in floating point every number is a level of its own."""
    return weight.detach().clone() if form.is_float else codes_of(weight.detach(), form, draw)


def _uniform_like(weight: Tensor, noise: torch.Generator) -> Tensor:
    return torch.rand(weight.shape, generator=noise, device=weight.device)
