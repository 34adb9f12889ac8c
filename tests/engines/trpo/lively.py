"""Policies and random streams that the tests of TRPO share."""

from __future__ import annotations

import torch

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(policy, seed: int = 5):
    """A policy with weights and log-std large enough that states and actions differ."""
    policy = policy.double().requires_grad_(False)
    policy.set_flat(torch.randn(policy.size, generator=generator(seed), dtype=DOUBLE) * 0.6)
    return policy
