"""The comparison with the queue: what ended without a word, what waits and why, what nodes there are."""

from __future__ import annotations

__all__ = ["Reconciliation"]

import asyncio
import contextlib
import time
from collections import Counter
from typing import Final, NamedTuple

import msgspec

from ensemble.members.slurm.book import Book, Ref, Task
from ensemble.members.slurm.queue import ENDED, Accounted, Limits, Queue, Row, Sizes
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent

_MEASURE: Final = 60.0
"""Seconds between two looks at how many nodes there are."""
_PATIENCE: Final = {"FAILED": 6, "COMPLETED": 12}
"""How many times longer a report is waited for. A script ends well only once its record is written, which NFS may show
late (it keeps attributes for up to a minute); FAILED may be said of what is requeued."""
_FAILURES: Final = 3
"""Reconciliations in a row that fail before the member is down."""


class Over(NamedTuple):
    """An attempt that is over: by its own `record`, or else by what the queue says (`state`, `row`)."""

    ref: Ref
    state: str
    row: Row | None
    record: JobEvent | None = None


class Reconciliation:
    """Looks every `poll` seconds, or when asked; an end which only Slurm knows waits `settle` seconds for the job's own
    report."""

    def __init__(self, book: Book, queue: Queue, sizes: Sizes, limits: Limits, poll: float, settle: float) -> None:
        self._book = book
        self._queue = queue
        self._sizes = sizes
        self._limits = limits
        self._poll = poll
        self._settle = settle
        self._measured: tuple[dict[str, int], str] = ({}, "")
        self._measured_at = time.monotonic()

    async def run(self) -> None:
        """Compare with the queue: what ended without a word, because its node died or somebody cancelled it."""
        failures = 0
        wait = self._poll
        before_that = 0.0
        while not self._book.down:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._book.ask.wait()
                    await asyncio.sleep(0.2)  # more of the same may follow at once
            self._book.ask.clear()
            wait = self._poll
            if not self._book.open:
                continue
            try:
                before = {ref for ref in self._book.open if self._book.tasks[ref].native}
                rows = await self._queue.rows()
            except MemberError as error:
                failures += 1
                wait = min(self._poll * 2**failures, 120.0)
                if failures >= _FAILURES:
                    self._book.go_down(str(error))
                continue
            failures = 0
            try:
                reports = await asyncio.to_thread(self._book.spool.reports)
                if not reports:  # else the watch is behind, and knows better in a moment
                    over, waiting = await asyncio.to_thread(self._judge, rows, before)
                    await self._book.keep(await self._ends(over))
                    await self._book.keep(self._queued(rows))
                    await self._measure(rows)
                    if waiting:
                        wait = min(wait, 0.5)
                else:
                    wait = min(wait, 0.5)
            except OSError as error:
                self._book.go_down(f"the spool: {error.strerror}")
            # a controller that takes long is asked less often; a single slow answer is one that has just come back
            wait = max(wait, 10 * min(before_that, self._queue.seconds))
            before_that = self._queue.seconds

    def _queued(self, rows: list[Row]) -> list[JobEvent]:
        """The events of jobs that are seen waiting in the queue for the first time, each with Slurm's reason."""
        states = {f"{row.job}_{row.task}": row for row in rows if row.state == "PENDING"}
        found = []
        for ref in sorted(self._book.open):
            task = self._book.tasks[ref]
            row = states.get(task.native)
            if row is None:
                continue
            task.waiting_at = time.monotonic()
            if task.state == "submitted":
                text = f"pending: {row.reason}" if row.reason != "None" else ""
                found.append(self._book.event(ref, "sched", time.time(), native_id=task.native, text=text))
        return found

    async def _measure(self, rows: list[Row]) -> None:
        """Tell how many wait (and for what) and run, and now and then what nodes there are, where that has changed."""
        queue = {"sched": 0, "run": 0}
        reasons: Counter[str] = Counter()
        for row in rows:
            if row.state == "PENDING":
                queue["sched"] += 1
                reasons[row.reason] += 1
            elif row.state not in ENDED:
                queue["run"] += 1
        sizes = self._sizes
        if time.monotonic() - self._measured_at > _MEASURE:
            self._measured_at = time.monotonic()
            with contextlib.suppress(MemberError):
                sizes = await self._queue.sizes(str(self._book.context.options.get("partition", "")))
        text = ", ".join(f"{count} pending: {reason}" for reason, count in reasons.most_common(3) if reason != "None")
        if (queue, text, sizes) == (*self._measured, self._sizes):
            return
        self._measured, self._sizes = (queue, text), sizes
        event = MemberEvent(self._book.context.name, "nodes", time.time(), queue=queue, text=text)
        told = {name: getattr(sizes, name) for name in ("nodes_up", "nodes_free", "cores_up", "cores_free")}
        self._book.put(msgspec.structs.replace(event, cores_per_node=sizes.cores_per_node, **told))

    def _judge_one(self, ref: Ref, states: dict[str, Row]) -> tuple[Row | None, bool]:
        """The row of the job that executes an attempt, or is to, if Slurm still knows it, and whether it has begun."""
        task = self._book.tasks[ref]
        row = _row(states, task.native, task.shipment)
        if row is not None and row.state not in ENDED:
            return row, False
        claim = self._book.spool.claim_of(ref)
        if claim is None:
            return row, False
        return _row(states, claim.fields.get("job", ""), claim.fields.get("ship", "")) or row, True

    def _judge(self, rows: list[Row], refs: set[Ref]) -> tuple[list[Over], bool]:
        """What the queue says is over; and whether something is still waited for: a record, or the queue's word."""
        states = {f"{row.job}_{row.task}" if row.task >= 0 else row.job: row for row in rows}
        arrays = {row.shipment for row in rows}
        now, waiting = time.monotonic(), False
        self._book.spool.look_again()
        over: list[Over] = []
        for ref in sorted(refs & self._book.open):
            task = self._book.tasks[ref]
            row, begun = self._judge_one(ref, states)
            if row is not None and row.state not in ENDED:
                task.ended_at = 0.0
                task.stopped = task.stopped and row.state == "COMPLETING"
                waiting = waiting or task.stopped
                continue
            record = self._record(ref)
            if record is not None:
                over.append(Over(ref, "", row, record))
                continue
            state = row.state if row is not None else self._forgotten(task, begun, arrays)
            task.ended_at = task.ended_at or now
            patience = self._settle * (_PATIENCE.get(state, 1) if begun or state == "COMPLETED" else 1)
            if (begun or state != "CANCELLED") and not task.stopped and now - task.ended_at < patience:
                waiting = True
                continue
            over.append(Over(ref, state, row))
        return over, waiting

    def _record(self, ref: Ref) -> JobEvent | None:
        """The end that a job's own record gives, where it has left one."""
        end = self._book.spool.end_of(ref)
        if end is None:
            return None
        self._book.read_missing_figures([end])
        return self._book.event_of(end)

    def _forgotten(self, task: Task, begun: bool, arrays: set[str]) -> str:
        """The state of a task that has no row.

        Slurm keeps no record of a task that is cancelled while it waits, unless its whole array is; any other end is
        known for a while.
        """
        waited = time.monotonic() - task.waiting_at < self._limits.remembers
        return "CANCELLED" if waited and not begun and task.shipment in arrays else "forgotten"

    async def _ends(self, over: list[Over]) -> list[JobEvent]:
        """The events of what is over; where nobody but the accounting knows how an attempt ended, it is asked."""
        tasks = self._book.tasks
        unclear = [
            tasks[one.ref].native
            for one in over
            if one.state in ("CANCELLED", "forgotten") and not tasks[one.ref].cancelled
        ]
        accounted: dict[str, Accounted] = {}
        if unclear and self._limits.accounts:
            with contextlib.suppress(MemberError):
                accounted = await self._queue.accounted(unclear)
        return [one.record or self._verdict(one, accounted.get(tasks[one.ref].native)) for one in over]

    def _verdict(self, over: Over, accounted: Accounted | None) -> JobEvent:
        """The end of an attempt that left no record of it."""
        task, row, state = self._book.tasks[over.ref], over.row, over.state
        if accounted is not None and accounted.state in ENDED:
            state = accounted.state
        outcome, reason = _why(state)
        if task.cancelled:
            outcome = reason = "cancelled"
        at = (row.end if row is not None else 0.0) or (accounted.end if accounted is not None else 0.0)
        text = f"Slurm says {state}"
        if state == "forgotten":
            text = "Slurm no longer knows it, and it left no record"
        elif accounted is not None and accounted.by:
            text = f"cancelled by user {accounted.by}"
        return self._book.event(
            over.ref,
            "inactive",
            max(at or time.time(), task.start),
            outcome=outcome,
            reason=reason,
            start=task.start,
            hosts=row.hosts if row is not None else "",
            incarnation=task.incarnation,
            native_id=task.native,
            text=text,
            signal=9 if reason == "signal" else 0,
        )


def _row(states: dict[str, Row], native: str, shipment: str) -> Row | None:
    """The row of a task, or that of its array, which is all that is left of tasks cancelled together in the queue.

    Not one of another shipment: a controller that has lost its state gives the same ids again.
    """
    row = states.get(native) or states.get(native.partition("_")[0])
    return row if row is None or not shipment or row.shipment == shipment else None


def _why(state: str) -> tuple[str, str]:
    """Outcome and reason by what Slurm says of an end."""
    return {
        "CANCELLED": ("cancelled", "cancelled"),
        "TIMEOUT": ("failed", "walltime"),
        "DEADLINE": ("failed", "walltime"),
        "OUT_OF_MEMORY": ("failed", "signal"),
    }.get(state, ("lost", "infrastructure"))
