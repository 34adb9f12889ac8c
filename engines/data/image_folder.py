"""The user's folders of pictures; safe on any thread or process."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engines.data import checks
from engines.data.dataset import Dataset
from engines.data.files import (
    LARGEST_ARRAYS,
    YOURS,
    encode_labels,
    reading,
    size_text,
    split,
)
from engines.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

LARGEST_PICTURE = 50_000_000
"""Pixels of one picture; a file that declares more is taken for a decompression bomb."""

_LARGEST_TREE = 2_000_000

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


class Unusable(Exception):
    """Why one picture is passed over."""


def open_picture(path: Path) -> Image.Image:
    """Header of a picture; its pixels are not decoded yet.

    Raises
    ------
    Unusable
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            if not path.is_file():
                raise Unusable("not a regular file")
            picture = Image.open(path, formats=("PNG", "JPEG", "BMP", "WEBP"))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise Unusable("declares more pixels than are opened") from error
        except Unusable:
            raise
        # Pillow's readers raise many unrelated types for damaged files
        except Exception as error:
            raise Unusable("not a readable picture") from error
    if picture.width * picture.height > LARGEST_PICTURE:
        size = f"{picture.width} x {picture.height}"
        picture.close()
        raise Unusable(f"declares {size} pixels, more than are opened")
    return picture


def decode(path: Path, mode: str, size: tuple[int, int] | None) -> np.ndarray:
    """Pixels of one picture as (C, H, W) uint8; transparent parts on white, sixteen bits reduced to eight.

    Parameters
    ----------
    path : Path
    mode : {"RGB", "L"}
    size : (height, width) or None
        Cut around its centre and scaled to this; None keeps its own.

    Raises
    ------
    Unusable
    """
    from PIL import Image, ImageOps

    with open_picture(path) as opened:
        try:
            picture: Image.Image = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):
                picture = Image.fromarray(
                    (np.asarray(picture, dtype=np.uint32) >> 8).clip(0, 255).astype(np.uint8)
                )
            if picture.has_transparency_data:
                coloured = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
            picture = picture.convert(mode)
            if size is not None and picture.size != (size[1], size[0]):
                picture = ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.LANCZOS)
            pixels = np.asarray(picture, dtype=np.uint8)
        except Exception as error:
            raise Unusable("damaged") from error
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def list_pictures(folder: Path) -> list[Path]:
    """Pictures in the folder and below it, in the order of their names; hidden ones are passed over.

    Raises
    ------
    DataError
        It cannot be read, or holds too many files.
    """
    found: list[Path] = []
    seen = 0
    with reading(folder):
        for parent, folders, files in os.walk(folder):
            seen += len(files) + len(folders)
            if seen > _LARGEST_TREE:
                raise DataError(
                    f"{folder} holds more than {_LARGEST_TREE:,} files; choose the folder that holds the "
                    "pictures alone."
                )
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [
                Path(parent, f)
                for f in sorted(files)
                if f.lower().endswith(IMAGE_SUFFIXES) and not f.startswith(".")
            ]
    return found


def _picture_size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, (int, np.integer)) else tuple(size)
    if len(pair) != 2:
        raise DataError(f"size is {size!r}; give one number of pixels, or (height, width).")
    return checks.integer("size", pair[0], 1, 4096), checks.integer("size", pair[1], 1, 4096)


def load_images(
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    size: int | Sequence[int] | None = None,
    grey: bool = False,
    test_fraction: float = 0.1,
    max_images: int = 100_000,
) -> Dataset:
    """Read a folder of PNG, JPEG, BMP and WebP pictures.

    If all pictures lie in subfolders, the names of the subfolders become the classes. Pictures that cannot be
    read are passed over and named in the notes.

    Parameters
    ----------
    path : path
    seed : int
        Of the split.
    size : int, (height, width), or None
        Pictures are cut to this shape around their centre and scaled. None needs pictures of one size.
    grey : bool
        Whether to take the brightness alone; otherwise there are three channels (one, if all pictures are
        grey).
    test_fraction : float
    max_images : int
        Pictures beyond this number are left out, with a note.

    Raises
    ------
    DataError
        The folder or an option cannot be used.
    """
    folder = Path(path)
    with reading(folder):
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise DataError(
                f"{folder} is a file where a folder of pictures is needed; choose the folder that holds it."
            )
    target = _picture_size(size)
    limit = checks.integer("max_images", max_images, 2, 10_000_000)
    paths = list_pictures(folder)
    if not paths:
        raise DataError(f"{folder} holds no pictures; put PNG, JPEG, BMP or WebP files into it.")
    notes = []
    if len(paths) > limit:
        notes.append(f"Only the first {limit:,} of {len(paths):,} pictures were read.")
        paths = paths[:limit]

    usable: list[Path] = []
    skipped: list[str] = []
    sizes: dict[tuple[int, int], Path] = {}
    coloured = False
    for item in paths:
        try:
            with open_picture(item) as picture:
                # a camera may store a picture lying on its side
                turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                shape = (picture.width, picture.height) if turned else (picture.height, picture.width)
                coloured |= picture.mode not in ("1", "L", "LA") and not picture.mode.startswith("I")
        except Unusable as reason:
            skipped.append(f"{item.relative_to(folder)} ({reason})")
            continue
        # the tags of a damaged picture raise whatever they like
        except Exception:
            skipped.append(f"{item.relative_to(folder)} (damaged)")
            continue
        sizes.setdefault(shape, item)
        usable.append(item)
    if target is None and len(sizes) > 1:
        (first, first_path), (second, second_path) = list(sizes.items())[:2]
        raise DataError(
            f"The pictures in {folder} have different sizes ({first_path.name} has {first[1]} x {first[0]} "
            f"pixels, {second_path.name} {second[1]} x {second[0]}); set size to the one they shall have."
        )
    mode = "RGB" if coloured and not grey else "L"
    if usable:
        height, width = target or next(iter(sizes))
        needed = len(usable) * height * width * (3 if mode == "RGB" else 1)
        if needed > LARGEST_ARRAYS:
            raise DataError(
                f"The pictures in {folder} would take {size_text(needed)}, and at most "
                f"{size_text(LARGEST_ARRAYS)} are read; set a smaller size, or max_images."
            )

    pixels: list[np.ndarray] = []
    kept: list[Path] = []
    for item in usable:
        try:
            pixels.append(decode(item, mode, target))
            kept.append(item)
        except Unusable as reason:
            skipped.append(f"{item.relative_to(folder)} ({reason})")
    if skipped:
        named = ", ".join(skipped[:8]) + (f" and {len(skipped) - 8} more" if len(skipped) > 8 else "")
        notes.append(f"{len(skipped)} of {len(paths)} pictures could not be read and were left out: {named}.")
    if len(kept) < 2:
        bad = f" ({skipped[0]}, for one)" if skipped else ""
        raise DataError(
            f"{folder} holds {len(kept) or 'no'} readable picture{'' if len(kept) == 1 else 's'}{bad}; put "
            "at least two into it."
        )
    if target is not None and any(shape != target for shape in sizes):
        notes.append(f"Pictures were cut around their centre and scaled to {target[1]} x {target[0]} pixels.")
    images = np.stack(pixels)
    train, test = split(len(images), test_fraction, seed)
    parents = [item.relative_to(folder).parts[0] if item.parent != folder else "" for item in kept]
    class_names: tuple[str, ...] = ()
    codes = None
    if all(parents) and len(set(parents)) > 1:
        class_names, codes = encode_labels(parents, folder)
    return Dataset(
        name=folder.resolve().name or "images",
        title=f"{folder.resolve().name or folder} ({len(images):,} pictures)",
        train=images[train],
        test=images[test],
        kind="images",
        train_labels=None if codes is None else codes[train],
        test_labels=None if codes is None else codes[test],
        class_names=class_names,
        levels=256,
        licence=YOURS,
        source=str(folder),
        notes=tuple(notes),
    )
