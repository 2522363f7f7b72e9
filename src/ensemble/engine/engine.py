"""The engine: a pure state machine in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from msgspec.structs import replace

from ensemble.engine.algorithm import Algorithm
from ensemble.engine.apply import Applier
from ensemble.engine.budget import Budget
from ensemble.engine.build import Builder
from ensemble.engine.calls import Takes
from ensemble.engine.commands import Command, commands_of, open_commands
from ensemble.engine.decide import Decider
from ensemble.engine.explain import RuleExplanation, explain
from ensemble.engine.facts import described, facts, find
from ensemble.engine.invariants import check
from ensemble.engine.plan import Plan
from ensemble.engine.snapshot import restore, snapshot
from ensemble.engine.state import State
from ensemble.engine.status import Status, at_rest, status
from ensemble.engine.view import EngineView
from ensemble.model.decisions import End, Record
from ensemble.model.errors import JournalError
from ensemble.model.events import Event, JobEvent
from ensemble.spec.model import EnsembleSpec, LimitsSpec


class Engine:
    """Takes events, returns records; knows everything about one run and touches nothing outside itself.

    `handle` decides and applies (live, once per event); `apply` carries out a record that was decided before
    (resume). A run's first event is `RunStarted`.
    """

    __slots__ = (
        "_applier",
        "_budget",
        "_builder",
        "_decide",
        "_impact",
        "_job",
        "_timers",
        "spec",
        "state",
        "takes",
    )

    def __init__(self, spec: EnsembleSpec, *, run: str = "", algorithms: Mapping[str, Algorithm] | None = None) -> None:
        self.spec = spec
        self.state = State()
        self.state.run = run
        self._builder = Builder(Plan(spec, algorithms or {}), self.state)
        self._applier = Applier(self.state, self._builder)
        self._decide = Decider(self.state, self._builder, self._applier).decide
        self._job = self._applier.attempts.job
        self._timers = self.state.timers
        self._budget = Budget(self.state, self._builder)
        self._impact = self._applier.impact
        self.takes: Takes = {}
        """What each function names in its signature: a call is given nothing else of what is costly to work out."""

    def handle(self, event: Event, at: float) -> Record:
        """Take in one event at `at` (seconds, never less than before) and decide what follows.

        Returns the record to be journaled; its commands may be sent once it is durable.
        """
        state = self.state
        state.seq = seq = state.seq + 1
        if type(event) is JobEvent:
            times = event.time + event.start
            # figures are checked one by one; of the times, a difference that is not 0 means infinity or NaN
            if event.figures or times - times != 0.0:
                event = _finite(event, at)
            # here directly, not by way of `Applier.event`: nine of ten events go this way and no further
            state.now = at
            timers = self._timers
            if timers and timers[0][0] <= at:
                self._applier.expire(at)
            self._impact.event = event
            self._job(event)
        else:
            self._applier.event(event, at)
        return Record(seq, at, event, self._decide(event))

    def apply(self, record: Record) -> None:
        """Carry out a recorded event and its recorded decision.

        Raises `JournalError` when the record is not the next one.
        """
        state = self.state
        if record.seq != state.seq + 1:
            raise JournalError(f"record {record.seq} does not follow record {state.seq}")
        state.seq = record.seq
        applier = self._applier
        applier.event(record.event, record.at)
        for step in record.steps:
            applier.step(step)
        applier.impact.clear()

    def wakeup(self) -> float | None:
        """The time at which a `TimerFired` is wanted next; None when time alone changes nothing."""
        if self.state.ended is not None:
            return None
        timers = self.state.timers
        limit = self._budget.wakeup()
        if not timers:
            return limit
        return timers[0][0] if limit is None else min(timers[0][0], limit)

    @property
    def seq(self) -> int:
        """The number of the last record that was decided or applied."""
        return self.state.seq

    @property
    def ended(self) -> End | None:
        """How the run ended, once it has."""
        return self.state.ended

    @property
    def at_rest(self) -> bool:
        """Whether a pause has come to its end: nothing runs and no answer is awaited; what waits is kept."""
        return at_rest(self.state)

    @property
    def waiting(self) -> bool:
        """Whether any job waits in a queue (so that a heartbeat would find something older)."""
        return any(group.whole.waits.waiting.count for group in self.state.groups.values())

    @property
    def view(self) -> EngineView:
        """What may be known of the run beyond its status. It follows the engine."""
        return EngineView(self.state, self._builder)

    def commands(self, record: Record) -> list[Command]:
        """The commands of a record that was just decided on, each complete.

        What is needed to send them is taken from the state as it is now, so ask before the next event is handled; they
        may be sent, once the record is durable, at any later time.
        """
        return commands_of(record, self.state, self._builder, self.takes) if record.steps else []

    def open_commands(self, member: str = "") -> list[Command]:
        """Everything asked for and not answered, in the order in which it was asked, each complete as of now.

        With `member`, only what that member was asked for.
        """
        return open_commands(self.state, self._builder, self.takes, member)

    # ---- single jobs -------------------------------------------------------------------------------

    def on_job_end(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Call `tell` with each job that is over for good, as `job` returns it, while events and records come."""
        self._impact.on_end = lambda job: tell(described(self.state, self._builder, facts(job)))

    def job(self, key: str) -> dict[str, Any] | None:
        """A job that is not over: key, group, parameters, attempt and directory; None when there is none."""
        found = find(self.state, key)
        return None if found is None else described(self.state, self._builder, found)

    def keyed(self, key: str) -> tuple[str, ...] | None:
        """The jobs that a request under this key made; None when there was no such request."""
        spans = self.state.keys.get(key)
        if spans is None:
            return None
        return tuple(f"{one.group}-{number}" for one in spans for number in range(one.first, one.first + one.count))

    @property
    def limits(self) -> LimitsSpec:
        """The ceilings as they are now: a changed file may have others than the run began with."""
        return self.state.limits

    @property
    def busy(self) -> bool:
        """Whether a job, a call of a function or a command is open: something may still follow by itself."""
        state = self.state
        return bool(state.jobs or state.backlog or state.commands)

    @property
    def draining(self) -> str:
        """Why nothing new starts any more; empty while it does."""
        return self.state.draining

    def status(self, *, points: bool = True) -> Status:
        """The run as of its last event: groups, points, members, rules, money.

        Whoever looks often leaves out the `points`: of a run with 10,000 of them nearly all of the time goes there.
        """
        return status(self.state, self._builder, points)

    def explain(self, rule: str = "") -> list[RuleExplanation]:
        """Why a rule (or each) fired or did not, as of now."""
        return explain(self.state, self._builder, rule)

    def check(self) -> None:
        """Verify every invariant. Raises `InvariantError`: a bug of ours."""
        check(self.state, self._builder)

    def snapshot(self) -> dict[str, Any]:
        """Everything that has happened, as plain data for JSON."""
        return snapshot(self.state, self._builder)

    @classmethod
    def restore(
        cls, spec: EnsembleSpec, data: dict[str, Any], algorithms: Mapping[str, Algorithm] | None = None
    ) -> Engine:
        """An engine as it was when `snapshot` was taken. Raises `ValueError` for a format it does not know."""
        engine = cls(spec, algorithms=algorithms)
        restore(data, engine.state, engine._builder)
        return engine


def _finite(event: JobEvent, at: float) -> JobEvent:
    """The event as a record may hold it, for JSON has neither infinity nor NaN.

    A figure that is not a finite number counts as missing, a time that is not is `at`, and a start that is not is
    unknown.
    """
    if not isfinite(event.time):
        event = replace(event, time=at)
    if not isfinite(event.start):
        event = replace(event, start=0.0)
    if event.figures and not all(map(isfinite, event.figures.values())):
        good = {name: value for name, value in event.figures.items() if isfinite(value)}
        bad = (name for name in event.figures if name not in good)
        event = replace(event, figures=good or None, missing=tuple(dict.fromkeys((*event.missing, *bad))))
    return event
