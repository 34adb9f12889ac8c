"""An episode for the eye: played apart from training, kept as states, and turned into a film; on the worker's loop."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import InputError, StepError
from engines.figures import (
    HIDDEN,
    Axis,
    Bodies,
    Film,
    ImageGrid,
    Lines,
    Mark,
    Panels,
    Plot,
    Ribbon,
    Rule,
    Scatter,
)
from engines.trpo import gl
from engines.trpo.actors import Actor, CategoricalActor, GaussianActor
from engines.trpo.environments import Environment, Facts
from engines.trpo.rollouts import play
from engines.trpo.scenes import MujocoScene, Scene, scene_of
from engines.trpo.snapshots import AttributeSnapshots, MujocoSnapshots, Snapshots

if TYPE_CHECKING:
    from engines.trpo.engine import TrpoEngine, Weights

MOST_FRAMES = 151
"""Frames of the film; of longer episodes every n-th step is shown."""

MOST_PICTURES = 76
"""The same where each frame is a picture and no outline."""

PICTURE_HEIGHT = 180
"""Pixels; larger pictures are thinned out."""

WAITED = 10.0
"""Seconds for which one picture waits to learn whether MuJoCo's renderer works, where that was asked for."""

RENDERED = 4.0
"""Seconds that a film of MuJoCo's renderer may take, about: where it is slow there are fewer frames."""

FEWEST_PICTURES = 13

MOST_JOINTS = 6
SUBSCRIPTS = "₁₂₃₄₅₆"

REMEMBERED = 12
"""Recordings that are kept, so that ghosts are played once."""


logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Recording:
    """An episode as it can be drawn.

    Attributes
    ----------
    poses : array (T + 1, S) or None
        States of the simulation; None where it cannot tell them.
    pictures : array (T + 1, H, W, 3) of uint8 or None
        Of some of its steps; where there are no poses.
    pictured : array of int
        Which.
    actions : array (T, A), or (T,) of int
    middle : array (T, A)
        The mean of each control, or the probability of each action.
    deviation : array (A,)
        Of controls; empty for a finite set of actions.
    rewards : array (T,)
    terminated : bool
    """

    poses: np.ndarray | None
    pictures: np.ndarray | None
    pictured: np.ndarray
    actions: np.ndarray
    middle: np.ndarray
    deviation: np.ndarray
    rewards: np.ndarray
    terminated: bool

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def total(self) -> float:
        """The sum of its rewards."""
        return float(self.rewards.sum())


@dataclass(frozen=True, eq=False)
class Cast:
    """One policy of a film: what it is called, its role, and what it did."""

    label: str
    role: str
    opacity: float
    recording: Recording


@dataclass(frozen=True, eq=False)
class Rendered:
    """What MuJoCo's renderer saw of an episode.

    Attributes
    ----------
    recording : Recording
    camera : {"follow", "fixed"}
    steps : array of int (T,)
        Which steps.
    pictures : array (T, H, W, 3) of uint8
    """

    recording: Recording
    camera: str
    steps: np.ndarray
    pictures: np.ndarray


class Projector:
    """Plays policies in an environment of its own, and remembers what it saw.

    Training's environments are never touched: whatever an environment keeps over a reset stays as it was.
    """

    def __init__(self, engine: TrpoEngine) -> None:
        self._engine = engine
        self._environment: Environment | None = None
        self._scene: Scene | None = None
        self._poses: Snapshots | None = None
        self._kept: dict[Any, Recording] = {}
        self._rendered: Rendered | None = None
        self._gl_problem = ""
        self._patience = WAITED
        self.problem = ""

    @property
    def scene(self) -> Scene | None:
        """How it is drawn; None where only the environment can draw itself."""
        self._open()
        return self._scene

    def _open(self) -> Environment:
        if self._environment is None:
            id = self._engine.config.environment
            environment = Environment(id)
            self._scene = scene_of(environment)
            if self._scene is None:
                try:
                    pictured = Environment(id, "rgb_array")
                    environment.close()
                    environment = pictured
                except InputError as error:
                    self.problem = str(error)
            elif environment.facts.simulator == "mujoco":
                self._poses = MujocoSnapshots(environment)
            else:
                self._poses = AttributeSnapshots()
            self._environment = environment
        return self._environment

    def record(self, weights: Weights) -> Recording:
        """What a policy does from the first state that the settings choose.

        Raises
        ------
        StepError
        """
        config = self._engine.config
        key = (
            *(part.tobytes() for part in (weights.theta, weights.mean, weights.deviation)),
            config.length,
            config.horizon,
            config.actions_played,
            config.episode,
        )
        if key not in self._kept:
            while len(self._kept) >= REMEMBERED:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self._play(weights)
        return self._kept[key]

    def _play(self, weights: Weights) -> Recording:
        engine = self._engine
        config, environment = engine.config, self._open()
        actor = engine.actor(weights)
        poses: list[np.ndarray] = []
        pictures: list[np.ndarray] = []
        pictured: list[int] = []
        length = min(config.length, engine.facts.horizon(config.horizon))
        stride = -(-length // (MOST_PICTURES - 1))

        def watch(step: int, world: Environment) -> None:
            if self._poses is not None:
                pose = self._poses.pose(world)
                if pose is not None:
                    poses.append(pose)
            elif not self.problem and step % stride == 0:
                try:
                    pictures.append(_thinned(world.render()))
                    pictured.append(step)
                except StepError as error:
                    self.problem = str(error)

        episode = play(
            environment,
            actor,
            engine.seed_of("playback", config.episode),
            length,
            sampled=config.actions_played == "sampled",
            watcher=watch,
        )
        assert episode is not None
        middle, deviation = _distribution(actor, episode.observations)
        whole = len(poses) == len(episode) + 1
        return Recording(
            np.array(poses) if whole else None,
            np.array(pictures) if pictures else None,
            np.array(pictured, int),
            episode.actions,
            middle,
            deviation,
            episode.rewards,
            episode.terminated,
        )

    def rendered(self, recording: Recording) -> tuple[Rendered | None, str]:
        """What MuJoCo's renderer sees of an episode; or None, and why, where it was asked for and cannot.

        None and no reason where outlines are what was chosen.
        """
        config, scene = self._engine.config, self.scene
        if (
            config.renderer == "vector"
            or not isinstance(scene, MujocoScene)
            or recording.poses is None
            or (config.renderer == "auto" and (self._gl_problem or gl.is_hopeless()))
        ):
            return None, ""
        asked = config.renderer == "gl"
        answer = gl.probe().answer(self._patience if asked else 0.0)
        if asked:
            # One picture waits, not every one.
            self._patience = 0.0
        if answer is None:
            return None, "MuJoCo's renderer is still being tried: outlines until then" if asked else ""
        problem = self._gl_problem or answer.problem
        if problem:
            return None, f"MuJoCo's renderer does not work here, as {problem}" if asked else ""
        if not asked and not answer.is_fast:
            return None, ""
        known = self._rendered
        if known is None or known.recording is not recording or known.camera != config.camera:
            most = int(min(max(RENDERED / answer.seconds, FEWEST_PICTURES), MOST_PICTURES))
            steps = steps_shown(len(recording), most)
            try:
                seen = self._render(recording.poses[steps], scene)
            except Exception as error:
                # A driver may raise anything; the outlines need none.
                logger.exception("MuJoCo's renderer")
                self._gl_problem = " ".join(f"it raised {type(error).__name__}: {error}".split())[:200]
                return self.rendered(recording)
            known = self._rendered = Rendered(recording, config.camera, steps, seen)
        return known, ""

    def _render(self, poses: np.ndarray, scene: MujocoScene) -> np.ndarray:
        world: Any = self._open().gym.unwrapped
        view = dict(getattr(getattr(world, "mujoco_renderer", None), "default_cam_config", None) or {})
        if not scene.moves:
            return gl.pictures(scene.model, poses, view)
        places = scene.places(poses)[:, :2]
        if self._engine.config.camera == "follow":
            return gl.pictures(scene.model, poses, view, places)
        low, high = places.min(0), places.max(0)
        view["distance"] = max(float(view.get("distance", 3.0)), 1.2 * float((high - low).max()))
        return gl.pictures(scene.model, poses, view, np.tile(0.5 * (low + high), (len(poses), 1)))

    def close(self) -> None:
        """Let go of the environment."""
        if self._environment is not None:
            self._environment.close()


def _distribution(actor: Actor, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(actor, GaussianActor):
        return actor.mean(observations), actor.deviation.copy()
    assert isinstance(actor, CategoricalActor)
    return actor.probabilities(observations), np.zeros(0)


def _thinned(picture: np.ndarray) -> np.ndarray:
    stride = max(1, picture.shape[0] // PICTURE_HEIGHT)
    return np.ascontiguousarray(picture[::stride, ::stride])


def steps_shown(length: int, most: int = MOST_FRAMES) -> np.ndarray:
    """Steps 0 .. length that have a frame: every n-th, and the last."""
    stride = max(1, -(-length // (most - 1)))
    steps = np.arange(0, length + 1, stride)
    return steps if steps[-1] == length else np.append(steps, length)


def playback_film(cast: list[Cast], scene: Scene, camera: str, remark: str = "") -> Film:
    """The policies of a cast on one stage, the last in front; a policy whose episode is over stays where it ended.

    Parameters
    ----------
    cast : list of Cast
        Recordings with poses.
    scene : Scene
    camera : {"follow", "fixed"}
    remark : str
        Ends the note of every frame.
    """
    lead = cast[-1].recording
    assert lead.poses is not None
    steps = steps_shown(max(len(part.recording) for part in cast))
    drawn: list[list[tuple[np.ndarray, ...]]] = []
    for part in cast:
        poses = part.recording.poses
        assert poses is not None
        last = len(part.recording)
        own = np.unique(np.minimum(steps, last))
        found = dict(zip(own.tolist(), scene.outlines(poses[own]), strict=True))
        drawn.append([found[min(step, last)] for step in steps.tolist()])
    at = np.minimum(steps, len(lead))
    centres, middles = scene.centre(lead.poses[at]), scene.middle(lead.poses[at])
    half, tall = 0.5 * scene.width, 0.5 * (scene.height[1] - scene.height[0])
    across = float(centres.min()) - half, float(centres.max()) + half
    up = float(middles.min()) - tall, float(middles.max()) + tall
    ground = scene.ground((across[0] - half, across[1] + half), (up[0] - tall, up[1] + tall))
    follows = camera == "follow" or not scene.moves
    frames = []
    for index, step in enumerate(steps.tolist()):
        if follows:
            window = float(centres[index]) - half, float(centres[index]) + half
            height = float(middles[index]) - tall, float(middles[index]) + tall
        else:
            window, height = across, up
        bodies: list[Mark] = [
            Bodies(
                drawn[number][index],
                scene.roles if part.role == "model" else (part.role,) * len(scene.roles),
                label=part.label,
                role=part.role,
                opacity=part.opacity,
            )
            for number, part in enumerate(cast)
        ]
        frames.append(
            Plot(
                (*ground, *bodies),
                Axis(scene.x_label, scene.unit, limits=window),
                Axis(scene.y_label, scene.unit, limits=height),
                "Playback",
                equal=True,
                note=_note(lead, step, remark),
            )
        )
    label = ", ".join(f"{part.label} in {len(part.recording)} steps" for part in reversed(cast))
    caption = f"Policies that start in the same state: {label}. {scene.remark}".strip()
    times, axis = _clock(steps, scene.seconds)
    # Well into it: in the first state all policies are alike.
    return Film(tuple(frames), times, axis, "Playback", caption, len(frames) // 3)


def _note(lead: Recording, step: int, remark: str = "") -> str:
    """What the corner of a frame says."""
    done = min(step, len(lead))
    gained = float(lead.rewards[:done].sum())
    over = " (its end)" if done == len(lead) and lead.terminated else ""
    note = f"step {done} of {len(lead)}{over}, reward so far {gained:.1f}"
    return f"{note}. {remark}." if remark else note


def _clock(steps: np.ndarray, seconds: float) -> tuple[np.ndarray, Axis]:
    """Times of a film's frames and their axis."""
    return (steps * seconds, Axis("t", "s")) if seconds else (steps.astype(float), Axis("step"))


def rendered_film(part: Cast, seen: Rendered, seconds: float) -> Film:
    """What MuJoCo's renderer saw of a policy; ``seconds`` is what a step takes."""
    times, axis = _clock(seen.steps, seconds)
    return Film(
        tuple(
            _still(picture, f"{part.label}. {_note(part.recording, step)}")
            for picture, step in zip(seen.pictures, seen.steps.tolist(), strict=True)
        ),
        times,
        axis,
        "Playback",
        f"{part.label} in {len(part.recording)} steps, drawn by MuJoCo's renderer, which shows no ghosts.",
    )


def _still(picture: np.ndarray, note: str) -> Plot:
    return Plot(
        (ImageGrid(picture[None], 1),), HIDDEN, HIDDEN, "Playback", equal=True, y_down=True, note=note
    )


def picture_film(part: Cast) -> Film:
    """Where the environment alone can draw itself: its own pictures."""
    recording = part.recording
    assert recording.pictures is not None
    steps = recording.pictured
    return Film(
        tuple(
            _still(picture, f"{part.label}. {_note(recording, step)}")
            for picture, step in zip(recording.pictures, steps.tolist(), strict=True)
        ),
        steps.astype(float),
        Axis("step"),
        "Playback",
        f"{part.label}, drawn by the environment itself, without ghosts.",
    )


def actions_film(recording: Recording, seconds: float, facts: Facts) -> Film:
    """What the policy would do at each moment, mean and one standard deviation, in step with the playback.

    Parameters
    ----------
    recording : Recording
    seconds : float
        Of a step; 0 where it has no duration.
    facts : Facts
        Of its environment.
    """
    length = len(recording)
    steps = steps_shown(length)
    times, axis = _clock(np.arange(length), seconds)
    moments, _ = _clock(steps, seconds)
    rows: list[tuple[tuple[Mark, ...], Axis]] = []
    if recording.deviation.size:
        for joint in range(min(recording.middle.shape[1], MOST_JOINTS)):
            rows.append((_control(recording, joint, times, facts), Axis(f"a{SUBSCRIPTS[joint]}")))
    else:
        lines = tuple(
            Lines(
                times,
                recording.middle[:, action].astype(float),
                label=f"action {action}",
                role=f"category-{action % 8}",
            )
            for action in range(min(recording.middle.shape[1], 8))
        )
        rows.append((lines, Axis("probability", limits=(0.0, 1.0))))
    frames: list[Plot | Panels] = []
    for moment in moments.tolist():
        rule = Rule(moment, axis="x", role="hand", dash="solid")
        plots = tuple(
            Plot((*marks, rule), axis, y, "Actions" if len(rows) == 1 else "", legend=index == 0)
            for index, (marks, y) in enumerate(rows)
        )
        frames.append(plots[0] if len(plots) == 1 else Panels(plots, 1, title="Actions"))
    caption = "The policy's distribution along the playback."
    if not facts.discrete:
        caption += " What lies beyond the dashed lines is clipped before the environment takes it."
    return Film(tuple(frames), moments, axis, "Actions", caption)


def _control(recording: Recording, joint: int, times: np.ndarray, facts: Facts) -> tuple[Mark, ...]:
    """One control along an episode; only the first one's marks are named."""
    mean, sigma = recording.middle[:, joint].astype(float), float(recording.deviation[joint])
    taken = recording.actions[:, joint].astype(float)
    names = ("mean ± σ", "mean", "drawn") if joint == 0 else ("", "", "")
    marks: list[Mark] = [
        Ribbon(times, mean - sigma, mean + sigma, label=names[0]),
        Lines(times, mean, label=names[1]),
    ]
    if not np.allclose(taken, mean, atol=1e-5):
        marks.append(Scatter(times, taken, size=2.0, role="data", opacity=0.5, label=names[2]))
    limits = [float(limit) for limit in (facts.low[joint], facts.high[joint]) if np.isfinite(limit)]
    marks += [Rule(limit, role="neutral", width=1.0) for limit in limits]
    return tuple(marks)
