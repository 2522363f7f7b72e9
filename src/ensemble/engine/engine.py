"""The engine: a pure state machine in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ensemble.engine.algorithm import Algorithm
from ensemble.engine.apply import Applier
from ensemble.engine.build import Builder
from ensemble.engine.calls import Takes, arguments
from ensemble.engine.decide import Decider
from ensemble.engine.explain import RuleExplanation, explain
from ensemble.engine.facts import described, facts, find
from ensemble.engine.invariants import check
from ensemble.engine.snapshot import restore, snapshot
from ensemble.engine.sound import sound
from ensemble.engine.state import INACTIVE, NEW, State
from ensemble.engine.status import Status, status
from ensemble.model.decisions import Call, Cancel, End, Record, Resize, StopMember, Submit
from ensemble.model.errors import JournalError
from ensemble.model.events import Event, JobEvent
from ensemble.model.jobs import JobSpec
from ensemble.spec.model import EnsembleSpec

Command = Submit | Cancel | Resize | Call | StopMember


class Engine:
    """Takes events, returns records; knows everything about one run and touches nothing outside itself.

    `handle` decides and applies (live, once per event); `apply` carries out a record that was decided before
    (resume). A run's first event is `RunStarted`.
    """

    __slots__ = (
        "_applier",
        "_begun",
        "_builder",
        "_decide",
        "_given",
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
        self._builder = Builder(spec, self.state, algorithms or {})
        self._applier = Applier(self.state, self._builder)
        self._decide = Decider(self.state, self._builder, self._applier).decide
        self._job = self._applier.attempts.job
        self._timers = self.state.timers
        self._impact = self._applier.impact
        self._begun = self._applier.calls.begun
        self._given: dict[int, dict[str, Any]] = {}
        self.takes: Takes | None = None
        """What each function names in its signature. With it, what a call is given is worked out as the call is
        issued, and kept until `arguments` asks for it."""

    def handle(self, event: Event, at: float, cause: int = 0) -> Record:
        """Take in one event at `at` (seconds, never less than before) and decide what follows.

        Returns the record to be journaled; its commands may be sent once it is durable.
        """
        state = self.state
        state.seq = seq = state.seq + 1
        if type(event) is JobEvent:
            times = event.time + event.start
            # a figure is looked at one by one; of the times, a difference that is not 0 tells of infinity or NaN
            if event.figures or times - times != 0.0:
                event = sound(event, at)
            # here directly, not by way of `Applier.event`: nine of ten events go this way and no further
            state.now = at
            timers = self._timers
            if timers and timers[0][0] <= at:
                self._applier.expire(at)
            self._impact.event = event
            self._job(event)
        else:
            self._applier.event(event, at)
        record = Record(seq, at, event, self._decide(event), cause)
        if self._begun:
            if self.takes is not None:
                for call in self._begun:
                    self._given[call.id] = arguments(state, self._builder, call, self.takes)
            self._begun.clear()
        return record

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
        self._begun.clear()

    def wakeup(self) -> float | None:
        """The time at which a `TimerFired` is wanted next; None when time alone changes nothing."""
        timers = self.state.timers
        return timers[0][0] if timers and self.state.ended is None else None

    @property
    def ended(self) -> End | None:
        """How the run ended, once it has."""
        return self.state.ended

    @property
    def seq(self) -> int:
        """The number of the last record that was decided or applied."""
        return self.state.seq

    @property
    def waiting(self) -> bool:
        """Whether any job waits in a queue (so that a heartbeat would find something older)."""
        return any(group.whole.waits.waiting.count for group in self.state.groups.values())

    def open_commands(self) -> list[Command]:
        """Everything asked for and not answered, in the order in which it was asked. Cancels are answered by the
        end of their jobs, so they are asked again for those that have not ended."""
        found: list[Command] = list(self.state.commands.values())
        by_member: dict[str, list[tuple[str, int]]] = {}
        for job in self.state.jobs.values():
            if job.cancelling and NEW < job.code < INACTIVE:
                by_member.setdefault(job.member, []).append((job.key, job.attempt))
        found += [Cancel(0, member, tuple(refs), 10.0, "resume") for member, refs in by_member.items()]
        return found

    def open_refs(self, member: str) -> list[tuple[str, int]]:
        """(key, attempt) of every job that a member is thought to hold."""
        return [
            (job.key, job.attempt)
            for job in self.state.jobs.values()
            if job.member == member and NEW < job.code < INACTIVE
        ]

    def job_specs(self, submit: Submit) -> list[JobSpec]:
        """The full description of each job of a submission, in order. Jobs that have ended since are left out."""
        state = self.state
        found = []
        for span in submit.spans:
            group = state.groups[span.group]
            point = group.points[span.point]
            for number in range(span.first, span.first + span.count):
                job = state.jobs.get(f"{span.group}-{number}")
                if job is not None and job.attempt == span.attempt and job.code != NEW:
                    avoid = state.avoid + job.avoid
                    found.append(self._builder.job_spec(group, point, number, span.attempt, avoid))
        return found

    def arguments(self, call: Call) -> dict[str, Any]:
        """What a function is given, as plain data: as of when its call was issued, or as of now after a resume."""
        given = self._given.pop(call.id, None)
        return arguments(self.state, self._builder, call, self.takes or {}) if given is None else given

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
    def busy(self) -> bool:
        """Whether a job, a call of a function or a command is open: something may still follow by itself."""
        state = self.state
        return bool(state.jobs or state.backlog or state.commands)

    @property
    def draining(self) -> str:
        """Why nothing new starts any more; empty while it does."""
        return self.state.draining

    def position(self, member: str) -> tuple[str, int]:
        """The stream of a member and the number of its last event that was taken in."""
        known = self.state.members[member]
        return known.stream, known.position

    def status(self) -> Status:
        """How the run stands."""
        return status(self.state, self._builder)

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
