"""Fine-tuning: derivatives reach the kept weights, and small updates are dead or not as the rounding decides; CPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.fixed_point.networks import FloatNetwork, plan
from engines.fixed_point.quantizer import Format, quantise
from engines.fixed_point.tuner import Tuner

LAYERS = plan((1, 8, 8), 10, 4)
COARSE = [Format(3, 0.25)] * len(LAYERS)
READS = [Format(6, 2.0**-4, signed=False)] * len(LAYERS)
EXACT = [Format(32, 1.0)] * len(LAYERS)


def make(rate: float = 1e-3) -> Tuner:
    """Weights of a network that is not trained."""
    network = FloatNetwork(LAYERS, torch.Generator().manual_seed(0)).eval()
    return Tuner(LAYERS, *network.folded(), rate)


def batch() -> tuple[Tensor, Tensor]:
    """Pictures and classes."""
    return torch.rand((16, 1, 8, 8), generator=torch.Generator().manual_seed(1)), torch.arange(16) % 10


def weights_of(tuner: Tuner) -> list[Tensor]:
    """Copies of the kept weights."""
    return [weight.detach().clone() for weight in tuner.weights]


def test_in_floating_point_an_update_is_adams() -> None:
    tuner, (x, labels) = make(), batch()
    weights = [nn.Parameter(w) for w in weights_of(tuner)]
    biases = [nn.Parameter(b.detach().clone()) for b in tuner.biases]
    optimizer = torch.optim.Adam([*weights, *biases], lr=1e-3)
    for _ in range(3):
        y = x
        for layer, weight, bias in zip(LAYERS, weights, biases, strict=True):
            if layer.is_convolution:
                y = functional.relu(functional.conv2d(y, weight, bias, layer.stride, 1))
            else:
                y = functional.linear(y.flatten(1), weight, bias)
        loss = functional.cross_entropy(y, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = tuner.update(x, labels, EXACT, EXACT, rate=1e-3, noise=None, keep_fixed=False)
        assert done.loss == pytest.approx(float(loss.detach()), rel=1e-5)
        assert done.dead == 0.0
    for mine, theirs in zip(tuner.weights, weights, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_kept_in_floating_point_small_updates_add_up_until_the_weight_moves() -> None:
    tuner, (x, labels) = make(), batch()
    before, first = weights_of(tuner), [quantise(w.detach(), COARSE[0]) for w in tuner.weights]
    done = tuner.update(x, labels, COARSE, READS, rate=1e-3, noise=None, keep_fixed=False)
    assert done.dead > 0.95
    assert any(not torch.equal(a, b) for a, b in zip(weights_of(tuner), before, strict=True))
    for _ in range(40):
        done = tuner.update(x, labels, COARSE, READS, rate=1e-3, noise=None, keep_fixed=False)
    moved = [
        float((quantise(w.detach(), COARSE[0]) != q).float().mean())
        for w, q in zip(tuner.weights, first, strict=True)
    ]
    assert max(moved) > 0.02


def test_kept_in_fixed_point_updates_below_half_a_step_are_all_lost() -> None:
    tuner, (x, labels) = make(), batch()
    for number in range(20):
        done = tuner.update(x, labels, COARSE, READS, rate=1e-3, noise=None, keep_fixed=True)
        assert done.dead == 1.0
        if not number:
            before = weights_of(tuner)
    assert all(torch.equal(a, b) for a, b in zip(weights_of(tuner), before, strict=True))
    # Updates of more than half a step are not.
    done = tuner.update(x, labels, COARSE, READS, rate=0.2, noise=None, keep_fixed=True)
    assert done.dead < 0.9


def test_stochastic_rounding_lets_a_few_of_them_live() -> None:
    tuner, (x, labels) = make(), batch()
    noise = torch.Generator().manual_seed(5)
    tuner.update(x, labels, COARSE, READS, rate=1e-3, noise=noise, keep_fixed=True)
    before = weights_of(tuner)
    dead = [
        tuner.update(x, labels, COARSE, READS, rate=1e-2, noise=noise, keep_fixed=True).dead
        for _ in range(10)
    ]
    # Adam's first updates are near the rate: of a step of 0.25 that is one chance in 25.
    assert 0.9 < sum(dead) / 10 < 0.995
    after = weights_of(tuner)
    assert any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
    for weight in after:
        assert torch.equal(quantise(weight, COARSE[0]), weight)


def test_weights_beyond_the_range_get_no_derivative() -> None:
    tuner, (x, labels) = make(), batch()
    with torch.no_grad():
        tuner.weights[1][0] = 10.0
    before = weights_of(tuner)[1]
    tuner.update(x, labels, COARSE, READS, rate=1e-3, noise=None, keep_fixed=False)
    after = weights_of(tuner)[1]
    assert torch.equal(after[0], before[0]) and not torch.equal(after[1:], before[1:])


def test_learning_goes_on_where_it_was() -> None:
    first, second, (x, labels) = make(), make(), batch()
    for _ in range(3):
        first.update(x, labels, COARSE, READS, rate=1e-3, noise=None, keep_fixed=False)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for tuner in (first, second):
        tuner.update(x, labels, COARSE, READS, rate=1e-3, noise=None, keep_fixed=False)
    for a, b in zip([*first.weights, *first.biases], [*second.weights, *second.biases], strict=True):
        assert torch.equal(a, b)
