"""The pictures that DRAW learns from, loaded and binarised as the settings say; the worker's thread.

Where a picture meets the network it is flattened in the order (height, channels, width); see `filterbank`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.data import catalog
from engines.data.canvases import CanvasSource, classes, cluttered_digits_sources, two_digits_sources
from engines.data.dataset import Dataset
from engines.data.own import load_pictures
from engines.draw.config import CANVASES, DrawSettings
from engines.engine import stream
from engines.errors import DataError, InputError

NEIGHBOURS = 20_000
"""Training pictures among which the nearest to a sample is sought."""

HELD_OUT_SEED = 0
"""Of the order of held-out pictures. Not the run's: all runs are measured on the same ones."""


@dataclass
class Material:
    """Training and held-out pictures.

    Attributes
    ----------
    dataset : Dataset
    train, test : Tensor (N, pixels) of uint8
        Levels 0 .. ``levels`` - 1, flattened (height, channels, width). Those held out are shuffled, always in the same way.
    train_labels, test_labels : Tensor (N,) of int64, or None
    levels : int
    source : CanvasSource or None
        Puts new training canvases together, where each batch gets its own.
    binarisation : {"threshold", "fixed", "drawn", "means"}
    """

    dataset: Dataset
    train: Tensor
    test: Tensor
    train_labels: Tensor | None
    test_labels: Tensor | None
    levels: int
    source: CanvasSource | None
    binarisation: str

    @property
    def picture(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.dataset.shape
        return channels, height, width

    def grey(self, levels: Tensor) -> Tensor:
        """Levels as float32 in 0 .. 1."""
        return levels.float() / (self.levels - 1)

    def prepared(self, levels: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures as the model sees them, (N, pixels) float32: grey, or made or drawn 0 and 1."""
        grey = self.grey(levels)
        if self.binarisation == "threshold":
            return (grey >= 0.5).float()
        if self.binarisation == "drawn" and self.levels > 2:
            return torch.bernoulli(grey, generator=generator)
        return grey

    def batch(
        self, count: int, number: int, order: torch.Generator, ink: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Training pictures and their classes.

        Parameters
        ----------
        count : int
        number : int
            Of the batch, from 0: which canvases are put together, where each batch gets new ones.
        order : torch.Generator
            Which pictures, on the CPU.
        ink : torch.Generator
            Of the binarisation, on the pictures' device.
        """
        device = self.train.device
        if self.source is not None:
            made = self.source.batch(number, count)
            levels = flattened(made.images).to(device)
            return self.prepared(levels, ink), classes_of(made.labels).to(device)
        index = torch.randint(len(self.train), (count,), generator=order).to(device)
        labels = None if self.train_labels is None else self.train_labels[index]
        return self.prepared(self.train[index], ink), labels

    def pictures(self, flat: Tensor) -> Tensor:
        """(N, pixels) as (N, height, channels, width)."""
        channels, height, width = self.picture
        return flat.reshape(-1, height, channels, width)

    def own(self, image: np.ndarray) -> Tensor:
        """A person's picture scaled to the data's size, (1, pixels) float32 in 0 .. 1 on the CPU.

        Raises
        ------
        InputError
            It is no picture.
        """
        from PIL import Image

        values = np.asarray(image)
        is_grey, is_colour = values.ndim == 2, values.ndim == 3 and values.shape[-1] in (3, 4)
        if not (is_grey or is_colour) or not values.size or not np.issubdtype(values.dtype, np.number):
            raise InputError(
                f"The picture has the shape {values.shape}, but (height, width) or (height, width, 3) is needed: choose "
                "another one."
            )
        if max(values.shape[:2]) > 8192:
            raise InputError("The picture is larger than 8192 pixels: scale it down first.")
        if values.dtype != np.uint8:
            numbers = values.astype(np.float64)
            if not np.isfinite(numbers).all() or numbers.min() < 0 or numbers.max() > 1:
                raise InputError("The picture has values outside of 0 to 1: scale them first.")
            values = (numbers * 255 + 0.5).astype(np.uint8)
        channels, height, width = self.picture
        # The middle is kept, where the shapes differ.
        picture = Image.fromarray(np.ascontiguousarray(values[..., :3] if is_colour else values))
        picture = picture.convert("L" if channels == 1 else "RGB")
        scale = min(picture.width / width, picture.height / height)
        box_width, box_height = width * scale, height * scale
        left, top = (picture.width - box_width) / 2, (picture.height - box_height) / 2
        picture = picture.resize(
            (width, height), Image.Resampling.BOX, (left, top, left + box_width, top + box_height)
        )
        array = np.asarray(picture, dtype=np.float32) / 255
        array = array.reshape(height, width, -1).transpose(0, 2, 1)
        return torch.from_numpy(np.ascontiguousarray(array)).reshape(1, -1)


def flattened(images: np.ndarray) -> Tensor:
    """Images (N, channels, height, width) as (N, pixels) in the order (height, channels, width)."""
    turned = np.ascontiguousarray(images.transpose(0, 2, 1, 3))
    return torch.from_numpy(turned.reshape(len(images), -1))


def classes_of(labels: np.ndarray) -> Tensor:
    """Classes (N,) of canvases from the digits on them (N, K); of two the unordered pair."""
    return torch.from_numpy(classes(labels))


def load(config: DrawSettings, device: torch.device) -> Material:
    """The data of the settings.

    Raises
    ------
    DataError, SettingError
        They are not here, are no images, have no classes where a class is needed.
    """
    source = None
    if config.data == "file":
        dataset = load_pictures(config.path, seed=config.seed, size=config.size)
    elif config.data in CANVASES:
        options: dict[str, Any] = {"canvas": config.canvas, "digits": config.digits}
        if config.data == "cluttered_digits":
            options["distractors"] = config.distractors
        dataset = catalog.load(config.data, seed=config.seed, **options)
        if config.fresh:
            sources = two_digits_sources if config.data == "two_digits" else cluttered_digits_sources
            source, _ = sources(seed=config.seed, **options)
    else:
        dataset = catalog.load(config.data, seed=config.seed)
    if dataset.kind != "images":
        raise DataError(f"{dataset.title} holds points, but DRAW draws pictures: give images.")
    if not len(dataset.test) or not len(dataset.train):
        raise DataError(f"{dataset.title} has no pictures to train on or to hold out: give more of them.")
    classify = config.task == "classify"
    if classify and (dataset.train_labels is None or dataset.test_labels is None):
        raise DataError(
            f"{dataset.title} has no classes, which the classifier needs: put the pictures of each class into a folder "
            "of its own, or choose task=generate."
        )
    levels = dataset.levels or 256
    binarisation = "means" if classify else config.binarisation
    # Some data come sorted by class, as the held-out part of binarised MNIST does: the first thousand would be all zeros.
    shuffled = torch.randperm(len(dataset.test), generator=stream(HELD_OUT_SEED, "held-out order"))
    train, test = flattened(dataset.train), flattened(dataset.test)[shuffled]
    if binarisation == "fixed" and levels > 2:
        generator = stream(config.seed, "binarise")
        train, test = (
            torch.cat(
                [
                    torch.bernoulli(p.float() / (levels - 1), generator=generator).byte()
                    for p in part.split(4096)
                ]
            )
            for part in (train, test)
        )
        levels = 2
        # New canvases would not be the ones that were binarised once.
        source = None

    def tensor(labels: np.ndarray | None) -> Tensor | None:
        return None if labels is None else torch.from_numpy(labels).to(device)

    return Material(
        dataset,
        train.to(device),
        test.to(device),
        tensor(dataset.train_labels),
        None if dataset.test_labels is None else tensor(dataset.test_labels[shuffled.numpy()]),
        levels,
        source,
        binarisation,
    )
