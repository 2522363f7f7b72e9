"""A small controller that treats MiniClusters as the Flux Operator does, where that cannot be had.

It makes an Indexed Job of the same name, the headless service and the config map; it changes the size of the Job with
`spec.size`, and sets a size above `maximumSize` back without a word; a size that is not valid it leaves alone, without
a condition. It does not drain brokers, and the Job controller removes the highest indices.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from ensemble.members.kubernetes.api import Api
from ensemble.members.kubernetes.objects import JOBS, Meta, Resource, Workload


class Status(Struct, kw_only=True):
    size: int = 0
    maximumSize: int = 0
    selector: str = ""


class Whole(Struct, kw_only=True):
    """A MiniCluster with all of its specification."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: dict[str, Any] = {}
    status: Status = msgspec.field(default_factory=Status)


class Named(Struct, kw_only=True):
    """An object of which only the name matters."""

    metadata: Meta = msgspec.field(default_factory=Meta)


CLUSTERS = Resource("flux-framework.org", "v1alpha2", "MiniCluster", "miniclusters", Whole)
SERVICES = Resource("", "v1", "Service", "services", Named)
CONFIG_MAPS = Resource("", "v1", "ConfigMap", "configmaps", Named)


@contextlib.asynccontextmanager
async def flux_operator(api: Api) -> AsyncIterator[None]:
    """Run the controller for the namespace of `api`. Its containers do nothing."""
    task = asyncio.ensure_future(_watch(api))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(api: Api) -> None:
    found, version = await api.list_all(CLUSTERS)
    for one in found:
        await _reconcile(api, one)
    while True:
        async for kind, one, seen in api.watch(CLUSTERS, version):
            version = seen
            if one is not None and kind != "DELETED":
                await _reconcile(api, one)


async def _reconcile(api: Api, cluster: Whole) -> None:
    spec, name = cluster.spec, cluster.metadata.name
    size, least, most = int(spec["size"]), int(spec.get("minSize", 0)), int(spec.get("maxSize", 0))
    if size < 1 or (most and size > most and not cluster.status.maximumSize) or (least and size < least):
        return  # "did not validate": the object stays as it is, and nothing is said
    limit = cluster.status.maximumSize or max(most, size)
    job = await api.get(JOBS, name)
    if job is None:
        await _make(api, cluster, size)
    elif size > limit:
        await api.patch(CLUSTERS, name, {"spec": {"size": limit}})
        return
    elif size != msgspec.json.decode(job.spec)["parallelism"]:
        await api.patch(JOBS, name, {"spec": {"parallelism": size, "completions": size}})
    status = {"size": size, "maximumSize": limit, "selector": f"hpa-selector={name}", "jobid": name}
    if (cluster.status.size, cluster.status.maximumSize) != (size, limit):
        await api.patch(CLUSTERS, name, {"status": status}, subresource="status")


async def _make(api: Api, cluster: Whole, size: int) -> None:
    spec, name = cluster.spec, cluster.metadata.name
    pod, service = spec.get("pod", {}), spec.get("network", {}).get("headlessName") or name
    owner = {
        "apiVersion": CLUSTERS.api_version, "kind": CLUSTERS.kind, "name": name, "uid": cluster.metadata.uid,
        "controller": True,
    }  # fmt: skip
    metadata = {"ownerReferences": [owner]}
    scripts = {f"wait-{place}": str(one.get("command", "")) for place, one in enumerate(spec["containers"])}
    await _create(api, CONFIG_MAPS, {"metadata": {"name": f"{name}-entrypoint", **metadata}, "data": scripts})
    headless = {"clusterIP": "None", "selector": {"job-name": name}}
    await _create(api, SERVICES, {"metadata": {"name": service, **metadata}, "spec": headless})
    template = {
        "metadata": {
            "labels": {**pod.get("labels", {}), "app.kubernetes.io/name": name, "hpa-selector": name},
            "annotations": pod.get("annotations", {}),
        },
        "spec": {
            "subdomain": service,
            "restartPolicy": "OnFailure",
            "automountServiceAccountToken": False,
            "nodeSelector": pod.get("nodeSelector", {}),
            "tolerations": pod.get("tolerations", []),
            "containers": [_container(name, one) for one in spec["containers"]],
        },
    }
    job = {"completions": size, "parallelism": size, "completionMode": "Indexed", "backoffLimit": 100}
    await _create(api, JOBS, {"metadata": {"name": name, **metadata}, "spec": {**job, "template": template}})


def _container(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name if given.get("runFlux") else given["name"],
        "image": given["image"],
        "imagePullPolicy": "Always" if given.get("pullAlways") else "IfNotPresent",
        "command": ["/bin/sh", "-c", "sleep 86400"],
        "resources": given.get("resources", {}),
    }


async def _create(api: Api, resource: Resource[Any], body: dict[str, Any]) -> Workload | Named:
    made: Workload | Named = await api.create(
        resource, {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    )
    return made
