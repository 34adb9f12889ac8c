"""The command line: arguments, exit codes, one sentence for each mistake, and a whole run of a small method."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from engines.figures import CurveSpec, FigureSpec
from lab import papers
from lab.cli import main
from lab.commands import doctor as doctors
from lab.commands import listing
from lab.papers import Paper
from lab.runs.folder import RunFolder
from tests.toy import TOY, ToySettings

ROOT = Path(__file__).parents[2]
TOY_PAPER = Paper("toy", "Toy", "A toy", ("A. Nobody",), 2020, "None", "0000.00000", method="tests.toy:TOY")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if an installed package added the toy."""
    entry = EntryPoint("toy", f"{__name__}:TOY_PAPER", papers.ENTRY_POINT_GROUP)
    monkeypatch.setattr(papers, "entry_points", lambda group: [entry] if group == entry.group else [])


class Lab:
    """Runs commands in this process and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str | Path) -> int:
        code = main([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        return code

    def last_json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return found

    def refused(self, *words: str | Path) -> str:
        """Run what must be refused: exit code 2, nothing on standard output, one sentence on standard error."""
        code = self(*words)
        assert code == 2 and self.out == "" and "Traceback" not in self.err, (code, self.out, self.err)
        lines = [line for line in self.err.splitlines() if line.startswith("lab: ")]
        assert lines and self.err.rstrip().splitlines()[-1] == lines[-1] and lines[-1].endswith("."), self.err
        return lines[-1]


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str]) -> Lab:
    return Lab(capsys)


def run_of(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


# --- lists ----------------------------------------------------------------------------------------------------------------


def test_papers_lists_ten(lab: Lab):
    assert lab("papers") == 0
    assert len(lab.out.splitlines()) == 10 and "Deep Unsupervised Learning" in lab.out and lab.err == ""
    assert lab("papers", "--json") == 0
    rows = json.loads(lab.out)
    assert [row["id"] for row in rows] == [row.id for row in papers.papers()]
    for row in rows:
        assert set(row) == {"id", "short", "title", "authors", "year", "venue", "arxiv", "built"}
        assert (
            isinstance(row["authors"], list)
            and isinstance(row["year"], int)
            and isinstance(row["built"], bool)
        )


def test_python_m_lab_is_the_same_command(lab: Lab):
    assert lab("papers", "--json") == 0
    done = subprocess.run(
        [sys.executable, "-m", "lab", "papers", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == lab.out and done.stderr == ""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "nonsense"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (
        done.returncode == 2
        and done.stdout == ""
        and done.stderr.startswith("lab: ")
        and done.stderr.count("\n") == 1
    )


def test_figures_of_a_paper(lab: Lab, toy: None):
    assert lab("figures", "toy", "--json") == 0
    content = lab.last_json()
    assert [view["name"] for view in content["figures"]] == ["position", "path", "loss"]
    assert content["presets"][1] == {
        "id": "long",
        "title": "Long",
        "help": "Slow.",
        "values": {"curvature": "long"},
    }
    assert lab("figures", "toy") == 0
    for view in TOY.views:
        assert isinstance(view, FigureSpec | CurveSpec) and view.name in lab.out and view.help in lab.out
    assert all(preset.id in lab.out for preset in TOY.presets)


def test_help_and_version_end_with_zero(capsys: pytest.CaptureFixture[str]):
    for words in (["--help"], ["--version"], ["run", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    assert "paperlab" in capsys.readouterr().out


# --- mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["nonsense"], "nonsense"),
        (["--nonsense"], "nonsense"),
        (["run"], "PAPER"),
        (["run", "toy"], "--out"),
        (["run", "toy", "--out"], "--out"),
        (["run", "tooy", "--out", "x"], "did you mean toy"),
        (["run", "draw", "--out", "x", "--steps", "1", "--seconds", "1"], "--steps"),
        (["run", "toy", "--out", "x", "--seconds", "0"], "seconds above 0"),
        (["run", "toy", "--out", "x", "--seconds", "nan"], "seconds above 0"),
        (["run", "toy", "--out", "x", "--seconds", "soon"], "'soon'"),
        (["run", "toy", "--out", "x", "--threads", "0"], "'0'"),
        (["run", "toy", "--out", "x", "--threads", "two"], "'two'"),
        (["run", "toy", "--out", "x", "--where", "moon"], "moon"),
        (["run", "toy", "--out", "x", "--preset", "nonsense"], "demo, long"),
        (
            ["run", "toy", "--out", "x", "--set", "step_size=banana"],
            "step_size='banana' is not a finite number",
        ),
        (["run", "toy", "--out", "x", "--set", "step-sise=1"], "did you mean step_size"),
        (["run", "toy", "--out", "x", "--set", "step_size"], "name=value"),
        (["run", "toy", "--out", "x", "--set", "curvature=square"], "round, long"),
        (["run", "toy", "--out", "x", "--steps", "0"], "Steps"),
        (["run", "toy", "--out", "x", "--steps", "many"], "'many'"),
        (["run", "toy", "--out", "x", "--seed", "-1"], "Seed"),
        (["run", "toy", "--out", "x", "--settings", "missing.toml"], "missing.toml"),
        (["run", "toy", "--out", "x", "--settings", "."], "settings"),
        (["figures"], "PAPER|RUN"),
        (["figures", "tooy"], "did you mean toy"),
        (["figures", "no/such/run"], "not a folder"),
        (["figures", "."], "no run"),
        (["export", "x"], "--output"),
        (["export", "x", "-o", "a.pdf"], "--figure"),
        (["shot", "diffusion", "--size", "10x10", "-o", "a.png"], "1000x700"),
        (["shot", "diffusion", "--size", "big", "-o", "a.png"], "'big'"),
        (["bench", "nothing"], "nothing"),
    ],
)
def test_each_mistake_gets_one_sentence_and_code_2(
    lab: Lab, toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], needed: str
):
    monkeypatch.chdir(tmp_path)
    assert needed in lab.refused(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_paper_that_is_not_built_says_so(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    table = (*papers.papers(), Paper("later", "Later", "Later", ("A. Nobody",), 2020, "x", "x"))
    monkeypatch.setattr(papers, "papers", lambda: table)
    assert "not built yet" in lab.refused("run", "later", "--out", tmp_path / "run")
    assert "not built yet" in lab.refused("figures", "later")
    assert lab("papers") == 0 and "engine not built yet" in lab.out.splitlines()[-1]


@pytest.mark.parametrize(
    "content", [b"rate = ", b"\xff\xfe", b"[settings]\nstep_size = 'fast'\n", b"[settings]\nspeed = 1\n"]
)
def test_a_bad_settings_file_is_refused(lab: Lab, toy: None, tmp_path: Path, content: bytes):
    (tmp_path / "settings.toml").write_bytes(content)
    lab.refused("run", "toy", "--settings", tmp_path / "settings.toml", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_fault_of_ours_is_code_1_with_the_details(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    def broken(**_: Any) -> int:
        raise KeyError("oh no")

    monkeypatch.setattr(listing, "list_papers", broken)
    assert lab("papers") == 1
    assert "Traceback" in lab.err and "oh no" in lab.err and lab.err.splitlines()[-1].startswith("lab: ")


def test_an_interruption_is_code_130(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    def interrupted(**_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "list_papers", interrupted)
    assert lab("papers") == 130
    assert "Traceback" not in lab.err


# --- lab run --------------------------------------------------------------------------------------------------------------

KEYS = {
    "paper", "preset", "run", "seed", "steps", "seconds", "steps_per_s", "device", "machine", "data", "where", "out", "loss",
}  # fmt: skip


@pytest.mark.parametrize("where", ["thread", "process"])
def test_a_run_trains_prints_its_scalars_and_leaves_a_folder(lab: Lab, toy: None, tmp_path: Path, where: str):
    out = tmp_path / "deep" / "run"
    code = lab(
        "run", "toy", "--preset", "long", "--set", "step_size=0.001", "--set", "dots=3", "--seed", "7", "--steps", "300",
        "--where", where, "--device", "cpu", "--threads", "1", "--json", "--out", out,
    )  # fmt: skip
    assert code == 0 and "Traceback" not in lab.err
    result = lab.last_json()
    assert len(lab.out.splitlines()) == 1 and set(result) >= KEYS
    assert (result["paper"], result["preset"], result["seed"], result["steps"]) == ("toy", "long", 7, 300)
    assert (result["where"], result["out"], result["device"]) == (where, str(out), "cpu")
    folder = RunFolder(out)
    assert folder.damage() == [] and folder.last_state() == "done"
    assert folder.info.id == result["run"] and folder.info.preset == "long" and folder.info.paper == "toy"
    meant = ToySettings(step_size=0.001, dots=3, seed=7, steps=300, curvature="long")
    assert folder.info.values == meant.model_dump() and folder.info.versions["torch"]
    assert ToySettings.from_toml((out / "settings.toml").read_text()) == meant
    assert folder.metrics().steps.tolist() == list(range(1, 301))
    assert folder.metrics().columns["loss"][-1] == result["loss"]
    assert folder.newest_state()[0].step == 300


def test_a_run_for_some_seconds_ends_by_itself_and_keeps_all(lab: Lab, toy: None, tmp_path: Path):
    assert (
        lab(
            "run",
            "toy",
            "--seconds",
            "0.3",
            "--set",
            "pause=0.001",
            "--where",
            "thread",
            "--json",
            "--out",
            tmp_path / "run",
        )
        == 0
    )
    result = lab.last_json()
    folder = RunFolder(tmp_path / "run")
    assert 0 < result["steps"] < 100_000 and folder.last_state() == "done"
    assert folder.metrics().steps.tolist() == list(range(1, result["steps"] + 1))
    assert folder.newest_state()[0].step == result["steps"]


def test_the_settings_file_of_a_run_repeats_it_and_assignments_come_last(lab: Lab, toy: None, tmp_path: Path):
    words = ("run", "toy", "--where", "thread", "--json", "--out")
    assert lab(*words, tmp_path / "a", "--set", "step_size=0.2", "--steps", "50", "--seed", "3") == 0
    first = lab.last_json()
    assert lab(*words, tmp_path / "b", "--settings", tmp_path / "a" / "settings.toml") == 0
    second = lab.last_json()
    assert (second["loss"], second["seed"], second["steps"]) == (first["loss"], 3, 50)
    assert lab(*words, tmp_path / "c", "--settings", tmp_path / "a" / "settings.toml", "--steps", "20") == 0
    assert lab.last_json()["steps"] == 20


def test_without_json_the_scalars_are_for_people(lab: Lab, toy: None, tmp_path: Path):
    assert lab("run", "toy", "--steps", "5", "--where", "thread", "--out", tmp_path / "run") == 0
    rows = dict(line.split(maxsplit=1) for line in lab.out.splitlines() if len(line.split()) > 1)
    assert rows["paper"] == "toy" and rows["steps"] == "5" and float(rows["loss"]) > 0


def test_a_scalar_that_is_no_number_is_null_in_json(
    lab: Lab, toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from tests.toy import ToyEngine

    monkeypatch.setattr(
        ToyEngine, "summary", lambda self: {"loss": float("nan"), "why": "nothing was measured"}
    )
    assert lab("run", "toy", "--steps", "5", "--where", "thread", "--json", "--out", tmp_path / "run") == 0
    assert lab.last_json()["loss"] is None and "NaN" not in lab.out


def test_a_step_that_cannot_be_done_is_refused_and_the_run_kept(lab: Lab, toy: None, tmp_path: Path):
    sentence = lab.refused("run", "toy", "--set", "refuse_at=8", "--steps", "20", "--out", tmp_path / "run")
    assert "The toy's world came to an end" in sentence
    assert RunFolder(tmp_path / "run").newest_state()[0].step == 7


def test_an_existing_run_and_a_file_in_the_way_are_refused(lab: Lab, toy: None, tmp_path: Path):
    words = ("run", "toy", "--steps", "5", "--where", "thread", "--out")
    assert lab(*words, tmp_path / "run") == 0
    before = run_of(tmp_path)
    assert "holds a run already" in lab.refused(*words, tmp_path / "run")
    assert "file" in lab.refused(*words, tmp_path / "run" / "run.json")
    assert "abacus" in lab.refused(
        "run", "toy", "--device", "abacus", "--where", "thread", "--out", tmp_path / "other"
    )
    assert run_of(tmp_path) == before


@pytest.mark.parametrize(
    ("setting", "code", "needed"),
    [
        ("fault_at=20", 1, "the toy broke"),
        ("memory_at=20", 2, "not enough memory"),
        ("step_size=1e6", 2, "not a finite number"),
    ],
)
def test_a_run_that_fails_says_why_and_keeps_its_folder(
    lab: Lab, toy: None, tmp_path: Path, setting: str, code: int, needed: str
):
    assert (
        lab(
            "run",
            "toy",
            "--set",
            setting,
            "--steps",
            "100",
            "--where",
            "thread",
            "--json",
            "--out",
            tmp_path / "run",
        )
        == code
    )
    assert (
        lab.out == "" and needed in lab.err.splitlines()[-1] and lab.err.splitlines()[-1].startswith("lab: ")
    )
    folder = RunFolder(tmp_path / "run")
    assert folder.damage() == [] and len(folder.metrics().steps) >= 19


def test_a_disk_that_fills_up_ends_the_run_with_a_sentence_and_loses_nothing(
    lab: Lab, toy: None, small_disk: Path
):
    (small_disk / "ballast").write_bytes(bytes(2**20 - 2**18 - 200_000))
    words = (
        "run",
        "toy",
        "--set",
        "pause=0.0005",
        "--where",
        "thread",
        "--json",
        "--out",
        small_disk / "run",
    )
    assert "full" in lab.refused(*words)
    folder = RunFolder(small_disk / "run")
    assert folder.damage() == []
    steps = folder.metrics().steps.tolist()
    assert len(steps) > 1 and steps == list(range(1, len(steps) + 1))
    assert folder.newest_state()[0].step == len(steps)


def test_a_disk_without_any_room_is_refused_at_once(
    lab: Lab, toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert "full" in lab.refused("run", "toy", "--where", "thread", "--out", tmp_path / "run")


INTERRUPTED = """
import sys
sys.path.insert(0, {root!r})
from lab import papers
from lab.cli import main

ROW = papers.Paper("toy", "Toy", "A toy", ("A. Nobody",), 2020, "None", "0000.00000", method="tests.toy:TOY")
papers.papers = lambda: (ROW,)

if __name__ == "__main__":
    raise SystemExit(main(["run", "toy", "--set", "pause=0.002", "--json", "--threads", "1", "--out", {out!r}]))
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process group")
def test_ctrl_c_stops_evaluates_and_keeps(tmp_path: Path):
    """The signal goes to the whole group, as from a keyboard, and only the command line acts on it."""
    script, out = tmp_path / "run.py", tmp_path / "run"
    script.write_text(INTERRUPTED.format(root=str(ROOT), out=str(out)))
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    ) as process:
        for _ in range(3000):
            metrics = out / "metrics.bin"
            if process.poll() is not None or (metrics.exists() and metrics.stat().st_size > 0):
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.01)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    result = json.loads(output.splitlines()[-1])
    folder = RunFolder(out)
    assert folder.last_state() == "done" and folder.damage() == []
    assert folder.metrics().steps.tolist() == list(range(1, result["steps"] + 1)) and result["steps"] > 0
    assert "Traceback" not in errors


# --- runs that were made before -------------------------------------------------------------------------------------------


def test_figures_of_a_run_whole_and_damaged(lab: Lab, toy: None, tmp_path: Path):
    run = tmp_path / "run"
    assert lab("run", "toy", "--steps", "30", "--where", "thread", "--out", run) == 0
    assert lab("figures", run, "--json") == 0
    content = lab.last_json()
    assert content["run"]["paper"] == "toy" and content["run"]["steps"] == 30
    assert [view["name"] for view in content["figures"]] == ["position", "path", "loss"]

    (keyframe,) = [k for k in RunFolder(run).keyframes()[0] if k.step == 30]
    path = run / "keyframes" / keyframe.file
    data = bytearray(path.read_bytes())
    data[-1] ^= 4
    path.write_bytes(bytes(data))
    before = run_of(run)
    sentence = lab.refused("figures", run)
    assert "step 30" in sentence and "damaged" in sentence and "--salvage" in sentence
    assert lab("figures", run, "--json", "--salvage") == 0
    assert lab.last_json()["run"]["steps"] == 30 and "step 30" in lab.err
    assert run_of(run) == before


# --- doctor ---------------------------------------------------------------------------------------------------------------


def test_the_doctor_reports_and_survives_the_sickest_machine(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name}")

    def no_process(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(subprocess, "run", no_process)
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "missing"))
    monkeypatch.setenv("PAPERLAB_HOME", str(tmp_path / "home"))
    assert lab("doctor", "--json") == 0
    report = lab.last_json()
    assert report["ok"] is False
    by_name = {finding["what"].lower(): finding for finding in report["findings"]}
    assert not by_name["torch"]["ok"] and "No module named torch" in by_name["torch"]["detail"]
    assert not by_name["qt"]["ok"] and not by_name["lab_data"]["ok"] and by_name["python"]["ok"]
    assert by_name["runs folder"]["ok"] and str(tmp_path) in by_name["runs folder"]["detail"]
    assert all(set(finding) == {"what", "ok", "detail", "advice"} for finding in report["findings"])
    assert lab("doctor") == 0
    assert "MISSING LAB_DATA" in lab.out and "ok      Python" in lab.out


def test_the_doctor_knows_this_machine(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LAB_DATA", raising=False)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    assert lab("doctor", "--json") == 0
    findings = {finding["what"]: finding for finding in lab.last_json()["findings"]}
    for needed in ("Python", "Qt", "Display", "torch", "numpy", "pydantic", "Cores", "GPU"):
        assert findings[needed]["ok"], findings[needed]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "w"}, True), ({"QT_QPA_PLATFORM": "offscreen"}, True),
     ({"QT_QPA_PLATFORM": "xcb"}, False), ({"QT_QPA_PLATFORM": "xcb", "DISPLAY": ":0"}, True)],
)  # fmt: skip
def test_whether_there_is_a_display(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert doctors.has_display() is expected
