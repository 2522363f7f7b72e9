"""The engine's end of a Slurm member."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from secrets import token_hex
from typing import Any, Final

import msgspec

from ensemble.members.contract import (
    Accepted,
    CloseMode,
    Context,
    Hello,
    InventoryItem,
    JobChange,
    Page,
    Receipt,
    Refused,
    Unknown,
)
from ensemble.members.fetching import fetch_file
from ensemble.members.figures import read_figures
from ensemble.members.local.launch import JobFiles
from ensemble.members.slurm.queue import ENDED, Busy, Queue, Row, SbatchRefused, Sizes
from ensemble.members.slurm.script import array_script, job_script
from ensemble.members.slurm.spool import Ref, Report, Shipment, Spool
from ensemble.members.staging import StagingError, stage
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import JobSpec

CAPABILITIES: Final = frozenset(
    {"exactly-once", "durable", "gpus", "figures", "walltime", "absence-is-proof", "reopen"}
)
PASSED: Final = (
    "account", "clusters", "constraint", "gres", "licenses", "mem", "mem-per-cpu", "nice", "partition", "prefer", "qos",
    "reservation",
)  # fmt: skip
"""Options, of the member or of a group, that go to `sbatch` as they are."""
OWN: Final = ("poll", "settle", "requeue")
_LOOK: Final = (0.02, 1.0)
"""Seconds between looks into the spool: doubled from the first to the second while nothing comes."""
_PAGE: Final = 5000
_QUEUED: Final = ("submitted", "sched")
_RETURN: Final = 300.0
"""Seconds for which one opening waits for a controller that was there before."""
_KNOCK: Final = 2.0
_MEASURE: Final = 60.0
"""Seconds between two looks at how many nodes there are."""
_REQUEUE: Final = 6
_FAILURES: Final = 3
"""Reconciliations in a row that fail before the member is down."""


class _Task:
    """What is known of one attempt."""

    __slots__ = ("cancelled", "end", "ended_at", "incarnation", "native", "spec", "start", "state")

    def __init__(self, spec: JobSpec, native: str) -> None:
        self.spec = spec
        self.native = native
        self.state = "submitted"
        self.start = 0.0
        self.incarnation = 0
        self.cancelled = False
        self.end: JobEvent | None = None
        self.ended_at = 0.0
        """When Slurm was first seen to say that it is over while its script had not (our monotonic clock)."""


class SlurmMember:
    """Runs jobs as arrays of Slurm. See `members.contract.Member` for what each call promises.

    Options: `poll`, seconds between two reconciliations (15); `settle`, seconds that an end which only Slurm knows
    waits for the job's own report (5); `requeue`, whether Slurm may start a job again (the cluster's default); and
    those in `PASSED`. When the controller does not answer, `MemberEvent("down")` is put and jobs go on.
    """

    def __init__(self) -> None:
        self._context: Context | None = None
        self._work: list[asyncio.Task[None]] = []
        self._reset()

    def _reset(self) -> None:
        self._tasks: dict[Ref, _Task] = {}
        self._open: set[Ref] = set()
        self._unsettled: list[Shipment] = []
        self._outbox: deque[JobEvent | MemberEvent] = deque()
        self._news = asyncio.Event()
        self._told = asyncio.Event()
        self._ask = asyncio.Event()
        self._lock = asyncio.Lock()
        self._n = 0
        self._down = ""
        self._sizes: Sizes | None = None
        self._measured: tuple[dict[str, int], str] = ({}, "")
        self._measured_at = time.monotonic()
        self._largest = 1001

    # ---- opening and letting go ----------------------------------------------------------------------

    async def open(self, context: Context) -> Hello:
        """Read the spool, ask the controller. Raises `MemberUnavailable` without Slurm, else `MemberError`."""
        await self._halt()
        Queue.here()
        options = context.options
        unknown = sorted(set(options) - {*PASSED, *OWN})
        if unknown:
            raise MemberError(f"unknown option {unknown[0]!r} of a Slurm member; there is {', '.join((*OWN, *PASSED))}")
        self._reset()
        self._context = context
        self._queue = Queue(context.run, context.name)
        self._spool = Spool(context.run_dir, context.name)
        if self._spool.epoch() > context.epoch:
            raise MemberError(f"engine {self._spool.epoch()} has taken over; {context.epoch} is too old")
        self._poll, self._settle = float(options.get("poll", 15.0)), float(options.get("settle", 5.0))
        self._sizes = sizes = await self._first_sizes(context)
        self._largest = await self._queue.largest_array()
        stream = f"{context.name}@{context.epoch}-{token_hex(4)}"
        try:
            await asyncio.to_thread(self._spool.open, context.epoch, stream)
            await asyncio.to_thread(self._remember)
        except OSError as error:
            raise MemberError(f"{self._spool.folder}: {error.strerror}", transient=True) from error
        if self._unsettled:
            await self._settle_shipments(await self._queue.rows())
        self._take_in(await asyncio.to_thread(self._spool.reports), quiet=True)
        self._work = [
            asyncio.create_task(work(), name=f"member {context.name}")
            for work in (self._watch, self._reconcile, self._deliver)
        ]
        self._ask.set()
        return Hello(
            CAPABILITIES,
            stream,
            nodes_up=sizes.nodes_up,
            nodes_free=sizes.nodes_free,
            cores_up=sizes.cores_up,
            cores_free=sizes.cores_free,
            cores_per_node=sizes.cores_per_node,
            launchers=("srun", "mpiexec", "none"),
        )

    async def _first_sizes(self, context: Context) -> Sizes:
        """What there is. Where jobs of the run may be there, a controller that is away is waited for: it is asked every
        few seconds, so that the run goes on soon after it is back."""
        until = time.monotonic() + (_RETURN if context.resumed else 0.0)
        while True:
            try:
                return await self._queue.sizes(str(context.options.get("partition", "")))
            except MemberError as error:
                if not error.transient or time.monotonic() >= until:
                    raise
            await asyncio.sleep(_KNOCK)

    def _remember(self) -> None:
        for shipment in self._spool.shipments():
            for number, spec in enumerate(shipment.jobs):
                ref = (spec.ref.key, spec.ref.attempt)
                self._tasks[ref] = _Task(spec, f"{shipment.native}_{number}" if shipment.native else "")
            if not shipment.native:
                self._unsettled.append(shipment)
        for entry in self._spool.remembered():
            if isinstance(entry, JobEvent):
                task = self._tasks.get((entry.key, entry.attempt))
                if task is not None:
                    self._move(task, entry)
            elif entry in self._tasks:
                self._tasks[entry].cancelled = True
        self._open = {ref for ref, task in self._tasks.items() if task.end is None}

    async def _settle_shipments(self, rows: list[Row]) -> None:
        """Find out which arrays without an id reached Slurm: their comment tells. A claim tells it as well."""
        found = {row.shipment: row.job for row in rows}
        for shipment in self._unsettled:
            native = found.get(shipment.id, "")
            if not native:
                for spec in shipment.jobs:
                    claim = await asyncio.to_thread(self._spool.claim_of, (spec.ref.key, spec.ref.attempt))
                    if claim is not None:
                        native = claim.fields.get("job", "").partition("_")[0]
                        break
            await asyncio.to_thread(self._spool.named, shipment.id, native or "void")
            for number, spec in enumerate(shipment.jobs):
                ref = (spec.ref.key, spec.ref.attempt)
                if native:
                    self._tasks[ref].native = f"{native}_{number}"
                else:
                    self._tasks.pop(ref, None)
                    self._open.discard(ref)
        self._unsettled = []

    async def _halt(self) -> None:
        work, self._work = self._work, []
        for task in work:
            task.cancel()
        if work:
            await asyncio.wait(work)

    async def close(self, mode: CloseMode) -> None:
        """Let go; with `detach` jobs go on, else their ends are waited for and told."""
        if self._context is None:
            return
        try:
            if mode != "detach" and self._work and not self._down:
                if mode == "cancel" and self._open:
                    await self.cancel([self._tasks[ref].spec.ref for ref in self._open], 1.0)
                while (self._open or self._outbox) and not self._down:
                    self._told.clear()
                    await self._told.wait()
        finally:
            async with self._lock:  # a submission under way is written down first
                await self._halt()
            self._spool.close()

    # ---- commands ------------------------------------------------------------------------------------

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """One `sbatch --array` for all jobs that ask for the same; a job that is known is accepted as it is."""
        if self._down:
            raise MemberError(self._down, transient=True)
        # broken off or not, an array that is on its way is brought to its end
        return await asyncio.shield(asyncio.ensure_future(self._submit(jobs)))

    async def _submit(self, jobs: Sequence[JobSpec]) -> list[Receipt]:
        async with self._lock:
            receipts: dict[Ref, Receipt] = {}
            arrays: dict[tuple[str, ...], list[JobSpec]] = {}
            for spec in jobs:
                ref = (spec.ref.key, spec.ref.attempt)
                if ref in self._tasks:
                    receipts[ref] = Accepted(self._tasks[ref].native)
                    continue
                try:
                    arrays.setdefault(self._words(spec), []).append(spec)
                except MemberError as error:
                    receipts[ref] = Refused(str(error))
            for words, specs in arrays.items():
                for place in range(0, len(specs), self._largest):
                    await self._ship(words, specs[place : place + self._largest], receipts)
            return [receipts[spec.ref.key, spec.ref.attempt] for spec in jobs]

    def _words(self, spec: JobSpec) -> tuple[str, ...]:
        """What `sbatch` is asked for. Raises `MemberError` for what this cluster can never give."""
        assert self._context is not None
        assert self._sizes is not None
        need, sizes = spec.resources, self._sizes
        partition = self._context.options.get("partition", "")
        if spec.options.get("partition", partition) == partition:
            if need.total_cores > sizes.cores_all:
                raise MemberError(f"it needs {need.total_cores} cores; the partition has {sizes.cores_all}")
            if need.nodes > sizes.nodes_all:
                raise MemberError(f"it needs {need.nodes} nodes; the partition has {sizes.nodes_all}")
        options = {**self._context.options, **spec.options}
        words = [f"--job-name={spec.group}", f"--ntasks={need.tasks}", f"--cpus-per-task={need.cores}"]
        words += [f"--nodes={need.nodes}"] if need.nodes else []
        words += [f"--gpus-per-task={need.gpus}"] if need.gpus else []
        words += ["--exclusive"] if need.exclusive else []
        words += [f"--exclude={','.join(spec.avoid)}"] if spec.avoid else []
        # not a minute more: a walltime of the partition's whole limit is the usual thing to ask for
        words += [f"--time={math.ceil(spec.walltime / 60)}"] if spec.walltime else []
        words += ["--requeue" if options["requeue"] else "--no-requeue"] if "requeue" in options else []
        words += [f"--{name}={options[name]}" for name in PASSED if name in options]
        return (*words, "--output=/dev/null", "--error=/dev/null", "--chdir=/", "--export=ALL")

    async def _ship(self, words: Sequence[str], specs: list[JobSpec], receipts: dict[Ref, Receipt]) -> None:
        assert self._context is not None
        shipment = Shipment(f"{self._context.epoch:06d}-{time.time_ns():x}-{token_hex(3)}", [])
        refs = [(spec.ref.key, spec.ref.attempt) for spec in specs]
        try:
            broken = await asyncio.to_thread(self._prepare, shipment, specs)
        except OSError as error:
            # nothing of it has been sent
            receipts.update((ref, Refused(f"the spool: {error.strerror}", transient=True)) for ref in refs)
            return
        self._end_broken(broken, receipts)
        refs = [(spec.ref.key, spec.ref.attempt) for spec in shipment.jobs]
        if not refs:
            return
        for ref, spec in zip(refs, shipment.jobs, strict=True):
            self._tasks[ref] = _Task(spec, "")
            self._open.add(ref)
        folder = str(self._spool.folder / "ships" / shipment.id)
        answer: Receipt
        try:
            shipment.native = await self._queue.submit(shipment.id, len(refs), words, array_script(folder))
        except SbatchRefused as error:
            await asyncio.to_thread(self._spool.named, shipment.id, "void")
            answer = Refused(str(error), error.transient)
        except Busy as error:
            self._unsettled.append(shipment)
            answer = await self._doubt(shipment, str(error))
        else:
            await asyncio.to_thread(self._spool.named, shipment.id, shipment.native)
            answer = Accepted()
        for number, ref in enumerate(refs):
            if isinstance(answer, Accepted):
                self._tasks[ref].native = self._tasks[ref].native or f"{shipment.native}_{number}"
                receipts[ref] = Accepted(self._tasks[ref].native)
            else:
                receipts[ref] = answer
                if isinstance(answer, Refused):
                    self._tasks.pop(ref, None)
                    self._open.discard(ref)

    def _prepare(self, shipment: Shipment, specs: list[JobSpec]) -> list[tuple[JobSpec, str, str]]:
        """Make directories, inputs and scripts; return the jobs that cannot be, each with reason and text."""
        assert self._context is not None
        run_dir, spool = self._context.run_dir, str(self._spool.folder)
        scripts: list[str] = []
        broken: list[tuple[JobSpec, str, str]] = []
        for spec in specs:
            number = len(scripts)
            try:
                os.makedirs(JobFiles(run_dir, spec.ref.key, spec.ref.attempt).folder, exist_ok=True)
                workdir = os.path.join(run_dir, spec.workdir)
                os.makedirs(workdir, exist_ok=True)
                stage(spec.inputs, workdir)
                path = f"{spool}/ships/{shipment.id}/{number}.sh"
                script, others = job_script(spec, run_dir, spool, path)
                for name, text in others.items():
                    with open(name, "w", encoding="utf-8") as file:
                        file.write(text)
            except StagingError as error:
                broken.append((spec, "inputs", str(error)))
            except MemberError as error:
                broken.append((spec, "launch", str(error)))
            except FileExistsError as error:
                broken.append((spec, "launch", f"{error.filename}: {error.strerror}"))
            else:
                scripts.append(script)
                shipment.jobs.append(spec)
        if scripts:
            self._spool.ship(shipment, scripts, run_dir)
        return broken

    def _end_broken(self, broken: list[tuple[JobSpec, str, str]], receipts: dict[Ref, Receipt]) -> None:
        """Accept jobs that fail before they are with Slurm, and tell their ends."""
        events = []
        for spec, reason, text in broken:
            ref = (spec.ref.key, spec.ref.attempt)
            self._tasks[ref] = _Task(spec, "")
            receipts[ref] = Accepted()
            events.append(self._event(ref, "inactive", time.time(), outcome="failed", reason=reason, text=text))
        if events:
            self._keep(events)

    async def _doubt(self, shipment: Shipment, why: str) -> Receipt:
        """`sbatch` had no answer: look for its comment before anything is sent again."""
        try:
            rows = await self._queue.rows()
        except MemberError:
            self._go_down(why)
            return Unknown(why)
        if any(row.shipment == shipment.id for row in rows):
            await self._settle_shipments(rows)
            return Accepted()
        # it may still be on its way to the controller: only an inventory, later, can tell
        return Unknown(why)

    async def cancel(self, refs: Sequence[Any], grace: float) -> Sequence[Receipt]:
        """SIGTERM to all processes of running jobs, and after `grace` seconds SIGKILL; queued ones leave at once."""
        if self._down:
            raise MemberError(self._down, transient=True)
        wanted = [(ref.key, ref.attempt) for ref in refs if (ref.key, ref.attempt) in self._open]
        if wanted:
            for ref in wanted:
                self._tasks[ref].cancelled = True
            await asyncio.to_thread(self._spool.mark_cancelled, wanted)
            tasks = [self._tasks[ref] for ref in wanted if self._tasks[ref].native]
            # not by `--state=PENDING`: with it Slurm 22.05 cancels the whole array that a queued task is of
            await self._queue.cancel([task.native for task in tasks if task.state in _QUEUED])
            running = [task.native for task in tasks if task.state not in _QUEUED]
            await self._queue.cancel(running, "--full", "--signal=TERM")
            self._ask.set()
            self._work.append(asyncio.create_task(self._finish_off(wanted, grace)))
        return [Accepted() for _ in refs]

    async def _finish_off(self, refs: Sequence[Ref], grace: float) -> None:
        await asyncio.sleep(grace)
        ids = [self._tasks[ref].native for ref in refs if ref in self._open and self._tasks[ref].native]
        if ids:
            with contextlib.suppress(MemberError):
                await self._queue.cancel(ids, "--full", "--signal=KILL")
                await self._queue.cancel(ids)
            self._ask.set()

    async def update(self, refs: Sequence[Any], change: JobChange) -> Sequence[Receipt]:
        """Queued jobs can be held and let go; nothing else can be changed."""
        if change.hold is None or change.walltime is not None or change.priority is not None:
            return [Refused("the Slurm member can only hold a queued job and let it go") for _ in refs]
        ids = [self._tasks[ref.key, ref.attempt].native for ref in refs if (ref.key, ref.attempt) in self._open]
        said = await self._queue.hold([one for one in ids if one], change.hold) if ids else ""
        return [Refused(said) if said else Accepted() for _ in refs]

    async def resize(self, command: int, nodes: int) -> Receipt:
        """A cluster has the nodes it has."""
        return Refused("a Slurm cluster cannot be resized from here")

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that was shipped; arrays of which nobody knew whether they arrived are looked for first."""
        assert self._context is not None
        async with self._lock:
            if self._unsettled:
                await self._settle_shipments(await self._queue.rows())
        run = self._context.run
        items = []
        for task in self._tasks.values():
            ref = msgspec.structs.replace(task.spec.ref, run=run)
            items.append(InventoryItem(ref, task.state, native_id=task.native, event=task.end))
        for place in range(0, len(items), _PAGE):
            yield Page(tuple(items[place : place + _PAGE]))
        yield Page((), last=True, complete=True)

    async def fetch(self, ref: Any, path: str, offset: int, limit: int) -> bytes:
        """Read part of a file of a job. Raises `MemberError` when there is none, or it is outside the job's folder."""
        assert self._context is not None
        return await fetch_file(self._context.run_dir, ref, path, offset, limit)

    # ---- what comes back -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Take in what jobs report: often while there is much, seldom while there is nothing."""
        wait = _LOOK[0]
        while True:
            await asyncio.sleep(wait)
            if not self._open:
                wait = _LOOK[0]
                continue
            try:
                reports = await asyncio.to_thread(self._spool.reports)
                if reports and self._context is not None and self._spool.epoch() > self._context.epoch:
                    self._go_down("a newer engine has taken over")
                    return
                if reports:
                    await asyncio.to_thread(self._read_missing_figures, reports)
                    self._take_in(reports)
            except OSError as error:
                self._go_down(f"the spool: {error.strerror}")
                return
            wait = _LOOK[0] if reports else min(_LOOK[1], wait * 1.5)

    def _read_missing_figures(self, reports: list[Report]) -> None:
        """Where the node could not read a job's figures, read them here."""
        assert self._context is not None
        for report in reports:
            task = self._tasks.get(report.ref)
            if task is not None and report.ended and task.spec.outputs and "figures" not in report.fields:
                files = JobFiles(self._context.run_dir, *report.ref)
                workdir = os.path.join(self._context.run_dir, task.spec.workdir)
                found = read_figures(task.spec.outputs, workdir, files.stdout, files.stderr)
                report.fields["figures"] = msgspec.json.encode(found).decode()

    def _take_in(self, reports: list[Report], quiet: bool = False) -> None:
        if quiet:
            self._read_missing_figures(reports)
        found = (self._event_of(report) for report in reports if report.ref in self._open)
        events = [event for event in found if event is not None]
        self._keep(events, reports, quiet)

    def _event_of(self, report: Report) -> JobEvent | None:
        fields, task = report.fields, self._tasks[report.ref]
        incarnation = int(fields.get("incarnation") or 0)
        start = float(fields.get("start") or 0)
        common: dict[str, Any] = {
            "incarnation": incarnation,
            "native_id": fields.get("job", ""),
            "hosts": fields.get("host", ""),
        }
        if not report.ended:
            return self._event(report.ref, "run", start, **common)
        code, reason, number, outcome = int(fields.get("code") or -1), fields.get("reason", ""), 0, "success"
        if code:
            outcome = "failed"
            if not reason and 128 < code <= 192:
                reason, number, code = "signal", code - 128, -1
            reason = reason or "exit"
            if task.cancelled:
                outcome = reason = "cancelled"
        figures, missing = msgspec.json.decode(fields.get("figures") or "[{}, []]")
        return self._event(
            report.ref, "inactive", max(start, float(fields.get("end") or 0)), outcome=outcome, reason=reason,
            exit_code=code, signal=number, start=start, figures=figures or None, missing=tuple(missing),
            text=fields.get("text", ""), **common,
        )  # fmt: skip

    def _event(self, ref: Ref, state: str, at: float, **fields: Any) -> JobEvent:
        assert self._context is not None
        return JobEvent(self._context.name, ref[0], state, at, attempt=ref[1], **fields)

    @staticmethod
    def _move(task: _Task, event: JobEvent) -> None:
        task.state, task.incarnation = event.state, event.incarnation
        task.native, task.ended_at = event.native_id or task.native, 0.0
        if event.state == "inactive":
            task.end = event
        elif event.state == "run":
            task.start = event.time

    def _keep(self, events: list[JobEvent], reports: Sequence[Report] = (), quiet: bool = False) -> None:
        """Make events durable, move the tasks, and tell the engine. Raises `OSError`."""
        assert self._context is not None
        if not events and not reports:
            return
        self._spool.take(({"event": msgspec.to_builtins(event)} for event in events), reports)
        for event in events:
            ref = (event.key, event.attempt)
            task = self._tasks[ref]
            self._move(task, event)
            if event.state == "inactive":
                self._open.discard(ref)
                keep = task.spec.keep
                if keep == "none" or (keep == "failed" and event.outcome == "success"):
                    shutil.rmtree(os.path.join(self._context.run_dir, task.spec.workdir), ignore_errors=True)
            if not quiet:
                self._put(event)

    def _put(self, event: JobEvent | MemberEvent) -> None:
        self._n += 1
        self._outbox.append(msgspec.structs.replace(event, n=self._n))
        self._news.set()

    def _go_down(self, why: str) -> None:
        assert self._context is not None
        if not self._down:
            self._down = why
            self._put(MemberEvent(self._context.name, "down", time.time(), text=why))
            self._told.set()

    async def _deliver(self) -> None:
        assert self._context is not None
        while True:
            while self._outbox:
                batch = list(self._outbox)
                await self._context.sink.put(batch)
                for _ in batch:
                    self._outbox.popleft()
            self._told.set()
            self._news.clear()
            if not self._outbox:
                await self._news.wait()

    # ---- reconciliation ------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        """Compare with the queue: what ended without a word, because its node died or somebody cancelled it."""
        failures = 0
        wait = self._poll
        before_that = 0.0
        while not self._down:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._ask.wait()
                    await asyncio.sleep(0.2)  # more of the same may follow at once
            self._ask.clear()
            wait = self._poll
            if not self._open:
                continue
            try:
                before = {ref for ref in self._open if self._tasks[ref].native}
                rows = await self._queue.rows()
            except MemberError as error:
                failures += 1
                wait = min(self._poll * 2**failures, 120.0)
                if failures >= _FAILURES:
                    self._go_down(str(error))
                continue
            failures = 0
            try:
                reports = await asyncio.to_thread(self._spool.reports)
                if not reports:  # else the watch is behind, and knows better in a moment
                    ends, waiting = await asyncio.to_thread(self._judge, rows, before)
                    self._keep([event for event in ends if (event.key, event.attempt) in self._open])
                    self._keep(self._queued(rows))
                    await self._measure(rows)
                    if waiting:
                        wait = min(wait, 0.5)
                else:
                    wait = min(wait, 0.5)
            except OSError as error:
                self._go_down(f"the spool: {error.strerror}")
            # a controller that takes long is asked less often; a single slow answer is one that has just come back
            wait = max(wait, 10 * min(before_that, self._queue.seconds))
            before_that = self._queue.seconds

    def _queued(self, rows: list[Row]) -> list[JobEvent]:
        """What waits in the queue and was not told so yet, each with Slurm's reason."""
        states = {f"{row.job}_{row.task}": row for row in rows if row.state == "PENDING"}
        found = []
        for ref in sorted(self._open):
            task = self._tasks[ref]
            row = states.get(task.native)
            if row is not None and task.state == "submitted":
                text = f"pending: {row.reason}" if row.reason != "None" else ""
                found.append(self._event(ref, "sched", time.time(), native_id=task.native, text=text))
        return found

    async def _measure(self, rows: list[Row]) -> None:
        """Tell how many wait (and for what) and run, and now and then what nodes there are, where that has changed."""
        assert self._context is not None
        queue = {"sched": 0, "run": 0}
        reasons: Counter[str] = Counter()
        for row in rows:
            if row.state == "PENDING":
                queue["sched"] += 1
                reasons[row.reason] += 1
            elif row.state not in ENDED:
                queue["run"] += 1
        sizes = self._sizes
        if time.monotonic() - self._measured_at > _MEASURE:
            self._measured_at = time.monotonic()
            with contextlib.suppress(MemberError):
                sizes = await self._queue.sizes(str(self._context.options.get("partition", "")))
        text = ", ".join(f"{count} pending: {reason}" for reason, count in reasons.most_common(3) if reason != "None")
        if sizes is None or (queue, text, sizes) == (*self._measured, self._sizes):
            return
        self._measured, self._sizes = (queue, text), sizes
        event = MemberEvent(self._context.name, "nodes", time.time(), queue=queue, text=text)
        told = {name: getattr(sizes, name) for name in ("nodes_up", "nodes_free", "cores_up", "cores_free")}
        self._put(msgspec.structs.replace(event, cores_per_node=sizes.cores_per_node, **told))

    def _judge_one(self, ref: Ref, states: dict[str, Row]) -> tuple[str, bool]:
        """What Slurm says of an attempt (empty: it lives), and whether its script has begun."""
        task = self._tasks[ref]
        row = _row(states, task.native)
        if row is not None and row.state not in ENDED:
            return "", False
        claim = self._spool.claim_of(ref)
        if claim is not None:
            owner = states.get(claim.fields.get("job", ""))
            if owner is not None and owner.state not in ENDED:
                return "", True
        return (row.state if row is not None else "forgotten"), claim is not None

    def _judge(self, rows: list[Row], refs: set[Ref]) -> tuple[list[JobEvent], bool]:
        """The ends of what the queue says is over; and whether something still waits for its own report."""
        states = {f"{row.job}_{row.task}" if row.task >= 0 else row.job: row for row in rows}
        now, waiting = time.monotonic(), False
        events: list[JobEvent] = []
        for ref in sorted(refs & self._open):
            task = self._tasks[ref]
            state, begun = self._judge_one(ref, states)
            if not state:
                task.ended_at = 0.0
                continue
            end = self._spool.end_of(ref)
            if end is not None:
                self._read_missing_figures([end])
                found = self._event_of(end)
                events += [found] if found is not None else []
                continue
            task.ended_at = task.ended_at or now
            # Slurm says FAILED for a while of what it will requeue
            patience = self._settle * (_REQUEUE if state == "FAILED" and begun else 1)
            if (begun or state != "CANCELLED") and now - task.ended_at < patience:
                waiting = True
                continue
            events.append(self._verdict(ref, task, state, _row(states, task.native)))
        return events, waiting

    def _verdict(self, ref: Ref, task: _Task, state: str, row: Row | None) -> JobEvent:
        """The end of an attempt that did not tell it itself."""
        outcome, reason = _why("CANCELLED" if task.cancelled else state, "lost", "infrastructure")
        hosts = row.hosts if row is not None else ""
        text = f"Slurm says {state}" if row is not None else "Slurm no longer knows it, and it left no record"
        return self._event(
            ref,
            "inactive",
            max(time.time(), task.start),
            outcome=outcome,
            reason=reason,
            start=task.start,
            hosts=hosts,
            incarnation=task.incarnation,
            native_id=task.native,
            text=text,
            signal=9 if reason == "signal" else 0,
        )


def _row(states: dict[str, Row], native: str) -> Row | None:
    """The row of a task, or that of its array, which is all that is left of tasks cancelled together in the queue."""
    return states.get(native) or states.get(native.partition("_")[0])


def _why(state: str, outcome: str, reason: str) -> tuple[str, str]:
    """Outcome and reason by what Slurm says of an end; those given where it says nothing special."""
    return {
        "CANCELLED": ("cancelled", "cancelled"),
        "TIMEOUT": ("failed", "walltime"),
        "DEADLINE": ("failed", "walltime"),
        "OUT_OF_MEMORY": ("failed", "signal"),
        "NODE_FAIL": ("lost", "infrastructure"),
        "BOOT_FAIL": ("lost", "infrastructure"),
        "PREEMPTED": ("lost", "infrastructure"),
    }.get(state, (outcome, reason))
