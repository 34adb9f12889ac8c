"""The time line of a panel: looks at any keyframe of the run in sight, and goes back to the present; GUI thread.

Scrubbing reads pictures from the run's folder on a thread of its own and never asks the worker: training goes on meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QObject, QTimer, Signal, Slot
from PySide6.QtWidgets import QWidget

from engines.errors import RunError
from engines.figures import Figure
from lab.panels.active_run import ActiveRun
from lab.runs import messages as m
from lab.runs.folder import Keyframe, bytes_of
from lab.runs.reader import FrameReader
from widgets.timeline import Timeline, TimelineBranch, TimelineKeyframe, TimelineMark

NEIGHBOURS = 3
"""Keyframes on either side that are read ahead of the hand."""

ARRIVAL_MS = 4
"""How often it is asked whether the pictures have come while somebody waits for them; reading takes about as long."""


class TimeMachine(QObject):
    """Which moment of the run is shown.

    Parameters
    ----------
    parent : QWidget
        The panel's page, in which the time line stands.

    Signals
    -------
    looked(object)
        A keyframe was chosen, or None for the present.
    arrived()
        The pictures of the chosen moment are there: `figures`.
    rewind_requested(), fork_requested()
        With the keyframe that is shown.
    branch_chosen(str)
        The folder of a run that was left behind or forked off.
    space_chosen(int)
        Bytes that keyframes may take.
    failed(str)
        Pictures of the chosen moment cannot be read; a sentence.
    """

    looked = Signal(object)
    arrived = Signal()
    rewind_requested = Signal()
    fork_requested = Signal()
    branch_chosen = Signal(str)
    space_chosen = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.timeline = Timeline(parent)
        self.timeline.keyframe_chosen.connect(self._on_timeline_keyframe_chosen)
        self.timeline.live_requested.connect(self._on_timeline_live_requested)
        self.timeline.rewind_requested.connect(self.rewind_requested)
        self.timeline.fork_requested.connect(self.fork_requested)
        self.timeline.branch_chosen.connect(self.branch_chosen)
        self.timeline.space_chosen.connect(self.space_chosen)
        self.timeline.hide()
        self._reader: FrameReader | None = None
        self._arrival = QTimer(self)
        self._arrival.setInterval(ARRIVAL_MS)
        self._arrival.timeout.connect(self._on_arrival_timeout)
        self._run: ActiveRun | None = None
        self._drawn: tuple[object, ...] = ()
        self._record: Keyframe | None = None
        self.figures: Mapping[str, Figure] = {}
        """The pictures of the moment that is looked at; empty while they are read, and in the present."""

    @property
    def record(self) -> Keyframe | None:
        """The keyframe that is looked at; None in the present."""
        return self._record

    @property
    def step(self) -> int | None:
        """The step that is looked at; None in the present."""
        return self._record.step if self._record is not None else None

    def follow(self, run: ActiveRun | None) -> None:
        """Show another run's time line, at its present."""
        if run is not self._run:
            self._run = run
            self._drawn = ()
            self._leave()
        self.timeline.setVisible(run is not None and (bool(run.keyframes) or run.session.step > 0))

    def refresh(self, total: int | None) -> None:
        """Bring the time line up to what is known of the run; cheap when nothing changed."""
        run = self._run
        if run is None:
            return
        first, last = (run.keyframes[0].step, run.keyframes[-1].step) if run.keyframes else (0, 0)
        # A run that goes on from a keyframe is there from the start.
        self.timeline.set_span(first, max(run.session.step, last), total)
        drawn = (run.version, run.key)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        self.timeline.setVisible(bool(run.keyframes) or run.session.step > 0)
        self.timeline.set_keyframes(
            [TimelineKeyframe(k.step, bool(k.frame), k.reason or "regular") for k in run.keyframes]
        )
        self.timeline.set_marks(marks_of(run))
        self.timeline.set_branches(
            [TimelineBranch(b.start, b.end, b.name, str(b.folder)) for b in run.branches]
        )
        self.timeline.set_space(bytes_of(run.keyframes), run.space)
        if self._reader is None and run.folder is not None and run.keyframes:
            self._reader = FrameReader()
            self._reader.warm_up(run.folder, run.keyframes[-1])
        if self._record is not None:
            self._place()

    def _place(self) -> None:
        """Keep the hand where it was while keyframes come and go around it."""
        run, record = self._run, self._record
        if run is None or record is None:
            return
        places = [k.place for k in run.keyframes]
        if record.place in places:
            self.timeline.set_position(places.index(record.place))
        elif places:
            # It was thinned out while somebody looked at it: its pictures are still there to see.
            self.timeline.set_position(min(range(len(places)), key=lambda i: abs(places[i][0] - record.step)))

    # --- looking  ----------

    @Slot(int)
    def _on_timeline_keyframe_chosen(self, index: int) -> None:
        self.look_at(index)

    @Slot()
    def _on_timeline_live_requested(self) -> None:
        self.go_live()

    def look_at(self, index: int) -> None:
        """Look at a keyframe by its index; `arrived` tells when its pictures are there."""
        run = self._run
        if run is None or run.folder is None or not 0 <= index < len(run.keyframes):
            return
        self._record = record = run.keyframes[index]
        self.timeline.set_position(index)
        self.timeline.set_can_rewind(True)
        self._reader = self._reader or FrameReader()
        self._arrival.start()
        near = run.keyframes[max(0, index - NEIGHBOURS) : index + NEIGHBOURS + 1]
        self._reader.request(run.folder, record, neighbours=tuple(k for k in near if k is not record))
        self.looked.emit(record)

    def look_at_step(self, step: int) -> None:
        """Look at the newest keyframe at or before a step."""
        if self._run is not None and self._run.keyframes:
            earlier = [index for index, k in enumerate(self._run.keyframes) if k.step <= step]
            self.look_at(earlier[-1] if earlier else 0)

    def go_live(self) -> None:
        """Back to the present."""
        if self._record is not None:
            self._leave()
            self.looked.emit(None)

    def _leave(self) -> None:
        self._record = None
        self.figures = {}
        self.timeline.set_position(None)
        self.timeline.set_can_rewind(False)

    @Slot()
    def _on_arrival_timeout(self) -> None:
        if self._record is None or self._reader is None:
            self._arrival.stop()
            return
        if (result := self._reader.poll()) is None:
            return
        folder, record, found = result
        if record != self._record or self._run is None or folder != self._run.folder:
            return
        self._arrival.stop()
        if isinstance(found, RunError):
            self.figures = {}
            self.failed.emit(str(found))
            return
        self.figures = found
        self.arrived.emit()

    def close(self) -> None:
        """End the reading thread."""
        self._arrival.stop()
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def marks_of(run: ActiveRun) -> list[TimelineMark]:
    """The marks on a run's time line: what happened, in words."""
    marks = [TimelineMark(mark.step, mark.kind, _words(mark)) for mark in run.marks]
    marks += [
        TimelineMark(
            k.step,
            "best",
            "The best kept so far" if k.value is None else f"The best kept so far: {k.value:.4g}",
        )
        for k in [k for k in run.keyframes if k.reason == "best"][-1:]
    ]
    return sorted(marks, key=lambda mark: mark.step)


def _words(mark: m.Marked) -> str:
    details = mark.details
    match mark.kind:
        case "change":
            values = details.get("values")
            if isinstance(values, Mapping):
                return "Changed: " + ", ".join(f"{name} = {_short(value)}" for name, value in values.items())
            return "A setting was changed"
        case "action":
            return f"By hand: {details.get('action', '')}"
        case "divergence":
            return str(details.get("sentence", "Training diverged"))
        case "fork":
            return f"Forked: {details.get('detail', '')}"
        case "branch":
            verb = {"fork": "Forked from", "rewind": "Rewound in", "continue": "Continued from"}
            return f"{verb.get(str(details.get('relation')), 'Continued from')} {details.get('parent', '')}"
    return mark.kind


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def folder_marks(events: list[dict[str, object]]) -> list[m.Marked]:
    """The marks that a run's folder has recorded."""
    kinds = ("change", "action", "divergence", "branch")
    return [
        m.Marked(step, str(event["kind"]), event)
        for event in events
        if event.get("kind") in kinds and isinstance(step := event.get("step"), int)
    ]


__all__ = ["TimeMachine", "folder_marks", "marks_of"]
