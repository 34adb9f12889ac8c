"""Generated data sets with known distributions: swiss roll, Gaussian mixtures, rings, two moons.

Plain numpy; safe on any thread or process. Every distribution is an object that can be pickled, draws fresh
points (``sample``) and knows its own density (``log_density``, in nats), so that what a model reaches can be
held against the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from engines.data import checks
from engines.data.dataset import Dataset
from engines.errors import DataError

_LICENCE = "Generated, no licence needed"
_LARGEST_SIZE = 10_000_000


class Distribution(Protocol):
    """What generated data are drawn from."""

    def sample_labelled(self, generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """``count`` points (count, D) float32, and the index of the part each came from."""
        ...

    def sample(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """``count`` points (count, D) float32."""
        ...

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """(N, D) points -> (N,) log density in nats."""
        ...


def _logsumexp(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """log(sum(exp(values))) along an axis, without overflow."""
    largest = values.max(axis=axis, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(values - largest).sum(axis=axis))
    return total + np.squeeze(largest, axis=axis)


def _in_chunks(function: Callable[[np.ndarray], np.ndarray], points: np.ndarray, row_cost: int) -> np.ndarray:
    """Apply a row-wise function so that no temporary exceeds about four million numbers."""
    size = max(1, 4_000_000 // max(1, row_cost))
    values = np.asarray(points, dtype=np.float64)
    if len(values) <= size:
        return function(values)
    return np.concatenate([function(values[i : i + size]) for i in range(0, len(values), size)])


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A weighted sum of K Gaussians in D dimensions.

    Attributes
    ----------
    weights : ndarray, shape (K,)
    means : ndarray, shape (K, D)
    covariances : ndarray, shape (K, D, D)
        Symmetric and positive definite.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def __post_init__(self) -> None:
        count, dimensions = self.means.shape
        if self.weights.shape != (count,) or self.covariances.shape != (count, dimensions, dimensions):
            raise ValueError("weights, means and covariances of a mixture must be (K,), (K, D) and (K, D, D)")
        if np.any(self.weights < 0) or not math.isclose(float(self.weights.sum()), 1.0, rel_tol=1e-9):
            raise ValueError("weights of a mixture must be at least 0 and add up to 1")

    @classmethod
    def isotropic(
        cls, means: np.ndarray, deviation: float, weights: np.ndarray | None = None
    ) -> GaussianMixture:
        """Round components of one standard deviation; equal weights when none are given."""
        centres = np.asarray(means, dtype=np.float64)
        count, dimensions = centres.shape
        shares = np.full(count, 1 / count) if weights is None else np.asarray(weights, dtype=np.float64)
        return cls(shares, centres, np.tile(np.eye(dimensions) * deviation**2, (count, 1, 1)))

    @cached_property
    def _factors(self) -> np.ndarray:
        """Lower Cholesky factors (K, D, D)."""
        return np.linalg.cholesky(self.covariances)

    @cached_property
    def _whiteners(self) -> np.ndarray:
        """Inverses of the Cholesky factors (K, D, D)."""
        return np.linalg.inv(self._factors)

    @cached_property
    def _log_heights(self) -> np.ndarray:
        """Log of weight times density at the centre (K,)."""
        dimensions = self.means.shape[1]
        log_determinants = np.log(np.diagonal(self._factors, axis1=1, axis2=2)).sum(axis=1)
        with np.errstate(divide="ignore"):
            return np.log(self.weights) - 0.5 * dimensions * math.log(2 * math.pi) - log_determinants

    def _component_terms(self, points: np.ndarray) -> np.ndarray:
        """Log of weight times density of each component at each point, (N, K)."""
        # |W (x - m)|^2 with W x and W m apart costs one matrix product instead of an (N, K, D) difference,
        # but loses digits far from the origin; D is small here, so the difference is taken.
        whitened = np.einsum("kij,nkj->nki", self._whiteners, points[:, None, :] - self.means[None])
        return self._log_heights - 0.5 * np.square(whitened).sum(axis=-1)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Exact log density in nats: (N, D) -> (N,)."""
        return _in_chunks(lambda part: _logsumexp(self._component_terms(part)), points, 2 * self.means.size)

    def responsibilities(self, points: np.ndarray) -> np.ndarray:
        """Probability of each component given the point: (N, D) -> (N, K)."""

        def normalised(part: np.ndarray) -> np.ndarray:
            terms = self._component_terms(part)
            return np.exp(terms - _logsumexp(terms)[:, None])

        return _in_chunks(normalised, points, 2 * self.means.size)

    def sample_labelled(self, generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws (count, D) float32, and the component of each (count,)."""
        labels = generator.choice(len(self.weights), size=count, p=self.weights)
        normal = generator.standard_normal((count, self.means.shape[1]))
        points = self.means[labels] + np.einsum("nij,nj->ni", self._factors[labels], normal)
        return points.astype(np.float32), labels.astype(np.int64)

    def sample(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Draws (count, D) float32."""
        return self.sample_labelled(generator, count)[0]

    def affine(self, shift: np.ndarray, scale: np.ndarray) -> GaussianMixture:
        """The exact distribution of (x - shift) / scale, so of the standardised data; ``scale`` per
        dimension."""
        factor = np.broadcast_to(np.asarray(scale, dtype=np.float64), self.means.shape[1:])
        covariances = self.covariances / (factor[:, None] * factor[None, :])
        return GaussianMixture(self.weights, (self.means - shift) / factor, covariances)

    def diffused(self, remaining: float) -> GaussianMixture:
        """The exact distribution of sqrt(a) x + sqrt(1 - a) n with standard normal n and a = ``remaining``
        (alpha-bar)."""
        identity = np.eye(self.means.shape[1])
        covariances = remaining * self.covariances + (1 - remaining) * identity
        return GaussianMixture(self.weights, math.sqrt(remaining) * self.means, covariances)

    def mean(self) -> np.ndarray:
        """Mean of the whole mixture, (D,)."""
        return self.weights @ self.means

    def covariance(self) -> np.ndarray:
        """Covariance of the whole mixture, (D, D)."""
        centred = self.means - self.mean()
        return np.einsum("k,kij->ij", self.weights, self.covariances) + (centred.T * self.weights) @ centred


def _curve_log_density(
    points: np.ndarray, nodes: np.ndarray, log_weights: np.ndarray, noise: float
) -> np.ndarray:
    """Log of sum_j weight_j N(point; node_j, noise^2 I) in the plane."""
    constant = -math.log(2 * math.pi * noise**2)
    if len(nodes) <= 768:

        def all_nodes(part: np.ndarray) -> np.ndarray:
            squares = np.square(part[:, None, :] - nodes[None]).sum(axis=-1)
            return _logsumexp(log_weights - squares / (2 * noise**2)) + constant

        return _in_chunks(all_nodes, points, 2 * len(nodes))

    from scipy.spatial import cKDTree  # only for narrow curves, so not at start-up

    # Many nodes mean little noise: with four nodes per deviation along the curve, the nearest 256 hold all
    # that counts.
    tree = cKDTree(nodes)

    def nearest_nodes(part: np.ndarray) -> np.ndarray:
        distances, indices = tree.query(part, k=64)
        return _logsumexp(log_weights[indices] - np.square(distances) / (2 * noise**2)) + constant

    return _in_chunks(nearest_nodes, points, 256)


def _quadrature(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the Gauss-Legendre rule of order 8 on each panel between edges; the weights add up
    to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    half = np.diff(edges)[:, None] / 2
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    return (middle + half * nodes).ravel(), ((half * weights) / (edges[-1] - edges[0])).ravel()


@dataclass(frozen=True, eq=False)
class SwissRoll:
    """The spiral t (cos t, sin t) with t uniform in [1.5 pi, 4.5 pi], plus Gaussian noise in the plane.

    The same distribution as dimensions 0 and 2 of scikit-learn's ``make_swiss_roll``.

    Attributes
    ----------
    noise : float
        Standard deviation of the noise, in the units of the roll (which is about 26 across).
    """

    noise: float
    start: float = 1.5 * math.pi
    end: float = 4.5 * math.pi

    @staticmethod
    def _curve(angle: np.ndarray) -> np.ndarray:
        return np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=-1)

    def sample_labelled(self, generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws (count, 2) float32; the roll has one part, so all labels are 0."""
        angle = generator.uniform(self.start, self.end, count)
        points = self._curve(angle) + self.noise * generator.standard_normal((count, 2))
        return points.astype(np.float32), np.zeros(count, dtype=np.int64)

    def sample(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Draws (count, 2) float32."""
        return self.sample_labelled(generator, count)[0]

    @cached_property
    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        fine = np.linspace(self.start, self.end, 4097)
        length = 0.5 * (fine * np.sqrt(1 + fine**2) + np.arcsinh(fine))
        # panels of equal length along the curve, four deviations long
        panels = max(16, math.ceil((length[-1] - length[0]) / (4 * self.noise)))
        edges = np.interp(np.linspace(length[0], length[-1], panels + 1), length, fine)
        angles, weights = _quadrature(edges)
        return self._curve(angles), np.log(weights)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Log density in nats, by quadrature along the curve (errors far below 1e-6): (N, 2) -> (N,)."""
        return _curve_log_density(points, *self._nodes, self.noise)


@dataclass(frozen=True, eq=False)
class TwoMoons:
    """Two half circles of radius 1 that reach into each other, plus Gaussian noise, as scikit-learn's
    ``make_moons``."""

    noise: float

    @staticmethod
    def _curve(angle: np.ndarray, label: np.ndarray) -> np.ndarray:
        outer = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        inner = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=-1)
        return np.where(label[:, None] == 0, outer, inner)

    def sample_labelled(self, generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws (count, 2) float32, and the moon of each."""
        label = generator.integers(0, 2, count)
        angle = generator.uniform(0, math.pi, count)
        points = self._curve(angle, label) + self.noise * generator.standard_normal((count, 2))
        return points.astype(np.float32), label.astype(np.int64)

    def sample(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Draws (count, 2) float32."""
        return self.sample_labelled(generator, count)[0]

    @cached_property
    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        panels = max(8, math.ceil(math.pi / (4 * self.noise)))
        angles, weights = _quadrature(np.linspace(0, math.pi, panels + 1))
        both = [self._curve(angles, np.full(len(angles), label)) for label in (0, 1)]
        return np.concatenate(both), np.log(np.tile(weights / 2, 2))

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Log density in nats, by quadrature along the curves (errors far below 1e-6): (N, 2) -> (N,)."""
        return _curve_log_density(points, *self._nodes, self.noise)


@dataclass(frozen=True, eq=False)
class Rings:
    """Circles around the origin with radii 1, 2 .. ``count``, equally likely, plus Gaussian noise in the
    plane."""

    count: int
    noise: float

    def sample_labelled(self, generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws (count, 2) float32, and the ring of each, 0 being the innermost."""
        label = generator.integers(0, self.count, count)
        angle = generator.uniform(0, 2 * math.pi, count)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * (label + 1)[:, None]
        points = circle + self.noise * generator.standard_normal((count, 2))
        return points.astype(np.float32), label.astype(np.int64)

    def sample(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Draws (count, 2) float32."""
        return self.sample_labelled(generator, count)[0]

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Exact log density in nats: (N, 2) -> (N,).

        A Gaussian spread evenly around a circle of radius r has, at distance d from the centre, the density
        exp(-(d - r)^2 / 2s^2) I0e(d r / s^2) / (2 pi s^2), with the scaled Bessel function I0e(z) = exp(-z)
        I0(z).
        """
        from scipy.special import i0e  # not at start-up

        variance = self.noise**2
        radii = np.arange(1, self.count + 1, dtype=np.float64)

        def density(part: np.ndarray) -> np.ndarray:
            distance = np.hypot(part[:, 0], part[:, 1])[:, None]
            terms = -np.square(distance - radii) / (2 * variance) + np.log(i0e(distance * radii / variance))
            return _logsumexp(terms) - math.log(2 * math.pi * variance * self.count)

        return _in_chunks(density, points, 2 * self.count)


def _dataset(
    name: str,
    title: str,
    distribution: Distribution,
    seed: int,
    train_size: int,
    test_size: int,
    source: str,
    class_names: tuple[str, ...] = (),
    has_density: bool = True,
) -> Dataset:
    train_size = checks.integer("train_size", train_size, 2, _LARGEST_SIZE)
    test_size = checks.integer("test_size", test_size, 1, _LARGEST_SIZE)
    seed = checks.integer("seed", seed, 0, 2**63 - 1)
    # two streams, so that the test points stay the same when only the size of the training set changes
    train_stream, test_stream = np.random.SeedSequence(seed).spawn(2)
    train, train_labels = distribution.sample_labelled(np.random.default_rng(train_stream), train_size)
    test, test_labels = distribution.sample_labelled(np.random.default_rng(test_stream), test_size)
    return Dataset(
        name=name,
        title=title,
        train=train,
        test=test,
        kind="points",
        train_labels=train_labels if class_names else None,
        test_labels=test_labels if class_names else None,
        class_names=class_names,
        columns=("x", "y"),
        licence=_LICENCE,
        source=source,
        log_density=distribution.log_density if has_density else None,
        sampler=distribution.sample,
        distribution=distribution,
    )


_SMALLEST_NOISE = 1e-3
"""Below this (but above 0) a density along a curve would need too many nodes."""


def _noise(value: float, high: float) -> float:
    noise = checks.number("noise", value, 0.0, high)
    if 0 < noise < _SMALLEST_NOISE:
        raise DataError(
            f"noise is {noise:g}, which is too little to work with; give 0 or at least {_SMALLEST_NOISE:g}."
        )
    return noise


def swiss_roll(
    *, seed: int = 0, noise: float = 0.05, train_size: int = 10_000, test_size: int = 2_000
) -> Dataset:
    """The two-dimensional swiss roll of the diffusion paper.

    Parameters
    ----------
    seed : int
    noise : float
        Standard deviation in the units of the roll, as scikit-learn's ``noise``. With 0 there is no density.
    train_size, test_size : int

    Raises
    ------
    DataError
        An option is out of range.
    """
    deviation = _noise(noise, 20.0)
    return _dataset(
        "swiss_roll",
        f"Swiss roll (noise {deviation:g})",
        SwissRoll(deviation),
        seed,
        train_size,
        test_size,
        "The distribution of scikit-learn's make_swiss_roll, dimensions 0 and 2",
        has_density=deviation > 0,
    )


def gaussian_mixture(
    *,
    seed: int = 0,
    components: int = 8,
    layout: str = "circle",
    spread: float = 0.1,
    train_size: int = 10_000,
    test_size: int = 2_000,
) -> Dataset:
    """Equal round Gaussians on the unit circle, or on a square grid with unit spacing.

    Parameters
    ----------
    seed : int
    components : int
        How many.
    layout : {"circle", "grid"}
        One component alone sits at the origin in both.
    spread : float
        Standard deviation of each component.
    train_size, test_size : int

    Raises
    ------
    DataError
        An option is out of range.
    """
    count = checks.integer("components", components, 1, 1000)
    layout = checks.choice("layout", layout, ("circle", "grid"))
    deviation = checks.number("spread", spread, 1e-4, 10.0)
    if layout == "circle":
        angle = 2 * math.pi * np.arange(count) / count
        means = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    else:
        side = math.ceil(math.sqrt(count))
        cells = np.arange(count)
        means = np.stack([cells % side, cells // side], axis=-1).astype(np.float64)
    if count == 1:
        means = np.zeros((1, 2))
    elif layout == "grid":
        means -= (means.max(axis=0) + means.min(axis=0)) / 2
    where = "" if count == 1 else f" on a {layout}"
    return _dataset(
        "gaussian_mixture",
        f"{count} Gaussian{'s' if count > 1 else ''}{where} (spread {deviation:g})",
        GaussianMixture.isotropic(means, deviation),
        seed,
        train_size,
        test_size,
        "A mixture of Gaussians with known density",
        tuple(f"component {index + 1}" for index in range(count)),
    )


def rings(
    *, seed: int = 0, count: int = 3, noise: float = 0.08, train_size: int = 10_000, test_size: int = 2_000
) -> Dataset:
    """Concentric circles with radii 1, 2 .. ``count`` and Gaussian noise.

    Raises
    ------
    DataError
        An option is out of range.
    """
    circles = checks.integer("count", count, 1, 100)
    deviation = _noise(noise, 10.0)
    return _dataset(
        "rings",
        f"{circles} ring{'s' if circles > 1 else ''} (noise {deviation:g})",
        Rings(circles, deviation),
        seed,
        train_size,
        test_size,
        "Concentric circles with known density",
        tuple(f"ring {index + 1}" for index in range(circles)),
        has_density=deviation > 0,
    )


def two_moons(
    *, seed: int = 0, noise: float = 0.08, train_size: int = 10_000, test_size: int = 2_000
) -> Dataset:
    """Two half circles that reach into each other, with Gaussian noise.

    Raises
    ------
    DataError
        An option is out of range.
    """
    deviation = _noise(noise, 10.0)
    return _dataset(
        "two_moons",
        f"Two moons (noise {deviation:g})",
        TwoMoons(deviation),
        seed,
        train_size,
        test_size,
        "The distribution of scikit-learn's make_moons",
        ("outer moon", "inner moon"),
        has_density=deviation > 0,
    )
