"""Handing the jobs of one `Submit` to a member."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ensemble.engine import EngineView, Submission
from ensemble.members.contract import Member, Refused, Unknown
from ensemble.model.errors import InputError, MemberError
from ensemble.model.events import SubmitAnswered
from ensemble.model.jobs import JobSpec
from ensemble.runtime.pace import Pace

CHUNK: Final = 512
"""Jobs handed over in one call."""

BUSY: Final = (0.2, 0.8)
"""Seconds before each repetition for jobs that the member cannot take just now; then the engine decides."""


async def submit(
    member: Member,
    view: EngineView,
    command: Submission,
    pace: Pace | None = None,
    urgent: Callable[[], bool] = lambda: False,
) -> SubmitAnswered:
    """Hand over all jobs of a command that are still to run, no faster than `pace`; say what the member made of them.

    What has not gone when something `urgent` waits (a cancel) is refused for now: the engine knows what to do with it.
    Raises what the member raises. May be called again: a member knows its jobs by their refs.
    """
    refused: list[tuple[str, int, str, bool]] = []
    unknown: list[tuple[str, int]] = []
    held = False
    for part in command.parts(min(CHUNK, pace.portion) if pace else CHUNK):
        jobs = [job for job in _described(part, refused) if view.holds(job.ref.key, job.ref.attempt)]
        held = held or (pace is not None and bool(jobs) and not await pace.take(len(jobs), urgent))
        if held:
            refused += [(job.ref.key, job.ref.attempt, "the submit rate of this server", True) for job in jobs]
            continue
        for delay in (*BUSY, None):
            busy = await _hand_over(member, command.id, jobs, refused, unknown)
            if not busy:
                break
            if delay is None:
                refused += [(job.ref.key, job.ref.attempt, reason, True) for job, reason in busy]
                break
            jobs = [job for job, _ in busy]
            await asyncio.sleep(delay)
    return SubmitAnswered(command.id, command.member, tuple(refused), tuple(unknown))


async def _hand_over(
    member: Member,
    batch: int,
    jobs: list[JobSpec],
    refused: list[tuple[str, int, str, bool]],
    unknown: list[tuple[str, int]],
) -> list[tuple[JobSpec, str]]:
    """Submit some jobs; return those refused for now, each with the reason."""
    if not jobs:
        return []
    receipts = await member.submit(batch, jobs)
    if len(receipts) != len(jobs):
        raise MemberError(f"{len(receipts)} receipts for {len(jobs)} jobs")
    busy: list[tuple[JobSpec, str]] = []
    for job, receipt in zip(jobs, receipts, strict=True):
        if isinstance(receipt, Refused):
            if receipt.transient:
                busy.append((job, receipt.reason))
            else:
                refused.append((job.ref.key, job.ref.attempt, receipt.reason, False))
        elif isinstance(receipt, Unknown):
            unknown.append((job.ref.key, job.ref.attempt))
    return busy


def _described(part: Submission, refused: list[tuple[str, int, str, bool]]) -> list[JobSpec]:
    """Each job's full description; one that cannot be written down is refused, and the others go."""
    try:
        return part.jobs()
    except InputError:
        pass
    jobs: list[JobSpec] = []
    for one in part.parts(1):
        try:
            jobs += one.jobs()
        except InputError as error:
            refused += [(key, attempt, str(error), False) for key, attempt in one.refs()]
    return jobs
