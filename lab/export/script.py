"""A figure as a Python script with its data, to be edited and run without the lab; any thread.

The script uses numpy and matplotlib alone. What it says of sizes, limits and names is read from our own drawing of the
figure, so that both look alike. Texts of a figure come from data and settings: they reach the script as literals only.
"""

from __future__ import annotations

import importlib.util
import io
import json
import math
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from engines.figures import (
    Axis,
    Bars,
    Bodies,
    Boxes,
    Figure,
    Graph,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
    Words,
    to_uint8,
)
from lab import __version__
from lab.export.draw import still_of
from lab.export.inks import Inks
from lab.export.limits import Ranges, montage_shape, value_limits
from lab.export.marks import RASTER_ITEMS, SYMBOLS, fill_opacity, floats, isolated, plain
from lab.export.page import NOTE_GAP, compose, note_of, note_room
from lab.export.parameters import RASTER_DPI, drawing
from lab.export.style import SMALLEST_TEXT, Style

_LONGEST = 100
"""Characters to a line of the script, where it can be broken."""

_NAMES: dict[type[Mark], str] = {
    Lines: "curve",
    Ribbon: "band",
    Scatter: "points",
    VectorField: "arrows",
    Rule: "rule",
    Bars: "bars",
    Histogram: "histogram",
    Heatmap: "heatmap",
    ImageGrid: "pictures",
    Boxes: "boxes",
    Graph: "graph",
    Words: "words",
    Bodies: "bodies",
}

_LAYERS: dict[type[Mark], int] = {Heatmap: 0, ImageGrid: 0, Lines: 2, Rule: 2, Words: 3}
"""Where matplotlib puts what a mark is drawn with; areas, points and patches are at 1."""

_MONTAGE = '''
def montage(pictures, columns, gap):
    """Pictures (N, H, W[, 3]) side by side, row by row, with gaps in the colour of the background."""
    if pictures.ndim == 3:
        pictures = np.repeat(pictures[..., None], 3, axis=-1)
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    shape = max(rows * (height + gap) - gap, 1), max(columns * (width + gap) - gap, 1), 3
    canvas = np.full(shape, np.round(255 * np.array(to_rgb(BACKGROUND))), dtype=np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        canvas[top : top + height, left : left + width] = picture
    return canvas

'''


def script_bytes(
    figure: Figure,
    style: Style | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    frame: int | None = None,
    frames: Sequence[int] | None = None,
    name: str = "figure",
) -> bytes:
    """A ZIP file with a folder that holds a script, its data and a few words about them.

    Parameters
    ----------
    figure : Plot or Panels or Film
    style : Style, optional
    metadata : mapping, optional
        What made the figure; goes into ``metadata.json`` and the README.
    frame, frames
        As for `lab.export.draw.draw`: films are drawn as stills.
    name : str
        Of the folder and the script; characters that not every disk takes are replaced.

    Returns
    -------
    bytes
        ``NAME/NAME.py``, which writes ``NAME.pdf`` beside itself or the file given as its argument; ``NAME/data.npz``, in
        which infinite numbers are NaN, as they cannot be drawn; ``NAME/metadata.json``; ``NAME/README.txt``.

    Raises
    ------
    ExportError
        If the film has no such frame, or the style cannot be drawn.
    """
    style = style or Style()
    still, ranges = still_of(figure, frame, frames)
    script = _Script(still, ranges, style)
    name = _safe_name(name)
    data = io.BytesIO()
    np.savez_compressed(data, **script.arrays)  # type: ignore[arg-type]
    contents = {
        f"{name}.py": script.text().encode(),
        "data.npz": data.getvalue(),
        # A name that people gave may be no text at all: half of a character.
        "README.txt": _readme(name, metadata or {}).encode(errors="backslashreplace"),
        "metadata.json": json.dumps(dict(metadata or {}), default=str).encode(),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in contents.items():
            # Without a time of its own the same figure gives the same bytes.
            entry = zipfile.ZipInfo(f"{name}/{part}")
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return file.getvalue()


def _safe_name(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:60] or "figure"
    # A script that is called like a module would be imported in its place.
    return f"{safe}_figure" if importlib.util.find_spec(safe) is not None else safe


def _readme(name: str, metadata: Mapping[str, Any]) -> str:
    known = [
        f"{part} {metadata[part]}" for part in ("paper", "figure", "run", "step", "seed") if part in metadata
    ]
    made = " ".join(", ".join([f"Paperlab {__version__}", *known]).split())
    setup = json.dumps(dict(metadata), default=str)
    return (
        f"python {name}.py [FILE] draws the figure from data.npz with numpy and matplotlib 3.9 or later; FILE may end in "
        f".pdf, .svg or .png and is {name}.pdf unless given.\n"
        f"Made by {made}.\n"
        f"Setup: {setup}\n"
    )


class _Script:
    """The text of a script, put together plot by plot, and the arrays that it needs."""

    def __init__(self, still: Plot | Panels, ranges: Ranges, style: Style) -> None:
        self.style, self.ranges = style, ranges
        self.inks = Inks(style, "raster")
        self.colors = self.inks.colors
        self.panels = still if isinstance(still, Panels) else None
        self.plots: tuple[Plot, ...] = still.plots if isinstance(still, Panels) else (still,)
        self.columns = max(1, min(still.columns, len(self.plots))) if isinstance(still, Panels) else 1
        self.rows = max(1, -(-len(self.plots) // self.columns))
        self.page, self.arrangement = compose(still, ranges, style)
        self.arrays: dict[str, np.ndarray] = {}
        self.lines: list[str] = []
        self.roles: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self.imports: set[str] = set()
        self.functions: dict[str, str] = {}
        self.labelled: set[tuple[str, str, str]] = set()
        self.bars: list[tuple[str, str]] = []
        self.crowds = 0
        self.base = ""
        self.over = ""
        for index in range(len(self.plots)):
            self._plot(index)
        self._finish()

    def text(self) -> str:
        """The whole script."""
        body = "\n".join(self.lines)
        return f"{self._head()}\n{body}\n"

    # -- pieces of code

    def _say(self, *lines: str) -> None:
        self.lines += lines

    def _call(self, function: str, *arguments: str, indent: str = "") -> None:
        """A call, broken into lines where it is long; empty arguments are left out."""
        given = [argument for argument in arguments if argument]
        whole = f"{indent}{function}({', '.join(given)})"
        if len(whole) <= _LONGEST:
            self._say(whole)
        else:
            self._say(
                f"{indent}{function}(", *(f"{indent}    {argument}," for argument in given), f"{indent})"
            )

    def _keep(self, part: str, array: np.ndarray) -> str:
        """Store an array under a name that no other one has; the code that reads it."""
        name, number = f"{self.base}_{part}", 1
        while name in self.arrays:
            number += 1
            name = f"{self.base}{number}_{part}"
        self.arrays[name] = array
        return f'data["{name}"]'

    def _color(self, role: str, opacity: float = 1.0) -> str:
        """The variable of a colour, which the head of the script then defines."""
        name = role.upper().replace("-", "_")
        if role in self.colors.roles:
            self.roles[name] = self.colors.roles[role]
        opacity = min(max(float(opacity), 0.0), 1.0)
        return name if opacity == 1.0 else f"({name}, {_number(round(opacity, 4))})"

    def _dash(self, dash: str) -> str:
        if dash == "solid":
            return ""
        name = dash.upper()
        self.constants[name] = {"dash": "(0, (4, 2))", "dot": "(0, (1, 1.6))"}[dash]
        return f"ls={name}"

    def _width(self, pixels: float) -> str:
        return _short(self.style.line_width(pixels))

    def _label(self, mark: Mark) -> str:
        """The name of a mark in the legend, once for all marks that look and are called the same."""
        key = type(mark).__name__, mark.role, mark.label
        if not (self.style.legend and self.plot.legend and mark.label) or key in self.labelled:
            return ""
        self.labelled.add(key)
        # Matplotlib leaves names out of legends that begin with a line.
        return f"label={_text(plain(' ' * str(mark.label).startswith('_') + str(mark.label)))}"

    def _sizes(self, size: float, code: str) -> str:
        """The size of the next texts that may run into each other, as small as our drawing had to make them."""
        scale = self.arrangement.scales.get(self.crowds, 1.0)
        self.crowds += 1
        return code if scale == 1.0 else _short(max(SMALLEST_TEXT, scale * size))

    def _norm(self, mark: Mark, part: str = "values") -> str:
        own = isinstance(mark, Heatmap) and mark.limits is not None
        shared = self.ranges.values.get((self.index, self.number, part))
        limits = value_limits(mark, part) if own or shared is None else shared
        assert limits is not None
        low, high = _neat(*limits, log=False)
        return f"vmin={low}, vmax={high}"

    def _colormap(self, kind: str, role: str) -> str:
        name = self.style.diverging if kind == "diverging" else self.style.colormap
        if kind == "role":
            self.imports |= {"from matplotlib.colors import LinearSegmentedColormap, to_rgba"}
            color = self._color(role)
            return f'LinearSegmentedColormap.from_list("fade", [(0, to_rgba({color}, 0)), (1, to_rgba({color}))])'
        if kind == "diverging":
            if name is None:
                self.imports.add("from matplotlib.colors import LinearSegmentedColormap")
                stops = ", ".join(_text(color) for color in self.colors.diverging)
                self.constants["SIGNED_COLORS"] = f'LinearSegmentedColormap.from_list("signed", [{stops}])'
            else:
                self.constants["SIGNED_COLORS"] = _text(name)
            return "SIGNED_COLORS"
        self.constants["COLORS"] = _text(name or self.colors.sequential)
        return "COLORS"

    # -- plots

    def _plot(self, index: int) -> None:
        plot, axes = self.plots[index], self.page.axes[index]
        self.plot, self.index = plot, index
        # Matplotlib draws curves over areas and pictures; here the order of the marks counts.
        layers = [_LAYERS.get(type(mark), 1) for mark in plot.marks]
        self.over = "zorder=2" if layers != sorted(layers) else ""
        self._say("")
        if self.panels is not None:
            title = plot.title or axes.get_title()
            self._say(f"# {'-' * 3} panel {index + 1}{': ' + _text(title) if title else ''}")
            row, column = divmod(index, self.columns)
            self._say(f"ax = axes[{row}, {column}]")
        if not self.page.legends:
            self.labelled = set()
        first_bar = len(self.bars)
        for number, mark in enumerate(plot.marks):
            self.number = number
            named = re.sub(r"[^a-z0-9]+", "_", str(mark.label).lower()).strip("_")[:30].strip("_")
            panel = f"panel{index + 1}_" if self.panels is not None else ""
            self.base = f"{panel}{named or _NAMES[type(mark)]}"
            if mark.label:
                self._say(f"# {_NAMES[type(mark)]} {_text(str(mark.label))}")
            self._mark(mark)
        self._axes(plot, index)
        legend = axes.get_legend()
        if legend is not None:
            many = sum(np.size(getattr(mark, "x", ())) for mark in plot.marks) > 4 * RASTER_ITEMS
            self._say(f'ax.legend(loc="{"upper right" if many else "best"}")')
        if not self._one_bar():
            self._bars_beside(self.bars[first_bar:])

    def _mark(self, mark: Mark) -> None:
        match mark:
            case Lines():
                self._lines(mark)
            case Ribbon():
                self._ribbon(mark)
            case Scatter():
                self._scatter(mark)
            case VectorField():
                self._vector_field(mark)
            case Rule():
                self._rule(mark)
            case Bars():
                self._bars(mark)
            case Histogram():
                self._histogram(mark)
            case Heatmap():
                self._heatmap(mark)
            case ImageGrid():
                self._image_grid(mark)
            case Boxes():
                self._boxes(mark)
            case Graph():
                self._graph(mark)
            case Words():
                self._words(mark)
            case Bodies():
                self._bodies(mark)
            case _:
                raise TypeError(f"{type(mark).__name__} is not a mark of the vocabulary of pictures")

    def _axes(self, plot: Plot, index: int) -> None:
        """Scales, limits, ticks, names and titles: as our own drawing has them."""
        axes = self.page.axes[index]
        for name, axis in (("x", plot.x), ("y", plot.y)):
            if axis.scale == "log":
                self._say(f'ax.set_{name}scale("log")')
        for name, limits in (("x", axes.get_xlim()), ("y", axes.get_ylim())):
            log = (plot.x if name == "x" else plot.y).scale == "log"
            low, high = _neat(float(limits[0]), float(limits[1]), log)
            down = "  # y points down" if name == "y" and plot.y_down else ""
            self._say(f"ax.set_{name}lim({low}, {high}){down}")
        if axes.get_aspect() != "auto":
            self._say('ax.set_aspect("equal")')
        for name, axis, side in (("x", plot.x, "bottom"), ("y", plot.y, "left")):
            self._ticks(plot, name, axis, side, index)
        if axes.get_xlabel() and plot.x.shown:
            self._call("ax.set_xlabel", _text(axes.get_xlabel()))
        if axes.get_ylabel():
            self._call("ax.set_ylabel", _text(axes.get_ylabel()))
        pictures = any(isinstance(mark, Heatmap | ImageGrid) for mark in plot.marks)
        if plot.x.shown and plot.y.shown and plot.marks and not pictures:
            self._say("ax.grid(True)")
        if axes.get_title():
            self._call("ax.set_title", _text(axes.get_title()))
        if plot.note and (self.style.notes or not plot.marks):
            self._note(plot, axes.get_title())

    def _ticks(self, plot: Plot, name: str, axis: Axis, side: str, index: int) -> None:
        drawn = self.page.axes[index]
        if not axis.shown or not plot.marks:
            self._say(f"ax.set_{name}ticks([])")
            if not axis.shown:
                self._say(f'ax.spines["{side}"].set_visible(False)')
            if axis.scale == "log":
                self._say(f"ax.{name}axis.minorticks_off()")
            return
        if axis.ticks is not None:
            places = ", ".join(_number(place) for place, _ in axis.ticks)
            turned = 'rotation=45, ha="right", rotation_mode="anchor"'
            self._call(
                f"ax.set_{name}ticks",
                f"[{places}]",
                self._texts([text for _, text in axis.ticks]),
                turned if name == "x" and index in self.arrangement.turned else "",
            )
            if axis.scale == "log":
                self._say(f"ax.{name}axis.minorticks_off()")
        elif axis.scale == "linear" and self.style.width_in / self.columns < 2.0:
            self._say(f'ax.locator_params(axis="{name}", nbins=4)')
        ticks = (drawn.xaxis if name == "x" else drawn.yaxis).get_tick_params()
        if not ticks.get(f"label{side}", True):
            self._say(f'ax.tick_params(axis="{name}", which="both", label{side}=False)')

    def _note(self, plot: Plot, title: str) -> None:
        note = _text(plain(plot.note))
        look = "fontsize=SMALL, color=MUTED"
        if not plot.marks:
            middle = 'transform=ax.transAxes, ha="center", va="center", wrap=True'
            self._call("ax.text", "0.5", "0.5", note, middle, look)
        elif not plot.x.shown:
            self._call("ax.set_xlabel", note, 'loc="right"', look)
        elif title:
            wrapped = note_of(plot, self.style, self.columns)
            self._call("ax.set_title", _text(title), f"pad={note_room(wrapped):g} * SMALL")
            places = (
                f'(0.5, 1.0), (0.0, {NOTE_GAP} * SMALL), xycoords="axes fraction", textcoords="offset points"'
            )
            self._call("ax.annotate", _text(wrapped), places, 'ha="center", va="bottom"', look)
        else:
            self._call("ax.set_title", note, 'loc="right"', look)

    def _texts(self, texts: Iterable[str]) -> str:
        """A list of texts, several to a line."""
        items = [_text(plain(text)) for text in texts]
        rows, row = [], ""
        for item in items:
            if row and len(row) + len(item) > _LONGEST - 20:
                rows.append(row)
                row = ""
            row += f"{item}, "
        if not rows:
            return f"[{row[:-2]}]"
        return "[\n" + "".join(f"    {text.rstrip()}\n" for text in [*rows, row]) + "]"

    # -- marks

    def _lines(self, mark: Lines) -> None:
        style = self.style
        x, y = floats(mark.x), floats(mark.y)
        width = style.line_width(mark.width)
        size = max(style.marker_size(3.0), 2.0 * width)
        self._call(
            "ax.plot",
            self._keep("x", x),
            self._keep("y", y),
            f"color={self._color(mark.role, mark.opacity)}",
            f"lw={_short(width)}",
            self._dash(self.inks.dash(mark.role, mark.dash)),
            f'marker="o", ms={_short(size)}, mew=0' if mark.points else "",
            'drawstyle="steps-post"' if mark.steps else "",
            "rasterized=True" if mark.points and x.size > RASTER_ITEMS else "",
            self.over,
            self._label(mark),
        )
        alone = isolated(y)
        if alone.size and not mark.points:
            self._say("# points between two gaps, which no line shows")
            self._call(
                "ax.plot",
                self._keep("single_x", x[alone]),
                self._keep("single_y", y[alone]),
                '"o"',
                f"color={self._color(mark.role, mark.opacity)}",
                f"ms={_short(1.6 * width)}, mew=0",
                self.over,
            )

    def _ribbon(self, mark: Ribbon) -> None:
        parts = (("x", mark.x), ("low", mark.low), ("high", mark.high))
        self._call(
            "ax.fill_between",
            *(self._keep(name, floats(array)) for name, array in parts),
            f"facecolor={self._color(mark.role, fill_opacity(mark))}",
            'edgecolor="none"',
            self.over,
            self._label(mark),
        )

    def _scatter(self, mark: Scatter) -> None:
        style = self.style
        x, y = floats(mark.x), floats(mark.y)
        look, target = f"color={self._color(mark.role, mark.opacity)}", "ax.scatter"
        if mark.values is not None:
            values, cmap = self._keep("values", floats(mark.values)), self._colormap("sequential", mark.role)
            look = f"c={values}, cmap={cmap}, {self._norm(mark)}{_alpha(mark)}"
            if mark.values_label:
                target = f"points = {target}"
                self.bars.append(("points", mark.values_label))
        symbol = f'marker="{SYMBOLS[mark.symbol]}"' if mark.symbol != "circle" else ""
        # Points too small or too large to be told apart in a legend stand there in a middling size.
        itself = mark.values is None and 3.0 <= mark.size <= 8.0
        self._call(
            target,
            self._keep("x", x),
            self._keep("y", y),
            f"s={_short(style.marker_size(mark.size))}**2",
            symbol,
            look,
            f"linewidths={self._width(1.0) if mark.symbol == 'cross' else 0}",
            "rasterized=True" if x.size > RASTER_ITEMS else "",
            self.over,
            self._label(mark) if itself else "",
        )
        if not itself and (label := self._label(mark)):
            size = f"s={_short(style.marker_size(min(max(mark.size, 3.0), 8.0)))}**2"
            self._call(
                "ax.scatter", "[], []", size, symbol, f"color={self._color(mark.role, mark.opacity)}", label
            )

    def _vector_field(self, mark: VectorField) -> None:
        parts = [floats(part) for part in (mark.x, mark.y, mark.u, mark.v)]
        fine = np.isfinite(parts).all(axis=0)
        color = f"color={self._color(mark.role, mark.opacity)}"
        if fine.any():
            self._call(
                "ax.quiver",
                *(self._keep(name, part[fine]) for name, part in zip("xyuv", parts, strict=True)),
                'angles="xy", scale_units="xy", scale=1, units="inches"',
                f"width={self._width(1.25)} / 72",
                "headwidth=4, headlength=4.5, headaxislength=4, minlength=0.6",
                color,
                "rasterized=True" if fine.size > RASTER_ITEMS else "",
                self.over,
            )
        if label := self._label(mark):
            look = f'lw={self._width(1.5)}, marker=">", ms={_short(self.style.marker_size(4.0))}'
            self._call("ax.plot", "[], []", color, look, label)

    def _rule(self, mark: Rule) -> None:
        value = _number(mark.value) if math.isfinite(mark.value) else ""
        look = (
            f"color={self._color(mark.role, mark.opacity)}",
            f"lw={self._width(mark.width)}",
            self._dash(mark.dash),
        )
        if value:
            line = "ax.axhline" if mark.axis == "y" else "ax.axvline"
            self._call(line, value, *look, self.over, self._label(mark))
        elif label := self._label(mark):
            self._call("ax.plot", "[], []", *look, label)

    def _bars(self, mark: Bars) -> None:
        x, height = floats(mark.x), floats(mark.height)
        fine = np.isfinite(x) & np.isfinite(height)
        self._call(
            "ax.bar",
            self._keep("x", x[fine]),
            self._keep("height", height[fine]),
            f"width={_number(mark.width)}",
            f"bottom={_number(mark.base)}" if mark.base else "",
            f"color={self._color(mark.role, 0.9 * mark.opacity)}",
            self.over,
            self._label(mark),
        )

    def _histogram(self, mark: Histogram) -> None:
        counts = self._keep("counts", np.nan_to_num(floats(mark.counts)))
        edges = self._keep("edges", floats(mark.edges))
        fill = f"fill=True, facecolor={self._color(mark.role, fill_opacity(mark))}"
        self._call("ax.stairs", counts, edges, fill, 'edgecolor="none"', self.over, self._label(mark))
        outline = f"color={self._color(mark.role, mark.opacity)}", f"lw={self._width(1.25)}"
        self._call(
            "ax.stairs", counts, edges, *outline, self._dash(self.inks.dash(mark.role, "solid")), self.over
        )

    def _heatmap(self, mark: Heatmap) -> None:
        values = floats(mark.values)
        if values.ndim != 2 or not values.size:
            return
        kept = self._keep("values", values)
        look = (
            f"cmap={self._colormap(mark.colors, mark.role)}",
            f"{self._norm(mark)}{_alpha(mark)}",
            self.over,
        )
        target = ""
        if mark.values_label:
            target = "image = "
            self.bars.append(("image", mark.values_label))
        x0, x1, y0, y1 = (_number(end) for end in mark.extent)
        if "log" in (self.plot.x.scale, self.plot.y.scale):
            rows, columns = values.shape
            edges = f"np.linspace({x0}, {x1}, {columns + 1})", f"np.linspace({y0}, {y1}, {rows + 1})"
            self._call(f"{target}ax.pcolormesh", *edges, kept, *look, "rasterized=True")
        else:
            place = f'extent=({x0}, {x1}, {y0}, {y1}), origin="lower", aspect="auto"'
            self._call(f"{target}ax.imshow", kept, place, *look)
        if mark.colors == "role" and (label := self._label(mark)):
            self._patch_in_legend(mark, label)

    def _image_grid(self, mark: ImageGrid) -> None:
        count, height, width = mark.images.shape[:3]
        if not count:
            return
        columns = max(1, min(int(mark.columns), count))
        high, wide = montage_shape(mark)
        pictures = self._keep("images", to_uint8(mark.images))
        self.functions["montage"] = _MONTAGE
        self.imports.add("from matplotlib.colors import to_rgb")
        self._say(f"pictures = montage({pictures}, columns={columns}, gap={int(mark.gap)})")
        place = f'extent=(0, {wide}, {high}, 0), aspect="auto"'
        self._call(
            "ax.imshow",
            "pictures",
            place,
            f"alpha={_number(mark.opacity)}" if mark.opacity != 1 else "",
            self.over,
        )
        away = _short(0.4 * self.style.small_size)
        for labels, extent, step, size, at, how in (
            (
                mark.row_labels,
                high,
                height + mark.gap,
                height,
                "(0, {})",
                f'(-{away}, 0), ha="right", va="center"',
            ),
            (
                mark.column_labels,
                wide,
                width + mark.gap,
                width,
                "({}, 0)",
                f'(0, {away}), ha="center", va="bottom"',
            ),
        ):
            shown = labels[: -(-extent // step)]
            if shown:
                offset, _, align = how.partition("), ")
                middle = at.format(f"i * {int(step)} + {_number(size / 2)}")
                font = self._sizes(self.style.small_size, "SMALL")
                self._say(f"for i, name in enumerate({self._texts(shown)}):")
                points = f'{offset}), textcoords="offset points"'
                self._call("ax.annotate", "name", middle, points, align, f"fontsize={font}", indent="    ")

    def _boxes(self, mark: Boxes) -> None:
        self.imports.add("from matplotlib.patches import Rectangle")
        boxes = np.stack([floats(part) for part in (mark.x, mark.y, mark.width, mark.height)], axis=-1)
        kept = self._keep("boxes", boxes[np.isfinite(boxes).all(axis=1)])
        look = (
            f"fill=False, edgecolor={self._color(mark.role, mark.opacity)}, lw={self._width(mark.line_width)}"
        )
        self._say(f"for x, y, width, height in {kept}:")
        box = f'Rectangle((x, y), width, height, {look}, joinstyle="miter"{_and(self.over)})'
        self._call("ax.add_patch", box, indent="    ")
        if label := self._label(mark):
            self._call("ax.fill", "[], []", look, label)

    def _graph(self, mark: Graph) -> None:
        self.imports.add("from matplotlib.collections import LineCollection")
        style = self.style
        positions = floats(mark.positions).reshape(-1, 2)
        edges = np.asarray(mark.edges, dtype=int).reshape(-1, 2)
        many = "rasterized=True" if max(len(positions), len(edges)) > RASTER_ITEMS else ""
        self._say(f"positions = {self._keep('positions', positions)}")
        if len(edges):
            look = f"colors=[{self._color('past', 0.7 * mark.opacity)}]"
            if mark.edge_values is not None:
                limits = self._norm(mark, "edges").replace("vmin=", "").replace("vmax=", "")
                kept = self._keep("edge_values", floats(mark.edge_values))
                look = f"array={kept}, cmap={self._colormap('sequential', mark.role)}, clim=({limits}){_alpha(mark)}"
            segments = f"positions[{self._keep('edges', edges)}]"
            width = f"linewidths={self._width(1.0)}"
            self._call("edges = LineCollection", segments, width, look, 'capstyle="round"', many, self.over)
            self._say("ax.add_collection(edges)")
        look = f"color={self._color(mark.role, mark.opacity)}"
        if mark.node_values is not None:
            kept, cmap = (
                self._keep("node_values", floats(mark.node_values)),
                self._colormap("sequential", mark.role),
            )
            look = f"c={kept}, cmap={cmap}, {self._norm(mark)}{_alpha(mark)}"
        size = style.marker_size(6.0)
        self._call(
            "ax.scatter",
            "*positions.T",
            f"s={_short(size)}**2",
            look,
            "edgecolors=BACKGROUND",
            f"linewidths={self._width(0.8)}",
            many,
            self.over,
        )
        names = [str(name) for name in mark.node_labels[: len(positions)]]
        if any(names):
            font = self._sizes(style.small_size, "SMALL")
            self._say(
                'box = {"boxstyle": "square,pad=0.05", "facecolor": (BACKGROUND, 0.7), "edgecolor": "none"}',
                f"names = {self._texts(names)}",
                "for name, position in zip(names, positions):",
                "    if name:",
            )
            place = f'(0, {_short(0.7 * size)}), textcoords="offset points", ha="center", va="bottom"'
            self._call(
                "ax.annotate", "name", "position", place, f"fontsize={font}", "bbox=box", indent=" " * 8
            )
        if label := self._label(mark):
            look = f'lw={self._width(1.0)}, marker="o", ms={_short(style.marker_size(5.0))}'
            self._call("ax.plot", "[], []", f"color={self._color(mark.role, mark.opacity)}", look, label)

    def _words(self, mark: Words) -> None:
        x, y = floats(mark.x), floats(mark.y)
        weights = np.zeros(len(x))
        if mark.weights is not None:
            weights = np.clip(np.nan_to_num(floats(mark.weights)), 0.0, 1.0)
        fine = np.isfinite(x + y)
        label = self._label(mark)
        if fine.any():
            font = self._sizes(self.style.font_size, "FONT_SIZE")
            words = [word for word, shown in zip(mark.words, fine, strict=True) if shown]
            self._say(f"words = {self._texts(words)}")
            places = f"{self._keep('x', x[fine])}, {self._keep('y', y[fine])}"
            box = ""
            if weights.any():
                strength = _short(0.65 * mark.opacity)
                fill = f"({self._color(mark.role)}, {strength} * weight)"
                self._say(
                    f"for x, y, word, weight in zip({places}, words, {self._keep('weights', weights[fine])}):"
                )
                self._say(
                    f'    box = {{"boxstyle": "round,pad=0.18", "facecolor": {fill}, "edgecolor": "none"}}'
                )
                box = "bbox=box if weight > 0 else None"
            else:
                self._say(f"for x, y, word in zip({places}, words):")
            color = f"color={self._color('text', mark.opacity)}" if mark.opacity != 1 else ""
            look = f'ha={_text(mark.anchor)}, va="center"'
            # Texts lie on top anyway, unless another mark of this plot is to lie on them.
            self._call(
                "ax.text", "x, y, word", color, look, f"fontsize={font}", box, self.over, indent="    "
            )
        if label:
            self._patch_in_legend(mark, label)

    def _bodies(self, mark: Bodies) -> None:
        self.imports.add("from matplotlib.patches import Polygon")
        outlines = [floats(outline).reshape(-1, 2) for outline in mark.outlines]
        roles = [mark.roles[i] if i < len(mark.roles) else mark.role for i in range(len(outlines))]
        label = self._label(mark)
        shown = [i for i, outline in enumerate(outlines) if len(outline)]
        if shown:
            corners = self._keep("corners", np.concatenate([outlines[i] for i in shown]))
            ends = np.cumsum([len(outlines[i]) for i in shown])[:-1]
            self._say(f"outlines = np.split({corners}, {self._keep('ends', ends)})")
            colors = [self._color(roles[i], mark.opacity) for i in shown]
            look = f'edgecolor=BACKGROUND, lw={self._width(0.8)}, joinstyle="round"{_and(self.over)}'
            if len(set(colors)) == 1:
                self._say("for outline in outlines:")
                fill = colors[0]
            else:
                self._say(f"colors = {_wrapped(colors)}", "for outline, color in zip(outlines, colors):")
                fill = "color"
            self._call("ax.add_patch", f"Polygon(outline, facecolor={fill}, {look})", indent="    ")
        if label:
            self._patch_in_legend(mark, label)

    def _patch_in_legend(self, mark: Mark, label: str) -> None:
        self._call("ax.fill", "[], []", f"facecolor={self._color(mark.role, mark.opacity)}", label)

    # -- beside the plots

    def _one_bar(self) -> bool:
        """Whether one colour bar stands for all panels."""
        return len(self.page.axes) > len(self.plots)

    def _bars_beside(self, bars: Sequence[tuple[str, str]]) -> None:
        style = self.style
        width = min(0.06, 0.9 * style.font_size / 72.0 / (style.width_in / self.columns))
        for place, (mappable, label) in enumerate(bars):
            left = 1.0 + width + place * (6.0 * width + 0.12)
            inset = f"cax=ax.inset_axes([{_short(left)}, 0, {_short(width)}, 1])"
            self._bar(mappable, inset, label)

    def _bar(self, mappable: str, place: str, label: str) -> None:
        self._call("bar = fig.colorbar", mappable, place)
        self._call("bar.set_label", _text(plain(label)))
        self._say('bar.solids.set(edgecolor="face", rasterized=True)')

    def _finish(self) -> None:
        cells = self.rows * self.columns
        self._say("")
        for index in range(len(self.plots), cells):
            row, column = divmod(index, self.columns)
            self._say(f"axes[{row}, {column}].remove()")
        if self._one_bar():
            mappable, label = self.bars[0]
            self._bar(
                mappable,
                f"ax=axes.ravel().tolist()[:{len(self.plots)}], aspect={16 * self.rows}, pad=0.02, fraction=0.06",
                label,
            )
        header = self.page.get_suptitle()
        if header:
            left = 0.4 * self.style.font_size / 72.0 / self.style.width_in
            self._call("fig.suptitle", _text(header), f'x={_short(left)}, ha="left"')
        for legend in self.page.legends:
            look = "borderaxespad=0.25, borderpad=0.1, framealpha=1"
            columns = legend._ncols  # type: ignore[attr-defined]
            self._call("fig.legend", 'loc="outside lower center"', f"ncols={columns}", look)
        if self.style.text == "outlines":
            self.imports |= {"from matplotlib.patheffects import Normal", "from matplotlib.text import Text"}
            self._say("for text in fig.findobj(Text):  # as shapes, without fonts")
            self._say("    text.set_path_effects([Normal()])")
        self._say(
            *([""] if self.lines[-1] else []),
            'target = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_suffix(".pdf")',
            "fig.savefig(target, dpi=DPI)",
        )

    # -- head

    def _head(self) -> str:
        style, size = self.style, self.arrangement.size
        imports = ["import matplotlib.pyplot as plt", "import numpy as np", *sorted(_merged(self.imports))]
        tokens = {
            name: getattr(self.colors, name.lower())
            for name in ("BACKGROUND", "TEXT", "AXIS", "GRID", "MUTED")
        }
        head = [
            '"""Draws a figure from data.npz beside this file, with numpy and matplotlib 3.9 or later.',
            "",
            "Run it with the name of the file to write: .pdf, .svg, .png; without one it writes a PDF beside itself.",
            '"""',
            "",
            "import sys",
            "from pathlib import Path",
            "",
            *imports,
            "",
            f"WIDTH, HEIGHT = {_number(round(size[0], 5))}, {_number(round(size[1], 5))}  # inches",
            f"DPI = {int(max(style.dpi, RASTER_DPI))}  # of PNG files, and of pictures inside PDF files",
            f"FONT = {_text(style.font_family)}",
            f"FONT_SIZE, SMALL = {_short(style.font_size)}, {_short(style.small_size)}  # points",
            "",
            *(f"{name} = {_text(color)}" for name, color in {**tokens, **self.roles}.items()),
            *(f"{name} = {code}" for name, code in self.constants.items()),
            "",
            "plt.rcdefaults()",
            "plt.rcParams.update(",
            "    {",
            *(f"        {_text(key)}: {code}," for key, code in self._parameters(tokens)),
            "    }",
            ")",
            "",
            'data = np.load(Path(__file__).with_name("data.npz"))',
        ]
        for code in self.functions.values():
            head += ["", *code.rstrip().splitlines(), "", ""]
        return "\n".join([*head, *self._canvas()])

    def _canvas(self) -> list[str]:
        if self.panels is None:
            made = ["fig, ax = plt.subplots(figsize=(WIDTH, HEIGHT))"]
        else:
            place = self.page.axes[0].get_subplotspec() if self.plots else None
            heights = (
                np.ones(self.rows) if place is None else np.array(place.get_gridspec().get_height_ratios())
            )
            ratios = ", ".join(_short(height) for height in heights / heights.max())
            made = [
                "fig, axes = plt.subplots(",
                f"    {self.rows}, {self.columns}, figsize=(WIDTH, HEIGHT), squeeze=False, height_ratios=[{ratios}]",
                ")",
            ]
        pictures = ", compress=True" if self._pictures() else ""
        return [
            *made,
            "margin = 0.4 * FONT_SIZE / 72",
            "fig.set_layout_engine(",
            f'    "constrained", w_pad=margin, h_pad=margin, wspace=0.02, hspace=0.02{pictures}',
            ")",
        ]

    def _pictures(self) -> bool:
        return bool(self.plots) and all(
            axes.get_aspect() != "auto" for axes in self.page.axes[: len(self.plots)]
        )

    def _parameters(self, tokens: Mapping[str, str]) -> Iterable[tuple[str, str]]:
        """What our drawings change of matplotlib's defaults, in terms of the script's own names."""
        import matplotlib as mpl

        names = {color: name for name, color in reversed(list(tokens.items()))}
        sizes = {self.style.small_size: "SMALL", self.style.font_size: "FONT_SIZE"}
        groups = ("font", "mathtext", "text", "axes", "grid", "legend", "figure", "xtick", "ytick", "pdf")
        with drawing(self.style):
            for key, default in mpl.rcParamsDefault.items():
                if key.split(".")[0] not in groups or (value := mpl.rcParams[key]) == default:
                    continue
                if key.endswith("size") and value in sizes and key.split(".")[1] not in ("major", "minor"):
                    yield key, sizes[value]
                elif key.endswith("color") and value in names:
                    yield key, names[value]
                elif key == "font.family":
                    yield key, f'[FONT, "{value[-1]}"]'
                else:
                    yield key, _literal(value)
        yield "axes.formatter.use_mathtext", "True"


def _merged(imports: Iterable[str]) -> Iterable[str]:
    """Imports with one line to a module."""
    found: dict[str, set[str]] = {}
    for line in imports:
        module, _, names = line.removeprefix("from ").partition(" import ")
        found.setdefault(module, set()).update(names.split(", "))
    return [f"from {module} import {', '.join(sorted(names))}" for module, names in found.items()]


def _text(text: Any) -> str:
    """A literal of a text: whatever it holds, it is one token on one line."""
    code = repr(str(text))
    return f'"{code[1:-1]}"' if "'" not in str(text) and '"' not in str(text) else code


def _number(value: Any) -> str:
    """A literal of a number."""
    number = float(value)
    if not math.isfinite(number):
        return f'float("{number}")'
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _short(value: float) -> str:
    """A length, as exactly as anyone can see it."""
    return _number(round(float(value), 3))


def _neat(low: float, high: float, log: bool) -> tuple[str, str]:
    """Limits without the digits that nobody can see."""
    if log:
        return _number(f"{low:.6g}"), _number(f"{high:.6g}")
    if not math.isfinite(high - low):
        return _number(low), _number(high)
    digits = 5 - math.floor(math.log10(abs(high - low)))
    return _number(round(low, digits)), _number(round(high, digits))


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(part) for part in value)}]"
    return repr(value) if isinstance(value, bool) or value is None else _short(value)


def _wrapped(items: Sequence[str]) -> str:
    """A list of names, some to a line."""
    if len(items) <= 8:
        return f"[{', '.join(items)}]"
    rows = [", ".join(items[i : i + 8]) + "," for i in range(0, len(items), 8)]
    return "[\n    " + "\n    ".join(rows) + "\n]"


def _alpha(mark: Mark) -> str:
    return "" if mark.opacity == 1.0 else f", alpha={_number(min(max(mark.opacity, 0.0), 1.0))}"


def _and(code: str) -> str:
    return f", {code}" if code else ""


__all__ = ["script_bytes"]
