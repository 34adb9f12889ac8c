"""Pictures as others see them: the published values, and what every such model must keep."""

from __future__ import annotations

import numpy as np
import pytest

from lab.export.errors import ExportError
from lab.export.vision import MATRICES, Vision, seen

DEFICIENT: tuple[Vision, ...] = ("protanopia", "deuteranopia", "tritanopia")


def see(color: tuple[int, int, int], vision: Vision) -> tuple[int, ...]:
    return tuple(int(v) for v in seen(np.array(color, np.uint8).reshape(1, 1, 3), vision)[0, 0])


@pytest.mark.parametrize("vision", [*DEFICIENT, "grey"])
def test_white_keeps_its_light_in_every_channel(vision: Vision) -> None:
    assert np.allclose(np.sum(MATRICES[vision], axis=1), 1.0, atol=2e-6)


@pytest.mark.parametrize("vision", ["normal", *DEFICIENT, "grey"])
def test_grey_stays_grey(vision: Vision) -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    found = seen(greys, vision)
    assert found.dtype == np.uint8 and found.shape == greys.shape
    assert np.abs(found.astype(int) - greys).max() <= 1


# The matrices' columns in sRGB, worked out by hand: level = 1.055 light ** (1 / 2.4) - 0.055.
PURE = {
    ("protanopia", (255, 0, 0)): (109, 95, 0),
    ("deuteranopia", (255, 0, 0)): (163, 144, 0),
    ("tritanopia", (255, 0, 0)): (255, 0, 15),
    ("protanopia", (0, 255, 0)): (255, 229, 0),
    ("deuteranopia", (0, 255, 0)): (239, 214, 58),
    ("tritanopia", (0, 255, 0)): (0, 247, 216),
    ("grey", (255, 0, 0)): (127, 127, 127),
    ("grey", (0, 255, 0)): (220, 220, 220),
    ("grey", (0, 0, 255)): (76, 76, 76),
}


@pytest.mark.parametrize(("vision", "color"), PURE)
def test_pure_colours_become_what_was_published(vision: Vision, color: tuple[int, int, int]) -> None:
    assert see(color, vision) == pytest.approx(PURE[vision, color], abs=2)


@pytest.mark.parametrize("vision", ["protanopia", "deuteranopia"])
def test_red_and_green_of_one_lightness_come_close_and_blue_stays_apart(vision: Vision) -> None:
    red, green, blue = (np.array(see(c, vision), int) for c in ((200, 60, 40), (100, 120, 40), (40, 60, 220)))
    before = np.linalg.norm(np.subtract((200, 60, 40), (100, 120, 40)))
    assert np.linalg.norm(red - green) < 0.75 * before
    assert np.linalg.norm(red - blue) > 100


def test_a_picture_is_not_changed_and_strides_do_not_matter() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    before = pixels.copy()
    whole = seen(pixels, "deuteranopia")
    assert np.array_equal(pixels, before)
    assert np.array_equal(whole[::2, 1::3], seen(pixels[::2, 1::3], "deuteranopia"))
    assert seen(pixels, "normal") is pixels


def test_another_word_is_a_sentence() -> None:
    with pytest.raises(ExportError, match=r"'sepia' is not a way to see; choose one of normal, .*grey\."):
        seen(np.zeros((1, 1, 3), np.uint8), "sepia")  # type: ignore[arg-type]
