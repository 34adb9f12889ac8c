"""The command ``lab``: the window, and everything that works without it; runs on the main thread.

Exit codes: 0 done, 2 bad input (one sentence on standard error), 1 a fault of ours (the details on standard error).
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from engines.errors import InputError
from lab import __version__
from lab.commands import arguments


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = list(sys.argv[1:] if words is None else words)
    try:
        options = _parser().parse_args(given)
        return int(options.call(options) or 0)
    except InputError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lab: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe went away, as `head` does; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        traceback.print_exc()
        print("lab: this is a fault of the lab; the lines above say where.", file=sys.stderr)
        return 1


def window() -> int:
    """Entry of the GUI script: the window, without a console."""
    return main(sys.argv[1:])


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are sentences, and whose options may be declared when they are needed."""

    declare: Callable[[argparse.ArgumentParser], None] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        declare, self.declare = self.declare, None
        if declare is not None:
            declare(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise InputError(f"{message}; '{self.prog} --help' shows how to call it.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lab",
        description="Ten landmark papers, each training live: the window (no arguments), or one of these commands.",
    )
    parser.add_argument("--version", action="version", version=f"paperlab {__version__}")
    parser.set_defaults(call=_window, open=None, paper=None, style=None)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    command = commands.add_parser("open", help="open the window, on a run folder or a paper if one is named")
    command.add_argument("open", nargs="?", metavar="RUN|PAPER")
    command.set_defaults(call=_window)

    command = commands.add_parser("papers", help="list the papers")
    command.add_argument("--json", action="store_true")
    command.set_defaults(call=_papers)

    command = commands.add_parser("run", help="train without a window")
    command.add_argument("paper", metavar="PAPER")
    command.add_argument("--preset", metavar="P", help="start from a preset ('lab figures PAPER' lists them)")
    command.add_argument(
        "--set", action="append", default=[], metavar="k=v", dest="assignments", help="change a setting"
    )
    command.add_argument("--settings", metavar="FILE", help="start from a settings.toml")
    command.add_argument(
        "--setup", metavar="TEXT|FILE", help="start from a setup: lab://..., or an exported figure"
    )
    command.add_argument(
        "--resume", metavar="DIR", help="go on from a run's newest keyframe, with its settings"
    )
    command.add_argument(
        "--at", type=arguments.step, metavar="STEP", help="with --resume: from the keyframe at that step"
    )
    _add_training(command)
    command.set_defaults(call=_run)

    command = commands.add_parser("fork", help="train a second run from a keyframe of another one")
    command.add_argument("run", metavar="DIR")
    command.add_argument(
        "--at", type=arguments.step, required=True, metavar="STEP", help="the keyframe at or before that step"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="k=v", dest="assignments", help="what differs"
    )
    _add_training(command)
    command.set_defaults(call=_fork)

    command = commands.add_parser(
        "figures", help="list the pictures and presets of a paper, or the pictures of a run"
    )
    command.add_argument("source", metavar="PAPER|RUN")
    command.add_argument("--json", action="store_true")
    command.add_argument("--salvage", action="store_true", help="go on with what is intact in a damaged run")
    command.set_defaults(call=_figures)

    command = commands.add_parser("export", help="write pictures, films or scalars of runs to files")
    command.declare = _declare_export
    command.set_defaults(call=_export)

    command = commands.add_parser("runs", help="list the runs of a folder")
    command.add_argument("folder", nargs="?", metavar="FOLDER", help="the window's own folder if not given")
    command.add_argument("--paper", dest="only", metavar="P", help="only the runs of this paper")
    command.add_argument("--json", action="store_true")
    command.set_defaults(call=_runs)

    command = commands.add_parser("compare", help="tell in what two runs differ")
    command.add_argument("first", metavar="RUN")
    command.add_argument("second", metavar="RUN")
    command.add_argument("--json", action="store_true")
    command.set_defaults(call=_compare)

    command = commands.add_parser("zip", help="write a run to one file")
    command.add_argument("run", metavar="RUN")
    command.add_argument("--overwrite", action="store_true")
    command.add_argument("-o", "--output", required=True, metavar="FILE")
    command.set_defaults(call=_zip)

    command = commands.add_parser("unzip", help="unpack a run that was zipped")
    command.add_argument("file", metavar="FILE")
    command.add_argument("--into", metavar="FOLDER", help="the window's own folder of runs if not given")
    command.set_defaults(call=_unzip)

    command = commands.add_parser("shot", help="open the real window, train, and save a picture of it")
    command.add_argument("paper", metavar="PAPER")
    command.add_argument("--seconds", type=arguments.seconds, default=20.0, metavar="S")
    command.add_argument("--size", type=arguments.size, default=(1600, 1000), metavar="WxH")
    command.add_argument("--theme", choices=("light", "dark"), default="light")
    command.add_argument("--preset", metavar="P")
    command.add_argument("--set", action="append", default=[], metavar="k=v", dest="assignments")
    command.add_argument(
        "--page", choices=("views", "text"), default="views", help="the pictures, or the paper's text"
    )
    command.add_argument("-o", "--output", required=True, metavar="FILE.png")
    command.set_defaults(call=_shot)

    command = commands.add_parser(
        "fetch", help="download a data set: mnist, binarized_mnist, fashion_mnist, cifar10, svhn"
    )
    command.add_argument("dataset", metavar="DATASET")
    command.set_defaults(call=_fetch)

    command = commands.add_parser(
        "bench", help="measure: the window's cost to training, the start, the engines"
    )
    command.add_argument("what", choices=("gui", "start", "engines"))
    command.add_argument("--paper", default="diffusion", metavar="P")
    command.add_argument("--preset", metavar="P")
    command.add_argument(
        "--seconds", type=arguments.seconds, default=8.0, metavar="S", help="length of each interleaved part"
    )
    command.add_argument("--rounds", type=arguments.count, default=3, metavar="N")
    command.add_argument(
        "--peer",
        choices=("auto", "yes", "no"),
        default="auto",
        help="engines: measure a public implementation beside, if it is installed (auto), in any case, or not at all",
    )
    command.add_argument("--json", action="store_true")
    command.set_defaults(call=_bench)

    command = commands.add_parser("doctor", help="tell what is missing on this machine")
    command.add_argument("--json", action="store_true")
    command.set_defaults(call=_doctor)
    return parser


def _declare_export(command: argparse.ArgumentParser) -> None:
    # How a figure looks is declared with pydantic, which no other command should wait for.
    from lab.commands.export import add_options

    add_options(command)


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", metavar="N")
    length = command.add_mutually_exclusive_group()
    length.add_argument("--steps", metavar="N")
    length.add_argument("--seconds", type=arguments.seconds, metavar="S")
    command.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps")
    command.add_argument("--where", choices=("process", "thread"), default="process")
    command.add_argument(
        "--threads", type=arguments.count, metavar="N", help="torch's threads (all cores but one)"
    )
    command.add_argument(
        "--keyframe-space",
        type=arguments.megabytes,
        default=512,
        metavar="MB",
        help="what keyframes may take (512)",
    )
    command.add_argument("--json", action="store_true", help="the last line is one JSON object")
    command.add_argument(
        "--out", required=True, metavar="DIR", help="the run's folder; must not hold a run yet"
    )


def _window(options: argparse.Namespace) -> int:
    from lab.commands.window import open_window

    return open_window(options.open)


def _papers(options: argparse.Namespace) -> int:
    from lab.commands.listing import list_papers

    return list_papers(as_json=options.json)


def _run(options: argparse.Namespace) -> int:
    from lab.commands.run import run

    return run(options)


def _fork(options: argparse.Namespace) -> int:
    from lab.commands.run import fork

    return fork(options)


def _figures(options: argparse.Namespace) -> int:
    from lab.commands.listing import list_figures

    return list_figures(options.source, as_json=options.json, salvage=options.salvage)


def _export(options: argparse.Namespace) -> int:
    from lab.commands.export import export

    return export(options)


def _runs(options: argparse.Namespace) -> int:
    from lab.commands.runs import list_runs

    return list_runs(options.folder, paper=options.only, as_json=options.json)


def _compare(options: argparse.Namespace) -> int:
    from lab.commands.runs import compare

    return compare(options.first, options.second, as_json=options.json)


def _zip(options: argparse.Namespace) -> int:
    from lab.commands.runs import zip_command

    return zip_command(options.run, options.output, overwrite=options.overwrite)


def _unzip(options: argparse.Namespace) -> int:
    from lab.commands.runs import unzip_command

    return unzip_command(options.file, options.into)


def _shot(options: argparse.Namespace) -> int:
    from lab.commands.window import shot

    return shot(options)


def _fetch(options: argparse.Namespace) -> int:
    from lab.commands.fetch import fetch

    return fetch(options.dataset)


def _bench(options: argparse.Namespace) -> int:
    from lab.commands.bench import bench

    return bench(options)


def _doctor(options: argparse.Namespace) -> int:
    from lab.commands.doctor import doctor

    return doctor(as_json=options.json)
