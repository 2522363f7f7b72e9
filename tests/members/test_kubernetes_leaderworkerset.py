"""The member for LeaderWorkerSets keeps the contract, with real pods."""

from __future__ import annotations

import json

import pytest

from ensemble.testing import Bench, MemberConformance, live
from tests.members.kubernetes import LeaderWorkerSetHarness


class TestLeaderWorkerSet(MemberConformance):
    harness_type = LeaderWorkerSetHarness

    def test_no_event_is_put_after_close_has_returned(self) -> None:
        pytest.skip("a group that has ended keeps its cores until a member deletes it, so the jobs behind it wait")

    @live
    async def test_a_group_that_has_ended_is_deleted_before_the_engine_learns_of_it(self, bench: Bench) -> None:
        # its pods would begin again and again, and the engine may let go of the member at its last end
        member = await bench.open()
        await bench.run(member, bench.harness.job("a-0"))
        left = json.loads(bench.harness.namespace.kubectl("get", "leaderworkersets", "-o", "json"))["items"]
        assert all(one["metadata"].get("deletionTimestamp") for one in left)
