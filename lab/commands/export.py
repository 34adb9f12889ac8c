"""``lab export``: one picture of a run as a file, without Qt; the engine is rebuilt from its newest keyframe. Main thread."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from engines.config import near_misses
from engines.errors import InputError, RunError
from engines.figures import CurveSpec, Figure
from lab import papers
from lab.commands.listing import open_run
from lab.runs.folder import Keyframe, RunFolder


def export_figure(options: argparse.Namespace) -> int:
    """Write one picture.

    Raises
    ------
    InputError
    """
    from lab.export.save import export
    from lab.export.style import VENUES, venue

    folder = open_run(options.run, salvage=options.salvage)
    name = options.venue
    if options.columns > 1 and f"{name}-wide" in VENUES:
        name = f"{name}-wide"
    style = venue(name, theme=options.theme)
    figure, step, settings = figure_of(folder, options.figure, options.at)
    about: dict[str, Any] = {
        "paper": folder.info.paper,
        "figure": options.figure,
        "run": folder.info.id,
        "step": step,
        "seed": folder.info.seed,
        "preset": folder.info.preset,
        "settings": settings,
        "data": folder.info.data,
    }
    written = export(
        figure, options.output, options.format, style, about, overwrite=options.overwrite, frame=options.frame
    )
    print(written)
    return 0


def figure_of(folder: RunFolder, name: str, at: int | None = None) -> tuple[Figure, int, dict[str, Any]]:
    """A picture of a run at its newest keyframe, or at the one at or before a step; the step, and the settings then.

    Raises
    ------
    InputError
    """
    method = papers.method_of(papers.find_built(folder.info.paper))
    names = [view.name for view in method.views]
    if name not in names:
        raise InputError(
            f"There is no figure '{name}'{near_misses(name, names)}: the figures are {', '.join(names)}."
        )
    view = method.view(name)
    if isinstance(view, CurveSpec):
        from widgets.curves import curve_plot, newest_values

        metrics = folder.metrics()
        cursor = min(at, int(metrics.steps[-1])) if at is not None and len(metrics.steps) else None
        series = {}
        for scalar, column in metrics.columns.items():
            # A scalar that is not reported at every step leaves gaps that are none.
            reported = ~np.isnan(column)
            series[scalar] = (metrics.steps[reported], column[reported], None, None)
        marks = {scalar: series[scalar] for scalar, _, _ in view.rules if scalar in series}
        last = int(metrics.steps[-1]) if len(metrics.steps) else 0
        plot = curve_plot(view, series, newest_values(marks), cursor=cursor)
        return plot, last if cursor is None else cursor, folder.values()
    if at is not None:
        record = folder.find_keyframe(at)
        values = folder.keyframe_values(record)
        if (kept := _kept_figure(folder, record, name)) is not None:
            return kept, record.step, values
        state = folder.read_keyframe(record)
    else:
        # What is damaged was told when the folder was opened.
        record, state, _ = folder.newest_state()
        values = folder.keyframe_values(record)
    from engines import device as devices

    engine = papers.resolve(method.engine)(method.config.build(values), devices.choose("cpu"))
    engine.load_state_dict(state)
    return engine.figures([name])[name], record.step, values


def _kept_figure(folder: RunFolder, record: Keyframe, name: str) -> Figure | None:
    """The picture that was kept with a keyframe; where there is none that can be read, the engine draws it again."""
    from lab.runs.reader import read_frame

    try:
        return read_frame(folder.path, record).get(name)
    except RunError:
        # What is damaged was told when the folder was opened.
        return None
