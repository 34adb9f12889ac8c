"""The table of papers; any thread, imports nothing heavy: engines and panels are named, and imported only when used.

Other people's papers come in through the entry-point group ``lab.papers``: each entry names a `Paper`, or a callable
that returns one. To add a paper here, add a row, an engine under ``engines/``, and a panel under ``lab/panels/``.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from engines.config import near_misses
from engines.errors import InputError
from engines.method import Method

ENTRY_POINT_GROUP = "lab.papers"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paper:
    """One row of the table.

    Attributes
    ----------
    id : str
        As on the command line, with hyphens.
    title, short : str
        The paper's title, and the name by which people know the method.
    authors : tuple of str
    year : int
    venue, arxiv : str
    method : str or None
        ``"module:name"`` of the `engines.method.Method`; None while it is not built.
    panel : str or None
        ``"module:Class"`` of the panel.
    """

    id: str
    short: str
    title: str
    authors: tuple[str, ...]
    year: int
    venue: str
    arxiv: str
    method: str | None = None
    panel: str | None = None

    @property
    def key(self) -> str:
        """The id as file and module names spell it."""
        return self.id.replace("-", "_")

    @property
    def is_built(self) -> bool:
        """Whether the method can be trained."""
        return self.method is not None


_BUILT_IN = (
    Paper(
        "trpo",
        "TRPO",
        "Trust Region Policy Optimization",
        ("John Schulman", "Sergey Levine", "Philipp Moritz", "Michael I. Jordan", "Pieter Abbeel"),
        2015,
        "ICML",
        "1502.05477",
        method="engines.trpo.config:METHOD",
        panel="lab.panels.trpo:TrpoPanel",
    ),
    Paper(
        "gmmn",
        "GMMN",
        "Generative Moment Matching Networks",
        ("Yujia Li", "Kevin Swersky", "Richard Zemel"),
        2015,
        "ICML",
        "1502.02761",
    ),
    Paper(
        "dcn",
        "Dynamic Capacity Networks",
        "Dynamic Capacity Networks",
        (
            "Amjad Almahairi",
            "Nicolas Ballas",
            "Tim Cooijmans",
            "Yin Zheng",
            "Hugo Larochelle",
            "Aaron Courville",
        ),
        2016,
        "ICML",
        "1511.07838",
    ),
    Paper(
        "diffusion",
        "Diffusion",
        "Deep Unsupervised Learning using Nonequilibrium Thermodynamics",
        ("Jascha Sohl-Dickstein", "Eric A. Weiss", "Niru Maheswaranathan", "Surya Ganguli"),
        2015,
        "ICML",
        "1503.03585",
        method="engines.diffusion.config:METHOD",
        panel="lab.panels.diffusion:DiffusionPanel",
    ),
    Paper(
        "made",
        "MADE",
        "MADE: Masked Autoencoder for Distribution Estimation",
        ("Mathieu Germain", "Karol Gregor", "Iain Murray", "Hugo Larochelle"),
        2015,
        "ICML",
        "1502.03509",
    ),
    Paper(
        "show-attend-tell",
        "Show, Attend and Tell",
        "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
        (
            "Kelvin Xu",
            "Jimmy Lei Ba",
            "Ryan Kiros",
            "Kyunghyun Cho",
            "Aaron Courville",
            "Ruslan Salakhutdinov",
            "Richard S. Zemel",
            "Yoshua Bengio",
        ),
        2015,
        "ICML",
        "1502.03044",
        method="engines.show_attend_tell.config:METHOD",
        panel="lab.panels.show_attend_tell:ShowAttendTellPanel",
    ),
    Paper(
        "fixed-point",
        "Fixed-point quantization",
        "Fixed Point Quantization of Deep Convolutional Networks",
        ("Darryl D. Lin", "Sachin S. Talathi", "V. Sreekanth Annapureddy"),
        2016,
        "ICML",
        "1511.06393",
        method="engines.fixed_point.config:METHOD",
        panel="lab.panels.fixed_point:FixedPointPanel",
    ),
    Paper(
        "reversible-learning",
        "Reversible learning",
        "Gradient-based Hyperparameter Optimization through Reversible Learning",
        ("Dougal Maclaurin", "David Duvenaud", "Ryan P. Adams"),
        2015,
        "ICML",
        "1502.03492",
        method="engines.reversible_learning.config:METHOD",
        panel="lab.panels.reversible_learning:ReversibleLearningPanel",
    ),
    Paper(
        "draw",
        "DRAW",
        "DRAW: A Recurrent Neural Network For Image Generation",
        ("Karol Gregor", "Ivo Danihelka", "Alex Graves", "Danilo Jimenez Rezende", "Daan Wierstra"),
        2015,
        "ICML",
        "1502.04623",
        method="engines.draw.config:METHOD",
        panel="lab.panels.draw:DrawPanel",
    ),
    Paper(
        "batch-norm",
        "Batch normalization",
        "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
        ("Sergey Ioffe", "Christian Szegedy"),
        2015,
        "ICML",
        "1502.03167",
    ),
)


def papers() -> tuple[Paper, ...]:
    """All papers: the ten, then those that installed packages add. A broken addition is logged and left out."""
    table = {paper.id: paper for paper in _BUILT_IN}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            added = entry.load()
            paper = added if isinstance(added, Paper) else added()
            if not isinstance(paper, Paper):
                raise TypeError(f"it gives a {type(paper).__name__}, not a Paper")
            table.setdefault(paper.id, paper)
        except Exception:
            logger.exception("the paper that '%s' adds cannot be loaded", entry.name)
    return tuple(table.values())


def find(name: str) -> Paper:
    """The paper of that id; underscores and capitals do not matter.

    Raises
    ------
    InputError
    """
    wanted = name.strip().lower().replace("_", "-")
    for paper in _BUILT_IN:
        # To ask what packages are installed takes far longer, and none of them may take the place of these.
        if paper.id == wanted:
            return paper
    table = {paper.id: paper for paper in papers()}
    if wanted in table:
        return table[wanted]
    raise InputError(
        f"There is no paper '{name}'{near_misses(wanted, table)}: choose one of {', '.join(table)}."
    )


def find_built(name: str) -> Paper:
    """As `find`, for what needs the engine.

    Raises
    ------
    InputError
        Also when the paper's engine is not built yet.
    """
    paper = find(name)
    if paper.method is None:
        built = ", ".join(p.id for p in papers() if p.is_built)
        raise InputError(
            f"The engine of '{paper.id}' is not built yet, so it cannot run: built so far: {built}."
        )
    return paper


def resolve(reference: str) -> Any:
    """The object that ``"module:name"`` names."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def method_of(paper: Paper) -> Method:
    """What the paper's method offers; imports no torch.

    Raises
    ------
    InputError
        When it is not built yet.
    """
    if paper.method is None:
        raise InputError(f"The engine of '{paper.id}' is not built yet.")
    method = resolve(paper.method)
    assert isinstance(method, Method)
    return method
