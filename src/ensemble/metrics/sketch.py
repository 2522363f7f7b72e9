"""A quantile sketch: counts in buckets whose width is 2 % of their values.

After Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees",
PVLDB 12(12), 2019. What differs, and why:

* The bucket of a value comes from `frexp` and a table of 34 constants instead of a logarithm: `math.log` may differ
  in its last bit between C libraries, and a value at a bucket's edge would then be counted differently on another
  machine. Here only comparisons decide, so equal values give equal buckets everywhere.
* Positive, zero and negative values share one ordered set of bucket codes.
* The ends of the distribution stay exact to 1 % when there are too many buckets: those nearest to zero merge.

The sketch's content depends on the values only, neither on their order nor on how they were merged.
"""

from __future__ import annotations

__all__ = ["MAX_BUCKETS", "RELATIVE_ERROR", "Sketch"]

from bisect import bisect_left, bisect_right, insort
from math import frexp, ldexp
from typing import Final

_STEPS: Final = 35
"""Buckets per factor of two."""

_EDGES: Final = (
    *(0.5100008047105995, 0.5202016416109182, 0.5306065116666864, 0.5412194958693883, 0.5520447568369061),
    *(0.5630865404461788, 0.5743491774985174, 0.5858370854182298, 0.5975547699852188, 0.6095068271022377),
    *(0.621697944597491, 0.6341329040632923, 0.646816582731497, 0.6597539553864471, 0.672950096316178),
    *(0.6864101813026525, 0.7001394896518026, 0.7141434062641757, 0.7284274237469964, 0.7429971445684742),
    *(0.757858283255199, 0.77301666863349, 0.7884782461155735, 0.8042490800314893, 0.8203353560076379),
    *(0.836743383392903, 0.8534795977333005, 0.8705505632961241, 0.887962975644578, 0.9057236642639066),
    *(0.9238395952400505, 0.9423178739918807, 0.9611657480580811, 0.9803906099397734),
)
"""2**(k/35 - 1) for k = 1..34, rounded down to 53 bits: the lower edges of all but the first bucket in [0.5, 1)."""

_CENTRES: Final = tuple(2.0 * a * b / (a + b) for a, b in zip((0.5, *_EDGES), (*_EDGES, 1.0), strict=True))
"""The value with the least worst relative error in each bucket."""

_SHIFT: Final = 40_000
"""Makes the code of every positive double positive: the least exponent is -1073, times 35 steps."""

RELATIVE_ERROR: Final = 0.01
"""Bound on |estimate - value| / |value| of a quantile; (2**(1/35) - 1) / (2**(1/35) + 1) = 0.0099 is reached."""

MAX_BUCKETS: Final = 2048
"""Of each sign. 2,048 neighbouring buckets span a factor of 4e17, so real data never comes near it."""

_MAX_CURSORS: Final = 8


class Sketch:
    """Counts of finite values in buckets; answers quantiles within 1 % of the value asked for.

    An estimate is within `RELATIVE_ERROR` of the true value at that rank for values of magnitude 2.3e-308 and more
    (smaller ones: within 5e-324 besides), as long as at most `MAX_BUCKETS` buckets of a sign are in use. Beyond,
    the buckets of that sign nearest to zero are merged and only values in them are estimated worse.

    Adding costs the same however many values there are. Reading a quantile again after some more values costs
    about one step for each bucket that its place has moved by.
    """

    __slots__ = ("_counts", "_cursors", "_order", "_total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._order: list[int] = []
        """The codes in `_counts`, ascending: the order of the codes is that of the values."""
        self._cursors: dict[float, list[int]] = {}
        """Per quantile read so far: [code, how many values lie below it]. They change only the speed."""
        self._total = 0

    @property
    def count(self) -> int:
        """How many values were added."""
        return self._total

    def add(self, value: float, count: int = 1) -> None:
        """Count a finite `value`, `count` times over."""
        self._add_code(bucket_of(value), count)
        self._total += count

    def extend(self, values: list[float]) -> None:
        """Count finite values: the same as `add` of each, but faster."""
        counts = self._counts
        cursors = list(self._cursors.values())
        # `bucket_of`, written out here: the call would cost as much as the rest.
        for value in values:
            if value > 0.0:
                mantissa, exponent = frexp(value)
                code = exponent * _STEPS + bisect_right(_EDGES, mantissa) + _SHIFT
            elif value < 0.0:
                mantissa, exponent = frexp(-value)
                code = -(exponent * _STEPS + bisect_right(_EDGES, mantissa) + _SHIFT)
            else:
                code = 0
            if code in counts:
                counts[code] += 1
                for cursor in cursors:
                    if code < cursor[0]:
                        cursor[1] += 1
            else:
                self._add_code(code, 1)
                cursors = list(self._cursors.values())
        self._total += len(values)

    def merge(self, other: Sketch) -> None:
        """Add what `other` holds. The result is that of one sketch that was given all the values."""
        for code in other._order:
            self._add_code(code, other._counts[code])
        self._total += other._total

    def copy(self) -> Sketch:
        """Return an independent sketch of the same content."""
        twin = Sketch()
        twin._counts = dict(self._counts)
        twin._order = list(self._order)
        twin._total = self._total
        return twin

    def quantile(self, q: float) -> float | None:
        """Estimate the `q` quantile, 0 <= q <= 1; None when empty.

        Between two ranks it interpolates linearly, as numpy's `percentile` does by default; the bound then holds
        when both values have one sign, and else is `RELATIVE_ERROR` times the larger magnitude.
        """
        if not self._total:
            return None
        place = q * (self._total - 1)
        rank = int(place)
        at, below = self._seek(q, rank)
        low = value_of(self._order[at])
        fraction = place - rank
        if fraction == 0.0 or below + self._counts[self._order[at]] > rank + 1:
            return low
        high = value_of(self._order[at + 1])
        return low * (1.0 - fraction) + high * fraction

    def buckets(self) -> list[tuple[float, int]]:
        """Return each bucket's representative value and count, ascending."""
        return [(value_of(code), self._counts[code]) for code in self._order]

    def state(self) -> list[int]:
        """Return everything as plain data: code, count, code, count, ... by ascending code."""
        flat: list[int] = []
        for code in self._order:
            flat.append(code)
            flat.append(self._counts[code])
        return flat

    @classmethod
    def from_state(cls, state: list[int]) -> Sketch:
        """Rebuild a sketch from what `state` returned."""
        sketch = cls()
        for index in range(0, len(state), 2):
            sketch._add_code(state[index], state[index + 1])
            sketch._total += state[index + 1]
        return sketch

    def _add_code(self, code: int, count: int) -> None:
        if code in self._counts:
            self._counts[code] += count
        else:
            self._counts[code] = count
            insort(self._order, code)
            if len(self._order) > MAX_BUCKETS:
                self._collapse()
        for cursor in self._cursors.values():
            if code < cursor[0]:
                cursor[1] += count

    def _collapse(self) -> None:
        """Merge the bucket nearest to zero into its outer neighbour, on a side that has too many."""
        order = self._order
        first_positive = bisect_right(order, 0)
        if len(order) - first_positive > MAX_BUCKETS:
            self._fold(order.pop(first_positive), order[first_positive])
        first_not_negative = bisect_left(order, 0)
        if first_not_negative > MAX_BUCKETS:
            self._fold(order.pop(first_not_negative - 1), order[first_not_negative - 2])

    def _fold(self, gone: int, into: int) -> None:
        self._counts[into] += self._counts.pop(gone)
        self._cursors.clear()

    def _seek(self, q: float, rank: int) -> tuple[int, int]:
        """Return the index in `_order` of the bucket that holds `rank`, and how many values lie below it."""
        order, counts = self._order, self._counts
        cursor = self._cursors.get(q)
        if cursor is None:
            if len(self._cursors) >= _MAX_CURSORS:
                self._cursors.clear()
            cursor = [order[0], 0]
            self._cursors[q] = cursor
        at = bisect_left(order, cursor[0])
        below = cursor[1]
        while below > rank:
            at -= 1
            below -= counts[order[at]]
        while below + counts[order[at]] <= rank:
            below += counts[order[at]]
            at += 1
        cursor[0], cursor[1] = order[at], below
        return at, below


def bucket_of(value: float) -> int:
    """Return the code of the bucket that a finite `value` falls into; codes order as values do."""
    if value == 0.0:
        return 0
    mantissa, exponent = frexp(abs(value))
    code = exponent * _STEPS + bisect_right(_EDGES, mantissa) + _SHIFT
    return code if value > 0.0 else -code


def value_of(code: int) -> float:
    """Return the value that stands for all values of the bucket `code`."""
    if code == 0:
        return 0.0
    exponent, step = divmod(abs(code) - _SHIFT, _STEPS)
    size = ldexp(_CENTRES[step], exponent)
    return size if code > 0 else -size
