"""Momentum in exact integers: it returns to the very bits, and its buffer takes log2(1 / gamma) bits a step; CPU."""

from __future__ import annotations

import gc
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engines.errors import StepError
from engines.reversible_learning.momentum import (
    DENOMINATOR,
    RANGE,
    ExactMomentum,
    FloatMomentum,
    InformationBuffer,
    Momentum,
    Rate,
    Rates,
    numerators,
    wrong_bits,
)
from engines.reversible_learning.problems import Grads, Group, Problem
from engines.reversible_learning.reversal import go_back, hypergradient, train
from tests.engines.handling import one_sentence

WEIGHTS = 40


class Waves(Problem):
    """A wavy bowl: cheap, not quadratic, and different in each iteration."""

    groups = (Group(0, "weights", 25, 5), Group(0, "biases", WEIGHTS - 25, 5))

    def gradient(self, w: Tensor, t: int) -> tuple[Tensor, Tensor]:
        return w.square().sum() / 2 - (w + t).cos().sum(), w + (w + t).sin()

    def products(self, w: Tensor, u: Tensor, t: int, grads: Grads) -> tuple[Tensor, Tensor]:
        return self.gradient(w, t)[1], u + (w + t).cos() * u

    def objective(self, w: Tensor) -> tuple[Tensor, Tensor, Grads]:
        return w.square().sum() / 2, w.clone(), {}

    def value(self, w: Tensor) -> float:
        return float(w.square().sum() / 2)


def start(seed: int = 0) -> Tensor:
    return torch.randn(WEIGHTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def constant(steps: int, gamma: float, alpha: float = 0.3) -> Rates:
    return Rates(
        torch.full((steps, 2), alpha, dtype=torch.float64),
        torch.full((steps, 2), gamma, dtype=torch.float64),
        Waves().sizes,
    )


def rate(n: int | Tensor) -> Rate:
    smallest = n if isinstance(n, int) else int(n.min())
    return Rate(1.0, n, n / DENOMINATOR, smallest)


# --- multiplication  ----------


@given(
    st.lists(st.integers(-RANGE + 1, RANGE - 1), min_size=1, max_size=6),
    st.lists(st.integers(1, DENOMINATOR), min_size=1, max_size=12),
)
def test_multiplying_and_dividing_in_the_opposite_order_gives_back_every_integer(
    numbers: list[int], factors: list[int]
) -> None:
    c = torch.tensor(numbers)
    buffer = InformationBuffer((len(numbers),), torch.device("cpu"))
    product = c
    for step, n in enumerate(factors):
        before = product
        product = buffer.multiply(product, rate(n), step)
        # It is a multiplication, and not only something that can be undone.
        exact = [value * n // DENOMINATOR for value in before.tolist()]
        assert all(abs(a - b) <= n + 1 for a, b in zip(product.tolist(), exact, strict=True))
    for step in range(len(factors) - 1, -1, -1):
        product = buffer.divide(product, rate(factors[step]), step)
    assert torch.equal(product, c) and buffer.is_empty()


def test_each_weight_may_have_a_momentum_of_its_own() -> None:
    generator = torch.Generator().manual_seed(1)
    c = torch.randint(-RANGE + 1, RANGE, (200,), generator=generator)
    factors = [torch.randint(1, DENOMINATOR + 1, (200,), generator=generator) for _ in range(60)]
    buffer = InformationBuffer((120, 80), torch.device("cpu"))
    product = c
    for step, n in enumerate(factors):
        product = buffer.multiply(product, rate(n), step)
    for step in range(len(factors) - 1, -1, -1):
        product = buffer.divide(product, rate(factors[step]), step)
    assert torch.equal(product, c) and buffer.is_empty()


def test_a_result_is_the_same_whether_one_factor_is_given_or_one_for_each_weight() -> None:
    c = torch.tensor([5 << 40, -(5 << 40), -1, 0, 1])
    one, each = (InformationBuffer((5,), torch.device("cpu")) for _ in range(2))
    for step in range(4):
        assert torch.equal(
            one.multiply(c, rate(60000), step), each.multiply(c, rate(torch.full((5,), 60000)), step)
        )


# --- the way back  ----------


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.98, 0.99])
def test_thousands_of_steps_return_to_the_very_bits(gamma: float) -> None:
    problem, rates = Waves(), constant(2000, gamma)
    training = train(problem, start(), rates)
    assert wrong_bits(training.momentum.bits_of(), training.began) > 0
    go_back(problem, training, rates)
    assert wrong_bits(training.momentum.bits_of(), training.began) == 0
    assert training.momentum.is_home() and not training.momentum.velocity().any()


def test_every_state_on_the_way_back_is_the_one_on_the_way_out() -> None:
    problem, rates = Waves(), constant(300, 0.7)
    out: dict[int, tuple[Tensor, Tensor]] = {}
    back: list[int] = []

    def leave(step: int, momentum: Momentum) -> None:
        out[step] = momentum.bits_of().clone(), momentum.velocity().clone()

    def meet(step: int, momentum: Momentum) -> None:
        assert torch.equal(momentum.bits_of(), out[step][0])
        assert torch.equal(momentum.velocity(), out[step][1])
        back.append(step)

    go_back(problem, train(problem, start(), rates, observe=leave), rates, meet)
    assert back == list(range(300, -1, -1)) and len(out) == 301


def test_schedules_that_differ_by_group_and_iteration_return_as_well() -> None:
    generator = torch.Generator().manual_seed(2)
    alpha = torch.rand((500, 2), generator=generator, dtype=torch.float64)
    gamma = torch.rand((500, 2), generator=generator, dtype=torch.float64)
    gamma[::7] = 1.0
    gamma[1::7, 1] = 0.0
    problem = Waves()
    rates = Rates(alpha, gamma, problem.sizes)
    training = train(problem, start(), rates)
    go_back(problem, training, rates)
    assert wrong_bits(training.momentum.bits_of(), training.began) == 0 and training.momentum.is_home()


def test_the_hypergradient_walks_back_to_the_very_bits_too() -> None:
    problem, rates = Waves(), constant(400, 0.9)
    training = train(problem, start(), rates)
    _, dw, others = problem.objective(training.momentum.weights())
    hypergradient(problem, training, rates, dw, others)
    assert wrong_bits(training.momentum.bits_of(), training.began) == 0 and training.momentum.is_home()


def test_a_gradient_that_differs_by_one_bit_is_noticed() -> None:
    # Otherwise a wrong batch on the way back would go unseen.
    class Forgetful(Waves):
        def gradient(self, w: Tensor, t: int) -> tuple[Tensor, Tensor]:
            loss, g = super().gradient(w, t)
            self.calls = getattr(self, "calls", 0) + 1
            return loss, g + (2.0**-30 if self.calls == 250 else 0.0)

    problem, rates = Forgetful(), constant(200, 0.9)
    training = train(problem, start(), rates)
    go_back(problem, training, rates)
    assert not training.momentum.is_home()


def test_floats_miss_by_more_than_can_be_told() -> None:
    problem, rates = Waves(), constant(1000, 0.9)
    for exact in (True, False):
        training = train(problem, start(), rates, exact)
        go_back(problem, training, rates)
        error = float((training.momentum.weights() - start()).abs().nan_to_num(1e99).max())
        # Integers begin at the start rounded to 2^-50.
        assert error < 2.0**-49 if exact else error > 1e3
        assert (wrong_bits(training.momentum.bits_of(), training.began) == 0) == exact


def test_integers_train_as_floats_do() -> None:
    problem, rates = Waves(), constant(50, 0.9, 0.1)
    ends = [train(problem, start(), rates, exact).momentum for exact in (True, False)]
    assert isinstance(ends[0], ExactMomentum) and isinstance(ends[1], FloatMomentum)
    assert torch.allclose(ends[0].weights(), ends[1].weights(), atol=1e-8)
    assert torch.allclose(ends[0].velocity(), ends[1].velocity(), atol=1e-8)


def test_the_gradient_is_scaled_by_one_minus_momentum() -> None:
    momentum = ExactMomentum(torch.zeros(1, dtype=torch.float64), (1,))
    rates = Rates(torch.full((1, 1), 0.5).double(), torch.full((1, 1), 0.75).double(), (1,))
    momentum.forward(torch.ones(1, dtype=torch.float64), rates.at(0), 0)
    assert float(momentum.velocity()) == -0.25 and float(momentum.weights()) == -0.125


# --- the buffer  ----------


@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.98, 0.99])
def test_the_buffer_holds_log2_of_one_over_gamma_bits_a_step(gamma: float) -> None:
    steps = 3000
    rates = constant(steps, gamma)
    training = train(Waves(), start(), rates)
    n = round(gamma * DENOMINATOR)
    theory = math.log2(DENOMINATOR / n)
    assert rates.bits() == pytest.approx(theory, rel=1e-12)
    # Numbers that begin at 0 take log2(1 / (1 - gamma)) bits of start-up each time that they are put away.
    assert training.bits() / steps == pytest.approx(theory, rel=0.12)
    stored = 8 * (training.buffer_bytes() - 8 * WEIGHTS) / WEIGHTS / steps
    assert stored < 1.15 * theory


def test_momentum_one_needs_no_buffer() -> None:
    rates = constant(300, 1.0, 0.01)
    training = train(Waves(), start(), rates)
    assert training.bits() == 0.0 and rates.bits() == 0.0
    go_back(Waves(), training, rates)
    assert training.momentum.is_home()


def test_memory_does_not_grow_with_the_number_of_steps() -> None:
    def held(steps: int) -> int:
        """Bytes of all tensors at the end of a training, apart from what has one number for each step and group."""
        problem, rates = Waves(), constant(steps, 0.98)
        gc.collect()
        before = {id(x) for x in gc.get_objects() if issubclass(type(x), Tensor)}
        training = train(problem, start(), rates)
        gc.collect()
        after = [x for x in gc.get_objects() if issubclass(type(x), Tensor) and id(x) not in before]
        assert not training.momentum.weights().requires_grad
        return sum(x.nbytes for x in after if len(x.shape) == 0 or x.shape[0] != steps)

    few, many = held(60), held(1500)
    tape = 1500 * WEIGHTS * 4
    assert many - few < tape / 100


def test_momenta_are_rounded_to_fractions_that_can_be_undone() -> None:
    gamma = torch.tensor([0.0, 0.5, 0.9, 1.0], dtype=torch.float64)
    assert numerators(gamma).tolist() == [1, 32768, 58982, 65536]
    rates = Rates(torch.ones((1, 1), dtype=torch.float64), torch.full((1, 1), 0.9).double(), (1,))
    # Everywhere the fraction counts and not what it was rounded from.
    assert float(rates.gamma) == 58982 / 65536 == rates.at(0).gamma


# --- the range  ----------


def test_what_would_overflow_is_refused_with_advice() -> None:
    with pytest.raises(StepError) as caught:
        train(Waves(), start(), constant(200, 0.9, 50.0))
    assert "lower the step size" in one_sentence(caught.value) and "inner step" in str(caught.value)
    with pytest.raises(StepError) as caught:
        train(Waves(), 1e4 * start(), constant(3, 0.9))
    assert "initial weights" in one_sentence(caught.value)
    with pytest.raises(StepError):
        train(Waves(), 1e4 * start(), constant(3, 0.9), exact=False)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("exact", [True, False])
def test_gradients_that_are_no_numbers_are_refused(poison: float, exact: bool) -> None:
    class Poisoned(Waves):
        def gradient(self, w: Tensor, t: int) -> tuple[Tensor, Tensor]:
            loss, g = super().gradient(w, t)
            g[3] = poison if t == 5 else g[3]
            return loss, g

    with pytest.raises(StepError):
        train(Poisoned(), start(), constant(10, 0.9), exact)


def test_numbers_just_inside_the_range_are_kept_exactly() -> None:
    w = torch.tensor([4095.5, -4095.5, 2.0**-50, -(2.0**-50), 2.0**-51, -(2.0**-51)], dtype=torch.float64)
    momentum = ExactMomentum(w, (6,))
    # Rounded towards zero from both sides.
    assert momentum.weights().tolist() == [4095.5, -4095.5, 2.0**-50, -(2.0**-50), 0.0, 0.0]


def test_wrong_bits_count_the_sign_as_well() -> None:
    assert wrong_bits(torch.tensor([0, -1, 5]), torch.tensor([0, 0, 4])) == 65
