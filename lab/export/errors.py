"""Errors of exporting that a person can act on; raised on any thread, imports nothing heavy."""

from __future__ import annotations

from engines.errors import InputError


class ExportError(InputError):
    """A figure cannot be drawn as asked, or its file cannot be written; ``str(error)`` is one sentence."""
