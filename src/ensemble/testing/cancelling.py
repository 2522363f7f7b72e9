"""Promises about ending jobs on request, and about changing what is there."""

from __future__ import annotations

__all__ = ["CancelPromises"]

import asyncio

from ensemble.model.events import MemberEvent
from ensemble.model.jobs import Resources
from ensemble.testing.bench import LONG, Bench, live, refusals
from ensemble.testing.harness import Do


class CancelPromises:
    """Cancel, grace, resize."""

    @live
    async def test_a_running_job_that_is_cancelled_ends_as_cancelled(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(LONG))])
        await bench.running("a-0")
        assert refusals(await member.cancel([bench.harness.ref("a-0")], 1.0)) == ["Accepted"]
        event = await bench.ended("a-0")
        assert (event.outcome, event.reason) == ("cancelled", "cancelled")
        assert not bench.harness.lines("end", "a-0")

    @live
    async def test_a_queued_job_that_is_cancelled_never_starts(self, bench: Bench) -> None:
        member = await bench.open()
        first, behind = await bench.fill(member, 2)
        await member.cancel([behind[0].ref], 1.0)
        event = await bench.ended("behind-0")
        assert (event.outcome, event.reason) == ("cancelled", "cancelled")
        assert all(one.state != "run" for one in bench.sink.of("behind-0"))
        await member.cancel([job.ref for job in first], 1.0)
        assert (await bench.ended("behind-1")).outcome == "success"
        assert not bench.harness.lines("start", "behind-0")

    @live
    async def test_jobs_that_are_cancelled_from_outside_are_cancelled_whether_they_run_or_wait(
        self, bench: Bench
    ) -> None:
        bench.needs_cancel_outside()
        member = await bench.open()
        first, behind = await bench.fill(member, 1)
        await bench.until(lambda: bench.native_id("behind-0"), "the queue has a name for the job that waits")
        for job in (behind[0], first[0]):
            await bench.harness.cancel_outside(bench.native_id(job.ref.key))
            event = await bench.ended(job.ref.key)
            assert (event.outcome, event.reason) == ("cancelled", "cancelled")
            assert event.text, "the event says that it was cancelled in the queue, and by whom where that is known"
        assert not bench.harness.lines("start", "behind-0")

    @live
    async def test_cancelling_a_finished_or_unknown_job_is_accepted_and_does_nothing(self, bench: Bench) -> None:
        member = await bench.open()
        await bench.run(member, bench.harness.job("a-0"))
        refs = [bench.harness.ref("a-0"), bench.harness.ref("nobody-7"), bench.harness.ref("a-0", 9)]
        assert refusals(await member.cancel(refs, 0.1)) == ["Accepted"] * 3
        assert list(await member.cancel([], 0.1)) == []
        await bench.run(member, bench.harness.job("z-0"))
        assert [(e.key, e.outcome) for e in bench.sink.ends()] == [("a-0", "success"), ("z-0", "success")]

    @live
    async def test_a_cancelled_job_has_its_grace_to_put_things_in_order(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        # a shell runs its trap when the command it waits for has ended: hence the wait for a sleep in the background
        polite = 'trap \'echo polite "$ENSEMBLE_KEY" >> "$LEDGER"; exit 4\' TERM; echo ready > ready\nsleep 120 & wait'
        env = {"LEDGER": str(bench.harness.ledger)}
        await member.submit(1, [bench.harness.job("a-0", Do(script=polite), env=env)])
        await bench.seen((bench.harness.folder / "jobs" / "a-0" / "ready").exists, "the job is ready")
        await member.cancel([bench.harness.ref("a-0")], bench.harness.patience)
        event = await bench.ended("a-0")
        assert event.outcome == "cancelled"
        assert bench.harness.lines("polite") == ["polite a-0"]

    @live
    async def test_a_job_that_ignores_a_cancel_is_ended_after_its_grace(self, bench: Bench) -> None:
        bench.needs_real()
        member = await bench.open()
        deaf = "trap '' TERM; echo ready > ready\nwhile :; do sleep 0.05; done"
        await member.submit(1, [bench.harness.job("a-0", Do(script=deaf))])
        await bench.seen((bench.harness.folder / "jobs" / "a-0" / "ready").exists, "the job is ready")
        await member.cancel([bench.harness.ref("a-0")], 0.2)
        assert (await bench.ended("a-0")).outcome == "cancelled"

    @live
    async def test_a_second_cancel_changes_nothing(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(LONG))])
        await bench.running("a-0")
        refs = [bench.harness.ref("a-0")]
        await asyncio.gather(member.cancel(refs, 0.5), member.cancel(refs, 0.5))
        assert (await bench.ended("a-0")).outcome == "cancelled"
        await bench.run(member, bench.harness.job("z-0"))
        assert [e.key for e in bench.sink.ends()] == ["a-0", "z-0"]

    @live
    async def test_nodes_can_be_added_and_removed_and_each_change_is_told(self, bench: Bench) -> None:
        member = await bench.open(nodes=1, max_nodes=3)
        bench.needs("resize")

        def nodes() -> list[int]:
            return [e.nodes_up for e in bench.sink.events if isinstance(e, MemberEvent) and e.name == "nodes"]

        assert refusals([await member.resize(1, 3)]) == ["Accepted"]
        await bench.until(lambda: 3 in nodes(), "there are 3 nodes")
        assert refusals([await member.resize(2, 1)]) == ["Accepted"]
        await bench.until(lambda: nodes()[-1] == 1, "there is 1 node")

    @live
    async def test_shrinking_kills_no_running_job(self, bench: Bench) -> None:
        member = await bench.open(nodes=2, max_nodes=2)
        bench.needs("resize")
        whole = Resources(nodes=1, cores=bench.hello.cores_per_node or bench.harness.cores, exclusive=True)
        await member.submit(1, [bench.harness.job(f"a-{i}", Do(0.8), resources=whole) for i in range(2)])
        for i in range(2):
            await bench.running(f"a-{i}")
        await member.resize(1, 1)
        await bench.all_ended(2)
        assert {e.outcome for e in bench.sink.ends()} == {"success"}
