"""A job as one Indexed Job of Kubernetes (batch/v1): one pod for each node, all of which must succeed.

Kubernetes retries nothing (`backoffLimit: 0`): attempts are ours. The API says that it may start a pod twice all the
same, so a shared volume is needed for exactly one execution.
"""

from __future__ import annotations

__all__ = ["JobKind"]

from typing import Any, ClassVar

from ensemble.members.kubernetes.objects import JOBS, Pod, Resource, Workload
from ensemble.members.kubernetes.workloads import Ask

_INDEX = "batch.kubernetes.io/job-completion-index"


class JobKind:
    """See `WorkloadKind`."""

    resource: ClassVar[Resource[Workload]] = JOBS
    restarts: ClassVar[bool] = False
    elastic: ClassVar[bool] = True

    def nodes(self) -> tuple[str, ...]:
        """The index that an Indexed Job gives its pods."""
        return ("${JOB_COMPLETION_INDEX:-0}",)

    def coordinator(self, name: str) -> str:
        """None: a Job alone gives its pods no names."""
        return ""

    def manifest(self, ask: Ask, templates: list[dict[str, Any]]) -> dict[str, Any]:
        """`completions` and `parallelism` are equal, which makes it elastic."""
        spec = {
            "completionMode": "Indexed",
            "completions": ask.nodes,
            "parallelism": ask.nodes,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": ask.keep,
            "template": templates[0],
        }
        return {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": ask.metadata, "spec": spec}

    def number(self, pod: Pod) -> int:
        """Its completion index."""
        return int(pod.metadata.labels.get(_INDEX, "0"))

    def finished(self, workload: Workload) -> str | None:
        """By the conditions Complete and Failed, which come when all pods have ended."""
        if workload.condition("Complete") is not None:
            return ""
        failed = workload.condition("Failed")
        return None if failed is None else f"{failed.reason}: {failed.message}"

    def deciding(self, pods: list[Pod], nodes: int) -> list[Pod]:
        """All: one for each index; where Kubernetes has made two for one, the one that has begun or was made first."""
        chosen: dict[int, Pod] = {}
        for pod in sorted(pods, key=_priority):
            chosen.setdefault(self.number(pod), pod)
        return list(chosen.values()) if len(chosen) >= nodes else []

    def resized(self, nodes: int) -> dict[str, Any]:
        """Both at once: the API refuses any other change of an Indexed Job's completions."""
        return {"spec": {"completions": nodes, "parallelism": nodes}}


def _priority(pod: Pod) -> tuple[bool, str]:
    return (pod.status.phase == "Pending", pod.metadata.creationTimestamp)
