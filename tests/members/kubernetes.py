"""Harnesses of the members for Kubernetes: real pods on the test cluster's node, each test in its own namespace."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ensemble.members.contract import Member
from ensemble.members.kubernetes.member import JobMember, JobSetMember, LeaderWorkerSetMember
from ensemble.model.jobs import JobSpec
from ensemble.testing import Do, MemberHarness
from tests.kubernetes.cluster import TEST_IMAGE, missing, shared

ON_NODE = {"image": TEST_IMAGE, "pull": "Never", "node_selector": {"kubernetes.io/hostname": "node"}}
"""Options that put jobs on the real node."""

LITTLE = {"spec": {"containers": [{"name": "job", "resources": {"requests": {"cpu": "10m"}}}]}}
"""A pod that asks for next to nothing.

The node has two cores, and other tests run at the same time: a pod that asked for a core would wait for theirs.
"""

APART = """
spec:
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector: {matchLabels: {app.kubernetes.io/managed-by: ensemble}}
"""
"""What an exclusive job has here: apart from the pods of its own namespace, and not from those of other tests."""


class JobHarness(MemberHarness):
    """The test's directory is on the node, which is this machine: jobs have it as a shared volume."""

    kind: type[Member] = JobMember
    resource = "job"
    patience = 60.0
    walltime = 1.0
    burst = 20
    cores = 2

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._made = ExitStack()
        self.namespace = self._made.enter_context(shared().namespace(self.run))

    @classmethod
    def missing(cls) -> str:
        return missing()

    def member(self) -> Member:
        return self.kind()

    def options(self) -> dict[str, Any]:
        volume = {"hostPath": {"path": str(self.folder)}}
        kubeconfig = str(self.namespace.cluster.kubeconfig)
        where = {"kubeconfig": kubeconfig, "namespace": self.namespace.name}
        return {**ON_NODE, **where, "pod": LITTLE, "shared": {"path": str(self.folder), "volume": volume}}

    def job(self, key: str, do: Do | None = None, **more: Any) -> JobSpec:
        if (need := more.get("resources")) is not None and need.exclusive:
            more["options"] = {"pod": APART, **more.get("options", {})}
        return super().job(key, do, **more)

    async def cancel_outside(self, native_id: str) -> None:
        await asyncio.to_thread(self.namespace.kubectl, "delete", self.resource, native_id, "--wait=false")

    async def clean_up(self) -> None:
        await asyncio.to_thread(self._made.close)


class JobSetHarness(JobHarness):
    kind = JobSetMember
    resource = "jobset"


class LeaderWorkerSetHarness(JobHarness):
    """Each group costs its controller two stateful sets, and is deleted before the next gets its cores."""

    kind = LeaderWorkerSetMember
    patience = 150.0
    resource = "leaderworkerset"


class LogHarness(JobHarness):
    """Nothing is shared: output is read from logs, files by exec."""

    def options(self) -> dict[str, Any]:
        return {name: value for name, value in super().options().items() if name != "shared"}
