"""Which waiting jobs go to which member now: places, ceilings and budgets."""

from __future__ import annotations

from collections.abc import Callable

from ensemble.engine.apply import REFILL, WINDOW
from ensemble.engine.build import Builder
from ensemble.engine.state import Group, Member, Point, State
from ensemble.model.decisions import Discard, Effect, Finish, Note, Span, Submit


class Release:
    """Works out the `Submit` commands of one record. Reads the state, never changes it."""

    __slots__ = ("_budget", "_cores", "_given", "_left", "blocked", "builder", "state")

    def __init__(self, state: State, builder: Builder) -> None:
        self.state = state
        self.builder = builder

    def effects(self, command: Callable[[], int]) -> tuple[list[Effect], str]:
        """Return the effects, and the name of the limit that keeps back what is left when nothing is under way."""
        state = self.state
        self.blocked = ""
        self._given: dict[str, list[Span]] = {}
        self._cores: dict[str, int] = {}
        self._left = {name: self._room(member) for name, member in state.members.items()}
        limits = self.builder.spec.limits
        self._budget = (
            limits.node_hours * 3600.0 - state.spent_node_seconds - state.reserved_node_seconds
            if limits.node_hours
            else -1.0,
            limits.cost - state.spent_cost - state.reserved_cost if limits.cost else -1.0,
        )
        effects: list[Effect] = []
        for group in state.groups.values():
            if group.waiting or group.ready:
                if self._stranded(group):
                    effects.append(Note("no-member", f"{group.name}: no member is left to run it"))
                    effects += [Finish(key, "lost", "infrastructure") for key in group.ready]
                    effects.append(Discard(group.name))
                else:
                    self._group(group)
        effects += [Submit(command(), name, tuple(spans)) for name, spans in self._given.items()]
        idle = not state.jobs and not self._given
        return effects, self.blocked if idle else ""

    def _room(self, member: Member) -> int:
        if member.state != "up" or not member.opened:
            return 0
        return WINDOW - member.outstanding if member.outstanding <= REFILL else 0

    def _stranded(self, group: Group) -> bool:
        names = {point.member for point in group.points}
        members = [member for name, member in self.state.members.items() if "" in names or name in names]
        return all(member.state in ("closed", "gone") for member in members)

    def _group(self, group: Group) -> None:
        room = group.max_running - group.outstanding if group.max_running else WINDOW * len(self._left)
        for key in group.ready:
            if room <= 0:
                return
            job = self.state.jobs[key]
            name = self._place(job.point)
            if not name or not self._pay(job.point, self.state.members[name], 1):
                return
            self._give(name, Span(group.name, job.point.index, job.number, 1, job.attempt), job.point)
            room -= 1
        for span in group.backlog:
            first, left = span.first, span.count
            point = group.points[span.point]
            while left:
                if room <= 0:
                    return
                name = self._place(point)
                if not name:
                    return
                share = left if point.member or len(self._left) == 1 else 1
                count = self._pay(point, self.state.members[name], min(share, room, self._left[name]))
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

    def _place(self, point: Point) -> str:
        """The member that a job of this point goes to now: its own, or the least loaded that can hold it."""
        if point.member:
            return point.member if self._left.get(point.member, 0) > 0 else ""
        best = ""
        load = 0.0
        for name, member in self.state.members.items():
            if self._left[name] <= 0 or not self.builder.can_hold(point, member):
                continue
            used = (member.outstanding_cores + self._cores.get(name, 0) + point.cores) / max(1, member.cores_up)
            if not best or used < load:
                best, load = name, used
        return best

    def _pay(self, point: Point, member: Member, count: int) -> int:
        """How many of `count` jobs the budgets cover; reserves them."""
        seconds, money = self._budget
        if seconds < 0 and money < 0 and not self._limited():
            return count
        limits = self.builder.spec.limits
        each = self.builder.nodes_of(point, member) * point.walltime
        cost = 0.0 if member.holds else each / 3600.0 * member.price
        if limits.node_hours and each > 0:
            affordable = int(max(0.0, seconds) / each + 1e-9)
            if affordable < count:
                count, self.blocked = affordable, "node_hours"
        if limits.cost and cost > 0:
            affordable = int(max(0.0, money) / cost + 1e-9)
            if affordable < count:
                count, self.blocked = affordable, "cost"
        self._budget = (seconds - each * count, money - cost * count)
        return count

    def _limited(self) -> bool:
        limits = self.builder.spec.limits
        return bool(limits.node_hours or limits.cost)
