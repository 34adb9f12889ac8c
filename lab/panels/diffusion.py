"""The diffusion panel: three rows under one time slider, trails, painting r(x), the fan of futures; GUI thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMainWindow, QSlider, QToolButton, QWidget

from engines.diffusion.config import ChooseStep, DropPoint, MaskImage, PaintRegion, PickImage
from engines.figures import Axis, FigureSpec, Film, ImageGrid, Lines, Panels, Plot, Scatter
from lab.panels.active_run import ActiveRun
from lab.panels.panel import Panel
from lab.runs import messages as m
from widgets.figure_view import FigureView
from widgets.gestures import Tool
from widgets.icons import set_icon
from widgets.view_dock import ViewDock

EXTENT = (-3.2, 3.2, -3.2, 3.2)
RESOLUTION = 128
"""Pixels per side of the painted region."""

SPACING = 0.06
"""Distance in units of the plane between points that a stroke draws."""


class DiffusionPanel(Panel):
    """The panel of the diffusion paper."""

    def _set_up(self) -> None:
        self._region = np.zeros((RESOLUTION, RESOLUTION), bool)
        self._mask: np.ndarray | None = None
        self._image_index = 0
        self._point: tuple[float, float] | None = None
        self._points: list[tuple[float, float]] = []
        super()._set_up()
        bent, futures, schedule = (self.view(name) for name in ("bent", "futures", "schedule"))
        bent.stroke_moved.connect(self._on_bent_stroke_moved)
        bent.stroke_started.connect(self._on_bent_stroke_started)
        futures.point_picked.connect(self._on_futures_point_picked)
        schedule.curve_dragged.connect(self._on_schedule_curve_dragged)
        schedule.curve_finished.connect(self._on_schedule_curve_finished)
        futures.set_tool("point")
        schedule.set_tool("curve")
        self._make_canvas()
        self._set_brush("paint")

    def make_tools(self, parent: QWidget) -> QWidget:
        strip = QWidget(parent)
        layout = QHBoxLayout(strip)
        layout.setContentsMargins(12, 6, 12, 0)
        layout.setSpacing(4)
        self._brushes = QActionGroup(strip)
        for name, text, icon_name, tip in (
            (
                "paint",
                "Paint",
                "brush",
                "Paint r(x) in the view 'Multiply by r(x)': the chain bends towards it",
            ),
            ("erase", "Erase", "eraser", "Take away from what is painted"),
        ):
            action = QAction(text, strip)
            action.setData(name)
            action.setCheckable(True)
            action.setToolTip(tip)
            self._brushes.addAction(action)
            button = QToolButton(strip)
            button.setDefaultAction(action)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            self.tool_buttons.append(button)
            set_icon(action, icon_name, self.services.themes)
            layout.addWidget(button)
        self._brushes.actions()[0].setChecked(True)
        self._brushes.triggered.connect(self._on_brushes_triggered)
        label = QLabel("Brush", strip)
        label.setProperty("role", "muted")
        self._brush_size = QSlider(Qt.Orientation.Horizontal, strip)
        self._brush_size.setRange(5, 100)
        self._brush_size.setValue(35)
        self._brush_size.setFixedWidth(80)
        self._brush_size.setToolTip("Radius of the brush")
        self._brush_size.setAccessibleName("Radius of the brush")
        self._brush_size.valueChanged.connect(self._on_brush_size_value_changed)
        layout.addSpacing(8)
        layout.addWidget(label)
        layout.addWidget(self._brush_size)
        layout.addSpacing(8)
        self._clear = self.tool_button(strip, "Clear r(x)", "trash", "Remove what was painted and dropped")
        self._clear.clicked.connect(self._on_clear_clicked)
        layout.addWidget(self._clear)
        self._next = self.tool_button(strip, "Next image", "chevron-right", "In-paint another held-out image")
        self._next.clicked.connect(self._on_next_clicked)
        self._next.hide()
        layout.addWidget(self._next)
        layout.addStretch(1)
        self._own = self.tool_button(
            strip, "Draw your data", "pencil", "Draw points with the brush and train on them"
        )
        self._own.clicked.connect(self._on_own_clicked)
        layout.addWidget(self._own)
        self._use = self.tool_button(
            strip, "Train on these points", "check", "Use the drawn points as data and begin"
        )
        self._use.setProperty("kind", "primary")
        set_icon(self._use, "check", self.services.themes, "accent_text")
        self._use.clicked.connect(self._on_use_clicked)
        self._use.hide()
        layout.addWidget(self._use)
        return strip

    def _fit_tools(self) -> None:
        """Leave the words away where there is no room for all of them: cut ones say less than icons."""
        need, words = 0, Qt.ToolButtonStyle.ToolButtonTextBesideIcon
        for button in self.tool_buttons:
            button.setToolButtonStyle(words)
            need += 0 if button.isHidden() else button.sizeHint().width() + 4
        if need + self._brush_size.width() + 90 > self.width():
            for button in self.tool_buttons:
                if button is not self._use:
                    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)

    def arrange(self, area: QMainWindow, kind: str, *, narrow: bool) -> None:
        if kind == "images":
            top, left, right = ["images", "process"], ["bound", "terms", "schedule"], ["bent", "futures"]
        else:
            top, left, right = ["process"], ["bound", "terms", "schedule"], ["trails", "bent", "futures"]
        self._next.setVisible(kind == "images")
        self._fit_tools()
        if narrow:
            self.place(area, [top], [[*right, *left]])
        elif area.width() < 1250:
            self.place(area, [top], [left, right])
        else:
            middle = right[:-1] if kind == "images" else right[:1]
            self.place(area, [top], [left, middle, [name for name in right if name not in middle]])

    def shared_films(self) -> tuple[str, ...]:
        return ("process", "trails", "bent")

    # --- painting r(x)  ----------

    def _set_brush(self, name: Tool) -> None:
        self.view("bent").set_tool(name)
        self._on_brush_size_value_changed(self._brush_size.value())

    @Slot(QAction)
    def _on_brushes_triggered(self, action: QAction) -> None:
        self._set_brush(action.data())
        if self._canvas_dock.isVisible():
            self._canvas.set_tool(action.data())

    @Slot(int)
    def _on_brush_size_value_changed(self, value: int) -> None:
        radius = value / 100
        self.view("bent").set_brush_radius(radius if self.kind != "images" else max(0.5, 3 * radius))
        self._canvas.set_brush_radius(radius)

    @Slot(float, float, int)
    def _on_bent_stroke_started(self, x: float, y: float, plot: int) -> None:
        self._say_if_over()
        self._stroke(x, y, x, y)

    @Slot(float, float, float, float, int)
    def _on_bent_stroke_moved(self, x0: float, y0: float, x1: float, y1: float, plot: int) -> None:
        self._stroke(x0, y0, x1, y1)

    def _stroke(self, x0: float, y0: float, x1: float, y1: float) -> None:
        erase = self._brushes.checkedAction().data() == "erase"
        if self.kind == "images":
            self._stroke_on_image(x0, y0, x1, y1, hide=not erase)
            return
        radius = self._brush_size.value() / 100
        left, right, bottom, top = EXTENT
        side = (np.arange(RESOLUTION) + 0.5) / RESOLUTION
        x, y = left + side * (right - left), bottom + side * (top - bottom)
        along = np.array([x1 - x0, y1 - y0])
        length = float(along @ along)
        offset_x, offset_y = x[None, :] - x0, y[:, None] - y0
        share = (offset_x * along[0] + offset_y * along[1]) / length if length > 0 else np.zeros((1, 1))
        share = np.clip(share, 0.0, 1.0)
        near = (offset_x - share * along[0]) ** 2 + (offset_y - share * along[1]) ** 2 <= radius**2
        self._region = self._region & ~near if erase else self._region | near
        self.act(PaintRegion(self._region.copy(), EXTENT))

    def _stroke_on_image(self, x0: float, y0: float, x1: float, y1: float, *, hide: bool) -> None:
        still = self.view("bent").still
        grid = still.marks[0] if isinstance(still, Plot) and still.marks else None
        if not isinstance(grid, ImageGrid):
            return
        # A quick hand leaves pixels between two moves of the mouse.
        share = np.linspace(0.0, 1.0, 2 + int(2 * np.hypot(x1 - x0, y1 - y0)))
        places = [grid.locate(x0 + s * (x1 - x0), y0 + s * (y1 - y0)) for s in share]
        # The first picture is the image itself, the second the one that is painted on; fillings are not.
        pixels = [place[1:] for place in places if place is not None and place[0] <= 1]
        if not pixels:
            return
        height, width = grid.images.shape[1:3]
        if self._mask is None or self._mask.shape != (height, width):
            self._mask = np.zeros((height, width), bool)
        rows, columns = np.ogrid[:height, :width]
        radius = max(0.5, 3 * self._brush_size.value() / 100)
        near = np.zeros((height, width), bool)
        for row, column in pixels:
            near |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        self._mask = self._mask | near if hide else self._mask & ~near
        self.act(MaskImage(self._mask.copy()))

    @Slot()
    def _on_clear_clicked(self) -> None:
        self._region[:] = False
        self._mask = None
        self._point = None
        if self.kind == "images":
            still = self.view("bent").still
            if isinstance(still, Plot) and still.marks and isinstance(still.marks[0], ImageGrid):
                height, width = still.marks[0].images.shape[1:3]
                self.act(MaskImage(np.zeros((height, width), bool)))
        else:
            self.act(PaintRegion(self._region.copy(), EXTENT))
            self.act(DropPoint(None, None, self._time()))
        self._points.clear()
        self._show_canvas()

    @Slot()
    def _on_next_clicked(self) -> None:
        self._image_index += 1
        self.act(PickImage(self._image_index))

    # --- futures and the schedule  ----------

    def _time(self) -> int:
        """The step at which the slider stands; half of the chain where nothing is left to run."""
        assert self.form is not None
        values = self.started.values if self.started is not None else self.form.values().model_dump()
        length = int(values["trajectory"])
        t = int(self.times[self.slider.index]) if len(self.times) else 0
        return min(t, length) if t > 0 else max(1, length // 2)

    def _say_if_over(self) -> None:
        if self.state in m.ENDED:
            self.post(
                "info",
                "The run has ended, so that nothing answers the hand: press Reset to begin again.",
                key="act",
            )

    @Slot(float, float, int)
    def _on_futures_point_picked(self, x: float, y: float, plot: int) -> None:
        if self.kind == "images":
            self.act(ChooseStep(self._time()))
            return
        self._say_if_over()
        self._point = (x, y)
        self.act(DropPoint(x, y, self._time()))

    @Slot(int)
    def _on_slider_index_changed(self, index: int) -> None:
        super()._on_slider_index_changed(index)
        # The slider moves through a film of the past, too; the engine is asked about the present alone.
        if self.past.record is not None or self.slider.playing or not self.is_in_sight("futures"):
            return
        if self.kind == "images" or self._point is None:
            self.act(ChooseStep(self._time()))
        else:
            self.act(DropPoint(*self._point, self._time()))

    @Slot(float, float, int)
    def _on_schedule_curve_dragged(self, x: float, y: float, plot: int) -> None:
        still = self.view("schedule").still
        if self.form is None or plot != 0 or not isinstance(still, Panels):
            return
        handles = next(
            mark for mark in still.plots[0].marks if isinstance(mark, Lines) and mark.role == "hand"
        )
        values = handles.y.astype(float).copy()
        values[int(np.argmin(np.abs(handles.x - x)))] = y
        values = np.clip(values, 1e-6, 1 - 1e-5)
        # The handles are fewer than the steps of a long chain: between them the logit is a straight line.
        steps = np.arange(2, int(handles.x[-1]) + 1)
        logits = np.interp(steps, handles.x, np.log(values) - np.log1p(-values))
        drawn = tuple(float(f"{value:.5g}") for value in 1.0 / (1.0 + np.exp(-logits)))
        if not self._dragging:
            self._dragging = True
            self.undo_stack.beginMacro("Draw the noise schedule")
        self.form.change({"schedule": "drawn", "betas": drawn}, gesture=self._gesture)

    @Slot(int)
    def _on_schedule_curve_finished(self, plot: int) -> None:
        self._gesture += 1
        if self._dragging:
            self._dragging = False
            self.undo_stack.endMacro()

    _gesture = 7001
    """The moves of one drag of the schedule; together they are one step of undo."""
    _dragging = False

    def draw_curve(self, name: str) -> None:
        if name == "drawn":
            self._on_own_clicked()
        elif name == "betas":
            self.docks["schedule"].show()
            self.docks["schedule"].raise_()
            self.post(
                "info",
                "Drag the points of the noise schedule: training goes on with what you draw.",
                key="draw",
            )

    # --- drawing one's own data  ----------

    def _make_canvas(self) -> None:
        self._canvas = FigureView(self)
        help_text = "Points drawn with the brush become the data; each of them carries a small Gaussian."
        self._canvas_dock = ViewDock(
            FigureSpec("canvas", "Draw your data", help_text), self._canvas, self.area
        )
        self._canvas.stroke_started.connect(self._on_canvas_stroke_started)
        self._canvas.stroke_moved.connect(self._on_canvas_stroke_moved)
        self._canvas.set_tool("paint")
        self.area.addDockWidget(Qt.DockWidgetArea.TopDockWidgetArea, self._canvas_dock)
        self._canvas_dock.hide()
        self.add_dock(self._canvas_dock)
        self._show_canvas()
        self._canvas_dock.visibilityChanged.connect(self._on_canvas_dock_visibility_changed)

    @Slot()
    def _on_own_clicked(self) -> None:
        if self._canvas_dock.isVisible():
            self._canvas_dock.hide()
            return
        if self.docks["process"].isVisible():
            self.area.tabifyDockWidget(self.docks["process"], self._canvas_dock)
        self._canvas_dock.show()
        self._canvas_dock.raise_()
        self._show_canvas()

    @Slot(bool)
    def _on_canvas_dock_visibility_changed(self, visible: bool) -> None:
        self._use.setVisible(self._canvas_dock.isVisible())
        self._fit_tools()

    @Slot(float, float, int)
    def _on_canvas_stroke_started(self, x: float, y: float, plot: int) -> None:
        self._draw_points(x, y, x, y)

    @Slot(float, float, float, float, int)
    def _on_canvas_stroke_moved(self, x0: float, y0: float, x1: float, y1: float, plot: int) -> None:
        self._draw_points(x0, y0, x1, y1)

    def _draw_points(self, x0: float, y0: float, x1: float, y1: float) -> None:
        if self._brushes.checkedAction().data() == "erase":
            radius = self._brush_size.value() / 100
            self._points = [p for p in self._points if (p[0] - x1) ** 2 + (p[1] - y1) ** 2 > radius**2]
        else:
            if self._points:
                last_x, last_y = self._points[-1]
                if (x1 - last_x) ** 2 + (y1 - last_y) ** 2 < SPACING**2:
                    return
            self._points.append((round(x1, 4), round(y1, 4)))
        self._show_canvas()

    def _show_canvas(self) -> None:
        points = np.array(self._points, dtype=float).reshape(-1, 2)
        axis = {"limits": (-2.0, 2.0)}
        self._canvas.set_figure(
            Plot(
                (Scatter(points[:, 0].copy(), points[:, 1].copy(), size=6.0, role="hand"),),
                Axis("x", **axis),  # type: ignore[arg-type]
                Axis("y", **axis),  # type: ignore[arg-type]
                "Draw your data",
                equal=True,
                legend=False,
                note="" if self._points else "Draw here, then press 'Train on these points'.",
            )
        )

    @Slot()
    def _on_use_clicked(self) -> None:
        assert self.form is not None
        if len(self._points) < 2:
            self.post("warning", "Two points at least are needed to train on: draw some more.", key="draw")
            return
        flat = tuple(value for point in self._points for value in point)
        changes: dict[str, Any] = {"data": "drawn", "drawn": flat}
        if self.form.values().network == "dense":  # type: ignore[attr-defined]
            changes["network"] = "mlp"
        self.form.change(changes, f"Train on {len(self._points)} drawn points")
        self._canvas_dock.hide()
        self.begin()

    def _send_hand(self) -> None:
        if self.run is None:
            return
        # A new engine does not know what was painted on the old one's plane; images keep their own default mask.
        if self._region.any():
            self.run.after_start.append(m.Act(PaintRegion(self._region.copy(), EXTENT)))
        if self._point is not None:
            self.run.after_start.append(m.Act(DropPoint(*self._point, self._time())))

    def _take_started(self, run: ActiveRun, started: m.Started) -> None:
        if started.data.get("kind") == "images":
            run.after_start = [c for c in run.after_start if not _is_plane_action(c)]
            if self._mask is not None and started.data.get("shape", "").endswith(
                "x".join(map(str, self._mask.shape))
            ):
                run.after_start.append(m.Act(MaskImage(self._mask.copy())))
            else:
                self._mask = None
            run.after_start.append(m.Act(PickImage(self._image_index)))
        elif started.data.get("shape") != "2":
            # A cloud in more dimensions is shown from its first two, and has no plane to work on.
            run.after_start = [c for c in run.after_start if not _is_plane_action(c)]
        super()._take_started(run, started)
        figure = self.view("process").figure
        if figure is not None and not isinstance(figure, Film):
            self.slider.hide()


def _is_plane_action(command: m.Command) -> bool:
    return isinstance(command, m.Act) and isinstance(command.action, PaintRegion | DropPoint)
