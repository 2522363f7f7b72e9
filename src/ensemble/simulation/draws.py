"""Random quantities, all made from uniform numbers: the same seed gives the same draw on every Python.

A job's generator is seeded by (seed, group, number, attempt), so what it draws does not depend on the order in which
jobs start. Only `Random.random()` is used: inverse transforms, Box and Muller (Annals of Mathematical Statistics 29,
1958), and Marsaglia and Tsang for the gamma distribution (ACM TOMS 26, 2000).
"""

from __future__ import annotations

__all__ = ["DISTRIBUTIONS", "Draw", "Uniform", "distribution", "group_seed", "job_seed", "recorded", "standard_normal"]

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ensemble.model.errors import InputError
from ensemble.spec.expressions import nearest

Uniform = Callable[[], float]
"""Gives numbers of [0, 1)."""

Draw = Callable[[Uniform], float]
"""Makes one value."""

_MOST_TRIES: Final = 1000


def group_seed(seed: int, name: str) -> int:
    """A number that stands for a run's seed and a group (or whatever else draws)."""
    digest = hashlib.sha256(f"simulated:{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") << 64


def job_seed(group: int, number: int, attempt: int) -> int:
    """What seeds the generator of one attempt of one job; `group` is its `group_seed`."""
    return group | (number << 16) | (attempt & 0xFFFF)


# ---- distributions ---------------------------------------------------------------------------------


def _constant(value: float) -> Draw:
    return lambda _uniform: value


def _uniform(low: float, high: float) -> Draw:
    if high < low:
        raise InputError(f"max {high:g} is below min {low:g}")
    width = high - low
    return lambda uniform: low + width * uniform()


def _triangular(low: float, mode: float, high: float) -> Draw:
    if not low <= mode <= high:
        raise InputError(f"mode {mode:g} does not lie from min {low:g} to max {high:g}")
    if low == high:
        return _constant(low)
    turn = (mode - low) / (high - low)

    def draw(uniform: Uniform) -> float:
        u = uniform()
        if u < turn:
            return low + math.sqrt(u * (high - low) * (mode - low))
        return high - math.sqrt((1.0 - u) * (high - low) * (high - mode))

    return draw


def standard_normal(uniform: Uniform) -> float:
    """One value of the standard normal distribution."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform()))
    return radius * math.cos(2.0 * math.pi * uniform())


def _normal(mean: float, std: float) -> Draw:
    return lambda uniform: mean + std * standard_normal(uniform)


def _lognormal(mean: float, cv: float) -> Draw:
    sigma2 = math.log1p(cv * cv)
    mu, sigma = math.log(mean) - sigma2 / 2.0, math.sqrt(sigma2)
    return lambda uniform: math.exp(mu + sigma * standard_normal(uniform))


def _exponential(mean: float, low: float) -> Draw:
    if mean < low:
        raise InputError(f"mean {mean:g} is below min {low:g}")
    rest = mean - low
    return lambda uniform: low - rest * math.log(1.0 - uniform())


def _weibull(shape: float, scale: float) -> Draw:
    power = 1.0 / shape
    return lambda uniform: float(scale * (-math.log(1.0 - uniform())) ** power)


def _gamma(shape: float, scale: float) -> Draw:
    d = (shape if shape >= 1.0 else shape + 1.0) - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)

    def draw(uniform: Uniform) -> float:
        value = d
        for _ in range(_MOST_TRIES):  # each try is taken with a probability above 0.95
            x = standard_normal(uniform)
            v = (1.0 + c * x) ** 3
            if v > 0.0 and math.log(1.0 - uniform()) < 0.5 * x * x + d - d * v + d * math.log(v):
                value = d * v
                break
        if shape < 1.0:
            value *= (1.0 - uniform()) ** (1.0 / shape)
        return scale * value

    return draw


def recorded(values: Sequence[float]) -> Draw:
    """One of the values, each as likely as the others (the bootstrap)."""
    if not values:
        raise InputError("`recorded` holds no value")
    known = tuple(float(value) for value in values)
    count = len(known)
    return lambda uniform: known[int(uniform() * count)]


# ---- from the file ---------------------------------------------------------------------------------

Parameters = Mapping[str, float]


class _Reader:
    """Takes parameters out by name, and knows what was taken."""

    def __init__(self, name: str, given: Parameters) -> None:
        self.name, self.given = name, given
        self.taken: list[str] = []

    def get(self, name: str, default: float | None = None) -> float:
        self.taken.append(name)
        value = self.given.get(name, default)
        if value is None:
            raise InputError(f"a {self.name} distribution needs `{name}`")
        return value

    def positive(self, name: str, default: float | None = None) -> float:
        value = self.get(name, default)
        if value <= 0:
            raise InputError(f"`{name}` of a {self.name} distribution must be above 0, not {value:g}")
        return value

    def least(self, name: str, default: float | None = None) -> float:
        value = self.get(name, default)
        if value < 0:
            raise InputError(f"`{name}` of a {self.name} distribution must not be negative; it is {value:g}")
        return value

    def relative_spread(self, mean: float) -> float:
        """`cv`, or `std` as a part of the mean."""
        if "std" in self.given:
            return self.least("std") / mean
        return self.least("cv")

    def done(self) -> None:
        for name in self.given:
            if name not in self.taken:
                known = ", ".join(dict.fromkeys(self.taken))
                raise InputError(f"a {self.name} distribution has no `{name}`; it has {known}")


def _read_normal(reader: _Reader) -> Draw:
    mean = reader.get("mean")
    if "cv" in reader.given:
        return _normal(mean, abs(mean) * reader.least("cv"))
    return _normal(mean, reader.least("std"))


def _read_lognormal(reader: _Reader) -> Draw:
    if "median" in reader.given:
        median, sigma = reader.positive("median"), reader.least("sigma")
        return lambda uniform: median * math.exp(sigma * standard_normal(uniform))
    mean = reader.positive("mean")
    return _lognormal(mean, reader.relative_spread(mean))


def _read_weibull(reader: _Reader) -> Draw:
    shape = reader.positive("shape")
    if "mean" in reader.given:
        return _weibull(shape, reader.positive("mean") / math.gamma(1.0 + 1.0 / shape))
    return _weibull(shape, reader.positive("scale"))


def _read_gamma(reader: _Reader) -> Draw:
    if "mean" not in reader.given:
        return _gamma(reader.positive("shape"), reader.positive("scale"))
    mean = reader.positive("mean")
    if "shape" in reader.given:
        shape = reader.positive("shape")
    else:
        cv = reader.relative_spread(mean)
        if cv == 0.0:
            return _constant(mean)
        shape = 1.0 / (cv * cv)
    return _gamma(shape, mean / shape)


DISTRIBUTIONS: Final[Mapping[str, Callable[[_Reader], Draw]]] = {
    "constant": lambda reader: _constant(reader.get("value")),
    "uniform": lambda reader: _uniform(reader.get("min"), reader.get("max")),
    "triangular": lambda reader: _triangular(reader.get("min"), reader.get("mode"), reader.get("max")),
    "normal": _read_normal,
    "lognormal": _read_lognormal,
    "exponential": lambda reader: _exponential(reader.positive("mean"), reader.least("min", 0.0)),
    "weibull": _read_weibull,
    "gamma": _read_gamma,
}
"""What `distribution` may name."""


def distribution(name: str, parameters: Parameters) -> Draw:
    """What draws from a distribution. Raises `InputError` for an unknown name, parameter or impossible value.

    `constant`: value. `uniform`: min, max. `triangular`: min, mode, max. `normal`: mean, std or cv. `lognormal`: mean,
    std or cv; or median, sigma. `exponential`: mean, min (0). `weibull`: shape, scale or mean. `gamma`: mean, std, cv
    or shape; or shape, scale.
    """
    if name not in DISTRIBUTIONS:
        meant = nearest(name, DISTRIBUTIONS)
        hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(DISTRIBUTIONS)}"
        raise InputError(f"there is no distribution {name!r}; {hint}")
    reader = _Reader(name, parameters)
    draw = DISTRIBUTIONS[name](reader)
    reader.done()
    return draw
