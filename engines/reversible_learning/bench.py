"""Time and memory of one hypergradient, here and with a tape; the main thread of ``lab bench engines``.

Measured is the hypergradient of the same network by the same schedule: on the way back, by a plain loop through which
automatic differentiation unrolls, and by torchopt and higher where they are installed. Both of these take step sizes and
momenta as constants, so what is asked of them is less: the derivative by the initial weights alone. Each measurement runs
in a process of its own, as the greatest memory of a process is never given back.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.bench import threads_of_the_lab
from engines.config import Preset, find_preset
from engines.reversible_learning.config import METHOD, ReversibleLearningSettings, widths_of
from engines.reversible_learning.momentum import Rates
from engines.reversible_learning.problems import Batches, Examples, Network, NetworkProblem
from engines.reversible_learning.reversal import hypergradient, train

STEPS = (100, 1000, 10_000)
"""Inner iterations that are measured."""

PIXELS = {"digits": 64, "mnist": 784, "fashion_mnist": 784}
"""Inputs; what is in them does not change the time, so random numbers are taken."""

CLASSES, EXAMPLES = 10, 1000
WARM_UP = 3
ROOM = 0.6
"""Share of the free memory that a tape may be expected to take; otherwise it is left out."""

LIMIT = 1800.0
"""Seconds after which a measurement is given up."""


class Bench:
    """The problem that all are measured on.

    Parameters
    ----------
    settings : ReversibleLearningSettings
        Its network, batch, step size and momentum.
    steps : int
    """

    def __init__(self, settings: ReversibleLearningSettings, steps: int) -> None:
        generator = torch.Generator().manual_seed(settings.seed)
        pixels = PIXELS.get(settings.data, 64)
        self.network = Network([pixels, *widths_of(settings.hidden), CLASSES])
        x = torch.rand((EXAMPLES, pixels), generator=generator, dtype=torch.float64)
        labels = torch.randint(CLASSES, (EXAMPLES,), generator=generator)
        y = functional.one_hot(labels, CLASSES).double()
        self.examples = Examples(x, y, 1.0 / EXAMPLES)
        self.batches = Batches(EXAMPLES, settings.batch or 100, settings.seed, 0, torch.device("cpu"))
        self.problem = NetworkProblem(self.network, self.examples, self.batches, self.examples)
        noise = torch.randn(self.problem.size, generator=generator, dtype=torch.float64)
        self.start = settings.init_scale * noise
        shape = (steps, len(self.network.groups))
        self.rates = Rates(
            torch.full(shape, settings.alpha, dtype=torch.float64),
            torch.full(shape, settings.gamma, dtype=torch.float64),
            self.problem.sizes,
        )
        self.alpha, self.gamma = settings.alpha, float(self.rates.gamma[0, 0])
        self.bits: dict[str, float] = {}

    def ours(self) -> tuple[Tensor, Tensor]:
        """Derivatives by the initial weights (P,) and the step sizes (T, G), on the way back."""
        training = train(self.problem, self.start, self.rates)
        self.bits = {
            "bits_per_weight_and_step": training.bits() / self.rates.steps,
            "theory_bits": self.rates.bits(),
            "stored_bits_per_weight_and_step": 8.0
            * training.buffer_bytes()
            / self.problem.size
            / self.rates.steps,
        }
        _, dw, others = self.problem.objective(training.momentum.weights())
        found = hypergradient(self.problem, training, self.rates, dw, others)
        self.bits["home"] = float(training.momentum.is_home())
        return found.start, found.alpha

    def plain(self) -> tuple[Tensor, Tensor]:
        """The same by automatic differentiation of the unrolled loop."""
        start = self.start.clone().requires_grad_()
        alpha, gamma = self.rates.alpha.clone().requires_grad_(), self.rates.gamma.clone().requires_grad_()
        group = torch.repeat_interleave(
            torch.arange(len(self.problem.sizes)), torch.tensor(self.problem.sizes)
        )
        w, v = start, torch.zeros_like(start)
        for t in range(self.rates.steps):
            loss = self.network.loss(w, self._batch(t))
            (g,) = torch.autograd.grad(loss, w, create_graph=True)
            gamma_t = gamma[t].index_select(0, group)
            v = gamma_t * v - (1 - gamma_t) * g
            w = w + alpha[t].index_select(0, group) * v
        loss = self.network.loss(w, self.examples)
        by_start, by_alpha, _ = torch.autograd.grad(loss, (start, alpha, gamma))
        return by_start, by_alpha

    def torchopt(self) -> tuple[Tensor, None]:
        """The derivative by the initial weights alone, by torchopt's differentiable SGD."""
        torchopt = importlib.import_module("torchopt")

        model = self._module()
        optimizer = torchopt.MetaSGD(model, lr=self.alpha, momentum=self.gamma, dampening=self.gamma)
        first = list(model.parameters())
        for t in range(self.rates.steps):
            x, y, weight = self._batch(t)
            optimizer.step(-(torch.log_softmax(model(x), -1) * y * weight).sum())
        x, y, weight = self.examples
        loss = -(torch.log_softmax(model(x), -1) * y * weight).sum()
        return _flat(torch.autograd.grad(loss, first)), None

    def higher(self) -> tuple[Tensor, None]:
        """As `torchopt`, by higher."""
        higher = importlib.import_module("higher")

        model = self._module()
        sgd = torch.optim.SGD(model.parameters(), self.alpha, self.gamma, self.gamma)
        with higher.innerloop_ctx(model, sgd, copy_initial_weights=False) as (inner, optimizer):
            for t in range(self.rates.steps):
                x, y, weight = self._batch(t)
                optimizer.step(-(torch.log_softmax(inner(x), -1) * y * weight).sum())
            x, y, weight = self.examples
            loss = -(torch.log_softmax(inner(x), -1) * y * weight).sum()
            return _flat(torch.autograd.grad(loss, list(model.parameters()))), None

    def _batch(self, t: int) -> Examples:
        index = self.batches.at(t)
        assert index is not None
        return Examples(self.examples.x[index], self.examples.y[index], 1.0 / len(index))

    def _module(self) -> nn.Sequential:
        layers: list[nn.Module] = []
        for number, (weight, bias) in enumerate(self.network.views(self.start)):
            linear = nn.Linear(weight.shape[0], weight.shape[1], dtype=torch.float64)
            with torch.no_grad():
                linear.weight.copy_(weight.T)
                linear.bias.copy_(bias)
            layers += [linear] if number == self.network.layers - 1 else [linear, nn.Tanh()]
        return nn.Sequential(*layers)


def _flat(grads: tuple[Tensor, ...]) -> Tensor:
    # PyTorch's linear layers hold their weights the other way round.
    return torch.cat([g.T.reshape(-1) for g in grads])


METHODS: dict[str, Callable[[Bench], tuple[Tensor, Tensor | None]]] = {
    "ours": Bench.ours,
    "plain": Bench.plain,
    "torchopt": Bench.torchopt,
    "higher": Bench.higher,
}


def measure(name: str, settings: ReversibleLearningSettings, steps: int, seconds: float) -> dict[str, Any]:
    """One implementation in this process: seconds of a hypergradient, and by how much memory grew."""
    # What libraries take once is no part of the measurement.
    METHODS[name](Bench(settings, WARM_UP))
    bench = Bench(settings, steps)
    before = _most_bytes()
    times: list[float] = []
    while not times or sum(times) < seconds:
        began = time.perf_counter()
        by_start, by_alpha = METHODS[name](bench)
        times.append(time.perf_counter() - began)
    result: dict[str, Any] = {
        "seconds": statistics.median(times),
        "peak_growth_bytes": _most_bytes() - before,
        "by_start": by_start[:: max(1, len(by_start) // 50)].tolist(),
        **bench.bits,
    }
    if by_alpha is not None:
        result["by_alpha"] = by_alpha.mean(1)[:: max(1, steps // 50)].tolist()
    return result


def _most_bytes() -> int:
    """The greatest resident memory that this process has had."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def bench(preset: Preset | None, seconds: float, rounds: int, peer: str) -> dict[str, Any]:
    """Seconds and memory for 100, 1,000 and 10,000 inner iterations, beside what keeps a tape.

    Parameters
    ----------
    preset : Preset or None
        Its network, batch and momentum; None for the demo's.
    seconds : float
        Of each measurement, at least; one hypergradient is taken in any case.
    rounds : int
        In each round the implementations take turns.
    peer : {"auto", "yes", "no"}
        Whether torchopt and higher are measured if they are installed. The plain loop comes with the lab, so only "no"
        leaves it out.

    Returns
    -------
    dict
        Plain data.
    """
    chosen = preset if preset is not None else find_preset(METHOD.presets, "schedules")
    settings = ReversibleLearningSettings.build({**chosen.values, "tie_layers": False})
    names = ["ours"]
    if peer != "no":
        names += ["plain", *(name for name in ("torchopt", "higher") if importlib.util.find_spec(name))]
    with threads_of_the_lab() as threads:
        measured = {}
        expected: dict[str, float] = {}
        for steps in STEPS:
            measured[str(steps)] = _bench_one(settings, steps, names, seconds, rounds, threads, expected)
    result: dict[str, Any] = {
        "seconds": seconds,
        "rounds": rounds,
        "trained_on": "cpu",
        "torch_threads": threads,
        "versions": {
            "torch": version("torch"),
            **{n: version(n) for n in names if n not in ("ours", "plain")},
        },
        "preset": chosen.id,
        "settings": {name: getattr(settings, name) for name in ("data", "hidden", "batch", "alpha", "gamma")},
        "peer": "the unrolled loop in plain PyTorch (engines.reversible_learning.bench)",
        "inner_steps": measured,
    }
    missing = [name for name in ("torchopt", "higher") if name not in names]
    if peer == "no":
        result["note"] = "Other implementations were left out, as --peer no asks."
    elif missing:
        result["note"] = f"Not installed, and left out: {', '.join(missing)}."
    return result


def _bench_one(
    settings: ReversibleLearningSettings,
    steps: int,
    names: list[str],
    seconds: float,
    rounds: int,
    threads: int,
    expected: dict[str, float],
) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    notes: dict[str, str] = {}
    for _ in range(rounds):
        for name in names:
            if name in notes:
                continue
            needed, free = expected.get(name, 0.0) * steps, ROOM * _free_bytes()
            if needed > free:
                notes[name] = (
                    f"Left out: its tape would take {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB may be used."
                )
                continue
            try:
                found.setdefault(name, []).append(_in_a_process(name, settings, steps, seconds, threads))
            except (subprocess.SubprocessError, ValueError, KeyError) as error:
                notes[name] = f"Left out: it failed or took too long ({type(error).__name__})."
                found.pop(name, None)
    result: dict[str, Any] = {}
    for name in names:
        if name in notes:
            result[name] = {"note": notes[name]}
            continue
        rows = found[name]
        growth = statistics.median(row["peak_growth_bytes"] for row in rows)
        result[name] = {
            "seconds": statistics.median(row["seconds"] for row in rows),
            "all_seconds": [row["seconds"] for row in rows],
            "peak_growth_mib": growth / 2**20,
        }
        for key in ("bits_per_weight_and_step", "theory_bits", "stored_bits_per_weight_and_step", "home"):
            if key in rows[0]:
                result[name][key] = rows[0][key]
        if name != "ours":
            expected[name] = max(expected.get(name, 0.0), growth / steps)
            ours = found["ours"]
            pairs = list(zip(ours, rows, strict=True))
            result[f"time_ratio_to_{name}"] = statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)
            result[f"memory_ratio_to_{name}"] = statistics.median(
                a["peak_growth_bytes"] / max(b["peak_growth_bytes"], 1) for a, b in pairs
            )
            result[f"largest_difference_to_{name}"] = _difference(ours[0], rows[0])
    return result


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """The largest difference of derivatives that both have, as a share of the largest of them."""
    worst = 0.0
    for key in ("by_start", "by_alpha"):
        if key in ours and key in theirs:
            most = max(abs(b) for b in theirs[key]) or 1.0
            worst = max(worst, max(abs(a - b) for a, b in zip(ours[key], theirs[key], strict=True)) / most)
    return worst


def _in_a_process(
    name: str, settings: ReversibleLearningSettings, steps: int, seconds: float, threads: int
) -> dict[str, Any]:
    request = {
        "name": name,
        "settings": settings.model_dump(),
        "steps": steps,
        "seconds": seconds,
        "threads": threads,
    }
    done = subprocess.run(
        [sys.executable, "-m", "engines.reversible_learning.bench"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _free_bytes() -> float:
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    # Where it cannot be told, a tape of two gigabytes is dared.
    return 2 * 2**30 / ROOM


def _main() -> None:
    request = json.loads(sys.stdin.read())
    torch.set_num_threads(request["threads"])
    settings = ReversibleLearningSettings.build(request["settings"])
    print(json.dumps(measure(request["name"], settings, request["steps"], request["seconds"])))


if __name__ == "__main__":
    _main()
