"""How a figure for print looks: size, text, lines and colours, with presets by venue; any thread, no matplotlib.

Colours come from ``assets/tokens.toml``, the same file that the window reads, so screen and paper agree.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, get_args

import assets
from engines.figures import ROLES, Dash
from lab.export.errors import ExportError

Theme = Literal["light", "dark"]
Palette = Literal["okabe-ito", "petroff", "grey"]
TextAs = Literal["embedded", "outlines", "editable"]

MINIMUM_LINE = 0.5
"""Points; publishers ask for no thinner line."""

SMALLEST_TEXT = 5.0
"""Points; below this nobody can read it in print."""

_SCREEN_TEXT = 13.0 * 72.0 / 96.0
_MOST_PIXELS = 20000
_MEBIPIXELS = 120


@dataclass(frozen=True)
class Style:
    """Everything about a figure for print that the figure itself does not say.

    Attributes
    ----------
    width_in : float
        Width of the file in inches.
    height_in : float or None
        Height of the file in inches; None leaves it to ``aspect``.
    aspect : float or None
        Width over height; None lets the figure choose a height that suits what it shows.
    dpi : int
        Pixels to an inch in PNG files and films. Raster parts inside vector files have 300, or this if it is more.
    font_family : str
        A family that is installed. DejaVu Sans, DejaVu Serif and STIXGeneral come with matplotlib.
    font_size : float
        Points, of axis names and titles; numbers at the ticks and the legend are a little smaller.
    line_scale : float
        Multiplies every line width; lines stay at least `MINIMUM_LINE` wide.
    theme : {"light", "dark"}
    palette : {"okabe-ito", "petroff", "grey"}
        Colours of the roles. ``grey`` can be told apart in black and white and varies the dashes too.
    colormap : str or None
        Of magnitudes, by matplotlib's name; None takes the one of the screen.
    diverging : str or None
        Of signed values, likewise.
    legend : bool
        False leaves out every legend.
    title : bool
        Print the figure's title inside it; papers do not, slides may.
    notes : bool
        Print the remarks in the corners of plots; what an empty plot says is always printed.
    text : {"embedded", "outlines", "editable"}
        ``embedded``: PDF and EPS hold text with its fonts (TrueType); SVG, which cannot hold fonts, holds shapes.
        ``outlines``: shapes everywhere, for venues that refuse TrueType. ``editable``: as ``embedded``, but SVG
        holds text and shows it right only where the font is installed.

    Raises
    ------
    ExportError
        If a value cannot be used; the sentence says which and why.
    """

    width_in: float = 5.5
    height_in: float | None = None
    aspect: float | None = None
    dpi: int = 300
    font_family: str = "DejaVu Sans"
    font_size: float = 9.0
    line_scale: float = 1.0
    theme: Theme = "light"
    palette: Palette = "okabe-ito"
    colormap: str | None = None
    diverging: str | None = None
    legend: bool = True
    title: bool = False
    notes: bool = True
    text: TextAs = "embedded"

    def __post_init__(self) -> None:
        _within("width", self.width_in, 0.5, 60.0, " in")
        if self.height_in is not None:
            _within("height", self.height_in, 0.5, 60.0, " in")
        if self.aspect is not None:
            _within("aspect", self.aspect, 0.1, 10.0)
        _within("dpi", self.dpi, 30, 2400)
        _within("font size", self.font_size, 3.0, 100.0, " pt")
        _within("line scale", self.line_scale, 0.1, 10.0)
        height = self.height_in or self.width_in / (self.aspect or 1.0)
        if max(self.width_in, height) * self.dpi > _MOST_PIXELS or (
            self.width_in * height * self.dpi**2 > _MEBIPIXELS * 2**20
        ):
            raise ExportError(
                f"A figure of {self.width_in:g} x {height:g} in at {self.dpi} dpi has too many pixels to draw "
                "in memory; ask for fewer dpi or a smaller size."
            )
        for name, value, choices in (
            ("theme", self.theme, get_args(Theme)),
            ("palette", self.palette, get_args(Palette)),
            ("text", self.text, get_args(TextAs)),
        ):
            if value not in choices:
                raise ExportError(
                    f"'{value}' is not a {name} for figures; choose one of {', '.join(choices)}."
                )

    def updated(self, **changes: Any) -> Style:
        """The same style with some values changed.

        Raises
        ------
        ExportError
            If a value cannot be used.
        """
        return replace(self, **changes)

    @property
    def small_size(self) -> float:
        """Size of numbers, legends and notes in points."""
        return max(SMALLEST_TEXT, round(0.85 * self.font_size, 2))

    def line_width(self, pixels: float) -> float:
        """Width in points of a line that is ``pixels`` wide on the screen; lines grow with the text around them."""
        return max(MINIMUM_LINE, pixels * self.font_size / 13.0 * self.line_scale)

    def marker_size(self, points: float) -> float:
        """Diameter in points of a marker that the figure wants ``points`` wide beside text of the screen's size."""
        return points * self.font_size / _SCREEN_TEXT


def _within(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    try:
        fits = low <= value <= high
    except TypeError:
        fits = False
    if not fits:
        raise ExportError(f"The {name} of a figure must be between {low:g} and {high:g}{unit}, not {value}.")


VENUES: Mapping[str, Style] = MappingProxyType(
    {
        "icml": Style(width_in=3.25, font_size=8.0),
        "icml-wide": Style(width_in=6.75, font_size=8.0),
        "neurips": Style(width_in=5.5, font_size=9.0),
        "iclr": Style(width_in=5.5, font_size=9.0),
        "jmlr": Style(width_in=6.0, font_size=9.0),
        "ieee": Style(width_in=3.5, font_size=8.0),
        "ieee-wide": Style(width_in=7.16, font_size=8.0),
        "nature": Style(width_in=3.5, font_size=7.0),
        "nature-wide": Style(width_in=7.2, font_size=7.0),
        "slide": Style(width_in=13.333, height_in=7.5, dpi=144, font_size=20.0, title=True),
        "screen": Style(width_in=7.5, dpi=96, font_size=9.75, title=True),
        "free": Style(),
    }
)
"""Styles by venue: the width of its text or column, and the size of the text around its figures."""


def venue(name: str, **changes: Any) -> Style:
    """The style of a venue, with some values changed.

    Raises
    ------
    ExportError
        If there is no such venue, or a value cannot be used.
    """
    if name not in VENUES:
        raise ExportError(f"There is no venue '{name}'; choose one of {', '.join(VENUES)}.")
    return VENUES[name].updated(**changes)


@dataclass(frozen=True)
class Colors:
    """The colours of one theme and palette as ``#RRGGBB``.

    Attributes
    ----------
    background, text, muted, axis, grid : str
    roles : mapping of str to str
        Every role of `engines.figures.ROLES`.
    dashes : mapping of str to Dash
        How solid lines of a role are dashed, where the palette has too few colours to tell roles apart.
    sequential : str
        Colour map of magnitudes, by matplotlib's name.
    diverging : tuple of str
        Evenly spaced colours from the most negative value to the most positive.
    """

    background: str
    text: str
    muted: str
    axis: str
    grid: str
    roles: Mapping[str, str]
    dashes: Mapping[str, Dash]
    sequential: str
    diverging: tuple[str, ...]


# Petroff's ten-colour sequence (arXiv:2107.02270) has no green and no vermilion: truth is its violet, warnings its red.
_PETROFF = {
    "data": "#3F90DA",
    "model": "#FFA90E",
    "target": "#832DB6",
    "hand": "#A96B59",
    "warning": "#BD1F01",
    "past": "#94A4A2",
}
_PETROFF_CATEGORIES = ("#3F90DA", "#FFA90E", "#BD1F01", "#94A4A2", "#832DB6", "#A96B59", "#E76300", "#92DADD")

# Lightness in 0..1 as far from the background as it goes at 0; the dash helps where two greys are close.
_GREYS: dict[str, tuple[float, Dash]] = {
    "data": (0.0, "solid"),
    "model": (0.45, "solid"),
    "target": (0.2, "dash"),
    "hand": (0.35, "dot"),
    "warning": (0.0, "dash"),
    "past": (0.7, "solid"),
    "neutral": (0.0, "solid"),
}
_GREY_CATEGORIES: tuple[tuple[float, Dash], ...] = (
    (0.0, "solid"),
    (0.6, "solid"),
    (0.3, "dash"),
    (0.0, "dot"),
    (0.45, "solid"),
    (0.6, "dash"),
    (0.0, "dash"),
    (0.45, "dot"),
)


@cache
def colors_of(theme: Theme, palette: Palette = "okabe-ito") -> Colors:
    """The colours of a theme with a palette, from the design tokens; read once."""
    tokens = tomllib.loads(assets.read_text("tokens.toml"))
    own, maps = tokens[theme], tokens["maps"]
    dashes: dict[str, Dash] = {}
    roles = {
        **own["roles"],
        **{f"category-{i}": color for i, color in enumerate(own["categories"]["colors"])},
    }
    if palette == "petroff":
        roles |= _PETROFF | {f"category-{i}": color for i, color in enumerate(_PETROFF_CATEGORIES)}
    elif palette == "grey":
        greys = _GREYS | {f"category-{i}": grey for i, grey in enumerate(_GREY_CATEGORIES)}
        for role, (lightness, dash) in greys.items():
            level = round(255 * (lightness if theme == "light" else 0.95 - 0.75 * lightness))
            roles[role] = f"#{level:02X}{level:02X}{level:02X}"
            dashes[role] = dash
    missing = set(ROLES) - set(roles)
    if missing:
        raise KeyError(
            f"assets/tokens.toml has no colour for {', '.join(sorted(missing))} in the {theme} theme"
        )
    return Colors(
        background=own["colors"]["card"],
        text=own["colors"]["text"],
        muted=own["colors"]["muted"],
        axis=own["colors"]["axis"],
        grid=own["colors"]["grid"],
        roles=MappingProxyType(roles),
        dashes=MappingProxyType(dashes),
        sequential=maps["sequential"] if palette != "grey" else ("Greys" if theme == "light" else "gray"),
        # Without hue a map that is pale in the middle would make -1 look like +1: grey runs from black to white.
        diverging=tuple(maps["diverging_stops"]) if palette != "grey" else ("#0A0A0A", "#808080", "#F2F2F2"),
    )


__all__ = [
    "MINIMUM_LINE",
    "SMALLEST_TEXT",
    "VENUES",
    "Colors",
    "Palette",
    "Style",
    "TextAs",
    "Theme",
    "colors_of",
    "venue",
]
