"""Reads a job's figures on the node where it ran: `python -c ... main` with the file that describes the job."""

from __future__ import annotations

__all__ = ["main"]

import sys
from pathlib import Path

import msgspec

from ensemble.members.kit.figures import read_figures
from ensemble.members.kit.files import JobFiles
from ensemble.members.slurm.spool import Described


def main() -> None:
    """Print one line of JSON: the figures and the names of those that are missing."""
    told = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Described)
    files = JobFiles(told.run_dir, told.spec.ref.key, told.spec.ref.attempt)
    figures, missing = read_figures(told.spec.outputs, told.spec.workdir, files.stdout, files.stderr)
    sys.stdout.write(msgspec.json.encode([figures, missing]).decode())
