"""The members that come with the package keep the contract."""

from __future__ import annotations

from ensemble.testing import MemberConformance
from tests.members.harnesses import LocalHarness, SimulatedHarness


class TestLocal(MemberConformance):
    harness_type = LocalHarness


class TestSimulated(MemberConformance):
    harness_type = SimulatedHarness
