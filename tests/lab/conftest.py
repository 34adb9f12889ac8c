"""The real application for tests: its own preferences and runs folder, closed the way a person closes it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from lab.runs.hosts import WorkerPool
from lab.window.application import Application
from lab.window.preferences import Preferences
from tests.lab.command_line import Lab
from tests.lab.watching import Begin, sessions

PATIENCE = 60_000
"""Milliseconds that a test waits for a worker on a busy machine."""


@pytest.fixture
def make_lab(qtbot: QtBot, tmp_path: Path) -> Iterator[Callable[..., Application]]:
    """Opens the lab: ``make_lab(paper, where="thread", size=(1600, 1000))``."""
    opened: list[Application] = []

    def make(
        paper: str = "diffusion",
        where: str = "thread",
        size: tuple[int, int] = (1600, 1000),
        theme: str = "light",
    ) -> Application:
        preferences = Preferences(tmp_path / "window.json")
        preferences.set("where", where)
        application = Application(preferences, tmp_path / "runs", theme=theme)
        opened.append(application)
        application.window.resize(*size)
        application.window.show()
        qtbot.waitExposed(application.window)
        application.window.start(paper)
        return application

    yield make
    for application in opened:
        application.window.close()
        qtbot.waitUntil(application.window.is_closed, timeout=PATIENCE)
        application.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    """Warm workers: the next process starts while a test uses the present one."""
    workers = WorkerPool(delay=0.0)
    workers.warm()
    yield workers
    workers.close()


@pytest.fixture
def begin(pool: WorkerPool) -> Iterator[Begin]:
    """Make sessions, not started; all are closed in the end."""
    with sessions(pool) as make:
        yield make


@pytest.fixture
def lab(capsys: pytest.CaptureFixture[str]) -> Lab:
    """Runs commands in this process."""
    return Lab(capsys)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)
