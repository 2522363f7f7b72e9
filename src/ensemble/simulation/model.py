"""How jobs go in a simulation: what a group's `simulate` says, compiled once for each point.

    simulate:
      duration: 12                                        # seconds, `90s`, or an expression over the axes: 100 / N
      duration: {distribution: lognormal, mean: 100 / N, cv: 0.2}
      duration: {recorded: [11.8, 12.4, 12.1]}            # or a run: {recorded: last}
      noise: 0.05                                         # relative standard deviation, on top of the duration
      failure_rate: 0.02                                  # of each attempt; or by reason: {exit: 0.01, signal: 0.01}
      failure_after: 3                                    # how long it runs until then; else anywhere in its duration
      exit_code: 2                                        # of a failure; 1 by default
      figures: {pressure: {distribution: normal, mean: 2 * T, std: 0.1}}

Expressions may use the axes and `nodes tasks cores gpus walltime attempt`.
"""

from __future__ import annotations

__all__ = ["DEFAULT_SECONDS", "Fate", "JobModel", "Recorded", "Sample", "compile_model", "recorded_model"]

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final, NamedTuple

from ensemble.model.errors import InputError
from ensemble.model.jobs import REASONS, JobSpec, Scalar
from ensemble.simulation.draws import Draw, Uniform, distribution, recorded, standard_normal
from ensemble.simulation.programs import known_run
from ensemble.spec.expressions import evaluate, names, nearest, parse
from ensemble.spec.units import parse_duration

DEFAULT_SECONDS: Final = 10.0
"""How long a job takes of which nothing at all is known."""

WALLTIME_PART: Final = 0.5
"""How much of its walltime a job takes of which nothing else is known."""

_KEYS: Final = ("duration", "noise", "failure_rate", "failure_after", "exit_code", "figures")
_OF_OTHERS: Final = ("walltime", "valid", "refused", "duplicate", "cancelled", "infrastructure")
"""Reasons that come about in other ways than by a rate."""
_FAILURES: Final = tuple(reason for reason in REASONS if reason not in _OF_OTHERS)
_KILLED: Final = 9


class Sample(NamedTuple):
    """One recorded attempt that ended well: seconds, and its figures of merit."""

    duration: float
    figures: dict[str, float]


class Recorded(NamedTuple):
    """What a recorded run says of one point: attempts that ended well, and those that failed by reason (seconds)."""

    samples: Sequence[Sample] = ()
    failures: Mapping[str, Sequence[float]] = {}


class Fate(NamedTuple):
    """How one attempt goes if nothing else happens to it. `reason` is empty for success."""

    duration: float
    reason: str = ""
    exit_code: int = 0
    signal: int = 0
    figures: dict[str, float] | None = None


class JobModel:
    """How the jobs of one point go. `basis` says where the duration comes from, for people."""

    __slots__ = (
        "_duration",
        "_exit_code",
        "_failure_after",
        "_failures",
        "_figures",
        "_noise",
        "_samples",
        "basis",
        "fails",
        "figures",
        "fixed",
    )

    def __init__(
        self,
        duration: Draw | float,
        *,
        noise: float = 0.0,
        failures: Sequence[tuple[str, float]] = (),
        failure_after: Draw | None = None,
        exit_code: int = 1,
        figures: Mapping[str, Draw | float] | None = None,
        samples: Sequence[Sample] = (),
        basis: str = "",
    ) -> None:
        self._duration = duration
        self._noise = noise
        self._failures = tuple(failures)
        self._failure_after = failure_after
        self._exit_code = exit_code
        self._figures = tuple((figures or {}).items())
        self._samples = tuple(samples)
        self.basis = basis
        self.figures = tuple(dict.fromkeys([*(figures or {}), *(name for one in samples for name in one.figures)]))
        """The figures of merit that it can give."""
        together = 0.0
        for _, rate in self._failures:
            together += rate
        self.fails = together >= 1.0
        """Whether every attempt fails."""
        self.fixed = self._always()
        """The fate of every attempt, where nothing is left to chance."""

    def _always(self) -> Fate | None:
        if self._samples or self._noise or self._failures:
            return None
        if not isinstance(self._duration, float) or any(not isinstance(draw, float) for _, draw in self._figures):
            return None
        figures = {name: draw for name, draw in self._figures if isinstance(draw, float)}
        return Fate(self._duration, figures=figures or None)

    def fate(self, random: Random) -> Fate:
        """Draw how one attempt goes."""
        if self.fixed is not None:
            return self.fixed
        uniform = random.random
        sample = self._samples[int(uniform() * len(self._samples))] if self._samples else None
        if sample is not None:
            duration = sample.duration
        elif isinstance(self._duration, float):
            duration = self._duration
        else:
            duration = self._duration(uniform)
        if self._noise:
            # a factor of mean 1 that is never negative
            duration *= max(0.0, 1.0 + self._noise * standard_normal(uniform))
        duration = max(0.0, duration)
        if self._failures:
            chance = uniform()
            for reason, rate in self._failures:
                if chance < rate:
                    return self._failed(reason, duration, uniform)
                chance -= rate
        figures = dict(sample.figures) if sample is not None else {}
        for name, draw in self._figures:
            figures[name] = draw if isinstance(draw, float) else draw(uniform)
        return Fate(duration, figures=figures or None)

    def _failed(self, reason: str, duration: float, uniform: Uniform) -> Fate:
        if self._failure_after is not None:
            duration = max(0.0, self._failure_after(uniform))
        else:
            duration *= uniform()
        if reason == "signal":
            return Fate(duration, reason, -1, _KILLED)
        return Fate(duration, reason, self._exit_code if reason == "exit" else -1)


# ---- from the file ---------------------------------------------------------------------------------


def compile_model(job: JobSpec, known: Recorded | None = None) -> JobModel:
    """The model of a job, from its `simulate` mapping (`job.duration`), the command or the walltime.

    `known`, where a recorded run has such jobs, stands for duration, figures and failures. Raises `InputError` naming
    the group and the place.
    """
    if known is not None and (known.samples or known.failures):
        return recorded_model(known)
    reader = _Reader(job)
    given = dict(job.duration)
    for key in given:
        if key not in _KEYS:
            meant = nearest(key, _KEYS)
            raise reader.error(
                key, f"there is no such key; {f'did you mean {meant!r}?' if meant else ', '.join(_KEYS)}"
            )
    exit_code = reader.whole("exit_code", given.get("exit_code", 1), 1, 255)
    failures = reader.rates(given.get("failure_rate", 0.0))
    after = given.get("failure_after")
    failure_after = _draw(reader.quantity("failure_after", after, seconds=True)) if after is not None else None
    figures = {}
    for name, value in reader.mapping("figures", given.get("figures", {})).items():
        figures[name] = reader.quantity(f"figures.{name}", value)
    duration, basis, ends = _duration(reader, given)
    if ends and not failures:
        failures, exit_code, failure_after = [("exit", 1.0)], ends, _draw(duration)
    return JobModel(
        duration,
        noise=reader.number("noise", given.get("noise", 0.0), 0.0),
        failures=failures,
        failure_after=failure_after,
        exit_code=exit_code,
        figures=figures,
        basis=basis,
    )


def recorded_model(known: Recorded) -> JobModel:
    """A model that draws from what was recorded: attempts whole, so that figures stay with their duration."""
    attempts = len(known.samples)
    for times in known.failures.values():
        attempts += len(times)
    failures = [(reason, len(times) / attempts) for reason, times in known.failures.items()]
    times = [time for some in known.failures.values() for time in some]
    return JobModel(
        0.0,
        failures=failures,
        failure_after=recorded(times) if times else None,
        samples=known.samples,
        basis=f"{attempts} recorded attempts",
    )


def _duration(reader: _Reader, given: Mapping[str, Any]) -> tuple[Draw | float, str, int]:
    """How long, why, and the exit code where the command is known to fail."""
    job = reader.job
    if "duration" in given:
        return reader.quantity("duration", given["duration"], seconds=True), "simulate.duration", 0
    known = known_run(job.command, job.script)
    if known is not None:
        return known[0], "the command", known[1]
    if job.walltime:
        return WALLTIME_PART * job.walltime, f"{WALLTIME_PART:.0%} of the walltime", 0
    return DEFAULT_SECONDS, f"nothing: {DEFAULT_SECONDS:g} s", 0


def _draw(value: Draw | float) -> Draw:
    if isinstance(value, float):
        fixed = value
        return lambda _uniform: fixed
    return value


class _Reader:
    """Reads values of one job's mapping."""

    def __init__(self, job: JobSpec) -> None:
        self.job = job
        need = job.resources
        self.values: dict[str, Scalar | None] = {
            "nodes": need.nodes,
            "tasks": need.tasks,
            "cores": need.cores,
            "gpus": need.gpus,
            "walltime": job.walltime or None,
            "attempt": job.ref.attempt,
            **job.point,
        }

    def error(self, where: str, text: str) -> InputError:
        return InputError(f"group {self.job.group}: simulate.{where}: {text}")

    def quantity(self, where: str, given: Any, *, seconds: bool = False) -> Draw | float:
        """A number, or what draws one."""
        if not isinstance(given, Mapping):
            return self.number(where, given, 0.0 if seconds else None, seconds=seconds)
        rest = dict(given)
        if "recorded" in rest:
            values = rest.pop("recorded")
            if rest or not isinstance(values, list | tuple):
                raise self.error(where, "`recorded` is a list of numbers (or, for the duration, a run) by itself")
            numbers = [self.number(f"{where}.recorded", value) for value in values]
            if not numbers:
                raise self.error(where, "`recorded` holds no value")
            return recorded(numbers)
        name = rest.pop("distribution", None)
        if not isinstance(name, str):
            raise self.error(where, "a mapping needs `distribution` or `recorded`")
        parameters = {key: self.number(f"{where}.{key}", value, seconds=seconds) for key, value in rest.items()}
        try:
            return distribution(name, parameters)
        except InputError as error:
            raise self.error(where, str(error)) from None

    def number(self, where: str, given: Any, least: float | None = None, *, seconds: bool = False) -> float:
        value = self._value(where, given, seconds)
        if value != value or value in (float("inf"), float("-inf")):
            raise self.error(where, f"{value} is not a finite number")
        if least is not None and value < least:
            raise self.error(where, f"{value:g} is below {least:g}")
        return value

    def _value(self, where: str, given: Any, seconds: bool) -> float:
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            raise self.error(where, f"a number, an expression or a mapping is needed, not {given!r}")
        if not isinstance(given, str):
            return float(given)
        if seconds:
            try:
                return parse_duration(given)
            except InputError:
                pass  # an expression, then
        try:
            expr = parse(given)
        except InputError as error:
            raise self.error(where, str(error)) from None
        for name in names(expr):
            if name not in self.values:
                meant = nearest(name, self.values)
                hint = f"; did you mean {meant!r}?" if meant else f"; there is {', '.join(self.values)}"
                raise self.error(where, f"there is no {name!r} here{hint}")
        value = evaluate(expr, self.values)
        if value is None or isinstance(value, bool):
            raise self.error(where, f"{given!r} has no value for {self._point() or 'this job'}")
        return float(value)

    def _point(self) -> str:
        return ", ".join(f"{axis} = {value}" for axis, value in self.job.point.items())

    def whole(self, where: str, given: Any, least: int, most: int) -> int:
        value = self.number(where, given)
        if value != value // 1 or not least <= value <= most:
            raise self.error(where, f"a whole number from {least} to {most} is needed, not {value:g}")
        return int(value)

    def mapping(self, where: str, given: Any) -> Mapping[str, Any]:
        if not isinstance(given, Mapping):
            raise self.error(where, f"a mapping is needed, not {given!r}")
        return given

    def rates(self, given: Any) -> list[tuple[str, float]]:
        by_reason = given if isinstance(given, Mapping) else {"exit": given}
        found = []
        together = 0.0
        for reason, rate in by_reason.items():
            if reason not in _FAILURES:
                raise self.error("failure_rate", f"{reason!r} is not one of {', '.join(_FAILURES)}")
            value = self.number("failure_rate", rate, 0.0)
            together += value
            if value:
                found.append((str(reason), value))
        if together > 1.0 + 1e-9:
            raise self.error("failure_rate", f"{together:g} is above 1; it is a part of all attempts")
        return found
