"""Keeps a run's keyframes: when, which, and with what pictures; a part of the worker's loop, called from it alone.

A keyframe is the engine's state and every picture of it. Regular ones come as often as `KeyframeSchedule` allows; beside them
the first, the last, the best, one before every live change, and one that shows a divergence are kept.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.errors import RunError
from engines.figures import Figure
from lab.runs.folder import BEFORE_CHANGE, DIVERGED, Keyframe, Metrics
from lab.runs.schedule import KeyframeSchedule
from lab.runs.shelf import headline_of
from lab.runs.writer import RunWriter

if TYPE_CHECKING:
    from engines.engine import Engine

GESTURE = 2.0
"""Seconds within which further changes of the same settings belong to one gesture, which one keyframe precedes."""

BEST_EVERY = 0.5
"""Seconds between best keyframes, where one best follows the other."""

YOUNG, YOUNG_SHARE = 5.0, 0.12
"""Seconds from the start of a run in which keyframes may take more of the time, and how much: everything changes then."""

BEST_SHARE, YOUNG_BEST_SHARE = 0.01, 0.05
"""Part of the time that best keyframes may take, at first the latter, beside what the regular ones may."""

CAPTURE_SHARE = 0.01
"""Part of the time that may go into holding the state of a new best until it is written. Methods that report their headline
at every step improve at every step: there the best keyframe is the best of those that were held."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Waiting:
    """The state of the best step so far, until there is time to write it."""

    step: int
    seconds: float
    data: bytes
    value: float
    config: Any


class Keeper:
    """The keyframes of one run.

    Parameters
    ----------
    engine : Engine
    writer : RunWriter
    space : int
        Bytes on the disk; 0 keeps nothing.
    pictures : callable
        Computes every picture of the engine's state; its argument says whether that is the present of the run.
    changed : callable
        Called when the list of keyframes is another one.

    Attributes
    ----------
    best, best_step
        The best value of the headline scalar so far, None where there was none.
    latest
        Its newest value.
    """

    def __init__(
        self,
        engine: Engine,
        writer: RunWriter,
        space: int,
        pictures: Callable[[bool], Mapping[str, Figure]],
        changed: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._headline, self._maximise = engine.method.headline, engine.method.maximise
        self._step = 0  # the newest that was noted
        self._writer = writer
        self._space = space
        self._pictures = pictures
        self._changed = changed
        self._schedule = KeyframeSchedule(space=max(space, 1), young_share=YOUNG_SHARE, young=YOUNG)
        # Their own share of the time: otherwise the regular ones would leave none for a new best.
        self._best_times = KeyframeSchedule(
            space=1, share=BEST_SHARE, young_share=YOUNG_BEST_SHARE, young=YOUNG, interval=BEST_EVERY
        )
        self._captures = KeyframeSchedule(space=1, share=CAPTURE_SHARE, young_share=CAPTURE_SHARE)
        # The keyframe of the present state, and one of this step whose state is not the present one any more.
        self._saved: Keyframe | None = None
        self._stale: Keyframe | None = None
        self._waiting: _Waiting | None = None
        self._gesture: tuple[frozenset[str], float] = (frozenset(), -math.inf)
        self.best: float | None = None
        self.best_step = -1
        self.latest: float | None = None

    def start(self) -> None:
        """Begin to count time."""
        now = time.monotonic()
        for schedule in (self._schedule, self._best_times, self._captures):
            schedule.start(now)

    def take_up(self, step: int, past: Metrics, values: Mapping[str, Any]) -> None:
        """Go on where another run was: its best is the one to beat.

        Parameters
        ----------
        step : int
        past : Metrics
            The other run's, up to there.
        values : mapping
            The settings in force in its keyframe there.
        """
        self._step = step
        self.latest, self.best, self.best_step = headline_of(past, self._engine.method)
        here = next((record for record in self._writer.keyframes if record.place == (step, True)), None)
        if values == self._engine.config.model_dump(mode="json"):
            self._saved = here
        else:
            self._stale = here
        self._thin()

    @property
    def space(self) -> int:
        """Bytes that keyframes may take."""
        return self._space

    def set_space(self, space: int) -> None:
        """Take another bound; what is too much is dropped at once."""
        self._space = space
        self._schedule.space = max(space, 1)
        if not space:
            self._waiting = None
        self._thin()
        self._changed()

    def touch(self) -> None:
        """Say that the state changed without a step."""
        self._saved, self._stale = None, self._saved or self._stale
        waiting = self._waiting
        if waiting is not None and waiting.step == self._step:
            # What stands at a step is what training goes on from.
            self._hold(waiting.step, waiting.seconds, waiting.value)

    @property
    def is_stale(self) -> bool:
        """Whether the keyframe of this step holds another state than training goes on from."""
        return self._stale is not None

    def settle(self, step: int, seconds: float) -> None:
        """Write the keyframe of this step anew if it holds another state than training goes on from.

        Raises
        ------
        RunError
            The disk refuses.
        """
        stale = self._stale
        if stale is not None:
            self.keep(step, seconds, stale.reason, finite=stale.finite)
            self._stale = None

    # --- while training  ----------

    def note(self, step: int, seconds: float, scalars: Mapping[str, float]) -> None:
        """Take a step's scalars, and keep the state if it is the best.

        Raises
        ------
        RunError
            The disk refuses.
        """
        self._step = step
        self._saved = self._stale = None
        value = scalars.get(self._headline)
        if value is None or not math.isfinite(value):
            return
        self.latest = value
        if self.best is not None and not (value > self.best if self._maximise else value < self.best):
            return
        self.best, self.best_step = value, step
        if not self._space:
            return
        now = time.monotonic()
        if self._best_times.is_due(now):
            self._waiting = None
            try:
                self.keep(step, seconds, "best")
            except RunError:
                self._hold(step, seconds, value)
                raise
        elif self._captures.can_afford(now):
            self._hold(step, seconds, value)
            self._captures.wrote(time.monotonic(), time.monotonic() - now)

    def poll(self, step: int, seconds: float) -> None:
        """Write what is due."""
        if not self._space:
            return
        now = time.monotonic()
        if self._waiting is not None and self._best_times.is_due(now):
            self.flush_best()
        if self._schedule.is_due(now):
            self.keep(step, seconds, "regular")

    def before_change(self, step: int, seconds: float, fields: Collection[str]) -> None:
        """Keep what was before a live change of these settings, unless the hand is still at the same gesture.

        Of several changes at one step, what was before the first of them is kept.
        """
        now = time.monotonic()
        earlier, when = self._gesture
        self._gesture = (frozenset(fields), now)
        if earlier == frozenset(fields) and now - when <= GESTURE:
            return
        # Later its pictures could not be drawn: they depend on the settings.
        self.flush_best()
        if not any(record.place == (step, False) for record in self._writer.keyframes):
            self.keep(step, seconds, BEFORE_CHANGE)

    # --- writing  ----------

    def keep(self, step: int, seconds: float, reason: str, *, finite: bool = True) -> None:
        """Write the present state and its pictures; what is on the disk already is only listed anew.

        What takes the place of a keyframe of an earlier state keeps that one's reason.

        Raises
        ------
        RunError
            The disk refuses.
        """
        if not self._space:
            return
        saved, is_before = self._saved, reason == BEFORE_CHANGE
        if saved is not None and saved.step == step and reason != DIVERGED:
            if is_before:
                self._writer.keyframe_again(saved, reason)
                self._changed()
            return
        began = time.monotonic()
        if finite and not self._engine.is_finite():
            # It cannot be trained from, and the next scalars will say so.
            return
        if step == self.best_step and reason in ("regular", "last"):
            reason = "best"
        if self._stale is not None and not is_before:
            reason = self._stale.reason
        data = self._pack(step)
        frame = self._frame(present=True)
        record = self._writer.keyframe(
            step, data, reason, frame=frame, seconds=seconds, finite=finite, value=self._value(step)
        )
        if not is_before:
            self._saved, self._stale = record, None
        self._count(reason, time.monotonic() - began)
        self._thin()
        self._changed()

    def flush_best(self) -> None:
        """Write the best state that still waits for its turn.

        Raises
        ------
        RunError
        """
        waiting = self._waiting
        if waiting is None:
            return
        began = time.monotonic()
        frame = self._frame_of(waiting)
        record = self._writer.keyframe(
            waiting.step, waiting.data, "best", frame=frame, seconds=waiting.seconds, value=waiting.value
        )
        self._waiting = None
        if waiting.step == self._step:
            self._saved, self._stale = record, None
        self._count("best", time.monotonic() - began)
        self._thin()
        self._changed()

    def _hold(self, step: int, seconds: float, value: float) -> None:
        """Hold the present state, the best so far, until there is time to write it."""
        if self._engine.is_finite():
            self._waiting = _Waiting(step, seconds, self._pack(step), value, self._engine.config)

    def _count(self, reason: str, seconds: float) -> None:
        if reason == "first":
            # Training has not begun: it takes nothing from it.
            return
        times = self._best_times if reason == "best" else self._schedule
        times.wrote(time.monotonic(), seconds)

    def _value(self, step: int) -> float | None:
        return self.best if step == self.best_step else self.latest

    def _pack(self, step: int) -> bytes:
        from lab.runs.state import pack

        values = json.dumps(self._engine.config.model_dump(mode="json"))
        return pack(self._engine.state_dict(), {"step": str(step), "values": values})

    def _frame(self, *, present: bool) -> bytes:
        from lab.runs.frames import pack

        figures = self._pictures(present)
        try:
            return pack(figures) if figures else b""
        except TypeError:
            # A picture is no reason to lose a run.
            logger.exception("the pictures of a keyframe")
            return b""

    def _frame_of(self, waiting: _Waiting) -> bytes:
        """The pictures of an earlier state: the engine goes back to it, and returns."""
        from lab.runs.state import pack, unpack

        config = self._engine.config
        if config.effect_of(config.differing(waiting.config)) != "display":
            # It was another model's, in a sense: what it would draw now was never seen.
            return b""
        present = pack(self._engine.state_dict())
        try:
            self._engine.load_state_dict(unpack(waiting.data)[0])
            return self._frame(present=False)
        finally:
            self._engine.load_state_dict(unpack(present)[0])

    def _thin(self) -> None:
        keyframes = self._writer.keyframes
        for record in self._schedule.surplus(keyframes) if self._space else list(keyframes):
            self._writer.drop_keyframe(record)
