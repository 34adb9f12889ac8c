"""A run that begins with another one's past: what comes along, that it is whole by itself, and what damage does to it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import InputError, RunError
from lab.runs.folder import BEFORE_CHANGE, DIVERGED, Keyframe, RunFolder, RunInfo
from lab.runs.frames import pack as pack_pictures
from lab.runs.frames import unpack
from lab.runs.reader import read_frame
from lab.runs.state import pack
from lab.runs.writer import ROWS_PER_BLOCK, RunWriter
from tests.lab.watching import Begin, from_keyframe, sessions, spec
from tests.toy import ToyEngine, ToySettings


@pytest.fixture
def begin() -> Iterator[Begin]:
    with sessions() as make:
        yield make


@pytest.fixture(params=["linked", "copied"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A disk that can give a file a second name, and one that cannot."""
    kind: str = request.param
    if kind == "copied":

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
    return kind


def info(name: str, **more: Any) -> RunInfo:
    return RunInfo(name, "toy", ToySettings().model_dump(mode="json"), **more)


def state_of(step: int, **values: float) -> bytes:
    import torch

    settings = json.dumps(ToySettings(**values).model_dump(mode="json"))  # type: ignore[arg-type]
    return pack({"weights": torch.arange(4.0) + step, "count": step}, {"step": str(step), "values": settings})


def pictures_of(step: int) -> bytes:
    import torch

    engine = ToyEngine(ToySettings(seed=step), torch.device("cpu"))
    for _ in range(step):
        engine.step()
    return pack_pictures(engine.figures(["position", "path"]))


def write_parent(path: Path, steps: int = 40) -> Path:
    """Keyframes at 0, 10, 20, 30; a change at 20 with a keyframe before it; a hand at 25; a divergence at 35."""
    writer = RunWriter(path, info(path.name), ToySettings().to_toml("toy"))
    writer.event(0, "state", state="running")
    for step in range(steps + 1):
        if step:
            writer.add(step, step / 10, {"loss": 1 / step} | ({"even": float(step)} if step % 2 == 0 else {}))
        if step == 20:
            before = writer.keyframe(
                20, state_of(20), "best", frame=pictures_of(20), seconds=2.0, value=1 / 20
            )
            writer.keyframe_again(before, BEFORE_CHANGE)
            writer.event(20, "change", values={"step_size": 0.2})
            writer.keyframe(20, state_of(20, step_size=0.2), "best", frame=pictures_of(20), seconds=2.0)
        elif step % 10 == 0 and step < 40:
            writer.keyframe(step, state_of(step), "regular", frame=pictures_of(step), seconds=step / 10)
        if step == 25:
            writer.event(25, "action", action="MoveTo")
        if step == 35:
            writer.event(35, "divergence", sentence="far")
            writer.keyframe(35, state_of(35), DIVERGED, frame=pictures_of(35), seconds=3.5, finite=False)
    writer.event(steps, "state", state="done")
    writer.close()
    return path


def record_at(path: Path, step: int, *, before: bool = False) -> Keyframe:
    (found,) = [k for k in RunFolder(path).keyframes()[0] if k.place == (step, not before)]
    return found


def inherit(source: Path, record: Keyframe, path: Path) -> Path:
    child = info(path.name, parent=source.name, parent_step=record.step, relation="fork")
    writer = RunWriter(path, child, "")
    writer.inherit(RunFolder(source), record, "fork")
    writer.close()
    return path


def files_of(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def assert_whole(path: Path) -> None:
    """Every keyframe of a folder can be gone back to and seen, and nothing else lies there."""
    folder = RunFolder(path)
    records = folder.keyframes()[0]
    assert folder.damage() == []
    for record in records:
        assert folder.read_keyframe(record)["count"] == record.step
        assert read_frame(path, record).keys() == {"position", "path"}
    assert {p.name for p in (path / "keyframes").iterdir()} == {k.file for k in records}
    assert {p.name for p in (path / "frames").iterdir()} == {k.frame for k in records}


def test_a_child_has_all_that_lies_before_its_keyframe_and_outlives_its_parent(tmp_path: Path, disk: str):
    parent = write_parent(tmp_path / "parent")
    before = files_of(parent)
    original = RunFolder(parent)
    child = inherit(parent, record_at(parent, 30), tmp_path / "child")
    assert files_of(parent) == before
    file = record_at(parent, 30).file
    same = os.path.samefile(parent / "keyframes" / file, child / "keyframes" / file)
    assert same == (disk == "linked")
    expected, records = original.metrics(), original.keyframes()[0]
    shutil.rmtree(parent)

    folder = RunFolder(child)
    assert (folder.info.parent, folder.info.parent_step, folder.info.relation) == ("parent", 30, "fork")
    assert_whole(child)
    metrics = folder.metrics()
    assert metrics.steps.tolist() == list(range(1, 31))
    assert np.array_equal(metrics.seconds, expected.seconds[:30])
    for name, column in expected.columns.items():
        assert np.array_equal(metrics.columns[name], column[:30], equal_nan=True)
    assert folder.keyframes()[0] == [k for k in records if k.step <= 30]
    events = [(e["step"], e["kind"], e.get("inherited", False)) for e in folder.events()[0]]
    assert events == [(20, "change", True), (25, "action", True), (30, "branch", False)]
    assert folder.events()[0][-1]["parent"] == "parent" and folder.events()[0][-1]["relation"] == "fork"
    # Its settings are what it was begun with: the changes before it are in them already.
    assert folder.values() == folder.info.values


def test_a_child_of_before_a_change_knows_nothing_of_it(tmp_path: Path):
    parent = write_parent(tmp_path / "parent")
    child = inherit(parent, record_at(parent, 20, before=True), tmp_path / "child")
    folder = RunFolder(child)
    assert_whole(child)
    assert [k.place for k in folder.keyframes()[0]] == [(0, True), (10, True), (20, True)]
    last = folder.keyframes()[0][-1]
    assert last.reason == "regular" and folder.keyframe_values(last)["step_size"] == 0.1
    assert [event["kind"] for event in folder.events()[0]] == ["branch"]
    assert folder.metrics().steps.tolist() == list(range(1, 21))


def test_a_child_of_after_a_change_has_what_was_before_it_as_well(tmp_path: Path):
    parent = write_parent(tmp_path / "parent")
    child = inherit(parent, record_at(parent, 20), tmp_path / "child")
    folder = RunFolder(child)
    assert_whole(child)
    before, after = folder.keyframes()[0][-2:]
    assert (before.place, before.reason, after.place) == ((20, False), BEFORE_CHANGE, (20, True))
    assert [folder.keyframe_values(k)["step_size"] for k in (before, after)] == [0.1, 0.2]
    assert [event["kind"] for event in folder.events()[0]] == ["change", "branch"]


def test_a_grandchild_is_whole_when_both_before_it_are_gone(tmp_path: Path, disk: str):
    parent = write_parent(tmp_path / "parent")
    child = inherit(parent, record_at(parent, 30), tmp_path / "child")
    grandchild = inherit(child, record_at(child, 20), tmp_path / "grandchild")
    shutil.rmtree(parent)
    shutil.rmtree(child)
    assert_whole(grandchild)
    assert len(RunFolder(grandchild).metrics().steps) == 20
    assert RunFolder(grandchild).info.parent == "child"


def test_a_child_that_drops_a_keyframe_leaves_it_to_its_parent(tmp_path: Path):
    parent = write_parent(tmp_path / "parent")
    before = files_of(parent)
    writer = RunWriter(tmp_path / "child", info("child"), "")
    writer.inherit(RunFolder(parent), record_at(parent, 30), "rewind")
    for record in list(writer.keyframes)[:-1]:
        writer.drop_keyframe(record)
    writer.keyframe(30, state_of(30, step_size=0.9), "regular", frame=pictures_of(7))
    writer.close()
    assert files_of(parent) == before
    assert_whole(parent)
    assert_whole(tmp_path / "child")
    assert [k.step for k in RunFolder(tmp_path / "child").keyframes()[0]] == [30]


def test_more_scalars_than_one_record_holds_come_along(tmp_path: Path):
    writer = RunWriter(tmp_path / "parent", info("parent"), "")
    count = ROWS_PER_BLOCK + 1000
    for step in range(1, count + 1):
        writer.add(step, step / 1000, {"loss": step / 7})
    record = writer.keyframe(count - 1, state_of(count - 1), "regular")
    writer.close()
    child = inherit(tmp_path / "parent", record, tmp_path / "child")
    metrics = RunFolder(child).metrics()
    assert metrics.damage == [] and metrics.steps.tolist() == list(range(1, count))
    assert np.array_equal(metrics.columns["loss"], np.arange(1, count) / 7)


def test_a_disk_that_refuses_the_past_gets_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parent = write_parent(tmp_path / "parent")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    writer = RunWriter(tmp_path / "child", info("child"), "")
    with pytest.raises(RunError, match="full"):
        writer.inherit(RunFolder(parent), record_at(parent, 30), "fork")
    writer.close()
    assert RunFolder(tmp_path / "child").damage() == []


# --- damage ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy with keyframes at 0, 10, 20 and 30."""
    path = tmp_path_factory.mktemp("runs") / "original"
    with sessions() as make:
        run = make("thread", spec(path, paused=True, seed=3, report_every=100))
        run.start()
        for _ in range(3):
            run.train(10)
        run.end()
    assert [k.step for k in RunFolder(path).keyframes()[0]] == [0, 10, 20, 30]
    return path


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def emptied(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, flipped, emptied])
@pytest.mark.parametrize("part", ["keyframes", "frames"])
def test_a_damaged_file_gets_a_sentence_and_the_others_still_work(
    begin: Begin, original: Path, tmp_path: Path, damage: Any, part: str
):
    source = Path(shutil.copytree(original, tmp_path / "source"))
    folder = RunFolder(source)
    record = record_at(source, 20)
    path = source / part / (record.file if part == "keyframes" else record.frame)
    path.write_bytes(damage(path.read_bytes()))
    (sentence,) = folder.damage()
    assert "step 20" in sentence and "damaged" in sentence and sentence.endswith(".")
    if part == "keyframes":
        with pytest.raises(RunError, match="step 20"):
            folder.read_keyframe(record)
        with pytest.raises(RunError, match="step 20"):
            folder.keyframe_values(record)
        run = begin("thread", replace(spec(resume=source, seed=3), keyframe=record.file))
        with pytest.raises(InputError, match="step 20"):
            run.start()
    else:
        with pytest.raises(RunError, match="step 20"):
            read_frame(source, record)
    # Its own other half is intact, and so is every other keyframe.
    if part == "frames":
        assert folder.read_keyframe(record)["count"] == 20
    else:
        assert read_frame(source, record).keys() == {"position", "path"}
    for other in folder.keyframes()[0]:
        if other != record:
            assert folder.read_keyframe(other)["count"] == other.step and read_frame(source, other)
    # Another one serves as a beginning, and what is damaged stays so in the child.
    on = begin("thread", from_keyframe(source, record_at(source, 30), tmp_path / "on"))
    on.start()
    on.train(5)
    on.end()
    assert [k.step for k in RunFolder(tmp_path / "on").keyframes()[0]][-1] == 35
    assert len(RunFolder(tmp_path / "on").damage()) == 1


def test_a_keyframe_that_is_gone_from_its_parent_is_left_out(begin: Begin, original: Path, tmp_path: Path):
    """A run that is still being written thins its keyframes meanwhile."""
    source = Path(shutil.copytree(original, tmp_path / "source"))
    (source / "keyframes" / record_at(source, 10).file).unlink()
    (source / "frames" / record_at(source, 20).frame).unlink()
    on = begin("thread", from_keyframe(source, record_at(source, 30), tmp_path / "on"))
    on.start()
    on.end()
    folder = RunFolder(tmp_path / "on")
    assert folder.damage() == []
    assert [(k.step, bool(k.frame)) for k in folder.keyframes()[0]] == [(0, True), (20, False), (30, True)]


def test_a_parent_that_loses_the_very_keyframe_meanwhile_leaves_a_child_that_has_one(
    begin: Begin, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = Path(shutil.copytree(original, tmp_path / "source"))
    record = record_at(source, 20)
    load = ToyEngine.load_state_dict

    def load_and_lose(self: ToyEngine, state: Any) -> None:
        load(self, state)
        (source / "keyframes" / record.file).unlink(missing_ok=True)

    run_spec = from_keyframe(source, record, tmp_path / "on")
    monkeypatch.setattr(ToyEngine, "load_state_dict", load_and_lose)
    on = begin("thread", run_spec)
    on.start()
    folder = RunFolder(tmp_path / "on")
    assert [k.step for k in folder.keyframes()[0]] == [0, 10, 20] and folder.damage() == []
    assert folder.newest_state()[1]["count"] == 20


# --- older folders --------------------------------------------------------------------------------------------------------


def sealed(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return json.dumps({"crc": zlib.crc32(text.encode()), "content": content}, sort_keys=True)


@pytest.fixture
def old(original: Path, tmp_path: Path) -> Path:
    """A folder as the first version of the lab wrote it: no pictures, no settings in the keyframes, no status."""
    path = tmp_path / "old"
    (path / "keyframes").mkdir(parents=True)
    described = RunFolder(original).info
    fields = ("id", "paper", "values", "name", "preset", "device", "created", "versions", "machine", "data")
    content = {name: getattr(described, name) for name in fields}
    content["values"] = {**content["values"], "step_size": 0.05}
    (path / "run.json").write_text(sealed({**content, "format": 1}))
    shutil.copyfile(original / "settings.toml", path / "settings.toml")
    shutil.copyfile(original / "metrics.bin", path / "metrics.bin")
    events = [
        {"step": 0, "kind": "state", "state": "running", "message": "", "time": 0.0},
        {"step": 15, "kind": "change", "values": {"step_size": 0.1}, "time": 1.0},
        {"step": 30, "kind": "state", "state": "done", "message": "", "time": 2.0},
    ]
    (path / "events.jsonl").write_text("".join(sealed(event) + "\n" for event in events))
    lines = []
    for record in RunFolder(original).keyframes()[0]:
        data = pack(RunFolder(original).read_keyframe(record), {"paper": "toy", "step": str(record.step)})
        crc = zlib.crc32(data)
        file = f"{record.step:010d}-{crc:08x}.safetensors"
        (path / "keyframes" / file).write_bytes(data)
        lines.append(
            sealed({"step": record.step, "file": file, "size": len(data), "crc": crc, "reason": "regular"})
        )
    (path / "keyframes.jsonl").write_text("".join(line + "\n" for line in lines))
    return path


def test_a_folder_of_the_first_format_opens_and_can_be_gone_on_from(
    begin: Begin, old: Path, original: Path, tmp_path: Path
):
    folder = RunFolder(old)
    assert folder.damage() == [] and folder.info.format == 1 and folder.info.parent == ""
    assert folder.metrics().steps.tolist() == list(range(1, 31)) and folder.last_state() == "done"
    records = folder.keyframes()[0]
    assert [(k.step, k.frame, k.finite) for k in records] == [(s, "", True) for s in (0, 10, 20, 30)]
    status = folder.status()
    assert (status.state, status.step) == ("done", 30)
    assert status.keyframe_bytes == sum(k.size for k in records)
    for record in records:
        assert folder.read_keyframe(record)["count"] == record.step
        # What was in force then is not known; what was in the end is.
        assert folder.keyframe_values(record) == {**folder.info.values, "step_size": 0.1}
        with pytest.raises(RunError, match="no pictures"):
            read_frame(old, record)
    before = files_of(old)
    on = begin("thread", from_keyframe(old, records[-1], tmp_path / "on"))
    on.start()
    on.train(10)
    on.end()
    assert files_of(old) == before
    child = RunFolder(tmp_path / "on")
    assert child.damage() == [] and child.info.format == 2
    assert [k.step for k in child.keyframes()[0]] == [0, 10, 20, 30, 40]
    again = begin("thread", from_keyframe(original, record_at(original, 30), tmp_path / "again"))
    again.start()
    again.train(10)
    again.end()
    assert read_frame(tmp_path / "on", child.keyframes()[0][-1])
    newest = [RunFolder(tmp_path / name).newest_state()[1]["parameter"].tolist() for name in ("on", "again")]
    assert newest[0] == newest[1]


@pytest.mark.parametrize("number", [0, 3, "2", None])
def test_a_folder_of_an_unknown_format_gets_a_sentence(old: Path, number: Any):
    content = json.loads((old / "run.json").read_text())["content"]
    (old / "run.json").write_text(sealed({**content, "format": number}))
    with pytest.raises(RunError, match="another version of the lab") as caught:
        RunFolder(old)
    assert str(number) in str(caught.value) and str(caught.value).endswith(".")


def test_pictures_are_read_back_as_they_were_drawn(original: Path):
    folder = RunFolder(original)
    record = folder.keyframes()[0][-1]
    data = (original / "frames" / record.frame).read_bytes()
    assert pack_pictures(read_frame(original, record)) == data == pack_pictures(unpack(data))
