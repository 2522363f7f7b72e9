"""EASY backfill: a waiting job may go before the head of the queue where it does not delay it.

The head gets a reservation: the time at which, by what the scheduler expects of the running jobs, it will fit. A later
job starts now if it is over by then, or if the head still fits beside it (Lifka, The ANL/IBM SP scheduling system,
JSSPP 1995).
"""

from __future__ import annotations

__all__ = ["start_behind"]

from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from ensemble.simulation.jobs import QUEUED, JobShape, SimulatedJob
from ensemble.simulation.pool import Pool

if TYPE_CHECKING:
    from ensemble.simulation.queue import SimulatedQueue


def start_behind(queue: SimulatedQueue) -> None:
    """Start what may go before the head, which waits for its place."""
    waiting, pool = queue.waiting, queue.pool
    head = waiting[0]
    hopeless: dict[JobShape, None] = {head.shape: None}
    """What did not fit a moment ago, so neither do others like it."""
    reservation: tuple[float, Pool] | None = None
    begun: list[int] = []
    for place, job in enumerate(islice(waiting, 1, 1 + queue.options.depth), 1):
        if job.state != QUEUED or job.shape in hopeless:
            continue
        placement = pool.take(job.shape.need)
        if placement is None:
            hopeless[job.shape] = None
            continue
        if reservation is None:
            # looked ahead from before this job took its place
            pool.give(placement)
            reservation = _reserve(queue, head)
            placement = pool.take(job.shape.need)
            assert placement is not None
        shadow, ahead = reservation
        if queue.now + queue.expected(job) > shadow and not _beside(ahead, placement, head):
            pool.give(placement)
            if job.shape.walltime:
                hopeless[job.shape] = None
            continue
        job.placement = placement
        queue.start(job)
        begun.append(place)
    for place in reversed(begun):
        del waiting[place]


def _reserve(queue: SimulatedQueue, head: SimulatedJob) -> tuple[float, Pool]:
    """When the head will fit, and what will be free then (itself not counted)."""
    ahead = queue.pool.copy()
    for ends, job in sorted(
        ((job.started + queue.expected(job), job) for job in queue.running), key=lambda pair: pair[0]
    ):
        ahead.give(job.placement)
        if _fits(ahead, head):
            return max(ends, queue.now), ahead
    return inf, ahead


def _fits(pool: Pool, job: SimulatedJob) -> bool:
    placement = pool.take(job.shape.need)
    if placement is None:
        return False
    pool.give(placement)
    return True


def _beside(ahead: Pool, placement: tuple[tuple[int, int, int], ...], head: SimulatedJob) -> bool:
    """Whether the head still fits at its time when this is taken; if so, it stays taken."""
    if not ahead.claim(placement):
        return False
    if _fits(ahead, head):
        return True
    ahead.give(placement)
    return False
