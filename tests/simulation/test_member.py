"""The simulated queue as a live member: the contract, and a whole run through the real runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from ensemble.members.contract import Accepted, Context, Refused
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import AttemptRef, JobSpec, Resources
from ensemble.runtime import RunOptions, run
from ensemble.simulation import SimulatedMember
from ensemble.spec.loader import loads

Event = JobEvent | NativeEvent | MemberEvent


class Sink:
    """Takes events; can be closed for a while, as when the engine is behind."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.open = asyncio.Event()
        self.open.set()
        self.news = asyncio.Event()

    async def put(self, events: Sequence[Event]) -> int:
        await self.open.wait()
        self.events += events
        self.news.set()
        return events[-1].n

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                self.news.clear()
                await self.news.wait()

    def ends(self) -> dict[str, str]:
        return {e.key: e.outcome for e in self.events if isinstance(e, JobEvent) and e.state == "inactive"}


def job(number: int, seconds: float = 1.0, attempt: int = 1, **fields: Any) -> JobSpec:
    return JobSpec(
        AttemptRef("r", f"a-{number}", attempt), "a", "/work", ("app",), duration={"duration": seconds}, **fields
    )


def context(sink: Sink, epoch: int = 1, **fields: Any) -> Context:
    options = fields.pop("options", {"speed": 0})
    return Context("r", "m", "/nowhere", epoch, sink, options, cores=fields.pop("cores", 4), **fields)


@asynccontextmanager
async def opened(**fields: Any) -> AsyncIterator[tuple[SimulatedMember, Sink]]:
    sink, member = Sink(), SimulatedMember()
    await member.open(context(sink, **fields))
    try:
        yield member, sink
    finally:
        await member.close("detach")


def live(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run_it() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    run_it.__name__ = test.__name__
    return run_it


@live
async def test_jobs_run_and_end_once_with_numbers_without_gaps() -> None:
    async with opened() as (member, sink):
        receipts = await member.submit(1, [job(number) for number in range(50)])
        assert all(isinstance(receipt, Accepted) for receipt in receipts)
        await sink.until(lambda: len(sink.ends()) == 50)
        assert set(sink.ends().values()) == {"success"}
        assert [event.n for event in sink.events] == list(range(1, len(sink.events) + 1))
        by_job = [(event.key, event.state) for event in sink.events if isinstance(event, JobEvent)]
        assert len(by_job) == len(set(by_job)) == 100


@live
async def test_an_attempt_that_is_known_is_accepted_and_not_run_again() -> None:
    async with opened() as (member, sink):
        await member.submit(1, [job(0)])
        await sink.until(lambda: len(sink.ends()) == 1)
        assert isinstance((await member.submit(1, [job(0)]))[0], Accepted)
        await member.submit(2, [job(0, attempt=2), job(1)])
        await sink.until(lambda: len(sink.ends()) == 2 and "a-1" in sink.ends())
        ends = [(e.key, e.attempt) for e in sink.events if isinstance(e, JobEvent) and e.state == "inactive"]
        assert sorted(ends) == [("a-0", 1), ("a-0", 2), ("a-1", 1)]


@live
async def test_what_cannot_run_here_is_refused_for_good_with_the_reason() -> None:
    async with opened() as (member, _):
        too_large, bad = await member.submit(
            1,
            [job(0, resources=Resources(tasks=99)), job(1, seconds="soon")],  # type: ignore[arg-type]
        )
        assert isinstance(too_large, Refused)
        assert "it needs 99 cores" in too_large.reason
        assert isinstance(bad, Refused)
        assert "there is no 'soon' here" in bad.reason
        assert not too_large.transient


@live
async def test_virtual_time_runs_as_fast_as_it_is_told() -> None:
    async with opened(options={"speed": 10_000}) as (member, sink):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await member.submit(1, [job(0, 1000.0)])
        await sink.until(lambda: bool(sink.ends()))
        # 1,000 s at 10,000 to 1: not before 0.1 s; how much later is the machine's affair
        assert loop.time() - began >= 0.1
        start, end = (event.time for event in sink.events if isinstance(event, JobEvent))
        assert end - start == pytest.approx(1000.0)


@live
async def test_cancel_ends_running_and_waiting_jobs_and_is_indifferent_to_the_rest() -> None:
    async with opened(options={"speed": 1}, cores=1) as (member, sink):
        await member.submit(1, [job(0, 1000.0), job(1, 1000.0)])
        refs = [AttemptRef("r", key, 1) for key in ("a-0", "a-1", "a-2")]
        assert await member.cancel(refs, 10.0) == [Accepted()] * 3
        await sink.until(lambda: len(sink.ends()) == 2)
        assert sink.ends() == {"a-0": "cancelled", "a-1": "cancelled"}
        assert not any(isinstance(e, JobEvent) and e.key == "a-1" and e.state == "run" for e in sink.events)


@live
async def test_resize_is_told_by_events_when_it_is_done() -> None:
    async with opened(options={"speed": 0, "provision": "1h"}, max_nodes=3) as (member, sink):
        assert isinstance(await member.resize(5, 3), Accepted)
        await sink.until(lambda: any(isinstance(e, MemberEvent) and e.nodes_up == 3 for e in sink.events))


@live
async def test_inventory_names_every_attempt_with_its_end_and_is_complete() -> None:
    async with opened(options={"speed": 1}, cores=1) as (member, sink):
        await member.submit(1, [job(0, 0.0), job(1, 1000.0), job(2, 1000.0)])
        await sink.until(lambda: "a-0" in sink.ends())
        pages = [page async for page in member.inventory()]
        assert (pages[-1].last, pages[-1].complete) == (True, True)
        items = {item.ref.key: item for page in pages for item in page.items}
        assert {key: item.state for key, item in items.items()} == {"a-0": "inactive", "a-1": "run", "a-2": "sched"}
        assert items["a-0"].event is not None
        assert items["a-0"].event.outcome == "success"


@live
async def test_a_reopened_member_goes_on_with_its_stream_and_sends_again_what_was_not_durable() -> None:
    sink, member = Sink(), SimulatedMember()
    hello = await member.open(context(sink))
    sink.open.clear()  # the engine takes nothing in
    await member.submit(1, [job(0), job(1)])
    other = Sink()
    again = await member.open(context(other, stream=hello.stream, position=0))
    assert again.stream == hello.stream
    await other.until(lambda: len(other.ends()) == 2)
    assert sink.events == []
    assert [event.n for event in other.events][:4] == [1, 2, 3, 4]
    with pytest.raises(MemberError):
        await member.open(context(other, epoch=0))
    await member.close("detach")


@live
async def test_close_waits_for_the_jobs_or_cancels_them_even_when_nobody_listens() -> None:
    for mode, outcome in (("drain", "success"), ("cancel", "cancelled")):
        sink, member = Sink(), SimulatedMember()
        await member.open(context(sink, options={"speed": 1000}))
        await member.submit(1, [job(0, 100.0)])
        await member.close(mode)  # type: ignore[arg-type]
        assert sink.ends() == {"a-0": outcome}
        before = len(sink.events)
        await asyncio.sleep(0)
        assert len(sink.events) == before

    deaf, member = Sink(), SimulatedMember()
    deaf.open.clear()
    await member.open(context(deaf))
    await member.submit(1, [job(0)])
    await asyncio.wait_for(member.close("drain"), 30)


@live
async def test_a_failing_machine_at_full_speed_does_not_race_through_time_while_nothing_runs() -> None:
    async with opened(options={"speed": 0, "node_mtbf": 1, "node_repair": 1}) as (member, sink):
        for _ in range(200):
            await asyncio.sleep(0)
        assert sink.events == []
        await member.submit(1, [job(0, 0.001)])
        await sink.until(lambda: bool(sink.ends()))


@live
async def test_logs_are_empty_and_other_files_are_not_there() -> None:
    async with opened() as (member, sink):
        await member.submit(1, [job(0)])
        await sink.until(lambda: bool(sink.ends()))
        assert await member.fetch(AttemptRef("r", "a-0"), "stdout", 0, 100) == b""
        with pytest.raises(MemberError):
            await member.fetch(AttemptRef("r", "a-0"), "result.h5", 0, 100)
        with pytest.raises(MemberError):
            await member.fetch(AttemptRef("r", "a-9"), "stdout", 0, 100)


@live
async def test_bad_options_are_refused_when_it_is_opened() -> None:
    with pytest.raises(MemberError) as error:
        await SimulatedMember().open(context(Sink(), options={"sped": 3}))
    assert "did you mean 'speed'?" in str(error.value)
    with pytest.raises(MemberError):
        await SimulatedMember().submit(1, [])


def test_an_ensemble_runs_on_it_through_the_real_runtime(tmp_path: Path) -> None:
    spec = loads(
        dedent(
            """
            members: {m: {kind: simulated, nodes: {min: 1, max: 3}, cores: 4, options: {speed: 0}}}
            jobs:
              - name: a
                count: 200
                submit: start
                command: app
                retries: 5
                simulate: {duration: {distribution: lognormal, mean: 600, cv: 0.5}, failure_rate: 0.1}
              - {name: b, command: sleep 1h, count: 3, submit: rules}
            rules:
              - {trigger: metric, name: count.a.success, when: ">= 100", action: {name: submit, label: b}}
              - {trigger: job-run, name: a, action: {name: grow, value: 2}}
            """
        )
    )
    result = asyncio.run(run(spec, RunOptions(base=str(tmp_path), signals=False)))
    assert (result.outcome, result.warnings) == ("success", [])
    assert result.status.total.success == 203
    assert result.status.total.failed_attempts > 5
    assert result.status.members[0].nodes_up == 3
    b = next(group for group in result.status.groups if group.group == "b")
    assert b.quantities["duration"].mean == pytest.approx(3600)
