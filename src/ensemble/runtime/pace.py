"""How fast jobs may be handed over: one rate for all runs that share it."""

from __future__ import annotations

__all__ = ["Pace"]

import asyncio
import time
from collections.abc import Callable
from typing import Final

_LOOK: Final = 0.25
"""Seconds between looks at whether something more urgent waits."""


class Pace:
    """At most `rate` jobs a second over all who take from it, in the order in which they ask."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_at = 0.0

    @property
    def portion(self) -> int:
        """How many jobs to take at once, so that nobody waits much longer than a second for one portion."""
        return max(1, int(self.rate))

    async def take(self, jobs: int, urgent: Callable[[], bool] = lambda: False) -> bool:
        """Wait until so many may go; false, and none may, when `urgent` became true before."""
        now = time.monotonic()
        begins = max(now, self._free_at)
        self._free_at = ends = begins + jobs / self.rate
        while (left := begins - time.monotonic()) > 0:
            if urgent():
                if self._free_at == ends:
                    self._free_at = begins  # nobody has asked since: it is given back
                return False
            await asyncio.sleep(min(left, _LOOK))
        return True
