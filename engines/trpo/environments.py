"""Gymnasium environments behind one narrow door: vectors in, vectors out, every fault in a sentence; worker's threads.

An `Environment` may be used by one thread at a time. It has no time limit of its own: whoever plays an episode in it
knows the horizon, so that a state which is put back (`engines.trpo.snapshots`) has no hidden clock.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import math
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from engines.config import near_misses
from engines.errors import SettingError, StepError

LONGEST = 1000
"""Steps of an episode where neither the environment nor the settings set a limit."""

WIDEST = 4096
"""Numbers of an observation that the policy's network takes; pictures have more."""

INSTALL = "pip install "

# What it warns of, old versions above all, the sentences here say or nobody needs.
gymnasium.logger.min_level = gymnasium.logger.ERROR

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Facts:
    """What is known of an environment before it is stepped.

    Attributes
    ----------
    id : str
        With its version: "CartPole" is "CartPole-v1" here.
    observation_size : int
        Numbers of an observation as the policy sees it; one-hot where it is a choice.
    action_size : int
        Numbers of an action, or how many actions there are.
    discrete : bool
    low, high : array (A,)
        Of a continuous action; what the policy draws is clipped to them.
    time_limit : int
        Steps after which an episode is cut off, of the environment's own registration; 0 where it has none.
    simulator : {"mujoco", "other"}
        MuJoCo's steps leave Python to other threads.
    """

    id: str
    observation_size: int
    action_size: int
    discrete: bool
    low: np.ndarray
    high: np.ndarray
    time_limit: int
    simulator: str

    def horizon(self, wanted: int) -> int:
        """Steps of an episode at most: what is wanted (0: nothing in particular), and what the environment allows."""
        own = self.time_limit or (wanted if wanted else LONGEST)
        return min(wanted, own) if wanted else own


class Environment:
    """One simulation.

    Parameters
    ----------
    id : str
        Any gymnasium id; ``module:Env-v0`` imports the module first.
    render_mode : str, optional
        As gymnasium has it.

    Attributes
    ----------
    facts : Facts
    gym : gymnasium.Env
        What it is made of.
    begun : bool
        It has been reset once.

    Raises
    ------
    SettingError
        There is no such environment, or the policy cannot act in it.
    """

    def __init__(self, id: str, render_mode: str | None = None) -> None:
        self.gym = _make(id, render_mode)
        spec = self.gym.spec
        name = spec.id if spec is not None else id
        try:
            self.facts = _facts(id, name, self.gym)
        except SettingError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise SettingError(
                f"{name} does not say what can be observed and done in it, {type(error).__name__} ({_short(error)}): give "
                "it an observation_space and an action_space, or choose another environment.",
                "environment",
            ) from error
        self.begun = False
        self._space = self.gym.observation_space
        self._is_box = isinstance(self._space, spaces.Box)
        action_space = self.gym.action_space
        self._start = int(action_space.start) if isinstance(action_space, spaces.Discrete) else 0
        self._shape = action_space.shape
        self._action_type = action_space.dtype
        self._whole = self._action_type is not None and np.issubdtype(self._action_type, np.integer)
        # In the action's own type: rounded to another one a bound may lie outside.
        exact = np.float64 if self._whole or self.facts.discrete else self._action_type
        self._low, self._high = self.facts.low.astype(exact), self.facts.high.astype(exact)
        self._last: np.ndarray | None = None

    def reset(self, seed: int) -> np.ndarray:
        """Begin an episode; the first observation, (O,) float32.

        Raises
        ------
        StepError
        """
        self._last = None
        try:
            observation, _ = self.gym.reset(seed=seed)
            self.begun = True
            return self._vector(observation)
        except Exception as error:
            raise self._failed("when it was reset", error) from error

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        """Take an action, as the policy draws it.

        Returns
        -------
        observation : array (O,) of float32
        reward : float
        terminated, truncated : bool

        Raises
        ------
        StepError
            The environment raised, or gave something that is not what it announced.
        """
        try:
            observation, reward, terminated, truncated, _ = self.gym.step(self._action(action))
            return self._vector(observation), float(reward), bool(terminated), bool(truncated)
        except Exception as error:
            raise self._failed("in the middle of an episode", error) from error

    def check(self, observations: np.ndarray, rewards: np.ndarray, where: str = "an episode") -> None:
        """See that the numbers of an episode, or of another row of steps, are finite.

        Raises
        ------
        StepError
        """
        for name, values in (("an observation", observations), ("a reward", rewards)):
            finite = np.isfinite(values)
            if not finite.all():
                step = int(np.argwhere(~finite)[0, 0])
                raise StepError(
                    f"{self.facts.id} gave {name} that is not a finite number, in step {step} of {where}: mend the "
                    "environment, or choose another one and reset."
                )

    def render(self) -> np.ndarray:
        """A picture (H, W, 3) of uint8, with ``render_mode="rgb_array"``.

        Raises
        ------
        StepError
            It cannot draw itself.
        """
        try:
            picture = np.asarray(self.gym.render())
        except gymnasium.error.DependencyNotInstalled as error:
            raise StepError(
                f"{self.facts.id} needs a package to draw itself, though not to train in: {_advice(error)}."
            ) from None
        except Exception as error:
            raise self._failed("when it was to draw itself", error) from error
        if picture.ndim != 3 or picture.shape[-1] < 3 or picture.dtype != np.uint8:
            raise StepError(
                f"{self.facts.id} does not draw pictures: its rgb_array has shape {picture.shape}."
            )
        return picture[..., :3]

    def close(self) -> None:
        """Let go of what it holds."""
        try:
            self.gym.close()
        except Exception:
            logger.exception("closing %s", self.gym)

    def _vector(self, observation: Any) -> np.ndarray:
        if self._is_box:
            # A copy: many an environment writes the next observation over this one.
            vector = np.array(observation, np.float32).reshape(-1)
        else:
            vector = np.array(spaces.flatten(self._space, observation), np.float32)
        if vector.shape[0] != self.facts.observation_size:
            raise ValueError(
                f"it announced observations of {self.facts.observation_size} numbers and gave {vector.shape[0]}"
            )
        self._last = vector
        return vector

    def _action(self, action: Any) -> Any:
        if self.facts.discrete:
            return int(action) + self._start
        clipped = np.minimum(np.maximum(action, self._low), self._high)
        if self._whole:
            clipped = np.rint(clipped)
        return clipped.astype(self._action_type, copy=False).reshape(self._shape)

    def _failed(self, when: str, error: Exception) -> StepError:
        if self._last is not None and not np.isfinite(self._last).all():
            # What it raised is only what came of it.
            return StepError(
                f"{self.facts.id} gave an observation that is not a finite number: mend the environment, or choose another "
                "one and reset."
            )
        return StepError(
            f"{self.facts.id} raised {type(error).__name__} {when} ({_short(error)}): mend the environment, or choose "
            "another one and reset."
        )


def known_ids() -> tuple[str, ...]:
    """Ids of the newest versions that gymnasium has registered by itself, in their order."""
    newest: dict[str, tuple[int, str]] = {}
    for spec in gymnasium.registry.values():
        if spec.namespace is None and spec.version is not None and not spec.name.startswith("GymV"):
            key = spec.name
            if key not in newest or newest[key][0] < spec.version:
                newest[key] = (spec.version, spec.id)
    return tuple(id for _, id in newest.values())


def _make(id: str, render_mode: str | None) -> gymnasium.Env[Any, Any]:
    text = id.strip()
    if not text:
        raise SettingError(
            "No environment is named: give a gymnasium id as Environment (environment=CartPole-v1).",
            "environment",
        )
    _quieten_mujoco()
    # An environment that cannot draw itself need not know the word.
    wanted = {} if render_mode is None else {"render_mode": render_mode}
    try:
        return gymnasium.make(text, max_episode_steps=-1, disable_env_checker=True, **wanted)
    except gymnasium.error.DependencyNotInstalled as error:
        raise SettingError(
            f"{text} needs a package that is not installed: {_advice(error)}.", "environment"
        ) from None
    except gymnasium.error.DeprecatedEnv as error:
        raise SettingError(
            f"{text} is no longer offered by gymnasium: {_short(error)}.", "environment"
        ) from None
    except gymnasium.error.VersionNotFound as error:
        raise SettingError(
            f"There is no {text}, only other versions: choose one of those ({_short(error)}).", "environment"
        ) from None
    except gymnasium.error.NamespaceNotFound:
        raise SettingError(
            f"There is no environment {text!r}, as no package here registers ids that begin with {text.split('/')[0]}/: "
            "install the one that does and name its module in front, as module:Env-v0.",
            "environment",
        ) from None
    except (gymnasium.error.NameNotFound, gymnasium.error.UnregisteredEnv):
        raise _unknown(text) from None
    except ImportError as error:
        module, separator, _ = text.partition(":")
        # gymnasium puts a sentence of its own around what the import says.
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if separator and missing and f"{module}.".startswith(f"{missing}."):
            sentence = (
                f"{text} cannot be found, as Python knows no module {missing!r}: install it, or put the folder that holds it "
                "on PYTHONPATH."
            )
        elif importlib.util.find_spec("gymnasium_robotics") is None and "gymnasium-robotics" in str(error):
            sentence = f"{text} has moved to another package: choose its newest version, as Hopper-v5."
        else:
            sentence = (
                f"{text} needs a package that is not installed ({_short(cause)}): install it and try again."
            )
        raise SettingError(sentence, "environment") from None
    except Exception as error:
        if type(error) is gymnasium.error.Error and "alformed" in str(error):
            raise _unknown(text) from None
        raise SettingError(
            f"{text} cannot be made, {type(error).__name__} ({_short(error)}): correct its id or its code, or choose another "
            "environment.",
            "environment",
        ) from error


def _unknown(text: str) -> SettingError:
    return SettingError(
        f"There is no environment {text!r}{near_misses(text, known_ids())}: give a gymnasium id such as CartPole-v1 or "
        "Hopper-v5, or module:Env-v0 for one of your own.",
        "environment",
    )


def _facts(id: str, name: str, env: gymnasium.Env[Any, Any]) -> Facts:
    observed, acted = env.observation_space, env.action_space
    if not isinstance(observed, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise SettingError(
            f"{name} has observations of the kind {type(observed).__name__}, and the policy takes one vector: wrap it with "
            "gymnasium.wrappers.FlattenObservation under an id of your own, or choose another environment.",
            "environment",
        )
    size = int(spaces.flatdim(observed))
    if size > WIDEST:
        raise SettingError(
            f"{name} has observations of {size:,} numbers, and the policy's network takes {WIDEST:,} at most: choose an "
            "environment that gives positions and speeds instead of pictures.",
            "environment",
        )
    low = high = np.zeros(0)
    if isinstance(acted, spaces.Box):
        low, high = (np.asarray(bound, np.float64).reshape(-1) for bound in (acted.low, acted.high))
        actions = low.size
    elif isinstance(acted, spaces.Discrete):
        actions = int(acted.n)
    else:
        raise SettingError(
            f"{name} has actions of the kind {type(acted).__name__}, and the policy draws a vector (Box) or one of a finite "
            "number (Discrete): choose another environment.",
            "environment",
        )
    if not size or not actions:
        raise SettingError(
            f"{name} has nothing to observe or nothing to do: choose another environment.", "environment"
        )
    # Of the registration: the instance was made without a limit.
    registered = gymnasium.registry.get(name)
    limit = registered.max_episode_steps if registered is not None else None
    module, separator, _ = id.strip().rpartition(":")
    data = getattr(env.unwrapped, "data", None)
    return Facts(
        id=f"{module}{separator}{name}",
        observation_size=size,
        action_size=actions,
        discrete=isinstance(acted, spaces.Discrete),
        low=low,
        high=high,
        time_limit=limit if limit is not None and math.isfinite(limit) and limit > 0 else 0,
        simulator="mujoco" if type(data).__module__.partition(".")[0] == "mujoco" else "other",
    )


@functools.cache
def _quieten_mujoco() -> None:
    """Send MuJoCo's warnings to the log: it would print them, and write them to a file in the working folder."""
    if importlib.util.find_spec("mujoco") is not None:
        import mujoco

        mujoco.set_mju_user_warning(lambda text: logger.info("MuJoCo: %s", text))


def _advice(error: Exception) -> str:
    """What gymnasium says of a missing package, as the end of a sentence."""
    text = _short(error)
    return text if "install" in text.lower() else f"{text}; {INSTALL}it and try again"


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return (text if len(text) <= 240 else text[:237] + "...") or "it says no more"
