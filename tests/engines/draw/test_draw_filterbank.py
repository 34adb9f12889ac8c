"""DRAW's grid of Gaussian filters against the paper's formulas, written out in loops; float64, no randomness but seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.draw.filterbank import Geometry, Window, centres, filterbank, glimpse, read, spread, write


def window(g_x: float, g_y: float, delta: float, sigma: float, gamma: float = 1.0, count: int = 1) -> Window:
    """The same window for each of ``count`` pictures."""
    return Window(
        *(torch.full((count,), value, dtype=torch.float64) for value in (g_x, g_y, delta, sigma, gamma))
    )


def picture(height: int, width: int, channels: int = 1, seed: int = 0) -> Tensor:
    """A random picture (1, height, channels, width)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, height, channels, width), generator=generator, dtype=torch.float64)


def by_the_book(g: float, delta: float, sigma: float, n: int, size: int) -> np.ndarray:
    """Equations 19, 20, 25 and 26 in loops, indices from 1 as in the paper."""
    bank = np.zeros((n, size))
    for i in range(1, n + 1):
        mu = g + (i - n / 2 - 0.5) * delta
        for a in range(1, size + 1):
            bank[i - 1, a - 1] = math.exp(-((a - mu) ** 2) / (2 * sigma**2))
        bank[i - 1] /= bank[i - 1].sum()
    return bank


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
def test_filters_are_the_papers_and_count_pixels_from_one(n: int) -> None:
    g, delta, sigma, size = 8.3, 1.7, 0.9, 20
    mu = centres(torch.tensor(g, dtype=torch.float64), torch.tensor(delta, dtype=torch.float64), n)
    bank = filterbank(mu, torch.tensor(sigma, dtype=torch.float64), size)
    assert np.allclose(bank.numpy(), by_the_book(g, delta, sigma, n, size), atol=1e-14)


@pytest.mark.parametrize("n", [2, 5, 6])
def test_the_grid_lies_evenly_around_its_centre(n: int) -> None:
    mu = centres(torch.tensor(13.5, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64), n)
    assert float(mu.mean()) == pytest.approx(13.5, abs=1e-12)
    assert torch.allclose(mu + mu.flip(0), torch.full((n,), 27.0, dtype=torch.float64))


@pytest.mark.parametrize("place", [(4.0, 1.0), (1.0, 0.3), (-3.0, 0.5), (60.0, 0.2), (4.5, 0.01)])
def test_rows_sum_to_one_without_a_tolerance_wherever_the_window_lies(place: tuple[float, float]) -> None:
    g, sigma = (torch.tensor(value, dtype=torch.float64) for value in place)
    bank = filterbank(centres(g, torch.tensor(1.5, dtype=torch.float64), 4), sigma, 9)
    assert torch.isfinite(bank).all() and (bank >= 0).all()
    assert torch.allclose(bank.sum(-1), torch.ones(4, dtype=torch.float64), atol=1e-14, rtol=0)


@pytest.mark.parametrize(("width", "height"), [(28, 28), (10, 6), (6, 10)])
def test_a_head_of_zeros_covers_the_whole_picture(width: int, height: int) -> None:
    n = 5
    whole = Geometry(width, height, n).window(torch.zeros((1, 5), dtype=torch.float64))
    assert float(whole.sigma) == 1.0 and float(whole.gamma) == 1.0
    along_x = centres(whole.g_x, whole.delta, n)[0]
    along_y = centres(whole.g_y, whole.delta, n)[0]
    longer = along_x if width >= height else along_y
    assert float(longer[0]) == pytest.approx(1.0) and float(longer[-1]) == pytest.approx(max(width, height))
    assert float(along_x.mean()) == pytest.approx((width + 1) / 2)
    assert float(along_y.mean()) == pytest.approx((height + 1) / 2)


def test_a_head_puts_out_the_papers_five_numbers() -> None:
    raw = torch.tensor([[0.2, -0.4, math.log(2.25), math.log(0.5), math.log(3.0)]], dtype=torch.float64)
    made = Geometry(11, 7, 3).window(raw)
    expected = (12 / 2 * 1.2, 8 / 2 * 0.6, 10 / 2 * 0.5, 1.5, 3.0)
    assert [float(part) for part in made] == pytest.approx(expected)


def test_one_filter_per_side_has_no_stride() -> None:
    made = Geometry(8, 8, 1).window(torch.zeros((1, 5), dtype=torch.float64))
    f_y, f_x = Geometry(8, 8, 1).banks(made)
    assert torch.isfinite(f_y).all() and f_x.shape == (1, 1, 8)
    assert torch.allclose(f_x[0, 0], f_x[0, 0].flip(0))


@pytest.mark.parametrize("channels", [1, 3])
def test_narrow_filters_on_every_pixel_read_and_write_the_picture_itself(channels: int) -> None:
    n, gamma = 6, 2.5
    x = picture(n, n, channels)
    geometry, place = Geometry(n, n, n), window((n + 1) / 2, (n + 1) / 2, 1.0, 0.01, gamma)
    seen = read(x, geometry, place)
    assert torch.allclose(seen, gamma * x, atol=1e-12)
    # What was multiplied by gamma when it was read is divided by it when it is written.
    assert torch.allclose(write(seen, geometry, place), x, atol=1e-12)
    assert torch.allclose(write(x, geometry, place), x / gamma, atol=1e-12)


def test_a_flat_picture_reads_flat() -> None:
    x = torch.full((2, 9, 1, 7), 0.3, dtype=torch.float64)
    seen = read(x, Geometry(7, 9, 4), window(2.2, 8.1, 1.9, 0.8, 1.7, count=2))
    assert torch.allclose(seen, torch.full_like(seen, 0.3 * 1.7), atol=1e-13)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, 2), (4, 3)])
def test_moving_picture_and_window_together_changes_nothing(right: int, down: int) -> None:
    x = torch.zeros((1, 40, 1, 40), dtype=torch.float64)
    x[:, 15:22, :, 15:22] = picture(7, 7)
    geometry = Geometry(40, 40, 3)
    still = read(x, geometry, window(18.3, 18.8, 1.4, 0.7))
    moved = read(torch.roll(x, (down, right), (1, 3)), geometry, window(18.3 + right, 18.8 + down, 1.4, 0.7))
    assert still.abs().max() > 0.1
    assert torch.allclose(still, moved, atol=1e-12)


def test_x_runs_along_columns_and_y_along_rows() -> None:
    x = torch.zeros((1, 6, 1, 9), dtype=torch.float64)
    x[0, 1, 0, 6] = 1.0
    seen = read(x, Geometry(9, 6, 1), window(7.0, 2.0, 1.0, 0.05))
    assert float(seen) == pytest.approx(1.0)
    assert float(read(x, Geometry(9, 6, 1), window(2.0, 5.0, 1.0, 0.05))) == pytest.approx(0.0, abs=1e-12)


def test_channels_share_the_filters() -> None:
    x, place, geometry = picture(8, 8, 3), window(4.1, 5.2, 1.6, 0.9, 1.3), Geometry(8, 8, 4)
    together = read(x, geometry, place)
    apart = [read(x[:, :, c : c + 1], geometry, place) for c in range(3)]
    assert torch.allclose(together, torch.cat(apart, 2), atol=1e-14)
    patch = together
    written = [write(patch[:, :, c : c + 1], geometry, place) for c in range(3)]
    assert torch.allclose(write(patch, geometry, place), torch.cat(written, 2), atol=1e-14)


def test_writing_is_the_transpose_of_reading() -> None:
    x, patch = picture(7, 9, seed=1), picture(3, 3, seed=2)
    f_y, f_x = Geometry(9, 7, 3).banks(window(4.4, 3.1, 1.2, 0.8))
    assert float((glimpse(x, f_y, f_x) * patch).sum()) == pytest.approx(
        float((x * spread(patch, f_y, f_x)).sum())
    )


@pytest.mark.parametrize("number", range(5))
def test_derivatives_of_a_glimpse_match_finite_differences(number: int) -> None:
    geometry, x = Geometry(8, 8, 3), picture(8, 8, seed=3)
    weights = picture(3, 3, seed=4)

    def value(raw: Tensor) -> Tensor:
        return (read(x, geometry, geometry.window(raw)) * weights).sum()

    raw = torch.tensor([[0.1, -0.2, 0.3, -0.5, 0.2]], dtype=torch.float64, requires_grad=True)
    (exact,) = torch.autograd.grad(value(raw), raw)
    step = torch.zeros_like(raw)
    step[0, number] = 1e-6
    with torch.no_grad():
        slope = (value(raw + step) - value(raw - step)) / 2e-6
    assert float(slope) == pytest.approx(float(exact[0, number]), rel=1e-6, abs=1e-9)
    assert abs(float(slope)) > 1e-4
