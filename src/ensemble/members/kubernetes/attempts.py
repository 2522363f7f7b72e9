"""What is known of every attempt, and the events that follow from what is seen of it."""

from __future__ import annotations

__all__ = ["Attempt", "Attempts"]

import asyncio
from collections import Counter
from typing import Any

from ensemble.members.contract import Context
from ensemble.members.kit.outbox import Outbox
from ensemble.members.kubernetes.names import Identity, object_name
from ensemble.members.kubernetes.objects import Pod, Workload, seconds_of
from ensemble.members.kubernetes.options import JobOptions
from ensemble.members.kubernetes.reading import End, Reading
from ensemble.members.kubernetes.store import Cancelled, Created, Known, Ref, Store, Void
from ensemble.model.events import JobEvent
from ensemble.model.jobs import STATES, AttemptRef, JobSpec


class Attempt:
    """What is known of one attempt."""

    __slots__ = (
        "accepted", "cancelled", "created", "deadline", "deleted", "end", "ending", "gone", "grace", "logs", "lost",
        "name", "nodes", "notice", "options", "placed", "pods", "spec", "start", "state", "unwanted", "waiting",
        "workload",
    )  # fmt: skip

    def __init__(self, spec: JobSpec, name: str) -> None:
        self.spec = spec
        self.name = name
        """Of its object in Kubernetes."""
        self.options = JobOptions()
        self.nodes = max(1, spec.resources.nodes)
        self.accepted = False
        """The engine counts on it, though its object is not created yet."""
        self.created = False
        """Kubernetes has, or had, its object."""
        self.workload: Workload | None = None
        self.pods: dict[str, Pod] = {}
        self.gone = False
        """Its object was there, and is not any more."""
        self.notice = ""
        """Why the controller could not make its pods."""
        self.logs: dict[str, asyncio.Task[bytes]] = {}
        """Logs that are followed to their end because the pod is about to be deleted."""
        self.state = "submitted"
        self.start = 0.0
        """When it began, by the clock of its node (seconds since 1970)."""
        self.waiting = ""
        """Why it has not begun."""
        self.placed = False
        """Its pods have nodes."""
        self.deadline: asyncio.TimerHandle | None = None
        self.cancelled = False
        """On our request."""
        self.grace = 1.0
        self.deleted: set[str] = set()
        """Its pods that were deleted on our request."""
        self.unwanted = False
        """Its object is deleted once it has ended."""
        self.lost: End | None = None
        """How it ends because one of its pods vanished."""
        self.ending = False
        """How it ended is known, and is being made durable."""
        self.end: JobEvent | None = None

    @property
    def ref(self) -> Ref:
        """Key and attempt."""
        return self.spec.ref.key, self.spec.ref.attempt

    @property
    def hosts(self) -> str:
        """The nodes of its pods."""
        return ",".join(dict.fromkeys(pod.spec.nodeName for pod in self.pods.values() if pod.spec.nodeName))


class Attempts:
    """The attempts of one opening. What ends becomes durable before the engine learns of it."""

    def __init__(self, context: Context, store: Store) -> None:
        self.context = context
        self.store = store
        self.outbox = Outbox(context.name, context.sink)
        self.identity = Identity(context.run, "", context.name)
        self.known: dict[Ref, Attempt] = {}
        self.open: set[Ref] = set()
        self._names: dict[str, Ref] = {}

    def named(self, name: str) -> Attempt | None:
        """The attempt whose object has this name."""
        ref = self._names.get(name)
        return self.known.get(ref) if ref is not None else None

    def add(self, spec: JobSpec) -> Attempt:
        """Know a new attempt."""
        attempt = Attempt(spec, object_name(self.identity, spec.ref))
        self.known[attempt.ref] = attempt
        self._names[attempt.name] = attempt.ref
        self.open.add(attempt.ref)
        return attempt

    def forget(self, ref: Ref) -> None:
        """Give up an attempt that Kubernetes never got."""
        self.known.pop(ref, None)
        self.open.discard(ref)

    def remember(self) -> None:
        """Read what earlier openings knew. Raises `OSError`."""
        for entry in self.store.remembered():
            match entry:
                case Known(spec):
                    if (spec.ref.key, spec.ref.attempt) not in self.known:
                        self.add(spec)
                case Created(refs) | Cancelled(refs) | Void(refs):
                    for ref in refs:
                        self._mark(ref, entry)
                case JobEvent():
                    attempt = self.known.get((entry.key, entry.attempt))
                    if attempt is not None and attempt.end is None:
                        attempt.end, attempt.state = entry, "inactive"
                        self.open.discard(attempt.ref)

    def _mark(self, ref: Ref, entry: Created | Cancelled | Void) -> None:
        attempt = self.known.get(ref)
        if attempt is None:
            return
        if isinstance(entry, Void) and not attempt.created:
            self.forget(ref)
        attempt.created |= isinstance(entry, Created)
        attempt.cancelled |= isinstance(entry, Cancelled)

    def found(self, ref: Ref) -> Attempt:
        """The attempt that an object is of, also where the run's directory was lost and only the object is left."""
        if ref not in self.known:
            group = ref[0].rpartition("-")[0]
            self.add(JobSpec(AttemptRef(self.context.run, *ref), group, f"jobs/{ref[0]}"))
        return self.known[ref]

    # ---- events --------------------------------------------------------------------------------------

    def follow(self, attempt: Attempt, reading: Reading) -> None:
        """Let an attempt go on to what is seen of it, and tell the engine."""
        attempt.waiting = "" if reading.running else reading.waiting
        if attempt.state == "submitted" and attempt.workload is not None:
            created = seconds_of(attempt.workload.metadata.creationTimestamp)
            self._move(attempt, "sched", created)
        if attempt.state == "sched" and reading.running:
            attempt.start = reading.start
            self._move(attempt, "run", reading.start, hosts=reading.hosts)

    def _move(self, attempt: Attempt, state: str, at: float, **fields: Any) -> None:
        assert STATES.index(state) > STATES.index(attempt.state)
        attempt.state = state
        self.outbox.put(self.event(attempt, state, at, **fields))

    def event(self, attempt: Attempt, state: str, at: float, **fields: Any) -> JobEvent:
        """An event of an attempt, in this member's name."""
        key, number = attempt.ref
        name = attempt.name if attempt.workload is not None or attempt.created else ""
        return JobEvent(self.context.name, key, state, at, attempt=number, native_id=name, **fields)

    def finish(self, attempt: Attempt, event: JobEvent) -> None:
        """An attempt is over, and that is durable: tell the engine."""
        if attempt.state in ("submitted", "sched") and event.start:
            self._move(attempt, "run", event.start, hosts=event.hosts)
        attempt.state, attempt.end, attempt.waiting = "inactive", event, ""
        if attempt.deadline is not None:
            attempt.deadline.cancel()
        attempt.pods.clear()
        self.open.discard(attempt.ref)
        self.outbox.put(event)
        self.outbox.settle()

    def why_they_wait(self) -> dict[str, int]:
        """How many wait for each reason."""
        waiting = (self.known[ref].waiting for ref in self.open)
        return dict(sorted(Counter(why for why in waiting if why).items()))
