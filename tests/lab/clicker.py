"""What everybody does who tries the window in a test: wait, and click what can be clicked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from lab.panels.panel import Panel
from tests.lab.conftest import PATIENCE


class Clicker:
    """Waits and clicks; events are handled meanwhile."""

    def __init__(self, qtbot: QtBot) -> None:
        self.qtbot = qtbot

    def until(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=PATIENCE)

    def press(self, button: QWidget) -> None:
        """Click a button once it can be clicked: the window shows a new state a moment after the panel has it."""
        self.until(lambda: button.isVisible() and button.isEnabled())
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


class Draughtsman(Clicker):
    """Clicks and drags on the pictures of a panel, too."""

    panel: Panel

    def place(self, name: str, x: float, y: float, plot: int = 0) -> tuple[QWidget, QPoint]:
        """Where a point of a view's axes lies on the screen."""
        view = self.panel.view(name)
        return view.canvas.viewport(), view.canvas.mapFromScene(view.areas[plot].to_scene(x, y))

    def click(self, name: str, x: float, y: float, plot: int = 0) -> None:
        widget, place = self.place(name, x, y, plot)
        self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=place)

    def drag(self, name: str, points: Sequence[tuple[float, float]], plot: int = 0) -> None:
        """Press at the first point, move over the others, let go at the last."""
        places = [self.place(name, x, y, plot) for x, y in points]
        widget = places[0][0]
        self.qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=places[0][1])
        for _, place in places[1:]:
            self.qtbot.mouseMove(widget, place)
        self.qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=places[-1][1])
