"""The runs of a server, asked over gRPC. A call that may be repeated is, while the server is away."""

from __future__ import annotations

__all__ = ["STATES", "RemoteRun", "RemoteRuns"]

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Self

import grpc
import msgspec

from ensemble.engine import Engine, RuleExplanation, Status
from ensemble.model.decisions import Record
from ensemble.model.errors import EnsembleError, InputError, Problem, SpecError, UnknownRun
from ensemble.model.events import Requested
from ensemble.runs.interface import Answer, Observe, RunInfo, RunState, Submission, Warn, ignore, not_removable
from ensemble.runtime import RunResult, Verification
from ensemble.runtime.folding import begin
from ensemble.runtime.loop import EXIT_CODES
from ensemble.session.backoff import Backoff
from ensemble.session.convert import map_from_message, map_to_message
from ensemble.session.limits import CALL_SECONDS, MESSAGE_BYTES
from ensemble.session.messages import message_to_plain, record_from_message
from ensemble.session.security import Security, dial_blocking
from ensemble.session.v1 import ensembles_pb2 as pb
from ensemble.session.v1 import ensembles_pb2_grpc as rpc

SUBMIT_SECONDS: Final = 60.0
REMOVE_SECONDS: Final = 600.0
"""How long the directories of many jobs may take to go."""

TRIES: Final = 5
"""How often a server that never answered is asked."""
AWAY_SECONDS: Final = 300.0
"""How long one that did answer may be away: it is being started anew, with many runs to continue perhaps."""
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
_MODES: Final = {
    "cancel": pb.CANCEL_MODE_CANCEL,
    "cancel-jobs": pb.CANCEL_MODE_CANCEL,
    "pause": pb.CANCEL_MODE_DRAIN,
    "detach": pb.CANCEL_MODE_DETACH,
}
STATES: Final[dict[int, RunState]] = {
    pb.RUN_PHASE_STARTING: "starting",
    pb.RUN_PHASE_RUNNING: "running",
    pb.RUN_PHASE_DRAINING: "draining",
    pb.RUN_PHASE_LEFT: "interrupted",
    pb.RUN_PHASE_OVER: "over",
    pb.RUN_PHASE_DETACHED: "detached",
    pb.RUN_PHASE_DRAINED: "drained",
}
"""The phases of the protocol."""


class RemoteRuns:
    """The runs of one server. A context manager, which closes the connection."""

    def __init__(self, address: str, security: Security) -> None:
        """Raises `InputError` for an address that may not be dialled like this."""
        self.connection = Connection(address, security)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def submit(self, submission: Submission, observe: Observe = ignore, warn: Warn = ignore) -> RunResult:
        """Hand an ensemble over and follow it. Repeated after a lost answer it still begins once. See `Runs`.

        Ctrl-C ends the following and not the run.
        """
        if submission.run_dir:
            raise InputError("a directory of the run can be given on this machine only; a server has its own for each")
        if submission.image:
            raise InputError(
                "an image can be given on this machine only; for a server, put it into the file (`options`)"
            )
        request = pb.SubmitRequest(
            file=packed(submission.file),
            request_id=token_hex(16),
            member=submission.member,
            nodes=submission.nodes,
            seed=submission.seed,
            run=submission.name,
        )
        if request.ByteSize() > MESSAGE_BYTES:
            raise InputError(
                f"{submission.file} and the files that it names take {request.ByteSize()} bytes, and a message holds "
                f"{MESSAGE_BYTES}; put large inputs where the server can read them, and name them with a full path"
            )
        answer = self.connection.call("Submit", request, SUBMIT_SECONDS)
        for one in answer.warnings:
            warn(_problem(one))
        run = RemoteRun(self.connection, answer.run, answer.run_dir)
        return run.detached(0) if submission.detach else run.followed(observe)

    def list(self) -> list[RunInfo]:
        """Every run of the server, the oldest first."""
        runs: list[RunInfo] = []
        token = ""
        while True:
            page = self.connection.call("List", pb.ListRequest(page_token=token))
            runs += (_info(one) for one in page.runs)
            token = page.next_page_token
            if not token:
                return runs[::-1]

    def find(self, name: str = "last") -> RemoteRun:
        """A run by name; `last` is the newest."""
        status = self.connection.call("Status", pb.RunStatusRequest(run=name)).status
        return RemoteRun(self.connection, status.run)


class RemoteRun:
    """A run of a server."""

    def __init__(self, connection: Connection, name: str, path: str = "") -> None:
        self._connection, self._name, self._path = connection, name, path

    @property
    def name(self) -> str:
        """Its name at the server."""
        return self._name

    @property
    def path(self) -> str:
        """Its directory at the server; empty where that is not known yet."""
        return self._path

    # ---- questions ---------------------------------------------------------------------------------

    def info(self) -> RunInfo:
        """The run in one line."""
        status = self._connection.call("Status", pb.RunStatusRequest(run=self._name)).status
        return RunInfo(self._name, self._path, STATES[status.phase], status.outcome, status.reason)

    def status(self) -> Status:
        """Groups, points, members, rules and limits."""
        return _status(self._connection.call("Status", pb.RunStatusRequest(run=self._name)).status)

    def explain(self, rule: str = "") -> list[RuleExplanation]:
        """How often each rule fired and what it waits for."""
        found = self._connection.call("Explain", pb.ExplainRequest(run=self._name, rule=rule))
        rules = []
        for one in found.rules:
            plain = message_to_plain(one)
            plain.setdefault("left", -1)
            for part in plain["parts"]:
                part.setdefault("holds", None)
            rules.append(msgspec.convert(plain, RuleExplanation))
        return rules

    def results(self, by: str = "job") -> Iterator[dict[str, Any]]:
        """One row for each job or point."""
        if by not in ("job", "point"):
            raise InputError(f"results are by `job` or by `point`, not by {by!r}")
        request = pb.ResultsRequest(run=self._name, by=pb.RESULTS_BY_POINT if by == "point" else pb.RESULTS_BY_JOB)
        for response in self._connection.stream("Results", request):
            yield from map(map_from_message, response.rows)

    def events(self, after: int = 0, *, follow: bool = False) -> Iterator[Record]:
        """The records; after the server was away, from where it was."""
        request = pb.EventsRequest(run=self._name, follow=follow)
        setattr(request, "from", after + 1)

        def took(response: pb.EventsResponse) -> None:
            if response.records:
                setattr(request, "from", response.records[-1].seq + 1)

        for response in self._connection.stream("Events", request, took):
            yield from map(record_from_message, response.records)

    def logs(self, key: str, file: str = "stdout", attempt: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """What a job wrote; after the server was away, from where it was."""
        request = pb.LogsRequest(run=self._name, key=key, path=file, attempt=attempt, follow=follow)

        def took(response: pb.LogsResponse) -> None:
            request.offset += len(response.data)

        for response in self._connection.stream("Logs", request, took):
            yield response.data

    def watch(self, seconds: float = 0.5) -> Iterator[Status]:
        """The status whenever it has changed."""
        for response in self._connection.stream("Watch", pb.WatchRequest(run=self._name, interval=seconds), ignore):
            yield _status(response.status)

    def engine(self) -> Engine:
        """An engine made from the records that the server sends."""
        records = self.events()
        first = next(records, None)
        engine, _ = begin(first, Path(self._name))
        assert first is not None
        engine.apply(first)
        for record in records:
            engine.apply(record)
        return engine

    def verify(self) -> Verification:
        """A server does not do this. Raises `InputError`."""
        raise InputError("a run is verified on the machine that has its directory, without --server")

    # ---- requests ----------------------------------------------------------------------------------

    def ask(self, request: Requested) -> Answer:
        """Make a request; the server says in the journal who made it."""
        if request.action is not None:
            message = map_to_message(request.action)
            rule = request.what == "add-rule"
            asked = pb.SteerRequest(run=self._name, key=request.key, **{"rule" if rule else "action": message})
            given = self._connection.call("Steer", asked, again=bool(request.key))
            return Answer(given.done, given.text, tuple(given.jobs), given.seq)
        if request.what not in _MODES:
            raise InputError(f"a server takes no request {request.what!r}; it takes {', '.join(_MODES)}")
        mode = _MODES[request.what]
        given = self._connection.call(
            "Cancel", pb.CancelRequest(run=self._name, mode=mode, keys=request.keys), again=False
        )
        return Answer(given.done, given.text, (), given.seq)

    def update(self, submission: Submission, warn: Warn = ignore) -> Answer:
        """Let the run follow a changed file. See `Run`."""
        given = self._connection.call(
            "Update",
            pb.UpdateRequest(
                run=self._name, file=packed(submission.file), member=submission.member, nodes=submission.nodes
            ),
            SUBMIT_SECONDS,
        )
        for one in given.warnings:
            warn(_problem(one))
        return Answer(given.done, given.text, (), given.seq)

    def cancel(self, keys: Sequence[str] = ()) -> Answer:
        """Cancel jobs, or all."""
        what = f"was asked to cancel {', '.join(keys)}" if keys else "was asked to cancel all jobs"
        return self._ended_with(Requested("cancel-jobs" if keys else "cancel", keys=tuple(keys)), what)

    def drain(self) -> Answer:
        """Start no more jobs."""
        return self._ended_with(Requested("pause"), "was asked to start no more jobs")

    def _ended_with(self, request: Requested, text: str) -> Answer:
        answer = self.ask(request)
        return Answer(answer.done, answer.text or text, answer.jobs)

    def resume(self, observe: Observe = ignore, *, force: bool = False) -> RunResult:
        """Let the server continue the run, and follow it. Ctrl-C ends the following and not the run."""
        if force:
            raise InputError("`--force` is for runs on this machine; a server has its runs for itself")
        after = 0
        for record in self.events():
            after = record.seq
        self._connection.call("Resume", pb.ResumeRequest(run=self._name), again=False)
        return self.followed(observe, after)

    def check_removal(self, *, force: bool = False) -> None:
        """Ask the server how the run stands: one that has begun must be over."""
        if force:
            raise InputError("`--force` is for runs on this machine; a server has its runs for itself")
        status = self._connection.call("Status", pb.RunStatusRequest(run=self._name)).status
        begun = status.seq or status.phase != pb.RUN_PHASE_LEFT
        if begun and status.phase != pb.RUN_PHASE_OVER:
            raise InputError(not_removable(self._name, STATES[status.phase]))

    def remove(self, *, force: bool = False) -> None:
        """Let the server delete the run."""
        if force:
            raise InputError("`--force` is for runs on this machine; a server has its runs for itself")
        self._connection.call("Remove", pb.RemoveRequest(run=self._name), REMOVE_SECONDS, again=False)

    # ---- following ---------------------------------------------------------------------------------

    def followed(self, observe: Observe, after: int = 0) -> RunResult:
        """Hand over each record to come, and return how the run ended."""
        try:
            for record in self.events(after, follow=True):
                observe(record)
        except KeyboardInterrupt:
            return self.detached(130)
        status = self.status()
        outcome = status.outcome or "detached"
        return RunResult(self._name, self._path, outcome, status.reason, EXIT_CODES.get(outcome, 1), status)

    def detached(self, code: int) -> RunResult:
        """The result of a run that goes on at the server."""
        reason = f"the run continues at the server; `ensemble watch --server {self._connection.address}` shows it"
        return RunResult(self._name, self._path, "detached", reason, code, self.status())


class Connection:
    """Calls to one server, repeated with patience."""

    def __init__(self, address: str, security: Security) -> None:
        self.address = address
        self._channel, self._metadata = dial_blocking(address, security)
        self._stub: Any = rpc.EnsemblesStub(self._channel)
        self._answered = False

    def close(self) -> None:
        """End what goes on."""
        self._channel.close()

    def call(self, name: str, request: Any, seconds: float = CALL_SECONDS, *, again: bool = True) -> Any:
        """One answer; `again`: the call may be repeated."""
        patience = _Patience(self._answered)
        while True:
            try:
                answer = getattr(self._stub, name)(request, metadata=self._metadata, timeout=seconds)
            except grpc.RpcError as error:
                if not again or not patience.again(error):
                    raise self._translated(error) from error
            else:
                self._answered = True
                return answer

    def stream(self, name: str, request: Any, took: Callable[[Any], None] | None = None) -> Iterator[Any]:
        """The answers of a call. With `took`, which brings the request up to what came, the call may be repeated."""
        patience = _Patience(self._answered)
        while True:
            call = getattr(self._stub, name)(request, metadata=self._metadata)
            try:
                for response in call:
                    self._answered = True
                    patience.answered()
                    if took is not None:
                        took(response)
                    yield response
                return
            except grpc.RpcError as error:
                if took is None or not patience.again(error):
                    raise self._translated(error) from error
            finally:
                call.cancel()

    def _translated(self, error: Any) -> EnsembleError:
        code, text = error.code(), error.details() or ""
        if code is grpc.StatusCode.NOT_FOUND:
            return UnknownRun(text)
        if code is grpc.StatusCode.INVALID_ARGUMENT and (problems := _problems(error)):
            return SpecError(problems)
        if code in _INPUT:
            return InputError(text)
        if code is grpc.StatusCode.UNAVAILABLE:
            return InputError(f"no server answers at {self.address}: {text}")
        return EnsembleError(f"{self.address}: {code.name.lower().replace('_', ' ')}: {text}")


class _Patience:
    """Whether to ask a server again that does not answer, and when."""

    def __init__(self, known: bool) -> None:
        """`known`: it has answered before."""
        self._known, self._tries = known, 0
        self._since = time.monotonic()
        self._backoff = Backoff(most=AGAIN_SECONDS)

    def answered(self) -> None:
        """The server is there."""
        self._known, self._tries = True, 0
        self._backoff.reset()

    def again(self, error: Any) -> bool:
        """Wait a while; false when it is to be given up, or gave an answer."""
        late = self._known and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if error.code() is not grpc.StatusCode.UNAVAILABLE and not late:
            return False
        self._tries += 1
        if self._tries == 1:
            self._since = time.monotonic()
        away = time.monotonic() - self._since
        if away > AWAY_SECONDS if self._known else self._tries >= TRIES:
            return False
        time.sleep(self._backoff.next())
        return True


def _problems(error: Any) -> list[Problem]:
    """What is wrong in a file, where the server says so in the details of an error."""
    for name, value in error.trailing_metadata() or ():
        if name == "ensemble-problems-bin":
            return [_problem(one) for one in pb.FileProblems.FromString(value).problems]
    return []


def _problem(message: pb.FileProblem) -> Problem:
    return Problem(message.message, message.file, message.line, message.column, message.where, message.hint)


def _info(one: pb.RunSummary) -> RunInfo:
    return RunInfo(one.run, one.run_dir, STATES[one.phase], one.outcome, one.reason, one.started, one.by)


def _status(message: pb.RunStatus) -> Status:
    plain = message_to_plain(message)
    plain["state"] = STATES[message.phase]
    for member in plain["members"]:
        for name in ("nodes_up", "nodes_free", "cores_up", "cores_free"):
            member.setdefault(name, -1)
    for rule in plain["rules"]:
        rule.setdefault("left", -1)
    return msgspec.convert(plain, Status)


def packed(file: str) -> pb.EnsembleFile:
    """A file and those that it names with a relative path. What is wrong with it is the server's to say."""
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
