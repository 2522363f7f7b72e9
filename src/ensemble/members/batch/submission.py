"""Sending jobs as arrays. Each array is recorded before the queue gets it, and its id once the queue has answered."""

from __future__ import annotations

__all__ = ["Submission"]

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Sequence
from secrets import token_hex
from typing import Final

from ensemble.members.batch.attempts import Attempts
from ensemble.members.batch.commands import NoAnswer
from ensemble.members.batch.dialect import Dialect, Limits, Row, Sizes, SubmissionRefused
from ensemble.members.batch.script import array_script, job_script
from ensemble.members.batch.spool import Array, Ref
from ensemble.members.contract import Accepted, Receipt, Refused, Unknown
from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.staging import StagingError, stage
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec
from ensemble.model.wording import counted

_OWN_FAULT: Final = frozenset(
    (
        errno.EACCES,
        errno.EEXIST,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EPERM,
    )
)
"""Errors that are the fault of a job's own path. All others are the file system's, and may pass."""


_FIRST: Final = 32
"""Jobs of the first array on an idle cluster."""
_GROWTH: Final = 4
"""How many times larger each array is than the one before it."""


class Submission:
    """Sends jobs, one array at a time; `sizes` is what the queue has, `limits` how many tasks an array may have."""

    def __init__(self, attempts: Attempts, dialect: Dialect, sizes: Sizes, limits: Limits) -> None:
        self._attempts = attempts
        self._dialect = dialect
        self._sizes = sizes
        self._limits = limits
        self.lock = asyncio.Lock()
        """Held while an array is on its way."""

    async def submit(self, jobs: Sequence[JobSpec]) -> list[Receipt]:
        """Send jobs; return one receipt each, in order. It must run to its end even when its caller is cancelled."""
        async with self.lock:
            receipts: dict[Ref, Receipt] = {}
            arrays: dict[tuple[str, ...], list[JobSpec]] = {}
            for spec in jobs:
                ref = (spec.ref.key, spec.ref.attempt)
                if ref in self._attempts.known:
                    receipts[ref] = Accepted(self._attempts.known[ref].native)
                    continue
                try:
                    arrays.setdefault(self._request(spec), []).append(spec)
                except MemberError as error:
                    receipts[ref] = Refused(str(error))
            for request, specs in arrays.items():
                await self._fit(request, specs, receipts)
            return [receipts[spec.ref.key, spec.ref.attempt] for spec in jobs]

    async def _fit(self, request: Sequence[str], specs: list[JobSpec], receipts: dict[Ref, Receipt]) -> None:
        """Send jobs in as few arrays as there is room for; what is left then may come again later.

        An idle cluster gets a small array first: it has begun to run when the files of the next are made.
        """
        size, growth = (self._limits.largest_array, 1) if self._attempts.open else (_FIRST, _GROWTH)
        while specs and size:
            part = specs[: min(size, self._limits.largest_array)]
            if await self._send(request, part, receipts):
                specs = specs[len(part) :]
                size *= growth
            else:
                size, growth = len(part) // 2, 1
                # those that have failed before they were sent have their receipts
                specs = [spec for spec in specs if (spec.ref.key, spec.ref.attempt) not in self._attempts.known]
        for spec in specs:
            text = f"{self._dialect.name} takes no more jobs now"
            receipts[spec.ref.key, spec.ref.attempt] = Refused(text, transient=True)

    def _request(self, spec: JobSpec) -> tuple[str, ...]:
        """What one job asks for. Raises `MemberError` for what this queue can never give."""
        need, sizes, queue = spec.resources, self._sizes, self._dialect.queue_option
        options = self._attempts.context.options
        if spec.options.get(queue, options.get(queue, "")) == options.get(queue, ""):
            if need.total_cores > sizes.cores_all:
                raise MemberError(
                    f"it needs {counted(need.total_cores, 'core')}; the {queue} has {counted(sizes.cores_all, 'core')}"
                )
            if need.nodes > sizes.nodes_all:
                raise MemberError(
                    f"it needs {counted(need.nodes, 'node')}; the {queue} has {counted(sizes.nodes_all, 'node')}"
                )
        return self._dialect.request(spec, {**options, **spec.options})

    async def _send(self, request: Sequence[str], specs: list[JobSpec], receipts: dict[Ref, Receipt]) -> bool:
        """Send one array; return whether the queue had room for it."""
        array = Array(f"{self._attempts.context.epoch:06d}-{time.time_ns():x}-{token_hex(3)}", [])
        refs = [(spec.ref.key, spec.ref.attempt) for spec in specs]
        try:
            broken = await asyncio.to_thread(self._prepare, array, specs)
            await self._end_broken(broken, receipts)
        except OSError as error:
            # nothing of it has been sent
            receipts.update((ref, Refused(f"the spool: {error.strerror}", transient=True)) for ref in refs)
            return True
        if not array.jobs:
            return True
        for spec in array.jobs:
            self._attempts.add(spec, array.id)
        answer, room = await self._hand_over(request, array)
        for number, spec in enumerate(array.jobs):
            ref = (spec.ref.key, spec.ref.attempt)
            receipts[ref] = answer
            if isinstance(answer, Accepted):
                attempt = self._attempts.known[ref]
                attempt.native = attempt.native or self._dialect.task_id(array.native, number, len(array.jobs))
                attempt.waiting_at = time.monotonic()
                receipts[ref] = Accepted(attempt.native)
            elif isinstance(answer, Refused):
                self._attempts.forget(ref)
        return room

    async def _hand_over(self, request: Sequence[str], array: Array) -> tuple[Receipt, bool]:
        """The answer for a whole array, and whether there was room for it."""
        script = array_script(type(self._dialect), str(self._attempts.spool.folder), array.id)
        try:
            array.native = await self._dialect.submit(array.id, len(array.jobs), request, script)
        except SubmissionRefused as error:
            await self._name(array, "")
            return Refused(str(error), error.transient), not error.full
        except NoAnswer as error:
            self._attempts.unsettled.append(array)
            return await self._doubt(array, str(error)), True
        await self._name(array, array.native)
        return Accepted(), True

    async def _name(self, array: Array, native: str) -> None:
        """Write down what became of an array. On a full disk that is for the next opening to find out: the name that
        the array has in the queue says it."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._attempts.spool.name, array.id, native)

    def _prepare(self, array: Array, specs: list[JobSpec]) -> list[tuple[JobSpec, str, str]]:
        """Make directories, inputs and scripts; return the jobs that cannot be, each with reason and text."""
        run_dir, folder = self._attempts.context.run_dir, self._attempts.spool.array_folder(array.id)
        scripts: list[str] = []
        broken: list[tuple[JobSpec, str, str]] = []
        for spec in specs:
            try:
                job_folder = JobFiles(run_dir, spec.ref.key, spec.ref.attempt).folder
                os.makedirs(job_folder, exist_ok=True)
                workdir = os.path.join(run_dir, spec.workdir)
                if workdir != job_folder:
                    os.makedirs(workdir, exist_ok=True)
                if spec.inputs:
                    stage(spec.inputs, workdir)
                script, others = job_script(spec, run_dir, self._dialect, f"{folder}/{len(scripts)}.sh.json")
                if "\0" in script + "".join(others.values()):
                    raise MemberError("it contains a NUL character, which no script can")
                script.encode()
                for name, text in others.items():
                    with open(name, "w", encoding="utf-8") as file:
                        file.write(text)
            except StagingError as error:
                broken.append((spec, "inputs", str(error)))
            except MemberError as error:
                broken.append((spec, "launch", str(error)))
            except ValueError as error:  # a first line or a text of which nothing can be made
                broken.append((spec, "launch", str(error)))
            except OSError as error:
                if error.errno not in _OWN_FAULT:
                    raise
                broken.append((spec, "launch", f"{error.filename}: {error.strerror}"))
            else:
                scripts.append(script)
                array.jobs.append(spec)
        if scripts:
            self._attempts.spool.add(array, scripts, run_dir)
        return broken

    async def _end_broken(self, broken: list[tuple[JobSpec, str, str]], receipts: dict[Ref, Receipt]) -> None:
        """Accept jobs that fail before the queue has them, and send their ends."""
        events = []
        for spec, reason, text in broken:
            ref = (spec.ref.key, spec.ref.attempt)
            self._attempts.add(spec)
            receipts[ref] = Accepted()
            event = self._attempts.event(ref, "inactive", time.time(), outcome="failed", reason=reason, text=text)
            events.append(event)
        await self._attempts.keep(events)

    async def _doubt(self, array: Array, why: str) -> Receipt:
        """There was no answer: look for the array's name in the queue before anything is sent again."""
        try:
            rows = await self._dialect.rows()
        except MemberError:
            self._attempts.outbox.go_down(why)
            return Unknown(why)
        if any(row.array == array.id for row in rows):
            await self.settle(rows)
            return Accepted()
        # it may still be on its way to the queue: only a later inventory can show it
        return Unknown(why)

    async def settle(self, rows: list[Row]) -> None:
        """Find out which arrays without an id reached the queue: by their names there, or by the claim of a job."""
        found = {row.array: self._dialect.array_id(row.id) for row in rows}
        for array in self._attempts.unsettled:
            array.native = found.get(array.id, "") or await asyncio.to_thread(self._claimed, array)
            await self._name(array, array.native)
            for number, spec in enumerate(array.jobs):
                ref = (spec.ref.key, spec.ref.attempt)
                if array.native:
                    native = self._dialect.task_id(array.native, number, len(array.jobs))
                    self._attempts.known[ref].native = native
                else:
                    self._attempts.forget(ref)
        self._attempts.unsettled = []

    def _claimed(self, array: Array) -> str:
        """The id that an array had in the queue, by the claim of one of its jobs; empty where none has begun."""
        for spec in array.jobs:
            claim = self._attempts.spool.claim_of((spec.ref.key, spec.ref.attempt))
            if claim is not None:
                return self._dialect.array_id(claim.fields.get("job", ""))
        return ""
