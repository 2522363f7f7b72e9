"""The statistics there are, each declared once: its name, what it means, and how it is worked out.

Expressions, the reference and the hints for misspelt names take them from `STATISTICS`. Another package adds one with
`register`, or has an entry point in the group `ensemble.statistics` that names it:

    cv = Statistic("cv", "coefficient of variation, std / abs(mean)", lambda values: ...)
"""

from __future__ import annotations

__all__ = ["STATISTICS", "Moments", "Statistic", "Values", "is_known", "look_up_with", "register"]

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt
from typing import Final, Protocol

from ensemble.metrics.sketch import Sketch
from ensemble.metrics.student import student_975


class Moments:
    """Count, sum, mean, sum of squared deviations and extremes of some values."""

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


class Values(Protocol):
    """What a statistic is worked out from."""

    def moments(self) -> Moments:
        """Return count, sum, mean and the like, for reading only."""
        ...

    def sketch(self) -> Sketch:
        """Return the quantile sketch, for reading only."""
        ...

    def ewma(self) -> float | None:
        """Return the exponentially weighted mean in the order in which the values came; None without any."""
        ...


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic. `read` returns None where it is undefined; `shown` is its name in tables, where it is another."""

    name: str
    help: str
    read: Callable[[Values], float | None]
    shown: str = ""


STATISTICS: Final[dict[str, Statistic]] = {}
"""Every statistic by name."""


def register(statistic: Statistic) -> Statistic:
    """Add a statistic. Raises `ValueError` when its name is no word, or is taken by another one."""
    if not statistic.name.isidentifier() or statistic.name == "derived":
        raise ValueError(f"{statistic.name!r} cannot be the name of a statistic")
    if statistic.name in STATISTICS:
        raise ValueError(f"there is a statistic {statistic.name!r} already")
    STATISTICS[statistic.name] = statistic
    return statistic


_discover: list[Callable[[], None]] = []


def look_up_with(discover: Callable[[], None]) -> None:
    """Call `discover`, once, when a statistic is asked for that is not known yet: it may register more."""
    _discover[:] = [discover]


def is_known(name: str) -> bool:
    """Whether there is a statistic of that name, here or in another package."""
    if name not in STATISTICS and _discover:
        _discover.pop()()
    return name in STATISTICS


# ---- those that come with this package ---------------------------------------------------------------


def _mean(values: Values) -> float | None:
    of = values.moments()
    return of.mean if of.count else None


def _min(values: Values) -> float | None:
    of = values.moments()
    return of.low if of.count else None


def _max(values: Values) -> float | None:
    of = values.moments()
    return of.high if of.count else None


def _variance(values: Values) -> float | None:
    of = values.moments()
    return of.m2 / (of.count - 1) if of.count > 1 else None


def _std(values: Values) -> float | None:
    variance = _variance(values)
    return None if variance is None else sqrt(variance)


def _sem(values: Values) -> float | None:
    variance = _variance(values)
    return None if variance is None else sqrt(variance / values.moments().count)


def _ci95(values: Values) -> float | None:
    sem = _sem(values)
    return None if sem is None else student_975(values.moments().count - 1) * sem


def _rel_ci95(values: Values) -> float | None:
    half, mean = _ci95(values), values.moments().mean
    return None if half is None or mean == 0.0 else half / abs(mean)


def _quantile(q: float) -> Callable[[Values], float | None]:
    return lambda values: _bounded(values.sketch(), q, values.moments())


def _bounded(sketch: Sketch, q: float, of: Moments) -> float | None:
    """Return the `q` quantile of `sketch`, kept between the extremes in `of`; None when empty."""
    value = sketch.quantile(q)
    return None if value is None else min(max(value, of.low), of.high)


def _interquartile(values: Values) -> float | None:
    sketch, of = values.sketch(), values.moments()
    low, high = _bounded(sketch, 0.25, of), _bounded(sketch, 0.75, of)
    return None if low is None or high is None else high - low


def _deviation(values: Values) -> float | None:
    """Return the median of |value - median| (the lower one of an even number); None when empty."""
    sketch, of = values.sketch(), values.moments()
    median = _bounded(sketch, 0.5, of)
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


register(Statistic("count", "how many values there are, or jobs (below)", lambda of: float(of.moments().count)))
register(Statistic("sum", "their sum", lambda of: of.moments().total))
register(Statistic("mean", "arithmetic mean", _mean))
register(Statistic("variance", "sample variance (n - 1)", _variance))
register(Statistic("std", "sample standard deviation", _std))
register(Statistic("sem", "standard error of the mean, std / sqrt(n)", _sem))
register(Statistic("ci95", "half the width of the 95 % confidence interval of the mean (Student's t)", _ci95))
register(Statistic("rel_ci95", "ci95 / abs(mean): 0.02 means that the mean is known to within 2 %", _rel_ci95))
register(Statistic("min", "smallest value", _min))
register(Statistic("max", "largest value", _max))
register(Statistic("ewma", "exponentially weighted mean, which follows a drift", lambda values: values.ewma()))
register(Statistic("median", "median, to within 1 %", _quantile(0.5)))
for _percent in range(1, 100):
    register(Statistic(f"p{_percent}", "percentile, to within 1 %", _quantile(_percent / 100), shown="p1 ... p99"))
register(Statistic("iqr", "interquartile range, p75 - p25", _interquartile))
register(Statistic("mad", "median absolute deviation from the median", _deviation))
