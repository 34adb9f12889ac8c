"""Published data sets that are too large to ship: MNIST, binarised MNIST, Fashion-MNIST, CIFAR-10, SVHN; for a
background thread or process.

They are looked for in the folder that the environment variable LAB_DATA names, in the user's data folder, and
where Debian's package puts Fashion-MNIST. Nothing is downloaded unless `fetch` is called.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

import numpy as np

from engines.data import checks, formats
from engines.data.dataset import Dataset
from engines.data.download import (
    Cancel,
    FetchCancelled,
    Progress,
    RemoteFile,
    fetch_files,
    file_md5,
    is_cancelled,
)
from engines.data.files import reading, size_text
from engines.errors import DataError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""


class NotHere(DataError):
    """A published data set is not on this machine, or only damaged; downloading it helps.

    ``remedy`` is ``"fetch:ID"``, and ``dataset`` the id.
    """

    def __init__(self, message: str, dataset: str) -> None:
        super().__init__(message)
        self.remedy = f"fetch:{dataset}"

    def __reduce__(self) -> tuple[type[NotHere], tuple[str, str]]:
        return type(self), (str(self), self.dataset)

    @property
    def dataset(self) -> str:
        """Id of the data set that is missing; not always the one asked for, which may be made of it."""
        return self.remedy.removeprefix("fetch:")


@dataclass(frozen=True)
class Published:
    """A data set as its authors published it.

    Attributes
    ----------
    name, title, licence, source : str
    shape : tuple of int
        Of one image, (C, H, W).
    class_names : tuple of str
    folder : str
        Below the user's data folder, where a download is put.
    folders : tuple of str
        Names under which the files are looked for in LAB_DATA and the user's data folder.
    files : tuple of RemoteFile
    mirrors : tuple of str
    unpacked_md5 : mapping of str to str
        Checksums of the idx files once unpacked, by name without ".gz".
    """

    name: str
    title: str
    licence: str
    source: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    folder: str
    folders: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    mirrors: tuple[str, ...]
    unpacked_md5: dict[str, str]

    @property
    def size_bytes(self) -> int:
        """Bytes to download."""
        return sum(file.size or 0 for file in self.files)


MNIST = Published(
    name="mnist",
    title="MNIST",
    licence="CC BY-SA 3.0",
    source="The MNIST database of handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges)",
    shape=(1, 28, 28),
    class_names=tuple(str(digit) for digit in range(10)),
    folder="mnist",
    folders=("mnist", "MNIST/raw", "MNIST"),
    files=(
        RemoteFile("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
        RemoteFile("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
        RemoteFile("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
        RemoteFile("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    unpacked_md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)

FASHION_MNIST = Published(
    name="fashion_mnist",
    title="Fashion-MNIST",
    licence="MIT",
    source="Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747)",
    shape=(1, 28, 28),
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    folder="fashion_mnist",
    folders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
    files=(
        RemoteFile("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
        RemoteFile("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
        RemoteFile("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
        RemoteFile("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    unpacked_md5={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
)

_CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
_CIFAR_BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

CIFAR10 = Published(
    name="cifar10",
    title="CIFAR-10",
    licence="None stated",
    source="Learning Multiple Layers of Features from Tiny Images (A. Krizhevsky, 2009)",
    shape=(3, 32, 32),
    class_names=_CIFAR_CLASSES,
    folder="cifar10",
    folders=("cifar10", "cifar-10", "CIFAR10", "."),
    files=(RemoteFile(_CIFAR_ARCHIVE, "c58f30108f718f92721af3b95e74349a", 170_498_071),),
    mirrors=("https://www.cs.toronto.edu/~kriz",),
    unpacked_md5={},
)

_BINARIZED_PARTS = {
    "train": "8d4f0427d6c2572b5e9994e08bad66de",
    "valid": "3e33becd40c694040e5e6c812e2f4b50",
    "test": "fc34623e13bd64fed2f8b61365198339",
}
"""Checksums of the pixels as bytes 0 and 1, which are the same however a file stores them."""

_BINARIZED_ARCHIVE = "binarized_mnist.npz"

BINARIZED_MNIST = Published(
    name="binarized_mnist",
    title="Binarised MNIST",
    licence="CC BY-SA 3.0",
    source=(
        "MNIST with pixels drawn once and for all (H. Larochelle, after R. Salakhutdinov and I. Murray, 2008)"
    ),
    shape=(1, 28, 28),
    class_names=(),
    folder="binarized_mnist",
    folders=("binarized_mnist", "BinarizedMNIST"),
    files=(
        RemoteFile("binarized_mnist_train.amat", "db28b1a6ae0fe70cbd3da91acf46e477", 78_400_000),
        RemoteFile("binarized_mnist_valid.amat", "bf37822a04e94123630de6a7dfd9c9ef", 15_680_000),
        RemoteFile("binarized_mnist_test.amat", "14e41ae11040adba6ab8cb291eda0dd8", 15_680_000),
    ),
    mirrors=(
        "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
    ),
    unpacked_md5={},
)

_SVHN_TRAIN, _SVHN_TEST = "train_32x32.mat", "test_32x32.mat"

SVHN = Published(
    name="svhn",
    title="SVHN",
    licence="Non-commercial use only",
    source=(
        "The Street View House Numbers, cropped digits (Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, "
        "A. Y. Ng, 2011)"
    ),
    shape=(3, 32, 32),
    class_names=tuple(str(digit) for digit in range(10)),
    folder="svhn",
    folders=("svhn", "SVHN"),
    files=(
        RemoteFile(_SVHN_TRAIN, "e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794),
        RemoteFile(_SVHN_TEST, "eb5a983be6a315427106f1b164d9cef3", 64_275_384),
    ),
    mirrors=("http://ufldl.stanford.edu/housenumbers",),
    unpacked_md5={},
)

PUBLISHED = {
    published.name: published for published in (MNIST, BINARIZED_MNIST, FASHION_MNIST, CIFAR10, SVHN)
}
"""What `fetch` can download."""

_FIRST_4000 = "cifar-10-batches-py.first4000"
_JPEG_ARCHIVE = "cifar10_jpeg_q75.tar.xz"
_LARGEST_BATCH = 64 * 2**20


# --- where they are -----------------------------------------------------------------------------------------


def data_folder() -> Path:
    """Where downloads are put: the user's own data folder, never LAB_DATA, which may be shared or read-only.

    ``PAPERLAB_HOME`` moves it, with all else that the lab keeps.
    """
    home = os.environ.get("PAPERLAB_HOME")
    if home:
        return Path(home).expanduser() / "data"
    from platformdirs import user_data_path

    return user_data_path("paperlab", appauthor=False) / "data"


def search_folders() -> list[Path]:
    """Folders that are searched, in this order; those that do not exist are left out."""
    named = os.environ.get("LAB_DATA", "")
    folders = [Path(named).expanduser()] if named else []
    folders.append(data_folder())
    return [folder for folder in folders if _is_folder(folder)]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _candidates(published: Published) -> list[Path]:
    folders = [top / name for top in search_folders() for name in published.folders]
    if published is FASHION_MNIST:
        folders.append(DEBIAN_FASHION_MNIST)
    return folders


def _idx_paths(published: Published, folder: Path) -> dict[str, Path] | None:
    """The four idx files in a folder, packed or not; None if one is missing."""
    paths = {}
    for name in published.unpacked_md5:
        found = next((folder / n for n in (name, f"{name}.gz") if _is_file(folder / n)), None)
        if found is None:
            return None
        paths[name] = found
    return paths


def _cifar_path(folder: Path) -> Path | None:
    """The archive of CIFAR-10 or the folder it unpacks to."""
    batches = folder / "cifar-10-batches-py"
    if all(_is_file(batches / name) for name in _CIFAR_BATCHES):
        return batches
    archive = folder / _CIFAR_ARCHIVE
    return archive if _is_file(archive) else None


def _bit_texts(folder: Path) -> dict[str, Path] | None:
    """The three texts of binarised MNIST in a folder, packed or not; None if one is missing."""
    paths = {}
    for part in _BINARIZED_PARTS:
        name = f"binarized_mnist_{part}.amat"
        found = next((folder / n for n in (name, f"{name}.gz") if _is_file(folder / n)), None)
        if found is None:
            return None
        paths[part] = found
    return paths


def _binarized_paths(folder: Path) -> list[Path]:
    """The arrays, which are read in an instant, before the folder of texts."""
    archive = folder / _BINARIZED_ARCHIVE
    return [
        *([archive] if _is_file(archive) else []),
        *([folder] if _bit_texts(folder) else []),
    ]


def _svhn_training_files(folder: Path) -> list[Path]:
    """The training file of SVHN on its own, or a first part of it, as ``train_32x32_NAME.mat``."""
    try:
        parts = sorted(folder.glob(f"{_SVHN_TRAIN.removesuffix('.mat')}_*.mat"))
    except OSError:
        parts = []
    return [path for path in (folder / _SVHN_TRAIN, *parts) if _is_file(path)]


def _svhn_paths(folders: list[Path]) -> list[Path]:
    """Folders that hold both files come before all training files without a test set."""
    whole = [folder for folder in folders if all(_is_file(folder / file.name) for file in SVHN.files)]
    return whole + [path for folder in folders for path in _svhn_training_files(folder)]


def _locations(published: Published) -> list[Path]:
    """Every place where all files of a data set are (for SVHN, those for training are enough); their content is not
    looked at."""
    if published is CIFAR10:
        return [path for folder in _candidates(published) if (path := _cifar_path(folder))]
    if published is BINARIZED_MNIST:
        return [path for folder in _candidates(published) for path in _binarized_paths(folder)]
    if published is SVHN:
        return _svhn_paths(_candidates(published))
    return [folder for folder in _candidates(published) if _idx_paths(published, folder)]


def _local_cifar(name: str) -> Path | None:
    """A part or a lossy copy of CIFAR-10 that somebody put into a data folder."""
    for folder in _candidates(CIFAR10):
        path = folder / name
        if _is_file(path / "data_batch_1") or (name.endswith(".tar.xz") and _is_file(path)):
            return path
    return None


def find(name: str) -> Path | None:
    """The folder or archive in which a data set is on this machine, or None; nothing is read.

    Parameters
    ----------
    name : str
        One of `PUBLISHED`, "cifar10_first4000" or "cifar10_jpeg_q75".
    """
    if name == "cifar10_first4000":
        return _local_cifar(_FIRST_4000)
    if name == "cifar10_jpeg_q75":
        return _local_cifar(_JPEG_ARCHIVE)
    return next(iter(_locations(PUBLISHED[name])), None)


def size_on_disk(path: Path) -> int:
    """Bytes of the files in a place that `find` returned."""
    try:
        if path.is_file():
            return path.stat().st_size
        names = [name for published in PUBLISHED.values() for name in published.unpacked_md5]
        names += [file.name for published in (BINARIZED_MNIST, SVHN) for file in published.files]
        wanted = {*names, *(f"{name}.gz" for name in names), *_CIFAR_BATCHES}
        return sum(item.stat().st_size for item in path.iterdir() if item.name in wanted)
    except OSError:
        return 0


# --- fetching -----------------------------------------------------------------------------------------------


def fetch(
    name: str,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    connect_timeout: float = 10.0,
    read_timeout: float = 20.0,
) -> Path:
    """Download a data set into the user's data folder, unless it is there already.

    Parameters
    ----------
    name : str
        One of `PUBLISHED`.
    progress, cancel, connect_timeout, read_timeout
        As for `engines.data.download.fetch_files`.

    Returns
    -------
    Path
        The folder with the files.

    Raises
    ------
    FetchCancelled
        ``cancel`` said so.
    DataError
        It is not one that can be downloaded, no mirror gave the right files, or they cannot be stored.
    """
    published = PUBLISHED.get(name)
    if published is None:
        raise DataError(
            f'"{name}" is not a data set that can be downloaded{checks.near_misses(name, PUBLISHED)}; there '
            f"are {', '.join(PUBLISHED)}."
        )
    folder = data_folder() / published.folder
    fetch_files(
        published.files,
        published.mirrors,
        folder,
        title=published.title,
        progress=progress,
        cancel=cancel,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
    )
    return folder


def _missing(published: Published) -> NotHere:
    named = os.environ.get("LAB_DATA", "")
    if named and not _is_folder(Path(named).expanduser()):
        hint = f"correct LAB_DATA, which names {named}, where there is no folder"
    else:
        hint = "name the folder that holds it in LAB_DATA"
    others = [
        other for other in ("cifar10_first4000", "cifar10_jpeg_q75") if published is CIFAR10 and find(other)
    ]
    instead = f", or use {' or '.join(others)} instead, as present here" if others else ""
    return NotHere(
        f"{published.title} is not on this machine; download it ({size_text(published.size_bytes)}) with "
        f"'lab fetch {published.name}', or {hint}{instead}.",
        published.name,
    )


# --- loading ------------------------------------------------------------------------------------------------

_T = TypeVar("_T")

_Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training images, training labels, test images, test labels."""


def _size(name: str, value: int | None, there: int) -> int:
    return there if value is None else min(there, checks.integer(name, value, 1, 10**9))


def _finish(
    published: Published,
    parts: _Parts,
    path: Path,
    train_size: int | None,
    test_size: int | None,
    name: str = "",
    title: str = "",
    notes: tuple[str, ...] = (),
) -> Dataset:
    train, train_labels, test, test_labels = parts
    first, held_out = _size("train_size", train_size, len(train)), _size("test_size", test_size, len(test))
    title = title or published.title
    if first < len(train):
        title += f", first {first:,}"
    return Dataset(
        name=name or published.name,
        title=title,
        train=train[:first],
        test=test[:held_out],
        kind="images",
        train_labels=train_labels[:first],
        test_labels=test_labels[:held_out],
        class_names=published.class_names,
        levels=256,
        licence=published.licence,
        source=f"{published.source}; read from {path}",
        notes=notes,
    )


def _load_first_whole(published: Published, read: Callable[[Path], _T]) -> tuple[_T, Path, tuple[str, ...]]:
    """Read from the first place whose files are whole; damaged ones before it are named in the notes."""
    damaged: list[DataError] = []
    for path in _locations(published):
        try:
            parts = read(path)
        except FetchCancelled:
            raise
        except DataError as error:
            damaged.append(error)
            continue
        return parts, path, tuple(f"Passed over: {error}" for error in damaged)
    if damaged:
        raise NotHere(str(damaged[0]), published.name) from damaged[0]
    raise _missing(published)


def _load_idx(published: Published, folder: Path) -> _Parts:
    paths = _idx_paths(published, folder)
    if paths is None:
        raise _missing(published)
    arrays = {}
    for name, path in paths.items():
        dimensions = 3 if "images" in name else 1
        arrays[name] = formats.read_idx(path, dimensions, published.unpacked_md5[name])
    parts = []
    for part in ("train", "t10k"):
        images, labels = arrays[f"{part}-images-idx3-ubyte"], arrays[f"{part}-labels-idx1-ubyte"]
        parts += [images[:, None], labels.astype(np.int64)]
    return parts[0], parts[1], parts[2], parts[3]


def mnist(*, seed: int = 0, train_size: int | None = None, test_size: int | None = None) -> Dataset:
    """MNIST, 60,000 + 10,000 handwritten digits of 28x28 grey pixels.

    Parameters
    ----------
    seed : int
        Unused; the split is the published one.
    train_size, test_size : int or None
        Take the first so many images; None takes all.

    Raises
    ------
    DataError
        It is not on this machine, or its files are damaged.
    """
    parts, path, notes = _load_first_whole(MNIST, lambda folder: _load_idx(MNIST, folder))
    return _finish(MNIST, parts, path, train_size, test_size, notes=notes)


def fashion_mnist(*, seed: int = 0, train_size: int | None = None, test_size: int | None = None) -> Dataset:
    """Fashion-MNIST, 60,000 + 10,000 pieces of clothing of 28x28 grey pixels; options as for `mnist`."""
    parts, path, notes = _load_first_whole(FASHION_MNIST, lambda folder: _load_idx(FASHION_MNIST, folder))
    return _finish(FASHION_MNIST, parts, path, train_size, test_size, notes=notes)


def _load_binarized(path: Path) -> dict[str, np.ndarray]:
    """The three parts (N, 784), from the file of arrays or the folder of texts."""
    if path.name == _BINARIZED_ARCHIVE:
        arrays = formats.read_bit_arrays(path, tuple(_BINARIZED_PARTS), 784)
        parts = dict(zip(_BINARIZED_PARTS, arrays, strict=True))
        places = dict.fromkeys(parts, path)
    else:
        texts = _bit_texts(path)
        if texts is None:
            raise _missing(BINARIZED_MNIST)
        places = texts
        parts = {part: formats.read_bit_text(text, 784) for part, text in places.items()}
    for part, bits in parts.items():
        if formats.md5_of(bits.tobytes()) != _BINARIZED_PARTS[part]:
            raise DataError(
                f"{places[part]} does not hold the published {part} images, because the checksum of their pixels "
                "differs; delete it and fetch the data set again."
            )
    return parts


def binarized_mnist(
    *,
    seed: int = 0,
    held_out: str = "test",
    train_size: int | None = None,
    test_size: int | None = None,
) -> Dataset:
    """Larochelle's fixed binarisation of MNIST: 50,000 training, 10,000 validation and 10,000 test images of 28x28
    pixels that are 0 or 1, without labels.

    A data set has two parts here, so one of the two held-out sets stands as its test images and the other is left
    out; neither is ever among the training images.

    Parameters
    ----------
    seed : int
        Unused; the pixels and the split are the published ones.
    held_out : {"test", "valid"}
        Which images are the test images: those that published numbers are for, or the validation images, for
        choosing settings without looking at the former.
    train_size, test_size : int or None
        Take the first so many images; None takes all.

    Raises
    ------
    DataError
        It is not on this machine, or its files are damaged.
    """
    part = checks.choice("held_out", held_out, ("test", "valid"))
    parts, path, notes = _load_first_whole(BINARIZED_MNIST, _load_binarized)
    train, test = (parts[name].reshape(-1, *BINARIZED_MNIST.shape) for name in ("train", part))
    first, last = _size("train_size", train_size, len(train)), _size("test_size", test_size, len(test))
    if part == "valid":
        notes += (
            "The held-out images are the validation images, while published numbers are for the test images.",
        )
    return Dataset(
        name=BINARIZED_MNIST.name,
        title=BINARIZED_MNIST.title + (f", first {first:,}" if first < len(train) else ""),
        train=train[:first],
        test=test[:last],
        kind="images",
        levels=2,
        licence=BINARIZED_MNIST.licence,
        source=f"{BINARIZED_MNIST.source}; read from {path}",
        notes=notes,
    )


def _load_svhn(path: Path, seed: int) -> _Parts:
    """From the folder of both files, or from a training file alone, of whose images a fifth is held out."""
    is_whole = path.is_dir()
    for file in SVHN.files:
        place = path / file.name if is_whole else path
        # a part of the training file has another name, and no published checksum
        if place.name != file.name:
            continue
        with reading(place):
            is_published = file_md5(place) == file.md5
        if not is_published:
            raise DataError(
                f"{place} is not the published file, because its checksum differs; delete it and fetch the data set "
                "again."
            )
    if is_whole:
        return (*formats.read_svhn(path / _SVHN_TRAIN), *formats.read_svhn(path / _SVHN_TEST))
    images, labels = formats.read_svhn(path)
    if len(images) < 2:
        raise DataError(f"{path} holds one single image, which cannot be split; copy the file again.")
    # The digits of one house follow each other and show each other's edges, so what is held out is one run of them:
    # drawn one by one, nearly all test images would have a neighbour among the training images.
    start = int(np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1)).integers(len(images)))
    images, labels = np.roll(images, -start, axis=0), np.roll(labels, -start)
    held_out = max(1, len(images) // 5)
    return images[held_out:], labels[held_out:], images[:held_out], labels[:held_out]


def svhn(*, seed: int = 0, train_size: int | None = None, test_size: int | None = None) -> Dataset:
    """The cropped digits of the Street View House Numbers, 32x32 colour pixels: 73,257 + 26,032 as published.

    Each picture is cut around one digit, with parts of its neighbours; they are not the whole house numbers. Where
    the training file, or a part of it, is here without the test file, one run of a fifth of it is held out.

    Parameters
    ----------
    seed : int
        Says where that run begins; unused where the test file is here.
    train_size, test_size : int or None
        Take the first so many images; None takes all.

    Raises
    ------
    DataError
        It is not on this machine, or its files are damaged.
    """
    parts, path, notes = _load_first_whole(SVHN, lambda place: _load_svhn(place, seed))
    title = ""
    if not path.is_dir():
        count = len(parts[0]) + len(parts[2])
        title = f"SVHN ({count:,} training images)"
        notes += (
            (
                f"Only training images are here ({count:,} in {path.name}): a fifth of them stands in for the test "
                "set, so results do not compare with published ones."
            ),
        )
    return _finish(SVHN, parts, path, train_size, test_size, title=title, notes=notes)


def _join(batches: dict[str, tuple[np.ndarray, np.ndarray]]) -> _Parts:
    training = [batches[name] for name in _CIFAR_BATCHES if name != "test_batch"]
    images = np.concatenate([batch[0] for batch in training])
    labels = np.concatenate([batch[1] for batch in training])
    return images, labels, *batches["test_batch"]


def _bytes_of(file: IO[bytes], name: str) -> bytes:
    content = file.read(_LARGEST_BATCH + 1)
    if len(content) > _LARGEST_BATCH:
        raise DataError(
            f"{name} is larger than a batch of CIFAR-10 can be; delete it and fetch the data set again."
        )
    return content


def _load_cifar(path: Path) -> _Parts:
    """From the folder of batches, or straight from the archive, of which nothing is unpacked onto the
    disk."""
    batches = {}
    if path.is_dir():
        for name, md5 in _CIFAR_BATCHES.items():
            with reading(path / name), (path / name).open("rb") as file:
                content = _bytes_of(file, str(path / name))
            if formats.md5_of(content) != md5:
                raise DataError(
                    f"{path / name} is not the published file, because its checksum differs; delete {path} "
                    "and fetch the data set again."
                )
            batches[name] = formats.read_cifar_batch(content, str(path / name))
        return _join(batches)
    with reading(path):
        is_published = file_md5(path) == CIFAR10.files[0].md5
    if not is_published:
        raise DataError(
            f"{path} is not the published file, because its checksum differs; delete it and fetch the data "
            "set again."
        )
    with reading(path), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            stream = archive.extractfile(member) if name in _CIFAR_BATCHES and member.isfile() else None
            if stream is not None:
                batches[name] = formats.read_cifar_batch(_bytes_of(stream, name), f"{path}: {name}")
    return _join(batches)


def cifar10(*, seed: int = 0, train_size: int | None = None, test_size: int | None = None) -> Dataset:
    """CIFAR-10, 50,000 + 10,000 colour photographs of 32x32 pixels, as published; options as for `mnist`."""
    parts, path, notes = _load_first_whole(CIFAR10, _load_cifar)
    return _finish(CIFAR10, parts, path, train_size, test_size, notes=notes)


def cifar10_first4000(
    *, seed: int = 0, train_size: int | None = None, test_size: int | None = None
) -> Dataset:
    """The first 4,000 training images of CIFAR-10, lossless; the last 500 of them are the test images.

    Parameters
    ----------
    seed : int
        Unused; the split is fixed.
    train_size, test_size : int or None

    Raises
    ------
    DataError
        It is not on this machine, or damaged.
    """
    path = find("cifar10_first4000")
    if path is None:
        raise DataError(
            f"The first 4,000 images of CIFAR-10 ({_FIRST_4000}) are not on this machine; use cifar10, which "
            "can be downloaded."
        )
    file_path = path / "data_batch_1"
    with reading(file_path), file_path.open("rb") as file:
        images, labels = formats.read_cifar_batch(_bytes_of(file, str(file_path)), str(file_path))
    if len(images) < 1000:
        raise DataError(
            f"{file_path} holds {len(images):,} images where 4,000 are needed; copy the file again."
        )
    parts = (images[:-500], labels[:-500], images[-500:], labels[-500:])
    return _finish(
        CIFAR10,
        parts,
        path,
        train_size,
        test_size,
        name="cifar10_first4000",
        title=f"CIFAR-10 (first {len(images):,} training images)",
        notes=(
            (
                f"Only {len(images):,} images of CIFAR-10's first training batch; the last 500 of them stand "
                "in for the test set, so results do not compare with published ones."
            ),
        ),
    )


def cifar10_jpeg_q75(
    *,
    seed: int = 0,
    train_size: int | None = None,
    test_size: int | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Dataset:
    """All of CIFAR-10 after JPEG compression of quality 75.

    Parameters
    ----------
    seed : int
        Of the order of the images, which come sorted by class.
    train_size, test_size : int or None
    progress, cancel
        Decoding takes seconds: progress counts images instead of bytes.

    Raises
    ------
    FetchCancelled
        ``cancel`` said so.
    DataError
        It is not on this machine, or damaged.
    """
    path = find("cifar10_jpeg_q75")
    if path is None:
        raise DataError(
            f"The JPEG copy of CIFAR-10 ({_JPEG_ARCHIVE}) is not on this machine; use cifar10, which can be "
            "downloaded."
        )
    images: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    with reading(path):
        try:
            with tarfile.open(path, "r|xz") as archive:
                for member in archive:
                    pieces = PurePosixPath(member.name).parts
                    if not member.isfile() or len(pieces) != 3 or pieces[0] not in images:
                        continue
                    if pieces[1] not in _CIFAR_CLASSES:
                        continue
                    stream = archive.extractfile(member)
                    if stream is None:
                        continue
                    images[pieces[0]].append(_decode_jpeg(stream, path, member.name))
                    labels[pieces[0]].append(_CIFAR_CLASSES.index(pieces[1]))
                    done = len(images["train"]) + len(images["test"])
                    if done % 500 == 0:
                        if progress is not None:
                            progress(done, 60_000, "CIFAR-10: images decoded")
                        if is_cancelled(cancel):
                            raise FetchCancelled("Reading CIFAR-10 was cancelled; load it again to go on.")
        except (tarfile.TarError, EOFError, ImportError) as error:
            raise DataError(f"{path} is damaged ({error}); copy it again.") from error
        # lzma has its own type, in a module that some builds of Python lack
        except Exception as error:
            if type(error).__name__ != "LZMAError":
                raise
            raise DataError(f"{path} is damaged ({error}); copy it again.") from error
    if not images["train"] or not images["test"]:
        raise DataError(f"{path} has no images under train/CLASS and test/CLASS; copy it again.")
    generator = np.random.default_rng(checks.integer("seed", seed, 0, 2**63 - 1))
    parts = []
    for part in ("train", "test"):
        order = generator.permutation(len(images[part]))
        parts += [np.stack(images[part])[order], np.array(labels[part], dtype=np.int64)[order]]
    return _finish(
        CIFAR10,
        (parts[0], parts[1], parts[2], parts[3]),
        path,
        train_size,
        test_size,
        name="cifar10_jpeg_q75",
        title="CIFAR-10 (JPEG, quality 75)",
        notes=(
            (
                "These images went through JPEG compression of quality 75, which smooths them: likelihoods "
                "do not compare with those of the published CIFAR-10."
            ),
        ),
    )


def _decode_jpeg(stream: IO[bytes], path: Path, name: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(stream, formats=("JPEG",)) as picture:
            if picture.size != (32, 32):
                raise ValueError(f"{picture.size[0]} x {picture.size[1]} pixels")
            pixels = np.asarray(picture.convert("RGB"), dtype=np.uint8)
    # Pillow's readers raise many unrelated types for damaged files
    except Exception as error:
        raise DataError(
            f"{path}: {name} is not a JPEG picture of 32 x 32 pixels; copy the archive again."
        ) from error
    return pixels.transpose(2, 0, 1)
