"""Folders of pictures with captions: what is read, split and passed over, and what is refused in one sentence."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engines.data import captions, image_folder
from engines.data.captions import CaptionSet, caption_folder, words
from engines.errors import DataError

COUNT = 12


def _colour(index: int) -> tuple[int, int, int]:
    return 20 * index, 255 - 20 * index, 7 * index


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve plain pictures p00.png ... p11.png in Images, two captions each, no lists."""
    top = tmp_path / "mine"
    (top / "Images").mkdir(parents=True)
    for index in range(COUNT):
        Image.new("RGB", (30, 20), _colour(index)).save(top / "Images" / f"p{index:02}.png")
    _write(top, [f"p{i:02}.png,{text}" for i in range(COUNT) for text in (f"A dog number {i}.", "Two cats")])
    return top


def _write(
    folder: Path, lines: list[str], header: str | None = "image,caption", name: str = "captions.txt"
) -> None:
    (folder / name).write_text("\n".join([*([header] if header else []), *lines]) + "\n", encoding="utf-8")


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and ";" in text and len(text) < 700, text
    return text


def _note(data: CaptionSet, part: str) -> str:
    found = [note for note in data.notes if part in note]
    assert len(found) == 1, data.notes
    return found[0]


# --- what is read -------------------------------------------------------------------------------------------


def test_columns_with_a_header_are_read(folder: Path) -> None:
    data = caption_folder(folder, size=16)
    assert len(data) == COUNT and data.images.shape == (COUNT, 16, 16, 3) and data.size == (16, 16)
    assert data.captions[3] == (("a", "dog", "number", "3"), ("two", "cats"))
    assert data.masks is None and data.notes == () and data.name == "mine"
    for index in range(COUNT):
        picture = data.image(index)
        assert picture.dtype == np.uint8 and picture.shape == (16, 16, 3)
        np.testing.assert_array_equal(picture.reshape(-1, 3), np.tile(_colour(index), (256, 1)))


def test_numbered_lines_with_a_tab_give_the_same(folder: Path) -> None:
    expected = caption_folder(folder)
    (folder / "captions.txt").unlink()
    lines = [
        f"p{i:02}.png#{n}\t{t}"
        for i in range(COUNT)
        for n, t in enumerate((f"A dog, number {i} .", "Two cats"))
    ]
    _write(folder, lines, None, "Flickr8k.token.txt")
    data = caption_folder(folder)
    assert data.captions == expected.captions and data.digest == expected.digest


@pytest.mark.parametrize(
    "header, line",
    [
        ("image_name| comment_number| comment", "{}| 0| A dog"),
        ("caption\timage", "A dog\t{}"),
        ("id;file_name;caption", "7;{};A dog"),
        ("Image,Caption", '{},"A dog"'),
        ("image,caption", "{},A, dog"),
        ("\ufeffimage,caption", "{},A dog"),
    ],
)
def test_other_tables_of_captions_are_read(folder: Path, header: str, line: str) -> None:
    _write(folder, [line.format(f"p{i:02}.png") for i in range(COUNT)], header)
    assert caption_folder(folder).captions == ((("a", "dog"),),) * COUNT


def test_a_quotation_mark_that_is_not_closed_swallows_no_other_line(folder: Path) -> None:
    _write(folder, ['p00.png,"A dog', "p01.png,a cat", 'p02.png,"""a"" bird"'])
    assert caption_folder(folder).captions == ((("a", "dog"),), (("a", "cat"),), (("a", "bird"),))


def test_the_captions_file_may_be_named_itself_or_have_another_name(folder: Path) -> None:
    expected = caption_folder(folder).captions
    (folder / "captions.txt").rename(folder / "results.csv")
    (folder / "readme.txt").write_text("About this folder\n")
    assert caption_folder(folder).captions == expected
    assert caption_folder(folder / "results.csv").captions == expected


def test_pictures_may_lie_beside_the_captions_or_deep_below(folder: Path) -> None:
    expected = caption_folder(folder).captions
    (folder / "Flicker8k_Dataset").mkdir()
    (folder / "Images").rename(folder / "Flicker8k_Dataset" / "Flicker8k_Dataset")
    assert caption_folder(folder).captions == expected
    for item in (folder / "Flicker8k_Dataset" / "Flicker8k_Dataset").iterdir():
        item.rename(folder / item.name)
    assert caption_folder(folder).captions == expected


def test_captions_and_lists_may_lie_in_a_folder_of_texts(folder: Path) -> None:
    expected = caption_folder(folder).captions
    (folder / "Flickr8k_text").mkdir()
    (folder / "captions.txt").rename(folder / "Flickr8k_text" / "captions.txt")
    _write(folder / "Flickr8k_text", ["p04.png"], None, "Flickr_8k.devImages.txt")
    data = caption_folder(folder)
    assert data.captions == expected and data.splits["valid"].tolist() == [4]


def test_a_name_with_its_folder_means_that_picture(folder: Path) -> None:
    (folder / "Other").mkdir()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(folder / "Other" / "p00.png")
    _write(folder, ["Other/p00.png,a dog", "Images/p00.png,a cat", "p00.png,a bird", "p01.png,a cow"])
    data = caption_folder(folder, size=8)
    assert data.image(0)[0, 0].tolist() == [1, 2, 3] and data.image(1)[0, 0].tolist() == list(_colour(0))
    assert data.captions[:2] == ((("a", "dog"),), (("a", "cat"), ("a", "bird")))


def test_pictures_are_squashed_not_cut(folder: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :30] = 255
    Image.fromarray(pixels).save(folder / "Images" / "p00.png")
    picture = caption_folder(folder, size=20).image(0)
    assert (picture[:, :9] > 250).all() and (picture[:, 11:] < 5).all()


def test_pictures_are_decoded_only_when_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(image_folder, "decode", refuse)
    data = caption_folder(folder)
    with pytest.raises(AssertionError, match="decoded"):
        data.image(0)


def test_a_picture_that_vanishes_afterwards_is_named(folder: Path) -> None:
    data = caption_folder(folder)
    (folder / "Images" / "p05.png").unlink()
    assert "p05.png" in _refused(lambda: data.image(5))
    data.image(6)


def test_a_folder_can_be_sent_to_another_process(folder: Path) -> None:
    data = caption_folder(folder)
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy.image(4), data.image(4))
    assert copy.digest == data.digest


# --- splits -------------------------------------------------------------------------------------------------


def test_without_lists_the_seed_splits(folder: Path) -> None:
    first, again, other = (caption_folder(folder, seed=seed) for seed in (0, 0, 1))
    for data in (first, again, other):
        joined = np.sort(np.concatenate([data.splits["train"], data.splits["valid"]]))
        np.testing.assert_array_equal(joined, np.arange(COUNT))
        assert len(data.splits["valid"]) == 1
    np.testing.assert_array_equal(first.splits["valid"], again.splits["valid"])
    seeds = {int(caption_folder(folder, seed=seed).splits["valid"][0]) for seed in range(8)}
    assert len(seeds) > 1


@pytest.mark.parametrize(
    "train, valid, test",
    [
        ("Flickr_8k.trainImages.txt", "Flickr_8k.devImages.txt", "Flickr_8k.testImages.txt"),
        ("train.txt", "valid.txt", "test.txt"),
        ("flickr30k_train.txt", "flickr30k_val.txt", "flickr30k_test.txt"),
    ],
)
def test_lists_give_the_splits(folder: Path, train: str, valid: str, test: str) -> None:
    _write(folder, ["p03.png", "p00.png", "p07.png"], None, train)
    _write(folder, ["p01.png"], None, valid)
    _write(folder, ["p02.png", "p09.png"], None, test)
    data = caption_folder(folder)
    assert {name: part.tolist() for name, part in data.splits.items()} == {
        "train": [0, 3, 7],
        "valid": [1],
        "test": [2, 9],
    }
    assert "6 pictures" in _note(data, "in no list")
    assert set(data.vocabulary(99)) == {"a", "dog", "number", "two", "cats", "0", "3", "7"}


def test_one_list_leaves_the_rest_to_the_other_split(folder: Path) -> None:
    _write(folder, ["p01.png", "p02.png"], None, "dev.txt")
    data = caption_folder(folder)
    assert data.splits["valid"].tolist() == [1, 2] and len(data.splits["train"]) == COUNT - 2
    (folder / "dev.txt").rename(folder / "train.txt")
    data = caption_folder(folder)
    assert data.splits["train"].tolist() == [1, 2] and len(data.splits["valid"]) == COUNT - 2


def test_a_picture_in_two_lists_is_not_trained_on(folder: Path) -> None:
    _write(folder, ["p00.png", "p01.png", "p02.png"], None, "train.txt")
    _write(folder, ["p02.png", "gone.png"], None, "valid.txt")
    data = caption_folder(folder)
    assert data.splits["train"].tolist() == [0, 1] and data.splits["valid"].tolist() == [2]
    assert "1 pictures" in _note(data, "not trained on") and "valid.txt" in _note(data, "1 of 2 names")


def test_lists_that_leave_nothing_to_train_on_are_refused(folder: Path) -> None:
    _write(folder, ["other.png"], None, "train.txt")
    assert "training pictures" in _refused(lambda: caption_folder(folder))
    _write(folder, ["p00.png"], None, "train.txt")
    _write(folder, ["p00.png"], None, "valid.txt")
    assert "no picture for the split train" in _refused(lambda: caption_folder(folder))


# --- what is passed over ------------------------------------------------------------------------------------


def test_missing_pictures_are_counted_and_the_first_are_named(folder: Path) -> None:
    for index in range(7):
        (folder / "Images" / f"p{index:02}.png").unlink()
    data = caption_folder(folder)
    assert len(data) == 5 and data.captions[0][0] == ("a", "dog", "number", "7")
    note = _note(data, "not in the folder")
    assert note.startswith("7 of 12") and "p00.png" in note and "and 2 more" in note and "p06.png" not in note


def _truncated_jpeg(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    Image.fromarray(noise).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2500])


def _bomb(path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(999)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "spoil",
    [
        _truncated_jpeg,
        _bomb,
        lambda path: path.write_text("I am no picture"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_files_that_are_no_pictures_are_named(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder / "Images" / "p04.png")
    data = caption_folder(folder)
    assert len(data) == COUNT - 1 and ("a", "dog", "number", "4") not in [c[0] for c in data.captions]
    assert "p04.png" in "".join(data.notes)
    for index in range(len(data)):
        data.image(index)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_place_of_a_picture_does_not_hang(folder: Path) -> None:
    (folder / "Images" / "p04.png").unlink()
    os.mkfifo(folder / "Images" / "p04.png")
    assert "p04.png" in _note(caption_folder(folder), "could not be read")


def test_pictures_of_other_kinds_and_with_bytes_behind_their_end_are_kept(folder: Path) -> None:
    pictures = folder / "Images"
    Image.new("L", (30, 20), 77).save(pictures / "p00.png", "JPEG")
    (pictures / "p00.png").write_bytes((pictures / "p00.png").read_bytes() + bytes(300))
    Image.new("RGBA", (30, 20), (9, 9, 9, 0)).save(pictures / "p01.png", "PNG")
    Image.new("RGB", (30, 20), (200, 0, 0)).save(pictures / "p02.png", "WEBP", lossless=True)
    Image.new("RGB", (30, 20), (0, 200, 0)).save(pictures / "p03.png", "BMP")
    data = caption_folder(folder, size=8)
    assert data.notes == ()
    colours = [data.image(i)[0, 0].tolist() for i in range(4)]
    assert colours == [[77] * 3, [255] * 3, [200, 0, 0], [0, 200, 0]]


def test_lines_that_cannot_be_used_are_counted(folder: Path) -> None:
    lines = [
        "p00.png,a dog",
        "p01.png,a cat",
        "p02.png",
        ",a bird",
        "p03.png,  ",
        "p04.png,!?",
        "p05.png," + "x " * 101,
    ]
    _write(folder, [*lines, ""])
    data = caption_folder(folder)
    assert data.captions == ((("a", "dog"),), (("a", "cat"),))
    assert _note(data, "not a name and a caption").startswith("2 lines")
    assert _note(data, "a caption without words").startswith("2 lines")
    assert _note(data, "more than 100 words").startswith("1 line ")
    assert _note(data, "have no caption").startswith("10 pictures")


def test_names_never_lead_out_of_the_folder(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder.parent / "secret.png")
    outside = ["../secret.png,a dog", f"{folder.parent / 'secret.png'},a cat"]
    _write(folder, ["p00.png,a dog", "p01.png,a cat", *outside])
    data = caption_folder(folder)
    assert len(data) == 2 and _note(data, "not in the folder").startswith("2 of 4")


# --- what is refused ----------------------------------------------------------------------------------------


def test_folders_that_cannot_be_used_get_one_sentence(folder: Path, tmp_path: Path) -> None:
    assert "no file or folder" in _refused(lambda: caption_folder(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "no captions file" in _refused(lambda: caption_folder(tmp_path / "empty"))
    (tmp_path / "flickr8k.zip").write_bytes(b"PK")
    assert "unpack" in _refused(lambda: caption_folder(tmp_path / "flickr8k.zip"))
    shutil.rmtree(folder / "Images")
    text = _refused(lambda: caption_folder(folder))
    assert "no usable picture" in text and "p00.png" in text
    (folder / "Images").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "Images" / "p03.png")
    assert "one usable picture" in _refused(lambda: caption_folder(folder))


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"p00.png A dog\n", "no captions file"),
        (b"image,caption\n", "no caption with words"),
        (b"image,caption\np00.png,...\n", "no caption with words"),
        (b"image,caption\np00.png,caf\xe9\n", "line 2: the byte 0xe9"),
        ("image,caption\np00.png,a dog\n".encode("utf-16"), "UTF-16"),
        (b"image,caption\np00.png,a\0dog\n", "line 2 holds a null byte"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not UTF-8"),
    ],
)
def test_captions_files_that_cannot_be_read_get_one_sentence(folder: Path, content: bytes, said: str) -> None:
    (folder / "captions.txt").write_bytes(content)
    text = _refused(lambda: caption_folder(folder))
    assert said in text and "captions.txt" in text


line = st.one_of(
    st.text(max_size=20),
    st.builds("{},{}".format, st.sampled_from(["p00.png", "p01.png", "x"]), st.text(max_size=20)),
    st.builds("p02.png#{}\t{}".format, st.integers(0, 4), st.text(max_size=20)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.sampled_from(["image,caption", "p01.png#0\ta dog", "caption;image", "x"]), st.lists(line, max_size=6)
)
def test_whatever_a_captions_file_holds_is_read_or_refused_in_one_sentence(
    folder: Path, header: str, lines: list[str]
) -> None:
    (folder / "captions.txt").write_bytes("\n".join([header, *lines]).encode("utf-8", "surrogatepass"))
    try:
        data = caption_folder(folder)
    except DataError as error:
        text = str(error)
        assert text.endswith(".") and "\n" not in text and ";" in text
    else:
        assert len(data) > 1 and all("\n" not in note for note in data.notes)


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"size": 5000}, {"size": "big"}, {"seed": -1}, {"seed": 0.5}]
)
def test_impossible_options_are_refused(folder: Path, options: dict[str, object]) -> None:
    assert next(iter(options)) in _refused(lambda: caption_folder(folder, **options))  # type: ignore[arg-type]


# --- digests ------------------------------------------------------------------------------------------------


def test_digests_follow_what_they_are_of(folder: Path, tmp_path: Path) -> None:
    first = caption_folder(folder)
    moved = shutil.copytree(folder, tmp_path / "copy")
    assert caption_folder(moved).digest == first.digest
    assert caption_folder(folder, size=64).images_digest != first.images_digest
    _write(folder, [f"p{i:02}.png,another" for i in range(COUNT)])
    other = caption_folder(folder)
    assert other.images_digest == first.images_digest and other.digest != first.digest
    Image.new("RGB", (30, 20), (1, 1, 1)).save(folder / "Images" / "p00.png")
    assert caption_folder(folder).images_digest != first.images_digest


def test_only_beginning_and_end_of_a_large_file_are_read_but_its_length_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = caption_folder(folder).images_digest
    monkeypatch.setattr(captions, "_PART", 40)
    parts = caption_folder(folder).images_digest
    path = folder / "Images" / "p00.png"
    content = path.read_bytes()
    path.write_bytes(content[:45] + b"tEXt" + content[45:])
    assert len({before, parts, caption_folder(folder).images_digest}) == 3


# --- words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A dog 's ball , and a T-shirt .", ["a", "dog", "s", "ball", "and", "a", "t", "shirt"]),
        ("The dog's BALL isn’t red!", ["the", "dogs", "ball", "isnt", "red"]),
        ("two  (2) cats; #7_x", ["two", "2", "cats", "7", "x"]),
        ("Über Cafe\u0301", ["über", "café"]),
        ("एक कुत्ता दौड़ता है।", ["एक", "कुत्ता", "दौड़ता", "है"]),
        ("... --- !", []),
    ],
)
def test_captions_are_cut_into_words(text: str, expected: list[str]) -> None:
    import unicodedata

    assert words(text) == tuple(unicodedata.normalize("NFC", word) for word in expected)


@given(st.text())
def test_words_are_lower_case_without_gaps_and_cutting_them_again_changes_nothing(text: str) -> None:
    found = words(text)
    assert all(word and not any(c.isspace() or c in ".,;:!?'\"-()" for c in word) for word in found)
    assert words(" ".join(found)) == found


# --- the set itself -----------------------------------------------------------------------------------------


def test_a_set_that_does_not_fit_together_is_refused() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    said = ((("a",),), (("b",),))
    splits = {"train": np.array([0]), "valid": np.array([1])}
    assert CaptionSet("x", "X", images, said, splits).vocabulary(5) == ("a",)
    for changed in (
        {"images": images.astype(np.float32)},
        {"images": images[..., :1]},
        {"captions": said[:1]},
        {"captions": (said[0], ())},
        {"captions": (said[0], ((),))},
        {"splits": {"train": np.array([2])}},
    ):
        with pytest.raises(ValueError):
            CaptionSet(
                **{"name": "x", "title": "X", "images": images, "captions": said, "splits": splits, **changed}
            )


def test_the_real_flickr8k_folder_is_read() -> None:
    place = Path(os.environ.get("LAB_DATA", "nowhere"), "flickr8k")
    if not (place / "captions.txt").is_file():
        pytest.skip("Flickr8k is not here")
    data = caption_folder(place)
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 1400, "valid": 300}
    assert data.notes == () and all(len(c) == 5 for c in data.captions)
    assert data.vocabulary(3)[0] == "a" and data.image(0).shape == (224, 224, 3)
