"""What is read of objects besides those of the members, and how the kinds that we make are found by their manifests."""

from __future__ import annotations

__all__ = ["DEPLOYMENTS", "DEFINITIONS", "ENSEMBLES", "LEASES", "Lease", "EnsembleObject", "Thing", "resource_of"]

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.members.kubernetes.minicluster_objects import MINICLUSTERS
from ensemble.members.kubernetes.objects import JOBSETS, LEADER_WORKER_SETS, Condition, Meta, Resource
from ensemble.operator.resource import GROUP, KIND, PLURAL, VERSION


class ObjectMeta(Meta, kw_only=True):
    """`metadata` with the generation of `spec`."""

    generation: int = 0


class EnsembleObject(Struct, kw_only=True):
    """An Ensemble as it came; `conversion` reads its `spec`."""

    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class Thing(Struct, kw_only=True):
    """An object of which nothing but its metadata matters."""

    metadata: Meta = msgspec.field(default_factory=Meta)


class DeploymentStatus(Struct, kw_only=True):
    """`status` of a Deployment."""

    availableReplicas: int = 0  # noqa: N815 - the API's own names
    conditions: list[Condition] | None = None


class Deployment(Struct, kw_only=True):
    """A Deployment."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: dict[str, Any] = {}
    status: DeploymentStatus = msgspec.field(default_factory=DeploymentStatus)


class LeaseSpec(Struct, kw_only=True, omit_defaults=True):
    """`spec` of a Lease."""

    holderIdentity: str | None = None  # noqa: N815
    leaseDurationSeconds: int | None = None  # noqa: N815
    acquireTime: str | None = None  # noqa: N815
    renewTime: str | None = None  # noqa: N815
    leaseTransitions: int | None = None  # noqa: N815


class Lease(Struct, kw_only=True):
    """A Lease."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


ENSEMBLES: Final = Resource(GROUP, VERSION, KIND, PLURAL, EnsembleObject)
DEPLOYMENTS: Final = Resource("apps", "v1", "Deployment", "deployments", Deployment)
LEASES: Final = Resource("coordination.k8s.io", "v1", "Lease", "leases", Lease)
DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", Thing, namespaced=False
)
WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    Thing,
    namespaced=False,
)

_RBAC: Final = "rbac.authorization.k8s.io"
_MADE: Final[Mapping[str, Resource[Thing]]] = {
    one.kind: one
    for one in (
        Resource("", "v1", "ServiceAccount", "serviceaccounts", Thing),
        Resource("", "v1", "ConfigMap", "configmaps", Thing),
        Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", Thing),
        Resource(_RBAC, "v1", "Role", "roles", Thing),
        Resource(_RBAC, "v1", "RoleBinding", "rolebindings", Thing),
        Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", Thing),
        Resource("apps", "v1", "Deployment", "deployments", Thing),
    )
}

CONTROLLERS: Final[Mapping[str, tuple[str, str]]] = {
    kind: (resource.full_name, resource.install)
    for kind, resource in (
        ("jobset", JOBSETS),
        ("leaderworkerset", LEADER_WORKER_SETS),
        ("minicluster", MINICLUSTERS),
    )
}
"""For kinds of members that a cluster may lack: the name of the definition, and the command that installs it."""


def resource_of(manifest: Mapping[str, Any]) -> Resource[Thing]:
    """Where the object of a manifest of ours is in the API."""
    return _MADE[manifest["kind"]]
