"""What the window remembers between starts: one JSON file; read and written on the GUI thread, Qt-free.

A file that cannot be read is set aside under another name and everything starts from its defaults: a damaged preference
must never keep the lab from opening.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
from pathlib import Path
from typing import Any

from lab import places
from lab.runs.folder import write_atomically

logger = logging.getLogger(__name__)

FILE = "window.json"

DEFAULTS: dict[str, Any] = {
    "theme": "system",
    "where": "process",
    "device": "auto",
    "paper": "diffusion",
    "geometry": "",
    "narrow_list": None,
    "recent_commands": [],
    "export_folder": "",
    "export": {},
    "keyframe_space": 512 * 2**20,
    "told_crashes": [],
    "papers": {},
}


CHOICES: dict[str, tuple[Any, ...]] = {
    "theme": ("system", "light", "dark"),
    "where": ("process", "thread"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "narrow_list": (None, True, False),
}
"""What these may be; anything else is from another version or another hand."""


class Preferences:
    """The remembered values; `get` and `set` by name, `paper` for what is kept per paper.

    Parameters
    ----------
    path : Path, optional
        The file; in the user's configuration folder if not given.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or places.config_folder() / FILE
        self._values: dict[str, Any] = copy.deepcopy(DEFAULTS)
        self.complaint = ""
        self._read()

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("not a table")
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:
            aside = self.path.with_suffix(".damaged.json")
            with contextlib.suppress(OSError):
                os.replace(self.path, aside)
            why = f"The window's settings could not be read ({error})"
            self.complaint = f"{why}: it starts afresh, and the old file is kept as {aside}."
            return
        for name, default in DEFAULTS.items():
            value = content.get(name, default)
            fits = value in CHOICES[name] if name in CHOICES else isinstance(value, type(default))
            if fits:
                self._values[name] = value

    def get(self, name: str) -> Any:
        """A remembered value, or its default."""
        return self._values[name]

    def set(self, name: str, value: Any) -> None:
        """Remember a value; `save` writes it."""
        if name not in DEFAULTS:
            raise KeyError(name)
        self._values[name] = value

    def paper(self, key: str) -> dict[str, Any]:
        """What is remembered of one paper; changes to the dict are kept."""
        entry = self._values["papers"].setdefault(key, {})
        if not isinstance(entry, dict):
            entry = self._values["papers"][key] = {}
        return entry

    def save(self) -> None:
        """Write the file; a disk that refuses is logged and costs only the memory of the window."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps(self._values, indent=1).encode())
        except OSError:
            logger.exception("the window's settings cannot be written")
