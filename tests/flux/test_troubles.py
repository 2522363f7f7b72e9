"""Strangers, typos, slow files and crashes in a real Flux, and that none of them costs more than it must."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest

from ensemble.members.contract import Refused, Unknown
from ensemble.members.flux.broker import Broker
from ensemble.members.flux.records import Records
from ensemble.members.flux.register import Register
from ensemble.members.minicluster import MiniClusterMember
from ensemble.model.errors import MemberError
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import OutputSpec
from ensemble.testing import Do
from ensemble.testing.bench import Bench, live
from tests.flux import test_faults as faults
from tests.flux.instance import Instance, session
from tests.flux.test_faults import another, downs

flux, harness = faults.flux, faults.harness


class TestStrangers:
    @live
    async def test_jobs_of_others_may_bear_whatever_their_owners_like(self, bench: Bench) -> None:
        with another() as own:
            options = {"uri": own.uri}
            member = await bench.open(options=options)
            spec = json.loads(own.run("submit", "--dry-run", "true"))
            path = bench.harness.folder / "odd.json"
            for odd in ("text", 5, None, ["a"], {"ensemble": 5}, {"ensemble": {"token": 5}}):
                spec["attributes"]["user"] = odd
                path.write_text(json.dumps(spec))
                assert own.run("job", "submit", str(path)).strip()
            assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"
            # nor do they stand in the way of who comes later and reads of them in the history
            member = await bench.reopen(member, options=options)
            assert (await bench.run(member, bench.harness.job("b-0"))).outcome == "success"
            assert not downs(bench)
            await bench.close(member, "detach")

    @live
    async def test_ensembles_that_come_first_all_at_once_agree_on_the_instance(self, bench: Bench) -> None:
        for number in range(3):
            with another() as own:
                options = {"uri": own.uri}
                folders = [bench.harness.folder / f"{number}-{place}" for place in range(8)]
                await asyncio.gather(*[bench.open(options=options, run_dir=str(folder)) for folder in folders])
                marks = {Records(str(folder), "m").instance() for folder in folders}
                assert len(marks) == 1


class SlowFile:
    """A file with a figure that says nothing before it is told to: whoever reads it waits."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path, self._writer = path, -1
        self.outputs = (OutputSpec("x", source=str(path), pattern=r"x=(\d+)"),)

    def __enter__(self) -> SlowFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._path.rename(self._path.with_suffix(".over"))
        self._path = self._path.with_suffix(".over")
        if self._writer >= 0 or self.is_read():
            os.close(self._writer)

    def is_read(self) -> bool:
        """Whether somebody waits for it."""
        try:
            self._writer = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        return True

    def say(self, text: str) -> None:
        """Let who waits read this, to its end."""
        os.write(self._writer, text.encode())
        os.close(self._writer)
        self._writer = -1


class TestSlowFiles:
    @live
    async def test_an_inventory_waits_for_figures_that_are_being_read(self, bench: Bench) -> None:
        member = await bench.open()
        with SlowFile(bench.harness.folder / "slow") as file:
            await member.submit(1, [bench.harness.job("a-0", outputs=file.outputs)])
            await bench.seen(file.is_read, "it has ended, and its figures are being read")
            asked = asyncio.create_task(bench.inventory(member))
            await asyncio.sleep(0)
            file.say("x=7\n")
            found, _ = await asked
        event = found["a-0", 1].event
        assert event is not None
        assert event.figures == {"x": 7.0}
        assert (await bench.ended("a-0")).figures == {"x": 7.0}

    @live
    async def test_draining_waits_for_figures_that_are_being_read(self, bench: Bench) -> None:
        member = await bench.open()
        with SlowFile(bench.harness.folder / "slow") as file:
            await member.submit(1, [bench.harness.job("a-0", outputs=file.outputs)])
            await bench.seen(file.is_read, "it has ended, and its figures are being read")
            closing = asyncio.create_task(bench.close(member, "drain"))
            await asyncio.sleep(0)
            file.say("x=7\n")
            await closing
        assert [end.figures for end in bench.sink.ends()] == [{"x": 7.0}]

    @live
    async def test_other_jobs_start_and_end_while_the_figures_of_one_are_being_read(self, bench: Bench) -> None:
        member = await bench.open()
        with SlowFile(bench.harness.folder / "slow") as file:
            await member.submit(1, [bench.harness.job("a-0", outputs=file.outputs)])
            await bench.seen(file.is_read, "it has ended, and its figures are being read")
            assert (await bench.run(member, bench.harness.job("b-0"))).outcome == "success"
            file.say("x=7\n")
            assert (await bench.ended("a-0")).figures == {"x": 7.0}

    @live
    async def test_a_job_that_ends_while_an_inventory_reads_others_is_told_with_its_figures(self, bench: Bench) -> None:
        member = await bench.open()
        with SlowFile(bench.harness.folder / "slow") as file:
            waits = Do(script="until [ -e go ]; do sleep 0.05; done; echo x=8")
            figures = (OutputSpec("x", pattern=r"x=(\d+)"),)
            slow, quick = (
                bench.harness.job("a-0", waits, outputs=file.outputs),
                bench.harness.job("b-0", waits, outputs=figures),
            )
            await member.submit(1, [slow, quick])
            await bench.running("a-0")
            await bench.running("b-0")
            await bench.close(member, "detach")
            (Path(slow.workdir) / "go").touch()
            await bench.seen(lambda: len(session().run("jobs", "-no", "{id}").split()) == 1, "the first has ended")
            member = await bench.reopen(member)
            asked = asyncio.create_task(bench.inventory(member))
            await bench.seen(file.is_read, "the inventory reads the figures of the first")
            (Path(quick.workdir) / "go").touch()
            await bench.until(lambda: queue(bench)["run"] == queue(bench)["cleanup"] == 0, "the second has ended")
            file.say("x=7\n")
            found, _ = await asked
        ends = [item.event for item in found.values() if item.event is not None]
        assert [(end.key, end.figures) for end in ends] == [("a-0", {"x": 7.0})]
        assert (await bench.ended("b-0")).figures == {"x": 8.0}


def queue(bench: Bench) -> dict[str, int]:
    """What was told last of the queue."""
    told = [event.queue for event in bench.sink.events if isinstance(event, MemberEvent) and event.queue]
    return told[-1] if told else {"run": -1, "cleanup": -1}


class TestCrashes:
    @live
    async def test_figures_outlive_the_files_they_were_read_from_although_nobody_heard_of_them(
        self, bench: Bench
    ) -> None:
        member = await bench.open()
        bench.sink.gate.clear()  # the engine dies before any of this is in its journal
        outputs = (OutputSpec("x", source="out", pattern=r"x=(\d+)"),)
        jobs = [
            bench.harness.job("a-0", Do(script="echo x=7 > out"), keep="none", outputs=outputs),
            bench.harness.job("b-0", keep="none", setup="false"),
        ]
        await member.submit(1, jobs)
        await bench.seen(lambda: not any(Path(job.workdir).exists() for job in jobs), "their files are removed")
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        ends = [item.event for item in found.values() if item.event is not None]
        assert [(end.key, end.reason, end.figures) for end in ends] == [("a-0", "", {"x": 7.0}), ("b-0", "setup", None)]

    @live
    async def test_where_figures_cannot_be_kept_their_files_are_not_removed(self, bench: Bench) -> None:
        member = await bench.open()
        in_the_way = bench.harness.folder / "flux" / "m" / "ends"
        in_the_way.mkdir()
        outputs = (OutputSpec("x", source="out", pattern=r"x=(\d+)"),)
        job = bench.harness.job("a-0", Do(script="echo x=7 > out"), keep="none", outputs=outputs)
        await member.submit(1, [job])
        await bench.until(lambda: downs(bench), "it is down")
        (down,) = downs(bench)
        assert isinstance(down, MemberEvent)
        assert str(in_the_way) in down.text
        in_the_way.rmdir()
        member = await bench.reopen(member)
        in_the_way.mkdir()
        with pytest.raises(MemberError, match=str(in_the_way)) as error:
            await bench.inventory(member)
        assert error.value.transient
        in_the_way.rmdir()
        found, _ = await bench.inventory(member)
        event = found["a-0", 1].event
        assert event is not None
        assert event.figures == {"x": 7.0}


class TestTypos:
    @live
    async def test_a_job_is_released_with_the_urgency_of_its_group(self, bench: Bench) -> None:
        member = await bench.open(options={"uri": session().uri, "urgency": 12})
        jobs = [bench.harness.job("a-0", Do(120), options={"urgency": 20}), bench.harness.job("b-0", Do(120))]
        await member.submit(1, jobs)
        found = {}
        for job in jobs:
            await bench.running(job.ref.key)
            native = next(one.native_id for one in bench.sink.of(job.ref.key) if one.native_id)
            found[job.ref.key] = session().run("jobs", "-no", "{urgency}", native).strip()
        assert found == {"a-0": "20", "b-0": "12"}

    @live
    async def test_an_urgency_that_flux_does_not_know_is_refused_before_anything_is_held_for_ever(
        self, bench: Bench
    ) -> None:
        for urgency in ("high", 77, -1, None):
            with pytest.raises(MemberError, match="from 0 to 31") as error:
                await bench.open(options={"uri": session().uri, "urgency": urgency})
            assert not error.value.transient
        member = await bench.open()
        for urgency in ("high", 77, -1, None):
            (receipt,) = await member.submit(1, [bench.harness.job("a-0", options={"urgency": urgency})])
            assert isinstance(receipt, Refused)
            assert "from 0 to 31" in receipt.reason

    @live
    async def test_an_address_or_a_time_that_is_none_is_refused_for_good_and_at_once(self, bench: Bench) -> None:
        with pytest.raises(MemberError, match=r"`flux uri`.*'f2AbCd'") as error:
            await bench.open(options={"uri": "f2AbCd"})
        assert not error.value.transient
        pod = MiniClusterMember()
        for wait in ("soon", -1, "nan", None):
            with pytest.raises(MemberError, match="number of seconds") as error:
                await pod.open(bench.harness.context(bench.sink, options={"uri": session().uri, "wait": wait}))
            assert not error.value.transient

    @live
    async def test_the_time_that_a_resize_may_take_is_an_option_of_a_minicluster(self, bench: Bench) -> None:
        pod = MiniClusterMember()
        try:
            options = {"uri": session().uri, "resize_timeout": 1200}
            hello = await pod.open(bench.harness.context(bench.sink, options=options))
            assert "resize" in hello.capabilities
        finally:
            await pod.close("detach")

    @live
    async def test_a_job_that_cannot_be_said_to_flux_fails_alone(self, bench: Bench) -> None:
        member = await bench.open()
        odd = {
            "a-0": bench.harness.job("a-0", command=(), script="#!/bin/sh -c 'x\ntrue\n"),
            "b-0": bench.harness.job("b-0", command=("echo", "\ud800")),
            "c-0": bench.harness.job("c-0", workdir="jobs/c\0"),
            "d-0": bench.harness.job("d-0", env={"D": "\udcff"}),
        }
        await member.submit(1, [*odd.values(), bench.harness.job("e-0")])
        assert (await bench.ended("e-0")).outcome == "success"
        for key in odd:
            end = await bench.ended(key)
            assert (end.outcome, end.reason) == ("failed", "launch")
            assert end.text


class TestSurroundings:
    @live
    async def test_hosts_to_avoid_are_avoided_where_they_are_and_are_nothing_elsewhere(self, bench: Bench) -> None:
        config = bench.harness.folder / "config.toml"
        config.write_text('[resource]\nnoverify = true\n[[resource.config]]\nhosts = "node[0-3]"\ncores = "0"\n')
        with another(4, "--test-hosts=node[0-3]", f"--config-path={config}") as own:
            member = await bench.open(options={"uri": own.uri})
            avoid = ("node[0-1]", "of-another-member", "node3", "no host at all [")
            end = await bench.run(member, bench.harness.job("a-0", avoid=avoid))
            assert (end.outcome, end.hosts) == ("success", "node2")
            assert (await bench.run(member, bench.harness.job("b-0", avoid=avoid[1:2]))).outcome == "success"
            (receipt,) = await member.submit(1, [bench.harness.job("c-0", avoid=("node[0-3]",))])
            assert isinstance(receipt, Refused)
            await bench.close(member, "detach")

    @live
    async def test_the_place_of_an_engine_that_is_a_task_itself_is_not_that_of_its_jobs(self, bench: Bench) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PMI_FD", "77")
            patch.setenv("PMI_RANK", "3")
            member = await bench.open()
        told = Do(script='echo "${PMI_FD-none} ${PMI_RANK-none}" > told')
        alone, task = bench.harness.job("a-0", told, launcher="none"), bench.harness.job("b-0", told)
        for job in (alone, task):
            assert (await bench.run(member, job)).outcome == "success"
        assert (Path(alone.workdir) / "told").read_text() == "none none\n"
        fd, rank = (Path(task.workdir) / "told").read_text().split()  # what Flux gives to each task
        assert (fd != "77", rank) == (True, "0")

    @live
    async def test_while_the_scheduler_is_loaded_again_the_member_may_be_tried_again(self, bench: Bench) -> None:
        with another() as own:
            own.run("module", "remove", "sched-simple")
            with pytest.raises(MemberError, match="scheduler") as error:
                await bench.open(options={"uri": own.uri})
            assert error.value.transient
            own.run("module", "load", "sched-simple")
            member = await bench.open(options={"uri": own.uri})
            assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"
            await bench.close(member, "detach")

    @live
    async def test_while_what_takes_jobs_in_is_loaded_again_a_job_may_be_sent_again(self, bench: Bench) -> None:
        with another() as own:
            member = await bench.open(options={"uri": own.uri})
            own.run("module", "remove", "job-ingest")
            (receipt,) = await member.submit(1, [bench.harness.job("a-0")])
            assert isinstance(receipt, Refused)
            assert receipt.transient
            own.run("module", "load", "job-ingest")
            assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"
            await bench.close(member, "detach")

    @live
    async def test_a_variable_that_is_no_text_stays_behind_and_nothing_else(self, bench: Bench) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ODD", "\udcff")
            patch.setenv("EVEN", "ä")
            member = await bench.open()
        job = bench.harness.job("a-0", Do(script='echo "${ODD-none} $EVEN" > told'))
        assert (await bench.run(member, job)).outcome == "success"
        assert (Path(job.workdir) / "told").read_text() == "none ä\n"


class TestFaults:
    @live
    async def test_a_fault_of_the_member_itself_is_told_and_another_opening_goes_on(self, bench: Bench) -> None:
        def faulty(*_: object, **__: object) -> NoReturn:
            raise RuntimeError("never thought of that")

        member = await bench.open()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Register, "follow", faulty)
            await member.submit(1, [bench.harness.job("a-0")])
            await bench.until(lambda: downs(bench), "it is down")
        (down,) = downs(bench)
        assert isinstance(down, MemberEvent)
        assert "never thought of that" in down.text
        with pytest.raises(MemberError) as error:
            await member.submit(2, [bench.harness.job("b-0")])
        assert error.value.transient
        await bench.close(member, "drain")  # there is nobody to wait for
        member = await bench.reopen(member)
        assert (await bench.ended("a-0")).outcome == "success"
        assert bench.harness.lines("start", "a-0") == ["start a-0 1"]


class TestAnotherInstance:
    def test_an_engine_that_is_a_job_itself_is_resumed_by_another_job(self, flux: Instance, tmp_path: Path) -> None:
        """Each job of Flux stands in a part of the key-value store of its own."""
        ledger = tmp_path / "ledger"
        (tmp_path / "e.yaml").write_text(
            f"jobs: [{{name: s, count: 2, command: sh -c 'sleep 1; echo end >> {ledger}'}}]\n"
        )
        engine = ("run", f"--cwd={tmp_path}", f"--env=ENSEMBLE_HOME={tmp_path}/home", sys.executable, "-m", "ensemble")
        assert "resume" in flux.run(*engine, "run", "e.yaml", "--run-dir", "run", "--detach")
        assert "run: success" in flux.run(*engine, "resume", "run")
        assert ledger.read_text().splitlines() == ["end", "end"]

    @live
    async def test_an_instance_that_follows_at_the_same_address_takes_the_run_over(self, bench: Bench) -> None:
        """As in the pod of a MiniCluster whose broker was started again."""
        place = bench.harness.folder / "local"
        options = {"uri": f"local://{place}"}
        with another() as own:
            place.symlink_to(own.uri.removeprefix("local://"))
            member = await bench.open(options=options)
            await member.submit(1, [bench.harness.job("a-0", Do(120))])
            await bench.running("a-0")
            own.kill()
            await bench.until(lambda: downs(bench), "it is down")
        place.unlink()
        with another() as own:
            place.symlink_to(own.uri.removeprefix("local://"))
            member = await bench.reopen(member, options=options)
            found, _ = await bench.inventory(member)
            assert found["a-0", 1].event is not None
            assert found["a-0", 1].event.outcome == "lost"
            assert (await bench.run(member, bench.harness.job("b-0"))).outcome == "success"
            await bench.close(member, "detach")

    @live
    async def test_an_instance_that_is_reached_by_ssh_is_not_believed_dead(self, bench: Bench) -> None:
        ssh = bench.harness.folder / "ssh"
        ssh.write_text('#!/bin/sh\nshift\nexec /bin/sh -c "$*"\n')
        ssh.chmod(0o755)
        path = session().uri.removeprefix("local://")
        with pytest.MonkeyPatch.context() as patch, another() as own:
            patch.setenv("FLUX_SSH", str(ssh))
            member = await bench.open(options={"uri": f"ssh://here{path}"})
            assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"
            await bench.close(member, "detach")
            with pytest.raises(MemberError, match="another Flux instance"):
                await bench.reopen(member, options={"uri": own.uri})


class TestBroker:
    @live
    async def test_a_job_that_is_cancelled_while_nobody_knows_whether_it_was_taken_never_runs(
        self, bench: Bench
    ) -> None:
        with another() as own, pytest.MonkeyPatch.context() as patch:
            member = await bench.open(options={"uri": own.uri})
            await bench.run(member, bench.harness.job("a-0"))
            patch.setattr(Broker.calls, "__defaults__", (1.0,))
            own.halt()
            try:
                (receipt,) = await member.submit(1, [bench.harness.job("b-0")])
                assert isinstance(receipt, Unknown)
                await member.cancel([bench.harness.ref("b-0")], 1.0)
            finally:
                own.go_on()
            end = await bench.ended("b-0")
            assert end.outcome == "cancelled"
            assert not bench.harness.lines("start", "b-0")
            await bench.close(member, "detach")

    @live
    async def test_a_job_that_ends_with_its_instance_is_lost_and_not_cancelled(self, bench: Bench) -> None:
        with another() as own:
            member = await bench.open(options={"uri": own.uri})
            await member.submit(1, [bench.harness.job("a-0", Do(120))])
            await bench.running("a-0")
            own.end()
            end = await bench.ended("a-0")
            assert (end.outcome, end.reason) == ("lost", "infrastructure")
            assert "instance has ended" in end.text
            await bench.until(lambda: downs(bench), "it is down")

    @live
    async def test_a_job_that_we_cancel_is_cancelled_although_its_instance_ends(self, bench: Bench) -> None:
        with another() as own:
            member = await bench.open(options={"uri": own.uri})
            await member.submit(1, [bench.harness.job("a-0", Do(script="trap '' TERM; while :; do sleep 0.1; done"))])
            await bench.running("a-0")
            await member.cancel([bench.harness.ref("a-0")], 120.0)
            own.end()
            assert (await bench.ended("a-0")).outcome == "cancelled"


class TestConnections:
    @live
    async def test_a_member_that_is_opened_again_and_again_holds_one_connection(self, bench: Bench) -> None:
        def held() -> Counter[str]:
            names = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
            return Counter(name.partition(":[")[0] for name in names)

        member = await bench.open()
        await bench.run(member, bench.harness.job("a-0"))
        once = held()
        for epoch in (2, 3, 4):
            await member.open(bench.harness.context(bench.sink, epoch=epoch, resumed=True))
            await bench.run(member, bench.harness.job(f"b-{epoch}"))
        assert held() == once

    @live
    async def test_nothing_of_a_connection_is_left_to_the_garbage_collector_of_another_thread(
        self, bench: Bench
    ) -> None:
        """It would be ended under the reactor's hands."""
        future = import_module("flux.future").Future
        member = await bench.open()
        gc.collect()
        gc.disable()
        try:
            await member.submit(1, [bench.harness.job(f"a-{number}") for number in range(20)])
            await bench.all_ended(20)
            left = [one for one in gc.get_objects() if isinstance(one, future)]
        finally:
            gc.enable()
        # the two streams, and at most one look at what is free and one ping
        assert len(left) <= 4


class TestWatching:
    def test_the_watch_ends_without_a_word_when_nobody_reads_it_any_more(self, flux: Instance) -> None:
        command = [sys.executable, "-m", "ensemble.members.flux", "--uri", flux.uri]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            assert watch.stderr is not None
            assert "nodes" in watch.stdout.readline()
            watch.stdout.close()
            flux.run("submit", "--wait", "true")
            try:
                assert watch.wait(60) == 0
            finally:
                watch.kill()
            assert watch.stderr.read() == ""
