"""Where a run's figures for print come from: its newest keyframe, any step, a stretch of its time line; any thread, no Qt.

Pictures that were kept with a keyframe are read as they are; torch is loaded only where there are none and the engine has to
draw them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.config import near_misses
from engines.errors import InputError, RunError
from engines.figures import CurveSpec, Figure, FigureSpec, Panels, Plot, at
from engines.method import Method
from lab import papers
from lab.export.errors import ExportError
from lab.export.limits import Ranges
from lab.runs.folder import Keyframe, Metrics, RunFolder, RunInfo
from widgets.curves import Series

if TYPE_CHECKING:
    from lab.export.films import Progress
    from lab.export.style import Style


@dataclass(frozen=True)
class Picture:
    """A figure of a run, and what made it.

    Attributes
    ----------
    figure : Figure
    step : int
        Updates done when it was computed.
    about : dict
        What goes into an exported file: paper, figure, run, step, seed, preset, settings, data.
    """

    figure: Figure
    step: int
    about: dict[str, Any]


def about_figure(info: RunInfo, figure: str, step: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """What made a figure of a run, for the metadata of its file."""
    return {
        "paper": info.paper,
        "figure": figure,
        "run": info.id,
        "step": step,
        "seed": values.get("seed", info.seed),
        "preset": info.preset,
        "settings": dict(values),
        "data": dict(info.data),
    }


def view_of(folder: RunFolder, name: str) -> FigureSpec | CurveSpec:
    """The view of a run by its name.

    Raises
    ------
    InputError
        If the run's paper has no such view.
    """
    method = _method(folder)
    names = [view.name for view in method.views]
    if name not in names:
        raise InputError(
            f"There is no figure '{name}'{near_misses(name, names)}: the figures are {', '.join(names)}."
        )
    return method.view(name)


def figure_names(folder: RunFolder) -> tuple[str, ...]:
    """Every view of a run, in the paper's order."""
    return tuple(view.name for view in _method(folder).views)


def picture(folder: RunFolder, name: str, at: int | None = None) -> Picture:
    """A figure of a run at its newest keyframe, or at the one at or before a step.

    Raises
    ------
    InputError
        If there is no such figure, or no keyframe there.
    """
    view = view_of(folder, name)
    if isinstance(view, CurveSpec):
        plot, step = _curves(folder, view, at)
        return Picture(plot, step, about_figure(folder.info, name, step, folder.values()))
    if at is not None:
        record = folder.find_keyframe(at)
        values = folder.keyframe_values(record)
        figure = _kept(folder, record, name)
        if figure is None:
            figure = _drawn(folder, values, folder.read_keyframe(record), name)
    else:
        # What is damaged was told when the folder was opened.
        record, state, _ = folder.newest_state()
        values = folder.keyframe_values(record)
        figure = _drawn(folder, values, state, name)
    return Picture(figure, record.step, about_figure(folder.info, name, record.step, values))


def _method(folder: RunFolder) -> Method:
    return papers.method_of(papers.find_built(folder.info.paper))


def _curves(folder: RunFolder, view: CurveSpec, cursor: int | None) -> tuple[Plot, int]:
    metrics = folder.metrics()
    last = int(metrics.steps[-1]) if len(metrics.steps) else 0
    cursor = min(cursor, last) if cursor is not None and len(metrics.steps) else None
    return _plotted(view, _series(metrics), cursor), last if cursor is None else cursor


def _series(metrics: Metrics) -> dict[str, Series]:
    """The steps and values that were reported of each scalar: one that is not there at every step leaves no gaps."""
    found: dict[str, Series] = {}
    for scalar, column in metrics.columns.items():
        reported = ~np.isnan(column)
        found[scalar] = (metrics.steps[reported], column[reported], None, None)
    return found


def _plotted(view: CurveSpec, series: Mapping[str, Series], cursor: int | None = None) -> Plot:
    from widgets.curves import curve_plot, newest_values

    marks = {scalar: series[scalar] for scalar, _, _ in view.rules if scalar in series}
    return curve_plot(view, series, newest_values(marks), cursor=cursor)


def _kept(folder: RunFolder, record: Keyframe, name: str) -> Figure | None:
    """The picture that was kept with a keyframe; None where there is none that can be read."""
    from lab.runs.reader import read_frame

    try:
        return read_frame(folder.path, record).get(name)
    except RunError:
        # What is damaged was told when the folder was opened.
        return None


def _drawn(folder: RunFolder, values: Mapping[str, Any], state: dict[str, Any], name: str) -> Figure:
    from engines import device as devices

    method = _method(folder)
    engine = papers.resolve(method.engine)(method.config.build(values), devices.choose("cpu"))
    try:
        engine.load_state_dict(state)
        figure: Figure = engine.figures([name])[name]
        return figure
    finally:
        engine.close()


# --- films of the time line  ----------


@dataclass
class Stretch:
    """A view over a stretch of a run's time line, as the frames of a film; only one of them is in memory at a time.

    Made by `stretch`. Views of curves grow from left to right; of a view that is itself a film each keyframe gives one frame.

    Attributes
    ----------
    folder : RunFolder
    view : FigureSpec or CurveSpec
    steps : tuple of int
        One per frame.
    left_out : int
        Keyframes of the stretch that cannot be shown: without a picture, damaged, or of another structure than the rest.
    ranges : Ranges
        Limits that fit all frames.
    about : dict
        As of `Picture`, at the last step, with the stretch as ``steps``.
    """

    folder: RunFolder
    view: FigureSpec | CurveSpec
    steps: tuple[int, ...]
    left_out: int
    ranges: Ranges
    about: dict[str, Any]
    frame: int | None = None
    _records: tuple[Keyframe, ...] = field(default=(), repr=False)
    _series: Mapping[str, Series] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.steps)

    def frames(self) -> Iterator[tuple[Plot | Panels, str]]:
        """Each frame with the stamp that stands above it; pictures are read from the disk again each time.

        Raises
        ------
        ExportError
            If a picture that was there when the stretch was made cannot be read any more.
        """
        return (self.at(index) for index in range(len(self)))

    def at(self, index: int) -> tuple[Plot | Panels, str]:
        """One frame with its stamp; -1 is the last.

        Raises
        ------
        ExportError
            As `frames`.
        """
        step = self.steps[index]
        if isinstance(self.view, CurveSpec):
            return _plotted(self.view, _upto(self._series, step)), f"step {step:,}"
        figure = _kept(self.folder, self._records[index], self.view.name)
        if figure is None:
            raise ExportError(
                f"The picture of step {step:,} cannot be read any more; export the film again without that step."
            )
        still = at(figure, self.frame)
        return replace(still, title=still.title or figure.title), f"step {step:,}"

    def export(
        self,
        path: Path,
        format: str,
        style: Style,
        *,
        overwrite: bool = False,
        fps: float = 12.0,
        progress: Progress | None = None,
    ) -> Path:
        """Write it as a film; see `lab.export.save.export_film`.

        Raises
        ------
        ExportError
        """
        from lab.export.save import export_film

        return export_film(
            self.frames(),
            len(self),
            self.ranges,
            path,
            format,
            style,
            self.about,
            overwrite=overwrite,
            fps=fps,
            progress=progress,
        )


def stretch(
    folder: RunFolder,
    name: str,
    first: int | None = None,
    last: int | None = None,
    *,
    most: int | None = None,
    frame: int | None = None,
) -> Stretch:
    """A view over a stretch of a run's time line.

    Parameters
    ----------
    folder : RunFolder
    name : str
        Of the view.
    first, last : int, optional
        Steps, both inclusive; the run's ends when None.
    most : int, optional
        At most so many frames, spread evenly over the steps.
    frame : int, optional
        Of a view that is itself a film: which frame to follow; its start when None.

    Raises
    ------
    InputError
        If there is no such view, or no picture in the stretch.
    """
    view = view_of(folder, name)
    low = 0 if first is None else first
    high = 2**62 if last is None else last
    if low > high:
        raise ExportError(
            f"A stretch of the time line goes forward: it cannot begin at step {low:,} and end at {high:,}."
        )
    if isinstance(view, CurveSpec):
        series = _series(folder.metrics())
        steps = _curve_steps(series, view, low, high, most or 120)
        ranges = Ranges.over(_plotted(view, _upto(series, step)) for step in steps)
        about = about_figure(folder.info, name, steps[-1], folder.values()) | {"steps": [steps[0], steps[-1]]}
        return Stretch(folder, view, steps, 0, ranges, about, _series=series)
    records, damaged = _pictures_between(folder, low, high, most)
    ranges, shown, structure = Ranges(), [], None
    # Newest first: what the run is like at its end decides what can stand beside it.
    for record in reversed(records):
        figure = _kept(folder, record, name)
        if figure is None:
            continue
        still = at(figure, frame)
        structure = structure or _structure(still)
        if _structure(still) == structure:
            shown.append(record)
            ranges.include(still)
    if not shown:
        raise ExportError(
            f"There is no picture of '{name}' in that stretch of the run; choose a longer one (right click on the time line "
            "says what is kept)."
        )
    shown.reverse()
    values = folder.keyframe_values(shown[-1])
    about = about_figure(folder.info, name, shown[-1].step, values) | {
        "steps": [shown[0].step, shown[-1].step]
    }
    left_out = damaged + len(records) - len(shown)
    return Stretch(folder, view, tuple(r.step for r in shown), left_out, ranges, about, frame, tuple(shown))


def _pictures_between(folder: RunFolder, low: int, high: int, most: int | None) -> tuple[list[Keyframe], int]:
    """The keyframes to show, one a step, and how many have no picture."""
    inside = {k.step: k for k in folder.keyframes()[0] if low <= k.step <= high}
    records = [k for k in inside.values() if k.frame]
    without = len(inside) - len(records)
    if most is not None and len(records) > most:
        steps = np.array([k.step for k in records])
        wanted = np.linspace(steps[0], steps[-1], max(2, most))
        nearest = np.unique(np.abs(steps[:, None] - wanted[None, :]).argmin(axis=0))
        records = [records[i] for i in nearest]
    return records, without


def _structure(still: Plot | Panels) -> tuple[int, int]:
    """What the frames of a film must have in common: how many plots, in how many columns."""
    return (1, 1) if isinstance(still, Plot) else (len(still.plots), still.columns)


def _curve_steps(
    series: Mapping[str, Series], view: CurveSpec, low: int, high: int, most: int
) -> tuple[int, ...]:
    own = [series[scalar][0] for scalar, _, _ in view.series if scalar in series]
    steps = np.unique(np.concatenate([np.zeros(0, np.int64), *own]))
    steps = steps[(steps >= low) & (steps <= high)]
    if not len(steps):
        raise ExportError(
            f"There are no numbers for '{view.name}' in that stretch of the run; choose a longer one."
        )
    # One point is no curve: the first frame shows a little of the way.
    chosen = steps[np.unique(np.linspace(0, len(steps) - 1, most + 1).round().astype(int))]
    return tuple(int(step) for step in (chosen[1:] if len(chosen) > 1 else chosen))


def _upto(series: Mapping[str, Series], step: int) -> dict[str, Series]:
    """What had been reported by a step."""
    found: dict[str, Series] = {}
    for scalar, (steps, values, _, _) in series.items():
        count = int(np.searchsorted(steps, step, side="right"))
        found[scalar] = (steps[:count], values[:count], None, None)
    return found


__all__ = ["Picture", "Stretch", "about_figure", "figure_names", "picture", "stretch", "view_of"]
