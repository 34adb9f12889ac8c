"""One start for ``lab bench start``: a window of the named kind, timed by the clock that all processes share.

Main thread of a process of its own. A window is usable when it has been painted and its event loop has come round again.
Prints one JSON line: ``usable_at`` on the monotonic clock and, for the lab, ``first_picture``: seconds from Train, with a
warm worker, to the first picture drawn.
"""

from __future__ import annotations

import json
import sys
import time


def bare() -> None:
    """A window with one empty plot, as small as PySide6 and pyqtgraph go."""
    import pyqtgraph
    from PySide6.QtCore import QTimer
    from PySide6.QtWidgets import QApplication

    app = QApplication(["bare"])
    plot = pyqtgraph.PlotWidget()
    plot.resize(1440, 900)
    plot.show()

    def painted() -> None:
        print(json.dumps({"usable_at": time.monotonic()}))
        app.quit()

    QTimer.singleShot(0, lambda: QTimer.singleShot(0, painted))
    app.exec()


def lab(paper: str) -> None:
    """The lab's window, then Train."""
    from lab.commands.window import hasten_imports

    hasten_imports()
    from PySide6.QtCore import QObject, QTimer

    from lab.window.application import Application

    application = Application()
    application.show(paper)
    report: dict[str, float] = {}
    owner = QObject()
    poll = QTimer(owner)
    poll.setInterval(5)
    state = {"pressed": 0.0}

    def painted() -> None:
        report["usable_at"] = time.monotonic()
        poll.start()

    def watch() -> None:
        panel = application.window.current_panel()
        if panel is None:
            return
        if not state["pressed"]:
            if application.pool.is_warm():
                state["pressed"] = time.monotonic()
                panel.play()
        elif panel.has_picture():
            report["first_picture"] = time.monotonic() - state["pressed"]
            poll.stop()
            application.window.close()

    poll.timeout.connect(watch)
    QTimer.singleShot(0, lambda: QTimer.singleShot(0, painted))
    application.qt.exec()
    application.close()
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1] == "bare":
        bare()
    else:
        lab(sys.argv[2])
