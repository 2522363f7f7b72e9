"""The state of a run for people and programs, as plain frozen data."""

from __future__ import annotations

from msgspec import Struct

from ensemble.engine.build import Builder
from ensemble.engine.resolve import Resolver
from ensemble.engine.state import PAUSE, Cell, State
from ensemble.model.decisions import Call, Submit
from ensemble.model.errors import EnsembleError
from ensemble.model.jobs import Scalar
from ensemble.model.wording import counted
from ensemble.spec.expressions import ALL_POINTS, MetricPath


class Summary(Struct, frozen=True):
    """One quantity of a group or point; None where too few values are known."""

    count: int
    mean: float | None
    ci95: float | None
    min: float | None
    max: float | None


class CellStatus(Struct, frozen=True):
    """Counts and quantities of a group (`values` empty) or of one of its points."""

    group: str
    values: dict[str, Scalar]
    submitted: int
    pending: int
    running: int
    success: int
    failed: int
    cancelled: int
    lost: int
    failed_attempts: int
    quantities: dict[str, Summary]
    derived: dict[str, float | None]
    label: str = ""
    """The file's own word for it."""


class FailureStatus(Struct, frozen=True):
    """Jobs of a group that failed for good for one reason, with the key and attempt of the first of them.

    `exit_code` is -1 and `signal` 0 where there was none; `attempt` is 0 for jobs that no member ever had.
    """

    group: str
    reason: str
    count: int
    example: str
    attempt: int = 0
    exit_code: int = -1
    signal: int = 0
    text: str = ""


class MemberStatus(Struct, frozen=True):
    """A member; -1: not reported. `waiting`: why jobs wait in its queue, in its own words, and how many."""

    name: str
    kind: str
    state: str
    nodes_up: int
    nodes_free: int
    cores_up: int
    cores_free: int
    outstanding: int
    capabilities: tuple[str, ...]
    text: str
    waiting: dict[str, int] = {}


class RuleStatus(Struct, frozen=True):
    """A rule. `left` is -1 for unlimited."""

    id: str
    trigger: str
    action: str
    fired: int
    left: int
    open: int


class Status(Struct, frozen=True):
    """The whole run. Times in seconds; `node_hours` and `cost` are what is spent, `reserved_*` what may still be.

    `cancelled_outside`: attempts that were cancelled though nothing here had asked for it, by their queue's reason.
    `seq` is the number of the last record that this takes into account; `started` is when the run began, in seconds
    since the Unix epoch. `state` (`runs.RunState`) says whether a process
    works on the run; the engine does not know this, and leaves it empty.
    """

    run: str
    elapsed: float
    groups: tuple[CellStatus, ...]
    points: tuple[CellStatus, ...]
    members: tuple[MemberStatus, ...]
    rules: tuple[RuleStatus, ...]
    total: CellStatus
    firings: int
    notes: dict[str, int]
    node_hours: float
    cost: float
    reserved_node_hours: float
    reserved_cost: float
    draining: str
    limit: str
    outcome: str
    reason: str
    cancelled_outside: dict[str, int] = {}
    failures: tuple[FailureStatus, ...] = ()
    """The most frequent first."""
    currency: str = ""
    """That of `cost`; empty where the members' prices name none, or several."""
    seq: int = 0
    started: float = 0.0
    state: str = ""


def status(state: State, builder: Builder, points: bool = True) -> Status:
    """Return the state of the run at the time of its last event; `points`: with those of the groups."""
    groups = [
        _cell(group.whole, {}, state, builder, next((one.label for one in builder.plan.templates[group.name]), ""))
        for group in state.groups.values()
    ]
    split = [
        _cell(point.own_cell, point.values, state, builder, builder.plan.template(point).label)
        for group in state.groups.values()
        if points and len(group.points) > 1
        for point in group.points
    ]
    members = [
        MemberStatus(
            member.name,
            member.kind,
            member.state,
            member.nodes_up,
            member.nodes_free,
            member.cores_up,
            member.cores_free,
            member.outstanding,
            member.capabilities,
            member.text,
            dict(member.waiting),
        )
        for member in state.members.values()
    ]
    rules = [
        RuleStatus(rule.id, rule.trigger, rule.action.name, rule.fired, rule.left, rule.open)
        for rule in state.rules.values()
        if not rule.removed
    ]
    outcome, reason = _outcome(state)
    return Status(
        run=state.run,
        elapsed=state.now - state.started if state.started >= 0 else 0.0,
        groups=tuple(groups),
        points=tuple(split),
        members=tuple(members),
        rules=tuple(rules),
        total=_cell(state.total, {}, state, builder),
        firings=state.firings,
        notes=dict(state.notes),
        node_hours=state.spent_node_seconds / 3600.0,
        cost=state.spent_cost,
        reserved_node_hours=state.reserved_node_seconds / 3600.0,
        reserved_cost=state.reserved_cost,
        draining=state.draining or (PAUSE if state.paused else ""),
        limit=state.limit,
        outcome=outcome,
        reason=reason,
        cancelled_outside=dict(state.cancelled_outside),
        failures=_failures(state),
        currency=builder.plan.spec.currency,
        seq=state.seq,
        started=max(0.0, state.started),
    )


def _failures(state: State) -> tuple[FailureStatus, ...]:
    found = [
        FailureStatus(group.name, reason, one.count, one.example, one.attempt, exit_code, signal, one.text)
        for group in state.groups.values()
        for (reason, exit_code, signal), one in group.failures.items()
    ]
    return tuple(sorted(found, key=lambda one: -one.count))


def _outcome(state: State) -> tuple[str, str]:
    """How the run ended, or that it rests; with the reason."""
    if state.ended is not None:
        return state.ended.outcome, state.ended.reason
    if not at_rest(state):
        return "", ""
    waiting = state.total.pending
    kept = f"{counted(waiting, 'job')} {'waits' if waiting == 1 else 'wait'} for `ensemble resume`"
    return "drained", f"on request; {kept if waiting else '`ensemble resume` continues it'}"


def at_rest(state: State) -> bool:
    """Whether a pause has come to its end: nothing runs and no answer is awaited; what waits is kept."""
    return (
        state.paused
        and state.ended is None
        and not any(member.outstanding for member in state.members.values())
        and not any(isinstance(command, (Submit, Call)) for command in state.commands.values())
    )


def _cell(cell: Cell, values: dict[str, Scalar], state: State, builder: Builder, label: str = "") -> CellStatus:
    quantities = {
        name: Summary(int(series.stat("count") or 0), *(series.stat(what) for what in ("mean", "ci95", "min", "max")))
        for name, series in cell.series.items()
        if series.stat("count")
    }
    derived: dict[str, float | None] = {}
    if cell.group != "*":
        for template in builder.plan.templates[cell.group]:
            for name in template.derived:
                derived[name] = _derived(builder.resolver, cell, values, name)
    return CellStatus(
        cell.group,
        dict(values),
        cell.submitted,
        cell.pending,
        cell.running,
        cell.success,
        cell.failed,
        cell.cancelled,
        cell.lost,
        cell.failed_attempts,
        quantities,
        derived,
        label,
    )


def _derived(resolver: Resolver, cell: Cell, values: dict[str, Scalar], name: str) -> float | None:
    selector = tuple(values.items()) if values else ALL_POINTS
    try:
        return resolver.value(MetricPath("derived", cell.group, name, selector), {})[1]()
    except EnsembleError:
        return None
