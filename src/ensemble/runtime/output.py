"""What a job wrote: its files, where the run's directory is on a file system that we see."""

from __future__ import annotations

__all__ = ["job_file", "job_folder", "last_attempt"]

import os
from pathlib import Path

from ensemble.model.errors import InputError


def job_folder(run_dir: Path, key: str) -> Path:
    """The directory of a job. Raises `InputError` when there is none here."""
    folder = run_dir / "jobs" / key
    if key in ("", ".", "..") or os.sep in key or "\0" in key or not folder.is_dir():
        raise InputError(f"run {run_dir.name} has no files of a job {key!r}")
    return folder


def job_file(run_dir: Path, key: str, name: str = "stdout", attempt: int = 1) -> Path:
    """A file of a job: `stdout` or `stderr` of an attempt (from 1), else a path in the job's directory.

    Raises `InputError` when there is none, or it is outside the directory.
    """
    folder = job_folder(run_dir, key)
    suffix = f".{attempt}" if attempt > 1 and name in ("stdout", "stderr") else ""
    path = (folder / (name.replace("\0", "") + suffix)).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise InputError(f"job {key} has no file {path.name!r}; it has {', '.join(sorted(os.listdir(folder)))}")
    return path


def last_attempt(run_dir: Path, key: str) -> int:
    """The newest attempt of a job that has output, from 1. Raises `InputError` as `job_folder` does."""
    numbers = (name.removeprefix("stdout.") for name in os.listdir(job_folder(run_dir, key)))
    return max((int(number) for number in numbers if number.isdecimal()), default=1)
