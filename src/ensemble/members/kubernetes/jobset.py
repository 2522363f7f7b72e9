"""A job as a JobSet (jobset.x-k8s.io/v1alpha2): a driver, and workers on the job's other nodes.

Pods reach each other by name; `ENSEMBLE_COORDINATOR` is the driver's. The job ends when the driver does.
"""

from __future__ import annotations

__all__ = ["JobSetKind"]

from typing import Any, ClassVar, Final

from ensemble.members.kubernetes.objects import JOBSETS, Pod, Resource, Workload
from ensemble.members.kubernetes.workloads import Ask

_ROLE: Final = "jobset.sigs.k8s.io/replicatedjob-name"
_INDEX: Final = "batch.kubernetes.io/job-completion-index"


class JobSetKind:
    """See `WorkloadKind`."""

    resource: ClassVar[Resource[Workload]] = JOBSETS
    restarts: ClassVar[bool] = False
    elastic: ClassVar[bool] = False

    def nodes(self) -> tuple[str, ...]:
        """The driver is node 0; workers count on from there."""
        return ("0", "$((${JOB_COMPLETION_INDEX:-0} + 1))")

    def coordinator(self, name: str) -> str:
        """The driver's name in the headless service that the JobSet makes."""
        return f"{name}-driver-0-0.{name}"

    def manifest(self, ask: Ask, templates: list[dict[str, Any]]) -> dict[str, Any]:
        """Two replicated jobs, one where the job has a single node."""
        roles = [_role("driver", 1, templates[0])]
        if ask.nodes > 1:
            roles.append(_role("workers", ask.nodes - 1, templates[1]))
        spec = {
            "replicatedJobs": roles,
            "network": {"enableDNSHostnames": True},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": ["driver"]},
            "failurePolicy": {"maxRestarts": 0},
            "ttlSecondsAfterFinished": ask.keep,
        }
        return {"apiVersion": JOBSETS.api_version, "kind": JOBSETS.kind, "metadata": ask.metadata, "spec": spec}

    def number(self, pod: Pod) -> int:
        """0 is the driver."""
        labels = pod.metadata.labels
        return 0 if labels.get(_ROLE) == "driver" else int(labels.get(_INDEX, "0")) + 1

    def finished(self, workload: Workload) -> str | None:
        """By its terminal state."""
        state = workload.status.terminalState
        if state == "Completed" or workload.condition("Completed") is not None:
            return ""
        failed = workload.condition("Failed")
        if failed is not None or state == "Failed":
            return f"{failed.reason}: {failed.message}" if failed is not None else state
        return None

    def deciding(self, pods: list[Pod], nodes: int) -> list[Pod]:
        """The driver."""
        return [pod for pod in pods if self.number(pod) == 0][:1]

    def resized(self, nodes: int) -> dict[str, Any]:
        """Never called: a JobSet's replicas cannot be changed."""
        raise NotImplementedError


def _role(name: str, pods: int, template: dict[str, Any]) -> dict[str, Any]:
    job = {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "backoffLimit": 0,
        "template": template,
    }
    return {"name": name, "replicas": 1, "template": {"spec": job}}
