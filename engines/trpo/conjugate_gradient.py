"""Conjugate gradients for A x = g where A is known only by its products; torch, runs in the training worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Solution:
    """Where conjugate gradients came to.

    Attributes
    ----------
    x : Tensor (P,)
        The last iterate.
    residuals : array (K + 1,)
        ||A x_k - g|| after k = 0..K iterations, as the recurrence carries it; it costs no product of its own.
    iterates : array (K + 1, P) or None
        x_0 = 0, x_1 .. x_K, when they were asked for.
    """

    x: Tensor
    residuals: np.ndarray
    iterates: np.ndarray | None = None

    @property
    def iterations(self) -> int:
        return len(self.residuals) - 1


@torch.no_grad()
def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    g: Tensor,
    iterations: int = 10,
    tolerance: float = 1e-10,
    *,
    keep: bool = False,
) -> Solution:
    """Solve A x = g for a symmetric A without negative eigenvalues, from x = 0.

    Parameters
    ----------
    product : callable
        v (P,) to A v (P,).
    g : Tensor (P,)
    iterations : int
        At most this many, one product each; 10 in the paper.
    tolerance : float
        Stop when ||A x - g||^2 <= tolerance ||g||^2. Relative to g, so that the unit of the reward does not matter.
    keep : bool
        Return every iterate.

    Notes
    -----
    It also stops at a direction along which A has no curvature beyond rounding: there g is outside the range of A, and
    the step to the minimum would be a division by zero.
    """
    x = torch.zeros_like(g)
    # Solved for g of size one: in float32 the square of a small gradient would vanish.
    scale = float(g.abs().max()) if g.numel() else 0.0
    size = scale if scale > 0.0 else 1.0
    r = g / size
    p = r.clone()
    rr = float(r @ r)
    goal = tolerance * rr
    residuals = [rr]
    iterates = [x.clone()]
    steepest = 0.0
    for _ in range(iterations):
        # Negated, so that NaN stops too.
        if not rr > goal:
            break
        ap = product(p)
        pp, curvature = float(p @ p), float(p @ ap)
        steepest = max(steepest, curvature / pp)
        if not curvature > torch.finfo(g.dtype).eps * steepest * pp:
            break
        step = rr / curvature
        x = x + step * p
        r = r - step * ap
        before, rr = rr, float(r @ r)
        p = r + (rr / before) * p
        residuals.append(rr)
        if keep:
            iterates.append(x)
    return Solution(
        x * size,
        np.sqrt(np.array(residuals)) * size,
        (torch.stack(iterates) * size).cpu().numpy() if keep else None,
    )
