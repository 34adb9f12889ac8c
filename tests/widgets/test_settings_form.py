"""The settings form under real keys and clicks: what is committed, refused, undone, dimmed, and kept for a
reset.
"""

from __future__ import annotations

import gc
import math
import weakref
from typing import Literal

import pytest
import shiboken6
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence, QUndoStack, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMainWindow, QMenu

from engines.config import Preset, Settings, setting
from widgets.settings_form import SettingsForm
from widgets.theme import ThemeManager


class Sample(Settings):
    """One field of every kind."""

    data: Literal["roll", "digits", "mixture", "own"] = setting(
        "roll", label="Data set", effect="rebuild", group="Data"
    )
    file: str = setting(
        "", label="Own data", kind="path", effect="rebuild", group="Data", visible_when={"data": "own"}
    )
    schedule: Literal["fixed", "learned", "drawn"] = setting(
        "fixed", label="Schedule", effect="rebuild", group="Chain"
    )
    betas: tuple[float, ...] = setting(
        (0.1, 0.2), label="Drawn", kind="curve", effect="live", group="Chain", minimum=0, maximum=1
    )
    hidden: int = setting(128, label="Hidden units", effect="rebuild", group="Model", minimum=1, maximum=4096)
    step_size: float = setting(
        0.01,
        label="Step size",
        symbol=r"\alpha",
        unit="nats",
        effect="live",
        group="Optimiser",
        minimum=1e-6,
        maximum=1.0,
        scale="log",
        help="Of Adam.",
    )
    floor: float = setting(
        0.0, label="Floor", effect="live", group="Optimiser", minimum=0.0, maximum=1.0, scale="log"
    )
    momentum: float = setting(0.9, label="Momentum", effect="live", group="Optimiser", minimum=0, maximum=1)
    limit: float | None = setting(None, label="Limit", effect="live", group="Optimiser", minimum=0.5)
    clip: bool = setting(True, label="Clip", effect="live", group="Optimiser")
    title: str = setting("", label="Title", effect="display", group="Pictures")


PRESETS = (
    Preset("demo", "Demo", "Quick."),
    Preset("paper", "Paper", "Slow.", {"hidden": 16, "step_size": 0.001}),
)


@pytest.fixture(params=["light", "dark"])
def themed(qapp, request):
    manager = ThemeManager(qapp, request.param)
    yield manager
    shiboken6.delete(manager)


class Changes(list):
    """What a form asked for."""

    def note(self, name: str, value: object, effect: str) -> None:
        self.append((name, value, effect))


@pytest.fixture
def stack():
    return QUndoStack()


@pytest.fixture
def form(qtbot, stack):
    made = SettingsForm(Sample, presets=PRESETS, undo_stack=stack)
    qtbot.addWidget(made)
    made.resize(300, 1200)
    made.show()
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    return made


@pytest.fixture
def changes(form):
    noted = Changes()
    form.change_requested.connect(noted.note)
    return noted


def box_of(form: SettingsForm, name: str):
    box = form.row(name).field.editor()
    box.setFocus()
    line = form.row(name).field.line_edit()
    line.selectAll()
    return box


def type_and_enter(form: SettingsForm, name: str, text: str) -> None:
    box = box_of(form, name)
    QTest.keyClicks(box, text)
    QTest.keyClick(box, Qt.Key.Key_Return)


def test_typed_number_is_committed_with_enter(form, changes) -> None:
    type_and_enter(form, "step_size", "3e-3")
    assert changes == [("step_size", 0.003, "live")]
    assert form.values().step_size == 0.003
    assert form.row("step_size").field.line_edit().text() == "0.003"


def test_nothing_is_sent_while_typing(form, changes) -> None:
    QTest.keyClicks(box_of(form, "step_size"), "0.5")
    assert changes == []
    QTest.keyClick(form.row("step_size").field.editor(), Qt.Key.Key_Tab)
    assert changes == [("step_size", 0.5, "live")]


def test_same_value_in_other_words_is_no_change(form, changes, stack) -> None:
    type_and_enter(form, "step_size", "1e-2")
    assert changes == [] and stack.count() == 0
    assert form.row("step_size").field.line_edit().text() == "0.01"


@pytest.mark.parametrize("text", ["many", "1e-9", "2", "nan", "inf", "1,5", "--3", ""])
def test_refused_text_says_why_and_changes_nothing(form, changes, stack, text) -> None:
    box = box_of(form, "step_size")
    box.lineEdit().clear()
    QTest.keyClicks(box, text)
    QTest.keyClick(box, Qt.Key.Key_Return)
    row = form.row("step_size")
    assert changes == [] and stack.count() == 0
    assert form.values().step_size == 0.01
    assert "Step size" in row.error()
    # What was typed stays, to be mended.
    assert row.field.line_edit().text() == text


def test_refused_text_is_mended_or_reverted(form, changes) -> None:
    type_and_enter(form, "hidden", "12.5")
    assert form.row("hidden").error()
    QTest.keyClick(form.row("hidden").field.editor(), Qt.Key.Key_Escape)
    assert form.row("hidden").error() == ""
    assert form.row("hidden").field.line_edit().text() == "128"
    type_and_enter(form, "hidden", "12.5")
    type_and_enter(form, "hidden", "12")
    assert form.row("hidden").error() == ""
    assert changes == [("hidden", 12, "rebuild")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(max_size=20), st.floats().map(repr), st.integers().map(str)))
@pytest.mark.parametrize("name", ["hidden", "step_size", "limit", "betas"])
def test_any_text_is_a_value_or_an_error(form, name, text) -> None:
    row = form.row(name)
    before = getattr(form.values(), name)
    field = row.field
    field.editor().setFocus()
    field.line_edit().setText(text)
    dirty = field.is_dirty()
    QTest.keyClick(field.editor(), Qt.Key.Key_Return)
    value = getattr(form.values(), name)
    Sample.checked(name, value)
    if row.error():
        assert value == before
        assert row.error().endswith(".")
    elif dirty:
        assert not field.is_dirty()
        numbers = value if isinstance(value, tuple) else (value,)
        assert all(number is None or math.isfinite(number) for number in numbers)


def test_empty_text_empties_an_optional_number(form, changes) -> None:
    type_and_enter(form, "limit", "3")
    box = box_of(form, "limit")
    QTest.keyClick(box, Qt.Key.Key_Delete)
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert [value for _, value, _ in changes] == [3.0, None]


def test_arrows_step_by_factors_on_a_log_scale(form, changes) -> None:
    box = box_of(form, "step_size")
    QTest.keyClick(box, Qt.Key.Key_Up)
    QTest.keyClick(box, Qt.Key.Key_Up)
    QTest.keyClick(box, Qt.Key.Key_Down)
    assert [value for _, value, _ in changes] == [0.02, 0.05, 0.02]
    QTest.keyClick(box_of(form, "momentum"), Qt.Key.Key_Up)
    assert changes[-1] == ("momentum", 0.91, "live")
    for _ in range(20):
        QTest.keyClick(box_of(form, "momentum"), Qt.Key.Key_Up)
    assert form.values().momentum == 1.0


def test_log_scale_from_zero_can_be_left_and_reached(form) -> None:
    box = box_of(form, "floor")
    QTest.keyClick(box, Qt.Key.Key_Up)
    low = form.values().floor
    assert 0 < low < 1e-4
    QTest.keyClick(box, Qt.Key.Key_Down)
    assert form.values().floor == 0.0


def test_steps_of_one_go_are_one_undo_and_separate_edits_are_two(form, stack, changes) -> None:
    box = box_of(form, "step_size")
    for _ in range(3):
        QTest.keyClick(box, Qt.Key.Key_Up)
    assert stack.count() == 1
    assert stack.undoText() == "Step size 0.01 → 0.1"
    type_and_enter(form, "step_size", "0.3")
    type_and_enter(form, "step_size", "0.4")
    assert stack.count() == 3
    stack.undo()
    stack.undo()
    stack.undo()
    assert form.values().step_size == 0.01
    assert changes[-1] == ("step_size", 0.01, "live")
    assert form.row("step_size").field.line_edit().text() == "0.01"
    stack.redo()
    assert form.values().step_size == 0.1


def test_a_drag_of_the_slider_is_live_and_one_undo(form, stack, changes) -> None:
    slider = form.row("step_size").slider
    start = QPoint(4, slider.height() // 2)
    QTest.mousePress(slider, Qt.MouseButton.LeftButton, pos=start)
    for x in range(10, slider.width() - 10, 10):
        QTest.mouseMove(slider, QPoint(x, slider.height() // 2))
    sent = len(changes)
    QTest.mouseRelease(
        slider, Qt.MouseButton.LeftButton, pos=QPoint(slider.width() - 12, slider.height() // 2)
    )
    assert sent > 5
    assert len({value for _, value, _ in changes}) > 5
    assert stack.count() == 1
    first = form.values().step_size
    QTest.mousePress(slider, Qt.MouseButton.LeftButton, pos=start)
    QTest.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=start)
    assert form.values().step_size != first
    assert stack.count() == 2
    stack.undo()
    stack.undo()
    assert form.values().step_size == 0.01


def test_slider_reaches_both_ends(form) -> None:
    slider = form.row("step_size").slider
    slider.setFocus()
    QTest.keyClick(slider, Qt.Key.Key_End)
    assert form.values().step_size == 1.0
    QTest.keyClick(slider, Qt.Key.Key_Home)
    assert form.values().step_size == 1e-6


def _wheel(widget) -> None:
    middle = QPointF(widget.rect().center())
    event = QWheelEvent(
        middle,
        QPointF(widget.mapToGlobal(middle.toPoint())),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def test_wheel_changes_only_the_field_with_the_keyboard(form, changes) -> None:
    form.row("title").field.editor().setFocus()
    for name in ("step_size", "hidden", "data"):
        _wheel(form.row(name).field.editor())
    _wheel(form.row("step_size").slider)
    assert changes == []
    box = box_of(form, "hidden")
    _wheel(box)
    assert changes == [("hidden", 129, "rebuild")]


def test_switch_choice_segments_text_path(form, changes) -> None:
    form.row("clip").field.editor().setFocus()
    QTest.keyClick(form.row("clip").field.editor(), Qt.Key.Key_Space)
    segments = form.row("schedule").field.segments
    QTest.mouseClick(segments[1], Qt.MouseButton.LeftButton)
    QTest.keyClick(segments[1], Qt.Key.Key_Right)
    combo = form.row("data").field.editor()
    combo.setFocus()
    QTest.keyClick(combo, Qt.Key.Key_End)
    type_and_enter(form, "file", "/tmp/points.csv")
    type_and_enter(form, "title", "first try")
    assert changes == [
        ("clip", False, "live"),
        ("schedule", "learned", "rebuild"),
        ("schedule", "drawn", "rebuild"),
        ("data", "own", "rebuild"),
        ("file", "/tmp/points.csv", "rebuild"),
        ("title", "first try", "display"),
    ]


def test_curve_is_typed_or_asked_to_be_drawn(form, changes, qtbot) -> None:
    type_and_enter(form, "betas", "0.1; 0.5, 1e-1")
    assert changes == [("betas", (0.1, 0.5, 0.1), "live")]
    with qtbot.waitSignal(form.curve_requested) as asked:
        QTest.mouseClick(form.row("betas").field.draw, Qt.MouseButton.LeftButton)
    assert asked.args == ["betas"]


def test_settings_are_hidden_while_they_do_not_matter(form) -> None:
    row = form.row("file")
    assert row.isHidden()
    form.change({"data": "own"})
    assert not row.isHidden()
    form.change({"data": "mixture"})
    assert row.isHidden()


def test_values_from_outside_make_no_echo(form, changes, stack) -> None:
    form.set_values(Sample(step_size=0.5, data="mixture", clip=False, betas=(0.3,), schedule="drawn"))
    assert changes == [] and stack.count() == 0
    assert form.row("step_size").field.line_edit().text() == "0.5"
    assert form.row("data").field.editor().currentText() == "mixture"
    assert not form.row("clip").field.editor().isChecked()
    assert form.row("schedule").field.editor().text() == "drawn"
    with pytest.raises(TypeError):
        form.set_values(Settings())


def test_values_from_outside_leave_what_is_being_typed(form) -> None:
    QTest.keyClicks(box_of(form, "step_size"), "0.7")
    form.set_values(form.values().updated({"hidden": 64}))
    assert form.row("step_size").field.line_edit().text() == "0.7"
    form.set_values(form.values().updated({"step_size": 0.2}))
    assert form.row("step_size").field.line_edit().text() == "0.2"


def test_rebuild_settings_wait_for_a_reset(form, changes, qtbot, stack) -> None:
    assert form.pending() == {}
    form.set_running_config(form.values())
    type_and_enter(form, "hidden", "64")
    type_and_enter(form, "step_size", "0.5")
    assert form.pending() == {"hidden": 128}
    assert form._pending.isVisible()
    assert form._pending.text.text() == "1 setting waits for a reset"
    assert "128" in form.row("hidden").note()
    assert form.row("step_size").note() == ""
    with qtbot.waitSignal(form.reset_requested):
        QTest.mouseClick(form._pending.reset, Qt.MouseButton.LeftButton)
    with qtbot.waitSignal(form.pending_discarded):
        QTest.mouseClick(form._pending.discard, Qt.MouseButton.LeftButton)
    assert form.values().hidden == 128 and form.values().step_size == 0.5
    assert not form._pending.isVisible()
    assert form.row("hidden").note() == ""
    stack.undo()
    assert form.pending() == {"hidden": 128}
    form.set_running_config(form.values())
    assert form.pending() == {}


def test_presets_are_offered_and_modification_is_shown(form, changes, qtbot) -> None:
    assert form.preset().id == "demo" and not form.is_modified()
    with qtbot.waitSignal(form.preset_chosen) as chosen:
        form._preset_box.setFocus()
        QTest.keyClick(form._preset_box, Qt.Key.Key_Down)
    assert chosen.args[0].id == "paper"
    assert changes == []
    assert form.is_modified() and form._modified.isVisible()
    form.set_values(Sample.build(chosen.args[0].values))
    assert not form.is_modified() and not form._modified.isVisible()
    form.change({"hidden": 17})
    assert "Hidden units" in form._modified.toolTip()


def test_several_settings_can_change_as_one_edit(form, changes, stack) -> None:
    form.change({"hidden": 16, "step_size": 0.5}, text="Preset Paper")
    assert stack.count() == 1 and stack.undoText() == "Preset Paper"
    assert {name for name, _, _ in changes} == {"hidden", "step_size"}
    stack.undo()
    assert form.values() == Sample()


def test_menu_resets_to_the_default_and_copies_the_assignment(form, changes) -> None:
    form.change({"step_size": 0.5})
    form.row("step_size").menu_requested.emit("step_size", QPoint(10, 10))
    menu = next(menu for menu in form.findChildren(QMenu) if menu.isVisible())
    actions = {action.data(): action for action in menu.actions()}
    assert "0.01" in actions["default"].text()
    actions["copy"].trigger()
    assert QGuiApplication.clipboard().text() == "step_size=0.5"
    actions["default"].trigger()
    menu.close()
    assert form.values().step_size == 0.01
    assert changes[-1] == ("step_size", 0.01, "live")


def test_tool_tip_tells_everything(form) -> None:
    tip = form.row("step_size").label.toolTip()
    for part in ("Step size", "α", "Of Adam.", "nats", "1e-06", "Default: 0.01", "next step"):
        assert part in tip


def test_tab_goes_from_field_to_field(form) -> None:
    form.row("hidden").field.editor().setFocus()
    QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    section = form._sections["Optimiser"].header
    assert QApplication.focusWidget() is section
    QTest.keyClick(section, Qt.Key.Key_Tab)
    assert QApplication.focusWidget() is form.row("step_size").field.editor()


def test_sections_fold_and_a_shown_setting_unfolds_its_own(form) -> None:
    QTest.mouseClick(form._sections["Model"].header, Qt.MouseButton.LeftButton)
    assert form.folded_groups() == ("Model",)
    assert not form.row("hidden").isVisible()
    form.show_setting("hidden")
    assert form.row("hidden").isVisible() and form.folded_groups() == ()


def test_window_undo_works_from_inside_a_field(qtbot, stack) -> None:
    window = QMainWindow()
    qtbot.addWidget(window)
    form = SettingsForm(Sample, undo_stack=stack, parent=window)
    window.setCentralWidget(form)
    undo = QAction("Undo", window)
    undo.setShortcut(QKeySequence.StandardKey.Undo)
    undo.triggered.connect(stack.undo)
    window.addAction(undo)
    window.resize(400, 900)
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    type_and_enter(form, "step_size", "0.5")
    QTest.keyClick(form.row("step_size").field.editor(), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert form.values().step_size == 0.01


def test_disabled_form_says_why(form) -> None:
    form.set_enabled_state(False, "The run is being stopped.")
    assert not form.row("hidden").field.editor().isEnabled()
    assert form._reason.isVisible() and form._reason.text() == "The run is being stopped."
    form.set_enabled_state(True)
    assert form.row("hidden").field.editor().isEnabled() and not form._reason.isVisible()


def test_form_is_destroyed_and_its_commands_do_nothing_then(qtbot, stack) -> None:
    form = SettingsForm(Sample, presets=PRESETS, undo_stack=stack)
    form.change({"hidden": 3})
    form.row("hidden").menu_requested.emit("hidden", QPoint(0, 0))
    watched = weakref.ref(form)
    with qtbot.waitSignal(form.destroyed):
        form.deleteLater()
    del form
    gc.collect()
    assert watched() is None
    stack.undo()
    assert stack.count() == 0


def test_form_is_small_enough_and_lives_in_both_themes(qtbot, themed, stack) -> None:
    form = SettingsForm(Sample, presets=PRESETS, undo_stack=stack)
    qtbot.addWidget(form)
    assert form.minimumSizeHint().width() <= 280
    assert form._content.minimumSizeHint().width() <= 280 - 24
    form.resize(280, 900)
    form.show()
    form.change({"data": "own", "schedule": "drawn"})
    form.set_running_config(Sample())
    type_and_enter(form, "hidden", "many")
    QApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest)
    before = form.grab().toImage().pixelColor(2, 2)
    themed.set_mode("dark" if themed.mode == "light" else "light")
    assert form.grab().toImage().pixelColor(2, 2) != before
    # Nothing may stick out to the right, where it could not be reached.
    for name in Sample.model_fields:
        field = form.row(name).field
        assert field.mapTo(form, QPoint(field.width(), 0)).x() <= form.width()
