"""From a job's description to a command and its environment."""

from __future__ import annotations

__all__ = ["LaunchError", "environment", "program", "wrapper"]

import os
import shlex
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from ensemble.members.kit.files import JobFiles
from ensemble.members.kit.program import phases
from ensemble.model.jobs import JobSpec

NO_GPU = "-1"
"""What hides every GPU: the list ends at the first number that is none."""


class LaunchError(Exception):
    """The job cannot be started; the text says why."""


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


def launcher(spec: JobSpec, path: str) -> list[str]:
    """The words before the program that start `tasks` of it. Raises `LaunchError`."""
    kind = spec.launcher
    if kind == "none" or (kind == "auto" and spec.resources.tasks == 1):
        return []
    if kind not in ("auto", "mpiexec"):
        raise LaunchError(f"this member has no launcher {kind!r}, only mpiexec and none")
    mpiexec = _find("mpiexec", path)
    if not mpiexec:
        raise LaunchError("mpiexec was not found on PATH; install an MPI or set `launcher: none`")
    words = [mpiexec, "-n", str(spec.resources.tasks)]
    if _is_open_mpi(mpiexec):
        # slots are counted here, so Open MPI's own count must not stand in the way
        words += ["--oversubscribe", "--bind-to", "none"]
        if os.geteuid() == 0:
            words.append("--allow-run-as-root")
    return words


def program(spec: JobSpec, files: JobFiles, path: str) -> list[str]:
    """The argument vector of an attempt; its first word is an absolute path. Raises `LaunchError`."""
    prefix = launcher(spec, path)
    if spec.setup or spec.cleanup:
        return ["/bin/sh", files.script]
    if spec.script:
        return [*prefix, *_interpreter(spec.script), files.script]
    words = list(spec.command)
    if not words:
        raise LaunchError("its command is empty")
    if not prefix:
        words[0] = _executable(words[0], path, spec.workdir)
    return prefix + words


def _executable(word: str, path: str, workdir: str) -> str:
    if "/" in word:
        full = word if word.startswith("/") else f"{workdir}/{word}"
        if os.access(full, os.X_OK) and not os.path.isdir(full):
            return full
        raise LaunchError(f"{word}: not executable" if os.path.exists(full) else f"{word}: no such program")
    found = _find(word, path)
    if not found:
        raise LaunchError(f"{word}: not found on PATH")
    return found


def _interpreter(script: str) -> list[str]:
    if script.startswith("#!"):
        return shlex.split(script.split("\n", 1)[0][2:])
    return ["/bin/sh", "-e"]


def wrapper(spec: JobSpec, files: JobFiles, path: str) -> str:
    """The text of the script that a job with `script`, `setup` or `cleanup` runs; empty when none is needed.

    `setup` runs in the same shell, so what it loads is there for the command. Which part failed is written
    to a file, not guessed from the exit code.
    """
    if not (spec.setup or spec.cleanup):
        return spec.script
    prefix = launcher(spec, path)
    if spec.script:
        inner = Path(files.script + ".command")
        inner.write_text(spec.script)
        words = [*prefix, *_interpreter(spec.script), str(inner)]
    else:
        words = [*prefix, *spec.command]
    return phases(spec.setup, words, spec.cleanup, files.phase)
