"""A record reaches whoever watches a run at a server as it stands in the journal."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from ensemble.journal import read
from ensemble.model.decisions import Call, CallWaits, Discard, DropCalls, Effect, Firing, Record, Upkeep
from ensemble.model.events import MemberEvent, Requested, TimerFired
from ensemble.session.messages import record_from_message, record_to_message
from ensemble.session.v1 import record_pb2

GOLDEN = Path(__file__).parents[1] / "journal" / "golden"


def sent(record: Record) -> Record:
    return record_from_message(record_pb2.Record.FromString(record_to_message(record).SerializeToString()))


def told(record: Record) -> Record:
    """What a record says: a queue count that is 0 may be left out of it."""
    event = record.event
    if not isinstance(event, MemberEvent) or event.queue is None:
        return record
    return replace(record, event=replace(event, queue={name: jobs for name, jobs in event.queue.items() if jobs}))


@pytest.mark.parametrize("run", sorted(GOLDEN.glob("runs-*/*")), ids=lambda run: run.name)
def test_every_record_of_a_run_arrives_as_it_was(run: Path) -> None:
    for record in read(run):
        assert told(sent(record)) == told(record)


@pytest.mark.parametrize(
    "effect",
    [
        Call(1, "f", "r", key="a-0", action={"name": "custom", "label": "f"}, waited=True),
        Call(1, "f", "r"),
        CallWaits("f", "r", "a-0"),
        DropCalls(),
        Discard("a", reason="never-fits", outcome="failed"),
    ],
    ids=lambda effect: type(effect).__name__,
)
def test_effects_of_function_rules_and_of_jobs_given_up_arrive_whole(effect: Effect) -> None:
    record = Record(7, 1.5, TimerFired(), (Firing("r", {}, (effect,)), Upkeep((effect,))))
    assert sent(record) == record


def test_a_request_arrives_with_its_id_and_key() -> None:
    record = Record(3, 1.0, Requested("action", "me", action={"name": "stop"}, id="q-1", key="eval-3"))
    assert sent(record) == record
    assert sent(Record(3, 1.0, Requested("drain", "me"))).event == Requested("drain", "me")


def test_fields_of_earlier_versions_are_read_over() -> None:
    old = b'{"seq":2,"at":1.0,"event":{"type":"timer"},"steps":[],"cause":1}'
    assert msgspec.json.decode(old, type=Record) == Record(2, 1.0, TimerFired())
