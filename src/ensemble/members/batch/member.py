"""The engine's end of a member for a batch queue."""

from __future__ import annotations

__all__ = ["BatchMember"]

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from secrets import token_hex
from types import MappingProxyType
from typing import Any, ClassVar, Final

import msgspec

from ensemble.members.batch.attempts import Attempts
from ensemble.members.batch.commands import Commands
from ensemble.members.batch.dialect import Dialect
from ensemble.members.batch.reconciliation import Reconciliation
from ensemble.members.batch.spool import Ref
from ensemble.members.batch.submission import Submission
from ensemble.members.contract import (
    Accepted,
    CloseMode,
    Context,
    Hello,
    InventoryItem,
    Page,
    Receipt,
    Refused,
)
from ensemble.members.kit.fetching import fetch_file
from ensemble.members.kit.options import check_options, seconds
from ensemble.members.kit.outbox import Outbox
from ensemble.members.kit.program import base_environment
from ensemble.members.kit.work import Work, retry
from ensemble.model.errors import MemberError, MemberUnavailable
from ensemble.model.jobs import JobSpec

CAPABILITIES: Final = frozenset(
    {"exactly-once", "durable", "gpus", "figures", "walltime", "reasons", "absence-is-proof"}
)
OWN: Final = ("poll", "settle")
"""Options that every member of a batch queue has."""
_LOOK: Final = (0.1, 1.0)
"""Seconds between looks into the spool: from the first to the second while nothing comes."""
_PAGE: Final = 5000
_QUEUED: Final = ("submitted", "sched")
_RETURN: Final = 300.0
"""Seconds for which one opening waits for a queue that was there before."""
_ASK_AGAIN: Final = 2.0


class BatchMember:
    """Runs jobs as arrays of a batch queue. See `members.contract.Member` for what each call promises.

    Options: `poll`, seconds between two reconciliations (15); `settle`, seconds for which the record of a job is waited
    for that the queue says is over (5); and those of the dialect. When the queue does not answer,
    `MemberEvent("down")` is put and jobs go on.
    """

    dialect: ClassVar[type[Dialect]]
    # what this kind of member can do: `members.contract.Member`
    group_options: ClassVar[tuple[str, ...]]
    launchers: ClassVar[tuple[str, ...]]
    fixed_size: ClassVar = True
    simulated_as: ClassVar = MappingProxyType({"scheduler": "backfill"})

    _attempts: Attempts
    _queue: Dialect
    _submission: Submission

    def __init__(self) -> None:
        self._work = Work("", self._failed)
        self._opened = False

    @property
    def _outbox(self) -> Outbox:
        return self._attempts.outbox

    # ---- opening and letting go ----------------------------------------------------------------------

    async def open(self, context: Context) -> Hello:
        """Read the spool, ask the queue. Raises `MemberUnavailable` without its commands, else `MemberError`."""
        await self._work.stop()
        kind, options = self.dialect, context.options
        missing = [name for name in kind.programs if not shutil.which(name)]
        if missing:
            raise MemberUnavailable(f"{kind.name}'s {', '.join(missing)} not found on PATH; run where its commands are")
        check_options(options, (*OWN, *kind.options), f"a {kind.name} member")
        poll, settle = (seconds(options.get(name, usual), name) for name, usual in (("poll", 15.0), ("settle", 5.0)))
        commands = Commands(kind.environment(base_environment()), kind.unreachable)
        queue = self._queue = kind(commands, f"ensemble:{context.run}:{context.name}:", options)
        attempts = self._attempts = Attempts(context, queue)
        self._work = Work(context.name, self._failed)
        attempts.spool.guard.check(context.epoch)
        # where jobs of the run may be there, a queue that is away is waited for, and asked often: the run then goes on
        # soon after it is back
        sizes = await retry(queue.sizes, _RETURN if context.resumed else 0.0, _ASK_AGAIN)
        limits = await queue.limits()
        self._submission = Submission(attempts, queue, sizes, limits)
        stream = f"{context.name}@{context.epoch}-{token_hex(4)}"
        try:
            await asyncio.to_thread(attempts.spool.open, context.epoch, stream)
            await asyncio.to_thread(attempts.remember)
            if attempts.unsettled:
                await self._submission.settle(await queue.rows())
            while reports := await asyncio.to_thread(attempts.spool.reports):
                await attempts.take_in(reports, quiet=True)
        except OSError as error:
            raise MemberError(f"{attempts.spool.folder}: {error.strerror}", transient=True) from error
        reconciliation = Reconciliation(attempts, queue, sizes, limits, poll, settle)
        for work in (self._watch, reconciliation.run, attempts.outbox.deliver):
            self._work.start(work())
        self._take_over_cancellations()
        self._opened = True
        attempts.ask.set()
        return Hello(
            CAPABILITIES,
            stream,
            nodes_up=sizes.nodes_up,
            nodes_free=sizes.nodes_free,
            cores_up=sizes.cores_up,
            cores_free=sizes.cores_free,
            cores_per_node=sizes.cores_per_node,
        )

    def _failed(self, error: Exception) -> None:
        """Report that a background task failed; without it the engine would wait for ever."""
        self._outbox.go_down(f"{type(error).__name__}: {error}")

    def _take_over_cancellations(self) -> None:
        """Kill what an earlier engine cancelled, at its time: that engine is gone, and may only have asked politely."""
        cancelled: dict[float, list[Ref]] = {}
        for ref in sorted(self._attempts.open):
            attempt = self._attempts.known[ref]
            if attempt.cancelled:
                cancelled.setdefault(attempt.kill_at, []).append(ref)
        for kill_at, refs in cancelled.items():
            self._kill_later(refs, max(0.0, kill_at - time.time()))

    async def close(self, mode: CloseMode) -> None:
        """Let go; with `detach` jobs go on, else their ends are waited for and sent."""
        if not self._opened:
            return
        attempts = self._attempts
        try:
            if mode != "detach" and self._work and not self._outbox.down:
                if mode == "cancel" and attempts.open:
                    await self.cancel([attempts.known[ref].spec.ref for ref in attempts.open], 1.0)
                await self._outbox.drained(lambda: attempts.open)
        finally:
            async with self._submission.lock:  # a submission under way is written down first
                await self._work.stop()
            attempts.spool.close()

    # ---- commands ------------------------------------------------------------------------------------

    def _check_up(self) -> None:
        if self._outbox.down:
            raise MemberError(self._outbox.down, transient=True)

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """One array for all jobs that ask for the same; a job that is known is accepted as it is."""
        self._check_up()
        # broken off or not, an array that is on its way is brought to its end
        return await asyncio.shield(asyncio.ensure_future(self._submission.submit(jobs)))

    async def cancel(self, refs: Sequence[Any], grace: float) -> Sequence[Receipt]:
        """SIGTERM to all processes of running jobs, and after `grace` seconds SIGKILL; queued ones leave at once."""
        self._check_up()
        attempts, known = self._attempts, self._attempts.known
        wanted = [(ref.key, ref.attempt) for ref in refs if (ref.key, ref.attempt) in attempts.open]
        if wanted:
            with contextlib.suppress(OSError):  # a full disk is no reason to let them run on
                await attempts.mark_cancelled(wanted, time.time() + grace)
            waiting = [ref for ref in wanted if known[ref].native and known[ref].state in _QUEUED]
            # what has begun and could not report so yet has its grace, too
            with contextlib.suppress(OSError):
                waiting = sorted(set(waiting) - await asyncio.to_thread(attempts.spool.begun, waiting))
            await self._queue.remove([known[ref].native for ref in waiting])
            left = sorted(set(wanted) - set(waiting))
            await self._queue.terminate([known[ref].native for ref in left if known[ref].native])
            attempts.ask.set()
            self._kill_later(wanted, grace)
        return [Accepted() for _ in refs]

    def _kill_later(self, refs: Sequence[Ref], grace: float) -> None:
        """After `grace` seconds kill those that are still open."""

        async def kill() -> None:
            attempts = self._attempts
            ids = [attempts.known[ref].native for ref in refs if ref in attempts.open and attempts.known[ref].native]
            await self._queue.kill(ids)
            attempts.ask.set()

        self._work.kill_later(grace, kill)

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Refuse: a cluster's nodes are not ours to change."""
        return Refused(f"a {self.dialect.name} cluster cannot be resized from here")

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that was sent; arrays of which nobody knew whether they arrived are looked for first."""
        async with self._submission.lock:
            if self._attempts.unsettled:
                await self._submission.settle(await self._queue.rows())
        run = self._attempts.context.run
        items = []
        for attempt in self._attempts.known.values():
            ref = msgspec.structs.replace(attempt.spec.ref, run=run)
            items.append(InventoryItem(ref, attempt.state, native_id=attempt.native, event=attempt.end))
        for start in range(0, len(items), _PAGE):
            yield Page(tuple(items[start : start + _PAGE]))
        yield Page((), last=True, complete=True)

    async def fetch(self, ref: Any, path: str, offset: int, limit: int) -> bytes:
        """Read part of a file of a job. Raises `MemberError` when there is none, or it is outside the job's folder."""
        return await fetch_file(self._attempts.context.run_dir, ref, path, offset, limit)

    # ---- what comes back -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Read what jobs report: often while reports come, seldom while none do."""
        attempts, wait = self._attempts, _LOOK[0]
        while True:
            await asyncio.sleep(wait)
            if not attempts.open:
                wait = _LOOK[0]
                continue
            try:
                reports = await asyncio.to_thread(attempts.spool.reports)
                if reports:
                    await asyncio.to_thread(attempts.spool.guard.check, attempts.context.epoch)
                await attempts.take_in(reports)
            except MemberError as error:
                self._outbox.go_down(str(error))
                return
            except OSError as error:
                self._outbox.go_down(f"the spool: {error.strerror}")
                return
            wait = _LOOK[0] if reports else min(_LOOK[1], wait * 1.5)
