"""Pictures as bytes: every figure comes back as it was, and nothing else gets in."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from engines.errors import RunError
from engines.figures import (
    HIDDEN,
    ROLES,
    Axis,
    Bars,
    Bodies,
    Boxes,
    Figure,
    Film,
    Graph,
    Heatmap,
    Histogram,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
    VectorField,
    Words,
    check,
)
from lab.runs.frames import TOLERANCE, pack, unpack

# --- figures of every kind ------------------------------------------------------------------------------------------------

KINDS = [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32, np.uint64,
         np.bool_]  # fmt: skip
texts = st.text(max_size=5)
numbers = st.floats() | st.integers(-(2**60), 2**60)
finite = st.floats(-1e9, 1e9)


def arrays(*shape: int, kinds: list[Any] = KINDS) -> st.SearchStrategy[np.ndarray]:
    made = st.sampled_from(kinds).flatmap(lambda kind: nps.arrays(np.dtype(kind), shape))
    # Whatever lies in memory behind them.
    return made | made.map(lambda a: np.asfortranarray(a)) | made.map(lambda a: a[::-1] if a.ndim else a)


axes = st.just(HIDDEN) | st.builds(
    Axis,
    st.text(min_size=1, max_size=5),
    texts,
    st.sampled_from(["linear", "log"]),
    st.none() | st.tuples(numbers, numbers),
    st.none() | st.lists(st.tuples(numbers, texts), max_size=3).map(tuple),
)
dashes = st.sampled_from(["solid", "dash", "dot"])
common: dict[str, Any] = {
    "label": texts,
    "role": st.sampled_from(ROLES),
    "opacity": st.floats(0, 1) | st.just(1),
}


@st.composite
def marks(draw: st.DrawFn) -> Mark:
    n = draw(st.integers(0, 4))
    a = arrays(n)
    words = st.lists(texts, min_size=n, max_size=n).map(tuple)
    roles = st.lists(st.sampled_from(ROLES), min_size=n, max_size=n).map(tuple)
    more = st.none() | a
    side = st.integers(0, 3)
    m = draw(side)
    kinds: list[st.SearchStrategy[Mark]] = [
        st.builds(
            Lines, x=a, y=a, width=numbers, dash=dashes, points=st.booleans(), steps=st.booleans(), **common
        ),
        st.builds(Ribbon, x=a, low=a, high=a, **common),
        st.builds(
            Scatter,
            x=a,
            y=a,
            size=numbers,
            symbol=st.sampled_from(["circle", "cross", "square", "star"]),
            values=more,
            values_label=texts,
            **common,
        ),
        st.builds(VectorField, x=a, y=a, u=a, v=a, **common),
        st.builds(
            Rule, value=numbers, axis=st.sampled_from(["x", "y"]), dash=dashes, width=numbers, **common
        ),
        st.builds(Bars, x=a, height=a, width=numbers, base=numbers, **common),
        st.builds(Histogram, edges=arrays(n + 1), counts=a, **common),
        st.builds(
            Heatmap,
            values=arrays(n, m),
            extent=st.tuples(numbers, numbers, numbers, numbers),
            limits=st.none() | st.tuples(numbers, numbers),
            colors=st.sampled_from(["sequential", "diverging", "role"]),
            values_label=texts,
            **common,
        ),
        st.builds(
            ImageGrid,
            images=arrays(n, m, draw(side)) | arrays(n, m, draw(side), 3),
            columns=st.integers(0, 9),
            row_labels=words,
            column_labels=words,
            gap=side,
            **common,
        ),
        st.builds(Boxes, x=a, y=a, width=a, height=a, line_width=numbers, **common),
        st.builds(
            Graph,
            positions=arrays(n, 2),
            edges=st.integers(0, max(n - 1, 0)).map(
                lambda i: np.full((m if n else 0, 2), min(i, max(n - 1, 0)))
            ),
            node_values=more,
            edge_values=st.none() | arrays(m if n else 0),
            node_labels=words,
            **common,
        ),
        st.builds(
            Words,
            x=a,
            y=a,
            words=words,
            weights=more,
            anchor=st.sampled_from(["left", "center", "right"]),
            **common,
        ),
        st.builds(
            Bodies,
            outlines=st.lists(arrays(m, 2), min_size=n, max_size=n).map(tuple),
            roles=roles | st.just(()),
            **common,
        ),
    ]
    return draw(st.one_of(kinds))


plots = st.builds(
    Plot,
    st.lists(marks(), max_size=3).map(tuple),
    axes,
    axes,
    texts,
    texts,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    texts,
)
titles = st.lists(texts, max_size=2).map(tuple)
panels = st.builds(
    Panels,
    st.lists(plots, min_size=1, max_size=3).map(tuple),
    st.integers(1, 3),
    titles,
    titles,
    texts,
    texts,
    st.booleans(),
)


@st.composite
def films(draw: st.DrawFn) -> Film:
    frame, count = draw(plots | panels), draw(st.integers(1, 3))
    start = draw(st.integers(0, count - 1))
    return Film((frame,) * count, draw(arrays(count)), draw(axes), draw(texts), draw(texts), start)


figures = plots | panels | films()


def assert_same(a: Any, b: Any) -> None:
    """Equal in structure, and in every value that could be told apart."""
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray) and a.shape == b.shape
        assert b.flags.c_contiguous
        if a.dtype != np.float64:
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
            return
        assert b.dtype in (np.float32, np.float64)
        known = np.isfinite(a)
        assert np.array_equal(a[~known], b[~known], equal_nan=True)
        if known.any():
            extent = float(a[known].max()) - float(a[known].min())
            assert np.abs(a[known] - b[known]).max() <= TOLERANCE * extent
    elif is_dataclass(a):
        assert type(a) is type(b)
        for part in fields(a):
            assert_same(getattr(a, part.name), getattr(b, part.name))
    elif isinstance(a, tuple):
        assert isinstance(b, tuple) and len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert type(a) is type(b) and (a == b or (a != a and b != b))


@given(st.dictionaries(texts, figures, max_size=3))
@settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
def test_any_figure_comes_back(made: dict[str, Figure]):
    assert all(check(figure) == [] for figure in made.values())
    again = unpack(pack(made))
    assert list(again) == list(made)
    for name, figure in made.items():
        assert_same(figure, again[name])


SOME = np.linspace(0, 1, 5)


def line(x: np.ndarray = SOME, **more: Any) -> Plot:
    return Plot((Lines(x, SOME),), Axis("x"), Axis("y", **more))


def come_back(array: np.ndarray) -> np.ndarray:
    plot = unpack(pack({"a": Plot((Heatmap(array.reshape(1, -1), (0.0, 1.0, 0.0, 1.0)),), HIDDEN, HIDDEN)}))[
        "a"
    ]
    assert isinstance(plot, Plot) and isinstance(plot.marks[0], Heatmap)
    return plot.marks[0].values.reshape(-1)


@given(nps.arrays(np.float64, st.integers(1, 20), elements=st.floats(width=64)))
@example(1e9 + SOME)
@example(np.array([1e300, -1e300, 0.0]))
@example(np.array([np.nan, np.inf, -np.inf, 0.1]))
@example(np.full(3, 0.1))
@example(np.array([0.0, 1.0, 1e-320]))
def test_what_is_stored_smaller_looks_the_same(array: np.ndarray):
    assert_same(array, come_back(array))


def test_what_needs_no_precision_takes_half_the_bytes():
    assert come_back(np.linspace(-3, 5, 100)).dtype == np.float32
    assert come_back(1e9 + np.linspace(0, 1, 100)).dtype == np.float64
    rough, fine = (Plot((Heatmap(np.tile(a, (100, 100)), (0, 1, 0, 1)),)) for a in (SOME, 1e9 + SOME))
    assert len(pack({"a": rough})) < 0.6 * len(pack({"a": fine}))


def test_the_byte_order_of_a_file_is_no_matter():
    assert come_back(np.arange(5, dtype=">i4")).tolist() == [0, 1, 2, 3, 4]
    assert come_back(np.arange(5, dtype=">f8")).tolist() == [0, 1, 2, 3, 4]


def test_what_the_frames_of_a_film_share_is_stored_once_and_shared_again():
    x, y = np.random.default_rng(0).standard_normal((2, 5000))
    frames = tuple(
        Plot((Scatter(x, y), Lines(SOME, SOME * i)), Axis("x", limits=(0, i)), Axis("y")) for i in range(50)
    )
    shared = Film(frames, np.arange(50), Axis("t"))
    data = pack({"a": shared, "b": Plot((Scatter(x, y),), Axis("x"), Axis("y"))})
    assert len(data) < 100_000
    again = unpack(data)
    film_again, plot_again = again["a"], again["b"]
    assert isinstance(film_again, Film) and isinstance(plot_again, Plot)
    points = [frame.marks[0] for frame in film_again.frames if isinstance(frame, Plot)] + [
        plot_again.marks[0]
    ]
    assert all(
        isinstance(p, Scatter) and isinstance(points[0], Scatter) and p.x is points[0].x for p in points
    )
    assert film_again.frames[7].x == Axis("x", limits=(0, 7))  # type: ignore[union-attr]


def test_what_comes_back_cannot_be_written_to():
    plot = unpack(pack({"a": line()}))["a"]
    assert isinstance(plot, Plot) and isinstance(plot.marks[0], Lines)
    with pytest.raises(ValueError, match="read-only"):
        plot.marks[0].x[0] = 7


def test_the_same_figures_give_the_same_bytes():
    assert pack({"a": line(), "b": line()}) == pack({"a": line(), "b": line()})


def test_reading_needs_no_torch():
    code = (
        "import sys; from lab.runs.frames import unpack, pack; unpack(pack({})); assert 'torch' not in sys.modules; "
        "assert 'PySide6' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@dataclass(frozen=True)
class Glow(Lines):
    """A mark that is not of the vocabulary."""


@pytest.mark.parametrize(
    "figure",
    [
        Plot((Glow(SOME, SOME),)),
        line(np.array(["text"] * 5)),
        line(np.array([object()] * 5)),
        line(SOME + 1j),
        Plot(title=b"bytes"),  # type: ignore[arg-type]
        Plot(({1, 2},)),  # type: ignore[arg-type]
    ],
)
def test_what_no_picture_can_hold_is_a_fault_of_the_engine(figure: Figure):
    with pytest.raises(TypeError):
        pack({"a": figure})


# --- what a person may open -----------------------------------------------------------------------------------------------

SOUND = pack(
    {
        "film": Film((line(), line()), np.arange(2), Axis("t")),
        "panels": Panels((line(ticks=((0.5, "half"),)), Plot((Rule(0.5),), HIDDEN, HIDDEN)), 2),
    }
)


def refused(data: bytes, words: str | None = None) -> None:
    with pytest.raises(RunError, match=words) as caught:
        unpack(data)
    sentence = str(caught.value)
    assert sentence.startswith("These pictures cannot be read (") and sentence.endswith(
        "choose another step."
    )


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes):
    refused(data)


@given(st.integers(0, len(SOUND) - 1))
def test_a_part_is_refused(length: int):
    refused(SOUND[:length])


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(1, 255)), min_size=1, max_size=4))
@settings(max_examples=1000, deadline=None)
def test_flipped_bytes_give_pictures_or_a_sentence(flips: list[tuple[int, int]]):
    data = bytearray(SOUND)
    for position, mask in flips:
        data[position] ^= mask
    try:
        found = unpack(bytes(data))
    except RunError:
        return
    assert all(check(figure) == [] for figure in found.values())


def forged(change: Callable[[Any], object], tensors: dict[str, np.ndarray] | None = None) -> bytes:
    """A well-formed file whose skeleton was changed by somebody else."""
    header = json.loads(SOUND[8 : 8 + int.from_bytes(SOUND[:8], "little")])
    skeleton = json.loads(header["__metadata__"]["skeleton"])
    change(skeleton)
    body = safetensors.numpy.load(SOUND) if tensors is None else tensors
    return safetensors.numpy.save(body, {"skeleton": json.dumps(skeleton)})


def test_the_forger_can_write_a_sound_file():
    assert unpack(forged(lambda skeleton: None)).keys() == {"film", "panels"}


def plot_of(skeleton: Any) -> Any:
    return skeleton["figures"]["panels"][1]["plots"][0][1]


def mark_of(skeleton: Any) -> Any:
    return plot_of(skeleton)["marks"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: mark_of(s)[1].update(glow=1), "glow"),
        (lambda s: s["axes"][0].update(glow=1), "glow"),
        (lambda s: plot_of(s).update(glow=1), "glow"),
        (lambda s: mark_of(s).__setitem__(0, "Glow"), "Glow"),
        (lambda s: mark_of(s).__setitem__(0, "Mark"), "Mark"),
        (lambda s: mark_of(s).__setitem__(0, "__import__"), ""),
        (lambda s: mark_of(s)[1].pop("x"), "'x'"),
        (lambda s: mark_of(s)[1].update(x=99), ""),
        (lambda s: mark_of(s)[1].update(x=-1), ""),
        (lambda s: mark_of(s)[1].update(x=True), ""),
        (lambda s: mark_of(s)[1].update(x=[0.0, 1.0]), ""),
        (lambda s: mark_of(s)[1].update(x=None), ""),
        (lambda s: mark_of(s)[1].update(width="wide"), "wide"),
        (lambda s: mark_of(s)[1].update(width=10**400), ""),
        (lambda s: mark_of(s)[1].update(points=1), ""),
        (lambda s: mark_of(s)[1].update(dash="wavy"), "wavy"),
        (lambda s: mark_of(s)[1].update(dash=["dash"]), ""),
        (lambda s: mark_of(s)[1].update(role="boss"), "boss"),
        (lambda s: mark_of(s)[1].update(label=3), "3"),
        (lambda s: s["axes"][0].update(limits=[0.0]), ""),
        (lambda s: s["axes"][0].update(limits=[0.0, "1"]), ""),
        (lambda s: s["axes"][0].update(ticks=[[0.0]]), ""),
        (lambda s: s["axes"][0].update(ticks="text"), ""),
        (lambda s: s["axes"][0].update(label=""), "no label"),
        (lambda s: plot_of(s).update(x=77), ""),
        (lambda s: plot_of(s).update(x=-1), ""),
        (lambda s: plot_of(s).update(marks={}), ""),
        (lambda s: plot_of(s).update(marks=[["Plot", {}]]), "Plot"),
        (lambda s: s["figures"].update(a=mark_of(s)), "Lines"),
        (lambda s: s["figures"].update(a=["Axis", {}]), "Axis"),
        (lambda s: s["figures"].update(a=["Film", {}]), ""),
        (lambda s: s["figures"]["film"][1].update(frames=[["Film", {}]]), "Film"),
        (lambda s: s["figures"]["film"][1].update(frames=[]), "0 frames"),
        (lambda s: s["figures"]["film"][1].update(start=5), "starts"),
        (lambda s: s["figures"]["panels"][1].update(columns=2.0), ""),
        (lambda s: s["arrays"][0].__setitem__(1, -5), ""),
        (lambda s: s["arrays"][0].__setitem__(1, 2**62), ""),
        (lambda s: s["arrays"][0].__setitem__(1, 6), ""),
        (lambda s: s["arrays"][0].__setitem__(0, "object"), ""),
        (lambda s: s["arrays"].__setitem__(0, [s["arrays"][0][0], 5, 1]), "shape"),
        (lambda s: s["arrays"].__setitem__(0, [s["arrays"][0][0], 0, 2**40]), ""),
        (lambda s: s["figures"]["panels"][1].update(plots=[["Plot", {}]] * 300_000), "too many"),
        (lambda s: s["axes"][0].update(ticks=[[0.0, ""]] * 300_000), "too many"),
        (lambda s: s["arrays"].extend([["float32", 0]] * 300_000), "too many"),
        (lambda s: s.pop("axes"), ""),
        (lambda s: s.pop("arrays"), ""),
        (lambda s: s.update(figures=[]), ""),
        (lambda s: s.update(figures={"a": ["Plot"]}), ""),
    ],
)
def test_what_is_not_of_the_vocabulary_is_refused(change: Callable[[Any], Any], words: str):
    refused(forged(change), words or None)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"float32": np.zeros((4, 5), np.float32), "int64": np.zeros(2, np.int64)},
        {"float32": np.zeros(99, np.float16), "int64": np.zeros(2, np.int64)},
        {"complex64": np.zeros(99, np.complex64)},
    ],
)
def test_tensors_that_are_not_what_they_are_called_are_refused(tensors: dict[str, np.ndarray]):
    refused(forged(lambda skeleton: None, tensors))


def test_edges_that_are_no_indices_are_refused():
    graph = Graph(np.zeros((2, 2)), np.zeros((1, 2), np.float32))
    refused(pack({"a": Plot((graph,), HIDDEN, HIDDEN)}), "edges")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-3, 3)
        | st.floats()
        | st.sampled_from(["Plot", "Lines", "a"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["figures", "arrays", "axes", "marks", "x", "y", "a"]), inner, max_size=3
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_skeleton_gives_pictures_or_a_sentence(content: Any):
    for data in (
        safetensors.numpy.save({}, {"skeleton": json.dumps(content)}),
        forged(lambda skeleton: skeleton["figures"].update(a=content)),
        forged(lambda skeleton: skeleton.update(axes=content)),
    ):
        try:
            unpack(data)
        except RunError as error:
            assert str(error).endswith("choose another step.")


@pytest.mark.parametrize(
    "skeleton", ["", "{", "[" * 100_000, '{"figures":' * 100_000, "1" * 5000, "null", "3", "[]"]
)
def test_odd_skeletons_get_a_sentence(skeleton: str):
    refused(safetensors.numpy.save({}, {"skeleton": skeleton}))


def test_a_figure_that_the_vocabulary_finds_fault_with_is_refused():
    refused(pack({"a": Plot((Lines(np.zeros(3), np.zeros(4)),), Axis("x"), Axis("y"))}), "lengths")


class Bomb:
    """Unpickling this marks that it happened."""

    exploded = False

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    Bomb.exploded = True


def test_a_pickle_does_nothing():
    refused(pickle.dumps(Bomb()))
    refused(pickle.dumps({"a": Bomb()}, protocol=0))
    assert not Bomb.exploded
