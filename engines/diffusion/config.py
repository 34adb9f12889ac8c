"""Settings, presets, views and requests of the diffusion paper; any thread or process, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pydantic

from engines.config import Preset, Settings, setting
from engines.errors import SettingError
from engines.figures import CurveSpec, FigureSpec
from engines.method import Action, Method

POINT_DATA = ("swiss_roll", "mixture", "rings", "moons", "drawn")
IMAGE_DATA = ("digits", "mnist", "fashion_mnist", "cifar10")


class DiffusionSettings(Settings):
    """Settings of one diffusion run."""

    data: Literal[
        "swiss_roll",
        "mixture",
        "rings",
        "moons",
        "drawn",
        "file",
        "digits",
        "mnist",
        "fashion_mnist",
        "cifar10",
    ] = setting(
        "swiss_roll",
        label="Data",
        effect="rebuild",
        group="Data",
        choices={
            "swiss_roll": "Swiss roll",
            "mixture": "Gaussian mixture",
            "rings": "Rings",
            "moons": "Two moons",
            "drawn": "Points drawn by hand",
            "file": "Own file or folder",
            "digits": "Digits 8×8",
            "mnist": "MNIST",
            "fashion_mnist": "Fashion-MNIST",
            "cifar10": "CIFAR-10",
        },
        help="Points on the plane or images. All data are brought to mean 0 and variance 1, which the bound K presumes.",
    )
    path: str = setting(
        "",
        label="File",
        effect="rebuild",
        group="Data",
        kind="path",
        visible_when={"data": "file"},
        help="A CSV or NPZ file of points (two columns for all pictures), or a folder of images.",
    )
    noise: float = setting(
        0.05,
        label="Noise",
        effect="rebuild",
        group="Data",
        minimum=0.0,
        maximum=5.0,
        step=0.01,
        visible_when={"data": ("swiss_roll", "rings", "moons")},
        help="Standard deviation of the noise around the curve, in scikit-learn's units (its swiss roll is about 20 wide). "
        "It decides how large K can become.",
    )
    components: int = setting(
        6,
        label="Components",
        effect="rebuild",
        group="Data",
        minimum=1,
        maximum=40,
        visible_when={"data": "mixture"},
        help="Gaussians on a circle. Their density is known, so the exact drift and the exact bound can be shown.",
    )
    drawn: tuple[float, ...] = setting(
        (),
        label="Drawn points",
        effect="rebuild",
        group="Data",
        kind="curve",
        minimum=-10.0,
        maximum=10.0,
        visible_when={"data": "drawn"},
        help="x and y of each point in turn, in units of the plane. Draw them with the brush on the plane.",
    )
    drawn_spread: float = setting(
        0.05,
        label="Spread of drawn points",
        effect="rebuild",
        group="Data",
        minimum=0.001,
        maximum=1.0,
        scale="log",
        visible_when={"data": "drawn"},
        help="Standard deviation of the Gaussian that stands on each drawn point.",
    )

    trajectory: int = setting(
        40,
        label="Trajectory length",
        symbol="T",
        effect="rebuild",
        group="Chain",
        minimum=3,
        maximum=2000,
        unit="steps",
        help="Number of diffusion steps from data to noise: 40 for the paper's swiss roll, 1000 for its images.",
    )
    schedule: Literal["geometric", "binomial", "learned", "drawn"] = setting(
        "geometric",
        label="Noise schedule",
        symbol=r"\beta_t",
        effect="live",
        group="Chain",
        choices={
            "geometric": "Even in log noise",
            "binomial": "1/(T−t+1)",
            "learned": "Learned",
            "drawn": "Drawn",
        },
        help="How fast each step destroys the data. The paper learns it through frozen noise (section 2.4.1) and notes that "
        "1/(T−t+1) works as well; 'even in log noise' is ours. Drag the points of the schedule to draw one.",
    )
    beta_1: float = setting(
        5e-6,
        label="First noise",
        symbol=r"\beta_1",
        effect="live",
        group="Chain",
        minimum=1e-6,
        maximum=0.5,
        scale="log",
        help="Variance of the first step, which is fixed and never learned. The last reverse step adds this noise again, so "
        "it sets a limit to K: it should lie well below the variance of the data's own noise.",
    )
    last_signal: float = setting(
        0.05,
        label="Signal left at the end",
        symbol=r"\bar\alpha_T",
        effect="live",
        group="Chain",
        minimum=1e-5,
        maximum=0.5,
        scale="log",
        visible_when={"schedule": ("geometric", "learned")},
        help="Part of the data's variance that is left after T steps; where the schedule starts, when it is learned.",
    )
    betas: tuple[float, ...] = setting(
        (),
        label="Drawn schedule",
        effect="live",
        group="Chain",
        kind="curve",
        minimum=0.0,
        maximum=1.0,
        visible_when={"schedule": "drawn"},
        help="Values of beta from step 2 to step T; any number of them, interpolated; none keeps the schedule as it is. "
        "Drag the points in the schedule view.",
    )

    network: Literal["rbf", "mlp", "dense"] = setting(
        "mlp",
        label="Network",
        effect="rebuild",
        group="Network",
        choices={"rbf": "RBF", "mlp": "MLP", "dense": "Dense + time bumps"},
        help="RBF: the paper's network for the swiss roll. MLP: hidden layers shared by all steps, a readout per step. "
        "Dense: the paper's time readout for images, where time enters only through bump functions after the last layer.",
    )
    units: int = setting(
        64,
        label="Units per layer",
        effect="rebuild",
        group="Network",
        minimum=2,
        maximum=2048,
        scale="log",
        help="Hidden units; for the RBF network the number of basis functions (16 in the paper).",
    )
    layers: int = setting(
        2,
        label="Hidden layers",
        effect="rebuild",
        group="Network",
        minimum=1,
        maximum=6,
        visible_when={"network": ("mlp", "dense")},
    )
    frequencies: int = setting(
        32,
        label="Input frequencies",
        effect="rebuild",
        group="Network",
        minimum=0,
        maximum=256,
        visible_when={"network": "mlp"},
        help="Sines and cosines of random directions beside the input itself; helps with fine structure. Not in the paper.",
    )
    bumps: int = setting(
        10,
        label="Time bumps",
        symbol="J",
        effect="rebuild",
        group="Network",
        minimum=2,
        maximum=50,
        visible_when={"network": "dense"},
        help="Number of bump functions of time at each output (10 in the released code).",
    )
    mean_scale: Literal["kernel", "data"] = setting(
        "kernel",
        label="Mean readout",
        effect="rebuild",
        group="Network",
        choices={"kernel": "In units of the step's noise", "data": "In units of the data"},
        help="The scale of the network's output for the mean: the square root of beta as in the released code, or the weight "
        "of the data in the step's posterior. Either way a network that puts out zero is the forward kernel.",
    )

    step_size: float = setting(
        3e-3,
        label="Step size",
        effect="live",
        group="Training",
        minimum=1e-6,
        maximum=10.0,
        scale="log",
        help="Of the Adam optimiser (the paper used SFO and RMSprop).",
    )
    decay: Literal["none", "cosine"] = setting(
        "cosine",
        label="Decay",
        effect="live",
        group="Training",
        choices={"none": "Constant", "cosine": "Falls to 2 % at the last step"},
        help="Whether the step size falls along a cosine until the last step.",
    )
    batch: int = setting(
        64,
        label="Batch",
        effect="live",
        group="Training",
        minimum=1,
        maximum=65536,
        scale="log",
        help="Data per update.",
    )
    times: int = setting(
        0,
        label="Times per datum",
        effect="live",
        group="Training",
        minimum=0,
        maximum=2000,
        help="Steps t at which the divergence of each datum is taken in an update, drawn at random, which is an unbiased "
        "estimate of the sum over all; 0 takes all of them, as learning the schedule wants it.",
    )
    weight_decay: float = setting(
        0.0,
        label="Weight decay",
        effect="live",
        group="Training",
        minimum=0.0,
        maximum=10.0,
        step=0.05,
        help="Decoupled weight decay of the network's weights; keeps small image sets from being learned by heart. Not in "
        "the paper.",
    )
    schedule_step_size: float = setting(
        3e-3,
        label="Step size of the schedule",
        effect="live",
        group="Training",
        minimum=1e-6,
        maximum=1.0,
        scale="log",
        visible_when={"schedule": "learned"},
        help="Of the betas, where they are learned.",
    )
    averaging: float = setting(
        0.99,
        label="Weight averaging",
        effect="live",
        group="Training",
        minimum=0.0,
        maximum=0.9999,
        step=0.01,
        help="The pictures and K use an exponential moving average of the weights with this decay; 0 uses the weights.",
    )
    evaluate_every: int = setting(
        100,
        label="Measure K every",
        effect="live",
        group="Training",
        minimum=1,
        maximum=100_000,
        unit="updates",
        scale="log",
        help="K on held-out data, over all steps of the chain.",
    )

    particles: int = setting(
        500, label="Particles", effect="display", group="Pictures", minimum=10, maximum=5000, scale="log"
    )
    trails: int = setting(
        40,
        label="Pinned particles",
        effect="display",
        group="Pictures",
        minimum=1,
        maximum=300,
        help="Particles that keep their noise from picture to picture, with their trails.",
    )
    arrows: int = setting(
        17,
        label="Arrows per side",
        effect="display",
        group="Pictures",
        minimum=5,
        maximum=41,
        help="Resolution of the drift field.",
    )
    futures: int = setting(
        200,
        label="Futures",
        effect="display",
        group="Pictures",
        minimum=1,
        maximum=2000,
        help="How many times the reverse chain is run from the point that you drop.",
    )
    bend: float = setting(
        1.0,
        label="Strength of r(x)",
        effect="display",
        group="Pictures",
        minimum=0.0,
        maximum=5.0,
        step=0.1,
        help="log r(x) is multiplied by this; 0 switches the painted region off.",
    )
    noised_at: float = setting(
        0.5,
        label="Noise for denoising",
        effect="display",
        group="Pictures",
        minimum=0.05,
        maximum=3.0,
        step=0.05,
        help="Standard deviation of the noise that is added to held-out images before the chain removes it.",
    )

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.network == "rbf" and self.data in IMAGE_DATA:
            raise SettingError(
                "The RBF network is for points, not for images: choose network=dense.", "network"
            )
        if self.beta_1 + self.last_signal >= 1:
            raise SettingError(
                "beta_1 and last_signal together must stay below 1: lower one of them.", "last_signal"
            )
        return self


# --- requests of the hand  ----------


@dataclass(frozen=True, eq=False)
class PaintRegion(Action):
    """Multiply the model by r(x): a region on the plane, True where painted.

    Attributes
    ----------
    mask : array (H, W) of bool
        Row 0 at the bottom; all False removes the region.
    extent : (left, right, bottom, top)
    """

    mask: np.ndarray
    extent: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class MaskImage(Action):
    """In-paint: True where the pixel is hidden and the chain must fill it; all True hides nothing worth knowing."""

    mask: np.ndarray


@dataclass(frozen=True)
class PickImage(Action):
    """Which held-out image is in-painted and sent into its futures; counted from 0 and wrapped around."""

    index: int


@dataclass(frozen=True)
class DropPoint(Action):
    """Drop a point on the plane at a step t of 1..T and run the chain from there many times; ``None`` removes it."""

    x: float | None
    y: float | None
    t: int


@dataclass(frozen=True)
class ChooseStep(Action):
    """The step t of 1..T from which an image's futures start."""

    t: int


# --- what it offers  ----------

_DIGITS = {
    "data": "digits",
    "trajectory": 100,
    "network": "dense",
    "beta_1": 3e-4,
    "last_signal": 0.005,
    "batch": 256,
    "times": 1,
    "averaging": 0.995,
    "step_size": 1e-3,
}

PRESETS = (
    Preset(
        "swiss-roll",
        "Swiss roll, 60-second demo",
        "Points find the roll within seconds: MLP, T = 40, noise 0.05.",
        {"steps": 12_000},
    ),
    Preset(
        "paper",
        "Paper figure: swiss roll",
        "T = 40, learned schedule, and so little noise that the paper's 2.35 bits lie within reach.",
        {"noise": 0.015, "beta_1": 1e-6, "schedule": "learned", "steps": 15_000, "evaluate_every": 200},
    ),
    Preset(
        "paper-rbf",
        "Paper's network: RBF-16",
        "The paper's own network, 16 normalised radial basis functions, on the same data.",
        {
            "noise": 0.015,
            "beta_1": 1e-6,
            "schedule": "learned",
            "network": "rbf",
            "units": 16,
            "mean_scale": "data",
            "step_size": 0.02,
            "steps": 40_000,
            "evaluate_every": 400,
        },
    ),
    Preset(
        "mixture",
        "Mixture with exact answers",
        "Six Gaussians whose density is known: learned drift beside the exact one.",
        {"data": "mixture", "beta_1": 1e-3, "frequencies": 0, "steps": 12_000},
    ),
    Preset(
        "digits",
        "Digits 8×8",
        "Real handwritten digits out of noise; paint a mask to in-paint.",
        {**_DIGITS, "units": 256, "weight_decay": 0.1, "steps": 12_000},
    ),
    Preset(
        "mnist",
        "MNIST",
        "28×28 digits, when the data are there; slow on a CPU.",
        {
            **_DIGITS,
            "data": "mnist",
            "units": 512,
            "batch": 64,
            "step_size": 5e-4,
            "steps": 50_000,
            "evaluate_every": 500,
        },
    ),
    Preset(
        "break-it",
        "Break it",
        "A first step as coarse as the data: K cannot rise above its floor, and samples stay blurred.",
        {"beta_1": 0.2, "steps": 12_000},
    ),
)

VIEWS = (
    FigureSpec(
        "process",
        "Process",
        "The paper's figure 1: data dissolve into noise (forward, q), the learned chain brings them back (reverse, p), and "
        "the drift f_mu(x, t) - x that does it. One slider sets the time t for all three.",
    ),
    FigureSpec(
        "trails",
        "Trails",
        "Pinned particles walk the learned reverse chain over the drift field. Their noise stays the same from picture to "
        "picture, so that only learning moves their ways.",
    ),
    FigureSpec(
        "bent",
        "Multiply by r(x)",
        "Paint a region (points) or a mask (images): the reverse chain is multiplied by r(x) and bent towards it, without "
        "any retraining (section 2.5 of the paper).",
    ),
    FigureSpec(
        "futures",
        "Futures",
        "Drop a point at any time t: the reverse chain runs many times from there. Late in the chain the future is decided, "
        "early it is open.",
    ),
    CurveSpec(
        "bound",
        "Bound K",
        "The lower bound K on the log-likelihood in bits, measured on held-out data, between the model that "
        "knows nothing (L_null, a Gaussian of the data's variance) and the data's negative entropy, which no model exceeds.",
        (("K_train_bits", "K, training batch", "past"), ("K_bits", "K, held-out", "model")),
        "K",
        (
            ("L_null_bits", "L_null", "neutral"),
            ("negentropy_bits", "negative entropy of the data", "target"),
            ("exact_bits", "exact log-likelihood", "data"),
        ),
        "bits",
    ),
    FigureSpec(
        "terms",
        "Lost bits",
        "The divergence of each reverse step from the true posterior, KL_t. K is what their sum leaves.",
    ),
    FigureSpec(
        "schedule",
        "Schedule",
        "beta_t, the noise of each step, and alpha-bar_t, the signal that is left; dashed, the schedule 1/(T-t+1). Drag the "
        "points to draw your own: training goes on with it.",
        "fast",
    ),
    FigureSpec(
        "images",
        "Image rows",
        "Held-out images, the same with noise added, denoised by the chain, samples from noise, and in-painted images "
        "(the paper's figure 3 and 5).",
    ),
)

METHOD = Method(
    engine="engines.diffusion.engine:DiffusionEngine",
    config=DiffusionSettings,
    presets=PRESETS,
    views=VIEWS,
    headline="K_bits",
    headline_label="K (bits)",
    maximise=True,
    watched="K_train_bits",
    learning_rate="step_size",
)
