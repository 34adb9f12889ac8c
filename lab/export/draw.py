"""Draws the vocabulary of pictures with matplotlib, for print; any thread (one drawing at a time), needs no display.

Only matplotlib's object interface is used: no pyplot, no window. Its parameters are set for the time of a drawing
alone, from its own defaults, so neither a user's matplotlibrc nor another thread's figure gets mixed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engines.figures import Figure, Film, Panels, Plot, at, strip
from lab.export.errors import ExportError
from lab.export.inks import Medium
from lab.export.limits import Ranges
from lab.export.page import compose
from lab.export.parameters import drawing
from lab.export.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page


def draw(
    figure: Figure,
    style: Style | None = None,
    *,
    frame: int | None = None,
    frames: Sequence[int] | None = None,
    medium: Medium = "raster",
) -> Page:
    """Draw a figure at exactly the size that the style asks for.

    Parameters
    ----------
    figure : Plot or Panels or Film
    style : Style, optional
    frame : int, optional
        Which frame of a film; its start when None.
    frames : sequence of int, optional
        Several frames of a film side by side, as papers print them.
    medium : {"raster", "vector", "opaque"}
        Whether it becomes pixels or a vector file; ``opaque`` is a vector file that knows no transparency.

    Returns
    -------
    matplotlib.figure.Figure
        With its layout done and frozen; write it inside `drawing`, which sets how fonts are embedded.

    Raises
    ------
    ExportError
        If a frame is asked for that the film does not have, or the font is not installed.
    """
    style = style or Style()
    page, _ = compose(*still_of(figure, frame, frames), style, medium=medium)
    return page


def still_of(
    figure: Figure, frame: int | None = None, frames: Sequence[int] | None = None
) -> tuple[Plot | Panels, Ranges]:
    """A still of a figure and the limits to draw it with; stills of a film have the limits of the whole film.

    Raises
    ------
    ExportError
        If the film does not have the frame.
    """
    if not isinstance(figure, Film):
        return figure, Ranges.over([figure])
    count = len(figure.frames)
    if not count:
        raise ExportError("The film has no frames yet; let the run go on until it has one.")
    for index in [*(frames or ()), *(() if frame is None else (frame,))]:
        if not -count <= index < count:
            raise ExportError(
                f"The film has no frame {index}; it has {count}, counted from 0 to {count - 1}."
            )
    film = Ranges.over(figure.frames)
    if frames is None:
        return at(figure, frame if frame is None or frame >= 0 else frame + count), film
    if not frames:
        raise ExportError("A strip needs at least one frame of the film; name the frames to show.")
    side_by_side = strip(figure, [index % count for index in frames])
    ranges = Ranges()
    for index in range(len(side_by_side.plots)):
        source = index // len(frames)
        ranges.x[index], ranges.y[index] = film.x[source], film.y[source]
        ranges.values |= {
            (index, *key[1:]): limits for key, limits in film.values.items() if key[0] == source
        }
    return side_by_side, ranges


__all__ = ["draw", "drawing", "still_of"]
