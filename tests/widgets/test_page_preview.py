"""The page on its desk: its true size on the screen, zoom about the mouse, sentences in its place."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QScreen, QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from widgets.page_preview import LARGEST, MARGIN, SMALLEST, PagePreview, dots_per_inch


def red(rows: int = 60, columns: int = 90) -> np.ndarray:
    pixels = np.zeros((rows, columns, 3), np.uint8)
    pixels[..., 0] = 200
    return pixels


@pytest.fixture
def page(qtbot: QtBot) -> PagePreview:
    """A desk of 500 x 400 pixels with a page of 3 x 2 inches."""
    preview = PagePreview()
    qtbot.addWidget(preview)
    preview.resize(500, 400)
    preview.show()
    qtbot.waitExposed(preview)
    preview.set_page(red(), 3.0, 2.0)
    return preview


def turn(page: PagePreview, steps: int, place: QPointF) -> None:
    """Turn the wheel with the mouse at a place of the viewport."""
    event = QWheelEvent(
        place,
        QPointF(page.viewport().mapToGlobal(place.toPoint())),
        QPoint(),
        QPoint(0, 120 * steps),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(page.viewport(), event)


class Screen:
    def __init__(self, physical: float, logical: float = 96.0) -> None:
        self.physicalDotsPerInch, self.logicalDotsPerInch = lambda: physical, lambda: logical


@pytest.mark.parametrize(
    ("physical", "used"), [(109.2, 109.2), (40.0, 40.0), (25.4, 96.0), (0.0, 96.0), (2540.0, 96.0)]
)
def test_a_screen_that_lies_about_its_size_is_not_believed(physical: float, used: float) -> None:
    assert dots_per_inch(cast(QScreen, Screen(physical))) == used


def test_an_inch_is_an_inch(page: PagePreview) -> None:
    dots = dots_per_inch(page.screen())
    assert page.mode == "true" and page.zoom == 1.0
    assert page.page_rect().width() == round(3.0 * dots) and page.page_rect().height() == round(2.0 * dots)
    # The resolution of the picture does not matter.
    page.set_page(red(600, 900), 3.0, 2.0)
    assert page.page_rect().width() == round(3.0 * dots)
    page.set_zoom(2.0)
    assert page.page_rect().width() == round(6.0 * dots)


def test_the_page_is_seen_in_the_middle_of_the_desk(page: PagePreview) -> None:
    area = page.page_rect()
    assert abs(area.center().x() - page.viewport().width() / 2) <= 1
    picture = page.viewport().grab().toImage()
    assert picture.pixelColor(area.center().toPoint()) == QColor(200, 0, 0)
    outside = picture.pixelColor(round(area.left()) - 12, round(area.center().y()))
    assert outside != QColor(200, 0, 0)


def test_fitting_shows_all_of_it_and_follows_the_window(page: PagePreview, qtbot: QtBot) -> None:
    page.set_page(red(), 13.333, 7.5)
    assert page.page_rect().width() > page.viewport().width()
    assert page.horizontalScrollBar().maximum() > 0
    page.set_zoom("fit")
    room = QRectF(page.viewport().rect()).adjusted(MARGIN - 1, MARGIN - 1, 1 - MARGIN, 1 - MARGIN)
    assert room.contains(page.page_rect()) and page.horizontalScrollBar().maximum() == 0
    small = page.zoom
    with qtbot.waitSignal(page.zoom_changed) as told:
        page.resize(800, 700)
    assert told.args == [page.zoom] and page.zoom > small and page.mode == "fit"
    page.set_page(red(), 1.0, 1.0)
    assert page.zoom > 1.0, "a small page is enlarged"


def test_the_wheel_zooms_about_the_mouse(page: PagePreview) -> None:
    page.set_page(red(), 8.0, 6.0)
    place = QPointF(320, 250)
    before = page.page_rect()
    share = (place - before.topLeft()).x() / before.width(), (place - before.topLeft()).y() / before.height()
    turn(page, 2, place)
    after = page.page_rect()
    assert page.zoom == pytest.approx(1.25**2) and after.width() > before.width()
    assert after.left() + share[0] * after.width() == pytest.approx(place.x(), abs=2)
    assert after.top() + share[1] * after.height() == pytest.approx(place.y(), abs=2)
    turn(page, 100, place)
    assert page.zoom == LARGEST
    turn(page, -200, place)
    assert page.zoom == 1.0, "the true size is stopped at on the way"
    turn(page, -200, place)
    assert page.zoom == SMALLEST


def test_keys_and_dragging(page: PagePreview, qtbot: QtBot) -> None:
    page.set_page(red(), 12.0, 9.0)
    page.setFocus()
    qtbot.keyClick(page, Qt.Key.Key_0)
    assert page.mode == "fit"
    qtbot.keyClick(page, Qt.Key.Key_1)
    assert page.mode == "true"
    qtbot.keyClick(page, Qt.Key.Key_Plus)
    assert page.zoom == pytest.approx(1.25)
    qtbot.keyClick(page, Qt.Key.Key_Minus)
    assert page.mode == "true"
    before, left = page.page_rect(), Qt.MouseButton.LeftButton
    qtbot.mousePress(page.viewport(), left, pos=QPoint(200, 200))
    qtbot.mouseMove(page.viewport(), QPoint(170, 190))
    moved = page.page_rect()
    qtbot.mouseRelease(page.viewport(), left, pos=QPoint(170, 190))
    assert (before.left() - moved.left(), before.top() - moved.top()) == (30, 10)
    qtbot.keyClick(page, Qt.Key.Key_Right)
    assert page.page_rect().left() < moved.left()


def test_a_sentence_stands_in_the_place_of_the_page(page: PagePreview) -> None:
    page.set_page(red(), 12.0, 9.0)
    page.show_sentence("There is no room.")
    assert page.sentence == "There is no room." and page.image is None and page.page_rect().isEmpty()
    assert page.horizontalScrollBar().maximum() == 0 and page.accessibleDescription() == "There is no room."
    picture = page.viewport().grab().toImage()
    assert picture.pixelColor(page.viewport().rect().center()) != QColor(200, 0, 0)
    page.set_page(red(), 3.0, 2.0)
    assert page.sentence == "" and page.image is not None


def test_the_pixels_are_copied(page: PagePreview) -> None:
    pixels = red()
    page.set_page(pixels[:, ::2], 3.0, 2.0)
    pixels[:] = 0
    assert page.image is not None and page.image.pixelColor(3, 3) == QColor(200, 0, 0)


def test_waiting_is_told_only_when_it_is_long(page: PagePreview, qtbot: QtBot) -> None:
    corner = QRectF(10, 10, 70, 20).toRect()
    calm = page.viewport().grab(corner).toImage()
    page.set_waiting(True)
    assert page.viewport().grab(corner).toImage() == calm
    qtbot.waitUntil(lambda: page.viewport().grab(corner).toImage() != calm)
    page.set_page(red(), 3.0, 2.0)
    assert page.viewport().grab(corner).toImage() == calm
