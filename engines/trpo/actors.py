"""Policies in numpy, for the loop of the environment; any thread or process, imports no torch."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Choose = Callable[[np.ndarray], Any]
"""The action at one observation (O,): an array (A,) or a number."""

DRAWN = 128
"""Random numbers are drawn for so many steps at a time."""

FEW = 16
"""Up to so many actions are added up one by one: numpy takes longer to begin."""


class Actor(abc.ABC):
    """A policy in numpy: a few matrix products, without what torch does around them. Picklable.

    Parameters
    ----------
    layers : sequence of array
        Weight (out, in) and bias (out,) of each layer.
    """

    def __init__(self, layers: Sequence[np.ndarray]) -> None:
        self._weights = [weight.T for weight in layers[0::2]]
        self._biases = list(layers[1::2])
        self._dtype = layers[0].dtype

    def _output(self, observations: np.ndarray) -> np.ndarray:
        h = np.asarray(observations, self._dtype)
        # A single state goes through as a vector: the same product at half of its cost.
        single = len(h) == 1
        if single:
            h = h[0]
        last = len(self._weights) - 1
        for index, weight in enumerate(self._weights):
            h = h.dot(weight) if single else h @ weight
            h += self._biases[index]
            if index < last:
                np.tanh(h, out=h)
        return h[None] if single else h

    def _single(self) -> Callable[[np.ndarray], np.ndarray]:
        """`_output` at one observation (O,) of the actor's type, for one thread, a fresh array (.,) each time."""
        *hidden, last = zip(self._weights, self._biases, strict=True)
        steps = [(weight, bias, np.empty_like(bias)) for weight, bias in hidden]
        weight, bias = last
        dot, add, tanh, dtype = np.dot, np.add, np.tanh, self._dtype

        def output(observation: np.ndarray) -> np.ndarray:
            h = observation if observation.dtype == dtype else observation.astype(dtype)
            for w, b, room in steps:
                dot(h, w, room)
                add(room, b, room)
                tanh(room, room)
                h = room
            h = dot(h, weight)
            add(h, bias, h)
            return h

        return output

    @abc.abstractmethod
    def act(self, observations: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """One sampled action for each of ``observations`` (N, O)."""

    @abc.abstractmethod
    def mode(self, observations: np.ndarray) -> np.ndarray:
        """The likeliest action for each of ``observations`` (N, O)."""

    @abc.abstractmethod
    def sampler(self, generator: np.random.Generator) -> Choose:
        """A function that draws an action at one observation (O,), as `act` does and in a fraction of its time.

        Its random numbers are drawn in blocks: nothing else may use the generator. For one thread.
        """

    def chooser(self) -> Choose:
        """A function that gives the likeliest action at one observation (O,), as `mode` does."""
        return lambda observation: self.mode(observation[None])[0]


class GaussianActor(Actor):
    """See `engines.trpo.policies.GaussianPolicy`; ``log_std`` has shape (A,)."""

    def __init__(self, layers: Sequence[np.ndarray], log_std: np.ndarray) -> None:
        super().__init__(layers)
        self.deviation = np.exp(log_std)

    def mean(self, observations: np.ndarray) -> np.ndarray:
        """(N, A)."""
        return self._output(observations)

    def act(self, observations: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        actions = self._output(observations)
        actions += self._noise(generator, len(actions))
        return actions

    def sampler(self, generator: np.random.Generator) -> Choose:
        output, add = self._single(), np.add
        noise: list[np.ndarray] = []

        def choose(observation: np.ndarray) -> np.ndarray:
            if not noise:
                noise.extend(self._noise(generator, DRAWN)[::-1])
            action = output(observation)
            add(action, noise.pop(), action)
            return action

        return choose

    def _noise(self, generator: np.random.Generator, count: int) -> np.ndarray:
        shape = count, len(self.deviation)
        noise = generator.standard_normal(shape, np.float32 if self._dtype.itemsize == 4 else np.float64)
        noise *= self.deviation
        return noise

    def mode(self, observations: np.ndarray) -> np.ndarray:
        return self._output(observations)


class CategoricalActor(Actor):
    """See `engines.trpo.policies.CategoricalPolicy`."""

    def probabilities(self, observations: np.ndarray) -> np.ndarray:
        """(N, actions), each row adding up to one."""
        logits = self._output(observations)
        # The ufuncs themselves: what the methods of arrays do around them costs as much again.
        logits -= np.maximum.reduce(logits, -1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= np.add.reduce(logits, -1, keepdims=True)
        return logits

    def act(self, observations: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        edges = np.add.accumulate(self.probabilities(observations), -1)
        # Without the last edge: rounding may leave it below the drawn number.
        return np.add.reduce(generator.random((len(edges), 1)) >= edges[:, :-1], -1)

    def sampler(self, generator: np.random.Generator) -> Choose:
        if len(self._biases[-1]) > FEW:
            return lambda observation: self.act(observation[None], generator)[0]
        output, exp = self._single(), math.exp
        drawn: list[float] = []

        def choose(observation: np.ndarray) -> int:
            if not drawn:
                drawn.extend(generator.random(DRAWN)[::-1].tolist())
            logits = output(observation).tolist()
            highest = max(logits)
            shares = [exp(logit - highest) for logit in logits]
            left = drawn.pop() * sum(shares)
            last = len(shares) - 1
            for action in range(last):
                left -= shares[action]
                if left < 0.0:
                    return action
            return last

        return choose

    def mode(self, observations: np.ndarray) -> np.ndarray:
        return self._output(observations).argmax(-1)
