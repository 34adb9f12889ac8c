"""Beta schedules of the forward chain: fixed, learned or drawn by hand; torch, runs in the training worker.

Steps are numbered as in the paper, t = 1..T; every array of betas holds beta_1 at index 0. beta_1 is never learned: it
sets the noise of the last reverse step, which is fixed to the forward kernel, and so a floor under what the chain can
resolve (Sohl-Dickstein et al. 2015, section 2.4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from engines.errors import SettingError

BETA_FLOOR = 1e-6
"""Smallest beta_t that a schedule may hold; keeps logarithms of variances finite in float32."""

BETA_CEILING = 1.0 - 1e-5
"""Largest beta_t; a step that erased everything (beta_t = 1) would leave no posterior."""


def checked_betas(betas: Tensor | np.ndarray | Sequence[float]) -> Tensor:
    """The betas as a one-dimensional float64 tensor, clipped to [BETA_FLOOR, BETA_CEILING].

    Parameters
    ----------
    betas : array (T,)
        beta_1..beta_T, each between 0 and 1.

    Raises
    ------
    SettingError
        Fewer than two steps, or a value that is not a number between 0 and 1.
    """
    values = torch.as_tensor(np.asarray(betas, dtype=np.float64) if not isinstance(betas, Tensor) else betas)
    values = values.detach().to("cpu", torch.float64)
    if values.dim() != 1 or values.numel() < 2:
        raise SettingError(
            f"The beta schedule has shape {tuple(values.shape)}, but it needs one value for each of at least two "
            "steps: give a list of numbers between 0 and 1.",
            "betas",
        )
    bad = ~(torch.isfinite(values) & (values >= 0.0) & (values <= 1.0))
    if bad.any():
        step = int(bad.nonzero()[0]) + 1
        raise SettingError(
            f"beta at step {step} is {values[step - 1].item():g}, but a variance of noise between 0 and 1 is needed: "
            "draw the schedule between 0 and 1.",
            "betas",
        )
    return values.clamp(BETA_FLOOR, BETA_CEILING)


def _with_first(betas: Tensor, beta_1: float) -> Tensor:
    """The same schedule with its first value replaced by the fixed beta_1."""
    if not 0.0 < beta_1 < 1.0:
        raise SettingError(
            f"beta_1 is {beta_1:g}, but the first step needs some noise: choose a value between {BETA_FLOOR:g} and 1.",
            "beta_1",
        )
    betas = betas.clone()
    betas[0] = beta_1
    return checked_betas(betas)


def binomial_like_betas(steps: int, beta_1: float) -> Tensor:
    """beta_t = 1 / (T - t + 1): every step erases the same part 1/T of the signal's power (section 2.4.1, footnote 2).

    With beta_1 = 1/T the signal is alpha_bar_t = 1 - t/T; a smaller beta_1 shifts it slightly.

    Returns
    -------
    Tensor (T,), float64
    """
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    return _with_first(checked_betas(1.0 / (steps - t + 1.0)), beta_1)


def geometric_betas(steps: int, beta_1: float, last_alpha_bar: float = 0.02) -> Tensor:
    """Betas whose log signal-to-noise ratio, log(alpha_bar_t / (1 - alpha_bar_t)), falls linearly from step 1 to T.

    Where the data lie near a curve each halving of the noise costs the reverse chain about the same, whatever the
    scale, so that equal steps in the logarithm spend the T steps well. This is not in the paper, which learns the betas
    for the same purpose.

    Parameters
    ----------
    steps : int
        T, at least 2.
    beta_1 : float
        1 - alpha_bar_1.
    last_alpha_bar : float
        alpha_bar_T, the part of the data's variance left at the end.

    Returns
    -------
    Tensor (T,), float64
    """
    if not 0.0 < last_alpha_bar < 1.0 - beta_1:
        raise SettingError(
            f"alpha_bar at the last step is {last_alpha_bar:g}, but the signal must fall from {1.0 - beta_1:g} at the "
            "first step: choose a value between 0 and that.",
            "last_alpha_bar",
        )
    first = torch.logit(torch.tensor(1.0 - beta_1, dtype=torch.float64))
    last = torch.logit(torch.tensor(last_alpha_bar, dtype=torch.float64))
    ratios = torch.linspace(0.0, 1.0, steps, dtype=torch.float64) * (last - first) + first
    return _with_first(betas_from_log_ratios(ratios), beta_1)


def betas_from_log_ratios(log_ratios: Tensor) -> Tensor:
    """beta_1..beta_T from the log signal-to-noise ratios log(alpha_bar_t / (1 - alpha_bar_t)), shape (T,), falling."""
    log_alpha_bars = nn.functional.logsigmoid(log_ratios)
    before = torch.cat([log_alpha_bars.new_zeros(1), log_alpha_bars[:-1]])
    return checked_betas(-torch.expm1(log_alpha_bars - before))


def drawn_betas(values: Sequence[float] | np.ndarray, steps: int, beta_1: float) -> Tensor:
    """A schedule drawn by hand, resampled to steps 2..T by linear interpolation of logit(beta).

    Parameters
    ----------
    values : array (M,)
        Any number M >= 1 of betas at even distances from step 2 to step T.
    steps : int
        T, at least 2.
    beta_1 : float

    Returns
    -------
    Tensor (T,), float64

    Raises
    ------
    SettingError
        When a value is not a number between 0 and 1.
    """
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.ndim != 1 or array.size < 1:
        raise SettingError(
            "The drawn beta schedule is empty: draw at least one value between 0 and 1.", "betas"
        )
    drawn = checked_betas(np.repeat(array, 2) if array.size == 1 else array).numpy()
    logits = np.log(drawn) - np.log1p(-drawn)
    # Equal lengths must come back unchanged, so that dragging one point moves one beta.
    places = np.linspace(0.0, 1.0, max(steps - 1, 1))
    resampled = np.interp(places, np.linspace(0.0, 1.0, drawn.size), logits)
    rest = torch.sigmoid(torch.from_numpy(resampled))
    return _with_first(torch.cat([rest[:1], rest]), beta_1)


class FixedSchedule(nn.Module):
    """Betas that do not change, whether computed or drawn by hand.

    Parameters
    ----------
    betas : array (T,)
        beta_1..beta_T; clipped to [BETA_FLOOR, BETA_CEILING].
    """

    _betas: Tensor

    def __init__(self, betas: Tensor | np.ndarray | Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("_betas", checked_betas(betas).to(torch.get_default_dtype()))

    @property
    def steps(self) -> int:
        """T."""
        return int(self._betas.numel())

    def betas(self) -> Tensor:
        """beta_1..beta_T, shape (T,)."""
        return self._betas


class LearnedSchedule(nn.Module):
    """beta_t = sigmoid(b_t + logit beta0_t) within [BETA_FLOOR, BETA_CEILING] for t = 2..T; beta_1 stays.

    The gradient of the bound reaches b through x^t = sqrt(alpha_bar_t) x^0 + sqrt(1 - alpha_bar_t) n with n held fixed
    ("frozen noise", section 2.4.1). The sigmoid is scaled to end at the two limits, rather than clipped there, so that a
    beta at a limit can still leave it.

    Parameters
    ----------
    betas : array (T,)
        Where learning starts.
    """

    _first: Tensor
    _logits: Tensor

    def __init__(self, betas: Tensor | np.ndarray | Sequence[float]) -> None:
        super().__init__()
        start = checked_betas(betas)
        # Exactly at a limit the logit would be infinite.
        fraction = ((start[1:] - BETA_FLOOR) / (BETA_CEILING - BETA_FLOOR)).clamp(1e-7, 1.0 - 1e-7)
        dtype = torch.get_default_dtype()
        self.register_buffer("_first", start[:1].to(dtype))
        self.register_buffer("_logits", torch.logit(fraction).to(dtype))
        self.shift = nn.Parameter(torch.zeros(start.numel() - 1, dtype=dtype))

    @property
    def steps(self) -> int:
        """T."""
        return int(self.shift.numel()) + 1

    def betas(self) -> Tensor:
        """beta_1..beta_T, shape (T,), differentiable with respect to ``shift``."""
        rest = BETA_FLOOR + (BETA_CEILING - BETA_FLOOR) * torch.sigmoid(self.shift + self._logits)
        return torch.cat([self._first, rest])
