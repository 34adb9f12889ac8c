"""Turns the scalars of a run, and of others beside it, into the description of a plot; numpy alone, any thread."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engines.figures import Axis, CurveSpec, Dash, Lines, Mark, Plot, Ribbon, Rule

Series = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]
"""Steps, values, and the lowest and highest value behind each (None where nothing was summed up); all of shape (N,)."""

FUTURE = 0.35
"""Opacity of what lies after the step that is looked at."""

REFERENCE = 0.4
"""Opacity of another run's scalars that are a reference even in the run in sight (role ``past``): often pure noise."""

_DASH_WORDS: dict[Dash, str] = {"solid": "solid", "dash": "dashed", "dot": "dotted"}
"""How the scalars of other runs are told apart, in this order, and what that is called."""


@dataclass(frozen=True, eq=False)
class OtherRun:
    """A run to compare with: its scalars are drawn in its own colour, below those of the run in sight.

    Attributes
    ----------
    label : str
        Its name, once in the legend.
    role : str
    series : mapping of scalar to (steps, values, low, high)
        ``low`` and ``high`` are not drawn; arrays are kept and must not be written to any more.
    width : float
        Of the lines, in pixels.
    """

    label: str
    role: str
    series: Mapping[str, Series]
    width: float = 1.25


@dataclass(frozen=True, eq=False)
class SeedBand:
    """What several runs have in common that differ in their seed alone: a line with a band around it.

    Attributes
    ----------
    label : str
        What line and band are: ``IQM of 5 seeds, 95 % bootstrap interval``.
    role : str
    scalar : str
        Drawn where a plot shows this scalar.
    steps, center, low, high : array (N,)
        ``steps`` are values of x, whatever stands there.
    """

    label: str
    role: str
    scalar: str
    steps: np.ndarray
    center: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class _Window:
    """Which part of x is drawn, and from where on it is faint."""

    first: float
    last: float
    cursor: float | None

    def cut(self, series: Series) -> Series:
        """The steps that are drawn."""
        steps, values, low, high = series
        part = slice(
            int(np.searchsorted(steps, self.first)), int(np.searchsorted(steps, self.last, side="right"))
        )
        low, high = (None if edge is None else edge[part] for edge in (low, high))
        return steps[part], values[part], low, high

    def parts(self, steps: np.ndarray) -> tuple[tuple[slice, float], ...]:
        """What lies until the cursor and what lies after it, with their opacities; the parts share one point.

        With a cursor there are always both, empty or not: so a plot keeps its marks while the cursor moves.
        """
        if self.cursor is None:
            return ((slice(None), 1.0),)
        count = int(np.searchsorted(steps, self.cursor, side="right"))
        after = slice(max(count - 1, 0), None) if count < len(steps) else slice(count, None)
        return (slice(count), 1.0), (after, FUTURE)

    def lines(self, whole: Lines) -> list[Mark]:
        """A curve, in the legend once."""
        single = len(whole.x) == 1
        return [
            replace(
                whole,
                x=whole.x[part],
                y=whole.y[part],
                label=whole.label if opacity == 1.0 else "",
                opacity=whole.opacity * opacity,
                points=single,
            )
            for part, opacity in self.parts(whole.x)
        ]

    def ribbons(self, steps: np.ndarray, low: np.ndarray, high: np.ndarray, role: str) -> list[Mark]:
        """A band without an entry in the legend."""
        return [
            Ribbon(steps[part], low[part], high[part], role=role, opacity=opacity)
            for part, opacity in self.parts(steps)
        ]


def curve_plot(
    spec: CurveSpec,
    series: Mapping[str, Series],
    rules: Mapping[str, float],
    *,
    log: bool | None = None,
    recent: float | None = None,
    others: Sequence[OtherRun] = (),
    bands: Sequence[SeedBand] = (),
    cursor: int | None = None,
) -> Plot:
    """The plot that a `CurveSpec` asks for.

    Parameters
    ----------
    spec : CurveSpec
    series : mapping of scalar to (steps, values, low, high)
        Scalars that are missing are left out; more than asked for do not matter. Where ``low`` and ``high`` differ a
        faint ribbon lies between them.
    rules : mapping of scalar to value
        Where the straight lines lie; see `newest_values`.
    log : bool, optional
        Whether y is logarithmic; as the description says if not given.
    recent : int, optional
        Show only so many of the newest steps; with a cursor, so many on either side of it.
    others : sequence of OtherRun
        Runs to compare with. The first scalar of the description that any of them has is solid, the next ones are
        dashed and dotted; those that are a reference even in the run in sight (role ``past``) are faint.
    bands : sequence of SeedBand
        Those of other scalars are left out.
    cursor : int, optional
        The step that is looked at: it is marked, and what comes after it is faint.

    Notes
    -----
    Where the description names a scalar for x, bands must be over that scalar already; all else is over steps.
    """
    place: float | None = cursor
    if spec.x_scalar:
        # The run in sight says where a step lies; without it, another one does.
        scale = next(
            (runs[spec.x_scalar] for runs in (series, *(o.series for o in others)) if spec.x_scalar in runs),
            None,
        )
        place = None if cursor is None else float(_on(scale, np.array([cursor]))[0])
        recent = None if recent is None else _stretched(scale, recent)
        series = over(series, spec.x_scalar)
        others = [replace(other, series=over(other.series, spec.x_scalar)) for other in others]
    own = _of(spec, series)
    beside = [found for other in others for found in _of(spec, other.series).values()]
    window = _window(own.values(), beside, recent, place)
    below, lines = _other_lines(spec, others, window)
    ribbons: list[Mark] = []
    for band in bands:
        if any(band.scalar == name for name, _, _ in spec.series) and len(band.steps):
            steps, center, low, high = window.cut((band.steps, band.center, band.low, band.high))
            assert low is not None and high is not None
            ribbons += window.ribbons(steps, low, high, band.role)
            lines += window.lines(Lines(steps, center, label=band.label, role=band.role, width=2.0))
    for name, label, role in spec.series:
        if name not in own:
            continue
        steps, values, edge_low, edge_high = window.cut(own[name])
        if edge_low is not None and edge_high is not None:
            ribbons += window.ribbons(steps, edge_low, edge_high, role)
        # A reference must not cover the runs that are compared.
        layer = below if role == "past" and (others or bands) else lines
        layer += window.lines(Lines(steps, values, label=label, role=role))
    straight: list[Mark] = [
        Rule(float(rules[name]), label=label, role=role)
        for name, label, role in spec.rules
        if name in rules and np.isfinite(rules[name])
    ]
    if place is not None:
        straight.append(Rule(float(place), axis="x", label=f"step {cursor:,}", role="hand", dash="solid"))
    is_log = spec.y_scale == "log" if log is None else log
    # In a record of training NaN is no pause but a fault, and the plot has to say so.
    lost = sum(
        int(np.count_nonzero(~np.isfinite(window.cut(found)[1]))) for found in (*own.values(), *beside)
    )
    return Plot(
        marks=(*ribbons, *straight, *below, *lines),
        x=Axis(spec.x_label or spec.x_scalar or "Step"),
        y=Axis(spec.y_label, spec.y_unit, "log" if is_log else "linear"),
        title=spec.title,
        caption=" ".join(filter(None, (spec.help, _key_to_lines(spec, others)))),
        note=f"{lost:,} {'value is' if lost == 1 else 'values are'} not finite" if lost else "",
    )


def _of(spec: CurveSpec, series: Mapping[str, Series]) -> dict[str, Series]:
    """What a run has of the scalars that are asked for, in their order."""
    return {name: series[name] for name, _, _ in spec.series if name in series and len(series[name][0])}


def over(series: Mapping[str, Series], scalar: str) -> dict[str, Series]:
    """A run's scalars over another of them instead of over steps; as they are where it is not reported."""
    scale = series.get(scalar)
    return {
        name: (_on(scale, steps), values, low, high) for name, (steps, values, low, high) in series.items()
    }


def _on(scale: Series | None, steps: np.ndarray) -> np.ndarray:
    """Where steps lie on a scale, linearly between those that were reported."""
    if scale is None or not len(scale[0]):
        return steps
    return np.interp(steps, scale[0], scale[1])


def _stretched(scale: Series | None, recent: float) -> float:
    """How far so many steps reach on a scale, on average."""
    if scale is None or len(scale[0]) < 2:
        return recent
    return recent * float(scale[1][-1] - scale[1][0]) / float(scale[0][-1] - scale[0][0])


def _window(
    own: Collection[Series], beside: Collection[Series], recent: float | None, cursor: float | None
) -> _Window:
    if recent is None or not (own or beside):
        return _Window(-np.inf, np.inf, cursor)
    if cursor is not None:
        return _Window(cursor - recent, cursor + recent, cursor)
    # The run in sight says what is new; without it, whichever other went farthest.
    newest = max(float(steps[-1]) for steps, _, _, _ in own or beside)
    return _Window(newest - recent, newest, None)


def _dashes(spec: CurveSpec, others: Sequence[OtherRun]) -> dict[str, Dash | None]:
    """How each scalar that any other run has is drawn, the same for all of them; None for faint."""
    had = {name for other in others for name in _of(spec, other.series)}
    patterns = itertools.cycle(_DASH_WORDS)
    return {name: None if role == "past" else next(patterns) for name, _, role in spec.series if name in had}


def _other_lines(
    spec: CurveSpec, others: Sequence[OtherRun], window: _Window
) -> tuple[list[Mark], list[Mark]]:
    """The curves of other runs: references, which lie below everything, and the rest."""
    below: list[Mark] = []
    lines: list[Mark] = []
    dashes = _dashes(spec, others)
    for other in others:
        found = _of(spec, other.series)
        # In the legend once: by a line that is seen well.
        named = next((name for name in found if dashes[name]), next(iter(found), ""))
        for name, series in found.items():
            steps, values, _, _ = window.cut(series)
            dash = dashes[name]
            line = Lines(
                steps,
                values,
                label=other.label if name == named else "",
                role=other.role,
                opacity=1.0 if dash else REFERENCE,
                width=other.width,
                dash=dash or "solid",
            )
            (lines if dash else below).extend(window.lines(line))
    return below, lines


def _key_to_lines(spec: CurveSpec, others: Sequence[OtherRun]) -> str:
    """Which of another run's lines is which, as the legend has room for the runs alone; empty if each has one line."""
    dashes = _dashes(spec, others)
    words = [
        f"{label} {_DASH_WORDS[dash] if (dash := dashes[name]) else 'faint'}"
        for name, label, _ in spec.series
        if name in dashes
    ]
    return f"Lines of other runs: {', '.join(words)}." if len(words) > 1 else ""


def newest_values(series: Mapping[str, Series], until: int | None = None) -> dict[str, float]:
    """The last finite value of each scalar that has one; up to the step ``until`` if that is given."""
    result: dict[str, float] = {}
    for name, (steps, values, _, _) in series.items():
        if until is not None:
            values = values[: int(np.searchsorted(steps, until, side="right"))]
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            result[name] = float(values[finite[-1]])
    return result


__all__ = ["FUTURE", "OtherRun", "SeedBand", "Series", "curve_plot", "newest_values", "over"]
