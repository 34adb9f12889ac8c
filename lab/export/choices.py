"""What a person chooses about a figure for print, declared as settings; any thread, no Qt.

One declaration (`FigureChoices`) gives the dialog's form, the options of ``lab export``, the sentences for bad values, and
what is remembered. The presets are the venues of `lab.export.style`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from engines.config import Declared, Preset, setting
from lab.export.errors import ExportError
from lab.export.style import VENUES, Palette, Style, TextAs, Theme

Unit = Literal["in", "mm"]
MM_PER_INCH = 25.4


class FigureChoices(Declared):
    """How a figure for print looks, in the words of a form; `style` makes what the drawing takes.

    Lengths are in ``unit``.
    """

    unit: Unit = setting(
        "in",
        label="Unit",
        effect="display",
        group="Size",
        choices={"in": "inches", "mm": "mm"},
        help="Of width and height.",
    )
    width: float = setting(
        5.5, label="Width", effect="display", group="Size", minimum=0.5, help="Of the file, edge to edge."
    )
    height: float | None = setting(
        None,
        label="Height",
        effect="display",
        group="Size",
        minimum=0.5,
        help="Of the file, edge to edge. Empty: as tall as suits what the figure shows.",
    )
    dpi: int = setting(
        300,
        label="Resolution",
        unit="dpi",
        effect="display",
        group="Size",
        minimum=30,
        maximum=2400,
        help="Of PNG files and films. Pictures inside vector files have at least 300 dpi.",
    )
    font: str = setting(
        "DejaVu Sans",
        label="Font",
        effect="display",
        group="Text",
        help="A family that is installed. DejaVu Sans, DejaVu Serif and STIXGeneral (like Times) always are.",
    )
    font_size: float = setting(
        9.0,
        label="Size of text",
        unit="pt",
        effect="display",
        group="Text",
        minimum=3.0,
        maximum=100.0,
        help="Of axis names and titles; numbers and legends are a little smaller, never below 5 pt.",
    )
    text: TextAs = setting(
        "embedded",
        label="Text as",
        effect="display",
        group="Text",
        choices={"embedded": "embedded fonts", "outlines": "outlines", "editable": "editable text"},
        help="Embedded: PDF and EPS hold TrueType fonts, SVG holds shapes. Outlines: shapes everywhere, for venues that "
        "refuse fonts. Editable: SVG holds text, which looks right only where the font is installed.",
    )
    title: bool = setting(
        False, label="Title", effect="display", group="Text", help="Print the title inside the figure."
    )
    legend: bool = setting(
        True, label="Legend", effect="display", group="Text", help="Show what the colours mean."
    )
    notes: bool = setting(
        True,
        label="Remarks",
        effect="display",
        group="Text",
        help="Print the remarks in the corners of plots.",
    )
    theme: Theme = setting(
        "light", label="Theme", effect="display", group="Colours", choices={"light": "light", "dark": "dark"}
    )
    palette: Palette = setting(
        "okabe-ito",
        label="Palette",
        effect="display",
        group="Colours",
        choices={"okabe-ito": "Okabe-Ito", "petroff": "Petroff", "grey": "grey-safe"},
        help="Okabe-Ito and Petroff can be told apart by colour-blind people; grey-safe also in black and white.",
    )
    colormap: Literal["palette", "viridis", "cividis", "magma", "inferno", "plasma", "gray"] = setting(
        "palette",
        label="Magnitudes",
        effect="display",
        group="Colours",
        choices={
            "palette": "as the palette",
            "viridis": "viridis",
            "cividis": "cividis",
            "magma": "magma",
            "inferno": "inferno",
            "plasma": "plasma",
            "gray": "grey",
        },
        help="Colour map of magnitudes.",
    )
    diverging: Literal["palette", "RdBu_r", "PuOr_r", "BrBG", "coolwarm"] = setting(
        "palette",
        label="Signed values",
        effect="display",
        group="Colours",
        choices={
            "palette": "as the palette",
            "RdBu_r": "blue to red",
            "PuOr_r": "purple to orange",
            "BrBG": "brown to green",
            "coolwarm": "cool to warm",
        },
        help="Colour map of values about zero.",
    )
    lines: float = setting(
        1.0,
        label="Line width",
        unit="×",
        effect="display",
        group="Colours",
        minimum=0.1,
        maximum=10.0,
        help="Multiplies every line's width; none gets thinner than 0.5 pt.",
    )

    def style(self) -> Style:
        """What the drawing takes.

        Raises
        ------
        ExportError
            If the values do not go together: a page too large for its resolution.
        """
        return Style(
            width_in=self._inches(self.width),
            height_in=None if self.height is None else self._inches(self.height),
            dpi=self.dpi,
            font_family=self.font.strip() or "DejaVu Sans",
            font_size=self.font_size,
            line_scale=self.lines,
            theme=self.theme,
            palette=self.palette,
            colormap=None if self.colormap == "palette" else self.colormap,
            diverging=None if self.diverging == "palette" else self.diverging,
            legend=self.legend,
            title=self.title,
            notes=self.notes,
            text=self.text,
        )

    def _inches(self, length: float) -> float:
        return length if self.unit == "in" else length / MM_PER_INCH

    def in_unit(self, unit: Unit) -> Self:
        """The same figure with its lengths in another unit, rounded to what a person would write."""
        if unit == self.unit:
            return self
        factor, digits = (MM_PER_INCH, 2) if unit == "mm" else (1 / MM_PER_INCH, 4)
        width = round(self.width * factor, digits)
        height = None if self.height is None else round(self.height * factor, digits)
        return self.updated({"unit": unit, "width": width, "height": height})


_VENUES = {
    "icml": ("ICML, one column", "3.25 in wide, text of 8 pt."),
    "icml-wide": ("ICML, two columns", "6.75 in wide, text of 8 pt."),
    "neurips": ("NeurIPS", "5.5 in wide, text of 9 pt."),
    "iclr": ("ICLR", "5.5 in wide, text of 9 pt."),
    "jmlr": ("JMLR", "6 in wide, text of 9 pt."),
    "ieee": ("IEEE, one column", "3.5 in wide, text of 8 pt."),
    "ieee-wide": ("IEEE, two columns", "7.16 in wide, text of 8 pt."),
    "nature": ("Nature, one column", "89 mm wide, text of 7 pt."),
    "nature-wide": ("Nature, two columns", "183 mm wide, text of 7 pt."),
    "slide": ("Slide 16:9", "13.33 x 7.5 in, text of 20 pt, with the title."),
    "screen": ("Screen and films", "720 pixels wide, with the title."),
    "free": ("Free", "5.5 in wide, text of 9 pt: a place to begin."),
}


def _differing(style: Style) -> dict[str, Any]:
    values = {
        "width": style.width_in,
        "height": style.height_in,
        "dpi": style.dpi,
        "font_size": style.font_size,
        "title": style.title,
    }
    default = FigureChoices()
    return {name: value for name, value in values.items() if value != getattr(default, name)}


VENUE_PRESETS = tuple(
    Preset(name, *_VENUES[name], values=_differing(style)) for name, style in VENUES.items()
)
"""The venues as presets of a form; lengths in inches."""


def choices_of(venue: str) -> FigureChoices:
    """The choices of a venue.

    Raises
    ------
    ExportError
        If there is no such venue.
    """
    found = {preset.id: preset for preset in VENUE_PRESETS}
    if venue not in found:
        raise ExportError(f"There is no venue '{venue}'; choose one of {', '.join(found)}.")
    return FigureChoices.build(found[venue].values)


__all__ = ["MM_PER_INCH", "VENUE_PRESETS", "FigureChoices", "Unit", "choices_of"]
