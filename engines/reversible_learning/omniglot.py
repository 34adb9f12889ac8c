"""Omniglot's alphabets as drawings of 28x28, from the folder of data sets; plain numpy, safe on any thread or process.

Lake, Salakhutdinov and Tenenbaum 2015; MIT licence. Read are the published archives ``images_background*.zip`` and
``images_evaluation.zip``, or the folders that are in them, in a folder ``omniglot``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from engines.data.fetched import search_folders
from engines.errors import DataError

SIDE = 28
LARGEST_FILE = 100_000
"""Bytes of one drawing; published ones take some hundreds."""

MOST_FILES = 100_000


@dataclass(frozen=True, eq=False)
class Alphabet:
    """One script.

    Attributes
    ----------
    name : str
    drawings : array (characters, 20, 28, 28) of uint8
        Ink is 255.
    """

    name: str
    drawings: np.ndarray


_Read = Callable[[], bytes]


def load(count: int, most: int = 55) -> list[Alphabet]:
    """The first alphabets, in the order of their names.

    Parameters
    ----------
    count : int
        How many.
    most : int
        Characters of an alphabet at most; larger ones are passed over.

    Raises
    ------
    DataError
        They are not on this machine, or are damaged.
    """
    found: dict[str, dict[str, list[tuple[str, _Read]]]] = {}
    tops = [top / "omniglot" for top in search_folders()]
    for top in tops:
        for name, read in _files(top):
            parts = name.split("/")
            if len(parts) >= 3 and parts[-1].endswith(".png") and not name.startswith("__"):
                alphabet, character, drawing = parts[-3:]
                drawings = found.setdefault(alphabet, {}).setdefault(character, [])
                if all(drawing != other for other, _ in drawings):
                    drawings.append((drawing, read))
        if found:
            break
    chosen = [name for name in sorted(found) if len(found[name]) <= most][:count]
    if len(chosen) < count:
        raise DataError(
            f"Omniglot has {len(chosen)} alphabets here, and {count} are needed: put images_background_small1.zip and "
            "images_background_small2.zip (from github.com/brendenlake/omniglot) into a folder omniglot in the folder that "
            "LAB_DATA names, or choose data=digits."
        )
    return [Alphabet(name, _stack(name, found[name])) for name in chosen]


def _files(top: Path) -> Iterator[tuple[str, _Read]]:
    if not top.is_dir():
        return
    seen = 0
    for path in sorted(top.glob("images_*")):
        if path.is_dir():
            for file in sorted(path.rglob("*.png")):
                seen += 1
                if seen > MOST_FILES:
                    return
                yield file.relative_to(top).as_posix(), partial(_read_file, file)
        elif path.suffix == ".zip":
            try:
                archive = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise DataError(f"{path} is no readable archive ({error}): download it again.") from None
            for info in archive.infolist()[:MOST_FILES]:
                if info.file_size <= LARGEST_FILE and not info.is_dir():
                    yield info.filename, partial(archive.read, info)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_FILE)


def _stack(name: str, characters: dict[str, list[tuple[str, _Read]]]) -> np.ndarray:
    fewest = min(len(drawings) for drawings in characters.values())
    if fewest < 15:
        raise DataError(
            f"A character of the alphabet {name} has only {fewest} drawings, and 15 are needed: unpack Omniglot again."
        )
    rows = [
        [_picture(read, f"{name}/{character}/{file}") for file, read in sorted(drawings)[:fewest]]
        for character, drawings in sorted(characters.items())
    ]
    return np.array(rows, dtype=np.uint8)


def _picture(read: _Read, name: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(read()), formats=("PNG",)) as picture:
            if max(picture.size) > 1024:
                raise ValueError("too large")
            small = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    # Pillow's readers raise many unrelated types for damaged files.
    except Exception as error:
        raise DataError(f"The drawing {name} cannot be read ({error}): unpack Omniglot again.") from None
    return 255 - np.asarray(small, dtype=np.uint8)
