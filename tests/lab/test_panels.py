"""The contract that every built paper's panel keeps, in the real window; a new paper is tested by being in the table."""

from __future__ import annotations

import csv
import importlib.util
import io
import multiprocessing
import re
import subprocess
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from engines import figures as vocabulary
from engines.figures import Figure, FigureSpec, Film, is_empty, plots_of
from lab import papers
from lab.cli import main
from lab.export import FORMATS, export, source, venue
from lab.panels.panel import Panel
from lab.runs.folder import RunFolder
from lab.setup import read_setup
from lab.window.application import Application
from tests.lab.conftest import PATIENCE
from tests.lab.export.foreign import check_drawing, check_pdf, check_pixels, check_svg, drawn_eps, mp4_frames
from tests.lab.small import SMALL

BUILT = [paper.id for paper in papers.papers() if paper.is_built]
UNBUILT = [paper.id for paper in papers.papers() if not paper.is_built]
Make = Callable[..., Application]


def press(qtbot: QtBot, application: Application) -> None:
    """Press the button that trains and pauses, as a person does."""
    qtbot.mouseClick(application.window.transport.play_button, Qt.MouseButton.LeftButton)


def train(qtbot: QtBot, application: Application) -> Panel:
    """Train, in small, until every view in sight has a picture."""
    panel = application.window.current_panel()
    assert panel is not None and panel.form is not None
    panel.form.change({**SMALL.get(panel.paper.id, {})})
    press(qtbot, application)
    qtbot.waitUntil(lambda: panel.state == "running", timeout=PATIENCE)
    qtbot.waitUntil(lambda: all(panel.figure(name) is not None for name in in_sight(panel)), timeout=PATIENCE)
    return panel


def in_sight(panel: Panel) -> list[str]:
    """Views whose picture the engine computes and that can be seen."""
    assert panel.method is not None
    drawn = [view.name for view in panel.method.views if isinstance(view, FigureSpec)]
    return [name for name in drawn if panel.is_in_sight(name)]


def pause(qtbot: QtBot, application: Application, panel: Panel) -> int:
    """Pause and return the step."""
    press(qtbot, application)
    qtbot.waitUntil(lambda: application.window.transport.state() == "paused", timeout=PATIENCE)
    assert panel.session is not None
    return panel.session.step


def faults(panel: Panel, application: Application) -> list[str]:
    """Errors that the window shows."""
    return [message.text() for message in application.window.messages.messages() if message.kind == "error"]


@pytest.mark.parametrize("paper", BUILT)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_panel_opens_and_fits_the_smallest_window(
    qtbot: QtBot, make_lab: Make, paper: str, theme: str
) -> None:
    application = make_lab(paper, size=(1000, 700), theme=theme)
    window = application.window
    assert (window.width(), window.height()) == (1000, 700)
    assert window.minimumSizeHint().width() <= 1000 and window.minimumSizeHint().height() <= 700
    panel = window.current_panel()
    assert panel is not None and panel.form is not None
    qtbot.waitUntil(lambda: len(in_sight(panel)) > 0)
    for widget in (panel, panel.form, window.transport, window.paper_list):
        corner = widget.mapTo(window, QPoint(widget.width(), widget.height()))
        assert corner.x() <= 1000 and corner.y() <= 700, f"{type(widget).__name__} ends at {corner}"
        assert widget.width() >= widget.minimumSizeHint().width()
    # With the longest number that may stand beside the title, too.
    window.headline.setText(f"{panel.method.headline_label}  −1.23e−45")
    window.layout().activate()
    qtbot.waitUntil(lambda: window.tabs.width() >= window.tabs.sizeHint().width())
    assert all(window.tabs.tabRect(page).right() < window.tabs.width() for page in range(window.tabs.count()))
    assert window.heading.shown_text()
    assert not faults(panel, application)


@pytest.mark.parametrize("paper", BUILT)
@pytest.mark.parametrize("where", ["process", "thread"])
def test_a_panel_trains_pauses_steps_resets_and_stops(
    qtbot: QtBot, make_lab: Make, paper: str, where: str
) -> None:
    application = make_lab(paper, where)
    panel = train(qtbot, application)
    window = application.window
    assert panel.session is not None and panel.session.where == where
    step = pause(qtbot, application, panel)
    assert step >= 1
    qtbot.mouseClick(window.transport.step_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel.session is not None and panel.session.step == step + 1, timeout=PATIENCE)
    qtbot.waitUntil(lambda: window.transport.state() == "paused", timeout=PATIENCE)
    first = panel.session.spec.folder
    assert first is not None
    qtbot.mouseClick(window.transport.reset_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(
        lambda: panel.session is not None and panel.session.spec.folder != first, timeout=PATIENCE
    )
    qtbot.waitUntil(
        lambda: window.transport.state() == "paused" and panel.session.step == 0, timeout=PATIENCE
    )
    qtbot.waitUntil(lambda: not window.services.closing, timeout=PATIENCE)
    assert RunFolder(first).metrics().steps[-1] == step + 1, (
        "what was trained before a reset stays in its folder"
    )
    press(qtbot, application)
    qtbot.waitUntil(
        lambda: window.transport.state() == "running" and panel.session.step >= 2, timeout=PATIENCE
    )
    qtbot.mouseClick(window.transport.stop_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel.state == "done", timeout=PATIENCE)
    folder = RunFolder(panel.session.spec.folder or "")
    assert folder.last_state() == "done" and not folder.damage()
    assert not faults(panel, application)


@pytest.mark.parametrize("paper", BUILT)
@pytest.mark.parametrize("about", ["stepping", "pausing", "starting paused"])
def test_a_reset_leaves_a_run_paused_that_is_only_about_to_pause(
    qtbot: QtBot, make_lab: Make, monkeypatch: pytest.MonkeyPatch, paper: str, about: str
) -> None:
    application = make_lab(paper, "thread")
    panel = train(qtbot, application)
    transport = application.window.transport
    assert panel.method is not None
    engine_class = papers.resolve(panel.method.engine)
    go_on, step, build = threading.Event(), engine_class.step, engine_class.__init__

    def held_build(self: object, *arguments: object) -> None:
        go_on.wait(60)
        build(self, *arguments)

    def click(button: QWidget) -> None:
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    if about != "pausing":
        pause(qtbot, application, panel)
    monkeypatch.setattr(engine_class, "step", lambda self: go_on.wait(60) and step(self))
    monkeypatch.setattr(engine_class, "__init__", held_build)
    try:
        if about == "pausing":
            press(qtbot, application)
        elif about == "stepping":
            click(transport.step_button)
            qtbot.waitUntil(lambda: panel.state == "running", timeout=PATIENCE)
        else:
            click(transport.reset_button)
            qtbot.waitUntil(lambda: panel.state == "starting", timeout=PATIENCE)
        assert panel.state in ("running", "starting")
        if about == "starting paused":
            # The bar offers no reset while a run starts; the form does.
            assert panel.form is not None
            panel.form.reset_requested.emit()
        else:
            click(transport.reset_button)
    finally:
        go_on.set()
    qtbot.waitUntil(lambda: panel.state in ("paused", "running"), timeout=PATIENCE)
    assert panel.state == "paused" and panel.session is not None and panel.session.step == 0


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Figure]]:
    """Every figure of a paper after a few steps of its demo, as the engine draws it; films cut short."""
    made: dict[str, dict[str, Figure]] = {}

    def figures(paper: str) -> dict[str, Figure]:
        if paper not in made:
            folder = tmp_path_factory.mktemp("exported") / paper
            words = [
                "run",
                paper,
                "--steps",
                "12",
                "--where",
                "thread",
                "--threads",
                "1",
                "--out",
                str(folder),
                *(
                    word
                    for name, value in SMALL.get(paper, {}).items()
                    for word in ("--set", f"{name}={value}")
                ),
            ]
            assert main(words) == 0
            run = RunFolder(folder)
            made[paper] = {name: source.picture(run, name).figure for name in source.figure_names(run)}
        return made[paper]

    return figures


def shortened(figure: Figure) -> Figure:
    """A few frames show as well as many that a film is written."""
    if not isinstance(figure, Film):
        return figure
    return Film(figure.frames[:2], figure.times[:2], figure.time, figure.title, figure.caption)


ABOUT = {"step": 12, "seed": 0, "preset": "", "run": "r", "data": {"name": "some"}, "version": "0.1.0"}


def about(paper: str, name: str) -> dict[str, object]:
    method = papers.method_of(papers.find_built(paper))
    return ABOUT | {"paper": paper, "figure": name, "settings": method.config().model_dump(mode="json")}


@pytest.mark.parametrize("paper", BUILT)
def test_every_figure_is_a_page_that_other_programs_open(
    exported: Callable[[str], dict[str, Figure]], tmp_path: Path, paper: str
) -> None:
    looks = [
        venue("icml"),
        venue("icml-wide", theme="dark"),
        venue("slide"),
        venue("nature", text="outlines"),
    ]
    for number, (name, figure) in enumerate(exported(paper).items()):
        assert vocabulary.check(figure) == []
        for plot in plots_of(figure):
            assert all(axis.title() for axis in (plot.x, plot.y) if axis.shown and plot.marks)
        style = looks[number % len(looks)]
        check_drawing(figure, style)
        contents = {}
        for format in ("pdf", "svg", "png"):
            path = export(figure, tmp_path / f"{name}.{format}", style=style, metadata=about(paper, name))
            check_setup(path, paper)
            contents[format] = path.read_bytes()
        check_pdf(contents["pdf"], figure, style)
        check_svg(contents["svg"], style)
        with Image.open(io.BytesIO(contents["png"])) as picture:
            assert picture.width == round(style.width_in * style.dpi)
            assert picture.info["dpi"] == pytest.approx((style.dpi, style.dpi), abs=0.02)
            check_pixels(np.asarray(picture.convert("RGB")), style)


def probe(path: Path) -> str:
    """What ffmpeg says of the picture in a film."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    said = subprocess.run([ffmpeg, "-hide_banner", "-i", path], capture_output=True, text=True).stderr
    return next(line for line in said.splitlines() if "Video: h264" in line).partition("yuv420p")[2]


def check_setup(path: Path, paper: str) -> None:
    """What made the figure can be opened from its file."""
    setup = read_setup(path)
    assert setup.paper == paper, path
    assert setup.settings() == papers.method_of(papers.find_built(paper)).config(), path


@pytest.mark.parametrize("paper", BUILT)
def test_every_figure_can_be_had_in_all_other_formats(
    exported: Callable[[str], dict[str, Figure]], tmp_path: Path, paper: str
) -> None:
    # As outlines: to embed a font in EPS takes two seconds a figure.
    small = venue("icml", dpi=50, text="outlines")
    others = [form for form in FORMATS.values() if form.name not in ("pdf", "svg", "png")]
    if not importlib.util.find_spec("imageio_ffmpeg"):
        others = [form for form in others if form.name != "mp4"]
    for name, figure in exported(paper).items():
        shown = shortened(figure)
        for form in others:
            if form.kind == "film" and not isinstance(figure, Film):
                continue
            path = export(shown, tmp_path / name, form.name, small, about(paper, name))
            check_setup(path, paper)
            content = path.read_bytes()
            if form.name == "eps":
                box = re.search(rb"%%BoundingBox: 0 0 (\d+) (\d+)", content)
                assert box is not None and int(box[1]) == round(72 * small.width_in)
                if (page := drawn_eps(path)) is not None:
                    # Of a height that is no whole number of points, ghostscript shows the last one whole.
                    assert page.shape[:2] == pytest.approx((int(box[2]), int(box[1])), abs=1)
                    assert page.min() < 200, "something is drawn"
            elif form.name == "pgf":
                assert content.count(b"{pgfpicture}") == 2
            elif form.name in ("gif", "webp", "apng"):
                with Image.open(io.BytesIO(content)) as film:
                    assert film.n_frames == 2  # type: ignore[attr-defined]
                    assert film.width == round(small.width_in * small.dpi)
            elif form.name == "mp4":
                # Even sides, of which the format is made.
                pixels = round(small.width_in * small.dpi)
                wide = pixels + pixels % 2
                found = re.search(r"(\d+)x(\d+)", probe(path))
                assert found is not None and int(found[1]) == wide
                assert len(mp4_frames(path, wide, int(found[2]))) == 2
            elif form.name == "npz":
                with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                    assert len([arrays[key] for key in arrays.files]) > 1
            elif form.name == "script":
                assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
            elif form.name == "csv":
                rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
                assert {len(row) for row in rows} == {len(rows[0])}
                assert (len(rows) > 1) != is_empty(shown)


def close_while_training(qtbot: QtBot, application: Application, panel: Panel) -> None:
    """Close the window; nothing is lost, and nothing is left."""
    assert panel.session is not None
    session, folder = panel.session, panel.session.spec.folder
    assert folder is not None
    application.window.close()
    qtbot.waitUntil(application.window.is_closed, timeout=PATIENCE)
    assert not session.host.is_alive()
    assert not multiprocessing.active_children()
    run = RunFolder(folder)
    steps = run.metrics().steps
    assert len(steps) and (np.diff(steps) == 1).all(), "no scalar is missing"
    assert run.keyframes()[0][-1].step == steps[-1], "the last state is kept"
    assert run.last_state() == "done" and not run.damage()
    assert not application.window.isVisible()


@pytest.mark.parametrize("paper", BUILT)
def test_closing_while_training_on_a_thread_loses_nothing_and_leaves_nothing(
    qtbot: QtBot, make_lab: Make, paper: str
) -> None:
    application = make_lab(paper, "thread")
    close_while_training(qtbot, application, train(qtbot, application))


@pytest.mark.parametrize("paper", BUILT)
def test_a_start_shows_what_was_left(qtbot: QtBot, make_lab: Make, paper: str) -> None:
    application = make_lab(paper)
    panel = train(qtbot, application)
    assert panel.form is not None
    panel.form.change({"seed": 5})
    step = pause(qtbot, application, panel)
    application.window.close()
    qtbot.waitUntil(application.window.is_closed, timeout=PATIENCE)
    again = make_lab()
    again.window.start()
    shown = again.window.current_panel()
    assert shown is not None and shown.paper.id == paper and shown.form is not None
    qtbot.waitUntil(lambda: shown.state == "paused", timeout=PATIENCE)
    assert shown.session is not None and shown.session.step == step
    qtbot.waitUntil(lambda: any(shown.figure(name) is not None for name in in_sight(shown)), timeout=PATIENCE)
    press(qtbot, again)
    qtbot.waitUntil(lambda: shown.state == "running" and shown.session.step > step, timeout=PATIENCE)


@pytest.mark.parametrize("paper", BUILT)
def test_a_live_change_acts_and_a_rebuild_change_waits(qtbot: QtBot, make_lab: Make, paper: str) -> None:
    application = make_lab(paper)
    panel = train(qtbot, application)
    assert panel.form is not None and panel.method is not None and panel.session is not None
    live = next(
        s
        for s in panel.method.config.specs()
        if s.effect == "live" and s.kind == "number" and s.name != "steps"
    )
    low = live.minimum if live.minimum is not None else 0.0
    value = getattr(panel.form.values(), live.name) * 0.5 or low
    panel.form.change({live.name: value})
    panel.form.change({"seed": 11})
    assert "seed" in panel.form.pending()
    pause(qtbot, application, panel)
    folder = RunFolder(panel.session.spec.folder or "")
    qtbot.waitUntil(lambda: any(e["kind"] == "change" for e in folder.events()[0]), timeout=PATIENCE)
    changes = {
        name: v for e in folder.events()[0] if e["kind"] == "change" for name, v in e["values"].items()
    }
    assert changes[live.name] == pytest.approx(value)
    assert "seed" not in changes, "a rebuild setting must not reach a run that exists"
    application.window.undo_group.undo()
    assert panel.form.pending() == {}
    assert not faults(panel, application)


@pytest.mark.parametrize("paper", BUILT)
def test_a_panel_survives_the_death_of_its_process_and_a_close_while_the_next_one_trains(
    qtbot: QtBot, make_lab: Make, paper: str
) -> None:
    application = make_lab(paper, "process")
    panel = train(qtbot, application)
    assert panel.session is not None
    panel.session.host.kill()
    qtbot.waitUntil(lambda: panel.state == "failed", timeout=PATIENCE)
    qtbot.waitUntil(lambda: bool(faults(panel, application)), timeout=PATIENCE)
    assert "SIGKILL" in faults(panel, application)[0]
    assert all(panel.figure(name) is not None for name in in_sight(panel)), "the pictures stay"
    panel.continue_after_failure()
    qtbot.waitUntil(lambda: panel.state == "running", timeout=PATIENCE)
    session = panel.session
    first = session.step
    qtbot.waitUntil(lambda: session.step > first, timeout=PATIENCE)
    close_while_training(qtbot, application, panel)


@pytest.mark.parametrize("paper", UNBUILT)
def test_a_paper_that_is_not_built_shows_its_text_and_says_so(
    qtbot: QtBot, make_lab: Make, paper: str
) -> None:
    application = make_lab(paper, size=(1000, 700))
    panel = application.window.current_panel()
    assert panel is not None and panel.is_text_shown()
    said = " ".join(label.text() for label in panel.text_page.notice.findChildren(QLabel))
    assert panel.text_page.notice.isVisible() and "not built yet" in said
    assert papers.find(paper).title in panel.text_page.text()
    assert not application.window.transport.isVisible()


def test_the_first_start_is_one_press_of_enter_from_the_demo(qtbot: QtBot, make_lab: Make) -> None:
    application = make_lab()
    window = application.window
    panel = window.current_panel()
    assert panel is not None and panel.paper.id == "diffusion" and panel.form is not None
    assert panel.form.preset() is panel.method.presets[0]
    focus: QWidget | None = QApplication.focusWidget() or window.focusWidget()
    assert focus is not None
    qtbot.keyClick(focus, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: panel.state == "running", timeout=PATIENCE)
