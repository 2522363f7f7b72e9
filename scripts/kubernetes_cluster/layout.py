"""Where a cluster keeps its files, and the names, addresses and ports that are its own.

Several clusters may run on one machine: each has its directory, a bridge and a network of its own, and free ports.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from kubernetes_cluster.words import Failure

PORTS = (
    "etcd", "etcd-peer", "apiserver", "controller-manager", "scheduler", "kwok", "jobset", "jobset-health", "lws",
    "lws-health",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What was chosen when the cluster was first started; kept in its directory, so that every later command agrees."""

    folder: Path
    second_octet: int
    ports: dict[str, int]
    binaries: Path

    @property
    def name(self) -> str:
        """The name of its bridge and its control groups: short, since an interface's name has 15 characters."""
        return "kc" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    def address(self, last: str) -> str:
        """An address of the cluster's own network, 10.N.0.0/16."""
        return f"10.{self.second_octet}.{last}"

    @property
    def host(self) -> str:
        """The machine's own address on the bridge, where the API server listens for processes and pods alike."""
        return self.address("0.1")

    @property
    def node(self) -> str:
        """The address of the real node."""
        return self.address("0.2")

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{self.host}:{self.ports['apiserver']}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    def program(self, name: str) -> str:
        """The path of one of the programs that were built."""
        return str(self.binaries / "bin" / name)

    def write(self, name: str, content: str) -> Path:
        """Write a file in its directory unless it says this already: kube-proxy ends when its file is written anew."""
        file = self.folder / name
        if not file.exists() or file.read_text() != content:
            file.write_text(content)
        return file

    def kubectl(self, *words: str, given: str | None = None, seconds: float = 60.0) -> str:
        """What kubectl prints, as the administrator; raises `Failure` with its message."""
        command = [self.program("kubectl"), f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds)
        if done.returncode:
            raise Failure(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *objects: object) -> None:
        """Apply objects by the server's own merge, which takes any size."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=text)


def folder() -> Path:
    """The cluster's directory."""
    return Path(os.environ.get("KUBERNETES_CLUSTER_DIR") or "/tmp/ensemble-kubernetes").absolute()


def load() -> Layout | None:
    """The layout of the cluster in `folder()`, or None when there is none."""
    file = folder() / "cluster.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text())
    return Layout(folder(), found["second_octet"], found["ports"], Path(found["binaries"]))


def create(binaries: Path) -> Layout:
    """Choose a network that nothing on this machine uses and free ports; write them down."""
    made = Layout(folder(), _free_network(), dict(zip(PORTS, _free_ports(len(PORTS)), strict=True)), binaries)
    made.folder.mkdir(parents=True, mode=0o755)
    for part in ("pki", "logs", "processes"):
        (made.folder / part).mkdir()
    known = asdict(made) | {"name": made.name, "folder": str(made.folder), "binaries": str(binaries)}
    (made.folder / "cluster.json").write_text(json.dumps(known, indent=2))
    return made


def _free_network() -> int:
    routes = json.loads(subprocess.run(["ip", "-j", "route"], capture_output=True, check=True).stdout)
    used = [ipaddress.ip_network(route["dst"]) for route in routes if route["dst"] != "default"]
    for octet in range(64, 128):
        if not any(ipaddress.ip_network(f"10.{octet}.0.0/16").overlaps(network) for network in used):
            return octet
    raise Failure("all networks from 10.64.0.0/16 to 10.127.0.0/16 are in use on this machine")


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    numbers = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return numbers
