"""Networks of the reverse chain, f_mu and f_Sigma; torch, runs in the training worker.

Sohl-Dickstein et al. 2015, appendix D. A network maps states (..., D) and steps t to 2 D outputs, z_mu and z_Sigma;
`ReverseModel` makes mean and variance of them. All readouts start at zero, and zero outputs are the forward kernel:
training starts at K = L_null for data of unit variance.

Steps come in one of three shapes: () for one step, (S, 1) for S steps with x of shape (S, B, D), or any other shape
that broadcasts against ``x.shape[:-1]``, where every state has its own step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from engines.diffusion.chain import GaussianChain
from engines.diffusion.schedule import FixedSchedule, LearnedSchedule

MeanScale = Literal["kernel", "data"]


class ReverseModel(nn.Module):
    """p(x^{t-1} | x^t) = N(f_mu, diag f_Sigma) from a network's outputs (equations 64, 65, as in the released code).

    f_Sigma = sigmoid(z_Sigma / sqrt(T) + logit beta_t), and f_mu = sqrt(1 - beta_t) x^t + c_t z_mu.

    Parameters
    ----------
    network : nn.Module
        ``network(x, t)`` returns (..., 2 D): z_mu, then z_Sigma.
    schedule : FixedSchedule or LearnedSchedule
    mean_scale : {"kernel", "data"}
        c_t. "kernel" is sqrt(beta_t), as in the released code. "data" is the weight of x^0 in the mean of
        q(x^{t-1} | x^t, x^0): the network then says by how much its guess of x^0 differs from sqrt(alpha_bar_t) x^t.
        Where the noise is small beside the data's features that guess is a smooth function of x^t, while in the
        first form the network has to be as steep as 1 / noise. The two differ by a factor per step.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: FixedSchedule | LearnedSchedule,
        mean_scale: MeanScale = "kernel",
    ) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.mean_scale = mean_scale

    def chain(self) -> GaussianChain:
        """The forward chain under the present betas, with gradients to them when they are learned."""
        return GaussianChain(self.schedule.betas())

    def forward(self, x: Tensor, t: Tensor, chain: GaussianChain | None = None) -> tuple[Tensor, Tensor]:
        """Mean and variance of p(x^{t-1} | x^t), t = 2..T.

        Parameters
        ----------
        x : Tensor (..., D)
        t : Tensor of long
            See the module.
        chain : GaussianChain, optional
            What `chain` returned, to save making it again.

        Returns
        -------
        mean, variance : Tensor (..., D)
        """
        chain = self.chain() if chain is None else chain
        z_mean, z_variance = self.network(x, t).chunk(2, -1)
        scales = chain.posterior_data if self.mean_scale == "data" else chain.root_betas
        mean = chain.root_alphas[t][..., None] * x + scales[t][..., None] * z_mean
        logits = torch.logit(chain.betas[1:])[t - 1][..., None]
        return mean, torch.sigmoid(z_variance * (1.0 / math.sqrt(chain.steps)) + logits)


class StepReadout(nn.Module):
    """A separate linear readout for every step t = 2..T, as the paper's toys have it (appendix D.1.1).

    Parameters
    ----------
    features, outputs, steps : int
        ``steps`` is T.
    bias : bool
    """

    def __init__(self, features: int, outputs: int, steps: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(steps - 1, features, outputs))
        self.bias = nn.Parameter(torch.zeros(steps - 1, 1, outputs)) if bias else None

    def forward(self, features: Tensor, t: Tensor) -> Tensor:
        """Outputs (..., outputs) of features (..., H)."""
        place = t - 2
        if t.dim() == 0:
            result = features @ self.weight[place]
            return result if self.bias is None else result + self.bias[place].squeeze(-2)
        stacked = features.dim() == 3 and t.dim() == 2 and t.shape == (features.shape[0], 1)
        if stacked:
            weight = self.weight.index_select(0, place[:, 0])
            if self.bias is None:
                return torch.bmm(features, weight)
            return torch.baddbmm(self.bias.index_select(0, place[:, 0]), features, weight)
        place = place.expand(features.shape[:-1])
        result = torch.einsum("...h,...ho->...o", features, self.weight[place])
        return result if self.bias is None else result + self.bias[place].squeeze(-2)


class RBFNetwork(nn.Module):
    """The paper's network for the swiss roll: normalised radial basis functions shared by all steps and both outputs.

    phi_j(x) = exp(-|x - c_j|^2 / 2 w_j^2) / sum_k exp(-|x - c_k|^2 / 2 w_k^2), then one linear readout per step and per
    function. Centres c_j and widths w_j are trained with the readouts; the paper does not say whether its own were.

    Parameters
    ----------
    dimension, steps : int
        D and T.
    units : int
        16 in the paper.
    width : float
        Of every unit at the start; the centres start standard normal, as x^T is.
    generator : torch.Generator, optional
        For the centres.
    """

    def __init__(
        self,
        dimension: int,
        steps: int,
        units: int = 16,
        width: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(units, dimension, generator=generator))
        self.log_widths = nn.Parameter(torch.full((units,), math.log(width)))
        # The features add up to one, so a bias would be redundant.
        self.readout = StepReadout(units, 2 * dimension, steps, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """phi (..., units) at points (..., D)."""
        precision = torch.exp(-2.0 * self.log_widths)
        # |x|^2 precision - 2 x.c precision + |c|^2 precision: matrix products in place of a (..., units, D) array.
        square = x.square().sum(-1, keepdim=True)
        centre_square = self.centres.square().sum(-1)
        distances = square + centre_square - 2.0 * (x @ self.centres.mT)
        return torch.softmax(-0.5 * precision * distances, -1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.readout(self.features(x), t)


def _linear(inputs: int, outputs: int, generator: torch.Generator | None, gain: float = 1.0) -> nn.Linear:
    """A layer with orthogonal-like variance 1 / inputs, drawn from the given generator, bias zero."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(0.0, gain / math.sqrt(inputs), generator=generator)
        layer.bias.zero_()
    return layer


class MLP(nn.Module):
    """A perceptron for data on the plane or of few dimensions, with a linear readout per step.

    The hidden layers are shared by all steps and by f_mu and f_Sigma, as in the paper's heartbeat network. With
    ``embed_steps`` each step also has its own trained bias in the first layer, which the paper's networks do not have.

    Parameters
    ----------
    dimension, steps : int
        D and T.
    hidden : sequence of int
        Widths of the hidden layers.
    frequencies : int
        Number of sines and cosines of random directions beside x itself at the input; 0 for none.
    frequency_scale : float
        Standard deviation of these directions, in radians per unit of x.
    embed_steps : bool
    generator : torch.Generator, optional
        For the initial weights.
    """

    directions: Tensor

    def __init__(
        self,
        dimension: int,
        steps: int,
        hidden: Sequence[int] = (128, 128),
        *,
        frequencies: int = 0,
        frequency_scale: float = 3.0,
        embed_steps: bool = False,
        activation: type[nn.Module] = nn.SiLU,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer(
            "directions", torch.randn(dimension, frequencies, generator=generator) * frequency_scale
        )
        inputs = dimension + 2 * frequencies
        self.first = _linear(inputs, hidden[0], generator, 2.0)
        self.step_bias = nn.Parameter(torch.zeros(steps - 1, hidden[0])) if embed_steps else None
        self.rest = nn.ModuleList(
            _linear(before, after, generator, 1.6) for before, after in itertools.pairwise(hidden)
        )
        self.activation = activation()
        self.readout = StepReadout(hidden[-1], 2 * dimension, steps)

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """Output of the last hidden layer (..., H)."""
        if self.directions.shape[1]:
            phase = x @ self.directions
            x = torch.cat([x, phase.sin(), phase.cos()], -1)
        h = self.first(x)
        if self.step_bias is not None:
            h = h + self.step_bias[t - 2]
        h = self.activation(h)
        for layer in self.rest:
            h = self.activation(layer(h))
        return h

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.readout(self.features(x, t), t)


def bump_functions(t: Tensor, count: int, steps: int, dtype: torch.dtype | None = None) -> Tensor:
    """g_j(t): Gaussian bumps over the steps, normalised to add up to one (appendix D.2.2).

    Centres lie evenly in (0, T) and the width is their spacing.

    Parameters
    ----------
    t : Tensor (...,)
    count : int
        J.
    steps : int
        T.

    Returns
    -------
    Tensor (..., J)
    """
    dtype = torch.get_default_dtype() if dtype is None else dtype
    spacing = steps / (count + 1)
    centres = spacing * torch.arange(1, count + 1, device=t.device, dtype=dtype)
    return torch.softmax(-0.5 * ((t[..., None].to(dtype) - centres) / spacing).square(), -1)


class DenseNetwork(nn.Module):
    """A dense network for images with the paper's time readout: time enters only after the last layer.

    Each pixel has 2 J outputs y; z_mu,i = sum_j y^mu_ij g_j(t), and the same for Sigma (appendix D.2.2).

    Parameters
    ----------
    dimension, steps : int
        D and T.
    hidden : sequence of int
    bumps : int
        J; 10 in the released code.
    generator : torch.Generator, optional
    """

    def __init__(
        self,
        dimension: int,
        steps: int,
        hidden: Sequence[int] = (256, 256),
        *,
        bumps: int = 10,
        activation: type[nn.Module] = nn.SiLU,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.bumps = bumps
        widths = [dimension, *hidden]
        self.layers = nn.ModuleList(
            _linear(before, after, generator, 1.6) for before, after in itertools.pairwise(widths)
        )
        self.activation = activation()
        self.last = nn.Linear(widths[-1], 2 * dimension * bumps)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = x
        for layer in self.layers:
            h = self.activation(layer(h))
        y = self.last(h).unflatten(-1, (self.bumps, -1))
        weights = bump_functions(t, self.bumps, self.steps, x.dtype)
        return (y * weights[..., None]).sum(-2)
