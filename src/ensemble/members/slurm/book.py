"""What is known of every attempt, and what of it the engine has still to be told."""

from __future__ import annotations

__all__ = ["Book", "Ref", "Task"]

import asyncio
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ensemble.members.contract import Context
from ensemble.members.kit.figures import read_figures
from ensemble.members.kit.files import JobFiles
from ensemble.members.slurm.spool import Ref, Report, Shipment, Spool
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import JobSpec

_ORDER: Final = {"submitted": 0, "sched": 1, "run": 2, "inactive": 3}
_FIGURES: Final = msgspec.json.Decoder(tuple[dict[str, Any], list[str]])


class Task:
    """What is known of one attempt."""

    __slots__ = (
        "cancelled", "end", "ended_at", "incarnation", "mercy", "native", "shipment", "spec", "start", "state",
        "stopped", "waiting_at",
    )  # fmt: skip

    def __init__(self, spec: JobSpec, native: str, shipment: str = "") -> None:
        self.spec = spec
        self.native = native
        self.shipment = shipment
        self.state = "submitted"
        self.start = 0.0
        self.incarnation = 0
        self.cancelled = False
        self.mercy = 0.0
        """Until when a cancelled one may end by itself (seconds since the epoch)."""
        self.end: JobEvent | None = None
        self.ended_at = 0.0
        """When Slurm was first seen to say that it is over while its script had not (our monotonic clock)."""
        self.stopped = False
        """Its script was ended from outside, and the queue has not told yet what follows."""
        self.waiting_at = -math.inf
        """When it was last known to wait in the queue (our monotonic clock)."""


def _legible(figures: str) -> bool:
    try:
        _FIGURES.decode(figures)
    except msgspec.MsgspecError:
        return False
    return True


class Book:
    """The attempts of one opening. What moves them is durable in the spool's log first; then it waits in `outbox`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.spool = Spool(context.run_dir, context.name)
        self.tasks: dict[Ref, Task] = {}
        self.open: set[Ref] = set()
        self.unsettled: list[Shipment] = []
        """Arrays of which nobody knows whether Slurm has them."""
        self.outbox: deque[JobEvent | MemberEvent] = deque()
        self.news = asyncio.Event()
        self.told = asyncio.Event()
        """Set when the outbox is empty or the member goes down."""
        self.ask = asyncio.Event()
        """Set where the queue should be looked at soon."""
        self.down = ""
        """Why nothing can be done any more."""
        self._n = 0
        self._keeping = asyncio.Lock()

    def remember(self) -> None:
        """Read what earlier openings knew. Raises `OSError`."""
        for shipment in self.spool.shipments():
            for number, spec in enumerate(shipment.jobs):
                ref = (spec.ref.key, spec.ref.attempt)
                self.tasks[ref] = Task(spec, f"{shipment.native}_{number}" if shipment.native else "", shipment.id)
            if not shipment.native:
                self.unsettled.append(shipment)
        for entry in self.spool.remembered():
            if isinstance(entry, JobEvent):
                task = self.tasks.get((entry.key, entry.attempt))
                if task is not None:
                    self.move(task, entry)
            elif entry.ref in self.tasks:
                self.tasks[entry.ref].cancelled, self.tasks[entry.ref].mercy = True, entry.until
        self.open = {ref for ref, task in self.tasks.items() if task.end is None}

    async def take_in(self, reports: list[Report], quiet: bool = False) -> None:
        """Follow what the spool has new; `quiet`: the engine learns of it by an inventory. Raises `OSError`."""
        await asyncio.to_thread(self.read_missing_figures, reports)
        for report in reports:
            if report.stopped and report.ref in self.open:
                self.tasks[report.ref].stopped = True
                self.ask.set()
        found = (self.event_of(report) for report in reports if report.ref in self.open and not report.stopped)
        await self.keep([event for event in found if event is not None], reports, quiet)

    def read_missing_figures(self, reports: list[Report]) -> None:
        """Where the node could not read a job's figures, read them here."""
        for report in reports:
            task = self.tasks.get(report.ref)
            if task is None or not task.spec.outputs:
                report.fields.pop("figures", None)
            elif report.ended and not _legible(report.fields.get("figures", "")):
                files = JobFiles(self.context.run_dir, *report.ref)
                workdir = os.path.join(self.context.run_dir, task.spec.workdir)
                found = read_figures(task.spec.outputs, workdir, files.stdout, files.stderr)
                report.fields["figures"] = msgspec.json.encode(found).decode()

    def event_of(self, report: Report) -> JobEvent | None:
        """What a report says of its attempt; None when a later restart has begun, or nobody can read it."""
        try:
            return self._read(report)
        except ValueError:
            return None

    def _read(self, report: Report) -> JobEvent | None:
        fields, task = report.fields, self.tasks[report.ref]
        incarnation = int(fields.get("incarnation") or 0)
        if incarnation < task.incarnation:
            return None  # a restart that Slurm has given up: the engine passes over it, and so its end is none
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
            if task.cancelled:
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
    def move(task: Task, event: JobEvent) -> None:
        """Let the task follow an event, never back: logs of one engine are read in no particular order."""
        if (event.incarnation, _ORDER[event.state]) <= (task.incarnation, _ORDER[task.state]) or task.end is not None:
            return
        task.state, task.incarnation = event.state, event.incarnation
        task.native, task.ended_at = event.native_id or task.native, 0.0
        if event.state == "inactive":
            task.end = event
        elif event.state == "run":
            task.start = event.time

    async def keep(self, events: list[JobEvent], reports: Sequence[Report] = (), quiet: bool = False) -> None:
        """Make events of open attempts durable, move the tasks, and tell the engine. Raises `OSError`.

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
        """Let the nodes and later openings know that the signal which comes is ours, and until when (seconds since the
        epoch) there is mercy. Raises `OSError`."""
        for ref in refs:
            self.tasks[ref].cancelled, self.tasks[ref].mercy = True, until
        async with self._keeping:
            await asyncio.shield(asyncio.to_thread(self.spool.mark_cancelled, refs, until))

    def _store(self, events: list[JobEvent], reports: Sequence[Report]) -> None:
        self.spool.take(({"event": msgspec.to_builtins(event)} for event in events), reports)
        for event in events:
            spec = self.tasks[event.key, event.attempt].spec
            if event.state == "inactive" and (
                spec.keep == "none" or (spec.keep == "failed" and event.outcome == "success")
            ):
                shutil.rmtree(os.path.join(self.context.run_dir, spec.workdir), ignore_errors=True)

    def _follow(self, event: JobEvent, quiet: bool) -> None:
        ref = (event.key, event.attempt)
        if ref not in self.open:
            return  # its end came twice at once
        self.move(self.tasks[ref], event)
        if event.state == "inactive":
            self.open.discard(ref)
        if not quiet:
            self.put(event)

    def put(self, event: JobEvent | MemberEvent) -> None:
        """Hand an event to the engine in its turn."""
        self._n += 1
        self.outbox.append(msgspec.structs.replace(event, n=self._n))
        self.news.set()

    def go_down(self, why: str) -> None:
        """Nothing works any more: say so, once."""
        if not self.down:
            self.down = why
            self.put(MemberEvent(self.context.name, "down", time.time(), text=why))
            self.told.set()
