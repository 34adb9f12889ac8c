"""The command ``lab`` run in the process of a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.cli import main


class Lab:
    """Runs commands in this process and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str | Path) -> dict[str, Any]:
        """Run what must succeed; returns its JSON, where it prints one."""
        code = main([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        assert code == 0, self.err
        return json.loads(self.out.splitlines()[-1]) if "--json" in words else {}

    def refused(self, *words: str | Path) -> str:
        """Run what must be refused: exit code 2, nothing on standard output, one sentence on standard error."""
        code = main([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        lines = [
            line for line in self.err.splitlines() if line.startswith("lab: ") and "lab: from" not in line
        ]
        assert code == 2 and self.out == "" and "Traceback" not in self.err, (code, self.out, self.err)
        assert len(lines) == 1 and lines[0].endswith("."), self.err
        return lines[0]
