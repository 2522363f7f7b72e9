"""How long a run still takes, as far as what has happened tells."""

from __future__ import annotations

__all__ = ["Rate", "remaining"]

from collections import deque
from typing import Final, NamedTuple

from ensemble.engine import CellStatus, Status

WINDOW_SECONDS: Final = 30.0
"""The rate of jobs is that of this much time before now."""


class Rate:
    """Jobs that end per second, over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, finished: int) -> float | None:
        """Return the rate in jobs per second once `finished` jobs have ended at `now` (seconds, any clock).

        None while less than a second has been seen.
        """
        self._seen.append((now, finished))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()
        began, before = self._seen[0]
        return (finished - before) / (now - began) if now - began >= 1.0 else None


def remaining(status: Status) -> float | None:
    """Estimate the seconds until all present jobs have ended; jobs that rules may still add are not counted.

    The work that is left (waiting jobs whole, running ones half) by the mean duration of each group, shared by as many
    jobs as run now. A group without a duration yet counts with the mean of all jobs that have one. None while no job
    has, and while nothing runs.
    """
    known = [(found.jobs, found.mean) for group in status.groups if (found := _duration(group)) is not None]
    if status.outcome or not status.total.running or not known:
        return None
    usual = sum(jobs * mean for jobs, mean in known) / sum(jobs for jobs, _ in known)
    work = 0.0
    for group in status.groups:
        found = _duration(group)
        work += (found.mean if found is not None else usual) * (group.pending + group.running / 2)
    return work / status.total.running


class _Duration(NamedTuple):
    jobs: int
    mean: float


def _duration(group: CellStatus) -> _Duration | None:
    found = group.quantities.get("duration")
    return _Duration(found.count, found.mean) if found is not None and found.mean is not None else None
