"""Picture files: every format gives the same pixels, and what is none is refused in one sentence."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.errors import InputError
from widgets.picture_file import read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_a_picture_has_its_pixels_rows_of_any_length(qapp, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path)
    assert np.array_equal(read_picture(path), PIXELS)


def test_grey_becomes_three_channels_and_what_is_transparent_white(qapp, tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    assert np.array_equal(read_picture(tmp_path / "grey.png"), np.repeat(PIXELS[..., :1], 3, 2))
    clear = np.dstack([PIXELS, np.zeros((5, 7), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png") == 255).all()


def test_a_wrong_ending_does_not_matter(qapp, tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    path = (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read_picture(path), PIXELS)


def bomb() -> bytes:
    """A PNG that declares 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"no picture at all", "no picture"), (b"", "no picture"), (bomb(), "60000 x 60000")],
    ids=["text", "empty", "bomb"],
)
def test_what_is_no_picture_is_refused_in_one_sentence(
    qapp, tmp_path: Path, content: bytes, why: str
) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=why) as caught:
        read_picture(path)
    assert "\n" not in str(caught.value) and "bad.png" in str(caught.value)


def test_a_folder_is_no_picture(qapp, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose a picture"):
        read_picture(tmp_path)
