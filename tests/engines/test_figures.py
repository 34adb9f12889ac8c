"""The vocabulary of pictures: faults are named, grids of pictures agree with what is under the pointer, films keep time."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import figures as f

LABELLED = {"x": f.Axis("Step"), "y": f.Axis("Loss", "bits")}


def ramp(count: int) -> np.ndarray:
    return np.arange(count, dtype=float)


def plot(*marks: f.Mark, **more: object) -> f.Plot:
    return f.Plot(tuple(marks), **{**LABELLED, "title": "A title", **more})  # type: ignore[arg-type]


def film(*frames: f.Plot | f.Panels, times: list[float] | None = None, start: int = 0) -> f.Film:
    at = np.array(times if times is not None else ramp(len(frames)))
    return f.Film(frames, at, f.Axis("t"), "A film", "What it shows.", start)


SOUND: dict[str, f.Mark] = {
    "lines": f.Lines(ramp(3), ramp(3)),
    "ribbon": f.Ribbon(ramp(3), ramp(3), ramp(3) + 1),
    "scatter": f.Scatter(ramp(3), ramp(3), values=ramp(3)),
    "field": f.VectorField(ramp(3), ramp(3), ramp(3), ramp(3)),
    "rule": f.Rule(1.0),
    "bars": f.Bars(ramp(3), ramp(3)),
    "histogram": f.Histogram(ramp(4), ramp(3)),
    "heatmap": f.Heatmap(np.zeros((2, 5)), (0, 1, 0, 1)),
    "grey images": f.ImageGrid(np.zeros((2, 4, 3))),
    "colour images": f.ImageGrid(np.zeros((2, 4, 3, 3), np.uint8)),
    "boxes": f.Boxes(ramp(3), ramp(3), ramp(3), ramp(3)),
    "graph": f.Graph(np.zeros((3, 2)), np.array([[0, 1], [1, 2]]), ramp(3), ramp(2), ("a", "b", "c")),
    "no edges": f.Graph(np.zeros((3, 2)), np.zeros((0, 2), int)),
    "words": f.Words(ramp(2), ramp(2), ("a", "b"), ramp(2)),
    "bodies": f.Bodies((np.zeros((4, 2)), np.zeros((7, 2))), ("data", "category-7")),
    "empty": f.Scatter(ramp(0), ramp(0)),
}

FAULTY: dict[str, f.Mark] = {
    "lines of two lengths": f.Lines(ramp(3), ramp(4)),
    "ribbon": f.Ribbon(ramp(3), ramp(3), ramp(2)),
    "scatter": f.Scatter(ramp(3), ramp(2)),
    "values of scatter": f.Scatter(ramp(3), ramp(3), values=ramp(2)),
    "field": f.VectorField(ramp(3), ramp(3), ramp(3), ramp(2)),
    "bars": f.Bars(ramp(3), ramp(2)),
    "edges of histogram": f.Histogram(ramp(3), ramp(3)),
    "heatmap of one dimension": f.Heatmap(ramp(3), (0, 1, 0, 1)),
    "images of two dimensions": f.ImageGrid(np.zeros((4, 3))),
    "images of four channels": f.ImageGrid(np.zeros((2, 4, 3, 4))),
    "width of boxes": f.Boxes(ramp(3), ramp(3), ramp(2), ramp(3)),
    "height of boxes": f.Boxes(ramp(3), ramp(3), ramp(3), ramp(2)),
    "positions of graph": f.Graph(np.zeros((3, 3)), np.array([[0, 1]])),
    "edge to no node": f.Graph(np.zeros((3, 2)), np.array([[0, 3]])),
    "edge from no node": f.Graph(np.zeros((3, 2)), np.array([[-1, 0]])),
    "values of nodes": f.Graph(np.zeros((3, 2)), np.array([[0, 1]]), ramp(2)),
    "values of edges": f.Graph(np.zeros((3, 2)), np.array([[0, 1]]), None, ramp(2)),
    "labels of nodes": f.Graph(np.zeros((3, 2)), np.array([[0, 1]]), node_labels=("a",)),
    "words": f.Words(ramp(2), ramp(2), ("a", "b", "c")),
    "weights of words": f.Words(ramp(2), ramp(2), ("a", "b"), ramp(3)),
    "outline of a body": f.Bodies((np.zeros((4, 3)),)),
    "roles of bodies": f.Bodies((np.zeros((4, 2)), np.zeros((4, 2))), ("data",)),
    "unknown role of a body": f.Bodies((np.zeros((4, 2)),), ("red",)),
    "unknown role": f.Rule(1.0, role="red"),
    "category too high": f.Rule(1.0, role="category-8"),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_figures_have_no_faults(name: str):
    still = plot(SOUND[name])
    assert f.check(still) == []
    assert f.check(f.Panels((still, still), 2)) == []
    assert f.check(film(still, still)) == []


@pytest.mark.parametrize("name", FAULTY)
def test_each_fault_is_found_wherever_the_plot_stands(name: str):
    broken, sound = plot(FAULTY[name]), plot(SOUND["rule"])
    for figure in (broken, f.Panels((sound, broken), 2), film(broken, broken)):
        faults = f.check(figure)
        assert faults
        assert any(type(FAULTY[name]).__name__ in fault for fault in faults), faults


def test_every_kind_of_mark_is_tried_here():
    kinds = {
        kind
        for kind in vars(f).values()
        if isinstance(kind, type) and issubclass(kind, f.Mark) and kind is not f.Mark
    }
    assert {type(mark) for mark in SOUND.values()} == kinds


def test_axes_need_names_unless_they_are_hidden():
    assert any("x axis" in fault for fault in f.check(plot(x=f.Axis())))
    assert any("y axis" in fault for fault in f.check(plot(y=f.Axis())))
    assert f.check(plot(x=f.HIDDEN, y=f.HIDDEN)) == []


def test_faults_of_films():
    still = plot(SOUND["lines"])
    assert f.check(film(still, still, times=[0.0]))
    assert f.check(film())
    assert f.check(film(still, plot(SOUND["bars"])))
    assert f.check(film(still, plot(SOUND["lines"], SOUND["lines"])))
    assert f.check(film(still, f.Panels((still,), 1)))
    assert f.check(film(f.Panels((still, plot()), 2), f.Panels((plot(), still), 2)))
    assert f.check(film(still, still, start=2))
    assert f.check(film(still, still, start=-1))


def test_axis_titles():
    assert f.Axis("Loss", "bits").title() == "Loss (bits)"
    assert f.Axis("Loss").title() == "Loss"


def test_figures_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plot().title = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        f.Rule(1.0).value = 2.0  # type: ignore[misc]


# --- pictures in a grid ---------------------------------------------------------------------------------------------------


@given(
    count=st.integers(1, 7),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    columns=st.integers(1, 9),
    gap=st.integers(0, 3),
    colour=st.booleans(),
)
def test_montage_and_locate_agree_on_every_pixel(
    count: int, height: int, width: int, columns: int, gap: int, colour: bool
):
    shape = (count, height, width, 3) if colour else (count, height, width)
    # Every value differs and none is the background, so a pixel that is found tells where it came from.
    images = (1 + np.arange(np.prod(shape)) % 254).reshape(shape).astype(np.uint8)
    grid = f.ImageGrid(images, columns, gap=gap)
    canvas = grid.montage(background=255)
    found = set()
    for y in range(canvas.shape[0]):
        for x in range(canvas.shape[1]):
            where = grid.locate(x, y)
            assert where == grid.locate(x + 0.99, y + 0.99)
            if where is None:
                assert (canvas[y, x] == 255).all()
            else:
                assert (canvas[y, x] == images[where]).all()
                found.add(where)
    assert found == {(i, r, c) for i in range(count) for r in range(height) for c in range(width)}
    for x, y in ((-0.01, 0), (0, -0.01), (canvas.shape[1] + gap, 0), (0, canvas.shape[0] + gap), (1e9, 1e9)):
        assert grid.locate(x, y) is None


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_nothing_is_at_a_point_that_is_no_number(x: float):
    grid = f.ImageGrid(np.zeros((1, 2, 2)))
    assert grid.locate(x, 0) is None and grid.locate(0, x) is None


def test_an_empty_grid_is_a_picture_too():
    grid = f.ImageGrid(np.zeros((0, 4, 4)))
    assert grid.montage().ndim == 3 and grid.locate(0, 0) is None


def test_to_uint8():
    assert f.to_uint8(np.array([[-1.0, 0.0, 0.5, 1.0, 2.0, np.nan, np.inf]])).tolist() == [
        [0, 0, 128, 255, 255, 0, 255]
    ]
    assert f.to_uint8(np.array([0, 7, 255], np.uint8)).tolist() == [0, 7, 255]
    assert f.to_uint8(np.array([False, True])).tolist() == [0, 255]


@given(st.integers(0, 255))
def test_to_uint8_keeps_what_came_from_bytes(value: int):
    assert f.to_uint8(np.array([value / 255.0], np.float32))[0] == value


# --- films ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(-2e6, 2e6))
def test_nearest_is_nearest(times: list[float], time: float):
    index = film(*[plot()] * len(times), times=times).nearest(time)
    assert all(abs(times[index] - time) <= abs(other - time) for other in times)


def test_stills():
    frames = tuple(plot(title=str(i)) for i in range(3))
    moving = film(*frames, start=1)
    assert f.at(moving) is frames[1]
    assert f.at(moving, 2) is frames[2]
    assert f.at(moving, 99) is frames[2] and f.at(moving, -5) is frames[0]
    assert f.at(frames[0], 7) is frames[0]


def test_a_strip_of_plots_has_one_column_for_each_chosen_frame():
    frames = tuple(plot(title=str(i)) for i in range(4))
    strip = f.strip(film(*frames, times=[0.0, 10.0, 20.0, 40.0]), [0, 2, 3])
    assert strip.plots == (frames[0], frames[2], frames[3])
    assert strip.columns == 3
    assert strip.column_titles == ("t = 0", "t = 20", "t = 40")
    assert (strip.title, strip.caption) == ("A film", "What it shows.")


def test_a_strip_names_frames_by_the_ticks_of_the_time_axis():
    moving = film(plot(title="0"), plot(title="1"), times=[0.0, 1.0])
    named = dataclasses.replace(moving, time=f.Axis("word", ticks=((1.0, "red"),)))
    assert f.strip(named, [0, 1]).column_titles == ("word = 0", "red")


def test_a_strip_of_panels_has_one_row_for_each_panel():
    frames = tuple(
        f.Panels((plot(title=f"a{i}"), plot(title=f"b{i}")), 2, (), ("data", "model")) for i in range(3)
    )
    strip = f.strip(film(*frames), [2, 0])
    assert [p.title for p in strip.plots] == ["a2", "a0", "b2", "b0"]
    assert strip.columns == 2 and strip.row_titles == ("data", "model")
    assert strip.column_titles == ("t = 2", "t = 0")


def test_plots_of_finds_all():
    a, b = plot(title="a"), plot(title="b")
    assert [p.title for p in f.plots_of(a)] == ["a"]
    assert [p.title for p in f.plots_of(f.Panels((a, b), 2))] == ["a", "b"]
    assert [p.title for p in f.plots_of(film(f.Panels((a, b), 2), f.Panels((b, a), 2)))] == [
        "a",
        "b",
        "b",
        "a",
    ]


def test_arrays_of_names_every_array_once():
    x, y, values, outline = ramp(2), ramp(2) + 5, ramp(2) + 9, np.zeros((4, 2))
    figure = film(f.Panels((plot(f.Scatter(x, y, values=values)), plot(f.Bodies((outline,)))), 2))
    found = dict(f.arrays_of(figure))
    assert len(found) == len(list(f.arrays_of(figure)))
    assert found["frames.0.plots.0.marks.0.x"] is x
    assert found["frames.0.plots.0.marks.0.y"] is y
    assert found["frames.0.plots.0.marks.0.values"] is values
    assert found["frames.0.plots.1.marks.0.outlines.0"] is outline
    assert found["times"] is figure.times
    assert len(found) == 5


def test_with_title():
    for figure in (plot(), f.Panels((plot(),), 1), film(plot())):
        assert f.with_title(figure, "Other").title == "Other"
        assert type(f.with_title(figure, "Other")) is type(figure)


def test_figures_cross_processes():
    import pickle

    figure = film(plot(SOUND["scatter"]))
    copy = pickle.loads(pickle.dumps(figure))
    assert all((a == b).all() for (_, a), (_, b) in zip(f.arrays_of(figure), f.arrays_of(copy), strict=True))
