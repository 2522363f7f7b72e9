"""The simulated queue as a live member: its virtual time follows real time, `speed` times as fast."""

from __future__ import annotations

__all__ = ["SimulatedMember"]

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from math import inf
from secrets import token_hex
from typing import ClassVar

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
from ensemble.model.errors import InputError, MemberError
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import AttemptRef, JobSpec, split_key
from ensemble.simulation.jobs import QUEUED, shape_of
from ensemble.simulation.options import here, read_options
from ensemble.simulation.queue import SimulatedQueue

CAPABILITIES = frozenset(
    {"exactly-once", "resize", "gpus", "figures", "walltime", "absence-is-proof", "reasons", "own-nodes"}
)

FLUSH_SECONDS = 1.0
"""How long `close` waits for its last events to be taken."""

_BATCH = 512
_PAGE = 5000


class SimulatedMember:
    """Runs nothing: says what would happen, and when. See `members.contract.Member` for what each call promises.

    Beyond the contract: event times are virtual, so durations are as modelled whatever `speed` is; with `speed: 0`
    nothing is waited for. Jobs live in this process and end with it: after a crash the same attempts start again.
    """

    # what this kind of member can do: `members.contract.Member`
    group_options: ClassVar = ()
    own_nodes: ClassVar = True

    def __init__(self) -> None:
        self._context: Context | None = None
        self._queue: SimulatedQueue | None = None
        self._stream = ""
        self._speed = 1.0
        self._began = 0.0
        self._origin = 0.0
        self._outbox: list[JobEvent | MemberEvent] = []
        self._known: dict[tuple[str, int], JobEvent | None] = {}
        """Every attempt ever taken: its last event once it has ended."""
        self._wake = asyncio.Event()
        """There is something new to wait for."""
        self._unsent = asyncio.Event()
        """There are events to hand on."""
        self._ended = asyncio.Event()
        self._handed_on = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, context: Context) -> Hello:
        """Make the machine, or go on with the one there is. Raises `MemberError` for bad options."""
        if self._context is not None and context.epoch < self._context.epoch:
            raise MemberError(f"epoch {context.epoch} is over: {self._context.epoch} has begun")
        await self._halt()
        self._context = context
        if self._queue is None:
            self._make(context)
        if context.stream == self._stream:
            self._outbox = [event for event in self._outbox if event.n > context.position]
        if self._outbox:
            self._unsent.set()
        queue = self._opened()
        self._tasks = [
            asyncio.create_task(self._pass_time(queue), name=f"member {context.name}: time"),
            asyncio.create_task(self._hand_on(context), name=f"member {context.name}: events"),
        ]
        sizes = queue.sizes()
        return Hello(
            CAPABILITIES,
            self._stream,
            sizes["nodes_up"],
            sizes["nodes_free"],
            sizes["cores_up"],
            sizes["cores_free"],
            sizes["gpus_up"],
            queue.pool.cores,
            "simulated: nothing is really run",
        )

    def _make(self, context: Context) -> None:
        try:
            options = read_options(context.options, context.name)
        except InputError as error:
            raise MemberError(str(error)) from error
        self._speed = options.speed
        self._stream = f"{context.name}@{context.epoch}-{token_hex(4)}"
        self._began = asyncio.get_running_loop().time()
        self._origin = time.time()
        self._queue = SimulatedQueue(
            context.name,
            max(1, context.nodes),
            context.cores or here(),
            context.gpus,
            options,
            self._emit,
            seed=context.seed,
            now=self._origin,
            max_nodes=context.max_nodes,
            watched=True,
            numbered=True,
        )

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Take jobs; an attempt that is known already is accepted and does nothing."""
        del batch  # jobs are known by their ref
        queue = self._at_present()
        receipts = [self._take(queue, job) for job in jobs]
        self._wake.set()
        return receipts

    def _take(self, queue: SimulatedQueue, job: JobSpec) -> Receipt:
        ref = (job.ref.key, job.ref.attempt)
        if ref in self._known:
            return Accepted(native_id=str(job.ref))
        assert self._context is not None
        try:
            group, number = split_key(job.ref.key)
            shape = shape_of(job, queue.pool.cores, queue.pool.gpus, self._context.seed)
        except (InputError, ValueError) as error:
            return Refused(str(error))
        never = queue.never(shape)
        if never:
            return Refused(never)
        self._known[ref] = None
        queue.submit(shape, group, number, 1, job.ref.attempt)
        return Accepted(native_id=str(job.ref))

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """End jobs at once: simulated jobs are always polite."""
        del grace
        self._at_present().cancel([(ref.key, ref.attempt) for ref in refs])
        self._wake.set()
        return [Accepted() for _ in refs]

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Grow, after `provision`, or shrink, as nodes become idle."""
        del command
        self._at_present().resize(nodes)
        self._wake.set()
        return Accepted()

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that was ever taken here."""
        queue = self._opened()
        context = self._context
        assert context is not None
        states = {(job.key, job.attempt): "sched" if job.state == QUEUED else "run" for job in queue.open_jobs()}
        items = [
            InventoryItem(AttemptRef(context.run, *ref), states.get(ref, "inactive"), event=event)
            for ref, event in self._known.items()
        ]
        for place in range(0, len(items), _PAGE):
            yield Page(tuple(items[place : place + _PAGE]))
        yield Page((), last=True, complete=True)

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Simulated jobs print nothing. Raises `MemberError` for an unknown job, and for any other file."""
        del offset, limit
        if (ref.key, ref.attempt) not in self._known:
            raise MemberError(f"{ref} is not known here")
        if path not in ("stdout", "stderr"):
            raise MemberError(f"{path} of {ref.key}: simulated jobs write no files")
        return b""

    async def close(self, mode: CloseMode) -> None:
        """Let go: `drain` waits for the jobs there are, `cancel` ends them; with `detach` they are just no more."""
        queue = self._queue
        if queue is not None and self._tasks and mode != "detach":
            if mode == "cancel":
                self._at_present().cancel([(job.key, job.attempt) for job in queue.open_jobs()])
            self._wake.set()
            await _until(lambda: not queue.open_jobs(), self._ended, self._tasks[0])
            # the end of a job that was waited for should be known; but the other side may have stopped listening
            # (not wait_for: on 3.11 it may swallow the cancel of a caller who has waited long enough)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await _until(lambda: not self._outbox, self._handed_on, self._tasks[1])
        await self._halt()

    # ---- time --------------------------------------------------------------------------------------

    def _opened(self) -> SimulatedQueue:
        if self._queue is None:
            raise MemberError("the member is not open")
        return self._queue

    def _at_present(self) -> SimulatedQueue:
        """The queue, its clock brought up to now."""
        queue = self._opened()
        if self._speed:
            queue.advance(self._virtual())
        return queue

    def _virtual(self) -> float:
        return self._origin + (asyncio.get_running_loop().time() - self._began) * self._speed

    def _emit(self, event: JobEvent | MemberEvent) -> None:
        self._outbox.append(event)
        self._unsent.set()
        if isinstance(event, JobEvent) and event.state == "inactive":
            self._known[event.key, event.attempt] = event
            self._ended.set()

    def _delay(self, queue: SimulatedQueue) -> float | None:
        """Real seconds until something happens; None when nothing will."""
        due = queue.next_time()
        if due == inf or (not self._speed and not queue.busy):
            return None
        return (due - self._virtual()) / self._speed if self._speed else 0.0

    async def _pass_time(self, queue: SimulatedQueue) -> None:
        """Let what is due happen. Goes on while nobody listens: time does not wait."""
        while True:
            self._wake.clear()
            delay = self._delay(queue)
            if delay is None or delay > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
            if self._speed:
                queue.advance(self._virtual())
            else:
                await asyncio.sleep(0)  # commands come in between
                if self._delay(queue) is not None:
                    queue.advance(queue.next_time())

    async def _hand_on(self, context: Context) -> None:
        """Put events: from one place only, so they stay in order."""
        while True:
            await self._unsent.wait()
            self._unsent.clear()
            while self._outbox:
                batch = self._outbox[:_BATCH]
                await context.sink.put(batch)
                del self._outbox[: len(batch)]
                self._handed_on.set()

    async def _halt(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until(true: Callable[[], bool], sign: asyncio.Event, task: asyncio.Task[None]) -> None:
    """Wait until something is true, looking again at each sign, or until the task that gives the signs is over."""
    while not true() and not task.done():
        sign.clear()
        waiter = asyncio.create_task(sign.wait())
        try:
            await asyncio.wait({waiter, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
