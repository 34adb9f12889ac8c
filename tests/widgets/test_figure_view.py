"""The live view: every mark is seen, values that cannot be drawn are counted, axes keep calm, the hand's gestures."""

from __future__ import annotations

import gc
import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from engines.figures import (
    HIDDEN,
    Axis,
    Bars,
    Bodies,
    Boxes,
    CurveSpec,
    Film,
    Graph,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
    Words,
)
from widgets.curve_view import CurveView
from widgets.curves import curve_plot
from widgets.figure_view import FigureView
from widgets.marks import ARTISTS, make_artist
from widgets.marks.limits import CalmRange, Extent
from widgets.marks.space import text_size
from widgets.marks.ticks import axis_ticks, linear_ticks, number_text
from widgets.plot_area import ENTRY_GAP, entry_width
from widgets.theme import load_theme

X = np.linspace(0.0, 10.0, 200)
SIDE = (0.0, 10.0)

MARKS: dict[type[Mark], Mark] = {
    Lines: Lines(X, np.sin(X), width=3.0, role="data"),
    Ribbon: Ribbon(X, np.sin(X) - 1, np.sin(X) + 1, role="data"),
    Scatter: Scatter(X, np.sin(X), role="data", size=6.0),
    VectorField: VectorField(X[::10], np.sin(X[::10]), np.ones(20), np.ones(20), role="data"),
    Rule: Rule(0.5, role="data", dash="solid", width=3.0),
    Bars: Bars(np.arange(5.0), np.array([1.0, 2, 3, 2, 1]), role="data"),
    Histogram: Histogram(np.arange(6.0), np.array([1.0, 2, 3, 2, 1]), role="data"),
    Heatmap: Heatmap(np.ones((4, 4)), (0, 4, 0, 4), limits=(0, 1), colors="role", role="data"),
    ImageGrid: ImageGrid(np.broadcast_to(np.array([0, 114, 178], np.uint8), (4, 5, 5, 3)), columns=2),
    Boxes: Boxes(
        np.array([1.0]), np.array([1.0]), np.array([3.0]), np.array([2.0]), role="data", line_width=3.0
    ),
    Graph: Graph(np.array([[0.0, 0], [1, 1], [2, 0]]), np.array([[0, 1], [1, 2]]), role="data"),
    Words: Words(np.array([0.0, 1]), np.array([0.0, 1]), ("wave", "man"), np.array([1.0, 1.0]), role="data"),
    Bodies: Bodies((np.array([[0.0, 0], [1, 0], [1, 1]]),), role="data"),
}


def plane(*marks: Mark, **options: object) -> Plot:
    return Plot(marks, Axis("x"), Axis("y"), **options)  # type: ignore[arg-type]


def shown(qtbot, view: FigureView, width: int = 480, height: int = 340) -> FigureView:
    qtbot.addWidget(view)
    view.set_theme(load_theme("light"))
    view.resize(width, height)
    view.show()
    QApplication.processEvents()
    return view


@pytest.fixture
def view(qtbot):
    return shown(qtbot, FigureView())


def picture(view: FigureView, plot: int = 0) -> np.ndarray:
    """The inside of one plot as it is painted, (H, W, 3)."""
    QApplication.processEvents()
    image = view.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    pixels = np.asarray(image.constBits()).reshape(image.height(), -1)[:, : image.width() * 3]
    pixels = pixels.reshape(image.height(), image.width(), 3).astype(int)
    inner = view.areas[plot].inner.toRect()
    return pixels[inner.top() : inner.bottom(), inner.left() : inner.right()]


def near(pixels: np.ndarray, color: str, tolerance: int = 60) -> np.ndarray:
    """Where pixels have nearly this colour."""
    wanted = QColor(color)
    return np.abs(pixels - [wanted.red(), wanted.green(), wanted.blue()]).sum(axis=-1) <= tolerance


def viewport(view: FigureView):
    return view.focusProxy().viewport()


def scene_point(view: FigureView, x: float, y: float, plot: int = 0) -> QPoint:
    return view.areas[plot].to_scene(x, y).toPoint()


def drag(view: FigureView, points: list[QPoint], button: Qt.MouseButton = Qt.MouseButton.LeftButton) -> None:
    target = viewport(view)
    QTest.mousePress(target, button, Qt.KeyboardModifier.NoModifier, points[0])
    for point in points[1:]:
        QTest.mouseMove(target, point)
        QApplication.processEvents()
    QTest.mouseRelease(target, button, Qt.KeyboardModifier.NoModifier, points[-1])


def wheel(view: FigureView, point: QPoint, turn: int) -> None:
    target = viewport(view)
    event = QWheelEvent(
        QPointF(point),
        QPointF(target.mapToGlobal(point)),
        QPoint(),
        QPoint(0, turn),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(target, event)
    QApplication.processEvents()


class Heard(list):
    """Everything that the given signals sent, as (name, arguments)."""

    def __init__(self, view: FigureView, *names: str) -> None:
        super().__init__()
        for name in names:
            getattr(view, name).connect(self._slot(name))

    def _slot(self, name: str):
        def slot(*arguments: object) -> None:
            self.append((name, arguments))

        return slot

    def of(self, name: str) -> list[tuple]:
        return [arguments for heard, arguments in self if heard == name]


# What is drawn


def test_every_mark_of_the_vocabulary_has_an_artist():
    assert set(ARTISTS) == set(Mark.__subclasses__()) == set(MARKS)


@pytest.mark.parametrize("kind", MARKS, ids=lambda kind: kind.__name__)
def test_a_mark_is_seen_in_the_colour_of_its_role(view, kind):
    view.set_figure(plane())
    nothing = near(picture(view), "#0072B2", 40).sum()
    assert nothing == 0
    view.set_figure(plane(MARKS[kind]))
    pixels = picture(view)
    faint = {Ribbon: 0.2, Histogram: 0.3, Words: 0.6}.get(kind, 1.0)
    ground, ink = np.array([255, 255, 255]), np.array([0, 114, 178])
    wanted = (ground + (ink - ground) * faint).astype(int)
    assert near(pixels, QColor(*wanted.tolist()).name(), 50).sum() >= 20
    assert view.faults == [] and view.messages == []


@pytest.mark.parametrize("kind", MARKS, ids=lambda kind: kind.__name__)
def test_marks_without_any_values_are_no_fault(view, kind):
    none = np.empty(0)
    empty: dict[type[Mark], Mark] = {
        Lines: Lines(none, none, points=True, steps=True),
        Ribbon: Ribbon(none, none, none),
        Scatter: Scatter(none, none, values=none),
        VectorField: VectorField(none, none, none, none),
        Rule: Rule(float("nan"), label="unknown"),
        Bars: Bars(none, none),
        Histogram: Histogram(np.zeros(1), none),
        Heatmap: Heatmap(np.empty((0, 0)), (0, 1, 0, 1), values_label="density"),
        ImageGrid: ImageGrid(np.empty((0, 8, 8)), row_labels=("none",)),
        Boxes: Boxes(none, none, none, none),
        Graph: Graph(np.empty((0, 2)), np.empty((0, 2), dtype=int)),
        Words: Words(none, none, ()),
        Bodies: Bodies(()),
    }
    for axis in (Axis("x"), Axis("x", scale="log")):
        view.set_figure(Plot((empty[kind],), axis, axis))
        picture(view)
        assert view.faults == []


@pytest.mark.parametrize("kind", MARKS, ids=lambda kind: kind.__name__)
def test_marks_are_drawn_on_log_axes_without_fault(view, kind):
    axis = Axis("x", scale="log")
    view.set_figure(Plot((MARKS[kind],), axis, axis))
    picture(view)
    assert view.faults == []


def test_arrays_are_only_read(view):
    frozen = X.copy()
    frozen.flags.writeable = False
    view.set_figure(
        plane(
            Lines(frozen, frozen),
            Scatter(frozen, frozen, values=frozen),
            Heatmap(frozen.reshape(20, 10), (0, 1, 0, 1)),
        )
    )
    picture(view)
    assert view.faults == []


def test_nan_in_a_curve_is_a_gap_and_no_fault(view):
    y = np.zeros_like(X)
    y[(X > 4) & (X < 6)] = np.nan
    view.set_figure(
        Plot((Lines(X, y, role="data", width=3.0),), Axis("x", limits=SIDE), Axis("y", limits=(-1, 1)))
    )
    columns = near(picture(view), "#0072B2").any(axis=0)
    width = len(columns)
    assert (
        columns[int(0.1 * width) : int(0.38 * width)].all()
        and columns[int(0.62 * width) : int(0.9 * width)].all()
    )
    assert not columns[int(0.42 * width) : int(0.58 * width)].any()
    assert view.messages == []


@pytest.mark.parametrize(
    ("mark", "count"),
    [
        (Lines(X, np.where(X > 9, np.inf, X)), int((X > 9).sum())),
        (Lines(X, np.full_like(X, np.nan)), len(X)),
        (Scatter(X, np.where(X < 1, np.nan, X)), int((X < 1).sum())),
        (VectorField(X, X, X, np.where(X < 1, np.inf, X)), int((X < 1).sum())),
        (Bars(np.arange(3.0), np.array([1.0, np.nan, 2.0])), 1),
        (Histogram(np.arange(4.0), np.array([1.0, np.inf, 2.0])), 1),
        (ImageGrid(np.full((1, 3, 3), np.nan)), 9),
        (Boxes(np.array([np.nan]), np.ones(1), np.ones(1), np.ones(1)), 1),
        (Graph(np.array([[0.0, 0], [np.nan, 1], [1, 1]]), np.array([[0, 1], [0, 2]])), 1),
        (Words(np.array([0.0, np.inf]), np.zeros(2), ("a", "b")), 1),
        (Bodies((np.array([[0.0, 0], [1, np.nan], [1, 1], [0, 1]]),)), 1),
        (Rule(np.inf), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Mark) else str(value),
)
def test_values_that_are_not_finite_are_counted_in_the_corner(view, mark, count):
    view.set_figure(plane(Lines(X, np.sin(X)), mark))
    words = "value is" if count == 1 else "values are"
    assert view.messages == [f"{count} {words} not finite"]
    before = picture(view)
    assert near(before, load_theme("light").role_hex("warning_text"), 120).any()
    assert view.faults == []


def test_a_log_axis_counts_what_it_cannot_show(view):
    view.set_figure(Plot((Lines(X, X - 1.0),), Axis("x"), Axis("y", scale="log")))
    assert view.messages == [f"{int((X <= 1).sum())} values are not above 0 (log axis)"]


def test_a_mark_that_makes_no_sense_is_named_and_the_others_are_drawn(view, caplog):
    view.set_figure(plane(Lines(X, np.sin(X), role="data", width=3.0), Scatter(X, X[:3])))
    assert near(picture(view), "#0072B2").any()
    assert len(view.faults) == 1 and "Scatter could not be drawn" in view.faults[0]


def test_heat_map_has_row_0_at_the_bottom_and_nan_is_transparent(view):
    values = np.array([[0.0, 0.0], [1.0, np.nan]])
    view.set_figure(Plot((Heatmap(values, (0, 2, 0, 2), limits=(0, 1)),), Axis("x"), Axis("y")))
    pixels = picture(view)
    height, width, _ = pixels.shape

    def at(x: float, y: float) -> np.ndarray:
        return pixels[int(height * (1 - y)), int(width * x)][None]

    assert near(at(0.25, 0.25), "#440154").all() and near(at(0.75, 0.25), "#440154").all()
    assert near(at(0.25, 0.75), "#FDE725").all() and near(at(0.8, 0.7), "#FFFFFF").all()
    assert view.messages == []


def test_image_grid_is_drawn_where_the_vocabulary_says(view):
    images = np.zeros((4, 8, 8), np.uint8)
    images[3, 2, 5] = 255
    grid = ImageGrid(images, columns=2, gap=2)
    view.set_figure(Plot((grid,), HIDDEN, HIDDEN, y_down=True))
    pixels = picture(view)
    x, y = 10 + 5 + 0.5, 10 + 2 + 0.5
    assert grid.locate(x, y) == (3, 2, 5)
    place = view.areas[0].to_scene(x, y) - view.areas[0].inner.topLeft()
    white = np.argwhere(near(pixels, "#FFFFFF") & (np.arange(pixels.shape[1]) > 0))
    spot = pixels[int(place.y()) - 2 : int(place.y()) + 3, int(place.x()) - 2 : int(place.x()) + 3]
    assert near(spot, "#FFFFFF").all() and len(white)
    dark = view.areas[0].to_scene(10 + 2.5, 10 + 5.5) - view.areas[0].inner.topLeft()
    assert near(pixels[int(dark.y()), int(dark.x())][None], "#000000").all()


def test_equal_units_and_downward_y(view):
    view.set_figure(plane(Scatter(np.array([0.0, 10]), np.array([0.0, 1])), equal=True, y_down=True))
    area = view.areas[0]
    origin, right, up = area.to_scene(0, 0), area.to_scene(1, 0), area.to_scene(0, 1)
    assert right.x() - origin.x() == pytest.approx(up.y() - origin.y(), rel=1e-6)
    assert up.y() > origin.y()


def test_a_plane_in_a_wide_card_is_not_mostly_empty(qtbot):
    view = shown(qtbot, FigureView(), 900, 240)
    axis = Axis("x", limits=(-3.0, 3.0))
    view.set_figure(Plot((Scatter(np.array([-3.0, 3]), np.array([0.0, 1])),), axis, axis, equal=True))
    area = view.areas[0]
    (low, high), _ = area.view_range()
    assert 6.0 <= high - low <= 10.0
    assert area.inner.center().x() == pytest.approx(450, abs=60)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e4), st.integers(3, 12))
@example(-4.6, 9.2, 3)
def test_a_linear_axis_has_two_ticks_at_least(low, span, count):
    values = [value for value, _ in linear_ticks(low, low + span, count)]
    assert 2 <= len(values) <= 2 * count
    assert all(low - 1e-3 * span <= value <= low + span * 1.001 for value in values)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_axis_units_and_pixels_agree(view, scale):
    axis = Axis("x", scale=scale, limits=(1.0, 1000.0))
    view.set_figure(Plot((Lines(X + 1, X + 1),), axis, axis))
    area = view.areas[0]
    assert area.to_axes(area.to_scene(7.0, 300.0)) == pytest.approx((7.0, 300.0))
    left, right = area.to_axes(area.inner.topLeft()), area.to_axes(area.inner.bottomRight())
    assert (left[0], right[0]) == pytest.approx((1.0, 1000.0)) and (right[1], left[1]) == pytest.approx(
        (1.0, 1000.0)
    )


def test_labels_of_the_legend_and_the_lines_take_no_room_from_the_data(view):
    view.set_figure(plane(Lines(X, np.sin(X))))
    alone = view.areas[0].inner
    view.set_figure(plane(Lines(X, np.sin(X), label="sine")))
    assert view.areas[0].inner.top() > alone.top()
    view.set_figure(plane(Lines(X, np.sin(X)), Rule(0.0, label="zero")))
    assert view.areas[0].inner == alone


def test_the_name_of_a_rule_is_read_above_what_covers_the_rule(view):
    def seen(label: str) -> np.ndarray:
        cover = Lines(X, np.full_like(X, 0.5), role="data", width=80.0)
        view.set_figure(plane(Rule(0.5, label=label), cover))
        return picture(view)

    assert (seen("in sight") != seen("")).any(axis=-1).sum() > 100


def test_a_long_legend_makes_room_for_itself(qtbot):
    view = shown(qtbot, FigureView(), 260, 260)
    lines = tuple(Lines(X, np.sin(X + i), label=f"a long label, number {i}", role="data") for i in range(5))
    view.set_figure(plane(*lines))
    view.set_figure(plane(*lines))
    assert not near(picture(view), load_theme("light").role_hex("text"), 60).any()
    assert view.areas[0].inner.height() > 80


def spare(view: FigureView) -> float:
    """Pixels between the first row of the legend above a plot and the note at its end."""
    area = view.areas[0]
    taken = sum(entry_width(entry, area._font) + ENTRY_GAP for entry in area._header_rows[0])
    header = area._header.boundingRect()
    left = header.left() if area._has_wide_header else area.inner.left()
    right = header.right() if area._has_wide_header else area.inner.right()
    return float(right - text_size(area._font, area.plot.remark())[0] - left - taken)


@pytest.mark.parametrize("size", [(620, 170), (400, 400), (900, 250)])
def test_legend_and_note_keep_clear_of_each_other_above_a_plane_that_does_not_fill_its_view(qtbot, size):
    view = shown(qtbot, FigureView(), *size)
    lines = tuple(Lines(X, np.sin(X + i), label=f"label number {i}", role="data") for i in range(4))
    x, y = Axis("x", limits=(-2.0, 2.0)), Axis("y", limits=(-1.0, 1.0))
    view.set_figure(Plot(lines, x, y, equal=True, note="a note that says a few words"))
    assert spare(view) > 0


def test_a_note_that_grows_pushes_the_legend_into_another_row(qtbot):
    view = shown(qtbot, FigureView(), 400, 300)
    lines = tuple(Lines(X, np.sin(X + i), label=f"label {i}", role="data") for i in range(3))
    view.set_figure(plane(*lines, note="short"))
    before = view.areas[0].inner
    view.set_figure(plane(*lines, note="a note that says a few more words than that"))
    assert spare(view) > 0 and view.areas[0].inner.top() > before.top()
    grown = view.areas[0].inner
    view.set_figure(plane(*lines, note="short"))
    assert view.areas[0].inner == grown, "a note that changes from frame to frame must not let the plot jump"


# Newer figures


def test_newer_figures_replace_arrays_and_nothing_else(view):
    view.set_figure(plane(Lines(X, np.sin(X)), Scatter(X, X)))
    area, artists = view.areas[0], list(view.areas[0].artists)
    items = view.focusProxy().scene().items()
    for shift in range(5):
        view.set_figure(plane(Lines(X, np.sin(X + shift), role="data"), Scatter(X, X + shift)))
    assert view.areas[0] is area and area.artists == artists
    assert view.focusProxy().scene().items() == items
    view.set_figure(plane(Bars(X, X)))
    assert view.areas[0] is area and view.focusProxy().scene().items() == items
    assert near(picture(view), load_theme("light").role_hex("model")).any()


def test_panels_become_one_plot_and_panels_again(view):
    grid = Panels(tuple(plane(MARKS[Lines]) for _ in range(4)), 2)
    view.set_figure(grid)
    assert len(view.areas) == 4
    for plot in range(4):
        assert near(picture(view, plot), "#0072B2").any()
    view.set_figure(plane(MARKS[Lines]))
    assert len(view.areas) == 1 and near(picture(view), "#0072B2").any()
    view.set_figure(grid)
    assert len(view.areas) == 4 and near(picture(view, 3), "#0072B2").any()


def test_panels_that_share_axes_show_the_same_range(view):
    view.set_figure(Panels((plane(Lines(X, X)), plane(Lines(X, 5 * X))), 2))
    assert view.areas[0].view_range() == view.areas[1].view_range()
    view.set_figure(Panels((plane(Lines(X, X)), plane(Lines(X, 5 * X))), 2, share_axes=False))
    assert view.areas[0].view_range() != view.areas[1].view_range()
    view.set_figure(Panels((plane(Lines(X, X)), Plot((Lines(X, 5 * X),), Axis("x"), Axis("other"))), 2))
    assert view.areas[0].view_range() != view.areas[1].view_range()


def test_an_empty_view_says_what_to_do(view):
    view.set_figure(plane(MARKS[Lines]))
    view.clear("Press Train to see samples.")
    assert view.figure is None and view.still is None
    texts = [label.text() for label in view.findChildren(QLabel) if label.isVisible()]
    assert "Press Train to see samples." in texts
    view.set_figure(plane(MARKS[Lines]))
    assert near(picture(view), "#0072B2").any()


def test_another_theme_recolours_what_is_there(view):
    view.set_figure(plane(MARKS[Lines], title="A"))
    area = view.areas[0]
    dark = load_theme("dark")
    view.set_theme(dark)
    pixels = picture(view)
    assert view.areas[0] is area
    assert near(pixels, dark.role_hex("data")).any() and not near(pixels, "#0072B2", 10).any()
    assert near(pixels, dark.role_hex("card"), 3).mean() > 0.8


def test_views_that_are_gone_leave_nothing_that_crashes(qtbot):
    for _ in range(3):
        view = FigureView()
        view.set_figure(Panels((plane(MARKS[Lines]), plane(MARKS[Scatter])), 2))
        view.show()
        QApplication.processEvents()
        view.close()
        view.deleteLater()
        del view
        QApplication.sendPostedEvents(None, 52)
        gc.collect()
    QApplication.processEvents()


# Films


def film(frames: int = 5, scale: float = 1.0) -> Film:
    plots = tuple(
        plane(Scatter(X, scale * np.sin(X) * (index + 1), role="data"), note=f"t = {index}")
        for index in range(frames)
    )
    return Film(plots, np.linspace(0, 40, frames), Axis("t"), start=2)


def test_a_film_begins_at_its_start_and_says_which_frame_it_shows(view, qtbot):
    moving = film()
    view.set_figure(moving)
    assert view.frame == 2 and view.still is moving.frames[2] and view.slider.isVisible()
    heard = Heard(view, "frame_changed")
    view.set_frame(4)
    view.set_frame(99)
    view.set_frame(-1)
    assert heard.of("frame_changed") == [(4,), (0,)]
    assert view.slider.index == 0 and view.still is moving.frames[0]
    view.slider.set_index(3)
    assert view.frame == 3 and heard[-1] == ("frame_changed", (3,))


def test_the_next_film_goes_on_at_the_same_time(view):
    view.set_figure(film(5))
    view.set_frame(3)
    view.set_figure(film(5))
    assert view.frame == 3
    view.set_figure(film(41))
    assert view.frame == 30


def test_axes_of_a_film_hold_all_of_its_frames_and_keep_still(view):
    view.set_figure(film())
    ranges = set()
    for index in range(5):
        view.set_frame(index)
        ranges.add(view.areas[0].view_range())
    assert len(ranges) == 1
    assert ranges.pop()[1][1] >= 5.0


def test_a_view_whose_time_is_shared_has_no_slider_of_its_own(qtbot):
    view = shown(qtbot, FigureView(shared_time=True))
    view.set_figure(film())
    assert not view.slider.isVisible()
    view.set_frame(4)
    assert view.frame == 4


def test_arrow_keys_go_frame_by_frame(view):
    view.set_figure(film())
    QTest.keyClick(view.focusProxy(), Qt.Key.Key_Right)
    assert view.frame == 3
    QTest.keyClick(view.focusProxy(), Qt.Key.Key_Left)
    QTest.keyClick(view.focusProxy(), Qt.Key.Key_Left)
    assert view.frame == 1


# Calm axes


def extent(low: float, high: float) -> Extent:
    result = Extent()
    result.add(low, high)
    return result


def test_an_axis_follows_at_once_when_data_leave_it_and_late_when_they_shrink():
    calm = CalmRange(hold=1.0)
    low, high = calm.update(extent(0, 1), 0.0)
    assert low < 0 and high > 1
    assert calm.update(extent(0, high), 0.1) == (low, high)
    wider = calm.update(extent(0, 5), 0.2)
    assert wider[0] == low and wider[1] > 5
    assert calm.update(extent(0, 1), 0.3) == wider
    assert calm.update(extent(0, 1), 1.2) == wider
    assert calm.update(extent(0, 1), 1.4)[1] < 2


def test_an_axis_does_not_shrink_for_data_that_are_small_only_now_and_then():
    calm = CalmRange(hold=1.0)
    wide = calm.update(extent(0, 10), 0.0)
    for tick in range(1, 40):
        assert calm.update(extent(0, 10 if tick % 5 == 0 else 1), tick * 0.2) == wide


def test_steady_growth_moves_an_axis_only_now_and_then():
    calm = CalmRange()
    moves = {calm.update(extent(0, 100 + step), step / 30) for step in range(300)}
    assert len(moves) < 20


def test_fixed_limits_are_kept_and_free_ones_follow_the_data(view):
    for scale in (1.0, 50.0):
        view.set_figure(Plot((Lines(X, scale * X),), Axis("x", limits=(-1.0, 4.0)), Axis("y")))
        x, y = view.areas[0].view_range()
        assert x == pytest.approx((-1.0, 4.0))
        assert y[0] <= 0 and y[1] >= scale * 10


# Ticks


def test_ticks_are_round_few_and_inside():
    for low, high in ((0.0, 1.0), (-3.2, 7.9), (1e-9, 4e-9), (0.0, 123456.0), (1e8, 1.00001e8)):
        ticks = axis_ticks(Axis("x"), low, high, 6)
        assert 2 <= len(ticks) <= 12
        assert all(low - 1e-9 * abs(low) <= value <= high * (1 + 1e-9) for value, _ in ticks)
        assert len({text for _, text in ticks}) == len(ticks)
    assert [text for _, text in axis_ticks(Axis("x", ticks=((1.0, "one"), (5.0, "five"))), 0.0, 3.0, 5)] == [
        "one"
    ]


def test_numbers_are_written_for_people():
    assert number_text(1240.0) == "1,240"
    assert number_text(-0.03125) == "−0.03125"
    assert number_text(2.5e-7) == "2.5·10⁻⁷"
    assert number_text(float("nan")) == "not a number"


# Looking


def test_the_wheel_zooms_data_no_longer_move_the_view_and_a_double_click_resets(view):
    view.set_figure(plane(Lines(X, np.sin(X))))
    before = view.areas[0].view_range()
    middle = view.areas[0].inner.center().toPoint()
    wheel(view, middle, 360)
    zoomed = view.areas[0].view_range()
    assert zoomed[0][1] - zoomed[0][0] < 0.9 * (before[0][1] - before[0][0])
    view.set_figure(plane(Lines(X, 100 * np.sin(X))))
    assert view.areas[0].view_range() == zoomed
    QTest.mouseClick(viewport(view), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle)
    QTest.mouseDClick(viewport(view), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle)
    QApplication.processEvents()
    assert view.areas[0].view_range()[1][1] >= 100


def test_a_drag_moves_the_view_and_what_shares_its_axes(view):
    view.set_figure(Panels((plane(Lines(X, X)), plane(Lines(X, X))), 2))
    before = view.areas[0].view_range()
    start = view.areas[0].inner.center().toPoint()
    drag(view, [start, start + QPoint(10, 0), start + QPoint(30, 0), start + QPoint(40, 0)])
    after = view.areas[0].view_range()
    assert after[0][0] < before[0][0] and after[0][1] < before[0][1]
    assert view.areas[1].view_range() == after
    QTest.keyClick(view.focusProxy(), Qt.Key.Key_Home)
    assert view.areas[0].view_range() == view.areas[1].view_range() == before


def test_keys_zoom_and_move(view):
    view.set_figure(plane(Lines(X, X)))
    (x0, x1), _ = view.areas[0].view_range()
    QTest.keyClick(view.focusProxy(), Qt.Key.Key_Plus)
    (a0, a1), _ = view.areas[0].view_range()
    assert a1 - a0 < x1 - x0
    QTest.keyClick(view.focusProxy(), Qt.Key.Key_Right)
    (b0, b1), _ = view.areas[0].view_range()
    assert b0 > a0 and b1 - b0 == pytest.approx(a1 - a0)


def test_hovering_says_the_value(view):
    view.set_figure(
        Plot(
            (Lines(X, 0 * X + 2.5, label="bound"),),
            Axis("Step"),
            Axis("Bound", limits=(0, 5)),
            caption="How it goes.",
        )
    )
    QTest.mouseMove(viewport(view), scene_point(view, 5.0, 2.0))
    assert "bound 2.5" in view.readout() and "Step 5" in view.readout()
    QTest.mouseMove(viewport(view), QPoint(1, 1))
    assert view.readout() == ""
    images = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    view.set_figure(Plot((ImageGrid(images, columns=3),), HIDDEN, HIDDEN))
    QTest.mouseMove(viewport(view), scene_point(view, 5 + 1.5, 2.5))
    assert view.readout() == "picture 2 · row 3, column 2 · 25"


def test_a_right_click_asks_for_a_menu(view):
    view.set_figure(plane(MARKS[Lines]))
    heard = Heard(view, "menu_requested")
    middle = view.areas[0].inner.center().toPoint()
    QTest.mouseClick(viewport(view), Qt.MouseButton.RightButton, Qt.KeyboardModifier.NoModifier, middle)
    assert len(heard) == 1


# The hand

STROKES = ("stroke_started", "stroke_moved", "stroke_finished")
ALL = (*STROKES, "point_picked", "curve_dragged", "curve_finished")


@pytest.mark.parametrize("tool", ["paint", "erase"])
def test_a_stroke_is_told_in_axis_units_and_moves_no_view(view, tool):
    view.set_figure(plane(Lines(X, X), equal=True))
    view.set_tool(tool)
    before = view.areas[0].view_range()
    heard = Heard(view, *ALL)
    places = [(2.0, 3.0), (4.0, 3.5), (6.0, 8.0)]
    drag(view, [scene_point(view, *place) for place in places])
    pixel = 1.5 / abs(view.areas[0].space().x_scale)
    assert heard.of("stroke_started")[0] == pytest.approx((2.0, 3.0, 0), abs=pixel)
    moved = heard.of("stroke_moved")
    assert moved[-1][2:4] == pytest.approx((6.0, 8.0), abs=pixel)
    assert moved[0][:2] == heard.of("stroke_started")[0][:2]
    assert all(first[2:4] == then[:2] for first, then in itertools.pairwise(moved))
    assert heard.of("stroke_finished") == [(0,)] and heard[-1][0] == "stroke_finished"
    assert view.areas[0].view_range() == before


def test_a_stroke_goes_on_outside_the_plot(view):
    view.set_figure(plane(Lines(X, X)))
    view.set_tool("paint")
    heard = Heard(view, *STROKES)
    drag(view, [scene_point(view, 5, 5), QPoint(2, 100)])
    assert heard.of("stroke_moved")[-1][2] < view.areas[0].view_range()[0][0]
    assert len(heard.of("stroke_finished")) == 1


def test_a_new_figure_does_not_move_the_ground_under_a_stroke(view):
    view.set_figure(plane(Lines(X, X)))
    view.set_tool("paint")
    before = view.areas[0].view_range()
    QTest.mousePress(
        viewport(view), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, scene_point(view, 5, 5)
    )
    view.set_figure(plane(Lines(X, 10 * X)))
    assert view.areas[0].view_range() == before
    QTest.mouseRelease(
        viewport(view), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, scene_point(view, 5, 5)
    )
    view.set_figure(plane(Lines(X, 10 * X)))
    assert view.areas[0].view_range() != before


def test_the_brush_is_seen_as_large_as_it_is(view):
    view.set_figure(plane(Lines(X, X, role="data"), equal=True))
    view.set_tool("paint")
    view.set_brush_radius(2.0)
    before = near(picture(view), "#CC79A7")
    assert not before.any()
    QTest.mouseMove(viewport(view), scene_point(view, 5.0, 5.0))
    ring = np.argwhere(near(picture(view), "#CC79A7", 50))
    assert len(ring) > 50
    across = (ring[:, 1].max() - ring[:, 1].min()) / view.areas[0].space().x_scale
    assert across == pytest.approx(4.0, rel=0.05)
    heard = Heard(view, "radius_changed")
    QTest.keyClick(view.focusProxy(), Qt.Key.Key_BracketRight)
    assert heard[0][1][0] > 2.0
    view.set_tool("look")
    assert not near(picture(view), "#CC79A7", 50).any()
    with pytest.raises(ValueError):
        view.set_brush_radius(0.0)


def test_a_stroke_on_pictures_finds_its_pixels(view):
    grid = ImageGrid(np.zeros((4, 8, 8), np.uint8), columns=2, row_labels=("a", "b"))
    view.set_figure(Plot((grid,), HIDDEN, HIDDEN, y_down=True))
    view.set_tool("paint")
    heard = Heard(view, "stroke_started")
    QTest.mouseClick(
        viewport(view),
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
        scene_point(view, 9 + 3.5, 9 + 6.5),
    )
    x, y, _ = heard[0][1]
    assert grid.locate(x, y) == (3, 6, 3)


def test_a_point_is_told_with_its_plot(view):
    view.set_figure(Panels((plane(Lines(X, X)), plane(Lines(X, X))), 2))
    view.set_tool("point")
    heard = Heard(view, *ALL)
    QTest.mouseClick(
        viewport(view),
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
        scene_point(view, 4.0, 7.0, 1),
    )
    assert [name for name, _ in heard] == ["point_picked"]
    assert heard[0][1] == pytest.approx((4.0, 7.0, 1), abs=0.15)
    drag(view, [scene_point(view, 4.0, 7.0, 1), QPoint(1, 1)])
    assert len(heard) == 1


def test_points_of_the_hands_curve_are_dragged_up_and_down(view):
    x, y = np.array([0.0, 5.0, 10.0]), np.array([1.0, 2.0, 3.0])
    curve = Lines(x, y, role="hand", points=True)
    view.set_figure(Plot((Lines(X, X), curve), Axis("t"), Axis("beta", limits=(0.0, 10.0))))
    view.set_tool("curve")
    heard = Heard(view, *ALL)
    drag(view, [scene_point(view, 5.0, 2.0), scene_point(view, 6.0, 4.0), scene_point(view, 7.0, 6.0)])
    dragged = heard.of("curve_dragged")
    assert len(dragged) >= 2 and all(arguments[0] == 5.0 for arguments in dragged)
    assert dragged[-1][1] == pytest.approx(6.0, abs=0.1)
    assert heard[-1] == ("curve_finished", (0,))
    heard.clear()
    drag(view, [scene_point(view, 5.0, 2.0), QPoint(200, -500)])
    assert heard.of("curve_dragged")[-1][1] == pytest.approx(10.0, abs=0.1)


def test_a_press_far_from_the_hands_curve_moves_the_view(view):
    curve = Lines(np.array([0.0, 10.0]), np.array([1.0, 1.0]), role="hand", points=True)
    view.set_figure(Plot((curve,), Axis("t"), Axis("beta", limits=(0.0, 10.0))))
    view.set_tool("curve")
    heard = Heard(view, *ALL)
    before = view.areas[0].view_range()
    start = scene_point(view, 5.0, 8.0)
    drag(view, [start, start + QPoint(10, 0), start + QPoint(40, 0)])
    assert heard == [] and view.areas[0].view_range() != before


def test_only_looking_tells_nothing(view):
    view.set_figure(plane(Lines(X, X, role="hand", points=True)))
    heard = Heard(view, *ALL)
    drag(view, [scene_point(view, 2, 2), scene_point(view, 4, 4), scene_point(view, 6, 5)])
    assert heard == []
    with pytest.raises(ValueError, match="no tool 'hammer'"):
        view.set_tool("hammer")


def test_escape_and_another_tool_end_a_stroke(view):
    view.set_figure(plane(Lines(X, X)))
    view.set_tool("paint")
    heard = Heard(view, *STROKES)
    press = scene_point(view, 5, 5)
    QTest.mousePress(viewport(view), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, press)
    QTest.keyClick(view.focusProxy(), Qt.Key.Key_Escape)
    assert len(heard.of("stroke_finished")) == 1
    QTest.mousePress(viewport(view), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, press)
    view.set_tool("look")
    assert len(heard.of("stroke_finished")) == 2
    QTest.mouseRelease(viewport(view), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, press)
    assert len(heard.of("stroke_finished")) == 2


BOX = ("box_grabbed", "box_dragged", "box_finished", "box_wheel_turned")


def boxed(*places: tuple[float, float, float, float], role: str = "warning") -> Plot:
    """A picture of 20 by 20 with boxes over it."""
    x, y, width, height = np.array(places, dtype=float).reshape(-1, 4).T
    grid = ImageGrid(np.zeros((1, 20, 20)), 1)
    return Plot((grid, Boxes(x, y, width, height, role=role)), HIDDEN, HIDDEN, y_down=True, equal=True)


def test_the_inside_of_a_box_moves_it_and_no_view(view):
    view.set_figure(boxed((4.0, 6.0, 8.0, 6.0)))
    view.set_tool("box")
    heard = Heard(view, *ALL, *BOX)
    before = view.areas[0].view_range()
    drag(view, [scene_point(view, *place) for place in ((8.0, 9.0), (9.0, 9.5), (11.0, 8.0))])
    assert heard.of("box_grabbed") == [pytest.approx((4.0, 6.0, 8.0, 6.0, 0))]
    assert heard.of("box_dragged")[-1] == pytest.approx((7.0, 5.0, 8.0, 6.0, 0), abs=0.15)
    assert heard[-1] == ("box_finished", (0,)) and view.areas[0].view_range() == before
    assert {name for name, _ in heard} == set(BOX[:3])


def test_a_corner_scales_a_box_about_its_middle(view):
    view.set_figure(boxed((4.0, 6.0, 8.0, 6.0)))
    view.set_tool("box")
    heard = Heard(view, *BOX)
    drag(view, [scene_point(view, 12.0, 12.0), scene_point(view, 13.0, 12.5), scene_point(view, 16.0, 15.0)])
    assert heard.of("box_dragged")[-1] == pytest.approx((0.0, 3.0, 16.0, 12.0, 0), abs=0.3)
    heard.clear()
    drag(view, [scene_point(view, 12.0, 12.0), scene_point(view, 8.0, 9.0)])
    assert heard.of("box_dragged")[-1][2] > 0, "a box is never lost in its middle"


def test_the_smallest_of_several_boxes_is_taken_and_a_press_beside_them_moves_the_view(view):
    view.set_figure(boxed((1.0, 1.0, 18.0, 18.0), (6.0, 6.0, 6.0, 6.0)))
    view.set_tool("box")
    heard = Heard(view, *BOX)
    drag(view, [scene_point(view, 9.0, 9.0), scene_point(view, 10.0, 9.0)])
    assert heard.of("box_grabbed")[0][:4] == (6.0, 6.0, 6.0, 6.0)
    heard.clear()
    before = view.areas[0].view_range()
    view.set_figure(boxed((6.0, 6.0, 6.0, 6.0)))
    drag(view, [scene_point(view, 2.0, 2.0), scene_point(view, 4.0, 4.0), scene_point(view, 6.0, 4.0)])
    assert heard == [] and view.areas[0].view_range() != before


def test_the_box_in_hand_is_outlined_until_a_newer_picture_shows_it(view):
    view.set_figure(boxed((4.0, 6.0, 8.0, 6.0)))
    view.set_tool("box")
    drag(view, [scene_point(view, 8.0, 9.0), scene_point(view, 9.0, 9.0), scene_point(view, 11.0, 9.0)])
    assert near(picture(view), "#CC79A7", 50).sum() > 50
    view.set_figure(boxed((7.0, 6.0, 8.0, 6.0)))
    assert not near(picture(view), "#CC79A7", 50).any()


def test_keys_move_the_brush_and_put_it_down(view):
    view.set_figure(Panels((plane(Lines(X, X), equal=True), plane(Lines(X, X), equal=True)), 2))
    view.set_tool("paint")
    view.set_box_plots(1)
    view.set_brush_radius(0.5)
    heard = Heard(view, "stroke_started", "stroke_moved", "stroke_finished")
    key, shift = view.focusProxy(), Qt.KeyboardModifier.ShiftModifier
    QTest.keyClick(key, Qt.Key.Key_Return)
    assert heard == [], "it has no place yet"
    (x0, x1), (y0, y1) = view.areas[1].view_range()
    QTest.keyClick(key, Qt.Key.Key_Right, shift)
    QTest.keyClick(key, Qt.Key.Key_Up, shift)
    assert near(picture(view, 1), "#CC79A7", 50).any(), "it is seen"
    assert heard == []
    QTest.keyClick(key, Qt.Key.Key_Return)
    # From the middle, as far as it is wide, in the plot that is for the hand.
    assert heard.of("stroke_started") == [pytest.approx(((x0 + x1) / 2 + 0.5, (y0 + y1) / 2 + 0.5, 1))]
    assert heard.of("stroke_finished") == [(1,)]
    for _ in range(100):
        QTest.keyClick(key, Qt.Key.Key_Left, shift)
    QTest.keyClick(key, Qt.Key.Key_Enter)
    assert heard.of("stroke_started")[-1][0] == pytest.approx(x0), "no further than what is seen"
    view.set_tool("look")
    QTest.keyClick(key, Qt.Key.Key_Return)
    assert len(heard.of("stroke_started")) == 2


def test_boxes_can_be_kept_to_some_of_the_plots(view):
    plots = (boxed((4.0, 6.0, 8.0, 6.0)), boxed((4.0, 6.0, 8.0, 6.0)))
    view.set_figure(Panels(plots, 2))
    view.set_tool("box")
    view.set_box_plots(1)
    heard = Heard(view, *BOX)
    for plot in (0, 1):
        drag(view, [scene_point(view, 8.0, 9.0, plot), scene_point(view, 9.0, 9.0, plot)])
        wheel(view, scene_point(view, 8.0, 9.0, plot), 120)
    assert [arguments[-1] for name, arguments in heard if name == "box_grabbed"] == [1]
    assert heard.of("box_wheel_turned") == [(1.0, False, 1)]


def test_keys_move_and_scale_the_box_that_was_last_in_hand(view):
    view.set_figure(boxed((1.0, 1.0, 4.0, 4.0), (12.0, 12.0, 4.0, 4.0)))
    view.set_tool("box")
    drag(view, [scene_point(view, 14.0, 14.0), scene_point(view, 14.2, 14.0)])
    view.set_figure(boxed((1.0, 1.0, 4.0, 4.0), (12.0, 12.0, 4.0, 4.0)))
    heard = Heard(view, *BOX)
    key = view.focusProxy()
    QTest.keyClick(key, Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier)
    x, y, width, _, _ = heard.of("box_dragged")[-1]
    assert 10.0 < x < 12.0 and (y, width) == (12.0, 4.0)
    QTest.keyClick(key, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    then = heard.of("box_dragged")[-1]
    assert then[0] == pytest.approx(x) and then[1] > 12.0, "further from where it was put, down the screen"
    QTest.keyClick(key, Qt.Key.Key_BracketRight)
    larger = heard.of("box_dragged")[-1]
    assert larger[2] > 4.0 and larger[0] + larger[2] / 2 == pytest.approx(then[0] + 2.0)
    assert len(heard.of("box_finished")) == 3
    heard.clear()
    view.set_tool("look")
    QTest.keyClick(key, Qt.Key.Key_BracketRight)
    assert heard == []


# Curves of scalars

SPEC = CurveSpec("K", "Bound", "What it is.", (("K", "K", "model"), ("old", "before", "past")), "Bound",
                 (("null", "L_null", "past"),), "bits")  # fmt: skip


def scalars(count: int = 3000) -> dict:
    steps = np.arange(count, dtype=float)
    values = np.sqrt(steps + 1)
    return {"K": (steps, values, values - 0.5, values + 0.5), "null": (steps, 0 * steps - 1, None, None)}


def test_a_curve_has_its_ribbon_its_line_and_its_rule():
    plot = curve_plot(SPEC, scalars(), {"null": -1.0, "other": 3.0})
    kinds = [(type(mark), mark.label, mark.role) for mark in plot.marks]
    assert kinds == [(Ribbon, "", "model"), (Rule, "L_null", "past"), (Lines, "K", "model")]
    assert plot.x.label == "Step" and plot.y.title() == "Bound (bits)" and plot.y.scale == "linear"
    assert curve_plot(SPEC, scalars(), {}, log=True).y.scale == "log"
    newest = curve_plot(SPEC, scalars(), {}, recent=100).marks[-1]
    assert isinstance(newest, Lines) and newest.x[0] == 2899 and len(newest.x) == 101


def test_a_curve_says_how_many_of_its_values_are_lost():
    data = scalars(10)
    data["K"][1][4:6] = np.nan
    assert curve_plot(SPEC, data, {}).note == "2 values are not finite"


def test_a_curve_view_follows_its_scalars_and_its_menu(qtbot):
    view = shown(qtbot, CurveView(SPEC))
    assert view.figure is None
    view.update_series(scalars())
    assert near(picture(view), "#E69F00").any()
    rule = next(mark for mark in view.figure.marks if isinstance(mark, Rule))
    assert rule.value == -1.0
    assert view.areas[0].view_range()[0][1] >= 2999
    view.log_action.trigger()
    assert view.figure.y.scale == "log" and view.faults == []
    assert view.areas[0].view_range()[1][1] == pytest.approx(np.log10(55.3), abs=0.3)
    view.recent_action.trigger()
    assert view.areas[0].view_range()[0][0] > 1900
    view.clear_series()
    assert view.figure is None


def test_there_is_a_clear_error_for_a_mark_nobody_draws():
    with pytest.raises(TypeError, match="no artist"):
        make_artist(Mark())
