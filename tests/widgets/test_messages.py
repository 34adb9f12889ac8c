"""Messages: read, acted on, copied, gone by themselves or not, and stacked."""

from __future__ import annotations

import pytest
import shiboken6
from PySide6.QtCore import QPoint, QSize, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from widgets.messages import Message, MessageArea
from widgets.theme import ThemeManager


@pytest.fixture(params=["light", "dark"])
def themed(qapp, request):
    manager = ThemeManager(qapp, request.param)
    yield manager
    shiboken6.delete(manager)


@pytest.fixture
def area(qtbot):
    made = MessageArea()
    qtbot.addWidget(made)
    made.resize(500, 400)
    return made


def test_actions_are_reported_with_the_messages_key(area, qtbot) -> None:
    message = area.show_message(
        "error", "It broke.", actions=[("retry", "Try again"), ("cpu", "Use the CPU")], key="oom"
    )
    with qtbot.waitSignal(area.action_triggered) as triggered:
        QTest.mouseClick(message.action_buttons["cpu"], Qt.MouseButton.LeftButton)
    assert triggered.args == ["oom", "cpu"]
    assert area.messages() == (message,)


def test_close_button_and_escape(area, qtbot) -> None:
    first = area.show_message("error", "One.")
    with qtbot.waitSignal(first.destroyed):
        QTest.mouseClick(first.close_button, Qt.MouseButton.LeftButton)
    second = area.show_message("error", "Two.")
    QTest.keyClick(second.close_button, Qt.Key.Key_Escape)
    assert area.messages() == ()
    assert area.isHidden()


def test_details_fold_out_and_can_be_copied(area) -> None:
    message = area.show_message("error", "It broke.", details="Traceback: line 7")
    assert not message.are_details_shown()
    QTest.mouseClick(message._details_button, Qt.MouseButton.LeftButton)
    assert message.are_details_shown()
    QTest.mouseClick(message._copy_button, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "It broke.\n\nTraceback: line 7"
    QTest.mouseClick(message._details_button, Qt.MouseButton.LeftButton)
    assert not message.are_details_shown()


def test_information_goes_by_itself_and_errors_stay(area, qtbot) -> None:
    error = area.show_message("error", "Stays.")
    warning = area.show_message("warning", "Stays, too.")
    assert not error._timer.isActive() and not warning._timer.isActive()
    # Moved away from wherever the pointer is, which keeps a message.
    area.move(QPoint(4000, 4000))
    area.show()
    information = area.show_message("info", "Goes.", hide_after_ms=20)
    qtbot.waitUntil(lambda: not shiboken6.isValid(information))
    assert area.messages() == (warning, error)


def test_open_details_keep_information(area) -> None:
    message = area.show_message("info", "Look.", details="long")
    assert message._timer.isActive()
    QTest.mouseClick(message._details_button, Qt.MouseButton.LeftButton)
    assert not message._timer.isActive()
    QTest.mouseClick(message._details_button, Qt.MouseButton.LeftButton)
    assert message._timer.isActive()


def test_newest_on_top_and_three_in_sight(area) -> None:
    messages = [area.show_message("warning", f"Number {number}.") for number in range(5)]
    area.show()
    assert area.messages() == tuple(reversed(messages))
    assert [message.isVisible() for message in area.messages()] == [True, True, True, False, False]
    assert messages[4].y() <= messages[3].y()
    assert area._more.text() == "2 more"
    QTest.mouseClick(area._more, Qt.MouseButton.LeftButton)
    assert all(message.isVisible() for message in messages)
    QTest.mouseClick(area._more, Qt.MouseButton.LeftButton)
    messages[4].close_message()
    assert area._more.text() == "1 more" and messages[1].isVisible()
    QTest.mouseClick(area._clear, Qt.MouseButton.LeftButton)
    assert area.messages() == ()


def test_same_key_or_same_words_replace(area) -> None:
    area.show_message("info", "10 %", key="fetch")
    area.show_message("info", "20 %", key="fetch")
    area.show_message("warning", "Disk nearly full.")
    area.show_message("warning", "Disk nearly full.")
    assert [message.text() for message in area.messages()] == ["Disk nearly full.", "20 %"]
    area.close_key("fetch")
    area.close_key("nothing")
    assert len(area.messages()) == 1


def test_text_is_taken_as_it_is(area) -> None:
    message = area.show_message("error", "<b>x</b> & y")
    assert message.text_label.textFormat() == Qt.TextFormat.PlainText
    assert "<b>x</b>" in message.accessibleName()


@pytest.mark.parametrize("kind", ["info", "warning", "error"])
def test_messages_in_both_themes(qtbot, themed, kind) -> None:
    message = Message(kind, "What happened, why, and what to do about it. " * 3, "details", [("a", "Act")])
    qtbot.addWidget(message)
    assert message.minimumSizeHint().width() <= QSize(420, 0).width()
    message.resize(420, message.heightForWidth(420) if message.hasHeightForWidth() else 120)
    message.show()
    before = message.grab().toImage().pixelColor(message.width() // 2, 4)
    themed.set_mode("dark" if themed.mode == "light" else "light")
    assert message.grab().toImage().pixelColor(message.width() // 2, 4) != before
