"""The list of papers at the left of the window, each with the state of its run; runs on the GUI thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QPointF,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QFontMetrics, QPainter, QPen
from PySide6.QtWidgets import (
    QHBoxLayout,
    QListView,
    QSizePolicy,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from widgets.icons import icon, pixmap
from widgets.look import current_theme, role_label
from widgets.transport import paint_state

WIDE, NARROW = 248, 60
ROW_HEIGHT = 48

Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class PaperEntry:
    """One row: ``icon`` is a name for `widgets.icons.icon`, ``title`` the full one for the tool tip."""

    id: str
    name: str
    title: str
    year: int
    icon: str
    is_built: bool = True


@dataclass
class RunMark:
    """What a row says of its run."""

    kind: str = "idle"
    text: str = ""
    fraction: float | None = None


class PapersModel(QAbstractListModel):
    """The papers with the states of their runs."""

    ENTRY_ROLE = Qt.ItemDataRole.UserRole + 1
    MARK_ROLE = Qt.ItemDataRole.UserRole + 2

    def __init__(self, entries: Iterable[PaperEntry], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.entries = tuple(entries)
        self.marks = {entry.id: RunMark() for entry in self.entries}

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.entries)

    def row_of(self, paper_id: str) -> int:
        """The row of a paper; -1 if there is none."""
        return next((row for row, entry in enumerate(self.entries) if entry.id == paper_id), -1)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        entry = self.entries[index.row()]
        mark = self.marks[entry.id]
        if role == Qt.ItemDataRole.DisplayRole:
            # Typing a letter in the list goes to the paper whose name begins with it.
            return entry.name
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{entry.name}, {entry.year}, {status_text(entry, mark)}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{entry.title} ({entry.year})\n{status_text(entry, mark)}"
        if role == self.ENTRY_ROLE:
            return entry
        if role == self.MARK_ROLE:
            return mark
        return None

    def set_mark(self, paper_id: str, mark: RunMark) -> None:
        """Replace what a row says of its run."""
        row = self.row_of(paper_id)
        if row < 0:
            raise KeyError(f"there is no paper {paper_id!r} in the list")
        if self.marks[paper_id] != mark:
            self.marks[paper_id] = mark
            index = self.index(row, 0)
            self.dataChanged.emit(index, index)


def status_text(entry: PaperEntry, mark: RunMark) -> str:
    """The state of a paper's run in words."""
    if mark.text:
        return mark.text
    if mark.kind != "idle":
        return mark.kind
    return "no run yet" if entry.is_built else "text only"


class PaperDelegate(QStyledItemDelegate):
    """Draws a paper: icon, name, and under it the state of its run and the year."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.narrow = False

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(40, ROW_HEIGHT)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        theme = current_theme()
        entry: PaperEntry = index.data(PapersModel.ENTRY_ROLE)
        mark: RunMark = index.data(PapersModel.MARK_ROLE)
        state: QStyle.StateFlag = option.state
        area = QRectF(option.rect).adjusted(1, 1, -1, -1)
        selected = bool(state & QStyle.StateFlag.State_Selected)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        if selected or state & QStyle.StateFlag.State_MouseOver:
            painter.setBrush(theme.color("selection" if selected else "hover"))
            painter.drawRoundedRect(area, theme.radius, theme.radius)
        if selected:
            # A bar besides the ground: the choice does not hang on colour alone.
            painter.setBrush(theme.color("accent"))
            painter.drawRoundedRect(QRectF(area.left(), area.center().y() - 10, 3, 20), 1.5, 1.5)
        if state & QStyle.StateFlag.State_HasFocus and state & QStyle.StateFlag.State_KeyboardFocusChange:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.color("focus"), 2))
            painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), theme.radius, theme.radius)
        ink = theme.color("selection_text" if selected else "text")
        ratio = painter.device().devicePixelRatioF()
        left = area.left() + (area.width() - 24) / 2 if self.narrow else area.left() + 10
        picture = pixmap(entry.icon, theme.color("accent") if selected else ink, 24, ratio)
        painter.drawPixmap(
            QPointF(left, area.center().y() - 12 - (4 if self.narrow and mark.kind != "idle" else 0)), picture
        )
        if self.narrow:
            if mark.kind != "idle":
                paint_state(painter, mark.kind, QPointF(area.center().x(), area.bottom() - 8), mark.fraction)
        else:
            self._paint_texts(painter, option, area.adjusted(44, 6, -8, -6), entry, mark, selected)
        painter.restore()

    @staticmethod
    def _paint_texts(
        painter: QPainter,
        option: QStyleOptionViewItem,
        area: QRectF,
        entry: PaperEntry,
        mark: RunMark,
        selected: bool,
    ) -> None:
        theme = current_theme()
        font = option.font
        small = type(font)(font)
        small.setPixelSize(theme.font_small)
        quiet = theme.color("selection_text" if selected else "muted")
        year = str(entry.year)
        year_width = QFontMetrics(small).horizontalAdvance(year)
        upper = QRect(round(area.left()), round(area.top()), round(area.width()), 18)
        lower = QRect(round(area.left()), round(area.bottom()) - 16, round(area.width()), 16)
        painter.setFont(small)
        painter.setPen(quiet)
        painter.drawText(lower, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, year)
        words = status_text(entry, mark)
        start = lower.adjusted(0, 0, -year_width - 8, 0)
        if mark.kind != "idle":
            paint_state(
                painter, mark.kind, QPointF(lower.left() + 6, lower.center().y() + 0.5), mark.fraction
            )
            start = start.adjusted(18, 0, 0, 0)
        painter.setPen(theme.color("error_text") if mark.kind == "failed" else quiet)
        shown = QFontMetrics(small).elidedText(words, Qt.TextElideMode.ElideRight, start.width())
        painter.drawText(start, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)
        font.setBold(selected)
        painter.setFont(font)
        painter.setPen(theme.color("selection_text" if selected else "text"))
        name = QFontMetrics(font).elidedText(entry.name, Qt.TextElideMode.ElideRight, upper.width())
        painter.drawText(upper, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, name)


class PaperList(QWidget):
    """The papers, one below the other; folds to its icons.

    Signals
    -------
    paper_chosen(str)
        Id of the paper the user went to.
    narrowed(bool)
        The user folded the list to icons, or opened it.
    """

    paper_chosen = Signal(str)
    narrowed = Signal(bool)

    def __init__(self, entries: Iterable[PaperEntry], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = PapersModel(entries, self)
        self._narrow = False
        self._told = ""
        self._heading = role_label("heading", "Papers", self)
        self.fold_button = QToolButton(self)
        self.fold_button.setIconSize(QSize(18, 18))
        self.fold_button.clicked.connect(self._on_fold_button_clicked)
        self.view = QListView(self)
        self.view.setModel(self._model)
        self._delegate = PaperDelegate(self.view)
        self.view.setItemDelegate(self._delegate)
        self.view.setProperty("flat", "true")
        self.view.setFrameShape(QListView.Shape.NoFrame)
        self.view.setUniformItemSizes(True)
        self.view.setMouseTracking(True)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.view.setAccessibleName("Papers")
        self.view.selectionModel().currentChanged.connect(self._on_view_current_changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 12, 8, 8)
        layout.setSpacing(8)
        self._head = QHBoxLayout()
        self._head.setContentsMargins(4, 0, 0, 0)
        self._head.addWidget(self._heading, 1)
        self._head.addWidget(self.fold_button)
        layout.addLayout(self._head)
        layout.addWidget(self.view, 1)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self.set_narrow(False)

    def sizeHint(self) -> QSize:
        return QSize(NARROW if self._narrow else WIDE, 560)

    def minimumSizeHint(self) -> QSize:
        return QSize(NARROW if self._narrow else WIDE, 200)

    def set_state(
        self, paper_id: str, text: str = "", kind: str = "idle", fraction: float | None = None
    ) -> None:
        """Say what a paper's run does.

        Parameters
        ----------
        paper_id : str
        text : str
            ``running``, ``paused at 1,200``; made from ``kind`` if empty.
        kind : str
            A state of a run as `widgets.transport.RunState` has them.
        fraction : float, optional
            In 0..1: how far it is; drawn as a ring.

        Raises
        ------
        KeyError
            When there is no such paper.
        """
        # A ring moves in steps one can see; finer ones would only repaint.
        rounded = None if fraction is None else round(min(max(fraction, 0.0), 1.0), 2)
        self._model.set_mark(paper_id, RunMark(kind, text, rounded))

    def current(self) -> str:
        """Id of the paper in sight; empty if none."""
        index = self.view.currentIndex()
        return self._model.entries[index.row()].id if index.isValid() else ""

    def set_current(self, paper_id: str) -> None:
        """Mark a paper as the one in sight; nothing is reported."""
        self._told = paper_id
        self.view.setCurrentIndex(self._model.index(self._model.row_of(paper_id), 0))

    def is_narrow(self) -> bool:
        """Whether only the icons are shown."""
        return self._narrow

    def set_narrow(self, narrow: bool) -> None:
        """Show the icons alone, or all."""
        self._narrow = narrow
        self._delegate.narrow = narrow
        self._heading.setVisible(not narrow)
        words = "Show the names" if narrow else "Show icons only"
        self.fold_button.setToolTip(words)
        self.fold_button.setAccessibleName(words)
        self._head.setAlignment(self.fold_button, Qt.AlignmentFlag.AlignHCenter)
        self.setFixedWidth(NARROW if narrow else WIDE)
        self._paint_icon()
        self.updateGeometry()
        self.view.viewport().update()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_delegate"):
            self._paint_icon()

    def _paint_icon(self) -> None:
        name = "chevron-right" if self._narrow else "chevron-left"
        self.fold_button.setIcon(icon(name, current_theme().color("muted"), 18))

    @Slot()
    def _on_fold_button_clicked(self) -> None:
        self.set_narrow(not self._narrow)
        self.narrowed.emit(self._narrow)

    @Slot(QModelIndex, QModelIndex)
    def _on_view_current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        paper_id = self._model.entries[current.row()].id if current.isValid() else ""
        if paper_id and paper_id != self._told:
            self._told = paper_id
            self.paper_chosen.emit(paper_id)


__all__ = [
    "NARROW",
    "WIDE",
    "PaperDelegate",
    "PaperEntry",
    "PaperList",
    "PapersModel",
    "RunMark",
    "status_text",
]
