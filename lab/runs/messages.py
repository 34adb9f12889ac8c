"""What a session and its worker say to each other: frozen, plain data; crosses threads and processes, Qt-free.

Every command carries a number that its session gave it, and is answered once, with the step at which it took effect.

States
------
idle -> starting -> running <-> paused -> stopping -> done, and failed from everywhere; ``done`` and ``failed`` end it.
A run that reached its last step is paused with ``finished`` set: raising ``steps`` lets it go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engines.figures import Frame
from engines.method import Action
from lab.runs.folder import Keyframe

RunState = Literal["idle", "starting", "running", "paused", "stopping", "failed", "done"]

TRANSITIONS: Mapping[RunState, tuple[RunState, ...]] = {
    "idle": ("starting", "failed", "done"),
    "starting": ("running", "paused", "stopping", "failed", "done"),
    "running": ("paused", "stopping", "failed", "done"),
    "paused": ("running", "stopping", "failed", "done"),
    "stopping": ("done", "failed"),
    "failed": (),
    "done": (),
}
"""From each state, the states that may follow."""

ENDED: tuple[RunState, ...] = ("failed", "done")

KEYFRAME_SPACE = 512 * 2**20
"""Bytes that a run's keyframes may take unless the person says otherwise."""


@dataclass(frozen=True)
class RunSpec:
    """All that a worker needs to begin a run.

    Attributes
    ----------
    run : str
        Id of the run.
    paper, engine : str
        ``engine`` is ``"module:Class"``.
    values : mapping
        Settings as plain values.
    device : str
        As `engines.device.choose` takes it.
    folder : str or None
        Where the run is written; None keeps nothing.
    resume : str or None
        A run folder whose keyframe is the starting point; what it has up to there is the beginning of this run's folder.
    keyframe : str
        File name of that keyframe; empty for the newest that can be read.
    before_change : bool
        Whether the keyframe is the one just before a live change, where another one has the same file.
    relation : {"continue", "rewind", "fork"}
        What the run is to the one that it resumes.
    preset, name : str
    paused : bool
        Begin paused at the first step.
    threads : int or None
        Torch's threads; None leaves one core to the window.
    picture_share : float
        The part of the time that pictures may take from training, each class of cost by itself; more of it in the first
        seconds, when everything changes and the person waits.
    keyframe_space : int
        Bytes that keyframes and their pictures may take on the disk; 0 keeps none.
    """

    run: str
    paper: str
    engine: str
    values: Mapping[str, Any]
    device: str = "auto"
    folder: str | None = None
    resume: str | None = None
    keyframe: str = ""
    before_change: bool = False
    relation: str = "continue"
    preset: str = ""
    name: str = ""
    paused: bool = False
    threads: int | None = None
    picture_share: float = 0.025
    keyframe_space: int = KEYFRAME_SPACE


# --- commands, from the session to the worker  ----------


@dataclass(frozen=True)
class Start:
    """Begin a run; answered when the engine stands."""

    spec: RunSpec


@dataclass(frozen=True)
class Play:
    """Train on."""


@dataclass(frozen=True)
class Pause:
    """Stop between two steps; a keyframe is written."""


@dataclass(frozen=True)
class Advance:
    """Do this many steps, then pause."""

    steps: int = 1


@dataclass(frozen=True)
class Change:
    """Live and display settings; in effect from the next step."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class Act:
    """A request of the hand."""

    action: Action


@dataclass(frozen=True)
class Want:
    """Send these pictures once, each when its turn comes; ``now`` lets them jump the queue. Not answered by itself."""

    names: tuple[str, ...]
    now: bool = False


@dataclass(frozen=True)
class Summarise:
    """Compute the final scalars; answered with them."""


@dataclass(frozen=True)
class Leash:
    """Train no further than this step for now, and wait there without pausing; None lets go. For runs in lockstep."""

    step: int | None = None


@dataclass(frozen=True)
class Space:
    """Keyframes and their pictures may take this many bytes from now on."""

    bytes: int


@dataclass(frozen=True)
class Stop:
    """End the run and keep it: metrics and a last keyframe are written."""


@dataclass(frozen=True)
class Close:
    """End the worker, and the run if there is one."""


Command = Start | Play | Pause | Advance | Change | Act | Want | Summarise | Leash | Space | Stop | Close


@dataclass(frozen=True)
class Numbered:
    """A command with the number under which it is answered."""

    number: int
    command: Command


# --- reports, from the worker to the session  ----------


@dataclass(frozen=True)
class Hello:
    """The worker is warm: torch is imported."""

    pid: int


@dataclass(frozen=True)
class Answer:
    """A command took effect at ``step``, or was refused with a sentence; ``payload`` is its result, plain data."""

    number: int
    step: int
    error: str = ""
    field: str = ""
    payload: Any = None


@dataclass(frozen=True)
class StateChanged:
    """The run's state, with a sentence where there is something to say."""

    state: RunState
    step: int
    message: str = ""
    finished: bool = False


@dataclass(frozen=True)
class Scalars:
    """A batch of scalars: ``steps`` (N,), each column (N,), NaN where a step did not report it."""

    steps: np.ndarray
    columns: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """Frames that were wanted."""

    frames: tuple[Frame, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How it goes: the step of how many, steps per second, bytes in use."""

    step: int
    total: int
    steps_per_second: float
    memory: int


@dataclass(frozen=True)
class Started:
    """The engine stands.

    Attributes
    ----------
    values : mapping
        The settings in use.
    device, device_name : str
    data : mapping
    """

    values: Mapping[str, Any]
    device: str
    device_name: str
    data: Mapping[str, str] = field(default_factory=dict)
    step: int = 0


@dataclass(frozen=True)
class Kept:
    """The keyframes that can be gone back to changed.

    Attributes
    ----------
    keyframes : tuple of Keyframe
        All there are now, in order.
    space : int
        Bytes that they may take.
    """

    keyframes: tuple[Keyframe, ...]
    space: int


@dataclass(frozen=True)
class Marked:
    """Something that belongs on the time line: a live change, a request of the hand, a new best, a divergence, a branch.

    ``details`` is what the run's folder records of it.
    """

    step: int
    kind: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Diverged:
    """Training was paused because its numbers left every earlier scale.

    Attributes
    ----------
    step : int
    sentence : str
    keyframe : Keyframe or None
        The newest one from before it began; None where there is none.
    setting : str
        The setting that is the learning rate; empty where the method has none.
    value : float or None
        What to train on with from that keyframe.
    """

    step: int
    sentence: str
    keyframe: Keyframe | None = None
    setting: str = ""
    value: float | None = None


@dataclass(frozen=True)
class Note:
    """Something to tell the person that changes no state; shown inline."""

    text: str
    kind: Literal["info", "warning", "error"] = "info"
    step: int = 0


@dataclass(frozen=True)
class Failure:
    """The run cannot go on: a sentence, the details to copy, whose fault it is, and `InputError.remedy`."""

    sentence: str
    details: str
    kind: Literal["input", "memory", "fault", "died"]
    step: int
    remedy: str = ""


Report = (
    Hello
    | Answer
    | StateChanged
    | Scalars
    | Pictures
    | Progress
    | Started
    | Kept
    | Marked
    | Diverged
    | Note
    | Failure
)
