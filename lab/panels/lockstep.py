"""Keeps runs of one panel at the same step while they train; GUI thread, no widgets.

No run may be further than a leash ahead of the slowest, and when they pause they pause at one step.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.panels.active_run import ActiveRun

AHEAD = 0.2
"""Seconds of training by which a run may be ahead."""
LEAST = 8
"""Steps by which a run may be ahead at least."""


class Lockstep:
    """Leashes for runs side by side; `enabled` says whether they are held together."""

    def __init__(self) -> None:
        self.enabled = False
        self._pausing_at: int | None = None

    def release(self, runs: Sequence[ActiveRun]) -> None:
        """Let every run go."""
        self._pausing_at = None
        for run in runs:
            _leash(run, None)

    def pause(self, runs: Sequence[ActiveRun]) -> None:
        """Pause all at one step: the last that any of them may have begun."""
        for run in runs:
            if run.state == "starting":
                run.session.pause()
        training = [run for run in runs if run.state == "running"]
        ahead = max((max(run.session.step, run.leash or 0) for run in training), default=0)
        self._pausing_at = ahead
        for run in training:
            _leash(run, ahead)

    def tick(self, runs: Sequence[ActiveRun]) -> None:
        """Move the leashes on; called with the window's timer."""
        if not self.enabled:
            return
        # A run that is only shown holds nobody back, nor does one that has done all of its steps.
        held = [run for run in runs if run.viewing is None and run.is_alive and not run.session.is_finished]
        training = [run for run in held if run.state == "running"]
        if self._pausing_at is not None:
            if all(run.session.step >= self._pausing_at for run in training):
                for run in training:
                    run.session.pause()
                    _leash(run, None)
                self._pausing_at = None
            return
        if not training:
            return
        if len(held) < 2:
            _leash(training[0], None)
            return
        slowest = min(run.session.step for run in held)
        rates = [run.progress.steps_per_second for run in training if run.progress is not None]
        # By the fastest: one that waits for the others, or was held back, would make the leash ever shorter.
        ahead = max(LEAST, round(AHEAD * max(rates, default=0.0)))
        for run in training:
            _leash(run, slowest + ahead)


def _leash(run: ActiveRun, step: int | None) -> None:
    if run.leash != step:
        run.leash = step
        run.session.leash(step)
