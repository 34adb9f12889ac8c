"""The list of runs: found, selected, named, shown and hidden with mouse and keys; quiet while nothing changes."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
import shiboken6
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QPoint, Qt
from PySide6.QtGui import QContextMenuEvent, QShortcut
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QVBoxLayout, QWidget

from widgets.run_table import Column, RunsModel, RunTable, TableRun
from widgets.theme import ThemeManager

SIGNALS = (
    "shown_toggled",
    "rename_requested",
    "note_requested",
    "color_chosen",
    "selection_changed",
    "open_requested",
    "action_requested",
)


def run(key: str, **options: object) -> TableRun:
    given = {
        "name": f"run {key}",
        "role": "category-0",
        "shown": True,
        "state": "done",
        "differing": "",
        "best": 1.0,
        "best_text": "1.000",
        "step": 100,
        "total": 1000,
        "seconds": 60.0,
        "created": "2026-11-23T14:03:00",
        "seed": 0,
    }
    return TableRun(key, **(given | options))  # type: ignore[arg-type]


FIVE = (
    run("a", name="swiss roll", best=1.5, best_text="1.500", seed=3),
    run("b", name="Wide", depth=1, relation_text="from step 500 of swiss roll", best=None, best_text="–"),
    run(
        "c", name="deep", differing="step size 0.0003, batch 128", best=-2.0, best_text="−2.000", shown=False
    ),
    run("d", name="slow", note="for the talk", best=0.5, best_text="0.500", state="running", step=20),
    run("e", name="broken", problem="Its settings are damaged.", best=9.0, best_text="9.000", step=3000),
)


class Heard(list):
    """What a table asked for, as (signal, arguments)."""

    def __init__(self, table: RunTable) -> None:
        super().__init__()
        for name in SIGNALS:
            getattr(table, name).connect(self.noting(name))

    def noting(self, name: str):
        def note(*arguments: object) -> None:
            self.append((name, *arguments))

        return note

    def of(self, name: str) -> list[tuple]:
        return [tuple(rest) for heard, *rest in self if heard == name]


class Changes(QObject):
    """What a model told of its changes."""

    def __init__(self, model: RunsModel) -> None:
        super().__init__(model)
        self.rows: set[int] = set()
        self.structure = 0
        model.dataChanged.connect(self.on_data_changed)
        for signal in (model.rowsInserted, model.rowsRemoved, model.layoutChanged, model.modelReset):
            signal.connect(self.on_structure_changed)

    def on_data_changed(self, first: QModelIndex, last: QModelIndex) -> None:
        self.rows |= set(range(first.row(), last.row() + 1))

    def on_structure_changed(self, *_: object) -> None:
        self.structure += 1


@pytest.fixture
def table(qtbot):
    made = RunTable()
    qtbot.addWidget(made)
    made.resize(1000, 320)
    made.set_rows(FIVE)
    made.show()
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    made.heard = Heard(made)
    return made


def cell(table: RunTable, key: str, column: Column = Column.NAME):
    model = table.view.model()
    row = table.visible_keys().index(key)
    return table.view.visualRect(model.index(row, column)).center()


def click(
    table: RunTable,
    key: str,
    column: Column = Column.DIFFERING,
    keys=Qt.KeyboardModifier.NoModifier,
    button=Qt.MouseButton.LeftButton,
) -> None:
    QTest.mouseClick(table.view.viewport(), button, keys, cell(table, key, column))


def texts(table: RunTable, key: str) -> list[str]:
    model, row = table.view.model(), table.visible_keys().index(key)
    return [str(model.index(row, column).data()) for column in Column]


# What is shown


def test_a_row_says_what_there_is_to_say(table) -> None:
    assert texts(table, "c")[2:] == [
        "deep", "step size 0.0003, batch 128", "−2.000", "100", "0", "1:00", "Done", "2026-11-23 14:03",
    ]  # fmt: skip
    assert texts(table, "b")[Column.DIFFERING] == "from step 500 of swiss roll"
    assert texts(table, "e")[Column.DIFFERING] == "Its settings are damaged."
    model = table.view.model()
    spoken = Qt.ItemDataRole.AccessibleTextRole
    assert model.index(2, Column.SHOWN).data(spoken) == "not shown in the curves"
    assert model.index(2, Column.COLOR).data(spoken) == "Blue"
    assert "for the talk" in model.index(3, Column.NAME).data(Qt.ItemDataRole.ToolTipRole)
    assert model.index(0, Column.STEP).data(Qt.ItemDataRole.ToolTipRole) == "100 of 1,000"


def test_the_headline_names_the_best_value(table) -> None:
    table.set_headline("K, held-out (bits)")
    header = table.view.model().headerData(Column.BEST, Qt.Orientation.Horizontal)
    assert header == "K, held-out (bits)"


def test_an_unreadable_date_is_shown_as_it_is(table) -> None:
    table.set_rows([run("a", created="yesterday")])
    assert texts(table, "a")[Column.CREATED] == "yesterday"


def test_it_says_what_to_do_while_it_is_empty(qtbot) -> None:
    table = RunTable()
    qtbot.addWidget(table)
    table.show()
    assert table.view.empty_text == "No runs yet: press Train."
    empty = table.view.viewport().grab().toImage()
    table.set_rows(FIVE)
    table.filter_line.setText("nothing like that")
    assert table.visible_keys() == []
    assert "nothing like that" in table.view.accessibleDescription()
    assert table.view.viewport().grab().toImage() != empty
    table.filter_line.clear()
    assert table.visible_keys() == list("abcde") and table.view.accessibleDescription() == ""


def test_it_leaves_the_settings_the_room_that_is_left(table) -> None:
    header = table.view.header()
    for width in (1200, 1500):
        table.resize(width, 320)
        QApplication.processEvents()
        assert header.length() == table.view.viewport().width()
    table.resize(500, 320)
    QApplication.processEvents()
    assert header.sectionSize(Column.DIFFERING) >= 150


# New rows


def test_only_changed_rows_are_told(table) -> None:
    rows = [run(str(number), best=float("nan")) for number in range(1000)]
    table.set_rows(rows)
    changes = Changes(table.view.model().sourceModel())
    table.set_rows([run(str(number), best=float("nan")) for number in range(1000)])
    assert changes.rows == set() and changes.structure == 0
    rows[400] = replace(rows[400], step=101)
    rows[700] = replace(rows[700], name="other")
    table.set_rows(rows)
    assert changes.rows == {400, 700} and changes.structure == 0


def test_a_row_that_comes_or_goes_leaves_the_others_alone(table) -> None:
    changes = Changes(table.view.model().sourceModel())
    table.set_rows([run("new"), *FIVE])
    table.set_rows(FIVE)
    assert changes.structure == 2 and changes.rows == set()


keys_lists = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(before=keys_lists, after=keys_lists)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_stay_themselves_through_any_change(qapp, before: list[str], after: list[str]) -> None:
    model = RunsModel()
    model.set_rows(run(key) for key in before)
    kept = {key: QPersistentModelIndex(model.index(row, Column.NAME)) for row, key in enumerate(before)}
    model.set_rows(run(key, step=7) for key in after)
    assert [row.key for row in model.rows] == after and {row.step for row in model.rows} <= {7}
    for key, index in kept.items():
        assert index.isValid() == (key in after)
        assert not index.isValid() or model.rows[index.row()].key == key
    model.deleteLater()


def test_two_rows_of_one_key_are_refused(table) -> None:
    with pytest.raises(ValueError, match="same key"):
        table.set_rows([run("a"), run("a")])


def test_selection_and_place_survive_updates(table) -> None:
    rows = [run(f"{number:03}") for number in range(200)]
    table.set_rows(rows)
    table.select(["120"])
    bar = table.view.verticalScrollBar()
    QApplication.processEvents()
    assert bar.value() > 0
    place = cell(table, "120")
    table.heard.clear()
    table.set_rows([run("new"), *(replace(row, step=row.step + 1) for row in rows)])
    QApplication.processEvents()
    assert table.selected() == ["120"] and table.heard.of("selection_changed") == []
    assert cell(table, "120") == place
    table.set_rows(rows[:100])
    assert table.selected() == []
    assert table.heard.of("selection_changed") == [([],)]


def test_what_is_typed_survives_updates(table) -> None:
    table.view.setFocus()
    table.select(["a"])
    QTest.keyClick(table.view, Qt.Key.Key_F2)
    editor = table.view.viewport().findChild(QLineEdit)
    QTest.keyClicks(editor, "spiral")
    table.set_rows([replace(row, step=row.step + 1) for row in FIVE])
    QTest.keyClick(editor, Qt.Key.Key_Return)
    # Qt hands the text over in its next round.
    QApplication.processEvents()
    assert table.heard.of("rename_requested") == [("a", "spiral")]


# Order and filter


def order(table: RunTable, column: Column) -> list[str]:
    """Click on the head of a column; the runs from the top."""
    header = table.view.header()
    place = QPoint(header.sectionViewportPosition(column) + header.sectionSize(column) // 2, 10)
    QTest.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
    return table.visible_keys()


def test_a_click_on_the_head_sorts_and_the_third_goes_back(table) -> None:
    assert order(table, Column.BEST) == ["c", "d", "a", "e", "b"]
    # Without a value is last, whichever way.
    assert order(table, Column.BEST) == ["e", "a", "d", "c", "b"]
    assert order(table, Column.BEST) == ["a", "b", "c", "d", "e"]
    assert order(table, Column.NAME) == ["e", "c", "d", "a", "b"]
    assert order(table, Column.STEP)[-1] == "e"
    assert order(table, Column.SHOWN)[-1] == "c"


def test_sorted_rows_find_their_new_place(table) -> None:
    order(table, Column.STEP)
    assert table.visible_keys()[0] == "d"
    table.set_rows([replace(row, step=5000) if row.key == "d" else row for row in FIVE])
    assert table.visible_keys()[-1] == "d"


def test_the_keyboard_sorts_by_the_menu(table) -> None:
    table.menu.popup(table.mapToGlobal(table.rect().center()))
    action = next(action for action in table.sort_menu.actions() if action.text() == "Step")
    action.trigger()
    assert table.visible_keys()[-1] == "e"
    action.trigger()
    assert table.visible_keys()[0] == "e"
    table.sort_menu.actions()[0].trigger()
    assert table.visible_keys() == list("abcde")
    table.menu.close()


@pytest.mark.parametrize(
    ("typed", "found"),
    [("swiss", "ab"), ("BATCH 128", "c"), ("128 size", "c"), ("talk", "d"), ("", "abcde"), ("3.14", "")],
)
def test_runs_are_found_by_name_settings_and_note(table, typed: str, found: str) -> None:
    QTest.keyClicks(table.filter_line, typed)
    assert table.visible_keys() == list(found)


def test_keys_lead_from_the_filter_into_the_list_and_back(table) -> None:
    table.filter_line.setFocus()
    QTest.keyClicks(table.filter_line, "deep")
    QTest.keyClick(table.filter_line, Qt.Key.Key_Down)
    assert QApplication.focusWidget() is table.view and table.selected() == ["c"]
    table.filter_line.setFocus()
    QTest.keyClick(table.filter_line, Qt.Key.Key_Escape)
    assert table.filter_line.text() == "" and table.visible_keys() == list("abcde")


def test_columns_are_remembered(table, qtbot) -> None:
    order(table, Column.BEST)
    header = table.view.header()
    header.resizeSection(Column.NAME, 222)
    header.moveSection(header.visualIndex(Column.STATE), 0)
    state = table.save_state()
    other = RunTable()
    qtbot.addWidget(other)
    other.set_rows(FIVE)
    assert other.restore_state(state)
    assert other.view.header().sectionSize(Column.NAME) == 222
    assert other.view.header().visualIndex(Column.STATE) == 0
    assert other.visible_keys() == ["c", "d", "a", "e", "b"]


@pytest.mark.parametrize("text", ["", "nonsense!", "é", base64.b64encode(b"\x00" * 300).decode()])
def test_a_state_that_is_none_changes_nothing(table, text: str) -> None:
    before = table.save_state()
    assert not table.restore_state(text)
    assert table.save_state() == before


# The hand


def test_a_click_on_the_eye_shows_and_hides_and_selects_nothing(table) -> None:
    table.select(["a"])
    table.heard.clear()
    click(table, "c", Column.SHOWN)
    click(table, "d", Column.SHOWN)
    assert table.heard == [("shown_toggled", "c", True), ("shown_toggled", "d", False)]
    # The owner decides: until then nothing has changed.
    assert table.rows() == FIVE


def test_quick_clicks_on_the_eye_are_clicks(table) -> None:
    click(table, "c", Column.SHOWN)
    place = cell(table, "c", Column.SHOWN)
    QTest.mouseDClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    QTest.mouseRelease(table.view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert table.heard == [("shown_toggled", "c", True)] * 2


def test_space_shows_and_hides_and_does_not_train(qtbot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    table = RunTable(window)
    QVBoxLayout(window).addWidget(table)
    table.set_rows(FIVE)
    trained = []
    QShortcut(Qt.Key.Key_Space, window).activated.connect(lambda: trained.append(1))
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    heard = Heard(table)
    table.view.setFocus()
    table.select(["b", "c"])
    QTest.keyClick(table.view, Qt.Key.Key_Space)
    # Both are shown then: only the hidden one changes.
    assert heard.of("shown_toggled") == [("c", True)]
    table.select(["a"])
    QTest.keyClick(table.view, Qt.Key.Key_Space)
    assert heard.of("shown_toggled")[1:] == [("a", False)]
    assert trained == []


def test_the_colour_is_chosen_from_a_menu_at_the_colour(table) -> None:
    click(table, "d", Column.COLOR)
    assert table.colors_menu.isVisible()
    QTest.keyClick(table.colors_menu, Qt.Key.Key_Down)
    QTest.keyClick(table.colors_menu, Qt.Key.Key_Down)
    QTest.keyClick(table.colors_menu, Qt.Key.Key_Return)
    assert table.heard == [("color_chosen", "d", 1)]


def test_names_are_edited_in_place(table) -> None:
    table.view.setFocus()
    table.select(["c"])
    QTest.keyClick(table.view, Qt.Key.Key_F2)
    editor = table.view.viewport().findChild(QLineEdit)
    assert editor.text() == "deep"
    QTest.keyClicks(editor, " deeper ")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    # Qt hands the text over in its next round.
    QApplication.processEvents()
    assert table.heard.of("rename_requested") == [("c", "deeper")]


@pytest.mark.parametrize("typed", ["", "   ", "deep"])
def test_no_name_and_the_same_name_are_no_names(table, typed: str) -> None:
    table.view.setFocus()
    table.select(["c"])
    QTest.keyClick(table.view, Qt.Key.Key_F2)
    editor = table.view.viewport().findChild(QLineEdit)
    editor.clear()
    QTest.keyClicks(editor, typed)
    QTest.keyClick(editor, Qt.Key.Key_Return)
    # Qt hands the text over in its next round.
    QApplication.processEvents()
    assert table.heard.of("rename_requested") == []


def test_enter_and_double_click_open(table) -> None:
    table.view.setFocus()
    click(table, "b")
    QTest.keyClick(table.view, Qt.Key.Key_Return)
    QTest.mouseDClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=cell(table, "d"))
    assert table.heard.of("open_requested") == [("b",), ("d",)]
    assert table.view.viewport().findChild(QLineEdit) is None


def test_selecting_by_mouse_and_keys_is_told_from_the_top(table) -> None:
    click(table, "d")
    click(table, "a", keys=Qt.KeyboardModifier.ControlModifier)
    assert table.heard == [("selection_changed", ["d"]), ("selection_changed", ["a", "d"])]
    table.view.setFocus()
    QTest.keyClick(table.view, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert table.heard[-1] == ("selection_changed", list("abcde"))
    QTest.keyClick(table.view, Qt.Key.Key_End)
    assert table.heard[-1] == ("selection_changed", ["e"])


def test_selecting_what_is_selected_tells_nothing(table) -> None:
    table.select(["a", "nobody"])
    table.heard.clear()
    table.select(["a"])
    assert table.heard == [] and table.selected() == ["a"]


# Actions


@pytest.mark.parametrize(
    ("selected", "possible"),
    [
        ("", {"open-zip"}),
        ("a", {"open", "continue", "duplicate", "copy-setup", "folder", "zip", "open-zip", "delete"}),
        ("ab", {"compare", "zip", "open-zip", "delete"}),
        ("abc", {"zip", "open-zip", "delete"}),
    ],
)
def test_the_number_of_selected_runs_says_what_can_be_done(table, selected: str, possible: set) -> None:
    table.select(selected)
    table.heard.clear()
    for action in table.table_actions():
        action.trigger()
    assert {name for name, _ in table.heard.of("action_requested")} == possible
    assert all(keys == list(selected) for _, keys in table.heard.of("action_requested"))


def test_buttons_ask_for_their_action(table) -> None:
    table.select("ce")
    QTest.mouseClick(table.buttons["open"], Qt.MouseButton.LeftButton)
    QTest.mouseClick(table.buttons["compare"], Qt.MouseButton.LeftButton)
    assert table.heard.of("action_requested") == [("compare", ["c", "e"])]


def test_delete_belongs_to_the_list_and_not_to_the_fields(table) -> None:
    table.select("b")
    table.note_line.setFocus()
    QTest.keyClick(table.note_line, Qt.Key.Key_Delete)
    assert table.heard.of("action_requested") == []
    table.view.setFocus()
    QTest.keyClick(table.view, Qt.Key.Key_Delete)
    assert table.heard.of("action_requested") == [("delete", ["b"])]


def test_the_menu_opens_by_mouse_and_by_key(table) -> None:
    place = cell(table, "c", Column.DIFFERING)
    click(table, "c", button=Qt.MouseButton.RightButton)
    for reason in (QContextMenuEvent.Reason.Mouse, QContextMenuEvent.Reason.Keyboard):
        event = QContextMenuEvent(reason, place, table.view.viewport().mapToGlobal(place))
        QApplication.sendEvent(table.view.viewport(), event)
        assert table.menu.isVisible()
        texts = [action.text() for action in table.menu.actions()]
        assert {"Open", "Train On", "Use Its Settings", "Colour", "Rename", "Delete"} <= set(texts)
        assert not table.show_action.isChecked()
        table.menu.close()
    assert table.selected() == ["c"]


# The note


def test_the_note_of_the_selected_run_is_written_below(table) -> None:
    assert not table.note_line.isEnabled()
    table.select("d")
    assert table.note_line.text() == "for the talk"
    table.note_line.setFocus()
    table.note_line.selectAll()
    QTest.keyClicks(table.note_line, "best so far")
    assert table.heard.of("note_requested") == []
    QTest.keyClick(table.note_line, Qt.Key.Key_Return)
    assert table.heard.of("note_requested") == [("d", "best so far")]
    table.select("ad")
    assert not table.note_line.isEnabled() and table.note_line.text() == ""


def test_a_note_is_kept_when_another_run_is_clicked(table) -> None:
    table.select("d")
    table.note_line.setFocus()
    QTest.keyClick(table.note_line, Qt.Key.Key_End)
    QTest.keyClicks(table.note_line, "!")
    click(table, "a")
    table.select("a")
    assert table.heard.of("note_requested") == [("d", "for the talk!")]
    assert table.note_line.text() == ""


def test_escape_takes_a_note_back(table) -> None:
    table.select("d")
    table.note_line.setFocus()
    QTest.keyClick(table.note_line, Qt.Key.Key_End)
    QTest.keyClicks(table.note_line, "!")
    QTest.keyClick(table.note_line, Qt.Key.Key_Escape)
    assert table.note_line.text() == "for the talk" and QApplication.focusWidget() is table.view
    assert table.heard.of("note_requested") == []


def test_updates_do_not_take_away_what_is_being_written(table) -> None:
    table.select("d")
    table.note_line.setFocus()
    QTest.keyClick(table.note_line, Qt.Key.Key_End)
    QTest.keyClicks(table.note_line, "!")
    table.set_rows([replace(row, step=row.step + 1) for row in FIVE])
    assert table.note_line.text() == "for the talk!"
    QTest.keyClick(table.note_line, Qt.Key.Key_Return)
    table.set_rows([replace(row, note="from elsewhere") for row in FIVE])
    assert table.note_line.text() == "from elsewhere"


# Look


def test_the_tab_key_reaches_everything(table) -> None:
    table.select("a")
    table.filter_line.setFocus()
    reached = []
    for _ in range(7):
        reached.append(QApplication.focusWidget())
        QTest.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    for part in (table.filter_line, table.view, table.note_line, table.buttons["open"], table.more_button):
        assert part in reached
    assert all(part.accessibleName() for part in (table.filter_line, table.view, table.note_line))


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_both_themes(qtbot, qapp, mode: str) -> None:
    manager = ThemeManager(qapp, mode)
    table = RunTable()
    qtbot.addWidget(table)
    table.set_rows(FIVE)
    table.resize(640, 300)
    table.show()
    table.select("b")
    before = table.grab().toImage()
    manager.set_mode("dark" if mode == "light" else "light")
    after = table.grab().toImage()
    assert before.pixelColor(2, 2) != after.pixelColor(2, 2)
    shiboken6.delete(manager)


def test_branches_stand_below_their_origin_until_sorted(table) -> None:
    table.view.selectionModel().clear()
    name = table.view.visualRect(table.view.model().index(1, Column.NAME))
    indented = table.view.viewport().grab(name).toImage()
    order(table, Column.CREATED)
    QApplication.processEvents()
    assert table.view.viewport().grab(name).toImage() != indented


def test_it_is_destroyed(qtbot) -> None:
    table = RunTable()
    table.set_rows(FIVE)
    with qtbot.waitSignal(table.destroyed):
        table.deleteLater()
