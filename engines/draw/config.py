"""Settings, presets, views and requests of the DRAW paper; any thread or process, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import pydantic

from engines.config import Preset, Settings, setting
from engines.errors import SettingError
from engines.figures import CurveSpec, FigureSpec
from engines.method import Action, Method, Question

LABELLED = ("digits", "mnist", "two_digits", "cluttered_digits", "svhn", "file")
"""Data that have one class for each picture, or may have."""

CANVASES = ("two_digits", "cluttered_digits")
"""Data that are put together from digits on a larger canvas."""


class DrawSettings(Settings):
    """Settings of one DRAW run."""

    task: Literal["generate", "classify"] = setting(
        "generate",
        label="Task",
        effect="rebuild",
        group="Data",
        choices={"generate": "Draw pictures", "classify": "Classify with glimpses"},
        help="Draw: the whole of DRAW. Classify: the encoder alone with its reading window (section 4.1); after the last "
        "glimpse it names the class.",
    )
    data: Literal["digits", "mnist", "binarized_mnist", "two_digits", "cluttered_digits", "svhn", "file"] = (
        setting(
            "digits",
            label="Data",
            effect="rebuild",
            group="Data",
            choices={
                "digits": "Digits 8×8",
                "mnist": "MNIST",
                "binarized_mnist": "MNIST, binarised once and for all",
                "two_digits": "Two digits on a canvas",
                "cluttered_digits": "Cluttered digits",
                "svhn": "Street View House Numbers",
                "file": "Own file or folder",
            },
            help="The paper draws binarised MNIST, two digits on 60×60 and SVHN, and classifies cluttered digits.",
        )
    )
    path: str = setting(
        "",
        label="File",
        effect="rebuild",
        group="Data",
        kind="path",
        visible_when={"data": "file"},
        help="A folder of images, or an NPZ file with images (N, H, W) or (N, H, W, 3).",
    )
    size: int = setting(
        28,
        label="Side of own images",
        effect="rebuild",
        group="Data",
        minimum=4,
        maximum=128,
        unit="px",
        visible_when={"data": "file"},
        help="Images of a folder are cut to a square and scaled to this side. Those of an NPZ file keep their size.",
    )
    digits: Literal["digits", "mnist"] = setting(
        "digits",
        label="Digits on the canvas",
        effect="rebuild",
        group="Data",
        choices={"digits": "Digits 8×8, enlarged", "mnist": "MNIST"},
        visible_when={"data": CANVASES},
        help="What is put on the canvas. The paper takes MNIST.",
    )
    canvas: int = setting(
        60,
        label="Side of the canvas",
        effect="rebuild",
        group="Data",
        minimum=28,
        maximum=128,
        unit="px",
        visible_when={"data": CANVASES},
        help="60 for the paper's two digits, 100 for its cluttered digits.",
    )
    distractors: int = setting(
        4,
        label="Pieces of clutter",
        effect="rebuild",
        group="Data",
        minimum=0,
        maximum=64,
        visible_when={"data": "cluttered_digits"},
        help="Small pieces of other digits, strewn over the canvas: 8 on the published 100×100, 4 go with 60×60.",
    )
    fresh: bool = setting(
        True,
        label="New canvases for each batch",
        effect="rebuild",
        group="Data",
        visible_when={"data": CANVASES},
        help="Put each training canvas together anew, so that places are never learned by heart; otherwise 10,000 of them.",
    )
    binarisation: Literal["threshold", "fixed", "drawn", "means"] = setting(
        "threshold",
        label="Grey levels",
        effect="rebuild",
        group="Data",
        choices={
            "threshold": "Ink or no ink",
            "fixed": "Binarised once",
            "drawn": "Binarised anew each time",
            "means": "Taken as Bernoulli means",
        },
        visible_when={"task": "generate"},
        help="The model's pixels are Bernoulli. Ink or no ink: from half of full ink on a pixel is 1, else 0. Binarised "
        "once: each grey level is drawn as 0 or 1 before training, and the bound is one on -log p of these pictures. "
        "Anew: drawn at each use, which makes more pictures out of few. Means: grey levels stay, as the paper has it for "
        "SVHN; the number is then a cross-entropy and no bound on the likelihood of the grey picture.",
    )

    attention: bool = setting(
        True,
        label="Attention",
        effect="rebuild",
        group="Network",
        visible_when={"task": "generate"},
        help="Read and write through a movable grid of Gaussian filters (section 3.2). Without it the encoder sees all "
        "of the picture and the decoder writes on all of the canvas at every step (section 3.1).",
    )
    glimpses: int = setting(
        12,
        label="Glimpses",
        symbol="T",
        effect="rebuild",
        group="Network",
        minimum=1,
        maximum=128,
        help="Steps that a picture takes. The paper has 64 for MNIST, 32 for SVHN, 8 for the classifier.",
    )
    read_n: int = setting(
        3,
        label="Reading window",
        symbol="N",
        effect="rebuild",
        group="Network",
        minimum=1,
        maximum=24,
        unit="filters",
        visible_when={"attention": True},
        help="Filters per side of the window that reads: 2 for the paper's MNIST, 12 for SVHN and the classifier.",
    )
    write_n: int = setting(
        2,
        label="Writing window",
        symbol=r"\hat N",
        effect="rebuild",
        group="Network",
        minimum=1,
        maximum=24,
        unit="filters",
        visible_when={"attention": True, "task": "generate"},
        help="Filters per side of the window that writes: 5 for the paper's MNIST, 12 for SVHN.",
    )
    first_window: float = setting(
        1.0,
        label="Windows at first",
        effect="rebuild",
        group="Network",
        minimum=0.05,
        maximum=1.0,
        step=0.05,
        visible_when={"attention": True, "task": "generate"},
        help="Side of both windows before training, as a share of the picture's longer side: the first log delta~ is its "
        "logarithm, and learned like all else. 1 lays them over the whole picture, as weights near zero do. The paper does "
        "not say how weights begin.",
    )
    hidden: int = setting(
        64,
        label="LSTM units",
        effect="rebuild",
        group="Network",
        minimum=4,
        maximum=2048,
        scale="log",
        help="Of the encoder, and of the decoder.",
    )
    latent: int = setting(
        10,
        label="Latent numbers",
        symbol="|z_t|",
        effect="rebuild",
        group="Network",
        minimum=1,
        maximum=512,
        scale="log",
        visible_when={"task": "generate"},
        help="Of each step.",
    )
    twin: bool = setting(
        False,
        label="Train the twin",
        effect="rebuild",
        group="Network",
        visible_when={"task": "generate"},
        help="Train beside it, on the same batches, the same network without attention (or with it, where the run has none). "
        "A step then takes about twice as long.",
    )

    step_size: float = setting(
        4e-3,
        label="Learning rate",
        effect="live",
        group="Training",
        minimum=1e-6,
        maximum=1.0,
        scale="log",
        help="Of the Adam optimiser, which the paper uses; it does not say at which rate.",
    )
    batch: int = setting(
        64,
        label="Batch",
        effect="live",
        group="Training",
        minimum=1,
        maximum=4096,
        scale="log",
        unit="pictures",
        help="Pictures per update. The paper does not say how many.",
    )
    clip: float = setting(
        10.0,
        label="Gradient clip",
        effect="live",
        group="Training",
        minimum=0.0,
        maximum=1000.0,
        help="The gradient is shortened to this norm if it is longer; 0 leaves it. The paper does not mention it.",
    )
    evaluate_every: int = setting(
        50,
        label="Measure every",
        effect="live",
        group="Training",
        minimum=1,
        maximum=100_000,
        unit="updates",
        scale="log",
        help="The bound, or the error, on held-out pictures.",
    )
    importance: int = setting(
        10,
        label="Samples of the tighter bound",
        symbol="K",
        effect="live",
        group="Training",
        minimum=1,
        maximum=500,
        scale="log",
        visible_when={"task": "generate"},
        help="The importance-weighted bound averages over so many drawings of one picture; it falls towards -log p as K "
        "rises. Not in the paper, which reports the bound of one.",
    )

    temperature: float = setting(
        1.0,
        label="Temperature of the prior",
        effect="display",
        group="Pictures",
        minimum=0.0,
        maximum=3.0,
        step=0.05,
        visible_when={"task": "generate"},
        help="Standard deviation of z in samples: 1 is the model's own, less draws what is more typical.",
    )
    shown: int = setting(
        24,
        label="Samples",
        effect="display",
        group="Pictures",
        minimum=1,
        maximum=100,
        visible_when={"task": "generate"},
        help="How many samples the grid shows.",
    )
    followed: int = setting(
        4,
        label="Pictures with boxes",
        effect="display",
        group="Pictures",
        minimum=1,
        maximum=12,
        help="How many pictures are followed stroke by stroke with their windows.",
    )

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.task == "classify" and self.data not in LABELLED:
            raise SettingError(
                f"Classifying needs a class for each picture, which data={self.data} does not give: choose one of "
                f"{', '.join(LABELLED)}.",
                "data",
            )
        return self


# --- requests of the hand  ----------


@dataclass(frozen=True)
class PickImage(Action):
    """Which held-out picture is drawn again first, and lies under the probe; counted from 0 and wrapped around."""

    index: int


@dataclass(frozen=True, eq=False)
class OwnImage(Action):
    """A person's own picture in the place of the held-out one; None takes it away.

    Attributes
    ----------
    image : array (h, w) or (h, w, 3), or None
        uint8, or float in 0 .. 1; it is scaled to the size of the data.
    """

    image: np.ndarray | None


@dataclass(frozen=True)
class Probe(Action):
    """Lay a grid of filters over the picked picture.

    Attributes
    ----------
    g_x, g_y : float
        Its centre, in pixels counted from 1.
    delta : float
        Stride, pixels.
    sigma : float
        Standard deviation of the filters, pixels.
    n : int
        Filters per side.
    gamma : float
        Intensity.
    """

    is_noted: ClassVar[bool] = False

    g_x: float
    g_y: float
    delta: float
    sigma: float
    n: int
    gamma: float = 1.0


@dataclass(frozen=True, eq=False)
class HoldBrush(Action):
    """Take the brush out of the model's hand in one drawing, and let the model go on from there.

    Attributes
    ----------
    step : int
        t of 1 .. T.
    of : {"sample", "picture"}
        A sample, whose later strokes are decided by its latents, or the picked picture that is drawn again, whose encoder
        sees what was done and answers.
    index : int
        Which sample of the grid, from 0 and wrapped around; means nothing for a picture.
    window : (g_x, g_y, delta, sigma) or None
        Where the model has to write at that step, pixels; None leaves it to the model. Needs attention.
    last : int or None
        The window is held until this step; None for ``step`` alone.
    paint : array (height, width) or (height, width, 3), or None
        Ink 0 .. 1 put on the canvas after the step; NaN where nothing is painted.
    """

    is_noted: ClassVar[bool] = False

    step: int
    of: Literal["sample", "picture"] = "sample"
    index: int = 0
    window: tuple[float, float, float, float] | None = None
    last: int | None = None
    paint: np.ndarray | None = None


@dataclass(frozen=True)
class LetGo(Action):
    """Give the brush back: nothing is held and nothing painted."""


@dataclass(frozen=True)
class FanOut(Action):
    """Draw z_t of one step anew many times and keep the others: the endings of one beginning.

    Attributes
    ----------
    step : int
        t of 1 .. T.
    index : int
        Which sample of the grid, from 0 and wrapped around.
    endings : int
    draw : int
        Which draw of the new z_t, from 0.
    """

    is_noted: ClassVar[bool] = False

    step: int
    index: int = 0
    endings: int = 12
    draw: int = 0


@dataclass(frozen=True)
class GiveHand(Question):
    """Tell what the hand holds: it comes back with a keyframe."""


MOST_ENDINGS = 64

# --- what it offers  ----------

_DIGITS = {
    "data": "digits",
    "glimpses": 12,
    "read_n": 3,
    # Through many filters over 8 pixels one step draws the whole digit: strokes need few, and a window that begins small.
    "write_n": 2,
    "first_window": 0.5,
    "hidden": 64,
    "latent": 10,
    "batch": 64,
    "step_size": 4e-3,
    "binarisation": "threshold",
    "evaluate_every": 50,
    "steps": 20_000,
}

_SMALL_MNIST = {
    "data": "mnist",
    "glimpses": 10,
    "read_n": 5,
    "write_n": 5,
    "hidden": 128,
    "latent": 20,
    "batch": 64,
    "step_size": 2e-3,
    "binarisation": "drawn",
    "evaluate_every": 200,
    "steps": 50_000,
}

PRESETS = (
    Preset(
        "digits",
        "Digits 8×8, 30-second demo",
        "Real handwritten digits, drawn in twelve strokes through windows of 2×2 filters, which begin half as large as the "
        "picture. Sizes are ours.",
        _DIGITS,
    ),
    Preset(
        "no-attention",
        "Without attention",
        "The same, but every stroke covers the whole canvas, as in section 3.1.",
        {**_DIGITS, "attention": False},
    ),
    Preset(
        "twins",
        "Twins",
        "With and without attention, trained on the same batches.",
        {**_DIGITS, "twin": True},
    ),
    Preset(
        "mnist-small",
        "MNIST, small",
        "MNIST for a CPU: T = 10 and smaller networks than the paper's; binarised anew each time.",
        _SMALL_MNIST,
    ),
    Preset(
        "mnist",
        "Paper: binarised MNIST",
        "The paper's sizes: T = 64, 256 units, 100 latent numbers, reads 2×2, writes 5×5. Learning rate, batch and "
        "clipping are ours, as the paper does not say. For a GPU, or much patience.",
        {
            "data": "binarized_mnist",
            "glimpses": 64,
            "read_n": 2,
            "write_n": 5,
            "hidden": 256,
            "latent": 100,
            "batch": 100,
            "step_size": 3e-4,
            "binarisation": "fixed",
            "evaluate_every": 500,
            "steps": 500_000,
        },
    ),
    Preset(
        "two-digits",
        "Two digits on 60×60",
        "Two digits at random places, which the paper's network draws one after the other. Sizes are ours; the paper has "
        "MNIST digits. For long runs: after minutes on a CPU there are only blots.",
        {
            "data": "two_digits",
            "canvas": 60,
            "glimpses": 16,
            "read_n": 5,
            "write_n": 8,
            "hidden": 128,
            "latent": 20,
            "batch": 32,
            "step_size": 1e-3,
            "binarisation": "means",
            "evaluate_every": 200,
            "steps": 100_000,
        },
    ),
    Preset(
        "cluttered",
        "Cluttered digits, classified",
        "The reading window finds the digit, in eight glimpses through 12×12 filters, on canvases of 60×60. All sizes and "
        "the learning rate are ours.",
        {
            "task": "classify",
            "data": "cluttered_digits",
            "canvas": 60,
            "glimpses": 8,
            "read_n": 12,
            "hidden": 128,
            "batch": 64,
            "step_size": 2e-3,
            "evaluate_every": 100,
            "steps": 50_000,
        },
    ),
    Preset(
        "svhn",
        "Street numbers",
        "Three channels as Bernoulli means, through the same filters. The pictures are the cropped digits of 32×32, where "
        "the paper cuts 54×54 out of whole house numbers. All sizes and the learning rate are ours. For a GPU.",
        {
            "data": "svhn",
            "glimpses": 32,
            "read_n": 12,
            "write_n": 12,
            "hidden": 800,
            "latent": 100,
            "batch": 50,
            "step_size": 3e-4,
            "binarisation": "means",
            "evaluate_every": 500,
            "steps": 500_000,
        },
    ),
    Preset(
        "break-it",
        "Break it",
        "One stroke through a single filter: whatever is drawn is a blot. Raise the glimpses and watch it recover.",
        {**_DIGITS, "glimpses": 1, "read_n": 1, "write_n": 1},
    ),
)

VIEWS = (
    FigureSpec(
        "canvas",
        "Canvas",
        "Held-out pictures, the canvas on which they are drawn again, and samples, stroke by stroke (the paper's figures "
        "1 and 5). The green box is where the encoder reads, the orange box where the decoder writes; the wider the "
        "filters, the thicker the line.",
    ),
    FigureSpec(
        "samples",
        "Samples",
        "Samples of the model, all drawn in step, each with the training picture that is nearest to it (the paper's "
        "figures 6, 8 and 9). A model that learned pictures by heart would show twice the same.",
    ),
    FigureSpec(
        "filters",
        "Filters",
        "The filter banks F_Y and F_X of the reading and the writing window (equations 19 to 26), what is read and what is "
        "written through them, step by step.",
    ),
    CurveSpec(
        "bound",
        "Bound",
        "L = L^x + L^z, an upper bound on -log p(x) in nats (equation 12): of each batch, and of held-out pictures; "
        "below it the tighter bound that weighs several drawings of each picture. Rises again on held-out pictures once "
        "they are learned by heart.",
        (
            ("loss_nats", "L, training batch", "past"),
            ("bound_nats", "L, held-out", "model"),
            ("importance_nats", "importance-weighted, held-out", "target"),
        ),
        "L",
        y_unit="nats",
    ),
    FigureSpec(
        "terms",
        "Where nats go",
        "What each step tells: KL(Q_t || P) of z_t (equation 11), beside what is left to pay for the pixels, L^x. "
        "Held-out pictures.",
    ),
    FigureSpec(
        "held",
        "Hold the brush",
        "Choose a step, move or resize the writing window or paint on the canvas: the drawing goes on from there, beside "
        "the one that would have been. In a sample nobody looks at the canvas, so later strokes fall as they would have. "
        "When a picture is drawn again, the encoder sees what you did, and tries to mend it.",
    ),
    FigureSpec(
        "fan",
        "Fan of endings",
        "z_t of one step is drawn anew many times, and the others stay: how much does that one step decide?",
    ),
    FigureSpec(
        "probe",
        "Probe",
        "Lay a grid of filters over a picture (the paper's figure 3): the filter banks, the glimpse F_Y x F_X^T, and what "
        "comes back when it is written through the same grid. Drag it, change its stride and its width.",
        "fast",
    ),
    FigureSpec(
        "twins",
        "Twins",
        "Samples of two networks that saw the same batches, with attention and without (the paper's figure 7). Switch on "
        "'Train the twin'.",
    ),
    CurveSpec(
        "twin_bounds",
        "Bounds of the twins",
        "L on held-out pictures, with and without attention.",
        (
            ("attention_nats", "with attention", "model"),
            ("whole_nats", "without attention", "data"),
        ),
        "L",
        y_unit="nats",
    ),
    FigureSpec(
        "glimpses",
        "Glimpses",
        "The classifier looks at held-out pictures (the paper's figure 4): its reading window, what it sees through it, "
        "and the error if it had to answer after so many glimpses. It is trained to answer after the last.",
    ),
    CurveSpec(
        "error",
        "Error",
        "Share of pictures that the classifier gets wrong.",
        (
            ("train_error_percent", "training batch", "past"),
            ("error_percent", "held-out", "model"),
        ),
        "Error",
        y_unit="%",
    ),
)

METHOD = Method(
    engine="engines.draw.engine:DrawEngine",
    config=DrawSettings,
    presets=PRESETS,
    views=VIEWS,
    headline="bound_nats",
    headline_label="L, held-out (nats)",
    maximise=False,
    watched="loss_nats",
    learning_rate="step_size",
    bench="engines.draw.bench:bench",
)
