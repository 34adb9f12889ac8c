"""Folding, calibration and evaluation of the network: the folded one computes the same, and nothing is recomputed in vain."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.fixed_point import evaluator as evaluation
from engines.fixed_point.calibration import HIGHEST_SQNR, KAPPA_BITS, Options, Place, Reference, scale
from engines.fixed_point.evaluator import Evaluator, QuantisedLayer, accuracy_of, layer_output
from engines.fixed_point.networks import FloatNetwork, Layer, inputs_of, plan, text
from engines.fixed_point.quantizer import Format, bias_format, quantise, sqnr
from engines.fixed_point.sources import optimal_step

PICTURES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "colour": (3, 32, 32), "oblong": (3, 5, 9)}


def trained_network(layers: tuple[Layer, ...], picture: tuple[int, int, int]) -> FloatNetwork:
    """A network whose batch normalisation has seen something, with scales and shifts of its own."""
    generator = torch.Generator().manual_seed(0)
    network = FloatNetwork(layers, generator)
    for norm in network.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0, generator=generator)
        torch.nn.init.uniform_(norm.bias, -0.5, 0.5, generator=generator)
    for _ in range(3):
        network(torch.rand((16, *picture), generator=generator))
    return network.eval()


def reference_of(picture: tuple[int, int, int] = (1, 8, 8), width: int = 4) -> Reference:
    """A folded network with calibration pictures."""
    layers = plan(picture, 10, width)
    images = torch.rand((64, *picture), generator=torch.Generator().manual_seed(1))
    return Reference(layers, *trained_network(layers, picture).folded(), images)


def network_of(
    reference: Reference, weights: list[int], reads: list[int], options: Options | None = None
) -> list[QuantisedLayer]:
    """The quantised network with these bits."""
    result = []
    options = options or Options("gaussian")
    for i, (w, a) in enumerate(zip(weights, reads, strict=True)):
        form = reference.format(Place("weights", i), w, options)
        read = reference.format(Place("activations", i), a, options)
        bias = reference.biases[i]
        weight = quantise(reference.weights[i], form)
        result.append(QuantisedLayer(weight, quantise(bias, bias_format(bias, form)), read, (form, read)))
    return result


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_the_folded_network_is_the_network_with_running_statistics(picture: tuple[int, int, int]) -> None:
    layers = plan(picture, 7, 4)
    network = trained_network(layers, picture).double()
    x = torch.rand((9, *picture), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights, biases = network.folded()
    read = inputs_of(layers, weights, biases, x)
    assert torch.allclose(read[-1], network(x), atol=1e-10)
    # It is no view of the network: training on leaves it as it is.
    with torch.no_grad():
        network.weights[0].zero_()
        network.bias.add_(1)
    assert torch.equal(inputs_of(layers, weights, biases, x)[-1], read[-1])


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_sizes_are_those_of_the_tensors(picture: tuple[int, int, int]) -> None:
    layers = plan(picture, 10, 4)
    reference = reference_of(picture)
    for layer, weight, read, given in zip(
        layers, reference.weights, reference.read(), reference.read()[1:], strict=False
    ):
        assert weight.numel() == layer.weights and weight.shape == layer.weight_shape
        assert given[0].numel() == layer.values
        if layer.is_convolution:
            assert read.shape[2:] == layer.reads and given.shape[2:] == layer.gives
            assert layer.macs == layer.weights * given[0, 0].numel()
        assert str(layer.weights) in text(layers)


def test_the_scale_of_a_relu_is_taken_from_its_positive_numbers() -> None:
    z = 3 * torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    assert scale(z, signed=True) == pytest.approx(3, rel=0.01)
    assert scale(torch.relu(z), signed=False) == pytest.approx(3, rel=0.01)
    assert scale(torch.relu(z), signed=True) == pytest.approx(3 / math.sqrt(2), rel=0.01)
    assert scale(torch.zeros(5), signed=False) == 1.0


def test_one_sided_codes_gain_a_bit_on_what_a_relu_gives() -> None:
    reference = reference_of(width=8)
    place = Place("activations", 2)
    for bits in (3, 4, 5):
        unsigned = reference.measured(place, bits, Options("mse", power_of_two=False))
        signed = reference.measured(place, bits, Options("mse", power_of_two=False, one_sided=False))
        assert unsigned - signed > 3
    form = reference.format(place, 4, Options("gaussian"))
    assert not form.signed and form.edges[0] <= 0
    assert reference.format(Place("weights", 2), 4, Options("gaussian")).signed


def test_steps_scale_with_the_tensor() -> None:
    reference = reference_of()
    larger = Reference(
        reference.layers, [5 * w for w in reference.weights], reference.biases, reference.images
    )
    for rule in ("uniform", "gaussian", "laplacian", "gamma", "mse"):
        options = Options(rule, power_of_two=False)
        place = Place("weights", 1)
        step = reference.step(place, 4, options)
        assert larger.step(place, 4, options) == pytest.approx(5 * step, rel=1e-4)
        if rule != "mse":
            root = float(reference.weights[1].double().square().mean().sqrt())
            best = optimal_step(rule, 4, tread=True)[0]
            assert step == pytest.approx(root * best)


def test_power_of_two_steps_are_the_nearest_in_the_logarithm() -> None:
    reference = reference_of()
    for place, bits in itertools.product(reference.places, (2, 5, 8)):
        free = reference.format(place, bits, Options("gaussian", power_of_two=False))
        fixed = reference.format(place, bits, Options("gaussian"))
        assert fixed.fraction_bits == round(-math.log2(free.step))
        assert 2**-0.5 <= fixed.step / free.step <= 2**0.5


def test_least_error_on_the_data_is_not_beaten_by_any_rule() -> None:
    reference = reference_of(width=8)
    for place, bits, tread in itertools.product(reference.places, (2, 3, 5), (True, False)):
        best = reference.measured(place, bits, Options("mse", False, tread))
        for rule in ("uniform", "gaussian", "laplacian", "gamma"):
            assert best >= reference.measured(place, bits, Options(rule, False, tread)) - 1e-3


def test_kappa_is_the_slope_of_sqnr_over_bits() -> None:
    layers = plan((1, 8, 8), 10, 64)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(layer.weight_shape, generator=generator) for layer in layers]
    biases = [torch.zeros(layer.outputs) for layer in layers]
    reference = Reference(layers, weights, biases, torch.rand((16, 1, 8, 8), generator=generator))
    options = Options("gaussian", power_of_two=False, tread=False)
    bits = np.array(KAPPA_BITS)
    db = np.array([optimal_step("gaussian", int(b))[1] for b in bits])
    wanted = float(np.polyfit(bits, db / bits, 0, w=bits)[0])
    assert reference.kappa(Place("weights", 2), options) == pytest.approx(wanted, abs=0.03)
    assert 4.8 < wanted < 5.2


def test_pixels_that_are_exact_from_some_bits_on_do_not_spoil_kappa() -> None:
    layers = plan((1, 8, 8), 10, 4)
    network = trained_network(layers, (1, 8, 8))
    images = torch.randint(17, (64, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 16
    reference = Reference(layers, *network.folded(), images)
    place, options = Place("activations", 0), Options("gaussian")
    assert reference.measured(place, 8, options) == HIGHEST_SQNR
    assert reference.kappa(place, options) < 10


# --- evaluation  ----------


@pytest.fixture
def subject() -> tuple[Reference, Tensor, Tensor]:
    """A network, pictures and classes."""
    generator = torch.Generator().manual_seed(3)
    return reference_of(), torch.rand((333, 1, 8, 8), generator=generator), torch.arange(333) % 10


@pytest.mark.parametrize("kept", ["everything", "little"])
def test_what_is_recomputed_is_what_a_fresh_evaluation_gives(
    subject: tuple[Reference, Tensor, Tensor], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, images, labels = subject
    monkeypatch.setattr(evaluation, "CHUNK", 20_000)
    if kept == "little":
        monkeypatch.setattr(evaluation, "KEPT_BYTES", 333 * 4 * 150)
    count = len(reference.layers)
    evaluator = Evaluator(reference.layers, images, labels)
    bits = {"weights": [4] * count, "activations": [5] * count}
    evaluator.accuracy(network_of(reference, bits["weights"], bits["activations"]))
    assert evaluator.computed == count
    choices = np.random.default_rng(0)
    seen = set()
    for _ in range(25):
        kind, i = choices.choice(["weights", "activations"]), int(choices.integers(count))
        before = bits[kind][i]
        bits[kind][i] = int(choices.choice([b for b in (1, 2, 3, 4, 6, 32) if b != before]))
        network = network_of(reference, bits["weights"], bits["activations"])
        logits = evaluator.logits(network).clone()
        if kept == "everything":
            assert evaluator.computed == count - i
        else:
            assert evaluator.computed >= count - i
        fresh = Evaluator(reference.layers, images, labels)
        assert torch.equal(fresh.logits(network), logits)
        x = images
        for layer, quantised in zip(reference.layers, network, strict=True):
            x = layer_output(layer, x, quantised)
        assert torch.allclose(x, logits, atol=1e-4)
        accuracy = accuracy_of(reference.layers, network, images, labels)
        assert accuracy == evaluator.accuracy(network)
        assert accuracy == pytest.approx(100 * float((logits.argmax(1) == labels).float().mean()))
        assert evaluator.computed == 0
        seen.add(accuracy)
    assert len(seen) > 3


def test_floating_point_bits_give_the_float_network(subject: tuple[Reference, Tensor, Tensor]) -> None:
    reference, images, labels = subject
    count = len(reference.layers)
    exact = inputs_of(reference.layers, reference.weights, reference.biases, images)[-1]
    evaluator = Evaluator(reference.layers, images, labels)
    logits = evaluator.logits(network_of(reference, [32] * count, [32] * count))
    assert torch.allclose(logits, exact, atol=1e-5)
    assert torch.equal(logits.argmax(1), exact.argmax(1))
    finest = network_of(reference, [16] * count, [16] * count, Options("mse", power_of_two=False))
    # On the calibration pictures: others go beyond the last level here and there.
    x = reference.images
    close = Evaluator(reference.layers, x, torch.zeros(len(x), dtype=torch.int64)).logits(finest)
    assert sqnr(reference.read()[-1], close) > 60


def test_quantised_logits_are_those_of_double_precision() -> None:
    reference = reference_of()
    network = network_of(reference, [4] * 5, [5] * 5)
    x = reference.images
    evaluator = Evaluator(reference.layers, x, torch.zeros(len(x), dtype=torch.int64))
    single = evaluator.logits(network)
    for layer, quantised in zip(reference.layers, network, strict=True):
        double = QuantisedLayer(quantised.weight.double(), quantised.bias.double(), quantised.reads, None)
        x = layer_output(layer, x.double(), double)
    # Values on the border between two levels may fall to either side.
    close = torch.isclose(single.double(), x, atol=1e-4)
    assert float(close.float().mean()) > 0.95


def test_the_noise_of_the_output_is_the_sum_of_all_where_no_relu_stands_between() -> None:
    # One linear layer: what it reads and its weights are all that is rounded.
    layers = (Layer("fc", 400, 50, 0, (1, 1), (1, 1)),)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn((50, 400), generator=generator)]
    images = torch.relu(torch.randn((500, 400), generator=generator))
    reference = Reference(layers, weights, [torch.zeros(50)], images)
    options = Options("gaussian", power_of_two=False)
    db = [reference.measured(Place(kind, 0), 4, options) for kind in ("weights", "activations")]  # type: ignore[arg-type]
    weight = quantise(weights[0], reference.format(Place("weights", 0), 4, options))
    read = reference.format(Place("activations", 0), 4, options)
    exact = layer_output(
        layers[0], images, QuantisedLayer(weights[0], torch.zeros(50), Format(32, 1.0), None)
    )
    rough = layer_output(layers[0], images, QuantisedLayer(weight, torch.zeros(50), read, None))
    noise = float((rough - exact).square().mean() / exact.square().mean())
    assert noise == pytest.approx(sum(10 ** (-value / 10) for value in db), rel=0.1)
