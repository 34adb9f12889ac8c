"""What is trained inside: small tanh networks, alone or sharing weights over tasks, and the 2-D toy; the worker's thread.

A problem gives the gradient of its loss, and the products of the loss's second derivatives with a direction that the way
back needs. Both take the same path to the gradient, bit by bit: the way back must meet the very gradients of the way out.
All is float64 and written by hand; the products are the derivative of back-propagation along the direction.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Grads = dict[str, Tensor]
"""Derivatives by hyperparameters other than the schedules: "penalty" (P,), "data" (N, D), "sharing" (L, K, K)."""


class Group(NamedTuple):
    """Weights that have one step size and one momentum.

    Attributes
    ----------
    layer : int
        From 0.
    kind : {"weights", "biases", "point"}
    size : int
    inputs : int
        How many numbers go into a unit of the layer.
    """

    layer: int
    kind: str
    size: int
    inputs: int

    def title(self) -> str:
        """In words."""
        return "point" if self.kind == "point" else f"layer {self.layer + 1} {self.kind}"


class Problem(abc.ABC):
    """A loss that is trained on.

    Attributes
    ----------
    groups : tuple of Group
    """

    groups: tuple[Group, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Weights in each group."""
        return tuple(group.size for group in self.groups)

    @property
    def size(self) -> int:
        """P, all weights."""
        return sum(self.sizes)

    @abc.abstractmethod
    def gradient(self, w: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Loss and gradient (P,) at w on the batch of iteration t."""

    @abc.abstractmethod
    def products(self, w: Tensor, u: Tensor, t: int, grads: Grads) -> tuple[Tensor, Tensor]:
        """Gradient g (P,) and Hessian times u (P,); the derivative of -g . u by hyperparameters is added to ``grads``."""

    @abc.abstractmethod
    def objective(self, w: Tensor) -> tuple[Tensor, Tensor, Grads]:
        """The meta-objective at the end of training, its gradient by w, and by hyperparameters directly."""

    @abc.abstractmethod
    def value(self, w: Tensor) -> float:
        """The meta-objective alone."""

    def new_grads(self) -> Grads:
        """Zeros for each hyperparameter that this problem has."""
        return {}


class Batches:
    """Which examples each iteration takes, as a function of (seed, meta-iteration, iteration) alone.

    The way back asks for them in the opposite order and must be given the same. Nothing is kept but the last block.

    Parameters
    ----------
    count : int
        Examples there are.
    batch : int
        Examples of one iteration, drawn with replacement; all of them, in their order, where it is 0.
    seed, meta : int
    device : torch.device
    """

    BLOCK = 64

    def __init__(self, count: int, batch: int, seed: int, meta: int, device: torch.device) -> None:
        self.count, self.batch, self.device = count, batch, device
        self._key = (seed, meta)
        self._block = -1
        self._index = torch.zeros(0)

    def at(self, t: int) -> Tensor | None:
        """Indices (batch,) of iteration t; None for all."""
        if self.batch == 0:
            return None
        block, place = divmod(t, self.BLOCK)
        if block != self._block:
            words = np.random.SeedSequence([*self._key, block]).generate_state(1, np.uint64)
            generator = torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))
            index = torch.randint(self.count, (self.BLOCK, self.batch), generator=generator)
            self._index, self._block = index.to(self.device), block
        return self._index[place]


class Examples(NamedTuple):
    """Inputs and targets.

    Attributes
    ----------
    x : Tensor (N, D) or (K, N, D)
    y : Tensor (N, C) or (K, N, C)
        One-hot.
    weight : float or Tensor (K, N, 1)
        What each counts in the loss.
    """

    x: Tensor
    y: Tensor
    weight: float | Tensor


class _Pass(NamedTuple):
    views: list[tuple[Tensor, Tensor]]
    loss: Tensor
    activations: list[Tensor]
    probabilities: Tensor
    deltas: list[Tensor]
    before: list[Tensor]
    """Errors before they go through tanh, of each hidden layer."""


class Network:
    """tanh layers and a softmax, with all weights in one vector.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden layers, classes.
    tasks : int
        How many networks lie side by side; 0 for one alone, whose tensors have no axis of tasks.

    Notes
    -----
    The vector holds for each layer the weights (inputs, units), then the biases; with tasks, all tasks of a layer follow
    each other.
    """

    def __init__(self, widths: Sequence[int], tasks: int = 0) -> None:
        self.widths, self.tasks = tuple(widths), tasks
        groups = []
        for layer, (inputs, units) in enumerate(pairwise(widths)):
            groups += [
                Group(layer, "weights", max(tasks, 1) * inputs * units, inputs),
                Group(layer, "biases", max(tasks, 1) * units, inputs),
            ]
        self.groups = tuple(groups)
        self.sizes = [group.size for group in groups]
        self.layers = len(widths) - 1

    def views(self, w: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights and biases of each layer, as views of a vector (P,)."""
        parts = w.split(self.sizes)
        views = []
        for layer, (inputs, units) in enumerate(pairwise(self.widths)):
            if self.tasks:
                shape, flat = (self.tasks, inputs, units), (self.tasks, 1, units)
                views.append((parts[2 * layer].view(shape), parts[2 * layer + 1].view(flat)))
            else:
                views.append((parts[2 * layer].view(inputs, units), parts[2 * layer + 1]))
        return views

    def predict(self, w: Tensor, x: Tensor) -> Tensor:
        """Log-probabilities of the classes, (N, C) or (K, N, C)."""
        a = x
        for layer, (weight, bias) in enumerate(self.views(w)):
            a = _affine(a, weight, bias)
            if layer < self.layers - 1:
                a = a.tanh_()
        return torch.log_softmax(a, -1)

    def loss(self, w: Tensor, examples: Examples) -> Tensor:
        """Cross-entropy, nats."""
        return -(self.predict(w, examples.x) * examples.y * examples.weight).sum()

    def gradient(self, w: Tensor, examples: Examples, out: Tensor) -> _Pass:
        """Back-propagation; the gradient goes into ``out`` (P,)."""
        views, grads = self.views(w), self.views(out)
        activations = [examples.x]
        for layer, (weight, bias) in enumerate(views):
            s = _affine(activations[-1], weight, bias)
            activations.append(s.tanh_() if layer < self.layers - 1 else s)
        log_p = torch.log_softmax(activations.pop(), -1)
        loss = -(log_p * examples.y * examples.weight).sum()
        p = log_p.exp_()
        delta = (p - examples.y).mul_(examples.weight)
        deltas, before = [delta] * self.layers, [delta] * self.layers
        for layer in range(self.layers - 1, -1, -1):
            deltas[layer] = delta
            torch.matmul(activations[layer].mT, delta, out=grads[layer][0])
            torch.sum(delta, -2, keepdim=bool(self.tasks), out=grads[layer][1])
            if layer:
                before[layer] = delta @ views[layer][0].mT
                delta = torch.ops.aten.tanh_backward(before[layer], activations[layer])
        return _Pass(views, loss, activations, p, deltas, before)

    def products(
        self, u: Tensor, examples: Examples, done: _Pass, out: Tensor, by_data: bool = False
    ) -> Tensor | None:
        """Hessian times u into ``out`` (P,): the derivative of all of `gradient` when w moves along u.

        Returns
        -------
        Tensor or None
            Derivative of g . u by the inputs, where asked for.
        """
        views, along, grads = done.views, self.views(u), self.views(out)
        activations, p = done.activations, done.probabilities
        moved: list[Tensor | None] = [None]
        for layer in range(self.layers):
            s = _affine(activations[layer], *along[layer])
            last = moved[-1]
            if last is not None:
                s = _add_product(s, last, views[layer][0])
            if layer < self.layers - 1:
                s = torch.ops.aten.tanh_backward(s, activations[layer + 1])
            moved.append(s)
        # (p - y) moves by p (s - sum p s).
        r = p * s
        r = r.sub_(p * r.sum(-1, keepdim=True)).mul_(examples.weight)
        for layer in range(self.layers - 1, -1, -1):
            torch.matmul(activations[layer].mT, r, out=grads[layer][0])
            a_moved = moved[layer]
            if a_moved is not None:
                _add_product(grads[layer][0], a_moved.mT, done.deltas[layer])
            torch.sum(r, -2, keepdim=bool(self.tasks), out=grads[layer][1])
            if layer or by_data:
                r = _add_product(r @ views[layer][0].mT, done.deltas[layer], along[layer][0].mT)
            if layer:
                assert a_moved is not None
                a = activations[layer]
                r = torch.ops.aten.tanh_backward(r, a).addcmul_(a * done.before[layer], a_moved, value=-2.0)
        return r if by_data else None


def _affine(a: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, a, weight) if a.ndim == 2 else torch.baddbmm(bias, a, weight)


def _add_product(into: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add a b to ``into`` where it lies."""
    return into.addmm_(a, b) if into.ndim == 2 else into.baddbmm_(a, b)


@dataclass
class NetworkProblem(Problem):
    """A network on batches, with what else can be learned about its training.

    Attributes
    ----------
    network : Network
    examples : Examples
        Trained on. With ``by_data`` these are learned.
    batches : Batches
    held : Examples
        Of the meta-objective.
    penalty : Tensor (P,) or None
        lambda: the loss holds sum lambda w^2.
    by_penalty, by_data : bool
        Whether the derivative by the penalties, by the inputs, is wanted.
    sharing : Tensor (L, K, K) or None
        The network's weights of a layer are ``sharing[layer]`` times the trained ones, over the tasks (section 3.5).
    """

    network: Network
    examples: Examples
    batches: Batches
    held: Examples
    penalty: Tensor | None = None
    by_penalty: bool = False
    by_data: bool = False
    sharing: Tensor | None = None
    groups: tuple[Group, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = self.network.groups

    def new_grads(self) -> Grads:
        grads: Grads = {}
        if self.by_penalty and self.penalty is not None:
            grads["penalty"] = torch.zeros_like(self.penalty)
        if self.by_data:
            grads["data"] = torch.zeros_like(self.examples.x)
        if self.sharing is not None:
            grads["sharing"] = torch.zeros_like(self.sharing)
        return grads

    def _batch(self, t: int) -> tuple[Examples, Tensor | None]:
        index = self.batches.at(t)
        if index is None:
            return self.examples, None
        x, y, _ = self.examples
        return Examples(x.index_select(0, index), y.index_select(0, index), 1.0 / len(index)), index

    def _shared(self, z: Tensor) -> Tensor:
        """The networks' weights from the trained ones."""
        return z if self.sharing is None else self._mix(z, self.sharing)

    def _mix(self, z: Tensor, matrices: Tensor) -> Tensor:
        mixed = torch.empty_like(z)
        parts = zip(z.split(self.network.sizes), mixed.split(self.network.sizes), strict=True)
        for place, (a, b) in enumerate(parts):
            tasks = self.network.tasks
            torch.matmul(matrices[place // 2], a.view(tasks, -1), out=b.view(tasks, -1))
        return mixed

    def _outer(self, into: Tensor, left: Tensor, right: Tensor, sign: float) -> None:
        """Add left right^T over the tasks of each layer to ``into`` (L, K, K)."""
        tasks, sizes = self.network.tasks, self.network.sizes
        for place, (a, b) in enumerate(zip(left.split(sizes), right.split(sizes), strict=True)):
            into[place // 2].addmm_(a.view(tasks, -1), b.view(tasks, -1).T, alpha=sign)

    def gradient(self, w: Tensor, t: int) -> tuple[Tensor, Tensor]:
        g, done, _ = self._gradient(w, self._shared(w), self._batch(t)[0])
        loss = done.loss
        if self.penalty is not None:
            loss = loss + (self.penalty * w).dot(w)
        return loss, g

    def _gradient(self, w: Tensor, weights: Tensor, batch: Examples) -> tuple[Tensor, _Pass, Tensor]:
        """Gradient by w; the pass; the gradient by the networks' weights."""
        raw = torch.empty_like(w)
        done = self.network.gradient(weights, batch, raw)
        g = raw if self.sharing is None else self._mix(raw, self.sharing.mT)
        if self.penalty is not None:
            g = torch.addcmul(g, self.penalty, w, value=2.0)
        return g, done, raw

    def products(self, w: Tensor, u: Tensor, t: int, grads: Grads) -> tuple[Tensor, Tensor]:
        batch, index = self._batch(t)
        weights = self._shared(w)
        g, done, raw = self._gradient(w, weights, batch)
        h = torch.empty_like(w)
        by_x = self.network.products(self._shared(u), batch, done, h, "data" in grads)
        if by_x is not None:
            if index is None:
                grads["data"].sub_(by_x)
            else:
                grads["data"].index_add_(0, index, by_x, alpha=-1)
        if self.sharing is not None:
            # g . u = (gradient by the networks' weights) . T u, and both factors hold T.
            self._outer(grads["sharing"], raw, u, -1.0)
            self._outer(grads["sharing"], h, w, -1.0)
            h = self._mix(h, self.sharing.mT)
        if self.penalty is not None:
            if "penalty" in grads:
                grads["penalty"].addcmul_(w, u, value=-2.0)
            h.addcmul_(self.penalty, u, value=2.0)
        return g, h

    def objective(self, w: Tensor) -> tuple[Tensor, Tensor, Grads]:
        weights = self._shared(w)
        raw = torch.empty_like(w)
        loss = self.network.gradient(weights, self.held, raw).loss
        grads = self.new_grads()
        if self.sharing is None:
            return loss, raw, grads
        self._outer(grads["sharing"], raw, w, 1.0)
        return loss, self._mix(raw, self.sharing.mT), grads

    def value(self, w: Tensor) -> float:
        return float(self.network.loss(self._shared(w), self.held))

    def measure(self, w: Tensor, examples: Examples) -> tuple[float, float]:
        """Cross-entropy in nats, and percent of wrong answers, both as the examples are weighted."""
        log_p = self.network.predict(self._shared(w), examples.x)
        loss = -(log_p * examples.y * examples.weight).sum()
        wrong = (log_p.argmax(-1) != examples.y.argmax(-1)).to(log_p.dtype).unsqueeze(-1)
        return float(loss), 100.0 * float((wrong * examples.weight).sum())


class Toy(Problem):
    """The paper's figure 1: 800 sigmoid(r / 500), with r a Rosenbrock function that is tilted by 200 y.

    The minimum lies at the end of a bent valley; the first coordinate of w is y, the second x.
    """

    START = (1.4, 3.9)

    def __init__(self) -> None:
        self.groups = (Group(0, "point", 2, 2),)

    @staticmethod
    def surface(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The loss on a grid."""
        r = 100 * (x - y**2) ** 2 + (1 - y) ** 2 + 200 * y
        return 800 / (1 + np.exp(-r / 500))

    @staticmethod
    def _parts(w: Tensor) -> tuple[float, float, float, float, float, float, float, float]:
        y, x = w.tolist()
        # Products, as a power of floats raises where it overflows, and float reversal comes there.
        bent = x - y * y
        r = 100 * bent * bent + (1 - y) * (1 - y) + 200 * y
        s = 1 / (1 + math.exp(-max(min(r / 500, 700.0), -700.0)))
        slope = 1.6 * s * (1 - s)
        bend = slope * (1 - 2 * s) / 500
        r_y, r_x = -400 * y * bent - 2 * (1 - y) + 200, 200 * bent
        return y, x, 800 * s, slope, bend, r_y, r_x, -400 * (x - 3 * y * y) + 2

    def gradient(self, w: Tensor, t: int) -> tuple[Tensor, Tensor]:
        _, _, loss, slope, _, r_y, r_x, _ = self._parts(w)
        return w.new_tensor(loss), w.new_tensor([slope * r_y, slope * r_x])

    def products(self, w: Tensor, u: Tensor, t: int, grads: Grads) -> tuple[Tensor, Tensor]:
        y, _, _, slope, bend, r_y, r_x, r_yy = self._parts(w)
        u_y, u_x = u.tolist()
        along = bend * (r_y * u_y + r_x * u_x)
        h_y = along * r_y + slope * (r_yy * u_y - 400 * y * u_x)
        h_x = along * r_x + slope * (-400 * y * u_y + 200 * u_x)
        return w.new_tensor([slope * r_y, slope * r_x]), w.new_tensor([h_y, h_x])

    def objective(self, w: Tensor) -> tuple[Tensor, Tensor, Grads]:
        loss, g = self.gradient(w, 0)
        return loss, g, {}

    def value(self, w: Tensor) -> float:
        return self._parts(w)[2]
