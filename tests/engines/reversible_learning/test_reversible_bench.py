"""The benchmark measures the same hypergradient on both ways, and says what it leaves out; CPU, tiny sizes."""

from __future__ import annotations

from typing import Any

import pytest

from engines.config import find_preset
from engines.reversible_learning import bench
from engines.reversible_learning.config import METHOD, ReversibleLearningSettings


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "STEPS", (5, 10))
    monkeypatch.setattr(bench, "EXAMPLES", 30)
    # Without torchopt and higher, which need not be there.
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)


def _here(name: str, settings: ReversibleLearningSettings, steps: int, seconds: float, _: int) -> Any:
    return bench.measure(name, settings, steps, seconds)


def test_both_compute_the_same_hypergradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_in_a_process", _here)
    result = bench.bench(find_preset(METHOD.presets, "schedules"), 0.0, 2, "auto")
    for steps in ("5", "10"):
        measured = result["inner_steps"][steps]
        assert measured["largest_difference_to_plain"] < 1e-6
        assert measured["ours"]["home"] == 1.0
        ratios = [
            a / b
            for a, b in zip(measured["ours"]["all_seconds"], measured["plain"]["all_seconds"], strict=True)
        ]
        assert min(ratios) <= measured["time_ratio_to_plain"] <= max(ratios)
        assert measured["ours"]["theory_bits"] == pytest.approx(1.0)
    assert "torchopt" in result["note"] and "higher" in result["note"]


def test_no_peer_is_measured_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_in_a_process", _here)
    result = bench.bench(None, 0.0, 1, "no")
    assert set(result["inner_steps"]["5"]) == {"ours"} and result["note"]


def test_a_tape_that_would_not_fit_is_left_out_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def large(name: str, *rest: Any) -> Any:
        return {**_here(name, *rest), "peak_growth_bytes": 5 * 2**30}

    monkeypatch.setattr(bench, "_in_a_process", large)
    monkeypatch.setattr(bench, "_free_bytes", lambda: 8.0 * 2**30)
    result = bench.bench(None, 0.0, 1, "auto")
    assert "seconds" in result["inner_steps"]["5"]["plain"]
    assert result["inner_steps"]["10"]["plain"]["note"].startswith("Left out: its tape would take 10.0 GiB")
    assert "seconds" in result["inner_steps"]["10"]["ours"]


def test_a_measurement_runs_in_a_process_of_its_own() -> None:
    settings = ReversibleLearningSettings.build({"hidden": "4", "batch": 5})
    row = bench._in_a_process("ours", settings, 4, 0.0, 1)
    assert row["seconds"] > 0 and row["peak_growth_bytes"] >= 0 and len(row["by_alpha"]) == 4
