"""The command palette and the sheet of shortcuts: found, run, remembered, listed."""

from __future__ import annotations

import pytest
import shiboken6
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QMainWindow

from widgets.command_palette import CommandPalette, action_text, fuzzy_match, shortcut_text
from widgets.theme import ThemeManager


@pytest.fixture(params=["light", "dark"])
def themed(qapp, request):
    manager = ThemeManager(qapp, request.param)
    yield manager
    shiboken6.delete(manager)


@pytest.fixture
def window(qtbot):
    made = QMainWindow()
    made.resize(1000, 700)
    made.done = []
    for text, keys, handler in (
        ("&Train", "", lambda: made.done.append("train")),
        ("Reset run", "Ctrl+R", lambda: made.done.append("reset")),
        ("Export picture…", "Ctrl+E", lambda: made.done.append("export")),
        ("Reset layout", "", lambda: made.done.append("layout")),
        ("Undo", "Ctrl+Z", lambda: made.done.append("undo")),
    ):
        action = QAction(text, made)
        action.setShortcut(QKeySequence(keys))
        action.triggered.connect(handler)
        made.addAction(action)
    separator = QAction(made)
    separator.setSeparator(True)
    made.addAction(separator)
    hidden = QAction("Hidden", made)
    hidden.setVisible(False)
    made.addAction(hidden)
    made.actions()[4].setEnabled(False)
    made.palette_popup = CommandPalette(made.actions, made)
    made.show()
    qtbot.addWidget(made)
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    yield made
    made.palette_popup.hide()


@pytest.mark.parametrize(
    ("key", "modifiers"),
    [
        (Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier),
        (Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier),
    ],
)
def test_opens_with_keys_shows_all_and_closes_with_escape(window, key, modifiers) -> None:
    QTest.keyClick(window, key, modifiers)
    popup = window.palette_popup
    assert popup.isVisible()
    assert set(popup.shown_texts()) == {"Train", "Reset run", "Export picture", "Reset layout", "Undo"}
    # What cannot be done now comes last.
    assert popup.shown_texts()[-1] == "Undo"
    QTest.keyClick(popup.line, Qt.Key.Key_Escape)
    assert not popup.isVisible() and window.done == []


def test_typing_narrows_and_enter_runs(window) -> None:
    popup = window.palette_popup
    popup.open_palette()
    QTest.keyClicks(popup.line, "rl")
    assert popup.shown_texts()[0] == "Reset layout"
    QTest.keyClick(popup.line, Qt.Key.Key_Return)
    assert window.done == ["layout"] and not popup.isVisible()


def test_arrows_move_and_wrap(window) -> None:
    popup = window.palette_popup
    popup.open_palette()
    QTest.keyClicks(popup.line, "reset")
    assert popup.shown_texts() == ("Reset run", "Reset layout")
    QTest.keyClick(popup.line, Qt.Key.Key_Down)
    QTest.keyClick(popup.line, Qt.Key.Key_Down)
    QTest.keyClick(popup.line, Qt.Key.Key_Up)
    QTest.keyClick(popup.line, Qt.Key.Key_Return)
    assert window.done == ["layout"]


def test_mouse_runs_and_disabled_does_nothing(window) -> None:
    popup = window.palette_popup
    popup.open_palette()
    QTest.keyClicks(popup.line, "undo")
    QTest.keyClick(popup.line, Qt.Key.Key_Return)
    assert popup.isVisible() and window.done == []
    popup.line.setText("export")
    QTest.mouseClick(
        popup.list.viewport(),
        Qt.MouseButton.LeftButton,
        pos=popup.list.visualRect(popup.list.model().index(0, 0)).center(),
    )
    assert window.done == ["export"]


def test_nothing_found_is_said(window) -> None:
    popup = window.palette_popup
    popup.open_palette()
    QTest.keyClicks(popup.line, "zzz")
    assert popup.shown_texts() == () and popup._empty.isVisible()
    QTest.keyClick(popup.line, Qt.Key.Key_Return)
    QTest.keyClick(popup.line, Qt.Key.Key_Down)
    assert popup.isVisible()


def test_recent_come_first_and_are_remembered(window, qtbot) -> None:
    popup = window.palette_popup
    popup.open_palette()
    QTest.keyClicks(popup.line, "layout")
    with qtbot.waitSignal(popup.ran):
        QTest.keyClick(popup.line, Qt.Key.Key_Return)
    popup.open_palette()
    assert popup.shown_texts()[0] == "Reset layout"
    popup.set_recent(["Train"])
    popup.open_palette()
    assert popup.shown_texts()[0] == "Train" and popup.recent() == ("Train",)


def test_actions_made_later_are_found(window) -> None:
    late = QAction("Late comer", window)
    window.addAction(late)
    window.palette_popup.open_palette()
    assert "Late comer" in window.palette_popup.shown_texts()


@given(st.text(min_size=1, max_size=12), st.text(max_size=40))
def test_matches_are_letters_in_order(pattern, text) -> None:
    match = fuzzy_match(pattern, text)
    wanted = [letter for letter in pattern.casefold() if not letter.isspace()]
    folded = [letter.casefold() for letter in text]
    if match is not None:
        assert list(match.positions) == sorted(set(match.positions))
        assert [folded[position] for position in match.positions] == wanted
    else:
        remaining = iter(folded)
        assert not all(letter in remaining for letter in wanted)


def test_beginnings_of_words_win() -> None:
    better, worse = fuzzy_match("rl", "Reset layout"), fuzzy_match("rl", "Clear all")
    assert better.positions == (0, 6) and better.score > worse.score
    assert fuzzy_match("xyz", "Reset") is None


def test_texts_of_actions(qapp) -> None:
    action = QAction("Save && &close…")
    action.setShortcut(QKeySequence("Ctrl+S"))
    assert action_text(action) == "Save & close"
    assert shortcut_text(action) == "Ctrl+S"
    action.setProperty("shortcut_text", "Space")
    assert shortcut_text(action) == "Space"


def test_palette_in_both_themes(themed, window) -> None:
    popup = window.palette_popup
    popup.open_palette()
    assert popup.width() <= window.width()
    QTest.keyClicks(popup.line, "re")
    before = popup.grab().toImage().pixelColor(4, popup.height() // 2)
    themed.set_mode("dark" if themed.mode == "light" else "light")
    assert popup.grab().toImage().pixelColor(4, popup.height() // 2) != before
