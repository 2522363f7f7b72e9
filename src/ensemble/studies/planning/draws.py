"""The jobs of a plan before its targets are met: who they are, drawn by the seed."""

from __future__ import annotations

__all__ = ["Family", "Unit", "draw", "family_size", "roles"]

from collections.abc import Sequence
from typing import Final, NamedTuple

from ensemble.spec.sampling import DESIGNS
from ensemble.studies.planning.plan import Plan, Structure

_AXES: Final = 3
"""Numbers that a job is drawn by: its length, its tasks and its share of MPI."""


class Unit(NamedTuple):
    """One kind of job in one place of a structure; each number is in [0, 1)."""

    entry: int
    length: float
    tasks: float
    mpi: float


class Family(NamedTuple):
    """Jobs that depend on each other: one for each role of the structure."""

    number: int
    units: tuple[Unit, ...]


def roles(structure: Structure) -> tuple[tuple[str, int], ...]:
    """The roles of a structure by name, each with the number of jobs of a family that have it."""
    match structure.kind:
        case "chains":
            return tuple((str(step + 1), 1) for step in range(len(structure.steps) or structure.length))
        case "fan-out":
            return (("first", 1), ("work", structure.width), ("last", 1))
        case "iterate":
            return (("", structure.rounds),)
        case _:
            return (("", 1),)


def family_size(structure: Structure) -> int:
    """How many jobs depend on each other."""
    return sum(count for _, count in roles(structure))


def draw(plan: Plan, families: int) -> list[Family]:
    """Draw this many families, the kinds in turn: the same plan and number give the same ones."""
    places = len(roles(plan.structure))
    kinds = _kinds(plan, families)
    drawn: list[tuple[float, tuple[Unit, ...]]] = []
    for index, (entries, count) in enumerate(kinds):
        rows = DESIGNS[plan.sampling](count, _AXES * places, plan.seed + index) if count else []
        for turn, row in enumerate(rows):
            units = tuple(Unit(entry, *row[place * _AXES : (place + 1) * _AXES]) for place, entry in enumerate(entries))
            drawn.append(((turn + 0.5) / count, units))
    drawn.sort(key=lambda pair: pair[0])
    return [Family(number, units) for number, (_, units) in enumerate(drawn, 1)]


def _kinds(plan: Plan, families: int) -> list[tuple[tuple[int, ...], int]]:
    """For each kind of family, the entries of its roles and how many there are of it."""
    places = len(roles(plan.structure))
    if plan.structure.steps:
        names = [entry.name for entry in plan.mix]
        return [(tuple(names.index(step) for step in plan.structure.steps), families)]
    counts = _apportion([entry.share for entry in plan.mix], families)
    return [((index,) * places, count) for index, count in enumerate(counts)]


def _apportion(shares: Sequence[float], seats: int) -> list[int]:
    """Whole numbers that add up to `seats`, in proportion to the shares (largest remainders)."""
    exact = [share * seats / sum(shares) for share in shares]
    found = [int(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda place: (found[place] - exact[place], place))
    for place in order[: seats - sum(found)]:
        found[place] += 1
    return found
