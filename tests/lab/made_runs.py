"""Runs of the toy on the disk, made without training; for the tests of what lists, packs and compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.figures import Axis, Lines, Plot
from lab import papers
from lab.papers import Paper
from lab.runs.folder import RunInfo, RunStatus
from lab.runs.frames import pack as pack_pictures
from lab.runs.writer import RunWriter
from tests.toy import ToySettings

TOY_PAPER = Paper("toy", "Toy", "A toy", ("A. Nobody",), 2020, "None", "0000.00000", method="tests.toy:TOY")


PICTURES = pack_pictures(
    {"position": Plot((Lines(np.arange(3.0), np.arange(3.0)),), Axis("x"), Axis("y"), "T")}
)


@contextmanager
def toy_installed() -> Iterator[None]:
    """As if an installed package added the toy."""
    entry = EntryPoint("toy", f"{__name__}:TOY_PAPER", papers.ENTRY_POINT_GROUP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(papers, "entry_points", lambda group: [entry] if group == entry.group else [])
        yield


def loss_of(step: int) -> float:
    return 1.0 / step


def begin_run(
    path: Path,
    values: Mapping[str, Any] | None = None,
    *,
    steps: int = 40,
    state: str = "running",
    loss: Callable[[int], float] = loss_of,
    status: bool = True,
    **info: Any,
) -> RunWriter:
    """A run whose writer is still open: as while it is trained."""
    settings = ToySettings.build(values)
    known = {
        "id": path.name,
        "paper": "toy",
        "values": settings.model_dump(mode="json"),
        "preset": "demo",
        "created": "2026-01-01T00:00:00+0000",
        "versions": {"torch": "2.6"},
        "machine": {"processor": "a", "cores": 2},
        "data": {"name": "none"},
    }
    writer = RunWriter(path, RunInfo(**{**known, **info}), settings.to_toml("toy"))
    writer.event(0, "state", state="running", message="")
    for step in range(1, steps + 1):
        writer.add(step, step / 100, {"loss": loss(step)} | ({"even": step / 2} if step % 2 == 0 else {}))
        if step % 20 == 0:
            writer.flush()
            writer.keyframe(step, b"state" * 50 + bytes([step]), "regular", frame=PICTURES)
    if state != "running":
        writer.event(steps, "state", state=state, message="")
    writer.flush()
    if status:
        best = min(range(1, steps + 1), key=loss, default=-1)
        known_best = loss(best) if steps else None
        writer.status(
            RunStatus(
                state,
                steps,
                settings.steps,
                steps / 100,
                "loss",
                loss(steps) if steps else None,
                known_best,
                best,
                writer.keyframe_bytes(),
            )
        )
    return writer


def make_run(path: Path, values: Mapping[str, Any] | None = None, **more: Any) -> Path:
    """A run that nobody writes any more; done unless another state is given."""
    begin_run(path, values, **{"state": "done", **more}).close()
    return path


def files_of(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
