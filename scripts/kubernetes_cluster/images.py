"""Images without a registry: a tar file as `docker save` writes it, of a few files."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

from kubernetes_cluster.words import Failure

PAUSE = "docker.io/library/ensemble-pause:dev"
TEST = "docker.io/library/ensemble-test:dev"
"""A shell, sleep and the usual small commands, for the tests of members."""


def busybox(file: Path, name: str, command: list[str]) -> Path:
    """Write an image of Debian's static busybox with all of its commands in /bin."""
    program = shutil.which("busybox")
    if program is None:
        raise Failure("busybox is missing (Debian's package busybox-static)")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        _add(tar, "bin/busybox", Path(program).read_bytes(), 0o755)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n", 0o644)
        _add(tar, "etc/group", b"root:x:0:\nuser:x:1000:\n", 0o644)
        _add(tar, "etc/nsswitch.conf", b"hosts: files dns\n", 0o644)
        for applet in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    _write(file, name, command, layer.getvalue())
    return file


def _write(file: Path, name: str, command: list[str], layer: bytes) -> None:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(file, "w") as tar:
        _add(tar, "config.json", json.dumps(config).encode(), 0o644)
        _add(tar, "layer.tar", layer, 0o644)
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
