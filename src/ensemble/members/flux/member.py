"""The Flux member: what the engine asks of a Flux instance, and the events that come back from it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from secrets import token_hex
from typing import ClassVar, Final

import msgspec

from ensemble.members.contract import (
    Accepted,
    CloseMode,
    Context,
    Hello,
    InventoryItem,
    Observation,
    Page,
    Receipt,
    Refused,
    Unknown,
)
from ensemble.members.flux import calls
from ensemble.members.flux.broker import Broker, FluxError
from ensemble.members.flux.carrying import Output
from ensemble.members.flux.ends import Completing
from ensemble.members.flux.entries import SENTINEL, Entry
from ensemble.members.flux.job import FluxJob
from ensemble.members.flux.jobspec import LAUNCHERS, OPTIONS, urgency
from ensemble.members.flux.records import Records, Ref, settle
from ensemble.members.flux.register import Register
from ensemble.members.flux.shipping import Broken, Shipping
from ensemble.members.flux.sizes import Sizes, read_sizes
from ensemble.members.flux.waiting import reasons
from ensemble.members.flux.watching import observe
from ensemble.members.kit.fetching import fetch_file
from ensemble.members.kit.options import check_options
from ensemble.members.kit.outbox import Outbox
from ensemble.members.kit.work import Work
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import FINISHED, AttemptRef, JobSpec

CAPABILITIES: Final = frozenset(
    {"exactly-once", "durable", "gpus", "figures", "walltime", "native-events", "absence-is-proof", "reasons"}
)
PING_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 20.0
"""A broker that has not answered a ping for so long counts as down."""
_HISTORY_SECONDS: Final = 120.0
_PAGE: Final = 2000
_LOOK: Final = 1.0
"""Seconds between two looks at what is free, while jobs come and go."""
_LOOK_AGAIN: Final = 10.0
"""Seconds until the next look while jobs wait and nothing else happens."""
_TERM, _KILL = 15, 9
_FOR_NOW: Final = {errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.ENOSYS}
"""Errors after which the same submission may succeed; ENOSYS: the service that takes it in is not loaded just now."""


class FluxMember:
    """Runs jobs in the Flux instance around it. See `members.contract.Member` for what each call promises.

    Jobs are submitted held (urgency 0). Of all jobs that carry one ref the first in the job manager's journal is
    released and the others are cancelled. The journal is the same for every engine, so an attempt runs once however
    often it was sent.

    Options: `uri`, another instance than that of `FLUX_URI`; and those in `jobspec.OPTIONS`.
    """

    # what this kind of member can do: `members.contract.Member`
    group_options: ClassVar = OPTIONS
    launchers: ClassVar = LAUNCHERS
    fixed_size: ClassVar = True

    @staticmethod
    async def observe(found: Callable[[Observation | None], None]) -> None:
        """Watch the instance around this process. See `contract.Observe`."""
        await observe(found, str)

    def __init__(self) -> None:
        self._context: Context | None = None
        self._broker: Broker | None = None
        self._work: Work | None = None
        self._sizes = Sizes(0, 0, 0, 0, 0, 0, 0, 0)
        self._shared = True
        """All nodes see the run's files."""
        self._environment: dict[str, str] | None = None
        """What jobs inherit; None: our own environment."""

    # ---- opening and closing -------------------------------------------------------------------------

    async def open(self, context: Context) -> Hello:
        """Connect, and read the journal up to now. Raises `MemberUnavailable` without Flux, else `MemberError`."""
        await self._halt()
        options = context.options
        check_options(options, ("uri", *OPTIONS), "a Flux member")
        uri = str(options.get("uri", ""))
        if uri and "://" not in uri:
            raise MemberError(f"option `uri` is an address as `flux uri` prints it (local:///path), not {uri!r}")
        self._urgency = urgency(options)
        self._reset(context)
        try:
            sizes = await self._connect(context, uri)
        except OSError as error:
            await self._halt()
            raise MemberError(f"{self._records.folder}: {error.strerror}", transient=True) from error
        except BaseException:
            await self._halt()
            raise
        self._work = Work(context.name, self._failed)
        for work in (self._follow, self._complete, self._outbox.deliver, self._measure, self._ping):
            self._work.start(work())
        self._arrived.set()
        return Hello(
            CAPABILITIES,
            f"{context.name}@{context.epoch}-{token_hex(4)}",
            nodes_up=sizes.nodes_up,
            nodes_free=sizes.nodes_free,
            cores_up=sizes.cores_up,
            cores_free=sizes.cores_free,
            gpus_up=sizes.gpus_up,
            cores_per_node=sizes.cores_per_node,
        )

    def _reset(self, context: Context) -> None:
        self._context = context
        self._records = Records(context.run_dir, context.name)
        self._outbox = Outbox(context.name, context.sink)
        self._history: list[Entry] | None = []
        """Entries of the journal from before this opening; None once they are learned."""
        self._received: deque[Entry] = deque()
        self._arrived, self._ready, self._dirty = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._ended: deque[JobEvent] = deque()
        """Ends that are sent once the jobs' files have been read."""
        self._unread = asyncio.Event()
        self._lock = asyncio.Lock()
        self._ending = False
        """The instance is ending: jobs that are cancelled now are not cancelled by people."""
        self._doubtful: set[Ref] = set()
        """Attempts that were sent, and nobody knows whether they were taken."""
        self._to_cancel: dict[Ref, float] = {}
        """Attempts to cancel, with their grace, that were (perhaps) taken and are not in the journal yet."""

    async def _connect(self, context: Context, uri: str) -> Sizes:
        await asyncio.to_thread(self._records.epoch.check, context.epoch)
        broker = self._broker = Broker(uri, self._receive, self._lost, self._dirty.set, self._ends)
        await broker.open()
        await asyncio.to_thread(settle, self._records, broker.mark, uri)
        token = await asyncio.to_thread(self._records.open, context.epoch)
        released = await asyncio.to_thread(self._records.released)
        self._register = Register(context.name, token, released, broker.named, context.wanted)
        kept = await asyncio.to_thread(self._records.kept)
        first = self._register.first
        self._output = None if self._shared else Output(context.run_dir, broker, lambda ref: first.get(ref, 0))
        self._completing = Completing(context.run_dir, self._register, self._records, kept, self._output)
        self._shipping = Shipping(context, broker, token, self._shared, self._environment)
        try:
            async with asyncio.timeout(_HISTORY_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            raise MemberError("the job manager's journal was not read to its end in time", transient=True) from None
        history, self._history = self._history or [], None
        self._register.learn(history)
        sizes = await self._look()
        self._up()
        return sizes

    async def _halt(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            await work.stop()
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.close()
        if self._context is not None:
            await asyncio.to_thread(self._records.close)

    async def close(self, mode: CloseMode) -> None:
        """With `detach` jobs go on, else their ends are waited for and sent."""
        if self._context is None:
            return
        try:
            if mode != "detach" and self._work is not None and not self._outbox.down:
                jobs = self._register.jobs
                if mode == "cancel" and jobs:
                    await self._cancel(self._up(), list(jobs.values()), 1.0)
                await self._outbox.drained(lambda: jobs or self._received or self._ended)
        finally:
            async with self._lock:  # a submission under way is brought to its end first
                await self._halt()

    # ---- commands ------------------------------------------------------------------------------------

    def _up(self) -> Broker:
        """Raises `MemberError` when there is no broker."""
        if self._broker is None or self._outbox.down:
            why = self._outbox.down if self._broker is not None else "the Flux member is not open"
            raise MemberError(why, transient=True)
        return self._broker

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Send all jobs at once, held; the journal says which of them are released."""
        self._up()
        # whether or not the caller goes on waiting, what is on its way is brought to its end
        return await asyncio.shield(asyncio.ensure_future(self._submit(jobs)))

    async def _submit(self, jobs: Sequence[JobSpec]) -> list[Receipt]:
        async with self._lock:
            broker, accepted = self._up(), self._register.accepted
            assert self._context is not None
            await asyncio.to_thread(self._records.epoch.check, self._context.epoch)
            receipts: dict[Ref, Receipt] = {}
            fresh: list[JobSpec] = []
            for spec in jobs:
                ref = (spec.ref.key, spec.ref.attempt)
                if ref in accepted:
                    receipts[ref] = Accepted(accepted[ref])
                elif why := await self._shipping.impossible(spec):
                    receipts[ref] = Refused(why)
                else:
                    fresh.append(spec)
            ready, broken = await asyncio.to_thread(self._shipping.make, fresh)
            for one in broken:
                receipts[one.spec.ref.key, one.spec.ref.attempt] = self._end_broken(one)
            answers = await self._send(broker, [text for _, text in ready])
            for (spec, _), answer in zip(ready, answers, strict=True):
                ref = (spec.ref.key, spec.ref.attempt)
                if isinstance(answer, int):
                    answer = Accepted(accepted.setdefault(ref, broker.named(answer)))
                elif isinstance(answer, Unknown):
                    self._doubtful.add(ref)
                receipts[ref] = answer
            return [receipts[spec.ref.key, spec.ref.attempt] for spec in jobs]

    async def _send(self, broker: Broker, texts: list[bytes]) -> list[int | Receipt]:
        """The id of each job, or why it has none."""
        try:
            answers = await broker.calls([calls.submit(text) for text in texts])
        except MemberError as error:
            return [Unknown(str(error)) for _ in texts]
        found: list[int | Receipt] = []
        for answer in answers:
            if isinstance(answer, FluxError):
                found.append(Refused(str(answer), transient="disabled" in str(answer) or answer.number in _FOR_NOW))
            else:
                found.append(Unknown(str(answer)) if isinstance(answer, MemberError) else answer)
        return found

    def _end_broken(self, broken: Broken) -> Receipt:
        """Accept a job that fails before it is with Flux, and send its end."""
        assert self._context is not None
        ref = (broken.spec.ref.key, broken.spec.ref.attempt)
        end = JobEvent(
            self._context.name, ref[0], FINISHED, time.time(), attempt=ref[1], outcome="failed", reason=broken.reason,
            text=broken.text,
        )  # fmt: skip
        self._register.accepted[ref] = ""
        self._register.ends[ref] = end
        self._outbox.put(end)
        return Accepted()

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """SIGTERM to all tasks of running jobs, and after `grace` seconds SIGKILL; jobs that wait leave at once."""
        broker, register = self._up(), self._register
        wanted = []
        for one in refs:
            ref = (one.key, one.attempt)
            job = register.jobs.get(register.first.get(ref, 0))
            if job is not None:
                wanted.append(job)
            elif (ref in register.accepted or ref in self._doubtful) and ref not in register.ends:
                self._to_cancel[ref] = grace
        if wanted:
            await self._cancel(broker, wanted, grace)
        return [Accepted() for _ in refs]

    async def _cancel(self, broker: Broker, jobs: list[FluxJob], grace: float) -> None:
        for job in jobs:
            job.cancelled = True
        running = [job.id for job in jobs if job.state == "run"]
        waiting = [job.id for job in jobs if job.state != "run"]
        # those that wait first: the end of one that runs would let the next begin
        await broker.calls([calls.cancel(number) for number in waiting])
        answers = await broker.calls([calls.kill(number, _TERM) for number in running])
        # a job that cannot be signalled had not begun, or is over
        silent = [number for number, answer in zip(running, answers, strict=True) if isinstance(answer, MemberError)]
        await broker.calls([calls.cancel(number) for number in silent])

        async def kill() -> None:
            left = [job.id for job in jobs if job.id in self._register.jobs]
            if left:
                asked = [calls.kill(number, _KILL) for number in left] + [calls.cancel(number) for number in left]
                await self._up().calls(asked)

        if self._work is not None:
            self._work.kill_later(grace, kill)

    async def _ask(self, asked: list[calls.Asked]) -> None:
        """Send requests whose errors do not matter: the job may be over already."""
        with contextlib.suppress(MemberError):
            await self._up().calls(asked)

    def _urgency_of(self, job: FluxJob) -> int:
        return self._urgency if job.mark.urgency < 0 else job.mark.urgency

    @property
    def nodes_known(self) -> int:
        """Nodes of the instance, up or not."""
        return self._sizes.nodes_all

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Refuse: an instance's nodes are fixed. A MiniCluster is resized by its operator."""
        return Refused("this Flux instance cannot be resized from here")

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that Flux knows, or that was released once."""
        assert self._context is not None
        self._up()
        register, run = self._register, self._context.run
        refs = sorted(register.first.keys() | register.ends.keys() | register.accepted.keys())
        for place in range(0, len(refs), _PAGE):
            some = refs[place : place + _PAGE]
            await self._completing.complete(some)
            items = []
            for ref in some:
                end, job = register.ends.get(ref), register.jobs.get(register.first.get(ref, 0))
                state = FINISHED if end is not None else job.state if job is not None else "submitted"
                if ref in register.unread:
                    # it ended while others were read: `_complete` sends its end, once it is known how
                    end, state = None, "cleanup"
                items.append(InventoryItem(AttemptRef(run, *ref), state, register.accepted.get(ref, ""), end))
            yield Page(tuple(items))
        yield Page((), last=True, complete=True)

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Read part of a file of a job. Raises `MemberError` when there is none, or it is outside the job's folder."""
        assert self._context is not None
        if self._output is not None and path in ("stdout", "stderr"):
            return (await self._output.read((ref.key, ref.attempt)))[path][offset : offset + limit]
        return await fetch_file(self._context.run_dir, ref, path, offset, limit)

    # ---- what comes back -----------------------------------------------------------------------------

    def _receive(self, entries: list[Entry]) -> None:
        if self._history is not None and not self._ready.is_set():
            for place, entry in enumerate(entries):
                if entry.id == SENTINEL:
                    self._ready.set()
                    entries = entries[place + 1 :]
                    break
                self._history.append(entry)
            else:
                return
        self._received.extend(entries)
        self._arrived.set()

    def _ends(self) -> None:
        self._ending = True

    def _lost(self, why: str) -> None:
        self._outbox.go_down(why)
        self._ready.set()

    def _failed(self, error: Exception) -> None:
        """Report the member as down: without this task it would send nothing more."""
        if isinstance(error, OSError):
            self._lost(f"{error.filename or self._records.folder}: {error.strerror}")
        elif isinstance(error, MemberError):
            self._lost(str(error))
        else:
            self._lost(f"a fault in the Flux member: {type(error).__name__}: {error}")

    async def _follow(self) -> None:
        """Make events of what the journal says, and release what is to run."""
        register = self._register
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            received, self._received = self._received, deque()
            register.ending = self._ending
            for entry in received:
                register.count(entry)
                for event in register.follow(entry):
                    self._put(event)
            self._dirty.set()
            await self._release()
            self._outbox.settle()

    def _put(self, event: JobEvent | NativeEvent) -> None:
        """Send an end; where files must be read first, leave it to `_complete`."""
        if (
            isinstance(event, JobEvent)
            and event.state == FINISHED
            and (event.key, event.attempt) in self._register.unread
        ):
            self._ended.append(event)
            self._unread.set()
        else:
            self._outbox.put(event)

    async def _release(self) -> None:
        """Release jobs, after it is written down that they may run; cancel those that double another."""
        register = self._register
        waiting, register.to_release = register.to_release, []
        doubles, register.doubles = register.doubles, []
        jobs = [job for job in waiting if job.id in register.jobs]
        unwanted = [job for job in jobs if job.ref in self._to_cancel]
        jobs = [job for job in jobs if job.ref not in self._to_cancel]
        self._doubtful.difference_update(job.ref for job in waiting)
        fresh = [(job.id, job.ref) for job in jobs if job.ref not in register.released]
        if fresh:
            await asyncio.to_thread(self._records.release, fresh)
            register.released.update((ref, number) for number, ref in fresh)
        asked = [calls.urgency(job.id, self._urgency_of(job)) for job in jobs if not job.released]
        asked += [calls.cancel(number, "another job of this ensemble has the same key") for number in doubles]
        assert self._work is not None
        if asked:
            self._work.start(self._ask(asked))
        for job in unwanted:
            self._work.start(self._cancel(self._up(), [job], self._to_cancel.pop(job.ref)))

    async def _complete(self) -> None:
        """Add to ends what the jobs have written, and send them: nothing else waits for slow files."""
        register = self._register
        while True:
            await self._unread.wait()
            self._unread.clear()
            while some := [(end.key, end.attempt) for end in self._ended]:
                await self._completing.complete(some)
                for ref in some:
                    self._outbox.put(register.ends[ref])
                    self._ended.popleft()
            self._outbox.settle()

    # ---- sizes ---------------------------------------------------------------------------------------

    async def _ping(self) -> None:
        """Find out when the broker, or its job manager, does not answer any more: its journal is silent then."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            try:
                await self._up().call(calls.ping(), SILENCE_SECONDS)
            except FluxError:
                continue  # that it cannot do this is an answer, too

    async def _look(self) -> Sizes:
        try:
            sizes = read_sizes(await self._up().call(calls.sizes()))
        except FluxError as error:
            # the scheduler is being loaded again, say
            raise MemberError(f"the scheduler does not report its resources: {error}", transient=True) from error
        except msgspec.MsgspecError as error:
            raise MemberError(f"the scheduler's report of its resources cannot be read: {error}") from error
        self._sizes = sizes
        self._shipping.resized(sizes)
        return sizes

    async def _measure(self) -> None:
        """Send what is up, free and queued, and why jobs wait, when it changes: at most once a second, less often
        where that takes long."""
        assert self._context is not None
        before: tuple[Sizes, dict[str, int], dict[str, int]] | None = None
        waiting: dict[str, int] = {}
        while True:
            # the journal is silent when a queue is stopped or nodes are drained while nothing runs
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN if waiting else None):
                    await self._dirty.wait()
            self._dirty.clear()
            began = time.monotonic()
            with contextlib.suppress(MemberError):
                sizes = await self._look()
                queue = {
                    **dict.fromkeys(("depend", "sched", "run", "cleanup"), 0),
                    **Counter(self._register.active.values()),
                }
                waiting = await self._why_jobs_wait(sizes)
                if (sizes, queue, waiting) != before:
                    event = MemberEvent(
                        self._context.name, "nodes", time.time(), nodes_up=sizes.nodes_up, nodes_free=sizes.nodes_free,
                        cores_up=sizes.cores_up, cores_free=sizes.cores_free, gpus_up=sizes.gpus_up,
                        cores_per_node=sizes.cores_per_node, queue=queue,
                        waiting=waiting if waiting != (before[2] if before is not None else {}) else None,
                    )  # fmt: skip
                    before = (sizes, queue, waiting)
                    self._outbox.put(event)
            await asyncio.sleep(max(_LOOK, 10 * (time.monotonic() - began)))

    async def _why_jobs_wait(self, sizes: Sizes) -> dict[str, int]:
        """How many of this run's jobs wait, by the reason. Raises `MemberError` when the broker does not answer."""
        waiting = [job for job in self._register.jobs.values() if job.waits]
        queues = sorted({job.queue for job in waiting})
        if not queues:
            return {}
        stopped: dict[str, str] = {}
        for name, answer in zip(queues, await self._up().calls([calls.queue(name) for name in queues]), strict=True):
            # one that does not answer this is not known to be stopped
            if isinstance(answer, dict) and not answer.get("start", True):
                stopped[name] = str(answer.get("stop_reason", ""))
        return reasons(waiting, sizes, stopped)
