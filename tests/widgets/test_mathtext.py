"""Equations as outlines, and symbols as rich text."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widgets.mathtext import FormulaError, break_places, outline, painter_path, read_formula
from widgets.symbols import symbol_to_html
from widgets.text_page import split_marks

PAGES = sorted(
    page.name for page in files("assets").joinpath("papers").iterdir() if page.name.endswith(".md")
)


def test_outline_measures_in_units_of_the_font_size() -> None:
    x = outline("x")
    assert 0.2 < x.width < 1.0 and 0.3 < x.ascent < 0.8 and x.descent < 0.1
    fraction = outline(r"\frac{a}{b}")
    assert fraction.ascent > x.ascent and fraction.descent > 0.3
    assert np.isfinite(fraction.vertices).all()
    assert len(fraction.vertices) == len(fraction.codes)


@pytest.mark.parametrize("size", [10.0, 40.0])
def test_path_scales_and_stands_on_its_baseline(size) -> None:
    bounds = painter_path(outline("x"), size, 100.0, 50.0).boundingRect()
    assert bounds.left() >= 100 - 0.1 * size and bounds.right() <= 100 + size
    assert bounds.bottom() == pytest.approx(50.0, abs=0.1 * size)
    assert bounds.height() == pytest.approx(0.45 * size, rel=0.3)


def test_what_cannot_be_read_says_so() -> None:
    with pytest.raises(FormulaError):
        outline(r"\frac{a")
    formula = read_formula(r"\nosuchcommand x")
    assert formula.whole is None and formula.error


def test_lines_break_only_outside_brackets() -> None:
    assert break_places(r"y = a + b") == (("y", "{}= a", "{}+ b"),)
    assert break_places(r"y = f(a + b) - \frac{a - b}{c}") == (("y", "{}= f(a + b)", r"{}- \frac{a - b}{c}"),)
    assert break_places(r"-x \leq \left(a = b\right)") == (("-x", r"{}\leq \left(a = b\right)"),)
    assert break_places(r"a = 1, \qquad b = 2") == (("a", "{}= 1,"), ("b", "{}= 2"))
    assert break_places(r"x_{t-1}") == (("x_{t-1}",),)


def test_a_breakable_formula_has_pieces_about_as_wide_as_the_whole() -> None:
    formula = read_formula(r"y = a + b + c")
    pieces = [piece for statement in formula.statements for piece in statement]
    assert len(pieces) == 4
    assert sum(piece.width for piece in pieces) == pytest.approx(formula.whole.width, rel=0.25)
    assert read_formula("x").statements == ()


@pytest.mark.parametrize("page", PAGES)
def test_every_equation_of_the_papers_pages_can_be_drawn(page) -> None:
    _, marks = split_marks(files("assets").joinpath("papers", page).read_text(encoding="utf-8"))
    sources = [mark.source for mark in marks if hasattr(mark, "source")]
    assert sources
    unread = [
        (source, read_formula(source).error) for source in sources if read_formula(source).whole is None
    ]
    assert unread == []


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        (r"\beta_t", "<i>β</i><sub><i>t</i></sub>"),
        (r"\bar{\alpha}", "<i>α̅</i>"),
        (r"\lambda", "<i>λ</i>"),
        (r"\Sigma", "Σ"),
        (r"N_\mathrm{max}", "<i>N</i><sub>max</sub>"),
        (r"10^{-3}", "10<sup>−3</sup>"),
        (r"a<b", "<i>a</i>&lt;<i>b</i>"),
        (r"\unknown", "unknown"),
    ],
)
def test_symbols(symbol, expected) -> None:
    assert symbol_to_html(symbol) == expected


@given(st.text(alphabet=r"abx_^{}\\ <>&'12" + "βé", max_size=24))
def test_any_symbol_gives_balanced_tags(symbol) -> None:
    text = symbol_to_html(symbol)
    stack = []
    for closing, tag in re.findall(r"<(/?)(\w+)>", text):
        if closing:
            assert stack.pop() == tag
        else:
            stack.append(tag)
    assert stack == []
