"""Waits of which some are not over: `pending` as rules see it.

A job that still waits counts once, at its present age. Nothing is done as time passes: ages follow from the times of
submission, kept as whole microseconds, so that their sums are exact whatever the order of coming and going.
"""

from __future__ import annotations

__all__ = ["PendingSeries", "Waiting"]

from bisect import bisect_left
from math import isfinite
from typing import Any, Final

from ensemble.metrics.series import Series
from ensemble.metrics.sketch import Sketch
from ensemble.metrics.statistics import STATISTICS, Moments

_SECOND: Final = 1_000_000


class Waiting:
    """How many jobs wait, and since when. Times are seconds of one clock, exact to the microsecond.

    `enter` and `leave` cost the same however many jobs wait, as long as times of entry come about in order.
    """

    __slots__ = ("_counts", "_first", "_squares", "_sum", "_times", "_total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        """Jobs that wait, by their time of entry in microseconds."""
        self._times: list[int] = []
        """Times of entry, ascending. A time since which no job waits any more is removed later, with others."""
        self._first = 0
        """No time before this index of `_times` is in use."""
        self._total = 0
        self._sum = 0
        self._squares = 0

    @property
    def count(self) -> int:
        """How many jobs wait."""
        return self._total

    def enter(self, at: float, count: int = 1) -> None:
        """`count` jobs begin to wait at time `at`."""
        self._enter(round(at * _SECOND), count)

    def leave(self, at: float) -> None:
        """One of the jobs that entered at `at` waits no more. Raises `KeyError` when none does."""
        time = round(at * _SECOND)
        left = self._counts[time] - 1
        if left:
            self._counts[time] = left
        else:
            del self._counts[time]
        self._total -= 1
        self._sum -= time
        self._squares -= time * time
        if len(self._times) > 2 * len(self._counts) + 16:
            self._times = sorted(self._counts)
            self._first = 0

    def moments(self, now: float) -> Moments:
        """Return the moments of the ages at `now`, in seconds. No age is negative: `now` is never taken for
        earlier than the latest entry."""
        count = self._total
        if not count:
            return Moments()
        oldest, newest = self._ends()
        time = max(round(now * _SECOND), newest)
        total = count * time - self._sum
        squares = count * time * time - 2 * time * self._sum + self._squares
        return Moments(
            count,
            total / _SECOND,
            total / (count * _SECOND),
            (count * squares - total * total) / (count * _SECOND * _SECOND),
            (time - newest) / _SECOND,
            (time - oldest) / _SECOND,
        )

    def ages(self, now: float) -> list[tuple[float, int]]:
        """Return each age at `now`, in seconds, and how many have it; the oldest first."""
        if not self._total:
            return []
        counts = self._counts
        time = max(round(now * _SECOND), self._ends()[1])
        return [((time - entry) / _SECOND, counts[entry]) for entry in self._times[self._first :] if entry in counts]

    def entries(self) -> list[tuple[float, int]]:
        """Return each time of entry, in seconds, and how many wait since then; the earliest first."""
        return [(time / _SECOND, self._counts[time]) for time in sorted(self._counts)]

    def state(self) -> list[int]:
        """Return everything as plain data: microsecond, count, ... by ascending time."""
        flat: list[int] = []
        for time in sorted(self._counts):
            flat.append(time)
            flat.append(self._counts[time])
        return flat

    @classmethod
    def from_state(cls, state: list[int]) -> Waiting:
        """Rebuild from what `state` returned."""
        waiting = cls()
        for index in range(0, len(state), 2):
            waiting._enter(state[index], state[index + 1])
        return waiting

    def _enter(self, time: int, count: int) -> None:
        if time in self._counts:
            self._counts[time] += count
        else:
            self._counts[time] = count
            self._remember(time)
        self._total += count
        self._sum += count * time
        self._squares += count * time * time

    def _remember(self, time: int) -> None:
        """Put a time into its place in `_times`, where it may still be from before."""
        times = self._times
        if not times or time > times[-1]:
            times.append(time)
            return
        place = bisect_left(times, time)
        if times[place] != time:
            times.insert(place, time)
        self._first = min(self._first, place)

    def _ends(self) -> tuple[int, int]:
        """Return the earliest and the latest time in use; there must be one."""
        times, counts = self._times, self._counts
        while times[self._first] not in counts:
            self._first += 1
        while times[-1] not in counts:
            times.pop()
        return times[self._first], times[-1]


class PendingSeries:
    """Waits that are over and waits that are not, as one series.

    Every statistic is over both, each wait once, those not over at their present age; but `ewma` is over the waits
    that are over, in the order of their end: the others have none yet. A quantile that has to look at
    jobs still waiting costs a step for each distinct time of entry, everything else costs the same always.
    """

    __slots__ = ("finished", "waiting")

    def __init__(self) -> None:
        self.finished = Series()
        self.waiting = Waiting()

    def enter(self, at: float, count: int = 1) -> None:
        """`count` jobs begin to wait at time `at`, in seconds."""
        self.waiting.enter(at, count)

    def finish(self, at: float, wait: float) -> None:
        """A job that entered at `at` has waited for `wait` seconds. Raises `KeyError` when none did."""
        self.waiting.leave(at)
        self.finished.add(wait)

    def leave(self, at: float) -> None:
        """A job that entered at `at` will never start: it counts no more. Raises `KeyError` when none waits."""
        self.waiting.leave(at)

    def stat(self, name: str, now: float) -> float | None:
        """Return a statistic as of time `now`; None where it is undefined.

        Raises `KeyError` for a name that is not one of `STATISTICS`.
        """
        if not self.waiting.count:
            return self.finished.stat(name)
        value = STATISTICS[name].read(_AtPresent(self, now))
        return value if value is not None and isfinite(value) else None

    def state(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; reading it changes no later result."""
        return {"finished": self.finished.state(), "waiting": self.waiting.state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> PendingSeries:
        """Rebuild from what `state` returned."""
        series = cls()
        series.finished = Series.from_state(state["finished"])
        series.waiting = Waiting.from_state(state["waiting"])
        return series


class _AtPresent:
    """The waits of a series, finished or not, as of one moment: what a statistic reads."""

    def __init__(self, series: PendingSeries, now: float) -> None:
        self._series = series
        self._now = now
        self._moments: Moments | None = None

    def moments(self) -> Moments:
        """Of all waits."""
        if self._moments is None:
            self._moments = Moments()
            self._moments.merge(self._series.finished.moments())
            self._moments.merge(self._series.waiting.moments(self._now))
        return self._moments

    def sketch(self) -> Sketch:
        """Of all waits."""
        sketch = self._series.finished.sketch().copy()
        for age, count in self._series.waiting.ages(self._now):
            sketch.add(age, count)
        return sketch

    def ewma(self) -> float | None:
        """Of the waits that are over."""
        return self._series.finished.ewma()
