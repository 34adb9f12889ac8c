"""Small environments made for tests; registered when this is imported, as by ``tests.engines.trpo.worlds:LabDict-v0``."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from engines.trpo.environments import Environment
from engines.trpo.policies import CategoricalPolicy, GaussianPolicy
from tests.engines.trpo.lively import generator

HERE = "tests.engines.trpo.worlds"


def box(*shape: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)


def halves(number: int) -> tuple[int, int]:
    """A seed as two numbers that float32 holds exactly."""
    return number >> 16, number & 0xFFFF


def whole(high: float, low: float) -> int:
    return (int(high) << 16) + int(low)


class World(gymnasium.Env):
    """Counts its steps and keeps what it was given; what the others have in common."""

    observation_space = box(2)
    action_space = spaces.Discrete(3)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.time = 0
        self.taken = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.time, self.taken = seed, 0, None
        return self.observe(), {}

    def step(self, action):
        self.time += 1
        self.taken = action
        return self.observe(), self.reward(), self.over(), False, {}

    def observe(self):
        return np.array([self.time, 1.0], np.float32)

    def reward(self):
        return 1.0

    def over(self):
        return self.time >= 10


class Numbered(World):
    """Its observation tells seed and step; its reward tells step and action. Each seed has a length from 3 to 9."""

    observation_space = box(3)
    # What a test wants done before a step of the episode with this seed.
    before: ClassVar[Callable[[int, int], None] | None] = None

    def step(self, action):
        if Numbered.before is not None:
            Numbered.before(self.seed, self.time)
        return super().step(action)

    def observe(self):
        return np.array([*halves(self.seed), self.time], np.float32)

    def reward(self):
        return 10.0 * (self.time - 1) + int(self.taken)

    def over(self):
        return self.time >= length_of(self.seed)


def length_of(seed: int) -> int:
    return 3 + seed % 7


class Unlucky(Numbered):
    """Fails in the third step of every episode whose seed can be divided by four."""

    def step(self, action):
        if self.time == 2 and self.seed % 4 == 0:
            raise RuntimeError(f"seed {self.seed}")
        return super().step(action)


class Marathon(Numbered):
    """Three steps if its seed is even, and otherwise no end."""

    def over(self):
        return self.seed % 2 == 0 and self.time >= 3


class Faint(World):
    """Pays less than a float's normal format holds."""

    def reward(self):
        return float(np.float64(1e-300) * np.float64(10.0 ** -(14 + self.time % 2)))


class Five(Numbered):
    """Five steps, always."""

    def over(self):
        return self.time >= 5


class Named(World):
    observation_space = spaces.Dict({"place": box(2), "speed": box(1)})

    def observe(self):
        return {"place": np.zeros(2, np.float32), "speed": np.zeros(1, np.float32)}


class Paired(World):
    observation_space = spaces.Tuple((box(2), spaces.Discrete(3)))

    def observe(self):
        return np.zeros(2, np.float32), 0


class Raises(World):
    def reward(self):
        if self.time == 3:
            raise ZeroDivisionError("the wheel came off")
        return 1.0


class RaisesAtReset(World):
    def observe(self):
        raise OSError("no such map")


class NotANumber(World):
    """From its fourth step on it does not know where it is; with ``falls`` it fails one step later."""

    def __init__(self, render_mode=None, falls=False):
        super().__init__(render_mode)
        self.falls = falls

    def observe(self):
        return np.array([np.nan if self.time >= 4 else 0.0, 1.0], np.float32)

    def reward(self):
        if self.falls and self.time == 5:
            raise ValueError("a contact far away")
        return 1.0


class NoReward(World):
    def reward(self):
        return float("nan") if self.time == 3 else 1.0


class Lies(World):
    observation_space = box(3)


class Old(World):
    """Gives four things, as in old times."""

    def step(self, action):
        return super().step(action)[:4]


class Cuts(World):
    """Cuts its own episode off after six steps."""

    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.time >= 6, info


class Rooms(World):
    observation_space = spaces.Discrete(5)

    def observe(self):
        return self.time % 5


class Switches(World):
    action_space = spaces.MultiDiscrete([2, 3])


class FromOne(World):
    action_space = spaces.Discrete(3, start=1)


class Whole(World):
    action_space = spaces.Box(-2, 3, (2,), np.int64)


class Exact(World):
    """A box of float64 whose bounds float32 does not hold, and which it insists on."""

    action_space = spaces.Box(-0.1, 0.1, (1, 2), np.float64)

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is outside"
        return super().step(action)


class Picture(World):
    observation_space = spaces.Box(0, 255, (80, 80, 3), np.uint8)


class Stamp(World):
    observation_space = spaces.Box(0, 255, (3, 4), np.uint8)

    def observe(self):
        return np.full((3, 4), self.time, np.uint8)


class Unspoken(gymnasium.Env):
    """Says nothing of what can be observed or done."""


class Idle(World):
    action_space = spaces.Box(-1, 1, (0,), np.float32)


class Overwrites(World):
    """Gives the same array each time."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.buffer = np.zeros(2, np.float32)

    def observe(self):
        self.buffer[:] = self.time, -self.time
        return self.buffer


class Luck(World):
    """A noisy place on a line; the observation tells the last action and the seed, the reward pays for the place.

    ``own``: its random numbers come from a generator of its own instead of gymnasium's.
    """

    observation_space = box(4)
    action_space = box(1)

    def __init__(self, render_mode=None, actions=0, own=False):
        super().__init__(render_mode)
        self.own = own
        if actions:
            self.action_space = spaces.Discrete(actions)

    def reset(self, *, seed=None, options=None):
        self.place, self.last = 0.0, 0.0
        if self.own:
            self.dice = np.random.default_rng(seed)
        return super().reset(seed=seed)

    def step(self, action):
        self.last = float(np.asarray(action).reshape(-1)[0])
        dice = self.dice if self.own else self.np_random
        self.place = 0.9 * self.place + 0.2 * self.last + dice.normal()
        return super().step(action)

    def observe(self):
        return np.array([self.place, self.last, *halves(self.seed)], np.float32)

    def reward(self):
        return self.place - 0.1 * self.last

    def over(self):
        return self.time >= 30 or abs(self.place) > 6.0


class Deep(World):
    """Its clock lies within an object, where only a deep copy gets at it."""

    class Clock:
        time = 0

    def reset(self, *, seed=None, options=None):
        self.clock = Deep.Clock()
        return super().reset(seed=seed)

    def step(self, action):
        self.clock.time += 1
        return super().step(action)

    def observe(self):
        clock = getattr(self, "clock", None)
        return np.array([clock.time, 0.0], np.float32)


class Stuck(World):
    """Its state lies in a running generator, which nothing can copy."""

    def reset(self, *, seed=None, options=None):
        self.story = iter(number for number in range(1000))
        return super().reset(seed=seed)

    def observe(self):
        return np.array([next(self.story), 0.0], np.float32)


class Elsewhere(World):
    """Its state lies in the class: a copy shares it."""

    ticks = 0

    def reset(self, *, seed=None, options=None):
        Elsewhere.ticks = 0
        return super().reset(seed=seed)

    def step(self, action):
        Elsewhere.ticks += 1
        return super().step(action)

    def observe(self):
        return np.array([Elsewhere.ticks, 0.0], np.float32)


class Endless(World):
    def over(self):
        return False


def clocked(render_mode=None):
    """Cut off by a wrapper that counts, within the registration's own function."""
    return gymnasium.wrappers.TimeLimit(Endless(), 40)


REGISTERED = {
    "Numbered": Numbered,
    "Unlucky": Unlucky,
    "Five": Five,
    "Marathon": Marathon,
    "Faint": Faint,
    "Dict": Named,
    "Tuple": Paired,
    "Raises": Raises,
    "RaisesAtReset": RaisesAtReset,
    "NaN": NotANumber,
    "NaNFalls": (NotANumber, {"falls": True}),
    "NoReward": NoReward,
    "Lies": Lies,
    "Old": Old,
    "Cuts": Cuts,
    "Rooms": Rooms,
    "Switches": Switches,
    "FromOne": FromOne,
    "Whole": Whole,
    "Exact": Exact,
    "Picture": Picture,
    "Stamp": Stamp,
    "Unspoken": Unspoken,
    "Idle": Idle,
    "Overwrites": Overwrites,
    "Luck": Luck,
    "OwnLuck": (Luck, {"own": True}),
    "Gamble": (Luck, {"actions": 2}),
    "Many": (Luck, {"actions": 40}),
    "Deep": Deep,
    "Stuck": Stuck,
    "Elsewhere": Elsewhere,
    "Clocked": clocked,
}

for _name, _entry in REGISTERED.items():
    _point, _arguments = _entry if isinstance(_entry, tuple) else (_entry, {})
    gymnasium.register(
        f"Lab{_name}-v0",
        _point,
        kwargs=_arguments,
        max_episode_steps=25 if _name == "Numbered" else None,
    )


def world(name: str) -> Environment:
    return Environment(f"{HERE}:Lab{name}-v0")


def actor_for(environment: Environment, seed: int = 3, hidden=(8,)):
    """A policy whose actions differ from state to state and from draw to draw."""
    facts = environment.facts
    make = CategoricalPolicy if facts.discrete else GaussianPolicy
    arguments = {} if facts.discrete else {"initial_log_std": -0.5}
    policy = make(
        facts.observation_size,
        facts.action_size,
        hidden,
        output_scale=1.0,
        generator=generator(seed),
        **arguments,
    )
    return policy.numpy_actor()
