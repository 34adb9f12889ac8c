"""A small figure for every mark, with the colours that must show when it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.figures import (
    HIDDEN,
    Axis,
    Bars,
    Bodies,
    Boxes,
    Film,
    Graph,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
    Words,
)
from lab.export import Style

SIZED = Style(width_in=3.25, height_in=2.4, dpi=100, font_size=8)
X, Y = Axis("Update"), Axis("Loss", "nats")
STEPS = np.arange(0.0, 100.0, 5.0)
FALL = 2.0 * np.exp(-STEPS / 40)
SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


@dataclass(frozen=True)
class Sample:
    plot: Plot
    colors: tuple[str, ...]
    """Roles or ``#RRGGBB`` of the light theme that must be seen in it."""


MARKS = {
    "lines": Sample(
        Plot(
            (Lines(STEPS, FALL, label="training"), Lines(STEPS, FALL / 2, role="target", dash="dash")), X, Y
        ),
        ("model", "target"),
    ),
    "stairs with points": Sample(
        Plot((Lines(STEPS, FALL, role="data", steps=True, points=True),), X, Y), ("data",)
    ),
    "log": Sample(
        Plot((Lines(STEPS + 1, FALL, width=4),), Axis("Update", scale="log"), Axis("Loss", scale="log")),
        ("model",),
    ),
    "ribbon": Sample(Plot((Ribbon(STEPS, FALL - 0.2, FALL + 0.2, label="10 to 90 %"),), X, Y), ("#F8EAC7",)),
    "scatter": Sample(Plot((Scatter(STEPS, FALL, size=9, label="data", role="data"),), X, Y), ("data",)),
    "scatter of values": Sample(
        Plot((Scatter(STEPS, FALL, size=9, values=FALL, values_label="loss (nats)"),), X, Y),
        ("#440154", "#FDE725"),
    ),
    "vector field": Sample(
        Plot((VectorField(STEPS, FALL, np.full(20, 9.0), np.full(20, 0.3), role="hand"),), X, Y), ("hand",)
    ),
    "rule": Sample(
        Plot((Rule(1.0, label="bound", width=6, dash="solid", role="warning"),), X, Y), ("warning",)
    ),
    "bars": Sample(
        Plot(
            (Bars(np.arange(3.0), np.array([1.0, 2.0, 0.5])),),
            Axis("Class", ticks=((0.0, "a long first name"), (1.0, "a long second name"), (2.0, "a third"))),
            Axis("Probability"),
        ),
        ("#E9A91A",),
    ),
    "histogram": Sample(
        Plot((Histogram(np.linspace(0, 1, 11), np.arange(10.0), label="data", role="data"),), X, Y),
        ("#B2D5E8",),
    ),
    "heat map": Sample(
        Plot((Heatmap(np.arange(12.0).reshape(3, 4), (0, 4, 0, 3), values_label="weight"),), X, Y),
        ("#440154", "#FDE725"),
    ),
    "signed heat map": Sample(
        Plot((Heatmap(np.linspace(-1, 1, 12).reshape(3, 4), (0, 4, 0, 3), colors="diverging"),), X, Y),
        ("#2151DB", "#C00206"),
    ),
    "role heat map": Sample(
        Plot((Heatmap(np.eye(4), (0, 4, 0, 4), colors="role", role="hand", label="push"),), X, Y),
        ("hand", "#FFFFFF"),
    ),
    "pictures": Sample(
        Plot(
            (ImageGrid(np.stack([np.eye(6)] * 6), 3, ("first", "second"), ("a", "b", "c")),),
            HIDDEN,
            HIDDEN,
            y_down=True,
            note="t = 12 of 40",
        ),
        ("#000000", "#FFFFFF"),
    ),
    "boxes": Sample(
        Plot(
            (
                ImageGrid(np.full((1, 8, 8, 3), 255, np.uint8), 1),
                Boxes(
                    np.array([2.0]),
                    np.array([2.0]),
                    np.array([3.0]),
                    np.array([3.0]),
                    line_width=4,
                    role="warning",
                ),
            ),
            HIDDEN,
            HIDDEN,
            y_down=True,
        ),
        ("warning",),
    ),
    "graph": Sample(
        Plot((Graph(SQUARE, np.array([[0, 1], [1, 2]]), node_labels=("x1", "x2")),), HIDDEN, HIDDEN),
        ("model",),
    ),
    "graph of values": Sample(
        Plot(
            (Graph(SQUARE, np.array([[0, 1], [1, 2]]), np.arange(4.0), np.array([-1.0, 1.0])),),
            HIDDEN,
            HIDDEN,
            equal=True,
        ),
        ("#440154", "#FDE725"),
    ),
    "words": Sample(
        Plot(
            (Words(np.arange(3.0), np.zeros(3), ("costs", "$5", "or $6"), np.array([0.0, 0.5, 1.0])),),
            HIDDEN,
            HIDDEN,
        ),
        ("#EFC159", "neutral"),
    ),
    "bodies": Sample(
        Plot(
            (Bodies((SQUARE, SQUARE + 2), roles=("data", "target")),),
            Axis("x", "m"),
            Axis("y", "m"),
            equal=True,
        ),
        ("data", "target"),
    ),
}

PANELS = Panels(
    (MARKS["lines"].plot, MARKS["heat map"].plot, MARKS["scatter"].plot, MARKS["histogram"].plot),
    2,
    title="Four",
)


def walk(at: float) -> Plot:
    """A frame of the film: a body at a place."""
    return Plot(
        (Bodies((SQUARE + np.array([at, 0.0]),)),), Axis("x", "m"), Axis("y", "m"), "Walk", equal=True
    )


FILM = Film(tuple(walk(3.0 * i) for i in range(5)), np.arange(5.0) / 2, Axis("Time", "s"), "Walk", start=1)
