"""Losses of soft and hard attention, by exhaustive sums over all locations where there are few; double precision, CPU."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from engines.show_attend_tell.attention import entropy
from engines.show_attend_tell.decoder import Decoder, Sizes
from engines.show_attend_tell.objectives import (
    Baseline,
    Reward,
    doubly_stochastic,
    doubly_stochastic_floor,
    hard_loss,
    soft_loss,
    word_log_likelihoods,
)

STEPS, LOCATIONS = 2, 3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(*shape: int, seed: int = 0) -> Tensor:
    return torch.softmax(random(*shape, seed=seed), dim=-1)


# --- doubly stochastic  ----------


def test_the_term_is_a_sum_over_locations_of_squares_and_zero_where_each_is_looked_at_once() -> None:
    alphas = weights(5, 2, 7)
    by_hand = [sum((1 - float(alphas[:, b, i].sum())) ** 2 for i in range(7)) for b in range(2)]
    assert doubly_stochastic(alphas).tolist() == pytest.approx(by_hand)
    permutation = torch.eye(4, dtype=torch.float64)[torch.tensor([2, 0, 3, 1])]
    assert doubly_stochastic(permutation[:, None]).tolist() == [0.0]
    # Only as many words as locations can do that.
    assert doubly_stochastic(permutation[:3, None]).tolist() == [1.0]


def test_even_attention_is_the_floor_of_the_term() -> None:
    even = torch.full((5, 1, 12), 1 / 12, dtype=torch.float64)
    floor = doubly_stochastic_floor(12, 5)
    assert float(doubly_stochastic(even)) == pytest.approx(floor) == pytest.approx(12 * (1 - 5 / 12) ** 2)
    for seed in range(20):
        assert float(doubly_stochastic(weights(5, 1, 12, seed=seed))) > floor


def test_soft_loss_sums_over_words_and_averages_over_captions() -> None:
    logs, alphas = -random(4, 3).abs(), weights(4, 3, 5)
    expected = -logs.sum() / 3 + 0.7 * doubly_stochastic(alphas).sum() / 3
    assert torch.allclose(soft_loss(logs, alphas, 0.7), expected)
    assert torch.allclose(soft_loss(logs, alphas, 0.0), -logs.sum() / 3)


@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_padding_changes_neither_the_loss_nor_the_sums_of_attention(attention: str) -> None:
    generator = torch.Generator().manual_seed(3)
    decoder = Decoder(Sizes(3, 6, 4, 5, 4), generator=generator).double()
    annotations, words = random(2, 4, 3), torch.randint(0, 6, (3, 2), generator=generator)
    mask = torch.ones(3, 2, dtype=torch.float64)
    mask[2, 1] = 0.0

    def gradients(padding: int) -> tuple[Tensor, ...]:
        longer = torch.cat([words, torch.zeros((padding, 2), dtype=torch.int64)])
        present = torch.cat([mask, torch.zeros((padding, 2), dtype=torch.float64)])
        where = torch.ones_like(longer) if attention == "hard" else None
        unrolled, logits = decoder.unroll(annotations, longer, locations=where)
        logs = word_log_likelihoods(logits, longer, present)
        if attention == "soft":
            loss = soft_loss(logs, unrolled.alphas, 1.0, present)
        else:
            loss = hard_loss(
                logs,
                unrolled.alphas,
                unrolled.locations,
                baseline=-1.0,
                reinforce=0.5,
                entropy_weight=0.3,
                reward="mean",
                mask=present,
            ).loss
        return loss.detach(), *torch.autograd.grad(loss, list(decoder.parameters()), allow_unused=True)

    for short, long in zip(gradients(1), gradients(4), strict=True):
        assert (short is None and long is None) or torch.allclose(short, long, atol=1e-12)
    # Without the mask the padded words would count.
    alphas = weights(6, 2, 4)
    assert not torch.allclose(
        doubly_stochastic(alphas), doubly_stochastic(alphas, torch.cat([mask, mask * 0]))
    )


# --- hard attention  ----------


def small() -> tuple[Decoder, Tensor, Tensor]:
    """A decoder, one image of three locations, a caption of two words."""
    generator = torch.Generator().manual_seed(7)
    decoder = Decoder(Sizes(2, 4, 3, 3, 3), generator=generator).double()
    with torch.no_grad():
        for part in decoder.parameters():
            part.add_(torch.randn(part.shape, generator=generator, dtype=torch.float64))
    return decoder, random(1, LOCATIONS, 2, seed=1), torch.tensor([[2], [1]])


def flat(loss: Tensor, decoder: Decoder) -> Tensor:
    parts = torch.autograd.grad(loss, list(decoder.parameters()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(weight) if part is None else part).flatten()
            for part, weight in zip(parts, decoder.parameters(), strict=True)
        ]
    )


def everywhere(baseline: float, reward: Reward = "sum") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For all sequences of locations: p(s), log p(y|s), the gradients of the estimate; and the exact one of their bound."""
    decoder, annotations, words = small()
    chances, likelihoods, estimates = [], [], []
    bound = torch.zeros((), dtype=torch.float64)
    for sequence in itertools.product(range(LOCATIONS), repeat=STEPS):
        unrolled, logits = decoder.unroll(annotations, words, locations=torch.tensor(sequence)[:, None])
        chance = unrolled.alphas.gather(2, unrolled.locations[:, :, None]).prod()
        logs = word_log_likelihoods(logits, words)
        terms = hard_loss(
            logs,
            unrolled.alphas,
            unrolled.locations,
            baseline=baseline,
            reinforce=1.0,
            entropy_weight=0.0,
            reward=reward,
        )
        chances.append(chance.detach())
        likelihoods.append(logs.sum().detach())
        estimates.append(-flat(terms.loss, decoder))
        unrolled, logits = decoder.unroll(annotations, words, locations=torch.tensor(sequence)[:, None])
        chance = unrolled.alphas.gather(2, unrolled.locations[:, :, None]).prod()
        bound = bound + chance * word_log_likelihoods(logits, words).sum()
    return torch.stack(chances), torch.stack(likelihoods), torch.stack(estimates), flat(bound, decoder)


def test_the_estimate_averaged_over_all_locations_is_the_bounds_gradient_and_a_baseline_only_quietens_it() -> (
    None
):
    chances, likelihoods, plain, exact = everywhere(0.0)
    assert float(chances.sum()) == pytest.approx(1.0)
    assert torch.allclose((chances[:, None] * plain).sum(0), exact, atol=1e-6)
    mean = float((chances * likelihoods).sum())
    _, _, quiet, _ = everywhere(mean)
    assert torch.allclose((chances[:, None] * quiet).sum(0), exact, atol=1e-6)

    def variance(estimates: Tensor) -> float:
        return float((chances[:, None] * (estimates - exact).square()).sum())

    assert variance(quiet) < 0.6 * variance(plain)


def test_a_word_that_is_credited_alone_misses_what_its_location_does_to_later_words() -> None:
    chances, _, estimates, exact = everywhere(0.0, reward="word")
    assert not torch.allclose((chances[:, None] * estimates).sum(0), exact, atol=1e-3)


def test_the_bound_lies_below_the_likelihood() -> None:
    chances, likelihoods, _, _ = everywhere(0.0)
    bound, exact = float((chances * likelihoods).sum()), float((chances * likelihoods.exp()).sum().log())
    assert bound < exact - 1e-6


def test_one_reward_is_shared_by_all_words_and_the_baseline_is_one_number() -> None:
    logs, alphas = -random(3, 2).abs(), weights(3, 2, 4, seed=2).requires_grad_()
    locations = torch.tensor([[0, 1], [2, 3], [1, 1]])
    for reward in ("sum", "mean"):
        terms = hard_loss(
            logs,
            alphas,
            locations,
            baseline=-0.25,
            reinforce=0.1,
            entropy_weight=0.0,
            reward=reward,  # type: ignore[arg-type]
        )
        (gradient,) = torch.autograd.grad(terms.loss, alphas)
        rewards = logs.sum(0) if reward == "sum" else logs.mean(0)
        assert terms.reward == pytest.approx(float(rewards.mean()))
        expected = torch.zeros_like(alphas)
        for t in range(3):
            for b in range(2):
                s = int(locations[t, b])
                expected[t, b, s] = -0.1 * (rewards[b] + 0.25) / alphas[t, b, s] / 2
        assert torch.allclose(gradient, expected, atol=1e-6)


def test_before_there_is_a_baseline_the_minibatch_is_compared_with_its_own_mean() -> None:
    logs, alphas = -random(3, 2).abs(), weights(3, 2, 4, seed=2).requires_grad_()
    locations = torch.tensor([[0, 1], [2, 3], [1, 1]])

    def gradient(baseline: float | None) -> Tensor:
        terms = hard_loss(logs, alphas, locations, baseline=baseline, reinforce=0.1, entropy_weight=0.0)
        return torch.autograd.grad(terms.loss, alphas)[0]

    mean = float(logs.sum(0).mean())
    assert torch.allclose(gradient(None), gradient(mean))
    assert not torch.allclose(gradient(None), gradient(0.0))


def test_the_expected_context_has_nothing_to_reinforce() -> None:
    logs, alphas = -random(3, 2).abs(), weights(3, 2, 4).requires_grad_()
    terms = hard_loss(logs, alphas, torch.full((3, 2), -1), baseline=0.0, reinforce=1.0, entropy_weight=0.0)
    (gradient,) = torch.autograd.grad(terms.loss, alphas, allow_unused=True)
    assert gradient is None or not gradient.any()


def test_the_entropy_term_alone_makes_attention_even() -> None:
    energies = random(2, 1, 4).requires_grad_()
    before = float(entropy(torch.softmax(energies.detach(), -1)).mean())
    for _ in range(300):
        alphas = torch.softmax(energies, -1)
        zeros = torch.zeros(2, 1, dtype=torch.float64)
        loss = hard_loss(
            zeros,
            alphas,
            torch.zeros((2, 1), dtype=torch.int64),
            baseline=0.0,
            reinforce=0.0,
            entropy_weight=1.0,
        ).loss
        (gradient,) = torch.autograd.grad(loss, energies)
        energies = (energies - 2 * gradient).detach().requires_grad_()
    alphas = torch.softmax(energies, -1)
    assert torch.allclose(alphas, torch.full_like(alphas, 0.25), atol=1e-3)
    assert (
        before
        < float(entropy(alphas.detach()).mean())
        == pytest.approx(torch.tensor(4.0).log().item(), abs=1e-5)
    )


def test_a_location_of_no_weight_has_a_finite_gradient() -> None:
    alphas = torch.tensor([[[1.0, 0.0]]]).requires_grad_()
    terms = hard_loss(
        torch.tensor([[-2.0]]), alphas, torch.tensor([[1]]), baseline=0.0, reinforce=1.0, entropy_weight=0.1
    )
    (gradient,) = torch.autograd.grad(terms.loss, alphas)
    assert bool(torch.isfinite(gradient).all()) and bool(torch.isfinite(terms.loss))


def test_the_baseline_is_a_running_mean_that_starts_with_the_first_reward() -> None:
    baseline = Baseline()
    assert baseline.value is None
    for reward in (-30.0, -20.0, -10.0):
        baseline.update(reward)
    assert baseline.value == pytest.approx(0.9 * (0.9 * -30 + 0.1 * -20) + 0.1 * -10)
