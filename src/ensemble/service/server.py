"""The calls of `ensemble.v1.Ensembles`, each checked against the caller's token."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from typing import Any, Final, TypeVar

import grpc
import msgspec

from ensemble import __version__
from ensemble.engine import Status
from ensemble.journal.following import Follower
from ensemble.model.errors import EnsembleError, InputError, Problem, Refused, SpecError, UnknownRun
from ensemble.model.events import Requested
from ensemble.runs.local import LocalRun
from ensemble.runs.remote import STATES
from ensemble.runtime import requests
from ensemble.runtime.opening import member_kinds, who
from ensemble.service import files, output
from ensemble.service.host import Busy, Host, Hosted, Stopping, Submission
from ensemble.service.limits import CeilingError, names_code
from ensemble.session.convert import map_from_message, map_to_message
from ensemble.session.limits import BATCH_BYTES
from ensemble.session.messages import record_to_message, struct_to_message
from ensemble.session.security import bearer
from ensemble.session.tokens import Claims, TokenError, Verifier
from ensemble.session.v1 import ensembles_pb2 as pb
from ensemble.session.v1 import ensembles_pb2_grpc as rpc
from ensemble.spec.changes import file_changes
from ensemble.spec.model import EnsembleSpec

T = TypeVar("T")

PAGE: Final = 500
ROWS: Final = 200
WATCH_SECONDS: Final = 0.5

_PHASES: Final[dict[str, Any]] = {state: phase for phase, state in STATES.items()}
_CANCELS: Final = {pb.CANCEL_MODE_DRAIN: "pause", pb.CANCEL_MODE_CANCEL: "cancel", pb.CANCEL_MODE_UNSPECIFIED: "cancel"}
_CODES: Final[tuple[tuple[type[Exception], grpc.StatusCode], ...]] = (
    (UnknownRun, grpc.StatusCode.NOT_FOUND),
    (CeilingError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Busy, grpc.StatusCode.FAILED_PRECONDITION),
    (Stopping, grpc.StatusCode.UNAVAILABLE),
    (Refused, grpc.StatusCode.FAILED_PRECONDITION),
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (EnsembleError, grpc.StatusCode.INTERNAL),
)


async def _refuse(context: Any, error: EnsembleError) -> None:
    if isinstance(error, TokenError):
        code = grpc.StatusCode.PERMISSION_DENIED if error.bound else grpc.StatusCode.UNAUTHENTICATED
    else:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
    await context.abort(code, str(error))


def _unary(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Errors of ours as statuses."""

    @functools.wraps(call)
    async def wrapped(self: Any, request: Any, context: Any) -> Any:
        try:
            return await call(self, request, context)
        except EnsembleError as error:
            await _refuse(context, error)

    return wrapped


def _stream(call: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    """Errors of ours as statuses."""

    @functools.wraps(call)
    async def wrapped(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for one in call(self, request, context):
                yield one
        except EnsembleError as error:
            await _refuse(context, error)

    return wrapped


class EnsemblesService(rpc.EnsemblesServicer):
    """Serves people and programs."""

    def __init__(self, host: Host, verifier: Verifier | None) -> None:
        """Without a `verifier` everybody who can connect is the user of this process: for a Unix socket alone."""
        self._host, self._verifier = host, verifier

    def _caller(self, context: Any, run: str = "") -> str:
        """Who calls, for the journal. Raises `TokenError`."""
        if self._verifier is None:
            return who()
        claims: Claims = self._verifier.verify(bearer(context.invocation_metadata()))
        claims.require("user", run)
        names = context.auth_context().get("x509_common_name", [])
        return claims.subject or (names[0].decode(errors="replace") if names else "") or f"token {claims.id}"

    def _run(self, run: str, context: Any) -> tuple[Hosted, str]:
        """A run and who asks for it; a token for one run learns nothing of others."""
        by = self._caller(context, "" if run == "last" else run)
        hosted = self._host.find(run)
        self._caller(context, hosted.submission.run)
        return hosted, by

    # ---- beginning ---------------------------------------------------------------------------------

    @_unary
    async def Submit(self, request: pb.SubmitRequest, context: Any) -> pb.SubmitResponse:  # noqa: N802
        """Check and begin."""
        by = self._caller(context, request.run or "*")
        known = self._host.known(by, request.request_id)
        problems: list[Problem] = []
        if known is None:
            known, problems = await self._accept(request, by)
        found = [_problem(one) for one in problems]
        return pb.SubmitResponse(run=known.submission.run, run_dir=str(known.run_dir), warnings=found)

    async def _accept(self, request: pb.SubmitRequest, by: str) -> tuple[Hosted, list[Problem]]:
        """Begin an ensemble; of one that is refused nothing is kept."""
        path = await asyncio.to_thread(files.unpack, request.file, self._host.state / "files")
        kept = False
        try:
            spec, problems = await asyncio.to_thread(files.read, path, request.file.name, request.member, request.nodes)
            spec = files.with_seed(spec, request.seed if request.HasField("seed") else None)
            plain = msgspec.to_builtins(self._host.ceilings.folded(spec))
            submission = Submission(request.run, by, plain, str(path), request.request_id, request.detach)
            hosted = self._host.submit(submission)
            kept = hosted.submission.source == submission.source
        finally:
            if not kept:
                await asyncio.to_thread(files.discard, path)
        return hosted, problems

    @_unary
    async def Check(self, request: pb.CheckRequest, context: Any) -> pb.CheckResponse:  # noqa: N802
        """Look at a file."""
        self._caller(context)
        path = await asyncio.to_thread(files.unpack, request.file, self._host.state / "files")
        try:
            _, problems = await asyncio.to_thread(files.read, path, request.file.name)
        except SpecError as error:
            return pb.CheckResponse(errors=[_problem(one) for one in error.problems])
        finally:
            await asyncio.to_thread(files.discard, path)
        return pb.CheckResponse(warnings=[_problem(one) for one in problems])

    @_unary
    async def Resume(self, request: pb.ResumeRequest, context: Any) -> pb.ResumeResponse:  # noqa: N802
        """Go on."""
        hosted, _ = self._run(request.run, context)
        return pb.ResumeResponse(run=self._host.resume(hosted.submission.run).submission.run)

    # ---- looking -----------------------------------------------------------------------------------

    @_unary
    async def List(self, request: pb.ListRequest, context: Any) -> pb.ListResponse:  # noqa: N802
        """The newest first."""
        self._caller(context, "*")
        runs = list(reversed(self._host.runs.values()))
        begin = int(request.page_token) if request.page_token.isdecimal() else 0
        end = begin + (min(request.page_size, PAGE) or PAGE)
        summaries = [await self._summary(hosted) for hosted in runs[begin:end]]
        wanted = set(request.phases)
        kept = [one for one in summaries if not wanted or one.phase in wanted]
        return pb.ListResponse(runs=kept, next_page_token=str(end) if end < len(runs) else "")

    async def _summary(self, hosted: Hosted) -> pb.RunSummary:
        message = pb.RunSummary(run=hosted.submission.run, run_dir=str(hosted.run_dir), by=hosted.submission.by)
        status = await hosted.status(points=False)
        message.phase = _phase(hosted, status)
        message.reason = hosted.trouble
        if status is not None:
            message.outcome, message.reason = status.outcome, status.reason or hosted.trouble
            message.started = status.started
            if status.state == "over":
                message.ended = status.started + status.elapsed
            struct_to_message(status.total, message.total)
        return message

    async def _ask(self, hosted: Hosted, question: Callable[[LocalRun], T]) -> T:
        """The answer of a run: of its live engine at once, of its journal on another thread. Raises `Busy`."""
        if hosted.loop is not None:
            return question(hosted.run)
        if not (hosted.run_dir / "journal").is_dir():
            raise Busy(f"run {hosted.submission.run} has not begun yet")
        return await asyncio.to_thread(question, hosted.run)

    @_unary
    async def Status(self, request: pb.RunStatusRequest, context: Any) -> pb.RunStatusResponse:  # noqa: N802
        """How it stands."""
        hosted, _ = self._run(request.run, context)
        return pb.RunStatusResponse(status=await self._status(hosted))

    async def _status(self, hosted: Hosted) -> pb.RunStatus:
        status = await hosted.status()
        message = pb.RunStatus(run=hosted.submission.run)
        if status is not None:
            struct_to_message(status, message)
        message.phase = _phase(hosted, status)
        message.reason = message.reason or hosted.trouble
        return message

    @_stream
    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:  # noqa: N802
        """Again and again, until no process is at it."""
        hosted, _ = self._run(request.run, context)
        pause = max(request.interval, WATCH_SECONDS)
        while True:
            busy = hosted.busy and not self._host.stopping
            yield pb.WatchResponse(status=await self._status(hosted))
            if not busy:
                return
            await hosted.changed()
            await asyncio.sleep(pause)

    @_stream
    async def Events(self, request: pb.EventsRequest, context: Any) -> AsyncIterator[pb.EventsResponse]:  # noqa: N802
        """Durable records, in messages of bounded size."""
        hosted, _ = self._run(request.run, context)
        follower = Follower(hosted.run_dir, max(0, getattr(request, "from") - 1))
        while True:
            busy = hosted.busy and not self._host.stopping
            upto = hosted.loop.journal.durable if busy and hosted.loop is not None else None
            if (hosted.run_dir / "journal").is_dir() and not (busy and upto is None):
                records = follower.new(upto)
                while batch := await asyncio.to_thread(_batch, records, request.key):
                    yield pb.EventsResponse(records=batch)
            if self._host.stopping and request.follow:
                raise Stopping("the server is stopping; follow again when it is back")
            if not busy or not request.follow:
                return
            if hosted.seq == (upto or 0):
                await hosted.changed(1.0)

    @_unary
    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:  # noqa: N802
        """Why rules fired."""
        hosted, _ = self._run(request.run, context)
        response = pb.ExplainResponse()
        for rule in await self._ask(hosted, lambda run: run.explain(request.rule)):
            struct_to_message(rule, response.rules.add())
        return response

    @_stream
    async def Results(self, request: pb.ResultsRequest, context: Any) -> AsyncIterator[pb.ResultsResponse]:  # noqa: N802
        """One row a job, or a point."""
        hosted, _ = self._run(request.run, context)
        found = hosted.run.results("point" if request.by == pb.RESULTS_BY_POINT else "job")
        while some := await asyncio.to_thread(lambda: list(islice(found, ROWS))):
            yield pb.ResultsResponse(rows=[map_to_message(row) for row in some])

    @_stream
    async def Logs(self, request: pb.LogsRequest, context: Any) -> AsyncIterator[pb.LogsResponse]:  # noqa: N802
        """What a job wrote, in pieces."""
        hosted, _ = self._run(request.run, context)
        async for data in output.pieces(hosted, request):
            yield pb.LogsResponse(data=data)

    # ---- steering ----------------------------------------------------------------------------------

    @_unary
    async def Cancel(self, request: pb.CancelRequest, context: Any) -> pb.CancelResponse:  # noqa: N802
        """Ask a run to end."""
        hosted, by = self._run(request.run, context)
        run = hosted.submission.run
        if request.mode == pb.CANCEL_MODE_DETACH:
            (await self._host.loop_of(run)).detach()
            return pb.CancelResponse(seq=hosted.seq, done=True)
        what = "cancel-jobs" if request.keys else _CANCELS[request.mode]
        answer = await self._host.ask(run, Requested(what, by, tuple(request.keys)))
        return pb.CancelResponse(seq=answer.seq, done=answer.done, text=answer.text)

    @_unary
    async def Steer(self, request: pb.SteerRequest, context: Any) -> pb.SteerResponse:  # noqa: N802
        """Carry out an action, or add a rule."""
        hosted, by = self._run(request.run, context)
        kind = request.WhichOneof("what")
        if kind is None:
            raise InputError("an action or a rule is missing")
        plain = map_from_message(getattr(request, kind))
        if names_code(plain) and not self._host.ceilings.custom:
            raise InputError("custom functions are allowed only on a server that was started with --allow-custom")
        asked = Requested("add-rule" if kind == "rule" else "action", by, (), plain, key=request.key)
        asked = requests.complete(asked, (await self._host.loop_of(hosted.submission.run)).engine.spec)
        answer = await self._host.ask(hosted.submission.run, asked)
        return pb.SteerResponse(seq=answer.seq, done=answer.done, text=answer.text, jobs=answer.jobs)

    @_unary
    async def Update(self, request: pb.UpdateRequest, context: Any) -> pb.UpdateResponse:  # noqa: N802
        """Follow a changed file."""
        hosted, by = self._run(request.run, context)
        run = hosted.submission.run
        old = (await self._host.loop_of(run)).engine.spec
        async with self._read(request) as (spec, problems):
            changes = file_changes(old, self._host.ceilings.folded(spec))
        answer = await self._host.ask(run, Requested("change", by, action=msgspec.to_builtins(changes)))
        found = [_problem(one) for one in problems]
        return pb.UpdateResponse(seq=answer.seq, done=answer.done, text=answer.text, warnings=found)

    @contextlib.asynccontextmanager
    async def _read(self, request: Any) -> AsyncIterator[tuple[EnsembleSpec, list[Problem]]]:
        """The ensemble of a request's file and what looks wrong with it; nothing of the file is kept."""
        path = await asyncio.to_thread(files.unpack, request.file, self._host.state / "files")
        try:
            yield await asyncio.to_thread(files.read, path, request.file.name, request.member, request.nodes)
        finally:
            await asyncio.to_thread(files.discard, path)

    @_unary
    async def Remove(self, request: pb.RemoveRequest, context: Any) -> pb.RemoveResponse:  # noqa: N802
        """Remove a run that is over."""
        hosted, _ = self._run(request.run, context)
        await self._host.remove(hosted.submission.run)
        return pb.RemoveResponse()

    @_unary
    async def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoResponse:  # noqa: N802
        """What this is."""
        by, ceilings = self._caller(context), self._host.ceilings
        return pb.InfoResponse(
            version=__version__,
            host=socket.gethostname(),
            user=who(),
            caller=by,
            allows_custom=ceilings.custom,
            max_ensembles=ceilings.ensembles,
            max_jobs=ceilings.jobs,
            max_nodes=ceilings.nodes,
            max_submit_rate=ceilings.rate,
            member_kinds=list(member_kinds()),
            ensembles=sum(1 for hosted in self._host.runs.values() if hosted.busy),
        )


def _batch(records: Any, key: str) -> list[Any]:
    """Some records as messages; none: there are no more for now."""
    found: list[Any] = []
    size = 0
    for record in records:
        if key and getattr(record.event, "key", "") != key:
            continue
        found.append(record_to_message(record))
        size += found[-1].ByteSize()
        if size > BATCH_BYTES // 2 or len(found) >= 512:
            break
    return found


def _phase(hosted: Hosted, status: Status | None) -> Any:
    if status is not None:
        return _PHASES[status.state]
    return pb.RUN_PHASE_STARTING if hosted.busy else pb.RUN_PHASE_LEFT


def _problem(problem: Problem) -> pb.FileProblem:
    return pb.FileProblem(
        message=problem.message,
        file=problem.file,
        line=problem.line,
        column=problem.column,
        where=problem.where,
        hint=problem.hint,
    )


def default_address() -> str:
    """The Unix socket of this user's server."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return f"unix:{runtime}/ensemble.sock"
    from ensemble.runtime.index import home

    return f"unix:{home()}/server.sock"
