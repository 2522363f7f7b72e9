"""The files that a job wrote, where the run's directory is on a file system that we see."""

from __future__ import annotations

__all__ = ["job_file", "job_folder", "read_file"]

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ensemble.model.errors import InputError

PIECE: Final = 256 << 10
"""Bytes read at a time."""

LOOK_SECONDS: Final = 0.3
"""How often a file that is followed is looked at: no notification works on every shared file system."""


def job_file(run_dir: Path, key: str, file: str = "stdout", attempt: int = 0) -> Path:
    """A file of a job: `stdout` or `stderr` of an attempt (from 1; 0: the last), else a path in the job's directory.

    Raises `InputError` when there is none, or when it is outside of the directory.
    """
    folder = job_folder(run_dir, key)
    name = file.replace("\0", "")
    if name in ("stdout", "stderr"):
        attempt = attempt or _last_attempt(folder)
        name += f".{attempt}" if attempt > 1 else ""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        there = ", ".join(sorted(os.listdir(folder)))
        has = f"it has {there}" if there else "its program was never started"
        raise InputError(f"job {key} has no file {path.name!r}; {has}")
    return path


def job_folder(run_dir: Path, key: str) -> Path:
    """The directory of a job. Raises `InputError` when there is none here."""
    folder = run_dir / "jobs" / key
    if key in ("", ".", "..") or os.sep in key or "\0" in key or not folder.is_dir():
        raise InputError(f"run {run_dir.name} has no files of a job {key!r}")
    return folder


def _last_attempt(folder: Path) -> int:
    numbers = (name.removeprefix("stdout.") for name in os.listdir(folder))
    return max((int(number) for number in numbers if number.isdecimal()), default=1)


def read_file(path: Path, over: Callable[[], bool] | None = None) -> Iterator[bytes]:
    """The content of a file in pieces; with `over`, also what is written until that is true."""
    try:
        with path.open("rb") as file:
            while True:
                # asked before the reading: what was written until then is read
                last = over is None or over()
                while data := file.read(PIECE):
                    yield data
                if last:
                    return
                time.sleep(LOOK_SECONDS)
    except OSError as error:
        raise InputError(f"{path.name}: {error.strerror}") from error
