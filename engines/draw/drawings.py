"""Drawings that pictures and answers are made of: samples, pictures drawn again, held brushes, fans; no gradients.

Each starts its own generator anew, so that a drawing keeps its luck from one look to the next and training's is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engines.draw.config import FanOut, HoldBrush
from engines.draw.filterbank import Window
from engines.draw.model import Brush, Draw, Trace
from engines.engine import stream

if TYPE_CHECKING:
    from engines.draw.engine import DrawEngine

INK = 0.05
"""Painted ink is kept this far from 0 and 1, whose canvas would be infinite."""

MOST_SAMPLES = 100


def prior(engine: DrawEngine, count: int, model: Draw | None = None) -> Tensor:
    """Latents (T, count, Z) of samples at the settings' temperature; fewer samples are the first of more."""
    shape = (model or engine.model).shape
    generator = stream(engine.config.seed, "pictures/prior", engine.device)
    z = torch.randn(
        (max(count, MOST_SAMPLES), shape.glimpses, shape.latent), generator=generator, device=engine.device
    )
    return z[:count].transpose(0, 1).contiguous() * engine.config.temperature


@torch.no_grad()
def samples(engine: DrawEngine, count: int, model: Draw | None = None) -> Trace:
    """Samples of a model, the engine's own if none is named."""
    return (model or engine.model).generate(prior(engine, count, model))


@torch.no_grad()
def drawn_again(engine: DrawEngine, x: Tensor, *, brush: Brush | None = None) -> Trace:
    """Pictures (B, pixels) drawn again."""
    shape = engine.model.shape
    generator = stream(engine.config.seed, "pictures/posterior", engine.device)
    noise = torch.randn(
        (max(len(x), MOST_SAMPLES), shape.glimpses, shape.latent), generator=generator, device=engine.device
    )
    return engine.model.reconstruct(
        engine.data.pictures(x), noise[: len(x)].transpose(0, 1).contiguous(), brush=brush
    )


@dataclass(frozen=True)
class Held:
    """One drawing as it would have been, and as it is with the brush in a person's hand."""

    before: Trace
    after: Trace
    step: int


@torch.no_grad()
def held(engine: DrawEngine, request: HoldBrush | None) -> Held:
    """Both drawings of a request; of none, twice the first sample."""
    step = engine.model.shape.glimpses if request is None else request.step
    brush = None if request is None else _brush(engine, request)
    if request is not None and request.of == "picture":
        x = engine.picked()
        return Held(drawn_again(engine, x), drawn_again(engine, x, brush=brush), step)
    index = 0 if request is None else request.index % max(engine.config.shown, 1)
    z = prior(engine, index + 1)[:, index : index + 1]
    return Held(engine.model.generate(z), engine.model.generate(z, brush=brush), step)


def _brush(engine: DrawEngine, request: HoldBrush) -> Brush:
    window = None
    if request.window is not None:
        values = torch.tensor(request.window, dtype=torch.float32, device=engine.device)
        g_x, g_y, delta, sigma = values[:, None].unbind(0)
        window = Window(g_x, g_y, delta, sigma, torch.ones_like(g_x))
    paint = None
    if request.paint is not None:
        channels, height, width = engine.data.picture
        ink = torch.from_numpy(np.array(request.paint, dtype=np.float32)).reshape(height, width, -1)
        ink = ink.permute(0, 2, 1).expand(height, channels, width).to(engine.device)
        paint = torch.logit(ink, INK)
    return Brush(request.step, request.last or request.step, window, paint)


@torch.no_grad()
def fan(engine: DrawEngine, request: FanOut) -> Trace:
    """One beginning and its endings: z of one step is drawn anew for each, the first keeps it."""
    index = request.index % max(engine.config.shown, 1)
    z = prior(engine, index + 1)[:, index : index + 1].expand(-1, request.endings, -1).clone()
    generator = stream(engine.config.seed, f"pictures/fan/{request.draw}", engine.device)
    fresh = torch.randn(z[0].shape, generator=generator, device=engine.device)
    z[request.step - 1, 1:] = fresh[1:] * engine.config.temperature
    return engine.model.generate(z)


def canvas_images(canvas: Tensor) -> np.ndarray:
    """Canvases (N, height, C, width) as pictures in 0 .. 1: (N, H, W), or (N, H, W, 3)."""
    return images(torch.sigmoid(canvas))


def images(pictures: Tensor) -> np.ndarray:
    """Pictures (N, height, C, width) in 0 .. 1 as arrays for an `ImageGrid`."""
    array = pictures.detach().float().cpu().numpy()
    if array.shape[2] == 1:
        return np.ascontiguousarray(array[:, :, 0])
    if array.shape[2] == 2:
        return np.ascontiguousarray(array.mean(2))
    return np.ascontiguousarray(array[:, :, :3].transpose(0, 1, 3, 2))


def film_images(trace: Trace, index: int = 0) -> np.ndarray:
    """c_0 .. c_T of one drawing as pictures (T + 1, H, W) or (T + 1, H, W, 3)."""
    return canvas_images(torch.stack([canvas[index] for canvas in trace.canvases]))
