"""`check()`: every invariant of the state, for tests to verify after every step."""

from __future__ import annotations

from ensemble.engine.state import CLEANUP, INACTIVE, NEW, RUN, Cell, State
from ensemble.model.errors import InvariantError


def check(state: State) -> None:
    """Raise `InvariantError` naming the first contradiction in the state."""
    waiting = 0
    for group in state.groups.values():
        in_backlog = 0
        for span in group.backlog:
            in_backlog += span.count
        _same(f"{group.name}: jobs in the backlog", in_backlog, group.waiting)
        waiting += in_backlog
        jobs = [job for job in state.jobs.values() if job.group is group]
        with_member = sum(1 for job in jobs if job.code != NEW)
        _same(f"{group.name}: jobs with a member", with_member, group.outstanding)
        whole = group.whole
        _cell(whole)
        _same(f"{group.name}: active", whole.active, len(jobs) + in_backlog)
        running = sum(1 for job in jobs if job.run_at)
        _same(f"{group.name}: running", whole.running, running)
        _same(f"{group.name}: finished bits", whole.finished, sum(byte.bit_count() for byte in group.done))
        _same(f"{group.name}: waits", whole.waits.waiting.count, sum(1 for job in jobs if job.waits))
        _same(f"{group.name}: created", group.created, whole.submitted)
        for job in jobs:
            if job.waits and job.code >= RUN and job.code != INACTIVE:
                raise InvariantError(f"{job.key} runs and still waits")
            if group.is_done(job.number):
                raise InvariantError(f"{job.key} is under way and marked as finished")
            if job.code == INACTIVE and job.last is None:
                raise InvariantError(f"{job.key} has ended without an event")
            if job.code == CLEANUP and not job.ended:
                raise InvariantError(f"{job.key} cleans up and has not ended")
        for key in group.ready:
            if key not in state.jobs or state.jobs[key].code != NEW:
                raise InvariantError(f"{key} is ready for another attempt and is not new")
    _same("backlog", waiting, state.backlog)
    _cell(state.total)
    _same("total active", state.total.active, len(state.jobs) + state.backlog)
    for member in state.members.values():
        held = sum(1 for job in state.jobs.values() if job.code != NEW and job.member == member.name)
        _same(f"member {member.name}: outstanding", member.outstanding, held)
    for rule in state.rules.values():
        if rule.open < 0 or rule.skip < 0:
            raise InvariantError(f"{rule.id}: negative count")
        if rule.trigger == "metric" and not rule.removed and rule.parked == rule.considered:
            raise InvariantError(f"{rule.id}: parked is {rule.parked}, considered is {rule.considered}")


def _cell(cell: Cell) -> None:
    for name in ("submitted", "pending", "running", "success", "failed", "cancelled", "lost", "failed_attempts"):
        if getattr(cell, name) < 0:
            raise InvariantError(f"{cell.group}{dict(cell.binding)}: {name} is {getattr(cell, name)}")
    _same(f"{cell.group}{dict(cell.binding)}: submitted", cell.submitted, cell.active + cell.finished)


def _same(what: str, one: int, other: int) -> None:
    if one != other:
        raise InvariantError(f"{what}: {one} here, {other} there")
