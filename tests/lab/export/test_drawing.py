"""What is drawn: every mark in its colours, nothing cut off, panels and films to one scale."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from engines.figures import HIDDEN, Axis, Figure, Film, Heatmap, ImageGrid, Lines, Panels, Plot, strip
from lab.export import ExportError, Style, alt_text, to_bytes, venue
from lab.export.draw import draw
from lab.export.style import colors_of
from tests.lab.export.samples import FILM, MARKS, PANELS, SIZED

FIGURES: dict[str, Figure] = {name: sample.plot for name, sample in MARKS.items()} | {
    "panels": PANELS,
    "film": FILM,
}


def picture(figure: Figure, style: Style = SIZED) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(to_bytes(figure, "png", style))).convert("RGB"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", MARKS)
def test_shows_its_colours(name: str, theme: Literal["light", "dark"]) -> None:
    pixels = picture(MARKS[name].plot, SIZED.updated(theme=theme)).reshape(-1, 3).astype(int)
    colors = colors_of(theme)
    wanted = (
        MARKS[name].colors
        if theme == "light"
        else tuple(c for c in MARKS[name].colors if not c.startswith("#"))
    )
    for color in wanted:
        value = colors.roles.get(color, color)
        target = np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)])
        assert np.abs(pixels - target).max(axis=1).min() <= 12, color
    ground = np.array([int(colors.background[i : i + 2], 16) for i in (1, 3, 5)])
    assert tuple(pixels[0]) == tuple(ground)


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    # With the title and at its natural height: what is cut off leaves ink in the outermost pixels.
    pixels = picture(FIGURES[name], venue("icml", title=True, dpi=100))
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def test_pictures_get_a_height_that_fits_them() -> None:
    wide, square = (ImageGrid(np.zeros((8, 10, 10)), columns) for columns in (8, 3))
    low, high = (draw(Plot((grid,), HIDDEN, HIDDEN, y_down=True), venue("icml")) for grid in (wide, square))
    assert low.get_figheight() < 0.25 * 3.25 < 0.8 * 3.25 < high.get_figheight() < 1.2 * 3.25


def test_gaps_and_bad_numbers_are_drawn_around() -> None:
    y = np.array([1.0, np.nan, 2.0, np.inf, 3.0, 4.0])
    plot = Plot((Lines(np.arange(6.0), y, width=3),), Axis("x"), Axis("y"))
    shown = (np.abs(picture(plot).astype(int) - np.array([0xE6, 0x9F, 0x00])).max(axis=2) < 40).any(axis=0)
    empty = Plot((Lines(np.arange(6.0), np.full(6, np.nan)),), Axis("x"), Axis("y", scale="log"))
    assert shown.sum() < 0.6 * len(shown), "the gaps are gaps"
    assert shown.any()
    assert picture(empty).shape == (240, 325, 3)


def test_y_down_turns_the_picture() -> None:
    values = np.array([[1.0, 1.0], [0.0, 0.0]])
    up, down = (
        picture(Plot((Heatmap(values, (0, 2, 0, 2)),), HIDDEN, HIDDEN, y_down=y_down)).astype(int)
        for y_down in (False, True)
    )
    middle = up.shape[1] // 2
    assert up[200, middle].sum() > up[40, middle].sum(), "row 0 is at the bottom"
    assert down[200, middle].sum() < down[40, middle].sum()


def test_panels_that_show_the_same_share_limits() -> None:
    small, large = (
        Plot((Lines(np.arange(3.0), np.arange(3.0) * scale),), Axis("x"), Axis("y")) for scale in (1, 10)
    )
    shared = draw(Panels((small, large), 2), SIZED)
    assert shared.axes[0].get_ylim() == shared.axes[1].get_ylim()
    free = draw(Panels((small, large), 2, share_axes=False), SIZED)
    assert free.axes[0].get_ylim() != free.axes[1].get_ylim()


def test_stills_and_strips_of_films() -> None:
    third, start = (draw(FILM, SIZED, frame=frame) for frame in (3, None))
    assert third.axes[0].get_xlim() == start.axes[0].get_xlim(), "the limits of the whole film"
    corners = [page.axes[0].collections[0].get_paths()[0].vertices[:, 0].min() for page in (third, start)]
    assert corners == [9.0, 3.0]
    assert len(draw(FILM, SIZED, frames=[0, 2, -1]).axes) == 3
    with pytest.raises(ExportError, match="no frame 7"):
        draw(FILM, SIZED, frame=7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"font_family": "Nonesuch Grotesk"}, "Nonesuch Grotesk.*not installed"),
        ({"colormap": "nonesuch"}, "no colour map 'nonesuch'"),
        ({"font_size": 60.0}, "no room left for its plots"),
    ],
)
def test_styles_that_cannot_be_drawn(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        to_bytes(MARKS["heat map"].plot, "png", SIZED.updated(**changes))


def test_hints_for_the_hand_are_not_printed_and_notes_are() -> None:
    plain = MARKS["lines"].plot
    assert np.array_equal(picture(replace(plain, hint="Drag the line.")), picture(plain))
    assert not np.array_equal(picture(replace(plain, note="Two values are missing.")), picture(plain))
    assert "Drag" not in alt_text(replace(plain, hint="Drag the line."))


def test_a_long_note_leaves_room_for_its_plot() -> None:
    plots = tuple(
        replace(MARKS["lines"].plot, note="A remark that is much wider than its plot. " * 3) for _ in range(3)
    )
    pixels = picture(Panels(plots, 3), venue("icml", dpi=100))
    assert np.array_equal(pixels[0, 0], pixels[-1, -1])


def test_a_note_under_a_title_lies_on_neither_plot_nor_legend_nor_title() -> None:
    plot = replace(MARKS["lines"].plot, title="One of two", note="meta-iteration 50, layer 4 first")
    for style in (venue("icml"), venue("icml-wide")):
        page = draw(Panels((plot, plot), 2, title="Both"), style, medium="vector")
        for axes in page.axes:
            (note,) = [text for text in axes.texts if "meta" in text.get_text()]
            box = note.get_window_extent()
            assert not box.overlaps(axes.get_window_extent())
            assert not box.overlaps(axes.title.get_window_extent())
            assert axes.title.get_window_extent().y0 >= box.y1


def test_a_strip_has_no_remarks() -> None:
    frames = tuple(replace(MARKS["lines"].plot, note=f"t = {t} of 3, a long remark") for t in range(4))
    film = Film(frames, np.arange(4.0), Axis("t"))
    assert not any(plot.note for plot in strip(film, [0, 1, 2, 3]).plots)
    assert picture(strip(film, [0, 1, 2, 3]), venue("icml", dpi=60)).size
