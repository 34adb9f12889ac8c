"""Environments as planar bodies, drawn from stored states without any renderer; on the worker's loop.

A scene knows how to turn poses (`engines.trpo.snapshots.Snapshots.pose`) into outlines in metres. MuJoCo's geometries are
convex, and the outline of a convex body's shadow is its support function along the directions of the plane: one formula for
spheres, capsules, boxes, cylinders, ellipsoids and meshes.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np

from engines.figures import Bodies, Lines, Mark, Scatter
from engines.trpo.environments import Environment

CORNERS = 28
"""Points of an outline."""

DECIMALS = 4
"""Of outlines, in metres: a tenth of a millimetre."""


class Scene(abc.ABC):
    """A planar picture of an environment.

    Attributes
    ----------
    roles : tuple of str
        One for each outline; "model" for what the policy moves, "neutral" for the rest.
    x_label, y_label, unit : str
    height : (float, float)
        What is seen of the second axis.
    width : float
        What is seen of the first one at least.
    moves : bool
        Whether the camera has something to follow.
    seconds : float
        Of one step; 0 where a step has no duration.
    remark : str
        What the picture does not say by itself, in a sentence.
    """

    roles: tuple[str, ...]
    x_label, y_label, unit = "x", "z", "m"
    height = (-0.2, 2.0)
    width = 4.0
    moves = False
    seconds = 0.05
    remark = ""

    @abc.abstractmethod
    def outlines(self, poses: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """For each pose of ``poses`` (T, S) the outlines (K, 2), in the order of `roles`, what is in front last."""

    def centre(self, poses: np.ndarray) -> np.ndarray:
        """Where the camera looks, first axis, (T,)."""
        return np.zeros(len(poses))

    def middle(self, poses: np.ndarray) -> np.ndarray:
        """Where the camera looks, second axis, (T,); only where the picture has no ground."""
        return np.full(len(poses), 0.5 * (self.height[0] + self.height[1]))

    def ground(self, across: tuple[float, float], up: tuple[float, float]) -> tuple[Mark, ...]:
        """What stands still, between two places on each axis."""
        return ()


def scene_of(environment: Environment) -> Scene | None:
    """The scene of an environment; None where none is known."""
    world: Any = environment.gym.unwrapped
    if environment.facts.simulator == "mujoco":
        return MujocoScene(world)
    for kind, needs in (
        (CartPoleScene, ("x_threshold", "length", "theta_threshold_radians")),
        (PendulumScene, ("max_torque", "max_speed", "g")),
        (AcrobotScene, ("LINK_LENGTH_1", "LINK_LENGTH_2")),
        (MountainCarScene, ("goal_position", "min_position", "max_position")),
    ):
        if all(hasattr(world, name) for name in needs):
            return kind(world)
    return None


class MujocoScene(Scene):
    """The geometries of a MuJoCo model, from the side or from above.

    What slides along y, turns about z (Swimmer, Reacher, Pusher) or is flat and walks freely (Ant) is seen from above, all
    else from the side.
    """

    def __init__(self, world: Any) -> None:
        import mujoco

        self._mujoco = mujoco
        self.model = world.model
        self._data = mujoco.MjData(world.model)
        self._spec = mujoco.mjtState.mjSTATE_INTEGRATION
        self.seconds = float(world.dt)
        mujoco.mj_forward(self.model, self._data)
        kinds = self.model.geom_type
        flat = {int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_HFIELD)}
        seen = [
            index
            for index in range(self.model.ngeom)
            if int(kinds[index]) not in flat and self.model.geom_rgba[index][3] > 0.0
        ]
        self._shown = [index for index in seen if self._moves(index)] or seen
        self._still = [index for index in seen if index not in self._shown]
        self._from_above = self._is_better_from_above()
        basis = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]) if self._from_above else ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
        self._basis = np.array(basis)
        self.y_label = "y" if self._from_above else "z"
        # What is farther is drawn first; bodies hardly pass each other in depth.
        depths = self._data.geom_xpos @ np.array([0.0, 0.0, 1.0] if self._from_above else [0.0, -1.0, 0.0])
        self._shown.sort(key=lambda index: depths[index])
        self.roles = tuple(self._role(index) for index in self._shown)
        if "data" in self.roles:
            self.remark = "Limbs of the left side have a colour of their own."
        self._root = int(self.model.jnt_bodyid[0]) if self.model.njnt else 0
        self.moves = self._is_loose()
        floors = [
            float(self._data.geom_xpos[index][2]) for index, kind in enumerate(kinds) if int(kind) in flat
        ]
        self._floor = max(floors) if floors and not self._from_above else None
        self._measure()

    def _moves(self, index: int) -> bool:
        """Whether a geometry can: there is a joint between it and the world."""
        return bool(self.model.body_weldid[self.model.geom_bodyid[index]])

    def _is_better_from_above(self) -> bool:
        joints = self._mujoco.mjtJoint
        kinds = [int(kind) for kind in self.model.jnt_type]
        if int(joints.mjJNT_FREE) in kinds:
            across, along, high = np.ptp(self._corners_in_space(), axis=0)
            return min(across, along) > 0.7 * max(across, along) and high < 0.6 * max(across, along)
        axes = np.abs(self._data.xaxis)
        slides = [axis for axis, kind in zip(axes, kinds, strict=True) if kind == int(joints.mjJNT_SLIDE)]
        hinges = [axis for axis, kind in zip(axes, kinds, strict=True) if kind == int(joints.mjJNT_HINGE)]
        if any(axis[2] > 0.9 for axis in slides):
            return False
        return any(axis[1] > 0.9 for axis in slides) or 2 * sum(axis[2] > 0.9 for axis in hinges) > len(
            hinges
        )

    def _corners_in_space(self) -> np.ndarray:
        centres, radii = self._data.geom_xpos[self._shown], self.model.geom_size[self._shown][:, :1]
        return np.concatenate([centres - radii, centres + radii])

    def _role(self, index: int) -> str:
        kinds = self._mujoco.mjtObj
        body = int(self.model.geom_bodyid[index])
        names = " ".join(
            self._mujoco.mj_id2name(self.model, kind, number) or ""
            for kind, number in ((kinds.mjOBJ_GEOM, index), (kinds.mjOBJ_BODY, body))
        )
        if "target" in names or "goal" in names:
            return "target"
        if "object" in names:
            return "neutral"
        # Of two legs that pass each other one has to look another; from above none does.
        return "data" if "left" in names and not self._from_above else "model"

    def _is_loose(self) -> bool:
        """Whether it can go away: a free joint, or slides with which an unlimited first body moves along x."""
        if not self.model.njnt:
            return False
        kind = int(self.model.jnt_type[0])
        if kind == int(self._mujoco.mjtJoint.mjJNT_FREE):
            return True
        return kind == int(self._mujoco.mjtJoint.mjJNT_SLIDE) and not bool(self.model.jnt_limited[0])

    def _measure(self) -> None:
        self._background = tuple(self._outlines_of(self._still))
        corners = np.concatenate([*self._outlines_of(self._shown), *self._background])
        low, high = corners.min(0), corners.max(0)
        extent = float((high - low).max())
        # The camera follows the first body, which may be at one end.
        place = self._basis @ self._data.xpos[self._root]
        far = 1.1 * float(np.maximum(high - place, place - low)[0]) if self.moves else 0.0
        self._start = float(0.5 * (low[0] + high[0])) if not self.moves else 0.0
        if self._from_above:
            half = max((0.75 if self.moves else 0.55) * extent, far)
            middle = 0.5 * float(low[1] + high[1])
            self.height = (middle - half, middle + half)
            self.width = 2 * half
            return
        if self._floor is not None and self._floor < float(low[1]) - 0.5 * extent:
            # So far below that it would only push what moves out of sight.
            self._floor = None
        bottom = float(low[1]) if self._floor is None else min(float(low[1]), self._floor)
        self.height = (bottom - 0.12 * extent, float(high[1]) + 0.25 * extent)
        self.width = max(1.4 * extent, 1.4 * (self.height[1] - self.height[0]), 2.0 * far)

    def outlines(self, poses: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        result = []
        for pose in poses:
            self._set(pose)
            result.append(tuple(self._outlines_of(self._shown)))
        return result

    def _set(self, pose: np.ndarray) -> None:
        self._mujoco.mj_setState(self.model, self._data, pose, self._spec)
        self._mujoco.mj_kinematics(self.model, self._data)

    def _outlines_of(self, chosen: list[int]) -> list[np.ndarray]:
        angles = np.linspace(0.0, 2 * math.pi, CORNERS, endpoint=False)
        # Directions of the plane in space: (K, 3).
        directions = np.stack([np.cos(angles), np.sin(angles)], 1) @ self._basis
        result = []
        for index in chosen:
            centre = self._data.geom_xpos[index]
            turn = self._data.geom_xmat[index].reshape(3, 3)
            points = centre + self._support(index, directions @ turn) @ turn.T
            result.append(np.round(points @ self._basis.T, DECIMALS).astype(np.float32))
        return result

    def _support(self, index: int, directions: np.ndarray) -> np.ndarray:
        """The farthest points (K, 3) of a geometry along ``directions`` (K, 3), both in its own frame."""
        kinds = self._mujoco.mjtGeom
        size, kind = self.model.geom_size[index], int(self.model.geom_type[index])
        if kind == kinds.mjGEOM_SPHERE:
            return directions * size[0]
        if kind == kinds.mjGEOM_CAPSULE:
            along = np.sign(directions[:, 2:]) * np.array([0.0, 0.0, size[1]])
            return along + directions * size[0]
        if kind == kinds.mjGEOM_BOX:
            return np.sign(directions) * size
        if kind == kinds.mjGEOM_CYLINDER:
            round_part = directions[:, :2]
            length = np.maximum(np.linalg.norm(round_part, axis=1, keepdims=True), 1e-12)
            return np.hstack([round_part / length * size[0], np.sign(directions[:, 2:]) * size[1]])
        if kind == kinds.mjGEOM_ELLIPSOID:
            scaled = directions * size
            return scaled * size / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
        if kind == kinds.mjGEOM_MESH:
            mesh = self.model.geom_dataid[index]
            first, count = self.model.mesh_vertadr[mesh], self.model.mesh_vertnum[mesh]
            corners = self.model.mesh_vert[first : first + count]
            return np.asarray(corners[(directions @ corners.T).argmax(1)], np.float64)
        return directions * max(float(self.model.geom_rbound[index]), 0.01)

    def centre(self, poses: np.ndarray) -> np.ndarray:
        return self._along(poses, 0) if self.moves else np.full(len(poses), self._start)

    def middle(self, poses: np.ndarray) -> np.ndarray:
        return self._along(poses, 1) if self.moves and self._from_above else super().middle(poses)

    def _along(self, poses: np.ndarray, axis: int) -> np.ndarray:
        return self.places(poses) @ self._basis[axis]

    def places(self, poses: np.ndarray) -> np.ndarray:
        """Where in space the first body is, (T, 3)."""
        found = np.empty((len(poses), 3))
        for index, pose in enumerate(poses):
            self._set(pose)
            found[index] = self._data.xpos[self._root]
        return found

    def ground(self, across: tuple[float, float], up: tuple[float, float]) -> tuple[Mark, ...]:
        marks: list[Mark] = []
        if self._background:
            marks.append(Bodies(self._background, role="neutral", opacity=0.4))
        if self.moves and self._from_above:
            marks.append(_dots(across, up))
        if self._floor is not None:
            depth = 0.04 * (self.height[1] - self.height[0])
            marks.append(
                Lines(np.array(across), np.array([self._floor, self._floor]), role="neutral", width=2.0)
            )
            marks.append(_ticks(*across, self._floor, depth))
        return tuple(marks)


class CartPoleScene(Scene):
    """Barto, Sutton and Anderson's cart with a pole; states (x, x', theta, theta'), metres and radians."""

    roles = ("neutral", "model", "neutral")
    height = (-0.5, 1.5)

    def __init__(self, world: Any) -> None:
        self._length = 2.0 * float(world.length)
        self._edge = float(world.x_threshold)
        self.width = 2.0 * self._edge + 0.6
        self.seconds = float(getattr(world, "tau", 0.02))
        self.y_label = "height"

    def outlines(self, poses: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        found: list[tuple[np.ndarray, ...]] = []
        for x, theta in poses[:, [0, 2]].tolist():
            cart = _box(x, 0.0, 0.5, 0.3)
            pole = _rod((x, 0.0), (x + self._length * math.sin(theta), self._length * math.cos(theta)), 0.05)
            found.append((cart, pole, _disc(x, 0.0, 0.025)))
        return found

    def ground(self, across: tuple[float, float], up: tuple[float, float]) -> tuple[Mark, ...]:
        edge = self._edge
        return (
            Lines(np.array([-edge, edge]), np.array([-0.15, -0.15]), role="neutral", width=2.0),
            Lines(
                np.array([-edge, -edge, np.nan, edge, edge]),
                np.array([-0.35, 0.05, np.nan, -0.35, 0.05]),
                role="warning",
                width=2.0,
                label="ends here",
            ),
        )


class PendulumScene(Scene):
    """A pendulum that is to be swung up; states (theta, theta'), theta 0 upright."""

    roles = ("model", "neutral")
    height = (-1.3, 1.3)
    width = 2.6

    def __init__(self, world: Any) -> None:
        self._length = float(getattr(world, "l", 1.0))
        self.seconds = float(getattr(world, "dt", 0.05))
        self.y_label = "height"

    def outlines(self, poses: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        return [
            (
                _rod((0.0, 0.0), (-self._length * math.sin(theta), self._length * math.cos(theta)), 0.1),
                _disc(0.0, 0.0, 0.04),
            )
            for theta in poses[:, 0].tolist()
        ]


class AcrobotScene(Scene):
    """Two links hanging from a hinge, whose end is to rise above the line; states (theta1, theta2, speeds), 0 hanging."""

    roles = ("model", "data", "neutral", "neutral")
    height = (-2.2, 2.2)
    width = 4.4

    def __init__(self, world: Any) -> None:
        self._lengths = float(world.LINK_LENGTH_1), float(world.LINK_LENGTH_2)
        self.seconds = float(getattr(world, "dt", 0.2))
        self.y_label = "height"

    def outlines(self, poses: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        first, second = self._lengths
        found: list[tuple[np.ndarray, ...]] = []
        for one, two in poses[:, :2].tolist():
            elbow = (first * math.sin(one), -first * math.cos(one))
            end = (elbow[0] + second * math.sin(one + two), elbow[1] - second * math.cos(one + two))
            found.append(
                (_rod((0.0, 0.0), elbow, 0.1), _rod(elbow, end, 0.1), _disc(0, 0, 0.06), _disc(*elbow, 0.06))
            )
        return found

    def ground(self, across: tuple[float, float], up: tuple[float, float]) -> tuple[Mark, ...]:
        return (
            Lines(np.array(across), np.array([1.0, 1.0]), role="target", dash="dash", label="to be reached"),
        )


class MountainCarScene(Scene):
    """A car too weak for its hill; states (position, speed), both without a unit."""

    roles = ("model", "neutral", "neutral")
    unit = ""
    height = (0.0, 1.35)
    seconds = 0.0

    def __init__(self, world: Any) -> None:
        self._span = float(world.min_position), float(world.max_position)
        self._goal = float(world.goal_position)
        self.width = self._span[1] - self._span[0] + 0.1
        self.x_label, self.y_label = "position", "height"

    def outlines(self, poses: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        parts = _box(0.0, 0.055, 0.13, 0.05), _disc(-0.04, 0.02, 0.02), _disc(0.04, 0.02, 0.02)
        found: list[tuple[np.ndarray, ...]] = []
        for x in poses[:, 0].tolist():
            slope = math.atan(1.35 * math.cos(3 * x))
            turn = np.array([[math.cos(slope), math.sin(slope)], [-math.sin(slope), math.cos(slope)]])
            place = np.array([x, self._hill(np.array(x))])
            found.append(tuple((part @ turn + place).astype(np.float32) for part in parts))
        return found

    def centre(self, poses: np.ndarray) -> np.ndarray:
        return np.full(len(poses), 0.5 * sum(self._span))

    def ground(self, across: tuple[float, float], up: tuple[float, float]) -> tuple[Mark, ...]:
        x = np.linspace(*self._span, 80)
        goal = float(self._hill(np.array(self._goal)))
        return (
            Lines(x, self._hill(x), role="neutral", width=2.0),
            Lines(
                np.array([self._goal, self._goal]),
                np.array([goal, goal + 0.2]),
                role="target",
                width=2.0,
                label="to be reached",
            ),
        )

    @staticmethod
    def _hill(x: np.ndarray) -> np.ndarray:
        return np.asarray(0.45 * np.sin(3 * x) + 0.55)


def _box(x: float, y: float, width: float, height: float) -> np.ndarray:
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return np.round(corners * [width, height] + [x, y], DECIMALS).astype(np.float32)


def _disc(x: float, y: float, radius: float) -> np.ndarray:
    angles = np.linspace(0.0, 2 * math.pi, 16, endpoint=False)
    points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
    return np.round(points, DECIMALS).astype(np.float32)


def _rod(start: tuple[float, float], end: tuple[float, float], radius: float) -> np.ndarray:
    """A stick with round ends."""
    angles = np.linspace(0.0, 2 * math.pi, CORNERS, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], 1)
    a, b = np.array(start), np.array(end)
    farther = (directions @ (b - a) > 0)[:, None]
    return np.round(np.where(farther, b, a) + radius * directions, DECIMALS).astype(np.float32)


def _ticks(left: float, right: float, y: float, depth: float) -> Lines:
    """Short strokes below a ground line, half a metre apart: without them nobody sees that the camera moves."""
    places = _places(left, right)
    x = np.stack([places, places - depth, np.full(len(places), np.nan)], 1).reshape(-1)
    heights = np.tile([y, y - depth, np.nan], len(places))
    return Lines(x, heights, role="neutral", opacity=0.6)


def _dots(across: tuple[float, float], up: tuple[float, float]) -> Scatter:
    """The same on ground that is seen from above."""
    x, y = np.meshgrid(_places(*across), _places(*up))
    return Scatter(x.reshape(-1), y.reshape(-1), 2.0, role="neutral", opacity=0.6)


def _places(low: float, high: float) -> np.ndarray:
    """Multiples of half a unit between two, or of more where there would be hundreds."""
    step = 0.5 * 2.0 ** max(0, math.ceil(math.log2(max(high - low, 1e-9) / 50.0)))
    return np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
