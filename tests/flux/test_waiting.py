"""Why jobs wait in a real Flux, and what becomes of those that people cancel there."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from ensemble.testing import Do
from ensemble.testing.bench import Bench, live
from tests.flux import test_faults as faults
from tests.flux.instance import Instance, session
from tests.flux.test_faults import RUN, another, until

flux, harness = faults.flux, faults.harness

WHO = pwd.getpwuid(os.getuid()).pw_name


class TestWhyJobsWait:
    @live
    async def test_more_jobs_than_cores_wait_for_resources_and_then_no_longer(self, bench: Bench) -> None:
        member = await bench.open()
        jobs = [bench.harness.job(f"a-{i}", Do(120)) for i in range(bench.hello.cores_up + 2)]
        await member.submit(1, jobs)
        await bench.until(lambda: bench.waiting() == {"resources": 2}, "two jobs wait for resources")
        await member.cancel([job.ref for job in jobs], 0.1)
        await bench.until(lambda: bench.waiting() == {}, "no job waits")

    @live
    async def test_what_the_scheduler_says_of_a_job_is_passed_on(self, bench: Bench) -> None:
        with another() as own:
            own.run("module", "debug", "--setbit", "2", "sched-simple")  # has it give a reason
            member = await bench.open(options={"uri": own.uri})
            await member.submit(1, [bench.harness.job(f"a-{i}", Do(120)) for i in range(bench.hello.cores_up + 1)])
            await bench.until(lambda: bench.waiting() == {"insufficient resources": 1}, "the scheduler's reason")
            await bench.close(member, "detach")

    @live
    async def test_a_queue_that_was_stopped_is_named_although_nothing_else_happens(self, bench: Bench) -> None:
        with another() as own:
            own.run("queue", "stop", "--message=until noon")
            member = await bench.open(options={"uri": own.uri})
            await member.submit(1, [bench.harness.job("a-0", Do(120))])
            await bench.until(lambda: bench.waiting() == {"the queue is stopped: until noon": 1}, "it is stopped")
            own.run("resource", "drain", "0")
            own.run("queue", "start")
            await bench.until(lambda: bench.waiting() == {"resources, 1 of 1 node down or drained": 1}, "it is drained")
            await bench.close(member, "detach")


class TestCancelledByHand:
    @live
    async def test_one_that_waits_and_one_that_runs_are_cancelled_and_say_by_whom(self, bench: Bench) -> None:
        member = await bench.open()
        cores = bench.hello.cores_up
        jobs = [bench.harness.job(f"a-{i}", Do(120)) for i in range(cores + 1)]
        await member.submit(1, jobs)
        last = f"a-{cores}"
        await bench.until(lambda: bench.waiting() == {"resources": 1}, "the last one waits")
        running = bench.sink.of("a-0")[-1]
        waits = bench.sink.of(last)[-1]
        session().run("cancel", "--message=not needed", running.native_id, waits.native_id)
        for key in ("a-0", last):
            end = await bench.ended(key)
            assert (end.outcome, end.reason) == ("cancelled", "cancelled")
            assert end.text == f"cancelled in Flux by {WHO}: not needed"

    def test_the_summary_of_a_run_says_that_jobs_were_cancelled_and_by_whom(
        self, flux: Instance, tmp_path: Path
    ) -> None:
        (tmp_path / "e.yaml").write_text("jobs: [{name: s, command: sleep 60}, {name: t, command: 'true'}]\n")
        environment = {**os.environ, "FLUX_URI": flux.uri, "ENSEMBLE_HOME": str(tmp_path / "home")}
        process = subprocess.Popen(
            [*RUN, "run", "e.yaml", "--run-dir", "run"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        until(lambda: flux.run("jobs", "-n", "--filter=running", "--format={name}").split() == ["s"])
        flux.run("cancel", "--all")
        out, _ = process.communicate(timeout=60)
        assert f"1 job cancelled from outside this run: cancelled in Flux by {WHO} (1)" in out
