"""Asks where to export a view, and has it written in the background; GUI thread."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtWidgets import QFileDialog

from engines.figures import Film

if TYPE_CHECKING:
    from lab.panels.panel import Panel
    from lab.window.main_window import MainWindow


class Cancelled(Exception):
    """The person cancelled the export."""


def export_view(panel: Panel, name: str, window: MainWindow) -> None:
    """Ask for a file and write the view's figure to it."""
    figure = panel.figure(name)
    if figure is None:
        window.messages.show_message(
            "info", "There is no picture to export yet: press Train first.", key="export"
        )
        return
    films = (
        "GIF film (*.gif);;WebP film (*.webp);;Animated PNG (*.apng);;" if isinstance(figure, Film) else ""
    )
    kinds = f"PDF (*.pdf);;SVG (*.svg);;PNG (*.png);;{films}Data as CSV (*.csv);;Data as NPZ (*.npz)"
    suggestion = str(
        Path(window.preferences.get("export_folder") or Path.home()) / f"{panel.paper.key}-{name}.pdf"
    )
    path, kind = QFileDialog.getSaveFileName(
        window, f"Export {panel.docks[name].spec.title}", suggestion, kinds
    )
    if path:
        if not Path(path).suffix and "*" in kind:
            # Qt's own dialog adds no ending to what was typed; the chosen kind says which.
            path += kind.partition("*")[2].rstrip(")")
        window.preferences.set("export_folder", str(Path(path).parent))
        start_export(panel, name, Path(path), window)


def start_export(panel: Panel, name: str, path: Path, window: MainWindow) -> None:
    """Write the figure that a view shows, in the style of the window's theme; the result is told in a message.

    A still of a film is the frame that is seen.
    """
    figure = panel.figure(name)
    if figure is None:
        return
    frame = panel.view(name).frame
    about: dict[str, Any] = {"paper": panel.paper.id, "figure": name}
    if panel.started is not None and panel.session is not None:
        about |= {
            "run": panel.session.spec.run,
            "step": panel.shown_step(),
            "preset": panel.session.spec.preset,
            "settings": panel.shown_values(),
            "data": dict(panel.started.data),
        }
    key = f"export/{path}"
    messages = window.messages
    messages.show_message(
        "info", f"Writing {path.name} …", actions=[("cancel", "Cancel")], hide_after_ms=0, key=key
    )

    def work(job: Any) -> Path:
        # matplotlib takes a second to load; here it costs the window nothing.
        from lab.export.save import export

        def progress(done: int, total: int) -> None:
            if job.cancel.is_set():
                raise Cancelled
            job.report(done, total)

        return export(figure, path, metadata=about, overwrite=True, frame=frame, progress=progress)

    def done(future: Future[Path]) -> None:
        messages.close_key(key)
        error = future.exception()
        if isinstance(error, Cancelled):
            messages.show_message("info", f"{path.name} was not written: you cancelled.", key="export")
        elif error is not None:
            messages.show_message("error", str(error), key="export")
        else:
            messages.show_message("info", f"Saved {future.result()}", key="export")

    window.jobs.start(key, work, done)
