"""The nodes that a member's pods ask for, so that a cluster autoscaler brings the right ones and leaves them alone."""

from __future__ import annotations

__all__ = ["NODE_CLASS", "SAFE_TO_EVICT", "NodePool"]

from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.model.errors import MemberError

SAFE_TO_EVICT: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"
"""The annotation `false` keeps the cluster autoscaler from taking a pod's node away while the pod runs
(https://github.com/kubernetes/autoscaler, cluster-autoscaler/FAQ.md)."""
NODE_CLASS: Final = "ensemble.flux-framework.org/node-class"
"""The label of nodes that `class` stands for: a node group of each class, such as spot and on-demand, is what the
priority expander of the autoscaler chooses between."""


class Taint(Struct, frozen=True, forbid_unknown_fields=True):
    """A taint of the pool's nodes; without a value any is tolerated, and without an effect all are."""

    key: str
    value: str = ""
    effect: str = ""


class NodePool(Struct, frozen=True, forbid_unknown_fields=True):
    """`labels` that the nodes have, `taints` that they have (or `tolerations`, in the words of a pod), and the `class`
    of node group that is to bring them. `priorityClassName`: of the pods.

    `provisioning`: the class of the ProvisioningRequest by which they are announced to an autoscaler, such as
    `best-effort-atomic-scale-up.autoscaling.x-k8s.io`; none is made without.
    """

    labels: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()
    class_: str = msgspec.field(default="", name="class")
    provisioning: str = ""
    tolerations: tuple[dict[str, Any], ...] = ()
    priority_class: str = msgspec.field(default="", name="priorityClassName")

    @classmethod
    def read(cls, given: Any) -> NodePool:
        """Read the option `nodePool`. Raises `MemberError` for one that is not as expected."""
        try:
            return msgspec.convert(given or {}, cls)
        except msgspec.ValidationError as error:
            such = "such as `{labels: {pool: cpu}, taints: [{key: batch}]}`"
            raise MemberError(f"nodePool: expected labels, taints, class and provisioning, {such}; {error}") from error

    def pod(self) -> dict[str, Any]:
        """The fields of a pod's `spec` that choose these nodes."""
        found: dict[str, Any] = {}
        selector = {**self.labels, **({NODE_CLASS: self.class_} if self.class_ else {})}
        if selector:
            found["nodeSelector"] = selector
        if self.taints or self.tolerations:
            found["tolerations"] = [*map(_toleration, self.taints), *self.tolerations]
        if self.priority_class:
            found["priorityClassName"] = self.priority_class
        return found


def _toleration(taint: Taint) -> dict[str, str]:
    found = {"key": taint.key, "operator": "Equal" if taint.value else "Exists"}
    if taint.value:
        found["value"] = taint.value
    if taint.effect:
        found["effect"] = taint.effect
    return found
