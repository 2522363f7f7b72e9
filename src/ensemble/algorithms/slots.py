"""What an algorithm can submit: the points of the groups, each with its counts and sizes."""

from __future__ import annotations

__all__ = ["BATCH", "LOW", "Slot", "left_in", "metric", "size", "slots", "spread", "submit", "total", "whole"]

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from ensemble.engine.algorithm import GroupView, View
from ensemble.model.errors import ExpressionError
from ensemble.model.jobs import Scalar
from ensemble.spec.model import ActionSpec

BATCH: Final = 1000
"""Jobs submitted by one step where each needs a choice of its own: keeps records, and with them memory, small."""

LOW: Final = 500
"""The next batch follows when fewer than so many jobs wait."""


class Slot(NamedTuple):
    """Jobs that are submitted alike: those of one point, or of a group without axes.

    Several entries of the file may share a name; where no axis tells them apart, they are one slot, and its
    jobs come `entries` at a time: one of each where all have the same count, else all at once.
    """

    group: str
    values: dict[str, Scalar] | None
    entries: int
    wanted: int
    nodes: int
    cores: int
    submitted: int
    active: int
    success: int
    member: str

    @property
    def left(self) -> int:
        """Jobs that the file asks for (`wanted`) and that were not submitted yet."""
        return max(0, self.wanted - self.submitted)

    @property
    def finished(self) -> int:
        """Jobs that have ended, however they did."""
        return self.submitted - self.active

    @property
    def path(self) -> str:
        """The middle of a metric path that means these jobs."""
        if not self.values:
            return self.group
        return f"{self.group}[{','.join(f'{axis}={value}' for axis, value in self.values.items())}]"


def slots(view: View, group: GroupView) -> list[Slot]:
    """The slots of a group, in file order."""
    if not group.axes:
        return [whole(view, group)]
    return [
        Slot(
            group.name,
            dict(point.values),
            1,
            point.count,
            point.nodes,
            point.cores,
            point.submitted,
            point.active,
            point.success,
            group.member,
        )
        for point in view.points(group.name)
    ]


def whole(view: View, group: GroupView) -> Slot:
    """A group as one slot; with axes it is for reading and for `spread`, not for `submit`."""
    entries = 1
    if not group.axes and group.points > 1:
        counts = [point.count for point in view.points(group.name)]
        entries = len(counts) if min(counts) == max(counts) else group.count
    return Slot(
        group.name,
        None,
        max(1, entries),
        group.count,
        group.nodes,
        group.cores,
        group.submitted,
        group.active,
        group.success,
        group.member,
    )


def submit(slot: Slot, jobs: int) -> ActionSpec:
    """The action that submits `jobs` jobs (rounded up to whole rounds of `entries`)."""
    rounds = -(-jobs // slot.entries)
    if slot.values is None and not slot.submitted and rounds * slot.entries == slot.wanted:
        return ActionSpec(name="submit", label=slot.group)  # what the file says, entry by entry
    points = () if slot.values is None else (slot.values,)
    return ActionSpec(name="submit", label=slot.group, value=rounds, points=points)


def spread(view: View, slot: Slot, jobs: int, memory: dict[str, Any]) -> list[ActionSpec]:
    """Submit `jobs` jobs of a whole group, evenly over its points; the next call goes on at the next point.

    The place is kept in `memory`, under `turn`.
    """
    group = next(group for group in view.groups() if group.name == slot.group)
    if not group.axes:
        return [submit(slot, jobs)]
    points = view.points(slot.group)
    turn = memory.get("turn", {}).get(slot.group, 0) % len(points)
    memory["turn"] = {**memory.get("turn", {}), slot.group: (turn + jobs) % len(points)}
    each, more = divmod(jobs, len(points))
    actions = []
    for step in range(len(points) if each else more):
        values = dict(points[(turn + step) % len(points)].values)
        count = each + (1 if step < more else 0)
        actions.append(ActionSpec(name="submit", label=slot.group, value=count, points=(values,)))
    return actions


def left_in(group: GroupView) -> int:
    """Jobs of a group that the file asks for and that were not submitted yet."""
    return max(0, group.count - group.submitted)


def size(slot: Slot) -> tuple[int, int]:
    """How large a job is, for comparing: whole nodes first, then cores."""
    return (slot.nodes, slot.cores)


def metric(view: View, statistic: str, slot: Slot, quantity: str) -> float | None:
    """Read a metric of a slot; None when unknown, also for a value that no path can spell."""
    try:
        return view.metric(f"{statistic}.{slot.path}.{quantity}")
    except ExpressionError:
        return None


def total(numbers: Iterable[int]) -> int:
    """Add whole numbers."""
    result = 0
    for number in numbers:
        result += number
    return result
