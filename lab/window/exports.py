"""The jobs that draw and write figures for print, and tell how far they are; called on the GUI thread, work elsewhere.

No widget is made here. A `Snapshot` holds what a panel shows at one moment, so that training goes on while a figure is
composed; a `Piece` is what is to be made of it.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import shiboken6

from engines.errors import InputError
from engines.figures import CurveSpec, Figure, Film, Panels, Plot, at, is_empty
from lab.export.choices import FigureChoices
from lab.export.errors import ExportError
from lab.export.limits import Ranges
from lab.export.save import FORMATS, Format
from lab.export.source import Stretch, about_figure, picture, stretch, view_of
from lab.export.style import Style
from lab.export.vision import Vision, seen
from lab.runs.folder import RunFolder, RunInfo
from lab.window.jobs import Job, Jobs
from widgets.messages import MessageArea, MessageKind

if TYPE_CHECKING:
    from lab.panels.panel import Panel

What = Literal["still", "film", "strip", "timeline"]

MOST_PIXELS = 16e6
"""Of a preview: a poster on a fine screen needs no more."""

_ARRAYS = ("csv", "npz")
"""Formats that hold numbers and no picture."""

NEWEST = 2**62
"""A step that no run reaches."""


class Cancelled(Exception):
    """The person cancelled the export, or nobody wants the preview any more."""


# --- what is exported  ----------


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a panel shows at one moment, with all that made it.

    Attributes
    ----------
    paper : str
        The paper's short key, for names of files.
    titles : mapping of view to str
    figures : mapping of view to Figure
        Those that have a picture, in the panel's order.
    frames : mapping of view to int
        The frame that is seen of each.
    about : mapping of view to dict
        For the metadata of a file, as `lab.export.source.about_figure`.
    folder : Path or None
        Of the run.
    timed : frozenset of str
        Views that can be followed along the run's time line.
    kept : mapping of view to int
        Views that nobody has looked at yet, with the step of the keyframe that holds their pictures.
    """

    paper: str
    titles: Mapping[str, str]
    figures: Mapping[str, Figure]
    frames: Mapping[str, int]
    about: Mapping[str, Mapping[str, Any]]
    folder: Path | None = None
    timed: frozenset[str] = frozenset()
    kept: Mapping[str, int] = field(default_factory=dict)

    def step(self, name: str) -> int:
        """The step that a view shows, or would show."""
        return int(self.about[name]["step"]) if name in self.about else self.kept[name]

    def last_step(self) -> int:
        """The newest step of any view."""
        return max((self.step(name) for name in self.figures), default=0)

    def whats(self, name: str) -> tuple[What, ...]:
        """What can be made of a view."""
        film = isinstance(self.figures.get(name), Film)
        found: tuple[What, ...] = ("still", "film", "strip") if film else ("still",)
        return (*found, "timeline") if name in self.timed else found

    def file_name(self, name: str, suffix: str) -> str:
        """What a file of a view is called unless somebody says otherwise."""
        return f"{self.paper}-{name}-step{self.step(name)}{suffix}"

    def still(self, name: str) -> Piece:
        """A view as it is seen."""
        return Piece("still", name, self.figures[name], self.about[name], self.frames[name])


def take(panel: Panel) -> Snapshot:
    """What a panel shows now."""
    figures, frames, about = {}, {}, {}
    run, values = panel.run, panel.shown_values()
    session = run.session if run is not None else None
    info = RunInfo(
        id="" if run is None else run.key if run.viewing is None else run.viewing.name,
        paper=panel.paper.id,
        values=values,
        preset=session.spec.preset if session is not None else "",
        data=dict(panel.started.data) if panel.started is not None else {},
    )
    for name, (figure, step) in panel.figures().items():
        figures[name], frames[name] = figure, panel.view(name).frame
        about[name] = about_figure(info, name, step, values)
    folder = run.folder if run is not None and run.folder is not None and run.folder.is_dir() else None
    timed: list[str] = []
    if folder is not None and run is not None and panel.method is not None:
        several = len(run.keyframes) > 1
        timed = [view.name for view in panel.method.views if several or isinstance(view, CurveSpec)]
    titles = {name: dock.spec.title for name, dock in panel.docks.items()}
    kept: dict[str, int] = {}
    if folder is not None and run is not None and panel.method is not None:
        steps = [record.step for record in run.keyframes if record.frame]
        unseen = [name for name in panel.method.figure_names() if name not in figures]
        kept = dict.fromkeys(unseen, steps[-1]) if steps else {}
    return Snapshot(panel.paper.key, titles, figures, frames, about, folder, frozenset(timed), kept)


@dataclass(frozen=True, eq=False)
class Piece:
    """What is to be made of a view.

    Attributes
    ----------
    what : {"still", "film", "strip", "timeline"}
    name : str
        Of the view.
    figure : Figure
    about : mapping
    frame : int
        Of a film: the one that a still shows, and that a film of the time line follows.
    frames : tuple of int
        Of a strip.
    folder, first, last, most
        Of the time line, see `lab.export.source.stretch`.
    """

    what: What
    name: str
    figure: Figure
    about: Mapping[str, Any]
    frame: int = 0
    frames: tuple[int, ...] = ()
    folder: Path | None = None
    first: int = 0
    last: int = 0
    most: int = 0

    def formats(self) -> tuple[Format, ...]:
        """What it can be written as."""
        return formats_of(self.what)

    def write(
        self,
        path: Path,
        format: str,
        style: Style,
        *,
        fps: float = 12.0,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Write it to a file, whole or not at all; for a job's thread.

        Raises
        ------
        InputError
        """
        from lab.export.save import export

        if self.what == "timeline":
            return self.stretch().export(path, format, style, overwrite=overwrite, fps=fps, progress=progress)
        figure: Figure = self.figure
        frames = self.frames if self.what == "strip" else None
        if self.what == "still" and format in _ARRAYS:
            figure = at(figure, self.frame)
        return export(
            figure,
            path,
            format,
            style,
            self.about,
            overwrite=overwrite,
            frame=self.frame if self.what == "still" else None,
            frames=frames,
            fps=fps,
            progress=progress,
        )

    def to_bytes(self, format: str, style: Style) -> bytes:
        """The content of a file of a still or a strip; for a job's thread.

        Raises
        ------
        ExportError
        """
        from lab.export.save import to_bytes

        frames = self.frames if self.what == "strip" else None
        return to_bytes(self.figure, format, style, self.about, frame=self.frame, frames=frames)

    def stretch(self) -> Stretch:
        """The frames along the time line; for a job's thread.

        Raises
        ------
        InputError
        """
        if self.folder is None:
            raise ExportError("This run keeps nothing on the disk, so it has no time line; train a new one.")
        return stretch(
            RunFolder(self.folder),
            self.name,
            self.first,
            self.last,
            most=self.most,
            frame=self.frame if isinstance(self.figure, Film) else None,
        )

    def looks_like(self, other: Piece) -> bool:
        """Whether both are the same picture."""
        return self.figure is other.figure and self._parts() == other._parts()

    def _parts(self) -> tuple[object, ...]:
        return self.what, self.name, self.frame, self.frames, self.folder, self.first, self.last, self.most


def formats_of(what: What) -> tuple[Format, ...]:
    """The formats that suit a still, a film, a strip or the time line."""
    is_film, has_numbers = what in ("film", "timeline"), what in ("still", "film")
    return tuple(
        form
        for form in FORMATS.values()
        if (has_numbers if form.name in _ARRAYS else (form.kind == "film") == is_film)
    )


def of_run(folder: Path, name: str, step: int = NEWEST) -> Piece:
    """A view of a run in its folder as it was at its newest keyframe up to a step; for a job's thread.

    Raises
    ------
    InputError
    """
    run = RunFolder(folder)
    # Asked for by its step, the picture that was kept is taken, and no engine has to draw it.
    found = picture(run, name, None if isinstance(view_of(run, name), CurveSpec) else step)
    frame = found.figure.start if isinstance(found.figure, Film) else 0
    return Piece("still", name, found.figure, found.about, frame)


def font_families() -> list[str]:
    """The fonts that figures can be set in; for a job's thread, as the first time takes a second."""
    from matplotlib import font_manager

    return sorted(set(font_manager.get_font_names()), key=str.casefold)


# --- previews  ----------


@dataclass(frozen=True, eq=False)
class Page:
    """A page as it is seen.

    Attributes
    ----------
    pixels : array (H, W, 3) of uint8
    width, height : float
        Inches.
    remark : str
        What else is to be known of it.
    """

    pixels: np.ndarray
    width: float
    height: float
    remark: str = ""


@dataclass(frozen=True, eq=False)
class Sight:
    """How a page is to be looked at: the choices, pixels to an inch of the screen, and by whom."""

    piece: Piece
    choices: FigureChoices
    dots: float
    vision: Vision = "normal"

    def draws_like(self, other: Sight) -> bool:
        """Whether the same has to be drawn."""
        same = self.choices == other.choices and self.dots == other.dots
        return same and self.piece.looks_like(other.piece)


class Preview:
    """Draws pages in the background, one at a time; a newer request makes an older one void.

    Parameters
    ----------
    jobs : Jobs
    key : str
        Of its jobs.
    done : callable
        Called on the GUI thread with the page of the newest request, or with why there is none.
    """

    def __init__(self, jobs: Jobs, key: str, done: Callable[[Page | InputError], None]) -> None:
        self._jobs, self._key, self._done = jobs, key, done
        self._job: Job | None = None
        self._wanted: Sight | None = None
        self._newest: Sight | None = None
        self._drawn: tuple[Sight, Page] | None = None
        self._stretch: tuple[Piece, Stretch, Plot | Panels, str] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return self._job is None

    def request(self, sight: Sight) -> None:
        """Ask for a page."""
        self._newest = self._wanted = sight
        if self._job is None:
            self._start()
        else:
            self._job.cancel.set()

    def forget(self) -> None:
        """Want nothing any more."""
        self._newest = self._wanted = None
        if self._job is not None:
            self._job.cancel.set()

    def _start(self) -> None:
        sight, self._wanted = self._wanted, None
        if sight is None:
            return

        def work(job: Job) -> Page:
            return self._draw(sight, job)

        def done(future: Future[Page]) -> None:
            self._job = None
            if self._wanted is not None:
                self._start()
            elif self._newest is sight:
                self._tell(future)

        self._job = self._jobs.start(self._key, work, done)

    def _tell(self, future: Future[Page]) -> None:
        error = future.exception()
        if error is None:
            self._done(future.result())
        elif isinstance(error, InputError):
            self._done(error)
        elif not isinstance(error, Cancelled):
            self._done(ExportError(f"This page could not be drawn ({type(error).__name__}: {error})."))
            raise error

    def _draw(self, sight: Sight, job: Job) -> Page:
        """On the job's thread; only one is under way at a time, so the pages that are kept are its own."""
        if self._drawn is None or not self._drawn[0].draws_like(sight):
            self._drawn = (sight, self._page(sight, job))
        page = self._drawn[1]
        return replace(page, pixels=seen(page.pixels, sight.vision))

    def _page(self, sight: Sight, job: Job) -> Page:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from lab.export.page import compose
        from lab.export.parameters import drawing

        style = sight.choices.style()
        still, ranges, stamp, remark = self._still(sight.piece, job)
        page, _ = compose(still, ranges, style, header=stamp)
        if job.cancel.is_set():
            raise Cancelled
        width, height = float(page.get_figwidth()), float(page.get_figheight())
        with drawing(style):
            # The places are those of the file, whose resolution decides how wide its letters are: only the pixels differ.
            page.set_dpi(min(sight.dots, math.sqrt(MOST_PIXELS / (width * height))))
            canvas: Any = FigureCanvasAgg(page)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        return Page(pixels, width, height, remark)

    def _still(self, piece: Piece, job: Job) -> tuple[Plot | Panels, Ranges, str, str]:
        """What is drawn, with the limits of its axes, the stamp above it, and a remark."""
        from lab.export.draw import still_of
        from lab.export.films import stamps

        if piece.what == "timeline":
            if self._stretch is None or not self._stretch[0].looks_like(piece):
                found = piece.stretch()
                if job.cancel.is_set():
                    raise Cancelled
                self._stretch = (piece, found, *found.at(-1))
            _, found, still, stamp = self._stretch
            frames = f"{len(found)} frames" if len(found) != 1 else "1 frame"
            remark = f"{frames}, step {found.steps[0]:,} to {found.steps[-1]:,}; the last one is shown"
            if found.left_out:
                remark += f"; {found.left_out} keyframes cannot be shown"
            return still, found.ranges, stamp, remark
        chosen = piece.frames if piece.what == "strip" else None
        still, ranges = still_of(piece.figure, piece.frame, chosen)
        if piece.what != "film" or not isinstance(piece.figure, Film):
            return still, ranges, "", ""
        count = len(piece.figure.frames)
        remark = f"{count} frames; number {piece.frame + 1} is shown"
        return still, ranges, stamps(piece.figure)[piece.frame], remark


# --- writing  ----------


@dataclass(frozen=True)
class Outcome:
    """How an export ended: in a sentence, and with what is there now."""

    kind: MessageKind
    sentence: str
    path: Path | None = None


@dataclass(frozen=True, eq=False)
class Order:
    """One of several files: its name, what it is called in a sentence, and what makes its piece on the job's thread."""

    path: Path
    label: str
    make: Callable[[], Piece]


Moved = Callable[[str, str, int, int], None]
"""Takes a job's key, how far it is in a sentence, what is done and how much there is; 0 of 0 at its start."""


@dataclass(eq=False)
class Exports:
    """Writes figures in the background and tells of it in the window's messages.

    ``told`` is called on the GUI thread with the outcome, and ``moved`` when there is progress.
    """

    jobs: Jobs
    messages: MessageArea
    _counts: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def write(
        self,
        piece: Piece,
        path: Path,
        format: str,
        style: Style,
        *,
        fps: float = 12.0,
        told: Callable[[Outcome], None] | None = None,
        moved: Moved | None = None,
    ) -> None:
        """Write one file, replacing one of that name."""
        key = f"export/{path}"
        if self.jobs.find(key) is not None:
            outcome = Outcome("info", f"{path.name} is being written already: wait for it, or cancel it.")
            self._tell(outcome, told)
            return

        def work(job: Job) -> Path:
            def progress(done: int, total: int) -> None:
                if job.cancel.is_set():
                    raise Cancelled
                job.report(done, total)

            if job.cancel.is_set():
                raise Cancelled
            return piece.write(path, format, style, fps=fps, overwrite=True, progress=progress)

        def done(future: Future[Path]) -> None:
            self.messages.close_key(key)
            error = future.exception()
            if error is None:
                self._tell(Outcome("info", f"Saved {future.result()}", future.result()), told)
                return
            self._tell(_failed(path.name, error), told)
            if not isinstance(error, InputError | Cancelled):
                raise error

        self._start(key, f"Writing {path.name} …", f"Writing {path.name}", "frames", work, done, moved)

    def write_all(
        self,
        orders: Sequence[Order],
        format: str,
        style: Style,
        *,
        replace_files: bool = False,
        told: Callable[[Outcome], None] | None = None,
        moved: Moved | None = None,
    ) -> None:
        """Write several files into one folder; what cannot be written does not keep the others from it.

        Pictures that show nothing, as they do not apply to the run, are left out.
        """
        key = f"export-all/{next(self._counts)}"
        folder = orders[0].path.parent

        def work(job: Job) -> tuple[list[str], int]:
            problems, empty = [], 0
            for number, order in enumerate(orders):
                if job.cancel.is_set():
                    raise Cancelled
                try:
                    piece = order.make()
                    if is_empty(piece.figure):
                        empty += 1
                    else:
                        piece.write(order.path, format, style, overwrite=replace_files)
                except InputError as error:
                    problems.append(f"{order.label}: {error}")
                job.report(number + 1, len(orders))
            return problems, len(orders) - empty

        def done(future: Future[tuple[list[str], int]]) -> None:
            self.messages.close_key(key)
            error = future.exception()
            if error is None:
                self._tell(_summary(*future.result(), folder), told)
                return
            self._tell(_failed("The rest of the figures", error, plural=True), told)
            if not isinstance(error, Cancelled):
                raise error

        name = f"{len(orders)} figures" if len(orders) > 1 else "a figure"
        self._start(key, f"Writing {name} …", f"Writing {name}", "files", work, done, moved)

    def cancel(self, key: str) -> None:
        """Cancel a job; it tells of its end itself."""
        job = self.jobs.find(key)
        if job is not None:
            job.cancel.set()

    def _start(
        self,
        key: str,
        text: str,
        short: str,
        things: str,
        work: Callable[[Job], Any],
        done: Callable[[Future[Any]], None],
        moved: Moved | None,
    ) -> None:
        message = self.messages.show_message(
            "info", text, actions=[("cancel", "Cancel")], hide_after_ms=0, key=key
        )
        began = time.monotonic()

        def progress(count: int, total: int | None, label: str) -> None:
            total = total or 0
            sentence = progress_text(short, count, total, time.monotonic() - began, things)
            if shiboken6.isValid(message):
                message.text_label.setText(sentence)
            if moved is not None:
                moved(key, sentence, count, total)

        if moved is not None:
            moved(key, text, 0, 0)
        self.jobs.start(key, work, done, progress)

    def _tell(self, outcome: Outcome, told: Callable[[Outcome], None] | None) -> None:
        self.messages.show_message(outcome.kind, outcome.sentence, key="export")
        if told is not None:
            told(outcome)


def progress_text(short: str, done: int, total: int, seconds: float, things: str = "frames") -> str:
    """How far a file is: ``Writing film.gif: 34 of 120 frames, about 12 s left``."""
    text = f"{short}: {done} of {total} {things}"
    if 1 < done < total:
        left = seconds / done * (total - done)
        text += f", about {left / 60:.0f} min left" if left > 100 else f", about {max(1, round(left))} s left"
    return text


def _failed(name: str, error: BaseException, *, plural: bool = False) -> Outcome:
    were = "were" if plural else "was"
    if isinstance(error, Cancelled):
        return Outcome("info", f"{name} {were} not written: you cancelled.")
    if isinstance(error, InputError):
        return Outcome("error", str(error))
    return Outcome("error", f"{name} {were} not written ({type(error).__name__}: {error}).")


def _summary(problems: Sequence[str], count: int, folder: Path) -> Outcome:
    files = f"{count} files" if count > 1 else "1 file"
    if not problems:
        return Outcome("info", f"Saved {files} in {folder}", folder)
    written = count - len(problems)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Outcome(
        "error",
        f"{written} of {files} are saved in {folder}. {problems[0]}{more}",
        folder if written else None,
    )


__all__ = [
    "Cancelled",
    "Exports",
    "Order",
    "Outcome",
    "Page",
    "Piece",
    "Preview",
    "Sight",
    "Snapshot",
    "What",
    "font_families",
    "formats_of",
    "of_run",
    "progress_text",
    "take",
]
