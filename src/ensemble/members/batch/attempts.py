"""What is known of every attempt. Each change is made durable first, and then sent to the engine."""

from __future__ import annotations

__all__ = ["Attempt", "Attempts", "was_killed"]

import asyncio
import math
import os
import signal
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ensemble.members.batch.dialect import Dialect
from ensemble.members.batch.spool import Array, Ref, Report, Spool
from ensemble.members.contract import Context
from ensemble.members.kit.figures import read_figures
from ensemble.members.kit.files import JobFiles, remove_unkept
from ensemble.members.kit.outbox import Outbox
from ensemble.model.events import JobEvent
from ensemble.model.jobs import JobSpec

_ORDER: Final = {"submitted": 0, "sched": 1, "run": 2, "inactive": 3}
_FIGURES: Final = msgspec.json.Decoder(tuple[dict[str, Any], list[str]])


class Attempt:
    """What is known of one attempt."""

    __slots__ = (
        "array", "cancelled", "end", "ended_at", "incarnation", "kill_at", "killed", "native", "spec", "start",
        "state", "stopped", "waiting_at",
    )  # fmt: skip

    def __init__(self, spec: JobSpec, native: str, array: str = "") -> None:
        self.spec = spec
        self.native = native
        self.array = array
        """The name of the array that it was submitted in."""
        self.state = "submitted"
        self.start = 0.0
        self.incarnation = 0
        self.cancelled = False
        """On our request."""
        self.kill_at = 0.0
        """When a cancelled one is killed (seconds since the epoch)."""
        self.end: JobEvent | None = None
        self.ended_at = 0.0
        """When the queue was first seen to say that it is over while its script had not (our monotonic clock)."""
        self.stopped = False
        """Its script was ended from outside, and the queue has not reported yet what follows."""
        self.killed = False
        """Its record says that a signal ended it which is not of our doing; the queue says whether that counts."""
        self.waiting_at = -math.inf
        """When it was last known to wait in the queue (our monotonic clock)."""


def was_killed(event: JobEvent) -> bool:
    """Whether an event is of a job that SIGTERM or SIGKILL ended, and not on our request.

    It may have been the queue, which does not know the job any more: then it is lost, and has not failed.
    """
    return event.outcome == "failed" and event.reason == "signal" and event.signal in (signal.SIGTERM, signal.SIGKILL)


def _legible(figures: str) -> bool:
    try:
        _FIGURES.decode(figures)
    except msgspec.MsgspecError:
        return False
    return True


class Attempts:
    """The attempts of one opening. A report becomes durable in the spool's log before the engine learns of it."""

    def __init__(self, context: Context, dialect: Dialect) -> None:
        self.context = context
        self.dialect = dialect
        self.spool = Spool(context.run_dir, dialect.folder, context.name)
        self.known: dict[Ref, Attempt] = {}
        self.open: set[Ref] = set()
        self.unsettled: list[Array] = []
        """Arrays of which nobody knows whether the queue has them."""
        self.outbox = Outbox(context.name, context.sink)
        self.ask = asyncio.Event()
        """Set when the queue should be asked soon."""
        self._keeping = asyncio.Lock()

    def remember(self) -> None:
        """Read what earlier openings knew. Raises `OSError`."""
        for array in self.spool.arrays():
            for number, spec in enumerate(array.jobs):
                native = self.dialect.task_id(array.native, number, len(array.jobs)) if array.native else ""
                self.known[spec.ref.key, spec.ref.attempt] = Attempt(spec, native, array.id)
            if not array.native:
                self.unsettled.append(array)
        for entry in self.spool.remembered():
            if isinstance(entry, JobEvent):
                attempt = self.known.get((entry.key, entry.attempt))
                if attempt is not None:
                    self.move(attempt, entry)
            elif entry.ref in self.known:
                self.known[entry.ref].cancelled, self.known[entry.ref].kill_at = True, entry.until
        self.open = {ref for ref, attempt in self.known.items() if attempt.end is None}

    def add(self, spec: JobSpec, array: str = "") -> None:
        """Know a new attempt, whose id the queue has not given yet."""
        ref = (spec.ref.key, spec.ref.attempt)
        self.known[ref] = Attempt(spec, "", array)
        self.open.add(ref)

    def forget(self, ref: Ref) -> None:
        """Give up an attempt that the queue never got."""
        self.known.pop(ref, None)
        self.open.discard(ref)

    async def take_in(self, reports: list[Report], quiet: bool = False) -> None:
        """Follow new reports; `quiet`: the engine learns of them by an inventory. Raises `OSError`."""
        await asyncio.to_thread(self.read_missing_figures, reports)
        events = []
        for report in reports:
            if report.ref not in self.open:
                continue
            event = None if report.stopped else self.event_of(report)
            if report.stopped:
                self.known[report.ref].stopped = True
                self.ask.set()
            elif event is not None and was_killed(event):
                # its record is kept, and counts once the queue was asked
                self.known[report.ref].killed = True
                self.ask.set()
            elif event is not None:
                events.append(event)
        await self.keep(events, reports, quiet)

    def read_missing_figures(self, reports: list[Report]) -> None:
        """Where the node could not read a job's figures, read them here."""
        for report in reports:
            attempt = self.known.get(report.ref)
            if attempt is None or not attempt.spec.outputs:
                report.fields.pop("figures", None)
            elif report.ended and not _legible(report.fields.get("figures", "")):
                files = JobFiles(self.context.run_dir, *report.ref)
                workdir = os.path.join(self.context.run_dir, attempt.spec.workdir)
                found = read_figures(attempt.spec.outputs, workdir, files.stdout, files.stderr)
                report.fields["figures"] = msgspec.json.encode(found).decode()

    def event_of(self, report: Report) -> JobEvent | None:
        """What a report says of its attempt; None when a later restart has begun, or nobody can read it."""
        try:
            return self._read(report)
        except ValueError:
            return None

    def _read(self, report: Report) -> JobEvent | None:
        fields, attempt = report.fields, self.known[report.ref]
        incarnation = int(fields.get("incarnation") or 0)
        if incarnation < attempt.incarnation:
            return None  # of a restart that the queue has given up
        start = float(fields.get("start") or 0)
        common: dict[str, Any] = {
            "incarnation": incarnation,
            "native_id": fields.get("job", ""),
            "hosts": fields.get("host", ""),
        }
        if not report.ended:
            return self.event(report.ref, "run", start, **common)
        code, reason, number, outcome = int(fields.get("code") or -1), fields.get("reason", ""), 0, "success"
        if code:
            outcome = "failed"
            if not reason and 128 < code <= 192:
                reason, number, code = "signal", code - 128, -1
            reason = reason or "exit"
            if attempt.cancelled:
                outcome = reason = "cancelled"
        figures, missing = _FIGURES.decode(fields.get("figures") or "[{}, []]")
        return self.event(
            report.ref, "inactive", max(start, float(fields.get("end") or 0)), outcome=outcome, reason=reason,
            exit_code=code, signal=number, start=start, figures=figures or None, missing=tuple(missing),
            text=fields.get("text", ""), **common,
        )  # fmt: skip

    def event(self, ref: Ref, state: str, at: float, **fields: Any) -> JobEvent:
        """An event of an attempt, in this member's name."""
        return JobEvent(self.context.name, ref[0], state, at, attempt=ref[1], **fields)

    @staticmethod
    def move(attempt: Attempt, event: JobEvent) -> None:
        """Let an attempt follow an event, never back: logs of one engine are read in no particular order."""
        before = (attempt.incarnation, _ORDER[attempt.state])
        if attempt.end is not None or (event.incarnation, _ORDER[event.state]) <= before:
            return
        attempt.state, attempt.incarnation = event.state, event.incarnation
        attempt.native, attempt.ended_at = event.native_id or attempt.native, 0.0
        if event.state == "inactive":
            attempt.end = event
        elif event.state == "run":
            attempt.start = event.time

    async def keep(self, events: list[JobEvent], reports: Sequence[Report] = (), quiet: bool = False) -> None:
        """Make events of open attempts durable, follow them, and send them to the engine. Raises `OSError`.

        A slow file system keeps nobody else waiting. Broken off, what is being written is written to its end, and then
        known to a later opening only.
        """
        if not events and not reports:
            return
        async with self._keeping:
            events = [event for event in events if (event.key, event.attempt) in self.open]
            writing = asyncio.ensure_future(asyncio.to_thread(self._store, events, reports))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait([writing])
                raise
            for event in events:
                self._follow(event, quiet)

    async def mark_cancelled(self, refs: Sequence[Ref], until: float) -> None:
        """Let the nodes and later openings know that the signal which comes is ours, and when the jobs are killed (in
        seconds since the epoch). Raises `OSError`."""
        for ref in refs:
            self.known[ref].cancelled, self.known[ref].kill_at = True, until
        async with self._keeping:
            await asyncio.shield(asyncio.to_thread(self.spool.mark_cancelled, refs, until))

    def _store(self, events: list[JobEvent], reports: Sequence[Report]) -> None:
        # not that of a restart which the queue has given up: there another still runs
        records = {one.name for one in reports if one.ended and one.ref in self.known and self.event_of(one)}
        self.spool.take(({"event": msgspec.to_builtins(event)} for event in events), reports, records)
        for event in events:
            spec = self.known[event.key, event.attempt].spec
            if event.state == "inactive":
                remove_unkept(spec.keep, event.outcome, os.path.join(self.context.run_dir, spec.workdir))

    def _follow(self, event: JobEvent, quiet: bool) -> None:
        ref = (event.key, event.attempt)
        if ref not in self.open:
            return  # two found its end at once
        self.move(self.known[ref], event)
        if event.state == "inactive":
            self.open.discard(ref)
        if not quiet:
            self.outbox.put(event)
