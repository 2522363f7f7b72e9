"""Numbers, credit and commands, without a wire."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.model.events import JobEvent, MemberEvent
from ensemble.session.backoff import Backoff
from ensemble.session.commands import AnsweredCommands, PendingCommands
from ensemble.session.flow import EventInbox, EventOutbox, Flood, Gap
from ensemble.session.v1 import session_pb2 as pb


def event(n):
    return JobEvent("m", f"a-{n}", "run", 0.0, n) if n % 7 else MemberEvent("m", "nodes", n=n)


@given(st.lists(st.tuples(st.sampled_from(["put", "send", "lose", "ack", "cut"]), st.integers(1, 40)), max_size=80))
def test_whatever_is_lost_on_the_way_arrives_once_and_in_order(steps):
    """Messages on their way are lost by `cut`; acknowledgements by `lose`."""

    async def work():
        out, incoming = EventOutbox(), EventInbox(0, 100)
        out.credit = incoming.credit
        way, journal, promises, made = [], [], [], 0

        def receive():
            while way:
                first, events = way.pop(0)
                journal.extend(events[incoming.accept(first, len(events)) :])

        for what, count in [*steps, ("cut", 1), ("send", 10_000), ("ack", 1), ("send", 10_000), ("ack", 1)] * 3:
            if what == "put":
                promises.append((made + count, out.put([event(n) for n in range(made + 1, made + count + 1)])))
                made += count
            elif what == "send":
                while out.ready():
                    way.append(out.take(min(count, 30)))
            elif what == "ack":
                receive()
                incoming.made_durable(incoming.received)
                out.acknowledge(incoming.durable, incoming.credit)
            elif what == "lose":
                receive()
                incoming.made_durable(incoming.received)
            else:
                del way[len(way) // 2 :]
                receive()
                out.resume(incoming.received, incoming.credit)
            assert incoming.received - incoming.durable <= 100
        while out.last >= out.first:
            way.append(out.take(30))
            receive()
            incoming.made_durable(incoming.received)
            out.acknowledge(incoming.durable, incoming.credit)
        assert [one.n for one in journal] == list(range(1, made + 1))
        for last, promise in promises:
            assert promise.done()
            assert promise.result() >= last

    asyncio.run(work())


def test_a_promise_is_kept_only_when_all_of_it_is_durable():
    async def work():
        out = EventOutbox()
        out.credit = 100
        promise = out.put([event(1), event(2), event(3)])
        out.take(10)
        out.acknowledge(2, 100)
        assert not promise.done()
        out.acknowledge(3, 100)
        assert await promise == 3

    asyncio.run(work())


def test_a_new_session_begins_where_the_journal_ends():
    async def work():
        out = EventOutbox()
        out.credit = 100
        early = out.put([event(1), event(2), MemberEvent("m", "nodes"), event(3)])
        late = out.put([event(4), MemberEvent("m", "down")])
        out.take(3)
        assert out.begin(3) == 4
        assert early.done()
        assert not late.done()
        assert out.ready() == 0
        out.credit = 200
        assert [one.n for one in out.take(10)[1]] == [4, 0]

    asyncio.run(work())


def test_a_position_in_the_stream_before_makes_nothing_of_a_new_one_durable():
    async def work():
        out = EventOutbox()
        out.drop(7)  # the member is opened again, and its numbers begin at 1
        told = [out.put([event(n)]) for n in (1, 2)]
        out.begin(0)
        out.credit = 100
        out.take(10)
        out.acknowledge(1, 100)
        assert await told[0] == 1  # and not 7, which would end the second before it was told
        assert not told[1].done()

    asyncio.run(work())


def test_more_than_the_credit_is_a_flood_and_a_hole_is_a_gap():
    incoming = EventInbox(10, 5)
    assert incoming.accept(11, 5) == 0
    assert incoming.accept(12, 3) == 3
    with pytest.raises(Flood):
        incoming.accept(16, 1)
    with pytest.raises(Gap):
        incoming.accept(17, 1)
    with pytest.raises(Gap):
        incoming.accept(0, 1)


def test_an_acknowledgement_of_what_was_never_sent_is_refused():
    async def work():
        out = EventOutbox()
        out.put([event(1)])
        with pytest.raises(Gap):
            out.acknowledge(1, 10)
        with pytest.raises(Gap):
            out.resume(2, 10)

    asyncio.run(work())


def test_a_command_is_done_once_and_answered_as_often_as_it_is_asked():
    async def work():
        asked, known = PendingCommands(), AnsweredCommands()
        command = pb.Command(inventory=pb.Inventory())
        waiting = asked.ask(command)
        assert known.begin(command.id)
        assert not known.begin(command.id)
        for more in (True, True, False):
            known.add(pb.CommandResult(id=command.id, more=more))
        first, second, third = known.of(command.id)
        asked.answer(first)
        assert [one.id for one in asked.again()] == [command.id]
        for part in (first, second, third, third):
            asked.answer(part)
        assert waiting.qsize() == 3
        assert asked.answered == command.id
        known.prune(asked.answered)
        assert not list(known.of(command.id))
        assert not known.begin(command.id)

    asyncio.run(work())


@given(st.integers())
def test_delays_grow_to_a_bound_and_begin_anew(seed):
    backoff = Backoff(0.1, 5.0, seed)
    delays = [backoff.next() for _ in range(20)]
    assert all(0.05 <= delay <= 5.0 for delay in delays)
    assert min(delays[8:]) >= 2.5
    backoff.reset()
    assert backoff.next() <= 0.1
