"""What follows from an event: which attempts are retried, which rules fire, which jobs go out, whether it is over.

Runs live, once. Each step is carried out by `apply` before the next is decided, so a rule sees the effects
of those before it. A resumed run never comes here for what is already in the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import islice
from random import Random
from typing import Final

from msgspec import convert

from ensemble.engine.actions import Cause, Context, perform, switch
from ensemble.engine.apply import Applier
from ensemble.engine.backlog import waits
from ensemble.engine.build import Builder
from ensemble.engine.calls import given_up, room
from ensemble.engine.changes import changes
from ensemble.engine.release import Release, under_way
from ensemble.engine.rules import Rule, Watch
from ensemble.engine.state import CANCELLED, PARKED, Job, State
from ensemble.engine.transitions import INACTIVE, NEW
from ensemble.model.decisions import (
    Call,
    Create,
    Discard,
    Drain,
    DropCalls,
    Effect,
    End,
    Finish,
    Firing,
    Held,
    Keyed,
    Note,
    Pause,
    Resize,
    Retry,
    Step,
    Submit,
    Upkeep,
)
from ensemble.model.events import (
    Event,
    FunctionReturned,
    JobEvent,
    NativeEvent,
    Requested,
    ResizeDone,
    RunResumed,
    RunStarted,
    TimerFired,
)
from ensemble.model.wording import counted
from ensemble.spec.actions import traits
from ensemble.spec.model import ActionSpec

MAX_FIRINGS: Final = 1000
"""Firings that may follow from one event; the next reaches a limit."""

MAX_LOSSES: Final = 10
"""Times a job may be lost with its infrastructure before it counts as lost for good."""

REFUSED_DELAY: Final = 5.0
"""Seconds before a submission is tried again that the queue refused for now."""


class Decider:
    """Decides on one event after `Applier.event` has taken it in."""

    __slots__ = (
        "_agenda",
        "_called",
        "_firings",
        "_limits",
        "_queued",
        "_spec",
        "_steps",
        "_unlimited",
        "applier",
        "builder",
        "context",
        "impact",
        "release",
        "state",
    )

    def __init__(self, state: State, builder: Builder, applier: Applier) -> None:
        self.state = state
        self.builder = builder
        self.applier = applier
        self.impact = applier.impact
        self.context = Context(state, builder)
        self.release = Release(state, builder)
        self._steps: list[Step] = []
        self._agenda: list[tuple[int, int, str]] = []
        self._queued: set[tuple[int, int]] = set()
        self._firings = 0
        self._called = 0
        self._spec = builder.plan.spec
        self._look_at_limits()

    def _look_at_limits(self) -> None:
        """See whether any limit can be reached by an event alone; they may change while the run goes on."""
        self._limits = limits = self.state.limits
        self._unlimited = not (limits.failures or limits.walltime or limits.cost or limits.node_hours)

    def decide(self, event: Event) -> tuple[Step, ...]:
        """Return the steps that follow from `event`, already carried out."""
        state = self.state
        impact = self.impact
        if type(event) is JobEvent and not (
            impact.awake or impact.due or impact.over or impact.remarks or impact.release
        ):
            # nine of ten events end here: no rule waits for them, or no threshold was crossed
            changed = impact.changed
            if state.limits is not self._limits:
                self._look_at_limits()
            if (not changed or (self._unlimited and not _stirred(changed))) and (
                state.jobs or state.backlog or state.ended is not None
            ):
                changed.clear()
                return ()
        if state.ended is not None:
            impact.clear()
            return ()
        self._steps = []
        self._firings = self._called = 0
        self._before_rules(event)
        self._rules(event)
        while self._after_rules(event):
            self._rules(event)
        impact.clear()
        steps = tuple(self._steps)
        self._steps = []
        return steps

    def _take(self, step: Step) -> None:
        self._steps.append(step)
        self.applier.step(step)

    def _upkeep(self, effects: Sequence[Effect], cause: str = "") -> None:
        if effects:
            self._take(Upkeep(tuple(effects), cause))

    # ---- before the rules --------------------------------------------------------------------------

    def _before_rules(self, event: Event) -> None:
        impact = self.impact
        if impact.remarks:
            self._upkeep(impact.remarks.copy(), "remark")
            impact.remarks.clear()
        if impact.over:
            over = impact.over.copy()
            impact.over.clear()
            effects: list[Effect] = []
            for job in over:
                effects += self._conclude(job)
            self._upkeep(effects, "attempt over")
        if type(event) is JobEvent:
            return
        self.context.begin()
        if type(event) is RunStarted:
            if self.builder.plan.spec.algorithm is not None:
                algorithm = self.builder.plan.spec.algorithm
                self._upkeep(switch(self.context, algorithm.name, algorithm.options), "algorithm")
                self.context.begin()
            self._upkeep(self.context.start(self.builder.plan.starting), "start")
        elif type(event) is Requested:
            self._upkeep(self._requested(event), "request")
        elif type(event) is RunResumed and self.state.paused and not event.paused:
            self._upkeep([Pause(on=False)], "resume")
        elif type(event) is FunctionReturned and impact.asked is not None:
            self._upkeep(self._returned(event, impact.asked), impact.asked or "nobody")
            self._call_next(impact.asked)
        elif type(event) is ResizeDone:
            notes, keys = self.release.stranded(event.member)
            self._upkeep([*notes, *self.context.cancel_keys(keys, "never-fits")], "release")

    def _conclude(self, job: Job) -> list[Effect]:
        """What becomes of a job whose attempt is over."""
        event = job.last
        if event is None:
            # its member never had it, and it is not wanted any more
            return [Finish(job.key, "cancelled", self.state.draining or "cancelled")] if job.code == NEW else []
        effects: list[Effect] = []
        if event.missing and event.outcome == "success":
            effects.append(Note("output-missing", f"{job.key}: no match for {', '.join(event.missing)}", job.key))
        if job.code != INACTIVE or job.key not in self.state.jobs:
            return effects
        outcome, reason = event.outcome, event.reason
        if outcome == "success":
            reason = self.builder.plan.verdict(job, event)
            if not reason:
                return [*effects, Finish(job.key, "success")]
            outcome = "failed"
        if reason == "later":
            if self.state.dropped or job.cancelling == CANCELLED:
                # it never ran, and is not wanted any more
                return [*effects, Finish(job.key, "cancelled", self.state.draining or "cancelled")]
            return [*effects, Retry(job.key, job.attempt, self.state.now + REFUSED_DELAY, spent=False)]
        if job.cancelling == PARKED and not self.state.dropped and outcome in ("cancelled", "lost"):
            # taken back by a pause before it ran
            return [*effects, Retry(job.key, job.attempt + 1, self.state.now, spent=False)]
        if outcome == "cancelled" or (job.cancelling and outcome == "lost"):
            return [*effects, Finish(job.key, "cancelled", reason or "cancelled")]
        infrastructure = outcome == "lost" or reason == "infrastructure"
        if self.state.dropped or job.cancelling == CANCELLED:
            return [*effects, Finish(job.key, "lost" if outcome == "lost" else "failed", reason)]
        retries = self.builder.plan.template(job.point).retries
        elsewhere = job.hosts if retries.elsewhere else ""
        if infrastructure:
            if job.losses + 1 < MAX_LOSSES:
                return [*effects, Retry(job.key, job.attempt + 1, self.state.now, spent=False, elsewhere=elsewhere)]
            return [*effects, Finish(job.key, "lost", reason)]
        if job.retries < retries.limit and (not retries.reasons or reason in retries.reasons):
            after = self.state.now + retries.delay
            return [*effects, Retry(job.key, job.attempt + 1, after, elsewhere=elsewhere)]
        return [*effects, Finish(job.key, "failed", reason)]

    def _requested(self, event: Requested) -> list[Effect]:
        """What a request comes to. Effects that are nothing but notes say why it is refused."""
        if event.key and event.key in self.state.keys:
            return [Keyed(event.key, self.state.keys[event.key])]
        effects = self._asked(event)
        if event.key and any(not isinstance(effect, (Note, Drain)) for effect in effects):
            effects.append(Keyed(event.key, tuple(one.span for one in effects if isinstance(one, Create))))
        return effects

    def _asked(self, event: Requested) -> list[Effect]:
        context = self.context
        if event.what == "pause":
            return context.pause()
        if event.what == "drain":
            return context.drain("request-drain")
        if event.what in ("cancel", "terminate"):
            reason = "request-cancel" if event.what == "cancel" else "terminate"
            return [Drain(reason), *context.cancel_all(reason)]
        if event.what == "cancel-jobs":
            known = dict.fromkeys(key for key in event.keys if key in self.state.jobs or waits(self.state, key))
            notes: list[Effect] = [
                Note("unknown-job", f"cancel: {key} is not under way", key) for key in event.keys if key not in known
            ]
            return notes + context.cancel_keys(list(known), "request")
        if event.what == "release":
            return []
        if event.what == "change" and event.action is not None:
            return changes(context, event.action)
        if event.what == "add-rule" and event.action is not None:
            return perform(context, ActionSpec(name="add-rule", rule=event.action), Cause(event))
        if event.action is not None:
            return perform(context, convert(event.action, ActionSpec), Cause(event))
        return [Note("unknown-request", f"there is no request {event.what!r}")]

    def _returned(self, event: FunctionReturned, asked: str) -> list[Effect]:
        rule = self.state.rules.get(asked)
        if event.error:
            return [Note("function-" + (event.fault or "raised"), event.error)]
        effects: list[Effect] = []
        for result in event.results:
            if "trigger" in result:
                effects.append(self.context.add_rule(result, rule))
            else:
                effects += perform(self.context, convert(result, ActionSpec), Cause(event, rule))
        return effects

    def _call_next(self, rule: str) -> None:
        """Make the calls that waited for one of their rule to return."""
        line = self.state.lines.get(rule)
        if line is None or not line.waiting or given_up(self.state):
            return
        known = self.state.rules.get(rule)
        free = room(self.state, rule, known.action.concurrency if known is not None else 1)
        self.context.begin()
        calls = [
            Call(self.context.command(), one.function, rule, waited=True) for one in islice(line.waiting, max(0, free))
        ]
        self._upkeep(calls, "calls")

    def _drop_calls(self) -> None:
        """Give up the calls that wait, with a note of how many there are."""
        dropped = sum(len(line.waiting) for line in self.state.lines.values())
        if dropped:
            text = f"{counted(dropped, 'call')} of functions that waited will not be made: the run is being cancelled"
            self._upkeep([DropCalls(), Note("calls-dropped", text)], "calls")

    # ---- rules -------------------------------------------------------------------------------------

    def _rules(self, event: Event) -> None:
        self._agenda.clear()
        self._queued.clear()
        self._collect(1, -1)
        while self._agenda:
            turn, order, rule_id = heappop(self._agenda)
            rule = self.state.rules[rule_id]
            if not rule.considered:
                continue
            if rule.condition is not None and rule.condition() is not True:
                continue
            self._match(rule, event)
            self._collect(turn, order)

    def _collect(self, turn: int, order: int) -> None:
        """Put what has been set off on the agenda: later in this turn where file order allows, else in the next."""
        impact = self.impact
        if impact.changed:
            for watch in impact.changed:
                for rule in watch.candidates():
                    self._queue(rule, turn, order)
            impact.changed.clear()
        if impact.awake:
            for rule in impact.awake:
                self._queue(rule, turn, order)
            impact.awake.clear()
        if impact.due:
            for rule in impact.due:
                self._queue(rule, turn, order)
            impact.due.clear()

    def _queue(self, rule: Rule, turn: int, order: int) -> None:
        place = (turn if rule.order > order else turn + 1, rule.order)
        if place not in self._queued:
            self._queued.add(place)
            heappush(self._agenda, (place[0], place[1], rule.id))

    def _match(self, rule: Rule, event: Event) -> None:
        """A rule's condition holds: fire for each job that woke it, or record what holds it back."""
        if not rule.calls:
            self._fire(rule, event)
            return
        if rule.trigger == "interval" and rule.id in self.state.lines:
            # ticks are no facts: those that pass while the function is at work are not made up for
            return
        keys = self.impact.causes.pop(rule.id, None)
        if keys is None:
            keys = [event.key if rule.trigger == "metric" and isinstance(event, JobEvent) else ""]
        for key in keys:
            if rule.considered:
                self._fire(rule, event, key)

    def _fire(self, rule: Rule, event: Event, key: str = "") -> None:
        """Fire, or record what holds the rule back. `key`: the job that its function is to be called for."""
        state = self.state
        action = rule.action
        if state.draining and (not traits(rule.action).while_draining or (rule.calls and given_up(state))):
            if rule.id not in state.refused:
                self._take(Held(rule.id, "ending"))
            return
        if rule.skip > 0:
            self._take(Held(rule.id, "backoff", left=rule.skip - 1))
            return
        if action.cooldown and rule.last >= 0 and state.now < rule.last + action.cooldown:
            self._take(Held(rule.id, "cooldown", until=rule.last + action.cooldown))
            return
        if self._firings - self._called >= MAX_FIRINGS and not rule.calls:
            if not state.draining:
                self._limit("firings", f"more than {MAX_FIRINGS} firings followed from one event")
            return
        self._firings += 1
        # of a call nothing follows within this event, so calls cannot make a loop of firings
        self._called += rule.calls
        self.context.begin()
        random = Random(state.seed * 1_000_003 + state.seq * 1_009 + self._firings)
        why = rule.why()
        cause = Cause(event, rule, random, key, self._job_of(event))
        self._take(Firing(rule.id, why, tuple(perform(self.context, action, cause))))

    def _job_of(self, event: Event) -> Job | None:
        """The job that an event is about, which may be over by now."""
        if not isinstance(event, (JobEvent, NativeEvent)):
            return None
        return self.state.jobs.get(event.key) or self.impact.job(event.key)

    # ---- after the rules ---------------------------------------------------------------------------

    def _after_rules(self, event: Event) -> bool:
        """Limits, releases and the end; whether jobs were given up on the way, which rules may wait for."""
        self._check_limits(event)
        if self.state.lines and given_up(self.state):
            self._drop_calls()
        if (self.impact.release or not under_way(self.state)) and self._release():
            return True
        if not self.state.jobs and not self.state.backlog:
            return self._maybe_end(event)
        return False

    def _check_limits(self, event: Event) -> None:
        state = self.state
        limits = state.limits
        if state.draining:
            if limits.on_limit == "cancel" and (state.limit or self.release.budget.reached()):
                self._cancel_rest("limit")
            return
        if limits.failures and state.total.failed + state.total.lost >= limits.failures:
            self._limit("failures", f"limits.failures: {limits.failures} jobs failed")
        elif limits.walltime and state.started >= 0 and state.now >= state.started + limits.walltime:
            self._limit("walltime", f"limits.walltime: {limits.walltime:g} s have passed")
        elif state.jobs or state.backlog or type(event) is TimerFired:
            reached = self.release.budget.reached()
            if reached:
                self._limit(reached, f"limits.{reached}: {getattr(limits, reached):g}{self._unit(reached)} are spent")

    def _unit(self, limit: str) -> str:
        if limit == "node_hours":
            return " node-hours"
        currency = self._spec.currency
        return f" {currency}" if currency else ""

    def _limit(self, name: str, text: str) -> None:
        self.context.begin()
        self._upkeep([Note("limit", text), *self.context.drain("limit", name)], "limit")
        if self.state.limits.on_limit == "cancel":
            self._cancel_rest("limit")

    def _cancel_rest(self, reason: str) -> None:
        self.context.begin()
        self._upkeep(self.context.cancel_all(reason), reason)

    def _release(self) -> bool:
        """Send out what there is room for; whether jobs were given up instead."""
        self.impact.release = False
        if self.state.dropped or self.state.paused:
            return False
        self.context.begin()
        effects, blocked = self.release.effects(self.context.command)
        self._upkeep(effects, "release")
        if blocked and not self.state.dropped:
            self._limit(blocked, f"limits.{blocked}: what is left does not cover another job")
        return any(isinstance(effect, (Discard, Finish)) for effect in effects)

    def _maybe_end(self, event: Event) -> bool:
        """End when nothing is open; before that, `idle` rules have their turn, as often as they find something."""
        state = self.state
        while state.started >= 0 and state.ended is None and self._quiet():
            if state.held and not state.draining:
                return False
            if not state.draining and self._idle(event):
                if self.impact.release and self._release():
                    return True
                if state.jobs or state.backlog:
                    return False
                continue
            outcome, reason = self._outcome()
            self._upkeep([End(outcome, reason)], "end")
        return False

    def _quiet(self) -> bool:
        state = self.state
        if state.jobs or state.backlog:
            return False
        if state.draining:
            return not any(isinstance(command, (Submit, Call)) for command in state.commands.values())
        if any(isinstance(command, (Submit, Call, Resize)) for command in state.commands.values()):
            return False
        return not any(kind == "cooldown" for _, _, kind, _ in state.timers)

    def _idle(self, event: Event) -> bool:
        before = self._firings
        steps = len(self._steps)
        for rule in self.builder.idle_rules():
            self.impact.awake.append(rule)
        self._rules(event)
        # a held match has set a cooldown or counted a skip: only the former keeps the run open
        return self._firings > before or (len(self._steps) > steps and not self._quiet())

    def _outcome(self) -> tuple[str, str]:
        state = self.state
        if state.limit:
            return "limit", state.limit
        if state.function_error and state.draining not in ("request-drain", "request-cancel"):
            return "failed", f"a function failed: {state.function_error}"
        if state.draining == "stop":
            return "stopped", "by the action `stop`"
        if state.draining == "terminate":
            return "terminated", "by the action `terminate`, or on request"
        if state.draining == "request-drain":
            return "drained", "on request"
        if state.draining == "request-cancel":
            return "cancelled", "on request"
        bad = state.total.failed + state.total.lost
        if bad:
            return "failed", f"{bad} of {state.total.submitted} jobs did not succeed"
        if not any(group.whole.waits.finished.count for group in state.groups.values()):
            return "failed", "no job ran"
        return "success", ""


def _stirred(changed: list[Watch]) -> bool:
    """Whether any rule is to be considered for these values."""
    for watch in changed:
        if watch.general:
            return True
        for thresholds in watch.thresholds.values():
            if thresholds.any_crossed():
                return True
    return False
