"""The way out: jobs become arrays, each written down before `sbatch` hears of it and named after it has answered."""

from __future__ import annotations

__all__ = ["PASSED", "Submission"]

import asyncio
import contextlib
import errno
import math
import os
import time
from collections.abc import Sequence
from secrets import token_hex
from typing import Final

from ensemble.members.contract import Accepted, Receipt, Refused, Unknown
from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.staging import StagingError, stage
from ensemble.members.slurm.book import Book, Ref, Task
from ensemble.members.slurm.queue import Busy, Queue, Row, SbatchRefused, Sizes
from ensemble.members.slurm.script import array_script, job_script
from ensemble.members.slurm.spool import Shipment
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec
from ensemble.model.placement import too_large

PASSED: Final = (
    "account", "constraint", "gres", "licenses", "mem", "mem-per-cpu", "nice", "partition", "prefer", "qos",
    "reservation",
)  # fmt: skip
"""Options, of the member or of a group, that go to `sbatch` as they are."""
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
"""What a path of the job's own can be wrong in; all else is the file system's trouble, and may pass."""


class Submission:
    """Ships jobs, one array at a time; `sizes` is what the cluster has, `largest` how many tasks an array may have."""

    def __init__(self, book: Book, queue: Queue, sizes: Sizes, largest: int) -> None:
        self._book = book
        self._queue = queue
        self._sizes = sizes
        self._largest = largest
        self.lock = asyncio.Lock()
        """Held while an array is on its way."""

    async def submit(self, jobs: Sequence[JobSpec]) -> list[Receipt]:
        """One receipt each, in order; to be brought to its end whoever breaks it off."""
        async with self.lock:
            receipts: dict[Ref, Receipt] = {}
            arrays: dict[tuple[str, ...], list[JobSpec]] = {}
            for spec in jobs:
                ref = (spec.ref.key, spec.ref.attempt)
                if ref in self._book.tasks:
                    receipts[ref] = Accepted(self._book.tasks[ref].native)
                    continue
                try:
                    arrays.setdefault(self._words(spec), []).append(spec)
                except MemberError as error:
                    receipts[ref] = Refused(str(error))
            for words, specs in arrays.items():
                await self._fit(words, specs, receipts)
            return [receipts[spec.ref.key, spec.ref.attempt] for spec in jobs]

    async def _fit(self, words: Sequence[str], specs: list[JobSpec], receipts: dict[Ref, Receipt]) -> None:
        """Ship jobs in as few arrays as there is room for; what is left then may come again later."""
        size = self._largest
        while specs and size:
            part = specs[:size]
            if await self._ship(words, part, receipts):
                specs = specs[size:]
            else:
                size = len(part) // 2
                # those that have failed before they were sent are told
                specs = [spec for spec in specs if (spec.ref.key, spec.ref.attempt) not in self._book.tasks]
        for spec in specs:
            receipts[spec.ref.key, spec.ref.attempt] = Refused("Slurm takes no more jobs now", transient=True)

    def _words(self, spec: JobSpec) -> tuple[str, ...]:
        """What `sbatch` is asked for. Raises `MemberError` for what this cluster can never give."""
        need, sizes = spec.resources, self._sizes
        partition = self._book.context.options.get("partition", "")
        if spec.options.get("partition", partition) == partition:
            reason = too_large(need, sizes.nodes_all, sizes.cores_all, "the partition")
            if reason:
                raise MemberError(reason)
        if "clusters" in spec.options:
            # the id that comes back would be another cluster's, and squeue here would say that the job is gone
            raise MemberError("clusters: a Slurm member is of one cluster; give each its own, with its SLURM_CONF")
        options = {**self._book.context.options, **spec.options}
        words = [f"--job-name={spec.group}", f"--ntasks={need.tasks}", f"--cpus-per-task={need.cores}"]
        words += [f"--nodes={need.nodes}"] if need.nodes else []
        words += [f"--gpus-per-task={need.gpus}"] if need.gpus else []
        words += ["--exclusive"] if need.exclusive else []
        words += [f"--exclude={','.join(spec.avoid)}"] if spec.avoid else []
        # not a minute more: a walltime of the partition's whole limit is the usual thing to ask for
        words += [f"--time={math.ceil(spec.walltime / 60)}"] if spec.walltime else []
        words += ["--requeue" if _yes(options["requeue"]) else "--no-requeue"] if "requeue" in options else []
        words += [f"--{name}={options[name]}" for name in PASSED if name in options]
        return (*words, "--output=/dev/null", "--error=/dev/null", "--chdir=/", "--export=ALL")

    async def _ship(self, words: Sequence[str], specs: list[JobSpec], receipts: dict[Ref, Receipt]) -> bool:
        """Ship one array; whether there was room for it."""
        shipment = Shipment(f"{self._book.context.epoch:06d}-{time.time_ns():x}-{token_hex(3)}", [])
        refs = [(spec.ref.key, spec.ref.attempt) for spec in specs]
        try:
            broken = await asyncio.to_thread(self._prepare, shipment, specs)
            await self._end_broken(broken, receipts)
        except OSError as error:
            # nothing of it has been sent
            receipts.update((ref, Refused(f"the spool: {error.strerror}", transient=True)) for ref in refs)
            return True
        refs = [(spec.ref.key, spec.ref.attempt) for spec in shipment.jobs]
        if not refs:
            return True
        for ref, spec in zip(refs, shipment.jobs, strict=True):
            self._book.tasks[ref] = Task(spec, "", shipment.id)
            self._book.open.add(ref)
        answer, room = await self._send(words, shipment)
        for number, ref in enumerate(refs):
            if isinstance(answer, Accepted):
                self._book.tasks[ref].native = self._book.tasks[ref].native or f"{shipment.native}_{number}"
                self._book.tasks[ref].waiting_at = time.monotonic()
                receipts[ref] = Accepted(self._book.tasks[ref].native)
            else:
                receipts[ref] = answer
                if isinstance(answer, Refused):
                    self._book.tasks.pop(ref, None)
                    self._book.open.discard(ref)
        return room

    async def _send(self, words: Sequence[str], shipment: Shipment) -> tuple[Receipt, bool]:
        """The answer for a whole array, and whether there was room for it."""
        folder = str(self._book.spool.folder / "ships" / shipment.id)
        try:
            shipment.native = await self._queue.submit(shipment.id, len(shipment.jobs), words, array_script(folder))
        except SbatchRefused as error:
            await self._name(shipment, "void")
            return Refused(str(error), error.transient), not error.full
        except Busy as error:
            self._book.unsettled.append(shipment)
            return await self._doubt(shipment, str(error)), True
        await self._name(shipment, shipment.native)
        return Accepted(), True

    async def _name(self, shipment: Shipment, native: str) -> None:
        """Write down what became of an array. On a full disk that is for the next opening to find out: its comment
        tells."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._book.spool.named, shipment.id, native)

    def _prepare(self, shipment: Shipment, specs: list[JobSpec]) -> list[tuple[JobSpec, str, str]]:
        """Make directories, inputs and scripts; return the jobs that cannot be, each with reason and text."""
        run_dir, spool = self._book.context.run_dir, str(self._book.spool.folder)
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
                shipment.jobs.append(spec)
        if scripts:
            self._book.spool.ship(shipment, scripts, run_dir)
        return broken

    async def _end_broken(self, broken: list[tuple[JobSpec, str, str]], receipts: dict[Ref, Receipt]) -> None:
        """Accept jobs that fail before they are with Slurm, and tell their ends."""
        events = []
        for spec, reason, text in broken:
            ref = (spec.ref.key, spec.ref.attempt)
            self._book.tasks[ref] = Task(spec, "")
            self._book.open.add(ref)
            receipts[ref] = Accepted()
            events.append(self._book.event(ref, "inactive", time.time(), outcome="failed", reason=reason, text=text))
        await self._book.keep(events)

    async def _doubt(self, shipment: Shipment, why: str) -> Receipt:
        """`sbatch` had no answer: look for its comment before anything is sent again."""
        try:
            rows = await self._queue.rows()
        except MemberError:
            self._book.go_down(why)
            return Unknown(why)
        if any(row.shipment == shipment.id for row in rows):
            await self.settle(rows)
            return Accepted()
        # it may still be on its way to the controller: only an inventory, later, can tell
        return Unknown(why)

    async def settle(self, rows: list[Row]) -> None:
        """Find out which arrays without an id reached Slurm: their comment tells. A claim tells it as well."""
        found = {row.shipment: row.job for row in rows}
        for shipment in self._book.unsettled:
            native = found.get(shipment.id, "")
            if not native:
                for spec in shipment.jobs:
                    claim = await asyncio.to_thread(self._book.spool.claim_of, (spec.ref.key, spec.ref.attempt))
                    if claim is not None:
                        native = claim.fields.get("job", "").partition("_")[0]
                        break
            await self._name(shipment, native or "void")
            for number, spec in enumerate(shipment.jobs):
                ref = (spec.ref.key, spec.ref.attempt)
                if native:
                    self._book.tasks[ref].native = f"{native}_{number}"
                else:
                    self._book.tasks.pop(ref, None)
                    self._book.open.discard(ref)
        self._book.unsettled = []


def _yes(given: object) -> bool:
    """A truth value that may have come as a word, which an option of a group may."""
    return str(given).lower() not in ("false", "no", "off", "0")
