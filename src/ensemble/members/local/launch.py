"""From a job's description to a command and its environment."""

from __future__ import annotations

__all__ = ["environment", "program"]

import os
import shutil
import subprocess
from functools import lru_cache

from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.program import Program, job_program
from ensemble.model.errors import MemberError
from ensemble.model.jobs import JobSpec

NO_GPU = "-1"
"""What hides every GPU: the list ends at the first number that is none."""


def environment(base: dict[str, str], spec: JobSpec, gpus: tuple[int, ...] | None) -> dict[str, str]:
    """The environment of one job. `gpus` are its own, which it alone sees; None: nobody counts them here."""
    found = {**base, **spec.env}
    if gpus is not None:
        visible = ",".join(str(gpu) for gpu in gpus) or NO_GPU
        found["CUDA_VISIBLE_DEVICES"] = found["ROCR_VISIBLE_DEVICES"] = visible
    if "OMP_NUM_THREADS" not in found:
        found["OMP_NUM_THREADS"] = str(spec.resources.cores)
    return found


@lru_cache(maxsize=4096)
def _find(name: str, path: str) -> str:
    return shutil.which(name, path=path) or ""


@lru_cache(maxsize=16)
def _is_open_mpi(mpiexec: str) -> bool:
    answer = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    return "Open MPI" in answer.stdout or "OpenRTE" in answer.stdout


def _launcher(spec: JobSpec, path: str) -> list[str]:
    """The words before the program that start `tasks` of it. Raises `MemberError`."""
    kind = spec.launcher
    if kind == "none" or (kind == "auto" and spec.resources.tasks == 1):
        return []
    if kind not in ("auto", "mpiexec"):
        raise MemberError(f"this member has no launcher {kind!r}, only mpiexec and none")
    mpiexec = _find("mpiexec", path)
    if not mpiexec:
        raise MemberError("mpiexec was not found on PATH; install an MPI or set `launcher: none`")
    words = [mpiexec, "-n", str(spec.resources.tasks)]
    if _is_open_mpi(mpiexec):
        # slots are counted here, so Open MPI's own count must not stand in the way
        words += ["--oversubscribe", "--bind-to", "none"]
        if os.geteuid() == 0:
            words.append("--allow-run-as-root")
    return words


def program(spec: JobSpec, files: JobFiles, path: str) -> Program:
    """What starts an attempt; its first word is an absolute path. Raises `MemberError`."""
    found = job_program(spec, files, _launcher(spec, path))
    found.words[0] = _executable(found.words[0], path, spec.workdir)
    return found


def _executable(word: str, path: str, workdir: str) -> str:
    if "/" in word:
        full = word if word.startswith("/") else f"{workdir}/{word}"
        if os.access(full, os.X_OK) and not os.path.isdir(full):
            return full
        raise MemberError(f"{word}: not executable" if os.path.exists(full) else f"{word}: no such program")
    found = _find(word, path)
    if not found:
        raise MemberError(f"{word}: not found on PATH")
    return found
