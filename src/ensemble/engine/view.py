"""Read-only views of the state: for algorithms, for the runtime and the faces, for custom functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ensemble.engine.algorithm import GroupView, MemberView, PointView
from ensemble.engine.state import Cell, Group, Member, Point, State
from ensemble.engine.transitions import INACTIVE, NEW
from ensemble.model.jobs import COUNTS, Scalar
from ensemble.spec.expressions import parse, paths
from ensemble.spec.model import ActionSpec

if TYPE_CHECKING:
    from ensemble.engine.build import Builder

_STATISTICS = ("mean", "std", "min", "max", "median", "iqr", "mad", "variance")


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
            count += self._builder.plan.template(point).count
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
        return [_member(member) for member in self._state.members.values()]

    def metric(self, path: str) -> float | None:
        """The value of a metric path; None when unknown. Raises `ExpressionError` for one that names nothing."""
        found = paths(parse(path))
        return self._builder.resolver.value(found[0], {})[1]()


class EngineView(StateView):
    """What the runtime and the faces may know of a run beyond its status. Nothing in it changes the engine."""

    __slots__ = ()

    # ---- the run -----------------------------------------------------------------------------------

    @property
    def run(self) -> str:
        """The run's name."""
        return self._state.run

    @property
    def run_dir(self) -> str:
        """The run's directory; empty before it has started."""
        return self._state.run_dir

    @property
    def seed(self) -> int:
        """The seed that every random choice follows from."""
        return self._state.seed

    @property
    def handed_over(self) -> bool:
        """Whether every job is with a member and every command is answered, in a run that has submitted any."""
        state = self._state
        return state.started >= 0 and state.total.submitted > 0 and not state.backlog and not state.commands

    # ---- members -----------------------------------------------------------------------------------

    def member(self, name: str) -> MemberView:
        """One member. Raises `KeyError` for a name that is none."""
        return _member(self._state.members[name])

    def position(self, member: str) -> tuple[str, int]:
        """The stream of a member and the number of its last event that was taken in."""
        known = self._state.members[member]
        return known.stream, known.position

    def open_refs(self, member: str) -> list[tuple[str, int]]:
        """(key, attempt) of every job that a member is thought to hold."""
        return [
            (job.key, job.attempt)
            for job in self._state.jobs.values()
            if job.member == member and NEW < job.code < INACTIVE
        ]

    def holds(self, key: str, attempt: int) -> bool:
        """Whether an attempt is thought to be with a member and is not over."""
        job = self._state.jobs.get(key)
        return job is not None and job.attempt == attempt and NEW < job.code < INACTIVE

    # ---- rules and groups --------------------------------------------------------------------------

    def rules(self) -> dict[str, ActionSpec]:
        """The action of every rule by its id, those that were switched off included."""
        return {name: rule.action for name, rule in self._state.rules.items()}

    def fired(self) -> dict[str, int]:
        """How often each rule has fired, those that were switched off included."""
        return {name: rule.fired for name, rule in self._state.rules.items()}

    def held_back(self) -> list[HeldBack]:
        """The groups whose jobs wait here because no member has taken them."""
        return [
            HeldBack(group.name, group.waiting + len(group.ready), point.nodes, point.cores)
            for group in self._state.groups.values()
            if group.waiting or group.ready
            for point in (group.points[group.backlog[0].point if group.backlog else 0],)
        ]

    def statistics(self, wanted: Sequence[str]) -> Iterator[CellStatistics]:
        """The statistics named in `wanted` of each quantity: of every group, then of every point of a group that has
        several."""
        now = self._state.now
        groups = self._state.groups.values()
        for group in groups:
            yield _statistics(group.whole, {}, wanted, now)
        for group in groups:
            for point in group.points if len(group.points) > 1 else ():
                if point.values:
                    yield _statistics(point.own_cell, point.values, wanted, now)


class HeldBack(NamedTuple):
    """`jobs` jobs of a group that wait in the engine, and what the first of them asks for."""

    group: str
    jobs: int
    nodes: int
    cores: int


class CellStatistics(NamedTuple):
    """Counts and statistics of a group (`values` empty) or of one of its points. `quantities` has, for each quantity
    that has a value, its statistics by name."""

    group: str
    values: dict[str, Scalar]
    counts: dict[str, int]
    quantities: dict[str, dict[str, float]]


def _statistics(cell: Cell, values: dict[str, Scalar], wanted: Sequence[str], now: float) -> CellStatistics:
    found: dict[str, dict[str, float]] = {}
    for name, series in cell.series.items():
        stats = {what: value for what in wanted if (value := series.stat(what)) is not None}
        if stats.get("count"):
            found[name] = stats
    waits = {what: value for what in wanted if (value := cell.waits.stat(what, now)) is not None}
    if waits.get("count"):
        found["pending"] = waits
    return CellStatistics(cell.group, values, {name: getattr(cell, name) for name in COUNTS}, found)


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
        cell = point.own_cell
        return PointView(
            dict(point.values),
            self._builder.plan.template(point).count,
            point.nodes,
            point.cores,
            cell.submitted,
            cell.active,
            cell.success,
        )


def _member(member: Member) -> MemberView:
    return MemberView(
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
        member.opened,
    )


def metrics_for_function(state: State) -> dict[str, Any]:
    """Every group's counts and statistics as plain data: `metrics["mean"]["sleep"]["duration"]`."""
    found: dict[str, Any] = {name: {} for name in ("count", *_STATISTICS)}
    for group in state.groups.values():
        _fill(found, group.name, group.whole, state.now)
    return found


def points_for_function(state: State) -> dict[str, Any]:
    """Every point's counts and statistics as plain data: `points["sleep"][0]["mean"]["duration"]`."""
    return {
        group.name: [{"parameters": dict(point.values), **_one(point.own_cell, state.now)} for point in group.points]
        for group in state.groups.values()
    }


def _fill(found: dict[str, Any], name: str, cell: Cell, now: float) -> None:
    one = _one(cell, now)
    for key, value in one.items():
        found[key][name] = value


def _one(cell: Cell, now: float) -> dict[str, Any]:
    result: dict[str, Any] = {"count": {name: getattr(cell, name) for name in COUNTS}}
    for statistic in _STATISTICS:
        values = {quantity: series.stat(statistic) for quantity, series in cell.series.items()}
        values["pending"] = cell.waits.stat(statistic, now)
        result[statistic] = {quantity: value for quantity, value in values.items() if value is not None}
    return result
