"""From a plan to an experiment that meets its targets, found by simulating it."""

from __future__ import annotations

__all__ = ["plan_experiment"]

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import structs

from ensemble.spec.units import format_duration
from ensemble.studies.patterns import Patterns
from ensemble.studies.planning.arrivals import arrival_times
from ensemble.studies.planning.draws import Family, draw, family_size, roles
from ensemble.studies.planning.experiment import CLOCK, Experiment, Figures, simulated_makespan
from ensemble.studies.planning.kinds import Job, Kind, kind_of, workflow_group
from ensemble.studies.planning.plan import PlanFile
from ensemble.studies.planning.structures import Placed, compose, tasks_of
from ensemble.studies.planning.wfformat import read_workflow, workflow_groups
from ensemble.studies.recipes import Catalogue

MOST_JOBS: Final = 100_000
"""The most jobs that a plan without `jobs` comes to."""

_STEPS: Final = 20
"""The most tries in a search: so many halvings give an exponent to better than any target needs."""

_CLOSE: Final = 1e-3
"""How near to its target, as a share of it, a search is over."""

_LEAST: Final = 0.05
"""The shortest dummy in seconds: what is shorter in a workflow is made this long."""

_EXPONENTS: Final = (-6.0, 6.0)
"""The binary logarithms between which an exponent is searched: nearly all the greatest, nearly all the least."""


def plan_experiment(file: PlanFile, patterns: Patterns | None = None, recipes: Catalogue | None = None) -> Experiment:
    """Make the experiment of a plan.

    `patterns` are those of the study; a mix with cells needs them and the recipes. Raises `InputError` where a pattern
    is missing, and `SpecError` with the place in the file where a target cannot be met; it says what is nearest.
    """
    if file.plan.structure.kind == "workflow":
        return _workflow(file)
    planner = _Planner(file, [kind_of(entry, file.plan, patterns, recipes) for entry in file.plan.mix])
    return planner.planned()


def _workflow(file: PlanFile) -> Experiment:
    """The experiment of a workflow's file: dummies of its run times, all made longer or shorter to meet a makespan."""
    plan = file.plan
    tasks = read_workflow(os.path.join(file.directory, plan.structure.file))
    share = sum(plan.mpi) / 2 if plan.mpi else 0.0
    scale = 1.0
    for _ in range(_STEPS):
        scaled = [structs.replace(task, seconds=max(scale * task.seconds, _LEAST)) for task in tasks]
        ensemble = {"name": plan.name, "seed": plan.seed, "members": _members(file)}
        ensemble |= workflow_groups(scaled, workflow_group(share, plan.hookup))
        makespan = simulated_makespan(ensemble, file.directory)
        if not plan.makespan or abs(makespan - plan.makespan) < _CLOSE * plan.makespan:
            break
        scale *= plan.makespan / makespan
    core_hours = math.fsum(task.cores * (task.seconds + plan.hookup) for task in scaled) / 3600
    found = Experiment(ensemble, Figures(len(tasks), makespan, core_hours, share), scaled)
    _check_targets(file, found.figures)
    return found


def _members(file: PlanFile) -> dict[str, Any]:
    return file.members or {"local": {"cores": len(os.sched_getaffinity(0))}}


class _Planner:
    """Searches the number of jobs and the two exponents that meet the targets of a plan."""

    def __init__(self, file: PlanFile, kinds: Sequence[Kind]) -> None:
        self.file, self.plan, self.kinds = file, file.plan, kinds
        self.members = _members(file)
        self.size = family_size(file.plan.structure)

    def planned(self) -> Experiment:
        families = self._families()
        arrivals = arrival_times(self.file, len(families))
        stretch = self._stretch(families, arrivals)
        mpi = self._mpi_exponent(families, stretch)
        placed = self._placed(families, arrivals, stretch, mpi)
        found = Experiment(self._file(placed), self._figures(placed), tasks_of(self.plan, self.kinds, placed))
        _check_targets(self.file, found.figures, self._advice)
        return found

    # ---- what the numbers come to ------------------------------------------------------------------

    def _placed(
        self, families: Sequence[Family], arrivals: Sequence[float], stretch: float, mpi: float = 1.0
    ) -> list[Placed]:
        return [
            Placed(family, tuple(self.kinds[unit.entry].job(unit, stretch, mpi) for unit in family.units), arrival)
            for family, arrival in zip(families, arrivals, strict=True)
        ]

    def _jobs(self, placed: Sequence[Placed]) -> list[tuple[Job, int]]:
        """Every job, with how many of it there are."""
        places = roles(self.plan.structure)
        return [(job, count) for one in placed for job, (_, count) in zip(one.jobs, places, strict=True)]

    def _file(self, placed: Sequence[Placed]) -> dict[str, Any]:
        composed = compose(self.plan, self.kinds, placed)
        members = dict(self.members)
        if any(group["name"] == CLOCK for group in composed["jobs"]):
            members[CLOCK] = {"kind": "local", "cores": 1}
            home = next(iter(self.members))
            for group in composed["jobs"]:
                group.setdefault("member", home)
        return {"name": self.plan.name, "seed": self.plan.seed, "members": members, **composed}

    def _makespan(self, placed: Sequence[Placed]) -> float:
        return simulated_makespan(self._file(placed), self.file.directory)

    def _core_hours(self, placed: Sequence[Placed]) -> float:
        return math.fsum(count * job.tasks * job.seconds for job, count in self._jobs(placed)) / 3600

    def _mpi(self, placed: Sequence[Placed]) -> float:
        jobs = self._jobs(placed)
        whole = math.fsum(count * job.tasks * job.seconds for job, count in jobs)
        return math.fsum(count * job.tasks * job.seconds * job.mpi for job, count in jobs) / whole

    def _figures(self, placed: Sequence[Placed]) -> Figures:
        jobs = sum(count for _, count in self._jobs(placed))
        return Figures(jobs, self._makespan(placed), self._core_hours(placed), self._mpi(placed))

    # ---- searches ----------------------------------------------------------------------------------

    def _goal(self) -> tuple[float, Callable[[Sequence[Placed]], float]] | None:
        """The target that the lengths of jobs are fitted to, and how it is worked out."""
        if self.plan.makespan:
            return self.plan.makespan, self._makespan
        if self.plan.core_hours:
            return self.plan.core_hours, self._core_hours
        return None

    def _families(self) -> list[Family]:
        """As many as `jobs` says, or as the target needs with the lengths as they are drawn."""
        if self.plan.jobs:
            count, rest = divmod(self.plan.jobs, self.size)
            if rest:
                near = max(1, round(self.plan.jobs / self.size)) * self.size
                raise self.file.problem(
                    "jobs", f"{self.plan.jobs} jobs do not make whole families of {self.size}", f"Nearest is {near}."
                )
            return draw(self.plan, count)
        return draw(self.plan, self._count())

    def _count(self) -> int:
        """The number of families that comes nearest to the target."""
        goal = self._goal()
        assert goal is not None
        target, measure = goal

        def value(count: int) -> float:
            families = draw(self.plan, count)
            return measure(self._placed(families, arrival_times(self.file, count), 1.0))

        count, found = 1, {0: 0.0}
        for _ in range(_STEPS):
            if count in found:
                break
            found[count] = value(count)
            if abs(found[count] - target) < _CLOSE * target:
                break
            count = max(1, min(round(count * target / found[count]), 16 * count, MOST_JOBS // self.size))
        return min(filter(None, found), key=lambda count: abs(found[count] - target))

    def _stretch(self, families: Sequence[Family], arrivals: Sequence[float]) -> float:
        """The exponent of lengths with which the target is met best; 1 where there is none."""
        goal = self._goal()
        if goal is None:
            return 1.0
        target, measure = goal
        return _search(target, lambda exponent: measure(self._placed(families, arrivals, exponent)))

    def _mpi_exponent(self, families: Sequence[Family], stretch: float) -> float:
        """The exponent of MPI shares that brings the whole into its range, to the middle if it is not there already."""
        if self.plan.mpi is None:
            return 1.0
        low, high = self.plan.mpi
        zeros = [0.0] * len(families)

        def share(exponent: float) -> float:
            return self._mpi(self._placed(families, zeros, stretch, exponent))

        return 1.0 if low < share(1.0) < high else _search((low + high) / 2, share)

    def _advice(self) -> str:
        """How many jobs would meet the target, where the plan says another number."""
        goal = self._goal()
        if not self.plan.jobs or goal is None:
            return ""
        return f"; about {self._count() * self.size:,} jobs would meet it"


def _check_targets(file: PlanFile, figures: Figures, advice: Callable[[], str] = str) -> None:
    """Raise where a target is missed by more than the tolerance; `advice` is asked for what would meet it."""
    plan = file.plan
    for name, target, found, shown in (
        ("makespan", plan.makespan, figures.makespan, format_duration),
        ("core_hours", plan.core_hours, figures.core_hours, "{:.3g}".format),
    ):
        if target and abs(found - target) > plan.tolerance * target:
            hint = f"the nearest is {shown(found)}, with {figures.jobs:,} jobs{advice()}"
            raise file.problem(name, f"{shown(target)} cannot be met by this mix", hint)
    if plan.mpi is not None:
        low, high = (
            edge * factor for edge, factor in zip(plan.mpi, (1 - plan.tolerance, 1 + plan.tolerance), strict=True)
        )
        if not low <= figures.mpi <= high:
            asked = " to ".join(f"{share:.0%}" for share in dict.fromkeys(plan.mpi))
            raise file.problem("mpi", f"{asked} in MPI cannot be met by this mix", f"the nearest is {figures.mpi:.1%}")


def _search(target: float, value: Callable[[float], float]) -> float:
    """The exponent, 1 if that is as good, whose value is nearest to the target; values fall as exponents grow."""
    low, high = _EXPONENTS
    best, distance = 1.0, abs(value(1.0) - target)
    for _ in range(_STEPS):
        if distance < _CLOSE * target:
            break
        middle = (low + high) / 2
        exponent = 2.0**middle
        found = value(exponent)
        if abs(found - target) < distance:
            best, distance = exponent, abs(found - target)
        low, high = (low, middle) if found < target else (middle, high)
    return best
