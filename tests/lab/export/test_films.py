"""Films in every format: frames, times and layout, and their ends before the end."""

from __future__ import annotations

import gc
import json
import sys
import types
import weakref
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.figures import Panels, Plot
from lab import __version__
from lab.export import ExportError, Ranges, Style, export, export_film
from tests.lab.export.samples import FILM, MARKS, walk

STYLE = Style(width_in=3.0, height_in=2.0, dpi=50, font_size=7)


def frames_of(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Pixels and durations in milliseconds, as Pillow reads them."""
    pixels, waits = [], []
    with Image.open(path) as image:
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            image.load()
            pixels.append(np.asarray(image.convert("RGB")).astype(int))
            waits.append(float(image.info["duration"]))
    return pixels, waits


def place(pixels: np.ndarray) -> float:
    """Where on the page the orange body is."""
    orange = np.abs(pixels - np.array([0xE6, 0x9F, 0x00])).max(axis=2) < 60
    assert orange.any()
    return float(np.flatnonzero(orange.any(axis=0)).mean())


@pytest.mark.parametrize("format", ["gif", "webp", "apng"])
def test_frames_size_and_times(format: str, tmp_path: Path) -> None:
    path = export(FILM, tmp_path / f"walk.{format}", style=STYLE, fps=12, metadata={"seed": 3})
    pixels, waits = frames_of(path)
    assert [picture.shape for picture in pixels] == [(100, 150, 3)] * 5
    assert sum(waits) == pytest.approx(5000 / 12, abs=10.0)
    places = [place(picture) for picture in pixels]
    assert all(after > before + 5 for before, after in pairwise(places))
    # Only the body and the stamp above move: the axes stay where they are.
    assert np.abs(pixels[0][85:] - pixels[4][85:]).max() <= 8
    assert b'"seed": 3' in path.read_bytes() or b"&quot;seed&quot;: 3" in path.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_chosen_frames_in_their_order(tmp_path: Path) -> None:
    pixels, _ = frames_of(export(FILM, tmp_path / "walk.apng", style=STYLE, frames=[4, 0, 2]))
    first, second, third = (place(picture) for picture in pixels)
    assert second < third < first


def test_the_same_frame_again_is_a_frame(tmp_path: Path) -> None:
    still = replace(FILM, frames=(walk(0.0),) * 4, times=np.zeros(4))
    for format in ("gif", "apng"):
        pixels, _ = frames_of(export(still, tmp_path / f"still.{format}", style=STYLE))
        assert len(pixels) == 4


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    for format in ("gif", "webp", "apng"):
        path = export(FILM, tmp_path / f"one.{format}", style=STYLE, frames=[1])
        with Image.open(path) as image:
            assert image.size == (150, 100)


def test_curves_keep_their_axes_and_legend(tmp_path: Path) -> None:
    plot = MARKS["lines"].plot
    shorter = replace(plot, marks=tuple(replace(m, x=m.x[:5], y=m.y[:5]) for m in plot.marks))  # type: ignore[type-var, call-arg, attr-defined]
    pixels, _ = frames_of(
        export(
            replace(FILM, frames=(shorter, plot), times=np.arange(2.0)), tmp_path / "loss.apng", style=STYLE
        )
    )
    changed = np.abs(pixels[0] - pixels[1]).max(axis=2) > 8
    left = 30
    assert changed[:, left:].any() and not changed[20:, :left].any(), "names and numbers of the y axis stay"


def test_frames_are_drawn_one_at_a_time(tmp_path: Path) -> None:
    asked: list[int] = []

    def frames() -> Iterator[tuple[Plot | Panels, str]]:
        for number in range(1000):
            asked.append(number)
            yield walk(float(number)), str(number)

    class Cancelled(Exception):
        pass

    seen: list[tuple[int, int]] = []

    def progress(done: int, count: int) -> None:
        seen.append((done, count))
        if done == 2:
            raise Cancelled

    for format in ("gif", "webp", "apng"):
        asked.clear()
        seen.clear()
        ranges = Ranges.over([walk(0.0), walk(1000.0)])
        with pytest.raises(Cancelled):
            export_film(frames(), 1000, ranges, tmp_path / f"long.{format}", style=STYLE, progress=progress)
        assert len(asked) <= 3
        assert seen == [(1, 1000), (2, 1000)]
        assert list(tmp_path.iterdir()) == []


def test_progress_ends_at_the_end(tmp_path: Path) -> None:
    for format in ("gif", "webp", "apng"):
        seen: list[int] = []
        export(
            FILM,
            tmp_path / f"a.{format}",
            style=STYLE,
            progress=lambda done, count, seen=seen: seen.append(done),
        )  # type: ignore[misc]
        assert seen == [1, 2, 3, 4, 5]


def test_mp4_without_its_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ExportError, match=r"imageio-ffmpeg.*\[video\].*GIF"):
        export(FILM, tmp_path / "walk.mp4", style=STYLE)
    assert list(tmp_path.iterdir()) == []


def test_mp4_gets_even_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []

    def write_frames(path: str, size: tuple[int, int], **options: Any) -> Iterator[None]:
        assert options["fps"] == 24 and path.endswith(".mp4")
        with open(path, "wb") as file:
            # The least that is a film.
            file.write(b"\0\0\0\x08ftyp\0\0\0\x08moov")
            while True:
                frame = yield
                assert isinstance(frame, np.ndarray) and frame.dtype == np.uint8
                assert (frame.shape[1], frame.shape[0]) == size
                shapes.append(frame.shape)

    fake = types.ModuleType("imageio_ffmpeg")
    fake.write_frames = write_frames  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", fake)
    path = export(FILM, tmp_path / "walk.mp4", style=STYLE.updated(width_in=3.02, height_in=2.02), fps=24)
    assert shapes == [(102, 152, 3)] * 5
    assert path.stat().st_size > 16


def test_mp4_that_ffmpeg_does_not_finish_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(path: str, *_: Any, **__: Any) -> Iterator[None]:
        # As ffmpeg on a full disk: media, and neither a list of frames nor an error.
        Path(path).write_bytes(b"\0\0\0\x08ftyp\0\0\1\0mdat")
        while True:
            yield

    def broken(path: str, *_: Any, **__: Any) -> Iterator[None]:
        yield
        # As imageio-ffmpeg says it, with the whole command.
        raise OSError("[Errno 32] Broken pipe\n\nFFMPEG COMMAND:\nffmpeg -y")

    def missing(*_: Any, **__: Any) -> Iterator[None]:
        raise RuntimeError("No ffmpeg exe could be found.\nInstall ffmpeg")
        yield

    fake = types.ModuleType("imageio_ffmpeg")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", fake)
    for write_frames, words in (
        (cut_short, "disk is full"),
        (broken, "disk is full"),
        (missing, "cannot be started"),
    ):
        fake.write_frames = write_frames  # type: ignore[attr-defined]
        with pytest.raises(ExportError, match=words) as caught:
            export(FILM, tmp_path / "walk.mp4", style=STYLE)
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
        assert list(tmp_path.iterdir()) == []


def test_mp4_cancelled_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")

    def progress(done: int, count: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(FILM, tmp_path / "walk.mp4", style=STYLE, progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_only_a_few_frames_are_kept(tmp_path: Path) -> None:
    alive: list[weakref.ref[Plot | Panels]] = []
    most = 0

    def frames() -> Iterator[tuple[Plot | Panels, str]]:
        nonlocal most
        for number in range(6):
            frame = walk(float(number))
            alive.append(weakref.ref(frame))
            yield frame, str(number)
            del frame
            gc.collect()
            most = max(most, sum(reference() is not None for reference in alive))

    for format in ("gif", "webp", "apng"):
        alive.clear()
        export_film(frames(), 6, Ranges.over([walk(0.0), walk(12.0)]), tmp_path / f"a.{format}", style=STYLE)
        assert len(alive) == 6
    assert most <= 3


def test_a_film_of_frames_says_what_it_shows(tmp_path: Path) -> None:
    path = export_film(
        iter([(walk(0.0), "a"), (walk(1.0), "b")]),
        2,
        Ranges.over([walk(0.0), walk(1.0)]),
        tmp_path / "a.apng",
        style=STYLE,
    )
    with Image.open(path) as image:
        image.load()
        about = json.loads(image.info["lab"])
        assert image.n_frames == 2  # type: ignore[attr-defined]
    assert about["version"] == __version__ and about["alt"].startswith("Film of 2 frames. Walk.")


@pytest.mark.parametrize(
    ("format", "fps"),
    [("gif", 60.0), ("gif", 0.0), ("webp", -1.0), ("apng", float("nan")), ("apng", float("inf"))],
)
def test_speeds_that_a_format_cannot_hold(format: str, fps: float, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="frames a second"):
        export(FILM, tmp_path / f"walk.{format}", style=STYLE, fps=fps)
    assert list(tmp_path.iterdir()) == []


def test_films_of_nothing_and_of_stills(tmp_path: Path) -> None:
    empty = replace(FILM, frames=(), times=np.empty(0))
    for figure, format, words in (
        (empty, "gif", "no frames yet"),
        (empty, "pdf", "no frames yet"),
        (walk(0.0), "gif", "no time axis"),
    ):
        with pytest.raises(ExportError, match=words):
            export(figure, tmp_path / f"a.{format}", style=STYLE)
    with pytest.raises(ExportError, match="frames 0 to 4"):
        export(FILM, tmp_path / "a.gif", style=STYLE, frames=[9])
    assert list(tmp_path.iterdir()) == []


def test_what_made_it_can_be_read_from_an_apng(tmp_path: Path) -> None:
    path = export(FILM, tmp_path / "walk.png", "apng", style=STYLE, metadata={"run": "été", "step": 12})
    with Image.open(path) as image:
        image.load()
        about = json.loads(image.info["lab"])
    assert (about["run"], about["step"]) == ("été", 12)
    assert about["alt"].startswith("Walk. Film of 5 frames")
