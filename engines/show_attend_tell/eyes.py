"""Annotations of images, from an encoder that is trained along or from one that is frozen; runs on the worker's loop."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from engines.data.captions import CaptionSet
from engines.data.fetched import data_folder
from engines.show_attend_tell import encoders

AT_ONCE = 64
"""Images that are encoded at a time while pictures and measures are made."""


class Eye(abc.ABC):
    """What turns the images of a data set, and others of that size, into annotations.

    Attributes
    ----------
    grid : (rows, columns)
        Of the locations; L is their product.
    dimension : int
        D.
    size : (height, width)
        Pixels that an image must have.
    """

    grid: tuple[int, int]
    dimension: int
    size: tuple[int, int]

    @abc.abstractmethod
    def of(self, indices: np.ndarray) -> Tensor:
        """Annotations (B, L, D) of images of the data set."""

    @abc.abstractmethod
    def look(self, image: np.ndarray) -> Tensor:
        """Annotations (L, D) of an image (height, width, 3) of uint8."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """What is trained."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """Weights that training changes."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:  # noqa: B027 - a frozen one has nothing to take over
        """Take over what `state_dict` gave."""

    @torch.no_grad()
    def of_many(self, indices: np.ndarray) -> Tensor:
        """As `of`, in parts, without gradients."""
        parts = [self.of(indices[i : i + AT_ONCE]) for i in range(0, len(indices), AT_ONCE)]
        return torch.cat(parts)


class TrainedEye(Eye):
    """The small convolution; gradients reach it through `of`."""

    def __init__(self, data: CaptionSet, generator: torch.Generator, device: torch.device) -> None:
        self._data = data
        self._device = device
        self.size = data.size
        network = encoders.SmallConvolution(size=data.size[0], generator=generator)
        self.network = network.to(device)
        self.grid, self.dimension = self.network.grid, self.network.depth
        # Images of a folder are decoded when they are first needed, and then kept.
        self._known = np.zeros(len(data), dtype=bool)
        if isinstance(data.images, np.ndarray):
            self._images, self._known[:] = data.images, True
        else:
            self._images = np.empty(data.images.shape, dtype=np.uint8)

    def batch(self, indices: np.ndarray) -> Tensor:
        """Images of the data set as the network takes them, (B, 3, H, W) from 0 to 1, on its device."""
        for index in indices[~self._known[indices]].tolist():
            self._images[index] = self._data.image(index)
            self._known[index] = True
        # Images are stored with their channels last, which the network then keeps.
        return _batch(self._images[indices], self._device)

    def of(self, indices: np.ndarray) -> Tensor:
        found: Tensor = self.network(self.batch(indices))
        return found

    @torch.no_grad()
    def look(self, image: np.ndarray) -> Tensor:
        found: Tensor = self.network(_batch(image[None], self._device))[0]
        return found

    def parameters(self) -> Iterable[nn.Parameter]:
        return self.network.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.network.load_state_dict(state)


class FrozenEye(Eye):
    """SqueezeNet, whose annotations of the data set are computed once and kept on the disk.

    Parameters
    ----------
    data : CaptionSet
    weights : Path
    device : torch.device

    Raises
    ------
    DataError
        The weights or an image cannot be read, or the annotations cannot be kept.
    """

    def __init__(self, data: CaptionSet, weights: Path, device: torch.device) -> None:
        self._device = device
        self.size = data.size
        self.network = encoders.SqueezeNet.load(weights).to(device)
        self.grid, self.dimension = self.network.grid, self.network.depth
        self._features = encoders.features(data, weights, data_folder() / "features", device=device)

    def of(self, indices: np.ndarray) -> Tensor:
        return torch.from_numpy(self._features[indices]).to(self._device).float()

    @torch.no_grad()
    def look(self, image: np.ndarray) -> Tensor:
        return self.network(_batch(image[None], self._device))[0]


def _batch(images: np.ndarray, device: torch.device) -> Tensor:
    """Images (B, H, W, 3) of uint8 as the encoders take them: (B, 3, H, W) from 0 to 1."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().mul_(1.0 / 255.0)
