"""The last look at an event before it enters a record: JSON has no infinity, and no record may have one."""

from __future__ import annotations

from math import isfinite

from msgspec.structs import replace

from ensemble.model.events import JobEvent


def sound(event: JobEvent, at: float) -> JobEvent:
    """The event as a record may hold it: a figure that is not a finite number counts as missing, a time that is none
    is `at` (where the attempt's start is none, it is unknown)."""
    if not isfinite(event.time):
        event = replace(event, time=at)
    if not isfinite(event.start):
        event = replace(event, start=0.0)
    if event.figures and not all(map(isfinite, event.figures.values())):
        good = {name: value for name, value in event.figures.items() if isfinite(value)}
        bad = (name for name in event.figures if name not in good)
        event = replace(event, figures=good or None, missing=tuple(dict.fromkeys((*event.missing, *bad))))
    return event
