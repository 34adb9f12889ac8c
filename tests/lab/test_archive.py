"""Zipped runs: whole or not at all, the same again when unpacked; and hostile archives leave nothing on the disk."""

from __future__ import annotations

import io
import json
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.errors import RunError
from lab.runs import archive as archives
from lab.runs.archive import unzip_run, zip_run
from lab.runs.folder import RunFolder, sealed
from lab.runs.shelf import Label, Shelf, write_label
from tests.lab.made_runs import begin_run, files_of, make_run

RUN = "20260101-000000-toy-abcd"
KEYFRAME = "keyframes/0000000001-00000001.safetensors"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run."""
    path = make_run(tmp_path_factory.mktemp("runs") / RUN)
    write_label(path, Label("Mine"))
    return files_of(path)


def packed(files: dict[str, bytes], top: str = f"{RUN}/") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(top + name, data)
    return target.getvalue()


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """Unpacks what must be refused: one sentence, and nothing on the disk but the archive."""

    def unpack(data: bytes) -> str:
        source, runs = tmp_path / "archive.zip", tmp_path / "somewhere" / "runs"
        source.write_bytes(data)
        with pytest.raises(RunError) as caught:
            unzip_run(source, runs)
        assert not runs.exists() and {path.name for path in tmp_path.iterdir()} <= {
            "archive.zip",
            "somewhere",
        }
        assert files_of(tmp_path) == {"archive.zip": data}
        # With other runs beside it, too.
        runs.mkdir(parents=True, exist_ok=True)
        with pytest.raises(RunError):
            unzip_run(source, runs)
        assert list(runs.iterdir()) == []
        runs.rmdir()
        sentence = str(caught.value)
        assert sentence.endswith(".") and sentence.isprintable() and len(sentence) < 700
        return sentence

    return unpack


# --- there and back  ----------


def test_a_run_comes_back_as_it_was(tmp_path: Path, sound: dict[str, bytes]):
    path = make_run(tmp_path / RUN)
    write_label(path, Label("Mine"))
    before = files_of(path)
    assert zip_run(path, tmp_path / "a.zip") == tmp_path / "a.zip"
    assert {item.name for item in tmp_path.iterdir()} == {RUN, "a.zip"}
    back = unzip_run(tmp_path / "a.zip", tmp_path / "new" / "runs")
    assert back == tmp_path / "new" / "runs" / RUN
    assert files_of(back) == before and [item.name for item in back.parent.iterdir()] == [RUN]
    assert RunFolder(back).damage() == []


def test_runs_of_one_id_stand_beside_each_other(tmp_path: Path):
    zip_run(make_run(tmp_path / RUN), tmp_path / "a.zip")
    names = [unzip_run(tmp_path / "a.zip", tmp_path).name for _ in range(2)]
    assert names == [f"{RUN}-2", f"{RUN}-3"]


@pytest.mark.parametrize("top", ["", "another name (1)/", "..., it was/", "keyframes/"])
def test_a_run_that_another_program_zipped_is_read(tmp_path: Path, sound: dict[str, bytes], top: str):
    target = io.BytesIO(packed(sound, top))
    with zipfile.ZipFile(target, "a") as archive:
        for folder in filter(None, (top, f"{top}keyframes/", f"{top}frames/")):
            archive.mkdir(folder.rstrip("/"))
    (tmp_path / "a.zip").write_bytes(target.getvalue())
    assert files_of(unzip_run(tmp_path / "a.zip", tmp_path / "runs")) == sound


def test_only_the_files_of_the_layout_are_zipped(tmp_path: Path):
    path = make_run(tmp_path / RUN)
    before = files_of(path)
    for name in (".lock", ".reserve", "notes.txt", "keyframes/secret.txt", ".run.json.12.tmp"):
        (path / name).write_text("private")
    zip_run(path, tmp_path / "a.zip")
    assert files_of(unzip_run(tmp_path / "a.zip", tmp_path / "runs")) == before


def test_a_large_file_that_packs_well_is_not_refused_by_our_own_reader(tmp_path: Path):
    path = make_run(tmp_path / RUN)
    (path / KEYFRAME).write_bytes(bytes(12 * 2**20))
    zip_run(path, tmp_path / "a.zip")
    assert (unzip_run(tmp_path / "a.zip", tmp_path / "runs") / KEYFRAME).stat().st_size == 12 * 2**20


def test_a_run_may_be_zipped_while_it_is_written(tmp_path: Path):
    writer = begin_run(tmp_path / RUN)
    # A record of which only the beginning has arrived, and a keyframe that was thinned.
    with open(tmp_path / RUN / "metrics.bin", "ab") as file:
        file.write(b"MTR1\x00\x10")
    writer.drop_keyframe(writer.keyframes[0])
    zip_run(tmp_path / RUN, tmp_path / "a.zip")
    writer.close()
    back = RunFolder(unzip_run(tmp_path / "a.zip", tmp_path / "runs"))
    assert list(back.metrics().steps) == list(range(1, 41)) and back.damage() == []
    assert [record.step for record in back.keyframes()[0]] == [40]
    assert [row.id for row in Shelf(tmp_path / "runs").crashed()] == [RUN]


def test_a_file_that_grows_or_goes_while_it_is_zipped_does_no_harm(tmp_path: Path):
    path = make_run(tmp_path / RUN)
    keyframe = RunFolder(path).keyframes()[0][-1]
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        if not seen:
            with open(path / "metrics.bin", "ab") as file:
                file.write(b"MTR1\x00\x10")
            (path / "keyframes" / keyframe.file).unlink()
        seen.append((done, total))

    zip_run(path, tmp_path / "a.zip", progress)
    back = RunFolder(unzip_run(tmp_path / "a.zip", tmp_path / "runs"))
    assert back.damage() == [] and len(back.metrics().steps) == 40
    assert keyframe.file not in {record.file for record in back.keyframes()[0]}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert all(0 <= done <= total for done, total in seen)


def test_a_target_that_exists_is_kept_unless_it_may_be_replaced(tmp_path: Path):
    path, target = make_run(tmp_path / RUN), tmp_path / "a.zip"
    target.write_text("precious")
    with pytest.raises(RunError, match="exists already"):
        zip_run(path, target)
    with pytest.raises(RunError, match="is a folder"):
        zip_run(path, path, overwrite=True)
    assert target.read_text() == "precious"
    zip_run(path, target, overwrite=True)
    assert zipfile.is_zipfile(target)


class Stop(Exception):
    pass


def test_a_cancelled_or_failed_zip_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, target = make_run(tmp_path / RUN), tmp_path / "a.zip"
    target.write_text("precious")

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        zip_run(path, target, stop, overwrite=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.os, "fsync", full)
    with pytest.raises(RunError, match="full"):
        zip_run(path, target, overwrite=True)
    with pytest.raises(RunError, match="cannot be written"):
        zip_run(path, tmp_path / "missing" / "a.zip")
    assert {item.name for item in tmp_path.iterdir()} == {RUN, "a.zip"} and target.read_text() == "precious"


def test_what_is_no_run_is_not_zipped(tmp_path: Path):
    with pytest.raises(RunError, match="not a folder"):
        zip_run(tmp_path / "gone", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_is_a_path_does_not_get_into_the_archive(tmp_path: Path):
    zip_run(make_run(tmp_path / "r", id="../../evil"), tmp_path / "a.zip")
    assert not any(".." in name for name in zipfile.ZipFile(tmp_path / "a.zip").namelist())


# --- hostile archives  ----------

Refused = Callable[[bytes], str]


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt", "../run.json", f"{RUN}/../../evil", f"{RUN}/../{RUN}/label2.json", "/etc/passwd", "/run.json",
        f"{RUN}\\..\\evil", f"{RUN}/keyframes\\..\\x", "C:/evil", "C:evil", f"{RUN}/C:evil", f"{RUN}/extra.pkl",
        f"{RUN}/keyframes/state.pkl", f"{RUN}/keyframes/0000000001-00000001.pkl", f"{RUN}/notes.txt", f"{RUN}/.lock",
        f"{RUN}/keyframes/../run.json", f"{RUN}/keyframes/sub/0000000001-00000001.safetensors", f"{RUN}/RUN.JSON",
        f"{RUN}/{KEYFRAME}/", f"{RUN}/other/", f"{RUN}/run.json/", f"{RUN}//{KEYFRAME}", f"./{RUN}/{KEYFRAME}",
        KEYFRAME, f"other/{KEYFRAME}", f"{RUN}/{KEYFRAME}\x00.txt", f"{RUN}/{KEYFRAME}\n", f"{RUN}/a\x1b[31m",
        f"{RUN}/keyframes/0000000001-0000000١.safetensors", "", "n" * 60_000, "../run.json/run.json", "other/run.json",
    ],
)  # fmt: skip
def test_a_name_that_is_not_in_the_layout(refused: Refused, sound: dict[str, bytes], name: str):
    marker = f"{RUN}/label.json"
    target = io.BytesIO(packed(sound))
    with zipfile.ZipFile(target, "a") as archive:
        entry = zipfile.ZipInfo(marker + "x")
        entry.filename = entry.orig_filename = name
        archive.writestr(entry, b"x")
    assert "refused" in (sentence := refused(target.getvalue())) or "run.json" in sentence


def test_a_name_twice(refused: Refused, sound: dict[str, bytes]):
    target = io.BytesIO(packed(sound))
    with zipfile.ZipFile(target, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{RUN}/label.json", b"x")
    assert "more than once" in refused(target.getvalue())


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_a_member_that_is_no_regular_file(refused: Refused, sound: dict[str, bytes], kind: int):
    target = io.BytesIO(packed({name: data for name, data in sound.items() if name != "label.json"}))
    with zipfile.ZipFile(target, "a") as archive:
        entry = zipfile.ZipInfo(f"{RUN}/label.json")
        entry.external_attr = (kind | 0o777) << 16
        archive.writestr(entry, b"/etc/passwd")
    assert "no file of a run" in refused(target.getvalue())


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_an_encrypted_member(refused: Refused, sound: dict[str, bytes], flag: int):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in sound.items():
            archive.writestr(f"{RUN}/{name}", data)
        archive.getinfo(f"{RUN}/metrics.bin").flag_bits |= flag
    assert "encrypted" in refused(target.getvalue())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_way_of_packing(refused: Refused, sound: dict[str, bytes], method: int):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in sound.items():
            archive.writestr(f"{RUN}/{name}", data)
    assert "does not read" in refused(target.getvalue())


def claiming(files: dict[str, bytes], name: str, size: int, *, stored: int | None = None) -> bytes:
    """An archive whose list says that a member has another size than it has."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, data in files.items():
            archive.writestr(f"{RUN}/{each}", data)
        entry = archive.getinfo(f"{RUN}/{name}")
        entry.file_size = size
        if stored is not None:
            entry.compress_size = stored
    return target.getvalue()


def test_a_bomb_of_real_zeros(refused: Refused, sound: dict[str, bytes]):
    assert "200 times larger" in refused(packed({**sound, KEYFRAME: bytes(50 * 2**20)}))


def test_a_member_that_claims_ten_gigabytes(refused: Refused, sound: dict[str, bytes]):
    assert "200 times larger" in refused(claiming(sound, "metrics.bin", 10 * 2**30))


def test_a_member_that_claims_ten_gigabytes_and_a_sound_ratio(refused: Refused, sound: dict[str, bytes]):
    sentence = refused(claiming(sound, "metrics.bin", 10 * 2**30, stored=5 * 2**30))
    assert "more than it has bytes" in sentence or "there is room for" in sentence


def test_a_member_that_is_longer_than_it_claims(refused: Refused, sound: dict[str, bytes]):
    refused(claiming({**sound, KEYFRAME: bytes(50 * 2**20)}, KEYFRAME, 1000))


def test_members_that_share_their_bytes(refused: Refused, sound: dict[str, bytes]):
    heavy = random.Random(0).randbytes(100_000)
    names = [f"keyframes/{number:010}-00000001.safetensors" for number in range(50)]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in sound.items():
            archive.writestr(f"{RUN}/{name}", data)
        archive.writestr(f"{RUN}/{names[0]}", heavy)
        first = archive.getinfo(f"{RUN}/{names[0]}")
        for name in names[1:]:
            archive.writestr(f"{RUN}/{name}", b"")
            entry = archive.getinfo(f"{RUN}/{name}")
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            entry.file_size = entry.compress_size = len(heavy)
    assert "more than it has bytes" in refused(target.getvalue())


def test_a_run_that_does_not_fit_on_the_disk(
    refused: Refused, sound: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archives, "LARGEST", sum(map(len, sound.values())) - 1)
    assert "there is room for" in refused(packed(sound))
    monkeypatch.undo()
    monkeypatch.setattr(archives, "RESERVE", 2**62)
    assert "there is room for 0 MiB" in refused(packed(sound))


def test_a_small_file_that_is_large(refused: Refused, sound: dict[str, bytes]):
    noise = random.Random(0).randbytes(2**20) * 17
    assert "larger than it is in any run" in refused(packed({**sound, "label.json": noise}))


def test_too_many_members(refused: Refused, sound: dict[str, bytes]):
    many = {f"keyframes/{number:010}-00000001.safetensors": b"" for number in range(4001)}
    assert "4,000 at most" in refused(packed({**sound, **many}))


def test_a_list_of_members_too_long_to_be_read(refused: Refused, sound: dict[str, bytes]):
    data = packed(sound)
    # The end record: the list's length, and where it begins. Its content is never looked at.
    start = len(data)
    listing = bytes(5 * 2**20)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(listing), start, 0)
    assert "too long" in refused(data + listing + end)


@pytest.mark.parametrize("without", ["run.json", "everything"])
def test_an_archive_without_a_run(refused: Refused, sound: dict[str, bytes], without: str):
    files = {} if without == "everything" else {name: data for name, data in sound.items() if name != without}
    assert "holds no run" in refused(packed(files))


def test_two_runs_in_one_archive(refused: Refused, sound: dict[str, bytes]):
    files = {f"{top}/{name}": data for top in ("a", "b") for name, data in sound.items()}
    assert "holds no run" in refused(packed(files, ""))


def test_a_zip_in_a_zip(refused: Refused, sound: dict[str, bytes]):
    inner = packed(sound)
    assert "holds no run" in refused(packed({"inner.zip": inner}, ""))
    assert "no file of a run" in refused(packed({**sound, "inner.zip": inner}))
    refused(packed({**sound, "run.json": inner}))


@pytest.mark.parametrize("content", [b"", b"{}", b'{"crc": 1, "content": {}}', b"[" * 100_000])
def test_what_is_no_run_after_unpacking(refused: Refused, sound: dict[str, bytes], content: bytes):
    assert "archive.zip" in refused(packed({**sound, "run.json": content}))


@pytest.mark.parametrize(
    "run", ["../../evil", "/tmp/evil", "..", "", ".bin", "a/b", "a\\b", "x" * 300, "a\nb", "nul\x00"]
)
def test_a_run_whose_id_is_no_folder_name(refused: Refused, sound: dict[str, bytes], run: str):
    content = json.loads(sound["run.json"])["content"]
    files = {**sound, "run.json": sealed({**content, "id": run}).encode()}
    assert "impossible name" in refused(packed(files))


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip" * 100, b"\x80\x04\x95", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_zip(refused: Refused, data: bytes):
    refused(data)


def test_what_is_not_there(tmp_path: Path):
    for path in (tmp_path / "gone.zip", tmp_path):
        with pytest.raises(RunError, match="cannot be read"):
            unzip_run(path, tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_every_truncated_archive_is_refused(refused: Refused, sound: dict[str, bytes]):
    data = packed(sound)
    for length in range(0, len(data), len(data) // 40):
        refused(data[:length])


def test_a_folder_of_runs_that_is_a_file(tmp_path: Path, sound: dict[str, bytes]):
    (tmp_path / "a.zip").write_bytes(packed(sound))
    with pytest.raises(RunError):
        unzip_run(tmp_path / "a.zip", tmp_path / "a.zip")


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_a_damaged_archive_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, sound: dict[str, bytes], data: st.DataObject
):
    content = bytearray(packed(sound))
    for _ in range(data.draw(st.integers(1, 4))):
        # The lists at the end decide most.
        near_end = data.draw(st.booleans())
        place = data.draw(st.integers(len(content) - 1500 if near_end else 0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    place = tmp_path_factory.mktemp("fuzz")
    (place / "a.zip").write_bytes(content)
    try:
        made = unzip_run(place / "a.zip", place / "runs")
    except RunError:
        assert {path.name for path in place.iterdir()} == {"a.zip"}
    else:
        found = files_of(made)
        assert set(found) <= set(sound) | {
            name for name in found if name.startswith(("keyframes/", "frames/"))
        }
        assert all(found[name] == sound[name] for name in found if name in sound)
        assert [path.name for path in (place / "runs").iterdir()] == [made.name]
