"""Python's cyclic garbage collector, kept on the GUI thread.

The collector runs in whichever thread happens to allocate. A training thread allocates a lot, so Qt objects that are part
of a cycle would be destroyed on it, which crashes Qt. While the window is open automatic collection is off and a timer on
the GUI thread collects instead, youngest generation first, as CPython's own thresholds would.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer, Slot


class GarbageCollector(QObject):
    """Collects on the GUI thread until `stop` is called."""

    INTERVAL_MS = 1000

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        gc.disable()
        # What exists at start-up (modules, classes) never becomes garbage: it need not be looked at again.
        gc.freeze()
        self._timer = QTimer(self)
        self._timer.setInterval(self.INTERVAL_MS)
        self._timer.timeout.connect(self._on_timer_timeout)
        self._timer.start()

    def stop(self) -> None:
        """Give collection back to the interpreter."""
        self._timer.stop()
        gc.unfreeze()
        gc.enable()

    @Slot()
    def _on_timer_timeout(self) -> None:
        counts, thresholds = gc.get_count(), gc.get_threshold()
        if counts[0] > thresholds[0]:
            generation = 0
            if counts[1] > thresholds[1]:
                generation = 2 if counts[2] > thresholds[2] > 0 else 1
            gc.collect(generation)
