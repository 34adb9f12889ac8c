"""Whether a run is being written is known at once, in this process and in others, however the writing ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.runs.hosts import Where
from lab.runs.lock import RunLock, is_held
from tests.lab.watching import PATIENCE, Begin, spec

ROOT = Path(__file__).parents[2]

both = pytest.mark.parametrize("where", ["thread", "process"])


def held_elsewhere(folder: Path) -> bool:
    """As another process sees it."""
    code = f"from lab.runs.lock import is_held; print(is_held({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip() == "True"


@both
def test_a_run_is_held_as_long_as_it_is_written(begin: Begin, where: Where, tmp_path: Path):
    path = tmp_path / "run"
    assert not is_held(path)
    run = begin(where, spec(path, paused=True))
    run.start()
    assert is_held(path) and is_held(str(path)) and held_elsewhere(path)
    run.train(5)
    assert is_held(path)
    run.do(run.session.stop())
    assert not is_held(path) and not held_elsewhere(path)
    assert not [name for name in os.listdir(path) if name.startswith(".")]
    assert run.session.close(PATIENCE)


@both
@pytest.mark.parametrize("ending", ["close", "fault"])
def test_no_end_leaves_it_held(begin: Begin, where: Where, tmp_path: Path, ending: str):
    run = begin(where, spec(tmp_path / "run", paused=True, fault_at=10))
    run.start()
    if ending == "fault":
        run.do(run.session.play())
        run.until_state("failed")
    else:
        assert is_held(tmp_path / "run")
    # The state is told before the folder is let go.
    assert run.session.close(PATIENCE)
    assert not is_held(tmp_path / "run")


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_killed_worker_holds_nothing(begin: Begin, tmp_path: Path):
    run = begin("process", spec(tmp_path / "run", pause=0.001))
    run.start()
    run.until(lambda s: s.step > 5)
    assert is_held(tmp_path / "run")
    host: Any = run.session.host
    os.kill(host.pid, signal.SIGKILL)
    run.until_state("failed")
    assert not is_held(tmp_path / "run") and not held_elsewhere(tmp_path / "run")


def test_two_runs_do_not_hold_each_other(begin: Begin, tmp_path: Path):
    first, second = (begin("thread", spec(tmp_path / name, paused=True)) for name in "ab")
    first.start()
    second.start()
    first.end()
    assert not is_held(tmp_path / "a") and is_held(tmp_path / "b")
    second.end()
    assert not is_held(tmp_path / "b")


def test_to_look_takes_nothing(tmp_path: Path):
    lock = RunLock(tmp_path)
    for _ in range(3):
        assert lock.held and is_held(tmp_path)
    other = RunLock(tmp_path)
    assert not other.held
    other.release()
    assert is_held(tmp_path)
    lock.release()
    lock.release()
    assert not is_held(tmp_path) and not list(tmp_path.iterdir())
    # What nobody holds can be held again, also where a file was left behind.
    (tmp_path / ".lock").write_bytes(b"")
    assert not is_held(tmp_path)
    again = RunLock(tmp_path)
    assert again.held and is_held(tmp_path)
    again.release()


def test_a_folder_that_is_not_there_or_cannot_be_written_is_not_held(tmp_path: Path):
    assert not is_held(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    assert not is_held(tmp_path / "file")
    lock = RunLock(tmp_path / "nothing")
    assert not lock.held
    lock.release()
