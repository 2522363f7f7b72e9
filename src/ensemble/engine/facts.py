"""What people and their functions learn about one job."""

from __future__ import annotations

__all__ = ["JobFacts", "described", "facts", "find"]

import os.path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from ensemble.engine.backlog import waits
from ensemble.engine.state import Job, State
from ensemble.model.jobs import split_key

if TYPE_CHECKING:
    from ensemble.engine.build import Builder


class JobFacts(Struct, frozen=True, gc=False, array_like=True):
    """A job as it was at an event. `duration` in seconds, on its member's clock; None when it has not run to an end.

    `outcome` is empty while the job is not over; `attempt` is 0 where no member was ever given the job.
    """

    key: str
    group: str
    point: int
    attempt: int
    outcome: str = ""
    reason: str = ""
    duration: float | None = None
    figures: dict[str, float] = {}


_NO_FIGURES: Final[dict[str, float]] = {}


def facts(job: Job) -> JobFacts:
    """What is to be known of a job, as it is now."""
    last = job.last
    duration = None
    if last is not None and job.run_time:
        duration = max(0.0, (job.ended or last.time) - job.run_time)
    figures = (last.figures if last is not None else None) or _NO_FIGURES
    outcome = job.outcome or (last.outcome if last is not None else "")
    reason = job.reason or (last.reason if last is not None else "")
    return JobFacts(job.key, job.group.name, job.point.index, job.attempt, outcome, reason, duration, figures)


def find(state: State, key: str) -> JobFacts | None:
    """A job that is not over; None when there is none of that key."""
    job = state.jobs.get(key)
    if job is not None:
        return facts(job)
    if not waits(state, key):
        return None
    name, number = split_key(key)
    for span in state.groups[name].backlog:
        if span.first <= number < span.first + span.count:
            return JobFacts(key, name, span.point, 0)
    return None


def described(state: State, builder: Builder, job: JobFacts) -> dict[str, Any]:
    """The job as plain data, with its parameters and the directory of its attempt."""
    group = state.groups[job.group]
    point = group.points[job.point]
    workdir = builder.job_spec(group, point, split_key(job.key)[1], max(1, job.attempt), ()).workdir
    return {
        "key": job.key,
        "group": job.group,
        "parameters": dict(point.values),
        "figures": dict(job.figures),
        "outcome": job.outcome,
        "reason": job.reason,
        "duration": job.duration,
        "attempt": job.attempt,
        "directory": os.path.join(state.run_dir, workdir),
    }
