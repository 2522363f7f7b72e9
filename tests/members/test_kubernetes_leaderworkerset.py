"""The member for LeaderWorkerSets keeps the contract, with real pods."""

from __future__ import annotations

from ensemble.testing import MemberConformance
from tests.members.kubernetes import LeaderWorkerSetHarness


class TestLeaderWorkerSet(MemberConformance):
    harness_type = LeaderWorkerSetHarness
