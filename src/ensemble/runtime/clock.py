"""The engine's clock: seconds since the Unix epoch that never go back."""

from __future__ import annotations

import time
from collections.abc import Callable

try:
    _CLOCK = time.CLOCK_BOOTTIME
except AttributeError:  # pragma: no cover - Linux counts the time it slept, others do not
    _CLOCK = time.CLOCK_MONOTONIC


def _elapsed() -> float:
    return time.clock_gettime(_CLOCK)


class RunClock:
    """Begins at the wall clock (or at the last time of the journal, if that is later) and goes on by itself.

    A wall clock that is set, back or forth, therefore neither stops a run's timers nor lets a limit pass early. Time in
    which the machine slept counts.
    """

    def __init__(
        self,
        last: float = 0.0,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = _elapsed,
    ) -> None:
        """`last`: the time of the last record, in seconds since the epoch."""
        self._elapsed = elapsed
        self._offset = max(wall(), last) - elapsed()
        self._last = last

    def now(self) -> float:
        """The time, never less than what was returned before."""
        self._last = max(self._last, self._elapsed() + self._offset)
        return self._last
