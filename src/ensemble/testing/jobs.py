"""Promises about jobs: submission, order of events, ends, attempts."""

from __future__ import annotations

__all__ = ["JobPromises"]

import pytest

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
        assert hello.capabilities <= {*CAPABILITIES}
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

    @live
    async def test_an_end_by_signal_9_is_failed_for_signal(self, bench: Bench) -> None:
        member = await bench.open()
        event = await bench.run(member, bench.harness.job("a-0", Do(signal=9)))
        assert (event.outcome, event.reason, event.signal) == ("failed", "signal", 9)

    @live
    async def test_a_program_that_is_not_there_is_failed_for_launch_with_its_name(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        event = await bench.run(member, bench.harness.job("a-0", command=("no-such-program-here", "x")))
        assert (event.outcome, event.reason) == ("failed", "launch")
        assert "no-such-program-here" in event.text

    @live
    async def test_a_job_that_outlives_its_walltime_is_failed_for_walltime(self, bench: Bench) -> None:
        member = await bench.open()
        bench.needs("walltime")
        if not bench.harness.walltime:
            pytest.skip("the harness says that this back end enforces no walltime soon")
        seconds = bench.harness.walltime
        event = await bench.run(member, bench.harness.job("a-0", Do(120 + seconds), walltime=seconds))
        assert (event.outcome, event.reason) == ("failed", "walltime")
        assert not bench.harness.lines("end", "a-0")

    @live
    async def test_each_attempt_ends_exactly_once_whatever_its_end(self, bench: Bench) -> None:
        member = await bench.open()
        does = [Do(), Do(exit_code=3), Do(signal=9), Do(0.1), Do(exit_code=255)]
        await member.submit(1, [bench.harness.job(f"a-{i}", do) for i, do in enumerate(does)])
        await bench.all_ended(len(does))
        # ends that were sent twice would come before that of a job which is submitted only now
        await bench.run(member, bench.harness.job("z-0"))
        assert sorted(e.key for e in bench.sink.ends()) == [*(f"a-{i}" for i in range(len(does))), "z-0"]

    @live
    async def test_a_ref_in_another_batch_is_accepted_and_runs_once(self, bench: Bench) -> None:
        member = await bench.open()
        bench.needs("exactly-once")
        job = bench.harness.job("a-0", Do(0.1))
        for batch in (1, 2, 3):
            assert refusals(await member.submit(batch, [job])) == ["Accepted"]
        await bench.ended("a-0")
        assert refusals(await member.submit(4, [job])) == ["Accepted"]
        await bench.run(member, bench.harness.job("z-0"))
        assert [e.key for e in bench.sink.ends()] == ["a-0", "z-0"]
        if bench.harness.real:
            assert bench.harness.lines("start", "a-0") == ["start a-0 1"]

    @live
    async def test_a_refused_job_does_not_keep_its_batch_from_running(self, bench: Bench) -> None:
        member = await bench.open()
        jobs = [bench.harness.impossible("a-0"), bench.harness.job("a-1")]
        assert refusals(await member.submit(1, jobs)) == ["Refused", "Accepted"]
        assert (await bench.ended("a-1")).outcome == "success"

    @live
    async def test_a_retry_is_another_attempt_and_a_late_cancel_of_the_first_does_not_touch_it(
        self, bench: Bench
    ) -> None:
        member = await bench.open()
        first = await bench.run(member, bench.harness.job("a-0", Do(exit_code=3)))
        assert (first.attempt, first.outcome) == (1, "failed")
        await member.submit(2, [bench.harness.job("a-0", Do(1.0), attempt=2)])
        await bench.running("a-0", 2)
        assert refusals(await member.cancel([bench.harness.ref("a-0", 1)], 0.1)) == ["Accepted"]
        second = await bench.ended("a-0", 2)
        assert (second.attempt, second.outcome) == (2, "success")
        assert len([e for e in bench.sink.ends() if e.key == "a-0"]) == 2

    @live
    async def test_jobs_that_wait_are_counted_by_the_reason_until_none_waits(self, bench: Bench) -> None:
        member = await bench.open()
        bench.needs("reasons")
        first, _ = await bench.fill(member, 2)
        await bench.until(lambda: sum(bench.waiting().values()) == 2, "2 jobs wait")
        assert all(bench.waiting()), "each reason has words"
        await member.cancel([job.ref for job in first], 0.1)
        await bench.until(lambda: bench.waiting() == {}, "no job waits")
