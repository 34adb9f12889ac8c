"""Forks of every built paper: the popup, twins side by side, lockstep; real clicks in the real window."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from engines.config import SettingSpec
from engines.errors import SettingError
from engines.figures import Lines, at
from lab import papers
from lab.panels.active_run import ActiveRun
from lab.panels.fork_popup import ForkPopup
from lab.panels.lockstep import AHEAD, LEAST
from lab.runs.folder import RunFolder
from tests.lab.traveller import CONTROL_SHIFT, MODEL, Make, Traveller, every_paper, whole
from widgets.fields import NumberField


@pytest.fixture(params=[MODEL])
def traveller(request: pytest.FixtureRequest, qtbot: QtBot, make_lab: Make) -> Traveller:
    """Somebody before one of the built papers."""
    return Traveller(qtbot, make_lab(request.param, size=(1300, 900)))


def ask(person: Traveller) -> ForkPopup:
    """Press the button of the time line that asks for a fork."""
    person.press(person.panel.past.timeline.fork_button)
    popup = person.panel.fork_popup
    person.until(popup.isVisible)
    return popup


def pick(popup: ForkPopup, name: str) -> NumberField:
    """Choose a setting in the popup's list."""
    index = popup.setting_box.findData(name)
    assert index >= 0, f"{name} is not offered"
    popup.setting_box.setCurrentIndex(index)
    popup.setting_box.activated.emit(index)
    assert isinstance(popup.field, NumberField)
    return popup.field


def write(person: Traveller, field: NumberField, text: str) -> None:
    """Type a value over the one that stands there, and press Enter."""
    line = field.box.lineEdit()
    line.setFocus()
    line.selectAll()
    person.qtbot.keyClicks(line, text)
    person.key(line, Qt.Key.Key_Return)


def offered(popup: ForkPopup) -> set[str]:
    return {popup.setting_box.itemData(index) for index in range(popup.setting_box.count())}


def rebuilt(person: Traveller) -> tuple[SettingSpec, Any]:
    """A number that the model is built from, and another value for it."""
    values = person.form.values()
    for spec in type(values).specs():
        if spec.effect != "rebuild" or spec.kind != "integer" or spec.name == "seed":
            continue
        if spec.is_visible(values.model_dump()):
            for value in (person.value(spec.name) + 1, person.value(spec.name) - 1):
                try:
                    values.updated({spec.name: value})
                except SettingError:
                    continue
                return spec, value
    raise AssertionError("the paper has no such setting")


# --- the popup  ----------


@every_paper("traveller")
def test_a_fork_trains_beside_with_what_was_typed(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    person.train(keyframes=3)
    first, spec, before = person.run, person.live_setting(), person.value(person.live_setting().name)
    record = person.look(1)
    popup = ask(person)
    assert f"step {record.step:,}" in popup.title.text()
    if panel.method is not None and panel.method.learning_rate:
        assert popup.setting_box.currentData() == panel.method.learning_rate, (
            "what is tried most stands first"
        )
    field = pick(popup, spec.name)
    write(person, field, "a lot")
    assert popup.error_label.isVisible() and spec.label in popup.error_label.text()
    person.press(popup.fork_button)
    assert popup.isVisible() and person.run is first, "nothing is begun with a value that is none"
    # Escape in the field brings back the value that was there, which is one.
    person.key(field.box, Qt.Key.Key_Escape)
    assert popup.isVisible() and not popup.error_label.isVisible()
    write(person, field, repr(before / 4))
    assert not popup.error_label.isVisible()
    person.press(popup.fork_button)
    assert not popup.isVisible()
    second = person.run
    assert second is not first and panel.runs == [first, second]
    assert person.record is None and person.value(spec.name) == pytest.approx(before / 4)
    person.until(lambda: second.started is not None)
    assert second.started is not None and second.started.step == record.step
    assert second.started.values[spec.name] == pytest.approx(before / 4)
    person.goes_on(second)
    person.goes_on(first)
    assert second.folder is not None and first.folder is not None
    info = RunFolder(second.folder).info
    assert (info.parent, info.parent_step, info.relation) == (first.key, record.step, "fork")
    # The one that it was forked off is as it was.
    assert not [e for e in RunFolder(first.folder).events()[0] if e["kind"] == "change"]
    chips = panel.strip.chips
    assert [chip.run.key for chip in chips] == [first.key, second.key]
    assert spec.label.lower() in chips[1].run.detail and chips[0].run.role != chips[1].run.role
    assert chips[1].isChecked() and not chips[0].isChecked()


def test_the_fork_is_of_the_moment_that_the_popup_names(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    person.train(keyframes=3)
    record = person.look(1)
    popup = ask(person)
    # The popup stands while the hand is back in the present and training goes on.
    person.key(person.track, Qt.Key.Key_Escape)
    assert person.record is None and popup.isVisible()
    person.keep(len(person.run.keyframes) + 1)
    person.press(popup.fork_button)
    person.until(lambda: len(panel.runs) == 2 and panel.started is not None)
    assert panel.started is not None and panel.started.step == record.step


def test_without_a_moment_in_sight_the_newest_is_forked(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    person.key(person.window, Qt.Key.Key_F, CONTROL_SHIFT)
    assert "press Train first" in person.messages("info")[0]
    person.train(keyframes=2)
    step = person.pause()
    person.key(person.window, Qt.Key.Key_F, CONTROL_SHIFT)
    popup = panel.fork_popup
    assert popup.isVisible() and f"step {step:,}" in popup.title.text()
    # Both ways to leave it, and nothing is begun.
    person.press(popup.cancel_button)
    assert not popup.isVisible()
    person.key(person.window, Qt.Key.Key_F, CONTROL_SHIFT)
    person.key(popup.setting_box, Qt.Key.Key_Escape)
    assert not popup.isVisible() and len(panel.runs) == 1
    # A question about a run that is parted from is none any more.
    person.key(person.window, Qt.Key.Key_F, CONTROL_SHIFT)
    assert popup.isVisible()
    person.press(person.window.transport.reset_button)
    assert not popup.isVisible()


def test_a_fork_at_the_beginning_can_differ_in_what_the_model_is_built_from(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    person.train(keyframes=3)
    first = person.run
    spec, value = rebuilt(person)
    person.look(2)
    popup = ask(person)
    assert spec.name not in offered(popup), "what is built already stays"
    person.press(popup.cancel_button)
    assert person.look(0).step == 0
    popup = ask(person)
    write(person, pick(popup, spec.name), str(value))
    person.press(popup.fork_button)
    person.until(lambda: person.run is not first and panel.started is not None)
    second = person.run
    assert second.started is not None
    assert (second.started.step, second.started.values[spec.name]) == (0, value)
    person.goes_on(second)
    assert first.started is not None and first.started.values[spec.name] != value
    assert second.folder is not None
    run = RunFolder(second.folder)
    assert run.info.values[spec.name] == value
    person.goes_on(first)
    person.until(lambda: all(panel.figure(name) is not None for name in person.pictures()))
    assert not person.messages("error")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_popup_fits_the_smallest_window_with_its_sentence(
    qtbot: QtBot, make_lab: Make, theme: str
) -> None:
    person = Traveller(qtbot, make_lab(size=(1000, 700), theme=theme))
    person.train(keyframes=3)
    person.look(1)
    popup = ask(person)
    write(person, pick(popup, person.live_setting().name), "1e99")
    person.until(popup.error_label.isVisible)
    window = person.window
    assert window.minimumSizeHint().width() <= 1000 and window.minimumSizeHint().height() <= 700
    assert (window.width(), window.height()) == (1000, 700)
    label = popup.error_label
    assert label.height() >= label.heightForWidth(label.width()), "the sentence is whole"
    for widget in (popup.fork_button, popup.cancel_button, popup.lockstep_box, popup.setting_box):
        assert widget.width() >= widget.minimumSizeHint().width()
        assert widget.geometry().right() <= popup.width()
    assert popup.setting_box.isVisible() and popup.height() <= 120


# --- twins  ----------


def test_a_chip_puts_its_run_in_focus(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    person.train(keyframes=2)
    first, spec = person.run, person.live_setting()
    # The first one is changed while it trains, and its twin is not.
    before = person.value(spec.name)
    person.form.change({spec.name: before / 2})
    person.until(lambda: any(mark.kind == "change" for mark in first.marks))
    person.look(0)
    person.fork()
    second = person.run
    assert person.value(spec.name) == before
    person.until(lambda: bool(second.keyframes) and second.session.step > 0)
    person.pause()
    person.until(lambda: person.shows(person.folder, second.keyframes[-1]))
    person.choose_chip(first)
    assert person.run is first and panel.state == "running"
    assert person.value(spec.name) == before / 2, "the settings in force, not those that it began with"
    assert [chip.isChecked() for chip in panel.strip.chips] == [True, False]
    person.pause()
    person.sees(first.keyframes[-1])
    # A change reaches the one in focus alone.
    person.form.change({spec.name: before / 8})
    person.until(lambda: first.values()[spec.name] == pytest.approx(before / 8))
    assert second.values()[spec.name] == before
    person.choose_chip(second)
    person.sees(second.keyframes[-1])
    assert person.value(spec.name) == before and person.run is second


def test_the_curves_of_both_lie_over_each_other(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    first, second = person.twins()
    curves = person.turn_to_curves()

    def roles() -> set[str]:
        figure = panel.figure(curves)
        return {mark.role for mark in at(figure).marks if isinstance(mark, Lines)} if figure else set()  # type: ignore[union-attr]

    def labels() -> set[str]:
        figure = panel.figure(curves)
        return {mark.label for mark in at(figure).marks if isinstance(mark, Lines)} if figure else set()  # type: ignore[union-attr]

    person.until(lambda: {first.role, second.role} <= roles())
    assert first.role != second.role and {first.name, second.name} <= labels()
    person.choose_chip(first)
    person.until(lambda: {first.name, second.name} <= labels() and {first.role, second.role} <= roles())
    # Without the other one there is one run, in the colours that a run has alone.
    person.panel.strip.chips[1].close_button.click()
    person.until(lambda: second.role not in roles() and first.role not in roles())


@pytest.mark.parametrize("together", [False, True], ids=["free", "in lockstep"])
def test_a_run_that_is_put_away_stays_in_its_folder_and_the_other_trains_on(
    traveller: Traveller, together: bool
) -> None:
    person, panel = traveller, traveller.panel
    first, second = person.twins(together=together)
    person.goes_on(first)
    person.press(panel.strip.chips[1].close_button)
    assert panel.runs == [first] and person.run is first and not panel.strip.isVisible()
    assert person.value(person.live_setting().name) == first.values()[person.live_setting().name]
    person.goes_on(first, by=LEAST + int(AHEAD * 1000))
    person.until(lambda: not person.window.services.closing)
    assert second.folder is not None
    whole(second.folder)


# --- lockstep  ----------


@pytest.fixture
def held(traveller: Traveller, monkeypatch: pytest.MonkeyPatch) -> Callable[[ActiveRun | None], None]:
    """Lets the engine of one run wait before its next step: ``held(run)``; ``held(None)`` lets it go."""
    assert traveller.panel.method is not None
    engine_class = papers.resolve(traveller.panel.method.engine)
    step, names = engine_class.step, traveller.live_setting().name
    go_on, slow = threading.Event(), []
    go_on.set()

    def held_step(self: Any) -> Any:
        if getattr(self.config, names) in slow:
            go_on.wait(60)
        return step(self)

    monkeypatch.setattr(engine_class, "step", held_step)

    def hold(run: ActiveRun | None) -> None:
        slow[:] = [] if run is None else [run.values()[names]]
        (go_on.set if run is None else go_on.clear)()

    return hold


def test_twins_in_lockstep_wait_for_each_other_and_pause_at_one_step(
    traveller: Traveller, held: Callable[[ActiveRun | None], None]
) -> None:
    person, panel = traveller, traveller.panel
    first, second = person.twins(together=True)
    assert panel.strip.lockstep_box.isChecked()
    person.until(lambda: first.leash is not None and second.leash is not None)
    seen: list[tuple[int, float]] = []

    def stands() -> bool:
        """Whether the first one has not moved for some ticks, although it trains."""
        seen.append((person.window.ticks, first.session.step))
        return (
            first.session.step >= (first.leash or 0)
            and sum(step == first.session.step for _, step in dict(seen).items()) > 5
        )

    held(second)
    try:
        person.until(stands)
        assert first.state == "running", "it waits, and is not paused"
        far = first.session.step - second.session.step
        assert 0 <= far <= LEAST + AHEAD * 3000, "no further than what is trained in a moment"
    finally:
        held(None)
    person.goes_on(first)
    person.pause()
    person.until(lambda: first.state == "paused" and second.state == "paused")
    assert first.session.step == second.session.step
    # The button trains and steps both.
    step = first.session.step
    person.press(person.window.transport.step_button)
    person.until(lambda: [run.session.step for run in (first, second)] == [step + 1] * 2)
    person.until(lambda: first.state == "paused" and second.state == "paused")
    person.play()
    person.goes_on(first)
    person.goes_on(second)
    # Let go, the first one waits for nobody.
    person.press(panel.strip.lockstep_box)
    held(second)
    try:
        step = second.session.step
        person.until(lambda: first.session.step > step + 2 * far + 10 * LEAST)
    finally:
        held(None)


def test_a_run_that_is_only_shown_holds_nobody_back(traveller: Traveller) -> None:
    person, panel = traveller, traveller.panel
    person.train(keyframes=2)
    old = person.stop()
    person.press(person.window.transport.reset_button)
    person.until(person.waits)
    person.play()
    person.keep(2)
    first = person.run
    person.look(1)
    person.fork(together=True)
    second = person.run
    person.until(person.trains)
    panel.show_run(old)
    person.until(person.waits)
    assert len(person.names_on_chips()) == 3
    shown = person.run.session.step
    far = max(first.session.step, second.session.step, shown) + 5 * LEAST + int(AHEAD * 1000)
    person.until(lambda: first.session.step > far and second.session.step > far)
