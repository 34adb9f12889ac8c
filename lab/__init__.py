"""The application: window, panels, runs, export and command line; importing it loads neither Qt nor torch."""

from __future__ import annotations

import os

# Nobody's plug-ins change our settings, and pydantic reads the metadata of every installed package to look for them.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

__version__ = "0.1.0"
