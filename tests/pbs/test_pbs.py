"""What is PBS's own, on a stand-in of its commands."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.members.batch.dialect import LOST
from ensemble.members.batch.pbs import Pbs, PbsMember, _verdict
from ensemble.members.kinds import KINDS, Kind, batch_queue_here, member_factory
from ensemble.model.errors import MemberError
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import Resources
from ensemble.testing import Do, MemberHarness
from ensemble.testing.bench import Bench, live
from tests.pbs.cluster import PbsHarness, changing, make, pbs, remove


@pytest.fixture
def harness(tmp_path: Path) -> MemberHarness:
    return PbsHarness(tmp_path)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Path]:
    make(tmp_path / "pbs")
    yield tmp_path / "pbs"
    remove(tmp_path / "pbs")


def folder() -> Path:
    return Path(os.environ["QUEUE_STANDIN"])


class TestPbs:
    @live
    async def test_what_a_job_asks_for_is_said_in_chunks(self, bench: Bench) -> None:
        member = await bench.open(options={"account": "physics", "mem": "2gb"})
        job = bench.harness.job("a-0", resources=Resources(nodes=2, tasks=4, cores=2, exclusive=True), walltime=90.0)
        words = member._queue.request(job, member._queue.member_options)  # type: ignore[attr-defined]
        assert "select=2:ncpus=4:mpiprocs=2:mem=2gb" in words
        assert "place=scatter:excl" in words
        assert "walltime=90" in words
        assert words[words.index("-A") + 1] == "physics"

    @live
    async def test_one_job_is_no_array_and_several_are(self, bench: Bench) -> None:
        member = await bench.open()
        (single,) = await member.submit(1, [bench.harness.job("a-0")])
        several = await member.submit(2, [bench.harness.job(f"b-{i}") for i in range(3)])
        assert [receipt.native_id for receipt in (single, *several)] == [
            "1.server", "2[0].server", "2[1].server", "2[2].server",
        ]  # fmt: skip
        await bench.all_ended(4)
        assert len(bench.harness.lines("start")) == 4

    @live
    async def test_a_queue_that_is_not_there_is_refused_with_those_that_are(self, bench: Bench) -> None:
        with pytest.raises(MemberError, match="there is no queue 'nowhere' here; the queues are short, workq"):
            await bench.open(options={"queue": "nowhere"})
        member = await bench.open()
        (receipt,) = await member.submit(1, [bench.harness.job("a-0", options={"queue": "nowhere"})])
        assert (receipt.reason, receipt.transient) == ("Unknown queue", False)

    @live
    async def test_a_queue_with_room_for_some_takes_those_and_the_rest_may_come_again(self, bench: Bench) -> None:
        with changing(folder()) as state:
            state["most"] = 10
        member = await bench.open()
        receipts = await member.submit(1, [bench.harness.job(f"a-{i}") for i in range(16)])
        left = [receipt for receipt in receipts if type(receipt).__name__ == "Refused"]
        assert (len(left) <= 8, all(receipt.transient for receipt in left)) == (True, True)
        await bench.all_ended(16 - len(left))

    @live
    async def test_nodes_that_are_all_offline_are_said_to_be_why_jobs_wait(self, bench: Bench) -> None:
        with changing(folder()) as state:
            for node in state["nodes"].values():
                node.update(state="offline", comment="maintenance")
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0")])
        reason = "Insufficient amount of resource: ncpus (no node is up; offline: maintenance)"
        await bench.until(lambda: bench.waiting() == {reason: 1}, "the reason is sent")

    @live
    async def test_a_server_that_does_not_answer_puts_the_member_down_and_costs_no_job(self, bench: Bench) -> None:
        member = await bench.open()
        gate = bench.harness.folder / "gate"
        await member.submit(1, [bench.harness.job("a-0", Do(script=f"until [ -e {gate} ]; do sleep 0.1; done"))])
        await bench.running("a-0")
        commands = folder() / "bin"
        commands.rename(folder() / "away")

        def down() -> bool:
            return any(isinstance(event, MemberEvent) and event.name == "down" for event in bench.sink.events)

        await bench.until(down, "it is down")
        gate.touch()
        (folder() / "away").rename(commands)
        await bench.reopen(member)
        found = await bench.inventory_until(bench._members[-1], lambda items: items["a-0", 1].event is not None)
        event = found["a-0", 1].event
        assert event is not None
        assert event.outcome == "success"

    @live
    async def test_a_kill_counts_as_a_jobs_end_only_while_the_queue_knows_the_job(self, bench: Bench) -> None:
        member = await bench.open(options={"poll": 60.0})
        pids = {key: bench.harness.folder / f"{key}.pid" for key in ("known-0", "forgotten-0")}
        for batch, (key, pid) in enumerate(pids.items()):
            await member.submit(batch, [bench.harness.job(key, Do(script=f"echo $$ > {pid}; exec sleep 1000"))])
            await bench.seen(lambda pid=pid: pid.exists() and pid.read_text().strip(), "it runs")  # type: ignore[misc]
        with changing(folder()) as state:
            del state["tasks"]["2.server"]
        for pid in pids.values():
            os.kill(int(pid.read_text()), signal.SIGKILL)
        assert ((end := await bench.ended("known-0")).outcome, end.signal) == ("failed", signal.SIGKILL)
        assert ((end := await bench.ended("forgotten-0")).outcome, end.reason) == LOST[:2]


@pytest.mark.parametrize(
    ("fields", "outcome", "reason"),
    [
        ({"Exit_status": 271}, "cancelled", "cancelled"),
        ({"substate": 91}, "cancelled", "cancelled"),
        ({"Exit_status": -29}, "failed", "walltime"),
        ({"Exit_status": -27}, "failed", "signal"),
        ({"Exit_status": -3}, *LOST[:2]),
        ({"Exit_status": 0, "substate": 92}, *LOST[:2]),
        ({}, *LOST[:2]),
    ],
)
def test_how_a_job_ended_is_read_from_its_attributes(fields: dict[str, int], outcome: str, reason: str) -> None:
    assert _verdict(fields)[:2] == (outcome, reason)


def test_a_whole_run(cluster: Path, tmp_path: Path) -> None:
    text = "members: {pbs: {kind: pbs, options: {poll: 1}}}\njobs: [{name: t, count: 5, command: 'true'}]\n"
    (tmp_path / "f.yaml").write_text(text)
    words = [sys.executable, "-m", "ensemble", "run", "--run-dir", str(tmp_path / "run"), str(tmp_path / "f.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(pbs("qselect", "-x", "-u", getpass.getuser()).split()) == ["1[].server"]


def test_a_login_node_is_known(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "slurm", Kind("none"))
    assert batch_queue_here() == "pbs"
    monkeypatch.setenv("PBS_JOBID", "1.server")
    assert batch_queue_here() == ""


class Other(Pbs):
    """A dialect of another package: a queue with PBS's commands under another name."""

    name, folder = "Other", "other"


class OtherMember(PbsMember):
    dialect = Other


def test_a_dialect_from_outside_is_one_class_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "other", Kind("tests.pbs.test_pbs:OtherMember", submits="qsub"))
    assert member_factory("other") is OtherMember
    assert (OtherMember.fixed_size, OtherMember.group_options) == (True, Pbs.options)
