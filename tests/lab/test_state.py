"""Engine states as bytes: everything a rewind needs comes back bit for bit, and nothing else gets in."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.engine import numpy_stream, stream
from engines.errors import RunError
from lab.runs.state import pack, unpack

TORCH_TYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64,
]  # fmt: skip
NUMPY_TYPES = [
    np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32, np.uint64,
    np.bool_, np.complex64,
]  # fmt: skip
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape, kind = draw(shapes), draw(st.sampled_from(TORCH_TYPES))
    values = (torch.arange(int(np.prod(shape))) % 100).reshape(shape).to(kind)
    if kind.is_floating_point and values.numel():
        values.flatten()[0] = float("nan")
    # Views and transposed tensors are states too.
    return values.T if values.ndim == 2 and draw(st.booleans()) else values


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape, kind = draw(shapes), draw(st.sampled_from(NUMPY_TYPES))
    values = (np.arange(int(np.prod(shape))) % 100).reshape(shape).astype(kind)
    return values.T if draw(st.booleans()) else values


leaves = (
    tensors()
    | arrays()
    | st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
    | st.sampled_from(["__tensor__", "__array__", "__items__", "skeleton"])
)
keys = st.text(max_size=5) | st.sampled_from(["__tensor__", "__array__", "__items__"])
states = st.dictionaries(
    keys,
    st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(keys, inner, max_size=3)
            | st.dictionaries(st.integers(), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def assert_same(a: Any, b: Any) -> None:
    """Equal in type, structure and every bit that counts."""
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        as_bytes = (
            [t.detach().cpu().contiguous().clone().reshape(-1).view(torch.uint8) for t in (a, b)]
            if a.numel()
            else []
        )
        assert not as_bytes or torch.equal(*as_bytes)
    elif isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, Mapping):
        assert isinstance(b, dict) and list(a) == list(b)
        assert [type(key) for key in a] == [type(key) for key in b]
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert isinstance(b, list) and len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert type(a) is type(b) and (a == b or (a != a and b != b))


@given(states)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_state_comes_back(state: dict[str, Any]):
    assert_same(state, unpack(pack(state))[0])


def test_metadata_comes_back():
    assert unpack(pack({}, {"paper": "toy", "step": "3"}))[1] == {"paper": "toy", "step": "3"}


def test_generators_go_on_where_they_were():
    ours, theirs, legacy = (
        stream(3, "noise"),
        numpy_stream(3, "data"),
        np.random.Generator(np.random.MT19937(5)),
    )
    torch.randn(7, generator=ours), theirs.normal(size=7), legacy.normal(size=7)
    state = unpack(
        pack(
            {
                "torch": ours.get_state(),
                "numpy": theirs.bit_generator.state,
                "twister": legacy.bit_generator.state,
            }
        )
    )[0]
    expected = torch.randn(5, generator=ours), theirs.normal(size=5), legacy.normal(size=5)
    again, other, third = (
        stream(99, "else"),
        numpy_stream(99, "else"),
        np.random.Generator(np.random.MT19937(0)),
    )
    again.set_state(state["torch"])
    other.bit_generator.state = state["numpy"]
    third.bit_generator.state = state["twister"]
    assert torch.equal(torch.randn(5, generator=again), expected[0])
    assert (other.normal(size=5) == expected[1]).all() and (third.normal(size=5) == expected[2]).all()


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.Adam(p), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)]
)
def test_an_optimiser_goes_on_where_it_was(make: Any):
    def descend(parameter: torch.Tensor, optimiser: torch.optim.Optimizer, steps: int) -> torch.Tensor:
        for _ in range(steps):
            optimiser.zero_grad()
            (parameter**2).sum().backward()
            optimiser.step()
        return parameter.detach().clone()

    start = torch.linspace(-1, 1, 5)
    parameter = torch.nn.Parameter(start.clone())
    optimiser = make([parameter])
    descend(parameter, optimiser, 3)
    state = unpack(pack({"parameter": parameter, "optimiser": optimiser.state_dict()}))[0]
    expected = descend(parameter, optimiser, 3)

    other = torch.nn.Parameter(state["parameter"].clone())
    resumed = make([other])
    resumed.load_state_dict(state["optimiser"])
    assert torch.equal(descend(other, resumed, 3), expected)


def test_a_keyframe_is_a_copy():
    live = torch.zeros(3)
    data = pack({"a": live, "b": live, "c": live[1:]})
    live += 1
    state = unpack(data)[0]
    state["a"] += 5
    assert state["b"].tolist() == [0, 0, 0] and state["c"].tolist() == [0, 0] and live.tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", np.array(["text"]), np.array([object()])])
def test_what_no_keyframe_can_hold_is_a_fault_of_the_engine_and_said_at_once(value: Any):
    with pytest.raises(TypeError):
        pack({"value": value})


# --- what a person may open -----------------------------------------------------------------------------------------------

SOUND = pack(
    {"weights": torch.arange(12.0).reshape(3, 4), "count": 3, "more": {1: [np.arange(4), None, 2**100]}}
)


def open_it(data: bytes) -> None:
    """Either a state or one sentence, whatever the bytes."""
    try:
        state, metadata = unpack(data)
    except RunError as error:
        assert "keyframe" in str(error) and str(error).endswith(".")
    else:
        assert isinstance(state, dict) and isinstance(metadata, dict)


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes):
    with pytest.raises(RunError):
        unpack(data)


@given(st.integers(0, len(SOUND) - 1))
def test_a_part_of_a_keyframe_is_refused(length: int):
    with pytest.raises(RunError):
        unpack(SOUND[:length])


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=500, deadline=None)
def test_flipped_bytes_give_a_state_or_a_sentence(flips: list[tuple[int, int]]):
    data = bytearray(SOUND)
    for position, mask in flips:
        data[position] ^= mask
    open_it(bytes(data))


def with_skeleton(skeleton: str) -> bytes:
    """A well-formed file of the format whose skeleton was written by somebody else."""
    header = json.dumps({"__metadata__": {"skeleton": skeleton}}).encode()
    return struct.pack("<Q", len(header)) + header


plain = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(["0", "1"])


@given(
    st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["a", "__tensor__", "__array__", "__items__"]), inner, max_size=2
            )
        ),
        max_leaves=10,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_skeleton_gives_a_state_or_a_sentence(skeleton: Any):
    open_it(with_skeleton(json.dumps(skeleton)))


@pytest.mark.parametrize(
    "skeleton", ["", "{", "[" * 100_000, '{"a":' * 100_000, "1" * 5000, "3", "[]", "null", '"text"']
)
def test_odd_skeletons_get_a_sentence(skeleton: str):
    with pytest.raises(RunError):
        unpack(with_skeleton(skeleton))


class Bomb:
    """Unpickling this marks that it happened."""

    exploded = False

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    Bomb.exploded = True


def test_a_pickle_or_torch_file_does_nothing():
    torch_file = io.BytesIO()
    torch.save({"a": torch.zeros(3), "bomb": Bomb()}, torch_file)
    array_file = io.BytesIO()
    np.save(array_file, np.array([Bomb()], dtype=object), allow_pickle=True)
    for data in (
        pickle.dumps(Bomb()),
        pickle.dumps(Bomb(), protocol=0),
        torch_file.getvalue(),
        array_file.getvalue(),
    ):
        with pytest.raises(RunError):
            unpack(data)
    assert not Bomb.exploded
    pickle.loads(pickle.dumps(Bomb()))
    assert Bomb.exploded  # the bomb is one
    Bomb.exploded = False
