"""Turns a run's scalars into the description of a plot; numpy alone, any thread."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.figures import Axis, CurveSpec, Lines, Mark, Plot, Ribbon, Rule

Series = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]
"""Steps, values, and the lowest and highest value behind each (None where nothing was summed up); all of shape (N,)."""


def curve_plot(
    spec: CurveSpec,
    series: Mapping[str, Series],
    rules: Mapping[str, float],
    *,
    log: bool | None = None,
    recent: int | None = None,
) -> Plot:
    """The plot that a `CurveSpec` asks for.

    Parameters
    ----------
    spec : CurveSpec
    series : mapping of scalar to (steps, values, low, high)
        Scalars that are missing are left out; more than asked for do not matter. Where ``low`` and ``high`` differ a
        faint ribbon lies between them.
    rules : mapping of scalar to value
        Where the straight lines lie.
    log : bool, optional
        Whether y is logarithmic; as the description says if not given.
    recent : int, optional
        Show only so many of the newest steps.
    """
    bands: list[Mark] = []
    lines: list[Mark] = []
    lost = 0
    shown = [name for name, _, _ in spec.series if name in series and len(series[name][0])]
    newest = max((float(series[name][0][-1]) for name in shown), default=0.0)
    for name, label, role in spec.series:
        if name not in shown:
            continue
        steps, values, low, high = series[name]
        if recent is not None:
            part = slice(int(np.searchsorted(steps, newest - recent)), None)
            steps, values = steps[part], values[part]
            low, high = (None if edge is None else edge[part] for edge in (low, high))
        # In a record of training NaN is no pause but a fault, and the plot has to say so.
        lost += int(np.count_nonzero(~np.isfinite(values)))
        if low is not None and high is not None:
            bands.append(Ribbon(steps, low, high, role=role))
        lines.append(Lines(steps, values, label=label, role=role, points=len(values) == 1))
    straight: list[Mark] = [
        Rule(float(rules[name]), label=label, role=role)
        for name, label, role in spec.rules
        if name in rules and np.isfinite(rules[name])
    ]
    is_log = spec.y_scale == "log" if log is None else log
    note = f"{lost:,} {'value is' if lost == 1 else 'values are'} not finite" if lost else ""
    return Plot(
        marks=(*bands, *straight, *lines),
        x=Axis("Step"),
        y=Axis(spec.y_label, spec.y_unit, "log" if is_log else "linear"),
        title=spec.title,
        caption=spec.help,
        note=note,
    )


def newest_values(series: Mapping[str, Series]) -> dict[str, float]:
    """The last finite value of each scalar that has one."""
    result: dict[str, float] = {}
    for name, (_, values, _, _) in series.items():
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            result[name] = float(values[finite[-1]])
    return result


__all__ = ["Series", "curve_plot", "newest_values"]
