"""Setups as texts and files: the same settings come back, from exported figures too; anything else is one sentence."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from engines.config import Settings
from engines.errors import InputError, SettingError
from engines.figures import Axis, Film, Lines, Plot
from lab import papers
from lab.export import FORMATS, export
from lab.export.notes import as_comments, as_mp4_box, as_sidecar, as_xmp, read_note
from lab.runs.folder import RunFolder
from lab.setup import LARGEST, LONGEST, Setup, read_setup
from tests.lab.made_runs import begin_run, make_run, toy_installed
from tests.toy import ToySettings


@pytest.fixture(autouse=True, scope="module")
def _toy() -> Iterator[None]:
    with toy_installed():
        yield


def a_text() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)


def values_of(config: type[Settings]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of a paper's settings, each within its own bounds."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for spec in config.specs():
        low, high = spec.minimum, spec.maximum
        numbers = st.floats(low, high, allow_nan=False, allow_infinity=False)
        fields[spec.name] = {
            "integer": st.integers(
                None if low is None else int(low), None if high is None else int(high)
            ),
            "number": numbers,
            "switch": st.booleans(),
            "choice": st.sampled_from([value for value, _ in spec.choices] or [""]),
            "text": a_text(),
            "path": a_text(),
            "curve": st.lists(numbers, max_size=30).map(tuple),
        }[spec.kind]  # fmt: skip
    return st.fixed_dictionaries({}, optional=fields)


with toy_installed():
    PAPERS = [paper.id for paper in papers.papers() if paper.is_built]


@pytest.mark.parametrize("paper", PAPERS)
@given(data=st.data())
def test_every_setup_comes_back_from_its_text_and_its_file(paper: str, data: st.DataObject):
    method = papers.method_of(papers.find_built(paper))
    preset = data.draw(st.sampled_from(method.presets))
    changes = data.draw(values_of(method.config))
    try:
        config = method.config.build({**preset.values, **changes})
    except SettingError:
        assume(False)
    setup = Setup(paper, preset.id, config.model_dump())
    assert setup.settings() == config
    text = setup.to_text()
    assert text.isprintable() and text.isascii() and " " not in text
    assert Setup.from_text(text) == setup
    assert Setup.from_toml(setup.to_toml()) == setup
    assert method.config.from_toml(setup.to_toml()) == config
    assert Setup.from_toml(config.to_toml(paper)).values == setup.values


def test_the_text_is_short_and_can_be_read():
    setup = Setup("toy", "long", {"step_size": 0.001, "seed": 3})
    assert setup.to_text() == "lab://toy?preset=long&step_size=0.001&seed=3"
    assert Setup("toy", "long").to_text() == "lab://toy?preset=long"
    drawn = Setup(
        "diffusion", "swiss-roll", {"schedule": "drawn", "betas": (0.01, 5e-06, 0.5), "path": "a b/ü&=#.csv"}
    )
    assert drawn.to_text() == (
        "lab://diffusion?preset=swiss-roll&path=a%20b/%C3%BC%26%3D%23.csv&schedule=drawn&betas=0.01,5e-06,0.5"
    )
    assert Setup.from_text(drawn.to_text()).settings() == drawn.settings()


def test_a_value_of_the_preset_can_be_changed_back_to_the_default():
    setup = Setup("toy", "long", {"curvature": "round"})
    assert "curvature=round" in setup.to_text()
    assert Setup.from_text(setup.to_text()).settings() == ToySettings()


def test_without_a_preset_it_is_the_first():
    assert Setup.from_text("lab://toy?seed=2").preset == "demo"
    assert Setup("toy", "", {"seed": 2}).to_text() == "lab://toy?preset=demo&seed=2"
    assert Setup.from_text("lab://toy").settings() == ToySettings()


@pytest.mark.parametrize(
    "around", ["{}", "  {}\n", '"{}"', "'{}'", "<{}>", "“{}”", "`{}`", "\r\n\t{}\r\n", ' "{}" \n', "«{}»"]
)
def test_what_a_mail_puts_around_the_text_does_no_harm(around: str):
    text = Setup("toy", "long", {"step_size": 0.25, "seed": 7}).to_text()
    expected = Setup.from_text(text)
    assert Setup.from_text(around.format(text)) == expected
    broken = text[:20] + "\r\n   " + text[20:]
    assert Setup.from_text(around.format(broken)) == expected
    assert Setup.from_text(around.format(text.replace("lab://toy", "LAB://TOY"))) == expected


def sentence_of(text: str) -> str:
    with pytest.raises(InputError) as caught:
        Setup.from_text(text)
    sentence = str(caught.value)
    assert sentence.endswith(".") and sentence.isprintable() and len(sentence) < 1000, sentence
    return sentence


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "begins with"), ("hello", "begins with"), ("http://toy?seed=1", "begins with"), ("lab:/toy", "begins with"),
        ("lab://", "names no paper"), ("lab://?seed=1", "names no paper"), ("lab://../..?seed=1", "names no paper"),
        ("lab://" + "t" * 100_000, "names no paper"), ("lab://toi?seed=1", "did you mean toy"), ("lab://gmmn", "not built"),
        ("lab://toy?preset=none", "choose one of demo, long"), ("lab://toy?sede=1", "did you mean seed"),
        ("lab://toy?" + "x" * 100_000 + "=1", "no setting"), ("lab://toy?seed=one", "not a whole number"),
        ("lab://toy?seed=-1", "seed=-1"), ("lab://toy?seed=" + "9" * 10_000, "seed="), ("lab://toy?seed=", "seed="),
        ("lab://toy?seed", "seed="), ("lab://toy?step_size=nan", "step_size"), ("lab://toy?step_size=inf", "step_size"),
        ("lab://toy?step_size=1e999", "step_size"), ("lab://toy?curvature=square", "one of round, long"),
        ("lab://toy?seed=1&seed=2", "twice"), ("lab://toy?preset=demo&preset=long", "twice"),
        ("lab://toy?seed=%", "% escape"), ("lab://toy?seed=%zz", "% escape"), ("lab://toy?seed=%ff", "no text"),
        ("lab://diffusion?path=%00", "control character"), ("lab://diffusion?path=a%0Ab", "control character"),
        ("lab://diffusion?path=%1b[31m", "control character"), ("lab://diffusion?path=\x1b[31m", "character that none has"),
        ("lab://toy?seed=1#fragment", "seed"), ("lab://diffusion?betas=0.1,x", "list of numbers"),
        ("lab://diffusion?betas=0.1,7", "out of range"), ("lab://diffusion?betas=nan", "betas"),
        ("lab://diffusion?network=rbf&data=digits", "RBF"), ("lab://toy?__class__=1", "no setting"),
        ("lab://toy?=1", "no setting"), ("lab://toy?" + "&" * 10**6 + "=", "no setting"),
        ("lab://toy?seed=1" + " " * LONGEST, "longer"),
        ("lab://toy?seed=" + "\ud800", "seed"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_setup_is_one_sentence(text: str, word: str):
    assert word in sentence_of(text)


@given(
    st.text()
    | st.text().map(lambda text: f"lab://toy?{text}")
    | st.text().map(lambda text: f"lab://toy?seed={text}")
)
@example("lab://toy?" + "[" * 1000)
def test_any_text_is_a_setup_or_one_sentence(text: str):
    try:
        setup = Setup.from_text(text)
    except InputError as error:
        assert str(error).isprintable() and len(str(error)) < 1000
    else:
        assert Setup.from_text(setup.to_text()) == setup


# --- files  ----------


def test_a_setup_file_is_a_settings_file_with_the_paper_and_the_preset(tmp_path: Path):
    setup = Setup.from_text("lab://toy?preset=long&seed=5")
    path = tmp_path / "a.toml"
    path.write_text(setup.to_toml())
    assert setup.to_toml().startswith('paper = "toy"\npreset = "long"\n')
    assert read_setup(path) == setup
    (tmp_path / "a.lab").write_text(f"\n{setup.to_text()}\n")
    assert read_setup(tmp_path / "a.lab") == setup
    (tmp_path / "b.lab").write_bytes(b"\xef\xbb\xbf" + setup.to_toml().encode())
    assert read_setup(tmp_path / "b.lab") == setup


@pytest.mark.parametrize(
    "text",
    [
        "", "=", "x" * 1000, "[" * 10_000, "a = " + "[" * 50_000, "paper = 3\n[settings]\n", '[settings]\nseed = 1\n',
        'paper = "toy"\n', 'paper = "toy"\nsettings = 3', 'paper = "toy"\n[settings]\nseed = "x"\n',
        'paper = "toy"\n[settings]\nseed = 1979-05-27\n', 'paper = "toy"\n[settings]\nwhat = 1\n',
        'paper = "to\\ny"\n[settings]\n',
        'paper = "toy"\n[settings]\nseed = ' + "9" * 5000, 'paper = "toy"\n[settings]\nseed = {a = [1]}\n', "\x00",
        'paper = "toy"\n[settings]\nstep_size = nan\n', 'paper = "toy"\n[settings]\n"\\u0000" = 1\n',
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".toml", ".lab", ".txt"])
def test_a_file_without_a_sound_setup_is_one_sentence(tmp_path: Path, text: str, suffix: str):
    path = tmp_path / f"a{suffix}"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_setup(path)
    assert (
        str(caught.value).isprintable() and str(caught.value).endswith(".") and len(str(caught.value)) < 1000
    )


def test_the_setup_of_a_run_is_what_was_in_force_last(tmp_path: Path):
    writer = begin_run(tmp_path / "r", {"seed": 4, "curvature": "long"}, preset="long")
    writer.event(10, "change", values={"step_size": 0.5})
    writer.close()
    setup = Setup.of_run(RunFolder(tmp_path / "r"))
    assert setup.to_text() == "lab://toy?preset=long&step_size=0.5&seed=4"
    assert read_setup(tmp_path / "r") == setup
    assert read_setup(tmp_path / "r" / "settings.toml").values["step_size"] == 0.1


def test_a_preset_that_is_gone_does_not_change_what_a_run_had(tmp_path: Path):
    make_run(tmp_path / "r", {"curvature": "long"}, preset="of-yore")
    setup = Setup.of_run(RunFolder(tmp_path / "r"))
    assert setup.preset == "demo" and setup.settings() == ToySettings(curvature="long")


def test_a_run_of_a_paper_that_is_not_here_is_one_sentence(tmp_path: Path):
    make_run(tmp_path / "r", paper="elsewhere")
    with pytest.raises(InputError, match="There is no paper 'elsewhere'"):
        Setup.of_run(RunFolder(tmp_path / "r"))


# --- figures  ----------

PLOT = Plot((Lines(np.arange(3.0), np.arange(3.0)),), Axis("x"), Axis("y"), "A (title) with \\ and ü")
FILM = Film((PLOT, PLOT), np.arange(2), Axis("Time"), "Film")


def about(values: Mapping[str, Any], paper: str = "diffusion") -> dict[str, Any]:
    return {"paper": paper, "figure": "f", "run": "r", "step": 3, "settings": dict(values), "data": {}}


@pytest.mark.parametrize("format", FORMATS)
def test_an_exported_figure_gives_its_setup_back(tmp_path: Path, format: str):
    if format == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    nasty = "a(b)\\c/</rdf:li>&amp;\"'ü {}.csv"
    setup = Setup.from_text("lab://diffusion?preset=paper&seed=9&betas=0.1,0.2")
    values = {**setup.values, "path": nasty}
    film = FORMATS[format].kind == "film"
    path = export(FILM if film else PLOT, tmp_path / "a", format, metadata=about(values))
    found = read_setup(path)
    assert found.paper == "diffusion" and found.values == values
    given = export(PLOT, tmp_path / "b.png", metadata={**about(values), "preset": "paper"})
    assert read_setup(given).preset == "paper"


def test_whatever_made_a_figure_is_in_it(tmp_path: Path):
    # In every format, for people and programs that look: also what is no part of a setup.
    made = {**about({"seed": 1}), "seed": 1, "preset": "digits"}
    for format in FORMATS:
        if format == "mp4" and find_spec("imageio_ffmpeg") is None:
            continue
        path = export(
            FILM if FORMATS[format].kind == "film" else PLOT, tmp_path / format, format, metadata=made
        )
        note = json.loads(read_note(path) or "{}")
        assert made.items() <= note.items() and note["version"] and note["alt"], format


def packed(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def npy(text: str) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(text))
    return file.getvalue()


def holding(note: str) -> dict[str, bytes]:
    """A small file of each kind with a note in it."""
    text, xmp = note.encode(), as_xmp(note)
    png, blocks = b"\x89PNG\r\n\x1a\n", [text[i : i + 255] for i in range(0, len(text), 255)]
    return {
        "a.png": png + chunk(b"IHDR", bytes(13)) + chunk(b"tEXt", b"lab\0" + text),
        "b.png": png + chunk(b"zTXt", b"lab\0\0" + zlib.compress(text)),
        "a.gif": b"GIF89a" + bytes(7) + b"!\xfe" + b"".join(bytes([len(b)]) + b for b in blocks) + b"\0;",
        "a.webp": b"RIFF\0\0\0\0WEBPVP8L\3\0\0\0abc\0XMP " + struct.pack("<I", len(xmp)) + xmp,
        "a.mp4": b"\0\0\0\x0cftypisom" + b"\0\0\0\1mdat" + struct.pack(">Q", 20) + b"data" + as_mp4_box(note),
        "a.npz": packed("metadata.npy", npy(note)),
        "a.zip": packed("fig/metadata.json", text),
        "a.svg": f"<?xml version='1.0'?><svg><rdf:li>{note}</rdf:li></svg>".encode(),
        "a.pdf": b"%PDF-1.4\n/Keywords (" + text + b")",
        "a.eps": f"%!PS-Adobe-3.0 EPSF-3.0\n{as_comments(note)}%%EndComments\n".encode(),
        "a.pgf": f"%% A figure\r\n{as_comments(note)}".replace("\n", "\r\n").encode(),
        "a.csv-metadata.json": as_sidecar(note, "a.csv", "t", "d", ["x"]).encode(),
    }


def laid_out(folder: Path, name: str, data: bytes) -> Path:
    """A file with that content; for the description of a table, the table."""
    (folder / name).write_bytes(data)
    if not name.endswith(".csv-metadata.json"):
        return folder / name
    (folder / "a.csv").write_text("x\n1\n")
    return folder / "a.csv"


KINDS = sorted(holding(""))


@pytest.mark.parametrize("name", KINDS)
def test_a_note_is_found_in_every_kind_of_file(tmp_path: Path, name: str):
    note = json.dumps({"paper": "toy", "settings": {"seed": 5}})
    assert read_setup(laid_out(tmp_path, name, holding(note)[name])).values["seed"] == 5


@pytest.mark.parametrize(
    "note",
    [
        "", "{", "null", "[]", "[" * 100_000, json.dumps({"paper": "toy"}), json.dumps({"settings": {}}),
        json.dumps({"paper": 3, "settings": {}}), json.dumps({"paper": "toy", "settings": []}),
        json.dumps({"paper": "toy", "settings": {"seed": "x"}}), json.dumps({"paper": "toy", "settings": {"seed": [[]]}}),
        json.dumps({"paper": "to\ny", "settings": {}}), json.dumps({"paper": "nope", "settings": {}}),
        json.dumps({"paper": "toy", "settings": {"\x00" * 1000: 1}}), '{"paper": "toy", "settings": {"seed": NaN}}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", KINDS)
def test_a_figure_that_holds_nonsense_is_one_sentence(tmp_path: Path, note: str, name: str):
    path = laid_out(tmp_path, name, holding(note)[name])
    with pytest.raises(InputError) as caught:
        read_setup(path)
    assert (
        str(caught.value).isprintable() and str(caught.value).endswith(".") and len(str(caught.value)) < 1000
    )


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(1000), b"GIF89a", b"GIF89a" + b"\xff" * 100, b"%PDF-", b"<svg>",
        b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><svg>&b;</svg>", b"\x80\x04\x95.",
        b"\xff\xd8\xff\xe0JFIF", bytes(100), b"%PDF-/Keywords (" + b"\\" * 1001, b"x,y\n1,2\n", b"PK\x03\x04",
    ],
)  # fmt: skip
def test_a_file_that_holds_no_setup_is_one_sentence(tmp_path: Path, data: bytes):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InputError, match="holds no setup"):
        read_setup(tmp_path / "a")


@pytest.mark.parametrize("name", ["b.png", "a.npz", "a.zip"])
def test_a_text_that_unpacks_to_very_much_is_refused(tmp_path: Path, name: str):
    data = holding(json.dumps({"paper": "toy", "settings": {}, "x": "y" * 20_000_000}))[name]
    assert len(data) < 300_000
    (tmp_path / name).write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="holds no setup"):
            read_setup(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 10 * LONGEST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_cut_or_damaged_is_one_sentence_or_a_setup(tmp_path: Path, name: str):
    data = holding(json.dumps({"paper": "toy", "settings": {"seed": 5}}))[name]
    random = np.random.default_rng(0)
    broken = [data[:length] for length in range(0, len(data), 7)]
    for _ in range(60):
        changed = bytearray(data)
        for place in random.integers(0, len(data), 3):
            changed[place] = random.integers(256)
        broken.append(bytes(changed))
    for content in broken:
        path = laid_out(tmp_path, name, content)
        try:
            read_setup(path)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 1000


def test_an_array_that_says_it_is_very_large_is_not_believed(tmp_path: Path):
    header = b"{'descr': '<U4', 'fortran_order': False, 'shape': (99999999999,), }\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    pickled = array.replace(b"'<U4'", b"'|O' ").replace(b"(99999999999,)", b"()            ") + pickle.dumps(
        print
    )
    for content in (array, pickled, b"\x80\x04."):
        (tmp_path / "a.npz").write_bytes(packed("metadata.npy", content))
        with pytest.raises(InputError, match="holds no setup"):
            read_setup(tmp_path / "a.npz")


def test_a_zip_with_a_long_list_of_files_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}" + "n" * 60_000, b"")
        archive.writestr("metadata.npy", npy(json.dumps({"paper": "toy", "settings": {}})))
    (tmp_path / "a.npz").write_bytes(file.getvalue())
    assert read_setup(tmp_path / "a.npz").paper == "toy"
    monkeypatch.setattr("lab.export.notes.LONGEST", 100_000)
    with pytest.raises(InputError, match="holds no setup"):
        read_setup(tmp_path / "a.npz")


def test_films_and_data_of_any_size_are_skipped_over(tmp_path: Path):
    note = json.dumps({"paper": "toy", "settings": {"seed": 5}})
    size, xmp = 3 * 2**30, as_xmp(note)
    heads = {
        "a.mp4": (b"\0\0\0\x0cftypisom\0\0\0\1mdat" + struct.pack(">Q", size + 16), as_mp4_box(note)),
        "a.webp": (
            b"RIFF\0\0\0\0WEBPANMF" + struct.pack("<I", size),
            b"XMP " + struct.pack("<I", len(xmp)) + xmp,
        ),
    }
    for name, (head, tail) in heads.items():
        with open(tmp_path / name, "wb") as file:
            file.write(head)
            # A hole, which takes no room on the disk.
            file.seek(size, 1)
            file.write(tail)
        assert read_setup(tmp_path / name).values["seed"] == 5


def test_a_table_without_its_description_holds_no_setup(tmp_path: Path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="holds no setup"):
        read_setup(tmp_path / "a.csv")


def test_a_file_that_cannot_be_read_or_is_too_large_is_one_sentence(tmp_path: Path):
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_setup(path)
    with open(tmp_path / "large.toml", "wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(InputError, match="larger than"):
        read_setup(tmp_path / "large.toml")


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"<svg><rdf:li>", *(data[:12] for data in holding("").values())]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_hold_no_setup(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(head + data)
    with pytest.raises(InputError):
        read_setup(path)
