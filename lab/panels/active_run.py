"""One run that a panel holds, trained or only looked at, with all that has been heard of it; GUI thread, no widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.figures import Figure
from lab.runs import messages as m
from lab.runs.folder import Keyframe
from lab.runs.history import ScalarHistory
from lab.runs.session import Session

COLORS = (0, 1, 2, 4, 5, 7, 3, 6)
"""The categories in the order in which runs get them: what the hand draws is pink as well, and yellow is faint on white."""


@dataclass(frozen=True)
class Branch:
    """A stretch of training that was left behind by a rewind, or that was forked off: from a step to a step, in a run."""

    start: int
    end: int
    name: str
    folder: Path


@dataclass(eq=False)
class ActiveRun:
    """What a panel knows of one of its runs.

    Attributes
    ----------
    session : Session
    role : str
        Its colour beside other runs.
    name, detail : str
        What it is called, and what differs from the others.
    history : ScalarHistory
    viewing : Path or None
        The run's folder when it is shown and not trained; training on begins a run of its own.
    meant_to_train : bool
        What the person asked for last; the state lags behind.
    start_number : int
        The number of the command that began it.
    keyframes : tuple of Keyframe
        Those that can be gone back to.
    live : dict of view to Figure
        The newest picture of each view.
    """

    session: Session
    role: str = "category-0"
    name: str = ""
    detail: str = ""
    history: ScalarHistory = field(default_factory=ScalarHistory)
    viewing: Path | None = None
    meant_to_train: bool = True
    start_number: int = 0
    started: m.Started | None = None
    progress: m.Progress | None = None
    diverged: m.Diverged | None = None
    keyframes: tuple[Keyframe, ...] = ()
    space: int = m.KEYFRAME_SPACE
    marks: list[m.Marked] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    live: dict[str, Figure] = field(default_factory=dict)
    after_start: list[m.Command] = field(default_factory=list)
    leash: int | None = None
    version: int = 0
    """Counts what the time line shows."""

    @property
    def key(self) -> str:
        """What tells it from the panel's other runs."""
        return self.session.spec.run

    @property
    def folder(self) -> Path | None:
        """Where it is kept: its own folder, or the one that is shown."""
        if self.viewing is not None:
            return self.viewing
        return Path(self.session.spec.folder) if self.session.spec.folder else None

    @property
    def state(self) -> m.RunState:
        """The run's state."""
        return self.session.state

    @property
    def is_alive(self) -> bool:
        """Whether it can still be trained or asked."""
        return self.state not in m.ENDED

    def values(self) -> Mapping[str, Any]:
        """The settings in force: those that it began with, and what was changed live since."""
        values = dict(self.started.values if self.started is not None else self.session.spec.values)
        for mark in self.marks:
            changed = mark.details.get("values")
            # What it began with holds the changes before that.
            if mark.kind == "change" and isinstance(changed, Mapping) and not mark.details.get("inherited"):
                values.update(changed)
        return values
