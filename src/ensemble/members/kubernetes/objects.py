"""What is read of the objects of Kubernetes: only the fields that matter here, so that a watch of many costs little.

The names of the fields are those of the API (https://kubernetes.io/docs/reference/kubernetes-api/).
"""

from __future__ import annotations

__all__ = [
    "ACCESS_REVIEWS",
    "EVENTS",
    "JOBS",
    "JOBSETS",
    "LEADER_WORKER_SETS",
    "NODES",
    "PODS",
    "Condition",
    "ContainerStatus",
    "Listed",
    "Meta",
    "Node",
    "Notice",
    "Pod",
    "Resource",
    "Terminated",
    "Waiting",
    "Workload",
    "seconds_of",
]

from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct


class Meta(Struct, kw_only=True):
    """`metadata` of any object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 - the API's own name, as are all below
    creationTimestamp: str = ""  # noqa: N815
    deletionTimestamp: str = ""  # noqa: N815
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Listed(Protocol):
    """Any object that can be listed and watched."""

    @property
    def metadata(self) -> Meta:
        """Its metadata."""
        ...


T = TypeVar("T", bound=Listed)


class Resource(Struct, Generic[T], frozen=True):
    """A kind of object: where it is in the API, and the type that its objects are read as.

    `install` is the command that brings it to a cluster that does not have it.
    """

    group: str
    version: str
    kind: str
    plural: str
    type: type[T]
    namespaced: bool = True
    install: str = ""

    @property
    def api_version(self) -> str:
        """`batch/v1`, or `v1` of the core."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full_name(self) -> str:
        """`jobs.batch`, or `pods` of the core: as RBAC rules and kubectl name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The path of one object, or of all in a namespace."""
        words = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced:
            words += ["namespaces", namespace]
        words += [self.plural, *((name,) if name else ()), *((subresource,) if subresource else ())]
        return "/" + "/".join(words)


# ---- workloads ---------------------------------------------------------------------------------------


class Condition(Struct, kw_only=True):
    """One entry of `status.conditions`."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    lastTransitionTime: str | None = None  # noqa: N815


class WorkloadStatus(Struct, kw_only=True):
    """`status` of a Job, JobSet or LeaderWorkerSet."""

    conditions: list[Condition] | None = None
    startTime: str | None = None  # noqa: N815
    completionTime: str | None = None  # noqa: N815
    terminalState: str = ""  # noqa: N815


class Workload(Struct, kw_only=True):
    """A Job, JobSet or LeaderWorkerSet; `spec` is as it came, for nobody reads much of it."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: WorkloadStatus = msgspec.field(default_factory=WorkloadStatus)

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, where it is true."""
        return _true(self.status.conditions, kind)


# ---- pods --------------------------------------------------------------------------------------------


class Waiting(Struct, kw_only=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Running(Struct, kw_only=True):
    """Since when a container runs."""

    startedAt: str | None = None  # noqa: N815


class Terminated(Struct, kw_only=True):
    """How a container ended; `message` is what it wrote to its termination log."""

    exitCode: int = -1  # noqa: N815
    signal: int = 0
    reason: str = ""
    message: str = ""
    startedAt: str | None = None  # noqa: N815
    finishedAt: str | None = None  # noqa: N815


class ContainerState(Struct, kw_only=True):
    """At most one of them is set."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Struct, kw_only=True):
    """One container of a pod."""

    name: str
    state: ContainerState = msgspec.field(default_factory=ContainerState)
    lastState: ContainerState = msgspec.field(default_factory=ContainerState)  # noqa: N815
    restartCount: int = 0  # noqa: N815
    image: str = ""


class PodStatus(Struct, kw_only=True):
    """`status` of a pod."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    startTime: str | None = None  # noqa: N815
    podIP: str = ""  # noqa: N815
    conditions: list[Condition] | None = None
    initContainerStatuses: list[ContainerStatus] | None = None  # noqa: N815
    containerStatuses: list[ContainerStatus] | None = None  # noqa: N815


class PodSpec(Struct, kw_only=True):
    """`spec` of a pod."""

    nodeName: str = ""  # noqa: N815


class Pod(Struct, kw_only=True):
    """A pod."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    def condition(self, kind: str, status: str = "True") -> Condition | None:
        """The condition of this type with this status."""
        return _true(self.status.conditions, kind, status)

    def container(self, name: str) -> ContainerStatus | None:
        """The status of one of its containers."""
        return next((one for one in self.status.containerStatuses or () if one.name == name), None)


def _true(conditions: list[Condition] | None, kind: str, status: str = "True") -> Condition | None:
    return next((one for one in conditions or () if one.type == kind and one.status == status), None)


# ---- others ------------------------------------------------------------------------------------------


class InvolvedObject(Struct, kw_only=True):
    """What an event is about."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Notice(Struct, kw_only=True):
    """An `Event` of Kubernetes, named otherwise to tell it from our own."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    involvedObject: InvolvedObject = msgspec.field(default_factory=InvolvedObject)  # noqa: N815
    reason: str = ""
    message: str = ""


class Taint(Struct, kw_only=True):
    """A taint of a node."""

    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(Struct, kw_only=True):
    """`spec` of a node."""

    unschedulable: bool = False
    taints: list[Taint] | None = None


class NodeStatus(Struct, kw_only=True):
    """`status` of a node."""

    allocatable: dict[str, str] = {}
    conditions: list[Condition] | None = None


class Node(Struct, kw_only=True):
    """A node."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)

    @property
    def ready(self) -> bool:
        """Whether pods can be scheduled on it."""
        return _true(self.status.conditions, "Ready") is not None and not self.spec.unschedulable


class Review(Struct, kw_only=True):
    """The answer to a SelfSubjectAccessReview."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    status: dict[str, Any] = {}


_RELEASES: Final = "kubectl apply --server-side -f https://github.com/kubernetes-sigs"

PODS: Final = Resource("", "v1", "Pod", "pods", Pod)
EVENTS: Final = Resource("", "v1", "Event", "events", Notice)
NODES: Final = Resource("", "v1", "Node", "nodes", Node, namespaced=False)
JOBS: Final = Resource("batch", "v1", "Job", "jobs", Workload)
JOBSETS: Final = Resource(
    "jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets", Workload,
    install=f"{_RELEASES}/jobset/releases/latest/download/manifests.yaml",
)  # fmt: skip
LEADER_WORKER_SETS: Final = Resource(
    "leaderworkerset.x-k8s.io", "v1", "LeaderWorkerSet", "leaderworkersets", Workload,
    install=f"{_RELEASES}/lws/releases/latest/download/manifests.yaml",
)  # fmt: skip
ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", Review, namespaced=False
)


def seconds_of(timestamp: str | None) -> float:
    """The seconds since 1970 of a time as the API writes it (RFC 3339); 0 for none."""
    if not timestamp:
        return 0.0
    return datetime.fromisoformat(timestamp).timestamp()
