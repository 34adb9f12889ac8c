"""Hypergradients equal automatic differentiation of the unrolled loop, and finite differences; float64, CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engines.reversible_learning.momentum import Rates
from engines.reversible_learning.problems import (
    Batches,
    Examples,
    Network,
    NetworkProblem,
    Problem,
    Toy,
)
from engines.reversible_learning.reversal import Hypergradient, hypergradient, train

CPU = torch.device("cpu")
STEPS = 12


@dataclass
class Case:
    """A problem, and what it is differentiated by."""

    problem: Problem
    start: Tensor
    rates: Rates


def examples(count: int, inputs: int, classes: int, seed: int, tasks: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    shape = (tasks, count) if tasks else (count,)
    x = torch.randn((*shape, inputs), generator=generator, dtype=torch.float64)
    y = functional.one_hot(torch.randint(classes, shape, generator=generator), classes).double()
    weight: float | Tensor = 1.0 / count
    if tasks:
        # Some examples count more than others, and some not at all.
        weight = torch.rand((*shape, 1), generator=generator, dtype=torch.float64) / count
        weight[:, -1] = 0.0
    return Examples(x, y, weight)


def rates(problem: Problem, seed: int = 5, alpha: float = 0.8) -> Rates:
    generator = torch.Generator().manual_seed(seed)
    shape = (STEPS, len(problem.groups))
    steps = alpha * (0.5 + torch.rand(shape, generator=generator, dtype=torch.float64))
    return Rates(
        steps, 0.3 + 0.6 * torch.rand(shape, generator=generator, dtype=torch.float64), problem.sizes
    )


def case(kind: str) -> Case:
    generator = torch.Generator().manual_seed(7)
    problem: Problem
    if kind == "toy":
        problem = Toy()
        return Case(problem, torch.tensor(Toy.START, dtype=torch.float64), rates(problem, alpha=0.0005))
    tasks = 3 if kind == "tasks" else 0
    widths = (4, 3) if kind in ("logistic", "data") else (4, 5, 3, 3)
    network = Network(widths, tasks)
    size = sum(group.size for group in network.groups)
    penalty = 0.05 * torch.rand(size, generator=generator, dtype=torch.float64)
    sharing = None
    if tasks:
        sharing = torch.eye(3, dtype=torch.float64) + 0.3 * torch.randn(
            (network.layers, 3, 3), generator=generator, dtype=torch.float64
        )
    batch = 0 if kind in ("data", "tasks") else 6
    problem = NetworkProblem(
        network,
        examples(8, 4, 3, 1, tasks),
        Batches(8, batch, 0, 3, CPU),
        examples(20, 4, 3, 2, tasks),
        None if kind == "network" else penalty,
        by_penalty=kind in ("logistic", "penalties", "data"),
        by_data=kind in ("data", "deep data"),
        sharing=sharing,
    )
    start = 0.5 * torch.randn(size, generator=generator, dtype=torch.float64)
    # On the grid of the integers, so that both kinds of arithmetic begin at the same place.
    return Case(problem, (start * 2**40).round() / 2**40, rates(problem))


KINDS = ("network", "logistic", "penalties", "data", "deep data", "tasks", "toy")


def ours(made: Case, exact: bool = True) -> tuple[float, Hypergradient]:
    training = train(made.problem, made.start, made.rates, exact)
    loss, dw, others = made.problem.objective(training.momentum.weights())
    return float(loss), hypergradient(made.problem, training, made.rates, dw, others)


# --- the same by automatic differentiation, written apart  ----------


def plain_loss(network: Network, w: Tensor, some: Examples, sharing: Tensor | None) -> Tensor:
    """Cross-entropy, task by task, with layers as they are usually written."""
    parts = w.split([group.size for group in network.groups])
    tasks = max(network.tasks, 1)
    total = w.new_zeros(())
    layers = list(zip(network.widths[:-1], network.widths[1:], strict=True))
    for task in range(tasks):
        a = some.x[task] if network.tasks else some.x
        for layer, (inputs, units) in enumerate(layers):
            matrix, bias = (
                parts[2 * layer].view(tasks, inputs * units),
                parts[2 * layer + 1].view(tasks, units),
            )
            if sharing is not None:
                matrix, bias = sharing[layer] @ matrix, sharing[layer] @ bias
            a = a @ matrix[task].view(inputs, units) + bias[task]
            if layer < len(layers) - 1:
                a = torch.tanh(a)
        y = some.y[task] if network.tasks else some.y
        each = functional.cross_entropy(a, y, reduction="none")
        weight = some.weight
        total = total + (each * (weight[task, :, 0] if isinstance(weight, Tensor) else weight)).sum()
    return total


def toy_loss(w: Tensor) -> Tensor:
    y, x = w
    return 800 * torch.sigmoid((100 * (x - y**2) ** 2 + (1 - y) ** 2 + 200 * y) / 500)


def unrolled(made: Case) -> dict[str, Tensor]:
    problem = made.problem
    leaves = {
        "start": made.start.clone(),
        "alpha": made.rates.alpha.clone(),
        "gamma": made.rates.gamma.clone(),
    }
    if isinstance(problem, NetworkProblem):
        if problem.by_penalty and problem.penalty is not None:
            leaves["penalty"] = problem.penalty.clone()
        if problem.by_data:
            leaves["data"] = problem.examples.x.clone()
        if problem.sharing is not None:
            leaves["sharing"] = problem.sharing.clone()
    for leaf in leaves.values():
        leaf.requires_grad_()

    def inner(w: Tensor, t: int) -> Tensor:
        if not isinstance(problem, NetworkProblem):
            return toy_loss(w)
        some = problem.examples._replace(x=leaves.get("data", problem.examples.x))
        index = problem.batches.at(t)
        if index is not None:
            some = Examples(some.x[index], some.y[index], 1 / len(index))
        loss = plain_loss(problem.network, w, some, leaves.get("sharing"))
        penalty = leaves.get("penalty", problem.penalty)
        return loss if penalty is None else loss + (penalty * w**2).sum()

    group = torch.repeat_interleave(torch.arange(len(problem.sizes)), torch.tensor(problem.sizes))
    w, v = leaves["start"], torch.zeros_like(leaves["start"])
    for t in range(made.rates.steps):
        (g,) = torch.autograd.grad(inner(w, t), w, create_graph=True)
        gamma = leaves["gamma"][t][group]
        v = gamma * v - (1 - gamma) * g
        w = w + leaves["alpha"][t][group] * v
    if isinstance(problem, NetworkProblem):
        loss = plain_loss(problem.network, w, problem.held, leaves.get("sharing"))
    else:
        loss = toy_loss(w)
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return {"loss": loss.detach(), **dict(zip(leaves, grads, strict=True))}


@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_automatic_differentiation_of_the_unrolled_loop(kind: str) -> None:
    made = case(kind)
    theirs = unrolled(made)
    loss, found = ours(made)
    assert loss == pytest.approx(float(theirs["loss"]), rel=1e-7)
    by = {"alpha": found.alpha, "gamma": found.gamma, "start": found.start, **found.others}
    assert by.keys() == theirs.keys() - {"loss"}
    for name, value in by.items():
        largest = float(theirs[name].abs().max())
        assert largest > 0, name
        assert float((value - theirs[name]).abs().max()) < 1e-5 * largest, name


@pytest.mark.parametrize("kind", ["penalties", "deep data", "tasks", "toy"])
def test_it_equals_finite_differences_of_the_integer_training(kind: str) -> None:
    made = case(kind)
    _, found = ours(made)
    problem = made.problem

    def slope(change: Callable[[float], Case], h: float) -> float:
        up, down = (
            float(c.problem.value(train(c.problem, c.start, c.rates).momentum.weights()))
            for c in (change(h), change(-h))
        )
        return (up - down) / (2 * h)

    def moved(tensor: Tensor, place: tuple[int, ...], h: float) -> Tensor:
        other = tensor.clone()
        other[place] += h
        return other

    checks: dict[str, tuple[Callable[[float], Case], float, float]] = {}
    place = (4, 0)
    old = made.rates
    checks["alpha"] = (
        lambda h: Case(problem, made.start, Rates(moved(old.alpha, place, h), old.gamma, old.sizes)),
        1e-4,
        float(found.alpha[place]),
    )
    # Momenta are fractions: the step is a whole number of them.
    checks["gamma"] = (
        lambda h: Case(problem, made.start, Rates(old.alpha, moved(old.gamma, place, h), old.sizes)),
        16 / 65536,
        float(found.gamma[place]),
    )
    checks["start"] = (
        lambda h: Case(problem, moved(made.start, (1,), h), old),
        1e-4,
        float(found.start[1]),
    )
    if isinstance(problem, NetworkProblem):
        network = problem
        if "penalty" in found.others:
            assert network.penalty is not None
            penalty = network.penalty
            checks["penalty"] = (
                lambda h: Case(replace(network, penalty=moved(penalty, (2,), h)), made.start, old),
                1e-4,
                float(found.others["penalty"][2]),
            )
        if "data" in found.others:
            pixel = (3, 1)
            some = network.examples
            checks["pixel"] = (
                lambda h: Case(
                    replace(network, examples=some._replace(x=moved(some.x, pixel, h))), made.start, old
                ),
                1e-4,
                float(found.others["data"][pixel]),
            )
        if network.sharing is not None:
            entry, sharing = (1, 0, 2), network.sharing
            checks["sharing"] = (
                lambda h: Case(replace(network, sharing=moved(sharing, entry, h)), made.start, old),
                1e-4,
                float(found.others["sharing"][entry]),
            )
    for name, (change, h, expected) in checks.items():
        # What the integers round limits how well differences can be taken.
        assert slope(change, h) == pytest.approx(expected, rel=2e-3, abs=1e-6), name


def test_floats_give_the_same_while_few_steps_are_undone() -> None:
    made = case("penalties")
    exact, floats = ours(made)[1], ours(made, exact=False)[1]
    assert torch.allclose(exact.alpha, floats.alpha, atol=1e-6)
    assert torch.allclose(exact.start, floats.start, atol=1e-6)


def test_no_step_at_all_leaves_the_gradient_of_the_objective() -> None:
    made = case("network")
    made.rates = Rates(torch.zeros_like(made.rates.alpha), made.rates.gamma, made.rates.sizes)
    _, dw, _ = made.problem.objective(made.start)
    _, found = ours(made)
    assert torch.equal(found.start, dw) and not found.gamma.any()
    assert found.alpha.any()


@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_meet_the_same_gradient_bit_by_bit(kind: str) -> None:
    made = case(kind)
    for t in (0, 5):
        g = made.problem.gradient(made.start, t)[1]
        again, _ = made.problem.products(
            made.start, torch.randn_like(made.start), t, made.problem.new_grads()
        )
        assert torch.equal(g, again)


def test_what_examples_with_no_weight_hold_does_not_matter() -> None:
    made = case("tasks")
    assert isinstance(made.problem, NetworkProblem)
    some = made.problem.examples
    x = some.x.clone()
    x[:, -1] = 100.0
    other = replace(made.problem, examples=some._replace(x=x))
    assert torch.allclose(
        other.gradient(made.start, 0)[1], made.problem.gradient(made.start, 0)[1], atol=1e-12
    )


def test_batches_are_the_same_in_any_order_and_differ_by_iteration_meta_iteration_and_seed() -> None:
    def drawn(seed: int, meta: int, order: range) -> dict[int, list[int]]:
        batches = Batches(1000, 5, seed, meta, CPU)
        found = {}
        for t in order:
            index = batches.at(t)
            assert index is not None
            found[t] = index.tolist()
        return found

    out = drawn(0, 0, range(200))
    assert out == drawn(0, 0, range(199, -1, -1))
    assert len({tuple(index) for index in out.values()}) == 200
    assert out != drawn(0, 1, range(200)) and out != drawn(1, 0, range(200))
    assert all(0 <= i < 1000 for index in out.values() for i in index)


def test_all_examples_stand_in_their_order() -> None:
    assert Batches(10, 0, 0, 0, CPU).at(3) is None


def test_the_toy_has_the_surface_of_its_picture() -> None:
    w = torch.tensor([0.3, -0.2], dtype=torch.float64)
    on_surface = float(Toy.surface(w[:1].numpy(), w[1:].numpy())[0])
    assert Toy().value(w) == pytest.approx(on_surface) == pytest.approx(float(toy_loss(w)))
    # Float reversal comes to places where a power would raise.
    Toy().products(torch.full((2,), 1e200, dtype=torch.float64), w, 0, {})
