"""The service's end of a remote member."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from secrets import token_hex
from typing import ClassVar, Final, NoReturn

from ensemble import __version__
from ensemble.members.contract import CloseMode, Context, Hello, Page, Receipt, Refused
from ensemble.members.remote import messages
from ensemble.members.remote.connections import ACCEPTOR, Acceptor, AnotherAgent, Connector, Dialer, ServiceStream
from ensemble.members.remote.options import RemoteOptions, read_options
from ensemble.model.errors import InputError, MemberError, MemberUnavailable
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import AttemptRef, JobSpec
from ensemble.session import convert
from ensemble.session.backoff import Backoff
from ensemble.session.commands import PendingCommands
from ensemble.session.flow import EventInbox, Flood, Gap
from ensemble.session.hello import versions
from ensemble.session.limits import BATCH_BYTES, FETCH_BYTES, ITEM_BYTES, WINDOW
from ensemble.session.stream import ByeCode, Ended
from ensemble.session.v1 import session_pb2 as pb

SourceEvent = JobEvent | NativeEvent | MemberEvent

OPEN_SECONDS: Final = 120.0
"""How long a queue may take to open."""

REFUSED: Final = {ByeCode.VERSION, ByeCode.WRONG_MEMBER, ByeCode.FENCED}
"""After these errors a new session would fail as well."""

FINAL: Final = {*REFUSED, ByeCode.PROTOCOL, ByeCode.FLOOD}
"""After these errors the same session cannot go on."""

ANSWERS_PER_ACK: Final = 32
"""After this many answers the agent gets an acknowledgement, so that it need not keep them."""

REFS: Final = 10_000
"""Attempts in one message."""


class RemoteMember:
    """A queue that an agent looks after. See `members.contract.Member` for what each call promises.

    With the option `address` the agent is dialled there; without, it is expected to dial the `Acceptor`. A broken
    stream is mended in silence; after `outage` seconds without one, or when the agent was started anew,
    `MemberEvent("down")` is put and `open` with the same context goes on.
    """

    # what this kind of member can do: `members.contract.Member`
    group_options: ClassVar = ()

    def __init__(self, acceptor: Acceptor | None = None) -> None:
        """`acceptor`: where the agent dials in; default: that of the service we are made in (`ACCEPTOR`)."""
        self._acceptor = acceptor if acceptor is not None else ACCEPTOR.get()
        self._context: Context | None = None
        self._connector: Connector | None = None
        self._where: RemoteOptions | None = None
        self._connection: _Connection | None = None

    async def open(self, context: Context) -> Hello:
        """Wait for the agent and let it open the queue. Raises `MemberError`."""
        await self._drop(ByeCode.REOPEN, "the member is being opened anew")
        options = read_options(context.options, context.name)
        if self._connector is None or options != self._where:
            if self._connector is not None:
                await self._connector.close()
            self._connector = self._find(options, context)
            self._where = options
        self._context = context
        connection = self._connection = _Connection(context, options, self._connector)
        try:
            return await connection.begin()
        except BaseException:
            await self._drop(ByeCode.REOPEN, "it could not be opened")
            raise

    def _find(self, options: RemoteOptions, context: Context) -> Connector:
        try:
            if options.address:
                return Dialer(options.address, options.security, options.ping, options.silence)
        except InputError as error:
            raise MemberUnavailable(f"member {context.name}: {error}") from error
        if self._acceptor is None:
            raise MemberUnavailable(
                f"member {context.name}: it has no `address`, and no agent can dial in here; "
                "give the address of an agent that listens, or run this on a server"
            )
        return self._acceptor.expect(context.run, context.name, context.epoch)

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Hand over jobs, in messages of bounded size; one too large for any is refused."""
        receipts: list[Receipt | None] = [None] * len(jobs)
        part = pb.Submit(batch=batch)
        places: list[int] = []
        size = 0
        for place, job in enumerate(jobs):
            message = convert.spec_to_message(job)
            more = message.ByteSize()
            if more > ITEM_BYTES:
                receipts[place] = Refused(
                    f"its description takes {more} bytes and {ITEM_BYTES} fit into a message; put the text into a file"
                )
                continue
            if places and size + more > BATCH_BYTES:
                await self._submit(part, places, receipts)
                part, places, size = pb.Submit(batch=batch), [], 0
            part.jobs.append(message)
            places.append(place)
            size += more + 8
        if places:
            await self._submit(part, places, receipts)
        return [receipt for receipt in receipts if receipt is not None]

    async def _submit(self, part: pb.Submit, places: list[int], receipts: list[Receipt | None]) -> None:
        found = messages.receipts_from((await self._ask(pb.Command(submit=part))).receipts)
        if len(found) != len(places):
            raise MemberError(f"the agent gave {len(found)} receipts for {len(places)} jobs")
        for place, receipt in zip(places, found, strict=True):
            receipts[place] = receipt

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """End jobs."""
        receipts: list[Receipt] = []
        for place in range(0, len(refs), REFS):
            some = messages.keyed(refs[place : place + REFS])
            result = await self._ask(pb.Command(cancel=pb.Cancel(refs=some, grace=grace)))
            receipts += messages.receipts_from(result.receipts)
        return receipts

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Bring the queue to so many nodes."""
        result = await self._ask(pb.Command(resize=pb.Resize(command=command, nodes=nodes)))
        return messages.receipts_from(result.receipts)[0]

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that the queue knows."""
        connection = self._connected()
        assert self._context is not None
        async for result in connection.ask_all(pb.Command(inventory=pb.Inventory())):
            yield messages.page_from(result.page, self._context.name, self._context.run)

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Read part of a job's file."""
        data = bytearray()
        while len(data) < limit:
            piece = min(limit - len(data), FETCH_BYTES)
            asked = pb.Fetch(ref=messages.keyed([ref])[0], path=path, offset=offset + len(data), limit=piece)
            found = (await self._ask(pb.Command(fetch=asked))).data
            data += found
            if len(found) < piece:
                break
        return bytes(data)

    async def close(self, mode: CloseMode) -> None:
        """Let go; raises `MemberError` when the agent could not be asked to end the jobs that run."""
        try:
            if self._connection is not None and (mode != "detach" or self._connection.connected):
                self._connection.closing = True
                await self._connection.ask(pb.Command(close=pb.Close(mode=mode)))
        except MemberError:
            if mode != "detach":
                raise
        finally:
            if mode == "detach":
                await self._drop(ByeCode.UNSPECIFIED, "the run was detached; it may be resumed")
            else:
                await self._drop(ByeCode.DONE, "the run has released this member")
            if self._connector is not None:
                connector, self._connector = self._connector, None
                await connector.close()

    def _connected(self) -> _Connection:
        if self._connection is None:
            raise MemberError("the remote member is not open", transient=True)
        return self._connection

    async def _ask(self, command: pb.Command) -> pb.CommandResult:
        return await self._connected().ask(command)

    async def _drop(self, code: ByeCode, text: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.end(code, text)


class _Connection:
    """One opening of the member, over any number of streams to one life of an agent."""

    def __init__(self, context: Context, options: RemoteOptions, connector: Connector) -> None:
        self.context, self.options, self.connector = context, options, connector
        self.closing = False
        self._session = token_hex(8)
        self._asked = PendingCommands()
        self._acknowledged = 0
        self._incoming: EventInbox | None = None
        self._opening = 0
        self._queue: list[tuple[int, list[SourceEvent]]] = []
        self._came = asyncio.Event()
        self._stream: ServiceStream | None = None
        self._agent = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._lost = ""
        self._closings: set[asyncio.Task[None]] = set()
        """Streams that are on their way out; the next one does not wait for them."""

    async def begin(self) -> Hello:
        """Connect, and let the agent open the queue."""
        try:
            async with asyncio.timeout(self.options.wait):
                stream, agent = await self.connector.connect(self._hello, "")
        except TimeoutError:
            why = self.connector.trouble()
            raise MemberError(f"no agent within {self.options.wait:g} s: {why}", transient=True) from None
        self._agent = agent.agent
        self._listen(stream)
        self.connector.on_change(self._superseded, self._displaced)
        self._tasks = [
            asyncio.create_task(self._mend(), name=f"remote {self.context.name} stream"),
            asyncio.create_task(self._deliver(), name=f"remote {self.context.name} events"),
        ]
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                result = await self.ask(pb.Command(open=self._open_message()))
        except TimeoutError:
            raise MemberError(f"the queue did not open within {OPEN_SECONDS:g} s", transient=True) from None
        return messages.hello_from(result.opened)

    def _open_message(self) -> pb.Open:
        context = self.context
        return pb.Open(
            run_dir=context.run_dir,
            options=convert.map_to_message(self.options.inner),
            nodes=context.nodes,
            min_nodes=context.min_nodes,
            max_nodes=context.max_nodes,
            cores=context.cores,
            gpus=context.gpus,
            stream=context.stream,
            position=context.position,
            resumed=context.resumed,
            wanted=context.wanted,
            seed=context.seed,
        )

    def _hello(self) -> pb.ServiceHello:
        incoming = self._incoming
        return pb.ServiceHello(
            **versions(),
            session=self._session,
            run=self.context.run,
            member=self.context.name,
            epoch=self.context.epoch,
            resume=self._agent,
            received=incoming.received if incoming is not None else None,
            credit=incoming.credit if incoming is not None else WINDOW,
            answered=self._asked.answered,
            kind=self.options.kind,
            software=f"ensemble {__version__}",
            host=socket.gethostname(),
        )

    async def end(self, code: ByeCode, text: str) -> None:
        """Let go of the stream; no event is put any more."""
        self.closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._asked.fail(MemberError(text, transient=True))
        if self._stream is not None:
            self._stream.end(code, text)
            await self._stream.close()

    @property
    def connected(self) -> bool:
        """Whether there is a stream just now."""
        return self._stream is not None and self._stream.alive

    # ---- commands ----------------------------------------------------------------------------------

    async def ask(self, command: pb.Command) -> pb.CommandResult:
        """Send a command; return its only answer. Raises `MemberError`."""
        async for result in self.ask_all(command):
            return result
        raise MemberError("the agent gave no answer", transient=True)

    async def ask_all(self, command: pb.Command) -> AsyncIterator[pb.CommandResult]:
        """Send a command; yield its answers."""
        if self._lost:
            raise MemberError(self._lost, transient=True)
        waiting = self._asked.ask(command)
        if command.WhichOneof("kind") == "open":
            self._opening = command.id
        try:
            if self._stream is not None and self._stream.alive:
                self._stream.send(pb.ServiceMessage(command=command))
            while True:
                result = await waiting.get()
                if isinstance(result, Exception):
                    raise result
                if result.HasField("error"):
                    raise messages.error_from(result.error)
                yield result
                if not result.more:
                    return
        finally:
            self._asked.forget(command)

    # ---- messages of the agent -----------------------------------------------------------------------

    def _listen(self, stream: ServiceStream) -> None:
        self._stream = stream
        # the last acknowledgement may have been lost with the stream before
        self._acknowledge()
        for command in self._asked.again():
            stream.send(pb.ServiceMessage(command=command))
        stream.listen(self._take)

    def _take(self, message: pb.AgentMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind == "events":
            self._take_events(message.events)
        elif kind == "result":
            result = pb.CommandResult()
            result.CopyFrom(message.result)
            if result.id == self._opening and result.HasField("opened") and self._incoming is None:
                # here and now: the events stand right behind it in the stream
                self._incoming = EventInbox(result.opened.sequence, WINDOW)
            self._asked.answer(result)
            if self._asked.answered - self._acknowledged >= ANSWERS_PER_ACK:
                self._acknowledge()

    def _take_events(self, batch: pb.EventBatch) -> None:
        if batch.run != self.context.run:
            self._accuse("wrong-run", f"the agent sent events of run {batch.run!r} into run {self.context.run!r}")
        if self._incoming is None:
            self._accuse("protocol", "the agent sent events before its queue was open")
        try:
            old = self._incoming.accept(batch.first, len(batch.events))
        except Flood as flood:
            self._accuse("flood", f"the agent sent more events than it had credit for: {flood}")
        except Gap as gap:
            self._accuse("protocol", f"the agent's events are out of order: {gap}")
        messages = batch.events[old:] if old else batch.events
        if messages:
            try:
                events = convert.events_of(messages, self.context.name)
            except Exception as error:
                # they count as received: were the stream mended, they would not come again
                self._accuse(
                    "protocol", f"the agent sent an event that cannot be read: {type(error).__name__}: {error}"
                )
            self._queue.append((self._incoming.received, events))
            self._came.set()

    def _accuse(self, name: str, text: str) -> NoReturn:
        """End this opening because the agent broke the protocol, with a fault event. Raises `Ended`."""
        code = ByeCode.FLOOD if name == "flood" else ByeCode.PROTOCOL
        fault = MemberEvent(self.context.name, "fault", time.time(), text=f"{name}: {text}")
        self._queue.append((0, [fault]))
        self._lose(f"{name}: {text}")
        raise Ended(code, text)

    async def _deliver(self) -> None:
        """Put events where they become durable, what came meanwhile together, and give credit for more."""
        sink, incoming = self.context.sink, None
        while True:
            await self._came.wait()
            self._came.clear()
            batches, self._queue = self._queue, []
            if not batches:
                continue
            events = [event for _, some in batches for event in some]
            last = max(number for number, _ in batches)
            # they rise; only what is not of the stream has no number
            highest = next((event.n for event in reversed(events) if event.n), 0)
            durable = await sink.put(events)
            if durable < highest:
                # the run is being left: whoever comes next gets them again
                return
            incoming = self._incoming
            if incoming is not None and last:
                incoming.made_durable(last)
                self._acknowledge()

    def _acknowledge(self) -> None:
        incoming = self._incoming
        if incoming is None or self._stream is None or not self._stream.alive:
            return
        self._acknowledged = self._asked.answered
        ack = pb.Ack(durable=incoming.durable, credit=incoming.credit, answered=self._acknowledged)
        self._stream.send(pb.ServiceMessage(ack=ack))

    # ---- streams come and go -----------------------------------------------------------------------

    def _superseded(self) -> None:
        if self._stream is not None and self._stream.alive:
            self._stream.end(ByeCode.SUPERSEDED, "a newer stream has replaced this one")

    def _displaced(self) -> None:
        self._lose("another process has opened this member")
        if self._stream is not None:
            self._stream.end(ByeCode.REOPEN, "another process has opened this member")

    async def _mend(self) -> None:
        # a stream that brought nothing is not followed by another at once
        backoff, before = Backoff(0.05, 1.0), (-1, -1)
        while not self._lost:
            assert self._stream is not None
            end = await self._stream.over()
            closing = asyncio.create_task(self._stream.close())
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)
            if not self._lost and end.theirs and end.code in FINAL:
                self._lose(end.text, transient=end.code not in REFUSED)
            if self._lost:
                return
            why = end.text
            try:
                async with asyncio.timeout(self.options.outage):
                    come = self._come()
                    if come == before:
                        await asyncio.sleep(backoff.next())
                    else:
                        backoff.reset()
                    before = come
                    stream, _ = await self.connector.connect(self._hello, self._agent)
                self._listen(stream)
            except AnotherAgent:
                self._lose("the agent was started anew")
            except TimeoutError:
                self._lose(f"no stream for {self.options.outage:g} s: {why}; {self.connector.trouble()}")
            except MemberError as error:
                self._lose(str(error), transient=error.transient)

    def _come(self) -> tuple[int, int]:
        """How far events and answers have come."""
        return self._incoming.received if self._incoming is not None else 0, self._asked.answered

    def _lose(self, why: str, *, transient: bool = True) -> None:
        """End this opening. Open calls fail, and the engine gets the reason after all earlier events."""
        if self._lost:
            return
        self._lost = why
        self._asked.fail(MemberError(why, transient))
        if not self.closing:
            self._queue.append((0, [MemberEvent(self.context.name, "down", time.time(), text=why)]))
            self._came.set()
