"""Figures for print: the pictures of the screen drawn with matplotlib, written as files; any thread, no Qt.

    from lab.export import export, venue
    export(figure, "loss.pdf", style=venue("icml"))

`lab.export.draw.draw` gives the matplotlib figure, `to_bytes` the content of a file, `export_film` takes frames from a
generator. Importing this is quick: matplotlib is loaded by the first drawing.
"""

from __future__ import annotations

from lab.export.describe import alt_text
from lab.export.errors import ExportError
from lab.export.limits import Ranges
from lab.export.save import FORMATS, Format, export, export_film, to_bytes
from lab.export.style import VENUES, Style, venue

__all__ = [
    "FORMATS",
    "VENUES",
    "ExportError",
    "Format",
    "Ranges",
    "Style",
    "alt_text",
    "export",
    "export_film",
    "to_bytes",
    "venue",
]
