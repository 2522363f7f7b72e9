"""The messages of the job manager's journal, as far as they are read."""

from __future__ import annotations

__all__ = ["SENTINEL", "Entry", "Event", "Granted", "Jobspec", "Mark"]

from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.model.jobs import OutputSpec

SENTINEL: Final = -1
"""The id of the entry between the journal's past and what comes live."""


class Event(Struct, frozen=True, gc=False):
    """One event of a job (RFC 18, RFC 21)."""

    timestamp: float
    name: str
    context: dict[str, Any] = {}


class Mark(Struct, frozen=True, omit_defaults=True):
    """What travels with a job of ours, as `attributes.user.ensemble`: whose it is, and how its end is read."""

    token: str
    run: str
    member: str
    group: str
    key: str
    attempt: int
    epoch: int = 0
    workdir: str = ""
    outputs: tuple[OutputSpec, ...] = ()
    keep: str = "all"
    phases: bool = False
    """Whether the script writes down which of its parts failed."""
    urgency: int = -1
    """The urgency with which it is released; -1: that of the member."""

    @property
    def in_files(self) -> bool:
        """Whether files complete this job's end, or are to be removed after it."""
        return self.reads_files or self.keep != "all"

    @property
    def reads_files(self) -> bool:
        """Whether files complete this job's end."""
        return bool(self.outputs) or self.phases

    def removed(self, outcome: str) -> bool:
        """Whether the files of a job that ended so are to be removed."""
        return self.keep == "none" or (self.keep == "failed" and outcome == "success")


class System(Struct, frozen=True, gc=False):
    """What is read of the attributes that Flux itself looks at."""

    queue: Any = ""


class Attributes(Struct, frozen=True, gc=False):
    """What is read of a jobspec's attributes (RFC 14)."""

    system: System = System()
    user: Any = None
    """Any value: Flux does not check it, and the journal has the jobs of all users."""


class Jobspec(Struct, frozen=True, gc=False):
    """What is read of a jobspec."""

    attributes: Attributes = Attributes()

    def mark(self, token: str) -> Mark | None:
        """Our mark, where the job is one of this token's."""
        user = self.attributes.user
        given = user.get("ensemble") if isinstance(user, dict) else None
        if not isinstance(given, dict) or given.get("token") != token:
            return None
        try:
            return msgspec.convert(given, Mark)
        except msgspec.ValidationError:
            return None


class Execution(Struct, frozen=True, gc=False):
    """What is read of the execution part of R."""

    nodelist: tuple[str, ...] = ()


class Granted(Struct, frozen=True, gc=False):
    """What is read of R, the resources that a job was given (RFC 20)."""

    execution: Execution = Execution()


class Entry(Struct, frozen=True, gc=False):
    """One message of the job manager's journal: events of one job; with `submit` its jobspec, with `alloc` its R."""

    id: int
    events: tuple[Event, ...] = ()
    jobspec: Jobspec | None = None
    R: Granted | None = None
