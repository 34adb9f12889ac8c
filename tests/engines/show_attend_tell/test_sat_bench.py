"""The plain version that speed is measured against: it must do the same work, or the measure means nothing; CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engines.config import Preset
from engines.show_attend_tell.bench import SAME_WORK, PlainTraining, bench, capturable
from engines.show_attend_tell.config import ShowAttendTellSettings
from engines.show_attend_tell.engine import ShowAttendTellEngine

TINY: dict[str, Any] = {
    "train_size": 24,
    "valid_size": 6,
    "image_size": 48,
    "embedding": 8,
    "state": 12,
    "attention_units": 10,
    "batch": 8,
    "lambda_": 0.7,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gate": False},
        {"previous_to_output": False, "context_to_output": False},
        {"optimiser": "rmsprop"},
    ],
    ids=["plain", "no gate", "no deep output", "rmsprop"],
)
def test_from_the_same_weights_both_versions_have_the_same_losses_update_after_update(
    changes: dict[str, Any],
) -> None:
    settings = ShowAttendTellSettings.build({**TINY, **SAME_WORK, **changes, "evaluation_images": 2})
    engine = ShowAttendTellEngine(settings, torch.device("cpu"))
    plain = PlainTraining(engine)
    # RMSProp's first steps have the length of their sign, so that rounding counts.
    tolerance = 1e-2 if settings.optimiser == "rmsprop" else 1e-3
    for _ in range(4):
        report = engine.step()
        expected = report["nll_train"] + 0.7 * report["doubly_stochastic"]
        assert plain.step() == pytest.approx(expected, rel=tolerance)


def test_what_is_captured_on_a_gpu_is_the_update_that_trains() -> None:
    settings = ShowAttendTellSettings.build({**TINY, **SAME_WORK, "evaluation_images": 2})
    device = torch.device("cpu")
    update, engine = capturable(settings, device), ShowAttendTellEngine(settings, device)
    report = engine.step()
    first = float(update())
    assert first == pytest.approx(report["nll_train"] + 0.7 * report["doubly_stochastic"], rel=1e-5)
    for _ in range(20):
        last = float(update())
    assert last < 0.9 * first, "it goes on with the weights that it left"


def test_both_versions_have_the_same_gradient_in_double_precision() -> None:
    settings = ShowAttendTellSettings.build({**TINY, **SAME_WORK})
    engine = ShowAttendTellEngine(settings, torch.device("cpu"))
    engine.decoder.double()
    plain = PlainTraining(engine).decoder.double()
    with torch.no_grad():
        plain._copy(engine.decoder)
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 36, engine.eye.dimension, generator=generator, dtype=torch.float64).requires_grad_()
    words = torch.randint(0, len(engine.vocabulary), (5, 3), generator=generator)
    loss, _ = engine._loss(a, words)
    (ours,) = torch.autograd.grad(loss, a)
    other = plain.loss(a, words.t(), 0.7)
    (theirs,) = torch.autograd.grad(other, a)
    assert float(loss.detach()) == pytest.approx(float(other.detach()), rel=1e-12)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_result_is_plain_data_with_both_rates_and_their_ratio() -> None:
    threads = torch.get_num_threads()
    preset = Preset("tiny", "Tiny", "Small.", TINY)
    result = bench(preset, 0.05, 2, "auto")
    measured = result["presets"]["tiny"]
    assert len(measured["all_ratio_to_plain"]) == 2
    for name in ("ours", "plain"):
        assert len(measured[name]["all_updates_per_s"]) == 2 and measured[name]["updates_per_s"] > 0
    ratios = np.array(measured["ours"]["all_updates_per_s"]) / measured["plain"]["all_updates_per_s"]
    assert measured["all_ratio_to_plain"] == pytest.approx(ratios.tolist(), rel=0.02)
    assert torch.get_num_threads() == threads
    alone = bench(preset, 0.05, 1, "no")
    assert "plain" not in alone["presets"]["tiny"] and "ratio_to_plain" not in alone["presets"]["tiny"]
    assert "left out" in alone["note"]
