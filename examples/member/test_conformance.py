"""The suite over a member of one's own."""

from __future__ import annotations

from ensemble_processes import ProcessMember

from ensemble.members.contract import Member
from ensemble.testing import MemberConformance, MemberHarness


class ProcessHarness(MemberHarness):
    """How the suite makes it."""

    def member(self) -> Member:
        """One that is not open yet."""
        return ProcessMember()


class TestProcesses(MemberConformance):
    """Each test is one promise."""

    harness_type = ProcessHarness
