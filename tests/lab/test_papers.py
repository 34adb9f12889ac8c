"""The table of papers: the ten, other people's, and how quickly it is there."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from engines.errors import InputError
from engines.method import Method
from lab import papers
from lab.papers import Paper

ROOT = Path(__file__).parents[2]
HEAVY = {
    "torch",
    "PySide6",
    "pyqtgraph",
    "matplotlib",
    "sklearn",
    "scipy",
    "safetensors",
    "gymnasium",
    "mujoco",
    "requests",
    "PIL",
}
TOY_PAPER = Paper("toy", "Toy", "A toy", ("A. Nobody",), 2020, "None", "0000.00000", method="tests.toy:TOY")


def make_toy() -> Paper:
    return TOY_PAPER


def make_trouble() -> Paper:
    raise RuntimeError("this package is broken")


def add(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    """Pretend that installed packages add these papers."""
    entries = [EntryPoint(f"added-{i}", value, papers.ENTRY_POINT_GROUP) for i, value in enumerate(values)]
    monkeypatch.setattr(papers, "entry_points", lambda group: [e for e in entries if e.group == group])


def test_there_are_ten_papers_and_each_row_is_whole():
    rows = papers.papers()
    assert {row.id for row in rows} >= {
        "trpo", "gmmn", "dcn", "diffusion", "made", "show-attend-tell", "fixed-point", "reversible-learning", "draw",
        "batch-norm",
    }  # fmt: skip
    assert len(rows) == 10
    for field in ("id", "short", "title", "arxiv"):
        assert len({getattr(row, field) for row in rows}) == len(rows)
    for row in rows:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row.id) and row.key.isidentifier()
        assert re.fullmatch(r"\d{4}\.\d{5}", row.arxiv)
        assert row.authors and all(" " in author for author in row.authors)
        assert 2014 <= row.year <= 2016 and row.venue and row.short


def test_what_is_built_has_a_method_that_fits():
    for row in papers.papers():
        if row.is_built:
            method = papers.method_of(row)
            assert isinstance(method, Method)
            assert method.presets and len({p.id for p in method.presets}) == len(method.presets)
            for preset in method.presets:
                method.config.build(preset.values)
            assert len({view.name for view in method.views}) == len(method.views)
        else:
            with pytest.raises(InputError, match="not built yet"):
                papers.method_of(row)


@pytest.mark.parametrize(
    "name", ["show-attend-tell", "show_attend_tell", "Show_Attend-Tell", " SHOW-ATTEND-TELL "]
)
def test_a_paper_is_found_however_its_id_is_spelt(name: str):
    assert papers.find(name).id == "show-attend-tell"


@pytest.mark.parametrize(
    ("name", "near"), [("difusion", "diffusion"), ("batchnorm", "batch-norm"), ("DRAWS", "draw")]
)
def test_a_near_miss_is_suggested(name: str, near: str):
    with pytest.raises(InputError, match=f"did you mean {near}") as caught:
        papers.find(name)
    assert name in str(caught.value) and "show-attend-tell" in str(caught.value)


@pytest.mark.parametrize("name", ["", "zzzzzz", "../etc"])
def test_an_unknown_paper_gets_the_list(name: str):
    with pytest.raises(InputError, match="choose one of trpo") as caught:
        papers.find(name)
    assert "did you mean" not in str(caught.value)


def test_a_paper_without_an_engine_is_found_but_not_to_run():
    waiting = [row for row in papers.papers() if not row.is_built]
    for row in waiting:
        assert papers.find(row.id) is row
        with pytest.raises(InputError, match="not built yet"):
            papers.find_built(row.id)


@pytest.mark.parametrize("what", ["TOY_PAPER", "make_toy"])
def test_an_installed_package_adds_a_paper(monkeypatch: pytest.MonkeyPatch, what: str):
    add(monkeypatch, f"{__name__}:{what}")
    assert [row.id for row in papers.papers()][-1] == "toy" and len(papers.papers()) == 11
    assert papers.find_built("toy") is TOY_PAPER
    assert papers.method_of(TOY_PAPER).engine == "tests.toy:ToyEngine"


@pytest.mark.parametrize("what", ["make_trouble", "nothing_of_that_name", "ROOT", "re"])
def test_a_broken_addition_is_left_out_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
):
    add(monkeypatch, f"{__name__}:{what}", f"{__name__}:TOY_PAPER", "no.such.module:x")
    with caplog.at_level(logging.ERROR):
        rows = papers.papers()
    assert len(rows) == 11 and rows[-1] is TOY_PAPER
    assert "added-0" in caplog.text and "added-2" in caplog.text and "added-1" not in caplog.text


def test_an_addition_cannot_take_a_built_in_place(monkeypatch: pytest.MonkeyPatch):
    before = papers.find("draw")
    monkeypatch.setattr(
        sys.modules[__name__], "IMPOSTOR", Paper("draw", "x", "x", ("A B",), 2015, "x", "x"), raising=False
    )
    add(monkeypatch, f"{__name__}:IMPOSTOR")
    assert papers.find("draw") is before and len(papers.papers()) == 10


# --- start-up -------------------------------------------------------------------------------------------------------------


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running this."""
    code += "\nimport sys; print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.partition("LOADED")[2].split())


def test_what_the_window_and_the_command_line_import_loads_nothing_heavy():
    modules = (
        "lab", "lab.__main__", "lab.papers", "lab.places", "lab.cli", "lab.commands.listing", "lab.commands.run",
        "lab.commands.doctor", "lab.runs.messages", "lab.runs.folder", "lab.runs.state", "lab.runs.history", "lab.runs.hosts",
        "lab.runs.session", "lab.runs.worker", "engines.engine", "engines.method", "engines.device",
    )  # fmt: skip
    loaded = loaded_by("import " + ", ".join(modules))
    assert "lab" in loaded and "engines" in loaded
    assert not HEAVY & loaded


def test_listing_papers_and_pictures_loads_nothing_heavy():
    code = (
        "from lab import papers\n"
        "from lab.cli import main\n"
        "assert main(['papers']) == 0\n"
        "for row in papers.papers():\n"
        "    if row.is_built:\n"
        "        assert main(['figures', row.id]) == 0\n"
    )
    assert not HEAVY & loaded_by(code)


def test_the_console_entry_points_are_there():
    from importlib.metadata import entry_points

    import lab.cli

    found: dict[str, Any] = {
        entry.name: entry.load()
        for group in ("console_scripts", "gui_scripts")
        for entry in entry_points(group=group)
        if entry.name in ("lab", "lab-window")
    }
    assert found == {"lab": lab.cli.main, "lab-window": lab.cli.window}
