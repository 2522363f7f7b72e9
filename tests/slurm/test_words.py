"""What is read from the words of Slurm's commands."""

from __future__ import annotations

import pytest

from ensemble.members.batch.slurm import refusal

POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("errors", "transient"),
    [
        ("sbatch: error: AssocMaxSubmitJobLimit\n" + POLICY, True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + POLICY, True),
        ("sbatch: error: QOSMaxWallDurationPerJobLimit\n" + POLICY, False),
        (POLICY, True),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", False),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", True),
    ],
)
def test_a_limit_that_a_job_can_never_meet_is_refused_for_good_and_a_full_queue_is_not(
    errors: str, transient: bool
) -> None:
    assert refusal(errors).transient is transient


def test_the_limit_is_named() -> None:
    said = str(refusal("sbatch: error: QOSMaxWallDurationPerJobLimit\n" + POLICY))
    assert said.startswith("QOSMaxWallDurationPerJobLimit: Job violates")
