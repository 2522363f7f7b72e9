"""The files of jobs: where they are and when they are removed; and how a member writes its own files."""

from __future__ import annotations

__all__ = ["JobFiles", "remove_unkept", "write_durably"]

import os
import shutil
from pathlib import Path


class JobFiles:
    """Where the files of one attempt are: always in `<run>/jobs/<key>`, wherever the job itself works."""

    __slots__ = ("folder", "phase", "script", "stderr", "stdout")

    def __init__(self, run_dir: str, key: str, attempt: int) -> None:
        suffix = "" if attempt == 1 else f".{attempt}"
        self.folder = f"{run_dir}/jobs/{key}"
        self.stdout = f"{self.folder}/stdout{suffix}"
        self.stderr = f"{self.folder}/stderr{suffix}"
        self.script = f"{self.folder}/.script{suffix}"
        self.phase = f"{self.folder}/.phase{suffix}"


def remove_unkept(keep: str, outcome: str, workdir: str) -> None:
    """Remove a job's working directory after its end, where `keep` (all, failed or none) says so."""
    if keep == "none" or (keep == "failed" and outcome == "success"):
        shutil.rmtree(workdir, ignore_errors=True)


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file in one step; it is on the disk before the old one is gone. Raises `OSError`."""
    beside = path.with_name(path.name + ".tmp")
    with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
