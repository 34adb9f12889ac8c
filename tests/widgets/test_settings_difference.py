"""The settings in which two runs differ: shown, and copied as text."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from widgets.settings_difference import SettingsDifference

ROWS = [("Step size", "0.0003", "0.001"), ("Batch", "128", "512"), ("Path", "", "points.csv")]


@pytest.fixture
def difference(qtbot):
    made = SettingsDifference()
    qtbot.addWidget(made)
    made.show()
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    return made


def test_it_shows_both_values(difference) -> None:
    difference.set_difference("wide", "deep", ROWS)
    assert difference.view.isVisible() and not difference.same_label.isVisible()
    assert difference.text().splitlines() == [
        "Setting\twide\tdeep",
        "Step size\t0.0003\t0.001",
        "Batch\t128\t512",
        "Path\tnone\tpoints.csv",
    ]


def test_it_says_when_there_is_no_difference(difference) -> None:
    difference.set_difference("wide", "deep", ROWS)
    difference.set_difference("wide", "deep", [])
    assert difference.same_label.isVisible() and not difference.view.isVisible()
    assert difference.same_label.text() == difference.text() == "Both runs have the same settings."


def test_all_or_the_selected_lines_are_copied(difference) -> None:
    difference.set_difference("wide", "deep", ROWS)
    difference.view.setFocus()
    QTest.keyClick(difference.view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == difference.text()
    item = difference.view.topLevelItem(1)
    QTest.mouseClick(
        difference.view.viewport(),
        Qt.MouseButton.LeftButton,
        pos=difference.view.visualItemRect(item).center(),
    )
    QTest.keyClick(difference.view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == "Setting\twide\tdeep\nBatch\t128\t512"


def test_it_is_as_high_as_its_lines(difference) -> None:
    difference.set_difference("wide", "deep", ROWS)
    difference.resize(difference.sizeHint())
    QApplication.processEvents()
    last = difference.view.visualItemRect(difference.view.topLevelItem(2))
    assert difference.view.viewport().rect().contains(last)
