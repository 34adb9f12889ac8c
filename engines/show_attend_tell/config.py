"""Settings, presets, views and requests of Show, Attend and Tell; any thread or process, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pydantic

from engines.config import Preset, Settings, setting
from engines.decay import Decay
from engines.errors import SettingError
from engines.figures import CurveSpec, FigureSpec
from engines.method import Action, Method, Question


class ShowAttendTellSettings(Settings):
    """Settings of one run of Show, Attend and Tell."""

    data: Literal["scenes", "folder"] = setting(
        "scenes",
        label="Data",
        effect="rebuild",
        group="Data",
        choices={"scenes": "Drawn scenes", "folder": "Folder with captions"},
        help="Drawn scenes of shapes with captions of a small grammar, where it is known which pixels each word speaks of; "
        "or a folder of images with a file captions.txt, as Flickr8k is.",
    )
    path: str = setting(
        "",
        label="Folder",
        effect="rebuild",
        group="Data",
        kind="path",
        visible_when={"data": "folder"},
        help="Images and a captions.txt with a line image,caption for each caption. Empty takes flickr8k in the data "
        "folder, or in the one that the environment variable LAB_DATA names.",
    )
    train_size: int = setting(
        2000,
        label="Training scenes",
        effect="rebuild",
        group="Data",
        minimum=16,
        maximum=100_000,
        scale="log",
        visible_when={"data": "scenes"},
        help="Each has five captions.",
    )
    valid_size: int = setting(
        200,
        label="Validation scenes",
        effect="rebuild",
        group="Data",
        minimum=4,
        maximum=10_000,
        scale="log",
        visible_when={"data": "scenes"},
        help="As many again are drawn of combinations of colour and shape that training never shows.",
    )
    image_size: int = setting(
        64,
        label="Image size",
        effect="rebuild",
        group="Data",
        minimum=48,
        maximum=224,
        unit="pixels",
        visible_when={"encoder": "convolution"},
        help="Images are brought to this size, square.",
    )
    vocabulary: int = setting(
        10_000,
        label="Vocabulary",
        effect="rebuild",
        group="Data",
        minimum=3,
        maximum=100_000,
        scale="log",
        unit="words",
        help="The most frequent words of the training captions, the end and the unknown word among them; 10,000 in the "
        "authors' code.",
    )
    longest: int = setting(
        24,
        label="Longest caption",
        effect="rebuild",
        group="Data",
        minimum=2,
        maximum=100,
        unit="words",
        help="Longer training captions are left out, and generated ones are cut off here; 100 in the authors' code.",
    )

    encoder: Literal["convolution", "squeezenet"] = setting(
        "convolution",
        label="Encoder",
        effect="rebuild",
        group="Encoder",
        choices={"convolution": "Small convolution, trained along", "squeezenet": "SqueezeNet, frozen"},
        help="What makes the annotation vectors a. The paper takes a VGG network trained on ImageNet and keeps it fixed, "
        "which is what the frozen SqueezeNet does at a size for a CPU: 169 vectors of 512 numbers. The small convolution "
        "is trained along with the decoder, which the paper does not do, and is told where in the image it looks: 64 "
        "vectors for images of 64 pixels, each of which sees 14 pixels across, where one of VGG's sees 252.",
    )
    weights: str = setting(
        "",
        label="Weights",
        effect="rebuild",
        group="Encoder",
        kind="path",
        visible_when={"encoder": "squeezenet"},
        help="An NPZ file of the weights of SqueezeNet v1.0. Empty takes the one in squeezenet in the data folder, or in "
        "the one that the environment variable LAB_DATA names. Its annotations are computed once, which takes minutes, and "
        "kept.",
    )

    embedding: int = setting(
        64,
        label="Word embedding",
        symbol="m",
        effect="rebuild",
        group="Decoder",
        minimum=2,
        maximum=1024,
        scale="log",
        help="Width of a word's vector and of the deep output; 512 in the authors' script for COCO.",
    )
    state: int = setting(
        128,
        label="LSTM units",
        symbol="n",
        effect="rebuild",
        group="Decoder",
        minimum=2,
        maximum=2048,
        scale="log",
        help="1800 in the authors' script for COCO.",
    )
    attention_units: int = setting(
        64,
        label="Attention units",
        effect="rebuild",
        group="Decoder",
        minimum=2,
        maximum=1024,
        scale="log",
        help="Width of the attention network's tanh layer; that of the annotations, 512, in the authors' code.",
    )
    attention_layers: int = setting(
        1,
        label="Attention layers",
        effect="rebuild",
        group="Decoder",
        minimum=1,
        maximum=2,
        help="2, as in the authors' script for COCO, puts a tanh layer before it that sees the annotations alone.",
    )
    init_layers: int = setting(
        1,
        label="Layers of the first state",
        effect="rebuild",
        group="Decoder",
        minimum=1,
        maximum=2,
        help="Of the networks that make the first LSTM state from the mean annotation; 2, as in the authors' script for "
        "COCO, puts a ReLU layer with dropout first.",
    )
    gate: bool = setting(
        True,
        label="Gate",
        symbol=r"\beta_t",
        effect="rebuild",
        group="Decoder",
        help="One number at each word, from the last state, that scales the context. Off, it is 1.",
    )
    previous_to_output: bool = setting(
        True,
        label="Last word to the output",
        effect="rebuild",
        group="Decoder",
        help="Whether the deep output sees the last word's embedding, as in the paper.",
    )
    context_to_output: bool = setting(
        True,
        label="Context to the output",
        effect="rebuild",
        group="Decoder",
        help="Whether the deep output sees the context z, as in the paper. Off, the image reaches the words only through the "
        "LSTM.",
    )
    initial: Literal["scaled", "authors"] = setting(
        "scaled",
        label="Initial weights",
        effect="rebuild",
        group="Decoder",
        choices={"scaled": "Scaled with the inputs", "authors": "Normal, 0.01"},
        help="Standard deviation of the initial weights: one over the root of the number of inputs, which networks this "
        "small need to begin at once; or 0.01 as in the authors' code. Recurrent weights are orthogonal either way.",
    )

    attention: Literal["soft", "hard"] = setting(
        "soft",
        label="Attention",
        effect="live",
        group="Attention",
        choices={"soft": "Soft (expected context)", "hard": "Hard (one location)"},
        help="Soft: the context is the mean of the annotations under alpha. Hard: that of one location drawn from alpha, "
        "learned with REINFORCE.",
    )
    lambda_: float = setting(
        1.0,
        label="Look at everything",
        symbol=r"\lambda",
        effect="live",
        group="Attention",
        minimum=0.0,
        maximum=100.0,
        step=0.1,
        visible_when={"attention": "soft"},
        help="Weight of the doubly stochastic term, the sum over locations of (1 - sum over words of alpha)², 1 in the "
        "paper. With hard attention it is left out, as it does not reach alpha in the authors' code either.",
    )
    temperature: float = setting(
        1.0,
        label="Temperature",
        effect="live",
        group="Attention",
        minimum=0.05,
        maximum=20.0,
        scale="log",
        help="The attention network's e is divided by it before the softmax: low makes attention sharp, high even. 1 is the "
        "paper's softmax.",
    )
    lambda_r: float = setting(
        0.1,
        label="Weight of REINFORCE",
        symbol=r"\lambda_r",
        effect="live",
        group="Attention",
        minimum=0.0,
        maximum=10.0,
        step=0.05,
        visible_when={"attention": "hard"},
        help="0.1 in the authors' code.",
    )
    lambda_e: float = setting(
        0.002,
        label="Weight of the entropy",
        symbol=r"\lambda_e",
        effect="live",
        group="Attention",
        minimum=0.0,
        maximum=10.0,
        step=0.01,
        visible_when={"attention": "hard"},
        help="Keeps attention from settling too early; 0.002 in the authors' code.",
    )
    semi_sampling: float = setting(
        0.5,
        label="Expected context instead",
        effect="live",
        group="Attention",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
        visible_when={"attention": "hard"},
        help="Probability that a whole minibatch takes the expected context in place of drawn locations, drawn once for it "
        "as in the authors' code; 0.5 there.",
    )
    soft_half: Literal["pathwise", "entropy"] = setting(
        "pathwise",
        label="Gradient of those minibatches",
        effect="live",
        group="Attention",
        choices={"pathwise": "Through alpha", "entropy": "Of the entropy alone"},
        visible_when={"attention": "hard"},
        help="What teaches alpha in minibatches with the expected context: the gradient through it, or the entropy term "
        "alone, as in the authors' code, which replaces alpha's gradient by that of REINFORCE, and there it is zero.",
    )
    reward: Literal["sum", "mean", "word"] = setting(
        "sum",
        label="Reward",
        effect="live",
        group="Attention",
        choices={
            "sum": "Caption's log-likelihood",
            "mean": "The same, per word",
            "word": "Each word its own",
        },
        visible_when={"attention": "hard"},
        help="The paper's reward is log p(y|s), one for all words of a caption. The authors' code divides it by the number "
        "of words; in another branch it credits each location with its own word alone, and then has no baseline.",
    )

    optimiser: Literal["adam", "rmsprop"] = setting(
        "adam",
        label="Optimiser",
        effect="rebuild",
        group="Training",
        choices={"adam": "Adam", "rmsprop": "RMSProp"},
        help="The paper takes RMSProp for Flickr8k and Adam for the larger sets.",
    )
    learning_rate: float = setting(
        2e-3,
        label="Learning rate",
        effect="live",
        group="Training",
        minimum=1e-6,
        maximum=1.0,
        scale="log",
    )
    decay: Decay = setting(
        "none",
        label="Decay",
        effect="live",
        group="Training",
        choices={
            "none": "Constant",
            "cosine": "Falls to 2 % at the last step",
            "late": "Falls from half of the steps on",
        },
        help="Whether the learning rate falls, along a cosine. The paper names no decay; with a constant rate the caption of "
        "an image changes from one measurement to the next.",
    )
    batch: int = setting(
        64,
        label="Batch",
        effect="live",
        group="Training",
        minimum=1,
        maximum=4096,
        scale="log",
        unit="captions",
        help="Captions of an update, all of one length, as in the authors' code; 64 there. A change begins a new pass over "
        "the captions.",
    )
    dropout: float = setting(
        0.0,
        label="Dropout",
        effect="live",
        group="Training",
        minimum=0.0,
        maximum=0.9,
        step=0.05,
        help="Probability with which a number is set to zero: of the state and of the tanh layer in the deep output, and "
        "of the ReLU layer of the first state; 0.5 in the authors' code, which has none inside of the LSTM either.",
    )
    evaluate_every: int = setting(
        100,
        label="Measure every",
        effect="live",
        group="Training",
        minimum=1,
        maximum=100_000,
        scale="log",
        unit="updates",
        help="BLEU, METEOR and the likelihood of held-out captions.",
    )
    evaluation_images: int = setting(
        100,
        label="Images to measure on",
        effect="live",
        group="Training",
        minimum=2,
        maximum=5000,
        scale="log",
        help="Validation images that are captioned each time, word by word without a beam; the summary takes all of them, "
        "and the beam.",
    )

    beam: int = setting(
        3,
        label="Beam width",
        effect="display",
        group="Pictures",
        minimum=1,
        maximum=20,
        help="Branches that are followed when a caption is generated. The authors' script has 1 on its command line; which "
        "one the paper's numbers have is not known.",
    )
    normalise: bool = setting(
        False,
        label="Rank by likelihood per word",
        effect="display",
        group="Pictures",
        help="Otherwise the beam prefers short captions.",
    )
    hard_context: Literal["likeliest", "drawn"] = setting(
        "likeliest",
        label="Hard row looks at",
        effect="display",
        group="Pictures",
        choices={"likeliest": "The largest weight", "drawn": "A location drawn from alpha"},
        help="In the lower row of the strip, where the context is that of one location.",
    )
    shading: Literal["cells", "smooth"] = setting(
        "cells",
        label="Overlay",
        effect="display",
        group="Pictures",
        choices={"cells": "The weights, cell by cell", "smooth": "Smoothed (cosmetic)"},
        help="Smoothing looks finer than attention is: there is one weight for each cell and no more. The paper's figures "
        "are smoothed.",
    )

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.encoder == "squeezenet" and self.data == "scenes":
            raise SettingError(
                "SqueezeNet is for photos and the drawn scenes are none: choose encoder=convolution, or data=folder.",
                "encoder",
            )
        return self


# --- requests of the hand  ----------


@dataclass(frozen=True)
class PickImage(Action):
    """Which validation image is captioned; counted from 0 and wrapped around. An own image and all edits are let go."""

    is_noted = False
    index: int


@dataclass(frozen=True, eq=False)
class DropImage(Action):
    """Caption an own image; ``None`` goes back to the validation image. Edits are let go.

    Attributes
    ----------
    image : array (H, W, 3) or (H, W) uint8, or None
        Resized to a square.
    """

    is_noted = False
    image: np.ndarray | None


@dataclass(frozen=True, eq=False)
class GrabGaze(Action):
    """Look elsewhere at one word: it and all after it are decoded anew; those before it stay as they are.

    Attributes
    ----------
    word : int
        Its place in the caption as it stands (`GiveCaption`, "new"), from 0.
    weights : array (rows, columns) or None
        Attention to put there; brought to sum 1. None where ``cell`` is given.
    cell : (row, column) or None
        All attention on one cell.
    """

    is_noted = False
    word: int
    weights: np.ndarray | None = None
    cell: tuple[int, int] | None = None


@dataclass(frozen=True)
class ReplaceWord(Action):
    """Put another word in the place of one: all after it are decoded anew.

    Attributes
    ----------
    word : int
        Its place in the caption as it stands, from 0.
    text : str
        A word of the vocabulary; "<end>" ends the caption.
    """

    is_noted = False
    word: int
    text: str


@dataclass(frozen=True)
class ClearEdits(Action):
    """Let go of all edits of the caption."""

    is_noted = False


@dataclass(frozen=True)
class GiveCaption(Question):
    """Ask for the caption of the chosen image, as the model has it ("old") and with the edits ("new").

    "edits" are those of the hand that hold, in the order of their places: each has its "place", and either "weights" (rows,
    columns), the attention that was put there, or the "word" that was put in. A word comes after a gaze at its place.
    """


@dataclass(frozen=True)
class GiveBeam(Question):
    """Ask for the whole tree of the beam search, with the attention of each branch."""


@dataclass(frozen=True)
class GiveVocabulary(Question):
    """Ask for the words that the model knows, the most frequent first, and for how many validation images there are."""


# --- what it offers  ----------

_SCENES = {
    "attention_layers": 2,
    "lambda_": 0.01,
    "temperature": 0.3,
    "batch": 32,
    "learning_rate": 3e-3,
    "steps": 6000,
}

_SOFT = {**_SCENES, "train_size": 10_000, "learning_rate": 1.4e-3, "decay": "late", "steps": 4500}

PRESETS = (
    Preset(
        "scenes",
        "Drawn scenes, 3-minute demo",
        "Shapes and their captions. The doubly stochastic term has a hundredth of the paper's weight: ten words cannot "
        "look at 64 locations once each, and with its full weight attention stays nearly even. A temperature of 0.3, which "
        "the paper does not have, makes attention find its objects within minutes; the learning rate falls in the second "
        "half, so that captions come to rest.",
        dict(_SOFT),
    ),
    Preset(
        "scenes-hard",
        "Drawn scenes, hard attention",
        "One location at each word, learned with REINFORCE. Weights of REINFORCE and of the entropy, baseline and "
        "semi-sampling are the authors', the reward is the paper's; the temperature of 0.3 and the gradient through alpha in "
        "minibatches with the expected context are not.",
        {**_SCENES, "attention": "hard", "steps": 15_000},
    ),
    Preset(
        "flickr8k",
        "Flickr8k",
        "Photos with five captions each, where they are in the data folder: frozen SqueezeNet in place of the paper's VGG, "
        "RMSProp as in the paper, a smaller LSTM.",
        {
            "data": "folder",
            "encoder": "squeezenet",
            "optimiser": "rmsprop",
            "learning_rate": 5e-4,
            "embedding": 128,
            "state": 256,
            "attention_units": 128,
            "dropout": 0.5,
            "steps": 10_000,
            "evaluate_every": 200,
        },
    ),
    Preset(
        "own-folder",
        "Own photos",
        "A folder of images with a captions.txt; the small convolution is trained along.",
        {"data": "folder", "dropout": 0.5, "steps": 10_000},
    ),
    Preset(
        "break-it",
        "Break it",
        "A doubly stochastic term ten times as strong as the paper's, and no gate: attention spreads evenly over the "
        "image at every word, and where the model looks says nothing about what it writes.",
        {**_SCENES, "lambda_": 10.0, "temperature": 1.0, "gate": False},
    ),
)

VIEWS = (
    FigureSpec(
        "strip",
        "Word by word",
        "The paper's figure 2, for one model: each word of the caption and where it was looked at. Above, the context is "
        "the mean under the weights (soft); below, the caption that the same model writes when it sees one location at "
        "each word (hard).",
    ),
    FigureSpec(
        "gate",
        "Gate by word",
        "The gate beta at each word of the caption: how much of the context is let in. Words that need no look have a low "
        "one.",
        "fast",
    ),
    FigureSpec(
        "overlay",
        "Where it looks",
        "The image and the attention at one word; the slider goes through the words. With edits of yours, it shows the "
        "caption with them.",
    ),
    FigureSpec(
        "gaze",
        "Grab the gaze",
        "The caption as the model writes it, and below it the one that comes out when you move its attention at a word, or "
        "replace a word. Everything before your edit stays, all after it is decoded anew.",
    ),
    FigureSpec(
        "coverage",
        "Coverage",
        "The sum of the attention over all words, which the doubly stochastic term pulls to 1 everywhere. C words spread "
        "over L locations cannot reach that: the least that the term can be is L(1 - C/L)².",
    ),
    FigureSpec(
        "beam",
        "Beam",
        "Every word that the beam search kept for a while, and the captions it ended with, each with its own attention.",
    ),
    FigureSpec(
        "mass",
        "Aim",
        "Share of the attention that lies on what a word names, beside the share that even attention would have. Known for "
        "the drawn scenes alone.",
    ),
    CurveSpec(
        "bleu",
        "BLEU",
        "Clipped n-gram precision of generated captions of validation images, in percent. The paper's numbers are without "
        "brevity penalty, most others' are with it (BP).",
        (
            ("bleu_1", "BLEU-1", "category-0"),
            ("bleu_2", "BLEU-2", "category-3"),
            ("bleu_3", "BLEU-3", "category-2"),
            ("bleu_4", "BLEU-4", "model"),
            ("bleu_1_penalised", "BLEU-1, BP", "category-4"),
            ("bleu_4_penalised", "BLEU-4, BP", "past"),
            ("meteor", "METEOR, exact match", "category-5"),
        ),
        "Score",
        (),
        "%",
    ),
    CurveSpec(
        "likelihood",
        "Likelihood",
        "Negative log-likelihood of a caption: of the training minibatch, of validation captions, and of captions of "
        "scenes whose combination of colour and shape training never shows.",
        (
            ("nll_train", "training batch", "past"),
            ("nll_valid", "validation", "model"),
            ("nll_held_out", "unseen combinations", "category-0"),
        ),
        "−log p(y)",
        (),
        "nats per caption",
    ),
    CurveSpec(
        "sharpness",
        "Entropy",
        "Entropy of the attention at a word, mean over generated captions; the line is even attention, log L.",
        (("attention_entropy", "attention", "model"),),
        "Entropy",
        (("largest_entropy", "even", "neutral"),),
        "nats",
    ),
    CurveSpec(
        "gates",
        "Gate",
        "The gate beta at each word, mean over generated captions: how much of the context is let in.",
        (("gate", "beta", "model"),),
        "β",
    ),
    CurveSpec(
        "terms",
        "Coverage term",
        "The doubly stochastic term: sum over locations of (1 - sum over words of alpha)² on the training minibatch, and the "
        "least it could be for its number of words.",
        (("doubly_stochastic", "term", "model"), ("doubly_stochastic_floor", "least possible", "target")),
        "Sum of (1 − Σα)²",
    ),
    CurveSpec(
        "rewards",
        "Reward",
        "Hard attention alone: the mean reward of each minibatch with drawn locations and the running mean that is its "
        "baseline.",
        (("reward", "reward", "past"), ("baseline", "baseline b", "model")),
        "log p(y|s)",
        (),
        "nats",
    ),
    CurveSpec(
        "variance",
        "Variance",
        "Hard attention alone: total variance of REINFORCE's gradient over draws of the locations, on validation captions, "
        "for the attention network's readout and its part of the state, with the baseline and without.",
        (("variance", "with baseline", "model"), ("variance_without", "without", "past")),
        "Variance",
        (),
        "",
        "log",
    ),
    CurveSpec(
        "masses",
        "Aim over time",
        "Share of the attention that lies on what a word names, by kind of word; drawn scenes alone.",
        (
            ("mass_object", "object", "category-0"),
            ("mass_colour", "colour", "category-1"),
            ("mass_size", "size", "category-2"),
            ("mass_number", "number", "category-3"),
            ("mass_relation", "relation", "category-4"),
        ),
        "Share of attention",
        (("mass_chance", "even attention", "neutral"),),
    ),
)

METHOD = Method(
    engine="engines.show_attend_tell.engine:ShowAttendTellEngine",
    config=ShowAttendTellSettings,
    presets=PRESETS,
    views=VIEWS,
    headline="bleu_4",
    headline_label="BLEU-4, no BP (%)",
    maximise=True,
    watched="nll_train",
    learning_rate="learning_rate",
    bench="engines.show_attend_tell.bench:bench",
)
