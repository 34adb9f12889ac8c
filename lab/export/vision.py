"""How a picture looks to people who see colours otherwise, and without colour; any thread, numpy alone.

The model is that of Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
Deficiency" (2009), at its full severity: one matrix for each deficiency, applied to linear RGB.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from lab.export.errors import ExportError

Vision = Literal["normal", "protanopia", "deuteranopia", "tritanopia", "grey"]

MATRICES = MappingProxyType(
    {
        "protanopia": (
            (0.152286, 1.052583, -0.204868),
            (0.114503, 0.786281, 0.099216),
            (-0.003882, -0.048116, 1.051998),
        ),
        "deuteranopia": (
            (0.367322, 0.860646, -0.227968),
            (0.280085, 0.672501, 0.047413),
            (-0.011820, 0.042940, 0.968881),
        ),
        "tritanopia": (
            (1.255528, -0.076749, -0.178779),
            (-0.078411, 0.930809, 0.147602),
            (0.004733, 0.691367, 0.303900),
        ),
        "grey": ((0.2126, 0.7152, 0.0722),) * 3,
    }
)
"""Linear RGB that is seen, from linear RGB that is shown. ``grey`` is the luminance of sRGB (Rec. 709)."""

_LEVELS = 4096


def seen(pixels: np.ndarray, vision: Vision) -> np.ndarray:
    """A picture as somebody sees it.

    Parameters
    ----------
    pixels : array (H, W, 3) of uint8
        In sRGB.
    vision : {"normal", "protanopia", "deuteranopia", "tritanopia", "grey"}

    Returns
    -------
    array (H, W, 3) of uint8
        In sRGB; the same array for ``normal``.

    Raises
    ------
    ExportError
        If there is no such vision.
    """
    if vision == "normal":
        return pixels
    if vision not in MATRICES:
        raise ExportError(f"'{vision}' is not a way to see; choose one of {', '.join(get_args(Vision))}.")
    linear = _linear()[pixels]
    found = linear @ np.array(MATRICES[vision], dtype=np.float32).T
    return _encoded()[np.rint(np.clip(found, 0.0, 1.0) * (_LEVELS - 1)).astype(np.uint16)]


@cache
def _linear() -> np.ndarray:
    """Linear light of each level of sRGB: float32 of shape (256,)."""
    level = np.arange(256) / 255.0
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _encoded() -> np.ndarray:
    """The level of sRGB nearest to each of evenly spaced amounts of linear light: uint8."""
    light = np.linspace(0.0, 1.0, _LEVELS)
    level = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255.0 * level).astype(np.uint8)


__all__ = ["MATRICES", "Vision", "seen"]
