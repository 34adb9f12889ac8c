"""Scalars of runs as files: every number comes back, whole or not at all, and no name leaves its folder."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.errors import RunError
from lab.export import ExportError
from lab.export.scalars import scalars_table, write_scalars
from lab.runs.folder import RunFolder, RunInfo
from lab.runs.shelf import Label, write_label
from lab.runs.writer import RunWriter
from tests.lab.made_runs import files_of, make_run

INF = float("inf")


def run_of(path: Path, rows: dict[int, dict[str, float]], **info: Any) -> RunFolder:
    """A run with given scalars, a hundredth of a second a step."""
    known = {"id": path.name, "paper": "toy", "values": {"seed": 3}, "created": "2026-01-01T00:00:00+0000"}
    writer = RunWriter(path, RunInfo(**{**known, **info}), "")
    for step, scalars in rows.items():
        writer.add(step, step / 100, scalars)
        writer.flush()
    writer.close()
    return RunFolder(path)


@pytest.fixture
def two(tmp_path: Path) -> list[RunFolder]:
    """Two runs with different scalars and settings, the first with a name."""
    one = run_of(
        tmp_path / "one",
        {1: {"loss": 0.5}, 2: {"loss": 0.25, "even": 1.0}},
        values={"seed": 3, "rate": 0.1, "deep": True, "same": [1, 2]},
    )
    other = run_of(
        tmp_path / "other",
        {1: {"accuracy": 0.1}, 3: {"loss": INF, "accuracy": math.nan}},
        values={"seed": 4, "rate": 0.2, "same": [1, 2]},
        paper="vae",
    )
    write_label(one.path, Label('=1+1, "quoted"\nname'))
    return [one, other]


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_of_one_run(tmp_path: Path) -> None:
    make_run(tmp_path / "r", {"seed": 7})
    path = write_scalars([RunFolder(tmp_path / "r")], tmp_path / "all", "csv")
    assert path == tmp_path / "all.csv"
    rows = table(path)
    assert list(rows[0]) == ["run", "paper", "seed", "step", "seconds", "loss", "even"]
    assert [int(row["step"]) for row in rows] == list(range(1, 41))
    assert [float(row["loss"]) for row in rows] == [1.0 / step for step in range(1, 41)]
    assert [row["even"] for row in rows[:4]] == ["", "1.0", "", "2.0"]
    assert {(row["run"], row["paper"], row["seed"]) for row in rows} == {("r", "toy", "7")}
    assert float(rows[9]["seconds"]) == 0.1


def test_a_table_of_different_runs(two: list[RunFolder], tmp_path: Path) -> None:
    rows = table(write_scalars(two, tmp_path / "all.csv"))
    assert len(rows) == 4 and all(None not in row.values() for row in rows)
    first, second, third, fourth = rows
    assert {"name", "setting.rate", "setting.deep"} <= set(first)
    assert not {"setting.same", "setting.seed"} & set(first), "only what differs"
    assert (first["name"], third["name"]) == ('=1+1, "quoted"\nname', "")
    assert (second["loss"], second["even"], second["accuracy"]) == ("0.25", "1.0", "")
    assert (third["loss"], third["accuracy"], third["even"]) == ("", "0.1", "")
    assert (fourth["loss"], fourth["accuracy"]) == ("inf", ""), "NaN is what was not reported"
    assert [row["setting.rate"] for row in rows] == ["0.1", "0.1", "0.2", "0.2"]
    assert (first["setting.deep"], third["setting.deep"]) == ("true", "")
    assert [row["paper"] for row in rows] == ["toy", "toy", "vae", "vae"]
    assert [row["seed"] for row in rows] == ["3", "3", "4", "4"]


def test_the_table_comes_row_by_row(two: list[RunFolder]) -> None:
    rows = scalars_table(two)
    assert next(rows)[:3] == ["run", "name", "paper"]
    assert next(rows)[0] == "one"


def test_scalars_called_like_other_columns(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", {1: {"step": 7.0, "a,b\n": 2.0}})
    (row,) = table(write_scalars([run], tmp_path / "t.csv"))
    assert (row["step"], row["scalar.step"], row["a,b\n"]) == ("1", "7.0", "2.0")


def test_json(two: list[RunFolder], tmp_path: Path) -> None:
    text = write_scalars(two, tmp_path / "all.json").read_text("utf-8")
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert set(content) == {"version", "runs"}
    one, other = content["runs"]
    assert set(one) == {
        *("run", "name", "paper", "preset", "seed", "settings", "data", "versions", "machine", "scalars")
    }
    assert one["settings"] == {"seed": 3, "rate": 0.1, "deep": True, "same": [1, 2]}
    assert one["scalars"] == {
        "loss": {"steps": [1, 2], "values": [0.5, 0.25]},
        "even": {"steps": [2], "values": [1.0]},
    }
    assert other["scalars"] == {
        "accuracy": {"steps": [1], "values": [0.1]},
        "loss": {"steps": [3], "values": [None]},
    }
    assert (other["name"], other["seed"], other["paper"]) == ("", 4, "vae")


def test_json_of_settings_that_are_no_numbers(tmp_path: Path) -> None:
    run = run_of(tmp_path / "r", {1: {"a": 1.0}}, values={"rate": math.nan, "more": {"high": [INF, 1.0]}})
    content = json.loads(
        write_scalars([run], tmp_path / "t.json").read_text("utf-8"),
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )
    assert content["runs"][0]["settings"] == {"rate": None, "more": {"high": [None, 1.0]}}


def read_back(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    return events.Reload()


def test_tensorboard(two: list[RunFolder], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    place = write_scalars(two, tmp_path / "board", "tensorboard")
    assert sorted(path.name for path in place.iterdir()) == ["=1+1, _quoted_name", "other"]
    one, other = read_back(place / "=1+1, _quoted_name"), read_back(place / "other")
    assert sorted(one.Tags()["scalars"]) == ["even", "loss"]
    assert [(event.step, event.value) for event in one.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    assert [(event.step, event.value) for event in one.Scalars("even")] == [(2, 1.0)]
    assert [event.step for event in other.Scalars("accuracy")] == [1]
    assert other.Scalars("loss")[0].value == INF
    # 2026-01-01 in UTC.
    assert one.Scalars("loss")[1].wall_time == pytest.approx(1767225600.0 + 0.02, abs=1e-3)
    (settings,) = one.Tensors("settings/text_summary")
    assert json.loads(settings.tensor_proto.string_val[0])["rate"] == 0.1
    assert one.SummaryMetadata("settings/text_summary").plugin_data.plugin_name == "text"
    assert "torch.utils.tensorboard" not in sys.modules and "tensorflow" not in sys.modules


@pytest.mark.parametrize("name", ["../../out", "a/b\\c:d", "", "..", "x" * 300, "half \ud800 \x00", "CON. "])
def test_names_become_folders_that_are_different(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    runs = [run_of(tmp_path / f"r{i}", {1: {"tag \ud800": 1.0}}, name=name) for i in range(2)]
    before = set(files_of(tmp_path))
    place = write_scalars(runs, tmp_path / "board", "tensorboard")
    assert all(path.startswith("board/") for path in set(files_of(tmp_path)) - before)
    folders = [path for path in place.iterdir() if path.is_dir()]
    assert len(folders) == 2 and all(len(list(path.iterdir())) == 1 for path in folders)
    assert read_back(folders[0]).Tags()["scalars"] == ["tag ?"]
    text = write_scalars(runs, tmp_path / "t.csv")
    assert len(table(text)) == 2


def test_without_tensorboard(two: list[RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ExportError, match="extra 'tensorboard'"):
        write_scalars(two, tmp_path / "board", "tensorboard")
    assert not (tmp_path / "board").exists()


def test_what_is_intact_of_a_damaged_run_is_written(two: list[RunFolder], tmp_path: Path) -> None:
    file = two[0].path / "metrics.bin"
    content = bytearray(file.read_bytes())
    content[40] ^= 255
    file.write_bytes(content)
    said: list[str] = []
    rows = table(write_scalars(two, tmp_path / "t.csv", damage=said.append))
    assert [(row["run"], row["step"]) for row in rows] == [("one", "2"), ("other", "1"), ("other", "3")]
    assert len(said) == 1 and "metrics.bin is damaged" in said[0]
    again: list[str] = []
    assert len(list(scalars_table(two, damage=again.append))) == 4 and again == said


@pytest.mark.parametrize("form", ["csv", "json", "tensorboard"])
def test_whole_or_not_at_all(form: str, two: list[RunFolder], tmp_path: Path) -> None:
    if form == "tensorboard":
        pytest.importorskip("tensorboard")
    place = tmp_path / "out"
    place.mkdir()
    seen: list[tuple[int, int]] = []
    path = write_scalars(two, place / "all", form, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)
    before = files_of(place)
    with pytest.raises(ExportError, match="exists already"):
        write_scalars(two, path, form)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scalars(two[:1], path, form, overwrite=True, progress=stop)
    assert files_of(place) == before
    write_scalars(two[1:], path, form, overwrite=True)
    assert files_of(place).keys() <= before.keys() and files_of(place) != before, (
        "in its place, nothing beside it"
    )


def test_folders_of_other_things_are_not_replaced(two: list[RunFolder], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(ExportError, match="more than files of TensorBoard"):
        write_scalars(two, tmp_path / "home", "tensorboard", overwrite=True)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("missing/t.csv", None, "folder .* does not exist"),
        ("missing/t", "tensorboard", "folder .* does not exist"),
        ("t.txt", None, "does not say a format"),
        ("t", None, "does not say a format"),
        ("t", "xlsx", "choose one of csv, json, tensorboard"),
        (".", "csv", "is a folder|not a name"),
    ],
)
def test_places_and_formats_that_cannot_be_used(
    path: str, form: str | None, words: str, two: list[RunFolder], tmp_path: Path
) -> None:
    if form == "tensorboard":
        pytest.importorskip("tensorboard")
    with pytest.raises(ExportError, match=words):
        write_scalars(two, tmp_path / path, form)


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
@pytest.mark.parametrize("form", ["csv", "json", "tensorboard"])
def test_folders_that_cannot_be_written_to(form: str, two: list[RunFolder], tmp_path: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir(mode=0o500)
    with pytest.raises(ExportError, match="choose another folder"):
        write_scalars(two, place / "t", form)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "full"), (errno.EACCES, "choose another"), (errno.EROFS, "choose another")],
)
@pytest.mark.parametrize("form", ["csv", "json", "tensorboard"])
def test_disks_that_refuse_are_a_sentence(
    form: str, number: int, words: str, two: list[RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "tensorboard":
        pytest.importorskip("tensorboard")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match=words):
        write_scalars(two, tmp_path / "out" / "t", form)
    assert not files_of(tmp_path / "out")


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no runs"):
        write_scalars([], tmp_path / "t.csv")


def test_a_run_that_cannot_be_read_leaves_nothing(two: list[RunFolder], tmp_path: Path) -> None:
    (two[1].path / "metrics.bin").unlink()
    (two[1].path / "metrics.bin").mkdir()
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match=r"metrics\.bin"):
        write_scalars(two, tmp_path / "out" / "t.csv")
    assert not files_of(tmp_path / "out")
