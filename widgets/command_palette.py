"""The command palette: every action of the window, found by typing a few letters; runs on the GUI thread."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import (
    QAction,
    QIcon,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QShortcut,
    QTextDocument,
    QTextOption,
)
from PySide6.QtWidgets import (
    QFrame,
    QLineEdit,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from widgets.look import current_theme, role_label

RECENT_AT_MOST = 8
ROWS_IN_SIGHT = 9

Index = QModelIndex | QPersistentModelIndex


def action_text(action: QAction) -> str:
    """An action's words without the marks of menus."""
    return action.text().replace("&&", "\0").replace("&", "").replace("\0", "&").rstrip("….")


def shortcut_text(action: QAction) -> str:
    """The keys of an action as the platform writes them; else its property ``shortcut_text``."""
    given = action.property("shortcut_text")
    return str(given) if given else action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)


def action_id(action: QAction) -> str:
    """What an action is remembered by: its object name, else its words."""
    return action.objectName() or action_text(action)


@dataclass(frozen=True)
class Match:
    """How well a text fits what was typed: higher is better; ``positions`` are the letters found."""

    score: float
    positions: tuple[int, ...]


def fuzzy_match(pattern: str, text: str) -> Match | None:
    """Find the letters of ``pattern`` in ``text`` in that order, best at the beginnings of words and side by
    side.

    Upper and lower case are the same and blanks in the pattern are ignored. None if a letter is missing.
    """
    wanted = [letter for letter in pattern.casefold() if not letter.isspace()]
    folded = [letter.casefold() for letter in text]
    if not wanted:
        return Match(0.0, ())
    # best[j] is the best score of the letters so far with the last of them at j; back[i][j] where the one
    # before stood.
    best: dict[int, float] = {}
    back: list[dict[int, int]] = []
    for row, letter in enumerate(wanted):
        now: dict[int, float] = {}
        came: dict[int, int] = {}
        for position, candidate in enumerate(folded):
            if candidate != letter:
                continue
            begins = position == 0 or not text[position - 1].isalnum()
            gain = 1.0 + (2.0 if begins else 0.0) - 0.01 * position
            if row == 0:
                now[position] = gain
                continue
            options = [
                (score + gain + (1.5 if before == position - 1 else 0.0), before)
                for before, score in best.items()
                if before < position
            ]
            if options:
                now[position], came[position] = max(options)
        if not now:
            return None
        best = now
        back.append(came)
    end = max(best, key=lambda position: best[position])
    positions = [end]
    for came in reversed(back[1:]):
        positions.append(came[positions[-1]])
    return Match(best[end] - 0.02 * len(text), tuple(reversed(positions)))


class ActionsModel(QAbstractListModel):
    """The actions that fit, the best first."""

    MATCH_ROLE = Qt.ItemDataRole.UserRole + 1
    SHORTCUT_ROLE = Qt.ItemDataRole.UserRole + 2

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[tuple[QAction, Match]] = []

    def set_rows(self, rows: Sequence[tuple[QAction, Match]]) -> None:
        """Show these."""
        self.beginResetModel()
        self._rows = list(rows)
        self.endResetModel()

    def action(self, row: int) -> QAction | None:
        """The action in a row."""
        return self._rows[row][0] if 0 <= row < len(self._rows) else None

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        action, match = self._rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return action_text(action)
        if role == Qt.ItemDataRole.ToolTipRole:
            return action.toolTip()
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{action_text(action)} {shortcut_text(action)}".strip()
        if role == Qt.ItemDataRole.DecorationRole:
            return action.icon()
        if role == self.MATCH_ROLE:
            return match.positions
        if role == self.SHORTCUT_ROLE:
            return shortcut_text(action)
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        # A disabled action can still be found and read; it only does nothing.
        return Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled

    def is_usable(self, row: int) -> bool:
        """Whether the action in that row can be run now."""
        action = self.action(row)
        return action is not None and action.isEnabled()


class ActionDelegate(QStyledItemDelegate):
    """Draws a row: icon, words with the typed letters in bold, keys at the right."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(200, 32)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        theme = current_theme()
        model = index.model()
        usable = isinstance(model, ActionsModel) and model.is_usable(index.row())
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area: QRect = option.rect
        state: QStyle.StateFlag = option.state
        selected = bool(state & QStyle.StateFlag.State_Selected)
        if selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.color("selection"))
            painter.drawRoundedRect(QRectF(area), theme.radius_small, theme.radius_small)
        icon = index.data(Qt.ItemDataRole.DecorationRole)
        if isinstance(icon, QIcon) and not icon.isNull():
            mode = QIcon.Mode.Normal if usable else QIcon.Mode.Disabled
            icon.paint(
                painter, QRect(area.left() + 8, area.top() + 8, 16, 16), Qt.AlignmentFlag.AlignCenter, mode
            )
        ink = theme.color("disabled" if not usable else "selection_text" if selected else "text")
        keys = index.data(ActionsModel.SHORTCUT_ROLE)
        width = 0
        if keys:
            width = option.fontMetrics.horizontalAdvance(keys) + 16
            painter.setPen(theme.color("muted" if usable else "disabled"))
            painter.drawText(
                area.adjusted(0, 0, -12, 0), Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, keys
            )
        document = QTextDocument()
        document.setDefaultFont(option.font)
        document.setDocumentMargin(0)
        wrap = QTextOption()
        wrap.setWrapMode(QTextOption.WrapMode.NoWrap)
        document.setDefaultTextOption(wrap)
        positions = set(index.data(ActionsModel.MATCH_ROLE))
        words = "".join(
            f"<b>{html.escape(letter)}</b>" if place in positions else html.escape(letter)
            for place, letter in enumerate(index.data(Qt.ItemDataRole.DisplayRole))
        )
        document.setHtml(f"<span style='color:{ink.name()}; white-space:pre'>{words}</span>")
        top = area.top() + (area.height() - document.size().height()) / 2
        painter.setClipRect(area.adjusted(0, 0, -width - 8, 0))
        painter.translate(area.left() + 34, top)
        document.drawContents(painter)
        painter.restore()


class CommandPalette(QFrame):
    """A list of actions over the window, narrowed by typing.

    Parameters
    ----------
    source : callable returning actions
        Asked whenever the palette opens, so that it knows what there is now. Separators and invisible actions
        are left out.
    parent : QWidget
        The window; Ctrl+K and Ctrl+Shift+P open the palette there.

    Signals
    -------
    ran(str)
        Id of the action that was run.
    """

    ran = Signal(str)

    def __init__(self, source: Callable[[], Iterable[QAction]], parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self._window = parent
        self._source = source
        self._actions: list[QAction] = []
        self._recent: list[str] = []
        self.setAccessibleName("Command palette")
        self.setObjectName("command-palette")
        self.setProperty("card", "true")
        self.line = QLineEdit(self)
        self.line.setPlaceholderText("Type a command")
        self.line.setClearButtonEnabled(True)
        self.line.textChanged.connect(self._on_line_text_changed)
        self.line.installEventFilter(self)
        self._model = ActionsModel(self)
        self.list = QListView(self)
        self.list.setModel(self._model)
        self.list.setItemDelegate(ActionDelegate(self.list))
        self.list.setProperty("flat", "true")
        self.list.setUniformItemSizes(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setMouseTracking(True)
        self.list.entered.connect(self.list.setCurrentIndex)
        self.list.clicked.connect(self._on_list_clicked)
        self._empty = role_label("muted", "No command has these letters.", self)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setMinimumHeight(48)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(8)
        layout.addWidget(self.line)
        layout.addWidget(self.list)
        layout.addWidget(self._empty)
        for keys in ("Ctrl+K", "Ctrl+Shift+P"):
            shortcut = QShortcut(QKeySequence(keys), parent)
            shortcut.activated.connect(self.open_palette)

    @Slot()
    def open_palette(self) -> None:
        """Show the palette in the upper middle of the window, empty and ready to type."""
        self._actions = [action for action in self._source() if self._belongs(action)]
        self.line.clear()
        self._filter("")
        window = self._window.window()
        width = min(560, window.width() - 48)
        self.setFixedWidth(max(width, 280))
        self._fit()
        corner = window.mapToGlobal(
            QPoint((window.width() - self.width()) // 2, min(96, window.height() // 8))
        )
        self.move(corner)
        self.show()
        self.line.setFocus(Qt.FocusReason.PopupFocusReason)

    def recent(self) -> tuple[str, ...]:
        """Ids of the actions run last, the newest first."""
        return tuple(self._recent)

    def set_recent(self, ids: Iterable[str]) -> None:
        """Put back what an earlier session remembered."""
        self._recent = list(ids)[:RECENT_AT_MOST]

    def shown_texts(self) -> tuple[str, ...]:
        """The words of the actions in the list, the best first."""
        rows = range(self._model.rowCount())
        return tuple(action_text(action) for action in map(self._model.action, rows) if action is not None)

    @staticmethod
    def _belongs(action: QAction) -> bool:
        return (
            not action.isSeparator() and action.isVisible() and bool(action.text()) and action.menu() is None
        )

    def _filter(self, pattern: str) -> None:
        rows: list[tuple[QAction, Match]] = []
        for action in self._actions:
            match = fuzzy_match(pattern, action_text(action))
            if match is not None:
                rows.append((action, match))
        order = {identity: place for place, identity in enumerate(self._recent)}
        rows.sort(
            key=lambda row: (
                not row[0].isEnabled(),
                -row[1].score,
                order.get(action_id(row[0]), len(order)),
            )
        )
        self._model.set_rows(rows)
        self.list.setCurrentIndex(self._model.index(0, 0))
        self.list.setVisible(bool(rows))
        self._empty.setVisible(not rows)

    def _fit(self) -> None:
        self.list.setFixedHeight(min(max(self._model.rowCount(), 1), ROWS_IN_SIGHT) * 32 + 4)
        self.adjustSize()

    def _run(self, row: int) -> None:
        action = self._model.action(row)
        if action is None or not action.isEnabled():
            return
        identity = action_id(action)
        self._recent = [identity, *(known for known in self._recent if known != identity)][:RECENT_AT_MOST]
        # Closed first: what the action opens must not lie under the palette.
        self.hide()
        action.trigger()
        self.ran.emit(identity)

    def hideEvent(self, event: QEvent) -> None:
        super().hideEvent(event)  # type: ignore[arg-type]
        # The actions may go with their panel; the palette must not hold on to them.
        self._actions = []

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            row, last = self.list.currentIndex().row(), self._model.rowCount() - 1
            moves = {
                Qt.Key.Key_Down: row + 1 if row < last else 0,
                Qt.Key.Key_Up: row - 1 if row > 0 else last,
                Qt.Key.Key_PageDown: min(row + ROWS_IN_SIGHT, last),
                Qt.Key.Key_PageUp: max(row - ROWS_IN_SIGHT, 0),
            }
            key = Qt.Key(event.key())
            if key in moves:
                self.list.setCurrentIndex(self._model.index(moves[key], 0))
                return True
            if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run(row)
                return True
            if key == Qt.Key.Key_Escape:
                self.hide()
                return True
        return super().eventFilter(watched, event)

    @Slot(str)
    def _on_line_text_changed(self, text: str) -> None:
        self._filter(text)
        self._fit()

    @Slot(QModelIndex)
    def _on_list_clicked(self, index: QModelIndex) -> None:
        self._run(index.row())


__all__ = [
    "ActionsModel",
    "CommandPalette",
    "Match",
    "action_id",
    "action_text",
    "fuzzy_match",
    "shortcut_text",
]
