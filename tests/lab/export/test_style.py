"""Styles, venues and colours."""

from __future__ import annotations

from itertools import combinations
from typing import Any, get_args

import pytest

from engines.errors import InputError
from engines.figures import ROLES
from lab.export import Style, venue
from lab.export.style import MINIMUM_LINE, Palette, Theme, colors_of


@pytest.mark.parametrize(
    ("name", "width", "size"),
    [
        ("icml", 3.25, 8),
        ("icml-wide", 6.75, 8),
        ("neurips", 5.5, 9),
        ("iclr", 5.5, 9),
        ("jmlr", 6.0, 9),
        ("ieee", 3.5, 8),
        ("ieee-wide", 7.16, 8),
        ("nature", 3.5, 7),
        ("nature-wide", 7.2, 7),
    ],
)
def test_venues(name: str, width: float, size: float) -> None:
    style = venue(name)
    assert (style.width_in, style.font_size) == (width, size)
    assert not style.title


def test_slide_fills_the_screen() -> None:
    slide = venue("slide")
    assert slide.height_in is not None
    assert slide.width_in / slide.height_in == pytest.approx(16 / 9, rel=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"width_in": 0},
        {"width_in": float("nan")},
        {"width_in": "wide"},
        {"height_in": -1},
        {"dpi": 0},
        {"font_size": 1e6},
        {"line_scale": 0},
        {"aspect": 0.0},
        {"theme": "sepia"},
        {"palette": "rainbow"},
        {"text": "latin"},
        {"width_in": 60, "dpi": 2400},
    ],
)
def test_bad_values_are_one_sentence(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Style(**changes)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_unknown_venue() -> None:
    with pytest.raises(InputError, match=r"no venue 'cvpr'.*icml"):
        venue("cvpr")


def test_lines_scale_and_stop_at_the_least() -> None:
    style = venue("icml")
    assert style.line_width(3.0) > style.line_width(1.5) > MINIMUM_LINE
    assert venue("slide").line_width(1.5) > style.line_width(1.5)
    assert style.updated(line_scale=0.1).line_width(1.5) == MINIMUM_LINE


@pytest.mark.parametrize("theme", get_args(Theme))
@pytest.mark.parametrize("palette", get_args(Palette))
def test_roles_can_be_told_apart(theme: Theme, palette: Palette) -> None:
    colors = colors_of(theme, palette)
    assert set(ROLES) <= set(colors.roles)
    named = [role for role in ROLES if not role.startswith("category") and role != "neutral"]
    for group in (named, [role for role in ROLES if role.startswith("category")]):
        for first, second in combinations(group, 2):
            looks = [(colors.roles[role], colors.dashes.get(role)) for role in (first, second)]
            assert looks[0] != looks[1], (first, second)


def test_screen_and_print_agree() -> None:
    colors = colors_of("light")
    assert (colors.roles["data"], colors.roles["model"]) == ("#0072B2", "#E69F00")
    assert colors.roles["target"] == "#009E73"
