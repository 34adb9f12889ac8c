"""Published data sets and the catalogue: where they are looked for, how they are read, what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engines.data import catalog, fetched, formats
from engines.data.download import FetchCancelled
from engines.errors import DataError

PROPERTY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
generator = np.random.default_rng(0)


def _idx(array: np.ndarray) -> bytes:
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


def _make_mnist(
    folder: Path, packed: bool = True, count: int = 12
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Four small idx files in the published layout; the arrays and their checksums."""
    arrays, checksums = {}, {}
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        for kind, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            name = f"{part}-{kind}-ubyte"
            arrays[name] = generator.integers(0, 10, shape, dtype=np.uint8)
            content = _idx(arrays[name])
            checksums[name] = hashlib.md5(content).hexdigest()
            (folder / (f"{name}.gz" if packed else name)).write_bytes(
                gzip.compress(content) if packed else content
            )
    return arrays, checksums


def _publish(monkeypatch: pytest.MonkeyPatch, name: str, **changes) -> None:
    published = dataclasses.replace(fetched.PUBLISHED[name], **changes)
    monkeypatch.setitem(fetched.PUBLISHED, name, published)
    monkeypatch.setattr(fetched, name.upper(), published)


# --- idx ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.booleans())
@PROPERTY
def test_idx_round_trip(tmp_path: Path, shape: list[int], packed: bool) -> None:
    array = generator.integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(_idx(array)) if packed else _idx(array))
    read = formats.read_idx(path, len(shape), hashlib.md5(_idx(array)).hexdigest())
    assert read.dtype == np.uint8 and read.shape == tuple(shape)
    np.testing.assert_array_equal(read, array)
    with pytest.raises(DataError, match=r"checksum differs"):
        formats.read_idx(path, len(shape), "0" * 32)


@given(st.binary(max_size=60), st.booleans())
@PROPERTY
def test_garbage_idx_never_raises_anything_else(tmp_path: Path, content: bytes, packed: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content)[: 10 + len(content)] if packed else content)
    for dimensions in (1, 3):
        try:
            formats.read_idx(path, dimensions)
        except DataError as error:
            assert str(error).endswith(".") and ";" in str(error)


@pytest.mark.parametrize(
    "content, message",
    [
        (_idx(np.zeros((2, 3, 3)))[:-1], "cut short: it holds 17 of 18"),
        (_idx(np.zeros((2, 3, 3))) + b"x", "longer than its header"),
        (_idx(np.zeros((2, 3))), "2 axes where 3"),
        (b"\0\0\x0d\x03" + bytes(12), "type 0x0d"),
        (b"\x89PNG" + bytes(12), "not an idx file"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 2**31), "claims to hold"),
        (gzip.compress(_idx(np.zeros((2, 3, 3))), mtime=0)[:-9], "damaged"),
        (b"\x1f\x8b\x08" + bytes(30), "damaged"),
    ],
)
def test_bad_idx(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        formats.read_idx(path, 3)


# --- the pickles of CIFAR -----------------------------------------------------------------------------------


def _batch(count: int = 4) -> dict:
    return {
        "data": generator.integers(0, 256, (count, 3072), dtype=np.uint8),
        "labels": [int(label) for label in generator.integers(0, 10, count)],
        "batch_label": "training batch 1 of 5",
        "filenames": [f"{i}.png" for i in range(count)],
    }


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("keys_are_bytes", [False, True])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_batches_of_all_protocols_are_read(protocol: int, keys_are_bytes: bool, module: str) -> None:
    batch = _batch()
    stored = {key.encode(): value for key, value in batch.items()} if keys_are_bytes else batch
    content = pickle.dumps(stored, protocol)
    if protocol < 4:
        content = content.replace(b"cnumpy._core.multiarray", b"c" + module.encode())
    images, labels = formats.read_cifar_batch(content, "batch")
    np.testing.assert_array_equal(images.reshape(-1, 3072), batch["data"])
    np.testing.assert_array_equal(labels, batch["labels"])


def test_protocol_5_in_which_arrays_travel_differently_is_refused() -> None:
    # no published file uses it, so there is no reason to allow the function that it names
    with pytest.raises(DataError, match=r"_frombuffer"):
        formats.read_cifar_batch(pickle.dumps(_batch(), 5), "batch")


def test_a_batch_written_by_python_2_is_read() -> None:
    pixels = bytes(range(256)) * 12
    text = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89T\x00\x0c\x00\x00" + pixels + b"tbU\x06labels]K\x07au."
    )
    images, labels = formats.read_cifar_batch(text, "batch")
    assert images.tobytes() == pixels and labels.tolist() == [7]


class _Runs:
    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickles_that_would_run_something_do_nothing(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "opened"
    for evil in (
        _Runs(Path.touch, trap),
        _Runs(os.system, f"touch {trap}"),
        _Runs(eval, f"open({str(trap)!r}, 'w')"),
        _Runs(np.save, str(trap), 1),
        _Runs(getattr, Path, "touch"),
    ):
        content = pickle.dumps({"data": evil, "labels": []}, protocol)
        with pytest.raises(DataError, match=r"not opened"):
            formats.read_plain_pickle(content, "batch")
    assert not list(tmp_path.iterdir())


def test_stand_ins_cannot_be_altered_by_a_pickle() -> None:
    before = {name: dict(vars(stand_in)) for name, stand_in in formats._STAND_INS.items()}
    for module, name in formats._STAND_INS:
        # BUILD with (dict, dict) sets attributes of whatever lies on the stack
        state = b"}}U\x07changedK\x01s\x86b"
        content = b"\x80\x02}U\x04data" + f"c{module}\n{name}\n".encode() + state + b"s."
        try:
            formats.read_plain_pickle(content, "batch")
        except DataError:
            pass
    assert before == {name: dict(vars(stand_in)) for name, stand_in in formats._STAND_INS.items()}


@given(st.data())
@PROPERTY
def test_flipped_bytes_in_a_pickle_never_raise_anything_else(data) -> None:
    content = bytearray(pickle.dumps(_batch(1), data.draw(st.sampled_from([0, 2, 4]))))
    for _ in range(data.draw(st.integers(1, 6))):
        # the structure lies at both ends, the pixels between
        place = data.draw(st.integers(-200, 199))
        content[place] = data.draw(st.integers(0, 255))
    try:
        images, labels = formats.read_cifar_batch(bytes(content), "batch")
    except DataError as error:
        assert str(error).endswith(".")
    else:
        assert images.shape[1:] == (3, 32, 32) and len(images) == len(labels)


@pytest.mark.parametrize(
    "change",
    [{"data": [1, 2]}, {"data": np.zeros((4, 5), np.uint8)}, {"labels": [1, 2]}, {"labels": [1, 2, 3, 10]}],
)
def test_batches_of_the_wrong_shape(change: dict) -> None:
    with pytest.raises(DataError, match=r"batch has"):
        formats.read_cifar_batch(pickle.dumps(_batch() | change, 2), "batch")


def test_arrays_of_other_types_are_refused() -> None:
    for array in (np.zeros((1, 3072)), np.array([None]), np.zeros(3, dtype="U4")):
        with pytest.raises(DataError):
            formats.read_plain_pickle(pickle.dumps({"data": array}, 2), "batch")


# --- where they are looked for ------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", [0, 1], ids=["LAB_DATA", "user's folder"])
def test_idx_sets_are_found_and_read(places, monkeypatch, folder: str, packed: bool, place: int) -> None:
    arrays, checksums = _make_mnist(places[place] / folder, packed)
    _publish(monkeypatch, "mnist", unpacked_md5=checksums)
    entry = catalog.info("mnist")
    assert entry.where == "local" and entry.path == places[place] / folder and entry.size_bytes > 0
    data = catalog.load("mnist")
    np.testing.assert_array_equal(data.train[:, 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(data.test[:, 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(data.train_labels, arrays["train-labels-idx1-ubyte"])
    np.testing.assert_array_equal(data.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert data.levels == 256 and data.class_names[3] == "3" and not data.notes
    fewer = catalog.load("mnist", train_size=5, test_size=2)
    np.testing.assert_array_equal(fewer.train, data.train[:5])
    assert len(fewer.test) == 2 and "first 5" in fewer.title


def test_debian_package_of_fashion_mnist(places, monkeypatch) -> None:
    arrays, checksums = _make_mnist(fetched.DEBIAN_FASHION_MNIST)
    _publish(monkeypatch, "fashion_mnist", unpacked_md5=checksums)
    monkeypatch.setattr(fetched, "FASHION_MNIST", fetched.PUBLISHED["fashion_mnist"])
    data = catalog.load("fashion_mnist")
    np.testing.assert_array_equal(data.train[:, 0], arrays["train-images-idx3-ubyte"])
    assert data.class_names[-1] == "Ankle boot"


def test_a_damaged_copy_is_passed_over_for_a_whole_one(places, monkeypatch) -> None:
    _, checksums = _make_mnist(places[1] / "mnist")
    _publish(monkeypatch, "mnist", unpacked_md5=checksums)
    whole = catalog.load("mnist").digest
    _make_mnist(places[0] / "mnist")  # other numbers, so other checksums
    data = catalog.load("mnist")
    assert data.digest == whole
    assert len(data.notes) == 1 and str(places[0]) in data.notes[0] and "checksum differs" in data.notes[0]


def test_only_a_damaged_copy_says_which_file(places, monkeypatch) -> None:
    _, checksums = _make_mnist(places[0] / "mnist")
    _publish(monkeypatch, "mnist", unpacked_md5=checksums)
    path = places[0] / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
        catalog.load("mnist")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_what_is_not_here_says_how_to_fetch_it_and_stays_off_the_network(places, name: str) -> None:
    entry = catalog.info(name)
    assert entry.where == "download" and entry.size_bytes > 10**6 and entry.path is None
    with pytest.raises(DataError, match=r"not on this machine; download it.*LAB_DATA"):
        catalog.load(name)


def test_lab_data_that_is_no_folder_is_named(places, monkeypatch) -> None:
    monkeypatch.setenv("LAB_DATA", "/no/such/folder")
    with pytest.raises(DataError, match=r"correct LAB_DATA, which names /no/such/folder"):
        catalog.load("mnist")
    assert catalog.info("mnist").where == "download"


def _make_cifar(folder: Path, monkeypatch) -> dict[str, dict]:
    batches = {name: _batch(3) for name in fetched._CIFAR_BATCHES}
    folder.mkdir(parents=True)
    checksums = {}
    for name, batch in batches.items():
        content = pickle.dumps(batch, 2)
        (folder / name).write_bytes(content)
        checksums[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(fetched, "_CIFAR_BATCHES", checksums)
    return batches


def _check_cifar(batches: dict[str, dict]) -> None:
    data = catalog.load("cifar10")
    expected = np.concatenate([batches[f"data_batch_{i}"]["data"] for i in range(1, 6)])
    np.testing.assert_array_equal(data.train.reshape(-1, 3072), expected)
    np.testing.assert_array_equal(data.test.reshape(-1, 3072), batches["test_batch"]["data"])
    assert data.train_labels is not None
    assert data.train_labels[:3].tolist() == batches["data_batch_1"]["labels"]


def test_cifar_from_unpacked_folder_and_from_archive(places, monkeypatch) -> None:
    unpacked = places[0] / "cifar10" / "cifar-10-batches-py"
    batches = _make_cifar(unpacked, monkeypatch)
    _check_cifar(batches)
    archive = places[1] / "cifar10" / "cifar-10-python.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(unpacked, "cifar-10-batches-py")
    (unpacked / "test_batch").unlink()  # so that the folder no longer counts
    with pytest.raises(DataError, match=r"checksum differs"):
        catalog.load("cifar10")
    file = dataclasses.replace(fetched.CIFAR10.files[0], md5=hashlib.md5(archive.read_bytes()).hexdigest())
    _publish(monkeypatch, "cifar10", files=(file,))
    _check_cifar(batches)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]  # nothing was unpacked


def test_cifar_batch_with_another_checksum_is_not_opened(places, monkeypatch, tmp_path: Path) -> None:
    folder = places[0] / "cifar-10-batches-py"
    _make_cifar(folder, monkeypatch)
    (folder / "data_batch_2").write_bytes(pickle.dumps(_Runs(Path.touch, tmp_path / "opened")))
    with pytest.raises(DataError, match=r"data_batch_2 is not the published file"):
        catalog.load("cifar10")
    assert not (tmp_path / "opened").exists()


def test_first_4000_of_cifar(places) -> None:
    assert "cifar10_first4000" not in [item.id for item in catalog.available()]
    folder = places[0] / "cifar10" / "cifar-10-batches-py.first4000"
    folder.mkdir(parents=True)
    batch = _batch(1200)
    (folder / "data_batch_1").write_bytes(pickle.dumps(batch, 4))
    assert "cifar10_first4000" in [item.id for item in catalog.available()]
    data = catalog.load("cifar10_first4000")
    np.testing.assert_array_equal(np.concatenate([data.train, data.test]).reshape(-1, 3072), batch["data"])
    assert len(data.test) == 500 and any("do not compare" in note for note in data.notes)
    with pytest.raises(DataError, match=r"cifar10_first4000"):
        catalog.load("cifar10")  # a part never stands in for the whole, but is pointed out


def _make_jpeg_archive(places) -> Path:
    path = places[0] / "cifar10" / "cifar10_jpeg_q75.tar.xz"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:xz") as tar:
        for part in ("train", "test"):
            for label, name in enumerate(("airplane", "automobile", "bird")):
                for number in range(4):
                    buffer = io.BytesIO()
                    Image.new("RGB", (32, 32), (label * 100, 50, 50)).save(buffer, "JPEG", quality=95)
                    member = tarfile.TarInfo(f"{part}/{name}/{number:04}.jpg")
                    member.size = len(buffer.getvalue())
                    tar.addfile(member, io.BytesIO(buffer.getvalue()))
    return path


def test_jpeg_copy_of_cifar_is_labelled_as_such(places) -> None:
    path = _make_jpeg_archive(places)
    data = catalog.load("cifar10_jpeg_q75", seed=3)
    assert "JPEG" in data.title and "quality 75" in data.notes[0]
    assert data.train.shape == (12, 3, 32, 32)
    assert data.train_labels is not None
    np.testing.assert_allclose(data.train[:, 0].mean(axis=(1, 2)), data.train_labels * 100, atol=4)
    assert np.any(np.diff(data.train_labels) < 0)  # no longer sorted by class
    assert catalog.load("cifar10_jpeg_q75", seed=3).digest == data.digest
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"text", content[:200] + b"????" + content[204:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"copy it again|copy the archive again"):
            catalog.load("cifar10_jpeg_q75")


# --- the catalogue ------------------------------------------------------------------------------------------


def test_download_only_when_asked(places, monkeypatch) -> None:
    arrays, checksums = _make_mnist(places[0] / "elsewhere")
    _publish(monkeypatch, "mnist", unpacked_md5=checksums)
    calls = []

    def fake_fetch(name: str, *, progress=None, cancel=None) -> Path:
        calls.append((name, progress, cancel))
        (places[0] / "elsewhere").rename(places[0] / "mnist")
        return places[0] / "mnist"

    monkeypatch.setattr(catalog, "fetch", fake_fetch)
    with pytest.raises(DataError):
        catalog.load("mnist")
    assert calls == []
    progress, cancel = (lambda *report: None), (lambda: False)
    data = catalog.load("mnist", download=True, progress=progress, cancel=cancel)
    assert calls == [("mnist", progress, cancel)]
    np.testing.assert_array_equal(data.train[:, 0], arrays["train-images-idx3-ubyte"])
    assert catalog.load("mnist", download=True).digest == data.digest and len(calls) == 1


def test_fetch_puts_files_into_the_users_folder(places, monkeypatch) -> None:
    wanted = {}

    def fake(files, mirrors, folder, **options) -> list[Path]:
        wanted.update(files=files, mirrors=mirrors, folder=folder, **options)
        return []

    monkeypatch.setattr(fetched, "fetch_files", fake)
    event = object()
    assert catalog.fetch("fashion_mnist", cancel=event) == places[1] / "fashion_mnist"
    assert wanted["folder"] == places[1] / "fashion_mnist" and wanted["cancel"] is event
    assert len(wanted["files"]) == 4 and len(wanted["mirrors"]) >= 2
    with pytest.raises(DataError, match=r"not a data set that can be downloaded.*did you mean mnist"):
        catalog.fetch("mnst")
    assert issubclass(FetchCancelled, DataError)


def test_fetched_files_are_searched_where_they_are_put() -> None:
    for published in fetched.PUBLISHED.values():
        assert published.folder in published.folders
        for file in published.files:
            assert len(file.md5) == 32 and file.size
        packed = {file.name for file in published.files}
        assert {f"{name}.gz" for name in published.unpacked_md5} <= packed


@pytest.mark.parametrize(
    "wrong, near", [("swissroll", "swiss_roll"), ("Fashion MNIST", "fashion_mnist"), ("cifar-10", "cifar10")]
)
def test_unknown_id_names_near_misses(places, wrong: str, near: str) -> None:
    with pytest.raises(DataError, match=f'no data set "{wrong}".*did you mean {near}'):
        catalog.load(wrong)


@pytest.mark.parametrize("wrong", ["", " ", "nothing_like_it"])
def test_unknown_id_lists_what_there_is(places, wrong: str) -> None:
    with pytest.raises(DataError, match=r"choose one of swiss_roll, .*digits"):
        catalog.load(wrong)


def test_options_are_checked_by_name(places) -> None:
    assert catalog.load("swiss_roll", noise=0.5, train_size=30).train.shape == (30, 2)
    with pytest.raises(DataError, match=r'no option "nois".*did you mean noise'):
        catalog.load("swiss_roll", nois=0.5)
    with pytest.raises(DataError, match=r'Digits 8x8 has no option "noise"; it has none'):
        catalog.load("digits", noise=0.5)


def test_every_local_set_loads_as_it_is_listed(places) -> None:
    listed = catalog.available()
    assert len({item.id for item in listed}) == len(listed)
    for item in listed:
        if item.where in ("embedded", "generated"):
            data = catalog.load(item.id, seed=1)
            assert (data.name, data.kind, data.shape) == (item.id, item.kind, item.shape)
            assert data.licence and data.source and data.title


def test_listing_loads_nothing_heavy() -> None:
    code = (
        "import sys; from engines.data import catalog; catalog.available(); "
        "print([m for m in ('sklearn', 'scipy', 'torch', 'PIL', 'requests', 'pooch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# --- the real files, where somebody has them ----------------------------------------------------------------


def _needs(name: str) -> None:
    if not os.environ.get("LAB_DATA") or fetched.find(name) is None:
        pytest.skip(f"LAB_DATA names no folder with {name}")


def test_real_mnist() -> None:
    _needs("mnist")
    data = catalog.load("mnist")
    assert (data.train.shape, data.test.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert data.train_labels is not None
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_real_first_4000_of_cifar() -> None:
    _needs("cifar10_first4000")
    data = catalog.load("cifar10_first4000")
    assert data.train.shape == (3500, 3, 32, 32)
    assert data.train_labels is not None
    assert data.train_labels[:5].tolist() == [6, 9, 9, 4, 1]
