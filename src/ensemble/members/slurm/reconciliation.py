"""The comparison with the queue: what ended without a word, what waits and why, what nodes there are."""

from __future__ import annotations

__all__ = ["Reconciliation"]

import asyncio
import contextlib
import time
from collections import Counter
from typing import Final

import msgspec

from ensemble.members.slurm.book import Book, Ref, Task
from ensemble.members.slurm.queue import ENDED, Queue, Row, Sizes
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent

_MEASURE: Final = 60.0
"""Seconds between two looks at how many nodes there are."""
_PATIENCE: Final = {"FAILED": 6, "COMPLETED": 12}
"""How many times longer a report is waited for. A script ends well only once its record is written, which NFS may show
late (it keeps attributes for up to a minute); FAILED may be said of what is requeued."""
_FAILURES: Final = 3
"""Reconciliations in a row that fail before the member is down."""


class Reconciliation:
    """Looks every `poll` seconds, or when asked; an end which only Slurm knows waits `settle` seconds for the job's own
    report."""

    def __init__(self, book: Book, queue: Queue, sizes: Sizes, poll: float, settle: float) -> None:
        self._book = book
        self._queue = queue
        self._sizes = sizes
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
                    ends, waiting = await asyncio.to_thread(self._judge, rows, before)
                    await self._book.keep(ends)
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
        """What waits in the queue and was not told so yet, each with Slurm's reason."""
        states = {f"{row.job}_{row.task}": row for row in rows if row.state == "PENDING"}
        found = []
        for ref in sorted(self._book.open):
            task = self._book.tasks[ref]
            row = states.get(task.native)
            if row is not None and task.state == "submitted":
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

    def _judge(self, rows: list[Row], refs: set[Ref]) -> tuple[list[JobEvent], bool]:
        """The ends of what the queue says is over; and whether something still waits for its own report."""
        states = {f"{row.job}_{row.task}" if row.task >= 0 else row.job: row for row in rows}
        now, waiting = time.monotonic(), False
        self._book.spool.look_again()
        events: list[JobEvent] = []
        for ref in sorted(refs & self._book.open):
            task = self._book.tasks[ref]
            row, begun = self._judge_one(ref, states)
            state = row.state if row is not None else "forgotten"
            if row is not None and state not in ENDED:
                task.ended_at = 0.0
                continue
            end = self._book.spool.end_of(ref)
            if end is not None:
                self._book.read_missing_figures([end])
                found = self._book.event_of(end)
                if found is not None:
                    events.append(found)
                    continue
            task.ended_at = task.ended_at or now
            patience = self._settle * (_PATIENCE.get(state, 1) if begun or state == "COMPLETED" else 1)
            if (begun or state != "CANCELLED") and now - task.ended_at < patience:
                waiting = True
                continue
            events.append(self._verdict(ref, task, state, row))
        return events, waiting

    def _verdict(self, ref: Ref, task: Task, state: str, row: Row | None) -> JobEvent:
        """The end of an attempt that did not tell it itself."""
        outcome, reason = _why("CANCELLED" if task.cancelled else state, "lost", "infrastructure")
        hosts = row.hosts if row is not None else ""
        text = f"Slurm says {state}" if row is not None else "Slurm no longer knows it, and it left no record"
        return self._book.event(
            ref,
            "inactive",
            max(time.time(), task.start),
            outcome=outcome,
            reason=reason,
            start=task.start,
            hosts=hosts,
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


def _why(state: str, outcome: str, reason: str) -> tuple[str, str]:
    """Outcome and reason by what Slurm says of an end; those given where it says nothing special."""
    return {
        "CANCELLED": ("cancelled", "cancelled"),
        "TIMEOUT": ("failed", "walltime"),
        "DEADLINE": ("failed", "walltime"),
        "OUT_OF_MEMORY": ("failed", "signal"),
        "NODE_FAIL": ("lost", "infrastructure"),
        "BOOT_FAIL": ("lost", "infrastructure"),
        "PREEMPTED": ("lost", "infrastructure"),
    }.get(state, (outcome, reason))
