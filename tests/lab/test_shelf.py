"""The list of runs: right while runs are written, cut off, damaged, deleted; quick because only what changed is read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import RunError
from lab.runs import shelf as shelves
from lab.runs.folder import RunFolder, RunStatus
from lab.runs.lock import is_held
from lab.runs.shelf import CRASHED, Label, Shelf, ShelfRow, family, read_label, write_label
from tests.lab.made_runs import begin_run, files_of, make_run, toy_installed


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    with toy_installed():
        yield


class Opens:
    """Counts what is opened below a folder; an audit hook sees every way of opening and cannot be removed."""

    def __init__(self) -> None:
        self.below: str | None = None
        self.paths: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and self.below is not None and isinstance(arguments[0], str | os.PathLike):
            path = os.fspath(arguments[0])
            if str(path).startswith(self.below):
                self.paths.append(str(path))

    def count(self, shelf: Shelf) -> list[str]:
        self.below, self.paths = str(shelf.folder) + os.sep, []
        try:
            shelf.rows()
        finally:
            self.below = None
        return self.paths


@pytest.fixture(scope="module")
def opens() -> Opens:
    return Opens()


# --- labels  ----------


@pytest.mark.parametrize(
    "label", [Label(), Label("Best so far", "with a longer\nnote – ü", 7, False), Label(color=0)]
)
def test_a_label_is_read_back(tmp_path: Path, label: Label):
    write_label(tmp_path, label)
    assert read_label(tmp_path) == label
    assert [path.name for path in tmp_path.iterdir()] == ["label.json"]
    json.loads((tmp_path / "label.json").read_text())


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"name": 3, "color": "red", "shown": 1}',
                b'{"color": 8}', b'{"color": true}', b'{"color": -1}', b'{"note": null}'],
)  # fmt: skip
def test_a_damaged_label_is_the_default(tmp_path: Path, content: bytes):
    (tmp_path / "label.json").write_bytes(content)
    assert read_label(tmp_path) == Label()


def test_what_is_sound_in_a_label_stays(tmp_path: Path):
    (tmp_path / "label.json").write_text('{"name": "A", "color": 99, "shown": true, "future": 1}')
    assert read_label(tmp_path) == Label("A", shown=True)


def test_a_label_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    with pytest.raises(RunError, match="cannot be written"):
        write_label(tmp_path / "gone", Label("x"))


# --- rows  ----------


def test_a_row_says_what_the_run_is(tmp_path: Path):
    path = make_run(
        tmp_path / "r", {"seed": 3, "steps": 500, "step_size": 0.2, "curvature": "long"}, preset="long"
    )
    write_label(path, Label(note="n", color=2))
    (row,) = Shelf(tmp_path).rows()
    assert row.path == path and row.id == "r" and row.paper == "toy" and row.preset == "long"
    assert row.name == "Long · r" and row.seed == 3
    assert row.differing == {"step_size": 0.2}
    assert row.values == RunFolder(path).info.values
    assert (row.state, row.step, row.total, row.seconds) == ("done", 40, 500, 0.4)
    assert (row.headline, row.latest, row.best, row.best_step) == ("loss", 1 / 40, 1 / 40, 40)
    assert row.label == Label(note="n", color=2) and row.problem == "" and not row.touched
    heavy = sum(len(data) for name, data in files_of(path).items() if "/" in name or name == "metrics.bin")
    assert row.size == heavy


def test_the_label_names_a_run_before_the_run_itself_does(tmp_path: Path):
    path = make_run(tmp_path / "r", name="Given")
    shelf = Shelf(tmp_path)
    assert shelf.rows()[0].name == "Given"
    write_label(path, Label("Chosen"))
    assert shelf.rows()[0].name == "Chosen"


def test_an_older_run_without_a_status_has_the_same_row(tmp_path: Path):
    path = make_run(tmp_path / "r", {"step_size": 0.2}, loss=lambda step: abs(step - 7))
    shelf = Shelf(tmp_path)
    (before,) = shelf.rows()
    (path / "status.json").unlink()
    (after,) = shelf.rows()
    assert after == before and (after.best, after.best_step, after.latest) == (0.0, 7, 33.0)


def test_newest_first_whatever_the_time_zone(tmp_path: Path):
    make_run(tmp_path / "a", created="2026-03-01T12:00:00+0000")
    make_run(tmp_path / "b", created="2026-03-01T13:30:00+0200")
    make_run(tmp_path / "c", created="2026-03-01T09:00:00-0500")
    make_run(tmp_path / "d", created="2025-03-01T12:00:00+0000")
    assert [row.id for row in Shelf(tmp_path).rows()] == ["c", "a", "b", "d"]


def test_rows_of_one_paper_and_of_papers_that_are_not_installed(tmp_path: Path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", paper="elsewhere", preset="own")
    shelf = Shelf(tmp_path)
    assert [row.id for row in shelf.rows("toy")] == ["a"]
    (row,) = shelf.rows("elsewhere")
    assert row.problem == "" and row.name == "own · b" and row.differing == {} and row.step == 40


def test_what_is_no_run_is_not_listed(tmp_path: Path):
    make_run(tmp_path / "r")
    make_run(tmp_path / ".hidden")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert [row.id for row in Shelf(tmp_path).rows()] == ["r"]
    assert Shelf(tmp_path / "missing").rows() == []
    with pytest.raises(RunError, match="cannot be read"):
        Shelf(tmp_path / "file").rows()


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"\x00" * 100, b'{"crc": 0, "content": {"format": 99}}', b"[" * 100_000]
)
def test_a_run_that_cannot_be_read_is_listed_with_the_reason(tmp_path: Path, damage: bytes):
    path = make_run(tmp_path / "20260101-000000-toy-abcd")
    make_run(tmp_path / "sound")
    write_label(path, Label("Mine"))
    (path / "run.json").write_bytes(damage)
    shelf = Shelf(tmp_path)
    row = next(row for row in shelf.rows("toy") if row.path == path)
    assert row.problem.endswith(".") and "\n" not in row.problem
    assert row.paper == "toy" and row.name == "Mine" and shelf.crashed() == []
    assert len(shelf.rows()) == 2


def test_live_changes_and_requests_of_the_hand_are_told_but_not_pictures_or_more_steps(tmp_path: Path):
    expected = {"a": True, "b": True, "c": False, "d": False}
    for name, (kind, details) in {
        "a": ("change", {"values": {"step_size": 0.3}}),
        "b": ("action", {"action": "MoveTo"}),
        "c": ("change", {"values": {"dots": 3, "steps": 10**6}}),
        "d": ("branch", {}),
    }.items():
        writer = begin_run(tmp_path / name, state="paused")
        writer.event(10, kind, **details)
        writer.close()
    assert {row.id: row.touched for row in Shelf(tmp_path).rows()} == expected


# --- states  ----------


def test_a_run_is_running_while_its_lock_is_held_and_has_crashed_when_not(tmp_path: Path):
    shelf = Shelf(tmp_path)
    writers = {
        state: begin_run(tmp_path / state, state=state)
        for state in ("starting", "running", "paused", "stopping")
    }
    assert {row.id: row.state for row in shelf.rows()} == {state: state for state in writers}
    assert shelf.crashed() == []
    for writer in writers.values():
        writer.close()
    make_run(tmp_path / "done")
    make_run(tmp_path / "failed", state="failed")
    assert {row.id: row.state for row in shelf.rows()} == {
        **dict.fromkeys(writers, CRASHED), "done": "done", "failed": "failed",
    }  # fmt: skip
    assert {row.id for row in shelf.crashed()} == set(writers)


def test_a_run_that_ends_while_it_is_looked_at_has_not_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writer = begin_run(tmp_path / "r")

    def is_held_until_now(path: Path) -> bool:
        writer.status(RunStatus("done", 41))
        writer.close()
        return is_held(path)

    monkeypatch.setattr(shelves, "is_held", is_held_until_now)
    (row,) = Shelf(tmp_path).rows()
    assert (row.state, row.step) == ("done", 41)


def test_crashed_runs_come_newest_first(tmp_path: Path):
    make_run(tmp_path / "a", state="running", created="2026-03-01T12:00:00+0000")
    make_run(tmp_path / "b", state="running", created="2026-03-02T12:00:00+0000")
    assert [row.id for row in Shelf(tmp_path).crashed()] == ["b", "a"]


def test_the_events_know_of_an_end_that_a_full_disk_kept_from_the_status(tmp_path: Path):
    path = make_run(tmp_path / "r")
    writer = begin_run(tmp_path / "other", state="running")
    writer.close()
    (path / "status.json").write_bytes((tmp_path / "other" / "status.json").read_bytes())
    assert {row.id: row.state for row in Shelf(tmp_path).rows()} == {"r": "done", "other": CRASHED}


def test_rows_follow_a_run_that_is_written(tmp_path: Path):
    writer = begin_run(tmp_path / "r")
    shelf = Shelf(tmp_path)
    assert shelf.rows()[0].step == 40
    writer.status(RunStatus("running", 55, 100_000, 0.55, "loss", 0.5, 0.25, 50, 0))
    (row,) = shelf.rows()
    assert (row.step, row.latest, row.best, row.best_step, row.state) == (55, 0.5, 0.25, 50, "running")
    writer.close()


def test_a_status_of_nonsense_does_no_harm(tmp_path: Path):
    from lab.runs.folder import sealed

    path = make_run(tmp_path / "r")
    content = {"state": "done", "step": 5, "headline": ["x"], "latest": "much", "best": {}, "seconds": None}
    (path / "status.json").write_text(sealed(content))
    (row,) = Shelf(tmp_path).rows()
    assert (row.step, row.headline, row.latest, row.best, row.seconds) == (5, "", None, None, 0.0)


# --- speed  ----------


def test_only_what_changed_is_opened_again(tmp_path: Path, opens: Opens):
    for number in range(20):
        make_run(tmp_path / f"r{number:02}", steps=2)
    shelf = Shelf(tmp_path)
    assert len(opens.count(shelf)) >= 20
    assert opens.count(shelf) == []
    write_label(tmp_path / "r07", Label("x"))
    changed = opens.count(shelf)
    assert changed and all(path.startswith(str(tmp_path / "r07")) for path in changed)
    make_run(tmp_path / "new", steps=2)
    added = opens.count(shelf)
    assert added and all(path.startswith(str(tmp_path / "new")) for path in added)
    assert opens.count(shelf) == []


def test_of_a_run_that_goes_on_only_the_lock_is_looked_at(tmp_path: Path, opens: Opens):
    writer = begin_run(tmp_path / "r", steps=2)
    shelf = Shelf(tmp_path)
    opens.count(shelf)
    assert {Path(path).name for path in opens.count(shelf)} <= {".lock"}
    writer.close()


def test_the_scalars_are_not_read_for_the_list(tmp_path: Path, opens: Opens):
    make_run(tmp_path / "r")
    assert "metrics.bin" not in {Path(path).name for path in opens.count(Shelf(tmp_path))}


# --- deleting  ----------


def test_a_deleted_run_can_be_brought_back_as_it_was(tmp_path: Path):
    path = make_run(tmp_path / "r")
    before = files_of(path)
    shelf = Shelf(tmp_path)
    undo = shelf.delete(path)
    assert shelf.rows() == [] and not path.exists()
    assert shelf.restore(undo) == path
    assert files_of(path) == before and [row.id for row in shelf.rows()] == ["r"]


def test_two_deleted_runs_of_one_name_are_both_kept(tmp_path: Path):
    shelf = Shelf(tmp_path)
    first = shelf.delete(make_run(tmp_path / "r", name="first"))
    second = shelf.delete(make_run(tmp_path / "r", name="second"))
    shelf.restore(first)
    with pytest.raises(RunError, match="exists again"):
        shelf.restore(second)
    assert [row.name for row in shelf.rows()] == ["first"] and second.kept.is_dir()


def test_a_run_that_is_written_is_not_deleted(tmp_path: Path):
    writer = begin_run(tmp_path / "r")
    with pytest.raises(RunError, match="still being trained"):
        Shelf(tmp_path).delete(tmp_path / "r")
    assert (tmp_path / "r" / "run.json").is_file()
    writer.close()


def test_only_runs_of_the_folder_are_deleted(tmp_path: Path):
    inside, outside = tmp_path / "runs", make_run(tmp_path / "outside")
    make_run(inside / "r")
    shelf = Shelf(inside)
    for path in (
        outside,
        inside,
        inside / "..",
        inside / "r" / "keyframes",
        inside / ".bin",
        inside / "gone",
    ):
        with pytest.raises(RunError):
            shelf.delete(path)
    assert outside.is_dir() and (inside / "r" / "keyframes").is_dir()


def test_what_left_the_bin_cannot_be_brought_back(tmp_path: Path):
    shelf = Shelf(tmp_path)
    undo = shelf.delete(make_run(tmp_path / "r"))
    undo.kept.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="not in the bin"):
        shelf.restore(undo)


# --- the family  ----------


def row_of(name: str, parent: str = "") -> ShelfRow:
    return ShelfRow(Path(name), name, "toy", name, parent=parent)


def test_branches_follow_under_their_parent():
    rows = [row_of(*pair) for pair in (("e", "a"), ("d", "c"), ("c", "a"), ("b", "lost"), ("a", ""))]
    assert [(row.id, depth) for row, depth in family(rows)] == [
        ("b", 0), ("a", 0), ("e", 1), ("c", 1), ("d", 2),
    ]  # fmt: skip


def test_a_long_line_of_descent_is_no_problem():
    rows = [row_of(str(number), str(number - 1)) for number in range(5000)]
    assert [depth for _, depth in family(rows)] == list(range(5000))


NAMES = st.sampled_from("abcdef")


@given(st.lists(st.tuples(NAMES, NAMES | st.just("")), max_size=12))
def test_each_row_stands_in_the_family_once_and_depths_grow_by_one(pairs: list[tuple[str, str]]):
    rows = [row_of(*pair) for pair in pairs]
    made = family(rows)
    assert sorted(map(id, rows)) == sorted(id(row) for row, _ in made)
    last = -1
    for index, (row, depth) in enumerate(made):
        assert 0 <= depth <= last + 1
        if depth:
            parents = [other.id for other, above in made[:index] if above == depth - 1]
            assert parents[-1] == row.parent
        last = depth
