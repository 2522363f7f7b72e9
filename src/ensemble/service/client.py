"""What the verbs of the command line say to a server."""

from __future__ import annotations

__all__ = ["Client"]

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Final

import grpc
import msgspec
from grpc import aio

from ensemble.engine import RuleExplanation, Status
from ensemble.model.decisions import Record
from ensemble.model.errors import EnsembleError, InputError, UnknownRun
from ensemble.service.messages import message_to_plain, record_from_message
from ensemble.session.backoff import Backoff
from ensemble.session.convert import map_from_message
from ensemble.session.limits import CALL_SECONDS, MESSAGE_BYTES
from ensemble.session.security import Security, dial
from ensemble.session.v1 import ensembles_pb2 as pb
from ensemble.session.v1 import ensembles_pb2_grpc as rpc

SUBMIT_SECONDS: Final = 60.0
REMOVE_SECONDS: Final = 600.0
"""How long the directories of many jobs may take to go."""

TRIES: Final = 5
"""How often a server that never answered is asked."""
AWAY_SECONDS: Final = 300.0
"""How long one that did answer may be away: it is being started anew, with many runs to go on with perhaps."""
AGAIN_SECONDS: Final = 2.0
"""The longest pause before it is asked again."""

_INPUT: Final = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ALREADY_EXISTS,
}


class Client:
    """A connection to a server. An async context manager."""

    def __init__(self, address: str, security: Security) -> None:
        """Raises `InputError` for an address that may not be dialled like this."""
        self._address = address
        self._channel, self._metadata = dial(address, security)
        self._stub: Any = rpc.EnsemblesStub(self._channel)
        self._answered = False

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def submit(self, file: str, **more: Any) -> pb.SubmitResponse:
        """Hand an ensemble over; repeated after a lost answer it still begins once."""
        request = pb.SubmitRequest(file=_packed(file), request_id=token_hex(16), **more)
        if request.ByteSize() > MESSAGE_BYTES:
            raise InputError(
                f"{file} and what it names take {request.ByteSize()} bytes and {MESSAGE_BYTES} fit into a message; "
                "put large inputs where the server can read them, and name them with a full path"
            )
        return await self._again("Submit", request, SUBMIT_SECONDS)  # type: ignore[no-any-return]

    async def runs(self) -> list[pb.RunSummary]:
        """Every run, the newest last."""
        runs: list[pb.RunSummary] = []
        token = ""
        while True:
            page = await self._again("List", pb.ListRequest(page_token=token))
            runs += page.runs
            token = page.next_page_token
            if not token:
                return runs[::-1]

    async def status(self, run: str) -> Status:
        """How a run stands."""
        return _status((await self._again("Status", pb.RunStatusRequest(run=run))).status)

    async def watch(self, run: str) -> AsyncIterator[Status]:
        """How a run stands, as it changes; goes on after the server was away."""
        patience = _Patience(self._answered)
        while True:
            try:
                async for response in self._stub.Watch(pb.WatchRequest(run=run), metadata=self._metadata):
                    self._hear(patience)
                    yield _status(response.status)
                return
            except aio.AioRpcError as error:
                if not await patience.again(error):
                    raise self._translated(error) from error

    async def events(self, run: str, after: int = 0, follow: bool = False) -> AsyncIterator[Record]:
        """Records as they are durable; goes on where it was after the server was away."""
        patience = _Patience(self._answered)
        while True:
            request = pb.EventsRequest(run=run, follow=follow, **{"from": after + 1})  # type: ignore[arg-type]
            try:
                async for response in self._stub.Events(request, metadata=self._metadata):
                    self._hear(patience)
                    for message in response.records:
                        after = message.seq
                        yield record_from_message(message)
                return
            except aio.AioRpcError as error:
                if not await patience.again(error):
                    raise self._translated(error) from error

    async def explain(self, run: str, rule: str = "") -> list[RuleExplanation]:
        """Why rules fired, or what they wait for."""
        found = await self._again("Explain", pb.ExplainRequest(run=run, rule=rule))
        rules = []
        for one in found.rules:
            plain = message_to_plain(one)
            plain.setdefault("left", -1)
            for part in plain["parts"]:
                part.setdefault("holds", None)
            rules.append(msgspec.convert(plain, RuleExplanation))
        return rules

    async def cancel(self, run: str, keys: Sequence[str], drain: bool) -> None:
        """Ask a run to end."""
        mode = pb.CANCEL_MODE_DRAIN if drain else pb.CANCEL_MODE_CANCEL
        await self._call("Cancel", pb.CancelRequest(run=run, mode=mode, keys=keys))

    async def results(self, run: str, by: str = "job") -> list[dict[str, Any]]:
        """One row a `job`, or a `point`."""
        request = pb.ResultsRequest(run=run, by=pb.RESULTS_BY_POINT if by == "point" else pb.RESULTS_BY_JOB)
        try:
            parts = self._stub.Results(request, metadata=self._metadata)
            return [map_from_message(row) async for response in parts for row in response.rows]
        except aio.AioRpcError as error:
            raise self._translated(error) from error

    async def logs(self, run: str, key: str, path: str = "stdout", attempt: int = 0) -> AsyncIterator[bytes]:
        """What a job wrote, in pieces; goes on where it was after the server was away. `attempt` 0: the last."""
        request = pb.LogsRequest(run=run, key=key, path=path, attempt=attempt)
        patience = _Patience(self._answered)
        while True:
            try:
                async for response in self._stub.Logs(request, metadata=self._metadata):
                    self._hear(patience)
                    request.offset += len(response.data)
                    yield response.data
                return
            except aio.AioRpcError as error:
                if not await patience.again(error):
                    raise self._translated(error) from error

    async def resume(self, run: str) -> None:
        """Go on with a run that was left."""
        await self._call("Resume", pb.ResumeRequest(run=run))

    async def remove(self, run: str) -> None:
        """Remove a run that is over, with its directory."""
        await self._call("Remove", pb.RemoveRequest(run=run), REMOVE_SECONDS)

    async def _again(self, name: str, request: Any, seconds: float = CALL_SECONDS) -> Any:
        """A call that may be repeated."""
        patience = _Patience(self._answered)
        while True:
            try:
                answer = await getattr(self._stub, name)(request, metadata=self._metadata, timeout=seconds)
            except aio.AioRpcError as error:
                if not await patience.again(error):
                    raise self._translated(error) from error
            else:
                self._hear(patience)
                return answer

    def _hear(self, patience: _Patience) -> None:
        self._answered = True
        patience.answered()

    async def _call(self, name: str, request: Any, seconds: float = CALL_SECONDS) -> Any:
        call: Awaitable[Any] = getattr(self._stub, name)(request, metadata=self._metadata, timeout=seconds)
        try:
            return await call
        except aio.AioRpcError as error:
            raise self._translated(error) from error

    def _translated(self, error: aio.AioRpcError) -> EnsembleError:
        code, text = error.code(), error.details() or ""
        if code is grpc.StatusCode.NOT_FOUND:
            return UnknownRun(text)
        if code in _INPUT:
            return InputError(text)
        if code is grpc.StatusCode.UNAVAILABLE:
            return InputError(f"no server answers at {self._address}: {text}")
        return EnsembleError(f"{self._address}: {code.name.lower().replace('_', ' ')}: {text}")


class _Patience:
    """Whether to ask a server again that does not answer, and when."""

    def __init__(self, known: bool) -> None:
        """`known`: it has answered before."""
        self._known, self._tries = known, 0
        self._since = time.monotonic()
        self._backoff = Backoff(most=AGAIN_SECONDS)

    def answered(self) -> None:
        """It is there."""
        self._known, self._tries = True, 0
        self._backoff.reset()

    async def again(self, error: aio.AioRpcError) -> bool:
        """Wait a while; false when it is to be given up, or said something."""
        late = self._known and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if error.code() is not grpc.StatusCode.UNAVAILABLE and not late:
            return False
        self._tries += 1
        if self._tries == 1:
            self._since = time.monotonic()
        away = time.monotonic() - self._since
        if away > AWAY_SECONDS if self._known else self._tries >= TRIES:
            return False
        await asyncio.sleep(self._backoff.next())
        return True


def _status(message: pb.RunStatus) -> Status:
    plain = message_to_plain(message)
    for member in plain["members"]:
        for name in ("nodes_up", "nodes_free", "cores_up", "cores_free"):
            member.setdefault(name, -1)
    for rule in plain["rules"]:
        rule.setdefault("left", -1)
    return msgspec.convert(plain, Status)


def _packed(file: str) -> pb.EnsembleFile:
    """A file and what it names with a relative path. What is wrong with it is the server's to say."""
    from ensemble.spec.loader import load

    path = Path(file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    message = pb.EnsembleFile(name=file, content=content)
    try:
        spec = load(path)
    except EnsembleError:
        return message
    named = [one.path for group in spec.jobs for one in group.inputs]
    if spec.custom.endswith(".py") and "\n" not in spec.custom:
        named.append(spec.custom)
    folder = os.path.dirname(os.path.abspath(file))
    for name in dict.fromkeys(named):
        if name and not os.path.isabs(name):
            try:
                message.beside[os.path.normpath(name)] = Path(folder, name).read_bytes()
            except OSError as error:
                raise InputError(f"{file}: {name}: {error.strerror}") from error
    return message
