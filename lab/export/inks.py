"""Colours of roles and colour maps as matplotlib takes them; any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from lab.export.errors import ExportError
from lab.export.style import Style, colors_of

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

RGBA = tuple[float, float, float, float]

Medium = Literal["raster", "vector", "opaque"]
"""What a drawing is for: pixels, a vector file, or a vector file that knows no transparency."""


class Inks:
    """The colours of a style.

    Parameters
    ----------
    style : Style
    medium : Medium
        For ``opaque`` transparent colours are mixed with the background beforehand.
    """

    def __init__(self, style: Style, medium: Medium) -> None:
        self.style, self.medium, self.opaque = style, medium, medium == "opaque"
        self.colors = colors_of(style.theme, style.palette)

    def color(self, role: str, opacity: float = 1.0) -> RGBA:
        """The colour of a role or of a token, mixed with the background where the format knows no transparency."""
        from matplotlib.colors import to_rgb

        name = self.colors.roles[role] if role in self.colors.roles else getattr(self.colors, role)
        opacity = min(max(float(opacity), 0.0), 1.0)
        red, green, blue = to_rgb(name)
        if not self.opaque:
            return red, green, blue, opacity
        under = to_rgb(self.colors.background)
        mixed = [o * opacity + u * (1.0 - opacity) for o, u in zip((red, green, blue), under, strict=True)]
        return mixed[0], mixed[1], mixed[2], 1.0

    def dash(self, role: str, dash: str) -> str:
        """The dash of a line; palettes with few colours tell roles apart by it."""
        return self.colors.dashes.get(role, dash) if dash == "solid" else dash

    def colormap(self, kind: str, role: str = "model", opacity: float = 1.0) -> Colormap:
        """A colour map; no number is no colour.

        Raises
        ------
        ExportError
            If the style names a map that matplotlib does not have.
        """
        import matplotlib as mpl
        from matplotlib.colors import LinearSegmentedColormap, ListedColormap

        name = self.style.diverging if kind == "diverging" else self.style.colormap
        if kind == "role":
            levels = np.tile(np.array(self.color(role)), (256, 1))
            levels[:, 3] = np.linspace(0.0, 1.0, 256)
        elif kind == "diverging" and name is None:
            levels = LinearSegmentedColormap.from_list("signed", self.colors.diverging)(
                np.linspace(0, 1, 256)
            )
        else:
            name = name or self.colors.sequential
            if name not in mpl.colormaps:
                raise ExportError(
                    f"There is no colour map '{name}'; there are viridis, cividis, magma and many more."
                )
            levels = mpl.colormaps[name](np.linspace(0.0, 1.0, 256))
        levels[:, 3] *= opacity
        bad: RGBA = (0.0, 0.0, 0.0, 0.0)
        if self.opaque:
            bad = self.color("background")
            levels[:, :3] = levels[:, 3:] * levels[:, :3] + (1.0 - levels[:, 3:]) * np.array(bad[:3])
            levels[:, 3] = 1.0
        # with_extremes keeps NaN (no value) apart from the least value.
        return ListedColormap(levels).with_extremes(bad=bad)


__all__ = ["RGBA", "Inks", "Medium"]
