"""A real Kubernetes for the tests: the one in KUBERNETES_CLUSTER_DIR, or one that is started once for a session.

The workers of pytest-xdist share it. Each test has a namespace of its own; what was made there is read from the API
server's audit log, which none of our code writes.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SCRIPT = Path(__file__).parents[2] / "scripts" / "kubernetes-cluster"
SETTING = "KUBERNETES_CLUSTER_DIR"
SESSION = "ENSEMBLE_TEST_SESSION"
"""Set by `tests/conftest.py`; the cluster does not inherit it, since it may outlive the test that started it."""

FAKE_NODES = 4
IMAGE = "ensemble:dev"
"""The image of Ensemble itself, after `with_image`."""
TEST_IMAGE = "ensemble-test:dev"
"""An image on the real node with a shell, sleep and the usual small commands."""

FOR_FAKE_NODES = {
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
    "nodeSelector": {"type": "kwok"},
}
"""What a pod's spec needs in order to be put on a fake node."""


class Entry(NamedTuple):
    """One request that the API server answered, from its audit log."""

    verb: str
    resource: str
    subresource: str
    name: str
    user: str
    status: int
    time: str
    """When it was answered, in RFC 3339 with microseconds."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, by its directory."""

    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def programs(self) -> Path:
        """The folder of kubectl, helm and kustomize."""
        return Path(json.loads((self.folder / "cluster.json").read_text())["binaries"]) / "bin"

    @property
    def audit_log(self) -> Path:
        """The API server's own record of what was created, patched and deleted."""
        return self.folder / "audit.log"

    def script(self, *words: str, seconds: float = 120.0) -> str:
        """Run `scripts/kubernetes-cluster` for this cluster; raises with what it said."""
        done = _script(self.folder, *words, seconds=seconds)
        assert not done.returncode, done.stderr
        return done.stdout

    def kubectl(self, *words: str, given: str | None = None, seconds: float = 60.0) -> str:
        """What kubectl prints, as the administrator; raises with its message."""
        command = [self.programs / "kubectl", f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds, check=False)
        assert not done.returncode, done.stderr
        return done.stdout

    @contextmanager
    def namespace(self, name: str, labels: Mapping[str, str] | None = None) -> Iterator[Namespace]:
        """A new namespace, its name begun with `name`; deleted at the end, with all that is in it."""
        short = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
        made = Namespace(self, f"{short}-{os.urandom(3).hex()}", self.audit_log.stat().st_size)
        metadata = {"name": made.name, "labels": dict(labels or {})}
        made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        made.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        try:
            yield made
        finally:
            self.kubectl("delete", "namespace", made.name, "--wait=false")


@dataclass(frozen=True)
class Namespace:
    """A namespace of one test."""

    cluster: Cluster
    name: str
    since: int
    """Where the audit log ended before the namespace was made."""

    def kubectl(self, *words: str, given: str | None = None, seconds: float = 60.0) -> str:
        """What kubectl prints, as the administrator, in this namespace."""
        return self.cluster.kubectl(f"--namespace={self.name}", *words, given=given, seconds=seconds)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change these objects."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, kind: str, *words: str) -> Any:
        """An object, or all of a kind, as kubectl prints them in JSON."""
        return json.loads(self.kubectl("get", kind, *words, "-o", "json"))

    def audit(self, resource: str = "") -> list[Entry]:
        """The requests for objects in this namespace since it was made, in order; `resource` is a plural: `jobs`."""
        found = []
        with self.cluster.audit_log.open("rb") as log:
            log.seek(self.since)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # it is being written
                event = json.loads(line)
                target = event.get("objectRef", {})
                if target.get("namespace") == self.name and resource in ("", target.get("resource")):
                    found.append(
                        Entry(
                            event["verb"],
                            target.get("resource", ""),
                            target.get("subresource", ""),
                            target.get("name", ""),
                            event["user"]["username"],
                            event.get("responseStatus", {}).get("code", 0),
                            event["stageTimestamp"],
                        )
                    )
        return found

    def created(self, resource: str) -> list[str]:
        """The names of the objects of this kind that were really made, one for each time that it happened."""
        return [entry.name for entry in self.audit(resource) if entry.status == 201 and not entry.subresource]

    def account(self, name: str, rules: Sequence[Mapping[str, Sequence[str]]], folder: Path) -> Path:
        """A kubeconfig in `folder` of a new account that may do what these rules of a Role say, and nothing else."""
        group = "rbac.authorization.k8s.io"
        metadata = {"name": name, "namespace": self.name}
        self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", **metadata}],
            },
        )
        return self.kubeconfig(folder / f"{name}.kubeconfig", token=self.kubectl("create", "token", name).strip())

    def kubeconfig(self, file: Path, token: str = "") -> Path:
        """A kubeconfig whose default namespace is this one: the administrator's, or of the account with `token`."""
        config = json.loads(self.cluster.kubeconfig.read_text())
        config["contexts"][0]["context"]["namespace"] = self.name
        if token:
            config["users"][0]["user"] = {"token": token}
        file.write_text(json.dumps(config))
        return file


@functools.cache
def missing() -> str:
    """Find or start the cluster of this session; why there is none, or nothing."""
    if SETTING in os.environ:
        there = (Path(os.environ[SETTING]) / "cluster.json").exists()
        return "" if there else f"no Kubernetes: there is no cluster in {os.environ[SETTING]}"
    shared = _folder_of_session()
    shared.mkdir(exist_ok=True)
    with _lock(shared / "lock"):
        told = shared / "told"
        if not told.exists():
            told.write_text(_start(shared))
        return told.read_text()


def shared() -> Cluster:
    """The cluster that `missing` has found or started."""
    return Cluster(Path(os.environ[SETTING]) if SETTING in os.environ else _folder_of_session() / "cluster")


def with_image() -> Cluster:
    """The cluster that `missing` has found or started, with the image `ensemble:dev` of this tree on its node."""
    cluster = shared()
    built = cluster.folder / "images" / f"built-for-{os.environ[SESSION][:8]}"
    with _lock(built.with_suffix(".lock")):
        if not built.exists():
            cluster.script("image", seconds=900)
            built.touch()
    return cluster


@contextmanager
def own(*words: str) -> Iterator[Cluster]:
    """A cluster for one test that does harm to it, started with these words (`--no-node`)."""
    with tempfile.TemporaryDirectory(prefix="ensemble-kubernetes-") as folder:
        cluster = Cluster(Path(folder) / "cluster")
        watcher = _watch(Path(folder))
        try:
            cluster.script("start", *words, seconds=300)
            yield cluster
        finally:
            os.killpg(watcher.pid, signal.SIGKILL)
            watcher.wait()
            cluster.script("stop")


def end_session() -> None:
    """Stop the cluster that was started for this session, if one was."""
    folder = _folder_of_session()
    if (folder / "watcher").exists():
        os.killpg(int((folder / "watcher").read_text()), signal.SIGKILL)
    if folder.exists():
        _script(folder / "cluster", "stop")
        shutil.rmtree(folder)


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _folder_of_session() -> Path:
    return Path(tempfile.gettempdir()) / f"ensemble-kubernetes-{os.environ[SESSION][:8]}"


def _start(folder: Path) -> str:
    """Start the cluster; why it cannot be had, or nothing."""
    done = _script(folder / "cluster", "start", f"--fake-nodes={FAKE_NODES}", seconds=3600)
    if done.returncode:
        _script(folder / "cluster", "stop")
        return f"no Kubernetes here: {done.stderr.strip().splitlines()[-1]}"
    (folder / "watcher").write_text(str(_watch(folder).pid))
    return ""


def _watch(folder: Path) -> subprocess.Popen[bytes]:
    """Start what stops the cluster in this folder and removes it when the tests are killed."""
    # a worker's parent is the process that outlives all workers
    tests = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    watch = f'tail --pid={tests} -f /dev/null; "$0" stop; exec rm -rf {folder}'
    null = subprocess.DEVNULL
    return subprocess.Popen(
        ["/bin/sh", "-c", watch, str(SCRIPT)], stdin=null, stdout=null, stderr=null, start_new_session=True,
        env=_environment(folder / "cluster"),
    )  # fmt: skip


def _script(folder: Path, *words: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *words], env=_environment(folder), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=seconds, check=False,
    )  # fmt: skip


def _environment(folder: Path) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if name != SESSION}
    return {**known, SETTING: str(folder)}
