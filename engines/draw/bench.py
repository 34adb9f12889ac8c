"""How fast DRAW trains here, beside DRAW in plain PyTorch; the main thread of ``lab bench engines``.

The other implementation is ours, written the way DRAW is usually written: an `nn.LSTMCell` for each network, a loop over
the steps, filters by `torch.exp` over every pixel, picture and error picture read one after the other, and automatic
differentiation. Both have the same network, batches and optimiser, and are measured in turns within one run.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.bench import captured_beside_eager, ratios, threads_of_the_lab, told, updates_in_turns
from engines.config import Preset, find_preset
from engines.draw import recurrence
from engines.draw.config import METHOD, DrawSettings
from engines.draw.filterbank import LOWEST_LOG_VARIANCE
from engines.draw.learner import Learner, shape_of
from engines.draw.model import READ_ROWS, WINDOW_ROWS, WRITE_ROWS, Draw, Shape

PRESETS = ("digits", "no-attention", "mnist-small")
"""Measured when none is chosen."""

SIZES = {
    "digits": (8, 8, 1),
    "mnist": (28, 28, 1),
    "binarized_mnist": (28, 28, 1),
    "svhn": (32, 32, 3),
}
"""Height, width and channels of data that are no canvases; what is in them does not change the time, so random numbers are
taken."""


class PlainDraw(nn.Module):
    """DRAW in plain PyTorch.

    Parameters
    ----------
    shape : Shape
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = nn.LSTMCell(shape.read_size + shape.hidden, shape.hidden)
        self.decoder = nn.LSTMCell(shape.latent, shape.hidden)
        self.mean = nn.Linear(shape.hidden, shape.latent)
        self.log_sigma = nn.Linear(shape.hidden, shape.latent)
        self.read_window = nn.Linear(shape.hidden, 5)
        self.write_window = nn.Linear(shape.hidden, 5)
        self.patch = nn.Linear(shape.hidden, shape.patch_size)

    def filters(self, raw: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """F_X, F_Y and gamma (B, 1) of a window's five numbers (B, 5)."""
        height, width = self.shape.height, self.shape.width
        g_x, g_y, log_variance, log_stride, log_gamma = raw.split(1, 1)
        g_x = (width + 1) / 2 * (g_x + 1)
        g_y = (height + 1) / 2 * (g_y + 1)
        delta = (max(width, height) - 1) / max(n - 1, 1) * torch.exp(log_stride)
        variance = torch.exp(log_variance.clamp(min=LOWEST_LOG_VARIANCE))
        place = torch.arange(1, n + 1, device=raw.device, dtype=raw.dtype).view(1, -1) - n / 2 - 0.5
        mu_x = (g_x + place * delta).unsqueeze(2)
        mu_y = (g_y + place * delta).unsqueeze(2)
        a = torch.arange(1, width + 1, device=raw.device, dtype=raw.dtype).view(1, 1, -1)
        b = torch.arange(1, height + 1, device=raw.device, dtype=raw.dtype).view(1, 1, -1)
        f_x = torch.exp(-((a - mu_x) ** 2) / (2 * variance.unsqueeze(2)))
        f_y = torch.exp(-((b - mu_y) ** 2) / (2 * variance.unsqueeze(2)))
        f_x = f_x / f_x.sum(2, keepdim=True).clamp(min=1e-8)
        f_y = f_y / f_y.sum(2, keepdim=True).clamp(min=1e-8)
        return f_x, f_y, torch.exp(log_gamma)

    def read(self, x: Tensor, error: Tensor, h_dec: Tensor) -> Tensor:
        """r_t (B, read_size), the picture's first."""
        if not self.shape.attention:
            return torch.cat([x, error], 1)
        f_x, f_y, gamma = self.filters(self.read_window(h_dec), self.shape.read_n)
        shape = (len(x), self.shape.channels, self.shape.height, self.shape.width)

        def seen(picture: Tensor) -> Tensor:
            patch = f_y.unsqueeze(1) @ picture.view(shape) @ f_x.unsqueeze(1).transpose(2, 3)
            return gamma * patch.flatten(1)

        return torch.cat([seen(x), seen(error)], 1)

    def write(self, h_dec: Tensor) -> Tensor:
        """What is added to the canvas (B, pixels)."""
        patch = self.patch(h_dec)
        if not self.shape.attention:
            return patch
        n = self.shape.write_n
        f_x, f_y, gamma = self.filters(self.write_window(h_dec), n)
        patch = patch.view(len(patch), self.shape.channels, n, n)
        return 1 / gamma * (f_y.unsqueeze(1).transpose(2, 3) @ patch @ f_x.unsqueeze(1)).flatten(1)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """The loss of a batch, nats.

        Parameters
        ----------
        x : Tensor (B, channels * height * width)
        noise : Tensor (T, B, Z)
        """
        batch, hidden = len(x), self.shape.hidden
        h_enc = c_enc = h_dec = c_dec = x.new_zeros((batch, hidden))
        canvas = torch.zeros_like(x)
        divergences = []
        for epsilon in noise:
            error = x - torch.sigmoid(canvas)
            read = self.read(x, error, h_dec)
            h_enc, c_enc = self.encoder(torch.cat([read, h_dec], 1), (h_enc, c_enc))
            mean, log_sigma = self.mean(h_enc), self.log_sigma(h_enc)
            sigma = torch.exp(log_sigma)
            h_dec, c_dec = self.decoder(mean + sigma * epsilon, (h_dec, c_dec))
            canvas = canvas + self.write(h_dec)
            divergences.append(0.5 * (mean**2 + sigma**2 - 2 * log_sigma - 1).sum(1))
        nll = functional.binary_cross_entropy_with_logits(canvas, x, reduction="none").sum(1)
        return (nll + torch.stack(divergences).sum(0)).mean()

    @torch.no_grad()
    def take(self, model: Draw) -> None:
        """Take over the weights of our own network, whose first states must be zero."""
        shape = self.shape
        hidden, channels = shape.hidden, shape.channels

        def order(rows: Tensor) -> Tensor:
            # PyTorch has the output gate last, we have it first.
            o, i, f, g = rows.chunk(4, 0)
            return torch.cat([i, f, g, o])

        # Ours runs over (rows, picture and error, channels, columns), here it is (picture and error, channels, rows,
        # columns).
        sides = (shape.read_n, shape.read_n) if shape.attention else (shape.height, shape.width)
        index = torch.arange(shape.read_size)
        if shape.attention:
            index = index.view(sides[0], 2, channels, sides[1]).permute(1, 2, 0, 3).flatten()
        else:
            index = index.view(2, sides[0], channels, sides[1]).permute(0, 2, 1, 3).flatten()
        read, h_enc, h_dec = model.encoder.split([shape.read_size, hidden, hidden], 1)
        self.encoder.weight_ih.copy_(order(torch.cat([read[:, index], h_dec], 1)))
        self.encoder.weight_hh.copy_(order(h_enc))
        self.encoder.bias_ih.copy_(order(model.encoder_bias))
        self.encoder.bias_hh.zero_()
        h_dec, z = model.decoder.split([hidden, shape.latent], 1)
        self.decoder.weight_ih.copy_(order(z))
        self.decoder.weight_hh.copy_(order(h_dec))
        self.decoder.bias_ih.copy_(order(model.decoder_bias))
        self.decoder.bias_hh.zero_()
        for part, (weight, bias) in zip(
            (self.mean, self.log_sigma),
            zip(model.latent.chunk(2, 0), model.latent_bias.chunk(2), strict=True),
            strict=True,
        ):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
        first = WINDOW_ROWS if shape.attention else 0
        if shape.attention:
            for layer, rows in ((self.read_window, READ_ROWS), (self.write_window, WRITE_ROWS)):
                layer.weight.copy_(model.head[list(rows)])
                layer.bias.copy_(model.head_bias[list(rows)])
        sides = (shape.write_n, shape.write_n) if shape.attention else (shape.height, shape.width)
        index = torch.arange(shape.patch_size).view(sides[0], channels, sides[1]).transpose(0, 1).flatten()
        self.patch.weight.copy_(model.head[first:][index])
        self.patch.bias.copy_(model.head_bias[first:][index])


Update = Callable[[], object]


def bench(preset: Preset | None, seconds: float, rounds: int, peer: str) -> dict[str, Any]:
    """Updates per second, beside plain PyTorch.

    Parameters
    ----------
    preset : Preset or None
        Its network and batch; None for `PRESETS`.
    seconds : float
        Of each part of each round, at least.
    rounds : int
    peer : {"auto", "yes", "no"}
        Measure the plain implementation beside; it comes with the lab, so only "no" leaves it out.

    Returns
    -------
    dict
        Plain data. On an NVIDIA GPU the update is measured as one captured graph beside the eager one, too.
    """
    presets = [preset] if preset is not None else [find_preset(METHOD.presets, name) for name in PRESETS]
    with threads_of_the_lab() as threads:
        measured = {p.id: _bench_one(p, seconds, rounds, peer != "no") for p in presets}
    result: dict[str, Any] = {
        "seconds": seconds,
        "rounds": rounds,
        "trained_on": "cpu",
        "torch_threads": threads,
        "versions": {"torch": version("torch")},
        "peer": "DRAW in plain PyTorch (engines.draw.bench.PlainDraw)",
        "presets": measured,
    }
    if peer == "no":
        result["note"] = "The plain implementation was left out, as --peer no asks."
    return result


def _bench_one(preset: Preset, seconds: float, rounds: int, with_peer: bool) -> dict[str, Any]:
    settings = DrawSettings.build({**preset.values, "twin": False})
    if settings.task == "classify":
        return {"note": "The classifier has no plain implementation beside it, and is not measured."}
    generator = torch.Generator().manual_seed(settings.seed)
    height, width, channels = SIZES.get(settings.data, (settings.canvas, settings.canvas, 1))
    shape = shape_of(settings, (channels, height, width))
    x = torch.rand((settings.batch, shape.pixels), generator=generator)
    parts: dict[str, Update] = {"ours": _ours(settings, shape, x, generator)}
    if with_peer:
        parts["plain"] = _plain(settings, shape, x, generator)
    rates = updates_in_turns(parts, seconds, rounds)
    result: dict[str, Any] = {
        "settings": {name: getattr(settings, name) for name in _COMPARED},
        "picture": [height, width, channels],
        **told(rates),
    }
    if with_peer:
        result |= ratios("ratio_to_plain", rates["ours"], rates["plain"])
    result["cuda"] = captured_beside_eager(
        lambda device: capturable(settings, shape, x, device), seconds, rounds
    )
    return result


_COMPARED = ("attention", "glimpses", "read_n", "write_n", "hidden", "latent", "batch")


def _ours(settings: DrawSettings, shape: Shape, x: Tensor, generator: torch.Generator) -> Update:
    learner = Learner(Draw(shape, generator), settings)
    noise = torch.Generator().manual_seed(1)
    return lambda: learner.update(x, noise)


def capturable(settings: DrawSettings, shape: Shape, x: Tensor, device: torch.device) -> Update:
    """An update as ours that fetches no number from the device, on the same batch with the same noise each time.

    Parameters
    ----------
    settings : DrawSettings
    shape : Shape
    x : Tensor (B, pixels)
    device : torch.device

    Returns
    -------
    callable
        Gives the loss, nats per picture, as a tensor.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    model = Draw(shape, generator).to(device)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(
        parameters, lr=settings.step_size, fused=True, capturable=device.type == "cuda"
    )
    x = x.to(device)
    noise = model.noise(len(x), torch.Generator(device).manual_seed(1))

    def update() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        outcome = recurrence.run(model, x, noise)
        loss: Tensor = outcome.nll.mean() + outcome.kl.sum(0).mean()
        loss.backward()
        if settings.clip > 0:
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        return loss.detach()

    return update


def _plain(settings: DrawSettings, shape: Shape, x: Tensor, generator: torch.Generator) -> Update:
    model = PlainDraw(shape)
    model.take(Draw(shape, generator))
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.step_size)
    noise = torch.Generator().manual_seed(1)

    def update() -> float:
        epsilon = torch.randn((shape.glimpses, len(x), shape.latent), generator=noise)
        loss = model(x, epsilon)
        optimizer.zero_grad()
        loss.backward()
        if settings.clip > 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        return float(loss.detach())

    return update
