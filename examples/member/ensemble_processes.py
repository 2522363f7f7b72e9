"""A whole third-party member in one file: jobs are child processes of the engine.

It is as small as the contract allows, and honest: its jobs end with our process, and after a crash they may run
twice, so it claims neither `durable` nor `exactly-once`. `docs/members.md` goes through it, and it passes the suite.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

from ensemble.members.contract import (
    Accepted,
    CloseMode,
    Context,
    Hello,
    InventoryItem,
    Page,
    Receipt,
    Refused,
)
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent
from ensemble.model.jobs import AttemptRef, JobSpec


class Job:
    """One attempt: what it is, and how far it has come."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.state = "sched"
        self.why = ""
        """Why we end it: cancelled or walltime."""
        self.process: asyncio.subprocess.Process | None = None
        self.last: JobEvent | None = None


class ProcessMember:
    """Runs jobs as child processes, in the order in which they came, `cores` cores at a time."""

    def __init__(self) -> None:
        self.context: Context | None = None
        self.stream = ""
        self.n = 0
        self.free = 0
        self.jobs: dict[AttemptRef, Job] = {}
        self.queue: deque[Job] = deque()
        self.lives: set[asyncio.Task[None]] = set()
        self.outbox: list[JobEvent] = []
        self.news = asyncio.Event()
        self.told = asyncio.Event()
        self.pump: asyncio.Task[None] | None = None

    async def open(self, context: Context) -> Hello:
        """Begin, or go on after the engine was opened anew."""
        if self.context is not None and context.epoch < self.context.epoch:
            raise MemberError(f"epoch {context.epoch} is over: {self.context.epoch} has begun")
        await self._stop_pump()
        cores = context.cores or os.cpu_count() or 1
        if self.context is None:
            self.free = cores
            self.stream = f"{context.name}@{context.epoch}-{token_hex(4)}"
        self.context = context
        if context.stream == self.stream:
            self.outbox = [event for event in self.outbox if event.n > context.position]
        self.pump = asyncio.create_task(self._tell(context))
        return Hello(frozenset({"walltime"}), self.stream, 1, -1, cores, self.free, 0, cores, ("none",))

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """Take jobs; one that is known by its ref is accepted and does nothing."""
        return [self._take(spec) for spec in jobs]

    def _take(self, spec: JobSpec) -> Receipt:
        assert self.context is not None
        cores = self.context.cores or os.cpu_count() or 1
        if spec.resources.total_cores > cores:
            return Refused(f"it needs {spec.resources.total_cores} cores and there are {cores}")
        if spec.ref not in self.jobs:
            job = self.jobs[spec.ref] = Job(spec)
            self.queue.append(job)
            self._start_some()
        return Accepted(native_id=str(spec.ref))

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """SIGTERM to the job's process group, SIGKILL after `grace` seconds."""
        for ref in refs:
            job = self.jobs.get(ref)
            if job is not None and job in self.queue:
                self.queue.remove(job)
                self._end(job, outcome="cancelled", reason="cancelled")
            elif job is not None and job.state != "inactive":
                self._kill(job, "cancelled", grace)
        self._start_some()
        return [Accepted() for _ in refs]

    async def resize(self, command: int, nodes: int) -> Receipt:
        """There is one node."""
        return Refused("there is one node")

    async def inventory(self) -> AsyncIterator[Page]:
        """All jobs; what ran before a crash of ours is not among them, so absence proves nothing."""
        items = (InventoryItem(ref, job.state, event=job.last) for ref, job in self.jobs.items())
        yield Page(tuple(items), last=True, complete=False, text="jobs of an earlier process are not known")

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Read part of a file of a job."""
        if ref not in self.jobs:
            raise MemberError(f"{ref} is not known here")
        folder = Path(self.jobs[ref].spec.workdir).resolve()
        found = (folder / (f"{path}.{ref.attempt}" if path in ("stdout", "stderr") else path)).resolve()
        if folder not in found.parents:
            raise MemberError(f"{path} is outside the folder of {ref.key}")
        try:
            with found.open("rb") as file:
                file.seek(offset)
                return file.read(limit)
        except OSError as error:
            raise MemberError(f"{path} of {ref.key}: {error.strerror}") from error

    async def close(self, mode: CloseMode) -> None:
        """Let go; after it returns no event is put."""
        if mode == "cancel":
            await self.cancel([ref for ref, job in self.jobs.items() if job.state != "inactive"], 2.0)
        while mode != "detach" and self.pump is not None and (self.lives or self.queue or self.outbox):
            self.told.clear()
            await self.told.wait()
        await self._stop_pump()

    # ---- processes ---------------------------------------------------------------------------------

    def _start_some(self) -> None:
        while self.queue and self.queue[0].spec.resources.total_cores <= self.free:
            job = self.queue.popleft()
            job.state = "run"
            self.free -= job.spec.resources.total_cores
            life = asyncio.create_task(self._live(job))
            self.lives.add(life)  # a task that nobody holds may be collected
            life.add_done_callback(self._over)

    def _over(self, life: asyncio.Task[None]) -> None:
        self.lives.discard(life)
        self._start_some()
        self.told.set()

    async def _live(self, job: Job) -> None:
        spec = job.spec
        try:
            await self._run(job)
        except OSError as error:
            self._end(job, outcome="failed", reason="launch", text=str(error))
        finally:
            self.free += spec.resources.total_cores

    async def _run(self, job: Job) -> None:
        spec = job.spec
        folder = Path(spec.workdir)
        folder.mkdir(parents=True, exist_ok=True)
        words = spec.command or ("/bin/sh", "-ec", spec.script)
        with (
            (folder / f"stdout.{spec.ref.attempt}").open("ab") as out,
            (folder / f"stderr.{spec.ref.attempt}").open("ab") as err,
        ):
            job.process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=spec.workdir,
                env={**os.environ, **spec.env},
                start_new_session=True,
            )
        self._put(job, state="run", native_id=str(job.process.pid))
        if job.why:  # it was cancelled while it started
            self._kill(job, job.why, 0.0)
        if spec.walltime:
            late = asyncio.get_running_loop().call_later(spec.walltime, self._kill, job, "walltime", 2.0)
        code = await job.process.wait()
        if spec.walltime:
            late.cancel()
        if code == 0:
            self._end(job, outcome="success", exit_code=0)
        elif job.why:
            outcome = "cancelled" if job.why == "cancelled" else "failed"
            self._end(job, outcome=outcome, reason=job.why, exit_code=max(code, -1), signal=max(-code, 0))
        elif code < 0:
            self._end(job, outcome="failed", reason="signal", signal=-code)
        else:
            self._end(job, outcome="failed", reason="exit", exit_code=code)

    def _kill(self, job: Job, why: str, grace: float) -> None:
        job.why = job.why or why
        process = job.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        asyncio.get_running_loop().call_later(grace, self._kill_for_good, process)

    def _kill_for_good(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    # ---- events ------------------------------------------------------------------------------------

    def _end(self, job: Job, **how: Any) -> None:
        job.state = "inactive"
        job.last = self._put(job, state="inactive", **how)

    def _put(self, job: Job, **what: Any) -> JobEvent:
        assert self.context is not None
        ref = job.spec.ref
        self.n += 1
        event = JobEvent(self.context.name, ref.key, time=time.time(), n=self.n, attempt=ref.attempt, **what)
        self.outbox.append(event)
        self.news.set()
        return event

    async def _tell(self, context: Context) -> None:
        """Put events from one place only, so that they stay in order; an event leaves once it is durable."""
        while True:
            while self.outbox:
                durable = await context.sink.put(self.outbox[:512])
                self.outbox = [event for event in self.outbox if event.n > durable]
                self.told.set()
            self.news.clear()
            await self.news.wait()

    async def _stop_pump(self) -> None:
        pump, self.pump = self.pump, None
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])
