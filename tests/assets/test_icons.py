"""The icons are one set, and each can be drawn."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PySide6.QtCore import QByteArray, QRectF
from PySide6.QtGui import QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

import assets

PAPERS = {
    "trpo",
    "gmmn",
    "dcn",
    "diffusion",
    "made",
    "show_attend_tell",
    "fixed_point",
    "reversible_learning",
    "draw",
    "batch_norm",
}
# fmt: off
UI = {
    "play", "pause", "step", "stop", "reset", "rewind", "undo", "redo", "search", "settings", "export",
    "copy", "maximise", "restore", "close", "info", "help", "warning", "error", "check", "plus", "minus",
    "chevron-left", "chevron-right", "chevron-down", "menu", "dock", "sun", "moon", "folder", "file",
    "data", "brush", "eraser", "pin", "point", "eye", "eye-off", "camera", "film", "compare", "fork",
    "more", "cpu", "gpu", "clock", "list", "pencil", "trash", "command", "window", "shuffle",
}
# fmt: on
SET = [
    f"icons/{folder}/{file.name}"
    for folder in ("papers", "ui")
    for file in sorted(assets.path(f"icons/{folder}").iterdir(), key=lambda file: file.name)
]


def alpha(svg: str, size: int, margin: int = 0) -> np.ndarray:
    """How opaque each pixel is, of shape (size + 2 margin, size + 2 margin), in 0..255."""
    whole = size + 2 * margin
    image = QImage(whole, whole, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(0)
    renderer = QSvgRenderer(QByteArray(svg.encode()))
    assert renderer.isValid()
    # The box is cut at the view box by default, which would hide what is drawn beyond it.
    renderer.setViewBox(
        QRectF(-margin * 24 / size, -margin * 24 / size, whole * 24 / size, whole * 24 / size)
    )
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    renderer.render(painter, QRectF(0, 0, whole, whole))
    painter.end()
    return np.frombuffer(image.constBits(), np.uint8).reshape(whole, whole, 4)[..., 3].copy()


def test_every_paper_and_every_command_has_its_icon():
    names = {name.rsplit("/", 1)[1].removesuffix(".svg") for name in SET if "/papers/" in name}
    assert names == PAPERS
    assert {name.rsplit("/", 1)[1].removesuffix(".svg") for name in SET if "/ui/" in name} >= UI


@pytest.mark.parametrize("name", SET)
def test_icon_belongs_to_the_set(name):
    root = ElementTree.fromstring(assets.read_text(name))
    assert root.get("viewBox") == "0 0 24 24"
    assert root.get("stroke") == "currentColor" and root.get("fill") == "none"
    assert root.get("stroke-width") == "1.5"
    assert root.get("stroke-linecap") == root.get("stroke-linejoin") == "round"
    for element in list(root.iter())[1:]:
        assert "stroke-width" not in element.attrib
        assert element.get("stroke", "none") == "none"
        assert element.get("fill", "currentColor") == "currentColor"


@pytest.mark.parametrize("name", SET)
def test_icon_shows_something_inside_its_box(qapp, name):
    drawn = alpha(assets.read_text(name), 24)
    assert (drawn > 128).sum() >= 6
    assert (drawn > 128).mean() < 0.6, "an icon of strokes, not a blot"
    around = alpha(assets.read_text(name), 48, margin=4)
    inside = around[4:-4, 4:-4].astype(int).sum()
    assert around.astype(int).sum() - inside == 0, "strokes leave the box of 24 x 24"


def test_no_two_icons_look_alike(qapp):
    pictures = {name: alpha(assets.read_text(name), 24).astype(float).ravel() for name in SET}
    names = list(pictures)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            assert np.abs(pictures[first] - pictures[second]).sum() > 255 * 4, f"{first} and {second}"


def test_application_icon_is_in_colour(qapp):
    svg = assets.read_text("icons/lab.svg")
    assert "currentColor" not in svg
    assert len(set(re.findall(r"#[0-9A-F]{6}", svg))) >= 4
    assert QSvgRenderer(QByteArray(svg.encode())).isValid()


@pytest.mark.parametrize("name", ["icons/ui/nothing.svg", "../pyproject.toml", "nowhere/at/all"])
def test_missing_asset_is_named(name):
    with pytest.raises(FileNotFoundError, match=re.escape(name)):
        assets.path(name)
