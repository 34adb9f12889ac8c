"""Stochastic policies, their distances and their derivatives; torch, in the training worker.

A policy maps an observation to the parameters of a distribution over actions: a tuple of tensors, its parts. A part has
the shape (N, .) for N observations, also where all states share it, so that sums over states are the same for every part.
With one more axis in the parts and the actions, (N, 1, .) and (N, K, .), the functions of a distribution take K actions
per state.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import skip_init

from engines.trpo.actors import Actor, CategoricalActor, GaussianActor

Parts = tuple[Tensor, ...]

LOG_TWO_PI = math.log(2.0 * math.pi)


class Policy(nn.Module, abc.ABC):
    """A tanh network whose output is the first part of a distribution over actions.

    Parameters
    ----------
    observation_size, output_size : int
    hidden : sequence of int
        Widths of the hidden layers; empty for a linear policy.
    output_scale : float
        Factor on the initial weights of the last layer; small, so that at first all states are treated nearly alike.
    generator : torch.Generator, optional
        For the initial weights.

    Attributes
    ----------
    action_axes : int
        Axes of one action: 1 for a vector, 0 for a number.
    """

    action_axes: int

    def __init__(
        self,
        observation_size: int,
        output_size: int,
        hidden: Sequence[int] = (),
        *,
        output_scale: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [observation_size, *hidden, output_size]
        # nn.Linear alone would draw weights from torch's global stream.
        self.layers = nn.ModuleList(skip_init(nn.Linear, a, b) for a, b in itertools.pairwise(widths))
        with torch.no_grad():
            for index, (layer, inputs) in enumerate(zip(self.layers, widths, strict=False)):
                gain = output_scale if index == len(hidden) else 1.0
                cast(nn.Linear, layer).weight.normal_(0.0, gain / math.sqrt(inputs), generator=generator)
                cast(nn.Linear, layer).bias.zero_()

    # The distribution over actions

    def distribution(self, observations: Tensor, theta: Tensor | None = None) -> Parts:
        """The parts of pi_theta(. | s), each (N, .), at ``observations`` (N, O).

        With ``theta`` (P,), a flat vector, the policy's own parameters are neither read nor changed.
        """
        tensors = self.tensors() if theta is None else self.split(theta)
        h = observations
        last = len(self.layers) - 1
        for index in range(last + 1):
            h = functional.linear(h, tensors[2 * index], tensors[2 * index + 1])
            if index < last:
                h = torch.tanh(h)
        return (h, *(shared.expand_as(h) for shared in tensors[2 * last + 2 :]))

    @abc.abstractmethod
    def sample(self, parameters: Parts, generator: torch.Generator | None = None) -> Tensor:
        """One action for each state, (N, A) or (N,)."""

    @abc.abstractmethod
    def mode(self, parameters: Parts) -> Tensor:
        """The likeliest action of each state."""

    @abc.abstractmethod
    def log_prob(self, parameters: Parts, actions: Tensor) -> Tensor:
        """log pi(a | s) in nats, (N,), or (N, K) for K actions per state."""

    @abc.abstractmethod
    def score(self, parameters: Parts, actions: Tensor) -> Parts:
        """The derivative of `log_prob` by each part, of the part's shape."""

    @abc.abstractmethod
    def kl(self, old: Parts, new: Parts) -> Tensor:
        """KL( old || new ) of each state in nats, (N,); the old policy comes first, as in the paper's constraint."""

    @abc.abstractmethod
    def entropy(self, parameters: Parts) -> Tensor:
        """Entropy of each state's distribution in nats, (N,)."""

    @abc.abstractmethod
    def metric(self, parameters: Parts, tangent: Parts) -> Parts:
        """M_n t_n: the Fisher matrix of each state's distribution, in its own parts, times a tangent."""

    # Theta as one vector

    def tensors(self) -> list[Tensor]:
        """Weight and bias of each layer, then what all states share: the order within theta."""
        return [tensor for layer in self.layers for tensor in layer.parameters()]

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum(tensor.numel() for tensor in self.tensors())

    def flat(self) -> Tensor:
        """Theta (P,), a copy."""
        return torch.cat([tensor.detach().reshape(-1) for tensor in self.tensors()])

    @torch.no_grad()
    def set_flat(self, theta: Tensor | np.ndarray) -> None:
        """Take over theta (P,) bit for bit when its type is the policy's."""
        for tensor, part in zip(self.tensors(), self.split(self.vector(theta)), strict=True):
            tensor.copy_(part)

    def vector(self, values: Tensor | np.ndarray) -> Tensor:
        """A vector of the size of theta, with the policy's type and on its device."""
        like = self.tensors()[0]
        vector = torch.as_tensor(values, dtype=like.dtype, device=like.device)
        if vector.shape != (self.size,):
            raise ValueError(f"a vector of shape ({self.size},) is needed, not {tuple(vector.shape)}")
        return vector

    def split(self, theta: Tensor) -> list[Tensor]:
        """Views of theta (P,) with the shapes and the order of `tensors`."""
        tensors = self.tensors()
        parts = theta.split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    # Acting

    @abc.abstractmethod
    def numpy_actor(self, *, copy: bool = True) -> Actor:
        """The present policy in numpy, for the environment loop.

        A snapshot: take a new one after each update. Without ``copy`` it reads the policy's own memory where that is
        the CPU's, and costs next to nothing to make.
        """

    def act(self, observations: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Sampled actions, (N, A) or (N,), at ``observations`` (N, O), under the parameters of this moment.

        In a loop of many steps `numpy_actor`, taken once, is quicker, and on a GPU by far.
        """
        return self.numpy_actor(copy=False).act(observations, generator)

    def _arrays(self, copy: bool) -> list[np.ndarray]:
        arrays = [tensor.detach().cpu().numpy() for tensor in self.tensors()]
        return [array.copy() for array in arrays] if copy else arrays


class GaussianPolicy(Policy):
    """N(mean(s), diag exp(2 log_std)): the network gives the mean; the log-std is a free vector, the same in all states.

    Its parts are the mean and the log-std, each (N, A). Both belong to theta, the log-std at its end.

    Parameters
    ----------
    observation_size, action_size : int
    hidden : sequence of int
    initial_log_std : float
    output_scale, generator
        See `Policy`.
    """

    action_axes = 1

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden: Sequence[int] = (),
        *,
        initial_log_std: float = 0.0,
        output_scale: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            observation_size, action_size, hidden, output_scale=output_scale, generator=generator
        )
        self.log_std = nn.Parameter(torch.full((action_size,), float(initial_log_std)))

    def tensors(self) -> list[Tensor]:
        return [*super().tensors(), self.log_std]

    def sample(self, parameters: Parts, generator: torch.Generator | None = None) -> Tensor:
        mean, log_std = parameters
        return mean + torch.exp(log_std) * torch.empty_like(mean).normal_(generator=generator)

    def mode(self, parameters: Parts) -> Tensor:
        return parameters[0]

    def log_prob(self, parameters: Parts, actions: Tensor) -> Tensor:
        mean, log_std = parameters
        z = (actions - mean) * torch.exp(-log_std)
        return -(0.5 * z.square() + log_std + 0.5 * LOG_TWO_PI).sum(-1)

    def score(self, parameters: Parts, actions: Tensor) -> Parts:
        mean, log_std = parameters
        precision = torch.exp(-2.0 * log_std)
        error = actions - mean
        return error * precision, error.square() * precision - 1.0

    def kl(self, old: Parts, new: Parts) -> Tensor:
        wider = new[1] - old[1]
        moved = (new[0] - old[0]) * torch.exp(-new[1])
        # log(s1/s0) + s0^2 / (2 s1^2) - 1/2, with expm1: of two close policies the difference keeps its digits.
        return (wider + 0.5 * torch.expm1(-2.0 * wider) + 0.5 * moved.square()).sum(-1)

    def entropy(self, parameters: Parts) -> Tensor:
        return (parameters[1] + 0.5 * (LOG_TWO_PI + 1.0)).sum(-1)

    def metric(self, parameters: Parts, tangent: Parts) -> Parts:
        return tangent[0] * torch.exp(-2.0 * parameters[1]), 2.0 * tangent[1]

    def numpy_actor(self, *, copy: bool = True) -> GaussianActor:
        *layers, log_std = self._arrays(copy)
        return GaussianActor(layers, log_std)


class CategoricalPolicy(Policy):
    """A softmax over a finite number of actions; its only part is the logits (N, actions).

    Parameters
    ----------
    observation_size, actions : int
    hidden : sequence of int
    output_scale, generator
        See `Policy`.
    """

    action_axes = 0

    def __init__(
        self,
        observation_size: int,
        actions: int,
        hidden: Sequence[int] = (),
        *,
        output_scale: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(observation_size, actions, hidden, output_scale=output_scale, generator=generator)
        self.actions = actions

    def sample(self, parameters: Parts, generator: torch.Generator | None = None) -> Tensor:
        probabilities = torch.softmax(parameters[0], -1)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)

    def mode(self, parameters: Parts) -> Tensor:
        return parameters[0].argmax(-1)

    def log_prob(self, parameters: Parts, actions: Tensor) -> Tensor:
        log_p = torch.log_softmax(parameters[0], -1)
        lead = torch.broadcast_shapes(log_p.shape[:-1], actions.shape)
        picked = log_p.expand(*lead, -1).gather(-1, actions.expand(lead)[..., None])
        return picked.squeeze(-1)

    def score(self, parameters: Parts, actions: Tensor) -> Parts:
        logits = parameters[0]
        chosen = functional.one_hot(actions, logits.shape[-1]).to(logits.dtype)
        return (chosen - torch.softmax(logits, -1),)

    def kl(self, old: Parts, new: Parts) -> Tensor:
        log_old, log_new = torch.log_softmax(old[0], -1), torch.log_softmax(new[0], -1)
        return (log_old.exp() * (log_old - log_new)).sum(-1)

    def entropy(self, parameters: Parts) -> Tensor:
        log_p = torch.log_softmax(parameters[0], -1)
        return -(log_p.exp() * log_p).sum(-1)

    def metric(self, parameters: Parts, tangent: Parts) -> Parts:
        p = torch.softmax(parameters[0], -1)
        weighted = p * tangent[0]
        return (weighted - p * weighted.sum(-1, keepdim=True),)

    def numpy_actor(self, *, copy: bool = True) -> CategoricalActor:
        return CategoricalActor(self._arrays(copy))


class Linearisation:
    """A policy's parts at N observations, and their derivative J by theta, from both sides; no autograd.

    An explicit pass through the network: its activations are kept, and each product is a few matrix products. On the
    CPU a Fisher product takes a fraction of what autograd's double backward pass needs.

    Parameters
    ----------
    policy : Policy
        Read now; later changes do not matter.
    observations : Tensor (N, O)
    theta : Tensor (P,), optional
        Where to linearise; None for the policy's present parameters.

    Attributes
    ----------
    parameters : Parts
        Detached.
    """

    @torch.no_grad()
    def __init__(self, policy: Policy, observations: Tensor, theta: Tensor | None = None) -> None:
        self._policy = policy
        tensors = policy.split(policy.flat() if theta is None else theta)
        self._layers = len(policy.layers)
        self._weights = tensors[0 : 2 * self._layers : 2]
        self._inputs = [observations]
        self._slopes: list[Tensor] = []
        for index in range(self._layers - 1):
            h = torch.tanh(functional.linear(self._inputs[-1], tensors[2 * index], tensors[2 * index + 1]))
            self._inputs.append(h)
            self._slopes.append(h.square().neg_().add_(1.0))
        output = functional.linear(self._inputs[-1], self._weights[-1], tensors[2 * self._layers - 1])
        self.parameters: Parts = (
            output,
            *(shared.expand_as(output) for shared in tensors[2 * self._layers :]),
        )

    @torch.no_grad()
    def forward(self, vector: Tensor) -> Parts:
        """J_n v for each state: parts of shape (N, .), for ``vector`` (P,)."""
        tensors = self._policy.split(vector)
        change = functional.linear(self._inputs[0], tensors[0], tensors[1])
        for index in range(1, self._layers):
            change = change.mul_(self._slopes[index - 1])
            own = functional.linear(self._inputs[index], tensors[2 * index], tensors[2 * index + 1])
            change = own.addmm_(change, self._weights[index].T)
        return (change, *(shared.expand_as(change) for shared in tensors[2 * self._layers :]))

    @torch.no_grad()
    def backward(self, cotangent: Parts) -> Tensor:
        """sum_n J_n^T c_n (P,), for a cotangent of the parts' shapes."""
        pieces = [shared.sum(0) for shared in reversed(cotangent[1:])]
        c = cotangent[0]
        for index in reversed(range(self._layers)):
            pieces += [c.sum(0), (c.T @ self._inputs[index]).reshape(-1)]
            if index:
                c = (c @ self._weights[index]).mul_(self._slopes[index - 1])
        return torch.cat(pieces[::-1])
