"""What a run has spent, what it has promised, and what the limits still allow.

Three things make `limits.cost`, `limits.node_hours` and `limits.walltime` ceilings:

- Before a job is released, what it may still spend is reserved: its nodes for its walltime, at the member's price. A
  member that holds its nodes is paid for whether or not jobs run on them, so there the whole run is reserved until the
  last job that is under way must have ended. A job that finds room beside all others starts at once; one that has to
  wait there starts at the latest when all before it have ended, so it makes the run longer by its whole walltime.
- What is reserved is settled when the job ends, and what the job did not use is free for others.
- A job without a walltime reserves as much time as the longest of its point, or else of its group, has taken so far,
  or else the number that its group's `simulate: {duration: ...}` gives, or else nothing. When it takes longer, the time
  at which the limit is reached is known, and a timer is set for it.

A ceiling may therefore end a run while money is left. Take 12 jobs of 1 s with a walltime of 2 s, on 4 held nodes at
1 USD a second each, and a limit of 9 USD: the first 4 jobs reserve 4 x 2 = 8 USD and spend 4. The next round could cost
8 USD again and 5 are left, so nothing more is released and 4 of 9 USD are spent. With a walltime of 1.2 s a round
reserves 4.80 USD, two rounds run, and 8 of 9 USD are spent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final, NamedTuple

from ensemble.engine.build import Builder
from ensemble.engine.placement import nodes_of, ours, piece_on, resizing, starting_at_once
from ensemble.engine.state import Job, Member, Point, State
from ensemble.engine.transitions import NEW
from ensemble.model.errors import InputError
from ensemble.model.placement import Piece
from ensemble.spec.units import parse_duration

_INSTANT: Final = 1e-6
"""Seconds that count as none: less than what a clock of 2026 can tell apart as a 64-bit number is lost in rounding."""


class Expected(NamedTuple):
    """What one job is expected to spend: nodes, seconds, and money where its member does not hold its nodes."""

    nodes: float
    seconds: float
    cost: float

    @property
    def node_seconds(self) -> float:
        """Nodes for as long as it takes."""
        return self.nodes * self.seconds


class Budget:
    """Reads the state and never changes what it means. One `begin` to the next is one release."""

    __slots__ = ("_budgeted", "_money", "_seconds", "_until", "blocked", "builder", "state")

    def __init__(self, state: State, builder: Builder) -> None:
        self.state = state
        self.builder = builder
        self._budgeted = builder.plan.budgeted

    # ---- what is spent -----------------------------------------------------------------------------

    def spent_cost(self) -> float:
        """Money spent until now, for held nodes and for the jobs that run."""
        state = self.state
        spent = state.spent_cost
        for member in state.members.values():
            if member.holds:
                spent += (state.now - member.changed_at) / 3600.0 * max(member.nodes_up, 0) * member.price
            elif member.running_nodes > 0.0:
                spent += self._run_until_now(member) / 3600.0 * member.price
        return spent

    def spent_node_seconds(self) -> float:
        """Node-seconds that jobs have used until now."""
        return self.state.spent_node_seconds + sum(map(self._run_until_now, self.state.members.values()))

    def _run_until_now(self, member: Member) -> float:
        """Node-seconds of the jobs that run there."""
        if member.running_nodes <= 0.0:
            return 0.0
        return max(0.0, (self.state.now - self.state.started) * member.running_nodes - member.running_since)

    def exhausted_in(self) -> float | None:
        """Seconds until a limit on money or node-hours is reached if all goes on as it is; None if it never is."""
        if not self._budgeted:
            return None
        state, limits = self.state, self.state.limits
        found: float | None = None
        if limits.cost:
            rate = 0.0
            for member in state.members.values():
                rate += member.price * (max(member.nodes_up, 0) if member.holds else member.running_nodes)
            if rate > 1e-12:
                found = (limits.cost - self.spent_cost()) * 3600.0 / rate
        if limits.node_hours:
            rate = sum(member.running_nodes for member in state.members.values())
            if rate > 1e-12:
                left = (limits.node_hours * 3600.0 - self.spent_node_seconds()) / rate
                found = left if found is None else min(found, left)
        return found

    def wakeup(self) -> float | None:
        """When the engine is to look at the limits again, whatever else happens."""
        state = self.state
        if state.draining and (state.limit or self.state.limits.on_limit != "cancel"):
            return None
        left = self.exhausted_in()
        if left is None:
            return None
        if left > 2 * _INSTANT:
            return state.now + left - _INSTANT
        return last_end(state) + 3 * _INSTANT if self._ends_now() else None

    def _ends_now(self) -> bool:
        """Whether what is under way is expected to end at this very moment, for which it is paid."""
        return abs(last_end(self.state) - self.state.now) <= 2 * _INSTANT

    def reached(self) -> str:
        """The limit on money or node-hours that is reached now; empty while there is none."""
        left = self.exhausted_in()
        if left is None or left > 2 * _INSTANT or self._ends_now():
            return ""
        limits = self.state.limits
        spent = limits.cost and self.spent_cost() >= limits.cost - 2 * _INSTANT * self._rate_held() - 1e-9 * limits.cost
        return "cost" if spent or not limits.node_hours else "node_hours"

    # ---- what is reserved --------------------------------------------------------------------------

    def expected(self, point: Point, member: Member) -> Expected:
        """What a job of this point may spend on a member."""
        nodes = nodes_of(point, member)
        seconds = point.walltime or (self._estimate(point) if self._budgeted else 0.0)
        return Expected(nodes, seconds, 0.0 if member.holds else nodes * seconds / 3600.0 * member.price)

    def _estimate(self, point: Point) -> float:
        for cell in (point.own_cell, point.group.whole):
            seen = cell.series.get("duration")
            if seen is not None and seen.count:
                return seen.stat("max") or 0.0
        given = self.builder.plan.template(point).simulate.get("duration", 0)
        try:
            return parse_duration(given) if isinstance(given, (int, float, str)) else 0.0
        except InputError:
            return 0.0

    def begin(self) -> None:
        """Take in what is left now, before jobs are released."""
        state, limits = self.state, self.state.limits
        self.blocked = ""
        self._seconds = limits.node_hours * 3600.0 - state.spent_node_seconds - state.reserved_node_seconds
        self._until = state.now
        self._money = 0.0
        if limits.cost:
            self._until = max(state.now, last_end(state))
            self._money = limits.cost - max(self._settled_cost() + state.reserved_cost, self.spent_cost())
            self._money -= self._rate_held() * (self._until - state.now)

    def _settled_cost(self) -> float:
        """Money spent, without that for running jobs, for which all is reserved."""
        state = self.state
        return state.spent_cost + sum(
            (state.now - member.changed_at) / 3600.0 * max(member.nodes_up, 0) * member.price
            for member in state.members.values()
            if member.holds
        )

    def afford(self, point: Point, member: Member, count: int) -> int:
        """How many of `count` jobs the limits cover now; reserves them. `blocked` names the limit that does not."""
        limits = self.state.limits
        until = self.state.started + limits.walltime + _INSTANT if limits.walltime else inf
        if point.walltime and limits.on_limit == "drain" and self.state.now + point.walltime > until:
            self.blocked = "walltime"
            return 0
        if not self._budgeted:
            return count
        each = self.expected(point, member)
        if limits.node_hours and each.node_seconds > 0:
            covered = int(max(0.0, self._seconds) / each.node_seconds + 1e-9)
            if covered < count:
                count, self.blocked = covered, "node_hours"
        longer = 0.0
        if limits.cost:
            rate = self._rate_held()
            longer = rate * max(0.0, self.state.now + each.seconds - self._until)
            money = self._money - longer
            if money < -1e-9 * limits.cost or (not each.seconds and rate > 0 and money <= 0):
                count, self.blocked = 0, "cost"
            elif each.cost > 0:
                covered = int(max(0.0, money) / each.cost + 1e-9)
                if covered < count:
                    count, self.blocked = covered, "cost"
        if count:
            self._seconds -= each.node_seconds * count
            self._money -= longer + each.cost * count
            self._until = max(self._until, self.state.now + each.seconds)
        return count

    def afford_queued(self, point: Point, member: Member, count: int) -> int:
        """How many of `count` jobs that will wait in the queue of a member that holds its nodes are covered too."""
        each = self.expected(point, member)
        longer = self._rate_held() * each.seconds
        if longer <= 0.0:
            return 0
        count = min(count, int(max(0.0, self._money) / longer + 1e-9))
        if self.state.limits.node_hours and each.node_seconds > 0:
            count = min(count, int(max(0.0, self._seconds) / each.node_seconds + 1e-9))
        self._money -= longer * count
        self._seconds -= each.node_seconds * count
        self._until += each.seconds * count
        return count

    def reserves_time(self, member: Member) -> bool:
        """Whether it matters when the jobs of a member end: its nodes are held, and there is a limit on cost."""
        return bool(self.state.limits.cost) and member.holds and self._rate_held() > 0.0

    def starting(self, point: Point, member: Member, given: Mapping[Piece, int], most: int) -> int:
        """How many of `most` jobs start at once on a member beside those it has and those it is about to be given."""
        nodes = min(member.nodes_up, member.target) if resizing(self.state, member.name) else member.nodes_up
        return starting_at_once(point, member, nodes, given, most)

    def note_submitted(self, batch: Sequence[Job], point: Point, member: Member) -> None:
        """Note what jobs take that have just been submitted, and when they end at the latest."""
        state = self.state
        piece = piece_on(point, member)
        queued = self.reserves_time(member)
        for job in batch:
            begins = state.now
            if queued and not self.starting(point, member, {}, 1):
                begins = max(begins, last_end(state))
            job.until = begins + job.takes
            job.piece = piece
            member.taken.add(piece, 1)
            heappush(state.ends, (-job.until, job.key, job.attempt))

    def nodes_covered(self, member: Member, present: int, wanted: int) -> int:
        """The most nodes, from `present` to `wanted`, that the limit on cost covers until what runs has ended."""
        if not self.state.limits.cost or wanted <= present or not member.holds or not member.price:
            return wanted
        self.begin()
        seconds = self._until - self.state.now
        if seconds <= 0:
            return wanted
        more = int(max(0.0, self._money) / (seconds / 3600.0 * member.price) + 1e-9)
        return min(wanted, present + more)

    def _rate_held(self) -> float:
        """Money a second for held nodes, with those that have been asked for."""
        return sum(_held_nodes(member) * member.price for member in self.state.members.values()) / 3600.0


def _held_nodes(member: Member) -> int:
    if member.holds:
        return max(member.nodes_up, member.target, 0)
    # before it has opened, it is as large as the file says
    return max(member.nodes, 1) if member.state == "new" and ours(member) else 0


# ---- when what is under way ends ---------------------------------------------------------------------


def note_begun(state: State, job: Job) -> None:
    """A job runs, or waits again: note when it ends at the latest."""
    job.until = (job.run_at or state.now) + job.takes
    heappush(state.ends, (-job.until, job.key, job.attempt))


def last_end(state: State) -> float:
    """When the last job that is under way is expected to have ended; 0 when none is."""
    ends = state.ends
    while ends:
        end, key, attempt = ends[0]
        job = state.jobs.get(key)
        if job is not None and job.attempt == attempt and job.code != NEW and job.until == -end:
            return -end
        heappop(ends)
    return 0.0


def restore_ends(state: State) -> None:
    """Note the ends of all jobs under way anew."""
    state.ends[:] = [(-job.until, job.key, job.attempt) for job in state.jobs.values() if job.code != NEW]
    heapify(state.ends)
