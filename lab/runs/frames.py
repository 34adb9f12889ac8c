"""The pictures of one keyframe as bytes and back: safetensors with a JSON skeleton; any thread or process, numpy only.

All arrays of a type lie one behind the other in a single tensor, because a film has hundreds of small ones. The skeleton says
where each one ends and which figures they make; it can name nothing but the vocabulary of `engines.figures`.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from engines import figures as vocabulary
from engines.errors import RunError
from engines.figures import Axis, Figure, Film, Mark, Panels, Plot, check

_KINDS = {
    np.dtype(name): name
    for name in (
        *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64"),
    )
}
"""Types of arrays that pictures may have."""

TOLERANCE = 1e-6
"""float64 becomes float32 where that changes no value by more than this part of the array's range."""

MOST_PARTS = 200_000
"""Arrays, and parts of figures, that one file may hold; and figures nest no deeper than their types do."""
MOST_ALONG = 2**24
"""Entries that an array may have along one side."""

_MARKS = tuple(
    thing
    for thing in vars(vocabulary).values()
    if isinstance(thing, type) and issubclass(thing, Mark) and thing is not Mark
)
_MADE: Mapping[str, type] = {kind.__name__: kind for kind in (Plot, Panels, Film, *_MARKS)}
_NAMES = {kind: name for name, kind in _MADE.items()}
_DEFAULTS = {kind: {field.name: field.default for field in fields(kind)} for kind in (Axis, *_NAMES)}
_AS_THEY_ARE = (str, int, float, bool, type(None))


def pack(figures: Mapping[str, Figure]) -> bytes:
    """One keyframe's pictures as bytes; an array that several of them share is stored once.

    Raises
    ------
    TypeError
        When a figure holds what the vocabulary does not have: the engine's fault.
    """
    import safetensors.numpy

    places: dict[int, int] = {}
    arrays: list[np.ndarray] = []
    axes: list[Any] = []

    def strip(value: Any) -> Any:
        kind = type(value)
        if kind in _AS_THEY_ARE:
            return value
        if kind is tuple or kind is list:
            return [strip(part) for part in value]
        if isinstance(value, np.ndarray):
            if (place := places.get(id(value))) is None:
                place = places[id(value)] = len(arrays)
                arrays.append(value)
            return place
        if kind is Axis:
            if (place := places.get(id(value))) is None:
                place = places[id(value)] = len(axes)
                axes.append(values_of(value))
            return place
        if kind in _NAMES:
            return [_NAMES[kind], values_of(value)]
        if isinstance(value, np.generic):
            return strip(value.item())
        raise TypeError(f"a figure holds a {kind.__name__}, which no picture can hold")

    def values_of(part: Any) -> dict[str, Any]:
        defaults = _DEFAULTS[type(part)]
        return {
            name: strip(value)
            for name, value in vars(part).items()
            if value is not defaults.get(name, MISSING)
        }

    skeleton: dict[str, Any] = {"figures": {name: strip(figure) for name, figure in figures.items()}}
    groups: dict[str, list[np.ndarray]] = {}
    shapes = []
    for array in map(_smaller, arrays):
        name = _KINDS[array.dtype]
        shapes.append([name, *array.shape])
        groups.setdefault(name, []).append(array.reshape(-1))
    skeleton |= {"axes": axes, "arrays": shapes}
    tensors = {name: np.concatenate(group) for name, group in groups.items()}
    return safetensors.numpy.save(tensors, {"skeleton": json.dumps(skeleton)})


def _smaller(array: np.ndarray) -> np.ndarray:
    """The array in native order, as float32 where nobody could see the difference."""
    if array.dtype not in _KINDS:
        array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype not in _KINDS:
            raise TypeError(f"a figure holds an array of {array.dtype}, which no picture can hold")
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        single = array.astype(np.float32)
        finite = np.isfinite(array)
        values = array if finite.all() else array[finite]
        if not values.size:
            return single
        error = np.abs((single if values is array else single[finite]) - values).max()
        fits = error <= TOLERANCE * (float(values.max()) - float(values.min()))
    return single if fits else array


def unpack(data: bytes) -> dict[str, Figure]:
    """The pictures in one keyframe's bytes; their arrays are C-contiguous and read-only.

    What it refuses: fields or marks that this version does not know, fields of another type, arrays of other dimensions than
    the vocabulary says, and whatever `engines.figures.check` finds fault with.

    Raises
    ------
    RunError
        When the bytes hold anything else.
    """
    import safetensors
    import safetensors.numpy

    try:
        tensors = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        skeleton = json.loads(header["__metadata__"]["skeleton"])
        reader = _Reader(_cut(tensors, skeleton["arrays"]), skeleton["axes"])
        figures = {name: reader.figure(content) for name, content in skeleton["figures"].items()}
        for name, figure in figures.items():
            if faults := check(figure):
                raise ValueError(f"in '{name}', {faults[0]}")
    except (
        safetensors.SafetensorError,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"These pictures cannot be read ({reason[:300]}): they are damaged or of another version of the lab; choose "
            "another step."
        ) from None
    return figures


def _cut(tensors: Mapping[str, np.ndarray], shapes: list[list[Any]]) -> list[np.ndarray]:
    """The arrays that lie one behind the other in the tensors."""
    if len(shapes) > MOST_PARTS:
        raise ValueError("there are too many arrays")
    for kind, tensor in tensors.items():
        if tensor.ndim != 1 or _KINDS.get(tensor.dtype) != kind:
            raise ValueError("the arrays have other types")
        tensor.flags.writeable = False
    ends = dict.fromkeys(tensors, 0)
    arrays = []
    for kind, *shape in shapes:
        for side in shape:
            if type(side) is not int or not 0 <= side <= MOST_ALONG:
                raise ValueError("an array has no shape")
        start = ends[kind]
        end = ends[kind] = start + math.prod(shape)
        if end > tensors[kind].size:
            raise ValueError("the arrays are not whole")
        arrays.append(tensors[kind][start:end].reshape(shape))
    return arrays


class _Reader:
    """Makes figures from their skeleton: each field must hold what its type says."""

    def __init__(self, arrays: list[np.ndarray], axes: list[Any]) -> None:
        self.arrays = arrays
        self._left = MOST_PARTS
        self.axes = [self._make(Axis, values) for values in axes]

    def figure(self, content: Any) -> Figure:
        return self.made(content, (Plot, Panels, Film))

    def made(self, content: Any, kinds: tuple[type, ...]) -> Any:
        name, values = content
        kind = _MADE.get(name)
        if kind is None:
            raise ValueError(f"there is a {name!r}, which this version does not know")
        if not issubclass(kind, kinds):
            raise TypeError(f"a {name} stands where it cannot")
        made = self._make(kind, values)
        if isinstance(made, Mark | Film):
            _check_arrays(made)
        return made

    def _make(self, kind: type, values: Any) -> Any:
        self.count(1)
        readers, required = _fields_of(kind)
        if not required <= values.keys():
            raise ValueError(f"a {kind.__name__} has no '{min(required - values.keys())}'")
        if not values.keys() <= readers.keys():
            unknown = min(values.keys() - readers.keys())
            raise ValueError(f"a {kind.__name__} has '{unknown}', which this version does not know")
        return kind(**{field: readers[field](self, value) for field, value in values.items()})

    def count(self, parts: int) -> None:
        self._left -= parts
        if self._left < 0:
            raise ValueError("there are too many parts")


def _check_arrays(made: Mark | Film) -> None:
    """Refuse arrays that no hand can draw, where `engines.figures.check` trusts the engines."""
    for name, value in vars(made).items():
        if isinstance(value, np.ndarray) and value.ndim != 1 and (type(made).__name__, name) not in _NOT_FLAT:
            raise ValueError(f"'{name}' of a {type(made).__name__} has the shape {value.shape}")
    if isinstance(made, vocabulary.Graph) and made.edges.dtype.kind not in "iu":
        raise ValueError(f"a Graph has edges of {made.edges.dtype.name}")


_NOT_FLAT = {("Heatmap", "values"), ("ImageGrid", "images"), ("Graph", "positions"), ("Graph", "edges")}

_FieldReader = Callable[[_Reader, Any], Any]


@cache
def _fields_of(kind: type) -> tuple[Mapping[str, _FieldReader], frozenset[str]]:
    """How to read each field of a part of a figure, and the fields that it must have."""
    hints = get_type_hints(kind)
    assert is_dataclass(kind)
    required = frozenset(
        field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING
    )
    return {field.name: _field_reader(hints[field.name]) for field in fields(kind)}, required


def _field_reader(hint: Any) -> _FieldReader:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _choice(parts)
    if origin in (Union, types.UnionType):
        if type(None) in parts:
            return _optional(_field_reader(Union[tuple(part for part in parts if part is not type(None))]))  # noqa: UP007
        return lambda reader, value: reader.made(value, parts)
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return _sequence(_field_reader(parts[0]))
        return _fixed([_field_reader(part) for part in parts])
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint is Mark or hint in _NAMES:
        return lambda reader, value: reader.made(value, (hint,))
    raise AssertionError(f"no picture can hold a {hint}")


def _array(reader: _Reader, value: Any) -> np.ndarray:
    if type(value) is not int or value < 0:
        raise TypeError("an array is missing")
    return reader.arrays[value]


def _axis(reader: _Reader, value: Any) -> Axis:
    if type(value) is not int or value < 0:
        raise TypeError("an axis is missing")
    return reader.axes[value]


def _number(reader: _Reader, value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    float(value)  # or it is too large to be drawn
    return value


def _exactly(kind: type) -> _FieldReader:
    def read(reader: _Reader, value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value

    return read


def _choice(allowed: tuple[Any, ...]) -> _FieldReader:
    def read(reader: _Reader, value: Any) -> Any:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, allowed))}")
        return value

    return read


def _optional(inner: _FieldReader) -> _FieldReader:
    return lambda reader, value: None if value is None else inner(reader, value)


def _sequence(inner: _FieldReader) -> _FieldReader:
    def read(reader: _Reader, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        reader.count(len(value))
        return tuple(inner(reader, part) for part in value)

    return read


def _fixed(inner: list[_FieldReader]) -> _FieldReader:
    def read(reader: _Reader, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(inner):
            raise TypeError(f"{value!r} is no list of {len(inner)}")
        return tuple(part(reader, entry) for part, entry in zip(inner, value, strict=True))

    return read


_PLAIN: Mapping[Any, _FieldReader] = {
    np.ndarray: _array,
    Axis: _axis,
    float: _number,
    int: _exactly(int),
    bool: _exactly(bool),
    str: _exactly(str),
}
