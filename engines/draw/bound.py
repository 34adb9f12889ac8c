"""The bound on -log p(x) of held-out pictures, and the tighter one of several drawings; any device, no gradients.

Gregor et al. 2015, arXiv:1502.04623, equations 9 to 12. L = L^x + L^z with L^x = -log p(x | c_T), of the final canvas alone,
and L^z the sum over all steps of the divergence of Q(z_t | h_enc) from a standard normal, whose constant is half the number
of latents for each step (the paper's T/2 counts one). The weights of several drawings are averaged as in Burda et al. 2016,
arXiv:1509.00519, equation 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engines.draw import recurrence
from engines.draw.model import Draw

PIXELS_AT_ONCE = 2**23
"""Pictures times steps times (pixels + 8 LSTM units) that one pass holds at most: some 150 MB."""


@dataclass(frozen=True)
class Bound:
    """Means over pictures, nats per picture.

    Attributes
    ----------
    nats : float
        L.
    error : float
        Standard error of L over pictures.
    reconstruction : float
        L^x.
    divergence : Tensor (T,)
        L^z of each step.
    """

    nats: float
    error: float
    reconstruction: float
    divergence: Tensor


def _chunk(model: Draw) -> int:
    shape = model.shape
    return max(1, PIXELS_AT_ONCE // (shape.glimpses * (shape.pixels + 8 * shape.hidden)))


@torch.no_grad()
def measure(model: Draw, x: Tensor, generator: torch.Generator) -> Bound:
    """L of pictures, one drawing for each.

    Parameters
    ----------
    model : Draw
    x : Tensor (M, pixels)
    generator : torch.Generator
        Of the noise, on the model's device.
    """
    nll, kl = [], []
    for part in x.split(_chunk(model)):
        outcome = recurrence.run(model, part, model.noise(len(part), generator))
        nll.append(outcome.nll)
        kl.append(outcome.kl)
    all_nll, all_kl = torch.cat(nll).double(), torch.cat(kl, 1).double()
    total = all_nll + all_kl.sum(0)
    error = float(total.std()) / math.sqrt(len(x)) if len(x) > 1 else math.nan
    return Bound(float(total.mean()), error, float(all_nll.mean()), all_kl.mean(1).cpu())


@torch.no_grad()
def importance_weighted(model: Draw, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """-log of the mean weight of K drawings of each picture, (M,) nats; in the mean it falls towards -log p(x) as K rises.

    Parameters
    ----------
    model : Draw
    x : Tensor (M, pixels)
    samples : int
        K; 1 gives an estimate of L without the divergences in closed form.
    generator : torch.Generator
    """
    at_once = max(1, _chunk(model) // samples)
    parts = []
    for part in x.split(at_once):
        weights = []
        # Many drawings of one picture go through in several passes.
        for first in range(0, samples, max(1, _chunk(model))):
            count = min(samples - first, max(1, _chunk(model)))
            again = part.repeat_interleave(count, 0)
            _, log_weight = recurrence.log_weights(model, again, model.noise(len(again), generator))
            weights.append(log_weight.view(len(part), count))
        parts.append(math.log(samples) - torch.logsumexp(torch.cat(weights, 1), 1))
    return torch.cat(parts)
