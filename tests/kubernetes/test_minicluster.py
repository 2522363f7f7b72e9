"""The MiniCluster member on a real control plane: pods on fake nodes, an agent with a stand-in for the Flux queue."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("lightkube", reason="the extra `kubernetes` is not installed here")
pytest.importorskip("grpc", reason="the extra `service` is not installed here")

from ensemble.members.contract import Accepted, Context, Hello, Receipt, Refused
from ensemble.members.kit.files import write_durably
from ensemble.members.kubernetes.api import connect
from ensemble.members.kubernetes.minicluster import MiniClusterMember
from ensemble.members.kubernetes.minicluster_objects import MINICLUSTERS, SECRETS
from ensemble.members.kubernetes.node_pool import SAFE_TO_EVICT
from ensemble.members.kubernetes.objects import NODES, PODS, Pod, Resource
from ensemble.members.kubernetes.provisioning import INDEX, REQUESTS
from ensemble.members.remote.agent import Agent
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent, MemberEvent
from ensemble.model.jobs import AttemptRef, JobSpec
from ensemble.session.security import Security
from ensemble.testing.bench import RecordingSink
from tests.kubernetes.cluster import Namespace
from tests.kubernetes.flux_operator import Named, flux_operator

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "member"))
from ensemble_processes import ProcessMember

NAME = "cluster"
STAGES = {
    "create": "0s",
    "init-container-running": "0s",
    "init-container-completed": "0s",
    "ready": "0s",
    "complete": "1h",
}
RUNS_AT_ONCE = {
    f"pod-{stage}.stage.kwok.x-k8s.io/{what}": after
    for stage, after in STAGES.items()
    for what in ("delay", "jitter-delay")
}
"""A pod on a fake node runs as soon as it is there, and stays."""


KINDS = Resource(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", Named, namespaced=False
)
KIND_OF_REQUESTS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "provisioningrequests.autoscaling.x-k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
    },
    "spec": {
        "group": "autoscaling.x-k8s.io",
        "names": {"kind": "ProvisioningRequest", "plural": "provisioningrequests"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""Enough of the cluster autoscaler's kind to make objects of it."""


class Queue(ProcessMember):
    """Stands for the Flux queue inside: it asks for a size, as the agent does once it has drained."""

    here: Queue

    async def open(self, context: Context) -> Hello:
        type(self).here = self
        self.drained = asyncio.Event()
        self.drained.set()
        self.sizes: set[asyncio.Task[None]] = set()
        hello = await super().open(context)
        return msgspec.structs.replace(hello, text="", capabilities=hello.capabilities | {"exactly-once"})

    async def resize(self, command: int, nodes: int) -> Receipt:
        async def ask() -> None:
            await self.drained.wait()
            self.n += 1
            self.outbox.append(MemberEvent(NAME, "resize", n=self.n, nodes_wanted=nodes))  # type: ignore[arg-type]
            self.news.set()

        self.sizes.add(asyncio.create_task(ask()))
        return Accepted()


class World:
    """A MiniCluster member in a namespace, with a controller for its MiniCluster and an agent that it reaches."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        self.pool = f"pool-{namespace.name}"
        self.sink = RecordingSink()
        self.member = MiniClusterMember()
        self.folder = folder
        self.kubeconfig = namespace.kubeconfig(folder / "kubeconfig")
        self.api = connect(str(self.kubeconfig))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._nodes: list[str] = []
        self._tasks: list[asyncio.Future[Any]] = []

    def context(self, **options: Any) -> Context:
        given = {
            "kubeconfig": str(self.kubeconfig),
            "image": "programs:1",
            "address": self.address,
            "nodePool": {"labels": {"pool": self.pool}, "taints": [{"key": "kwok.x-k8s.io/node"}]},
            "minicluster": {"pod": {"annotations": RUNS_AT_ONCE}},
            **options,
        }
        return Context(
            run="r-1", name=NAME, run_dir=str(self.folder), epoch=1, sink=self.sink, options=given, nodes=2,
            min_nodes=1, max_nodes=4, cores=2,
        )  # fmt: skip

    async def add_node(self) -> None:
        """As an autoscaler does: a node of the pool comes."""
        name = f"{self.pool}-{len(self._nodes)}"
        self._nodes.append(name)
        room = {"cpu": "1", "memory": "4Gi", "pods": "1"}
        await self.api.create(
            NODES,
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {"pool": self.pool, "kubernetes.io/hostname": name},
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                },
                "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
                "status": {"capacity": room, "allocatable": room},
            },
        )

    async def until(self, resource: Resource[Any], true: Callable[[list[Any]], object]) -> list[Any]:
        """Wait until it is true of all objects of a kind in the namespace."""
        async with asyncio.timeout(60):
            found, version = await self.api.list_all(resource)
            objects = {one.metadata.name: one for one in found}
            while not true(list(objects.values())):
                async for kind, one, seen in self.api.watch(resource, version):
                    version = seen
                    if one is not None:
                        objects[one.metadata.name] = one
                        if kind == "DELETED":
                            del objects[one.metadata.name]
                        break
            return list(objects.values())

    async def told(self, name: str) -> MemberEvent:
        """The first event of this name that the engine gets."""
        async with asyncio.timeout(60):
            while True:
                for event in self.sink.events:
                    if isinstance(event, MemberEvent) and event.name == name:
                        return event
                self.sink.news.clear()
                await self.sink.news.wait()

    async def size(self) -> int:
        cluster = await self.api.get(MINICLUSTERS, self.member.name)
        return cluster.spec.size if cluster is not None else 0

    async def serve(self) -> None:
        """The agent of the pod: with the keys of the Secret, once that is there."""
        (secret,) = await self.until(SECRETS, lambda secrets: any(one.data for one in secrets))
        keys = self.folder / "keys"
        keys.mkdir()
        for name in secret.data:
            write_durably(keys / name, secret.value(name))
        security = Security("", str(keys / "tls.crt"), str(keys / "tls.key"), str(keys / "token"))
        await Agent("minicluster", Queue, base=str(self.folder / "pod")).listen(self.address, security)

    def start(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    async def close(self) -> None:
        await self.member.close("cancel")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name in self._nodes:
            await self.api.delete(NODES, name)
        await self.api.close()


def in_a_world(test: Callable[[World], Awaitable[None]]) -> Callable[[Namespace, Path], None]:
    """Run a test in an event loop of its own, with an agent and a controller of MiniClusters."""

    async def whole(namespace: Namespace, folder: Path) -> None:
        world = World(namespace, folder)
        async with asyncio.timeout(120), flux_operator(world.api):
            try:
                world.start(world.serve())
                await test(world)
            finally:
                await world.close()

    def run_it(namespace: Namespace, tmp_path: Path) -> None:
        asyncio.run(whole(namespace, tmp_path))

    run_it.__name__, run_it.__doc__ = test.__name__, test.__doc__  # type: ignore[attr-defined]
    return run_it


def running(pods: list[Pod]) -> int:
    return sum(pod.status.phase == "Running" and not pod.metadata.deletionTimestamp for pod in pods)


async def opened(world: World, **options: Any) -> Hello:
    for _ in range(2):
        await world.add_node()
    return await world.member.open(world.context(**options))


def job(world: World, key: str, command: tuple[str, ...]) -> JobSpec:
    return JobSpec(AttemptRef("r-1", key), "a", workdir=str(world.folder / "work" / key), command=command)


@in_a_world
async def test_jobs_run_in_a_minicluster_that_is_made_and_removed(world: World) -> None:
    hello = await opened(world)
    assert "resize" in hello.capabilities
    assert "exactly-once" not in hello.capabilities  # its record of what ran goes with the first pod
    await world.member.submit(1, [job(world, "a-0", ("echo", "hello"))])
    await world.member.close("drain")
    ends = [event for event in world.sink.events if isinstance(event, JobEvent) and event.outcome]
    assert [(end.key, end.outcome) for end in ends] == [("a-0", "success")]
    # the pod is gone, what the job has written is here
    assert (world.folder / "jobs" / "a-0" / "stdout").read_text() == "hello\n"
    await world.until(MINICLUSTERS, lambda clusters: not clusters)
    await world.until(SECRETS, lambda secrets: not secrets)


@in_a_world
async def test_pods_ask_for_nodes_of_the_pool_and_keep_them(world: World) -> None:
    await opened(world)
    for pod in await world.until(PODS, lambda pods: len(pods) == 2):
        assert pod.spec.nodeName.startswith(world.pool)
        assert pod.metadata.annotations[SAFE_TO_EVICT] == "false"


@in_a_world
async def test_it_grows_and_shrinks_when_the_agent_has_drained(world: World) -> None:
    await opened(world)
    for _ in range(2):
        await world.add_node()
    assert isinstance(await world.member.resize(1, 4), Accepted)
    await world.until(PODS, lambda pods: running(pods) == 4)
    Queue.here.drained.clear()
    assert isinstance(await world.member.resize(2, 2), Accepted)
    assert await world.size() == 4
    Queue.here.drained.set()
    await world.until(PODS, lambda pods: running(pods) == 2)
    assert await world.size() == 2


@in_a_world
async def test_a_size_above_the_most_is_refused_and_not_set_back_in_silence(world: World) -> None:
    await opened(world)
    receipt = await world.member.resize(1, 9)
    assert isinstance(receipt, Refused)
    assert "can have 4 nodes at most, not 9" in receipt.reason
    assert await world.size() == 2


@in_a_world
async def test_without_nodes_it_says_what_its_pods_wait_for(world: World) -> None:
    with pytest.raises(MemberError, match="no node has room") as error:
        await world.member.open(world.context())
    assert error.value.transient
    for _ in range(2):
        await world.add_node()
    assert (await world.member.open(world.context())).nodes_up >= 0


@in_a_world
async def test_one_that_never_came_up_is_removed_too(world: World) -> None:
    with pytest.raises(MemberError):
        await world.member.open(world.context())
    with pytest.raises(MemberError) as error:
        await world.member.open(world.context(start_timeout=0.1))
    assert not error.value.transient
    await world.member.close("cancel")
    await world.until(MINICLUSTERS, lambda clusters: not clusters)


@in_a_world
async def test_a_minicluster_that_is_deleted_by_hand_is_a_member_that_is_down(world: World) -> None:
    await opened(world)
    await world.api.delete(MINICLUSTERS, world.member.name)
    assert (await world.told("down")).text == f"MiniCluster {world.member.name} was deleted"


@in_a_world
async def test_when_the_first_pod_goes_the_member_is_down_at_once_and_opened_in_the_next(world: World) -> None:
    await opened(world)
    first = next(pod for pod in await world.until(PODS, running) if pod.metadata.annotations[INDEX] == "0")
    await world.api.delete(PODS, first.metadata.name)
    assert "is gone, and its queue with it" in (await world.told("down")).text
    await world.until(PODS, lambda pods: running(pods) == 2)
    await world.member.open(world.context())


@in_a_world
async def test_nodes_are_announced_where_the_cluster_takes_provisioning_requests(world: World) -> None:
    await world.api.apply(KINDS, KIND_OF_REQUESTS, "tests")
    kind = f"crd/{KIND_OF_REQUESTS['metadata']['name']}"
    try:
        await asyncio.to_thread(world.namespace.kubectl, "wait", "--for=condition=Established", kind)
        pool = {"labels": {"pool": world.pool}, "taints": [{"key": "kwok.x-k8s.io/node"}], "provisioning": "atomic"}
        await opened(world, nodePool=pool)
        (request,) = await world.until(REQUESTS, bool)
        assert request.metadata.name == f"{world.member.name}-2"
        await world.member.resize(1, 3)
        await world.until(REQUESTS, lambda requests: len(requests) == 2)
        await world.until(MINICLUSTERS, lambda clusters: clusters[0].spec.size == 3)
        await world.member.close("drain")
        await world.until(REQUESTS, lambda requests: not requests)
    finally:
        await world.api.delete(KINDS, KIND_OF_REQUESTS["metadata"]["name"])


class TestAutoscaler:
    """Nodes of the pool are added while pods find no room, as a cluster autoscaler does."""

    def test_a_grow_waits_for_the_nodes_that_come(self, namespace: Namespace, tmp_path: Path) -> None:
        @in_a_world
        async def grow(world: World) -> None:
            await opened(world)
            await world.member.resize(1, 4)
            assert "node: no node has room" in (await world.told("provisioning")).text.replace("nodes:", "node:")
            for _ in range(2):
                await world.add_node()
            await world.until(PODS, lambda pods: running(pods) == 4)
            assert await world.size() == 4

        grow(namespace, tmp_path)

    def test_a_grow_without_nodes_goes_back_to_what_is_there(self, namespace: Namespace, tmp_path: Path) -> None:
        @in_a_world
        async def grow(world: World) -> None:
            await opened(world, resize_timeout=5)
            await world.add_node()
            await world.member.resize(1, 4)
            failed = await world.told("resize-failed")
            assert failed.text.startswith("3 of 4 nodes are there after 5 s: no node has room")
            await world.until(MINICLUSTERS, lambda clusters: clusters[0].spec.size == 3)
            await world.until(PODS, lambda pods: running(pods) == 3)

        grow(namespace, tmp_path)
