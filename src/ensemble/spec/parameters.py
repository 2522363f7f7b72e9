"""From `parameters` to points: every combination of values that jobs are made for.

A grid, each value with each, the last axis fastest:

    parameters: {T: [0.8, 1.1], N: {from: 1, to: 4}}                  # also {from, to, step} and {from, to, steps}
    parameters: {T: [0.8, 1.1], N: 4}                                 # one value needs no list

Or one method, alone:

    parameters: {zip: {T: [0.8, 1.1], N: [1, 2]}}                     # first with first, second with second
    parameters: {list: [{T: 0.8, N: 1}, {T: 1.1, N: 4}]}              # each point as it is
    parameters: {random: {samples: 20, x: {from: 0, to: 1}, k: {from: 1e-3, to: 1, scale: log},
                          n: {from: 1, to: 64, integer: true}, m: {choice: [a, b]}}}
    parameters: {latin-hypercube: {samples: 20, ...}}                 # the same axes, each evenly stratified
    parameters: {sobol: {samples: 16, ...}}                           # the same axes; needs ensemble-hpc[sobol]
    parameters: {from: points.csv}                                    # a row is a point, a column is an axis
    parameters: {function: "sweep.py:points"}                         # or module:name; returns a list of mappings

`method: random` beside the keys of the method says the same (`{method: random, samples: 20, x: ...}`). Everything
but `function` follows from the seed, with the same values on every Python. Drawn numbers have 12 digits. A point
written down twice is refused; one that is drawn twice stays, so that 20 samples are 20 points.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import math
import os.path
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Final, cast

from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.model.wording import counted
from ensemble.spec.expressions import nearest
from ensemble.spec.placeholders import JOB_NAMES
from ensemble.spec.table import Cell, read_table
from ensemble.spec.tree import RESERVED

__all__ = ["LARGEST_SWEEP", "METHODS", "expand"]

METHODS: Final = ("grid", "list", "zip", "random", "latin-hypercube", "sobol", "function")

LARGEST_SWEEP: Final = 1_000_000
"""The most points of one entry."""

Points = tuple[dict[str, Scalar], ...]
_Draw = Callable[[float], Scalar]
"""From a number in [0, 1) to a value of an axis."""


def expand(parameters: Mapping[str, Any], seed: int, directory: str = "") -> tuple[tuple[str, ...], Points]:
    """Make every point of `parameters` and return the axes and the points.

    `directory` is where the ensemble file lies: a `.py` of `function` is relative to it. Without parameters there are
    no axes and one empty point. Raises `InputError` when they are of no known form, an axis has a bad name or value,
    there are no points or more than `LARGEST_SWEEP`, two points are the same, or the function fails.
    """
    if not isinstance(parameters, Mapping):
        raise InputError(f"parameters must be a mapping from axis to values, not {_kind(parameters)}")
    if not parameters:
        return (), ({},)
    if isinstance(file := parameters.get("from"), str):
        if len(parameters) > 1:
            raise InputError("parameters: from names a file of points and stands alone, not beside axes")
        points = _from_file(file, directory)
        return tuple(points[0]), points
    method, given = _method(parameters)
    points = _points(method, given, seed, directory)
    if not points:
        raise InputError(f"parameters: {method} makes no points")
    if method not in _DESIGNS:
        _check_unique(points)
    return tuple(points[0]), points


def _points(method: str, given: Any, seed: int, directory: str) -> Points:
    match method:
        case "grid":
            return _grid(_axes_of(method, _in_lists(given)))
        case "zip":
            return _zip(_axes_of(method, given))
        case "list":
            return _list(given, "parameters: list")
        case "function":
            return _list(_call(given, seed, directory), f"parameters: function {given}")
        case _:
            return _sampled(method, given, seed)


def _method(parameters: Mapping[str, Any]) -> tuple[str, Any]:
    """Tell the method from the axes: `{zip: {...}}`, `{method: zip, ...}`, else a grid."""
    if "method" in parameters and isinstance(parameters["method"], str):
        method = parameters["method"]
        rest = {name: value for name, value in parameters.items() if name != "method"}
        if method not in METHODS:
            raise InputError(f"parameters: unknown method {method!r}{_did_you_mean(method, METHODS)}")
        if method in ("list", "function"):
            key = "points" if method == "list" else "function"
            if tuple(rest) != (key,):
                raise InputError(f"parameters: method {method} takes {key!r} and nothing else")
            return method, rest[key]
        return method, rest
    if len(parameters) == 1:
        ((name, value),) = parameters.items()
        if name in METHODS and not _is_axis(name, value):
            return name, value
        if isinstance(value, Mapping) and "from" not in value and (meant := nearest(str(name), METHODS)):
            raise InputError(f"parameters: unknown method {name!r}; did you mean {meant}?")
    for name, value in parameters.items():
        if name in METHODS and not _is_axis(name, value):
            raise InputError(f"parameters: {name} is a method and stands alone, not beside other axes")
    return "grid", parameters


def _is_axis(name: object, value: object) -> bool:
    """Whether a word that is also a method is meant as the name of an axis, as in `{list: [1, 2]}`."""
    return (
        isinstance(value, list)
        and not (name == "list" and any(isinstance(item, Mapping) for item in value))
    )  # fmt: skip


# Forms that are written out


def _axes_of(method: str, given: Any) -> dict[str, list[Scalar]]:
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"parameters: {method} needs a mapping from axis to values, not {_kind(given)}")
    return {_axis_name(name): _values(name, value) for name, value in given.items()}


def _in_lists(given: Any) -> Any:
    """The axes of a grid, one value made a list of one; not where it looks like a slip that would run other jobs."""
    if not isinstance(given, Mapping):
        return given
    for name, value in given.items():
        if name == "samples" and not isinstance(value, list | tuple | Mapping):
            raise InputError("parameters: samples goes with a method: random, latin-hypercube or sobol")
        if isinstance(value, str) and "," in value:
            raise InputError(f"parameters: {name} is the text {value[:60]!r}; for several values write a list, [...]")
    return {name: [value] if isinstance(value, str | int | float) else value for name, value in given.items()}


def _grid(axes: dict[str, list[Scalar]]) -> Points:
    _check_size(math.prod(len(values) for values in axes.values()))
    return tuple(dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))


def _zip(axes: dict[str, list[Scalar]]) -> Points:
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"parameters: zip needs as many values on each axis; {found}")
    return tuple(dict(zip(axes, point, strict=True)) for point in zip(*axes.values(), strict=True))


def _list(given: Any, where: str) -> Points:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InputError(f"{where} needs a list of points, such as [{{T: 0.8, N: 1}}], not {_kind(given)}")
    _check_size(len(given))
    return tuple(_listed_points(given, where))


def _listed_points(given: Sequence[Any], where: str) -> Iterator[dict[str, Scalar]]:
    axes: tuple[str, ...] = ()
    for index, point in enumerate(given):
        if not isinstance(point, Mapping) or not point:
            raise InputError(f"{where}: point {index + 1} must be a mapping from axis to value, not {_kind(point)}")
        if not axes:
            axes = tuple(_axis_name(name) for name in point)
        if set(point) != set(axes):
            raise InputError(
                f"{where}: point {index + 1} has the axes {', '.join(map(str, point))}; the first has {', '.join(axes)}"
            )
        yield {axis: _scalar(axis, point[axis]) for axis in axes}


def _from_file(file: str, directory: str) -> Points:
    """The rows of a CSV file, whose first row names the axes."""
    header, *rows = read_table(Path(directory or ".", file), file) or [[]]
    if not header:
        raise InputError(f"{file} is empty; its first row must name the axes")
    if not rows:
        raise InputError(f"{file} has no row below the names of the axes")
    axes: list[str] = []
    for cell in header:
        with _at(file, cell):
            axis = _axis_name(cell.text)
            if axis in axes:
                raise InputError(f"there is a column {axis!r} already")
            axes.append(axis)
    _check_size(len(rows))
    points, lines = [], dict[tuple[tuple[str, Scalar], ...], int]()
    for row in rows:
        with _at(file, row[min(len(row), len(axes) + 1) - 1]):
            if len(row) != len(axes):
                raise InputError(f"the row has {counted(len(row), 'value')} for {counted(len(axes), 'column')}")
        point = {}
        for axis, cell in zip(axes, row, strict=True):
            with _at(file, cell):
                if cell.value is None:
                    raise InputError(f"there is no value of {axis} here")
                point[axis] = _scalar(axis, cell.value)
        key = tuple((_sort(value), value) for value in point.values())
        if key in lines:
            with _at(file, row[0]):
                raise InputError(f"line {lines[key]} is the same point; `count` repeats the jobs of a point")
        lines[key] = row[0].line
        points.append(point)
    return tuple(points)


@contextmanager
def _at(file: str, cell: Cell) -> Iterator[None]:
    """Let what is wrong with a cell name its file, line and column."""
    try:
        yield
    except InputError as error:
        what = str(error).removeprefix("parameters: ")
        raise InputError(f"{file}:{cell.line}:{cell.column}: {what}") from None


def _values(name: str, given: Any) -> list[Scalar]:
    if isinstance(given, Mapping):
        return _range(name, given)
    if not isinstance(given, list | tuple):
        raise InputError(
            f"parameters: {name} needs a list of values or {{from, to, step}}, not {_kind(given)}; "
            f"for one value write [{given}]"
        )
    if not given:
        raise InputError(f"parameters: {name} has no values")
    return [_scalar(name, value) for value in given]


def _range(name: str, given: Mapping[str, Any]) -> list[Scalar]:
    """Values from `from` to `to`, both included where a step lands there."""
    _check_keys(f"parameters: {name}", given, ("from", "to", "step", "steps", "scale"), ("from", "to"))
    start, end = _finite(name, given, "from"), _finite(name, given, "to")
    if "step" in given and "steps" in given:
        raise InputError(f"parameters: {name} has both step and steps; give one of them")
    if "steps" in given:
        return _evenly(name, start, end, _whole(name, given, "steps"), given.get("scale", "linear"))
    if "scale" in given:
        raise InputError(f"parameters: {name}: scale goes with steps")
    step = _finite(name, given, "step") if "step" in given else (1 if end >= start else -1)
    if step == 0 or (end - start) * step < 0:
        raise InputError(f"parameters: {name}: a step of {step} never leads from {start} to {end}")
    # A hair more than the quotient: 0, 0.1, ... 1 has eleven values although 0.1 is not a tenth.
    steps = min((end - start) / step, 1e18)
    number = math.floor(steps * (1 + 1e-12) + 1e-9) + 1
    _check_size(number)
    if all(isinstance(value, int) for value in (start, step)):
        return [start + index * step for index in range(number)]
    return [_tidy(start + index * step) for index in range(number)]


def _evenly(name: str, start: float, end: float, steps: int, scale: object) -> list[Scalar]:
    _check_size(steps)
    between = _number_between(name, start, end, scale)
    values = [between(index / (steps - 1) if steps > 1 else 0.0) for index in range(steps)]
    if isinstance(start, int) and isinstance(end, int) and all(value.is_integer() for value in values):
        return [int(value) for value in values]
    return list(values)


def _tidy(value: float) -> float:
    """Without the dust of binary arithmetic: 0.30000000000000004 becomes 0.3, and an argument made of it is short."""
    return float(f"{value:.12g}")


# Forms that are drawn


def _sampled(method: str, given: Any, seed: int) -> Points:
    if not isinstance(given, Mapping):
        raise InputError(f"parameters: {method} needs samples and axes, not {_kind(given)}")
    if "samples" not in given:
        raise InputError(f"parameters: {method} needs `samples`, the number of points")
    samples = _whole(method, given, "samples")
    _check_size(samples)
    draws = {_axis_name(name): _draw(name, value) for name, value in given.items() if name != "samples"}
    if not draws:
        raise InputError(f"parameters: {method} has no axes")
    _check_size(samples * len(draws), "numbers")
    rows = _DESIGNS[method](samples, len(draws), seed)
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


_BELOW_ONE: Final = math.nextafter(1.0, 0.0)
_DESIGNS: Final = {"random": _random_design, "latin-hypercube": _latin_hypercube, "sobol": _sobol}


def _draw(name: str, given: Any) -> _Draw:
    """How a number in [0, 1) becomes a value of this axis."""
    if isinstance(given, list | tuple):
        given = {"choice": given}
    if not isinstance(given, Mapping):
        raise InputError(f"parameters: {name} needs {{from, to}} or {{choice: [...]}}, not {_kind(given)}")
    if "choice" in given:
        _check_keys(f"parameters: {name}", given, ("choice",), ())
        choices = _values(name, given["choice"])
        return lambda number: choices[int(number * len(choices))]
    _check_keys(f"parameters: {name}", given, ("from", "to", "scale", "integer"), ("from", "to"))
    start, end = _finite(name, given, "from"), _finite(name, given, "to")
    if not start <= end:
        raise InputError(f"parameters: {name}: from {start} is above to {end}")
    integer = given.get("integer", False)
    if not isinstance(integer, bool):
        raise InputError(f"parameters: {name}: integer is true or false, not {integer}")
    scale = given.get("scale", "linear")
    return _integer_between(name, start, end, scale) if integer else _number_between(name, start, end, scale)


def _number_between(name: str, start: float, end: float, scale: object) -> Callable[[float], float]:
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


def _integer_between(name: str, start: float, end: float, scale: object) -> _Draw:
    """Whole numbers, both ends included, each as likely as the width of the interval from it to the next."""
    first, last = math.ceil(start), math.floor(end)
    if first > last:
        raise InputError(f"parameters: {name}: there is no whole number from {start} to {end}")
    between = _number_between(name, first, last + 1, scale)
    return lambda number: min(math.floor(between(number)), last)


# The only impure part


def _call(target: Any, seed: int, directory: str) -> Any:
    """Import `module:name`, `file.py:name` or `file.py` (its function `points`) and return what calling it returns.

    A module is looked for in `directory` first. The function gets `seed=` if it has such an argument.
    """
    if not isinstance(target, str) or not target.strip():
        raise InputError(f"parameters: function needs module:name or file.py:name, not {_kind(target)}")
    source, _, name = target.strip().partition(":")
    where = f"parameters: function {target.strip()}"
    try:
        function = _function(_imported(source, directory), name or "points")
        made = function(seed=seed) if "seed" in inspect.signature(function).parameters else function()
        # An iterator is consumed here, so that what it raises is reported as the function's; never without end.
        return list(itertools.islice(made, LARGEST_SWEEP + 1)) if isinstance(made, Iterator) else made
    except (Exception, SystemExit) as error:
        raise InputError(f"{where} failed: {type(error).__name__}: {error}") from error


def _function(module: ModuleType, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if not callable(function):
        raise AttributeError(f"there is no function {name!r}")  # noqa: TRY004 - what Python itself would say
    return cast("Callable[..., Any]", function)


def _imported(source: str, directory: str) -> ModuleType:
    if not source.endswith(".py"):
        sys.path.insert(0, directory or ".")
        try:
            return importlib.import_module(source)
        finally:
            sys.path.remove(directory or ".")
    path = os.path.join(directory, source)
    found = importlib.util.spec_from_file_location(f"ensemble_parameters_{Path(path).stem}", path)
    if found is None or found.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


# Checks


def _axis_name(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or name in RESERVED:
        raise InputError(f"parameters: {name!r} cannot be the name of an axis; use letters, digits and _")
    if name in JOB_NAMES:
        raise InputError(f"parameters: every job has a {{{name}}} already; call the axis something else")
    return str(name)


def _scalar(name: str, value: Any) -> Scalar:
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
        else _kind(value)
    )
    raise InputError(f"parameters: a value of {name} must be a finite number, text, true or false, not {what}")


def _finite(name: str, given: Mapping[str, Any], key: str) -> int | float:
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"parameters: {name}: {key} must be a number, not {_kind(value)}")
    return _scalar(name, value)  # type: ignore[return-value]


def _whole(name: str, given: Mapping[str, Any], key: str) -> int:
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"parameters: {name}: {key} must be a whole number above 0, not {value!r}")
    return value


def _check_size(number: int, what: str = "points") -> None:
    most = LARGEST_SWEEP if what == "points" else 20 * LARGEST_SWEEP
    if number > most:
        shown = (
            f"{number:,}" if number < 10**30 else f"over 10^{len(str(number)) - 1}" if number < 10**300 else "very many"
        )
        raise InputError(f"parameters: {shown} {what}; at most {most:,} are made")


def _check_keys(where: str, given: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{_did_you_mean(str(key), known)}")
    for key in needed:
        if key not in given:
            raise InputError(f"{where}: {key!r} is missing")


def _check_unique(points: Points) -> None:
    """Two equal points would be one to every metric and two to every count."""
    seen: set[tuple[tuple[str, str, Scalar], ...]] = set()
    for index, point in enumerate(points):
        key = tuple((axis, _sort(value), value) for axis, value in point.items())
        if key in seen:
            shown = ", ".join(f"{axis}={value}" for axis, value in point.items())
            raise InputError(
                f"parameters: point {index + 1} ({shown}) appears twice; `count` repeats the jobs of a point"
            )
        seen.add(key)


def _sort(value: Scalar) -> str:
    """Text, truth and number are never the same value; 1 and 1.0 are."""
    return "text" if isinstance(value, str) else "truth" if isinstance(value, bool) else "number"


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    names = {dict: "a mapping", list: "a list", str: "text", int: "a number", float: "a number"}
    shown = names.get(type(value), type(value).__name__)
    return f"{shown} {value!r}" if isinstance(value, str | int | float) and len(repr(value)) < 40 else shown


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    meant = nearest(word, known)
    return f"; did you mean {meant}?" if meant else f"; known are {', '.join(known)}"
