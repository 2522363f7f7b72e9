"""Promises that hold under load: many jobs, many calls at once."""

from __future__ import annotations

__all__ = ["LoadPromises"]

import asyncio

from ensemble.testing.bench import Bench, live, refusals
from ensemble.testing.harness import Do


class LoadPromises:
    """Bursts and concurrent calls."""

    @live
    async def test_a_burst_of_jobs_ends_each_once_with_its_own_exit_code(self, bench: Bench) -> None:
        member = await bench.open()
        count = bench.harness.burst
        receipts = await member.submit(1, [bench.harness.job(f"a-{i}", Do(exit_code=i % 3)) for i in range(count)])
        assert refusals(receipts) == ["Accepted"] * count
        await bench.all_ended(count)
        assert len(bench.sink.ends()) == count
        for event in bench.sink.ends():
            code = int(event.key[2:]) % 3
            assert (event.key, event.outcome) == (event.key, "failed" if code else "success")
            assert event.exit_code == code
        if bench.harness.real:
            assert sorted(bench.harness.lines("start")) == sorted(f"start a-{i} 1" for i in range(count))
        assert bench.sink.numbers() == list(range(1, len(bench.sink.numbers()) + 1))

    @live
    async def test_twenty_calls_at_once_are_each_answered_with_their_own_answer(self, bench: Bench) -> None:
        member = await bench.open()

        async def submit(number: int) -> list[str]:
            jobs = [bench.harness.job(f"a-{number}"), bench.harness.impossible(f"b-{number}")]
            return refusals(await member.submit(number, jobs[:: 1 if number % 2 else -1]))

        async def cancel(number: int) -> int:
            return len(await member.cancel([bench.harness.ref(f"nobody-{i}") for i in range(number)], 1.0))

        async def count() -> bool:
            return (await bench.inventory(member))[1].last

        submitted, cancelled, counted = await asyncio.gather(
            asyncio.gather(*(submit(number) for number in range(1, 11))),
            asyncio.gather(*(cancel(number) for number in range(5))),
            asyncio.gather(*(count() for _ in range(5))),
        )
        usual = ["Accepted", "Refused"]
        assert submitted == [usual if number % 2 else usual[::-1] for number in range(1, 11)]
        assert cancelled == list(range(5))
        assert all(counted)
        await bench.all_ended(10)
        assert sorted(e.key for e in bench.sink.ends()) == sorted(f"a-{number}" for number in range(1, 11))
