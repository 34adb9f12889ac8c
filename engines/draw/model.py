"""The DRAW network, written step by step as the paper has it; differentiable, on any device and thread.

Gregor et al. 2015, arXiv:1502.04623, equations 1 to 29. Training goes through `recurrence`, which computes the same with
derivatives written by hand; this module is what that one is checked against, and what the pictures are made with.
Pictures are (B, height, channels, width), flattened where they meet a linear layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.draw.filterbank import Geometry, Window, read, write

READ_ROWS = (0, 1, 6, 4, 8)
"""Rows of the window head that place the reading window, in the order g~_X, g~_Y, log sigma^2, log delta~, log gamma."""

WRITE_ROWS = (2, 3, 7, 5, 9)
"""The same for the writing window: rows of its own, learned apart."""

STRIDE_ROWS = (4, 5)
"""Rows of both log delta~."""

WINDOW_ROWS = 10

HEAD_SCALE = 0.05
"""Standard deviation of the first weights of what places windows and writes."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a DRAW network.

    Attributes
    ----------
    height, width, channels : int
        Of the pictures.
    glimpses : int
        T.
    read_n, write_n : int
        Filters per side of the reading and of the writing window; without attention they mean nothing.
    hidden : int
        Units of each LSTM.
    latent : int
        Numbers of each z_t.
    attention : bool
        Without, the encoder sees everything and the decoder writes everywhere (equations 17 and 18).
    """

    height: int
    width: int
    channels: int
    glimpses: int
    read_n: int
    write_n: int
    hidden: int
    latent: int
    attention: bool = True

    @property
    def pixels(self) -> int:
        """Numbers in a picture."""
        return self.height * self.width * self.channels

    @property
    def read_size(self) -> int:
        """Numbers in what is read: the picture's and the error picture's."""
        return 2 * (self.channels * self.read_n**2 if self.attention else self.pixels)

    @property
    def patch_size(self) -> int:
        """Numbers in what is written."""
        return self.channels * self.write_n**2 if self.attention else self.pixels

    @property
    def reading(self) -> Geometry:
        """The grid that reads."""
        return Geometry(self.width, self.height, self.read_n)

    @property
    def writing(self) -> Geometry:
        """The grid that writes."""
        return Geometry(self.width, self.height, self.write_n)


@dataclass(frozen=True)
class State:
    """What goes from one step to the next: hidden units (B, H) and cells of both LSTMs, and the canvas (B, h, C, w)."""

    h_enc: Tensor
    c_enc: Tensor
    h_dec: Tensor
    c_dec: Tensor
    canvas: Tensor


@dataclass(frozen=True)
class Trace:
    """Everything that happened in T steps.

    Attributes
    ----------
    canvases : list of Tensor (B, height, C, width)
        c_0 .. c_T, before the sigmoid.
    reads, writes : list of Window or None
        Of the steps 1 .. T; None without attention, and for reads in generation.
    mean, log_sigma, latents : list of Tensor (B, Z)
        Of Q(z_t | h_enc), and z_t; the first two are empty in generation.
    states : list of State
        After the steps 0 .. T; those of a generation have an encoder that never moved.
    """

    canvases: list[Tensor]
    reads: list[Window | None]
    writes: list[Window | None]
    mean: list[Tensor]
    log_sigma: list[Tensor]
    latents: list[Tensor]
    states: list[State]


@dataclass(frozen=True)
class Brush:
    """The brush in a person's hand, from one step on.

    Attributes
    ----------
    step, last : int
        The steps 1 .. T through which the window is held.
    window : Window or None
        Where it writes then; None leaves that to the model. The intensity stays the model's.
    paint : Tensor (height, C, width) or None
        Canvas after ``step`` where it was painted, before the sigmoid; NaN elsewhere.
    """

    step: int
    last: int
    window: Window | None = None
    paint: Tensor | None = None

    def held(self, step: int, window: Window | None) -> Window | None:
        """The window that is written through at a step."""
        if self.window is None or window is None or not self.step <= step <= self.last:
            return window
        gamma = window.gamma
        g_x, g_y, delta, sigma, _ = (part.expand_as(gamma) for part in self.window)
        return Window(g_x, g_y, delta, sigma, gamma)

    def painted(self, step: int, canvas: Tensor) -> Tensor:
        """The canvas after a step."""
        if self.paint is None or step != self.step:
            return canvas
        return torch.where(torch.isnan(self.paint), canvas, self.paint)


def lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM from its gates (B, 4H) in the order output, input, forget, candidate: new (hidden, cell)."""
    o, i, f, g = gates.chunk(4, -1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


class Draw(nn.Module):
    """Encoder, decoder, latents, and the heads that read and write.

    Parameters
    ----------
    shape : Shape
    generator : torch.Generator
        Of the first weights, on the CPU.

    Notes
    -----
    Layers that see the same vector are one matrix: the gates of an LSTM take what they read and both hidden states at once,
    and ``head`` makes of h_dec both windows (rows `READ_ROWS` and `WRITE_ROWS`, each with weights of its own) and the patch.
    The paper does not say how weights begin; here the LSTMs and the latents with variance 1/inputs and a forget gate of bias
    one, the heads near zero, so that at first both windows lie over the whole picture, or over as much of it as `begin_with`
    is told.
    """

    def __init__(self, shape: Shape, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = shape
        hidden, latent, read_size = shape.hidden, shape.latent, shape.read_size

        def normal(rows: int, columns: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn((rows, columns), generator=generator) * scale)

        def gate_bias() -> nn.Parameter:
            bias = torch.zeros(4 * hidden)
            bias[2 * hidden : 3 * hidden] = 1.0
            return nn.Parameter(bias)

        inputs = read_size + 2 * hidden
        self.encoder = normal(4 * hidden, inputs, inputs**-0.5)
        self.encoder_bias = gate_bias()
        self.latent = normal(2 * latent, hidden, hidden**-0.5)
        self.latent_bias = nn.Parameter(torch.zeros(2 * latent))
        self.decoder = normal(4 * hidden, hidden + latent, (hidden + latent) ** -0.5)
        self.decoder_bias = gate_bias()
        rows = shape.patch_size + (WINDOW_ROWS if shape.attention else 0)
        self.head = normal(rows, hidden, HEAD_SCALE)
        self.head_bias = nn.Parameter(torch.zeros(rows))
        self.first_canvas = nn.Parameter(torch.zeros(shape.pixels))
        self.first_encoder = nn.Parameter(torch.zeros(hidden))
        self.first_decoder = nn.Parameter(torch.zeros(hidden))

    @torch.no_grad()
    def begin_with(self, picture: Tensor, window: float = 1.0) -> None:
        """Choose where training begins; all of it is learned afterwards.

        Parameters
        ----------
        picture : Tensor (pixels,)
            In 0 .. 1: what the canvas c_0 shows, such as the mean of the data. Training is then not busy with what all
            pictures share.
        window : float
            The side of both windows, as a share of the picture's; means nothing without attention.
        """
        self.first_canvas.copy_(torch.logit(picture, 0.01))
        if self.shape.attention:
            self.head_bias[list(STRIDE_ROWS)] = math.log(window)

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Standard normal numbers (T, count, Z), of their own for every step and picture."""
        size = (self.shape.glimpses, count, self.shape.latent)
        like = self.first_canvas
        return torch.randn(size, generator=generator, device=like.device, dtype=like.dtype)

    # --- one step  ----------

    def start(self, count: int) -> State:
        """The learned state before the first step."""
        shape = self.shape
        zeros = self.first_decoder.new_zeros((count, shape.hidden))
        canvas = self.first_canvas.reshape(shape.height, shape.channels, shape.width)
        return State(
            self.first_encoder.expand(count, -1),
            zeros,
            self.first_decoder.expand(count, -1),
            zeros,
            canvas.expand(count, -1, -1, -1),
        )

    def _window_of(self, h_dec: Tensor, rows: tuple[int, ...], geometry: Geometry) -> Window:
        chosen = list(rows)
        return geometry.window(h_dec @ self.head[chosen].T + self.head_bias[chosen])

    def read_window(self, h_dec: Tensor) -> Window | None:
        """Where the decoder's state after the step before wants to read."""
        return self._window_of(h_dec, READ_ROWS, self.shape.reading) if self.shape.attention else None

    def write_window(self, h_dec: Tensor) -> Window | None:
        """Where the decoder wants to write now."""
        return self._window_of(h_dec, WRITE_ROWS, self.shape.writing) if self.shape.attention else None

    def read(self, x: Tensor, state: State, window: Window | None) -> Tensor:
        """r_t (B, read_size): picture and error picture x - sigmoid(c_{t-1}), through the window or whole.

        With attention it runs over rows, {picture, error}, channels, columns of the patch; without, picture first.
        """
        error = x - torch.sigmoid(state.canvas)
        if window is None:
            return torch.cat([x.flatten(1), error.flatten(1)], 1)
        return read(torch.cat([x, error], 2), self.shape.reading, window).flatten(1)

    def encode(self, read_: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """New hidden state and cell of the encoder, which sees r_t and h_dec of the step before (equation 5)."""
        gates = torch.cat([read_, state.h_enc, state.h_dec], 1) @ self.encoder.T + self.encoder_bias
        return lstm(gates, state.c_enc)

    def posterior(self, h_enc: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of Q(z_t | h_enc), each (B, Z) (equations 1 and 2)."""
        mean, log_sigma = (h_enc @ self.latent.T + self.latent_bias).chunk(2, 1)
        return mean, log_sigma

    def decode(self, z: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """New hidden state and cell of the decoder (equation 7)."""
        return lstm(torch.cat([state.h_dec, z], 1) @ self.decoder.T + self.decoder_bias, state.c_dec)

    def patch(self, h_dec: Tensor) -> Tensor:
        """w_t: (B, N, C, N), or a whole picture (B, height, C, width) without attention."""
        shape = self.shape
        first = WINDOW_ROWS if shape.attention else 0
        flat = h_dec @ self.head[first:].T + self.head_bias[first:]
        size = (shape.write_n, shape.write_n) if shape.attention else (shape.height, shape.width)
        return flat.reshape(-1, size[0], shape.channels, size[1])

    def write(self, h_dec: Tensor, window: Window | None) -> Tensor:
        """What is added to the canvas, (B, height, C, width)."""
        patch = self.patch(h_dec)
        return patch if window is None else write(patch, self.shape.writing, window)

    # --- many steps  ----------

    def _drawn(self, step: int, z: Tensor, state: State, brush: Brush | None) -> tuple[State, Window | None]:
        """Decoder and write: the second half of a step, all that generation needs."""
        h_dec, c_dec = self.decode(z, state)
        window = self.write_window(h_dec)
        if brush is not None:
            window = brush.held(step, window)
        canvas = state.canvas + self.write(h_dec, window)
        if brush is not None:
            canvas = brush.painted(step, canvas)
        return State(state.h_enc, state.c_enc, h_dec, c_dec, canvas), window

    def reconstruct(self, x: Tensor, noise: Tensor, *, brush: Brush | None = None) -> Trace:
        """Look at pictures and draw them again (equations 3 to 8).

        Parameters
        ----------
        x : Tensor (B, height, C, width)
            In 0 .. 1.
        noise : Tensor (T, B, Z)
            Standard normal, of its own for every step.
        brush : Brush, optional
            Held by a person; the encoder sees what comes of it.
        """
        state = self.start(len(x))
        trace = Trace([state.canvas], [], [], [], [], [], [state])
        for step in range(1, self.shape.glimpses + 1):
            reading = self.read_window(state.h_dec)
            h_enc, c_enc = self.encode(self.read(x, state, reading), state)
            mean, log_sigma = self.posterior(h_enc)
            z = mean + log_sigma.exp() * noise[step - 1]
            state = State(h_enc, c_enc, state.h_dec, state.c_dec, state.canvas)
            state, writing = self._drawn(step, z, state, brush)
            trace.reads.append(reading)
            trace.mean.append(mean)
            trace.log_sigma.append(log_sigma)
            _note(trace, z, state, writing)
        return trace

    def generate(self, latents: Tensor, *, brush: Brush | None = None, trace: Trace | None = None) -> Trace:
        """Draw from the prior (section 2.3): the decoder and the writer alone; nothing is read or encoded.

        Parameters
        ----------
        latents : Tensor (T, B, Z)
            z_1 .. z_T, standard normal; of an unfinished ``trace`` those that are left.
        brush : Brush, optional
            Held by a person; nobody looks at the canvas here, so later strokes fall where they would have fallen.
        trace : Trace, optional
            Go on from its last state.
        """
        if trace is None:
            state = self.start(latents.shape[1])
            trace = Trace([state.canvas], [], [], [], [], [], [state])
        state, done = trace.states[-1], len(trace.latents)
        for step, z in enumerate(latents, start=done + 1):
            state, writing = self._drawn(step, z, state, brush)
            _note(trace, z, state, writing)
        return trace


def _note(trace: Trace, z: Tensor, state: State, writing: Window | None) -> None:
    trace.latents.append(z)
    trace.writes.append(writing)
    trace.canvases.append(state.canvas)
    trace.states.append(state)
