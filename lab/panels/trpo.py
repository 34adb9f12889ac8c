"""The TRPO panel: playback and actions under one time slider, the what-if step, policies as files; GUI thread.

The what-if step
----------------
Moving the slider asks the engine to look at an update with another length of its step (`WhatIf`). Only one such request is
under way at a time; when it is answered, the newest wish follows it, so that a drag never runs ahead of the pictures. What
the strip shows is what the engine said last: a run that is rewound or chosen again brings its what-if step with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QSizePolicy,
    QStyle,
    QStyleOptionSlider,
    QWidget,
)

from engines.errors import InputError
from engines.figures import Figure, Film
from engines.trpo import saved
from engines.trpo.config import GivePolicy, GiveUpdates, SetPolicy, WhatIf
from engines.trpo.saved import SavedPolicy
from lab.panels.active_run import ActiveRun
from lab.panels.panel import Panel
from lab.runs import messages as m
from widgets.fields import ChoiceBox
from widgets.figure_view import FigureView
from widgets.look import current_theme, text_width
from widgets.time_slider import JumpSlider

SHORTEST, LONGEST = -1.0, 4.0
"""Fractions of the full step that can be looked at."""

HUNDREDTHS = 100

LIST_EVERY = 1.0
"""Seconds between questions which updates are remembered, while the run goes on."""

FILES = f"Policy (*{saved.SUFFIX})"


class FractionSlider(JumpSlider):
    """The part of the full step that is taken; a tick marks 1, and a double click goes back there."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.setRange(round(HUNDREDTHS * SHORTEST), round(HUNDREDTHS * LONGEST))
        self.setSingleStep(5)
        self.setPageStep(50)
        self.setValue(HUNDREDTHS)

    @property
    def fraction(self) -> float:
        """The chosen part."""
        return self.value() / HUNDREDTHS

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.setValue(HUNDREDTHS)
        event.accept()

    def paintEvent(self, event: QPaintEvent) -> None:
        option = QStyleOptionSlider()
        self.initStyleOption(option)
        handle = self.style().subControlRect(
            QStyle.ComplexControl.CC_Slider, option, QStyle.SubControl.SC_SliderHandle, self
        )
        at = QStyle.sliderPositionFromValue(
            self.minimum(), self.maximum(), HUNDREDTHS, self.width() - handle.width()
        )
        painter = QPainter(self)
        painter.setPen(QPen(current_theme().color("muted"), 1.5))
        x, middle = at + handle.width() / 2, self.height() / 2
        painter.drawLine(round(x), round(middle - 8), round(x), round(middle + 8))
        painter.end()
        super().paintEvent(event)


class TrpoPanel(Panel):
    """The panel of trust region policy optimisation."""

    def _set_up(self) -> None:
        self._updates: tuple[int, ...] = ()
        self._what_if: tuple[int, float] | None = None
        self._is_asking = False  # a WhatIf is under way
        self._asks_again = False  # the hand has moved on meanwhile
        self._is_listing = False
        self._listed_step = -1
        self._list_next = 0.0
        super()._set_up()
        self._update_tools()

    # --- the strip of tools  ----------

    def make_tools(self, parent: QWidget) -> QWidget:
        strip = QWidget(parent)
        layout = QHBoxLayout(strip)
        layout.setContentsMargins(12, 6, 12, 0)
        layout.setSpacing(4)
        self._what_if_label = QLabel("What if", strip)
        self._what_if_label.setProperty("role", "muted")
        self._update_box = ChoiceBox(strip)
        self._update_box.setAccessibleName("Update whose step is looked at")
        self._update_box.setToolTip("A past update: what if its step had been longer, or shorter?")
        self._update_box.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self._update_box.setFixedWidth(128)
        self._update_box.activated.connect(self._on_update_box_activated)
        self._fraction = FractionSlider(strip)
        self._fraction.setMinimumWidth(64)
        self._fraction.setMaximumWidth(320)
        self._fraction.setToolTip(
            "Part of the full step: 0 is the policy before it, 1 the edge of the trust region. Double-click for 1."
        )
        self._fraction.setAccessibleName("Part of the full step")
        self._fraction.valueChanged.connect(self._on_fraction_value_changed)
        self._fraction_label = QLabel(strip)
        self._fraction_label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._newest = self.tool_button(
            strip, "Newest", "live", "End the what-if step: show the newest policy again"
        )
        self._newest.clicked.connect(self._on_newest_clicked)
        self._keep = self.tool_button(
            strip,
            "Keep as fork",
            "fork",
            "Train a second run that goes on with the what-if policy, beside this one",
        )
        self._keep.clicked.connect(self._on_keep_clicked)
        self._save = self.tool_button(
            strip, "Save policy…", "export", "Write the policy that is played, the what-if one or the newest"
        )
        self._save.clicked.connect(self._on_save_clicked)
        self._open = self.tool_button(
            strip,
            "Open policy…",
            "folder",
            "Play a saved policy, and train on from it; or drop its file here",
        )
        self._open.clicked.connect(self._on_open_clicked)
        layout.addWidget(self._what_if_label)
        layout.addWidget(self._update_box)
        layout.addWidget(self._fraction, 1)
        layout.addWidget(self._fraction_label)
        layout.addWidget(self._newest)
        layout.addWidget(self._keep)
        layout.addStretch(1)
        layout.addWidget(self._save)
        layout.addWidget(self._open)
        return strip

    def _fit_tools(self) -> None:
        """Leave the words of buttons away, the last ones first, until the slider has room."""
        if self.tools is None:
            return
        for button in self.tool_buttons:
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        room = self.width() - 24 - self._what_if_label.sizeHint().width() - self._update_box.width()
        room -= self._fraction_label.minimumWidth() + 170
        for button in (self._open, self._save, self._newest, self._keep):
            if sum(each.sizeHint().width() + 4 for each in self.tool_buttons) <= room:
                return
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)

    def _update_tools(self) -> None:
        """Bring the strip up to what is known of the run in focus."""
        is_alive = self.started is not None and self.state in ("running", "paused")
        can_look = is_alive and bool(self._updates)
        for widget in (self._what_if_label, self._update_box, self._fraction, self._fraction_label):
            widget.setEnabled(can_look)
        self._newest.setEnabled(can_look and self._what_if is not None)
        self._keep.setEnabled(can_look and self._what_if is not None)
        self._save.setEnabled(is_alive)

    def _show_what_if(self) -> None:
        """Let the strip show the update and the fraction that are looked at."""
        box = self._update_box
        shown = [box.itemData(index) for index in range(box.count())]
        if shown != list(self._updates) and not box.view().isVisible():
            box.clear()
            for update in self._updates:
                box.addItem(f"update {update:,}", update)
        newest = self._updates[-1] if self._updates else 0
        update, fraction = self._what_if if self._what_if is not None else (newest, 1.0)
        box.setCurrentIndex(box.findData(update))
        blocked = self._fraction.blockSignals(True)
        self._fraction.setValue(round(HUNDREDTHS * fraction))
        self._fraction.blockSignals(blocked)
        label = self._fraction_label
        label.setText(f"step × {fraction:.2f}")
        label.setMinimumWidth(text_width(label, "step × −0.00"))
        self._update_tools()

    # --- arranging  ----------

    def arrange(self, area: QMainWindow, kind: str, *, narrow: bool) -> None:
        if narrow:
            learning = ["returns", "step", "plane", "divergence", "improvement", "search", "residuals"]
            self.place(area, [["playback", "actions", "bound", "vine"]], [learning])
        elif area.width() < 1250:
            # The row below stands under the playback alone: the step has the whole height.
            self.place(
                area,
                [["playback"], ["step", "plane", "bound", "vine"]],
                [["returns", "divergence", "improvement"], ["actions", "residuals", "search"]],
            )
            self._share(area, ["playback", "step"], [4, 3])
        else:
            self.place(
                area,
                [["playback"], ["step", "residuals"], ["plane", "bound", "vine"]],
                [["returns", "improvement"], ["actions", "divergence", "search"]],
            )
            self._share(area, ["playback", "step", "plane"], [4, 3, 3])
        upper = 5 if narrow else 6
        height = max(area.height(), 10)
        docks = [self.docks["playback"], self.docks["returns"]]
        area.resizeDocks(docks, [height * upper // 10, height * (10 - upper) // 10], Qt.Orientation.Vertical)

    def _share(self, area: QMainWindow, names: list[str], parts: list[int]) -> None:
        """Divide the width among the docks of a row."""
        widths = [max(area.width() * part // sum(parts), 1) for part in parts]
        area.resizeDocks([self.docks[name] for name in names], widths, Qt.Orientation.Horizontal)

    # --- the films  ----------

    def shared_films(self) -> tuple[str, ...]:
        return ("playback", "actions")

    def _is_leading(self, name: str) -> bool:
        """Whether the slider shows this film's times: the playback's where it is seen, its actions may end sooner."""
        playback = self.view("playback").figure
        return name == "playback" or not self.is_in_sight("playback") or not isinstance(playback, Film | None)

    def _show_figure(self, name: str, view: FigureView, figure: Figure) -> None:
        if name not in self.shared_films() or not isinstance(figure, Film):
            super()._show_figure(name, view, figure)
            if name == "playback":
                self.slider.hide()
            return
        if self._is_leading(name) and not np.array_equal(self.times, figure.times):
            # A newer episode goes on at the same time.
            index = figure.nearest(self.slider.time) if len(self.times) else figure.start
            self.times = np.asarray(figure.times)
            self.slider.set_range(figure.times, figure.time)
            self.slider.set_index(index)
        if self.slider.isHidden():
            self.slider.show()
        # What a policy does is seen in motion.
        self.begin_films()
        view.set_figure(figure)
        view.set_frame(figure.nearest(self.slider.time))

    @Slot(int)
    def _on_slider_index_changed(self, index: int) -> None:
        for name in self.shared_films():
            view = self.view(name)
            if self.is_in_sight(name) and isinstance(view.figure, Film):
                view.set_frame(view.figure.nearest(self.slider.time))

    # --- the what-if step  ----------

    @property
    def what_if(self) -> tuple[int, float] | None:
        """The update and the fraction of its step that are looked at; None for the newest policy."""
        return self._what_if

    @property
    def updates(self) -> tuple[int, ...]:
        """Updates that can be looked at."""
        return self._updates

    def look(self, update: int, fraction: float) -> None:
        """Look at an update with another length of its step."""
        self._look((update, fraction))

    def end_look(self) -> None:
        """Show the newest policy again."""
        self._look(None)

    def _look(self, wish: tuple[int, float] | None) -> None:
        self._what_if = wish
        self._show_what_if()
        if self._is_asking:
            self._asks_again = True
        else:
            self._ask_what_if()

    def _ask_what_if(self) -> None:
        self._asks_again = False
        wish = self._what_if
        number = self.act(WhatIf(None) if wish is None else WhatIf(*wish))
        self._is_asking = number is not None
        if number is None:
            self._what_if = None
            self._show_what_if()
        else:
            self.await_answer(number, self._take_looked)

    def _take_looked(self, run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run:
            return
        self._is_asking = False
        if self._asks_again:
            self._ask_what_if()
        elif answer.error:
            self._what_if = None
            self._show_what_if()
        else:
            self._take_updates(answer.payload)

    def _take_updates(self, told: Mapping[str, Any]) -> None:
        self._updates = tuple(told["updates"])
        if not self._is_asking:
            held = told["what_if"]
            self._what_if = None if held is None else (int(held[0]), float(held[1]))
        self._show_what_if()

    def _keep_listed(self) -> None:
        """Ask now and then which updates are remembered."""
        session = self.session
        if session is None or self.started is None or self.state not in ("running", "paused"):
            return
        now = time.monotonic()
        if self._is_listing or session.step == self._listed_step or now < self._list_next:
            return
        self._is_listing, self._list_next = True, now + LIST_EVERY
        self.await_answer(session.act(GiveUpdates()), self._take_listed)

    def _take_listed(self, run: ActiveRun, answer: m.Answer) -> None:
        if run is not self.run:
            return
        self._is_listing, self._listed_step = False, answer.step
        if not answer.error:
            self._take_updates(answer.payload)

    def tick(self, *, in_sight: bool) -> None:
        super().tick(in_sight=in_sight)
        if in_sight and self.form is not None:
            self._keep_listed()
            self._update_tools()

    def _focus(self, run: ActiveRun | None) -> None:
        super()._focus(run)
        self._updates, self._what_if = (), None
        self._is_asking = self._asks_again = self._is_listing = False
        self._listed_step, self._list_next = -1, 0.0
        self._show_what_if()

    def _take_started(self, run: ActiveRun, started: m.Started) -> None:
        was_to_follow = bool(run.after_start)
        super()._take_started(run, started)
        if was_to_follow:
            # A policy was put in: what was asked for before shows another one.
            self._version += 1
        if run is self.run and started.values.get("sampling") == "vine" and not self._user_layout:
            self.docks["vine"].raise_()

    @Slot(int)
    def _on_update_box_activated(self, index: int) -> None:
        self.look(self._update_box.itemData(index), self._fraction.fraction)

    @Slot(int)
    def _on_fraction_value_changed(self, value: int) -> None:
        update = self._update_box.currentData()
        if update is not None:
            self.look(update, value / HUNDREDTHS)

    @Slot()
    def _on_newest_clicked(self) -> None:
        self.end_look()

    # --- the policy elsewhere: forks and files  ----------

    def _ask_policy(self, then: Callable[[ActiveRun, m.Answer], None]) -> bool:
        """Ask for the policy that is played; False where there is nobody to answer."""
        if self.session is None or self.started is None or self.state not in ("running", "paused"):
            self.post("info", "There is no policy yet: press Train first.", key="policy")
            return False
        if self._asks_again:
            # The newest wish of the hand goes first.
            self._ask_what_if()
        self.await_answer(self.session.act(GivePolicy(what_if=True)), then)
        return True

    @Slot()
    def _on_keep_clicked(self) -> None:
        self.keep_as_fork()

    def keep_as_fork(self) -> None:
        """Begin a run beside this one that goes on with the policy of the what-if step."""
        if self._what_if is None:
            return
        if self._fork_from() is None:
            self.post("info", "There is nothing to fork from yet: the first keyframe comes soon.", key="fork")
            return
        self._ask_policy(partial(self._fork_with, self._what_if))

    def _fork_with(self, held: tuple[int, float], run: ActiveRun, answer: m.Answer) -> None:
        keyframe = self._fork_from()
        if answer.error or run is not self.run or keyframe is None:
            return
        is_training = run.meant_to_train and run.state == "running"
        self.end_look()
        # It begins paused, or the first update would be of the old policy.
        self.fork(keyframe, {}, train=False)
        if self.run is None or self.run is run:
            return
        fork = self.run
        fork.detail = f"{held[1]:.2f} of step {held[0]:,}"
        policy = SetPolicy(*(answer.payload[name] for name in ("theta", "mean", "deviation")))
        fork.after_start += [m.Act(WhatIf(None)), m.Act(policy)]
        if is_training:
            fork.meant_to_train = True
            fork.after_start.append(m.Play())
        self._show_strip()

    @Slot()
    def _on_save_clicked(self) -> None:
        name = f"{self.settings().environment.rpartition(':')[2]}-{self.shown_step()}{saved.SUFFIX}"  # type: ignore[attr-defined]
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the policy", str(Path.home() / name.replace("/", "-")), FILES
        )
        if path:
            self.save_policy(Path(path))

    def save_policy(self, path: Path) -> None:
        """Write the policy that is played, the what-if one or the newest, as a file."""
        if path.suffix.lower() != saved.SUFFIX:
            path = path.with_name(path.name + saved.SUFFIX)
        self._ask_policy(partial(self._write_policy, path))

    def _write_policy(self, path: Path, run: ActiveRun, answer: m.Answer) -> None:
        if answer.error:
            return
        try:
            saved.write(path, SavedPolicy(**answer.payload))
        except InputError as error:
            self.post("error", str(error), key="policy")
        else:
            self.post("info", f"Saved {path}", key="policy")

    @Slot()
    def _on_open_clicked(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a policy", str(Path.home()), FILES)
        if path:
            self.open_policy(Path(path))

    def take_file(self, path: Path) -> bool:
        if path.suffix.lower() != saved.SUFFIX:
            return False
        self.open_policy(path)
        return True

    def open_policy(self, path: Path) -> None:
        """Begin a paused run with a saved policy, and play it; a run that trains goes on beside it."""
        assert self.form is not None
        try:
            policy = saved.read(path)
            # A file must not choose which code is imported.
            if ":" in policy.environment and policy.environment != self.settings().environment:  # type: ignore[attr-defined]
                raise InputError(
                    f"{path.name} was trained in {policy.environment}, whose module would be imported: if you trust it, "
                    "enter that as the environment, and open the policy again."
                )
            wanted = {"environment": policy.environment, "units": policy.units, "layers": policy.layers}
            self.form.change(wanted, f"Policy {path.name}")
        except InputError as error:
            self.post("error", str(error), key="policy")
            return
        before = self.run
        self.begin(paused=True, beside=self.state in ("running", "starting"), name=path.stem)
        if self.run is None or self.run is before:
            return
        self.run.detail = f"opened, step {policy.step:,}"
        self.run.after_start.append(m.Act(SetPolicy(policy.theta, policy.mean, policy.deviation)))
        self._show_strip()
        self.play_films()
        known = "" if policy.mean_return is None else f", mean return {policy.mean_return:.4g}"
        self.post(
            "info",
            f"{path.name}: a policy for {policy.environment} after {policy.step:,} updates{known}. Press Train to go on "
            "from it.",
            key="policy",
        )


__all__ = ["FractionSlider", "TrpoPanel"]
