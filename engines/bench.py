"""What the benchmarks of all engines share: turns that are taken in rounds, and ratios of the same round; main thread."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def threads_of_the_lab() -> Iterator[int]:
    """As many torch threads as a run has in the lab, where one core is left to the window; gives their number."""
    import torch

    threads = max(1, (os.cpu_count() or 2) - 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield threads
    finally:
        torch.set_num_threads(before)


def updates_in_turns(
    updates: Mapping[str, Callable[[], object]], seconds: float, rounds: int
) -> dict[str, list[float]]:
    """Updates per second of several implementations, in turns, so that what disturbs the machine disturbs all.

    Parameters
    ----------
    updates : mapping of name to callable
        One update each. The first of every turn is not counted.
    seconds : float
        Of each turn, at least.
    rounds : int
    """
    rates: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(rounds):
        for name, update in updates.items():
            update()
            rates[name].append(_rate(update, seconds))
    return rates


def _rate(update: Callable[[], object], seconds: float) -> float:
    count, began = 0, time.perf_counter()
    while True:
        update()
        count += 1
        now = time.perf_counter()
        if now - began >= seconds:
            return count / (now - began)


BURST = 16
"""Updates between two waits for the GPU: to wait for each would measure the wait."""

WARM_UP = 3
"""Updates before a capture, as torch asks for: what is set up at the first one cannot be captured."""


def captured_beside_eager(
    make: Callable[[torch.device], Callable[[], object]], seconds: float, rounds: int
) -> dict[str, Any]:
    """Updates on the GPU, launched kernel by kernel and as one captured graph; in turns.

    Parameters
    ----------
    make : callable
        Gives one update on a device. It must wait for nothing there, so it fetches no number and takes none from the host,
        and all that outlives it stays at its address: the same batch and noise each time, an optimiser that is capturable.
    seconds : float
        Of each turn, at least.
    rounds : int

    Returns
    -------
    dict
        Plain data: a note in place of numbers where there is no NVIDIA GPU, or where the update cannot be captured.
    """
    import torch

    if not torch.cuda.is_available():
        return {"note": "There is no NVIDIA GPU here, so nothing was captured."}
    device = torch.device("cuda")
    eager, update = make(device), make(device)
    try:
        graph = _captured(update)
    except RuntimeError as error:
        return {"note": f"The update could not be captured: {error}"}

    def burst(update: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(BURST):
                update()
            torch.cuda.synchronize()

        return run

    bursts = {"eager": burst(eager), "captured": burst(graph.replay)}
    rates = {
        name: [BURST * rate for rate in some]
        for name, some in updates_in_turns(bursts, seconds, rounds).items()
    }
    return {
        "gpu": torch.cuda.get_device_name(device),
        **told(rates),
        **ratios("ratio_to_eager", rates["captured"], rates["eager"]),
    }


def _captured(update: Callable[[], object]) -> torch.cuda.CUDAGraph:
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            update()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    return graph


def told(rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Median and all rounds of each implementation's updates per second."""
    return {
        name: {
            "updates_per_s": round(statistics.median(some), 3),
            "all_updates_per_s": [round(rate, 3) for rate in some],
        }
        for name, some in rates.items()
    }


def ratios(name: str, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """The median ratio and that of each round, as ``name`` and ``all_name``."""
    all_ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        name: round(statistics.median(all_ratios), 3),
        f"all_{name}": [round(ratio, 3) for ratio in all_ratios],
    }
