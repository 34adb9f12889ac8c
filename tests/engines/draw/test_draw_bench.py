"""The plain DRAW that ours is measured beside is the same network; CPU, tiny sizes."""

from __future__ import annotations

import pytest
import torch

from engines.config import find_preset
from engines.draw import bench, recurrence
from engines.draw.config import METHOD, DrawSettings
from engines.draw.learner import Learner
from engines.draw.model import Draw, Shape

SHAPES = {
    "attention": Shape(6, 6, 1, 3, 3, 2, 6, 4),
    "colour, not square": Shape(5, 7, 3, 2, 2, 3, 5, 3),
    "whole": Shape(4, 5, 1, 3, 2, 2, 6, 4, attention=False),
    "whole, colour": Shape(4, 5, 3, 2, 2, 2, 6, 4, attention=False),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_both_compute_the_same_loss_from_the_same_weights(shape: Shape) -> None:
    generator = torch.Generator().manual_seed(0)
    model = Draw(shape, generator).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("first"):
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.2 * noise)
    plain = bench.PlainDraw(shape).double()
    plain.take(model)
    x = torch.rand((4, shape.height, shape.channels, shape.width), generator=generator, dtype=torch.float64)
    noise = torch.randn((shape.glimpses, 4, shape.latent), generator=generator, dtype=torch.float64)
    outcome = recurrence.run(model, x.flatten(1), noise)
    ours = (outcome.nll + outcome.kl.sum(0)).mean()
    theirs = plain(x.permute(0, 2, 1, 3).flatten(1), noise)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-9)
    ours.backward()
    theirs.backward()
    # One derivative of each half tells that the way back is the same, too.
    assert plain.mean.weight.grad is not None and model.latent.grad is not None
    assert torch.allclose(plain.mean.weight.grad, model.latent.grad[: shape.latent], atol=1e-9)


@pytest.mark.parametrize("peer", ["auto", "no"])
def test_a_measurement_reports_rates_and_their_ratio(peer: str) -> None:
    result = bench.bench(find_preset(METHOD.presets, "break-it"), 0.01, 2, peer)
    measured = result["presets"]["break-it"]
    assert measured["ours"]["updates_per_s"] > 0 and len(measured["ours"]["all_updates_per_s"]) == 2
    if peer == "no":
        assert "plain" not in measured and "ratio_to_plain" not in measured and result["note"]
        return
    ratios = [
        a / b
        for a, b in zip(
            measured["ours"]["all_updates_per_s"], measured["plain"]["all_updates_per_s"], strict=True
        )
    ]
    assert measured["all_ratio_to_plain"] == pytest.approx(ratios, rel=0.02)


def test_a_classifier_is_not_measured_and_says_so() -> None:
    result = bench.bench(find_preset(METHOD.presets, "cluttered"), 0.01, 1, "auto")
    assert result["presets"]["cluttered"]["note"].endswith(".")


@pytest.mark.parametrize("attention", [True, False])
def test_what_is_captured_on_a_gpu_is_the_update_that_trains(attention: bool) -> None:
    settings = DrawSettings.build({"attention": attention, "twin": False, "clip": 1.0, "step_size": 0.01})
    shape = Shape(6, 6, 1, 3, 2, 2, 6, 4, attention=attention)
    x = torch.rand((5, shape.pixels), generator=torch.Generator().manual_seed(2))
    update = bench.capturable(settings, shape, x, torch.device("cpu"))
    learner = Learner(Draw(shape, torch.Generator().manual_seed(settings.seed)), settings)
    for _ in range(4):
        # The same noise each time: it is drawn anew from the same seed.
        expected = learner.update(x, torch.Generator().manual_seed(1))["loss"]
        assert float(update()) == pytest.approx(expected, rel=1e-6)
