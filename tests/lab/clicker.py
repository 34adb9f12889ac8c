"""What everybody does who tries the window in a test: wait, and click what can be clicked."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

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
