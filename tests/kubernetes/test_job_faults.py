"""What the members for Kubernetes make of faults, on a real cluster with real pods."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ensemble.members.kubernetes import informer
from ensemble.members.kubernetes.member import JobSetMember
from ensemble.members.kubernetes.names import PREFIX
from ensemble.members.kubernetes.objects import Resource, Workload
from ensemble.model.errors import MemberError, MemberUnavailable
from ensemble.model.jobs import OutputSpec, Resources
from ensemble.testing import Bench, Do, live
from tests.kubernetes.cluster import own
from tests.members.kubernetes import JobHarness, LeaderWorkerSetHarness, LogHarness

LONG = 120.0


@pytest.fixture
def harness(tmp_path: Path) -> JobHarness:
    if JobHarness.missing():
        pytest.skip(JobHarness.missing())
    return JobHarness(tmp_path)


def quota(name: str, **hard: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": hard}}


async def opened(bench: Bench, **options: Any) -> Any:
    return await bench.open(options={**bench.harness.options(), **options})


def pods(bench: Bench) -> int:
    """How many pods of the test run."""
    return sum(pod["status"]["phase"] == "Running" for pod in bench.harness.namespace.get("pods")["items"])


class TestJobsThatDoNotStart:
    @live
    async def test_an_image_that_cannot_be_had_is_told_and_fails_the_attempt_in_time(self, bench: Bench) -> None:
        member = await opened(bench, image="no-such-image:1", pull="Never", start_timeout="4s")
        await member.submit(1, [bench.harness.job("a-0")])
        words = "image no-such-image:1 is not on the node, and may not be pulled there"
        await bench.until(lambda: bench.waiting() == {words: 1}, "the reason is told")
        end = await bench.ended("a-0")
        assert (end.outcome, end.reason, end.text) == ("failed", "launch", f"it did not start within 4 s: {words}")

    @live
    async def test_a_quota_is_waiting_and_the_job_runs_when_there_is_room(self, bench: Bench) -> None:
        namespace = bench.harness.namespace
        namespace.apply(quota("small", pods="0"))
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0")])
        words = "the namespace's quota small is used up: it needs pods=1 and the limit is pods=0"
        await bench.until(lambda: bench.waiting() == {words: 1}, "the reason is told")
        namespace.kubectl("delete", "resourcequota", "small")
        assert (await bench.ended("a-0")).outcome == "success"

    @live
    async def test_pods_that_the_namespace_does_not_admit_are_told_and_fail_in_time(self, bench: Bench) -> None:
        namespace = bench.harness.namespace
        namespace.cluster.kubectl("label", "ns", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
        member = await opened(bench, start_timeout="5s")
        await member.submit(1, [bench.harness.job("a-0")])
        end = await bench.ended("a-0")
        assert (end.outcome, end.reason) == ("failed", "launch")
        assert "the namespace's Pod Security does not admit it" in end.text

    @live
    async def test_a_job_that_no_node_can_hold_waits_behind_the_runs_own_jobs_and_fails_when_none_runs(
        self, bench: Bench
    ) -> None:
        member = await opened(bench, start_timeout="3s", new_nodes="yes", pod={})
        await member.submit(1, [bench.harness.job("a-0", Do(6.0))])
        await bench.running("a-0")
        await member.submit(2, [bench.harness.job("b-0", resources=Resources(cores=500))])
        end = await bench.ended("b-0")
        assert [event.key for event in bench.sink.ends()] == ["a-0", "b-0"]
        assert end.text.startswith("it did not start within 3 s: no node has room: ")

    @live
    async def test_a_job_without_an_image_is_refused_with_what_to_say(self, bench: Bench) -> None:
        member = await opened(bench, image="")
        (receipt,) = await member.submit(1, [bench.harness.job("a-0")])
        assert "--image" in receipt.reason


class TestPodsThatVanish:
    @live
    async def test_a_pod_deleted_by_hand_is_infrastructure(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(LONG))])
        await bench.running("a-0")
        bench.harness.namespace.kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=false")
        end = await bench.ended("a-0")
        assert (end.outcome, end.reason, end.text) == ("failed", "infrastructure", "its pod was deleted")

    @live
    async def test_an_evicted_pod_is_infrastructure_with_the_reason(self, bench: Bench) -> None:
        member = await bench.open()
        await member.submit(1, [bench.harness.job("a-0", Do(LONG))])
        await bench.running("a-0")
        namespace = bench.harness.namespace
        (pod,) = namespace.get("pods")["items"]
        name = pod["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace.name},
            "deleteOptions": {"gracePeriodSeconds": 1},
        }
        path = f"/api/v1/namespaces/{namespace.name}/pods/{name}/eviction"
        namespace.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(eviction))
        end = await bench.ended("a-0")
        assert (end.outcome, end.reason) == ("failed", "infrastructure")
        assert end.text.startswith("it was evicted")

    @live
    async def test_a_job_that_needs_more_memory_than_its_limit_is_infrastructure(self, bench: Bench) -> None:
        member = await opened(bench, memory="24Mi")
        end = await bench.run(member, bench.harness.job("a-0", command=("tail", "/dev/zero")))
        assert (end.outcome, end.reason) == ("failed", "infrastructure")
        assert "OOMKilled" in end.text


class TestRights:
    def account(self, harness: JobHarness, *rules: dict[str, list[str]]) -> str:
        return str(harness.namespace.account("runner", rules, harness.folder))

    @live
    async def test_each_verb_that_the_account_lacks_is_named(self, bench: Bench) -> None:
        kubeconfig = self.account(bench.harness, {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]})
        with pytest.raises(MemberError) as error:
            await opened(bench, kubeconfig=kubeconfig)
        for verb in ("create", "get", "list", "watch", "delete", "patch"):
            assert f"{verb} jobs.batch" in str(error.value)
        assert "delete pods" in str(error.value)
        assert "get pods/log" in str(error.value)
        assert "list pods" not in str(error.value)

    @live
    async def test_the_role_of_the_documentation_is_enough(self, bench: Bench) -> None:
        import yaml

        page = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
        role = next(part for part in page.split("```") if "kind: Role\n" in part)
        rules = yaml.safe_load(role.removeprefix("yaml"))["rules"]
        member = await opened(bench, kubeconfig=self.account(bench.harness, *rules))
        assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"


class TestKindsThatAreNotThere:
    @live
    async def test_a_kind_that_the_cluster_does_not_have_comes_with_the_command_that_installs_it(
        self, bench: Bench
    ) -> None:
        class Newer(JobSetMember.kind):
            resource = Resource("jobset.x-k8s.io", "v9", "JobSet", "jobsets", Workload, install="kubectl apply -f X")

        member = type("NewerMember", (JobSetMember,), {"kind": Newer})()
        with pytest.raises(MemberUnavailable, match=r"this cluster has no JobSet .*`kubectl apply -f X` installs it"):
            await member.open(bench.harness.context(bench.sink))


class TestNames:
    @live
    async def test_names_too_long_for_a_label_are_cut_and_the_ref_stays_whole(self, bench: Bench) -> None:
        bench.harness.run = f"{'a-run-with-quite-a-name' * 4}_1"
        member = await bench.open()
        key = f"{'Group.of.jobs' * 6}-0"
        assert (await bench.run(member, bench.harness.job(key))).outcome == "success"
        (job,) = bench.harness.namespace.get("jobs")["items"]
        assert job["metadata"]["annotations"][f"{PREFIX}/ref"] == f"{bench.harness.run}/{key}.1"


class TestWithoutASharedVolume:
    @live
    async def test_output_and_files_with_figures_come_by_the_log(self, bench: Bench) -> None:
        bench.harness.__class__ = LogHarness
        member = await bench.open()
        assert "exactly-once" not in bench.hello.capabilities
        outputs = (OutputSpec("x", pattern=r"x=(\d+)"), OutputSpec("y", source="out/y.json", pointer="/y"))
        script = "echo x=3; mkdir -p out; echo '{\"y\": 4}' > out/y.json"
        job = bench.harness.job("a-0", command=(), script=script, outputs=outputs)
        end = await bench.run(member, job)
        assert (end.outcome, end.figures) == ("success", {"x": 3.0, "y": 4.0})
        assert await member.fetch(job.ref, "stdout", 0, 100) == b"x=3\n"
        assert await member.fetch(job.ref, "out/y.json", 0, 100) == b'{"y": 4}\n'

    @live
    async def test_a_running_job_is_read_by_log_and_exec_and_a_cancelled_one_keeps_its_output(
        self, bench: Bench
    ) -> None:
        bench.harness.__class__ = LogHarness
        member = await bench.open()
        script = "trap 'echo bye; exit 1' TERM; echo state > checkpoint; echo ready; sleep 120 & wait"
        job = bench.harness.job("a-0", command=(), script=script)
        await member.submit(1, [job])
        await bench.until(lambda: any(e.state == "run" for e in bench.sink.of("a-0")), "it runs")
        async with asyncio.timeout(bench.harness.patience):
            while await member.fetch(job.ref, "stdout", 0, 100) != b"ready\n":  # noqa: ASYNC110 - asking is the only way
                await asyncio.sleep(0.05)
        assert await member.fetch(job.ref, "checkpoint", 0, 100) == b"state\n"
        with pytest.raises(MemberError, match="no such file"):
            await member.fetch(job.ref, "nothing", 0, 100)
        await member.cancel([job.ref], 5.0)
        assert (await bench.ended("a-0")).outcome == "cancelled"
        assert await member.fetch(job.ref, "stdout", 0, 100) == b"ready\nbye\n"


class TestSizes:
    @live
    async def test_an_elastic_job_grows_and_shrinks_with_its_member(self, bench: Bench) -> None:
        member = await bench.open(nodes=1, max_nodes=3, options={**bench.harness.options(), "elastic": "yes"})
        await member.submit(1, [bench.harness.job("a-0", Do(LONG))])
        await bench.running("a-0")
        for nodes in (3, 1):
            await member.resize(nodes, nodes)
            (job,) = bench.harness.namespace.get("jobs")["items"]
            assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (nodes, nodes)
        assert all(event.state != "inactive" for event in bench.sink.of("a-0"))

    def test_an_elastic_leaderworkerset_grows_and_shrinks_with_its_member(self, tmp_path: Path) -> None:
        if LeaderWorkerSetHarness.missing():
            pytest.skip(LeaderWorkerSetHarness.missing())

        @live
        async def test(self: Any, bench: Bench) -> None:
            member = await bench.open(nodes=2, max_nodes=3, options={**bench.harness.options(), "elastic": "yes"})
            await member.submit(1, [bench.harness.job("a-0", Do(LONG))])
            await bench.running("a-0")
            for nodes in (3, 1):
                await member.resize(nodes, nodes)
                await bench.seen(lambda nodes=nodes: pods(bench) == nodes, f"{nodes} pods run")
            assert all(event.state != "inactive" for event in bench.sink.of("a-0"))

        test(self, LeaderWorkerSetHarness(tmp_path))

    @live
    async def test_at_most_so_many_pods_as_the_member_has_nodes_are_there_at_a_time(self, bench: Bench) -> None:
        member = await bench.open(nodes=1, max_nodes=2)
        await member.submit(1, [bench.harness.job(f"a-{i}") for i in range(3)])
        await bench.until(lambda: bench.waiting().get("this member may have 1 pod at a time") == 2, "two wait")
        assert len(bench.harness.namespace.get("jobs")["items"]) == 1
        await bench.all_ended(3)


class TestTheServer:
    def test_a_server_that_is_killed_is_the_members_trouble_and_no_jobs_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if JobHarness.missing():
            pytest.skip(JobHarness.missing())
        monkeypatch.setattr(informer, "SILENT", 1.0)
        with own() as cluster:
            monkeypatch.setattr("tests.members.kubernetes.shared", lambda: cluster)
            harness = JobHarness(tmp_path)
            test = type("Test", (), {"run": live(_killed_server)})
            test().run(harness)
            assert len(harness.namespace.created("jobs")) == 1


async def _killed_server(_: object, bench: Bench) -> None:
    member = await bench.open()
    await member.submit(1, [bench.harness.job("a-0", Do(5.0))])
    await bench.running("a-0")
    cluster = bench.harness.namespace.cluster
    await asyncio.to_thread(cluster.script, "kill", "kube-apiserver")
    await bench.until(lambda: any(getattr(e, "name", "") == "down" for e in bench.sink.events), "the member is down")
    assert not bench.sink.ends()
    with pytest.raises(MemberError) as error:
        await member.submit(2, [bench.harness.job("b-0")])
    assert error.value.transient
    await bench.seen(lambda: bench.harness.lines("end", "a-0"), "the job ends meanwhile")
    await asyncio.to_thread(cluster.script, "restart", "kube-apiserver")
    member = await bench.reopen(member)
    found, _ = await bench.inventory(member)
    end = found["a-0", 1].event or await bench.ended("a-0")
    assert end.outcome == "success"
    assert bench.harness.lines("start") == ["start a-0 1"]
