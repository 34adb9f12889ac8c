"""MuJoCo's own renderer, and whether it is fast here; used by one thread at a time, tried in a process of its own.

A driver of OpenGL may take seconds to load, hang or crash. So it is tried in a child process first, once for each process of
ours, and nothing of OpenGL is loaded here before the child has come back with a picture. A `Camera` is made, used and closed
on one thread within one call: contexts of OpenGL belong to threads, and none is left to the garbage collector.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

WIDTH, HEIGHT = 320, 240
"""Pixels of a picture."""

FAST = 0.010
"""Seconds that a picture may take for ``renderer="auto"`` to choose it."""

PATIENCE = 40.0
"""Seconds after which a child that has not answered is given up."""

MOST_SHAPES = 2_000

_MODEL = """
<mujoco>
  <asset>
    <texture name="floor" type="2d" builtin="checker" rgb1="0 0 0" rgb2="0.8 0.8 0.8" width="100" height="100"/>
    <material name="floor" texture="floor" texrepeat="60 60" reflectance="0.5"/>
  </asset>
  <worldbody>
    <light directional="true" pos="0 0 1.3" dir="0 0 -1.3"/>
    <geom type="plane" size="20 20 0.1" material="floor"/>
    <body pos="0 0 1.2">
      <freejoint/>
      <geom type="capsule" fromto="0 0 0.2 0 0 -0.2" size="0.05"/>
      <geom type="capsule" fromto="0 0 -0.2 0 0 -0.6" size="0.05"/>
      <geom type="capsule" fromto="-0.1 0 -1 0.2 0 -1" size="0.06"/>
    </body>
  </worldbody>
</mujoco>
"""
"""About as much to draw as Hopper is: a mirroring floor with shadows on it, and some capsules."""


@dataclass(frozen=True)
class Answer:
    """What the child said.

    Attributes
    ----------
    seconds : float
        That a picture takes; infinite where there are none.
    problem : str
        Why there are none, without a full stop; empty where there are.
    """

    seconds: float
    problem: str = ""

    @property
    def is_fast(self) -> bool:
        """Whether films can be drawn this way without being waited for."""
        return not self.problem and self.seconds < FAST


class Probe:
    """Asks a child process for a picture, on a thread of its own.

    Parameters
    ----------
    command : list of str, optional
        What the child runs; it prints the answer as JSON in its last line.
    patience : float
        Seconds.
    """

    def __init__(self, command: list[str] | None = None, patience: float = PATIENCE) -> None:
        self._command = command
        self._patience = patience
        self._answer: Answer | None = None
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._begun = False

    def start(self) -> None:
        """Begin to ask, if nobody has."""
        with self._lock:
            if self._begun:
                return
            self._begun = True
        threading.Thread(target=self._ask, name="lab-gl-probe", daemon=True).start()

    def answer(self, wait: float = 0.0) -> Answer | None:
        """What came back; None while nothing has, after so many seconds."""
        self.start()
        return self._answer if self._done.wait(wait) else None

    def _ask(self) -> None:
        try:
            self._answer = self._asked()
        except Exception as error:
            # Whatever it is, it only means that outlines are drawn.
            self._answer = Answer(float("inf"), f"it could not be tried ({type(error).__name__}: {error})")
        finally:
            self._done.set()

    def _asked(self) -> Answer:
        command = self._command or _child()
        try:
            done = subprocess.run(
                command,
                env=environment_of_child(os.environ),
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=self._patience,
                check=False,
                # On Windows a console would flash up.
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except subprocess.TimeoutExpired:
            return Answer(float("inf"), f"it gave no picture within {self._patience:.0f} seconds")
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            return Answer(float("inf"), f"it crashed when it was tried (exit code {done.returncode})")
        found = json.loads(lines[-1])
        return Answer(float(found["seconds"]), str(found["problem"]))


_probe = Probe()
"""Of this process."""


def probe() -> Probe:
    """The one of this process: a driver does not change while it runs."""
    return _probe


def is_hopeless() -> bool:
    """Whether nothing here could draw fast: Linux without a graphics device, unless the user named a way to draw."""
    if not sys.platform.startswith("linux") or os.environ.get("MUJOCO_GL"):
        return False
    devices = [*Path("/dev/dri").glob("renderD*"), Path("/dev/nvidia0"), Path("/dev/dxg")]
    return not any(device.exists() for device in devices)


def environment_of_child(ours: Mapping[str, str]) -> dict[str, str]:
    """The variables of the child's process: ours, and EGL on Linux unless the user chose otherwise."""
    child = dict(ours)
    if sys.platform.startswith("linux"):
        child.setdefault("MUJOCO_GL", "egl")
    # Packages are found there as they are here, wherever the child starts.
    child["PYTHONPATH"] = os.pathsep.join(part or os.getcwd() for part in sys.path)
    return child


def _child() -> list[str]:
    if not sys.executable or getattr(sys, "frozen", False):
        raise RuntimeError("there is no Python to start")
    return [sys.executable, "-m", "engines.trpo.gl"]


class Camera:
    """An OpenGL context of a MuJoCo model on the thread that makes it, as a context manager.

    Parameters
    ----------
    model : mujoco.MjModel
    view : mapping
        As gymnasium's ``default_camera_config`` has it: distance, azimuth, elevation, lookat.

    Raises
    ------
    Exception
        Whatever the driver raises.
    """

    def __init__(self, model: Any, view: Mapping[str, Any]) -> None:
        import mujoco

        self._mujoco = mujoco
        self._model = model
        self._data = mujoco.MjData(model)
        self._scene = mujoco.MjvScene(model, MOST_SHAPES)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(model, self._camera)
        for name in ("distance", "azimuth", "elevation", "lookat"):
            if name in view:
                setattr(self._camera, name, view[name])
        self._rectangle = mujoco.MjrRect(0, 0, WIDTH, HEIGHT)
        self._context: Any = _context_kind()(WIDTH, HEIGHT)
        self._drawer: Any = None
        try:
            self._context.make_current()
            self._drawer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawer)
        except BaseException:
            self.close()
            raise

    def picture(self, pose: np.ndarray, centre: tuple[float, float] | None = None) -> np.ndarray:
        """A pose (S,), the full integration state, as (HEIGHT, WIDTH, 3) of uint8; the camera looks at ``centre`` (x, y)."""
        mujoco = self._mujoco
        mujoco.mj_setState(self._model, self._data, pose, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(self._model, self._data)
        if centre is not None:
            self._camera.lookat[:2] = centre
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        mujoco.mjr_render(self._rectangle, self._scene, self._drawer)
        mujoco.mjr_readPixels(pixels, None, self._rectangle, self._drawer)
        # OpenGL counts rows from the bottom.
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Give everything back to the driver; on the thread that made it."""
        if self._drawer is not None:
            self._context.make_current()
            self._drawer.free()
            self._drawer = None
        if self._context is not None:
            self._context.free()
            self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _context_kind() -> Any:
    """The class of contexts: the user's choice, else EGL on Linux, where MuJoCo's own choice needs a display."""
    if sys.platform.startswith("linux") and not os.environ.get("MUJOCO_GL"):
        from mujoco.egl import GLContext
    else:
        from mujoco.gl_context import GLContext
    return GLContext


def pictures(
    model: Any, poses: np.ndarray, view: Mapping[str, Any], centres: np.ndarray | None = None
) -> np.ndarray:
    """Poses (T, S) as pictures (T, HEIGHT, WIDTH, 3) of uint8; the context does not outlive the call.

    Parameters
    ----------
    model : mujoco.MjModel
    poses : array (T, S)
    view : mapping
        See `Camera`.
    centres : array (T, 2), optional
        Where the camera looks, if it follows.

    Raises
    ------
    Exception
        Whatever the driver raises.
    """
    seen = np.empty((len(poses), HEIGHT, WIDTH, 3), np.uint8)
    with Camera(model, view) as camera:
        for index, pose in enumerate(poses):
            seen[index] = camera.picture(pose, None if centres is None else tuple(centres[index].tolist()))
    return seen


def main() -> None:
    """The child: draw some pictures and print what they took."""
    # A driver that hangs must not outlive a parent that is gone.
    faulthandler.dump_traceback_later(PATIENCE + 5.0, exit=True)
    problem, seconds = "", float("inf")
    try:
        seconds = _measured()
    except Exception as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")[:200]
    print(json.dumps({"seconds": seconds, "problem": problem}), flush=True)


def _measured() -> float:
    import mujoco

    model = mujoco.MjModel.from_xml_string(_MODEL)
    data = mujoco.MjData(model)
    pose = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, pose, mujoco.mjtState.mjSTATE_INTEGRATION)
    times = []
    with Camera(model, {}) as camera:
        for _ in range(6):
            began = time.perf_counter()
            picture = camera.picture(pose)
            times.append(time.perf_counter() - began)
        if not np.ptp(picture):
            raise RuntimeError("its picture is empty")
    # The first ones load what they need.
    return float(np.median(times[2:]))


if __name__ == "__main__":
    main()
