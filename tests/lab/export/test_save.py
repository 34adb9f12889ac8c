"""Files are written whole or not at all, and carry what made them."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest
from PIL import Image

from engines.errors import InputError
from engines.figures import Axis, Lines, Plot
from lab import __version__
from lab.export import FORMATS, ExportError, alt_text, export, to_bytes
from tests.lab.export.samples import FILM, MARKS, PANELS, SIZED

PLOT = MARKS["rule"].plot
NOTHING = np.full(3, np.nan)
ABOUT = {
    "setup": "seed = 3\nrate = 0.1 (µ)",
    "seed": 3,
    "step": 1200,
    "data set": "digits (\\ and parentheses)",
}
WRITTEN = [name for name in FORMATS if name != "mp4"]
"""MP4 needs a package that may be missing; `tests.lab.export.test_films` has it."""


def figure_for(format: str) -> Any:
    return FILM if FORMATS[format].kind == "film" else PLOT


@pytest.mark.parametrize("format", WRITTEN)
def test_name_and_format(format: str, tmp_path: Path) -> None:
    suffix = FORMATS[format].suffixes[0]
    plain = export(figure_for(format), tmp_path / f"a{suffix}", style=SIZED)
    assert plain == tmp_path / f"a{suffix}" and plain.stat().st_size > 20
    named = export(figure_for(format), tmp_path / "version 1.2", format.upper(), style=SIZED)
    assert named == tmp_path / f"version 1.2{suffix}"
    assert named.stat().st_mode & 0o777 == plain.stat().st_mode & 0o777
    probe = tmp_path / "probe"
    probe.touch()
    assert plain.stat().st_mode == probe.stat().st_mode, "readable by whom new files are"


@pytest.mark.parametrize(
    ("name", "format", "words"),
    [
        ("a.docx", None, "'.docx' is not a format.*PDF"),
        ("a", None, "no ending"),
        ("a.pdf", "tiff", "'tiff' is not a format"),
        ("a.png", "pdf", "name it a.pdf"),
        ("", "pdf", "is a folder"),
        ("missing/a.pdf", None, "does not exist"),
        ("~nobody-of-that-name/a.pdf", None, "home folder|does not exist"),
        ("x" * 300 + ".pdf", None, "name is too long"),
    ],
)
def test_places_and_formats_that_cannot_be_used(
    name: str, format: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = name if name.startswith("~") else tmp_path / name
    with pytest.raises(ExportError, match=words) as caught:
        export(PLOT, path, format, SIZED)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_kept_unless_allowed(tmp_path: Path) -> None:
    target = tmp_path / "a.svg"
    target.write_text("mine")
    with pytest.raises(ExportError, match=r"exists already"):
        export(PLOT, target, style=SIZED)
    assert target.read_text() == "mine"
    export(PLOT, target, style=SIZED, overwrite=True)
    assert target.read_bytes() == to_bytes(PLOT, "svg", SIZED)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("format", "number", "words"),
    [(format, errno.ENOSPC, "disk is full") for format in WRITTEN]
    + [("csv", errno.EROFS, "cannot be written to"), ("csv", errno.EIO, "try again")],
)
def test_failures_leave_nothing_behind(
    format: str, number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"a{FORMATS[format].suffixes[0]}"
    target.write_text("mine")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    # The data are lost when they are flushed, as on a disk that fills up, or the name cannot be changed.
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(InputError, match=words) as caught:
                export(figure_for(format), target, style=SIZED, overwrite=True)
        assert str(target) in str(caught.value) and "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == [target]
        assert target.read_text() == "mine"


def test_a_table_and_its_description_stand_or_fall_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(PLOT, tmp_path / "a.csv", metadata={"seed": 1})
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert before.keys() == {"a.csv", "a.csv-metadata.json"}
    real = os.replace

    def fail(source: Path, target: Path) -> None:
        if target == tmp_path / "a.csv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(ExportError, match="disk is full"):
            export(PANELS, tmp_path / "a.csv", metadata={"seed": 2}, overwrite=True)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    (tmp_path / "a.csv").unlink()
    with pytest.raises(ExportError, match=r"a.csv-metadata.json' exists already"):
        export(PLOT, tmp_path / "a.csv")


def test_what_describes_a_table(tmp_path: Path) -> None:
    path = export(PANELS, tmp_path / "a b.csv", metadata=ABOUT)
    about = json.loads((tmp_path / "a b.csv-metadata.json").read_text(encoding="utf-8"))
    assert about["@context"] == "http://www.w3.org/ns/csvw" and about["url"] == "a%20b.csv"
    assert about["dc:title"] == "Four" and about["dc:description"] == alt_text(PANELS)
    header = path.read_text(encoding="utf-8").splitlines()[0]
    assert [column["name"] for column in about["tableSchema"]["columns"]] == header.split(",")
    assert json.loads(about["dc:provenance"]).items() >= ABOUT.items()


def test_a_disk_that_is_full_in_the_middle_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(figure: Any, text: TextIO) -> None:
        text.write("x,y\n1,")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lab.export.save.write_csv", full)
    with pytest.raises(ExportError, match="disk is full"):
        export(PLOT, tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize("format", WRITTEN)
def test_a_device_that_is_full(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is written goes to a device that takes nothing, whoever opens the file.
    real = secrets.token_hex

    def link(count: int) -> str:
        token = real(count)
        for suffix in {*FORMATS[format].suffixes, ".json"}:
            for stem in ("a", "a.csv-metadata"):
                for number in ("", "1"):
                    (tmp_path / f".{stem}.{token}{number}.part{suffix}").symlink_to("/dev/full")
        return token

    monkeypatch.setattr(secrets, "token_hex", link)
    with pytest.raises(ExportError, match="disk is full"):
        export(figure_for(format), tmp_path / f"a{FORMATS[format].suffixes[0]}", style=SIZED)
    assert not (tmp_path / f"a{FORMATS[format].suffixes[0]}").exists()


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    def progress(done: int, count: int) -> None:
        if done == 2:
            shutil.rmtree(folder)

    with pytest.raises(ExportError, match="is not there any more"):
        export(FILM, folder / "a.gif", style=SIZED, progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_while_a_film_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def progress(done: int, count: int) -> None:
        if done == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ExportError, match="disk is full"):
        export(FILM, tmp_path / "a.gif", style=SIZED, progress=progress)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ExportError, match="cannot be written to"):
        export(PLOT, tmp_path / "a.pdf", style=SIZED)


def test_a_fault_while_drawing_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not a mark"):
        export(Plot((object(),)), tmp_path / "a.pdf", style=SIZED)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["png", "pdf", "svg"])
def test_what_made_the_figure_is_in_the_file(format: str, tmp_path: Path) -> None:
    path = export(PANELS, tmp_path / f"a.{format}", style=SIZED, metadata=ABOUT)
    if format == "png":
        with Image.open(path) as image:
            found, alt = image.info["lab"], image.info["Description"]
    elif format == "svg":
        root = ElementTree.parse(path).getroot()
        dc = "{http://purl.org/dc/elements/1.1/}"
        rdf = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
        found = root.findtext(f".//{dc}subject/{rdf}Bag/{rdf}li") or ""
        alt = root.findtext(f".//{dc}description") or ""
    else:
        content = path.read_bytes()
        keywords = re.search(rb"/Keywords \(((?:\\.|[^\\)])*)\)", content, re.S)
        assert keywords is not None
        found = re.sub(rb"\\(.)", rb"\1", keywords.group(1)).decode("ascii")
        alt = alt_text(PANELS)
    about = json.loads(found)
    assert {name: about[name] for name in ABOUT} == ABOUT
    assert about["version"] == __version__
    assert about["alt"] == alt == alt_text(PANELS)


def test_alt_text_says_what_is_shown() -> None:
    text = alt_text(
        Plot(MARKS["lines"].plot.marks, Axis("Update"), Axis("Loss", "nats", "log"), "Training", "It falls")
    )
    for part in (
        "Training.",
        "It falls.",
        "Update",
        "Loss (nats)",
        "logarithmic",
        "training: line from 2 to",
    ):
        assert part in text
    assert "\n" not in text
    assert "empty here" in alt_text(Plot(note="empty here"))
    assert "4 panels in 2 rows and 2 columns" in alt_text(PANELS)
    for sample in MARKS.values():
        assert alt_text(sample.plot).endswith(".")


def test_alt_text_of_curves_without_values() -> None:
    nothing = Plot((Lines(NOTHING, NOTHING),), Axis("x"), Axis("y"))
    assert "without values" in alt_text(nothing)
