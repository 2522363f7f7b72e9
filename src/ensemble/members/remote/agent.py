"""The process beside a queue: it dials the service, or listens until the service dials."""

from __future__ import annotations

__all__ = ["Agent", "AgentError"]

import asyncio
import contextlib
import socket
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final

import grpc
from grpc import aio

from ensemble import __version__
from ensemble.members.contract import Member, Observation, Observe
from ensemble.members.remote.agent_session import AgentSession, AgentStream
from ensemble.model.errors import EnsembleError
from ensemble.session import convert
from ensemble.session.backoff import Backoff
from ensemble.session.hello import agreed, versions
from ensemble.session.limits import HELLO_SECONDS, PING_SECONDS, SILENCE_SECONDS
from ensemble.session.security import Security, bearer, bind, dial, options
from ensemble.session.stream import ByeCode, Ended, Stream
from ensemble.session.tokens import Claims, Held, TokenError, Verifier
from ensemble.session.v1 import model_pb2 as pb_model
from ensemble.session.v1 import session_pb2 as pb
from ensemble.session.v1 import session_pb2_grpc as rpc

RUNS: Final = 1000
"""Runs that one agent serves at a time."""

STOP_SECONDS: Final = 5.0

FINAL: Final = {ByeCode.VERSION, ByeCode.WRONG_MEMBER, ByeCode.FENCED, ByeCode.SUPERSEDED}
"""After these errors an agent that dialled does not dial again."""


class AgentError(EnsembleError):
    """The agent cannot continue; the text says why, and what to do."""


class Agent:
    """Serves a queue to a service, whichever side dials."""

    def __init__(
        self,
        kind: str,
        factory: Callable[[], Member],
        *,
        run: str = "",
        member: str = "",
        base: str = "",
        observe: Observe | None = None,
        workers: int = 0,
        report: Callable[[str], None] = lambda text: None,
        ping: float = PING_SECONDS,
        silence: float = SILENCE_SECONDS,
        hello_seconds: float = HELLO_SECONDS,
    ) -> None:
        """`kind` and `factory`: the queue; `run`, `member`: the only ones served (empty: any); `base`: where runs have
        their directories here; `observe` watches the queue while no run has opened it; `workers`: calls that are
        served at a time when it listens (0: any number); `report` is called with one line for each thing that
        happens."""
        self.kind, self.run, self.member = kind, run, member
        self._factory, self._base, self._print = factory, base, report
        self._observe, self._workers = observe, workers
        self._observed: Observation | None = None
        self._ping, self._silence, self._hello_seconds = ping, silence, hello_seconds
        self._name = token_hex(8)
        self._sessions: dict[tuple[str, str], AgentSession] = {}
        self._streams: set[AgentStream] = set()
        self._reported = ""

    # ---- dialling ----------------------------------------------------------------------------------

    async def connect(self, address: str, security: Security) -> None:
        """Dial the service until the run has let go of this member.

        Raises `InputError` for an address that may not be dialled, `AgentError` when the service refuses this agent.
        """
        channel, metadata = dial(address, security)
        stub: Any = rpc.MembersStub(channel)
        backoff = Backoff()
        try:
            while True:
                end = await self._one_stream(stub.Session(metadata=metadata), address, backoff)
                if end.code is ByeCode.DONE:
                    return
                if end.permanent or (end.theirs and end.code in FINAL):
                    raise AgentError(f"{address}: {end.text}")
                if end.code is not ByeCode.REOPEN:
                    self._report(f"{address}: {end.text}; trying again")
                    await asyncio.sleep(backoff.next())
        finally:
            await self._leave()
            await channel.close()

    async def _one_stream(self, call: Any, address: str, backoff: Backoff) -> Ended:
        stream = self._stream(call)
        stream.send(pb.AgentMessage(hello=self.hello()))
        stream.start()
        session: AgentSession | None = None
        try:
            hello = (await stream.hello(self._hello_seconds)).hello
            agreed(hello)
            session = self._session(hello)
            session.attach(stream, hello)
            # from here on this agent belongs to the run: a new stream must find the same one
            self.run, self.member = hello.run, hello.member
            backoff.reset()
            self._report(f"connected to {address} for member {hello.member} of run {hello.run}")
            end = await stream.over()
            self._note(end, hello)
            return end
        except Ended as end:
            stream.end(end.code, end.text)
            return end
        finally:
            if session is not None:
                session.detach(stream)
            self._streams.discard(stream)
            await stream.close()

    # ---- listening ---------------------------------------------------------------------------------

    async def listen(self, address: str, security: Security, ready: Callable[[str], None] = lambda bound: None) -> None:
        """Serve `MemberEndpoint` until cancelled; `ready` is called with the address once it is up.

        Raises `InputError` for an address that is in use, for a TCP address without a token, and for one that other
        machines can reach without TLS.
        """
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha import reflection

        token = security.token()
        verifier = Held(token) if token else None
        server = aio.server(options=options(), maximum_concurrent_rpcs=self._workers or None)
        endpoint = Endpoint(self, verifier)
        rpc.add_MemberEndpointServicer_to_server(endpoint, server)
        health_service = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
        name = pb.DESCRIPTOR.services_by_name["MemberEndpoint"].full_name
        for service in ("", name):
            await health_service.set(service, health_pb2.HealthCheckResponse.SERVING)
        reflection.enable_server_reflection((name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        bound = bind(server, address, security)
        await server.start()
        watching = asyncio.ensure_future(self._observe(self._see)) if self._observe is not None else None
        try:
            ready(bound)
            await server.wait_for_termination()
        finally:
            if watching is not None:
                watching.cancel()
            await health_service.enter_graceful_shutdown()
            await self._leave()
            await server.stop(STOP_SECONDS)

    async def served(self, call: Any, claims: Claims | None) -> None:
        """One stream that the service dialled."""
        stream = self._stream(call)
        stream.start()
        session: AgentSession | None = None
        try:
            hello = (await stream.hello(self._hello_seconds)).hello
            agreed(hello)
            if claims is not None:
                claims.require("service", hello.run, hello.member)
            session = self._session(hello)
            if hello.kind and hello.kind != self.kind:
                text = (
                    f"member {hello.member} needs a queue of kind {hello.kind!r}, and this agent serves {self.kind!r}"
                )
                raise Ended(ByeCode.WRONG_MEMBER, text)
            session.admit(hello)
            stream.send(pb.AgentMessage(hello=self.hello(hello.run, hello.member)))
            session.attach(stream, hello)
            self._report(f"member {hello.member} of run {hello.run} is connected")
            end = await stream.over()
            self._note(end, hello)
            self._report(f"member {hello.member} of run {hello.run}: {end.text}")
        except Ended as end:
            self._report(f"a session was refused: {end.text}")
            stream.end(end.code, end.text)
        except TokenError as error:
            self._report(f"a session was refused: {error}")
            await call.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        finally:
            if session is not None:
                session.detach(stream)
            self._streams.discard(stream)
            await stream.close()

    def status(self, run: str = "", member: str = "") -> pb.StatusResponse | None:
        """Nodes and queue of a member, or of the only one without names; without any member, those of the queue itself.

        None when there is no member with these names.
        """
        found = [
            session
            for (its_run, its_member), session in self._sessions.items()
            if run in ("", its_run) and member in ("", its_member)
        ]
        answer = pb.StatusResponse(kind=self.kind, sessions=len(self._streams))
        if len(found) == 1:
            answer.nodes.CopyFrom(found[0].counts.nodes)
            answer.queue.CopyFrom(found[0].counts.queue())
        elif run or member:
            return None
        elif self._observed is not None:
            answer.nodes.CopyFrom(pb_model.NodeCounts(**self._observed.nodes))
            answer.queue.CopyFrom(convert.queue_to_message(self._observed.queue))
        return answer

    def _see(self, observation: Observation | None) -> None:
        self._observed = observation

    # ---- for both ----------------------------------------------------------------------------------

    def hello(self, run: str = "", member: str = "") -> pb.AgentHello:
        """The hello of this agent."""
        return pb.AgentHello(
            **versions(),
            agent=self._name,
            run=run or self.run,
            member=member or self.member,
            kind=self.kind,
            software=f"ensemble {__version__}",
            host=socket.gethostname(),
        )

    def _stream(self, call: Any) -> AgentStream:
        stream: AgentStream = Stream(
            call, pb.AgentMessage, ping_seconds=self._ping, silence_seconds=self._silence, status=self.status
        )
        self._streams.add(stream)
        return stream

    def _session(self, hello: pb.ServiceHello) -> AgentSession:
        """The session of a run and member. Raises `Ended` when this agent does not serve them."""
        name = (hello.run, hello.member)
        if self.run not in ("", hello.run) or self.member not in ("", hello.member):
            raise Ended(
                ByeCode.WRONG_MEMBER,
                f"this agent is for member {self.member or 'any'!r} of run {self.run or 'any'!r}, "
                f"not for {hello.member!r} of {hello.run!r}",
            )
        session = self._sessions.get(name)
        if session is None:
            if len(self._sessions) >= RUNS:
                raise Ended(ByeCode.BUSY, f"this agent serves {RUNS} runs already")
            session = self._sessions[name] = AgentSession(self._name, *name, self._factory, self._base)
        return session

    def _note(self, end: Ended, hello: pb.ServiceHello) -> None:
        if end.code is ByeCode.DONE and end.theirs:
            self._sessions.pop((hello.run, hello.member), None)

    def _report(self, text: str) -> None:
        if text != self._reported:
            self._reported = text
            self._print(text)

    async def _leave(self) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        for stream in list(self._streams):
            stream.end(ByeCode.UNSPECIFIED, "the agent is stopping; its jobs continue")
        await asyncio.gather(*(session.leave() for session in sessions), return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*(stream.close() for stream in list(self._streams)))


class Endpoint(rpc.MemberEndpointServicer):
    """The listening agent's service."""

    def __init__(self, agent: Agent, verifier: Verifier | None) -> None:
        self._agent, self._verifier = agent, verifier

    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """One member's session."""
        await self._agent.served(context, await self._claims(context))

    async def Status(self, request: pb.StatusRequest, context: Any) -> pb.StatusResponse:  # noqa: N802
        """Nodes and queue."""
        await self._claims(context)
        status = self._agent.status(request.run, request.member)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no member {request.member!r} of run {request.run!r} here")
            raise AssertionError
        return status

    async def _claims(self, context: Any) -> Claims | None:
        if self._verifier is None:
            return None
        try:
            return self._verifier.verify(bearer(context.invocation_metadata()))
        except TokenError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            raise
