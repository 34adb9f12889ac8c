r"""PGF: drawing commands that LaTeX takes, made without LaTeX, and the pictures that belong to them."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.figures import Axis, Lines, Plot
from lab.export import ExportError, Style, export, to_bytes, venue
from lab.export.pgf import as_tex
from tests.lab.export.samples import FILM, MARKS, PANELS

STYLE = venue("icml", height_in=2.4)
CURVES, CELLS = MARKS["lines"].plot, MARKS["heat map"].plot
NASTY = Plot(
    (Lines(np.array([1.0, 2.0]), np.array([1e-3, 1.0]), label="50 % & {x}_1^2 # ~ \\a"),),
    Axis("Drift fμ(x, t) − x"),
    Axis('"KLₜ" ᾱ² é', "$", "log"),
    "Costs $5 or $6 -- 漢",
)


@pytest.mark.parametrize(
    ("text", "is_math", "expected"),
    [
        ("Loss (nats)", False, "Loss (nats)"),
        ("50 % & #1_{a}", False, r"50 \% \& \#1\_\{a\}"),
        ("a\\b^c~d", False, r"a\textbackslash{}b\textasciicircum{}c\textasciitilde{}d"),
        ("$5", False, r"\$5"),
        ("a--b", False, r"a-{}-{}b"),
        ("−3", False, r"\ensuremath{-}3"),
        ("βₜ", False, r"\ensuremath{\beta}\ensuremath{_{t}}"),
        ("x²", False, r"x\ensuremath{^{2}}"),
        ("ᾱ x̄", False, r"\ensuremath{\bar{\alpha}} \ensuremath{\bar{x}}"),
        ("é", False, "é"),
        ("e\u0301", False, "é"),
        ("5 µm × 3", False, r"5 \ensuremath{\mu}m \ensuremath{\times} 3"),
        (r"$\mathdefault{10^{−2}}$", True, r"\ensuremath{\mathdefault{10^{- 2}}}"),
        (r"a_b \$5 $x_1$", True, r"a\_b \$5 \ensuremath{x_1}"),
        ("漢字", False, None),
        ("$漢$", True, None),
    ],
)
def test_texts_for_latex(text: str, is_math: bool, expected: str | None) -> None:
    assert as_tex(text, is_math=is_math) == expected


def test_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    source = export(PANELS, tmp_path / "a.pgf", style=STYLE).read_text(encoding="utf-8")
    assert r"\pgfqpoint{3.250000in}{2.400000in}" in source
    assert "Loss (nats)" in source and r"\usepackage{pgf}" in source.splitlines()[0]
    assert r"\usepackage" not in re.sub("(?m)^%.*", "", source), "nothing else is asked for"


def test_sizes_of_text_and_text_as_shapes() -> None:
    source, outlines = (
        to_bytes(CURVES, "pgf", STYLE.updated(text=text)).decode() for text in ("embedded", "outlines")
    )
    sizes = sorted({float(size) for size in re.findall(r"\\fontsize\{([\d.]+)\}", source)})
    # TeX has 72.27 points to the inch, not 72.
    assert sizes == pytest.approx([size * 72.27 / 72 for size in (STYLE.small_size, STYLE.font_size)])
    assert r"\pgftext" in source and r"\pgftext" not in outlines and len(outlines) > 2 * len(source)


def test_pictures_stand_beside_the_file(tmp_path: Path) -> None:
    path = export(PANELS, tmp_path / "fig_1.pgf", style=STYLE)
    names = re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", path.read_text(encoding="utf-8"))
    assert names and names == [f"fig_1-img{index}.png" for index in range(len(names))]
    assert {entry.name for entry in tmp_path.iterdir()} == {"fig_1.pgf", *names}
    for name in names:
        with Image.open(tmp_path / name) as image:
            image.load()
            assert image.width > 10
    with pytest.raises(ExportError, match="pictures, which stand beside"):
        to_bytes(PANELS, "pgf", STYLE)


def test_names_of_pictures_need_no_escaping(tmp_path: Path) -> None:
    named: set[str] = set()
    for name in ("a b.pgf", "a-b.pgf", "a%b.pgf", "ä.pgf"):
        path = export(CELLS, tmp_path / name, style=STYLE)
        found = re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", path.read_text(encoding="utf-8"))
        assert found and all(re.fullmatch(r"[A-Za-z0-9-]+-img\d\.png", picture) for picture in found)
        assert not named & set(found), "two figures share no picture"
        named.update(found)


def test_overwriting_replaces_the_pictures_and_no_others(tmp_path: Path) -> None:
    export(CELLS, tmp_path / "a.pgf", style=STYLE)
    count = len(list(tmp_path.iterdir()))
    assert count >= 2
    (tmp_path / "a-img7.png").write_text("mine")
    with pytest.raises(ExportError, match="exists already"):
        export(CURVES, tmp_path / "a.pgf", style=STYLE)
    assert len(list(tmp_path.iterdir())) == count + 1
    export(CURVES, tmp_path / "a.pgf", style=STYLE, overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a-img7.png", "a.pgf"]
    (tmp_path / "a-img0.png").write_text("mine")
    (tmp_path / "a.pgf").unlink()
    for overwrite in (False, True):
        with pytest.raises(ExportError, match=r"a-img0.png' exists already"):
            export(CELLS, tmp_path / "a.pgf", style=STYLE, overwrite=overwrite)
    assert (tmp_path / "a-img0.png").read_text() == "mine"


def test_a_failure_at_any_step_leaves_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def content() -> dict[str, bytes]:
        return {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    export(CELLS, tmp_path / "a.pgf", style=STYLE)
    before, real = content(), os.replace
    assert len(before) == 3
    # Each picture is put aside and replaced, then the file itself is replaced.
    for step in range(5):
        left = [step]

        def fail(source: Path, target: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            with pytest.raises(ExportError, match="disk is full"):
                export(CELLS, tmp_path / "a.pgf", style=STYLE.updated(colormap="magma"), overwrite=True)
        assert left[0] < 0 and content() == before
    export(CELLS, tmp_path / "a.pgf", style=STYLE.updated(colormap="magma"), overwrite=True)
    assert content().keys() == before.keys() and all(
        content()[name] != before[name] for name in before if "img" in name
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.filterwarnings("ignore:Glyph .* missing")
def test_latex_takes_it(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    figures = {"panels": PANELS, "nasty": NASTY, "pictures": MARKS["pictures"].plot, "film": FILM}
    style = Style(width_in=3.25, height_in=2.0)
    paths = [export(figure, tmp_path / f"{name}.pgf", style=style) for name, figure in figures.items()]
    outlined = export(PANELS, tmp_path / "outlined.pgf", style=style.updated(text="outlines"))
    for path in (*paths, outlined):
        document = (
            r"\documentclass{article}\usepackage{pgf}\pagestyle{empty}\parindent0pt\topskip0pt\hoffset-1in\voffset-1in"
            r"\oddsidemargin0pt\topmargin0pt\headheight0pt\headsep0pt\pdfpagewidth=3.25in\pdfpageheight=2in"
            rf"\textwidth3.25in\textheight2in\begin{{document}}\input{{{path.name}}}\end{{document}}"
        )
        (tmp_path / "a.tex").write_text(document)
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "a.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Overfull" not in done.stdout, "exactly as wide as it says"
        pdf = pypdf.PdfReader(tmp_path / "a.pdf")
        assert len(pdf.pages) == 1
        said = pdf.pages[0].extract_text()
        if path.name == "panels.pgf":
            assert "Loss (nats)" in said and "training" in said
        if path.name == "nasty.pgf":
            assert "50 % & {x}" in said and "Drift" in said
        if path is outlined:
            assert not said.strip()
