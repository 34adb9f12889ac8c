"""What other people's programs find in the files: sizes, fonts, frames, and the rules of print."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pypdf
import pytest
from PIL import Image

from engines.figures import Axis, Figure, Heatmap, ImageGrid, Plot, Scatter
from lab.export import Style, alt_text, export, to_bytes, venue
from lab.export.draw import draw
from tests.lab.export.foreign import (
    check_drawing,
    check_pdf,
    check_pixels,
    check_svg,
    drawn_eps,
    images_of,
    mp4_frames,
)
from tests.lab.export.samples import FILM, MARKS, PANELS

FIGURES: dict[str, Figure] = {name: sample.plot for name, sample in MARKS.items()} | {
    "panels": PANELS,
    "film": FILM,
}
ABOUT = {"paper": "diffusion", "run": "r (1)", "step": 12, "seed": 3, "settings": {"path": "é\\("}}
SQUARE = Plot(
    (Heatmap(np.random.default_rng(0).random((256, 256)), (0, 1, 0, 1), values_label="value"),),
    Axis("x"),
    Axis("y"),
    equal=True,
)

STYLES = {
    "column": venue("icml", line_scale=0.2),
    "page": venue("icml-wide", title=True),
    "tall": Style(width_in=3.25, height_in=5.0, font_size=8),
    "dark": Style(width_in=5.5, theme="dark", font_size=9),
    "big": Style(width_in=6.75, font_size=14, title=True),
    "outlines": venue("icml", text="outlines"),
}
CASES = [(name, list(STYLES)[index % len(STYLES)]) for index, name in enumerate(FIGURES)]
CASES += [("panels", look) for look in STYLES if ("panels", look) not in CASES]
"""Every figure in one of the styles, in turn, and one figure in all of them."""


@pytest.mark.parametrize(("name", "look"), CASES)
def test_pdf_and_the_rules_of_print(name: str, look: str) -> None:
    check_drawing(FIGURES[name], STYLES[look])
    check_pdf(to_bytes(FIGURES[name], "pdf", STYLES[look], ABOUT), FIGURES[name], STYLES[look])


def test_pdf_holds_what_made_it() -> None:
    found = pypdf.PdfReader(io.BytesIO(to_bytes(PANELS, "pdf", STYLES["column"], ABOUT))).metadata
    assert found is not None and found["/Subject"] == alt_text(PANELS) and found["/Title"] == "Four"
    assert json.loads(found["/Keywords"]).items() >= ABOUT.items()


@pytest.mark.parametrize(("name", "look"), [("panels", "column"), ("pictures", "dark")])
def test_svg(name: str, look: str) -> None:
    check_svg(to_bytes(FIGURES[name], "svg", STYLES[look], ABOUT), STYLES[look])


def test_eps(tmp_path: Path) -> None:
    style = STYLES["tall"]
    content = to_bytes(PANELS, "eps", style, ABOUT)
    box = re.search(rb"%%BoundingBox: (\d+) (\d+) (\d+) (\d+)", content)
    assert box is not None and tuple(map(int, box.groups())) == (0, 0, 234, 360)
    head = content[: content.index(b"%%EndComments")]
    assert head.isascii() and max(map(len, head.splitlines())) < 255
    (tmp_path / "a.eps").write_bytes(content)
    if (pixels := drawn_eps(tmp_path / "a.eps")) is not None:
        assert pixels.shape == (360, 234, 3)
        check_pixels(pixels, style)


def test_png() -> None:
    style = Style(width_in=5.5, height_in=3.2, dpi=250)
    with Image.open(io.BytesIO(to_bytes(PANELS, "png", style, ABOUT))) as image:
        image.load()
        assert image.size == (round(5.5 * 250), round(3.2 * 250))
        assert image.info["dpi"] == pytest.approx((250, 250), abs=0.02)


@pytest.mark.parametrize("format", ["gif", "webp", "apng", "mp4"])
def test_films(format: str, tmp_path: Path) -> None:
    style = Style(width_in=3.01, height_in=2.0, dpi=100, font_size=7)
    if format == "mp4":
        ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
        path = export(FILM, tmp_path / "a.mp4", style=style, fps=10, metadata=ABOUT)
        said = subprocess.run([ffmpeg, "-hide_banner", "-i", path], capture_output=True, text=True).stderr
        # Sides of an even number of pixels, of which the format is made.
        assert (
            "Video: h264" in said and "302x200" in said and "10 fps" in said and alt_text(FILM)[:50] in said
        )
        frames = mp4_frames(path, 302, 200)
        assert len(frames) == 5 and np.abs(frames[0] - frames[4]).max() > 100
        return
    path = export(FILM, tmp_path / f"a.{format}", style=style, fps=10, metadata=ABOUT)
    waits = []
    with Image.open(path) as image:
        assert image.size == (301, 200)
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            image.load()
            waits.append(image.info["duration"])
        if format == "apng":
            assert image.info["dpi"] == pytest.approx((100, 100), abs=0.02)
    assert waits == [100.0] * 5


def test_a_fine_heat_map_is_small_and_exact() -> None:
    content = to_bytes(SQUARE, "pdf", venue("icml"))
    assert len(content) < 200_000
    assert max(images_of(pypdf.PdfReader(io.BytesIO(content)))) >= (256, 256)


@pytest.mark.parametrize("kind", ["cells", "log cells", "pictures", "points", "fine cells"])
def test_pictures_in_vector_files_are_sharp(kind: str) -> None:
    x, y = np.random.default_rng(0).random((2, 6000)) + 1
    cells = Heatmap(np.eye(8), (1, 2, 1, 2))
    fine = Heatmap(np.random.default_rng(0).random((1000, 1000)), (1, 2, 1, 2))
    logs = Axis("x", scale="log")
    plot = {
        "cells": Plot((cells,), Axis("x"), Axis("y")),
        "log cells": Plot((cells,), logs, Axis("y")),
        "pictures": Plot((ImageGrid(np.stack([np.eye(6)] * 6), 3),), Axis(shown=False), Axis(shown=False)),
        "points": Plot((Scatter(x, y),), Axis("x", limits=(1, 2)), Axis("y", limits=(1, 2))),
        "fine cells": Plot((fine,), Axis("x"), Axis("y")),
    }[kind]
    small = Style(width_in=2.2, dpi=72, font_size=6)
    # A height that is asked for, and one that suits the figure and is found last.
    for style, format in ((small.updated(height_in=1.8), "pdf"), (small, "svg")):
        page = draw(plot, style, medium="vector")
        place = page.axes[0].get_position()
        least = (
            0.99 * 300 * page.get_figwidth() * place.width,
            0.99 * 300 * page.get_figheight() * place.height,
        )
        content = to_bytes(plot, format, style)
        if format == "pdf":
            sizes = list(images_of(pypdf.PdfReader(io.BytesIO(content))))
        else:
            found = re.findall(rb"data:image/png;base64,([^\"]+)\"", content)
            sizes = [Image.open(io.BytesIO(base64.b64decode(part))).size for part in found]
        assert any(width >= least[0] and height >= least[1] for width, height in sizes), (sizes, least)
