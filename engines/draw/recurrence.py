"""The T steps of DRAW with derivatives written by hand; any device, the thread that trains.

Gregor et al. 2015, arXiv:1502.04623. At the sizes of a demo the time of a step goes into starting small operations, and
automatic differentiation starts many. Here one function runs all steps and keeps what their derivatives need. It holds the
vectors that meet one matrix side by side in one array, makes all four filter banks that hang on one h_dec at once, and
leaves the derivatives of weights to single products over all steps at the end. `model.Draw` computes the same step by step.

The array of vectors has T + 1 rows: row t is [r_{t+1} | h_enc_t | h_dec_t | z_{t+1}], what the encoder and the decoder take
in at step t + 1 are then neighbouring columns of one row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from engines.draw.filterbank import LOWEST_LOG_VARIANCE, offsets
from engines.draw.model import WINDOW_ROWS, Draw, Shape

_aten = torch.ops.aten

PARAMETERS = (
    "encoder",
    "encoder_bias",
    "latent",
    "latent_bias",
    "decoder",
    "decoder_bias",
    "head",
    "head_bias",
    "first_canvas",
    "first_encoder",
    "first_decoder",
)
"""Names of `Draw`'s parameters in the order in which they are passed."""


@dataclass(frozen=True)
class Outcome:
    """What one pass over a batch gives.

    Attributes
    ----------
    nll : Tensor (B,)
        -log p(x | c_T), nats; of the final canvas alone (equation 9).
    kl : Tensor (T, B)
        KL(Q_t || N(0, I)) of each step, nats (equation 11).
    """

    nll: Tensor
    kl: Tensor


def run(model: Draw, x: Tensor, noise: Tensor) -> Outcome:
    """All steps for a batch, differentiable with respect to the model's parameters.

    Parameters
    ----------
    model : Draw
    x : Tensor (B, pixels)
        Flattened (height, C, width), in 0 .. 1.
    noise : Tensor (T, B, Z)
        Standard normal.
    """
    parameters = [getattr(model, name) for name in PARAMETERS]
    nll, kl = _Recurrence.apply(model.shape, x, noise, *parameters)  # type: ignore[no-untyped-call]
    return Outcome(nll, kl)


def log_weights(model: Draw, x: Tensor, noise: Tensor) -> tuple[Outcome, Tensor]:
    """As `run` without derivatives, and log p(x, z) - log q(z | x) of the latents that were drawn, (B,) in nats."""
    with torch.no_grad():
        forward = _Forward(model.shape, x, noise, [getattr(model, name).detach() for name in PARAMETERS])
        outcome = forward.outcome()
        z = forward.vectors[:-1, :, forward.z_columns]
        log_sigma = forward.posterior[..., model.shape.latent :]
        # The constants of both normal densities cancel.
        log_ratio = (0.5 * (noise.square() - z.square()) + log_sigma).sum((0, 2))
        return outcome, log_ratio - outcome.nll


# --- windows, all at once  ----------


@dataclass(frozen=True)
class _Grids:
    """Constants that turn the ten numbers of a head into all filters of both windows.

    Attributes
    ----------
    mix : Tensor (6, 2K)
        From g~_X, g~_Y of reading and of writing and both delta~ to the centres of K = read_n + write_n filters per axis,
        those of x first; in each axis those that read first.
    shift : Tensor (2K,)
    narrow : Tensor (2, 2K)
        From 1/sigma^2 of reading and of writing to -1/(2 sigma^2) of every filter.
    mix_back, narrow_back : Tensor (2K, 8)
        The way back from filters to the first eight numbers; what differs from step to step is left out.
    pixels : Tensor (2, 1, S)
        Pixel numbers from 1, for S the longer side.
    outside : Tensor (2, 1, S) or None
        Minus infinity beyond the shorter side.
    """

    mix: Tensor
    shift: Tensor
    narrow: Tensor
    mix_back: Tensor
    narrow_back: Tensor
    pixels: Tensor
    outside: Tensor | None


@lru_cache(maxsize=16)
def _grids(shape: Shape, device: torch.device, dtype: torch.dtype) -> _Grids:
    nr, nw = shape.read_n, shape.write_n
    k, sizes = nr + nw, (shape.width, shape.height)
    mix = torch.zeros((6, 2, k), device=device, dtype=dtype)
    shift = torch.zeros((2, k), device=device, dtype=dtype)
    narrow = torch.zeros((2, 2, k), device=device, dtype=dtype)
    for group, (geometry, columns) in enumerate(
        ((shape.reading, slice(0, nr)), (shape.writing, slice(nr, k)))
    ):
        for axis, size in enumerate(sizes):
            mix[2 * group + axis, axis, columns] = (size + 1) / 2
            mix[4 + group, axis, columns] = geometry.stride * offsets(geometry.n, shift)
            shift[axis, columns] = (size + 1) / 2
            narrow[group, axis, columns] = -0.5
    longest = max(sizes)
    pixels = torch.arange(1, longest + 1, device=device, dtype=dtype).expand(2, 1, -1)
    outside = None
    if min(sizes) < longest:
        limit = torch.tensor(sizes, device=device)[:, None, None]
        outside = torch.where(pixels > limit, -torch.inf, 0.0).to(dtype)
    mix, narrow = mix.reshape(6, -1), narrow.reshape(2, -1)
    mix_back, narrow_back = mix.new_zeros((8, 2 * k)), mix.new_zeros((8, 2 * k))
    mix_back[:6], narrow_back[6:] = mix, narrow
    return _Grids(
        mix,
        shift.reshape(-1),
        narrow,
        mix_back.T.contiguous(),
        narrow_back.T.contiguous(),
        pixels.contiguous(),
        outside,
    )


class _Eyes(Protocol):
    """How a network reads and writes: through windows or everywhere. Steps are those of the head: 0 .. T."""

    base: Tensor
    """What the encoder's gates begin with, (4H,) or (B, 4H)."""
    weight: Tensor
    """The encoder's matrix for [what `look` leaves | h_enc | h_dec]."""
    columns: int
    """How many numbers `look` leaves."""

    def aim(self, step: int, h_dec: Tensor) -> None:
        """Place the windows by the decoder's state after a step."""

    def look(self, step: int, canvas: Tensor, out: Tensor) -> None:
        """What step + 1 reads."""

    def draw(self, step: int, canvas: Tensor) -> Tensor:
        """The canvas after a step, from that before it."""

    def begin_back(self) -> None:
        """Make room for the derivatives, which are asked for from the last step to the first."""

    def look_back(self, step: int, d_read: Tensor, d_canvas: Tensor) -> Tensor:
        """Derivatives with respect to the canvas after a step, once those of what step + 1 reads are known."""

    def draw_back(self, step: int, d_canvas: Tensor) -> None:
        """Note the derivatives of what a step writes."""

    def aim_back(self, step: int) -> Tensor:
        """Derivatives with respect to the decoder's state after a step."""

    def encoder_gradient(self, d_gates: Tensor, d_weight: Tensor) -> Tensor:
        """Derivatives of the encoder's own matrix from those of `weight`."""

    def head_gradient(self, h_dec: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives of the head's matrix and bias from the decoder's states (T + 1, B, H)."""


class _Windows:
    """With attention."""

    def __init__(self, shape: Shape, x: Tensor, p: dict[str, Tensor]) -> None:
        self.shape, self.p = shape, p
        self.grids = _grids(shape, x.device, x.dtype)
        self.base, self.weight, self.columns = p["encoder_bias"], p["encoder"], shape.read_size
        steps, batch = shape.glimpses, len(x)
        self.batch, self.n = batch, shape.read_n + shape.write_n
        half = self.half = shape.channels * shape.width
        self.x = x.view(batch, shape.height, half)
        # Picture and error picture side by side, so that one product reads both.
        pairs = x.new_empty((steps, batch, shape.height, 2 * half))
        pairs[..., :half] = self.x
        self.pairs, self.errors = pairs.unbind(0), pairs[..., half:].unbind(0)
        self.heads = x.new_empty((steps + 1, batch, WINDOW_ROWS + shape.patch_size))
        self.head_rows = self.heads.unbind(0)
        self.placing = self.heads[..., :6].unbind(0)
        self.exponents = self.heads[..., 4:WINDOW_ROWS].unbind(0)
        self.variances = self.heads[..., 6:8].unbind(0)
        self.gammas_read = self.heads[..., 8:9].unbind(0)
        self.gammas_write = self.heads[..., 9:10].unbind(0)
        self.patches = self.heads[..., WINDOW_ROWS:].unbind(0)
        self.head_t = p["head"].T
        self.distances: list[Tensor] = []
        self.banks: list[Tensor] = []
        self.parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.read_rows: list[Tensor] = []
        self.reads: list[Tensor] = []
        self.inks: list[Tensor] = []
        self.write_rows: list[Tensor] = []
        self.sigmoids: list[Tensor] = []

    def _apart(self, banks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of all filters (B, 2, K, S) those of reading, F_X and F_Y, and those of writing."""
        shape = self.shape
        f_x, f_y = banks.unbind(1)
        if shape.width != shape.height:
            f_x, f_y = f_x[..., : shape.width], f_y[..., : shape.height]
        sizes = [shape.read_n, shape.write_n]
        read_x, write_x = f_x.split_with_sizes(sizes, 1)
        read_y, write_y = f_y.split_with_sizes(sizes, 1)
        return read_x, read_y, write_x, write_y

    def aim(self, step: int, h_dec: Tensor) -> None:
        grids = self.grids
        torch.addmm(self.p["head_bias"], h_dec, self.head_t, out=self.head_rows[step])
        variances = self.variances[step].clamp_(min=LOWEST_LOG_VARIANCE)
        self.exponents[step].exp_()
        mu = torch.addmm(grids.shift, self.placing[step], grids.mix).view(self.batch, 2, self.n, 1)
        scale = torch.mm(variances.reciprocal(), grids.narrow).view(self.batch, 2, self.n, 1)
        distance = mu - grids.pixels
        logits = distance.square().mul_(scale)
        if grids.outside is not None:
            logits += grids.outside
        banks = torch.softmax(logits, -1)
        self.distances.append(distance)
        self.banks.append(banks)
        self.parts.append(self._apart(banks))

    def look(self, step: int, canvas: Tensor, out: Tensor) -> None:
        sigmoid = torch.sigmoid(canvas)
        self.sigmoids.append(sigmoid)
        torch.sub(self.x, sigmoid, out=self.errors[step])
        f_x, f_y, _, _ = self.parts[step]
        rows = torch.bmm(f_y, self.pairs[step]).view(self.batch, -1, self.shape.width)
        patch = torch.bmm(rows, f_x.mT).view(self.batch, -1)
        torch.mul(patch, self.gammas_read[step], out=out)
        self.read_rows.append(rows)
        self.reads.append(patch)

    def draw(self, step: int, canvas: Tensor) -> Tensor:
        n, (_, _, f_x, f_y) = self.shape.write_n, self.parts[step]
        ink = (self.patches[step] / self.gammas_write[step]).view(self.batch, -1, n)
        rows = torch.bmm(ink, f_x).view(self.batch, n, -1)
        self.inks.append(ink)
        self.write_rows.append(rows)
        return torch.baddbmm(canvas, f_y.mT, rows)

    def begin_back(self) -> None:
        self.d_heads = torch.empty_like(self.heads)
        # Nothing is written before the first step, nothing read after the last.
        self.d_heads[0, :, 9:] = 0
        self.d_heads[-1, :, 8] = 0
        self.d_head_rows = self.d_heads.unbind(0)
        self.d_placing = self.d_heads[..., :8].unbind(0)
        self.d_gammas_read = self.d_heads[..., 8:9].unbind(0)
        self.d_gammas_write = self.d_heads[..., 9:10].unbind(0)
        self.d_patches = self.d_heads[..., WINDOW_ROWS:].unbind(0)
        self.d_banks = torch.zeros_like(self.banks[0])
        self.d_parts = self._apart(self.d_banks)
        self.sums = self.heads.new_empty((2, self.batch, 2, self.n))
        self.flat_sums = self.sums.view(2, self.batch, -1).unbind(0)
        # What the derivatives of the centres and of 1/sigma^2 are to be multiplied by, for all steps at once.
        strides, variances = self.heads[..., 4:6], self.heads[..., 6:8]
        precision = variances.reciprocal()
        narrower = variances > math.exp(LOWEST_LOG_VARIANCE)
        self.factors = torch.cat(
            [
                -precision.repeat_interleave(2, -1),
                -precision * strides,
                -precision * narrower,
            ],
            -1,
        ).unbind(0)

    def look_back(self, step: int, d_read: Tensor, d_canvas: Tensor) -> Tensor:
        n, batch = self.shape.read_n, self.batch
        f_x, f_y, _, _ = self.parts[step]
        d_patch = d_read * self.gammas_read[step]
        torch.sum(d_patch * self.reads[step], 1, keepdim=True, out=self.d_gammas_read[step])
        d_patch = d_patch.view(batch, -1, n)
        d_rows = torch.bmm(d_patch, f_x).view(batch, n, -1)
        # Into parts of one array by copying: torch multiplies into those matrix by matrix.
        self.d_parts[0].copy_(torch.bmm(d_patch.mT, self.read_rows[step]))
        self.d_parts[1].copy_(torch.bmm(d_rows, self.pairs[step].mT))
        d_error = torch.bmm(f_y.mT, d_rows[:, :, self.half :])
        return d_canvas.sub_(_aten.sigmoid_backward(d_error, self.sigmoids[step]))

    def draw_back(self, step: int, d_canvas: Tensor) -> None:
        _, _, f_x, f_y = self.parts[step]
        # The first write is that of step 1.
        ink, rows = self.inks[step - 1], self.write_rows[step - 1]
        self.d_parts[3].copy_(torch.bmm(rows, d_canvas.mT))
        d_rows = torch.bmm(f_y, d_canvas).view(self.batch, -1, self.shape.width)
        self.d_parts[2].copy_(torch.bmm(ink.mT, d_rows))
        d_ink = torch.bmm(d_rows, f_x.mT)
        torch.div(d_ink.view(self.batch, -1), self.gammas_write[step], out=self.d_patches[step])
        lost = d_ink.mul_(ink).view(self.batch, -1)
        torch.sum(lost, 1, keepdim=True, out=self.d_gammas_write[step]).neg_()

    def aim_back(self, step: int) -> Tensor:
        if step == self.shape.glimpses:
            self.d_parts[0].zero_()
            self.d_parts[1].zero_()
        if step == 0:
            self.d_parts[2].zero_()
            self.d_parts[3].zero_()
        banks, distance = self.banks[step], self.distances[step]
        pull = _aten._softmax_backward_data(self.d_banks, banks, -1, banks.dtype).mul_(distance)
        first, second = self.flat_sums
        torch.sum(pull, -1, out=self.sums[0])
        torch.sum(pull.mul_(distance), -1, out=self.sums[1])
        placing = self.d_placing[step]
        torch.mm(first, self.grids.mix_back, out=placing)
        placing.addmm_(second, self.grids.narrow_back).mul_(self.factors[step])
        return torch.mm(self.d_head_rows[step], self.p["head"])

    def encoder_gradient(self, d_gates: Tensor, d_weight: Tensor) -> Tensor:
        return d_weight

    def head_gradient(self, h_dec: Tensor) -> tuple[Tensor, Tensor]:
        d_heads = self.d_heads.flatten(0, 1)
        return d_heads.T @ h_dec.flatten(0, 1), d_heads.sum(0)


class _Whole:
    """Without attention: x is the same at every step, so that its share of the encoder's gates is computed once."""

    def __init__(self, shape: Shape, x: Tensor, p: dict[str, Tensor]) -> None:
        self.shape, self.p, self.x, self.columns = shape, p, x, shape.pixels
        picture, error, rest = p["encoder"].split([shape.pixels, shape.pixels, 2 * shape.hidden], dim=1)
        # W_x x + W_e (x - s) = (W_x + W_e) x - W_e s, for s the sigmoid of the canvas.
        self.base = torch.addmm(p["encoder_bias"], x, (picture + error).T)
        self.weight = torch.cat([-error, rest], 1)
        self.h_dec: list[Tensor] = []
        self.sigmoids: list[Tensor] = []

    def aim(self, step: int, h_dec: Tensor) -> None:
        self.h_dec.append(h_dec)

    def look(self, step: int, canvas: Tensor, out: Tensor) -> None:
        torch.sigmoid(canvas, out=out)
        self.sigmoids.append(out)

    def draw(self, step: int, canvas: Tensor) -> Tensor:
        return torch.addmm(canvas, self.h_dec[step], self.p["head"].T).add_(self.p["head_bias"])

    def begin_back(self) -> None:
        self.d_canvases = self.x.new_empty((self.shape.glimpses + 1, *self.x.shape))
        self.d_canvases[0] = 0

    def look_back(self, step: int, d_read: Tensor, d_canvas: Tensor) -> Tensor:
        return d_canvas.add_(_aten.sigmoid_backward(d_read, self.sigmoids[step]))

    def draw_back(self, step: int, d_canvas: Tensor) -> None:
        self.d_canvases[step] = d_canvas

    def aim_back(self, step: int) -> Tensor:
        if step == 0:
            # Nothing is written before the first step.
            return torch.zeros_like(self.h_dec[0])
        return torch.mm(self.d_canvases[step], self.p["head"])

    def encoder_gradient(self, d_gates: Tensor, d_weight: Tensor) -> Tensor:
        d_sigmoid, d_rest = d_weight.split([self.shape.pixels, 2 * self.shape.hidden], dim=1)
        d_picture = d_gates.sum(0).T @ self.x
        return torch.cat([d_picture, d_picture - d_sigmoid, d_rest], 1)

    def head_gradient(self, h_dec: Tensor) -> tuple[Tensor, Tensor]:
        d_canvases = self.d_canvases.flatten(0, 1)
        return d_canvases.T @ h_dec.flatten(0, 1), d_canvases.sum(0)


# --- the recurrence  ----------


class _Cell:
    """The T steps of one LSTM from its gates, with what their derivatives need.

    Gates stand in the order output, input, forget, candidate: the first three have the same squashing function, and the
    last three the same factor on the way back.
    """

    def __init__(self, steps: int, batch: int, hidden: int, like: Tensor) -> None:
        self.hidden = hidden
        self.gates = like.new_empty((steps, batch, 4 * hidden))
        self.cells = like.new_empty((steps + 1, batch, hidden))
        self.cells[0] = 0
        self.squashed = like.new_empty((steps, batch, hidden))
        self.rows = self.gates.unbind(0)
        self.opened = self.gates[..., : 3 * hidden].unbind(0)
        self.o, self.i, self.f, self.g = (part.unbind(0) for part in self.gates.chunk(4, 2))
        self.cell_rows, self.squashed_rows = self.cells.unbind(0), self.squashed.unbind(0)

    def forward(self, t: int, out: Tensor) -> None:
        """From the gates in row ``t``, which are squashed in their place, the hidden state into ``out``."""
        self.opened[t].sigmoid_()
        cell, squashed, g = self.cell_rows[t + 1], self.squashed_rows[t], self.g[t].tanh_()
        torch.mul(self.f[t], self.cell_rows[t], out=cell)
        cell.addcmul_(self.i[t], g)
        torch.tanh(cell, out=squashed)
        torch.mul(self.o[t], squashed, out=out)

    def begin_back(self) -> None:
        hidden, gates = self.hidden, self.gates
        # The derivative of each gate but for that of the cell (for the output gate: of the hidden state), all steps at once.
        factors = torch.empty_like(gates)
        o, i, _, g = gates.chunk(4, 2)
        opened = gates[..., : 3 * hidden]
        torch.addcmul(opened, opened, opened, value=-1, out=factors[..., : 3 * hidden])
        factor_o, factor_i, factor_f, factor_g = factors.chunk(4, 2)
        factor_o.mul_(self.squashed)
        factor_i.mul_(g)
        factor_f.mul_(self.cells[:-1])
        torch.addcmul(i, i * g, g, value=-1, out=factor_g)
        self.factor_o = factor_o.unbind(0)
        self.factor_rest = factors[..., hidden:].unflatten(2, (3, hidden)).unbind(0)
        self.into_cell = torch.addcmul(o, o * self.squashed, self.squashed, value=-1).unbind(0)
        self.d_gates = torch.empty_like(gates)
        self.d_rows = self.d_gates.unbind(0)
        self.d_o = self.d_gates[..., :hidden].unbind(0)
        self.d_rest = self.d_gates[..., hidden:].unflatten(2, (3, hidden)).unbind(0)
        self.d_cell: Tensor | None = None

    def backward(self, t: int, d_hidden: Tensor) -> Tensor:
        """Derivatives of the gates of a step, (B, 4H), from those of its hidden state."""
        if self.d_cell is None:
            d_cell = d_hidden * self.into_cell[t]
        else:
            d_cell = self.d_cell.addcmul_(d_hidden, self.into_cell[t])
        torch.mul(d_hidden, self.factor_o[t], out=self.d_o[t])
        torch.mul(d_cell[:, None], self.factor_rest[t], out=self.d_rest[t])
        self.d_cell = d_cell.mul_(self.f[t])
        return self.d_rows[t]


class _Forward:
    """One pass over a batch, and the way back."""

    def __init__(self, shape: Shape, x: Tensor, noise: Tensor, parameters: list[Tensor]) -> None:
        p = dict(zip(PARAMETERS, parameters, strict=True))
        self.shape, self.x, self.p = shape, x, p
        steps, batch, hidden, latent = shape.glimpses, len(x), shape.hidden, shape.latent
        eyes: _Eyes = _Windows(shape, x, p) if shape.attention else _Whole(shape, x, p)
        self.eyes = eyes
        r = eyes.columns
        self.enc_columns = slice(r, r + hidden)
        self.dec_columns = slice(r + hidden, r + 2 * hidden)
        self.z_columns = slice(r + 2 * hidden, r + 2 * hidden + latent)
        vectors = self.vectors = x.new_empty((steps + 1, batch, r + 2 * hidden + latent))
        vectors[0, :, self.enc_columns] = p["first_encoder"]
        vectors[0, :, self.dec_columns] = p["first_decoder"]
        reads, enc, dec, z = (part.unbind(0) for part in vectors.split([r, hidden, hidden, latent], 2))
        into_encoder = vectors[:, :, : r + 2 * hidden].unbind(0)
        into_decoder = vectors[:, :, r + hidden :].unbind(0)
        self.encoder = _Cell(steps, batch, hidden, x)
        self.decoder = _Cell(steps, batch, hidden, x)
        self.posterior = x.new_empty((steps, batch, 2 * latent))
        posterior = self.posterior.unbind(0)
        means, log_sigmas = (part.unbind(0) for part in self.posterior.chunk(2, 2))
        self.spreads = x.new_empty((steps, batch, latent))
        spreads, noises = self.spreads.unbind(0), noise.unbind(0)
        encoder_t, latent_t, decoder_t = eyes.weight.T, p["latent"].T, p["decoder"].T
        canvas = p["first_canvas"].expand(batch, -1)
        if shape.attention:
            canvas = canvas.view(batch, shape.height, -1)
        eyes.aim(0, dec[0])
        for t in range(steps):
            eyes.look(t, canvas, reads[t])
            torch.addmm(eyes.base, into_encoder[t], encoder_t, out=self.encoder.rows[t])
            self.encoder.forward(t, enc[t + 1])
            torch.addmm(p["latent_bias"], enc[t + 1], latent_t, out=posterior[t])
            torch.exp(log_sigmas[t], out=spreads[t])
            spreads[t].mul_(noises[t])
            torch.add(means[t], spreads[t], out=z[t])
            torch.addmm(p["decoder_bias"], into_decoder[t], decoder_t, out=self.decoder.rows[t])
            self.decoder.forward(t, dec[t + 1])
            eyes.aim(t + 1, dec[t + 1])
            canvas = eyes.draw(t + 1, canvas)
        self.canvas = canvas

    def outcome(self) -> Outcome:
        """Both parts of the bound; the divergence of all steps in one go, as nothing hangs on it."""
        latent = self.shape.latent
        mean, log_sigma = self.posterior[..., :latent], self.posterior[..., latent:]
        kl = 0.5 * (mean.square() + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(-1)
        canvas = self.canvas.reshape(self.x.shape)
        return Outcome((functional.softplus(canvas) - self.x * canvas).sum(1), kl)

    def gradients(self, d_nll: Tensor, d_kl: Tensor) -> list[Tensor]:
        """Derivatives of all parameters from those of ``nll`` (B,) and ``kl`` (T, B)."""
        shape, p, eyes = self.shape, self.p, self.eyes
        steps, batch, latent = shape.glimpses, len(self.x), shape.latent
        r, hidden = eyes.columns, shape.hidden
        eyes.begin_back()
        self.encoder.begin_back()
        self.decoder.begin_back()
        d_canvas = torch.sigmoid(self.canvas).view(batch, -1).sub_(self.x).mul_(d_nll[:, None])
        d_canvas = d_canvas.view(self.canvas.shape)
        mean, log_sigma = self.posterior[..., :latent], self.posterior[..., latent:]
        d_posterior = torch.empty_like(self.posterior)
        torch.mul(mean, d_kl[..., None], out=d_posterior[..., :latent])
        torch.mul((2 * log_sigma).exp_().sub_(1), d_kl[..., None], out=d_posterior[..., latent:])
        d_posteriors, spreads = d_posterior.unbind(0), self.spreads.unbind(0)
        d_means, d_log_sigmas = (part.unbind(0) for part in d_posterior.chunk(2, 2))
        eyes.draw_back(steps, d_canvas)
        d_dec = eyes.aim_back(steps)
        d_enc: Tensor | None = None
        for t in range(steps - 1, -1, -1):
            d_in = torch.mm(self.decoder.backward(t, d_dec), p["decoder"])
            d_dec, d_z = d_in.split_with_sizes([hidden, latent], 1)
            d_means[t].add_(d_z)
            d_log_sigmas[t].addcmul_(d_z, spreads[t])
            if d_enc is None:
                d_enc = torch.mm(d_posteriors[t], p["latent"])
            else:
                d_enc = torch.addmm(d_enc, d_posteriors[t], p["latent"])
            d_in = torch.mm(self.encoder.backward(t, d_enc), eyes.weight)
            d_read, d_enc, d_in_dec = d_in.split_with_sizes([r, hidden, hidden], 1)
            d_dec = d_dec + d_in_dec
            d_canvas = eyes.look_back(t, d_read, d_canvas)
            if t > 0:
                eyes.draw_back(t, d_canvas)
            d_dec += eyes.aim_back(t)
        assert d_enc is not None
        vectors = self.vectors[:-1].flatten(0, 1)
        d_encoder_gates = self.encoder.d_gates.flatten(0, 1)
        d_decoder_gates = self.decoder.d_gates.flatten(0, 1)
        d_posterior = d_posterior.flatten(0, 1)
        d_encoder = eyes.encoder_gradient(
            self.encoder.d_gates, d_encoder_gates.T @ vectors[:, : r + 2 * hidden]
        )
        d_head, d_head_bias = eyes.head_gradient(self.vectors[:, :, self.dec_columns])
        return [
            d_encoder,
            d_encoder_gates.sum(0),
            d_posterior.T @ self.vectors[1:, :, self.enc_columns].flatten(0, 1),
            d_posterior.sum(0),
            d_decoder_gates.T @ vectors[:, r + hidden :],
            d_decoder_gates.sum(0),
            d_head,
            d_head_bias,
            d_canvas.reshape(batch, -1).sum(0),
            d_enc.sum(0),
            d_dec.sum(0),
        ]


class _Recurrence(torch.autograd.Function):
    """(shape, x, noise, *parameters) -> (nll, kl); derivatives with respect to the parameters alone."""

    @staticmethod
    def forward(ctx: Any, shape: Shape, x: Tensor, noise: Tensor, *parameters: Tensor) -> Any:
        forward = _Forward(shape, x, noise, list(parameters))
        ctx.forward_pass = forward
        outcome = forward.outcome()
        return outcome.nll, outcome.kl

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_nll: Tensor, d_kl: Tensor) -> Any:
        return None, None, None, *ctx.forward_pass.gradients(d_nll, d_kl)
