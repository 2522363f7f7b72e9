"""Runs side by side: ratios of their quantities with intervals, and what was different about where they ran."""

from __future__ import annotations

__all__ = ["Compared", "Ratio", "Side", "compare", "differences"]

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from ensemble.metrics import student_975
from ensemble.report.text import point_label


class Side(Struct, frozen=True):
    """One of the runs: its name, its rows by point, and the machine that saved it."""

    name: str
    points: list[dict[str, Any]]
    environment: dict[str, Any] = {}


class Ratio(Struct, frozen=True):
    """A mean divided by that of the first run, and its 95 % interval; None where too few values are known."""

    mean: float | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


class Compared(Struct, frozen=True):
    """A quantity of a point: its mean in the first run, and a ratio for each other one."""

    point: str
    quantity: str
    first: float | None
    others: tuple[Ratio, ...]


class _Mean(Struct, frozen=True):
    value: float
    half: float | None
    count: int


def compare(sides: Sequence[Side]) -> list[Compared]:
    """Compare every quantity of every point with that of the first run."""
    means = [_means(side.points) for side in sides]
    keys = dict.fromkeys(key for found in means for key in found)
    return [
        Compared(
            point=point,
            quantity=quantity,
            first=first.value if (first := means[0].get((point, quantity))) else None,
            others=tuple(_ratio(first, found.get((point, quantity))) for found in means[1:]),
        )
        for point, quantity in keys
    ]


def _means(points: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], _Mean]:
    found = {}
    for row in points:
        for name, value in row.items():
            if name.endswith(".mean") and value is not None:
                quantity = name.removesuffix(".mean")
                mean = _Mean(value, row.get(f"{quantity}.ci95"), row.get(f"{quantity}.n") or 0)
                found[point_label(row), quantity] = mean
    return found


def _ratio(one: _Mean | None, other: _Mean | None) -> Ratio:
    """The ratio of two independent means; its interval by the delta method on logarithms, with Welch's degrees of
    freedom (Welch, *Biometrika* 34, 1947)."""
    if one is None or other is None or one.value == 0:
        return Ratio(other.value if other is not None else None)
    ratio = other.value / one.value
    errors = [_relative_error(mean) for mean in (one, other)]
    if ratio <= 0 or any(error is None for error in errors):
        return Ratio(other.value, ratio)
    variances = [(error or 0.0) ** 2 for error in errors]
    spread = math.sqrt(sum(variances))
    if spread == 0.0:
        return Ratio(other.value, ratio, ratio, ratio)
    freedom = sum(variances) ** 2 / sum(
        variance**2 / (mean.count - 1) for variance, mean in zip(variances, (one, other), strict=True)
    )
    factor = math.exp(student_975(max(1, math.floor(freedom))) * spread)
    return Ratio(other.value, ratio, ratio / factor, ratio * factor)


def _relative_error(mean: _Mean) -> float | None:
    """The standard error of a mean, relative to it."""
    if mean.half is None or mean.count < 2 or mean.value == 0:
        return None
    return mean.half / student_975(mean.count - 1) / abs(mean.value)


def differences(environments: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What is not the same in all environments, by its path, with the value in each; None where there is none."""
    flat = [dict(_flat(environment)) for environment in environments]
    names = dict.fromkeys(name for found in flat for name in found)
    values = {name: [found.get(name) for found in flat] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _flat(data: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
