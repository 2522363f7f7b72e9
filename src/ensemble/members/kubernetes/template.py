"""The pod of a job: what it needs, from the job's resources and the options of its member and group."""

from __future__ import annotations

__all__ = ["CONTAINER", "pod_template"]

import os
from typing import Any, Final

from ensemble.members.kubernetes.merge import merged
from ensemble.members.kubernetes.names import Identity
from ensemble.members.kubernetes.options import JobOptions, Shared
from ensemble.members.kubernetes.script import literal
from ensemble.model.jobs import JobSpec

CONTAINER: Final = "job"
"""The name of the container that runs the job."""
_CLAIM_DEADLINE: Final = 60
"""Seconds after the walltime at which Kubernetes ends a pod whose script has not."""


def pod_template(
    spec: JobSpec, options: JobOptions, identity: Identity, run_dir: str, shared: Shared | None, script: str
) -> dict[str, Any]:
    """The pod template of a job: ours, with what the options say merged over it."""
    env = {
        "OMP_NUM_THREADS": str(spec.resources.cores),
        "ENSEMBLE_NODES": str(max(1, spec.resources.nodes)),
        **spec.env,
    }
    if shared is None:
        volume: dict[str, Any] = {"name": "run", "emptyDir": {}}
        mount = {"name": "run", "mountPath": run_dir}
    else:
        volume = {"name": "run", **shared.volume}
        mount = {"name": "run", "mountPath": shared.path}
    container = {
        "name": CONTAINER,
        "image": options.image,
        "command": ["/bin/sh", "-c", literal(script)],
        "env": [{"name": name, "value": literal(text)} for name, text in env.items()],
        "resources": _resources(spec, options),
        "volumeMounts": [mount],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if options.pull:
        container["imagePullPolicy"] = options.pull
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [volume],
    }
    if os.getuid() and shared is not None:
        # files on the shared volume are then ours, as they are on any cluster
        pod["securityContext"] |= {"runAsUser": os.getuid(), "runAsGroup": os.getgid(), "runAsNonRoot": True}
    if options.service_account:
        pod["serviceAccountName"] = options.service_account
    if options.node_selector:
        pod["nodeSelector"] = dict(options.node_selector)
    if spec.walltime:
        pod["activeDeadlineSeconds"] = int(spec.walltime) + _CLAIM_DEADLINE
    affinity = _affinity(spec)
    if affinity:
        pod["affinity"] = affinity
    ours = {
        "metadata": {"labels": identity.labels(spec.ref), "annotations": identity.annotations(spec.ref)},
        "spec": pod,
    }
    template: dict[str, Any] = merged(ours, options.pod)
    return template


def _resources(spec: JobSpec, options: JobOptions) -> dict[str, Any]:
    """What one pod asks for: its share of the tasks. CPUs are requested and not limited, so that idle ones are used."""
    need, pods = spec.resources, max(1, spec.resources.nodes)
    tasks = -(-need.tasks // pods)
    requests: dict[str, str] = {"cpu": str(tasks * need.cores)}
    limits: dict[str, str] = {}
    if options.memory:
        requests["memory"] = limits["memory"] = options.memory
    if need.gpus:
        limits[options.gpu] = str(tasks * need.gpus)
    return {"requests": requests} | ({"limits": limits} if limits else {})


def _affinity(spec: JobSpec) -> dict[str, Any]:
    """Nodes to avoid; for a job that wants nodes to itself, and for several pods of one job, pods to be apart from."""
    found: dict[str, Any] = {}
    if spec.avoid:
        expression = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": list(spec.avoid)}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        found["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    if spec.resources.exclusive:
        others = {"matchLabels": {"app.kubernetes.io/managed-by": "ensemble"}}
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": others, "namespaceSelector": {}}
        found["podAntiAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return found
