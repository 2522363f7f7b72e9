"""Handing attempts over to Kubernetes: their objects are recorded first, then created, as the member's size allows."""

from __future__ import annotations

__all__ = ["Submission"]

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from ensemble.members.contract import Accepted, Receipt, Refused, Unknown
from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.staging import StagingError, stage
from ensemble.members.kubernetes.api import Api, ApiError
from ensemble.members.kubernetes.attempts import Attempt, Attempts
from ensemble.members.kubernetes.names import RUN_ID, ref_of
from ensemble.members.kubernetes.options import JobOptions, MemberOptions
from ensemble.members.kubernetes.reading import End
from ensemble.members.kubernetes.script import job_script
from ensemble.members.kubernetes.sizes import Sizes
from ensemble.members.kubernetes.store import Created, Known, Ref, Void
from ensemble.members.kubernetes.template import pod_template
from ensemble.members.kubernetes.workloads import Ask, WorkloadKind
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec
from ensemble.model.wording import counted

_AT_ONCE: Final = 32
"""Requests under way at a time; the API server queues more than its fair share of anyone's."""
_SECONDS: Final = 120.0
"""For which one batch is sent again while the server has no time; the rest is refused for now."""


class Submission:
    """Sends attempts, one batch at a time. `target`: pods at a time that the member may have; 0 is no bound."""

    def __init__(
        self,
        attempts: Attempts,
        api: Api,
        kind: WorkloadKind,
        options: MemberOptions,
        sizes: Sizes,
        target: int,
        conclude: Callable[[Attempt, End], Awaitable[None]],
    ) -> None:
        self._conclude = conclude
        self._attempts, self._api, self._kind, self._options, self._sizes = attempts, api, kind, options, sizes
        self.target = target
        self.lock = asyncio.Lock()
        """Held while a batch is on its way."""
        self.held: dict[Ref, Attempt] = {}
        """Attempts that wait for room in the member, in order."""

    @property
    def in_use(self) -> int:
        """Pods that the member's open attempts have, or are about to have."""
        known = self._attempts.known
        return sum(known[ref].nodes for ref in self._attempts.open if ref not in self.held)

    async def submit(self, jobs: Sequence[JobSpec]) -> list[Receipt]:
        """Send jobs; return one receipt each, in order. It must run to its end even when its caller is cancelled."""
        async with self.lock:
            receipts: dict[Ref, Receipt] = {}
            fresh: list[Attempt] = []
            for spec in jobs:
                ref = (spec.ref.key, spec.ref.attempt)
                known = self._attempts.known.get(ref)
                if known is not None:
                    receipts[ref] = Accepted(known.name)
                    if not (known.created or known.ending or known.end or known in fresh or ref in self.held):
                        fresh.append(known)  # it was not known before whether it had arrived
                    continue
                try:
                    self._check(spec)
                except MemberError as error:
                    receipts[ref] = Refused(str(error))
                else:
                    fresh.append(self._attempts.add(spec))
            try:
                broken = await asyncio.to_thread(self._prepare, fresh)
                await self._attempts.store.append([Known(attempt.spec) for attempt in fresh])
            except OSError as error:
                text = f"the run's directory: {error.strerror}"
                for attempt in fresh:
                    self._attempts.forget(attempt.ref)
                    receipts[attempt.ref] = Refused(text, transient=True)
                fresh, broken = [], {}
            receipts |= {attempt.ref: Accepted() for attempt in fresh}
            for ref, end in broken.items():
                await self._conclude(self._attempts.known[ref], end)
            fresh = [attempt for attempt in fresh if attempt.ref not in broken]
            self.held |= {attempt.ref: attempt for attempt in fresh}
            receipts |= await self.create_held()
            for attempt in self.held.values():
                attempt.accepted = True
            return [receipts[spec.ref.key, spec.ref.attempt] for spec in jobs]

    def _check(self, spec: JobSpec) -> None:
        """Raises `MemberError` for a job that can never run here."""
        options = JobOptions.read(self._attempts.context.options, spec.options)
        if not options.image:
            raise MemberError(
                "it has no image: say `--image IMAGE`, or `options: {image: IMAGE}` of its group or member"
            )
        if options.elastic and not self._kind.elastic:
            raise MemberError(f"elastic: the size of a {self._kind.resource.kind} cannot change")
        need = spec.resources
        cores = -(-need.tasks // max(1, need.nodes)) * need.cores
        largest = self._sizes.largest
        if largest and cores > largest and not self._options.new_nodes:
            raise MemberError(
                f"a pod of it needs {counted(cores, 'core')}; the largest node has {counted(largest, 'core')}"
            )
        most = self._attempts.context.max_nodes
        if most and need.nodes > most:
            raise MemberError(f"it needs {counted(need.nodes, 'node')}; this member has at most {most}")

    def _prepare(self, fresh: Iterable[Attempt]) -> dict[Ref, End]:
        """Make directories and inputs on a shared volume; return how those end of which no script can be made."""
        run_dir = self._attempts.context.run_dir
        broken: dict[Ref, End] = {}
        for attempt in fresh:
            spec = attempt.spec
            try:
                if self._options.shared is not None:
                    workdir = os.path.join(run_dir, spec.workdir)
                    for folder in (JobFiles(run_dir, *attempt.ref).folder, workdir):
                        os.makedirs(folder, exist_ok=True)
                    stage(spec.inputs, workdir)
                self._script(spec, attempt.name)
            except StagingError as error:
                broken[attempt.ref] = End("failed", "inputs", text=str(error))
            except MemberError as error:
                broken[attempt.ref] = End("failed", "launch", text=str(error))
        return broken

    def _script(self, spec: JobSpec, name: str, node: str = "0") -> str:
        run_dir, store = self._attempts.context.run_dir, self._attempts.store
        claim = store.claim((spec.ref.key, spec.ref.attempt)) if self._options.shared is not None else ""
        return job_script(spec, run_dir, node, self._kind.coordinator(name), claim, name)

    # ---- creation ------------------------------------------------------------------------------------

    async def create_held(self) -> dict[Ref, Receipt]:
        """Create what there is room for; `lock` is held.

        What is refused is forgotten, unless the engine counts on it.
        """
        chosen: list[Attempt] = []
        room = self.target - self.in_use if self.target else 0
        for attempt in self.held.values():
            attempt.options = JobOptions.read(self._attempts.context.options, attempt.spec.options)
            if attempt.options.elastic and self.target:
                attempt.nodes = self.target
            if self.target:
                room -= attempt.nodes
                if room < 0:
                    break
            chosen.append(attempt)
        for attempt in chosen:
            del self.held[attempt.ref]
        for attempt in self.held.values():
            attempt.waiting = f"this member may have {counted(self.target, 'pod')} at a time"
        until, limit = time.monotonic() + _SECONDS, asyncio.Semaphore(_AT_ONCE)

        async def create(attempt: Attempt) -> Receipt:
            async with limit:
                return await self._create(attempt, max(0.0, until - time.monotonic()))

        answers = await asyncio.gather(*(create(attempt) for attempt in chosen))
        receipts = {attempt.ref: answer for attempt, answer in zip(chosen, answers, strict=True)}
        created = [ref for ref, answer in receipts.items() if isinstance(answer, Accepted)]
        refused = [ref for ref, answer in receipts.items() if isinstance(answer, Refused)]
        void = [ref for ref in refused if not self._attempts.known[ref].accepted]
        for ref in created:
            self._attempts.known[ref].created = True
        for ref in void:
            self._attempts.forget(ref)
        await self._attempts.store.append([Created(created), Void(void)] if receipts else [])
        return receipts

    async def _create(self, attempt: Attempt, patience: float) -> Receipt:
        resource = self._kind.resource
        try:
            await self._api.create(resource, self.manifest(attempt), patience)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return await self._compare(attempt)
            transient = error.transient or error.reason == "QuotaExceeded"
            return Refused(str(error), transient)
        except MemberError as error:
            self._attempts.outbox.go_down(str(error))
            return Unknown(str(error))
        return Accepted(attempt.name)

    async def _compare(self, attempt: Attempt) -> Receipt:
        """There is an object of that name: it is this attempt's, unless two names have the same hash."""
        try:
            there = await self._api.get(self._kind.resource, attempt.name)
        except MemberError as error:
            return Unknown(str(error))
        if there is None:
            return Unknown("its object was there, and is gone")
        meta = there.metadata
        if ref_of(meta.annotations) == attempt.ref and meta.labels.get(RUN_ID) == self._attempts.identity.id:
            return Accepted(attempt.name)
        return Refused(f"the {self._kind.resource.kind} {attempt.name} belongs to somebody else")

    def manifest(self, attempt: Attempt) -> dict[str, Any]:
        """The object of an attempt. Raises `MemberError` where none can be made."""
        spec, identity, run_dir = attempt.spec, self._attempts.identity, self._attempts.context.run_dir
        if attempt.nodes != spec.resources.nodes and attempt.options.elastic:
            spec = msgspec.structs.replace(spec, resources=msgspec.structs.replace(spec.resources, nodes=attempt.nodes))
        templates = [
            pod_template(
                spec, attempt.options, identity, run_dir, self._options.shared, self._script(spec, attempt.name, node)
            )
            for node in self._kind.nodes()
        ]
        metadata: dict[str, Any] = {
            "name": attempt.name,
            "labels": identity.labels(spec.ref),
            "annotations": identity.annotations(spec.ref),
        }
        if self._options.owner:
            metadata["ownerReferences"] = [self._options.owner]
        return self._kind.manifest(
            Ask(attempt.nodes, attempt.options.elastic, int(self._options.keep), metadata), templates
        )

    async def settle(self) -> None:
        """Find out which attempts of unknown fate Kubernetes has; those that it has not are given up."""
        unclear = [
            self._attempts.known[ref]
            for ref in self._attempts.open
            if ref not in self.held and not self._attempts.known[ref].created
        ]
        for attempt in unclear:
            there = await self._api.get(self._kind.resource, attempt.name)
            if there is not None:
                attempt.created = True
            else:
                self._attempts.forget(attempt.ref)
                await self._attempts.store.append([Void([attempt.ref])])
