"""Icons, design tokens, style sheet and the papers' texts; read through importlib.resources, any thread.

What lies here
--------------
tokens.toml, style.qss
    The look: sizes and colours, and the style sheet that is filled with them (`widgets.theme`).
icons/papers/ID.svg, icons/ui/NAME.svg, icons/lab.svg
    One set: a box of 24 x 24, strokes of 1.5 in ``currentColor`` with round ends (`widgets.icons`); lab.svg
    has colours of its own.
papers/ID.md
    One text page per paper, with its equations as ``$$...$$`` in matplotlib's mathtext and live numbers as
    ``{{scalar|format}}``.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable


def path(name: str) -> Traversable:
    """The asset at ``name``, for instance ``"icons/ui/play.svg"``; need not be a file on disk.

    Raises
    ------
    FileNotFoundError
        If there is no such asset.
    """
    asset = resources.files(__name__)
    for part in name.split("/"):
        asset = asset / part
    if ".." in name or not (asset.is_file() or asset.is_dir()):
        raise FileNotFoundError(f"There is no asset {name!r}.")
    return asset


@cache
def read_text(name: str) -> str:
    """The text of the asset at ``name``, decoded as UTF-8; read once.

    Raises
    ------
    FileNotFoundError
        If there is no such asset.
    """
    return path(name).read_text(encoding="utf-8")
