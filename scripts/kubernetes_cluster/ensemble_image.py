"""The image of Ensemble itself, built from the tree's Containerfile without a registry.

The base comes from Debian's packages by mmdebstrap, and the rest from buildah, which keeps each step: only what
changed is made anew.
"""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from pathlib import Path

from kubernetes_cluster.binaries import cache
from kubernetes_cluster.words import Failure, say

TREE = Path(__file__).parents[2]
NAME = "docker.io/library/ensemble:dev"
BASE = "localhost/debian-with-python"
SUITE = "bookworm"
OF_THIS_MACHINE = ("/etc/pip.conf", "/etc/ssl/certs")
"""How this machine reaches the package index, which the build must know too."""


def build(file: Path) -> Path:
    """Write the image of this tree as a tar file. One is built at a time: they share what buildah keeps."""
    _store().mkdir(parents=True, exist_ok=True)
    with (_store().parent / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(file)


def _build(file: Path) -> Path:
    if not _buildah("images", "--quiet", "--filter", f"reference={BASE}"):
        _build_base()
    tag = f"localhost/ensemble-{TREE.name}"
    before = _buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={tag}")
    say("building the image ensemble:dev")
    volumes = [f"--volume={path}:{path}:ro" for path in OF_THIS_MACHINE if Path(path).exists()]
    _buildah("build", "--quiet", "--layers", "--isolation=chroot", *volumes, f"--build-arg=BASE={BASE}", f"--tag={tag}",
             str(TREE))  # fmt: skip
    file.unlink(missing_ok=True)
    _buildah("push", "--quiet", tag, f"docker-archive:{file}:{NAME}")
    if before and before != _buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={tag}"):
        _buildah("rmi", "--force", before)
    return file


def _build_base() -> None:
    say("building a base image of Debian")
    slim = [f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "man", "locale", "info")]
    with tempfile.TemporaryDirectory() as folder:
        tar = f"{folder}/base.tar"
        _run("mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,python3", *slim, SUITE, tar)
        container = _buildah("from", "scratch")
        _buildah("add", "--quiet", container, tar, "/")
        _buildah("commit", "--quiet", "--rm", container, BASE)


def _buildah(*words: str) -> str:
    return _run("buildah", f"--root={_store()}", f"--runroot={_store()}/run", *words)


def _store() -> Path:
    return cache().parent / "images"


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{' '.join(words[:4])} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()
