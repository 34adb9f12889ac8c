"""Readers of published file formats: idx (MNIST), the CIFAR pickles without unpickling, bits as text or in an NPZ
file (binarised MNIST) and MATLAB files (SVHN); safe on any thread or process."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from engines.data.files import reading
from engines.errors import DataError

_LARGEST = 2**30
_LARGEST_TEXT = 2**27
_AGAIN = "delete it and fetch the data set again"


@contextmanager
def _unpacking(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """A file's content, unpacked where it is compressed with gzip; what is damaged is a DataError."""
    with reading(path), path.open("rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if is_packed:
                with gzip.open(raw) as stream:
                    yield stream
            else:
                yield raw
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path} is damaged ({error}); {_AGAIN}.") from error


def read_idx(path: Path, dimensions: int, md5: str | None = None) -> np.ndarray:
    """Read an idx file of bytes, plain or compressed with gzip.

    Parameters
    ----------
    path : Path
    dimensions : int
        Number of axes expected: 3 for images, 1 for labels.
    md5 : str or None
        Checksum of the unpacked bytes; None does not check. (Of the unpacked ones, because a gzip header
        holds a time stamp, so the same data packed again have another checksum.)

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    DataError
        The file is not what it should be.
    """
    with _unpacking(path) as stream:
        header, content = _idx_content(path, stream, dimensions)
    if md5 is not None and md5_of(header + content) != md5:
        raise DataError(f"{path} is not the published file, because its checksum differs; {_AGAIN}.")
    shape = np.frombuffer(header, dtype=">u4", offset=4).astype(np.int64)
    return np.frombuffer(content, dtype=np.uint8).reshape(tuple(shape)).copy()


def _idx_content(path: Path, stream: Any, dimensions: int) -> tuple[bytes, bytes]:
    """Header and content, whose length is checked against the header before anything is read."""
    header = stream.read(4 + 4 * dimensions)
    if len(header) < 4 or header[:2] != b"\0\0":
        raise DataError(
            f"{path} is not an idx file, because it does not begin with two zero bytes; {_AGAIN}."
        )
    if header[2] != 0x08:
        raise DataError(
            f"{path} holds numbers of type 0x{header[2]:02x} where bytes (0x08) are needed; {_AGAIN}."
        )
    if header[3] != dimensions or len(header) < 4 + 4 * dimensions:
        raise DataError(f"{path} has {header[3]} axes where {dimensions} are needed; {_AGAIN}.")
    size = math.prod(int(axis) for axis in np.frombuffer(header, dtype=">u4", offset=4))
    if size > _LARGEST:
        raise DataError(f"{path} claims to hold {size:,} bytes, more than any data set read here; {_AGAIN}.")
    content = stream.read(size)
    if len(content) < size:
        raise DataError(f"{path} is cut short: it holds {len(content):,} of {size:,} bytes; {_AGAIN}.")
    if stream.read(1):
        raise DataError(f"{path} is longer than its header says; {_AGAIN}.")
    return header, content


# The CIFAR files are pickles. Nothing that a pickle names is imported or called here: the four names that a
# pickled array of bytes needs are answered by the stand-ins below, which only keep plain values, and every
# other name is refused.


class _DtypeStandIn:
    """Takes the place of numpy.dtype; remembers its text code alone."""

    def __init__(self, code: Any, *flags: Any) -> None:
        self.code = code.decode("ascii", "replace") if isinstance(code, bytes) else str(code)

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and field names, of which an array of bytes has none


class _ArrayStandIn:
    """Takes the place of numpy.ndarray; keeps what a pickle says of one array."""

    def __init__(self) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):
            self.state = state

    def to_array(self) -> np.ndarray:
        """The bytes as a uint8 array; UnpicklingError if it is anything else."""
        _, shape, dtype, is_fortran, content = self.state
        if not isinstance(dtype, _DtypeStandIn) or dtype.code not in ("u1", "uint8", "|u1"):
            raise pickle.UnpicklingError("the array does not hold bytes")
        if isinstance(content, str):
            content = content.encode("latin1")  # what Python 2 called a string
        if not isinstance(content, bytes) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("the array is not stored as bytes")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if is_fortran else "C").copy()


class _Reconstruct:
    """Takes the place of the function that numpy's pickles call to begin an array."""

    def __new__(cls, *arguments: Any) -> Any:
        return _ArrayStandIn()

    def __setstate__(self, state: Any) -> None:
        pass


class _Encode:
    """Takes the place of codecs.encode, with which Python 3 writes bytes into old pickles."""

    def __new__(cls, text: Any, encoding: Any = "latin1") -> Any:
        if not isinstance(text, str) or encoding != "latin1":
            raise pickle.UnpicklingError("only latin1 text is allowed")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        pass


# All of them are classes with a __setstate__, so that no pickle can set an attribute of any of them.
_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy", "ndarray"): _ArrayStandIn,
    ("numpy", "dtype"): _DtypeStandIn,
    ("_codecs", "encode"): _Encode,
}


# The unpickler written in Python, because the one in C can be made to take memory without limit by a few
# bytes.
class _ArrayUnpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it names an outside object")

    def get_extension(self, code: int) -> Any:
        raise pickle.UnpicklingError("it names an extension")


def read_plain_pickle(content: bytes, name: str) -> dict[str, Any]:
    """Read a pickled dictionary of lists, text and byte arrays, and nothing else.

    Parameters
    ----------
    content : bytes
        Of the whole file.
    name : str
        What to call it in errors.

    Returns
    -------
    dict
        Keys and words as str; arrays as uint8 ndarrays.

    Raises
    ------
    DataError
        The pickle is damaged, or asks for anything but arrays of bytes.
    """
    try:
        result = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
        if not isinstance(result, dict):
            raise pickle.UnpicklingError("it is no dictionary")
        return {_plain(key): _plain(value) for key, value in result.items()}
    except MemoryError as error:
        raise DataError(f"{name} does not fit into memory; {_AGAIN}.") from error
    # a damaged pickle raises nearly any type
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"{name} holds something other than arrays of bytes, or is damaged ({reason}), so it was not "
            f"opened; {_AGAIN}."
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, _ArrayStandIn):
        return value.to_array()
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def read_cifar_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) uint8 and labels (N,) int64 of one batch of CIFAR-10 in its published Python
    layout.

    Raises
    ------
    DataError
        The batch is not what it should be.
    """
    batch = read_plain_pickle(content, name)
    images, labels = batch.get("data"), batch.get("labels")
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != 3072:
        raise DataError(f"{name} has no array of images of 3 x 32 x 32 bytes; {_AGAIN}.")
    is_right = (
        isinstance(labels, list)
        and len(labels) == len(images)
        and all(type(label) is int and 0 <= label < 10 for label in labels)
    )
    if not is_right:
        raise DataError(
            f"{name} has not one label from 0 to 9 for each of its {len(images):,} images; {_AGAIN}."
        )
    return images.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)


# --- bits ---------------------------------------------------------------------------------------------------


def read_bit_text(path: Path, width: int) -> np.ndarray:
    """Read rows of 0 and 1 with one space between them, plain or compressed with gzip.

    Parameters
    ----------
    path : Path
    width : int
        Numbers in a row.

    Returns
    -------
    ndarray of uint8, shape (N, width)

    Raises
    ------
    DataError
        The file is not what it should be.
    """
    with _unpacking(path) as stream:
        content = stream.read(_LARGEST_TEXT + 1)
    if len(content) > _LARGEST_TEXT:
        raise DataError(f"{path} holds more text than any data set read here; {_AGAIN}.")
    if not content or len(content) % (2 * width):
        raise DataError(f"{path} is not made of whole rows of {width} numbers 0 or 1; {_AGAIN}.")
    # each number is one character, and one more follows it: a space, or the end of the row
    pairs = np.frombuffer(content, dtype=np.uint8).reshape(-1, width, 2)
    marks = pairs[:, :, 1]
    bits = pairs[:, :, 0] - np.uint8(ord("0"))
    if bits.max() > 1 or (marks[:, :-1] != ord(" ")).any() or (marks[:, -1] != ord("\n")).any():
        raise DataError(f"{path} holds something other than rows of {width} numbers 0 or 1; {_AGAIN}.")
    return bits


def read_bit_arrays(path: Path, names: Sequence[str], width: int) -> list[np.ndarray]:
    """Read arrays of 0 and 1 (N, width), stored as bytes, from an NPZ file; nothing is unpickled.

    Returns
    -------
    list of ndarray of uint8
        In the order of ``names``.

    Raises
    ------
    DataError
        The file is not what it should be.
    """
    try:
        with reading(path), zipfile.ZipFile(path) as archive:
            return [_bit_array(path, archive, name, width) for name in names]
    except DataError:
        raise
    # zipfile, zlib and numpy's header parser raise a dozen unrelated types for damaged files
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} is damaged ({reason.rstrip('.')}); {_AGAIN}.") from error


def _bit_array(path: Path, archive: zipfile.ZipFile, name: str, width: int) -> np.ndarray:
    with archive.open(f"{name}.npy") as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("its arrays are of another version")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a file was written by Python 2
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype != np.uint8 or len(shape) != 2 or shape[1] != width:
            raise DataError(
                f'{path}: the array "{name}" {shape} {dtype} is not made of rows of {width} bytes; {_AGAIN}.'
            )
        size = math.prod(shape)
        if not 0 < size <= _LARGEST:
            raise DataError(f'{path}: the array "{name}" claims to have {shape[0]:,} rows; {_AGAIN}.')
        content = stream.read(size)
    if len(content) < size:
        raise DataError(f'{path}: the array "{name}" is shorter than its header says; {_AGAIN}.')
    bits = (
        np.frombuffer(content, dtype=np.uint8)
        .reshape(shape, order="F" if is_fortran else "C")
        .copy(order="C")
    )
    if bits.max() > 1:
        raise DataError(f'{path}: the array "{name}" holds numbers other than 0 and 1; {_AGAIN}.')
    return bits


# --- MATLAB files -------------------------------------------------------------------------------------------

_MATLAB_NUMBERS = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "single",
    "double",
)


def read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) uint8 and digits (N,) int64 from 0 to 9 of one MATLAB file of SVHN, which holds X (32,
    32, 3, N) and y (N, 1) with 10 for the digit 0.

    Only arrays of numbers are read: what else a MATLAB file can hold (cells, structures, objects) is refused by its
    header.

    Raises
    ------
    DataError
        The file is not what it should be.
    """
    from scipy.io import loadmat, whosmat  # a quarter of a second, so not at start-up

    try:
        with reading(path), path.open("rb") as file:
            listed = {name: (shape, kind) for name, shape, kind in whosmat(file)}
            shape, kind = listed.get("X", ((), "missing"))
            label_shape, label_kind = listed.get("y", ((), "missing"))
            is_right = (
                kind == "uint8"
                and len(shape) == 4
                and shape[:3] == (32, 32, 3)
                and 0 < math.prod(shape) <= _LARGEST
            )
            if not is_right or label_kind not in _MATLAB_NUMBERS or label_shape != (shape[3], 1):
                raise DataError(
                    f"{path} has no bytes X (32, 32, 3, N) with N numbers y (here X is {shape} {kind} and y "
                    f"{label_shape} {label_kind}); {_AGAIN}."
                )
            file.seek(0)
            content = loadmat(file, variable_names=("X", "y"))
    except DataError:
        raise
    # scipy raises many unrelated types for damaged files
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} is damaged or no MATLAB file ({reason.rstrip('.')}); {_AGAIN}.") from error
    images, labels = content.get("X"), content.get("y")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != shape:
        raise DataError(f"{path}: the array X is not what its header says; {_AGAIN}.")
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iuf" or labels.shape != label_shape:
        raise DataError(f"{path}: the array y is not what its header says; {_AGAIN}.")
    if not np.isin(labels, np.arange(1, 11)).all():
        raise DataError(f"{path}: the array y holds something other than 1 to 10; {_AGAIN}.")
    digits = labels[:, 0].astype(np.int64) % 10
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), digits


def md5_of(content: bytes) -> str:
    """MD5 as hexadecimal text; it guards against damage, not against forgery."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
