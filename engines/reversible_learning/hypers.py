"""Hyperparameters as they are learned, and what moves them; the worker's thread.

Step sizes, scales and penalties are learned as logarithms, momenta as logits, pixels and matrices as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engines.reversible_learning.config import ReversibleLearningSettings
from engines.reversible_learning.momentum import Rates
from engines.reversible_learning.problems import Group
from engines.reversible_learning.reversal import Hypergradient

FAKE_SCALE = 0.01
"""Standard deviation of the pixels that learned pictures begin with."""

CORRELATION = 0.5
"""Of the weights of all tasks at first: T = (1 - c) I + c / K, of all ones."""

LEARNED = {
    "scales": ("log_scale",),
    "l2": ("log_penalty",),
    "data": ("data", "log_penalty"),
    "tasks": ("sharing",),
    "chaos": ("log_alpha",),
}

BETAS, EPSILON = (0.9, 0.99), 1e-4
"""Of Adam, as the authors' code has them."""


class Hypers:
    """All hyperparameters of a run, by name.

    Attributes
    ----------
    values : dict of Tensor
        log_alpha and logit_gamma (T, G), log_scale (G,), and where there are such: log_penalty (P,), data (N, D), sharing
        (L, K, K). With tied layers G is 1 there.
    learned : tuple of str
    """

    def __init__(
        self,
        config: ReversibleLearningSettings,
        groups: tuple[Group, ...],
        device: torch.device,
        layers: int = 0,
        tasks: int = 0,
        data: Tensor | None = None,
    ) -> None:
        self.groups = groups
        self.sizes = tuple(group.size for group in groups)
        columns = 1 if config.tie_layers and config.experiment in ("schedules", "scales") else len(groups)
        shape = (config.inner_steps, columns)

        def full(shape: tuple[int, ...], value: float) -> Tensor:
            return torch.full(shape, value, dtype=torch.float64, device=device)

        self.values = {
            "log_alpha": full(shape, math.log(config.alpha)),
            "logit_gamma": full(shape, math.log(config.gamma / (1 - config.gamma))),
            "log_scale": full((columns,), math.log(config.init_scale)),
        }
        if config.experiment in ("l2", "data"):
            self.values["log_penalty"] = full((sum(self.sizes),), math.log(config.penalty))
        if data is not None:
            self.values["data"] = data
        if tasks:
            matrix = (1 - CORRELATION) * torch.eye(tasks, dtype=torch.float64) + CORRELATION / tasks
            self.values["sharing"] = matrix.to(device).repeat(layers, 1, 1)
        if config.experiment in ("schedules", "toy"):
            learned = ["log_alpha"]
            if config.learn_momentum:
                learned.append("logit_gamma")
            if config.learn_scales and config.experiment == "schedules":
                learned.append("log_scale")
            self.learned = tuple(learned)
        else:
            self.learned = LEARNED[config.experiment]

    def columns(self, values: Tensor) -> Tensor:
        """One column (or number) for each group, of tied ones as well."""
        return values.expand(*values.shape[:-1], len(self.groups))

    def rates(self, log_alpha: Tensor | None = None) -> Rates:
        """Step sizes and momenta; ``log_alpha`` (T, G) in the place of the learned ones."""
        if log_alpha is None:
            log_alpha = self.columns(self.values["log_alpha"])
        gamma = torch.sigmoid(self.columns(self.values["logit_gamma"]))
        return Rates(log_alpha.exp(), gamma, self.sizes)

    def scales(self) -> Tensor:
        """The initial scale of each weight, (P,)."""
        sizes = torch.tensor(self.sizes, device=self.values["log_scale"].device)
        return self.columns(self.values["log_scale"]).exp().repeat_interleave(sizes)

    def penalty(self, constant: float) -> Tensor | None:
        """Penalties (P,), learned or constant; None for none."""
        if "log_penalty" in self.values:
            return self.values["log_penalty"].exp()
        if constant <= 0:
            return None
        like = self.values["log_scale"]
        return torch.full((sum(self.sizes),), constant, dtype=like.dtype, device=like.device)

    def _tied(self, by_group: Tensor, like: Tensor) -> Tensor:
        return by_group if like.shape[-1] == by_group.shape[-1] else by_group.sum(-1, keepdim=True)

    def chain(self, found: Hypergradient, rates: Rates, start: Tensor) -> dict[str, Tensor]:
        """Derivatives by the hyperparameters as they are learned; by the schedules in any case.

        Parameters
        ----------
        found : Hypergradient
        rates : Rates
            Those of the training.
        start : Tensor (P,)
            The initial weights.
        """
        values = self.values
        by = {
            "log_alpha": self._tied(found.alpha * rates.alpha, values["log_alpha"]),
            "logit_gamma": self._tied(found.gamma * rates.gamma * (1 - rates.gamma), values["logit_gamma"]),
        }
        if "log_scale" in self.learned:
            moved = torch.stack([part.sum() for part in (found.start * start).split(self.sizes)])
            by["log_scale"] = self._tied(moved, values["log_scale"])
        if "penalty" in found.others:
            by["log_penalty"] = found.others["penalty"] * values["log_penalty"].exp()
        for name in ("data", "sharing"):
            if name in found.others:
                by[name] = found.others[name]
        return by

    def state_dict(self) -> dict[str, Any]:
        return dict(self.values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in self.values.items():
            self.values[name] = state[name].to(value.device, value.dtype)


class MetaOptimizer:
    """Adam, or plain gradient descent, on the learned hyperparameters.

    Parameters
    ----------
    hypers : Hypers
    adam : bool
    """

    def __init__(self, hypers: Hypers, adam: bool) -> None:
        self.hypers, self.adam = hypers, adam
        self.count = 0
        names = hypers.learned if adam else ()
        self.first = {name: torch.zeros_like(hypers.values[name]) for name in names}
        self.second = {name: torch.zeros_like(hypers.values[name]) for name in names}

    def step(self, by: Mapping[str, Tensor], size: float) -> None:
        """One step against the derivatives."""
        values = self.hypers.values
        self.count += 1
        for name in self.hypers.learned:
            g = by[name]
            if not self.adam:
                values[name] = values[name] - size * g
                continue
            self.first[name] = BETAS[0] * self.first[name] + (1 - BETAS[0]) * g
            self.second[name] = BETAS[1] * self.second[name] + (1 - BETAS[1]) * g * g
            mean = self.first[name] / (1 - BETAS[0] ** self.count)
            spread = (self.second[name] / (1 - BETAS[1] ** self.count)).sqrt()
            values[name] = values[name] - size * mean / (spread + EPSILON)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "first": dict(self.first), "second": dict(self.second)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
        for mine, theirs in ((self.first, state["first"]), (self.second, state["second"])):
            for name, value in mine.items():
                mine[name] = theirs[name].to(value.device, value.dtype)
