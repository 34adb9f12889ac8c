"""The CSV reader: round trips, and one clear sentence for everything that is wrong."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.data import own, tables
from engines.errors import DataError

PROPERTY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _everything(dataset) -> np.ndarray:
    return np.concatenate([dataset.train, dataset.test])


def _sorted(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.T[::-1])]


def _write(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


single = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    rows=st.lists(st.tuples(single, single, single), min_size=3, max_size=30),
    delimiter=st.sampled_from([",", ";", "\t", "|", " "]),
    header=st.booleans(),
    ending=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    blank=st.booleans(),
)
@PROPERTY
def test_round_trip(tmp_path: Path, rows, delimiter, header, ending, mark, blank) -> None:
    values = np.array(rows, dtype=np.float32)
    lines = [delimiter.join(["alpha", "beta", "gamma"])] if header else []
    lines += [delimiter.join(repr(float(value)) for value in row) for row in rows]
    if blank:
        lines.insert(1, "")
        lines.append("# the end")
    content = ("\ufeff" if mark else "") + ending.join(lines) + ending
    path = _write(tmp_path, content)
    is_flat = any(np.ptp(values.astype(np.float64), axis=0) == 0)
    try:
        data = own.load(path)
    except DataError as error:
        assert "has the same value" in str(error)
        # only right if the rows left for training can be flat in some column
        held_out = max(1, round(len(rows) * 0.1))
        assert any(
            np.unique(column, return_counts=True)[1].max() >= len(rows) - held_out for column in values.T
        )
        return
    assert not is_flat
    assert data.columns == (("alpha", "beta", "gamma") if header else ("column 1", "column 2", "column 3"))
    np.testing.assert_array_equal(_sorted(_everything(data)), _sorted(values))


@given(st.binary(max_size=400))
@PROPERTY
def test_garbage_bytes_never_raise_anything_else(tmp_path: Path, content: bytes) -> None:
    try:
        own.load_csv(_write(tmp_path, content))
    except DataError as error:
        _is_one_sentence(error)


@given(
    st.text(alphabet="01.,;\t |\"'#\r\nnaife-+x_é\\", max_size=200),
    st.sampled_from([".", ","]),
    st.booleans(),
)
@PROPERTY
def test_garbage_text_never_raises_anything_else(
    tmp_path: Path, content: str, decimal: str, header: bool
) -> None:
    path = _write(tmp_path, content)
    for options in ({}, {"header": header}, {"decimal": decimal}, {"label_column": 1}, {"columns": "1,2"}):
        try:
            data = own.load_csv(path, **options)
        except DataError as error:
            _is_one_sentence(error)
        else:
            assert np.isfinite(_everything(data)).all()


def _is_one_sentence(error: DataError) -> None:
    text = str(error)
    assert text.endswith(".") and "\n" not in text and len(text) < 700, text
    assert ";" in text, f"says not what to do: {text}"


BAD = {
    "nan": ("x,y\n1,2\n3,nan\n5,6\n", r'line 3, column 2 \("y"\).*NaN'),
    "infinite": ("x,y\n1,2\n-inf,4\n", r'line 3, column 1 \("x"\).*infinite'),
    "too large for a double": ("1,2\n3,1e999\n", "line 2, column 2.*infinite"),
    "too large for single precision": ("x,y\n1,2\n3,1e200\n5,6\n", 'column "y" is too large'),
    "text cell": ("x,y\n1,2\n3,four\n", r"line 3, column 2 \(\"y\"\): 'four' is not a number"),
    "text column": ("1,2,cat\n3,4,dog\n", "line 1, column 3: 'cat' is not a number"),
    "empty cell": ("x,y\n1,2\n3,\n", "line 3, column 2.*empty"),
    "empty row": ("x,y\n1,2\n,\n3,4\n", "line 3, column 1.*empty"),
    "ragged short": ("x,y\n1,2\n3\n", "line 3: 1 cell where line 1 has 2"),
    "ragged long": ("1,2\n3,4\n5,6,7\n", "line 3: 3 cells where line 1 has 2"),
    "empty": ("", "is empty"),
    "only blank lines": ("\n\n  \n", "is empty"),
    "only comments": ("# nothing\n", "is empty"),
    "header alone": ("x,y\n", "header but no rows"),
    "one row": ("x,y\n1,2\n", "only 1 row "),
    "constant column": ("x,y\n1,7\n2,7\n3,7\n", r'column "y" has the same value \(7\)'),
    "constant in single precision": (
        "x,y\n1,100000000\n2,100000001\n3,100000002\n",
        'column "y" has the same value',
    ),
    "decimal comma": ("x;y\n1,5;2\n3;4\n", 'line 2.*decimal comma.*set decimal to ","'),
    "underscore": ("1_000,2\n3,4\n", "'1_000' is not a number"),
    "latin-1": ("Größe,y\n1,2\n3,4\n".encode("latin-1"), "line 1: the byte 0xf6 is not UTF-8"),
    "latin-1 later": ("x,y\n1,2\n3,é\n".encode("latin-1"), "line 3: the byte 0xe9"),
    "utf-16": ("x,y\n1,2\n".encode("utf-16"), "UTF-16"),
    "null byte": (b"x,y\n1,2\n3,\x004\n", "line 3 holds a null byte"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "is a picture"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "gzip.*unpack"),
    "open quote": ('x,y\n1,"2\n3,4\n' + "5,6\n" * 60_000, "quote"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD.keys())
def test_bad_table_says_where(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = _write(tmp_path, content)
    with pytest.raises(DataError, match=message) as caught:
        own.load(path)
    _is_one_sentence(caught.value)
    assert path.name in str(caught.value)


def test_spreadsheet_is_not_taken_for_arrays(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"save the table as CSV"):
        own.load(_write(tmp_path, b"PK\x03\x04" + bytes(60), "book.xlsx"))


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.write(b"x,y\n1,2\n")
        file.truncate(3 * 2**30)  # sparse: takes no room
    with pytest.raises(DataError, match=r"has 3\.0 GB.*sample of its rows"):
        own.load(path)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder"):
        own.load(tmp_path / "missing.csv")
    with pytest.raises(DataError, match=r"is a folder"):
        own.load_csv(tmp_path)
    with pytest.raises(DataError, match=r"null character"):
        own.load("a\0b.csv")
    with pytest.raises(DataError):
        own.load("x" * 5000 + ".csv")
    if not hasattr(os, "mkfifo"):
        return
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match=r"pipe or a device"):
        own.load(pipe)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read everything")
def test_forbidden_file(tmp_path: Path) -> None:
    path = _write(tmp_path, "1,2\n3,4\n")
    path.chmod(0)
    with pytest.raises(DataError, match=r"access is denied"):
        own.load(path)


def test_chosen_columns_by_name_and_number(tmp_path: Path) -> None:
    path = _write(tmp_path, "name,a,b c,d\n" + "".join(f"n{i},{i},{i * 10},{-i}\n" for i in range(1, 9)))
    by_name = own.load_csv(path, columns=["d", "a"])
    assert by_name.columns == ("d", "a")
    np.testing.assert_array_equal(by_name.train[:, 0], -by_name.train[:, 1])
    for same in ("d, a", "4,2", [4, 2], ["4", "a"]):
        assert own.load_csv(path, columns=same).digest == by_name.digest
    assert own.load_csv(path, columns="b c").columns == ("b c",)
    for wrong in ("e", 0, 5, "a,a", [], ["a", 1.5], "-1"):
        with pytest.raises(DataError):
            own.load_csv(path, columns=wrong)
    with pytest.raises(DataError, match=r"did you mean b c"):
        own.load_csv(path, columns="b_c")


def test_labels(tmp_path: Path) -> None:
    path = _write(tmp_path, "".join(f"{i},{i % 3 * 5}\n" for i in range(30)))
    data = own.load_csv(path, label_column=2)
    assert data.columns == ("column 1",)
    assert data.class_names == ("0", "5", "10")
    assert data.train_labels is not None and data.test_labels is not None
    for points, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        np.testing.assert_array_equal(points[:, 0] % 3, labels)
    words = own.load_csv(_write(tmp_path, "1,dog\n2,cat\n3,dog\n", "words.csv"), label_column=2)
    assert words.class_names == ("cat", "dog")


def test_split_is_decided_by_the_seed_and_loses_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path, "".join(f"{i},{i * i}\n" for i in range(50)))
    data = own.load_csv(path, seed=1, test_fraction=0.2)
    assert len(data.test) == 10
    assert data.digest == own.load_csv(path, seed=1, test_fraction=0.2).digest
    assert data.digest != own.load_csv(path, seed=2, test_fraction=0.2).digest
    assert sorted(_everything(data)[:, 0]) == list(range(50))
    for fraction in (-1, 1, float("nan"), "x"):
        with pytest.raises(DataError, match=r"test_fraction"):
            own.load_csv(path, test_fraction=fraction)


def test_options_of_the_text(tmp_path: Path) -> None:
    german = own.load_csv(_write(tmp_path, "x;y\n1,5;-2,25\n3;4e1\n7;8\n"), decimal=",")
    np.testing.assert_array_equal(_sorted(_everything(german)), [[1.5, -2.25], [3, 40], [7, 8]])
    years = _write(tmp_path, "2001,2002\n1,2\n3,4\n5,6\n", "years.csv")
    assert len(_everything(own.load_csv(years))) == 4
    assert own.load_csv(years, header=True).columns == ("2001", "2002")
    odd = _write(tmp_path, "1:2\n3:4\n5:6\n", "odd.csv")
    assert _everything(own.load_csv(odd, delimiter=":")).shape == (3, 2)
    for wrong in ("", "::", '"', ".", 3):
        with pytest.raises(DataError, match=r"delimiter"):
            own.load_csv(odd, delimiter=wrong)
    quoted = _write(tmp_path, '"a\nb",c\n"1","2"\n3,oops\n', "quoted.csv")
    with pytest.raises(DataError, match=r"line 4, column 2"):  # the header takes two lines
        own.load_csv(quoted)


def test_numpy_and_csv_writers_are_understood(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.savetxt(tmp_path / "numpy.txt", values, header="a b c")
    np.testing.assert_array_equal(_sorted(_everything(own.load(tmp_path / "numpy.txt"))), _sorted(values))
    with (tmp_path / "quoted.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(values.tolist())
    np.testing.assert_array_equal(_sorted(_everything(own.load(tmp_path / "quoted.csv"))), _sorted(values))


def test_lost_digits_are_noted(tmp_path: Path) -> None:
    path = _write(tmp_path, "time,y\n" + "".join(f"{1.7e9 + i * 40},{i}\n" for i in range(20)))
    assert any("time" in note and "subtract" in note for note in own.load_csv(path).notes)


def test_same_header_twice_still_names_columns_apart(tmp_path: Path) -> None:
    data = own.load_csv(_write(tmp_path, "x,x,\n1,2,3\n4,5,7\n6,6,6\n"))
    assert len(set(data.columns)) == 3


def test_unknown_option_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean columns"):
        own.load(_write(tmp_path, "1,2\n3,4\n"), colums="1")


def test_limit_is_checked_again_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LARGEST_TEXT", 10)
    with pytest.raises(DataError, match=r"at most 10 bytes"):
        own.load_csv(_write(tmp_path, "1,2\n3,4\n5,6\n"))
