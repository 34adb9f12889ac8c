"""A figure as a script: it runs by itself, shows the same data in the same look, and no text of a figure becomes code."""

from __future__ import annotations

import ast
import io
import json
import re
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image, ImageFilter

from engines.figures import (
    HIDDEN,
    Axis,
    Bars,
    Bodies,
    Boxes,
    Figure,
    Graph,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
    Words,
    plots_of,
)
from lab.export import ExportError, Style, venue
from lab.export.draw import draw, drawing, still_of
from lab.export.script import script_bytes
from tests.lab.export.samples import FALL, FILM, MARKS, PANELS, SIZED, STEPS, X, Y

NOTHING = np.zeros(0)
HEATS = tuple(
    Plot((Heatmap(np.eye(3) * i, (0, 3, 0, 3), values_label="weight"),), HIDDEN, HIDDEN, f"T{i}")
    for i in (1, 2, 3)
)
MORE: dict[str, Figure] = {
    "marks over each other": Plot(
        (
            Lines(STEPS, FALL, width=6, label="below"),
            Heatmap(np.eye(4), (20, 60, 0.5, 1.5), colors="role", role="hand", opacity=0.5, label="field"),
            Ribbon(STEPS, FALL - 0.3, FALL + 0.1, role="data", label="area"),
            Words(np.array([30.0, 60.0]), np.array([1.0, 1.2]), ("a", "b"), np.ones(2), opacity=0.6),
            Scatter(STEPS, FALL, size=12, symbol="star", role="category-3", label="stars", opacity=0.5),
            Rule(40.0, axis="x", dash="dot", label="rule"),
        ),
        X,
        Y,
        note="a note",
    ),
    "log bars": Plot(
        (
            Bars(np.array([1.0, 2.0, 4.0]), np.array([1.0, 100.0, 0.0]), label="bars"),
            Histogram(np.linspace(5, 8, 4), np.array([5, 0, 30]), role="data", label="counts"),
        ),
        X,
        replace(Y, scale="log"),
    ),
    "log heat map": Plot(
        (Heatmap(np.eye(3), (1, 100, 1, 1000), opacity=0.5),),
        replace(X, scale="log"),
        replace(Y, scale="log"),
    ),
    "eight names": Plot(
        tuple(
            Lines(STEPS, FALL * i, role=f"category-{i}", label=f"a longer name {i}", dash="dot")
            for i in range(8)
        ),
        X,
        Y,
    ),
    "one colour bar": Panels(HEATS, 2, ("r1", "r2"), ("a", "b")),
    "panels with notes": Panels(
        tuple(replace(MARKS["lines"].plot, title=f"plot {i}", note="n") for i in range(3)), 2, title="All"
    ),
    "graph with names": Plot(
        (
            Graph(
                np.stack([STEPS, FALL], axis=1),
                np.array([[0, 5], [3, 19]]),
                node_labels=tuple(f"node {i}" for i in range(20)),
                label="net",
            ),
            VectorField(np.zeros(1), np.zeros(1), np.ones(1), np.ones(1), label="arrows"),
        ),
        X,
        Y,
    ),
    "nothing": Plot((), X, Y, note="no data yet"),
    "empty marks": Plot(
        (
            Lines(NOTHING, NOTHING, label="line"),
            Boxes(NOTHING, NOTHING, NOTHING, NOTHING, label="boxes"),
            Bodies((), label="bodies"),
            Words(NOTHING, NOTHING, ()),
            Graph(np.zeros((0, 2)), np.zeros((0, 2), int), label="graph"),
            Bars(NOTHING, NOTHING),
            VectorField(NOTHING, NOTHING, NOTHING, NOTHING, label="arrows"),
            Heatmap(np.zeros((0, 0)), (0, 1, 0, 1)),
            ImageGrid(np.zeros((0, 3, 3))),
            Ribbon(NOTHING, NOTHING, NOTHING, label="ribbon"),
            Rule(np.nan, label="rule"),
        ),
        X,
        Y,
        y_down=True,
    ),
}
FIGURES: dict[str, Figure] = {name: sample.plot for name, sample in MARKS.items()} | {
    "panels": PANELS,
    "film": FILM,
    **MORE,
}


@pytest.fixture(scope="module", autouse=True)
def _plain_matplotlib() -> Iterator[None]:
    """Scripts set parameters for a process of their own."""
    with mpl.rc_context():
        mpl.use("Agg")
        yield


def unpacked(figure: Figure, folder: Path, style: Style = SIZED, **more: Any) -> Path:
    """The script, in a folder with what belongs to it."""
    with zipfile.ZipFile(io.BytesIO(script_bytes(figure, style, **more))) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    (script,) = folder.glob("*/*.py")
    return script


def run(script: Path) -> dict[str, Any]:
    """The script's names once it has written ``out.png`` beside itself."""
    import matplotlib.pyplot as plt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), str(script.parent / "out.png")])
        names = runpy.run_path(str(script))
    plt.close("all")
    return names


def drawn(figure: Figure, folder: Path, **more: Any) -> list[Any]:
    """The axes of the script's figure, one a plot."""
    axes: list[Any] = run(unpacked(figure, folder, **more))["fig"].axes
    return axes


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """The script of one of the figures above and what it drew, run once for all tests."""

    @cache
    def once(name: str) -> tuple[Path, Any]:
        script = unpacked(FIGURES[name], tmp_path_factory.mktemp("script"))
        return script, run(script)["fig"]

    return once


def picture(file: Path | io.BytesIO) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Of two pictures of 300 dpi, without what a hair's breadth makes."""
    rough = [np.asarray(image.reduce(3).filter(ImageFilter.BoxBlur(2)), float) for image in (one, other)]
    return float(np.abs(rough[0] - rough[1]).mean())


def ours(page: Any, style: Style) -> Image.Image:
    file = io.BytesIO()
    with drawing(style):
        page.savefig(file, format="png", dpi=300)
    return picture(file)


@pytest.mark.parametrize("name", FIGURES)
def test_looks_like_ours(name: str, ran: Callable[[str], tuple[Path, Any]]) -> None:
    figure = FIGURES[name]
    script, fig = ran(name)
    page = draw(figure, SIZED)
    image = picture(script.parent / "out.png")
    assert image.size == (975, 720), "3.25 x 2.4 in at 300 dpi"
    assert difference(image, ours(page, SIZED)) < 3.0
    still, _ = still_of(figure)
    for plot, axes, own in zip(plots_of(still), fig.axes, page.axes, strict=False):
        for one, other in ((axes.get_xlim(), own.get_xlim()), (axes.get_ylim(), own.get_ylim())):
            assert one == pytest.approx(other, rel=1e-5, abs=1e-5 * abs(other[1] - other[0]))
        assert (axes.get_xscale(), axes.get_yscale()) == (plot.x.scale, plot.y.scale)
        assert axes.get_xlabel() == own.get_xlabel() and axes.get_ylabel() == own.get_ylabel()
        assert axes.get_title() == own.get_title() and axes.get_title(loc="right") == own.get_title(
            loc="right"
        )


@pytest.mark.parametrize("name", FIGURES)
def test_is_plain_python_with_plain_data(name: str, ran: Callable[[str], tuple[Path, Any]]) -> None:
    script, _ = ran(name)
    code = script.read_text("utf-8")
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]  # type: ignore[union-attr]
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= {"matplotlib", "numpy", "sys", "pathlib"}
    with np.load(script.parent / "data.npz", allow_pickle=False) as data:
        for array in data:
            assert data[array].dtype != object and f'data["{array}"]' in code
    names = {path.name for path in script.parent.iterdir()}
    assert names == {"README.txt", "data.npz", "figure.py", "metadata.json", "out.png"}


def test_runs_by_itself(tmp_path: Path) -> None:
    script = unpacked(MARKS["lines"].plot, tmp_path, venue("icml", aspect=1.6), name="loss curve")
    assert script.parent.name == script.stem == "loss_curve"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", str(script)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", script.with_suffix(".pdf").read_bytes())
    assert box is not None
    width, height = (float(side) / 72 for side in box.groups())
    assert abs(width - 3.25) < 0.01 and abs(height - 3.25 / 1.6) < 0.01


def test_readme_says_what_made_it(tmp_path: Path) -> None:
    about = {"paper": "vae", "figure": "loss", "run": "r", "step": 12, "seed": 3, "settings": {"rate": 0.1}}
    text = (unpacked(FILM, tmp_path, metadata=about).parent / "README.txt").read_text("utf-8")
    how, made, setup = text.splitlines()
    assert "python figure.py" in how
    assert all(word in made for word in ("paper vae", "step 12", "seed 3"))
    assert json.loads(setup.removeprefix("Setup: ")) == about


def test_curves(ran: Callable[[str], tuple[Path, Any]]) -> None:
    (axes,) = ran("lines")[1].axes
    training, other = axes.get_lines()
    assert np.array_equal(training.get_xydata(), np.stack([STEPS, FALL], axis=1))
    assert np.array_equal(other.get_ydata(), FALL / 2)
    assert (training.get_color(), training.get_linestyle()) == ("#E69F00", "-")
    assert (other.get_color(), other.get_linestyle()) == ("#009E73", "--")
    assert axes.get_ylabel() == "Loss (nats)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training"]


def test_gaps_keep_single_points(tmp_path: Path) -> None:
    y = np.array([1.0, np.nan, 2.0, 3.0, np.inf, 4.0])
    (axes,) = drawn(Plot((Lines(np.arange(6.0), y),), X, Y), tmp_path)
    line, points = axes.get_lines()
    assert np.array_equal(line.get_ydata(), np.where(np.isfinite(y), y, np.nan), equal_nan=True)
    assert points.get_xydata().tolist() == [[0.0, 1.0], [5.0, 4.0]]


def test_other_marks(ran: Callable[[str], tuple[Path, Any]]) -> None:
    def axes_of(name: str) -> Any:
        return ran(name)[1].axes[0]

    points = axes_of("scatter of values").collections[0]
    assert np.array_equal(points.get_offsets(), np.stack([STEPS, FALL], axis=1))
    assert np.array_equal(points.get_array(), FALL)
    assert [bar.get_height() for bar in axes_of("bars").patches] == [1.0, 2.0, 0.5]
    bars = axes_of("bars")
    assert [text.get_text() for text in bars.get_xticklabels()] == [
        "a long first name",
        "a long second name",
        "a third",
    ]
    image = axes_of("heat map").get_images()[0]
    assert np.array_equal(image.get_array(), np.arange(12.0).reshape(3, 4))
    assert image.get_clim() == (0.0, 11.0) and image.get_extent() == [0, 4, 0, 3]
    stairs = axes_of("histogram").patches[0]
    assert np.array_equal(stairs.get_data().values, np.arange(10.0))
    arrows = axes_of("vector field").collections[0]
    assert np.array_equal(arrows.U, np.full(20, 9.0)) and np.array_equal(arrows.V, np.full(20, 0.3))
    assert axes_of("rule").get_lines()[0].get_ydata() == [1.0, 1.0]
    grid = axes_of("pictures").get_images()[0].get_array()
    assert np.array_equal(grid[:13, :20], MARKS["pictures"].plot.marks[0].montage(255))  # type: ignore[attr-defined]
    box = axes_of("boxes").patches[0]
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((2.0, 2.0), 3.0, 3.0)
    edges = axes_of("graph of values").collections[0]
    assert [len(segment) for segment in edges.get_segments()] == [2, 2]
    assert edges.get_array().tolist() == [-1.0, 1.0]
    assert [text.get_text() for text in axes_of("words").texts] == ["costs", "\\$5", "or \\$6"]
    bodies = axes_of("bodies").patches
    assert [body.get_xy()[:4].min() for body in bodies] == [0.0, 2.0]
    low, high = axes_of("ribbon").collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((FALL.min() - 0.2, FALL.max() + 0.2))


def test_stills_and_strips_of_films(tmp_path: Path) -> None:
    (third,) = drawn(FILM, tmp_path / "still", frame=3)
    assert third.patches[0].get_xy().min(axis=0)[0] == 9.0
    strip = drawn(FILM, tmp_path / "strip", frames=[0, 2, -1])
    assert [axes.patches[0].get_xy().min(axis=0)[0] for axes in strip] == [0.0, 6.0, 12.0]
    assert [axes.get_title() for axes in strip] == ["Time = 0", "Time = 1", "Time = 2"]
    assert third.get_xlim() == strip[0].get_xlim(), "the limits of the whole film"
    with pytest.raises(ExportError, match="no frame 7"):
        script_bytes(FILM, frame=7)


def test_the_look_follows_the_style(tmp_path: Path) -> None:
    style = Style(
        4.0,
        3.0,
        theme="dark",
        palette="grey",
        colormap="magma",
        font_family="STIXGeneral",
        title=True,
        text="outlines",
    )
    figure = Panels(HEATS, 2, title="Weights")
    script = unpacked(figure, tmp_path, style)
    names = run(script)
    fig = names["fig"]
    assert fig.get_size_inches().tolist() == [4.0, 3.0]
    assert fig.get_suptitle() == "Weights"
    assert fig.axes[0].get_images()[0].get_cmap().name == "magma"
    image = picture(script.parent / "out.png")
    assert difference(image, ours(draw(figure, style), style)) < 3.0
    assert max(image.getpixel((0, 0))) < 60, "dark"  # type: ignore[arg-type]


HOSTILE = {
    "quotes": """"); open("pwned", "w"); ("'); open('pwned', 'w'); ('\\""",
    "lines": '"""\nopen("pwned", "w")\n"""\r\nopen("pwned", "w")  # \u2028',
    "signs": "$5 \\frac{$ \\N{BULLET} {x} %s {0!r} \u202e _ ^ é",
    "hidden": "_hidden",
}


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_becomes_code(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HOSTILE[kind]
    axis, one = Axis(text, text, ticks=((1.0, text), (2.0, text))), np.array([1.0, 2.0])
    plot = Plot(
        (
            Lines(one, one, label=text),
            Scatter(one, one, values=one, values_label=text, label=text),
            Words(one, one, (text, text), one),
            Graph(np.stack([one, one]), np.array([[0, 1]]), node_labels=(text, text)),
            ImageGrid(np.zeros((1, 2, 2)), 1, (text,), (text,)),
        ),
        axis,
        axis,
        text,
        text,
        note=text,
    )
    figure = Panels((plot, replace(plot, marks=plot.marks[:1])), 2, (text,), (text,), text, text)
    monkeypatch.chdir(tmp_path)
    style = SIZED.updated(width_in=12.0, height_in=9.0, title=True)
    about = {"paper": text, "run": "half a character \ud800"}
    script = unpacked(figure, tmp_path, style, name=f"../{text}", metadata=about)
    assert script.parent.parent == tmp_path
    fig = run(script)["fig"]
    assert not list(tmp_path.rglob("pwned"))
    assert text.replace("$", "\\$") in [shown.get_text() for shown in fig.axes[0].texts]
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(script.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "open" not in calls


@pytest.mark.parametrize("name", ["numpy", "random", "matplotlib"])
def test_is_not_called_like_a_module(name: str, tmp_path: Path) -> None:
    # python numpy.py would import itself.
    assert unpacked(MARKS["rule"].plot, tmp_path, name=name).stem == f"{name}_figure"


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert script_bytes(PANELS, SIZED) == script_bytes(PANELS, SIZED)
