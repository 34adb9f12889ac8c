"""The hand that draws the marks of `engines.figures` on the screen; everything here runs on the GUI thread."""

from __future__ import annotations

from typing import Any

from engines import figures
from widgets.marks.artist import Artist
from widgets.marks.curves import BarsArtist, HistogramArtist, LinesArtist, RibbonArtist, RuleArtist
from widgets.marks.images import HeatmapArtist, ImageGridArtist
from widgets.marks.points import (
    BodiesArtist,
    BoxesArtist,
    GraphArtist,
    ScatterArtist,
    VectorFieldArtist,
    WordsArtist,
)
from widgets.marks.space import Space

ARTISTS: dict[type[figures.Mark], type[Artist[Any]]] = {
    figures.Lines: LinesArtist,
    figures.Ribbon: RibbonArtist,
    figures.Scatter: ScatterArtist,
    figures.VectorField: VectorFieldArtist,
    figures.Rule: RuleArtist,
    figures.Bars: BarsArtist,
    figures.Histogram: HistogramArtist,
    figures.Heatmap: HeatmapArtist,
    figures.ImageGrid: ImageGridArtist,
    figures.Boxes: BoxesArtist,
    figures.Graph: GraphArtist,
    figures.Words: WordsArtist,
    figures.Bodies: BodiesArtist,
}
"""Who draws what."""


def make_artist(mark: figures.Mark) -> Artist[Any]:
    """A new artist for marks of this type.

    Raises
    ------
    TypeError
        If nobody draws such marks.
    """
    try:
        return ARTISTS[type(mark)]()
    except KeyError:
        raise TypeError(f"There is no artist for marks of the type {type(mark).__name__}.") from None


__all__ = ["ARTISTS", "Artist", "Space", "make_artist"]
