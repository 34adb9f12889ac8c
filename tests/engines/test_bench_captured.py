"""Updates as a captured graph: what is said without a GPU, and that a graph trains where there is one; main thread."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from engines.bench import captured_beside_eager


def test_without_a_gpu_a_note_says_that_nothing_was_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def make(device: torch.device) -> Callable[[], object]:
        raise AssertionError("nothing is built")

    assert captured_beside_eager(make, 0.01, 1) == {
        "note": "There is no NVIDIA GPU here, so nothing was captured."
    }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU is here")
def test_a_captured_update_is_measured_beside_the_eager_one() -> None:
    left: list[torch.Tensor] = []

    def make(device: torch.device) -> Callable[[], object]:
        weight = torch.ones(8, device=device)
        left.append(weight)
        return lambda: weight.mul_(0.999)

    result = captured_beside_eager(make, 0.05, 2)
    assert len(result["all_ratio_to_eager"]) == 2 and result["gpu"]
    assert all(float(weight.max()) < 0.95 for weight in left), "both have done their updates"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU is here")
def test_an_update_that_waits_for_the_gpu_is_said_not_to_be_capturable() -> None:
    def make(device: torch.device) -> Callable[[], object]:
        weight = torch.ones(8, device=device)
        return lambda: float(weight.sum())

    assert "could not be captured" in captured_beside_eager(make, 0.05, 1)["note"]
