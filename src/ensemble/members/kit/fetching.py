"""Reading part of a job's file for people, where its directory is on a file system that we see."""

from __future__ import annotations

__all__ = ["fetch_file"]

import asyncio
import os

from ensemble.members.kit.files import JobFiles
from ensemble.model.errors import MemberError
from ensemble.model.jobs import AttemptRef


async def fetch_file(run_dir: str, ref: AttemptRef, path: str, offset: int, limit: int) -> bytes:
    """Read `limit` bytes from `offset` of `stdout`, `stderr` or a path in the job's folder.

    Raises `MemberError` when there is no such file, or it is outside the folder.
    """
    files = JobFiles(run_dir, ref.key, ref.attempt)
    named = {"stdout": files.stdout, "stderr": files.stderr}.get(path, os.path.join(files.folder, path))
    real = os.path.realpath(named)
    if not real.startswith(os.path.realpath(files.folder) + os.sep):
        raise MemberError(f"{path} is outside the folder of {ref.key}")

    def read() -> bytes:
        with open(real, "rb") as file:
            file.seek(offset)
            return file.read(limit)

    try:
        return await asyncio.to_thread(read)
    except OSError as error:
        raise MemberError(f"{path} of {ref.key}: {error.strerror}") from error
