"""What a data set is, and how it is scaled; plain numpy, safe on any thread or process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engines.errors import DataError

DataKind = Literal["points", "images"]

LogDensity = Callable[[np.ndarray], np.ndarray]
"""(N, D) points in the data's own units -> (N,) natural logarithms of the density there."""

Sampler = Callable[[np.random.Generator, int], np.ndarray]
"""(generator, count) -> (count, D) float32 fresh draws from the true distribution."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples in their own units, with all that is known of where they come from.

    Attributes
    ----------
    name, title : str
        The id ("swiss_roll") and what a person reads ("Swiss roll (noise 0.05)").
    train, test : ndarray
        Points: (N, D) float32. Images: (N, C, H, W) uint8, whose values are levels 0 .. ``levels`` - 1.
    kind : {"points", "images"}
    train_labels, test_labels : ndarray of int64, shape (N,), or None
        Indices into ``class_names``.
    class_names : tuple of str
    columns : tuple of str
        Names of the D dimensions of points; empty for images.
    levels : int or None
        How many values a pixel can take (17 for the embedded digits, 256 for photographs, 2 for binary data);
        None for continuous points.
    licence, source : str
        Terms of use, and where the data come from.
    notes : tuple of str
        Sentences for the user: what was skipped, converted or is unlike the published data.
    log_density : callable or None
        Exact log density in nats and in the data's own units, where it is known.
    sampler : callable or None
        Fresh draws from the true distribution, where there is one.
    distribution : object or None
        The generator behind ``log_density`` and ``sampler`` (for a `GaussianMixture`: weights, means,
        covariances).
    digest : str
        SHA-256 over the arrays, their types and shapes, for the run folder. Computed when left empty.
    """

    name: str
    title: str
    train: np.ndarray
    test: np.ndarray
    kind: DataKind
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    levels: int | None = None
    licence: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    log_density: LogDensity | None = None
    sampler: Sampler | None = None
    distribution: Any = field(default=None, repr=False)
    digest: str = ""

    def __post_init__(self) -> None:
        rank, dtype = (2, np.float32) if self.kind == "points" else (4, np.uint8)
        for part, array in (("train", self.train), ("test", self.test)):
            if array.ndim != rank or array.dtype != dtype:
                raise ValueError(
                    f"{part} of {self.name} must have {rank} axes of {np.dtype(dtype)}, not {array.shape} "
                    f"{array.dtype}"
                )
        if self.train.shape[1:] != self.test.shape[1:]:
            raise ValueError(
                f"train and test of {self.name} differ in shape: {self.train.shape}, {self.test.shape}"
            )
        for labels, array in ((self.train_labels, self.train), (self.test_labels, self.test)):
            if labels is not None and labels.shape != (len(array),):
                raise ValueError(f"labels of {self.name} have shape {labels.shape} for {len(array)} examples")
        if self.kind == "points" and len(self.columns) != self.train.shape[1]:
            raise ValueError(
                f"{self.name} has {self.train.shape[1]} dimensions but {len(self.columns)} column names"
            )
        if not self.digest:
            digest = arrays_digest(self.train, self.test, self.train_labels, self.test_labels)
            object.__setattr__(self, "digest", digest)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (D,) or (C, H, W)."""
        return tuple(self.train.shape[1:])

    @property
    def dimensions(self) -> int:
        """How many numbers one example has."""
        return int(np.prod(self.shape))

    def description(self) -> dict[str, str]:
        """What the run folder and exported figures say of it."""
        return {
            "name": self.name,
            "title": self.title,
            "kind": self.kind,
            "shape": "x".join(map(str, self.shape)),
            "digest": self.digest,
            "licence": self.licence,
            "source": self.source,
            "notes": " ".join(self.notes),
        }


def arrays_digest(*arrays: np.ndarray | None) -> str:
    """SHA-256, as hexadecimal text, over types, shapes and values; None counts as an array that is
    missing."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none;")
            continue
        little_endian = array.dtype.newbyteorder("<")
        plain = np.ascontiguousarray(array, dtype=little_endian)
        digest.update(f"{little_endian.str}{array.shape};".encode())
        # reshape, because a memoryview with a zero among its axes cannot be flattened
        digest.update(plain.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def dequantise(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Add uniform noise of one level, so that discrete pixels get a density.

    Parameters
    ----------
    images : ndarray of uint8, any shape
        Levels 0 .. L-1.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray of float32, the same shape
        Values in [0, L), in units of one level: level v is spread evenly over [v, v + 1).
    """
    noise = generator.random(images.shape, dtype=np.float32)
    values = images.astype(np.float32)
    # in single precision 255 + 0.99999994 would round up to the next level
    return np.minimum(values + noise, np.nextafter(values + 1, values, dtype=np.float32))


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Shift and scale to mean 0 and variance 1, and back.

    The bound K of the diffusion paper assumes data whose variance is 1 (arXiv:1503.03585), so this is a part
    of the method and not only a convenience.

    Attributes
    ----------
    mean, scale : ndarray of float64
        Points: shape (D,), one per dimension. Images: shape (), one for the whole set.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, dataset: Dataset) -> Standardizer:
        """Measure the training examples of a data set.

        Images are measured as `dequantise` leaves them: the noise of one level adds 1/2 to the mean and 1/12
        to the variance, which is taken into account exactly instead of being drawn.

        Raises
        ------
        DataError
            A dimension, or all pixels, have the same value in each example.
        """
        if dataset.kind == "points":
            return cls.fit_points(dataset.train, dataset.columns)
        levels = np.arange(256, dtype=np.float64)
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(dataset.train), 4096):
            counts += np.bincount(dataset.train[start : start + 4096].reshape(-1), minlength=256)
        if np.count_nonzero(counts) < 2:
            raise DataError(
                f"The images of {dataset.title} are all of one single grey, so there is nothing to learn "
                "from them; choose other images."
            )
        share = counts / counts.sum()
        mean = float(share @ levels)
        variance = float(share @ (levels - mean) ** 2)
        return cls(np.asarray(mean + 0.5), np.asarray(np.sqrt(variance + 1 / 12)))

    @classmethod
    def fit_points(cls, points: np.ndarray, columns: tuple[str, ...] = ()) -> Standardizer:
        """Measure (N, D) points, one mean and scale per dimension.

        Raises
        ------
        DataError
            A dimension has the same value in each point.
        """
        values = points.astype(np.float64)
        constant = np.flatnonzero(np.ptp(values, axis=0) == 0)
        if constant.size:
            index = int(constant[0])
            name = f'"{columns[index]}"' if columns else str(index + 1)
            raise DataError(
                f"Column {name} has the same value ({values[0, index]:g}) in every row, so it cannot be "
                "scaled to variance 1; leave it out by choosing the other columns."
            )
        return cls(values.mean(axis=0), values.std(axis=0))

    def forward(self, values: np.ndarray) -> np.ndarray:
        """From the data's own units (levels for images) to standard ones; float32."""
        return ((values - self.mean) / self.scale).astype(np.float32)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """From standard units back to the data's own; float32."""
        return (np.asarray(values, dtype=np.float64) * self.scale + self.mean).astype(np.float32)

    def to_levels(self, values: np.ndarray, levels: int) -> np.ndarray:
        """From standard units to uint8 pixel levels 0 .. ``levels`` - 1, undoing `dequantise`; out of range
        is clipped."""
        return np.clip(np.floor(self.inverse(values)), 0, levels - 1).astype(np.uint8)

    def log_volume(self, dimensions: int) -> float:
        """Sum of log scale over ``dimensions`` numbers, in nats.

        log p(x in its own units) = log p(x in standard units) - log_volume.
        """
        return float(np.log(np.broadcast_to(self.scale, (dimensions,))).sum())
