"""How the jobs of a plan depend on each other and when they arrive, as groups and rules of an ensemble file."""

from __future__ import annotations

__all__ = ["Placed", "compose", "tasks_of"]

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from ensemble.studies.planning.draws import Family, roles
from ensemble.studies.planning.experiment import CLOCK, Task
from ensemble.studies.planning.kinds import Job, Kind
from ensemble.studies.planning.plan import Plan

NUMBER = "n"
"""The axis that tells the families of jobs apart."""


class Placed(NamedTuple):
    """A family with its jobs, one for each role, and the time at which it arrives."""

    family: Family
    jobs: tuple[Job, ...]
    arrival: float


def compose(plan: Plan, kinds: Sequence[Kind], placed: Sequence[Placed]) -> dict[str, Any]:
    """The `jobs` and `rules` of an ensemble file."""
    lines: dict[tuple[int, ...], list[Placed]] = {}
    for one in placed:
        lines.setdefault(tuple(unit.entry for unit in one.family.units), []).append(one)
    groups: list[dict[str, Any]] = []
    rules: list[dict[str, Any]] = []
    for entries, families in lines.items():
        names = _names(plan, kinds, entries)
        for place, entry in enumerate(entries):
            group = {"name": names[place], **kinds[entry].group()}
            copies = roles(plan.structure)[place][1]
            if copies > 1 and plan.structure.kind == "fan-out":
                group["count"] = copies
            if place:
                groups.append(group | _points(families, place, alike=False) | {"submit": "rules"})
            else:
                first, late = _arrivals(families)
                alike = len(entries) == 1 and plan.structure.kind == "bag"
                groups.append(group | _points(first, 0, alike) | {"submit": "rules" if first[0].arrival else "start"})
                if first[0].arrival:
                    rules.append(_arrival(names[0], first[0].arrival, {}))
                rules += [_arrival(names[0], some[0].arrival, _points(some, 0, alike)) for some in late]
        rules += _dependencies(plan, names)
    if clock := max((one.arrival for one in placed), default=0.0):
        groups.append({"name": CLOCK, "command": f"sleep {clock:g}", "member": CLOCK, "launcher": "none"})
    return {"jobs": groups} | ({"rules": rules} if rules else {})


def _names(plan: Plan, kinds: Sequence[Kind], entries: tuple[int, ...]) -> list[str]:
    """A name for the group of each role."""
    own = [kinds[entry].entry.name for entry in entries]
    if plan.structure.steps and len(set(own)) == len(own):
        return own
    return [f"{name}-{role}" if role else name for name, (role, _) in zip(own, roles(plan.structure), strict=True)]


def _points(families: Sequence[Placed], place: int, alike: bool) -> dict[str, Any]:
    """The points of the jobs of one role, or just their count where they are all `alike`."""
    values = [one.jobs[place].values for one in families]
    if alike and not values[0]:
        return {"count": len(values)}
    numbers = [one.family.number for one in families]
    if not values[0] and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return {"parameters": {NUMBER: {"from": numbers[0], "to": numbers[-1]}}}
    points = [{NUMBER: one.family.number, **some} for one, some in zip(families, values, strict=True)]
    return {"parameters": {"list": points}}


def _arrivals(families: Sequence[Placed]) -> tuple[list[Placed], list[list[Placed]]]:
    """The families that arrive first, whose points the group has from the beginning, and later ones by their time."""
    by_time: dict[float, list[Placed]] = {}
    for one in sorted(families, key=lambda one: one.arrival):
        by_time.setdefault(one.arrival, []).append(one)
    first, *late = by_time.values()
    return first, late


def _arrival(group: str, time: float, points: dict[str, Any]) -> dict[str, Any]:
    more = {"value": points["count"]} if "count" in points else points
    return {"trigger": "interval", "seconds": time, "action": {"name": "submit", "label": group, **more}}


def _dependencies(plan: Plan, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rules that submit the jobs of later roles."""
    structure = plan.structure
    match structure.kind:
        case "chains":
            return [_after(one, other) for one, other in itertools.pairwise(names)]
        case "fan-out":
            first, work, last = names
            joined = {
                "trigger": "metric",
                "for_each": NUMBER,
                "when": f"count.{work}.success >= {structure.width}",
                "action": {"name": "submit", "label": last},
            }
            return [_after(first, work), joined]
        case "iterate":
            if structure.rounds < 2:
                return []
            again = _after(names[0], names[0])
            again["action"]["repetitions"] = structure.rounds - 1
            if structure.until:
                again["when"] = f"not ({structure.until})"
            return [again]
        case _:
            return []


def _after(one: str, other: str) -> dict[str, Any]:
    return {"trigger": "job-success", "name": one, "for_each": NUMBER, "action": {"name": "submit", "label": other}}


def tasks_of(plan: Plan, kinds: Sequence[Kind], placed: Sequence[Placed]) -> list[Task]:
    """The jobs as tasks of a workflow, with those that each waits for; an iteration has all of its rounds."""
    tasks: list[Task] = []
    one_by_one = plan.structure.kind == "iterate"
    for one in placed:
        names = _names(plan, kinds, tuple(unit.entry for unit in one.family.units))
        before: tuple[str, ...] = ()
        for job, name, (_, copies) in zip(one.jobs, names, roles(plan.structure), strict=True):
            made = []
            for copy in range(copies):
                key = f"{name}-{one.family.number}" + (f"-{copy + 1}" if copies > 1 else "")
                tasks.append(Task(key, name, job.seconds, job.tasks, before))
                made.append(key)
                if one_by_one:
                    before = (key,)
            before = tuple(made)
    return tasks
