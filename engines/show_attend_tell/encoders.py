"""Images to annotation vectors: a small convolution trained along, or SqueezeNet's frozen features; torch, in the worker.

Annotations are (B, L, D): one vector a_i for each of the L places of a grid, rows first (Xu et al. 2015, arXiv:1502.03044,
section 3.1.1). The paper took VGG's conv5_4, 14 x 14 x 512; here the grid is 8 x 8 or 13 x 13.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from engines.data.captions import CaptionSet
from engines.data.download import Cancel, Progress, is_cancelled
from engines.data.files import reading, regular_size, size_text
from engines.errors import DataError

INPUT_SIZE = 224
"""Pixels of an edge of what SqueezeNet is given."""

SCALE = 44.0
"""Root mean square of SqueezeNet's activations after fire9, measured on photographs of Flickr8k."""

STRIDES = (4, 2, 1)
"""Of the small convolution's layers."""


class SmallConvolution(nn.Module):
    """Three convolutions, each with a ReLU: one annotation for each 8 x 8 pixels.

    The first steps by 4 pixels at once, which on a CPU costs half as much as three steps by 2 and reads drawn scenes as well;
    the last mixes channels alone, so that an annotation sees little beyond its own cell and a map of attention says where.

    The decoder takes annotations for a set: it cannot know where in the image one comes from, unless the annotation
    itself says so. VGG's and SqueezeNet's fields of view reach the image's border from everywhere, this one's do not; so
    the second layer is given x and y of each of its places.

    Parameters
    ----------
    channels : sequence of 3 int
        Of each convolution; the last is D.
    kernels : sequence of 3 int
        Widths of their windows, at least `STRIDES`. An annotation sees k1 + 4 (k2 - 1) + 8 (k3 - 1) pixels each way: 14 by
        default.
    size : int
        Pixels of an edge of the images.
    position : bool
        Whether x and y are given along.
    generator : torch.Generator, optional
        For the initial weights, which are normal with variance 2 / inputs, and those of x and y with deviation 0.3, so that
        what an annotation holds outweighs where it is; biases are zero.

    Attributes
    ----------
    grid : (int, int)
        Rows and columns of annotations; L is their product.
    depth : int
        D.
    """

    coordinates: Tensor

    def __init__(
        self,
        channels: Sequence[int] = (32, 48, 48),
        kernels: Sequence[int] = (6, 3, 1),
        *,
        size: int = 64,
        position: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(channels) != 3 or len(kernels) != 3:
            raise ValueError("a small convolution has three numbers of channels, and three kernels")
        if any(kernel < stride for kernel, stride in zip(kernels, STRIDES, strict=True)):
            raise ValueError(f"the kernels {tuple(kernels)} leave gaps between their strides, {STRIDES}")
        side = math.ceil(size / 8)
        self.size = size
        self.grid = (side, side)
        self.depth = channels[-1]
        self._missing = 8 * side - size
        widths = [3, *channels]
        # nn.Conv2d alone would draw weights from torch's global stream.
        layers = [
            skip_init(
                nn.Conv2d,
                widths[i],
                widths[i + 1],
                kernels[i],
                stride=STRIDES[i],
                padding=(kernels[i] - STRIDES[i] + 1) // 2,
            )
            for i in range(3)
        ]
        self.places = nn.Parameter(torch.empty(2, channels[1])) if position else None
        with torch.no_grad():
            for layer in layers:
                inputs = layer.weight[0].numel()
                layer.weight.normal_(0.0, math.sqrt(2 / inputs), generator=generator)
                layer.bias.zero_()
            if self.places is not None:
                self.places.normal_(0.0, 0.3, generator=generator)
        self.layers = nn.ModuleList(layers)
        line = torch.linspace(-1, 1, side)
        planes = torch.stack([line.expand(side, side), line[:, None].expand(side, side)])
        self.register_buffer("coordinates", planes, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, size, size) from 0 to 1 -> annotations (B, L, D)."""
        # Plain paper becomes zero, so that it does not drown what is on it.
        x = (images - images.mean((2, 3), keepdim=True)).mul_(4)
        if self._missing:
            x = F.pad(x, (0, self._missing, 0, self._missing))
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == 1 and self.places is not None:
                x = x + torch.einsum("pyx,pc->cyx", self.coordinates, self.places)
            x = F.relu_(x)
        return x.flatten(2).transpose(1, 2)


# --- SqueezeNet  ----------

_FIRES = {
    "fire2": (96, 16, 64),
    "fire3": (128, 16, 64),
    "fire4": (128, 32, 128),
    "fire5": (256, 32, 128),
    "fire6": (256, 48, 192),
    "fire7": (384, 48, 192),
    "fire8": (384, 64, 256),
    "fire9": (512, 64, 256),
}
"""Channels that go in, of the squeeze layer and of each of both expand layers."""


def _expected_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"conv1": (96, 3, 7, 7)}
    for fire, (inputs, squeezed, expanded) in _FIRES.items():
        shapes[f"{fire}/squeeze1x1"] = (squeezed, inputs, 1, 1)
        shapes[f"{fire}/expand1x1"] = (expanded, squeezed, 1, 1)
        shapes[f"{fire}/expand3x3"] = (expanded, squeezed, 3, 3)
    shapes["conv10"] = (1000, 512, 1, 1)
    whole = {f"{name}.weight": shape for name, shape in shapes.items()}
    return whole | {f"{name}.bias": shape[:1] for name, shape in shapes.items()}


WEIGHT_SHAPES = _expected_shapes()
"""Names and shapes of the 52 arrays of SqueezeNet v1.0."""


class SqueezeNet(nn.Module):
    """SqueezeNet v1.0 (Iandola et al. 2016, arXiv:1602.07360) up to fire9, frozen.

    conv1 is 7 x 7 with stride 2 and not padded; each convolution has a ReLU; max-pools of 3 x 3 with stride 2, rounding up,
    stand after conv1, fire4 and fire8. An image of 224 x 224 pixels gives 13 x 13 annotations of 512 numbers. As the network
    takes pixels from 0 to 255, its activations are in the tens and hundreds; annotations are divided by `SCALE`, so that
    what is learned from them starts in its range.

    Parameters
    ----------
    weights : mapping of str to ndarray of float32
        As `read_weights` returns them.

    Attributes
    ----------
    grid : (int, int)
    depth : int
    """

    mean: Tensor

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.grid = (13, 13)
        self.depth = 512
        # Dots and slashes cannot be in the names of parameters.
        self.weights = nn.ParameterDict(
            {
                _key(name): nn.Parameter(torch.from_numpy(np.array(weights[name])), requires_grad=False)
                for name in WEIGHT_SHAPES
            }
        )
        mean = torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)  # blue, green, red
        self.register_buffer("mean", mean, persistent=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SqueezeNet:
        """Read the weights from an NPZ file; see `read_weights`."""
        return cls(read_weights(path)[0])

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, 224, 224), red, green, blue from 0 to 1 -> annotations (B, 169, 512)."""
        return self._fire9(images).flatten(2).transpose(1, 2) / SCALE

    def classify(self, images: Tensor) -> Tensor:
        """Images as for `forward` -> (B, 1000) scores of the ImageNet classes, before the softmax."""
        return self._convolve("conv10", self._fire9(images)).mean((2, 3))

    def _fire9(self, images: Tensor) -> Tensor:
        x = 255 * images.flip(1) - self.mean
        x = self._pool(self._convolve("conv1", x, stride=2))
        for fire in _FIRES:
            x = self._convolve(f"{fire}/squeeze1x1", x)
            x = torch.cat(
                [self._convolve(f"{fire}/expand1x1", x), self._convolve(f"{fire}/expand3x3", x, padding=1)], 1
            )
            if fire in ("fire4", "fire8"):
                x = self._pool(x)
        return x

    def _convolve(self, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self.weights[_key(f"{name}.weight")], self.weights[_key(f"{name}.bias")]
        return F.relu(F.conv2d(x, weight, bias, stride, padding))

    @staticmethod
    def _pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)


def _key(name: str) -> str:
    return name.replace("/", "_").replace(".", "_")


_LARGEST_WEIGHTS = 64 * 2**20


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], str]:
    """The weights of SqueezeNet v1.0 in an NPZ file, and the SHA-256 of their values; nothing is unpickled.

    The arrays are named conv1, fire2/squeeze1x1, ..., conv10, each with ".weight" (outputs, inputs, height, width) and
    ".bias"; see `WEIGHT_SHAPES`.

    Raises
    ------
    DataError
        The file cannot be read, or an array is missing, has another shape or type, or holds a number that is not finite.
    """
    path = Path(path)
    size = regular_size(path)
    advice = "choose an NPZ file of the weights of SqueezeNet v1.0"
    if size > _LARGEST_WEIGHTS:
        raise DataError(f"{path} has {size_text(size)}, far more than the weights of SqueezeNet; {advice}.")
    with reading(path):
        content = path.read_bytes()
    weights: dict[str, np.ndarray] = {}
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name, shape in WEIGHT_SHAPES.items():
                weights[name] = _read_array(archive, name, shape)
                digest.update(weights[name].tobytes())
    except _Wrong as wrong:
        raise DataError(f"{path}: {wrong}; {advice}.") from wrong
    # zipfile, zlib and numpy's header parser raise a dozen unrelated types for damaged files
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} is no readable NPZ file ({reason.rstrip('.')}); {advice}.") from error
    return weights, digest.hexdigest()


class _Wrong(Exception):
    """What is wrong with an array."""


def _read_array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        entry = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise _Wrong(f'it has no array "{name}"') from None
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        found, in_columns, dtype = read(stream)
        if found != shape:
            raise _Wrong(f'the array "{name}" has the shape {found} in place of {shape}')
        if dtype.hasobject or dtype.kind != "f":
            raise _Wrong(f'the array "{name}" holds {dtype} in place of float32')
        expected = math.prod(shape) * dtype.itemsize
        # One byte more than there should be is asked for, so what a packed file unfolds to does not matter.
        values = stream.read(expected + 1)
    if len(values) != expected:
        raise _Wrong(f'the array "{name}" is cut short or too long')
    array = np.frombuffer(values, dtype).reshape(shape, order="F" if in_columns else "C")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, dtype="<f4")
    if not np.isfinite(result).all():
        raise _Wrong(f'the array "{name}" holds a number that is not finite')
    return result


# --- features once and for all  ----------


class FeaturesCancelled(DataError):
    """The computation of features was stopped on request."""


_SUFFIX = ".features.npy"
_CHECK = 32
_BATCH = 8


def features(
    caption_set: CaptionSet,
    weights_path: str | os.PathLike[str],
    cache_folder: str | os.PathLike[str] | None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    *,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """SqueezeNet's annotations of all images, computed once and kept on the disk.

    Parameters
    ----------
    caption_set : CaptionSet
        Images of another size are scaled to 224 x 224.
    weights_path : path
        See `read_weights`.
    cache_folder : path or None
        Made if it is not there. The file in it is named by the digest of weights and images, so other weights or images do
        not meet it; it appears when it is whole, and one that is damaged is computed again. None keeps nothing.
    progress : callable, optional
        Called with (images done, images in all, what is being done).
    cancel : callable or threading.Event, optional
        Asked every few images.
    device : torch.device

    Returns
    -------
    ndarray (N, 169, 512) of float16
        Read from the disk where it is asked for, if there is a cache; not writable.

    Raises
    ------
    DataError
        The weights or an image cannot be read, or the cache cannot be written.
    FeaturesCancelled
        ``cancel`` said so.
    """
    weights, weights_digest = read_weights(weights_path)
    network = SqueezeNet(weights).to(device)
    shape = (len(caption_set), network.grid[0] * network.grid[1], network.depth)
    if cache_folder is None:
        found = np.empty(shape, np.float16)
        for start, part in _parts(network, caption_set, progress, cancel):
            found[start : start + len(part)] = part
        found.flags.writeable = False
        return found
    folder = Path(cache_folder)
    name = hashlib.sha256(
        f"{weights_digest};{caption_set.images_digest};{shape};{SCALE}".encode()
    ).hexdigest()[:32]
    path = folder / f"{name}{_SUFFIX}"
    kept = _open_cache(path, shape)
    if kept is not None:
        if progress is not None:
            progress(shape[0], shape[0], _label(caption_set))
        return kept
    part_path = folder / f".{name}.{secrets.token_hex(4)}.part"
    try:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stream = part_path.open("xb")
        with stream:
            header: dict[str, Any] = {"descr": "<f2", "fortran_order": False, "shape": shape}
            digest = hashlib.sha256()
            with _writing(folder):
                np.lib.format.write_array_header_1_0(stream, header)
            for _, part in _parts(network, caption_set, progress, cancel):
                values = part.astype("<f2").tobytes()
                digest.update(values)
                with _writing(folder):
                    stream.write(values)
            # After the array, where readers of NPY files do not look.
            with _writing(folder):
                stream.write(digest.digest())
                stream.flush()
        with _writing(folder):
            os.replace(part_path, path)
    finally:
        with contextlib.suppress(OSError):
            part_path.unlink()
    kept = _open_cache(path, shape)
    if kept is None:
        raise DataError(
            f"{path} cannot be read back after it was written; check the disk, or choose another folder."
        )
    return kept


def _label(caption_set: CaptionSet) -> str:
    return f"Features of {caption_set.title}"


def _parts(
    network: SqueezeNet, caption_set: CaptionSet, progress: Progress | None, cancel: Cancel | None
) -> Iterator[tuple[int, np.ndarray]]:
    """First index and features (b, L, D) float16 of one batch of images after the other."""
    count = len(caption_set)
    device = network.mean.device
    largest = float(np.finfo(np.float16).max)
    for start in range(0, count, _BATCH):
        if is_cancelled(cancel):
            raise FeaturesCancelled(
                f"The features of {caption_set.title} were stopped after {start:,} of {count:,} images; start again to "
                "compute them."
            )
        if progress is not None:
            progress(start, count, _label(caption_set))
        batch = [_input(caption_set.image(i)) for i in range(start, min(start + _BATCH, count))]
        images = torch.from_numpy(np.stack(batch)).to(device).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            found = network(images).clamp(max=largest)
        yield start, found.cpu().numpy().astype(np.float16)
    if progress is not None:
        progress(count, count, _label(caption_set))


def _input(image: np.ndarray) -> np.ndarray:
    if image.shape[:2] == (INPUT_SIZE, INPUT_SIZE):
        return image
    from PIL import Image

    scaled = Image.fromarray(image).resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BICUBIC)
    return np.array(scaled)


def _open_cache(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The features in a file, or None if there is none, or not a whole one of this shape."""
    try:
        with path.open("rb") as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                return None
            found, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
            start = stream.tell()
            length = math.prod(shape) * 2
            if found != shape or in_columns or dtype != np.dtype("<f2"):
                return None
            if stream.seek(0, os.SEEK_END) != start + length + _CHECK:
                return None
            stream.seek(start)
            digest = hashlib.sha256()
            left = length
            while left:
                block = stream.read(min(left, 2**20))
                if not block:
                    return None
                digest.update(block)
                left -= len(block)
            if stream.read() != digest.digest():
                return None
        return np.memmap(path, np.dtype("<f2"), "r", start, shape)
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system says about writing into a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
        reason = "the disk is full" if full else (error.strerror or str(error)).lower()
        raise DataError(
            f"The features cannot be kept in {folder}, because {reason}; make room, or choose another folder."
        ) from error
