"""The labelled pictures that the network learns, loaded as the settings say; the worker's thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engines.data import catalog
from engines.data.dataset import Dataset
from engines.data.own import load_pictures
from engines.engine import stream
from engines.errors import DataError
from engines.fixed_point.config import FixedPointSettings


@dataclass
class Material:
    """Training and test pictures with their classes.

    Attributes
    ----------
    dataset : Dataset
    train : Tensor (N, C, H, W) of uint8
    test : Tensor (M, C, H, W) of float32
        In 0 .. 1.
    calibration : Tensor (K, C, H, W) of float32
        Training pictures in 0 .. 1, from which the quantisers learn their scales.
    train_labels, test_labels : Tensor of int64
    classes : int
    """

    dataset: Dataset
    train: Tensor
    test: Tensor
    calibration: Tensor
    train_labels: Tensor
    test_labels: Tensor
    classes: int

    @property
    def picture(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.dataset.shape
        return channels, height, width

    def batch(self, count: int, order: torch.Generator) -> tuple[Tensor, Tensor]:
        """Training pictures in 0 .. 1 and their classes, drawn with replacement."""
        index = torch.randint(len(self.train), (count,), generator=order).to(self.train.device)
        return _grey(self.train[index], self.dataset), self.train_labels[index]


def _grey(levels: Tensor, dataset: Dataset) -> Tensor:
    return levels.float() / ((dataset.levels or 256) - 1)


def load(config: FixedPointSettings, device: torch.device) -> Material:
    """The data of the settings.

    Raises
    ------
    DataError, SettingError
        They are not here, are no images, or have no classes.
    """
    dataset = (
        load_pictures(config.path, seed=config.seed, size=config.size)
        if config.data == "file"
        else catalog.load(config.data, seed=config.seed)
    )
    if dataset.kind != "images":
        raise DataError(f"{dataset.title} holds points, but the network reads pictures: give images.")
    if dataset.train_labels is None or dataset.test_labels is None:
        raise DataError(
            f"{dataset.title} has no classes, which the network has to tell apart: put the pictures of each class into a "
            "folder of its own, or give labels."
        )
    if len(dataset.train) < 2 or not len(dataset.test):
        raise DataError(f"{dataset.title} has too few pictures to train on and to test: give more of them.")
    if max(dataset.shape[1:]) > 128:
        raise DataError(
            f"The pictures of {dataset.title} are {dataset.shape[2]}×{dataset.shape[1]}, which is too large: scale them to "
            "at most 128×128."
        )
    labels = [np.asarray(part) for part in (dataset.train_labels, dataset.test_labels)]
    classes = max(len(dataset.class_names), *(int(part.max()) + 1 for part in labels))
    if classes < 2:
        raise DataError(f"{dataset.title} has one class only: give pictures of at least two.")
    chosen = torch.randperm(len(dataset.train), generator=stream(config.seed, "calibration"))
    train = torch.from_numpy(dataset.train)
    return Material(
        dataset,
        train.to(device),
        _grey(torch.from_numpy(dataset.test), dataset).to(device),
        _grey(train[chosen[: config.calibration]], dataset).to(device),
        torch.from_numpy(labels[0]).to(device),
        torch.from_numpy(labels[1]).to(device),
        classes,
    )
