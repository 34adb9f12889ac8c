"""Captions as numbers, ready for minibatches and for measuring; used on the worker's loop."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.data.captions import CaptionSet, SceneMasks, caption_folder, drawn_scenes
from engines.data.fetched import search_folders
from engines.data.scenes import Scene
from engines.errors import DataError, SettingError
from engines.show_attend_tell.config import ShowAttendTellSettings
from engines.show_attend_tell.encoders import INPUT_SIZE
from engines.show_attend_tell.vocabulary import END, Vocabulary


def load(config: ShowAttendTellSettings) -> CaptionSet:
    """The images and captions that the settings ask for.

    Raises
    ------
    DataError, SettingError
    """
    if config.data == "scenes":
        return drawn_scenes(
            seed=config.seed,
            train_size=config.train_size,
            valid_size=config.valid_size,
            held_out_size=config.valid_size,
            size=config.image_size,
        )
    path = config.path or _found("flickr8k")
    if not path:
        raise SettingError(
            "There is no folder of captioned images: choose one as Folder (path=...), or put Flickr8k as flickr8k into the "
            "folder that the environment variable LAB_DATA names.",
            "path",
        )
    size = INPUT_SIZE if config.encoder == "squeezenet" else config.image_size
    return caption_folder(path, seed=config.seed, size=size)


def shown_order(data: CaptionSet) -> np.ndarray:
    """Validation images (N,) in the order in which a person goes through them, int64.

    Of drawn scenes the first is one of two groups of different number or size and colour. Where they are alike in number and
    size, nothing that is written before the first colour tells which of them is meant, and soft attention lies on both.
    """
    valid = data.splits["valid"]
    if not isinstance(data.masks, SceneMasks):
        return valid
    scenes = data.masks.scenes
    first = next((place for place, index in enumerate(valid.tolist()) if _is_telling(scenes[index])), 0)
    return np.concatenate([valid[first : first + 1], np.delete(valid, first)])


def _is_telling(scene: Scene) -> bool:
    if scene.relation in (None, "inside"):
        return False
    one, other = scene.groups
    return one.colour != other.colour and (one.size, len(one.centres)) != (other.size, len(other.centres))


def weights_file(config: ShowAttendTellSettings) -> Path:
    """The weights of the frozen encoder.

    Raises
    ------
    SettingError
        None are chosen, and none are in the data folders.
    """
    if config.weights:
        return Path(config.weights)
    files = sorted(Path(_found("squeezenet") or os.devnull).glob("*.npz"))
    if not files:
        raise SettingError(
            "There are no weights of SqueezeNet: choose an NPZ file as Weights (weights=...), or put one into squeezenet "
            "in the folder that the environment variable LAB_DATA names.",
            "weights",
        )
    return files[0]


def _found(name: str) -> str:
    """The folder of that name in one of the data folders; empty where there is none."""
    return next((str(folder / name) for folder in search_folders() if (folder / name).is_dir()), "")


class Examples:
    """The captions that training goes through.

    Parameters
    ----------
    data : CaptionSet
    vocabulary : Vocabulary
    longest : int
        Words of a caption at most, the end included; longer ones are left out.

    Attributes
    ----------
    images : array (N,) of int64
        The image of each caption.
    lengths : array (N,) of int64
        Words of each caption, the end included.

    Raises
    ------
    DataError
        No caption is that short.
    """

    def __init__(self, data: CaptionSet, vocabulary: Vocabulary, longest: int) -> None:
        images: list[int] = []
        captions: list[list[int]] = []
        for index in data.splits["train"].tolist():
            for caption in data.captions[index]:
                if len(caption) < longest:
                    images.append(index)
                    captions.append(vocabulary.encode(caption))
        if not captions:
            raise DataError(
                f"No training caption of {data.title} has fewer than {longest} words: raise the longest caption "
                "(longest=...)."
            )
        self.images = np.array(images)
        self.lengths = np.array([len(caption) for caption in captions])
        self._words = np.full((len(captions), self.lengths.max()), END)
        for row, caption in enumerate(captions):
            self._words[row, : len(caption)] = caption

    def __len__(self) -> int:
        return len(self.images)

    def words(self, chosen: np.ndarray) -> Tensor:
        """Words (C, B) of captions of one length, time first."""
        length = int(self.lengths[chosen[0]])
        return torch.from_numpy(np.ascontiguousarray(self._words[chosen, :length].T))


@dataclass(frozen=True, eq=False)
class Measured:
    """Captions of images that training does not see, one for each image, padded.

    Attributes
    ----------
    images : array (B,) of int64
    references : tuple of B tuples of captions
        All captions of each image.
    words : Tensor (C, B) of int64
        Of the caption that the likelihood is measured on.
    mask : Tensor (C, B)
        0 where there is padding.
    kinds : tuple of (kind, place, row, cells)
        What is named where: kind of word, place in the caption, row of the batch, and the cells (L,) of bool on which what it
        names lies, or a part of it.
    """

    images: np.ndarray
    references: tuple[tuple[tuple[str, ...], ...], ...]
    words: Tensor
    mask: Tensor
    kinds: tuple[tuple[str, int, int, np.ndarray], ...] = ()


def measured(
    data: CaptionSet,
    vocabulary: Vocabulary,
    images: np.ndarray,
    grid: tuple[int, int] | None = None,
) -> Measured:
    """Captions to measure on: the first, second, third ... of one image after the other, so that all forms occur.

    Parameters
    ----------
    data : CaptionSet
    vocabulary : Vocabulary
    images : array (B,) of int
    grid : (rows, columns) or None
        Of the annotations; given, and where it is known what words name, `Measured.kinds` is filled.
    """
    chosen = [row % len(data.captions[image]) for row, image in enumerate(images.tolist())]
    captions = [data.captions[image][number] for image, number in zip(images.tolist(), chosen, strict=True)]
    encoded = [vocabulary.encode(caption) for caption in captions]
    longest = max(len(caption) for caption in encoded)
    words = torch.full((longest, len(encoded)), END)
    mask = torch.zeros((longest, len(encoded)))
    for row, caption in enumerate(encoded):
        words[: len(caption), row] = torch.tensor(caption)
        mask[: len(caption), row] = 1.0
    kinds: list[tuple[str, int, int, np.ndarray]] = []
    if data.masks is not None and grid is not None:
        for row, (image, number) in enumerate(zip(images.tolist(), chosen, strict=True)):
            for place in range(len(captions[row])):
                named = data.masks(image, number, place)
                if named is not None:
                    kinds.append((named[1], place, row, cells_of(named[0], grid)))
    references = tuple(data.captions[image] for image in images.tolist())
    return Measured(images, references, words, mask, tuple(kinds))


def cells_of(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The cells (L,) of a grid over a picture on which any pixel of a mask (H, W) lies."""
    rows, columns = grid
    down = np.minimum(np.arange(mask.shape[0]) * rows // mask.shape[0], rows - 1)
    across = np.minimum(np.arange(mask.shape[1]) * columns // mask.shape[1], columns - 1)
    touched = np.zeros(grid, dtype=bool)
    y, x = np.nonzero(mask)
    touched[down[y], across[x]] = True
    return touched.ravel()
