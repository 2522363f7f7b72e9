"""Whether this machine is a login node of a Slurm cluster, where nobody wants jobs to run by accident."""

from __future__ import annotations

__all__ = ["login_node"]

import os
import shutil
import subprocess
from typing import Final

_SECONDS: Final = 5.0


def login_node() -> bool:
    """Whether `sbatch` is here, its controller answers, and we do not stand inside a job of it."""
    if "SLURM_JOB_ID" in os.environ or not shutil.which("sbatch") or not shutil.which("scontrol"):
        return False
    try:
        answer = subprocess.run(
            ["scontrol", "ping"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return " is UP" in answer.stdout
