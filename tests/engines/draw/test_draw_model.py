"""The DRAW network: what each part sees and hands on, and that training computes the same; float64, tiny sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engines.draw import recurrence
from engines.draw.filterbank import Window, write
from engines.draw.model import READ_ROWS, WRITE_ROWS, Brush, Draw, Shape, State

SHAPES = {
    "attention": Shape(5, 5, 1, 3, 2, 3, 6, 4),
    "one step": Shape(5, 5, 1, 1, 2, 2, 5, 3),
    "colour, not square": Shape(4, 6, 3, 2, 3, 2, 5, 3),
    "tall": Shape(6, 4, 1, 2, 2, 2, 5, 3),
    "one filter": Shape(4, 4, 1, 2, 1, 1, 5, 3),
    "whole": Shape(4, 5, 1, 3, 2, 2, 6, 4, attention=False),
    "whole, colour": Shape(4, 3, 3, 2, 2, 2, 5, 3, attention=False),
}
SHAPE = SHAPES["attention"]


def make(shape: Shape = SHAPE, seed: int = 0, stir: float = 0.3) -> Draw:
    """A network whose weights are all stirred, the first states too."""
    generator = torch.Generator().manual_seed(seed)
    model = Draw(shape, generator).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * stir)
    return model


def batch(shape: Shape = SHAPE, count: int = 3, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Pictures (B, height, C, width) and noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(
        (count, shape.height, shape.channels, shape.width), generator=generator, dtype=torch.float64
    )
    noise = torch.randn((shape.glimpses, count, shape.latent), generator=generator, dtype=torch.float64)
    return x, noise


def parts(model: Draw, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """L^x (B,) and the divergences (T, B), step by step from the paper's equations."""
    trace = model.reconstruct(x, noise)
    nll = functional.binary_cross_entropy_with_logits(trace.canvases[-1], x, reduction="none")
    mean, sigma = torch.stack(trace.mean), torch.stack(trace.log_sigma).exp()
    q = torch.distributions.Normal(mean, sigma)
    p = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return nll.flatten(1).sum(1), torch.distributions.kl_divergence(q, p).sum(-1)


# --- training's way through the steps  ----------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_training_computes_the_papers_bound(shape: Shape) -> None:
    model, (x, noise) = make(shape), batch(shape)
    nll, kl = parts(model, x, noise)
    outcome = recurrence.run(model, x.flatten(1), noise)
    assert torch.allclose(outcome.nll, nll, rtol=1e-12)
    assert torch.allclose(outcome.kl, kl, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_derivatives_by_hand_are_those_of_automatic_differentiation(shape: Shape) -> None:
    model, (x, noise) = make(shape), batch(shape)
    generator = torch.Generator().manual_seed(2)
    a = torch.rand(len(x), generator=generator, dtype=torch.float64)
    b = torch.rand(noise.shape[:2], generator=generator, dtype=torch.float64)
    names, parameters = zip(*model.named_parameters(), strict=True)
    assert set(names) == set(recurrence.PARAMETERS)
    nll, kl = parts(model, x, noise)
    expected = torch.autograd.grad((a * nll).sum() + (b * kl).sum(), parameters)
    outcome = recurrence.run(model, x.flatten(1), noise)
    found = torch.autograd.grad((a * outcome.nll).sum() + (b * outcome.kl).sum(), parameters)
    for name, one, other in zip(names, found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12), name
        assert other.abs().max() > 0 or name.startswith("first"), name


@pytest.mark.parametrize("attention", [True, False], ids=["attention", "whole"])
def test_derivatives_by_hand_match_finite_differences(attention: bool) -> None:
    shape = Shape(3, 3, 1, 2, 2, 2, 2, 2, attention)
    model, (x, noise) = make(shape, stir=0.5), batch(shape, count=2)
    parameters = [getattr(model, name) for name in recurrence.PARAMETERS]

    def run(*values: Tensor) -> Any:
        return recurrence._Recurrence.apply(shape, x.flatten(1), noise, *values)  # type: ignore[no-untyped-call]

    assert torch.autograd.gradcheck(run, parameters)


def test_a_width_at_its_floor_has_no_derivative() -> None:
    model, (x, noise) = make(), batch()
    with torch.no_grad():
        model.head_bias[[READ_ROWS[2], WRITE_ROWS[2]]] = -40.0
    nll, kl = parts(model, x, noise)
    outcome = recurrence.run(model, x.flatten(1), noise)
    assert torch.allclose(outcome.nll, nll)
    (expected,) = torch.autograd.grad(nll.sum() + kl.sum(), model.head_bias)
    (found,) = torch.autograd.grad(outcome.nll.sum() + outcome.kl.sum(), model.head_bias)
    assert torch.allclose(found, expected, atol=1e-10)
    assert float(found[READ_ROWS[2]]) == 0.0 and float(found[WRITE_ROWS[2]]) == 0.0


# --- the paper's equations  ----------


@pytest.mark.parametrize("attention", [True, False], ids=["attention", "whole"])
def test_the_canvas_is_the_first_one_and_the_sum_of_all_writes(attention: bool) -> None:
    shape = dataclasses.replace(SHAPE, attention=attention)
    model, (x, noise) = make(shape), batch(shape)
    trace = model.reconstruct(x, noise)
    total = model.first_canvas.reshape(shape.height, shape.channels, shape.width)
    for step in range(1, shape.glimpses + 1):
        total = total + model.write(trace.states[step].h_dec, trace.writes[step - 1])
        assert torch.allclose(trace.canvases[step], total.expand_as(x))


def test_a_write_is_divided_by_its_intensity() -> None:
    model = make()
    h_dec = torch.randn((2, SHAPE.hidden), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    place = model.write_window(h_dec)
    assert place is not None
    f_y, f_x = SHAPE.writing.banks(place)
    patch = model.patch(h_dec)[:, :, 0]
    for index in range(2):
        expected = f_y[index].T @ patch[index] @ f_x[index] / place.gamma[index]
        assert torch.allclose(model.write(h_dec, place)[index, :, 0], expected)
    assert not torch.allclose(place.gamma, torch.ones_like(place.gamma), atol=1e-2)


def test_reading_and_writing_have_heads_of_their_own() -> None:
    assert not set(READ_ROWS) & set(WRITE_ROWS)
    model = make()
    h_dec = torch.randn((2, SHAPE.hidden), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    reading, writing = model.read_window(h_dec), model.write_window(h_dec)
    assert reading is not None and writing is not None
    with torch.no_grad():
        model.head_bias[list(READ_ROWS)] += 0.5
    moved, still = model.read_window(h_dec), model.write_window(h_dec)
    assert moved is not None and still is not None
    assert all(torch.equal(a, b) for a, b in zip(still, writing, strict=True))
    assert not any(torch.allclose(a, b) for a, b in zip(moved, reading, strict=True))


def test_the_reading_window_hangs_on_the_decoders_state_of_the_step_before() -> None:
    model, (x, noise) = make(), batch()
    trace = model.reconstruct(x, noise)
    for step in range(SHAPE.glimpses):
        expected = model.read_window(trace.states[step].h_dec)
        found = trace.reads[step]
        assert expected is not None and found is not None
        assert all(torch.allclose(a, b) for a, b in zip(found, expected, strict=True))


def test_what_is_read_holds_the_picture_and_what_is_missing_from_it() -> None:
    shape = SHAPES["colour, not square"]
    model, (x, noise) = make(shape), batch(shape)
    trace = model.reconstruct(x, noise)
    state = trace.states[1]
    seen = model.read(x, state, trace.reads[1]).reshape(len(x), shape.read_n, 2, 3, shape.read_n)
    place = trace.reads[1]
    assert place is not None
    f_y, f_x = shape.reading.banks(place)
    missing = x - torch.sigmoid(state.canvas)
    for half, pictures in ((0, x), (1, missing)):
        for channel in range(3):
            expected = place.gamma[:, None, None] * (f_y @ pictures[:, :, channel] @ f_x.mT)
            assert torch.allclose(seen[:, :, half, channel], expected)


def test_without_attention_everything_is_read() -> None:
    shape = SHAPES["whole"]
    model, (x, _) = make(shape), batch(shape)
    state = model.start(len(x))
    seen = model.read(x, state, None)
    assert torch.equal(seen[:, : shape.pixels], x.flatten(1))
    assert torch.allclose(seen[:, shape.pixels :], (x - torch.sigmoid(state.canvas)).flatten(1))


def test_the_encoder_sees_the_decoder() -> None:
    model, (x, _) = make(), batch()
    state = model.start(len(x))
    seen = model.read(x, state, model.read_window(state.h_dec))
    other = dataclasses.replace(state, h_dec=state.h_dec + 1.0)
    assert not torch.allclose(model.encode(seen, state)[0], model.encode(seen, other)[0])


def test_every_step_has_noise_of_its_own() -> None:
    model, (x, noise) = make(), batch()
    trace = model.reconstruct(x, noise)
    for step in range(SHAPE.glimpses):
        z = trace.mean[step] + trace.log_sigma[step].exp() * noise[step]
        assert torch.allclose(trace.latents[step], z)
    for step in range(SHAPE.glimpses):
        other = noise.clone()
        other[step] += 1.0
        changed = recurrence.run(model, x.flatten(1), other).nll
        assert not torch.allclose(changed, recurrence.run(model, x.flatten(1), noise).nll)


def test_the_likelihood_is_that_of_the_final_canvas_alone() -> None:
    model, (x, noise) = make(), batch()
    final = model.reconstruct(x, noise).canvases[-1]
    probability = torch.distributions.Bernoulli(logits=final)
    binary = (x > 0.5).double()
    again = model.reconstruct(binary, noise).canvases[-1]
    expected = -torch.distributions.Bernoulli(logits=again).log_prob(binary).flatten(1).sum(1)
    assert torch.allclose(recurrence.run(model, binary.flatten(1), noise).nll, expected)
    assert probability.logits.shape == x.shape


def test_one_step_without_attention_is_a_variational_autoencoder() -> None:
    shape = dataclasses.replace(SHAPES["whole"], glimpses=1)
    model, (x, noise) = make(shape), batch(shape)
    flat, first = x.flatten(1), model.start(len(x))
    seen = torch.cat([flat, flat - torch.sigmoid(model.first_canvas)], 1)

    def gated(weight: Tensor, bias: Tensor, inputs: Tensor) -> Tensor:
        o, i, _, g = (inputs @ weight.T + bias).chunk(4, 1)
        return torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(g))

    hidden = gated(model.encoder, model.encoder_bias, torch.cat([seen, first.h_enc, first.h_dec], 1))
    mean, log_sigma = (hidden @ model.latent.T + model.latent_bias).chunk(2, 1)
    z = mean + log_sigma.exp() * noise[0]
    decoded = gated(model.decoder, model.decoder_bias, torch.cat([first.h_dec, z], 1))
    logits = model.first_canvas + decoded @ model.head.T + model.head_bias
    nll = functional.binary_cross_entropy_with_logits(logits, flat, reduction="none").sum(1)
    kl = 0.5 * (mean**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(1)
    outcome = recurrence.run(model, flat, noise)
    assert torch.allclose(outcome.nll, nll) and torch.allclose(outcome.kl[0], kl)


@pytest.mark.parametrize("attention", [True, False], ids=["attention", "whole"])
def test_generation_neither_reads_nor_encodes(attention: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = dataclasses.replace(SHAPE, attention=attention)
    model, (_, noise) = make(shape), batch(shape)
    before = model.generate(noise).canvases[-1]

    def never(*_: Any) -> Any:
        raise AssertionError("generation looked at something")

    for name in ("read", "read_window", "encode", "posterior"):
        monkeypatch.setattr(model, name, never)
    with torch.no_grad():
        model.encoder.fill_(torch.nan)
        model.latent.fill_(torch.nan)
        if attention:
            model.head[list(READ_ROWS)] = torch.nan
    trace = model.generate(noise)
    assert torch.equal(trace.canvases[-1], before)
    assert len(trace.canvases) == shape.glimpses + 1 and not trace.reads


def test_a_drawing_repeats_itself_when_its_latents_are_handed_to_the_decoder_alone() -> None:
    model, (x, noise) = make(), batch()
    again = model.reconstruct(x, noise)
    alone = model.generate(torch.stack(again.latents))
    assert all(torch.allclose(a, b) for a, b in zip(again.canvases, alone.canvases, strict=True))


# --- the hand  ----------


def held() -> Window:
    """A window of the hand's own."""
    values = (2.0, 3.0, 1.0, 0.5, 1.0)
    return Window(*(torch.tensor([value], dtype=torch.float64) for value in values))


def test_a_held_window_is_written_through_and_keeps_the_models_intensity() -> None:
    model, (_, noise) = make(), batch()
    plain = model.generate(noise)
    trace = model.generate(noise, brush=Brush(2, 2, held()))
    for step in (1, 3):
        assert all(
            torch.equal(a, b)
            for a, b in zip(trace.writes[step - 1] or (), plain.writes[step - 1] or (), strict=True)
        )
    mine, theirs = trace.writes[1], plain.writes[1]
    assert mine is not None and theirs is not None
    assert torch.equal(mine.gamma, theirs.gamma) and (mine.g_x == 2.0).all() and (mine.sigma == 0.5).all()
    expected = plain.canvases[1] + write(model.patch(plain.states[2].h_dec), SHAPE.writing, mine)
    assert torch.allclose(trace.canvases[2], expected)
    assert torch.equal(trace.canvases[1], plain.canvases[1])
    # Nobody looks: the stroke after it falls as it would have.
    assert torch.allclose(
        trace.canvases[3] - trace.canvases[2], plain.canvases[3] - plain.canvases[2], atol=1e-12
    )


def test_paint_replaces_the_canvas_where_it_is_painted_and_the_encoder_answers() -> None:
    model, (x, noise) = make(), batch()
    paint = torch.full((SHAPE.height, 1, SHAPE.width), torch.nan, dtype=torch.float64)
    paint[2, 0, 1:4] = 3.0
    plain = model.reconstruct(x, noise)
    trace = model.reconstruct(x, noise, brush=Brush(1, 1, None, paint))
    assert (trace.canvases[1][:, 2, 0, 1:4] == 3.0).all()
    kept = torch.isnan(paint).expand_as(x)
    assert torch.equal(trace.canvases[1][kept], plain.canvases[1][kept])
    assert not torch.allclose(
        trace.canvases[2] - trace.canvases[1], plain.canvases[2] - plain.canvases[1], atol=1e-6
    )


def test_generation_goes_on_from_where_it_stopped() -> None:
    model, (_, noise) = make(), batch()
    whole = model.generate(noise)
    first = model.generate(noise[:1])
    assert isinstance(first.states[-1], State)
    rest = model.generate(noise[1:], trace=first)
    assert all(torch.equal(a, b) for a, b in zip(whole.canvases, rest.canvases, strict=True))
