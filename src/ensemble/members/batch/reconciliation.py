"""The comparison with the queue: which jobs ended without a record, which wait and why, and how many nodes it has."""

from __future__ import annotations

__all__ = ["Reconciliation"]

import asyncio
import contextlib
import math
import time
from collections import Counter
from typing import Final, NamedTuple

import msgspec

from ensemble.members.batch.attempts import Attempt, Attempts, was_killed
from ensemble.members.batch.dialect import (
    ENDING,
    LOST,
    OVER,
    WAITING,
    Accounted,
    Dialect,
    Limits,
    Row,
    Sizes,
    Verdict,
)
from ensemble.members.batch.spool import Ref
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent

_SIZES: Final = 60.0
"""Seconds between two looks at how many nodes there are, while jobs run."""
_SOON: Final = 0.5
"""Seconds before the next look while something is expected."""
_OUTAGE: Final = 10.0
"""Seconds without an answer after which the member is down; Slurm's own commands try for 9 s."""
_AGAIN: Final = 1.0
"""Seconds before a look that failed is repeated."""


_CANCELLED: Final = Verdict("cancelled", "cancelled")


class Over(NamedTuple):
    """An attempt that is over: by its own `record`, or else by what the queue says of it."""

    ref: Ref
    verdict: Verdict = LOST
    text: str = ""
    row: Row | None = None
    record: JobEvent | None = None


class Reconciliation:
    """Looks every `poll` seconds, or when asked; an end which only the queue knows waits `settle` seconds for the job's
    own record."""

    def __init__(
        self, attempts: Attempts, dialect: Dialect, sizes: Sizes, limits: Limits, poll: float, settle: float
    ) -> None:
        self._attempts = attempts
        self._dialect = dialect
        self._sizes = sizes
        self._limits = limits
        self._poll = poll
        self._settle = settle
        self._sent: MemberEvent | None = None
        self._measured_at = time.monotonic()

    async def run(self) -> None:
        """Find the jobs that ended without a record because their node died or somebody cancelled them."""
        attempts, wait, slow, silent_since = self._attempts, self._poll, 0.0, math.inf
        while not attempts.outbox.down:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await attempts.ask.wait()
                    await asyncio.sleep(0.2)  # more of the same may follow at once
            attempts.ask.clear()
            wait = self._poll
            if not attempts.open:
                if self._sent is not None:
                    self._send({}, {"sched": 0, "run": 0})
                continue
            began = time.monotonic()
            before = {ref for ref in attempts.open if attempts.known[ref].native}
            try:
                rows = await self._dialect.rows()
            except MemberError as error:
                silent_since = min(silent_since, began)
                if time.monotonic() - silent_since >= _OUTAGE:
                    attempts.outbox.go_down(str(error))
                    return
                wait = _AGAIN
                continue
            silent_since = math.inf
            # a queue that takes long is asked less often; a single slow answer is of one that has just come back
            took, slow = min(slow, time.monotonic() - began), time.monotonic() - began
            try:
                soon = await self._compare(rows, before)
            except OSError as error:
                attempts.outbox.go_down(f"the spool: {error.strerror}")
                return
            wait = max(min(wait, _SOON) if soon else wait, 10 * took)

    async def _compare(self, rows: list[Row], before: set[Ref]) -> bool:
        """Follow what the queue says of the attempts that it had `before`; return whether to look again soon."""
        if await asyncio.to_thread(self._attempts.spool.reports):
            return True  # the watch is behind, and knows better in a moment
        over, expected = await asyncio.to_thread(self._judge, rows, before)
        await self._attempts.keep(await self._ends(over))
        await self._attempts.keep(self._queued(rows))
        await self._measure(rows)
        return expected

    def _queued(self, rows: list[Row]) -> list[JobEvent]:
        """The events of jobs that are seen waiting in the queue for the first time, each with the queue's reason."""
        waiting = {row.id: row for row in rows if row.phase == WAITING}
        found = []
        for ref in sorted(self._attempts.open):
            attempt = self._attempts.known[ref]
            row = waiting.get(attempt.native)
            if row is None:
                continue
            attempt.waiting_at = time.monotonic()
            if attempt.state == "submitted":
                text = f"pending: {row.reason}" if row.reason else ""
                event = self._attempts.event(ref, "sched", time.time(), native_id=attempt.native, text=text)
                found.append(event)
        return found

    # ---- nodes, and why jobs wait --------------------------------------------------------------------

    async def _measure(self, rows: list[Row]) -> None:
        """Send how many jobs wait, for what, and how many run; now and then what nodes there are; if it has changed."""
        waiting = Counter(row.reason for row in rows if row.phase == WAITING)
        queue = {"sched": waiting.total(), "run": sum(row.phase not in (WAITING, OVER) for row in rows)}
        # where nothing moves, nodes may be the reason
        stuck = waiting and not queue["run"]
        if stuck or time.monotonic() - self._measured_at > _SIZES:
            self._measured_at = time.monotonic()
            with contextlib.suppress(MemberError):
                self._sizes = await self._dialect.sizes()
        self._send({self._explained(reason): count for reason, count in waiting.items() if reason}, queue)

    def _send(self, waiting: dict[str, int], queue: dict[str, int]) -> None:
        """Send the nodes and the queue if they differ from what was sent last."""
        sizes = self._sizes
        event = MemberEvent(
            self._attempts.context.name, "nodes", nodes_up=sizes.nodes_up, nodes_free=sizes.nodes_free,
            cores_up=sizes.cores_up, cores_free=sizes.cores_free, cores_per_node=sizes.cores_per_node, queue=queue,
            waiting=dict(sorted(waiting.items())),
        )  # fmt: skip
        if event != self._sent:
            self._sent = event
            self._attempts.outbox.put(msgspec.structs.replace(event, time=time.time()))

    def _explained(self, reason: str) -> str:
        """A reason to wait; where no node is up, that is added, with what the queue says of its nodes."""
        return reason if self._sizes.nodes_up else f"{reason} (no node is up; {self._sizes.trouble})"

    # ---- ends ----------------------------------------------------------------------------------------

    def _judge(self, rows: list[Row], refs: set[Ref]) -> tuple[list[Over], bool]:
        """What the queue says is over; and whether something is expected soon: a record, or what the queue decides."""
        by_id = {row.id: row for row in rows}
        arrays = {row.array for row in rows}
        now, expected = time.monotonic(), False
        self._attempts.spool.look_again()
        over: list[Over] = []
        for ref in sorted(refs & self._attempts.open):
            attempt = self._attempts.known[ref]
            row, begun = self._row_of(ref, by_id)
            if row is not None and row.phase != OVER:
                attempt.ended_at = 0.0
                attempt.stopped = attempt.stopped and row.phase == ENDING
                # one that was killed has written its record: its script is about to end
                expected = expected or attempt.stopped or (attempt.killed and row.phase != WAITING)
                continue
            record = self._record(ref)
            if record is not None:
                if row is None and was_killed(record) and time.time() - record.time < self._limits.remembers:
                    # the queue would still know it, had it not lost its state: its nodes kill what it does not know
                    over.append(Over(ref, LOST, f"{self._dialect.name} no longer knows it, and it was killed"))
                else:
                    over.append(Over(ref, record=record))
                continue
            if row is None and not begun and self._left_while_waiting(attempt, arrays):
                over.append(Over(ref, _CANCELLED, "it was taken out of the queue while it waited"))
                continue
            attempt.ended_at = attempt.ended_at or now
            if not attempt.stopped and now - attempt.ended_at < self._patience(row, begun):
                expected = True
                continue
            name = self._dialect.name
            if row is None:
                over.append(Over(ref, LOST, f"{name} no longer knows it, and it left no record"))
            else:
                over.append(Over(ref, row.verdict, f"{name} says {row.state}", row))
        return over, expected

    def _row_of(self, ref: Ref, by_id: dict[str, Row]) -> tuple[Row | None, bool]:
        """The row of the job that executes an attempt, or is to, if the queue still knows it, and whether it has
        begun."""
        attempt = self._attempts.known[ref]
        row = self._find(by_id, attempt.native, attempt.array)
        if row is not None and row.phase != OVER:
            return row, False
        claim = self._attempts.spool.claim_of(ref)
        if claim is None:
            return row, False
        return self._find(by_id, claim.fields.get("job", ""), claim.fields.get("ship", "")) or row, True

    def _find(self, by_id: dict[str, Row], native: str, array: str) -> Row | None:
        """The row of a task, or that of its array, which is all that is left of tasks cancelled together.

        Not one of another array: a queue that has lost its state gives the same ids again.
        """
        row = by_id.get(native) or by_id.get(self._dialect.array_id(native))
        return row if row is None or not array or row.array == array else None

    def _record(self, ref: Ref) -> JobEvent | None:
        """The end that a job's own record gives, where it has left one."""
        end = self._attempts.spool.end_of(ref)
        if end is None:
            return None
        self._attempts.read_missing_figures([end])
        return self._attempts.event_of(end)

    def _left_while_waiting(self, attempt: Attempt, arrays: set[str]) -> bool:
        """Return whether a job that has no row and has not begun was taken out of the queue.

        The queue keeps no record of a task that is cancelled while it waits, unless its whole array is. It remembers
        any other end for a while.
        """
        return attempt.array in arrays and time.monotonic() - attempt.waiting_at < self._limits.remembers

    def _patience(self, row: Row | None, begun: bool) -> float:
        """Seconds for which the record of a job that is over is waited for."""
        if row is None:
            return self._settle
        if begun or row.verdict.began:
            return self._settle * row.verdict.patience
        return 0.0 if row.verdict.outcome == "cancelled" else self._settle

    async def _ends(self, over: list[Over]) -> list[JobEvent]:
        """The events of what is over; where nobody but the accounting knows how an attempt ended, it is asked."""
        known = self._attempts.known
        unclear = [
            known[one.ref].native
            for one in over
            if one.record is None
            and not known[one.ref].cancelled
            and (one.row is None or one.verdict.outcome == "cancelled")
        ]
        accounted: dict[str, Accounted] = {}
        if unclear:
            with contextlib.suppress(MemberError):
                accounted = await self._dialect.accounted(unclear)
        return [one.record or self._end(one, accounted.get(known[one.ref].native)) for one in over]

    def _end(self, over: Over, accounted: Accounted | None) -> JobEvent:
        """The end of an attempt that left no record of it."""
        attempt, row, verdict, text = self._attempts.known[over.ref], over.row, over.verdict, over.text
        ended = row.ended if row is not None else 0.0
        if accounted is not None:
            verdict, ended = accounted.verdict, ended or accounted.ended
            text = f"{self._dialect.name} says {accounted.state}"
            if accounted.by:
                text = f"cancelled by user {accounted.by}"
        outcome, reason = ("cancelled", "cancelled") if attempt.cancelled else verdict[:2]
        return self._attempts.event(
            over.ref,
            "inactive",
            max(ended or time.time(), attempt.start),
            outcome=outcome,
            reason=reason,
            start=attempt.start,
            hosts=row.hosts if row is not None else "",
            incarnation=attempt.incarnation,
            native_id=attempt.native,
            text=text,
            signal=9 if reason == "signal" else 0,
        )
