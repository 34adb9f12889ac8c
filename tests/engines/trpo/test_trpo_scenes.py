"""Outlines against densely sampled bodies; where things are in each scene, and from which side it is seen."""

from __future__ import annotations

import math
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

from engines.figures import Lines, Scatter
from engines.trpo.environments import Environment
from engines.trpo.scenes import MujocoScene, scene_of
from engines.trpo.snapshots import AttributeSnapshots, MujocoSnapshots

EULER = "25 -40 70"
MIDDLE = "0.3 -0.2 0.5"
SIDE, ABOVE = '<joint type="free"/>', '<joint type="slide" axis="0 1 0"/>'
VERTICES = np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.3, 0], [0.1, 0.1, 0.4]])


def scene_with(geometry: str, joint: str, assets: str = "") -> tuple[MujocoScene, mujoco.MjData, np.ndarray]:
    """A scene of one geometry, its data, and the pose in which the model starts."""
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><asset>{assets}</asset><worldbody><body>{joint}{geometry}</body></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    pose = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, pose, mujoco.mjtState.mjSTATE_INTEGRATION)
    return MujocoScene(SimpleNamespace(model=model, dt=0.01)), data, pose


def surface(kind: str, size: np.ndarray) -> np.ndarray:
    """Points all over a body, in its own frame."""
    generator = np.random.default_rng(0)
    ball = generator.standard_normal((60_000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    if kind == "sphere":
        return ball * size[0]
    if kind == "ellipsoid":
        return ball * size
    if kind == "capsule":
        return ball * size[0] + np.sign(ball[:, 2:]) * [0.0, 0.0, size[1]]
    if kind == "box":
        return np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * size
    turn = np.linspace(0.0, 2 * math.pi, 5000)
    rim = np.stack([size[0] * np.cos(turn), size[0] * np.sin(turn), np.full(5000, size[1])], 1)
    return np.concatenate([rim, rim * [1, 1, -1]])


def support(points: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return (directions @ points.T).max(1)


DIRECTIONS = np.stack([np.cos(np.linspace(0, 2 * np.pi, 361)), np.sin(np.linspace(0, 2 * np.pi, 361))], 1)


@pytest.mark.parametrize(("joint", "axes"), [(SIDE, [0, 2]), (ABOVE, [0, 1])], ids=["side", "above"])
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("sphere", [0.2]),
        ("capsule", [0.1, 0.4]),
        ("box", [0.1, 0.25, 0.4]),
        ("cylinder", [0.2, 0.3]),
        ("ellipsoid", [0.1, 0.25, 0.4]),
    ],
)
def test_an_outline_is_the_convex_hull_of_the_projected_body(kind, size, joint, axes):
    numbers = " ".join(map(str, size))
    scene, data, pose = scene_with(
        f'<geom type="{kind}" size="{numbers}" pos="{MIDDLE}" euler="{EULER}"/>', joint
    )
    ((outline,),) = scene.outlines(pose[None])
    body = data.geom_xpos[0] + surface(kind, np.array(size)) @ data.geom_xmat[0].reshape(3, 3).T
    truth, drawn = support(body[:, axes], DIRECTIONS), support(outline.astype(float), DIRECTIONS)
    # Nowhere outside, and inside by no more than the corners of a round body are cut off.
    largest = np.abs(body - data.geom_xpos[0]).max()
    assert (drawn - truth).max() < 0.002
    assert (truth - drawn).max() < 0.015 * largest + 2e-3


def test_the_outline_of_a_mesh_is_the_hull_of_its_corners():
    text = " ".join(map(str, VERTICES.reshape(-1)))
    scene, _, pose = scene_with(
        '<geom type="mesh" mesh="shape"/>', SIDE, f'<mesh name="shape" vertex="{text}"/>'
    )
    ((outline,),) = scene.outlines(pose[None])
    np.testing.assert_allclose(
        support(outline.astype(float), DIRECTIONS), support(VERTICES[:, [0, 2]], DIRECTIONS), atol=2e-3
    )


def test_the_tip_of_the_pole_is_where_the_angle_says():
    environment = Environment("CartPole-v1")
    scene = scene_of(environment)
    for x, theta in ((0.0, 0.0), (1.2, 0.2), (-0.7, -0.15), (0.4, math.pi / 2)):
        _, pole, _ = scene.outlines(np.array([[x, 0.0, theta, 0.0]]))[0]
        direction = np.array([math.sin(theta), math.cos(theta)])
        # Gymnasium's length is half of the pole's.
        length = 2 * environment.gym.unwrapped.length
        assert (pole - [x, 0.0]).astype(float) @ direction == pytest.approx(
            np.minimum((pole - [x, 0.0]) @ direction, length + 0.051)
        )
        assert ((pole - [x, 0.0]) @ direction).max() == pytest.approx(length + 0.05, abs=2e-3)


def test_the_pendulum_stands_upright_at_zero_and_turns_against_the_clock():
    scene = scene_of(Environment("Pendulum-v1"))
    upright, left = (scene.outlines(np.array([[theta, 0.0]]))[0][0] for theta in (0.0, math.pi / 2))
    assert upright[:, 1].max() > 1.0 and abs(upright[:, 0].mean()) < 1e-6
    assert left[:, 0].min() < -1.0


@pytest.mark.parametrize(("one", "two"), [(2.0, 0.3), (2.6, 0.6), (math.pi, 0.0)])
def test_the_end_of_the_acrobot_is_as_high_as_gymnasium_reckons(one, two):
    scene = scene_of(Environment("Acrobot-v1"))
    _, second, *_ = scene.outlines(np.array([[one, two, 0.0, 0.0]]))[0]
    assert second[:, 1].max() - 0.1 == pytest.approx(-math.cos(one) - math.cos(one + two), abs=1e-3)


def test_the_car_stands_on_its_hill_and_the_goal_is_marked():
    environment = Environment("MountainCar-v0")
    scene = scene_of(environment)
    hill, goal = scene.ground((-1.2, 0.6), (0.0, 1.0))
    assert goal.x[0] == environment.gym.unwrapped.goal_position
    for x in (-1.0, -0.5, 0.3):
        body, *wheels = scene.outlines(np.array([[x, 0.0]]))[0]
        assert abs(body[:, 0].mean() - x) < 0.06
        for wheel in wheels:
            gap = wheel[:, 1] - np.interp(wheel[:, 0], hill.x, hill.y)
            assert -0.01 < gap.min() < 0.01


def poses(id: str, steps: int, action=0.0) -> tuple[MujocoScene, np.ndarray]:
    environment = Environment(id)
    scene, snapshots = scene_of(environment), MujocoSnapshots(environment)
    environment.reset(0)
    found = [snapshots.pose(environment)]
    for _ in range(steps):
        environment.step(np.full(environment.facts.action_size, action, np.float32))
        found.append(snapshots.pose(environment))
    environment.close()
    return scene, np.array(found)


def test_the_hopper_stands_on_the_ground():
    scene, found = poses("Hopper-v5", 40)
    ground = next(mark for mark in scene.ground((-1.0, 1.0), (0.0, 2.0)) if isinstance(mark, Lines))
    lowest = [min(float(outline[:, 1].min()) for outline in outlines) for outlines in scene.outlines(found)]
    assert ground.y.tolist() == [0.0, 0.0]
    # It is let go a few centimetres above, and then stands.
    assert 0.0 < lowest[0] < 0.06
    assert min(abs(height) for height in lowest) < 0.005
    assert min(lowest) > -0.02


@pytest.mark.parametrize(
    ("id", "axis"),
    [
        ("Hopper-v5", "z"),
        ("Walker2d-v5", "z"),
        ("HalfCheetah-v5", "z"),
        ("InvertedPendulum-v5", "z"),
        ("InvertedDoublePendulum-v5", "z"),
        ("Humanoid-v5", "z"),
        ("HumanoidStandup-v5", "z"),
        ("Swimmer-v5", "y"),
        ("Reacher-v5", "y"),
        ("Pusher-v5", "y"),
        ("Ant-v5", "y"),
    ],
)
def test_each_world_is_seen_from_its_better_side_and_whole(id, axis):
    scene, found = poses(id, 0)
    assert scene.y_label == axis
    corners = np.concatenate(scene.outlines(found)[0])
    middle = float(scene.centre(found)[0])
    height = float(scene.middle(found)[0])
    tall = scene.height[1] - scene.height[0]
    assert np.abs(corners[:, 0] - middle).max() <= 0.5 * scene.width
    assert np.abs(corners[:, 1] - height).max() <= 0.5 * tall
    # And not so small that one has to look for it.
    assert np.ptp(corners, axis=0).max() > 0.3 * min(scene.width, tall)


def test_the_camera_goes_where_the_body_goes_and_the_ground_has_marks_to_see_it_by():
    for id in ("HalfCheetah-v5", "Swimmer-v5", "Ant-v5"):
        scene, found = poses(id, 30, 0.7)
        assert scene.moves
        moved = np.array([scene.centre(found), scene.middle(found)]).T
        body = np.array([np.concatenate(outlines).mean(0) for outlines in scene.outlines(found)])
        # The middle of the outlines wanders with the limbs, hence a wide berth.
        assert np.abs((body - moved)[:, 0]).max() < 0.9
        ground = scene.ground((-3.0, 3.0), (-2.0, 2.0))
        assert any(
            isinstance(mark, Scatter) or (isinstance(mark, Lines) and len(mark.x) > 9) for mark in ground
        )
    assert not scene_of(Environment("Reacher-v5")).moves


def test_a_floor_far_below_is_not_drawn():
    scene, _ = poses("InvertedDoublePendulum-v5", 0)
    assert not any(isinstance(mark, Lines) for mark in scene.ground((-1.0, 1.0), (-1.0, 1.0)))
    assert scene.height[0] > -1.0


def test_what_cannot_move_belongs_to_the_ground_and_is_drawn_once():
    scene, _ = poses("Reacher-v5", 0)
    (walls,) = scene.ground((-1.0, 1.0), (-1.0, 1.0))
    corners = np.concatenate(walls.outlines)
    assert np.abs(corners).max() == pytest.approx(0.32, abs=0.01)
    assert "neutral" not in scene.roles and scene.roles.count("target") == 1


def test_of_two_legs_one_looks_another():
    walker, _ = poses("Walker2d-v5", 0)
    assert set(walker.roles) == {"model", "data"} and walker.remark
    hopper, _ = poses("Hopper-v5", 0)
    assert set(hopper.roles) == {"model"} and not hopper.remark


def test_an_environment_of_another_kind_has_no_scene():
    assert scene_of(Environment("tests.engines.trpo.worlds:LabFive-v0")) is None


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0"])
def test_a_small_world_tells_its_state_to_its_scene(id):
    environment = Environment(id)
    environment.reset(3)
    pose = AttributeSnapshots().pose(environment)
    scene = scene_of(environment)
    (outlines,) = scene.outlines(pose[None])
    assert len(outlines) == len(scene.roles)
    assert all(np.isfinite(outline).all() for outline in outlines)
