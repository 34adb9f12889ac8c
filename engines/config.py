"""The vocabulary of settings: one declaration per field; used in every thread and process, imports no torch and no Qt.

A paper's settings are a subclass of `Settings` whose fields are declared with `setting`. From that declaration come the
form, the command line's ``--set``, the TOML file, the tooltips, the documentation, and the sentence for a bad value.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import pydantic
import tomli_w

from engines.errors import SettingError

Effect = Literal["live", "rebuild", "display"]
"""When a change takes effect: at the next step, only after a reset, or on the pictures alone."""

Kind = Literal["integer", "number", "switch", "choice", "text", "path", "curve"]

_EXTRA = "lab"


@dataclass(frozen=True)
class SettingSpec:
    """What a form, a command line and a manual need to know of one field.

    Attributes
    ----------
    name, label, help, symbol, unit, group : str
        ``symbol`` is the paper's own, in mathtext without dollar signs; ``unit`` is empty for pure numbers.
    kind : Kind
        ``curve`` is a sequence of numbers that is drawn by hand.
    default : Any
    minimum, maximum : float or None
        Both inclusive.
    step : float or None
        What one turn of a spin box adds; None lets the form choose from the range.
    scale : {"linear", "log"}
    choices : tuple of (value, label)
    effect : Effect
    visible_when : tuple of (field, tuple of values)
        The field matters only while every named field has one of the values; forms dim it otherwise.
    """

    name: str
    label: str
    kind: Kind
    default: Any
    effect: Effect
    help: str = ""
    symbol: str = ""
    unit: str = ""
    group: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    scale: Literal["linear", "log"] = "linear"
    choices: tuple[tuple[str, str], ...] = ()
    visible_when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def is_visible(self, values: Mapping[str, Any]) -> bool:
        """Whether the field matters under these values of the other fields."""
        return all(values.get(name) in allowed for name, allowed in self.visible_when)

    def range_text(self) -> str:
        """Allowed values in words, for tooltips and errors; empty when everything is allowed."""
        if self.choices:
            return "one of " + ", ".join(value for value, _ in self.choices)
        if self.kind == "switch":
            return "true or false"
        unit = f" {self.unit}" if self.unit else ""
        if self.minimum is not None and self.maximum is not None:
            return f"between {_number(self.minimum)} and {_number(self.maximum)}{unit}"
        if self.minimum is not None:
            return f"at least {_number(self.minimum)}{unit}"
        if self.maximum is not None:
            return f"at most {_number(self.maximum)}{unit}"
        return ""


def setting(
    default: Any,
    *,
    label: str,
    effect: Effect,
    help: str = "",
    symbol: str = "",
    unit: str = "",
    group: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    step: float | None = None,
    scale: Literal["linear", "log"] = "linear",
    choices: Mapping[str, str] | None = None,
    kind: Kind | None = None,
    visible_when: Mapping[str, Any] | None = None,
) -> Any:
    """Declare one field of a `Settings` subclass; see `SettingSpec` for the meaning of each part.

    ``choices`` maps each value of a ``Literal`` field to its label. ``visible_when`` maps a field to one value or a
    tuple of values. ``kind`` is needed only for ``"path"`` and ``"curve"``; the rest is read from the annotation.
    """
    when = tuple(
        (name, values if isinstance(values, tuple) else (values,))
        for name, values in (visible_when or {}).items()
    )
    extra: dict[str, Any] = {
        "label": label,
        "effect": effect,
        "help": help,
        "symbol": symbol,
        "unit": unit,
        "group": group,
        "step": step,
        "scale": scale,
        "choices": tuple((choices or {}).items()),
        "kind": kind,
        "visible_when": when,
        "minimum": minimum,
        "maximum": maximum,
    }
    bounds: dict[str, Any] = {}
    if kind != "curve":
        bounds = {"ge": minimum, "le": maximum}
    return pydantic.Field(default, **bounds, json_schema_extra={_EXTRA: extra})


class Declared(pydantic.BaseModel):
    """Values whose fields are declared with `setting`. Frozen: a change makes a new object through `updated`."""

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @pydantic.field_validator("*")
    @classmethod
    def _in_range(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        # pydantic checks the bounds of numbers; those of a curve hold for each of its numbers.
        if isinstance(value, tuple) and info.field_name:
            _check_curve(cls.spec(info.field_name), value)
        return value

    @classmethod
    def specs(cls) -> tuple[SettingSpec, ...]:
        """One `SettingSpec` per field, in their order."""
        return tuple(cls.spec(name) for name in cls.model_fields)

    @classmethod
    def spec(cls, name: str) -> SettingSpec:
        """The declaration of one field.

        Raises
        ------
        SettingError
            When there is no such field; the sentence names near misses.
        """
        if name not in cls.model_fields:
            raise SettingError(_unknown_field(name, cls.model_fields), name)
        info = cls.model_fields[name]
        extra = info.json_schema_extra
        if not isinstance(extra, dict) or _EXTRA not in extra:
            raise TypeError(f"field {name} of {cls.__name__} is not declared with setting()")
        declared: dict[str, Any] = dict(typing.cast(dict[str, Any], extra[_EXTRA]))
        kind, values = _kind_of(info.annotation)
        declared["kind"] = declared["kind"] or kind
        if values and not declared["choices"]:
            declared["choices"] = tuple((value, value.replace("_", " ")) for value in values)
        return SettingSpec(name=name, default=info.get_default(call_default_factory=True), **declared)

    @classmethod
    def build(cls, values: Mapping[str, Any] | None = None) -> Self:
        """Settings from plain values.

        Raises
        ------
        SettingError
            One sentence: what is wrong, why, what to do.
        """
        try:
            return cls(**dict(values or {}))
        except pydantic.ValidationError as error:
            raise _sentence(cls, error) from None

    def updated(self, changes: Mapping[str, Any]) -> Self:
        """A copy with these fields changed and everything validated again.

        Raises
        ------
        SettingError
        """
        return type(self).build({**self.model_dump(), **changes})

    def differing(self, other: Declared) -> dict[str, Any]:
        """The fields in which ``other`` differs, with the values of ``other``."""
        mine, theirs = self.model_dump(), other.model_dump()
        return {name: value for name, value in theirs.items() if name not in mine or mine[name] != value}

    @classmethod
    def effect_of(cls, names: Iterable[str]) -> Effect:
        """The strongest effect among the fields: rebuild, else live, else display."""
        effects = {cls.spec(name).effect for name in names}
        if "rebuild" in effects:
            return "rebuild"
        return "live" if "live" in effects else "display"

    @classmethod
    def parse_assignments(cls, assignments: Iterable[str]) -> dict[str, Any]:
        """Values of ``name=value`` texts, as ``--set`` and the share text use them.

        Curves are numbers separated by commas. The values are checked one by one here, and together by `build`.

        Raises
        ------
        SettingError
        """
        values: dict[str, Any] = {}
        for assignment in assignments:
            name, separator, text = assignment.partition("=")
            name = name.strip().replace("-", "_")
            if not separator or not name:
                raise SettingError(
                    f"{_shown(assignment)} is not a setting: write it as name=value, for example steps=1000."
                )
            values[name] = cls.parse_value(name, text.strip())
        return values

    @classmethod
    def parse_value(cls, name: str, text: str) -> Any:
        """The value of one field from text, checked against its own declaration.

        Raises
        ------
        SettingError
        """
        spec = cls.spec(name)
        value: Any = text
        if spec.kind == "curve":
            parts = [part for part in text.replace(";", ",").split(",") if part.strip()]
            try:
                value = tuple(float(part) for part in parts)
            except ValueError:
                raise SettingError(
                    f"{name}={_shown(text)} is not a list of numbers: write them with commas between, "
                    f"for example {name}=0.01,0.02.",
                    name,
                ) from None
        elif spec.kind == "integer":
            value = _whole_number(text)
        return cls.checked(name, value)

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """Check one value alone; returns it as the field stores it.

        Raises
        ------
        SettingError
        """
        spec, adapter = cls.spec(name), _adapter(cls, name)
        try:
            stored = adapter.validate_python(value)
        except pydantic.ValidationError as error:
            raise SettingError(_field_sentence(spec, value, error.errors()[0]["type"]), name) from None
        if spec.kind == "curve":
            _check_curve(spec, stored)
        return stored

    def to_toml(self, paper: str = "") -> str:
        """The settings as a TOML file; ``paper`` is written at its head."""
        # TOML has no None: a field that is left out keeps its default.
        values = {name: value for name, value in self.model_dump(mode="json").items() if value is not None}
        head: dict[str, Any] = {"paper": paper} if paper else {}
        return tomli_w.dumps({**head, "settings": values})

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Settings from the text that `to_toml` writes; missing fields keep their defaults.

        Raises
        ------
        SettingError
        """
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise SettingError(
                f"The settings are not valid TOML ({error}): correct that line and try again."
            ) from None
        values = document.get("settings", document)
        if not isinstance(values, dict):
            raise SettingError(
                "The settings file has no table [settings]: put the fields under that heading."
            )
        return cls.build({name: value for name, value in values.items() if name != "paper"})


class Settings(Declared):
    """Settings of one run."""

    seed: int = setting(
        0,
        label="Seed",
        effect="rebuild",
        group="Run",
        minimum=0,
        maximum=2**31 - 1,
        help="All randomness of the run (initial weights, data order, noise, pictures) comes from this number.",
    )
    steps: int = setting(
        100_000,
        label="Steps",
        effect="live",
        group="Run",
        minimum=1,
        maximum=100_000_000,
        scale="log",
        help="The run is done after this many updates; raise it and it goes on.",
    )

    @classmethod
    def specs(cls) -> tuple[SettingSpec, ...]:
        """One `SettingSpec` per field: the paper's own first, then those that every run has."""
        common = Settings.model_fields.keys()
        return tuple(sorted(super().specs(), key=lambda spec: spec.name in common))


@dataclass(frozen=True)
class Preset:
    """A named starting point of a paper's settings.

    Attributes
    ----------
    id, title, help : str
    values : mapping
        Fields that differ from the defaults.
    """

    id: str
    title: str
    help: str
    values: Mapping[str, Any] = field(default_factory=dict)


def find_preset(presets: Iterable[Preset], name: str) -> Preset:
    """The preset of that id; underscores and hyphens are the same.

    Raises
    ------
    SettingError
    """
    known = {preset.id: preset for preset in presets}
    wanted = name.strip().lower().replace("_", "-")
    if wanted in known:
        return known[wanted]
    raise SettingError(f"There is no preset {_shown(name)}: choose one of {', '.join(known)}.", "preset")


def near_misses(name: str, known: Iterable[str]) -> str:
    """`` (did you mean a or b?)`` for a name that is nearly one of the known ones, else an empty text."""
    close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _unknown_field(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"There is no setting {_shown(name)}{near_misses(name, names)}: the settings are {', '.join(sorted(names))}."


def _kind_of(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(annotation) if part is not type(None)]
        return _kind_of(inner[0])
    if origin is Literal:
        return "choice", typing.get_args(annotation)
    if origin is tuple:
        return "curve", ()
    if annotation is bool:
        return "switch", ()
    if annotation is int:
        return "integer", ()
    if annotation is float:
        return "number", ()
    return "text", ()


_ADAPTERS: dict[tuple[type, str], pydantic.TypeAdapter[Any]] = {}


def _adapter(cls: type[Declared], name: str) -> pydantic.TypeAdapter[Any]:
    key = (cls, name)
    if key not in _ADAPTERS:
        info = cls.model_fields[name]
        annotated: Any = (
            typing.Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
        )
        _ADAPTERS[key] = pydantic.TypeAdapter(annotated, config=pydantic.ConfigDict(allow_inf_nan=False))
    return _ADAPTERS[key]


def _whole_number(text: str) -> int | str:
    """The number that a text means, else the text; 1e6 and 1_000 are how people write large counts."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        number = float(text)
        if math.isfinite(number) and number.is_integer():
            return int(number)
    return text


def _shown(value: Any) -> str:
    """A value as it stands in a sentence: on one line, not too long, texts in quotes."""
    shown = repr(value) if isinstance(value, str) else " ".join(f"{value}".split())
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _number(value: float) -> str:
    """A bound in a sentence: short where that is exact."""
    short = f"{value:g}"
    return short if float(short) == value else f"{value}"


def _check_curve(spec: SettingSpec, values: Iterable[float]) -> None:
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    for value in values:
        if not low <= value <= high:
            raise SettingError(
                f"{spec.name} holds {value:g}, which is out of range: each number of {spec.label} must be "
                f"{spec.range_text()}.",
                spec.name,
            )


def _field_sentence(spec: SettingSpec, value: Any, reason: str) -> str:
    shown = _shown(value)
    allowed = spec.range_text()
    wanted = {
        "integer": "a whole number",
        "number": "a finite number",
        "switch": "true or false",
        "choice": "one of its choices",
        "curve": "a list of finite numbers",
        "path": "a path",
        "text": "a text",
    }[spec.kind]
    if spec.kind in ("choice", "switch"):
        return f"{spec.name}={shown} is not possible: {spec.label} must be {allowed}."
    if reason in ("greater_than_equal", "less_than_equal"):
        return (
            f"{spec.name}={shown} is out of range: {spec.label} must lie {allowed}."
            if "between" in allowed
            else (f"{spec.name}={shown} is out of range: {spec.label} must be {allowed}.")
        )
    hint = f" {allowed}" if allowed and spec.kind in ("integer", "number") else ""
    return f"{spec.name}={shown} is not {wanted}: {spec.label} takes {wanted}{hint}."


def _sentence(cls: type[Declared], error: pydantic.ValidationError) -> SettingError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return SettingError(_unknown_field(name, cls.model_fields), name)
    if name in cls.model_fields:
        if first["type"] == "value_error":
            return SettingError(str(first["ctx"]["error"]), name)
        value = first["input"]
        return SettingError(_field_sentence(cls.spec(name), value, first["type"]), name)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, SettingError):
        return cause
    return SettingError(str(cause) if cause else first["msg"])


__all__ = [
    "Declared",
    "Effect",
    "Kind",
    "Preset",
    "SettingSpec",
    "Settings",
    "find_preset",
    "near_misses",
    "setting",
]
