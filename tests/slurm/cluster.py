"""A real Slurm for the tests: started once for a session, ended with it."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm-cluster"

_found: list[str] = []


def enter() -> str:
    """Make it the cluster of this process and its children; return its directory. Other tests must not see it."""
    os.environ["SLURM_CLUSTER_DIR"] = _found[0]
    os.environ["SLURM_CONF"] = f"{_found[0]}/slurm.conf"
    return _found[0]


def leave() -> None:
    """End the jobs there are, and forget the cluster."""
    user = str(os.getuid())
    for words in (["--full", "--signal=KILL"], []):
        subprocess.run(["scancel", *words, "-u", user], check=False, timeout=30)
    os.environ.pop("SLURM_CONF", None)
    os.environ.pop("SLURM_CLUSTER_DIR", None)


@functools.cache
def missing() -> str:
    """Start the cluster; why there is none, or nothing. `enter` then makes it the one that Slurm's commands use."""
    folder = tempfile.mkdtemp(prefix="ensemble-slurm-")
    environment = {**os.environ, "SLURM_CLUSTER_DIR": f"{folder}/cluster"}
    with open(f"{folder}/start.log", "w+") as log:
        try:
            done = subprocess.run(
                [SCRIPT, "start"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=400
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"no Slurm here: {error}"
        log.seek(0)
        told = log.read().strip().splitlines()
    if done.returncode:
        return f"no Slurm here: {told[-1] if told else done.returncode}"
    _found.append(f"{folder}/cluster")
    atexit.register(_stop, folder, environment)
    return ""


def _stop(folder: str, environment: dict[str, str]) -> None:
    subprocess.run([SCRIPT, "stop"], env=environment, timeout=60, check=False)
    subprocess.run(["rm", "-rf", folder], check=False)
