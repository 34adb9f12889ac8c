"""The commands ``runs``, ``compare``, ``zip`` and ``unzip``: what they print, and one sentence for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab import places
from lab.cli import main
from lab.commands.runs import compare_metrics
from lab.runs.folder import Metrics, RunFolder
from lab.runs.shelf import CRASHED, Label, write_label
from tests.lab.made_runs import begin_run, files_of, make_run, toy_installed

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    with toy_installed():
        yield


class Lab:
    """Runs commands in this process and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str | Path) -> int:
        code = main([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        return code

    def json_of(self, *words: str | Path) -> Any:
        assert self(*words, "--json") == 0 and self.err == ""
        # No NaN: other programs read it.
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    def refused(self, *words: str | Path) -> str:
        assert self(*words) == 2 and self.out == "" and "Traceback" not in self.err, self.err
        assert self.err.startswith("lab: ") and self.err.endswith(".\n") and self.err.count("\n") == 1, (
            self.err
        )
        return self.err


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str]) -> Lab:
    return Lab(capsys)


# --- runs  ----------


def test_the_table_of_runs(lab: Lab, tmp_path: Path):
    make_run(tmp_path / "a", {"seed": 3, "steps": 500, "step_size": 0.2}, created="2026-01-02T00:00:00+0000")
    make_run(tmp_path / "b", {"steps": 40}, state="running", created="2026-01-01T00:00:00+0000")
    write_label(tmp_path / "b", Label("My run"))
    assert lab("runs", tmp_path) == 0 and lab.err == ""
    head, first, second = lab.out.splitlines()
    for text in (
        "Demo · a",
        "toy",
        "done",
        "40/500",
        "loss 0.025",
        "step_size=0.2",
        "2026-01-02",
        str(tmp_path / "a"),
    ):
        assert text in first
    for text in ("My run", CRASHED, "40/40", str(tmp_path / "b")):
        assert text in second
    # Columns stand under each other.
    assert head.index("STATE") == first.index("done") == second.index(CRASHED)
    assert head.index("PATH") == first.index(str(tmp_path)) == second.index(str(tmp_path))


def test_runs_as_json(lab: Lab, tmp_path: Path):
    make_run(tmp_path / "a", loss=lambda step: float("nan"))
    (row,) = lab.json_of("runs", tmp_path)
    assert row["id"] == "a" and row["path"] == str(tmp_path / "a") and row["best"] is None
    assert row["label"] == {"name": "", "note": "", "color": None, "shown": False} and row["state"] == "done"


def test_runs_of_the_windows_own_folder_and_of_one_paper(lab: Lab):
    make_run(places.runs_folder() / "a")
    make_run(places.runs_folder() / "b", paper="diffusion")
    assert {row["id"] for row in lab.json_of("runs")} == {"a", "b"}
    assert {row["id"] for row in lab.json_of("runs", "--paper", "TOY")} == {"a"}
    assert "did you mean toy" in lab.refused("runs", "--paper", "toi")


def test_no_runs_are_no_mistake_but_no_folder_is(lab: Lab, tmp_path: Path):
    assert lab("runs") == 0 and "no runs in" in lab.out
    assert lab.json_of("runs") == []
    assert "is not a folder" in lab.refused("runs", tmp_path / "gone")
    assert "is a run itself" in lab.refused("runs", make_run(tmp_path / "r"))


def test_a_run_that_cannot_be_read_is_in_the_table_and_its_reason_beside_it(lab: Lab, tmp_path: Path):
    (make_run(tmp_path / "a") / "run.json").write_text("{")
    make_run(tmp_path / "b")
    assert lab("runs", tmp_path) == 0
    assert str(tmp_path / "a") in lab.out and "unreadable" in lab.out and str(tmp_path / "b") in lab.out
    assert lab.err.startswith("lab: ") and "damaged" in lab.err and lab.err.count("\n") == 1


def test_names_from_elsewhere_do_not_command_the_terminal(lab: Lab, tmp_path: Path):
    make_run(tmp_path / "a", name="\x1b[2J\x1b]0;evil\x07\nsecond line\u202e", preset="\x1b[31m")
    assert lab("runs", tmp_path) == 0
    assert len(lab.out.splitlines()) == 2 and all(line.isprintable() for line in lab.out.splitlines())


# --- compare  ----------


def test_two_runs_side_by_side(lab: Lab, tmp_path: Path):
    a = make_run(tmp_path / "a", {"seed": 1, "step_size": 0.1}, steps=30)
    b = make_run(
        tmp_path / "b",
        {"seed": 2, "step_size": 0.2},
        steps=20,
        loss=lambda step: 2.0 / step,
        versions={"torch": "2.7", "numpy": "2"},
        machine={"processor": "b", "cores": 2},
        data={"name": "none", "size": "3"},
    )
    found = lab.json_of("compare", a, b)
    assert found["settings"] == {"seed": [1, 2], "step_size": [0.1, 0.2]}
    assert found["versions"] == {"torch": ["2.6", "2.7"], "numpy": [None, "2"]}
    assert found["machine"] == {"processor": ["a", "b"]} and found["data"] == {"size": [None, "3"]}
    assert (found["a"]["steps"], found["b"]["steps"]) == (30, 20) and found["a"]["seconds"] == 0.3
    assert found["a"]["headline"] == "loss" and found["a"]["best"] == found["a"]["latest"] == 1 / 30
    assert found["b"]["best"] == 0.1 and found["b"]["best_step"] == 20
    assert found["relation"] == ""
    assert found["metrics"] == {
        "last_common_step": 20, "equal": False,
        "first_difference": {"step": 1, "scalar": "loss", "a": 1.0, "b": 2.0},
    }  # fmt: skip
    assert lab("compare", a, b) == 0
    for text in (
        "step_size",
        "0.1",
        "0.2",
        "processor",
        "2.7",
        "0.0333333",
        "first differ at step 1: loss is 1.0 and 2.0.",
    ):
        assert text in lab.out


def test_live_changes_count_as_settings(lab: Lab, tmp_path: Path):
    a = make_run(tmp_path / "a")
    writer = begin_run(tmp_path / "b")
    writer.event(10, "change", values={"step_size": 0.7})
    writer.close()
    assert lab.json_of("compare", a, tmp_path / "b")["settings"] == {"step_size": [0.1, 0.7]}


@pytest.mark.parametrize(
    ("relation", "words"),
    [("rewind", "a rewind"), ("fork", "a fork"), ("continue", "a continuation"), ("?", "a branch")],
)
def test_how_two_runs_belong_together(lab: Lab, tmp_path: Path, relation: str, words: str):
    a = make_run(tmp_path / "a")
    b = make_run(tmp_path / "b", parent="a", parent_step=1200, relation=relation)
    c = make_run(tmp_path / "c", parent="a", parent_step=7, relation=relation)
    assert lab.json_of("compare", a, b)["relation"] == f"B is {words} of A, from step 1,200 on."
    assert lab.json_of("compare", b, a)["relation"] == f"A is {words} of B, from step 1,200 on."
    assert (
        lab.json_of("compare", b, c)["relation"]
        == "Both come from a: A from step 1,200 on, B from step 7 on."
    )
    assert "same run" in lab.json_of("compare", a, a)["relation"]


def test_a_fork_is_equal_bit_for_bit_up_to_where_it_began(lab: Lab, tmp_path: Path):
    a = make_run(tmp_path / "a", steps=40)
    writer = begin_run(tmp_path / "b", steps=0, parent="a", parent_step=20, relation="fork")
    writer.inherit(RunFolder(a), RunFolder(a).keyframes()[0][0], "fork")
    writer.close()
    assert lab.json_of("compare", a, tmp_path / "b")["metrics"] == {
        "last_common_step": 20, "equal": True, "first_difference": None,
    }  # fmt: skip
    assert lab("compare", a, tmp_path / "b") == 0
    assert "equal bit for bit up to step 20" in lab.out and "B is a fork of A" in lab.out


def test_runs_without_a_common_step(lab: Lab, tmp_path: Path):
    found = lab.json_of("compare", make_run(tmp_path / "a", steps=0), make_run(tmp_path / "b"))
    assert found["metrics"] == {"last_common_step": None, "equal": None, "first_difference": None}
    assert found["a"]["best"] is None
    assert lab("compare", tmp_path / "a", tmp_path / "b") == 0 and "no step in common" in lab.out


def metrics(steps: list[int], **columns: list[float]) -> Metrics:
    count = len(steps)
    return Metrics(
        np.array(steps), {name: np.array(values) for name, values in columns.items()}, np.zeros(count)
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("a", "b", "step"),
    [
        (metrics([1, 2], x=[1, 2]), metrics([1, 2, 3], x=[1, 2, 9]), None),
        (metrics([1, 2], x=[NAN, 2]), metrics([1, 2], x=[-NAN, 2]), None),
        (metrics([1, 2], x=[1, 2], y=[NAN, NAN]), metrics([1, 2], x=[1, 2]), None),
        (metrics([1, 2], x=[1, 2], y=[NAN, 3]), metrics([1, 2], x=[1, 2]), 2),
        (metrics([1, 2], x=[1, 0.0]), metrics([1, 2], x=[1, -0.0]), 2),
        (metrics([1, 2], x=[1, 0.1 + 0.2]), metrics([1, 2], x=[1, 0.3]), 2),
        (metrics([1, 2], x=[1, 2], y=[5, 6]), metrics([1, 2], x=[1, 3], y=[4, 6]), 1),
        (metrics([1, 2, 3], x=[1, 2, 3]), metrics([1, 3], x=[1, 3]), 2),
        (metrics([3], x=[3]), metrics([1, 2, 3], x=[1, 2, 3]), 1),
        (metrics([1, 2, 3], x=[0, 2, 3]), metrics([1, 3], x=[1, 3]), 1),
    ],
)  # fmt: skip
def test_the_first_step_at_which_a_bit_differs(a: Metrics, b: Metrics, step: int | None):
    for found in (compare_metrics(a, b), compare_metrics(b, a)):
        assert found["equal"] is (step is None)
        assert (found["first_difference"] or {"step": None})["step"] == step


def test_damage_is_told_and_the_rest_compared(lab: Lab, tmp_path: Path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    data = bytearray((a / "metrics.bin").read_bytes())
    data[30] ^= 0xFF
    (a / "metrics.bin").write_bytes(data)
    assert lab("compare", a, b) == 0
    assert "is damaged at byte" in lab.err and "first differ at step 1: only one of them has it." in lab.out


def test_what_is_no_run_is_not_compared(lab: Lab, tmp_path: Path):
    run = make_run(tmp_path / "a")
    assert "is not a folder" in lab.refused("compare", run, tmp_path / "gone")
    assert "holds no run" in lab.refused("compare", tmp_path, run)


# --- zip  ----------


def test_zip_and_unzip(lab: Lab, tmp_path: Path):
    run, target = make_run(tmp_path / "a"), tmp_path / "a.zip"
    assert lab("zip", run, "-o", target) == 0 and lab.out == f"{target}\n"
    assert lab("unzip", target, "--into", tmp_path / "new") == 0
    assert lab.out == f"{tmp_path / 'new' / 'a'}\n"
    assert files_of(tmp_path / "new" / "a") == files_of(run)
    assert lab("unzip", target) == 0 and Path(lab.out.strip()).parent == places.runs_folder()


def test_zip_and_unzip_refuse_in_one_sentence(lab: Lab, tmp_path: Path):
    run, target = make_run(tmp_path / "a"), tmp_path / "a.zip"
    target.write_text("precious")
    assert "exists already" in lab.refused("zip", run, "-o", target)
    assert "no zip file" in lab.refused("unzip", target)
    assert not places.runs_folder().exists()
    assert lab("zip", run, "-o", target, "--overwrite") == 0
    assert "holds no run" in lab.refused("zip", tmp_path, "-o", tmp_path / "b.zip")
    assert "cannot be read" in lab.refused("unzip", tmp_path / "gone.zip")


def test_neither_qt_nor_torch_is_loaded(tmp_path: Path):
    a, b = make_run(tmp_path / "a", paper="diffusion"), make_run(tmp_path / "b", paper="diffusion")
    code = (
        "import sys; from lab.cli import main; import lab.setup, lab.runs.aggregate; a, b, z = sys.argv[1:4]\n"
        "codes = [main(['runs', sys.argv[4]]), main(['compare', a, b]), main(['zip', a, '-o', z]), main(['unzip', z])]\n"
        "loaded = {'torch', 'PySide6', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'{codes} {loaded}' if any(codes) or loaded else 0)"
    )
    words = [str(path) for path in (a, b, tmp_path / "z.zip", tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
