"""The attention network and its weights over the locations of an image; runs on the worker's loop.

Xu et al. 2015, arXiv:1502.03044: e_ti = u^T tanh(W_a a_i + W_h h_{t-1} + b), alpha_t = softmax_i(e_ti). What depends on the
image alone, W_a a_i + b, is computed once for it and not at every word. A constant added to all e_ti would cancel in the
softmax, so there is none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def normal(
    shape: tuple[int, ...], generator: torch.Generator, deviation: float | None = None
) -> nn.Parameter:
    """Normal weights; ``deviation`` None takes the inverse root of the first dimension, the number of inputs."""
    scale = shape[0] ** -0.5 if deviation is None else deviation
    return nn.Parameter(torch.randn(shape, generator=generator) * scale)


def orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix (size, size)."""
    q, r = torch.linalg.qr(torch.randn((size, size), generator=generator))
    # Without the signs of R the distribution would not be uniform.
    return q * torch.sign(torch.diagonal(r))


class Attention(nn.Module):
    """The part of the attention network that sees the image, and the readout u.

    W_h, the part that sees the decoder's state, lies beside the LSTM's own recurrent weights in
    `engines.show_attend_tell.decoder.Decoder`: one product with h_{t-1} then serves both.

    Parameters
    ----------
    dimension : int
        D of the annotations.
    units : int
        K, the width of the tanh layer.
    layers : {1, 2}
        2 puts a tanh layer of width D before it, which sees the annotations alone.
    generator : torch.Generator
    deviation : float or None
        Of the initial weights, see `normal`.
    """

    def __init__(
        self,
        dimension: int,
        units: int,
        layers: int,
        *,
        generator: torch.Generator,
        deviation: float | None = None,
    ) -> None:
        super().__init__()
        self.first = self.first_bias = None
        if layers == 2:
            self.first = normal((dimension, dimension), generator, deviation)
            self.first_bias = nn.Parameter(torch.zeros(dimension))
        self.weight = normal((dimension, units), generator, deviation)
        self.bias = nn.Parameter(torch.zeros(units))
        self.readout = normal((units,), generator, deviation)

    def project(self, annotations: Tensor) -> Tensor:
        """W_a a_i + b for every location.

        Parameters
        ----------
        annotations : Tensor (B, L, D)

        Returns
        -------
        Tensor (B, L, K)
        """
        if self.first is not None and self.first_bias is not None:
            annotations = torch.tanh(annotations @ self.first + self.first_bias)
        return annotations @ self.weight + self.bias

    def weights(self, projected: Tensor, from_state: Tensor, temperature: float = 1.0) -> Tensor:
        """alpha (B, L) of one word from `project` (B, L, K) and W_h h_{t-1} (B, K); e is divided by the temperature."""
        return torch.softmax(
            torch.tanh(projected + from_state[:, None]) @ (self.readout / temperature), dim=-1
        )


def entropy(alphas: Tensor) -> Tensor:
    """Entropy of attention weights (..., L) in nats, (...); a weight of zero adds nothing."""
    return -torch.xlogy(alphas, alphas).sum(-1)


def draw(alphas: Tensor, noise: Tensor) -> Tensor:
    """Locations s ~ Multinoulli(alpha).

    Parameters
    ----------
    alphas : Tensor (B, L)
    noise : Tensor (B,)
        Uniform in 0..1.

    Returns
    -------
    Tensor (B,) of int64
    """
    total = alphas.cumsum(-1)
    # Rounding may leave the total below 1, and the number drawn above it; locations of weight zero are never taken.
    return torch.searchsorted(total, (noise * total[:, -1])[:, None], right=True)[:, 0].clamp_(
        max=alphas.shape[-1] - 1
    )
