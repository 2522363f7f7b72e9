"""The only code that changes the engine's state: where each event and each effect is carried out.

Jobs are in `attempts`, ranges of waiting jobs in `backlog`, members in `membership`; rules and the run as a whole
are here. What an event set off is left in `impact` for `decide`; a replay throws it away. Nothing asks a condition or
draws a random number that matters: the recorded decision has already been made.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from msgspec import convert

from ensemble.engine.attempts import Attempts
from ensemble.engine.backlog import Backlog
from ensemble.engine.build import Builder
from ensemble.engine.calls import Calls
from ensemble.engine.commands import Commands
from ensemble.engine.impact import WAITS, Impact
from ensemble.engine.membership import Membership
from ensemble.engine.rules import Each, Rule, park, unpark
from ensemble.engine.state import Group, State
from ensemble.engine.transitions import SUBMITTED
from ensemble.model.decisions import (
    AddRule,
    Avoid,
    Call,
    CallWaits,
    Cancel,
    Change,
    Create,
    Discard,
    Drain,
    DropCalls,
    End,
    Finish,
    Firing,
    Held,
    Keyed,
    Note,
    Pause,
    Remember,
    Resize,
    Retry,
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
from ensemble.spec.model import LimitsSpec


class Applier:
    """Carries out events and effects on one `State`."""

    __slots__ = (
        "_effects",
        "_events",
        "_timers",
        "attempts",
        "backlog",
        "builder",
        "calls",
        "commands",
        "impact",
        "members",
        "state",
    )

    def __init__(self, state: State, builder: Builder) -> None:
        self.state = state
        self.builder = builder
        self.impact = impact = Impact()
        self.backlog = Backlog(state, builder, impact)
        self.attempts = Attempts(state, builder, impact, self.backlog)
        self.calls = Calls(state, impact)
        self.commands = Commands(state, impact)
        self.members = Membership(state, impact, self.attempts, self.commands)
        self._timers = state.timers
        self._events: dict[type, Callable[[Any], None]] = {
            JobEvent: self.attempts.job,
            NativeEvent: self._native,
            MemberEvent: self.members.event,
            SubmitAnswered: self._answer,
            ResizeDone: self.members.resized,
            FunctionReturned: self._returned,
            TimerFired: self._timer,
            Requested: self._requested,
            Fault: self._nothing,
            RunStarted: self._start,
            RunResumed: self._resumed,
        }
        self._effects: dict[type, Callable[[Any], object]] = {
            Create: self.backlog.create,
            Submit: self.backlog.submit,
            Cancel: self.attempts.cancel,
            Resize: self.members.resize,
            Call: self.calls.begin,
            CallWaits: self.calls.wait,
            DropCalls: self.calls.drop,
            StopMember: self.members.stop,
            Retry: self.attempts.retry,
            Finish: self.attempts.finish,
            Discard: self.backlog.discard,
            AddRule: self._add_rule,
            Change: self._change,
            SwitchAlgorithm: self._switch,
            Avoid: self._avoid,
            Drain: self._drain,
            Pause: self._pause,
            End: self._end,
            Remember: self._remember,
            Keyed: self._keyed,
            Note: self._note,
        }

    # ---- entry points ------------------------------------------------------------------------------

    def event(self, event: Event, at: float) -> None:
        """Take in one event at `at`, and whatever time has made due."""
        self.state.now = at
        self.impact.event = event
        timers = self._timers
        if timers and timers[0][0] <= at:
            self.expire(at)
        self._events[type(event)](event)

    def step(self, step: Step) -> None:
        """Carry out one recorded or just decided step."""
        if isinstance(step, Held):
            self._held(step)
            return
        rule = ""
        if isinstance(step, Firing):
            rule = step.rule
            self._fired(step)
        for effect in step.effects:
            if rule and isinstance(effect, Resize):
                # the rule is not considered again before this has ended
                self.commands.bind(rule, effect.id)
            self._effects[type(effect)](effect)
        self.backlog.mix(step.effects)

    # ---- rules -------------------------------------------------------------------------------------

    def _fired(self, firing: Firing) -> None:
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

    def _held(self, held: Held) -> None:
        """Note that a match did not fire."""
        rule = self.state.rules[held.rule]
        if held.by == "backoff":
            rule.skip = held.left
        elif held.by == "cooldown":
            rule.until = held.until
            park(rule)
            heappush(self._timers, (held.until, rule.order, "cooldown", rule.id))
        elif held.by == "ending":
            self.state.refused[rule.id] = None

    def expire(self, at: float) -> None:
        """Do what time has made due."""
        timers = self._timers
        while timers and timers[0][0] <= at:
            when, _, kind, name = heappop(timers)
            if kind == "retry":
                job = self.state.jobs.get(name)
                if job is not None and job.code < SUBMITTED:
                    job.group.ready.append(name)
                    self.impact.release = True
                continue
            rule = self.state.rules.get(name)
            if rule is None or rule.removed:
                continue
            if kind == "cooldown":
                rule.until = 0.0
                unpark(rule)
                self.impact.due.append(rule)
            elif kind == "interval" and not rule.exhausted:
                self._next_interval(rule, when, at)

    def _next_interval(self, rule: Rule, when: float, at: float) -> None:
        seconds = rule.spec.seconds
        # a run that slept through several periods gets one firing, not a burst
        rule.interval_at = when + seconds * max(1, int((at - when) / seconds) + 1)
        heappush(self._timers, (rule.interval_at, rule.order, "interval", rule.id))
        self.impact.due.append(rule)

    def _begin_interval(self, rule: Rule) -> None:
        rule.interval_at = self.state.now + rule.spec.seconds
        heappush(self._timers, (rule.interval_at, rule.order, "interval", rule.id))

    def _add_rule(self, effect: AddRule) -> None:
        for rule in self.builder.add_rule(effect.id, effect.rule, effect.owner):
            if rule.trigger == "interval":
                self._begin_interval(rule)
            elif rule.trigger in ("metric", "start"):
                self.impact.due.append(rule)

    def _switch(self, effect: SwitchAlgorithm) -> None:
        state = self.state
        known: list[Rule | Each] = [*state.rules.values(), *state.each]
        self.builder.remove_rules({rule.id for rule in known if rule.owner.startswith("algorithm:")})
        state.algorithm = effect.name
        state.memory.pop("algorithm", None)
        self.state.algorithm_options = dict(effect.options)
        self.state.switches += 1

    def _change(self, effect: Change) -> None:
        state = self.state
        if effect.limits is not None:
            state.limits = convert(effect.limits, LimitsSpec)
            if state.limits.walltime:
                heappush(self._timers, (state.started + state.limits.walltime, 0, "limit", "walltime"))
            self.impact.release = True
        self.builder.remove_rules(set(effect.removed))
        for size in effect.sizes:
            state.members[size.member].sizes = size

    # ---- events ------------------------------------------------------------------------------------

    def _nothing(self, event: Event) -> None:
        pass

    def _start(self, event: RunStarted) -> None:
        state = self.state
        state.run = event.run
        state.run_dir = event.run_dir
        state.seed = event.seed
        state.started = state.now
        state.held = event.held
        for rule in state.rules.values():
            if rule.trigger == "start":
                self.impact.awake.append(rule)
            elif rule.trigger == "interval":
                self._begin_interval(rule)
        limit = state.limits.walltime
        if limit:
            heappush(self._timers, (state.now + limit, 0, "limit", "walltime"))

    def _resumed(self, event: RunResumed) -> None:
        self.state.held = event.held

    def _requested(self, event: Requested) -> None:
        if event.what == "release":
            self.state.held = False

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
            self.impact.wake(group, job.point if job is not None else None, "job-native-" + event.name, job)

    def _answer(self, event: SubmitAnswered) -> None:
        if not self.commands.close(event.command):
            return
        for key, attempt, reason, transient in event.refused:
            job = self.state.jobs.get(key)
            if job is not None and job.attempt == attempt and job.code == SUBMITTED:
                why = "later" if transient else "refused"
                over = JobEvent(event.member, key, "inactive", outcome="failed", reason=why, text=reason)
                self.attempts.lose(job, over)

    def _returned(self, event: FunctionReturned) -> None:
        state = self.state
        call = state.commands.get(event.command)
        if isinstance(call, Call):
            if event.command in state.calls:
                # of a snapshot of version 0.1, whose rules waited for their calls
                self.commands.release(event.command)
            self.calls.end(event)
            self.impact.asked = call.rule
            self.impact.release = True

    def _timer(self, event: TimerFired) -> None:
        if not event.heartbeat:
            return
        for group in self.state.groups.values():
            for cell in group.cells.values():
                if cell.watch is not None and cell.waits.waiting.count:
                    self.impact.touch(cell, WAITS)

    # ---- effects on the run as a whole -------------------------------------------------------------

    def _avoid(self, effect: Avoid) -> None:
        self.state.avoid = tuple(dict.fromkeys((*self.state.avoid, *effect.hosts)))

    def _drain(self, effect: Drain) -> None:
        state = self.state
        state.draining = effect.reason
        if effect.limit:
            state.limit = effect.limit
        state.terminating = state.terminating or effect.reason == "terminate"
        if effect.drop:
            state.dropped = True
            for name in state.groups:
                self.backlog.discard(Discard(name))
            self.attempts.drop_waiting(effect.reason)

    def _pause(self, effect: Pause) -> None:
        self.state.paused = effect.on
        self.impact.release = self.impact.release or not effect.on

    def _end(self, effect: End) -> None:
        for member in self.state.members.values():
            self.members.charge_held(member)
        self.state.ended = effect

    def _remember(self, effect: Remember) -> None:
        self.state.memory[effect.owner] = effect.data

    def _keyed(self, effect: Keyed) -> None:
        self.state.keys[effect.key] = effect.spans

    def _note(self, effect: Note) -> None:
        self.state.notes[effect.name] = self.state.notes.get(effect.name, 0) + 1
