"""The list of a paper's runs: shown or not, their colours, names, settings and results; runs on the GUI thread.

The table decides nothing: it shows plain rows and says what the person asks for, and whoever owns it sets new rows.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from functools import lru_cache

from PySide6.QtCore import (
    QAbstractTableModel,
    QByteArray,
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPoint,
    QPointF,
    QRect,
    QRectF,
    QSize,
    QSortFilterProxyModel,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QContextMenuEvent,
    QIcon,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QMenu,
    QSizePolicy,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QTreeView,
    QVBoxLayout,
    QWidget,
)

from widgets.fields import CommitLineEdit
from widgets.icons import icon, pixmap
from widgets.look import current_theme, text_width
from widgets.theme import Theme
from widgets.transport import STATE_WORDS, paint_state, time_text

COLOR_NAMES = ("Blue", "Orange", "Green", "Pink", "Light Blue", "Vermilion", "Yellow", "Black")
"""What the eight categories of the theme are called; the last one is white on dark ground."""

INDENT = 14
"""Pixels that a branch stands further to the right than what it branched off."""

DEEPEST = 5
"""Branches of branches beyond which names stand no further to the right."""

Index = QModelIndex | QPersistentModelIndex


class Column(IntEnum):
    """The columns from the left."""

    SHOWN = 0
    COLOR = 1
    NAME = 2
    DIFFERING = 3
    BEST = 4
    STEP = 5
    SEED = 6
    TIME = 7
    STATE = 8
    CREATED = 9


_TITLES = {
    Column.SHOWN: "Shown",
    Column.COLOR: "Colour",
    Column.NAME: "Name",
    Column.DIFFERING: "Settings that differ",
    Column.BEST: "Best",
    Column.STEP: "Step",
    Column.SEED: "Seed",
    Column.TIME: "Time",
    Column.STATE: "State",
    Column.CREATED: "Created",
}
_SAMPLES = {
    Column.NAME: "└ a name of some length",
    Column.BEST: "−0.00000",
    Column.STEP: "000,000",
    Column.SEED: "Seed 0",
    Column.TIME: "0:00:00",
    Column.STATE: "XX Stopping",
    Column.CREATED: "2026-00-00 00:00",
}
"""What columns have room for at first."""

_NARROW = 34
"""Width of the columns that hold a sign alone, in pixels."""
_LEAST_DIFFERING = 150

_NUMBERS = (Column.BEST, Column.STEP, Column.SEED, Column.TIME)


@dataclass(frozen=True)
class TableRun:
    """One row.

    Attributes
    ----------
    key : str
        Tells runs apart.
    name : str
    role : str
        Role of its colour in pictures: ``category-0`` to ``category-7``.
    shown : bool
        Whether it is drawn in the curves.
    state : str
        A word of `widgets.transport.RunState`; others are shown as they are.
    differing : str
        The settings in which it differs: ``step size 0.0003, batch 128``.
    best : float or None
        Sorted by; ``best_text`` is what is written.
    step, total : int
        ``total`` None when the run has no end.
    seconds : float
    created : str
        ISO 8601.
    seed : int
    depth : int
        How many branches it is away from a run of its own.
    note : str
    relation_text : str
        Where it comes from: ``from step 500 of swiss roll``.
    problem : str
        A sentence on what is wrong with it.
    """

    key: str
    name: str
    role: str
    shown: bool
    state: str
    differing: str
    best: float | None
    best_text: str
    step: int
    total: int | None
    seconds: float
    created: str
    seed: int
    depth: int = 0
    note: str = ""
    relation_text: str = ""
    problem: str = ""

    @property
    def fraction(self) -> float | None:
        """In 0..1: how far it is, if that is known."""
        return min(self.step / self.total, 1.0) if self.total else None


def color_name(role: str, theme: Theme) -> str:
    """What the colour of a role ``category-N`` is called in a theme."""
    number = _color_number(role)
    return "White" if theme.is_dark and number == len(COLOR_NAMES) - 1 else COLOR_NAMES[number]


def _color_number(role: str) -> int:
    return int(role.removeprefix("category-")) % len(COLOR_NAMES)


@lru_cache(maxsize=4096)
def created_text(created: str) -> str:
    """A moment in ISO 8601 as date and time of the day here; as it is if it is none."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    # What has no zone is taken for local time, as the clock on the wall.
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


class RunsModel(QAbstractTableModel):
    """The runs, in the order that was given.

    Signals
    -------
    rename_requested(str, str)
        Key of a run, and the name that was typed.
    """

    ROW_ROLE = Qt.ItemDataRole.UserRole + 1

    rename_requested = Signal(str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[TableRun] = []
        self._headline = ""

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(Column)

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemNeverHasChildren
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == Column.NAME else flags

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(row, column)
        if role == self.ROW_ROLE:
            return row
        if role == Qt.ItemDataRole.EditRole:
            return row.name if column == Column.NAME else None
        if role == Qt.ItemDataRole.TextAlignmentRole and column in _NUMBERS:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tool_tip(row, column)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return _spoken(row, column)
        return None

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.EditRole or index.column() != Column.NAME:
            return False
        row, name = self.rows[index.row()], str(value).strip()
        if name and name != row.name:
            self.rename_requested.emit(row.key, name)
        return True

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = Column(section)
        title = self._headline if column == Column.BEST and self._headline else _TITLES[column]
        if role == Qt.ItemDataRole.DisplayRole:
            return "" if column in (Column.SHOWN, Column.COLOR) else title
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            return title
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column in _NUMBERS else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def title(self, column: Column) -> str:
        """What a column is called."""
        return str(self.headerData(column, Qt.Orientation.Horizontal, Qt.ItemDataRole.AccessibleTextRole))

    def set_headline(self, label: str) -> None:
        """Call the best value this."""
        if label != self._headline:
            self._headline = label
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, Column.BEST, Column.BEST)

    def set_rows(self, rows: Iterable[TableRun]) -> bool:
        """Have these rows; rows of the same key stay the same row. Whether anything changed.

        Raises
        ------
        ValueError
            When two rows have one key.
        """
        now = [_without_nan(row) for row in rows]
        if now == self.rows:
            return False
        wanted = {row.key: row for row in now}
        if len(wanted) < len(now):
            raise ValueError("two rows of the list of runs have the same key")
        self._remove(wanted)
        self._reorder(wanted)
        self._insert(now)
        for number, row in enumerate(now):
            before = self.rows[number]
            if row != before:
                self.rows[number] = row
                if (row.shown, row.role) != (before.shown, before.role):
                    self._tell(number, Column.SHOWN, Column.COLOR)
                # On its own: a name that is being typed would be put back by any change that includes it.
                if (row.name, row.depth) != (before.name, before.depth):
                    self._tell(number, Column.NAME, Column.NAME)
                self._tell(number, Column.DIFFERING, Column.CREATED)
        return True

    def _tell(self, row: int, first: Column, last: Column) -> None:
        self.dataChanged.emit(self.index(row, first), self.index(row, last))

    def _remove(self, wanted: dict[str, TableRun]) -> None:
        stop = len(self.rows)
        while stop:
            start = stop
            while start and self.rows[start - 1].key not in wanted:
                start -= 1
            if start < stop:
                self.beginRemoveRows(QModelIndex(), start, stop - 1)
                del self.rows[start:stop]
                self.endRemoveRows()
            stop = start - 1 if start else 0

    def _reorder(self, wanted: dict[str, TableRun]) -> None:
        places = {key: place for place, key in enumerate(wanted)}
        order = sorted(range(len(self.rows)), key=lambda number: places[self.rows[number].key])
        if order == list(range(len(order))):
            return
        self.layoutAboutToBeChanged.emit()
        moved = {old: new for new, old in enumerate(order)}
        before = self.persistentIndexList()
        self.rows = [self.rows[number] for number in order]
        after = [self.index(moved[index.row()], index.column()) for index in before]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _insert(self, now: Sequence[TableRun]) -> None:
        number = 0
        while number < len(now):
            stop = number
            there = self.rows[number].key if number < len(self.rows) else None
            while stop < len(now) and now[stop].key != there:
                stop += 1
            if stop > number:
                self.beginInsertRows(QModelIndex(), number, stop - 1)
                self.rows[number:number] = now[number:stop]
                self.endInsertRows()
            number = stop + 1


def _without_nan(row: TableRun) -> TableRun:
    # NaN differs from itself, and would be a change each time.
    return replace(row, best=None) if row.best is not None and math.isnan(row.best) else row


def _text(row: TableRun, column: int) -> str:
    match column:
        case Column.NAME:
            return row.name
        case Column.DIFFERING:
            return row.problem or " · ".join(filter(None, (row.relation_text, row.differing)))
        case Column.BEST:
            return row.best_text
        case Column.STEP:
            return f"{row.step:,}"
        case Column.SEED:
            return str(row.seed)
        case Column.TIME:
            return time_text(row.seconds)
        case Column.STATE:
            return STATE_WORDS.get(row.state, row.state)  # type: ignore[call-overload]
        case Column.CREATED:
            return created_text(row.created)
    return ""


def _spoken(row: TableRun, column: int) -> str:
    match column:
        case Column.SHOWN:
            return "shown in the curves" if row.shown else "not shown in the curves"
        case Column.COLOR:
            return color_name(row.role, current_theme())
        case Column.NAME:
            return ", ".join(filter(None, (row.name, row.relation_text, row.problem)))
    return _text(row, column)


def _tool_tip(row: TableRun, column: int) -> str:
    match column:
        case Column.SHOWN:
            return "Hide in the curves (Space)" if row.shown else "Show in the curves (Space)"
        case Column.COLOR:
            return f"{color_name(row.role, current_theme())}: click for another colour"
        case Column.STEP if row.total:
            return f"{row.step:,} of {row.total:,}"
    return "\n".join(filter(None, (row.name, row.relation_text, row.differing, row.note, row.problem)))


def _sort_value(row: TableRun, column: int) -> object:
    """What a column is sorted by; None always comes last."""
    match column:
        case Column.SHOWN:
            return not row.shown
        case Column.COLOR:
            return _color_number(row.role)
        case Column.NAME:
            return row.name.casefold()
        case Column.BEST:
            return row.best
        case Column.STEP:
            return row.step
        case Column.SEED:
            return row.seed
        case Column.TIME:
            return row.seconds
    return _text(row, column) or None


class _SortedRuns(QSortFilterProxyModel):
    """The runs that fit what was typed, in the order that was clicked."""

    def __init__(self, model: RunsModel, parent: QObject) -> None:
        super().__init__(parent)
        self._model = model
        self._words: list[str] = []
        self.setSourceModel(model)

    def set_pattern(self, text: str) -> None:
        """Let only runs through that have every word in name, settings or note."""
        self._words = text.casefold().split()
        self.setFilterFixedString(text)

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        if not self._words:
            return True
        row = self._model.rows[source_row]
        text = "\n".join((row.name, row.differing, row.relation_text, row.note)).casefold()
        return all(word in text for word in self._words)

    def lessThan(self, left: Index, right: Index) -> bool:
        rows, column = self._model.rows, left.column()
        first, second = (_sort_value(rows[index.row()], column) for index in (left, right))
        if first is None or second is None:
            # Qt turns the answer round for a descending order, and None is to be last all the same.
            ascending = self.sortOrder() == Qt.SortOrder.AscendingOrder
            return first is not second and (second if ascending else first) is None
        return first < second  # type: ignore[operator]


class RunDelegate(QStyledItemDelegate):
    """Draws what is more than text: the eye, the colour, branches, problems and states.

    Attributes
    ----------
    is_tree : bool
        Whether branches stand below what they branched off, so that names are moved to the right.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.is_tree = True

    def initStyleOption(self, option: QStyleOptionViewItem, index: Index) -> None:
        super().initStyleOption(option, index)
        row: TableRun = index.data(RunsModel.ROW_ROLE)
        ratio = option.widget.devicePixelRatioF() if option.widget is not None else 1.0
        theme = current_theme()
        if index.column() == Column.NAME:
            # Names of sister runs differ at their ends.
            option.textElideMode = Qt.TextElideMode.ElideMiddle
        if index.column() == Column.STATE:
            # A ring moves in steps one can see.
            fraction = None if row.fraction is None else round(row.fraction, 2)
            _decorate(option, _state_picture(row.state, fraction, ratio))
        elif index.column() == Column.DIFFERING and row.problem:
            _decorate(option, pixmap("warning", theme.color("warning_text"), 16, ratio))
        elif index.column() == Column.NAME and row.depth > 0 and self.is_tree:
            _decorate(option, _branch_picture(min(row.depth, DEEPEST), ratio))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        super().paint(painter, option, index)
        column = index.column()
        if column not in (Column.SHOWN, Column.COLOR):
            return
        row: TableRun = index.data(RunsModel.ROW_ROLE)
        theme, rect = current_theme(), option.rect
        if column == Column.COLOR:
            paint_swatch(painter, QRectF(rect).center(), theme, row.role, filled=row.shown)
            return
        ratio = painter.device().devicePixelRatioF()
        name, color = ("eye", "text") if row.shown else ("eye-off", "muted")
        picture = pixmap(name, theme.color(color), 16, ratio)
        painter.drawPixmap(QPointF(rect.center().x() - 7, rect.center().y() - 7), picture)

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        super().updateEditorGeometry(editor, option, index)
        # As high as the row: it needs more than the text, and would reach into the next row.
        place = editor.geometry()
        editor.setGeometry(place.left(), option.rect.top(), place.width(), option.rect.height())


def _decorate(option: QStyleOptionViewItem, picture: QPixmap) -> None:
    option.features |= QStyleOptionViewItem.ViewItemFeature.HasDecoration
    sign = QIcon(picture)
    # Without a picture of its own, Qt would wash out the sign of a selected row.
    sign.addPixmap(picture, QIcon.Mode.Selected)
    option.icon = sign
    option.decorationSize = picture.deviceIndependentSize().toSize()


def _canvas(width: int, height: int, ratio: float) -> QPixmap:
    picture = QPixmap(round(width * ratio), round(height * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    return picture


def _state_picture(state: str, fraction: float | None, ratio: float) -> QPixmap:
    picture = _canvas(14, 14, ratio)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    paint_state(painter, state, QPointF(7, 7), fraction)
    painter.end()
    return picture


def _branch_picture(depth: int, ratio: float) -> QPixmap:
    """A corner that leads from what is above to the name."""
    width = INDENT * depth
    picture = _canvas(width, 16, ratio)
    painter = QPainter(picture)
    painter.setPen(QPen(current_theme().color("muted"), 1))
    left = width - INDENT + 3.5
    painter.drawPolyline([QPointF(left, 0), QPointF(left, 8.5), QPointF(width - 2, 8.5)])
    painter.end()
    return picture


def paint_swatch(painter: QPainter, center: QPointF, theme: Theme, role: str, *, filled: bool = True) -> None:
    """Draw the sample of a run's colour, 12 pixels across; an outline alone for a run that is not shown."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    area = QRectF(center.x() - 5.5, center.y() - 5.5, 11, 11)
    if filled:
        # Yellow on white is seen by its edge.
        painter.setPen(QPen(theme.color("field_border"), 1))
        painter.setBrush(theme.color(role))
    else:
        painter.setPen(QPen(theme.color(role), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        area.adjust(0.5, 0.5, -0.5, -0.5)
    painter.drawRoundedRect(area, 3, 3)
    painter.restore()


class RunsView(QTreeView):
    """The table itself: a tree view without branches, as rows are chosen as a whole.

    Attributes
    ----------
    empty_text : str
        Stands in the middle; empty while there are rows.

    Signals
    -------
    sign_clicked(QModelIndex)
        The eye or the colour of a run; the selection stays as it is.
    open_requested(QModelIndex)
        Double click or Enter.
    space_pressed()
    menu_requested(QPoint)
        Where, on the screen.
    resized()
    """

    sign_clicked = Signal(QModelIndex)
    open_requested = Signal(QModelIndex)
    space_pressed = Signal()
    menu_requested = Signal(QPoint)
    resized = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.empty_text = ""
        self._pressed = QPersistentModelIndex()
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setItemsExpandable(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.SelectedClicked)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setMouseTracking(True)

    def event(self, event: QEvent) -> bool:
        # The window has Space for training; in the list it shows and hides.
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.modifiers() == Qt.KeyboardModifier.NoModifier
            and event.key() == Qt.Key.Key_Space
        ):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.open_requested.emit(self.currentIndex())
        elif event.key() == Qt.Key.Key_Space and event.modifiers() == Qt.KeyboardModifier.NoModifier:
            self.space_pressed.emit()
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if not self._press_sign(event):
            super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self._press_sign(event):
            return
        super().mouseDoubleClickEvent(event)
        index = self.indexAt(event.position().toPoint())
        if event.button() == Qt.MouseButton.LeftButton and index.isValid():
            self.open_requested.emit(index)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if not self._pressed.isValid():
            super().mouseReleaseEvent(event)
            return
        index = self.indexAt(event.position().toPoint())
        same = QPersistentModelIndex(index) == self._pressed
        self._pressed = QPersistentModelIndex()
        event.accept()
        if same:
            self.sign_clicked.emit(index)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        # A drag from a sign must not select.
        if not self._pressed.isValid():
            super().mouseMoveEvent(event)

    def _press_sign(self, event: QMouseEvent) -> bool:
        index = self.indexAt(event.position().toPoint())
        is_sign = (
            event.button() == Qt.MouseButton.LeftButton
            and event.modifiers() == Qt.KeyboardModifier.NoModifier
            and index.isValid()
            and index.column() in (Column.SHOWN, Column.COLOR)
        )
        self._pressed = QPersistentModelIndex(index) if is_sign else QPersistentModelIndex()
        if is_sign:
            event.accept()
        return is_sign

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        place = event.globalPos()
        if event.reason() == QContextMenuEvent.Reason.Keyboard:
            row = self.visualRect(self.currentIndex().siblingAtColumn(Column.NAME))
            place = self.viewport().mapToGlobal(row.bottomLeft())
        self.menu_requested.emit(place)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()

    def currentChanged(self, current: Index, previous: Index) -> None:
        super().currentChanged(current, previous)
        # Qt repaints two cells, and the frame goes around whole rows.
        self.viewport().update()

    def drawRow(self, painter: QPainter, options: QStyleOptionViewItem, index: Index) -> None:
        super().drawRow(painter, options, index)
        if self.hasFocus() and index.row() == self.currentIndex().row():
            painter.save()
            painter.setPen(QPen(current_theme().color("focus"), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            rect: QRect = options.rect
            across = QRect(0, rect.top(), self.viewport().width(), rect.height())
            painter.drawRect(across.adjusted(0, 0, -1, -1))
            painter.restore()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.empty_text:
            painter = QPainter(self.viewport())
            painter.setPen(current_theme().color("muted"))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.viewport().rect().adjusted(16, 8, -16, -8), flags, self.empty_text)


@dataclass(frozen=True)
class _Entry:
    """An action of the table: how many runs must be selected for it, at least and at most."""

    name: str
    text: str
    tip: str
    least: int
    most: float
    icon: str = ""


_ENTRIES = (
    _Entry("open", "Open", "Open this run (Enter)", 1, 1, "file"),
    _Entry("continue", "Train On", "Go on with training this run", 1, 1, "play"),
    _Entry("compare", "Compare", "See two runs side by side: select both with Ctrl", 2, 2, "compare"),
    _Entry("duplicate", "Use Its Settings", "A new run with the settings of this one", 1, 1),
    _Entry("copy-setup", "Copy Setup", "Settings, seed and versions as text on the clipboard", 1, 1),
    _Entry("folder", "Show Folder", "Show the files of this run", 1, 1),
    _Entry("zip", "Save as Zip…", "All files of the run in one", 1, math.inf),
    _Entry("open-zip", "Open Zip…", "Add a run that was saved as a zip file", 0, math.inf),
    _Entry("delete", "Delete", "Delete these runs", 1, math.inf),
)


class RunTable(QWidget):
    """The runs of a paper: to be found, looked at, named, compared, gone on with.

    Signals
    -------
    shown_toggled(str, bool)
        Key of a run, and whether its curves are to be drawn.
    rename_requested(str, str), note_requested(str, str)
        Key of a run, and what was typed.
    color_chosen(str, int)
        Key of a run, and the number of the category.
    selection_changed(list)
        Keys of the selected runs, from the top.
    open_requested(str)
        Double click or Enter.
    action_requested(str, list)
        ``open``, ``continue``, ``compare``, ``duplicate``, ``copy-setup``, ``folder``, ``zip``, ``delete``,
        ``open-zip``, and the keys of the selected runs from the top.
    """

    shown_toggled = Signal(str, bool)
    rename_requested = Signal(str, str)
    note_requested = Signal(str, str)
    color_chosen = Signal(str, int)
    selection_changed = Signal(list)
    open_requested = Signal(str)
    action_requested = Signal(str, list)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._told: list[str] = []
        self._noted = ""
        self._shown_note = ""
        self._color_keys: list[str] = []
        self._fitting = False
        self._model = RunsModel(self)
        self._model.rename_requested.connect(self.rename_requested)
        self._runs = _SortedRuns(self._model, self)
        self._make_view()
        self._make_actions()
        self._set_up()
        self._paint_icons()
        self._follow_selection()

    def sizeHint(self) -> QSize:
        return QSize(900, 320)

    def minimumSizeHint(self) -> QSize:
        return QSize(360, 180)

    def _make_view(self) -> None:
        self.view = RunsView(self)
        self.view.setModel(self._runs)
        self.view.setAccessibleName("Runs")
        self._delegate = RunDelegate(self.view)
        for column in (Column.SHOWN, Column.COLOR, Column.NAME, Column.DIFFERING, Column.STATE):
            self.view.setItemDelegateForColumn(column, self._delegate)
        header = self.view.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(_NARROW)
        header.setTextElideMode(Qt.TextElideMode.ElideRight)
        header.setFirstSectionMovable(True)
        header.setSortIndicatorClearable(True)
        for column in Column:
            sample = _SAMPLES.get(column)
            width = text_width(self.view, sample) + 22 if sample else _NARROW
            header.resizeSection(column, width)
        for column in (Column.SHOWN, Column.COLOR):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.view.setSortingEnabled(True)
        header.sortIndicatorChanged.connect(self._on_header_sort_indicator_changed)
        header.sectionResized.connect(self._on_header_section_resized)
        self.view.resized.connect(self._on_view_resized)
        self.view.sign_clicked.connect(self._on_view_sign_clicked)
        self.view.open_requested.connect(self._on_view_open_requested)
        self.view.space_pressed.connect(self._on_view_space_pressed)
        self.view.menu_requested.connect(self._on_view_menu_requested)
        self.view.selectionModel().selectionChanged.connect(self._on_selection_changed)

    def _make_actions(self) -> None:
        self._group = QActionGroup(self)
        self._group.setExclusionPolicy(QActionGroup.ExclusionPolicy.None_)
        self._group.triggered.connect(self._on_group_triggered)
        self.actions_by_name: dict[str, QAction] = {}
        for entry in _ENTRIES:
            action = QAction(entry.text, self._group)
            action.setObjectName(f"runs.{entry.name}")
            action.setData(entry.name)
            action.setToolTip(entry.tip)
            action.setIconVisibleInMenu(False)
            self.actions_by_name[entry.name] = action
        self.show_action = QAction("Show in Curves", self)
        self.show_action.setCheckable(True)
        self.show_action.setShortcut(QKeySequence(Qt.Key.Key_Space))
        self.show_action.triggered.connect(self._on_view_space_pressed)
        self.rename_action = QAction("Rename", self)
        self.rename_action.setShortcut(QKeySequence(Qt.Key.Key_F2))
        self.rename_action.triggered.connect(self._on_rename_action_triggered)
        delete = self.actions_by_name["delete"]
        delete.setShortcut(QKeySequence(QKeySequence.StandardKey.Delete))
        for action in (self.show_action, self.rename_action, delete):
            # In the list alone: in the fields around it, the same keys write.
            action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            self.view.addAction(action)

        self.menu = QMenu(self)
        self.menu.setToolTipsVisible(True)
        self.menu.aboutToShow.connect(self._on_menu_about_to_show)
        self.colors_menu = QMenu("Colour", self)
        self._colors = QActionGroup(self)
        self._colors.triggered.connect(self._on_colors_triggered)
        for number, name in enumerate(COLOR_NAMES):
            action = QAction(name, self._colors)
            action.setData(number)
            self.colors_menu.addAction(action)
        self.sort_menu = QMenu("Sort By", self)
        self._sorts = QActionGroup(self)
        self._sorts.triggered.connect(self._on_sorts_triggered)
        for column in (-1, *Column):
            action = QAction(self._sorts)
            action.setCheckable(True)
            action.setData(int(column))
            self.sort_menu.addAction(action)
        names = self.actions_by_name
        self.menu.addActions([names[name] for name in ("open", "continue", "compare", "duplicate")])
        self.menu.addSeparator()
        self.menu.addAction(self.show_action)
        self.menu.addMenu(self.colors_menu)
        self.menu.addAction(self.rename_action)
        self.menu.addSeparator()
        self.menu.addActions([names[name] for name in ("copy-setup", "folder", "zip", "open-zip")])
        self.menu.addSeparator()
        self.menu.addMenu(self.sort_menu)
        self.menu.addSeparator()
        self.menu.addAction(names["delete"])

    def _set_up(self) -> None:
        self.filter_line = QLineEdit(self)
        self.filter_line.setPlaceholderText("Find a run…")
        self.filter_line.setAccessibleName("Find a run")
        self.filter_line.setClearButtonEnabled(True)
        self.filter_line.setMinimumWidth(120)
        self.filter_line.textChanged.connect(self._on_filter_line_text_changed)
        self.filter_line.installEventFilter(self)
        tools = QHBoxLayout()
        tools.setContentsMargins(0, 0, 0, 0)
        tools.setSpacing(4)
        tools.addWidget(self.filter_line, 1)
        tools.addSpacing(4)
        self.buttons: dict[str, QToolButton] = {}
        for name in ("open", "continue", "compare"):
            button = QToolButton(self)
            button.setDefaultAction(self.actions_by_name[name])
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.setIconSize(QSize(16, 16))
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            self.buttons[name] = button
            tools.addWidget(button)
        self.more_button = QToolButton(self)
        self.more_button.setIconSize(QSize(16, 16))
        self.more_button.setToolTip("More")
        self.more_button.setAccessibleName("More for these runs")
        self.more_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more_button.setMenu(self.menu)
        tools.addWidget(self.more_button)

        self.note_line = CommitLineEdit(self)
        self.note_line.setAccessibleName("Note")
        self.note_line.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.note_line.editingFinished.connect(self._on_note_line_editing_finished)
        self.note_line.installEventFilter(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(6)
        layout.addLayout(tools)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.note_line)
        self.setTabOrder(self.filter_line, self.view)
        self.setTabOrder(self.view, self.note_line)
        self.setTabOrder(self.note_line, self.buttons["open"])
        self.setFocusProxy(self.view)
        self._show_empty_text()

    # What others tell it ------------------------------------------------------------------------------------

    def set_rows(self, rows: Iterable[TableRun]) -> None:
        """Show these runs in this order; what is selected and in sight stays so.

        Raises
        ------
        ValueError
            When two rows have one key.
        """
        anchor, top = self._anchor()
        if not self._model.set_rows(rows):
            return
        if anchor.isValid():
            # Only where rows came or went above; nothing happens else.
            bar = self.view.verticalScrollBar()
            bar.setValue(bar.value() + self.view.visualRect(self._runs.index(anchor.row(), 0)).top() - top)
        self._show_empty_text()
        self._follow_selection()

    def rows(self) -> tuple[TableRun, ...]:
        """All rows, as they were given."""
        return tuple(self._model.rows)

    def visible_keys(self) -> list[str]:
        """Keys of the runs that fit what was typed, from the top."""
        return [self._key(self._runs.index(row, 0)) for row in range(self._runs.rowCount())]

    def set_headline(self, label: str) -> None:
        """Call the column of best values this: ``K, held-out (bits)``."""
        self._model.set_headline(label)
        header = self.view.header()
        needed = min(text_width(self.view, label) + 34, 150)
        if header.sectionSize(Column.BEST) < needed:
            header.resizeSection(Column.BEST, needed)

    def selected(self) -> list[str]:
        """Keys of the selected runs, from the top."""
        indexes = self.view.selectionModel().selectedRows(Column.NAME)
        return [self._key(index) for index in sorted(indexes, key=QModelIndex.row)]

    def select(self, keys: Iterable[str]) -> None:
        """Select these runs, and bring the first of them into sight; those that are not there are left out."""
        wanted, selection = set(keys), QItemSelection()
        first = QModelIndex()
        for row in range(self._runs.rowCount()):
            index = self._runs.index(row, Column.NAME)
            if self._key(index) in wanted:
                selection.select(index, index)
                first = first if first.isValid() else index
        flags = QItemSelectionModel.SelectionFlag
        model = self.view.selectionModel()
        if first.isValid():
            model.setCurrentIndex(first, flags.NoUpdate)
        model.select(selection, flags.ClearAndSelect | flags.Rows)

    def save_state(self) -> str:
        """Widths, order and sorting of the columns, as a text for `restore_state`."""
        return bytes(self.view.header().saveState().toBase64().data()).decode()

    def restore_state(self, text: str) -> bool:
        """Have the columns as they were; False, and nothing changed, if the text is none of `save_state`."""
        try:
            state = base64.b64decode(text.encode(), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return False
        header = self.view.header()
        if not header.restoreState(QByteArray(state)):
            return False
        for column in Column:
            header.setSectionHidden(column, False)
        self._fit()
        return True

    def table_actions(self) -> tuple[QAction, ...]:
        """What can be done with the selected runs, for menus and the palette."""
        return tuple(self.actions_by_name.values())

    # --------------------------------------------------------------------------------------------------------

    def _key(self, index: QModelIndex) -> str:
        row: TableRun = index.data(RunsModel.ROW_ROLE)
        return row.key

    def _row(self, key: str) -> TableRun | None:
        return next((row for row in self._model.rows if row.key == key), None)

    def _anchor(self) -> tuple[QPersistentModelIndex, int]:
        """The first row in sight that will still be there, and where it is; none while the list is at its top."""
        index = self.view.indexAt(QPoint(0, 0))
        if not self.view.verticalScrollBar().value() or not index.isValid():
            return QPersistentModelIndex(), 0
        return QPersistentModelIndex(index), self.view.visualRect(index).top()

    def _show_empty_text(self) -> None:
        text = ""
        if not self._model.rows:
            text = "No runs yet: press Train."
        elif not self._runs.rowCount():
            text = f"No run fits “{self.filter_line.text().strip()}”."
        if text != self.view.empty_text:
            self.view.empty_text = text
            self.view.setAccessibleDescription(text)
            self.view.viewport().update()

    def _follow_selection(self) -> None:
        """Bring actions and the note into line with what is selected, and report it if it is new."""
        keys = self.selected()
        for entry in _ENTRIES:
            self.actions_by_name[entry.name].setEnabled(entry.least <= len(keys) <= entry.most)
        self.show_action.setEnabled(bool(keys))
        self.rename_action.setEnabled(len(keys) == 1)
        self._show_note(keys[0] if len(keys) == 1 else "")
        if keys != self._told:
            self._told = keys
            self.selection_changed.emit(keys)

    def _show_note(self, key: str) -> None:
        row = self._row(key) if key else None
        if key == self._noted and self.note_line.text() != self._shown_note:
            # Somebody is writing.
            return
        if key != self._noted:
            self._commit_note()
        self._noted = key
        self._shown_note = row.note if row is not None else ""
        if self.note_line.text() != self._shown_note:
            self.note_line.setText(self._shown_note)
            self.note_line.setCursorPosition(0)
        self.note_line.setEnabled(row is not None)
        self.note_line.setPlaceholderText(
            "A note on this run" if row is not None else "Select a run to write a note"
        )

    def _commit_note(self) -> None:
        text = self.note_line.text()
        if text != self._shown_note and self._row(self._noted) is not None:
            self._shown_note = text
            self.note_requested.emit(self._noted, text)

    def _fit(self) -> None:
        """Give the settings what the other columns leave."""
        if self._fitting:
            return
        self._fitting = True
        header = self.view.header()
        others = sum(header.sectionSize(column) for column in Column if column != Column.DIFFERING)
        header.resizeSection(Column.DIFFERING, max(self.view.viewport().width() - others, _LEAST_DIFFERING))
        self._fitting = False

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "note_line"):
            self._paint_icons()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if watched is self.filter_line:
                if event.key() == Qt.Key.Key_Escape and self.filter_line.text():
                    self.filter_line.clear()
                    return True
                if event.key() in (Qt.Key.Key_Down, Qt.Key.Key_Return, Qt.Key.Key_Enter):
                    self._go_to_first()
                    return True
            if watched is self.note_line and event.key() == Qt.Key.Key_Escape:
                self.note_line.setText(self._shown_note)
                self.view.setFocus()
                return True
        return super().eventFilter(watched, event)

    def _go_to_first(self) -> None:
        if self._runs.rowCount():
            self.view.setFocus()
            if not self.selected():
                self.select([self._key(self._runs.index(0, 0))])

    def _paint_icons(self) -> None:
        theme = current_theme()
        for entry in _ENTRIES:
            if entry.icon:
                self.actions_by_name[entry.name].setIcon(icon(entry.icon, theme.color("text"), 16))
        self.more_button.setIcon(icon("more", theme.color("text"), 16))
        for number, action in enumerate(self._colors.actions()):
            role = f"category-{number}"
            action.setText(color_name(role, theme))
            picture = _canvas(16, 16, self.devicePixelRatioF())
            painter = QPainter(picture)
            paint_swatch(painter, QPointF(8, 8), theme, role)
            painter.end()
            action.setIcon(QIcon(picture))

    @Slot(QItemSelection, QItemSelection)
    def _on_selection_changed(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        self._follow_selection()

    @Slot(int, Qt.SortOrder)
    def _on_header_sort_indicator_changed(self, section: int, order: Qt.SortOrder) -> None:
        self._delegate.is_tree = section < 0
        self.view.viewport().update()

    @Slot(int, int, int)
    def _on_header_section_resized(self, section: int, before: int, now: int) -> None:
        if section != Column.DIFFERING:
            self._fit()

    @Slot()
    def _on_view_resized(self) -> None:
        self._fit()

    @Slot(QModelIndex)
    def _on_view_sign_clicked(self, index: QModelIndex) -> None:
        row: TableRun = index.data(RunsModel.ROW_ROLE)
        if index.column() == Column.SHOWN:
            self.shown_toggled.emit(row.key, not row.shown)
            return
        self._color_keys = [row.key]
        self.colors_menu.popup(self.view.viewport().mapToGlobal(self.view.visualRect(index).bottomLeft()))

    @Slot(QModelIndex)
    def _on_view_open_requested(self, index: QModelIndex) -> None:
        self.open_requested.emit(self._key(index))

    @Slot()
    def _on_view_space_pressed(self) -> None:
        rows = [row for key in self.selected() if (row := self._row(key)) is not None]
        shown = not all(row.shown for row in rows)
        for row in rows:
            if row.shown != shown:
                self.shown_toggled.emit(row.key, shown)

    @Slot(QPoint)
    def _on_view_menu_requested(self, place: QPoint) -> None:
        self.menu.popup(place)

    @Slot()
    def _on_menu_about_to_show(self) -> None:
        self._color_keys = self.selected()
        self.colors_menu.menuAction().setEnabled(bool(self._color_keys))
        rows = [row for key in self._color_keys if (row := self._row(key)) is not None]
        self.show_action.setChecked(bool(rows) and all(row.shown for row in rows))
        for action in self._sorts.actions():
            column = action.data()
            action.setText("Branches Below Their Origin" if column < 0 else self._model.title(Column(column)))
            action.setChecked(column == self._runs.sortColumn())

    @Slot(QAction)
    def _on_group_triggered(self, action: QAction) -> None:
        self.action_requested.emit(action.data(), self.selected())

    @Slot()
    def _on_rename_action_triggered(self) -> None:
        for index in self.view.selectionModel().selectedRows(Column.NAME):
            self.view.setCurrentIndex(index)
            self.view.edit(index)

    @Slot(QAction)
    def _on_colors_triggered(self, action: QAction) -> None:
        for key in self._color_keys:
            self.color_chosen.emit(key, action.data())

    @Slot(QAction)
    def _on_sorts_triggered(self, action: QAction) -> None:
        column = action.data()
        again = column == self._runs.sortColumn() and self._runs.sortOrder() == Qt.SortOrder.AscendingOrder
        order = Qt.SortOrder.DescendingOrder if again else Qt.SortOrder.AscendingOrder
        self.view.header().setSortIndicator(column, order)

    @Slot(str)
    def _on_filter_line_text_changed(self, text: str) -> None:
        self._runs.set_pattern(text)
        self._show_empty_text()

    @Slot()
    def _on_note_line_editing_finished(self) -> None:
        self._commit_note()


__all__ = [
    "COLOR_NAMES",
    "Column",
    "RunDelegate",
    "RunTable",
    "RunsModel",
    "RunsView",
    "TableRun",
    "color_name",
]
