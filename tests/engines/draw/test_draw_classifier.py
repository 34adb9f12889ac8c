"""DRAW's classifier: glimpses at the picture alone, aimed by its own state, one answer at the end; tiny sizes."""

from __future__ import annotations

import torch

from engines.draw.classifier import Classifier
from engines.draw.filterbank import Window, read


def make(glimpses: int = 3, read_n: int = 3) -> Classifier:
    """A classifier of 9x7 pictures with stirred weights."""
    generator = torch.Generator().manual_seed(0)
    model = Classifier((1, 9, 7), glimpses, read_n, 6, 4, generator).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


def pictures(count: int = 2) -> torch.Tensor:
    """Random pictures."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand((count, 9, 1, 7), generator=generator, dtype=torch.float64)


def test_it_sees_the_picture_through_its_windows_and_nothing_else() -> None:
    model, x = make(), pictures()
    seen = model.look(x)
    for window, patch in zip(seen.windows, seen.patches, strict=True):
        assert torch.allclose(patch, read(x, model.geometry, Window(*window)))
        assert patch.shape == (2, 3, 1, 3)
    assert model.encoder.shape[1] == 9 + 6


def test_the_first_glimpse_is_the_same_for_all_and_later_ones_hang_on_what_was_seen() -> None:
    model = make()
    seen = model.look(pictures())
    assert torch.allclose(seen.windows[0].g_x[0], seen.windows[0].g_x[1])
    assert not torch.allclose(seen.windows[1].g_x[0], seen.windows[1].g_x[1])


def test_the_answer_is_given_after_the_last_glimpse() -> None:
    model, x = make(), pictures()
    every = model.look(x, every_answer=True).logits
    assert len(every) == 3
    assert torch.equal(model(x), every[-1])
    assert len(model.look(x).logits) == 1
    # What it would have said earlier comes from the same softmax.
    assert torch.equal(every[1], make_shorter(model, 2)(x))


def make_shorter(model: Classifier, glimpses: int) -> Classifier:
    """The same weights with fewer glimpses."""
    shorter = make(glimpses)
    shorter.load_state_dict(model.state_dict())
    return shorter


def test_its_windows_are_learned() -> None:
    model = make()
    loss = torch.nn.functional.cross_entropy(model(pictures()), torch.tensor([1, 3]))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0, name
