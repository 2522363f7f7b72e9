"""Promises about closing a member, and about calls that are cancelled."""

from __future__ import annotations

__all__ = ["ClosePromises"]

import asyncio
import contextlib
from collections.abc import Sequence

from ensemble.members.contract import Member
from ensemble.model.jobs import JobSpec
from ensemble.testing.bench import Bench, live, refusals
from ensemble.testing.harness import Do


class ClosePromises:
    """Close in each mode; cancelled calls."""

    @live
    async def test_after_a_drain_what_ran_has_ended_by_itself(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(0.5))])
        await bench.running("a-0")
        await bench.close(member, "drain")
        assert [(e.key, e.outcome) for e in bench.sink.ends()] == [("a-0", "success")]
        if bench.harness.real:
            assert bench.harness.lines("end") == ["end a-0 1"]

    @live
    async def test_close_with_cancel_ends_what_runs_and_starts_nothing_more(self, bench: Bench) -> None:
        member = await bench.open()
        first, behind = await bench.fill(member, 2)
        await bench.close(member, "cancel")
        outcomes = {e.key: e.outcome for e in bench.sink.ends()}
        assert outcomes == {job.ref.key: "cancelled" for job in first + behind}
        assert not bench.harness.lines("end")
        if bench.harness.real:
            assert sorted(bench.harness.lines("start")) == sorted(f"start {job.ref.key} 1" for job in first)

    @live
    async def test_close_with_detach_leaves_jobs_running_and_they_are_found_again(self, bench: Bench) -> None:
        member = await bench.open()
        bench.needs("durable")
        await member.submit(1, [bench.harness.job("a-0", Do(1.0))])
        await bench.running("a-0")
        await bench.close(member, "detach")
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        last = found[("a-0", 1)].event or await bench.ended("a-0")
        assert last.outcome == "success"
        if bench.harness.real:
            assert bench.harness.lines("start") == ["start a-0 1"]
            assert bench.harness.lines("end") == ["end a-0 1"]

    @live
    async def test_no_event_is_put_after_close_has_returned(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job(f"a-{i}", Do(0.1)) for i in range(12)])
        await bench.running("a-0")
        await bench.close(member, "detach")
        events, inside = len(bench.sink.events), bench.sink.inside
        assert inside == 0
        if bench.harness.real and "durable" in bench.hello.capabilities:
            await bench.seen(lambda: len(bench.harness.lines("end")) == 12, "the jobs end")
        else:
            await asyncio.sleep(0.3)
        assert len(bench.sink.events) == events

    @live
    async def test_close_of_an_idle_member_can_be_called_twice(self, bench: Bench) -> None:
        member = await bench.open()
        await bench.close(member, "drain")
        await bench.close(member, "drain")

    @live
    async def test_close_returns_although_nobody_takes_events(self, bench: Bench) -> None:
        member = await bench.open()
        bench.sink.gate.clear()
        await member.submit(1, [bench.harness.job("a-0", Do(1.0))])
        await bench.sink.waiting.wait()
        await bench.close(member, "detach")
        assert bench.sink.inside == 0

    @live
    async def test_a_submit_that_is_broken_off_can_be_sent_again_and_runs_once(self, bench: Bench) -> None:
        member = await bench.open()
        bench.needs("exactly-once")
        jobs = [bench.harness.job(f"a-{i}") for i in range(5)]
        for turns in range(5):
            task = asyncio.create_task(_submit(member, jobs))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert refusals(await member.submit(1, jobs)) == ["Accepted"] * 5
        await bench.all_ended(5)
        await bench.run(member, bench.harness.job("z-0"))
        assert sorted(e.key for e in bench.sink.ends()) == [*(f"a-{i}" for i in range(5)), "z-0"]
        if bench.harness.real:
            assert len(bench.harness.lines("start")) == 6


async def _submit(member: Member, jobs: Sequence[JobSpec]) -> None:
    await member.submit(1, jobs)
