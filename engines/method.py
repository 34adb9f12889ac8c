"""What can be known of a paper's method before torch is loaded; any thread or process, imports numpy at most.

The window builds its forms, lists and docks from a `Method`; only workers import the engine that it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engines.config import Preset, Settings
from engines.figures import CurveSpec, FigureSpec


@dataclass(frozen=True)
class Action:
    """A request of the hand. Subclasses are frozen dataclasses of plain data, one per gesture.

    Class attributes
    ----------------
    is_noted : bool
        Whether it is a mark on the run's time line; not where a drag would leave hundreds that mean nothing later.
    """

    is_noted: ClassVar[bool] = True


@dataclass(frozen=True)
class Question(Action):
    """A request that changes nothing: it is answered, and leaves no mark in the run's history."""


@dataclass(frozen=True)
class Method:
    """A paper's method as the application sees it.

    Attributes
    ----------
    engine : str
        ``"module:Class"`` of the `engines.engine.Engine`.
    config : type of Settings
    presets : tuple of Preset
        The first is the demo: something meaningful within 10 s on two CPU cores.
    views : tuple of FigureSpec or CurveSpec
        Every picture that a run has.
    headline : str
        The scalar that best says how well a run does, for lists and titles.
    headline_label : str
        That scalar in words, with its unit.
    maximise : bool
        Whether more of it is better.
    watched : str
        The scalar of every step by which a run that diverges is noticed; `headline` if empty.
    learning_rate : str
        The live setting that is lowered after a divergence; empty where there is none.
    bench : str
        ``"module:function"`` of what ``lab bench engines`` measures of this method, beside a public implementation where
        there is one; empty where its updates per second say enough. Called as ``function(preset, seconds, rounds, peer)``:
        the chosen `engines.config.Preset` or None, seconds of each interleaved part, and "auto", "yes" or "no" for whether
        the other implementation is measured if it is installed, in any case, or not at all. It returns plain data.
    """

    engine: str
    config: type[Settings]
    presets: tuple[Preset, ...]
    views: tuple[FigureSpec | CurveSpec, ...]
    headline: str
    headline_label: str
    maximise: bool = False
    watched: str = ""
    learning_rate: str = ""
    bench: str = ""

    def view(self, name: str) -> FigureSpec | CurveSpec:
        """The view of that name.

        Raises
        ------
        KeyError
        """
        return {view.name: view for view in self.views}[name]

    def figure_names(self) -> tuple[str, ...]:
        """Names of the pictures that the engine computes, as opposed to curves of scalars."""
        return tuple(view.name for view in self.views if isinstance(view, FigureSpec))
