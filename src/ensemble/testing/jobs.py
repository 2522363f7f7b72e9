"""Promises about jobs: submission, order of events, ends, attempts."""

from __future__ import annotations

__all__ = ["JobPromises"]

from ensemble.members.contract import CAPABILITIES, Refused
from ensemble.model.jobs import STATES
from ensemble.testing.bench import Bench, live, refusals
from ensemble.testing.harness import Do


class JobPromises:
    """Submission, ends, attempts."""

    @live
    async def test_hello_names_a_stream_sizes_and_only_capabilities_that_exist(self, bench: Bench) -> None:
        await bench.open()
        hello = bench.hello
        assert hello.stream
        assert hello.capabilities <= {*CAPABILITIES, "reopen"}
        assert hello.nodes_up != 0
        assert hello.cores_up != 0
        if hello.nodes_up > 0 and hello.nodes_free > 0:
            assert hello.nodes_free <= hello.nodes_up
        if hello.cores_up > 0 and hello.cores_free > 0:
            assert hello.cores_free <= hello.cores_up

    @live
    async def test_a_submitted_job_is_accepted_runs_and_ends_with_success(self, bench: Bench) -> None:
        member = await bench.open()
        event = await bench.run(member, bench.harness.job("a-0"))
        assert (event.member, event.outcome, event.reason, event.signal) == ("m", "success", "", 0)
        if bench.harness.real:
            assert event.exit_code == 0
            assert bench.harness.lines("end", "a-0") == ["end a-0 1"]

    @live
    async def test_events_of_an_attempt_come_in_order_and_n_rises_by_one_from_1(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job(f"a-{i}", Do(0.05)) for i in range(8)])
        await bench.all_ended(8)
        for i in range(8):
            events = bench.sink.of(f"a-{i}")
            states = [STATES.index(event.state) for event in events]
            assert states == sorted(set(states)), [event.state for event in events]
            assert [event.state for event in events][-2:] == ["run", "inactive"]
            times = [event.time for event in events]
            assert times == sorted(times)
            assert times[0] > 0
        assert bench.sink.numbers() == list(range(1, len(bench.sink.numbers()) + 1))

    @live
    async def test_exit_code_3_is_failed_for_exit(self, bench: Bench) -> None:
        member = await bench.open()
        event = await bench.run(member, bench.harness.job("a-0", Do(exit_code=3)))
        assert (event.outcome, event.reason, event.exit_code) == ("failed", "exit", 3)

    @live
    async def test_a_batch_sent_twice_is_answered_the_same_and_runs_once(self, bench: Bench) -> None:
        member = await bench.open()
        bench.needs("exactly-once")
        jobs = [bench.harness.job("a-0", Do(0.1)), bench.harness.impossible("b-0"), bench.harness.job("a-1")]
        first = await member.submit(7, jobs)
        second = await member.submit(7, jobs)
        assert refusals(first) == refusals(second) == ["Accepted", "Refused", "Accepted"]
        await bench.all_ended(2)
        assert refusals(await member.submit(7, jobs)) == refusals(first)
        # a later job has ended: whatever the third sending started would have begun before
        await bench.run(member, bench.harness.job("z-0"))
        assert sorted(e.key for e in bench.sink.ends()) == ["a-0", "a-1", "z-0"]
        if bench.harness.real:
            assert sorted(bench.harness.lines("start")) == ["start a-0 1", "start a-1 1", "start z-0 1"]

    @live
    async def test_an_impossible_job_is_refused_for_good_with_the_reason(self, bench: Bench) -> None:
        member = await bench.open()
        (receipt,) = await member.submit(1, [bench.harness.impossible("a-0")])
        assert isinstance(receipt, Refused), receipt
        assert receipt.reason
        assert not receipt.transient
        assert not bench.sink.of("a-0")
