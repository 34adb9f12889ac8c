"""The look: design tokens as a `Theme`, and the manager that puts it on the application; on the GUI thread.

Everything comes from ``assets/tokens.toml``. Views ask a `Theme` for a colour by what it stands for and
listen to `ThemeManager.theme_changed`; nobody writes a colour down.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Literal, get_args

from PySide6.QtCore import QDir, QObject, Qt, QTemporaryDir, Signal, Slot
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

import assets

ThemeName = Literal["light", "dark"]
ThemeMode = Literal["system", "light", "dark"]

_GLYPHS = {
    "chevron_down": ("chevron-down", "text"),
    "chevron_down_disabled": ("chevron-down", "disabled"),
    "chevron_up": ("chevron-up", "text"),
    "chevron_up_disabled": ("chevron-up", "disabled"),
    "chevron_right": ("chevron-right", "text"),
    "check": ("check", "accent_text"),
    "check_disabled": ("check", "card"),
    "check_menu": ("check", "text"),
    "minus": ("minus", "accent_text"),
    "close": ("close", "muted"),
    "float": ("dock", "muted"),
    "more": ("more", "muted"),
}
"""Little pictures that the style sheet needs as files: their names there, icons, tokens of their colours."""


@dataclass(frozen=True)
class Theme:
    """The design tokens of one theme.

    Attributes
    ----------
    name : {"light", "dark"}
    colors : mapping of str to str
        Colours of the interface as ``#RRGGBB``: ``background``, ``card``, ``raised``, ``border``, ``text``,
        ``muted``, ``accent``, ``accent_text``, ``selection``, ``hover``, ``disabled``, ``grid``, ``axis`` ...
    roles : mapping of str to str
        Colours of what pictures show: ``data``, ``model``, ``target``, ``hand``, ``warning``, ``past`` and
        ``neutral``.
    categories : tuple of str
        Eight colours after Okabe and Ito, the roles ``category-0`` to ``category-7``.
    sequential, diverging : str
        Colour maps for magnitudes and for signed values, by the names pyqtgraph knows.
    diverging_stops : tuple of str
        The diverging map as evenly spaced colours, for a library that lacks it.
    space_tiny, space_small, space_medium, space_large : int
        Gaps and margins in pixels: 4, 8, 12 and 16.
    radius, radius_small : int
        Corners of cards and of controls, in pixels.
    stroke : float
        Width of curves on the screen, in pixels.
    font_size, font_small, font_heading, font_title : int
        Sizes of text, in pixels.
    """

    name: ThemeName
    colors: Mapping[str, str]
    roles: Mapping[str, str]
    categories: tuple[str, ...]
    sequential: str
    diverging: str
    diverging_stops: tuple[str, ...]
    space_tiny: int
    space_small: int
    space_medium: int
    space_large: int
    radius: int
    radius_small: int
    stroke: float
    font_size: int
    font_small: int
    font_heading: int
    font_title: int

    @property
    def is_dark(self) -> bool:
        """Whether light text stands on dark ground."""
        return self.name == "dark"

    def role_hex(self, role: str) -> str:
        """The colour of a role of pictures, or of a token of the interface, as ``#RRGGBB``.

        Parameters
        ----------
        role : str
            ``data``, ``model`` ...; ``category-N``; or a name in `colors` such as ``text`` or ``accent``.

        Raises
        ------
        KeyError
            If neither has that name.
        """
        if role.startswith("category-"):
            return self.categories[int(role.removeprefix("category-")) % len(self.categories)]
        if role in self.roles:
            return self.roles[role]
        if role in self.colors:
            return self.colors[role]
        raise KeyError(f"The theme has no colour {role!r}; it has {', '.join([*self.roles, *self.colors])}.")

    def color(self, role: str, opacity: float = 1.0) -> QColor:
        """The colour of a role as a `QColor`; ``opacity`` in 0..1. See `role_hex`."""
        color = QColor(self.role_hex(role))
        color.setAlphaF(opacity)
        return color


@cache
def load_theme(name: ThemeName) -> Theme:
    """The tokens of the light or the dark theme; read once. Needs no application.

    Raises
    ------
    ValueError
        If ``name`` is neither.
    """
    if name not in get_args(ThemeName):
        raise ValueError(f"There is no theme {name!r}; there are light and dark.")
    tokens = tomllib.loads(assets.read_text("tokens.toml"))
    space, shape, font, maps, own = (
        tokens["space"],
        tokens["shape"],
        tokens["font"],
        tokens["maps"],
        tokens[name],
    )
    return Theme(
        name=name,
        colors=MappingProxyType(own["colors"]),
        roles=MappingProxyType(own["roles"]),
        categories=tuple(own["categories"]["colors"]),
        sequential=maps["sequential"],
        diverging=maps["diverging"],
        diverging_stops=tuple(maps["diverging_stops"]),
        space_tiny=space["tiny"],
        space_small=space["small"],
        space_medium=space["medium"],
        space_large=space["large"],
        radius=shape["radius"],
        radius_small=shape["radius_small"],
        stroke=shape["stroke"],
        font_size=font["size"],
        font_small=font["small"],
        font_heading=font["heading"],
        font_title=font["title"],
    )


def system_theme_name(app: QApplication) -> ThemeName:
    """The theme the desktop asks for; light where it does not say."""
    return "dark" if app.styleHints().colorScheme() == Qt.ColorScheme.Dark else "light"


def style_sheet(theme: Theme, glyph_folder: str = "") -> str:
    """The application's style sheet, filled with the tokens of ``theme``.

    Parameters
    ----------
    theme : Theme
    glyph_folder : str
        Where `write_glyphs` put the ticks and arrows; without it controls have none.
    """
    values: dict[str, object] = {
        **theme.colors,
        **{f"role_{name}": color for name, color in theme.roles.items()},
    }
    for name in ("tiny", "small", "medium", "large"):
        values[f"space_{name}"] = getattr(theme, f"space_{name}")
    for name in ("radius", "radius_small", "font_size", "font_small", "font_heading", "font_title"):
        values[name] = getattr(theme, name)
    for name in _GLYPHS:
        values[f"glyph_{name}"] = f'url("{glyph_folder}/{theme.name}-{name}.svg")' if glyph_folder else "none"
    return Template(assets.read_text("style.qss")).substitute(values)


def recolored_svg(name: str, color: str, stroke: float | None = None) -> str:
    """The text of ``assets/icons/NAME.svg`` in ``color`` (``#RRGGBB``) with strokes ``stroke`` wide."""
    svg = assets.read_text(f"icons/{name}.svg").replace("currentColor", color)
    return svg if stroke is None else svg.replace('stroke-width="1.5"', f'stroke-width="{stroke}"')


def write_glyphs(theme: Theme, folder: str) -> None:
    """Write the ticks and arrows of the style sheet into ``folder``; Qt takes them from files alone."""
    if not folder:
        return
    for name, (icon, color) in _GLYPHS.items():
        target = Path(folder) / f"{theme.name}-{name}.svg"
        if not target.exists():
            # Drawn at about half the size of an icon, hence the wider stroke.
            target.write_text(recolored_svg(f"ui/{icon}", theme.colors[color], stroke=2.5), encoding="utf-8")


def make_palette(theme: Theme) -> QPalette:
    """The palette of ``theme``, for what Qt draws without the style sheet."""
    palette = QPalette()
    color = theme.color
    role = QPalette.ColorRole
    for where, token in {
        role.Window: "background",
        role.WindowText: "text",
        role.Base: "card",
        role.AlternateBase: "background",
        role.Text: "text",
        role.PlaceholderText: "muted",
        role.Button: "button",
        role.ButtonText: "text",
        role.BrightText: "accent_text",
        role.ToolTipBase: "raised",
        role.ToolTipText: "text",
        role.Highlight: "selection",
        role.HighlightedText: "selection_text",
        role.Accent: "accent",
        role.Link: "link",
        role.LinkVisited: "link",
        role.Light: "card",
        role.Midlight: "hover",
        role.Mid: "border",
        role.Dark: "field_border",
        role.Shadow: "border",
    }.items():
        palette.setColor(where, color(token))
    for where in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        palette.setColor(QPalette.ColorGroup.Disabled, where, color("disabled"))
    palette.setColor(QPalette.ColorGroup.Disabled, role.Highlight, color("hover"))
    return palette


def interface_font(size: int) -> QFont:
    """The system's font at ``size`` pixels with figures of one width, so that changing numbers do not jitter.

    Where the platform has no font at all (pictures without a display), DejaVu Sans as matplotlib ships it.
    """
    family = ""
    if not QFontDatabase.families():
        family = _load_shipped_font()
    font = QFont(family) if family else QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
    font.setPixelSize(size)
    font.setFeature(QFont.Tag("tnum"), 1)
    return font


def _load_shipped_font() -> str:
    """Register DejaVu Sans out of matplotlib's files, without importing it; the family, or nothing."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        return ""
    family = ""
    for location in spec.submodule_search_locations:
        folder = Path(location) / "mpl-data" / "fonts" / "ttf"
        for file in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSansMono.ttf"):
            number = QFontDatabase.addApplicationFont(str(folder / file))
            if number >= 0 and not family:
                family = QFontDatabase.applicationFontFamilies(number)[0]
    return family


class ThemeManager(QObject):
    """Puts the theme on the application and keeps it in step with the desktop.

    Parameters
    ----------
    app : QApplication
    mode : {"system", "light", "dark"}
        ``system`` follows the desktop, also when it changes later.
    parent : QObject, optional
        The application if not given.

    Signals
    -------
    theme_changed(Theme)
        After style, palette, font and style sheet have changed.
    """

    theme_changed = Signal(object)

    def __init__(self, app: QApplication, mode: ThemeMode = "system", parent: QObject | None = None) -> None:
        super().__init__(parent if parent is not None else app)
        self._app = app
        self._glyphs = QTemporaryDir(f"{QDir.tempPath()}/lab-glyphs-XXXXXX")
        self._theme: Theme | None = None
        self._mode: ThemeMode = _checked_mode(mode)
        app.styleHints().colorSchemeChanged.connect(self._on_style_hints_color_scheme_changed)
        self._ask_platform()
        self._apply()

    @property
    def theme(self) -> Theme:
        """The theme in use."""
        assert self._theme is not None
        return self._theme

    @property
    def mode(self) -> ThemeMode:
        """What was asked for: ``system``, ``light`` or ``dark``."""
        return self._mode

    @mode.setter
    def mode(self, mode: ThemeMode) -> None:
        self.set_mode(mode)

    @Slot(str)
    def set_mode(self, mode: ThemeMode) -> None:
        """Follow the system, or keep to one theme.

        Raises
        ------
        ValueError
            If ``mode`` is none of ``system``, ``light`` and ``dark``.
        """
        mode = _checked_mode(mode)
        if mode != self._mode:
            self._mode = mode
            self._ask_platform()
            self._apply()

    def _ask_platform(self) -> None:
        # Window frames and native dialogs belong to the platform; this makes them match what is inside.
        hints = self._app.styleHints()
        if self._mode == "system":
            hints.unsetColorScheme()
        else:
            hints.setColorScheme(Qt.ColorScheme.Dark if self._mode == "dark" else Qt.ColorScheme.Light)

    def _apply(self) -> None:
        name = system_theme_name(self._app) if self._mode == "system" else self._mode
        theme = load_theme(name)
        if theme is self._theme:
            return
        first = self._theme is None
        self._theme = theme
        if first:
            self._app.setStyle(QStyleFactory.create("Fusion"))
            self._app.setFont(interface_font(theme.font_size))
        folder = QDir.fromNativeSeparators(self._glyphs.path()) if self._glyphs.isValid() else ""
        try:
            write_glyphs(theme, folder)
        except OSError:
            # A full or read-only temporary folder costs the ticks and arrows, not the window.
            folder = ""
        self._app.setPalette(make_palette(theme))
        self._app.setStyleSheet(style_sheet(theme, folder))
        self.theme_changed.emit(theme)

    @Slot(Qt.ColorScheme)
    def _on_style_hints_color_scheme_changed(self, scheme: Qt.ColorScheme) -> None:
        if self._mode == "system":
            self._apply()


def _checked_mode(mode: str) -> ThemeMode:
    for known in get_args(ThemeMode):
        if mode == known:
            return known
    raise ValueError(f"There is no theme mode {mode!r}; there are system, light and dark.")
