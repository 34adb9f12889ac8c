"""Encoders: shapes and order of annotations, weights from a file, and features that are computed once."""

from __future__ import annotations

import io
import os
import pickle
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engines.data.captions import CaptionSet
from engines.errors import DataError
from engines.show_attend_tell import encoders
from engines.show_attend_tell.encoders import SmallConvolution, SqueezeNet, features, read_weights

PUBLISHED = Path(os.environ.get("LAB_DATA", "nowhere"), "squeezenet", "squeezenet_v1.0_decoded.npz")


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and ";" in text and len(text) < 600, text
    return text


# --- small convolution --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "channels, kernels, size", [((16, 32, 48), (6, 5, 3), 64), ((4, 8, 32), (4, 3, 1), 50)]
)
def test_annotations_are_one_vector_for_each_place_of_the_grid(channels, kernels, size) -> None:
    encoder = SmallConvolution(channels, kernels, size=size, generator=_generator())
    found = encoder(torch.rand(3, 3, size, size, generator=_generator()))
    rows, columns = encoder.grid
    assert found.shape == (3, rows * columns, encoder.depth) and encoder.depth == channels[-1]
    assert SmallConvolution().grid == (8, 8)


@pytest.mark.parametrize("row, column", [(0, 0), (2, 5), (7, 1), (4, 4)])
def test_annotations_go_through_the_grid_by_rows(row: int, column: int) -> None:
    encoder = SmallConvolution((8, 8, 8), (4, 3, 1), position=False, generator=_generator())
    plain = torch.full((1, 3, 64, 64), 0.5)
    marked = plain.clone()
    # Opposite colours, so that the mean of the image stays.
    y, x = 8 * row, 8 * column
    marked[0, :, y, x], marked[0, :, y, x + 1] = 1.0, 0.0
    difference = (encoder(marked) - encoder(plain)).abs().sum(-1).reshape(8, 8)
    assert divmod(int(difference.argmax()), 8) == (row, column)


def test_the_generator_alone_decides_the_weights() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (SmallConvolution(generator=_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


def test_equal_content_at_two_places_differs_only_where_position_is_given() -> None:
    image = torch.rand(3, 16, 16, generator=_generator())
    picture = torch.full((1, 3, 96, 96), 0.9)
    for y, x in ((32, 24), (48, 56)):
        picture[0, :, y : y + 16, x : x + 16] = image
    places = [(4 * 12 + 3), (6 * 12 + 7)]
    for position in (False, True):
        encoder = SmallConvolution((8, 8, 8), (4, 3, 3), size=96, position=position, generator=_generator())
        first, second = encoder(picture)[0, places]
        assert torch.allclose(first, second, atol=1e-5) != position


def test_plain_paper_of_any_colour_gives_the_same_annotations() -> None:
    encoder = SmallConvolution(generator=_generator())
    white, grey = encoder(torch.ones(1, 3, 64, 64)), encoder(torch.full((1, 3, 64, 64), 0.3))
    assert torch.allclose(white, grey, atol=1e-5)


@pytest.mark.parametrize("kernels, pixels", [((6, 3, 1), 14), ((4, 3, 3), 28)])
def test_an_annotation_sees_as_many_pixels_as_is_said(kernels, pixels) -> None:
    encoder = SmallConvolution((8, 8, 8), kernels, position=False, generator=_generator())
    image = torch.rand(1, 3, 64, 64, generator=_generator()).requires_grad_()
    x = 4 * image
    for layer in encoder.layers:
        x = layer(x)
    x[0, :, 4, 4].sum().backward()
    seen = image.grad.abs().sum((0, 1)) > 0
    assert int(seen.any(0).sum()) == int(seen.any(1).sum()) == pixels


def test_gradients_reach_all_weights() -> None:
    encoder = SmallConvolution(generator=_generator())
    encoder(torch.rand(2, 3, 64, 64, generator=_generator())).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


@pytest.mark.parametrize(
    "arguments, reason", [(((8, 8), (4, 3, 3)), "three"), (((8, 8, 8), (3, 3, 3)), "gaps")]
)
def test_other_than_three_layers_or_windows_with_gaps_between_them_are_refused(arguments, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        SmallConvolution(*arguments)


# --- SqueezeNet ---------------------------------------------------------------------------------------------


def _random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        name: (random.normal(size=shape) * np.sqrt(2 / max(1, np.prod(shape[1:])))).astype(np.float32)
        if len(shape) == 4
        else random.normal(size=shape).astype(np.float32)
        for name, shape in encoders.WEIGHT_SHAPES.items()
    }


@pytest.fixture(scope="module")
def weights_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.npz"
    np.savez(path, **_random_weights())
    return path


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.one = nn.Conv2d(squeezed, expanded, 1)
        self.three = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.one(x).relu(), self.three(x).relu()], 1)


def _reference(weights: dict[str, np.ndarray]) -> nn.Sequential:
    """The network written down layer by layer, as in its paper's table 1."""

    def pool() -> nn.MaxPool2d:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    fires = [
        _Fire(96, 16, 64),
        _Fire(128, 16, 64),
        _Fire(128, 32, 128),
        pool(),
        _Fire(256, 32, 128),
        _Fire(256, 48, 192),
        _Fire(384, 48, 192),
        _Fire(384, 64, 256),
        pool(),
        _Fire(512, 64, 256),
    ]
    first = nn.Conv2d(3, 96, 7, 2)
    pairs = [("conv1", first)]
    for number, fire in enumerate((f for f in fires if isinstance(f, _Fire)), 2):
        pairs += [
            (f"fire{number}/squeeze1x1", fire.squeeze),
            (f"fire{number}/expand1x1", fire.one),
            (f"fire{number}/expand3x3", fire.three),
        ]
    with torch.no_grad():
        for name, layer in pairs:
            layer.weight.copy_(torch.from_numpy(weights[f"{name}.weight"]))
            layer.bias.copy_(torch.from_numpy(weights[f"{name}.bias"]))
    return nn.Sequential(first, nn.ReLU(), pool(), *fires)


def test_squeezenet_equals_the_layers_of_its_paper(weights_path: Path) -> None:
    network = SqueezeNet.load(weights_path)
    images = torch.rand(2, 3, 224, 224, generator=_generator())
    found = network(images)
    assert found.shape == (2, 169, 512) and network.grid == (13, 13) and network.depth == 512
    blue_green_red = 255 * images[:, [2, 1, 0]] - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    with torch.no_grad():
        expected = _reference(_random_weights())(blue_green_red)
    assert expected.shape == (2, 512, 13, 13)
    annotation = expected[1, :, 4, 7] / encoders.SCALE
    torch.testing.assert_close(found[1, 4 * 13 + 7], annotation, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.sum(), expected.sum() / encoders.SCALE, rtol=1e-3, atol=0.0)


def test_squeezenet_is_frozen(weights_path: Path) -> None:
    network = SqueezeNet.load(weights_path)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_248_424


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the weights of SqueezeNet are not here")
def test_the_published_weights_know_a_temple_and_give_annotations_of_size_one() -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_image

    network = SqueezeNet.load(PUBLISHED)
    picture = np.array(Image.fromarray(load_sample_image("china.jpg")).resize((224, 224)))
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    # Bell cote, boathouse, beacon, palace, monastery, stupa: all of them buildings.
    assert int(network.classify(image)[0].argmax()) in (442, 449, 437, 698, 663, 832)
    assert 0.5 < float(network(image).square().mean().sqrt()) < 2


def _changed(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    weights = _random_weights() | {name.replace("__", "/"): array for name, array in changes.items()}
    return {name: array for name, array in weights.items() if array is not None}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"fire5__expand3x3.weight": None}, 'no array "fire5/expand3x3.weight"'),
        ({"conv1.weight": np.zeros((96, 3, 5, 5), np.float32)}, "(96, 3, 5, 5) in place of (96, 3, 7, 7)"),
        ({"conv10.bias": np.zeros(1000, np.int64)}, "int64 in place of float32"),
        ({"conv10.bias": np.full(1000, np.nan, np.float32)}, "not finite"),
        ({"conv10.bias": np.full(1000, 1e300)}, "not finite"),
    ],
)
def test_wrong_weights_get_one_sentence_that_names_the_array(tmp_path: Path, changes, said) -> None:
    np.savez(tmp_path / "w.npz", **_changed(**changes))
    text = _refused(lambda: read_weights(tmp_path / "w.npz"))
    assert said in text and "w.npz" in text


class _Bomb:
    """Its pickle would make a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_among_the_weights_is_never_opened(tmp_path: Path) -> None:
    objects = np.empty(1000, object)
    objects[:] = [_Bomb(tmp_path / "touched")] * 1000
    np.savez(tmp_path / "w.npz", **_changed(**{"conv10.bias": objects}))
    assert "object" in _refused(lambda: read_weights(tmp_path / "w.npz"))
    (tmp_path / "p.npz").write_bytes(pickle.dumps(_Bomb(tmp_path / "touched")))
    _refused(lambda: read_weights(tmp_path / "p.npz"))
    assert not (tmp_path / "touched").exists()


def test_an_array_that_unfolds_to_more_than_its_header_says_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in _random_weights().items():
            stream = io.BytesIO()
            np.save(stream, array)
            extra = bytes(50_000_000) if name == "conv1.weight" else b""
            archive.writestr(f"{name}.npy", stream.getvalue() + extra)
    assert "too long" in _refused(lambda: read_weights(tmp_path / "w.npz"))


def test_files_that_are_no_weights_get_one_sentence(tmp_path: Path, weights_path: Path) -> None:
    assert "no file" in _refused(lambda: read_weights(tmp_path / "nowhere.npz"))
    _refused(lambda: read_weights(tmp_path))
    for content in (b"", b"hello", weights_path.read_bytes()[:100_000]):
        (tmp_path / "w.npz").write_bytes(content)
        _refused(lambda: read_weights(tmp_path / "w.npz"))
    with (tmp_path / "large.npz").open("wb") as file:
        file.truncate(2**30)
    assert "far more" in _refused(lambda: read_weights(tmp_path / "large.npz"))


def test_the_digest_is_of_the_values_not_of_how_they_are_packed(tmp_path: Path, weights_path: Path) -> None:
    weights, digest = read_weights(weights_path)
    doubles = {name: np.asfortranarray(array, dtype=np.float64) for name, array in weights.items()}
    np.savez_compressed(tmp_path / "packed.npz", **doubles)
    again, packed = read_weights(tmp_path / "packed.npz")
    assert packed == digest
    np.testing.assert_array_equal(again["conv1.weight"], weights["conv1.weight"])
    np.savez(tmp_path / "other.npz", **_random_weights(1))
    assert read_weights(tmp_path / "other.npz")[1] != digest


# --- features -----------------------------------------------------------------------------------------------


def _set(count: int = 3, size: int = 64, seed: int = 0) -> CaptionSet:
    images = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)
    indices = {"train": np.arange(count - 1), "valid": np.array([count - 1])}
    return CaptionSet("few", "Few", images, ((("a", "dog"),),) * count, indices)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the batches that the network was given."""
    seen: list[int] = []
    forward = SqueezeNet.forward

    def counted(self: SqueezeNet, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(SqueezeNet, "forward", counted)
    monkeypatch.setattr(encoders, "_BATCH", 2)
    yield seen


def test_features_are_those_of_the_network(weights_path: Path, tmp_path: Path) -> None:
    data = _set(size=224)
    found = features(data, weights_path, tmp_path / "new" / "cache")
    assert found.shape == (3, 169, 512) and found.dtype == np.float16 and not found.flags.writeable
    network = SqueezeNet.load(weights_path)
    image = torch.from_numpy(data.images[2]).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        np.testing.assert_allclose(found[2], network(image)[0].numpy(), rtol=2e-3, atol=2e-3)


def test_features_are_computed_once_and_read_again(
    weights_path: Path, tmp_path: Path, runs: list[int]
) -> None:
    reports: list[tuple[int, int | None, str]] = []
    first = features(_set(), weights_path, tmp_path, lambda *report: reports.append(report))
    assert runs == [2, 1] and [report[:2] for report in reports] == [(0, 3), (2, 3), (3, 3)]
    again = features(_set(), weights_path, tmp_path, lambda *report: reports.append(report))
    assert runs == [2, 1] and reports[-1][:2] == (3, 3)
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(first, again)
    without = features(_set(), weights_path, None)
    np.testing.assert_array_equal(first, without)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_images_or_weights_do_not_meet_the_cache(
    weights_path: Path, tmp_path: Path, runs: list[int]
) -> None:
    first = features(_set(2), weights_path, tmp_path)
    other = features(_set(2, seed=1), weights_path, tmp_path)
    np.savez(tmp_path / "other.npz", **_random_weights(1))
    third = features(_set(2), tmp_path / "other.npz", tmp_path)
    assert runs == [2, 2, 2]
    assert not np.array_equal(first, other) and not np.array_equal(first, third)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:40],
        lambda content: b"",
        lambda content: content + b"x",
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        lambda content: content[:-5] + b"xxxxx",
        lambda content: b"not an array" * 1000,
    ],
)
def test_a_damaged_cache_is_computed_again(
    weights_path: Path, tmp_path: Path, runs: list[int], damage
) -> None:
    first = np.array(features(_set(1), weights_path, tmp_path))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    again = features(_set(1), weights_path, tmp_path)
    assert runs == [1, 1]
    np.testing.assert_array_equal(first, again)
    features(_set(1), weights_path, tmp_path)
    assert runs == [1, 1]


def test_a_cache_can_be_read_as_a_plain_array(weights_path: Path, tmp_path: Path) -> None:
    found = features(_set(1), weights_path, tmp_path)
    (path,) = tmp_path.iterdir()
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), found)


def test_stopping_leaves_nothing_behind(weights_path: Path, tmp_path: Path, runs: list[int]) -> None:
    stop = threading.Event()
    with pytest.raises(encoders.FeaturesCancelled, match="after 2 of 3"):
        features(_set(), weights_path, tmp_path, lambda done, *_: stop.set() if done == 0 else None, stop)
    assert runs == [2] and list(tmp_path.iterdir()) == []
    _refused(lambda: features(_set(), weights_path, None, cancel=lambda: True))


def test_an_image_that_cannot_be_read_leaves_nothing_behind(
    weights_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def image(self: CaptionSet, index: int) -> np.ndarray:
        raise DataError("The picture p1.jpg cannot be read any more (damaged); put it back.")

    monkeypatch.setattr(CaptionSet, "image", image)
    assert "p1.jpg" in _refused(lambda: features(_set(), weights_path, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_that_cannot_be_written_gets_one_sentence(weights_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    text = _refused(lambda: features(_set(1), weights_path, tmp_path / "file" / "cache"))
    assert "choose another folder" in text
