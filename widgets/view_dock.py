"""A view as a card that can be moved, closed and brought back: title, menu, picture; runs on the GUI thread."""

from __future__ import annotations

import itertools

from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QContextMenuEvent,
    QFont,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engines.figures import CurveSpec, FigureSpec
from widgets.curve_view import CurveView
from widgets.eliding_label import ElidingLabel
from widgets.figure_view import FigureView
from widgets.icons import icon
from widgets.look import current_theme


class HelpPopup(QFrame):
    """A small window with an explanation; a click elsewhere or Escape closes it."""

    def __init__(self, title: str, text: str, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setProperty("card", "true")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAttribute(Qt.WidgetAttribute.WA_TranslucentBackground)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 12, 16, 12)
        heading = QLabel(title, self)
        heading.setProperty("role", "heading")
        heading.setWordWrap(True)
        body = QLabel(text, self)
        body.setWordWrap(True)
        body.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        layout.addWidget(heading)
        layout.addWidget(body)
        self.setFixedWidth(340)
        self.setAccessibleName(title)
        self.setAccessibleDescription(text)
        self.body = body

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.close()
        else:
            super().keyPressEvent(event)


class ViewDock(QDockWidget):
    """A card with one view.

    Parameters
    ----------
    spec : FigureSpec or CurveSpec
        Name, title and help of what is shown.
    view : FigureView, optional
        What draws it; by default a `CurveView` for curves, else a `FigureView`.
    parent : QWidget, optional

    Signals
    -------
    export_requested(str), copy_requested(str), data_copy_requested(str), maximise_requested(str)
        The person asks for it, with the name of the view; maximise also means restore.
    """

    export_requested = Signal(str)
    copy_requested = Signal(str)
    data_copy_requested = Signal(str)
    maximise_requested = Signal(str)

    def __init__(
        self, spec: FigureSpec | CurveSpec, view: FigureView | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(spec.title, parent)
        self.spec = spec
        self.setObjectName(f"view-{spec.name}")
        self.setFeatures(
            QDockWidget.DockWidgetFeature.DockWidgetClosable
            | QDockWidget.DockWidgetFeature.DockWidgetMovable
            | QDockWidget.DockWidgetFeature.DockWidgetFloatable
        )
        self._maximised = False
        self._popup: HelpPopup | None = None
        if view is None:
            view = CurveView(spec) if isinstance(spec, CurveSpec) else FigureView()
        self.view = view

        self.export_action = self._action("Export…", "export", self._on_export_triggered)
        self.copy_action = self._action("Copy Picture", "copy", self._on_copy_triggered)
        self.data_copy_action = self._action("Copy Data", "data", self._on_data_copy_triggered)
        self.reset_action = self._action("Show All Data", "reset", self._on_reset_triggered)
        self.maximise_action = self._action("Maximise", "maximise", self._on_maximise_triggered)
        self.float_action = self._action("Float", "dock", self._on_float_triggered)
        self.help_action = self._action("What Is This?", "help", self._on_help_triggered)
        self.close_action = self._action("Close", "close", self._on_close_triggered)
        self.menu = QMenu(self)
        self.menu.aboutToShow.connect(self._on_menu_about_to_show)

        bar = QWidget(self)
        bar.setObjectName("view-title")
        self._title = ElidingLabel(spec.title, bar, QFont.Weight.DemiBold)
        # It takes the room that is left over, and asks for none.
        self._title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._title.setToolTip(spec.help)
        self.menu_button = self._button(bar, "Menu of this view")
        self.menu_button.clicked.connect(self._on_menu_button_clicked)
        self.maximise_button = self._button(bar, "Maximise")
        self.maximise_button.clicked.connect(self._on_maximise_triggered)
        self.close_button = self._button(bar, "Close")
        self.close_button.clicked.connect(self._on_close_triggered)
        row = QHBoxLayout(bar)
        row.setContentsMargins(12, 4, 4, 2)
        row.setSpacing(0)
        row.addWidget(self._title, 1)
        for button in (self.menu_button, self.maximise_button, self.close_button):
            row.addWidget(button)
        self.setTitleBarWidget(bar)

        content = QWidget(self)
        column = QVBoxLayout(content)
        column.setContentsMargins(8, 2, 8, 8)
        column.addWidget(view)
        self.setWidget(content)
        chain = [view, self.menu_button, self.maximise_button, self.close_button]
        for before, after in itertools.pairwise(chain):
            QWidget.setTabOrder(before, after)

        view.menu_requested.connect(self._on_view_menu_requested)
        self.topLevelChanged.connect(self._on_top_level_changed)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._on_app_focus_changed)
        self._draw_icons()

    def _action(self, text: str, icon_name: str, slot: object) -> QAction:
        action = QAction(text, self)
        action.setProperty("icon-name", icon_name)
        action.triggered.connect(slot)
        return action

    def _button(self, bar: QWidget, name: str) -> QToolButton:
        button = QToolButton(bar)
        button.setAutoRaise(True)
        button.setIconSize(QSize(16, 16))
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setAccessibleName(f"{name}: {self.spec.title}")
        button.setToolTip(name)
        return button

    @property
    def name(self) -> str:
        """The name of the view, as in its description."""
        return self.spec.name

    @property
    def maximised(self) -> bool:
        """Whether the view is shown alone."""
        return self._maximised

    def set_maximised(self, maximised: bool) -> None:
        """Say whether the view is shown alone now; its button then restores."""
        self._maximised = maximised
        words = "Restore" if maximised else "Maximise"
        self.maximise_action.setText(words)
        self.maximise_action.setProperty("icon-name", "restore" if maximised else "maximise")
        self.maximise_button.setToolTip(words)
        self.maximise_button.setAccessibleName(f"{words}: {self.spec.title}")
        self._draw_icons()

    def show_help(self) -> None:
        """Open the explanation of the view below its title."""
        self._popup = HelpPopup(self.spec.title, self.spec.help, self)
        self._popup.destroyed.connect(self._on_popup_destroyed)
        self._popup.adjustSize()
        place = self.mapToGlobal(QPoint(12, 36))
        screen = self.screen().availableGeometry()
        place.setX(max(screen.left(), min(place.x(), screen.right() - self._popup.width())))
        place.setY(max(screen.top(), min(place.y(), screen.bottom() - self._popup.height())))
        self._popup.move(place)
        self._popup.show()
        self._popup.setFocus()

    @property
    def help_popup(self) -> HelpPopup | None:
        """The explanation, while it is open."""
        return self._popup

    def fill_menu(self) -> None:
        """Put into the menu what can be done now."""
        self.menu.clear()
        has_figure = self.view.figure is not None
        for action in (self.export_action, self.copy_action, self.data_copy_action, self.reset_action):
            action.setEnabled(has_figure)
        self.menu.addActions([self.export_action, self.copy_action, self.data_copy_action])
        self.menu.addSeparator()
        self.menu.addAction(self.reset_action)
        self.menu.addActions(self.view.view_actions())
        self.menu.addSeparator()
        self.float_action.setText("Dock" if self.isFloating() else "Float")
        self.menu.addActions([self.maximise_action, self.float_action, self.help_action])
        self.menu.addSeparator()
        self.menu.addAction(self.close_action)

    @Slot()
    def _on_menu_about_to_show(self) -> None:
        self.fill_menu()

    @Slot()
    def _on_menu_button_clicked(self) -> None:
        self._open_menu(self.menu_button.mapToGlobal(QPoint(0, self.menu_button.height())))

    @Slot(QPoint)
    def _on_view_menu_requested(self, position: QPoint) -> None:
        self._open_menu(position)

    def _open_menu(self, position: QPoint) -> None:
        self.fill_menu()
        self.menu.popup(position)

    @Slot()
    def _on_export_triggered(self) -> None:
        self.export_requested.emit(self.name)

    @Slot()
    def _on_copy_triggered(self) -> None:
        self.copy_requested.emit(self.name)

    @Slot()
    def _on_data_copy_triggered(self) -> None:
        self.data_copy_requested.emit(self.name)

    @Slot()
    def _on_reset_triggered(self) -> None:
        self.view.reset_view()

    @Slot()
    def _on_maximise_triggered(self) -> None:
        self.maximise_requested.emit(self.name)

    @Slot()
    def _on_float_triggered(self) -> None:
        self.setFloating(not self.isFloating())

    @Slot()
    def _on_help_triggered(self) -> None:
        self.show_help()

    @Slot()
    def _on_close_triggered(self) -> None:
        self.close()

    @Slot()
    def _on_popup_destroyed(self) -> None:
        self._popup = None

    @Slot(bool)
    def _on_top_level_changed(self, floating: bool) -> None:
        self.update()

    @Slot(QWidget, QWidget)
    def _on_app_focus_changed(self, old: QWidget | None, new: QWidget | None) -> None:
        if any(widget is not None and self.isAncestorOf(widget) for widget in (old, new)):
            self.update()

    def _draw_icons(self) -> None:
        theme = current_theme()
        for action in self.findChildren(QAction, options=Qt.FindChildOption.FindDirectChildrenOnly):
            name = action.property("icon-name")
            if name:
                action.setIcon(icon(name, theme.color("text"), 16))
        for button, name in (
            (self.menu_button, "more"),
            (self.maximise_button, "restore" if self._maximised else "maximise"),
            (self.close_button, "close"),
        ):
            button.setIcon(icon(name, theme.color("muted"), 16))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "close_button"):
            self._draw_icons()
            self.update()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self._open_menu(event.globalPos())
        event.accept()

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        focus = QApplication.focusWidget()
        inside = focus is not None and focus is not self and self.isAncestorOf(focus)
        if self.isFloating():
            painter.fillRect(self.rect(), theme.color("card"))
        painter.setPen(QPen(theme.color("focus" if inside else "border"), 1.0))
        painter.setBrush(theme.color("card"))
        painter.drawRoundedRect(
            QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), theme.radius, theme.radius
        )


__all__ = ["HelpPopup", "ViewDock"]
