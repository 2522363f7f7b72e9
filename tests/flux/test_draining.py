"""A MiniCluster that shrinks loses its highest ranks: the member drains them before it asks for that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.members.flux import FluxMember
from ensemble.members.minicluster import MiniClusterMember
from ensemble.model.jobs import Resources
from ensemble.testing import Do, MemberHarness
from ensemble.testing.bench import Bench, live
from tests.flux.instance import Instance, missing
from tests.flux.test_faults import Harness, another

STATUS = "import flux; print(flux.Flux().rpc('resource.status', {}, 0).get_str())"


class PodHarness(Harness):
    own: Instance

    def member(self) -> FluxMember:
        return MiniClusterMember()

    def options(self) -> dict[str, object]:
        return {"uri": self.own.uri}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[MemberHarness]:
    if missing():
        pytest.skip(missing())
    with another(4) as own:
        harness = PodHarness(tmp_path)
        harness.own = own
        yield harness


def asked(bench: Bench) -> list[int]:
    return [size for event in bench.sink.events if (size := getattr(event, "nodes_wanted", -1)) >= 0]


def sizes(bench: Bench) -> list[int]:
    return [up for event in bench.sink.events if (up := getattr(event, "nodes_up", -1)) >= 0]


def drained(bench: Bench) -> set[str]:
    status = json.loads(bench.harness.own.run("python", "-c", STATUS))
    return set(status["drain"])


class TestShrinking:
    @live
    async def test_the_smaller_size_is_asked_for_when_no_job_runs_there(self, bench: Bench) -> None:
        member = await bench.open()
        jobs = [bench.harness.job(f"a-{n}", Do(600), resources=Resources(nodes=1, exclusive=True)) for n in range(4)]
        await member.submit(1, jobs)
        for job in jobs:
            await bench.running(job.ref.key)
        await member.resize(1, 2)
        assert drained(bench) == {"2-3"}
        assert not asked(bench)
        await member.cancel([job.ref for job in jobs], 1.0)
        await bench.until(lambda: asked(bench) == [2], "it asks for two nodes")
        # until the pods are gone, their nodes are held
        assert set(sizes(bench)) <= {4}

    @live
    async def test_brokers_that_stay_after_all_take_jobs_again(self, bench: Bench) -> None:
        member = await bench.open()
        await member.resize(1, 1)
        assert drained(bench) == {"1-3"}
        await member.resize(2, 3)
        assert drained(bench) == {"3"}
        await bench.until(lambda: asked(bench)[-1:] == [3], "it asks for three nodes")

    @live
    async def test_a_broker_that_somebody_else_drained_stays_drained(self, bench: Bench) -> None:
        bench.harness.own.run("resource", "drain", "1", "broken fan")
        member = await bench.open()
        await member.resize(1, 1)
        await member.resize(2, 4)
        await bench.until(lambda: asked(bench)[-1:] == [4], "it asks for four nodes")
        assert drained(bench) == {"1"}

    @live
    async def test_a_rank_that_has_gone_takes_jobs_when_it_comes_again(self, bench: Bench) -> None:
        member = await bench.open()
        await member.resize(1, 3)
        await bench.until(lambda: asked(bench) == [3], "it asks for three nodes")
        assert drained(bench) == {"3"}
        bench.harness.own.run("overlay", "disconnect", "3")
        await bench.until(lambda: sizes(bench)[-1:] == [3], "there are three nodes")
        await bench.until(lambda: not drained(bench), "it is drained no more")
