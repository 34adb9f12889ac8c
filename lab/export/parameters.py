"""Matplotlib's parameters for the time of a drawing; any thread, one drawing at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.export.errors import ExportError
from lab.export.style import Style, colors_of

RASTER_DPI = 300
"""Pixels to an inch of the raster parts of vector files."""

_LOCK = threading.RLock()


@contextmanager
def drawing(style: Style) -> Iterator[None]:
    """Matplotlib's parameters for a style, for the time of a ``with`` block; other drawings wait.

    Raises
    ------
    ExportError
        If the font is not installed.
    """
    import matplotlib as mpl
    from matplotlib import font_manager

    with _LOCK, mpl.rc_context():
        # What belongs to windows is not ours to touch.
        keep = ("backend", "interactive", "toolbar", "webagg", "savefig.directory")
        dict.update(mpl.rcParams, {k: v for k, v in mpl.rcParamsDefault.items() if not k.startswith(keep)})
        try:
            font_manager.findfont(style.font_family, fallback_to_default=False)
        except ValueError as error:
            raise ExportError(
                f"The font '{style.font_family}' is not installed, so text cannot be drawn with it; install it or "
                "choose another, such as DejaVu Sans."
            ) from error
        mpl.rcParams.update(_parameters(style))
        yield


def _parameters(style: Style) -> Any:
    colors = colors_of(style.theme, style.palette)
    thin = style.line_width(0.8)
    serif = any(word in style.font_family.lower() for word in ("serif", "stix", "times", "roman"))
    parameters: dict[str, Any] = {
        "font.family": [style.font_family, "DejaVu Sans"],
        "font.size": style.font_size,
        "mathtext.fontset": "stix" if serif and "sans" not in style.font_family.lower() else "dejavusans",
        "text.usetex": False,
        "text.color": colors.text,
        "axes.facecolor": colors.background,
        "axes.edgecolor": colors.axis,
        "axes.labelcolor": colors.text,
        "axes.linewidth": thin,
        "axes.titlesize": style.font_size,
        "axes.labelsize": style.font_size,
        "axes.labelpad": 0.3 * style.font_size,
        "axes.titlepad": 0.5 * style.font_size,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.formatter.limits": (-4, 5),
        "grid.color": colors.grid,
        "grid.linewidth": thin,
        "legend.fontsize": style.small_size,
        "legend.frameon": True,
        "legend.fancybox": False,
        "legend.facecolor": colors.background,
        "legend.edgecolor": "none",
        "legend.framealpha": 0.85,
        "legend.handlelength": 1.6,
        "legend.handletextpad": 0.5,
        "legend.borderaxespad": 0.3,
        "legend.labelspacing": 0.3,
        "legend.columnspacing": 1.2,
        "figure.titlesize": 1.1 * style.font_size,
        "figure.facecolor": colors.background,
        "savefig.facecolor": "auto",
        "savefig.edgecolor": "none",
        "savefig.bbox": None,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "none" if style.text == "editable" else "path",
        "svg.hashsalt": "lab",
        "agg.path.chunksize": 20000,
    }
    for axis in ("xtick", "ytick"):
        parameters |= {
            f"{axis}.color": colors.axis,
            f"{axis}.labelcolor": colors.text,
            f"{axis}.labelsize": style.small_size,
            f"{axis}.major.width": thin,
            f"{axis}.minor.width": max(0.5, 0.7 * thin),
            f"{axis}.major.size": 0.3 * style.font_size,
            f"{axis}.minor.size": 0.18 * style.font_size,
            f"{axis}.major.pad": 0.25 * style.font_size,
            f"{axis}.minor.pad": 0.25 * style.font_size,
        }
    return parameters


__all__ = ["RASTER_DPI", "drawing"]
