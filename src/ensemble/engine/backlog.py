"""Jobs that no member has seen: how they come to be, in which order they wait, and how they leave."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Final

from ensemble.engine.budget import Budget
from ensemble.engine.build import Builder
from ensemble.engine.impact import WAITS, WAKES, Impact
from ensemble.engine.state import Group, Job, Member, Point, State, count
from ensemble.engine.transitions import NEW, SUBMITTED, refuse
from ensemble.model.decisions import Create, Discard, Effect, Span, Submit
from ensemble.model.jobs import split_key

WINDOW: Final = 10_000
"""Jobs that one member is given at most at a time (as Slurm's `MaxJobCount` allows by default). The rest wait
here, where a job costs a range and not an object."""

REFILL: Final = WINDOW // 2
"""The window is filled again when a member holds no more than this."""

_CREATED: Final = ("submitted", "pending", "active")


class Backlog:
    """Carries out what concerns ranges of jobs: create, order, submit, discard."""

    __slots__ = ("budget", "builder", "impact", "state")

    def __init__(self, state: State, builder: Builder, impact: Impact) -> None:
        self.state = state
        self.builder = builder
        self.budget = Budget(state, builder)
        self.impact = impact

    def create(self, effect: Create) -> None:
        """Jobs come to be, at the end of their group's backlog."""
        state = self.state
        span = effect.span
        group = state.groups[span.group]
        if effect.values is not None:
            self.builder.add_point(group, effect.template, effect.values)
        point = group.points[span.point]
        spec = self.builder.plan.template(point)
        for number in range(span.first, span.first + min(span.count, spec.warmup - len(point.warm))):
            point.warm.add(number)
        group.created = max(group.created, span.first + span.count)
        if effect.parent:
            group.parents.update(dict.fromkeys(range(span.first, span.first + span.count), effect.parent))
        for cell in point.cells:
            cell.submitted += span.count
            cell.pending += span.count
            self.impact.touch(cell, _CREATED)
        if spec.order == "listed":
            group.backlog.append(span)
        else:
            group.mixing.append(span)
        group.waiting += span.count
        state.backlog += span.count
        self.impact.release = True

    # ---- order -------------------------------------------------------------------------------------

    def mix(self, effects: tuple[Effect, ...]) -> None:
        """Put the jobs that one step created into the order that their groups ask for."""
        for effect in effects:
            if type(effect) is Create:
                group = self.state.groups[effect.span.group]
                if group.mixing:
                    self._mix(group)

    def _mix(self, group: Group) -> None:
        """Put new jobs into the backlog, shuffled.

        `random` shuffles all; `blocked` makes rounds of one job per point and shuffles each round, so
        that a drift of the machine does not fall on one point. Fisher-Yates on `Random.random()`,
        seeded by the run's seed and the number of jobs made so far, so that a replay gives the same.
        """
        draw = Random(self.state.seed * 1_000_003 + group.created).random
        rounds: list[list[Span]] = []
        for span in group.mixing:
            order = self.builder.plan.template(group.points[span.point]).order
            for index in range(span.count):
                place = index if order == "blocked" else 0
                while len(rounds) <= place:
                    rounds.append([])
                rounds[place].append(Span(span.group, span.point, span.first + index, 1))
        for block in rounds:
            for index in range(len(block) - 1, 0, -1):
                other = int(draw() * (index + 1))
                block[index], block[other] = block[other], block[index]
            group.backlog.extend(block)
        group.mixing.clear()

    # ---- out of the backlog ------------------------------------------------------------------------

    def _take(self, group: Group, first: int, count: int) -> None:
        """Remove a range of jobs from the backlog; normally it is the first. A range may span several entries."""
        backlog = group.backlog
        left = count
        while left:
            for place, entry in enumerate(backlog):  # noqa: B007
                if entry.first <= first < entry.first + entry.count:
                    break
            else:
                return
            taken = min(left, entry.first + entry.count - first)
            before = first - entry.first
            after = entry.count - before - taken
            if place == 0 and not before and not after:
                backlog.popleft()
            else:
                del backlog[place]
                if after:
                    backlog.insert(place, Span(entry.group, entry.point, first + taken, after))
                if before:
                    backlog.insert(place, Span(entry.group, entry.point, entry.first, before))
            group.waiting -= taken
            self.state.backlog -= taken
            first += taken
            left -= taken

    def submit(self, effect: Submit) -> None:
        """Jobs go to a member: from here on each is an object of its own."""
        state = self.state
        state.commands[effect.id] = effect
        state.next_command = effect.id + 1
        member = state.members[effect.member]
        for span in effect.spans:
            group = state.groups[span.group]
            point = group.points[span.point]
            self._hand_over(self._batch(group, point, span), span, point, member)

    def _batch(self, group: Group, point: Point, span: Span) -> list[Job]:
        """The jobs of a range: the one that is tried again, or new ones."""
        jobs = self.state.jobs
        first_key = f"{span.group}-{span.first}"
        if first_key in jobs:
            if group.ready and group.ready[0] == first_key:
                group.ready.popleft()
            elif first_key in group.ready:
                group.ready.remove(first_key)
            return [jobs[first_key]]
        self._take(group, span.first, span.count)
        batch = []
        for number in range(span.first, span.first + span.count):
            job = Job(f"{span.group}-{number}", group, point, number)
            jobs[job.key] = job
            batch.append(job)
        return batch

    def _hand_over(self, batch: list[Job], span: Span, point: Point, member: Member) -> None:
        state = self.state
        now = state.now
        expected = self.budget.expected(point, member)
        reserve, cost = expected.node_seconds, expected.cost
        name, attempt = member.name, span.attempt
        for job in batch:
            if job.code != NEW:
                refuse(job, "submit")
            job.code = SUBMITTED
            job.attempt = attempt
            job.member = name
            job.submitted_at = now
            job.waits = True
            job.node_seconds = reserve
            job.cost = cost
            job.nodes = expected.nodes
            job.takes = expected.seconds
        jobs = len(batch)
        member.outstanding += jobs
        member.outstanding_cores += jobs * point.cores
        point.group.outstanding += jobs
        state.reserved_node_seconds += reserve * jobs
        state.reserved_cost += cost * jobs
        if self.builder.plan.budgeted:
            self.budget.note_submitted(batch, point, member)
        for cell in point.measured:
            cell.waits.enter(now, jobs)
            self.impact.touch(cell, WAITS)

    def discard(self, effect: Discard) -> None:
        """Jobs of a group (or of one point) that wait here are over without having been sent."""
        group = self.state.groups[effect.group]
        kept = []
        for span in group.backlog:
            if effect.point in (-1, span.point):
                self._over(group, span, effect.outcome)
                if effect.outcome in ("failed", "lost"):
                    kind = (effect.reason or effect.outcome, -1, 0)
                    group.count_failures(kind, f"{group.name}-{span.first}", 0, jobs=span.count)
            else:
                kept.append(span)
        group.backlog.clear()
        group.backlog.extend(kept)

    def _over(self, group: Group, span: Span, outcome: str) -> None:
        for cell in group.points[span.point].cells:
            cell.pending -= span.count
            count(cell, outcome, span.count)
            self.impact.touch(cell, ("pending", "active", outcome, "finished"))
        group.waiting -= span.count
        self.state.backlog -= span.count
        for number in range(span.first, span.first + span.count):
            group.mark_done(number)
        if group.on and span.count:
            self._wake(group, span, outcome)
        on_end = self.impact.on_end
        if on_end is not None:
            for number in range(span.first, span.first + span.count):
                on_end(_never_sent(group, span, number, outcome))

    def _wake(self, group: Group, span: Span, outcome: str) -> None:
        """Wake the rules that wait for the end of these jobs; function rules are woken for each of them."""
        point = group.points[span.point]
        for trigger in ("job-finish", WAKES[outcome]):
            if not any(rule.calls for rule in group.on.get(trigger, ())):
                self.impact.wake(group, point, trigger)
                continue
            for number in range(span.first, span.first + span.count):
                self.impact.wake(group, point, trigger, _never_sent(group, span, number, outcome))

    def withdraw(self, keys: Iterable[str]) -> None:
        """Those of these jobs that wait here are cancelled: one pass over a group's backlog, however many they are."""
        going: dict[str, dict[int, None]] = {}
        for key in keys:
            if waits(self.state, key):
                name, number = split_key(key)
                going.setdefault(name, {})[number] = None
        for name, numbers in going.items():
            group = self.state.groups[name]
            entries = list(group.backlog)
            group.backlog.clear()
            for entry in entries:
                self._without(group, entry, numbers)

    def _without(self, group: Group, entry: Span, numbers: dict[int, None]) -> None:
        """Put back what stays of an entry of the backlog; the rest is over."""
        first, end = entry.first, entry.first + entry.count
        mine = numbers if len(numbers) < entry.count else range(first, end)
        for number in sorted(one for one in mine if first <= one < end and one in numbers):
            if number > first:
                group.backlog.append(Span(entry.group, entry.point, first, number - first))
            self._over(group, Span(entry.group, entry.point, number, 1), "cancelled")
            first = number + 1
        if first < end:
            group.backlog.append(Span(entry.group, entry.point, first, end - first))


def _never_sent(group: Group, span: Span, number: int, outcome: str) -> Job:
    """A job that is over and that no member ever saw."""
    job = Job(f"{group.name}-{number}", group, group.points[span.point], number)
    job.attempt, job.outcome, job.reason = 0, outcome, outcome
    return job


def waits(state: State, key: str) -> bool:
    """Whether a job is one that no member has seen: it was created, is not under way and not over."""
    try:
        name, number = split_key(key)
    except ValueError:
        return False
    group = state.groups.get(name)
    if group is None or key in state.jobs or not 0 <= number < group.created:
        return False
    return key == f"{name}-{number}" and not group.is_done(number)
