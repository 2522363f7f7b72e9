"""Which Flux job executes each attempt, by the job manager's journal. Needs no Flux."""

from __future__ import annotations

__all__ = ["Register"]

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ensemble.members.flux.entries import Entry, Event, Mark
from ensemble.members.flux.job import FluxJob
from ensemble.model.events import JobEvent, NativeEvent
from ensemble.model.jobs import FINISHED

Ref = tuple[str, int]

_STATES: Final = {
    "submit": "depend", "depend": "sched", "alloc": "run", "start": "run", "finish": "cleanup", "exception": "cleanup",
}  # fmt: skip
"""The queue's state of a job after an event, as it is counted."""


class Register:
    """Every job that bears our token. Of all that bear one ref the first in the journal executes it.

    `named` writes a job's id as people do; `released` are the jobs that were released before, by ref; `wanted` are the
    names of native events that rules wait for (`*`: all).
    """

    def __init__(
        self,
        member: str,
        token: str,
        released: Mapping[Ref, int],
        named: Callable[[int], str],
        wanted: Sequence[str] = (),
    ) -> None:
        self._member, self._token, self._named, self._wanted = member, token, named, frozenset(wanted)
        self.released = dict(released)
        self.jobs: dict[int, FluxJob] = {}
        """Those that are not over, by id."""
        self.first: dict[Ref, int] = {}
        """The job that executes each ref."""
        self.ends: dict[Ref, JobEvent] = {}
        self.unread: dict[Ref, Mark] = {}
        """Ends that still lack what the job's own files say."""
        self.accepted: dict[Ref, str] = {}
        """Flux' id for the job of each ref that it has taken; empty where the job never reached Flux."""
        self.to_release: list[FluxJob] = []
        self.doubles: list[int] = []
        """Jobs to cancel: another executes their ref."""
        self.active: dict[int, str] = {}
        """The state of every active job of the instance, whoever's."""
        self.ending = False
        """The instance ends, and cancels what runs in it."""
        self.inactive = 0
        """How many jobs of the instance are over."""

    def learn(self, history: Sequence[Entry]) -> None:
        """Take in the journal's past, in whatever order the jobs come."""
        mine: dict[int, list[Entry]] = {}
        for entry in history:
            self.count(entry)
            if entry.id in mine or (entry.jobspec is not None and entry.jobspec.mark(self._token) is not None):
                mine.setdefault(entry.id, []).append(entry)
        taken_in = {number: entries[0].events[0].timestamp for number, entries in mine.items() if entries[0].events}
        for number in sorted(taken_in, key=lambda number: (taken_in[number], number)):
            for entry in mine[number]:
                self.follow(entry, quiet=True)
        for ref, number in self.released.items():
            if number not in self.jobs and ref not in self.ends:
                self.first[ref] = number
                self.accepted[ref] = self._named(number)
                self.ends[ref] = self._forgotten(ref, number)

    def _forgotten(self, ref: Ref, number: int) -> JobEvent:
        """The end of a job that was released, and that Flux has forgotten since."""
        text = "Flux no longer knows it: its instance has ended, or its record was purged"
        return JobEvent(
            self._member, ref[0], FINISHED, time.time(), attempt=ref[1], outcome="lost", reason="infrastructure",
            native_id=self._named(number), text=text,
        )  # fmt: skip

    def count(self, entry: Entry) -> None:
        """Keep count of every job of the instance by its state."""
        for event in entry.events:
            if event.name == "clean":
                self.active.pop(entry.id, None)
                self.inactive += 1
            elif event.name in _STATES:
                self.active[entry.id] = _STATES[event.name]

    def follow(self, entry: Entry, quiet: bool = False) -> list[JobEvent | NativeEvent]:
        """Take one entry into account; return the events for the engine, ends still without what is in files."""
        if entry.jobspec is not None and entry.id not in self.jobs:
            mark = entry.jobspec.mark(self._token)
            if mark is None or not self._executes(entry.id, mark, str(entry.jobspec.attributes.system.queue)):
                return []
        job = self.jobs.get(entry.id)
        if job is None:
            return []
        hosts = entry.R.execution.nodelist if entry.R is not None else ()
        found: list[JobEvent | NativeEvent] = []
        for event in entry.events:
            if not quiet and (event.name in self._wanted or "*" in self._wanted):
                found.append(self._native(job, event))
            if self.ending and event.name == "exception" and job.exception is None:
                job.evicted = True
            change = job.take(event, hosts)
            if change is not None:
                found.append(change)
                if change.state == FINISHED:
                    self._over(job, change)
        return found

    def _native(self, job: FluxJob, event: Event) -> NativeEvent:
        key, attempt = job.ref
        return NativeEvent(self._member, key, event.name, event.timestamp, attempt=attempt, data=event.context)

    def _over(self, job: FluxJob, end: JobEvent) -> None:
        del self.jobs[job.id]
        self.ends[job.ref] = end
        if job.mark.in_files:
            self.unread[job.ref] = job.mark

    def _executes(self, number: int, mark: Mark, queue: str) -> bool:
        """Whether this is the job that executes its ref."""
        ref = (mark.key, mark.attempt)
        if self.first.setdefault(ref, self.released.get(ref, number)) != number:
            self.doubles.append(number)
            return False
        self.accepted[ref] = name = self._named(number)
        self.jobs[number] = job = FluxJob(self._member, ref, number, name, mark, queue)
        self.to_release.append(job)
        return True
