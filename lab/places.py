"""Where runs, data and preferences live on this machine; any thread, imports nothing heavy.

``PAPERLAB_HOME`` moves all of it into one folder: for tests, for portable use, for a second identity.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP = "paperlab"


def _home(kind: str) -> Path | None:
    home = os.environ.get("PAPERLAB_HOME")
    return Path(home).expanduser() / kind if home else None


def config_folder() -> Path:
    """Folder of the preferences and of the remembered window."""
    return _home("config") or Path(platformdirs.user_config_dir(APP, appauthor=False))


def data_folder() -> Path:
    """Folder of downloaded data sets."""
    from engines.data.fetched import data_folder as engines_data_folder

    return engines_data_folder()


def runs_folder() -> Path:
    """Folder in which the window keeps its runs, one folder each."""
    return _home("runs") or Path(platformdirs.user_data_dir(APP, appauthor=False)) / "runs"


def log_folder() -> Path:
    """Folder of the application's own log."""
    return _home("logs") or Path(platformdirs.user_log_dir(APP, appauthor=False))
