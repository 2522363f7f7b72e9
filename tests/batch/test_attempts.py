"""What the member remembers of its attempts, without a Slurm."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from ensemble.members.batch.attempts import Attempt, Attempts
from ensemble.members.batch.commands import Commands
from ensemble.members.batch.slurm import Slurm
from ensemble.members.batch.spool import Array
from ensemble.members.contract import Context
from ensemble.model.events import JobEvent
from ensemble.model.jobs import AttemptRef, JobSpec
from ensemble.testing.bench import RecordingSink


def attempts(run: Path, stream: str = "m@1-0") -> Attempts:
    made = Attempts(Context("r", "m", str(run), 1, RecordingSink()), Slurm(Commands({}, ()), "ensemble:r:m:", {}))
    made.spool.open(1, stream)
    return made


def job(key: str = "a-0") -> JobSpec:
    return JobSpec(AttemptRef("r", key, 1), group="a", command=("true",), workdir="jobs/" + key)


def report(made: Attempts, name: str, **fields: object) -> None:
    """What a script writes, at its start (name ends with 1start) or its end (2end)."""
    told = {"ref": "a-0.1", "job": "7_0", "host": "n1", "start": 100.0, **fields}
    text = "".join(f"{key}={value}\n" for key, value in told.items())
    (made.spool.folder / "new" / f"a-0.1.{name}").write_text(text)


@pytest.fixture
def ours(tmp_path: Path) -> Attempts:
    made = attempts(tmp_path)
    made.known["a-0", 1] = Attempt(job(), "7_0")
    made.open.add(("a-0", 1))
    return made


async def take_in(made: Attempts) -> list[tuple[str, int]]:
    await made.take_in(made.spool.reports())
    events = [event for event in made.outbox.waiting if isinstance(event, JobEvent)]
    return [(event.state, event.incarnation) for event in events]


def test_the_end_of_an_older_restart_is_not_the_end_of_the_attempt(ours: Attempts) -> None:
    report(ours, "1.1start", incarnation=1)
    assert asyncio.run(take_in(ours)) == [("run", 1)]
    report(ours, "0.2end", incarnation=0, end=101.0, code=0, complete=1)
    assert asyncio.run(take_in(ours)) == [("run", 1)]
    report(ours, "1.2end", incarnation=1, end=102.0, code=0, complete=1)
    assert asyncio.run(take_in(ours)) == [("run", 1), ("inactive", 1)]
    assert not ours.spool.reports()


def test_an_end_that_was_cut_off_is_waited_for_and_not_taken_for_another(ours: Attempts) -> None:
    report(ours, "0.2end", incarnation=0, end=101.0, code=0)
    assert asyncio.run(take_in(ours)) == []
    report(ours, "0.2end", incarnation=0, end=101.0, code=0, complete=1)
    assert asyncio.run(take_in(ours)) == [("inactive", 0)]
    assert isinstance(event := ours.outbox.waiting[-1], JobEvent)
    assert (event.outcome, event.exit_code) == ("success", 0)


def test_a_report_that_nobody_can_read_stands_in_no_others_way(ours: Attempts) -> None:
    report(ours, "0.1start", incarnation="?")
    report(ours, "0.2end", incarnation=0, end=101.0, code=0, complete=1, figures="warning: not JSON")
    assert asyncio.run(take_in(ours)) == [("inactive", 0)]
    assert not ours.spool.reports()


def test_an_ended_job_stays_ended_in_whatever_order_the_logs_are_read(tmp_path: Path) -> None:
    told = {state: JobEvent("m", "a-0", state, 100.0, native_id="7_0") for state in ("run", "inactive")}
    for name, state in (("m@1-b", "run"), ("m@1-a", "inactive")):
        made = attempts(tmp_path, name)
        made.known["a-0", 1] = Attempt(job(), "7_0")
        made.open.add(("a-0", 1))
        asyncio.run(made.keep([told[state]]))
        made.spool.close()
    again = attempts(tmp_path, "m@1-c")
    again.spool.add(Array("s1", [job()]), ["true"], str(tmp_path))
    again.remember()
    attempt = again.known["a-0", 1]
    assert (attempt.state, attempt.end is not None, again.open) == ("inactive", True, set())


def test_a_slow_sync_keeps_the_engine_waiting_for_nothing_but_its_event(
    ours: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, sync = threading.Event(), threading.Event(), os.fdatasync

    def slow(file: int) -> None:
        begun.set()
        assert may_end.wait(30), "nothing else was done meanwhile"
        sync(file)

    async def meanwhile() -> None:
        report(ours, "0.1start", incarnation=0)
        work = asyncio.create_task(take_in(ours))
        await asyncio.to_thread(begun.wait, 30)
        assert not len(ours.outbox)
        may_end.set()
        assert await work == [("run", 0)]

    monkeypatch.setattr("os.fdatasync", slow)
    asyncio.run(meanwhile())


def test_an_end_that_two_find_at_once_is_told_once(ours: Attempts) -> None:
    end = JobEvent("m", "a-0", "inactive", 100.0, outcome="success")

    async def both() -> None:
        await asyncio.gather(ours.keep([end]), ours.keep([end]))

    asyncio.run(both())
    assert len(ours.outbox) == 1
