"""Programs that a cluster takes from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from kubernetes_cluster.words import Failure, say

CONTROL_PLANE = {"openssl": "openssl", "ip": "iproute2"}
NODE = {
    "runc": "runc",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "busybox": "busybox-static",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
IMAGE = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
"""The package of each program."""


def install(programs: dict[str, str]) -> None:
    """Install the packages of those programs that are missing; raises `Failure` where that cannot be done."""
    wanted = [package for program, package in programs.items() if not _there(program)]
    if not wanted:
        return
    if shutil.which("apt-get") is None:
        raise Failure(f"not installed: {', '.join(wanted)}, and there is no apt-get here")
    say(f"installing {', '.join(wanted)}")
    apt = "apt-get -qq -o DPkg::Lock::Timeout=300"
    both = f"{apt} update && {apt} install -y --no-install-recommends {' '.join(wanted)}"
    # other scripts of ours install at the same time
    words = ["flock", "/tmp/ensemble-apt.lock", "sh", "-c", both]
    done = subprocess.run(
        words, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, text=True
    )
    if done.returncode:
        raise Failure(f"apt-get failed: {done.stderr.strip()}")


def _there(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program) is not None
