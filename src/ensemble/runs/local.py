"""The runs of this machine: answers from the journal and the run's directory, requests through files there."""

from __future__ import annotations

__all__ = ["LocalRun", "LocalRuns", "to_end"]

import asyncio
import shutil
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

from msgspec import to_builtins
from msgspec.structs import replace

from ensemble.engine import Engine, RuleExplanation, Status
from ensemble.journal import Follower, last_record, read
from ensemble.model.decisions import End, Record
from ensemble.model.errors import EnsembleError, InputError, Refused, UnknownRun
from ensemble.model.events import JobEvent, Requested, RunStarted
from ensemble.model.wording import counted
from ensemble.runs.interface import AT_WORK, Observe, RunInfo, RunState, Submission, Warn, ignore
from ensemble.runs.logs import job_file, read_file
from ensemble.runtime import RunOptions, RunResult, Verification, index, requests, verify
from ensemble.runtime import resume as resume_run
from ensemble.runtime import run as run_ensemble
from ensemble.runtime.alive import left_with, process_at, refuse_if_alive
from ensemble.runtime.examining import examine
from ensemble.runtime.folding import algorithms, begin, fold
from ensemble.runtime.opening import kind_here, member_kinds, on_member, who
from ensemble.runtime.requests import Answer
from ensemble.runtime.results import rows
from ensemble.spec.changes import file_changes
from ensemble.spec.loader import load_with_places
from ensemble.spec.model import EnsembleSpec

LOOK_SECONDS: Final = 0.2
"""How often the journal of another process's run is looked at."""


class LocalRuns:
    """The runs that the index of this user knows."""

    def submit(self, submission: Submission, observe: Observe = ignore, warn: Warn = ignore) -> RunResult:
        """Run an ensemble in this process. See `Runs`."""
        spec = _spec(submission, warn)
        options = RunOptions(
            base=submission.base, run_dir=submission.run_dir, source=submission.file, detach=submission.detach
        )
        return to_end(run_ensemble(spec, options, [observe]))

    def list(self) -> list[RunInfo]:
        """Every run of the index that is still there."""
        return [LocalRun(known.path, known.created).info() for known in index.known()]

    def find(self, name: str = "last") -> LocalRun:
        """A run by name or path; `last` is the newest."""
        return LocalRun(index.find(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


def _spec(submission: Submission, warn: Warn) -> EnsembleSpec:
    """The ensemble of a file, on the members that are asked for. Raises `InputError`."""
    member = submission.member
    spec, places = load_with_places(submission.file, algorithms(), () if member else member_kinds())
    if submission.seed is not None:
        spec = replace(spec, seed=submission.seed)
    spec = on_member(spec, member or kind_here(spec), submission.nodes, submission.image)
    for problem in examine(spec, places):
        warn(problem)
    if submission.debug:
        spec = replace(spec, logging=replace(spec.logging, debug=True))
    return spec


class LocalRun:
    """A run whose directory is on a file system of this machine."""

    def __init__(self, run_dir: Path, created: float = 0.0) -> None:
        self.run_dir = run_dir
        self._created = created

    def live(self) -> Engine | None:
        """The engine that drives the run, where this process does: it answers for the journal."""
        return None

    def alive(self) -> bool:
        """Whether a process works on the run."""
        return process_at(self.run_dir) is not None

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.run_dir.name

    @property
    def path(self) -> str:
        """Its directory."""
        return str(self.run_dir)

    def __repr__(self) -> str:
        return f"LocalRun({self.path!r})"

    # ---- questions ---------------------------------------------------------------------------------

    def info(self) -> RunInfo:
        """The run in one line. One that cannot be read is `interrupted`, with the reason."""
        try:
            return self._info()
        except EnsembleError as error:
            return RunInfo(self.name, self.path, "interrupted", reason=str(error), created=self._created)

    def _info(self) -> RunInfo:
        first = next(read(self.run_dir), None)
        started = first.event if first is not None and isinstance(first.event, RunStarted) else None
        created = self._created or (first.at if first is not None else 0.0)
        about = RunInfo(self.name, self.path, "starting", created=created, by=started.by if started else "")
        if started is None:
            return about if self.alive() else replace(about, state="interrupted")
        # the last record alone says in most cases that a run is over
        end = _end_of(last_record(self.run_dir))
        if end is not None:
            return replace(about, state="over", outcome=end.outcome, reason=end.reason)
        status = self.status(points=False)
        return replace(about, state=status.state, outcome=status.outcome, reason=status.reason)

    def status(self, *, points: bool = True) -> Status:
        """Groups, points, members, rules and limits. Without the points it takes no longer however many there are."""
        return self._status_of(self._current(), points=points)

    def _status_of(self, engine: Engine, *, points: bool = True) -> Status:
        status = engine.status(points=points)
        state = self._state(engine, status)
        if state in AT_WORK:
            status = replace(status, elapsed=max(status.elapsed, time.time() - status.started))
        return replace(status, state=state)

    def _state(self, engine: Engine, status: Status) -> RunState:
        if engine.ended is not None:
            return "over"
        if self.alive():
            return "draining" if status.draining else "running"
        if engine.at_rest:
            return "drained"
        with_members = any(member.outstanding for member in status.members)
        return "detached" if with_members and left_with(self.run_dir) == "detached" else "interrupted"

    def explain(self, rule: str = "") -> list[RuleExplanation]:
        """How often each rule fired and what it waits for."""
        engine = self._current()
        found = engine.explain(rule)
        if rule and not found:
            there = ", ".join(one.id for one in engine.explain())
            raise InputError(f"run {self.name} has no rule {rule!r}; it has {there or 'none'}")
        return found

    def results(self, by: str = "job") -> Iterator[dict[str, Any]]:
        """One row for each job or point."""
        if by not in ("job", "point"):
            raise InputError(f"results are by `job` or by `point`, not by {by!r}")
        return rows(self.run_dir, by)

    def events(self, after: int = 0, *, follow: bool = False) -> Iterator[Record]:
        """The records, and with `follow` those to come."""
        follower = Follower(self.run_dir, after)
        while True:
            # asked before the reading: what was written until then is read
            alive = follow and self.alive()
            for record in follower.new():
                yield record
                if _end_of(record) is not None:
                    alive = False
            if not alive:
                return
            time.sleep(LOOK_SECONDS)

    def logs(self, key: str, file: str = "stdout", attempt: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        """What a job wrote."""
        over = self.job_is_over(key, attempt) if follow else None
        return read_file(job_file(self.run_dir, key, file, attempt), over)

    def job_is_over(self, key: str, attempt: int) -> Callable[[], bool]:
        """Tells whether an attempt of a job (0: any) has ended, or no process works on the run."""
        follower, ended = Follower(self.run_dir), False

        def over() -> bool:
            nonlocal ended
            alive = self.alive()
            for record in follower.new():
                event = record.event
                if isinstance(event, JobEvent) and event.key == key and attempt in (0, event.attempt):
                    ended = event.state == "inactive"
            return ended or not alive

        return over

    def watch(self, seconds: float = 0.5) -> Iterator[Status]:
        """The status whenever it has changed."""
        engine = self.engine()
        follower = Follower(self.run_dir, engine.seq)
        yield self._status_of(engine)
        alive = True
        while alive and engine.ended is None:
            time.sleep(seconds)
            alive = self.alive()
            before = engine.seq
            for record in follower.new():
                engine.apply(record)
            if engine.seq != before:
                yield self._status_of(engine)

    def engine(self) -> Engine:
        """An engine of the caller's own."""
        return fold(self.run_dir).engine

    def _current(self) -> Engine:
        """An engine to ask: the live one, else one from the journal."""
        live = self.live()
        return live if live is not None else self.engine()

    def spec(self) -> EnsembleSpec:
        """The checked file of the run."""
        return begin(next(read(self.run_dir), None), self.run_dir)[0].spec

    def verify(self) -> Verification:
        """Decide every record again and compare."""
        return verify(self.run_dir)

    # ---- requests ----------------------------------------------------------------------------------

    def ask(self, request: Requested) -> Answer:
        """Make a request of the process that works on the run."""
        if not self.alive():
            self.refuse_if_over()
        return requests.ask(self.run_dir, requests.complete(request, self.spec()))

    def update(self, submission: Submission, warn: Warn = ignore) -> Answer:
        """Let the run follow a changed file. See `Run`."""
        changes = file_changes(self.spec(), _spec(submission, warn))
        return self.ask(Requested("change", who(), action=to_builtins(changes)))

    def cancel(self, keys: Sequence[str] = ()) -> Answer:
        """Cancel jobs, or all. A run that no process works on is taken over for this."""
        what = f"was asked to cancel {', '.join(keys)}" if keys else "was asked to cancel all jobs"
        return self._end_with(Requested("cancel-jobs" if keys else "cancel", who(), tuple(keys)), what)

    def drain(self) -> Answer:
        """Start no more jobs. A run that no process works on is taken over until its jobs have finished."""
        return self._end_with(Requested("pause", who()), "was asked to start no more jobs")

    def refuse_if_over(self) -> None:
        """Raises `Refused` for a run that is over."""
        found = self.info()
        if found.state == "over":
            raise Refused(requests.is_over(self.name, found.outcome))

    def _end_with(self, request: Requested, text: str) -> Answer:
        if self.alive():
            answer = self.ask(request)
            return Answer(answer.done, answer.text or text, answer.jobs, answer.seq)
        self.refuse_if_over()
        # with keys the run is left again as it was, once they are cancelled
        options = RunOptions(requests=(request,), detach=bool(request.keys), wake=False)
        result = to_end(resume_run(self.run_dir, options))
        return Answer(True, f"no process worked on it; it was taken over, and ended: {result.outcome}")

    def resume(self, observe: Observe = ignore, *, force: bool = False) -> RunResult:
        """Continue the run in this process."""
        return to_end(resume_run(self.run_dir, observers=[observe], force=force))

    def remove(self, *, force: bool = False) -> None:
        """Delete the run's directory and its entry in the index. Raises `InputError` while its jobs may be running."""
        self.check_removal(force=force)
        try:
            shutil.rmtree(self.run_dir)
        except FileNotFoundError as error:
            raise UnknownRun(f"{self.run_dir} is not there any more") from error
        except OSError as error:
            raise InputError(f"{error.filename}: {error.strerror}") from error
        index.forget(self.run_dir)

    def check_removal(self, *, force: bool = False) -> None:
        """Raises `InputError` while a process works on the run, or its jobs go on without one."""
        if force:
            return
        refuse_if_alive(self.run_dir, "cancel it first, or remove it with `--force`")
        try:
            status = self.status(points=False)
        except EnsembleError:
            return  # a journal that cannot be read cannot be cancelled either
        jobs = status.total.running + status.total.pending
        if not status.outcome and jobs:
            raise InputError(
                f"run {self.name} is not over: {counted(jobs, 'job')} may still run without a process that works on "
                f"the run; cancel it first (`ensemble cancel {self.name}`), or remove it with `--force`"
            )


def to_end(work: Coroutine[Any, Any, RunResult]) -> RunResult:
    """Work on a run here, or in a thread where this one has an event loop already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    thread = ThreadPoolExecutor(1, "ensemble")
    try:
        return thread.submit(asyncio.run, work).result()
    finally:
        # whoever interrupts the waiting does not wait for the end of the run
        thread.shutdown(wait=False)


def _end_of(record: Record | None) -> End | None:
    if record is None:
        return None
    effects = (effect for step in record.steps for effect in getattr(step, "effects", ()))
    return next((effect for effect in effects if isinstance(effect, End)), None)
