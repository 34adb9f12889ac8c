"""A table of whole numbers, each with a slider, a field, and a bar for its share of something; runs on the GUI thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPen, QValidator, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QStyleOptionSlider,
    QToolButton,
    QWidget,
)

from widgets.look import current_theme, role_label, text_width
from widgets.time_slider import JumpSlider

ROW_HEIGHT = 22

NARROW_SHARE, WIDE_SHARE = 46, 78
"""Width of a bar in pixels, with little room and with enough."""


@dataclass(frozen=True)
class BoardColumn:
    """One column of numbers.

    Attributes
    ----------
    title : str
    tip : str
    accessible : str
        Name of one of its sliders, with ``{}`` for the row.
    """

    title: str
    tip: str
    accessible: str


class StepSlider(JumpSlider):
    """A slider over a list of numbers; a tick marks a suggested one, and a double click goes there."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self._suggested = -1
        self.setPageStep(2)
        self.setMinimumWidth(48)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    @property
    def suggested(self) -> int:
        """Position of the tick; -1 without."""
        return self._suggested

    def set_suggested(self, position: int) -> None:
        """Mark a position; -1 marks none."""
        if position != self._suggested:
            self._suggested = position
            self.update()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self._suggested >= 0:
            self.setValue(self._suggested)
        event.accept()

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._suggested >= 0:
            option = QStyleOptionSlider()
            self.initStyleOption(option)
            handle = self.style().subControlRect(
                QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle, self
            )
            at = QStyle.sliderPositionFromValue(
                self.minimum(), self.maximum(), self._suggested, self.width() - handle.width()
            )
            painter = QPainter(self)
            painter.setPen(QPen(current_theme().color("target"), 2.5))
            x, middle = round(at + handle.width() / 2), round(self.height() / 2)
            painter.drawLine(x, middle - 10, x, middle + 10)
            painter.end()
        super().paintEvent(event)


class StepField(QSpinBox):
    """The number beside a slider, to be typed; it knows only the numbers of a list.

    Signals
    -------
    refused(str)
        What was typed is none of them.
    """

    refused = Signal(str)

    def __init__(self, values: Sequence[int], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values = tuple(values)
        self.setRange(0, len(self._values) - 1)
        self.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setKeyboardTracking(False)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setStyleSheet("QSpinBox { padding: 0px 3px; min-height: 18px; max-height: 18px; }")
        self.setFixedWidth(text_width(self, str(max(self._values))) + 20)

    def textFromValue(self, position: int) -> str:
        return str(self._values[position])

    def valueFromText(self, text: str) -> int:
        number = int(text) if text.strip().isdigit() else -1
        return self._values.index(number) if number in self._values else self.value()

    def validate(self, text: str, place: int) -> object:
        stripped = text.strip()
        if stripped.isdigit() and int(stripped) in self._values:
            return QValidator.State.Acceptable, text, place
        fits = not stripped or (stripped.isdigit() and len(stripped) <= len(str(max(self._values))) + 1)
        return (QValidator.State.Intermediate if fits else QValidator.State.Invalid), text, place

    def fixup(self, text: str) -> str:
        if text.strip():
            self.refused.emit(text.strip())
        return self.textFromValue(self.value())

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class ShareBar(QWidget):
    """A share as a bar with its percent in words; the largest of its table stands out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._share = 0.0
        self._length = 0.0
        self._is_largest = False
        self.setFixedHeight(ROW_HEIGHT)

    @property
    def share(self) -> float:
        """0 .. 1."""
        return self._share

    @property
    def is_largest(self) -> bool:
        """Whether it stands out."""
        return self._is_largest

    def set_share(self, share: float, largest: float) -> None:
        """Show a part of 1, and how long that is beside the largest part of all."""
        length = share / largest if largest > 0 else 0.0
        if (share, length) != (self._share, self._length):
            self._share, self._length, self._is_largest = share, length, share == largest > 0
            self.update()

    def text(self) -> str:
        """What is written."""
        percent = 100 * self._share
        return "<1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"

    def sizeHint(self) -> QSize:
        return QSize(WIDE_SHARE, ROW_HEIGHT)

    def paintEvent(self, event: QPaintEvent) -> None:
        theme, painter = current_theme(), QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = self.font()
        font.setPixelSize(theme.font_small)
        if self._is_largest:
            font.setWeight(font.Weight.DemiBold)
        painter.setFont(font)
        words = 34 if self.width() > NARROW_SHARE else self.width()
        room = self.width() - words - 4
        if room > 8 and self._share > 0:
            length = max(room * self._length, 2.0)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.color("warning" if self._is_largest else "past"))
            painter.drawRoundedRect(QRectF(2, self.height() / 2 - 4, length, 8), 2, 2)
        painter.setPen(theme.color("warning" if self._is_largest and self.isEnabled() else "muted"))
        painter.drawText(
            QRectF(self.width() - words, 0, words, self.height()),
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
            self.text(),
        )


class SliderBoard(QWidget):
    """Rows by columns of numbers out of one list.

    Parameters
    ----------
    values : sequence of int
        What each number can be, rising.
    columns : sequence of BoardColumn
    share_title, share_tip : str
        Above and about the bars.

    Signals
    -------
    changed(int, object, bool)
        Column, its numbers as a tuple, and whether the mouse still holds the slider.
    let_go(int)
        The mouse let go of a slider of this column.
    refused(str)
        What was typed and is not possible.
    row_chosen(int)
        The name of a row was clicked.
    """

    changed = Signal(int, object, bool)
    let_go = Signal(int)
    refused = Signal(str)
    row_chosen = Signal(int)

    def __init__(
        self,
        values: Sequence[int],
        columns: Sequence[BoardColumn],
        share_title: str = "",
        share_tip: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._values = tuple(values)
        self._columns = tuple(columns)
        self._share_title, self._share_tip = share_title, share_tip
        self._names: tuple[str, ...] = ()
        self._chosen = -1
        self._is_showing = False
        self.name_buttons: list[QToolButton] = []
        self.sliders: list[list[StepSlider]] = [[] for _ in columns]
        self.fields: list[list[StepField]] = [[] for _ in columns]
        self.shares: list[list[ShareBar]] = [[] for _ in columns]
        self.links: list[QCheckBox] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(4)
        self._grid.setVerticalSpacing(0)
        for number, column in enumerate(self._columns):
            head = QWidget(self)
            row = QHBoxLayout(head)
            row.setContentsMargins(0, 0, 0, 0)
            row.setSpacing(6)
            title = role_label("muted", column.title, head)
            title.setToolTip(column.tip)
            row.addWidget(title)
            link = QCheckBox("Linked", head)
            link.setToolTip(f"{column.title}: all sliders move together")
            link.setAccessibleName(f"Link all sliders: {column.title}")
            self.links.append(link)
            row.addWidget(link)
            row.addStretch(1)
            first = 1 + 4 * number
            self._grid.addWidget(head, 0, first, 1, 2)
            what = QLabel(share_title, self)
            what.setProperty("role", "muted")
            what.setToolTip(share_tip)
            what.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self._grid.addWidget(what, 0, first + 2)
            self._grid.setColumnStretch(first, 1)
            if number + 1 < len(self._columns):
                self._grid.setColumnMinimumWidth(first + 3, 8)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rows."""
        return self._names

    def numbers(self, column: int) -> tuple[int, ...]:
        """What the sliders of a column say."""
        return tuple(self._values[slider.value()] for slider in self.sliders[column])

    def set_rows(self, names: Sequence[str]) -> None:
        """Have these rows; the numbers stay as far as there are rows."""
        if tuple(names) == self._names:
            return
        self._names = tuple(names)
        while len(self.name_buttons) < len(names):
            self._add_row()
        for row, button in enumerate(self.name_buttons):
            known = row < len(names)
            name = names[row] if known else ""
            button.setText(name)
            button.setAccessibleName(f"Show {name}")
            for column, spec in enumerate(self._columns):
                self.sliders[column][row].setAccessibleName(spec.accessible.format(name))
                self.fields[column][row].setAccessibleName(spec.accessible.format(name) + ", as a number")
                for widget in (self.sliders, self.fields, self.shares):
                    widget[column][row].setVisible(known)
            button.setVisible(known)

    def _add_row(self) -> None:
        row = len(self.name_buttons)
        button = QToolButton(self)
        button.setAutoRaise(True)
        button.setCheckable(True)
        button.setToolTip("Show this one in the pictures of a single layer")
        button.setStyleSheet("QToolButton { padding: 0px 4px; }")
        button.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        button.setFixedHeight(ROW_HEIGHT - 1)
        button.clicked.connect(self._on_name_clicked)
        self.name_buttons.append(button)
        self._grid.addWidget(button, row + 1, 0)
        before: QWidget = button
        for column, spec in enumerate(self._columns):
            slider = StepSlider(self)
            slider.setRange(0, len(self._values) - 1)
            slider.setFixedHeight(ROW_HEIGHT)
            slider.setToolTip(spec.tip)
            slider.valueChanged.connect(self._on_slider_value_changed)
            slider.sliderReleased.connect(self._on_slider_released)
            field = StepField(self._values, self)
            field.setToolTip(spec.tip)
            field.valueChanged.connect(self._on_field_value_changed)
            field.refused.connect(self.refused)
            share = ShareBar(self)
            share.setToolTip(self._share_tip)
            self.sliders[column].append(slider)
            self.fields[column].append(field)
            self.shares[column].append(share)
            for place, widget in enumerate((slider, field, share)):
                self._grid.addWidget(widget, row + 1, 1 + 4 * column + place)
            QWidget.setTabOrder(before, slider)
            QWidget.setTabOrder(slider, field)
            before = field

    def set_numbers(self, column: int, numbers: Sequence[int]) -> None:
        """Show these numbers; nothing is reported."""
        self._is_showing = True
        for row, number in enumerate(numbers[: len(self._names)]):
            position = self._values.index(number)
            slider, field = self.sliders[column][row], self.fields[column][row]
            if slider.value() != position:
                slider.setValue(position)
            if field.value() != position:
                field.setValue(position)
        self._is_showing = False

    def set_suggested(self, column: int, numbers: Sequence[int] | None) -> None:
        """Mark these numbers on the sliders; None marks nothing."""
        for row, slider in enumerate(self.sliders[column]):
            has = numbers is not None and row < len(numbers)
            slider.set_suggested(self._values.index(numbers[row]) if numbers is not None and has else -1)

    def set_shares(self, shares: Sequence[Sequence[float]]) -> None:
        """Show the shares of all columns; the largest of all stands out."""
        largest = max((share for column in shares for share in column), default=0.0)
        for column, bars in enumerate(self.shares):
            for row, bar in enumerate(bars):
                share = shares[column][row] if row < len(shares[column]) else 0.0
                bar.set_share(share, largest)
                # Who cannot see the bar hears of it at the slider.
                self.sliders[column][row].setAccessibleDescription(
                    f"{self._share_title} {bar.text()}".strip()
                )

    def choose_row(self, row: int) -> None:
        """Mark a row as the one that is shown; nothing is reported."""
        self._chosen = row
        for number, button in enumerate(self.name_buttons):
            button.setChecked(number == row)

    def set_editable(self, editable: bool) -> None:
        """Whether numbers can be changed."""
        for column in range(len(self._columns)):
            for widgets in (self.sliders[column], self.fields[column], self.shares[column]):
                for widget in widgets:
                    widget.setEnabled(editable)

    def set_narrow(self, narrow: bool) -> None:
        """Leave the bars away, and keep their percent, where there is little room."""
        for bars in self.shares:
            for bar in bars:
                bar.setFixedWidth(NARROW_SHARE if narrow else WIDE_SHARE)

    def is_held(self) -> bool:
        """Whether the mouse holds a slider."""
        return any(slider.isSliderDown() for sliders in self.sliders for slider in sliders)

    def _place(self, widgets: Sequence[Sequence[QWidget]], sender: object) -> tuple[int, int]:
        return next(
            (column, row)
            for column, members in enumerate(widgets)
            for row, member in enumerate(members)
            if member is sender
        )

    def _take(self, column: int, row: int, position: int, *, held: bool) -> None:
        linked = self.links[column].isChecked()
        rows = range(len(self._names)) if linked else (row,)
        numbers = list(self.numbers(column))
        for each in rows:
            numbers[each] = self._values[position]
        self.set_numbers(column, numbers)
        self.changed.emit(column, tuple(numbers), held)

    @Slot(int)
    def _on_slider_value_changed(self, position: int) -> None:
        if not self._is_showing:
            column, row = self._place(self.sliders, self.sender())
            self._take(column, row, position, held=self.sliders[column][row].isSliderDown())

    @Slot()
    def _on_slider_released(self) -> None:
        self.let_go.emit(self._place(self.sliders, self.sender())[0])

    @Slot(int)
    def _on_field_value_changed(self, position: int) -> None:
        if not self._is_showing:
            column, row = self._place(self.fields, self.sender())
            self._take(column, row, position, held=False)

    @Slot()
    def _on_name_clicked(self) -> None:
        row = next(i for i, button in enumerate(self.name_buttons) if button is self.sender())
        self.choose_row(self._chosen)
        self.row_chosen.emit(row)


__all__ = ["BoardColumn", "ShareBar", "SliderBoard", "StepField", "StepSlider"]
