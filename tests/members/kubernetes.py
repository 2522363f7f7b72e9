"""Harnesses of the members for Kubernetes: real pods on the test cluster's node, each test in its own namespace."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

from ensemble.members.contract import Member
from ensemble.members.kubernetes.member import JobMember, JobSetMember, LeaderWorkerSetMember
from ensemble.testing import MemberHarness

IMAGE = "docker.io/library/ensemble-test:dev"


def kubectl(*words: str) -> str:
    return subprocess.run(["kubectl", *words], check=True, capture_output=True, text=True).stdout


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
        self.namespace = self.run
        kubectl("create", "namespace", self.namespace)

    @classmethod
    def missing(cls) -> str:
        return "" if os.environ.get("KUBECONFIG") else "no test cluster: KUBECONFIG is not set"

    def member(self) -> Member:
        return self.kind()

    def options(self) -> dict[str, Any]:
        return {
            "namespace": self.namespace,
            "image": IMAGE,
            "pull": "Never",
            "node_selector": {"kubernetes.io/hostname": "node"},
            "shared": {"path": str(self.folder), "volume": {"hostPath": {"path": str(self.folder)}}},
        }

    async def cancel_outside(self, native_id: str) -> None:
        await asyncio.to_thread(kubectl, "-n", self.namespace, "delete", self.resource, native_id, "--wait=false")

    async def clean_up(self) -> None:
        await asyncio.to_thread(kubectl, "delete", "namespace", self.namespace, "--wait=false")


class JobSetHarness(JobHarness):
    kind = JobSetMember
    resource = "jobset"


class LeaderWorkerSetHarness(JobHarness):
    kind = LeaderWorkerSetMember
    resource = "leaderworkerset"
