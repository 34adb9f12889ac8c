"""Images with captions: drawn scenes, and folders such as Flickr8k; safe on any thread or process.

Captions are tuples of words. `words` makes them of text: lower case, without punctuation.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from engines.data import checks, image_folder, scenes
from engines.data.dataset import arrays_digest
from engines.data.files import LARGEST_ARRAYS, YOURS, reading, regular_size, size_text, split
from engines.data.scenes import Scene, Tag
from engines.data.tables import LARGEST_TEXT
from engines.errors import DataError

Caption = tuple[str, ...]
"""The words of one caption."""

WordMasks = Callable[[int, int, int], "tuple[np.ndarray, str] | None"]
"""(index of the image, of its caption, of the word) -> where in the image is what the word names, (H, W) bool, and the
kind of word: "object", "colour", "size", "number" or "relation". None for words that name nothing, and for the place
after the last word."""

LONGEST = 100
"""Words of a caption of the user's; longer ones are left out, as in the authors' code."""


class Images(Protocol):
    """What an array (N, H, W, 3) of uint8 can do, and what is read from the disk one at a time, too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class CaptionSet:
    """Images, several captions of each, and how they are split.

    Attributes
    ----------
    name, title : str
        The id ("scenes") and what a person reads.
    images : ndarray (N, H, W, 3) of uint8, or `Pictures`
    captions : tuple of N tuples of captions, each a tuple of lower-case words
    splits : dict of str to ndarray of int64
        Indices of images: "train" and "valid"; for drawn scenes "held_out", whose pairs of colour and shape are in no
        other split; for folders with a list of test images "test". An image may be in none.
    masks : callable or None
        See `WordMasks`; None where it is not known what a word names.
    licence, source : str
        Terms of use, and where the images come from.
    notes : tuple of str
        Sentences for the user: what was skipped or changed.
    images_digest : str
        SHA-256 of the images in their order and at their size. Computed when left empty.
    digest : str
        SHA-256 of images, captions and splits, for the run folder. Computed when left empty.
    """

    name: str
    title: str
    images: Images
    captions: tuple[tuple[Caption, ...], ...]
    splits: dict[str, np.ndarray]
    masks: WordMasks | None = field(default=None, repr=False)
    licence: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    images_digest: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 4 or shape[3] != 3:
            raise ValueError(f"images of {self.name} must have the shape (N, H, W, 3), not {shape}")
        if isinstance(self.images, np.ndarray) and self.images.dtype != np.uint8:
            raise ValueError(f"images of {self.name} must be uint8, not {self.images.dtype}")
        if len(self.captions) != len(self.images):
            raise ValueError(
                f"{self.name} has {len(self.images)} images but captions of {len(self.captions)}"
            )
        if not all(captions and all(captions) for captions in self.captions):
            raise ValueError(f"an image of {self.name} has no caption, or one without words")
        for split_name, indices in self.splits.items():
            if indices.ndim != 1 or not np.all((indices >= 0) & (indices < len(self.images))):
                raise ValueError(f'the split "{split_name}" of {self.name} names images that do not exist')
        if not self.images_digest:
            pixels = (
                self.images
                if isinstance(self.images, np.ndarray)
                else np.stack([self.images[i] for i in range(len(self.images))])
            )
            object.__setattr__(self, "images_digest", arrays_digest(pixels))
        if not self.digest:
            object.__setattr__(self, "digest", self._whole_digest())

    def _whole_digest(self) -> str:
        digest = hashlib.sha256(self.images_digest.encode())
        for captions in self.captions:
            digest.update(("\n".join(" ".join(caption) for caption in captions) + "\n\n").encode())
        for name in sorted(self.splits):
            digest.update(f"{name};{arrays_digest(self.splits[name])};".encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    def image(self, index: int) -> np.ndarray:
        """One image, (H, W, 3) uint8.

        Raises
        ------
        DataError
            Its file has become unreadable.
        """
        return np.asarray(self.images[index])

    def vocabulary(self, max_size: int) -> tuple[str, ...]:
        """The most frequent words of the training captions, at most ``max_size``; those of one frequency by the alphabet.

        Special words, such as the end of a caption, are not among them.
        """
        counts = Counter(
            word for index in self.splits["train"] for caption in self.captions[index] for word in caption
        )
        return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:max_size])


def words(text: str) -> Caption:
    """The words of a caption: lower case, punctuation dropped.

    Letters, their marks and digits stay; apostrophes vanish ("dog's" is "dogs"); everything else, hyphens among it,
    separates words. Nothing else is done: no stemming, no correction.
    """
    kept = []
    for character in unicodedata.normalize("NFC", text).lower():
        if character.isalnum() or unicodedata.category(character)[0] == "M":
            kept.append(character)
        elif character not in "'’":
            kept.append(" ")
    return tuple("".join(kept).split())


# --- drawn scenes  ----------


@dataclass(frozen=True, eq=False)
class SceneMasks:
    """Where in drawn scenes is what a word names; see `WordMasks`.

    Attributes
    ----------
    scenes : tuple of Scene
    tags : tuple per image of tuples per caption of one tag per word
    size : int
        Pixels of an edge.
    """

    scenes: tuple[Scene, ...]
    tags: tuple[tuple[tuple[Tag, ...], ...], ...] = field(repr=False)
    size: int

    def __call__(self, image: int, caption: int, word: int) -> tuple[np.ndarray, str] | None:
        """The mask (size, size) and the kind of a word, or None."""
        if word < 0:
            raise IndexError(f"there is no word {word}")
        tags = self.tags[image][caption]
        tag = tags[word] if word < len(tags) else None
        if tag is None:
            return None
        named, kind = tag
        groups = self.scenes[image].groups
        return np.logical_or.reduce([scenes.mask(groups[index], self.size) for index in named]), kind


def drawn_scenes(
    *, seed: int = 0, train_size: int = 4000, valid_size: int = 400, held_out_size: int = 400, size: int = 64
) -> CaptionSet:
    """Pictures of coloured shapes with five captions each, drawn anew for each seed.

    A scene holds one to four like objects, or two groups of them of which one is left of, right of, above, below or
    inside the other. Scenes of the split "held_out" have a pair of colour and shape that is in no other split
    (`scenes.HELD_OUT`), though both are there in other company: a model that names both has seen, not remembered. Each
    split has its own random numbers, so a smaller one is the beginning of a larger one.

    Parameters
    ----------
    seed : int
    train_size, valid_size, held_out_size : int
        Number of scenes.
    size : int
        Pixels of an edge, 48 to 512.

    Returns
    -------
    CaptionSet
        Named "scenes", with masks for all words that name something.

    Raises
    ------
    DataError
        An option is out of range, or the pictures would take too much memory.
    """
    seed = checks.integer("seed", seed, 0, 2**63 - 1)
    size = checks.integer("size", size, 48, 512)
    counts = {
        "train": checks.integer("train_size", train_size, 1, 10_000_000),
        "valid": checks.integer("valid_size", valid_size, 1, 10_000_000),
        "held_out": checks.integer("held_out_size", held_out_size, 1, 10_000_000),
    }
    total = sum(counts.values())
    if total * size * size * 3 > LARGEST_ARRAYS:
        raise DataError(
            f"{total:,} pictures of {size} x {size} pixels would take {size_text(total * size * size * 3)}, and at most "
            f"{size_text(LARGEST_ARRAYS)} are used; make fewer or smaller ones."
        )
    images = np.empty((total, size, size, 3), np.uint8)
    made: list[Scene] = []
    captions: list[tuple[Caption, ...]] = []
    tags: list[tuple[tuple[Tag, ...], ...]] = []
    splits = {}
    for index, (name, count) in enumerate(counts.items()):
        draws = scenes.uniforms(np.random.default_rng([seed, index]))
        splits[name] = np.arange(len(made), len(made) + count)
        for _ in range(count):
            scene = scenes.make_scene(draws, name == "held_out")
            said = scenes.describe(scene, draws)
            images[len(made)] = scenes.draw(scene, size)
            made.append(scene)
            captions.append(tuple(tuple(word for word, _ in caption) for caption in said))
            tags.append(tuple(tuple(tag for _, tag in caption) for caption in said))
    return CaptionSet(
        name="scenes",
        title=f"Drawn scenes ({counts['train']:,})",
        images=images,
        captions=tuple(captions),
        splits=splits,
        masks=SceneMasks(tuple(made), tuple(tags), size),
        licence="Generated, no licence needed",
        source="Drawn by this program",
    )


# --- folders  ----------


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures on the disk, read one at a time and squashed to a square.

    Attributes
    ----------
    paths : tuple of Path
    size : int
        Pixels of an edge.
    """

    paths: tuple[Path, ...] = field(repr=False)
    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, size, size, 3)."""
        return len(self.paths), self.size, self.size, 3

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> np.ndarray:
        path = self.paths[index]
        try:
            return _decode(path, self.size)
        except image_folder.Unusable as reason:
            raise DataError(
                f"The picture {path} cannot be read any more ({reason}); put it back, or delete its lines from the "
                "captions file."
            ) from reason


def _decode(path: Path, size: int) -> np.ndarray:
    """Pixels (size, size, 3) uint8 of a whole picture, whatever its shape was."""
    from PIL import Image

    pixels = image_folder.decode(path, "RGB", None).transpose(1, 2, 0)
    if pixels.shape[:2] == (size, size):
        return np.ascontiguousarray(pixels)
    squashed = Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), Image.Resampling.BICUBIC)
    return np.array(squashed)


_CAPTION_FILES = ("captions.txt", "captions.csv", "captions.tsv", "flickr8k.token.txt")
_FORMS = '"image,caption" with these names in its first line, or "name.jpg#0", a tab and the caption'
_IMAGE_HEADS = {"image", "image_name", "filename", "file_name", "file", "name"}
_CAPTION_HEADS = {"caption", "comment", "text", "description", "sentence"}
_LISTS = re.compile(r"(?:^|[._-])(train|dev|val|valid|validation|test)(?:[._-]?images)?$")
_PART = 32 * 1024


def caption_folder(path: str | os.PathLike[str], *, seed: int = 0, size: int = 224) -> CaptionSet:
    """Read a folder of pictures with a captions file, such as Flickr8k.

    The captions file has either the columns image and caption, named in its first line, or lines of the form
    ``name.jpg#0<TAB>caption``; UTF-8. Pictures (PNG, JPEG, BMP, WebP) lie in the folder or below it. They are decoded
    only when they are asked for. Lists beside the captions file, one name a line, give the splits:
    ``Flickr_8k.trainImages.txt``, ``Flickr_8k.devImages.txt`` and ``Flickr_8k.testImages.txt``, or ``train.txt``,
    ``valid.txt`` and ``test.txt``. Without them a tenth of the pictures is drawn by the seed for "valid". Pictures and
    lines that cannot be used are passed over and counted in the notes.

    Parameters
    ----------
    path : path
        The folder, or the captions file in it.
    seed : int
        Of the split.
    size : int
        Pictures are squashed to this many pixels each way, as the encoders take squares.

    Returns
    -------
    CaptionSet
        Without masks.

    Raises
    ------
    DataError
        The folder, its captions file or an option cannot be used.
    """
    seed = checks.integer("seed", seed, 0, 2**63 - 1)
    size = checks.integer("size", size, 8, 1024)
    folder, file = _captions_file(Path(path))
    notes: list[str] = []
    said = _read_captions(file, notes)
    found = image_folder.list_pictures(folder)
    by_name: dict[str, Path] = {}
    for item in found:
        by_name.setdefault(item.name, item)
    by_name |= {item.relative_to(folder).as_posix(): item for item in found}

    paths: dict[Path, tuple[str, list[Caption]]] = {}
    missing: list[str] = []
    skipped: list[str] = []
    prints: list[bytes] = []
    for name, captions in said.items():
        if name not in by_name:
            missing.append(name)
            continue
        item = by_name[name]
        if item in paths:  # named with its folder and without
            paths[item][1].extend(captions)
            continue
        try:
            prints.append(_fingerprint(item))
        except image_folder.Unusable as reason:
            skipped.append(f"{name} ({reason})")
            continue
        paths[item] = name, list(captions)
    if missing:
        notes.append(
            f"{len(missing):,} of {len(said):,} pictures of the captions file are not in the folder and were left out: "
            f"{_few(missing)}."
        )
    if skipped:
        notes.append(
            f"{len(skipped):,} of {len(said):,} pictures could not be read and were left out: {_few(skipped)}."
        )
    if len(paths) < 2:
        example = (skipped or [f"{name} (not in the folder)" for name in missing])[:1]
        cause = f" ({example[0]}, for one)" if example else ""
        raise DataError(
            f"{folder} holds {'one usable picture' if paths else 'no usable picture'} with a caption in {file.name}{cause}; "
            "put the pictures that the captions file names into the folder, at least two."
        )
    silent = len(found) - len(paths) - len(skipped)
    if silent > 0:
        notes.append(f"{silent:,} pictures in the folder have no caption and were left out.")
    indices = {item: index for index, item in enumerate(paths)}
    splits = _splits(
        folder, file, {name: indices.get(item) for name, item in by_name.items()}, len(paths), seed, notes
    )
    digest = hashlib.sha256(f"{size};".encode() + b"".join(prints)).hexdigest()
    return CaptionSet(
        name=folder.resolve().name or "captions",
        title=f"{folder.resolve().name or folder} ({len(paths):,} pictures)",
        images=Pictures(tuple(paths), size),
        captions=tuple(tuple(captions) for _, captions in paths.values()),
        splits=splits,
        licence=YOURS,
        source=str(folder),
        notes=tuple(notes),
        images_digest=digest,
    )


def _few(names: Sequence[str], count: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - count:,} more" if len(names) > count else ""
    return ", ".join(checks.shorten(name, 80)[1:-1] for name in names[:count]) + more


def _captions_file(path: Path) -> tuple[Path, Path]:
    """The folder of the pictures, and the captions file in it or in a folder in it."""
    with reading(path):
        if stat.S_ISREG(path.stat().st_mode):
            if path.suffix.lower() in (".zip", ".gz", ".tar", ".tgz", ".xz"):
                raise DataError(f"{path} is packed, and a folder is needed; unpack it and choose the folder.")
            return path.parent, path
        below = sorted(item for item in path.iterdir() if not item.name.startswith(".") and item.is_dir())
    # Flickr8k's own archives unpack to one folder of pictures and one of texts.
    for folder in (path, *below):
        texts = _texts(folder)
        usual = [item for item in texts if item.name.lower() in _CAPTION_FILES]
        others = [item for item in texts if not _LISTS.search(item.stem.lower())]
        found = next(
            (item for item in [*usual, *others] if item in usual or _looks_like_captions(item)), None
        )
        if found is not None:
            return path, found
    raise DataError(
        f"{path} holds no captions file; put one named captions.txt into it, with lines of the form {_FORMS}."
    )


def _texts(folder: Path) -> list[Path]:
    with reading(folder):
        return sorted(
            item
            for item in folder.iterdir()
            if item.suffix.lower() in (".txt", ".csv", ".tsv", ".token")
            and not item.name.startswith(".")
            and item.is_file()
        )


def _looks_like_captions(file: Path) -> bool:
    with reading(file), file.open("rb") as stream:
        head = stream.read(4096).decode("utf-8", "replace").removeprefix("\ufeff")
    first = next((line for line in head.splitlines() if line.strip()), "")
    return _columns(first) is not None or _is_numbered(first)


def _is_numbered(line: str) -> bool:
    """Whether a line has the form ``name.jpg#0<TAB>caption``."""
    return re.match(r"[^\t]+#\d+\t", line) is not None


def _columns(header: str) -> tuple[str, int, int, int] | None:
    """Delimiter, columns of image and caption, and number of columns, if the line names them."""
    for delimiter in (",", "\t", ";", "|"):
        cells = [cell.strip().lower() for cell in _cells(header, delimiter)]
        image = next((i for i, cell in enumerate(cells) if cell in _IMAGE_HEADS), None)
        caption = next((i for i, cell in enumerate(cells) if cell in _CAPTION_HEADS), None)
        if image is not None and caption is not None:
            return delimiter, image, caption, len(cells)
    return None


def _cells(line: str, delimiter: str) -> list[str]:
    # Each line by itself, so that a quotation mark that is never closed does not swallow those after it.
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)


def _rows(lines: Iterable[str], columns: tuple[str, int, int, int]) -> Iterator[tuple[str, str] | None]:
    """Name and caption of each line; None for one that has too few cells."""
    delimiter, image, caption, count = columns
    for line in lines:
        cells = _cells(line, delimiter)
        if len(cells) < count:
            yield None
            continue
        # A caption in the last column may hold the delimiter without being quoted.
        text = delimiter.join(cells[caption:]) if caption == count - 1 else cells[caption]
        yield cells[image], text


def _numbered_rows(lines: Iterable[str]) -> Iterator[tuple[str, str] | None]:
    for line in lines:
        name, tab, text = line.partition("\t")
        name, _, number = name.rpartition("#")
        yield (name, text) if tab and name and number.strip().isdigit() else None


def _read_text(file: Path) -> str:
    size = regular_size(file)
    if size > LARGEST_TEXT:
        raise DataError(
            f"{file} has {size_text(size)}, and at most {size_text(LARGEST_TEXT)} of captions are read; keep a part of it."
        )
    with reading(file), file.open("rb") as stream:
        raw = stream.read(LARGEST_TEXT)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"{file} is text in UTF-16, but UTF-8 is read; save it again with the encoding UTF-8."
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file}, line {line}: the byte 0x{raw[error.start]:02x} is not UTF-8, the encoding that is read; save the file "
            "again with the encoding UTF-8."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{file} is not a text, because line {line} holds a null byte; choose another file.")
    return text


def _read_captions(file: Path, notes: list[str]) -> dict[str, list[Caption]]:
    """Captions by the name of the picture, in the order of the file."""
    text = _read_text(file)
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{file} is empty; it must hold lines of the form {_FORMS}.")
    columns = _columns(lines[0])
    if columns is not None:
        rows = _rows(lines[1:], columns)
    elif _is_numbered(lines[0]):
        rows = _numbered_rows(lines)
    else:
        raise DataError(
            f"{file} is no captions file, as its first line is {checks.shorten(lines[0])}; its lines must have the form "
            f"{_FORMS}."
        )
    said: dict[str, list[Caption]] = {}
    malformed, empty, long = 0, 0, 0
    for row in rows:
        name = row[0].strip() if row else ""
        if row is None or not name:
            malformed += 1
            continue
        # The published Flickr8k file has a few names such as "x.jpg.1"; they fall to the pictures that are missing.
        caption = words(row[1])
        if not caption:
            empty += 1
        elif len(caption) > LONGEST:
            long += 1
        else:
            said.setdefault(name, []).append(caption)
    for count, what in (
        (malformed, "not a name and a caption"),
        (empty, "a caption without words"),
        (long, f"a caption of more than {LONGEST} words"),
    ):
        if count:
            verb = "line was" if count == 1 else "lines were"
            notes.append(f"{count:,} {verb} passed over, for being {what}.")
    if not said:
        raise DataError(f"{file} holds no caption with words; its lines must have the form {_FORMS}.")
    return said


def _fingerprint(path: Path) -> bytes:
    """SHA-256 of a picture's file: of all of it, or of its length, beginning and end if it is large.

    Whether a file is whole is seen from its end; only where that tells nothing is it decoded.
    """
    with image_folder.open_picture(path) as picture:
        kind = picture.format
    try:
        with path.open("rb") as stream:
            content = stream.read(_PART)
            length = stream.seek(0, os.SEEK_END)
            stream.seek(max(len(content), length - _PART))
            content += stream.read(_PART)
    except OSError as error:
        raise image_folder.Unusable("not readable") from error
    ending = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(kind or "")
    if ending is None or ending not in content[-64:]:
        image_folder.decode(path, "RGB", None)
    return hashlib.sha256(f"{length};".encode() + content).digest()


def _splits(
    folder: Path, captions: Path, indices: Mapping[str, int | None], count: int, seed: int, notes: list[str]
) -> dict[str, np.ndarray]:
    """Indices of the pictures of each split, from lists in the folder where there are any."""
    listed: dict[str, list[int]] = {}
    for file in _texts(captions.parent):
        match = _LISTS.search(file.stem.lower())
        if match is None or file.suffix.lower() != ".txt" or file == captions:
            continue
        name = match[1] if match[1] in ("train", "test") else "valid"
        entries = [line.strip() for line in _read_text(file).splitlines() if line.strip()]
        known = [index for entry in entries if (index := indices.get(entry)) is not None]
        if len(known) < len(entries):
            notes.append(
                f"{len(entries) - len(known):,} of {len(entries):,} names in {file.name} have no usable picture with a "
                "caption."
            )
        listed.setdefault(name, []).extend(known)
    parts = {name: set(known) for name, known in listed.items() if known}
    if "train" in listed and not parts.get("train"):
        raise DataError(
            f"The list of training pictures in {folder} names none that is there with a caption; correct the list or "
            "take it away."
        )
    # A picture in two lists counts where it is not trained on.
    for name in ("valid", "test"):
        shared = parts.get("train", set()) & parts.get(name, set())
        if shared:
            parts["train"] -= shared
            notes.append(
                f"{len(shared):,} pictures in the lists of both train and {name} are not trained on."
            )
    everything = set(range(count))
    if "train" not in parts:
        parts["train"] = everything - parts.get("valid", set()) - parts.get("test", set())
    if "valid" not in parts:
        rest = sorted(everything - parts["train"] - parts.get("test", set()))
        if "train" in listed and rest:
            parts["valid"] = set(rest)
        elif len(parts["train"]) > 1:
            pool = np.array(sorted(parts["train"]))
            kept, drawn = split(len(pool), 0.1, seed)
            parts["train"], parts["valid"] = set(pool[kept].tolist()), set(pool[drawn].tolist())
    for name in ("train", "valid"):
        if not parts.get(name):
            raise DataError(
                f"The lists in {folder} leave no picture for the split {name}; correct them or take them away."
            )
    unlisted = len(everything - set().union(*parts.values()))
    if unlisted:
        notes.append(f"{unlisted:,} pictures with captions are in no list and are not used.")
    return {name: np.array(sorted(part), dtype=np.int64) for name, part in parts.items()}
