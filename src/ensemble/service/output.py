"""What jobs wrote: from the run's directory, or through the member that has it elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from ensemble.model.errors import InputError, MemberError
from ensemble.model.jobs import AttemptRef
from ensemble.runs.logs import LOOK_SECONDS, job_file, job_folder
from ensemble.service.host import Hosted
from ensemble.session.v1 import ensembles_pb2 as pb

PIECE: Final = 256 << 10
"""Bytes of one message."""


async def pieces(hosted: Hosted, request: pb.LogsRequest) -> AsyncIterator[bytes]:
    """A file of a job from `offset` on, at most `limit` bytes (0: all there is).

    With `follow`, also what is written until the job is over. Raises `InputError` when there is none, or when the
    member that has it does not give it.
    """
    path = request.path or "stdout"
    left = request.limit or float("inf")
    offset = request.offset
    read = await _here(hosted, request, path) or await _elsewhere(hosted, request, path)
    is_over = hosted.run.job_is_over(request.key, request.attempt) if request.follow else None
    while True:
        # asked before the reading: what was written until then is read
        over = is_over is None or await asyncio.to_thread(is_over)
        while left > 0 and (data := await read(offset, int(min(PIECE, left)))):
            yield data
            offset += len(data)
            left -= len(data)
        if over or left <= 0:
            return
        await asyncio.sleep(LOOK_SECONDS)


class _File:
    """A file on a file system of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self, offset: int, limit: int) -> bytes:
        return await asyncio.to_thread(self._read, offset, limit)

    def _read(self, offset: int, limit: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                return file.read(limit)
        except OSError as error:
            raise InputError(f"{self._path.name}: {error.strerror}") from error


async def _here(hosted: Hosted, request: pb.LogsRequest, path: str) -> _File | None:
    def find() -> _File | None:
        try:
            job_folder(hosted.run_dir, request.key)
        except InputError:
            return None
        return _File(job_file(hosted.run_dir, request.key, path, request.attempt))

    return await asyncio.to_thread(find)


class _Fetched:
    """A file that a member reads."""

    def __init__(self, hosted: Hosted, member: str, ref: AttemptRef, path: str) -> None:
        self._hosted, self._member, self._ref, self._path = hosted, member, ref, path

    async def __call__(self, offset: int, limit: int) -> bytes:
        loop = self._hosted.loop
        link = loop.links.get(self._member) if loop is not None and self._hosted.busy else None
        if link is None:
            raise InputError(
                f"the files of {self._ref.key} are where member {self._member} ran it; "
                "they can be read while the run is running"
            )
        try:
            return await link.member.fetch(self._ref, self._path, offset, limit)
        except MemberError as error:
            raise InputError(str(error)) from error


async def _elsewhere(hosted: Hosted, request: pb.LogsRequest, path: str) -> _Fetched:
    def find() -> dict[str, object] | None:
        return next((row for row in hosted.run.results() if row["key"] == request.key), None)

    row = await asyncio.to_thread(find)
    if row is None:
        raise InputError(f"run {hosted.submission.run} has no files of a job {request.key!r}")
    ref = AttemptRef(hosted.submission.run, request.key, request.attempt or int(str(row["attempt"])))
    return _Fetched(hosted, str(row["member"]), ref, path)
