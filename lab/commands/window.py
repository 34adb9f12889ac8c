"""``lab`` and ``lab shot``: the real window, for a person or for one picture; main thread."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from pathlib import Path

from engines.errors import InputError
from lab import papers
from lab.commands.doctor import APT_LINE, has_display

HEADLESS_WAY = "train with 'lab run diffusion --out runs/first', or picture the window with 'lab shot diffusion -o a.png'"


def open_window(target: str | None) -> int:
    """Open the window and stay until it is closed.

    Raises
    ------
    InputError
        When there is no display.
    """
    if not has_display():
        raise InputError(
            f"There is no display here (DISPLAY and WAYLAND_DISPLAY are not set): {HEADLESS_WAY}."
        )
    hasten_imports()
    try:
        from lab.window.application import Application, log_to_file
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("PySide6"):
            raise
        raise InputError(
            f"Qt cannot be loaded ({error}): install its system libraries; on Debian: {APT_LINE}."
        ) from None
    log_to_file()
    application = Application()
    application.show(target)
    try:
        return application.qt.exec()
    finally:
        application.close()


def hasten_imports() -> None:
    """Spare the start the collection of garbage among modules; later the window collects, see `lab.window.garbage`."""
    gc.disable()


def shot(options: argparse.Namespace) -> int:
    """Open the real window, train for a while, and save a picture of it.

    Raises
    ------
    InputError
    """
    paper = papers.find(options.paper)
    output = Path(options.output)
    if output.suffix.lower() != ".png":
        raise InputError(f"The picture is written as PNG, so {output.name} must end in .png.")
    if not output.parent.exists():
        raise InputError(f"The folder {output.parent} does not exist: make it, or choose another.")
    values = None
    preset = ""
    if paper.is_built:
        from lab.commands.run import gather_settings

        values, preset = gather_settings(papers.method_of(paper), options)
    if not has_display():
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from lab.window.application import Application
    from lab.window.preferences import Preferences

    with tempfile.TemporaryDirectory(prefix="lab-shot-") as folder:
        # A picture must not depend on how somebody left the window, nor change that.
        preferences = Preferences(Path(folder) / "window.json")
        preferences.set("paper", paper.id)
        application = Application(preferences, Path(folder) / "runs", theme=options.theme)
        window = application.window
        width, height = options.size
        window.resize(width, height)
        application.show(paper.id)
        _spin(0.3)
        panel = window.current_panel()
        failure = ""
        if panel is not None and panel.method is not None and values is not None and panel.form is not None:
            panel.form.set_values(panel.method.config.build(values))
            panel.form.set_preset(preset)
            panel.play()
            began: float | None = None
            while began is None or time.monotonic() - began < options.seconds:
                _spin(0.05)
                if panel.session is not None and panel.session.failure is not None:
                    failure = panel.session.failure.sentence
                    break
                if began is None and panel.state in ("running", "paused"):
                    began = time.monotonic()
        if options.page == "text":
            window.tabs.setCurrentIndex(1)
        _spin(0.5)
        end = time.monotonic() + 10
        while options.page == "text" and panel is not None and not panel.text_page.are_formulas_ready():
            if time.monotonic() > end:
                break
            _spin(0.1)
        saved = window.grab().save(str(output), "PNG")
        window.close()
        end = time.monotonic() + 20
        while not window.is_closed() and time.monotonic() < end:
            _spin(0.05)
        application.close()
        if failure:
            raise InputError(failure)
        if not saved:
            raise InputError(f"{output} cannot be written: choose another folder or check its permissions.")
    print(f"{output}  {width}x{height}  {options.theme}", file=sys.stderr)
    return 0


def _spin(seconds: float) -> None:
    """Let the window live for a while."""
    from PySide6.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()
