# ruff: noqa: ASYNC221
"""What goes wrong in a real Flux, and what each gets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ensemble.members.flux import FluxMember
from ensemble.members.minicluster import MiniClusterMember
from ensemble.model.errors import MemberError
from ensemble.model.events import MemberEvent, NativeEvent
from ensemble.model.jobs import OutputSpec, Resources
from ensemble.testing import Do, MemberHarness
from ensemble.testing.bench import Bench, live
from tests.flux.instance import Instance, missing, session

RUN = [sys.executable, "-m", "ensemble"]


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


class Harness(MemberHarness):
    patience = 60.0

    def member(self) -> FluxMember:
        return FluxMember()

    def options(self) -> dict[str, Any]:
        return {"uri": session().uri}


@pytest.fixture
def flux() -> Iterator[Instance]:
    if missing():
        pytest.skip(missing())
    yield session()
    session().run("cancel", "--all")


@contextlib.contextmanager
def another(size: int = 1, *options: str) -> Iterator[Instance]:
    """An instance that a test may end."""
    instance = Instance(size, *options)
    try:
        yield instance
    finally:
        instance.stop()


@pytest.fixture
def harness(flux: Instance, tmp_path: Path) -> MemberHarness:
    return Harness(tmp_path)


class TestJobs:
    @live
    async def test_a_job_that_a_person_cancels_is_cancelled(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(120))])
        await bench.running("a-0")
        session().run("cancel", next(one.native_id for one in bench.sink.of("a-0") if one.native_id))
        end = await bench.ended("a-0")
        assert (end.outcome, end.reason) == ("cancelled", "cancelled")

    @live
    async def test_a_queue_that_is_not_there_is_refused_in_flux_own_words(self, bench: Bench) -> None:
        member = await bench.open()
        (receipt,) = await member.submit(1, [bench.harness.job("a-0", options={"queue": "nowhere"})])
        assert receipt.transient is False
        assert "queue" in receipt.reason.lower()

    @live
    async def test_a_disabled_queue_takes_jobs_again_when_it_is_enabled(self, bench: Bench) -> None:
        member = await bench.open()
        session().run("queue", "disable", "-m", "maintenance")
        try:
            (receipt,) = await member.submit(1, [bench.harness.job("a-0")])
        finally:
            session().run("queue", "enable")
        assert receipt.transient is True
        assert "maintenance" in receipt.reason or "disabled" in receipt.reason
        assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"

    @live
    async def test_tasks_of_a_job_are_started_by_flux_and_know_their_rank(self, bench: Bench) -> None:
        member = await bench.open()
        job = bench.harness.job(
            "a-0", command=("/bin/sh", "-c", "echo $FLUX_TASK_RANK >> ranks"), resources=Resources(nodes=2, tasks=4)
        )
        assert (await bench.run(member, job)).outcome == "success"
        ranks = (Path(job.workdir) / "ranks").read_text().split()
        assert sorted(ranks) == ["0", "1", "2", "3"]

    @live
    async def test_setup_and_cleanup_run_once_around_all_tasks(self, bench: Bench) -> None:
        member = await bench.open()
        job = bench.harness.job(
            "a-0",
            command=("/bin/sh", "-c", "echo $LOADED >> tasks"),
            setup="echo x >> setup\nexport LOADED=yes",
            cleanup="echo x >> cleanup",
            resources=Resources(tasks=3),
        )
        end = await bench.run(member, job)
        assert (end.outcome, end.text) == ("success", "")
        read = {name: (Path(job.workdir) / name).read_text().split() for name in ("setup", "tasks", "cleanup")}
        assert read == {"setup": ["x"], "tasks": ["yes"] * 3, "cleanup": ["x"]}

    @live
    async def test_a_setup_that_fails_is_the_reason(self, bench: Bench) -> None:
        member = await bench.open()
        end = await bench.run(member, bench.harness.job("a-0", setup="false"))
        assert (end.outcome, end.reason) == ("failed", "setup")

    @live
    async def test_a_host_to_avoid_is_avoided_and_one_that_is_required_is_kept(self, bench: Bench) -> None:
        member = await bench.open()
        host = os.uname().nodename
        refused, taken = await member.submit(
            1, [bench.harness.job("a-0", avoid=(host,)), bench.harness.job("b-0", options={"requires": f"host:{host}"})]
        )
        assert type(refused).__name__ == "Refused"
        assert type(taken).__name__ == "Accepted"
        assert (await bench.ended("b-0")).outcome == "success"

    @live
    async def test_native_events_come_under_the_names_of_flux(self, bench: Bench) -> None:
        member = await bench.open(wanted=("alloc", "finish"))
        await bench.run(member, bench.harness.job("a-0"))
        names = [one.name for one in bench.sink.events if isinstance(one, NativeEvent)]
        assert names == ["alloc", "finish"]

    @live
    async def test_what_is_free_and_queued_is_told_when_it_changes(self, bench: Bench) -> None:
        member = await bench.open()
        cores = bench.hello.cores_up
        await member.submit(1, [bench.harness.job(f"a-{i}", Do(120)) for i in range(cores + 2)])

        def full() -> bool:
            told = [e for e in bench.sink.events if isinstance(e, MemberEvent) and e.queue]
            return bool(told) and told[-1].cores_free == 0 and told[-1].queue == {
                "depend": 0, "sched": 2, "run": cores, "cleanup": 0,
            }  # fmt: skip

        await bench.until(full, "it is full")


class TestOnce:
    @live
    async def test_a_second_job_with_a_known_key_never_starts(self, bench: Bench) -> None:
        """As a submission that was on its way when its engine died."""
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(1.0))])
        await bench.running("a-0")
        native = next(one.native_id for one in bench.sink.of("a-0") if one.native_id)
        spec = json.loads(session().run("job", "info", native, "jobspec"))
        spec["attributes"]["system"]["environment"] = {**os.environ, "ENSEMBLE_KEY": "a-0", "ENSEMBLE_ATTEMPT": "1"}
        path = bench.harness.folder / "again.json"
        path.write_text(json.dumps(spec))
        double = session().run("job", "submit", "--urgency=0", str(path)).strip()
        assert double
        await bench.seen(lambda: "CA" in session().run("jobs", "-no", "{status_abbrev}", double), "it is cancelled")
        assert (await bench.ended("a-0")).outcome == "success"
        assert bench.harness.lines("start", "a-0") == ["start a-0 1"]

    @live
    async def test_a_job_whose_engine_died_before_it_was_released_is_released_by_the_next(self, bench: Bench) -> None:
        member = await bench.open()
        gate = bench.harness.folder / "gate"
        do = Do(script=f"until [ -e {gate} ]; do sleep 0.1; done")
        await member.submit(1, [bench.harness.job("b-0", do)])
        await bench.running("b-0")
        native = next(one.native_id for one in bench.sink.of("b-0") if one.native_id)
        spec = json.loads(session().run("job", "info", native, "jobspec"))
        await bench.close(member, "detach")
        spec["attributes"]["user"]["ensemble"]["key"] = "a-0"
        spec["attributes"]["system"]["environment"] = {**os.environ, "ENSEMBLE_KEY": "a-0", "ENSEMBLE_ATTEMPT": "1"}
        path = bench.harness.folder / "held.json"
        path.write_text(json.dumps(spec))
        session().run("job", "submit", "--urgency=0", str(path))
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        assert found[("a-0", 1)].state != "inactive"
        (receipt,) = await member.submit(2, [bench.harness.job("a-0", do)])
        assert type(receipt).__name__ == "Accepted"
        gate.touch()
        assert (await bench.ended("a-0")).outcome == "success"
        assert bench.harness.lines("start", "a-0") == ["start a-0 1"]

    @live
    async def test_a_job_that_flux_has_purged_is_lost_and_does_not_run_again(self, bench: Bench) -> None:
        member = await bench.open()
        job = bench.harness.job("a-0")
        await bench.run(member, job)
        await bench.close(member, "detach")
        session().run("job", "purge", "--force", "--num-limit=0")
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        event = found[("a-0", 1)].event
        assert event is not None
        assert (event.outcome, event.reason) == ("lost", "infrastructure")
        (receipt,) = await member.submit(2, [job])
        assert type(receipt).__name__ == "Accepted"
        assert bench.harness.lines("start", "a-0") == ["start a-0 1"]

    @live
    async def test_a_run_made_again_in_the_same_directory_knows_nothing_of_the_old_one(self, bench: Bench) -> None:
        member = await bench.open()
        await bench.run(member, bench.harness.job("a-0"))
        await bench.close(member, "detach")
        subprocess.run(["rm", "-r", str(bench.harness.folder / "flux")], check=True)
        member = await bench.open()
        found, _ = await bench.inventory(member)
        assert found == {}
        assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"

    @live
    async def test_figures_are_read_although_the_end_came_while_no_engine_was_there(self, bench: Bench) -> None:
        member = await bench.open()
        outputs = (OutputSpec("x", pattern=r"x=(\d+)"),)
        await member.submit(1, [bench.harness.job("a-0", Do(0.5, prints="x=7"), outputs=outputs)])
        await bench.running("a-0")
        await bench.close(member, "detach")
        await bench.seen(lambda: not session().run("jobs", "-no", "{id}"), "it has ended")
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        event = found[("a-0", 1)].event
        assert event is not None
        assert event.figures == {"x": 7.0}


class TestBroker:
    @live
    async def test_a_broker_that_dies_is_told_once_and_its_jobs_are_lost_elsewhere(self, bench: Bench) -> None:
        with another() as own:
            member = await bench.open(options={"uri": own.uri})
            await member.submit(1, [bench.harness.job("a-0", Do(120))])
            await bench.running("a-0")
            own.kill()
            await bench.until(lambda: bool(downs(bench)), "it is down")
            with pytest.raises(MemberError) as error:
                await member.submit(2, [bench.harness.job("b-0")])
            assert error.value.transient
            assert len(downs(bench)) == 1
        # the same run in another instance: the first is known to be dead, for it was on this machine
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        event = found[("a-0", 1)].event
        assert event is not None
        assert event.outcome == "lost"

    @live
    async def test_a_run_whose_jobs_are_in_another_living_instance_is_not_resumed_here(self, bench: Bench) -> None:
        with another() as own:
            member = await bench.open(options={"uri": own.uri})
            await bench.close(member, "detach")
            with pytest.raises(MemberError, match="another Flux instance") as error:
                await bench.reopen(member)
            assert not error.value.transient
            assert own.uri in str(error.value)


def downs(bench: Bench) -> list[object]:
    return [event for event in bench.sink.events if isinstance(event, MemberEvent) and event.name == "down"]


FILE = """
jobs:
  - name: s
    command: sh -c 'echo start $ENSEMBLE_KEY >> {ledger}; sleep 0.3; echo end $ENSEMBLE_KEY >> {ledger}'
    count: {count}
"""


class TestRuns:
    def test_an_engine_killed_among_its_jobs_is_resumed_and_each_job_runs_once(
        self, flux: Instance, tmp_path: Path
    ) -> None:
        ledger, count = tmp_path / "ledger", 60
        (tmp_path / "e.yaml").write_text(FILE.format(ledger=ledger, count=count))
        environment = {**os.environ, "FLUX_URI": flux.uri, "ENSEMBLE_HOME": str(tmp_path / "home")}
        process = subprocess.Popen(
            [*RUN, "run", "e.yaml", "--run-dir", "run"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
        )
        for part in (1, 20, 35):
            until(lambda part=part: ledger.exists() and ledger.read_text().count("end") >= part)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process = subprocess.Popen(
                [*RUN, "resume", "run"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
            )
        assert process.wait(120) == 0
        counted = Counter(ledger.read_text().splitlines())
        assert counted == {f"{word} s-{number}": 1 for word in ("start", "end") for number in range(count)}
        assert subprocess.run([*RUN, "verify", "run"], cwd=tmp_path, env=environment).returncode == 0

    def test_a_run_that_is_detached_goes_on_and_is_picked_up(self, flux: Instance, tmp_path: Path) -> None:
        ledger = tmp_path / "ledger"
        (tmp_path / "e.yaml").write_text(FILE.format(ledger=ledger, count=8))
        environment = {**os.environ, "FLUX_URI": flux.uri, "ENSEMBLE_HOME": str(tmp_path / "home")}
        call = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120}
        left = subprocess.run([*RUN, "run", "e.yaml", "--run-dir", "run", "--detach"], **call)
        assert left.returncode == 0, left.stderr
        until(lambda: ledger.exists() and ledger.read_text().count("end") == 8)
        resumed = subprocess.run([*RUN, "resume", "run"], **call)
        assert resumed.returncode == 0, resumed.stderr
        assert "8" in resumed.stdout
        assert ledger.read_text().count("start") == 8

    def test_inside_an_instance_run_uses_it_and_says_so(self, flux: Instance, tmp_path: Path) -> None:
        (tmp_path / "e.yaml").write_text("jobs: [{name: a, command: 'true'}]\n")
        environment = {**os.environ, "FLUX_URI": flux.uri, "ENSEMBLE_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [*RUN, "run", "e.yaml"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0
        assert "member flux is up: 2 nodes" in done.stdout

    def test_watching_a_queue_prints_its_events_and_its_status(self, flux: Instance) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "ensemble.members.flux", "--json"],
            env={**os.environ, "FLUX_URI": flux.uri},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["nodes"]["node_up_count"] == 2
        flux.run("submit", "true")
        names: list[str] = []
        while "clean" not in names:
            line = json.loads(process.stdout.readline())
            names += [line["name"]] if "name" in line else []
        assert [name for name in names if name in ("submit", "start", "finish", "clean")] == [
            "submit", "start", "finish", "clean",
        ]  # fmt: skip
        process.send_signal(signal.SIGINT)
        assert process.wait(10) in (0, 130)


@pytest.mark.parametrize(
    ("kind", "missing"),
    [("flux", "Flux is not here"), ("minicluster", "a MiniCluster needs the image of its programs")],
)
def test_without_flux_one_line_says_at_once_what_is_missing(tmp_path: Path, kind: str, missing: str) -> None:
    (tmp_path / "e.yaml").write_text("jobs: [{name: a, command: 'true'}]\n")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ENSEMBLE_HOME": str(tmp_path / "home")}
    program = "import sys; sys.modules['flux'] = None; from ensemble.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "--member", kind, "e.yaml"],
        cwd=tmp_path,
        env={**environment, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert missing in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


class MiniClusterHarness(Harness):
    def member(self) -> FluxMember:
        return MiniClusterMember()

    def options(self) -> dict[str, Any]:
        # a pod's view: the broker's socket at its usual place
        view = self.folder / "view"
        (view / "run" / "flux").mkdir(parents=True, exist_ok=True)
        socket = view / "run" / "flux" / "local"
        if not socket.exists():
            socket.symlink_to(session().uri.removeprefix("local://"))
        return {"view": str(view)}


class TestMiniCluster:
    @pytest.fixture
    def harness(self, flux: Instance, tmp_path: Path) -> MemberHarness:
        return MiniClusterHarness(tmp_path)

    @live
    async def test_the_broker_is_found_in_the_view_and_its_size_is_told(self, bench: Bench) -> None:
        member = await bench.open()
        assert bench.hello.nodes_up == 2
        assert "resize" in bench.hello.capabilities
        assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"

    @live
    async def test_a_change_of_size_is_asked_for_and_told_when_it_is_there(self, bench: Bench) -> None:
        session().run("resource", "drain", "1")
        try:
            member = await bench.open(max_nodes=2)
            assert bench.hello.nodes_up == 1
            assert type(await member.resize(1, 2)).__name__ == "Accepted"
            await bench.until(lambda: [e for e in bench.sink.events if getattr(e, "nodes_wanted", -1) == 2], "it asks")
        finally:
            session().run("resource", "undrain", "1")  # as the operator brings the pod
        await bench.until(lambda: [e for e in bench.sink.events if getattr(e, "nodes_up", -1) == 2], "it is there")

    @live
    async def test_a_size_that_it_cannot_have_is_refused_with_its_bounds(self, bench: Bench) -> None:
        member = await bench.open()
        receipt = await member.resize(1, 9)
        assert receipt.reason == "this MiniCluster can have 1 to 2 nodes, not 9"

    @live
    async def test_without_a_broker_it_says_so_and_may_be_tried_again(self, bench: Bench) -> None:
        with pytest.raises(MemberError, match="no Flux broker has come up") as error:
            await bench.open(options={"view": str(bench.harness.folder), "wait": 0.1})
        assert error.value.transient
