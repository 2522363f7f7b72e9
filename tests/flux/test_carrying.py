"""Pods without a volume in common: a job's files travel with it, and Flux keeps what it writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.members.flux import FluxMember
from ensemble.members.flux.carrying import read_output
from ensemble.members.minicluster import MiniClusterMember
from ensemble.model.jobs import AttemptRef, FileInput, OutputSpec, Resources
from ensemble.testing import MemberHarness
from ensemble.testing.bench import Bench, live
from tests.flux.instance import missing, session
from tests.flux.test_faults import Harness


class ApartHarness(Harness):
    def member(self) -> FluxMember:
        return MiniClusterMember()

    def options(self) -> dict[str, object]:
        return {"uri": session().uri, "shared": "no"}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[MemberHarness]:
    if missing():
        pytest.skip(missing())
    yield ApartHarness(tmp_path)
    session().run("cancel", "--all")


class TestApart:
    @live
    async def test_figures_and_logs_come_from_what_flux_keeps(self, bench: Bench) -> None:
        member = await bench.open()
        outputs = (OutputSpec("loss", "stdout", pattern=r"loss (\S+)"),)
        job = bench.harness.job("a-0", command=("sh", "-c", "echo loss 0.25; echo bad >&2"), outputs=outputs)
        end = await bench.run(member, job)
        assert end.figures == {"loss": 0.25}
        ref = AttemptRef(bench.harness.context(bench.sink).run, "a-0")
        assert await member.fetch(ref, "stderr", 1, 2) == b"ad"

    @live
    async def test_scripts_and_inputs_reach_every_task(self, bench: Bench) -> None:
        member = await bench.open()
        spec = bench.harness.job(
            "a-0",
            command=(),
            script="cat input; pwd\n",
            inputs=(FileInput("input", text="here\n"),),
            resources=Resources(tasks=2, nodes=2),
        )
        assert (await bench.run(member, spec)).outcome == "success"
        ref = AttemptRef(bench.harness.context(bench.sink).run, "a-0")
        said = (await member.fetch(ref, "stdout", 0, 1000)).decode().split()
        assert said.count("here") == 2
        assert all(word.endswith("a-0") for word in said if word != "here")

    @live
    async def test_jobs_inherit_the_environment_of_the_broker(self, bench: Bench) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ONLY_HERE", "1")
            member = await bench.open()
            end = await bench.run(member, bench.harness.job("a-0", command=("sh", "-c", "test -z $ONLY_HERE")))
        assert end.outcome == "success"


def test_output_that_is_no_text_comes_back_as_it_was() -> None:
    log = '{"timestamp":1,"name":"header","context":{"version":1,"encoding":{"stdout":"UTF-8"},"count":{"stdout":1}}}\n'
    log += '{"timestamp":2,"name":"data","context":{"stream":"stdout","rank":"0","encoding":"base64","data":"/3g="}}\n'
    log += '{"timestamp":3,"name":"data","context":{"stream":"stdout","rank":"0","data":"a","repeat":2}}\n'
    log += '{"timestamp":4,"name":"data","context":{"stream":"stdout","rank":"0","eof":true}}\n'
    assert read_output(log) == {"stdout": b"\xffxaa", "stderr": b""}
