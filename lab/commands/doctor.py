"""``lab doctor``: what this machine has and lacks; runs on the main thread and survives whatever is missing."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

from lab import places


@dataclass(frozen=True)
class Finding:
    """One line of the report: ``advice`` says what to do when it is not ``ok``."""

    what: str
    ok: bool
    detail: str
    advice: str = ""


def doctor(*, as_json: bool) -> int:
    """Print the report. Exit code 0 also when something is missing: the report is what was asked for."""
    findings = examine()
    if as_json:
        print(json.dumps({"ok": all(f.ok for f in findings), "findings": [asdict(f) for f in findings]}))
        return 0
    for finding in findings:
        print(f"{'ok     ' if finding.ok else 'MISSING'} {finding.what}: {finding.detail}")
        if not finding.ok and finding.advice:
            print(f"        {finding.advice}")
    return 0


def examine() -> list[Finding]:
    """All findings; none of the checks can raise."""
    checks: tuple[Callable[[], Finding | list[Finding]], ...] = (
        _python,
        _packages,
        _extras,
        _qt,
        _display,
        _torch,
        _folders,
        _data,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            found = check()
        except Exception as error:  # The doctor must finish on the sickest of machines.
            found = Finding(check.__name__.strip("_"), False, f"{type(error).__name__}: {error}")
        findings += found if isinstance(found, list) else [found]
    return findings


def _python() -> Finding:
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", ok, platform.python_version(), "Use Python 3.11, 3.12 or 3.13.")


def _packages() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    findings = []
    for text in requires("paperlab") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            findings.append(Finding(requirement.name, False, "not installed", f"pip install '{requirement}'"))
            continue
        ok = requirement.specifier.contains(found, prereleases=True)
        findings.append(Finding(requirement.name, ok, found, f"pip install '{requirement}'"))
    return findings


def _extras() -> list[Finding]:
    """What works without them, too: said, but nothing to mend."""
    findings = []
    for what, module, extra in (
        ("MP4 films", "imageio_ffmpeg", "video"),
        ("TensorBoard files", "tensorboard", "tensorboard"),
        ("Benchmarks beside sb3-contrib", "sb3_contrib", "bench"),
    ):
        there = importlib.util.find_spec(module) is not None
        detail = "there" if there else f"not installed; pip install 'paperlab[{extra}]' adds them"
        findings.append(Finding(what, True, detail))
    return findings


def _qt() -> Finding:
    # In a process of its own: a missing library aborts the process that asks for it.
    code = "from PySide6 import QtWidgets, QtSvg; app = QtWidgets.QApplication(['lab']); print(app.platformName())"
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )
    if done.returncode == 0:
        return Finding("Qt", True, "starts")
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding("Qt", False, last, f"Install what the line names; on Debian and Ubuntu: {APT_LINE}")


APT_LINE = (
    "apt-get install libegl1 libgl1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 "
    "libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 libdbus-1-3 libfontconfig1"
)


def has_display() -> bool:
    """Whether a window can be shown: always assumed on Windows and macOS."""
    if not sys.platform.startswith("linux"):
        return True
    platform_name = os.environ.get("QT_QPA_PLATFORM", "")
    chosen = platform_name not in ("", "xcb", "wayland")
    return chosen or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _display() -> Finding:
    advice = (
        "Train without a window: lab run diffusion --out runs/first; "
        "or save a picture of it: lab shot diffusion -o a.png."
    )
    if not has_display():
        return Finding("Display", False, "DISPLAY and WAYLAND_DISPLAY are not set", advice)
    code = "from PySide6 import QtWidgets; app = QtWidgets.QApplication(['lab']); print(app.platformName())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return Finding("Display", True, done.stdout.strip() or "there")
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding("Display", False, last, f"On Debian and Ubuntu: {APT_LINE}")


def _torch() -> list[Finding]:
    torch = importlib.import_module("torch")
    findings = [
        Finding("Cores", True, f"{os.cpu_count()}; torch uses {torch.get_num_threads()} threads by default")
    ]
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        findings.append(Finding("GPU", True, names))
    elif torch.backends.mps.is_available():
        findings.append(Finding("GPU", True, "Apple MPS"))
    else:
        findings.append(Finding("GPU", True, "none that torch can use; the lab trains on the CPU"))
    return findings


def _folders() -> list[Finding]:
    findings = []
    for what, folder in (
        ("Runs", places.runs_folder()),
        ("Data", places.data_folder()),
        ("Preferences", places.config_folder()),
    ):
        near = folder
        while not near.exists() and near != near.parent:
            near = near.parent
        ok = os.access(near, os.W_OK)
        free = shutil.disk_usage(near).free / 2**30
        advice = f"Make {near} writable, or set PAPERLAB_HOME to a folder that is."
        findings.append(Finding(f"{what} folder", ok, f"{folder} ({free:.1f} GiB free)", advice))
    return findings


def _data() -> Finding:
    place = os.environ.get("LAB_DATA")
    if not place:
        return Finding(
            "LAB_DATA", True, "not set; embedded data is always there, other data sets can be downloaded"
        )
    return Finding(
        "LAB_DATA", os.path.isdir(place), place, "LAB_DATA must name a folder: correct it, or unset it."
    )
