"""The `oras` command line, built once from its Go module (pinned in `go.mod`) into a folder outside the tree."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGE = "oras.land/oras/cmd/oras"


@functools.cache
def program() -> Path:
    """Where it is; it is built where it is missing."""
    pinned = hashlib.sha256((HERE / "go.mod").read_bytes() + (HERE / "go.sum").read_bytes()).hexdigest()[:12]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "ensemble" / "oras" / pinned
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "oras"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
            words = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", f"{target}.new", PACKAGE]
            done = subprocess.run(words, cwd=HERE, env=environment, capture_output=True, text=True, timeout=500)
            assert not done.returncode, done.stderr
            Path(f"{target}.new").rename(target)
    return target


def oras(*words: str, folder: Path | None = None) -> str:
    """What a command of oras prints, that talks to a registry without TLS."""
    done = subprocess.run([program(), *words, "--plain-http"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def oras_json(*words: str) -> Any:
    """The same as data."""
    return json.loads(oras(*words, "--format", "json"))
