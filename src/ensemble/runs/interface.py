"""What can be asked of runs, and the types of the answers."""

from __future__ import annotations

__all__ = ["AT_WORK", "Answer", "Observe", "Run", "RunInfo", "RunState", "Runs", "Submission", "Warn", "open_runs"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self

from msgspec import Struct

from ensemble.engine import Engine, RuleExplanation, Status
from ensemble.model.decisions import Record
from ensemble.model.errors import Problem
from ensemble.model.events import Requested
from ensemble.runtime import RunResult, Verification
from ensemble.runtime.requests import Answer

Observe = Callable[[Record], None]
"""Called with each durable record."""

Warn = Callable[[Problem], None]
"""Called with each thing in a file that looks like a mistake."""

RunState = Literal["starting", "running", "draining", "drained", "detached", "interrupted", "over"]
"""A process works on a run that is `starting`, `running` or `draining`. None works on one that was `drained`, that was
`detached` (its process left on request, and jobs are with members), or that was `interrupted` otherwise, as by a crash;
`resume` continues it."""

AT_WORK: Final[tuple[RunState, ...]] = ("starting", "running", "draining")
"""The states of a run that a process works on."""


@dataclass(frozen=True, slots=True)
class Submission:
    """An ensemble file to be run, and what replaces parts of it.

    `member` is a kind of member, `nodes` its number of nodes (0: the file's), `image` the container image of its jobs,
    `seed` the seed. `detach`: leave once all
    jobs are submitted; at a server, return once it has accepted the file. `name` is the name of the run at a server;
    `run_dir` its directory on this machine, `base` the directory in which `<name>-<n>` is made.
    """

    file: str
    member: str = ""
    nodes: int = 0
    seed: int | None = None
    detach: bool = False
    debug: bool = False
    name: str = ""
    run_dir: str = ""
    base: str = "runs"
    image: str = ""


class RunInfo(Struct, frozen=True):
    """A run in one line. `created` is in seconds since the Unix epoch, 0 where it is not known.

    `outcome` is empty until the run is over; `by` is who submitted it.
    """

    name: str
    path: str
    state: RunState
    outcome: str = ""
    reason: str = ""
    created: float = 0.0
    by: str = ""


class Run(Protocol):
    """One run. Every method may raise `EnsembleError`: `UnknownRun` when the run was removed meanwhile, `JournalError`
    when its journal cannot be read, `InputError` when a server does not answer or does not allow it."""

    @property
    def name(self) -> str:
        """Such as `melt-3`."""
        ...

    @property
    def path(self) -> str:
        """Its directory on the machine that has it."""
        ...

    # ---- questions ---------------------------------------------------------------------------------

    def info(self) -> RunInfo:
        """The run in one line."""
        ...

    def status(self) -> Status:
        """Groups, points, members, rules and limits as of the last durable record, with the state of the run.

        `elapsed` of a run that a process works on is the time until now.
        """
        ...

    def explain(self, rule: str = "") -> list[RuleExplanation]:
        """For each rule (or one) how often it fired and what it waits for. Raises `InputError` for an unknown rule."""
        ...

    def results(self, by: str = "job") -> Iterator[dict[str, Any]]:
        """One row for each `job`, in the order in which jobs ended, or for each `point`, in the order of the file."""
        ...

    def events(self, after: int = 0, *, follow: bool = False) -> Iterator[Record]:
        """The records with a number above `after`; with `follow` also those to come, until no process works on it."""
        ...

    def logs(self, key: str, file: str = "stdout", attempt: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """What a job wrote, in pieces.

        `file` is `stdout`, `stderr` or a path in the job's directory; `attempt` counts from 1, 0 is the last one. With
        `follow` also what is written until the job is over. Raises `InputError` where there is no such job or file.
        """
        ...

    def watch(self, seconds: float = 0.5) -> Iterator[Status]:
        """The status now and whenever it has changed, at most every `seconds`, until no process works on the run."""
        ...

    def engine(self) -> Engine:
        """An engine of the caller's own as of the last durable record, which later records may be applied to."""
        ...

    def verify(self) -> Verification:
        """Decide every record again and compare. Raises `InputError` where the journal is not on this machine."""
        ...

    # ---- requests ----------------------------------------------------------------------------------

    def ask(self, request: Requested) -> Answer:
        """Make a request; returns what came of it once that is durable.

        Raises `InputError` when no process works on the run, and for an
        action or a rule that the file could not hold either. `by` is set at a server, from the token."""
        ...

    def update(self, submission: Submission, warn: Warn = ...) -> Answer:
        """Let the run follow a changed file: its limits, rules and sizes of members.

        Of the submission, `file`, `member` and `nodes` are used. Raises `InputError` (`SpecError` for what is wrong in
        the file) where anything else is different, or when no process works on the run.
        """
        ...

    def cancel(self, keys: Sequence[str] = ()) -> Answer:
        """Cancel these jobs, or all of them and with them the run."""
        ...

    def drain(self) -> Answer:
        """Start no more jobs; the run ends when those that run have finished."""
        ...

    def resume(self, observe: Observe = ..., *, force: bool = False) -> RunResult:
        """Continue an interrupted run to its end; of a run that is over, say how it ended.

        Raises `InputError` when a process works on it; `force` takes it away from there.
        """
        ...

    def check_removal(self, *, force: bool = False) -> None:
        """Raises `InputError` where `remove` would refuse."""
        ...

    def remove(self, *, force: bool = False) -> None:
        """Delete the run's directory. Raises `InputError` when a process works, or may work, on it (unless `force`)."""
        ...


class Runs(Protocol):
    """The runs of this machine, or those of a server. A context manager, which closes what it opened."""

    def submit(self, submission: Submission, observe: Observe = ..., warn: Warn = ...) -> RunResult:
        """Run an ensemble to its end, or with `detach` until the jobs are on their way.

        Raises `InputError` (`SpecError` for what is wrong in the file) before anything is spent.
        """
        ...

    def list(self) -> list[RunInfo]:
        """Every run, the oldest first."""
        ...

    def find(self, name: str = "last") -> Run:
        """A run by name or path; `last` is the newest. Raises `UnknownRun`."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def not_removable(run: str, state: RunState) -> str:
    """Why a run of a server is not removed: only one that is over is."""
    return f"run {run} is running" if state in AT_WORK else f"run {run} is not over; cancel it first, or resume it"


def ignore(_: object) -> None:
    """For those who do not want to be told."""


def open_runs(
    server: str = "", *, token_file: str = "", tls_ca: str = "", tls_cert: str = "", tls_key: str = ""
) -> Runs:
    """The runs of the server at an address (`host:port` or a Unix socket), else those of this machine.

    `tls_ca` verifies the server, `tls_cert` and `tls_key` are the client's own. Raises `InputError` for an address that
    may not be dialled like this, and where the packages of the service are missing.
    """
    if not server:
        from ensemble.runs.local import LocalRuns

        return LocalRuns()
    try:
        from ensemble.runs.remote import RemoteRuns
        from ensemble.session.security import Security
    except ModuleNotFoundError as error:
        from ensemble.model.errors import InputError

        raise InputError(f"a server needs {error.name}: pip install 'ensemble-hpc[service]'") from error
    return RemoteRuns(server, Security(tls_ca, tls_cert, tls_key, token_file))
