"""Beam search: what it finds, and whose attention it shows; double precision, CPU."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.show_attend_tell.beam import Beam, greedy, search
from engines.show_attend_tell.decoder import Decoder, Sizes
from engines.show_attend_tell.objectives import word_log_likelihoods
from engines.show_attend_tell.vocabulary import END

WORDS, LONGEST, LOCATIONS = 5, 4, 6


def decoder(seed: int = 0) -> Decoder:
    """A decoder with strong opinions, so that branches differ in where they look."""
    generator = torch.Generator().manual_seed(seed)
    made = Decoder(Sizes(4, WORDS, 5, 6, 5), generator=generator).double()
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(torch.randn(weights.shape, generator=generator, dtype=torch.float64))
    return made.requires_grad_(False)


def image(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn(LOCATIONS, 4, generator=generator, dtype=torch.float64)


def replayed(d: Decoder, annotations: Tensor, words: tuple[int, ...]) -> tuple[np.ndarray, float]:
    """Attention and log-likelihood of a caption that is given."""
    column = torch.tensor(words)[:, None]
    unrolled, logits = d.unroll(annotations[None], column)
    return unrolled.alphas[:, 0].detach().numpy(), float(word_log_likelihoods(logits, column).sum())


def overtakes(found: Beam) -> bool:
    """Whether a branch changed its row: only then does it matter whose attention is read."""
    rows: dict[int, int] = {}
    counts: dict[int, int] = {}
    for index, node in enumerate(found.nodes):
        rows[index] = counts.get(node.step, 0)
        counts[node.step] = rows[index] + 1
    return any(node.parent >= 0 and rows[node.parent] != rows[i] for i, node in enumerate(found.nodes))


@pytest.mark.parametrize("width", [1, 3, 4])
def test_every_branch_keeps_its_own_attention(width: int) -> None:
    overtaken = 0
    for seed in range(6):
        d, annotations = decoder(seed), image(seed)
        found = search(d, annotations, width=width, longest=LONGEST)
        overtaken += overtakes(found)
        for caption in found.captions:
            alphas, log_likelihood = replayed(d, annotations, caption.words)
            assert np.allclose(caption.alphas, alphas)
            assert caption.log_likelihood == pytest.approx(log_likelihood)
            # The tree holds the same, word by word.
            for place, index in enumerate(caption.nodes):
                node = found.nodes[index]
                assert node.step == place and node.word == caption.words[place]
                assert np.array_equal(node.alphas, caption.alphas[place])
            parents = [found.nodes[index].parent for index in caption.nodes]
            assert parents == [-1, *caption.nodes[:-1]]
    assert width == 1 or overtaken >= 3, "the case is one where rows and branches part"


def all_captions(d: Decoder, annotations: Tensor) -> dict[tuple[int, ...], float]:
    """Every caption of at most `LONGEST` words, those that are cut off among them."""
    captions: dict[tuple[int, ...], float] = {}
    for words in itertools.product(range(WORDS), repeat=LONGEST):
        length = words.index(END) + 1 if END in words else LONGEST
        if words[:length] not in captions:
            captions[words[:length]] = replayed(d, annotations, words[:length])[1]
    return captions


@pytest.mark.parametrize("normalise", [False, True])
def test_a_beam_that_is_wide_enough_finds_the_best_of_all_captions(normalise: bool) -> None:
    d, annotations = decoder(), image()
    captions = all_captions(d, annotations)
    score = {w: total / len(w) if normalise else total for w, total in captions.items()}
    # Ended branches keep their places in the beam, so it must hold all captions at once.
    found = search(d, annotations, width=len(captions), longest=LONGEST, normalise=normalise)
    ranked = sorted(score, key=lambda words: -score[words])
    assert [caption.words for caption in found.captions[:5]] == ranked[:5]
    assert found.captions[0].score == pytest.approx(score[ranked[0]])
    assert len({caption.words for caption in found.captions}) == len(found.captions)


def test_ranking_by_likelihood_per_word_prefers_other_captions() -> None:
    firsts = [
        [
            search(decoder(s), image(s), width=40, longest=LONGEST, normalise=n).captions[0].words
            for n in (False, True)
        ]
        for s in range(5)
    ]
    assert any(plain != normalised for plain, normalised in firsts)
    assert all(len(plain) <= len(normalised) for plain, normalised in firsts)


def test_a_beam_of_one_is_the_likeliest_next_word_for_many_images_at_once() -> None:
    d = decoder()
    images = torch.stack([image(seed) for seed in range(4)])
    words, alphas, gates = greedy(d, images, longest=LONGEST)
    for row in range(4):
        caption = search(d, images[row], width=1, longest=LONGEST).captions[0]
        count = len(caption.words)
        assert tuple(words[:count, row].tolist()) == caption.words
        assert bool((words[count:, row] == END).all())
        assert np.allclose(alphas[:count, row].detach().numpy(), caption.alphas)
        assert np.allclose(gates[:count, row].detach().numpy(), caption.gates)


def test_a_wider_beam_is_never_longer_than_asked_and_holds_as_many_captions() -> None:
    for width in (1, 2, 5):
        found = search(decoder(), image(), width=width, longest=3)
        assert len(found.captions) == width
        assert all(len(caption.words) <= 3 for caption in found.captions)
        scores = [caption.score for caption in found.captions]
        assert scores == sorted(scores, reverse=True)


def test_a_caption_begins_as_it_has_to() -> None:
    d, annotations = decoder(), image()
    for start in ((3,), (2, 4), (1, END)):
        found = search(d, annotations, width=3, longest=LONGEST, words=start)
        assert all(caption.words[: len(start)] == start for caption in found.captions)
        assert found.captions[0].log_likelihood == pytest.approx(
            replayed(d, annotations, found.captions[0].words)[1]
        )
    assert search(d, annotations, width=3, longest=LONGEST, words=(1, END)).captions[0].words == (1, END)


def test_attention_that_is_moved_holds_at_its_word_and_changes_what_follows() -> None:
    seed = next(
        seed
        for seed in range(20)
        if len(search(decoder(seed), image(seed), width=2, longest=LONGEST).captions[0].words) >= 3
    )
    d, annotations = decoder(seed), image(seed)
    plain = search(d, annotations, width=2, longest=LONGEST).captions[0]
    moved = 0
    for location in range(LOCATIONS):
        forced = torch.zeros(LOCATIONS, dtype=torch.float64)
        forced[location] = 1.0
        found = search(
            d, annotations, width=2, longest=LONGEST, words=plain.words[:1], looks={1: forced}
        ).captions[0]
        assert found.words[0] == plain.words[0] and np.array_equal(found.alphas[1], forced.numpy())
        assert np.array_equal(found.alphas[0], plain.alphas[0])
        moved += found.words != plain.words
    assert moved, "one of the locations makes another caption"


@pytest.mark.parametrize("context", ["likeliest", "drawn"])
def test_a_hard_context_names_the_location_that_each_word_saw(context: Any) -> None:
    d, annotations = decoder(), image()
    noise = np.random.default_rng(0).random(LONGEST)
    for caption in search(d, annotations, width=3, longest=LONGEST, context=context, noise=noise).captions:
        column = torch.tensor(caption.words)[:, None]
        _, logits = d.unroll(
            annotations[None], column, locations=torch.from_numpy(caption.locations)[:, None]
        )
        assert caption.log_likelihood == pytest.approx(float(word_log_likelihoods(logits, column).sum()))
        if context == "likeliest":
            assert np.array_equal(caption.locations, caption.alphas.argmax(1))
        else:
            below = [alphas[:s].sum() for alphas, s in zip(caption.alphas, caption.locations, strict=True)]
            above = [
                alphas[: s + 1].sum() for alphas, s in zip(caption.alphas, caption.locations, strict=True)
            ]
            count = len(caption.words)
            assert (np.array(below) <= noise[:count]).all() and (noise[:count] < np.array(above)).all()
