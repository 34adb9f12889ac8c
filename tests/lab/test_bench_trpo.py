"""``lab bench engines --paper trpo``: what it measures, beside what, and what it says where that is missing."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from typing import Any

import pytest

from engines.config import Preset
from engines.trpo import bench
from engines.trpo.config import TrpoSettings
from engines.trpo.environments import Environment
from tests.lab.command_line import Lab

TINY = Preset("tiny", "Tiny", "", {"batch_steps": 60, "units": 5, "layers": 2, "critic_epochs": 1})
WORDS = ("bench", "engines", "--paper", "trpo", "--preset", "cartpole", "--seconds", "0.2", "--rounds", "1")
PARTS = {"ours", "bare_threads", "bare_processes"}


@pytest.fixture
def without_sb3(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were not installed."""
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)


def parts_of(result: dict[str, Any]) -> set[str]:
    """Names of what was measured of one preset."""
    return {name for name, value in result.items() if isinstance(value, dict) and "steps_per_s" in value}


def test_the_command_measures_the_loop_beside_bare_stepping_and_goes_on_without_the_peer(
    lab: Lab, without_sb3: None
):
    result = lab(*WORDS, "--json")
    assert result["bench"] == "engines" and result["paper"] == "trpo" and result["machine"]["cores"]
    assert "pip install" in result["note"] and "sb3-contrib" not in result["versions"]
    measured = result["presets"]["cartpole"]
    assert measured["environment"] == "CartPole-v1" and measured["seed"] == 0
    assert parts_of(measured) == PARTS
    for name in PARTS:
        part = measured[name]
        assert part["steps_per_s"] > 0 and len(part["all_steps_per_s"]) == 1 and part["episode_length"] >= 8
    assert measured["settings"]["critic"] and measured["settings"]["fisher_fraction"] == 1.0
    assert "ratio_to_sb3" not in measured
    assert result["picture_ms"]["step"] > 0


def test_the_peer_is_missed_in_one_sentence_where_it_is_asked_for(lab: Lab, without_sb3: None):
    said = lab.refused(*WORDS, "--peer", "yes")
    assert "sb3-contrib" in said and "pip install" in said


def test_a_paper_without_a_peer_says_so(lab: Lab):
    assert "leave out --peer" in lab.refused("bench", "engines", "--paper", "diffusion", "--peer", "yes")


def test_a_preset_that_is_not_there_is_refused(lab: Lab):
    assert "cartpole" in lab.refused("bench", "engines", "--paper", "trpo", "--preset", "banana")


def test_the_peer_is_left_out_on_request_even_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    def never(*_: Any) -> bench.Turn:
        raise AssertionError("sb3-contrib was started")

    monkeypatch.setattr(bench, "_sb3", never)
    result = bench.bench(TINY, 0.02, 1, "no")
    assert parts_of(result["presets"]["tiny"]) == PARTS and "--peer no" in result["note"]


def test_ratios_are_those_of_each_round_to_the_faster_of_two(monkeypatch: pytest.MonkeyPatch):
    rates = {"ours": [300, 100, 200], "dummy": [100, 50, 100], "subprocesses": [10, 400, 20]}
    lengths = []

    def ours(settings: TrpoSettings, number: int, seconds: float) -> bench.Turn:
        lengths.append(seconds)
        return bench.Turn(rates["ours"][number] * 2, 4.0, 2.0)

    def sb3(settings: TrpoSettings, number: int, seconds: float, cores: int, processes: bool) -> bench.Turn:
        return bench.Turn(rates["subprocesses" if processes else "dummy"][number] * 2, 4.0, 2.0)

    monkeypatch.setattr(bench, "_ours", ours)
    monkeypatch.setattr(bench, "_sb3", sb3)
    for name in bench.PEER:
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(bench, "version", lambda name: "1")
    measured = bench.bench(TINY, 0.02, 3, "yes")["presets"]["tiny"]
    assert lengths == [0.02] * 3
    assert measured["ours"]["all_steps_per_s"] == [300, 100, 200] and measured["ours"]["steps_per_s"] == 200
    assert measured["ours"]["episode_length"] == 100
    assert measured["sb3"] == "sb3_dummy", "by the median, not by its best round"
    assert measured["all_ratio_to_sb3"] == [3.0, 2.0, 2.0] and measured["ratio_to_sb3"] == 2.0
    limit = measured[measured["limit"]]
    assert limit["steps_per_s"] == max(
        measured[f"bare_{kind}"]["steps_per_s"] for kind in ("threads", "processes")
    )
    shares = [a / b for a, b in zip([300, 100, 200], limit["all_steps_per_s"], strict=True)]
    assert measured["all_share_of_limit"] == pytest.approx(shares, abs=6e-4)
    assert json.loads(json.dumps(measured)) == measured


def test_bare_stepping_counts_every_step_and_keeps_to_the_horizon(monkeypatch: pytest.MonkeyPatch):
    environment = Environment("CartPole-v1")
    taken, resets = [], []
    step, reset = environment.gym.step, environment.gym.reset
    monkeypatch.setattr(environment.gym, "step", lambda action: (taken.append(action), step(action))[1])
    monkeypatch.setattr(environment.gym, "reset", lambda **given: (resets.append(given), reset(**given))[1])
    turn = bench.step_bare(environment, 5, 0.01, 3)
    # A pole stands for eight steps whatever is done.
    assert turn.steps == len(taken) == 5 * len(resets) and turn.episodes == len(resets) > 1
    assert turn.seconds >= 0.01 and turn.rate == turn.steps / turn.seconds
    assert set(taken) == {0, 1}


def test_the_peer_gets_the_same_network_batch_and_step():
    pytest.importorskip("sb3_contrib")
    import torch

    from engines.trpo.engine import TrpoEngine

    values = {
        "environment": "Pendulum-v1",
        "units": 7,
        "layers": 2,
        "batch_steps": 300,
        "gamma": 0.9,
        "lambda_": 0.8,
        "delta": 0.02,
        "cg_iterations": 6,
        "damping": 0.05,
        "critic_epochs": 3,
        "critic_step_size": 0.002,
        "initial_log_std": -0.7,
    }
    settings = TrpoSettings.build({**values, **bench.SAME_WORK})
    engine = TrpoEngine(settings, torch.device("cpu"))
    model = bench.sb3_model(settings, 4, 2)
    theirs = {name: p for name, p in model.policy.named_parameters() if "value" not in name}
    shapes = sorted(tuple(tensor.shape) for tensor in engine.policy.tensors())
    assert sorted(tuple(p.shape) for p in theirs.values()) == shapes
    assert theirs["log_std"].tolist() == pytest.approx([-0.7])
    values_of = [p for name, p in model.policy.named_parameters() if "value" in name]
    assert sum(p.numel() for p in values_of) == sum(p.numel() for p in engine.critic.network.parameters())
    assert model.n_steps * model.env.num_envs == 300 and model.seed == 4
    assert (model.gamma, model.gae_lambda, model.target_kl) == (0.9, 0.8, 0.02)
    assert (model.cg_max_steps, model.cg_damping, model.n_critic_updates) == (6, 0.05, 3)
    assert model.learning_rate == 0.002 and model.normalize_advantage


def test_the_peer_is_measured_in_one_process_and_in_several():
    pytest.importorskip("sb3_contrib")
    result = bench.bench(TINY, 0.02, 1, "yes")
    measured = result["presets"]["tiny"]
    assert parts_of(measured) == PARTS | {"sb3_dummy", "sb3_subprocesses"} and measured["ratio_to_sb3"] > 0
    assert result["versions"]["sb3-contrib"] and "note" not in result
