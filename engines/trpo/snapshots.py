"""States of a simulation, taken and put back; on the thread that uses the environment.

Vine branches from them (Schulman et al. 2015, section 5.2), and playback shows them. Three ways are known, and the first that
proves itself is used: MuJoCo's integration state; the attributes in which small environments in Python keep theirs; a
deep copy of the environment.
"""

from __future__ import annotations

import abc
import collections
import copy
import random
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from engines.errors import SettingError
from engines.trpo.environments import Environment

PROOF = 12
"""Steps that are played twice from one state to see whether it was put back."""

ROUNDS = 3
"""Episodes in which this is seen."""

_PLAIN = (int, float, bool, str, type(None), np.generic, tuple)
_COPIED = (np.ndarray, list, dict, set, collections.deque)
_LUCK = (np.random.Generator, np.random.RandomState, random.Random)

# What MuJoCo derives from the state in a step, and an environment reads before the next one: they are those of the step's
# beginning, and not what mj_forward makes of its end.
_DERIVED = (
    *(
        "xpos",
        "xquat",
        "xmat",
        "xipos",
        "ximat",
        "xanchor",
        "xaxis",
        "geom_xpos",
        "geom_xmat",
        "site_xpos",
        "site_xmat",
    ),
    *(
        "subtree_com",
        "subtree_linvel",
        "subtree_angmom",
        "cinert",
        "cvel",
        "cacc",
        "cfrc_int",
        "cfrc_ext",
        "qacc",
    ),
    *(
        "qfrc_passive",
        "qfrc_bias",
        "qfrc_actuator",
        "qfrc_constraint",
        "actuator_length",
        "actuator_velocity",
    ),
    *("actuator_force", "ten_length", "ten_velocity", "energy", "sensordata"),
)


class Snapshots(abc.ABC):
    """How states of one kind of environment are taken and put back."""

    @abc.abstractmethod
    def take(self, environment: Environment) -> Any:
        """The present state, its random generator included; later steps do not touch it."""

    def put(self, environment: Environment, state: Any) -> None:
        """Go back to a state, also of another environment of the same id.

        Raises
        ------
        StepError
            The environment had not been reset before, and failed in that.
        """
        if not environment.begun:
            # What it makes in its first reset alone is not in a state.
            environment.reset(0)
        self._put(environment, state)

    @abc.abstractmethod
    def _put(self, environment: Environment, state: Any) -> None:
        """Go back to a state, in an environment that has been reset once."""

    def pose(self, environment: Environment) -> np.ndarray | None:
        """The present state as numbers (S,), to be drawn from; None where it cannot be told."""
        return None


class MujocoSnapshots(Snapshots):
    """MuJoCo's full integration state: positions, speeds, warm start of the solver, time, controls; and what is in Python."""

    def __init__(self, environment: Environment) -> None:
        import mujoco

        self._mujoco = mujoco
        self._spec = mujoco.mjtState.mjSTATE_INTEGRATION
        self._size = mujoco.mj_stateSize(environment.gym.unwrapped.model, self._spec)  # type: ignore[attr-defined]

    def take(self, environment: Environment) -> Any:
        data: Any = environment.gym.unwrapped.data  # type: ignore[attr-defined]
        derived = [getattr(data, name).copy() for name in _DERIVED]
        return self.pose(environment), derived, _attributes(environment)

    def _put(self, environment: Environment, state: Any) -> None:
        numbers, derived, attributes = state
        world: Any = environment.gym.unwrapped
        # Whatever the state does not hold must not be left over from where the simulation was.
        self._mujoco.mj_resetData(world.model, world.data)
        self._mujoco.mj_setState(world.model, world.data, numbers, self._spec)
        self._mujoco.mj_forward(world.model, world.data)
        # Of some versions mj_forward writes the warm start anew, which the next step begins from.
        self._mujoco.mj_setState(world.model, world.data, numbers, self._spec)
        for name, values in zip(_DERIVED, derived, strict=True):
            getattr(world.data, name)[...] = values
        _set_attributes(environment, attributes)

    def pose(self, environment: Environment) -> np.ndarray:
        numbers = np.empty(self._size)
        world: Any = environment.gym.unwrapped
        self._mujoco.mj_getState(world.model, world.data, numbers, self._spec)
        return numbers


class AttributeSnapshots(Snapshots):
    """The numbers, arrays and generators among the attributes, as gymnasium's classic control has them."""

    def take(self, environment: Environment) -> Any:
        return _attributes(environment)

    def _put(self, environment: Environment, state: Any) -> None:
        _set_attributes(environment, state)

    def pose(self, environment: Environment) -> np.ndarray | None:
        state = getattr(environment.gym.unwrapped, "state", None)
        try:
            numbers = np.array(state, np.float64).reshape(-1)
        except (TypeError, ValueError):
            return None
        return numbers if numbers.size and np.isfinite(numbers).all() else None


class CopySnapshots(Snapshots):
    """Deep copies of the whole environment: slow, and right wherever copying is."""

    def take(self, environment: Environment) -> Any:
        return copy.deepcopy(environment.gym)

    def _put(self, environment: Environment, state: Any) -> None:
        environment.gym = copy.deepcopy(state)


def snapshots_of(environment: Environment) -> Snapshots:
    """The way that works for an environment, tried on it; it must be reset afterwards.

    Raises
    ------
    SettingError
        None does.
    StepError
        The environment failed.
    """
    # One that fails by itself is not one that cannot be put back.
    for number in range(ROUNDS):
        environment.reset(number)
        environment.check(*_play(environment, _some_actions(environment)))
    gym = environment.gym
    ways: list[Any] = [AttributeSnapshots, CopySnapshots]
    if environment.facts.simulator == "mujoco":
        ways.insert(0, lambda: MujocoSnapshots(environment))
    for way in ways:
        try:
            snapshots: Snapshots = way()
            if all(_proven(environment, snapshots, number) for number in range(ROUNDS)):
                return snapshots
        except Exception:
            # A way that cannot even be tried is not the one.
            pass
        # A copy may be in its place.
        environment.gym = gym
    raise SettingError(
        f"{environment.facts.id} cannot be put back into an earlier state, which vine branches from: choose the single path "
        "(sampling=single_path) or another environment.",
        "sampling",
    )


def _proven(environment: Environment, snapshots: Snapshots, number: int) -> bool:
    """Whether the same actions lead to the same observations, rewards and ends again, as they did at first."""
    actions = _some_actions(environment)
    _begin(environment, number)
    state = snapshots.take(environment)
    first = _play(environment, actions)
    for _ in range(2):
        # Meanwhile the simulation goes somewhere else.
        environment.reset(100)
        environment.step(actions[0])
        snapshots.put(environment, state)
        again = _play(environment, actions)
        if any(a.tobytes() != b.tobytes() for a, b in zip(first, again, strict=True)):
            return False
    return True


def _begin(environment: Environment, number: int) -> None:
    """Go to some state, in the middle of an episode if it lasts so long."""
    environment.reset(number)
    for action in _some_actions(environment)[: PROOF // 2]:
        if any(environment.step(action)[2:]):
            environment.reset(number)
            return


def _play(environment: Environment, actions: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Observations (T, O) and rewards (T,) of the actions, until the episode ends."""
    observations, rewards = [], []
    for action in actions:
        observation, reward, terminated, truncated = environment.step(action)
        observations.append(observation)
        rewards.append(reward)
        if terminated or truncated:
            break
    return np.array(observations), np.array(rewards)


def _some_actions(environment: Environment) -> list[Any]:
    generator = np.random.default_rng(0)
    facts = environment.facts
    if facts.discrete:
        return list(generator.integers(0, facts.action_size, PROOF))
    return list(generator.standard_normal((PROOF, facts.action_size)).astype(np.float32))


def _layers(environment: Environment) -> Iterator[Any]:
    """The environment's wrappers, from the outermost, and what they are around."""
    layer: Any = environment.gym
    while isinstance(layer, gymnasium.Wrapper):
        yield layer
        layer = layer.env
    yield layer


def _attributes(environment: Environment) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Of each layer the attributes that hold values, copied, and the states of those that are generators."""
    return [
        (
            {
                name: copy.copy(value) if isinstance(value, _COPIED) else value
                for name, value in vars(layer).items()
                if isinstance(value, _PLAIN + _COPIED)
            },
            {name: _luck(value) for name, value in vars(layer).items() if isinstance(value, _LUCK)},
        )
        for layer in _layers(environment)
    ]


def _set_attributes(environment: Environment, state: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for layer, (values, generators) in zip(_layers(environment), state, strict=True):
        for name, value in values.items():
            setattr(layer, name, copy.copy(value) if isinstance(value, _COPIED) else value)
        for name, luck in generators.items():
            _set_luck(getattr(layer, name), luck)


def _luck(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if isinstance(generator, np.random.RandomState) else generator.getstate()


def _set_luck(generator: Any, luck: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = luck
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(luck)
    else:
        generator.setstate(luck)
