"""The card around a view: its menu, its signals, moving, closing and bringing back, all by keyboard too."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMainWindow

from engines.figures import Axis, CurveSpec, FigureSpec, Lines, Plot
from widgets.curve_view import CurveView
from widgets.figure_view import FigureView
from widgets.view_dock import ViewDock

SPEC = FigureSpec("rows", "Three rows", "The forward process, the reverse process and the drift (figure 1).")
CURVE = CurveSpec("bound", "Bound", "The bound over training.", (("K", "K", "model"),), "Bound", (), "bits")
PLOT = Plot((Lines(np.arange(9.0), np.arange(9.0)),), Axis("x"), Axis("y"))
SIGNALS = ("export_requested", "copy_requested", "data_copy_requested", "maximise_requested")


@pytest.fixture
def window(qtbot):
    window = QMainWindow()
    qtbot.addWidget(window)
    window.resize(800, 500)
    return window


@pytest.fixture
def dock(window):
    dock = ViewDock(SPEC, parent=window)
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)
    window.show()
    QApplication.processEvents()
    return dock


def heard_by(dock: ViewDock) -> list[tuple[str, str]]:
    heard: list[tuple[str, str]] = []

    def note(name: str):
        def slot(view: str) -> None:
            heard.append((name, view))

        return slot

    for name in SIGNALS:
        getattr(dock, name).connect(note(name))
    return heard


def click(button) -> None:
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def test_it_has_the_view_that_its_description_needs(dock, window):
    assert type(dock.view) is FigureView
    assert isinstance(ViewDock(CURVE, parent=window).view, CurveView)
    own = FigureView()
    assert ViewDock(FigureSpec("other", "Other", ""), own, window).view is own


def test_every_entry_of_the_menu_asks_for_its_thing_by_name(dock):
    dock.view.set_figure(PLOT)
    heard = heard_by(dock)
    click(dock.menu_button)
    assert dock.menu.isVisible()
    for text in ("Export…", "Copy Picture", "Copy Data", "Maximise"):
        next(action for action in dock.menu.actions() if action.text() == text).trigger()
    dock.menu.close()
    assert heard == [(name, "rows") for name in SIGNALS]


def test_there_is_nothing_to_take_away_from_an_empty_view(dock):
    dock.view.clear("Press Train.")
    dock.fill_menu()
    assert not dock.export_action.isEnabled() and not dock.copy_action.isEnabled()
    assert dock.close_action.isEnabled()
    dock.view.set_figure(PLOT)
    dock.fill_menu()
    assert dock.export_action.isEnabled() and dock.copy_action.isEnabled()


def test_curves_bring_their_own_entries(window):
    dock = ViewDock(CURVE, parent=window)
    dock.fill_menu()
    texts = [action.text() for action in dock.menu.actions()]
    assert "Logarithmic Y Axis" in texts and "Newest 1,000 Steps Only" in texts


def test_maximise_asks_and_then_restores(dock):
    heard = heard_by(dock)
    click(dock.maximise_button)
    assert heard == [("maximise_requested", "rows")]
    dock.set_maximised(True)
    assert (
        dock.maximised
        and dock.maximise_action.text() == "Restore"
        and dock.maximise_button.toolTip() == "Restore"
    )
    dock.set_maximised(False)
    assert dock.maximise_action.text() == "Maximise"


def test_help_opens_and_escape_closes_it(dock, qtbot):
    dock.fill_menu()
    dock.help_action.trigger()
    popup = dock.help_popup
    assert popup is not None and popup.isVisible() and popup.body.text() == SPEC.help
    QTest.keyClick(popup, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: dock.help_popup is None)


def test_closed_it_comes_back(dock):
    click(dock.close_button)
    assert dock.isHidden()
    dock.toggleViewAction().trigger()
    assert dock.isVisible()


def test_layout_is_saved_by_name(dock, window):
    second = ViewDock(FigureSpec("second", "Second", ""), parent=window)
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, second)
    assert dock.objectName() != second.objectName() and dock.objectName()
    state = window.saveState()
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    assert window.dockWidgetArea(dock) == Qt.DockWidgetArea.RightDockWidgetArea
    assert window.restoreState(state)
    assert window.dockWidgetArea(dock) == Qt.DockWidgetArea.LeftDockWidgetArea


def test_it_floats_and_docks_again(dock):
    dock.float_action.trigger()
    assert dock.isFloating()
    dock.fill_menu()
    assert dock.float_action.text() == "Dock"
    dock.float_action.trigger()
    assert not dock.isFloating()


def test_the_tab_key_reaches_the_view_and_every_button(dock, window, qtbot):
    dock.view.set_figure(PLOT)
    window.activateWindow()
    dock.view.setFocus()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is dock.view.focusProxy())
    reached = []
    for _ in range(8):
        reached.append(QApplication.focusWidget())
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    for button in (dock.menu_button, dock.maximise_button, dock.close_button, dock.view.focusProxy()):
        assert button in reached
    dock.menu_button.setFocus()
    QTest.keyClick(dock.menu_button, Qt.Key.Key_Space)
    assert dock.menu.isVisible()
    dock.menu.close()


def test_a_right_click_on_the_plot_opens_the_menu(dock):
    dock.view.set_figure(PLOT)
    QApplication.processEvents()
    target = dock.view.focusProxy().viewport()
    middle = dock.view.areas[0].inner.center().toPoint()
    QTest.mouseClick(target, Qt.MouseButton.RightButton, Qt.KeyboardModifier.NoModifier, QPoint(middle))
    assert dock.menu.isVisible()
    dock.menu.close()
