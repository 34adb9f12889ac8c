"""The theme: complete, readable, accepted by Qt, and followed by what is on the screen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PySide6.QtCore import QByteArray, Qt, qInstallMessageHandler
from PySide6.QtGui import QAction, QFont, QFontDatabase, QFontInfo, QIcon, QPalette
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDockWidget,
    QLineEdit,
    QMainWindow,
    QProgressBar,
    QPushButton,
    QSlider,
    QSpinBox,
    QTabBar,
    QToolBar,
    QTreeWidget,
    QVBoxLayout,
    QWidget,
)

import assets
import widgets.theme
from engines.figures import ROLES
from widgets.icons import icon, pixmap, set_icon
from widgets.theme import (
    ThemeManager,
    interface_font,
    load_theme,
    style_sheet,
    system_theme_name,
    write_glyphs,
)

THEMES = ("light", "dark")

TEXT_ON_GROUND = [
    *[(text, ground) for text in ("text", "muted") for ground in ("background", "card", "raised", "field")],
    *[("text", ground) for ground in ("button", "hover", "pressed")],
    *[("accent_text", ground) for ground in ("accent", "accent_hover", "accent_pressed")],
    *[
        (text, ground)
        for text in ("link", "warning_text", "error_text")
        for ground in ("background", "card", "raised")
    ],
    ("selection_text", "selection"),
    ("axis", "card"),
    ("info_text", "info_background"),
    ("warning_text", "warning_background"),
    ("error_text", "error_background"),
]


def luminance(color: str) -> float:
    """Relative luminance of ``#RRGGBB`` as WCAG 2 defines it, in 0..1."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Contrast of two colours as WCAG 2 defines it, in 1..21."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def app(qapp):
    """The application, with its look put back afterwards."""
    palette, font, sheet = qapp.palette(), qapp.font(), qapp.styleSheet()
    yield qapp
    qapp.styleHints().unsetColorScheme()
    qapp.setStyleSheet(sheet)
    qapp.setPalette(palette)
    qapp.setFont(font)


@pytest.fixture
def messages():
    """What Qt has to say."""
    said: list[str] = []

    def listen(kind, context, message):
        said.append(message)

    before = qInstallMessageHandler(listen)
    yield said
    qInstallMessageHandler(before)


# --- tokens ---------------------------------------------------------------------------------------


def test_contrast_is_what_wcag_says():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21.0)
    assert contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize(("text", "ground"), TEXT_ON_GROUND)
def test_text_can_be_read(name, text, ground):
    colors = load_theme(name).colors
    assert contrast(colors[text], colors[ground]) >= 4.5


@pytest.mark.parametrize("name", THEMES)
@pytest.mark.parametrize("part", ["field_border", "focus"])
def test_controls_can_be_seen(name, part):
    colors = load_theme(name).colors
    for ground in ("card", "background"):
        assert contrast(colors[part], colors[ground]) >= 3.0


def test_roles_have_the_colours_of_every_exported_figure():
    roles = load_theme("light").roles
    assert (roles["data"], roles["model"], roles["target"]) == ("#0072B2", "#E69F00", "#009E73")
    assert (roles["hand"], roles["warning"], roles["neutral"]) == (
        "#CC79A7",
        "#D55E00",
        load_theme("light").colors["text"],
    )


def test_roles_stand_out_from_the_dark_card():
    theme = load_theme("dark")
    for color in [*theme.roles.values(), *theme.categories]:
        assert contrast(color, theme.colors["card"]) >= 4.5


def test_both_themes_are_complete():
    tokens = tomllib.loads(assets.read_text("tokens.toml"))
    for table in ("colors", "roles"):
        assert set(tokens["light"][table]) == set(tokens["dark"][table])
    for name in THEMES:
        theme = load_theme(name)
        assert theme.is_dark == (name == "dark")
        assert len(set(theme.categories)) == 8
        every = [*theme.colors.values(), *theme.roles.values(), *theme.categories, *theme.diverging_stops]
        assert all(re.fullmatch(r"#[0-9A-F]{6}", color) for color in every)
        assert not set(theme.colors) & set(theme.roles)
        assert (theme.space_tiny, theme.space_small, theme.space_medium, theme.space_large) == (4, 8, 12, 16)
        assert (theme.radius, theme.font_size) == (6, 13)


@pytest.mark.parametrize("name", THEMES)
def test_every_role_of_the_pictures_has_a_colour(name):
    theme = load_theme(name)
    for role in ROLES:
        assert theme.color(role).name().upper() == theme.role_hex(role)
    assert theme.color("data", 0.5).alphaF() == pytest.approx(0.5, abs=0.01)
    assert theme.role_hex("category-3") == theme.categories[3]
    assert theme.role_hex("accent") == theme.colors["accent"]
    with pytest.raises(KeyError, match="no colour 'dta'"):
        theme.role_hex("dta")


def test_unknown_names_are_refused(app):
    with pytest.raises(ValueError, match="sepia"):
        load_theme("sepia")
    with pytest.raises(ValueError, match="sepia"):
        ThemeManager(app, "sepia")


# --- style sheet ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", THEMES)
def test_style_sheet_is_filled(name, tmp_path):
    theme = load_theme(name)
    write_glyphs(theme, str(tmp_path))
    sheet = style_sheet(theme, tmp_path.as_posix())
    assert "$" not in re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
    files = re.findall(r'url\("(.+?)"\)', sheet)
    assert files
    for file in files:
        assert QSvgRenderer(QByteArray(Path(file).read_bytes())).isValid()
    assert "url(" not in style_sheet(theme)


def every_control() -> QMainWindow:
    window = QMainWindow()
    window.menuBar().addMenu("File").addAction("Export")
    bar = QToolBar(window)
    bar.addAction("Train")
    window.addToolBar(bar)
    dock = QDockWidget("Papers", window)
    dock.setWidget(QTreeWidget())
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)
    centre = QWidget()
    layout = QVBoxLayout(centre)
    for kind in (QPushButton, QLineEdit, QSpinBox, QComboBox, QCheckBox, QSlider, QProgressBar, QTabBar):
        layout.addWidget(kind())
    window.setCentralWidget(centre)
    return window


@pytest.mark.parametrize("mode", THEMES)
def test_qt_accepts_the_style_sheet(app, messages, qtbot, mode):
    manager = ThemeManager(app, mode)
    window = every_control()
    qtbot.addWidget(window)
    window.grab()
    assert app.styleSheet()
    assert [
        text for text in messages if "parse" in text or "property" in text.lower() or "svg" in text.lower()
    ] == []

    # The listener would have heard of a fault.
    app.setStyleSheet(app.styleSheet() + "QPushButton { colour: red; } }")
    window.grab()
    assert any("parse" in text or "property" in text.lower() for text in messages)
    manager.setParent(None)


def test_primary_button_has_the_accent(app, qtbot):
    manager = ThemeManager(app, "light")
    button = QPushButton("Train")
    qtbot.addWidget(button)
    button.setProperty("kind", "primary")
    button.resize(100, 30)
    assert button.grab().toImage().pixelColor(8, 15).name().upper() == manager.theme.colors["accent"]
    manager.set_mode("dark")
    assert button.grab().toImage().pixelColor(8, 15).name().upper() == manager.theme.colors["accent"]


# --- manager --------------------------------------------------------------------------------------


def test_mode_changes_theme_and_palette_once(app, qtbot):
    manager = ThemeManager(app, "light")
    heard = []
    manager.theme_changed.connect(heard.append)
    manager.mode = "dark"
    assert (manager.mode, manager.theme) == ("dark", load_theme("dark"))
    assert app.palette().color(QPalette.ColorRole.Window) == manager.theme.color("background")
    manager.set_mode("dark")
    assert heard == [load_theme("dark")]
    assert app.font().pixelSize() == 13


def test_system_mode_follows_the_desktop(app, monkeypatch):
    manager = ThemeManager(app, "system")
    assert manager.theme.name == system_theme_name(app)
    heard = []
    manager.theme_changed.connect(heard.append)

    def desktop_switches_to(name, scheme):
        # Platforms without a desktop keep no scheme, so what Qt would report is put in its place.
        monkeypatch.setattr(widgets.theme, "system_theme_name", lambda app: name)
        app.styleHints().colorSchemeChanged.emit(scheme)

    desktop_switches_to("dark", Qt.ColorScheme.Dark)
    assert manager.theme.name == "dark"
    desktop_switches_to("light", Qt.ColorScheme.Light)
    assert heard == [load_theme("dark"), load_theme("light")]
    manager.set_mode("light")
    desktop_switches_to("dark", Qt.ColorScheme.Dark)
    assert manager.theme.name == "light" and len(heard) == 2
    manager.set_mode("system")
    assert manager.theme.name == "dark"


def test_window_lives_without_a_place_for_glyphs(app, monkeypatch):
    def refuse(theme, folder):
        raise OSError("No space left on device")

    monkeypatch.setattr(widgets.theme, "write_glyphs", refuse)
    ThemeManager(app, "dark")
    assert app.styleSheet() and "url(" not in app.styleSheet()


# --- font -----------------------------------------------------------------------------------------


def test_figures_have_one_width(app):
    font = interface_font(13)
    assert font.pixelSize() == 13
    assert font.isFeatureSet(QFont.Tag("tnum"))


def test_font_comes_from_matplotlib_where_there_is_none(app, monkeypatch):
    class NoFonts:
        SystemFont = QFontDatabase.SystemFont
        addApplicationFont = staticmethod(QFontDatabase.addApplicationFont)
        applicationFontFamilies = staticmethod(QFontDatabase.applicationFontFamilies)

        @staticmethod
        def families():
            return []

    monkeypatch.setattr(widgets.theme, "QFontDatabase", NoFonts)
    assert QFontInfo(interface_font(13)).family() == "DejaVu Sans"


def test_look_needs_neither_matplotlib_nor_pyqtgraph():
    program = (
        "import sys; from PySide6.QtWidgets import QApplication; app = QApplication([]);"
        "import widgets.theme, widgets.icons; widgets.theme._load_shipped_font();"
        "manager = widgets.theme.ThemeManager(app); widgets.icons.icon('play');"
        "print(sorted({'matplotlib', 'pyqtgraph', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


# --- icons ----------------------------------------------------------------------------------------


def strongest(shown: QIcon, mode: QIcon.Mode = QIcon.Mode.Normal) -> str:
    """The colour of the most opaque pixel."""
    image = shown.pixmap(48, mode).toImage()
    pixels = [image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height())]
    return max(pixels, key=lambda color: color.alpha()).name().upper()


def test_icon_takes_the_text_colour_of_the_theme(app):
    manager = ThemeManager(app, "dark")
    assert strongest(icon("stop", size=48)) == manager.theme.colors["text"]
    assert strongest(icon("stop", size=48), QIcon.Mode.Disabled) == manager.theme.colors["disabled"]
    assert strongest(icon("stop", size=48), QIcon.Mode.Selected) == manager.theme.colors["text"]
    assert strongest(icon("papers/dcn", "#D55E00", 48)) == "#D55E00"
    assert not icon("lab").isNull()
    with pytest.raises(FileNotFoundError):
        icon("nothing")


def test_icon_is_sharp_on_a_dense_screen(app):
    drawn = icon("play", size=16).pixmap(icon("play", size=16).availableSizes()[0], 2.0)
    assert drawn.width() == 32 and drawn.devicePixelRatio() == 2.0
    assert pixmap("play", size=16, ratio=1.5).width() == 24


def test_icon_follows_the_theme(app, qtbot):
    manager = ThemeManager(app, "light")
    action = QAction("Stop")
    set_icon(action, "stop", manager, size=48)
    assert strongest(action.icon()) == manager.theme.colors["text"]
    set_icon(action, "stop", manager, role="accent", size=48)
    manager.set_mode("dark")
    assert strongest(action.icon()) == load_theme("dark").colors["accent"]
    del action
    manager.set_mode("light")
