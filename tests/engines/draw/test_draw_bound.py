"""DRAW's bound: the divergence with its constant, one likelihood, and the tighter bound of several drawings; float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from engines.draw import bound, recurrence
from engines.draw.model import Draw, Shape

SHAPE = Shape(3, 3, 1, 2, 2, 2, 5, 3)


def make(stir: float = 0.4, shape: Shape = SHAPE) -> Draw:
    """A network with stirred weights."""
    generator = torch.Generator().manual_seed(0)
    model = Draw(shape, generator).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * stir)
        # A posterior wider than the prior, whose weights are bounded: means of them then settle fast.
        model.latent[SHAPE.latent :] *= 0.2
        model.latent_bias[SHAPE.latent :] = 0.2
    return model


def pictures(count: int = 4) -> Tensor:
    """Binary pictures (count, pixels)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 2, (count, SHAPE.pixels), generator=generator).double()


def noise(count: int, seed: int = 2) -> Tensor:
    """Noise (T, count, Z)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((SHAPE.glimpses, count, SHAPE.latent), generator=generator, dtype=torch.float64)


def test_the_divergence_is_zero_only_where_the_posterior_is_the_prior() -> None:
    model = make()
    with torch.no_grad():
        model.latent.zero_()
        model.latent_bias.zero_()
    assert float(recurrence.run(model, pictures(), noise(4)).kl.detach().abs().max()) == 0.0
    for number in (0, SHAPE.latent):
        with torch.no_grad():
            model.latent_bias.zero_()
            model.latent_bias[number] = 0.1
        assert float(recurrence.run(model, pictures(), noise(4)).kl.detach().min()) > 1e-3


def test_the_constant_of_the_divergence_counts_every_latent_of_every_step() -> None:
    model = make()
    mean, log_sigma = 0.7, -0.4
    with torch.no_grad():
        model.latent.zero_()
        model.latent_bias[: SHAPE.latent] = mean
        model.latent_bias[SHAPE.latent :] = log_sigma
    one = 0.5 * (mean**2 + math.exp(2 * log_sigma) - 2 * log_sigma - 1)
    kl = recurrence.run(model, pictures(), noise(4)).kl
    assert torch.allclose(kl, torch.full_like(kl, SHAPE.latent * one))


def test_the_divergence_is_the_mean_of_log_q_over_p() -> None:
    model, count = make(), 20_000
    x = pictures(1).expand(count, -1)
    with torch.no_grad():
        outcome = recurrence.run(model, x, noise(count))
        _, log_weight = recurrence.log_weights(model, x, noise(count))
    drawn = -(log_weight + outcome.nll)
    error = float(drawn.std()) / math.sqrt(count)
    assert float(drawn.mean()) == pytest.approx(float(outcome.kl.sum(0).mean()), abs=4 * error)
    assert error < 0.05


def test_the_weight_of_a_drawing_is_p_over_q() -> None:
    model, x, epsilon = make(), pictures(), noise(4)
    trace = model.reconstruct(x.reshape(4, 3, 1, 3), epsilon)
    z, mean, log_sigma = (torch.stack(part) for part in (trace.latents, trace.mean, trace.log_sigma))
    prior = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z).sum((0, 2))
    posterior = torch.distributions.Normal(mean, log_sigma.exp()).log_prob(z).sum((0, 2))
    pixels = torch.distributions.Bernoulli(logits=trace.canvases[-1]).log_prob(x.reshape(4, 3, 1, 3))
    _, found = recurrence.log_weights(model, x, epsilon)
    assert torch.allclose(found, pixels.flatten(1).sum(1) + prior - posterior)


def test_more_drawings_make_the_bound_tighter() -> None:
    model, x = make(), pictures(3)
    generator = torch.Generator().manual_seed(3)
    repeated = x.repeat_interleave(400, 0)
    plain = bound.measure(model, repeated, generator).nats
    means = [
        float(bound.importance_weighted(model, repeated, samples, generator).mean()) for samples in (1, 3, 12)
    ]
    assert means[0] == pytest.approx(plain, abs=0.25)
    assert plain > means[1] + 0.1 and means[1] > means[2] + 0.1


def test_the_tighter_bound_reaches_the_likelihood() -> None:
    model, x = make(), pictures(1)
    generator = torch.Generator().manual_seed(4)
    weighted = float(bound.importance_weighted(model, x, 20_000, generator))
    # The likelihood itself, from the prior; nine pixels are few enough for that.
    z = torch.randn((SHAPE.glimpses, 50_000, SHAPE.latent), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        canvas = model.generate(z).canvases[-1].flatten(1)
    log_p = torch.distributions.Bernoulli(logits=canvas).log_prob(x).sum(1)
    exact = math.log(len(log_p)) - float(torch.logsumexp(log_p, 0))
    assert weighted == pytest.approx(exact, abs=0.05)
    assert bound.measure(model, x.repeat(500, 1), generator).nats > exact + 0.2


def test_a_measurement_does_not_hang_on_how_many_pictures_go_through_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, x = make(), pictures(6)
    with torch.no_grad():
        # Without noise, whose order would differ.
        model.latent_bias[SHAPE.latent :] = -60.0
        model.latent[SHAPE.latent :] = 0.0
    whole = bound.measure(model, x, torch.Generator())
    weighted = bound.importance_weighted(model, x, 5, torch.Generator())
    monkeypatch.setattr(bound, "PIXELS_AT_ONCE", 200)
    parts = bound.measure(model, x, torch.Generator())
    assert parts.nats == pytest.approx(whole.nats) and parts.error == pytest.approx(whole.error)
    assert torch.allclose(parts.divergence, whole.divergence)
    assert whole.nats == pytest.approx(whole.reconstruction + float(whole.divergence.sum()))
    again = bound.importance_weighted(model, x, 5, torch.Generator())
    # The noise enters the weight only as (noise^2) / 2, which is the same on both sides of the mean.
    assert again.shape == weighted.shape == (6,)
