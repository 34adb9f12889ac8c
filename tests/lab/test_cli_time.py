"""The command line and the past of runs: going on from a keyframe, forking, and pictures of any step."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.figures import FigureSpec
from lab import papers
from lab.cli import main
from lab.runs.folder import RunFolder
from tests.lab.command_line import Lab
from tests.lab.made_runs import toy_installed
from tests.lab.watching import sessions, spec

ROOT = Path(__file__).parents[2]
QUICK = ("--where", "thread", "--device", "cpu", "--threads", "1", "--json")


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with toy_installed():
        yield


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 steps with keyframes at 0, 20, 40 and 60, and a change at 20."""
    path = tmp_path_factory.mktemp("runs") / "changed"
    with sessions() as make:
        run = make("thread", spec(path, paused=True, seed=5, steps=60, report_every=1000))
        run.start()
        run.train(20)
        run.do(run.session.change({"step_size": 0.3}))
        run.train(20)
        run.train(20)
        run.end()
    places = [record.place for record in RunFolder(path).keyframes()[0]]
    assert places == [(0, True), (20, False), (20, True), (40, True), (60, True)]
    return path


def columns(path: Path) -> dict[str, list[float]]:
    """All scalars, those that were not reported as None."""
    metrics = RunFolder(path).metrics()
    assert metrics.damage == []
    found: dict[str, list[float]] = {"step": metrics.steps.tolist()}
    for name, column in metrics.columns.items():
        found[name] = np.where(np.isnan(column), None, column).tolist()
    return found


def files_of(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# --- going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["thread", "process"])
def test_a_run_that_goes_on_ends_as_one_that_was_never_interrupted(lab: Lab, tmp_path: Path, where: str):
    quick = [where if word == "thread" else word for word in QUICK]
    settings = ("--set", "step_size=0.015", "--set", "curvature=long", "--seed", "9")
    whole = lab("run", "toy", *settings, "--steps", "500", *QUICK, "--out", tmp_path / "whole")
    lab("run", "toy", *settings, "--steps", "200", *QUICK, "--out", tmp_path / "part")
    before = files_of(tmp_path / "part")
    on = lab("run", "toy", "--resume", tmp_path / "part", "--steps", "500", *quick, "--out", tmp_path / "on")
    assert files_of(tmp_path / "part") == before
    assert {name: on[name] for name in ("loss", "seed", "steps", "paper", "preset")} == {
        name: whole[name] for name in ("loss", "seed", "steps", "paper", "preset")
    }
    assert on["run"] != whole["run"] and "from step 200" in lab.err
    assert columns(tmp_path / "on") == columns(tmp_path / "whole")
    folder = RunFolder(tmp_path / "on")
    part = RunFolder(tmp_path / "part").info
    assert (folder.info.parent, folder.info.parent_step, folder.info.relation) == (part.id, 200, "continue")
    assert folder.info.values == RunFolder(tmp_path / "whole").info.values and folder.damage() == []
    assert folder.last_state() == "done"


def test_without_anything_else_it_goes_on_from_the_newest_with_the_settings_of_the_end(
    lab: Lab, changed: Path, tmp_path: Path
):
    lab("run", "toy", "--resume", changed, "--steps", "80", *QUICK, "--out", tmp_path / "on")
    folder = RunFolder(tmp_path / "on")
    assert folder.info.parent_step == 60 and folder.info.values["step_size"] == 0.3
    assert columns(tmp_path / "on")["step"] == list(range(1, 81))
    assert folder.info.values == {**RunFolder(changed).values(), "steps": 80}


@pytest.mark.parametrize(
    ("at", "begins", "size"),
    [("0", 0, 0.1), ("19", 0, 0.1), ("20", 20, 0.3), ("59", 40, 0.3), ("9,999", 60, 0.3)],
)
def test_at_takes_the_keyframe_at_or_before_a_step_with_the_settings_then(
    lab: Lab, changed: Path, tmp_path: Path, at: str, begins: int, size: float
):
    """At the step of a change the settings after it are in force."""
    result = lab("run", "toy", "--resume", changed, "--at", at, *QUICK, "--out", tmp_path / "on")
    folder = RunFolder(tmp_path / "on")
    assert folder.info.parent_step == begins and folder.info.values["step_size"] == size
    assert f"from step {begins} of" in lab.err and result["steps"] == 60
    found, original = columns(tmp_path / "on"), columns(changed)
    until = 20 if begins < 20 else 60
    assert {name: column[:until] for name, column in found.items()} == {
        name: column[:until] for name, column in original.items()
    }
    if begins >= 20:
        newest = [
            RunFolder(path).newest_state()[1]["parameter"].tolist() for path in (tmp_path / "on", changed)
        ]
        assert newest[0] == newest[1]


def test_a_fork_differs_from_where_it_began(lab: Lab, changed: Path, tmp_path: Path):
    before = files_of(changed)
    lab(
        "fork",
        changed,
        "--at",
        "40",
        "--set",
        "step_size=0.01",
        "--set",
        "steps=70",
        *QUICK,
        "--out",
        tmp_path / "a",
    )
    assert files_of(changed) == before
    folder = RunFolder(tmp_path / "a")
    assert (folder.info.relation, folder.info.parent_step) == ("fork", 40)
    assert folder.info.parent == RunFolder(changed).info.id
    assert folder.info.values == {**RunFolder(changed).values(), "step_size": 0.01, "steps": 70}
    assert columns(tmp_path / "a")["step_size"] == [0.1] * 20 + [0.3] * 20 + [0.01] * 30
    # With nothing that differs, it is the original once more.
    lab("fork", changed, "--at", "40", *QUICK, "--out", tmp_path / "b")
    assert columns(tmp_path / "b") == columns(changed)
    # A fork of a fork; --steps is the short way.
    lab("fork", tmp_path / "a", "--at", "70", "--steps", "75", *QUICK, "--out", tmp_path / "c")
    assert columns(tmp_path / "c")["step_size"] == [0.1] * 20 + [0.3] * 20 + [0.01] * 35
    assert RunFolder(tmp_path / "c").info.parent == folder.info.id


def test_the_real_engine_goes_on_as_if_it_was_never_interrupted(lab: Lab, tmp_path: Path):
    small = ("--set", "trajectory=6", "--set", "units=8", "--set", "evaluate_every=10", "--seed", "2")
    whole = lab("run", "diffusion", *small, "--steps", "24", *QUICK, "--out", tmp_path / "whole")
    method = papers.method_of(papers.find("diffusion"))
    values = RunFolder(tmp_path / "whole").info.values
    part = replace(
        spec(tmp_path / "part", paused=True), paper="diffusion", engine=method.engine, values=values
    )
    with sessions() as make:
        # Closed in the middle; what is left of its steps decides how its step size falls.
        run = make("thread", part)
        run.start()
        run.train(11)
        run.end()
    for name, words in (
        ("on", ("run", "diffusion", "--resume", tmp_path / "part")),
        ("fork", ("fork", tmp_path / "part", "--at", "11")),
    ):
        on = lab(*words, *QUICK, "--out", tmp_path / name)
        assert columns(tmp_path / name) == columns(tmp_path / "whole")
        apart = {"run", "preset", "seconds", "steps_per_s", "out"}
        assert {k: on[k] for k in on.keys() - apart} == {k: whole[k] for k in whole.keys() - apart}


def test_a_bound_on_the_keyframes_is_kept(lab: Lab, changed: Path, tmp_path: Path):
    lab("run", "toy", "--steps", "50", "--keyframe-space", "0", *QUICK, "--out", tmp_path / "none")
    assert RunFolder(tmp_path / "none").keyframes() == ([], [])
    one = RunFolder(changed).keyframes()[0][-1].bytes
    lab("fork", changed, "--at", "60", "--steps", "70", "--keyframe-space", f"{2.5 * one / 2**20}", *QUICK,
        "--out", tmp_path / "few")  # fmt: skip
    kept = RunFolder(tmp_path / "few").keyframes()[0]
    assert kept[-1].step == 70 and 1 <= len(kept) <= 2


# --- mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["run", "toy", "--at", "5"], "--resume"),
        (["run", "toy", "--resume", "RUN", "--at", "-1"], "'-1' is not a step"),
        (["run", "toy", "--resume", "RUN", "--at", "soon"], "'soon' is not a step"),
        (["run", "toy", "--resume", "RUN", "--preset", "long"], "--preset"),
        (["run", "toy", "--resume", "RUN", "--seed", "0"], "--seed"),
        (["run", "toy", "--resume", "RUN", "--settings", "settings.toml"], "--settings"),
        (["run", "toy", "--resume", "RUN", "--setup", "lab://toy?step_size=0.5"], "--setup"),
        (["run", "toy", "--resume", "nowhere"], "nowhere"),
        (["run", "toy", "--resume", "."], "no run"),
        (["run", "diffusion", "--resume", "RUN"], "run of 'toy', not of 'diffusion'"),
        (["run", "toy", "--resume", "RUN", "--set", "dimension=7"], "does not fit these settings"),
        (["run", "toy", "--resume", "RUN", "--set", "nonsense=7"], "no setting 'nonsense'"),
        (["run", "toy", "--resume", "RUN", "--set", "step_size=-7"], "out of range"),
        (["run", "toy", "--resume", "RUN", "--steps", "0"], "Steps"),
        (["run", "toy", "--resume", "RUN", "--keyframe-space", "-1"], "'-1' is not an amount"),
        (["run", "toy", "--resume", "RUN", "--keyframe-space", "much"], "'much' is not an amount"),
        (["fork", "RUN"], "--at"),
        (["fork", "nowhere", "--at", "5"], "nowhere"),
        (["fork", "RUN", "--at", "soon"], "'soon' is not a step"),
        (["fork", "RUN", "--at", "40", "--set", "dimension=7"], "does not fit these settings"),
        (["fork", "RUN", "--at", "40", "--set", "step-sise=7"], "did you mean step_size"),
        (["fork", "RUN", "--at", "40", "--seed", "7"], "--seed"),
    ],
)
def test_each_mistake_gets_one_sentence_and_leaves_no_folder(
    lab: Lab, changed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], needed: str
):
    monkeypatch.chdir(tmp_path)
    words = [str(changed) if word == "RUN" else word for word in words]
    assert needed in lab.refused(*words, "--where", "thread", "--out", "out")
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_no_keyframe_reaches_is_a_sentence(lab: Lab, changed: Path, tmp_path: Path):
    source = Path(shutil.copytree(changed, tmp_path / "source"))
    for record in RunFolder(source).keyframes()[0]:
        if record.step < 40:
            (source / "keyframes" / record.file).unlink()
    for words in (("run", "toy", "--resume", source), ("fork", source)):
        sentence = lab.refused(*words, "--at", "39", "--out", tmp_path / "out")
        assert "step 39" in sentence and "first is at step 40" in sentence
    for record in RunFolder(source).keyframes()[0]:
        (source / "keyframes" / record.file).unlink()
    assert "no keyframe" in lab.refused("run", "toy", "--resume", source, "--out", tmp_path / "out")
    assert "it has none" in lab.refused("fork", source, "--at", "39", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_keyframe_is_a_sentence_and_another_one_serves(lab: Lab, changed: Path, tmp_path: Path):
    source = Path(shutil.copytree(changed, tmp_path / "source"))
    (record,) = [k for k in RunFolder(source).keyframes()[0] if k.step == 40]
    path = source / "keyframes" / record.file
    path.write_bytes(path.read_bytes()[:-1])
    for words in (("run", "toy", "--resume", source), ("fork", source)):
        sentence = lab.refused(*words, "--at", "40", *QUICK, "--out", tmp_path / "out")
        assert "step 40" in sentence and "damaged" in sentence and not (tmp_path / "out").exists()
    lab("fork", source, "--at", "20", *QUICK, "--out", tmp_path / "out")
    assert columns(tmp_path / "out") == columns(changed)


def test_a_run_is_not_written_over_its_own_source(lab: Lab, changed: Path):
    before = files_of(changed)
    assert "holds a run already" in lab.refused("run", "toy", "--resume", changed, *QUICK, "--out", changed)
    assert "holds a run already" in lab.refused("fork", changed, "--at", "20", *QUICK, "--out", changed)
    assert files_of(changed) == before


# --- pictures of any step -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of the real engine with keyframes at 0, 8 and 16."""
    path = tmp_path_factory.mktemp("runs") / "diffusion"
    small = ("--set", "trajectory=6", "--set", "units=8", "--set", "evaluate_every=10")
    first = path.with_name("first")
    quick = ("--where", "thread", "--threads", "1")
    assert main(["run", "diffusion", *small, "--steps", "8", *quick, "--out", str(first)]) == 0
    assert main(["fork", str(first), "--at", "8", "--steps", "16", *quick, "--out", str(path)]) == 0
    return path


def test_a_picture_that_was_kept_is_written_without_torch_and_qt(diffusion: Path, tmp_path: Path):
    view = next(v.name for v in papers.method_of(papers.find("diffusion")).views if isinstance(v, FigureSpec))
    code = (
        "import sys; from lab.cli import main\n"
        f"run, out, view = {str(diffusion)!r}, {str(tmp_path)!r}, {view!r}\n"
        "for at, name in (('8', 'a.png'), ('9', 'b.png'), ('16', 'c.png')):\n"
        "    assert main(['export', run, '--figure', view, '--at', at, '-o', f'{out}/{name}']) == 0\n"
        "for at in ('0', '8', '999'):\n"
        "    words = ['--at', at, '-o', f'{out}/curve-{at}.pdf']\n"
        "    assert main(['export', run, '--figure', 'bound', *words]) == 0\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('torch', 'PySide6', 'pyqtgraph')]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    # The one of step 9 is that of the keyframe before it, and another one at step 16.
    pictures = [_pixels(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    assert np.array_equal(pictures[0], pictures[1])
    assert pictures[0].shape != pictures[2].shape or not np.array_equal(pictures[0], pictures[2])
    assert {path.name for path in tmp_path.iterdir()} >= {"curve-0.pdf", "curve-8.pdf", "curve-999.pdf"}


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _note(path: Path) -> dict[str, Any]:
    from PIL import Image

    with Image.open(path) as picture:
        found: dict[str, Any] = json.loads(picture.info["lab"])
    return found


def exported(lab: Lab, run: Path, at: int | None, target: Path, *more: str) -> np.ndarray:
    words = [] if at is None else ["--at", str(at)]
    lab("export", run, "--figure", "position", *words, *more, "--overwrite", "-o", target)
    return _pixels(target)


def test_a_picture_at_a_step_says_which_step_and_settings_it_is_of(lab: Lab, changed: Path, tmp_path: Path):
    for at, step, size in ((0, 0, 0.1), (19, 0, 0.1), (20, 20, 0.3), (10_000, 60, 0.3)):
        exported(lab, changed, at, tmp_path / "a.png")
        note = _note(tmp_path / "a.png")
        assert (note["step"], note["settings"]["step_size"]) == (step, size)
    assert np.array_equal(
        exported(lab, changed, 60, tmp_path / "a.png"), exported(lab, changed, None, tmp_path / "b.png")
    )
    assert not np.array_equal(
        exported(lab, changed, 0, tmp_path / "a.png"), exported(lab, changed, 60, tmp_path / "b.png")
    )


def test_without_kept_pictures_the_engine_draws_the_same_again(lab: Lab, changed: Path, tmp_path: Path):
    kept = exported(lab, changed, 40, tmp_path / "a.png")
    source = Path(shutil.copytree(changed, tmp_path / "source"))
    (record,) = [k for k in RunFolder(source).keyframes()[0] if k.step == 40]
    frame = source / "frames" / record.frame
    data = frame.read_bytes()
    frame.write_bytes(data[:-1])
    sentence = lab.refused("export", source, "--figure", "position", "--at", "40", "-o", tmp_path / "b.png")
    assert "step 40" in sentence and "--salvage" in sentence and not (tmp_path / "b.png").exists()
    assert np.array_equal(kept, exported(lab, source, 40, tmp_path / "b.png", "--salvage"))
    frame.unlink()
    assert np.array_equal(kept, exported(lab, source, 40, tmp_path / "b.png"))


def test_a_curve_at_a_step_needs_no_keyframe(lab: Lab, tmp_path: Path):
    lab("run", "toy", "--steps", "50", "--keyframe-space", "0", *QUICK, "--out", tmp_path / "run")
    lab("export", tmp_path / "run", "--figure", "loss", "--at", "20", "-o", tmp_path / "a.png")
    lab("export", tmp_path / "run", "--figure", "loss", "-o", tmp_path / "b.png")
    assert (_note(tmp_path / "a.png")["step"], _note(tmp_path / "b.png")["step"]) == (20, 50)
    assert not np.array_equal(_pixels(tmp_path / "a.png"), _pixels(tmp_path / "b.png"))
    assert "no keyframe" in lab.refused(
        "export", tmp_path / "run", "--figure", "position", "--at", "20", "-o", tmp_path / "c.png"
    )


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["--figure", "position", "--at", "soon"], "'soon' is not a step"),
        (["--figure", "positon", "--at", "20"], "did you mean position"),
    ],
)
def test_a_picture_of_nothing_is_a_sentence(
    lab: Lab, changed: Path, tmp_path: Path, words: list[str], needed: str
):
    assert needed in lab.refused("export", changed, *words, "-o", tmp_path / "a.png")
