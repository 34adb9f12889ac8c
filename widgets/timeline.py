"""The time line of a run, in training steps: what can be visited, what happened, and where one looks; runs on the GUI
thread.

Unlike `widgets.time_slider.TimeSlider`, which is the time inside a film.
"""

from __future__ import annotations

import html
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PySide6.QtCore import QEvent, QLineF, QPointF, QRect, QRectF, QSize, Qt, QTimer, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QContextMenuEvent,
    QFocusEvent,
    QFont,
    QFontMetrics,
    QHelpEvent,
    QHideEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QResizeEvent,
    QShowEvent,
)
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSizePolicy, QToolButton, QToolTip, QWidget

from widgets.icons import icon
from widgets.look import current_theme, text_width
from widgets.marks.symbols import paint_symbol

HEIGHT = 48
RATE = 8.0
"""Keyframes per second, at the speed 1."""
SPEEDS = (0.5, 1.0, 2.0, 4.0)
SPACES = (64 * 2**20, 256 * 2**20, 512 * 2**20, 2**30, 4 * 2**30)
"""What keyframes may take, in bytes, as the menu offers it."""
PAGE = 10
"""Keyframes that Page Up and Page Down go."""

MARK_Y, LINE_Y, BRANCH_Y = 9.0, 25.0, 35.0
MARK_GAP = 11.0
"""Marks nearer to each other than this, in pixels, are drawn as one."""
LANES, LANE_HEIGHT = 3, 4.0
MARGIN = 9.0
LIVE_POWER = 1 / 3
"""How the live end moves along the track: with the share of the plan that is done, to this power. In proportion, all that
can be visited would lie within a few pixels for the first part of every run.
"""
LAST_STEP = 10**15
"""Where steps end that a damaged folder may claim."""

MARK_RANKS = ("divergence", "best", "branch", "fork", "change", "action", "pause")
"""Of marks in one place the first of these is drawn."""
MARK_ROLES = {
    "change": "hand",
    "action": "hand",
    "best": "target",
    "divergence": "warning",
    "branch": "past",
    "fork": "past",
}
KEYFRAME_ROLES = {
    "best": "target",
    "change": "hand",
    "divergence": "warning",
    "first": "text",
    "last": "text",
}
KEYFRAME_WORDS = {
    "first": "the beginning",
    "best": "the best kept so far",
    "change": "just before a change",
    "last": "where training ended",
    "divergence": "where training diverged",
}


@dataclass(frozen=True)
class TimelineKeyframe:
    """A moment that can be visited.

    Attributes
    ----------
    step : int
    has_pictures : bool
        Whether there is something to see, and not only a state to go back to.
    kind : {"first", "regular", "best", "change", "last", "divergence"}
        Why it was kept; ``change`` stands just before a change, and another one may follow at its step.
    """

    step: int
    has_pictures: bool = True
    kind: str = "regular"


@dataclass(frozen=True)
class TimelineMark:
    """Something that happened.

    Attributes
    ----------
    step : int
    kind : {"change", "action", "best", "divergence", "branch", "fork", "pause"}
        Each has its own shape.
    text : str
        In words, for the tool tip.
    """

    step: int
    kind: str
    text: str


@dataclass(frozen=True)
class TimelineBranch:
    """A stretch of training, from ``start`` to ``end``, that was left by a rewind or forked off."""

    start: int
    end: int
    text: str
    key: str


class MarkGroup(NamedTuple):
    """Marks that are drawn as one: where in pixels, the index of the one drawn, and of all in order."""

    x: float
    shown: int
    members: tuple[int, ...]


def space_text(used: int, bound: int) -> str:
    """How much of the room for keyframes is taken: ``Keyframes use 38 of 512 MB``."""
    amount, unit = _amount(used)
    limit, limit_unit = _amount(bound)
    return f"Keyframes use {amount if unit == limit_unit else f'{amount} {unit}'} of {limit} {limit_unit}"


def _amount(count: int) -> tuple[str, str]:
    """Bytes as a number and its unit; binary, so that the bounds on offer are round numbers."""
    # The border lies where rounding would write a fourth digit.
    if count < 999.5 * 2**20:
        return f"{count / 2**20:.0f}", "MB"
    return f"{count / 2**30:.1f}".removesuffix(".0"), "GB"


def group_marks(xs: Sequence[float], kinds: Sequence[str], gap: float = MARK_GAP) -> list[MarkGroup]:
    """Gather marks that would overlap around the most important of them, which stays where it is.

    Parameters
    ----------
    xs : sequence of float
        Where each is, in pixels.
    kinds : sequence of str
        What each is, see `TimelineMark`.
    gap : float
        Two groups are at least this far from each other.

    Returns
    -------
    list of MarkGroup
        From left to right.
    """
    ranks = {kind: rank for rank, kind in enumerate(MARK_RANKS)}
    # Of equal ones the latest is drawn.
    order = sorted(range(len(xs)), key=lambda i: (ranks.get(kinds[i], len(ranks)), -xs[i], -i))
    placed: list[tuple[float, int]] = []
    members: dict[int, list[int]] = {}
    for index in order:
        x = xs[index]
        at = bisect_left(placed, (x, -1))
        near = min(placed[max(at - 1, 0) : at + 1], key=lambda other: abs(other[0] - x), default=None)
        if near is not None and abs(near[0] - x) < gap:
            members[near[1]].append(index)
        else:
            placed.insert(at, (x, index))
            members[index] = [index]
    return [MarkGroup(x, shown, tuple(sorted(members[shown]))) for x, shown in placed]


def paint_mark(painter: QPainter, kind: str, center: QPointF) -> None:
    """Draw the sign of what happened, 11 pixels across: its shape tells the kind, not only its colour."""
    theme = current_theme()
    color = theme.color(MARK_ROLES.get(kind, "muted"))
    x, y = center.x(), center.y()
    pen = QPen(color, 1.6)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    if kind == "best":
        paint_symbol(painter, "star", center, 10.0, color, "")
    elif kind == "change":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.drawPolygon(
            QPolygonF([QPointF(x, y - 5.5), QPointF(x + 5, y), QPointF(x, y + 5.5), QPointF(x - 5, y)])
        )
    elif kind == "divergence":
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolygon(
            QPolygonF([QPointF(x, y - 5), QPointF(x + 5.5, y + 4.5), QPointF(x - 5.5, y + 4.5)])
        )
        painter.drawLine(QPointF(x, y - 1.5), QPointF(x, y + 1))
        painter.drawPoint(QPointF(x, y + 2.9))
    elif kind == "fork":
        painter.setPen(pen)
        painter.setBrush(color)
        painter.drawLines(
            [
                QLineF(x - 4, y - 3.5, x, y + 0.5),
                QLineF(x + 4, y - 3.5, x, y + 0.5),
                QLineF(x, y + 0.5, x, y + 4),
            ]
        )
        for dot in (QPointF(x - 4, y - 3.8), QPointF(x + 4, y - 3.8), QPointF(x, y + 4)):
            painter.drawEllipse(dot, 1.0, 1.0)
    elif kind == "branch":
        # Where this run set out from another: down from that one's line, and on to the right.
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(
            QPolygonF([QPointF(x - 3.5, y - 4.5), QPointF(x - 3.5, y + 2), QPointF(x + 4, y + 2)])
        )
        painter.drawPolyline(
            QPolygonF([QPointF(x + 1.5, y - 0.7), QPointF(x + 4.2, y + 2), QPointF(x + 1.5, y + 4.7)])
        )
    elif kind == "pause":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.drawRoundedRect(QRectF(x - 3.5, y - 4, 2.4, 8), 1, 1)
        painter.drawRoundedRect(QRectF(x + 1.1, y - 4, 2.4, 8), 1, 1)
    else:
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawEllipse(center, 4.0, 4.0)
        if kind == "action":
            painter.setBrush(color)
            painter.drawEllipse(center, 0.8, 0.8)


def _bounded(step: int) -> int:
    return min(max(step, 0), LAST_STEP)


class _Hit(NamedTuple):
    """What is below the mouse: ``mark``, ``branch``, ``keyframe``, each with its number, ``live`` or nothing."""

    kind: str
    number: int = 0


class Track(QWidget):
    """The line itself, with keys and mouse; used by `Timeline`.

    Signals
    -------
    keyframe_chosen(int), live_requested(), branch_chosen(str)
        As of `Timeline`.
    position_changed()
        Another moment is shown, whoever chose it.
    play_toggled()
        The person pressed Space.
    """

    keyframe_chosen = Signal(int)
    live_requested = Signal()
    branch_chosen = Signal(str)
    position_changed = Signal()
    play_toggled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.first, self.live = 0, 0
        self.total: int | None = None
        self.keyframes: tuple[TimelineKeyframe, ...] = ()
        self.marks: tuple[TimelineMark, ...] = ()
        self.branches: tuple[TimelineBranch, ...] = ()
        self.position: int | None = None
        self.note = ""
        """What the tool tip says besides."""
        self._lanes: list[int] = []
        self._live_x = MARGIN
        self._end_x = MARGIN
        self._steps = np.zeros(0)
        self._places = np.zeros(0)
        self._ticks: list[float] = []
        self._mark_xs: list[float] = []
        self._stretches: list[tuple[float, float]] = []
        self._gathered: list[MarkGroup] | None = None
        self._hover = _Hit("")
        self._pressed_branch: int | None = None
        self._dragging = False
        self._shows_focus = False
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(HEIGHT)
        self.setMinimumWidth(120)
        self.setAccessibleName("Time line of the run")

    @property
    def dragging(self) -> bool:
        """Whether the mouse holds the handle."""
        return self._dragging

    # What others tell it ------------------------------------------------------------------------------------

    def set_span(self, first: int, live: int, total: int | None) -> None:
        """See `Timeline.set_span`."""
        first = _bounded(first)
        live = max(_bounded(live), first)
        total = _bounded(total) if total else None
        if (first, live, total) != (self.first, self.live, self.total):
            self.first, self.live, self.total = first, live, total
            self.arrange()

    def set_keyframes(self, keyframes: Sequence[TimelineKeyframe]) -> None:
        """See `Timeline.set_keyframes`."""
        new = tuple(keyframes)
        if new == self.keyframes:
            return
        shown = None if self.position is None else self.keyframes[self.position]
        self.keyframes = new
        moved = self.position
        if shown is not None:
            if shown in new:
                moved = new.index(shown)
            else:
                moved = min(range(len(new)), key=lambda i: abs(new[i].step - shown.step), default=None)
        self.position = moved
        self._rearrange()
        self.position_changed.emit()

    def set_marks(self, marks: Sequence[TimelineMark]) -> None:
        """See `Timeline.set_marks`."""
        new = tuple(marks)
        if new != self.marks:
            self.marks = new
            self._rearrange()

    def set_branches(self, branches: Sequence[TimelineBranch]) -> None:
        """See `Timeline.set_branches`."""
        new = tuple(branches)
        if new == self.branches:
            return
        self.branches = new
        self._pressed_branch = None
        # Side by side where they overlap; when all lanes are taken, in the one that is free soonest.
        ends = [-1] * LANES
        self._lanes = []
        for branch in new:
            free = [lane for lane in range(LANES) if ends[lane] < branch.start]
            lane = free[0] if free else min(range(LANES), key=ends.__getitem__)
            ends[lane] = max(ends[lane], branch.end)
            self._lanes.append(lane)
        self._rearrange()

    def set_position(self, index: int | None) -> None:
        """See `Timeline.set_position`."""
        if index is not None:
            index = min(max(index, 0), len(self.keyframes) - 1) if self.keyframes else None
        if index != self.position:
            self.position = index
            self.update()
            self.position_changed.emit()

    # What the person does -----------------------------------------------------------------------------------

    def choose(self, index: int | None) -> None:
        """Go to a keyframe, or with None to the live end, and say so."""
        if index is not None and index >= len(self.keyframes):
            index = None
        if index is not None:
            index = max(index, 0)
        if index == self.position:
            return
        self.set_position(index)
        if index is None:
            self.live_requested.emit()
        else:
            self.keyframe_chosen.emit(index)

    def choose_event(self, direction: int) -> None:
        """Go to the next mark, or with -1 to the one before; stay if there is none."""
        targets = {self.before(mark.step) for mark in self.marks} - {None}
        here = len(self.keyframes) if self.position is None else self.position
        later = [index for index in targets if index is not None and (index - here) * direction > 0]
        if later:
            self.choose(min(later) if direction > 0 else max(later))

    def before(self, step: int) -> int | None:
        """The newest keyframe at or before a step; the first where none is; None when there are no keyframes."""
        earlier = [index for index, keyframe in enumerate(self.keyframes) if keyframe.step <= step]
        if earlier:
            return max(earlier, key=lambda index: (self.keyframes[index].step, index))
        return 0 if self.keyframes else None

    # Where things are ---------------------------------------------------------------------------------------

    def _horizon(self) -> int:
        ends = [_bounded(branch.end) for branch in self.branches]
        return max(self.live, self.total or 0, *ends)

    def arrange(self) -> None:
        """Find out where everything is, and repaint if something is elsewhere than it was."""
        horizon = self._horizon()
        done = (self.live - self.first) / (horizon - self.first) if horizon > self.first else 1.0
        self._end_x = max(self.width() - MARGIN, MARGIN + 1)
        self._live_x = MARGIN + (self._end_x - MARGIN) * done**LIVE_POWER
        # In one call for all, as this comes with every step; what lies beyond the live end is to a scale of its own.
        places = np.rint(
            np.interp(self._steps, (self.first, self.live, horizon), (MARGIN, self._live_x, self._end_x))
        )
        places = np.append(places, round(self._live_x))
        if not np.array_equal(places, self._places):
            self._places = places
            xs = places.tolist()
            keyframes, marks = len(self.keyframes), len(self.marks)
            self._ticks, self._mark_xs, ends = (
                xs[:keyframes],
                xs[keyframes : keyframes + marks],
                xs[keyframes + marks : -1],
            )
            self._stretches = list(zip(ends[0::2], ends[1::2], strict=True))
            self._gathered = None
            self.update()

    def _rearrange(self) -> None:
        """Arrange anew, because there are other things to place."""
        ends = [step for branch in self.branches for step in (branch.start, branch.end)]
        steps = [*(k.step for k in self.keyframes), *(mark.step for mark in self.marks), *ends]
        self._steps = np.array([_bounded(step) for step in steps], dtype=float)
        self._places = np.zeros(0)
        self._hover = _Hit("")
        self.arrange()

    def _groups(self) -> list[MarkGroup]:
        # When they are needed, as a picture may come after many steps.
        if self._gathered is None:
            self._gathered = group_marks(self._mark_xs, [mark.kind for mark in self.marks])
        return self._gathered

    def place_of(self, index: int | None) -> QPointF:
        """Where a keyframe is, or with None the live end."""
        return QPointF(self._live_x if index is None else self._ticks[index], LINE_Y)

    def mark_places(self) -> list[QPointF]:
        """Where signs of marks are; those of several may be one."""
        return [QPointF(group.x, MARK_Y) for group in self._groups()]

    def branch_place(self, index: int) -> QPointF:
        """The middle of a branch's line."""
        left, right = self._stretches[index]
        return QPointF((left + right) / 2, BRANCH_Y + LANE_HEIGHT * self._lanes[index])

    def _nearest(self, x: float) -> int | None:
        """The keyframe nearest to ``x``; None for the live end."""
        if not self._ticks or x >= self._live_x:
            return None
        # Of several in one place the last, which is the newest.
        index = min(range(len(self._ticks)), key=lambda i: (abs(self._ticks[i] - x), -i))
        return index if abs(self._ticks[index] - x) < self._live_x - x else None

    def _hit(self, point: QPointF) -> _Hit:
        x, y = point.x(), point.y()
        if y < MARK_Y + 7:
            groups = self._groups()
            near = min(range(len(groups)), key=lambda i: abs(groups[i].x - x), default=None)
            if near is not None and abs(groups[near].x - x) <= MARK_GAP / 2 + 1:
                return _Hit("mark", near)
        if y > BRANCH_Y - 3:
            found = [
                (abs(self.branch_place(i).y() - y), right - left, i)
                for i, (left, right) in enumerate(self._stretches)
                if left - 4 <= x <= right + 4
            ]
            if found and min(found)[0] <= 5:
                return _Hit("branch", min(found)[2])
        index = self._nearest(x)
        if index is not None:
            return _Hit("keyframe", index)
        return _Hit("live")

    def tip_at(self, point: QPointF) -> str:
        """What there is to say of a place."""
        hit = self._hit(point)
        if hit.kind == "mark":
            members = self._groups()[hit.number].members
            lines = [f"Step {_bounded(self.marks[i].step):,}: {self.marks[i].text}" for i in members]
            if len(lines) > 1:
                shown = lines[:8]
                more = [f"and {len(lines) - 8} more"] if len(lines) > 8 else []
                return "\n".join([f"{len(lines)} events", *shown, *more])
            return lines[0]
        if hit.kind == "branch":
            branch = self.branches[hit.number]
            steps = f"steps {_bounded(branch.start):,} to {_bounded(branch.end):,}"
            return f"{branch.text}: {steps}\nClick to show it beside this run"
        lines = [_first_upper(self.words(hit.number if hit.kind == "keyframe" else None))]
        if point.x() > self._live_x + 3 and self._horizon() > self.live:
            ahead = (
                f"Planned up to step {self.total:,}"
                if self.total and self.total > self.live
                else "Not trained yet"
            )
            lines = [f"{ahead} (not to scale)"]
        if self.note:
            lines.append(self.note)
        return "\n".join(lines)

    def words(self, index: int | None) -> str:
        """A moment in words: ``step 300, just before a change``."""
        if index is None:
            return f"live, at step {self.live:,}"
        keyframe = self.keyframes[index]
        parts = [f"step {_bounded(keyframe.step):,}"]
        if keyframe.kind in KEYFRAME_WORDS:
            parts.append(KEYFRAME_WORDS[keyframe.kind])
        if not keyframe.has_pictures:
            parts.append("without pictures")
        return ", ".join(parts)

    # Painting -----------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_line(painter)
        self._paint_branches(painter)
        self._paint_ticks(painter)
        self._paint_handle(painter)
        self._paint_marks(painter)
        if self.hasFocus() and self._shows_focus:
            theme = current_theme()
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(theme.color("focus"), 2))
            frame = QRectF(self.rect()).adjusted(1, 1, -1, -1)
            painter.drawRoundedRect(frame, theme.radius_small, theme.radius_small)

    def _paint_line(self, painter: QPainter) -> None:
        theme = current_theme()
        here = self.place_of(self.position).x()
        pen = QPen(theme.color("scroll"), 2)
        pen.setDashPattern([1.0, 2.0])
        painter.setPen(pen)
        if self._end_x - self._live_x > 4:
            painter.drawLine(QPointF(self._live_x + 4, LINE_Y), QPointF(self._end_x, LINE_Y))
        pen = QPen(theme.color("track" if self.position is None else "scroll"), 4)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        painter.drawLine(QPointF(MARGIN, LINE_Y), QPointF(self._live_x, LINE_Y))
        pen.setColor(theme.color("accent"))
        painter.setPen(pen)
        painter.drawLine(QPointF(MARGIN, LINE_Y), QPointF(here, LINE_Y))

    def _paint_ticks(self, painter: QPainter) -> None:
        theme = current_theme()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        plain: set[float] = set()
        empty: set[float] = set()
        special: dict[float, str] = {}
        for x, keyframe in zip(self._ticks, self.keyframes, strict=True):
            if keyframe.kind in KEYFRAME_ROLES:
                special[x] = keyframe.kind
            (plain if keyframe.has_pictures else empty).add(x)
        painter.setPen(QPen(theme.color("muted"), 1))
        painter.drawLines([QLineF(x, LINE_Y - 7, x, LINE_Y - 4) for x in sorted(plain)])
        painter.drawPoints([QPointF(x, LINE_Y - 5) for x in sorted(empty - plain)])
        for x, kind in special.items():
            painter.setPen(QPen(theme.color(KEYFRAME_ROLES[kind]), 1))
            painter.drawLine(QLineF(x, LINE_Y - 9, x, LINE_Y - 4))
        if self._hover.kind == "keyframe" and not self._dragging:
            painter.setPen(QPen(theme.color("accent"), 2))
            x = self._ticks[self._hover.number]
            painter.drawLine(QLineF(x, LINE_Y - 9, x, LINE_Y - 3))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)

    def _paint_handle(self, painter: QPainter) -> None:
        theme = current_theme()
        accent = theme.color("accent")
        here = self.place_of(self.position)
        if self.position is not None:
            # The present, to which one comes back.
            painter.setPen(QPen(accent, 1.6))
            painter.setBrush(accent if self._hover.kind == "live" else theme.color("card"))
            painter.drawEllipse(self.place_of(None), 4.0, 4.0)
            painter.setPen(QPen(accent, 1.6))
            painter.drawLine(here + QPointF(0, -10), here + QPointF(0, 8))
            painter.setBrush(theme.color("card"))
        else:
            painter.setPen(QPen(accent, 1.6))
            painter.setBrush(accent)
        if self.hasFocus():
            painter.setPen(QPen(theme.color("text"), 1.6))
            painter.setBrush(accent)
        painter.drawEllipse(here, 6.0, 6.0)

    def _paint_marks(self, painter: QPainter) -> None:
        theme = current_theme()
        for index, group in enumerate(self._groups()):
            center = QPointF(group.x, MARK_Y)
            if self._hover == ("mark", index):
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(theme.color("pressed"))
                painter.drawEllipse(center, 8.5, 8.5)
            paint_mark(painter, self.marks[group.shown].kind, center)

    def _paint_branches(self, painter: QPainter) -> None:
        theme = current_theme()
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for index, (left, right) in enumerate(self._stretches):
            y = self.branch_place(index).y()
            hovered = self._hover == ("branch", index)
            pen = QPen(theme.color("text" if hovered else "past"), 2.4 if hovered else 1.6)
            pen.setCapStyle(Qt.PenCapStyle.RoundCap)
            pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
            painter.setPen(pen)
            # Down from where it left the line, then along.
            right = max(right, left + 5)
            painter.drawPolyline(QPolygonF([QPointF(left, LINE_Y + 5), QPointF(left, y), QPointF(right, y)]))

    # Keys and mouse -----------------------------------------------------------------------------------------

    def _key_target(self, event: QKeyEvent) -> tuple[str, int]:
        """What a key asks for: one of ``go``, ``event``, ``live`` and ``play``, with a number; else nothing."""
        key, modifiers = event.key(), event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        here = len(self.keyframes) if self.position is None else self.position
        if modifiers == Qt.KeyboardModifier.ControlModifier:
            if key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
                return "event", 1 if key == Qt.Key.Key_Right else -1
        elif modifiers == Qt.KeyboardModifier.NoModifier:
            moves = {
                Qt.Key.Key_Left: -1,
                Qt.Key.Key_Right: 1,
                Qt.Key.Key_PageDown: -PAGE,
                Qt.Key.Key_PageUp: PAGE,
            }
            if key in moves:
                return "go", here + moves[Qt.Key(key)]
            if key == Qt.Key.Key_Home:
                return "go", 0
            if key == Qt.Key.Key_End:
                return "live", 0
            if key in (Qt.Key.Key_Escape, Qt.Key.Key_L) and self.position is not None:
                return "live", 0
            if key == Qt.Key.Key_Space:
                return "play", 0
        return "", 0

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            # With the keyboard here, these keys are the line's own and not the window's.
            if self._key_target(event)[0]:
                event.accept()
                return True
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            text = html.escape(self.tip_at(QPointF(event.pos()))).replace("\n", "<br>")
            QToolTip.showText(event.globalPos(), f"<qt>{text}</qt>", self)
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        what, number = self._key_target(event)
        if not what:
            super().keyPressEvent(event)
            return
        self._show_focus(True)
        if what == "go" and self.keyframes:
            self.choose(number)
        elif what == "event":
            self.choose_event(number)
        elif what == "live":
            self.choose(None)
        elif what == "play" and not event.isAutoRepeat():
            self.play_toggled.emit()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            super().mousePressEvent(event)
            return
        self._show_focus(False)
        hit = self._hit(event.position())
        if hit.kind == "branch":
            self._pressed_branch = hit.number
            return
        self._dragging = True
        if hit.kind == "mark":
            self.choose(self.before(self.marks[self._groups()[hit.number].shown].step))
        else:
            self.choose(self._nearest(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._dragging:
            self.choose(self._nearest(event.position().x()))
        else:
            self._set_hover(self._hit(event.position()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            super().mouseReleaseEvent(event)
            return
        pressed, self._pressed_branch = self._pressed_branch, None
        self._dragging = False
        hit = self._hit(event.position())
        self._set_hover(hit if self.rect().contains(event.position().toPoint()) else _Hit(""))
        self.update()
        if pressed is not None and hit == ("branch", pressed):
            self.branch_chosen.emit(self.branches[pressed].key)

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._set_hover(_Hit(""))

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        # The release of the mouse will go elsewhere.
        self._dragging = False
        self._pressed_branch = None

    def _set_hover(self, hit: _Hit) -> None:
        if hit != self._hover:
            self._hover = hit
            if hit.kind in ("mark", "branch"):
                self.setCursor(Qt.CursorShape.PointingHandCursor)
            else:
                self.unsetCursor()
            self.update()

    def _show_focus(self, shown: bool) -> None:
        if shown != self._shows_focus:
            self._shows_focus = shown
            self.update()

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        by_keyboard = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)
        self._show_focus(event.reason() in (*by_keyboard, Qt.FocusReason.ShortcutFocusReason))
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.arrange()


class _Reading(QWidget):
    """The step that is shown: in one line where there is room, else in two; as wide as its digits need."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._step, self._total, self._live = "", "", True
        self._widest = ""
        self._two_lines = False
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)

    @property
    def text(self) -> str:
        """All of it: ``step 1,240 of 7,889 · live``."""
        return f"{self._step} {self._rest(self._live)}"

    def show_step(self, step: str, total: str, live: bool, widest: str) -> None:
        """Show ``step 1,240``, ``of 7,889`` and whether that is the present, with room for ``widest`` as the first."""
        fits = (len(widest), len(total)) == (len(self._widest), len(self._total))
        if (step, total, live) != (self._step, self._total, self._live):
            self._step, self._total, self._live = step, total, live
            self.update()
        self._widest = widest
        if not fits:
            self._fit()

    def set_two_lines(self, two_lines: bool) -> None:
        """Whether all but the step stands below it."""
        if two_lines != self._two_lines:
            self._two_lines = two_lines
            self._fit()

    def width_needed(self, *, two_lines: bool) -> int:
        """How wide it is in one line or in two, the present and the past alike."""
        step = text_width(self, self._widest)
        metrics = QFontMetrics(self._small() if two_lines else self.font())
        rest = max(metrics.horizontalAdvance(self._rest(live)) for live in (True, False))
        return (max(step, rest) if two_lines else step + rest + text_width(self, " ")) + 4

    def _rest(self, live: bool) -> str:
        word = "live" if live else "past"
        if self._total:
            return f"{self._total} · {word}"
        return word if self._two_lines else f"· {word}"

    def _fit(self) -> None:
        self.setFixedWidth(self.width_needed(two_lines=self._two_lines))
        self.update()

    def _small(self) -> QFont:
        font = QFont(self.font())
        font.setPixelSize(current_theme().font_small)
        return font

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        upper = lower = self.rect()
        if self._two_lines:
            middle = upper.center().y()
            upper, lower = QRect(0, middle - 17, self.width(), 18), QRect(0, middle + 1, self.width(), 16)
        end = self._paint(painter, upper, self._step, "text")
        if self._two_lines:
            painter.setFont(self._small())
        else:
            lower = lower.adjusted(end + text_width(self, " "), 0, 0, 0)
        rest = self._rest(self._live)
        word = rest.split()[-1]
        end = self._paint(painter, lower, rest.removesuffix(word), "muted")
        self._paint(painter, lower.adjusted(end, 0, 0, 0), word, "link" if self._live else "muted")

    @staticmethod
    def _paint(painter: QPainter, area: QRect, text: str, role: str) -> int:
        """Draw a text at the left of an area; its width."""
        painter.setPen(current_theme().color(role))
        metrics = painter.fontMetrics()
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, area.width() + 1)
        painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)
        return metrics.horizontalAdvance(text)


class Timeline(QWidget):
    """The time line below a paper's panel: goes to any moment of the run that was kept, and back to the present.

    With the keyboard in it: Left and Right go from keyframe to keyframe, with Ctrl from event to event, Page Up and Page
    Down ten keyframes, Home to the first, End, Escape and L to the live end; Space plays.

    Signals
    -------
    keyframe_chosen(int)
        The person, or playing, went to another keyframe: its index.
    live_requested()
        Back to the present.
    branch_chosen(str)
        The key of a branch whose line was clicked.
    rewind_requested(), fork_requested()
        From the keyframe that is shown.
    space_chosen(object)
        Bytes, an int, that keyframes may take; an object, because Qt's int ends at two gigabytes.
    """

    keyframe_chosen = Signal(int)
    live_requested = Signal()
    branch_chosen = Signal(str)
    rewind_requested = Signal()
    fork_requested = Signal()
    space_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._can_rewind = True
        self._playing = False
        self._speed = 1.0
        self._compact: bool | None = None
        self._space = (0, SPACES[2])
        self._make_actions()
        self._make_menus()
        self._set_up()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_timer_timeout)
        self._draw_icons()
        self.set_space(*self._space)
        self._show_position()

    def _make_actions(self) -> None:
        self.play_action = self._action("Play", self._on_play_action_triggered)
        self.live_action = self._action("Back to live", self._on_live_action_triggered)
        self.live_action.setToolTip("Show the present again (L or Escape in the time line)")
        self.rewind_action = self._action("Rewind here", self._on_rewind_action_triggered)
        self.fork_action = self._action("Fork here…", self._on_fork_action_triggered)

    def _action(self, text: str, slot: object) -> QAction:
        action = QAction(text, self)
        action.triggered.connect(slot)
        return action

    def _make_menus(self) -> None:
        self.menu = QMenu(self)
        self.speed_menu = QMenu("Speed", self)
        self._speeds = QActionGroup(self)
        for speed in SPEEDS:
            self._add_choice(self.speed_menu, self._speeds, f"{speed:g}×", speed, speed == self._speed)
        self._speeds.triggered.connect(self._on_speeds_triggered)
        self.space_menu = QMenu(self)
        self._spaces = QActionGroup(self)
        for space in SPACES:
            self._add_choice(self.space_menu, self._spaces, " ".join(_amount(space)), space, False)
        # A bound that is none of these leaves all of them open.
        self._spaces.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
        self._spaces.triggered.connect(self._on_spaces_triggered)
        self.branch_menu = QMenu("Show beside this run", self)
        self.branch_menu.triggered.connect(self._on_branch_menu_triggered)

    def _add_choice(self, menu: QMenu, group: QActionGroup, text: str, value: object, checked: bool) -> None:
        action = QAction(text, group)
        action.setCheckable(True)
        action.setChecked(checked)
        action.setData(value)
        menu.addAction(action)

    def _set_up(self) -> None:
        self.play_button = self._button(self.play_action)
        self.play_button.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        self.play_button.setMenu(self.speed_menu)
        self.track = Track(self)
        self.track.keyframe_chosen.connect(self.keyframe_chosen)
        self.track.live_requested.connect(self._on_track_live_requested)
        self.track.branch_chosen.connect(self.branch_chosen)
        self.track.position_changed.connect(self._on_track_position_changed)
        self.track.play_toggled.connect(self._on_play_action_triggered)
        self._reading = _Reading(self)
        self.live_button = self._button(self.live_action)
        self.rewind_button = self._button(self.rewind_action)
        self.fork_button = self._button(self.fork_action)
        layout = QHBoxLayout(self)
        # The texts of the buttons give way, so what they need now is not the least that is possible.
        layout.setSizeConstraint(QHBoxLayout.SizeConstraint.SetNoConstraint)
        layout.setContentsMargins(4, 0, 4, 0)
        layout.setSpacing(4)
        layout.addWidget(self.play_button)
        layout.addWidget(self.track, 1)
        layout.addSpacing(4)
        layout.addWidget(self._reading)
        layout.addSpacing(4)
        for button in (self.live_button, self.rewind_button, self.fork_button):
            layout.addWidget(button)
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusProxy(self.track)

    def _button(self, action: QAction) -> QToolButton:
        button = QToolButton(self)
        button.setDefaultAction(action)
        button.setIconSize(QSize(16, 16))
        button.setMinimumHeight(28)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        return button

    def sizeHint(self) -> QSize:
        return QSize(1000, HEIGHT)

    def minimumSizeHint(self) -> QSize:
        return QSize(480, HEIGHT)

    # What others tell it ------------------------------------------------------------------------------------

    @property
    def position(self) -> int | None:
        """The index of the keyframe that is shown; None at the live end."""
        return self.track.position

    @property
    def playing(self) -> bool:
        """Whether it goes through the keyframes by itself, as far as it can be seen."""
        return self._playing

    @property
    def speed(self) -> float:
        """How fast it plays; one of `SPEEDS`."""
        return self._speed

    @property
    def step_text(self) -> str:
        """What is written beside the line: ``step 1,240 of 7,889 · live``."""
        return self._reading.text

    def set_span(self, first: int, live: int, total: int | None) -> None:
        """From where to where the run goes; cheap, may be called many times a second.

        Parameters
        ----------
        first, live : int
            The first step, and the newest.
        total : int or None
            The steps planned; None or 0 when the run has no end.
        """
        self.track.set_span(first, live, total)
        self._show_step()

    def set_keyframes(self, keyframes: Sequence[TimelineKeyframe]) -> None:
        """What can be visited, in the order in which `keyframe_chosen` and `set_position` count.

        The one that is shown stays if it is still there, else the nearest takes its place; nothing is reported.
        """
        self.track.set_keyframes(keyframes)

    def set_marks(self, marks: Sequence[TimelineMark]) -> None:
        """What happened."""
        self.track.set_marks(marks)

    def set_branches(self, branches: Sequence[TimelineBranch]) -> None:
        """The stretches that were left."""
        self.track.set_branches(branches)

    def set_position(self, index: int | None) -> None:
        """Show a keyframe by its index, or with None the live end; numbers beyond the ends mean the ends.

        Nothing is reported.
        """
        self.track.set_position(index)

    def set_can_rewind(self, possible: bool) -> None:
        """Whether the run can be rewound at all; besides, a keyframe must be shown."""
        self._can_rewind = possible
        self._update_actions()

    def set_space(self, used: int, bound: int) -> None:
        """What keyframes take and may take, in bytes."""
        self._space = (used, bound)
        text = space_text(used, bound)
        self.track.note = text
        self.space_menu.setTitle(text)
        for action in self._spaces.actions():
            action.setChecked(action.data() == bound)

    # --------------------------------------------------------------------------------------------------------

    def _show_step(self) -> None:
        track = self.track
        live = track.position is None
        step = track.live if track.position is None else _bounded(track.keyframes[track.position].step)
        total = f"of {track.total:,}" if track.total else ""
        # Wide enough for every step of the run, or the line would change its length while it is dragged.
        widest = f"step {10 ** len(str(max(track.live, track.total or 0))) - 1:,}"
        before = self._reading.width()
        self._reading.show_step(f"step {step:,}", total, live, widest)
        if self._reading.width() != before:
            self._fit()

    def _show_position(self) -> None:
        self._show_step()
        self._update_actions()
        track = self.track
        if track.position is None:
            words = track.words(None)
        else:
            words = f"keyframe {track.position + 1} of {len(track.keyframes)}, {track.words(track.position)}"
        track.setAccessibleDescription(_first_upper(words))

    def _update_actions(self) -> None:
        past = self.track.position is not None
        step = "" if self.track.position is None else self.track.words(self.track.position)
        for action, possible in (
            (self.play_action, bool(self.track.keyframes)),
            (self.live_action, past),
            (self.rewind_action, past and self._can_rewind),
            (self.fork_action, past),
        ):
            if action.isEnabled() and not possible:
                self._keep_focus(action)
            action.setEnabled(possible)
        self.rewind_action.setToolTip(
            f"Train on from {step}; what came after stays as a branch"
            if past
            else "First go to a moment of the past"
        )
        self.fork_action.setToolTip(
            f"Train a second run from {step}" if past else "First go to a moment of the past"
        )

    def _keep_focus(self, action: QAction) -> None:
        # Qt would hand the keyboard of a button that is disabled on to the next one.
        for button in (self.play_button, self.live_button, self.rewind_button, self.fork_button):
            if button.defaultAction() is action and button.hasFocus():
                self.track.setFocus()

    def _set_playing(self, playing: bool) -> None:
        self._playing = playing
        self._run_timer()
        self._draw_icons()

    def _run_timer(self) -> None:
        if self._playing and self.isVisible():
            self._timer.start(round(1000 / (RATE * self._speed)))
        else:
            self._timer.stop()

    def _draw_icons(self) -> None:
        theme = current_theme()
        self.play_action.setText("Hold" if self._playing else "Play")
        words = "Hold here" if self._playing else "Play through the keyframes"
        self.play_action.setToolTip(f"{words} (Space in the time line)")
        for action, name in (
            (self.play_action, "pause" if self._playing else "play"),
            (self.live_action, "live"),
            (self.rewind_action, "rewind"),
            (self.fork_action, "fork"),
        ):
            action.setIcon(icon(name, theme.color("text"), 16))

    def _fit(self) -> None:
        """Leave the texts of the buttons away where the line needs their room."""
        buttons = (self.live_button, self.rewind_button, self.fork_button)
        texts = sum(text_width(self, button.text()) + 16 + 22 for button in buttons)
        needed = texts + self._reading.width_needed(two_lines=False) + 360
        compact = self.width() < needed
        if compact != self._compact:
            self._compact = compact
            style = (
                Qt.ToolButtonStyle.ToolButtonIconOnly
                if compact
                else Qt.ToolButtonStyle.ToolButtonTextBesideIcon
            )
            for button in buttons:
                button.setToolButtonStyle(style)
            self._reading.set_two_lines(compact)
        layout = self.layout()
        if layout is not None:
            layout.activate()

    def fill_menu(self) -> None:
        """Put into the menu what can be done now."""
        self.menu.clear()
        words = self.track.words(self.track.position)
        heading = self.menu.addAction(_first_upper(words))
        heading.setEnabled(False)
        self.menu.addActions([self.rewind_action, self.fork_action, self.live_action])
        if self.track.branches:
            self.branch_menu.clear()
            for branch in self.track.branches:
                steps = f"steps {_bounded(branch.start):,} to {_bounded(branch.end):,}"
                action = self.branch_menu.addAction(f"{branch.text}: {steps}".replace("&", "&&"))
                action.setData(branch.key)
            self.menu.addMenu(self.branch_menu)
        self.menu.addSeparator()
        self.menu.addAction(self.play_action)
        self.menu.addMenu(self.speed_menu)
        self.menu.addSeparator()
        self.menu.addMenu(self.space_menu)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        place = event.globalPos()
        if event.reason() == QContextMenuEvent.Reason.Keyboard:
            place = self.track.mapToGlobal(self.track.place_of(self.track.position).toPoint())
        self.fill_menu()
        self.menu.popup(place)
        event.accept()

    @Slot()
    def _on_track_position_changed(self) -> None:
        if self._playing and self.track.position is None:
            self._set_playing(False)
        self._show_position()

    @Slot()
    def _on_track_live_requested(self) -> None:
        self.live_requested.emit()

    @Slot()
    def _on_play_action_triggered(self) -> None:
        if self._playing:
            self._set_playing(False)
        elif self.track.keyframes:
            if self.track.position is None:
                # At the end a film begins anew.
                self.track.choose(0)
            self._set_playing(True)

    @Slot()
    def _on_timer_timeout(self) -> None:
        if self.track.dragging:
            return
        if self.track.position is None:
            self._set_playing(False)
        else:
            self.track.choose(self.track.position + 1)

    @Slot()
    def _on_live_action_triggered(self) -> None:
        self.track.choose(None)

    @Slot()
    def _on_rewind_action_triggered(self) -> None:
        self._set_playing(False)
        self.rewind_requested.emit()

    @Slot()
    def _on_fork_action_triggered(self) -> None:
        self._set_playing(False)
        self.fork_requested.emit()

    @Slot(QAction)
    def _on_speeds_triggered(self, action: QAction) -> None:
        self._speed = float(action.data())
        self._run_timer()

    @Slot(QAction)
    def _on_spaces_triggered(self, action: QAction) -> None:
        # A second click on the bound in force would take its mark away.
        action.setChecked(True)
        if action.data() != self._space[1]:
            space = int(action.data())
            self.set_space(self._space[0], space)
            self.space_chosen.emit(space)

    @Slot(QAction)
    def _on_branch_menu_triggered(self, action: QAction) -> None:
        self.branch_chosen.emit(action.data())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_timer"):
            self._draw_icons()
        elif event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange) and hasattr(self, "_timer"):
            self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._run_timer()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._run_timer()


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


__all__ = [
    "RATE",
    "SPACES",
    "SPEEDS",
    "MarkGroup",
    "Timeline",
    "TimelineBranch",
    "TimelineKeyframe",
    "TimelineMark",
    "Track",
    "group_marks",
    "paint_mark",
    "space_text",
]
