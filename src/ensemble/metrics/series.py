"""A stream of values and its statistics.

Numbers are the same to the last bit whenever they are read, on every platform and Python: values are folded strictly
one by one in the order they were added, with IEEE 754 + - * / and sqrt only. (Compiled with mypyc, C must be told
`-ffp-contract=off`: a fused multiply-add rounds once instead of twice.)
"""

from __future__ import annotations

__all__ = ["EWMA_WEIGHT", "STATISTICS", "Moments", "Series", "deviation", "moment"]

from collections.abc import Callable
from math import inf, isfinite, nan, sqrt
from typing import Any, Final

from ensemble.metrics.sketch import Sketch
from ensemble.metrics.student import student_975

EWMA_WEIGHT: Final = 0.3
"""Weight of the newest value in `ewma`; the first value starts it."""

MOMENTS: Final = ("count", "sum", "mean", "variance", "std", "sem", "ci95", "rel_ci95", "min", "max")

QUANTILES: Final = {"median": 0.5, **{f"p{percent}": percent / 100 for percent in range(1, 100)}}
"""The names of single quantiles, and the quantile of each."""

STATISTICS: Final = (*MOMENTS, "ewma", *QUANTILES, "iqr", "mad")
"""Every name that `stat` knows."""

_BATCH: Final = 64
"""Values kept before they are folded; more would only cost memory."""


class Moments:
    """Count, sum, mean, sum of squared deviations and extremes of some values; `moment` reads it."""

    __slots__ = ("count", "high", "low", "m2", "mean", "total")

    def __init__(
        self,
        count: int = 0,
        total: float = 0.0,
        mean: float = 0.0,
        m2: float = 0.0,
        low: float = inf,
        high: float = -inf,
    ) -> None:
        self.count = count
        self.total = total
        self.mean = mean
        self.m2 = m2
        self.low = low
        self.high = high

    def merge(self, other: Moments) -> None:
        """Take in `other`.

        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
        """
        if not other.count:
            return
        if self.count:
            count = self.count + other.count
            delta = other.mean - self.mean
            self.m2 += other.m2 + delta * delta * (self.count * other.count / count)
            self.mean += delta * (other.count / count)
            self.count = count
            self.total += other.total
        else:
            self.count, self.total, self.mean, self.m2 = other.count, other.total, other.mean, other.m2
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)


def moment(name: str, of: Moments) -> float | None:
    """Return one of `MOMENTS`; None where it is undefined: no values, one value for a spread, a mean of 0."""
    count = of.count
    if name == "count":
        return float(count)
    if name == "sum":
        return of.total
    if count < 1:
        return None
    if name == "mean":
        return of.mean
    if name == "min":
        return of.low
    if name == "max":
        return of.high
    return _spread(name, of)


def _spread(name: str, of: Moments) -> float | None:
    count = of.count
    if count < 2:
        return None
    variance = of.m2 / (count - 1)
    if name == "variance":
        return variance
    if name == "std":
        return sqrt(variance)
    sem = sqrt(variance / count)
    if name == "sem":
        return sem
    half = student_975(count - 1) * sem
    if name == "ci95":
        return half
    return half / abs(of.mean) if of.mean != 0.0 else None


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
        """The first value ever: with it, `merge` can tell what an ewma would have been."""
        self._sketch: Sketch | None = None

    def add(self, value: float) -> None:
        """Take in a value. One that is not finite is left out: the caller says so to people."""
        if value - value == 0.0:
            pending = self._pending
            pending.append(value)
            if len(pending) >= _BATCH:
                self._settle()

    def stat(self, name: str) -> float | None:
        """Return a statistic; None where it is undefined, or overflows.

        Raises `KeyError` for a name that is not one of `STATISTICS`.
        """
        value = _READERS[name](self, name)
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


def _read_moment(series: Series, name: str) -> float | None:
    return moment(name, series.moments())


def _read_mean(series: Series, name: str) -> float | None:
    # written out: the statistic that most rules read
    if series._folded < len(series._pending):
        series._fold()
    of = series._moments
    return of.mean if of.count else None


def _read_ewma(series: Series, name: str) -> float | None:
    return series._ewma if series.moments().count else None


def _read_quantile(series: Series, name: str) -> float | None:
    return bounded(series.sketch(), QUANTILES[name], series.moments())


def _read_iqr(series: Series, name: str) -> float | None:
    return interquartile(series.sketch(), series.moments())


def _read_mad(series: Series, name: str) -> float | None:
    return deviation(series.sketch(), series.moments())


_READERS: Final[dict[str, Callable[[Series, str], float | None]]] = {
    **dict.fromkeys(MOMENTS, _read_moment),
    "mean": _read_mean,
    "ewma": _read_ewma,
    **dict.fromkeys(QUANTILES, _read_quantile),
    "iqr": _read_iqr,
    "mad": _read_mad,
}


def bounded(sketch: Sketch, q: float, of: Moments) -> float | None:
    """Return the `q` quantile of `sketch`, kept between the extremes in `of`; None when empty."""
    value = sketch.quantile(q)
    return None if value is None else min(max(value, of.low), of.high)


def interquartile(sketch: Sketch, of: Moments) -> float | None:
    """Return p75 - p25; None when empty."""
    low, high = bounded(sketch, 0.25, of), bounded(sketch, 0.75, of)
    return None if low is None or high is None else high - low


def deviation(sketch: Sketch, of: Moments) -> float | None:
    """Return the median of |value - median| (the lower one of an even number); None when empty."""
    median = bounded(sketch, 0.5, of)
    if median is None:
        return None
    distances = [(abs(min(max(value, of.low), of.high) - median), count) for value, count in sketch.buckets()]
    distances.sort()
    rank = (sketch.count - 1) // 2
    for distance, count in distances:
        if rank < count:
            return distance
        rank -= count
    return None  # pragma: no cover - the counts add up to `sketch.count`


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
