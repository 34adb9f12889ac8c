"""The playback: what it shows, what it leaves alone, and MuJoCo's renderer where it is fast, asked for, or missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from engines.figures import Bodies, Film, ImageGrid, Plot, check, plots_of
from engines.trpo import gl
from engines.trpo.config import TrpoSettings, WhatIf
from engines.trpo.engine import TrpoEngine
from engines.trpo.environments import Environment
from engines.trpo.playback import MOST_FRAMES, MOST_PICTURES, REMEMBERED, RENDERED, steps_shown
from engines.trpo.rollouts import play
from lab.runs.state import pack
from tests.engines.trpo.worlds import HERE, World

SMALL: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"batch_steps": 100},
    "Hopper-v5": {"batch_steps": 60, "units": 8},
    "Pendulum-v1": {"batch_steps": 200, "critic": True, "critic_epochs": 1},
}


class Painted(World):
    """Has no poses that anybody knows, but draws itself: brighter with every step."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.broken = False

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def render(self):
        return np.full((400, 600, 3), 20 * self.time, np.uint8)

    def over(self):
        return self.time >= 9


gymnasium.register("LabPainted-v0", Painted)


def make(environment="CartPole-v1", updates=0, **values) -> TrpoEngine:
    config = TrpoSettings.build({"environment": environment, **SMALL.get(environment, {}), **values})
    engine = TrpoEngine(config, torch.device("cpu"))
    for _ in range(updates):
        engine.step()
    return engine


def film(engine: TrpoEngine, name="playback"):
    figure = engine.figures([name])[name]
    assert check(figure) == []
    return figure


def bodies(plot: Plot) -> list[Bodies]:
    """The policies' bodies, without what stands on the ground."""
    return [mark for mark in plot.marks if isinstance(mark, Bodies) and mark.label]


@pytest.fixture(scope="module")
def cartpole() -> TrpoEngine:
    return make(updates=4)


@pytest.fixture(scope="module")
def hopper() -> TrpoEngine:
    return make("Hopper-v5", updates=2, length=60)


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch):
    """No test but those that mean to asks the driver."""
    monkeypatch.setattr(gl, "is_hopeless", lambda: True)


@pytest.fixture(autouse=True)
def at_rest(request: pytest.FixtureRequest):
    """What a test set for the eye is set back for the next."""
    yield
    for name in ("cartpole", "hopper"):
        if name in request.fixturenames:
            engine = request.getfixturevalue(name)
            engine.act(WhatIf(None))
            engine.apply({"ghosts": 1, "camera": "follow", "renderer": "auto", "episode": 0, "length": 60})


@pytest.mark.parametrize("length", [1, 2, 75, 149, 150, 151, 300, 2000])
@pytest.mark.parametrize("most", [MOST_FRAMES, MOST_PICTURES])
def test_a_film_has_its_first_and_last_step_and_not_too_many_between(length, most):
    steps = steps_shown(length, most)
    assert steps[0] == 0 and steps[-1] == length
    assert len(steps) <= most and (np.diff(steps) > 0).all()
    assert len(set(np.diff(steps[:-1]).tolist())) <= 1


@pytest.mark.parametrize("camera", ["follow", "fixed"])
def test_all_frames_have_the_same_marks(cartpole, hopper, camera):
    for engine in (cartpole, hopper):
        engine.apply({"camera": camera, "ghosts": 2})
        found = film(engine)
        kinds = {tuple(type(mark) for mark in plot.marks) for plot in plots_of(found)}
        shapes = {tuple(len(mark.outlines) for mark in bodies(plot)) for plot in plots_of(found)}
        assert len(kinds) == 1 and len(shapes) == 1
        assert len(found.frames) > 5


@pytest.mark.parametrize("name", list(SMALL))
def test_looking_does_not_change_training(name):
    seen, unseen = make(name), make(name)
    for number in range(2):
        for figure in seen.method.figure_names():
            assert check(seen.figures([figure])[figure]) == []
        if number:
            seen.act(WhatIf(1, 0.7))
            seen.figures(["playback", "actions", "step", "plane"])
            seen.act(WhatIf(None))
        assert seen.step() == unseen.step()
    assert pack(seen.state_dict()) == pack(unseen.state_dict())


def test_ghosts_are_earlier_policies_from_the_same_state_behind_the_newest(cartpole):
    for count in (0, 1, 3):
        cartpole.apply({"ghosts": count})
        found = film(cartpole)
        first = bodies(found.frames[0])
        assert [mark.role for mark in first] == ["past"] * count + ["model"]
        assert len({mark.label for mark in first}) == count + 1
        for ghost in first[:-1]:
            assert set(ghost.roles) == {"past"}
            for one, other in zip(ghost.outlines, first[-1].outlines, strict=True):
                np.testing.assert_array_equal(one, other)
        assert "after update 4" in first[-1].label


def test_the_newest_is_the_policy_in_training_and_a_ghost_is_what_its_name_says(cartpole):
    projector = cartpole.stage.projector
    recording = projector.record(cartpole.weights())
    episode = play(
        Environment("CartPole-v1"),
        cartpole.actor(),
        cartpole.seed_of("playback", 0),
        cartpole.config.length,
        sampled=False,
    )
    assert recording.actions.tobytes() == episode.actions.tobytes()
    assert recording.total == episode.total == len(recording)
    # Each pose is the state that the action answers, up to the float32 of observations.
    np.testing.assert_array_equal(recording.poses[:-1].astype(np.float32), episode.observations)


def test_the_corner_counts_the_reward(hopper):
    found = film(hopper)
    recording = hopper.stage.projector.record(hopper.weights())
    gained = np.concatenate([[0.0], np.cumsum(recording.rewards)])
    for frame in found.frames:
        step, length, reward = re.match(
            r"step (\d+) of (\d+).*, reward so far (-?[\d.]+)$", frame.note
        ).groups()
        assert int(length) == len(recording)
        assert float(reward) == pytest.approx(gained[int(step)], abs=0.06)
    last = found.frames[-1].note
    assert ("its end" in last) == recording.terminated
    assert f"return {recording.total:.0f}" in found.caption
    assert found.times[-1] == pytest.approx(0.008 * max(len(recording), steps_of(found)), rel=1e-6)


def steps_of(found: Film) -> int:
    """Of the longest episode in it, by its caption."""
    return max(int(number) for number in re.findall(r"in (\d+) steps", found.caption))


def test_what_if_is_shown_in_front_of_the_newest(cartpole):
    cartpole.act(WhatIf(3, 0.0))
    found = bodies(film(cartpole).frames[-1])
    assert [mark.role for mark in found] == ["past", "model"]
    assert "0.00 of step 3" in found[-1].label and "after update 4" in found[0].label
    # No step at all is the policy before it: that of the ghost "before update 3".
    report = cartpole.memory.nearest(3).report
    assert cartpole.what_if_weights().theta.tobytes() == report.theta_old.tobytes()
    short = cartpole.stage.projector.record(cartpole.what_if_weights())
    cartpole.act(WhatIf(3, 30.0))
    far = cartpole.stage.projector.record(cartpole.what_if_weights())
    assert far.middle.shape[1] == 2 and not np.array_equal(short.middle[:5], far.middle[:5])


def test_what_was_played_once_is_not_played_again(cartpole, monkeypatch):
    projector = cartpole.stage.projector
    one = projector.record(cartpole.weights())
    assert projector.record(cartpole.weights()) is one
    cartpole.apply({"episode": 5})
    other = projector.record(cartpole.weights())
    assert other is not one and not np.array_equal(other.poses[0], one.poses[0])
    cartpole.apply({"episode": 5, "actions_played": "sampled"})
    assert projector.record(cartpole.weights()) is not other
    cartpole.apply({"actions_played": "likeliest"})
    assert projector.record(cartpole.weights()) is other
    for number in range(100, 100 + 2 * REMEMBERED):
        cartpole.apply({"episode": number, "length": 10})
        projector.record(cartpole.weights())
    assert len(projector._kept) == REMEMBERED


def test_an_environment_draws_itself_where_nobody_knows_how():
    engine = make("LabPainted-v0", batch_steps=20, length=50)
    found = film(engine)
    shades = [int(frame.marks[0].images[0, 0, 0, 0]) for frame in found.frames]
    assert shades == [20 * int(time) for time in found.times]
    assert max(frame.marks[0].images.shape[1] for frame in found.frames) <= 200
    assert "without ghosts" in found.caption and found.time.unit == ""


@pytest.mark.parametrize(
    ("world", "said"),
    [
        ("Five", "picture"),
        ("Raises", "the wheel came off"),
        ("RaisesAtReset", "no such map"),
    ],
)
def test_where_nothing_can_be_drawn_the_picture_says_why(world, said):
    engine = make(f"{HERE}:Lab{world}-v0", batch_steps=20)
    for _ in range(2):
        found = film(engine)
        assert isinstance(found, Plot) and not found.marks and found.note
        if world != "Five":
            assert said in found.note
    actions = film(engine, "actions")
    assert isinstance(actions, Film) == (world == "Five")


def test_a_package_that_only_drawing_needs_is_named():
    engine = make("LabPainted-v0", batch_steps=20)
    environment = engine.stage.projector._open()

    def missing():
        raise gymnasium.error.DependencyNotInstalled(
            'pygame is not installed, run `pip install "gymnasium[x]"`'
        )

    environment.gym.unwrapped.render = missing
    note = film(engine).note
    assert "draw itself" in note and "pip install" in note and "mend" not in note


def test_the_actions_are_in_step_with_the_playback(cartpole, hopper):
    for engine in (cartpole, hopper):
        engine.apply({"ghosts": 0})
        played, acted = film(engine), film(engine, "actions")
        np.testing.assert_allclose(played.times, acted.times)
        assert played.time == acted.time
    recording = hopper.stage.projector.record(hopper.weights())
    panel = acted.frames[3].plots[1]
    ribbon, line = panel.marks[:2]
    np.testing.assert_allclose(line.y, recording.middle[:, 1])
    np.testing.assert_allclose(ribbon.high - ribbon.low, 2 * recording.deviation[1], rtol=1e-6)


# MuJoCo's renderer


class Told:
    """A probe that has its answer, or None."""

    def __init__(self, answer: gl.Answer | None):
        self.given = answer
        self.asked = 0

    def answer(self, wait: float = 0.0) -> gl.Answer | None:
        self.asked += 1
        return self.given


def tell(monkeypatch: pytest.MonkeyPatch, answer: gl.Answer | None) -> Told:
    told = Told(answer)
    monkeypatch.setattr(gl, "probe", lambda: told)
    monkeypatch.setattr(gl, "is_hopeless", lambda: False)
    return told


def paint(model, poses, view, centres=None):
    return np.full((len(poses), gl.HEIGHT, gl.WIDTH, 3), 7, np.uint8)


FAST, SLOW = gl.Answer(0.004), gl.Answer(0.1)
MISSING = gl.Answer(float("inf"), "there is no display")


@pytest.mark.parametrize(
    ("renderer", "answer", "pictures", "reason"),
    [
        ("auto", FAST, True, ""),
        ("auto", SLOW, False, ""),
        ("auto", MISSING, False, ""),
        ("auto", None, False, ""),
        ("gl", FAST, True, ""),
        ("gl", SLOW, True, ""),
        ("gl", MISSING, False, "does not work here, as there is no display"),
        ("gl", None, False, "still being tried"),
        ("vector", FAST, False, ""),
    ],
)
def test_pictures_are_drawn_where_they_are_fast_or_wanted_and_outlines_everywhere_else(
    monkeypatch, hopper, renderer, answer, pictures, reason
):
    monkeypatch.setattr(gl, "pictures", paint)
    told = tell(monkeypatch, answer)
    hopper.apply({"renderer": renderer, "episode": 1 if answer is SLOW else 0})
    found = film(hopper)
    assert bool(told.asked) == (renderer != "vector")
    assert isinstance(found.frames[0].marks[0], ImageGrid) == pictures
    if pictures:
        assert 2 < len(found.frames) <= MOST_PICTURES
        assert {frame.marks[0].images.shape for frame in found.frames} == {(1, 240, 320, 3)}
        assert {frame.marks[0].images.dtype for frame in found.frames} == {np.dtype(np.uint8)}
        assert "no ghosts" in found.caption
        # Where a picture takes long there are fewer of them.
        assert len(found.frames) <= RENDERED / answer.seconds + 1
        last = hopper.stage.projector.record(hopper.weights())
        assert found.times[-1] == pytest.approx(0.008 * len(last))
    else:
        notes = {frame.note.partition(". ")[2] for frame in found.frames}
        assert len(notes) == 1 and reason in notes.pop()


def test_a_driver_that_fails_in_the_middle_leaves_the_outlines(monkeypatch):
    def fail(*_: Any):
        raise RuntimeError("context lost")

    tell(monkeypatch, FAST)
    monkeypatch.setattr(gl, "pictures", fail)
    engine = make("Hopper-v5", renderer="gl", length=10)
    for _ in range(2):
        found = film(engine)
        assert bodies(found.frames[0]) and "context lost" in found.frames[0].note
    engine.apply({"renderer": "auto"})
    assert "context lost" not in film(engine).frames[0].note


def test_other_environments_know_no_renderer(monkeypatch, cartpole):
    told = tell(monkeypatch, FAST)
    cartpole.apply({"renderer": "gl"})
    assert bodies(film(cartpole).frames[0]) and not told.asked


def test_a_fixed_camera_stays_and_one_that_follows_looks_at_the_body(monkeypatch, hopper):
    looked: list[Any] = []

    def note(model, poses, view, centres=None):
        looked.append((poses, view, centres))
        return paint(model, poses, view)

    tell(monkeypatch, FAST)
    monkeypatch.setattr(gl, "pictures", note)
    for camera in ("follow", "fixed", "fixed"):
        hopper.apply({"camera": camera, "episode": 3})
        film(hopper)
    (poses, _, follows), (_, view, stays) = looked
    # The second coordinate of Hopper's integration state is its place: time comes first.
    np.testing.assert_allclose(follows[:, 0], poses[:, 1], atol=1e-9)
    assert len(np.unique(stays, axis=0)) == 1 and view["distance"] >= 3.0


def asked(code: str, patience: float = 60.0) -> gl.Answer:
    answer = gl.Probe([sys.executable, "-c", code], patience).answer(wait=90.0)
    assert answer is not None
    return answer


def test_the_child_is_believed_when_it_answers_and_given_up_when_it_does_not():
    assert asked('print(\'noise\'); print(\'{"seconds": 0.004, "problem": ""}\')').is_fast
    assert not asked('print(\'{"seconds": 0.04, "problem": ""}\')').is_fast
    assert asked('print(\'{"seconds": Infinity, "problem": "no EGL"}\')').problem == "no EGL"
    assert "crashed" in asked("import os; os._exit(11)").problem
    assert "crashed" in asked("pass").problem
    assert "could not be tried" in asked("print('what?')").problem
    assert "within 0 seconds" in asked("import time; time.sleep(60)", 0.3).problem
    missing = gl.Probe(["/there/is/no/python"]).answer(wait=90.0)
    assert missing is not None and "could not be tried" in missing.problem


def test_nothing_waits_for_the_child():
    probe = gl.Probe([sys.executable, "-c", "import time; time.sleep(60)"], 1.0)
    assert probe.answer() is None
    assert probe.answer(wait=90.0).problem


def test_the_child_has_the_variables_of_the_user_and_this_process_keeps_its_own(monkeypatch):
    assert gl.environment_of_child({"MUJOCO_GL": "osmesa"})["MUJOCO_GL"] == "osmesa"
    assert gl.environment_of_child({"A": "b"})["A"] == "b"
    chosen = gl.environment_of_child({}).get("MUJOCO_GL")
    assert chosen == ("egl" if sys.platform.startswith("linux") else None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    asked(f"import os; assert os.environ.get('MUJOCO_GL') == {chosen!r}; print('{{}}')")
    assert "MUJOCO_GL" not in os.environ


def test_no_opengl_is_loaded_where_outlines_are_drawn():
    # Without torch, which takes its time to load.
    code = (
        "import sys; import numpy as np; from engines.trpo import gl; from engines.trpo.scenes import scene_of\n"
        "from engines.trpo.environments import Environment; from engines.trpo.snapshots import MujocoSnapshots\n"
        "environment = Environment('Hopper-v5'); environment.reset(0)\n"
        "pose = MujocoSnapshots(environment).pose(environment)\n"
        "found = scene_of(environment).outlines(pose[None])\n"
        "answer = gl.Probe([sys.executable, '-c', 'print({})']).answer(wait=60.0)\n"
        "print(len(found[0]), 'OpenGL' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.split() == ["4", "False"], done.stderr


def test_the_child_itself_answers_whatever_this_machine_has():
    answer = gl.Probe().answer(wait=110.0)
    assert answer is not None
    assert bool(answer.problem) == (not np.isfinite(answer.seconds))
