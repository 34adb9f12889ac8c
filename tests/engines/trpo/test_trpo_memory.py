"""What is remembered of a long run, and that it comes back from a keyframe as it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from engines.trpo.estimators import EnumeratedVine, SampledVine, SinglePath
from engines.trpo.memory import MOST, Memory, Remembered
from engines.trpo.policies import CategoricalPolicy, GaussianPolicy
from engines.trpo.trust_region import update
from lab.runs.state import pack, unpack
from tests.engines.trpo.lively import generator


def remembered(number: int = 1, kind: str = "path", rule="trpo") -> Remembered:
    """A small update with one of the three surrogates."""
    draw = generator(number)
    observations = torch.randn(20, 3, generator=draw)
    if kind == "sampled":
        policy = GaussianPolicy(3, 2, [4], generator=draw).requires_grad_(False)
        actions, shape = torch.randn(20, 4, 2, generator=draw), (20, 4)
        parts = tuple(part[:, None] for part in policy.distribution(observations))
        log_q = policy.log_prob(parts, actions).detach()
        surrogate = SampledVine(actions, log_q, torch.randn(shape, generator=draw))
    else:
        policy = CategoricalPolicy(3, 3, [4], generator=draw).requires_grad_(False)
        actions = torch.randint(3, (20,), generator=draw)
        log_q = policy.log_prob(policy.distribution(observations), actions).detach()
        if kind == "path":
            surrogate = SinglePath(actions, log_q, torch.randn(20, generator=draw))
        else:
            surrogate = EnumeratedVine(torch.randn(20, 3, generator=draw))
    report = update(
        policy, observations, surrogate, rule=rule, damping=1e-3, fisher_fraction=1.0, keep_iterates=True
    )
    return Remembered(number, report, np.zeros(3), np.ones(3), observations, surrogate, 1.5 * number)


def test_of_a_long_run_first_and_newest_stay_and_the_rest_is_spread_evenly():
    memory, one = Memory(), remembered()
    assert memory.newest is None and memory.nearest(3) is None and not memory.earlier(2)
    for number in range(1, 700):
        memory.add(dataclasses.replace(one, update=number))
        kept = memory.updates
        assert len(kept) <= MOST + 1
        assert kept[0] == 1 and kept[-1] == number
        assert list(kept) == sorted(set(kept))
        # Between the first and the newest one distance, and never fewer than half of what there is room for.
        gaps = np.diff(kept[1:-1])
        assert len(set(gaps.tolist())) <= 1
        assert len(kept) >= min(number, MOST // 2)
        assert max(np.diff(kept), default=1) <= max(1, 2 * number // (MOST // 2))


def test_the_nearest_update_and_earlier_ones_are_found():
    memory, one = Memory(), remembered()
    for number in range(1, 101):
        memory.add(dataclasses.replace(one, update=number))
    for wanted in (-5, 1, 30, 77, 100, 400):
        best = min(abs(update - wanted) for update in memory.updates)
        assert abs(memory.nearest(wanted).update - wanted) == best
    for count in range(len(memory.updates) + 2):
        found = [kept.update for kept in memory.earlier(count)]
        assert len(found) == min(count, len(memory.updates) - 1)
        assert found == sorted(set(found)) and 100 not in found
        assert not found or found[0] == 1


def test_the_update_that_is_held_stays_until_it_is_let_go():
    memory, one = Memory(), remembered()
    for number in range(1, 100):
        memory.add(dataclasses.replace(one, update=number), held=5 if number > 5 else None)
        assert number < 5 or 5 in memory.updates
    memory.add(dataclasses.replace(one, update=100))
    assert 5 not in memory.updates


def test_only_the_newest_keeps_the_way_of_conjugate_gradients():
    memory = Memory()
    for number in (1, 2, 3):
        memory.add(remembered(number))
    ways = [memory.nearest(number).report.iterates for number in (1, 2, 3)]
    assert ways[0] is None and ways[1] is None and ways[2] is not None


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("rule", ["trpo", "natural", "gradient"])
def test_it_comes_back_from_a_keyframe_bit_for_bit(rule: str):
    memory = Memory()
    for number, kind in enumerate(("path", "enumerated", "sampled"), 1):
        memory.add(remembered(number, kind, rule))
    stored = pack({"memory": memory.state_dict()})
    back = Memory()
    back.load_state_dict(unpack(stored)[0]["memory"])
    assert same(back.state_dict(), memory.state_dict())
    assert pack({"memory": back.state_dict()}) == stored
    for number in (1, 2, 3):
        one, other = memory.nearest(number), back.nearest(number)
        assert type(one.surrogate) is type(other.surrogate)
        np.testing.assert_allclose(one.report.direction, other.report.direction, rtol=1e-6)
        assert one.report.predicted_kl == other.report.predicted_kl


def test_an_empty_memory_comes_back_empty():
    memory = Memory()
    memory.add(remembered())
    memory.load_state_dict(unpack(pack({"memory": Memory().state_dict()}))[0]["memory"])
    assert memory.newest is None
