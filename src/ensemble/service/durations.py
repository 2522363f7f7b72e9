"""Counting how long something took, in buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Durations:
    """How many durations were at most each of some bounds, in seconds, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` rise; beyond the last is one more bucket."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[float, int]]:
        """(bound, how many were at most that), the last for infinity."""
        found, count = [], 0
        for bound, more in zip((*self._bounds, float("inf")), self._counts, strict=True):
            count += more
            found.append((bound, count))
        return found
