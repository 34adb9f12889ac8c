"""Where data sets are looked for, in tests: nowhere but in folders of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.data import fetched


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """LAB_DATA and the user's data folder, both empty, and no network."""
    named, user = tmp_path / "named", tmp_path / "user"
    named.mkdir()
    monkeypatch.setenv("LAB_DATA", str(named))
    monkeypatch.setattr(fetched, "data_folder", lambda: user)
    monkeypatch.setattr(fetched, "DEBIAN_FASHION_MNIST", tmp_path / "debian")

    def no_network(*arguments, **options):
        raise AssertionError("went over the network unasked")

    monkeypatch.setattr("requests.get", no_network)
    return named, user
