"""A stream of values and its statistics.

Numbers are the same to the last bit whenever they are read, on every platform and Python: values are folded strictly
one by one in the order they were added, with IEEE 754 + - * / and sqrt only. (Compiled with mypyc, the C compiler needs
`-ffp-contract=off`: a fused multiply-add rounds once instead of twice.)
"""

from __future__ import annotations

__all__ = ["EWMA_WEIGHT", "Series"]

from math import isfinite, nan
from typing import Any, Final

from ensemble.metrics.sketch import Sketch
from ensemble.metrics.statistics import STATISTICS, Moments

EWMA_WEIGHT: Final = 0.3
"""Weight of the newest value in `ewma`; the first value starts it."""

_BATCH: Final = 64
"""Values kept before they are folded; more would only cost memory."""


class Series:
    """Values of one quantity as they come, and any of `STATISTICS` over them.

    Memory does not grow with the number of values. `add` is cheap and only keeps the value; the work is done in
    batches or when a statistic is read, and when that happens changes no result.

    - count, sum, mean, min, max
    - variance (of a sample, n - 1), std, sem (std / sqrt n): Welford's recurrence (Technometrics 4, 1962)
    - ci95: half the width of the 95 % confidence interval of the mean (Student's t); rel_ci95: ci95 / |mean|
    - ewma: exponentially weighted mean, `EWMA_WEIGHT` on the newest value
    - median, p1 ... p99, iqr (p75 - p25): from a `Sketch`, each quantile within 1 %, and never outside min..max
    - mad: median of |value - median|, from the sketch too, so within 0.01 x (2 x |median| + mad) of the exact one;
      where the spread is below a few percent of the median, use std
    """

    __slots__ = ("_ewma", "_first", "_folded", "_moments", "_pending", "_sketch")

    def __init__(self) -> None:
        self._pending: list[float] = []
        """Values not yet in the sketch; the first `_folded` of them are in the moments."""
        self._folded = 0
        self._moments = Moments()
        self._ewma = 0.0
        self._first = 0.0
        """The first value ever: `merge` needs it to compute the ewma."""
        self._sketch: Sketch | None = None

    def add(self, value: float) -> None:
        """Take in a value. One that is not finite is left out; the caller reports it."""
        if value - value == 0.0:
            pending = self._pending
            pending.append(value)
            if len(pending) >= _BATCH:
                self._settle()

    def stat(self, name: str) -> float | None:
        """Return a statistic; None where it is undefined, or overflows.

        Raises `KeyError` for a name that is not one of `STATISTICS`.
        """
        value = STATISTICS[name].read(self)
        return value if value is not None and isfinite(value) else None

    @property
    def count(self) -> int:
        """How many values were taken in."""
        return self._moments.count + len(self._pending) - self._folded

    def moments(self) -> Moments:
        """Return the moments, up to date, for reading only."""
        if self._folded < len(self._pending):
            self._fold()
        return self._moments

    def sketch(self) -> Sketch:
        """Return the quantile sketch, up to date, for reading only."""
        self._settle()
        return self._sketch if self._sketch is not None else Sketch()

    def ewma(self) -> float | None:
        """Return the exponentially weighted mean, up to date; None without any value."""
        return self._ewma if self.moments().count else None

    def merge(self, other: Series) -> None:
        """Take in all values of `other`, as if they had come after those already here.

        Equal to adding them one by one but for rounding in the last digits; quantiles are equal to the bit.
        """
        mine, theirs = self.moments(), other.moments()
        if not theirs.count:
            return
        if mine.count:
            faded = _power(1.0 - EWMA_WEIGHT, theirs.count)
            self._ewma = other._ewma + faded * (self._ewma - other._first)
        else:
            self._ewma, self._first = other._ewma, other._first
        sketch = self.sketch()
        sketch.merge(other.sketch())
        self._sketch = sketch
        mine.merge(theirs)

    def state(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; reading it changes no later result."""
        moments = self.moments()
        if not moments.count:
            return {}
        return {
            "count": moments.count,
            "sum": _plain(moments.total),
            "mean": _plain(moments.mean),
            "m2": _plain(moments.m2),
            "min": moments.low,
            "max": moments.high,
            "ewma": _plain(self._ewma),
            "first": self._first,
            "sketch": self.sketch().state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Series:
        """Rebuild a series from what `state` returned; it goes on to the same numbers as the first one."""
        series = cls()
        if state:
            series._moments = Moments(
                state["count"],
                _number(state["sum"]),
                _number(state["mean"]),
                _number(state["m2"]),
                float(state["min"]),
                float(state["max"]),
            )
            series._ewma = _number(state["ewma"])
            series._first = float(state["first"])
            series._sketch = Sketch.from_state(state["sketch"])
        return series

    def _fold(self) -> None:
        """Bring the moments up to date, value by value."""
        of = self._moments
        count, total, mean, m2, low, high = of.count, of.total, of.mean, of.m2, of.low, of.high
        values = self._pending[self._folded :] if self._folded else self._pending
        if count:
            ewma = self._ewma
        else:
            ewma = self._first = values[0] + 0.0
        for value in values:
            value += 0.0  # an int becomes a float, -0.0 becomes 0.0
            count += 1
            total += value
            delta = value - mean
            mean += delta / count
            m2 += delta * (value - mean)
            ewma += EWMA_WEIGHT * (value - ewma)
            if value < low:
                low = value
            if value > high:
                high = value
        of.count, of.total, of.mean, of.m2, of.low, of.high = count, total, mean, m2, low, high
        self._ewma = ewma
        self._folded = len(self._pending)

    def _settle(self) -> None:
        """Bring moments and sketch up to date and keep no value."""
        if self._pending:
            if self._folded < len(self._pending):
                self._fold()
            if self._sketch is None:
                self._sketch = Sketch()
            self._sketch.extend(self._pending)
            self._pending.clear()
            self._folded = 0


def _power(base: float, exponent: int) -> float:
    """Return base ** exponent by multiplications only: C's `pow` may differ in its last bit."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def _plain(value: float) -> float | None:
    """JSON has no infinity; a sum that overflowed stays undefined for ever, so None says all of it."""
    return value if isfinite(value) else None


def _number(value: float | None) -> float:
    return nan if value is None else float(value)
