"""A job as one group of a LeaderWorkerSet (leaderworkerset.x-k8s.io/v1): a leader, and workers that know its address.

For services and frameworks that need a stable leader. Kubernetes never says that a LeaderWorkerSet is over: the job
ends when the leader's container ends for the first time, and the member deletes the object then.
"""

from __future__ import annotations

__all__ = ["LeaderWorkerSetKind"]

from typing import Any, ClassVar, Final

from ensemble.members.kubernetes.objects import LEADER_WORKER_SETS, Pod, Resource, Workload
from ensemble.members.kubernetes.workloads import Ask

_WORKER: Final = "leaderworkerset.sigs.k8s.io/worker-index"
_GROUP: Final = "leaderworkerset.sigs.k8s.io/group-index"
_SIZE: Final = "leaderworkerset.sigs.k8s.io/size"


class LeaderWorkerSetKind:
    """See `WorkloadKind`."""

    resource: ClassVar[Resource[Workload]] = LEADER_WORKER_SETS
    restarts: ClassVar[bool] = True
    elastic: ClassVar[bool] = True

    def nodes(self) -> tuple[str, ...]:
        """The index of a pod in its group; 0 is the leader."""
        return ("${LWS_WORKER_INDEX:-0}",)

    def coordinator(self, name: str) -> str:
        """The leader's address, which the webhook of LeaderWorkerSet gives to every pod."""
        return "${LWS_LEADER_ADDRESS:-}"

    def manifest(self, ask: Ask, templates: list[dict[str, Any]]) -> dict[str, Any]:
        """One group whose leader and workers run the same program; where elastic, a group of one pod for each node."""
        template = templates[0]
        pod = template["spec"]
        pod["restartPolicy"] = "Always"  # its stateful sets allow nothing else, and no deadline
        pod.pop("activeDeadlineSeconds", None)
        groups, size = (ask.nodes, 1) if ask.elastic else (1, ask.nodes)
        group = {"size": size, "restartPolicy": "None", "workerTemplate": template}
        spec = {"replicas": groups, "leaderWorkerTemplate": group}
        resource = LEADER_WORKER_SETS
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": ask.metadata, "spec": spec}

    def number(self, pod: Pod) -> int:
        """The index in its group; those of further groups count on."""
        labels, size = pod.metadata.labels, int(pod.metadata.annotations.get(_SIZE, "1"))
        return int(labels.get(_GROUP, "0")) * size + int(labels.get(_WORKER, "0"))

    def finished(self, workload: Workload) -> str | None:
        """Never by itself."""
        return None

    def deciding(self, pods: list[Pod], nodes: int) -> list[Pod]:
        """The leader of the first group."""
        return [pod for pod in pods if self.number(pod) == 0][:1]

    def resized(self, nodes: int) -> dict[str, Any]:
        """More groups. The size of a group is fixed: Kubernetes would end the leader, and with it the job."""
        return {"spec": {"replicas": nodes}}
