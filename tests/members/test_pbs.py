"""The PBS member keeps the contract, on a stand-in of PBS."""

from __future__ import annotations

from ensemble.testing import MemberConformance
from tests.pbs.cluster import PbsHarness


class TestPbs(MemberConformance):
    harness_type = PbsHarness
