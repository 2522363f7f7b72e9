"""Which waiting jobs go to which member now: places, ceilings and budgets; and which never will.

Groups go in the order of the file, so one that is listed earlier goes first whenever its jobs were created; within a
group, later attempts go before first ones and these as `order` says. A job that has no place at present lets those
behind it pass. This order shows only where jobs wait here: beyond a member's window, `max_running` or a budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ensemble.engine.backlog import REFILL, WINDOW
from ensemble.engine.budget import Budget
from ensemble.engine.build import Builder
from ensemble.engine.placement import (
    holds,
    holds_at_any_size,
    nodes_to_come,
    ours,
    piece_on,
    sized,
)
from ensemble.engine.state import Group, Member, Point, Shape, State
from ensemble.engine.transitions import NEW, RUN
from ensemble.model.decisions import Discard, Effect, Finish, Note, Resize, Span, Submit
from ensemble.model.jobs import Resources
from ensemble.model.placement import Piece
from ensemble.model.wording import counted
from ensemble.spec.actions import traits

LOOK_AHEAD: Final = 1000
"""Entries of a backlog that may be passed over in search of one that has a place."""

_BY_OTHERS: Final = (
    "start",
    "idle",
    "job-run",
    "job-cleanup",
    "job-finish",
    "job-success",
    "job-fail",
    "job-cancel",
    "job-retry",
)
"""Triggers that a job which waits does not set off."""


class Verdict(NamedTuple):
    """Why jobs will never run, and what they count as."""

    outcome: str
    reason: str
    note: str
    text: str


class Release:
    """Works out the `Submit` commands of one record. Reads the state, never changes it."""

    __slots__ = ("_cores", "_given", "_given_up", "_grows", "_left", "_nodes", "_pieces", "budget", "builder", "state")

    def __init__(self, state: State, builder: Builder) -> None:
        self.state = state
        self.builder = builder
        self.budget = Budget(state, builder)

    def effects(self, command: Callable[[], int]) -> tuple[list[Effect], str]:
        """Return the effects, and the name of the limit that keeps back what is left when nothing is under way."""
        state = self.state
        self._look()
        self._given_up: dict[tuple[str, int], None] = {}
        self._given: dict[str, list[Span]] = {}
        self._cores: dict[str, int] = {}
        self._left = {name: self._room(member) for name, member in state.members.items()}
        self._pieces: dict[str, dict[Piece, int]] = {}
        self.budget.begin()
        effects: list[Effect] = []
        for group in state.groups.values():
            if group.waiting or group.ready:
                effects += self._hopeless(group)
                self._group(group)
        if not self._given and (state.backlog or state.jobs) and self._stalled():
            for group in state.groups.values():
                effects += self._hopeless(group, stalled=True)
        effects += [Submit(command(), name, tuple(spans)) for name, spans in self._given.items()]
        waits = under_way(state) or any(isinstance(command, Resize) for command in state.commands.values())
        return effects, "" if waits or self._given else self.budget.blocked

    def stranded(self, name: str) -> tuple[list[Effect], list[str]]:
        """What to note, and which jobs wait with a member that has become too small for them and will stay so."""
        self._look()
        member = self.state.members[name]
        if not sized(member) or self._growing():
            return [], []
        found: dict[str, list[str]] = {}
        for job in self.state.jobs.values():
            waits = job.member == name and NEW < job.code < RUN and not job.cancelling
            if waits and not self._may_hold(job.point.shape, member, stalled=True):
                found.setdefault(job.group.name, []).append(job.key)
        notes: list[Effect] = [
            Note("never-fits", f"{group}: {len(keys)} waiting jobs do not fit any more ({self._size(member)})")
            for group, keys in found.items()
        ]
        return notes, [key for keys in found.values() for key in keys]

    def _look(self) -> None:
        """Take in how large the members are."""
        self._nodes = {name: nodes_to_come(self.state, member) for name, member in self.state.members.items()}
        self._grows: dict[tuple[str, ...], bool] = {}

    def _room(self, member: Member) -> int:
        if member.state != "up" or not member.opened:
            return 0
        return WINDOW - member.outstanding if member.outstanding <= REFILL else 0

    # ---- jobs that will never run ------------------------------------------------------------------

    def _stalled(self) -> bool:
        """Whether nothing is under way that could make a member larger."""
        state = self.state
        return not (under_way(state) or state.commands or any(kind != "limit" for _, _, kind, _ in state.timers))

    def _hopeless(self, group: Group, stalled: bool = False) -> list[Effect]:
        """Give up the waiting jobs that no member will ever take. Until the run has stalled, a rule that may make
        a member larger is waited for."""
        effects: list[Effect] = []
        for shape, points in group.shapes.items():
            verdict = self._verdict(group, shape, stalled)
            if verdict is None or (group.name, points[0]) in self._given_up:
                continue
            concerned = dict.fromkeys(points)
            ready = [key for key in group.ready if self.state.jobs[key].point.index in concerned]
            waiting = dict.fromkeys(span.point for span in group.backlog if span.point in concerned)
            self._given_up.update(dict.fromkeys((group.name, index) for index in points))
            if ready or waiting:
                effects.append(Note(verdict.note, verdict.text))
                effects += [Finish(key, verdict.outcome, verdict.reason) for key in ready]
                effects += [Discard(group.name, point, verdict.reason, verdict.outcome) for point in waiting]
        return effects

    def _verdict(self, group: Group, shape: Shape, stalled: bool) -> Verdict | None:
        members = self.state.members
        if shape.member and shape.member not in members:
            return Verdict("failed", "no-member", "no-member", f"{group.name}: there is no member {shape.member!r}")
        mine = [members[shape.member]] if shape.member else list(members.values())
        alive = [member for member in mine if member.state not in ("closed", "gone")]
        if not alive:
            text = f"{group.name}: no member is left to run it"
            if any(member.state == "gone" for member in mine):
                return Verdict("lost", "infrastructure", "no-member", text)
            return Verdict("cancelled", "no-member", "no-member", text)
        if any(self._may_hold(shape, member, stalled) for member in alive):
            return None
        text = f"{group.name}: a job of {_demand(shape.need)} fits no member ({', '.join(map(self._size, alive))})"
        return Verdict("failed", "never-fits", "never-fits", text)

    def _may_hold(self, shape: Shape, member: Member, stalled: bool) -> bool:
        """Whether a member could hold such a job, now or ever; yes, while it has not told its size."""
        if not sized(member):
            return True
        if not holds_at_any_size(shape.need, member):
            return False
        nodes = self._nodes[member.name]
        if holds(shape.need, member, nodes):
            return True
        bound = holds(shape.need, member, member.max_nodes)
        if not ours(member) and (not nodes or bound):
            # a queue that has no node at present has not told what it will have, and the file may know more
            return True
        growing = "resize" in member.capabilities and not stalled and self._growing()
        return growing and (bound or not member.max_nodes)

    def _goes(self, shape: Shape, member: Member) -> bool:
        """Whether such a job may go to a member now. It goes before there is room for it only where what makes room
        looks at what waits there: another rule would find a queue that a job too large stands in front of."""
        if not sized(member) or not ours(member) or holds(shape.need, member, self._nodes[member.name]):
            return self._may_hold(shape, member, stalled=True)
        return self._growing(_BY_OTHERS) and holds(shape.need, member, member.max_nodes)

    def _growing(self, but: tuple[str, ...] = ()) -> bool:
        """Whether a rule, but those of some triggers, may still make a member larger."""
        if but not in self._grows:
            self._grows[but] = not self.state.draining and any(
                (traits(rule.action).grows or traits(rule.action).open_ended)
                and rule.trigger not in but
                and not rule.removed
                and (rule.open > 0 or not rule.exhausted)
                for rule in self.state.rules.values()
            )
        return self._grows[but]

    def _size(self, member: Member) -> str:
        gpus = f" and {counted(member.gpus_up, 'GPU')}" if member.gpus_up > 0 else ""
        nodes = self._nodes[member.name]
        if not ours(member) or self._growing():
            nodes = max(nodes, member.max_nodes)
        return f"{member.name} has at most {counted(nodes, 'node')} of {counted(member.cores_per_node, 'core')}{gpus}"

    # ---- jobs that go now --------------------------------------------------------------------------

    def _group(self, group: Group) -> None:
        room = group.max_running - group.outstanding if group.max_running else WINDOW * len(self._left)
        for key in group.ready:
            if room <= 0:
                return
            job = self.state.jobs[key]
            if (group.name, job.point.index) in self._given_up:
                continue
            name = self._place(job.point)
            if not name:
                continue
            if not self._afford(job.point, name, 1):
                return
            self._give(name, Span(group.name, job.point.index, job.number, 1, job.attempt), job.point)
            room -= 1
        passed = 0
        for span in group.backlog:
            if (group.name, span.point) in self._given_up:
                continue
            first, left = span.first, span.count
            point = group.points[span.point]
            while left:
                if room <= 0:
                    return
                name = self._place(point)
                if not name:
                    passed += 1
                    if passed > LOOK_AHEAD or max(self._left.values()) <= 0:
                        return
                    break
                share = left if point.member or len(self._left) == 1 else 1
                count = self._afford(point, name, min(share, room, self._left[name]))
                if not count:
                    return
                self._give(name, Span(group.name, span.point, first, count), point)
                first += count
                left -= count
                room -= count

    def _give(self, name: str, span: Span, point: Point) -> None:
        self._given.setdefault(name, []).append(span)
        self._left[name] -= span.count
        self._cores[name] = self._cores.get(name, 0) + span.count * point.cores
        member = self.state.members[name]
        if self.budget.reserves_time(member):
            pieces = self._pieces.setdefault(name, {})
            piece = piece_on(point, member)
            pieces[piece] = pieces.get(piece, 0) + span.count

    def _place(self, point: Point) -> str:
        """The member that a job of this point goes to now: its own, or the least loaded that can hold it."""
        if point.member:
            name = point.member
            free = self._left.get(name, 0) > 0 and self._goes(point.shape, self.state.members[name])
            return name if free else ""
        best = ""
        load = 0.0
        for name, member in self.state.members.items():
            if self._left[name] <= 0 or not self._goes(point.shape, member):
                continue
            used = (member.outstanding_cores + self._cores.get(name, 0) + point.cores) / max(1, member.cores_up)
            if not best or used < load:
                best, load = name, used
        return best

    def _afford(self, point: Point, name: str, count: int) -> int:
        """How many of `count` jobs may go to a member now, by the limits; reserves what they may spend."""
        member = self.state.members[name]
        if not self.budget.reserves_time(member):
            return self.budget.afford(point, member, count)
        at_once = self.budget.starting(point, member, self._pieces.get(name, {}), count)
        found = self.budget.afford(point, member, at_once) if at_once else 0
        if found < at_once:
            return found
        found += self.budget.afford_queued(point, member, count - at_once)
        if not found:
            # those behind it wait too, or it would wait for ever behind smaller ones
            self._left[name] = 0
        return found


def under_way(state: State) -> bool:
    """Whether any job is with a member. A job between two attempts is not."""
    return any(member.outstanding for member in state.members.values())


def _demand(need: Resources) -> str:
    parts = [counted(need.total_cores, "core")]
    if need.nodes:
        parts.insert(0, counted(need.nodes, "node"))
    if need.cores > 1:
        parts.append(f"{need.cores} of them for one task")
    if need.gpus:
        parts.append(counted(need.total_gpus, "GPU"))
    return ", ".join(parts)
