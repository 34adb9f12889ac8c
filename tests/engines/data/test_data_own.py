"""Arrays, image folders and drawn points of the user: what is read, and what is refused in one sentence."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engines.data import arrays, catalog, image_folder, own
from engines.errors import DataError, SettingError

PROPERTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

points = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)


class Bomb:
    """Its pickle would make a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _is_one_sentence(error: DataError) -> None:
    text = str(error)
    assert text.endswith(".") and "\n" not in text and ";" in text and len(text) < 900, text


def _rows(data) -> np.ndarray:
    rows = np.concatenate([data.train, data.test])
    return rows[np.lexsort(rows.reshape(len(rows), -1).T)]


# --- NPZ ----------------------------------------------------------------------------------------------------


def test_the_only_array_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", whatever=points)
    data = own.load(tmp_path / "a.npz")
    assert data.kind == "points" and data.columns == ("whatever 1", "whatever 2")
    np.testing.assert_array_equal(_rows(data), points[np.lexsort(points.T)])
    np.save(tmp_path / "a.npy", points)
    np.testing.assert_array_equal(_rows(own.load(tmp_path / "a.npy")), _rows(data))


def test_train_test_and_labels_keep_their_order(tmp_path: Path) -> None:
    labels = np.arange(40) % 3 * 5
    np.savez_compressed(
        tmp_path / "b.npz", x_train=points, y_train=labels, x_test=points[:7] + 1, y_test=labels[:7]
    )
    data = own.load(tmp_path / "b.npz")
    np.testing.assert_array_equal(data.train, points)
    np.testing.assert_array_equal(data.test, points[:7] + 1)
    assert data.class_names == ("0", "5", "10")
    np.testing.assert_array_equal(data.train_labels, np.arange(40) % 3)
    np.testing.assert_array_equal(data.test_labels, np.arange(7) % 3)


def test_labels_follow_their_points_through_the_split(tmp_path: Path) -> None:
    sign = (points[:, 0] > 0).astype(int)
    np.savez(tmp_path / "c.npz", x=points, y=sign)
    data = own.load(tmp_path / "c.npz", test_fraction=0.3)
    for part, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        np.testing.assert_array_equal(part[:, 0] > 0, labels)


@pytest.mark.parametrize(
    "values, shape, levels",
    [
        (np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4), (1, 4, 4), 256),
        (np.arange(3 * 48, dtype=np.uint8).reshape(3, 4, 4, 3), (3, 4, 4), 256),
        (np.arange(3 * 48, dtype=np.int64).reshape(3, 3, 4, 4), (3, 4, 4), 256),
        (np.linspace(0, 1, 48).reshape(3, 1, 4, 4), (1, 4, 4), 256),
        (np.arange(48.0).reshape(3, 4, 4), (1, 4, 4), 256),
        (np.eye(4, dtype=bool)[None].repeat(3, 0), (1, 4, 4), 2),
    ],
)
def test_images_in_usual_forms(tmp_path: Path, values: np.ndarray, shape: tuple, levels: int) -> None:
    np.savez(tmp_path / "i.npz", images=values)
    data = own.load(tmp_path / "i.npz")
    assert (data.kind, data.shape, data.levels, data.train.dtype) == ("images", shape, levels, np.uint8)
    expected = values.transpose(0, 3, 1, 2) if values.shape[-1] == 3 else values
    expected = np.rint(
        np.asarray(expected, dtype=float) * (255 if levels == 256 and expected.max() <= 1 else 1)
    )
    np.testing.assert_array_equal(_rows(data).ravel(), expected.ravel())


def test_binary_rows_may_have_constant_columns_and_become_images(tmp_path: Path) -> None:
    rows = np.zeros((20, 16), dtype=np.uint8)
    rows[::2, 5] = 1
    np.savez(tmp_path / "bits.npz", train_data=rows, test_data=rows[:5])
    data = own.load(tmp_path / "bits.npz")
    assert data.kind == "points" and data.levels == 2
    images = own.load(tmp_path / "bits.npz", image_shape=(1, 4, 4))
    assert images.shape == (1, 4, 4) and images.levels == 2
    for wrong in ((4, 4), (1, 5, 5), (2, 2, 4), (0, 4, 4)):
        with pytest.raises(DataError):
            own.load(tmp_path / "bits.npz", image_shape=wrong)


def test_object_arrays_are_refused_and_do_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "opened"
    np.savez(tmp_path / "evil.npz", x=np.array([Bomb(trap)], dtype=object))
    np.save(tmp_path / "evil.npy", np.array([Bomb(trap)], dtype=object))
    for name in ("evil.npz", "evil.npy"):
        with pytest.raises(DataError, match=r"Python objects") as caught:
            own.load(tmp_path / name)
        _is_one_sentence(caught.value)
    assert not trap.exists()
    # the trap works, or the test would show nothing
    with np.load(tmp_path / "evil.npz", allow_pickle=True) as loaded:
        loaded["x"]
    assert trap.exists()


def test_object_labels_beside_good_points_are_left_alone(tmp_path: Path) -> None:
    trap = tmp_path / "opened"
    np.savez(tmp_path / "mixed.npz", x=points, y=np.array([Bomb(trap)] * 40, dtype=object))
    data = own.load(tmp_path / "mixed.npz")
    assert data.train_labels is None and any("Python objects" in note for note in data.notes)
    with pytest.raises(DataError, match=r"Python objects"):
        own.load(tmp_path / "mixed.npz", label_key="y")
    assert not trap.exists()


def test_plain_pickle_is_not_opened(tmp_path: Path) -> None:
    trap = tmp_path / "opened"
    for name in ("data.npz", "data.npy", "data.pkl", "data.csv"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(trap)))
        with pytest.raises(DataError) as caught:
            own.load(tmp_path / name)
        _is_one_sentence(caught.value)
    assert not trap.exists()


def test_several_arrays_are_listed(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", first=points, second=points[:, :1])
    with pytest.raises(DataError, match=r"first \(40, 2\) float32; second \(40, 1\) float32"):
        own.load(tmp_path / "d.npz")
    assert own.load(tmp_path / "d.npz", key="first").shape == (2,)
    with pytest.raises(DataError, match=r"did you mean first"):
        own.load(tmp_path / "d.npz", key="frist")


def _npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


BAD_ARRAYS = {
    "no zip": (b"hello, this is text", "damaged or not what its name says"),
    "empty": (b"", "damaged or not"),
    "cut zip": (
        _zip({"x.npy": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", bytes(16))})[:60],
        "damaged",
    ),
    "no arrays": (_zip({"readme.txt": b"hello"}), "holds no arrays"),
    "promises more": (
        _zip({"x.npy": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2), }")}),
        "shorter",
    ),
    "negative": (
        _zip({"x.npy": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2), }", bytes(64))}),
        "shorter",
    ),
    "code in header": (_zip({"x.npy": _npy("__import__('os').getcwd()", bytes(64))}), "damaged"),
    "words": (
        _zip({"x.npy": _npy("{'descr': '<U2', 'fortran_order': False, 'shape': (3, 1), }", bytes(24))}),
        "save it as numbers",
    ),
    "npy cut short": (
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2), }", bytes(20)),
        "damaged|shorter",
    ),
}


@pytest.mark.parametrize("content, message", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_array_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        own.load(path)
    _is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"x": np.array([[1, 2], [np.nan, 3], [4, 5]])}, "row 2, column 1"),
        ({"x": points[:1]}, "too few examples"),
        ({"x": points[:0]}, "too few examples"),
        ({"x": np.full((5, 2), 2.5)}, "same value"),
        ({"x": points, "test": points[:, :1]}, "different shapes"),
        ({"x": points, "test": points[:0]}, "is empty"),
        ({"x": np.full((3, 4, 4), -1)}, "0 to 255"),
        ({"x": np.full((3, 4, 4), 0.5) * [[[1, 2, 3, 4]]]}, "0 to 255"),
        ({"x": np.full((3, 4, 4), np.inf)}, "NaN or infinite"),
        ({"x": np.zeros((3, 2, 4, 4))}, "channels"),
        ({"x": np.zeros((3, 2, 4, 4, 5))}, "5 axes"),
        ({"x": np.zeros((3, 2), dtype=complex)}, "save it as numbers"),
        ({"x": np.array(3.0)}, "too few examples"),
        ({"x": np.array([[1e300, 1], [2, 3], [4, 5]])}, "too large"),
    ],
)
def test_unusable_arrays(tmp_path: Path, content: dict, message: str) -> None:
    np.savez(tmp_path / "e.npz", **content)
    with pytest.raises(DataError, match=message) as caught:
        own.load(tmp_path / "e.npz")
    _is_one_sentence(caught.value)


@given(st.data())
@PROPERTY
def test_flipped_bytes_in_npz_never_raise_anything_else(tmp_path: Path, data) -> None:
    whole = bytearray(
        _zip(
            {
                "x.npy": _npy(
                    "{'descr': '<f4', 'fortran_order': False, 'shape': (20, 2), }", points[:20].tobytes()
                )
            }
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "flipped.npz"
    path.write_bytes(whole)
    for function in (own.load_npz, own.load):
        try:
            function(path)
        except DataError as error:
            assert str(error).endswith(".")


def test_arrays_beyond_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "LARGEST_ARRAYS", 100)
    np.savez(tmp_path / "large.npz", x=points)
    with pytest.raises(DataError, match=r"at most 100 bytes"):
        own.load(tmp_path / "large.npz")


# --- image folders ------------------------------------------------------------------------------------------


def _picture(path: Path, colour, size=(6, 4), mode="RGB", **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def test_folder_of_colours_keeps_pixels(tmp_path: Path) -> None:
    for number in range(10):
        _picture(tmp_path / f"{number}.png", (number * 20, 0, 255 - number))
    data = own.load(tmp_path)
    assert data.kind == "images" and data.shape == (3, 4, 6) and data.levels == 256
    assert sorted(np.concatenate([data.train, data.test])[:, 0, 0, 0]) == [
        number * 20 for number in range(10)
    ]
    assert data.train_labels is None and not data.notes


def test_formats_modes_and_sizes(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png", 100, mode="L", size=(10, 10))
    _picture(tmp_path / "b.jpg", 100, mode="L", size=(20, 10), quality=95)
    _picture(tmp_path / "c.BMP", (100, 100, 100), size=(5, 7))
    _picture(tmp_path / "d.webp", (100, 100, 100), lossless=True)
    _picture(tmp_path / "e.png", (0, 0, 0, 0), mode="RGBA")  # see-through: white
    _picture(tmp_path / "f.png", 100 * 256, mode="I;16")
    with pytest.raises(DataError, match=r"different sizes.*set size"):
        own.load(tmp_path)
    data = own.load(tmp_path, size=(8, 9), grey=True)
    assert data.shape == (1, 8, 9)
    levels = sorted(int(image.mean()) for image in np.concatenate([data.train, data.test]))
    assert levels[-1] == 255 and all(abs(level - 100) <= 2 for level in levels[:-1])
    assert any("scaled to 9 x 8" in note for note in data.notes)


def test_corrupt_pictures_are_named_and_left_out(tmp_path: Path) -> None:
    for number in range(5):
        _picture(tmp_path / f"good{number}.png", (number, 0, 0), size=(40, 40))
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.webp").write_text("hello")
    (tmp_path / "readme.txt").write_text("not a picture, and not said to be one")
    data = own.load(tmp_path)
    assert len(data.train) + len(data.test) == 6
    (note,) = data.notes
    assert note.startswith("3 of 9 pictures") and all(
        name in note for name in ("cut.png", "empty.jpg", "text.webp")
    )
    assert "readme" not in note


def _png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_decompression_bombs_are_refused(tmp_path: Path, side: int) -> None:
    for number in range(3):
        _picture(tmp_path / f"{number}.png", (number, 0, 0))
    (tmp_path / "bomb.png").write_bytes(_png_that_declares(side, side))
    data = own.load(tmp_path, size=8)
    assert len(data.train) + len(data.test) == 3
    assert "bomb.png" in data.notes[0] and "pixels" in data.notes[0]


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for name, level in (("cats", 10), ("dogs", 200)):
        for number in range(6):
            _picture(tmp_path / name / "deep" / f"{number}.png", level, mode="L")
    _picture(tmp_path / ".hidden" / "x.png", 5, mode="L")
    data = own.load(tmp_path)
    assert data.class_names == ("cats", "dogs") and data.shape == (1, 4, 6)
    for images, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        np.testing.assert_array_equal(images[:, 0, 0, 0] > 100, labels)


def test_turned_photographs_are_turned_back(tmp_path: Path) -> None:
    for number in range(3):
        exif = Image.Exif()
        exif[0x0112] = 6
        _picture(tmp_path / f"{number}.jpg", (number * 50, 0, 0), size=(6, 4), exif=exif)
    assert own.load(tmp_path).shape == (3, 6, 4)


def test_folders_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"holds no pictures"):
        own.load(tmp_path)
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no readable pictures \(bad\.png"):
        own.load(tmp_path)
    _picture(tmp_path / "one.png", 3)
    with pytest.raises(DataError, match=r"1 readable picture "):
        own.load(tmp_path)
    _picture(tmp_path / "two.png", 9)
    for options in (
        {"size": 0},
        {"size": (1, 2, 3)},
        {"size": "big"},
        {"max_images": 1},
        {"test_fraction": 2},
    ):
        with pytest.raises(DataError, match=next(iter(options))):
            own.load(tmp_path, **options)
    with pytest.raises(DataError, match=r"where a folder"):
        own.load_images(tmp_path / "one.png")
    with pytest.raises(DataError, match=r"open the folder"):
        own.load(tmp_path / "one.png")
    monkeypatch.setattr(image_folder, "_LARGEST_TREE", 2)
    with pytest.raises(DataError, match=r"more than 2 files"):
        own.load(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(image_folder, "LARGEST_ARRAYS", 10)
    with pytest.raises(DataError, match=r"would take"):
        own.load(tmp_path)


@given(st.data())
@PROPERTY
def test_flipped_bytes_in_pictures_never_raise_anything_else(tmp_path: Path, data) -> None:
    folder = tmp_path / "pictures"
    for number in range(2):
        _picture(folder / f"{number}.png", (number, 2, 3))
    suffix = data.draw(st.sampled_from([".png", ".jpg", ".bmp", ".webp"]))
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), "red").save(buffer, {".jpg": "JPEG"}.get(suffix, suffix[1:].upper()))
    whole = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (folder / "flipped").with_suffix(suffix).write_bytes(whole)
    assert len(own.load(folder, size=8).train) >= 1
    for path in folder.glob("flipped*"):
        path.unlink()


# --- drawn points -------------------------------------------------------------------------------------------


def test_drawn_points_are_the_data_without_jitter() -> None:
    data = own.drawn(points, seed=3)
    np.testing.assert_array_equal(_rows(data), points[np.lexsort(points.T)])
    assert data.log_density is None and data.sampler is None


def test_drawn_points_with_jitter_have_an_exact_density() -> None:
    few = points[:5]
    data = own.drawn(few, jitter=0.2, train_size=4000)
    assert len(data.train) == 4000 and data.log_density is not None
    nearest = np.linalg.norm(data.train[:, None] - few[None], axis=-1).min(axis=1)
    assert nearest.max() < 0.2 * 6 and nearest.mean() > 0.1
    squares = np.square(few[:, None] - few[None]).sum(axis=-1)
    by_hand = np.log(np.exp(-squares / 0.08).mean(axis=1) / (2 * np.pi * 0.04))
    np.testing.assert_allclose(data.log_density(few), by_hand, rtol=1e-5)
    assert data.digest == own.drawn(few, jitter=0.2, train_size=4000).digest
    assert own.drawn(few[:1], jitter=0.2).train.std() > 0.1  # one point is enough


@pytest.mark.parametrize(
    "values, options, message",
    [
        ([], {}, "draw some"),
        ([[1, 2]], {}, "1 drawn point cannot"),
        ([[1, 2], [1, 3], [1, 5]], {}, "the same x"),
        ([[1, np.nan], [2, 3]], {}, "not finite"),
        ([1, 2, 3], {}, r"\(N, 2\)"),
        ([["a", "b"]], {}, "not pairs of numbers"),
        (points, {"jitter": -1}, "jitter"),
        (points, {"train_size": 10}, "set jitter"),
    ],
)
def test_drawings_that_cannot_be_used(values, options, message: str) -> None:
    with pytest.raises(DataError, match=message):
        own.drawn(values, **options)


# --- the one door -------------------------------------------------------------------------------------------


def test_catalogue_opens_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "digits").write_text("1,2\n3,4\n5,6\n7,8\n")
    monkeypatch.chdir(tmp_path)
    assert catalog.load("digits").kind == "images"  # the id wins over the file
    assert catalog.load("./digits").kind == "points"
    assert catalog.load(Path("digits"), test_fraction=0.34).kind == "points"


def test_pictures_of_ones_own_come_from_a_folder_at_a_size_or_from_a_file_as_they_are(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (6, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "some.npz", images=pictures)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    assert own.load_pictures(str(tmp_path / "some.npz"), seed=0, size=8).train.shape[-2:] == (12, 12)
    assert own.load_pictures(str(folder), seed=0, size=8).train.shape[-2:] == (8, 8)
    with pytest.raises(SettingError, match="choose a folder of images or an NPZ file") as error:
        own.load_pictures("", seed=0, size=8)
    assert error.value.field == "path"
