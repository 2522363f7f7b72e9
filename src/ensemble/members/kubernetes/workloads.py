"""What a kind of object must say of itself so that jobs can run as objects of that kind."""

from __future__ import annotations

__all__ = ["Ask", "WorkloadKind"]

from typing import Any, ClassVar, Protocol

from msgspec import Struct

from ensemble.members.kubernetes.objects import Pod, Resource, Workload


class Ask(Struct, frozen=True):
    """What an object is made from besides its pod templates. `keep`: seconds for which it is kept after its end."""

    nodes: int
    elastic: bool
    keep: int
    metadata: dict[str, Any]


class WorkloadKind(Protocol):
    """One kind of object: Job, JobSet, LeaderWorkerSet. All methods are pure."""

    resource: ClassVar[Resource[Workload]]
    restarts: ClassVar[bool]
    """Whether containers are started again whatever their end, so that the member must delete the object then."""
    elastic: ClassVar[bool]
    """Whether an object of this kind can change its size while it runs."""

    def nodes(self) -> tuple[str, ...]:
        """For each sort of pod that the object has, the shell's expression for the pod's number in the job."""
        ...

    def coordinator(self, name: str) -> str:
        """The shell's expression for the address of the job's first pod; empty where it has none."""
        ...

    def manifest(self, ask: Ask, templates: list[dict[str, Any]]) -> dict[str, Any]:
        """The object, with a pod template for each of `nodes`."""
        ...

    def number(self, pod: Pod) -> int:
        """Which of the job's nodes a pod is, from 0."""
        ...

    def finished(self, workload: Workload) -> str | None:
        """How the object's controller says that it ended: empty for success, else its words; None while it has not."""
        ...

    def deciding(self, pods: list[Pod], nodes: int) -> list[Pod]:
        """The pods whose ends together are the end of the job; empty while they are not there."""
        ...

    def resized(self, nodes: int) -> dict[str, Any]:
        """The merge patch that gives an elastic job so many nodes."""
        ...
