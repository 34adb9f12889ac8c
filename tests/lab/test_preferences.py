"""What the window remembers: kept between starts, and never in the way of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.window.preferences import DEFAULTS, Preferences


def test_what_was_set_is_there_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "below" / "window.json"
    first = Preferences(path)
    assert first.get("theme") == "system" and first.complaint == ""
    first.set("theme", "dark")
    first.set("recent_commands", ["run.play"])
    first.set("narrow_list", True)
    first.paper("diffusion")["preset"] = "digits"
    first.save()
    again = Preferences(path)
    assert (again.get("theme"), again.get("recent_commands"), again.get("narrow_list")) == (
        "dark",
        ["run.play"],
        True,
    )
    assert again.paper("diffusion") == {"preset": "digits"}
    assert list(path.parent.iterdir()) == [path], "nothing is left beside the file"


def test_two_windows_share_nothing(tmp_path: Path) -> None:
    first = Preferences(tmp_path / "a.json")
    first.paper("diffusion")["preset"] = "digits"
    first.get("recent_commands").append("run.play")
    second = Preferences(tmp_path / "b.json")
    assert second.paper("diffusion") == {} and second.get("recent_commands") == []
    assert DEFAULTS["papers"] == {} and DEFAULTS["recent_commands"] == []


def test_a_damaged_file_is_set_aside_and_told(tmp_path: Path) -> None:
    path = tmp_path / "window.json"
    path.write_text('{"theme": "dark"', encoding="utf-8")
    preferences = Preferences(path)
    assert preferences.get("theme") == "system"
    assert "starts afresh" in preferences.complaint
    kept = [item for item in tmp_path.iterdir() if item != path]
    assert len(kept) == 1 and str(kept[0]) in preferences.complaint
    assert kept[0].read_text(encoding="utf-8") == '{"theme": "dark"'
    preferences.save()
    assert Preferences(path).complaint == ""


@pytest.mark.parametrize(
    "content",
    [
        {"theme": "purple", "where": "cluster", "device": "abacus", "narrow_list": "yes"},
        {"theme": 3, "where": None, "papers": [], "recent_commands": "all", "geometry": {}},
        {"theme": ["dark"], "where": {"a": 1}, "device": 1.5, "unknown": True},
    ],
)
def test_values_of_another_version_are_left_out(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "window.json"
    path.write_text(json.dumps({**content, "paper": "made"}), encoding="utf-8")
    preferences = Preferences(path)
    assert preferences.complaint == "" and preferences.get("paper") == "made"
    assert all(preferences.get(name) == value for name, value in DEFAULTS.items() if name != "paper")


def test_what_is_remembered_of_a_paper_is_a_table_whatever_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "window.json"
    path.write_text('{"papers": {"diffusion": 7}}', encoding="utf-8")
    preferences = Preferences(path)
    preferences.paper("diffusion")["preset"] = "digits"
    assert preferences.paper("diffusion") == {"preset": "digits"}


def test_a_disk_that_refuses_costs_only_the_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    preferences = Preferences(tmp_path / "file" / "window.json")
    preferences.set("theme", "dark")
    preferences.save()
    assert preferences.get("theme") == "dark"


def test_only_known_names_can_be_set(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Preferences(tmp_path / "window.json").set("colour", "red")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*DEFAULTS, "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.just(b"[" * 100_000)
)
def test_no_file_keeps_the_lab_from_opening(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "window.json"
    path.write_bytes(content)
    preferences = Preferences(path)
    for name, default in DEFAULTS.items():
        value = preferences.get(name)
        assert default is None or isinstance(value, type(default))
    assert isinstance(preferences.paper("diffusion"), dict)
    preferences.save()
    assert Preferences(path).complaint == ""
