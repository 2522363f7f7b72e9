"""Read-only sights of the state: for algorithms, for custom functions, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ensemble.engine.algorithm import GroupView, MemberView, PointView
from ensemble.engine.state import Cell, Group, Point, State
from ensemble.spec.expressions import parse, paths

if TYPE_CHECKING:
    from ensemble.engine.build import Builder

_STATISTICS = ("mean", "std", "min", "max", "median", "iqr", "mad", "variance")
_COUNTS = (
    "submitted",
    "pending",
    "running",
    "active",
    "finished",
    "success",
    "failed",
    "cancelled",
    "lost",
    "failed_attempts",
)


class StateView:
    """What an algorithm sees (`engine.algorithm.View`)."""

    __slots__ = ("_builder", "_state")

    def __init__(self, state: State, builder: Builder) -> None:
        self._state = state
        self._builder = builder

    @property
    def now(self) -> float:
        """The time of the event being decided on."""
        return self._state.now

    @property
    def started(self) -> float:
        """When the ensemble began."""
        return self._state.started

    def groups(self) -> Sequence[GroupView]:
        """All groups, in file order."""
        return [self._group(group) for group in self._state.groups.values()]

    def _group(self, group: Group) -> GroupView:
        whole = group.whole
        first = group.points[0] if group.points else None
        count = 0
        for point in group.points:
            count += self._builder.template(point).count
        return GroupView(
            group.name,
            group.axes,
            len(group.points),
            count,
            first.nodes if first is not None else 0,
            first.cores if first is not None else 1,
            first.member if first is not None else "",
            whole.submitted,
            whole.pending,
            whole.running,
            whole.success,
            whole.failed,
            whole.cancelled,
            whole.lost,
        )

    def points(self, group: str) -> Sequence[PointView]:
        """The points of one group, in order, each made when it is looked at."""
        return _Points(self._state.groups[group], self._builder)

    def members(self) -> Sequence[MemberView]:
        """All members, in file order."""
        return [
            MemberView(
                member.name,
                member.state,
                member.nodes_up,
                member.nodes_free,
                member.cores_up,
                member.cores_free,
                member.target,
                member.min_nodes,
                member.max_nodes,
                member.price,
                member.outstanding,
                "resize" in member.capabilities,
            )
            for member in self._state.members.values()
        ]

    def metric(self, path: str) -> float | None:
        """The value of a metric path; None when unknown. Raises `ExpressionError` for one that names nothing."""
        found = paths(parse(path))
        return self._builder.resolver.value(found[0], {})[1]()


class _Points(Sequence[PointView]):
    """The points of a group as views, without making them all."""

    __slots__ = ("_builder", "_group")

    def __init__(self, group: Group, builder: Builder) -> None:
        self._group = group
        self._builder = builder

    def __len__(self) -> int:
        return len(self._group.points)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._view(point) for point in self._group.points[index]]
        return self._view(self._group.points[index])

    def _view(self, point: Point) -> PointView:
        cell = own_cell(point)
        return PointView(
            dict(point.values),
            self._builder.template(point).count,
            point.nodes,
            point.cores,
            cell.submitted,
            cell.active,
            cell.success,
        )


def own_cell(point: Point) -> Cell:
    """The cell of just this point."""
    return point.group.cells[tuple(point.values.items())]


def metrics_for_function(state: State) -> dict[str, Any]:
    """Every group's counts and statistics as plain data: `metrics["mean"]["sleep"]["duration"]`."""
    found: dict[str, Any] = {name: {} for name in ("count", *_STATISTICS)}
    for group in state.groups.values():
        _fill(found, group.name, group.whole, state.now)
    return found


def points_for_function(state: State) -> dict[str, Any]:
    """Every point's counts and statistics as plain data: `points["sleep"][0]["mean"]["duration"]`."""
    return {
        group.name: [{"parameters": dict(point.values), **_one(own_cell(point), state.now)} for point in group.points]
        for group in state.groups.values()
    }


def _fill(found: dict[str, Any], name: str, cell: Cell, now: float) -> None:
    one = _one(cell, now)
    for key, value in one.items():
        found[key][name] = value


def _one(cell: Cell, now: float) -> dict[str, Any]:
    result: dict[str, Any] = {"count": {name: getattr(cell, name) for name in _COUNTS}}
    for statistic in _STATISTICS:
        values = {quantity: series.stat(statistic) for quantity, series in cell.series.items()}
        values["pending"] = cell.waits.stat(statistic, now)
        result[statistic] = {quantity: value for quantity, value in values.items() if value is not None}
    return result
