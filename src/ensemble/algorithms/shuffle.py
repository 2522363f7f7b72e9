"""Drawing without replacement: the start of a shuffle of all that is left, without making all of it."""

from __future__ import annotations

__all__ = ["draws"]

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random

from ensemble.algorithms.packaged import draw


def draws(random: Random, counts: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Draw up to `most` things from piles of `counts`, each thing equally likely at every draw.

    Returns (pile, how many) in the order drawn, neighbours of one pile put together. Cost follows `most` and the
    number of piles, not the number of things.
    """
    ends = list(accumulate(counts))
    things = ends[-1] if ends else 0
    picks: list[tuple[int, int]] = []
    # A shuffle of 0..things-1 by exchange (Fisher and Yates), of which only the exchanged places are kept.
    moved: dict[int, int] = {}
    for turn in range(min(most, things)):
        place = turn + draw(random, things - turn)
        thing = moved.get(place, place)
        moved[place] = moved.get(turn, turn)
        pile = bisect_right(ends, thing)
        if picks and picks[-1][0] == pile:
            picks[-1] = (pile, picks[-1][1] + 1)
        else:
            picks.append((pile, 1))
    return picks
