"""A label that gives way: what it shows of its text, and what it leaves to others."""

from __future__ import annotations

from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget
from pytestqt.qtbot import QtBot

from widgets.eliding_label import ElidingLabel

TEXT = "Show, Attend and Tell: Neural Image Caption Generation"


def test_it_shows_all_of_its_text_where_there_is_room_and_dots_where_there_is_none(qtbot: QtBot) -> None:
    box = QWidget()
    qtbot.addWidget(box)
    row = QHBoxLayout(box)
    label, other = ElidingLabel(TEXT, box), QLabel("must stay in sight", box)
    row.addWidget(label)
    row.addWidget(other)
    box.show()
    box.resize(900, 40)
    assert label.shown_text() == TEXT == label.text()
    box.resize(box.minimumSizeHint().width() + 40, 40)
    assert label.text() == TEXT
    assert label.shown_text().endswith("…") and label.shown_text()[:2] == TEXT[:2]
    assert other.width() >= other.sizeHint().width()


def test_what_it_paints_is_what_it_says_it_shows(qtbot: QtBot) -> None:
    pictures = []
    for text, width in ((TEXT, 120), ("", 120)):
        label = ElidingLabel(text, None)  # type: ignore[arg-type]
        qtbot.addWidget(label)
        label.resize(width, 20)
        if text:
            shown = label.shown_text()
        pictures.append(label.grab().toImage())
    plain = QLabel(shown)
    qtbot.addWidget(plain)
    plain.resize(120, 20)
    assert pictures[0] == plain.grab().toImage() != pictures[1]
