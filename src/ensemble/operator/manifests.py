"""What is made for one Ensemble: account, rights, file, volume and service pod, as plain manifests."""

from __future__ import annotations

__all__ = ["SOCKET", "Settings", "children", "digest_of", "member_role"]

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct

from ensemble.operator.naming import ENSEMBLE, Identity, labels, owner, run_name, service_name
from ensemble.operator.resource import GROUP, PLURAL, ServiceSpec, Spec

STATE: Final = "/var/lib/ensemble"
"""Where the service pod keeps its journal."""

CONFIG: Final = "/etc/ensemble"
CREDENTIALS: Final = "/etc/ensemble-registry"
FILE: Final = "ensemble.yaml"
SOCKET: Final = "/run/ensemble/server.sock"
"""Where the service listens: inside its pod only, so that whoever may `kubectl exec` there may ask."""

PORT: Final = 8080
"""Where the service pod tells its health and metrics."""

GRACE: Final = 30
"""Seconds that a service pod has to leave its run in order."""

SCRATCH: Final = "/tmp"  # noqa: S108 - a directory of the container's own

USER: Final = 65532
"""The user of the image."""


class Settings(Struct, frozen=True):
    """What the operator was started with, as far as it goes into manifests."""

    image: str
    pull_policy: str = ""


def member_role(kind: str) -> str:
    """The ClusterRole with the rights that a kind of member needs in the namespace of its jobs."""
    return f"ensemble-member-{kind}"


def children(
    identity: Identity, spec: Spec, file: str, kinds: tuple[str, ...], settings: Settings
) -> list[dict[str, Any]]:
    """Everything that an Ensemble needs, in the order in which it is made; the Deployment comes last.

    `file` is the text of the ensemble file, `kinds` are the kinds of its members.
    """
    service = spec.service
    name = service_name(identity.name)
    found: list[dict[str, Any]] = []
    if not service.account:
        found.append(_made("v1", "ServiceAccount", identity, name, automountServiceAccountToken=False))
    found += _rights(identity, name, service.account or name, kinds)
    found.append(_made("v1", "ConfigMap", identity, name, data={FILE: file}))
    if service.journal.size and not service.journal.claim:
        found.append(_claim(identity, name, service))
    found.append(_network(identity, name))
    return [*found, _deployment(identity, name, spec, settings)]


def digest_of(manifests: list[dict[str, Any]]) -> str:
    """What tells whether anything in these manifests has changed."""
    return sha256(msgspec.json.encode(manifests, order="sorted")).hexdigest()[:16]


def _made(version: str, kind: str, identity: Identity, name: str, **fields: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": identity.namespace,
        "labels": labels(identity),
        "ownerReferences": [owner(identity)],
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def _rights(identity: Identity, name: str, account: str, kinds: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """A Role for its own Ensemble and nothing else, and the rights of each kind of member."""
    version = "rbac.authorization.k8s.io/v1"
    own = {"apiGroups": [GROUP], "resourceNames": [identity.name]}
    rules = [
        {**own, "resources": [PLURAL], "verbs": ["get", "list", "watch"]},
        {**own, "resources": [f"{PLURAL}/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ]
    yield _made(version, "Role", identity, name, rules=rules)
    subject = {"kind": "ServiceAccount", "name": account, "namespace": identity.namespace}
    group = "rbac.authorization.k8s.io"
    reference = {"apiGroup": group, "kind": "Role", "name": name}
    yield _made(version, "RoleBinding", identity, name, roleRef=reference, subjects=[subject])
    for kind in kinds:
        reference = {"apiGroup": group, "kind": "ClusterRole", "name": member_role(kind)}
        yield _made(version, "RoleBinding", identity, f"{name}-{kind}", roleRef=reference, subjects=[subject])


def _claim(identity: Identity, name: str, service: ServiceSpec) -> dict[str, Any]:
    journal = service.journal
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": journal.size}},
    }
    if journal.storage_class:
        spec["storageClassName"] = journal.storage_class
    claim = _made("v1", "PersistentVolumeClaim", identity, name, spec=spec)
    if journal.keep:
        del claim["metadata"]["ownerReferences"]
    return claim


def _network(identity: Identity, name: str) -> dict[str, Any]:
    """Nobody reaches a service pod but for its health and metrics."""
    chosen = {"matchLabels": _selected(identity)}
    ingress = [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    spec = {"podSelector": chosen, "policyTypes": ["Ingress"], "ingress": ingress}
    return _made("networking.k8s.io/v1", "NetworkPolicy", identity, name, spec=spec)


def _selected(identity: Identity) -> dict[str, str]:
    """The labels by which the service pod of an Ensemble is found."""
    marks = labels(identity)
    return {key: marks[key] for key in (ENSEMBLE, "app.kubernetes.io/component")}


def _deployment(identity: Identity, name: str, spec: Spec, settings: Settings) -> dict[str, Any]:
    service = spec.service
    volume: Mapping[str, Any] = {"emptyDir": {}}
    if service.journal.claim or service.journal.size:
        volume = {"persistentVolumeClaim": {"claimName": service.journal.claim or name}}
    container: dict[str, Any] = {
        "name": "service",
        "image": service.image or settings.image,
        "command": ["ensemble-operator", "serve"],
        "args": [
            f"--ensemble={identity.namespace}/{identity.name}",
            f"--uid={identity.uid}",
            f"--run={run_name(identity)}",
            f"--file={CONFIG}/{FILE}",
            f"--state={STATE}",
            f"--socket={SOCKET}",
            f"--http=:{PORT}",
            "--log-format=json",
        ],
        "env": [{"name": "ENSEMBLE_SERVER", "value": f"unix:{SOCKET}"}, {"name": "HOME", "value": SCRATCH}],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 20, "timeoutSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5, "timeoutSeconds": 5},
        "resources": service.resources or {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "state", "mountPath": STATE},
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
            {"name": "run", "mountPath": "/run/ensemble"},
            {"name": "tmp", "mountPath": SCRATCH},
        ],
    }
    if spec.artifacts.credentials:
        container["env"].append({"name": "DOCKER_CONFIG", "value": CREDENTIALS})
        container["volumeMounts"].append({"name": "registry", "mountPath": CREDENTIALS, "readOnly": True})
    if policy := service.pull_policy or settings.pull_policy:
        container["imagePullPolicy"] = policy
    pod: dict[str, Any] = {
        "serviceAccountName": service.account or name,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "state", **volume},
            {"name": "config", "configMap": {"name": name}},
            {"name": "run", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    if spec.artifacts.credentials:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        secret = {"secretName": spec.artifacts.credentials, "items": items}
        pod["volumes"].append({"name": "registry", "secret": secret})
    if service.node_selector:
        pod["nodeSelector"] = dict(service.node_selector)
    if service.tolerations:
        pod["tolerations"] = service.tolerations
    return _made(
        "apps/v1",
        "Deployment",
        identity,
        name,
        spec={
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _selected(identity)},
            "template": {"metadata": {"labels": labels(identity)}, "spec": pod},
        },
    )
