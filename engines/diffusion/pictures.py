"""The diffusion paper's pictures as arrays; computed on the worker's loop from the averaged weights.

Every picture draws its noise from a generator that starts anew each time: particles keep their luck from picture to
picture, so that what moves is what was learned. Films run from noise (t = T) to data (t = 0), the way samples come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from engines.diffusion.bound import NATS_PER_BIT, entropy_bounds
from engines.diffusion.chain import GaussianChain, fan_of_futures, sample_reverse
from engines.diffusion.config import PaintRegion
from engines.diffusion.perturbation import KnownPixels, NoisyObservation, PaintedRegion, Perturbation
from engines.engine import stream
from engines.figures import (
    HIDDEN,
    Axis,
    Bars,
    Figure,
    Film,
    Heatmap,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Ribbon,
    Scatter,
    VectorField,
)

if TYPE_CHECKING:
    from engines.diffusion.engine import DiffusionEngine

MOST_FRAMES = 41
"""Frames of a film: every step of the paper's T = 40; evenly spread steps of longer chains."""

SOFTNESS = 0.12
"""Standard units over which r(x) falls off outside a painted region."""

FIRST_LEARNED = 2
"""The first step that is learned; the drift is shown for it where t is smaller."""

LIMITS = (-3.2, 3.2)
COLUMNS = 8


@dataclass
class Hand:
    """What the person has painted, dropped and chosen.

    Attributes
    ----------
    region : Tensor (H, W) or None
        log r on the plane.
    extent : (left, right, bottom, top)
    point : (x, y) or None
    step : int
        t from which futures start; 0 stands for half of the chain.
    mask : array (H, W) of bool or None
        Pixels that are hidden; None hides the lower half.
    image : int
    """

    region: Tensor | None = None
    extent: tuple[float, float, float, float] = (*LIMITS, *LIMITS)
    point: tuple[float, float] | None = None
    step: int = 0
    mask: np.ndarray | None = None
    image: int = 0
    _painted: np.ndarray | None = field(default=None, repr=False)

    def paint(self, action: PaintRegion) -> None:
        """Take over a painted region; log r falls with the square of the distance from it, so r pulls from everywhere."""
        mask = np.asarray(action.mask, dtype=bool)
        self.extent = action.extent
        if not mask.any():
            self.region = self._painted = None
            return
        from scipy.ndimage import distance_transform_edt

        height, width = mask.shape
        left, right, bottom, top = action.extent
        pixel = ((top - bottom) / height, (right - left) / width)
        distance = distance_transform_edt(~mask, sampling=pixel)
        self.region = torch.from_numpy((-0.5 * (distance / SOFTNESS) ** 2).astype(np.float32))
        self._painted = mask

    def state_dict(self) -> dict[str, Any]:
        """Plain data for a keyframe."""
        return {
            "painted": None if self._painted is None else self._painted.astype(np.uint8),
            "extent": list(self.extent),
            "point": None if self.point is None else list(self.point),
            "step": self.step,
            "mask": None if self.mask is None else self.mask.astype(np.uint8),
            "image": self.image,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        left, right, bottom, top = state["extent"]
        painted = state["painted"]
        self.paint(PaintRegion(np.zeros((1, 1)) if painted is None else painted, (left, right, bottom, top)))
        self.point = None if state["point"] is None else (state["point"][0], state["point"][1])
        self.step = state["step"]
        self.mask = None if state["mask"] is None else state["mask"].astype(bool)
        self.image = state["image"]


@torch.no_grad()
def figures(engine: DiffusionEngine, wanted: Collection[str]) -> dict[str, Figure]:
    """The named pictures of an engine at its present step."""
    shared = _Shared(engine)
    makers: dict[str, Callable[[DiffusionEngine], Figure]] = {
        "process": _image_process if engine.data.is_images else partial(_process, shared),
        "trails": _no_plane if engine.data.is_images else partial(_trails, shared),
        "bent": _inpainted if engine.data.is_images else partial(_bent, shared),
        "futures": _image_futures if engine.data.is_images else _futures,
        "terms": _terms,
        "schedule": _schedule,
        "images": _image_rows if engine.data.is_images else _no_images,
    }
    return {name: makers[name](engine) for name in wanted}


class _Shared:
    """What several pictures of one moment need, computed once."""

    def __init__(self, engine: DiffusionEngine) -> None:
        self._engine = engine

    @cached_property
    def chain(self) -> GaussianChain:
        return self._engine.averaged.chain()

    @cached_property
    def steps(self) -> list[int]:
        return _frame_steps(self.chain)

    @cached_property
    def drift(self) -> tuple[np.ndarray, np.ndarray]:
        return _drift_fields(self._engine, self.chain, self.steps)

    @cached_property
    def reverse(self) -> np.ndarray:
        """States (T + 1, N, 2) of the particles on their way back, by t."""
        engine = self._engine
        start, generator = _plane_noise(engine, engine.config.particles, "reverse")
        walk = sample_reverse(engine.averaged, start, generator=generator, keep=True)
        return _numpy(walk[:, :, :2])[::-1]


def _no_plane(engine: DiffusionEngine) -> Figure:
    return Plot(
        x=HIDDEN, y=HIDDEN, title="Particles and trails", note="Trails are shown for points on the plane."
    )


def _no_images(engine: DiffusionEngine) -> Figure:
    return Plot(
        x=HIDDEN,
        y=HIDDEN,
        title="Image rows",
        note="Rows are shown for image data: choose the preset Digits.",
    )


# --- points  ----------


def _axes(engine: DiffusionEngine) -> tuple[Axis, Axis]:
    columns = engine.data.dataset.columns
    return Axis(columns[0], "std. units", limits=LIMITS), Axis(columns[1], "std. units", limits=LIMITS)


def _generator(engine: DiffusionEngine, name: str) -> torch.Generator:
    return stream(engine.config.seed, f"pictures/{name}", engine.device)


def _frame_steps(chain: GaussianChain, last: int | None = None) -> list[int]:
    """Steps t shown in a film, from ``last`` (T when None) down to 0."""
    first = chain.steps if last is None else last
    if first + 1 <= MOST_FRAMES:
        return list(range(first, -1, -1))
    return [round(float(t)) for t in np.linspace(first, 0, MOST_FRAMES)]


def _film(frames: list[Plot] | list[Panels], steps: list[int], title: str, caption: str) -> Film:
    return Film(tuple(frames), np.array(steps), Axis("t"), title, caption, start=len(frames) - 1)


def _plane_noise(engine: DiffusionEngine, count: int, name: str) -> tuple[Tensor, torch.Generator]:
    generator = _generator(engine, name)
    # Drawn one by one from the start of the stream, so that fewer particles are the first of more.
    start = torch.randn((count, engine.data.dimension), generator=generator, device=engine.device)
    return start, generator


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy().copy()


def _scatter(x: np.ndarray, role: str, **kwargs: Any) -> Scatter:
    return Scatter(np.ascontiguousarray(x[:, 0]), np.ascontiguousarray(x[:, 1]), role=role, **kwargs)


def _field_points(engine: DiffusionEngine) -> Tensor:
    side = np.linspace(LIMITS[0] + 0.2, LIMITS[1] - 0.2, engine.config.arrows, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    points = torch.zeros((len(grid), engine.data.dimension), device=engine.device)
    points[:, :2] = torch.from_numpy(grid).to(engine.device)
    return points


def _drift_fields(
    engine: DiffusionEngine, chain: GaussianChain, steps: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Grid points (G, 2) and f_mu(x, t) - x at each step, (len(steps), G, 2); the last two are those of t = 2."""
    points = _field_points(engine)
    t = torch.tensor([max(step, FIRST_LEARNED) for step in steps], device=engine.device)[:, None]
    mean, _ = engine.averaged(points.expand(len(steps), *points.shape), t, chain)
    return _numpy(points[:, :2]), _numpy((mean - points)[..., :2])


def _arrows(points: np.ndarray, field_: np.ndarray, spacing: float, **kwargs: Any) -> VectorField:
    # Small drifts late in the chain would be invisible in true length: each field is scaled to its own largest arrow.
    lengths = np.hypot(field_[:, 0], field_[:, 1])
    largest = float(np.quantile(lengths, 0.98)) if len(lengths) else 0.0
    scale = spacing * 1.1 / largest if largest > 0 else 0.0
    shortened = field_ * scale
    return VectorField(
        points[:, 0].copy(), points[:, 1].copy(), shortened[:, 0].copy(), shortened[:, 1].copy(), **kwargs
    )


def _spacing(engine: DiffusionEngine) -> float:
    return (LIMITS[1] - LIMITS[0] - 0.4) / (engine.config.arrows - 1)


def _process(shared: _Shared, engine: DiffusionEngine) -> Figure:
    """Figure 1 of the paper: forward process, reverse process, drift."""
    chain, steps = shared.chain, shared.steps
    data = engine.data.test[: engine.config.particles]
    forward = _numpy(chain.forward_trajectory(data, _generator(engine, "forward"))[:, :, :2])
    reverse = shared.reverse
    points, fields = shared.drift
    exact = _exact_fields(engine, chain, steps)
    x, y = _axes(engine)
    frames = []
    for index, t in enumerate(steps):
        drift: tuple[Mark, ...] = (
            _arrows(points, fields[index], _spacing(engine), label="learned", role="model"),
        )
        if exact is not None:
            drift = (
                _arrows(points, exact[index], _spacing(engine), label="exact", role="target", opacity=0.7),
                *drift,
            )
        frames.append(
            Panels(
                (
                    Plot(
                        (_scatter(forward[t], "data", size=3.0),), x, y, "Forward q", equal=True, legend=False
                    ),
                    Plot(
                        (_scatter(reverse[t], "model", size=3.0),),
                        x,
                        y,
                        "Reverse p",
                        equal=True,
                        legend=False,
                    ),
                    Plot(drift, x, y, "Drift fμ(x, t) − x", equal=True, legend=exact is not None),
                ),
                3,
                column_titles=("Forward q", "Reverse p", "Drift fμ(x, t) − x"),
            )
        )
    caption = "Forward process q, learned reverse process p, and drift; at each t its arrows are scaled to the longest."
    return _film(frames, steps, "Forward, reverse, drift", caption)


def _exact_fields(engine: DiffusionEngine, chain: GaussianChain, steps: list[int]) -> np.ndarray | None:
    mixture = engine.data.mixture
    if mixture is None:
        return None
    points = _field_points(engine).cpu()
    local = GaussianChain(chain.betas[1:].cpu())
    return np.stack([_numpy(mixture.drift(local, points, max(t, FIRST_LEARNED))) for t in steps])


def _trails(shared: _Shared, engine: DiffusionEngine) -> Figure:
    steps = shared.steps
    start, generator = _plane_noise(engine, engine.config.trails, "trails")
    walk = _numpy(sample_reverse(engine.averaged, start, generator=generator, keep=True)[:, :, :2])[::-1]
    points, fields = shared.drift
    x, y = _axes(engine)
    frames = []
    for index, t in enumerate(steps):
        passed = walk[[s for s in steps if s >= t]]
        trail_x, trail_y = _polylines(passed)
        frames.append(
            Plot(
                (
                    _arrows(points, fields[index], _spacing(engine), role="past", opacity=0.6),
                    Lines(trail_x, trail_y, width=1.0, role="model", opacity=0.45),
                    _scatter(walk[t], "model", size=6.0),
                ),
                x,
                y,
                "Particles and trails",
                equal=True,
                legend=False,
            )
        )
    caption = "Ways of pinned particles through the learned reverse chain, over its drift field."
    return _film(frames, steps, "Particles and trails", caption)


def _polylines(walks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walks (S, N, 2) as one line that NaN breaks between particles."""
    gap = np.full((1, walks.shape[1], 2), np.nan, walks.dtype)
    joined = np.concatenate([walks, gap]).transpose(1, 0, 2).reshape(-1, 2)
    return np.ascontiguousarray(joined[:, 0]), np.ascontiguousarray(joined[:, 1])


def _perturbation(engine: DiffusionEngine) -> PaintedRegion | None:
    hand, strength = engine.hand, engine.config.bend
    if hand.region is None or strength == 0 or engine.data.dimension != 2:
        return None
    return PaintedRegion(hand.region.to(engine.device) * strength, hand.extent)


def _bent(shared: _Shared, engine: DiffusionEngine) -> Figure:
    """The model multiplied by r(x)."""
    steps = shared.steps
    bend = _perturbation(engine)
    if bend is None:
        states = shared.reverse
    else:
        start, generator = _plane_noise(engine, engine.config.particles, "reverse")
        walk = sample_reverse(engine.averaged, start, perturbation=bend, generator=generator, keep=True)
        states = _numpy(walk[:, :, :2])[::-1]
    hand = engine.hand
    shade = np.zeros((2, 2), np.float32) if hand.region is None else _numpy(torch.exp(hand.region))
    data = _numpy(engine.data.test[:400, :2])
    x, y = _axes(engine)
    hint = "" if bend is not None else "Paint a region with the brush: samples bend towards it."
    frames = [
        Plot(
            (
                Heatmap(shade, hand.extent, (0.0, 1.0), "role", role="hand", opacity=0.45),
                _scatter(data, "past", size=2.5, opacity=0.5, label="data"),
                _scatter(states[t], "model", size=3.5, label="p(x) r(x)" if bend is not None else "p(x)"),
            ),
            x,
            y,
            "Multiply by r(x)",
            equal=True,
            hint=hint,
        )
        for t in steps
    ]
    return _film(
        frames, steps, "Multiply by r(x)", "Reverse process multiplied by the painted r(x); data in grey."
    )


def _start_step(engine: DiffusionEngine) -> int:
    return min(engine.hand.step or max(1, engine.config.trajectory // 2), engine.config.trajectory)


def _futures(engine: DiffusionEngine) -> Figure:
    x, y = _axes(engine)
    data = _scatter(_numpy(engine.data.test[:400, :2]), "past", size=2.5, opacity=0.5, label="data")
    title, point, t = "Fan of futures", engine.hand.point, _start_step(engine)
    empty = np.zeros(0, np.float32)
    if point is None or engine.data.dimension != 2:
        marks: tuple[Mark, ...] = (data, Lines(empty, empty), Scatter(empty, empty), Scatter(empty, empty))
        return Plot(marks, x, y, title, equal=True, legend=False, hint=f"Click to drop a point at t = {t}.")
    place = torch.tensor(point, dtype=torch.float32, device=engine.device)
    generator = _generator(engine, "futures")
    walks = _numpy(
        fan_of_futures(
            engine.averaged,
            place,
            t,
            engine.config.futures,
            perturbation=_perturbation(engine),
            generator=generator,
        )
    )
    line_x, line_y = _polylines(walks)
    marks = (
        data,
        Lines(
            line_x, line_y, width=1.0, role="model", opacity=max(0.2, min(0.6, 40 / engine.config.futures))
        ),
        _scatter(walks[-1], "model", size=4.0, label="where they end"),
        Scatter(
            np.array([point[0]]),
            np.array([point[1]]),
            size=14.0,
            symbol="star",
            role="hand",
            label=f"dropped at t = {t}",
        ),
    )
    return Plot(
        marks, x, y, title, f"{engine.config.futures} runs of the reverse chain from one point.", equal=True
    )


# --- images  ----------


def _to_images(engine: DiffusionEngine, x: Tensor) -> np.ndarray:
    """States (N, D) in standard units as pictures (N, H, W) or (N, H, W, 3) in 0..1."""
    dataset = engine.data.dataset
    levels = dataset.levels or 256
    values = (engine.data.standardizer.inverse(_numpy(x)) - 0.5) / max(levels - 1, 1)
    channels, height, width = dataset.shape
    pictures = np.clip(values.reshape(-1, channels, height, width), 0, 1).astype(np.float32)
    return (
        pictures[:, 0].copy()
        if channels == 1
        else np.ascontiguousarray(pictures[:, :3].transpose(0, 2, 3, 1))
    )


def _image_plot(grid: ImageGrid, title: str, caption: str = "", note: str = "", hint: str = "") -> Plot:
    return Plot(
        (grid,), HIDDEN, HIDDEN, title, caption, equal=True, y_down=True, legend=False, note=note, hint=hint
    )


def _image_process(engine: DiffusionEngine) -> Figure:
    chain = engine.averaged.chain()
    steps = _frame_steps(chain)
    side = 5
    forward = chain.forward_trajectory(engine.data.test[: side * side], _generator(engine, "forward"))
    start, generator = _plane_noise(engine, side * side, "reverse")
    reverse = sample_reverse(engine.averaged, start, generator=generator, keep=True).flip(0)
    frames = [
        Panels(
            (
                _image_plot(ImageGrid(_to_images(engine, forward[t]), side), "Forward q"),
                _image_plot(ImageGrid(_to_images(engine, reverse[t]), side), "Reverse p"),
            ),
            2,
            column_titles=("Forward q", "Reverse p"),
        )
        for t in steps
    ]
    caption = "Held-out images dissolve into noise; the learned chain makes samples."
    return _film(frames, steps, "Forward and reverse", caption)


def mask_of(engine: DiffusionEngine) -> np.ndarray:
    """Pixels (H, W) that are hidden: what was painted, or the lower half."""
    height, width = engine.data.dataset.shape[1:]
    if engine.hand.mask is not None and engine.hand.mask.shape == (height, width):
        return engine.hand.mask
    mask = np.zeros((height, width), bool)
    mask[height // 2 :] = True
    return mask


def _inpaint(engine: DiffusionEngine, images: Tensor, generator: torch.Generator) -> Tensor:
    hidden = np.broadcast_to(mask_of(engine), engine.data.dataset.shape).reshape(1, -1)
    known = torch.from_numpy(~hidden).to(engine.device).expand(images.shape)
    start = torch.randn(images.shape, generator=generator, device=engine.device)
    return sample_reverse(
        engine.averaged, start, perturbation=KnownPixels(known, images), generator=generator
    )


def _inpainted(engine: DiffusionEngine) -> Figure:
    image = engine.data.test[engine.hand.image : engine.hand.image + 1]
    mask = mask_of(engine)
    filled = _inpaint(engine, image.expand(2 * COLUMNS - 2, -1), _generator(engine, "inpaint"))
    shown = _to_images(engine, torch.cat([image, image, filled]))
    colour = np.repeat(shown[..., None], 3, -1) if shown.ndim == 3 else shown.copy()
    # What the hand hid is shown in the hand's colour, #CC79A7.
    if mask.any():
        colour[1][mask] = 0.35 * colour[1][mask].mean() + 0.65 * np.array([0.80, 0.475, 0.655], np.float32)
    grid = ImageGrid(colour, COLUMNS)
    hint = "" if engine.hand.mask is not None else "Paint on the second picture what is to be hidden."
    caption = "A held-out image, the same with hidden pixels, and fillings of the reverse chain."
    return _image_plot(grid, "In-painting", caption, hint=hint)


def _image_futures(engine: DiffusionEngine) -> Figure:
    t = _start_step(engine)
    chain = engine.averaged.chain()
    generator = _generator(engine, "futures")
    image = engine.data.test[engine.hand.image]
    noised = chain.diffuse(image, t, torch.randn(image.shape, generator=generator, device=engine.device))
    ends = fan_of_futures(engine.averaged, noised, t, 3 * COLUMNS - 2, generator=generator)[-1]
    grid = ImageGrid(_to_images(engine, torch.cat([image[None], noised[None], ends])), COLUMNS)
    caption = f"A held-out image, the same at t = {t}, and what the reverse chain makes of it each time."
    return _image_plot(grid, "Fan of futures", caption, f"from t = {t}")


def _image_rows(engine: DiffusionEngine) -> Figure:
    """Rows of figures 3 and 5: holdout, noised, denoised, samples, in-painted."""
    generator = _generator(engine, "rows")
    images = engine.data.test[:COLUMNS]
    variance = engine.config.noised_at**2
    noise = torch.randn(images.shape, generator=generator, device=engine.device)
    noised = images + math.sqrt(variance) * noise
    start = torch.randn(images.shape, generator=generator, device=engine.device)
    bend: Perturbation = NoisyObservation(noised, variance)
    denoised = sample_reverse(engine.averaged, start, perturbation=bend, generator=generator)
    samples = sample_reverse(engine.averaged, start, generator=generator)
    filled = _inpaint(engine, images, generator)
    grid = ImageGrid(
        _to_images(engine, torch.cat([images, noised, denoised, samples, filled])),
        COLUMNS,
        row_labels=("Held-out", "Noised", "Denoised", "Samples", "In-painted"),
    )
    caption = f"Held-out images; with noise of standard deviation {engine.config.noised_at:g}; denoised; samples; in-painted."
    return _image_plot(grid, "Image rows", caption)


# --- the bound and the schedule  ----------


def _terms(engine: DiffusionEngine) -> Figure:
    bound = engine.bound()
    chain = engine.averaged.chain()
    t = bound.steps.numpy().astype(float)
    lost = bound.divergence_bits.numpy()
    limits = entropy_bounds(chain, 1)
    entropy = _model_entropy(engine, chain)
    axis = Axis("t", limits=(1.0, float(t[-1]) + 1))
    dimension = engine.data.dimension
    return Panels(
        (
            Plot(
                (Bars(t, lost, role="model"),), axis, Axis("KLₜ", "bits"), "Where bits are lost", legend=False
            ),
            Plot(
                (
                    Ribbon(
                        t,
                        _numpy(limits.lower) / NATS_PER_BIT,
                        _numpy(limits.upper) / NATS_PER_BIT,
                        role="past",
                        label="limits",
                    ),
                    Lines(t, entropy / dimension, role="model", label="learned"),
                ),
                axis,
                Axis("Entropy", "bits/dim"),
                "Entropy of a reverse step",
            ),
        ),
        2,
        title="Where bits are lost",
        caption=f"Divergence of each reverse step from the true one (sum {float(lost.sum()):.3g} bits), and the entropy of a "
        "step between its limits (section 2.6).",
        share_axes=False,
    )


def _model_entropy(engine: DiffusionEngine, chain: GaussianChain) -> np.ndarray:
    """Mean entropy of p(x^{t-1} | x^t), bits per datum, (T - 1,)."""
    generator = _generator(engine, "entropy")
    data = engine.data.test[:32]
    t = chain.all_steps()
    noise = torch.randn((len(t), *data.shape), generator=generator, device=engine.device)
    _, variance = engine.averaged(chain.diffuse(data, t, noise), t, chain)
    nats = 0.5 * torch.log(2 * math.pi * math.e * variance).sum(-1).mean(-1)
    return _numpy(nats) / NATS_PER_BIT


def _schedule(engine: DiffusionEngine) -> Figure:
    chain = engine.averaged.chain()
    length = chain.steps
    t = np.arange(1, length + 1, dtype=float)
    betas = _numpy(chain.betas[1:])
    signal = _numpy(chain.alpha_bars)
    reference = 1.0 / (length - t + 1)
    # The points of the hand: few enough to take hold of, whatever T is.
    handles = np.unique(np.linspace(2, length, min(length - 1, 20)).round().astype(int))
    drawn = engine.config.schedule == "drawn"
    time = Axis("t", limits=(0.0, float(length) + 0.5))
    return Panels(
        (
            Plot(
                (
                    Lines(t, np.minimum(reference, 0.99), role="past", dash="dash", label="1/(T−t+1)"),
                    Lines(t, betas, role="model", label="βₜ"),
                    Lines(
                        handles.astype(float),
                        betas[handles - 1],
                        role="hand",
                        points=True,
                        width=1.0 if drawn else 0.5,
                        label="drag to draw",
                    ),
                ),
                time,
                Axis("βₜ", scale="log", limits=(1e-6, 1.0)),
                "Noise of each step",
            ),
            Plot(
                (
                    Lines(t, 1.0 - t / length, role="past", dash="dash", label="1 − t/T"),
                    Lines(np.arange(0, length + 1, dtype=float), signal, role="data", label="ᾱₜ"),
                ),
                time,
                Axis("ᾱₜ", limits=(0.0, 1.02)),
                "Signal that is left",
            ),
        ),
        2,
        title="Noise schedule",
        caption="Noise beta_t of each step and signal alpha-bar_t left after it; dashed the schedule 1/(T-t+1).",
        share_axes=False,
    )
