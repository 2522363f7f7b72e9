# ruff: noqa: ASYNC110
"""What is put at one end is durable at the other once, in order, whatever happens to the stream between."""

import asyncio
import contextlib

import pytest

from ensemble.members.contract import Accepted, Refused
from ensemble.model.errors import MemberError
from ensemble.model.jobs import AttemptRef
from tests.session.world import AgentProcess, Sink, both, context, job, reopen_when_down

DOORS = ["listen", "connect"]


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


@pytest.mark.parametrize("door", DOORS)
def test_every_call_comes_through(door, tmp_path):
    async def work():
        async with both(door, tmp_path) as (agent, _, make, where):
            sink = Sink()
            member = make()
            hello = await member.open(context(sink, options={**where, "events": 10, "inner": "counting"}))
            assert (hello.stream, hello.cores_up) == ("counting", 4)
            assert "exactly-once" in hello.capabilities
            receipts = await member.submit(7, [job("job-1"), job("bad-1"), job("job-2")])
            assert receipts == [Accepted("id-job-1"), Refused("no"), Accepted("id-job-2")]
            assert await member.cancel([AttemptRef("run-1", "job-1")], 2.5) == [Accepted()]
            assert await member.resize(4, 3) == Accepted()
            pages = [page async for page in member.inventory()]
            assert sum(len(page.items) for page in pages) == 200
            assert (pages[-1].last, pages[-1].complete, pages[-1].text) == (True, True, "all")
            data = await member.fetch(AttemptRef("run-1", "job-1"), "stdout", 5, 2_500_000)
            assert data == bytes(i % 251 for i in range(5, 2_500_005))
            with pytest.raises(MemberError, match="no none of run-1/job-1") as raised:
                await member.fetch(AttemptRef("run-1", "job-1"), "none", 0, 10)
            assert not raised.value.transient
            with pytest.raises(MemberError, match="busy just now") as raised:
                await member.resize(5, 14)
            assert raised.value.transient
            with pytest.raises(RuntimeError, match="a fault of the queue's"):
                await member.resize(5, 13)
            await sink.until(lambda: sink.numbers == list(range(1, 11)) and sink.named("nodes"))
            await member.close("drain")
            assert agent.ledger[-1] == ["close", "drain"]
            assert ["submit", 7, "bad-1", 1] in agent.ledger
            if door == "connect":
                assert await agent.end() == 0

    run(work())


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_cut_at_any_byte_loses_nothing_and_doubles_nothing(door, seed, tmp_path):
    async def work():
        async with both(door, tmp_path, proxy={"seed": seed, "most": 30_000}) as (agent, proxy, make, where):
            sink = Sink()
            member = make()
            options = {**where, "events": 6000, "batch": 40, "ahead": 4, "outage": 30}
            await member.open(context(sink, options=options))
            for number in range(60):
                assert await member.submit(number, [job(f"job-{number}")]) == [Accepted(f"id-job-{number}")]
            await sink.until(lambda: len(sink.numbers) >= 6000)
            proxy.whole = True
            await member.close("cancel")
            assert proxy.cuts > 5
            assert sink.numbers == list(range(1, 6001))
            assert not sink.named("down")
            submitted = [words[2] for words in agent.ledger if words[0] == "submit"]
            assert submitted == [f"job-{number}" for number in range(60)]
            assert [words[0] for words in agent.ledger].count("open") == 1

    run(work())


@pytest.mark.parametrize("door", DOORS)
def test_an_agent_killed_again_and_again_loses_nothing(door, tmp_path):
    async def work():
        async with both(door, tmp_path) as (agent, _, make, where):
            sink = Sink()
            member = make()
            if door == "listen":
                agent_again = AgentProcess("listen", agent.address, tmp_path, **agent.given)

            def made(**given):
                return context(sink, options={**where, "events": 4000, "batch": 20, "pause": 0.002}, **given)

            await member.open(made())
            opening = asyncio.create_task(reopen_when_down(member, sink, made))
            current = agent
            for kill in range(1, 4):
                await sink.until(lambda least=kill * 800: sink.position >= least)
                await current.kill()
                current = (
                    agent_again
                    if door == "listen"
                    else AgentProcess("connect", agent.address, tmp_path, run="run-1", member="far")
                )
                await current.start()
            await sink.until(lambda: sink.position >= 4000)
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await opening
            assert sink.numbers == list(range(1, 4001))
            assert len(sink.named("down")) >= 3
            await member.close("cancel")
            await current.kill()

    run(work())


@pytest.mark.parametrize("door", DOORS)
def test_a_new_writer_goes_on_where_the_journal_ends_and_the_old_one_is_fenced(door, tmp_path):
    async def work():
        async with both(door, tmp_path) as (_agent, _, make, where):
            old, sink = Sink(), Sink()
            first, second = make(), make()
            options = {**where, "events": 3000, "batch": 10, "pause": 0.001, "outage": 1, "wait": 2}
            await first.open(context(old, options=options))
            await old.until(lambda: old.position >= 500)
            old.open.clear()  # the old writer hangs: nothing is durable any more
            seen = old.position
            await second.open(context(sink, epoch=2, stream="counting", position=seen, options=options, resumed=True))
            await sink.until(lambda: sink.position >= 3000)
            assert sink.numbers == list(range(seen + 1, 3001))
            if door == "listen":
                with pytest.raises(MemberError, match="epoch 2"):
                    await first.open(context(Sink(), options=options))
            await second.close("cancel")
            with contextlib.suppress(MemberError):
                await first.close("detach")

    run(work())


@pytest.mark.parametrize("door", DOORS)
def test_a_slow_journal_holds_the_queue_back_and_commands_pass_by(door, tmp_path):
    async def work():
        async with both(door, tmp_path) as (_, _, make, where):
            sink = Sink()
            sink.open.clear()
            member = make()
            await member.open(context(sink, options={**where, "events": 30_000, "batch": 1000, "ahead": 100}))
            assert await member.submit(1, [job("job-1")]) == [Accepted("id-job-1")]
            connection = member._connection
            while connection._incoming.received < 8192:
                await asyncio.sleep(0.01)
            assert await member.submit(2, [job("job-2")]) == [Accepted("id-job-2")]
            assert connection._incoming.received == connection._incoming.credit == 8192
            sink.open.set()
            await sink.until(lambda: len(sink.numbers) == 30_000)
            assert sink.numbers == list(range(1, 30_001))
            await member.close("cancel")

    run(work())
