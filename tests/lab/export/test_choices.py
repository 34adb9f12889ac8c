"""What a person chooses about a figure for print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import InputError
from lab.export.choices import VENUE_PRESETS, FigureChoices, choices_of
from lab.export.style import VENUES, Style


def test_there_is_no_seed_and_no_number_of_steps() -> None:
    assert not {"seed", "steps"} & {spec.name for spec in FigureChoices.specs()}


@pytest.mark.parametrize("name", VENUES)
def test_a_venue_chosen_in_the_form_is_the_venue(name: str) -> None:
    assert choices_of(name).style() == VENUES[name]
    (preset,) = [preset for preset in VENUE_PRESETS if preset.id == name]
    assert FigureChoices.build(preset.values).style() == VENUES[name]
    assert preset.title and preset.help


@given(width=st.floats(0.5, 20), height=st.none() | st.floats(0.5, 20))
def test_another_unit_is_the_same_size(width: float, height: float | None) -> None:
    inches = FigureChoices.build({"width": width, "height": height, "dpi": 100})
    metric = inches.in_unit("mm")
    back = metric.in_unit("in")
    for changed in (metric, back):
        style = changed.style()
        assert style.width_in == pytest.approx(width, abs=0.001)
        assert (style.height_in is None) == (height is None)
        assert height is None or style.height_in == pytest.approx(height, abs=0.001)
    assert metric.unit == "mm" and back.unit == "in"
    assert metric.in_unit("mm") is metric


def test_each_choice_reaches_the_drawing() -> None:
    changed = FigureChoices.build(
        {
            "unit": "mm",
            "width": 84.0,
            "height": 50.0,
            "dpi": 200,
            "font": "DejaVu Serif",
            "font_size": 7.0,
            "text": "outlines",
            "title": True,
            "legend": False,
            "notes": False,
            "theme": "dark",
            "palette": "petroff",
            "colormap": "cividis",
            "diverging": "PuOr_r",
            "lines": 1.5,
        }
    )
    plain = FigureChoices()
    for spec in FigureChoices.specs():
        assert getattr(changed, spec.name) != getattr(plain, spec.name), f"{spec.name} is not tried"
    assert changed.style() == Style(
        width_in=84.0 / 25.4,
        height_in=50.0 / 25.4,
        dpi=200,
        font_family="DejaVu Serif",
        font_size=7.0,
        text="outlines",
        title=True,
        legend=False,
        notes=False,
        theme="dark",
        palette="petroff",
        colormap="cividis",
        diverging="PuOr_r",
        line_scale=1.5,
    )
    assert FigureChoices.build({"font": "  "}).style().font_family == "DejaVu Sans"


def test_what_does_not_go_together_is_a_sentence() -> None:
    with pytest.raises(InputError, match="too many pixels"):
        FigureChoices.build({"width": 59.0, "dpi": 2400}).style()
    with pytest.raises(InputError, match="no venue 'vogue'"):
        choices_of("vogue")
