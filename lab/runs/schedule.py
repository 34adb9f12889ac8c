"""When a keyframe is due, and which ones to drop: pure logic for the worker's loop, without a clock, a file or a thread.

Two bounds hold together. Time: after keyframes that took c seconds, the next one waits until training has earned c at a fixed
small share of the time. Space: when there are too many, or they are too large, the regular ones are thinned to about half,
evenly over the time of training, and come half as often from then on; so a run of any length is covered without holes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from lab.runs.folder import BEFORE_CHANGE, DIVERGED, Keyframe

FEWEST = 8
"""Where the space holds fewer regular keyframes, they still come as often as if it held these: the newest counts most."""


class KeyframeSchedule:
    """Decides for one run.

    Parameters
    ----------
    space : int
        Bytes that keyframes and their pictures may take together; may be set while the run goes on.
    share, young_share : float
        The part of the time that keyframes may take, the latter in the first ``young`` seconds after the start.
    young : float
        In seconds.
    interval : float
        Seconds between regular keyframes at first.
    most_regular, most : int
        How many there may be: of all but those before changes and at divergences, and of all.

    Attributes
    ----------
    space : int
    interval : float
        Seconds between regular keyframes now.
    """

    def __init__(
        self,
        space: int = 512 * 2**20,
        share: float = 0.015,
        young_share: float = 0.1,
        young: float = 10.0,
        interval: float = 1.0,
        most_regular: int = 128,
        most: int = 300,
    ) -> None:
        self.space = space
        self.interval = interval
        self._share = share
        self._young_share = young_share
        self._young = young
        self._most_regular = most_regular
        self._most = most
        self._grown_up = self._written = self._earned = math.inf

    # --- time  ----------

    def start(self, now: float) -> None:
        """Begin to count time; ``now`` is of any clock in seconds, the same one in every call."""
        self._grown_up = now + self._young
        self._written = self._earned = now

    def is_due(self, now: float) -> bool:
        """Whether a regular keyframe is due."""
        return now >= self._written + self.interval and self.can_afford(now)

    def can_afford(self, now: float) -> bool:
        """Whether one that nobody planned, such as the best so far, stays within the share of the time."""
        return now >= self._earned

    def wrote(self, now: float, seconds: float) -> None:
        """Say that one was written at ``now`` and took this long."""
        self._written = now
        in_youth = max(self._grown_up - now, 0.0) * self._young_share
        if seconds <= in_youth:
            earned = now + seconds / self._young_share
        else:
            earned = max(self._grown_up, now) + (seconds - in_youth) / self._share
        self._earned = max(self._earned, earned)

    # --- space  ----------

    def is_over_space(self, held: Sequence[Keyframe]) -> bool:
        """Whether keyframes take more than the space, which after `surplus` means that a single one is larger."""
        return _Held(held).bytes > self.space

    def surplus(self, held: Sequence[Keyframe]) -> list[Keyframe]:
        """Which keyframes to drop now, so that the others keep within the bounds; in the order to drop them.

        The first, the last, the newest that can be trained from, the newest best one, and those before changes and at
        divergences stay as long as they fit without any other. The newest that can be trained from stays whatever its size.
        """
        records = sorted(held, key=lambda record: record.place)
        if not records:
            return []
        left = _Held(records)
        newest = _newest_sound(records)
        planned = [record for record in records if record.reason != BEFORE_CHANGE] or records
        best = [record for record in records if record.reason == "best"][-1:]
        guarded = {record.place for record in (planned[0], planned[-1], newest, *best)}
        changes = [record for record in records if record.reason in _CHANGES]
        regular = [record for record in records if record.reason not in _CHANGES]

        room = max(min(self._most_regular, self._most - len(changes)), 0)
        too_many, too_large = len(regular) > room, left.bytes > self.space
        if too_many or too_large:
            fixed = _Held(changes).bytes
            count = room // 2 if too_many else room
            space = fixed + max(self.space - fixed, 0) / 2 if too_large else self.space
            kept = _thin(regular, guarded, left, lambda kept: kept <= count and left.bytes <= space)
            span = regular[-1].seconds - regular[0].seconds if regular else 0.0
            if math.isfinite(span):
                self.interval = max(self.interval, span / max(kept, FEWEST))
        if left.count > self._most:
            spared = guarded | {changes[-1].place} if changes else guarded
            _thin(changes, spared, left, lambda _: left.count <= self._most // 2)
        for record in (
            *(record for record in changes if record.place not in guarded),
            planned[0],
            *best,
            planned[-1],
        ):
            if left.bytes > self.space and record.place != newest.place:
                left.drop(record)
        return left.dropped


_CHANGES = (BEFORE_CHANGE, DIVERGED)


class _Held:
    """Keyframes of which some are dropped: how many are left, and the bytes of their files; two may share theirs."""

    def __init__(self, records: Sequence[Keyframe]) -> None:
        self.count = len(records)
        self.dropped: list[Keyframe] = []
        self._gone: set[tuple[int, bool]] = set()
        self._uses = Counter(file for record in records for file in _files(record))
        self.bytes = sum(size for _, _, size in self._uses)

    def drop(self, record: Keyframe) -> None:
        if record.place in self._gone:
            return
        self._gone.add(record.place)
        self.dropped.append(record)
        self.count -= 1
        for file in _files(record):
            self._uses[file] -= 1
            if not self._uses[file]:
                self.bytes -= file[2]


def _files(record: Keyframe) -> tuple[tuple[str, str, int], ...]:
    return ("state", record.file, record.size), ("pictures", record.frame, record.frame_size)


def _newest_sound(records: Sequence[Keyframe]) -> Keyframe:
    """The newest that can be trained from; failing that, the newest."""
    finite = [record for record in records if record.finite]
    sound = [record for record in finite if record.reason != DIVERGED]
    return (sound or finite or records)[-1]


def _thin(
    line: Sequence[Keyframe],
    guarded: Collection[tuple[int, bool]],
    held: _Held,
    enough: Callable[[int], bool],
) -> int:
    """Drop those that leave the smallest gaps in the time of training, until it is enough; returns how many are left.

    So no gap becomes longer than twice the mean. The ends of the line go last.
    """
    line = list(line)
    while not enough(len(line)):
        end = len(line) - 1
        gaps = [
            (line[index + 1].seconds - line[index - 1].seconds if 0 < index < end else math.inf, index)
            for index, record in enumerate(line)
            if record.place not in guarded
        ]
        if not gaps:
            break
        held.drop(line.pop(min(gaps)[1]))
    return len(line)
