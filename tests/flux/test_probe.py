from __future__ import annotations
import asyncio, json, os, subprocess, sys, time
from pathlib import Path
import pytest
from ensemble.members.flux import FluxMember
from ensemble.members.minicluster import MiniClusterMember
from ensemble.model.errors import MemberError
from ensemble.model.events import MemberEvent
from ensemble.model.jobs import OutputSpec, Resources
from ensemble.testing import Do
from ensemble.testing.bench import Bench, live
from tests.flux.instance import Instance, missing, session
from tests.flux.test_faults import Harness, another, flux, harness, downs, MiniClusterHarness


class TestProbe:
    @live
    async def test_a_group_urgency(self, bench):
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(5), options={"urgency": 20})])
        await bench.running("a-0")
        nat = next(o.native_id for o in bench.sink.of("a-0") if o.native_id)
        print("URG", session().run("jobs", "-no", "{urgency}", nat))
        assert session().run("jobs", "-no", "{urgency}", nat).strip() == "20"

    @live
    async def test_b_urgency_typo(self, bench):
        with pytest.raises(MemberError):
            await bench.open(options={"uri": session().uri, "urgency": "high"})

    @live
    async def test_b2_urgency_range(self, bench):
        with pytest.raises(MemberError):
            await bench.open(options={"uri": session().uri, "urgency": 77})

    @live
    async def test_d_foreign_user(self, bench):
        member = await bench.open()
        spec = json.loads(session().run("submit", "--dry-run", "true"))
        outs = []
        for bad in ({"ensemble": 5}, {"ensemble": None}):
            spec["attributes"]["user"] = bad
            p = bench.harness.folder / "f.json"
            p.write_text(json.dumps(spec))
            d = subprocess.run(
                ["flux", "proxy", session().uri, "flux", "job", "submit", str(p)], capture_output=True, text=True
            )
            outs.append((bad, d.stdout, d.stderr))
        del spec["attributes"]["user"]
        p.write_text(json.dumps(spec))
        d = subprocess.run(
            ["flux", "proxy", session().uri, "flux", "job", "submit", str(p)], capture_output=True, text=True
        )
        print(outs, d)
        assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"
        assert not downs(bench)

    @live
    async def test_e_env(self, bench):
        os.environb[b"ODD"] = b"\xff"
        try:
            member = await bench.open()
            assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"
        finally:
            del os.environ["ODD"]

    @live
    async def test_f_shebang(self, bench):
        member = await bench.open()
        r = await member.submit(
            1, [bench.harness.job("a-0", command=(), script="#!/bin/sh -c 'x\ntrue\n"), bench.harness.job("b-0")]
        )
        print(r)
        print(await bench.ended("a-0"))
        assert (await bench.ended("b-0")).outcome == "success"

    @live
    async def test_g_sched(self, bench):
        with another() as own:
            own.run("module", "remove", "-f", "sched-simple")
            with pytest.raises(MemberError) as e:
                await bench.open(options={"uri": own.uri})
            print(e.value, e.value.transient)
            assert e.value.transient

    @live
    async def test_h_ingest(self, bench):
        with another() as own:
            member = await bench.open(options={"uri": own.uri})
            print(own.run("module", "remove", "-f", "job-ingest"))
            r = await member.submit(1, [bench.harness.job("a-0")])
            print(r)
            own.run("module", "load", "job-ingest")
            assert r[0].transient
            assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"

    @live
    async def test_i_drain(self, bench):
        member = await bench.open()
        fifo = bench.harness.folder / "fifo"
        os.mkfifo(fifo)
        await member.submit(
            1, [bench.harness.job("a-0", Do(0.3), outputs=(OutputSpec("x", source=str(fifo), pattern=r"x=(\d+)"),))]
        )
        await bench.running("a-0")
        await bench.seen(lambda: not session().run("jobs", "-no", "{id}"), "it has ended")
        await asyncio.sleep(0.3)
        closing = asyncio.create_task(member.close("drain"))
        await asyncio.sleep(0.3)
        print("DONE?", closing.done())
        fd = os.open(fifo, os.O_WRONLY)
        os.write(fd, b"x=7\n")
        os.close(fd)
        await closing
        ends = bench.sink.ends()
        print(ends)
        assert ends and ends[0].figures == {"x": 7.0}

    @live
    async def test_j_inventory(self, bench):
        member = await bench.open()
        fifo = bench.harness.folder / "fifo"
        os.mkfifo(fifo)
        await member.submit(
            1, [bench.harness.job("a-0", Do(0.3), outputs=(OutputSpec("x", source=str(fifo), pattern=r"x=(\d+)"),))]
        )
        await bench.running("a-0")
        await bench.seen(lambda: not session().run("jobs", "-no", "{id}"), "it has ended")
        await asyncio.sleep(0.3)
        inv = asyncio.create_task(bench.inventory(member))
        await asyncio.sleep(0.3)
        print("DONE?", inv.done())
        fd = os.open(fifo, os.O_WRONLY)
        os.write(fd, b"x=7\n")
        os.close(fd)
        found, _ = await inv
        print(found)
        assert found[("a-0", 1)].event.figures == {"x": 7.0}

    @live
    async def test_k_keep(self, bench):
        member = await bench.open()
        bench.sink.gate.clear()
        job = bench.harness.job(
            "a-0",
            Do(0.1, script="echo x=7 > out"),
            keep="none",
            outputs=(OutputSpec("x", source="out", pattern=r"x=(\d+)"),),
        )
        await member.submit(1, [job])
        await bench.seen(lambda: bench.harness.lines("end"), "ended")
        await bench.seen(lambda: not Path(job.workdir).exists(), "removed")
        bench.sink.gate.set
        member = await bench.reopen(member)
        found, _ = await bench.inventory(member)
        print(found)
        assert found[("a-0", 1)].event.figures == {"x": 7.0}

    @live
    async def test_l_fds(self, bench):
        member = await bench.open()
        import gc

        for i in range(4):
            await member.open(bench.harness.context(bench.sink, epoch=2 + i, resumed=True))
            gc.collect()
            print(
                len(os.listdir("/proc/self/fd")),
                [
                    os.readlink(f"/proc/self/fd/{f}")
                    for f in os.listdir("/proc/self/fd")
                    if os.path.lexists(f"/proc/self/fd/{f}")
                ][-12:],
            )
        assert False

    @live
    async def test_m_uri(self, bench):
        with pytest.raises(MemberError) as e:
            await bench.open(options={"uri": "foo"})
        print(repr(e.value), e.value.transient)
        with pytest.raises(MemberError) as e:
            await bench.open(options={"uri": "local:///nowhere"})
        print(repr(e.value), e.value.transient)
        with pytest.raises(MemberError) as e:
            await bench.open(options={"uri": "quux://nowhere"})
        print(repr(e.value), e.value.transient)
        assert False

    @live
    async def test_p_marks(self, bench):
        from ensemble.members.flux.broker import _mark
        from ensemble.members.flux.bindings import load
        import threading

        f = load()
        bad = 0
        for _ in range(5):
            with another() as own:
                marks, bar = [], threading.Barrier(8)

                def one():
                    h = f.Flux(own.uri)
                    bar.wait()
                    marks.append(_mark(f.kvs, h))

                ts = [threading.Thread(target=one) for _ in range(8)]
                [t.start() for t in ts]
                [t.join() for t in ts]
                print(marks)
                bad += len(set(marks)) > 1
        assert not bad

    def test_q_watch(self, flux):
        with another() as own:
            p = subprocess.Popen(
                [sys.executable, "-m", "ensemble.members.flux", "--uri", own.uri, "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            p.stdout.readline()
            p.stdout.close()
            own.run("submit", "--wait", "true")
            own.run("submit", "--wait", "true")
            try:
                p.wait(5)
            finally:
                p.kill()
                print(p.stderr.read())

    @live
    async def test_r_trap(self, bench):
        member = await bench.open()
        await member.submit(
            1, [bench.harness.job("a-0", Do(script="trap 'exit 0' TERM; echo r > ready; sleep 100 & wait"))]
        )
        await bench.running("a-0")
        await bench.seen((Path(bench.harness.folder) / "jobs/a-0/ready").exists, "ready")
        await member.cancel([bench.harness.ref("a-0")], 5.0)
        e = await bench.ended("a-0")
        print(e)

    @live
    async def test_t_nul(self, bench):
        member = await bench.open()
        r = await member.submit(
            1,
            [
                bench.harness.job("a-0", command=("echo", "a\0b")),
                bench.harness.job("d-0", env={"A=B": "x"}),
                bench.harness.job("e-0", env={"A": "\0x"}),
                bench.harness.job("c-0"),
            ],
        )
        print(r)
        print((await bench.ended("c-0")))
        print(bench.sink.ends())
        assert False


class TestMini:
    @pytest.fixture
    def harness(self, flux, tmp_path):
        return MiniClusterHarness(tmp_path)

    @live
    async def test_n_wait(self, bench):
        with pytest.raises(MemberError) as e:
            await bench.open(options={"view": "", "wait": "soon"})
        assert not e.value.transient

    @live
    async def test_o_restart(self, bench):
        view = bench.harness.folder / "v"
        (view / "run/flux").mkdir(parents=True)
        s = view / "run/flux/local"
        with another() as own:
            s.symlink_to(own.uri.removeprefix("local://"))
            member = await bench.open(options={"view": str(view)})
            await member.submit(1, [bench.harness.job("a-0", Do(120))])
            await bench.running("a-0")
            own.kill()
            await bench.until(lambda: bool(downs(bench)), "it is down")
        s.unlink()
        with another() as own:
            s.symlink_to(own.uri.removeprefix("local://"))
            member = await bench.reopen(member, options={"view": str(view)})
            found, _ = await bench.inventory(member)
            assert found[("a-0", 1)].event.outcome == "lost"
            await bench.close(member, "detach")
