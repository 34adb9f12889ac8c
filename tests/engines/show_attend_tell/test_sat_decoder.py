"""The decoder against the paper's equations written out word by word, in double precision; CPU."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from engines.show_attend_tell.attention import draw, entropy
from engines.show_attend_tell.decoder import Decoder, Dropout, Sizes
from engines.show_attend_tell.vocabulary import START

SIZES = Sizes(annotation=3, words=7, embedding=4, state=5, attention=6)
STEPS, BATCH, LOCATIONS = 4, 3, 5


def decoder(**changes: Any) -> Decoder:
    """A decoder whose every weight, biases too, is far from zero."""
    generator = torch.Generator().manual_seed(1)
    made = Decoder(SIZES, generator=generator, **changes).double()
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(0.6 * torch.randn(weights.shape, generator=generator, dtype=torch.float64))
    return made


def case() -> tuple[Tensor, Tensor]:
    """Annotations (B, L, D) and words (C, B)."""
    generator = torch.Generator().manual_seed(2)
    annotations = torch.randn(BATCH, LOCATIONS, SIZES.annotation, generator=generator, dtype=torch.float64)
    return annotations, torch.randint(0, SIZES.words, (STEPS, BATCH), generator=generator)


def written_out(
    d: Decoder, annotations: Tensor, words: Tensor, *, fault: str = "", temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, alphas, gates and contexts by the paper's equations; a fault is one that public code has."""
    n, k = SIZES.state, SIZES.attention
    u_g, u_i, u_f, u_o = d.from_state[:, : 4 * n].split(n, dim=1)
    w_h, w_beta = d.from_state[:, 4 * n : 4 * n + k], d.from_state[:, -1]
    squash = torch.relu if fault == "ReLU attention" else torch.tanh
    mean = annotations.mean(1)
    if d.init_hidden is not None:
        mean = torch.relu(mean @ d.init_hidden + d.init_hidden_bias)
    both = mean @ d.init_state + d.init_state_bias
    both = both if fault == "linear first state" else torch.tanh(both)
    c, h = both[:, :n], both[:, n:]
    seen = annotations
    if d.attention.first is not None:
        seen = torch.tanh(seen @ d.attention.first + d.attention.first_bias)
    logits, alphas, gates, contexts = [], [], [], []
    for t in range(len(words)):
        previous = d.embedding[words[t - 1]] if t else torch.zeros_like(d.embedding[words[0]])
        if fault == "first embedding not zero" and t == 0:
            previous = d.embedding[torch.zeros_like(words[0])]

        def look(state: Tensor) -> Tensor:
            inner = seen @ d.attention.weight + d.attention.bias + (state @ w_h)[:, None]
            return torch.softmax(squash(inner) @ d.attention.readout / temperature, dim=1)

        alpha = look(h)
        beta = torch.sigmoid(h @ w_beta + d.gate_bias) if d.gate else torch.ones(BATCH, dtype=torch.float64)
        z = (alpha[:, :, None] * annotations).sum(1)
        if fault == "vector gate":
            z = torch.sigmoid(h[:, : SIZES.annotation]) * z
        else:
            z = beta[:, None] * z
        gate_inputs = [
            h @ u + previous @ w + z @ v + b
            for u, w, v, b in zip(
                (u_g, u_i, u_f, u_o),
                d.from_word.split(n, dim=1),
                d.from_context.split(n, dim=1),
                d.bias.split(n),
                strict=True,
            )
        ]
        g, i, f, o = torch.tanh(gate_inputs[0]), *(torch.sigmoid(x) for x in gate_inputs[1:])
        c = f * c + i * g
        h = o * torch.tanh(c)
        out = z
        if fault == "context of h_t":
            alpha = look(h)
            out = beta[:, None] * (alpha[:, :, None] * annotations).sum(1)
        hidden = h @ d.state_to_output + d.output_bias
        if d.previous_to_output and fault != "no deep output":
            hidden = hidden + previous
        if d.context_to_output and fault != "no deep output":
            hidden = hidden + out @ d.annotation_to_output
        logits.append(torch.tanh(hidden) @ d.output + d.word_bias)
        alphas.append(alpha)
        gates.append(beta)
        contexts.append(z)
    return torch.stack(logits), torch.stack(alphas), torch.stack(gates), torch.stack(contexts)


VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"attention_layers": 2, "init_layers": 2},
    {"gate": False},
    {"previous_to_output": False},
    {"context_to_output": False},
)


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: ",".join(changes) or "plain")
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_the_decoder_is_the_papers_equations(changes: dict[str, Any], temperature: float) -> None:
    d = decoder(**changes)
    annotations, words = case()
    unrolled, logits = d.unroll(annotations, words, temperature=temperature)
    expected = written_out(d, annotations, words, temperature=temperature)
    for ours, theirs in zip(
        (logits, unrolled.alphas, unrolled.gates, unrolled.contexts), expected, strict=True
    ):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "fault",
    [
        "ReLU attention",
        "vector gate",
        "no deep output",
        "context of h_t",
        "first embedding not zero",
        "linear first state",
    ],
)
def test_what_public_code_does_otherwise_gives_other_words(fault: str) -> None:
    d = decoder()
    annotations, words = case()
    _, logits = d.unroll(annotations, words)
    assert not torch.allclose(logits, written_out(d, annotations, words, fault=fault)[0], atol=1e-3)


def test_one_word_at_a_time_is_all_words_at_once() -> None:
    d = decoder(attention_layers=2)
    annotations, words = case()
    unrolled, logits = d.unroll(annotations, words, temperature=0.7)
    projected, state = d.attention.project(annotations), d.start(annotations)
    last = torch.full((BATCH,), START)
    for t in range(STEPS):
        step = d.advance(annotations, projected, state, last, temperature=0.7)
        assert torch.allclose(step.logits, logits[t]) and torch.allclose(step.alphas, unrolled.alphas[t])
        assert torch.allclose(step.gates, unrolled.gates[t]) and bool((step.locations == -1).all())
        last, state = words[t], step.state


def test_a_drawn_location_is_the_context_word_by_word_too() -> None:
    d = decoder()
    annotations, words = case()
    noise = torch.rand(words.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    unrolled, logits = d.unroll(annotations, words, noise=noise)
    projected, state = d.attention.project(annotations), d.start(annotations)
    last = torch.full((BATCH,), START)
    for t in range(STEPS):
        step = d.advance(annotations, projected, state, last, context="drawn", noise=noise[t])
        assert torch.equal(step.locations, unrolled.locations[t])
        assert torch.allclose(step.logits, logits[t])
        chosen = annotations[torch.arange(BATCH), step.locations]
        assert torch.allclose(unrolled.contexts[t], unrolled.gates[t][:, None] * chosen)
        last, state = words[t], step.state


@pytest.mark.parametrize("mode", ["soft", "no gate", "given locations", "alpha cut off"])
def test_the_gradient_written_by_hand_is_the_numerical_one(mode: str) -> None:
    d = decoder(gate=mode != "no gate", attention_layers=2, init_layers=2)
    annotations, words = case()
    annotations, words = annotations[:2, :3], words[:2, :2]
    names = [name for name, _ in d.named_parameters()]
    locations = torch.tensor([[0, 2], [1, 1]]) if mode == "given locations" else None

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.d = d

        def forward(self, a: Tensor) -> tuple[Tensor, ...]:
            if mode == "alpha cut off":
                # What does not go through alpha, beside what does: the entropy.
                unrolled, logits = self.d.unroll(a, words, cut=True)
                return (entropy(unrolled.alphas[:1]), logits[:0])
            unrolled, logits = self.d.unroll(a, words, locations=locations, temperature=0.7)
            extra = () if locations is not None else (unrolled.alphas,)
            return (logits, unrolled.states, unrolled.contexts, unrolled.gates, *extra)

    def outputs(a: Tensor, *weights: Tensor) -> Any:
        named = {f"d.{name}": value for name, value in zip(names, weights, strict=True)}
        return torch.func.functional_call(Outputs(), named, (a,))

    free = [annotations.clone().requires_grad_()]
    free += [weights.detach().clone().requires_grad_() for weights in d.parameters()]
    # A random direction in place of each number: all of them would take seconds.
    assert torch.autograd.gradcheck(outputs, free, fast_mode=True)


def test_a_hard_context_and_one_that_is_cut_off_leave_attention_alone() -> None:
    d = decoder()
    annotations, words = case()
    looked = [d.attention.readout, d.attention.weight]
    for options in ({"locations": torch.zeros_like(words)}, {"cut": True}):
        _, logits = d.unroll(annotations, words, **options)  # type: ignore[arg-type]
        gradients = torch.autograd.grad(logits.square().sum(), looked, allow_unused=True)
        assert all(gradient is None or not gradient.any() for gradient in gradients)
    _, logits = d.unroll(annotations, words)
    assert all(bool(gradient.any()) for gradient in torch.autograd.grad(logits.square().sum(), looked))


# --- invariants  ----------


def test_attention_is_a_distribution() -> None:
    annotations, words = case()
    unrolled, _ = decoder().unroll(annotations, words)
    assert torch.allclose(unrolled.alphas.sum(-1), torch.ones(STEPS, BATCH, dtype=torch.float64))
    assert bool((unrolled.alphas >= 0).all())
    assert unrolled.alphas.std() > 0.01, "the case is one where attention is not even"


def test_equal_annotations_make_the_context_whatever_attention_is_and_teach_it_nothing() -> None:
    d = decoder()
    annotations, words = case()
    equal = annotations[:, :1].expand(-1, LOCATIONS, -1)
    unrolled, logits = d.unroll(equal, words)
    assert torch.allclose(unrolled.contexts, unrolled.gates[:, :, None] * annotations[:, 0])
    looked = [d.attention.readout, d.attention.weight]
    gradients = torch.autograd.grad(logits.square().sum(), looked)
    assert all(float(gradient.abs().max()) < 1e-12 for gradient in gradients)


def test_locations_in_another_order_permute_attention_and_leave_the_words() -> None:
    d = decoder()
    annotations, words = case()
    order = torch.tensor([3, 0, 4, 1, 2])
    unrolled, logits = d.unroll(annotations, words)
    permuted, same = d.unroll(annotations[:, order], words)
    assert torch.allclose(same, logits)
    assert torch.allclose(permuted.alphas, unrolled.alphas[:, :, order])


def test_hard_attention_with_all_weight_on_one_location_is_soft_attention() -> None:
    d = decoder()
    annotations, words = case()
    # Weights far from each other, so that none of them is near the largest.
    with torch.no_grad():
        d.attention.readout.mul_(1e6)
    soft, logits = d.unroll(annotations, words)
    assert float(soft.alphas.detach().max(-1).values.min()) > 1 - 1e-9
    noise = torch.full(words.shape, 0.5, dtype=torch.float64)
    hard, same = d.unroll(annotations, words, noise=noise)
    assert torch.equal(hard.locations, soft.alphas.argmax(-1))
    assert torch.allclose(same, logits)


def test_the_expected_hard_output_of_a_linear_head_is_the_soft_output() -> None:
    d = decoder()
    annotations, words = case()
    soft, _ = d.unroll(annotations, words[:1])
    head = torch.randn(SIZES.annotation, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    expected = torch.zeros(BATCH, 2, dtype=torch.float64)
    for location in range(LOCATIONS):
        hard, _ = d.unroll(annotations, words[:1], locations=torch.full((1, BATCH), location))
        expected += soft.alphas[0, :, location : location + 1] * (hard.contexts[0] @ head)
    assert torch.allclose(expected, soft.contexts[0] @ head)


def test_a_low_temperature_sharpens_attention() -> None:
    annotations, words = case()
    entropies = [
        float(entropy(decoder().unroll(annotations, words[:1], temperature=t)[0].alphas.detach()).mean())
        for t in (0.2, 1.0, 200.0)
    ]
    assert entropies[0] < entropies[1] < entropies[2] == pytest.approx(math.log(LOCATIONS), abs=1e-3)


def test_locations_are_drawn_with_their_weights_and_never_where_there_is_none() -> None:
    alphas = torch.tensor([[0.0, 0.2, 0.0, 0.5, 0.3, 0.0]], dtype=torch.float64)
    noise = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    counts = torch.bincount(draw(alphas.expand(1000, -1), noise), minlength=6)
    assert counts.tolist() == [0, 200, 0, 500, 300, 0]
    ends = torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64)
    assert draw(alphas.expand(2, -1), ends).tolist() == [1, 4]


def test_dropout_touches_the_output_and_not_the_state() -> None:
    d = decoder()
    annotations, words = case()
    plain, logits = d.unroll(annotations, words)
    dropped, other = d.unroll(annotations, words, dropout=Dropout(0.5, torch.Generator().manual_seed(0)))
    assert torch.equal(plain.states, dropped.states) and not torch.allclose(logits, other)
    x = Dropout(0.25, torch.Generator().manual_seed(0))(torch.ones(40_000))
    assert x.unique().tolist() == pytest.approx([0.0, 4 / 3]) and float(x.mean()) == pytest.approx(
        1, abs=0.02
    )


def test_attention_that_is_given_takes_the_place_of_the_networks() -> None:
    d = decoder()
    annotations, _ = case()
    forced = torch.zeros(LOCATIONS, dtype=torch.float64)
    forced[2] = 1.0
    projected, state, start = (
        d.attention.project(annotations),
        d.start(annotations),
        torch.full((BATCH,), START),
    )
    step = d.advance(annotations, projected, state, start, forced=forced)
    hard, logits = d.unroll(
        annotations, torch.zeros((1, BATCH), dtype=torch.int64), locations=torch.full((1, BATCH), 2)
    )
    assert torch.equal(step.alphas, forced.expand(BATCH, -1)) and torch.allclose(step.logits, logits[0])
    assert hard.locations.tolist() == [[2] * BATCH]


def test_recurrent_weights_begin_orthogonal_and_the_authors_deviation_is_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    made = Decoder(Sizes(30, 50, 20, 16, 20), deviation=0.01, generator=generator)
    for block in made.from_state[:, :64].split(16, dim=1):
        assert torch.allclose(block.t() @ block, torch.eye(16), atol=1e-5)
    for weights in (made.embedding, made.attention.weight, made.from_word, made.output):
        assert float(weights.detach().std()) == pytest.approx(0.01, rel=0.15)


def test_the_cases_here_tell_locations_apart() -> None:
    # Everything above would hold of an attention network that is constant.
    d = decoder()
    annotations, words = case()
    changes = [
        float((a - b).abs().max())
        for a, b in itertools.pairwise(d.unroll(annotations, words)[0].alphas.detach())
    ]
    assert min(changes) > 1e-3
