"""Why jobs wait in Flux: the scheduler's own words where it gives them, else what the journal shows. Needs no Flux."""

from __future__ import annotations

__all__ = ["reasons"]

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ensemble.members.flux.job import FluxJob
from ensemble.members.flux.sizes import Sizes
from ensemble.model.wording import counted


def reasons(jobs: Iterable[FluxJob], sizes: Sizes, stopped: Mapping[str, str]) -> dict[str, int]:
    """Return how many of these jobs wait for which reason.

    `stopped` names the queues in which nothing is scheduled, each with the reason that was given, if any.
    """
    found: Counter[str] = Counter()
    for_resources, first = 0, 0.0
    for job in jobs:
        if not job.waits:
            continue
        reason = _of_one(job, stopped)
        if reason:
            found[reason] += 1
            continue
        for_resources += 1
        with suppress(TypeError, ValueError):
            estimate = float(job.annotations.get("t_estimate", 0.0))
            first = min(first, estimate) if first and estimate else first or estimate
    if for_resources:
        found[_resources(sizes, first)] += for_resources
    return dict(found)


def _of_one(job: FluxJob, stopped: Mapping[str, str]) -> str:
    """Why this job waits; empty where it waits for resources."""
    if job.held:
        return "held in Flux (urgency 0)" if job.released else "held by this ensemble until Flux has confirmed it"
    if job.dependencies:
        # the part after `=` names another job, so it would make a reason for each
        return "dependency: " + ", ".join(sorted({one.partition("=")[0] for one in job.dependencies}))
    if job.queue in stopped:
        name = f"queue {job.queue}" if job.queue else "the queue"
        return f"{name} is stopped" + (f": {stopped[job.queue]}" if stopped[job.queue] else "")
    return str(job.annotations.get("reason_pending", ""))


def _resources(sizes: Sizes, first: float) -> str:
    """`first`: when the first of the jobs is expected to start, in seconds since the epoch; 0: unknown."""
    words = ["resources"]
    if missing := sizes.nodes_all - sizes.nodes_up:
        words.append(f"{missing} of {counted(sizes.nodes_all, 'node')} down or drained")
    if first:
        words.append(f"the first is expected to start at {time.strftime('%H:%M', time.gmtime(first))} UTC")
    return ", ".join(words)
