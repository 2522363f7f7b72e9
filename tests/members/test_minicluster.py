"""The MiniCluster member keeps the contract: real pods with real brokers, where there is a Flux Operator.

`ENSEMBLE_TEST_MINICLUSTER` names a YAML file with options of the member for the test cluster: at least the `image`,
with Flux and Ensemble in it. Its pods must run on this machine, where the tests' directory is.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("lightkube", reason="the extra `kubernetes` is not installed here")
pytest.importorskip("grpc", reason="the extra `service` is not installed here")

from ensemble.members.contract import Member
from ensemble.members.kubernetes.merge import merged
from ensemble.members.kubernetes.minicluster import MiniClusterMember
from ensemble.testing import MemberConformance
from tests.members.kubernetes import ON_NODE, JobHarness

SETTING = "ENSEMBLE_TEST_MINICLUSTER"


class MiniClusterHarness(JobHarness):
    resource = "minicluster"
    patience = 90.0

    @classmethod
    def missing(cls) -> str:
        if SETTING not in os.environ:
            return f"no Flux Operator: {SETTING} names no file with options for a cluster that has it"
        return super().missing()

    def member(self) -> Member:
        return MiniClusterMember(quiet=self.patience)

    def options(self) -> dict[str, Any]:
        ours = {name: value for name, value in super().options().items() if name not in ON_NODE}
        given: dict[str, Any] = merged(yaml.safe_load(Path(os.environ[SETTING]).read_text()), ours)
        return given

    async def cancel_outside(self, native_id: str) -> None:
        await asyncio.to_thread(self._cancel, native_id)

    def _cancel(self, native_id: str) -> None:
        pod = self.namespace.kubectl("get", "pod", "-l", "job-index=0", "-o", "name").strip()
        flux = ("flux", "proxy", "local:///mnt/flux/config/run/flux/local", "flux")
        self.namespace.kubectl("exec", pod, "-c", "api", "--", *flux, "cancel", native_id)


class TestMiniCluster(MemberConformance):
    harness_type = MiniClusterHarness
