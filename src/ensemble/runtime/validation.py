"""What a member reports is checked before the engine and the journal have it."""

from __future__ import annotations

__all__ = ["Incoming", "validated"]

import math
import time

from msgspec.structs import replace

from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import FINISHED, OUTCOMES, STATES

Incoming = JobEvent | NativeEvent | MemberEvent

_STATES = frozenset(STATES)
_OUTCOMES = frozenset(OUTCOMES)


def validated(event: Incoming, member: str) -> Incoming | None:
    """The event as the engine may have it, or None for one that means nothing.

    A member reports only for itself, and text must be Unicode. Of a job's event, the engine itself replaces figures and
    times that are not finite numbers.
    """
    if event.member != member:
        event = replace(event, member=member)
    if not isinstance(event, JobEvent):
        return event if math.isfinite(event.time) else replace(event, time=time.time())
    if event.state not in _STATES or (event.state == FINISHED and event.outcome not in _OUTCOMES):
        return None
    try:
        if not event.text.isascii():
            event.text.encode()
    except UnicodeEncodeError:
        event = replace(event, text=event.text.encode(errors="replace").decode())
    return event
