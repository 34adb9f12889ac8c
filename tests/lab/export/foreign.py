"""What programs that are not ours find in an exported file; raises AssertionError where it is not as promised."""

from __future__ import annotations

import io
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pypdf
import pypdfium2
import pytest
import resvg_py
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.figure import Figure as Page
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image

from engines.figures import Figure, Film, plots_of
from lab.export import Style
from lab.export.draw import draw
from lab.export.parameters import drawing
from lab.export.style import MINIMUM_LINE, colors_of


def check_drawing(figure: Figure, style: Style) -> None:
    """No line is too thin, and no text stands beyond the page."""
    page = draw(figure, style, medium="vector")
    for artist, width in strokes(page):
        assert width >= MINIMUM_LINE, artist
    # Outside of these parameters matplotlib picks other ticks.
    with drawing(style):
        box, room = page.get_tightbbox(), 0.5 / 72
    assert box.x0 >= -room and box.y0 >= -room, box
    assert box.x1 <= page.get_figwidth() + room and box.y1 <= page.get_figheight() + room, box


def check_pdf(content: bytes, figure: Figure, style: Style) -> None:
    """One page of the size asked for, TrueType fonts embedded or none, every axis named, nothing cut off."""
    pdf = pypdf.PdfReader(io.BytesIO(content), strict=True)
    assert len(pdf.pages) == 1
    width, height = (float(side) / 72 for side in pdf.pages[0].mediabox[2:])
    assert width == pytest.approx(style.width_in, abs=0.01)
    assert style.height_in is None or height == pytest.approx(style.height_in, abs=0.01)
    assert 0.2 < height < 9.51
    fonts = list(fonts_of(pdf))
    said = pdf.pages[0].extract_text()
    if style.text == "outlines":
        assert not fonts and not said.strip()
    else:
        assert all("/FontFile2" in font for font in fonts)
        for plot in plots_of(figure.frames[0] if isinstance(figure, Film) else figure):
            for axis in (plot.x, plot.y):
                assert not axis.shown or axis.title() in said, (
                    f"each axis that is shown is named with its unit: {axis.title()} not in {said}"
                )
    if shutil.which("pdffonts"):
        done = subprocess.run(["pdffonts", "-"], input=content, capture_output=True, check=True)
        rows = done.stdout.decode().splitlines()[2:]
        assert len(rows) == len(fonts) and all("TrueType" in row and " yes " in row for row in rows), rows
    drawn = pypdfium2.PdfDocument(content)[0].render(scale=1.5).to_numpy()[..., ::-1]
    check_pixels(drawn, style)


def check_svg(content: bytes, style: Style) -> None:
    """The size asked for, in the units of a browser, and nothing cut off."""
    text = content.decode("utf-8")
    root = ElementTree.fromstring(text)
    width, height = root.attrib["width"], root.attrib["height"]
    assert width == f"{72 * style.width_in:g}pt" and height.endswith("pt")
    # What a browser takes 96 pixels to the inch for.
    drawn = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=text, dpi=96))).convert("RGB")
    assert drawn.width == pytest.approx(96 * style.width_in, abs=1)
    assert drawn.height == pytest.approx(float(height[:-2]) / 72 * 96, abs=1)
    check_pixels(np.asarray(drawn), style)


def drawn_eps(path: Path) -> np.ndarray | None:
    """The page as ghostscript draws it without a complaint, a pixel to a point (H, W, 3); None where it is not installed."""
    if not shutil.which("gs"):
        return None
    drawn_to = path.with_name(path.stem + "-drawn.png")
    command = ["gs", "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-dEPSCrop", "-sDEVICE=png16m", "-r72"]
    done = subprocess.run([*command, f"-sOutputFile={drawn_to}", path], capture_output=True, check=True)
    assert not done.stderr
    with Image.open(drawn_to) as drawn:
        return np.asarray(drawn.convert("RGB"))


def mp4_frames(path: Path, width: int, height: int) -> np.ndarray:
    """The frames of a film as ffmpeg decodes them, without a complaint; (N, H, W, 3)."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [ffmpeg, "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert not done.stderr
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3).astype(int)


def check_pixels(pixels: np.ndarray, style: Style) -> None:
    """The outermost pixels of a drawing (H, W, 3) are the page's, and others are not: nothing is cut off."""
    assert is_ground(edges(pixels), style), "nothing is cut off"
    assert not is_ground(pixels.reshape(-1, 3), style)


def images_of(pdf: pypdf.PdfReader) -> Iterator[tuple[int, int]]:
    for image in pdf.pages[0].images:
        assert image.image is not None
        yield image.image.size


def fonts_of(pdf: pypdf.PdfReader) -> Iterator[pypdf.generic.DictionaryObject]:
    """The descriptors of all fonts of the page."""
    resources = pdf.pages[0]["/Resources"].get_object()
    for font in (resources.get("/Font") or {}).get_object().values():  # type: ignore[union-attr]
        font = font.get_object()
        for part in (*(font.get("/DescendantFonts") or ()), font):
            if "/FontDescriptor" in part.get_object():
                yield part.get_object()["/FontDescriptor"].get_object()
                break
        else:
            raise AssertionError(f"a font without a descriptor: {font}")


def edges(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def is_ground(pixels: np.ndarray, style: Style) -> bool:
    """Whether all pixels are of the colour of the page."""
    name = colors_of(style.theme).background
    ground = np.array([int(name[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(pixels.astype(int) - ground) <= 2).all())


def strokes(page: Page) -> Iterator[tuple[Artist, float]]:
    """All lines that are drawn, with their widths in points."""
    for artist in page.findobj():
        if not artist.get_visible():
            continue
        if isinstance(artist, Line2D):
            if len(artist.get_xydata()) and artist.get_linestyle() != "None":
                yield artist, artist.get_linewidth()
            if artist.get_marker() in ("x", "+", "|", "_", 0, 1, 2, 3):
                yield artist, artist.get_markeredgewidth()
        elif isinstance(artist, Collection):
            seen = np.atleast_2d(artist.get_edgecolor())
            if seen.size and seen[:, 3].any() and len(artist.get_paths()):
                # A line of no width is not drawn; marks without an edge have it.
                yield from ((artist, width) for width in np.atleast_1d(artist.get_linewidth()) if width)
        elif isinstance(artist, Patch) and artist.get_edgecolor()[3] and artist.get_linewidth():
            yield artist, artist.get_linewidth()
