"""How the service comes by a stream: it dials an agent, or an agent has dialled it."""

from __future__ import annotations

__all__ = ["RECEPTION", "AnotherAgent", "Caller", "Doorway", "Place", "Reception"]

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol

import grpc

from ensemble.model.errors import MemberError
from ensemble.session.backoff import Backoff
from ensemble.session.hello import agreed
from ensemble.session.limits import HELLO_SECONDS, PING_SECONDS, SILENCE_SECONDS
from ensemble.session.security import Security, bearer, dial
from ensemble.session.stream import ByeCode, Ended, Stream
from ensemble.session.tokens import Claims, TokenError, Verifier
from ensemble.session.v1 import session_pb2 as pb
from ensemble.session.v1 import session_pb2_grpc as rpc

ServiceStream = Stream[pb.AgentMessage, pb.ServiceMessage]

WAITING: Final = 4096
"""Agents that may wait for their run to begin."""


class AnotherAgent(Exception):
    """The agent that came is not the one that the session was with: the session cannot go on."""


class Doorway(Protocol):
    """Where streams to one member come from."""

    async def connect(self, hello: Callable[[], pb.ServiceHello], agent: str) -> tuple[ServiceStream, pb.AgentHello]:
        """The next stream, hellos said.

        `agent`: the only one it may be (empty: any). Raises `AnotherAgent`, and `MemberError` (not transient) when it
        makes no sense to go on trying; else it tries until it is cancelled.
        """
        ...

    def hurry(self, found: Callable[[], None], displaced: Callable[[], None]) -> None:
        """`found` is called when a newer stream has come while the last one seems alive, and `displaced` when
        somebody else has taken this doorway over."""
        ...

    def trouble(self) -> str:
        """Why there is no stream yet, for people."""
        ...

    async def close(self) -> None:
        """Nobody wants a stream any more."""
        ...


def _welcome(agent: pb.AgentHello, ours: pb.ServiceHello) -> None:
    """Raises `Ended` for an agent that is not the one we want."""
    agreed(agent)
    if agent.run not in ("", ours.run) or agent.member not in ("", ours.member):
        raise Ended(
            ByeCode.WRONG_MEMBER,
            f"this agent is for member {agent.member!r} of run {agent.run!r}, not for {ours.member!r} of {ours.run!r}",
            permanent=True,
        )
    if ours.kind and agent.kind != ours.kind:
        raise Ended(
            ByeCode.WRONG_MEMBER,
            f"the file wants a member of kind {ours.kind!r} at {ours.member}, and the agent has {agent.kind!r}",
            permanent=True,
        )


class Caller:
    """Dials an agent that listens."""

    def __init__(self, address: str, security: Security, ping: float, silence: float) -> None:
        """Raises `InputError` for an address that may not be dialled like this."""
        self._address = address
        self._channel, self._metadata = dial(address, security)
        self._stub: Any = rpc.MemberEndpointStub(self._channel)
        self._times: Any = {"ping_seconds": ping, "silence_seconds": silence}
        self._trouble = ""

    async def connect(self, hello: Callable[[], pb.ServiceHello], agent: str) -> tuple[ServiceStream, pb.AgentHello]:
        """Dial until somebody answers. See `Doorway`."""
        backoff = Backoff()
        while True:
            call = self._stub.Session(metadata=self._metadata)
            stream: ServiceStream = Stream(call, pb.ServiceMessage, **self._times)
            try:
                return stream, await self._greet(stream, hello(), agent)
            except Ended as end:
                await stream.close()
                self._trouble = f"{self._address}: {end.text}"
                if end.permanent or end.code in (ByeCode.VERSION, ByeCode.WRONG_MEMBER, ByeCode.FENCED):
                    raise MemberError(self._trouble) from end
            except BaseException:
                await stream.close()
                raise
            await asyncio.sleep(backoff.next())

    async def _greet(self, stream: ServiceStream, ours: pb.ServiceHello, agent: str) -> pb.AgentHello:
        stream.start()
        stream.send(pb.ServiceMessage(hello=ours))
        theirs = (await stream.hello()).hello
        try:
            _welcome(theirs, ours)
        except Ended as end:
            stream.end(end.code, end.text)
            raise
        if agent and theirs.agent != agent:
            stream.end(ByeCode.REOPEN, "you are not who you were")
            raise AnotherAgent
        return theirs

    def hurry(self, found: Callable[[], None], displaced: Callable[[], None]) -> None:
        """Nobody comes here unasked."""

    def trouble(self) -> str:
        """Why there is no stream yet."""
        return self._trouble or f"{self._address} does not answer"

    async def close(self) -> None:
        """Hang up for good."""
        await self._channel.close()


class _Visitor:
    """An agent that has dialled, said hello, and waits to be greeted."""

    def __init__(self, stream: ServiceStream, hello: pb.AgentHello) -> None:
        self.stream, self.hello = stream, hello


class Reception(rpc.MembersServicer):
    """Where agents dial in. One serves every run of a process; register it with `add_MembersServicer_to_server`."""

    def __init__(
        self,
        verifier: Verifier | None = None,
        *,
        ping: float = PING_SECONDS,
        silence: float = SILENCE_SECONDS,
        hello_seconds: float = HELLO_SECONDS,
        fault: Callable[[str, str], None] = lambda name, text: None,
    ) -> None:
        """Without a `verifier` nobody is asked for a token: for Unix sockets and loopback alone.

        `fault` is told of agents that were turned away: a name (unauthenticated, wrong-token, no-hello, version, busy)
        and a text.
        """
        self._verifier = verifier
        self._times: Any = {"ping_seconds": ping, "silence_seconds": silence}
        self._hello_seconds = hello_seconds
        self._fault = fault
        self._waiting: dict[tuple[str, str], _Visitor] = {}
        self._places: dict[tuple[str, str], Place] = {}
        self._streams: set[ServiceStream] = set()

    # ---- for the service ---------------------------------------------------------------------------

    def expect(self, run: str, member: str, epoch: int = 0) -> Place:
        """A doorway for the agent of a member. The last that asks for a member gets its agents.

        Raises `MemberError` when a newer writer (a higher epoch) expects it already.
        """
        before = self._places.get((run, member))
        if before is not None and before.epoch > epoch:
            raise MemberError(f"a newer writer (epoch {before.epoch}) has run {run}")
        place = self._places[run, member] = Place(self, run, member, epoch)
        if before is not None:
            before.give_way()
        return place

    def agents(self) -> Mapping[tuple[str, str], str]:
        """The agents that wait for a run: their (run, member) and the kind of their queue."""
        return {name: one.hello.kind for name, one in self._waiting.items()}

    @property
    def streams(self) -> int:
        """How many agents are connected, or about to be."""
        return len(self._streams)

    async def close(self) -> None:
        """Send everybody away; they come back when the service does."""
        for stream in list(self._streams):
            stream.end(ByeCode.UNSPECIFIED, "the service stops; come back later")
        await asyncio.gather(*(stream.close() for stream in list(self._streams)))

    # ---- for agents --------------------------------------------------------------------------------

    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """One agent's stream."""
        claims = await self._verified(context)
        stream: ServiceStream = Stream(context, pb.ServiceMessage, **self._times)
        self._streams.add(stream)
        stream.start()
        visitor: _Visitor | None = None
        try:
            hello = (await stream.hello(self._hello_seconds)).hello
            agreed(hello)
            hello = await self._bound(hello, claims, context)
            visitor = _Visitor(stream, hello)
            self._let_in(visitor)
            await stream.over()
        except Ended as end:
            names = {ByeCode.VERSION: "version", ByeCode.NO_HELLO: "no-hello", ByeCode.BUSY: "busy"}
            if end.code in names:
                self._fault(names[end.code], f"{context.peer()}: {end.text}")
            stream.end(end.code, end.text)
        finally:
            self._streams.discard(stream)
            if visitor is not None:
                self._forget(visitor)
            await stream.close()

    async def _verified(self, context: Any) -> Claims | None:
        if self._verifier is None:
            return None
        try:
            return self._verifier.verify(bearer(context.invocation_metadata()))
        except TokenError as error:
            self._fault("unauthenticated", f"{context.peer()}: {error}")
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            raise

    async def _bound(self, hello: pb.AgentHello, claims: Claims | None, context: Any) -> pb.AgentHello:
        """The hello with what the token says where the agent left it out."""
        if claims is None:
            return hello
        if not hello.run and claims.run != "*":
            hello.run = claims.run
        if not hello.member and claims.member != "*":
            hello.member = claims.member
        try:
            claims.require("agent", hello.run, hello.member)
        except TokenError as error:
            self._fault("wrong-token", f"{context.peer()}: {error}")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        return hello

    def _let_in(self, visitor: _Visitor) -> None:
        name = (visitor.hello.run, visitor.hello.member)
        before = self._waiting.get(name)
        if before is None and len(self._waiting) >= WAITING:
            raise Ended(ByeCode.BUSY, f"{WAITING} agents wait here already")
        if before is not None and before.stream.alive:
            before.stream.end(ByeCode.SUPERSEDED, "a newer stream has taken the place of this one")
        self._waiting[name] = visitor
        for place in list(self._places.values()):
            if place.wants(name):
                place.knock(named=bool(name[0]))

    def _forget(self, visitor: _Visitor) -> None:
        for name, one in list(self._waiting.items()):
            if one is visitor:
                del self._waiting[name]

    def take(self, run: str, member: str) -> _Visitor | None:
        """The agent that waits for this member, the one that named the run first."""
        for name in ((run, member), ("", member)):
            visitor = self._waiting.get(name)
            if visitor is not None and visitor.stream.alive:
                return self._waiting.pop(name)
        return None

    def give_back(self, visitor: _Visitor) -> None:
        """It waits on."""
        self._waiting.setdefault((visitor.hello.run, visitor.hello.member), visitor)

    def leave(self, place: Place) -> None:
        """Nobody is expected there any more."""
        if self._places.get((place.run, place.member)) is place:
            del self._places[place.run, place.member]


def _nothing() -> None:
    """Nobody wants to know."""


class Place:
    """Where one member's agent comes in (a `Doorway`)."""

    def __init__(self, reception: Reception, run: str, member: str, epoch: int) -> None:
        self.run, self.member, self.epoch = run, member, epoch
        self._reception = reception
        self._knocked = asyncio.Event()
        self._found: Callable[[], None] = _nothing
        self._displaced: Callable[[], None] = _nothing
        self._gone = False

    def wants(self, name: tuple[str, str]) -> bool:
        """Whether an agent of that (run, member) is for us."""
        return name in ((self.run, self.member), ("", self.member))

    def knock(self, *, named: bool) -> None:
        """Somebody has come; one that is for any run takes nobody's place."""
        self._knocked.set()
        if named:
            self._found()

    async def connect(self, hello: Callable[[], pb.ServiceHello], agent: str) -> tuple[ServiceStream, pb.AgentHello]:
        """Wait for an agent to come. See `Doorway`."""
        while True:
            self._knocked.clear()
            if self._gone:
                raise MemberError(f"a newer opening has taken member {self.member} of run {self.run} over")
            visitor = self._reception.take(self.run, self.member)
            if visitor is None:
                await self._knocked.wait()
                continue
            if agent and visitor.hello.agent != agent:
                self._reception.give_back(visitor)
                raise AnotherAgent
            ours = hello()
            try:
                _welcome(visitor.hello, ours)
            except Ended as end:
                visitor.stream.end(end.code, end.text)
                raise MemberError(end.text) from end
            visitor.stream.send(pb.ServiceMessage(hello=ours))
            return visitor.stream, visitor.hello

    def hurry(self, found: Callable[[], None], displaced: Callable[[], None]) -> None:
        """`found` is called when an agent has come."""
        self._found, self._displaced = found, displaced

    def give_way(self) -> None:
        """A newer one expects this agent."""
        self._gone = True
        self._knocked.set()
        self._displaced()

    def trouble(self) -> str:
        """Why there is no stream yet."""
        return f"no agent for member {self.member} of run {self.run} has dialled in"

    async def close(self) -> None:
        """Expect nobody any more."""
        self._found = self._displaced = _nothing
        self._reception.leave(self)


RECEPTION: ContextVar[Reception | None] = ContextVar("RECEPTION", default=None)
"""Where remote members without an address wait for their agents: the service sets it around what it runs."""
