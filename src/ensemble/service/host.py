"""The runs of a server: each is a task of its own, with a directory below the state directory."""

from __future__ import annotations

__all__ = ["Busy", "Host", "Hosted", "Stopping", "Submission"]

import asyncio
import contextlib
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from prometheus_client import Histogram

from ensemble.engine import Engine, Status
from ensemble.model.decisions import Call, Cancel, Record, Resize, StopMember, Submit
from ensemble.model.errors import EnsembleError, InputError, JournalError, UnknownRun
from ensemble.model.events import Requested
from ensemble.runs.interface import not_removable
from ensemble.runs.local import LocalRun
from ensemble.runtime import RunOptions, requests
from ensemble.runtime import resume as resume_run
from ensemble.runtime import run as run_ensemble
from ensemble.runtime.alive import process_at
from ensemble.runtime.index import make_run_dir
from ensemble.runtime.loop import RunLoop, RunResult
from ensemble.runtime.pace import Pace
from ensemble.runtime.requests import Answer
from ensemble.service.limits import CeilingError, Ceilings
from ensemble.service.logs import Log
from ensemble.spec.model import EnsembleSpec

_COMMANDS: Final = (Submit, Cancel, Resize, Call, StopMember)
SYNC_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds: from a fast local disk to a file system that hangs."""

LEASE_LOOK_SECONDS: Final = 1.0
"""Seconds between two looks whether the lease of a run has expired."""

STOP_SECONDS: Final = 8.0
"""How long runs may take to detach when the server stops."""


class Stopping(EnsembleError):
    """The server is stopping and accepts nothing more."""


class Busy(EnsembleError):
    """The run is in a state that does not allow this."""


class Submission(Struct, frozen=True):
    """An accepted ensemble, durable before the answer is sent. A run without a journal begins from it."""

    run: str
    by: str
    spec: dict[str, Any]
    source: str = ""
    request_id: str = ""
    detach: bool = False


class Hosted:
    """One run."""

    def __init__(self, submission: Submission, run_dir: Path) -> None:
        self.submission, self.run_dir = submission, run_dir
        self.loop: RunLoop | None = None
        self.task: asyncio.Task[None] | None = None
        self.result: RunResult | None = None
        self.final: Status | None = None
        """How it ended, once somebody has asked."""
        self.trouble = ""
        self.requests: tuple[Requested, ...] = ()
        """What is asked of it when it is taken over."""
        self.wake_up = True
        """Whether a run that was paused goes on when it is resumed."""
        self.seq = 0
        self._news: asyncio.Event = asyncio.Event()

    @property
    def run(self) -> LocalRun:
        """The run, to be asked."""
        return _HostedRun(self)

    @property
    def busy(self) -> bool:
        """Whether it is being run here."""
        return self.task is not None and not self.task.done()

    async def status(self, *, points: bool = True) -> Status | None:
        """How it stands: by its live engine at once, by its journal on another thread. None where it has not begun.

        While it is live, an answer without the points takes no longer however many there are.
        """
        if self.final is None:
            try:
                live = self.loop is not None
                status = self.run.status(points=points) if live else await asyncio.to_thread(self.run.status)
            except EnsembleError:
                return None
            if status.state != "over" or (live and not points):
                return status
            self.final = status
        return self.final

    def observe(self, record: Record) -> None:
        """A record is durable."""
        self.seq = record.seq
        self.wake()

    def wake(self) -> None:
        """Something changed."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def changed(self, seconds: float = 60.0) -> None:
        """Wait until something changes, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()


class _HostedRun(LocalRun):
    """A run that this process works on, if any does."""

    def __init__(self, hosted: Hosted) -> None:
        super().__init__(hosted.run_dir)
        self._hosted = hosted

    def live(self) -> Engine | None:
        return self._hosted.loop.engine if self._hosted.loop is not None else None

    def alive(self) -> bool:
        return self._hosted.busy


class Host:
    """Begins, resumes, steers and leaves runs."""

    def __init__(self, state: Path, ceilings: Ceilings, log: Log) -> None:
        self.state, self.ceilings, self.log = state, ceilings, log
        self.runs: dict[str, Hosted] = {}
        self._asked: dict[tuple[str, str], str] = {}
        """(who, request id) -> run."""
        self._stopping = False
        self._pace = Pace(ceilings.rate) if ceilings.rate else None
        self.records: Counter[str] = Counter()
        """Events that became durable, by their kind."""
        self.commands: Counter[str] = Counter()
        """Commands that followed from them, by their kind."""
        self.syncs = Histogram(
            "ensemble_journal_sync_seconds",
            "How long groups of records took to be durable.",
            buckets=SYNC_BOUNDS,
            registry=None,
        )
        """How long the journals took to make a group of records durable."""
        for name in ("runs", "submissions", "files"):
            (state / name).mkdir(parents=True, exist_ok=True, mode=0o700)

    # ---- from the beginning to the end -------------------------------------------------------------

    def restore(self) -> None:
        """Continue every run that is not over, but for those that were drained."""
        for path in sorted((self.state / "submissions").glob("*.json"), key=lambda one: one.stat().st_mtime):
            try:
                submission = msgspec.json.decode(path.read_bytes(), type=Submission)
            except (OSError, msgspec.MsgspecError) as error:
                self.log("bad-submission", f"{path}: {error}")
                continue
            hosted = self._note(submission)
            hosted.wake_up = False
            self._begin(hosted, patient=True)

    def submit(self, submission: Submission) -> Hosted:
        """Accept an ensemble; the same request of the same person again is the same run. Raises `CeilingError`."""
        if self._stopping:
            raise Stopping("the server is stopping; try again later")
        known = self.known(submission.by, submission.request_id)
        if known is not None:
            return known
        self._refuse_more()
        run_dir = self._directory(submission)
        submission = msgspec.structs.replace(submission, run=run_dir.name)
        _write_durably(self.state / "submissions" / f"{run_dir.name}.json", msgspec.json.encode(submission))
        hosted = self._note(submission)
        self._begin(hosted)
        self.log("submitted", run=submission.run, by=submission.by)
        return hosted

    def known(self, by: str, request_id: str) -> Hosted | None:
        """The run that this request began."""
        run = self._asked.get((by, request_id)) if request_id else None
        return self.runs.get(run) if run else None

    def resume(self, run: str) -> Hosted:
        """Continue a run that no process works on. Raises `Busy` when it is running."""
        hosted = self.find(run)
        if hosted.busy:
            raise Busy(f"run {hosted.submission.run} is running")
        if self._stopping:
            raise Stopping("the server is stopping; try again later")
        self._refuse_more()
        hosted.wake_up, hosted.requests = True, ()
        self._begin(hosted)
        return hosted

    async def stop(self) -> None:
        """Leave every run: its journal is whole and its jobs go on."""
        self._stopping = True
        tasks = [hosted.task for hosted in self.runs.values() if hosted.task is not None and hosted.busy]
        for hosted in self.runs.values():
            if hosted.loop is not None and hosted.busy:
                hosted.loop.detach()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
        for hosted in self.runs.values():
            hosted.wake()

    @property
    def stopping(self) -> bool:
        """Whether the server is on its way out."""
        return self._stopping

    # ---- what is there -----------------------------------------------------------------------------

    def find(self, run: str) -> Hosted:
        """A run by name, or `last`. Raises `UnknownRun`."""
        if run == "last" and self.runs:
            return next(reversed(self.runs.values()))
        if run in self.runs:
            return self.runs[run]
        from difflib import get_close_matches

        close = get_close_matches(run, list(self.runs), 1)
        hint = f"; did you mean {close[0]}?" if close else "; `ensemble list --server ...` shows those there are"
        raise UnknownRun(f"there is no run {run!r} on this server{hint}")

    async def loop_of(self, run: str) -> RunLoop:
        """The loop of a run that a process works on. Raises `Refused` for one that is over, else `Busy`."""
        hosted = self.find(run)
        if hosted.loop is None or not hosted.busy:
            await asyncio.to_thread(hosted.run.refuse_if_over)
            raise Busy(f"no process works on run {hosted.submission.run}; `ensemble resume --server ...` continues it")
        return hosted.loop

    async def ask(self, run: str, request: Requested) -> Answer:
        """Make a request of a run; return what came of it once that is durable.

        A run that no process works on is taken over to be cancelled or drained. Raises `Refused` for one that is over.
        """
        hosted = self.find(run)
        if not hosted.busy and request.action is None and not await asyncio.to_thread(_nothing_left, hosted.run):
            hosted.wake_up, hosted.requests = False, (request,)
            self._begin(hosted)
            return Answer(True, "no process worked on the run; it was taken over for this")
        record = await (await self.loop_of(run)).enter([request])
        if isinstance(record, bool):
            raise Busy(f"run {run} ended before it took the request in")
        return requests.answer(record)

    # ---- inside ------------------------------------------------------------------------------------

    def _refuse_more(self) -> None:
        busy = sum(1 for hosted in self.runs.values() if hosted.busy)
        if self.ceilings.ensembles and busy >= self.ceilings.ensembles:
            raise CeilingError(
                f"this server already runs {busy} ensembles, which is its limit (--max-ensembles); try again later"
            )

    def _directory(self, submission: Submission) -> Path:
        base = self.state / "runs"
        if not submission.run:
            return make_run_dir(str(submission.spec.get("name", "ensemble")), str(base))
        if submission.run in (".", "..", "last") or "/" in submission.run or "\0" in submission.run:
            raise InputError(f"{submission.run!r} cannot be the name of a run")
        if submission.run in self.runs:
            raise Busy(f"a run {submission.run!r} exists already")
        return make_run_dir("", str(base), str(base / submission.run))

    def _note(self, submission: Submission) -> Hosted:
        hosted = self.runs[submission.run] = Hosted(submission, self.state / "runs" / submission.run)
        if submission.request_id:
            self._asked[submission.by, submission.request_id] = submission.run
        return hosted

    def _begin(self, hosted: Hosted, *, patient: bool = False) -> None:
        hosted.trouble = ""
        hosted.task = asyncio.create_task(self._keep(hosted, patient), name=f"run {hosted.submission.run}")

    async def _keep(self, hosted: Hosted, patient: bool) -> None:
        """Run one ensemble; whatever becomes of it stays with it. `patient`: wait while another process has it."""
        run = hosted.submission.run
        try:
            if patient:
                await self._until_left(hosted)
            hosted.result = await self._run(hosted)
            hosted.trouble = "" if hosted.loop is None or hosted.loop.engine.ended else hosted.result.reason
            self.log("ended", hosted.result.reason, run=run, outcome=hosted.result.outcome)
        except asyncio.CancelledError:
            hosted.trouble = "it did not stop in time"
            raise
        except EnsembleError as error:
            hosted.trouble = str(error)
            self.log("left", hosted.trouble, run=run)
        except Exception as error:
            hosted.trouble = f"internal error: {type(error).__name__}: {error}"
            self.log("fault", hosted.trouble, run=run)
        finally:
            hosted.wake()

    async def _run(self, hosted: Hosted) -> RunResult:
        def opened(loop: RunLoop) -> None:
            hosted.loop = loop
            loop.synced = self.syncs.observe

        asked = hosted.submission
        options = RunOptions(
            base=str(self.state / "runs"),
            run_dir=str(hosted.run_dir),
            source=asked.source,
            detach=asked.detach or any(request.keys for request in hosted.requests),
            signals=False,
            opened=opened,
            by=asked.by,
            pace=self._pace,
            requests=hosted.requests,
            wake=hosted.wake_up,
        )
        if (hosted.run_dir / "journal").is_dir():
            try:
                return await resume_run(hosted.run_dir, options, [hosted.observe, self._count])
            except UnknownRun:
                self.log("begun-again", "its process was killed before its first record", run=asked.run)
        spec = msgspec.convert(asked.spec, EnsembleSpec)
        return await run_ensemble(spec, options, [hosted.observe, self._count])

    async def _until_left(self, hosted: Hosted) -> None:
        """Wait while another process seems to work on a run that this server had.

        A container that was started again cannot see that the process before it is gone: its lease says so, once it
        has expired.
        """
        with contextlib.suppress(JournalError):
            while (found := process_at(hosted.run_dir)) is not None and not found.here:
                if not hosted.trouble:
                    hosted.trouble = f"it is continued when the lease of {found} has expired"
                    self.log("waiting", hosted.trouble, run=hosted.submission.run)
                await asyncio.sleep(LEASE_LOOK_SECONDS)
        hosted.trouble = ""

    def _count(self, record: Record) -> None:
        self.records[type(record.event).__name__] += 1
        for step in record.steps:
            for effect in getattr(step, "effects", (step,)):
                if isinstance(effect, _COMMANDS):
                    self.commands[type(effect).__name__] += 1

    async def remove(self, run: str) -> None:
        """Remove a run that is over. Raises `Busy`."""
        hosted = self.find(run)
        name = hosted.submission.run
        over = await asyncio.to_thread(_nothing_left, hosted.run)
        # asked after the waiting: somebody else may have been quicker
        if hosted.busy or self.runs.get(name) is not hosted:
            raise Busy(not_removable(name, "running") if hosted.busy else f"run {name} is being removed")
        if not over:
            raise Busy(not_removable(name, "interrupted"))
        del self.runs[name]
        for asked in [one for one, found in self._asked.items() if found == name]:
            del self._asked[asked]
        self.log("removed", run=name)
        await asyncio.to_thread(self._clear, hosted)

    def _clear(self, hosted: Hosted) -> None:
        (self.state / "submissions" / f"{hosted.submission.run}.json").unlink(missing_ok=True)
        with contextlib.suppress(EnsembleError):
            hosted.run.remove(force=True)
        brought = Path(str(hosted.submission.spec.get("directory", "")))
        if brought.parent == self.state / "files":
            shutil.rmtree(brought, ignore_errors=True)


def _nothing_left(run: LocalRun) -> bool:
    """Whether a run is over, or never began."""
    try:
        return run.status(points=False).state == "over"
    except UnknownRun:
        return True
    except EnsembleError:
        if (run.run_dir / "journal").is_dir():
            raise
        return True


def _write_durably(path: Path, data: bytes) -> None:
    """Raises `InputError` when it cannot be."""
    fresh = path.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InputError(f"{path.parent}: {error.strerror}; the server cannot accept this") from error
