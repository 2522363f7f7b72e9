"""One live stream, whichever side dialled: what is to be sent in order, pings, silence, and how it ended."""

from __future__ import annotations

__all__ = ["ByeCode", "Ended", "Stream", "Wire"]

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar

import grpc
from grpc import aio

from ensemble.session.limits import HELLO_SECONDS, MESSAGE_BYTES, PING_SECONDS, SILENCE_SECONDS
from ensemble.session.v1 import session_pb2 as pb


class ByeCode(IntEnum):
    """Why a stream ends: the numbers of `ByeCode` in the proto, where each is described."""

    UNSPECIFIED = 0
    DONE = 1
    REOPEN = 2
    SUPERSEDED = 3
    VERSION = 4
    NO_HELLO = 5
    FLOOD = 6
    STALLED = 7
    PROTOCOL = 8
    WRONG_MEMBER = 9
    FENCED = 10
    BUSY = 11


In = TypeVar("In", pb.AgentMessage, pb.ServiceMessage)
Out = TypeVar("Out", pb.AgentMessage, pb.ServiceMessage)

EARLY = 8
"""Messages that may come before somebody listens: a hello, and pings."""

LINGER_SECONDS = 1.0
"""How long the other side may take to hear our goodbye."""

BACKLOG = 64
"""Messages that wait to be sent before `drain` makes their maker wait."""

PERMANENT = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
    }
)
"""Statuses that another attempt will meet again."""


class Wire(Protocol):
    """What gRPC gives: a client's call or a server's context."""

    async def read(self) -> Any:
        """The next message, or `grpc.aio.EOF`."""
        ...

    async def write(self, message: Any) -> Any:
        """Send one message; waits while the other side does not read."""
        ...


class Ended(Exception):
    """A stream is over. `theirs`: the other side said so; `permanent`: it makes no sense to come back with the same."""

    def __init__(self, code: ByeCode, text: str, *, theirs: bool = False, permanent: bool = False) -> None:
        self.code, self.text, self.theirs, self.permanent = code, text, theirs, permanent
        super().__init__(text)


class Stream(Generic[In, Out]):
    """Reads, writes and watches in tasks of its own from `start` until `over`."""

    def __init__(
        self,
        wire: Wire,
        out: type[Out],
        *,
        ping_seconds: float = PING_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        status: Callable[[], pb.StatusResponse | None] = lambda: None,
    ) -> None:
        """`wire` a call or a context; `out` the kind of message that this side sends; `status` rides on pings."""
        self._wire = wire
        self._out: Any = out
        self._ping_seconds, self._silence_seconds = ping_seconds, silence_seconds
        self._status = status
        self._outbox: deque[Out] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._early: deque[In] = deque()
        self._arrived = asyncio.Event()
        self._take: Callable[[In], None] | None = None
        self._fill: Callable[[], Out | None] = lambda: None
        self._tasks: list[asyncio.Task[None]] = []
        self._end: Ended | None = None
        self._over = asyncio.Event()
        self._leaving = False
        loop = asyncio.get_running_loop()
        self._now = loop.time  # monotonic: a stepping clock changes nothing here
        self._received_at = self._sent_at = loop.time()

    # ---- for both sides ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read and write."""
        self._tasks = [
            asyncio.create_task(self._read_all(), name="stream read"),
            asyncio.create_task(self._write_all(), name="stream write"),
            asyncio.create_task(self._watch(), name="stream watch"),
        ]

    async def hello(self, seconds: float = HELLO_SECONDS) -> In:
        """The first message of the other side that is no ping. Raises `Ended` when none comes in time."""
        until = self._now() + seconds
        while True:
            while self._early:
                message = self._early.popleft()
                kind = message.WhichOneof("kind")
                if kind == "ping":
                    until = self._now() + seconds  # alive, and it makes us wait: a run that has not begun
                    continue
                if kind == "hello":
                    return message
                self.end(ByeCode.PROTOCOL, f"the first message must be a hello, and it is {kind or 'unknown'}")
                raise self.ended
            if self._end is not None:
                raise self._end
            self._arrived.clear()
            try:
                async with asyncio.timeout(max(0.0, until - self._now())):
                    await self._arrived.wait()
            except TimeoutError:
                self.end(ByeCode.NO_HELLO, f"the other side did not say hello within {seconds:g} s")
                raise self.ended from None

    def listen(self, take: Callable[[In], None], fill: Callable[[], Out | None] = lambda: None) -> None:
        """From now on `take` gets each message, and `fill` is asked for more to send when nothing else waits.

        `take` may raise `Ended`, which ends the stream.
        """
        self._take, self._fill = take, fill
        while self._early and self._end is None:
            self._hand_over(self._early.popleft())
        self._wake.set()

    def send(self, message: Out) -> None:
        """Send this, before anything that `fill` has."""
        self._outbox.append(message)
        self._wake.set()

    async def drain(self) -> None:
        """Wait while too much is waiting to be sent."""
        while len(self._outbox) > BACKLOG and self._end is None:
            self._room.clear()
            await self._room.wait()

    def wake(self) -> None:
        """There may be something to `fill` in."""
        self._wake.set()

    def end(self, code: ByeCode, text: str) -> None:
        """Say goodbye and end; nothing is taken in any more."""
        if self._end is None:
            bye = pb.Bye(code=code, text=text)  # type: ignore[arg-type]
            self._outbox.append(self._out(bye=bye))
            self._leaving = True
            self._finish(Ended(code, text))

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._end is None

    @property
    def ended(self) -> Ended:
        """How it ended."""
        assert self._end is not None
        return self._end

    async def over(self) -> Ended:
        """Wait for its end."""
        await self._over.wait()
        return self.ended

    async def close(self) -> None:
        """Wait until the goodbye is out (a second at most), then let go of the wire."""
        if self._end is None:
            self._finish(Ended(ByeCode.UNSPECIFIED, "closed"))
        cancel = getattr(self._wire, "cancel", None)
        if self._leaving and self._tasks:
            # a server's goodbye is out when it is written; a client's when the server has hung up
            reader, writer, _ = self._tasks
            await asyncio.wait([reader, writer] if cancel else [writer], timeout=LINGER_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            # a read inside gRPC may not let itself be cancelled: it ends with its call
            await asyncio.wait(self._tasks, timeout=LINGER_SECONDS)
        if cancel is not None:
            cancel()

    # ---- inside ------------------------------------------------------------------------------------

    def _finish(self, end: Ended) -> None:
        if self._end is None:
            self._end = end
            self._over.set()
        self._arrived.set()
        self._room.set()
        self._wake.set()

    def _hand_over(self, message: In) -> None:
        assert self._take is not None
        try:
            self._take(message)
        except Ended as end:
            self.end(end.code, end.text)
        except Exception as error:
            self.end(ByeCode.PROTOCOL, f"a message that cannot be read: {type(error).__name__}: {error}")

    async def _read_all(self) -> None:
        try:
            # after our own goodbye we read on: hanging up at once could overtake it
            while self._end is None or self._leaving:
                message = await self._wire.read()
                if message is aio.EOF:
                    # a client learns the status only by asking for it
                    code = getattr(self._wire, "code", None)
                    if code is not None and asyncio.iscoroutinefunction(code):
                        await self._status_of_call()
                    self._finish(Ended(ByeCode.UNSPECIFIED, "the stream ended", theirs=True))
                    return
                self._received_at = self._now()
                if self._end is not None:
                    continue
                if message.HasField("bye"):
                    bye = message.bye
                    self._finish(Ended(_code(bye.code), bye.text or "the other side said goodbye", theirs=True))
                elif self._take is not None:
                    self._hand_over(message)
                elif len(self._early) < EARLY:
                    self._early.append(message)
                    self._arrived.set()
                elif not message.HasField("ping"):
                    self.end(ByeCode.PROTOCOL, "messages were sent before the hello was answered")
        except aio.AioRpcError as error:
            self._finish(_ended(error))
        except asyncio.CancelledError:
            self._finish(Ended(ByeCode.UNSPECIFIED, "the stream was cut"))
            raise
        except Exception as error:
            # a server's side of a call that is gone raises one of several internal errors
            self._finish(Ended(ByeCode.UNSPECIFIED, f"the stream was cut: {error or type(error).__name__}"))

    async def _status_of_call(self) -> None:
        code = await self._wire.code()  # type: ignore[attr-defined]
        details = await self._wire.details()  # type: ignore[attr-defined]
        if code is not grpc.StatusCode.OK:
            self._finish(_status(code, details))

    async def _write_all(self) -> None:
        try:
            while True:
                self._wake.clear()
                while self._outbox or self._end is None:
                    if self._outbox:
                        message: Out | None = self._outbox.popleft()
                        if len(self._outbox) < BACKLOG:
                            self._room.set()
                    else:
                        message = self._fill()
                    if message is None:
                        break
                    self._sent_at = self._now()
                    await self._wire.write(message)
                if self._end is not None:
                    break
                await self._wake.wait()
            done_writing = getattr(self._wire, "done_writing", None)
            if self._leaving and done_writing is not None:
                await done_writing()
        except aio.AioRpcError as error:
            self._finish(_ended(error))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._finish(Ended(ByeCode.UNSPECIFIED, f"the stream was cut: {error or type(error).__name__}"))

    async def _watch(self) -> None:
        while self._end is None:
            now = self._now()
            if now - self._received_at > self._silence_seconds:
                self.end(ByeCode.STALLED, f"no message was received for {self._silence_seconds:g} s")
                return
            if now - self._sent_at >= self._ping_seconds and not self._outbox:
                self.send(self._out(ping=pb.Ping(status=self._status())))
            due = min(self._received_at + self._silence_seconds, max(self._sent_at, now) + self._ping_seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, due - now)):
                    await self._over.wait()


def _code(number: int) -> ByeCode:
    try:
        return ByeCode(number)
    except ValueError:
        return ByeCode.UNSPECIFIED


def _ended(error: aio.AioRpcError) -> Ended:
    return _status(error.code(), error.details() or "")


def _status(code: grpc.StatusCode, details: str) -> Ended:
    """What a gRPC status means to a person."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        text = f"a message is larger than {MESSAGE_BYTES} bytes: {details}"
        return Ended(ByeCode.PROTOCOL, text, theirs=True)
    text = details or code.name.lower().replace("_", " ")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        text = f"the program that listens there does not speak this protocol: {text}"
    return Ended(ByeCode.UNSPECIFIED, text, theirs=True, permanent=code in PERMANENT)
