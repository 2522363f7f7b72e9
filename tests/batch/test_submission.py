"""How jobs become arrays, without a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ensemble.members.batch.attempts import Attempts
from ensemble.members.batch.commands import Commands
from ensemble.members.batch.dialect import Limits, Sizes, SubmissionRefused
from ensemble.members.batch.slurm import Slurm
from ensemble.members.batch.submission import Submission
from ensemble.members.contract import Accepted, Context, Refused
from ensemble.model.jobs import AttemptRef, JobSpec
from ensemble.testing.bench import RecordingSink


class Queue(Slurm):
    """Takes arrays while there is room, and remembers their sizes."""

    room = 1_000_000

    async def submit(self, array: str, count: int, request: Sequence[str], script: str) -> str:
        if count > self.room:
            raise SubmissionRefused("job queue full", full=True)
        self.room -= count
        self.sizes_sent = [*getattr(self, "sizes_sent", []), count]
        return str(len(self.sizes_sent))


def submission(run: Path) -> tuple[Submission, Queue]:
    queue = Queue(Commands({}, ()), "ensemble:r:m:", {})
    attempts = Attempts(Context("r", "m", str(run), 1, RecordingSink()), queue)
    attempts.spool.open(1, "m@1-0")
    return Submission(attempts, queue, Sizes(4, 4, 16, 16, 4, 16, 4), Limits(300, 300.0)), queue


def jobs(first: int, count: int) -> list[JobSpec]:
    numbers = range(first, first + count)
    return [JobSpec(AttemptRef("r", f"a-{i}"), "a", f"jobs/a-{i}", command=("true",)) for i in numbers]


def test_an_idle_cluster_gets_a_small_array_first_and_a_busy_one_as_large_ones_as_it_takes(tmp_path: Path) -> None:
    made, queue = submission(tmp_path)
    assert all(isinstance(receipt, Accepted) for receipt in asyncio.run(made.submit(jobs(0, 700))))
    assert queue.sizes_sent == [32, 128, 300, 240]
    asyncio.run(made.submit(jobs(700, 300)))
    assert queue.sizes_sent[4:] == [300]


def test_a_queue_that_is_nearly_full_is_filled_and_the_rest_may_come_again(tmp_path: Path) -> None:
    made, queue = submission(tmp_path)
    queue.room = 50
    receipts = asyncio.run(made.submit(jobs(0, 200)))
    left = [receipt for receipt in receipts if isinstance(receipt, Refused)]
    assert (queue.room, len(left), all(receipt.transient for receipt in left)) == (0, 150, True)
