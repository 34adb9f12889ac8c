"""The arrays of a figure as files: CSV for people and spreadsheets, NPZ for programs; any thread, numpy alone.

The CSV is one tidy table: a row for each point, bar, cell, pixel, word ..., with columns that say which mark it belongs to.
So one filter on ``mark`` or ``label`` gives the columns of one curve, in a spreadsheet as in pandas.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TextIO

import numpy as np

from engines.figures import (
    Bars,
    Bodies,
    Boxes,
    Figure,
    Film,
    Graph,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Mark,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
    Words,
    arrays_of,
    plots_of,
    to_uint8,
)

Columns = dict[str, np.ndarray]

_FIRST = ("frame", "time", "panel", "x_name", "y_name", "mark", "kind", "label", "role")
"""What a row belongs to; left out where it is the same empty thing in the whole figure."""


def write_csv(figure: Figure, file: TextIO) -> None:
    """Write all arrays of a figure as one table with a header line.

    Columns are only those that some mark has: ``frame`` and ``time`` (films), ``panel``, names of the axes, ``mark``
    (its number in the plot), ``kind``, ``label``, ``role``, then the mark's own: ``x``, ``y``, ``low``, ``high``,
    ``value``, ``row``, ``column`` and so on. Empty cells are what a mark does not have; ``nan`` is not a number.

    Parameters
    ----------
    figure : Plot or Panels or Film
    file : text file
        Opened with ``newline=""``.
    """
    first: dict[str, None] = {}
    own: dict[str, None] = {}
    # Twice over the figure rather than a whole film in memory as rows.
    for about, columns in _blocks(figure):
        first |= dict.fromkeys(name for name, value in about.items() if value != "")
        own |= dict.fromkeys(columns)
    lead = [name for name in _FIRST if name in first]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*lead, *own])
    for about, columns in _blocks(figure):
        length = len(next(iter(columns.values()), ()))
        same = [about[name] for name in lead]
        ready = [columns[name].tolist() if name in columns else [""] * length for name in own]
        writer.writerows([*same, *row] for row in zip(*ready, strict=True))


def _blocks(figure: Figure) -> Iterator[tuple[dict[str, Any], Columns]]:
    stills = figure.frames if isinstance(figure, Film) else (figure,)
    for frame, still in enumerate(stills):
        plots = list(plots_of(still))
        for panel, plot in enumerate(plots):
            for number, mark in enumerate(plot.marks):
                for kind, columns in _tables(mark):
                    yield (
                        {
                            "frame": frame if isinstance(figure, Film) else "",
                            "time": float(figure.times[frame]) if isinstance(figure, Film) else "",
                            "panel": plot.title or str(panel + 1) if len(plots) > 1 else "",
                            "x_name": plot.x.title() if plot.x.shown else "",
                            "y_name": plot.y.title() if plot.y.shown else "",
                            "mark": number + 1,
                            "kind": kind,
                            "label": mark.label,
                            "role": mark.role,
                        },
                        columns,
                    )


def _tables(mark: Mark) -> Iterator[tuple[str, Columns]]:
    """The table of a mark, or its two: a graph has one of nodes and one of edges."""
    kind = type(mark).__name__
    match mark:
        case Lines():
            yield kind, _columns(x=mark.x, y=mark.y)
        case Ribbon():
            yield kind, _columns(x=mark.x, low=mark.low, high=mark.high)
        case Scatter():
            yield kind, _columns(x=mark.x, y=mark.y, value=mark.values)
        case VectorField():
            yield kind, _columns(x=mark.x, y=mark.y, u=mark.u, v=mark.v)
        case Rule():
            yield kind, _columns(**{mark.axis: np.array([mark.value])})
        case Bars():
            yield kind, _columns(x=mark.x, height=mark.height)
        case Histogram():
            yield kind, _columns(x_from=mark.edges[:-1], x_to=mark.edges[1:], count=mark.counts)
        case Heatmap():
            rows, columns = mark.values.shape
            x0, x1, y0, y1 = mark.extent
            down, across = np.mgrid[:rows, :columns]
            # The middle of each cell.
            x, y = x0 + (across + 0.5) * (x1 - x0) / columns, y0 + (down + 0.5) * (y1 - y0) / rows
            yield kind, _columns(row=down, column=across, x=x, y=y, value=mark.values)
        case ImageGrid():
            images = to_uint8(mark.images)
            picture, down, across = np.mgrid[tuple(slice(size) for size in images.shape[:3])]
            if images.ndim == 4:
                channels = {name: images[..., i] for i, name in enumerate(("red", "green", "blue"))}
                yield kind, _columns(item=picture, row=down, column=across, **channels)
            else:
                yield kind, _columns(item=picture, row=down, column=across, value=images)
        case Boxes():
            yield kind, _columns(x=mark.x, y=mark.y, width=mark.width, height=mark.height)
        case Graph():
            names = np.array(
                [*mark.node_labels, *[""] * (len(mark.positions) - len(mark.node_labels))], dtype=object
            )
            positions = np.asarray(mark.positions).reshape(-1, 2)
            node: Columns = _columns(
                item=np.arange(len(positions)), x=positions[:, 0], y=positions[:, 1], value=mark.node_values
            )
            yield "Graph nodes", node | ({"text": names[: len(positions)]} if mark.node_labels else {})
            edges = np.asarray(mark.edges, dtype=int).reshape(-1, 2)
            yield "Graph edges", _columns(start=edges[:, 0], end=edges[:, 1], value=mark.edge_values)
        case Words():
            yield (
                kind,
                {"text": np.array(mark.words, dtype=object)}
                | _columns(x=mark.x, y=mark.y, value=mark.weights),
            )
        case Bodies():
            outlines = [np.asarray(outline, dtype=float).reshape(-1, 2) for outline in mark.outlines]
            item = np.repeat(np.arange(len(outlines)), [len(outline) for outline in outlines])
            corners = np.concatenate([np.empty((0, 2)), *outlines])
            yield kind, _columns(item=item, x=corners[:, 0], y=corners[:, 1])
        case _:
            raise TypeError(f"{kind} is not a mark of the vocabulary of pictures")


def _columns(**arrays: np.ndarray | None) -> Columns:
    return {name: np.asarray(array).ravel() for name, array in arrays.items() if array is not None}


def npz_bytes(figure: Figure, metadata: Mapping[str, Any] | None = None) -> bytes:
    """All arrays of a figure as they are, compressed, under dotted names.

    Beside them stand two texts in JSON: ``figure``, the whole description in which ``{"array": NAME}`` stands for an array,
    and ``metadata``. Nothing is pickled: ``numpy.load`` opens it as it is.
    """
    file = io.BytesIO()
    arrays = dict(arrays_of(figure))
    texts = {"figure": described(figure), "metadata": dict(metadata or {})}
    stored: dict[str, Any] = {
        **{name: np.asarray(array) for name, array in arrays.items()},
        **{name: np.array(json.dumps(value, default=str)) for name, value in texts.items()},
    }
    np.savez_compressed(file, **stored)
    return file.getvalue()


def described(value: object, prefix: str = "") -> Any:
    """A figure as plain data for JSON: ``{"kind": ..., field: ...}``, arrays as ``{"array": dotted name}``."""
    if isinstance(value, np.ndarray):
        return {"array": prefix}
    if isinstance(value, tuple | list):
        return [
            described(part, f"{prefix}.{index}" if prefix else str(index)) for index, part in enumerate(value)
        ]
    if is_dataclass(value) and not isinstance(value, type):
        parts = {
            part.name: described(getattr(value, part.name), f"{prefix}.{part.name}" if prefix else part.name)
            for part in fields(value)
        }
        return {"kind": type(value).__name__, **parts}
    if isinstance(value, np.generic):
        return value.item()
    return value


__all__ = ["described", "npz_bytes", "write_csv"]
