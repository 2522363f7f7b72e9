"""Where the service gets its connections to agents: it dials an agent that listens, or accepts one that dials in."""

from __future__ import annotations

__all__ = ["ACCEPTOR", "AnotherAgent", "Dialer", "Connector", "ExpectedAgent", "Acceptor"]

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


class Connector(Protocol):
    """Makes connections to the agent of one member."""

    async def connect(self, hello: Callable[[], pb.ServiceHello], agent: str) -> tuple[ServiceStream, pb.AgentHello]:
        """Return the next stream, after both sides have said hello.

        `agent`: the only one it may be (empty: any). Raises `AnotherAgent`, and `MemberError` (not transient) when it
        makes no sense to try again; otherwise it tries until it is cancelled.
        """
        ...

    def on_change(self, found: Callable[[], None], displaced: Callable[[], None]) -> None:
        """Register callbacks: `found` for a newer stream that arrives while the last one seems alive, and `displaced`
        for another connector that takes the place of this one."""
        ...

    def trouble(self) -> str:
        """Why there is no stream yet, as a message."""
        ...

    async def close(self) -> None:
        """Stop connecting."""
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
            f"member {ours.member} needs a queue of kind {ours.kind!r}, and the agent serves {agent.kind!r}",
            permanent=True,
        )


class Dialer:
    """Dials an agent that listens."""

    def __init__(self, address: str, security: Security, ping: float, silence: float) -> None:
        """Raises `InputError` for an address that may not be dialled like this."""
        self._address = address
        self._channel, self._metadata = dial(address, security)
        self._stub: Any = rpc.MemberEndpointStub(self._channel)
        self._times: Any = {"ping_seconds": ping, "silence_seconds": silence}
        self._trouble = ""

    async def connect(self, hello: Callable[[], pb.ServiceHello], agent: str) -> tuple[ServiceStream, pb.AgentHello]:
        """Dial until an agent answers. See `Connector`."""
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
            stream.end(ByeCode.REOPEN, "this agent was restarted, so the session cannot continue; a new one is opened")
            raise AnotherAgent
        return theirs

    def on_change(self, found: Callable[[], None], displaced: Callable[[], None]) -> None:
        """Nothing to register: only the connections that it makes itself arrive here."""

    def trouble(self) -> str:
        """Why there is no stream yet."""
        return self._trouble or f"{self._address} does not answer"

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class _WaitingAgent:
    """An agent that has dialled and said hello, and waits for our hello."""

    def __init__(self, stream: ServiceStream, hello: pb.AgentHello) -> None:
        self.stream, self.hello = stream, hello


class Acceptor(rpc.MembersServicer):
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
        """Without a `verifier` no token is asked for: for Unix sockets alone.

        `fault` is called for agents that were refused, with a name (unauthenticated, wrong-token, no-hello, version,
        busy) and a text.
        """
        self._verifier = verifier
        self._times: Any = {"ping_seconds": ping, "silence_seconds": silence}
        self._hello_seconds = hello_seconds
        self._fault = fault
        self._waiting: dict[tuple[str, str], _WaitingAgent] = {}
        self._expected: dict[tuple[str, str], ExpectedAgent] = {}
        self._streams: set[ServiceStream] = set()

    # ---- for the service ---------------------------------------------------------------------------

    def expect(self, run: str, member: str, epoch: int = 0) -> ExpectedAgent:
        """Return a connector for the agent of a member. The last one made for a member gets its agents.

        Raises `MemberError` when a newer writer (a higher epoch) expects it already.
        """
        before = self._expected.get((run, member))
        if before is not None and before.epoch > epoch:
            raise MemberError(f"run {run} was taken over by another process (epoch {before.epoch})")
        expected = self._expected[run, member] = ExpectedAgent(self, run, member, epoch)
        if before is not None:
            before.displace()
        return expected

    def agents(self) -> Mapping[tuple[str, str], str]:
        """The agents that wait for a run: their (run, member) and the kind of their queue."""
        return {name: one.hello.kind for name, one in self._waiting.items()}

    @property
    def streams(self) -> int:
        """How many agents are connected, or about to be."""
        return len(self._streams)

    async def close(self) -> None:
        """Close every stream; the agents dial again until the service is back."""
        for stream in list(self._streams):
            stream.end(ByeCode.UNSPECIFIED, "the service is stopping; dial again later")
        await asyncio.gather(*(stream.close() for stream in list(self._streams)))

    # ---- for agents --------------------------------------------------------------------------------

    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """One agent's stream."""
        claims = await self._verified(context)
        stream: ServiceStream = Stream(context, pb.ServiceMessage, **self._times)
        self._streams.add(stream)
        stream.start()
        agent: _WaitingAgent | None = None
        try:
            hello = (await stream.hello(self._hello_seconds)).hello
            agreed(hello)
            hello = await self._bound(hello, claims, context)
            agent = _WaitingAgent(stream, hello)
            self._admit(agent)
            await stream.over()
        except Ended as end:
            names = {ByeCode.VERSION: "version", ByeCode.NO_HELLO: "no-hello", ByeCode.BUSY: "busy"}
            if end.code in names:
                self._fault(names[end.code], f"{context.peer()}: {end.text}")
            stream.end(end.code, end.text)
        finally:
            self._streams.discard(stream)
            if agent is not None:
                self._forget(agent)
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

    def _admit(self, agent: _WaitingAgent) -> None:
        name = (agent.hello.run, agent.hello.member)
        before = self._waiting.get(name)
        if before is None and len(self._waiting) >= WAITING:
            raise Ended(ByeCode.BUSY, f"{WAITING} agents are waiting already")
        if before is not None and before.stream.alive:
            before.stream.end(ByeCode.SUPERSEDED, "a newer stream has replaced this one")
        self._waiting[name] = agent
        for expected in list(self._expected.values()):
            if expected.wants(name):
                expected.arrived(named=bool(name[0]))

    def _forget(self, agent: _WaitingAgent) -> None:
        for name, one in list(self._waiting.items()):
            if one is agent:
                del self._waiting[name]

    def take(self, run: str, member: str) -> _WaitingAgent | None:
        """Return the agent that waits for this member; one that named the run comes first."""
        for name in ((run, member), ("", member)):
            agent = self._waiting.get(name)
            if agent is not None and agent.stream.alive:
                return self._waiting.pop(name)
        return None

    def give_back(self, agent: _WaitingAgent) -> None:
        """Let the agent wait again."""
        self._waiting.setdefault((agent.hello.run, agent.hello.member), agent)

    def leave(self, expected: ExpectedAgent) -> None:
        """Forget an expected agent."""
        if self._expected.get((expected.run, expected.member)) is expected:
            del self._expected[expected.run, expected.member]


def _nothing() -> None:
    """Stands for a callback that nobody has set."""


class ExpectedAgent:
    """The agent of one member, which is expected to dial in (a `Connector`)."""

    def __init__(self, acceptor: Acceptor, run: str, member: str, epoch: int) -> None:
        self.run, self.member, self.epoch = run, member, epoch
        self._acceptor = acceptor
        self._arrived = asyncio.Event()
        self._found: Callable[[], None] = _nothing
        self._displaced: Callable[[], None] = _nothing
        self._gone = False

    def wants(self, name: tuple[str, str]) -> bool:
        """Whether an agent of that (run, member) is for us."""
        return name in ((self.run, self.member), ("", self.member))

    def arrived(self, *, named: bool) -> None:
        """An agent has dialled in; one that serves any run does not replace another."""
        self._arrived.set()
        if named:
            self._found()

    async def connect(self, hello: Callable[[], pb.ServiceHello], agent: str) -> tuple[ServiceStream, pb.AgentHello]:
        """Wait for an agent to come. See `Connector`."""
        while True:
            self._arrived.clear()
            if self._gone:
                raise MemberError(f"another process has opened member {self.member} of run {self.run}")
            come = self._acceptor.take(self.run, self.member)
            if come is None:
                await self._arrived.wait()
                continue
            if agent and come.hello.agent != agent:
                self._acceptor.give_back(come)
                raise AnotherAgent
            ours = hello()
            try:
                _welcome(come.hello, ours)
            except Ended as end:
                come.stream.end(end.code, end.text)
                raise MemberError(end.text) from end
            come.stream.send(pb.ServiceMessage(hello=ours))
            return come.stream, come.hello

    def on_change(self, found: Callable[[], None], displaced: Callable[[], None]) -> None:
        """`found` is called when an agent has dialled in."""
        self._found, self._displaced = found, displaced

    def displace(self) -> None:
        """Another connector expects this agent now."""
        self._gone = True
        self._arrived.set()
        self._displaced()

    def trouble(self) -> str:
        """Why there is no stream yet."""
        return f"no agent for member {self.member} of run {self.run} has dialled in"

    async def close(self) -> None:
        """Stop expecting the agent."""
        self._found = self._displaced = _nothing
        self._acceptor.leave(self)


ACCEPTOR: ContextVar[Acceptor | None] = ContextVar("ACCEPTOR", default=None)
"""Where remote members without an address wait for their agents: the service sets it around what it runs."""
