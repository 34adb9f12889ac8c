"""Figures as drawing commands for LaTeX, measured and written without a TeX installation; any thread, needs no display.

Places come from the same layout as in the other formats; the text is set by the document that includes the figure, in
its font, at the size asked for. So each text is anchored where it may get wider or narrower than it was measured.
"""

from __future__ import annotations

import io
import math
import re
import unicodedata
import zlib
from typing import TYPE_CHECKING, Any

from lab.export.notes import as_comments

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Page

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    # No ligatures: two of them are no dash.
    "-": "-{}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "\N{NO-BREAK SPACE}": "~",
}

_GREEK = {
    chr(0x3B1 + index): rf"\{name}"
    for index, name in enumerate(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi - pi rho varsigma sigma tau upsilon phi "
        "chi psi omega".split()
    )
    if name != "-"
} | {
    letter: rf"\{name}"
    for letter, name in zip(
        "ΓΔΘΛΞΠΣΥΦΨΩ", "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega".split(), strict=True
    )
}
_MATH = _GREEK | {
    "\N{MINUS SIGN}": "-",
    "\N{MICRO SIGN}": r"\mu",
    "ϵ": r"\epsilon",
    "ϕ": r"\phi",
    "°": r"{}^\circ",
    "×": r"\times",
    "·": r"\cdot",
    "÷": r"\div",
    "±": r"\pm",
    "∓": r"\mp",
    "≤": r"\leq",
    "≥": r"\geq",
    "≠": r"\neq",
    "≈": r"\approx",
    "∝": r"\propto",
    "∞": r"\infty",
    "∂": r"\partial",
    "∇": r"\nabla",
    "∑": r"\sum",
    "∈": r"\in",
    "√": r"\surd",
    "‖": r"\|",
    "∥": r"\|",
    "←": r"\leftarrow",
    "→": r"\rightarrow",
    "↑": r"\uparrow",
    "↓": r"\downarrow",
    "↔": r"\leftrightarrow",
}
_ACCENTS = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar", "\u0307": r"\dot", "\u20d7": r"\vec"}


def pgf_source(page: Page, name: str, note: str, dpi: float) -> tuple[str, dict[str, bytes]]:
    r"""A drawing as a text for ``\input``, and the pictures that it includes.

    Parameters
    ----------
    page : matplotlib.figure.Figure
        Drawn for vector files, with its layout done; within `lab.export.parameters.drawing`.
    name : str
        Of the file, without its ending.
    note : str
        What made the figure, in ASCII.
    dpi : float
        Of raster parts.

    Returns
    -------
    source : str
    pictures : dict of str to bytes
        PNG files by name; they belong beside the source.
    """
    from matplotlib.backends.backend_mixed import MixedModeRenderer

    page.dpi = dpi
    width, height = (float(side) for side in page.get_size_inches())
    renderer, body, pictures = _renderer(page, picture_stem(name))
    # Matplotlib has no types for its writers.
    make: Any = MixedModeRenderer
    page.draw(make(page, width, height, dpi, renderer))
    shown = re.sub(r"[^ -~]+", "?", name)
    lines = [
        "%% A figure for LaTeX; in the preamble: \\usepackage{pgf}",
        "%% and in the text: \\input{" + shown + ".pgf}, from the folder of the document.",
        "%% Text is set in the document's font; one that comes in all sizes shows it best, such as \\usepackage{lmodern}.",
        *(f"%% The picture {picture} belongs beside this file." for picture in pictures),
    ]
    start = rf"""\begingroup%
\makeatletter%
\def\mathdefault#1{{#1}}%
\begin{{pgfpicture}}%
\pgfpathrectangle{{\pgfpointorigin}}{{\pgfqpoint{{{width:f}in}}{{{height:f}in}}}}%
\pgfusepath{{use as bounding box, clip}}%
"""
    end = "\\end{pgfpicture}%\n\\makeatother%\n\\endgroup%\n"
    return "\n".join(lines) + "\n" + as_comments(note) + start + body.getvalue() + end, pictures


def picture_stem(name: str) -> str:
    """How the names of a file's pictures begin: only characters that TeX takes as they are."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", name)
    # Two names that differ only in what was taken out must not share their pictures.
    return clean if clean == name else f"{clean}-{zlib.crc32(name.encode(errors='replace')):08x}"


def pictures_in(source: str) -> set[str]:
    """Names of the pictures that a text of `pgf_source` includes."""
    return set(re.findall(r"\\includegraphics\[[^]]*\]\{([A-Za-z0-9_-]+-img\d+\.png)\}", source))


def as_tex(text: str, *, is_math: bool = False) -> str | None:
    """A text of matplotlib's for LaTeX, or None when it holds characters that not every LaTeX can set.

    Parameters
    ----------
    text : str
    is_math : bool
        Whether what stands between dollar signs is mathematics.
    """
    parts = re.split(r"(?<!\\)\$", text) if is_math else [text]
    done = [
        _math(part) if index % 2 else _text(part.replace(r"\$", "$") if is_math else part)
        for index, part in enumerate(parts)
    ]
    whole = [part for part in done if part is not None]
    return "".join(whole) if len(whole) == len(done) else None


def _math(text: str) -> str | None:
    text = "".join(f"{_MATH[char]} " if char in _MATH else char for char in text)
    # Ticks hold none of the characters that mean something else to LaTeX than to matplotlib.
    return rf"\ensuremath{{{text}}}" if text.isascii() and not set(text) & set("%#&~") else None


def _text(text: str) -> str | None:
    done = ""
    for cluster in re.findall(r".[\u0300-\u036f\u20d7]*", _composed(text), re.DOTALL):
        tex = _letter(cluster)
        if tex is None:
            return None
        done += tex
    return done


def _composed(text: str) -> str:
    """Latin letters with their accents in one character, as LaTeX knows them, and all others apart."""
    return "".join(
        char if char < "\u0250" else unicodedata.normalize("NFD", char)
        for char in unicodedata.normalize("NFC", text)
    )


def _letter(cluster: str) -> str | None:
    letter, accents = cluster[0], cluster[1:]
    if accents:
        base = _MATH.get(letter, letter if letter.isascii() and letter.isalnum() else "")
        if not base or any(accent not in _ACCENTS for accent in accents):
            return None
        for accent in accents:
            base = f"{_ACCENTS[accent]}{{{base}}}"
        return rf"\ensuremath{{{base}}}"
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter in _MATH:
        return rf"\ensuremath{{{_MATH[letter]}}}"
    way, _, plain = unicodedata.decomposition(letter).partition(" ")
    if way in ("<super>", "<sub>") and " " not in plain:
        inner = chr(int(plain, 16))
        inner = _MATH.get(inner, inner)
        if inner.isascii():
            return rf"\ensuremath{{{'^' if way == '<super>' else '_'}{{{inner}}}}}"
    # Latin with accents is in every LaTeX since 2018.
    return (
        letter if letter.isascii() or "\N{LATIN CAPITAL LETTER A WITH GRAVE}" <= letter < "\u0180" else None
    )


def _renderer(page: Page, stem: str) -> tuple[Any, io.StringIO, dict[str, bytes]]:
    """A renderer of matplotlib's that starts no TeX, what it will write, and the pictures it will make."""
    from matplotlib.backend_bases import RendererBase
    from matplotlib.backends import backend_pgf

    writer: Any = backend_pgf.RendererPgf
    body = io.StringIO()
    pictures: dict[str, bytes] = {}

    class Renderer(writer):  # type: ignore[misc]
        def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> Any:
            # Not the class's own, which asks TeX.
            return RendererBase.get_text_width_height_descent(self, s, prop, ismath)

        def draw_text(
            self,
            gc: Any,
            x: float,
            y: float,
            s: str,
            prop: Any,
            angle: float,
            ismath: Any = False,
            mtext: Any = None,
        ) -> None:
            tex = as_tex(s, is_math=bool(ismath))
            if tex is None:
                RendererBase.draw_text(self, gc, x, y, s, prop, angle, ismath, mtext)
                return
            side = "center"
            if mtext is not None and (not angle or mtext.get_rotation_mode() == "anchor"):
                side = mtext.get_horizontalalignment()
            width, _, _ = self.get_text_width_height_descent(s, prop, ismath)
            along = {"left": 0.0, "center": 0.5 * width, "right": width}[side]
            turn = math.radians(angle)
            x, y = (x + along * math.cos(turn)) / self.dpi, (y + along * math.sin(turn)) / self.dpi
            size = prop.get_size_in_points() * 72.27 / 72.0
            red, green, blue, opacity = gc.get_rgb()
            body.write("\\begin{pgfscope}%\n")
            self._print_pgf_clip(gc)
            body.write(
                (f"\\pgfsetfillopacity{{{opacity:f}}}%\n" if opacity != 1.0 else "")
                + f"\\definecolor{{textcolor}}{{rgb}}{{{red:f},{green:f},{blue:f}}}%\n"
                + f"\\pgftext[x={x:f}in,y={y:f}in,{'' if side == 'center' else side + ','}base,rotate={angle:f}]"
                + f"{{\\color{{textcolor}}\\fontsize{{{size:f}}}{{{1.2 * size:f}}}\\selectfont {tex}}}%\n"
                + "\\end{pgfscope}%\n"
            )

        def draw_image(self, gc: Any, x: float, y: float, im: Any, transform: Any = None) -> None:
            from PIL import Image

            height, width = im.shape[:2]
            if not height or not width:
                return
            name = f"{stem}-img{len(pictures)}.png"
            file = io.BytesIO()
            Image.fromarray(im[::-1]).save(file, format="PNG")
            pictures[name] = file.getvalue()
            a, b, c, d = (width, 0.0, 0.0, height)
            if transform is not None:
                a, b, c, d, right, up = transform.frozen().to_values()
                x, y = x + right, y + up
            # Every length of TeX is in inches here: places in pixels would be beyond what it can count.
            a, b, c, d, x, y = (float(value) / self.dpi for value in (a, b, c, d, x, y))
            body.write("\\begin{pgfscope}%\n")
            self._print_pgf_clip(gc)
            body.write(
                f"\\pgfsys@transformcm{{{a:f}}}{{{b:f}}}{{{c:f}}}{{{d:f}}}{{{x:f}in}}{{{y:f}in}}%\n"
                f"\\pgftext[left,bottom]{{\\includegraphics[width=1in,height=1in]{{{name}}}}}%\n"
                "\\end{pgfscope}%\n"
            )

    return Renderer(page, body), body, pictures


__all__ = ["as_tex", "pgf_source", "picture_stem", "pictures_in"]
