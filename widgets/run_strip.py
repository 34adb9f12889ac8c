"""The runs of a panel that train side by side, as chips in one line; runs on the GUI thread."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPointF, QRect, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QFont, QFontMetrics, QKeyEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QButtonGroup,
    QCheckBox,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from widgets.icons import icon
from widgets.look import current_theme
from widgets.transport import paint_state

HEIGHT = 40
CHIP_HEIGHT = 30
NARROWEST, NARROW, WIDEST = 44, 112, 320
"""Widths of a chip in pixels: the least, the least with a button to close it, and the most."""
LEAST_DETAIL = 36
"""With less room than this, in pixels, what differs is left to the tool tip."""
GAP = 6

STATE_WORDS = {
    "idle": "ready",
    "starting": "starting",
    "running": "running",
    "paused": "paused",
    "stopping": "stopping",
    "failed": "failed",
    "done": "done",
}


@dataclass(frozen=True)
class StripRun:
    """One run of the strip.

    Attributes
    ----------
    key : str
        What tells it from the others; reported by the signals.
    name : str
    detail : str
        What differs: ``step size 0.0003``; may be empty.
    state : str
        A state of a run as `widgets.transport.RunState` has them.
    role : str
        The colour of its curves, see `widgets.theme.Theme.role_hex`: ``category-1``.
    """

    key: str
    name: str
    detail: str
    state: str
    role: str


class RunChip(QAbstractButton):
    """A run: its colour, name, what differs, its state, and a button that puts it away.

    Signals
    -------
    close_requested(str)
        The key of the run.
    """

    close_requested = Signal(str)

    def __init__(self, run: StripRun, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.run = run
        self.setCheckable(True)
        self.setFixedHeight(CHIP_HEIGHT)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)
        self.close_button = QToolButton(self)
        self.close_button.setAutoRaise(True)
        self.close_button.setIconSize(QSize(14, 14))
        self.close_button.setFixedSize(22, 22)
        self.close_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.close_button.clicked.connect(self._on_close_button_clicked)
        self.set_run(run)
        self._draw_icon()

    def set_run(self, run: StripRun) -> None:
        """Show what is known of the run now."""
        self.run = run
        words = ", ".join(
            part for part in (run.name, run.detail, STATE_WORDS.get(run.state, run.state)) if part
        )
        self.setAccessibleName(words)
        self.setToolTip(f"<qt>{html.escape(words)}</qt>")
        self.close_button.setAccessibleName(f"Put away: {run.name}")
        self.close_button.setToolTip("Do not show this run beside the others")
        self.update()

    def sizeHint(self) -> QSize:
        name = QFontMetrics(self._name_font()).horizontalAdvance(self.run.name)
        detail = self.fontMetrics().horizontalAdvance(self.run.detail) + 8 if self.run.detail else 0
        return QSize(min(max(26 + name + detail + 8 + 14 + 30, NARROW), WIDEST), CHIP_HEIGHT)

    def _name_font(self) -> QFont:
        # Always as wide as when it is chosen, or the strip would jump with every choice.
        font = QFont(self.font())
        font.setWeight(QFont.Weight.DemiBold)
        return font

    def _draw_icon(self) -> None:
        self.close_button.setIcon(icon("close", current_theme().color("muted"), 14))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.close_button.setVisible(self.width() >= NARROW)
        self.close_button.move(self.width() - 26, (CHIP_HEIGHT - 22) // 2)

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        chosen = self.isChecked()
        ground = "selection" if chosen else "hover" if self.underMouse() else "card"
        painter.setBrush(theme.color(ground))
        painter.setPen(QPen(theme.color("accent" if chosen else "border"), 1))
        painter.drawRoundedRect(area, theme.radius, theme.radius)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.color("focus"), 2))
            painter.drawRoundedRect(area.adjusted(0.5, 0.5, -0.5, -0.5), theme.radius, theme.radius)
        middle = self.height() / 2
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.color(self.run.role))
        painter.drawRoundedRect(QRectF(9, middle - 5, 10, 10), 2, 2)
        right = self.width() - (28 if self.width() >= NARROW else 6)
        paint_state(painter, self.run.state, QPointF(right - 7, middle))
        self._paint_texts(painter, QRect(26, 0, right - 20 - 26, self.height()), chosen)

    def _paint_texts(self, painter: QPainter, room: QRect, chosen: bool) -> None:
        theme = current_theme()
        font = self._name_font()
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        width = min(QFontMetrics(font).horizontalAdvance(self.run.name) + 1, room.width())
        painter.setFont(font if chosen and self.width() >= NARROW else self.font())
        painter.setPen(theme.color("selection_text" if chosen else "text"))
        # In the middle, as the names of sister runs differ at their ends.
        name = painter.fontMetrics().elidedText(self.run.name, Qt.TextElideMode.ElideMiddle, width)
        painter.drawText(QRect(room.left(), 0, width, room.height()), flags, name)
        rest = room.adjusted(width + 8, 0, 0, 0)
        if self.run.detail and rest.width() >= LEAST_DETAIL:
            painter.setFont(self.font())
            painter.setPen(theme.color("selection_text" if chosen else "muted"))
            text = self.fontMetrics().elidedText(self.run.detail, Qt.TextElideMode.ElideRight, rest.width())
            painter.drawText(rest, flags, text)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Delete:
            self.close_requested.emit(self.run.key)
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "close_button"):
            self._draw_icon()

    @Slot()
    def _on_close_button_clicked(self) -> None:
        self.close_requested.emit(self.run.key)


class RunStrip(QWidget):
    """A chip for each run that trains beside the others, and whether they keep step with each other.

    Tab goes to the chip of the run in focus, the arrow keys from there to the others; Delete puts a run away.

    Signals
    -------
    run_chosen(str)
        The person went to a run: its key.
    close_requested(str)
        This run is not to be shown next to the others any more.
    lockstep_toggled(bool)
        The runs are to be held at the same step, or let go.
    """

    run_chosen = Signal(str)
    close_requested = Signal(str)
    lockstep_toggled = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._focused = ""
        self.chips: list[RunChip] = []
        self._group = QButtonGroup(self)
        self._group.buttonClicked.connect(self._on_group_button_clicked)
        self.lockstep_box = QCheckBox("In lockstep", self)
        self.lockstep_box.setToolTip("Hold the runs at the same step, so that their pictures can be compared")
        self.lockstep_box.clicked.connect(self._on_lockstep_box_clicked)
        self.lockstep_box.hide()
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Runs side by side")

    def sizeHint(self) -> QSize:
        return QSize(800, HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(320, HEIGHT)

    def set_runs(self, runs: Sequence[StripRun], focused: str) -> None:
        """Show these runs; cheap when only their states have changed.

        Parameters
        ----------
        runs : sequence of StripRun
            From left to right.
        focused : str
            The key of the one that is looked at and driven; nothing is reported.
        """
        self._focused = focused
        if [run.key for run in runs] != [chip.run.key for chip in self.chips]:
            self._make_chips(runs)
        for chip, run in zip(self.chips, runs, strict=True):
            if chip.run != run:
                chip.set_run(run)
            if run.key == focused:
                chip.setChecked(True)
        self.lockstep_box.setVisible(len(runs) > 1)
        self._arrange()

    def set_lockstep(self, together: bool) -> None:
        """Say whether the runs are held at the same step; nothing is reported."""
        self.lockstep_box.setChecked(together)

    def _make_chips(self, runs: Sequence[StripRun]) -> None:
        kept = {chip.run.key: chip for chip in self.chips}
        keys = {run.key for run in runs}
        had_keyboard = any(
            chip.hasFocus() or chip.close_button.hasFocus() for chip in self.chips if chip.run.key not in keys
        )
        self.chips = []
        for run in runs:
            chip = kept.pop(run.key, None)
            if chip is None:
                chip = RunChip(run, self)
                chip.close_requested.connect(self.close_requested)
                self._group.addButton(chip)
                chip.show()
            self.chips.append(chip)
        for chip in kept.values():
            self._group.removeButton(chip)
            chip.hide()
            chip.deleteLater()
        chain = [widget for chip in self.chips for widget in (chip, chip.close_button)]
        for before, after in zip(chain, [*chain[1:], self.lockstep_box], strict=False):
            QWidget.setTabOrder(before, after)
        if had_keyboard and self.chips:
            # Not on to whatever comes next in the window.
            focused = [chip for chip in self.chips if chip.run.key == self._focused]
            (focused or self.chips)[0].setFocus()

    def _arrange(self) -> None:
        """Place the chips; where there is too little room, the longest give way first."""
        box = self.lockstep_box.sizeHint()
        self.lockstep_box.setGeometry(
            self.width() - box.width() - 4, (HEIGHT - box.height()) // 2, box.width(), box.height()
        )
        room = self.width() - (0 if self.lockstep_box.isHidden() else box.width() + 16)
        left = 0
        for chip, width in zip(self.chips, self._widths(room - GAP * (len(self.chips) - 1)), strict=True):
            chip.setGeometry(left, (HEIGHT - CHIP_HEIGHT) // 2, width, CHIP_HEIGHT)
            left += width + GAP

    def _widths(self, room: int) -> list[int]:
        wanted = [chip.sizeHint().width() for chip in self.chips]
        widths = list(wanted)
        # From the narrowest on, each takes what it wants of an equal share of what is left.
        for count, index in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
            widths[index] = max(min(wanted[index], room // (len(wanted) - count)), NARROWEST)
            room -= widths[index]
        return widths

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange) and hasattr(
            self, "lockstep_box"
        ):
            self._arrange()

    @Slot(QAbstractButton)
    def _on_group_button_clicked(self, chip: QAbstractButton) -> None:
        assert isinstance(chip, RunChip)
        if chip.run.key != self._focused:
            self._focused = chip.run.key
            self.run_chosen.emit(chip.run.key)

    @Slot(bool)
    def _on_lockstep_box_clicked(self, together: bool) -> None:
        self.lockstep_toggled.emit(together)


__all__ = ["RunChip", "RunStrip", "StripRun"]
