"""Beam search for captions, which keeps for every branch its own attention maps; runs on the worker's loop.

Each node of the tree holds the word, and the weights under which that word was predicted. They belong to the branch that the
word continues, not to the row of the beam that it lands in: reading the maps row by row, as public code does, mixes up those
of different branches as soon as one overtakes another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from engines.show_attend_tell.decoder import Decoder, State
from engines.show_attend_tell.vocabulary import END, START

Context = Literal["expected", "likeliest", "drawn"]


@dataclass(frozen=True)
class Node:
    """One word of the tree.

    Attributes
    ----------
    parent : int
        Index of the node before it; -1 for a first word.
    step : int
        Its place in the caption, from 0.
    word : int
    log_likelihood : float
        Of the words up to it, in nats.
    alphas : array (L,)
        The weights under which it was predicted.
    gate : float
        beta.
    location : int
        Of a hard context; -1 for the expected one.
    """

    parent: int
    step: int
    word: int
    log_likelihood: float
    alphas: np.ndarray
    gate: float
    location: int


@dataclass(frozen=True)
class Caption:
    """A caption and how it was looked at.

    Attributes
    ----------
    words : tuple of int
        The end included, where it was reached.
    log_likelihood : float
        In nats.
    score : float
        What branches are ranked by.
    alphas : array (C, L)
    gates : array (C,)
    locations : array (C,) of int
        -1 where the context was the expected one.
    nodes : tuple of int
        Its way through the tree.
    """

    words: tuple[int, ...]
    log_likelihood: float
    score: float
    alphas: np.ndarray
    gates: np.ndarray
    locations: np.ndarray
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Beam:
    """What the search found, best first, and every word that it kept for a while.

    Attributes
    ----------
    captions : tuple of Caption
    nodes : tuple of Node
    """

    captions: tuple[Caption, ...]
    nodes: tuple[Node, ...]


@torch.no_grad()
def search(
    decoder: Decoder,
    annotations: Tensor,
    *,
    width: int,
    longest: int,
    temperature: float = 1.0,
    normalise: bool = False,
    context: Context = "expected",
    noise: np.ndarray | None = None,
    words: Sequence[int] = (),
    looks: Mapping[int, Tensor] | None = None,
) -> Beam:
    """The best captions of one image that a beam finds.

    Parameters
    ----------
    decoder : Decoder
    annotations : Tensor (L, D)
    width : int
        Branches that are followed at a time; one that reaches the end is put aside and frees no place.
    longest : int
        Words of a caption at most, the end included.
    temperature : float
    normalise : bool
        Rank by the log-likelihood per word; otherwise by its sum.
    context : {"expected", "likeliest", "drawn"}
        See `Decoder.advance`.
    noise : array (longest,) or None
        For "drawn": one uniform number for each place in the caption, shared by all branches.
    words : sequence of int
        How the caption has to begin.
    looks : mapping of int to Tensor (L,) or None
        Weights that stand in place of the network's own at these places in the caption.
    """
    a = annotations[None]
    projected = decoder.attention.project(a)
    state = decoder.start(a)
    last = torch.full((1,), START, dtype=torch.int64, device=a.device)
    scores = torch.zeros(1, device=a.device, dtype=a.dtype)
    nodes: list[Node] = []
    alive: list[int] = [-1]
    done: list[tuple[float, int]] = []
    looks = looks or {}

    def rank(total: float, step: int) -> float:
        return total / (step + 1) if normalise else total

    for place in range(longest):
        rows = len(alive)
        drawn = None
        if noise is not None:
            drawn = torch.full((rows,), float(noise[place]), dtype=a.dtype, device=a.device)
        step = decoder.advance(
            a.expand(rows, -1, -1),
            projected.expand(rows, -1, -1),
            state,
            last,
            temperature=temperature,
            context=context,
            noise=drawn,
            forced=looks.get(place),
        )
        logs = torch.log_softmax(step.logits, dim=-1) + scores[:, None]
        if place < len(words):
            index = torch.arange(rows, device=a.device) * logs.shape[1] + words[place]
            totals = logs.flatten()[index]
        else:
            totals, index = logs.flatten().topk(min(width - len(done), logs.numel()))
        parents, chosen = torch.div(index, logs.shape[1], rounding_mode="floor"), index % logs.shape[1]
        alphas, gates, locations = step.alphas.cpu().numpy(), step.gates.tolist(), step.locations.tolist()
        kept: list[int] = []
        alive_next: list[int] = []
        for row, (total, parent, word) in enumerate(
            zip(totals.tolist(), parents.tolist(), chosen.tolist(), strict=True)
        ):
            nodes.append(
                Node(
                    alive[parent], place, word, total, alphas[parent].copy(), gates[parent], locations[parent]
                )
            )
            if word == END:
                done.append((rank(total, place), len(nodes) - 1))
            else:
                kept.append(row)
                alive_next.append(len(nodes) - 1)
        alive = alive_next
        if not alive or len(done) >= width:
            break
        index = torch.tensor(kept, device=a.device)
        state = State(step.state.h[parents[index]], step.state.c[parents[index]])
        last, scores = chosen[index], totals[index]
    # Branches that did not end in time, or for which the beam had no place left, count as they stand.
    if len(done) < width:
        done += [(rank(nodes[node].log_likelihood, nodes[node].step), node) for node in alive]
    done.sort(key=lambda entry: -entry[0])
    captions = tuple(_way(nodes, node, score) for score, node in done)
    return Beam(captions, tuple(nodes))


def _way(nodes: Sequence[Node], last: int, score: float) -> Caption:
    """The caption that ends in a node."""
    way: list[int] = []
    node = last
    while node >= 0:
        way.append(node)
        node = nodes[node].parent
    way.reverse()
    return Caption(
        tuple(nodes[i].word for i in way),
        nodes[last].log_likelihood,
        score,
        np.stack([nodes[i].alphas for i in way]),
        np.array([nodes[i].gate for i in way]),
        np.array([nodes[i].location for i in way], dtype=np.int64),
        tuple(way),
    )


@torch.no_grad()
def greedy(
    decoder: Decoder,
    annotations: Tensor,
    *,
    longest: int,
    temperature: float = 1.0,
    context: Context = "expected",
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest next word again and again, for many images at once.

    Parameters
    ----------
    decoder : Decoder
    annotations : Tensor (B, L, D)
    longest : int
    temperature : float
    context : {"expected", "likeliest", "drawn"}
    noise : Tensor (longest, B) or None
        For "drawn".

    Returns
    -------
    words : Tensor (C, B) of int64
        `END` from the end on; C is at most ``longest``.
    alphas : Tensor (C, B, L)
    gates : Tensor (C, B)
    """
    projected, state = decoder.attention.project(annotations), decoder.start(annotations)
    last = torch.full((len(annotations),), START, dtype=torch.int64, device=annotations.device)
    ended = torch.zeros_like(last, dtype=torch.bool)
    words, alphas, gates = [], [], []
    for place in range(longest):
        step = decoder.advance(
            annotations,
            projected,
            state,
            last,
            temperature=temperature,
            context=context,
            noise=None if noise is None else noise[place],
        )
        last = step.logits.argmax(-1).masked_fill(ended, END)
        words.append(last)
        alphas.append(step.alphas)
        gates.append(step.gates)
        state = step.state
        ended = ended | (last == END)
        if bool(ended.all()):
            break
    return torch.stack(words), torch.stack(alphas), torch.stack(gates)
