"""The real node: containerd, kubelet, kube-proxy and CoreDNS, in namespaces of its own.

The node is one process with its own process ids, mounts and network; all that a node leaves behind on a machine
(containers, mounts, interfaces, iptables rules, sockets) ends with that process. What remains are control groups.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from kubernetes_cluster import images
from kubernetes_cluster.certificates import Authority
from kubernetes_cluster.control_plane import answers, ip
from kubernetes_cluster.layout import Layout
from kubernetes_cluster.processes import NODE, Process, run_in_node
from kubernetes_cluster.words import Failure

NAME = "node"
CGROUPS = Path("/sys/fs/cgroup")
PRIVATE = ("/run", "/var/lib", "/var/log")
"""Folders that the node has to itself, since some of its programs write there whatever they are told."""

FIRST_PROCESS = """
set -e
mount --make-rshared /
for folder in {private}; do mount -t tmpfs -o mode=755 tmpfs $folder; done
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
touch /run/ready
trap : CHLD
while :; do sleep infinity & wait $!; done
"""

CONTAINERD = """
version = 3
root = "{folder}/containerd"
state = "/run/containerd"
oom_score = 0

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{folder}/cni"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"""

COREFILE = """
cluster.local in-addr.arpa {{
    bind {node}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {folder}/pki/coredns.kubeconfig
        ttl 1
    }}
}}
. {{
    bind {node}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""
"""Names outside of the cluster do not exist, which ends a search sooner than a refusal."""


def start(layout: Layout) -> None:
    """Start the node and what runs on it; wait until it takes pods."""
    for private in PRIVATE:
        if layout.folder.is_relative_to(private) or layout.binaries.is_relative_to(private):
            raise Failure(f"the node cannot see {private}: choose other folders")
    _make_certificates(layout)
    _write_configuration(layout)
    _make_cgroups(layout)
    _start_namespaces(layout)
    path = f"PATH={layout.binaries}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    containerd = Process(layout, "containerd")
    containerd.start_in_node("env", path, layout.program("containerd"), f"--config={layout.folder}/containerd.toml")
    socket = _inside(Process(layout, NODE), "run/containerd/containerd.sock")
    containerd.until(socket.exists, "containerd's socket")
    load(layout, images.busybox(layout.folder / "images" / "pause.tar", images.PAUSE, ["/bin/sleep", "infinity"]))
    load(layout, images.busybox(layout.folder / "images" / "test.tar", images.TEST, ["/bin/sh"]))
    kubelet = Process(layout, "kubelet")
    kubelet.start_in_node(
        "env", path, layout.program("kubelet"), f"--config={layout.folder}/kubelet.json",
        f"--kubeconfig={layout.folder}/pki/kubelet.kubeconfig", f"--hostname-override={NAME}",
        f"--node-ip={layout.node}", f"--root-dir={layout.folder}/kubelet",
        "--node-labels=ensemble.flux-framework.org/real=true",
    )  # fmt: skip
    Process(layout, "kube-proxy").start_in_node(
        "env", path, layout.program("kube-proxy"), f"--config={layout.folder}/kube-proxy.json",
        f"--hostname-override={NAME}",
    )  # fmt: skip
    Process(layout, "coredns").start_in_node(layout.program("coredns"), f"-conf={layout.folder}/Corefile")
    kubelet.until(lambda: answers(layout, "get", f"node/{NAME}"), "the node in the API")
    layout.kubectl("wait", "--for=condition=Ready", "--timeout=120s", f"node/{NAME}", seconds=130)


def load(layout: Layout, file: Path) -> None:
    """Give the node the images in a tar file (of `docker save`, `buildah push` or `images.py`)."""
    run_in_node(layout, layout.program("ctr"), "--address=/run/containerd/containerd.sock", "--namespace=k8s.io",
                "images", "import", "--digests", str(file))  # fmt: skip


def remove_cgroups(layout: Layout) -> None:
    """Remove the node's control groups, after its processes have ended."""
    for root in _cgroups(layout):
        for folder, _, _ in os.walk(root, topdown=False):
            try:
                os.rmdir(folder)
            except OSError as error:
                raise Failure(f"the control group {folder} is still in use") from error


def _inside(node: Process, path: str) -> Path:
    """A path of the node's own file system, as seen from outside of its namespaces."""
    return Path("/proc", str(node.pid()), "root", path)


def _start_namespaces(layout: Layout) -> None:
    node = Process(layout, NODE)
    if node.alive():
        return
    node.start_as_node("bash", "-c", FIRST_PROCESS.format(private=" ".join(PRIVATE)))
    node.until(lambda: _inside(node, "run/ready").exists(), "the node's namespaces")
    here, there = f"{layout.name}n", f"{layout.name}m"
    ip("link", "add", here, "type", "veth", "peer", "name", there)
    ip("link", "set", there, "netns", str(node.pid()))
    ip("link", "set", here, "master", layout.name, "up")
    for words in (
        ("link", "set", there, "name", "eth0"),
        ("addr", "add", f"{layout.node}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        # a Service's address is replaced by a pod's only after a route to it was found
        ("route", "add", f"{layout.address('128.0')}/20", "dev", "eth0"),
    ):
        run_in_node(layout, "ip", *words)


def _make_certificates(layout: Layout) -> None:
    authority = Authority(layout)
    authority.issue("kubelet", f"/CN=system:node:{NAME}/O=system:nodes", (layout.node, NAME))
    authority.issue("kube-proxy", "/CN=system:kube-proxy")
    authority.issue("coredns", "/CN=system:coredns")
    for name in ("kubelet", "kube-proxy", "coredns"):
        authority.kubeconfig(layout.folder / "pki" / f"{name}.kubeconfig", name)
    read = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    rbac, name = "rbac.authorization.k8s.io", "system:coredns"
    layout.apply(
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": read},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": name}],
        },
    )


def _write_configuration(layout: Layout) -> None:
    folder = layout.folder
    for part in ("cni", "images", "pods"):
        (folder / part).mkdir(exist_ok=True)
    layout.write("containerd.toml", CONTAINERD.format(folder=folder, pause=images.PAUSE))
    layout.write("Corefile", COREFILE.format(folder=folder, node=layout.node))
    layout.write("resolv.conf", f"nameserver {layout.node}\n")
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/addresses",
            "ranges": [[{"subnet": f"{layout.address('16.0')}/20"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}
    layout.write("cni/pods.conflist", json.dumps(network, indent=2))
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": f"{folder}/pki/ca.crt"},
            "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{folder}/pki/kubelet.crt",
        "tlsPrivateKeyFile": f"{folder}/pki/kubelet.key",
        "clusterDomain": "cluster.local",
        "clusterDNS": [layout.node],
        "resolvConf": f"{folder}/resolv.conf",
        "podLogsDir": f"{folder}/pods",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "maxPods": 250,
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        "registerNode": True,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "serializeImagePulls": False,
        "evictionHard": {"memory.available": "1%", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }
    layout.write("kubelet.json", json.dumps(kubelet, indent=2))
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": f"{folder}/pki/kube-proxy.kubeconfig"},
        "clusterCIDR": f"{layout.address('16.0')}/20",
        "conntrack": {"maxPerCore": 0, "min": 0},
        "iptables": {"minSyncPeriod": "0s"},
    }
    layout.write("kube-proxy.json", json.dumps(proxy, indent=2))


def _cgroups(layout: Layout) -> list[Path]:
    """The node's group in each hierarchy: there are several with version 1 of control groups, one with version 2."""
    roots = [CGROUPS] if (CGROUPS / "cgroup.controllers").exists() else sorted(CGROUPS.iterdir())
    return [root / layout.name for root in roots if (root / "cgroup.procs").exists()]


def _make_cgroups(layout: Layout) -> None:
    for group in _cgroups(layout):
        group.mkdir(exist_ok=True)
