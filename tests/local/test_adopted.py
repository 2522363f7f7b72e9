"""What still holds for jobs whose keeper was killed, under the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.testing import Do, MemberHarness
from ensemble.testing.bench import Bench, live
from tests.members.harnesses import LocalHarness


class TestAdopted:
    @pytest.fixture
    def harness(self, tmp_path: Path) -> MemberHarness:
        return LocalHarness(tmp_path)

    @live
    async def test_a_walltime_is_kept_by_the_next_keeper(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(1000), walltime=3.0)])
        await bench.running("a-0")
        await bench.harness.kill()
        await bench.reopen(member)
        end = await bench.ended("a-0")
        assert (end.outcome, end.reason) == ("failed", "walltime")
        assert end.time - end.start >= 3.0
