"""Small helpers for widgets that paint themselves: the theme in use, and style properties; runs on the GUI
thread.
"""

from __future__ import annotations

from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QApplication, QLabel, QWidget

from widgets.theme import Theme, load_theme


def current_theme() -> Theme:
    """The tokens that belong to the application's palette.

    A widget that asks while it paints follows the theme without being told: Qt repaints everything when the
    palette changes.
    """
    return load_theme("dark" if QApplication.palette().window().color().lightness() < 128 else "light")


def set_style_property(widget: QWidget, name: str, value: str) -> None:
    """Set a property that the style sheet selects by, and let the style sheet look again."""
    if widget.property(name) != value:
        widget.setProperty(name, value)
        widget.style().unpolish(widget)
        widget.style().polish(widget)
        widget.update()


def role_label(role: str, text: str = "", parent: QWidget | None = None) -> QLabel:
    """A label with one of the roles of the style sheet: muted, heading, title, warning, error, number."""
    label = QLabel(text, parent)
    label.setProperty("role", role)
    return label


def text_width(widget: QWidget, text: str) -> int:
    """Width of ``text`` in the widget's font, in pixels."""
    return QFontMetrics(widget.font()).horizontalAdvance(text)


__all__ = ["current_theme", "role_label", "set_style_property", "text_width"]
