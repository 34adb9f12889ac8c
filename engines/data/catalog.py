"""The door to all data sets: what there is, and loading by id or by path; safe on any thread or process.

Importing this module and calling `available` loads no data and none of the heavy libraries. Nothing goes over
the network unless `fetch` is called or `load` is told to download.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engines.data import canvases, checks, embedded, fetched, generated, own
from engines.data.dataset import DataKind, Dataset
from engines.data.download import Cancel, FetchCancelled, Progress
from engines.data.fetched import fetch
from engines.errors import DataError

__all__ = ["DatasetInfo", "FetchCancelled", "Where", "available", "fetch", "info", "load"]

Where = Literal["embedded", "generated", "local", "download"]
"""Inside a package, drawn from a formula, found on this machine, or not here yet."""


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set without loading it.

    Attributes
    ----------
    id, title : str
    kind : {"points", "images"}
    shape : tuple of int
        Of one example: (D,) or (C, H, W).
    where : {"embedded", "generated", "local", "download"}
    size_bytes : int
        On the disk, or to download; 0 when it takes neither.
    licence : str
    description : str
        One sentence.
    options : tuple of str
        Names that `load` takes.
    path : Path or None
        Where it was found.
    """

    id: str
    title: str
    kind: DataKind
    shape: tuple[int, ...]
    where: Where
    size_bytes: int
    licence: str
    description: str = ""
    options: tuple[str, ...] = ()
    path: Path | None = None


@dataclass(frozen=True)
class _Entry:
    title: str
    kind: DataKind
    shape: tuple[int, ...]
    where: Where
    licence: str
    description: str
    function: Callable[..., Dataset]


_GENERATED = "Generated, no licence needed"

_ENTRIES: dict[str, _Entry] = {
    "swiss_roll": _Entry(
        "Swiss roll",
        "points",
        (2,),
        "generated",
        _GENERATED,
        "A spiral in the plane with Gaussian noise, the toy of the diffusion paper.",
        generated.swiss_roll,
    ),
    "gaussian_mixture": _Entry(
        "Gaussian mixture",
        "points",
        (2,),
        "generated",
        _GENERATED,
        "Equal Gaussians on a circle or a grid, whose density is known exactly.",
        generated.gaussian_mixture,
    ),
    "rings": _Entry(
        "Rings",
        "points",
        (2,),
        "generated",
        _GENERATED,
        "Circles around one centre with noise.",
        generated.rings,
    ),
    "two_moons": _Entry(
        "Two moons",
        "points",
        (2,),
        "generated",
        _GENERATED,
        "Two half circles that reach into each other.",
        generated.two_moons,
    ),
    "digits": _Entry(
        "Digits 8x8",
        "images",
        (1, 8, 8),
        "embedded",
        "CC BY 4.0",
        "1,797 real handwritten digits with 17 levels of grey, shipped with scikit-learn.",
        embedded.digits,
    ),
    "two_digits": _Entry(
        "Two digits on a canvas",
        "images",
        (1, 60, 60),
        "generated",
        "CC BY 4.0",
        "Two handwritten digits at random places, which may overlap; the embedded ones, or MNIST's.",
        canvases.two_digits,
    ),
    "cluttered_digits": _Entry(
        "Digit among clutter",
        "images",
        (1, 60, 60),
        "generated",
        "CC BY 4.0",
        "One handwritten digit at a random place among pieces of others; the embedded ones, or MNIST's.",
        canvases.cluttered_digits,
    ),
    "mnist": _Entry(
        fetched.MNIST.title,
        "images",
        fetched.MNIST.shape,
        "download",
        fetched.MNIST.licence,
        "70,000 handwritten digits of 28 x 28 pixels.",
        fetched.mnist,
    ),
    "binarized_mnist": _Entry(
        fetched.BINARIZED_MNIST.title,
        "images",
        fetched.BINARIZED_MNIST.shape,
        "download",
        fetched.BINARIZED_MNIST.licence,
        "MNIST with every pixel 0 or 1, fixed once for all, which likelihoods are published for.",
        fetched.binarized_mnist,
    ),
    "fashion_mnist": _Entry(
        fetched.FASHION_MNIST.title,
        "images",
        fetched.FASHION_MNIST.shape,
        "download",
        fetched.FASHION_MNIST.licence,
        "70,000 pieces of clothing of 28 x 28 pixels.",
        fetched.fashion_mnist,
    ),
    "cifar10": _Entry(
        fetched.CIFAR10.title,
        "images",
        fetched.CIFAR10.shape,
        "download",
        fetched.CIFAR10.licence,
        "60,000 colour photographs of ten kinds of things, 32 x 32 pixels.",
        fetched.cifar10,
    ),
    "cifar10_first4000": _Entry(
        "CIFAR-10 (first 4,000)",
        "images",
        fetched.CIFAR10.shape,
        "local",
        fetched.CIFAR10.licence,
        "The first 4,000 training images of CIFAR-10, lossless.",
        fetched.cifar10_first4000,
    ),
    "cifar10_jpeg_q75": _Entry(
        "CIFAR-10 (JPEG, quality 75)",
        "images",
        fetched.CIFAR10.shape,
        "local",
        fetched.CIFAR10.licence,
        "All of CIFAR-10 after lossy compression.",
        fetched.cifar10_jpeg_q75,
    ),
    "svhn": _Entry(
        fetched.SVHN.title,
        "images",
        fetched.SVHN.shape,
        "download",
        fetched.SVHN.licence,
        "Digits cut out of photographs of house numbers, in colour, 32 x 32 pixels.",
        fetched.svhn,
    ),
}

_CALLBACKS = ("progress", "cancel")


def _describe(name: str, entry: _Entry) -> DatasetInfo:
    where, size, path = entry.where, 0, None
    if where in ("download", "local"):
        path = fetched.find(name)
        if path is not None:
            where, size = "local", fetched.size_on_disk(path)
        elif name in fetched.PUBLISHED:
            size = fetched.PUBLISHED[name].size_bytes
    options = tuple(option for option in checks.option_names(entry.function) if option not in _CALLBACKS)
    return DatasetInfo(
        name,
        entry.title,
        entry.kind,
        entry.shape,
        where,
        size,
        entry.licence,
        entry.description,
        options,
        path,
    )


def available() -> list[DatasetInfo]:
    """Every data set that can be loaded or downloaded here; partial copies are listed only where they are
    present."""
    listed = [_describe(name, entry) for name, entry in _ENTRIES.items()]
    return [item for item in listed if item.where != "local" or item.path is not None]


def info(name: str) -> DatasetInfo:
    """What is known of one data set.

    Raises
    ------
    DataError
        There is none of that id.
    """
    if name not in _ENTRIES:
        raise _unknown(name)
    return _describe(name, _ENTRIES[name])


def _unknown(name: str) -> DataError:
    known = [item.id for item in available()]
    return DataError(
        f'There is no data set "{name}"{checks.near_misses(name, known)}; choose one of {", ".join(known)}, '
        "or give the path of a CSV file, an NPZ file or an image folder."
    )


def load(
    id_or_path: str | os.PathLike[str],
    *,
    seed: int = 0,
    download: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    **options: Any,
) -> Dataset:
    """Load a data set by its id, or the user's own by its path.

    Parameters
    ----------
    id_or_path : str or path
        An id wins over a file of the same name; write ``./digits`` for the file.
    seed : int
        Of the draws of generated data, and of the split of the user's own.
    download : bool
        Whether to fetch a published data set that is not on this machine, or only damaged.
    progress, cancel
        Of a download, as for `engines.data.download.fetch_files`.
    **options
        Those of the data set: see `DatasetInfo.options`, and `engines.data.own` for files.

    Raises
    ------
    DataError
        Unknown id, nothing at the path, a bad option, data that cannot be read or fetched.
    """
    name = os.fspath(id_or_path)
    entry = _ENTRIES.get(name) if isinstance(id_or_path, str) else None
    if entry is None:
        is_path = not isinstance(id_or_path, str) or any(mark in name for mark in (os.sep, "/", ".", "~"))
        path = Path(name).expanduser() if name.startswith("~") else Path(name)
        if not name.strip() or not (is_path or os.path.lexists(path)):
            raise _unknown(name)
        return own.load(path, seed=seed, **options)
    checks.options(entry.title, entry.function, options)
    if "progress" in checks.option_names(entry.function):
        options |= {"progress": progress, "cancel": cancel}
    try:
        return entry.function(seed=seed, **options)
    except fetched.NotHere as error:
        if not download:
            raise
        needed = error.dataset
    fetch(needed, progress=progress, cancel=cancel)
    return entry.function(seed=seed, **options)
