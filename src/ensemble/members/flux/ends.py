"""Completing the end of a job by what it has written."""

from __future__ import annotations

__all__ = ["Completing"]

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable

import msgspec

from ensemble.members.figures import read_figures
from ensemble.members.flux.entries import Mark
from ensemble.members.flux.register import Ref, Register
from ensemble.members.local.launch import JobFiles
from ensemble.model.events import JobEvent


class Completing:
    """Reads the files of what has ended. Whoever asks for an end that is being read waits for it."""

    def __init__(self, run_dir: str, register: Register) -> None:
        self._run_dir, self._register = run_dir, register
        self._lock = asyncio.Lock()

    async def complete(self, refs: Iterable[Ref]) -> None:
        """Complete `register.ends` of those that lack it."""
        ends, unread = self._register.ends, self._register.unread
        async with self._lock:
            lacking = [(ends[ref], unread[ref]) for ref in refs if ref in unread]
            if not lacking:
                return
            for end in await asyncio.to_thread(self._read, lacking):
                ref = (end.key, end.attempt)
                ends[ref] = end
                del unread[ref]

    def _read(self, lacking: list[tuple[JobEvent, Mark]]) -> list[JobEvent]:
        return [_read_end(self._run_dir, end, mark) for end, mark in lacking]


def _read_end(run_dir: str, end: JobEvent, mark: Mark) -> JobEvent:
    """Add the figures, and which part of a script failed; remove what is not to be kept. Blocks."""
    files = JobFiles(run_dir, end.key, end.attempt)
    workdir = os.path.join(run_dir, mark.workdir)
    if mark.phases and end.outcome == "failed" and end.reason == "exit":
        with contextlib.suppress(OSError), open(files.phase, encoding="utf-8") as file:
            end = msgspec.structs.replace(end, reason=file.read().strip() or end.reason)
    if mark.outputs:
        figures, missing = read_figures(mark.outputs, workdir, files.stdout, files.stderr)
        end = msgspec.structs.replace(end, figures=figures or None, missing=tuple(missing))
    if mark.keep == "none" or (mark.keep == "failed" and end.outcome == "success"):
        shutil.rmtree(workdir, ignore_errors=True)
    return end
