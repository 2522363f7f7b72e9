"""kwok's fake nodes, and JobSet and LeaderWorkerSet as plain processes beside the API server."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from kubernetes_cluster.layout import Layout
from kubernetes_cluster.processes import Process

MINICLUSTER = Path(__file__).parent / "miniclusters-crd.yaml"
FAKE = {"kwok.x-k8s.io/node": "fake"}
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
PODS_OF = {"jobset": "jobset.sigs.k8s.io/jobset-name", "lws": "leaderworkerset.sigs.k8s.io/name"}
"""By this label a controller knows its pods; without it its webhook would be asked about every pod."""


def start(layout: Layout) -> None:
    """Apply the kinds of JobSet, LeaderWorkerSet and MiniCluster; start the controllers of the first two."""
    manifests = layout.binaries / "manifests"
    files = [MINICLUSTER, *(file for name in PODS_OF for file in sorted((manifests / name).glob("*.x-k8s.io_*.yaml")))]
    crds = [word for file in files for word in ("-f", str(file))]
    layout.kubectl("apply", "--server-side", "--force-conflicts", *crds)
    layout.kubectl("wait", "--for=condition=Established", "--timeout=60s", *crds)
    for name in PODS_OF:
        layout.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{name}-system"}})
        config = layout.write(f"{name}.json", json.dumps(_configuration(layout, name)))
        Process(layout, name).start(layout.program(name), f"--kubeconfig={layout.kubeconfig}", f"--config={config}")
        layout.apply(*_webhooks(layout, name))


def _configuration(layout: Layout, name: str) -> dict[str, Any]:
    group = {"jobset": "config.jobset.x-k8s.io", "lws": "config.lws.x-k8s.io"}[name]
    certificates = layout.folder / "pki" / "webhook"
    if not certificates.exists():
        certificates.mkdir()
        for end in ("crt", "key"):
            (certificates / f"tls.{end}").write_bytes((layout.folder / "pki" / f"webhook.{end}").read_bytes())
    return {
        "apiVersion": f"{group}/v1alpha1",
        "kind": "Configuration",
        "internalCertManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": layout.ports[name], "certDir": str(certificates)},
        "health": {"healthProbeBindAddress": f"127.0.0.1:{layout.ports[f'{name}-health']}"},
        "metrics": {"bindAddress": "0"},
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"qps": 500, "burst": 1000},
    }


def _webhooks(layout: Layout, name: str) -> list[dict[str, Any]]:
    """The controller's own webhooks, pointed at its process here, and asked only about its own pods."""
    file = layout.binaries / "manifests" / name / "manifests.yaml"
    said = layout.kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", str(file))
    authority = base64.b64encode((layout.folder / "pki" / "ca.crt").read_bytes()).decode()
    # kubectl prints the objects one after the other when there are several
    objects, rest = [], said.strip()
    while rest:
        one, end = json.JSONDecoder().raw_decode(rest)
        objects.extend(one["items"] if one["kind"] == "List" else [one])
        rest = rest[end:].strip()
    for one in objects:
        metadata = one["metadata"]
        one["metadata"] = {"name": f"{name}-{metadata['name']}"}
        for webhook in one["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            url = f"https://127.0.0.1:{layout.ports[name]}{path}"
            webhook["clientConfig"] = {"url": url, "caBundle": authority}
            if any("pods" in rule["resources"] for rule in webhook["rules"]):
                exists = {"key": PODS_OF[name], "operator": "Exists"}
                webhook["objectSelector"] = {"matchExpressions": [exists]}
    return objects


def set_fake_nodes(layout: Layout, count: int) -> None:
    """Have exactly `count` fake nodes: they take pods that tolerate kwok's taint, and run nothing."""
    stages = layout.binaries / "manifests" / "kwok"
    configs = [f"--config={file}" for file in sorted(stages.glob("*.yaml"))]
    Process(layout, "kwok").start(
        layout.program("kwok"), f"--kubeconfig={layout.kubeconfig}", *configs,
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--node-lease-duration-seconds=40",
        f"--cidr={layout.address('32.1')}/19", f"--server-address=127.0.0.1:{layout.ports['kwok']}",
    )  # fmt: skip
    there = layout.kubectl("get", "nodes", "-l", "type=kwok", "-o", "name").split()
    wanted = [f"fake-{number}" for number in range(count)]
    gone = [name for name in there if name.removeprefix("node/") not in wanted]
    if gone:
        layout.kubectl("delete", *gone)
    if wanted:
        layout.apply(*map(_fake_node, wanted))
        layout.kubectl("wait", "--for=condition=Ready", "--timeout=60s", *(f"node/{name}" for name in wanted))


def _fake_node(name: str) -> dict[str, Any]:
    room = {"cpu": "32", "memory": "256Gi", "pods": "1000"}
    system = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    labels = {"type": "kwok", "kubernetes.io/hostname": name, **system}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": FAKE},
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": room, "capacity": room},
    }
