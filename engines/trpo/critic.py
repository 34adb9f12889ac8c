"""What is not in the paper: a value function for generalised advantages, and the scale of observations; worker's loop."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.trpo.policies import Policy

SMALLEST_DEVIATION = 1e-4
"""An observation that hardly ever moves must not be blown up to unit size by dividing by next to nothing."""


class Critic:
    """V(s), a tanh network, fitted by Adam to the returns of each batch; its output is in units of the returns' spread.

    Parameters
    ----------
    observation_size : int
    hidden : sequence of int
    generator : torch.Generator
        For the initial weights.
    device : torch.device
    """

    def __init__(
        self, observation_size: int, hidden: Sequence[int], generator: torch.Generator, device: torch.device
    ) -> None:
        widths = [observation_size, *hidden, 1]
        layers = []
        for inputs, outputs in itertools.pairwise(widths):
            layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
            with torch.no_grad():
                layer.weight.normal_(0.0, 1.0 / inputs**0.5, generator=generator)
                layer.bias.zero_()
            layers.append(layer)
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)
        self.network = nn.ModuleList(layers).to(device)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, fused=device.type != "mps")
        self.mean, self.deviation = 0.0, 1.0

    @torch.no_grad()
    def values(self, observations: Tensor) -> np.ndarray:
        """V (N,) of ``observations`` (N, O), float64, in units of the reward."""
        return self._output(observations).double().cpu().numpy() * self.deviation + self.mean

    def fit(
        self,
        observations: Tensor,
        returns: np.ndarray,
        *,
        epochs: int,
        batch: int,
        step_size: float,
        generator: torch.Generator,
    ) -> float:
        """Move V towards the returns (N,); the part of their variance that V explained before, at most 1."""
        values = self.values(observations)
        explained = explained_variance(values, returns)
        # Returns that are all alike have no spread of their own, and V may lie far from them.
        apart = float(np.sqrt(np.mean((values - returns) ** 2)))
        self._rescale(float(returns.mean()), max(float(returns.std()), apart, 1e-6))
        targets = torch.as_tensor(
            (returns - self.mean) / self.deviation, dtype=torch.float32, device=observations.device
        )
        for group in self._optimizer.param_groups:
            group["lr"] = step_size
        for _ in range(epochs):
            order = torch.randperm(len(targets), generator=generator).to(observations.device)
            for chosen in order.split(batch):
                loss = functional.mse_loss(self._output(observations[chosen]), targets[chosen])
                self._optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self._optimizer.step()
        return explained

    def _output(self, observations: Tensor) -> Tensor:
        h = observations
        last = len(self.network) - 1
        for index, layer in enumerate(self.network):
            h = layer(h)
            if index < last:
                h = torch.tanh(h)
        return h.squeeze(-1)

    @torch.no_grad()
    def _rescale(self, mean: float, deviation: float) -> None:
        """Take over other units of the output, leaving V where it is: returns grow a hundredfold in training."""
        layer: Any = self.network[-1]
        layer.bias.copy_((layer.bias * self.deviation + self.mean - mean) / deviation)
        layer.weight.mul_(self.deviation / deviation)
        self.mean, self.deviation = mean, deviation

    def state_dict(self) -> dict[str, Any]:
        """For a keyframe."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "mean": self.mean,
            "deviation": self.deviation,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.mean, self.deviation = state["mean"], state["deviation"]


def explained_variance(values: np.ndarray, returns: np.ndarray) -> float:
    """1 - Var(returns - V) / Var(returns); 0 where the returns are all alike."""
    spread = float(np.var(returns))
    return 1.0 - float(np.var(returns - values)) / spread if spread > 0.0 else 0.0


class Scale:
    """Mean and standard deviation of all observations so far, by Welford's sums; the policy sees (o - mean) / deviation.

    Not in the paper, which says nothing of its observations' units.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self._mean = np.zeros(size)
        self._squares = np.zeros(size)

    @property
    def mean(self) -> np.ndarray:
        """(O,), float64."""
        return self._mean

    @property
    def deviation(self) -> np.ndarray:
        """(O,); 1 until there are two observations, and where there is hardly any."""
        if self.count < 2:
            return np.ones_like(self._mean)
        deviation = np.sqrt(self._squares / self.count)
        return np.where(deviation < SMALLEST_DEVIATION, 1.0, deviation)

    def add(self, observations: np.ndarray) -> None:
        """Count in more observations (N, O)."""
        values = np.asarray(observations, np.float64)
        count, mean = len(values), values.mean(0)
        total = self.count + count
        apart = mean - self._mean
        self._squares = (
            self._squares + ((values - mean) ** 2).sum(0) + apart**2 * (self.count * count / total)
        )
        self._mean = self._mean + apart * (count / total)
        self.count = total

    def state_dict(self) -> dict[str, Any]:
        """For a keyframe."""
        return {"count": self.count, "mean": self._mean.copy(), "squares": self._squares.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.count = int(state["count"])
        self._mean, self._squares = np.array(state["mean"]), np.array(state["squares"])


@torch.no_grad()
def move_inputs(
    first: nn.Linear, old: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray]
) -> None:
    """Change a first layer so that it gives the same for (o - mean) / deviation in other units, up to rounding.

    Parameters
    ----------
    first : Linear
    old, new : (mean (O,), deviation (O,))
    """
    weight = first.weight.double()
    old_mean, old_deviation, new_mean, new_deviation = (
        torch.as_tensor(part, dtype=torch.float64, device=weight.device) for part in (*old, *new)
    )
    first.bias.copy_(first.bias.double() + weight @ ((new_mean - old_mean) / old_deviation))
    first.weight.copy_(weight * (new_deviation / old_deviation))


def raw_layers(policy: Policy, mean: np.ndarray, deviation: np.ndarray) -> None:
    """Make a policy that takes scaled observations take the environment's own, in place."""
    first: Any = policy.layers[0]
    one = np.ones_like(mean)
    move_inputs(first, (mean, deviation), (np.zeros_like(mean), one))
