"""The vocabulary of settings: what a person types comes back as it was meant, and everything else gets one sentence."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.config import Preset, Settings, find_preset, setting
from engines.errors import InputError, SettingError


class Kinds(Settings):
    """One field of every kind."""

    count: int = setting(3, label="Count", effect="rebuild", minimum=-(10**18), maximum=10**18)
    free_count: int = setting(0, label="Free count", effect="live")
    rate: float = setting(
        0.1, label="Rate", effect="live", minimum=1e-6, maximum=10.0, scale="log", unit="1/s", symbol=r"\eta"
    )
    free_number: float = setting(1.0, label="Free number", effect="live")
    low_only: float = setting(1.0, label="Low only", effect="live", minimum=0.0, unit="bits")
    high_only: float = setting(1.0, label="High only", effect="live", maximum=2.0)
    bright: bool = setting(False, label="Bright", effect="display")
    schedule: Literal["fixed", "learned", "drawn_by_hand"] = setting(
        "fixed",
        label="Schedule",
        effect="rebuild",
        choices={"fixed": "Fixed", "learned": "Learned", "drawn_by_hand": "By hand"},
    )
    bare_choice: Literal["left_side", "right"] = setting("right", label="Side", effect="display")
    title: str = setting("", label="Title", effect="display")
    file: str = setting("", label="File", effect="rebuild", kind="path")
    curve: tuple[float, ...] = setting(
        (0.1, 0.2),
        label="Curve",
        effect="live",
        kind="curve",
        minimum=0.0,
        maximum=1.0,
        visible_when={"schedule": "drawn_by_hand"},
    )
    either: float = setting(
        0.0, label="Either", effect="live", visible_when={"schedule": ("fixed", "learned"), "bright": True}
    )
    limit: float | None = setting(None, label="Limit", effect="live", minimum=0.0)


line = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=30)
finite = st.floats(allow_nan=False, allow_infinity=False)
valid = {
    "count": st.integers(-(10**18), 10**18),
    "free_count": st.integers(-(2**63), 2**63 - 1),
    "rate": st.floats(1e-6, 10.0),
    "free_number": finite,
    "low_only": st.floats(0.0, allow_infinity=False),
    "high_only": st.floats(max_value=2.0, allow_infinity=False),
    "bright": st.booleans(),
    "schedule": st.sampled_from(["fixed", "learned", "drawn_by_hand"]),
    "bare_choice": st.sampled_from(["left_side", "right"]),
    "title": line,
    "file": line,
    "curve": st.lists(st.floats(0.0, 1.0), max_size=8).map(tuple),
    "either": finite,
    "limit": st.floats(0.0, allow_infinity=False) | st.none(),
    "seed": st.integers(0, 2**31 - 1),
    "steps": st.integers(1, 100_000_000),
}
any_settings = st.fixed_dictionaries({}, optional=valid).map(Kinds.build)


def test_every_field_has_a_strategy_here():
    assert set(valid) == set(Kinds.model_fields)


def assert_sentence(error: InputError, *needed: str) -> None:
    """One line that ends like a sentence and names what matters."""
    text = str(error)
    assert "\n" not in text and text.endswith((".", ")")), text
    for part in needed:
        assert part in text, text


# --- files and texts ------------------------------------------------------------------------------------------------------


@given(any_settings)
def test_toml_round_trip(settings: Kinds):
    assert Kinds.from_toml(settings.to_toml("kinds")) == settings


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_toml_holds_any_text(text: str):
    assert Kinds.from_toml(Kinds(title=text).to_toml()).title == text


def as_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(repr(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


@given(any_settings)
def test_set_text_round_trip(settings: Kinds):
    """``--set`` takes every value as it is written; spaces around the value are not part of it."""
    wanted = {name: value for name, value in settings.model_dump().items() if value is not None}
    texts = [f"{name}={as_text(value)}" for name, value in wanted.items()]
    parsed = Kinds.parse_assignments(texts)
    meant = {name: value.strip() if isinstance(value, str) else value for name, value in wanted.items()}
    assert parsed == meant
    assert {name: type(value) for name, value in parsed.items()} == {
        name: type(value) for name, value in meant.items()
    }
    assert Kinds.build(parsed).model_dump() == {**Kinds().model_dump(), **meant}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps=1e6", 1_000_000),
        ("steps=20_000", 20_000),
        ("steps = 7 ", 7),
        ("free-count=-3", -3),
        ("free_count=9007199254740993", 9007199254740993),  # more than a float can hold
        ("rate=1e-3", 1e-3),
        ("bright=yes", True),
        ("bright=off", False),
        ("bright=0", False),
        ("title=a=b", "a=b"),
        ("curve=0.5", (0.5,)),
        ("curve=0.25; 0.5 ,1", (0.25, 0.5, 1.0)),
    ],
)
def test_set_takes_what_people_write(text: str, value: Any):
    (found,) = Kinds.parse_assignments([text]).values()
    assert found == value and type(found) is type(value)


def test_the_last_assignment_wins():
    assert Kinds.parse_assignments(["rate=1", "rate=2"]) == {"rate": 2.0}


@pytest.mark.parametrize("text", ["rate", "=3", "", "   =1"])
def test_an_assignment_needs_a_name_and_a_value(text: str):
    with pytest.raises(SettingError) as caught:
        Kinds.parse_assignments([text])
    assert_sentence(caught.value, "name=value")


def test_toml_names_the_paper_and_may_leave_fields_out():
    assert 'paper = "kinds"' in Kinds().to_toml("kinds")
    assert Kinds.from_toml("[settings]\nrate = 2.0\n") == Kinds(rate=2.0)
    assert Kinds.from_toml("paper = 'kinds'\nrate = 2.0\n") == Kinds(rate=2.0)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("rate = ", "TOML"),
        ("\x00", "TOML"),
        ("a = " + "[" * 5000, "TOML"),
        ("settings = 3", "[settings]"),
        ("[settings]\nrats = 1.0", "rate"),
        ("[settings]\nrate = 'fast'", "rate='fast'"),
        ("[settings]\nrate = nan", "finite"),
        ("[settings]\nrate = 2020-01-01", "rate"),
        ("[settings]\ncurve = [0.1, 'x']", "curve"),
    ],
)
def test_a_bad_settings_file_gets_a_sentence(text: str, needed: str):
    with pytest.raises(SettingError) as caught:
        Kinds.from_toml(text)
    assert_sentence(caught.value, needed)


@given(st.text(max_size=60))
def test_any_text_as_a_settings_file_is_settings_or_a_sentence(text: str):
    try:
        assert isinstance(Kinds.from_toml(text), Kinds)
    except SettingError as error:
        assert str(error)


# --- bad values -----------------------------------------------------------------------------------------------------------

BAD = [
    ("count", "banana", "whole number"),
    ("count", "1.5", "whole number"),
    ("count", "", "whole number"),
    ("count", "nan", "whole number"),
    ("count", "1e400", "whole number"),
    ("count", "2e18", "out of range"),
    ("seed", "2147483648", "2147483647"),
    ("seed", "-1", "out of range"),
    ("steps", "0", "between 1 and"),
    ("rate", "banana", "finite number"),
    ("rate", "nan", "finite number"),
    ("rate", "inf", "finite number"),
    ("rate", "0", "between 1e-06 and 10 1/s"),
    ("rate", "10.5", "out of range"),
    ("free_number", "-inf", "finite number"),
    ("low_only", "-1", "at least 0 bits"),
    ("high_only", "3", "at most 2"),
    ("bright", "banana", "true or false"),
    ("schedule", "banana", "one of fixed, learned, drawn_by_hand"),
    ("bare_choice", "left side", "left_side"),
    ("curve", "0.1,banana", "numbers"),
    ("curve", "0.1,nan", "finite"),
    ("curve", "0.1,inf", "finite"),
    ("curve", "0.1,1.5", "between 0 and 1"),
    ("limit", "-1", "at least 0"),
]


@pytest.mark.parametrize(("name", "text", "needed"), BAD)
def test_every_bad_value_gets_one_sentence_that_names_field_value_and_remedy(
    name: str, text: str, needed: str
):
    with pytest.raises(SettingError) as caught:
        Kinds.parse_assignments([f"{name}={text}"])
    assert caught.value.field == name
    assert_sentence(caught.value, name, needed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 1.5), ("count", math.nan), ("count", None), ("count", [1]), ("rate", math.nan), ("rate", math.inf),
        ("rate", "x"), ("rate", None), ("rate", 11.0), ("rate", object()), ("bright", 7), ("bright", None), ("schedule", 3),
        ("schedule", "Fixed"), ("title", 3), ("title", None), ("file", b"\xff"), ("curve", 0.1), ("curve", (0.1, math.nan)),
        ("curve", (0.1, -0.5)), ("curve", "0.1"), ("curve", None), ("limit", math.nan),
    ],
)  # fmt: skip
def test_every_bad_plain_value_is_refused_alone_and_together(name: str, value: Any):
    for refuse in (
        lambda: Kinds.build({name: value}),
        lambda: Kinds().updated({name: value}),
        lambda: Kinds.checked(name, value),
    ):
        with pytest.raises(SettingError) as caught:
            refuse()
        assert caught.value.field == name
        assert_sentence(caught.value, name)


@given(
    st.sampled_from(sorted(Kinds.model_fields)),
    st.text(max_size=200) | st.floats() | st.none() | st.binary(max_size=5),
)
def test_any_value_at_all_is_stored_or_gets_a_sentence(name: str, value: Any):
    for text in (value, f"{value}"):
        try:
            stored = Kinds.build({name: text})
            assert Kinds.build(stored.model_dump()) == stored
        except SettingError as error:
            assert error.field == name
            assert_sentence(error, name)


def test_a_long_value_does_not_flood_the_sentence():
    with pytest.raises(SettingError) as caught:
        Kinds.build({"rate": "x" * 10_000})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "use", [lambda n: Kinds.build({n: 1}), lambda n: Kinds.parse_assignments([f"{n}=1"]), Kinds.spec]
)
def test_unknown_names_suggest_near_ones(use: Any):
    with pytest.raises(SettingError) as caught:
        use("shedule")
    assert caught.value.field == "shedule"
    assert_sentence(caught.value, "'shedule'", "did you mean schedule?")
    with pytest.raises(SettingError) as caught:
        use("qqqq")
    assert_sentence(caught.value, "'qqqq'", "rate")
    assert "did you mean" not in str(caught.value)


def test_a_rule_over_several_fields_keeps_its_own_sentence():
    class Ordered(Settings):
        low: float = setting(0.0, label="Low", effect="live")
        high: float = setting(1.0, label="High", effect="live")
        even: int = setting(2, label="Even", effect="live")

        @pydantic.field_validator("even")
        @classmethod
        def _is_even(cls, value: int) -> int:
            if value % 2:
                raise ValueError(f"even={value} is odd: give an even number.")
            return value

        @pydantic.model_validator(mode="after")
        def _in_order(self) -> Ordered:
            if self.low >= self.high:
                raise SettingError(f"low={self.low:g} is not below high={self.high:g}: lower it.", "low")
            return self

    with pytest.raises(SettingError) as caught:
        Ordered().updated({"low": 2.0})
    assert str(caught.value) == "low=2 is not below high=1: lower it." and caught.value.field == "low"
    with pytest.raises(SettingError) as caught:
        Ordered.build({"even": 3})
    assert str(caught.value) == "even=3 is odd: give an even number." and caught.value.field == "even"


# --- the object -----------------------------------------------------------------------------------------------------------


def test_settings_are_frozen_and_refuse_more_fields():
    settings = Kinds()
    with pytest.raises(pydantic.ValidationError):
        settings.rate = 2.0
    with pytest.raises(pydantic.ValidationError):
        Kinds(nonsense=1)
    changed = settings.updated({"rate": 2.0})
    assert settings.rate == 0.1 and changed.rate == 2.0 and type(changed) is Kinds


def test_a_bad_default_is_noticed():
    class Wrong(Settings):
        rate: float = setting(5.0, label="Rate", effect="live", maximum=1.0)

    with pytest.raises(SettingError):
        Wrong.build()


def test_a_default_that_is_no_choice_or_an_undeclared_field_is_noticed():
    class Bare(Settings):
        rate: float = 1.0

    with pytest.raises(TypeError):
        Bare.spec("rate")


def test_differing_gives_the_values_of_the_other():
    a, b = Kinds(), Kinds(rate=2.0, bright=True)
    assert a.differing(b) == {"rate": 2.0, "bright": True}
    assert b.differing(a) == {"rate": 0.1, "bright": False}
    assert a.differing(Kinds()) == {}


def test_effects():
    assert Kinds.effect_of(["rate", "bright", "count"]) == "rebuild"
    assert Kinds.effect_of(["bright", "rate"]) == "live"
    assert Kinds.effect_of(["bright", "title"]) == "display"
    assert Kinds.effect_of(["seed"]) == "rebuild"
    assert Kinds.effect_of(["steps"]) == "live"
    with pytest.raises(SettingError):
        Kinds.effect_of(["rate", "nonsense"])


def test_specs_tell_all_that_was_declared():
    specs = {spec.name: spec for spec in Kinds.specs()}
    assert list(specs) == [
        *(name for name in Kinds.model_fields if name not in ("seed", "steps")),
        "seed",
        "steps",
    ]
    kinds = {
        "count": "integer", "rate": "number", "bright": "switch", "schedule": "choice", "bare_choice": "choice",
        "title": "text", "file": "path", "curve": "curve", "limit": "number",
    }  # fmt: skip
    assert {name: specs[name].kind for name in kinds} == kinds
    rate = specs["rate"]
    assert (rate.minimum, rate.maximum, rate.scale, rate.unit, rate.symbol) == (
        1e-6,
        10.0,
        "log",
        "1/s",
        r"\eta",
    )
    assert (rate.default, rate.effect, rate.label) == (0.1, "live", "Rate")
    assert dict(specs["schedule"].choices)["drawn_by_hand"] == "By hand"
    assert dict(specs["bare_choice"].choices) == {"left_side": "left side", "right": "right"}


def test_visible_when():
    curve, either, rate = Kinds.spec("curve"), Kinds.spec("either"), Kinds.spec("rate")
    values = Kinds().model_dump()
    assert rate.is_visible(values) and rate.is_visible({})
    assert not curve.is_visible(values) and curve.is_visible({**values, "schedule": "drawn_by_hand"})
    assert not either.is_visible(values)  # bright is off
    assert either.is_visible({**values, "bright": True})
    assert either.is_visible({**values, "bright": True, "schedule": "learned"})
    assert not either.is_visible({**values, "bright": True, "schedule": "drawn_by_hand"})


def test_presets_are_found_with_hyphens_underscores_and_capitals():
    presets = (
        Preset("demo", "Demo", "Quick."),
        Preset("swiss-roll", "Swiss roll", "The paper's.", {"rate": 1.0}),
    )
    for name in ("swiss-roll", "swiss_roll", "Swiss_Roll", " swiss-roll "):
        assert find_preset(presets, name).id == "swiss-roll"
    with pytest.raises(SettingError) as caught:
        find_preset(presets, "swiss cheese")
    assert caught.value.field == "preset"
    assert_sentence(caught.value, "'swiss cheese'", "demo", "swiss-roll")


def test_setting_errors_cross_processes():
    import pickle

    error = pickle.loads(pickle.dumps(SettingError("rate=0 is out of range.", "rate")))
    assert (str(error), error.field) == ("rate=0 is out of range.", "rate")


def test_importing_the_vocabularies_loads_neither_torch_nor_qt():
    code = "import sys, engines.config, engines.figures, engines.method; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "engines" in loaded
    assert not {"torch", "PySide6", "pyqtgraph", "matplotlib", "sklearn", "scipy"} & set(loaded)
