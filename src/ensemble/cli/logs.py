"""`ensemble logs RUN KEY`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from ensemble.cli.common import run_argument


@click.command("logs")
@run_argument(default=None)
@click.argument("key")
@click.option("--attempt", type=click.IntRange(1), default=1, show_default=True)
@click.option("--stderr", is_flag=True, help="Standard error instead of standard output.")
@click.option("--file", "name", default="", help="Another file of the job's directory.")
def command(run_dir: Path, key: str, attempt: int, stderr: bool, name: str) -> None:
    """Print what job KEY of RUN wrote."""
    from ensemble.model.errors import InputError

    folder = run_dir / "jobs" / key
    if not folder.is_dir() or os.sep in key:
        raise InputError(f"run {run_dir.name} has no files of a job {key!r}")
    suffix = "" if attempt == 1 else f".{attempt}"
    path = (folder / (name or ("stderr" if stderr else "stdout") + ("" if name else suffix))).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise InputError(f"job {key} has no file {path.name!r}; it has {', '.join(sorted(os.listdir(folder)))}")
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
