"""Completing the event of a job's end with what the job has written."""

from __future__ import annotations

__all__ = ["Completing"]

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable

import msgspec

from ensemble.members.flux.carrying import Output
from ensemble.members.flux.entries import Mark
from ensemble.members.flux.records import Records, Ref
from ensemble.members.flux.register import Register
from ensemble.members.kit.figures import read_figures
from ensemble.members.kit.files import JobFiles
from ensemble.model.errors import MemberError
from ensemble.model.events import JobEvent


class Completing:
    """Reads the files of jobs that have ended. A second request for the same end waits for the first."""

    def __init__(
        self,
        run_dir: str,
        register: Register,
        records: Records,
        kept: dict[Ref, JobEvent],
        output: Output | None = None,
    ) -> None:
        """`kept`: ends whose files may be gone. `output`: what jobs write is with Flux, and not in files."""
        self._run_dir, self._register, self._records, self._kept = run_dir, register, records, kept
        self._output = output
        self._lock = asyncio.Lock()

    async def complete(self, refs: Iterable[Ref]) -> None:
        """Complete `register.ends` of those that lack it. Raises `MemberError` when that cannot be kept."""
        ends, unread = self._register.ends, self._register.unread
        async with self._lock:
            lacking = [(ends[ref], unread[ref]) for ref in refs if ref in unread]
            if not lacking:
                return
            if self._output is not None:
                await self._output.write((end.key, end.attempt) for end, mark in lacking if mark.reads_files)
            try:
                found = await asyncio.to_thread(self._read, lacking)
            except OSError as error:
                raise MemberError(
                    f"{error.filename or self._records.folder}: {error.strerror}", transient=True
                ) from error
            for end in found:
                ref = (end.key, end.attempt)
                ends[ref] = end
                del unread[ref]

    def _read(self, lacking: list[tuple[JobEvent, Mark]]) -> list[JobEvent]:
        ends: list[JobEvent] = []
        fresh: list[JobEvent] = []
        workdirs: list[str] = []
        for bare, mark in lacking:
            end = self._kept.get((bare.key, bare.attempt))
            if end is None:
                end = _read_end(self._run_dir, bare, mark)
                if mark.reads_files and mark.removed(end.outcome):
                    fresh.append(end)
            if mark.removed(end.outcome):
                workdirs.append(os.path.join(self._run_dir, mark.workdir))
            ends.append(end)
        if fresh:
            # we may be killed before the engine has it
            self._records.keep(fresh)
        for workdir in workdirs:
            shutil.rmtree(workdir, ignore_errors=True)
        return ends


def _read_end(run_dir: str, end: JobEvent, mark: Mark) -> JobEvent:
    """Add the figures, and which part of a script failed. Blocks."""
    files = JobFiles(run_dir, end.key, end.attempt)
    workdir = os.path.join(run_dir, mark.workdir)
    if mark.phases and end.outcome == "failed" and end.reason == "exit":
        with contextlib.suppress(OSError), open(files.phase, encoding="utf-8") as file:
            end = msgspec.structs.replace(end, reason=file.read().strip() or end.reason)
    if mark.outputs:
        figures, missing = read_figures(mark.outputs, workdir, files.stdout, files.stderr)
        end = msgspec.structs.replace(end, figures=figures or None, missing=tuple(missing))
    return end
