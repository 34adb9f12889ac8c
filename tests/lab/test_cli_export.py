"""``lab export``: how a figure looks, many figures at once, films of the time line, and all of it without Qt."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab.export.choices import FigureChoices
from lab.runs.folder import RunFolder
from tests.lab.command_line import Lab
from tests.lab.made_runs import toy_installed

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with toy_installed():
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs that were forked and so have keyframes at 0, 8 and 16."""
    from lab.cli import main

    place = tmp_path_factory.mktemp("runs")
    quick = ("--where", "thread", "--threads", "1")
    with toy_installed():
        assert main(["run", "toy", "--steps", "8", *quick, "--out", str(place / "first")]) == 0
        for name in ("a", "b"):
            words = ["fork", str(place / "first"), "--at", "8", "--steps", "16", *quick]
            assert main([*words, "--out", str(place / name)]) == 0
    return place / "a", place / "b"


def inches(path: Path) -> tuple[float, float]:
    """Width and height of a PNG by its own pixels and resolution."""
    with Image.open(path) as picture:
        dpi = picture.info["dpi"][0]
        return picture.width / dpi, picture.height / dpi


def colours(path: Path) -> set[tuple[int, int, int]]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    return {tuple(int(part) for part in row) for row in np.unique(pixels, axis=0)}


def test_every_choice_of_the_dialog_is_an_option(lab: Lab) -> None:
    with pytest.raises(SystemExit):
        lab("export", "--help")
    shown = lab._capsys.readouterr().out
    for spec in FigureChoices.specs():
        assert f"--{spec.name.replace('_', '-')}" in shown or spec.name == "unit"


def test_sizes_are_in_inches_or_millimetres(lab: Lab, runs: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("export", runs[0], "--figure", "position", "--overwrite", "-o", tmp_path / "a.png")
    for width, wanted in (("3.5", 3.5), ("84mm", 84 / 25.4), ("8.4 cm", 8.4 / 2.54), ("4in", 4.0)):
        lab(*words, "--width", width, "--height", "50mm", "--dpi", "200")
        assert inches(tmp_path / "a.png") == pytest.approx((wanted, 50 / 25.4), abs=0.01)
    lab(*words, "--venue", "icml", "--columns", "2")
    assert inches(tmp_path / "a.png")[0] == pytest.approx(6.75, abs=0.01)


def test_what_is_chosen_is_what_is_drawn(lab: Lab, runs: tuple[Path, Path], tmp_path: Path) -> None:
    def drawn(*more: str) -> Path:
        path = tmp_path / "a.png"
        words = ("--figure", "position", "--dpi", "80", *more, "--overwrite")
        lab("export", runs[0], *words, "-o", path)
        return path

    model = {"okabe-ito": (230, 159, 0), "petroff": (255, 169, 14)}
    for palette, colour in model.items():
        assert colour in colours(drawn("--palette", palette))
    assert not set(model.values()) & colours(drawn("--palette", "grey"))
    assert (255, 255, 255) not in colours(drawn("--theme", "dark"))
    plain, titled = drawn("--no-title").read_bytes(), drawn("--title").read_bytes()
    assert plain != titled


def test_several_figures_and_runs_go_to_a_folder(lab: Lab, runs: tuple[Path, Path], tmp_path: Path) -> None:
    lab("export", runs[0], "--figure", "all", "--format", "svg", "-o", tmp_path / "all")
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"position.svg", "path.svg", "loss.svg"}
    assert sorted(Path(line).name for line in lab.out.split()) == ["loss.svg", "path.svg", "position.svg"]
    lab("export", *runs, "--figure", "loss", "--format", "png", "-o", tmp_path / "both")
    written = sorted(path.name for path in (tmp_path / "both").iterdir())
    assert len(written) == 2 and all(name.endswith("-loss.png") for name in written)
    sentence = lab.refused("export", *runs, "--figure", "loss", "--format", "png", "-o", tmp_path / "both")
    assert "1 more exist already" in sentence and "--overwrite" in sentence
    lab("export", *runs, "--figure", "loss", "--format", "png", "--overwrite", "-o", tmp_path / "both")


def test_a_film_of_the_time_line(lab: Lab, runs: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("export", runs[0], "--figure", "position", "--fps", "4")
    lab(*words, "--timeline", "-o", tmp_path / "all.gif")
    lab(*words, "--from", "1", "--to", "10", "-o", tmp_path / "part.gif")
    steps = {record.step for record in RunFolder(runs[0]).keyframes()[0] if record.frame}
    assert {0, 8, 16} <= steps
    between = len([step for step in steps if 1 <= step <= 10])
    with Image.open(tmp_path / "all.gif") as film, Image.open(tmp_path / "part.gif") as part:
        assert (film.n_frames, part.n_frames) == (len(steps), between)  # type: ignore[attr-defined]
        assert film.info["duration"] == 250 and film.width == 720
        note = json.loads(film.info["comment"])
    assert note["steps"] == [0, 16] and note["paper"] == "toy" and note["settings"]["dimension"] == 3
    for view in ("path", "loss"):
        target = tmp_path / f"{view}.gif"
        lab("export", runs[0], "--figure", view, "--timeline", "--frames", "2", "-o", target)
        with Image.open(target) as film:
            assert film.n_frames == 2  # type: ignore[attr-defined]


def test_a_film_as_it_is_and_as_a_strip(lab: Lab, runs: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("export", runs[0], "--figure", "path")
    lab(*words, "-o", tmp_path / "film.gif")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 5  # type: ignore[attr-defined]
    lab(*words, "--strip", "3", "-o", tmp_path / "three.csv")
    lab(*words, "--strip", "0,4", "--width", "4", "--height", "2", "-o", tmp_path / "strip.png")
    assert inches(tmp_path / "strip.png") == pytest.approx((4.0, 2.0), abs=0.01)


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["--figure", "position", "-o", "a.gif"], "--timeline"),
        (["--figure", "position", "--timeline", "-o", "a.pdf"], "is a film"),
        (["--figure", "position", "--strip", "3", "-o", "a.pdf"], "no film"),
        (["--figure", "path", "--strip", "none", "-o", "a.pdf"], "not a choice of frames"),
        (["--figure", "path", "--strip", "99,3", "-o", "a.pdf"], "no frame 99"),
        (["--figure", "position", "--width", "3kg", "-o", "a.pdf"], "is not a length"),
        (["--figure", "position", "--width", "0.1mm", "-o", "a.pdf"], "at least 0.5"),
        (["--figure", "position", "--palette", "blue", "-o", "a.pdf"], "okabe-ito, petroff, grey"),
        (["--figure", "position", "--font", "No Such Font", "-o", "a.pdf"], "not installed"),
        (["--figure", "position", "--venue", "vogue", "-o", "a.pdf"], "no venue 'vogue'"),
        (["--figure", "position", "--width", "59", "--dpi", "2400", "-o", "a.png"], "too many pixels"),
        (["--figure", "all", "--format", "docx", "-o", "a"], "not a format"),
        (["--figure", "positon,loss", "-o", "a"], "did you mean position"),
        (["--scalars", "--figure", "loss", "-o", "a.csv"], "not allowed with"),
        (["-o", "a.pdf"], "--figure"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_leaves_nothing(
    lab: Lab, runs: tuple[Path, Path], tmp_path: Path, words: list[str], needed: str
) -> None:
    *rest, target = words
    assert needed in lab.refused("export", runs[0], *rest, tmp_path / target)
    assert not list(tmp_path.iterdir())


def test_all_scalars_of_runs_in_one_file(lab: Lab, runs: tuple[Path, Path], tmp_path: Path) -> None:
    lab("export", *runs, "--scalars", "-o", tmp_path / "all.json")
    content: dict[str, Any] = json.loads((tmp_path / "all.json").read_text())
    assert len(content["runs"]) == 2
    assert len(content["runs"][0]["scalars"]["loss"]["values"]) == 16
    lab("export", *runs, "--scalars", "-o", tmp_path / "all.csv")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 33
    assert "exists already" in lab.refused("export", *runs, "--scalars", "-o", tmp_path / "all.csv")


def test_nothing_of_it_needs_qt(runs: tuple[Path, Path], tmp_path: Path) -> None:
    code = (
        "import sys; from lab.cli import main; from tests.lab.made_runs import toy_installed\n"
        f"run, out = {str(runs[0])!r}, {str(tmp_path)!r}\n"
        "with toy_installed():\n"
        "    for name in ('a.pdf', 'a.svg', 'a.csv', 'a.npz'):\n"
        "        assert main(['export', run, '--figure', 'loss', '-o', f'{out}/{name}']) == 0\n"
        "    assert main(['export', run, '--figure', 'position', '--timeline', '-o', f'{out}/a.webp']) == 0\n"
        "    assert main(['export', run, '--scalars', '-o', f'{out}/all.json']) == 0\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in ('PySide6', 'pyqtgraph')]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
