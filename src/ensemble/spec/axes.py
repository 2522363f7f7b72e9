"""The axes of `parameters`: their names, and values from a list or a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.spec.expressions import nearest
from ensemble.spec.placeholders import JOB_NAMES
from ensemble.spec.tree import RESERVED

__all__ = [
    "LARGEST_SWEEP",
    "Points",
    "axis_name",
    "check_keys",
    "check_size",
    "did_you_mean",
    "finite",
    "kind_of",
    "number_between",
    "scalar",
    "sort_of",
    "values_of",
    "whole",
]

LARGEST_SWEEP: Final = 1_000_000
"""The most points of one entry."""

Points = tuple[dict[str, Scalar], ...]


def axis_name(name: Any) -> str:
    """Return the name of an axis; raises `InputError` for one that placeholders and paths cannot use."""
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or name in RESERVED:
        raise InputError(f"parameters: {name!r} cannot be the name of an axis; use letters, digits and _")
    if name in JOB_NAMES:
        raise InputError(f"parameters: every job has a {{{name}}} already; call the axis something else")
    return str(name)


def values_of(name: str, given: Any) -> list[Scalar]:
    """Return the values of an axis, from a list of them or from a range."""
    if isinstance(given, Mapping):
        return _range(name, given)
    if not isinstance(given, list | tuple):
        raise InputError(
            f"parameters: {name} needs a list of values or {{from, to, step}}, not {kind_of(given)}; "
            f"for one value write [{given}]"
        )
    if not given:
        raise InputError(f"parameters: {name} has no values")
    return [scalar(name, value) for value in given]


def _range(name: str, given: Mapping[str, Any]) -> list[Scalar]:
    """Values from `from` to `to`, both included where a step lands there."""
    check_keys(f"parameters: {name}", given, ("from", "to", "step", "steps", "scale"), ("from", "to"))
    start, end = finite(name, given, "from"), finite(name, given, "to")
    if "step" in given and "steps" in given:
        raise InputError(f"parameters: {name} has both step and steps; give one of them")
    if "steps" in given:
        return _evenly(name, start, end, whole(name, given, "steps"), given.get("scale", "linear"))
    if "scale" in given:
        raise InputError(f"parameters: {name}: scale goes with steps")
    step = finite(name, given, "step") if "step" in given else (1 if end >= start else -1)
    if step == 0 or (end - start) * step < 0:
        raise InputError(f"parameters: {name}: a step of {step} never leads from {start} to {end}")
    # A hair more than the quotient: 0, 0.1, ... 1 has eleven values although 0.1 is not a tenth.
    steps = min((end - start) / step, 1e18)
    number = math.floor(steps * (1 + 1e-12) + 1e-9) + 1
    check_size(number)
    if all(isinstance(value, int) for value in (start, step)):
        return [start + index * step for index in range(number)]
    return [_tidy(start + index * step) for index in range(number)]


def _evenly(name: str, start: float, end: float, steps: int, scale: object) -> list[Scalar]:
    check_size(steps)
    between = number_between(name, start, end, scale)
    values = [between(index / (steps - 1) if steps > 1 else 0.0) for index in range(steps)]
    if isinstance(start, int) and isinstance(end, int) and all(value.is_integer() for value in values):
        return [int(value) for value in values]
    return list(values)


def number_between(name: str, start: float, end: float, scale: object) -> Callable[[float], float]:
    """From [0, 1] to [start, end], evenly or evenly in the logarithm."""
    lowest, highest = sorted((float(start), float(end)))
    if scale == "linear":
        return lambda number: min(max(_tidy(start * (1 - number) + end * number), lowest), highest)
    if scale != "log":
        raise InputError(f"parameters: {name}: scale is linear or log, not {scale}")
    if lowest <= 0:
        raise InputError(f"parameters: {name}: a log scale needs from and to above 0")
    low, high = math.log(start), math.log(end)
    return lambda number: min(max(_tidy(math.exp(low * (1 - number) + high * number)), lowest), highest)


def _tidy(value: float) -> float:
    """Without the dust of binary arithmetic: 0.30000000000000004 becomes 0.3, and an argument made of it is short."""
    return float(f"{value:.12g}")


# Single values


def scalar(name: str, value: Any) -> Scalar:
    """The value as plain int, float, str or bool: what comes from a function or a loader may be a subclass."""
    if callable(item := getattr(value, "item", None)):
        value = item()  # numpy's numbers
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    what = (
        repr(value)[:80]
        if isinstance(value, float)
        else "a number too large"
        if isinstance(value, int)
        else kind_of(value)
    )
    raise InputError(f"parameters: a value of {name} must be a finite number, text, true or false, not {what}")


def finite(name: str, given: Mapping[str, Any], key: str) -> int | float:
    """Return the number under `key` of an axis that is given as a mapping."""
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"parameters: {name}: {key} must be a number, not {kind_of(value)}")
    return scalar(name, value)  # type: ignore[return-value]


def whole(name: str, given: Mapping[str, Any], key: str) -> int:
    """Return the whole number above 0 under `key`."""
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"parameters: {name}: {key} must be a whole number above 0, not {value!r}")
    return value


def sort_of(value: Scalar) -> str:
    """Text, truth and number are never the same value; 1 and 1.0 are."""
    return "text" if isinstance(value, str) else "truth" if isinstance(value, bool) else "number"


# What else is refused


def check_size(number: int, what: str = "points") -> None:
    """Refuse a number of points (or of drawn `numbers`) that would fill the memory."""
    most = LARGEST_SWEEP if what == "points" else 20 * LARGEST_SWEEP
    if number > most:
        shown = (
            f"{number:,}" if number < 10**30 else f"over 10^{len(str(number)) - 1}" if number < 10**300 else "very many"
        )
        raise InputError(f"parameters: {shown} {what}; at most {most:,} are made")


def check_keys(where: str, given: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    """Refuse keys that are not known, and the lack of those that are needed."""
    for key in given:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}")
    for key in needed:
        if key not in given:
            raise InputError(f"{where}: {key!r} is missing")


def kind_of(value: object) -> str:
    """What a person would call a value, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    names = {dict: "a mapping", list: "a list", str: "text", int: "a number", float: "a number"}
    shown = names.get(type(value), type(value).__name__)
    return f"{shown} {value!r}" if isinstance(value, str | int | float) and len(repr(value)) < 40 else shown


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of a message: the nearest of the known words, or all of them."""
    meant = nearest(word, known)
    return f"; did you mean {meant}?" if meant else f"; known are {', '.join(known)}"
