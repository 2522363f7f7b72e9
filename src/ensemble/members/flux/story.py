"""What the journal says of one job, read as the states and ends of `model.jobs`. Pure: no Flux needed."""

from __future__ import annotations

__all__ = ["Story"]

import os
from typing import Any

from ensemble.members.flux.entries import Event, Mark
from ensemble.model.events import JobEvent


class Story:
    """A job of Flux as far as it was told, folded event by event (RFC 21)."""

    __slots__ = (
        "cancelled", "evicted", "exception", "finished", "hosts", "id", "mark", "member", "name", "ref", "released",
        "start", "state", "status", "submitted",
    )  # fmt: skip

    def __init__(self, member: str, ref: tuple[str, int], number: int, name: str, mark: Mark) -> None:
        """`number`, `name`: the job's id, as Flux computes with it and as people write it; `mark`: what it bears."""
        self.member, self.ref, self.id, self.name, self.mark = member, ref, number, name, mark
        self.state = "submitted"
        self.submitted = 0.0
        self.start = 0.0
        self.finished = 0.0
        self.status = -1
        self.hosts = ""
        self.exception: tuple[str, str] | None = None
        """Type and note of the first fatal one."""
        self.released = False
        """No longer held by us: it was given an urgency."""
        self.cancelled = False
        """On our request."""
        self.evicted = False
        """What ended it came when its instance was ending."""

    def hear(self, event: Event, hosts: tuple[str, ...] = ()) -> JobEvent | None:
        """Take in one event; return what the engine is to be told, if anything.

        The end is told with `clean`, when the resources are free again, and bears the time of `finish`.
        """
        name, context = event.name, event.context
        if name == "submit":
            self.submitted = event.timestamp
            self.released = context.get("urgency", 16) != 0
        elif name == "urgency":
            self.released = True
        elif name == "priority":
            if context.get("priority", 0) > 0 and self.state == "submitted":
                return self._moved("sched", event.timestamp)
        elif name == "alloc":
            self.hosts = _joined(hosts)
        elif name == "start":
            self.start = event.timestamp
            return self._moved("run", event.timestamp, hosts=self.hosts)
        elif name == "finish":
            self.finished, self.status = event.timestamp, int(context.get("status", -1))
        elif name == "exception":
            if context.get("severity", 0) == 0 and self.exception is None:
                self.exception = (str(context.get("type", "")), str(context.get("note", "")))
        elif name == "clean":
            return self._end(event.timestamp)
        return None

    def _moved(self, state: str, at: float, **fields: Any) -> JobEvent:
        self.state = state
        return JobEvent(self.member, self.ref[0], state, at, attempt=self.ref[1], native_id=self.name, **fields)

    def _end(self, at: float) -> JobEvent:
        code, signal = _decoded(self.status)
        outcome, reason, text = "success", "", ""
        if self.exception is not None:
            kind, text = self.exception
            if kind == "cancel" and self.evicted:
                text = text or "its Flux instance has ended"
            outcome, reason = self._by_exception(kind, text)
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


def _decoded(status: int) -> tuple[int, int]:
    """Exit code (-1: none) and signal (0: none) of a wait status; the job shell tells a signal as 128 + its number."""
    if status < 0:
        return -1, 0
    if os.WIFSIGNALED(status):
        return -1, os.WTERMSIG(status)
    code = os.WEXITSTATUS(status)
    return (-1, code - 128) if 128 < code <= 192 else (code, 0)


def _joined(hosts: tuple[str, ...]) -> str:
    return ",".join(hosts)
