"""A saved policy comes back bit for bit, and a file that is none is refused with a sentence."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from engines.errors import DataError
from engines.trpo import saved
from engines.trpo.policies import CategoricalPolicy, GaussianPolicy
from engines.trpo.saved import SavedPolicy


def made(discrete: bool = True, layers: int = 1, units: int = 5) -> SavedPolicy:
    """A policy as a run would give it."""
    generator = torch.Generator().manual_seed(3)
    kind = CategoricalPolicy if discrete else GaussianPolicy
    policy = kind(4, 2, [units] * layers, generator=generator)
    return SavedPolicy(
        theta=policy.flat().numpy(),
        mean=np.array([0.1, -2.0, 3.0, 1e-9]),
        deviation=np.array([1.0, 2.0, 0.5, 1e-6]),
        environment="CartPole-v1",
        units=units,
        layers=layers,
        discrete=discrete,
        observations=4,
        actions=2,
        step=17,
        mean_return=123.456789,
    )


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_a_policy_comes_back_bit_for_bit(tmp_path: Path, discrete: bool, layers: int) -> None:
    policy, path = made(discrete, layers), tmp_path / "a.safetensors"
    saved.write(path, policy)
    again = saved.read(path)
    for field in dataclasses.fields(policy):
        assert np.array_equal(getattr(again, field.name), getattr(policy, field.name)), field.name
    assert again.theta.dtype == np.float32 and again.mean.dtype == np.float64
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"], "nothing is left beside it"


def test_a_return_that_is_not_known_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    saved.write(path, dataclasses.replace(made(), mean_return=None))
    assert saved.read(path).mean_return is None


def foreign(path: Path) -> None:
    safetensors.numpy.save_file({"theta": np.zeros(3, np.float32)}, path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def beheaded(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def other(**metadata: str) -> Callable[[Path], None]:
    """The same arrays under other metadata."""

    def change(path: Path) -> None:
        arrays = safetensors.numpy.load_file(path)
        with safetensors.safe_open(path, "np") as file:
            about = dict(file.metadata())
        safetensors.numpy.save_file(arrays, path, {**about, **metadata})

    return change


def replaced(name: str, values: np.ndarray) -> Callable[[Path], None]:
    """The same metadata over other arrays."""

    def change(path: Path) -> None:
        arrays = safetensors.numpy.load_file(path)
        with safetensors.safe_open(path, "np") as file:
            about = dict(file.metadata())
        safetensors.numpy.save_file({**arrays, name: values}, path, about)

    return change


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"theta": [1.0]}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda path: path.write_bytes(b""), "no saved policy", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\xff" * 500), "no saved policy", id="noise"),
        pytest.param(lambda path: path.write_text("theta = 1\n" * 50), "no saved policy", id="text"),
        pytest.param(pickled, "no saved policy", id="pickle"),
        pytest.param(foreign, "no saved policy", id="other tensors"),
        pytest.param(beheaded, "no saved policy", id="cut in its header"),
        pytest.param(truncated, "not whole", id="cut in its numbers"),
        pytest.param(other(version="2"), "version 2", id="other version"),
        pytest.param(other(units="many"), "does not say", id="units are no number"),
        pytest.param(other(units="0"), "does not say", id="no units"),
        pytest.param(other(layers="-1"), "does not say", id="negative layers"),
        pytest.param(other(environment=""), "does not say", id="no environment"),
        pytest.param(other(discrete="perhaps"), "does not say", id="neither kind"),
        pytest.param(other(units="6"), "damaged", id="other units"),
        pytest.param(other(discrete="false"), "damaged", id="other kind"),
        pytest.param(replaced("theta", np.zeros(3, np.float32)), "damaged", id="too few parameters"),
        pytest.param(replaced("mean", np.zeros((2, 2))), "damaged", id="a matrix for a mean"),
        pytest.param(replaced("mean", np.array([0, np.nan, 0, 0])), "not finite", id="not a number"),
        pytest.param(replaced("deviation", np.array([1.0, 0, 1, 1])), "not positive", id="scale of zero"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_with_a_sentence(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    path = tmp_path / "a.safetensors"
    saved.write(path, made())
    damage(path)
    with pytest.raises(DataError, match=says) as caught:
        saved.read(path)
    assert str(path) in str(caught.value) and str(caught.value).endswith(".")


def test_a_file_that_is_not_there_and_a_folder_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        saved.read(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="cannot be read"):
        saved.read(tmp_path)
    with pytest.raises(DataError, match="cannot be written"):
        saved.write(tmp_path / "none" / "a.safetensors", made())
