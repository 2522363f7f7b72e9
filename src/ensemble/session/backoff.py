"""When to try again: exponential with full jitter, so that a thousand agents do not come back at once."""

from __future__ import annotations

from random import Random
from typing import Final

FIRST: Final = 0.1
MOST: Final = 15.0


class Backoff:
    """Delays between attempts, in seconds.

    Each is between half and all of an upper bound that doubles from `first` up to `most`.
    Source: Exponential Backoff And Jitter, AWS Architecture Blog, 2015 ("equal jitter").
    """

    def __init__(self, first: float = FIRST, most: float = MOST, seed: int | None = None) -> None:
        self._first, self._most = first, most
        self._random = Random(seed)
        self._bound = first

    def next(self) -> float:
        """The delay before the next attempt."""
        bound, self._bound = self._bound, min(self._bound * 2, self._most)
        return bound * (0.5 + 0.5 * self._random.random())

    def reset(self) -> None:
        """It worked: begin anew."""
        self._bound = self._first
