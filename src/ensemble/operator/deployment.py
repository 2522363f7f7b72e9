"""The operator's own manifests: the one source of the plain YAML, the kustomize base and the Helm chart.

No rule has a wildcard. What a member may do in the namespace of its jobs stands in a ClusterRole of its kind, which the
operator may bind and does not have itself; it reads no Secret but that of its webhook.
"""

from __future__ import annotations

__all__ = ["Install", "installation", "kinds_of_members"]

from typing import Any, Final

from msgspec import Struct

from ensemble.operator.crd import crd
from ensemble.operator.manifests import PORT, SCRATCH, USER, member_role
from ensemble.operator.objects import CONTROLLERS, ENSEMBLES
from ensemble.operator.operating import LEASE
from ensemble.operator.resource import GROUP, PLURAL, VERSION
from ensemble.operator.webhook import NAME, WEBHOOK

NAMESPACE: Final = "ensemble-operator-system"
WEBHOOK_PORT: Final = 9443
_RBAC: Final = "rbac.authorization.k8s.io"

_PODS: Final = (
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]},
)


def _objects(group: str, *resources: str) -> dict[str, Any]:
    verbs = ["create", "get", "list", "watch", "patch", "delete"]
    return {"apiGroups": [group], "resources": list(resources), "verbs": verbs}


_MEMBERS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "job": (_objects("batch", "jobs"), *_PODS),
    "jobset": (_objects("jobset.x-k8s.io", "jobsets"), *_PODS),
    "leaderworkerset": (_objects("leaderworkerset.x-k8s.io", "leaderworkersets"), *_PODS),
    "minicluster": (
        _objects("flux-framework.org", "miniclusters"),
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "get", "patch", "delete"]},
        {
            "apiGroups": ["autoscaling.x-k8s.io"],
            "resources": ["provisioningrequests"],
            "verbs": ["create", "get", "patch", "delete"],
        },
        {"apiGroups": [""], "resources": ["podtemplates"], "verbs": ["create", "get", "patch", "delete"]},
        *_PODS,
    ),
}
"""The rights of each kind of member."""


class Install(Struct, frozen=True):
    """What differs between installations. Values may be templates of Helm."""

    image: str
    namespace: str = NAMESPACE
    pull_policy: str = "IfNotPresent"
    replicas: int | str = 2
    arch: str = ""


def kinds_of_members() -> tuple[str, ...]:
    """The kinds of members for which there are rights."""
    return tuple(_MEMBERS)


def installation(install: Install, *, namespace: bool = True) -> list[dict[str, Any]]:
    """Every manifest, in the order in which it is applied; `namespace`: with that itself."""
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": install.namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    return [
        *([space] if namespace else []),
        crd(),
        _of(install, "v1", "ServiceAccount", NAME, automountServiceAccountToken=False),
        *_cluster_roles(install),
        *_own_role(install),
        _of(
            install,
            "v1",
            "Service",
            NAME,
            spec={
                "selector": _labels(),
                "ports": [{"name": "webhook", "port": 443, "targetPort": "webhook", "protocol": "TCP"}],
            },
        ),
        _deployment(install),
        _of(
            install, "policy/v1", "PodDisruptionBudget", NAME,
            spec={"minAvailable": 1, "selector": {"matchLabels": _labels()}},
        ),
        _network(install),
        _webhook(install),
    ]  # fmt: skip


def _labels() -> dict[str, str]:
    return {"app.kubernetes.io/name": NAME, "app.kubernetes.io/component": "operator"}


def _of(install: Install, version: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": install.namespace, "labels": _labels()}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def _everywhere(
    version: str, kind: str, name: str, labels: dict[str, str] | None = None, **fields: Any
) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "labels": _labels() | (labels or {})},
        **fields,
    }


def _cluster_roles(install: Install) -> list[dict[str, Any]]:
    definitions = [ENSEMBLES.full_name, *(name for name, _ in CONTROLLERS.values())]
    rules = [
        {"apiGroups": [GROUP], "resources": [PLURAL], "verbs": ["get", "list", "watch", "delete"]},
        {"apiGroups": [GROUP], "resources": [f"{PLURAL}/status"], "verbs": ["patch"]},
        {
            "apiGroups": ["apps"],
            "resources": ["deployments"],
            "verbs": ["get", "list", "watch", "create", "patch", "delete"],
        },
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts", "configmaps", "persistentvolumeclaims", "events"],
            "verbs": ["create", "patch"],
        },
        # what is cleaned up once a run is saved
        {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["delete"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [_RBAC], "resources": ["roles", "rolebindings"], "verbs": ["create", "patch"]},
        {
            "apiGroups": [_RBAC],
            "resources": ["clusterroles"],
            "resourceNames": [member_role(kind) for kind in _MEMBERS],
            "verbs": ["bind"],
        },
        {
            "apiGroups": ["apiextensions.k8s.io"],
            "resources": ["customresourcedefinitions"],
            "resourceNames": definitions,
            "verbs": ["get"],
        },
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["validatingwebhookconfigurations"],
            "resourceNames": [NAME],
            "verbs": ["get", "patch"],
        },
    ]
    version = f"{_RBAC}/v1"
    reading, writing = ["get", "list", "watch"], ["create", "update", "patch", "delete", "deletecollection"]
    prefix = f"{_RBAC}/aggregate-to"
    view = [{"apiGroups": [GROUP], "resources": [PLURAL, f"{PLURAL}/status"], "verbs": reading}]
    edit = [
        {"apiGroups": [GROUP], "resources": [PLURAL], "verbs": [*reading, *writing]},
        {"apiGroups": [GROUP], "resources": [f"{PLURAL}/scale"], "verbs": ["get", "update", "patch"]},
    ]
    return [
        _everywhere(version, "ClusterRole", NAME, rules=rules),
        _everywhere(
            version, "ClusterRoleBinding", NAME,
            roleRef={"apiGroup": _RBAC, "kind": "ClusterRole", "name": NAME}, subjects=[_subject(install)],
        ),
        *(
            _everywhere(version, "ClusterRole", member_role(kind), rules=list(allowed))
            for kind, allowed in _MEMBERS.items()
        ),
        _everywhere(version, "ClusterRole", "ensemble-viewer", {f"{prefix}-view": "true"}, rules=view),
        _everywhere(
            version, "ClusterRole", "ensemble-editor",
            {f"{prefix}-edit": "true", f"{prefix}-admin": "true"}, rules=edit,
        ),
    ]  # fmt: skip


def _subject(install: Install) -> dict[str, Any]:
    return {"kind": "ServiceAccount", "name": NAME, "namespace": install.namespace}


def _own_role(install: Install) -> list[dict[str, Any]]:
    """What it may do in its own namespace: its Lease and its certificate."""
    rules = [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [LEASE],
            "verbs": ["get", "patch"],
        },
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [NAME], "verbs": ["get", "patch"]},
    ]
    version = f"{_RBAC}/v1"
    reference = {"apiGroup": _RBAC, "kind": "Role", "name": NAME}
    return [
        _of(install, version, "Role", NAME, rules=rules),
        _of(install, version, "RoleBinding", NAME, roleRef=reference, subjects=[_subject(install)]),
    ]


def _deployment(install: Install) -> dict[str, Any]:
    container = {
        "name": "operator",
        "image": install.image,
        "imagePullPolicy": install.pull_policy,
        "command": ["ensemble-operator", "run"],
        "args": [
            "--own-namespace=$(NAMESPACE)",
            f"--pull-policy={install.pull_policy}",
            f"--http=:{PORT}",
            f"--webhook=:{WEBHOOK_PORT}",
            "--log-format=json",
        ],
        "env": [
            {"name": "ENSEMBLE_IMAGE", "value": install.image},
            {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "HOME", "value": SCRATCH},
        ],
        "ports": [
            {"name": "http", "containerPort": PORT, "protocol": "TCP"},
            {"name": "webhook", "containerPort": WEBHOOK_PORT, "protocol": "TCP"},
        ],
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 20, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5, "timeoutSeconds": 5},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": SCRATCH}],
    }
    spread = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": _labels()}}
    pod: dict[str, Any] = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 20,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": spread}]
            }
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if install.arch:
        pod["nodeSelector"] = {"kubernetes.io/arch": install.arch}
    return _of(
        install,
        "apps/v1",
        "Deployment",
        NAME,
        spec={
            "replicas": install.replicas,
            "selector": {"matchLabels": _labels()},
            "template": {"metadata": {"labels": _labels()}, "spec": pod},
        },
    )


def _network(install: Install) -> dict[str, Any]:
    """The webhook is asked by the API server, metrics by Prometheus; it asks the API server and the name service."""
    return _of(
        install,
        "networking.k8s.io/v1",
        "NetworkPolicy",
        NAME,
        spec={
            "podSelector": {"matchLabels": _labels()},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": "webhook", "protocol": "TCP"}, {"port": "http", "protocol": "TCP"}]}],
            "egress": [
                {"ports": [{"port": port, "protocol": "TCP"} for port in (443, 6443)]},
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
            ],
        },
    )


def _webhook(install: Install) -> dict[str, Any]:
    """Where nobody answers, nothing is admitted: an object that nobody has checked would only fail later."""
    hook = {
        "name": WEBHOOK,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
        "rules": [
            {
                "apiGroups": [GROUP],
                "apiVersions": [VERSION],
                "operations": ["CREATE", "UPDATE"],
                "resources": [PLURAL],
                "scope": "Namespaced",
            }
        ],
        "clientConfig": {"service": {"name": NAME, "namespace": install.namespace, "path": "/check", "port": 443}},
    }
    return _everywhere("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", NAME, webhooks=[hook])
