"""The sheet of shortcuts lists what has keys, by group, and can be searched."""

from __future__ import annotations

import pytest
import shiboken6
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtTest import QTest

from widgets.shortcuts_sheet import ShortcutsSheet
from widgets.theme import ThemeManager


def _action(text: str, keys: str) -> QAction:
    action = QAction(text)
    action.setShortcut(QKeySequence(keys))
    return action


@pytest.fixture
def actions(qapp):
    train = _action("&Train", "")
    train.setProperty("shortcut_text", "Space")
    return {
        "Run": [train, _action("Step", "Ctrl+."), _action("No keys", "")],
        "Empty": [_action("Also none", "")],
    }


def test_lists_what_has_keys(qtbot, actions) -> None:
    sheet = ShortcutsSheet(actions, {"In a field": [("Esc", "Back")]})
    qtbot.addWidget(sheet)
    assert sheet.shown() == (("Train", "Space"), ("Step", "Ctrl+."), ("Back", "Esc"))
    assert not sheet.isModal()


def test_search_by_words_and_by_keys(qtbot, actions) -> None:
    sheet = ShortcutsSheet(actions)
    qtbot.addWidget(sheet)
    sheet.show()
    QTest.keyClicks(sheet.line, "trn")
    assert sheet.shown() == (("Train", "Space"),)
    sheet.line.clear()
    QTest.keyClicks(sheet.line, "ctrl")
    assert sheet.shown() == (("Step", "Ctrl+."),)


def test_closing_deletes(qtbot, actions) -> None:
    sheet = ShortcutsSheet(actions)
    sheet.show()
    with qtbot.waitSignal(sheet.destroyed):
        sheet.close()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_both_themes(qtbot, qapp, actions, mode) -> None:
    manager = ThemeManager(qapp, mode)
    sheet = ShortcutsSheet(actions)
    qtbot.addWidget(sheet)
    sheet.show()
    assert sheet.minimumSizeHint().width() <= 440
    before = sheet.grab().toImage().pixelColor(2, 2)
    manager.set_mode("dark" if mode == "light" else "light")
    assert sheet.grab().toImage().pixelColor(2, 2) != before
    shiboken6.delete(manager)
