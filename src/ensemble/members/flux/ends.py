"""Completing the end of a job by what it has written."""

from __future__ import annotations

__all__ = ["in_files", "read_end"]

import contextlib
import os
import shutil

import msgspec

from ensemble.members.figures import read_figures
from ensemble.members.flux.entries import Mark
from ensemble.members.local.launch import JobFiles
from ensemble.model.events import JobEvent


def in_files(mark: Mark) -> bool:
    """Whether files say something of this job's end, or are to be removed after it."""
    return bool(mark.outputs) or mark.phases or mark.keep != "all"


def read_end(run_dir: str, end: JobEvent, mark: Mark) -> JobEvent:
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
