"""Setting up: exact versions of all that is installed, one environment made once, and clear words when it fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

needs_make = pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("make") is None, reason="make and a POSIX shell are needed"
)
needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="Qt's libraries are the system's on Linux alone"
)


# Versions ------------------------------------------------------------------------------------------------------------


def _pins() -> dict[str, Version]:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==" and not specifier.version.endswith("*"), line
            pins[canonicalize_name(requirement.name)] = Version(specifier.version)
    return pins


def _direct() -> list[Requirement]:
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    return [Requirement(text) for text in [*PROJECT["dependencies"], *extras]]


def _closure() -> dict[str, Requirement]:
    """Everything that is installed because the project or its tools ask for it, with one who asks."""
    asked: dict[str, Requirement] = {}
    todo = [(requirement, requirement.extras) for requirement in _direct()]
    while todo:
        requirement, extras = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in asked and not extras:
            continue
        asked.setdefault(name, requirement)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # an extra that the tests do without
            continue
        for text in requirements:
            wanted = Requirement(text)
            environment = dict(default_environment())
            if wanted.marker is None or any(
                wanted.marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)
            ):
                todo.append((wanted, wanted.extras))
    return asked


def test_every_package_that_is_needed_is_pinned():
    pins = _pins()
    # What a build of torch for a GPU brings along is pinned by torch itself.
    needed = {name for name in _closure() if not re.match(r"nvidia-|cuda-|triton", name)}
    assert needed - set(pins) == set()


def test_pins_lie_in_the_ranges_of_the_project():
    pins = _pins()
    for requirement in _direct():
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), f"{requirement} does not admit {pin}"


def test_pins_hold_on_every_machine():
    for name, version in _pins().items():
        assert version.local is None, f"{name}: a build of one platform"
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text and " @ " not in text and "\n-" not in text


@pytest.mark.parametrize("version", ["6.9.0", "6.9.1", "6.9.2", "6.11.0", "6.12.0"])
def test_qt_versions_that_break_painting_are_excluded(version):
    (qt,) = (requirement for requirement in _direct() if requirement.name == "PySide6-Essentials")
    assert not qt.specifier.contains(version)


def test_the_entry_points_exist():
    scripts = {**PROJECT["scripts"], **PROJECT["gui-scripts"]}
    assert set(scripts) >= {"lab"}
    for name, target in scripts.items():
        entry = metadata.EntryPoint(name, target, "console_scripts")
        assert callable(entry.load()), target


# make ----------------------------------------------------------------------------------------------------------------

FAKE_PYTHON = """#!/bin/sh
# Stands for an interpreter; notes what is asked of it.
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) exit {no_venv} ;;
    "-m venv"*) echo venv >>"{log}"; for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
    "-m pip --version") exit 0 ;;
    "-m pip install"*) echo "$*" >>"{log}"; exit {pip_fails} ;;
    "-m pytest"*) echo "$*" >>"{log}" ;;
esac
"""


class Checkout:
    """A copy of what sets the project up, with an interpreter that only notes what it is asked to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.parent / "log"
        self.log.touch()
        self.python = folder.parent / "fake-python"
        folder.mkdir()
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        self.write_python()

    def write_python(
        self, path: Path | None = None, version: str = "3.11", no_venv: bool = False, pip_fails: bool = False
    ) -> None:
        path = path or self.python
        text = FAKE_PYTHON.format(
            version=version, no_venv=int(no_venv), pip_fails=int(pip_fails), log=self.log.absolute()
        )
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(
            ["make", *words, f"PYTHON={self.python}"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def asked(self) -> list[str]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        self.log.write_text("", encoding="utf-8")
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a checkout with spaces")


@needs_make
def test_the_environment_is_made_once_and_then_left_alone(checkout):
    assert checkout.make("test").returncode == 0
    first = checkout.asked()
    assert first.count("venv") == 1
    installs = [line for line in first if "pip install" in line]
    assert installs and all("-c constraints.txt" in line for line in installs)
    assert "[dev]" in installs[-1]
    assert first[-1].startswith("-m pytest")

    assert checkout.make("test").returncode == 0
    assert [line.split()[:2] for line in checkout.asked()] == [["-m", "pytest"]]


@needs_make
@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_is_installed_into_the_same_environment(checkout, name):
    checkout.make("test")
    checkout.asked()
    later = (checkout.folder / ".venv/ready-dev").stat().st_mtime + 10
    os.utime(checkout.folder / name, (later, later))
    assert checkout.make("test").returncode == 0
    asked = checkout.asked()
    assert "venv" not in asked
    assert any("pip install" in line for line in asked)


@needs_make
def test_a_moved_checkout_gets_a_new_environment(checkout):
    checkout.make("test")
    checkout.asked()
    checkout.folder = checkout.folder.rename(checkout.folder.parent / "elsewhere")
    assert checkout.make("test").returncode == 0
    assert "venv" in checkout.asked()


@needs_make
def test_an_install_that_fails_is_tried_again(checkout):
    checkout.write_python(pip_fails=True)
    failed = checkout.make("test")
    assert failed.returncode == 2
    assert "installing failed" in failed.stderr
    assert not any(line.startswith("-m pytest") for line in checkout.asked())
    checkout.write_python(checkout.folder / ".venv/bin/python")
    assert checkout.make("test").returncode == 0
    asked = checkout.asked()
    assert "venv" not in asked
    assert asked[-1].startswith("-m pytest")


@needs_make
@pytest.mark.parametrize("version", ["2.7", "3.10", "3.14"])
def test_an_interpreter_that_does_not_do_is_named_with_what_would(checkout, version):
    checkout.write_python(version=version)
    failed = checkout.make("run")
    assert failed.returncode == 2
    (sentence,) = (line for line in failed.stderr.splitlines() if line.startswith("set-up:"))
    assert version in sentence and "3.11, 3.12 or 3.13" in sentence and "PYTHON=" in sentence
    assert not (checkout.folder / ".venv").exists()


@needs_make
def test_a_missing_interpreter_is_named(checkout):
    checkout.python = checkout.folder / "no-such-python"
    failed = checkout.make("test")
    assert failed.returncode == 2
    assert "no working" in failed.stderr and "no-such-python" in failed.stderr


@needs_make
def test_a_missing_venv_module_is_named_with_its_package(checkout):
    checkout.write_python(no_venv=True)
    failed = checkout.make("test")
    assert failed.returncode == 2
    assert "python3-venv" in failed.stderr


# Qt's libraries ------------------------------------------------------------------------------------------------------


class Machine:
    """A folder that stands for a machine: which libraries its loader misses, who one is, and whether apt-get works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.programs.mkdir(parents=True)
        (folder / ".venv/lib/python3.11/site-packages/PySide6").mkdir(parents=True)
        for name in ("sed", "sort", "tr", "env", "cat", "grep"):
            (self.programs / name).symlink_to(shutil.which(name) or name)
        self.write("uname", "echo Linux")
        # Both plug-ins miss what the list says; a window misses more than the offscreen platform.
        self.write(
            "ldd",
            'case "$*" in *libqxcb.so*) cat window-misses 2>/dev/null ;; esac; cat misses 2>/dev/null; true',
        )
        self.log = folder / "installed"

    def write(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def miss(self, *libraries: str, file: str = "misses") -> None:
        text = "".join(f"\t{library} => not found\n" for library in libraries)
        (self.folder / file).write_text("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n" + text, encoding="utf-8")

    def user(self, number: int) -> None:
        self.write("id", f"echo {number}")

    def apt(self, works: bool = True) -> None:
        cure = "rm -f misses window-misses" if works else "exit 100"
        self.write("rm", f'{shutil.which("rm")} "$@"')
        self.write("apt-get", f'echo "$*" >>installed; case "$1" in install) {cure} ;; esac')

    def see_to_it(self, platform: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(ROOT / ".ci/qt-libraries"), platform],
            cwd=self.folder,
            env={"PATH": str(self.programs), **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@needs_linux
def test_nothing_is_done_when_no_library_is_missing(machine):
    machine.miss()
    machine.user(0)
    machine.apt()
    done = machine.see_to_it("offscreen")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not machine.log.exists()


@needs_linux
def test_root_gets_the_packages_that_are_missing(machine):
    machine.miss("libEGL.so.1", "libgthread-2.0.so.0", "libglib-2.0.so.0")
    machine.user(0)
    machine.apt()
    assert machine.see_to_it("offscreen").returncode == 0
    installed = machine.log.read_text(encoding="utf-8").splitlines()[-1].split()
    assert [word for word in installed if word.startswith("lib")] == ["libegl1", "libglib2.0-0"]


@needs_linux
@pytest.mark.parametrize("user", [0, 1000], ids=["root whose apt-get fails", "user without sudo"])
def test_who_cannot_install_is_told_in_one_line_what_to_install(machine, user):
    machine.miss("libEGL.so.1", "libxkbcommon.so.0")
    machine.user(user)
    machine.apt(works=False)
    failed = machine.see_to_it("offscreen")
    assert failed.returncode == 2
    (sentence,) = failed.stderr.splitlines()
    assert sentence.endswith("apt-get install libegl1 libxkbcommon0")


@needs_linux
def test_a_machine_without_apt_is_told_which_libraries(machine):
    machine.miss("libEGL.so.1", "libnew.so.3")
    machine.user(0)
    failed = machine.see_to_it("offscreen")
    assert failed.returncode == 2
    (sentence,) = failed.stderr.splitlines()
    assert "libEGL.so.1" in sentence and "libnew.so.3" in sentence


@needs_linux
def test_a_window_needs_more_and_only_where_there_is_a_display(machine):
    machine.miss()
    machine.miss("libxcb-cursor.so.0", file="window-misses")
    machine.user(1000)
    assert machine.see_to_it("offscreen", DISPLAY=":0").returncode == 0
    assert machine.see_to_it("window").returncode == 0
    failed = machine.see_to_it("window", DISPLAY=":0")
    assert failed.returncode == 2
    assert "libxcb-cursor" in failed.stderr


# The tests' own guard ------------------------------------------------------------------------------------------------

LEAKING = """
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QWidget

KEPT = []

def test_keeps_a_window(qapp):
    KEPT.append(QWidget())

def test_keeps_a_timer_going(qapp):
    timer = QTimer()
    timer.start(10_000)
    KEPT.append(timer)

def test_clears_up(qtbot):
    window = QWidget()
    qtbot.addWidget(window)
    QTimer(window).start(10_000)
    window.show()
"""


def test_what_a_test_leaves_behind_in_qt_fails_it(tmp_path):
    file = tmp_path / "test_leaking.py"
    file.write_text(LEAKING, encoding="utf-8")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(ROOT), str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "3 passed, 2 errors" in done.stdout, done.stdout + done.stderr
    assert "QWidget, hidden" in done.stdout
    assert re.search(r"QTimer.*test_leaking\.py:12", done.stdout)
