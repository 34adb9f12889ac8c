"""The pictures of keyframes are read beside the window: the newest request counts, and damage is told."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.errors import RunError
from engines.figures import Axis, Figure, Lines, Plot
from lab.runs import reader as readers
from lab.runs.folder import Keyframe
from lab.runs.frames import pack
from lab.runs.reader import FrameReader, read_frame

PATIENCE = 20.0


def keep(folder: Path, step: int) -> Keyframe:
    """Write the pictures of a step, whose title is the step."""
    data = pack({"a": Plot((Lines(np.arange(3), np.arange(3)),), Axis("x"), Axis("y"), title=str(step))})
    crc = zlib.crc32(data)
    name = f"{step:010d}-{crc:08x}.safetensors"
    (folder / "frames").mkdir(exist_ok=True)
    (folder / "frames" / name).write_bytes(data)
    return Keyframe(step, name, 1, 0, frame=name, frame_size=len(data), frame_crc=crc)


@pytest.fixture
def records(tmp_path: Path) -> list[Keyframe]:
    return [keep(tmp_path, step) for step in range(6)]


def title(figures: dict[str, Figure] | RunError) -> str:
    assert isinstance(figures, dict), figures
    return figures["a"].title


# --- one file -------------------------------------------------------------------------------------------------------------


def test_pictures_are_read(tmp_path: Path, records: list[Keyframe]):
    assert [title(read_frame(tmp_path, record)) for record in records] == list("012345")


def test_a_keyframe_without_pictures_says_so(tmp_path: Path):
    with pytest.raises(RunError, match=r"There are no pictures of step 1,234 .*choose another step\."):
        read_frame(tmp_path, Keyframe(1234, "0000001234-00000000.safetensors", 1, 0))


@pytest.mark.parametrize("position", [0, 8, 100, -1])
def test_a_flipped_byte_is_told(tmp_path: Path, records: list[Keyframe], position: int):
    path = tmp_path / "frames" / records[2].frame
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(
        RunError, match=r"The pictures of step 2 \(.*\) are damaged .*the others still work\."
    ):
        read_frame(tmp_path, records[2])
    assert title(read_frame(tmp_path, records[3])) == "3"


def test_a_file_of_another_size_is_told_without_reading_it(tmp_path: Path, records: list[Keyframe]):
    path = tmp_path / "frames" / records[2].frame
    for size in (0, 10, 2**40):
        with open(path, "r+b") as file:
            file.truncate(size)
        with pytest.raises(RunError, match=r"damaged \(their size"):
            read_frame(tmp_path, records[2])


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, records: list[Keyframe]):
    path = tmp_path / "frames" / records[2].frame
    path.unlink()
    with pytest.raises(RunError, match=r"step 2 .* cannot be read"):
        read_frame(tmp_path, records[2])
    path.mkdir()
    with pytest.raises(RunError):
        read_frame(tmp_path, records[2])
    if hasattr(os, "mkfifo"):
        path.rmdir()
        os.mkfifo(path)
        with pytest.raises(RunError, match="damaged"):
            read_frame(tmp_path, replace(records[2], frame_size=0))


def test_sound_bytes_that_are_no_pictures_are_told(tmp_path: Path):
    data = b"not a picture"
    name = f"0000000001-{zlib.crc32(data):08x}.safetensors"
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / name).write_bytes(data)
    with pytest.raises(RunError, match="choose another step"):
        read_frame(tmp_path, Keyframe(1, name, 1, 0, "", 0.0, name, len(data), zlib.crc32(data)))


@pytest.mark.parametrize("name", ["../{}", "x/../../frames/{}", "{}.txt", "{}\n", "/etc/passwd", "."])
def test_a_name_is_not_trusted_with_a_path(tmp_path: Path, records: list[Keyframe], name: str):
    real = tmp_path / "frames" / records[1].frame
    other = name.format(records[1].frame)
    if not other.startswith(("/", ".", "x")):
        real.with_name(other).write_bytes(real.read_bytes())
    elif other.startswith("../"):
        (tmp_path / records[1].frame).write_bytes(real.read_bytes())
    with pytest.raises(RunError, match="step 1 "):
        read_frame(tmp_path, replace(records[1], frame=other))


# --- the thread -----------------------------------------------------------------------------------------------------------


class Disk:
    """Stands before the disk: counts what is read, and holds it up on demand."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.begun = threading.Semaphore(0)
        self.free = threading.Event()
        self.free.set()

    def __call__(self, folder: Path | str, record: Keyframe) -> dict[str, Figure]:
        self.read.append(record.step)
        self.begun.release()
        assert self.free.wait(PATIENCE)
        return read_frame(folder, record)

    def wait(self, count: int = 1) -> None:
        """Until so many more reads have begun."""
        for _ in range(count):
            assert self.begun.acquire(timeout=PATIENCE)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(readers, "read_frame", disk)
    return disk


@pytest.fixture
def reader(disk: Disk) -> Iterator[FrameReader]:
    reader = FrameReader()
    yield reader
    disk.free.set()
    reader.close()


def result(reader: FrameReader) -> tuple[Path, Keyframe, dict[str, Figure] | RunError]:
    deadline = time.monotonic() + PATIENCE
    while (found := reader.poll()) is None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)
    return found


def test_what_is_asked_for_comes_once(tmp_path: Path, records: list[Keyframe], reader: FrameReader):
    assert reader.poll() is None
    reader.request(tmp_path, records[3])
    folder, record, figures = result(reader)
    assert (folder, record, title(figures)) == (tmp_path, records[3], "3")
    assert reader.poll() is None


def test_only_the_newest_request_counts(
    tmp_path: Path, records: list[Keyframe], reader: FrameReader, disk: Disk
):
    disk.free.clear()
    reader.request(tmp_path, records[0])
    disk.wait()
    # The disk hangs, and neither of these waits for it.
    for record in records[1:]:
        reader.request(tmp_path, record)
        assert reader.poll() is None
    disk.free.set()
    disk.wait()
    while (found := result(reader))[1] != records[5]:
        assert found[1] == records[0]
    assert disk.read == [0, 5]


def test_warming_up_gives_no_result_and_keeps_nothing(
    tmp_path: Path, records: list[Keyframe], reader: FrameReader, disk: Disk
):
    reader.warm_up(tmp_path, records[4])
    disk.wait()
    assert reader.poll() is None
    reader.request(tmp_path, records[4])
    assert title(result(reader)[2]) == "4"
    assert disk.read == [4, 4]


def test_damage_is_a_result_and_the_others_still_come(
    tmp_path: Path, records: list[Keyframe], reader: FrameReader
):
    (tmp_path / "frames" / records[2].frame).write_bytes(b"")
    reader.request(tmp_path, records[2])
    assert isinstance(result(reader)[2], RunError)
    reader.request(tmp_path, records[3])
    assert title(result(reader)[2]) == "3"


def test_a_fault_does_not_end_the_thread(
    tmp_path: Path, records: list[Keyframe], reader: FrameReader, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(readers, "read_frame", None)
        reader.request(tmp_path, records[2])
        assert "fault in the lab" in str(result(reader)[2])
    reader.request(tmp_path, records[2])
    assert title(result(reader)[2]) == "2"


def test_neighbours_are_read_in_advance(
    tmp_path: Path, records: list[Keyframe], reader: FrameReader, disk: Disk
):
    empty = replace(records[0], frame="", frame_size=0)
    reader.request(tmp_path, records[2], neighbours=(records[3], empty, records[1]))
    disk.wait(3)
    for record in records[1:4]:
        reader.request(tmp_path, record)
        # Also the one before it, whose reading may not have been through.
        while (found := result(reader))[1] != record:
            pass
        assert title(found[2]) == str(record.step)
    assert disk.read == [2, 3, 1]


def test_reading_in_advance_gives_way(
    tmp_path: Path, records: list[Keyframe], reader: FrameReader, disk: Disk
):
    reader.request(tmp_path, records[0])
    result(reader)
    disk.wait()
    disk.free.clear()
    reader.request(tmp_path, records[0], neighbours=records[1:5])
    disk.wait()
    assert result(reader)[1] == records[0]
    reader.request(tmp_path, records[5])
    disk.free.set()
    assert result(reader)[1] == records[5]
    assert disk.read == [0, 1, 5]


def test_what_was_seen_long_ago_makes_room(tmp_path: Path, records: list[Keyframe], disk: Disk):
    reader = FrameReader(cache_bytes=sum(record.frame_size for record in records[:2]))
    try:
        for index in (0, 1, 0, 2, 0, 1):
            reader.request(tmp_path, records[index])
            assert title(result(reader)[2]) == str(index)
        assert disk.read == [0, 1, 2, 1]
    finally:
        reader.close()


def test_pictures_of_another_run_or_another_record_are_other_pictures(
    tmp_path: Path, records: list[Keyframe], reader: FrameReader
):
    reader.request(tmp_path, records[0])
    assert title(result(reader)[2]) == "0"
    for folder, record in ((tmp_path / "other", records[0]), (tmp_path, replace(records[0], frame_crc=1))):
        reader.request(folder, record)
        assert isinstance(result(reader)[2], RunError)


def test_closing_ends_the_thread_and_reads_nothing_more(tmp_path: Path, records: list[Keyframe], disk: Disk):
    before = set(threading.enumerate())
    reader = FrameReader()
    (thread,) = set(threading.enumerate()) - before
    disk.free.clear()
    reader.request(tmp_path, records[0], neighbours=records[1:])
    disk.wait()
    reader.close(timeout=0)
    disk.free.set()
    thread.join(PATIENCE)
    assert not thread.is_alive() and disk.read == [0]
    reader.request(tmp_path, records[1])
    reader.close()
    assert disk.read == [0]
