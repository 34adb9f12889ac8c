"""Conjugate gradients against a direct solve, and where they must stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.trpo.conjugate_gradient import conjugate_gradient

DOUBLE = torch.float64


def positive_matrix(size: int, seed: int, dtype: torch.dtype = DOUBLE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn(size, size, generator=generator, dtype=DOUBLE)
    return (square @ square.T / size + 0.1 * torch.eye(size, dtype=DOUBLE)).to(dtype)


@given(size=st.integers(1, 9), seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_as_many_iterations_as_parameters_solve_the_system(size, seed):
    a = positive_matrix(size, seed)
    g = torch.randn(size, generator=torch.Generator().manual_seed(seed + 1), dtype=DOUBLE)
    solution = conjugate_gradient(lambda v: a @ v, g, iterations=size, tolerance=1e-24)
    torch.testing.assert_close(solution.x, torch.linalg.solve(a, g), rtol=1e-7, atol=1e-9)
    assert torch.linalg.vector_norm(a @ solution.x - g) / torch.linalg.vector_norm(g) < 1e-8
    assert solution.iterations <= size


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (DOUBLE, 1e-9)])
def test_residuals_are_those_of_the_iterates(dtype, tolerance):
    a = positive_matrix(20, 3, dtype)
    g = torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=DOUBLE).to(dtype)
    solution = conjugate_gradient(lambda v: a @ v, g, iterations=8, keep=True)
    assert solution.residuals.shape == (9,) and solution.iterates.shape == (9, 20)
    measured = np.linalg.norm(solution.iterates @ a.numpy() - g.numpy(), axis=1)
    np.testing.assert_allclose(solution.residuals, measured, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(solution.iterates[-1], solution.x.numpy())
    assert not solution.iterates[0].any() and solution.residuals[0] == pytest.approx(float(g.norm()))
    # Each iterate is the best so far in the metric of A.
    error = solution.iterates - torch.linalg.solve(a, g).numpy()
    assert (np.diff(np.einsum("ki,ij,kj->k", error, a.numpy(), error)) < 0).all()


def test_iterates_are_kept_only_on_request():
    assert conjugate_gradient(lambda v: v, torch.ones(3)).iterates is None


def test_it_stops_when_the_residual_is_small():
    calls = []

    def product(v):
        calls.append(1)
        return torch.tensor([1.0, 1.0, 4.0, 4.0], dtype=DOUBLE) * v

    solution = conjugate_gradient(product, torch.ones(4, dtype=DOUBLE), iterations=50)
    # Two different eigenvalues: two iterations.
    assert solution.iterations == len(calls) == 2
    loose = conjugate_gradient(product, torch.ones(4, dtype=DOUBLE), iterations=50, tolerance=0.9)
    assert loose.iterations == 1


def test_the_unit_of_the_gradient_does_not_matter():
    a = positive_matrix(6, 1, torch.float32)
    g = torch.randn(6, generator=torch.Generator().manual_seed(2))
    one = conjugate_gradient(lambda v: a @ v, g)
    # The square of this is no number of float32.
    tiny = conjugate_gradient(lambda v: a @ v, g * 2.0**-90)
    assert torch.equal(tiny.x * 2.0**90, one.x)
    np.testing.assert_allclose(tiny.residuals * 2.0**90, one.residuals)


def test_no_gradient_gives_no_step_and_no_division():
    solution = conjugate_gradient(lambda v: v, torch.zeros(4))
    assert torch.equal(solution.x, torch.zeros(4)) and solution.residuals.tolist() == [0.0]
    assert conjugate_gradient(lambda v: v, torch.zeros(0)).x.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_no_curvature_stops_it(dtype):
    flat = conjugate_gradient(torch.zeros_like, torch.ones(3, dtype=dtype))
    assert torch.equal(flat.x, torch.zeros(3, dtype=dtype)) and flat.iterations == 0
    # g is not in the range of A: what can be solved is, and nothing is divided by the rest.
    a = torch.tensor([2.0, 1.0, 0.0], dtype=dtype)
    partly = conjugate_gradient(lambda v: a * v, torch.tensor([1.0, 1.0, 1e-3], dtype=dtype), 50)
    assert torch.isfinite(partly.x).all() and np.isfinite(partly.residuals).all()
    torch.testing.assert_close(partly.x[:2], torch.tensor([0.5, 1.0], dtype=dtype), atol=1e-3, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_stops_it(bad):
    assert conjugate_gradient(lambda v: v, torch.tensor([1.0, bad])).iterations == 0
    assert conjugate_gradient(lambda v: v * float("nan"), torch.ones(2)).iterations == 0
