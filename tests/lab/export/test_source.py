"""Where a run's figures come from: any step, and stretches of the time line as the frames of a film."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.errors import InputError
from engines.figures import Axis, Figure, Film, Lines, Panels, Plot, Scatter
from lab.export import source
from lab.runs.folder import RunFolder
from lab.runs.frames import pack
from tests.lab.made_runs import begin_run, toy_installed


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    with toy_installed():
        yield


def plot(height: float) -> Plot:
    x = np.arange(3.0)
    return Plot((Scatter(x, height * x),), Axis("Component"), Axis("Value"), "Position")


def film(height: float) -> Film:
    return Film((plot(height), plot(height / 2)), np.arange(2.0), Axis("Time"), "Path")


def a_run(path: Path, pictures: dict[int, dict[str, Figure]]) -> RunFolder:
    """A run of 40 steps with these pictures at these steps; none where they are empty."""
    writer = begin_run(path, steps=40, state="done")
    for step, figures in pictures.items():
        frame = pack(figures) if figures else b""
        writer.keyframe(step, b"state" * 9, "regular", frame=frame)
    writer.close()
    return RunFolder(path)


def heights(stretch: source.Stretch) -> list[float]:
    found = []
    for still, _ in stretch.frames():
        assert isinstance(still, Plot) and isinstance(still.marks[0], Scatter)
        found.append(float(still.marks[0].y[1]))
    return found


def test_a_stretch_has_a_frame_for_each_keyframe_in_it_and_limits_for_all(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", {41 + i: {"position": plot(10.0 - i)} for i in range(5)})
    made = source.stretch(run, "position", 42, 44)
    assert made.steps == (42, 43, 44) and len(made) == 3 and made.left_out == 0
    assert heights(made) == [9.0, 8.0, 7.0] == heights(made), "it can be read again"
    assert [stamp for _, stamp in made.frames()] == ["step 42", "step 43", "step 44"]
    low, high = made.ranges.y[0]
    assert low <= 0.0 and high >= 18.0, "the limits fit every frame"
    assert made.about["steps"] == [42, 44] and made.about["step"] == 44 and made.about["paper"] == "toy"


def test_a_stretch_leaves_out_what_cannot_be_shown_and_counts_it(tmp_path: Path) -> None:
    other = Panels((plot(1.0), plot(2.0)), 2)
    run = a_run(
        tmp_path / "r",
        {
            41: {"position": plot(1.0)},
            42: {},
            43: {"position": other},
            44: {"position": plot(3.0)},
            45: {"position": plot(4.0)},
            46: {"path": film(1.0)},
        },
    )
    record = next(k for k in run.keyframes()[0] if k.step == 44)
    (run.path / "frames" / record.frame).write_bytes(b"damaged")
    made = source.stretch(run, "position", 41)
    assert made.steps == (41, 45) and made.left_out == 4
    assert heights(made) == [1.0, 4.0]


def test_a_stretch_of_a_film_follows_one_of_its_frames(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", {41: {"path": film(4.0)}, 42: {"path": film(8.0)}})
    assert heights(source.stretch(run, "path", 41)) == [4.0, 8.0]
    assert heights(source.stretch(run, "path", 41, frame=1)) == [2.0, 4.0]
    assert {still.title for still, _ in source.stretch(run, "path", 41).frames()} == {"Position"}


def test_at_most_so_many_frames_spread_over_the_steps(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", {41 + i: {"position": plot(1.0 + i)} for i in range(21)})
    assert source.stretch(run, "position", 41, most=3).steps == (41, 51, 61)
    assert len(source.stretch(run, "position", 41, most=100)) == 21


def test_curves_grow_from_frame_to_frame(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", {})
    made = source.stretch(run, "loss", 10, 30, most=4)
    assert made.steps[0] > 10 and made.steps[-1] == 30 and len(made) == 4
    ends = []
    for still, stamp in made.frames():
        assert isinstance(still, Plot)
        (line,) = [mark for mark in still.marks if isinstance(mark, Lines)]
        ends.append(int(line.x[-1]))
        assert line.x[0] == 1 and stamp == f"step {ends[-1]}"
    assert tuple(ends) == made.steps
    assert made.ranges.x[0][1] >= 30


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", {41: {"position": plot(1.0)}})
    with pytest.raises(InputError, match="did you mean position"):
        source.stretch(run, "positon")
    with pytest.raises(InputError, match="no picture of 'position' in that stretch"):
        source.stretch(run, "position", 100, 200)
    with pytest.raises(InputError, match="no numbers for 'loss'"):
        source.stretch(run, "loss", 100, 200)
    with pytest.raises(InputError, match="goes forward"):
        source.stretch(run, "position", 50, 40)


def test_a_picture_that_vanishes_while_the_film_is_written_is_a_sentence(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", {41: {"position": plot(1.0)}, 42: {"position": plot(2.0)}})
    made = source.stretch(run, "position", 41)
    record = run.keyframes()[0][-1]
    (run.path / "frames" / record.frame).unlink()
    with pytest.raises(InputError, match="step 42 cannot be read any more"):
        list(made.frames())
