"""The user's tables of numbers in text (CSV); safe on any thread or process."""

from __future__ import annotations

import csv
import io
import math
import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engines.data import checks
from engines.data.dataset import Dataset
from engines.data.files import (
    FEWEST,
    YOURS,
    encode_labels,
    reading,
    refuse_constant,
    regular_size,
    size_text,
    split,
    to_single,
)
from engines.errors import DataError

LARGEST_TEXT = 200 * 2**20
"""Bytes of text that are read; more belongs into an NPZ file."""

_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " "}

_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "save the table as CSV"),
    (b"PK\x05\x06", "an empty zip archive", "save the table as CSV"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\xfd7zXZ", "an xz archive", "unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", "save the table as CSV"),
    (b"%PDF", "a PDF document", "save the table as CSV"),
    (b"\x89PNG", "a picture", "open the folder that holds the pictures"),
    (b"\xff\xd8\xff", "a picture", "open the folder that holds the pictures"),
    (b"\x89HDF", "an HDF5 file", "save the arrays as NPZ"),
    (b"MATLAB 5.0", "a MATLAB file", "save the arrays as NPZ"),
    (b"SQLite format", "a database", "save the table as CSV"),
)


def _is_number(cell: str, decimal: str) -> bool:
    try:
        _parse(cell, decimal)
    except ValueError:
        return False
    return True


def _parse(cell: str, decimal: str) -> float:
    # float() would also take 1_000
    if "_" in cell:
        raise ValueError(cell)
    if decimal == "," and "." not in cell:
        cell = cell.replace(",", ".", 1)
    return float(cell)


def _read_text(path: Path) -> str:
    size = regular_size(path)
    if size > LARGEST_TEXT:
        raise DataError(
            f"{path} has {size_text(size)}, and at most {size_text(LARGEST_TEXT)} of text are read; take a "
            "sample of its rows, or save the numbers as NPZ."
        )
    with reading(path), path.open("rb") as file:
        # the file may have grown since its size was taken
        raw = file.read(LARGEST_TEXT + 1)
    for signature, what, advice in _SIGNATURES:
        if raw.startswith(signature):
            raise DataError(f"{path} is {what}, not a text table; {advice}.")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"{path} is text in UTF-16, but UTF-8 is read; save it again with the encoding UTF-8."
        )
    position = raw.find(b"\0")
    if position >= 0:
        line = raw.count(b"\n", 0, position) + 1
        raise DataError(
            f"{path} is not a text table, because line {line} holds a null byte; save the table as CSV, or "
            "the arrays as NPZ."
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: the byte 0x{raw[error.start]:02x} is not UTF-8, the encoding that is "
            "read; save the file again with the encoding UTF-8."
        ) from error


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is neither blank nor a comment; line breaks inside quotes are
    kept."""
    lines = io.StringIO(text, newline="")
    if delimiter == " ":
        for number, line in enumerate(lines, start=1):
            if (cells := line.split()) and not cells[0].startswith("#"):
                yield number, cells
        return
    reader = csv.reader(lines, delimiter=delimiter)
    start = 1
    for record in reader:
        cells = [cell.strip() for cell in record]
        if any(cells) and not cells[0].startswith("#"):
            yield start, cells
        elif len(cells) > 1 and not any(cells):
            yield start, cells  # ",,," is a row of empty cells, not a blank line
        start = reader.line_num + 1


def _guess_delimiter(text: str, decimal: str) -> str:
    """The delimiter that cuts the first lines into equally many cells, most of them numbers."""
    lines = [
        line for line in text[:65536].splitlines()[:50] if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(text) > 65536 and len(lines) > 1:
        lines.pop()  # may be cut
    sample = "\n".join(lines)
    best, best_score = ",", (0.0, 0.0)
    for delimiter in _DELIMITERS.values():
        if delimiter == decimal:
            continue
        try:
            rows = [cells for _, cells in _records(sample, delimiter)]
        except csv.Error:
            continue
        widths = [len(row) for row in rows]
        if not widths or max(widths) < 2:
            continue
        cells = [cell for row in rows for cell in row]
        numeric = sum(_is_number(cell, decimal) for cell in cells) / len(cells)
        agreement = widths.count(max(set(widths), key=widths.count)) / len(widths)
        if (numeric, agreement) > best_score:
            best, best_score = delimiter, (numeric, agreement)
    return best


def _delimiter(value: str | None, text: str, decimal: str) -> str:
    if value is None:
        return _guess_delimiter(text, decimal)
    chosen = _DELIMITERS.get(value, value)
    # the csv module takes none of these as a delimiter
    if (
        not isinstance(chosen, str)
        or len(chosen) != 1
        or chosen in '"\r\n\0'
        or chosen == decimal
        or ord(chosen) > 0xFFFF
    ):
        raise DataError(
            f"delimiter is {value!r}; give one character other than a quote or the decimal "
            f"{'comma' if decimal == ',' else 'point'}, or one of {', '.join(_DELIMITERS)}."
        )
    return chosen


def _choose(
    columns: str | int | Sequence[str | int] | None, names: Sequence[str], path: Path, option: str
) -> list[int]:
    """Indices of chosen columns: names, or numbers from 1 as in the messages; None takes all."""
    if columns is None:
        return list(range(len(names)))
    if isinstance(columns, int):
        columns = [columns]
    elif isinstance(columns, str):
        columns = (
            [columns] if columns in names else [part.strip() for part in columns.split(",") if part.strip()]
        )
    chosen: list[int] = []
    for column in columns:
        if isinstance(column, str) and column in names:
            index = list(names).index(column)
        elif isinstance(column, (int, np.integer)) or (
            isinstance(column, str) and column.isascii() and column.isdigit()
        ):
            index = int(column) - 1
        else:
            index = -1
        if not 0 <= index < len(names):
            listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise DataError(
                f"{path} has no column {column!r}{checks.near_misses(str(column), names)}; set {option} to "
                f"names or numbers from 1 to {len(names)} (the columns are {listed})."
            )
        if index in chosen:
            raise DataError(f"{option} names column {column!r} of {path} twice; name it once.")
        chosen.append(index)
    if not chosen:
        raise DataError(f"{option} names no column of {path}; name at least one, or leave the option out.")
    return chosen


def _column_names(first: list[str]) -> list[str]:
    """Header cells as names that are all there and all different."""
    names: list[str] = []
    for position, cell in enumerate(first, start=1):
        name = " ".join(cell.split())[:60] or f"column {position}"
        names.append(f"{name} ({position})" if name in names else name)
    return names


def load_csv(
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    columns: str | int | Sequence[str | int] | None = None,
    label_column: str | int | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    test_fraction: float = 0.1,
) -> Dataset:
    """Read a table of numbers in text.

    Blank lines and lines that begin with ``#`` are passed over. The first row is taken for a header when none
    of its cells is a number.

    Parameters
    ----------
    path : path
        At most `LARGEST_TEXT` bytes of UTF-8.
    seed : int
        Of the split into training and test rows.
    columns : names or numbers from 1, or None
        Which columns are the dimensions; one string may name several, "x, y" or "1,3". None takes all but the
        labels.
    label_column : name or number from 1, or None
        Column with class names; it may hold text.
    header : bool or None
        Whether the first row names the columns; None finds out.
    delimiter : str or None
        One character, or comma, semicolon, tab, bar, space (which stands for any white space); None finds
        out.
    decimal : {".", ","}
    test_fraction : float
        Share of the rows held out for testing, at least one row.

    Returns
    -------
    Dataset
        Points, float32.

    Raises
    ------
    DataError
        The file or an option cannot be used; the sentence names the line and the column.
    """
    path = Path(path)
    decimal = checks.choice("decimal", decimal, (".", ","))
    text = _read_text(path)
    separator = _delimiter(delimiter, text, decimal)
    names: list[str] = []
    header_line = 0
    width = 0
    wanted: list[int] = []
    label_index: int | None = None
    values = array("d")
    labels: list[str] = []
    first_number = 0
    rows = 0
    try:
        for line, cells in _records(text, separator):
            if not names:
                first_number, width = line, len(cells)
                is_header = not any(_is_number(cell, decimal) for cell in cells) if header is None else header
                names = _column_names(cells) if is_header else [f"column {i + 1}" for i in range(width)]
                if label_column is not None:
                    label_index = _choose([label_column], names, path, "label_column")[0]
                wanted = [
                    i
                    for i in _choose(columns, names, path, "columns")
                    if columns is not None or i != label_index
                ]
                if not wanted:
                    raise DataError(
                        f"{path} has no column beside the labels; give it at least one column of numbers."
                    )
                if is_header:
                    header_line = line
                    continue
            if len(cells) != width:
                raise DataError(
                    f"{path}, line {line}: {len(cells)} cell{'s' if len(cells) != 1 else ''} where line "
                    f"{first_number} has {width}; correct the line, or name the delimiter if it is not "
                    f"{_delimiter_name(separator)}."
                )
            for index in wanted:
                values.append(_number_in(cells[index], decimal, path, line, index, names, header_line))
            if label_index is not None:
                labels.append(cells[label_index])
            rows += 1
    except csv.Error as error:
        raise DataError(
            f"{path} cannot be cut into cells ({error}), often because of a quote that is not closed; "
            "correct the quotes."
        ) from error
    if not names:
        raise DataError(f"{path} is empty; it needs at least {FEWEST} rows of numbers.")
    if rows < FEWEST:
        has = (
            f"only {rows} row{'s' if rows > 1 else ''} of numbers"
            if rows
            else "a header but no rows of numbers"
        )
        raise DataError(f"{path} has {has}; it needs at least {FEWEST}, and some hundreds to learn from.")
    kept = [names[index] for index in wanted]
    table = np.frombuffer(values, dtype=np.float64).reshape(rows, len(wanted))
    points, notes = to_single(table, kept, path)
    refuse_constant(points, kept, path, "every row")
    train, test = split(rows, test_fraction, seed)
    refuse_constant(points[train], kept, path, "all rows but those held out")
    class_names, codes = encode_labels(labels, path) if label_index is not None else ((), None)
    return Dataset(
        name=path.stem or "csv",
        title=path.name,
        train=points[train],
        test=points[test],
        kind="points",
        train_labels=None if codes is None else codes[train],
        test_labels=None if codes is None else codes[test],
        class_names=class_names,
        columns=tuple(kept),
        licence=YOURS,
        source=str(path),
        notes=notes,
    )


def _delimiter_name(delimiter: str) -> str:
    return next(
        (f"the {name}" for name, character in _DELIMITERS.items() if character == delimiter), repr(delimiter)
    )


def _number_in(
    cell: str, decimal: str, path: Path, line: int, index: int, names: Sequence[str], header_line: int
) -> float:
    """The finite number in a cell, or a sentence that says where it stands."""
    try:
        value = _parse(cell, decimal)
    except ValueError:
        value = None
    if value is not None and math.isfinite(value):
        return value
    named = f' ("{names[index]}")' if header_line else ""
    where = f"{path}, line {line}, column {index + 1}{named}:"
    if not cell:
        raise DataError(
            f"{where} the cell is empty; fill it in, delete the line, or choose columns without gaps."
        )
    if value is not None:
        what = "is not a number (NaN)" if math.isnan(value) else "is infinite"
        raise DataError(
            f"{where} {checks.shorten(cell)} {what}; fill it in, delete the line, or choose other columns."
        )
    if decimal == "." and "," in cell and _is_number(cell, ","):
        raise DataError(
            f'{where} {checks.shorten(cell)} has a decimal comma; write points, or set decimal to ",".'
        )
    raise DataError(
        f"{where} {checks.shorten(cell)} is not a number; correct it, choose the columns that hold numbers, "
        "or name it as label_column."
    )
