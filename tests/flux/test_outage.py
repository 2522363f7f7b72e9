"""A broker that is there and does not answer: the member says so, and its jobs go on."""

from __future__ import annotations

import pytest

from ensemble.members.flux import member as flux_member
from ensemble.members.flux.member import PING_SECONDS, SILENCE_SECONDS
from ensemble.testing import Do
from ensemble.testing.bench import Bench, live
from tests.flux import test_faults as faults
from tests.flux.test_faults import another, downs

flux, harness = faults.flux, faults.harness


def test_an_outage_of_40_s_is_noticed_in_time() -> None:
    assert PING_SECONDS + SILENCE_SECONDS <= 30


class TestOutage:
    @live
    async def test_a_broker_that_does_not_answer_is_down_and_its_job_ends_well_when_it_answers_again(
        self, bench: Bench
    ) -> None:
        with another() as own, pytest.MonkeyPatch.context() as patch:
            patch.setattr(flux_member, "PING_SECONDS", 0.1)
            patch.setattr(flux_member, "SILENCE_SECONDS", 1.0)
            options = {"uri": own.uri}
            member = await bench.open(options=options)
            await member.submit(1, [bench.harness.job("a-0", Do(1.0))])
            await bench.running("a-0")
            own.halt()
            try:
                await bench.until(lambda: downs(bench), "it is down")
            finally:
                own.go_on()
            member = await bench.reopen(member, options=options)
            found = await bench.inventory_until(member, lambda found: found["a-0", 1].event is not None)
            end = found["a-0", 1].event
            assert end is not None
            assert end.outcome == "success"
            assert bench.harness.lines("start") == ["start a-0 1"]
            await bench.close(member, "detach")
