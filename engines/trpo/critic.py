"""What is not in the paper: a value function for generalised advantages, and the scale of observations; worker's loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.trpo.policies import Policy

SMALLEST_DEVIATION = 1e-4
"""An observation that hardly ever moves must not be blown up to unit size by dividing by next to nothing."""


class Critic:
    """V(s), a tanh network, fitted by Adam to the returns of each batch; its output is in units of the returns' spread.

    Its gradient is written out, and parameters, gradient and Adam's moments are one vector each: a fit takes hundreds of
    small steps, and what autograd and an optimiser do around each of them takes longer than the arithmetic.

    Parameters
    ----------
    observation_size : int
    hidden : sequence of int
    generator : torch.Generator
        For the initial weights.
    device : torch.device
    dtype : torch.dtype
    """

    def __init__(
        self,
        observation_size: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        widths = [observation_size, *hidden, 1]
        layers = []
        for inputs, outputs in itertools.pairwise(widths):
            layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=dtype)
            with torch.no_grad():
                layer.weight.normal_(0.0, 1.0 / inputs**0.5, generator=generator)
                layer.bias.zero_()
            layers.append(layer)
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)
        self.network = nn.ModuleList(layers).to(device).requires_grad_(False)
        tensors = list(self.network.parameters())
        # Each weight lies as (in, out), which its gradient's product is quicker with.
        shapes = [tuple(reversed(tensor.shape)) for tensor in tensors]
        self._theta = torch.cat([tensor.t().reshape(-1) for tensor in tensors])
        self._gradient = torch.zeros_like(self._theta)
        self._views, self._slots = _split(self._theta, shapes), _split(self._gradient, shapes)
        for tensor, view in zip(tensors, self._views, strict=True):
            tensor.data = view.t()
        self._adam = Adam(self._theta)
        self.mean, self.deviation = 0.0, 1.0

    @torch.no_grad()
    def values(self, observations: Tensor) -> np.ndarray:
        """V (N,) of ``observations`` (N, O), float64, in units of the reward."""
        output = self._outputs(observations)[-1][:, 0]
        return output.double().cpu().numpy() * self.deviation + self.mean

    @torch.no_grad()
    def gradient(self, observations: Tensor, targets: Tensor) -> Tensor:
        """The derivative of the mean squared error by all parameters.

        Parameters
        ----------
        observations : Tensor (N, O)
        targets : Tensor (N,)
            In units of the network's output.

        Returns
        -------
        Tensor (P,)
            By each layer's weight, as (in, out), and its bias in turn. Written over by the next call.
        """
        outputs = self._outputs(observations)
        # d(mean squared error) / d(what a layer gives), from the last one back.
        error = outputs[-1].sub_(targets[:, None]).mul_(2.0 / len(targets))
        for index in reversed(range(len(outputs) - 1)):
            h = outputs[index]
            torch.mm(h.T, error, out=self._slots[2 * index])
            torch.sum(error, 0, out=self._slots[2 * index + 1])
            if index:
                error = error @ self._views[2 * index].T
                # tanh' = 1 - tanh^2
                error.addcmul_(error * h, h, value=-1.0)
        return self._gradient

    @torch.no_grad()
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
        targets = torch.as_tensor((returns - self.mean) / self.deviation).to(observations)
        for _ in range(epochs):
            order = torch.randperm(len(targets), generator=generator).to(observations.device)
            for some, wanted in zip(
                observations[order].split(batch), targets[order].split(batch), strict=True
            ):
                self._adam.step(self.gradient(some, wanted), step_size)
        return explained

    def _outputs(self, observations: Tensor) -> list[Tensor]:
        """The observations, what each hidden layer makes of them, and the network's output (N, 1)."""
        outputs = [observations]
        last = len(self.network) - 1
        for index in range(last + 1):
            weight, bias = self._views[2 * index], self._views[2 * index + 1]
            if index < last:
                # tanh(z) = 2 sigmoid(2 z) - 1: torch's tanh takes three times as long on the CPU.
                h = torch.addmm(bias, outputs[-1], weight, beta=2.0, alpha=2.0)
                outputs.append(h.sigmoid_().mul_(2.0).sub_(1.0))
            else:
                outputs.append(torch.addmm(bias, outputs[-1], weight))
        return outputs

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
            "optimizer": self._adam.state_dict(),
            "mean": self.mean,
            "deviation": self.deviation,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self._adam.load_state_dict(state["optimizer"])
        self.mean, self.deviation = state["mean"], state["deviation"]


class Adam:
    """Adam on one vector, with the usual decays and without weight decay (Kingma and Ba 2015, algorithm 1).

    Parameters
    ----------
    theta : Tensor (P,)
        Changed in place.
    """

    DECAYS = 0.9, 0.999
    EPSILON = 1e-8

    def __init__(self, theta: Tensor) -> None:
        self._theta = theta
        self._first, self._second = torch.zeros_like(theta), torch.zeros_like(theta)
        self._room = torch.zeros_like(theta)
        self._count = 0

    @torch.no_grad()
    def step(self, gradient: Tensor, step_size: float) -> None:
        """One step against ``gradient`` (P,)."""
        first, second = self.DECAYS
        self._count += 1
        self._first.lerp_(gradient, 1.0 - first)
        self._second.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
        spread = (1.0 - second**self._count) ** 0.5
        divisor = torch.sqrt(self._second, out=self._room).add_(self.EPSILON * spread)
        self._theta.addcdiv_(self._first, divisor, value=-step_size * spread / (1.0 - first**self._count))

    def state_dict(self) -> dict[str, Any]:
        """For a keyframe."""
        return {"count": self._count, "first": self._first, "second": self._second}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._count = int(state["count"])
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])


def _split(vector: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Views of a vector with these shapes, in their order."""
    parts = vector.split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


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
