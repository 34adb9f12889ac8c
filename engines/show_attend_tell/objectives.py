"""What training minimises, with soft and with hard attention; runs on the worker's loop.

Xu et al. 2015, arXiv:1502.03044. Everything is time first: (C, B) words of B captions. Sums over the words of a caption, and
means over captions. Padded words are left out by a mask, from the words and from the sums of the attention.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from engines.show_attend_tell.attention import entropy

Reward = Literal["sum", "mean", "word"]

SMALL = 1e-8
"""Added to a probability whose logarithm is taken."""

DECAY = 0.9
"""Of the running mean that is the baseline of the reward."""


def word_log_likelihoods(logits: Tensor, words: Tensor, mask: Tensor | None = None) -> Tensor:
    """log p(y_t) in nats.

    Parameters
    ----------
    logits : Tensor (C, B, words)
    words : Tensor (C, B) of int64
    mask : Tensor (C, B) or None
        0 where there is padding.

    Returns
    -------
    Tensor (C, B)
    """
    flat = torch.nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none")
    logs = -flat.view(words.shape)
    return logs if mask is None else logs * mask


def doubly_stochastic(alphas: Tensor, mask: Tensor | None = None) -> Tensor:
    """The term that asks every location to be looked at: sum over locations of (1 - sum over words of alpha)^2.

    It is a sum over locations, not their mean, which would be L times weaker.

    Parameters
    ----------
    alphas : Tensor (C, B, L)
    mask : Tensor (C, B) or None

    Returns
    -------
    Tensor (B,)
    """
    total = alphas.sum(0) if mask is None else (alphas * mask[:, :, None]).sum(0)
    return (1.0 - total).square().sum(-1)


def doubly_stochastic_floor(locations: int, words: int | float) -> float:
    """The least that `doubly_stochastic` can be: C words spread evenly give each of L locations C / L."""
    return locations * (1.0 - words / locations) ** 2


def soft_loss(log_likelihoods: Tensor, alphas: Tensor, strength: float, mask: Tensor | None = None) -> Tensor:
    """Loss of soft attention: minus the log-likelihood of a caption, and ``strength`` (lambda) times `doubly_stochastic`.

    Parameters
    ----------
    log_likelihoods : Tensor (C, B)
        Of `word_log_likelihoods`.
    alphas : Tensor (C, B, L)
    strength : float
    mask : Tensor (C, B) or None
    """
    loss = -log_likelihoods.sum(0).mean()
    return loss + strength * doubly_stochastic(alphas, mask).mean() if strength else loss


class HardTerms(NamedTuple):
    """What `hard_loss` gives.

    Attributes
    ----------
    loss : Tensor ()
        Its gradient is the estimate; its value means nothing.
    reward : float
        Mean over captions, in nats: what enters the baseline.
    """

    loss: Tensor
    reward: float


def hard_loss(
    log_likelihoods: Tensor,
    alphas: Tensor,
    locations: Tensor,
    *,
    baseline: float | None,
    reinforce: float,
    entropy_weight: float,
    reward: Reward = "sum",
    mask: Tensor | None = None,
) -> HardTerms:
    """A loss whose gradient is the estimate of the lower bound's for hard attention, with its sign turned.

    The paper's estimate: d log p(y|s)/dW + lambda_r (log p(y|s) - b) d log p(s)/dW + lambda_e dH[s]/dW.

    Parameters
    ----------
    log_likelihoods : Tensor (C, B)
        Given the locations.
    alphas : Tensor (C, B, L)
    locations : Tensor (C, B) of int64
        Drawn from alpha; -1 where the expected context was taken, where there is nothing to reinforce.
    baseline : float or None
        b, one number for all captions and words; None, before there is one, takes this minibatch's mean reward.
    reinforce, entropy_weight : float
        lambda_r and lambda_e.
    reward : {"sum", "mean", "word"}
        "sum": the log-likelihood of the caption, as in the paper. "mean": divided by its words, as in the authors' code.
        "word": each location is credited with its own word alone, and without a baseline, the other branch of that code.
    mask : Tensor (C, B) or None
    """
    present = torch.ones_like(log_likelihoods) if mask is None else mask
    loss = -log_likelihoods.sum(0)
    with torch.no_grad():
        rewards = log_likelihoods.sum(0)
        if reward != "sum":
            rewards = rewards / present.sum(0)
        mean = float(rewards.mean())
        centred = rewards - (mean if baseline is None else baseline)
        advantage = log_likelihoods.detach() if reward == "word" else centred.expand_as(present)
    drawn = (locations >= 0) * present
    chosen = alphas.gather(2, locations.clamp(min=0)[:, :, None])[:, :, 0]
    loss = loss - reinforce * (advantage * torch.log(chosen + SMALL) * drawn).sum(0)
    if entropy_weight:
        loss = loss - entropy_weight * (entropy(alphas + SMALL) * present).sum(0)
    return HardTerms(loss.mean(), mean)


class Baseline:
    """The running mean of rewards, b_k = 0.9 b_{k-1} + 0.1 r_k: one number, shared by all captions and words.

    The paper does not say where it starts; here with the first reward, so that the first updates are not made of the
    distance from zero.
    """

    def __init__(self) -> None:
        self.value: float | None = None

    def update(self, reward: float) -> None:
        """Take in the reward of a minibatch."""
        self.value = reward if self.value is None else DECAY * self.value + (1.0 - DECAY) * reward
