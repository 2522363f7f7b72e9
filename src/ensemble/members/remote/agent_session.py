"""The agent's side of one session: one member of one run, over any number of streams.

Nothing is kept on disk here. An event goes from the inner member into `EventOutbox` and stays until the service has it
in its journal; only then the inner member's `put` returns: what survives a `kill -9` is the inner member's own stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from ensemble.members.contract import CloseMode, Context, Hello, Member
from ensemble.members.remote import messages
from ensemble.members.remote.directories import relocate, run_dir_here
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import FINISHED
from ensemble.session import convert
from ensemble.session.commands import AnsweredCommands
from ensemble.session.flow import EventOutbox, Gap
from ensemble.session.limits import BATCH_BYTES, BATCH_EVENTS, BATCH_SECONDS, EVENT_BYTES, FETCH_BYTES, WINDOW
from ensemble.session.stream import ByeCode, Ended, Stream
from ensemble.session.v1 import model_pb2 as model
from ensemble.session.v1 import session_pb2 as pb

SourceEvent = JobEvent | NativeEvent | MemberEvent
AgentStream = Stream[pb.ServiceMessage, pb.AgentMessage]

CLOSE_SECONDS = 30.0
"""How long an inner member may take to let go of its queue."""


class AgentSession:
    """One member of one run, at the agent."""

    def __init__(self, agent: str, run: str, member: str, factory: Callable[[], Member], base: str = "") -> None:
        """`agent`: the name of this life of the agent; `member`: the name in the run's file."""
        self.agent, self.run, self.member = agent, run, member
        self._factory, self._base = factory, base
        self.outgoing = EventOutbox()
        self.counts = QueueCounts()
        self._answers = AnsweredCommands()
        self._session = ""
        self._window = WINDOW
        self._epoch = 0
        self._stream: AgentStream | None = None
        self._inner: Member | None = None
        self._inner_epoch = 0
        self._hello: Hello | None = None
        self._sink: _Sink | None = None
        self._broken = False
        self._move = relocate("", "")
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._exclusive: set[asyncio.Task[None]] = set()
        self._flushed = 0.0
        self._flush_due = False

    # ---- streams -----------------------------------------------------------------------------------

    def admit(self, hello: pb.ServiceHello) -> None:
        """Raises `Ended` for a service that was replaced by a newer one."""
        if hello.epoch < self._epoch:
            raise Ended(ByeCode.FENCED, f"run {self.run} was taken over by another process (epoch {self._epoch})")

    def attach(self, stream: AgentStream, hello: pb.ServiceHello) -> None:
        """Continue on this stream; the newest one wins. Raises `Ended` when the session cannot continue."""
        self.admit(hello)
        resuming = bool(hello.resume) and hello.resume == self.agent and hello.session == self._session
        if resuming:
            try:
                if hello.HasField("received"):
                    self.outgoing.resume(hello.received, hello.credit)
                else:
                    self.outgoing.hold()
            except Gap as gap:
                raise Ended(ByeCode.PROTOCOL, str(gap)) from gap
            self._answers.prune(hello.answered)
        else:
            # nothing is sent before `Open` says from where
            self._session, self._answers = hello.session, AnsweredCommands()
            self._window = hello.credit or WINDOW
            self.outgoing.hold()
        self._epoch = hello.epoch
        old, self._stream = self._stream, stream
        if old is not None and old.alive:
            old.end(ByeCode.SUPERSEDED, "a newer stream has replaced this one")
        stream.listen(self._take, self._fill)

    def detach(self, stream: AgentStream) -> None:
        """A stream is over."""
        if self._stream is stream:
            self._stream = None

    def send(self, message: pb.AgentMessage) -> None:
        """Send a message, if there is a stream."""
        if self._stream is not None and self._stream.alive:
            self._stream.send(message)

    async def leave(self) -> None:
        """The agent is stopping: detach from the queue, whose jobs continue."""
        if self._stream is not None:
            self._stream.end(ByeCode.UNSPECIFIED, "the agent is stopping; its jobs continue")
        for task in self._tasks | self._exclusive:
            task.cancel()
        await self._let_go("detach")

    # ---- messages of the service ---------------------------------------------------------------------

    def _take(self, message: pb.ServiceMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind == "ack":
            ack = message.ack
            try:
                self.outgoing.acknowledge(ack.durable, ack.credit)
            except Gap as gap:
                raise Ended(ByeCode.PROTOCOL, str(gap)) from gap
            self._answers.prune(ack.answered)
            self._wake()
        elif kind == "command":
            command = pb.Command()
            command.CopyFrom(message.command)
            if self._answers.begin(command.id):
                task = asyncio.create_task(self._carry_out(command, self._answers), name=f"command {command.id}")
                # opening and closing cancel the other commands, and never each other
                tasks = self._tasks if command.WhichOneof("kind") not in ("open", "close") else self._exclusive
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                for part in self._answers.of(command.id):
                    self.send(pb.AgentMessage(result=part))
                    if part.HasField("opened"):
                        self._allow(part.opened.sequence)

    async def _carry_out(self, command: pb.Command, known: AnsweredCommands) -> None:
        kind = command.WhichOneof("kind") or ""
        doing: Callable[[Any, Callable[[pb.CommandResult], Coroutine[Any, Any, None]]], Any] | None
        doing = getattr(self, f"_do_{kind}", None)

        async def answer(result: pb.CommandResult) -> None:
            result.id = command.id
            known.add(result)
            if known is self._answers:
                self.send(pb.AgentMessage(result=result))
                if self._stream is not None:
                    await self._stream.drain()

        try:
            if doing is None:
                raise MemberError(f"this agent does not know the command ({kind or 'empty'})")
            await doing(getattr(command, kind), answer)
        except Exception as error:
            await answer(pb.CommandResult(error=messages.error_to(error)))

    async def _do_open(self, asked: pb.Open, answer: Any) -> None:
        async with self._opening:
            hello = await self._open(asked)
            # a position in another stream says nothing of this one, whose numbers begin again
            begin = self.outgoing.begin(asked.position if hello.stream == asked.stream else 0)
            await answer(pb.CommandResult(opened=messages.opened_to(hello, begin, hello.text)))
            self._allow(begin)

    def _allow(self, begin: int) -> None:
        """Begin to send events, after the answer that says where their numbers begin."""
        self.outgoing.credit = max(self.outgoing.credit, begin + self._window)
        self._wake()

    async def _open(self, asked: pb.Open) -> Hello:
        if self._fits(asked):
            assert self._hello is not None
            return self._hello
        if self._inner is not None:
            for task in self._tasks:
                task.cancel()
        inner = self._inner
        if self._sink is not None:
            self._sink.close()
        if inner is None or self._inner_epoch != self._epoch:
            await self._let_go("detach")
            inner = self._factory()
        self.outgoing.drop(asked.position)
        here = run_dir_here(asked.run_dir, self.run, self._base)
        self._move = relocate(asked.run_dir, here)
        self._sink, self._broken, self._inner, self._inner_epoch = _Sink(self), False, inner, self._epoch
        context = Context(
            run=self.run,
            name=self.member,
            run_dir=here,
            epoch=self._epoch,
            sink=self._sink,
            options=convert.map_from_message(asked.options),
            nodes=asked.nodes,
            min_nodes=asked.min_nodes,
            max_nodes=asked.max_nodes,
            cores=asked.cores,
            gpus=asked.gpus,
            stream=asked.stream,
            position=asked.position,
            resumed=asked.resumed,
            wanted=tuple(asked.wanted),
            seed=asked.seed,
        )
        try:
            self._hello = await inner.open(context)
        except BaseException:
            self._broken = True
            raise
        self.counts.hello(self._hello)
        return self._hello

    def _fits(self, asked: pb.Open) -> bool:
        """Whether the queue is open already, and what is kept goes on where the service's journal ends."""
        return (
            self._inner is not None
            and self._hello is not None
            and not self._broken
            and self._inner_epoch == self._epoch
            and asked.stream in ("", self._hello.stream)
            and asked.position >= self.outgoing.position
        )

    async def _do_submit(self, asked: pb.Submit, answer: Any) -> None:
        specs = [self._move(convert.spec_from_message(one)) for one in asked.jobs]
        strange = next((spec.ref for spec in specs if spec.ref.run != self.run), None)
        if strange is not None:
            raise MemberError(f"{strange} is a job of another run than {self.run}")
        receipts = await self._queue().submit(asked.batch, specs)
        await answer(pb.CommandResult(receipts=messages.receipts_to(receipts)))

    async def _do_cancel(self, asked: pb.Cancel, answer: Any) -> None:
        receipts = await self._queue().cancel(messages.keyed_from(asked.refs, self.run), asked.grace)
        await answer(pb.CommandResult(receipts=messages.receipts_to(receipts)))

    async def _do_resize(self, asked: pb.Resize, answer: Any) -> None:
        receipt = await self._queue().resize(asked.command, asked.nodes)
        await answer(pb.CommandResult(receipts=messages.receipts_to([receipt])))

    async def _do_inventory(self, _: pb.Inventory, answer: Any) -> None:
        async for page in self._queue().inventory():
            for part in messages.page_parts(page):
                await answer(pb.CommandResult(page=part, more=not part.last))
            if page.last:
                return
        await answer(pb.CommandResult(page=pb.InventoryPage(last=True, text="the queue sent no last page")))

    async def _do_fetch(self, asked: pb.Fetch, answer: Any) -> None:
        ref = messages.keyed_from([asked.ref], self.run)[0]
        data = await self._queue().fetch(ref, asked.path, asked.offset, min(asked.limit, FETCH_BYTES))
        await answer(pb.CommandResult(data=data))

    async def _do_close(self, asked: pb.Close, answer: Any) -> None:
        mode: CloseMode = "cancel" if asked.mode == "cancel" else "detach" if asked.mode == "detach" else "drain"
        await self._let_go(mode)
        await answer(pb.CommandResult(closed=pb.Closed()))

    def _queue(self) -> Member:
        if self._inner is None or self._broken or self._hello is None:
            raise MemberError("the queue is not open", transient=True)
        return self._inner

    async def _let_go(self, mode: CloseMode) -> None:
        inner, self._inner, self._hello = self._inner, None, None
        if inner is None:
            return
        if mode == "detach" and self._sink is not None:
            # what is not durable by now is for whoever comes next: the queue keeps it
            self._sink.close()
            self.outgoing.drop(self.outgoing.position)
        with contextlib.suppress(MemberError, TimeoutError):
            if mode == "drain":
                await inner.close(mode)
            else:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await inner.close(mode)

    # ---- events of the queue -----------------------------------------------------------------------

    def receive(self, events: Sequence[SourceEvent]) -> asyncio.Future[int]:
        """Take events of the queue; the future gives the last durable `n`."""
        for event in events:
            self.counts.note(event)
            if isinstance(event, MemberEvent):
                if event.name == "down":
                    self._broken = True
                elif event.nodes_up >= 0 and self._hello is not None:
                    sizes = {name: getattr(event, name) for name in convert.SIZES if getattr(event, name) >= 0}
                    self._hello = msgspec.structs.replace(self._hello, **sizes)
        future = self.outgoing.put(events)
        self._wake()
        return future

    def position(self) -> int:
        """The last durable `n`."""
        return self.outgoing.position

    def _wake(self) -> None:
        if self._stream is not None:
            self._stream.wake()

    def _fill(self) -> pb.AgentMessage | None:
        """The next batch: at once when nothing else is on its way, else when it is full or a little old."""
        ready = self.outgoing.ready()
        if not ready:
            return None
        now = time.monotonic()
        out = self.outgoing
        if ready < BATCH_EVENTS and out.sent >= out.first and now - self._flushed < BATCH_SECONDS:
            if not self._flush_due:
                self._flush_due = True
                asyncio.get_running_loop().call_later(BATCH_SECONDS - (now - self._flushed), self._flush)
            return None
        self._flushed = now
        first, events = self.outgoing.take(BATCH_EVENTS)
        batch = pb.EventBatch(first=first, run=self.run)
        convert.add_events(batch, events)
        while batch.ByteSize() > BATCH_BYTES and len(batch.events) > 1:
            half = len(batch.events) // 2
            self.outgoing.put_back(len(batch.events) - half)
            del batch.events[half:]
        if batch.ByteSize() > EVENT_BYTES:
            for event in batch.events:
                if event.ByteSize() > EVENT_BYTES:
                    _cut(event)
        return pb.AgentMessage(events=batch)

    def _flush(self) -> None:
        self._flush_due = False
        self._wake()


class _Sink:
    """The inner member's sink, for one opening of it."""

    def __init__(self, session: AgentSession) -> None:
        self._session = session
        self._closed = False

    def close(self) -> None:
        """Accept no more events: the member must keep those that it has."""
        self._closed = True

    async def put(self, events: Sequence[SourceEvent]) -> int:
        """Hand over events; returns once they are in the service's journal, or are not wanted any more."""
        if self._closed:
            return self._session.position()
        return await self._session.receive(events)


def _cut(event: model.SourceEvent) -> None:
    """Make an event fit: its long texts go, what happened stays."""
    kind = event.WhichOneof("kind")
    if kind == "job":
        job = event.job
        job.text = f"{job.text[:1000]} ... ({len(job.text)} characters)"
        job.hosts, job.reason = job.hosts[:10_000], job.reason[:1000]
        if event.ByteSize() > EVENT_BYTES:
            job.figures.clear()
            del job.missing[:]
            job.text = "its figures did not fit into a message"
    elif kind == "native":
        note = convert.map_to_message({"cut": f"{event.native.data.ByteSize()} bytes did not fit into a message"})
        event.native.data.CopyFrom(note)
    elif event.member.name not in ("inventory",):
        event.member.text = event.member.text[:1000]


class QueueCounts:
    """Counts jobs per state. Counts that the queue itself reports take precedence."""

    def __init__(self) -> None:
        self._nodes = model.NodeCounts()
        self._states: dict[tuple[str, int], str] = {}
        self._ended = 0
        self._queue: dict[str, int] | None = None

    def hello(self, hello: Hello) -> None:
        """A member was opened."""
        self._sizes(hello)

    def note(self, event: JobEvent | NativeEvent | MemberEvent) -> None:
        """Take an event into account."""
        if isinstance(event, JobEvent):
            ref = (event.key, event.attempt)
            if event.state == FINISHED:
                self._states.pop(ref, None)
                self._ended += 1
            else:
                self._states[ref] = event.state
        elif isinstance(event, MemberEvent):
            if event.nodes_up >= 0:
                self._sizes(event)
            if event.queue is not None:
                self._queue = event.queue

    def _sizes(self, source: Hello | MemberEvent) -> None:
        nodes = self._nodes
        nodes.node_cores_free = max(0, source.cores_free)
        nodes.node_cores_up = max(0, source.cores_up)
        nodes.node_up_count = max(0, source.nodes_up)
        nodes.node_free_count = max(0, source.nodes_free)

    @property
    def nodes(self) -> model.NodeCounts:
        """Nodes and cores."""
        return self._nodes

    def queue(self) -> model.QueueCounts:
        """Jobs per state."""
        if self._queue is not None:
            return convert.queue_to_message(self._queue)
        counts: dict[str, int] = {"inactive": self._ended}
        for state in self._states.values():
            # a job that is handed over and not yet looked at is new to the queue
            name = "new" if state == "submitted" else state
            counts[name] = counts.get(name, 0) + 1
        return convert.queue_to_message(counts)
