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
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.spec.axes import (
    LARGEST_SWEEP,
    Points,
    axis_name,
    check_size,
    did_you_mean,
    kind_of,
    scalar,
    sort_of,
    values_of,
)
from ensemble.spec.expressions import nearest
from ensemble.spec.points_file import read_points
from ensemble.spec.sampling import DESIGNS, sampled

__all__ = ["METHODS", "expand"]

METHODS: Final = ("grid", "list", "zip", "random", "latin-hypercube", "sobol", "function")


def expand(parameters: Mapping[str, Any], seed: int, directory: str = "") -> tuple[tuple[str, ...], Points]:
    """Make every point of `parameters` and return the axes and the points.

    `directory` is where the ensemble file lies: a `.py` of `function` is relative to it. Without parameters there are
    no axes and one empty point. Raises `InputError` when they are of no known form, an axis has a bad name or value,
    there are no points or more than `LARGEST_SWEEP`, two points are the same, or the function fails.
    """
    if not isinstance(parameters, Mapping):
        raise InputError(f"parameters must be a mapping from axis to values, not {kind_of(parameters)}")
    if not parameters:
        return (), ({},)
    if isinstance(file := parameters.get("from"), str):
        if len(parameters) > 1:
            raise InputError("parameters: from names a file of points and stands alone, not beside axes")
        points = read_points(file, directory)
        return tuple(points[0]), points
    method, given = _method(parameters)
    points = _points(method, given, seed, directory)
    if not points:
        raise InputError(f"parameters: {method} makes no points")
    if method not in DESIGNS:
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
            return sampled(method, given, seed)


def _method(parameters: Mapping[str, Any]) -> tuple[str, Any]:
    """Tell the method from the axes: `{zip: {...}}`, `{method: zip, ...}`, else a grid."""
    if "method" in parameters and isinstance(parameters["method"], str):
        method = parameters["method"]
        rest = {name: value for name, value in parameters.items() if name != "method"}
        if method not in METHODS:
            raise InputError(f"parameters: unknown method {method!r}{did_you_mean(method, METHODS)}")
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
        raise InputError(f"parameters: {method} needs a mapping from axis to values, not {kind_of(given)}")
    return {axis_name(name): values_of(name, value) for name, value in given.items()}


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
    check_size(math.prod(len(values) for values in axes.values()))
    return tuple(dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values()))


def _zip(axes: dict[str, list[Scalar]]) -> Points:
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"parameters: zip needs as many values on each axis; {found}")
    return tuple(dict(zip(axes, point, strict=True)) for point in zip(*axes.values(), strict=True))


def _list(given: Any, where: str) -> Points:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InputError(f"{where} needs a list of points, such as [{{T: 0.8, N: 1}}], not {kind_of(given)}")
    check_size(len(given))
    return tuple(_listed_points(given, where))


def _listed_points(given: Sequence[Any], where: str) -> Iterator[dict[str, Scalar]]:
    axes: tuple[str, ...] = ()
    for index, point in enumerate(given):
        if not isinstance(point, Mapping) or not point:
            raise InputError(f"{where}: point {index + 1} must be a mapping from axis to value, not {kind_of(point)}")
        if not axes:
            axes = tuple(axis_name(name) for name in point)
        if set(point) != set(axes):
            raise InputError(
                f"{where}: point {index + 1} has the axes {', '.join(map(str, point))}; the first has {', '.join(axes)}"
            )
        yield {axis: scalar(axis, point[axis]) for axis in axes}


# The only impure part


def _call(target: Any, seed: int, directory: str) -> Any:
    """Import `module:name`, `file.py:name` or `file.py` (its function `points`) and return what calling it returns.

    A module is looked for in `directory` first. The function gets `seed=` if it has such an argument.
    """
    if not isinstance(target, str) or not target.strip():
        raise InputError(f"parameters: function needs module:name or file.py:name, not {kind_of(target)}")
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


def _check_unique(points: Points) -> None:
    """Two equal points would be one to every metric and two to every count."""
    seen: set[tuple[tuple[str, str, Scalar], ...]] = set()
    for index, point in enumerate(points):
        key = tuple((axis, sort_of(value), value) for axis, value in point.items())
        if key in seen:
            shown = ", ".join(f"{axis}={value}" for axis, value in point.items())
            raise InputError(
                f"parameters: point {index + 1} ({shown}) appears twice; `count` repeats the jobs of a point"
            )
        seen.add(key)
