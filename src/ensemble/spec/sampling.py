"""Points that are drawn: at random, by a Latin hypercube or a Sobol sequence. The same seed gives the same points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.spec.axes import (
    Points,
    axis_name,
    check_keys,
    check_size,
    finite,
    kind_of,
    number_between,
    values_of,
    whole,
)

__all__ = ["DESIGNS", "sampled"]

_Draw = Callable[[float], Scalar]
"""From a number in [0, 1) to a value of an axis."""

_BELOW_ONE: Final = math.nextafter(1.0, 0.0)


def sampled(method: str, given: Any, seed: int) -> Points:
    """Draw the points of a method of `DESIGNS`; raises `InputError` when samples or axes are wrong."""
    if not isinstance(given, Mapping):
        raise InputError(f"parameters: {method} needs samples and axes, not {kind_of(given)}")
    if "samples" not in given:
        raise InputError(f"parameters: {method} needs `samples`, the number of points")
    samples = whole(method, given, "samples")
    check_size(samples)
    draws = {axis_name(name): _draw(name, value) for name, value in given.items() if name != "samples"}
    if not draws:
        raise InputError(f"parameters: {method} has no axes")
    check_size(samples * len(draws), "numbers")
    rows = DESIGNS[method](samples, len(draws), seed)
    return tuple({name: draw(number) for (name, draw), number in zip(draws.items(), row, strict=True)} for row in rows)


def _random_design(samples: int, axes: int, seed: int) -> list[list[float]]:
    generator = Random(seed)
    return [[generator.random() for _ in range(axes)] for _ in range(samples)]


def _latin_hypercube(samples: int, axes: int, seed: int) -> list[list[float]]:
    """One point in each of `samples` strata of every axis (McKay, Beckman and Conover 1979)."""
    generator = Random(seed)
    columns = []
    for _ in range(axes):
        strata = list(range(samples))
        # Written out (Fisher and Yates), since only random() gives the same numbers on every Python.
        for last in range(samples - 1, 0, -1):
            other = int(generator.random() * (last + 1))
            strata[last], strata[other] = strata[other], strata[last]
        columns.append([min((stratum + generator.random()) / samples, _BELOW_ONE) for stratum in strata])
    return [list(row) for row in zip(*columns, strict=True)]


def _sobol(samples: int, axes: int, seed: int) -> list[list[float]]:
    """Scrambled Sobol points by `scipy.stats.qmc`; best balanced when `samples` is a power of two."""
    try:
        from scipy.stats import qmc  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise InputError("parameters: sobol needs scipy; install it with: pip install 'ensemble-hpc[sobol]'") from None
    if axes > qmc.Sobol.MAXDIM:
        raise InputError(f"parameters: sobol has at most {qmc.Sobol.MAXDIM} axes, not {axes}")
    if seed < 0:
        raise InputError(f"parameters: sobol needs a seed of 0 or more, not {seed}")
    # A power of two is drawn and cut, so that a prefix of the sequence is taken and scipy has nothing to warn of.
    points = qmc.Sobol(axes, scramble=True, seed=seed).random_base2(max(0, (samples - 1).bit_length()))
    return [[min(float(number), _BELOW_ONE) for number in row] for row in points[:samples]]


DESIGNS: Final = {"random": _random_design, "latin-hypercube": _latin_hypercube, "sobol": _sobol}
"""Numbers in [0, 1) for each axis of each point, by method."""


def _draw(name: str, given: Any) -> _Draw:
    """How a number in [0, 1) becomes a value of this axis."""
    if isinstance(given, list | tuple):
        given = {"choice": given}
    if not isinstance(given, Mapping):
        raise InputError(f"parameters: {name} needs {{from, to}} or {{choice: [...]}}, not {kind_of(given)}")
    if "choice" in given:
        check_keys(f"parameters: {name}", given, ("choice",), ())
        choices = values_of(name, given["choice"])
        return lambda number: choices[int(number * len(choices))]
    check_keys(f"parameters: {name}", given, ("from", "to", "scale", "integer"), ("from", "to"))
    start, end = finite(name, given, "from"), finite(name, given, "to")
    if not start <= end:
        raise InputError(f"parameters: {name}: from {start} is above to {end}")
    integer = given.get("integer", False)
    if not isinstance(integer, bool):
        raise InputError(f"parameters: {name}: integer is true or false, not {integer}")
    scale = given.get("scale", "linear")
    return _integer_between(name, start, end, scale) if integer else number_between(name, start, end, scale)


def _integer_between(name: str, start: float, end: float, scale: object) -> _Draw:
    """Whole numbers, both ends included, each as likely as the width of the interval from it to the next."""
    first, last = math.ceil(start), math.floor(end)
    if first > last:
        raise InputError(f"parameters: {name}: there is no whole number from {start} to {end}")
    between = number_between(name, first, last + 1, scale)
    return lambda number: min(math.floor(between(number)), last)
