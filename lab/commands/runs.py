"""``lab runs``, ``lab compare``, ``lab zip``, ``lab unzip``: the runs on the disk; main thread, without Qt and torch."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import InputError
from lab import papers, places
from lab.runs.archive import unzip_run, zip_run
from lab.runs.folder import Metrics, RunFolder, RunInfo, is_run
from lab.runs.shelf import Shelf, ShelfRow, headline_of, known_method


def list_runs(folder: str | None, *, paper: str | None, as_json: bool) -> int:
    """Print the runs of a folder, newest first.

    Raises
    ------
    InputError
    """
    place = Path(folder) if folder else places.runs_folder()
    if folder and not place.is_dir():
        raise InputError(f"{place} is not a folder: give the folder that holds the runs.")
    if is_run(place):
        raise InputError(f"{place} is a run itself: give the folder that it lies in.")
    rows = Shelf(place).rows(papers.find(paper).id if paper else None)
    if as_json:
        print(json.dumps([_plain(asdict(row)) for row in rows]))
        return 0
    if not rows:
        print(f"There are no runs in {place}.")
        return 0
    head = ("NAME", "PAPER", "STATE", "STEP", "BEST", "SETTINGS THAT DIFFER", "CREATED", "PATH")
    _print_table([head, *(_cells(row) for row in rows)])
    for row in rows:
        if row.problem:
            print(f"lab: {_line(row.problem)}", file=sys.stderr)
    return 0


def compare(first: str, second: str, *, as_json: bool) -> int:
    """Print in what two runs differ.

    Raises
    ------
    RunError
        When one of them cannot be read.
    """
    runs = [RunFolder(first), RunFolder(second)]
    metrics = [run.metrics() for run in runs]
    for found in metrics:
        for sentence in found.damage:
            print(f"lab: {_line(sentence)}", file=sys.stderr)
    infos = [run.info for run in runs]
    sides = [_side(run, found) for run, found in zip(runs, metrics, strict=True)]
    result: dict[str, Any] = {
        "a": sides[0],
        "b": sides[1],
        "settings": _differences(*(run.values() for run in runs)),
        "data": _differences(*(info.data for info in infos)),
        "versions": _differences(*(info.versions for info in infos)),
        "machine": _differences(*(info.machine for info in infos)),
        "relation": relation(*infos),
        "metrics": compare_metrics(*metrics),
    }
    if as_json:
        print(json.dumps(_plain(result)))
        return 0
    _print_comparison(result)
    return 0


def zip_command(run: str, output: str, *, overwrite: bool) -> int:
    """Write a run to a zip file and print its path.

    Raises
    ------
    RunError
    """
    print(zip_run(run, Path(output), overwrite=overwrite))
    return 0


def unzip_command(archive: str, into: str | None) -> int:
    """Unpack a zipped run and print its folder.

    Raises
    ------
    RunError
    """
    print(unzip_run(Path(archive), Path(into) if into else places.runs_folder()))
    return 0


# --- comparing  ----------


def relation(a: RunInfo, b: RunInfo) -> str:
    """How two runs belong together, as a sentence; empty when they do not."""
    if a.id == b.id:
        return "Both are one and the same run."
    for child, parent, names in ((b, a, "B is {} of A"), (a, b, "A is {} of B")):
        if child.parent == parent.id:
            words = {"rewind": "a rewind", "fork": "a fork", "continue": "a continuation"}
            return (
                f"{names.format(words.get(child.relation, 'a branch'))}, from step {child.parent_step:,} on."
            )
    if a.parent and a.parent == b.parent:
        return (
            f"Both come from {a.parent}: A from step {a.parent_step:,} on, B from step {b.parent_step:,} on."
        )
    return ""


def compare_metrics(a: Metrics, b: Metrics) -> dict[str, Any]:
    """Whether two runs recorded the same, bit for bit, up to the last step that both have.

    Returns
    -------
    dict
        ``last_common_step`` (None without one), ``equal`` (None without one), and ``first_difference``: None, or a dict of
        ``step``, ``scalar``, ``a`` and ``b``; ``scalar`` is empty where one of them lacks the step.
    """
    common = np.intersect1d(a.steps, b.steps)
    if not len(common):
        return {"last_common_step": None, "equal": None, "first_difference": None}
    last = int(common[-1])
    result: dict[str, Any] = {"last_common_step": last, "equal": True, "first_difference": None}
    kept_a, kept_b = a.steps <= last, b.steps <= last
    steps_a, steps_b = a.steps[kept_a], b.steps[kept_b]
    count = min(len(steps_a), len(steps_b))
    different = steps_a[:count] != steps_b[:count]
    # Up to here the rows stand side by side.
    rows = int(np.argmax(different)) if different.any() else count
    found: tuple[int, str, float | None, float | None] | None = None
    if rows < max(len(steps_a), len(steps_b)):
        missing = [int(steps[rows]) for steps in (steps_a, steps_b) if rows < len(steps)]
        found = (min(missing), "", None, None)
    for name in dict.fromkeys((*a.columns, *b.columns)):
        left, right = (_column(run, name, kept)[:rows] for run, kept in ((a, kept_a), (b, kept_b)))
        # A scalar that was not reported is NaN, and any NaN says that.
        same = (left.view(np.int64) == right.view(np.int64)) | (np.isnan(left) & np.isnan(right))
        if not same.all():
            row = int(np.argmin(same))
            if found is None or steps_a[row] < found[0]:
                found = (int(steps_a[row]), name, float(left[row]), float(right[row]))
    if found is not None:
        result["equal"] = False
        result["first_difference"] = dict(zip(("step", "scalar", "a", "b"), found, strict=True))
    return result


def _column(metrics: Metrics, name: str, kept: np.ndarray) -> np.ndarray:
    values = metrics.columns.get(name)
    return values[kept] if values is not None else np.full(np.count_nonzero(kept), np.nan)


def _side(run: RunFolder, metrics: Metrics) -> dict[str, Any]:
    info, status = run.info, run.status()
    method = known_method(info.paper)
    latest, best, best_step = headline_of(metrics, method) if method is not None else (None, None, -1)
    return {
        "path": str(run.path),
        "run": info.id,
        "paper": info.paper,
        "preset": info.preset,
        "seed": info.values.get("seed"),
        "device": info.device,
        "created": info.created,
        "steps": int(metrics.steps[-1]) if len(metrics.steps) else status.step,
        "seconds": status.seconds,
        "headline": method.headline if method is not None else "",
        "latest": latest,
        "best": best,
        "best_step": best_step,
    }


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The entries that differ, with both values; None where one has none."""
    names = dict.fromkeys((*a, *b))
    return {name: [a.get(name), b.get(name)] for name in names if a.get(name) != b.get(name)}


# --- printing  ----------


def _cells(row: ShelfRow) -> tuple[str, ...]:
    best = f"{row.headline} {row.best:.4g}" if row.best is not None else ""
    step = f"{row.step:,}/{row.total:,}" if row.total else f"{row.step:,}"
    differing = " ".join(f"{name}={_value(value)}" for name, value in row.differing.items())
    return (row.name, row.paper, row.state, step, best, differing, row.created, str(row.path))


def _print_comparison(result: Mapping[str, Any]) -> None:
    a, b = result["a"], result["b"]
    rows = [("", "A", "B"), *((name, _value(a[name]), _value(b[name])) for name in a)]
    for part in ("settings", "data", "versions", "machine"):
        if result[part]:
            rows += [("", "", ""), (f"{part} that differ", "", "")]
            rows += [
                (f"  {name}", _value(left), _value(right)) for name, (left, right) in result[part].items()
            ]
    _print_table(rows)
    print()
    if result["relation"]:
        print(_line(result["relation"]))
    found = result["metrics"]
    if found["equal"] is None:
        print("They have no step in common.")
    elif found["equal"]:
        print(
            f"Their scalars are equal bit for bit up to step {found['last_common_step']:,}, the last that both have."
        )
    else:
        first = found["first_difference"]
        what = (
            f"{first['scalar']} is {first['a']!r} and {first['b']!r}"
            if first["scalar"]
            else "only one of them has it"
        )
        print(f"Their scalars first differ at step {first['step']:,}: {_line(what)}.")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    cells = [[_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def _line(text: str) -> str:
    """Text from a file, as a terminal may show it: no control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    # JSON has no NaN; a scalar that is unknown is null.
    return None if isinstance(value, float) and not math.isfinite(value) else value
