"""The command line on the real engine: what it prints, where it leaves it, and how it refuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cli import main
from lab.runs.folder import RunFolder

SMALL = ["--set", "trajectory=6", "--set", "units=8", "--set", "evaluate_every=10", "--where", "thread"]


def run(out: Path, *more: str) -> int:
    """`lab run diffusion`, small and quick."""
    return main(["run", "diffusion", *SMALL, "--out", str(out), *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of thirty updates."""
    out = tmp_path_factory.mktemp("runs") / "trained"
    assert run(out, "--steps", "30") == 0
    return out


def test_a_run_ends_with_k_beside_its_two_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "a", "--steps", "25", "--seed", "3", "--json") == 0
    last = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert last["steps"] == 25 and last["seed"] == 3 and last["device"] == "cpu"
    assert last["L_null_bits"] == pytest.approx(-math.log2(2 * math.pi * math.e))
    assert last["negentropy_bits"] == pytest.approx(1.4, abs=0.1), "swiss roll with noise 0.05"
    assert last["K_bits"] < last["negentropy_bits"]
    folder = RunFolder(tmp_path / "a")
    assert folder.metrics().steps[-1] == 25 and not folder.damage() and folder.info.seed == 3
    assert folder.info.data["digest"] == last["data"]["digest"]


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run(tmp_path / name, "--steps", "12", "--seed", seed, "--json") == 0
        ends.append(json.loads(capsys.readouterr().out.strip().splitlines()[-1])["K_bits"])
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["run", "diffusion", "--set", "beta=banana"], "betas or beta_1"),
        (["run", "diffusion", "--set", "schedule=banana"], "geometric, binomial, learned, drawn"),
        (["run", "difusion"], "did you mean diffusion?"),
        (["run", "gmmn"], "not built yet"),
        (["run", "diffusion", "--preset", "banana"], "swiss-roll"),
        (["run", "diffusion", "--seconds", "-1"], "give seconds above 0"),
        (["run", "diffusion", "--device", "abacus"], "choose one of auto, cuda, mps, cpu"),
        (["run", "diffusion", "--set", "data=file"], "choose a CSV or NPZ file"),
        (["run", "diffusion", "--set", "data=mnist"], "lab fetch mnist"),
        (["run", "diffusion", "--settings", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_folder(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    part: str,
) -> None:
    monkeypatch.delenv("LAB_DATA", raising=False)
    out = tmp_path / "out"
    assert main([*words, "--where", "thread", "--out", str(out)]) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.strip().splitlines() if line.startswith("lab: ")]
    assert len(lines) == 1 and part in lines[0], said.err
    assert "Traceback" not in said.err and not out.exists()


@pytest.mark.parametrize(
    "content", ["x,y\n1,2\n3,nan\n4,5\n", "x,y\n1,two\n3,4\n5,6\n", "\0\1\2", "x\n1\n2\n3\n", ""]
)
def test_a_csv_that_cannot_be_used_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    path = tmp_path / "points.csv"
    path.write_text(content)
    words = ["--set", "data=file", "--set", f"path={path}"]
    assert run(tmp_path / "out", *words) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lab: ")]
    assert len(said) == 1 and said[0].endswith(".")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_run_is_not_written_over(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained / "metrics.bin").read_bytes()
    assert run(trained, "--steps", "5") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (trained / "metrics.bin").read_bytes() == before


def test_figures_and_export_of_a_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figures", str(trained), "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert listing["run"]["steps"] == 30
    names = [figure["name"] for figure in listing["figures"]]
    assert {"process", "bound", "schedule"} <= set(names)
    for name in ("schedule", "bound"):
        target = tmp_path / f"{name}.pdf"
        assert main(["export", str(trained), "--figure", name, "--venue", "icml", "-o", str(target)]) == 0
        assert target.read_bytes().startswith(b"%PDF")
    assert main(["export", str(trained), "--figure", "nothing", "-o", str(tmp_path / "x.pdf")]) == 2
    assert main(["export", str(tmp_path), "--figure", "bound", "-o", str(tmp_path / "x.pdf")]) == 2
    assert not (tmp_path / "x.pdf").exists()


@pytest.mark.parametrize("name", ["metrics.bin", "run.json", "events.jsonl", "keyframes"])
def test_a_flipped_byte_is_one_sentence_and_the_rest_can_be_salvaged(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    path = copy / name if name != "keyframes" else sorted((copy / "keyframes").iterdir())[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    assert main(["figures", str(copy)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    salvaged = main(["export", str(copy), "--figure", "schedule", "--salvage", "-o", str(tmp_path / "a.png")])
    assert salvaged == (2 if name == "run.json" else 0)


def test_the_command_line_trains_and_exports_without_qt(tmp_path: Path) -> None:
    code = (
        "import sys; from lab.cli import main\n"
        f"out = {str(tmp_path / 'a')!r}\n"
        f"words = {SMALL!r}\n"
        "assert main(['run', 'diffusion', *words, '--steps', '5', '--out', out]) == 0\n"
        "assert main(['export', out, '--figure', 'schedule', '-o', out + '/s.png']) == 0\n"
        "assert not [m for m in sys.modules if m.startswith(('PySide6', 'pyqtgraph'))]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_a_shot_is_a_picture_of_the_real_window(tmp_path: Path) -> None:
    from PIL import Image

    target = tmp_path / "a.png"
    words = [
        "shot",
        "diffusion",
        "--seconds",
        "1",
        "--size",
        "1000x700",
        "--theme",
        "dark",
        "-o",
        str(target),
    ]
    done = subprocess.run([sys.executable, "-m", "lab", *words], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    with Image.open(target) as picture:
        assert picture.size == (1000, 700)
        assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 100


def test_a_shot_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shot", "diffusion", "-o", str(tmp_path / "a.jpg")]) == 2
    assert main(["shot", "diffusion", "-o", str(tmp_path / "no" / "a.png")]) == 2
    assert main(["shot", "diffusion", "--size", "10x10", "-o", str(tmp_path / "a.png")]) == 2


def test_without_a_display_the_window_says_so_and_names_the_headless_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only on Linux can a display be missing")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1 and "lab run diffusion" in said


def test_the_engine_benchmark_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "engines", "--seconds", "0.2", "--rounds", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["steps_per_s"] > 0 and result["picture_ms"]["process"] > 0 and result["machine"]["cores"]


def test_the_doctor_answers_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = {finding["what"]: finding for finding in report["findings"]}
    assert found["Python"]["ok"] and found["torch"]["ok"] and found["Qt"]["ok"]
