"""Writes figures as files, whole or not at all; any thread, needs no display.

Everything is written beside its target under another name and renamed when it is complete, so that a full disk, a
cancelled film or a power cut never leaves half a figure, nor destroys the one that was there.
"""

from __future__ import annotations

import contextlib
import errno
import io
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
from lab.export.parameters import RASTER_DPI, drawing
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
        Format("png", "PNG", (".png",), "raster"),
        Format("gif", "GIF film", (".gif",), "film"),
        Format("webp", "WebP film", (".webp",), "film"),
        Format("apng", "Animated PNG", (".apng", ".png"), "film"),
        Format("mp4", "MP4 film", (".mp4",), "film"),
        Format("csv", "Data as CSV", (".csv",), "data"),
        Format("npz", "Data as NPZ", (".npz",), "data"),
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
    target, form = _target(Path(path), format)
    if form.name == "csv":
        with (
            _replacing(target, overwrite) as temporary,
            open(temporary, "w", encoding="utf-8", newline="") as text,
        ):
            write_csv(figure, text)
        return target
    if form.kind != "film":
        content = to_bytes(figure, form.name, style, metadata, frame=frame, frames=frames)
        with _replacing(target, overwrite) as temporary, open(temporary, "wb") as file:
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
    target, form = _target(Path(path), format)
    if form.kind != "film":
        raise ExportError(f"{form.label} holds no film; choose {_names('film')}.")
    drawn = drawn_frames(frames, ranges, style or VENUES["screen"])
    dpi = (style or VENUES["screen"]).dpi
    with _replacing(target, overwrite) as temporary, contextlib.closing(drawn):
        write_film(
            drawn,
            count,
            temporary,
            form.name,
            fps=fps,
            metadata=dict(metadata or {}),
            dpi=dpi,
            progress=progress,
        )
    return target


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
    about = _about(figure, metadata)
    if form.name == "npz":
        return npz_bytes(figure, about)
    if form.name == "csv":
        text = io.StringIO(newline="")
        write_csv(figure, text)
        return text.getvalue().encode("utf-8")
    style = style or Style()
    page = draw(figure, style, frame=frame, frames=frames, medium=form.medium)
    file = io.BytesIO()
    dpi = style.dpi if form.kind == "raster" else max(style.dpi, RASTER_DPI)
    with drawing(style):
        page.savefig(file, format=form.name, dpi=dpi, metadata=_embedded(form, figure, about))
    return file.getvalue()


def _about(figure: Figure, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"version": __version__, "alt": alt_text(figure), **(metadata or {})}


def _embedded(form: Format, figure: Figure, about: Mapping[str, Any]) -> dict[str, Any]:
    """What made the figure, under the names that the format has for it; the whole as JSON, in ASCII."""
    creator, everything = f"Paperlab {__version__}", json.dumps(about, default=str)
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
    if wanted == "pgf":
        raise ExportError(
            "PGF cannot be written without a TeX installation to measure the text with; export PDF and include it with "
            "\\includegraphics."
        )
    if wanted not in FORMATS:
        raise ExportError(f"'{name}' is not a format that figures can be written in; choose {_names()}.")
    return FORMATS[wanted]


def _target(path: Path, format: str | None) -> tuple[Path, Format]:
    """The file to write and its format, from the ending of the name and the format asked for."""
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
def _replacing(target: Path, overwrite: bool) -> Iterator[Path]:
    """A name beside the target to write to; becomes the target at the end, or is removed if anything goes wrong."""
    folder = target.parent
    if not os.path.isdir(folder):
        raise ExportError(f"The folder '{folder}' does not exist; make it or choose another.")
    if os.path.exists(target) and not overwrite:
        raise ExportError(f"'{target}' exists already; choose another name or allow it to be replaced.")
    # ffmpeg tells the format from the ending. A short name, as names have limits.
    temporary = folder / f".{target.stem[:40]}.{secrets.token_hex(4)}.part{target.suffix}"
    done = False
    try:
        yield temporary
        # The content has to be on the disk before the name points to it.
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        done = True
    except OSError as error:
        raise _sentence(error, target) from error
    finally:
        if not done:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


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


__all__ = ["FASTEST", "FORMATS", "Format", "export", "export_film", "to_bytes"]
