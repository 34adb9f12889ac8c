"""The data of a run: examples of one network, or drawings of several tasks; the worker's thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.data import catalog
from engines.data.dataset import arrays_digest
from engines.engine import numpy_stream
from engines.errors import DataError
from engines.reversible_learning import omniglot
from engines.reversible_learning.config import ReversibleLearningSettings
from engines.reversible_learning.problems import Examples


class Split(NamedTuple):
    """How many drawings of each class are trained on, are for validation, and to test."""

    kept: int
    valid: int
    test: int


ALPHABET = Split(10, 2, 3)
"""Of a character, as in the paper."""

HALF = Split(4, 40, 60)
"""Of a class of other data, where there are more: few to train on, so that there is something to share."""

ALPHABETS = 5


@dataclass
class Material:
    """Training, validation and test examples of one network.

    Attributes
    ----------
    train, valid, test : Examples
    picture : (height, width)
    class_names : tuple of str
    description : mapping
    """

    train: Examples
    valid: Examples
    test: Examples
    picture: tuple[int, int]
    class_names: tuple[str, ...]
    description: Mapping[str, str]


@dataclass
class Tasks:
    """Several tasks side by side, each with its own drawings and classes.

    Attributes
    ----------
    pool : Tensor (K, C, N, D)
        N drawings of each class; those of classes that a task does not have are blank.
    present : Tensor (K, C)
        1 where the task has the class, else 0.
    names : tuple of str
    picture : (height, width)
    parts : Split
    description : mapping
    """

    pool: Tensor
    present: Tensor
    names: tuple[str, ...]
    picture: tuple[int, int]
    parts: Split
    description: Mapping[str, str]

    def examples(self, drawings: Tensor) -> Examples:
        """Some drawings of each class, by their number (n,), weighted so that the losses of the tasks add up."""
        tasks, classes, _, pixels = self.pool.shape
        n = len(drawings)
        x = self.pool[:, :, drawings].reshape(tasks, classes * n, pixels)
        y = torch.eye(classes, dtype=x.dtype, device=x.device).repeat_interleave(n, 0).expand(tasks, -1, -1)
        weight = (self.present / (n * self.present.sum(1, keepdim=True))).repeat_interleave(n, 1)
        return Examples(x, y, weight.unsqueeze(-1))

    def split(self, seed: int, meta: int) -> tuple[Examples, Examples]:
        """Training and validation examples of a meta-iteration."""
        key = np.random.SeedSequence([seed, meta, 77])
        kept, valid, _ = self.parts
        order = torch.from_numpy(np.random.default_rng(key).permutation(kept + valid)).to(self.pool.device)
        return self.examples(order[:kept]), self.examples(order[kept:])

    def whole(self) -> tuple[Examples, Examples]:
        """All training examples, and those to test."""
        kept, valid, test = self.parts
        index = torch.arange(kept + valid + test, device=self.pool.device)
        return self.examples(index[: self.last_trained()]), self.examples(index[kept + valid :])

    def last_trained(self) -> int:
        """How many drawings of each class the final training takes: the alphabets' all, of other data as few as before."""
        return self.parts.kept + (self.parts.valid if self.parts is ALPHABET else 0)


def load(config: ReversibleLearningSettings, device: torch.device) -> Material:
    """Examples of one network.

    Raises
    ------
    DataError
        They are not here.
    """
    dataset = catalog.load(config.data, seed=config.seed)
    assert dataset.train_labels is not None and dataset.test_labels is not None
    classes, count = len(dataset.class_names), len(dataset.train)
    order = numpy_stream(config.seed, "split").permutation(count)
    # Where there are too few, both get their share of what there is.
    share = min(1.0, count / (config.train_size + config.valid_size))
    first = max(1, int(config.train_size * share))
    last = min(count, first + max(1, int(config.valid_size * share)))

    def examples(images: np.ndarray, labels: np.ndarray) -> Examples:
        x = torch.from_numpy(
            images.reshape(len(images), -1).astype(np.float64) / ((dataset.levels or 256) - 1)
        )
        y = functional.one_hot(torch.from_numpy(labels), classes).double()
        return Examples(x.to(device), y.to(device), 1.0 / len(images))

    rows, others = order[:first], order[first:last]
    _, height, width = dataset.shape
    return Material(
        examples(dataset.train[rows], dataset.train_labels[rows]),
        examples(dataset.train[others], dataset.train_labels[others]),
        examples(dataset.test, dataset.test_labels),
        (height, width),
        dataset.class_names,
        dataset.description(),
    )


def load_tasks(config: ReversibleLearningSettings, device: torch.device) -> Tasks:
    """Tasks: Omniglot's alphabets or halves of the classes of other data, each upright and turned by 90 degrees.

    Raises
    ------
    DataError
        The data are not here.
    """
    if config.data == "omniglot":
        alphabets = omniglot.load(ALPHABETS)
        names = [alphabet.name for alphabet in alphabets]
        parts = ALPHABET
        drawings = [alphabet.drawings[:, : sum(parts)] for alphabet in alphabets]
        levels = 256
        description = {
            "name": "omniglot",
            "title": "Omniglot: " + ", ".join(names),
            "kind": "images",
            "digest": arrays_digest(*drawings),
            "licence": "MIT",
            "source": "Lake, Salakhutdinov and Tenenbaum, github.com/brendenlake/omniglot",
        }
    else:
        dataset = catalog.load(config.data, seed=config.seed)
        assert dataset.train_labels is not None
        parts, levels = HALF, dataset.levels or 256
        count, labels = sum(parts), dataset.train_labels
        order = numpy_stream(config.seed, "drawings").permutation(len(labels))
        classes = [
            dataset.train[order[labels[order] == c][:count], 0] for c in range(len(dataset.class_names))
        ]
        if any(len(some) < count for some in classes):
            raise DataError(f"{dataset.title} has a class of fewer than {count} pictures: choose other data.")
        half = len(classes) // 2
        drawings = [np.stack(classes[:half]), np.stack(classes[half : 2 * half])]
        names = [
            f"{dataset.class_names[a]} to {dataset.class_names[b]}"
            for a, b in ((0, half - 1), (half, 2 * half - 1))
        ]
        description = dict(dataset.description())
    turned = [np.rot90(some, axes=(2, 3)) for some in drawings]
    every = [*drawings, *turned]
    most = max(len(some) for some in every)
    height, width = every[0].shape[2:]
    pool = np.zeros((len(every), most, sum(parts), height * width))
    present = np.zeros((len(every), most))
    for k, some in enumerate(every):
        pool[k, : len(some)] = some.reshape(len(some), sum(parts), -1) / (levels - 1)
        present[k, : len(some)] = 1
    return Tasks(
        torch.from_numpy(pool).to(device),
        torch.from_numpy(present).to(device),
        (*names, *(f"{name}, turned" for name in names)),
        (height, width),
        parts,
        description,
    )
