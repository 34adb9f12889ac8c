"""A run's folder: what is recorded stays, whatever kills the process, fills the disk or flips a byte."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.errors import RunError
from lab.runs import folder as folders
from lab.runs import writer as writers
from lab.runs.folder import BEFORE_CHANGE, DIVERGED, Keyframe, RunFolder, RunInfo, is_run, new_run_id
from lab.runs.state import pack
from lab.runs.writer import RESERVE, RunWriter
from tests.toy import ToySettings

INFO = RunInfo(
    "20260101-000000-toy-abcd",
    "toy",
    ToySettings().model_dump(),
    versions={"torch": "2"},
    data={"name": "none"},
)
Row = tuple[int, dict[str, float]]


def row(step: int) -> Row:
    """A step's scalars; not every step reports all, and some are no numbers."""
    scalars = {"loss": 1.0 / step, "even": step / 2} if step % 2 == 0 else {"loss": 1.0 / step}
    return step, {**scalars, "odd": float("nan")} if step % 7 == 0 else scalars


def keyframe_of(step: int, size: int = 8) -> bytes:
    import torch

    return pack({"weights": torch.arange(float(size)) + step, "count": step})


def write_run(path: Path) -> None:
    writer = RunWriter(path, INFO, ToySettings().to_toml("toy"))
    writer.event(0, "state", state="running")
    for block in range(4):
        for step in range(1 + 10 * block, 11 + 10 * block):
            writer.add(step, step / 100, row(step)[1])
        writer.flush()
        writer.keyframe(10 * block, keyframe_of(10 * block), "regular")
        writer.event(10 * block, "change", values={"step_size": 0.1 * (block + 1)})
    writer.event(40, "state", state="done")
    writer.close()


def rows_of(folder: RunFolder) -> list[Row]:
    metrics = folder.metrics()
    rows = []
    for index, step in enumerate(metrics.steps):
        rows.append((int(step), {name: column[index] for name, column in metrics.columns.items()}))
    return rows


def agree(found: Row, recorded: Row) -> bool:
    names = found[1].keys() | recorded[1].keys()
    nan = float("nan")
    pairs = [(found[1].get(name, nan), recorded[1].get(name, nan)) for name in names]
    return found[0] == recorded[0] and all(a == b or (a != a and b != b) for a, b in pairs)


@dataclass(frozen=True)
class Content:
    """A folder as bytes, and what is read from it when it is whole."""

    files: dict[str, bytes] = field(repr=False)
    rows: list[Row] = field(repr=False)
    events: list[dict[str, Any]] = field(repr=False)
    keyframes: list[Keyframe] = field(repr=False)

    @contextlib.contextmanager
    def written(self, changed: dict[str, bytes]) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as place:
            for name, data in {**self.files, **changed}.items():
                (Path(place) / name).parent.mkdir(exist_ok=True)
                (Path(place) / name).write_bytes(data)
            yield Path(place)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Content:
    path = tmp_path_factory.mktemp("runs") / "whole"
    write_run(path)
    folder = RunFolder(path)
    files = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    return Content(files, rows_of(folder), folder.events()[0], folder.keyframes()[0])


def test_everything_recorded_is_read_back(whole: Content):
    with whole.written({}) as path:
        folder = RunFolder(path)
        assert folder.info == INFO and folder.info.seed == 0
        assert folder.damage() == [] and is_run(path)
        rows = rows_of(folder)
        assert len(rows) == 40 and all(map(agree, rows, map(row, range(1, 41))))
        assert np.allclose(folder.metrics().seconds, np.arange(1, 41) / 100)
        assert [(e["kind"], e["step"]) for e in folder.events()[0]] == [
            ("state", 0), ("change", 0), ("change", 10), ("change", 20), ("change", 30), ("state", 40),
        ]  # fmt: skip
        assert folder.values()["step_size"] == pytest.approx(0.4)
        assert folder.last_state() == "done"
        assert [k.step for k in folder.keyframes()[0]] == [0, 10, 20, 30]
        for record in folder.keyframes()[0]:
            assert folder.read_keyframe(record)["count"] == record.step
        assert folder.newest_state()[0].step == 30
        assert ToySettings.from_toml((path / "settings.toml").read_text()) == ToySettings()


def test_only_the_named_files_are_in_a_closed_folder(whole: Content):
    keyframes = {f"keyframes/{record.file}" for record in whole.keyframes}
    assert set(whole.files) == {
        "run.json", "settings.toml", "metrics.bin", "events.jsonl", "keyframes.jsonl", *keyframes,
    }  # fmt: skip


def test_a_keyframe_of_the_same_step_is_replaced_and_a_dropped_one_is_gone(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", INFO, "")
    first, _, last = (writer.keyframe(step, keyframe_of(step)) for step in (1, 2, 3))
    writer.keyframe(3, keyframe_of(33), "again")
    writer.drop_keyframe(first)
    assert [k.step for k in writer.keyframes] == [2, 3]
    writer.close()
    folder = RunFolder(tmp_path / "run")
    assert [k.step for k in folder.keyframes()[0]] == [2, 3] and folder.damage() == []
    files = {path.name for path in (tmp_path / "run" / "keyframes").iterdir()}
    assert files == {k.file for k in folder.keyframes()[0]}
    assert folder.newest_state()[1]["count"] == 33
    assert last.step == 3


def test_run_ids_are_folder_names_and_differ():
    ids = {new_run_id("show-attend-tell") for _ in range(50)}
    assert len(ids) == 50
    assert all(Path(name).name == name and name.isascii() and ":" not in name for name in ids)


# --- a killed process -----------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_files_cut_at_any_byte_lose_only_their_tail(whole: Content, data: st.DataObject):
    """What kill -9 leaves: an appended file ends anywhere. Nothing before the cut is lost, and nothing is said of it."""
    appended = ("metrics.bin", "events.jsonl", "keyframes.jsonl")
    names = data.draw(st.sets(st.sampled_from(appended), min_size=1))
    cuts = {name: data.draw(st.integers(0, len(whole.files[name])), name) for name in names}
    with whole.written({name: whole.files[name][:length] for name, length in cuts.items()}) as path:
        folder = RunFolder(path)
        assert folder.damage() == []
        rows, events, keyframes = rows_of(folder), folder.events()[0], folder.keyframes()[0]
        assert all(map(agree, rows, whole.rows))
        # Ten steps were written at a time: what is there up to the cut is whole records, all of them.
        share = cuts.get("metrics.bin", len(whole.files["metrics.bin"])) / len(whole.files["metrics.bin"])
        assert 40 * share - 11 <= len(rows) <= 40 * share + 1
        assert events == whole.events[: len(events)]
        assert keyframes == whole.keyframes[: len(keyframes)]
        for name, found in (("events.jsonl", events), ("keyframes.jsonl", keyframes)):
            lines = whole.files[name][: cuts.get(name, len(whole.files[name]))].count(b"\n")
            assert lines <= len(found) <= lines + 1
        if keyframes:
            assert folder.newest_state()[0] == keyframes[-1]


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_keyframe_cut_at_any_byte_is_named_and_the_one_before_serves(whole: Content, data: st.DataObject):
    record = whole.keyframes[-1]
    name = f"keyframes/{record.file}"
    length = data.draw(st.integers(0, len(whole.files[name]) - 1))
    with whole.written({name: whole.files[name][:length]}) as path:
        folder = RunFolder(path)
        (sentence,) = folder.damage()
        assert f"step {record.step}" in sentence
        with pytest.raises(RunError, match=f"step {record.step}"):
            folder.read_keyframe(record)
        newest, state, notes = folder.newest_state()
        assert newest == whole.keyframes[-2] and state["count"] == newest.step
        assert len(notes) == 1 and str(record.step) in notes[0]


def test_no_keyframe_left_is_a_sentence(whole: Content):
    broken = {f"keyframes/{record.file}": b"" for record in whole.keyframes}
    with whole.written(broken) as path, pytest.raises(RunError, match="no keyframe that can be read"):
        RunFolder(path).newest_state()


# --- a flipped byte -------------------------------------------------------------------------------------------------------


def missing(found: list[Any], recorded: list[Any], same: Callable[[Any, Any], bool]) -> int:
    """How many records are gone; fails when one came back changed, doubled, or out of order."""
    rest = iter(recorded)
    for item in found:
        assert any(same(item, other) for other in rest), item
    return len(recorded) - len(found)


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_flipped_byte_is_harmless_or_named_and_all_else_is_read(whole: Content, data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(whole.files)))
    position = data.draw(st.integers(0, len(whole.files[name]) - 1))
    flipped = bytearray(whole.files[name])
    flipped[position] ^= data.draw(st.integers(1, 255))
    with whole.written({name: bytes(flipped)}) as path:
        try:
            folder = RunFolder(path)
        except RunError as error:
            assert name == "run.json" and "run.json" in str(error)
            return
        assert folder.info == INFO
        damage = folder.damage()
        lost_rows = missing(rows_of(folder), whole.rows, agree)
        lost_events = missing(folder.events()[0], whole.events, dict.__eq__)
        lost_keyframes = missing(folder.keyframes()[0], whole.keyframes, Keyframe.__eq__)
        assert lost_rows in (0, 10) and lost_events <= 1 and lost_keyframes <= 1
        unreadable = 0
        for record in folder.keyframes()[0]:
            try:
                assert folder.read_keyframe(record)["count"] == record.step
            except RunError:
                unreadable += 1
        lost = lost_rows or lost_events or lost_keyframes or unreadable
        assert bool(damage) or not lost
        if lost:
            assert name in {"metrics.bin", "events.jsonl", "keyframes.jsonl"} or name.startswith("keyframes/")
        # Whatever the flip hit, the other files are whole.
        assert (not lost_rows or name == "metrics.bin") and (not lost_events or name == "events.jsonl")
        assert not lost_keyframes or name == "keyframes.jsonl"
        assert unreadable == (1 if name.startswith("keyframes/") else 0)
        assert all(sentence.endswith(".") for sentence in damage)
        folder.newest_state()


@pytest.mark.parametrize("name", ["events.jsonl", "keyframes.jsonl"])
def test_every_flip_of_a_line_end_is_named(whole: Content, name: str):
    """The end of a line is the one byte that no checksum covers."""
    data = whole.files[name]
    for position in (i for i, byte in enumerate(data) if byte == ord("\n")):
        for other in (b"\x00", b"\x0b", b" ", b"}", b'"', b"\x8a"):
            with whole.written({name: data[:position] + other + data[position + 1 :]}) as path:
                folder = RunFolder(path)
                assert len(folder.damage()) >= 1
                assert len(folder.events()[0]) >= len(whole.events) - 1
                assert len(folder.keyframes()[0]) >= len(whole.keyframes) - 1


def test_every_flip_in_the_head_of_a_metrics_record_is_named(whole: Content):
    """The length of a record is covered by no checksum either: a last record that seems cut short may be damaged."""
    data = whole.files["metrics.bin"]
    heads = [i for i in range(len(data)) if data.startswith(b"MTR1", i)]
    assert len(heads) == 4
    for position, mask in itertools.product((i for head in heads for i in range(head, head + 12)), (1, 0x80)):
        flipped = bytearray(data)
        flipped[position] ^= mask
        with whole.written({"metrics.bin": bytes(flipped)}) as path:
            metrics = RunFolder(path).metrics()
            assert len(metrics.steps) == 40 or (metrics.damage and len(metrics.steps) >= 30), (position, mask)


# --- what else may stand in a folder --------------------------------------------------------------------------------------


def sealed(content: Any) -> bytes:
    text = json.dumps(content, sort_keys=True)
    return json.dumps({"crc": zlib.crc32(text.encode()), "content": content}, sort_keys=True).encode() + b"\n"


@pytest.mark.parametrize(
    "file",
    [
        "../../secret.safetensors", "/etc/passwd", "..", ".", "", "x\0y", "a" * 5000, "sub/x.safetensors",
        "..\\secret.safetensors",
        "C:secret", "\n", 3, None, ["x"], {"a": 1},
    ],
)  # fmt: skip
def test_a_hostile_name_in_the_list_of_keyframes_is_left_out(whole: Content, file: Any):
    data = keyframe_of(99)
    line = sealed({"step": 99, "file": file, "size": len(data), "crc": zlib.crc32(data), "reason": ""})
    with whole.written({"keyframes.jsonl": whole.files["keyframes.jsonl"] + line}) as path:
        (path.parent / "secret.safetensors").write_bytes(data)
        try:
            folder = RunFolder(path)
            assert [k.step for k in folder.keyframes()[0]] == [0, 10, 20, 30]
            assert folder.newest_state()[0].step == 30
            assert any("keyframes.jsonl" in sentence for sentence in folder.damage())
        finally:
            (path.parent / "secret.safetensors").unlink()


@pytest.mark.parametrize(
    "content",
    [
        {}, {"step": "x"}, {"step": None, "file": "0000000010-00000001.safetensors", "size": 1, "crc": 1, "reason": ""},
        {"step": 10, "file": "0000000010-00000001.safetensors", "size": "big", "crc": [], "reason": 3}, {"more": 1},
        {"step": 1.5, "file": "0000000010-00000001.safetensors", "size": 1, "crc": 1, "reason": ""},
    ],
)  # fmt: skip
def test_a_line_of_another_form_is_left_out_and_named(whole: Content, content: Any):
    with whole.written({"keyframes.jsonl": whole.files["keyframes.jsonl"] + sealed(content)}) as path:
        folder = RunFolder(path)
        assert [k.step for k in folder.keyframes()[0]] == [0, 10, 20, 30]
        assert any("keyframes.jsonl" in sentence for sentence in folder.damage())


@pytest.mark.parametrize(
    "content", [3, None, "text", [1], {}, {"kind": "state"}, {"kind": "change", "values": [1]}, {"kind": 3}]
)
def test_an_event_of_another_form_does_no_harm(whole: Content, content: Any):
    with whole.written({"events.jsonl": whole.files["events.jsonl"] + sealed(content)}) as path:
        folder = RunFolder(path)
        assert len(folder.events()[0]) >= len(whole.events)
        assert folder.last_state() == "done"
        assert folder.values()["step_size"] == pytest.approx(0.4)
        folder.damage()


@given(name=st.sampled_from(["events.jsonl", "keyframes.jsonl", "metrics.bin"]), data=st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_in_a_file_are_read_or_named(whole: Content, name: str, data: bytes):
    with whole.written({name: data}) as path:
        folder = RunFolder(path)
        assert all(sentence.endswith(".") for sentence in folder.damage())
        folder.values(), folder.last_state(), folder.metrics(), folder.keyframes()


@pytest.mark.parametrize(
    "body",
    [
        {"step": np.zeros(3, np.int64), "seconds": np.zeros(2), "values": np.zeros((3, 1))},
        {"step": np.zeros(3, np.int64), "seconds": np.zeros(3), "values": np.zeros((3, 2))},
        {"step": np.zeros(3, np.int64), "seconds": np.zeros(3), "values": np.zeros(3)},
        {"step": np.zeros(0, np.int64), "seconds": np.zeros(0), "values": np.zeros((0, 1))},
        {"step": np.zeros((), np.int64), "seconds": np.zeros(()), "values": np.zeros((1, 1))},
        {"step": np.zeros(3, np.int64)},
    ],
)
@pytest.mark.parametrize("names", ['["loss"]', "[3]", "{}", "[", "3"])
def test_a_metrics_record_of_another_form_does_no_harm(
    whole: Content, body: dict[str, np.ndarray], names: str
):
    import struct

    import safetensors.numpy

    payload = safetensors.numpy.save(body, {"names": names})
    block = struct.pack("<4sII", b"MTR1", len(payload), zlib.crc32(payload)) + payload
    before = whole.files["metrics.bin"]
    with whole.written({"metrics.bin": before + block + before}) as path:
        metrics = RunFolder(path).metrics()
        assert len(metrics.steps) == 80 and np.array_equal(metrics.steps[:40], metrics.steps[40:])
        assert all(isinstance(name, str) for name in metrics.columns)


@pytest.mark.parametrize(
    "name", ["metrics.bin", "events.jsonl", "keyframes.jsonl", "settings.toml", "keyframes"]
)
def test_a_file_that_is_gone_leaves_the_rest(whole: Content, name: str):
    with whole.written({}) as path:
        if name == "keyframes":
            for record in whole.keyframes:
                (path / "keyframes" / record.file).unlink()
            (path / "keyframes").rmdir()
        else:
            (path / name).unlink()
        folder = RunFolder(path)
        folder.damage()
        assert len(folder.metrics().steps) == (0 if name == "metrics.bin" else 40)
        assert len(folder.events()[0]) == (0 if name == "events.jsonl" else 6)
        assert len(folder.keyframes()[0]) == (0 if name in ("keyframes.jsonl", "keyframes") else 4)


@pytest.mark.parametrize(
    ("content", "needed"),
    [
        ({"format": 3, "new": "thing"}, "another version"),
        ({"format": None}, "another version"),
        ({}, "another version"),
        ({"format": 1}, "damaged"),
        ({"format": 1, "id": "x", "paper": "toy", "values": {}, "more": 1}, "damaged"),
        ({"format": 1, "id": "x", "paper": "toy", "values": [1]}, "damaged"),
        ({"format": 1, "id": 3, "paper": None, "values": {}}, "damaged"),
        ([1], "damaged"),
        (None, "damaged"),
    ],
)
def test_a_run_of_another_form_is_refused_with_a_sentence(whole: Content, content: Any, needed: str):
    with (
        whole.written({"run.json": sealed(content)}) as path,
        pytest.raises(RunError, match=needed) as caught,
    ):
        RunFolder(path)
    assert str(path) in str(caught.value)


@given(
    st.binary(max_size=60)
    | st.sampled_from([b"[" * 100_000, b'{"crc": 0, "content": ' * 20_000, b"\xff\xfe"])
)
@settings(deadline=None)
def test_any_bytes_as_run_json_get_a_sentence(whole: Content, data: bytes):
    with whole.written({"run.json": data}) as path, pytest.raises(RunError, match=r"run\.json"):
        RunFolder(path)


def test_what_is_no_run_gets_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd" / "run.json").mkdir(parents=True)
    for name in ("file", "missing", "empty", "odd"):
        with pytest.raises(RunError, match=name):
            RunFolder(tmp_path / name)
    assert not is_run(tmp_path / "empty") and not is_run(tmp_path / "odd")


def test_a_folder_moves_and_can_be_read_only(whole: Content, tmp_path: Path):
    with whole.written({}) as path:
        moved = path.rename(tmp_path / "elsewhere")
        (moved / "run.json").chmod(0o444)
        assert RunFolder(moved).damage() == []
        before = {p: p.read_bytes() for p in moved.rglob("*") if p.is_file()}
        RunFolder(moved).newest_state()
        assert before == {p: p.read_bytes() for p in moved.rglob("*") if p.is_file()}
        path.mkdir()  # for the temporary folder to remove


# --- folders that refuse --------------------------------------------------------------------------------------------------


def test_an_existing_run_is_refused_and_left_as_it_was(whole: Content):
    with whole.written({}) as path:
        with pytest.raises(RunError, match="holds a run already"):
            RunWriter(path, INFO, "")
        assert {
            str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()
        } == whole.files


@pytest.mark.parametrize("name", ["metrics.bin", "events.jsonl", "keyframes.jsonl"])
def test_records_of_a_run_whose_description_is_gone_are_not_continued(whole: Content, name: str):
    with whole.written({}) as path:
        (path / "run.json").unlink()
        for other in {"metrics.bin", "events.jsonl", "keyframes.jsonl"} - {name}:
            (path / other).unlink()
        with pytest.raises(RunError, match="parts of a run"):
            RunWriter(path, INFO, "")
        assert (path / name).read_bytes() == whole.files[name] and not is_run(path)


@pytest.mark.parametrize(
    ("number", "needed"),
    [
        (errno.ENOSPC, "full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"), (errno.EACCES, "may not write"),
        (errno.EPERM, "may not write"), (errno.ENOTDIR, "is a file"), (errno.ENAMETOOLONG, "too long"),
        (errno.EIO, "cannot be written"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["mkdir", "open", "replace"])
def test_a_folder_that_cannot_be_written_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, needed: str, where: str
):
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    if where == "mkdir":
        monkeypatch.setattr(Path, "mkdir", refuse)
    elif where == "open":
        monkeypatch.setattr(writers, "open", refuse, raising=False)
    else:
        monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RunError, match=needed) as caught:
        RunWriter(tmp_path / "run", INFO, "")
    assert str(tmp_path / "run") in str(caught.value) and str(caught.value).endswith(".")
    assert not is_run(tmp_path / "run")


def test_a_path_through_a_file_or_too_long_gets_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for path, needed in (
        (tmp_path / "file", "file"),
        (tmp_path / "file" / "run", "file"),
        (tmp_path / ("x" * 300), "long"),
    ):
        with pytest.raises(RunError, match=needed):
            RunWriter(path, INFO, "")
    assert (tmp_path / "file").read_text() == "x"


# --- a full disk ----------------------------------------------------------------------------------------------------------


class SmallDisk:
    """All that a writer does to its disk, with a limit to the bytes on it; writes are cut short as a real one cuts them."""

    def __init__(self, root: Path, capacity: float) -> None:
        self.root, self.capacity = root, capacity

    def used(self) -> int:
        return sum(p.stat().st_size for p in self.root.rglob("*") if p.is_file())

    def free(self) -> int:
        return int(max(0, min(self.capacity - self.used(), 2**40)))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        disk = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                room = disk.free()
                if not room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return super().write(bytes(data)[:room])

        def write_bytes(path: Path, data: bytes) -> int:
            with io.FileIO(path, "w") as file:
                room = disk.free()
                file.write(data[:room])
                if room < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return len(data)

        patch.setattr(Path, "write_bytes", write_bytes)
        patch.setattr(writers, "open", lambda path, mode, buffering: File(path, mode), raising=False)


def record_through_a_full_disk(path: Path, free_some: Callable[[], None]) -> list[str]:
    """Record until the disk has refused five times, free space, record on; check that all is there. Returns sentences."""
    writer = RunWriter(path, INFO, "")
    sentences: list[str] = []
    marks: list[int] = []
    step = 0

    def attempt(call: Callable[[], Any]) -> None:
        try:
            call()
        except RunError as error:
            sentences.append(str(error))

    while len(sentences) < 5:
        step += 1
        assert step < 2000, "the disk never filled"
        writer.add(step, step / 100, row(step)[1])
        if step % 10 == 0:
            attempt(writer.flush)
        if step % 25 == 0:
            marks.append(step)
            attempt(partial(writer.event, step, "action", action="x" * 1000))
        if step % 50 == 0:
            attempt(partial(writer.keyframe, step, keyframe_of(step, 4000)))
        if len(sentences) == 3:
            # While the disk is full the folder can be read, and nothing in it is broken.
            assert RunFolder(path).damage() == []
    free_some()
    for _ in range(20):
        step += 1
        writer.add(step, step / 100, row(step)[1])
    marks.append(step)
    writer.event(step, "action", action="after")
    kept = writer.keyframe(step, keyframe_of(step))
    recorded = list(writer.keyframes)
    writer.close()

    folder = RunFolder(path)
    assert folder.damage() == []
    assert folder.metrics().steps.tolist() == list(range(1, step + 1))
    assert all(map(agree, rows_of(folder), map(row, range(1, step + 1))))
    assert [event["step"] for event in folder.events()[0]] == marks
    assert {k.step for k in folder.keyframes()[0]} == {k.step for k in recorded}
    assert folder.newest_state()[0] == kept
    assert not [p.name for p in path.rglob(".*")]
    return sentences


@given(st.integers(2000, RESERVE + 100_000))
@settings(max_examples=12, deadline=None)
def test_a_full_disk_loses_nothing_and_recording_goes_on(capacity: int):
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        disk = SmallDisk(Path(place), capacity)
        disk.install(patch)
        sentences = record_through_a_full_disk(
            Path(place) / "run", lambda: setattr(disk, "capacity", float("inf"))
        )
        assert all("full" in sentence and place in sentence for sentence in sentences)


@given(st.integers(0, 1500))
@settings(max_examples=25, deadline=None)
def test_a_disk_too_full_to_begin_gets_a_sentence(capacity: int):
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        SmallDisk(Path(place), capacity).install(patch)
        try:
            RunWriter(Path(place) / "run", INFO, ToySettings().to_toml()).close()
        except RunError as error:
            assert "full" in str(error)
            assert not is_run(Path(place) / "run")
        else:
            assert capacity > 500


def test_the_space_kept_back_takes_the_last_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first refusal still gets everything onto the disk, so that a process that dies now loses nothing."""
    disk = SmallDisk(tmp_path, float("inf"))
    disk.install(monkeypatch)
    writer = RunWriter(tmp_path / "run", INFO, "")
    writer.keyframe(0, keyframe_of(0))
    for step in range(1, 11):
        writer.add(step, step / 100, row(step)[1])
    disk.capacity = disk.used()
    with pytest.raises(RunError, match="full"):
        writer.event(10, "action", action="x")
    # The writer is not closed: this is what a kill leaves.
    folder = RunFolder(tmp_path / "run")
    assert folder.metrics().steps.tolist() == list(range(1, 11))
    assert [event["step"] for event in folder.events()[0]] == [10]
    writer.close()
    assert RunFolder(tmp_path / "run").metrics().steps.tolist() == list(range(1, 11))
    assert len(RunFolder(tmp_path / "run").events()[0]) == 1


def test_a_real_full_disk_loses_nothing_and_recording_goes_on(small_disk: Path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2**20 - 2**18 - 40_000))
    sentences = record_through_a_full_disk(small_disk / "run", ballast.unlink)
    assert all("full" in sentence and str(small_disk) in sentence for sentence in sentences)


def test_a_file_that_cannot_be_replaced_stays_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "file"
    folders.write_atomically(path, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError):
        folders.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


# --- keyframes and how far a run is ---------------------------------------------------------------------------------------


def files_in(path: Path) -> int:
    """Bytes of states and pictures."""
    return sum(file.stat().st_size for part in ("keyframes", "frames") for file in (path / part).iterdir())


def test_a_keyframe_before_a_change_stands_beside_the_one_after_it_and_shares_its_files(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", INFO, "")
    same = writer.keyframe(5, keyframe_of(5), "best", frame=b"pictures", value=0.5)
    before = writer.keyframe_again(same, BEFORE_CHANGE)
    assert before.file == same.file and before.place < same.place
    folder = RunFolder(tmp_path / "run")
    assert folder.keyframes()[0] == writer.keyframes == [before, same]
    assert writer.keyframe_bytes() == folder.status().keyframe_bytes == files_in(tmp_path / "run")
    # The one after it is written anew, with the same pictures; each keeps its own state.
    after = writer.keyframe(5, keyframe_of(55), "best", frame=b"pictures", value=0.5)
    assert folder.keyframes()[0] == [before, after]
    assert [folder.read_keyframe(record)["count"] for record in (before, after)] == [5, 55]
    assert writer.keyframe_bytes() == folder.status().keyframe_bytes == files_in(tmp_path / "run")
    # Dropped, it does not come back as what stood there before it.
    writer.drop_keyframe(after)
    assert folder.keyframes()[0] == writer.keyframes == [before]
    assert (tmp_path / "run" / "frames" / before.frame).is_file()
    assert writer.keyframe_bytes() == folder.status().keyframe_bytes == files_in(tmp_path / "run")
    writer.drop_keyframe(before)
    assert files_in(tmp_path / "run") == 0 and folder.keyframes() == ([], [])
    writer.close()
    assert folder.damage() == []


def test_what_diverged_is_found_by_its_step_and_never_gone_on_from(tmp_path: Path):
    writer = RunWriter(tmp_path / "run", INFO, "")
    good = writer.keyframe(5, keyframe_of(5), "regular")
    writer.keyframe(7, keyframe_of(7), "regular", finite=False)
    bad = writer.keyframe(9, keyframe_of(9), DIVERGED)
    writer.close()
    folder = RunFolder(tmp_path / "run")
    assert folder.newest_sound_keyframe() == folder.newest_state()[0] == good
    assert folder.find_keyframe(9) == folder.find_keyframe(100) == bad and folder.find_keyframe(6) == good
    with pytest.raises(RunError, match="first is at step 5"):
        folder.find_keyframe(4)
    (tmp_path / "run" / "keyframes" / good.file).unlink()
    with pytest.raises(RunError, match="no keyframe to go on from"):
        folder.newest_sound_keyframe()
    with pytest.raises(RunError, match="no keyframe that can be read"):
        folder.newest_state()


def test_scalars_up_to_a_step(whole: Content):
    with whole.written({}) as path:
        metrics = RunFolder(path).metrics()
    for step in (0, 1, 17, 40, 99):
        past = metrics.upto(step)
        count = min(step, 40)
        assert past.steps.tolist() == list(range(1, count + 1)) and len(past.seconds) == count
        assert past.columns.keys() == metrics.columns.keys()
        for name, column in past.columns.items():
            assert np.array_equal(column, metrics.columns[name][:count], equal_nan=True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", None])
def test_how_far_a_run_is_is_known_without_a_readable_status(whole: Content, content: bytes | None):
    with whole.written({} if content is None else {"status.json": content}) as path:
        status = RunFolder(path).status()
        assert (status.state, status.step, status.total) == ("done", 40, INFO.values["steps"])
        assert status.seconds == pytest.approx(0.4)
        assert status.keyframe_bytes == sum(
            (path / "keyframes" / k.file).stat().st_size for k in whole.keyframes
        )
