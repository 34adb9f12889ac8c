"""``lab export``: pictures, films and scalars of runs as files, without Qt; main thread."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.errors import InputError
from engines.figures import Film, is_empty, plots_of
from lab.commands import arguments
from lab.commands.listing import open_run
from lab.export.choices import FigureChoices, choices_of
from lab.export.errors import ExportError
from lab.runs.folder import RunFolder

if TYPE_CHECKING:
    from lab.export.save import Format
    from lab.export.style import Style

LENGTH = re.compile(r"\s*([0-9.]+)\s*(in|mm|cm|)\s*")


def add_options(command: argparse.ArgumentParser) -> None:
    """Declare what ``lab export`` understands; how a figure looks comes from `FigureChoices`."""
    command.add_argument("run", nargs="+", metavar="RUN")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--figure", metavar="NAME", help="a picture, several with commas between, or 'all'")
    what.add_argument(
        "--scalars", action="store_true", help="all scalars of the runs as one csv, json, or tensorboard"
    )
    command.add_argument(
        "--format",
        metavar="F",
        help="pdf, svg, eps, pgf, png, gif, webp, apng, mp4, csv, npz, script; else from the file's ending",
    )
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="a folder for several pictures or runs"
    )
    command.add_argument("--overwrite", action="store_true")
    command.add_argument("--salvage", action="store_true", help="go on with what is intact in a damaged run")

    moment = command.add_argument_group("what of it")
    moment.add_argument(
        "--at", type=arguments.step, metavar="STEP", help="as it was at the keyframe at or before that step"
    )
    moment.add_argument(
        "--frame", type=int, metavar="I", help="of a film: that frame; its start if not given"
    )
    moment.add_argument(
        "--strip", metavar="N|I,J,..", help="of a film: so many frames, or these, side by side"
    )
    moment.add_argument(
        "--timeline", action="store_true", help="a film of the picture along the run's keyframes"
    )
    moment.add_argument(
        "--from", type=arguments.step, dest="first", metavar="STEP", help="where that film begins"
    )
    moment.add_argument("--to", type=arguments.step, dest="last", metavar="STEP", help="where it ends")
    moment.add_argument("--frames", type=int, metavar="N", help="at most so many frames of it")
    moment.add_argument("--fps", type=float, default=12.0, metavar="F", help="frames a second of films (12)")

    look = command.add_argument_group("how it looks")
    look.add_argument(
        "--venue", metavar="V", help="icml, neurips, iclr, jmlr, ieee, nature, slide, screen, free"
    )
    look.add_argument("--columns", type=int, default=1, metavar="N", help="of the venue's page that it spans")
    for spec in FigureChoices.specs():
        option = "--" + spec.name.replace("_", "-")
        if spec.name == "unit":
            continue
        if spec.name in ("width", "height"):
            look.add_argument(option, metavar="L", help="in inches, or with a unit: 84mm")
        elif spec.kind == "switch":
            look.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=spec.help)
        else:
            among = ", ".join(value for value, _ in spec.choices)
            look.add_argument(
                option, metavar=spec.kind[:1].upper(), help=among or spec.help.replace("%", "%%")
            )


def export(options: argparse.Namespace) -> int:
    """Write what was asked for and print each file's name.

    Raises
    ------
    InputError
    """
    folders = [open_run(run, salvage=options.salvage) for run in options.run]
    if options.scalars:
        return _export_scalars(folders, options)
    from lab.export.source import figure_names, view_of

    jobs: list[tuple[RunFolder, str]] = []
    for folder in folders:
        names = figure_names(folder) if options.figure == "all" else options.figure.split(",")
        for name in names:
            view_of(folder, name.strip())
            jobs.append((folder, name.strip()))
    if len(jobs) == 1 and options.figure != "all":
        targets = [Path(options.output)]
    else:
        targets = _targets(jobs, options)
    for (folder, name), target in zip(jobs, targets, strict=True):
        written = _export_figure(folder, name, target, options, skip_empty=options.figure == "all")
        if written is not None:
            print(written, flush=True)
    return 0


def _export_figure(
    folder: RunFolder, name: str, target: Path, options: argparse.Namespace, *, skip_empty: bool
) -> Path | None:
    """Write one figure; None for one of many that shows nothing but the sentence why."""
    from lab.export.save import export as write
    from lab.export.save import target_of
    from lab.export.source import picture, stretch

    path, form = target_of(target, options.format)
    style = style_of(options, form)
    if options.timeline or options.first is not None or options.last is not None:
        if form.kind != "film":
            raise InputError(
                f"A stretch of the time line is a film, and {form.label} holds none: choose gif, webp, apng or mp4, or one "
                "moment with --at."
            )
        film = stretch(folder, name, options.first, options.last, most=options.frames, frame=options.frame)
        if film.left_out:
            left = f"{film.left_out} keyframe{' has' if film.left_out == 1 else 's have'} no such picture"
            print(f"lab: {left} and cannot be shown.", file=sys.stderr)
        with _bar(path) as progress:
            return film.export(
                path, form.name, style, overwrite=options.overwrite, fps=options.fps, progress=progress
            )
    found = picture(folder, name, options.at)
    if skip_empty and is_empty(found.figure):
        why = next((plot.note for plot in plots_of(found.figure) if plot.note), "it is empty.")
        print(f"lab: '{name}' was left out: {why}", file=sys.stderr)
        return None
    frames = None
    if options.strip is not None:
        if not isinstance(found.figure, Film):
            raise InputError(f"'{name}' is no film, so there is no strip of its frames: leave out --strip.")
        frames = _strip(options.strip, len(found.figure.frames))
    elif form.kind == "film" and not isinstance(found.figure, Film):
        raise InputError(
            f"'{name}' is a still, so there is nothing to play: add --timeline for a film of it along the run, or choose "
            "another format."
        )
    with _bar(path) as progress:
        return write(
            found.figure,
            path,
            form.name,
            style,
            found.about,
            overwrite=options.overwrite,
            frame=options.frame,
            frames=frames,
            fps=options.fps,
            progress=progress,
        )


def _export_scalars(folders: Sequence[RunFolder], options: argparse.Namespace) -> int:
    from lab.export.scalars import write_scalars

    print(
        write_scalars(
            folders,
            options.output,
            options.format,
            overwrite=options.overwrite,
            damage=lambda sentence: print(f"lab: {sentence}", file=sys.stderr),
        )
    )
    return 0


def style_of(options: argparse.Namespace, form: Format) -> Style:
    """How figures look, by the options.

    Raises
    ------
    InputError
    """
    from lab.export.style import VENUES

    venue = options.venue or ("screen" if form.kind == "film" else "free")
    if options.columns > 1 and f"{venue}-wide" in VENUES:
        venue = f"{venue}-wide"
    choices = choices_of(venue)
    changes: dict[str, Any] = {}
    for spec in FigureChoices.specs():
        value = getattr(options, spec.name, None)
        if value is None:
            continue
        if spec.name in ("width", "height"):
            changes[spec.name] = _inches(spec.name, value)
        elif isinstance(value, str):
            changes[spec.name] = FigureChoices.parse_value(spec.name, value)
        else:
            changes[spec.name] = value
    return choices.updated(changes).style()


def _inches(name: str, text: str) -> float:
    found = LENGTH.fullmatch(text.lower())
    try:
        number = float(found.group(1)) if found else None
    except ValueError:
        number = None
    if found is None or number is None:
        raise ExportError(f"--{name} {text} is not a length: give inches, or a number with mm: 84mm.")
    return number / {"mm": 25.4, "cm": 2.54}.get(found.group(2), 1.0)


def _strip(text: str, count: int) -> list[int]:
    """Numbers of frames: those named, or so many spread evenly."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] >= 1:
        wanted = min(numbers[0], count)
        numbers = sorted({round(i * (count - 1) / max(wanted - 1, 1)) for i in range(wanted)})
    if not numbers or len(numbers) > 50:
        raise InputError(
            f"--strip {text} is not a choice of frames: give how many (up to 50), or their numbers with commas between."
        )
    return numbers


def _targets(jobs: Sequence[tuple[RunFolder, str]], options: argparse.Namespace) -> list[Path]:
    """A file for each picture in the folder that was named, which is made if it is not there."""
    from lab.export.save import FORMATS, target_of

    folder = Path(options.output)
    name = options.format or "pdf"
    # One that does not exist is told before anything is written.
    suffix = FORMATS[name].suffixes[0] if name in FORMATS else ""
    target_of(folder / f"figure{suffix}", name)
    several = len({run.path for run, _ in jobs}) > 1
    files = [folder / f"{f'{run.info.id}-' if several else ''}{figure}{suffix}" for run, figure in jobs]
    there = [file for file in files if file.exists()]
    if there and not options.overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(
            f"{there[0]}{more} exist{'' if more else 's'} already: choose another folder, or --overwrite."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be made ({error.strerror}): name one where files can be written."
        ) from None
    return files


@contextmanager
def _bar(path: Path) -> Iterator[Any]:
    """A progress bar of a film's frames with the time left; on terminals alone."""
    from tqdm import tqdm

    with tqdm(
        desc=path.name, unit=" frames", dynamic_ncols=True, disable=None, leave=False, file=sys.stderr
    ) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
