"""The kinds of jobs of a plan, a cell on a problem or a dummy: how long a job takes, and its group in the file."""

from __future__ import annotations

__all__ = ["DUMMY", "Job", "Kind", "kind_of", "workflow_group"]

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from msgspec import to_builtins

from ensemble.model.errors import InputError
from ensemble.model.jobs import Scalar
from ensemble.studies.measuring.subject import Subject, of_cell
from ensemble.studies.patterns import Pattern, Patterns
from ensemble.studies.planning.draws import Unit
from ensemble.studies.planning.plan import Dummy, Mix, Plan, Range
from ensemble.studies.recipes import Catalogue

DUMMY: Final = "dummy"
"""The name of the dummy program, which is written beside the ensemble file."""


_OF_SUBJECT: Final = ("command", "setup", "env", "inputs", "outputs", "valid")
"""What the group of a cell takes from what is measured of it."""


class Job(NamedTuple):
    """One job: its values on the axes of its group, the seconds it takes with its launcher, and its share of MPI."""

    values: dict[str, Scalar]
    tasks: int
    seconds: float
    mpi: float


class Kind(Protocol):
    """What an entry of the mix is to the plan."""

    entry: Mix

    def job(self, unit: Unit, stretch: float, mpi: float) -> Job:
        """The job of a unit; both numbers are exponents of what was drawn: below 1 for more, above 1 for less."""
        ...

    def group(self) -> dict[str, Any]:
        """The group of such jobs without its name and points."""
        ...


def kind_of(entry: Mix, plan: Plan, patterns: Patterns | None, recipes: Catalogue | None) -> Kind:
    """The kind of an entry; a cell needs patterns and recipes. Raises `InputError` where it is not among them."""
    if entry.dummy is not None:
        return _DummyKind(entry, entry.dummy, plan.hookup)
    assert patterns is not None
    assert recipes is not None
    subject = of_cell(recipes.cell(entry.cell), entry.problem, (), entry.tasks)
    return _CellKind(entry, patterns.find(subject.cell, entry.problem, _name(entry)), subject, plan.extrapolate)


def workflow_group(mpi: float, hookup: float) -> dict[str, Any]:
    """The group of dummies with a share of MPI whose axes are `seconds` and `tasks`."""
    entry = Mix(tasks=(1, 2), dummy=Dummy(duration=(0.0, 1.0), mpi=(mpi, mpi)))
    assert entry.dummy is not None
    return _DummyKind(entry, entry.dummy, hookup).group()


def _name(entry: Mix) -> str:
    return str(entry.size[0]) if entry.size else ""


def _between(span: Range, number: float) -> float:
    return span[0] + (span[1] - span[0]) * number


def _pick(values: Sequence[Any], number: float) -> Any:
    return values[min(int(number * len(values)), len(values) - 1)]


class _Axes:
    """The values of jobs on axes; what has one value for all jobs is no axis."""

    def __init__(self, **several: bool) -> None:
        self.several = several

    def values(self, **given: Scalar) -> dict[str, Scalar]:
        return {name: value for name, value in given.items() if self.several[name]}

    def word(self, name: str, only: Scalar) -> Scalar:
        """What stands in a text for this value."""
        return f"{{{name}}}" if self.several[name] else only


class _DummyKind:
    """Jobs of the dummy."""

    def __init__(self, entry: Mix, dummy: Dummy, hookup: float) -> None:
        self.entry, self.dummy, self.hookup = entry, dummy, hookup
        self.axes = _Axes(
            seconds=dummy.duration[0] < dummy.duration[1],
            mpi=dummy.mpi[0] < dummy.mpi[1],
            write=dummy.write[0] < dummy.write[1],
            tasks=len(entry.tasks) > 1,
        )

    def job(self, unit: Unit, stretch: float, mpi: float) -> Job:
        seconds = round(_between(self.dummy.duration, unit.length**stretch), 3)
        share = round(_between(self.dummy.mpi, unit.mpi**mpi), 4)
        write = round(_between(self.dummy.write, unit.length), 3)
        tasks = _pick(self.entry.tasks, unit.tasks)
        values = self.axes.values(seconds=seconds, mpi=share, write=write, tasks=tasks)
        return Job(values, tasks, seconds + self.hookup, share)

    def group(self) -> dict[str, Any]:
        dummy, word = self.dummy, self.axes.word
        words = [f"./{DUMMY}", "--duration", word("seconds", dummy.duration[0]), "--mpi", word("mpi", dummy.mpi[0])]
        words += ["--message", dummy.message]
        if dummy.write[1]:
            words += ["--write", word("write", dummy.write[0])]
        if dummy.memory:
            words += ["--memory", dummy.memory]
        fixed = round(dummy.duration[0] + self.hookup, 3)
        return {
            "command": " ".join(map(str, words)),
            "inputs": [DUMMY],
            "tasks": word("tasks", self.entry.tasks[0]),
            "outputs": {"mpi_share": r"^mpi_share ([\d.]+)"},
            "simulate": {
                "duration": f"seconds + {self.hookup:g}" if self.axes.several["seconds"] else fixed,
                "figures": {"mpi_share": "mpi" if self.axes.several["mpi"] else dummy.mpi[0]},
            },
        }


class _CellKind:
    """Jobs of an application in a cell, with the durations of its pattern."""

    def __init__(self, entry: Mix, pattern: Pattern, subject: Subject, extrapolate: bool) -> None:
        self.entry, self.pattern, self.subject, self.extrapolate = entry, pattern, subject, extrapolate
        measured = [int(size) if size.is_integer() else size for size in pattern.sizes[:1]]
        sizes: Sequence[Scalar] = entry.size or measured or (pattern.size,)
        self.sizes = sorted(sizes, key=self._amount)
        self.axes = _Axes(
            size=self.sizes[0] != "",
            tasks=True,  # what makes a result valid may name it
            expected=len(self.sizes) > 1 or len(entry.tasks) > 1,
        )
        for tasks in entry.tasks:
            for size in self.sizes:
                self._seconds(tasks, size)

    def _amount(self, size: Scalar) -> float:
        """The size as a number; a pattern of a size that is a name has the durations of that size alone."""
        if not self.pattern.sizes:
            if str(size) != str(self.pattern.size):
                raise InputError(
                    f"the pattern of {self.pattern.name} says nothing of size {size}: each size needs an entry of `mix`"
                )
            return 0.0
        try:
            return float(size)
        except ValueError:
            raise InputError(
                f"size {size!r} is not a number, and {self.pattern.name} was measured in numbers"
            ) from None

    def _seconds(self, tasks: int, size: Scalar) -> tuple[float, float]:
        amount = self._amount(size) if self.pattern.sizes else None
        found = self.pattern.predict(tasks, amount, extrapolate=self.extrapolate)
        return found.seconds + self.pattern.hookup, found.mpi_share or 0.0

    def job(self, unit: Unit, stretch: float, mpi: float) -> Job:
        tasks = _pick(self.entry.tasks, unit.tasks)
        size = _pick(self.sizes, unit.length**stretch)
        seconds, share = self._seconds(tasks, size)
        seconds = round(seconds, 3)
        return Job(self.axes.values(size=size, tasks=tasks, expected=seconds), tasks, seconds, share)

    def group(self) -> dict[str, Any]:
        given = {name: to_builtins(getattr(self.subject, name)) for name in _OF_SUBJECT}
        group: dict[str, Any] = {key: value for key, value in given.items() if value}
        group["tasks"] = self.axes.word("tasks", self.entry.tasks[0])
        if self.entry.image:
            group["options"] = {"image": self.entry.image}
        alone = self._seconds(self.entry.tasks[0], self.sizes[0])[0]
        duration = "expected" if self.axes.several["expected"] else round(alone, 3)
        group["simulate"] = {"duration": duration}
        if self.pattern.model.freedom > 0:
            group["simulate"]["noise"] = round(self.pattern.model.residual, 4)
        return group
