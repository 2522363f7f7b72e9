"""Models of strong scaling: the wall time as a function of work and tasks, fitted to measured runs.

Amdahl's law with a start-up term is the model of choice, and the two richer ones are taken only where they say clearly
more. All three are a sum of terms with coefficients of 0 or more, which non-negative least squares finds:

    amdahl    T(w, p) = start-up + w * (serial + parallel / p)
    usl       T(w, p) = start-up + w * (parallel / p + contention * (p - 1) / p + coherency * (p - 1))
    downey    T(w, p) = start-up + w * parallel / S(p; A, sigma)

where `w` is the work and `p` the number of tasks. Sources: Amdahl 1967; Gunther, *A General Theory of Computational
Capacity*, 2008 (USL); Downey, *A model for speedup of parallel programs*, 1997, with the average parallelism A and its
variance sigma. Residuals are relative, because the noise of a wall time grows with it.
"""

from __future__ import annotations

__all__ = ["LAWS", "Fit", "Interval", "evaluate", "fit"]

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import Struct

from ensemble.metrics import student_975
from ensemble.model.errors import InputError

if TYPE_CHECKING:
    import numpy

    Array: TypeAlias = "numpy.ndarray[Any, numpy.dtype[numpy.float64]]"

CLEARLY: Final = 2.0
"""A richer model is taken if its AICc is lower by more than this (Burnham and Anderson, 2002)."""

_EXACT: Final = 1e-12
"""The least mean squared relative residual: data of a formula would otherwise have an AICc of minus infinity."""


class Fit(Struct, frozen=True, kw_only=True):
    """A fitted model.

    `coefficients` are the terms by name, in seconds for each unit of work where the term grows with it; `shape` are
    the other parameters, such as Downey's A and sigma. `residual` is the relative standard error of one run,
    `covariance` that of the coefficients above 0, relative to a variance of 1. `aicc` is by model; what cannot be
    judged by so few runs has none.
    """

    law: str
    coefficients: dict[str, float]
    shape: tuple[float, ...] = ()
    residual: float
    freedom: int
    covariance: tuple[tuple[float, ...], ...]
    aicc: dict[str, float]


class Interval(Struct, frozen=True):
    """An expected time and the 95 % interval in which one more run lies, in seconds."""

    seconds: float
    low: float
    high: float


class _Law(Struct, frozen=True):
    """A model as columns: `terms` in the order in which they are kept where two of them cannot be told apart."""

    terms: tuple[str, ...]
    columns: Callable[[Array, Array, tuple[float, ...]], list[Array]]
    shapes: Callable[[float], list[tuple[float, ...]]]
    """Where the search of the other parameters begins, given the most tasks."""


def _amdahl(work: Array, tasks: Array, _: tuple[float, ...]) -> list[Array]:
    return [work / tasks, work**0, work]


def _usl(work: Array, tasks: Array, _: tuple[float, ...]) -> list[Array]:
    return [work / tasks, work**0, work * (tasks - 1) / tasks, work * (tasks - 1)]


def _downey(work: Array, tasks: Array, shape: tuple[float, ...]) -> list[Array]:
    import numpy

    speedup = numpy.array([_speedup(float(count), *shape) for count in tasks])
    return [work / speedup, work**0]


def _speedup(tasks: float, parallelism: float, variance: float) -> float:
    """Downey's speed-up on `tasks` processors, his equations 2 (variance up to 1) and 3."""
    if variance <= 1:
        if tasks <= parallelism:
            return parallelism * tasks / (parallelism + variance / 2 * (tasks - 1))
        if tasks <= 2 * parallelism - 1:
            return parallelism * tasks / (variance * (parallelism - 0.5) + tasks * (1 - variance / 2))
        return parallelism
    if tasks <= parallelism + parallelism * variance - variance:
        return tasks * parallelism * (variance + 1) / (variance * (tasks + parallelism - 1) + parallelism)
    return parallelism


def _no_shape(_: float) -> list[tuple[float, ...]]:
    return [()]


def _downey_shapes(most: float) -> list[tuple[float, ...]]:
    return list(itertools.product((most / 4 + 1, most / 2 + 1, most, 4 * most), (0.1, 0.8, 2.0)))


LAWS: Final = {
    "amdahl": _Law(("parallel", "start-up", "serial"), _amdahl, _no_shape),
    "usl": _Law(("parallel", "start-up", "contention", "coherency"), _usl, _no_shape),
    "downey": _Law(("parallel", "start-up"), _downey, _downey_shapes),
}
"""The models by name, the simplest first."""


def fit(work: Sequence[float], tasks: Sequence[int], seconds: Sequence[float], laws: Sequence[str] = ()) -> Fit:
    """Fit the models to runs and return the one to use.

    Each run is a place of the three sequences: its work (in any unit), its tasks, and its wall time in seconds.
    `laws` are the models to choose from, all by default; the first of them needs no better AICc than the others.
    Raises `InputError` where there are fewer than two runs, a time is not above 0, or the extra `studies` is missing.
    """
    _require()
    import numpy

    if len(seconds) < 2:
        raise InputError(f"a model needs at least two measured runs, and there is {len(seconds)}")
    if min(seconds) <= 0 or min(work) <= 0 or min(tasks) < 1:
        raise InputError("a model needs times and work above 0, and at least one task")
    data = numpy.array(work, float), numpy.array(tasks, float), numpy.array(seconds, float)
    found = [_fit(law, *data) for law in laws or LAWS]
    best = found[0]
    for other in found[1:]:
        if other.aicc[other.law] + CLEARLY < best.aicc[best.law]:
            best = other
    aicc = {one.law: value for one in found if math.isfinite(value := one.aicc[one.law])}
    return Fit(**{name: getattr(best, name) for name in Fit.__struct_fields__} | {"aicc": aicc})


def _fit(law: str, work: Array, tasks: Array, seconds: Array) -> Fit:
    """Fit one model: its shape by a search, and for each shape the coefficients by non-negative least squares."""
    from scipy.optimize import minimize  # type: ignore[import-untyped,unused-ignore]

    rules = LAWS[law]

    def misfit(shape: tuple[float, ...]) -> float:
        return _solve(_relative(rules, work, tasks, seconds, shape))[1]

    def searched(logs: Array) -> float:
        return misfit(_shape_of(logs))

    shapes = rules.shapes(float(tasks.max()))
    shape = min(shapes, key=misfit)
    if shape:
        start = [math.log(max(shape[0] - 1, 1e-3)), math.log(shape[1])]
        shape = _shape_of(minimize(searched, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-14}).x)
    columns = _relative(rules, work, tasks, seconds, shape)
    values, squares = _solve(columns)
    used = sum(value > 0 for value in values) + len(shape)
    freedom = len(seconds) - used
    residual = math.sqrt(squares / freedom) if freedom > 0 else 0.0
    return Fit(
        law=law,
        coefficients=dict(zip(rules.terms, values, strict=True)),
        shape=shape,
        residual=residual,
        freedom=freedom,
        covariance=_covariance(columns, values),
        aicc={law: _aicc(len(seconds), used + 1, squares)},
    )


def _shape_of(logs: Array) -> tuple[float, ...]:
    """Downey's parameters from what is searched, so that the parallelism stays above 1 and the variance above 0."""
    return (1 + math.exp(min(float(logs[0]), 20.0)), math.exp(max(-20.0, min(float(logs[1]), 10.0))))


def _relative(law: _Law, work: Array, tasks: Array, seconds: Array, shape: tuple[float, ...]) -> Array:
    """The columns of a model divided by the measured times: their sum should be 1 in each row."""
    import numpy

    return numpy.stack(law.columns(work, tasks, shape), axis=1) / seconds[:, None]


def _solve(columns: Array) -> tuple[tuple[float, ...], float]:
    """The coefficients of all columns and the sum of squared relative residuals.

    A column that depends on those before it (all runs have one size, say) gets 0.
    """
    import numpy
    from scipy.optimize import nnls

    lengths = numpy.linalg.norm(columns, axis=0)
    alike = columns / numpy.where(lengths > 0, lengths, 1)
    kept: list[int] = []
    for column in range(columns.shape[1]):
        if numpy.linalg.matrix_rank(alike[:, [*kept, column]], tol=1e-7) > len(kept):
            kept.append(column)
    found, norm = nnls(alike[:, kept], numpy.ones(len(columns)))
    values = numpy.zeros(columns.shape[1])
    values[kept] = found / lengths[kept]
    return tuple(float(value) for value in values), float(norm) ** 2


def _covariance(columns: Array, values: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """The inverse of X'X over the terms above 0, with rows of zeros for the others."""
    import numpy

    used = [place for place, value in enumerate(values) if value > 0]
    full = numpy.zeros((len(values), len(values)))
    design = columns[:, used]
    full[numpy.ix_(used, used)] = numpy.linalg.pinv(design.T @ design)
    return tuple(tuple(float(value) for value in row) for row in full)


def _aicc(count: int, parameters: int, squares: float) -> float:
    """Akaike's criterion with the correction for few observations (Hurvich and Tsai 1989)."""
    rest = count - parameters - 1
    if rest <= 0:
        return math.inf
    likelihood = count * math.log(max(squares / count, _EXACT))
    return likelihood + 2 * parameters + 2 * parameters * (parameters + 1) / rest


def _require() -> None:
    try:
        import numpy  # noqa: F401
        import scipy  # type: ignore[import-untyped,unused-ignore]  # noqa: F401
    except ImportError:
        raise InputError(
            "models need numpy and scipy; install them with: pip install 'ensemble-hpc[studies]'"
        ) from None


def evaluate(model: Fit, work: float, tasks: int) -> Interval:
    """The time that a model expects, in seconds, with the 95 % prediction interval of one run.

    Where there were no more runs than parameters, nothing is known of the spread, and the interval is the time itself.
    Raises `InputError` where the extra `studies` is missing.
    """
    _require()
    import numpy

    law = LAWS[model.law]
    row = numpy.array([column[0] for column in _columns_at(law, work, tasks, model.shape)])
    seconds = float(row @ numpy.array([model.coefficients[term] for term in law.terms]))
    if model.freedom <= 0 or seconds <= 0:
        return Interval(seconds, seconds, seconds)
    relative = row / seconds
    spread = model.residual * math.sqrt(1 + max(0.0, float(relative @ numpy.array(model.covariance) @ relative)))
    half = student_975(model.freedom) * spread * seconds
    return Interval(seconds, max(0.0, seconds - half), seconds + half)


def _columns_at(law: _Law, work: float, tasks: int, shape: tuple[float, ...]) -> list[Array]:
    import numpy

    return law.columns(numpy.array([work], float), numpy.array([tasks], float), shape)
