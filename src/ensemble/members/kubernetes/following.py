"""Following attempts: what is seen of their objects and pods, whether they start in time, and when they are over."""

from __future__ import annotations

__all__ = ["UNKILLED", "Following"]

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from ensemble.members.kit.work import Work
from ensemble.members.kubernetes.api import Api
from ensemble.members.kubernetes.attempts import Attempt, Attempts
from ensemble.members.kubernetes.ends import Ends
from ensemble.members.kubernetes.names import MEMBER, RUN_ID, ref_of, shortened
from ensemble.members.kubernetes.objects import PODS, Listed, Notice, Pod, Workload, seconds_of
from ensemble.members.kubernetes.reading import End, Reading, end_of, first_failure, read_pods
from ensemble.members.kubernetes.store import Ref
from ensemble.members.kubernetes.workloads import WorkloadKind
from ensemble.model.events import MemberEvent

UNKILLED: Final = 60.0
"""Seconds after which a job that should have been killed by its node counts as ended: the node says nothing."""
_TELL: Final = 1.0
"""Seconds between two reports of why jobs wait."""
_SETTLE: Final = 20.0
"""Seconds for which the pods of a job that is over are asked for."""


class Following:
    """Attempts of one opening. `start_timeout`: seconds that a job may take to start."""

    def __init__(
        self, attempts: Attempts, api: Api, kind: WorkloadKind, ends: Ends, work: Work, start_timeout: float
    ) -> None:
        self.news = asyncio.Event()
        """Set when `look_at_changes` has something to do."""
        self.nodes_up = -1
        """The size that was told to the engine last."""
        self._attempts, self._api, self._kind, self._ends, self._work = attempts, api, kind, ends, work
        self._start_timeout = start_timeout
        self._changed: set[Ref] = set()
        self._reasons = asyncio.Event()
        self._ran_at = 0.0
        """When a job of the run was last seen to run (our monotonic clock)."""

    def look_at_changes(self) -> None:
        """Look at every attempt of which something has changed."""
        changed, self._changed = self._changed, set()
        for ref in changed:
            if ref in self._attempts.open:
                self.look(self._attempts.known[ref])
        self._reasons.set()

    def stop(self) -> None:
        """Give up all deadlines."""
        for ref in self._attempts.open:
            deadline = self._attempts.known[ref].deadline
            if deadline is not None:
                deadline.cancel()

    def _mine(self, found: Listed) -> Attempt | None:
        """The attempt that an object of this run and member belongs to."""
        meta, ours = found.metadata, self._attempts.identity
        if meta.labels.get(RUN_ID) != ours.id or meta.labels.get(MEMBER) != shortened(ours.member):
            return None
        ref = ref_of(meta.annotations)
        return self._attempts.found(ref) if ref is not None else None

    def touch(self, ref: Ref) -> None:
        """Look at an attempt soon."""
        self._changed.add(ref)
        self.news.set()

    def workload_changed(self, found: Workload, deleted: bool) -> None:
        """A workload is new, was changed, or is gone."""
        attempt = self._mine(found)
        if attempt is None or attempt.end is not None:
            return
        attempt.workload, attempt.created, attempt.gone = found, True, deleted
        self.touch(attempt.ref)

    def has_ended(self, found: Workload) -> bool:
        """Whether a workload is of an attempt that is over."""
        attempt = self._mine(found)
        return attempt is not None and attempt.end is not None

    def pod_changed(self, found: Pod, deleted: bool) -> None:
        """A pod is new, was changed, or is gone."""
        attempt = self._mine(found)
        if attempt is None or attempt.end is not None:
            return
        if deleted and end_of(found) is None:
            attempt.pods.pop(found.metadata.name, None)
            attempt.lost = End("failed", "infrastructure", text="its pod was deleted", start=attempt.start)
        else:
            attempt.pods[found.metadata.name] = found
        self.touch(attempt.ref)

    def notice_changed(self, found: Notice, deleted: bool) -> None:
        """A controller says why it could not make pods."""
        # of the object itself, or of what its controller made of it: `<name>-driver-0`
        words = found.involvedObject.name.split("-")
        names = ("-".join(words[:count]) for count in range(len(words), 1, -1))
        attempt = next((one for one in map(self._attempts.named, names) if one is not None), None)
        if attempt is not None and not deleted and attempt.end is None:
            attempt.notice = found.message
            self.touch(attempt.ref)

    async def tell_reasons(self) -> None:
        """Tell why jobs wait, when that changes."""
        told: dict[str, int] = {}
        while True:
            await self._reasons.wait()
            self._reasons.clear()
            waiting = self._attempts.why_they_wait()
            if waiting != told:
                told = waiting
                name = self._attempts.context.name
                self._attempts.outbox.put(
                    MemberEvent(name, "nodes", time.time(), nodes_up=self.nodes_up, waiting=waiting)
                )
            await asyncio.sleep(_TELL)

    def look(self, attempt: Attempt) -> None:
        """Follow what is seen of an attempt."""
        if attempt.ending:
            return
        pods = sorted(attempt.pods.values(), key=self._kind.number)
        deciding = self._kind.deciding(pods, attempt.nodes)
        ends = [end for end in map(end_of, deciding) if end is not None]
        finished = self._kind.finished(attempt.workload) if attempt.workload is not None else None
        if deciding and len(ends) == len(deciding):
            self.conclude(attempt, _whole(ends, [end_of(pod) for pod in pods]))
        elif self._kind.restarts and attempt.lost is not None:
            self.conclude(attempt, attempt.lost)
        elif attempt.gone:
            if all(end_of(pod) for pod in pods):
                self.conclude(attempt, End("failed", "infrastructure"))
        elif finished is not None:
            attempt.ending = True
            self._work.start(self._settle(attempt, finished))
        else:
            reading = read_pods(pods, attempt.nodes, attempt.notice)
            self._attempts.follow(attempt, reading)
            self._watch_start(attempt, reading)
            if attempt.cancelled:
                self._end_pods(attempt)
            else:
                self._watch_nodes(attempt)

    def _end_pods(self, attempt: Attempt) -> None:
        """Delete pods that were made after the cancellation, or not yet seen then."""
        for name, pod in attempt.pods.items():
            if not pod.metadata.deletionTimestamp and name not in attempt.deleted:
                attempt.deleted.add(name)
                self._work.start(self._delete_pod(name, attempt.grace))

    async def _delete_pod(self, name: str, grace: float) -> None:
        await self._api.delete(PODS, name, grace=grace)

    async def _settle(self, attempt: Attempt, finished: str) -> None:
        """The controller says that a job is over before its pods were seen to be: read them once more."""
        labels = ",".join(f"{name}={text}" for name, text in self._attempts.identity.labels(attempt.spec.ref).items())
        pods, _ = await self._api.list_all(PODS, labels, patience=_SETTLE)
        attempt.pods.update((pod.metadata.name, pod) for pod in pods)
        ends = [end_of(pod) for pod in attempt.pods.values()]
        failure = first_failure([end for end in ends if end is not None])
        if not finished:
            end = _whole([end for end in ends if end is not None and end.outcome == "success"], [])
        elif finished.startswith("DeadlineExceeded"):
            end = failure or End("failed", "walltime")
        else:
            text = f"its pods are gone; Kubernetes says {finished}"
            end = failure or attempt.lost or End("failed", "infrastructure", text=text)
        attempt.ending = False
        self.conclude(attempt, end)

    # ---- nodes that do not answer ----------------------------------------------------------------------

    def _watch_nodes(self, attempt: Attempt) -> None:
        """A pod whose time to end has passed, and which nobody reports as ended, is on a node that does not answer."""
        for name, pod in attempt.pods.items():
            ends_at = seconds_of(pod.metadata.deletionTimestamp)
            if ends_at and name not in attempt.deleted:
                attempt.deleted.add(name)
                self._work.kill_later(max(0.0, ends_at + UNKILLED - time.time()), partial(self._give_up, attempt))

    async def _give_up(self, attempt: Attempt) -> None:
        text = "its node does not answer, and may not have ended it yet"
        self.conclude(attempt, End("lost", "infrastructure", text=text, start=attempt.start))

    # ---- jobs that do not start ----------------------------------------------------------------------

    def _watch_start(self, attempt: Attempt, reading: Reading) -> None:
        """Give a job that has its object `start_timeout` to start, and again once its pods have nodes."""
        if reading.running:
            self._ran_at = time.monotonic()
        if attempt.deadline is not None and (reading.running or reading.placed != attempt.placed):
            attempt.deadline.cancel()
            attempt.deadline = None
        attempt.placed = reading.placed
        if attempt.deadline is None and not reading.running and attempt.workload is not None:
            self._start_by(attempt, self._start_timeout)

    def _start_by(self, attempt: Attempt, seconds: float) -> None:
        attempt.deadline = asyncio.get_running_loop().call_later(seconds, self._too_late, attempt)

    def _too_late(self, attempt: Attempt) -> None:
        """It has not started in time. Where it has no node yet, time counts only while no job of the run holds one."""
        limit = self._start_timeout
        left = self._ran_at + limit - time.monotonic()
        busy = any(self._attempts.known[ref].state == "run" for ref in self._attempts.open)
        if not attempt.placed and not attempt.ending and (busy or left > 0):
            self._start_by(attempt, limit if busy else left)
            return
        text = f"it did not start within {limit:g} s: {attempt.waiting}"
        attempt.unwanted = True
        self.conclude(attempt, End("failed", "launch", text=text))

    # ---- ends ----------------------------------------------------------------------------------------

    def conclude(self, attempt: Attempt, end: End) -> None:
        """An attempt is over: keep what is left of it, and tell the engine."""
        if attempt.ending:
            return
        attempt.ending = True
        deleted = attempt.gone or (attempt.workload is not None and attempt.workload.metadata.deletionTimestamp)
        if deleted and end.outcome != "success" and not attempt.cancelled:
            text = f"its {self._kind.resource.kind} {attempt.name} was deleted in Kubernetes"
            end = End("cancelled", "cancelled", text=text, start=end.start, time=end.time)
        self._work.start(self._end(attempt, end))

    async def _end(self, attempt: Attempt, end: End) -> None:
        self._ran_at = time.monotonic()
        await self._ends.conclude(attempt, end)
        self.news.set()


def _whole(ends: Sequence[End], others: Sequence[End | None]) -> End:
    """The end of a job whose deciding pods ended so; of several failures the first counts."""
    if first_failure(ends) is not None:
        failure = first_failure([*ends, *(end for end in others if end is not None)])
        assert failure is not None
        return failure
    start, at = (max((getattr(end, name) for end in ends), default=0.0) for name in ("start", "time"))
    return End("success", exit_code=0, start=start, time=at)
