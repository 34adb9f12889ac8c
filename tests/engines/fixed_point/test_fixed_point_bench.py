"""The plain network that ours is measured beside is the same network; CPU, tiny sizes."""

from __future__ import annotations

import pytest
import torch

from engines.config import Preset
from engines.fixed_point import bench
from engines.fixed_point.config import FixedPointSettings

TINY = Preset("tiny", "Tiny", "", {"width": 2, "calibration": 16})


def test_both_classify_alike_whatever_the_bits() -> None:
    subject = bench.Subject(FixedPointSettings.build(TINY.values))
    assert not subject.random
    seen = set()
    for weights, reads in ((4, 6), (2, 3), (8, 8)):
        subject.bits = {"weights": [weights] * 5, "activations": [reads] * 5}
        ours = subject.answer()
        assert subject.plain().accuracy(subject.images, subject.labels) == pytest.approx(ours, abs=0.6)
        seen.add(ours)
        # One number on the border between two levels may fall to the other side; most logits are the same.
        same = torch.isclose(subject.plain()(subject.images), subject.logits(), atol=1e-4)
        assert float(same.float().mean()) > 0.95
    assert len(seen) > 1


@pytest.mark.parametrize("peer", ["auto", "no"])
def test_a_measurement_reports_every_slider_and_the_ratio(peer: str) -> None:
    result = bench.bench(TINY, 0.01, 2, peer)
    measured = result["presets"]["tiny"]
    assert measured["pictures"] == "real"
    assert [len(times) for times in measured["each_ms"].values()] == [5, 5]
    assert 0 < measured["answer_ms"] <= measured["worst_answer_ms"] <= measured["slowest_ms"]
    if peer == "no":
        assert "plain_ms" not in measured and result["note"]
        return
    ratios = [a / b for a, b in zip(measured["all_plain_ms"], measured["all_answer_ms"], strict=True)]
    assert measured["all_plain_to_ours"] == pytest.approx(ratios, rel=0.2)


def test_random_pictures_stand_in_for_data_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from engines.errors import DataError

    def missing(*_: object) -> None:
        raise DataError("They are not here.")

    monkeypatch.setattr(bench, "load", missing)
    monkeypatch.setitem(bench.SIZES, "mnist", ((1, 28, 28), 50))
    images, labels, calibration, classes, random = bench.pictures_of(
        FixedPointSettings.build({"data": "mnist", "calibration": 16})
    )
    assert random and classes == 10 and images.shape == (50, 1, 28, 28)
    assert len(labels) == 50 and len(calibration) == 16
    with pytest.raises(DataError):
        bench.pictures_of(FixedPointSettings.build({"data": "file", "path": "x"}))
