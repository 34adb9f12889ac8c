"""The contract that every method keeps; engines run in a worker (thread or process) and import no Qt.

An engine is one run of one paper's method. The worker loop in `lab.runs.worker` calls it from a single thread: `step`
again and again, and between two steps `apply`, `act`, `figures`, `state_dict`. Everything that crosses that border is plain
data: numbers, texts, numpy arrays on the CPU, frozen dataclasses of them.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.config import Settings
from engines.figures import Figure
from engines.method import Action, Method

if TYPE_CHECKING:
    import torch


class Engine(abc.ABC):
    """One run of a method.

    Class attributes
    ----------------
    method : Method
        What can be known of it without torch: settings, presets, views.

    Notes
    -----
    Randomness comes only from generators that the engine owns and puts into its state, derived from ``config.seed`` with
    `stream`; so a run that is rewound repeats itself. Pictures draw from their own generator and never touch training's.
    """

    method: ClassVar[Method]

    def __init__(self, config: Settings, device: torch.device) -> None:
        self.config = config
        self.device = device

    @abc.abstractmethod
    def step(self) -> Mapping[str, float]:
        """Do one update and return its scalars (Python floats, units in their names or in the docstring)."""

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Take over live and display fields between two steps; ``changes`` are checked and hold no rebuild fields.

        The base class stores them in ``self.config``; engines that cache a field extend this.
        """
        self.config = self.config.updated(changes)

    def act(self, action: Action) -> Mapping[str, Any] | None:
        """Answer a request of the hand; the answer is plain data or None.

        Raises
        ------
        InputError
            When the request cannot be met, in one sentence.
        """
        raise TypeError(f"{type(self).__name__} does not know the action {type(action).__name__}")

    @abc.abstractmethod
    def figures(self, wanted: Collection[str]) -> dict[str, Figure]:
        """Compute the named pictures, and only those, from the present state; training's randomness is not touched."""

    @abc.abstractmethod
    def summary(self) -> dict[str, Any]:
        """Final scalars, evaluated with care (held-out data, all time steps); plain numbers and texts. May take seconds."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that a rewind needs: nested dicts of tensors, arrays, numbers, texts, None, lists of such."""

    @abc.abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, on any device."""

    def is_finite(self) -> bool:
        """Whether the state can be trained from: no NaN and no infinity in any of its tensors.

        Engines whose states hold them on purpose say so by extending this.
        """
        import torch

        def parts(value: Any) -> Iterator[torch.Tensor]:
            if isinstance(value, torch.Tensor):
                yield value
            elif isinstance(value, Mapping):
                for part in value.values():
                    yield from parts(part)
            elif isinstance(value, list | tuple):
                for part in value:
                    yield from parts(part)

        return all(
            bool(torch.isfinite(part).all()) for part in parts(self.state_dict()) if part.is_floating_point()
        )

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Let go of threads, simulations and files; called once, after the last of everything else."""

    def data_description(self) -> Mapping[str, str]:
        """Name, digest and licence of the data in use, for the run folder and the exported figures."""
        return {}


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator for one purpose, independent of the others of the same seed.

    Parameters
    ----------
    seed : int
        The run's seed.
    name : str
        What it is for: "initialisation", "data", "noise", "pictures" ...
    device : torch.device
    """
    import torch

    words = np.random.SeedSequence([seed, *name.encode()]).generate_state(2, np.uint64)
    generator = torch.Generator(device=device)
    generator.manual_seed(int(words[0] >> np.uint64(1)))
    return generator


def numpy_stream(seed: int, name: str) -> np.random.Generator:
    """As `stream`, for numpy."""
    return np.random.default_rng(np.random.SeedSequence([seed, *name.encode()]))
