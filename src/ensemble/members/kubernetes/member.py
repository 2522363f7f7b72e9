"""The members for Kubernetes: one class, and a line for each kind of object that a job can be."""

from __future__ import annotations

__all__ = ["JobMember", "JobSetMember", "KubernetesMember", "LeaderWorkerSetMember"]

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from secrets import token_hex
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from ensemble.members.contract import Accepted, CloseMode, Context, Hello, InventoryItem, Page, Receipt, Refused
from ensemble.members.kit.outbox import Outbox
from ensemble.members.kit.work import Work, retry
from ensemble.members.kubernetes.api import Api, ApiError, connect
from ensemble.members.kubernetes.attempts import Attempt, Attempts
from ensemble.members.kubernetes.ends import Ends
from ensemble.members.kubernetes.following import UNKILLED, Following
from ensemble.members.kubernetes.informer import Informer, Informers
from ensemble.members.kubernetes.job import JobKind
from ensemble.members.kubernetes.jobset import JobSetKind
from ensemble.members.kubernetes.leaderworkerset import LeaderWorkerSetKind
from ensemble.members.kubernetes.names import MANAGED
from ensemble.members.kubernetes.objects import EVENTS, PODS, Listed, Notice, Pod, Resource, Workload
from ensemble.members.kubernetes.options import GROUP_OPTIONS, JobOptions, MemberOptions
from ensemble.members.kubernetes.reading import End
from ensemble.members.kubernetes.script import LAUNCHERS
from ensemble.members.kubernetes.sizes import Sizes, read_sizes
from ensemble.members.kubernetes.store import Cancelled, Store
from ensemble.members.kubernetes.submission import Submission
from ensemble.members.kubernetes.workloads import WorkloadKind
from ensemble.model.errors import MemberError, MemberUnavailable
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import AttemptRef, JobSpec

CAPABILITIES: Final = frozenset({"durable", "absence-is-proof", "gpus", "figures", "walltime", "reasons"})
_RETURN: Final = 300.0
"""Seconds for which one opening waits for a cluster that was there before."""
_ASK_AGAIN: Final = 2.0
_HELD_AGAIN: Final = 5.0
_PAGE: Final = 5000
_AT_ONCE: Final = 16
"""Jobs that are deleted at a time."""

T = TypeVar("T", bound=Listed)


class _Feed(Generic[T]):
    """A listener that hands on what it is told."""

    def __init__(self, changed: Callable[[T, bool], None], lost: Callable[[str], None]) -> None:
        self.changed, self.lost = changed, lost


class KubernetesMember:
    """Runs each job as an object of Kubernetes. See `members.contract.Member` for what each call promises, and
    `docs/kubernetes.md` for the options.

    With `nodes` in the file (more than one, or a range) at most so many pods run at a time, and the number can be
    changed; else the cluster decides.
    """

    kind: ClassVar[type[WorkloadKind]]
    # what this kind of member can do: `members.contract.Member`
    group_options: ClassVar = GROUP_OPTIONS
    needed_options: ClassVar = ("image",)
    launchers: ClassVar = LAUNCHERS
    simulated_as: ClassVar = MappingProxyType({"scheduler": "backfill"})

    _context: Context
    _options: MemberOptions
    _api: Api
    _attempts: Attempts
    _submission: Submission
    _ends: Ends
    _following: Following

    def __init__(self) -> None:
        self._kind = self.kind()
        self._work = Work("", self._failed)
        self._opened = False
        self._informers: list[tuple[Informer[Any], _Feed[Any]]] = []

    @property
    def _outbox(self) -> Outbox:
        return self._attempts.outbox

    # ---- opening and letting go ----------------------------------------------------------------------

    async def open(self, context: Context) -> Hello:
        """Reach the cluster, check what this account may do, and take up the objects of the run.

        Raises `MemberUnavailable` without a cluster or where it has no objects of this kind, else `MemberError`.
        """
        await self._let_go()
        options = self._options = MemberOptions.read(context.options, f"a {self._kind.resource.kind} member")
        store = Store(context.run_dir, context.name)
        store.guard.check(context.epoch)
        self._context = context
        self._attempts = attempts = Attempts(context, store)
        self._api = connect(options.kubeconfig, options.context, options.namespace)
        self._work = Work(context.name, self._failed)
        self._ends = Ends(attempts, self._api, self._kind, options.shared is not None)
        self._following = Following(attempts, self._api, self._kind, self._ends, self._work, options.start_timeout)
        job = JobOptions.read(context.options, {})
        # where jobs of the run may be there, a cluster that is away is waited for: the run goes on soon after
        wait = _RETURN if context.resumed else 0.0
        try:
            sizes = await retry(lambda: read_sizes(self._api, job.node_selector, job.gpu), wait, _ASK_AGAIN)
            await self._check_rights()
            await self._acquire()
        except BaseException:
            await self._let_go()
            raise
        sized = context.max_nodes or context.nodes > 1
        self._submission = Submission(
            attempts, self._api, self._kind, options, sizes, context.nodes if sized else 0, self._ends.conclude
        )
        stream = f"{context.name}@{context.epoch}-{token_hex(4)}"
        try:
            identity = await asyncio.to_thread(store.open, context.epoch, stream, options.identity)
            attempts.identity = attempts.identity._replace(id=identity)
            await asyncio.to_thread(attempts.remember)
        except OSError as error:
            await self._let_go()
            raise MemberError(f"{store.folder}: {error.strerror}", transient=True) from error
        self._take_up()
        for work in (self._follow, self._following.tell_reasons, self._outbox.deliver):
            self._work.start(work())
        self._opened = True
        return self._hello(stream, sizes)

    def _hello(self, stream: str, sizes: Sizes) -> Hello:
        capabilities, size = set(CAPABILITIES), self._submission.target
        if self._options.shared is not None:
            capabilities.add("exactly-once")
        if size:
            capabilities.add("resize")
        self._following.nodes_up = max(size, self._submission.in_use) if size else sizes.nodes
        return Hello(
            frozenset(capabilities),
            stream,
            nodes_up=self._following.nodes_up,
            nodes_free=max(0, size - self._submission.in_use) if size else -1,
            cores_up=sizes.cores,
            gpus_up=sizes.gpus,
            cores_per_node=sizes.largest,
            text="" if self._options.shared else "without a shared volume Kubernetes may start a pod twice",
        )

    async def _check_rights(self) -> None:
        """Raises `MemberError` that names every verb which this account lacks."""
        workload = self._kind.resource
        wanted: list[tuple[Resource[Any], str, str]] = [
            *((workload, "", verb) for verb in ("create", "get", "list", "watch", "delete", "patch")),
            *((PODS, "", verb) for verb in ("list", "watch", "delete")),
            (PODS, "log", "get"),
        ]
        lacking = await self._api.missing_rights(wanted)
        if lacking:
            text = f"this account may not do all that is needed in namespace {self._api.namespace}; its role lacks "
            raise MemberError(text + ", ".join(lacking))

    async def _acquire(self) -> None:
        """Get the informers. Raises `MemberUnavailable` where the cluster has no objects of this kind."""
        shared = Informers.here()
        workloads: _Feed[Workload] = _Feed(self._following.workload_changed, self._lost)
        pods: _Feed[Pod] = _Feed(self._following.pod_changed, self._lost)
        notices: _Feed[Notice] = _Feed(self._following.notice_changed, lambda _: None)
        try:
            for resource, feed in ((self._kind.resource, workloads), (PODS, pods)):
                self._informers.append((await shared.acquire(self._api, resource, feed, MANAGED), feed))
        except ApiError as error:
            if error.reason == "NoKind":
                raise MemberUnavailable(str(error)) from error
            raise
        try:
            found = await shared.acquire(self._api, EVENTS, notices, fields="reason=FailedCreate")
        except ApiError as error:
            if error.status != 403:
                raise
            return  # why pods are not made is then not known
        self._informers.append((found, notices))

    async def _let_go(self) -> None:
        self._opened = False
        await self._work.stop()
        if hasattr(self, "_following"):
            self._following.stop()
        for informer, feed in self._informers:
            await Informers.here().release(informer, feed)
        if self._informers or hasattr(self, "_api"):
            await self._api.close()
        self._informers = []

    def _failed(self, error: Exception) -> None:
        """Report that a background task failed; without it the engine would wait for ever."""
        text = str(error) if isinstance(error, MemberError | OSError) else f"{type(error).__name__}: {error}"
        self._outbox.go_down(text)

    def _lost(self, why: str) -> None:
        self._outbox.go_down(why)

    async def close(self, mode: CloseMode) -> None:
        """Let go; with `detach` jobs go on, else their ends are waited for and sent."""
        if not self._opened:
            return
        attempts = self._attempts
        try:
            if mode != "detach" and not self._outbox.down:
                if mode == "cancel" and attempts.open:
                    await self.cancel([attempts.known[ref].spec.ref for ref in attempts.open], 1.0)
                await self._outbox.drained(lambda: attempts.open)
        finally:
            async with self._submission.lock:  # a submission under way is written down first
                await self._let_go()
            attempts.store.close()

    # ---- commands ------------------------------------------------------------------------------------

    def _check_up(self) -> None:
        if self._outbox.down:
            raise MemberError(self._outbox.down, transient=True)

    async def submit(self, batch: int, jobs: Sequence[JobSpec]) -> Sequence[Receipt]:
        """One object for each job; a job that is known is accepted as it is."""
        self._check_up()
        # broken off or not, what is on its way is brought to its end
        receipts = await asyncio.shield(asyncio.ensure_future(self._submission.submit(jobs)))
        for spec in jobs:
            self._following.touch((spec.ref.key, spec.ref.attempt))
        return receipts

    async def cancel(self, refs: Sequence[AttemptRef], grace: float) -> Sequence[Receipt]:
        """Delete objects and their pods: SIGTERM at once, SIGKILL after `grace` seconds (whole ones, at least 1)."""
        self._check_up()
        known = self._attempts.known
        wanted = [known[ref.key, ref.attempt] for ref in refs if (ref.key, ref.attempt) in self._attempts.open]
        if wanted:
            await self._attempts.store.append([Cancelled([attempt.ref for attempt in wanted])])
            for attempt in wanted:
                attempt.cancelled = True
            async with self._submission.lock:
                for attempt in wanted:
                    if self._submission.held.pop(attempt.ref, None) is not None:
                        self._following.conclude(attempt, End("cancelled", "cancelled"))
            left = [attempt for attempt in wanted if attempt.created and not attempt.ending]
            limit = asyncio.Semaphore(_AT_ONCE)

            async def delete(attempt: Attempt) -> None:
                async with limit:
                    await self._delete(attempt, grace)

            await asyncio.gather(*map(delete, left))
            self._end_later(left, grace + UNKILLED)
        return [Accepted() for _ in refs]

    async def _delete(self, attempt: Attempt, grace: float) -> None:
        """Delete an attempt's object and pods; their output is read to its end meanwhile."""
        if self._options.shared is None:
            running = [pod for pod in attempt.pods.values() if pod.status.phase == "Running"]
            await asyncio.gather(*(self._ends.follow_log(attempt, pod) for pod in running))
        attempt.grace = grace
        # in the foreground: the object stays until its pods are gone, and no more of them are made
        if not await self._api.delete(self._kind.resource, attempt.name, propagation="Foreground"):
            attempt.gone = True
        attempt.deleted.update(attempt.pods)
        await asyncio.gather(*(self._api.delete(PODS, pod, grace=grace) for pod in tuple(attempt.pods)))
        self._following.touch(attempt.ref)

    def _end_later(self, attempts: Sequence[Attempt], seconds: float) -> None:
        """After so many seconds end those that are still open: their node does not answer."""

        async def end() -> None:
            for attempt in attempts:
                if attempt.ref in self._attempts.open:
                    text = "its node does not answer, and may not have ended it yet"
                    self._following.conclude(attempt, End("cancelled", "cancelled", text=text))

        self._work.kill_later(seconds, end)

    async def resize(self, command: int, nodes: int) -> Receipt:
        """Let the member have so many pods at a time; elastic jobs follow."""
        self._check_up()
        context, submission = self._context, self._submission
        if not submission.target:
            return Refused(
                "the size of this member is the cluster's; give it a range, such as `nodes: {min: 1, max: 8}`"
            )
        least, most = max(1, context.min_nodes), context.max_nodes or nodes
        if not least <= nodes <= most:
            return Refused(f"this member can have {least} to {most} nodes, not {nodes}")
        async with submission.lock:
            submission.target = nodes
            for ref in sorted(self._attempts.open):
                attempt = self._attempts.known[ref]
                if attempt.created and attempt.options.elastic and not attempt.ending and attempt.nodes != nodes:
                    change = self._kind.resized(nodes)
                    await self._api.patch(self._kind.resource, attempt.name, change)
                    attempt.nodes = nodes
        self._tell_size()
        self._following.news.set()
        return Accepted()

    def _tell_size(self) -> None:
        size = self._submission.target
        up = max(size, self._submission.in_use) if size else 0
        if size and up != self._following.nodes_up:
            self._following.nodes_up = up
            self._outbox.put(MemberEvent(self._context.name, "nodes", time.time(), nodes_up=up))

    async def inventory(self) -> AsyncIterator[Page]:
        """Every attempt that was handed over; what nobody knows of is asked for by its name."""
        self._check_up()
        async with self._submission.lock:
            await self._submission.settle()
        items = []
        for attempt in self._attempts.known.values():
            ref = msgspec.structs.replace(attempt.spec.ref, run=self._context.run)
            items.append(InventoryItem(ref, attempt.state, native_id=attempt.name, event=attempt.end))
        for start in range(0, len(items), _PAGE):
            yield Page(tuple(items[start : start + _PAGE]))
        yield Page((), last=True, complete=True)

    async def fetch(self, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
        """Part of a file of a job. Raises `MemberError` when there is none, or it is outside the job's folder."""
        attempt = self._attempts.known.get((ref.key, ref.attempt))
        if attempt is None:
            raise MemberError(f"there is no attempt {ref}")
        return await self._ends.fetch(attempt, path, offset, limit)

    # ---- what comes back -----------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Compare what is known with what the informers hold; what was handed over and never created is created now."""
        (workloads, _), (pods, _), *_ = self._informers
        for found in workloads.objects.values():
            self._following.workload_changed(found, False)
            if self._kind.restarts and self._following.has_ended(found):
                # nobody was there any more to delete it, and its pods begin again and again
                self._work.start(self._delete_ended(found.metadata.name))
        for found in pods.objects.values():
            self._following.pod_changed(found, False)
        for ref in sorted(self._attempts.open):
            attempt = self._attempts.known[ref]
            attempt.options = JobOptions.read(self._context.options, attempt.spec.options)
            if attempt.workload is None and attempt.created:
                attempt.gone = True
            elif attempt.workload is None:
                attempt.accepted = True
                self._submission.held[ref] = attempt
            self._following.look(attempt)
        self._following.news.set()
        cancelled = [
            self._attempts.known[ref].spec.ref for ref in self._attempts.open if self._attempts.known[ref].cancelled
        ]
        if cancelled:

            async def again() -> None:
                await self.cancel(cancelled, 1.0)

            self._work.start(again())

    async def _delete_ended(self, name: str) -> None:
        await self._api.delete(self._kind.resource, name)

    async def _follow(self) -> None:
        """Look at what has changed, and create what there is room for."""
        while True:
            await self._following.news.wait()
            self._following.news.clear()
            self._following.look_at_changes()
            if self._submission.held and not self._submission.lock.locked():
                async with self._submission.lock:
                    await self._create_held()
            self._tell_size()

    async def _create_held(self) -> None:
        """Create what there is room for; what is refused for good has failed, the rest is tried again."""
        for ref, answer in (await self._submission.create_held()).items():
            attempt = self._attempts.known.get(ref)
            if attempt is None or not isinstance(answer, Refused):
                continue
            if answer.transient:
                attempt.waiting = answer.reason
                self._submission.held[ref] = attempt
                asyncio.get_running_loop().call_later(_HELD_AGAIN, self._following.news.set)
            else:
                self._following.conclude(attempt, End("failed", "refused", text=answer.reason))


class JobMember(KubernetesMember):
    """Runs each job as an Indexed Job."""

    kind: ClassVar = JobKind


class JobSetMember(KubernetesMember):
    """Runs each job as a JobSet."""

    kind: ClassVar = JobSetKind


class LeaderWorkerSetMember(KubernetesMember):
    """Runs each job as one group of a LeaderWorkerSet."""

    kind: ClassVar = LeaderWorkerSetKind
