"""The line of words: choosing, marks and the keyboard."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from widgets.word_bar import WordBar

WORDS = ("a", "small", "red", "circle")


@pytest.fixture
def bar(qtbot: QtBot) -> WordBar:
    bar = WordBar()
    qtbot.addWidget(bar)
    bar.resize(500, 36)
    bar.show()
    bar.set_words(WORDS, {2: ("pencil", "Word put in by you")})
    return bar


def test_a_click_chooses_a_word_and_says_so(qtbot: QtBot, bar: WordBar) -> None:
    with qtbot.waitSignal(bar.word_chosen) as chosen:
        qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(3).center())
    assert chosen.args == [3] and bar.currentIndex() == 3


def test_what_is_chosen_or_shown_from_outside_is_not_reported(bar: WordBar) -> None:
    heard: list[int] = []
    bar.word_chosen.connect(heard.append)
    bar.choose(2)
    bar.set_words(("two", "words"))
    bar.choose(7)
    assert heard == [] and bar.currentIndex() == 1 and bar.words == ("two", "words")


def test_the_button_of_a_marked_word_asks_to_take_the_mark_away(qtbot: QtBot, bar: WordBar) -> None:
    button = bar.unmark_button(2)
    assert button is not None and "red" in button.accessibleName()
    assert [bar.unmark_button(place) for place in (0, 1, 3)] == [None, None, None]
    with qtbot.waitSignal(bar.unmark_requested) as asked:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert asked.args == [2]
    bar.set_words(WORDS)
    assert bar.unmark_button(2) is None and bar.tabIcon(2).isNull() and bar.marks == {}


def test_marks_move_with_their_places_when_words_go(bar: WordBar) -> None:
    bar.set_words(("a", "blue", "square"), {1: ("eye", "Attention moved by you")})
    assert [bar.unmark_button(place) is not None for place in range(3)] == [False, True, False]
    assert [bar.tabIcon(place).isNull() for place in range(3)] == [True, False, True]


def test_everything_answers_on_the_keyboard(qtbot: QtBot, bar: WordBar) -> None:
    bar.setFocus()
    bar.choose(1)
    with qtbot.waitSignal(bar.word_chosen) as chosen:
        qtbot.keyClick(bar, Qt.Key.Key_Right)
    assert chosen.args == [2]
    with qtbot.waitSignal(bar.nudged) as nudged:
        qtbot.keyClick(bar, Qt.Key.Key_Up, Qt.KeyboardModifier.ShiftModifier)
    assert nudged.args == [-1, 0] and bar.currentIndex() == 2
    for key in (Qt.Key.Key_Return, Qt.Key.Key_F2):
        with qtbot.waitSignal(bar.change_requested) as wanted:
            qtbot.keyClick(bar, key)
        assert wanted.args == [2]
    with qtbot.waitSignal(bar.unmark_requested) as asked:
        qtbot.keyClick(bar, Qt.Key.Key_Delete)
    assert asked.args == [2]


def test_a_double_click_asks_for_another_word(qtbot: QtBot, bar: WordBar) -> None:
    with qtbot.waitSignal(bar.change_requested) as wanted:
        qtbot.mouseDClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(1).center())
    assert wanted.args == [1]


def test_delete_says_nothing_where_there_is_no_mark(qtbot: QtBot, bar: WordBar) -> None:
    bar.choose(0)
    with qtbot.assertNotEmitted(bar.unmark_requested):
        qtbot.keyClick(bar, Qt.Key.Key_Delete)


def test_an_ampersand_is_shown_as_it_is(bar: WordBar) -> None:
    bar.set_words(("salt", "&", "pepper"))
    assert bar.words[1] == "&" and bar.tabText(1) == "&&"
