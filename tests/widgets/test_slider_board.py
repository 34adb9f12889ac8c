"""The table of sliders: what it shows, what it reports, and what it refuses."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from widgets.slider_board import BoardColumn, SliderBoard

VALUES = (1, 2, 3, 4, 8, 32)
COLUMNS = (
    BoardColumn("First", "About the first", "First of {}"),
    BoardColumn("Second", "About the second", "Second of {}"),
)


@pytest.fixture
def board(qtbot: QtBot) -> SliderBoard:
    """Three rows."""
    board = SliderBoard(VALUES, COLUMNS, "share", "About shares")
    qtbot.addWidget(board)
    board.set_rows(["a", "b", "c"])
    board.resize(600, 120)
    board.show()
    qtbot.waitExposed(board)
    return board


def reports(board: SliderBoard) -> list[tuple[int, tuple[int, ...], bool]]:
    """What it reports from now on."""
    found: list[tuple[int, tuple[int, ...], bool]] = []
    board.changed.connect(lambda column, numbers, held: found.append((column, tuple(numbers), held)))
    return found


def test_it_shows_numbers_without_reporting_them(board: SliderBoard) -> None:
    found = reports(board)
    board.set_numbers(0, [4, 32, 1])
    assert board.numbers(0) == (4, 32, 1) and board.numbers(1) == (1, 1, 1)
    assert [field.text() for field in board.fields[0]] == ["4", "32", "1"]
    assert found == []
    with pytest.raises(ValueError):
        board.set_numbers(0, [5, 1, 1])


def test_slider_and_field_go_together_and_report_the_column(qtbot: QtBot, board: SliderBoard) -> None:
    board.set_numbers(1, [4, 4, 4])
    found = reports(board)
    board.sliders[1][2].setFocus()
    qtbot.keyClick(board.sliders[1][2], Qt.Key.Key_Right)
    assert found == [(1, (4, 4, 8), False)] and board.fields[1][2].text() == "8"
    board.fields[1][0].setFocus()
    board.fields[1][0].selectAll()
    qtbot.keyClicks(board.fields[1][0], "32")
    qtbot.keyClick(board.fields[1][0], Qt.Key.Key_Return)
    assert found[1:] == [(1, (32, 4, 8), False)] and board.sliders[1][0].value() == 5


def test_what_is_none_of_the_numbers_is_refused_and_the_old_one_stays(
    qtbot: QtBot, board: SliderBoard
) -> None:
    board.set_numbers(0, [4, 4, 4])
    found, refused = reports(board), []
    board.refused.connect(refused.append)
    field = board.fields[0][1]
    field.setFocus()
    for text in ("5", "99", "0"):
        field.selectAll()
        qtbot.keyClicks(field, text)
        qtbot.keyClick(field, Qt.Key.Key_Return)
    assert refused == ["5", "99", "0"] and found == [] and field.text() == "4"
    field.selectAll()
    qtbot.keyClicks(field, "x")
    assert field.text() == "4", "what is no number is not taken at all"


def test_a_held_slider_says_so_until_it_is_let_go(qtbot: QtBot, board: SliderBoard) -> None:
    found, let_go = reports(board), []
    board.let_go.connect(let_go.append)
    slider = board.sliders[0][0]
    middle = slider.height() // 2
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=QPoint(6, middle))
    assert board.is_held()
    qtbot.mouseMove(slider, QPoint(slider.width() - 4, middle))
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=QPoint(slider.width() - 4, middle))
    assert found and found[-1] == (0, (32, 1, 1), True) and let_go == [0] and not board.is_held()


def test_linked_sliders_take_the_same_number(qtbot: QtBot, board: SliderBoard) -> None:
    board.set_numbers(0, [1, 2, 3])
    board.links[0].setChecked(True)
    found = reports(board)
    qtbot.keyClick(board.sliders[0][1], Qt.Key.Key_Right)
    assert found == [(0, (3, 3, 3), False)] and board.numbers(0) == (3, 3, 3)
    qtbot.keyClick(board.sliders[1][1], Qt.Key.Key_Right)
    assert found[1:] == [(1, (1, 2, 1), False)], "the other column is free"


def test_a_double_click_goes_to_what_is_suggested(qtbot: QtBot, board: SliderBoard) -> None:
    board.set_suggested(0, [8, 2, 1])
    found = reports(board)
    qtbot.mouseDClick(board.sliders[0][0], Qt.MouseButton.LeftButton)
    assert found[-1][:2] == (0, (8, 1, 1))
    board.set_suggested(0, None)
    assert [slider.suggested for slider in board.sliders[0]] == [-1, -1, -1]


def test_the_largest_share_of_both_columns_stands_out(board: SliderBoard) -> None:
    board.set_shares([[0.1, 0.002, 0.3], [0.0, 0.598, 0.0]])
    standing_out = [bar for bars in board.shares for bar in bars if bar.is_largest]
    assert standing_out == [board.shares[1][1]] and standing_out[0].text() == "60 %"
    assert board.sliders[1][1].accessibleDescription() == "share 60 %"
    assert board.shares[0][1].text() == "<1 %" and board.shares[1][0].text() == "0 %"
    board.set_shares([[0.0] * 3, [0.0] * 3])
    assert not any(bar.is_largest for bars in board.shares for bar in bars)


def test_rows_come_and_go_with_their_names(board: SliderBoard) -> None:
    board.set_numbers(0, [2, 3, 4])
    board.set_rows(["a", "z"])
    assert board.numbers(0)[:2] == (2, 3) and not board.sliders[0][2].isVisible()
    assert board.sliders[1][1].accessibleName() == "Second of z"
    assert board.fields[1][1].accessibleName() != board.sliders[1][1].accessibleName()
    board.set_rows(["a", "b", "c", "d"])
    assert board.sliders[0][3].isVisible() and board.name_buttons[3].text() == "d"


def test_the_name_of_a_row_chooses_it(qtbot: QtBot, board: SliderBoard) -> None:
    chosen: list[int] = []
    board.row_chosen.connect(chosen.append)
    board.choose_row(0)
    qtbot.mouseClick(board.name_buttons[2], Qt.MouseButton.LeftButton)
    assert chosen == [2] and board.name_buttons[0].isChecked(), "whoever listens decides"
    board.choose_row(2)
    assert [button.isChecked() for button in board.name_buttons] == [False, False, True]
