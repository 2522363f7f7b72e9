"""The member for Jobs keeps the contract, with real pods."""

from __future__ import annotations

from ensemble.testing import MemberConformance
from tests.members.kubernetes import JobHarness


class TestJob(MemberConformance):
    harness_type = JobHarness
