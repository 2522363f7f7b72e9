"""A real Slurm for the tests: started once for a session, ended with it."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm-cluster"


@functools.cache
def missing() -> str:
    """Start the cluster; why there is none, or nothing. `SLURM_CONF` in the environment then names it."""
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
    os.environ["SLURM_CLUSTER_DIR"] = f"{folder}/cluster"
    os.environ["SLURM_CONF"] = f"{folder}/cluster/slurm.conf"
    atexit.register(_stop, folder, environment)
    return ""


def _stop(folder: str, environment: dict[str, str]) -> None:
    subprocess.run([SCRIPT, "stop"], env=environment, timeout=60, check=False)
    subprocess.run(["rm", "-rf", folder], check=False)
