"""Equations as outlines: matplotlib's mathtext read once, painted by Qt at any size and in any colour.

`outline` and `read_formulas` may run on any thread (the text page uses one of its own, as the first use
imports matplotlib and its fonts); `painter_path` belongs to the GUI thread.
"""

from __future__ import annotations

import gc
import re
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QPainterPath

FONT_FAMILY = "cm"

_lock = threading.Lock()
_reader: Any = None
_executor: ThreadPoolExecutor | None = None


class FormulaError(ValueError):
    """A formula that mathtext cannot read; the text says where."""


@dataclass(frozen=True, eq=False)
class Outline:
    """One line of mathematics, in units of the font size, y upwards from the baseline.

    Attributes
    ----------
    width, ascent, descent : float
        ``descent`` is positive below the baseline.
    vertices : ndarray of shape (N, 2)
    codes : ndarray of shape (N,)
        As `matplotlib.path.Path` has them: 1 move, 2 line, 3 quadratic, 4 cubic, 79 close.
    """

    width: float
    ascent: float
    descent: float
    vertices: np.ndarray = field(repr=False)
    codes: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class Formula:
    r"""A formula in one piece, and in the pieces between which a line may be broken.

    Attributes
    ----------
    source : str
        Without dollar signs.
    whole : Outline or None
        None when it cannot be read; ``error`` then says why.
    statements : tuple of tuple of Outline
        What stands between ``\\`` and ``\qquad``, each in the pieces between which its line may be broken.
        Empty when there is no place to break.
    """

    source: str
    whole: Outline | None
    statements: tuple[tuple[Outline, ...], ...] = ()
    error: str = ""


def _make_reader() -> Any:
    from matplotlib.mathtext import MathTextParser
    from matplotlib.textpath import TextToPath

    class OwnParser(MathTextParser):  # type: ignore[type-arg]
        # matplotlib keeps one parser for the whole process; a figure may be drawn for print at the same
        # moment.
        _parser = None

    reader = TextToPath()
    reader.mathtext_parser = OwnParser("path")
    return reader


@lru_cache(maxsize=2048)
def outline(source: str) -> Outline:
    """The outline of a formula in mathtext, without its dollar signs.

    Raises
    ------
    FormulaError
        When mathtext does not know what stands there.
    """
    global _reader
    with _lock:
        from matplotlib.font_manager import FontProperties

        if _reader is None:
            _reader = _make_reader()
        properties = FontProperties(family="DejaVu Sans", math_fontfamily=FONT_FAMILY, size=100)
        text = f"${' '.join(source.split())}$"
        try:
            vertices, codes = _reader.get_text_path(properties, text, ismath=True)
            width, height, descent = _reader.get_text_width_height_descent(text, properties, ismath=True)
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()
            raise FormulaError(reason[-1] if reason else "it cannot be read") from None
    points = np.asarray(vertices, dtype=np.float64).reshape(-1, 2) / 100.0
    return Outline(
        width=float(width) / 100,
        ascent=float(height - descent) / 100,
        descent=float(descent) / 100,
        vertices=points,
        codes=np.asarray(codes, dtype=np.uint8),
    )


def read_formula(source: str) -> Formula:
    """The outlines of a formula and of its pieces; one that cannot be read comes back with its error."""
    try:
        spaced = _LARGE_OPERATOR.sub(r"\1\,", source)
        parts = break_places(spaced)
        # mathtext knows no line break; in one piece it is a wide space.
        whole = outline(spaced.replace(r"\\", r"\qquad "))
        statements = tuple(tuple(outline(part) for part in statement) for statement in parts)
    except FormulaError as error:
        return Formula(source, None, error=str(error))
    return Formula(source, whole, statements if sum(map(len, statements)) > 1 else ())


def read_formulas(sources: Iterable[str]) -> dict[str, Formula]:
    """`read_formula` for many, by source."""
    # Python's collector runs on whichever thread allocates, and must never destroy a widget here.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return {source: read_formula(source) for source in sources}
    finally:
        if collecting:
            gc.enable()


def submit_formulas(sources: Iterable[str]) -> Future[dict[str, Formula]]:
    """`read_formulas` on a thread of its own."""
    global _executor
    if _executor is None:
        _executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mathtext")
    return _executor.submit(read_formulas, tuple(sources))


# mathtext sets what follows a sum too close to it.
_LARGE_OPERATOR = re.compile(
    r"(\\(?:sum|prod|int)(?![A-Za-z])(?:\s*[_^]\s*(?:\{[^{}]*\}|\\[A-Za-z]+|[^\s{}\\]))*)(?!\s*\\,)(?!\s*[_^])"
)
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)
_RELATIONS = {"=", "<", ">", r"\approx", r"\leq", r"\geq", r"\leftarrow", r"\sim", r"\propto", r"\to"}
_OPERATORS = {"+", "-"}


def break_places(source: str) -> tuple[tuple[str, ...], ...]:
    r"""A formula cut into statements at ``\\`` and ``\qquad``, and these where a line may be broken.

    That is before relations, + and −; only at the outermost level, so each piece can be read alone.
    """
    statements: list[list[str]] = []
    pieces: list[str] = []
    current = ""
    depth = 0
    operand = False
    for token in _TOKEN.findall(source):
        if token in ("{", "(", "[", r"\left", r"\{"):
            depth += 1
        elif token in ("}", ")", "]", r"\right", r"\}"):
            depth -= 1
        if depth == 0 and token in (r"\qquad", r"\\"):
            statements.append([*pieces, current])
            pieces, current, operand = [], "", False
            continue
        breaks = depth == 0 and operand and (token in _RELATIONS or token in _OPERATORS)
        if breaks and not current.rstrip().endswith(("_", "^")):
            pieces.append(current)
            # An empty group before it keeps the sign binary, with space on both sides.
            current, operand = "{}", False
        current += token
        if not token.isspace() and token not in _RELATIONS | _OPERATORS:
            operand = True
    statements.append([*pieces, current])
    kept = (tuple(piece.strip() for piece in statement if piece.strip(" {}")) for statement in statements)
    return tuple(statement for statement in kept if statement)


def painter_path(shape: Outline, size: float, x: float = 0.0, y: float = 0.0) -> QPainterPath:
    """The outline as a path to fill.

    Parameters
    ----------
    shape : Outline
    size : float
        Font size in pixels.
    x, y : float
        Where the baseline begins, in Qt's coordinates.
    """
    path = QPainterPath()
    # Glyphs overlap where signs are built of parts; with the even-odd rule the overlaps would be holes.
    path.setFillRule(Qt.FillRule.WindingFill)
    points = shape.vertices * (size, -size) + (x, y)
    index, count = 0, len(shape.codes)
    while index < count:
        code = shape.codes[index]
        if code == 1:
            path.moveTo(*points[index])
        elif code == 2:
            path.lineTo(*points[index])
        elif code == 3:
            path.quadTo(*points[index], *points[index + 1])
            index += 1
        elif code == 4:
            path.cubicTo(*points[index], *points[index + 1], *points[index + 2])
            index += 2
        elif code == 79:
            path.closeSubpath()
        index += 1
    return path


__all__ = [
    "Formula",
    "FormulaError",
    "Outline",
    "break_places",
    "outline",
    "painter_path",
    "read_formula",
    "read_formulas",
    "submit_formulas",
]
