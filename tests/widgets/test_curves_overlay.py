"""Curves of several runs: other runs and bands of seeds beside the one in sight, and the step that is looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QObject
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication

from engines.figures import CurveSpec, Lines, Plot, Ribbon, Rule, check
from widgets.curve_view import CurveView
from widgets.curves import FUTURE, OtherRun, SeedBand, curve_plot, newest_values
from widgets.theme import load_theme

SPEC = CurveSpec(
    "K",
    "Bound",
    "What it is.",
    (("train", "K, training", "past"), ("K", "K, held-out", "model"), ("exact", "exact", "data")),
    "Bound",
    (("null", "L_null", "neutral"),),
    "bits",
)


def run(count: int = 100, shift: float = 0.0, names: tuple[str, ...] = ("train", "K", "null")) -> dict:
    steps = np.arange(count, dtype=float) * 10
    return {name: (steps, np.sqrt(steps + 1) + shift, None, None) for name in names}


def other(label: str = "wide", role: str = "category-3", **options) -> OtherRun:
    return OtherRun(label, role, run(shift=2.0, **options))


def band(scalar: str = "K") -> SeedBand:
    steps = np.arange(50.0) * 20
    return SeedBand("IQM of 5 seeds", "category-2", scalar, steps, steps * 0.01, steps * 0, steps * 0.02)


def lines(plot: Plot, role: str) -> list[Lines]:
    return [mark for mark in plot.marks if isinstance(mark, Lines) and mark.role == role]


def values_at(plot: Plot, label: str) -> float:
    return next(mark.value for mark in plot.marks if isinstance(mark, Rule) and mark.label == label)


# Other runs


def test_another_run_is_in_its_colour_and_named_once():
    plot = curve_plot(SPEC, run(), {}, others=[other(), other("deep", "category-0")])
    assert check(plot) == []
    assert len(lines(plot, "category-3")) == len(lines(plot, "category-0")) == 2
    labels = [mark.label for mark in plot.marks if mark.label]
    assert sorted(labels) == ["K, held-out", "K, training", "deep", "wide"]
    assert {mark.width for mark in lines(plot, "category-3")} == {1.25}


def test_the_scalars_of_another_run_are_told_apart_and_the_caption_says_how():
    plot = curve_plot(SPEC, run(), {}, others=[other(names=("train", "K", "exact"))])
    looks = {(mark.dash, mark.opacity < 0.5) for mark in lines(plot, "category-3")}
    assert looks == {("solid", True), ("solid", False), ("dash", False)}
    assert plot.caption == (
        "What it is. Lines of other runs: K, training faint, K, held-out solid, exact dashed."
    )
    alone = curve_plot(SPEC, run(), {}, others=[other(names=("exact",))])
    assert [mark.dash for mark in lines(alone, "category-3")] == ["solid"]
    assert alone.caption == SPEC.help


def test_one_scalar_looks_the_same_in_every_run():
    both = [other("a", "category-0", names=("K", "exact")), other("b", "category-1", names=("exact",))]
    plot = curve_plot(SPEC, {}, {}, others=both)
    assert [mark.dash for mark in lines(plot, "category-1")] == ["dash"]


def test_the_run_in_sight_keeps_its_look_and_lies_on_top():
    before = lines(curve_plot(SPEC, run(), {}), "model")
    plot = curve_plot(SPEC, run(), {}, others=[other()], bands=[band()])
    after = lines(plot, "model")
    assert [replace(mark, x=0, y=0) for mark in before] == [replace(mark, x=0, y=0) for mark in after]
    assert plot.marks[-1] is after[-1]


def test_runs_without_these_scalars_are_left_out():
    plot = curve_plot(SPEC, run(), {}, others=[other(names=("loss",))], bands=[band("loss")])
    assert {mark.role for mark in plot.marks} == {"past", "model"}


def test_lost_values_of_another_run_are_told():
    lost = other()
    lost.series["K"][1][3:5] = np.nan
    assert curve_plot(SPEC, run(), {}, others=[lost]).note == "2 values are not finite"


def test_the_newest_steps_are_those_of_the_run_in_sight():
    far = [OtherRun("far", "category-0", run(400))]
    plot = curve_plot(SPEC, run(100), {}, recent=200, others=far)
    for mark in plot.marks:
        assert isinstance(mark, Lines) and mark.x[0] == 790 and mark.x[-1] == 990
    plot = curve_plot(SPEC, {}, {}, recent=200, others=far)
    assert lines(plot, "category-0")[-1].x[[0, -1]].tolist() == [3790, 3990]


# Bands


def test_a_band_is_an_area_around_a_line():
    plot = curve_plot(SPEC, run(), {}, bands=[band(), band("loss")])
    found = [mark for mark in plot.marks if mark.role == "category-2"]
    assert [type(mark) for mark in found] == [Ribbon, Lines]
    assert [mark.label for mark in found if mark.label] == ["IQM of 5 seeds"]


# The step that is looked at


@given(st.integers(-50, 1200), st.integers(1, 60))
def test_nothing_is_hidden_by_the_cursor(cursor: int, count: int):
    plot = curve_plot(SPEC, run(count), {}, others=[other()], bands=[band()], cursor=cursor)
    whole = curve_plot(SPEC, run(count), {}, others=[other()], bands=[band()])
    for role in ("model", "past", "category-2", "category-3"):
        expected = [mark for mark in whole.marks if mark.role == role and not isinstance(mark, Rule)]
        found = [mark for mark in plot.marks if mark.role == role and not isinstance(mark, Rule)]
        assert len(found) == 2 * len(expected)
        for mark, before, after in zip(expected, found[::2], found[1::2], strict=True):
            assert (before.x <= cursor).all() and (after.x[1:] > cursor).all()
            assert before.opacity == mark.opacity and after.opacity == mark.opacity * FUTURE
            assert before.label == mark.label and after.label == ""
            # The parts meet in one point, so that the curve has no gap.
            joined = np.concatenate([before.x, after.x[1:] if len(before.x) else after.x])
            assert np.array_equal(joined, mark.x)


def test_the_cursor_is_marked():
    plot = curve_plot(SPEC, run(), {}, cursor=1500)
    (rule,) = [mark for mark in plot.marks if isinstance(mark, Rule)]
    assert (rule.axis, rule.value, rule.label, rule.role) == ("x", 1500.0, "step 1,500", "hand")


def test_recent_steps_lie_around_the_cursor():
    plot = curve_plot(SPEC, run(), {}, recent=100, cursor=500)
    ends = np.concatenate([mark.x for mark in lines(plot, "model")])
    assert (ends.min(), ends.max()) == (400, 600)


def test_values_as_they_were_at_a_step():
    data = {"null": (np.array([10.0, 20, 30, 40]), np.array([1.0, np.nan, 3, 4]), None, None)}
    assert newest_values(data) == {"null": 4.0}
    assert newest_values(data, 30) == {"null": 3.0}
    assert newest_values(data, 29) == {"null": 1.0}
    assert newest_values(data, 9) == {}


# The view


@pytest.fixture
def view(qtbot):
    made = CurveView(SPEC)
    qtbot.addWidget(made)
    made.set_theme(load_theme("light"))
    made.resize(480, 340)
    made.show()
    QApplication.processEvents()
    return made


class Paints(QObject):
    """Counts how often a widget is painted."""

    def __init__(self, watched: QObject) -> None:
        super().__init__(watched)
        self.count = 0
        watched.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        self.count += event.type() == QEvent.Type.Paint
        return False


def pixels(view: CurveView) -> np.ndarray:
    QApplication.processEvents()
    image = view.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    array = np.asarray(image.constBits()).reshape(image.height(), -1)[:, : image.width() * 3]
    return array.reshape(image.height(), image.width(), 3).astype(int).copy()


def has_color(view: CurveView, color: str) -> bool:
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(pixels(view) - wanted).sum(axis=-1) <= 40).any())


def test_other_runs_and_bands_are_seen(view):
    view.update_series(run())
    assert not has_color(view, load_theme("light").categories[0])
    view.set_others([other("deep", "category-0")])
    view.set_bands([band()])
    assert view.faults == []
    assert has_color(view, load_theme("light").categories[0])
    assert has_color(view, load_theme("light").categories[2])
    view.set_others([])
    view.set_bands([])
    assert not has_color(view, load_theme("light").categories[0])


def test_other_runs_are_seen_without_one_of_its_own(view):
    view.set_others([other()])
    assert view.figure is not None
    view.update_series(run())
    view.clear_series()
    assert {mark.role for mark in view.figure.marks} == {"category-3"}
    view.set_others([])
    assert view.figure is None
    view.update_series({})
    assert view.figure is None


def test_what_changes_nothing_draws_nothing(view):
    view.update_series(run())
    view.set_others([other()])
    view.set_bands([band()])
    view.set_cursor(300)
    QApplication.processEvents()
    figure, paints = view.figure, Paints(view.canvas.viewport())
    view.set_others([other()])
    view.set_bands((band(),))
    view.set_cursor(300)
    QApplication.processEvents()
    assert view.figure is figure and paints.count == 0
    changed = other()
    changed.series["K"][1][-1] += 1
    view.set_others([changed])
    QApplication.processEvents()
    assert view.figure is not figure and paints.count > 0


def test_the_cursor_shows_the_values_of_its_step(view):
    data = run()
    view.update_series(data)
    assert values_at(view.figure, "L_null") == data["null"][1][-1]
    view.set_cursor(205)
    assert values_at(view.figure, "L_null") == data["null"][1][20]
    assert values_at(view.figure, "step 205") == 205
    assert view.areas[0].view_range()[0][1] >= 990
    view.set_cursor(None)
    assert [mark for mark in view.figure.marks if isinstance(mark, Rule) and mark.axis == "x"] == []
    assert values_at(view.figure, "L_null") == data["null"][1][-1]


def test_marks_are_kept_while_the_cursor_moves(view):
    view.update_series(run())
    view.set_cursor(0)
    artists = view.areas[0].artists
    for step in (500, 990, 5000, 1):
        view.set_cursor(step)
        assert view.areas[0].artists is artists


def test_recent_steps_follow_the_cursor_at_once(qtbot):
    view = CurveView(SPEC, recent_steps=100)
    qtbot.addWidget(view)
    view.update_series(run())
    view.recent_action.trigger()
    view.set_cursor(200)
    (low, high), _ = view.areas[0].view_range()
    assert 80 < low <= 100 and 300 <= high < 320


# Over a scalar instead of steps

OVER = replace(SPEC, x_scalar="seen", x_label="data seen")


def seeing(count: int = 100, each: float = 64.0, **options) -> dict:
    """A run whose every step, of those numbered by tens, sees so many data."""
    found = run(count, **options)
    steps = np.arange(count, dtype=float) * 10
    return found | {"seen": (steps, steps * each, None, None)}


def test_each_run_lies_over_its_own_values_of_x():
    wide = OtherRun("wide", "category-3", seeing(each=128.0, shift=2.0))
    plot = curve_plot(OVER, seeing(), {}, others=[wide])
    assert check(plot) == [] and plot.x.label == "data seen"
    assert lines(plot, "model")[0].x.tolist() == (np.arange(100) * 640.0).tolist()
    assert lines(plot, "category-3")[-1].x.tolist() == (np.arange(100) * 1280.0).tolist()
    assert all("seen" not in mark.label for mark in plot.marks), "x itself is no curve"


def test_the_step_that_is_looked_at_lies_where_the_run_in_sight_has_it():
    wide = OtherRun("wide", "category-3", seeing(each=128.0))
    plot = curve_plot(OVER, seeing(), {}, others=[wide], cursor=500)
    assert values_at(plot, "step 500") == 500 * 64.0
    past, future = lines(plot, "model")
    assert past.x[-1] == future.x[0] == 500 * 64.0 and future.opacity < past.opacity
    # Only what is needed to place it is given of the run in focus beside others.
    plot = curve_plot(OVER, {"seen": seeing()["seen"]}, {}, others=[wide], cursor=500)
    assert values_at(plot, "step 500") == 500 * 64.0


def test_the_newest_steps_are_as_far_over_x_as_they_are_long():
    plot = curve_plot(OVER, seeing(), {}, recent=200)
    assert lines(plot, "model")[0].x[[0, -1]].tolist() == [790 * 64.0, 990 * 64.0]


def test_a_run_without_that_scalar_is_drawn_over_its_steps():
    assert lines(curve_plot(OVER, run(), {}), "model")[0].x[-1] == 990.0
    assert check(curve_plot(OVER, {}, {})) == []
