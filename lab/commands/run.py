"""``lab run``: train without a window; the session and the worker are the window's own. Runs on the main thread."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.config import find_preset
from engines.errors import InputError
from engines.method import Method
from lab import papers
from lab.runs.folder import BEFORE_CHANGE, RunFolder, new_run_id
from lab.runs.messages import RunSpec
from lab.runs.session import RunFailed, Session


def run(options: argparse.Namespace) -> int:
    """Train one run and print its final scalars.

    Raises
    ------
    InputError
    """
    paper = papers.find_built(options.paper)
    method = papers.method_of(paper)
    if options.resume is not None:
        return _train_from(paper, method, options.resume, options, "continue")
    if options.at is not None:
        raise InputError("--at says where in another run to begin: name that run with --resume.")
    values, preset = gather_settings(method, options)
    return _train_and_print(_spec(paper, method, values, preset, options), method, options)


def fork(options: argparse.Namespace) -> int:
    """Train a second run from a keyframe of another one, with other settings.

    Raises
    ------
    InputError
    """
    paper = papers.find_built(RunFolder(options.run).info.paper)
    return _train_from(paper, papers.method_of(paper), options.run, options, "fork")


def _train_from(
    paper: papers.Paper, method: Method, source: str, options: argparse.Namespace, relation: str
) -> int:
    folder = RunFolder(source)
    if folder.info.paper != paper.id:
        raise InputError(f"{source} is a run of '{folder.info.paper}', not of '{paper.id}': name that paper.")
    beginnings = [getattr(options, name, None) for name in ("preset", "settings", "setup", "seed")]
    if any(beginning is not None for beginning in beginnings):
        raise InputError(
            "A run that goes on from another one has that one's settings: change live ones with --set, and leave "
            "--preset, --settings, --setup and --seed away."
        )
    if options.at is not None:
        keyframe = folder.find_keyframe(options.at)
    else:
        keyframe = folder.newest_sound_keyframe()
    changes = method.config.parse_assignments(
        [*options.assignments, *([f"steps={options.steps}"] if options.steps is not None else [])]
    )
    values = method.config.build({**folder.keyframe_values(keyframe), **changes}).model_dump()
    print(f"lab: from step {keyframe.step:,} of {source}", file=sys.stderr)
    spec = replace(
        _spec(paper, method, values, folder.info.preset, options),
        resume=str(folder.path),
        keyframe=keyframe.file,
        before_change=keyframe.reason == BEFORE_CHANGE,
        relation=relation,
    )
    return _train_and_print(spec, method, options)


def _spec(
    paper: papers.Paper, method: Method, values: dict[str, Any], preset: str, options: argparse.Namespace
) -> RunSpec:
    return RunSpec(
        run=new_run_id(paper.id),
        paper=paper.id,
        engine=method.engine,
        values=values,
        device=options.device,
        folder=str(Path(options.out)),
        preset=preset,
        threads=options.threads,
        keyframe_space=round(options.keyframe_space * 2**20),
    )


def _train_and_print(spec: RunSpec, method: Method, options: argparse.Namespace) -> int:
    session = Session(spec, where=options.where)
    try:
        result = _train(session, method, options.seconds)
    except RunFailed as error:
        if error.details:
            print(error.details, file=sys.stderr)
        print(f"lab: {error}", file=sys.stderr)
        return 2 if error.kind == "memory" else 1
    finally:
        session.close()
    _print(result, method, as_json=options.json)
    return 0


def gather_settings(method: Method, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Settings from the preset, the settings file and the assignments, in that order, and the preset's id.

    Raises
    ------
    SettingError
    """
    preset = find_preset(method.presets, options.preset) if options.preset else method.presets[0]
    values: dict[str, Any] = dict(preset.values)
    text = getattr(options, "setup", None)
    if text:
        from lab.setup import Setup, read_setup

        is_text = text.strip("\"' \n\t").lower().startswith("lab://")
        setup = Setup.from_text(text) if is_text else read_setup(Path(text))
        if papers.find(setup.paper) != papers.find(options.paper):
            raise InputError(f"The setup is of '{setup.paper}', not of '{options.paper}': name that paper.")
        values = dict(setup.values)
        preset = find_preset(method.presets, setup.preset) if setup.preset else preset
    file = getattr(options, "settings", None)
    if file:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"The settings file {file} cannot be read ({error}): give a settings.toml of a run."
            ) from None
        values = method.config.from_toml(text).model_dump()
    assignments = list(options.assignments)
    for name in ("seed", "steps"):
        if getattr(options, name, None) is not None:
            assignments.append(f"{name}={getattr(options, name)}")
    values.update(method.config.parse_assignments(assignments))
    return method.config.build(values).model_dump(), preset.id


def _train(session: Session, method: Method, seconds: float | None) -> dict[str, Any]:
    from tqdm import tqdm

    session.wait(session.start(), timeout=600)
    started = session.drain().started
    assert started is not None
    config = method.config.build(started.values)
    began = time.monotonic()
    stopped_by = ""
    errors: list[str] = []
    with tqdm(total=config.steps, unit=" steps", dynamic_ncols=True, disable=None, file=sys.stderr) as bar:
        bar.update(started.step)
        with _interruptions() as interrupted:
            while session.state == "running" and not interrupted.is_set():
                left = seconds - (time.monotonic() - began) if seconds is not None else math.inf
                if left <= 0:
                    session.wait(session.pause(), timeout=600)
                    stopped_by = "time"
                    break
                session.wait_for(lambda: session.state != "running", min(0.2, max(left, 0.001)))
                errors += _show(session, bar, method)
            if interrupted.is_set():
                # Stop and keep: what was trained is evaluated and written.
                session.wait(session.pause(), timeout=600)
                stopped_by = "keyboard"
        trained = time.monotonic() - began
        errors += _show(session, bar, method)
    if session.failure is not None:
        if session.failure.kind == "input":
            raise InputError(session.failure.sentence)
        raise RunFailed(session.failure.sentence, session.failure.details, session.failure.kind)
    if session.state == "paused" and not session.is_finished and not stopped_by:
        raise InputError(errors[0] if errors else session.message)
    step = session.step
    summary = session.wait(session.summarise(), timeout=3600).payload
    session.wait(session.stop(), timeout=600)
    folder = session.spec.folder
    return {
        "paper": session.spec.paper,
        "preset": session.spec.preset,
        "run": session.spec.run,
        "seed": config.seed,
        "steps": step,
        "seconds": round(trained, 3),
        "steps_per_s": round((step - started.step) / trained, 2) if trained > 0 else 0.0,
        "device": started.device,
        "machine": started.device_name,
        "data": dict(started.data),
        "where": session.where,
        "out": folder,
        **summary,
    }


@contextlib.contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """Ctrl+C sets the event, once; the second is an exception as usual.

    An exception in the middle of anything, such as just after a lock was taken, could leave the session unusable.
    """
    event = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _show(session: Session, bar: Any, method: Method) -> list[str]:
    updates = session.drain()
    bar.update(session.step - bar.n)
    if updates.scalars:
        newest = updates.scalars[-1].columns.get(method.headline)
        if newest is not None:
            bar.set_postfix_str(f"{method.headline} {newest[-1]:.4g}", refresh=False)
    errors = []
    for note in updates.notes:
        if note.kind == "error":
            # It ends the run, and is told then.
            errors.append(note.text)
        else:
            bar.write(f"lab: {note.text}", file=sys.stderr)
    return errors


def _print(result: dict[str, Any], method: Method, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({name: _plain(value) for name, value in result.items()}))
        return
    for name, value in result.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {part}" for key, part in value.items())
        print(f"{name:<18} {value:.6g}" if isinstance(value, float) else f"{name:<18} {value}")


def _plain(value: Any) -> Any:
    # JSON has no NaN; a scalar that is unknown is null.
    return None if isinstance(value, float) and not math.isfinite(value) else value
