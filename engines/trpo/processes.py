"""Episodes played in a process of their own, which imports no torch; asked for from a thread of the training worker.

Of a step in MuJoCo's environments, hardly more than half leaves Python to other threads. In processes nothing waits. What
is played is the same bit for bit: a process has the code, the seed and the rules of rounding of the thread that asks.

A process ends when its connection does, in the middle of an episode too: it does not outlive who started it, however that
one ended. It is started by `subprocess`, as `multiprocessing` lets no daemonic process, which the worker is, have children.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from engines.errors import StepError
from engines.trpo.actors import Actor
from engines.trpo.environments import Environment
from engines.trpo.rollouts import Episode, Gone, play

AVAILABLE = os.name == "posix"
"""Whether file descriptors and the rules of rounding can be handed on; elsewhere threads have to do."""

REPORTED = 0.01
"""Seconds after which a process says how far it is, and learns that its episode is not needed any more."""

GRACE = 1.0
"""Seconds that a process has to end its step and close its environment when its connection is gone."""

ROUNDING_SIZE = 64
"""Bytes, at least as many as any system's fenv_t has."""

logger = logging.getLogger(__name__)


class Player:
    """A process that plays episodes in one environment.

    Parameters
    ----------
    id : str
        The environment.

    Raises
    ------
    OSError
        It cannot be started.
    """

    def __init__(self, id: str) -> None:
        self._connection, remote = multiprocessing.Pipe(duplex=True)
        # The path first, as it is where everything else is found.
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from engines.trpo.processes import serve; "
            f"serve({remote.fileno()}, {id!r})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=[remote.fileno()]
            )
        except OSError:
            self._connection.close()
            raise
        finally:
            # Only the child may hold its end, or its death would not close the pipe.
            remote.close()
        self._actor: Actor | None = None
        self._begun = False

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def wait(self) -> None:
        """Wait until it has made its environment.

        Raises
        ------
        Gone
            It could not.
        """
        told = self._receive()
        if told != "ready":
            raise Gone(str(told))
        self._begun = True

    def play(
        self,
        actor: Actor,
        seed: np.random.SeedSequence,
        horizon: int,
        going: Callable[[], bool],
        counts: list[int],
        number: int,
    ) -> Episode | None:
        """As `engines.trpo.rollouts.play`, though ``going`` is asked and ``counts`` is kept only now and then.

        Raises
        ------
        StepError
        Gone
            The process has ended.
        """
        # The same object, as long as it is held here, is the same policy.
        changed = None if actor is self._actor else actor
        self._send((changed, seed.entropy, seed.spawn_key, horizon, rounding()))
        self._actor = actor
        stopped = False
        while isinstance(told := self._receive(), int):
            counts[number] = told
            if not stopped and not going():
                self._send(None)
                stopped = True
        if isinstance(told, Exception):
            raise told
        if told is None:
            return None
        assert isinstance(told, Episode)
        counts[number] = len(told)
        return told

    def close(self) -> None:
        """End it."""
        if not self._begun:
            # Someone may wait for its first word, and a connection does not close while it is read.
            self._process.kill()
        self._connection.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise Gone("its connection is closed") from error

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise Gone("its connection is closed") from error


def serve(descriptor: int, id: str) -> None:
    """What the process does; returns never.

    Parameters
    ----------
    descriptor : int
        Of the socket to who started it.
    id : str
        The environment.
    """
    # Ctrl-C is meant for who started this process, which ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection: Connection = Connection(descriptor)
    wanted: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stopped = threading.Event()

    def listen() -> None:
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                stopped.set()
                wanted.put(None)
                time.sleep(GRACE)
                os._exit(0)
            if message is None:
                stopped.set()
            else:
                # What was to be stopped is over.
                stopped.clear()
                wanted.put(message)

    threading.Thread(target=listen, daemon=True).start()
    try:
        environment = Environment(id)
    except Exception as error:
        connection.send(str(error))
        os._exit(0)
    connection.send("ready")
    actor: Actor | None = None
    counts = [0]
    while True:
        message = wanted.get()
        if message is None:
            environment.close()
            os._exit(0)
        changed, entropy, spawn_key, horizon, rules = message
        actor = actor if changed is None else changed
        assert actor is not None
        told = time.perf_counter()

        def going() -> bool:
            nonlocal told
            now = time.perf_counter()
            if now - told > REPORTED:
                told = now
                connection.send(counts[0])
            return not stopped.is_set()

        counts[0] = 0
        round_like(rules)
        seed = np.random.SeedSequence(entropy, spawn_key=spawn_key)
        answer: Episode | Exception | None
        try:
            answer = play(environment, actor, seed, horizon, going=going, counts=counts)
        except StepError as error:
            answer = StepError(str(error))
        except Exception as error:
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            connection.send(answer)


# --- rounding  ----------


def rounding() -> bytes:
    """How this thread rounds: the worker's takes numbers too small for the normal format for zero, as torch was told."""
    held = ctypes.create_string_buffer(ROUNDING_SIZE)
    _math().fegetenv(held)
    return held.raw


def round_like(rules: bytes) -> None:
    """Have this thread round as the one that `rounding` was asked of."""
    _math().fesetenv(ctypes.create_string_buffer(rules, ROUNDING_SIZE))


@functools.cache
def _math() -> ctypes.CDLL:
    """C's mathematics: its functions are in the process whatever its library is called."""
    return ctypes.CDLL(None)
