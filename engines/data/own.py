"""The user's own data: CSV and NPZ files, image folders, points drawn by hand; safe on any thread or process.

Nothing that is opened here is trusted: no pickle is read, sizes are checked before memory is taken, and
whatever is wrong comes out as one `engines.errors.DataError` whose sentence says where and what to do.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.data import checks
from engines.data.arrays import load_npz
from engines.data.dataset import Dataset
from engines.data.files import FEWEST, YOURS, reading, regular_size, split, to_single
from engines.data.generated import GaussianMixture
from engines.data.image_folder import load_images
from engines.data.tables import load_csv
from engines.errors import DataError, SettingError

__all__ = ["drawn", "load", "load_csv", "load_images", "load_npz", "load_pictures", "loader_for"]


def drawn(
    points: np.ndarray | Sequence[Sequence[float]],
    *,
    seed: int = 0,
    jitter: float = 0.0,
    train_size: int | None = None,
    test_fraction: float = 0.1,
    columns: Sequence[str] = ("x", "y"),
) -> Dataset:
    """Points that a person set with the pointer.

    With jitter the data are drawn afresh from round Gaussians around the points, so that the density is known
    exactly; without, the points are the data.

    Parameters
    ----------
    points : array, shape (N, 2)
    seed : int
    jitter : float
        Standard deviation around each point, in the units of the points.
    train_size : int or None
        How many training points to draw; only with jitter, where None stands for 10,000.
    test_fraction : float
        Without jitter: share of the points held out. With jitter: test points drawn, as a share of
        ``train_size``.
    columns : two names

    Raises
    ------
    DataError
        Too few points, all in one line along an axis without jitter, values that are not finite, or a bad
        option.
    """
    try:
        values = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("The drawn points are not pairs of numbers; draw them again.") from error
    if values.size == 0:
        raise DataError("No points are drawn yet; draw some in the plane.")
    if values.ndim != 2 or values.shape[1] != 2:
        raise DataError(
            f"The drawn points have the shape {values.shape}, but (N, 2) is needed; draw them in the plane."
        )
    if not np.isfinite(values).all():
        raise DataError("A drawn point is not finite; draw it again.")
    spread = checks.number("jitter", jitter, 0.0, 1e6)
    names = tuple(columns)
    count = len(values)
    title = f"{count:,} drawn point{'s' if count > 1 else ''}"
    if spread > 0:
        size = 10_000 if train_size is None else checks.integer("train_size", train_size, 2, 10_000_000)
        fraction = checks.number("test_fraction", test_fraction, 0.0, 10.0)
        mixture = GaussianMixture.isotropic(values, spread)
        train_stream, test_stream = np.random.SeedSequence(checks.integer("seed", seed, 0, 2**63 - 1)).spawn(
            2
        )
        return Dataset(
            name="drawn",
            title=f"{title} (jitter {spread:g})",
            train=mixture.sample(np.random.default_rng(train_stream), size),
            test=mixture.sample(np.random.default_rng(test_stream), max(1, round(fraction * size))),
            kind="points",
            columns=names,
            licence=YOURS,
            source="Drawn by hand",
            log_density=mixture.log_density,
            sampler=mixture.sample,
            distribution=mixture,
        )
    if train_size is not None:
        raise DataError(
            "train_size needs a jitter above 0, because without it the points are the data; set jitter."
        )
    if count < FEWEST:
        raise DataError(f"{title} cannot be split for testing; draw at least {FEWEST} points, or set jitter.")
    single, notes = to_single(values, names, "The drawing")
    train, test = split(count, test_fraction, seed)
    for index, name in enumerate(names):
        if np.ptp(single[train, index]) == 0:
            raise DataError(
                f'The drawn points all have the same {name}; spread them along "{name}", or set jitter.'
            )
    return Dataset(
        name="drawn",
        title=title,
        train=single[train],
        test=single[test],
        kind="points",
        columns=names,
        licence=YOURS,
        source="Drawn by hand",
        notes=notes,
    )


def loader_for(path: str | os.PathLike[str]) -> tuple[str, Callable[..., Dataset]]:
    """What a path is ("CSV file", "NPZ file", "image folder") and the function that loads it.

    Raises
    ------
    DataError
        There is nothing there, or nothing that can be read.
    """
    target = Path(path)
    with reading(target):
        if stat.S_ISDIR(target.stat().st_mode):
            return "An image folder", load_images
    regular_size(target)
    with reading(target), target.open("rb") as file:
        start = file.read(8)
    is_spreadsheet = target.suffix.lower() in (".xlsx", ".xlsm", ".ods")
    if start.startswith(np.lib.format.MAGIC_PREFIX) or (start.startswith(b"PK") and not is_spreadsheet):
        return "An NPZ file", load_npz
    if target.suffix.lower() in (".npz", ".npy"):
        return "An NPZ file", load_npz
    return "A CSV file", load_csv


def load(path: str | os.PathLike[str], *, seed: int = 0, **options: Any) -> Dataset:
    """Read the user's data by what they are: a folder of pictures, an NPZ or NPY file, or else a CSV file.

    Parameters
    ----------
    path : path
    seed : int
    **options
        Those of `load_csv`, `load_npz` or `load_images`.

    Raises
    ------
    DataError
        The data or an option cannot be used.
    """
    title, function = loader_for(path)
    checks.options(title, function, options)
    return function(path, seed=seed, **options)


def load_pictures(path: str, *, seed: int, size: int) -> Dataset:
    """Read the user's pictures where the settings ``path`` and ``size`` name them.

    Parameters
    ----------
    path : str
        A folder of images or an NPZ file.
    seed : int
    size : int
        Side to which the images of a folder are brought; those of a file keep theirs.

    Raises
    ------
    SettingError
        There is no path.
    DataError
        The data cannot be used.
    """
    if not path:
        raise SettingError(
            "Own data need a file: choose a folder of images or an NPZ file as File (path=...).", "path"
        )
    return load(path, seed=seed, size=size) if Path(path).is_dir() else load(path, seed=seed)
