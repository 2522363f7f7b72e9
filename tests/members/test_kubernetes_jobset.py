"""The member for JobSets keeps the contract, with real pods."""

from __future__ import annotations

from ensemble.testing import MemberConformance
from tests.members.kubernetes import JobSetHarness


class TestJobSet(MemberConformance):
    harness_type = JobSetHarness
