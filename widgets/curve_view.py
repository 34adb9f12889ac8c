"""Draws a run's scalars over its steps, as they come; runs on the GUI thread."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QWidget

from engines.figures import CurveSpec
from widgets.curves import Series, curve_plot, newest_values
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
            values of their scalars.
        """
        self._series = series
        self._draw()

    def clear_series(self) -> None:
        """Show no run."""
        self._series = {}
        self.clear("Press Train: the curve begins with the first steps.")

    def _draw(self) -> None:
        names = {name for name, _, _ in self.spec.series}
        if not any(name in names and len(series[0]) for name, series in self._series.items()):
            if self.figure is not None:
                self.clear_series()
            return
        self.set_figure(
            curve_plot(
                self.spec,
                self._series,
                newest_values(
                    {name: self._series[name] for name, _, _ in self.spec.rules if name in self._series}
                ),
                log=self.log_action.isChecked(),
                recent=self._recent_steps if self.recent_action.isChecked() else None,
            )
        )

    @Slot(bool)
    def _on_log_action_toggled(self, checked: bool) -> None:
        self._draw()

    @Slot(bool)
    def _on_recent_action_toggled(self, checked: bool) -> None:
        self._draw()
        self.reset_view()


__all__ = ["RECENT_STEPS", "CurveView"]
