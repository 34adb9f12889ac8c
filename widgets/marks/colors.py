"""Colour maps as tables, for magnitudes and signed values; runs on the GUI thread."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import pyqtgraph as pg

from widgets.theme import Theme


@lru_cache(maxsize=8)
def _map_table(name: str, count: int) -> np.ndarray:
    return np.asarray(pg.colormap.get(name).getLookupTable(nPts=count, alpha=False), dtype=np.uint32)


@lru_cache(maxsize=8)
def magnitude_colors(name: str, count: int) -> tuple[str, ...]:
    """``count`` colours of a map as ``#RRGGBB``, from low to high."""
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in _map_table(name, count).tolist())


def color_table(theme: Theme, colors: Literal["sequential", "diverging", "role"], role: str) -> np.ndarray:
    """256 colours as premultiplied 0xAARRGGBB, uint32 of shape (256,), from low to high."""
    if colors == "role":
        color = theme.color(role)
        part = np.linspace(0.0, 1.0, 256)
        channels = [
            np.rint(part * channel).astype(np.uint32)
            for channel in (color.red(), color.green(), color.blue())
        ]
        alpha = np.rint(part * 255).astype(np.uint32)
        return (alpha << 24) | (channels[0] << 16) | (channels[1] << 8) | channels[2]
    table = _map_table(theme.sequential if colors == "sequential" else theme.diverging, 256)
    return np.uint32(0xFF000000) | (table[:, 0] << 16) | (table[:, 1] << 8) | table[:, 2]


def finite_span(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value; (0, 1) where there is none."""
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            return 0.0, 1.0
        low, high = float(finite.min()), float(finite.max())
    return low, high


def value_limits(
    values: np.ndarray, limits: tuple[float, float] | None, colors: Literal["sequential", "diverging", "role"]
) -> tuple[float, float]:
    """The values at the ends of a colour map: as asked for, else those of the data, around zero for a diverging map."""
    low, high = limits if limits is not None else finite_span(values)
    if limits is None and colors == "diverging":
        high = max(abs(low), abs(high))
        low = -high
    if limits is None and colors == "role":
        low = min(low, 0.0)
    if not high > low:
        high = low + 1.0
    return low, high


def normalised(values: np.ndarray) -> np.ndarray:
    """Values as parts 0..1 of their finite span; NaN and infinities stay."""
    array = np.asarray(values, dtype=np.float64)
    low, high = finite_span(array)
    if high <= low:
        return np.where(np.isfinite(array), 0.5, array)
    return np.asarray((array - low) / (high - low))


__all__ = ["color_table", "finite_span", "magnitude_colors", "normalised", "value_limits"]
