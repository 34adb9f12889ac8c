"""The user's arrays (NPZ and NPY), of which no pickle is ever read; safe on any thread or process."""

from __future__ import annotations

import math
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engines.data import checks
from engines.data.dataset import Dataset
from engines.data.files import (
    FEWEST,
    LARGEST_ARRAYS,
    YOURS,
    encode_labels,
    reading,
    refuse_constant,
    regular_size,
    size_text,
    split,
    to_single,
)
from engines.errors import DataError

_TRAIN_KEYS = (
    "train",
    "train_data",
    "train_x",
    "x_train",
    "train_images",
    "x",
    "data",
    "points",
    "images",
    "samples",
)
_TEST_KEYS = ("test", "test_data", "test_x", "x_test", "test_images")
_TRAIN_LABEL_KEYS = (
    "train_labels",
    "labels_train",
    "y_train",
    "train_y",
    "train_label",
    "y",
    "labels",
    "label",
    "target",
)
_TEST_LABEL_KEYS = ("test_labels", "labels_test", "y_test", "test_y", "test_label")


class _Member:
    """One array in an NPZ file (or the NPY file itself), known by its header alone."""

    def __init__(self, path: Path, key: str, file: Any, stored: int) -> None:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        self.shape, _, self.dtype = reader(file)
        self.key = key
        self.bytes = math.prod(self.shape) * self.dtype.itemsize
        if self.dtype.hasobject:
            return  # its bytes are a pickle, which is never read
        # a header may promise more than the file holds
        if min(self.shape, default=0) < 0 or self.bytes > stored:
            raise DataError(
                f'{path}: the array "{key}" is shorter than its header says; save the file again.'
            )

    def describe(self) -> str:
        return f"{self.key} {self.shape} {self.dtype}"


def _members(path: Path) -> dict[str, _Member]:
    """Headers of all arrays in an NPZ or NPY file; nothing is unpickled and no array is read."""
    size = regular_size(path)
    with reading(path), path.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        if magic == np.lib.format.MAGIC_PREFIX:
            return {"array": _Member(path, "array", file, size)}
        with zipfile.ZipFile(file) as archive:
            members = {}
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy"):
                    continue
                key = entry.filename.removesuffix(".npy")
                with archive.open(entry) as stream:
                    members[key] = _Member(path, key, stream, entry.file_size)
            return members


def _read_member(path: Path, member: _Member) -> np.ndarray:
    if member.dtype.hasobject:
        raise DataError(
            f'{path}: the array "{member.key}" holds Python objects, which are never opened because they can '
            "run code; save it as an array of numbers."
        )
    if member.bytes > LARGEST_ARRAYS:
        raise DataError(
            f'{path}: the array "{member.key}" takes {size_text(member.bytes)}, and at most '
            f"{size_text(LARGEST_ARRAYS)} are read; save a part of it."
        )
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return np.atleast_1d(loaded)
    with loaded:
        return np.atleast_1d(loaded[member.key])


@contextmanager
def _parsing(path: Path, advice: str) -> Iterator[None]:
    """Turn whatever a parser of foreign bytes raises into a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a file was written by Python 2
            yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory; save a part of it.") from error
    # zipfile, zlib and numpy's header parser raise a dozen unrelated types for damaged files
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"{path} is damaged or not what its name says ({reason.rstrip('.')}); {advice}."
        ) from error


def _pick(
    members: dict[str, _Member], asked: str | None, usual: Sequence[str], path: Path, option: str
) -> _Member | None:
    listed = "; ".join(member.describe() for member in list(members.values())[:12])
    if asked is not None:
        if asked not in members:
            raise DataError(
                f"{path} has no array {asked!r}{checks.near_misses(str(asked), members)}; set {option} to "
                f"one of those it has: {listed}."
            )
        return members[asked]
    folded = {key.casefold(): member for key, member in members.items()}
    return next((folded[key] for key in usual if key in folded), None)


def load_npz(
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    key: str | None = None,
    test_key: str | None = None,
    label_key: str | None = None,
    image_shape: Sequence[int] | None = None,
    test_fraction: float = 0.1,
) -> Dataset:
    """Read arrays that numpy saved, NPZ or NPY.

    Two axes are points (N, D); three are grey images (N, H, W); four are images with their channels second or
    last. Images are uint8, boolean, or floats from 0 to 1.

    Parameters
    ----------
    path : path
    seed : int
        Of the split, if the file has no test array.
    key, test_key, label_key : str or None
        Names of the arrays; None takes the usual names (train, x, data, test, y, labels ...) or the only
        array.
    image_shape : (C, H, W) or None
        Makes images of rows of C*H*W numbers.
    test_fraction : float

    Raises
    ------
    DataError
        The file or an option cannot be used; the sentence names the array.
    """
    path = Path(path)
    advice = "save the arrays again with numpy.savez"
    with _parsing(path, advice):
        members = _members(path)
        if not members:
            raise DataError(f"{path} holds no arrays; {advice}.")
        main = _pick(members, key, _TRAIN_KEYS, path, "key")
        if main is None and len(members) == 1:
            main = next(iter(members.values()))
        if main is None:
            listed = "; ".join(member.describe() for member in list(members.values())[:12])
            raise DataError(
                f"{path} has several arrays and none has a usual name; set key to one of: {listed}."
            )
        test_member = _pick(members, test_key, _TEST_KEYS, path, "test_key")
        if test_member is main:
            test_member = None
        label_member = _pick(members, label_key, _TRAIN_LABEL_KEYS, path, "label_key")
        test_label_member = _pick(members, None, _TEST_LABEL_KEYS, path, "test_label_key")
        examples = _read_member(path, main)
        held_out = None if test_member is None else _read_member(path, test_member)
        notes = []
        labels = test_labels = None
        # labels that were only guessed by their name must not stop the data from loading
        if label_member is not None and label_member is not main and label_member is not test_member:
            if label_member.dtype.hasobject and label_key is None:
                notes.append(f'The array "{label_member.key}" holds Python objects and was left alone.')
            else:
                labels = _labels(
                    _read_member(path, label_member), label_member, len(examples), label_key is not None, path
                )
        if test_label_member is not None and test_label_member.dtype.hasobject:
            test_label_member = None
        if labels is not None and held_out is not None and test_label_member is not None:
            raw = _read_member(path, test_label_member)
            test_labels = _labels(raw, test_label_member, len(held_out), False, path)

    fewest = FEWEST if held_out is None else FEWEST - 1
    if examples.size == 0 or len(examples) < fewest:
        raise DataError(
            f'{path}: the array "{main.key}" {examples.shape} has too few examples; it needs at least '
            f"{fewest}, and some "
            "hundreds to learn from."
        )
    if held_out is not None and held_out.size == 0:
        assert test_member is not None
        raise DataError(f'{path}: the array "{test_member.key}" is empty; leave it out, or fill it.')
    data, levels, more = _as_examples(examples, main.key, image_shape, path)
    notes.extend(more)
    if held_out is not None:
        assert test_member is not None
        test, test_levels, _ = _as_examples(held_out, test_member.key, image_shape, path)
        if test.shape[1:] != data.shape[1:] or test.dtype != data.dtype:
            raise DataError(
                f'{path}: the arrays "{main.key}" {examples.shape} and "{test_member.key}" {held_out.shape} '
                "hold examples of different shapes or kinds; set test_key to another array, or save them "
                "alike."
            )
        if test_levels != levels and data.ndim == 4:
            data, test, levels = _same_levels(data, levels, test, test_levels)
        elif test_levels != levels:
            levels = None
        train = data
    else:
        train_index, test_index = split(len(data), test_fraction, seed)
        train, test = data[train_index], data[test_index]
        if labels is not None:
            labels, test_labels = labels[train_index], labels[test_index]
    columns: tuple[str, ...] = ()
    if train.ndim == 2:
        columns = tuple(f"{main.key} {i + 1}" for i in range(train.shape[1]))
        # binary data are never scaled, and some of their columns (a corner of a picture) are naturally
        # constant
        if levels is None:
            refuse_constant(train, columns, path, "every row")
    class_names: tuple[str, ...] = ()
    if labels is not None:
        together = labels if test_labels is None else np.concatenate([labels, test_labels])
        class_names, codes = encode_labels([str(label) for label in together], path)
        test_labels = None if test_labels is None else codes[len(labels) :]
        labels = codes[: len(labels)]
    return Dataset(
        name=path.stem or "npz",
        title=path.name,
        train=train,
        test=test,
        kind="points" if train.ndim == 2 else "images",
        train_labels=labels,
        test_labels=test_labels,
        class_names=class_names,
        columns=columns,
        levels=levels,
        licence=YOURS,
        source=str(path),
        notes=tuple(notes),
    )


def _labels(values: np.ndarray, member: _Member, count: int, asked: bool, path: Path) -> np.ndarray | None:
    flat = values.reshape(-1) if values.ndim == 2 and 1 in values.shape else values
    if flat.shape == (count,) and flat.dtype.kind in "iubSU":
        return flat
    if asked:
        raise DataError(
            f'{path}: the array "{member.key}" {values.shape} {values.dtype} is not one whole number or word '
            f"for each of {count} examples; set label_key to another array, or leave it out."
        )
    return None


def _same_levels(
    data: np.ndarray, levels: int | None, test: np.ndarray, test_levels: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Bring a binary part and a grey part of one set to the same 256 levels."""
    scaled = [
        part * np.uint8(255) if part_levels == 2 else part
        for part, part_levels in ((data, levels), (test, test_levels))
    ]
    return scaled[0], scaled[1], 256


def _as_examples(
    values: np.ndarray, key: str, image_shape: Sequence[int] | None, path: Path
) -> tuple[np.ndarray, int | None, list[str]]:
    """Points (N, D) float32 or images (N, C, H, W) uint8, their number of levels, and notes."""
    if values.dtype.kind not in "biuf":
        raise DataError(f'{path}: the array "{key}" has the type {values.dtype}; save it as numbers.')
    if values.ndim == 1 and image_shape is None:
        values = values[:, None]
    if image_shape is not None:
        values = _reshape_to_images(values, image_shape, key, path)
    if values.ndim == 2:
        return _as_points(values, key, path)
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim != 4:
        raise DataError(
            f'{path}: the array "{key}" has {values.ndim} axes {values.shape}; points have two (N, D) and '
            "images three or four."
        )
    if values.shape[1] not in (1, 3) and values.shape[3] in (1, 3):
        values = values.transpose(0, 3, 1, 2)
    if values.shape[1] not in (1, 3):
        raise DataError(
            f'{path}: the images of "{key}" {values.shape} have neither 1 nor 3 channels, second or last; '
            "save them grey or as RGB."
        )
    return _as_images(values, key, path)


def _reshape_to_images(values: np.ndarray, image_shape: Sequence[int], key: str, path: Path) -> np.ndarray:
    shape = tuple(checks.integer("image_shape", size, 1, 1_000_000) for size in image_shape)
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise DataError(f"image_shape is {shape}; give (channels, height, width) with 1 or 3 channels.")
    count = values.shape[0] if values.ndim else 0
    if values.size != count * math.prod(shape):
        raise DataError(
            f'{path}: the array "{key}" {values.shape} does not hold images of {shape}; correct image_shape.'
        )
    return values.reshape(count, *shape)


def _as_points(values: np.ndarray, key: str, path: Path) -> tuple[np.ndarray, int | None, list[str]]:
    if values.size and values.dtype.kind == "f" and not np.isfinite(values).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f'{path}: the array "{key}" holds {values[row, column]} in row {row + 1}, column {column + 1}; '
            "remove such rows, or fill them in."
        )
    is_binary = (
        values.size > 0
        and bool(np.isin(values[:1], (0, 1)).all())
        and bool(((values == 0) | (values == 1)).all())
    )
    columns = [f"{key} {i + 1}" for i in range(values.shape[1])]
    points, notes = to_single(values, columns, path)
    return points, 2 if is_binary else None, list(notes)


def _as_images(values: np.ndarray, key: str, path: Path) -> tuple[np.ndarray, int, list[str]]:
    if values.dtype == np.bool_:
        return np.ascontiguousarray(values, dtype=np.uint8), 2, []
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError(
            f'{path}: the images of "{key}" hold NaN or infinite pixels; replace them by numbers.'
        )
    if values.dtype.kind == "f":
        if 0 <= low and high <= 1:
            levels = 2 if bool(((values == 0) | (values == 1)).all()) else 256
            note = [] if levels == 2 else [f'The pixels of "{key}" from 0 to 1 were rounded to 256 levels.']
            return np.ascontiguousarray(np.rint(values * (levels - 1)), dtype=np.uint8), levels, note
        if not (0 <= low and high <= 255 and bool((values == np.rint(values)).all())):
            raise DataError(
                f'{path}: the pixels of "{key}" range from {low:g} to {high:g}; save them as 0 to 255 '
                "(uint8) or 0 to 1."
            )
    elif low < 0 or high > 255:
        raise DataError(
            f'{path}: the pixels of "{key}" range from {low:g} to {high:g}; save them as 0 to 255 (uint8).'
        )
    return np.ascontiguousarray(values, dtype=np.uint8), 2 if high <= 1 else 256, []
