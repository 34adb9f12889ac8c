"""Settings, presets, views and requests of the fixed-point paper; any thread or process, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from engines.config import Preset, Settings, setting
from engines.figures import CurveSpec, FigureSpec
from engines.method import Action, Method, Question

FLOAT_BITS = 32
"""From this bit-width on numbers are not quantised: the float network."""

FEWEST_BITS, MOST_BITS = 1, 16
"""Of the quantisers, and of the allocation."""

Kind = Literal["weights", "activations"]


class FixedPointSettings(Settings):
    """Settings of one run."""

    data: Literal[
        "digits", "mnist", "fashion_mnist", "cifar10", "cifar10_first4000", "cifar10_jpeg_q75", "file"
    ] = setting(
        "digits",
        label="Data",
        effect="rebuild",
        group="Data",
        choices={
            "digits": "Digits 8×8",
            "mnist": "MNIST",
            "fashion_mnist": "Fashion-MNIST",
            "cifar10": "CIFAR-10",
            "cifar10_first4000": "CIFAR-10, first 4,000",
            "cifar10_jpeg_q75": "CIFAR-10 as JPEG",
            "file": "Own file or folder",
        },
        help="What the network classifies. The paper takes CIFAR-10 and ImageNet.",
    )
    path: str = setting(
        "",
        label="File",
        effect="rebuild",
        group="Data",
        kind="path",
        visible_when={"data": "file"},
        help="A folder with one folder of images for each class, or an NPZ file with images and labels.",
    )
    size: int = setting(
        28,
        label="Side of own images",
        effect="rebuild",
        group="Data",
        minimum=4,
        maximum=64,
        unit="px",
        visible_when={"data": "file"},
        help="Images of a folder are cut to a square and scaled to this side. Those of an NPZ file keep their size.",
    )
    width: int = setting(
        8,
        label="Channels of the first layer",
        effect="rebuild",
        group="Network",
        minimum=1,
        maximum=128,
        scale="log",
        help="Later layers have two and four times as many. Convolutions of 3×3 with batch normalisation, which is folded "
        "into them before anything is quantised, and one fully connected layer. The sizes are ours: the paper does not give "
        "those of its networks.",
    )

    float_steps: int = setting(
        400,
        label="Steps of float training",
        effect="live",
        group="Training",
        minimum=1,
        maximum=10_000_000,
        scale="log",
        help="After so many updates batch normalisation is folded, statistics are collected and the network becomes fixed "
        "point. Without effect once that is done.",
    )
    learning_rate: float = setting(
        4e-3,
        label="Learning rate",
        effect="live",
        group="Training",
        minimum=1e-7,
        maximum=1.0,
        scale="log",
        help="Of the Adam optimiser while the network is in floating point. The choice of Adam is ours.",
    )
    batch: int = setting(
        64,
        label="Batch",
        effect="live",
        group="Training",
        minimum=2,
        maximum=4096,
        scale="log",
        unit="pictures",
        help="Pictures per update, drawn anew each time. Nothing is done to them: no shifts, no mirroring.",
    )
    evaluate_every: int = setting(
        25,
        label="Measure every",
        effect="live",
        group="Training",
        minimum=1,
        maximum=100_000,
        scale="log",
        unit="updates",
        help="The accuracy on the whole test set.",
    )
    calibration: int = setting(
        512,
        label="Calibration pictures",
        effect="rebuild",
        group="Quantiser",
        minimum=16,
        maximum=4096,
        scale="log",
        help="Training pictures that are sent through the float network to learn the scale of what each layer reads.",
    )

    step_rule: Literal["gaussian", "laplacian", "gamma", "uniform", "mse"] = setting(
        "gaussian",
        label="Step",
        symbol="s",
        effect="live",
        group="Quantiser",
        choices={
            "gaussian": "Optimal for a Gaussian",
            "laplacian": "Optimal for a Laplacian",
            "gamma": "Optimal for a gamma density",
            "uniform": "Optimal for a uniform density",
            "mse": "Least error on the data",
        },
        help="The step of least mean square error for a source of variance 1 is computed, and multiplied by the standard "
        "deviation of the weights, or of what the layer reads (the paper's table 1). Least error on the data searches the "
        "step on the numbers themselves.",
    )
    power_of_two: bool = setting(
        True,
        label="Power-of-two steps",
        effect="live",
        group="Quantiser",
        help="Round the step to 2^-n with n = round(-log2 s), as fixed point needs it. Costs up to 3 dB at few bits.",
    )
    grid: Literal["mid_tread", "mid_rise"] = setting(
        "mid_tread",
        label="Levels",
        effect="live",
        group="Quantiser",
        choices={"mid_tread": "With a zero (mid-tread)", "mid_rise": "Without a zero (mid-rise)"},
        help="Mid-tread has levels at 0, s, 2s, ...; with a sign two bits make -s, 0, s, 2s. Mid-rise has them at s/2, "
        "3s/2, ...: it turns every zero of a ReLU into s/2.",
    )
    one_sided: bool = setting(
        True,
        label="Unsigned codes after a ReLU",
        effect="live",
        group="Quantiser",
        help="What a ReLU gives, and the pixels, are never negative: put all levels on that side, and take the scale from "
        "the positive numbers alone. Off, one bit is lost on a sign that never comes.",
    )
    weight_bits: int = setting(
        4,
        label="Weight bits, all layers",
        symbol=r"\beta_w",
        effect="live",
        group="Bits",
        minimum=FEWEST_BITS,
        maximum=FLOAT_BITS,
        help="Sets the weights of every layer to this bit-width; single layers can be moved after that. 17 to 31 mean 16; "
        "32 is floating point.",
    )
    activation_bits: int = setting(
        6,
        label="Activation bits, all layers",
        symbol=r"\beta_a",
        effect="live",
        group="Bits",
        minimum=FEWEST_BITS,
        maximum=FLOAT_BITS,
        help="Sets what every layer reads to this bit-width, the pictures of the first layer among them. 17 to 31 mean 16; "
        "32 is floating point.",
    )

    cost: Literal["size", "macs"] = setting(
        "size",
        label="A bit costs",
        symbol=r"\rho_i",
        effect="live",
        group="Allocation",
        choices={"size": "Weights (size of the model)", "macs": "Multiplications (work)"},
        help="What the allocation keeps low: bits times the number of weights of a layer, or times its multiplications.",
    )
    target: Literal["size", "sqnr"] = setting(
        "size",
        label="Allocate for",
        effect="live",
        group="Allocation",
        choices={"size": "A mean bit-width", "sqnr": "An SQNR of the output"},
        help="What is given when bits are allocated to the weights; the other one is made as good as it can be.",
    )
    target_bits: float = setting(
        4.0,
        label="Mean bits of a weight",
        effect="live",
        group="Allocation",
        minimum=1.0,
        maximum=16.0,
        step=0.25,
        unit="bits",
        visible_when={"target": "size"},
        help="The allocation costs no more than equal bit-widths of so many bits. Bit-widths are whole numbers from 1 to 16.",
    )
    target_sqnr: float = setting(
        12.0,
        label="SQNR of the output",
        symbol=r"\gamma",
        effect="live",
        group="Allocation",
        minimum=-10.0,
        maximum=60.0,
        step=0.5,
        unit="dB",
        visible_when={"target": "sqnr"},
        help="By the law, activations included: 1/gamma of the output is the sum over all quantisations.",
    )

    fine_tune: bool = setting(
        True,
        label="Fine-tune",
        effect="live",
        group="Fine-tuning",
        help="Train on in fixed point: the forward pass is quantised, its derivative is taken as 1 inside a quantiser's "
        "range and 0 outside (straight-through). Off, the run ends when the network is quantised, and goes on when "
        "this is switched on.",
    )
    fine_tune_rate: float = setting(
        0.25,
        label="Rate of fine-tuning",
        effect="live",
        group="Fine-tuning",
        minimum=1e-5,
        maximum=10.0,
        scale="log",
        help="Times the learning rate.",
    )
    rounding: Literal["nearest", "stochastic"] = setting(
        "nearest",
        label="Rounding of weights",
        effect="live",
        group="Fine-tuning",
        choices={"nearest": "To the nearest level", "stochastic": "Stochastic"},
        help="Stochastic goes up with a probability that is the part of the way to the next level, so that small updates "
        "count on average. While fine-tuning only: accuracies are always of nearest rounding.",
    )
    master: Literal["float", "fixed"] = setting(
        "float",
        label="Weights are kept",
        effect="live",
        group="Fine-tuning",
        choices={"float": "In floating point (paper)", "fixed": "In fixed point"},
        help="In floating point, small updates add up until the quantised weight moves. In fixed point there is no float "
        "copy, and an update that is less than half a step is lost when it is rounded to the nearest level.",
    )

    layer: int = setting(
        1,
        label="Layer shown",
        effect="display",
        group="Pictures",
        minimum=1,
        maximum=6,
        help="Of the feature maps and of the chosen weight, counted from 1; the last one where there are fewer.",
    )
    picture: int = setting(
        0,
        label="Picture shown",
        effect="display",
        group="Pictures",
        minimum=0,
        maximum=100_000,
        help="Which test picture the feature maps are of; counted from 0 and wrapped around.",
    )
    weight: int = setting(
        0,
        label="Weight shown",
        effect="display",
        group="Pictures",
        minimum=0,
        maximum=10_000_000,
        help="Which weight of the layer shows its bits; counted from 0 in the order of the picture, and wrapped around.",
    )


# --- requests of the hand  ----------


@dataclass(frozen=True)
class SetBits(Action):
    """The bit-width of one layer.

    Attributes
    ----------
    layer : int
        From 0.
    kind : {"weights", "activations"}
        Activations are what the layer reads; those of layer 0 are the pictures.
    bits : int
        1 to 16, or 32 for floating point.
    """

    layer: int
    kind: Kind
    bits: int


@dataclass(frozen=True)
class TryBits(SetBits):
    """The same while a slider is held: where it is let go is what is noted."""

    is_noted: ClassVar[bool] = False


@dataclass(frozen=True)
class SetStep(Action):
    """The step of one quantiser, instead of what the rule of the settings gives; another bit-width ends it.

    Attributes
    ----------
    layer : int
        From 0.
    kind : {"weights", "activations"}
    step : float or None
        s, above 0; rounded to a power of two where steps are. None goes back to the rule.
    """

    layer: int
    kind: Kind
    step: float | None


@dataclass(frozen=True)
class TryStep(SetStep):
    """The same while the levels are dragged."""

    is_noted: ClassVar[bool] = False


@dataclass(frozen=True)
class SetAllBits(Action):
    """The bit-width of every layer, or the widths of all layers.

    Attributes
    ----------
    kind : {"weights", "activations"}
    bits : int or tuple of int
        One for all, or one for each layer.
    """

    kind: Kind
    bits: int | tuple[int, ...]


@dataclass(frozen=True)
class TryAllBits(SetAllBits):
    """The same while a slider is held that moves the others along."""

    is_noted: ClassVar[bool] = False


@dataclass(frozen=True)
class UseAllocation(Action):
    """Give the weights the bit-widths that the allocation finds.

    Attributes
    ----------
    target_bits : float or None
        Mean bit-width that it may cost.
    target_sqnr : float or None
        SQNR of the output, dB, that it must reach by the law. Where both are None the settings decide.
    """

    target_bits: float | None = None
    target_sqnr: float | None = None


@dataclass(frozen=True)
class GiveBits(Question):
    """Tell every layer's name, sizes and bit-widths, and what the allocation would give: they come back with a keyframe.

    Attributes
    ----------
    accuracy : bool
        Measure the accuracy, too.
    """

    accuracy: bool = False


@dataclass(frozen=True)
class GiveRival(Question):
    """Tell how the allocation does at no more cost than the present bit-widths, on the whole test set."""


# --- what it offers  ----------

_DIGITS = {
    "data": "digits",
    "width": 8,
    "float_steps": 400,
    "learning_rate": 4e-3,
    "batch": 64,
    "evaluate_every": 25,
    "weight_bits": 3,
    "activation_bits": 4,
    "target_bits": 3.0,
    "fine_tune": True,
    "steps": 1200,
}

PRESETS = (
    Preset(
        "digits",
        "Digits 8×8, 30-second demo",
        "A network of five layers learns real digits, becomes fixed point with 3-bit weights, and is fine-tuned. Data, "
        "sizes and the optimiser (Adam) are ours; the paper has CIFAR-10 and larger networks.",
        _DIGITS,
    ),
    Preset(
        "convert",
        "Convert, no fine-tuning",
        "The same network, wider; the run ends when it is quantised, as in the paper's main experiments. Move the bits. "
        "Data, sizes and the optimiser are ours.",
        {**_DIGITS, "width": 16, "fine_tune": False},
    ),
    Preset(
        "mnist",
        "MNIST",
        "Five layers on MNIST, small enough that a move of the bits is answered on all 10,000 test pictures while you "
        "hold the slider. Data, sizes and the optimiser are ours.",
        {
            **_DIGITS,
            "data": "mnist",
            "width": 8,
            "float_steps": 2000,
            "evaluate_every": 200,
            "steps": 4000,
        },
    ),
    Preset(
        "cifar10",
        "CIFAR-10",
        "The paper's data with a network of six layers. The paper's own is larger and of sizes that it does not give, so its "
        "accuracies are not reached here; optimiser and schedule are ours. For a GPU, or patience.",
        {
            **_DIGITS,
            "data": "cifar10",
            "width": 16,
            "float_steps": 20_000,
            "learning_rate": 2e-3,
            "batch": 128,
            "evaluate_every": 500,
            "weight_bits": 4,
            "activation_bits": 8,
            "target_bits": 4.0,
            "steps": 30_000,
        },
    ),
    Preset(
        "brown-out",
        "Brown-out",
        "Two bits, fine-tuned without a float copy of the weights: every update of a weight is lost in rounding, and only "
        "the 16-bit biases still learn a little. Switch the rounding to stochastic and watch it come back. The paper "
        "keeps weights in floating point while fine-tuning; this is what happens without. Data, sizes and the optimiser "
        "are ours.",
        {
            **_DIGITS,
            "weight_bits": 2,
            "activation_bits": 2,
            "target_bits": 2.0,
            "master": "fixed",
            "fine_tune_rate": 0.1,
            "steps": 20_000,
        },
    ),
    Preset(
        "break-it",
        "Break it",
        "One bit for everything and no zero among the levels: overload, and noise that is no longer independent of the "
        "signal, so that the law of the SQNR fails. Data, sizes and the optimiser are ours.",
        {
            **_DIGITS,
            "weight_bits": 1,
            "activation_bits": 1,
            "target_bits": 1.0,
            "grid": "mid_rise",
            "fine_tune": False,
        },
    ),
)

VIEWS = (
    FigureSpec(
        "levels",
        "Levels",
        "How the weights of the chosen layer, and what it reads, are distributed, with the quantiser's levels over them. "
        "Pull the frame by its rim or a corner, or turn the wheel over it: the step follows, and the accuracy. "
        "Beyond the last level and half a step, numbers are clipped (shaded: overload). On the right: how many are "
        "clipped in each layer, and how many become zero.",
    ),
    FigureSpec(
        "histograms",
        "All layers",
        "The same for every layer at once: weights above, what the layer reads below.",
    ),
    FigureSpec(
        "budget",
        "Noise budget",
        "The noise that each quantisation adds to the output, 1/gamma_i: the part in vermilion spoils it most. Beside it the "
        "SQNR of each, measured and by the law kappa × bits, with kappa fitted for each. Click a layer to see its numbers.",
    ),
    FigureSpec(
        "law",
        "SQNR",
        "SQNR of each layer's weights over the bit-width, beside that of an optimal quantiser for a uniform and for a "
        "Gaussian source: 6 dB for each bit of the uniform one, a little less of the Gaussian.",
    ),
    FigureSpec(
        "pareto",
        "Size and accuracy",
        "Accuracy on test pictures over the size of all weights: equal bit-widths, bit-widths by the allocation, your "
        "own, and what fine-tuning makes of them. The curves have the activation bits of the settings, the points those of "
        "your sliders.",
    ),
    FigureSpec(
        "allocation",
        "Bits",
        "Your bit-widths of the weights beside those that the allocation gives for its target: layers where a bit costs "
        "more get fewer.",
    ),
    FigureSpec(
        "maps",
        "Feature maps",
        "What the chosen layer computes for one test picture, in floating point and in fixed point, and the difference.",
    ),
    FigureSpec(
        "weight",
        "One weight",
        "Click a weight to see its bits. All weights of the chosen layer, one row for each output; and one of them as it is "
        "stored: the number of its level, in binary, counted from the lowest.",
    ),
    CurveSpec(
        "accuracy",
        "Accuracy",
        "Share of test pictures that are classified rightly, in floating point, and in fixed point while it is fine-tuned.",
        (
            ("float_accuracy_percent", "floating point", "past"),
            ("accuracy_percent", "fixed point", "model"),
        ),
        "Accuracy",
        y_unit="%",
    ),
    CurveSpec(
        "loss",
        "Loss",
        "Cross-entropy of each training batch: of the float network, then of the quantised one while it is fine-tuned.",
        (
            ("loss_nats", "floating point", "past"),
            ("fine_tune_loss_nats", "fixed point", "model"),
        ),
        "Loss",
        y_unit="nats",
    ),
    CurveSpec(
        "dead",
        "Dead updates",
        "Share of the weights' updates that leave the quantised weight as it was. With a float copy they add up; without "
        "one, and rounded to the nearest level, they are lost.",
        (("dead_percent", "dead updates", "warning"),),
        "Dead updates",
        y_unit="%",
    ),
)

METHOD = Method(
    engine="engines.fixed_point.engine:FixedPointEngine",
    config=FixedPointSettings,
    presets=PRESETS,
    views=VIEWS,
    headline="accuracy_percent",
    headline_label="Accuracy (%)",
    maximise=True,
    watched="loss_nats",
    learning_rate="learning_rate",
    bench="engines.fixed_point.bench:bench",
)
