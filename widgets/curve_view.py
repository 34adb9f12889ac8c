"""Draws a run's scalars over its steps, as they come, and other runs beside it; runs on the GUI thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
from PySide6.QtCore import Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QWidget

from engines.figures import CurveSpec
from widgets.curves import OtherRun, SeedBand, Series, curve_plot, newest_values
from widgets.figure_view import FigureView

RECENT_STEPS = 1_000


class CurveView(FigureView):
    """A `FigureView` for a `CurveSpec`, with a logarithmic axis and the newest steps alone on request.

    Parameters
    ----------
    spec : CurveSpec
    parent : QWidget, optional
    recent_steps : int
        How many steps "the newest" are.
    """

    def __init__(
        self, spec: CurveSpec, parent: QWidget | None = None, *, recent_steps: int = RECENT_STEPS
    ) -> None:
        super().__init__(parent)
        self.spec = spec
        self._recent_steps = recent_steps
        self._series: Mapping[str, Series] = {}
        self._others: tuple[OtherRun, ...] = ()
        self._bands: tuple[SeedBand, ...] = ()
        self._cursor: int | None = None
        self.log_action = QAction("Logarithmic Y Axis", self)
        self.log_action.setCheckable(True)
        self.log_action.setChecked(spec.y_scale == "log")
        self.log_action.toggled.connect(self._on_log_action_toggled)
        self.recent_action = QAction(f"Newest {recent_steps:,} Steps Only", self)
        self.recent_action.setCheckable(True)
        self.recent_action.toggled.connect(self._on_recent_action_toggled)
        self.clear_series()

    def view_actions(self) -> list[QAction]:
        return [self.log_action, self.recent_action]

    def update_series(self, series: Mapping[str, Series]) -> None:
        """Show these scalars, which replace those before; arrays are kept and must not be written to any more.

        Parameters
        ----------
        series : mapping of scalar to (steps, values, low, high)
            ``low`` and ``high`` are the extremes that each value stands for, or None. Straight lines lie at the newest
            values of their scalars, or at those that were the newest at the cursor.
        """
        self._series = series
        self._draw()

    def clear_series(self) -> None:
        """Show no run; others beside it stay."""
        self._series = {}
        if self._has_curves():
            self._draw()
        else:
            self.clear("Press Train: the curve begins with the first steps.")

    def set_others(self, others: Sequence[OtherRun]) -> None:
        """Show these runs for comparison, in place of those before; their arrays are kept."""
        if not _same(self._others, others):
            self._others = tuple(others)
            self._draw()

    def set_bands(self, bands: Sequence[SeedBand]) -> None:
        """Show what these groups of runs have in common, in place of those before; their arrays are kept."""
        if not _same(self._bands, bands):
            self._bands = tuple(bands)
            self._draw()

    def set_cursor(self, step: int | None) -> None:
        """Mark the step that is looked at, with what comes after it faint; None for the newest, without a mark."""
        if step == self._cursor:
            return
        self._cursor = step
        if self.recent_action.isChecked():
            # The steps around the cursor move with it: a calm range would lag behind.
            for group in self._groups:
                group.x.reset()
                group.y.reset()
        self._draw()

    def _has_curves(self) -> bool:
        names = {name for name, _, _ in self.spec.series}
        runs = (self._series, *(other.series for other in self._others))
        return any(name in names and len(series[0]) for run in runs for name, series in run.items()) or any(
            band.scalar in names and len(band.steps) for band in self._bands
        )

    def _draw(self) -> None:
        if not self._has_curves():
            if self.figure is not None:
                self.clear_series()
            return
        self.set_figure(
            curve_plot(
                self.spec,
                self._series,
                newest_values(
                    {name: self._series[name] for name, _, _ in self.spec.rules if name in self._series},
                    self._cursor,
                ),
                log=self.log_action.isChecked(),
                recent=self._recent_steps if self.recent_action.isChecked() else None,
                others=self._others,
                bands=self._bands,
                cursor=self._cursor,
            )
        )

    @Slot(bool)
    def _on_log_action_toggled(self, checked: bool) -> None:
        self._draw()

    @Slot(bool)
    def _on_recent_action_toggled(self, checked: bool) -> None:
        self._draw()
        self.reset_view()


def _same(before: Sequence[object], now: Sequence[object]) -> bool:
    """Whether two lists of runs or bands would look the same; comparing is far cheaper than drawing."""
    return len(before) == len(now) and all(_equal(old, new) for old, new in zip(before, now, strict=True))


def _equal(old: object, new: object) -> bool:
    if old is new:
        return True
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
        return np.array_equal(old, new, equal_nan=True)
    if isinstance(old, tuple) and isinstance(new, tuple):
        return _same(old, new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_equal(old[name], new[name]) for name in old)
    if isinstance(old, OtherRun | SeedBand) and type(old) is type(new):
        return all(_equal(getattr(old, part.name), getattr(new, part.name)) for part in fields(old))
    return old is not None and new is not None and bool(old == new)


__all__ = ["RECENT_STEPS", "CurveView"]
