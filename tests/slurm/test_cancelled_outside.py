"""Jobs that a person cancels with `scancel` are told as cancelled from outside, on a real Slurm."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ensemble.model.events import JobEvent
from ensemble.model.jobs import Resources
from ensemble.testing import Do, MemberHarness
from ensemble.testing.bench import Bench, live
from tests.slurm.cluster import ensemble, native, on, slurm, until

OUTSIDE = ("cancelled", "cancelled", "Slurm says CANCELLED")
LEFT = ("cancelled", "cancelled", "it was taken out of the queue while it waited")


def why(event: JobEvent) -> tuple[str, str, str]:
    return event.outcome, event.reason, event.text


async def fill(bench: Bench, jobs: int = 3) -> None:
    """Submit one array whose first task keeps the only node of its partition busy, so that the others wait."""
    member = await bench.open(options={"poll": 1.0, "settle": 0.5, "partition": "short"})
    whole = Resources(cores=4)
    specs = [bench.harness.job(f"a-{i}", Do(120 if i == 0 else 0), resources=whole) for i in range(jobs)]
    await member.submit(1, specs)
    await bench.running("a-0")


class TestCancelledOutside:
    @live
    async def test_one_waiting_task_of_an_array(self, bench: Bench) -> None:
        await fill(bench)
        slurm("scancel", native(bench, "a-0").partition("_")[0] + "_1")
        assert why(await bench.ended("a-1")) == LEFT
        slurm("scancel", "--full", "--signal=KILL", native(bench, "a-0"))
        assert (await bench.ended("a-2")).outcome == "success"

    @live
    async def test_every_waiting_task_of_an_array(self, bench: Bench) -> None:
        await fill(bench)
        slurm("scancel", "--state=PENDING", native(bench, "a-0").partition("_")[0])
        slurm("scancel", native(bench, "a-0").partition("_")[0])
        assert [why(await bench.ended(key)) for key in ("a-0", "a-1", "a-2")] == [OUTSIDE] * 3

    @live
    async def test_a_job_that_runs_is_told_long_before_the_next_poll_with_the_queues_time(self, bench: Bench) -> None:
        member = await bench.open(options={"poll": 600.0})
        await member.submit(1, [on(bench, "a-0", Do(120))])
        await bench.running("a-0")
        slurm("scancel", native(bench, "a-0"))
        cancelled_at = time.time()
        event = await bench.ended("a-0")
        assert why(event) == OUTSIDE
        assert event.time == pytest.approx(cancelled_at, abs=2.0)

    @live
    async def test_what_we_cancel_ourselves_is_not(self, bench: Bench) -> None:
        await fill(bench)
        member = bench._members[-1]
        await member.cancel([bench.harness.job(key).ref for key in ("a-0", "a-1", "a-2")], 1.0)
        assert {(await bench.ended(key)).outcome for key in ("a-0", "a-1", "a-2")} == {"cancelled"}

    def test_accounting_says_by_whom(
        self, harness: MemberHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # the cluster of the tests keeps no accounts: a stand-in of `sacct` prints what a real one does
        real = slurm("which", "scontrol").strip()
        accounts = f"{real} \"$@\" | sed 's/^AccountingStorageType .*/AccountingStorageType = slurmdbd/'"
        for name, line in (("sacct", 'for last; do :; done; echo "$last|100|CANCELLED by 0"'), ("scontrol", accounts)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

        @live
        async def body(self: Any, bench: Bench) -> None:
            member = await bench.open()
            await member.submit(1, [on(bench, "a-0", Do(120))])
            await bench.running("a-0")
            slurm("scancel", native(bench, "a-0"))
            assert (await bench.ended("a-0")).text == "cancelled by user root"

        body(self, harness)


FILE = """
members: {{slurm: {{kind: slurm, options: {{poll: 1.0, partition: short}}}}}}
jobs: [{{name: t, count: 3, cores: 4, shell: true, command: 'until [ -e {gate} ]; do sleep 0.1; done'}}]
"""


def test_the_summary_of_a_run_says_that_a_job_was_cancelled_from_outside(cluster: Path, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(FILE.format(gate=tmp_path / "gate"))
    engine = ensemble("run", "--run-dir", str(tmp_path / "run"), str(tmp_path / "f.yaml"))
    until(lambda: "PENDING" in slurm("squeue", "-h", "-r", "-o", "%T"))
    slurm("scancel", slurm("squeue", "-h", "-r", "-t", "PENDING", "-o", "%F_%K").split()[-1])
    (tmp_path / "gate").touch()
    told, _ = engine.communicate(timeout=120)
    assert "1 job cancelled from outside this run" in told
    assert "tried again" not in told
