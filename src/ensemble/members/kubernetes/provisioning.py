"""What the pods of a member wait for, and how the nodes for them are announced to an autoscaler."""

from __future__ import annotations

__all__ = ["Pods", "announce", "read_state", "withdraw"]

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.members.kubernetes.api import Api, ApiError
from ensemble.members.kubernetes.node_pool import NodePool
from ensemble.members.kubernetes.objects import Condition, Meta, Pod, Resource
from ensemble.members.kubernetes.reading import why_waiting
from ensemble.model.wording import counted

INDEX: Final = "batch.kubernetes.io/job-completion-index"


class Pods(Struct, frozen=True):
    """The pods of an indexed Job. `address`: of the first, once its containers run. `there`: how many run, counted from
    the first without a gap. `provisioning`: how many the scheduler has no node for. `waiting`: why one does not run."""

    address: str = ""
    there: int = 0
    provisioning: int = 0
    waiting: str = ""

    @property
    def text(self) -> str:
        """What people are told while nodes are on their way; empty when none is."""
        return f"{counted(self.provisioning, 'node')}: {self.waiting}" if self.provisioning else ""


def read_state(pods: Sequence[Pod], size: int) -> Pods:
    """What the pods say of a member of `size` nodes."""
    by_index: dict[int, Pod] = {}
    for pod in pods:
        index = pod.metadata.annotations.get(INDEX, "")
        if index.isdigit() and int(index) < size and not pod.metadata.deletionTimestamp:
            by_index[int(index)] = pod
    there = 0
    while there in by_index and _runs(by_index[there]):
        there += 1
    lacking = [pod for _, pod in sorted(by_index.items()) if pod.condition("PodScheduled", "False")]
    waiting = next((why_waiting(pod) for pod in lacking), "")
    if not waiting:
        waiting = next((why_waiting(pod) for _, pod in sorted(by_index.items()) if not _runs(pod)), "")
    address = by_index[0].status.podIP if there else ""
    return Pods(address, there, len(lacking), waiting)


def _runs(pod: Pod) -> bool:
    return pod.status.phase == "Running" and bool(pod.status.podIP)


# ---- ProvisioningRequest -----------------------------------------------------------------------------


class ProvisioningStatus(Struct, kw_only=True):
    """`status` of a ProvisioningRequest."""

    conditions: list[Condition] | None = None


class ProvisioningRequest(Struct, kw_only=True):
    """A ProvisioningRequest: the autoscaler is asked for room for a number of pods at once
    (https://github.com/kubernetes/autoscaler, cluster-autoscaler/proposals/provisioning-request.md)."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    status: ProvisioningStatus = msgspec.field(default_factory=ProvisioningStatus)


class PodTemplate(Struct, kw_only=True):
    """A PodTemplate; it is written and not read."""

    metadata: Meta = msgspec.field(default_factory=Meta)


REQUESTS: Final = Resource(
    "autoscaling.x-k8s.io", "v1", "ProvisioningRequest", "provisioningrequests", ProvisioningRequest
)
TEMPLATES: Final = Resource("", "v1", "PodTemplate", "podtemplates", PodTemplate)


def request_name(name: str, size: int) -> str:
    """The name of the request by which a member comes to that size."""
    return f"{name}-{size}"


async def announce(api: Api, name: str, pool: NodePool, container: Mapping[str, Any], size: int, pods: int) -> bool:
    """Ask for room for the `pods` pods that a member of `size` nodes lacks; return whether this cluster takes such
    requests.

    Raises `MemberError`.
    """
    if pods <= 0:
        return False
    title = request_name(name, size)
    metadata = {"name": title, "labels": {"app.kubernetes.io/managed-by": "ensemble"}}
    inside = {"name": "node", "image": container.get("image", ""), "resources": container.get("resources", {})}
    template = {
        "apiVersion": TEMPLATES.api_version,
        "kind": TEMPLATES.kind,
        "metadata": metadata,
        "template": {"spec": {**pool.pod(), "containers": [inside], "restartPolicy": "Never"}},
    }
    request = {
        "apiVersion": REQUESTS.api_version,
        "kind": REQUESTS.kind,
        "metadata": metadata,
        "spec": {
            "provisioningClassName": pool.provisioning,
            "podSets": [{"count": pods, "podTemplateRef": {"name": title}}],
        },
    }
    try:
        await api.apply(REQUESTS, request, "ensemble")
    except ApiError as error:
        if error.status == 404:
            return False  # the nodes are asked for by the pods themselves, as ever
        raise
    await api.apply(TEMPLATES, template, "ensemble")
    return True


async def withdraw(api: Api, name: str, announced: Collection[int]) -> None:
    """Remove the requests for these sizes."""
    for size in announced:
        await api.delete(REQUESTS, request_name(name, size))
        await api.delete(TEMPLATES, request_name(name, size))
