"""``lab papers`` and ``lab figures``: what there is; runs on the main thread, without Qt and torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engines.errors import RunError
from lab import papers
from lab.runs.folder import RunFolder, is_run


def list_papers(*, as_json: bool) -> int:
    """Print the table of papers."""
    rows = papers.papers()
    if as_json:
        fields = ("id", "short", "title", "authors", "year", "venue", "arxiv")
        print(
            json.dumps(
                [{**{name: getattr(row, name) for name in fields}, "built": row.is_built} for row in rows]
            )
        )
        return 0
    width = max(len(row.id) for row in rows)
    for row in rows:
        print(
            f"{row.id:<{width}}  {row.year}  {row.title}{'' if row.is_built else '  (engine not built yet)'}"
        )
    return 0


def list_figures(source: str, *, as_json: bool, salvage: bool) -> int:
    """Print the pictures of a paper or of a run, and a paper's presets.

    Raises
    ------
    InputError
        Unknown paper, no run, or a damaged run unless ``salvage``.
    """
    folder = open_run(source, salvage=salvage) if looks_like_path(source) else None
    method = papers.method_of(papers.find_built(folder.info.paper if folder else source))
    views = [{"name": view.name, "title": view.title, "help": view.help} for view in method.views]
    presets = [
        {"id": p.id, "title": p.title, "help": p.help, "values": dict(p.values)} for p in method.presets
    ]
    if as_json:
        content: dict[str, object] = {"figures": views}
        if folder is None:
            content["presets"] = presets
        else:
            steps = folder.metrics().steps
            content["run"] = {
                "id": folder.info.id,
                "paper": folder.info.paper,
                "steps": int(steps[-1]) if len(steps) else 0,
            }
        print(json.dumps(content))
        return 0
    print("Pictures")
    for view in views:
        print(f"  {view['name']:<18} {view['title']}: {view['help']}")
    if folder is None:
        print("Presets")
        for preset in method.presets:
            print(f"  {preset.id:<18} {preset.title}: {preset.help}")
    return 0


def looks_like_path(source: str) -> bool:
    """Whether an argument means a run folder rather than a paper."""
    return is_run(source) or "/" in source or "\\" in source or Path(source).exists()


def open_run(source: str, *, salvage: bool) -> RunFolder:
    """A run's folder, checked byte by byte.

    Raises
    ------
    RunError
        When anything in it is damaged, unless ``salvage``; then the sentences go to standard error.
    """
    folder = RunFolder(source)
    damage = folder.damage()
    if damage and not salvage:
        more = f" ({len(damage) - 1} more records are damaged.)" if len(damage) > 1 else ""
        raise RunError(f"{damage[0]}{more} Add --salvage to go on with what is intact.")
    for sentence in damage:
        print(f"lab: {sentence}", file=sys.stderr)
    return folder
