"""Handing the jobs of one `Submit` to a member."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from ensemble.engine import Engine
from ensemble.members.contract import Member, Refused, Unknown
from ensemble.model.decisions import Span, Submit
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
    engine: Engine,
    command: Submit,
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
    for part in _parts(command, min(CHUNK, pace.portion) if pace else CHUNK):
        jobs = _rendered(engine, part, refused)
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


def _parts(command: Submit, most: int = CHUNK) -> Iterator[Submit]:
    """The command in pieces of at most so many jobs, so that no piece keeps the loop for long."""
    spans: list[Span] = []
    room = most
    for span in command.spans:
        first, left = span.first, span.count
        while left:
            count = min(left, room)
            spans.append(Span(span.group, span.point, first, count, span.attempt))
            first, left, room = first + count, left - count, room - count
            if not room:
                yield Submit(command.id, command.member, tuple(spans))
                spans, room = [], most
    if spans:
        yield Submit(command.id, command.member, tuple(spans))


def _rendered(engine: Engine, part: Submit, refused: list[tuple[str, int, str, bool]]) -> list[JobSpec]:
    """Each job's full description; one that cannot be written down is refused, and the others go."""
    try:
        return engine.job_specs(part)
    except InputError:
        pass
    jobs: list[JobSpec] = []
    for span in part.spans:
        for number in range(span.first, span.first + span.count):
            one = Submit(part.id, part.member, (Span(span.group, span.point, number, 1, span.attempt),))
            try:
                jobs += engine.job_specs(one)
            except InputError as error:
                refused.append((f"{span.group}-{number}", span.attempt, str(error), False))
    return jobs
