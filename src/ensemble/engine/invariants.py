"""`check()`: every invariant of the state, for tests to verify after every step.

Everything the engine keeps as a count or an index is worked out again here, from what it was counted from.
"""

from __future__ import annotations

import math
from math import isclose

from ensemble.engine.budget import last_end
from ensemble.engine.build import Builder
from ensemble.engine.rules import Rule, Thresholds, Watch
from ensemble.engine.state import Cell, Group, Job, Member, State
from ensemble.engine.transitions import CLEANUP, INACTIVE, NEW, RUN, history
from ensemble.model.decisions import Call, Resize, Submit
from ensemble.model.errors import InvariantError
from ensemble.model.jobs import STORED_COUNTS
from ensemble.model.placement import Taken


def check(state: State, builder: Builder) -> None:
    """Raise `InvariantError` naming the first contradiction in the state."""
    by_group: dict[str, list[Job]] = {name: [] for name in state.groups}
    for key, job in state.jobs.items():
        _same(f"{job.key}: its key", key, job.key)
        by_group[job.group.name].append(job)
        _job(state, job)
    for group in state.groups.values():
        _group(state, group, by_group[group.name])
    _same("backlog", sum(group.waiting for group in state.groups.values()), state.backlog)
    _cell(state.total)
    _same("total active", state.total.active, len(state.jobs) + state.backlog)
    for name in STORED_COUNTS:
        _same(f"total {name}", getattr(state.total, name), sum(getattr(g.whole, name) for g in state.groups.values()))
    for member in state.members.values():
        _member(state, builder, member)
    _reserved(state)
    _commands(state)
    _timers(state)
    _rules(state, builder)
    _ended(state)


# ---- jobs ------------------------------------------------------------------------------------------


def _job(state: State, job: Job) -> None:
    group = job.group
    if job.key != f"{group.name}-{job.number}" or job.number >= group.created:
        raise InvariantError(f"{job.key} is number {job.number} of {group.name}, which has made {group.created}")
    if job.waits and (job.code in (NEW, INACTIVE) or job.code >= RUN):
        raise InvariantError(f"{history(job)} waits in a queue")
    if group.is_done(job.number):
        raise InvariantError(f"{job.key} is under way and marked as finished")
    if job.code == INACTIVE:
        raise InvariantError(f"{history(job)} has ended and nothing was decided on it")
    if job.last is not None:
        raise InvariantError(f"{job.key} keeps the event of an end that was decided on")
    if job.code == CLEANUP and not job.ended:
        raise InvariantError(f"{history(job)} cleans up and has not ended")
    if job.code < RUN and (job.run_at or job.run_time or job.ended):
        raise InvariantError(f"{history(job)} has times of a run it has not begun")
    if job.code >= RUN and not job.run_at:
        raise InvariantError(f"{history(job)} runs since never")
    if job.code != NEW and job.member not in state.members:
        raise InvariantError(f"{job.key} is with {job.member!r}, which is no member")
    if job.code == NEW and (job.node_seconds or job.cost or job.cancelling):
        raise InvariantError(f"{job.key} is with no member and reserves or is being cancelled there")


def _group(state: State, group: Group, jobs: list[Job]) -> None:
    name = group.name
    if group.mixing:
        raise InvariantError(f"{name}: jobs were created and not put in order")
    waiting = [0] * len(group.points)
    seen = bytearray(group.created)
    for span in group.backlog:
        if span.group != name or span.count < 1 or span.attempt != 1:
            raise InvariantError(f"{name}: {span} is no range of its backlog")
        waiting[span.point] += span.count
        for number in range(span.first, span.first + span.count):
            seen[number] += 1
    for job in jobs:
        seen[job.number] += 1
    for number in range(group.created):
        seen[number] += group.is_done(number)
        if seen[number] != 1:
            raise InvariantError(f"{name}-{number} is in {seen[number]} of backlog, under way and finished")
    _same(f"{name}: jobs in the backlog", sum(waiting), group.waiting)
    _same(f"{name}: bits of finished jobs", sum(byte.bit_count() for byte in group.done), group.whole.finished)
    _same(f"{name}: created", group.created, group.whole.submitted)
    _same(f"{name}: jobs with a member", sum(1 for job in jobs if job.code != NEW), group.outstanding)
    _ready(state, group, jobs)
    _points(state, group)
    for cell in group.cells.values():
        _cell(cell)
        mine = [job for job in jobs if cell in job.point.cells]
        behind = sum(waiting[point.index] for point in group.points if cell in point.cells)
        what = f"{name}{dict(cell.binding)}"
        _same(f"{what}: active", cell.active, len(mine) + behind)
        _same(f"{what}: running", cell.running, sum(1 for job in mine if job.run_at))
        waits: dict[float, int] = {}
        for job in mine:
            if job.waits:
                at = round(job.submitted_at * 1_000_000) / 1_000_000
                waits[at] = waits.get(at, 0) + 1
        _same(f"{what}: waits", cell.waits.waiting.entries(), sorted(waits.items()))


def _ready(state: State, group: Group, jobs: list[Job]) -> None:
    ready = list(group.ready)
    _same(f"{group.name}: ready twice", len(set(ready)), len(ready))
    timed = {name for _, _, kind, name in state.timers if kind == "retry"}
    for key in ready:
        if key not in state.jobs or state.jobs[key].code != NEW:
            raise InvariantError(f"{key} is ready for another attempt and is not new")
    for job in jobs:
        if job.code == NEW and (job.key in ready) == (job.key in timed):
            raise InvariantError(f"{job.key} is new and is not in exactly one of the ready queue and the timers")


def _points(state: State, group: Group) -> None:
    for place, point in enumerate(group.points):
        cells = [
            cell
            for binding, cell in group.cells.items()
            if all(axis in point.values and point.values[axis] == value for axis, value in binding)
        ]
        _same(f"{group.name}: place of a point", place, point.index)
        _same(
            f"{group.name}{point.values}: cells",
            sorted(cell.binding for cell in point.measured),
            sorted(cell.binding for cell in cells),
        )
        if point.cells != (*point.measured, state.total):
            raise InvariantError(f"{group.name}{point.values}: its last cell is not that of everything")
        for pair in point.values.items():
            if point not in group.by_value[pair]:
                raise InvariantError(f"{group.name}{point.values} is not found by {pair}")
    _same(f"{group.name}: points by values", sum(map(len, group.by_values.values())), len(group.points))
    _same(f"{group.name}: points by shape", sum(map(len, group.shapes.values())), len(group.points))


def _cell(cell: Cell) -> None:
    what = f"{cell.group}{dict(cell.binding)}"
    for name in STORED_COUNTS:
        if getattr(cell, name) < 0:
            raise InvariantError(f"{what}: {name} is {getattr(cell, name)}")
    _same(f"{what}: submitted", cell.submitted, cell.active + cell.finished)
    duration = cell.series.get("duration")
    if duration is not None and duration.count > cell.success:
        raise InvariantError(f"{what}: {duration.count} durations of {cell.success} successes")
    for name, series in cell.series.items():
        if duration is None or series.count > duration.count:
            raise InvariantError(f"{what}: {series.count} values of {name}, more than of durations")


# ---- members, money, commands ----------------------------------------------------------------------


def _member(state: State, builder: Builder, member: Member) -> None:
    held = [job for job in state.jobs.values() if job.code != NEW and job.member == member.name]
    _same(f"member {member.name}: outstanding", member.outstanding, len(held))
    cores = sum(job.point.cores for job in held)
    _same(f"member {member.name}: cores of what it holds", member.outstanding_cores, cores)
    if builder.plan.budgeted:
        _budget(state, member, held)
    if member.state not in ("new", "up", "down", "closed", "gone"):
        raise InvariantError(f"member {member.name} is {member.state!r}")
    if member.position < 0 or member.target < 0:
        raise InvariantError(f"member {member.name}: negative position or target")


def _budget(state: State, member: Member, held: list[Job]) -> None:
    """What is kept where a limit asks for it."""
    taken = Taken()
    for job in held:
        if job.piece is None:
            raise InvariantError(f"{job.key} takes nothing of {member.name}")
        taken.add(job.piece, 1)
        if last_end(state) < job.until:
            raise InvariantError(f"{job.key} ends later than the last that is under way")
    mine = member.taken
    _same(f"member {member.name}: taken", (mine.cores, mine.gpus, mine.jobs), (taken.cores, taken.gpus, taken.jobs))
    running = math.fsum(job.nodes for job in held if job.run_at)
    since = math.fsum(job.nodes * (job.run_at - state.started) for job in held if job.run_at)
    if not isclose(running, member.running_nodes, rel_tol=1e-6, abs_tol=1e-6):
        raise InvariantError(f"member {member.name}: running nodes: {member.running_nodes} here, {running} there")
    if not isclose(since, member.running_since, rel_tol=1e-6, abs_tol=1e-3):
        raise InvariantError(f"member {member.name}: running since: {member.running_since} here, {since} there")


def _reserved(state: State) -> None:
    for what, total, parts in (
        ("node-seconds", state.reserved_node_seconds, [job.node_seconds for job in state.jobs.values()]),
        ("cost", state.reserved_cost, [job.cost for job in state.jobs.values()]),
    ):
        reserved = 0.0
        for part in parts:
            reserved += part
        if not isclose(reserved, total, rel_tol=1e-6, abs_tol=1e-6):
            raise InvariantError(f"reserved {what}: {total} here, {reserved} over the jobs")
    if state.spent_node_seconds < 0 or state.spent_cost < 0:
        raise InvariantError("what is spent is negative")


def _commands(state: State) -> None:
    for number, command in state.commands.items():
        if command.id != number or number >= state.next_command or not isinstance(command, Submit | Resize | Call):
            raise InvariantError(f"command {number} is {command}, the next is {state.next_command}")
        if not isinstance(command, Call) and state.members[command.member].state == "gone":
            raise InvariantError(f"command {number} waits for {command.member}, which is gone")
    under_way = {number for line in state.lines.values() for number in line.under_way}
    calls = {number for number, command in state.commands.items() if isinstance(command, Call)}
    _same("calls under way", under_way, calls)
    for name, line in state.lines.items():
        if not line.under_way:
            raise InvariantError(f"{name or 'nobody'}: a line of calls of which none is under way")
        if line.waiting and len(line.under_way) < (state.rules[name].action.concurrency if name else 1):
            raise InvariantError(f"{name}: calls wait although there is room for another")
    open_of: dict[str, int] = {}
    for number, name in state.calls.items():
        if number not in state.commands or name not in state.rules:
            raise InvariantError(f"{name} waits for command {number}, which is not open")
        open_of[name] = open_of.get(name, 0) + 1
    for rule in state.rules.values():
        _same(f"{rule.id}: open commands", rule.open, open_of.get(rule.id, 0))


def _timers(state: State) -> None:
    timers = state.timers
    for place in range(1, len(timers)):
        if timers[place] < timers[(place - 1) // 2]:
            raise InvariantError("the timers are no heap")
    for when, _, kind, name in timers:
        if when <= state.now:
            raise InvariantError(f"a timer for {kind} {name} was due at {when}, it is {state.now}")
    cooling = [name for _, _, kind, name in timers if kind == "cooldown"]
    for rule in state.rules.values():
        if rule.until and not rule.removed:
            _same(f"{rule.id}: timers of its cooldown", cooling.count(rule.id), 1)


def _ended(state: State) -> None:
    if state.ended is None:
        return
    if state.jobs or state.backlog:
        raise InvariantError("the ensemble is over and has jobs under way")
    if state.reserved_node_seconds > 1e-6 or state.reserved_cost > 1e-6:
        raise InvariantError("the ensemble is over and holds reservations")


# ---- rules -----------------------------------------------------------------------------------------


def _rules(state: State, builder: Builder) -> None:
    orders = [rule.order for rule in state.rules.values()]
    _same("rules of one place", len(set(orders)), len(orders))
    for rule in state.rules.values():
        _rule(rule)
    listening: dict[tuple[str, str], set[str]] = {}
    for group in state.groups.values():
        for number in group.parents:
            if group.is_done(number):
                raise InvariantError(f"{group.name}-{number} is over and its parent is kept")
        for trigger, rules in group.on.items():
            listening[group.name, trigger] = {rule.id for rule in rules}
            for rule in rules:
                if rule.removed or rule.trigger != trigger or rule.spec.name not in ("", group.name):
                    raise InvariantError(f"{group.name}: {rule.id} does not wait for {trigger}")
    for rule in state.rules.values():
        if rule.trigger.startswith("job-") and not rule.removed:
            for group in state.groups.values():
                if rule.spec.name in ("", group.name) and rule.id not in listening.get((group.name, rule.trigger), ()):
                    raise InvariantError(f"{group.name}: {rule.id} is not woken by {rule.trigger}")
    holders: list[Cell | Member] = [state.total, *state.members.values()]
    for group in state.groups.values():
        holders += group.cells.values()
    for holder in holders:
        for watch in (holder.watch or {}).values():
            _watch(watch)
    for each in state.added:
        if each[0] not in state.rule_ids:
            raise InvariantError(f"{each[0]} was added and is not known")


def _rule(rule: Rule) -> None:
    if rule.open < 0 or rule.skip < 0 or rule.fired < 0 or (rule.spec.action.repetitions > 0 and rule.left < 0):
        raise InvariantError(f"{rule.id}: negative count")
    if rule.spec.action.repetitions > 0:
        _same(f"{rule.id}: repetitions", rule.fired + rule.left, rule.spec.action.repetitions)
    if rule.trigger != "metric":
        if rule.homes:
            raise InvariantError(f"{rule.id} waits for {rule.trigger} and is in the index of values")
        return
    if rule.parked == rule.considered:
        raise InvariantError(f"{rule.id}: parked is {rule.parked}, considered is {rule.considered}")
    for watch, statistic in rule.homes:
        if statistic:
            thresholds = watch.thresholds[statistic]
            found = sum(1 for entry in (*thresholds.above, *thresholds.below) if entry[3] is rule)
        else:
            found = int(watch.general.get(rule.id) is rule)
        _same(f"{rule.id}: places in the index", found, int(not rule.parked))


def _watch(watch: Watch) -> None:
    for name, rule in watch.general.items():
        if rule.parked or rule.id != name:
            raise InvariantError(f"{name} is parked and in the index")
    for thresholds in watch.thresholds.values():
        _thresholds(thresholds)


def _thresholds(thresholds: Thresholds) -> None:
    for side, entries in (("above", thresholds.above), ("below", thresholds.below)):
        keys = [entry[:3] for entry in entries]
        _same("thresholds in order", keys, sorted(keys))
        for constant, rank, order, rule in entries:
            if rule.parked or rule.key != (side, constant, rank) or rule.order != order:
                raise InvariantError(f"{rule.id} is at the wrong position among the thresholds")
    value = thresholds.read()
    if value is not None:
        crossed = {rule.id for rule in thresholds.crossed()}
        for entry in (*thresholds.above, *thresholds.below):
            condition = entry[3].condition
            if condition is not None and bool(condition()) != (entry[3].id in crossed):
                raise InvariantError(f"{entry[3].id}: its condition and the cut through the thresholds differ")


def _same(what: str, one: object, other: object) -> None:
    if one != other:
        raise InvariantError(f"{what}: {one} here, {other} there")
