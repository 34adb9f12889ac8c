"""What all readers of the user's files share: paths, sizes, splits, labels; safe on any thread or process."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engines.data import checks
from engines.errors import DataError

LARGEST_ARRAYS = 2 * 2**30
"""Bytes that the arrays of one file, or the images of one folder, may take in memory."""

FEWEST = 3
"""Rows of points that a table, an array or a drawing must have: one to hold out and two that differ."""

YOURS = "Your own data"
"""The licence of what the user opens."""


def size_text(size: int) -> str:
    """A number of bytes as a person reads it."""
    if size < 2**20:
        return f"{size:,} bytes"
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a path into a sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"There is no file or folder {path}; check the name and the folder.") from error
    except PermissionError as error:
        raise DataError(
            f"{path} cannot be read, because access is denied; change its permissions or copy it."
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{path} cannot be read: {reason}; check the disk, or copy the file elsewhere."
        ) from error
    except ValueError as error:
        if "null" not in str(error):
            raise
        raise DataError(
            f"{str(path)!r} is no file name, because it holds a null character; correct it."
        ) from error


def regular_size(path: Path) -> int:
    """Size of a regular file in bytes; pipes and devices are refused, since reading them may never end."""
    with reading(path):
        status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path} is a folder where a file is needed; choose a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is a pipe or a device, not a file; copy its content into a file first.")
    return status.st_size


def split(count: int, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random indices of the training and test examples; at least one of each, two or more in all."""
    fraction = checks.number("test_fraction", test_fraction, 0.0, 0.9)
    order = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1)).permutation(count)
    held_out = min(max(1, round(count * fraction)), count - 1)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def column_title(name: str) -> str:
    """A column as a sentence names it: quoted, unless it has no name but a number."""
    return name if name.startswith("column ") else f'column "{name}"'


def refuse_constant(points: np.ndarray, columns: Sequence[str], path: Path | str, what: str) -> None:
    """Raise a DataError if a column of (N, D) points has one single value; ``what`` names the rows."""
    constant = np.flatnonzero(np.ptp(points, axis=0) == 0)
    if constant.size:
        index = int(constant[0])
        more = f" (and {constant.size - 1} more like it)" if constant.size > 1 else ""
        raise DataError(
            f"{path}: {column_title(columns[index])}{more} has the same value ({points[0, index]:g}) in "
            f"{what}, so it cannot be scaled to variance 1; leave it out by choosing the other columns."
        )


def to_single(
    values: np.ndarray, columns: Sequence[str], path: Path | str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert (N, D) finite numbers to float32; a sentence for overflow, a note for lost digits."""
    with np.errstate(over="ignore"):
        points = np.ascontiguousarray(values, dtype=np.float32)
    too_large = np.argwhere(~np.isfinite(points))
    if too_large.size:
        row, column = (int(index) for index in too_large[0])
        raise DataError(
            f"{path}: {values[row, column]:g} in {column_title(columns[column])} is too large for single "
            "precision; divide the column by a constant."
        )
    notes = []
    exact = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = exact.std(axis=0)
        error = np.abs(points - exact).max(axis=0)
    for index in np.flatnonzero((error > 1e-3 * spread) & (spread > 0)):
        title = column_title(columns[int(index)])
        notes.append(
            f"{title[0].upper()}{title[1:]} loses digits in single precision, because its values are large "
            "beside their spread; subtract a constant from it."
        )
    return points, tuple(notes)


def encode_labels(labels: Sequence[str], path: Path | str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes, in the order of numbers or of letters, and the index of each example's class
    (N,)."""
    names = sorted(set(labels))
    if len(names) > 1000:
        raise DataError(
            f"The labels of {path} have {len(names):,} different values, which is too many for classes; name "
            "another column for the labels, or none."
        )
    if all(name.isascii() and name.isdigit() for name in names):
        names.sort(key=int)
    codes = {name: code for code, name in enumerate(names)}
    return tuple(names), np.array([codes[label] for label in labels], dtype=np.int64)
