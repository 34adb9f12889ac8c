"""SVHN and binarised MNIST: their files, where they are looked for, what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from engines.data import catalog, fetched, formats
from engines.errors import DataError

PROPERTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
generator = np.random.default_rng(0)


def _is_one_sentence(error: BaseException) -> bool:
    return str(error).endswith(".") and "\n" not in str(error) and ";" in str(error)


# --- bits as text and in NPZ files --------------------------------------------------------------------------


def _text(bits: np.ndarray) -> bytes:
    return "".join(" ".join(str(bit) for bit in row) + "\n" for row in bits).encode()


@given(st.integers(1, 6), st.integers(1, 9), st.booleans())
@PROPERTY
def test_bit_text_round_trip(tmp_path: Path, rows: int, width: int, packed: bool) -> None:
    bits = generator.integers(0, 2, (rows, width), dtype=np.uint8)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(_text(bits)) if packed else _text(bits))
    read = formats.read_bit_text(path, width)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, bits)


_ROWS = _text(np.eye(3, dtype=np.uint8))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "whole rows of 3"),
        (_ROWS[:-1], "whole rows of 3"),
        (_ROWS.replace(b"1", b"2"), "something other than rows"),
        (_ROWS.replace(b"1", b"/"), "something other than rows"),
        (_ROWS.replace(b" ", b"\n"), "something other than rows"),
        (_ROWS.replace(b"\n", b" "), "something other than rows"),
        (_text(np.zeros((3, 2), np.uint8)), "something other than rows"),
        (gzip.compress(_ROWS, mtime=0)[:-6], "damaged"),
        (b"\x1f\x8b\x08" + bytes(30), "damaged"),
    ],
    ids=[
        "empty",
        "cut",
        "2",
        "slash",
        "no spaces",
        "no ends",
        "narrower",
        "packed and cut",
        "no gzip",
    ],
)
def test_bad_bit_texts(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        formats.read_bit_text(path, 3)
    assert _is_one_sentence(caught.value)


def test_text_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(formats, "_LARGEST_TEXT", 100)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(DataError, match=r"more text than any data set"):
        formats.read_bit_text(path, 3)


def _npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("order", ["C", "F"])
def test_bit_arrays_round_trip(tmp_path: Path, order) -> None:
    bits = {name: generator.integers(0, 2, (5, 7), dtype=np.uint8) for name in ("b", "a", "more")}
    path = _npz(tmp_path / "a.npz", **{name: np.asarray(array, order=order) for name, array in bits.items()})
    read = formats.read_bit_arrays(path, ("a", "b"), 7)
    np.testing.assert_array_equal(read, [bits["a"], bits["b"]])


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 6), np.uint8),
        np.zeros(7, np.uint8),
        np.zeros((2, 7), np.float64),
        np.zeros((0, 7), np.uint8),
        np.full((2, 7), 2, np.uint8),
    ],
    ids=["narrow", "one axis", "float", "no rows", "two"],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError, match='the array "a"') as caught:
        formats.read_bit_arrays(_npz(tmp_path / "a.npz", a=array), ("a",), 7)
    assert _is_one_sentence(caught.value)


def test_arrays_of_objects_run_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "opened"
    evil = np.empty((1, 7), dtype=object)
    evil[:] = _Runs(trap)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, evil, allow_pickle=True)
        archive.writestr("a.npy", buffer.getvalue())
    with pytest.raises(DataError, match='the array "a"'):
        formats.read_bit_arrays(path, ("a",), 7)
    path.write_bytes(pickle.dumps(_Runs(trap)))
    with pytest.raises(DataError, match="damaged"):
        formats.read_bit_arrays(path, ("a",), 7)
    assert not trap.exists()


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for rows, message in ((2**40, "claims to have"), (10, "shorter than its header")):
        buffer = io.BytesIO()
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 7)}
        np.lib.format.write_array_header_1_0(buffer, header)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", buffer.getvalue() + bytes(7))
        with pytest.raises(DataError, match=message):
            formats.read_bit_arrays(path, ("a",), 7)


@given(st.data())
@PROPERTY
def test_flipped_bytes_in_bit_arrays_never_raise_anything_else(tmp_path: Path, data) -> None:
    path = _npz(tmp_path / "a.npz", a=np.eye(7, dtype=np.uint8))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        (bits,) = formats.read_bit_arrays(path, ("a",), 7)
    except DataError as error:
        assert str(error).endswith(".")
    else:
        assert bits.shape[1] == 7 and bits.max() <= 1


# --- binarised MNIST ----------------------------------------------------------------------------------------


def _make_bits(monkeypatch) -> dict[str, np.ndarray]:
    """Three small parts, and their checksums in place of the published ones."""
    sizes = {"train": 6, "valid": 3, "test": 4}
    bits = {part: generator.integers(0, 2, (size, 784), dtype=np.uint8) for part, size in sizes.items()}
    checksums = {part: hashlib.md5(array.tobytes()).hexdigest() for part, array in bits.items()}
    monkeypatch.setattr(fetched, "_BINARIZED_PARTS", checksums)
    return bits


def _store_bits(folder: Path, bits: dict[str, np.ndarray], layout: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "npz":
        return _npz(folder / "binarized_mnist.npz", **bits)
    for part, array in bits.items():
        path = folder / f"binarized_mnist_{part}.amat{'.gz' if layout == 'gz' else ''}"
        path.write_bytes(gzip.compress(_text(array)) if layout == "gz" else _text(array))
    return folder


@pytest.mark.parametrize("layout", ["npz", "gz", "plain"])
@pytest.mark.parametrize("place", [0, 1], ids=["LAB_DATA", "user's folder"])
def test_binarized_mnist_is_found_and_read(places, monkeypatch, layout: str, place: int) -> None:
    bits = _make_bits(monkeypatch)
    assert catalog.info("binarized_mnist").where == "download"
    path = _store_bits(places[place] / "binarized_mnist", bits, layout)
    entry = catalog.info("binarized_mnist")
    assert entry.where == "local" and entry.path == path and entry.size_bytes > 100
    data = catalog.load("binarized_mnist")
    np.testing.assert_array_equal(data.train.reshape(-1, 784), bits["train"])
    np.testing.assert_array_equal(data.test.reshape(-1, 784), bits["test"])
    assert (data.name, data.kind, data.shape, data.levels) == ("binarized_mnist", "images", (1, 28, 28), 2)
    assert data.train_labels is None and data.test_labels is None and not data.class_names
    assert not data.notes and str(path) in data.source and data.licence == entry.licence


def test_validation_images_are_never_training_images(places, monkeypatch) -> None:
    bits = _make_bits(monkeypatch)
    _store_bits(places[0] / "binarized_mnist", bits, "npz")
    tuning = catalog.load("binarized_mnist", held_out="valid")
    np.testing.assert_array_equal(tuning.test.reshape(-1, 784), bits["valid"])
    np.testing.assert_array_equal(tuning.train.reshape(-1, 784), bits["train"])
    assert any("validation" in note for note in tuning.notes)
    fewer = catalog.load("binarized_mnist", train_size=2, test_size=1)
    assert (len(fewer.train), len(fewer.test)) == (2, 1) and "first 2" in fewer.title
    with pytest.raises(DataError, match=r"held_out is 'train', which is not known; give one of test, valid"):
        catalog.load("binarized_mnist", held_out="train")


def test_other_bits_than_the_published_ones_are_passed_over(places, monkeypatch) -> None:
    bits = _make_bits(monkeypatch)
    folder = places[0] / "binarized_mnist"
    _store_bits(folder, bits | {"valid": 1 - bits["valid"]}, "npz")
    with pytest.raises(DataError, match=r"binarized_mnist\.npz does not hold the published valid") as caught:
        catalog.load("binarized_mnist")
    assert _is_one_sentence(caught.value)
    _store_bits(folder, bits, "gz")
    data = catalog.load("binarized_mnist")
    np.testing.assert_array_equal(data.test.reshape(-1, 784), bits["test"])
    assert len(data.notes) == 1 and "Passed over" in data.notes[0]
    damaged = folder / "binarized_mnist_test.amat.gz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(DataError):
        catalog.load("binarized_mnist")


def test_two_of_three_texts_do_not_count(places, monkeypatch) -> None:
    folder = _store_bits(places[0] / "binarized_mnist", _make_bits(monkeypatch), "plain")
    (folder / "binarized_mnist_valid.amat").unlink()
    assert catalog.info("binarized_mnist").where == "download"
    with pytest.raises(fetched.NotHere, match=r"not on this machine"):
        catalog.load("binarized_mnist")


# --- MATLAB files -------------------------------------------------------------------------------------------


def _crops(count: int) -> tuple[np.ndarray, np.ndarray]:
    images = generator.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    return images, (np.arange(count, dtype=np.uint8)[:, None] % 10) + 1


def _mat(path: Path, images: object, digits: object, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"X": images, "y": digits, **more}, do_compression=True)
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_crops_are_read_with_0_for_10(tmp_path: Path, kind) -> None:
    images, digits = _crops(12)
    read, labels = formats.read_svhn(_mat(tmp_path / "a.mat", images, digits.astype(kind)))
    assert read.shape == (12, 3, 32, 32) and read.dtype == np.uint8 and read.flags.c_contiguous
    for index in range(12):
        for channel in range(3):
            np.testing.assert_array_equal(read[index, channel], images[:, :, channel, index])
    assert labels.dtype == np.int64 and labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]


def _cells(count: int) -> np.ndarray:
    cells = np.empty((count, 1), dtype=object)
    cells[:] = "text"
    return cells


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((32, 32, 3, 4))},
        {"images": np.zeros((32, 32, 4, 3), np.uint8)},
        {"images": np.zeros((32, 32, 3, 5), np.uint8)},
        {"images": np.zeros((32, 32, 3), np.uint8)},
        {"images": _cells(4)},
        {"images": {"field": 1.0}},
        {"digits": _cells(4)},
        {"digits": {"field": 1.0}},
        {"digits": np.array(["text"])},
        {"digits": np.zeros((4, 1), np.uint8)},
        {"digits": np.full((4, 1), 11, np.uint8)},
        {"digits": np.full((4, 1), 1.5)},
        {"digits": np.full((4, 1), np.nan)},
        {"digits": np.full((4, 1), 1 + 1j)},
        {"digits": np.ones((1, 5), np.uint8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_contents_of_matlab_files_are_refused(tmp_path: Path, change: dict) -> None:
    images, digits = _crops(4)
    path = _mat(tmp_path / "a.mat", **({"images": images, "digits": digits} | change))
    with pytest.raises(DataError) as caught:
        formats.read_svhn(path)
    assert _is_one_sentence(caught.value) and str(path) in str(caught.value)


def test_a_matlab_file_without_the_arrays_says_what_is_missing(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"data": np.zeros(3)})
    with pytest.raises(DataError, match=r"here X is \(\) missing"):
        formats.read_svhn(tmp_path / "a.mat")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\x89HDF\r\n\x1a\n" + bytes(600),
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(600),
        pickle.dumps({"X": 1}),
    ],
    ids=["empty", "text", "HDF5", "MATLAB 7.3", "pickle"],
)
def test_what_is_no_matlab_5_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        formats.read_svhn(path)
    assert _is_one_sentence(caught.value)


@given(st.data())
@PROPERTY
def test_flipped_bytes_in_a_matlab_file_never_raise_anything_else(tmp_path: Path, data) -> None:
    path = _mat(tmp_path / "a.mat", *_crops(2))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # the header and what says how long the arrays are
        content[data.draw(st.integers(120, 300))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(100, len(content)))]))
    try:
        images, labels = formats.read_svhn(path)
    except DataError as error:
        assert str(error).endswith(".")
    else:
        assert images.shape[1:] == (3, 32, 32) and len(images) == len(labels)


# --- SVHN ---------------------------------------------------------------------------------------------------


def _publish_svhn(monkeypatch, folder: Path) -> None:
    """Take the files in a folder for the published ones."""
    files = tuple(
        dataclasses.replace(file, md5=hashlib.md5((folder / file.name).read_bytes()).hexdigest())
        if (folder / file.name).exists()
        else file
        for file in fetched.SVHN.files
    )
    published = dataclasses.replace(fetched.SVHN, files=files)
    monkeypatch.setitem(fetched.PUBLISHED, "svhn", published)
    monkeypatch.setattr(fetched, "SVHN", published)


def test_both_published_files_are_the_published_split(places, monkeypatch) -> None:
    folder = places[0] / "svhn"
    train, test = _crops(20), _crops(10)
    _mat(folder / "train_32x32.mat", *train)
    _mat(folder / "test_32x32.mat", *test)
    _mat(places[0] / "svhn" / "train_32x32_first5.mat", *_crops(5))
    _publish_svhn(monkeypatch, folder)
    entry = catalog.info("svhn")
    assert entry.where == "local" and entry.path == folder and entry.size_bytes > 10_000
    data = catalog.load("svhn")
    np.testing.assert_array_equal(data.train, train[0].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(data.test, test[0].transpose(3, 2, 0, 1))
    assert data.train_labels is not None and data.train_labels.tolist() == [*range(1, 10), 0] * 2
    assert data.title == "SVHN" and not data.notes and data.levels == 256
    assert "Non-commercial" in data.licence and catalog.load("svhn", seed=3).digest == data.digest


@pytest.mark.parametrize("name", ["train_32x32.mat", "train_32x32_first20.mat"])
def test_a_training_file_alone_is_split_and_says_so(places, monkeypatch, name: str) -> None:
    images, digits = _crops(20)
    path = _mat(places[1] / "svhn" / name, images, digits)
    _publish_svhn(monkeypatch, path.parent)
    assert catalog.info("svhn").path == path
    data = catalog.load("svhn", seed=1)
    assert (len(data.train), len(data.test)) == (16, 4)
    assert "20 training images" in data.title
    assert len(data.notes) == 1 and "do not compare" in data.notes[0] and name in data.notes[0]
    order = {image.tobytes(): index for index, image in enumerate(images.transpose(3, 2, 0, 1))}
    train, test = ([order[image.tobytes()] for image in part] for part in (data.train, data.test))
    assert sorted(train + test) == list(range(20))  # each image once, in one part
    # one run, as the digits of a house follow each other
    assert test == [(test[0] + step) % 20 for step in range(4)]
    for part, labels in ((train, data.train_labels), (test, data.test_labels)):
        assert labels is not None and labels.tolist() == [(index + 1) % 10 for index in part]
    assert catalog.load("svhn", seed=1).digest == data.digest
    assert len({catalog.load("svhn", seed=seed).digest for seed in range(6)}) > 1


def test_a_training_file_that_is_not_the_published_one_is_refused(places) -> None:
    _mat(places[0] / "svhn" / "train_32x32.mat", *_crops(4))
    with pytest.raises(fetched.NotHere, match=r"train_32x32\.mat is not the published file") as caught:
        catalog.load("svhn")
    assert caught.value.remedy == "fetch:svhn" and _is_one_sentence(caught.value)
    _mat(places[0] / "svhn" / "train_32x32_part.mat", *_crops(10))
    data = catalog.load("svhn")
    assert any("Passed over" in note for note in data.notes) and len(data.train) == 8


def test_a_damaged_part_says_which_file(places) -> None:
    path = _mat(places[0] / "svhn" / "train_32x32_part.mat", *_crops(4))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"train_32x32_part\.mat (is damaged|has no bytes)"):
        catalog.load("svhn")
    _mat(path, *_crops(1))
    with pytest.raises(DataError, match=r"one single image"):
        catalog.load("svhn")


@pytest.mark.parametrize("name, title", [("svhn", "SVHN"), ("binarized_mnist", "Binarised MNIST")])
def test_what_is_not_here_says_where_to_put_it(places, monkeypatch, name: str, title: str) -> None:
    assert catalog.info(name).where == "download" and catalog.info(name).size_bytes > 10**8
    with pytest.raises(fetched.NotHere, match=rf"{title} is not on this machine; download it .*LAB_DATA"):
        catalog.load(name)
    monkeypatch.setenv("LAB_DATA", "/no/such/folder")
    with pytest.raises(DataError, match=r"correct LAB_DATA, which names /no/such/folder"):
        catalog.load(name)
    monkeypatch.delenv("LAB_DATA")
    with pytest.raises(DataError, match=r"in LAB_DATA"):
        catalog.load(name)


# --- the real files, where somebody has them ----------------------------------------------------------------


def _needs(name: str) -> None:
    if not os.environ.get("LAB_DATA") or fetched.find(name) is None:
        pytest.skip(f"LAB_DATA names no folder with {name}")


def test_real_binarized_mnist() -> None:
    _needs("binarized_mnist")
    data = catalog.load("binarized_mnist")
    assert (data.train.shape, data.test.shape) == ((50_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert data.train.max() == 1 and not data.notes


def test_real_binarized_mnist_as_text() -> None:
    _needs("binarized_mnist")
    folder = fetched.find("binarized_mnist")
    assert folder is not None
    folder = folder if folder.is_dir() else folder.parent
    if fetched._bit_texts(folder) is None:
        pytest.skip("the texts are not there")
    parts = fetched._load_binarized(folder)
    assert {part: len(bits) for part, bits in parts.items()} == {
        "train": 50_000,
        "valid": 10_000,
        "test": 10_000,
    }


def test_real_svhn() -> None:
    _needs("svhn")
    data = catalog.load("svhn")
    assert data.shape == (3, 32, 32) and data.train_labels is not None
    assert set(data.train_labels.tolist()) == set(range(10))
