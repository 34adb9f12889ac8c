"""Writes figures as files, whole or not at all; any thread, needs no display.

Everything is written beside its target under another name and renamed when it is complete, so that a full disk, a
cancelled film or a power cut never leaves half a figure, nor destroys the one that was there.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import itertools
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engines.figures import Figure, Film, Panels, Plot
from lab import __version__
from lab.export.data import npz_bytes, write_csv
from lab.export.describe import alt_text
from lab.export.draw import draw
from lab.export.errors import ExportError
from lab.export.films import FASTEST, Progress, drawn_frames, stamps, write_film
from lab.export.inks import Medium
from lab.export.limits import Ranges
from lab.export.notes import as_comments, as_sidecar, sidecar_of
from lab.export.parameters import RASTER_DPI, drawing
from lab.export.pgf import pgf_source, pictures_in
from lab.export.style import VENUES, Style


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes
    ----------
    name, label : str
    suffixes : tuple of str
        The first is the usual one.
    kind : {"vector", "raster", "film", "data"}
    """

    name: str
    label: str
    suffixes: tuple[str, ...]
    kind: Literal["vector", "raster", "film", "data"]

    @property
    def medium(self) -> Medium:
        """How to draw for it."""
        if self.kind != "vector":
            return "raster"
        return "opaque" if self.name == "eps" else "vector"


FORMATS: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format("pdf", "PDF", (".pdf",), "vector"),
        Format("svg", "SVG", (".svg",), "vector"),
        Format("eps", "EPS", (".eps",), "vector"),
        Format("pgf", "PGF for LaTeX", (".pgf",), "vector"),
        Format("png", "PNG", (".png",), "raster"),
        Format("gif", "GIF film", (".gif",), "film"),
        Format("webp", "WebP film", (".webp",), "film"),
        Format("apng", "Animated PNG", (".apng", ".png"), "film"),
        Format("mp4", "MP4 film", (".mp4",), "film"),
        Format("csv", "Data as CSV", (".csv",), "data"),
        Format("npz", "Data as NPZ", (".npz",), "data"),
        Format("script", "Data and Python script", (".zip",), "data"),
    )
}
"""Formats by name, in the order in which they are offered."""


def export(
    figure: Figure,
    path: str | os.PathLike[str],
    format: str | None = None,
    style: Style | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    frame: int | None = None,
    frames: Sequence[int] | None = None,
    fps: float = 12.0,
    progress: Progress | None = None,
) -> Path:
    """Write a figure to a file.

    Parameters
    ----------
    figure : Plot or Panels or Film
    path : path
        Its ending says the format unless ``format`` does; a name without an ending gets one.
    format : str, optional
        A name in `FORMATS`.
    style : Style, optional
        The one of the screen for films, else `Style()`.
    metadata : mapping, optional
        What made the figure: setup, seed, step, data set ...; goes into the file with the version and the alternative text.
    overwrite : bool
        Replace a file of that name.
    frame : int, optional
        Which frame of a film a still shows; its start when None.
    frames : sequence of int, optional
        Several frames side by side in a still; for films, the frames to show in their order.
    fps : float
        Frames a second of films.
    progress : callable, optional
        Called with frames written and frames in all; what it raises ends the export and is passed on, and no file is left.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ExportError
        If the format, the style or the place cannot be used; nothing is left behind then.
    """
    target, form = target_of(Path(path), format)
    if form.name == "csv":
        _export_csv(figure, target, overwrite, _about(figure, metadata))
        return target
    if form.name == "pgf":
        source, pictures = _pgf(
            figure, target.stem, style or Style(), _about(figure, metadata), frame, frames
        )
        _export_pgf(source, pictures, target, overwrite)
        return target
    if form.kind != "film":
        content = _content(
            figure, form, style or Style(), _about(figure, metadata), frame, frames, target.stem
        )
        with replacing(target, overwrite) as temporary, open(temporary, "wb") as file:
            file.write(content)
        return target
    if not isinstance(figure, Film):
        raise ExportError(
            f"{form.label} is for films, and this figure has no time axis; choose {_names('vector', 'raster', 'data')}."
        )
    if not figure.frames:
        raise ExportError("The film has no frames yet; let the run go on until it has one.")
    numbers = list(range(len(figure.frames))) if frames is None else list(frames)
    if not numbers or not all(-len(figure.frames) <= number < len(figure.frames) for number in numbers):
        raise ExportError(
            f"The film has frames 0 to {len(figure.frames) - 1}; name some of them, or none for all."
        )
    said = stamps(figure)
    return export_film(
        ((figure.frames[number], said[number]) for number in numbers),
        len(numbers),
        Ranges.over(figure.frames),
        target,
        form.name,
        style,
        _about(figure, metadata),
        overwrite=overwrite,
        fps=fps,
        progress=progress,
    )


def export_film(
    frames: Iterable[tuple[Plot | Panels, str]],
    count: int,
    ranges: Ranges,
    path: str | os.PathLike[str],
    format: str | None = None,
    style: Style | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    fps: float = 12.0,
    progress: Progress | None = None,
) -> Path:
    """Write a film whose frames come one at a time, from a run's keyframes for instance.

    Parameters
    ----------
    frames : iterable of (figure, stamp)
        All of one structure; the stamp stands above the frame. Only one is kept in memory at a time.
    count : int
        How many there are.
    ranges : Ranges
        Limits of the axes and colours for all of them, from `Ranges.over`.
    path, format, style, metadata, overwrite, fps, progress
        As for `export`.

    Raises
    ------
    ExportError
    """
    target, form = target_of(Path(path), format)
    if form.kind != "film":
        raise ExportError(f"{form.label} holds no film; choose {_names('film')}.")
    about = {"version": __version__, **(metadata or {})}
    if "alt" not in about:
        frames = iter(frames)
        first = list(itertools.islice(frames, 1))
        about["alt"] = " ".join([f"Film of {count} frames.", *(alt_text(still) for still, _ in first)])
        frames = itertools.chain(_given(first), frames)
    drawn = drawn_frames(frames, ranges, style or VENUES["screen"])
    dpi = (style or VENUES["screen"]).dpi
    with replacing(target, overwrite) as temporary, contextlib.closing(drawn):
        write_film(
            drawn,
            count,
            temporary,
            form.name,
            fps=fps,
            metadata=about,
            dpi=dpi,
            progress=progress,
        )
    return target


def _given(items: list[tuple[Plot | Panels, str]]) -> Iterator[tuple[Plot | Panels, str]]:
    """Items of a list, which keeps none of them."""
    while items:
        yield items.pop(0)


def to_bytes(
    figure: Figure,
    format: str,
    style: Style | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    frame: int | None = None,
    frames: Sequence[int] | None = None,
) -> bytes:
    """The content of a file of a still or of data, for the clipboard and for previews.

    Parameters
    ----------
    figure, format, style, metadata, frame, frames
        As for `export`, without the formats of films.

    Raises
    ------
    ExportError
    """
    form = _format(format)
    if form.kind == "film":
        raise ExportError(f"{form.label} is written to a file frame by frame; name a file to export to.")
    return _content(figure, form, style or Style(), _about(figure, metadata), frame, frames, "figure")


def _content(
    figure: Figure,
    form: Format,
    style: Style,
    about: Mapping[str, Any],
    frame: int | None,
    frames: Sequence[int] | None,
    name: str,
) -> bytes:
    if form.name == "npz":
        return npz_bytes(figure, about)
    if form.name == "csv":
        text = io.StringIO(newline="")
        write_csv(figure, text)
        return text.getvalue().encode("utf-8")
    if form.name == "script":
        from lab.export.script import script_bytes

        return script_bytes(figure, style, about, frame=frame, frames=frames, name=name)
    if form.name == "pgf":
        source, pictures = _pgf(figure, name, style, about, frame, frames)
        if pictures:
            raise ExportError(
                "This figure has parts that are pictures, which stand beside a PGF file; export it to a file, or choose PDF."
            )
        return source.encode("utf-8")
    page = draw(figure, style, frame=frame, frames=frames, medium=form.medium)
    file = io.BytesIO()
    dpi = style.dpi if form.kind == "raster" else max(style.dpi, RASTER_DPI)
    with drawing(style):
        page.savefig(file, format=form.name, dpi=dpi, metadata=_embedded(form, figure, about))
    content = file.getvalue()
    if form.name == "eps":
        title = " ".join(figure.title.encode("ascii", "replace").decode().split())[:200] or "Figure"
        comments = f"%%Title: {title}\n{as_comments(_note(about))}%%EndComments\n".encode("ascii")
        content = content.replace(b"%%EndComments\n", comments, 1)
    return content


def _pgf(
    figure: Figure,
    name: str,
    style: Style,
    about: Mapping[str, Any],
    frame: int | None,
    frames: Sequence[int] | None,
) -> tuple[str, dict[str, bytes]]:
    page = draw(figure, style, frame=frame, frames=frames, medium="vector")
    with drawing(style):
        return pgf_source(page, name, _note(about), max(style.dpi, RASTER_DPI))


def _export_pgf(source: str, pictures: Mapping[str, bytes], target: Path, overwrite: bool) -> None:
    beside = [target.with_name(name) for name in pictures]
    old: set[str] = set()
    if overwrite:
        # What the file to be replaced includes, and nothing else, goes with it.
        with contextlib.suppress(OSError), open(target, encoding="utf-8", errors="replace") as file:
            old = pictures_in(file.read())
    for path in beside:
        if path.name not in old and os.path.exists(path):
            raise ExportError(
                f"'{path}' exists already, and this figure has a picture of that name; move or remove it."
            )
    with _replacing_set([*beside, target], overwrite) as temporaries:
        for temporary, content in zip(temporaries, [*pictures.values(), source.encode("utf-8")], strict=True):
            temporary.write_bytes(content)
    for name in old - set(pictures):
        with contextlib.suppress(OSError):
            target.with_name(name).unlink()


def _export_csv(figure: Figure, target: Path, overwrite: bool, about: Mapping[str, Any]) -> None:
    with _replacing_set([sidecar_of(target), target], overwrite) as (described, table):
        with open(table, "w+", encoding="utf-8", newline="") as text:
            write_csv(figure, text)
            text.seek(0)
            columns = next(csv.reader(text))
        description = as_sidecar(
            _note(about), target.name, figure.title or "Figure", str(about["alt"]), columns
        )
        described.write_text(description, encoding="utf-8")


def _note(about: Mapping[str, Any]) -> str:
    """What made a figure as JSON, in ASCII."""
    return json.dumps(about, default=str)


def _about(figure: Figure, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"version": __version__, "alt": alt_text(figure), **(metadata or {})}


def _embedded(form: Format, figure: Figure, about: Mapping[str, Any]) -> dict[str, Any]:
    """What made the figure, under the names that the format has for it; the whole as JSON, in ASCII."""
    creator, everything = f"Paperlab {__version__}", _note(about)
    title = figure.title or "Figure"
    if form.name == "pdf":
        return {
            "Title": title,
            "Subject": str(about["alt"]),
            "Keywords": everything,
            "Creator": creator,
            "CreationDate": None,
        }
    if form.name == "svg":
        return {
            "Title": title,
            "Description": str(about["alt"]),
            "Keywords": [everything],
            "Creator": creator,
            "Date": None,
        }
    if form.name == "png":
        return {"Title": title, "Description": str(about["alt"]), "Software": creator, "lab": everything}
    return {"Creator": creator}


def _names(*kinds: str) -> str:
    names = [form.name.upper() for form in FORMATS.values() if not kinds or form.kind in kinds]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _format(name: str) -> Format:
    wanted = name.lower().lstrip(".")
    for form in FORMATS.values():
        if wanted == form.name or f".{wanted}" == form.suffixes[0]:
            return form
    raise ExportError(f"'{name}' is not a format that figures can be written in; choose {_names()}.")


def target_of(path: Path, format: str | None) -> tuple[Path, Format]:
    """The file to write and its format, from the ending of the name and the format asked for.

    Raises
    ------
    ExportError
        If the name is none of a file, or its ending is of another format.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise ExportError(f"'{path}' names a home folder that does not exist; give a full path.") from error
    if not path.name or os.path.isdir(path):
        raise ExportError(f"'{path}' is a folder; name a file in it.")
    ending = path.suffix.lower()
    known = {suffix for form in FORMATS.values() for suffix in form.suffixes}
    if format is None:
        if not ending:
            raise ExportError(f"'{path.name}' has no ending that says its format; choose {_names()}.")
        return path, _format(ending)
    form = _format(format)
    if ending in form.suffixes:
        return path, form
    if ending in known:
        raise ExportError(
            f"'{path.name}' ends like another format than {form.name.upper()}; name it {path.stem}{form.suffixes[0]}."
        )
    return path.with_name(path.name + form.suffixes[0]), form


@contextlib.contextmanager
def replacing(target: Path, overwrite: bool) -> Iterator[Path]:
    """A name beside the target to write to; becomes the target at the end, or is removed if anything goes wrong."""
    with _replacing_set([target], overwrite) as (temporary,):
        yield temporary


@contextlib.contextmanager
def _replacing_set(targets: Sequence[Path], overwrite: bool) -> Iterator[list[Path]]:
    """As `replacing`, for files that belong together, in one folder: all of them, or none; the last one is the figure."""
    main = targets[-1]
    folder = main.parent
    if not os.path.isdir(folder):
        raise ExportError(f"The folder '{folder}' does not exist; make it or choose another.")
    for target in targets:
        if os.path.isdir(target):
            raise ExportError(f"'{target}' is a folder; choose another name.")
        if os.path.exists(target) and not overwrite:
            raise ExportError(f"'{target}' exists already; choose another name or allow it to be replaced.")
    token = secrets.token_hex(4)
    # ffmpeg tells the format from the ending. A short name, as names have limits.
    temporaries = [
        folder / f".{target.stem[:40]}.{token}{index or ''}.part{target.suffix}"
        for index, target in enumerate(targets)
    ]
    before = [temporary.with_suffix(".old") for temporary in temporaries[:-1]]
    placed: list[tuple[Path, Path]] = []
    try:
        yield temporaries
        # The content has to be on the disk before the name points to it.
        for temporary in temporaries:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        for temporary, old, target in zip(temporaries, before, targets, strict=False):
            with contextlib.suppress(FileNotFoundError):
                os.replace(target, old)
            placed.append((old, target))
            os.replace(temporary, target)
        # In one step, so that there is always either the old figure or the new one.
        os.replace(temporaries[-1], main)
        placed.clear()
    except OSError as error:
        raise _sentence(error, main) from error
    finally:
        for old, target in placed:
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                os.replace(old, target)
        for leftover in (*temporaries, *before):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def _sentence(error: OSError, target: Path) -> ExportError:
    what = f"'{target}' could not be written"
    folder = target.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ExportError(f"{what}: the disk is full; make room or choose another folder.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ExportError(f"{what}: the folder '{folder}' cannot be written to; choose another folder.")
    if error.errno == errno.ENAMETOOLONG:
        return ExportError(f"{what}: the name is too long; choose a shorter one.")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ExportError(f"{what}: the folder '{folder}' is not there any more; choose another folder.")
    return ExportError(f"{what}: {error.strerror or error}; choose another folder or try again.")


__all__ = ["FASTEST", "FORMATS", "Format", "export", "export_film", "replacing", "target_of", "to_bytes"]
