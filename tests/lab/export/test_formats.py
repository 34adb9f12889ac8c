"""Every mark in every format: opens elsewhere, has the size asked for, shows what it should."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from engines.figures import Axis, Figure, Heatmap, Plot, Scatter
from lab.export import VENUES, Style, to_bytes, venue
from lab.export.draw import draw
from tests.lab.export.samples import FILM, MARKS, PANELS, SIZED

FIGURES: dict[str, Figure] = {name: sample.plot for name, sample in MARKS.items()} | {
    "panels": PANELS,
    "film": FILM,
}


def inches(content: bytes, format: str) -> tuple[float, float]:
    """Size of a file as another program reads it."""
    if format == "pdf":
        box = re.findall(rb"/MediaBox \[ ([\d. ]+) \]", content)
        assert len(box) == 1
        left, low, right, high = map(float, box[0].split())
        return (right - left) / 72, (high - low) / 72
    if format == "svg":
        root = ElementTree.fromstring(content)
        width, height = root.attrib["width"], root.attrib["height"]
        assert width.endswith("pt") and height.endswith("pt")
        return float(width[:-2]) / 72, float(height[:-2]) / 72
    if format == "eps":
        box = re.search(rb"%%HiResBoundingBox: ([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+)", content)
        assert box is not None
        left, low, right, high = map(float, box.groups())
        assert Image.open(io.BytesIO(content)).format == "EPS"
        return (right - left) / 72, (high - low) / 72
    image = Image.open(io.BytesIO(content))
    image.load()
    x, y = image.info["dpi"]
    return image.width / x, image.height / y


def streams(pdf: bytes) -> bytes:
    """What is drawn on the pages of a PDF, uncompressed."""
    drawn = b""
    for part in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.S):
        try:
            drawn += zlib.decompress(part)
        except zlib.error:
            continue
    return drawn


@pytest.mark.parametrize("name", FIGURES)
def test_opens_with_the_size_asked_for(name: str, caplog: pytest.LogCaptureFixture) -> None:
    for format in ("pdf", "svg", "eps", "png"):
        content = to_bytes(FIGURES[name], format, SIZED)
        assert inches(content, format) == pytest.approx((3.25, 2.4), abs=0.01), format
        if format == "pdf":
            assert content.rstrip().endswith(b"%%EOF")
            assert b"/Type3" not in content
    # Matplotlib says there what it could not draw: transparency in EPS, glyphs that are missing.
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("matplotlib")]


def words(figure: Figure, style: Style) -> str:
    """What an SVG shows as text, without its metadata."""
    root = ElementTree.fromstring(to_bytes(figure, "svg", style.updated(text="editable")))
    return " ".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))


def test_axes_say_names_and_units() -> None:
    said = words(MARKS["lines"].plot, SIZED)
    assert "Update" in said and "Loss (nats)" in said and "training" in said
    assert "training" not in words(MARKS["lines"].plot, SIZED.updated(legend=False))


def test_title_is_left_out_unless_asked_for() -> None:
    assert "Four" not in words(PANELS, SIZED)
    assert "Four" in words(PANELS, SIZED.updated(title=True))


def test_dollar_signs_are_dollar_signs() -> None:
    said = words(MARKS["words"].plot, SIZED)
    assert "$5" in said and "or $6" in said


@pytest.mark.parametrize("name", VENUES)
def test_venues_have_their_width(name: str) -> None:
    style = VENUES[name]
    page = draw(MARKS["lines"].plot, style, medium="vector")
    width, height = page.get_size_inches()
    assert width == pytest.approx(style.width_in, abs=1e-6)
    assert height == pytest.approx(style.height_in or height, abs=1e-6)
    pixels = draw(MARKS["lines"].plot, style).get_size_inches() * style.dpi
    assert pixels == pytest.approx(np.round([style.width_in * style.dpi, height * style.dpi]), abs=1e-3)
    assert 0.3 < height / width < 1.3


def test_text_in_vector_files() -> None:
    plot = MARKS["lines"].plot
    embedded = to_bytes(plot, "pdf", SIZED)
    assert b"/FontFile2" in embedded and b"/Type3" not in embedded
    outlines = to_bytes(plot, "pdf", SIZED.updated(text="outlines"))
    assert b"/FontFile2" not in outlines and b"/Type3" not in outlines
    assert (b" Tj" not in streams(outlines) and b" Tj" in streams(embedded)) or b" TJ" in streams(embedded)
    tag = "{http://www.w3.org/2000/svg}text"
    assert ElementTree.fromstring(to_bytes(plot, "svg", SIZED)).find(f".//{tag}") is None
    assert (
        ElementTree.fromstring(to_bytes(plot, "svg", SIZED.updated(text="editable"))).find(f".//{tag}")
        is not None
    )


def test_lines_are_never_thinner_than_half_a_point() -> None:
    thin = SIZED.updated(line_scale=0.1, font_size=5)
    for name in ("lines", "boxes", "graph", "histogram"):
        widths = [
            float(w)
            for w in re.findall(rb"(?:^|\s)([\d.]+) w\b", streams(to_bytes(MARKS[name].plot, "pdf", thin)))
        ]
        # Zero is the width of what is filled and not stroked.
        assert widths and all(width == 0 or width >= 0.5 for width in widths), (name, sorted(set(widths)))


def test_fine_heat_map_is_small() -> None:
    noise = np.random.default_rng(0).random((256, 256))
    plot = Plot((Heatmap(noise, (0, 1, 0, 1), values_label="value"),), Axis("x"), Axis("y"), equal=True)
    assert len(to_bytes(plot, "pdf", venue("icml"))) < 200_000


def test_raster_parts_have_300_dots_an_inch() -> None:
    content = to_bytes(Plot((Heatmap(np.eye(8), (0, 1, 0, 1)),), Axis("x"), Axis("y")), "pdf", SIZED)
    widths = [int(width) for width in re.findall(rb"/Width (\d+)", content)]
    assert max(widths) >= 2.5 * 300


def test_many_points_become_pixels() -> None:
    few, many = (np.random.default_rng(0).normal(size=(2, count)) for count in (500, 50_000))
    small = to_bytes(Plot((Scatter(*few),), Axis("x"), Axis("y")), "pdf", SIZED)
    large = to_bytes(Plot((Scatter(*many),), Axis("x"), Axis("y")), "pdf", SIZED)
    assert b"/Subtype /Image" not in small and b"/Subtype /Image" in large
    assert len(large) < 200_000


def test_other_people_s_parameters_are_neither_used_nor_changed() -> None:
    with mpl.rc_context(
        {"text.usetex": True, "savefig.bbox": "tight", "lines.linewidth": 17.0, "axes.grid": True}
    ):
        before = dict(mpl.rcParams)
        content = to_bytes(MARKS["lines"].plot, "pdf", SIZED)
        assert dict(mpl.rcParams) == before
    assert inches(content, "pdf") == pytest.approx((3.25, 2.4), abs=0.001)
    assert content == to_bytes(MARKS["lines"].plot, "pdf", SIZED), "the same figure gives the same file"


def test_threads_do_not_mix_their_styles() -> None:
    styles = [
        SIZED.updated(theme=theme, font_size=size) for theme in ("light", "dark") for size in (6.0, 9.0)
    ]
    alone = [to_bytes(MARKS["lines"].plot, "svg", style) for style in styles]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda style: to_bytes(MARKS["lines"].plot, "svg", style), styles))
    assert together == alone and len(set(alone)) == 4


def test_notes_can_be_left_out() -> None:
    assert "t = 12 of 40" in words(MARKS["pictures"].plot, SIZED)
    assert "t = 12 of 40" not in words(MARKS["pictures"].plot, SIZED.updated(notes=False))


def test_loads_neither_qt_nor_pyplot() -> None:
    code = (
        "import sys, lab.export as e; assert 'matplotlib' not in sys.modules; from engines.figures import *; "
        "e.to_bytes(Plot((Rule(1.0),), Axis('x'), Axis('y')), 'png'); "
        "bad = {'PySide6', 'matplotlib.pyplot', 'torch', 'pyqtgraph'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
