"""The engine's end of a Slurm member."""

from __future__ import annotations

__all__ = ["SlurmMember"]

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from secrets import token_hex
from typing import Any, ClassVar, Final

import msgspec

from ensemble.members.contract import (
    Accepted,
    CloseMode,
    Context,
    Hello,
    InventoryItem,
    JobChange,
    Page,
    Receipt,
    Refused,
)
from ensemble.members.kit.fetching import fetch_file
from ensemble.members.slurm.book import Book, Ref
from ensemble.members.slurm.queue import Queue, Sizes
from ensemble.members.slurm.reconciliation import Reconciliation
from ensemble.members.slurm.submission import PASSED, Submission
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec

CAPABILITIES: Final = frozenset(
    {"exactly-once", "durable", "gpus", "figures", "walltime", "absence-is-proof", "reopen"}
)
OWN: Final = ("poll", "settle", "requeue")
_LOOK: Final = (0.02, 1.0)
"""Seconds between looks into the spool: doubled from the first to the second while nothing comes."""
_PAGE: Final = 5000
_QUEUED: Final = ("submitted", "sched")
_RETURN: Final = 300.0
"""Seconds for which one opening waits for a controller that was there before."""
_KNOCK: Final = 2.0


class SlurmMember:
    """Runs jobs as arrays of Slurm. See `members.contract.Member` for what each call promises.

    Options: `poll`, seconds between two reconciliations (15); `settle`, seconds that an end which only Slurm knows
    waits for the job's own report (5); `requeue`, whether Slurm may start a job again (the cluster's default); and
    those in `submission.PASSED`. When the controller does not answer, `MemberEvent("down")` is put and jobs go on.
    """

    group_options: ClassVar = (*PASSED, "requeue")
    """Options that a group's jobs may have here."""

    _book: Book
    _queue: Queue
    _submission: Submission

    def __init__(self) -> None:
        self._work: set[asyncio.Task[None]] = set()
        self._opened = False

    # ---- opening and letting go ----------------------------------------------------------------------

    async def open(self, context: Context) -> Hello:
        """Read the spool, ask the controller. Raises `MemberUnavailable` without Slurm, else `MemberError`."""
        await self._halt()
        Queue.here()
        options = context.options
        unknown = sorted(set(options) - {*PASSED, *OWN})
        if unknown:
            raise MemberError(f"unknown option {unknown[0]!r} of a Slurm member; there is {', '.join((*OWN, *PASSED))}")
        self._queue = Queue(context.run, context.name)
        self._book = book = Book(context)
        if book.spool.epoch() > context.epoch:
            raise MemberError(f"engine {book.spool.epoch()} has taken over; {context.epoch} is too old")
        poll, settle = float(options.get("poll", 15.0)), float(options.get("settle", 5.0))
        sizes = await self._first_sizes(context)
        limits = await self._queue.limits()
        self._submission = Submission(book, self._queue, sizes, limits.largest_array)
        stream = f"{context.name}@{context.epoch}-{token_hex(4)}"
        try:
            await asyncio.to_thread(book.spool.open, context.epoch, stream)
            await asyncio.to_thread(book.remember)
            if book.unsettled:
                await self._submission.settle(await self._queue.rows())
            while reports := await asyncio.to_thread(book.spool.reports):
                await book.take_in(reports, quiet=True)
        except OSError as error:
            raise MemberError(f"{book.spool.folder}: {error.strerror}", transient=True) from error
        reconciliation = Reconciliation(book, self._queue, sizes, limits, poll, settle)
        self._work = {
            asyncio.create_task(self._kept_up(work), name=f"member {context.name}")
            for work in (self._watch, reconciliation.run, self._deliver)
        }
        # who cancelled them is gone, and may have had no time for more than to ask them politely
        cancelled: dict[float, list[Ref]] = {}
        for ref in sorted(book.open):
            if book.tasks[ref].cancelled:
                cancelled.setdefault(book.tasks[ref].mercy, []).append(ref)
        for mercy, refs in cancelled.items():
            self._finish_off_later(refs, max(0.0, mercy - time.time()))
        self._opened = True
        book.ask.set()
        return Hello(
            CAPABILITIES,
            stream,
            nodes_up=sizes.nodes_up,
            nodes_free=sizes.nodes_free,
            cores_up=sizes.cores_up,
            cores_free=sizes.cores_free,
            cores_per_node=sizes.cores_per_node,
            launchers=("srun", "mpiexec", "none"),
        )

    async def _kept_up(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # silence would leave the engine waiting for ever
            self._book.go_down(f"{type(error).__name__}: {error}")

    async def _first_sizes(self, context: Context) -> Sizes:
        """What there is. Where jobs of the run may be there, a controller that is away is waited for: it is asked every
        few seconds, so that the run goes on soon after it is back."""
        until = time.monotonic() + (_RETURN if context.resumed else 0.0)
        while True:
            try:
                return await self._queue.sizes(str(context.options.get("partition", "")))
            except MemberError as error:
                if not error.transient or time.monotonic() >= until:
                    raise
            await asyncio.sleep(_KNOCK)

    async def _halt(self) -> None:
        work, self._work = self._work, set()
        for task in work:
            task.cancel()
        if work:
            await asyncio.wait(work)

    async def close(self, mode: CloseMode) -> None:
        """Let go; with `detach` jobs go on, else their ends are waited for and told."""
        if not self._opened:
            return
        try:
            if mode != "detach" and self._work and not self._book.down:
                if mode == "cancel" and self._book.open:
                    await self.cancel([self._book.tasks[ref].spec.ref for ref in self._book.open], 1.0)
                while (self._book.open or self._book.outbox) and not self._book.down:
                    self._book.told.clear()
                    await self._book.told.wait()
        finally:
            async with self._submission.lock:  # a submission under way is written down first
                await self._halt()
            self._book.spool.close()

    # ---- commands ------------------------------------------------------------------------------------

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """One `sbatch --array` for all jobs that ask for the same; a job that is known is accepted as it is."""
        if self._book.down:
            raise MemberError(self._book.down, transient=True)
        # broken off or not, an array that is on its way is brought to its end
        return await asyncio.shield(asyncio.ensure_future(self._submission.submit(jobs)))

    async def cancel(self, refs: Sequence[Any], grace: float) -> Sequence[Receipt]:
        """SIGTERM to all processes of running jobs, and after `grace` seconds SIGKILL; queued ones leave at once."""
        if self._book.down:
            raise MemberError(self._book.down, transient=True)
        wanted = [(ref.key, ref.attempt) for ref in refs if (ref.key, ref.attempt) in self._book.open]
        if wanted:
            with contextlib.suppress(OSError):  # a full disk is no reason to let them run on
                await self._book.mark_cancelled(wanted, time.time() + grace)
            tasks = self._book.tasks
            waiting = [ref for ref in wanted if tasks[ref].native and tasks[ref].state in _QUEUED]
            # what has begun and could not say so yet has its grace, too
            with contextlib.suppress(OSError):
                waiting = sorted(set(waiting) - await asyncio.to_thread(self._book.spool.begun, waiting))
            # not by `--state=PENDING`: with it Slurm 22.05 cancels the whole array that a queued task is of
            await self._queue.cancel([tasks[ref].native for ref in waiting])
            left = set(wanted) - set(waiting)
            running = [tasks[ref].native for ref in sorted(left) if tasks[ref].native]
            await self._queue.cancel(running, "--full", "--signal=TERM")
            self._book.ask.set()
            self._finish_off_later(wanted, grace)
        return [Accepted() for _ in refs]

    def _finish_off_later(self, refs: Sequence[Ref], grace: float) -> None:
        task = asyncio.create_task(self._finish_off(refs, grace))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _finish_off(self, refs: Sequence[Ref], grace: float) -> None:
        await asyncio.sleep(grace)
        ids = [self._book.tasks[ref].native for ref in refs if ref in self._book.open and self._book.tasks[ref].native]
        if ids:
            with contextlib.suppress(MemberError):
                await self._queue.cancel(ids, "--full", "--signal=KILL")
                await self._queue.cancel(ids)
            self._book.ask.set()

    async def update(self, refs: Sequence[Any], change: JobChange) -> Sequence[Receipt]:
        """Queued jobs can be held and let go; nothing else can be changed."""
        if change.hold is None or change.walltime is not None or change.priority is not None:
            return [Refused("the Slurm member can only hold a queued job and let it go") for _ in refs]
        ids = [
            self._book.tasks[ref.key, ref.attempt].native for ref in refs if (ref.key, ref.attempt) in self._book.open
        ]
        said = await self._queue.hold([one for one in ids if one], change.hold) if ids else ""
        return [Refused(said) if said else Accepted() for _ in refs]

    async def resize(self, command: int, nodes: int) -> Receipt:
        """A cluster has the nodes it has."""
        return Refused("a Slurm cluster cannot be resized from here")

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that was shipped; arrays of which nobody knew whether they arrived are looked for first."""
        async with self._submission.lock:
            if self._book.unsettled:
                await self._submission.settle(await self._queue.rows())
        run = self._book.context.run
        items = []
        for task in self._book.tasks.values():
            ref = msgspec.structs.replace(task.spec.ref, run=run)
            items.append(InventoryItem(ref, task.state, native_id=task.native, event=task.end))
        for place in range(0, len(items), _PAGE):
            yield Page(tuple(items[place : place + _PAGE]))
        yield Page((), last=True, complete=True)

    async def fetch(self, ref: Any, path: str, offset: int, limit: int) -> bytes:
        """Read part of a file of a job. Raises `MemberError` when there is none, or it is outside the job's folder."""
        return await fetch_file(self._book.context.run_dir, ref, path, offset, limit)

    # ---- what comes back -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Take in what jobs report: often while there is much, seldom while there is nothing."""
        book, wait = self._book, _LOOK[0]
        while True:
            await asyncio.sleep(wait)
            if not book.open:
                wait = _LOOK[0]
                continue
            try:
                reports = await asyncio.to_thread(book.spool.reports)
                if reports and await asyncio.to_thread(book.spool.epoch) > book.context.epoch:
                    book.go_down("a newer engine has taken over")
                    return
                await book.take_in(reports)
            except OSError as error:
                book.go_down(f"the spool: {error.strerror}")
                return
            wait = _LOOK[0] if reports else min(_LOOK[1], wait * 1.5)

    async def _deliver(self) -> None:
        while True:
            while self._book.outbox:
                batch = list(self._book.outbox)
                await self._book.context.sink.put(batch)
                for _ in batch:
                    self._book.outbox.popleft()
            self._book.told.set()
            self._book.news.clear()
            if not self._book.outbox:
                await self._book.news.wait()
