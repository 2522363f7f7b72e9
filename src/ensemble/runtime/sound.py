"""What a member says is looked at before it is believed: the engine and the journal take only what makes sense."""

from __future__ import annotations

import math
import time

import msgspec

from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import OUTCOMES, STATES

Incoming = JobEvent | NativeEvent | MemberEvent

_STATES = frozenset(STATES)
_OUTCOMES = frozenset(OUTCOMES)


def sound(event: Incoming, member: str) -> Incoming | None:
    """The event as the engine may have it, or None for one that means nothing.

    A figure that is not a finite number counts as missing, a time that is none is now, and a member speaks only for
    itself.
    """
    if event.member != member:
        event = msgspec.structs.replace(event, member=member)
    if not math.isfinite(event.time):
        event = msgspec.structs.replace(event, time=time.time())
    if isinstance(event, JobEvent):
        return _sound_job(event)
    return event


def _sound_job(event: JobEvent) -> JobEvent | None:
    if event.state not in _STATES or (event.state == "inactive" and event.outcome not in _OUTCOMES):
        return None
    if not math.isfinite(event.start):
        event = msgspec.structs.replace(event, start=0.0)
    if event.figures and not all(map(math.isfinite, event.figures.values())):
        good = {name: value for name, value in event.figures.items() if math.isfinite(value)}
        missing = tuple(dict.fromkeys((*event.missing, *(name for name in event.figures if name not in good))))
        event = msgspec.structs.replace(event, figures=good or None, missing=missing)
    try:
        if not event.text.isascii():
            event.text.encode()
    except UnicodeEncodeError:
        event = msgspec.structs.replace(event, text=event.text.encode(errors="replace").decode())
    return event
