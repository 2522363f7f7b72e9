"""One job of Flux as the job manager's journal shows it, in the states and ends of `model.jobs`. Needs no Flux."""

from __future__ import annotations

__all__ = ["FluxJob"]

import os
import pwd
from typing import Any

from ensemble.members.flux.entries import Event, Mark
from ensemble.model.events import JobEvent


class FluxJob:
    """A job, folded event by event (event names: RFC 21)."""

    __slots__ = (
        "annotations", "cancelled", "dependencies", "evicted", "exception", "finished", "granted", "held", "hosts",
        "id", "mark", "member", "name", "queue", "ref", "released", "start", "state", "status", "submitted", "user",
    )  # fmt: skip

    def __init__(self, member: str, ref: tuple[str, int], number: int, name: str, mark: Mark, queue: str = "") -> None:
        """`number`, `name`: the job's id, as Flux computes with it and as people write it; `mark`: what it carries."""
        self.member, self.ref, self.id, self.name, self.mark, self.queue = member, ref, number, name, mark, queue
        self.state = "submitted"
        self.submitted = 0.0
        self.start = 0.0
        self.finished = 0.0
        self.status = -1
        self.hosts = ""
        self.exception: tuple[str, str] | None = None
        """Type and note of the first fatal exception."""
        self.user = -1
        """Id of the user who raised it, where Flux knows."""
        self.released = False
        """It was given an urgency, so it is no longer held by this member."""
        self.held = True
        """Its urgency is 0, by whoever's wish."""
        self.dependencies: set[str] = set()
        """What Flux still waits for before the job may be scheduled."""
        self.granted = False
        """It has been given its resources."""
        self.annotations: dict[str, Any] = {}
        """What the scheduler says of it while it waits."""
        self.cancelled = False
        """The member was asked to cancel it."""
        self.evicted = False
        """What ended it came when its instance was ending."""

    @property
    def waits(self) -> bool:
        """Whether it waits in the queue."""
        return not self.granted and self.exception is None and self.state in ("submitted", "sched")

    def take(self, event: Event, hosts: tuple[str, ...] = ()) -> JobEvent | None:
        """Take one event into account; return the event that the engine is to be sent, if any.

        The end is sent with `clean`, when the resources are free again, and has the time of `finish`.
        """
        name, context = event.name, event.context
        if name == "submit":
            self.submitted = event.timestamp
            self.released = context.get("urgency", 16) != 0
            self.held = not self.released
        elif name == "urgency":
            self.released = True
            self.held = context.get("urgency", 16) == 0
        elif name == "priority":
            if context.get("priority", 0) > 0 and self.state == "submitted":
                return self._moved("sched", event.timestamp)
        elif name == "dependency-add":
            self.dependencies.add(str(context.get("description", "")))
        elif name == "dependency-remove":
            self.dependencies.discard(str(context.get("description", "")))
        elif name == "annotations":
            self._annotate(context.get("annotations"))
        elif name == "alloc":
            self.granted, self.hosts = True, ",".join(hosts)
        elif name == "start":
            self.start = event.timestamp
            return self._moved("run", event.timestamp, hosts=self.hosts)
        elif name == "finish":
            self.finished, self.status = event.timestamp, int(context.get("status", -1))
        elif name == "exception":
            if context.get("severity", 0) == 0 and self.exception is None:
                self.exception = (str(context.get("type", "")), str(context.get("note", "")))
                self.user = int(context.get("userid", -1))
        elif name == "clean":
            return self._end(event.timestamp)
        return None

    def _annotate(self, changes: object) -> None:
        """Merge what the scheduler says now (RFC 27): null takes a key away, and null instead of all takes all away."""
        sched = changes.get("sched") if isinstance(changes, dict) else None
        if not isinstance(sched, dict):
            self.annotations = {}
            return
        self.annotations = {key: value for key, value in {**self.annotations, **sched}.items() if value is not None}

    def _moved(self, state: str, at: float, **fields: Any) -> JobEvent:
        self.state = state
        return JobEvent(self.member, self.ref[0], state, at, attempt=self.ref[1], native_id=self.name, **fields)

    def _end(self, at: float) -> JobEvent:
        code, signal = _decoded(self.status)
        outcome, reason, text = "success", "", ""
        if self.exception is not None:
            kind, text = self.exception
            outcome, reason = self._by_exception(kind, text)
            if kind == "cancel" and self.evicted:
                text = text or "its Flux instance has ended"
            elif kind == "cancel" and outcome == "cancelled" and not self.cancelled:
                text = self._by_whom(text)
        elif self.status < 0:
            outcome, reason = "lost", "infrastructure"
        elif signal:
            outcome, reason = "failed", "signal"
        elif code:
            outcome, reason = "failed", "exit"
        if self.cancelled and outcome != "success":
            outcome = reason = "cancelled"
        if reason == "launch":
            code = -1
        return self._moved(
            "inactive", self.finished or at, outcome=outcome, reason=reason, exit_code=code, signal=signal,
            start=self.start, hosts=self.hosts, text=text,
        )  # fmt: skip

    def _by_exception(self, kind: str, note: str) -> tuple[str, str]:
        """Outcome and reason of a job that an exception ended (types: RFC 21)."""
        if kind == "cancel":
            # it may have ended well before the request reached it
            if self.status == 0:
                return "success", ""
            return ("lost", "infrastructure") if self.evicted else ("cancelled", "cancelled")
        if kind == "timeout":
            return "failed", "walltime"
        if kind == "exec" and ("start failed" in note or not self.start):
            return "failed", "launch"
        if not self.start and kind in ("alloc", "depend", "validate", "feasibility"):
            return "failed", "refused"
        return "lost", "infrastructure"

    def _by_whom(self, note: str) -> str:
        """Who cancelled it, and what they noted."""
        if self.user < 0:
            return note or "cancelled in Flux"
        try:
            who = pwd.getpwuid(self.user).pw_name
        except (KeyError, OverflowError):
            who = f"the user with the id {self.user}"
        return f"cancelled in Flux by {who}" + (f": {note}" if note else "")


def _decoded(status: int) -> tuple[int, int]:
    """Exit code (-1: none) and signal (0: none) of a wait status; the job shell makes 128 + n of a signal."""
    if status < 0:
        return -1, 0
    if os.WIFSIGNALED(status):
        return -1, os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return (-1, code - 128) if 128 < code <= 192 else (code, 0)
