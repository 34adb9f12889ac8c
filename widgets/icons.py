"""Icons out of ``assets/icons``, in the colour of the theme and sharp at every scale; runs on the GUI thread.

`icon` makes one; `set_icon` also keeps it right when the theme changes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from PySide6.QtCore import QByteArray, QObject, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QImage, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer

from widgets.theme import Theme, ThemeManager, recolored_svg

ICON_SIZE = 24
"""The size the icons are drawn for, in device-independent pixels; 16 and 20 are good for buttons, too."""


class HasIcon(Protocol):
    """A button, an action, a tab, a window: whatever takes an icon, and is a `QObject`."""

    def setIcon(self, icon: QIcon, /) -> None: ...


def icon(name: str, color: QColor | str | None = None, size: int = ICON_SIZE) -> QIcon:
    """The icon ``name``, drawn for every screen's scale, with a fainter picture for what is disabled.

    Parameters
    ----------
    name : str
        ``"play"`` for ``icons/ui/play.svg``, ``"papers/trpo"`` for a paper, ``"lab"`` for the application's
        own, which keeps its colours.
    color : QColor or str, optional
        Of the strokes, as a colour or ``#RRGGBB``; the text colour of the application's palette if not given.
    size : int
        Width and height in device-independent pixels.

    Raises
    ------
    FileNotFoundError
        If there is no such icon.
    """
    palette = QGuiApplication.palette()
    normal = palette.color(QPalette.ColorRole.WindowText) if color is None else QColor(color)
    disabled = palette.color(QPalette.ColorGroup.Disabled, QPalette.ColorRole.WindowText)
    result = QIcon()
    # Without a picture of its own, Qt would wash out the icon of a selected row.
    for mode, tint in (
        (QIcon.Mode.Normal, normal),
        (QIcon.Mode.Selected, normal),
        (QIcon.Mode.Disabled, disabled),
    ):
        for ratio in _pixel_ratios():
            image = _draw(_file(name), tint.name(), tint.alphaF(), size, ratio)
            result.addPixmap(QPixmap.fromImage(image), mode)
    return result


def pixmap(
    name: str, color: QColor | str | None = None, size: int = ICON_SIZE, ratio: float = 1.0
) -> QPixmap:
    """The icon ``name`` as a picture for a label, at ``ratio`` device pixels to a pixel; else as `icon`."""
    tint = QGuiApplication.palette().color(QPalette.ColorRole.WindowText) if color is None else QColor(color)
    return QPixmap.fromImage(_draw(_file(name), tint.name(), tint.alphaF(), size, ratio))


def set_icon(
    target: HasIcon, name: str, themes: ThemeManager, role: str = "text", size: int = ICON_SIZE
) -> None:
    """Give ``target`` the icon ``name`` in the theme's colour of ``role``, now and after every change.

    A second call for the same target replaces the first. The target must be a `QObject`: what follows the
    theme lives and dies with it.
    """
    assert isinstance(target, QObject)
    follower = target.findChild(_IconFollower, options=Qt.FindChildOption.FindDirectChildrenOnly)
    if follower is None:
        follower = _IconFollower(target)
        themes.theme_changed.connect(follower.on_theme_changed)
    follower.name, follower.role, follower.size = name, role, size
    follower.on_theme_changed(themes.theme)


class _IconFollower(QObject):
    """Sets its parent's icon anew for every theme."""

    def __init__(self, target: QObject) -> None:
        super().__init__(target)
        self.name = ""
        self.role = "text"
        self.size = ICON_SIZE

    @Slot(object)
    def on_theme_changed(self, theme: Theme) -> None:
        target = self.parent()
        if target is not None:
            target.setIcon(icon(self.name, theme.color(self.role), self.size))  # type: ignore[attr-defined]


def _file(name: str) -> str:
    return name if "/" in name or name == "lab" else f"ui/{name}"


def _pixel_ratios() -> list[float]:
    # One and two are always there, so that a window dragged to another screen finds a good picture.
    return sorted({1.0, 2.0, *(screen.devicePixelRatio() for screen in QGuiApplication.screens())})


@lru_cache(maxsize=1024)
def _draw(file: str, color: str, opacity: float, size: int, ratio: float) -> QImage:
    # Images, not pixmaps, are kept: those may outlive the application object.
    pixels = round(size * ratio)
    image = QImage(QSize(pixels, pixels), QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setOpacity(opacity)
    QSvgRenderer(QByteArray(recolored_svg(file, color).encode())).render(
        painter, QRectF(0, 0, pixels, pixels)
    )
    painter.end()
    image.setDevicePixelRatio(ratio)
    return image
