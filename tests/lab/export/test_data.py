"""Figures as data: one table for people, arrays for programs."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from engines.figures import Axis, Figure, Lines, Plot, arrays_of
from lab.export import alt_text, to_bytes
from tests.lab.export.samples import FILM, MARKS, PANELS, STEPS

FIGURES: dict[str, Figure] = {name: sample.plot for name, sample in MARKS.items()} | {
    "panels": PANELS,
    "film": FILM,
}


def rows(figure: Figure) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_bytes(figure, "csv").decode("utf-8"), newline="")))


@pytest.mark.parametrize("name", FIGURES)
def test_csv_holds_every_number(name: str) -> None:
    found = rows(FIGURES[name])
    assert found and all(None not in row and None not in row.values() for row in found), (
        "as many cells as columns"
    )
    # A count for every array, whatever the columns are called.
    if name in ("lines", "ribbon", "scatter"):
        assert len(found) == len(STEPS) * len(MARKS[name].plot.marks)


def test_csv_of_curves() -> None:
    found = rows(MARKS["lines"].plot)
    training = [row for row in found if row["label"] == "training"]
    assert [float(row["x"]) for row in training] == STEPS.tolist()
    assert np.array([float(row["y"]) for row in training]) == pytest.approx(MARKS["lines"].plot.marks[0].y)  # type: ignore[attr-defined]
    assert {row["x_name"] for row in found} == {"Update"} and {row["y_name"] for row in found} == {
        "Loss (nats)"
    }
    assert {row["kind"] for row in found} == {"Lines"} and {row["role"] for row in found} == {
        "model",
        "target",
    }


def test_csv_of_pictures_and_cells() -> None:
    cells = rows(MARKS["heat map"].plot)
    grid = np.zeros((3, 4))
    for row in cells:
        grid[int(row["row"]), int(row["column"])] = float(row["value"])
    assert np.array_equal(grid, np.arange(12.0).reshape(3, 4))
    assert {(float(row["x"]), float(row["y"])) for row in cells} >= {(0.5, 0.5), (3.5, 2.5)}
    pictures = rows(MARKS["pictures"].plot)
    assert len(pictures) == 6 * 6 * 6
    assert all((row["row"] == row["column"]) == (row["value"] == "255") for row in pictures)


def test_csv_of_films_and_panels() -> None:
    film = rows(FILM)
    assert sorted({(int(row["frame"]), float(row["time"])) for row in film}) == [(i, i / 2) for i in range(5)]
    assert {row["panel"] for row in rows(PANELS)} == {"1", "2", "3", "4"}
    assert "frame" not in rows(PANELS)[0]


def test_csv_quotes_what_people_write() -> None:
    label = 'a "quoted", long\nlabel = £5'
    found = rows(
        Plot((Lines(np.array([1.0, np.nan]), np.array([1.0, 2.0]), label=label),), Axis("x"), Axis("y"))
    )
    assert found[0]["label"] == label and found[1]["x"] == "nan"


@pytest.mark.parametrize("name", FIGURES)
def test_npz_holds_every_array_and_the_description(name: str) -> None:
    figure = FIGURES[name]
    with np.load(io.BytesIO(to_bytes(figure, "npz", metadata={"seed": 3})), allow_pickle=False) as stored:
        for path, array in arrays_of(figure):
            assert np.array_equal(stored[path], array, equal_nan=array.dtype.kind == "f")
            assert stored[path].dtype == array.dtype
        described = json.loads(str(stored["figure"]))
        about = json.loads(str(stored["metadata"]))
    assert described["kind"] == type(figure).__name__
    assert about["seed"] == 3 and about["alt"] == alt_text(figure)
    named = json.dumps(described)
    assert all(f'{{"array": "{path}"}}' in named for path, _ in arrays_of(figure))
