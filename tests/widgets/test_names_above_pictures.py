"""Names above the columns of pictures never run into each other."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QFont, QFontMetricsF
from pytestqt.qtbot import QtBot

from widgets.marks.images import fitted_names

NAMES = ("a", "small", "orange", "triangle", "<end>")


@pytest.fixture
def font(qtbot: QtBot) -> QFont:
    font = QFont()
    font.setPixelSize(11)
    return font


def widths(font: QFont, names: tuple[str, ...]) -> list[float]:
    return [QFontMetricsF(font).horizontalAdvance(name) for name in names]


def test_names_that_fit_are_drawn_as_they_are(font: QFont) -> None:
    drawn, names = fitted_names(NAMES, font, max(widths(font, NAMES)) + 1)
    assert drawn.pixelSize() == 11 and names == NAMES


def test_tight_names_are_smaller_first_and_whole(font: QFont) -> None:
    room = 0.85 * max(widths(font, NAMES))
    drawn, names = fitted_names(NAMES, font, room)
    assert 8 <= drawn.pixelSize() < 11 and names == NAMES
    assert max(widths(drawn, names)) <= room


@pytest.mark.parametrize("room", [14.0, 22.0, 30.0])
def test_where_there_is_no_room_names_are_cut_and_none_is_too_wide(font: QFont, room: float) -> None:
    drawn, names = fitted_names(NAMES, font, room)
    assert drawn.pixelSize() >= 8 and "a" in names
    assert max(widths(drawn, names)) <= room
    assert names != NAMES
