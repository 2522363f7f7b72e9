"""etcd, the API server, the controller manager and the scheduler, as plain processes of this machine."""

from __future__ import annotations

import json
import subprocess

from kubernetes_cluster.certificates import Authority, signing_key
from kubernetes_cluster.layout import Layout
from kubernetes_cluster.processes import Process
from kubernetes_cluster.words import Failure

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": ["update"], "resources": [{"group": "batch", "resources": ["jobs/status"]}]},
        {
            "level": "None",
            "resources": [{"group": group, "resources": names} for group, names in (
                ("", ["events"]), ("events.k8s.io", ["events"]), ("coordination.k8s.io", ["leases"]),
                ("authentication.k8s.io", ["*"]), ("authorization.k8s.io", ["*"]), ("", ["*/status"]),
                ("batch", ["*/status"]))],
        },
        {"level": "Metadata", "verbs": ["create", "delete", "deletecollection", "patch"]},
        {"level": "None"},
    ],
}  # fmt: skip
"""A patch is logged too: server-side apply makes objects by it, with the answer 201. So is the end of a Job."""


def make_network(layout: Layout) -> None:
    """Make the bridge that carries the machine's own address and leads to the node's, unless it is there."""
    if subprocess.run(["ip", "link", "show", layout.name], capture_output=True).returncode == 0:
        return
    for words in (
        ("link", "add", layout.name, "type", "bridge"),
        ("addr", "add", f"{layout.host}/24", "dev", layout.name),
        ("link", "set", layout.name, "up"),
        ("route", "add", f"{layout.address('0.0')}/16", "via", layout.node),
    ):
        ip(*words)


def remove_network(layout: Layout) -> None:
    """Remove the bridge, and with it its routes, if it is there."""
    subprocess.run(["ip", "link", "delete", layout.name], capture_output=True)


def ip(*words: str) -> None:
    """Run iproute2's `ip`; raises `Failure` with its message."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"ip {' '.join(words)}: {done.stderr.strip()}")


def make_certificates(layout: Layout) -> Authority:
    """The authority, and what the control plane shows and asks for."""
    authority, front = Authority(layout), Authority(layout, "front-proxy-ca")
    authority.create()
    front.create()
    front.issue("front-proxy-client", "/CN=front-proxy-client")
    service = [f"kubernetes.default{end}" for end in ("", ".svc", ".svc.cluster.local")]
    here = ("127.0.0.1", "localhost", layout.host)
    authority.issue("etcd", "/CN=etcd", here)
    authority.issue("apiserver", "/CN=kube-apiserver", (*here, layout.address("128.1"), "kubernetes", *service))
    authority.issue("apiserver-client", "/CN=kube-apiserver/O=system:masters")
    authority.issue("webhook", "/CN=webhook", here)
    for name, subject in (
        ("admin", "/CN=kubernetes-admin/O=system:masters"),
        ("controller-manager", "/CN=system:kube-controller-manager"),
        ("scheduler", "/CN=system:kube-scheduler"),
    ):
        authority.issue(name, subject)
        file = layout.kubeconfig if name == "admin" else layout.folder / "pki" / f"{name}.kubeconfig"
        authority.kubeconfig(file, name)
    signing_key(layout.folder / "pki" / "service-account.key")
    return authority


def start(layout: Layout) -> None:
    """Start all four, and wait until the API server is ready and namespaces get their ServiceAccount."""
    pki = make_certificates(layout).path
    ports = layout.ports
    etcd = f"https://127.0.0.1:{ports['etcd']}"
    peer = f"http://127.0.0.1:{ports['etcd-peer']}"
    layout.write("audit-policy.json", json.dumps(AUDIT_POLICY))
    Process(layout, "etcd").start(
        layout.program("etcd"), f"--data-dir={layout.folder}/etcd", "--unsafe-no-fsync", "--log-level=warn",
        f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
        f"--cert-file={pki('etcd.crt')}", f"--key-file={pki('etcd.key')}", f"--trusted-ca-file={pki('ca.crt')}",
        "--client-cert-auth",
    )  # fmt: skip
    apiserver = Process(layout, "kube-apiserver")
    apiserver.start(
        layout.program("kube-apiserver"), f"--bind-address={layout.host}", f"--secure-port={ports['apiserver']}",
        f"--advertise-address={layout.host}", "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
        f"--service-cluster-ip-range={layout.address('128.0')}/20",
        f"--etcd-servers={etcd}", f"--etcd-cafile={pki('ca.crt')}", f"--etcd-certfile={pki('apiserver-client.crt')}",
        f"--etcd-keyfile={pki('apiserver-client.key')}",
        f"--client-ca-file={pki('ca.crt')}", f"--tls-cert-file={pki('apiserver.crt')}",
        f"--tls-private-key-file={pki('apiserver.key')}", f"--kubelet-certificate-authority={pki('ca.crt')}",
        f"--kubelet-client-certificate={pki('apiserver-client.crt')}",
        f"--kubelet-client-key={pki('apiserver-client.key')}", "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki('front-proxy-ca.crt')}",
        "--requestheader-allowed-names=front-proxy-client", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki('front-proxy-client.crt')}",
        f"--proxy-client-key-file={pki('front-proxy-client.key')}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki('service-account.key')}",
        f"--service-account-signing-key-file={pki('service-account.key')}",
        f"--audit-policy-file={layout.folder}/audit-policy.json", f"--audit-log-path={layout.folder}/audit.log",
    )  # fmt: skip
    apiserver.until(lambda: ready(layout), "a ready API server")
    common = ("--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000", "--bind-address=127.0.0.1")
    configs = {name: f"{layout.folder}/pki/{name}.kubeconfig" for name in ("controller-manager", "scheduler")}
    manager = Process(layout, "kube-controller-manager")
    manager.start(
        layout.program("kube-controller-manager"), *common, f"--kubeconfig={configs['controller-manager']}",
        f"--secure-port={ports['controller-manager']}", "--use-service-account-credentials",
        f"--authentication-kubeconfig={configs['controller-manager']}",
        f"--authorization-kubeconfig={configs['controller-manager']}",
        f"--service-account-private-key-file={pki('service-account.key')}", f"--root-ca-file={pki('ca.crt')}",
    )  # fmt: skip
    Process(layout, "kube-scheduler").start(
        layout.program("kube-scheduler"), *common, f"--kubeconfig={configs['scheduler']}",
        f"--authentication-kubeconfig={configs['scheduler']}", f"--authorization-kubeconfig={configs['scheduler']}",
        f"--secure-port={ports['scheduler']}",
    )  # fmt: skip
    manager.until(lambda: answers(layout, "get", "serviceaccount", "default"), "a ServiceAccount in a namespace")


def ready(layout: Layout) -> bool:
    """Whether the API server answers that it is ready."""
    return answers(layout, "get", "--raw=/readyz")


def answers(layout: Layout, *words: str) -> bool:
    """Whether kubectl can do this now."""
    try:
        layout.kubectl(*words, "--request-timeout=5s")
    except Failure:
        return False
    return True
