"""The fields of a settings form, one class per kind of setting; runs on the GUI thread.

Every field shows one value and reports what the user committed. A field decides nothing: whether a text is a
value is the settings' own question, so what is typed goes out as text and the form checks it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QEvent,
    QObject,
    QPoint,
    QPointF,
    QRectF,
    QSize,
    Qt,
    QTimer,
    Signal,
    Slot,
)
from PySide6.QtGui import (
    QAction,
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPolygonF,
    QValidator,
    QWheelEvent,
)
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMenu,
    QPushButton,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from engines.config import SettingSpec
from widgets.look import current_theme, set_style_property, text_width

SLIDER_STEPS = 1000
GESTURE_PAUSE_MS = 1000
SEGMENTS_AT_MOST = 3


def format_number(value: float | None) -> str:
    """The shortest text that reads back as the same number; empty for None."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    short = f"{value:.6g}"
    return short if float(short) == value else repr(value)


class Gesture(QObject):
    """Numbers what belongs together: one drag, or steps that follow each other within a second, is one
    gesture.

    Undo takes a gesture back as a whole. Number 0 stands alone and is never merged.
    """

    _numbers = itertools.count(1)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._number = 0
        self._held = False
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(GESTURE_PAUSE_MS)
        self._pause.timeout.connect(self._on_pause_timeout)

    def number(self) -> int:
        """The number of the gesture under way; a new one after a pause."""
        if not self._number:
            self._number = next(self._numbers)
        if not self._held:
            self._pause.start()
        return self._number

    @Slot()
    def hold(self) -> None:
        """A drag begins: the gesture lasts until `release`."""
        self._pause.stop()
        if not self._held:
            self._held = True
            self._number = next(self._numbers)

    @Slot()
    def release(self) -> None:
        """The gesture is over."""
        self._pause.stop()
        self._held = False
        self._number = 0

    @Slot()
    def _on_pause_timeout(self) -> None:
        self._number = 0


class Scale:
    """Numbers of one setting on a linear or logarithmic scale: positions for a slider, and sensible steps.

    Parameters
    ----------
    spec : SettingSpec
        Of kind integer or number. On a log scale that starts at 0 or below, position 0 is the minimum itself
        and the decades begin six below the top.
    """

    def __init__(self, spec: SettingSpec) -> None:
        self.is_integer = spec.kind == "integer"
        self.is_log = spec.scale == "log"
        self.minimum, self.maximum = spec.minimum, spec.maximum
        default = float(spec.default) if isinstance(spec.default, int | float) else 1.0
        if self.is_log:
            # A soft end, for the slider alone: where the declaration has none, three decades around the
            # default.
            self.high = spec.maximum if spec.maximum is not None else max(default * 1000, 1.0)
            positive = spec.minimum is not None and spec.minimum > 0
            self.low = float(spec.minimum) if positive and spec.minimum else self.high / 1e6
            if spec.minimum is None:
                self.low = max(default, 1e-12) / 1000
            if self.is_integer:
                self.low = max(self.low, 1.0)
        else:
            self.low = spec.minimum if spec.minimum is not None else min(0.0, default)
            self.high = spec.maximum if spec.maximum is not None else max(abs(default) * 2, 1.0)
        self.step = spec.step if spec.step is not None else self._natural_step(default)

    @property
    def has_slider(self) -> bool:
        """Whether a slider makes sense: both ends are known, or the scale has decades."""
        bounded = self.minimum is not None and self.maximum is not None
        return self.is_log or (bounded and not self.is_integer)

    def _natural_step(self, default: float) -> float:
        if self.is_integer:
            return 1
        span = self.high - self.low
        return _nice(span / 100) if span > 0 else _nice(abs(default) / 10 or 0.1)

    def value_at(self, position: int) -> float:
        """The value at a slider's position in 0..SLIDER_STEPS, rounded to what a person would type."""
        share = position / SLIDER_STEPS
        if position <= 0 and self.minimum is not None:
            return self._whole(self.minimum)
        if position >= SLIDER_STEPS and self.maximum is not None:
            return self._whole(self.maximum)
        if self.is_log:
            value = float(f"{self.low * (self.high / self.low) ** share:.2g}")
        else:
            raw = self.low + share * (self.high - self.low)
            value = float(Decimal(repr(round(raw / self.step))) * Decimal(repr(float(self.step))))
        return self._whole(self.clamped(value))

    def position_of(self, value: float | None) -> int:
        """The slider's position for a value, clamped to the ends."""
        if value is None:
            return 0
        if self.is_log:
            if value <= self.low:
                return 0
            share = (
                math.log(value / self.low) / math.log(self.high / self.low) if self.high > self.low else 0.0
            )
        else:
            share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return round(SLIDER_STEPS * min(max(share, 0.0), 1.0))

    def stepped(self, value: float, steps: int) -> float:
        """The value so many steps on; on a log scale a step goes to the next of 1, 2, 5, 10."""
        if not self.is_log:
            moved = float(Decimal(repr(float(value))) + steps * Decimal(repr(float(self.step))))
            return self._whole(self.clamped(moved))
        moved = float(value)
        for _ in range(abs(steps)):
            moved = self._next_on_log(moved, steps > 0)
        return self._whole(self.clamped(moved))

    def _next_on_log(self, value: float, up: bool) -> float:
        if value <= 0:
            return self.low if up else value
        exponent = math.floor(math.log10(value))
        marks = [
            float(f"{mantissa}e{power}")
            for power in range(exponent - 1, exponent + 2)
            for mantissa in (1, 2, 5)
        ]
        if up:
            return min(mark for mark in marks if mark > value * (1 + 1e-9))
        below = max(mark for mark in marks if mark < value * (1 - 1e-9))
        # Below the last decade lies only the minimum, which may be 0.
        return below if below >= self.low or self.minimum is None else self.minimum

    def clamped(self, value: float) -> float:
        """The value within the declared ends."""
        if self.minimum is not None:
            value = max(value, self.minimum)
        if self.maximum is not None:
            value = min(value, self.maximum)
        return value

    def _whole(self, value: float) -> float:
        return round(value) if self.is_integer else float(value)


def _nice(value: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten at or below ``value``."""
    exponent = math.floor(math.log10(value))
    mantissa = value / 10**exponent
    lead = 5 if mantissa >= 4.999 else 2 if mantissa >= 1.999 else 1
    return float(f"{lead}e{exponent}")


class CommitLineEdit(QLineEdit):
    """A line that lets the window's undo through while nothing uncommitted stands in it."""

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            undo = event.matches(QKeySequence.StandardKey.Undo) or event.matches(
                QKeySequence.StandardKey.Redo
            )
            # A line takes undo for itself even when it has nothing to undo, and the window would never see
            # the key.
            if undo and not self.isUndoAvailable() and not self.isRedoAvailable():
                event.ignore()
                return False
        return super().event(event)


class Field(QWidget):
    """What all fields share.

    Signals
    -------
    edited(object, int)
        The user committed a text or a value; the number is that of the gesture, 0 for an edit of its own.
    reverted()
        The user took back what was typed: the value shown is the one in effect.
    """

    edited = Signal(object, int)
    reverted = Signal()

    wide = False
    """Whether the field wants a line of its own."""

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.spec = spec
        self._invalid = False

    def set_value(self, value: Any) -> None:
        """Show a value; nothing is reported."""
        raise NotImplementedError

    def is_dirty(self) -> bool:
        """Whether something stands in the field that was never committed."""
        return False

    def editor(self) -> QWidget:
        """The widget that takes the keyboard."""
        raise NotImplementedError

    def line_edit(self) -> QLineEdit | None:
        """The line in which the user types, if there is one."""
        return None

    def set_invalid(self, invalid: bool) -> None:
        """Mark the field whose text is no value."""
        self._invalid = invalid
        set_style_property(self.editor(), "state", "error" if invalid else "")

    def _add_editor(self, editor: QWidget) -> QHBoxLayout:
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(editor)
        self.setFocusProxy(editor)
        return layout


class NumberBox(QAbstractSpinBox):
    """A spin box for any text: typing is free, arrows step on the setting's own scale.

    Signals
    -------
    committed(str)
        Enter, or the focus left, with a text that was not there before.
    stepped(object)
        A value reached with arrows, keys or the wheel.
    reverted()
        Escape.
    """

    committed = Signal(str)
    stepped = Signal(object)
    reverted = Signal()

    def __init__(self, scale: Scale, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        # Setting the line already asks `stepEnabled`.
        self._scale = scale
        self._value: float | None = None
        self._shown = ""
        self.setLineEdit(CommitLineEdit(self))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.lineEdit().setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.lineEdit().setPlaceholderText("none")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.editingFinished.connect(self._on_editing_finished)

    def sizeHint(self) -> QSize:
        return QSize(100, max(super().sizeHint().height(), 26))

    def minimumSizeHint(self) -> QSize:
        return QSize(64, max(super().minimumSizeHint().height(), 26))

    def set_number(self, value: float | None) -> None:
        """Show a number."""
        self._value = value
        self._shown = format_number(value)
        if self.text() != self._shown:
            self.lineEdit().setText(self._shown)
            self.lineEdit().setCursorPosition(0)

    def is_dirty(self) -> bool:
        """Whether the text is not the number's."""
        return self.text() != self._shown

    def revert(self) -> None:
        """Show the number again."""
        self.lineEdit().setText(self._shown)
        self.lineEdit().selectAll()

    def validate(self, text: str, position: int) -> object:
        # Everything may be typed: a wrong text gets a sentence under the field rather than keys that do
        # nothing.
        return QValidator.State.Acceptable, text, position

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:
        flags = QAbstractSpinBox.StepEnabledFlag.StepNone
        if self._value is None:
            return flags
        if self._scale.maximum is None or self._value < self._scale.maximum:
            flags |= QAbstractSpinBox.StepEnabledFlag.StepUpEnabled
        if self._scale.minimum is None or self._value > self._scale.minimum:
            flags |= QAbstractSpinBox.StepEnabledFlag.StepDownEnabled
        return flags

    def stepBy(self, steps: int) -> None:
        start = self._value
        if self.is_dirty():
            try:
                typed = float(self.text().replace("_", ""))
            except ValueError:
                typed = math.nan
            # Stepping from what stands there; from a text that is no number, from the value in effect.
            start = self._scale.clamped(typed) if math.isfinite(typed) else start
        if start is not None:
            value = self._scale.stepped(start, steps)
            self.set_number(value)
            self.stepped.emit(value)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and (self.is_dirty() or self.property("state") == "error"):
            self.revert()
            self.reverted.emit()
            return
        super().keyPressEvent(event)
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            event.accept()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        # The style sheet draws frames around Qt's own spin boxes; this class is neither of them.
        theme = current_theme()
        if not self.isEnabled():
            color = "border"
        elif self.property("state") == "error":
            color = "error_text"
        else:
            color = "focus" if self.hasFocus() else "muted" if self.underMouse() else "field_border"
        width = 2.0 if color == "focus" else 1.0
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.color(color), width))
        frame = QRectF(self.rect()).adjusted(width / 2, width / 2, -width / 2, -width / 2)
        painter.drawRoundedRect(frame, theme.radius_small, theme.radius_small)

    @Slot()
    def _on_editing_finished(self) -> None:
        if self.is_dirty():
            self.committed.emit(self.text())


class WheelSafeSlider(QSlider):
    """A slider that jumps to where it is pressed, and that the wheel moves only while it has the focus."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            length = self.style().pixelMetric(QStyle.PixelMetric.PM_SliderLength, None, self)
            position = round(event.position().x()) - length // 2
            target = QStyle.sliderValueFromPosition(
                self.minimum(), self.maximum(), position, self.width() - length
            )
            grabbed = abs(target - self.value()) * (self.width() - length) <= length / 2 * (
                self.maximum() or 1
            )
            if not grabbed:
                # The handle must be there before the drag begins, and the move belongs to the drag.
                self.sliderPressed.emit()
                self.setValue(target)
        super().mousePressEvent(event)


class NumberField(Field):
    """An integer or a number: a box to type in, and a slider where the range allows it."""

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self._scale = Scale(spec)
        self._gesture = Gesture(self)
        self.box = NumberBox(self._scale, self)
        self.slider: WheelSafeSlider | None = None
        self._add_editor(self.box)
        self.box.committed.connect(self._on_box_committed)
        self.box.stepped.connect(self._on_box_stepped)
        self.box.reverted.connect(self.reverted)

    def make_slider(self, parent: QWidget) -> WheelSafeSlider | None:
        """The slider, to be placed by the row under label and box; None where the range is open."""
        if not self._scale.has_slider or self.slider is not None:
            return self.slider
        slider = WheelSafeSlider(parent)
        slider.setRange(0, SLIDER_STEPS)
        slider.setSingleStep(SLIDER_STEPS // 100)
        slider.setPageStep(SLIDER_STEPS // 10)
        slider.sliderPressed.connect(self._gesture.hold)
        slider.sliderReleased.connect(self._gesture.release)
        slider.valueChanged.connect(self._on_slider_value_changed)
        self.slider = slider
        return slider

    def set_value(self, value: Any) -> None:
        self.box.set_number(value)
        self._show_on_slider(value)

    def is_dirty(self) -> bool:
        return self.box.is_dirty()

    def editor(self) -> QWidget:
        return self.box

    def line_edit(self) -> QLineEdit | None:
        return self.box.lineEdit()

    def _show_on_slider(self, value: float | None) -> None:
        if self.slider is not None and self._scale.value_at(self.slider.value()) != value:
            self.slider.blockSignals(True)
            self.slider.setValue(self._scale.position_of(value))
            self.slider.blockSignals(False)

    @Slot(str)
    def _on_box_committed(self, text: str) -> None:
        self._gesture.release()
        self.edited.emit(text, 0)

    @Slot(object)
    def _on_box_stepped(self, value: float) -> None:
        self._show_on_slider(value)
        self.edited.emit(value, self._gesture.number())

    @Slot(int)
    def _on_slider_value_changed(self, position: int) -> None:
        value = self._scale.value_at(position)
        self.box.set_number(value)
        self.edited.emit(value, self._gesture.number())


class Switch(QAbstractButton):
    """An on/off switch; the side of the knob tells the state, and so does its mark."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(38, 24)

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        on, enabled = self.isChecked(), self.isEnabled()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        track = QRectF(2.5, 3.5, 33, 17)
        ground = theme.color("disabled" if not enabled else "accent" if on else "field_border")
        painter.setPen(QPen(ground, 1))
        painter.setBrush(ground if on else theme.color("field"))
        painter.drawRoundedRect(track, 8.5, 8.5)
        knob = QPointF(track.right() - 8.5 if on else track.left() + 8.5, track.center().y())
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.color("accent_text") if on else ground)
        painter.drawEllipse(knob, 5.5, 5.5)
        if on:
            painter.setPen(QPen(theme.color("accent_text"), 1.5))
            painter.drawPolyline(QPolygonF([QPointF(8.5, 12), QPointF(11, 14.5), QPointF(15.5, 9.5)]))
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.color("focus"), 1.5))
            painter.drawRoundedRect(QRectF(0.75, 1.75, 36.5, 20.5), 10.25, 10.25)


class SwitchField(Field):
    """True or false."""

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self.switch = Switch(self)
        self._add_editor(self.switch).setAlignment(self.switch, Qt.AlignmentFlag.AlignRight)
        self.switch.clicked.connect(self._on_switch_clicked)

    def set_value(self, value: Any) -> None:
        self.switch.setChecked(bool(value))

    def editor(self) -> QWidget:
        return self.switch

    @Slot(bool)
    def _on_switch_clicked(self, checked: bool) -> None:
        self.edited.emit(checked, 0)


class ChoiceBox(QComboBox):
    """A list of choices that the wheel turns only while it has the focus."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)

    def paintEvent(self, event: QPaintEvent) -> None:
        # A style sheet cuts a long text off; this ends it with dots.
        painter = QStylePainter(self)
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        if self.currentIndex() < 0:
            option.currentText = self.placeholderText()
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        width = self.width() - 32
        option.currentText = option.fontMetrics.elidedText(
            option.currentText, Qt.TextElideMode.ElideRight, width
        )
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class ChoiceField(Field):
    """One of several values, in a list."""

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self.box = ChoiceBox(self)
        for value, label in spec.choices:
            self.box.addItem(label, value)
        self._add_editor(self.box)
        self.box.activated.connect(self._on_box_activated)
        self.wide = max((text_width(self, label) for _, label in spec.choices), default=0) > 76

    def set_value(self, value: Any) -> None:
        self.box.setCurrentIndex(self.box.findData(value))

    def editor(self) -> QWidget:
        return self.box

    @Slot(int)
    def _on_box_activated(self, index: int) -> None:
        self.edited.emit(self.box.itemData(index), 0)


class Segment(QPushButton):
    """One of the buttons of `SegmentsField`; arrow keys go to its neighbours."""

    arrow_pressed = Signal(int)

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setCheckable(True)
        self.setProperty("kind", "segment")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(text_width(self, self.text()) + 20, 28)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        move = {Qt.Key.Key_Left: -1, Qt.Key.Key_Up: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Down: 1}.get(
            Qt.Key(event.key())
        )
        if move is None:
            super().keyPressEvent(event)
        else:
            self.arrow_pressed.emit(move)

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5)
        enabled, checked = self.isEnabled(), self.isChecked()
        painter.setPen(Qt.PenStyle.NoPen)
        if checked:
            painter.setPen(QPen(theme.color("accent" if enabled else "disabled"), 1))
            painter.setBrush(theme.color("selection" if enabled else "hover"))
            painter.drawRoundedRect(area, theme.radius_small - 1, theme.radius_small - 1)
        elif enabled and self.underMouse():
            painter.setBrush(theme.color("hover"))
            painter.drawRoundedRect(area, theme.radius_small - 1, theme.radius_small - 1)
        if self.hasFocus():
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.color("focus"), 2))
            painter.drawRoundedRect(area, theme.radius_small - 1, theme.radius_small - 1)
        font = self.font()
        font.setBold(checked)
        painter.setFont(font)
        painter.setPen(theme.color("disabled" if not enabled else "selection_text" if checked else "text"))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self.text())


class SegmentsField(Field):
    """One of two or three values, as buttons side by side."""

    wide = True

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(1, 1, 1, 1)
        layout.setSpacing(0)
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self.segments: list[Segment] = []
        for number, (_, label) in enumerate(spec.choices):
            segment = Segment(label, self)
            segment.setAccessibleName(f"{spec.label}: {label}")
            segment.arrow_pressed.connect(self._on_segment_arrow_pressed)
            self._group.addButton(segment, number)
            self.segments.append(segment)
            layout.addWidget(segment)
        self._group.idClicked.connect(self._on_group_id_clicked)
        self.setFocusProxy(self.segments[0])

    @staticmethod
    def fits(spec: SettingSpec, widget: QWidget, width: int = 226) -> bool:
        """Whether these choices are few and short enough."""
        if not 2 <= len(spec.choices) <= SEGMENTS_AT_MOST:
            return False
        # Bold, the chosen label is a little wider.
        return sum(round(text_width(widget, label) * 1.1) + 20 for _, label in spec.choices) <= width

    def set_value(self, value: Any) -> None:
        for segment, (choice, _) in zip(self.segments, self.spec.choices, strict=True):
            segment.setChecked(choice == value)
            # One stop for the tab key, at the chosen one, as in a group of radio buttons.
            segment.setFocusPolicy(
                Qt.FocusPolicy.StrongFocus if choice == value else Qt.FocusPolicy.ClickFocus
            )

    def editor(self) -> QWidget:
        return next((segment for segment in self.segments if segment.isChecked()), self.segments[0])

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(theme.color("field_border" if self.isEnabled() else "disabled"), 1))
        painter.setBrush(theme.color("field"))
        painter.drawRoundedRect(
            QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), theme.radius_small, theme.radius_small
        )

    @Slot(int)
    def _on_segment_arrow_pressed(self, move: int) -> None:
        number = (self._group.checkedId() + move) % len(self.segments)
        self.segments[number].setFocus(Qt.FocusReason.TabFocusReason)
        self.segments[number].click()

    @Slot(int)
    def _on_group_id_clicked(self, number: int) -> None:
        self.edited.emit(self.spec.choices[number][0], 0)


class LineField(Field):
    """What the fields with a line to type in share."""

    wide = True

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self.line = CommitLineEdit(self)
        self.line.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.line.editingFinished.connect(self._on_line_editing_finished)
        self.line.installEventFilter(self)
        self._shown = ""

    def set_text(self, text: str) -> None:
        """Show a text."""
        self._shown = text
        if self.line.text() != text:
            self.line.setText(text)
            self.line.setCursorPosition(0)

    def is_dirty(self) -> bool:
        return self.line.text() != self._shown

    def editor(self) -> QWidget:
        return self.line

    def line_edit(self) -> QLineEdit | None:
        return self.line

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        escape = (
            event.type() == QEvent.Type.KeyPress
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Escape
        )
        if escape and (self.is_dirty() or self._invalid):
            self.line.setText(self._shown)
            self.reverted.emit()
            return True
        return super().eventFilter(watched, event)

    @Slot()
    def _on_line_editing_finished(self) -> None:
        if self.is_dirty():
            self.edited.emit(self.line.text(), 0)


class TextField(LineField):
    """A line of text."""

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self._add_editor(self.line)

    def set_value(self, value: Any) -> None:
        self.set_text("" if value is None else str(value))


class PathField(LineField):
    """A file or a folder: typed, chosen, or dropped."""

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        layout = self._add_editor(self.line)
        self.line.setPlaceholderText("no file chosen")
        self.line.setAcceptDrops(False)
        self.setAcceptDrops(True)
        self.browse = QToolButton(self)
        self.browse.setText("Browse")
        self.browse.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.browse.setToolTip("Choose a file or a folder; either can also be dropped here")
        menu = QMenu(self.browse)
        self._file_action = menu.addAction("File…")
        self._folder_action = menu.addAction("Folder…")
        menu.triggered.connect(self._on_menu_triggered)
        self.browse.setMenu(menu)
        layout.addWidget(self.browse)

    def set_value(self, value: Any) -> None:
        self.set_text("" if value is None else str(value))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if _dropped_path(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = _dropped_path(event)
        if path:
            event.acceptProposedAction()
            self._on_dialog_file_selected(path)

    @Slot(QAction)
    def _on_menu_triggered(self, action: QAction) -> None:
        dialog = QFileDialog(self.window(), f"{self.spec.label}: choose a {action.text().strip('…').lower()}")
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        folder = action is self._folder_action
        dialog.setFileMode(QFileDialog.FileMode.Directory if folder else QFileDialog.FileMode.ExistingFile)
        current = Path(self.line.text()).expanduser()
        if self.line.text() and current.parent.is_dir():
            dialog.setDirectory(str(current if folder and current.is_dir() else current.parent))
        dialog.fileSelected.connect(self._on_dialog_file_selected)
        dialog.open()

    @Slot(str)
    def _on_dialog_file_selected(self, path: str) -> None:
        self.line.setText(path)
        self.edited.emit(path, 0)


def _dropped_path(event: QDropEvent) -> str:
    urls = event.mimeData().urls()
    return urls[0].toLocalFile() if len(urls) == 1 and urls[0].isLocalFile() else ""


class Sparkline(QWidget):
    """A small picture of a sequence of numbers, without axes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: tuple[float, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(100, 34)

    def set_values(self, values: Sequence[float]) -> None:
        """Show these numbers, evenly spaced."""
        self._values = tuple(float(value) for value in values)
        ends = f"{min(values):.4g} to {max(values):.4g}" if values else "empty"
        self.setAccessibleName(f"{len(values)} numbers, {ends}")
        self.setToolTip(f"{len(values)} numbers, {ends}" if values else "No numbers yet")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(QPen(theme.color("border"), 1))
        painter.setBrush(theme.color("background"))
        painter.drawRoundedRect(frame, theme.radius_small, theme.radius_small)
        if not self._values:
            painter.setPen(theme.color("muted"))
            painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, "no numbers yet")
            return
        area = frame.adjusted(6, 6, -6, -6)
        low, high = min(self._values), max(self._values)
        color = theme.color("hand" if self.isEnabled() else "disabled")
        points: list[QPointF] = []
        for index, value in enumerate(self._values):
            across = index / (len(self._values) - 1) if len(self._values) > 1 else 0.5
            up = (value - low) / (high - low) if high > low else 0.5
            points.append(QPointF(area.left() + across * area.width(), area.bottom() - up * area.height()))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(color, theme.stroke))
        painter.drawPolyline(QPolygonF(points))
        if len(self._values) <= 12:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color)
            for point in points:
                painter.drawEllipse(point, 2, 2)


class CurveField(LineField):
    """A sequence of numbers: its picture, the numbers with commas between, and a button to draw it.

    Signals
    -------
    draw_requested()
        The user wants to draw the curve by hand.
    """

    draw_requested = Signal()

    def __init__(self, spec: SettingSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self.line.setPlaceholderText("0.01, 0.02, …")
        self.picture = Sparkline(self)
        self.draw = QPushButton("Draw…", self)
        self.draw.setToolTip("Draw this curve with the mouse")
        self.draw.clicked.connect(self._on_draw_clicked)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        rows.addWidget(self.picture)
        line = QHBoxLayout()
        line.setSpacing(4)
        line.addWidget(self.line)
        line.addWidget(self.draw)
        rows.addLayout(line)
        self.setFocusProxy(self.line)

    def set_value(self, value: Any) -> None:
        numbers = tuple(value or ())
        self.set_text(", ".join(format_number(float(number)) for number in numbers))
        self.picture.set_values(numbers)

    @Slot()
    def _on_draw_clicked(self) -> None:
        self.draw_requested.emit()


def make_field(spec: SettingSpec, parent: QWidget) -> Field:
    """The field for a setting's kind."""
    if spec.kind in ("integer", "number"):
        return NumberField(spec, parent)
    if spec.kind == "switch":
        return SwitchField(spec, parent)
    if spec.kind == "choice":
        return SegmentsField(spec, parent) if SegmentsField.fits(spec, parent) else ChoiceField(spec, parent)
    if spec.kind == "path":
        return PathField(spec, parent)
    if spec.kind == "curve":
        return CurveField(spec, parent)
    return TextField(spec, parent)


EFFECT_WORDS = {"live": "live", "rebuild": "at reset", "display": "view only"}
EFFECT_SENTENCES = {
    "live": "Takes effect at the next step, while it trains.",
    "rebuild": "Takes effect only after a reset.",
    "display": "Changes the pictures only, at once.",
}


class EffectMarker(QWidget):
    """A sign for when a setting takes effect: dot (live), turning arrow (at reset), eye (view only).

    Shapes differ, so no meaning hangs on colour; the tool tip says it in words.
    """

    def __init__(self, effect: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.effect = effect
        self._pending = False
        self.setFixedSize(14, 18)
        self.setToolTip(EFFECT_SENTENCES[effect])
        self.setAccessibleName(EFFECT_WORDS[effect])

    def set_pending(self, pending: bool) -> None:
        """Whether the setting waits for its reset."""
        if pending != self._pending:
            self._pending = pending
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        theme = current_theme()
        if not self.isEnabled():
            color = theme.color("disabled")
        elif self._pending:
            color = theme.color("warning_text")
        else:
            color = theme.color("accent" if self.effect == "live" else "muted")
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        paint_effect(painter, self.effect, QPointF(7, self.height() / 2), color, bold=self._pending)


def paint_effect(
    painter: QPainter, effect: str, center: QPointF, color: QColor, *, bold: bool = False
) -> None:
    """Draw the sign of an effect, about 11 pixels across, around ``center``."""
    pen = QPen(color, 2.0 if bold else 1.4)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    if effect == "live":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.drawEllipse(center, 3.5, 3.5)
        return
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    if effect == "rebuild":
        ring = QRectF(center.x() - 4.2, center.y() - 4.2, 8.4, 8.4)
        painter.drawArc(ring, 60 * 16, 300 * 16)
        # The head sits where the arc begins, at 60 degrees, and points clockwise.
        tip = center + QPointF(4.2 * math.cos(math.radians(60)), -4.2 * math.sin(math.radians(60)))
        painter.drawPolyline(
            QPolygonF([tip + QPointF(0.4, -2.6), tip + QPointF(0.2, 0.2), tip + QPointF(-2.6, 0.4)])
        )
        return
    lens = QPainterPath(center - QPointF(5.5, 0))
    lens.quadTo(center - QPointF(0, 7), center + QPointF(5.5, 0))
    lens.quadTo(center + QPointF(0, 7), center - QPointF(5.5, 0))
    painter.drawPath(lens)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawEllipse(center, 1.7, 1.7)


def show_menu(menu: QMenu, position: QPoint) -> None:
    """Show a menu that goes away with its last use; does not block."""
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.popup(position)


__all__ = [
    "EFFECT_SENTENCES",
    "EFFECT_WORDS",
    "SLIDER_STEPS",
    "ChoiceBox",
    "ChoiceField",
    "CommitLineEdit",
    "CurveField",
    "EffectMarker",
    "Field",
    "Gesture",
    "LineField",
    "NumberBox",
    "NumberField",
    "PathField",
    "Scale",
    "Segment",
    "SegmentsField",
    "Sparkline",
    "Switch",
    "SwitchField",
    "TextField",
    "WheelSafeSlider",
    "format_number",
    "make_field",
    "paint_effect",
    "show_menu",
]
