# ruff: noqa: ASYNC221
"""What goes wrong on a real Slurm, and what each gets."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ensemble.members.batch.script import array_script
from ensemble.members.batch.slurm import Slurm
from ensemble.members.contract import Accepted, Refused
from ensemble.model.errors import MemberError
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import Resources
from ensemble.testing import Do, MemberHarness
from ensemble.testing.bench import Bench, live
from tests.slurm.cluster import (
    SCRIPT,
    ensemble,
    hurry,
    lines,
    native,
    nodes_are_up,
    on,
    restart_empty,
    slurm,
    start_controller,
    stop_controller,
    until,
)


def went_down(bench: Bench) -> str:
    """Why the member is down; empty while it is not."""
    return next((e.text for e in bench.sink.events if isinstance(e, MemberEvent) and e.name == "down"), "")


class TestFaults:
    @live
    async def test_a_bad_partition_is_refused_for_good_in_slurms_own_words(self, bench: Bench) -> None:
        member = await bench.open()
        (receipt,) = await member.submit(1, [on(bench, "a-0", Do(), partition="nowhere")])
        assert receipt.transient is False
        assert "partition" in receipt.reason.lower()

    @live
    async def test_a_job_that_slurm_requeues_runs_as_its_next_incarnation(self, bench: Bench) -> None:
        member = await bench.open()
        marker = bench.harness.folder / "second"
        wait = Do(script=f"[ -e {marker} ] || {{ touch {marker}; sleep 120; }}")
        await member.submit(1, [on(bench, "a-0", wait, requeue=True)])
        await bench.running("a-0")
        await bench.seen(marker.exists, "it has begun")
        slurm("scontrol", "requeue", native(bench, "a-0"))
        await hurry(bench, "a-0")
        await bench.until(lambda: any(e.incarnation == 1 and e.state == "inactive" for e in bench.sink.ends()), "again")
        assert [(e.incarnation, e.outcome) for e in bench.sink.ends()] == [(1, "success")]

    @live
    async def test_more_nodes_than_there_are_is_refused_for_good(self, bench: Bench) -> None:
        member = await bench.open()
        job = bench.harness.job("a-0", resources=Resources(nodes=9, tasks=9))
        (receipt,) = await member.submit(1, [job])
        assert receipt.transient is False
        assert "9 nodes" in receipt.reason

    @live
    async def test_a_walltime_of_all_that_the_partition_gives_is_taken(self, bench: Bench) -> None:
        member = await bench.open()
        job = bench.harness.job("a-0", walltime=60.0, options={"partition": "short"})
        assert (await bench.run(member, job)).outcome == "success"

    @live
    async def test_why_a_job_waits_is_told_in_slurms_words(self, bench: Bench) -> None:
        member = await bench.open()
        slurm("scontrol", "update", "partitionname=main", "state=down")
        try:
            await member.submit(1, [on(bench, "a-0", Do())])
            await bench.until(lambda: [e for e in bench.sink.of("a-0") if e.state == "sched"], "it waits")
            (event,) = bench.sink.of("a-0")
            assert event.text == "pending: PartitionDown"
            await bench.until(lambda: bench.waiting() == {"PartitionDown": 1}, "the reason is sent")
        finally:
            slurm("scontrol", "update", "partitionname=main", "state=up")
        assert (await bench.ended("a-0")).outcome == "success"

    @live
    async def test_a_job_that_was_cancelled_behind_the_queues_back_does_not_begin(self, bench: Bench) -> None:
        member = await bench.open()
        slurm("scontrol", "update", "partitionname=main", "state=down")
        try:
            await member.submit(1, [on(bench, "a-0", Do())])
            # what a cancel leaves that the controller could not be told of
            (bench.harness.folder / "slurm" / "m" / "claims" / "a-0.1.cancel").touch()
        finally:
            slurm("scontrol", "update", "partitionname=main", "state=up")
        assert (await bench.ended("a-0")).outcome != "success"
        assert not bench.harness.lines("start")

    @live
    async def test_the_allocation_that_the_engine_stands_in_does_not_shape_its_jobs(self, bench: Bench) -> None:
        os.environ["SLURM_MEM_PER_CPU"] = "7"
        try:
            member = await bench.open()
        finally:
            del os.environ["SLURM_MEM_PER_CPU"]
        job = on(bench, "a-0", Do(script='printf "%s" "${SLURM_MEM_PER_CPU-none}"'))
        await bench.run(member, job)
        assert await member.fetch(job.ref, "stdout", 0, 100) == b"none"

    @live
    async def test_several_tasks_are_started_by_srun(self, bench: Bench) -> None:
        member = await bench.open()
        job = bench.harness.job(
            "a-0", command=("/bin/sh", "-c", "echo $SLURM_PROCID"), resources=Resources(tasks=3, binding="none")
        )
        assert (await bench.run(member, job)).outcome == "success"
        assert sorted((await member.fetch(job.ref, "stdout", 0, 100)).split()) == [b"0", b"1", b"2"]

    @live
    async def test_a_doubled_array_executes_nothing_twice(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [on(bench, f"a-{i}", Do()) for i in range(5)])
        (ship,) = (bench.harness.folder / "slurm" / "m" / "ships").iterdir()
        text = array_script(Slurm, str(ship.parents[1]), ship.name)
        subprocess.run(
            ["sbatch", "--wait", "--array=0-4", "--output=/dev/null"], input=text, text=True, check=True, timeout=60
        )
        await bench.all_ended(5)
        assert len(bench.harness.lines("start")) == 5
        assert Counter(e.key for e in bench.sink.ends()) == Counter(f"a-{i}" for i in range(5))

    @live
    async def test_a_job_whose_node_dies_is_lost_to_the_infrastructure(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [on(bench, "a-0", Do(120), requeue=False)])
        await bench.running("a-0")
        host = next(event.hosts for event in bench.sink.of("a-0") if event.hosts)
        folder = Path(os.environ["SLURM_CLUSTER_DIR"])
        pid = (folder / f"slurmd.{host}.pid").read_text().strip()
        os.kill(int(pid), signal.SIGKILL)
        try:
            slurm("scontrol", "update", f"nodename={host}", "state=down", "reason=test")
            event = await bench.ended("a-0")
        finally:
            subprocess.run([SCRIPT, "start-node", host], check=True)
            until(nodes_are_up)
        assert (event.outcome, event.reason) == ("lost", "infrastructure")

    @live
    async def test_a_job_that_the_controller_forgot_is_lost_though_another_has_its_id(self, bench: Bench) -> None:
        member = await bench.open(options={"poll": 5.0, "settle": 0.5})
        pid = bench.harness.folder / "pid"
        await member.submit(1, [on(bench, "a-0", Do(120, script=f"echo $$ > {pid}"), requeue=False)])
        await bench.running("a-0")
        await bench.seen(lambda: lines(pid), "it has begun")
        cluster = Path(os.environ["SLURM_CLUSTER_DIR"])
        first = int(native(bench, "a-0").partition("_")[0])
        conf = (cluster / "slurm.conf").read_text().partition("FirstJobId")[0]
        restart_empty(cluster, conf, first)
        until(lambda: not Path(f"/proc/{lines(pid)[0]}").exists())
        # a job of the same id is failed by Slurm ("Job credential revoked") within the second in which a-0 was ended
        gone = time.time()
        until(lambda: time.time() > gone + 2)
        gate = bench.harness.folder / "gate"
        await member.submit(2, [on(bench, "b-0", Do(script=f"until [ -e {gate} ]; do sleep 0.1; done"))])
        await bench.running("b-0")
        assert native(bench, "b-0") == native(bench, "a-0")
        event = await bench.ended("a-0")
        # slurmd kills the program before its script, which may still have recorded the signal
        assert (event.outcome, event.reason) == ("lost", "infrastructure")
        gate.touch()
        assert (await bench.ended("b-0")).outcome == "success"

    @live
    async def test_another_cluster_is_refused_for_nobody_here_could_follow_its_jobs(self, bench: Bench) -> None:
        member = await bench.open()
        (receipt,) = await member.submit(1, [on(bench, "a-0", Do(), clusters="other")])
        assert isinstance(receipt, Refused)
        assert (receipt.transient, "one cluster" in receipt.reason) == (False, True)
        with pytest.raises(MemberError, match="unknown option 'clusters'"):
            await bench.reopen(member, options={"clusters": "other"})

    @live
    async def test_no_is_no_also_as_a_word(self, bench: Bench) -> None:
        member = await bench.open()
        (receipt,) = await member.submit(1, [on(bench, "a-0", Do(), requeue="no")])
        assert isinstance(receipt, Accepted)
        assert " Requeue=0 " in slurm("scontrol", "show", "job", receipt.native_id)
        await bench.ended("a-0")

    @live
    async def test_a_working_directory_that_cannot_be_made_fails_its_own_job_only(self, bench: Bench) -> None:
        member = await bench.open()
        (bench.harness.folder / "file").touch()
        wrong = bench.harness.job("a-0", workdir=str(bench.harness.folder / "file" / "below"))
        await member.submit(1, [wrong, on(bench, "a-1", Do())])
        event = await bench.ended("a-0")
        assert (event.outcome, event.reason) == ("failed", "launch")
        assert "Not a directory" in event.text
        assert (await bench.ended("a-1")).outcome == "success"

    @pytest.mark.parametrize(
        "fields",
        [{"script": "#!/bin/sh 'open\ntrue"}, {"command": ("echo", "a\0b")}, {"command": ("echo", "\udcff")}],
        ids=["first-line", "nul", "surrogate"],
    )
    def test_a_job_of_which_no_script_can_be_made_costs_no_other(
        self, harness: MemberHarness, fields: dict[str, Any]
    ) -> None:
        @live
        async def whole(_: object, bench: Bench) -> None:
            member = await bench.open()
            await member.submit(1, [bench.harness.job("a-0", **fields), on(bench, "a-1", Do())])
            event = await bench.ended("a-0")
            assert (event.outcome, event.reason) == ("failed", "launch")
            assert (await bench.ended("a-1")).outcome == "success"

        whole(self, harness)

    @live
    async def test_a_job_that_ignores_a_cancel_is_ended_though_the_engine_was_started_again(self, bench: Bench) -> None:
        member = await bench.open()
        job = on(bench, "a-0", Do(120, script="trap '' TERM"))
        await member.submit(1, [job])
        await bench.running("a-0")
        await member.cancel([job.ref], 1.0)
        await member.close("detach")
        member = await bench.reopen(member)
        await bench.inventory_until(member, lambda found: found["a-0", 1].state == "inactive")
        found, _ = await bench.inventory(member)
        event = found["a-0", 1].event
        assert event is not None
        assert event.outcome == "cancelled"

    @live
    async def test_a_full_disk_keeps_no_job_from_being_cancelled_and_no_array_from_being_known(
        self, bench: Bench
    ) -> None:
        member = await bench.open()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        job = on(bench, "a-0", Do(120))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("ensemble.members.batch.spool.Spool.name", full)
            (receipt,) = await member.submit(1, [job])
            assert isinstance(receipt, Accepted)
        await bench.running("a-0")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("os.fdatasync", full)
            await member.cancel([job.ref], 1.0)
        until(lambda: not slurm("squeue", "-h", "-t", "R,PD"))
        await member.close("detach")
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        assert found["a-0", 1].native_id == receipt.native_id

    @live
    async def test_an_end_that_the_file_system_shows_late_is_not_taken_for_a_loss(self, bench: Bench) -> None:
        member = await bench.open(options={"poll": 0.5, "settle": 1.0})
        looks = 0

        def look(_: object) -> None:
            nonlocal looks
            looks += 1

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("ensemble.members.batch.spool.Spool.reports", lambda _: [])
            patched.setattr("ensemble.members.batch.spool.Spool.end_of", lambda *_: None)
            patched.setattr("ensemble.members.batch.spool.Spool.look_again", look)
            (receipt,) = await member.submit(1, [on(bench, "a-0", Do())])
            assert isinstance(receipt, Accepted)
            state = ("squeue", "-h", "-t", "all", "-j", receipt.native_id, "-o", "%T")
            await bench.seen(lambda: slurm(*state).strip() == "COMPLETED", "it is over")
            until_then = looks + 6  # each half a second or more after the other
            await bench.seen(lambda: looks >= until_then, "the queue is looked at")
        assert (await bench.ended("a-0")).outcome == "success"

    @live
    async def test_a_controller_with_room_for_some_takes_those_and_the_rest_may_come_again(self, bench: Bench) -> None:
        cluster = Path(os.environ["SLURM_CLUSTER_DIR"])
        conf = (cluster / "slurm.conf").read_text().partition("FirstJobId")[0]
        restart_empty(cluster, conf.replace("MaxJobCount=20000", "MaxJobCount=40"))
        try:
            member = await bench.open()
            receipts = await member.submit(1, [on(bench, f"a-{i}", Do()) for i in range(60)])
            taken = [receipt for receipt in receipts if isinstance(receipt, Accepted)]
            left = [receipt for receipt in receipts if isinstance(receipt, Refused)]
            assert (len(taken) >= 30, len(taken) + len(left)) == (True, 60)
            assert all(receipt.transient for receipt in left)
            await bench.all_ended(len(taken))
            assert len(bench.harness.lines("start")) == len(taken)
        finally:
            restart_empty(cluster, conf)

    @live
    async def test_a_controller_that_does_not_answer_puts_the_member_down_until_it_does(self, bench: Bench) -> None:
        cluster = Path(os.environ["SLURM_CLUSTER_DIR"])
        gate = bench.harness.folder / "gate"
        member = await bench.open(options={"poll": 1.0})
        await member.submit(1, [on(bench, "a-0", Do(script=f"until [ -e {gate} ]; do sleep 0.1; done"))])
        await bench.running("a-0")
        stop_controller(cluster)
        try:
            await bench.until(lambda: went_down(bench), "it is down")
        finally:
            start_controller()
        assert "controller" in went_down(bench)
        member = await bench.reopen(member)
        gate.touch()
        await bench.inventory_until(member, lambda found: found["a-0", 1].state == "inactive")

    @live
    async def test_what_nobody_foresaw_is_told_as_a_member_that_is_down(self, bench: Bench) -> None:
        member = await bench.open()

        def broken(*_: object) -> None:
            raise RuntimeError("unforeseen")

        def down() -> bool:
            return any(isinstance(e, MemberEvent) and e.name == "down" for e in bench.sink.events)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("ensemble.members.batch.spool.Spool.reports", broken)
            await member.submit(1, [on(bench, "a-0", Do())])
            await bench.until(down, "it is down")

    @live
    async def test_a_job_whose_node_dies_and_that_slurm_may_requeue_ends_once_on_another(self, bench: Bench) -> None:
        member = await bench.open()
        do = Do(script='[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] || sleep 120')
        await member.submit(1, [on(bench, "a-0", do, requeue=True)])
        await bench.running("a-0")
        host = next(event.hosts for event in bench.sink.of("a-0") if event.hosts)
        pid = (Path(os.environ["SLURM_CLUSTER_DIR"]) / f"slurmd.{host}.pid").read_text().strip()
        os.kill(int(pid), signal.SIGKILL)
        try:
            slurm("scontrol", "update", f"nodename={host}", "state=down", "reason=test")
            await hurry(bench, "a-0")
            event = await bench.ended("a-0")
        finally:
            subprocess.run([SCRIPT, "start-node", host], check=True)
            until(nodes_are_up)
        assert event.incarnation >= 1  # Slurm may restart it more than once
        assert (event.outcome, len(bench.sink.ends()), len(bench.harness.lines("end"))) == ("success", 1, 1)
        assert event.hosts != host

    @live
    async def test_drained_nodes_let_their_jobs_end_and_take_others_when_they_are_back(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [on(bench, "a-0", Do(2.0))])
        await bench.running("a-0")
        slurm("scontrol", "update", "nodename=ALL", "state=drain", "reason=maintenance")
        try:
            await member.submit(2, [on(bench, "b-0", Do())])
            assert (await bench.ended("a-0")).outcome == "success"
            await bench.until(lambda: [e for e in bench.sink.of("b-0") if e.state == "sched"], "it waits")
            assert bench.sink.of("b-0")[0].text.startswith("pending: ")
            await bench.until(lambda: any("no node is up" in reason for reason in bench.waiting()), "it is said why")
            assert all("maintenance" in reason for reason in bench.waiting())
        finally:
            slurm("scontrol", "update", "nodename=ALL", "state=resume")
        assert (await bench.ended("b-0")).outcome == "success"


FILE = """
members: {{slurm: {{kind: slurm, options: {{poll: 1.0, settle: 1.0}}}}}}
jobs:
  - name: t
    count: {count}
    shell: true
    command: 'echo "$ENSEMBLE_KEY" >> {ledger}; sleep {seconds}'
"""


def test_an_engine_killed_with_9_among_200_jobs_is_resumed_and_each_ran_once(cluster: Path, tmp_path: Path) -> None:
    ledger, run = tmp_path / "ledger", tmp_path / "run"
    (tmp_path / "f.yaml").write_text(FILE.format(count=200, ledger=ledger, seconds=0.2))
    first = ensemble("run", "--run-dir", str(run), str(tmp_path / "f.yaml"))
    until(lambda: len(lines(ledger)) >= 20)
    first.kill()
    first.wait()
    again = ensemble("resume", str(run))
    told, _ = again.communicate(timeout=120)
    assert again.returncode == 0, told
    assert Counter(lines(ledger)) == Counter(f"t-{i}" for i in range(200))


def test_a_controller_that_stops_for_a_while_costs_no_job(cluster: Path, tmp_path: Path) -> None:
    ledger, run = tmp_path / "ledger", tmp_path / "run"
    (tmp_path / "f.yaml").write_text(FILE.format(count=60, ledger=ledger, seconds=1))
    engine = ensemble("run", "--run-dir", str(run), str(tmp_path / "f.yaml"))
    until(lambda: len(lines(ledger)) >= 10)
    stop_controller(cluster)
    time.sleep(5)  # how long it is away is what is tested
    start_controller()
    told, _ = engine.communicate(timeout=200)
    assert engine.returncode == 0, told
    assert Counter(lines(ledger)) == Counter(f"t-{i}" for i in range(60))


def test_a_login_node_asks_where_to_run(cluster: Path, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("jobs: [{name: a, command: 'true'}]\n")
    asked = ensemble("run", "--base", str(tmp_path), str(tmp_path / "f.yaml"))
    told, _ = asked.communicate(timeout=60)
    assert asked.returncode == 2
    assert "--member slurm" in told
    assert "--member local" in told
