"""The only code that changes the engine's state: one method for each event and each effect.

What an event set off (values that changed, rules it woke, attempts to be decided on) is left in lists
for `decide`; a replay throws them away. Nothing here asks a condition or draws a random number that
matters: the recorded decision has already been made.
"""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import Any, Final

from ensemble.engine.build import Builder
from ensemble.engine.rules import Rule, Watch, park, unpark
from ensemble.engine.state import (
    CLEANUP,
    CODES,
    DEPEND,
    INACTIVE,
    NEW,
    RUN,
    SCHED,
    SUBMITTED,
    Cell,
    Group,
    Job,
    Point,
    State,
)
from ensemble.model.decisions import (
    AddRule,
    Avoid,
    Call,
    Cancel,
    Create,
    Discard,
    Drain,
    Effect,
    End,
    Finish,
    Firing,
    Forget,
    Held,
    Note,
    Remember,
    Resize,
    Retry,
    Span,
    Step,
    StopMember,
    Submit,
    SwitchAlgorithm,
)
from ensemble.model.events import (
    Event,
    Fault,
    FunctionReturned,
    JobEvent,
    MemberEvent,
    NativeEvent,
    Requested,
    ResizeDone,
    RunResumed,
    RunStarted,
    SubmitAnswered,
    TimerFired,
)
from ensemble.model.jobs import split_key

_NONE: list[Rule] = []

WINDOW: Final = 10_000
"""Jobs that one member is given at most at a time (as Slurm's `MaxJobCount` allows by default). The rest wait
here, where a job costs a range and not an object."""

REFILL: Final = WINDOW // 2
"""The window is filled again when a member holds no more than this."""


class Applier:
    """Carries out events and effects on one `State`."""

    __slots__ = (
        "_effects",
        "_events",
        "asked",
        "awake",
        "builder",
        "changed",
        "due",
        "over",
        "release",
        "remarks",
        "state",
    )

    def __init__(self, state: State, builder: Builder) -> None:
        self.state = state
        self.builder = builder
        self.changed: list[Watch] = []
        """Values that somebody watches and that changed."""
        self.awake: list[Rule] = []
        """Rules whose trigger came."""
        self.due: list[Rule] = []
        """Rules to be looked at because their time came."""
        self.over: list[Job] = []
        """Attempts that ended and need a decision."""
        self.remarks: list[Note] = []
        """What was odd about the event."""
        self.release = False
        """Whether something happened that may let waiting jobs go to a member."""
        self.asked = ""
        """The rule whose function has just answered; empty when that answer was not awaited."""
        self._events: dict[type, Any] = {
            JobEvent: self.job,
            NativeEvent: self._native,
            MemberEvent: self._member,
            SubmitAnswered: self._answer,
            ResizeDone: self._resized,
            FunctionReturned: self._returned,
            TimerFired: self._timer,
            Requested: self._nothing,
            Fault: self._nothing,
            RunStarted: self._start,
            RunResumed: self._nothing,
        }
        self._effects: dict[type, Any] = {
            Create: self._create,
            Submit: self._submit,
            Cancel: self._cancel,
            Resize: self._resize,
            Call: self._call,
            StopMember: self._stop_member,
            Retry: self._retry,
            Finish: self._finish,
            Discard: self._discard,
            AddRule: self._add_rule,
            SwitchAlgorithm: self._switch,
            Avoid: self._avoid,
            Drain: self._drain,
            End: self._end,
            Forget: self._forget,
            Remember: self._remember,
            Note: self._note,
        }

    # ---- entry points ------------------------------------------------------------------------------

    def event(self, event: Event, at: float) -> None:
        """Take in one event at `at`, and whatever time has made due."""
        state = self.state
        state.now = at
        if state.timers and state.timers[0][0] <= at:
            self._expire(at)
        if isinstance(event, JobEvent):
            self.job(event)
        else:
            self._events[type(event)](event)

    def step(self, step: Step) -> None:
        """Carry out one recorded or just decided step."""
        if isinstance(step, Firing):
            self.fired(step)
            for effect in step.effects:
                self.effect(effect, step.rule)
            self.mix(step.effects)
        elif isinstance(step, Held):
            self.held(step)
        else:
            for effect in step.effects:
                self.effect(effect)
            self.mix(step.effects)

    def effect(self, effect: Effect, rule: str = "") -> None:
        """Carry out one effect; `rule` is the rule that asked for it, if one did."""
        if rule and isinstance(effect, (Resize, Call)):
            # the rule is not considered again before this has ended
            self.state.calls[effect.id] = rule
            self.state.rules[rule].open += 1
            park(self.state.rules[rule])
        self._effects[type(effect)](effect)

    def forget_impact(self) -> None:
        """Throw away what was set off (a replay does not decide)."""
        self.changed.clear()
        self.awake.clear()
        self.due.clear()
        self.over.clear()
        self.remarks.clear()
        self.release = False
        self.asked = ""

    # ---- rules -------------------------------------------------------------------------------------

    def fired(self, firing: Firing) -> None:
        """Count a firing against its rule."""
        state = self.state
        rule = state.rules[firing.rule]
        rule.fired += 1
        rule.last = state.now
        rule.skip = rule.action.backoff
        state.firings += 1
        if rule.left > 0:
            rule.left -= 1
            if not rule.left:
                park(rule)

    def held(self, held: Held) -> None:
        """Note that a match did not fire."""
        rule = self.state.rules[held.rule]
        if held.by == "backoff":
            rule.skip = held.left
        elif held.by == "cooldown":
            rule.until = held.until
            park(rule)
            heappush(self.state.timers, (held.until, rule.order, "cooldown", rule.id))

    def _expire(self, at: float) -> None:
        state = self.state
        timers = state.timers
        while timers and timers[0][0] <= at:
            when, order, kind, name = heappop(timers)
            if kind == "retry":
                job = state.jobs.get(name)
                if job is not None and job.code == NEW:
                    job.group.ready.append(name)
                    self.release = True
                continue
            rule = state.rules.get(name)
            if rule is None or rule.removed:
                continue
            if kind == "cooldown":
                rule.until = 0.0
                unpark(rule)
                self.due.append(rule)
            elif kind == "interval" and not rule.exhausted:
                seconds = rule.spec.seconds
                # a run that slept through several periods gets one firing, not a burst
                rule.interval_at = when + seconds * max(1, int((at - when) / seconds) + 1)
                heappush(timers, (rule.interval_at, order, kind, name))
                self.due.append(rule)

    def close_command(self, command: int) -> bool:
        """An answer came: whether it was still awaited."""
        state = self.state
        if state.commands.pop(command, None) is None:
            return False
        name = state.calls.pop(command, "")
        if name:
            rule = state.rules.get(name)
            if rule is not None:
                rule.open -= 1
                unpark(rule)
        return True

    def touch(self, cell: Cell, *fields: str) -> None:
        """Note that values of a cell changed."""
        watch = cell.watch
        if watch is not None:
            for field in fields:
                found = watch.get(field)
                if found is not None:
                    self.changed.append(found)

    def _wake(self, group: Group, point: Point | None, trigger: str) -> None:
        for rule in group.on.get(trigger, _NONE):
            # under `for_each` a rule hears only the jobs of its own value
            if not rule.binding or (
                point is not None and all(point.values.get(axis) == value for axis, value in rule.binding.items())
            ):
                self.awake.append(rule)

    # ---- jobs --------------------------------------------------------------------------------------

    def job(self, event: JobEvent) -> None:
        """A job changed state. What cannot be a change (repeated, stale, late) changes nothing."""
        state = self.state
        n = event.n
        if n:
            member = state.members[event.member]
            if n <= member.position:
                return
            member.position = n
        job = state.jobs.get(event.key)
        if job is None:
            self._stranger(event)
            return
        if event.attempt != job.attempt or event.incarnation < job.incarnation:
            return
        if event.incarnation > job.incarnation:
            self._restart(job, event.incarnation)
        if event.reason == "duplicate":
            # the other holder of this ref is the one that counts
            self.remarks.append(Note("duplicate", f"{job.key}.{job.attempt} was started twice and ran once", job.key))
            return
        code = CODES[event.state]
        before = job.code
        if code <= before:
            return
        if before == NEW:
            # a member cannot know of an attempt that was never sent
            self.remarks.append(Note("illegal-transition", f"{job.key}: {event.state} before it was submitted"))
            return
        job.code = code
        group = job.group
        if code >= RUN:
            if event.hosts:
                job.hosts = event.hosts
            if before < RUN and (code < INACTIVE or event.start or event.outcome == "success" or event.exit_code >= 0):
                self._running(job, event)
            elif before < RUN and job.waits:
                self._stop_waiting(job)
            if code >= CLEANUP and not job.ended:
                job.ended = event.time
        if group.on:
            if before < DEPEND <= code:
                self._wake(group, job.point, "job-depend")
            if before < SCHED <= code:
                self._wake(group, job.point, "job-sched")
            if before < RUN <= code and job.run_at:
                self._wake(group, job.point, "job-run")
            if before < CLEANUP <= code:
                self._wake(group, job.point, "job-cleanup")
        if code == INACTIVE:
            job.last = event
            if event.outcome == "success" and not self.builder.conditional(job.point):
                self._finished(job, "success", "")
                if event.missing:
                    self.over.append(job)
            else:
                self.over.append(job)

    def _stranger(self, event: JobEvent) -> None:
        """An event of a job that is not under way: late after its end (normal), or of nobody we know."""
        try:
            name, number = split_key(event.key)
        except ValueError:
            name, number = "", 0
        group = self.state.groups.get(name)
        if group is not None and group.is_done(number):
            return
        self.remarks.append(Note("unknown-job", f"{event.member} sent {event.state} of {event.key}, which is no job"))

    def _restart(self, job: Job, incarnation: int) -> None:
        """The queue itself started the job again: it waits once more."""
        if job.run_at:
            for cell in job.point.cells:
                cell.running -= 1
                cell.pending += 1
                self.touch(cell, "running", "pending")
        job.incarnation = incarnation
        job.code = SUBMITTED
        job.run_at = job.run_time = job.ended = 0.0
        job.last = None

    def _running(self, job: Job, event: JobEvent) -> None:
        now = self.state.now
        job.run_at = now
        job.run_time = event.start or event.time
        waits = job.waits
        job.waits = False
        since = job.submitted_at
        for cell in job.point.cells:
            cell.pending -= 1
            cell.running += 1
            if waits and cell.group != "*":
                cell.waits.finish(since, now - since)
            if cell.watch is not None:
                self.touch(cell, "pending", "running", "~pending")

    def _stop_waiting(self, job: Job) -> None:
        """It ended without ever running: its wait is no observation."""
        job.waits = False
        for cell in job.point.cells:
            if cell.group != "*":
                cell.waits.leave(job.submitted_at)
                if cell.watch is not None:
                    self.touch(cell, "~pending")

    def _let_go(self, job: Job) -> float:
        """The attempt is no longer with its member; return the node-seconds it used."""
        state = self.state
        point = job.point
        member = state.members[job.member]
        member.outstanding -= 1
        member.outstanding_cores -= point.cores
        job.group.outstanding -= 1
        share = self.builder.nodes_of(point, member)
        event = job.last
        used = 0.0
        if job.run_time and event is not None:
            used = share * max(0.0, (job.ended or event.time) - job.run_time)
        if job.node_seconds:
            state.reserved_node_seconds -= job.node_seconds
            state.reserved_cost -= job.cost
            job.node_seconds = job.cost = 0.0
        state.spent_node_seconds += used
        if not member.holds:
            state.spent_cost += used / 3600.0 * member.price
        group = job.group
        if (group.max_running and (group.waiting or group.ready)) or (
            state.backlog and (member.outstanding <= REFILL or self.builder.budgeted)
        ):
            self.release = True
        return used

    def _finished(self, job: Job, outcome: str, reason: str) -> None:
        """The job is over for good."""
        state = self.state
        point = job.point
        group = job.group
        event = job.last
        ran = job.run_at > 0.0
        if job.waits:
            self._stop_waiting(job)
        used = 0.0
        price = 0.0
        if job.member and job.code != NEW:
            price = state.members[job.member].price
            used = self._let_go(job)
        counts = outcome == "success" and ran and event is not None and job.number not in point.warm
        figures = event.figures if counts and event is not None else None
        for cell in point.cells:
            if ran:
                cell.running -= 1
            else:
                cell.pending -= 1
            if outcome == "success":
                cell.success += 1
            elif outcome == "failed":
                cell.failed += 1
            elif outcome == "cancelled":
                cell.cancelled += 1
            else:
                cell.lost += 1
            if counts and cell.group != "*":
                assert event is not None
                cell.quantity("duration").add(max(0.0, (job.ended or event.time) - job.run_time))
                cell.quantity("node_hours").add(used / 3600.0)
                if price:
                    cell.quantity("cost").add(used / 3600.0 * price)
                if figures:
                    for name, value in figures.items():
                        cell.quantity(name).add(value)
            if cell.watch is not None:
                self.touch(cell, "running" if ran else "pending", "active", "finished", outcome)
                if counts:
                    self.touch(cell, "~duration", "~node_hours", "~cost")
                    if figures:
                        self.touch(cell, *["~" + name for name in figures])
        job.code = INACTIVE
        group.mark_done(job.number)
        del state.jobs[job.key]
        if group.on:
            self._wake(group, point, "job-finish")
            if outcome == "success":
                self._wake(group, point, "job-success")
            elif outcome == "cancelled":
                self._wake(group, point, "job-cancel")
            else:
                self._wake(group, point, "job-fail")

    # ---- other events ------------------------------------------------------------------------------

    def _nothing(self, event: Event) -> None:
        pass

    def _start(self, event: RunStarted) -> None:
        state = self.state
        state.run = event.run
        state.run_dir = event.run_dir
        state.version = event.version
        state.seed = event.seed
        state.started = state.now
        self.builder.begin(event.run, event.run_dir)
        for rule in state.rules.values():
            if rule.trigger == "start":
                self.awake.append(rule)
            elif rule.trigger == "interval":
                self._begin_interval(rule)
        limit = self.builder.spec.limits.walltime
        if limit:
            heappush(state.timers, (state.now + limit, 0, "limit", "walltime"))

    def _begin_interval(self, rule: Rule) -> None:
        rule.interval_at = self.state.now + rule.spec.seconds
        heappush(self.state.timers, (rule.interval_at, rule.order, "interval", rule.id))

    def _native(self, event: NativeEvent) -> None:
        state = self.state
        if event.n:
            member = state.members[event.member]
            if event.n <= member.position:
                return
            member.position = event.n
        job = state.jobs.get(event.key)
        if job is not None:
            group: Group | None = job.group
        else:
            group = state.groups.get(event.key.rpartition("-")[0])
        if group is not None:
            self._wake(group, job.point if job is not None else None, "job-native-" + event.name)

    def _member(self, event: MemberEvent) -> None:
        state = self.state
        member = state.members[event.member]
        if event.name == "open":
            if event.stream != member.stream:
                member.stream = event.stream
                member.position = 0
            member.opened = True
            member.state = "up"
            member.capabilities = event.capabilities
            member.holds = "resize" in event.capabilities and member.price > 0
            member.changed_at = state.now
        elif event.n:
            if event.n <= member.position:
                return
            member.position = event.n
        if event.name in ("up", "down", "closed", "gone"):
            member.state = event.name
        if event.name == "up":
            member.opened = True
        member.text = event.text
        self._charge_held(event.member)
        for field in ("nodes_up", "nodes_free", "cores_up", "cores_free", "gpus_up"):
            value = getattr(event, field)
            if value >= 0 and value != getattr(member, field):
                setattr(member, field, value)
                self._touch_member(event.member, field)
        if event.cores_per_node:
            member.cores_per_node = event.cores_per_node
        if event.name == "open" and not member.target:
            member.target = max(member.nodes_up, 0)
        if event.queue is not None:
            for name, count in event.queue.items():
                if member.queue.get(name) != count:
                    member.queue[name] = count
                    self._touch_member(event.member, "queue_" + name)
        for key, attempt in event.unsent:
            self._unsend(key, attempt)
        self.release = True
        trigger = "member-" + event.name
        for rule in state.rules.values():
            if rule.trigger == trigger and rule.spec.name in ("", event.member):
                self.awake.append(rule)
        gone = event.gone
        if event.name == "gone":
            gone = tuple((job.key, job.attempt) for job in state.jobs.values() if job.member == event.member)
        for key, attempt in gone:
            job = state.jobs.get(key)
            if job is not None and job.attempt == attempt and NEW < job.code < INACTIVE:
                job.last = JobEvent(event.member, key, "inactive", event.time, outcome="lost", reason="infrastructure")
                if job.waits:
                    self._stop_waiting(job)
                job.code = INACTIVE
                self.over.append(job)

    def _charge_held(self, name: str) -> None:
        """Bring the bill of held nodes up to now."""
        member = self.state.members[name]
        if member.holds and member.nodes_up > 0:
            seconds = (self.state.now - member.changed_at) * member.nodes_up
            member.held_seconds += seconds
            self.state.spent_cost += seconds / 3600.0 * member.price
        member.changed_at = self.state.now

    def _touch_member(self, name: str, field: str) -> None:
        watch = self.state.members[name].watch
        if watch is not None and field in watch:
            self.changed.append(watch[field])

    def _answer(self, event: SubmitAnswered) -> None:
        if not self.close_command(event.command):
            return
        for key, attempt, reason, transient in event.refused:
            job = self.state.jobs.get(key)
            if job is None or job.attempt != attempt or job.code != SUBMITTED:
                continue
            if job.waits:
                self._stop_waiting(job)
            job.code = INACTIVE
            job.last = JobEvent(
                event.member, key, "inactive", outcome="failed", reason="later" if transient else "refused", text=reason
            )
            self.over.append(job)

    def _resized(self, event: ResizeDone) -> None:
        member = self.state.members[event.member]
        if event.nodes >= 0 and self.close_command(event.command):
            self._charge_held(event.member)
            member.target = event.nodes
        else:
            self.close_command(event.command)
        if event.error:
            member.target = max(member.nodes_up, 0)
            self.remarks.append(Note("resize-failed", f"{event.member}: {event.error}"))
        self.release = True

    def _returned(self, event: FunctionReturned) -> None:
        command = self.state.commands.get(event.command)
        if command is not None:
            self.asked = self.state.calls.get(event.command) or "nobody"
            self.close_command(event.command)

    def _timer(self, event: TimerFired) -> None:
        if not event.heartbeat:
            return
        for group in self.state.groups.values():
            for cell in group.cells.values():
                if cell.watch is not None and cell.waits.waiting.count:
                    self.touch(cell, "~pending")

    # ---- effects -----------------------------------------------------------------------------------

    def _create(self, effect: Create) -> None:
        state = self.state
        span = effect.span
        group = state.groups[span.group]
        if effect.values is not None:
            self.builder.add_point(group, effect.template, effect.values)
        point = group.points[span.point]
        spec = self.builder.template(point)
        made = point.cells[0].submitted if len(group.points) == 1 else self._own_cell(point).submitted
        for number in range(span.first, span.first + max(0, min(span.count, spec.warmup - made))):
            point.warm.add(number)
        group.created = max(group.created, span.first + span.count)
        for cell in point.cells:
            cell.submitted += span.count
            cell.pending += span.count
            if cell.watch is not None:
                self.touch(cell, "submitted", "pending", "active")
        if spec.order == "listed":
            group.backlog.append(span)
        else:
            group.mixing.append(span)
        group.waiting += span.count
        state.backlog += span.count
        self.release = True

    def _own_cell(self, point: Point) -> Cell:
        return point.group.cells[tuple(point.values.items())]

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
        spans = group.mixing
        draw = Random(self.state.seed * 1_000_003 + group.created).random
        rounds: list[list[Span]] = []
        for span in spans:
            order = self.builder.template(group.points[span.point]).order
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
        spans.clear()

    def _take(self, group: Group, span: Span) -> None:
        """Remove a range of jobs from the backlog; normally it stands in front."""
        backlog = group.backlog
        left = span.count
        first = span.first
        while left:
            if not backlog:
                return
            for place in range(len(backlog)):
                entry = backlog[place]
                if entry.point == span.point and entry.first <= first < entry.first + entry.count:
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

    def _submit(self, effect: Submit) -> None:
        state = self.state
        now = state.now
        state.commands[effect.id] = effect
        state.next_command = effect.id + 1
        member = state.members[effect.member]
        jobs = state.jobs
        for span in effect.spans:
            group = state.groups[span.group]
            point = group.points[span.point]
            share = self.builder.nodes_of(point, member)
            reserve = share * point.walltime
            cost = 0.0 if member.holds else reserve / 3600.0 * member.price
            first_key = f"{span.group}-{span.first}"
            if first_key in jobs:
                again = jobs[first_key]
                if group.ready and group.ready[0] == first_key:
                    group.ready.popleft()
                elif first_key in group.ready:
                    group.ready.remove(first_key)
                batch = [again]
            else:
                self._take(group, span)
                batch = []
                for number in range(span.first, span.first + span.count):
                    job = Job(f"{span.group}-{number}", group, point, number)
                    jobs[job.key] = job
                    batch.append(job)
            for job in batch:
                job.code = SUBMITTED
                job.attempt = span.attempt
                job.member = effect.member
                job.submitted_at = now
                job.waits = True
                job.node_seconds = reserve
                job.cost = cost
            count = len(batch)
            member.outstanding += count
            member.outstanding_cores += count * point.cores
            group.outstanding += count
            state.reserved_node_seconds += reserve * count
            state.reserved_cost += cost * count
            for cell in point.cells:
                if cell.group != "*":
                    cell.waits.enter(now, count)
                    if cell.watch is not None:
                        self.touch(cell, "~pending")

    def _cancel(self, effect: Cancel) -> None:
        state = self.state
        # not awaited: each job's own end answers it
        state.next_command = max(state.next_command, effect.id + 1)
        for key, attempt in effect.refs:
            job = state.jobs.get(key)
            if job is None or job.attempt != attempt:
                continue
            job.cancelling = True
            if job.code == NEW:
                if key in job.group.ready:
                    job.group.ready.remove(key)
                self._finished(job, "cancelled", effect.reason)

    def _discard(self, effect: Discard) -> None:
        group = self.state.groups[effect.group]
        kept = [span for span in group.backlog if effect.point not in (-1, span.point)]
        for span in group.backlog:
            if effect.point not in (-1, span.point):
                continue
            for cell in group.points[span.point].cells:
                cell.pending -= span.count
                cell.cancelled += span.count
                if cell.watch is not None:
                    self.touch(cell, "pending", "active", "cancelled", "finished")
            group.waiting -= span.count
            self.state.backlog -= span.count
            for number in range(span.first, span.first + span.count):
                group.mark_done(number)
        group.backlog.clear()
        group.backlog.extend(kept)

    def _retry(self, effect: Retry) -> None:
        """The attempt that ended gets a successor (or, never having run, goes again under its own number)."""
        state = self.state
        job = state.jobs[effect.key]
        event = job.last
        fresh = effect.attempt != job.attempt
        self._let_go(job)
        if job.run_at:
            for cell in job.point.cells:
                cell.running -= 1
                cell.pending += 1
                if cell.watch is not None:
                    self.touch(cell, "running", "pending")
        if fresh:
            if effect.spent:
                job.retries += 1
                for cell in job.point.cells:
                    cell.failed_attempts += 1
                    if cell.watch is not None:
                        self.touch(cell, "failed_attempts")
            elif event is not None and event.reason != "later":
                job.losses += 1
            self._wake(job.group, job.point, "job-retry")
        if effect.elsewhere:
            job.avoid = tuple(dict.fromkeys((*job.avoid, effect.elsewhere)))
        job.attempt = effect.attempt
        job.incarnation = 0
        job.code = NEW
        job.run_at = job.run_time = job.ended = 0.0
        job.last = None
        job.cancelling = False
        if effect.after > state.now:
            heappush(state.timers, (effect.after, job.number, "retry", job.key))
        else:
            job.group.ready.append(job.key)
            self.release = True

    def _finish(self, effect: Finish) -> None:
        job = self.state.jobs[effect.key]
        if job.code == NEW and job.key in job.group.ready:
            job.group.ready.remove(job.key)
        if effect.outcome in ("failed", "lost"):
            for cell in job.point.cells:
                cell.failed_attempts += 1
                if cell.watch is not None:
                    self.touch(cell, "failed_attempts")
        self._finished(job, effect.outcome, effect.reason)

    def _unsend(self, key: str, attempt: int) -> None:
        """The member never had it: it goes again under the same attempt."""
        job = self.state.jobs.get(key)
        if job is None or job.attempt != attempt or not NEW < job.code < INACTIVE:
            return
        if job.waits:
            self._stop_waiting(job)
        self._let_go(job)
        job.code = NEW
        job.group.ready.append(key)
        self.release = True

    def _forget(self, effect: Forget) -> None:
        for key, attempt in effect.refs:
            self._unsend(key, attempt)

    def _resize(self, effect: Resize) -> None:
        self.state.commands[effect.id] = effect
        self.state.next_command = effect.id + 1
        self.state.members[effect.member].target = effect.nodes

    def _call(self, effect: Call) -> None:
        self.state.commands[effect.id] = effect
        self.state.next_command = effect.id + 1

    def _stop_member(self, effect: StopMember) -> None:
        # nobody answers it with a number: the member's own `closed` event tells
        self.state.next_command = effect.id + 1
        self.state.members[effect.member].state = "closed"

    def _add_rule(self, effect: AddRule) -> None:
        for rule in self.builder.add_rule(effect.id, effect.rule, effect.owner):
            if rule.trigger == "interval":
                self._begin_interval(rule)
            elif rule.trigger in ("metric", "start"):
                self.due.append(rule)

    def _switch(self, effect: SwitchAlgorithm) -> None:
        state = self.state
        for rule in state.rules.values():
            if rule.owner.startswith("algorithm:"):
                park(rule)
                rule.removed = True
        state.algorithm = effect.name
        state.memory.pop("algorithm", None)
        self.builder.algorithm_options = dict(effect.options)
        self.builder.switches += 1
        self.builder.index_triggers()

    def _avoid(self, effect: Avoid) -> None:
        self.state.avoid = tuple(dict.fromkeys((*self.state.avoid, *effect.hosts)))

    def _drain(self, effect: Drain) -> None:
        state = self.state
        state.draining = effect.reason
        if effect.limit:
            state.limit = effect.limit
        state.stopping = state.stopping or effect.reason == "stop"
        state.terminating = state.terminating or effect.reason == "terminate"
        if effect.drop:
            state.dropped = True
            for name in state.groups:
                self._discard(Discard(name))
            for job in [job for job in state.jobs.values() if job.code == NEW]:
                if job.key in job.group.ready:
                    job.group.ready.remove(job.key)
                self._finished(job, "cancelled", effect.reason)

    def _end(self, effect: End) -> None:
        for name in self.state.members:
            self._charge_held(name)
        self.state.ended = effect

    def _remember(self, effect: Remember) -> None:
        self.state.memory[effect.owner] = effect.data

    def _note(self, effect: Note) -> None:
        self.state.notes[effect.name] = self.state.notes.get(effect.name, 0) + 1
