"""Build the programs of a cluster from the Go modules in `modules/`, once, into a folder outside the tree.

The folder's name is a hash of the modules' pinned versions, so that a new version is a new folder. Each program is
built under a lock and then moved to its place: any number of processes may ask for the same program.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kubernetes_cluster.words import Failure, say

MODULES = Path(__file__).parent / "modules"
KUBERNETES = "v1.36.3"


@dataclass(frozen=True)
class Program:
    """One program: its name, the folder in `modules/` that pins its version, and its package there."""

    name: str
    module: str
    package: str
    tags: str = ""


CONTROL_PLANE = (
    Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
    Program("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Program("kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    Program("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Program("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"),
)
CONTROLLERS = (
    Program("kwok", "controllers", "sigs.k8s.io/kwok/cmd/kwok"),
    Program("jobset", "controllers", "sigs.k8s.io/jobset"),
    Program("lws", "controllers", "sigs.k8s.io/lws/cmd"),
)
_CONTAINERD = "github.com/containerd/containerd/v2/cmd/"
_NO_DRIVERS = "no_btrfs,no_zfs,no_devmapper"
NODE = (
    Program("containerd", "containerd", _CONTAINERD + "containerd", _NO_DRIVERS),
    Program("containerd-shim-runc-v2", "containerd", _CONTAINERD + "containerd-shim-runc-v2", _NO_DRIVERS),
    Program("ctr", "containerd", _CONTAINERD + "ctr", _NO_DRIVERS),
    Program("kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"),
    Program("kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"),
    Program("coredns", "coredns", "."),
)
PACKAGING = (
    Program("helm", "packaging", "helm.sh/helm/v3/cmd/helm"),
    Program("kustomize", "packaging", "sigs.k8s.io/kustomize/kustomize/v5"),
)
ALL = CONTROL_PLANE + CONTROLLERS + NODE + PACKAGING

MANIFESTS = {
    "jobset": ("config/components/crd/bases", "config/components/webhook/manifests.yaml"),
    "lws": ("config/crd/bases", "config/webhook/manifests.yaml"),
    "kwok": (
        "kustomize/stage/node/fast/node-initialize.yaml",
        "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
        "kustomize/stage/pod/general",
    ),
}
"""Files of the controllers' own modules that a cluster applies or reads."""


def cache() -> Path:
    """The folder of the pinned versions: `bin/` and `manifests/`."""
    digest = hashlib.sha256()
    for file in sorted(MODULES.glob("*/*")):
        digest.update(file.name.encode() + file.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "ensemble" / "kubernetes" / digest.hexdigest()[:12]


def ensure(programs: Iterable[Program] = ALL) -> Path:
    """Build what is missing of `programs`, in their order; the folder that holds them all."""
    folder = cache()
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for program in programs:
        target = folder / "bin" / program.name
        if target.exists():
            continue
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _build(program, target)
    return folder


def ensure_manifests() -> Path:
    """Copy the controllers' own manifests out of their modules; the folder that holds them, one folder a module."""
    folder = cache() / "manifests"
    if folder.exists():
        return folder
    fresh = folder.with_name(f".manifests.{os.getpid()}")
    for module, paths in MANIFESTS.items():
        source = Path(_go("list", "-m", "-f", "{{.Dir}}", f"sigs.k8s.io/{module}", module="controllers").strip())
        (fresh / module).mkdir(parents=True)
        for path in paths:
            found = source / path
            for file in sorted(found.glob("*.yaml")) if found.is_dir() else [found]:
                if file.name != "kustomization.yaml":
                    shutil.copyfile(file, fresh / module / file.name)
    try:
        fresh.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(fresh)
    return folder


def _build(program: Program, target: Path) -> None:
    say(f"building {program.name}")
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    _go("build", "-trimpath", f"-ldflags={_ldflags()}", f"-tags={program.tags}", "-o", str(fresh), program.package,
        module=program.module)  # fmt: skip
    fresh.rename(target)


def _ldflags() -> str:
    """No debug symbols, and the version that clients are told."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    told = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s -w", *(f"-X {package}.{key}={value}" for package in packages for key, value in told.items())])


def _go(*words: str, module: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise Failure("Go is missing (the command go): it builds the programs of the cluster")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    done = subprocess.run([go, *words], cwd=MODULES / module, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"go {words[0]} failed in modules/{module}: {done.stderr.strip()[-2000:]}")
    return done.stdout
