"""Promises about the stream of events, about inventories, and about a restart of the engine or the keeper."""

from __future__ import annotations

__all__ = ["StreamPromises"]

import pytest

from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent
from ensemble.testing.bench import Bench, live
from ensemble.testing.harness import Do

_LONG = 120.0


class StreamPromises:
    """Order and credit, inventory, reopening, epochs."""

    @live
    async def test_an_inventory_holds_queued_running_and_ended_jobs_with_the_last_event(self, bench: Bench) -> None:
        member = await bench.open()
        ended = await bench.run(member, bench.harness.job("a-0", Do(exit_code=3)))
        long = [bench.harness.job(f"b-{i}", Do(_LONG)) for i in range(max(1, bench.hello.cores_up) + 1)]
        await member.submit(2, long)
        keys = [job.ref.key for job in long]
        # which of them has to wait is for the queue to say: Flux numbers what it is handed at once in whatever order
        await bench.until(lambda: [1 for key in keys for e in bench.sink.of(key) if e.state == "run"], "one of b runs")
        found, last = await bench.inventory(member)
        assert found[("a-0", 1)].state == "inactive"
        event = found[("a-0", 1)].event
        assert event is not None
        assert (event.outcome, event.reason, event.exit_code) == (ended.outcome, ended.reason, ended.exit_code)
        assert {ref for ref in found if ref[0].startswith("b-")} == {(key, 1) for key in keys}
        states = [found[key, 1].state for key in keys]
        assert "run" in states
        assert set(states) & {"submitted", "depend", "sched"}
        assert not any(found[key, 1].event for key in keys)
        if "absence-is-proof" in bench.hello.capabilities:
            assert last.complete
        else:
            assert last.complete or last.text
        assert ("nobody-7", 1) not in found

    @live
    async def test_the_inventory_of_a_new_run_is_empty(self, bench: Bench) -> None:
        member = await bench.open()
        found, _ = await bench.inventory(member)
        assert found == {}

    @live
    async def test_a_sink_that_blocks_loses_nothing_and_changes_no_order(self, bench: Bench) -> None:
        member = await bench.open()
        count = bench.harness.burst
        bench.sink.gate.clear()
        await member.submit(1, [bench.harness.job(f"a-{i}") for i in range(count)])
        await bench.sink.waiting.wait()
        # commands are answered although events are not taken
        await member.submit(2, [bench.harness.job("b-0")])
        await bench.inventory_until(
            member, lambda found: len(found) == count + 1 and all(item.state == "inactive" for item in found.values())
        )
        assert not bench.sink.events
        bench.sink.gate.set()
        await bench.all_ended(count + 1)
        assert bench.sink.numbers() == list(range(1, len(bench.sink.numbers()) + 1))
        for i in range(count):
            assert [e.state for e in bench.sink.of(f"a-{i}")][-2:] == ["run", "inactive"]

    @live
    async def test_one_put_is_under_way_at_a_time(self, bench: Bench) -> None:
        member = await bench.open()
        bench.sink.gate.clear()
        await member.submit(1, [bench.harness.job(f"a-{i}") for i in range(40)])
        await bench.sink.waiting.wait()
        bench.sink.gate.set()
        await bench.all_ended(40)
        assert bench.sink.together == 1

    @live
    async def test_an_engine_that_comes_back_hears_what_is_new_and_nothing_twice(self, bench: Bench) -> None:
        member = await bench.open()
        stream, first = bench.hello.stream, bench.sink
        await bench.run(member, bench.harness.job("a-0"))
        await member.submit(2, [bench.harness.job("b-0", Do(1.0))])
        await bench.running("b-0")
        await bench.close(member, "detach")
        member = await bench.reopen(member)
        if bench.hello.stream != stream:
            found, _ = await bench.inventory(member)
            assert {("a-0", 1), ("b-0", 1)} <= set(found)
            return
        assert (await bench.ended("b-0")).outcome == "success"
        numbers = first.numbers() + bench.sink.numbers()
        assert numbers == list(range(1, len(numbers) + 1))

    @live
    async def test_events_that_were_not_taken_come_again_to_the_next_engine(self, bench: Bench) -> None:
        member = await bench.open()
        stream, first = bench.hello.stream, bench.sink
        await bench.run(member, bench.harness.job("a-0"))
        first.gate.clear()
        first.waiting.clear()
        await member.submit(2, [bench.harness.job("b-0")])
        await first.waiting.wait()
        await bench.close(member, "detach")
        assert not first.of("b-0")
        member = await bench.reopen(member)
        if bench.hello.stream == stream:
            await bench.ended("b-0")
            numbers = first.numbers() + bench.sink.numbers()
            assert numbers == list(range(1, len(numbers) + 1))
        else:
            found, _ = await bench.inventory(member)
            assert ("b-0", 1) in found

    @live
    async def test_an_engine_with_an_unknown_stream_gets_a_name_it_can_tell_apart_and_an_inventory(
        self, bench: Bench
    ) -> None:
        member = await bench.open()
        await bench.run(member, bench.harness.job("a-0"))
        await member.submit(2, [bench.harness.job("b-0", Do(_LONG))])
        await bench.running("b-0")
        await bench.close(member, "detach")
        member = await bench.reopen(member, stream="m@0-unknown", position=7000)
        assert bench.hello.stream
        assert bench.hello.stream != "m@0-unknown"
        found, _ = await bench.inventory(member)
        assert found[("a-0", 1)].state == "inactive"
        assert found[("b-0", 1)].state == "run"
        # a position of another stream says nothing of this one
        await member.cancel([bench.harness.ref("b-0")], 1.0)
        assert (await bench.ended("b-0")).outcome == "cancelled"

    @live
    async def test_a_job_submitted_before_a_restart_is_known_after_it(self, bench: Bench) -> None:
        member = await bench.open()
        bench.needs("exactly-once")
        job = bench.harness.job("a-0", Do(1.0))
        await member.submit(1, [job])
        await bench.running("a-0")
        await bench.close(member, "detach")
        member = await bench.reopen(member)
        (receipt,) = await member.submit(1, [job])
        assert type(receipt).__name__ == "Accepted"
        await bench.ended("a-0")
        if bench.harness.real:
            assert bench.harness.lines("start", "a-0") == ["start a-0 1"]

    @live
    async def test_a_lower_epoch_is_refused_for_good_and_disturbs_nobody(self, bench: Bench) -> None:
        member = await bench.open(epoch=5)
        await member.submit(1, [bench.harness.job("a-0", Do(0.5))])
        late = bench.harness.member() if "durable" in bench.hello.capabilities else member
        with pytest.raises(MemberError) as error:
            await late.open(bench.harness.context(bench.sink, epoch=4, resumed=True))
        assert not error.value.transient
        assert (await bench.ended("a-0")).outcome == "success"

    @live
    async def test_jobs_outlive_the_process_behind_the_member_or_are_told_as_lost(self, bench: Bench) -> None:
        bench.needs_kill()
        member = await bench.open()
        job = bench.harness.job("a-0", Do(1.0))
        ended = await bench.run(member, bench.harness.job("b-0"))
        await member.submit(1, [job])
        await bench.running("a-0")
        await bench.harness.kill()
        await bench.until(
            lambda: any(getattr(e, "name", "") == "down" for e in bench.sink.events), "the member is down"
        )
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        event = found[("b-0", 1)].event
        assert event is not None
        assert (event.outcome, event.exit_code) == (ended.outcome, ended.exit_code)
        last: JobEvent | None = found[("a-0", 1)].event
        if last is None:
            last = await bench.ended("a-0")
        assert last.outcome in ("success", "lost")
        assert bench.harness.lines("start", "a-0") == ["start a-0 1"]

    @live
    async def test_calls_to_a_member_whose_process_is_gone_raise_what_may_be_tried_again(self, bench: Bench) -> None:
        bench.needs_kill()
        member = await bench.open()
        await bench.harness.kill()
        await bench.until(
            lambda: any(getattr(e, "name", "") == "down" for e in bench.sink.events), "the member is down"
        )
        with pytest.raises(MemberError) as error:
            await member.submit(1, [bench.harness.job("a-0")])
        assert error.value.transient
